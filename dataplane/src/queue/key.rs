//! Whose a packet is: its class, its host, its flow; and how it is marked.
//!
//! The host is the one on our side, before it is translated: what leaves outside is its source's as it arrived, what leaves
//! towards realm or DMZ its destination's as it leaves.

use super::class::Class;
use crate::packet::{FRAGMENT, Packet, SETTLED};
use crate::settings::Side;
use crate::table::index::Hasher;
use crate::way::write::set_tos;
use crate::wire::{ethernet, ipv4, read16, read32};

/// The ECN field of a TOS (RFC 3168 §5), and congestion experienced in it.
const ECN: u8 = 3;

/// What a packet is queued by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueKey {
    /// Its class.
    pub class: Class,
    /// The hash of its class and host.
    pub host: u64,
    /// The hash of those and its flow.
    pub flow: u64,
    /// Where the innermost IPv4 header stands in the frame; 0 = there is none.
    pub inner: u16,
}

/// Whose what leaves by a port is.
#[derive(Clone, Copy, Debug)]
pub struct PortKeys {
    hasher: Hasher,
    side: Side,
}

impl PortKeys {
    /// By a port that faces this side.
    pub const fn new(hasher: Hasher, side: Side) -> Self {
        Self { hasher, side }
    }

    /// The key of a frame that leaves, and that was this packet when it arrived.
    #[inline(always)]
    pub fn key(self, frame: &[u8], packet: Option<&Packet>) -> QueueKey {
        match packet {
            Some(packet) => QueueKey::of_packet(self.hasher, self.side, frame, packet),
            None => QueueKey::of_frame(self.hasher, self.side, frame),
        }
    }
}

impl QueueKey {
    /// Of a host's packet of a flow.
    #[inline(always)]
    pub fn new(hasher: Hasher, class: Class, host: u32, flow: u64, inner: usize) -> Self {
        let host = hasher.hash((class as u64) << 32 | u64::from(host));
        Self { class, host, flow: hasher.flow(host, flow), inner: inner as u16 }
    }

    /// Of a frame that leaves towards this side, and that was this packet when it arrived.
    #[inline]
    fn of_packet(hasher: Hasher, side: Side, frame: &[u8], packet: &Packet) -> Self {
        if packet.flags & SETTLED != 0 {
            return Self::of_frame(hasher, side, frame);
        }
        let Some(l3) = header(frame) else { return Self::of_frame(hasher, side, frame) };
        let host = match side {
            Side::Outside => packet.addresses.source(),
            Side::Inside | Side::Dmz => read32(frame, l3 + ipv4::DESTINATION),
        };
        // Fragments of a packet stay together: the later ones have no ports.
        let ports = if packet.flags & FRAGMENT == 0 { packet.ports } else { 0 };
        let flow = flow(packet.addresses.bits(), ports, packet.protocol);
        // Behind an outer header the packet stands at the end of its frame.
        let inner = frame.len().saturating_sub(usize::from(packet.total));
        let is_inner = inner > l3 + ipv4::LENGTH && length(frame, inner) == usize::from(packet.total);
        Self::new(hasher, Class::of_tos(packet.tos), host, flow, if is_inner { inner } else { l3 })
    }

    /// Of a frame of which nothing else is known: one that the gateway made.
    fn of_frame(hasher: Hasher, side: Side, frame: &[u8]) -> Self {
        let Some(l3) = header(frame) else {
            // ARP, which all others wait for.
            return Self::new(hasher, Class::Urgent, 0, 0, 0);
        };
        let addresses = (read32(frame, l3 + ipv4::SOURCE), read32(frame, l3 + ipv4::DESTINATION));
        let host = if side == Side::Outside { addresses.0 } else { addresses.1 };
        let protocol = frame[l3 + ipv4::PROTOCOL];
        let l4 = l3 + usize::from(frame[l3] & 15) * 4;
        let is_whole = read16(frame, l3 + ipv4::FRAGMENT) & (ipv4::MORE_FRAGMENTS | ipv4::OFFSET_MASK) == 0;
        let has_ports = is_whole && matches!(protocol, ipv4::TCP | ipv4::UDP) && frame.len() >= l4 + 4;
        let ports = if has_ports { read32(frame, l4) } else { 0 };
        let both = u64::from(addresses.0) << 32 | u64::from(addresses.1);
        let flow = flow(both, ports, protocol);
        Self::new(hasher, Class::of_tos(frame[l3 + ipv4::TOS]), host, flow, l3)
    }
}

/// What tells a flow from the others of its host.
#[inline(always)]
const fn flow(addresses: u64, ports: u32, protocol: u8) -> u64 {
    addresses ^ (ports as u64) << 8 ^ (protocol as u64) << 56
}

/// Where the first IPv4 header of a frame stands, if it is whole.
#[inline(always)]
fn header(frame: &[u8]) -> Option<usize> {
    let l3 = match read16(frame, ethernet::TYPE) {
        ethernet::IPV4 => ethernet::LENGTH,
        ethernet::VLAN if read16(frame, ethernet::TYPE + ethernet::TAG) == ethernet::IPV4 => {
            ethernet::LENGTH_TAGGED
        }
        _ => return None,
    };
    (frame.len() >= l3 + ipv4::LENGTH).then_some(l3)
}

/// The length that an IPv4 header at this place says; 0 if there is none.
#[inline(always)]
fn length(frame: &[u8], at: usize) -> usize {
    match frame.get(at..at + ipv4::LENGTH) {
        Some(ip) if ip[0] >> 4 == 4 => usize::from(read16(ip, ipv4::TOTAL_LENGTH)),
        _ => 0,
    }
}

/// Marks a packet as having met congestion, if it takes part in ECN (RFC 3168 §5). What is wrapped already looks as if it had
/// been marked before (RFC 6040 §4.1, normal mode): inside and outside.
pub fn mark(frame: &mut [u8], inner: u16) -> bool {
    let inner = usize::from(inner);
    if inner == 0 || !mark_at(frame, inner) {
        return false;
    }
    if let Some(outer) = header(frame).filter(|outer| *outer != inner) {
        mark_at(frame, outer);
    }
    true
}

fn mark_at(frame: &mut [u8], at: usize) -> bool {
    match frame.get_mut(at..) {
        Some(ip) if ip.len() >= ipv4::LENGTH && ip[ipv4::TOS] & ECN != 0 => {
            set_tos(ip, ip[ipv4::TOS] | ECN);
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Pair, Wire};

    const HASHER: Hasher = Hasher::new([1, 2]);

    fn ip(tos: u8, source: u32, destination: u32, payload: &[u8]) -> Vec<u8> {
        let total = (ipv4::LENGTH + payload.len()) as u16;
        let mut bytes = vec![0; ipv4::LENGTH];
        ipv4::Header { tos, ..ipv4::Header::new(ipv4::UDP, source, destination, total) }.emit(&mut bytes);
        bytes.extend(payload);
        bytes
    }

    fn frame(tag: Option<u16>, ip: &[u8]) -> Vec<u8> {
        let mut bytes = vec![2; 12];
        if let Some(tag) = tag {
            bytes.extend([0x81, 0, (tag >> 8) as u8, tag as u8]);
        }
        bytes.extend([8, 0]);
        bytes.extend(ip);
        bytes
    }

    #[test]
    fn rfc_6040_a_wrapped_packet_is_marked_inside_and_outside() {
        for tag in [None, Some(7)] {
            let inner = ip(0xb9, 1, 2, b"payload");
            let mut bytes = frame(tag, &ip(0xb9, 3, 4, &[&[0u8; 16][..], &inner].concat()));
            let mut packet = Packet::NOTHING;
            (packet.addresses, packet.total, packet.tos) = (Pair::new(9, 8), inner.len() as u16, 0xb9);
            let key = QueueKey::of_packet(HASHER, Side::Outside, &bytes, &packet);
            assert_eq!(usize::from(key.inner), bytes.len() - inner.len());
            assert!(mark(&mut bytes, key.inner));
            let at = if tag.is_some() { 18 } else { 14 };
            assert_eq!((bytes[at + 1], bytes[usize::from(key.inner) + 1]), (0xbb, 0xbb));
            for at in [at, usize::from(key.inner)] {
                assert!(ipv4::Header::parse(&bytes[at..]).is_ok(), "checksums follow");
            }
        }
    }

    #[test]
    fn rfc_3168_what_takes_no_part_in_ecn_is_not_marked() {
        let mut bytes = frame(None, &ip(0xb8, 1, 2, b"payload"));
        let before = bytes.clone();
        assert!(!mark(&mut bytes, 14) && !mark(&mut bytes, 0) && !mark(&mut bytes, 400));
        assert_eq!(bytes, before);
    }

    #[test]
    fn the_host_is_the_one_on_our_side() {
        let packet =
            |source, destination| Packet { addresses: Pair::new(source, destination), ..Packet::NOTHING };
        let key = |side, frame: &[u8], packet: &Packet| QueueKey::of_packet(HASHER, side, frame, packet).host;
        let out = frame(None, &ip(0, 99, 2, b"translated"));
        assert_eq!(key(Side::Outside, &out, &packet(1, 2)), key(Side::Outside, &out, &packet(1, 7)));
        assert_ne!(key(Side::Outside, &out, &packet(1, 2)), key(Side::Outside, &out, &packet(3, 2)));
        let (one, other) = (frame(None, &ip(0, 2, 1, b"")), frame(None, &ip(0, 2, 3, b"")));
        assert_ne!(key(Side::Inside, &one, &packet(2, 99)), key(Side::Inside, &other, &packet(2, 99)));
    }

    #[test]
    fn any_bytes_have_a_key() {
        for length in 0..60 {
            let mut bytes = frame(None, &ip(0, 1, 2, &[0; 40]));
            bytes.truncate(length);
            let key = QueueKey::of_packet(HASHER, Side::Outside, &bytes, &Packet::NOTHING);
            mark(&mut bytes, key.inner);
        }
    }
}
