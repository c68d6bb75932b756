//! What a rule asks of the first packet itself, beside zones, addresses and ports.

use crate::asked::{Asked, Seen};

/// Ports of the gateway, a bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortSet(u16);

impl PortSet {
    /// All of them.
    pub const ALL: Self = Self(u16::MAX);
    /// None.
    pub const NONE: Self = Self(0);

    /// One more.
    pub fn add(&mut self, port: u8) {
        self.0 |= 1u16.checked_shl(port.into()).unwrap_or(0);
    }

    /// Whether it is one of them. A port that is not known is one of all alone.
    const fn has(self, port: u8) -> bool {
        self.0 == u16::MAX || (port < 16 && self.0 >> port & 1 == 1)
    }
}

/// The conditions, all of which must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    /// Ports of the gateway by which the packet comes.
    pub comes_by: PortSet,
    /// Those by which it goes.
    pub goes_by: PortSet,
    /// Flags of TCP that are set.
    pub flags_set: u8,
    /// Flags of TCP that are not.
    pub flags_clear: u8,
    /// Code points of differentiated services (RFC 2474), a bit each.
    pub dscps: u64,
    /// The least and the most bytes of the IP packet.
    pub length: (u16, u16),
    /// Whether it is a fragment.
    pub is_fragment: Option<bool>,
}

impl Condition {
    /// Every packet.
    pub const ANY: Self = Self {
        comes_by: PortSet::ALL,
        goes_by: PortSet::ALL,
        flags_set: 0,
        flags_clear: 0,
        dscps: u64::MAX,
        length: (0, u16::MAX),
        is_fragment: None,
    };

    /// Whether a packet is as it is asked for. `favours`: what is said where the length is not known any more.
    pub(crate) const fn fits(&self, asked: &Asked, favours: bool) -> bool {
        let Seen { mark, dscp, is_fragment, length } = asked.seen;
        let flags = self.flags_set | self.flags_clear;
        let as_long = match length {
            Seen::NO_LENGTH => favours || (self.length.0 == 0 && self.length.1 == u16::MAX),
            length => self.length.0 <= length && length <= self.length.1,
        };
        let as_whole = match self.is_fragment {
            Some(wanted) => wanted == is_fragment,
            None => true,
        };
        self.comes_by.has(asked.comes_by)
            && self.goes_by.has(asked.goes_by)
            && mark & flags == self.flags_set
            && self.dscps >> (dscp & 63) & 1 == 1
            && as_long
            && as_whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asked::Zone;

    fn asked(seen: Seen) -> Asked {
        Asked {
            from: Zone::Inside,
            to: Zone::Outside,
            protocol: 6,
            source: 1,
            destination: 2,
            source_port: 3,
            destination_port: 4,
            comes_by: 0,
            goes_by: 1,
            seen,
        }
    }

    #[test]
    fn each_condition_is_asked() {
        let seen = Seen { mark: 0x42, dscp: 46, is_fragment: false, length: 60 };
        let mut first = PortSet::NONE;
        first.add(0);
        let any = Condition::ANY;
        for (condition, fits) in [
            (any, true),
            (Condition { comes_by: first, ..any }, true),
            (Condition { goes_by: first, ..any }, false),
            (Condition { flags_set: 0x40, ..any }, true),
            (Condition { flags_set: 0x41, ..any }, false),
            (Condition { flags_set: 0x02, flags_clear: 0x20, ..any }, true),
            (Condition { flags_clear: 0x40, ..any }, false),
            (Condition { dscps: 1 << 46, ..any }, true),
            (Condition { dscps: 1 << 45, ..any }, false),
            (Condition { length: (60, 60), ..any }, true),
            (Condition { length: (61, 100), ..any }, false),
            (Condition { is_fragment: Some(false), ..any }, true),
            (Condition { is_fragment: Some(true), ..any }, false),
        ] {
            assert_eq!(condition.fits(&asked(seen), false), fits, "{condition:?}");
        }
    }

    #[test]
    fn a_length_that_is_not_known_is_told_in_favour() {
        let stands = asked(Seen { length: Seen::NO_LENGTH, ..Seen::default() });
        let short = Condition { length: (0, 100), ..Condition::ANY };
        assert!(short.fits(&stands, true) && !short.fits(&stands, false));
        assert!(Condition::ANY.fits(&stands, false));
        let unknown = Asked { comes_by: u8::MAX, ..stands };
        let mut first = PortSet::NONE;
        first.add(0);
        assert!(Condition::ANY.fits(&unknown, false));
        assert!(!Condition { comes_by: first, ..Condition::ANY }.fits(&unknown, false));
    }
}
