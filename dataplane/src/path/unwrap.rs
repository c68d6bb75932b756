//! From the outer headers of a tunnel packet to the inner packet: the short way for what our own kind sends, and the long way
//! for all that the standards allow (RFC 7348, RFC 8926, RFC 2784 with RFC 2890).

use crate::msg::Encapsulation;
use crate::packet::{PLAIN_LEAST, Packet};
use crate::reason::DropReason;
use crate::table::tunnels;
use crate::tag::Tag;
use crate::wire::{Pair, Wire, ethernet, geneve, gre, ipv4, le64, psp, read16, read32, udp, vxlan};

/// What the outer headers of a tunnel packet say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwrapped {
    /// Source and destination.
    pub outer: Pair,
    /// Encapsulation and id.
    pub inbound: u64,
    /// Where the inner IPv4 packet begins in the frame.
    pub inner: usize,
    /// Where the outer one ends.
    pub end: usize,
    /// DSCP and ECN.
    pub tos: u8,
}

/// Bytes of the inner Ethernet type, right ahead of the inner IPv4 header.
const TYPE: usize = ethernet::LENGTH - ethernet::TYPE;
/// Bytes from the outer IPv4 header to the inner one in VXLAN, and in GENEVE without options.
const PLAIN: usize = ipv4::LENGTH + udp::LENGTH + vxlan::LENGTH + ethernet::LENGTH;
/// The same in GRE.
const PLAIN_GRE: usize = ipv4::LENGTH + gre::LENGTH + ethernet::LENGTH;
const _: () = assert!(vxlan::LENGTH == geneve::LENGTH);

/// The destination port of a UDP header's word, as it is loaded.
const fn port_word(port: u16) -> u64 {
    u64::from_le_bytes([0, 0, (port >> 8) as u8, port as u8, 0, 0, 0, 0])
}
const PORT_MASK: u64 = 0xffff_0000;

/// The first word of GENEVE without options as it is loaded: version 0, no options, carrying Ethernet. The flags O and C
/// must not be set (RFC 8926 §3.4), the other six bits of that byte are reserved and ignored.
const GENEVE: u64 = u32::from_le_bytes([0, 0, 0x65, 0x58]) as u64;
const GENEVE_MASK: u64 = u32::from_le_bytes([0xff, 0xc0, 0xff, 0xff]) as u64;
/// The first word of GRE with a key and nothing else, carrying Ethernet (RFC 2890).
const GRE: u64 = u32::from_le_bytes([0x20, 0, 0x65, 0x58]) as u64;

/// What a packet from outside looks like, whose header has no options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looks {
    /// As what comes through a tunnel.
    Tunnel,
    /// As anything else.
    Other,
}

/// One look, at protocol and destination port: neither says that anything is right about the packet.
#[inline(always)]
pub(super) fn look(ip: &[u8]) -> Looks {
    let Some(begin) = ip.first_chunk::<{ ipv4::LENGTH + 4 }>() else { return Looks::Other };
    let (protocol, port) = (begin[ipv4::PROTOCOL], read16(begin, ipv4::LENGTH + udp::DESTINATION_PORT));
    // What is neither comes first: nearly all that is no tunnel's is TCP, or UDP to a port above.
    let may_be = protocol == ipv4::GRE || (protocol == ipv4::UDP && port <= geneve::PORT);
    if may_be && (protocol == ipv4::GRE || matches!(port, vxlan::PORT | geneve::PORT | psp::PORT)) {
        Looks::Tunnel
    } else {
        Looks::Other
    }
}

/// The short way: looks through the outer headers and parses the inner packet, if both are as nearly all are: plain
/// VXLAN, a plain packet in it, and nothing wrong with them. Otherwise `false`, and [`unwrap_plain_other`] or [`unwrap`] says
/// what it is.
#[inline(always)]
pub fn unwrap_plain(ip: &[u8], l3: usize, packet: &mut Packet) -> bool {
    let Some(headers) = ip.first_chunk::<{ PLAIN + PLAIN_LEAST }>() else { return false };
    let Some(outer) = headers.first_chunk().and_then(ipv4::Plain::parse) else { return false };
    let (l4, id) = (le64(headers, ipv4::LENGTH), le64(headers, ipv4::LENGTH + udp::LENGTH));
    if outer.protocol != ipv4::UDP
        || (l4 ^ port_word(vxlan::PORT)) & PORT_MASK != 0
        || !fits(&outer, l4)
        // RFC 7348 §5: the flag I.
        || id & u64::from(vxlan::HAS_ID) == 0
        || headers[PLAIN - TYPE..PLAIN] != ethernet::IPV4.to_be_bytes()
    {
        return false;
    }
    let id = ((id >> 32) as u32).swap_bytes() >> 8;
    parse_inner::<PLAIN>(ip, l3, packet, &outer, tunnels::inbound(Encapsulation::Vxlan, id))
}

/// The short way for GENEVE without options and for GRE, out of the line of VXLAN.
#[inline(never)]
pub(super) fn unwrap_plain_other(ip: &[u8], l3: usize, packet: &mut Packet) -> bool {
    let Some(headers) = ip.first_chunk::<{ PLAIN_GRE + PLAIN_LEAST }>() else { return false };
    let Some(outer) = headers.first_chunk().and_then(ipv4::Plain::parse) else { return false };
    let (l4, word) = (le64(headers, ipv4::LENGTH), le64(headers, ipv4::LENGTH + udp::LENGTH));
    if outer.protocol == ipv4::GRE {
        let key = ((l4 >> 32) as u32).swap_bytes();
        return l4 & 0xffff_ffff == GRE
            && headers[PLAIN_GRE - TYPE..PLAIN_GRE] == ethernet::IPV4.to_be_bytes()
            && parse_inner::<PLAIN_GRE>(ip, l3, packet, &outer, tunnels::inbound(Encapsulation::Gre, key));
    }
    let id = ((word >> 32) as u32).swap_bytes() >> 8;
    outer.protocol == ipv4::UDP
        && (l4 ^ port_word(geneve::PORT)) & PORT_MASK == 0
        && (word ^ GENEVE) & GENEVE_MASK == 0
        && fits(&outer, l4)
        && headers[PLAIN - TYPE..PLAIN] == ethernet::IPV4.to_be_bytes()
        && parse_inner::<PLAIN>(ip, l3, packet, &outer, tunnels::inbound(Encapsulation::Geneve, id))
}

/// Whether the length in a UDP header's word is one that the packet has room for, and the packet one for the inner one.
#[inline(always)]
fn fits(outer: &ipv4::Plain, l4: u64) -> bool {
    let (total, datagram) = (usize::from(outer.total_length), usize::from(((l4 >> 32) as u16).swap_bytes()));
    datagram >= udp::LENGTH && datagram <= total.wrapping_sub(ipv4::LENGTH) && total >= PLAIN
}

/// The short way from the inner packet on, which begins `AT` bytes behind the outer one.
#[inline(always)]
fn parse_inner<const AT: usize>(
    ip: &[u8],
    l3: usize,
    packet: &mut Packet,
    outer: &ipv4::Plain,
    inbound: u64,
) -> bool {
    // What follows the outer packet in the frame is padding, and no part of the inner one.
    let Some(inner) = ip.get(AT..usize::from(outer.total_length)) else { return false };
    packet.outer = outer.addresses;
    packet.outer_tos = outer.tos;
    packet.inbound = inbound;
    packet.parse_plain(inner, l3 + AT)
}

/// The inner destination of what looks like a tunnel packet without anything unusual around it.
#[inline(always)]
pub(super) fn tag_of(ip: &[u8]) -> Option<Tag> {
    let outer: &[u8; ipv4::LENGTH + udp::LENGTH + 4] = ip.first_chunk()?;
    let (port, geneve_options) = (
        read16(outer, ipv4::LENGTH + udp::DESTINATION_PORT),
        outer[ipv4::LENGTH + udp::LENGTH] & geneve::OPTIONS_MASK,
    );
    let inner = match (outer[ipv4::PROTOCOL], port) {
        // No header options, no fragment.
        _ if outer[0] != 0x45
            || read16(outer, ipv4::FRAGMENT) & (ipv4::MORE_FRAGMENTS | ipv4::OFFSET_MASK) != 0 =>
        {
            return None;
        }
        (ipv4::UDP, vxlan::PORT) => PLAIN,
        (ipv4::UDP, geneve::PORT) if geneve_options == 0 => PLAIN,
        (ipv4::GRE, _) if read16(outer, ipv4::LENGTH) == gre::HAS_KEY => PLAIN_GRE,
        _ => return None,
    };
    let addresses = ip.get(inner..)?.first_chunk::<{ ipv4::LENGTH }>()?;
    Some(Tag(read32(addresses, ipv4::DESTINATION)))
}

/// Looks through the outer headers of the packet at `l3`; `None` if it is no tunnel packet.
#[inline(never)]
pub fn unwrap(data: &[u8], l3: usize) -> Result<Option<Unwrapped>, DropReason> {
    let ip = data.get(l3..).ok_or(DropReason::Truncated)?;
    let outer = ipv4::Header::parse(ip)?;
    let data = &ip[..usize::from(outer.total_length)];
    let l4 = outer.length();
    let (inbound, inner) = match outer.protocol {
        ipv4::UDP => {
            let port = read16(data, l4 + udp::DESTINATION_PORT);
            if port != vxlan::PORT && port != geneve::PORT || outer.fragment_offset != 0 {
                return Ok(None);
            }
            if outer.more_fragments {
                return Err(DropReason::OuterFragment);
            }
            let udp = udp::Header::parse(&data[l4..])?;
            if usize::from(udp.datagram_length) > outer.payload_length() {
                return Err(DropReason::L4Malformed);
            }
            let at = l4 + udp::LENGTH;
            if port == vxlan::PORT {
                let header = vxlan::Header::parse(&data[at..])?;
                (tunnels::inbound(Encapsulation::Vxlan, header.id), at + vxlan::LENGTH)
            } else {
                let header = geneve::Header::parse(&data[at..])?;
                (tunnels::inbound(Encapsulation::Geneve, header.id), at + header.length())
            }
        }
        ipv4::GRE => {
            if outer.is_fragment() {
                return Err(DropReason::OuterFragment);
            }
            let header = gre::Header::parse(&data[l4..])?;
            if header.checksum.is_some() && !gre::valid(&data[l4..]) {
                return Err(DropReason::TunnelMalformed);
            }
            // RFC 2890 §2.2 numbers packets for those who want them in order; what is carried here does not.
            (tunnels::inbound(Encapsulation::Gre, header.key), l4 + header.length())
        }
        _ => return Ok(None),
    };
    if data.len() < inner + ethernet::LENGTH {
        return Err(DropReason::Truncated);
    }
    // RFC 7348 §6.1: an inner VLAN tag is not carried; addresses carry nothing here.
    if read16(data, inner + ethernet::TYPE) != ethernet::IPV4 {
        return Err(DropReason::TunnelMalformed);
    }
    Ok(Some(Unwrapped {
        outer: Pair::new(outer.source, outer.destination),
        inbound,
        inner: l3 + inner + ethernet::LENGTH,
        end: l3 + data.len(),
        tos: outer.tos,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::write16;
    use proptest::prelude::*;

    proptest! {
        /// What the short way takes, the long one takes as the same; the short one takes what is plain and right. What is
        /// steered by its tag alone has the tag that the long way finds.
        #[test]
        fn plain_tunnel_packets_are_unwrapped_as_any(
            encapsulation in prop_oneof![Just(Encapsulation::Vxlan), Just(Encapsulation::Geneve), Just(Encapsulation::Gre)],
            changes in proptest::collection::vec((20usize..PLAIN, any::<u8>()), 0..3), total in 76u16..100,
            cut in 70usize..100, fragment in proptest::option::weighted(0.1, any::<(bool, u16)>()),
            options in prop_oneof![8 => Just(0u8), 1 => 0u8..3],
        ) {
            let mut bytes = [0u8; 108];
            let gre = encapsulation == Encapsulation::Gre;
            let mut outer = ipv4::Header::new(if gre { ipv4::GRE } else { ipv4::UDP }, 1, 2, total);
            if let Some((more, offset)) = fragment {
                (outer.more_fragments, outer.fragment_offset) = (more, offset & 3);
            }
            let udp = |port| udp::Header { source_port: 1, destination_port: port, datagram_length: 40, checksum: 0 };
            let options = if encapsulation == Encapsulation::Geneve { usize::from(options) * 4 } else { 0 };
            match encapsulation {
                Encapsulation::Vxlan => {
                    udp(vxlan::PORT).emit(&mut bytes[20..]);
                    vxlan::Header { id: 7 }.emit(&mut bytes[28..]);
                }
                Encapsulation::Geneve => {
                    udp(geneve::PORT).emit(&mut bytes[20..]);
                    geneve::Header { id: 7, options_length: options as u8 }.emit(&mut bytes[28..]);
                }
                Encapsulation::Gre => gre::Header::new(7).emit(&mut bytes[20..]),
                Encapsulation::Psp => unreachable!("not in clear"),
            }
            let at = options + if gre { PLAIN_GRE } else { PLAIN };
            write16(&mut bytes, at - 2, ethernet::IPV4);
            for (at, value) in changes {
                bytes[at] = value;
            }
            outer.emit(&mut bytes);
            ipv4::Header { ttl: 9, ..ipv4::Header::new(ipv4::UDP, 3, 4, 30) }.emit(&mut bytes[at..]);
            udp::Header { source_port: 1, destination_port: 2, datagram_length: 10, checksum: 3 }
                .emit(&mut bytes[at + ipv4::LENGTH..]);
            let bytes = &bytes[..cut];
            let (mut short, mut long) = (Packet::NOTHING, Packet::NOTHING);
            let mut plain = true;
            let said = unwrap(bytes, 0).and_then(|unwrapped| match unwrapped {
                Some(Unwrapped { outer, inbound, inner, end, tos }) => {
                    (long.outer, long.inbound, long.outer_tos) = (outer, inbound, tos);
                    let in_gre = bytes[9] == ipv4::GRE;
                    plain = inner == if in_gre { PLAIN_GRE } else { PLAIN }
                        // Reserved bits are ignored on the long way.
                        && (!in_gre || bytes[20..22] == gre::HAS_KEY.to_be_bytes());
                    long.parse(&bytes[..end], inner)
                }
                None => Err(DropReason::Unasked),
            });
            let took = unwrap_plain(bytes, 0, &mut short) || unwrap_plain_other(bytes, 0, &mut short);
            prop_assert_eq!(took, said.is_ok() && plain);
            if took {
                prop_assert_eq!(format!("{short:?}"), format!("{long:?}"));
            }
            if said.is_ok() && let Some(tag) = tag_of(bytes) {
                prop_assert_eq!(tag, Tag(long.destination()));
            }
            prop_assert!(!took || tag_of(bytes).is_some());
        }
    }
}
