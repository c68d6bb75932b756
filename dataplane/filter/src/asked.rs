//! What rules are asked about: the first packet of a session.

/// Where a packet comes from or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Zone {
    /// The realm.
    Inside,
    /// The world.
    Outside,
    /// Between the two.
    Dmz,
}

impl Zone {
    /// How many there may be.
    const ROOM: u8 = 4;

    /// All of them.
    pub const ALL: [Self; 3] = [Self::Inside, Self::Outside, Self::Dmz];

    /// Its name.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Inside => "inside",
            Self::Outside => "outside",
            Self::Dmz => "dmz",
        }
    }
}

/// A pair of zones in four bits.
pub(crate) const fn pair(from: Zone, to: Zone) -> u8 {
    from as u8 * Zone::ROOM + to as u8
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
    /// Bytes of the IP packet; [`Seen::NO_LENGTH`] where it is not known any more, of a session that stands. A rule that asks
    /// for a length then fits if it allows, so that it ends nothing.
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
