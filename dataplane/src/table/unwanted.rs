//! What came to the circular pool without being awaited: who sends it again does not get what was reserved for somebody else
//! meanwhile.
//!
//! A packet is known by a hash of what its sender repeats when he tries once more. Sets of eight, of which the oldest
//! gives way: a scanner who sends R packets a second to a table of N is remembered for N / R seconds, if that is less
//! than [`KEPT_S`].

use machine::table::HugeSlice;

use crate::settings::SettingsError;

/// How long a packet is remembered, in seconds: as long as TCP tries again within (RFC 6298 §5.5: 1, 3, 7 and 15 s
/// after the first).
const KEPT_S: u32 = 20;
/// Packets in a set: one cache line.
const WAYS: usize = 8;

/// A packet.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Of its hash; 0 = none.
    tag: u32,
    /// When it came last.
    at_s: u32,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
struct Set([Seen; WAYS]);

/// The table.
#[derive(Debug)]
pub(super) struct Unwanted {
    sets: HugeSlice<Set>,
}

/// The tag of a packet, never 0.
const fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32 | 1
}

impl Unwanted {
    /// Room for so many packets at least.
    pub(super) fn new(packets: u32) -> Result<Self, SettingsError> {
        let sets = (packets as usize).div_ceil(WAYS);
        Ok(Self { sets: HugeSlice::new(sets).map_err(|_| SettingsError::Memory("unwanted packets"))? })
    }

    fn set(&mut self, hash: u64) -> Option<&mut Set> {
        let count = self.sets.len() as u64;
        let place = (u64::from(hash as u32) * count) >> 32;
        self.sets.get_mut(place as usize)
    }

    /// Remembers a packet.
    pub(super) fn note(&mut self, hash: u64, now_s: u32) {
        let Some(Set(ways)) = self.set(hash) else { return };
        let tag = tag(hash);
        // Itself, or the place that is free, or that of the oldest.
        let rank = |seen: &&mut Seen| (seen.tag != tag, seen.tag != 0, seen.at_s);
        if let Some(seen) = ways.iter_mut().min_by_key(rank) {
            *seen = Seen { tag, at_s: now_s };
        }
    }

    /// Whether the packet came before, of late.
    pub(super) fn has(&mut self, hash: u64, now_s: u32) -> bool {
        let tag = tag(hash);
        let is = |seen: &Seen| seen.tag == tag && now_s.saturating_sub(seen.at_s) < KEPT_S;
        self.set(hash).is_some_and(|Set(ways)| ways.iter().any(is))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> u64 {
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[test]
    fn a_packet_is_remembered_for_a_while() {
        let mut unwanted = Unwanted::new(64).unwrap();
        unwanted.note(hash(1), 100);
        assert!(unwanted.has(hash(1), 100 + KEPT_S - 1) && !unwanted.has(hash(1), 100 + KEPT_S));
        assert!(!unwanted.has(hash(2), 100));
        unwanted.note(hash(1), 110);
        assert!(unwanted.has(hash(1), 129), "it came again");
    }

    #[test]
    fn the_oldest_gives_way_where_there_is_no_room() {
        let mut unwanted = Unwanted::new(8).unwrap();
        (0..9).for_each(|number| unwanted.note(hash(number), 100 + number as u32));
        assert!(!unwanted.has(hash(0), 110) && (1..9).all(|number| unwanted.has(hash(number), 110)));
        let mut none = Unwanted::new(0).unwrap();
        none.note(1, 1);
        assert!(!none.has(1, 1));
    }
}
