//! H2H messages as they come in: to whom they go, and the negotiations that peers start.

use super::peers::PeerId;
use super::table::{Pair, PairRef};
use super::{BlockReason, ConnId, Direction, DownReason, Engine, Failure, Nanos, Output, Realm, Role};
use crate::h2h::{H2hSide, name_of};
use crate::message::{Message, Tlv, Writer};
use crate::negotiate::{unanswerable, verify, write_answers, write_queries};
use crate::policy::canonical_name;
use crate::tlv::{Item, Layer};
use std::sync::Arc;

impl Engine {
    /// A message of a group of H2H.
    pub(super) fn h2h_message(
        &mut self,
        realm: &mut dyn Realm,
        conn: ConnId,
        message: &Message<'_>,
        now: Nanos,
    ) {
        let allowed = self.settings.limits.c2c_messages;
        let Some(entry) = self.conns.get(&conn.0) else { return };
        let Some(peer) = entry.peer.filter(|_| entry.established) else {
            self.counters.unknown_session += 1;
            let Some(entry) = self.conns.get_mut(&conn.0) else { return };
            // On a connection of ours the peer may think C2C done that is not: its answer was lost with another.
            entry.c2c_messages = entry.c2c_messages.saturating_add(1);
            if entry.c2c_messages > allowed && !entry.is_ours() {
                self.abuse(realm, conn, BlockReason::C2cRounds, now);
            }
            return;
        };
        if message.dst == 0 {
            return self.h2h_request(realm, peer, conn, message, now);
        }
        let terminate = message.info(Item::ControlTerminate).is_some();
        if let Some(id) = self.table.waiting_for(message.dst)
            && self.negotiations.get(&id.0).is_some_and(|entry| entry.pair.peer == peer)
        {
            // cetp.md: who refuses keeps no state and answers with SST 0. An end with a tag is a session's that had our tag
            // before, in an earlier life of ours.
            if terminate && message.sst != 0 {
                self.counters.unknown_session += 1;
                return;
            }
            return self.h2h_reply(realm, id, conn, message, now);
        }
        match self.table.get(message.dst) {
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

    /// A peer's host wants to reach a name here. Nothing is kept until all requirements hold.
    pub(super) fn h2h_request(
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
        let old = self.table.of(key);
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
        let is_sound = reservation.tag != 0 && !self.table.is_taken(reservation.tag);
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

    pub(super) fn refuse_h2h(
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
}
