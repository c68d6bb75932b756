//! Packets: what is written on the wire, and how it is known again.

pub mod ends;
pub mod signature;
pub mod template;

use crate::profile::model::Protocol;
use ces_dataplane::wire::{ipv4, tcp, udp};

/// The shortest IPv4 packet of a protocol that has room for the signature.
pub const fn shortest(protocol: Protocol) -> u16 {
    let header = match protocol {
        Protocol::Udp => udp::LENGTH,
        Protocol::Tcp => tcp::LENGTH,
    };
    (ipv4::LENGTH + header + signature::LENGTH) as u16
}
