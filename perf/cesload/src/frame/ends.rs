//! From where to where a packet goes.

use ces_dataplane::wire::{Wire, ethernet, ipv4};

/// Addresses and ports, as they stand in the packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// Those of a frame with a whole TCP or UDP header in its first fragment; nothing else of it is looked at.
    pub fn of(frame: &[u8]) -> Option<Self> {
        let link = ethernet::Header::parse(frame).ok().filter(|link| link.ethertype == ethernet::IPV4)?;
        let packet = frame.get(link.length()..)?;
        let ip = ipv4::Header::parse(packet).ok()?;
        if ip.is_fragment() || !matches!(ip.protocol, ipv4::TCP | ipv4::UDP) {
            return None;
        }
        let [a, b, c, d] = *packet.get(ip.length()..)?.first_chunk()?;
        Some(Self {
            source: ip.source,
            destination: ip.destination,
            source_port: u16::from_be_bytes([a, b]),
            destination_port: u16::from_be_bytes([c, d]),
        })
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
