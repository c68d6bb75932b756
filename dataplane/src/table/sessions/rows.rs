//! What there is, told row by row for whoever makes lists: a bounded part at a time.

use super::Sessions;
use crate::Nanos;
use crate::meter::seconds;
use crate::msg::{NatRow, NatTable};

/// The most rows that are told at once, and the most slots that are looked at for them: some microseconds' work.
const MOST: usize = 64;
const SLOTS: usize = 1024;

impl Sessions {
    /// Tells of what stands in a table from a slot on, as long as `tell` takes it; where to go on, if there may be more.
    pub fn read(
        &self,
        table: NatTable,
        from: u32,
        now: Nanos,
        mut tell: impl FnMut(NatRow) -> bool,
    ) -> Option<u32> {
        let slots = match table {
            NatTable::Sessions => self.lines.len(),
            NatTable::Mappings => self.mappings.slots(),
            NatTable::Hosts => self.subscribers.slots(),
        };
        let (mut next, mut told) = (from as usize, 0);
        let end = next.saturating_add(SLOTS).min(slots);
        while next < end {
            if let Some(row) = self.row(table, next as u32, now) {
                if told == MOST || !tell(row) {
                    break;
                }
                told += 1;
            }
            next += 1;
        }
        (next < slots).then_some(next as u32)
    }

    fn row(&self, table: NatTable, slot: u32, now: Nanos) -> Option<NatRow> {
        match table {
            NatTable::Sessions => {
                let session = &self.lines[slot as usize];
                session.is_live().then(|| NatRow::Session(session.view(seconds(now))))
            }
            NatTable::Mappings => {
                self.mappings.view(slot, |pool| self.ports.address(pool)).map(NatRow::Mapping)
            }
            NatTable::Hosts => self.subscribers.view(slot, |pool| self.ports.address(pool)).map(NatRow::Host),
        }
    }
}
