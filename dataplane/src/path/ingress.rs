//! From a tunnel to an inside host.

use super::egress::clamp_segment;
use super::icmp::{Error, translate_quoted, write_error};
use super::packet::{DONT_FRAGMENT, ERROR, EXPIRED, Packet, SETTLED, SPECIAL, SYN};
use super::unwrap::{tag_of, unwrap, unwrap_plain, unwrap_plain_other};
use super::{BURST, GROUP, Settled, fragment, group, write};
use crate::Nanos;
use crate::binding::{Entry, Life};
use crate::frame::{Buffers, Frame};
use crate::hop::Hop;
use crate::index::NONE;
use crate::limits::Direction;
use crate::meter::Fine;
use crate::msg::PortId;
use crate::port::{Gate, Link};
use crate::reason::DropReason;
use crate::settings::Side;
use crate::state::{State, seconds};
use crate::tag::Tag;
use crate::tunnel;
use crate::verdict::Verdict;
use crate::wire::{icmp, ipv4};

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
            self.parse_outside_any(gate, port, frame, packet, now)?;
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

    /// The long way to parse, after a short one for GENEVE and GRE.
    #[inline(never)]
    fn parse_outside_any<F: Frame>(
        &mut self,
        gate: &Gate,
        port: PortId,
        frame: &mut F,
        packet: &mut Packet,
        now: Nanos,
    ) -> Settled<()> {
        let data = frame.data();
        if gate.ipv4(data).is_some_and(|(l3, ip)| unwrap_plain_other(ip, l3, packet)) {
            return Ok(());
        }
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
