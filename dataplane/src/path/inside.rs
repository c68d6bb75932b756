//! What comes from the realm: it goes where its binding leads, to a far host through a tunnel or to another inside host.

use super::alg::between;
use super::answer::{answer, refuse, tell};
use super::fragment;
use super::ground::Ground;
use super::icmp::translate_quoted;
use super::nat;
use super::own::{Desk, refused, settle};
use super::segment::clamp_segment;
use super::stagger::Phases;

use crate::egress::Egress;
use crate::frame::{Buffers, Frame};
use crate::meter::{Fine, seconds};
use crate::narrow::NONE;
use crate::packet::{DONT_FRAGMENT, ERROR, EXPIRED, FRAGMENT, Packet, ROUTED, SETTLED, SPECIAL, SYN};
use crate::port::{Carried, PathPort, QuickLook, martian};
use crate::reason::DropReason;
use crate::settings::Side;
use crate::table::bindings::Bindings;
use crate::table::entry::BindingEntry;
use crate::table::session::{Flow, Heading};
use crate::tag::Share;
use crate::verdict::{Arrival, Settled, Verdict};
use crate::way::{Way, Ways, write};
use crate::wire::checksum::{Delta, Sum};
use crate::wire::{Pair, icmp, ipv4, read32};

/// The phases. `SEVERAL`: there are other workers, to whom a packet may belong. `NAT`: what is for no proxy address may be one of
/// a session.
pub(super) struct Inside<'s, const SEVERAL: bool, const NAT: bool> {
    ground: Ground<'s>,
    share: &'s Share,
    gate: &'s QuickLook,
    now_s: u32,
    fine: Fine,
}

impl<'s, const SEVERAL: bool, const NAT: bool> Inside<'s, SEVERAL, NAT> {
    pub(super) fn new(ground: Ground<'s>, share: &'s Share, gate: &'s QuickLook) -> Self {
        let now = ground.arrival.now;
        Self { ground, share, gate, now_s: seconds(now), fine: Fine::of(now) }
    }
}

impl<F: Frame, B: Buffers<F>, const SEVERAL: bool, const NAT: bool> Phases<F, B>
    for Inside<'_, SEVERAL, NAT>
{
    const LOOKS_UP: bool = true;

    /// A packet with the hash of its key, or what became of it.
    #[inline(always)]
    fn parse(&mut self, frame: &mut F, packet: &mut Packet) -> Settled<()> {
        let Self { ground, share, gate, .. } = self;
        let frame = frame.data();
        let known = gate.ipv4(frame);
        if SEVERAL && let Some(worker) = known.and_then(|(_, ip)| steer(share, &ground.desk, gate, ip)) {
            return Err(Verdict::HandOff(worker));
        }
        let plain =
            known.is_some_and(|(l3, ip)| packet.parse_plain(ip, l3) && gate.takes_from(packet.source()));
        if !plain {
            parse_any(&mut ground.desk.again(), share, frame, packet, ground.arrival)?;
        }
        if NAT && !ground.desk.premises.is_proxy(packet.key.destination()) {
            packet.flags |= ROUTED;
            packet.hash = ground.sessions.hash(Flow::of(packet));
        } else {
            packet.hash = ground.bindings.hash(packet.key);
            if gate.may_read(packet.ports) {
                between::look(ground.desk.premises, packet);
            }
        }
        Ok(())
    }

    /// The bucket of its key, in the table that its destination belongs to.
    #[inline(always)]
    fn fetch(&self, packet: &Packet) {
        if NAT && packet.flags & ROUTED != 0 {
            self.ground.sessions.prefetch_candidate(Heading::Out, packet.hash);
        } else {
            self.ground.bindings.prefetch_candidate(packet.hash);
        }
    }

    #[inline(always)]
    fn look_up(&self, packet: &mut Packet) {
        if NAT && packet.flags & ROUTED != 0 {
            nat::look_up(&self.ground, Heading::Out, packet);
            return;
        }
        packet.slot = self.ground.bindings.candidate(packet.hash);
        self.ground.bindings.prefetch(packet.slot);
    }

    #[inline(always)]
    fn fetch_more(&self, packet: &Packet, frame: &F) {
        if NAT && packet.flags & ROUTED != 0 {
            nat::fetch_hop(&self.ground, Heading::Out, packet);
            return;
        }
        if let Some(entry) = self.ground.bindings.entry(packet.slot) {
            if let Some(annex) = entry.annex() {
                self.ground.bindings.annexes().prefetch(annex);
            }
            entry.by_way_out(|way| self.ground.ways.prefetch(way));
        }
        frame.prefetch_headroom();
    }

    #[inline(always)]
    fn act(&mut self, frame: &mut F, packet: &Packet, verdict: &mut Verdict, buffers: &mut B) {
        let Self { ground, now_s, fine, .. } = self;
        if NAT && packet.flags & ROUTED != 0 {
            *verdict = match nat::plain(ground, Heading::Out, frame, packet, *now_s) {
                Some(egress) => Verdict::Forward(egress),
                None => match nat::outward(&mut ground.again(), frame, packet, buffers) {
                    Ok(verdict) => verdict,
                    Err(verdict) => settle(ground.desk.counters, verdict),
                },
            };
        } else if let Some(egress) = plain(ground.bindings, ground.ways, frame, packet, *now_s) {
            *verdict = Verdict::Forward(egress);
        } else if let Some(egress) = near_plain(ground.bindings, ground.ways, frame, packet, *now_s, *fine) {
            *verdict = Verdict::Forward(egress);
        } else if packet.flags & SETTLED == 0 {
            *verdict = match any(&mut ground.again(), frame, packet, buffers) {
                Ok(verdict) => verdict,
                Err(verdict) => settle(ground.desk.counters, verdict),
            };
        }
    }

    #[inline(always)]
    fn settle(&mut self, verdict: Verdict) -> Verdict {
        settle(self.ground.desk.counters, verdict)
    }
}

/// The other worker to which this IPv4 packet belongs, if that can be told by its addresses alone: all but ICMP errors,
/// which belong to the packet that they quote. So what is handed over is parsed once, by its owner, and if there is
/// anything wrong with it, it is the owner that drops it.
#[inline(always)]
fn steer(share: &Share, desk: &Desk<'_>, gate: &QuickLook, ip: &[u8]) -> Option<u8> {
    let header: &[u8; ipv4::LENGTH] = ip.first_chunk()?;
    let (source, destination) = (read32(header, ipv4::SOURCE), read32(header, ipv4::DESTINATION));
    if header[ipv4::PROTOCOL] == ipv4::ICMP || !gate.takes_from(source) {
        return None;
    }
    not_ours(share, desk, source, destination)
}

/// The other worker that owns the host, unless the packet is for the gateway itself.
#[inline(always)]
fn not_ours(share: &Share, desk: &Desk<'_>, host: u32, destination: u32) -> Option<u8> {
    share.host_elsewhere(host).filter(|_| !desk.premises.is_own(Side::Inside, destination))
}

/// The long way to parse, to the owner.
#[inline(never)]
fn parse_any(
    desk: &mut Desk<'_>,
    share: &Share,
    frame: &[u8],
    packet: &mut Packet,
    arrival: Arrival,
) -> Settled<()> {
    parse_hosts(desk, frame, packet, arrival)?;
    match not_ours(share, desk, packet.key.source(), packet.destination()) {
        Some(worker) if share.is_part() => Err(Verdict::HandOff(worker)),
        _ => Ok(()),
    }
}

/// The long way to parse what a port takes from hosts.
#[inline(never)]
pub(super) fn parse_hosts(
    desk: &mut Desk<'_>,
    frame: &[u8],
    packet: &mut Packet,
    arrival: Arrival,
) -> Settled<()> {
    let port = desk.port(arrival)?;
    let l3 = match port.accept(frame) {
        Ok(Carried::Ipv4(l3)) => l3,
        Ok(Carried::Arp(l3)) => return Err(desk.arp(frame, l3, arrival)),
        Err(DropReason::Broadcast) => return Err(desk.broadcast(frame, arrival)),
        Err(reason) => return Err(Verdict::Drop(reason)),
    };
    packet.parse(frame, l3)?;
    takes(port, packet)?;
    if packet.flags & ERROR != 0 {
        key_of_quoted(packet, frame);
    }
    Ok(())
}

/// Whether a port takes packets with this source.
#[cold]
fn takes(port: &PathPort, packet: &Packet) -> Result<(), DropReason> {
    if port.takes_from(packet.source()) {
        Ok(())
    } else if martian(packet.source()) {
        Err(DropReason::SourceInvalid)
    } else {
        Err(DropReason::SourceSpoofed)
    }
}

/// Phase 3. The straight line: a binding through a tunnel, and nothing unusual about it or the packet. `None`, with
/// nothing changed, for all others.
#[inline(always)]
fn plain<F: Frame>(
    bindings: &mut Bindings,
    ways: &mut Ways,
    frame: &mut F,
    packet: &Packet,
    now_s: u32,
) -> Option<Egress> {
    let entry = bindings.entry_mut(packet.slot)?;
    if entry.near() != packet.key
        || packet.flags & (SPECIAL | FRAGMENT | SETTLED) != 0
        // What must come from its host's MAC address is the second case, so that the first pays nothing for it.
        || !(entry.is_plain_tunnel() || (entry.is_pinned_tunnel() && entry.is_from_host(frame.data())))
    {
        return None;
    }
    let way = Way::Tunnel(entry.tunnel());
    let egress = ways.send(way, frame, packet, entry.far(), entry.change())?;
    entry.count_out(packet.total, now_s);
    Some(egress)
}

/// The same for bindings that are restricted or stay in the realm: a straight line of its own, so that the other one is
/// no longer for it.
#[inline(never)]
fn near_plain<F: Frame>(
    bindings: &mut Bindings,
    ways: &mut Ways,
    frame: &mut F,
    packet: &Packet,
    now_s: u32,
    now: Fine,
) -> Option<Egress> {
    let (entry, annexes) = bindings.entry_and_annexes(packet.slot)?;
    if entry.near() != packet.key
        || packet.flags & (SPECIAL | FRAGMENT | SETTLED) != 0
        || (entry.is_pinned() && !entry.is_from_host(frame.data()))
    {
        return None;
    }
    let egress = match entry.annex() {
        // What is plain and through a tunnel was not for the other straight line, so it is not for this one.
        None if entry.is_tunnel() => return None,
        None => ways.send(entry.way_in(), frame, packet, entry.far(), entry.change())?,
        Some(annex) => {
            if !annexes.admit(annex, Heading::Out, packet, now) {
                return None;
            }
            let sent = if entry.is_tunnel() {
                ways.send(Way::Tunnel(entry.tunnel()), frame, packet, entry.far(), entry.change())
            } else {
                ways.send(entry.way_in(), frame, packet, entry.far(), entry.change())
            };
            let Some(egress) = sent else {
                annexes.give_back(annex, Heading::Out, packet);
                return None;
            };
            egress
        }
    };
    entry.count_out(packet.total, now_s);
    Some(egress)
}

/// Phase 3 with everything that can be unusual.
#[inline(never)]
fn any<F: Frame, B: Buffers<F>>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &Packet,
    buffers: &mut B,
) -> Settled<Verdict> {
    let (slot, entry) = find(ground, frame, packet)?;
    // An ICMP error about the host's packets may come from a router behind.
    if entry.is_pinned() && packet.source() == entry.host() && !entry.is_from_host(frame.data()) {
        return Err(Verdict::Drop(DropReason::SourceMac));
    }
    if packet.flags & SPECIAL != 0 || entry.annex().is_some() {
        special(ground, frame, packet, &entry)?;
    }
    let packet = &between::treat(ground, frame, packet, (slot, &entry, Heading::Out))?;
    let (way, addresses) = (entry.way_out(), entry.far());
    let verdict = if packet.total <= ground.ways.mtu(way) {
        let sent = ground.ways.send(way, frame, packet, addresses, change_to(packet, addresses));
        Verdict::Forward(sent.ok_or_else(|| ground.ways.why_not(way))?)
    } else {
        blocked(ground, frame, packet, &entry, buffers)?
    };
    if let Some(entry) = ground.bindings.entry_mut(slot) {
        entry.count_out(packet.total, seconds(ground.arrival.now));
    }
    ground.bindings.opened(slot, packet);
    Ok(verdict)
}

/// The binding of a packet, or what becomes of it. The candidate may not be it: two keys share a signature.
fn find<F: Frame>(ground: &mut Ground<'_>, frame: &mut F, packet: &Packet) -> Settled<(u32, BindingEntry)> {
    let bindings = &ground.bindings;
    let of_key = |slot: u32| {
        let entry = bindings.entry(slot).filter(|entry| entry.near() == packet.key);
        entry.map(|entry| (slot, *entry))
    };
    let found = of_key(packet.slot).or_else(|| {
        let slot = (packet.slot != NONE).then(|| bindings.find(packet.hash, packet.key)).flatten()?;
        of_key(slot)
    });
    found.ok_or_else(|| {
        let (desk, arrival) = (&mut ground.desk, ground.arrival);
        match desk.inside_unbound(frame, packet, arrival) {
            Verdict::Drop(reason) => refuse(desk, frame, packet, reason, arrival),
            verdict => verdict,
        }
    })
}

/// What is unusual about the packet or its binding. `Ok`: go on.
#[cold]
fn special<F: Frame>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &Packet,
    entry: &BindingEntry,
) -> Settled<()> {
    let Ground { desk, bindings, ways, events, arrival, .. } = ground;
    let (way, now) = (entry.way_out(), arrival.now);
    if packet.flags & EXPIRED != 0 {
        // RFC 1812 §5.3.1. Here the gateway shows itself, as a router does.
        let what = (icmp::TIME_EXCEEDED, 0, 0);
        return Err(tell(desk, frame, packet, what, DropReason::TtlExceeded, *arrival));
    }
    if packet.flags & ERROR == 0 {
        let checked = bindings.check(entry, Heading::Out, packet, now);
        let comes = checked.map_err(|reason| match refused(packet, reason, *arrival) {
            Verdict::Drop(reason) => refuse(desk, frame, packet, reason, *arrival),
            kept => kept,
        })?;
        desk.counters.alg_came += u64::from(comes);
    }
    let ip = &mut frame.data_mut()[usize::from(packet.l3)..];
    if packet.flags & ERROR != 0 {
        // It must not be translated twice: not before its next hop is known.
        if ways.mtu(way) == 0 && ways.exists(way) {
            return Err(ways.hold(way, arrival.attempt, events, now));
        }
        if !translate_quoted(ip, packet, entry.destination(), entry.source()) {
            return Err(Verdict::Drop(DropReason::IcmpErrorUnmatched));
        }
    }
    if packet.flags & SYN != 0 {
        clamp_segment(ip, packet, ways.mtu(way));
    }
    Ok(())
}

/// The way out is closed, or too narrow for the packet.
#[cold]
fn blocked<F: Frame, B: Buffers<F>>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &Packet,
    entry: &BindingEntry,
    buffers: &mut B,
) -> Settled<Verdict> {
    let Ground { desk, bindings, ways, events, arrival, .. } = ground;
    let way = entry.way_out();
    let mtu = ways.mtu(way);
    if mtu == 0 {
        if !ways.exists(way) {
            return Err(refuse(desk, frame, packet, DropReason::NoRoute, *arrival));
        }
        if let Some(annex) = entry.annex() {
            bindings.annexes_mut().give_back(annex, Heading::Out, packet);
        }
        return Err(ways.hold(way, arrival.attempt, events, arrival.now));
    }
    if packet.flags & DONT_FRAGMENT != 0 {
        // RFC 1191 §4, as a router behind the proxy would say it.
        let what = (icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED, u32::from(mtu));
        let source = Some(packet.destination());
        return Err(answer(desk, frame, packet, source, what, DropReason::TooBig, *arrival));
    }
    let ip = &mut frame.data_mut()[usize::from(packet.l3)..];
    write::translate(ip, packet, entry.far(), change_to(packet, entry.far()));
    let (egress, made) = fragment::send(ways, way, frame, packet, buffers)?;
    desk.counters.fragments_made += made;
    Ok(Verdict::Forward(egress))
}

/// What new addresses do to the checksums of a packet. An ICMP error need not come from its binding's host, so for it the
/// change that the entry knows is not the right one.
fn change_to(packet: &Packet, addresses: Pair) -> Delta {
    Sum::default().replace_pair(packet.addresses, addresses).change()
}

/// An ICMP error belongs to the binding of the packet that it quotes: one that came from the proxy to the host. Whoever
/// sends the error, host or router, it goes to the proxy.
#[cold]
fn key_of_quoted(packet: &mut Packet, frame: &[u8]) {
    let quoted = frame.get(usize::from(packet.l3)..).and_then(|ip| packet.quoted(ip));
    match quoted {
        Some((_, quoted)) if quoted.source == packet.destination() => {
            packet.key = Pair::new(quoted.destination, quoted.source);
        }
        // 0.0.0.0 has no binding.
        _ => packet.key = Pair::NONE,
    }
}
