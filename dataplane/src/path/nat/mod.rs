//! NAT44: what an inside host sends into the world, and what comes back to it.
//!
//! The straight line ([`plain`]) is the same for both headings: a session that the packet leaves as it is. Everything else is
//! in the long ways: [`flows`] says which flow a packet is of, [`outward`] and [`inward`] find or open its session, [`carry`]
//! sends it on, [`turned`] does that for what comes from a host of another worker, [`rules`] says whether it may stand,
//! [`errors`] does the same for ICMP errors, which belong to the packet that they quote; [`unasked`] is for what is nobody's.

mod carry;
mod errors;
mod flows;
mod inward;
mod outward;
mod reserved;
mod rules;
mod turned;
mod unasked;

pub(super) use flows::{is_passing, owner, remember};
pub(super) use inward::inward;
pub(super) use outward::outward;
pub(super) use turned::turned;
pub(super) use unasked::unasked;

use super::ground::Ground;
use crate::egress::Egress;
use crate::frame::Frame;
use crate::packet::{FRAGMENT, Packet, SETTLED, SPECIAL};
use crate::table::session::{Flow, Heading};
use crate::way::{Front, Way, write};
use crate::wire::ipv4;

/// Phase 2: finds the session's slot, and starts to fetch it; where there is none, what a host's first packet looks at first.
#[inline(always)]
pub(super) fn look_up(ground: &Ground<'_>, heading: Heading, packet: &mut Packet) {
    packet.slot = ground.sessions.candidate(heading, packet.hash);
    if !ground.sessions.prefetch(packet.slot) && heading == Heading::Out && packet.flags & SETTLED == 0 {
        ground.sessions.foresee(Flow::of(packet));
    }
}

/// Starts to fetch the next hop of what has its session's slot, and of what the host sends the hop where answers go: by that it
/// is known whether it is the host that sends. Of what may open a session, what it looks at.
#[inline(always)]
pub(super) fn fetch_hop(ground: &Ground<'_>, heading: Heading, packet: &Packet) {
    if let Some(session) = ground.sessions.get(packet.slot) {
        ground.ways.prefetch(Way::Realm(session.hop(heading)));
        if heading == Heading::Out {
            ground.ways.prefetch(Way::Realm(session.hop(Heading::In)));
        }
    } else if heading == Heading::Out && packet.flags & SETTLED == 0 {
        ground.sessions.foresee_more(Flow::of(packet));
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
    let generation = ground.desk.premises.generation();
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
        || (heading == Heading::Out && !ground.ways.may_come_from(session.hop(Heading::In), frame.data()))
    {
        return None;
    }
    let turn = session.turn(heading);
    let front = Front { l3: usize::from(packet.l3), total: packet.total, tos: packet.tos };
    let (egress, ip) = ground.ways.head(session.hop(heading), frame, front)?;
    write::turn(ip, packet, &turn);
    session.count(heading, packet.total, now_s);
    Some(egress)
}
