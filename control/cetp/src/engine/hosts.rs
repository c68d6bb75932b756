//! Which pairs of names have what: a session, a negotiation of ours, a tag that is set aside for one.
//!
//! Pairs, tags, sessions, negotiations and what belongs to each peer must agree; they do because nobody else writes them.

use super::api::{ConnId, Endpoint, H2hSession, Nanos, NegotiationId, PeerId, Role, SetAside};
use super::batches::{Batches, Cause, Step};
use super::ended::Ended;
use super::pair::{Pair, PairRef};
use super::reason::Failure;
use crate::keyed::Keyed;
use crate::parts::PartedMap;
use crate::policy::Policy;
use rustc_hash::{FxHashMap, FxHashSet, FxHasher};
use std::collections::VecDeque;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) session: H2hSession,
    pub(super) peer: PeerId,
    /// The C2C that it was made under: see `Peer::epoch`.
    pub(super) epoch: u32,
    /// With which of the peer's it ends.
    batch: u32,
    /// The peer has named it as one that has ended.
    is_named: bool,
}

impl Session {
    pub(super) const fn new(session: H2hSession, peer: PeerId, epoch: u32) -> Self {
        Self { session, peer, epoch, batch: 0, is_named: false }
    }

    pub(super) fn pair(&self) -> Pair {
        let session = &self.session;
        let (source, destination) = match session.role {
            Role::Initiator => (&session.local_fqdn, &session.remote_fqdn),
            Role::Responder => (&session.remote_fqdn, &session.local_fqdn),
        };
        Pair { peer: self.peer, role: session.role, source: source.clone(), destination: destination.clone() }
    }
}

/// A negotiation of ours.
#[derive(Debug)]
pub(super) struct Negotiation {
    pub(super) pair: Pair,
    pub(super) policy: Arc<Policy>,
    /// Where the name says that its gateway is.
    pub(super) endpoints: Vec<Endpoint>,
    /// Set aside when the first message is sent. Until then it waits for C2C.
    pub(super) reservation: Option<SetAside>,
    /// Where it runs.
    pub(super) conn: Option<ConnId>,
    pub(super) round: u8,
    pub(super) asked: Nanos,
    deadline: Nanos,
    /// Whether it has been through the loss of all connections.
    resumed: bool,
    /// Whether it has been asked again after a refusal.
    repeated: bool,
}

/// What is due about a negotiation because of what became of its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// It waited for C2C, which stands.
    Start,
    /// It waits for C2C, which is not to be.
    Fail(Failure),
    /// The connection is lost on which it ran.
    Resume,
}

/// What a pair has; never nothing.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// A session, by our tag.
    session: Option<u32>,
    /// A negotiation of ours; beside a session only when that one has to be made anew.
    negotiation: Option<NegotiationId>,
}

/// What belongs to a peer; never nothing.
#[derive(Debug, Default)]
struct Share {
    /// Sessions, by our tag; without those that are to end.
    sessions: FxHashSet<u32>,
    batches: Batches,
    negotiations: FxHashSet<NegotiationId>,
}

/// All pairs, tags, sessions and negotiations.
#[derive(Debug)]
pub(super) struct Hosts {
    pairs: PartedMap<Pair, State, Keyed>,
    sessions: PartedMap<u32, Session, BuildHasherDefault<FxHasher>>,
    negotiations: FxHashMap<NegotiationId, Negotiation>,
    last: u64,
    of_peer: FxHashMap<PeerId, Share>,
    /// Negotiations by the tag that was set aside for them.
    aside: FxHashMap<u32, NegotiationId>,
    /// Peers with sessions that are to end.
    ending: VecDeque<PeerId>,
    /// Sessions that their peers have named as ended, by our tag: each is to end, unless it has meanwhile.
    named: VecDeque<u32>,
    /// Negotiations that go on or end with what became of their peers.
    due: VecDeque<(NegotiationId, Due)>,
    /// Peers whose sessions are to be looked at, and what is left of one's.
    looked_through: VecDeque<PeerId>,
    looks: std::vec::IntoIter<u32>,
    has_begun: bool,
    ended: Ended,
}

impl Hosts {
    pub(super) fn new(key: Keyed) -> Self {
        Self {
            ended: Ended::new(key),
            pairs: PartedMap::new(&key),
            sessions: PartedMap::new(&BuildHasherDefault::default()),
            negotiations: FxHashMap::default(),
            last: 0,
            of_peer: FxHashMap::default(),
            aside: FxHashMap::default(),
            ending: VecDeque::new(),
            named: VecDeque::new(),
            due: VecDeque::new(),
            looked_through: VecDeque::new(),
            looks: Vec::new().into_iter(),
            has_begun: false,
        }
    }

    // --- of a peer

    /// How many sessions a peer has that are not to end.
    pub(super) fn count_of(&self, peer: PeerId) -> usize {
        self.of_peer.get(&peer).map_or(0, |share| share.sessions.len())
    }

    /// How many negotiations with a peer are under way.
    pub(super) fn pending_of(&self, peer: PeerId) -> usize {
        self.of_peer.get(&peer).map_or(0, |share| share.negotiations.len())
    }

    /// Whether a peer has a session or a negotiation.
    pub(super) fn use_peer(&self, peer: PeerId) -> bool {
        self.of_peer.contains_key(&peer)
    }

    /// Our tags of a peer's sessions, without those that are to end.
    pub(super) fn tags_of(&self, peer: PeerId) -> impl Iterator<Item = u32> + '_ {
        self.of_peer.get(&peer).into_iter().flat_map(|share| &share.sessions).copied()
    }

    /// All peers with sessions or negotiations.
    pub(super) fn peers(&self) -> Vec<PeerId> {
        self.of_peer.keys().copied().collect()
    }

    /// The negotiations with a peer that are so, the first one first.
    fn negotiations_of(&self, peer: PeerId, wanted: impl Fn(&Negotiation) -> bool) -> Vec<NegotiationId> {
        let all = self.of_peer.get(&peer).into_iter().flat_map(|share| &share.negotiations).copied();
        let mut found: Vec<_> = all.filter(|id| self.negotiations.get(id).is_some_and(&wanted)).collect();
        found.sort_unstable();
        found
    }

    /// Negotiations that wait for C2C with a peer.
    pub(super) fn waiting_of(&self, peer: PeerId) -> Vec<NegotiationId> {
        self.negotiations_of(peer, |entry| entry.reservation.is_none())
    }

    /// Negotiations that run on a connection of a peer's, or on any.
    pub(super) fn running_of(&self, peer: PeerId, conn: Option<ConnId>) -> Vec<NegotiationId> {
        self.negotiations_of(peer, |entry| {
            entry.reservation.is_some() && (conn.is_none() || entry.conn == conn)
        })
    }

    /// There is something to be gone on with.
    pub(super) const fn has_more(&mut self) {
        self.has_begun = true;
    }

    /// This is due about each of these.
    pub(super) fn owe(&mut self, ids: Vec<NegotiationId>, due: Due) {
        self.has_begun |= !ids.is_empty();
        self.due.extend(ids.into_iter().map(|id| (id, due)));
    }

    /// What is due next, where that is still so.
    pub(super) fn next_due(&mut self) -> Option<(NegotiationId, Due)> {
        loop {
            let (id, due) = self.due.pop_front()?;
            let waits = self.negotiations.get(&id).map(|entry| entry.reservation.is_none());
            if waits == Some(due != Due::Resume) {
                return Some((id, due));
            }
        }
    }

    /// Whether anything is due.
    pub(super) fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    fn share(&mut self, peer: PeerId, change: impl FnOnce(&mut Share)) {
        let share = self.of_peer.entry(peer).or_default();
        change(share);
        if share.sessions.is_empty() && share.negotiations.is_empty() && share.batches.is_empty() {
            self.of_peer.remove(&peer);
        }
    }

    // --- what is to end

    /// All sessions that a peer has are to end.
    pub(super) fn end_all(&mut self, peer: PeerId, cause: Cause) {
        let share = self.of_peer.entry(peer).or_default();
        let tags = std::mem::take(&mut share.sessions);
        if share.batches.is_empty() {
            self.ending.push_back(peer);
        }
        share.batches.end(cause, tags);
        self.has_begun = true;
    }

    /// Whether anything is to end, or to be looked at, since this was asked last.
    pub(super) const fn take_begun(&mut self) -> bool {
        std::mem::replace(&mut self.has_begun, false)
    }

    /// A peer names a session, by both tags, as one that has ended: it is to end here.
    pub(super) fn end_named(&mut self, peer: PeerId, (tag, remote_tag): (u32, u32)) {
        let Some(session) = self.sessions.get_mut(&tag) else { return };
        let is_it = (session.peer, session.session.remote_tag) == (peer, remote_tag);
        if is_it && !std::mem::replace(&mut session.is_named, true) {
            self.named.push_back(tag);
            self.has_begun = true;
        }
    }

    /// The next one that was named so.
    pub(super) fn next_named(&mut self) -> Option<u32> {
        loop {
            let tag = self.named.pop_front()?;
            if self.sessions.get(&tag).is_some_and(|session| session.is_named) {
                return Some(tag);
            }
        }
    }

    /// Whether anything is to end.
    pub(super) fn is_ending(&self) -> bool {
        !self.ending.is_empty() || !self.named.is_empty()
    }

    /// All sessions that a peer has now are to be looked at.
    pub(super) fn look_through(&mut self, peer: PeerId) {
        if !self.looked_through.contains(&peer) {
            self.looked_through.push_back(peer);
            self.has_begun = true;
        }
    }

    /// Whether any is.
    pub(super) fn has_looks(&self) -> bool {
        self.looks.len() > 0 || !self.looked_through.is_empty()
    }

    /// The next one to look at.
    pub(super) fn next_look(&mut self) -> Option<u32> {
        loop {
            if let Some(tag) = self.looks.next() {
                return Some(tag);
            }
            let peer = self.looked_through.pop_front()?;
            self.looks = self.tags_of(peer).collect::<Vec<_>>().into_iter();
        }
    }

    /// What is to be done next about what is to end, and with which peer.
    pub(super) fn next_end(&mut self) -> Option<(PeerId, Step)> {
        let peer = *self.ending.front()?;
        let mut next = None;
        let mut is_over = true;
        self.share(peer, |share| {
            next = share.batches.next();
            is_over = share.batches.is_empty();
        });
        if is_over {
            self.ending.pop_front();
        }
        next.map(|step| (peer, step))
    }

    /// Whether a tag is still that of a session of a batch: it may have ended by itself, and its tag be another's.
    pub(super) fn is_of(&self, tag: u32, peer: PeerId, batch: u32) -> bool {
        self.sessions.get(&tag).is_some_and(|entry| (entry.peer, entry.batch) == (peer, batch))
    }

    /// How a session is to end; `None` if it is not to.
    pub(super) fn ending(&self, tag: u32) -> Option<Cause> {
        let session = self.sessions.get(&tag)?;
        let in_batch = self.of_peer.get(&session.peer)?.batches.cause(session.batch);
        if session.is_named { Some(Cause::ByPeer) } else { in_batch }
    }

    // --- sessions

    /// A session by our tag.
    pub(super) fn get(&self, tag: u32) -> Option<&Session> {
        self.sessions.get(&tag)
    }

    /// The session of a pair, whether or not it is to end.
    pub(super) fn of<'p>(&self, pair: &(dyn PairRef + 'p)) -> Option<&Session> {
        self.sessions.get(&self.pairs.get(pair)?.session?)
    }

    /// What stands for a pair: its session, whether or not C2C with the peer does.
    pub(super) fn kept(&self, pair: &Pair) -> Option<SetAside> {
        let session = &self.of(pair)?.session;
        if self.ending(session.local_tag).is_some() {
            return None;
        }
        Some(SetAside { tag: session.local_tag, proxy: session.proxy })
    }

    /// All sessions.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.sessions.iter().map(|(_, session)| session)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Our tags of all sessions.
    pub(super) fn tags(&self) -> Vec<u32> {
        self.sessions.iter().map(|(tag, _)| *tag).collect()
    }

    /// Whether a tag names a session, or is set aside for one.
    pub(super) fn is_taken(&self, tag: u32) -> bool {
        self.sessions.get(&tag).is_some() || self.aside.contains_key(&tag)
    }

    /// Puts a session in, the only one of its pair from here on. The one that was there before has to be taken out first.
    pub(super) fn insert(&mut self, mut session: Session) {
        let tag = session.session.local_tag;
        let state = self.pairs.or_default(session.pair());
        debug_assert!(state.session.is_none(), "one session for each pair");
        state.session = Some(tag);
        self.share(session.peer, |share| {
            share.sessions.insert(tag);
            session.batch = share.batches.living();
        });
        self.sessions.insert(tag, session);
    }

    /// Takes a session out.
    pub(super) fn remove(&mut self, tag: u32) -> Option<Session> {
        let session = self.sessions.remove(&tag)?;
        self.share(session.peer, |share| {
            share.sessions.remove(&tag);
        });
        self.change(&session.pair(), |state| state.session = None);
        self.ended.keep(session.pair(), (tag, session.session.remote_tag));
        Some(session)
    }

    /// Tags of sessions of two names that have ended here and that the peer may still have: each is told once.
    pub(super) fn take_ended(&mut self, pair: &Pair) -> Vec<(u32, u32)> {
        // cetp.md: one session for a pair of names, whoever asked for it.
        let Pair { peer, source, destination, .. } = pair;
        let (source, destination) = (destination.clone(), source.clone());
        let role = match pair.role {
            Role::Initiator => Role::Responder,
            Role::Responder => Role::Initiator,
        };
        let other = Pair { peer: *peer, role, source, destination };
        [self.ended.take(pair), self.ended.take(&other)].into_iter().flatten().collect()
    }

    /// The peer asks for a pair anew that has a session: if it does so again, that one is not current any more.
    pub(super) fn doubt(&mut self, tag: u32) {
        if let Some(session) = self.sessions.get_mut(&tag) {
            session.epoch = session.epoch.wrapping_sub(1);
        }
    }

    // --- negotiations of ours

    pub(super) fn negotiation(&self, id: NegotiationId) -> Option<&Negotiation> {
        self.negotiations.get(&id)
    }

    /// The negotiation of a pair.
    pub(super) fn negotiation_of<'p>(&self, pair: &(dyn PairRef + 'p)) -> Option<NegotiationId> {
        self.pairs.get(pair)?.negotiation
    }

    /// The negotiation that a tag is set aside for.
    pub(super) fn waiting_for(&self, tag: u32) -> Option<NegotiationId> {
        self.aside.get(&tag).copied()
    }

    /// How many are under way.
    pub(super) fn pending(&self) -> usize {
        self.negotiations.len()
    }

    /// All, the first one first.
    pub(super) fn all_pending(&self) -> Vec<NegotiationId> {
        let mut ids: Vec<NegotiationId> = self.negotiations.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// A number for a negotiation; never used again.
    pub(super) const fn draw(&mut self) -> NegotiationId {
        self.last += 1;
        NegotiationId(self.last)
    }

    /// A pair is negotiated.
    pub(super) fn begin(
        &mut self,
        pair: Pair,
        policy: Arc<Policy>,
        endpoints: Vec<Endpoint>,
        now: Nanos,
    ) -> NegotiationId {
        let id = self.draw();
        self.pairs.or_default(pair.clone()).negotiation = Some(id);
        self.share(pair.peer, |share| {
            share.negotiations.insert(id);
        });
        let negotiation = Negotiation {
            pair,
            policy,
            endpoints,
            reservation: None,
            conn: None,
            round: 1,
            asked: now,
            deadline: Nanos::MAX,
            resumed: false,
            repeated: false,
        };
        self.negotiations.insert(id, negotiation);
        id
    }

    /// A negotiation waits for C2C, and not for longer than that.
    pub(super) fn wait(&mut self, id: NegotiationId, deadline: Nanos) {
        if let Some(entry) = self.negotiations.get_mut(&id) {
            entry.deadline = deadline;
        }
    }

    /// Sets a tag aside for a negotiation, which is to be over by then.
    pub(super) fn set_aside(&mut self, id: NegotiationId, reservation: SetAside, deadline: Nanos) {
        let Some(entry) = self.negotiations.get_mut(&id) else { return };
        (entry.reservation, entry.deadline) = (Some(reservation), deadline);
        self.aside.insert(reservation.tag, id);
    }

    /// Gives back what was set aside for a negotiation: it waits for C2C again.
    pub(super) fn give_back(&mut self, id: NegotiationId) -> Option<SetAside> {
        let entry = self.negotiations.get_mut(&id)?;
        (entry.conn, entry.deadline) = (None, Nanos::MAX);
        let reservation = entry.reservation.take()?;
        self.aside.remove(&reservation.tag);
        Some(reservation)
    }

    /// A negotiation goes on on a connection.
    pub(super) fn run_on(&mut self, id: NegotiationId, conn: ConnId, round: u8) {
        if let Some(entry) = self.negotiations.get_mut(&id) {
            (entry.conn, entry.round) = (Some(conn), round);
        }
    }

    /// A negotiation goes through the loss of all connections; whether it has been through one before.
    pub(super) fn has_resumed(&mut self, id: NegotiationId) -> bool {
        self.negotiations.get_mut(&id).is_some_and(|entry| std::mem::replace(&mut entry.resumed, true))
    }

    /// A negotiation is asked again after a refusal; whether it has been before.
    pub(super) fn has_repeated(&mut self, id: NegotiationId) -> bool {
        self.negotiations.get_mut(&id).is_some_and(|entry| std::mem::replace(&mut entry.repeated, true))
    }

    pub(super) fn is_due(&self, id: NegotiationId, at: Nanos) -> bool {
        self.negotiations.get(&id).is_some_and(|entry| entry.deadline == at)
    }

    /// A negotiation is over. What was set aside for it has become a session's, or was given back before.
    pub(super) fn end(&mut self, id: NegotiationId) -> Option<Negotiation> {
        let entry = self.negotiations.remove(&id)?;
        if let Some(reservation) = entry.reservation {
            self.aside.remove(&reservation.tag);
        }
        self.share(entry.pair.peer, |share| {
            share.negotiations.remove(&id);
        });
        self.change(&entry.pair, |state| state.negotiation = None);
        Some(entry)
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

    fn hosts() -> Hosts {
        Hosts::new(Keyed::draw(&mut rand::rngs::StdRng::from_seed([0; 32])))
    }

    fn session(tag: u32, peer: PeerId, role: Role) -> Session {
        let here = LocatorAddress::Mac([2; 6]);
        let tunnel = TunnelChoice {
            encapsulation: Encapsulation::Vxlan,
            local: here,
            remote: here,
            id_in: 1,
            id_out: 2,
            sealed: false,
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
        Session::new(session, peer, 0)
    }

    #[test]
    fn the_two_directions_of_two_names_are_two_pairs() {
        let mut hosts = hosts();
        hosts.insert(session(1, 7, Role::Initiator));
        hosts.insert(session(2, 7, Role::Responder));
        let tag = |role, source, destination| {
            let key: &dyn PairRef = &(7, role, source, destination);
            hosts.of(key).map(|session| session.session.local_tag)
        };
        assert_eq!(tag(Role::Initiator, "a.", "b."), Some(1));
        assert_eq!(tag(Role::Responder, "b.", "a."), Some(2));
        assert_eq!(tag(Role::Initiator, "b.", "a."), None);
        assert_eq!((hosts.count_of(7), hosts.count_of(8), hosts.len()), (2, 0, 2));
    }

    #[test]
    fn what_a_pair_no_longer_has_is_forgotten_everywhere() {
        let mut hosts = hosts();
        let pair = session(1, 7, Role::Initiator).pair();
        let id = hosts.begin(pair.clone(), Arc::default(), Vec::new(), 0);
        assert_eq!((hosts.waiting_of(7), hosts.running_of(7, None)), (vec![id], vec![]));
        let reservation = SetAside { tag: 1, proxy: [10, 64, 0, 1].into() };
        hosts.set_aside(id, reservation, 5);
        assert!(hosts.is_taken(1) && hosts.waiting_for(1) == Some(id) && hosts.is_due(id, 5));
        assert_eq!(hosts.give_back(id), Some(reservation));
        assert!(!hosts.is_taken(1) && hosts.give_back(id).is_none() && !hosts.is_due(id, 5));
        hosts.set_aside(id, reservation, 6);
        assert_eq!((hosts.waiting_of(7), hosts.running_of(7, None)), (vec![], vec![id]));
        hosts.insert(session(1, 7, Role::Initiator));
        assert!(hosts.end(id).is_some() && hosts.end(id).is_none());
        assert!(hosts.negotiation_of(&pair).is_none() && hosts.of(&pair).is_some() && hosts.is_taken(1));
        assert_eq!(hosts.remove(1).unwrap().pair(), pair);
        assert!(hosts.remove(1).is_none() && !hosts.is_taken(1) && !hosts.use_peer(7));
        assert!(hosts.pairs.len() == 0 && hosts.of_peer.is_empty() && hosts.aside.is_empty());
    }
}
