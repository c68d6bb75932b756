//! A rule, and what it is asked about.

use crate::condition::Condition;
use crate::ranges::Ranges;

/// Where a packet comes from or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Zone {
    /// The realm.
    Inside,
    /// The world.
    Outside,
}

impl Zone {
    /// How many there may be.
    const ROOM: u8 = 4;

    /// All of them.
    pub const ALL: [Self; 2] = [Self::Inside, Self::Outside];

    /// Its name.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Inside => "inside",
            Self::Outside => "outside",
        }
    }
}

/// From which zone to which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Zones(u16);

impl Zones {
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

/// A pair of zones in four bits.
const fn pair(from: Zone, to: Zone) -> u8 {
    from as u8 * Zone::ROOM + to as u8
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
pub struct Limits {
    /// Of all together.
    pub all: Option<u32>,
    /// Of each source.
    pub each: Option<u32>,
}

impl Limits {
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
    pub limits: Limits,
    /// From where to where.
    pub zones: Zones,
    /// What is carried.
    pub protocols: Protocols,
    /// From whom.
    pub source: End,
    /// To whom.
    pub destination: End,
    /// What else the packet must be.
    pub condition: Condition,
}

/// What rules see of the first packet itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Of TCP its flags, of ICMP its type, of others nothing.
    pub mark: u8,
    /// Its code point of differentiated services.
    pub dscp: u8,
    /// Whether it is a fragment.
    pub is_fragment: bool,
    /// Bytes of the IP packet; [`Seen::NO_LENGTH`] where it is not known any more, of a session that stands. A rule that asks for a
    /// length then fits if it allows, so that it ends nothing.
    pub length: u16,
}

impl Seen {
    /// The length of no packet.
    pub const NO_LENGTH: u16 = 0;
}

/// The first packet of a session, as the rules see it: with the inside host's own address, whichever way it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Where it comes from.
    pub from: Zone,
    /// Where it goes to.
    pub to: Zone,
    /// The protocol.
    pub protocol: u8,
    /// Source address.
    pub source: u32,
    /// Destination address.
    pub destination: u32,
    /// Source port; 0 where there is none.
    pub source_port: u16,
    /// Destination port, or the type of an ICMP message; 0 where there is none.
    pub destination_port: u16,
    /// The port of the gateway by which it comes, as far as that is known.
    pub comes_by: u8,
    /// That by which it goes.
    pub goes_by: u8,
    /// The packet itself.
    pub seen: Seen,
}

/// Bits of [`Asked::kind`].
pub(crate) const KIND_BITS: u32 = 12;

impl Asked {
    /// Zones and protocol in one number.
    pub(crate) const fn kind(&self) -> u32 {
        (pair(self.from, self.to) as u32) << 8 | self.protocol as u32
    }
}

impl Rule {
    /// The kinds of packets that it is about; `None`: all.
    pub(crate) fn kinds(&self) -> Option<Ranges> {
        if self.zones == Zones::all() && self.protocols == Protocols::ALL {
            return None;
        }
        let kinds = (0..1 << KIND_BITS)
            .filter(|kind| self.zones.0 >> (kind >> 8) & 1 == 1 && self.protocols.has((kind & 0xff) as u8));
        Some(Ranges::new(kinds.map(|kind| (kind, kind)).collect()))
    }
}
