//! What the rules of the filter say of a session: asked when it is opened, and again when there are other rules.
//!
//! They see the inside host under its own address, whichever way the first packet goes. What a host sends to the external
//! address of another host is judged once, between the two hosts, where the session of the other one is opened.

use super::flows::icmp_type;
use crate::filter::{Action, Asked, Decision, Fate, Seen, Zone};
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

/// Whether a session may be opened whose host sends `near`, by a packet that goes this way. A decision is counted by its
/// rule.
pub(super) fn admit<F: Frame>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &Packet,
    near: Flow,
    heading: Heading,
) -> Settled<()> {
    let Some((filter, worker)) = ground.desk.premises.filter() else { return Ok(()) };
    let Some(asked) = asked(ground, near, heading, seen(frame, packet)) else { return Ok(()) };
    let Some(decision) = filter.decide(worker, &asked, ground.arrival.now) else { return Ok(()) };
    if decision.log {
        tell(ground, decision, asked);
    }
    match decision.fate {
        Fate::Opened => Ok(()),
        Fate::Denied => Err(Verdict::Drop(DropReason::FilterDenied)),
        Fate::Exceeded => Err(Verdict::Drop(DropReason::FilterRate)),
        Fate::Rejected => {
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
    // What a control channel announced is its, by which it may be.
    if opening.is_announced() {
        ground.desk.counters.alg_came += 1;
    } else {
        admit(ground, frame, packet, opening.near(), Heading::In)?;
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

/// Whether the rules of today let a session stand.
pub(super) fn lets_stand(ground: &Ground<'_>, session: &Session) -> bool {
    let Some((filter, _)) = ground.desk.premises.filter() else { return true };
    if session.is_announced() {
        return true;
    }
    asked(ground, session.near(), session.opened(), session.seen())
        .and_then(|asked| filter.rules().find(&asked))
        .is_none_or(|(_, action)| action == Action::Allow)
}

/// What rules see of a first packet itself.
fn seen<F: Frame>(frame: &F, packet: &Packet) -> Seen {
    let mark = if packet.protocol == ipv4::ICMP { icmp_type(frame, packet) } else { packet.tcp_flags };
    Seen { mark, dscp: packet.tos >> 2, is_fragment: packet.is_fragment(), length: packet.total }
}

/// What the rules are asked; `None`: nothing, for it is judged elsewhere.
fn asked(ground: &Ground<'_>, near: Flow, heading: Heading, seen: Seen) -> Option<Asked> {
    let sessions = &ground.sessions;
    let (host, remote) = (near.addresses.source(), near.addresses.destination());
    let (host_port, remote_port) = match near.protocol {
        ipv4::ICMP => (0, 0),
        _ => ((near.ports >> 16) as u16, near.ports as u16),
    };
    let inside = (Zone::Inside, host, host_port);
    let (from, to) = match heading {
        Heading::Out if sessions.is_external(remote) => return None,
        Heading::Out => (inside, (Zone::Outside, remote, remote_port)),
        Heading::In => {
            let neighbour = sessions.behind(remote, near.ports as u16, near.protocol);
            let sender = neighbour.map(|(address, port)| (Zone::Inside, address, port));
            (sender.unwrap_or((Zone::Outside, remote, remote_port)), inside)
        }
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
