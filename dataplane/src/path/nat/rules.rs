//! What the rules of the filter say of a session: asked when it is opened, and again when there are other rules.
//!
//! They see the inside host under its own address, whichever way the first packet goes. What a host sends to the external
//! address
//! of another host is judged once, between the two hosts, where the session of the other one is opened.

use crate::filter::{Action, Asked, Zone};
use crate::frame::Frame;
use crate::packet::{LATER, Packet};
use crate::path::answer::reject;
use crate::path::ground::Ground;
use crate::reason::DropReason;
use crate::table::session::{Flow, Heading, Session};
use crate::table::sessions::Sessions;
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
    let asked = match heading {
        Heading::Out if sessions.is_external(remote) => return None,
        Heading::Out => Asked {
            from: Zone::Inside,
            to: Zone::Outside,
            protocol: near.protocol,
            source: host,
            destination: remote,
            source_port: host_port,
            destination_port: remote_port,
        },
        Heading::In => {
            let neighbour = sessions.behind(remote, near.ports as u16, near.protocol);
            let (source, source_port) = neighbour.unwrap_or((remote, remote_port));
            Asked {
                from: if neighbour.is_some() { Zone::Inside } else { Zone::Outside },
                to: Zone::Inside,
                protocol: near.protocol,
                source,
                destination: host,
                source_port,
                destination_port: host_port,
            }
        }
    };
    Some(match near.protocol {
        ipv4::ICMP => Asked { destination_port: icmp_type.into(), ..asked },
        _ => asked,
    })
}

/// The type of an ICMP message; 0 where it is none, which is that of an answer and opens nothing.
fn icmp_type<F: Frame>(frame: &F, packet: &Packet) -> u8 {
    let told = packet.protocol == ipv4::ICMP && packet.flags & LATER == 0;
    let kind = told.then(|| frame.data().get(usize::from(packet.l3) + usize::from(packet.l4))).flatten();
    kind.copied().unwrap_or(0)
}
