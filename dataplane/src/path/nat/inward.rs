//! What comes from the world to an inside host.

use super::carry::carry;
use super::errors;
use super::flows::{begins, flow_of, lacks_port};
use super::outward::comes_from_there;
use super::reserved::takes;
use super::rules;
use crate::frame::{Buffers, Frame};
use crate::packet::{ERROR, LATER, Packet};
use crate::path::ground::Ground;
use crate::reason::DropReason;
use crate::table::session::{Flow, Heading};
use crate::verdict::{Attempt, Settled, Verdict};

/// Phase 3 with everything that can be unusual. `None`: it is no host's.
#[inline(never)]
pub(in crate::path) fn inward<F: Frame, B: Buffers<F>>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &Packet,
    buffers: &mut B,
) -> Settled<Option<Verdict>> {
    if packet.flags & ERROR != 0 {
        return errors::inward(ground, frame, packet);
    }
    let flow = match flow_of(ground, frame, packet, Heading::In) {
        Ok(flow) => flow,
        // Whose it is, a host's or, of ICMP, the gateway's, its first one says.
        Err(unmatched) if may_be_a_hosts(ground, packet) => return Err(unmatched),
        Err(_) => return Ok(None),
    };
    let slot = match ground.sessions.find(Heading::In, flow) {
        // Two hosts of ours talk by their external addresses: nobody out there has one (RFC 2827).
        Some(_) if ground.is_external(packet.source()) => return Err(DropReason::SourceSpoofed.into()),
        Some(slot) => Some(slot),
        None if packet.flags & LATER == 0
            && begins(frame, packet)
            && !lacks_port(packet)
            && ground.arrival.attempt != Attempt::Unasked
            && ground.desk.outside_sound(packet, ground.arrival) =>
        {
            open(ground, frame, packet, flow)?
        }
        None => None,
    };
    if ground.arrival.attempt == Attempt::Unasked {
        // RFC 5382 §4.3, REQ-4: its host has opened a connection there meanwhile, and a SYN of its own is under way.
        return if slot.is_some() { Err(DropReason::Unasked.into()) } else { Ok(None) };
    }
    match slot {
        Some(slot) => carry(ground, frame, packet, (slot, flow), Heading::In, buffers).map(Some),
        None => Ok(None),
    }
}

/// Whether what comes to an address may be for a host.
#[cold]
fn may_be_a_hosts(ground: &Ground<'_>, packet: &Packet) -> bool {
    ground.is_external(packet.destination())
        || ground.desk.premises.nat.exceptions.are_of(packet.destination())
}

/// A session for the first packet of a flow, if its host takes it and the rules allow it.
#[cold]
fn open<F: Frame>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &Packet,
    flow: Flow,
) -> Settled<Option<u32>> {
    let Some(opening) = takes(ground, frame, packet, flow)? else { return Ok(None) };
    if ground.is_external(packet.source()) {
        // Nobody out there has an address under which our hosts are seen.
        return Err(DropReason::SourceSpoofed.into());
    }
    comes_from_there(ground, packet.source())?;
    rules::open_in(ground, frame, packet, opening).map(Some)
}
