//! What a received frame is to a host: a whole TCP segment or UDP datagram with right checksums, or none of its business.

use crate::frame::ends::Ends;
use ces_dataplane::wire::checksum::pseudo;
use ces_dataplane::wire::{Wire, ethernet, ipv4, tcp, udp};

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// A TCP segment.
    Tcp(Ends, Segment<'a>),
    /// A UDP datagram's payload.
    Udp(Ends, &'a [u8]),
    /// TCP or UDP, but cut short or with a wrong checksum: a host drops it.
    Damaged,
    /// Anything else.
    Foreign,
}

/// What of a TCP segment matters to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Its sequence number.
    pub sequence: u32,
    /// What it acknowledges.
    pub acknowledgement: u32,
    /// FIN, SYN, RST, PSH, ACK from bit 0 on.
    pub flags: u8,
    /// The sender's timestamp (RFC 7323 §3.2), if there is one.
    pub timestamp: Option<u32>,
    /// Its data.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a frame as it was received.
    pub fn parse(frame: &'a [u8]) -> Self {
        let Ok(link) = ethernet::Header::parse(frame) else { return Self::Foreign };
        let packet = frame.get(link.length()..).unwrap_or_default();
        if link.ethertype != ethernet::IPV4 {
            return Self::Foreign;
        }
        let Ok(ip) = ipv4::Header::parse(packet) else { return Self::Damaged };
        if ip.is_fragment() || !matches!(ip.protocol, ipv4::TCP | ipv4::UDP) {
            return Self::Foreign;
        }
        let body = packet.get(ip.length()..usize::from(ip.total_length)).unwrap_or_default();
        let ends = |source_port, destination_port| Ends {
            source: ip.source,
            destination: ip.destination,
            source_port,
            destination_port,
        };
        let whole =
            || pseudo(ip.source, ip.destination, ip.protocol, body.len()).bytes(body).fold() == 0xffff;
        if ip.protocol == ipv4::TCP {
            let Ok(header) = tcp::Header::parse(body) else { return Self::Damaged };
            if !whole() {
                return Self::Damaged;
            }
            let (head, payload) = body.split_at(header.length());
            let segment = Segment {
                sequence: header.sequence,
                acknowledgement: header.acknowledgement,
                flags: header.flags,
                timestamp: timestamp(head),
                payload,
            };
            Self::Tcp(ends(header.source_port, header.destination_port), segment)
        } else {
            let Ok(header) = udp::Header::parse(body) else { return Self::Damaged };
            // A checksum of 0 says that there is none (RFC 768).
            if usize::from(header.datagram_length) != body.len() || header.checksum != 0 && !whole() {
                return Self::Damaged;
            }
            Self::Udp(ends(header.source_port, header.destination_port), &body[udp::LENGTH..])
        }
    }
}

/// The option's kind and length (RFC 7323 §3.2).
const TIMESTAMPS: [u8; 2] = [8, 10];

/// The sender's timestamp in a TCP header (options included).
fn timestamp(header: &[u8]) -> Option<u32> {
    let mut at = tcp::LENGTH;
    loop {
        match *header.get(at..)? {
            [] | [0, ..] => return None,
            [1, ..] => at += 1,
            [kind, length, a, b, c, d, ..] if [kind, length] == TIMESTAMPS => {
                return Some(u32::from_be_bytes([a, b, c, d]));
            }
            [_, length, ..] if length >= 2 => at += usize::from(length),
            _ => return None,
        }
    }
}
