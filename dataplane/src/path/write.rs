//! The only place that writes headers of packets that are forwarded.

use super::packet::Packet;
use crate::frame::Frame;
use crate::hop::Hop;
use crate::tunnel;
use crate::wire::checksum::Sum;
use crate::wire::{ethernet, ipv4, read16, udp, write16};

/// The first of the dynamic ports (RFC 6335), from which the outer source port is taken (RFC 7348 §5).
const PORT_FIRST: u16 = 49152;

/// Gives a packet its new addresses (source and destination), counts its time to live down, and lets the checksums follow.
///
/// `ip` begins with the IPv4 header; the time to live is at least 2.
#[inline(always)]
pub fn translate(ip: &mut [u8], packet: &Packet, addresses: u64) {
    let change = Sum::default().replace_pair(packet.addresses, addresses);
    if let Some(header) = ip.first_chunk_mut::<{ ipv4::LENGTH }>() {
        header[8] = header[8].wrapping_sub(1);
        // The word of the time to live fell by 0x0100: adding ~0x0100 subtracts it.
        let sum = change.word(!0x0100).adjust(u16::from_be_bytes([header[10], header[11]]));
        [header[10], header[11]] = sum.to_be_bytes();
        header[12..20].copy_from_slice(&addresses.to_be_bytes());
    }
    if packet.check != 0 {
        let at = usize::from(packet.check);
        if let Some(field) = ip.get_mut(at..at + 2) {
            let sum = change.adjust(u16::from_be_bytes([field[0], field[1]]));
            // RFC 768: a computed 0 is sent as all ones; 0 would mean that there is none.
            let sum = if sum == 0 && packet.protocol == ipv4::UDP { 0xffff } else { sum };
            field.copy_from_slice(&sum.to_be_bytes());
        }
    }
}

/// Makes the part of the frame ahead of what stands at `at` exactly `length` bytes long; `false` without room for it.
#[inline(always)]
pub fn set_front<F: Frame>(frame: &mut F, at: usize, length: usize) -> bool {
    if at < length {
        frame.prepend(length - at)
    } else {
        frame.trim_front(at - length);
        true
    }
}

/// Wraps the packet of `total` bytes at `l3`: puts the tunnel's header in the place of the frame's. `false` without room.
#[inline(always)]
pub fn encap<F: Frame>(
    frame: &mut F,
    l3: usize,
    total: u16,
    tunnel: &tunnel::Entry,
    tos: u8,
    entropy: u32,
    id: u16,
) -> bool {
    let (length, link) = (usize::from(tunnel.length), usize::from(tunnel.link_length));
    // Padding of the received frame is not carried on.
    frame.truncate(l3 + usize::from(total));
    if !set_front(frame, l3, length) {
        return false;
    }
    let data = frame.data_mut();
    let outer = total + u16::from(tunnel.length - tunnel.link_length);
    match (data.first_chunk_mut::<{ tunnel::HEADER_PLAIN }>(), tunnel.header.first_chunk()) {
        (Some(to), Some(from)) if length == tunnel::HEADER_PLAIN => {
            *to = *from;
            fill(to, ethernet::LENGTH, outer, tunnel.sum, tos, entropy, id);
        }
        _ => {
            data[..length].copy_from_slice(&tunnel.header[..length]);
            fill(&mut data[..length], link, outer, tunnel.sum, tos, entropy, id);
        }
    }
    true
}

/// Fills in what differs from packet to packet in an outer header whose IPv4 header stands at `link`.
#[inline(always)]
fn fill(header: &mut [u8], link: usize, outer: u16, sum: u32, tos: u8, entropy: u32, id: u16) {
    let sum = Sum(u64::from(sum)).word(outer).word(id).word(u16::from(tos)).checksum();
    let Some(ip) = header.get_mut(link..link + ipv4::LENGTH + udp::LENGTH) else {
        return;
    };
    ip[1] = tos;
    ip[2..4].copy_from_slice(&outer.to_be_bytes());
    ip[4..6].copy_from_slice(&id.to_be_bytes());
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    if ip[9] == ipv4::UDP {
        ip[20..22].copy_from_slice(&(PORT_FIRST | (entropy >> 18) as u16).to_be_bytes());
        ip[24..26].copy_from_slice(&(outer - ipv4::LENGTH as u16).to_be_bytes());
    }
}

/// Puts the next hop's Ethernet header ahead of the packet of `total` bytes at `l3`. `false` without room.
#[inline(always)]
pub fn deliver<F: Frame>(frame: &mut F, l3: usize, total: u16, hop: &Hop) -> bool {
    frame.truncate(l3 + usize::from(total));
    let length = usize::from(hop.length);
    if !set_front(frame, l3, length) {
        return false;
    }
    let data = frame.data_mut();
    match (data.first_chunk_mut::<14>(), hop.header.first_chunk()) {
        (Some(to), Some(from)) if length == 14 => *to = *from,
        _ => data[..length].copy_from_slice(&hop.header[..length]),
    }
    true
}

/// Replaces the TOS of an IPv4 header.
pub fn set_tos(ip: &mut [u8], tos: u8) {
    if let Some(header) = ip.first_chunk_mut::<{ ipv4::LENGTH }>() {
        let change = Sum::default().replace(u16::from(header[1]), u16::from(tos));
        let sum = change.adjust(u16::from_be_bytes([header[10], header[11]]));
        header[1] = tos;
        [header[10], header[11]] = sum.to_be_bytes();
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
