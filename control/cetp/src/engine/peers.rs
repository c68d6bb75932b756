//! All peer gateways, by number and by name.

use super::api::PeerId;
use super::peer::Peer;
use crate::keyed::Keyed;
use rustc_hash::FxHashMap;
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Peers {
    peers: FxHashMap<PeerId, Peer>,
    ids: HashMap<Arc<str>, PeerId, Keyed>,
    last: PeerId,
    /// Those that made room for others, and had keys.
    gone: Vec<Arc<str>>,
}

impl Peers {
    pub(super) fn new(key: Keyed) -> Self {
        Self { peers: FxHashMap::default(), ids: HashMap::with_hasher(key), last: 0, gone: Vec::new() }
    }

    pub(super) fn get(&self, id: PeerId) -> Option<&Peer> {
        self.peers.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        self.peers.get_mut(&id)
    }

    /// The peer of a name in its one form.
    pub(super) fn find(&self, ces_id: &str) -> Option<PeerId> {
        self.ids.get(ces_id).copied()
    }

    /// A peer's name.
    pub(super) fn name(&self, id: PeerId) -> Option<Arc<str>> {
        self.get(id).map(|peer| peer.ces_id().clone())
    }

    /// All, in the order in which they were made.
    pub(super) fn all(&self) -> Vec<PeerId> {
        let mut ids: Vec<PeerId> = self.peers.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PeerId, &Peer)> {
        self.peers.iter().map(|(id, peer)| (*id, peer))
    }

    /// One that made room for another, and had keys.
    pub(super) fn take_gone(&mut self) -> Option<Arc<str>> {
        self.gone.pop()
    }

    /// The peer of that name, made if there is room or another one that is idle.
    pub(super) fn make(
        &mut self,
        ces_id: &Arc<str>,
        limit: u32,
        is_idle: impl Fn(PeerId, &Peer) -> bool,
    ) -> Option<PeerId> {
        if let Some(id) = self.find(ces_id) {
            return Some(id);
        }
        if self.peers.len() >= limit as usize {
            let idle = self.iter().find(|(id, peer)| is_idle(*id, peer)).map(|(id, _)| id)?;
            if let Some(peer) = self.peers.remove(&idle) {
                self.ids.remove(peer.ces_id());
                self.gone.extend(peer.sealing().map(|_| peer.ces_id().clone()));
            }
        }
        self.last = self.last.wrapping_add(1);
        self.peers.insert(self.last, Peer::new(ces_id.clone()));
        self.ids.insert(ces_id.clone(), self.last);
        Some(self.last)
    }
}
