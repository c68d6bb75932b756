//! Sessions of two hosts, from both sides' agreement to their end.

use super::peers::PeerId;
use super::{DownReason, Engine, H2hSession, Nanos, NegotiationId, Output, Reservation, Role};
use crate::h2h::Terms;
use crate::limits::S;
use crate::message::Writer;
use crate::tlv::Layer;
use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Sessions of one peer that ended while it was away, and that it is told of when it is back, at most.
const MAX_OWED: usize = 1_024;

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

/// What a pair has.
#[derive(Clone, Copy, Debug)]
pub(super) struct PairState {
    /// A session, by our tag.
    pub(super) session: Option<u32>,
    /// A negotiation of ours; beside a session only when that one has to be made anew.
    pub(super) negotiation: Option<NegotiationId>,
}

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) session: H2hSession,
    pub(super) peer: PeerId,
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

impl Engine {
    pub(super) fn has_session_room(&self, peer: PeerId) -> bool {
        let limit = self
            .peers
            .get(&peer)
            .and_then(|peer| Some((peer.c2c.as_ref()?.session_limit, peer.sessions.len())));
        limit.is_some_and(|(limit, sessions)| sessions < limit as usize)
            && self.sessions.len() < self.settings.limits.sessions as usize
    }

    /// What stands for a pair: its session, whether or not C2C with the peer does.
    pub(super) fn session_of(&self, pair: &Pair) -> Option<Reservation> {
        let tag = self.pairs.get(pair as &dyn PairRef)?.session?;
        Some(Reservation { tag, proxy: self.sessions.get(&tag)?.session.proxy })
    }

    /// Puts a session up, in the place of an older one for the same pair. False if the peer is not up.
    pub(super) fn session_up(
        &mut self,
        pair: &Pair,
        reservation: Reservation,
        remote_tag: u32,
        terms: &Terms,
        now: Nanos,
    ) -> bool {
        let Some(peer) = self.peers.get(&pair.peer) else { return false };
        let Some(c2c) = &peer.c2c else { return false };
        let (local, remote, tunnel) = match pair.role {
            Role::Initiator => (&pair.source, &pair.destination, &c2c.tunnel_out),
            Role::Responder => (&pair.destination, &pair.source, &c2c.tunnel_in),
        };
        let lifetime = if terms.peer_told_ttl { terms.hard_ttl_s } else { self.settings.limits.dp_ttl_max_s };
        let session = H2hSession {
            local_tag: reservation.tag,
            remote_tag,
            local_fqdn: local.clone(),
            remote_fqdn: remote.clone(),
            ces_id: peer.ces_id.clone(),
            proxy: reservation.proxy,
            tunnel: tunnel.clone(),
            hard_ttl_s: terms.hard_ttl_s,
            idle_ttl_s: terms.idle_ttl_s,
            carry: terms.carry,
            role: pair.role,
            peer_until: now + u64::from(lifetime) * S,
        };
        let epoch = peer.epoch;
        let old = self.pairs.get(pair as &dyn PairRef).and_then(|state| state.session);
        if let Some(old) = old {
            self.session_down(old, DownReason::Replaced);
        }
        let state = self.pairs.entry(pair.clone()).or_insert(PairState { session: None, negotiation: None });
        state.session = Some(reservation.tag);
        if let Some(peer) = self.peers.get_mut(&pair.peer) {
            peer.sessions.insert(reservation.tag);
        }
        self.outputs.push_back(Output::H2hUp { session: session.clone() });
        self.sessions.insert(reservation.tag, Session { session, peer: pair.peer, epoch });
        true
    }

    pub(super) fn remove_session(&mut self, tag: u32) -> Option<Session> {
        let session = self.sessions.remove(&tag)?;
        if let Some(peer) = self.peers.get_mut(&session.peer) {
            peer.sessions.remove(&tag);
        }
        let pair = session.pair();
        if let Some(state) = self.pairs.get_mut(&pair as &dyn PairRef)
            && state.session == Some(tag)
        {
            state.session = None;
            if state.negotiation.is_none() {
                self.pairs.remove(&pair as &dyn PairRef);
            }
        }
        Some(session)
    }

    /// Ends a session at our side.
    pub(super) fn session_down(&mut self, tag: u32, why: DownReason) -> Option<Session> {
        let session = self.remove_session(tag)?;
        self.counters.sessions_ended += 1;
        self.outputs.push_back(Output::H2hDown { local_tag: tag, why });
        Some(session)
    }

    /// Ends a session at our side and tells the peer.
    pub(super) fn end_session(&mut self, tag: u32, why: DownReason) -> bool {
        let Some(session) = self.session_down(tag, why) else { return false };
        self.tell_end(session.peer, (tag, session.session.remote_tag));
        true
    }

    /// Terminates a session at the peer, now or when it is up again.
    pub(super) fn tell_end(&mut self, peer: PeerId, (local_tag, remote_tag): (u32, u32)) {
        let Some(conn) = self.pick_conn(peer) else {
            return self.owe_end(peer, (local_tag, remote_tag));
        };
        let mut out = Writer::new(local_tag, remote_tag);
        out.terminate(Layer::H2h, None);
        self.send(conn, out.finish());
    }

    /// Remembers to tell the peer of an ended session once C2C with it is up.
    pub(super) fn owe_end(&mut self, peer: PeerId, tags: (u32, u32)) {
        if let Some(peer) = self.peers.get_mut(&peer).filter(|peer| peer.owed.len() < MAX_OWED) {
            peer.owed.push(tags);
        }
    }

    /// The owner's binding ended by itself. If the peer's may live on, that is remembered: it would refuse the same
    /// pair as a duplicate.
    pub(super) fn binding_ended(&mut self, tag: u32, now: Nanos) {
        let Some(session) = self.remove_session(tag) else { return };
        self.counters.sessions_ended += 1;
        if session.session.role == Role::Initiator && now < session.session.peer_until {
            let tags = (tag, session.session.remote_tag);
            self.ended.insert(session.pair(), tags, session.session.peer_until, now);
        }
    }
}
