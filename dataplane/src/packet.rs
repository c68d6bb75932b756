//! What the path knows about a packet after parsing it once.
//!
//! What later phases need stands here, so that they read the frame again only where they change it. All offsets count from the
//! IPv4 header, because the frame in front of it grows and shrinks.

use crate::msg::Encapsulation;
use crate::narrow::NONE;
use crate::reason::DropReason;
use crate::table::tunnels::inbound;
use crate::wire::{Pair, Wire, icmp, ipv4, le64, read16, read32, tcp, udp};

/// The most packets that go through the phases of the path together: 64 frames of two cache lines each and their parsed
/// packets are 12 KiB and stay in the first-level cache, while their table lines are fetched side by side.
pub const BURST: usize = 64;

/// A TCP SYN: its segment size may have to be clamped.
pub const SYN: u16 = 1;
/// An ICMP error: what counts is the packet that it quotes.
pub const ERROR: u16 = 2;
/// The time to live ends here.
pub const EXPIRED: u16 = 4;
/// It must not be fragmented.
pub const DONT_FRAGMENT: u16 = 8;
/// A fragment, first or later.
pub const FRAGMENT: u16 = 16;
/// A later fragment: without layer 4 header.
pub const LATER: u16 = 32;
/// It was decided on in phase 1.
pub const SETTLED: u16 = 64;
/// It is looked up among the sessions, not among the bindings.
pub const ROUTED: u16 = 128;
/// It comes from the DMZ, for a host of the realm.
pub const INWARD: u16 = 256;
/// What it says is read on its way through a binding.
pub const READ: u16 = 512;
/// What takes more than the common steps.
pub const SPECIAL: u16 = SYN | ERROR | EXPIRED | READ;

/// The least bytes of a packet that [`Packet::parse_plain`] takes: an IPv4 header and 8 bytes behind it.
pub const PLAIN_LEAST: usize = ipv4::LENGTH + 8;

/// A parsed IPv4 packet. In a tunnel, the inner one, with what the outer headers said.
///
/// Two cache lines. In the first stands what every packet is asked: from 0 what is looked up (the key with its hash, and the slot
/// that it led to), from 48 what the phases and its connection ask of the packet. The second is for what
/// has more to say, such as a key of larger addresses; nothing else touches it, so the first lines of a burst are 4 KiB.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Packet {
    /// The hash of `key`.
    pub hash: u64,
    /// Source and destination address.
    pub addresses: Pair,
    /// The key of the egress index: the addresses, or for an ICMP error destination and source that it quotes.
    pub key: Pair,
    /// Outer source and destination address of a tunnel packet.
    pub outer: Pair,
    /// Encapsulation and id of a tunnel packet: see [`crate::table::tunnels::inbound`].
    pub inbound: u64,
    /// Source port and destination port; 0 for fragments and protocols without ports.
    pub ports: u32,
    /// The slot of its binding; [`NONE`] if not known.
    pub slot: u32,
    /// Where the IPv4 header stands in the frame.
    pub l3: u16,
    /// Bytes of the IPv4 packet.
    pub total: u16,
    /// Where the layer 4 checksum stands that covers the addresses; 0 = there is none.
    pub check: u16,
    /// Bits from [`SYN`] to [`READ`].
    pub flags: u16,
    /// The identification of a fragment.
    pub id: u16,
    /// Bytes of the IPv4 header.
    pub l4: u8,
    /// The flags of TCP ([`tcp::SYN`] and its like); 0 where there is no such header.
    pub tcp_flags: u8,
    /// The protocol.
    pub protocol: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// DSCP and ECN of the outer header.
    pub outer_tos: u8,
    /// Nothing yet.
    pub(crate) room: [u8; 65],
}

const _: () = assert!(size_of::<Packet>() == 128 && std::mem::offset_of!(Packet, room) == 63);

impl Packet {
    /// Nothing: what stands in the place of a packet that was settled before it was parsed.
    pub const NOTHING: Self = Self {
        hash: 0,
        addresses: Pair::NONE,
        key: Pair::NONE,
        outer: Pair::NONE,
        inbound: 0,
        ports: 0,
        slot: NONE,
        l3: 0,
        total: 0,
        check: 0,
        id: 0,
        l4: 0,
        protocol: 0,
        tos: 0,
        outer_tos: 0,
        flags: 0,
        tcp_flags: 0,
        room: [0; 65],
    };

    /// The short way: parses the packet if it is as nearly all are: without options, no fragment, nothing unusual about it
    /// and nothing wrong. Otherwise `false`, and [`Packet::parse`] says what it is.
    ///
    /// `ip` stands at `l3` of the frame. Both ways parse in place: returning a packet of 64 bytes costs more than parsing it.
    #[inline(always)]
    pub fn parse_plain(&mut self, ip: &[u8], l3: usize) -> bool {
        let Some(header) = ip.first_chunk::<PLAIN_LEAST>() else { return false };
        let Some(plain) = header.first_chunk().and_then(ipv4::Plain::parse) else { return false };
        let total = usize::from(plain.total_length);
        if total < PLAIN_LEAST || total > ip.len() || plain.ttl <= 1 {
            return false;
        }
        // Of UDP source port, destination port, length and checksum; TCP begins with its ports as well.
        let l4 = le64(header, ipv4::LENGTH);
        // Side by side: one store.
        (self.id, self.l4, self.tcp_flags) = (0, ipv4::LENGTH as u8, 0);
        let check = if plain.protocol == ipv4::UDP {
            let datagram = usize::from(((l4 >> 32) as u16).swap_bytes());
            if datagram < udp::LENGTH || datagram > total - ipv4::LENGTH {
                return false;
            }
            // RFC 768: a checksum of 0 means none, and stays.
            if l4 >> 48 == 0 { 0 } else { ipv4::LENGTH + udp::CHECKSUM }
        } else if plain.protocol == ipv4::TCP {
            match tcp::Header::parse(ip.get(ipv4::LENGTH..total).unwrap_or_default()) {
                Ok(tcp) if tcp.flags & tcp::SYN == 0 => {
                    self.tcp_flags = tcp.flags;
                    ipv4::LENGTH + tcp::CHECKSUM
                }
                _ => return false,
            }
        } else {
            return false;
        };
        self.addresses = plain.addresses;
        self.key = plain.addresses;
        self.ports = (l4 as u32).swap_bytes();
        self.l3 = l3 as u16;
        self.total = plain.total_length;
        self.check = check as u16;
        self.protocol = plain.protocol;
        self.tos = plain.tos;
        self.flags = u16::from(plain.dont_fragment) * DONT_FRAGMENT;
        true
    }

    /// Parses any IPv4 packet in `frame` at `l3`. What an outer header says is left as it was.
    #[cold]
    #[inline(never)]
    pub fn parse(&mut self, frame: &[u8], l3: usize) -> Result<(), DropReason> {
        let ip = frame.get(l3..).ok_or(DropReason::Truncated)?;
        let header = ipv4::Header::parse(ip)?;
        self.l3 = l3 as u16;
        self.addresses = Pair::new(header.source, header.destination);
        self.key = self.addresses;
        self.total = header.total_length;
        self.id = if header.is_fragment() { header.id } else { 0 };
        self.l4 = header.header_length;
        self.tos = header.tos;
        self.tcp_flags = 0;
        refuse_source_route(&ip[ipv4::LENGTH..header.length()])?;
        let flags =
            (u16::from(header.ttl <= 1) * EXPIRED) | (u16::from(header.dont_fragment) * DONT_FRAGMENT);
        let payload = &ip[header.length()..usize::from(header.total_length)];
        if header.is_fragment() {
            (self.protocol, self.flags, self.ports, self.check) = (header.protocol, flags, 0, 0);
            self.parse_fragment(&header, payload)
        } else {
            self.parse_payload(header.protocol, header.header_length, flags, payload)
        }
    }

    fn parse_payload(
        &mut self,
        protocol: u8,
        l4: u8,
        mut flags: u16,
        payload: &[u8],
    ) -> Result<(), DropReason> {
        let (mut ports, mut check) = (0, 0);
        if protocol == ipv4::UDP {
            let udp = udp::Header::parse(payload)?;
            if usize::from(udp.datagram_length) > payload.len() {
                return Err(DropReason::L4Malformed);
            }
            ports = u32::from(udp.source_port) << 16 | u32::from(udp.destination_port);
            // RFC 768: a checksum of 0 means none, and stays.
            check = u16::from(udp.checksum != 0) * (u16::from(l4) + udp::CHECKSUM as u16);
        } else if protocol == ipv4::TCP {
            let tcp = tcp::Header::parse(payload)?;
            ports = u32::from(tcp.source_port) << 16 | u32::from(tcp.destination_port);
            check = u16::from(l4) + tcp::CHECKSUM as u16;
            flags |= u16::from(tcp.flags & tcp::SYN != 0) * SYN;
            self.tcp_flags = tcp.flags;
        } else if protocol == ipv4::ICMP {
            flags |= icmp_flags(icmp::Header::parse(payload)?.kind)?;
        } else if matches!(protocol, ipv4::DCCP | ipv4::UDP_LITE) {
            if payload.len() < udp::LENGTH {
                return Err(DropReason::L4Malformed);
            }
            ports = read32(payload, 0);
            check = u16::from(l4) + udp::CHECKSUM as u16;
        }
        (self.protocol, self.flags, self.ports, self.check) = (protocol, flags, ports, check);
        Ok(())
    }

    /// A fragment: the first one has the layer 4 header, which must be whole; the later ones have none. Ports count as 0
    /// in all of them, so that all take the same way.
    #[cold]
    fn parse_fragment(&mut self, header: &ipv4::Header, payload: &[u8]) -> Result<(), DropReason> {
        self.flags |= FRAGMENT;
        if header.fragment_offset != 0 {
            self.flags |= LATER;
            // RFC 1858 §3, RFC 3128: a fragment must not overlap the TCP header of the first.
            let overlaps =
                self.protocol == ipv4::TCP && usize::from(header.fragment_offset) * 8 < tcp::LENGTH;
            return if overlaps { Err(DropReason::FragmentTiny) } else { Ok(()) };
        }
        match self.protocol {
            ipv4::TCP => match tcp::Header::parse(payload) {
                Ok(tcp) => {
                    self.check = u16::from(self.l4) + tcp::CHECKSUM as u16;
                    self.ports = u32::from(tcp.source_port) << 16 | u32::from(tcp.destination_port);
                    self.flags |= u16::from(tcp.flags & tcp::SYN != 0) * SYN;
                    self.tcp_flags = tcp.flags;
                    Ok(())
                }
                Err(_) => Err(DropReason::FragmentTiny), // RFC 1858 §3.1
            },
            ipv4::UDP | ipv4::DCCP | ipv4::UDP_LITE => {
                if payload.len() < udp::LENGTH {
                    return Err(DropReason::FragmentTiny);
                }
                self.ports = read32(payload, 0);
                let none = self.protocol == ipv4::UDP && read16(payload, udp::CHECKSUM) == 0;
                self.check = u16::from(!none) * (u16::from(self.l4) + udp::CHECKSUM as u16);
                Ok(())
            }
            ipv4::ICMP => {
                let icmp = icmp::Header::parse(payload).map_err(|_| DropReason::FragmentTiny)?;
                // An error fits a packet (RFC 1812 §4.3.2.3: 576 bytes); what it quotes must be seen whole.
                if icmp::Header::is_error(icmp.kind) { Err(DropReason::IcmpErrorUnmatched) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    /// Source address.
    #[inline(always)]
    pub const fn source(&self) -> u32 {
        self.addresses.source()
    }

    /// Destination address.
    #[inline(always)]
    pub const fn destination(&self) -> u32 {
        self.addresses.destination()
    }

    /// Whether it answers the opening of a TCP connection, or, if `first` is asked for too, opens one.
    pub const fn opens_tcp(&self, first: bool) -> bool {
        self.tcp_flags & tcp::SYN != 0 && (first || self.tcp_flags & tcp::ACK != 0)
    }

    /// Whether it came through an encrypted tunnel, if it came through any.
    pub const fn is_unsealed(&self) -> bool {
        self.inbound >> 32 == inbound(Encapsulation::Psp, 0) >> 32
    }

    /// Whether it is a fragment, first or later.
    #[inline(always)]
    pub const fn is_fragment(&self) -> bool {
        self.flags & FRAGMENT != 0
    }

    /// Whether it is a fragment without layer 4 header.
    #[inline(always)]
    pub const fn is_later_fragment(&self) -> bool {
        self.flags & LATER != 0
    }

    /// 32 bits that differ between flows and are the same for all packets of one. Ports do not count in fragments.
    #[inline(always)]
    pub const fn entropy(&self) -> u32 {
        let ports = if self.is_fragment() { 0 } else { self.ports };
        (self.hash as u32 ^ ports ^ (self.protocol as u32) << 8).wrapping_mul(0x9e37_79b1)
    }

    /// The packet that this ICMP error quotes, and where that stands; `None` if too little of it is there (RFC 792: its
    /// header and 64 bits).
    pub fn quoted(&self, ip: &[u8]) -> Option<(usize, ipv4::Header)> {
        let at = usize::from(self.l4) + icmp::LENGTH;
        let bytes = ip.get(at..usize::from(self.total))?;
        let header = ipv4::Header::parse_quoted(bytes).ok()?;
        (bytes.len() >= header.quoted_least()).then_some((at, header))
    }
}

/// What the type of an ICMP message makes of its packet: a query is like any packet, some errors are translated, other
/// types are not carried.
fn icmp_flags(kind: u8) -> Result<u16, DropReason> {
    match kind {
        icmp::ECHO | icmp::ECHO_REPLY | icmp::TIMESTAMP | icmp::TIMESTAMP_REPLY => Ok(0),
        icmp::UNREACHABLE | icmp::TIME_EXCEEDED | icmp::PARAMETER_PROBLEM => Ok(ERROR),
        _ => Err(DropReason::IcmpTypeUnknown),
    }
}

#[cold]
fn refuse_source_route(options: &[u8]) -> Result<(), DropReason> {
    for option in ipv4::options(options) {
        // RFC 7126 §4.3.5, §4.4.5: routers should drop packets with source routes.
        if option?.source_route() {
            return Err(DropReason::SourceRoute);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// What the short way takes, the long one takes as the same; the short one takes what is plain and right.
        #[test]
        fn plain_packets_are_parsed_as_any(
            protocol in prop_oneof![Just(1u8), Just(6), Just(17), Just(33), Just(136), any::<u8>()],
            addresses: (u32, u32), tos: u8, id: u16, ttl in 0u8..4, df: bool, off_by in -2i32..3,
            payload in proptest::collection::vec(any::<u8>(), 0..40), broken in proptest::option::weighted(0.1, 0usize..20),
        ) {
            let total = (20 + payload.len() as i32 + off_by).max(0) as u16;
            let header = ipv4::Header {
                tos, id, ttl, dont_fragment: df, ..ipv4::Header::new(protocol, addresses.0, addresses.1, total)
            };
            let mut bytes = vec![0; 20];
            header.emit(&mut bytes);
            bytes.extend(&payload);
            if let Some(at) = broken {
                bytes[at] ^= 1;
            }
            let (mut short, mut long) = (Packet::NOTHING, Packet::NOTHING);
            let (took, said) = (short.parse_plain(&bytes, 0), long.parse(&bytes, 0));
            if took {
                prop_assert_eq!(said, Ok(()));
                prop_assert_eq!(format!("{short:?}"), format!("{long:?}"));
            } else {
                let plain = [ipv4::UDP, ipv4::TCP].contains(&long.protocol) && long.flags & SPECIAL == 0;
                prop_assert!(said.is_err() || !plain, "{long:?}");
            }
        }
    }
}
