//! The kinds of ports that an address has.

use crate::wire::ipv4;

/// The kinds of ports that an address has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Space {
    /// Of TCP.
    Tcp,
    /// Of UDP, and of what has ports like it: DCCP and UDP-Lite.
    Udp,
    /// Identifiers of ICMP queries (RFC 5508 §3.1).
    Icmp,
}

impl Space {
    /// How many there are.
    pub const COUNT: usize = 3;

    /// The ports of a protocol; `None`: it has none.
    pub const fn of(protocol: u8) -> Option<Self> {
        match protocol {
            ipv4::TCP => Some(Self::Tcp),
            ipv4::UDP | ipv4::DCCP | ipv4::UDP_LITE => Some(Self::Udp),
            ipv4::ICMP => Some(Self::Icmp),
            _ => None,
        }
    }
}
