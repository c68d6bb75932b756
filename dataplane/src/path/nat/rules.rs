//! What the rules of the filter say of a session: asked when it is opened, and again when there are other rules.
//!
//! They see the inside host under its own address, whichever way the first packet goes. What a host sends to the external
//! address of another host is judged once, between the two hosts, where the session of the other one is opened.

use super::flows::icmp_type;
use crate::filter::{Action, Asked, Zone};
use crate::frame::Frame;
use crate::packet::Packet;
use crate::path::answer::reject;
use crate::path::ground::Ground;
use crate::reason::DropReason;
use crate::table::session::{Flow, Heading, Session};
use crate::table::sessions::{Opening, Sessions};
use crate::verdict::{Settled, Verdict};
use crate::wire::ipv4;

/// Whether a session may be opened whose host sends `near`, by a packet that goes this way. A refusal is counted by its rule.
pub(super) fn admit<F: Frame>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &Packet,
    near: Flow,
    heading: Heading,
) -> Settled<()> {
    let Some((filter, worker)) = ground.desk.premises.filter() else { return Ok(()) };
    let asked = asked(ground.sessions, near, heading, icmp_type(frame, packet));
    let Some((rule, action)) = asked.and_then(|asked| filter.rules().find(&asked)) else { return Ok(()) };
    filter.count(worker, rule);
    match action {
        Action::Allow => Ok(()),
        Action::Deny => Err(Verdict::Drop(DropReason::FilterDenied)),
        Action::Reject => {
            Err(reject(&mut ground.desk, frame, packet, DropReason::FilterRejected, ground.arrival))
        }
    }
}

/// Opens a session by what comes from outside, if it may be opened.
pub(super) fn open_in<F: Frame>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &Packet,
    opening: Opening,
) -> Settled<u32> {
    admit(ground, frame, packet, opening.near(), Heading::In)?;
    let slot = ground.sessions.open_in(opening, &ground.desk.premises.nat, ground.arrival.now)?;
    admitted(ground, frame, packet, slot);
    Ok(slot)
}

/// Notes that a session was admitted, by the packet that opened it.
pub(super) fn admitted<F: Frame>(ground: &mut Ground<'_>, frame: &F, packet: &Packet, slot: u32) {
    let generation = ground.desk.premises.generation();
    if let Some(session) = ground.sessions.get_mut(slot) {
        session.admit(icmp_type(frame, packet), generation);
    }
    ground.desk.counters.sessions_opened += 1;
}

/// Whether the rules of today let a session stand.
pub(super) fn lets_stand(ground: &Ground<'_>, session: &Session) -> bool {
    let Some((filter, _)) = ground.desk.premises.filter() else { return true };
    asked(ground.sessions, session.near(), session.opened(), session.icmp_type())
        .and_then(|asked| filter.rules().find(&asked))
        .is_none_or(|(_, action)| action == Action::Allow)
}

/// What the rules are asked; `None`: nothing, for it is judged elsewhere.
fn asked(sessions: &Sessions, near: Flow, heading: Heading, icmp_type: u8) -> Option<Asked> {
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
    Some(Asked {
        from: from.0,
        to: to.0,
        protocol: near.protocol,
        source: from.1,
        destination: to.1,
        source_port: from.2,
        destination_port: if near.protocol == ipv4::ICMP { icmp_type.into() } else { to.2 },
    })
}
