//! What an engine takes over from one that ended: sessions that stand, what is known of their peers, what is refused.
//!
//! Nothing is negotiated for it. A peer sees the tunnel ids that it knows, so what it has with us stands on its side as well;
//! C2C with it is sought at once, since nobody may ask for a name for hours.

use super::after::FilterKey;
use super::peers::PeerId;
use super::table::Session;
use super::{BlockReason, Encapsulation, Endpoint, Engine, Failure, H2hSession, Nanos, NegotiationId, Realm};
use crate::keyed::Keyed;
use crate::policy::canonical_name;
use std::net::IpAddr;
use std::sync::Arc;

/// What is worth keeping of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerMemory {
    /// Its CES id.
    pub ces_id: Arc<str>,
    /// The tunnel ids that it told, in the order of [`Encapsulation::ALL`].
    pub tunnel_ids: [Option<u32>; Encapsulation::ALL.len()],
    /// Where it can be reached.
    pub endpoints: Vec<Endpoint>,
}

impl Engine {
    /// Draws the tunnel ids that another engine under this key drew: for one that goes on where that one ended.
    pub fn draw_tunnel_ids_by(&mut self, key: [u64; 2]) {
        self.tunnel_key = Keyed::of(key);
    }

    /// What is worth keeping of a peer.
    pub fn peer_memory(&self, ces_id: &str) -> Option<PeerMemory> {
        let peer = self.peers.get(self.peer_ids.get(ces_id)?)?;
        let (tunnel_ids, endpoints) = (peer.tunnel_ids, peer.endpoints.clone());
        Some(PeerMemory { ces_id: Arc::clone(&peer.ces_id), tunnel_ids, endpoints })
    }

    /// Knows a peer again. False if there is no room.
    pub fn adopt_peer(&mut self, memory: PeerMemory) -> bool {
        let Some(peer) = self.peer(&memory.ces_id) else { return false };
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.tunnel_ids = memory.tunnel_ids;
            entry.endpoints = memory.endpoints;
        }
        true
    }

    /// Takes a session over. False if there is no room, or one for the same names or of the same tag.
    pub fn adopt(&mut self, session: H2hSession, now: Nanos) -> bool {
        let has_room = self.table.len() < self.settings.limits.sessions as usize;
        let Some(peer) = self.peer(&session.ces_id).filter(|_| has_room) else { return false };
        let tag = session.local_tag;
        let adopted = Session { session, peer, epoch: 0 };
        if self.table.is_taken(tag) || self.table.of(&adopted.pair()).is_some() {
            return false;
        }
        self.table.insert(adopted);
        self.plan_revival(peer, now);
        true
    }

    /// Tells a peer, when it is up, that a session with these tags, ours first, is no more.
    pub fn tell_ended(&mut self, ces_id: &Arc<str>, tags: (u32, u32)) {
        if let Some(peer) = self.peer(ces_id) {
            self.owe_end(peer, tags);
        }
    }

    /// Refuses an address as the last engine did.
    pub fn adopt_block(&mut self, addr: IpAddr, why: BlockReason, until: Nanos, now: Nanos) {
        self.blocked.insert(addr, why, until, now);
    }

    /// Refuses a name as the last engine did.
    pub fn adopt_filter(
        &mut self,
        name: &str,
        local: bool,
        ces_id: Option<Arc<str>>,
        until: Nanos,
        now: Nanos,
    ) {
        let key = FilterKey { name: canonical_name(name).into(), local, ces_id };
        self.filters.insert(key, (), until, now);
    }

    /// Closes everything without ending a session: another engine goes on with them.
    pub fn leave(&mut self, realm: &mut dyn Realm, now: Nanos) {
        let mut ids: Vec<u64> = self.negotiations.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            self.finish(realm, NegotiationId(id), Err(Failure::Cancelled), now);
        }
        let mut peers: Vec<PeerId> = self.peers.keys().copied().collect();
        peers.sort_unstable();
        for peer in peers {
            // Nobody is sought any more.
            if let Some(entry) = self.peers.get_mut(&peer) {
                entry.endpoints.clear();
            }
        }
        self.close_all(realm, now);
        self.settle(realm, now);
    }
}
