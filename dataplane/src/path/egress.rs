//! From an inside host: to the far host through a tunnel, or to another inside host.

use super::icmp::{Error, translate_quoted, write_error};
use super::packet::{DONT_FRAGMENT, ERROR, EXPIRED, FRAGMENT, Packet, SETTLED, SPECIAL, SYN};
use super::{BURST, GROUP, Settled, fragment, group, write};
use crate::Nanos;
use crate::binding::{Entry, Life};
use crate::frame::{Buffers, Frame};
use crate::index::NONE;
use crate::limits::Direction;
use crate::meter::Fine;
use crate::msg::PortId;
use crate::port::{Gate, Link, martian};
use crate::reason::DropReason;
use crate::settings::Side;
use crate::state::{State, seconds};
use crate::tag::worker_of;
use crate::tunnel;
use crate::verdict::Verdict;
use crate::wire::checksum::{Change, Sum};
use crate::wire::{Wire, icmp, ipv4, read32, tcp};

/// Bytes of IPv4 and TCP headers without options: what a segment is smaller than its packet (RFC 9293 §3.7.1).
const SEGMENT_HEADERS: u16 = (ipv4::LENGTH + tcp::LENGTH) as u16;

impl State {
    /// `SEVERAL`: there are other workers, to whom a packet may belong.
    pub(super) fn egress_burst<F: Frame, B: Buffers<F>, const SEVERAL: bool>(
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
        for step in 0..count.div_ceil(GROUP) + 3 {
            for frame in &frames[group(step + 1, 0, count)] {
                frame.prefetch();
            }
            let new = group(step, 0, count);
            let arrived = frames[new.clone()].iter().zip(&mut packets[new.clone()]);
            for ((frame, packet), verdict) in arrived.zip(&mut verdicts[new.clone()]) {
                if let Err(settled) = self.parse_inside::<SEVERAL>(&gate, port, frame.data(), packet, now) {
                    // No line is worth fetching for it.
                    (packet.flags, packet.hash) = (SETTLED, 0);
                    *verdict = self.settle(settled);
                }
            }
            for packet in &packets[new] {
                self.index.prefetch(packet.hash);
            }
            for packet in &mut packets[group(step, 1, count)] {
                packet.slot = self.index.candidate(packet.hash);
                if let Some(entry) = self.bindings.get(packet.slot as usize) {
                    machine::prefetch_write(entry);
                }
            }
            let near = group(step, 2, count);
            for (packet, frame) in packets[near.clone()].iter().zip(&frames[near]) {
                if let Some(entry) = self.bindings.get(packet.slot as usize) {
                    if entry.limits != 0 {
                        self.limits.prefetch(entry.limits);
                    }
                    if entry.life == Life::Local {
                        self.hops.prefetch(entry.neighbour.number());
                    } else {
                        self.tunnels.prefetch(entry.tunnel);
                    }
                }
                frame.prefetch_headroom();
            }
            let ready = group(step, 3, count);
            let decided = frames[ready.clone()].iter_mut().zip(&packets[ready.clone()]);
            for ((frame, packet), verdict) in decided.zip(&mut verdicts[ready]) {
                if let Some(port) = self.egress_plain(frame, packet, now_s) {
                    *verdict = Verdict::Forward(port);
                } else if let Some(port) = self.egress_near_plain(frame, packet, now_s, fine) {
                    *verdict = Verdict::Forward(port);
                } else if packet.flags & SETTLED == 0 {
                    *verdict = match self.egress_any(port, frame, packet, buffers, now) {
                        Ok(verdict) => verdict,
                        Err(verdict) => self.settle(verdict),
                    };
                }
            }
        }
        self.packets = packets;
    }

    /// Phase 1: a packet with the hash of its key, or what became of it.
    #[inline(always)]
    fn parse_inside<const SEVERAL: bool>(
        &mut self,
        gate: &Gate,
        port: PortId,
        frame: &[u8],
        packet: &mut Packet,
        now: Nanos,
    ) -> Settled<()> {
        let known = gate.ipv4(frame);
        if SEVERAL && let Some(worker) = known.and_then(|(_, ip)| self.steer_inside(gate, ip)) {
            return Err(Verdict::HandOff(worker));
        }
        let plain =
            known.is_some_and(|(l3, ip)| packet.parse_plain(ip, l3) && gate.takes_from(packet.source()));
        if !plain {
            self.parse_inside_any(port, frame, packet, now)?;
        }
        packet.hash = self.hasher.hash(packet.key);
        Ok(())
    }

    /// The other worker to which this IPv4 packet belongs, if that can be told by its addresses alone: all but ICMP errors,
    /// which belong to the packet that they quote. So what is handed over is parsed once, by its owner, and if there is
    /// anything wrong with it, it is the owner that drops it.
    #[inline(always)]
    fn steer_inside(&self, gate: &Gate, ip: &[u8]) -> Option<u8> {
        let header: &[u8; ipv4::LENGTH] = ip.first_chunk()?;
        let (source, destination) = (read32(header, 12), read32(header, 16));
        if header[9] == ipv4::ICMP || !gate.takes_from(source) {
            return None;
        }
        self.not_ours(source, destination)
    }

    /// The other worker that owns the host, unless the packet is for the gateway itself.
    #[inline(always)]
    fn not_ours(&self, host: u32, destination: u32) -> Option<u8> {
        let owner = worker_of(host, self.workers);
        (owner != self.worker && !self.is_own(Side::Inside, destination)).then_some(owner as u8)
    }

    /// The long way to parse.
    #[inline(never)]
    fn parse_inside_any(
        &mut self,
        port: PortId,
        frame: &[u8],
        packet: &mut Packet,
        now: Nanos,
    ) -> Settled<()> {
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
        match self.not_ours((packet.key >> 32) as u32, packet.destination()) {
            Some(worker) if self.workers > 1 => Err(Verdict::HandOff(worker)),
            _ => Ok(()),
        }
    }

    /// Phase 3. The straight line: a binding through a tunnel, and nothing unusual about it or the packet. `None`, with
    /// nothing changed, for all others.
    #[inline(always)]
    fn egress_plain<F: Frame>(&mut self, frame: &mut F, packet: &Packet, now_s: u32) -> Option<PortId> {
        let entry = self.bindings.get_mut(packet.slot as usize)?;
        if entry.near != packet.key
            || entry.life != Life::Tunnel
            || entry.limits != 0
            || packet.flags & (SPECIAL | FRAGMENT | SETTLED) != 0
        {
            return None;
        }
        let tunnel = self.tunnels.at(entry.tunnel)?;
        if packet.total > tunnel.inner_mtu {
            return None;
        }
        let id = self.outer_id.wrapping_add(1);
        through(frame, packet, entry.far, entry.change, tunnel, id)?;
        self.outer_id = id;
        entry.count_out(packet.total, now_s);
        Some(tunnel.port)
    }

    /// The same for bindings that are restricted or stay in the realm: a straight line of its own, so that the other one is
    /// no longer for it.
    #[inline(never)]
    fn egress_near_plain<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet,
        now_s: u32,
        now: Fine,
    ) -> Option<PortId> {
        let entry = self.bindings.get_mut(packet.slot as usize)?;
        if entry.near != packet.key || packet.flags & (SPECIAL | FRAGMENT | SETTLED) != 0 {
            return None;
        }
        let admitted = match entry.limits {
            0 => None,
            limits => Some(self.limits.admit(limits, Direction::Out, packet, now)?),
        };
        let port = if entry.life == Life::Tunnel {
            let tunnel = self.tunnels.at(entry.tunnel).filter(|tunnel| packet.total <= tunnel.inner_mtu)?;
            let id = self.outer_id.wrapping_add(1);
            through(frame, packet, entry.far, entry.change, tunnel, id)?;
            self.outer_id = id;
            tunnel.port
        } else {
            let hop = self.hops.at(entry.neighbour.number());
            if entry.life != Life::Local || packet.total > hop.mtu {
                return None;
            }
            let ip = write::deliver(frame, usize::from(packet.l3), packet.total, hop)?;
            write::translate(ip, packet, entry.far, entry.change);
            hop.port
        };
        if let Some(admitted) = admitted {
            admitted.charge();
        }
        entry.count_out(packet.total, now_s);
        Some(port)
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
        let change = change_to(packet, entry.far);
        let verdict = if entry.life == Life::Tunnel {
            let Some(tunnel) =
                self.tunnels.at(entry.tunnel).filter(|tunnel| packet.total <= tunnel.inner_mtu)
            else {
                return self.egress_blocked(port, frame, packet, slot, buffers, now);
            };
            self.outer_id = self.outer_id.wrapping_add(1);
            through(frame, packet, entry.far, change, tunnel, self.outer_id).ok_or(DropReason::NoHeadroom)?;
            Verdict::Forward(tunnel.port)
        } else {
            let hop = self.hops.at(entry.neighbour.number());
            if packet.total > hop.mtu {
                return self.egress_blocked(port, frame, packet, slot, buffers, now);
            }
            let ip = write::deliver(frame, usize::from(packet.l3), packet.total, hop)
                .ok_or(DropReason::NoHeadroom)?;
            write::translate(ip, packet, entry.far, change);
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
        if packet.flags & ERROR != 0 {
            // It must not be translated twice: not before its next hop is known.
            if let (0, neighbour, true) = self.way_out(&entry) {
                return Err(self.hold(neighbour, now));
            }
            if !translate_quoted(ip, packet, entry.destination(), entry.source()) {
                return Err(Verdict::Drop(DropReason::IcmpErrorUnmatched));
            }
        }
        if packet.flags & SYN != 0 {
            let mtu = if entry.life == Life::Tunnel {
                self.tunnels.at(entry.tunnel).map_or(0, |tunnel| tunnel.inner_mtu)
            } else {
                self.hops.at(entry.neighbour.number()).mtu
            };
            clamp_segment(ip, packet, mtu);
        }
        Ok(())
    }

    /// How large a packet may leave by a binding (0 = none), the next hop there, and whether there is such a way at all.
    fn way_out(&self, entry: &Entry) -> (u16, u32, bool) {
        if entry.life == Life::Tunnel {
            self.tunnels.at(entry.tunnel).map_or((0, 0, false), |tunnel| {
                (tunnel.inner_mtu, tunnel.neighbour, tunnel.encapsulation.is_some())
            })
        } else {
            let hop = self.hops.at(entry.neighbour.number());
            (hop.mtu, entry.neighbour.number(), hop.known)
        }
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
        let hop = *self.hops.at(entry.neighbour.number());
        let (mtu, neighbour, known) = self.way_out(&entry);
        if mtu == 0 {
            if !known {
                return Err(Verdict::Drop(DropReason::NoRoute));
            }
            self.limits.give_back(entry.limits, Direction::Out, packet);
            return Err(self.hold(neighbour, now));
        }
        if packet.flags & DONT_FRAGMENT != 0 {
            // RFC 1191 §4, as a router behind the proxy would say it.
            let what = (icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED, u32::from(mtu));
            let source = Some(packet.destination());
            return Err(self.answer_inside(port, frame, packet, source, what, DropReason::TooBig, now));
        }
        let l3 = usize::from(packet.l3);
        write::translate(&mut frame.data_mut()[l3..], packet, entry.far, change_to(packet, entry.far));
        let mut id = self.outer_id;
        // Fragments share their flow's entropy without ports, as those that the host makes.
        let whole = Packet { ports: 0, ..*packet };
        let mut finish = |frame: &mut F, l3: usize, total: u16| {
            if through {
                id = id.wrapping_add(1);
                write::encap(frame, l3, total, &tunnel, packet.tos, whole.entropy(), id).map(|_| tunnel.port)
            } else {
                write::deliver(frame, l3, total, &hop).map(|_| hop.port)
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

/// What new addresses do to the checksums of a packet. An ICMP error need not come from its binding's host, so for it the
/// change that the entry knows is not the right one.
fn change_to(packet: &Packet, addresses: u64) -> Change {
    Sum::default().replace_pair(packet.addresses, addresses).change()
}

/// Wraps a packet and translates it; `None` without room.
#[inline(always)]
fn through<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    addresses: u64,
    change: Change,
    tunnel: &tunnel::Entry,
    id: u16,
) -> Option<()> {
    let l3 = usize::from(packet.l3);
    let ip = write::encap(frame, l3, packet.total, tunnel, packet.tos, packet.entropy(), id)?;
    write::translate(ip, packet, addresses, change);
    Some(())
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
