//! Inside hosts that have sessions: the address under which each is seen, and how much of everything each has.

use super::index::{Hasher, Index};
use super::slab::{Line, Slab};
use crate::msg::HostView;
use crate::narrow::NONE;
use crate::settings::SettingsError;

/// That of a host which needed no address yet: all that it has is configured.
pub(super) const NO_POOL: u16 = u16::MAX;

/// A host.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Subscriber {
    pub(super) host: u32,
    /// Its sessions; in a free line, the next one.
    pub(super) sessions: u32,
    /// Its external ports.
    pub(super) ports: u32,
    /// The first of its port blocks; `NONE` if it has none.
    pub(super) blocks: u32,
    /// Its external address; [`NO_POOL`] if it has none yet.
    pub(super) pool: u16,
    /// Its calls, as far as it has anything else all the while.
    pub(super) calls: u16,
}

impl Line for Subscriber {
    fn free(next: u32) -> Self {
        Self { sessions: next, ..Self::default() }
    }

    fn next(&self) -> u32 {
        self.sessions
    }
}

/// The table.
#[derive(Debug)]
pub(super) struct Subscribers {
    lines: Slab<Subscriber>,
    index: Index,
    hasher: Hasher,
}

impl Subscribers {
    /// Room for so many hosts.
    pub(super) fn new(hosts: u32, hasher: Hasher) -> Result<Self, SettingsError> {
        Ok(Self { lines: Slab::new(hosts, "subscribers")?, index: Index::new(hosts)?, hasher })
    }

    /// The hash of a host.
    pub(super) fn hash(&self, host: u32) -> u64 {
        self.hasher.hash(u64::from(host))
    }

    /// Starts to fetch what says whether a host has a line.
    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// Starts to fetch the line of this hash.
    #[inline(always)]
    pub(super) fn prefetch_line(&self, hash: u64) {
        self.lines.prefetch(self.index.candidate(hash));
    }

    /// The line of a host.
    pub(super) fn find(&self, host: u32) -> Option<u32> {
        self.find_by(self.hash(host), host)
    }

    /// The same by its hash.
    #[inline]
    pub(super) fn find_by(&self, hash: u64, host: u32) -> Option<u32> {
        self.index.find(hash, |line| self.lines[line].host == host)
    }

    /// A line.
    pub(super) fn get(&self, line: u32) -> Subscriber {
        self.lines[line]
    }

    /// A line.
    pub(super) fn get_mut(&mut self, line: u32) -> &mut Subscriber {
        &mut self.lines[line]
    }

    /// A line for a host that has none; `None` if there is no room.
    pub(super) fn add(&mut self, host: u32, pool: u16) -> Option<u32> {
        let line = self.lines.take(Subscriber { host, pool, blocks: NONE, ..Subscriber::default() })?;
        if !self.index.insert(self.hash(host), line) {
            self.lines.give_back(line);
            return None;
        }
        Some(line)
    }

    /// Forgets a host that has nothing any more.
    #[inline]
    pub(super) fn let_go(&mut self, line: u32) {
        let Subscriber { sessions, ports, .. } = self.lines[line];
        if sessions == 0 && ports == 0 {
            self.forget(line);
        }
    }

    #[cold]
    fn forget(&mut self, line: u32) {
        self.index.remove(self.hash(self.lines[line].host), line);
        self.lines.give_back(line);
    }

    /// How many there may be.
    pub(super) fn slots(&self) -> usize {
        self.lines.len()
    }

    /// As a list shows it, if one stands there.
    pub(super) fn view(&self, line: u32, address: impl Fn(u16) -> u32) -> Option<HostView> {
        let Subscriber { host, sessions, ports, pool, .. } = self.lines[line];
        // What is free is of no host.
        (host != 0).then(|| HostView {
            host: host.into(),
            external: (pool != NO_POOL).then(|| address(pool).into()),
            sessions,
            ports,
        })
    }

    /// How many hosts there are.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }
}
