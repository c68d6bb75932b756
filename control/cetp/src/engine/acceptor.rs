//! C2C messages as they come in: to whom they go, and the negotiations that peers start.

use super::{BlockReason, ConnId, Engine, Failure, Nanos, Output, Realm, Role};
use crate::limits::S;
use crate::message::{Message, Tlv, Writer};
use crate::negotiate::{unanswerable, verify, write_answers, write_queries};
use crate::policy::{canonical_name, same_name};
use crate::tlv::{Item, Layer};
use crate::value::Value;
use std::sync::Arc;

impl Engine {
    /// A message of a group of C2C.
    pub(super) fn c2c_message(
        &mut self,
        realm: &mut dyn Realm,
        conn: ConnId,
        message: &Message<'_>,
        now: Nanos,
    ) {
        let rounds = self.settings.limits.c2c_messages;
        let Some(entry) = self.conns.get(&conn.0) else { return };
        let (peer, established) = (entry.peer, entry.established);
        if message.dst != 0
            && let Some(peer) = peer
        {
            let known = self.peers.get(&peer);
            let attempt = known.and_then(|peer| peer.attempt.as_ref());
            if attempt.is_some_and(|attempt| attempt.conn == Some(conn) && attempt.tag == message.dst) {
                return self.c2c_reply(realm, peer, conn, message, now);
            }
            if established && known.is_some_and(|peer| peer.has_tags((message.dst, message.sst))) {
                return self.c2c_after(realm, peer, conn, message, now);
            }
        }
        if message.dst != 0 && !established && self.claim_conn(conn, message) {
            return;
        }
        if message.dst != 0 && established {
            // A late answer, or the end of what has ended here already.
            self.counters.unknown_session += 1;
            return;
        }
        let Some(entry) = self.conns.get_mut(&conn.0) else { return };
        entry.c2c_messages = entry.c2c_messages.saturating_add(1);
        if entry.c2c_messages > rounds {
            self.c2c_refused(conn, Failure::Rounds);
            return self.abuse(realm, conn, BlockReason::C2cRounds, now);
        }
        if message.dst != 0 {
            self.counters.unknown_session += 1;
            return;
        }
        self.c2c_request(realm, conn, message, now);
    }

    /// A further connection without TLS: the peer says by its tags which C2C it belongs to.
    pub(super) fn claim_conn(&mut self, conn: ConnId, message: &Message<'_>) -> bool {
        let Some(entry) =
            self.conns.get(&conn.0).filter(|entry| !entry.is_ours() && entry.identity.is_none())
        else {
            return false;
        };
        debug_assert!(!entry.established);
        let Some(id) =
            message.info(Item::CesCesid).and_then(|info| info.value.as_ref()).and_then(Value::as_str)
        else {
            return false;
        };
        let Some(&peer) = self.peer_ids.get(canonical_name(id).as_str()) else { return false };
        let Some(known) = self.peers.get(&peer).filter(|known| !known.authenticated) else { return false };
        let is_it = known.has_tags((message.dst, message.sst));
        if is_it {
            self.attach(peer, conn);
        }
        is_it
    }

    pub(super) fn c2c_refused(&mut self, conn: ConnId, why: Failure) {
        self.counters.c2c_received.count(Err(why));
        let ces_id = self.conns.get(&conn.0).and_then(|entry| entry.identity.clone());
        self.outputs.push_back(Output::PeerFailed { ces_id, role: Role::Responder, why });
    }

    /// Refuses a peer's C2C: tells it what offends, closes, and blocks its address.
    pub(super) fn refuse_c2c(
        &mut self,
        realm: &mut dyn Realm,
        conn: ConnId,
        message: &Message<'_>,
        offending: Option<&Tlv<'_>>,
        why: Failure,
        now: Nanos,
    ) {
        let mut out = Writer::new(0, message.sst);
        out.terminate(Layer::C2c, offending);
        self.send(conn, out.finish());
        self.c2c_refused(conn, why);
        if matches!(why, Failure::Overload | Failure::Unavailable | Failure::NoTunnel) {
            // Our trouble, not its fault: no room, or what it asks for is not here.
            return self.close(realm, conn, why, now);
        }
        if let Some(addr) = self.conns.get(&conn.0).map(|entry| entry.remote.ip()) {
            let block = u64::from(self.settings.limits.block_s) * S;
            self.put_block(addr, BlockReason::C2cFailed, block, now);
        }
        self.close(realm, conn, why, now);
    }

    /// A peer wants C2C. Nothing is kept until all requirements hold.
    pub(super) fn c2c_request(
        &mut self,
        realm: &mut dyn Realm,
        conn: ConnId,
        message: &Message<'_>,
        now: Nanos,
    ) {
        let Some(entry) = self.conns.get(&conn.0) else { return };
        let (remote, identity, known) = (entry.remote, entry.identity.clone(), entry.peer);
        if message.sst == 0 {
            return self.refuse_c2c(realm, conn, message, None, Failure::Malformed, now);
        }
        let claim = message.info(Item::CesCesid);
        let Some((claim, said)) = claim.and_then(|info| Some((info, info.value.as_ref()?.as_str()?))) else {
            return self.refuse_c2c(realm, conn, message, None, Failure::Malformed, now);
        };
        let ces_id: Arc<str> = canonical_name(said).into();
        let expected = identity.clone().or_else(|| Some(self.peers.get(&known?)?.ces_id.clone()));
        let claims_authenticated = identity.is_none()
            && self
                .peer_ids
                .get(&ces_id)
                .and_then(|id| self.peers.get(id))
                .is_some_and(|peer| peer.authenticated);
        if expected.is_some_and(|expected| !same_name(&expected, &ces_id))
            || claims_authenticated
            || same_name(&ces_id, &self.settings.ces_id)
            || !self.is_trusted(&ces_id)
            || ces_id.len() > 255
        {
            return self.refuse_c2c(realm, conn, message, Some(claim), Failure::Identity, now);
        }
        let settings = self.settings.clone();
        let side = self.c2c_side(&ces_id, remote, now);
        if let Some(query) = unanswerable(&side, message) {
            let too_hard = query.item() == Some(Item::CesPow);
            let why = if too_hard { Failure::ProofOfWork } else { Failure::Unavailable };
            return self.refuse_c2c(realm, conn, message, Some(query), why, now);
        }
        let met = match verify(&side, message) {
            Ok(met) => met,
            Err(info) => {
                let why = match info.item() {
                    Some(Item::CesPow) => Failure::ProofOfWork,
                    Some(Item::CesCesid) => Failure::Identity,
                    _ => Failure::Unmet,
                };
                return self.refuse_c2c(realm, conn, message, Some(info), why, now);
            }
        };
        if !met.all {
            let mut out = Writer::new(0, message.sst);
            write_queries(&side, &mut out);
            self.counters.asked += 1;
            self.send(conn, out.finish());
            return;
        }
        let terms = side.terms(message);
        let Some(tunnels) = side.choose(&terms) else {
            return self.refuse_c2c(realm, conn, message, None, Failure::NoTunnel, now);
        };
        let Some(peer) = self.peer(&ces_id) else {
            return self.refuse_c2c(realm, conn, message, None, Failure::Overload, now);
        };
        let tag = self.draw_c2c_tag();
        let mut answers = Writer::new(tag, message.sst);
        write_answers(&self.c2c_side(&ces_id, remote, now), message, &mut answers);
        let c2c = Self::c2c(&settings, (tag, message.sst), Role::Responder, conn, &terms, tunnels, now);
        self.counters.c2c_received.count(Ok(()));
        self.install_c2c(realm, peer, c2c, &terms, now);
        self.send(conn, answers.finish());
        self.flush_waiting(realm, peer, now);
    }
}
