//! The packets that are measured, built whole and outside of the measured time.
//!
//! All carry 18 bytes of UDP payload, which makes the plain ones 60 bytes: the shortest Ethernet frame without its
//! checksum. Every checksum in them is right.

use ces_dataplane::msg::Encapsulation;
use ces_dataplane::wire::{self, Wire, checksum, ethernet, ipv4, udp, vxlan};

/// Bytes of UDP payload.
pub const PAYLOAD: usize = 18;
/// UDP destination port of the inner (or only) packet: discard.
pub const SERVICE: u16 = 9;
/// Bytes of a plain frame.
pub const PLAIN: usize = ethernet::LENGTH + ipv4::LENGTH + udp::LENGTH + PAYLOAD;
/// The most bytes of a packet: a plain frame behind outer Ethernet, IPv4, UDP and VXLAN or GENEVE.
const LONGEST: usize = PLAIN + ethernet::LENGTH + ipv4::LENGTH + udp::LENGTH + vxlan::LENGTH;

/// What differs between packets of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Inner (or only) source.
    pub source: u32,
    /// Inner (or only) destination.
    pub destination: u32,
    /// UDP source port of the inner (or only) packet.
    pub source_port: u16,
    /// UDP destination port of the inner (or only) packet: mostly [`SERVICE`].
    pub destination_port: u16,
    /// Outer source, in a tunnel.
    pub outer_source: u32,
    /// Tunnel id, in a tunnel.
    pub id: u32,
}

/// Packets of one kind.
#[derive(Clone, Debug)]
pub struct PacketTemplate {
    bytes: [u8; LONGEST],
    /// The Ethernet header in front of everything.
    link: ethernet::Header,
    /// The header of the tunnel, and its outer destination.
    tunnel: Option<(Encapsulation, u32)>,
}

/// Where the IPv4 header stands after its Ethernet header.
const IP: usize = ethernet::LENGTH;

impl PacketTemplate {
    /// Frames from `source_mac` to `destination_mac`, without a tunnel.
    pub fn plain(source_mac: [u8; 6], destination_mac: [u8; 6]) -> Self {
        let ethertype = ethernet::IPV4;
        let link =
            ethernet::Header { destination: destination_mac, source: source_mac, vlan: None, ethertype };
        Self { bytes: [0; LONGEST], link, tunnel: None }
    }

    /// The same in a tunnel to `locator`.
    pub fn tunnelled(
        source_mac: [u8; 6],
        destination_mac: [u8; 6],
        locator: u32,
        encapsulation: Encapsulation,
    ) -> Self {
        Self { tunnel: Some((encapsulation, locator)), ..Self::plain(source_mac, destination_mac) }
    }

    /// Makes the packet of a flow; it lies here until the next one.
    pub fn packet(&mut self, flow: &Differences) -> &[u8] {
        let bytes = &mut self.bytes;
        self.link.emit(bytes);
        let mut ip = IP;
        if let Some((encapsulation, locator)) = self.tunnel {
            let outer = wire::Outer::new(encapsulation, flow.outer_source, locator, flow.id);
            outer.emit(&mut bytes[ip..], (PLAIN - IP) as u16, flow.source_port | wire::outer::SOURCE_PORTS);
            ip += outer.length();
        }
        let frame = &mut bytes[..ip + PLAIN - IP];
        for (byte, index) in frame[ip + PLAIN - IP - PAYLOAD..].iter_mut().zip(0..) {
            *byte = index;
        }
        emit_datagram(
            &mut frame[ip..],
            [flow.source, flow.destination],
            [flow.source_port, flow.destination_port],
        );
        frame
    }
}

/// Writes the IPv4 and UDP headers in front of the payload that stands in a packet, checksums included: from and to these
/// addresses and ports.
///
/// # Panics
/// If there is no room for both.
pub fn emit_datagram(packet: &mut [u8], [source, destination]: [u32; 2], ports: [u16; 2]) {
    ipv4::Header::new(ipv4::UDP, source, destination, packet.len() as u16).emit(packet);
    let datagram = &mut packet[ipv4::LENGTH..];
    let [source_port, destination_port] = ports;
    let datagram_length = datagram.len() as u16;
    udp::Header { source_port, destination_port, datagram_length, checksum: 0 }.emit(datagram);
    let sum = checksum::pseudo(source, destination, ipv4::UDP, datagram.len()).bytes(datagram).checksum_udp();
    datagram[udp::CHECKSUM..udp::LENGTH].copy_from_slice(&sum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use ces_dataplane::wire::{geneve, gre};

    /// Where the UDP header stands.
    const UDP: usize = IP + ipv4::LENGTH;

    const FLOW: Differences = Differences {
        source: 0x0a01_0203,
        destination: 0xac10_0405,
        source_port: 4321,
        destination_port: SERVICE,
        outer_source: 0xc633_6401,
        id: 0x00ab_cdef,
    };

    fn inner_is_right(frame: &[u8]) {
        assert_eq!(frame.len(), 60);
        let ip = ipv4::Header::parse(&frame[IP..]).unwrap();
        assert_eq!((ip.source, ip.destination, ip.total_length), (FLOW.source, FLOW.destination, 46));
        let udp = udp::Header::parse(&frame[UDP..]).unwrap();
        assert_eq!((udp.source_port, udp.datagram_length), (4321, 26));
        let sum = checksum::pseudo(ip.source, ip.destination, ipv4::UDP, 26).bytes(&frame[UDP..]);
        assert_eq!(sum.fold(), 0xffff);
    }

    #[test]
    fn plain_packets_have_right_checksums() {
        let mut template = PacketTemplate::plain([2; 6], [4; 6]);
        inner_is_right(template.packet(&FLOW));
        template.packet(&Differences::default());
        inner_is_right(template.packet(&FLOW));
    }

    #[test]
    fn tunnelled_packets_carry_a_plain_one() {
        for encapsulation in [Encapsulation::Vxlan, Encapsulation::Gre, Encapsulation::Geneve] {
            let mut template = PacketTemplate::tunnelled([2; 6], [4; 6], 0xc633_6402, encapsulation);
            let frame = template.packet(&FLOW);
            let ip = ipv4::Header::parse(&frame[IP..]).unwrap();
            assert_eq!((ip.source, usize::from(ip.total_length)), (FLOW.outer_source, frame.len() - IP));
            let (id, inner) = match encapsulation {
                Encapsulation::Vxlan => (vxlan::Header::parse(&frame[UDP + 8..]).unwrap().id, UDP + 16),
                Encapsulation::Geneve => (geneve::Header::parse(&frame[UDP + 8..]).unwrap().id, UDP + 16),
                Encapsulation::Gre => (gre::Header::parse(&frame[UDP..]).unwrap().key, UDP + 8),
                Encapsulation::Psp => unreachable!("not in clear"),
            };
            assert_eq!(id, FLOW.id);
            inner_is_right(&frame[inner..]);
        }
    }
}
