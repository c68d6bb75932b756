//! Mappings: which external port stands for which port of a host. Endpoint-independent (RFC 4787 §4.1, REQ-1): one for all
//! that the host does from there. A mapping lasts as long as a session uses it.

use super::index::{Hasher, Index};
use super::ports::Place;
use super::slab::{Line, Slab};
use crate::msg::MappingView;
use crate::nat::Space;
use crate::settings::SettingsError;
use crate::wire::Pair;
use std::net::Ipv4Addr;

/// One mapping.
#[derive(Clone, Copy, Debug, Default)]
struct Mapping {
    host: u32,
    /// How many sessions use it; in a free line, the next one.
    sessions: u32,
    host_port: u16,
    port: u16,
    pool: u16,
    protocol: u8,
}

const _: () = assert!(size_of::<Mapping>() == 16);

impl Line for Mapping {
    fn free(next: u32) -> Self {
        Self { sessions: next, ..Self::default() }
    }

    fn next(&self) -> u32 {
        self.sessions
    }
}

/// An inside host's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inside {
    pub(super) host: u32,
    pub(super) port: u16,
    pub(super) protocol: u8,
}

impl Inside {
    const fn key(self) -> Pair {
        Pair::new(self.host, (self.port as u32) << 16 | 1 << 8 | self.protocol as u32)
    }
}

/// What it is outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outside {
    pub(super) pool: u16,
    pub(super) port: u16,
    pub(super) protocol: u8,
}

impl Outside {
    const fn key(self) -> Pair {
        Pair::new(self.pool as u32, (self.port as u32) << 16 | 2 << 8 | self.protocol as u32)
    }

    /// The port that it takes, if its protocol has ports.
    pub(super) fn place(self) -> Option<Place> {
        Some(Place { pool: self.pool, space: Space::of(self.protocol)?, port: self.port })
    }
}

/// The table.
#[derive(Debug)]
pub(super) struct Mappings {
    lines: Slab<Mapping>,
    by_inside: Index,
    by_outside: Index,
    hasher: Hasher,
}

impl Mappings {
    /// Room for so many.
    pub(super) fn new(count: u32, hasher: Hasher) -> Result<Self, SettingsError> {
        Ok(Self {
            lines: Slab::new(count, "mappings")?,
            by_inside: Index::new(count)?,
            by_outside: Index::new(count)?,
            hasher,
        })
    }

    fn hash(&self, key: Pair) -> u64 {
        self.hasher.hash(key.bits())
    }

    fn inside(&self, line: u32) -> Inside {
        let Mapping { host, host_port, protocol, .. } = self.lines[line];
        Inside { host, port: host_port, protocol }
    }

    /// What a mapping is outside.
    pub(super) fn outside(&self, line: u32) -> Outside {
        let Mapping { pool, port, protocol, .. } = self.lines[line];
        Outside { pool, port, protocol }
    }

    /// The mapping of a host's port, if there is one.
    pub(super) fn of(&self, inside: Inside) -> Option<u32> {
        self.of_hash(inside, self.hash(inside.key()))
    }

    /// The same by its hash.
    #[inline]
    pub(super) fn of_hash(&self, inside: Inside, hash: u64) -> Option<u32> {
        self.by_inside.find(hash, |line| self.inside(line) == inside)
    }

    /// Starts to fetch what says whether a host's port has a mapping, and returns the hash by which that is told.
    #[inline(always)]
    pub(super) fn prefetch(&self, inside: Inside) -> u64 {
        let hash = self.hash(inside.key());
        self.by_inside.prefetch_write(hash);
        hash
    }

    /// Starts to fetch what says whose an external port is.
    #[inline(always)]
    pub(super) fn prefetch_outside(&self, outside: Outside) {
        self.by_outside.prefetch_write(self.hash(outside.key()));
    }

    /// Starts to fetch the mapping of this hash.
    #[inline(always)]
    pub(super) fn prefetch_line(&self, hash: u64) {
        self.lines.prefetch(self.by_inside.candidate(hash));
    }

    /// Whose port that is outside, if it is anybody's.
    pub(super) fn whose(&self, outside: Outside) -> Option<Inside> {
        let line = self.by_outside.find(self.hash(outside.key()), |line| self.outside(line) == outside)?;
        Some(self.inside(line))
    }

    /// Adds a mapping without sessions; `None`, with nothing changed, if there is no room.
    pub(super) fn add(&mut self, inside: Inside, outside: Outside) -> Option<u32> {
        let Inside { host, port: host_port, protocol } = inside;
        let Outside { pool, port, .. } = outside;
        let line = self.lines.take(Mapping { host, sessions: 0, host_port, port, pool, protocol })?;
        let hash = self.hash(inside.key());
        if !self.by_inside.insert(hash, line) {
            self.lines.give_back(line);
            return None;
        }
        if !self.by_outside.insert(self.hash(outside.key()), line) {
            self.by_inside.remove(hash, line);
            self.lines.give_back(line);
            return None;
        }
        Some(line)
    }

    /// One session more uses it.
    pub(super) fn join(&mut self, line: u32) {
        self.lines[line].sessions += 1;
    }

    /// Whether one session alone uses the mapping of a host's port, if there is one.
    pub(super) fn is_last(&self, inside: Inside) -> bool {
        self.of(inside).is_some_and(|line| self.lines[line].sessions == 1)
    }

    /// The hash of a host's port.
    pub(super) fn hash_of(&self, inside: Inside) -> u64 {
        self.hash(inside.key())
    }

    /// One session less uses that of this port, which has this hash. If it was the last one, it is gone, and what it was outside
    /// is returned.
    pub(super) fn leave(&mut self, inside: Inside, hash: u64) -> Option<Outside> {
        let place = self.by_inside.place(hash, |line| self.inside(line) == inside)?;
        let line = place.slot;
        let mapping = &mut self.lines[line];
        mapping.sessions -= 1;
        if mapping.sessions != 0 {
            return None;
        }
        let outside = self.outside(line);
        self.by_inside.remove_at(hash, place);
        self.by_outside.remove(self.hash(outside.key()), line);
        self.lines.give_back(line);
        Some(outside)
    }

    /// Whether one more fits.
    pub(super) fn has_room(&self) -> bool {
        self.by_inside.len() < self.lines.len()
    }

    /// How many there may be.
    pub(super) fn slots(&self) -> usize {
        self.lines.len()
    }

    /// As a list shows it, if one stands there.
    pub(super) fn view(&self, line: u32, address: impl Fn(u16) -> u32) -> Option<MappingView> {
        let Mapping { host, sessions, host_port, port, pool, protocol } = self.lines[line];
        let at = |address, port| (Ipv4Addr::from_bits(address), port);
        // What is free is of no protocol.
        (protocol != 0).then(|| MappingView {
            host: at(host, host_port),
            external: at(address(pool), port),
            protocol,
            sessions,
        })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_inside.len()
    }
}
