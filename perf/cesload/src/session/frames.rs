//! The frames of sessions: templates with everything in place that is the same for all, and the sums over it, so that
//! writing one is a copy and a few words.

use crate::frame::ends::Ends;
use crate::frame::signature::Signature;
use crate::session::stamp::Stamp;
use ces_dataplane::wire::checksum::{Sum, pseudo};
use ces_dataplane::wire::{Wire, ethernet, ipv4, tcp, udp};
use ces_perf::packets::emit_datagram;

/// Where frames go that are to be sent.
pub trait Outlet {
    /// A frame to be sent by a port, so far a copy of `content`, without FCS; `None` if there is no room for one now.
    fn frame(&mut self, port: usize, content: &[u8]) -> Option<&mut [u8]>;
}

/// Bytes of the frame check sequence, which counts as part of a frame's size (RFC 2544 §9.1) and is not in its buffer.
pub const FCS: usize = 4;
/// Bytes of the timestamps option with the two NOPs that align it (RFC 7323 appendix A).
const TIMESTAMPS: [u8; 4] = [1, 1, 8, 10];
/// Its bytes in all.
const TIMESTAMPS_LENGTH: usize = 12;
/// The maximum segment size option of a SYN (RFC 9293 §3.7.1): 1,460, what fits into 1,500 bytes.
const SEGMENT_SIZE: [u8; 4] = [2, 4, 0x05, 0xb4];
/// The window that both sides offer: nobody ever has more than one segment under way.
const WINDOW: u16 = 0xffff;

/// Bytes of headers ahead of a segment's data, link header apart.
pub const TCP_HEADERS: usize = ipv4::LENGTH + tcp::LENGTH + TIMESTAMPS_LENGTH;
/// Bytes of headers ahead of a datagram's payload, link header apart.
pub const UDP_HEADERS: usize = ipv4::LENGTH + udp::LENGTH;

/// A frame that wants only what differs from session to session.
#[derive(Clone, Debug)]
pub struct SessionTemplate {
    bytes: Vec<u8>,
    /// Where the IPv4 header begins.
    ip: usize,
    /// The sum over the IPv4 header.
    ip_sum: Sum,
    /// The sum over the pseudo header and what follows the IPv4 header, addresses apart.
    body_sum: Sum,
    /// Bytes of the TCP header.
    tcp_header: usize,
}

impl SessionTemplate {
    fn new(link: &ethernet::Header, protocol: u8, body: &[u8]) -> Self {
        let (ip, total) = (link.length(), ipv4::LENGTH + body.len());
        let mut bytes = vec![0; ip];
        link.emit(&mut bytes);
        bytes.resize(ip + ipv4::LENGTH, 0);
        let ip_sum = ipv4::Header::new(protocol, 0, 0, total as u16).emit_open(&mut bytes[ip..]);
        bytes.extend_from_slice(body);
        Self {
            bytes,
            ip,
            ip_sum,
            body_sum: pseudo(0, 0, protocol, body.len()).bytes(body),
            tcp_header: body.get(tcp::DATA_OFFSET).map_or(0, |byte| usize::from(byte >> 4) * 4),
        }
    }

    fn segment(link: &ethernet::Header, options: &[u8], data: usize) -> Self {
        let mut body = vec![0; tcp::LENGTH];
        tcp::Header {
            source_port: 0,
            destination_port: 0,
            sequence: 0,
            acknowledgement: 0,
            header_length: (tcp::LENGTH + options.len() + TIMESTAMPS_LENGTH) as u8,
            flags: 0,
            window: WINDOW,
            checksum: 0,
            urgent: 0,
        }
        .emit(&mut body);
        body.extend_from_slice(options);
        body.extend_from_slice(&TIMESTAMPS);
        body.resize(body.len() + TIMESTAMPS_LENGTH - TIMESTAMPS.len() + data, 0);
        Self::new(link, ipv4::TCP, &body)
    }

    /// A SYN, or a SYN-ACK.
    pub fn syn(link: &ethernet::Header) -> Self {
        Self::segment(link, &SEGMENT_SIZE, 0)
    }

    /// A segment with so much data.
    pub fn data(link: &ethernet::Header, bytes: usize) -> Self {
        Self::segment(link, &[], bytes)
    }

    /// A datagram with so much payload.
    pub fn datagram(link: &ethernet::Header, bytes: usize) -> Self {
        let mut body = vec![0; udp::LENGTH + bytes];
        let datagram_length = body.len() as u16;
        udp::Header { source_port: 0, destination_port: 0, datagram_length, checksum: 0 }.emit(&mut body);
        Self::new(link, ipv4::UDP, &body)
    }

    /// Its size as an Ethernet frame with FCS.
    pub fn size(&self) -> usize {
        self.bytes.len() + FCS
    }

    /// Writes addresses, ports and the IPv4 checksum; what follows the IPv4 header, and the sum so far.
    fn ends<'a>(&self, frame: &'a mut [u8], ends: Ends) -> (&'a mut [u8], Sum) {
        let (ip, body) = frame[self.ip..].split_at_mut(ipv4::LENGTH);
        let sum = self.ip_sum.words(ends.source).words(ends.destination).checksum();
        ip[ipv4::CHECKSUM..ipv4::SOURCE].copy_from_slice(&sum.to_be_bytes());
        ip[ipv4::SOURCE..ipv4::DESTINATION].copy_from_slice(&ends.source.to_be_bytes());
        ip[ipv4::DESTINATION..].copy_from_slice(&ends.destination.to_be_bytes());
        body[udp::SOURCE_PORT..udp::DESTINATION_PORT].copy_from_slice(&ends.source_port.to_be_bytes());
        body[udp::DESTINATION_PORT..udp::DESTINATION_PORT + 2]
            .copy_from_slice(&ends.destination_port.to_be_bytes());
        let sum = self.body_sum.words(ends.source).words(ends.destination);
        (body, sum.word(ends.source_port).word(ends.destination_port))
    }

    /// Makes a TCP segment of it. `to`: another station than the template's.
    pub fn emit_tcp(
        &self,
        out: &mut impl Outlet,
        port: usize,
        to: Option<[u8; 6]>,
        ends: Ends,
        tcp: &Fields,
    ) -> bool {
        let Some(frame) = out.frame(port, &self.bytes) else { return false };
        if let Some(to) = to {
            frame[..6].copy_from_slice(&to);
        }
        let (body, sum) = self.ends(frame, ends);
        body[tcp::SEQUENCE..tcp::ACKNOWLEDGEMENT].copy_from_slice(&tcp.sequence.to_be_bytes());
        body[tcp::ACKNOWLEDGEMENT..tcp::DATA_OFFSET].copy_from_slice(&tcp.acknowledgement.to_be_bytes());
        body[tcp::FLAGS] = tcp.flags;
        let times = self.tcp_header - 8;
        body[times..times + 4].copy_from_slice(&tcp.now.0.to_be_bytes());
        body[times + 4..times + 8].copy_from_slice(&tcp.echo.to_be_bytes());
        let sum = sum.words(tcp.sequence).words(tcp.acknowledgement).word(u16::from(tcp.flags));
        let sum = sum.words(tcp.now.0).words(tcp.echo).checksum();
        body[tcp::CHECKSUM..tcp::CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
        true
    }

    /// Makes a UDP datagram of it, with a signature at its end.
    pub fn emit_udp(
        &self,
        out: &mut impl Outlet,
        port: usize,
        to: Option<[u8; 6]>,
        ends: Ends,
        signature: &Signature,
    ) -> bool {
        let Some(frame) = out.frame(port, &self.bytes) else { return false };
        if let Some(to) = to {
            frame[..6].copy_from_slice(&to);
        }
        let (body, sum) = self.ends(frame, ends);
        // At an odd place all its bytes stand in the other half of their words (RFC 1071 §2 (B)).
        let (odd, signed) = (body.len() % 2 == 1, signature.sum().fold());
        if let Some(end) = body.last_chunk_mut() {
            signature.emit(end);
        }
        let sum = sum.word(if odd { signed.swap_bytes() } else { signed }).checksum_udp();
        body[udp::CHECKSUM..udp::CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
        true
    }
}

/// A UDP frame with this payload, written as a whole: for the few that have no template. Returns its size with FCS.
pub fn datagram(
    out: &mut impl Outlet,
    port: usize,
    link: &ethernet::Header,
    ends: Ends,
    payload: &[u8],
) -> Option<usize> {
    let mut bytes = [0; DATAGRAM_MAX];
    let ip = link.length();
    let end = ip + UDP_HEADERS + payload.len();
    let frame = bytes.get_mut(..end)?;
    link.emit(frame);
    frame[ip + UDP_HEADERS..].copy_from_slice(payload);
    let Ends { source, destination, source_port, destination_port } = ends;
    emit_datagram(&mut frame[ip..], [source, destination], [source_port, destination_port]);
    out.frame(port, frame)?;
    Some(end + FCS)
}

/// Room for a DNS query with all headers: 18 + 20 + 8 + 271 bytes.
const DATAGRAM_MAX: usize = 320;

/// What differs from segment to segment.
#[derive(Clone, Copy, Debug)]
pub struct Fields {
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledged sequence number.
    pub acknowledgement: u32,
    /// Flags.
    pub flags: u8,
    /// Its timestamp (RFC 7323 §3.2): our clock.
    pub now: Stamp,
    /// The timestamp that it echoes.
    pub echo: u32,
}

/// The signature at a payload's end, if there is one. Its flow is the session's slot; its sequence is the generation in its upper
/// half, so that what is late for an earlier session of the slot is known, and the request's number in its lower.
pub fn signature_of(payload: &[u8]) -> Option<Signature> {
    payload.last_chunk().and_then(Signature::parse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::packet::Packet;
    use proptest::prelude::*;

    #[derive(Default)]
    struct One(Vec<u8>);

    impl Outlet for One {
        fn frame(&mut self, _: usize, content: &[u8]) -> Option<&mut [u8]> {
            self.0 = content.to_vec();
            Some(&mut self.0)
        }
    }

    fn link(vlan: Option<u16>) -> ethernet::Header {
        ethernet::Header { destination: [2; 6], source: [4; 6], vlan, ethertype: ethernet::IPV4 }
    }

    proptest! {
        #[test]
        fn segments_are_parsed_as_they_were_written(
            e: (u32, u32, u16, u16), t: (u32, u32, u32, u32), flags: u8, data in 0usize..200, vlan: bool,
        ) {
            let link = link(vlan.then_some(7));
            let ends = Ends { source: e.0, destination: e.1, source_port: e.2, destination_port: e.3 };
            let fields = Fields { sequence: t.0, acknowledgement: t.1, flags, now: Stamp(t.2), echo: t.3 };
            for template in [SessionTemplate::syn(&link), SessionTemplate::data(&link, data)] {
                let mut out = One::default();
                prop_assert!(template.emit_tcp(&mut out, 0, None, ends, &fields));
                let Packet::Tcp(seen, segment) = Packet::parse(&out.0) else { panic!("{:?}", out.0) };
                prop_assert_eq!(seen, ends);
                prop_assert_eq!((segment.sequence, segment.acknowledgement), (t.0, t.1));
                prop_assert_eq!((segment.flags, segment.timestamp), (flags, Some(t.2)));
                prop_assert_eq!(template.size(), out.0.len() + FCS);
                for at in [30, 40, out.0.len() - 1] {
                    out.0[at] ^= 0x10;
                    prop_assert_eq!(Packet::parse(&out.0), Packet::Damaged);
                    out.0[at] ^= 0x10;
                }
            }
        }

        #[test]
        fn datagrams_are_parsed_as_they_were_written(
            e: (u32, u32, u16, u16), s: (u16, u32, u32), time_ns in 0u64..1 << 48, data in 18usize..200,
        ) {
            let ends = Ends { source: e.0, destination: e.1, source_port: e.2, destination_port: e.3 };
            let signature = Signature { trial: s.0, flow: s.1, sequence: s.2, time_ns };
            let mut out = One::default();
            let template = SessionTemplate::datagram(&link(None), data);
            prop_assert!(template.emit_udp(&mut out, 0, Some([9; 6]), ends, &signature));
            prop_assert_eq!(out.0[..6].to_vec(), vec![9; 6]);
            let Packet::Udp(seen, payload) = Packet::parse(&out.0) else { panic!("{:?}", out.0) };
            prop_assert_eq!((seen, payload.len()), (ends, data));
            prop_assert_eq!(signature_of(payload), Some(signature));
        }

        #[test]
        fn whole_datagrams_are_parsed_as_they_were_written(
            e: (u32, u32, u16, u16), payload in proptest::collection::vec(any::<u8>(), 0..272),
        ) {
            let ends = Ends { source: e.0, destination: e.1, source_port: e.2, destination_port: e.3 };
            let mut out = One::default();
            prop_assert_eq!(datagram(&mut out, 0, &link(Some(5)), ends, &payload), Some(out.0.len() + FCS));
            prop_assert_eq!(Packet::parse(&out.0), Packet::Udp(ends, &payload));
        }

        #[test]
        fn arbitrary_frames_never_panic(mut frame in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Packet::parse(&frame);
            if frame.len() > 14 {
                frame[12..15].copy_from_slice(&[8, 0, 0x45]);
                let _ = Packet::parse(&frame);
            }
        }
    }

    #[test]
    fn every_truncation_is_no_packet() {
        let ends = Ends { source: 1, destination: 2, source_port: 3, destination_port: 4 };
        let fields = Fields { sequence: 1, acknowledgement: 2, flags: tcp::ACK, now: Stamp(3), echo: 4 };
        let mut out = One::default();
        SessionTemplate::data(&link(None), 20).emit_tcp(&mut out, 0, None, ends, &fields);
        for length in 0..out.0.len() {
            assert!(matches!(Packet::parse(&out.0[..length]), Packet::Foreign | Packet::Damaged), "{length}");
        }
    }
}
