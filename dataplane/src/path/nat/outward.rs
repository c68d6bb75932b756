//! What an inside host sends into the world.

use super::carry::{carry, comes_from, remember};
use super::errors;
use super::flows::{begins, flow_of, lacks_port};
use super::rules;
use crate::frame::{Buffers, Frame};
use crate::meter::seconds;
use crate::nat::{Nat, Space};
use crate::packet::{ERROR, EXPIRED, Packet};
use crate::path::answer::refuse;
use crate::path::ground::Ground;
use crate::reason::DropReason;
use crate::settings::Side;
use crate::table::session::{Flow, Heading};
use crate::verdict::{Settled, Verdict};

/// Phase 3 with everything that can be unusual.
#[inline(never)]
pub(in crate::path) fn outward<F: Frame, B: Buffers<F>>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &Packet,
    buffers: &mut B,
) -> Settled<Verdict> {
    if packet.flags & ERROR != 0 {
        return errors::outward(ground, frame, packet);
    }
    let found = match flow_of(ground, frame, packet, Heading::Out) {
        Ok(flow) => match ground.sessions.find(Heading::Out, flow) {
            Some(slot) => (slot, flow),
            None => (open(ground, frame, packet, flow)?, flow),
        },
        // It may be for the gateway itself, which needs no ports.
        Err(unmatched) => {
            ours_or_onward(ground, frame, packet)?;
            return Err(unmatched);
        }
    };
    carry(ground, frame, packet, found, Heading::Out, buffers)
}

/// What is not for the world: for the gateway itself, or from or to where no packet may be.
fn ours_or_onward<F: Frame>(ground: &mut Ground<'_>, frame: &mut F, packet: &Packet) -> Settled<()> {
    let arrival = ground.arrival;
    match ground.desk.inside_unbound(frame, packet, arrival) {
        Verdict::Drop(DropReason::NoRoute) => Ok(()),
        Verdict::Drop(reason) => Err(refuse(&mut ground.desk, frame, packet, reason, arrival)),
        verdict => Err(verdict),
    }
}

/// A session for the first packet of a flow.
#[cold]
fn open<F: Frame>(ground: &mut Ground<'_>, frame: &mut F, packet: &Packet, flow: Flow) -> Settled<u32> {
    ours_or_onward(ground, frame, packet)?;
    let may = may_open(ground, frame, packet)
        .and_then(|()| leads_out(ground, packet.destination()))
        .and_then(|()| comes_from_there(ground, packet.source()));
    if may == Err(DropReason::SourceSpoofed) {
        return Err(DropReason::SourceSpoofed.into());
    }
    let hop = hop_of(ground, frame, packet.source())?;
    may.map_err(|reason| refuse(&mut ground.desk, frame, packet, reason, ground.arrival))?;
    rules::admit(ground, frame, packet, flow)?;
    let opened = ground.sessions.open_out(flow, &ground.desk.premises.nat, ground.arrival.now);
    let slot = match opened {
        Ok(slot) => slot,
        Err(reason) => {
            let (host, now_s) = (packet.source(), seconds(ground.arrival.now));
            ground.sessions.record_refused(reason, packet.protocol, host, now_s);
            return Err(refuse(&mut ground.desk, frame, packet, reason, ground.arrival));
        }
    };
    rules::admitted(ground, frame, packet, slot);
    remember(ground, slot, Heading::In, hop);
    Ok(slot)
}

/// RFC 3704 §2.2, strict: a packet comes in where an answer would go out.
pub(super) fn comes_from_there(ground: &Ground<'_>, source: u32) -> Result<(), DropReason> {
    let there = ground.port_towards(source) == Some(ground.arrival.port);
    if there { Ok(()) } else { Err(DropReason::SourceSpoofed) }
}

/// The next hop that the host with this address is, if a packet is of it as far as that is known (P10).
fn hop_of<F: Frame>(ground: &mut Ground<'_>, frame: &F, host: u32) -> Settled<u32> {
    let Ground { desk, ways, events, arrival, .. } = ground;
    let hop = ways.lookup(desk.premises.fib(), host, arrival.attempt, events, arrival.now)?;
    comes_from(ground, frame, hop)?;
    Ok(hop)
}

/// Whether a packet may be the first one of a session.
fn may_open<F: Frame>(ground: &Ground<'_>, frame: &F, packet: &Packet) -> Result<(), DropReason> {
    if packet.flags & EXPIRED != 0 {
        return Err(DropReason::TtlExceeded);
    }
    if !begins(frame, packet) {
        Err(DropReason::NatNoSession)
    } else if lacks_port(packet) {
        Err(DropReason::L4Malformed)
    } else if ground.sessions.share().is_part() && !tells_its_worker(ground, packet) {
        Err(DropReason::NatNoSession)
    } else {
        Ok(())
    }
}

/// Whether what comes back says to which worker: by its port, or by an address that the host has for itself.
fn tells_its_worker(ground: &Ground<'_>, packet: &Packet) -> bool {
    let Nat { statics, exceptions, .. } = &ground.desk.premises.nat;
    Space::of(packet.protocol).is_some()
        || exceptions.are_of(packet.source())
        || statics.outside(packet.source(), 0, packet.protocol).is_some()
}

/// Whether hosts of this side may send to an address: a route leads into the world, or from inside to the DMZ, or hosts are seen
/// under it.
fn leads_out(ground: &Ground<'_>, address: u32) -> Result<(), DropReason> {
    if ground.is_external(address) {
        return Ok(());
    }
    let port = ground.port_towards(address).ok_or(DropReason::NoRoute)?;
    let side = |port| ground.desk.premises.port(port).map(|port| port.side);
    match (side(ground.arrival.port), side(port)) {
        (_, Some(Side::Outside)) | (Some(Side::Inside), Some(Side::Dmz)) => Ok(()),
        _ => Err(DropReason::NoRoute),
    }
}
