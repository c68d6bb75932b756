//! Data connections that were announced in a control channel and have not come yet: from one host to one port, once, soon.

use super::index::{Hasher, Index};
use super::mappings::Inside;
use super::slab::{Line, Slab};
use crate::settings::SettingsError;

/// An address and port outside: one of ours, to which a host there comes; or that host's own, to which ours connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Door {
    pub(super) address: u32,
    pub(super) port: u16,
    pub(super) protocol: u8,
}

/// Who needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The control channel: it is over with that.
    Channel,
    /// The call in this place.
    Dialog(u32),
    /// A registration: it stays for its time, however often somebody comes.
    Nobody,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expectation {
    /// The slot of the control channel's session; in a free line, the next line.
    pub(super) slot: u32,
    /// Who needs it.
    pub(super) owner: Owner,
    /// Where the inside host awaits it.
    pub(super) inside: Inside,
    /// Where that is outside.
    pub(super) door: Door,
    /// That was given to the host: there is a mapping, which this needs.
    pub(super) is_given: bool,
    /// From whom: the other end of the control channel.
    pub(super) remote: u32,
    /// When it is over.
    pub(super) until_s: u32,
}

impl Line for Expectation {
    fn free(next: u32) -> Self {
        let inside = Inside { host: 0, port: 0, protocol: 0 };
        let door = Door { address: 0, port: 0, protocol: 0 };
        Self { slot: next, owner: Owner::Channel, inside, door, is_given: false, remote: 0, until_s: 0 }
    }

    fn next(&self) -> u32 {
        self.slot
    }
}

/// The table.
#[derive(Debug)]
pub(super) struct Expectations {
    lines: Slab<Expectation>,
    by_door: Index,
    hasher: Hasher,
    count: u32,
    /// The place that is looked at next for one that is over.
    looked_at: u32,
}

impl Expectations {
    /// Room for so many.
    pub(super) fn new(count: u32, hasher: Hasher) -> Result<Self, SettingsError> {
        Ok(Self {
            lines: Slab::new(count, "expectations")?,
            by_door: Index::new(count)?,
            hasher,
            count,
            looked_at: 0,
        })
    }

    fn hash(&self, door: Door, remote: u32) -> u64 {
        let Door { address, port, protocol } = door;
        let key = u64::from(address) << 32 | u64::from(port) << 16 | u64::from(protocol);
        self.hasher.flow(key, remote.into())
    }

    /// What is awaited there from that host.
    #[inline]
    pub(super) fn find(&self, door: Door, remote: u32) -> Option<u32> {
        // Where nobody announces anything, a session that is opened pays for no hash.
        if self.by_door.is_empty() { None } else { self.find_announced(door, remote) }
    }

    fn find_announced(&self, door: Door, remote: u32) -> Option<u32> {
        let is = |line: u32| self.lines[line].door == door && self.lines[line].remote == remote;
        self.by_door.find(self.hash(door, remote), is)
    }

    /// Looks at the next place, if any is taken; what stands there if it is over.
    #[inline]
    pub(super) fn over(&mut self, now_s: u32) -> Option<u32> {
        if self.by_door.is_empty() {
            return None;
        }
        let line = self.looked_at;
        self.looked_at = (line + 1) % self.count;
        // A free line says no time.
        (1..now_s).contains(&self.lines[line].until_s).then_some(line)
    }

    /// One of them.
    pub(super) fn get(&self, line: u32) -> Expectation {
        self.lines[line]
    }

    /// It is awaited until then.
    pub(super) fn prolong(&mut self, line: u32, until_s: u32) {
        self.lines[line].until_s = until_s;
    }

    /// One more; `None` if there is no room.
    pub(super) fn add(&mut self, expectation: Expectation) -> Option<u32> {
        let line = self.lines.take(expectation)?;
        if !self.by_door.insert(self.hash(expectation.door, expectation.remote), line) {
            self.lines.give_back(line);
            return None;
        }
        Some(line)
    }

    /// One less.
    pub(super) fn remove(&mut self, line: u32) -> Expectation {
        let gone = self.lines[line];
        self.by_door.remove(self.hash(gone.door, gone.remote), line);
        self.lines.give_back(line);
        gone
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_door.len()
    }
}
