//! NAT44: what an inside host sends into the world, and what comes back to it.
//!
//! The straight line ([`plain`]) is the same for both headings: a session that the packet leaves as it is. Everything else is in
//! the long ways: [`outward`] and [`inward`] find or open the session of a packet, [`carry`] sends it on, [`errors`] does the
//! same for ICMP errors, which belong to the packet that they quote.

mod carry;
mod errors;
mod inward;
mod outward;

pub(super) use inward::inward;
pub(super) use outward::outward;

use super::ground::Ground;
use crate::egress::Egress;
use crate::frame::Frame;
use crate::packet::{ERROR, FRAGMENT, LATER, Packet, SETTLED, SPECIAL};
use crate::reason::DropReason;
use crate::table::session::{Flow, Heading};
use crate::tag::{Share, worker_of_port};
use crate::verdict::{Settled, Verdict};
use crate::way::{Front, Way, write};
use crate::wire::{Pair, Wire, icmp, ipv4, read16};

/// Starts to fetch the next hop of what has its session's slot.
#[inline(always)]
pub(super) fn fetch_hop(ground: &Ground<'_>, heading: Heading, packet: &Packet) {
    if let Some(session) = ground.sessions.get(packet.slot) {
        ground.ways.prefetch(Way::Realm(session.hop(heading)));
    }
}

/// Phase 3. The straight line: a session that the packet changes nothing of. `None`, with nothing changed, for all others.
#[inline(always)]
pub(super) fn plain<F: Frame>(
    ground: &mut Ground<'_>,
    heading: Heading,
    frame: &mut F,
    packet: &Packet,
    now_s: u32,
) -> Option<Egress> {
    let generation = ground.desk.premises.fib().generation();
    let session = ground.sessions.get_mut(packet.slot)?;
    let flow = match heading {
        Heading::Out => session.near(),
        Heading::In => session.arriving(),
    };
    if flow != Flow::of(packet)
        || packet.flags & (SPECIAL | FRAGMENT | SETTLED) != 0
        || session.generation() != generation
        || !session.is_steady(heading, packet)
        || packet.protocol == ipv4::ICMP
    {
        return None;
    }
    let turn = session.turn(heading);
    let front = Front { l3: usize::from(packet.l3), total: packet.total, tos: packet.tos };
    let (egress, ip) = ground.ways.head(Way::Realm(session.hop(heading)), frame, front, 0)?;
    write::turn(ip, packet, &turn);
    session.count(heading, packet.total, now_s);
    Some(egress)
}

/// The other worker that owns what comes from outside, if that can be told by its port: hosts' external ports say whose they are.
#[inline(always)]
pub(super) fn owner(ground: &Ground<'_>, share: &Share, packet: &Packet) -> Option<u8> {
    let known = packet.ports as u16;
    if known == 0 || packet.flags & ERROR != 0 || !ground.sessions.is_external(packet.destination()) {
        return None;
    }
    share.elsewhere(worker_of_port(known, share.workers()))
}

/// Whether it is GRE that a host exchanges with the world, and no tunnel of ours.
#[cold]
pub(super) fn is_passing(ground: &Ground<'_>, ip: &[u8]) -> bool {
    ipv4::Header::parse(ip).is_ok_and(|header| {
        let addresses = Pair::new(header.source, header.destination);
        let flow = Flow { addresses, ports: 0, protocol: header.protocol };
        header.protocol == ipv4::GRE && ground.sessions.find(Heading::In, flow).is_some()
    })
}

/// The flow of a packet: with the identifier of an ICMP query, and with the ports of the first fragment for a later one.
fn flow_of<F: Frame>(ground: &Ground<'_>, frame: &F, packet: &Packet, heading: Heading) -> Settled<Flow> {
    let mut flow = Flow::of(packet);
    if packet.flags & LATER != 0 {
        // A protocol without ports has none in its first fragment either.
        if crate::nat::Space::of(packet.protocol).is_some() {
            let recalled = ground.sessions.recall(packet, ground.arrival.now);
            flow.ports = recalled.ok_or(DropReason::FragmentUnmatched)?;
        }
    } else if packet.protocol == ipv4::ICMP {
        let id = read16(frame.data(), usize::from(packet.l3) + usize::from(packet.l4) + icmp::REST);
        flow.ports = query(id, heading);
    }
    Ok(flow)
}

/// The identifier of an ICMP query stands for the port of the inside host (RFC 5508 §3.1).
const fn query(id: u16, heading: Heading) -> u32 {
    match heading {
        Heading::Out => (id as u32) << 16,
        Heading::In => id as u32,
    }
}

/// The next hops of a session, by today's routes.
fn lead(ground: &mut Ground<'_>, slot: u32, heading: Heading) -> Settled<u32> {
    let Ground { desk, sessions, ways, events, arrival, .. } = ground;
    let fib = desk.premises.fib();
    let Some(session) = sessions.get_mut(slot) else { return Err(Verdict::Drop(DropReason::NatFull)) };
    if session.generation() == fib.generation() && session.is_led(heading) {
        return Ok(session.hop(heading));
    }
    let to = match heading {
        Heading::Out => session.remote().0,
        Heading::In => session.host().0,
    };
    let hop = ways.lookup(fib, to, arrival.attempt, events, arrival.now)?;
    session.lead(heading, hop, fib.generation());
    Ok(hop)
}
