//! A packet whose session is known goes on.

use super::flows::{begins, owner_behind};
use super::reserved::takes;
use super::rules;
use super::unasked::unasked;
use crate::frame::{Buffers, Frame};
use crate::meter::seconds;
use crate::narrow::Number24;
use crate::packet::{DONT_FRAGMENT, EXPIRED, LATER, Packet};
use crate::path::alg;
use crate::path::answer::{refuse, tell};
use crate::path::fragment;
use crate::path::ground::Ground;
use crate::reason::DropReason;
use crate::table::session::{Flow, Heading, Turn};
use crate::table::sessions::Sessions;
use crate::verdict::{Attempt, Settled, Verdict};
use crate::way::{Front, Way, write};
use crate::wire::{icmp, ipv4};

/// Sends a packet on as its session says; one to another host's external port turns back inside (RFC 4787 §6, REQ-9).
pub(super) fn carry<F: Frame, B: Buffers<F>>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &Packet,
    (slot, flow): (u32, Flow),
    heading: Heading,
    buffers: &mut B,
) -> Settled<Verdict> {
    if heading == Heading::Out {
        let hop = lead(ground, slot, Heading::In)?;
        comes_from(ground, frame, hop)?;
    }
    if packet.is_fragment() && packet.flags & LATER == 0 {
        let ports = flow.ports;
        ground.sessions.remember(&Packet { ports, ..*packet }, ground.arrival.now);
    }
    let turn = ground.sessions.get(slot).map(|session| session.turn(heading));
    let turn = turn.ok_or(DropReason::NatNoSession)?;
    if packet.flags & EXPIRED != 0 {
        // RFC 1812 §5.3.1
        let what = (icmp::TIME_EXCEEDED, icmp::IN_TRANSIT, 0);
        return Err(tell(&mut ground.desk, frame, packet, what, DropReason::TtlExceeded, ground.arrival));
    }
    if heading == Heading::Out && ground.is_external(turn.addresses.destination()) {
        let sent = to_another(ground, frame, packet, (slot, flow.protocol), &turn, buffers);
        return sent.map_err(|refused| told(ground, frame, packet, refused));
    }
    let sent = send(ground, frame, packet, &[(slot, heading)], &turn, buffers);
    let verdict = match sent {
        Err(refused) if heading == Heading::Out => return Err(told(ground, frame, packet, refused)),
        sent => sent?,
    };
    follow(ground, slot, heading, packet);
    Ok(verdict)
}

/// What goes no further of what a host sends is told to it, as far as a router tells.
#[cold]
fn told<F: Frame>(ground: &mut Ground<'_>, frame: &mut F, packet: &Packet, refused: Verdict) -> Verdict {
    match refused {
        Verdict::Drop(reason) if reason != DropReason::Unasked => {
            refuse(&mut ground.desk, frame, packet, reason, ground.arrival)
        }
        other => other,
    }
}

/// Sends on what a host sends to another one's external address. If that is another worker's, the packet is left to it with its
/// addresses, so that all that is to be said of it there can be said to who sent it.
fn to_another<F: Frame, B: Buffers<F>>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &Packet,
    (slot, protocol): (u32, u8),
    turn: &Turn,
    buffers: &mut B,
) -> Settled<Verdict> {
    let far = Flow { addresses: turn.addresses, ports: turn.ports, protocol }.at_another();
    if let Some(worker) = owner_behind(ground, far) {
        alg::treat(ground, frame, &mut packet.clone(), (slot, Heading::Out))?;
        follow(ground, slot, Heading::Out, packet);
        return Ok(Verdict::TurnBack(worker, turn.external()));
    }
    let (other, back) = match other_half(ground, frame, packet, far) {
        Ok(other) => other,
        Err(refused) => {
            // It has left the host, whoever takes it.
            follow(ground, slot, Heading::Out, packet);
            return Err(refused);
        }
    };
    let halves = [(slot, Heading::Out), (other, Heading::In)];
    let verdict = send(ground, frame, packet, &halves, &turn.and(back), buffers)?;
    follow(ground, other, Heading::In, packet);
    follow(ground, slot, Heading::Out, packet);
    Ok(verdict)
}

/// Sends on what a host of another worker has sent to the external address of one of this worker's.
pub(super) fn carry_back<F: Frame, B: Buffers<F>>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &Packet,
    (near, far): (Flow, Flow),
    buffers: &mut B,
) -> Settled<Verdict> {
    if packet.is_fragment() && packet.flags & LATER == 0 {
        ground.sessions.remember(&Packet { ports: near.ports, ..*packet }, ground.arrival.now);
    }
    let sent = other_half(ground, frame, packet, far.at_another()).and_then(|(other, back)| {
        let turn = Turn::between(near, far).and(back);
        Ok((other, send(ground, frame, packet, &[(other, Heading::In)], &turn, buffers)?))
    });
    let (other, verdict) = sent.map_err(|refused| told(ground, frame, packet, refused))?;
    follow(ground, other, Heading::In, packet);
    Ok(verdict)
}

fn follow(ground: &mut Ground<'_>, slot: u32, heading: Heading, packet: &Packet) {
    let Ground { desk, sessions, arrival, .. } = ground;
    sessions.follow(slot, heading, packet, &desk.premises.nat, arrival.now);
}

/// The session of the other inside host, which sees the first one as everybody outside does.
fn other_half<F: Frame>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &Packet,
    flow: Flow,
) -> Settled<(u32, Turn)> {
    let slot = match ground.sessions.find(Heading::In, flow) {
        // RFC 5382 §4.3, REQ-4: that host has opened the connection meanwhile, and a SYN of its own is under way.
        Some(_) if ground.arrival.attempt == Attempt::Unasked => return Err(DropReason::Unasked.into()),
        Some(slot) => slot,
        None => match takes(ground, frame, packet, flow)?.filter(|_| begins(frame, packet)) {
            Some(opening) => rules::open_in(ground, frame, packet, opening)?,
            None => return Err(unasked(ground, frame, packet)),
        },
    };
    let session = ground.sessions.get(slot).ok_or(DropReason::NatNoSession)?;
    Ok((slot, session.turn(Heading::In)))
}

/// Sends a packet to the next hop of a session, turned: of the last of those that it is one of.
fn send<F: Frame, B: Buffers<F>>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &Packet,
    halves: &[(u32, Heading)],
    turn: &Turn,
    buffers: &mut B,
) -> Settled<Verdict> {
    let &(slot, heading) = halves.last().ok_or(DropReason::NatNoSession)?;
    let hop = lead(ground, slot, heading)?;
    let way = Way::Realm(hop);
    let mtu = ground.ways.mtu(way);
    let l3 = usize::from(packet.l3);
    if mtu == 0 {
        let Ground { ways, events, arrival, .. } = ground;
        return Err(ways.hold(way, arrival.attempt, events, arrival.now));
    }
    // Not before: what is held comes here once more.
    let mut packet = *packet;
    for &half in halves {
        alg::treat(ground, frame, &mut packet, half)?;
    }
    let packet = &packet;
    if packet.total <= mtu {
        let front = Front { l3, total: packet.total, tos: packet.tos };
        let (egress, ip) = ground.ways.head(hop, frame, front).ok_or(DropReason::NoHeadroom)?;
        apply(ip, packet, turn);
        Ok(Verdict::Forward(egress))
    } else if packet.flags & DONT_FRAGMENT != 0 {
        // RFC 1191 §4
        let what = (icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED, u32::from(mtu));
        Err(tell(&mut ground.desk, frame, packet, what, DropReason::TooBig, ground.arrival))
    } else {
        apply(&mut frame.data_mut()[l3..], packet, turn);
        let (egress, made) = fragment::send(ground.ways, way, frame, packet, buffers)?;
        ground.desk.counters.fragments_made += made;
        Ok(Verdict::Forward(egress))
    }
}

fn apply(ip: &mut [u8], packet: &Packet, turn: &Turn) {
    if packet.protocol == ipv4::ICMP {
        write::turn_query(ip, packet, turn);
    } else {
        write::turn(ip, packet, turn);
    }
}

/// What a host sends comes from where its answers go, from its MAC address where that is known (P10).
pub(super) fn comes_from<F: Frame>(ground: &Ground<'_>, frame: &F, hop: u32) -> Settled<()> {
    if ground.ways.may_come_from(hop, frame.data()) { Ok(()) } else { Err(DropReason::SourceMac.into()) }
}

/// The next hops of a session, by today's routes. One that today's rules forbid ends.
pub(super) fn lead(ground: &mut Ground<'_>, slot: u32, heading: Heading) -> Settled<u32> {
    let generation = ground.desk.premises.generation();
    let session = ground.sessions.get(slot).ok_or(DropReason::NatNoSession)?;
    let is_known = session.generation() == generation;
    if is_known && session.is_led(heading) {
        return Ok(session.hop(heading));
    }
    if !is_known && !Sessions::is_as_configured(session, &ground.desk.premises.nat) {
        ground.sessions.end(slot, seconds(ground.arrival.now));
        ground.desk.counters.sessions_changed += 1;
        return Err(DropReason::NatChanged.into());
    }
    let stands = if is_known { Some(true) } else { rules::lets_stand(ground, session) };
    if stands == Some(false) {
        ground.sessions.end(slot, seconds(ground.arrival.now));
        ground.desk.counters.sessions_forbidden += 1;
        return Err(DropReason::FilterDenied.into());
    }
    let Ground { desk, sessions, ways, events, arrival, .. } = ground;
    let fib = desk.premises.fib();
    let session = sessions.get_mut(slot).ok_or(DropReason::NatNoSession)?;
    let to = match heading {
        Heading::Out => session.remote().0,
        Heading::In => session.host().0,
    };
    let hop = ways.lookup(fib, to, arrival.attempt, events, arrival.now)?;
    if stands.is_some() {
        remember(ground, slot, heading, hop);
    }
    Ok(hop)
}

/// A session keeps a next hop; but one with another host of ours has none, so that all of its packets go the long way, which
/// takes nothing from the world for that host's (RFC 2827).
pub(super) fn remember(ground: &mut Ground<'_>, slot: u32, heading: Heading, hop: u32) {
    let generation = ground.desk.premises.generation();
    let Some(remote) = ground.sessions.get(slot).map(|session| session.remote().0) else { return };
    let kept = if ground.is_external(remote) { Number24::MOST } else { hop };
    if let Some(session) = ground.sessions.get_mut(slot) {
        session.lead(heading, kept, generation);
    }
}
