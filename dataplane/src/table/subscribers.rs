//! Inside hosts that have sessions: the address under which each is seen, and how much of everything each has.

use super::index::{Hasher, Index};
use crate::narrow::NONE;
use crate::settings::SettingsError;
use machine::table::HugeSlice;

/// A host.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Subscriber {
    pub(super) host: u32,
    /// Its sessions; in a free line, the next one.
    pub(super) sessions: u32,
    /// Its external ports.
    pub(super) ports: u32,
    /// Its external address.
    pub(super) pool: u16,
}

/// The table.
#[derive(Debug)]
pub(super) struct Subscribers {
    lines: HugeSlice<Subscriber>,
    index: Index,
    hasher: Hasher,
    free: u32,
}

impl Subscribers {
    /// Room for so many hosts.
    pub(super) fn new(hosts: u32, hasher: Hasher) -> Result<Self, SettingsError> {
        let next = |line: usize| if line as u32 + 1 == hosts { NONE } else { line as u32 + 1 };
        let lines = HugeSlice::from_fn(hosts as usize, |line| Subscriber {
            sessions: next(line),
            ..Subscriber::default()
        })
        .map_err(|_| SettingsError::Memory("subscribers"))?;
        Ok(Self { lines, index: Index::new(hosts)?, hasher, free: if hosts == 0 { NONE } else { 0 } })
    }

    /// The hash of a host.
    pub(super) fn hash(&self, host: u32) -> u64 {
        self.hasher.hash(u64::from(host))
    }

    /// The line of a host.
    pub(super) fn find(&self, host: u32) -> Option<u32> {
        self.index.find(self.hash(host), |line| self.lines[line as usize].host == host)
    }

    /// A line.
    pub(super) fn get(&self, line: u32) -> Subscriber {
        self.lines[line as usize]
    }

    /// A line.
    pub(super) fn get_mut(&mut self, line: u32) -> &mut Subscriber {
        &mut self.lines[line as usize]
    }

    /// A line for a host that has none; `None` if there is no room.
    pub(super) fn add(&mut self, host: u32, pool: u16) -> Option<u32> {
        let line = self.free;
        let next = self.lines.get(line as usize)?.sessions;
        if !self.index.insert(self.hash(host), line) {
            return None;
        }
        self.free = next;
        self.lines[line as usize] = Subscriber { host, sessions: 0, ports: 0, pool };
        Some(line)
    }

    /// Forgets a host that has nothing any more.
    pub(super) fn let_go(&mut self, line: u32) {
        let Subscriber { host, sessions, ports, .. } = self.get(line);
        if sessions == 0 && ports == 0 {
            self.index.remove(self.hash(host), line);
            self.lines[line as usize] = Subscriber { sessions: self.free, ..Subscriber::default() };
            self.free = line;
        }
    }

    /// How many hosts there are.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }
}
