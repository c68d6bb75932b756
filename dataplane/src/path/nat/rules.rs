//! What the rules of the filter say of a session: asked when it is opened, and again when there are other rules.
//!
//! They see a host of ours under its own address, whichever way the first packet goes. What a host sends to the external
//! address of another host is judged once, between the two hosts, where the session of the other one is opened.

use super::flows::{icmp_type, owner_behind};
use crate::filter::{Action, Asked, Decision, Ruling, Seen, Zone};
use crate::frame::Frame;
use crate::msg::Event;
use crate::packet::Packet;
use crate::path::alg;
use crate::path::answer::reject;
use crate::path::ground::Ground;
use crate::reason::DropReason;
use crate::table::session::{Flow, Heading, Session};
use crate::table::sessions::Opening;
use crate::verdict::{Settled, Verdict};
use crate::wire::ipv4;

/// Whether a session may be opened by what its host sends.
pub(super) fn admit<F: Frame>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &Packet,
    near: Flow,
) -> Settled<()> {
    if ground.is_external(near.addresses.destination()) {
        return Ok(());
    }
    let decision = decide(ground, near, Heading::Out, seen(frame, packet));
    decision.map_or(Ok(()), |fate| act(ground, frame, packet, fate))
}

/// What the first rule that fits says of such a session, which is counted, and told where it says so; `None`: there is none.
fn decide(ground: &mut Ground<'_>, near: Flow, heading: Heading, seen: Seen) -> Option<Ruling> {
    let (filter, worker) = ground.desk.premises.filter()?;
    let asked = asked(ground, near, heading, seen)?;
    let decision = filter.decide(worker, &asked, ground.arrival.now)?;
    if decision.log {
        tell(ground, decision, asked);
    }
    Some(decision.fate)
}

fn act<F: Frame>(ground: &mut Ground<'_>, frame: &mut F, packet: &Packet, fate: Ruling) -> Settled<()> {
    match fate {
        Ruling::Opened => Ok(()),
        Ruling::Denied => Err(Verdict::Drop(DropReason::FilterDenied)),
        Ruling::Exceeded => Err(Verdict::Drop(DropReason::FilterRate)),
        Ruling::Rejected => {
            Err(reject(&mut ground.desk, frame, packet, DropReason::FilterRejected, ground.arrival))
        }
    }
}

/// Tells the control thread of a decision, unless there are too many of them.
#[cold]
fn tell(ground: &mut Ground<'_>, decision: Decision, asked: Asked) {
    let number = ground.desk.premises.filter_number();
    let told = ground.desk.meters.decision(ground.arrival.now)
        && ground.events.offer(Event::Decided(number, decision, asked));
    if told {
        ground.desk.counters.decisions_told += 1;
    } else {
        ground.desk.counters.decisions_suppressed += 1;
    }
}

/// Opens a session by what comes from outside, if it may be opened.
pub(super) fn open_in<F: Frame>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &Packet,
    opening: Opening,
) -> Settled<u32> {
    let decision = if opening.is_announced() {
        // What a control channel announced is its, by which it may be.
        ground.desk.counters.alg_came += 1;
        Some(Ruling::Opened)
    } else {
        decide(ground, opening.near(), Heading::In, seen(frame, packet))
    };
    match decision {
        Some(fate) => act(ground, frame, packet, fate)?,
        None if opening.is_untranslated() => return Err(DropReason::Unasked.into()),
        None => {}
    }
    let slot = ground.sessions.open_in(opening, &ground.desk.premises.nat, ground.arrival.now)?;
    admitted(ground, frame, packet, slot);
    Ok(slot)
}

/// Notes that a session was admitted, by the packet that opened it.
pub(super) fn admitted<F: Frame>(ground: &mut Ground<'_>, frame: &F, packet: &Packet, slot: u32) {
    let generation = ground.desk.premises.generation();
    if let Some(session) = ground.sessions.get_mut(slot) {
        session.admit(seen(frame, packet), generation);
    }
    ground.desk.counters.sessions_opened += 1;
    alg::opened(ground, slot);
}

/// Whether the rules of today let a session stand; `None`: that is told by what its sender sends, a host of another worker.
pub(super) fn lets_stand(ground: &Ground<'_>, session: &Session) -> Option<bool> {
    if session.is_announced() {
        return Some(true);
    }
    if is_behind_another(ground, session.near()) {
        return None;
    }
    let asked = || asked(ground, session.near(), session.opened(), session.seen());
    let rules = ground.desk.premises.filter().map(|(filter, _)| filter.rules());
    Some(match rules.and_then(|rules| rules.find(&asked()?)) {
        Some((_, action)) => action == Action::Allow,
        // Nobody was let in to a host under its own address but by a rule.
        None => {
            session.opened() == Heading::Out || session.host().0 != session.arriving().addresses.destination()
        }
    })
}

/// Whether a host exchanges packets with one of another worker, which alone knows who that is.
fn is_behind_another(ground: &Ground<'_>, near: Flow) -> bool {
    let is_ruled = ground.desk.premises.filter().is_some();
    is_ruled && neighbour(ground, near).is_none() && owner_behind(ground, near.at_another()).is_some()
}

/// The inside host, and its port, behind the external address that a host of ours exchanges packets with.
fn neighbour(ground: &Ground<'_>, near: Flow) -> Option<(u32, u16)> {
    let Flow { addresses, ports, protocol } = near.at_another();
    let nat = &ground.desk.premises.nat;
    ground.neighbour.or_else(|| ground.sessions.behind(addresses.destination(), ports as u16, protocol, nat))
}

/// What rules see of a first packet itself.
fn seen<F: Frame>(frame: &F, packet: &Packet) -> Seen {
    let mark = if packet.protocol == ipv4::ICMP { icmp_type(frame, packet) } else { packet.tcp_flags };
    Seen { mark, dscp: packet.tos >> 2, is_fragment: packet.is_fragment(), length: packet.total }
}

/// What the rules are asked; `None`: nothing, for nobody is there.
fn asked(ground: &Ground<'_>, near: Flow, heading: Heading, seen: Seen) -> Option<Asked> {
    let (host, remote) = (near.addresses.source(), near.addresses.destination());
    let (host_port, remote_port) = match near.protocol {
        ipv4::ICMP => (0, 0),
        _ => ((near.ports >> 16) as u16, near.ports as u16),
    };
    let premises = ground.desk.premises;
    let zone = |address, otherwise| if premises.is_dmz(address) { Zone::Dmz } else { otherwise };
    let inside = (zone(host, Zone::Inside), host, host_port);
    let is_world = heading == Heading::Out && !ground.is_external(remote);
    let other = match neighbour(ground, near).filter(|_| !is_world) {
        Some((address, port)) => (zone(address, Zone::Inside), address, port),
        None if heading == Heading::Out && !is_world => return None,
        None => (zone(remote, Zone::Outside), remote, remote_port),
    };
    let (from, to) = match heading {
        Heading::Out => (inside, other),
        Heading::In => (other, inside),
    };
    let by = |address| ground.port_towards(address).unwrap_or(u8::MAX);
    Some(Asked {
        from: from.0,
        to: to.0,
        protocol: near.protocol,
        source: from.1,
        destination: to.1,
        source_port: from.2,
        destination_port: if near.protocol == ipv4::ICMP { seen.mark.into() } else { to.2 },
        comes_by: by(from.1),
        goes_by: by(to.1),
        seen,
    })
}
