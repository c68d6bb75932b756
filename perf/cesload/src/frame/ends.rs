//! From where to where a packet goes.

use crate::profile::model::Protocol;
use ces_dataplane::wire::{Wire, ethernet, ipv4};

/// Addresses and ports, as they stand in the packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ends {
    /// Source address.
    pub source: u32,
    /// Destination address.
    pub destination: u32,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
}

impl Ends {
    /// Those of a frame with TCP or UDP and its ports, and which of the two; nothing else of it is looked at, and its end may be
    /// missing.
    pub fn of(frame: &[u8]) -> Option<(Self, Protocol)> {
        let link = ethernet::Header::parse(frame).ok().filter(|link| link.ethertype == ethernet::IPV4)?;
        let packet = frame.get(link.length()..)?;
        let ip = ipv4::Header::parse_quoted(packet).ok()?;
        let protocol = match ip.protocol {
            _ if ip.is_fragment() => return None,
            ipv4::UDP => Protocol::Udp,
            ipv4::TCP => Protocol::Tcp,
            _ => return None,
        };
        let [a, b, c, d] = *packet.get(ip.length()..)?.first_chunk()?;
        let ends = Self {
            source: ip.source,
            destination: ip.destination,
            source_port: u16::from_be_bytes([a, b]),
            destination_port: u16::from_be_bytes([c, d]),
        };
        Some((ends, protocol))
    }

    /// The way back.
    pub const fn swapped(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
        }
    }
}
