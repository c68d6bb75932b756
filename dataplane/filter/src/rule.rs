//! A rule: what it is about, and what it does.

use crate::asked::{KIND_BITS, Zone, pair};
use crate::condition::Condition;
use crate::ranges::Ranges;

/// From which zone to which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ZonePairs(u16);

impl ZonePairs {
    /// From each of these to each of those.
    pub fn new(from: &[Zone], to: &[Zone]) -> Self {
        let pairs = from.iter().flat_map(|&from| to.iter().map(move |&to| pair(from, to)));
        Self(pairs.fold(0, |pairs, pair| pairs | 1 << pair))
    }

    /// From everywhere to everywhere.
    pub fn all() -> Self {
        Self(u16::MAX)
    }
}

/// IP protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Protocols([u64; 4]);

impl Protocols {
    /// Every protocol.
    pub const ALL: Self = Self([u64::MAX; 4]);
    /// None.
    pub const NONE: Self = Self([0; 4]);

    /// One more.
    pub fn add(&mut self, protocol: u8) {
        self.0[usize::from(protocol / 64)] |= 1 << (protocol % 64);
    }

    /// Whether it is one of them.
    pub const fn has(&self, protocol: u8) -> bool {
        self.0[(protocol / 64) as usize] >> (protocol % 64) & 1 == 1
    }
}

/// Whose an address is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Anybody's.
    Anybody,
    /// One of these.
    Among(Ranges),
    /// One of the large set with this number.
    Member(usize),
}

/// What a rule says of source or destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Addresses.
    pub who: Who,
    /// Ports, or for destinations of ICMP the types; `None`: any, and whatever has none.
    pub ports: Option<Ranges>,
}

impl End {
    /// Everything.
    pub const ANY: Self = Self { who: Who::Anybody, ports: None };
}

/// What becomes of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is opened.
    Allow,
    /// Its packet is dropped.
    Deny,
    /// The same, and its sender is told.
    Reject,
}

impl Action {
    /// Its name.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Reject => "reject",
        }
    }
}

/// How many sessions a second a rule opens at most; `None`: as many as there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpeningRates {
    /// Of all together.
    pub all: Option<u32>,
    /// Of each source.
    pub each: Option<u32>,
}

impl OpeningRates {
    /// None.
    pub const NONE: Self = Self { all: None, each: None };
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it does.
    pub action: Action,
    /// Whether its decisions are told.
    pub log: bool,
    /// How many sessions it opens.
    pub limits: OpeningRates,
    /// From where to where.
    pub zones: ZonePairs,
    /// What is carried.
    pub protocols: Protocols,
    /// From whom.
    pub source: End,
    /// To whom.
    pub destination: End,
    /// What else the packet must be.
    pub condition: Condition,
}

impl Rule {
    /// The kinds of packets that it is about; `None`: all.
    pub(crate) fn kinds(&self) -> Option<Ranges> {
        if self.zones == ZonePairs::all() && self.protocols == Protocols::ALL {
            return None;
        }
        let kinds = (0..1 << KIND_BITS)
            .filter(|kind| self.zones.0 >> (kind >> 8) & 1 == 1 && self.protocols.has((kind & 0xff) as u8));
        Some(Ranges::new(kinds.map(|kind| (kind, kind)).collect()))
    }
}
