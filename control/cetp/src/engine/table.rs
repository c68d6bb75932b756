//! Which pairs of names have what: a session, a negotiation, a tag that is set aside for one.
//!
//! Pairs, tags, sessions and what belongs to each peer must agree; they do because nobody else writes them.

use super::api::{H2hSession, NegotiationId, Role};
use crate::keyed::Keyed;
use rustc_hash::{FxHashMap, FxHashSet};
use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A peer's number; never used again.
pub(super) type PeerId = u32;

/// What a session or negotiation is found by: the peer, which end we are, and both names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) peer: PeerId,
    pub(super) role: Role,
    pub(super) source: Arc<str>,
    pub(super) destination: Arc<str>,
}

/// The same by reference, so that a lookup makes no copy of the names.
pub(super) trait PairRef {
    fn parts(&self) -> (PeerId, Role, &str, &str);
}

impl PairRef for Pair {
    fn parts(&self) -> (PeerId, Role, &str, &str) {
        (self.peer, self.role, &self.source, &self.destination)
    }
}

impl PairRef for (PeerId, Role, &str, &str) {
    fn parts(&self) -> (PeerId, Role, &str, &str) {
        *self
    }
}

impl Hash for dyn PairRef + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl PartialEq for dyn PairRef + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn PairRef + '_ {}

impl Hash for Pair {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl<'a> Borrow<dyn PairRef + 'a> for Pair {
    fn borrow(&self) -> &(dyn PairRef + 'a) {
        self
    }
}

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) session: H2hSession,
    pub(super) peer: PeerId,
    /// The C2C that it was made under: see `Peer::epoch`.
    pub(super) epoch: u32,
}

impl Session {
    pub(super) fn pair(&self) -> Pair {
        let session = &self.session;
        let (source, destination) = match session.role {
            Role::Initiator => (&session.local_fqdn, &session.remote_fqdn),
            Role::Responder => (&session.remote_fqdn, &session.local_fqdn),
        };
        Pair { peer: self.peer, role: session.role, source: source.clone(), destination: destination.clone() }
    }
}

/// What a pair has; never nothing.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// A session, by our tag.
    session: Option<u32>,
    /// A negotiation of ours; beside a session only when that one has to be made anew.
    negotiation: Option<NegotiationId>,
}

/// All pairs, sessions and tags.
#[derive(Debug)]
pub(super) struct Table {
    pairs: HashMap<Pair, State, Keyed>,
    sessions: FxHashMap<u32, Session>,
    of_peer: FxHashMap<PeerId, FxHashSet<u32>>,
    /// Negotiations by the tag that was set aside for them.
    aside: FxHashMap<u32, NegotiationId>,
}

impl Table {
    pub(super) fn new(key: Keyed) -> Self {
        Self {
            pairs: HashMap::with_hasher(key),
            sessions: FxHashMap::default(),
            of_peer: FxHashMap::default(),
            aside: FxHashMap::default(),
        }
    }

    // --- sessions

    /// A session by our tag.
    pub(super) fn get(&self, tag: u32) -> Option<&Session> {
        self.sessions.get(&tag)
    }

    /// The session of a pair.
    pub(super) fn of<'p>(&self, pair: &(dyn PairRef + 'p)) -> Option<&Session> {
        self.sessions.get(&self.pairs.get(pair)?.session?)
    }

    /// All sessions.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.sessions.values()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// How many sessions a peer has.
    pub(super) fn count_of(&self, peer: PeerId) -> usize {
        self.of_peer.get(&peer).map_or(0, FxHashSet::len)
    }

    /// Our tags of a peer's sessions.
    pub(super) fn tags_of(&self, peer: PeerId) -> Vec<u32> {
        self.of_peer.get(&peer).into_iter().flatten().copied().collect()
    }

    /// Our tags of all sessions.
    pub(super) fn tags(&self) -> Vec<u32> {
        self.sessions.keys().copied().collect()
    }

    /// Whether a tag names a session, or is set aside for one.
    pub(super) fn is_taken(&self, tag: u32) -> bool {
        self.sessions.contains_key(&tag) || self.aside.contains_key(&tag)
    }

    /// Puts a session in, the only one of its pair from here on. The one that was there before has to be taken out first.
    pub(super) fn insert(&mut self, session: Session) {
        let tag = session.session.local_tag;
        let state = self.pairs.entry(session.pair()).or_default();
        debug_assert!(state.session.is_none(), "one session for each pair");
        state.session = Some(tag);
        self.of_peer.entry(session.peer).or_default().insert(tag);
        self.sessions.insert(tag, session);
    }

    /// Takes a session out.
    pub(super) fn remove(&mut self, tag: u32) -> Option<Session> {
        let session = self.sessions.remove(&tag)?;
        if let Some(tags) = self.of_peer.get_mut(&session.peer) {
            tags.remove(&tag);
            if tags.is_empty() {
                self.of_peer.remove(&session.peer);
            }
        }
        self.change(&session.pair(), |state| state.session = None);
        Some(session)
    }

    // --- negotiations of ours

    /// The negotiation of a pair.
    pub(super) fn negotiation<'p>(&self, pair: &(dyn PairRef + 'p)) -> Option<NegotiationId> {
        self.pairs.get(pair)?.negotiation
    }

    /// A pair is negotiated.
    pub(super) fn begin(&mut self, pair: Pair, id: NegotiationId) {
        self.pairs.entry(pair).or_default().negotiation = Some(id);
    }

    /// A pair's negotiation is over.
    pub(super) fn end(&mut self, pair: &Pair) {
        self.change(pair, |state| state.negotiation = None);
    }

    /// The negotiation that a tag is set aside for.
    pub(super) fn waiting_for(&self, tag: u32) -> Option<NegotiationId> {
        self.aside.get(&tag).copied()
    }

    /// Sets a tag aside for a negotiation.
    pub(super) fn set_aside(&mut self, tag: u32, id: NegotiationId) {
        self.aside.insert(tag, id);
    }

    /// A tag is set aside no longer: it has become a session's, or goes back to its owner.
    pub(super) fn give_back(&mut self, tag: u32) {
        self.aside.remove(&tag);
    }

    /// Changes what a pair has; one that has nothing is forgotten.
    fn change(&mut self, pair: &Pair, change: impl FnOnce(&mut State)) {
        let Some(state) = self.pairs.get_mut(pair as &dyn PairRef) else { return };
        change(state);
        if state.session.is_none() && state.negotiation.is_none() {
            self.pairs.remove(pair as &dyn PairRef);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::api::{Carry, Encapsulation, LocatorAddress, TunnelChoice};
    use super::*;
    use rand::SeedableRng;

    fn table() -> Table {
        Table::new(Keyed::draw(&mut rand::rngs::StdRng::from_seed([0; 32])))
    }

    fn session(tag: u32, peer: PeerId, role: Role) -> Session {
        let here = LocatorAddress::Mac([2; 6]);
        let tunnel = TunnelChoice {
            encapsulation: Encapsulation::Vxlan,
            local: here,
            remote: here,
            id_in: 1,
            id_out: 2,
        };
        let session = H2hSession {
            local_tag: tag,
            remote_tag: 9,
            local_fqdn: "a.".into(),
            remote_fqdn: "b.".into(),
            ces_id: "c.".into(),
            proxy: [10, 64, 0, 1].into(),
            tunnel,
            hard_ttl_s: 1,
            idle_ttl_s: None,
            carry: Carry::default(),
            role,
            peer_until: 0,
        };
        Session { session, peer, epoch: 0 }
    }

    #[test]
    fn the_two_directions_of_two_names_are_two_pairs() {
        let mut table = table();
        table.insert(session(1, 7, Role::Initiator));
        table.insert(session(2, 7, Role::Responder));
        let tag = |role, source, destination| {
            let key: &dyn PairRef = &(7, role, source, destination);
            table.of(key).map(|session| session.session.local_tag)
        };
        assert_eq!(tag(Role::Initiator, "a.", "b."), Some(1));
        assert_eq!(tag(Role::Responder, "b.", "a."), Some(2));
        assert_eq!(tag(Role::Initiator, "b.", "a."), None);
        assert_eq!((table.count_of(7), table.count_of(8), table.len()), (2, 0, 2));
    }

    #[test]
    fn what_a_pair_no_longer_has_is_forgotten_everywhere() {
        let mut table = table();
        let pair = session(1, 7, Role::Initiator).pair();
        table.begin(pair.clone(), NegotiationId(3));
        table.set_aside(1, NegotiationId(3));
        assert!(table.is_taken(1) && table.waiting_for(1) == Some(NegotiationId(3)));
        table.insert(session(1, 7, Role::Initiator));
        table.give_back(1);
        table.end(&pair);
        assert!(table.negotiation(&pair).is_none() && table.of(&pair).is_some() && table.is_taken(1));
        assert_eq!(table.remove(1).unwrap().pair(), pair);
        assert!(table.remove(1).is_none() && !table.is_taken(1) && table.tags_of(7).is_empty());
        assert!(table.pairs.is_empty() && table.of_peer.is_empty() && table.aside.is_empty());
    }
}
