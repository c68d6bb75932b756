//! Who outside may send to an external port from any of its ports: whoever the host sends to from there (RFC 4787 §5,
//! address-dependent filtering). It may as long as a session with it lasts.

use super::index::{Hasher, Index};
use super::mappings::Outside;
use super::slab::{Line, Slab};
use crate::settings::SettingsError;

/// One host outside, as far as one external port is concerned.
#[derive(Clone, Copy, Debug, Default)]
struct Permission {
    remote: u32,
    /// How many sessions give it; in a free line, the next one.
    sessions: u32,
    pool: u16,
    port: u16,
    protocol: u8,
}

const _: () = assert!(size_of::<Permission>() == 16);

impl Permission {
    const fn is(&self, outside: Outside, remote: u32) -> bool {
        let Outside { pool, port, protocol } = outside;
        self.remote == remote && self.pool == pool && self.port == port && self.protocol == protocol
    }
}

impl Line for Permission {
    fn free(next: u32) -> Self {
        Self { sessions: next, ..Self::default() }
    }

    fn next(&self) -> u32 {
        self.sessions
    }
}

/// The table.
#[derive(Debug)]
pub(super) struct Permissions {
    lines: Slab<Permission>,
    index: Index,
    hasher: Hasher,
    is_kept: bool,
}

impl Permissions {
    /// Room for so many; with none, none are kept.
    pub(super) fn new(count: u32, hasher: Hasher) -> Result<Self, SettingsError> {
        let (lines, index) = (Slab::new(count, "permissions")?, Index::new(count)?);
        Ok(Self { lines, index, hasher, is_kept: count != 0 })
    }

    /// Whether any are kept.
    pub(super) fn is_kept(&self) -> bool {
        self.is_kept
    }

    fn hash(&self, outside: Outside, remote: u32) -> u64 {
        let Outside { pool, port, protocol } = outside;
        self.hasher.flow(u64::from(remote) << 32 | u64::from(pool) << 16 | u64::from(port), protocol.into())
    }

    fn find(&self, outside: Outside, remote: u32) -> Option<u32> {
        self.index.find(self.hash(outside, remote), |line| self.lines[line].is(outside, remote))
    }

    /// Whether it may send there.
    pub(super) fn has(&self, outside: Outside, remote: u32) -> bool {
        self.is_kept && self.find(outside, remote).is_some()
    }

    /// A session more with it. False, with nothing changed, if there is no room.
    pub(super) fn join(&mut self, outside: Outside, remote: u32) -> bool {
        if let Some(line) = self.find(outside, remote) {
            self.lines[line].sessions += 1;
            return true;
        }
        let Outside { pool, port, protocol } = outside;
        let Some(line) = self.lines.take(Permission { remote, sessions: 1, pool, port, protocol }) else {
            return false;
        };
        let fits = self.index.insert(self.hash(outside, remote), line);
        if !fits {
            self.lines.give_back(line);
        }
        fits
    }

    /// A session less with it.
    pub(super) fn leave(&mut self, outside: Outside, remote: u32) {
        let Some(line) = self.find(outside, remote) else { return };
        self.lines[line].sessions -= 1;
        if self.lines[line].sessions == 0 {
            self.index.remove(self.hash(outside, remote), line);
            self.lines.give_back(line);
        }
    }
}
