//! The ends of many sessions at once: all with a peer, C2C itself, by us or by the peer.
//!
//! They are worked off a piece at a time, so that nobody waits for a hundred thousand of them. What the peer is told of all comes
//! first, what it is told of each with each; from the first moment no session that is to end answers for its names
//! ([`make_way`]), and one that is made meanwhile stands.

use super::api::{ConnId, Nanos, PeerId, Role};
use super::batches::Cause;
use super::hosts::Hosts;
use super::links::Links;
use super::pair::PairRef;
use super::reason::PeerDownReason;
use super::sessions;
use crate::message::{Cmp, MessageWriter, Ope};
use crate::policy::canonical_name;
use crate::tlv::Item;
use crate::value::Value;
use std::borrow::Cow;

/// Before two names are negotiated: a session of theirs that is to end is ended now, whoever asked for it, and the peer hears of
/// that before it hears of the next one.
pub(super) fn make_way(
    hosts: &mut Hosts,
    links: &mut Links,
    peer: PeerId,
    role: Role,
    (source, destination): (&str, &str),
) {
    if !hosts.is_ending() {
        return;
    }
    let other = if role == Role::Initiator { Role::Responder } else { Role::Initiator };
    let pairs: [&dyn PairRef; 2] = [&(peer, role, source, destination), &(peer, other, destination, source)];
    for pair in pairs {
        let Some(tag) = hosts.of(pair).map(|session| session.session.local_tag) else { continue };
        match hosts.ending(tag) {
            None => {}
            Some(cause) if cause.is_known() => _ = sessions::down(hosts, links, tag, cause.why()),
            Some(cause) => _ = sessions::end(hosts, links, tag, cause.why()),
        }
    }
}

/// A peer ends sessions, or everything.
pub(super) fn by_peer(
    hosts: &mut Hosts,
    links: &mut Links,
    peer: PeerId,
    value: Option<&Value<'_>>,
    now: Nanos,
) {
    let sessions = value.filter(|value| !value.is_empty()).and_then(|value| value.field("sessions"));
    match sessions {
        Some(Value::Text(all)) if all == "*" => begin(hosts, peer, Cause::ByPeer),
        Some(Value::List(pairs)) => {
            for pair in pairs {
                let Value::List(tags) = pair else { continue };
                let [first, second] = tags.as_slice() else { continue };
                let (Some(first), Some(second)) = (first.as_u32(), second.as_u32()) else { continue };
                // The sender's tag comes first; the other order can only name the same session.
                hosts.end_named(peer, (second, first));
                hosts.end_named(peer, (first, second));
            }
        }
        // Empty, or with an offending TLV in a C2C that stands: the peer does not want it after all.
        _ => links.peer_down(peer, PeerDownReason::ByPeer, now),
    }
}

/// All of a peer's sessions are to end.
fn begin(hosts: &mut Hosts, peer: PeerId, cause: Cause) {
    if hosts.count_of(peer) > 0 {
        hosts.end_all(peer, cause);
    }
}

/// Ends all sessions with a peer by one message; how many there were.
pub(super) fn all_sessions(hosts: &mut Hosts, links: &mut Links, ces_id: &str) -> usize {
    let Some(peer) = links.peers.find(&canonical_name(ces_id)) else { return 0 };
    let count = hosts.count_of(peer);
    if let Some((tags, conn)) = links.tags(peer).zip(links.conns.pick(peer)) {
        send_all(links, conn, tags);
        begin(hosts, peer, Cause::Told);
    } else {
        begin(hosts, peer, Cause::Each);
    }
    count
}

/// Tells a peer that none of its sessions with us stands.
pub(super) fn tell_all(links: &mut Links, peer: PeerId, conn: ConnId) {
    if let Some(tags) = links.tags(peer) {
        send_all(links, conn, tags);
    }
}

fn send_all(links: &mut Links, conn: ConnId, (local, remote): (u32, u32)) {
    let all = Value::Map(vec![(Cow::Borrowed("sessions"), Value::Text(Cow::Borrowed("*")))]);
    let mut out = MessageWriter::new(local, remote);
    out.item(Ope::Info, Cmp::Mandatory, Item::CesTerminate, all);
    links.send(conn, out.finish());
}

/// Ends C2C with a peer, and all sessions: each is told, since they would outlive C2C at the other end. Nothing is negotiated
/// with it meanwhile. False if it is not up.
pub(super) fn peer(hosts: &mut Hosts, links: &mut Links, peer: PeerId) -> bool {
    let Some(entry) = links.peers.get_mut(peer).filter(|entry| entry.c2c().is_some()) else { return false };
    if entry.begin_to_leave() {
        hosts.end_all(peer, Cause::Leaving);
    }
    true
}
