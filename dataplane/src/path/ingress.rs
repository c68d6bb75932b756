//! From a tunnel to an inside host.

use super::egress::clamp_segment;
use super::icmp::{Error, translate_quoted, write_error};
use super::packet::{DONT_FRAGMENT, ERROR, EXPIRED, PLAIN_LEAST, Packet, SETTLED, SPECIAL, SYN};
use super::{BURST, GROUP, Settled, fragment, group, write};
use crate::Nanos;
use crate::binding::{Entry, Life};
use crate::frame::{Buffers, Frame};
use crate::hop::Hop;
use crate::index::NONE;
use crate::limits::Direction;
use crate::meter::Fine;
use crate::msg::{Encapsulation, PortId};
use crate::port::{Gate, Link};
use crate::reason::DropReason;
use crate::settings::Side;
use crate::state::{State, seconds};
use crate::tag::Tag;
use crate::tunnel;
use crate::verdict::Verdict;
use crate::wire::{Wire, ethernet, geneve, gre, icmp, ipv4, le64, read16, read32, udp, vxlan};

/// The ECN field of a TOS (RFC 3168 §5).
const ECN: u8 = 3;
/// Congestion experienced.
const CE: u8 = 3;
/// ECN-capable transport 1.
const ECT1: u8 = 1;

impl State {
    /// `SEVERAL`: there are other workers, to whom a packet may belong.
    pub(super) fn ingress_burst<F: Frame, B: Buffers<F>, const SEVERAL: bool>(
        &mut self,
        port: PortId,
        frames: &mut [F],
        verdicts: &mut [Verdict],
        buffers: &mut B,
        now: Nanos,
    ) {
        let mut packets = std::mem::take(&mut self.packets);
        let count = frames.len().min(BURST);
        let (now_s, fine, gate) = (seconds(now), Fine::of(now), self.ports[usize::from(port)].gate);
        for frame in &frames[group(0, 0, count)] {
            frame.prefetch();
        }
        for step in 0..count.div_ceil(GROUP) + 2 {
            for frame in &frames[group(step + 1, 0, count)] {
                frame.prefetch();
            }
            let new = group(step, 0, count);
            let arrived = frames[new.clone()].iter_mut().zip(&mut packets[new.clone()]);
            for ((frame, packet), verdict) in arrived.zip(&mut verdicts[new.clone()]) {
                if let Err(settled) = self.parse_outside::<F, SEVERAL>(&gate, port, frame, packet, now) {
                    (packet.flags, packet.slot) = (SETTLED, NONE);
                    *verdict = self.settle(settled);
                }
            }
            for packet in &packets[new] {
                if let Some(entry) = self.bindings.get(packet.slot as usize) {
                    machine::prefetch_write(entry);
                }
            }
            for packet in &packets[group(step, 1, count)] {
                if let Some(entry) = self.bindings.get(packet.slot as usize) {
                    if entry.limits != 0 {
                        self.limits.prefetch(entry.limits);
                    }
                    self.tunnels.prefetch_arrival(entry.tunnel);
                    self.hops.prefetch(entry.neighbour.number());
                }
            }
            let ready = group(step, 2, count);
            let decided = frames[ready.clone()].iter_mut().zip(&packets[ready.clone()]);
            for ((frame, packet), verdict) in decided.zip(&mut verdicts[ready]) {
                if let Some(port) = self.ingress_plain(frame, packet, now_s, fine) {
                    *verdict = Verdict::Forward(port);
                } else if packet.flags & SETTLED == 0 {
                    *verdict = match self.ingress_any(frame, packet, buffers, now) {
                        Ok(verdict) => verdict,
                        Err(verdict) => self.settle(verdict),
                    };
                }
            }
        }
        self.packets = packets;
    }

    /// Phase 1: the inner packet with the slot that its tag names, or what became of it.
    #[inline(always)]
    fn parse_outside<F: Frame, const SEVERAL: bool>(
        &mut self,
        gate: &Gate,
        port: PortId,
        frame: &mut F,
        packet: &mut Packet,
        now: Nanos,
    ) -> Settled<()> {
        // The session tag is the handle of its binding (tag.rs). What is handed over is parsed once, by its owner; if there
        // is anything wrong with it, it is the owner that drops it.
        let known = gate.ipv4(frame.data());
        let mut steered = None;
        if SEVERAL && let Some(tag) = known.and_then(|(_, ip)| tag_of(ip)) {
            let handle = self.cipher.handle(tag);
            if let Some(worker) = self.elsewhere(handle) {
                return Err(Verdict::HandOff(worker));
            }
            steered = Some(handle);
        }
        if !known.is_some_and(|(l3, ip)| unwrap_plain(ip, l3, packet)) {
            self.parse_outside_any(port, frame, packet, now)?;
        }
        if let Some(handle) = steered {
            packet.slot = self.layout.slot(handle);
            return Ok(());
        }
        let handle = self.cipher.handle(Tag(packet.destination()));
        packet.slot = self.layout.slot(handle);
        match self.elsewhere(handle) {
            Some(worker) if SEVERAL => Err(Verdict::HandOff(worker)),
            _ => Ok(()),
        }
    }

    /// The long way to parse.
    #[inline(never)]
    fn parse_outside_any<F: Frame>(
        &mut self,
        port: PortId,
        frame: &mut F,
        packet: &mut Packet,
        now: Nanos,
    ) -> Settled<()> {
        let data = frame.data();
        let l3 = match self.ports[usize::from(port)].accept(data)? {
            Link::Ipv4(l3) => l3,
            Link::Arp(l3) => return Err(self.arp(port, data, l3, now)),
        };
        let Some(unwrapped) = unwrap(data, l3)? else {
            return Err(self.outside_plain(port, frame, l3, packet, now));
        };
        // What follows the outer packet in the frame is padding, and no part of the inner one.
        let (data, at) = (data.get(..unwrapped.end).ok_or(DropReason::IpTotalLength)?, unwrapped.inner);
        if !data.get(at..).is_some_and(|inner| packet.parse_plain(inner, at)) {
            packet.parse(data, at)?;
        }
        packet.outer = unwrapped.outer;
        packet.outer_tos = unwrapped.tos;
        packet.inbound = unwrapped.inbound;
        Ok(())
    }

    /// Phase 3 (there is no phase 2: the tag leads to the binding itself). The straight line: nothing unusual about the
    /// packet or its binding. `None`, with nothing changed, for all others.
    #[inline(always)]
    fn ingress_plain<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet,
        now_s: u32,
        fine: Fine,
    ) -> Option<PortId> {
        let entry = self.bindings.get_mut(packet.slot as usize)?;
        let tunnel = self.tunnels.at(entry.tunnel)?;
        if !belongs(packet, entry, tunnel)
            || packet.flags & (SPECIAL | SETTLED) != 0
            || (packet.tos ^ packet.outer_tos) & ECN != 0
        {
            return None;
        }
        let hop = self.hops.at(entry.neighbour.number());
        if packet.total > hop.mtu {
            return None;
        }
        let admitted = match entry.limits {
            0 => None,
            limits => Some(self.limits.admit(limits, Direction::In, packet, fine)?),
        };
        deliver(frame, packet, entry, hop)?;
        if let Some(admitted) = admitted {
            admitted.charge();
        }
        entry.count_in(packet.total, now_s);
        Some(hop.port)
    }

    /// Phase 3 with everything that can be unusual.
    #[inline(never)]
    fn ingress_any<F: Frame, B: Buffers<F>>(
        &mut self,
        frame: &mut F,
        packet: &Packet,
        buffers: &mut B,
        now: Nanos,
    ) -> Settled<Verdict> {
        let Some(entry) = self.bindings.get(packet.slot as usize).copied() else {
            return Err(self.ingress_unknown(packet));
        };
        if !self.tunnels.at(entry.tunnel).is_some_and(|tunnel| belongs(packet, &entry, tunnel)) {
            return Err(self.ingress_unknown(packet));
        }
        self.ingress_special(frame, packet, now)?;
        let hop = self.hops.at(entry.neighbour.number());
        if packet.total > hop.mtu {
            return self.ingress_blocked(frame, packet, buffers, now);
        }
        deliver(frame, packet, &entry, hop).ok_or(DropReason::NoHeadroom)?;
        let port = hop.port;
        self.bindings[packet.slot as usize].count_in(packet.total, seconds(now));
        Ok(Verdict::Forward(port))
    }

    /// Why a tunnel packet matches no binding.
    #[cold]
    fn ingress_unknown(&self, packet: &Packet) -> Verdict {
        let known = |by_id: bool| {
            // The encapsulation stands above the id.
            let of = |tunnel: &tunnel::Entry| {
                let differs = tunnel.inbound ^ packet.inbound;
                if by_id { differs == 0 } else { differs >> 32 == 0 }
            };
            self.tunnels.find(packet.outer, of).is_some()
        };
        let local = packet.outer as u32;
        Verdict::Drop(if !self.is_own(Side::Outside, local) {
            DropReason::Unasked
        } else if !known(false) {
            DropReason::TunnelOuterUnknown
        } else if !known(true) {
            DropReason::TunnelIdUnknown
        } else {
            DropReason::TunnelTagUnknown
        })
    }

    /// What is unusual about the packet or its binding. `Ok`: go on.
    #[cold]
    fn ingress_special<F: Frame>(&mut self, frame: &mut F, packet: &Packet, now: Nanos) -> Settled<()> {
        let entry = self.bindings[packet.slot as usize];
        if packet.flags & EXPIRED != 0 {
            let what = (icmp::TIME_EXCEEDED, 0, 0);
            return Err(self.answer_outside(frame, packet, what, DropReason::TtlExceeded, now));
        }
        if packet.flags & ERROR == 0 {
            self.limits.check(entry.limits, Direction::In, packet, now)?;
        }
        let ip = &mut frame.data_mut()[usize::from(packet.l3)..];
        if (packet.tos ^ packet.outer_tos) & ECN != 0 {
            write::set_tos(ip, ecn_out(packet.tos, packet.outer_tos)?);
        }
        if packet.flags & ERROR != 0 {
            // It quotes what our host sent: from our tag to the peer's.
            let ours = |quoted: &ipv4::Header| ipv4::pair(quoted.source, quoted.destination) == entry.far;
            let quotes_ours = packet.quoted(ip).is_some_and(|(_, quoted)| ours(&quoted));
            // It must not be translated twice: not before its next hop is known.
            if quotes_ours && self.hops.at(entry.neighbour.number()).mtu == 0 {
                return Err(self.hold(entry.neighbour.number(), now));
            }
            if !quotes_ours || !translate_quoted(ip, packet, entry.host(), entry.proxy()) {
                return Err(Verdict::Drop(DropReason::IcmpErrorUnmatched));
            }
        }
        if packet.flags & SYN != 0 {
            let mtu = self.tunnels.at(entry.tunnel).map_or(0, |tunnel| tunnel.inner_mtu);
            clamp_segment(ip, packet, mtu);
        }
        Ok(())
    }

    /// The way to the host is closed, or too narrow for the packet.
    #[cold]
    fn ingress_blocked<F: Frame, B: Buffers<F>>(
        &mut self,
        frame: &mut F,
        packet: &Packet,
        buffers: &mut B,
        now: Nanos,
    ) -> Settled<Verdict> {
        let entry = self.bindings[packet.slot as usize];
        let hop = *self.hops.at(entry.neighbour.number());
        if hop.mtu == 0 {
            self.limits.give_back(entry.limits, Direction::In, packet);
            return Err(self.hold(entry.neighbour.number(), now));
        }
        if packet.flags & DONT_FRAGMENT != 0 {
            let what = (icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED, u32::from(hop.mtu));
            return Err(self.answer_outside(frame, packet, what, DropReason::TooBig, now));
        }
        let l3 = usize::from(packet.l3);
        let ip = &mut frame.data_mut()[l3..];
        write::translate(ip, packet, entry.near.rotate_left(32), entry.change.reversed());
        let finish =
            |frame: &mut F, l3: usize, total: u16| write::deliver(frame, l3, total, &hop).map(|_| hop.port);
        let (first, made) =
            fragment::split(frame, packet, hop.mtu, buffers, |frame, total| finish(frame, 0, total))?;
        let port = finish(frame, l3, first).ok_or(DropReason::NoHeadroom)?;
        self.counters.fragments_made += made;
        self.bindings[packet.slot as usize].count_in(packet.total, seconds(now));
        Ok(Verdict::Forward(port))
    }

    /// Drops a packet from a tunnel, and turns its frame into an ICMP error that goes back through the tunnel with the
    /// binding's tags where that is allowed: the far host sees it come from its proxy. `what` is type, code and second
    /// word.
    fn answer_outside<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet,
        what: (u8, u8, u32),
        reason: DropReason,
        now: Nanos,
    ) -> Verdict {
        let entry = self.bindings[packet.slot as usize];
        let Some(tunnel) = self.tunnels.at(entry.tunnel).copied().filter(|tunnel| tunnel.inner_mtu != 0)
        else {
            return Verdict::Drop(reason);
        };
        if !self.may_answer(packet, now) {
            return Verdict::Drop(reason);
        }
        let (kind, code, rest) = what;
        let error = Error { kind, code, rest, source: entry.source(), destination: entry.destination() };
        let (l3, quoted) = (usize::from(packet.l3), usize::from(packet.total));
        self.outer_id = self.outer_id.wrapping_add(1);
        // The inner front of a tunnel packet is 64 bytes and more, so the error's headers find their room there.
        let sent = write_error(frame, l3, quoted, 0, &error).is_some_and(|total| {
            total <= tunnel.inner_mtu
                && write::encap(frame, 0, total, &tunnel, 0xc0, packet.entropy(), self.outer_id).is_some()
        });
        if sent { Verdict::Reply(tunnel.port, reason) } else { Verdict::Drop(reason) }
    }
}

/// Whether a packet from a tunnel is one of this binding's. It comes from the peer's tag to ours, the other way round than
/// what the host sends; the entry knows both, and its tunnel knows the outer pair, the encapsulation and the id.
#[inline(always)]
fn belongs(packet: &Packet, entry: &Entry, tunnel: &tunnel::Entry) -> bool {
    entry.far == packet.addresses.rotate_left(32)
        && entry.life == Life::Tunnel
        && tunnel.outer == packet.outer
        && tunnel.inbound == packet.inbound
}

/// Puts a packet on its way and translates it (from proxy to host: the binding's near pair the other way round); `None`
/// without room.
#[inline(always)]
fn deliver<F: Frame>(frame: &mut F, packet: &Packet, entry: &Entry, hop: &Hop) -> Option<()> {
    let ip = write::deliver(frame, usize::from(packet.l3), packet.total, hop)?;
    write::translate(ip, packet, entry.near.rotate_left(32), entry.change.reversed());
    Some(())
}

/// What the outer headers of a tunnel packet say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwrapped {
    /// Source and destination.
    pub outer: u64,
    /// Encapsulation and id.
    pub inbound: u64,
    /// Where the inner IPv4 packet begins in the frame.
    pub inner: usize,
    /// Where the outer one ends.
    pub end: usize,
    /// DSCP and ECN.
    pub tos: u8,
}

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

/// The short way: looks through the outer headers and parses the inner packet, if both are as nearly all are: VXLAN, GENEVE
/// without options or GRE with a key, a plain packet in it, and nothing wrong with them. Otherwise `false`, and [`unwrap`]
/// says what it is.
#[inline(always)]
pub fn unwrap_plain(ip: &[u8], l3: usize, packet: &mut Packet) -> bool {
    let Some(headers) = ip.first_chunk::<{ PLAIN + PLAIN_LEAST }>() else { return false };
    let Some(outer) = headers.first_chunk().and_then(ipv4::Plain::parse) else { return false };
    let (l4, id) = (le64(headers, 20), le64(headers, 28));
    // RFC 7348 §5: the flag I.
    if outer.protocol != ipv4::UDP || (l4 ^ port_word(vxlan::PORT)) & PORT_MASK != 0 || id & 0x08 == 0 {
        return unwrap_plain_other(ip, l3, packet);
    }
    let id = ((id >> 32) as u32).swap_bytes() >> 8;
    fits(&outer, l4)
        && parse_inner::<PLAIN>(ip, l3, packet, &outer, tunnel::inbound(Encapsulation::Vxlan, id))
}

/// [`unwrap_plain`] for GENEVE and GRE, out of the line of VXLAN.
#[inline(never)]
fn unwrap_plain_other(ip: &[u8], l3: usize, packet: &mut Packet) -> bool {
    let Some(headers) = ip.first_chunk::<{ PLAIN_GRE + PLAIN_LEAST }>() else { return false };
    let Some(outer) = headers.first_chunk().and_then(ipv4::Plain::parse) else { return false };
    let (l4, word) = (le64(headers, 20), le64(headers, 28));
    if outer.protocol == ipv4::GRE {
        let key = ((l4 >> 32) as u32).swap_bytes();
        return l4 & 0xffff_ffff == GRE
            && parse_inner::<PLAIN_GRE>(ip, l3, packet, &outer, tunnel::inbound(Encapsulation::Gre, key));
    }
    let id = ((word >> 32) as u32).swap_bytes() >> 8;
    outer.protocol == ipv4::UDP
        && (l4 ^ port_word(geneve::PORT)) & PORT_MASK == 0
        && (word ^ GENEVE) & GENEVE_MASK == 0
        && fits(&outer, l4)
        && parse_inner::<PLAIN>(ip, l3, packet, &outer, tunnel::inbound(Encapsulation::Geneve, id))
}

/// Whether the length in a UDP header's word is one that the packet has room for.
#[inline(always)]
fn fits(outer: &ipv4::Plain, l4: u64) -> bool {
    let datagram = usize::from(((l4 >> 32) as u16).swap_bytes());
    (udp::LENGTH..=usize::from(outer.total_length).wrapping_sub(ipv4::LENGTH)).contains(&datagram)
}

/// The short way from the inner Ethernet header on, whose packet begins `AT` bytes behind the outer one.
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
    if ip.get(AT - 2..AT) != Some(&ethernet::IPV4.to_be_bytes()[..]) {
        return false;
    }
    packet.outer = outer.addresses;
    packet.outer_tos = outer.tos;
    packet.inbound = inbound;
    packet.parse_plain(inner, l3 + AT)
}

/// The inner destination of what looks like a tunnel packet without anything unusual around it.
#[inline(always)]
fn tag_of(ip: &[u8]) -> Option<Tag> {
    let outer: &[u8; ipv4::LENGTH + udp::LENGTH + 4] = ip.first_chunk()?;
    let (port, geneve_options) = (read16(outer, ipv4::LENGTH + 2), outer[ipv4::LENGTH + udp::LENGTH] & 0x3f);
    let inner = match (outer[9], port) {
        // No header options, no fragment.
        _ if outer[0] != 0x45 || read16(outer, 6) & 0x3fff != 0 => return None,
        (ipv4::UDP, vxlan::PORT) => PLAIN,
        (ipv4::UDP, geneve::PORT) if geneve_options == 0 => PLAIN,
        (ipv4::GRE, _) => PLAIN_GRE,
        _ => return None,
    };
    let addresses = ip.get(inner..)?.first_chunk::<{ ipv4::LENGTH }>()?;
    Some(Tag(read32(addresses, 16)))
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
            let port = read16(data, l4 + 2);
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
                (tunnel::inbound(Encapsulation::Vxlan, header.id), at + vxlan::LENGTH)
            } else {
                let header = geneve::Header::parse(&data[at..])?;
                (tunnel::inbound(Encapsulation::Geneve, header.id), at + header.length())
            }
        }
        ipv4::GRE => {
            if outer.is_fragment() {
                return Err(DropReason::OuterFragment);
            }
            let header = gre::Header::parse(&data[l4..])?;
            (tunnel::inbound(Encapsulation::Gre, header.key), l4 + gre::LENGTH)
        }
        _ => return Ok(None),
    };
    if data.len() < inner + ethernet::LENGTH {
        return Err(DropReason::Truncated);
    }
    // RFC 7348 §6.1: an inner VLAN tag is not carried; addresses carry nothing here.
    if read16(data, inner + 12) != ethernet::IPV4 {
        return Err(DropReason::TunnelMalformed);
    }
    Ok(Some(Unwrapped {
        outer: ipv4::pair(outer.source, outer.destination),
        inbound,
        inner: l3 + inner + ethernet::LENGTH,
        end: l3 + data.len(),
        tos: outer.tos,
    }))
}

/// The TOS of a packet that leaves a tunnel (RFC 6040 §4.2, figure 4): its own DSCP; congestion that the outer header
/// met is carried on, and a packet that does not take part in ECN must not have met any.
fn ecn_out(inner: u8, outer: u8) -> Result<u8, DropReason> {
    let ecn = match (inner & ECN, outer & ECN) {
        (0, CE) => return Err(DropReason::EcnInvalid),
        (0, _) => 0,
        (_, CE) | (CE, _) => CE,
        (_, ECT1) => ECT1,
        (own, _) => own,
    };
    Ok(inner & !ECN | ecn)
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
                Encapsulation::Gre => gre::Header { key: 7 }.emit(&mut bytes[20..]),
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
                    plain = inner == if bytes[9] == ipv4::GRE { PLAIN_GRE } else { PLAIN };
                    long.parse(&bytes[..end], inner)
                }
                None => Err(DropReason::Unasked),
            });
            let took = unwrap_plain(bytes, 0, &mut short);
            // A packet too short for VXLAN is left to the long way, GRE or not.
            prop_assert_eq!(took, said.is_ok() && plain && bytes.len() >= PLAIN + PLAIN_LEAST);
            if took {
                prop_assert_eq!(format!("{short:?}"), format!("{long:?}"));
            }
            if said.is_ok() && let Some(tag) = tag_of(bytes) {
                prop_assert_eq!(tag, Tag(long.destination()));
            }
            prop_assert!(!took || tag_of(bytes).is_some());
        }
    }

    #[test]
    fn rfc_6040_figure_4() {
        // Rows: inner Not-ECT, ECT(0), ECT(1), CE; columns: outer Not-ECT, ECT(0), ECT(1), CE.
        let expected = [
            (0, [Some(0), Some(0), Some(0), None]),
            (2, [Some(2), Some(2), Some(1), Some(3)]),
            (1, [Some(1), Some(1), Some(1), Some(3)]),
            (3, [Some(3), Some(3), Some(3), Some(3)]),
        ];
        for (inner, row) in expected {
            for (outer, want) in [0, 2, 1, 3].into_iter().zip(row) {
                let got = ecn_out(0xb8 | inner, outer).ok();
                assert_eq!(got, want.map(|ecn| 0xb8 | ecn), "inner {inner}, outer {outer}");
            }
        }
    }
}
