//! Packets by template: everything that is alike in them stands there once, what differs is patched in.
//!
//! All carry 18 bytes of UDP payload, which makes the plain ones 60 bytes: the shortest Ethernet frame without its
//! checksum. Every checksum in them is right.

use ces_dataplane::msg::Encapsulation;
use ces_dataplane::wire::{self, Wire, checksum, ethernet, gre, ipv4, udp, vxlan};

/// Bytes of UDP payload.
pub const PAYLOAD: usize = 18;
/// UDP destination port of the inner (or only) packet: discard.
pub const SERVICE: u16 = 9;
/// Bytes of a plain frame.
pub const PLAIN: usize = ethernet::LENGTH + ipv4::LENGTH + udp::LENGTH + PAYLOAD;
/// The most bytes of a template: a plain frame behind outer Ethernet, IPv4, UDP and VXLAN or GENEVE.
const LONGEST: usize = PLAIN + ethernet::LENGTH + ipv4::LENGTH + udp::LENGTH + vxlan::LENGTH;

/// What differs between packets of one template.
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

/// The outer headers of a template.
#[derive(Clone, Copy, Debug)]
struct Outer {
    encapsulation: Encapsulation,
    /// Sum of the outer IPv4 header without its source and checksum.
    sum: u64,
    /// Where the inner Ethernet header begins.
    inner: usize,
}

/// A template.
#[derive(Clone, Debug)]
pub struct PacketTemplate {
    bytes: [u8; LONGEST],
    length: usize,
    outer: Option<Outer>,
    /// Sums over what does not differ: the inner IPv4 header, and pseudo header, UDP header and payload.
    ip_sum: u64,
    udp_sum: u64,
}

/// Where the IPv4 header stands after its Ethernet header.
const IP: usize = ethernet::LENGTH;
/// Where the UDP header stands.
const UDP: usize = IP + ipv4::LENGTH;

impl PacketTemplate {
    /// Frames from `source_mac` to `destination_mac`, without a tunnel.
    pub fn plain(source_mac: [u8; 6], destination_mac: [u8; 6]) -> Self {
        let mut bytes = [0; LONGEST];
        let link = ethernet::Header {
            destination: destination_mac,
            source: source_mac,
            vlan: None,
            ethertype: ethernet::IPV4,
        };
        link.emit(&mut bytes);
        let datagram = (udp::LENGTH + PAYLOAD) as u16;
        let header = ipv4::Header::new(ipv4::UDP, 0, 0, ipv4::LENGTH as u16 + datagram);
        let ip_sum = header.emit_open(&mut bytes[IP..UDP]).0;
        let udp = udp::Header { source_port: 0, destination_port: 0, datagram_length: datagram, checksum: 0 };
        udp.emit(&mut bytes[UDP..]);
        for (index, byte) in bytes[UDP + udp::LENGTH..PLAIN].iter_mut().enumerate() {
            *byte = index as u8;
        }
        let udp_sum = checksum::pseudo(0, 0, ipv4::UDP, usize::from(datagram)).bytes(&bytes[UDP..PLAIN]).0;
        Self { bytes, length: PLAIN, outer: None, ip_sum, udp_sum }
    }

    /// The same in a tunnel to `locator`.
    pub fn tunnelled(
        source_mac: [u8; 6],
        destination_mac: [u8; 6],
        locator: u32,
        encapsulation: Encapsulation,
    ) -> Self {
        let plain = Self::plain([0; 6], [0; 6]);
        let mut template = Self { bytes: [0; LONGEST], ..plain.clone() };
        let bytes = &mut template.bytes;
        // A plain frame has an Ethernet header of its own: it takes the place of the outer headers' last.
        let outer = wire::Outer::new(encapsulation, 0, locator, 0);
        let inner = IP + outer.length() - ethernet::LENGTH;
        let link = ethernet::Header {
            destination: destination_mac,
            source: source_mac,
            vlan: None,
            ethertype: ethernet::IPV4,
        };
        link.emit(bytes);
        outer.emit(&mut bytes[IP..], (PLAIN - ethernet::LENGTH) as u16, 0);
        bytes[IP + ipv4::CHECKSUM..IP + ipv4::SOURCE].fill(0);
        let sum = checksum::Sum::default().bytes(&bytes[IP..UDP]).0;
        bytes[inner..inner + PLAIN].copy_from_slice(&plain.bytes[..PLAIN]);
        template.length = inner + PLAIN;
        template.outer = Some(Outer { encapsulation, sum, inner });
        template
    }

    /// Bytes of every packet.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Never: a template has headers.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Makes the packet of a flow; it lies in the template until the next one.
    #[inline]
    pub fn packet(&mut self, flow: &Differences) -> &[u8] {
        let bytes = &mut self.bytes;
        let start = match self.outer {
            None => 0,
            Some(outer) => {
                bytes[IP + ipv4::SOURCE..IP + ipv4::DESTINATION]
                    .copy_from_slice(&flow.outer_source.to_be_bytes());
                let sum = checksum::Sum(outer.sum).words(flow.outer_source).checksum();
                bytes[IP + ipv4::CHECKSUM..IP + ipv4::SOURCE].copy_from_slice(&sum.to_be_bytes());
                if outer.encapsulation == Encapsulation::Gre {
                    bytes[UDP + gre::KEY..UDP + gre::LENGTH].copy_from_slice(&flow.id.to_be_bytes());
                } else {
                    bytes[UDP..UDP + 2]
                        .copy_from_slice(&(flow.source_port | wire::outer::SOURCE_PORTS).to_be_bytes());
                    let id = UDP + udp::LENGTH + vxlan::ID; // GENEVE's stands there, too
                    bytes[id..id + 4].copy_from_slice(&(flow.id << 8).to_be_bytes());
                }
                outer.inner
            }
        };
        let bytes = &mut bytes[start..start + PLAIN];
        bytes[IP + ipv4::SOURCE..IP + ipv4::DESTINATION].copy_from_slice(&flow.source.to_be_bytes());
        bytes[IP + ipv4::DESTINATION..UDP].copy_from_slice(&flow.destination.to_be_bytes());
        let addresses = |sum: u64| checksum::Sum(sum).words(flow.source).words(flow.destination);
        bytes[IP + ipv4::CHECKSUM..IP + ipv4::SOURCE]
            .copy_from_slice(&addresses(self.ip_sum).checksum().to_be_bytes());
        bytes[UDP..UDP + 2].copy_from_slice(&flow.source_port.to_be_bytes());
        bytes[UDP + 2..UDP + 4].copy_from_slice(&flow.destination_port.to_be_bytes());
        let ports = addresses(self.udp_sum).word(flow.source_port).word(flow.destination_port);
        let sum = ports.checksum_udp();
        bytes[UDP + udp::CHECKSUM..UDP + udp::LENGTH].copy_from_slice(&sum.to_be_bytes());
        &self.bytes[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ces_dataplane::wire::geneve;

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
            };
            assert_eq!(id, FLOW.id);
            inner_is_right(&frame[inner..]);
        }
    }
}
