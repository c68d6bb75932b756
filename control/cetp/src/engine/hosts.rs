//! H2H: negotiations of ours from the wish to the session, and those of peers, for which nothing is kept until all
//! requirements hold.

use super::peers::PeerId;
use super::{
    Asked, ConnId, Direction, DownReason, Engine, Failure, H2hRequest, H2hSession, Nanos, NegotiationId,
    Output, Realm, Reservation, Role, Timer,
};
use crate::h2h::{H2hSide, Terms, name_of};
use crate::limits::{MS, S};
use crate::message::{Message, Tlv, Writer};
use crate::negotiate::{unanswerable, verify, write_answers, write_queries};
use crate::policy::{Policy, canonical_name, same_name};
use crate::tlv::{Item, Layer};
use crate::value::Value;
use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
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
    session: Option<u32>,
    /// A negotiation of ours; beside a session only when that one has to be made anew.
    negotiation: Option<NegotiationId>,
}

/// A negotiation of ours.
#[derive(Debug)]
pub(super) struct Negotiation {
    pub(super) pair: Pair,
    policy: Arc<Policy>,
    /// Set aside when the first message is sent.
    pub(super) reservation: Option<Reservation>,
    /// Where it runs.
    conn: Option<ConnId>,
    round: u8,
    deadline: Nanos,
    asked: Nanos,
    /// Whether it has been through the loss of all connections.
    resumed: bool,
}

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) session: H2hSession,
    pub(super) peer: PeerId,
    epoch: u32,
    incarnation: u32,
    /// When the peer's side has ended at the latest, if nothing else ends it.
    peer_until: Nanos,
}

impl Session {
    fn pair(&self) -> Pair {
        let session = &self.session;
        let (source, destination) = match session.role {
            Role::Initiator => (&session.local_fqdn, &session.remote_fqdn),
            Role::Responder => (&session.remote_fqdn, &session.local_fqdn),
        };
        Pair { peer: self.peer, role: session.role, source: source.clone(), destination: destination.clone() }
    }
}

/// The one form of a name, without a copy where it has that already.
fn canonical(name: &Arc<str>) -> Arc<str> {
    if name.ends_with('.') && !name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        name.clone()
    } else {
        canonical_name(name).into()
    }
}

impl Engine {
    pub(super) fn ask(&mut self, realm: &mut dyn Realm, request: H2hRequest, now: Nanos) -> Asked {
        let source = canonical(&request.source);
        let destination = canonical(&request.destination);
        let ces_id = canonical(&request.ces_id);
        let Some(peer) = self.peer(&ces_id) else {
            return self.refuse_ask(source, destination, Failure::Overload);
        };
        let key: &dyn PairRef = &(peer, Role::Initiator, &*source, &*destination);
        let known = self.pairs.get(key).copied();
        if let Some(id) = known.and_then(|state| state.negotiation) {
            self.counters.joined += 1;
            return Asked::Pending(id);
        }
        if let Some(session) = known.and_then(|state| state.session).and_then(|tag| self.sessions.get(&tag))
            && self.is_up(peer)
            && self.peers.get(&peer).is_some_and(|peer| peer.incarnation == session.incarnation)
        {
            self.counters.connected += 1;
            let (local_tag, proxy) = (session.session.local_tag, session.session.proxy);
            return Asked::Connected { local_tag, proxy };
        }
        let Some(policy) = realm.host_policy(&source, Direction::Outbound, &destination, &ces_id) else {
            return self.refuse_ask(source, destination, Failure::Denied);
        };
        let limits = &self.settings.limits;
        let pending = self.peers.get(&peer).map_or(0, |peer| peer.pending);
        let why = if same_name(&ces_id, &self.settings.ces_id) || !self.is_trusted(&ces_id) {
            Some(Failure::Identity)
        } else if self.is_filtered(&source, &destination, &ces_id, now) {
            Some(Failure::Filtered)
        } else if self.negotiations.len() >= limits.pending as usize || pending >= limits.pending_per_peer {
            Some(Failure::Overload)
        } else {
            None
        };
        if let Some(why) = why {
            return self.refuse_ask(source, destination, why);
        }
        let id = self.draw_negotiation();
        let pair = Pair { peer, role: Role::Initiator, source, destination };
        let session = known.and_then(|state| state.session);
        self.pairs.insert(pair.clone(), PairState { session, negotiation: Some(id) });
        self.negotiations.insert(
            id.0,
            Negotiation {
                pair,
                policy,
                reservation: None,
                conn: None,
                round: 1,
                deadline: u64::MAX,
                asked: now,
                resumed: false,
            },
        );
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.pending += 1;
            entry.endpoints = request.endpoints;
        }
        self.start_or_wait(realm, id, now);
        Asked::Pending(id)
    }

    fn draw_negotiation(&mut self) -> NegotiationId {
        self.next_negotiation += 1;
        NegotiationId(self.next_negotiation)
    }

    fn refuse_ask(&mut self, source: Arc<str>, destination: Arc<str>, why: Failure) -> Asked {
        let id = self.draw_negotiation();
        self.counters.h2h_initiated.count(Err(why));
        self.outputs.push_back(Output::NegotiationDone {
            id,
            source,
            destination,
            result: Err(why),
            took_ns: 0,
        });
        Asked::Pending(id)
    }

    fn start_or_wait(&mut self, realm: &mut dyn Realm, id: NegotiationId, now: Nanos) {
        let Some(peer) = self.negotiations.get(&id.0).map(|entry| entry.pair.peer) else { return };
        if self.is_up(peer) {
            return self.start_h2h(realm, id, now);
        }
        match self.start_attempt(peer, now) {
            Ok(()) => {
                if let Some(entry) = self.peers.get_mut(&peer) {
                    entry.waiting.push(id);
                }
            }
            Err(why) => self.finish(realm, id, Err(why), now),
        }
    }

    /// Sends the first message, the peer being up.
    pub(super) fn start_h2h(&mut self, realm: &mut dyn Realm, id: NegotiationId, now: Nanos) {
        let Some(entry) = self.negotiations.get(&id.0) else { return };
        let pair = entry.pair.clone();
        if let Some(kept) = self.living_session(&pair) {
            // The peer was away and has not lost its state: what there was still stands.
            return self.finish(realm, id, Ok(kept), now);
        }
        let is_new = self.pairs.get(&pair as &dyn PairRef).is_none_or(|state| state.session.is_none());
        if is_new && !self.has_session_room(pair.peer) {
            return self.finish(realm, id, Err(Failure::SessionLimit), now);
        }
        let Some(ces_id) = self.peers.get(&pair.peer).map(|peer| peer.ces_id.clone()) else { return };
        let Ok(reservation) = realm.reserve(&pair.source, &pair.destination, &ces_id) else {
            return self.finish(realm, id, Err(Failure::Exhausted), now);
        };
        // The owner's tags are not 0 and unique; anything else would mix two sessions up.
        if reservation.tag == 0
            || self.by_tag.contains_key(&reservation.tag)
            || self.sessions.contains_key(&reservation.tag)
        {
            realm.release(reservation.tag);
            return self.finish(realm, id, Err(Failure::Exhausted), now);
        }
        let deadline = now + u64::from(self.settings.limits.h2h_setup_ms) * MS;
        if let Some(entry) = self.negotiations.get_mut(&id.0) {
            entry.reservation = Some(reservation);
            entry.deadline = deadline;
        }
        self.by_tag.insert(reservation.tag, id.0);
        self.timer(deadline, Timer::Negotiation(id.0));
        self.send_first(realm, id, now);
    }

    fn send_first(&mut self, realm: &mut dyn Realm, id: NegotiationId, now: Nanos) {
        let Some(peer) = self.negotiations.get(&id.0).map(|entry| entry.pair.peer) else { return };
        let Some(conn) = self.pick_conn(peer) else { return };
        let key = self.secrets.current();
        let Some(entry) = self.negotiations.get_mut(&id.0) else { return };
        let Some(tag) = entry.reservation.map(|reservation| reservation.tag) else { return };
        entry.conn = Some(conn);
        entry.round = 1;
        if let Some((old_local, old_remote)) = self.ended.remove(&entry.pair) {
            // Our side of the last session ended early; the peer's may not have, and would be in the way.
            let mut out = Writer::new(old_local, old_remote);
            out.terminate(Layer::H2h, None);
            let frame = out.finish();
            self.send(conn, frame);
        }
        let Some(entry) = self.negotiations.get(&id.0) else { return };
        let side = Self::our_side(entry, key.digest(("ours", id.0)) as u32);
        let mut out = Writer::new(tag, 0);
        side.write_offers(&mut out);
        write_queries(&side, &mut out);
        if !self.send(conn, out.finish()) {
            self.finish(realm, id, Err(Failure::Malformed), now);
        }
    }

    fn our_side(entry: &Negotiation, ack: u32) -> H2hSide<'_> {
        let Pair { source, destination, .. } = &entry.pair;
        H2hSide { policy: &entry.policy, name: source, peer_name: destination, ack, ack_before: None }
    }

    fn has_session_room(&self, peer: PeerId) -> bool {
        let limit = self
            .peers
            .get(&peer)
            .and_then(|peer| Some((peer.c2c.as_ref()?.session_limit, peer.sessions.len())));
        limit.is_some_and(|(limit, sessions)| sessions < limit as usize)
            && self.sessions.len() < self.settings.limits.sessions as usize
    }

    /// A message of a group of H2H.
    pub(super) fn h2h_message(
        &mut self,
        realm: &mut dyn Realm,
        conn: ConnId,
        message: &Message<'_>,
        now: Nanos,
    ) {
        let limits = &self.settings.limits;
        let (lifetime, grace, allowed) = (limits.secret_s, limits.secret_grace_s, limits.c2c_messages);
        self.secrets.refresh(&mut self.rng, lifetime, grace, now);
        let Some(entry) = self.conns.get(&conn.0) else { return };
        let Some(peer) = entry.peer.filter(|_| entry.established) else {
            self.counters.unknown_session += 1;
            let Some(entry) = self.conns.get_mut(&conn.0) else { return };
            // On a connection of ours the peer may think C2C done that is not: its answer was lost with another.
            entry.c2c_messages = entry.c2c_messages.saturating_add(1);
            if entry.c2c_messages > allowed && !entry.is_ours() {
                self.abuse(realm, conn, super::BlockReason::C2cRounds, now);
            }
            return;
        };
        if message.dst == 0 {
            return self.h2h_request(realm, peer, conn, message, now);
        }
        if let Some(id) = self.by_tag.get(&message.dst).copied().map(NegotiationId)
            && self.negotiations.get(&id.0).is_some_and(|entry| entry.pair.peer == peer)
        {
            return self.h2h_reply(realm, id, conn, message, now);
        }
        let terminate = message.info(Item::ControlTerminate).is_some();
        match self.sessions.get(&message.dst) {
            Some(entry) if entry.peer == peer && entry.session.remote_tag == message.sst => {
                if terminate {
                    self.session_down(message.dst, DownReason::ByPeer);
                }
            }
            _ => {
                self.counters.unknown_session += 1;
                if !terminate && message.sst != 0 && message.info(Item::IdFqdn).is_some() {
                    // An answer that comes too late: the peer keeps state for a session that will not be.
                    let mut out = Writer::new(message.dst, message.sst);
                    out.terminate(Layer::H2h, None);
                    self.send(conn, out.finish());
                }
            }
        }
    }

    /// The answer to a message of ours.
    fn h2h_reply(
        &mut self,
        realm: &mut dyn Realm,
        id: NegotiationId,
        conn: ConnId,
        message: &Message<'_>,
        now: Nanos,
    ) {
        let Some(entry) = self.negotiations.get(&id.0) else { return };
        let Some(reservation) = entry.reservation else { return };
        if let Some(info) = message.info(Item::ControlTerminate) {
            return self.h2h_terminated(realm, id, info, now);
        }
        let (ack, ack_before) = self.secrets.acks(("ours", id.0), now);
        let side = H2hSide { ack_before, ..Self::our_side(entry, ack) };
        let limits = &self.settings.limits;
        let outcome = if message.queries().next().is_some() {
            if message.sst != 0 {
                Err((Failure::Malformed, None))
            } else if entry.round >= limits.rounds {
                Err((Failure::Rounds, None))
            } else if let Some(query) = unanswerable(&side, message) {
                Err((Failure::Unavailable, Some(query)))
            } else {
                let mut out = Writer::new(reservation.tag, 0);
                if message.query(Item::IdFqdn).is_none() {
                    out.text(Item::IdFqdn, side.name);
                }
                write_answers(&side, message, &mut out);
                write_queries(&side, &mut out);
                out.text(Item::ControlDstep, side.peer_name);
                Ok(Err(out))
            }
        } else {
            let other_name = message.info(Item::IdFqdn).filter(|info| {
                !info
                    .value
                    .as_ref()
                    .and_then(Value::as_str)
                    .is_some_and(|name| same_name(name, side.peer_name))
            });
            match (other_name, verify(&side, message), side.terms(message, limits)) {
                (Some(info), ..) => Err((Failure::Name, Some(info))),
                (_, Err(info), _) | (_, _, Err(info)) => Err((Failure::Unmet, Some(info))),
                (_, Ok(met), _) if !met.mandatory => Err((Failure::Unmet, None)),
                _ if message.sst == 0 => Err((Failure::Malformed, None)),
                (_, _, Ok(terms)) => Ok(Ok(terms)),
            }
        };
        match outcome {
            Err((why, offending)) => {
                if message.sst != 0 {
                    let mut out = Writer::new(reservation.tag, message.sst);
                    out.terminate(Layer::H2h, offending);
                    self.send(conn, out.finish());
                }
                self.finish(realm, id, Err(why), now);
            }
            Ok(Err(out)) => {
                self.counters.second_rounds += 1;
                if let Some(entry) = self.negotiations.get_mut(&id.0) {
                    entry.round += 1;
                    entry.conn = Some(conn);
                }
                if !self.send(conn, out.finish()) {
                    self.finish(realm, id, Err(Failure::Malformed), now);
                }
            }
            Ok(Ok(terms)) => {
                let pair = entry.pair.clone();
                // C2C may be down by now while the answer was on its way; then there is no tunnel.
                if self.session_up(&pair, reservation, message.sst, &terms, now) {
                    self.finish(realm, id, Ok(reservation), now);
                } else {
                    self.finish(realm, id, Err(Failure::Lost), now);
                }
            }
        }
    }

    /// The peer refuses. Where we only asked because we took it for restarted, an empty refusal says that it still has
    /// the session.
    fn h2h_terminated(&mut self, realm: &mut dyn Realm, id: NegotiationId, info: &Tlv<'_>, now: Nanos) {
        let is_empty = info.value.as_ref().is_none_or(Value::is_empty);
        let Some(pair) = self.negotiations.get(&id.0).map(|entry| &entry.pair) else { return };
        let incarnation = self.peers.get(&pair.peer).map_or(0, |peer| peer.incarnation);
        let old = self.pairs.get(pair as &dyn PairRef).and_then(|state| state.session);
        let old = old.and_then(|tag| self.sessions.get_mut(&tag)).filter(|_| is_empty);
        match old {
            Some(old) => {
                old.incarnation = incarnation;
                let kept = Reservation { tag: old.session.local_tag, proxy: old.session.proxy };
                self.unreserve(realm, id);
                self.finish(realm, id, Ok(kept), now);
            }
            None => self.finish(realm, id, Err(Failure::Refused), now),
        }
    }

    /// Gives the reservation of a negotiation back.
    fn unreserve(&mut self, realm: &mut dyn Realm, id: NegotiationId) {
        let taken = self.negotiations.get_mut(&id.0).and_then(|entry| entry.reservation.take());
        if let Some(reservation) = taken {
            self.by_tag.remove(&reservation.tag);
            realm.release(reservation.tag);
        }
    }

    /// The session of a pair, unless the peer is known to have lost it.
    fn living_session(&self, pair: &Pair) -> Option<Reservation> {
        let tag = self.pairs.get(pair as &dyn PairRef)?.session?;
        let entry = self.sessions.get(&tag)?;
        let is_alive = self.peers.get(&pair.peer)?.incarnation == entry.incarnation;
        is_alive.then_some(Reservation { tag, proxy: entry.session.proxy })
    }

    /// A negotiation of ours is over. A session that came of it stands already.
    pub(super) fn finish(
        &mut self,
        realm: &mut dyn Realm,
        id: NegotiationId,
        result: Result<Reservation, Failure>,
        now: Nanos,
    ) {
        let mut result = result;
        if let Err(why) = result {
            self.unreserve(realm, id);
            // A peer that cannot be asked may still carry what there was: sessions outlive the control connections.
            let is_away =
                matches!(why, Failure::Unreachable | Failure::Silent | Failure::Lost | Failure::Blocked);
            let kept = self
                .negotiations
                .get(&id.0)
                .filter(|_| is_away)
                .and_then(|entry| self.living_session(&entry.pair));
            result = kept.ok_or(why);
        }
        let Some(entry) = self.negotiations.remove(&id.0) else { return };
        if let Some(reservation) = entry.reservation {
            self.by_tag.remove(&reservation.tag);
        }
        if let Some(peer) = self.peers.get_mut(&entry.pair.peer) {
            peer.pending -= 1;
        }
        if let Some(state) = self.pairs.get_mut(&entry.pair as &dyn PairRef) {
            state.negotiation = None;
            if state.session.is_none() {
                self.pairs.remove(&entry.pair as &dyn PairRef);
            }
        }
        self.counters.h2h_initiated.count(result.map(|_| ()));
        let result: Result<(u32, IpAddr), Failure> = result.map(|kept| (kept.tag, kept.proxy));
        let Pair { source, destination, .. } = entry.pair;
        let took_ns = now.saturating_sub(entry.asked);
        self.outputs.push_back(Output::NegotiationDone { id, source, destination, result, took_ns });
    }

    pub(super) fn negotiation_due(&self, id: u64, at: Nanos) -> bool {
        self.negotiations.get(&id).is_some_and(|entry| entry.deadline == at)
    }

    /// After a loss: negotiations that ran on that connection, or on any (`None`), start anew on another, or once wait
    /// for the peer to come back.
    pub(super) fn resume(&mut self, realm: &mut dyn Realm, peer: PeerId, lost: Option<ConnId>, now: Nanos) {
        if self.peers.get(&peer).is_none_or(|entry| entry.pending == 0) {
            return;
        }
        let is_hit = |entry: &Negotiation| {
            entry.pair.peer == peer && entry.reservation.is_some() && (lost.is_none() || entry.conn == lost)
        };
        let mut hit: Vec<u64> =
            self.negotiations.iter().filter(|(_, entry)| is_hit(entry)).map(|(id, _)| *id).collect();
        hit.sort_unstable();
        for id in hit.into_iter().map(NegotiationId) {
            if self.is_up(peer) {
                self.send_first(realm, id, now);
                continue;
            }
            self.unreserve(realm, id);
            let Some(entry) = self.negotiations.get_mut(&id.0) else { continue };
            entry.conn = None;
            entry.deadline = u64::MAX;
            if std::mem::replace(&mut entry.resumed, true) {
                self.finish(realm, id, Err(Failure::Lost), now);
            } else {
                self.start_or_wait(realm, id, now);
            }
        }
    }

    /// A peer's host wants to reach a name here. Nothing is kept until all requirements hold.
    fn h2h_request(
        &mut self,
        realm: &mut dyn Realm,
        peer: PeerId,
        conn: ConnId,
        message: &Message<'_>,
        now: Nanos,
    ) {
        let names = name_of(message, Item::IdFqdn).zip(name_of(message, Item::ControlDstep));
        let Some((source, destination)) = names.filter(|_| message.sst != 0) else {
            // Nobody to refuse by name; silence is what the reference does, too.
            self.counters.h2h_received.count(Err(Failure::Malformed));
            return;
        };
        let (source, destination) = (canonical_name(source), canonical_name(destination));
        let Some(ces_id) = self.peers.get(&peer).map(|peer| peer.ces_id.clone()) else { return };
        let offending = |item| message.info(item);
        let refusal = if !realm.is_service(&destination) {
            Some((Failure::NotServed, offending(Item::ControlDstep)))
        } else if self.is_filtered(&destination, &source, &ces_id, now) {
            Some((Failure::Filtered, None))
        } else {
            None
        };
        if let Some((why, offending)) = refusal {
            return self.refuse_h2h(conn, message, offending, (&source, &destination, &ces_id), why);
        }
        let Some(policy) = realm.host_policy(&destination, Direction::Inbound, &source, &ces_id) else {
            let offending = offending(Item::IdFqdn);
            return self.refuse_h2h(
                conn,
                message,
                offending,
                (&source, &destination, &ces_id),
                Failure::Denied,
            );
        };
        let about = (peer, source.as_str(), destination.as_str(), message.sst);
        let (ack, ack_before) = self.secrets.acks(about, now);
        let side = H2hSide { policy: &policy, name: &destination, peer_name: &source, ack, ack_before };
        let key: &dyn PairRef = &(peer, Role::Responder, &*source, &*destination);
        let old = self.pairs.get(key).and_then(|state| state.session).and_then(|tag| self.sessions.get(&tag));
        let epoch = self.peers.get(&peer).map_or(0, |peer| peer.epoch);
        let old = old.map(|old| (old.session.local_tag, old.session.remote_tag, old.epoch == epoch));
        if let Some((local_tag, remote_tag, is_current)) = old {
            if remote_tag == message.sst {
                // The same message again: the answer was lost with its connection.
                let mut out = Writer::new(local_tag, message.sst);
                write_answers(&side, message, &mut out);
                self.send(conn, out.finish());
                return;
            }
            if is_current {
                // One session per pair of names: the reference answers with an empty terminate, too.
                let names = (&*source, &*destination, &ces_id);
                return self.refuse_h2h(conn, message, None, names, Failure::Duplicate);
            }
        }
        let names = (&*source, &*destination, &ces_id);
        if let Some(query) = unanswerable(&side, message) {
            return self.refuse_h2h(conn, message, Some(query), names, Failure::Unavailable);
        }
        match verify(&side, message) {
            Err(info) => return self.refuse_h2h(conn, message, Some(info), names, Failure::Unmet),
            Ok(met) if !met.all => {
                let mut out = Writer::new(0, message.sst);
                write_queries(&side, &mut out);
                self.counters.asked += 1;
                self.send(conn, out.finish());
                return;
            }
            Ok(_) => {}
        }
        let terms = match side.terms(message, &self.settings.limits) {
            Ok(terms) => terms,
            Err(info) => return self.refuse_h2h(conn, message, Some(info), names, Failure::Unmet),
        };
        if old.is_none() && !self.has_session_room(peer) {
            return self.refuse_h2h(conn, message, None, names, Failure::SessionLimit);
        }
        let Ok(reservation) = realm.reserve(&destination, &source, &ces_id) else {
            return self.refuse_h2h(conn, message, None, names, Failure::Exhausted);
        };
        let is_sound = reservation.tag != 0
            && !self.by_tag.contains_key(&reservation.tag)
            && !self.sessions.contains_key(&reservation.tag);
        let mut out = Writer::new(reservation.tag, message.sst);
        write_answers(&side, message, &mut out);
        let frame = out.finish();
        if !is_sound || frame.is_err() {
            realm.release(reservation.tag);
            return self.refuse_h2h(conn, message, None, names, Failure::Exhausted);
        }
        let pair = Pair {
            peer,
            role: Role::Responder,
            source: source.as_str().into(),
            destination: destination.as_str().into(),
        };
        // The binding stands before the answer leaves.
        if self.session_up(&pair, reservation, message.sst, &terms, now) {
            self.counters.h2h_received.count(Ok(()));
            self.send(conn, frame);
        } else {
            realm.release(reservation.tag);
            self.refuse_h2h(conn, message, None, names, Failure::NoTunnel);
        }
    }

    fn refuse_h2h(
        &mut self,
        conn: ConnId,
        message: &Message<'_>,
        offending: Option<&Tlv<'_>>,
        (source, destination, ces_id): (&str, &str, &Arc<str>),
        why: Failure,
    ) {
        self.counters.h2h_received.count(Err(why));
        let mut out = Writer::new(0, message.sst);
        out.terminate(Layer::H2h, offending);
        self.send(conn, out.finish());
        self.outputs.push_back(Output::Refused {
            ces_id: ces_id.clone(),
            source: source.into(),
            destination: destination.into(),
            why,
        });
    }

    /// Puts a session up, in the place of an older one for the same pair. False if the peer is not up.
    fn session_up(
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
        };
        let (epoch, incarnation) = (peer.epoch, peer.incarnation);
        let lifetime = if terms.peer_told_ttl { terms.hard_ttl_s } else { self.settings.limits.dp_ttl_max_s };
        let old = self.pairs.get(pair as &dyn PairRef).and_then(|state| state.session);
        if let Some(old) = old {
            self.session_down(old, DownReason::Replaced);
        }
        let state = self.pairs.entry(pair.clone()).or_insert(PairState { session: None, negotiation: None });
        state.session = Some(reservation.tag);
        if let Some(peer) = self.peers.get_mut(&pair.peer) {
            peer.sessions.insert(reservation.tag);
        }
        let peer_until = now + u64::from(lifetime) * S;
        self.outputs.push_back(Output::H2hUp { session: session.clone() });
        self.sessions
            .insert(reservation.tag, Session { session, peer: pair.peer, epoch, incarnation, peer_until });
        true
    }

    fn remove_session(&mut self, tag: u32) -> Option<Session> {
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
            if let Some(peer) = self.peers.get_mut(&peer).filter(|peer| peer.owed.len() < MAX_OWED) {
                peer.owed.push((local_tag, remote_tag));
            }
            return;
        };
        let mut out = Writer::new(local_tag, remote_tag);
        out.terminate(Layer::H2h, None);
        self.send(conn, out.finish());
    }

    /// The owner's binding ended by itself. If the peer's may live on, that is remembered: it would refuse the same
    /// pair as a duplicate.
    pub(super) fn binding_ended(&mut self, tag: u32, now: Nanos) {
        let Some(session) = self.remove_session(tag) else { return };
        self.counters.sessions_ended += 1;
        if session.session.role == Role::Initiator && now < session.peer_until {
            let tags = (tag, session.session.remote_tag);
            self.ended.insert(session.pair(), tags, session.peer_until, now);
        }
    }
}
