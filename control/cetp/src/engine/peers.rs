//! Peers: C2C with each, started by either side or by both at once, lost and found again.

use super::conns::Origin;
use super::{
    ActionResult, BlockReason, ConnId, DownReason, Encapsulation, Endpoint, Engine, Failure, Nanos,
    NegotiationId, Output, PeerDownReason, PeerSnapshot, Proto, Realm, Role, Timer, TunnelChoice,
};
use crate::c2c::{C2cSide, PeerTerms, TUNNEL_ID_MAX};
use crate::limits::{MS, S};
use crate::message::{Message, Tlv, Writer};
use crate::negotiate::{unanswerable, verify, write_answers, write_queries};
use crate::policy::{canonical_name, same_name};
use crate::tlv::{Item, Layer};
use crate::value::Value;
use rand::Rng;
use rustc_hash::FxHashSet;
use std::net::SocketAddr;
use std::sync::Arc;

/// A peer's number; never used again.
pub(super) type PeerId = u32;

/// A C2C session.
#[derive(Clone, Debug)]
pub(super) struct C2c {
    pub(super) local_tag: u32,
    pub(super) remote_tag: u32,
    pub(super) role: Role,
    /// Where it was negotiated.
    pub(super) conn: ConnId,
    pub(super) since: Nanos,
    pub(super) until: Nanos,
    pub(super) session_limit: u32,
    /// For sessions that we start.
    pub(super) tunnel_out: TunnelChoice,
    /// For sessions that the peer starts.
    pub(super) tunnel_in: TunnelChoice,
}

/// A C2C negotiation of ours.
#[derive(Debug)]
pub(super) struct Attempt {
    tag: u32,
    round: u8,
    /// Where it runs.
    conn: Option<ConnId>,
    /// All connections opened for it that are not the peer's for everything yet.
    conns: Vec<ConnId>,
    /// What the last connection that failed failed with.
    last: Failure,
}

/// A peer gateway.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) ces_id: Arc<str>,
    /// Whether its transport proved who it is; then nothing less will do.
    pub(super) authenticated: bool,
    pub(super) conns: Vec<ConnId>,
    turn: usize,
    /// C2C, while the peer is up.
    pub(super) c2c: Option<C2c>,
    /// The other one, when both sides started at once: its tags are understood, too.
    pub(super) other: Option<C2c>,
    attempt: Option<Attempt>,
    pub(super) endpoints: Vec<Endpoint>,
    /// Negotiations that wait for C2C.
    pub(super) waiting: Vec<NegotiationId>,
    /// Negotiations of ours, waiting or not.
    pub(super) pending: u32,
    pub(super) sessions: FxHashSet<u32>,
    /// Tags, ours first, of sessions that ended here while the peer was away: it has yet to be told.
    pub(super) owed: Vec<(u32, u32)>,
    /// Rises with each C2C: a session of an older one may be asked for again.
    pub(super) epoch: u32,
    /// Rises when the peer shows to have restarted, since its tunnel ids changed: older sessions are dead over there.
    pub(super) incarnation: u32,
    fingerprint: Option<u64>,
}

impl Peer {
    /// Whether these are the tags, ours first, of C2C with it.
    fn has_tags(&self, tags: (u32, u32)) -> bool {
        [&self.c2c, &self.other].into_iter().flatten().any(|c2c| (c2c.local_tag, c2c.remote_tag) == tags)
    }

    fn is_idle(&self) -> bool {
        self.conns.is_empty()
            && self.attempt.is_none()
            && self.pending == 0
            && self.sessions.is_empty()
            && self.c2c.is_none()
    }
}

impl Engine {
    pub(super) fn is_up(&self, peer: PeerId) -> bool {
        self.peers.get(&peer).is_some_and(|peer| peer.c2c.is_some() && !peer.conns.is_empty())
    }

    /// The peer of that name, made if there is room.
    pub(super) fn peer(&mut self, ces_id: &Arc<str>) -> Option<PeerId> {
        if let Some(id) = self.peer_ids.get(ces_id) {
            return Some(*id);
        }
        if self.peers.len() >= self.settings.limits.peers as usize {
            let idle = self.peers.iter().find(|(_, peer)| peer.is_idle()).map(|(id, _)| *id)?;
            if let Some(peer) = self.peers.remove(&idle) {
                self.peer_ids.remove(&peer.ces_id);
            }
        }
        self.next_peer = self.next_peer.wrapping_add(1);
        let peer = Peer {
            ces_id: ces_id.clone(),
            authenticated: false,
            conns: Vec::new(),
            turn: 0,
            c2c: None,
            other: None,
            attempt: None,
            endpoints: Vec::new(),
            waiting: Vec::new(),
            pending: 0,
            sessions: FxHashSet::default(),
            owed: Vec::new(),
            epoch: 0,
            incarnation: 0,
            fingerprint: None,
        };
        self.peers.insert(self.next_peer, peer);
        self.peer_ids.insert(ces_id.clone(), self.next_peer);
        Some(self.next_peer)
    }

    /// The ids that we draw for a peer: the same as long as we run, without keeping them.
    fn tunnel_ids(&self, ces_id: &str) -> [u32; 3] {
        Encapsulation::ALL.map(|encapsulation| {
            let digest = self.tunnel_key.digest((ces_id, encapsulation as u8));
            (digest as u32 & TUNNEL_ID_MAX).max(1)
        })
    }

    fn draw_c2c_tag(&mut self) -> u32 {
        loop {
            let tag = self.rng.next_u32();
            let is_ours = |peer: &Peer| {
                let sessions = [&peer.c2c, &peer.other];
                sessions.into_iter().flatten().any(|c2c| c2c.local_tag == tag)
                    || peer.attempt.as_ref().is_some_and(|attempt| attempt.tag == tag)
            };
            if tag != 0 && !self.peers.values().any(is_ours) {
                return tag;
            }
        }
    }

    /// A connection of the peer's to send on: each in its turn.
    pub(super) fn pick_conn(&mut self, peer: PeerId) -> Option<ConnId> {
        let peer = self.peers.get_mut(&peer)?;
        if peer.conns.is_empty() {
            return None;
        }
        peer.turn = (peer.turn + 1) % peer.conns.len();
        Some(peer.conns[peer.turn])
    }

    /// Opens connections to a peer, for C2C on the first that is up. One under way is joined.
    pub(super) fn start_attempt(&mut self, peer: PeerId, now: Nanos) -> Result<(), Failure> {
        let settings = self.settings.clone();
        let Some(entry) = self.peers.get(&peer) else { return Err(Failure::Cancelled) };
        if entry.attempt.is_some() {
            return Ok(());
        }
        let ces_id = entry.ces_id.clone();
        let usable = |endpoint: &&Endpoint| {
            endpoint.port != 0 && (endpoint.proto == Proto::Tls || settings.believe_unauthenticated)
        };
        // Order, then preference; lower is better (RFC 3403 §4.1).
        let mut endpoints: Vec<_> = entry.endpoints.iter().filter(usable).cloned().collect();
        endpoints.sort_by_key(|endpoint| (endpoint.order, endpoint.preference));
        let mut seen = FxHashSet::default();
        endpoints.retain(|endpoint| seen.insert((endpoint.addr, endpoint.port)));
        endpoints.retain(|endpoint| !self.unreachable.contains(&(endpoint.addr, endpoint.port), now));
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
            entry.attempt = Some(Attempt { tag, round: 1, conn: None, conns, last: Failure::Unreachable });
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
    fn join_conn(&mut self, peer: PeerId, conn: ConnId) {
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
    fn run_c2c(&mut self, realm: &mut dyn Realm, peer: PeerId, conn: ConnId, now: Nanos) {
        let setup = u64::from(self.settings.limits.c2c_setup_ms) * MS;
        self.set_deadline(conn, Some(now + setup));
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

    fn c2c_side<'e>(&'e self, peer: &'e str, remote: SocketAddr, now: Nanos) -> C2cSide<'e> {
        C2cSide {
            settings: &self.settings,
            secrets: &self.secrets,
            peer,
            remote,
            tunnel_ids: self.tunnel_ids(peer),
            now,
        }
    }

    /// A message of a group of C2C.
    pub(super) fn c2c_message(
        &mut self,
        realm: &mut dyn Realm,
        conn: ConnId,
        message: &Message<'_>,
        now: Nanos,
    ) {
        let (rounds, lifetime, grace) = {
            let limits = &self.settings.limits;
            (limits.c2c_messages, limits.secret_s, limits.secret_grace_s)
        };
        self.secrets.refresh(&mut self.rng, lifetime, grace, now);
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
    fn claim_conn(&mut self, conn: ConnId, message: &Message<'_>) -> bool {
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

    fn c2c_refused(&mut self, conn: ConnId, why: Failure) {
        self.counters.c2c_received.count(Err(why));
        let ces_id = self.conns.get(&conn.0).and_then(|entry| entry.identity.clone());
        self.outputs.push_back(Output::PeerFailed { ces_id, role: Role::Responder, why });
    }

    /// Refuses a peer's C2C: tells it what offends, closes, and blocks its address.
    fn refuse_c2c(
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
        if why == Failure::Overload {
            // Our trouble, not its fault.
            return self.close(realm, conn, why, now);
        }
        if let Some(addr) = self.conns.get(&conn.0).map(|entry| entry.remote.ip()) {
            let block = u64::from(self.settings.limits.block_s) * S;
            self.put_block(addr, BlockReason::C2cFailed, block, now);
        }
        self.close(realm, conn, why, now);
    }

    /// A peer wants C2C. Nothing is kept until all requirements hold.
    fn c2c_request(&mut self, realm: &mut dyn Realm, conn: ConnId, message: &Message<'_>, now: Nanos) {
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

    fn c2c(
        settings: &super::Settings,
        (local_tag, remote_tag): (u32, u32),
        role: Role,
        conn: ConnId,
        terms: &PeerTerms,
        (tunnel_out, tunnel_in): (TunnelChoice, TunnelChoice),
        now: Nanos,
    ) -> C2c {
        let limits = &settings.limits;
        C2c {
            local_tag,
            remote_tag,
            role,
            conn,
            since: now,
            until: now + u64::from(terms.ttl_s) * S,
            session_limit: terms
                .session_limit
                .unwrap_or(limits.sessions_per_peer)
                .min(limits.sessions_per_peer_max),
            tunnel_out,
            tunnel_in,
        }
    }

    /// The answer to a message of ours.
    fn c2c_reply(
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

    /// C2C is agreed. When both sides started at once there are two: the one that the smaller CES id started is used,
    /// and the tags of the other are understood as well. Otherwise the new one takes the old one's place.
    fn install_c2c(&mut self, realm: &mut dyn Realm, peer: PeerId, new: C2c, terms: &PeerTerms, now: Nanos) {
        let overlap = u64::from(self.settings.limits.c2c_setup_ms) * MS;
        let own_first = *self.settings.ces_id < *self.peers.get(&peer).map_or("", |entry| &*entry.ces_id);
        let fingerprint = self.tunnel_key.digest((&terms.candidates, &terms.payloads));
        let (conn, until, role) = (new.conn, new.until, new.role);
        let opened = self.conns.get(&conn.0).map_or(now, |entry| entry.opened);
        let has_identity = self.conns.get(&conn.0).is_some_and(|entry| entry.identity.is_some());
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        entry.authenticated |= has_identity;
        entry.epoch = entry.epoch.wrapping_add(1);
        let restarted = entry.fingerprint.is_some_and(|old| old != fingerprint);
        entry.fingerprint = Some(fingerprint);
        if restarted {
            entry.incarnation = entry.incarnation.wrapping_add(1);
        }
        match entry.c2c.take() {
            Some(old) if !restarted && old.role != role && now.saturating_sub(old.since) <= overlap => {
                let initiator_wins = if own_first { Role::Initiator } else { Role::Responder };
                let (used, other) = if role == initiator_wins { (new, old) } else { (old, new) };
                entry.c2c = Some(used);
                entry.other = Some(other);
            }
            _ => {
                entry.c2c = Some(new);
                entry.other = None;
            }
        }
        let ces_id = entry.ces_id.clone();
        self.timer(until, Timer::C2c(peer));
        self.attach(peer, conn);
        // Connections that the peer opened before C2C was done, and that its transport names.
        let named = self.conns.iter().filter(|(_, conn)| !conn.is_ours() && !conn.established && conn.up);
        let named: Vec<u64> =
            named.filter(|(_, conn)| conn.identity.as_ref() == Some(&ces_id)).map(|(id, _)| *id).collect();
        for id in named {
            self.attach(peer, ConnId(id));
        }
        self.outputs.push_back(Output::PeerUp { ces_id, role });
        if restarted {
            // What was open long before the restart leads nowhere; the transport may take minutes to notice.
            let margin = u64::from(self.settings.limits.connect_ms) * MS;
            let open = self.peers.get(&peer).map(|entry| entry.conns.clone()).unwrap_or_default();
            let is_old =
                |id: &ConnId| self.conns.get(&id.0).is_some_and(|entry| entry.opened + margin < opened);
            let old: Vec<ConnId> = open.into_iter().filter(is_old).collect();
            for id in old {
                self.close(realm, id, Failure::Lost, now);
            }
        }
    }

    /// Starts the negotiations that waited for C2C, after what the peer has yet to be told.
    fn flush_waiting(&mut self, realm: &mut dyn Realm, peer: PeerId, now: Nanos) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        let owed = std::mem::take(&mut entry.owed);
        for tags in owed {
            self.tell_end(peer, tags);
        }
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        let waiting = std::mem::take(&mut entry.waiting);
        for id in waiting {
            self.start_h2h(realm, id, now);
        }
    }

    /// No answer to a message of C2C.
    pub(super) fn c2c_silent(&mut self, realm: &mut dyn Realm, conn: ConnId, now: Nanos) {
        let Some(peer) = self.conns.get(&conn.0).and_then(|entry| entry.peer) else { return };
        if let Some(Origin::Ours(endpoint)) = self.conns.get(&conn.0).map(|entry| &entry.origin) {
            let until = now + u64::from(self.settings.limits.unreachable_s) * S;
            self.unreachable.insert((endpoint.addr, endpoint.port), (), until, now);
        }
        self.attempt_failed(realm, peer, Failure::Silent, now);
    }

    /// C2C of ours is not to be. What waits for it fails, unless the peer's own made it.
    fn attempt_failed(&mut self, realm: &mut dyn Realm, peer: PeerId, why: Failure, now: Nanos) {
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
        self.outputs.push_back(Output::PeerFailed { ces_id, role: Role::Initiator, why });
        for id in waiting {
            self.finish(realm, id, Err(why), now);
        }
    }

    /// A connection of this peer's, or one that was to be, is gone.
    pub(super) fn peer_lost_conn(
        &mut self,
        realm: &mut dyn Realm,
        peer: PeerId,
        conn: ConnId,
        why: Failure,
        now: Nanos,
    ) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        let was_established = entry.conns.contains(&conn);
        entry.conns.retain(|id| *id != conn);
        if let Some(other) = &entry.other {
            // Of two C2C the one whose connection lives is the better guess of what the peer still knows.
            let alive = |conn: &ConnId| entry.conns.contains(conn);
            if entry.c2c.as_ref().is_some_and(|c2c| !alive(&c2c.conn)) && alive(&other.conn) {
                std::mem::swap(&mut entry.c2c, &mut entry.other);
            }
        }
        if let Some(attempt) = entry.attempt.as_mut() {
            attempt.conns.retain(|id| *id != conn);
            let ran_here = attempt.conn == Some(conn);
            if ran_here {
                attempt.conn = None;
            }
            if why != Failure::Cancelled {
                attempt.last = why;
            }
            let (none_left, last) = (attempt.conns.is_empty(), attempt.last);
            if none_left {
                self.attempt_failed(realm, peer, last, now);
            } else if ran_here {
                self.run_on_next(realm, peer, now);
            }
        }
        if was_established {
            self.after_loss(realm, peer, conn, now);
        }
    }

    /// C2C starts anew on another connection of the attempt that is up.
    fn run_on_next(&mut self, realm: &mut dyn Realm, peer: PeerId, now: Nanos) {
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

    /// What was under way on a lost connection goes on another; with the last one the peer is down.
    fn after_loss(&mut self, realm: &mut dyn Realm, peer: PeerId, conn: ConnId, now: Nanos) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        let all_lost = entry.conns.is_empty();
        // Nothing of C2C is kept: the peer may come back as another, and H2H does not say which C2C it rests on.
        if all_lost && entry.c2c.take().is_some() {
            entry.other = None;
            let ces_id = entry.ces_id.clone();
            self.outputs.push_back(Output::PeerDown { ces_id, why: PeerDownReason::ConnectionsLost });
        }
        if all_lost {
            self.actions_failed(peer, ActionResult::PeerDown);
        }
        self.resume(realm, peer, (!all_lost).then_some(conn), now);
    }

    pub(super) fn c2c_due(&self, peer: PeerId, at: Nanos) -> bool {
        self.peers.get(&peer).and_then(|entry| entry.c2c.as_ref()).is_some_and(|c2c| c2c.until == at)
    }

    /// C2C with a peer ends: its connections are closed. Sessions end, too, unless only its time is over.
    pub(super) fn peer_down(&mut self, realm: &mut dyn Realm, peer: PeerId, why: PeerDownReason, now: Nanos) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        let was_up = entry.c2c.take().is_some();
        entry.other = None;
        let ces_id = entry.ces_id.clone();
        let sessions: Vec<u32> = entry.sessions.iter().copied().collect();
        let conns = std::mem::take(&mut entry.conns);
        let how = match why {
            PeerDownReason::ByPeer => Some(DownReason::ByPeer),
            PeerDownReason::ByUs => Some(DownReason::ByUs),
            PeerDownReason::Abuse | PeerDownReason::Expired | PeerDownReason::ConnectionsLost => None,
        };
        if let Some(how) = how {
            for tag in sessions {
                self.session_down(tag, how);
            }
        }
        if was_up {
            self.outputs.push_back(Output::PeerDown { ces_id, why });
        }
        for conn in conns {
            self.close(realm, conn, Failure::Lost, now);
        }
        self.actions_failed(peer, ActionResult::PeerDown);
        self.resume(realm, peer, None, now);
    }

    pub(super) fn peer_snapshot(&self, peer: &Peer, now: Nanos) -> PeerSnapshot {
        let c2c = peer.c2c.as_ref();
        let remotes = peer.conns.iter().filter_map(|id| Some(self.conns.get(&id.0)?.remote));
        PeerSnapshot {
            ces_id: peer.ces_id.clone(),
            up: c2c.is_some(),
            role: c2c.map(|c2c| c2c.role),
            tags: c2c.map(|c2c| (c2c.local_tag, c2c.remote_tag)),
            connections: remotes.collect(),
            sessions: peer.sessions.len(),
            session_limit: c2c.map_or(0, |c2c| c2c.session_limit),
            pending: peer.pending as usize,
            ttl_left_s: c2c.map_or(0, |c2c| c2c.until.saturating_sub(now) / S),
            tunnel_out: c2c.map(|c2c| c2c.tunnel_out.clone()),
            tunnel_in: c2c.map(|c2c| c2c.tunnel_in.clone()),
        }
    }
}
