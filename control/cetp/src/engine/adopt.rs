//! What an engine takes over from one that ended: sessions that stand, and what is known of their peers.
//!
//! Nothing is negotiated for it. A peer sees the tunnel ids that it knows, so what it has with us stands on its side as well;
//! C2C with it is sought at once, since nobody may ask for a name for hours.

use super::api::{Encapsulation, Endpoint, H2hSession, Nanos};
use super::hosts::{Hosts, Session};
use super::initiator;
use super::links::Links;
use super::sealing::Sealing;
use crate::seal::PeerKeys;
use std::sync::Arc;

/// What is worth keeping of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerMemory {
    /// Its CES id.
    pub ces_id: Arc<str>,
    /// The tunnel ids that it told, in the order of [`Encapsulation::ALL`].
    pub tunnel_ids: [Option<u32>; Encapsulation::ALL.len()],
    /// Whether it is known to draw others for each C2C.
    pub draws_others: bool,
    /// Where it can be reached.
    pub endpoints: Vec<Endpoint>,
    /// The keys of tunnels with it.
    pub keys: Option<PeerKeys>,
}

/// What is worth keeping of a peer.
pub(super) fn memory(links: &Links, ces_id: &str) -> Option<PeerMemory> {
    let peer = links.peers.get(links.peers.find(ces_id)?)?;
    let (tunnel_ids, draws_others) = (peer.tunnel_ids(), peer.draws_others());
    Some(PeerMemory {
        ces_id: Arc::clone(peer.ces_id()),
        tunnel_ids,
        draws_others,
        endpoints: peer.known().to_vec(),
        keys: peer.sealing().and_then(Sealing::keys),
    })
}

/// Knows a peer again. False if there is no room.
pub(super) fn peer(hosts: &Hosts, links: &mut Links, memory: PeerMemory) -> bool {
    let Some(peer) = links.peer(&memory.ces_id, |peer| hosts.use_peer(peer)) else { return false };
    let sealing = memory.keys.and_then(Sealing::adopt);
    let sealing = sealing.filter(|sealing| links.is_free(sealing.id()));
    if let Some(entry) = links.peers.get_mut(peer) {
        entry.set_sealing(sealing);
        entry.remember_tunnel_ids(memory.tunnel_ids);
        if memory.draws_others {
            entry.remember_draws();
        }
        entry.set_known(memory.endpoints);
    }
    true
}

/// Takes a session over. False if there is no room, or one for the same names or of the same tag.
pub(super) fn session(hosts: &mut Hosts, links: &mut Links, session: H2hSession, now: Nanos) -> bool {
    let has_room = hosts.len() < links.ground.limits().sessions as usize;
    let peer = links.peer(&session.ces_id, |peer| hosts.use_peer(peer)).filter(|_| has_room);
    let Some(peer) = peer else { return false };
    let tag = session.local_tag;
    let adopted = Session::new(session, peer, 0);
    if hosts.is_taken(tag) || hosts.of(&adopted.pair()).is_some() {
        return false;
    }
    hosts.insert(adopted);
    initiator::plan_revival(links, peer, true, now);
    true
}
