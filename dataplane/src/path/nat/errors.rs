//! ICMP errors about what a session carried (RFC 5508 §4): they belong to the packet that they quote, whoever sends them.

use super::carry::{comes_from, lead};
use super::flows::{owner_behind, quoted};
use crate::frame::Frame;
use crate::packet::{EXPIRED, Packet};
use crate::path::alg;
use crate::path::ground::Ground;
use crate::path::icmp::translate_quoted_flow;
use crate::reason::DropReason;
use crate::table::session::{Flow, Heading, Session};
use crate::verdict::{External, Settled, Verdict};
use crate::way::{Front, Way, write};
use crate::wire::Pair;
use crate::wire::checksum::Sum;

/// An error of an inside host or router, about what a host was sent.
#[cold]
pub(super) fn outward<F: Frame>(ground: &mut Ground<'_>, frame: &mut F, packet: &Packet) -> Settled<Verdict> {
    let arrival = ground.arrival;
    let found = quoted(frame, packet, Heading::Out)
        .and_then(|quoted| session_of(ground, Heading::Out, quoted.reversed()));
    let Some((slot, session)) = found else {
        return Err(ground.desk.inside_unbound(frame, packet, arrival));
    };
    // Of a router behind nothing is known.
    if packet.source() == session.host().0 {
        let hop = lead(ground, slot, Heading::In)?;
        comes_from(ground, frame, hop)?;
    }
    let turn = session.turn(Heading::Out);
    // RFC 5508 §4.2, REQ-5: whoever inside sends it, outside it comes from the host's external address, if it has another.
    let is_translated = turn.addresses.source() != session.host().0;
    let source = if is_translated { turn.addresses.source() } else { packet.source() };
    let addresses = Pair::new(source, packet.destination());
    let now_quoted = Flow { addresses: turn.addresses, ports: turn.ports, protocol: session.protocol() };
    if ground.is_external(turn.addresses.destination()) {
        if let Some(worker) = owner_behind(ground, now_quoted.at_another()) {
            return if packet.flags & EXPIRED != 0 {
                Err(DropReason::TtlExceeded.into())
            } else {
                Ok(Verdict::TurnBack(worker, turn.external()))
            };
        }
        return back(ground, frame, packet, source, now_quoted);
    }
    pass(ground, frame, packet, (slot, Heading::Out), addresses, now_quoted.reversed())
}

/// An error about what another inside host has sent to this one's external address (RFC 7857 §12).
fn back<F: Frame>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &Packet,
    source: u32,
    answered: Flow,
) -> Settled<Verdict> {
    let other = session_of(ground, Heading::In, answered.at_another());
    let (slot, other) = other.ok_or(DropReason::IcmpErrorUnmatched)?;
    pass(ground, frame, packet, (slot, Heading::In), Pair::new(source, other.host().0), other.near())
}

/// An error of a host of another worker, or of a router behind, about what one of this worker's sent to its external address.
#[cold]
pub(super) fn turned<F: Frame>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &Packet,
    external: External,
) -> Settled<Verdict> {
    let quoted = quoted(frame, packet, Heading::Out).ok_or(DropReason::IcmpErrorUnmatched)?;
    let near = quoted.reversed();
    let is_translated = external.address() != near.addresses.source();
    let source = if is_translated { external.address() } else { packet.source() };
    back(ground, frame, packet, source, near.seen_as(external))
}

/// An error from outside, about what a host sent. `None`: no host did.
#[cold]
pub(super) fn inward<F: Frame>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &Packet,
) -> Settled<Option<Verdict>> {
    let sound = ground.desk.outside_sound(packet, ground.arrival);
    let found = quoted(frame, packet, Heading::In)
        .filter(|quoted| sound && quoted.addresses.source() == packet.destination())
        .and_then(|quoted| session_of(ground, Heading::In, quoted.reversed()));
    let Some((slot, session)) = found else { return Ok(None) };
    // RFC 5508 §4.1, REQ-4: the source stays, be it the other host or a router.
    let addresses = Pair::new(packet.source(), session.host().0);
    pass(ground, frame, packet, (slot, Heading::In), addresses, session.near()).map(Some)
}

/// The session of a flow, and its slot.
fn session_of(ground: &Ground<'_>, heading: Heading, flow: Flow) -> Option<(u32, Session)> {
    let slot = ground.sessions.find(heading, flow)?;
    Some((slot, *ground.sessions.get(slot)?))
}

/// Sends an error on, between these addresses, about this flow.
fn pass<F: Frame>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &Packet,
    (slot, heading): (u32, Heading),
    addresses: Pair,
    about: Flow,
) -> Settled<Verdict> {
    if packet.flags & EXPIRED != 0 {
        return Err(DropReason::TtlExceeded.into());
    }
    let hop = lead(ground, slot, heading)?;
    let way = Way::Realm(hop);
    let Ground { ways, events, arrival, .. } = ground.again();
    // It must not be translated twice: not before its next hop is known.
    match ways.mtu(way) {
        0 => return Err(ways.hold(way, arrival.attempt, events, arrival.now)),
        mtu if packet.total > mtu => return Err(DropReason::TooBig.into()),
        _ => {}
    }
    if !translate_quoted_flow(&mut frame.data_mut()[usize::from(packet.l3)..], packet, about) {
        return Err(DropReason::IcmpErrorUnmatched.into());
    }
    if heading == Heading::In {
        alg::requote(ground.sessions, &mut frame.data_mut()[usize::from(packet.l3)..], packet, slot);
    }
    let front = Front { l3: usize::from(packet.l3), total: packet.total, tos: packet.tos };
    let (egress, ip) = ground.ways.head(hop, frame, front).ok_or(DropReason::NoHeadroom)?;
    write::translate(
        ip,
        packet,
        addresses,
        Sum::default().replace_pair(packet.addresses, addresses).change(),
    );
    Ok(Verdict::Forward(egress))
}
