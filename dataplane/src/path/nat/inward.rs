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
use crate::table::session::{Flow, Heading};
use crate::verdict::{Settled, Verdict};
use crate::wire::ipv4;

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
        // Of ICMP it may be the gateway's, whose kernel puts it together; of nothing else.
        Err(kept @ Verdict::HoldLater(_))
            if packet.protocol != ipv4::ICMP && ground.sessions.is_external(packet.destination()) =>
        {
            return Err(kept);
        }
        Err(_) => return Ok(None),
    };
    let slot = match ground.sessions.find(Heading::In, flow) {
        Some(slot) => Some(slot),
        None if packet.flags & LATER == 0
            && begins(packet)
            && !lacks_port(packet)
            && ground.desk.outside_sound(packet, ground.arrival) =>
        {
            open(ground, frame, packet, flow)?
        }
        // RFC 5382 §5, REQ-4: a SYN that nobody asked for is not answered for 6 s. Here it never is.
        None => None,
    };
    match slot {
        Some(slot) => carry(ground, frame, packet, (slot, flow), Heading::In, buffers).map(Some),
        None => Ok(None),
    }
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
    comes_from_there(ground, packet.source())?;
    rules::open_in(ground, frame, packet, opening).map(Some)
}
