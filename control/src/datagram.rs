//! DNS over UDP without the kernel: the frame that was punted becomes a datagram, the answer becomes a frame.
//!
//! A datagram remembers what its answer needs (addresses, ports, VLAN), so the answer leaves through the port that the
//! question came in by, with the address that was asked as its source.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

const ETHERNET: usize = 14;
const VLAN_TAG: usize = 4;
const IPV4: usize = 20;
const UDP: usize = 8;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_IPV4: u16 = 0x0800;
const PROTOCOL_UDP: u8 = 17;
/// Time to live of what the gateway itself sends.
const TTL: u8 = 64;

/// Bytes that stand around the payload of an untagged answer: Ethernet, IPv4 without options, UDP.
pub const OVERHEAD: usize = ETHERNET + IPV4 + UDP;

/// Why a punted frame is not a DNS datagram. The packet path has checked most of it; this is the second look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Malformed {
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

impl Malformed {
    /// All of them, in the order of the counters.
    pub const ALL: [Malformed; 6] = [
        Malformed::Truncated,
        Malformed::NotIpv4,
        Malformed::NotUdp,
        Malformed::Fragment,
        Malformed::Checksum,
        Malformed::Unanswerable,
    ];

    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Malformed::Truncated => "truncated",
            Malformed::NotIpv4 => "not_ipv4",
            Malformed::NotUdp => "not_udp",
            Malformed::Fragment => "fragment",
            Malformed::Checksum => "checksum",
            Malformed::Unanswerable => "unanswerable",
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

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The ones' complement sum of RFC 1071, over 16-bit words, not yet inverted.
fn sum(bytes: &[u8], start: u32) -> u32 {
    let mut total = u64::from(start);
    let mut words = bytes.chunks_exact(2);
    for word in &mut words {
        total += u64::from(u16::from_be_bytes([word[0], word[1]]));
    }
    if let [last] = words.remainder() {
        total += u64::from(*last) << 8;
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u32
}

fn pseudo_header(source: Ipv4Addr, destination: Ipv4Addr, length: usize) -> u32 {
    let start = sum(&destination.octets(), sum(&source.octets(), 0));
    start + u32::from(PROTOCOL_UDP) + length as u32
}

/// Takes a frame apart. The checksums are checked; a UDP checksum of 0 means that the sender computed none (RFC 768).
pub fn parse(frame: &[u8]) -> Result<(Path, &[u8]), Malformed> {
    if frame.len() < ETHERNET {
        return Err(Malformed::Truncated);
    }
    let (mut kind, mut start, mut vlan) = (be16(frame, 12), ETHERNET, None);
    if kind == ETHERTYPE_VLAN {
        if frame.len() < ETHERNET + VLAN_TAG {
            return Err(Malformed::Truncated);
        }
        vlan = Some(be16(frame, 14) & 0x0fff);
        kind = be16(frame, 16);
        start += VLAN_TAG;
    }
    if kind != ETHERTYPE_IPV4 {
        return Err(Malformed::NotIpv4);
    }
    let ip = &frame[start..];
    if ip.len() < IPV4 {
        return Err(Malformed::Truncated);
    }
    if ip[0] >> 4 != 4 {
        return Err(Malformed::NotIpv4);
    }
    let header = usize::from(ip[0] & 0x0f) * 4;
    let total = usize::from(be16(ip, 2));
    if header < IPV4 || total < header || ip.len() < total {
        return Err(Malformed::Truncated);
    }
    if sum(&ip[..header], 0) != 0xffff {
        return Err(Malformed::Checksum);
    }
    if be16(ip, 6) & 0x3fff != 0 {
        return Err(Malformed::Fragment);
    }
    if ip[9] != PROTOCOL_UDP {
        return Err(Malformed::NotUdp);
    }
    let source = Ipv4Addr::new(ip[12], ip[13], ip[14], ip[15]);
    let destination = Ipv4Addr::new(ip[16], ip[17], ip[18], ip[19]);
    let udp = &ip[header..total];
    if udp.len() < UDP {
        return Err(Malformed::Truncated);
    }
    let length = usize::from(be16(udp, 4));
    if length < UDP || length > udp.len() {
        return Err(Malformed::Truncated);
    }
    let udp = &udp[..length];
    if be16(udp, 6) != 0 && sum(udp, pseudo_header(source, destination, length)) != 0xffff {
        return Err(Malformed::Checksum);
    }
    let (from, to) = (be16(udp, 0), be16(udp, 2));
    if from == 0
        || source.is_unspecified()
        || source.is_multicast()
        || source.is_broadcast()
        || source.is_loopback()
    {
        return Err(Malformed::Unanswerable);
    }
    let path = Path {
        remote_mac: frame[6..12].try_into().expect("six bytes"),
        local_mac: frame[0..6].try_into().expect("six bytes"),
        vlan,
        remote: SocketAddrV4::new(source, from),
        local: SocketAddrV4::new(destination, to),
    };
    Ok((path, &udp[UDP..]))
}

/// Whether an answer of so many bytes fits into an IPv4 packet of `mtu` bytes.
pub const fn fits(payload: usize, mtu: u16) -> bool {
    IPV4 + UDP + payload <= mtu as usize
}

/// Writes the frame that answers along `path`; the length of the frame, or `None` if it does not fit into `frame` or
/// into an IPv4 packet of `mtu` bytes.
pub fn emit_answer(path: &Path, payload: &[u8], mtu: u16, frame: &mut [u8]) -> Option<usize> {
    let datagram = UDP + payload.len();
    let packet = IPV4 + datagram;
    let start = ETHERNET + if path.vlan.is_some() { VLAN_TAG } else { 0 };
    if packet > usize::from(mtu) || start + packet > frame.len() {
        return None;
    }
    let frame = &mut frame[..start + packet];
    frame[0..6].copy_from_slice(&path.remote_mac);
    frame[6..12].copy_from_slice(&path.local_mac);
    if let Some(vlan) = path.vlan {
        frame[12..14].copy_from_slice(&ETHERTYPE_VLAN.to_be_bytes());
        frame[14..16].copy_from_slice(&vlan.to_be_bytes());
    }
    frame[start - 2..start].copy_from_slice(&ETHERTYPE_IPV4.to_be_bytes());
    let (ip, udp) = frame[start..].split_at_mut(IPV4);
    ip[0] = 0x45;
    ip[1] = 0;
    ip[2..4].copy_from_slice(&(packet as u16).to_be_bytes());
    // Identification 0 with "don't fragment": an atomic datagram (RFC 6864 §4.1).
    ip[4..6].fill(0);
    ip[6..8].copy_from_slice(&0x4000u16.to_be_bytes());
    ip[8] = TTL;
    ip[9] = PROTOCOL_UDP;
    ip[10..12].fill(0);
    ip[12..16].copy_from_slice(&path.local.ip().octets());
    ip[16..20].copy_from_slice(&path.remote.ip().octets());
    let checksum = !(sum(ip, 0) as u16);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    udp[0..2].copy_from_slice(&path.local.port().to_be_bytes());
    udp[2..4].copy_from_slice(&path.remote.port().to_be_bytes());
    udp[4..6].copy_from_slice(&(datagram as u16).to_be_bytes());
    udp[6..8].fill(0);
    udp[UDP..].copy_from_slice(payload);
    // A computed 0 is sent as all ones (RFC 768).
    let checksum = match !(sum(udp, pseudo_header(*path.local.ip(), *path.remote.ip(), datagram)) as u16) {
        0 => 0xffff,
        other => other,
    };
    udp[6..8].copy_from_slice(&checksum.to_be_bytes());
    Some(start + packet)
}

/// Takes the VLAN tag out of a frame, in place: the frame without it, or `None` if it carries another tag or none.
pub fn untag(frame: &mut [u8], vlan: u16) -> Option<&mut [u8]> {
    if frame.len() < ETHERNET + VLAN_TAG
        || be16(frame, 12) != ETHERTYPE_VLAN
        || be16(frame, 14) & 0x0fff != vlan
    {
        return None;
    }
    frame.copy_within(0..12, VLAN_TAG);
    Some(&mut frame[VLAN_TAG..])
}

/// Puts a VLAN tag into the frame of `length` bytes at the start of `buffer`; the new length, or `None` without room.
pub fn tag(buffer: &mut [u8], length: usize, vlan: u16) -> Option<usize> {
    if length < ETHERNET || length + VLAN_TAG > buffer.len() {
        return None;
    }
    buffer.copy_within(12..length, 12 + VLAN_TAG);
    buffer[12..14].copy_from_slice(&ETHERTYPE_VLAN.to_be_bytes());
    buffer[14..16].copy_from_slice(&vlan.to_be_bytes());
    Some(length + VLAN_TAG)
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
            frame[ETHERNET + bit / 8] ^= 1 << (bit % 8);
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
