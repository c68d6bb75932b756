//! The ends of many sessions at once: all with a peer, C2C itself, by us or by the peer.

use super::api::{ConnId, Nanos, PeerId};
use super::hosts::Hosts;
use super::links::Links;
use super::reason::{DownReason, PeerDownReason};
use super::sessions;
use crate::message::{Cmp, Ope, Writer};
use crate::policy::canonical_name;
use crate::tlv::{Item, Layer};
use crate::value::Value;
use std::borrow::Cow;

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
        Some(Value::Text(all)) if all == "*" => {
            for tag in hosts.tags_of(peer) {
                sessions::down(hosts, links, tag, DownReason::ByPeer);
            }
        }
        Some(Value::List(pairs)) => {
            for pair in pairs {
                let Value::List(tags) = pair else { continue };
                let [first, second] = tags.as_slice() else { continue };
                let (Some(first), Some(second)) = (first.as_u32(), second.as_u32()) else { continue };
                // The sender's tag comes first; the other order can only name the same session.
                end_named(hosts, links, peer, first, second);
                end_named(hosts, links, peer, second, first);
            }
        }
        // Empty, or with an offending TLV in a C2C that stands: the peer does not want it after all.
        _ => links.peer_down(peer, PeerDownReason::ByPeer, now),
    }
}

fn end_named(hosts: &mut Hosts, links: &mut Links, peer: PeerId, theirs: u32, ours: u32) {
    let is_it = |tag| {
        hosts.get(tag).is_some_and(|session| session.peer == peer && session.session.remote_tag == theirs)
    };
    if is_it(ours) {
        sessions::down(hosts, links, ours, DownReason::ByPeer);
    }
}

/// Ends all sessions with a peer by one message; how many there were.
pub(super) fn all_sessions(hosts: &mut Hosts, links: &mut Links, ces_id: &str) -> usize {
    let Some(peer) = links.peers.find(&canonical_name(ces_id)) else { return 0 };
    let tags = hosts.tags_of(peer);
    let count = tags.len();
    let Some(((local, remote), conn)) = links.tags(peer).zip(links.conns.pick(peer)) else {
        for tag in tags {
            sessions::end(hosts, links, tag, DownReason::ByUs);
        }
        return count;
    };
    for tag in tags {
        sessions::down(hosts, links, tag, DownReason::ByUs);
    }
    send_all(links, conn, (local, remote));
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
    let mut out = Writer::new(local, remote);
    out.item(Ope::Info, Cmp::Mandatory, Item::CesTerminate, all);
    links.send(conn, out.finish());
}

/// Ends C2C with a peer, and all sessions: each is told, since they would outlive C2C at the other end.
pub(super) fn peer(hosts: &mut Hosts, links: &mut Links, peer: PeerId, now: Nanos) -> bool {
    let Some((local, remote)) = links.tags(peer) else { return false };
    for tag in hosts.tags_of(peer) {
        sessions::end(hosts, links, tag, DownReason::ByUs);
    }
    if let Some(conn) = links.conns.pick(peer) {
        let mut out = Writer::new(local, remote);
        out.terminate(Layer::C2c, None);
        links.send(conn, out.finish());
    }
    links.peer_down(peer, PeerDownReason::ByUs, now);
    true
}
