//! Packets of one shape, ready but for what differs: addresses, ports, length and signature.
//!
//! The payload is zeroes, so that a checksum is that of the headers, prepared once, and of what differs.

use super::ends::Ends;
use super::signature::{self, Signature};
use crate::port::frames::Blank;
use crate::profile::model::Protocol;
use crate::profile::traffic::Shape;
use ces_dataplane::wire::checksum::{self, Sum};
use ces_dataplane::wire::outer::SOURCE_PORTS;
use ces_dataplane::wire::{self, Wire, ethernet, ipv4, tcp, udp};

/// Bytes of a template: the longest headers (Ethernet with a tag 18, IPv4 20, UDP 8, VXLAN or GENEVE 8, Ethernet 14, IPv4 20,
/// TCP 20 = 108) and zeroes, so that the shortest packets are one copy.
const IMAGE: usize = 128;
/// The smallest frame without its FCS (IEEE 802.3 §4.4.2).
const FRAME_MIN: usize = 60;

/// What all packets of a template have in common beside their shape.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Where frames come from.
    pub source: [u8; 6],
    /// Where they go to.
    pub destination: [u8; 6],
    /// Their tag.
    pub vlan: Option<u16>,
    /// DSCP and ECN, of the hosts' packet and of the tunnel's.
    pub tos: u8,
    /// Time to live of both.
    pub ttl: u8,
}

/// Where the tunnel's headers stand, if there is one.
#[derive(Clone, Copy, Debug)]
struct Outer {
    /// The outer IPv4 header.
    ip: usize,
    /// Its sum without length and checksum.
    sum: u64,
    /// Whether UDP follows.
    udp: bool,
}

/// Headers of one shape.
#[derive(Clone, Debug)]
pub struct Template {
    /// The headers, and zeroes behind them.
    image: [u8; IMAGE],
    /// Bytes of the headers.
    length: usize,
    /// Where the hosts' IPv4 header begins.
    ip: usize,
    protocol: Protocol,
    /// The sum of the hosts' IPv4 header without length, addresses and checksum.
    ip_sum: u64,
    /// The sum of the UDP or TCP header and its pseudo header without lengths, addresses, ports and checksum.
    l4_sum: u64,
    outer: Option<Outer>,
}

impl Template {
    /// The template of a shape.
    pub fn new(link: &Link, shape: &Shape) -> Self {
        let mut headers = [0; IMAGE];
        let ethernet = ethernet::Header {
            destination: link.destination,
            source: link.source,
            vlan: link.vlan,
            ethertype: ethernet::IPV4,
        };
        ethernet.emit(&mut headers);
        let mut ip = ethernet.length();
        let outer = shape.outer.map(|outer| {
            let at = ip;
            let headers_of = wire::Outer {
                tos: link.tos,
                ttl: link.ttl,
                ..wire::Outer::new(outer.encapsulation, outer.source, outer.destination, outer.id)
            };
            let sum = headers_of.emit_open(&mut headers[at..]).0;
            ip += headers_of.length();
            Outer { ip: at, sum, udp: outer.encapsulation.port().is_some() }
        });
        let fresh = ipv4::Header::new(shape.protocol.number(), 0, 0, 0);
        let header = ipv4::Header { tos: link.tos, ttl: link.ttl, ..fresh };
        let ip_sum = header.emit_open(&mut headers[ip..]).0;
        let l4 = ip + ipv4::LENGTH;
        let l4_length = match shape.protocol {
            Protocol::Udp => udp::LENGTH,
            Protocol::Tcp => {
                let segment = tcp::Header {
                    source_port: 0,
                    destination_port: 0,
                    sequence: 1,
                    acknowledgement: 1,
                    header_length: tcp::LENGTH as u8,
                    flags: tcp::ACK,
                    window: u16::MAX,
                    checksum: 0,
                    urgent: 0,
                };
                segment.emit(&mut headers[l4..]);
                tcp::LENGTH
            }
        };
        let length = l4 + l4_length;
        let l4_sum = checksum::pseudo(0, 0, shape.protocol.number(), 0).bytes(&headers[l4..length]).0;
        Self { image: headers, length, ip, protocol: shape.protocol, ip_sum, l4_sum, outer }
    }

    /// Bytes of the frame, without FCS, whose hosts' packet has `total` bytes.
    #[inline(always)]
    fn frame_length(&self, total: u16) -> usize {
        (self.ip + usize::from(total)).max(FRAME_MIN)
    }

    /// Makes a frame a packet whose hosts' packet has `total` bytes. Returns the frame's length, without FCS.
    #[inline(always)]
    pub fn write<F: Blank>(&self, frame: &mut F, total: u16, tuple: &Ends, signature: &Signature) -> usize {
        let length = self.frame_length(total);
        if let Some(image) = self.image.get(..length) {
            frame.copy(image);
        } else {
            frame.blank(length);
            if let Some(head) = frame.data_mut().get_mut(..self.length) {
                head.copy_from_slice(&self.image[..self.length]);
            }
        }
        self.complete(frame.data_mut(), total, tuple, signature);
        length
    }

    /// Writes what differs between packets.
    #[inline(always)]
    fn complete(&self, frame: &mut [u8], total: u16, tuple: &Ends, signature: &Signature) {
        if let Some(outer) = &self.outer {
            self.write_outer(outer, frame, total, tuple);
        }
        let Some(packet) = frame.get_mut(self.ip..self.ip + usize::from(total)) else { return };
        if let Some(end) = packet.last_chunk_mut() {
            signature.emit(end);
        }
        let Some(head) = packet.first_chunk_mut::<{ ipv4::LENGTH + udp::LENGTH }>() else { return };
        let addresses = Sum(0).words(tuple.source).words(tuple.destination).0;
        let sum = Sum(self.ip_sum + addresses).word(total).checksum();
        head[ipv4::TOTAL_LENGTH..ipv4::ID].copy_from_slice(&total.to_be_bytes());
        head[ipv4::CHECKSUM..ipv4::SOURCE].copy_from_slice(&sum.to_be_bytes());
        head[ipv4::SOURCE..ipv4::DESTINATION].copy_from_slice(&tuple.source.to_be_bytes());
        head[ipv4::DESTINATION..ipv4::LENGTH].copy_from_slice(&tuple.destination.to_be_bytes());
        head[20..22].copy_from_slice(&tuple.source_port.to_be_bytes());
        head[22..24].copy_from_slice(&tuple.destination_port.to_be_bytes());
        let l4_length = total - ipv4::LENGTH as u16;
        let sum = signature.sum();
        // It begins at an odd byte if it ends at one.
        let sum = if total & 1 == 1 { Sum(0).word(sum.fold().swap_bytes()) } else { sum };
        let sum = Sum(self.l4_sum + addresses + sum.0)
            .word(tuple.source_port)
            .word(tuple.destination_port)
            .word(l4_length);
        match self.protocol {
            Protocol::Udp => {
                // The length stands in the header as well as in the pseudo header.
                let sum = sum.word(l4_length).checksum_udp();
                head[24..26].copy_from_slice(&l4_length.to_be_bytes());
                head[26..28].copy_from_slice(&sum.to_be_bytes());
            }
            Protocol::Tcp => {
                let at = ipv4::LENGTH + tcp::CHECKSUM;
                if let Some(field) = packet.get_mut(at..at + 2) {
                    field.copy_from_slice(&sum.checksum().to_be_bytes());
                }
            }
        }
    }

    #[inline(always)]
    fn write_outer(&self, outer: &Outer, frame: &mut [u8], total: u16, tuple: &Ends) {
        let outer_total = total + (self.ip - outer.ip) as u16;
        let Some(head) =
            frame.get_mut(outer.ip..).and_then(|packet| packet.first_chunk_mut::<{ ipv4::LENGTH + 6 }>())
        else {
            return;
        };
        head[ipv4::TOTAL_LENGTH..ipv4::ID].copy_from_slice(&outer_total.to_be_bytes());
        let sum = Sum(outer.sum).word(outer_total).checksum();
        head[ipv4::CHECKSUM..ipv4::SOURCE].copy_from_slice(&sum.to_be_bytes());
        if outer.udp {
            // A flow keeps its port, so that it keeps its path and its receive queue.
            let port = (tuple.source_port ^ (tuple.source as u16)) | SOURCE_PORTS;
            head[20..22].copy_from_slice(&port.to_be_bytes());
            head[24..26].copy_from_slice(&(outer_total - ipv4::LENGTH as u16).to_be_bytes());
        }
    }
}

/// The shortest hosts' packet fits in every template.
const _: () = assert!(ipv4::LENGTH + udp::LENGTH + signature::LENGTH + ethernet::LENGTH == FRAME_MIN);

#[cfg(test)]
mod tests {
    use super::super::signature::{Found, find};
    use super::*;
    use crate::profile::traffic;
    use ces_dataplane::frame::{Frame, MemoryFrame};
    use ces_dataplane::wire::{Encapsulation, geneve, gre, vxlan};
    use proptest::prelude::*;

    fn shapes() -> impl Strategy<Value = Shape> {
        let protocol = prop_oneof![Just(Protocol::Udp), Just(Protocol::Tcp)];
        let encapsulation =
            prop_oneof![Just(Encapsulation::Vxlan), Just(Encapsulation::Gre), Just(Encapsulation::Geneve)];
        let outer = proptest::option::of((encapsulation, any::<(u32, u32)>(), 0u32..1 << 24));
        (protocol, outer).prop_map(|(protocol, outer)| Shape {
            protocol,
            outer: outer.map(|(encapsulation, (source, destination), id)| traffic::Outer {
                encapsulation,
                source,
                destination,
                id,
            }),
            received_overhead: 0,
        })
    }

    proptest! {
        /// Both headers, lengths and checksums are right for every shape and length, and the signature is found.
        #[test]
        fn packets_are_right(
            shape in shapes(), vlan in proptest::option::of(1u16..4095), extra in 0u16..200,
            (source, destination, source_port, destination_port) in any::<(u32, u32, u16, u16)>(),
            (trial, flow, sequence) in any::<(u16, u32, u32)>(), time_ns in 0..=signature::TIME_MASK,
        ) {
            let link = Link { source: [2; 6], destination: [4; 6], vlan, tos: 0x2e, ttl: 9 };
            let template = Template::new(&link, &shape);
            let tuple = Ends { source, destination, source_port, destination_port };
            let signature = Signature { trial, flow, sequence, time_ns };
            let total = super::super::shortest(shape.protocol) + extra;
            let mut frame = MemoryFrame::new(&[0xa5; 300]);
            let length = template.write(&mut frame, total, &tuple, &signature);
            prop_assert_eq!(length, frame.data().len());
            let frame = frame.data();

            let overhead = shape.outer.map_or(0, |outer| outer.encapsulation.overhead());
            prop_assert_eq!(find(frame), Found::Ours(signature, total + overhead));
            let ethernet = ethernet::Header::parse(frame).unwrap();
            prop_assert_eq!((ethernet.vlan, ethernet.ethertype), (vlan, ethernet::IPV4));
            let outermost = ipv4::Header::parse(&frame[ethernet.length()..]).unwrap();
            prop_assert_eq!((outermost.tos, outermost.ttl, outermost.total_length), (0x2e, 9, total + overhead));
            let inner = ethernet.length() + usize::from(overhead);
            if let Some(outer) = shape.outer {
                prop_assert_eq!((outermost.source, outermost.destination), (outer.source, outer.destination));
                let l4 = &frame[ethernet.length() + 20..];
                let id = match outer.encapsulation {
                    Encapsulation::Vxlan => vxlan::Header::parse(&l4[8..]).unwrap().id,
                    Encapsulation::Geneve => geneve::Header::parse(&l4[8..]).unwrap().id,
                    Encapsulation::Gre => gre::Header::parse(l4).unwrap().key,
                    Encapsulation::Psp => unreachable!("not in clear"),
                };
                prop_assert_eq!(id, outer.id);
                if outer.encapsulation != Encapsulation::Gre {
                    let udp = udp::Header::parse(l4).unwrap();
                    prop_assert_eq!(udp.datagram_length, total + overhead - 20);
                    prop_assert!(udp.source_port >= SOURCE_PORTS);
                }
            }
            let ip = ipv4::Header::parse(&frame[inner..]).unwrap();
            prop_assert_eq!((ip.source, ip.destination, ip.total_length), (source, destination, total));
            let l4 = &frame[inner + 20..inner + usize::from(total)];
            let whole = checksum::pseudo(source, destination, ip.protocol, l4.len()).bytes(l4);
            prop_assert_eq!(whole.fold(), 0xffff);
            match shape.protocol {
                Protocol::Udp => prop_assert_eq!(udp::Header::parse(l4).unwrap().source_port, source_port),
                Protocol::Tcp => prop_assert_eq!(tcp::Header::parse(l4).unwrap().destination_port, destination_port),
            }
        }
    }
}
