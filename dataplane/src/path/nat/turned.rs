//! The second half of the way from one inside host to another that belongs to another worker (RFC 4787 §6, REQ-9).
//!
//! The first half is the sender's worker's, which has its session: it hands the packet over with its addresses, and beside it
//! says under which address and port the sender is seen. So the rules of the filter see both hosts here, who sent it is told
//! what becomes of it, and nothing is translated before it leaves.

use super::carry::carry_back;
use super::errors;
use super::flows::flow_of;
use crate::frame::{Buffers, Frame};
use crate::packet::{ERROR, Packet};
use crate::path::ground::Ground;
use crate::path::inside::parse_hosts;
use crate::table::session::Heading;
use crate::verdict::{External, Settled, Verdict};

/// All phases, for one packet.
#[inline(never)]
pub(in crate::path) fn turned<F: Frame, B: Buffers<F>>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &mut Packet,
    external: External,
    buffers: &mut B,
) -> Settled<Verdict> {
    parse_hosts(&mut ground.desk, frame.data(), packet, ground.arrival)?;
    if packet.flags & ERROR != 0 {
        return errors::turned(ground, frame, packet, external);
    }
    let near = flow_of(ground, frame, packet, Heading::Out)?;
    ground.neighbour = Some((near.addresses.source(), (near.ports >> 16) as u16));
    carry_back(ground, frame, packet, (near, near.seen_as(external)), buffers)
}
