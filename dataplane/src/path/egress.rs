//! From an inside host: to the far host through a tunnel, or to another inside host.

use super::icmp::{Error, translate_quoted, write_error};
use super::packet::{DONT_FRAGMENT, ERROR, EXPIRED, Packet, SPECIAL, SYN};
use super::{AHEAD, BURST, SHORT, STAGGER, Settled, behind, fragment, write};
use crate::Nanos;
use crate::binding::Life;
use crate::frame::{Buffers, Frame};
use crate::index::NONE;
use crate::limits::Direction;
use crate::msg::PortId;
use crate::port::{Link, martian};
use crate::reason::DropReason;
use crate::state::{State, seconds};
use crate::tag::worker_of;
use crate::verdict::Verdict;
use crate::wire::{Wire, icmp, ipv4, tcp};

/// Bytes of IPv4 and TCP headers without options: what a segment is smaller than its packet (RFC 9293 §3.7.1).
const SEGMENT_HEADERS: u16 = (ipv4::LENGTH + tcp::LENGTH) as u16;

impl State {
    pub(super) fn egress_burst<F: Frame, B: Buffers<F>>(
        &mut self,
        port: PortId,
        frames: &mut [F],
        verdicts: &mut [Verdict],
        buffers: &mut B,
        now: Nanos,
    ) {
        let mut packets = std::mem::take(&mut self.packets);
        let count = frames.len().min(BURST);
        // Bit per frame: it is not settled yet.
        let mut open = 0u64;
        let now_s = seconds(now);
        for frame in frames.iter().take(AHEAD) {
            frame.prefetch();
        }
        for step in 0..count + 2 * STAGGER + SHORT {
            if let Some(next) = frames.get(step + AHEAD) {
                next.prefetch();
            }
            if step < count {
                match self.parse_inside(port, frames[step].data(), &mut packets[step], now) {
                    Ok(()) => {
                        self.index.prefetch(packets[step].hash);
                        open |= 1 << step;
                    }
                    Err(verdict) => verdicts[step] = self.settle(verdict),
                }
            }
            if let Some(number) = behind(step, STAGGER, open) {
                let packet = &mut packets[number];
                packet.slot = self.index.candidate(packet.hash);
                if let Some(entry) = self.bindings.get(packet.slot as usize) {
                    machine::prefetch_write(entry);
                }
                frames[number].prefetch_headroom();
            }
            if let Some(number) = behind(step, 2 * STAGGER, open)
                && let Some(entry) = self.bindings.get(packets[number].slot as usize)
            {
                self.tunnels.prefetch(entry.tunnel);
            }
            if let Some(number) = behind(step, 2 * STAGGER + SHORT, open) {
                let (frame, packet) = (&mut frames[number], &packets[number]);
                verdicts[number] = match self.egress(port, frame, packet, buffers, now, now_s) {
                    Ok(verdict) => verdict,
                    Err(verdict) => self.settle(verdict),
                };
            }
        }
        self.packets = packets;
    }

    /// Phase 1: a packet with the hash of its key, or what became of it.
    #[inline(always)]
    fn parse_inside(&mut self, port: PortId, frame: &[u8], packet: &mut Packet, now: Nanos) -> Settled<()> {
        let arrival = &self.ports[usize::from(port)];
        let l3 = match arrival.accept(frame)? {
            Link::Ipv4(l3) => l3,
            Link::Arp(l3) => return Err(self.arp(port, frame, l3, now)),
        };
        packet.parse(frame, l3)?;
        if !arrival.takes_from(packet.source()) {
            let reason =
                if martian(packet.source()) { DropReason::SourceInvalid } else { DropReason::SourceSpoofed };
            return Err(Verdict::Drop(reason));
        }
        if packet.flags & ERROR != 0 {
            key_of_quoted(packet, frame);
        }
        packet.hash = self.hasher.hash(packet.key);
        if self.workers > 1 {
            let owner = worker_of((packet.key >> 32) as u32, self.workers);
            if owner != self.worker && !self.is_own(arrival.side, packet.destination()) {
                return Err(Verdict::HandOff(owner as u8));
            }
        }
        Ok(())
    }

    /// Phase 3. The straight line: a binding through a tunnel, and nothing unusual about it or the packet.
    #[inline(always)]
    fn egress<F: Frame, B: Buffers<F>>(
        &mut self,
        port: PortId,
        frame: &mut F,
        packet: &Packet,
        buffers: &mut B,
        now: Nanos,
        now_s: u32,
    ) -> Settled<Verdict> {
        if let Some(entry) = self.bindings.get_mut(packet.slot as usize)
            && entry.near == packet.key
            && entry.life == Life::Tunnel
            && packet.flags & SPECIAL == 0
            && entry.limits == 0
            && let Some(tunnel) = self.tunnels.at(entry.tunnel)
            && packet.total <= tunnel.inner_mtu
        {
            entry.count_out(packet.total, now_s);
            self.outer_id = self.outer_id.wrapping_add(1);
            return through(frame, packet, entry.far, tunnel, self.outer_id);
        }
        self.egress_any(port, frame, packet, buffers, now)
    }

    /// Phase 3 with everything that can be unusual.
    #[inline(never)]
    fn egress_any<F: Frame, B: Buffers<F>>(
        &mut self,
        port: PortId,
        frame: &mut F,
        packet: &Packet,
        buffers: &mut B,
        now: Nanos,
    ) -> Settled<Verdict> {
        let mut slot = packet.slot;
        if self.bindings.get(slot as usize).is_none_or(|entry| entry.near != packet.key) {
            slot = self.egress_miss(port, frame, packet, now)?;
        }
        let entry = self.bindings[slot as usize];
        if packet.flags & SPECIAL != 0 || entry.limits != 0 {
            self.egress_special(port, frame, packet, slot, now)?;
        }
        let verdict = if entry.life == Life::Tunnel {
            let Some(tunnel) =
                self.tunnels.at(entry.tunnel).filter(|tunnel| packet.total <= tunnel.inner_mtu)
            else {
                return self.egress_blocked(port, frame, packet, slot, buffers, now);
            };
            self.outer_id = self.outer_id.wrapping_add(1);
            through(frame, packet, entry.far, tunnel, self.outer_id)?
        } else {
            let hop = self.hops.at(entry.neighbour);
            if packet.total > hop.mtu {
                return self.egress_blocked(port, frame, packet, slot, buffers, now);
            }
            write::translate(&mut frame.data_mut()[usize::from(packet.l3)..], packet, entry.far);
            if !write::deliver(frame, usize::from(packet.l3), packet.total, &hop) {
                return Err(Verdict::Drop(DropReason::NoHeadroom));
            }
            Verdict::Forward(hop.port)
        };
        self.bindings[slot as usize].count_out(packet.total, seconds(now));
        Ok(verdict)
    }

    /// The candidate was not it: the slot after all (two keys share a signature), or what becomes of the packet.
    #[cold]
    fn egress_miss<F: Frame>(
        &mut self,
        port: PortId,
        frame: &F,
        packet: &Packet,
        now: Nanos,
    ) -> Settled<u32> {
        if packet.slot != NONE
            && let Some(slot) = self.find(packet.hash, packet.key)
        {
            return Ok(slot);
        }
        Err(self.inside_unbound(port, frame, packet, now))
    }

    /// What is unusual about the packet or its binding. `Ok`: go on.
    #[cold]
    fn egress_special<F: Frame>(
        &mut self,
        port: PortId,
        frame: &mut F,
        packet: &Packet,
        slot: u32,
        now: Nanos,
    ) -> Settled<()> {
        let entry = self.bindings[slot as usize];
        if packet.flags & EXPIRED != 0 {
            // RFC 1812 §5.3.1. Here the gateway shows itself, as a router does.
            let source = self.own_address(&self.ports[usize::from(port)]);
            let (kind, code) = (icmp::TIME_EXCEEDED, 0);
            return Err(self.answer_inside(
                port,
                frame,
                packet,
                source,
                (kind, code, 0),
                DropReason::TtlExceeded,
                now,
            ));
        }
        if packet.flags & ERROR == 0 {
            self.limits.check(entry.limits, Direction::Out, packet, now)?;
        }
        let ip = &mut frame.data_mut()[usize::from(packet.l3)..];
        if packet.flags & ERROR != 0 && !translate_quoted(ip, packet, entry.destination(), entry.source()) {
            return Err(Verdict::Drop(DropReason::IcmpErrorUnmatched));
        }
        if packet.flags & SYN != 0 {
            let mtu = if entry.life == Life::Tunnel {
                self.tunnels.at(entry.tunnel).map_or(0, |tunnel| tunnel.inner_mtu)
            } else {
                self.hops.at(entry.neighbour).mtu
            };
            clamp_segment(ip, packet, mtu);
        }
        Ok(())
    }

    /// The way out is closed, or too narrow for the packet.
    #[cold]
    fn egress_blocked<F: Frame, B: Buffers<F>>(
        &mut self,
        port: PortId,
        frame: &mut F,
        packet: &Packet,
        slot: u32,
        buffers: &mut B,
        now: Nanos,
    ) -> Settled<Verdict> {
        let entry = self.bindings[slot as usize];
        let through = entry.life == Life::Tunnel;
        let tunnel = self.tunnels.at(entry.tunnel).copied().unwrap_or_default();
        let hop = self.hops.at(entry.neighbour);
        let (mtu, neighbour, known) = if through {
            (tunnel.inner_mtu, tunnel.neighbour, tunnel.encapsulation.is_some())
        } else {
            (hop.mtu, entry.neighbour, hop.known)
        };
        if mtu == 0 {
            if !known {
                return Err(Verdict::Drop(DropReason::NoRoute));
            }
            self.want(neighbour, now);
            return Err(Verdict::Drop(DropReason::NeighbourUnresolved));
        }
        if packet.flags & DONT_FRAGMENT != 0 {
            // RFC 1191 §4, as a router behind the proxy would say it.
            let what = (icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED, u32::from(mtu));
            let source = Some(packet.destination());
            return Err(self.answer_inside(port, frame, packet, source, what, DropReason::TooBig, now));
        }
        let l3 = usize::from(packet.l3);
        write::translate(&mut frame.data_mut()[l3..], packet, entry.far);
        let mut id = self.outer_id;
        // Fragments share their flow's entropy without ports, as those that the host makes.
        let whole = Packet { ports: 0, ..*packet };
        let mut finish = |frame: &mut F, l3: usize, total: u16| {
            if through {
                id = id.wrapping_add(1);
                write::encap(frame, l3, total, &tunnel, packet.tos, whole.entropy(), id)
                    .then_some(tunnel.port)
            } else {
                write::deliver(frame, l3, total, &hop).then_some(hop.port)
            }
        };
        let (first, made) =
            fragment::split(frame, packet, mtu, buffers, |frame, total| finish(frame, 0, total))?;
        let port = finish(frame, l3, first).ok_or(DropReason::NoHeadroom)?;
        self.outer_id = id;
        self.counters.fragments_made += made;
        self.bindings[slot as usize].count_out(packet.total, seconds(now));
        Ok(Verdict::Forward(port))
    }

    /// Drops a packet from inside, and turns its frame into an ICMP error to its sender where that is allowed. `what` is
    /// type, code and second word.
    fn answer_inside<F: Frame>(
        &mut self,
        port: PortId,
        frame: &mut F,
        packet: &Packet,
        source: Option<u32>,
        what: (u8, u8, u32),
        reason: DropReason,
        now: Nanos,
    ) -> Verdict {
        let sender = frame.data().get(6..12).and_then(|mac| mac.first_chunk().copied());
        let (Some(source), Some(sender)) = (source, sender) else {
            return Verdict::Drop(reason);
        };
        if !self.may_answer(packet, now) {
            return Verdict::Drop(reason);
        }
        let (kind, code, rest) = what;
        let error = Error { kind, code, rest, source, destination: packet.source() };
        let header = self.ports[usize::from(port)].header_to(sender);
        let (l3, quoted) = (usize::from(packet.l3), usize::from(packet.total));
        if write_error(frame, l3, quoted, header.length(), &error).is_none() {
            return Verdict::Drop(reason);
        }
        header.emit(frame.data_mut());
        Verdict::Reply(port, reason)
    }
}

/// Translates a packet and wraps it.
#[inline(always)]
fn through<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    addresses: u64,
    tunnel: &crate::tunnel::Entry,
    id: u16,
) -> Settled<Verdict> {
    let l3 = usize::from(packet.l3);
    write::translate(&mut frame.data_mut()[l3..], packet, addresses);
    if write::encap(frame, l3, packet.total, tunnel, packet.tos, packet.entropy(), id) {
        Ok(Verdict::Forward(tunnel.port))
    } else {
        Err(Verdict::Drop(DropReason::NoHeadroom))
    }
}

/// An ICMP error belongs to the binding of the packet that it quotes: one that came from the proxy to the host. Whoever
/// sends the error, host or router, it goes to the proxy.
#[cold]
fn key_of_quoted(packet: &mut Packet, frame: &[u8]) {
    let quoted = frame.get(usize::from(packet.l3)..).and_then(|ip| packet.quoted(ip));
    match quoted {
        Some((_, quoted)) if quoted.source == packet.destination() => {
            packet.key = ipv4::pair(quoted.destination, quoted.source);
        }
        // 0.0.0.0 has no binding.
        _ => packet.key = 0,
    }
}

/// Lowers the maximum segment size of a SYN so that the segments of the other side fit packets of `mtu` bytes.
pub(super) fn clamp_segment(ip: &mut [u8], packet: &Packet, mtu: u16) {
    let l4 = usize::from(packet.l4);
    let most = mtu.saturating_sub(SEGMENT_HEADERS);
    let Some(segment) = ip.get_mut(l4..usize::from(packet.total)) else {
        return;
    };
    let Ok(header) = tcp::Header::parse(segment) else {
        return;
    };
    if let Some((at, size)) = tcp::maximum_segment(&segment[..header.length()])
        && most > 0
        && size > most
    {
        write::replace_covered(segment, at, most, tcp::CHECKSUM);
    }
}
