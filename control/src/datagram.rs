//! DNS over UDP without the kernel: the frame that was punted becomes a datagram, the answer becomes a frame.
//!
//! A datagram remembers what its answer needs (addresses, ports, VLAN), so the answer leaves through the port that the
//! question came in by, with the address that was asked as its source.

use ces_wire::{Malformed, Wire, checksum, ethernet, ipv4, read16, udp, write16};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// Bytes that stand around the payload of an untagged answer: Ethernet, IPv4 without options, UDP.
pub const OVERHEAD: usize = ethernet::LENGTH + ipv4::LENGTH + udp::LENGTH;

/// Why a punted frame is not a DNS datagram. The packet path has checked most of it; this is the second look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NotDns {
    /// Shorter than its headers say.
    Truncated,
    /// Neither IPv4 nor one VLAN tag with IPv4.
    NotIpv4,
    /// Not UDP.
    NotUdp,
    /// A fragment: no part of it is a DNS message.
    Fragment,
    /// The IPv4 or UDP checksum is wrong.
    Checksum,
    /// A source that cannot be answered: port 0, or an address that is no host's.
    Unanswerable,
}

impl NotDns {
    /// All of them, in the order of the counters.
    pub const ALL: [NotDns; 6] = [
        NotDns::Truncated,
        NotDns::NotIpv4,
        NotDns::NotUdp,
        NotDns::Fragment,
        NotDns::Checksum,
        NotDns::Unanswerable,
    ];

    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            NotDns::Truncated => "truncated",
            NotDns::NotIpv4 => "not_ipv4",
            NotDns::NotUdp => "not_udp",
            NotDns::Fragment => "fragment",
            NotDns::Checksum => "checksum",
            NotDns::Unanswerable => "unanswerable",
        }
    }
}

/// Where a datagram came from and went to: all that its answer's headers need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The sender's MAC address.
    pub remote_mac: [u8; 6],
    /// The MAC address it was sent to: the port's.
    pub local_mac: [u8; 6],
    /// The VLAN id, if it came tagged.
    pub vlan: Option<u16>,
    /// The sender.
    pub remote: SocketAddrV4,
    /// The address and port that were asked.
    pub local: SocketAddrV4,
}

impl Path {
    /// The sender, as the DNS engine wants it.
    pub fn client(&self) -> SocketAddr {
        SocketAddr::V4(self.remote)
    }
}

impl From<Malformed> for NotDns {
    fn from(headers: Malformed) -> Self {
        match headers {
            Malformed::SecondTag | Malformed::Arp | Malformed::IpVersion => Self::NotIpv4,
            Malformed::IpChecksum => Self::Checksum,
            Malformed::Truncated
            | Malformed::IpHeaderLength
            | Malformed::IpTotalLength
            | Malformed::Layer4
            | Malformed::Tunnel => Self::Truncated,
        }
    }
}

/// The sum of a UDP datagram with its pseudo header.
fn sum(datagram: &[u8], source: u32, destination: u32) -> checksum::Sum {
    checksum::pseudo(source, destination, ipv4::UDP, datagram.len()).bytes(datagram)
}

/// Takes a frame apart that somebody wants to be answered.
pub fn parse(frame: &[u8]) -> Result<(Path, &[u8]), NotDns> {
    let (path, message) = open(frame)?;
    let source = path.remote.ip();
    if path.remote.port() == 0
        || source.is_unspecified()
        || source.is_multicast()
        || source.is_broadcast()
        || source.is_loopback()
    {
        return Err(NotDns::Unanswerable);
    }
    Ok((path, message))
}

/// Takes a frame apart. The checksums are checked; a UDP checksum of 0 means that the sender computed none (RFC 768).
pub fn open(frame: &[u8]) -> Result<(Path, &[u8]), NotDns> {
    let link = ethernet::Header::parse(frame)?;
    if link.ethertype != ethernet::IPV4 {
        return Err(NotDns::NotIpv4);
    }
    let packet = &frame[link.length()..];
    let ip = ipv4::Header::parse(packet)?;
    if ip.is_fragment() {
        return Err(NotDns::Fragment);
    }
    if ip.protocol != ipv4::UDP {
        return Err(NotDns::NotUdp);
    }
    let datagram = &packet[ip.length()..usize::from(ip.total_length)];
    let header = udp::Header::parse(datagram)?;
    // What follows it in the packet is none of its bytes.
    let datagram = datagram.get(..usize::from(header.datagram_length)).ok_or(NotDns::Truncated)?;
    if header.checksum != 0 && sum(datagram, ip.source, ip.destination).fold() != 0xffff {
        return Err(NotDns::Checksum);
    }
    let path = Path {
        remote_mac: link.source,
        local_mac: link.destination,
        vlan: link.vlan,
        remote: SocketAddrV4::new(Ipv4Addr::from_bits(ip.source), header.source_port),
        local: SocketAddrV4::new(Ipv4Addr::from_bits(ip.destination), header.destination_port),
    };
    Ok((path, &datagram[udp::LENGTH..]))
}

/// Whether an answer of so many bytes fits into an IPv4 packet of `mtu` bytes.
pub const fn fits(payload: usize, mtu: u16) -> bool {
    ipv4::LENGTH + udp::LENGTH + payload <= mtu as usize
}

/// Writes the frame that answers along `path`; the length of the frame, or `None` if it does not fit into `frame` or
/// into an IPv4 packet of `mtu` bytes.
pub fn emit_answer(path: &Path, payload: &[u8], mtu: u16, frame: &mut [u8]) -> Option<usize> {
    let link = ethernet::Header {
        destination: path.remote_mac,
        source: path.local_mac,
        vlan: path.vlan,
        ethertype: ethernet::IPV4,
    };
    let (start, datagram_length) = (link.length(), udp::LENGTH + payload.len());
    let total = ipv4::LENGTH + datagram_length;
    if total > usize::from(mtu) || start + total > frame.len() {
        return None;
    }
    let frame = &mut frame[..start + total];
    link.emit(frame);
    let (ip, datagram) = frame[start..].split_at_mut(ipv4::LENGTH);
    let (source, destination) = (path.local.ip().to_bits(), path.remote.ip().to_bits());
    // Identification 0 with "don't fragment": an atomic datagram (RFC 6864 §4.1).
    ipv4::Header::new(ipv4::UDP, source, destination, total as u16).emit(ip);
    let header = udp::Header {
        source_port: path.local.port(),
        destination_port: path.remote.port(),
        datagram_length: datagram_length as u16,
        checksum: 0,
    };
    header.emit(datagram);
    datagram[udp::LENGTH..].copy_from_slice(payload);
    let sum = sum(datagram, source, destination).checksum_udp();
    write16(datagram, udp::CHECKSUM, sum);
    Some(start + total)
}

/// Takes the VLAN tag out of a frame, in place: the frame without it, or `None` if it carries another tag or none.
pub fn untag(frame: &mut [u8], vlan: u16) -> Option<&mut [u8]> {
    if frame.len() < ethernet::LENGTH_TAGGED
        || read16(frame, ethernet::TYPE) != ethernet::VLAN
        || read16(frame, ethernet::LENGTH) & ethernet::VLAN_MASK != vlan
    {
        return None;
    }
    frame.copy_within(..ethernet::TYPE, ethernet::TAG);
    Some(&mut frame[ethernet::TAG..])
}

/// Puts a VLAN tag into the frame of `length` bytes at the start of `buffer`; the new length, or `None` without room.
pub fn tag(buffer: &mut [u8], length: usize, vlan: u16) -> Option<usize> {
    if length < ethernet::LENGTH || length + ethernet::TAG > buffer.len() {
        return None;
    }
    buffer.copy_within(ethernet::TYPE..length, ethernet::TYPE + ethernet::TAG);
    write16(buffer, ethernet::TYPE, ethernet::VLAN);
    write16(buffer, ethernet::LENGTH, vlan);
    Some(length + ethernet::TAG)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(vlan: Option<u16>) -> Path {
        Path {
            remote_mac: [2, 0, 0, 0, 0, 1],
            local_mac: [2, 0, 0, 0, 0, 2],
            vlan,
            remote: "10.0.0.5:40000".parse().unwrap(),
            local: "10.0.0.1:53".parse().unwrap(),
        }
    }

    fn turned(path: &Path) -> Path {
        Path {
            remote_mac: path.local_mac,
            local_mac: path.remote_mac,
            vlan: path.vlan,
            remote: path.local,
            local: path.remote,
        }
    }

    proptest! {
        #[test]
        fn an_answer_parses_as_a_datagram_of_the_other_end(
            vlan in prop::option::of(1u16..4095), payload in prop::collection::vec(any::<u8>(), 0..1200)
        ) {
            let path = path(vlan);
            let mut frame = [0u8; 2040];
            let length = emit_answer(&path, &payload, 1500, &mut frame).unwrap();
            let (back, body) = parse(&frame[..length]).unwrap();
            prop_assert_eq!(back, turned(&path));
            prop_assert_eq!(body, &payload[..]);
        }

        #[test]
        fn a_frame_cut_at_any_byte_is_refused(cut in 0usize..70, vlan in prop::option::of(1u16..4095)) {
            let mut frame = [0u8; 200];
            let length = emit_answer(&path(vlan), &[7; 28], 1500, &mut frame).unwrap();
            prop_assert!(parse(&frame[..cut.min(length - 1)]).is_err());
        }

        #[test]
        fn any_bytes_are_parsed_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn a_flipped_bit_behind_the_ethernet_header_is_seen(bit in 0usize..(28 + 28) * 8) {
            let mut frame = [0u8; 200];
            let length = emit_answer(&path(None), &[7; 28], 1500, &mut frame).unwrap();
            frame[ethernet::LENGTH + bit / 8] ^= 1 << (bit % 8);
            prop_assert!(parse(&frame[..length]).is_err());
        }

        #[test]
        fn tag_then_untag_is_the_identity(body in prop::collection::vec(any::<u8>(), 14..200), vlan in 1u16..4095) {
            let mut buffer = vec![0; 256];
            buffer[..body.len()].copy_from_slice(&body);
            let length = tag(&mut buffer, body.len(), vlan).unwrap();
            let back = untag(&mut buffer[..length], vlan).unwrap();
            prop_assert_eq!(&*back, &body[..]);
        }
    }

    #[test]
    fn udp_checksum_zero_is_not_checked() {
        let mut frame = [0u8; 200];
        let length = emit_answer(&path(None), &[7; 28], 1500, &mut frame).unwrap();
        frame[40..42].fill(0);
        assert!(parse(&frame[..length]).is_ok());
    }

    #[test]
    fn an_answer_beyond_the_mtu_is_not_built() {
        let mut frame = [0u8; 2040];
        assert_eq!(emit_answer(&path(None), &[0; 1473], 1500, &mut frame), None);
        assert_eq!(emit_answer(&path(None), &[0; 1472], 1500, &mut frame), Some(1514));
    }

    #[test]
    fn another_vlan_is_not_untagged() {
        let mut buffer = [0u8; 64];
        tag(&mut buffer, 60, 7).unwrap();
        assert!(untag(&mut buffer, 8).is_none());
        assert!(untag(&mut [0; 60], 7).is_none());
    }
}
