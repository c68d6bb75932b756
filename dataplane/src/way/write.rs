//! The only place that writes headers of packets that are forwarded.

use crate::frame::Frame;
use crate::packet::{LATER, Packet};
use crate::table::hops::Hop;
use crate::table::session::Turn;
use crate::table::tunnels;
use crate::wire::checksum::{Delta, Sum};
use crate::wire::outer::SOURCE_PORTS;
use crate::wire::{Pair, ethernet, icmp, ipv4, psp, read16, udp, write16};

/// What the time to live, one less, does to the checksum: its word fell by 0x0100, and adding ~0x0100 subtracts that.
const ONE_HOP: Delta = Sum(!0x0100u16 as u64).change();

/// Gives a packet its new addresses (source and destination), counts its time to live down, and lets the checksums follow.
///
/// `ip` begins with the IPv4 header; the time to live is at least 2. `change` is the sum of the new addresses less that of
/// the old ones, which is the same for all packets of a binding.
#[inline(always)]
pub fn translate(ip: &mut [u8], packet: &Packet, addresses: Pair, change: Delta) {
    readdress(ip, addresses, change);
    cover(ip, packet, change);
}

/// New addresses, and a hop less.
#[inline(always)]
fn readdress(ip: &mut [u8], addresses: Pair, change: Delta) {
    if let Some(header) = ip.first_chunk_mut::<{ ipv4::LENGTH }>() {
        header[ipv4::TTL] = header[ipv4::TTL].wrapping_sub(1);
        if let Some(sum) = header[ipv4::CHECKSUM..ipv4::SOURCE].first_chunk_mut() {
            *sum = change.and(ONE_HOP).apply(*sum);
        }
        header[ipv4::SOURCE..].copy_from_slice(&addresses.to_bytes());
    }
}

/// The checksum of layer 4 after a change of what it covers.
#[inline(always)]
fn cover(ip: &mut [u8], packet: &Packet, change: Delta) {
    let at = usize::from(packet.check);
    if at != 0
        && let Some(field) = ip.get_mut(at..at + 2).and_then(<[u8]>::first_chunk_mut)
    {
        let sum = change.apply(*field);
        // RFC 768: a computed 0 is sent as all ones; 0 would mean that there is none.
        *field = if u16::from_ne_bytes(sum) == 0 { zero(packet.protocol) } else { sum };
    }
}

/// Gives a packet that is no ICMP its new addresses and ports, counts its time to live down, and lets the checksums follow. As
/// [`translate`], with ports.
#[inline(always)]
pub fn turn(ip: &mut [u8], packet: &Packet, turn: &Turn) {
    readdress(ip, turn.addresses, turn.header);
    if packet.flags & LATER == 0
        && packet.ports != 0
        && let Some(ports) = ip.get_mut(usize::from(packet.l4)..).and_then(<[u8]>::first_chunk_mut)
    {
        *ports = turn.ports.to_be_bytes();
    }
    cover(ip, packet, turn.change);
}

/// The same for an ICMP query: its identifier (RFC 5508 §3.1).
pub fn turn_query(ip: &mut [u8], packet: &Packet, turn: &Turn) {
    readdress(ip, turn.addresses, turn.header);
    let l4 = usize::from(packet.l4);
    if packet.flags & LATER == 0 {
        // It stands for the port inside or outside, whichever that is; the other one is 0.
        write16(ip, l4 + icmp::REST, (turn.ports | turn.ports >> 16) as u16);
        let sum = ip.get_mut(l4 + icmp::CHECKSUM..).and_then(<[u8]>::first_chunk_mut);
        if let Some(field) = sum {
            *field = turn.change.apply(*field);
        }
    }
}

/// A computed checksum of 0, as one packet of 65,535 has.
#[cold]
const fn zero(protocol: u8) -> [u8; 2] {
    if protocol == ipv4::UDP { [0xff; 2] } else { [0; 2] }
}

/// Makes the part of the frame ahead of what stands at `at` exactly `length` bytes long; `false` without room for it.
pub fn set_front<F: Frame>(frame: &mut F, at: usize, length: usize) -> bool {
    if at < length {
        frame.prepend(length - at)
    } else {
        frame.trim_front(at - length);
        true
    }
}

/// Wraps the packet of `total` bytes at `l3`: puts the tunnel's header in the place of the frame's. Padding is not carried
/// on. The packet in its new place, and whether it is to be sealed there, or `None` without room, or without a key: `is_ready`.
#[inline(always)]
pub fn encap<'f, F: Frame>(
    frame: &'f mut F,
    l3: usize,
    total: u16,
    tunnel: &tunnels::TunnelEntry,
    tos: u8,
    entropy: u32,
    id: u16,
    is_ready: impl FnOnce(u16) -> bool,
) -> Option<(&'f mut [u8], bool)> {
    let (rest, length) = (usize::from(total), usize::from(tunnel.length));
    let outer = total + u16::from(tunnel.length - tunnel.link_length);
    let mut differing = Differing { outer, tos, entropy, id };
    if length == tunnels::HEADER_PLAIN {
        // All lengths are constants from here on: four wide stores instead of a call, and no more comparisons.
        let data = frame.reshape(l3, tunnels::HEADER_PLAIN, rest)?;
        let (header, ip) = data.split_first_chunk_mut::<{ tunnels::HEADER_PLAIN }>()?;
        *header = *tunnel.header.first_chunk()?;
        // Only VXLAN's and GENEVE's headers are so long: GRE's has 56 bytes, or 60 with a tag, and PSP's 58 or 62.
        differing.fill(header, ethernet::LENGTH, tunnel.sum, true);
        return Some((ip, false));
    }
    if let Some(slot) = tunnel.seal_slot() {
        // The tag finds its room now, or nothing is changed.
        if !is_ready(slot) || !frame.extend(psp::TAG) {
            return None;
        }
        differing.outer += psp::TAG as u16;
    }
    let (header, ip) = frame.reshape(l3, length, rest)?.split_at_mut_checked(length)?;
    header.copy_from_slice(&tunnel.header[..length]);
    let link = usize::from(tunnel.link_length);
    differing.fill(header, link, tunnel.sum, header[link + 9] == ipv4::UDP);
    Some((ip, tunnel.seal.is_some()))
}

/// What differs from packet to packet in an outer header.
struct Differing {
    /// Bytes of the outer IPv4 packet.
    outer: u16,
    tos: u8,
    entropy: u32,
    id: u16,
}

impl Differing {
    /// Fills it in. The outer IPv4 header stands at `link`; `sum` is its sum without all this.
    #[inline(always)]
    fn fill(&self, header: &mut [u8], link: usize, sum: Delta, udp: bool) {
        let Self { outer, tos, entropy, id } = *self;
        let Some(ip) = header.get_mut(link..link + ipv4::LENGTH + udp::LENGTH) else {
            return;
        };
        let sum = sum.and_word(outer).and_word(id).and_word(u16::from(tos));
        ip[ipv4::TOS] = tos;
        ip[ipv4::TOTAL_LENGTH..ipv4::ID].copy_from_slice(&outer.to_be_bytes());
        ip[ipv4::ID..ipv4::FRAGMENT].copy_from_slice(&id.to_be_bytes());
        ip[ipv4::CHECKSUM..ipv4::SOURCE].copy_from_slice(&sum.checksum());
        if udp {
            // RFC 7348 §5: a source port by the hash of the inner headers.
            let udp = &mut ip[ipv4::LENGTH..];
            udp[..udp::DESTINATION_PORT]
                .copy_from_slice(&(SOURCE_PORTS | (entropy >> 18) as u16).to_be_bytes());
            udp[udp::DATAGRAM_LENGTH..udp::CHECKSUM]
                .copy_from_slice(&(outer - ipv4::LENGTH as u16).to_be_bytes());
        }
    }
}

/// Puts the next hop's Ethernet header ahead of the packet of `total` bytes at `l3`. The packet in its new place, or `None`
/// without room.
#[inline(always)]
pub fn deliver<'f, F: Frame>(frame: &'f mut F, l3: usize, total: u16, hop: &Hop) -> Option<&'f mut [u8]> {
    let (rest, length) = (usize::from(total), usize::from(hop.length));
    if length == ethernet::LENGTH {
        // A constant from here on: two stores instead of a call.
        let data = frame.reshape(l3, ethernet::LENGTH, rest)?;
        let (header, ip) = data.split_first_chunk_mut::<{ ethernet::LENGTH }>()?;
        *header = *hop.header.first_chunk()?;
        return Some(ip);
    }
    let (header, ip) = frame.reshape(l3, length, rest)?.split_at_mut_checked(length)?;
    header.copy_from_slice(&hop.header[..length]);
    Some(ip)
}

/// Replaces the TOS of an IPv4 header.
pub fn set_tos(ip: &mut [u8], tos: u8) {
    if let Some(header) = ip.first_chunk_mut::<{ ipv4::LENGTH }>() {
        let change = Sum::default().replace(u16::from(header[ipv4::TOS]), u16::from(tos));
        let sum = change.adjust(read16(header, ipv4::CHECKSUM));
        header[ipv4::TOS] = tos;
        write16(header, ipv4::CHECKSUM, sum);
    }
}

/// Replaces a word at `at` that the checksum at `check` covers. An odd `at` lies across two words of the sum, which has
/// the same effect as the word with its bytes swapped (RFC 1071 §2 (B)).
pub fn replace_covered(bytes: &mut [u8], at: usize, value: u16, check: usize) {
    let (old, new) = (read16(bytes, at), value);
    let change = if at.is_multiple_of(2) {
        Sum::default().replace(old, new)
    } else {
        Sum::default().replace(old.swap_bytes(), new.swap_bytes())
    };
    let sum = change.adjust(read16(bytes, check));
    write16(bytes, at, value);
    write16(bytes, check, sum);
}

/// The same for two words.
pub fn replace_covered_word(bytes: &mut [u8], at: usize, value: u32, check: usize) {
    replace_covered(bytes, at, (value >> 16) as u16, check);
    replace_covered(bytes, at + 2, value as u16, check);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{checksum, read16};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_covered_word_at_any_place_keeps_the_sum_valid(
            mut bytes in proptest::collection::vec(any::<u8>(), 22..60), at in 20usize..58, value: u16,
        ) {
            prop_assume!(at + 2 <= bytes.len());
            bytes[0] |= 1;
            write16(&mut bytes, 16, 0);
            let sum = checksum::checksum(&bytes);
            write16(&mut bytes, 16, sum);
            replace_covered(&mut bytes, at, value, 16);
            prop_assert_eq!(read16(&bytes, at), value);
            prop_assert!(checksum::valid(&bytes));
        }
    }
}
