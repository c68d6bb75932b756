//! H2H negotiations of ours, from the wish to the session.

use super::peers::PeerId;
use super::table::{Pair, PairRef};
use super::{
    Asked, ConnId, Direction, Engine, Failure, H2hRequest, Nanos, NegotiationId, Output, Realm, Reservation,
    Role, Timer,
};
use crate::h2h::H2hSide;
use crate::limits::MS;
use crate::message::{Message, Tlv, Writer};
use crate::negotiate::{unanswerable, verify, write_answers, write_queries};
use crate::policy::{Policy, canonical_name, same_name};
use crate::tlv::{Item, Layer};
use crate::value::Value;
use std::net::IpAddr;
use std::sync::Arc;

/// A negotiation of ours.
#[derive(Debug)]
pub(super) struct Negotiation {
    pub(super) pair: Pair,
    pub(super) policy: Arc<Policy>,
    /// Set aside when the first message is sent.
    pub(super) reservation: Option<Reservation>,
    /// Where it runs.
    pub(super) conn: Option<ConnId>,
    pub(super) round: u8,
    pub(super) deadline: Nanos,
    pub(super) asked: Nanos,
    /// Whether it has been through the loss of all connections.
    pub(super) resumed: bool,
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
        if let Some(id) = self.table.negotiation(key) {
            self.counters.joined += 1;
            return Asked::Pending(id);
        }
        if let Some(session) = self.table.of(key)
            && self.is_up(peer)
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
        self.table.begin(pair.clone(), id);
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

    pub(super) fn draw_negotiation(&mut self) -> NegotiationId {
        self.next_negotiation += 1;
        NegotiationId(self.next_negotiation)
    }

    pub(super) fn refuse_ask(&mut self, source: Arc<str>, destination: Arc<str>, why: Failure) -> Asked {
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

    pub(super) fn start_or_wait(&mut self, realm: &mut dyn Realm, id: NegotiationId, now: Nanos) {
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
        if let Some(kept) = self.session_of(&pair) {
            // The peer was away and has not lost its state: what there was still stands.
            return self.finish(realm, id, Ok(kept), now);
        }
        if !self.has_session_room(pair.peer) {
            return self.finish(realm, id, Err(Failure::SessionLimit), now);
        }
        let Some(ces_id) = self.peers.get(&pair.peer).map(|peer| peer.ces_id.clone()) else { return };
        let Ok(reservation) = realm.reserve(&pair.source, &pair.destination, &ces_id) else {
            return self.finish(realm, id, Err(Failure::Exhausted), now);
        };
        // The owner's tags are not 0 and unique; anything else would mix two sessions up.
        if reservation.tag == 0 || self.table.is_taken(reservation.tag) {
            realm.release(reservation.tag);
            return self.finish(realm, id, Err(Failure::Exhausted), now);
        }
        let deadline = now + u64::from(self.settings.limits.h2h_setup_ms) * MS;
        if let Some(entry) = self.negotiations.get_mut(&id.0) {
            entry.reservation = Some(reservation);
            entry.deadline = deadline;
        }
        self.table.set_aside(reservation.tag, id);
        self.timer(deadline, Timer::Negotiation(id.0));
        self.send_first(realm, id, now);
    }

    pub(super) fn send_first(&mut self, realm: &mut dyn Realm, id: NegotiationId, now: Nanos) {
        let Some(peer) = self.negotiations.get(&id.0).map(|entry| entry.pair.peer) else { return };
        let Some(conn) = self.pick_conn(peer) else { return };
        let key = self.secrets.current();
        let Some(entry) = self.negotiations.get_mut(&id.0) else { return };
        let Some(tag) = entry.reservation.map(|reservation| reservation.tag) else { return };
        entry.conn = Some(conn);
        entry.round = 1;
        let side = Self::our_side(entry, key.digest(("ours", id.0)) as u32);
        let mut out = Writer::new(tag, 0);
        side.write_offers(&mut out);
        write_queries(&side, &mut out);
        if !self.send(conn, out.finish()) {
            self.finish(realm, id, Err(Failure::Malformed), now);
        }
    }

    pub(super) fn our_side(entry: &Negotiation, ack: u32) -> H2hSide<'_> {
        let Pair { source, destination, .. } = &entry.pair;
        H2hSide { policy: &entry.policy, name: source, peer_name: destination, ack, ack_before: None }
    }

    /// The answer to a message of ours.
    pub(super) fn h2h_reply(
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
    pub(super) fn h2h_terminated(
        &mut self,
        realm: &mut dyn Realm,
        id: NegotiationId,
        info: &Tlv<'_>,
        now: Nanos,
    ) {
        let is_empty = info.value.as_ref().is_none_or(Value::is_empty);
        let Some(pair) = self.negotiations.get(&id.0).map(|entry| &entry.pair) else { return };
        let old = self.table.of(pair).filter(|_| is_empty);
        match old {
            Some(old) => {
                let kept = Reservation { tag: old.session.local_tag, proxy: old.session.proxy };
                self.unreserve(realm, id);
                self.finish(realm, id, Ok(kept), now);
            }
            None => self.finish(realm, id, Err(Failure::Refused), now),
        }
    }

    /// Gives the reservation of a negotiation back.
    pub(super) fn unreserve(&mut self, realm: &mut dyn Realm, id: NegotiationId) {
        let taken = self.negotiations.get_mut(&id.0).and_then(|entry| entry.reservation.take());
        if let Some(reservation) = taken {
            self.table.give_back(reservation.tag);
            realm.release(reservation.tag);
        }
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
                .and_then(|entry| self.session_of(&entry.pair));
            result = kept.ok_or(why);
        }
        let Some(entry) = self.negotiations.remove(&id.0) else { return };
        if let Some(reservation) = entry.reservation {
            self.table.give_back(reservation.tag);
        }
        if let Some(peer) = self.peers.get_mut(&entry.pair.peer) {
            peer.pending -= 1;
        }
        self.table.end(&entry.pair);
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
}
