//! C2C as we start it: connections to a peer's endpoints, the negotiation on the first that is up.

use super::conns::Origin;
use super::peers::PeerId;
use super::{ConnId, Endpoint, Engine, Failure, Nanos, Output, Proto, Realm, Role};
use crate::limits::{MS, S};
use crate::message::{Message, Tlv, Writer};
use crate::negotiate::{unanswerable, verify, write_answers, write_queries};
use crate::policy::same_name;
use crate::tlv::{Item, Layer};
use crate::value::Value;
use rustc_hash::FxHashSet;

/// A C2C negotiation of ours.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) tag: u32,
    pub(super) round: u8,
    /// Where it runs.
    pub(super) conn: Option<ConnId>,
    /// All connections opened for it that are not the peer's for everything yet.
    pub(super) conns: Vec<ConnId>,
    /// What the last connection that failed failed with.
    pub(super) last: Failure,
    /// What it was begun for.
    pub(super) purpose: Purpose,
}

/// What C2C is negotiated for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A name was asked for.
    Name,
    /// The peer was lost, and nobody asks.
    Revival,
    /// Its time comes to an end; it runs on a connection that stands.
    Renewal,
}

impl Engine {
    /// Opens connections to a peer, for C2C on the first that is up. One under way is joined.
    pub(super) fn start_attempt(&mut self, peer: PeerId, now: Nanos) -> Result<(), Failure> {
        self.attempt(peer, Purpose::Name, now)
    }

    /// The same because the peer was lost: endpoints that did not answer are tried as well.
    pub(super) fn start_revival(&mut self, peer: PeerId, now: Nanos) -> Result<(), Failure> {
        self.attempt(peer, Purpose::Revival, now)
    }

    fn attempt(&mut self, peer: PeerId, purpose: Purpose, now: Nanos) -> Result<(), Failure> {
        let settings = self.settings.clone();
        let Some(entry) = self.peers.get(&peer) else { return Err(Failure::Cancelled) };
        if entry.attempt.is_some() {
            return Ok(());
        }
        let ces_id = entry.ces_id.clone();
        // Who once proved its name is not believed less.
        let believe = settings.believe_unauthenticated && !entry.authenticated;
        let usable = |endpoint: &&Endpoint| endpoint.port != 0 && (endpoint.proto == Proto::Tls || believe);
        // Order, then preference; lower is better (RFC 3403 §4.1).
        let mut endpoints: Vec<_> = entry.endpoints.iter().filter(usable).cloned().collect();
        endpoints.sort_by_key(|endpoint| (endpoint.order, endpoint.preference));
        let mut seen = FxHashSet::default();
        endpoints.retain(|endpoint| seen.insert((endpoint.addr, endpoint.port)));
        endpoints.retain(|endpoint| {
            purpose == Purpose::Revival || !self.unreachable.contains(&(endpoint.addr, endpoint.port), now)
        });
        if endpoints.is_empty() {
            return Err(Failure::Unreachable);
        }
        endpoints.retain(|endpoint| !self.blocked.contains(&endpoint.addr, now));
        if endpoints.is_empty() {
            return Err(Failure::Blocked);
        }
        let room = (settings.limits.connections as usize).saturating_sub(self.conns.len());
        endpoints.truncate(usize::from(settings.limits.connections_per_peer).min(room));
        if endpoints.is_empty() {
            return Err(Failure::Overload);
        }
        let tag = self.draw_c2c_tag();
        let conns =
            endpoints.into_iter().map(|endpoint| self.open(peer, ces_id.clone(), endpoint, now)).collect();
        if let Some(entry) = self.peers.get_mut(&peer) {
            let last = Failure::Unreachable;
            entry.attempt = Some(Attempt { tag, round: 1, conn: None, conns, last, purpose });
        }
        Ok(())
    }

    /// A connection of ours is up and its end is who it should be.
    pub(super) fn conn_ready(&mut self, realm: &mut dyn Realm, peer: PeerId, conn: ConnId, now: Nanos) {
        let is_up = self.is_up(peer);
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        match entry.attempt.as_mut() {
            _ if is_up => self.join_conn(peer, conn),
            Some(attempt) => {
                if !attempt.conns.contains(&conn) {
                    attempt.conns.push(conn);
                }
                // Where C2C runs on another already, this one waits for it.
                if attempt.conn.is_none() {
                    attempt.conn = Some(conn);
                    self.run_c2c(realm, peer, conn, now);
                }
            }
            None => self.close(realm, conn, Failure::Cancelled, now),
        }
    }

    /// Makes a connection of ours one of the peer's. Without TLS the peer has to be told whose it is.
    pub(super) fn join_conn(&mut self, peer: PeerId, conn: ConnId) {
        if let Some(entry) = self.peers.get_mut(&peer)
            && let Some(attempt) = entry.attempt.as_mut()
        {
            attempt.conns.retain(|id| *id != conn);
            if attempt.conns.is_empty() {
                // The peer was faster; nothing was sent, and nothing waits.
                entry.attempt = None;
            }
        }
        let is_anonymous = self.conns.get(&conn.0).is_some_and(|entry| entry.identity.is_none());
        self.attach(peer, conn);
        if is_anonymous && let Some(c2c) = self.peers.get(&peer).and_then(|entry| entry.c2c.clone()) {
            let mut out = Writer::new(c2c.local_tag, c2c.remote_tag);
            out.text(Item::CesCesid, &self.settings.ces_id.clone());
            self.send(conn, out.finish());
        }
    }

    /// Sends the first message of C2C.
    pub(super) fn run_c2c(&mut self, realm: &mut dyn Realm, peer: PeerId, conn: ConnId, now: Nanos) {
        let setup = u64::from(self.settings.limits.c2c_setup_ms) * MS;
        // A connection that stands goes on whatever comes of a renewal.
        if self.conns.get(&conn.0).is_some_and(|entry| !entry.established) {
            self.set_deadline(conn, Some(now + setup));
        }
        let Some((entry, remote)) =
            self.peers.get_mut(&peer).zip(self.conns.get(&conn.0).map(|conn| conn.remote))
        else {
            return;
        };
        let Some(attempt) = entry.attempt.as_mut() else { return };
        attempt.round = 1;
        let (tag, ces_id) = (attempt.tag, entry.ces_id.clone());
        let mut out = Writer::new(tag, 0);
        let side = self.c2c_side(&ces_id, remote, now);
        side.write_offers(&mut out);
        write_queries(&side, &mut out);
        if !self.send(conn, out.finish()) {
            self.attempt_failed(realm, peer, Failure::Malformed, now);
        }
    }

    /// The answer to a message of ours.
    pub(super) fn c2c_reply(
        &mut self,
        realm: &mut dyn Realm,
        peer: PeerId,
        conn: ConnId,
        message: &Message<'_>,
        now: Nanos,
    ) {
        let settings = self.settings.clone();
        let Some(entry) = self.peers.get(&peer) else { return };
        let Some(attempt) = entry.attempt.as_ref() else { return };
        let (tag, round, ces_id) = (attempt.tag, attempt.round, entry.ces_id.clone());
        let Some(remote) = self.conns.get(&conn.0).map(|entry| entry.remote) else { return };
        if message.info(Item::CesTerminate).is_some() {
            return self.attempt_failed(realm, peer, Failure::Refused, now);
        }
        let side = self.c2c_side(&ces_id, remote, now);
        let outcome = if message.queries().next().is_some() {
            if message.sst != 0 {
                Err((Failure::Malformed, None))
            } else if round >= settings.limits.rounds {
                Err((Failure::Rounds, None))
            } else if let Some(query) = unanswerable(&side, message) {
                let too_hard = query.item() == Some(Item::CesPow);
                Err((if too_hard { Failure::ProofOfWork } else { Failure::Unavailable }, Some(query)))
            } else {
                let mut out = Writer::new(tag, 0);
                if message.query(Item::CesCesid).is_none() {
                    out.text(Item::CesCesid, &settings.ces_id);
                }
                write_answers(&side, message, &mut out);
                write_queries(&side, &mut out);
                Ok(Err(out))
            }
        } else {
            let claim = message.info(Item::CesCesid);
            let is_other = |info: &&Tlv<'_>| {
                !info.value.as_ref().and_then(Value::as_str).is_some_and(|id| same_name(id, &ces_id))
            };
            match (claim.filter(is_other), verify(&side, message)) {
                (Some(info), _) => Err((Failure::Identity, Some(info))),
                (_, Err(info)) if info.item() == Some(Item::CesPow) => {
                    Err((Failure::ProofOfWork, Some(info)))
                }
                (_, Err(info)) => Err((Failure::Unmet, Some(info))),
                (_, Ok(met)) if !met.mandatory => Err((Failure::Unmet, None)),
                _ if message.sst == 0 => Err((Failure::Malformed, None)),
                _ => {
                    let terms = side.terms(message);
                    side.choose(&terms).map(|tunnels| Ok((terms, tunnels))).ok_or((Failure::NoTunnel, None))
                }
            }
        };
        match outcome {
            Err((why, offending)) => {
                if message.sst != 0 {
                    // It keeps state already: tell it to drop that.
                    let mut out = Writer::new(tag, message.sst);
                    out.terminate(Layer::C2c, offending);
                    self.send(conn, out.finish());
                }
                self.attempt_failed(realm, peer, why, now);
            }
            Ok(Err(out)) => {
                self.counters.second_rounds += 1;
                if let Some(attempt) = self.peers.get_mut(&peer).and_then(|entry| entry.attempt.as_mut()) {
                    attempt.round += 1;
                }
                if !self.send(conn, out.finish()) {
                    self.attempt_failed(realm, peer, Failure::Malformed, now);
                }
            }
            Ok(Ok((terms, tunnels))) => {
                let c2c =
                    Self::c2c(&settings, (tag, message.sst), Role::Initiator, conn, &terms, tunnels, now);
                self.counters.c2c_initiated.count(Ok(()));
                // What of it is not up yet joins the peer when it is.
                let attempt = self.peers.get_mut(&peer).and_then(|entry| entry.attempt.take());
                self.install_c2c(realm, peer, c2c, &terms, now);
                let is_up =
                    |id: &ConnId| self.conns.get(&id.0).is_some_and(|conn| conn.up && !conn.established);
                let ready = attempt.map(|attempt| attempt.conns).unwrap_or_default();
                let ready: Vec<ConnId> = ready.into_iter().filter(is_up).collect();
                for conn in ready {
                    self.join_conn(peer, conn);
                }
                self.flush_waiting(realm, peer, now);
            }
        }
    }

    /// No answer to a message of C2C.
    pub(super) fn c2c_silent(&mut self, realm: &mut dyn Realm, conn: ConnId, now: Nanos) {
        let Some(peer) = self.conns.get(&conn.0).and_then(|entry| entry.peer) else { return };
        if let Some(Origin::Ours(endpoint)) = self.conns.get(&conn.0).map(|entry| &entry.origin)
            && !self.is_only_revival(peer)
        {
            let until = now + u64::from(self.settings.limits.unreachable_s) * S;
            self.unreachable.insert((endpoint.addr, endpoint.port), (), until, now);
        }
        self.attempt_failed(realm, peer, Failure::Silent, now);
    }

    /// C2C of ours is not to be. What waits for it fails, unless the peer's own made it.
    pub(super) fn attempt_failed(&mut self, realm: &mut dyn Realm, peer: PeerId, why: Failure, now: Nanos) {
        let Some(attempt) = self.peers.get_mut(&peer).and_then(|entry| entry.attempt.take()) else { return };
        for conn in attempt.conns {
            self.close(realm, conn, Failure::Cancelled, now);
        }
        self.counters.c2c_initiated.count(Err(why));
        let is_up = self.is_up(peer);
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        if is_up {
            return self.flush_waiting(realm, peer, now);
        }
        let ces_id = Some(entry.ces_id.clone());
        let waiting = std::mem::take(&mut entry.waiting);
        if attempt.purpose == Purpose::Renewal && waiting.is_empty() {
            return;
        }
        self.outputs.push_back(Output::PeerFailed { ces_id, role: Role::Initiator, why });
        for id in waiting {
            self.finish(realm, id, Err(why), now);
        }
        self.plan_revival(peer, now);
    }

    /// C2C starts anew on another connection of the attempt that is up.
    pub(super) fn run_on_next(&mut self, realm: &mut dyn Realm, peer: PeerId, now: Nanos) {
        let Some(attempt) = self.peers.get(&peer).and_then(|entry| entry.attempt.as_ref()) else { return };
        let ready =
            attempt.conns.iter().copied().find(|id| self.conns.get(&id.0).is_some_and(|conn| conn.up));
        if let Some(conn) = ready {
            if let Some(attempt) = self.peers.get_mut(&peer).and_then(|entry| entry.attempt.as_mut()) {
                attempt.conn = Some(conn);
            }
            self.run_c2c(realm, peer, conn, now);
        }
    }
}
