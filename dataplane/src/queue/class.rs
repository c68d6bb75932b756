//! What a packet is to those that wait for the same port: its class, by its DSCP (RFC 2474).

/// A class of service, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Class {
    /// Voice and what controls networks: before all others as long as it keeps to its rate; beyond that, what others leave.
    Urgent,
    /// Video, conferences and what is answered at once.
    Assured,
    /// Everything that says nothing.
    Ordinary,
    /// What may wait.
    Background,
}

impl Class {
    /// How many there are.
    pub const COUNT: usize = 4;
    /// All of them.
    pub const ALL: [Self; Self::COUNT] = [Self::Urgent, Self::Assured, Self::Ordinary, Self::Background];

    /// The label of metrics, and the name in output.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Urgent => "urgent",
            Self::Assured => "assured",
            Self::Ordinary => "ordinary",
            Self::Background => "background",
        }
    }

    /// Its part of what the urgent class leaves, against those of the others. Urgent packets have none, but their own rate.
    pub const fn weight(self) -> i32 {
        match self {
            Self::Urgent => 0,
            Self::Assured | Self::Ordinary => 8,
            Self::Background => 1,
        }
    }

    /// The class of a TOS byte, whose upper six bits are the DSCP.
    #[inline(always)]
    pub const fn of_tos(tos: u8) -> Self {
        BY_DSCP[(tos >> 2) as usize]
    }
}

/// The class of every DSCP.
const BY_DSCP: [Class; 64] = {
    let mut classes = [Class::Ordinary; 64];
    let mut dscp = 0;
    while dscp < 64 {
        classes[dscp] = by_dscp(dscp as u8);
        dscp += 1;
    }
    classes
};

/// RFC 4594 §2.3 names who uses which. An AF class is one class here, whatever its drop precedence (RFC 2597 §2: reordering
/// within one is forbidden).
const fn by_dscp(dscp: u8) -> Class {
    match dscp {
        // CS5, VOICE-ADMIT (RFC 5865), EF (RFC 3246), CS6, CS7 (RFC 2474 §4.2.2.2: they must be preferred to 0).
        40 | 44 | 46 | 48 | 56 => Class::Urgent,
        // CS2 to CS4, AF21 to AF43: signalling of applications, broadcast video, conferences, low-latency data.
        16 | 24 | 32 | 18 | 20 | 22 | 26 | 28 | 30 | 34 | 36 | 38 => Class::Assured,
        // LE (RFC 8622), and CS1, which stood for the same before (RFC 3662).
        1 | 8 => Class::Background,
        // RFC 2474 §3: what is not known is treated as 0 is.
        _ => Class::Ordinary,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_follow_the_dscp_and_not_ecn() {
        for (dscp, class) in [
            (46, Class::Urgent),
            (40, Class::Urgent),
            (48, Class::Urgent),
            (34, Class::Assured),
            (38, Class::Assured),
            (0, Class::Ordinary),
            (10, Class::Ordinary),
            (63, Class::Ordinary),
            (1, Class::Background),
            (8, Class::Background),
        ] {
            for ecn in 0..4 {
                assert_eq!(Class::of_tos(dscp << 2 | ecn), class, "DSCP {dscp}");
            }
        }
    }

    #[test]
    fn rfc_2597_an_af_class_is_not_reordered() {
        for class in 1..=4u8 {
            let of = |drop: u8| Class::of_tos((class << 3 | drop << 1) << 2);
            assert!(of(1) == of(2) && of(2) == of(3));
        }
    }
}
