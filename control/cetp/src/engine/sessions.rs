//! Sessions of two hosts, from both sides' agreement to their end.

use super::api::{CetpOutput, ConnId, H2hSession, Nanos, PeerId, Role, SetAside};
use super::batches::Cause;
use super::hosts::{Hosts, Session};
use super::links::Links;
use super::pair::Pair;
use super::reason::DownReason;
use crate::h2h::Agreed;
use crate::limits::S;
use crate::message::MessageWriter;
use crate::tlv::Layer;

/// A century: how long a session may last at a peer that has not said how long, in use all the while.
const FOREVER: Nanos = 100 * 366 * 86_400 * S;

/// Whether a peer may have one more. Those of which nobody knows whether it still has them do not count there: as many again.
pub(super) fn has_room(hosts: &Hosts, links: &Links, peer: PeerId) -> bool {
    let limit = links.peers.get(peer).and_then(|peer| {
        let limit = peer.c2c()?.session_limit as usize;
        Some(if peer.is_doubted() { 2 * limit } else { limit })
    });
    limit.is_some_and(|limit| hosts.count_of(peer) < limit)
        && hosts.len() < links.ground.limits().sessions as usize
}

/// Puts a session up, in the place of an older one for the same pair. False if the peer is not up.
pub(super) fn up(
    hosts: &mut Hosts,
    links: &mut Links,
    pair: &Pair,
    reservation: SetAside,
    remote_tag: u32,
    terms: &Agreed,
    now: Nanos,
) -> bool {
    let Some(peer) = links.peers.get(pair.peer) else { return false };
    let Some(c2c) = peer.c2c() else { return false };
    let (local, remote, tunnel) = match pair.role {
        Role::Initiator => (&pair.source, &pair.destination, &c2c.tunnel_out),
        Role::Responder => (&pair.destination, &pair.source, &c2c.tunnel_in),
    };
    let peer_lifetime = if terms.peer_told_ttl { u64::from(terms.hard_ttl_s) * S } else { FOREVER };
    let session = H2hSession {
        local_tag: reservation.tag,
        remote_tag,
        local_fqdn: local.clone(),
        remote_fqdn: remote.clone(),
        ces_id: peer.ces_id().clone(),
        proxy: reservation.proxy,
        tunnel: tunnel.clone(),
        hard_ttl_s: terms.hard_ttl_s,
        idle_ttl_s: terms.idle_ttl_s,
        carry: terms.carry,
        role: pair.role,
        peer_until: now.saturating_add(peer_lifetime),
    };
    let epoch = peer.epoch();
    if let Some(old) = hosts.of(pair).map(|old| old.session.local_tag) {
        down(hosts, links, old, DownReason::Replaced);
    }
    links.ground.emit(CetpOutput::H2hUp { session: session.clone() });
    hosts.insert(Session::new(session, pair.peer, epoch));
    true
}

/// Ends a session at our side.
pub(super) fn down(hosts: &mut Hosts, links: &mut Links, tag: u32, why: DownReason) -> Option<Session> {
    let session = hosts.remove(tag)?;
    links.ground.counters.sessions_ended += 1;
    links.ground.emit(CetpOutput::H2hDown { local_tag: tag, why });
    Some(session)
}

/// Ends a session at our side and tells the peer.
pub(super) fn end(hosts: &mut Hosts, links: &mut Links, tag: u32, why: DownReason) -> bool {
    let Some(session) = down(hosts, links, tag, why) else { return false };
    tell_end(links, session.peer, (tag, session.session.remote_tag));
    true
}

/// Terminates a session at the peer, now or when it is up again.
fn tell_end(links: &mut Links, peer: PeerId, (local_tag, remote_tag): (u32, u32)) {
    let Some(conn) = links.conns.pick(peer) else {
        return owe_end(links, peer, (local_tag, remote_tag));
    };
    tell_end_on(links, conn, (local_tag, remote_tag));
}

/// Terminates a session at the peer by a message on this connection.
pub(super) fn tell_end_on(links: &mut Links, conn: ConnId, (local_tag, remote_tag): (u32, u32)) {
    let mut out = MessageWriter::new(local_tag, remote_tag);
    out.terminate(Layer::H2h, None);
    links.send(conn, out.finish());
}

/// Remembers to tell the peer of an ended session once C2C with it is up.
pub(super) fn owe_end(links: &mut Links, peer: PeerId, tags: (u32, u32)) {
    if let Some(entry) = links.peers.get_mut(peer)
        && entry.owe(tags)
    {
        let ces_id = entry.ces_id().clone();
        links.ground.emit(CetpOutput::Owed { ces_id, tags: Some(tags) });
    }
}

/// Tells a peer that is up one of the ends that it has yet to be told of. False if there is none.
pub(super) fn tell_owed(links: &mut Links) -> bool {
    while let Some(peer) = links.next_owed() {
        let Some(entry) = links.peers.get_mut(peer) else { continue };
        let ces_id = entry.ces_id().clone();
        let Some(tags) = entry.take_owed() else { continue };
        let is_last = !entry.is_owed();
        tell_end(links, peer, tags);
        if is_last {
            links.ground.emit(CetpOutput::Owed { ces_id, tags: None });
        } else {
            links.begin_to_tell(peer);
        }
        return true;
    }
    false
}

/// The owner's binding ended by itself. If the peer's may live on, it is told: its host would send into nothing, and the same
/// pair would be refused as a duplicate.
pub(super) fn binding_ended(hosts: &mut Hosts, links: &mut Links, tag: u32, now: Nanos) {
    let is_known = hosts.ending(tag).is_some_and(Cause::is_known);
    let Some(session) = hosts.remove(tag) else { return };
    links.ground.counters.sessions_ended += 1;
    if !is_known && now < session.session.peer_until {
        tell_end(links, session.peer, (tag, session.session.remote_tag));
    }
}
