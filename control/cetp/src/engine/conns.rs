//! Connections: from bytes to messages, and what a connection may do before its peer is known.

use super::peers::PeerId;
use super::{
    AcceptError, BlockReason, ConnId, Endpoint, Engine, Failure, Nanos, Output, PeerDownReason, PeerIdentity,
    Proto, Realm, Timer,
};
use crate::frame::Deframer;
use crate::limits::{MS, S};
use crate::message::Message;
use crate::policy::{canonical_name, same_name};
use crate::tlv::Layer;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// How long malformed messages of a peer are held against it: a rate is abuse, a sum over months is not.
const MALFORMED_NS: Nanos = 60 * S;

/// Where a connection came from.
#[derive(Debug)]
pub(super) enum Origin {
    /// We opened it, to this endpoint.
    Ours(Endpoint),
    /// The peer did.
    Accepted,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) origin: Origin,
    pub(super) up: bool,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// What the transport knows about the peer.
    pub(super) identity: Option<Arc<str>>,
    /// The peer that it belongs to, once that is known; for one of ours from the beginning.
    pub(super) peer: Option<PeerId>,
    /// Whether it is one of its peer's connections for everything, C2C being done.
    pub(super) established: bool,
    pub(super) opened: Nanos,
    /// When it has to be up, or C2C done.
    pub(super) deadline: Option<Nanos>,
    frame_deadline: Option<Nanos>,
    deframer: Deframer,
    /// Messages of C2C negotiation since the last that succeeded.
    pub(super) c2c_messages: u8,
    /// Malformed messages since the first one of this while.
    malformed: u16,
    malformed_since: Nanos,
    /// Messages that may still come now, and when that was so.
    tokens: u32,
    filled: Nanos,
}

impl Conn {
    pub(super) fn is_ours(&self) -> bool {
        matches!(self.origin, Origin::Ours(_))
    }

    /// Takes one message from the allowance.
    fn meter(&mut self, per_s: u32, now: Nanos) -> bool {
        let passed = now.saturating_sub(self.filled);
        // At most one second's worth is saved up, so the product fits.
        let earned = passed.min(S) * u64::from(per_s) / S;
        if earned > 0 {
            self.tokens = self.tokens.saturating_add(earned as u32).min(per_s);
            self.filled = now;
        }
        let allowed = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        allowed
    }
}

impl Engine {
    fn draw_conn(&mut self) -> ConnId {
        self.next_conn += 1;
        ConnId(self.next_conn)
    }

    fn insert_conn(&mut self, origin: Origin, remote: SocketAddr, now: Nanos) -> ConnId {
        let id = self.draw_conn();
        let limits = &self.settings.limits;
        let conn = Conn {
            origin,
            up: false,
            local: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            remote,
            identity: None,
            peer: None,
            established: false,
            opened: now,
            deadline: None,
            frame_deadline: None,
            deframer: Deframer::new(limits.message_bytes as usize),
            c2c_messages: 0,
            malformed: 0,
            malformed_since: now,
            tokens: limits.messages_per_s,
            filled: now,
        };
        self.conns.insert(id.0, conn);
        id
    }

    pub(super) fn set_deadline(&mut self, conn: ConnId, deadline: Option<Nanos>) {
        if let Some(entry) = self.conns.get_mut(&conn.0) {
            entry.deadline = deadline;
            if let Some(at) = deadline {
                self.timer(at, Timer::Conn(conn.0));
            }
        }
    }

    /// Opens a connection to a peer's endpoint.
    pub(super) fn open(&mut self, peer: PeerId, ces_id: Arc<str>, endpoint: Endpoint, now: Nanos) -> ConnId {
        let remote = SocketAddr::new(endpoint.addr, endpoint.port);
        let conn = self.insert_conn(Origin::Ours(endpoint.clone()), remote, now);
        if let Some(entry) = self.conns.get_mut(&conn.0) {
            entry.peer = Some(peer);
        }
        self.set_deadline(conn, Some(now + u64::from(self.settings.limits.connect_ms) * MS));
        self.outputs.push_back(Output::Connect { conn, endpoint, ces_id });
        conn
    }

    pub(super) fn connected(
        &mut self,
        realm: &mut dyn Realm,
        conn: ConnId,
        identity: PeerIdentity,
        local: SocketAddr,
        remote: SocketAddr,
        now: Nanos,
    ) {
        let Some(entry) = self.conns.get_mut(&conn.0).filter(|entry| !entry.up) else { return };
        entry.up = true;
        entry.local = local;
        entry.remote = remote;
        entry.opened = now;
        entry.identity = identity.ces_id;
        let Some(peer) = entry.peer else { return };
        let is_tls = matches!(&entry.origin, Origin::Ours(endpoint) if endpoint.proto == Proto::Tls);
        let identity = entry.identity.clone();
        self.set_deadline(conn, None);
        let Some(name) = self.peers.get(&peer).map(|peer| peer.ces_id.clone()) else {
            return self.close(realm, conn, Failure::Cancelled, now);
        };
        let is_it = match identity {
            Some(identity) => same_name(&identity, &name),
            None => !is_tls && self.settings.believe_unauthenticated,
        };
        if is_it {
            self.conn_ready(realm, peer, conn, now);
        } else {
            self.close(realm, conn, Failure::Identity, now);
        }
    }

    pub(super) fn accept(
        &mut self,
        identity: PeerIdentity,
        local: SocketAddr,
        remote: SocketAddr,
        now: Nanos,
    ) -> Result<ConnId, AcceptError> {
        let settings = self.settings.clone();
        let limits = &settings.limits;
        if self.blocked.contains(&remote.ip(), now) {
            return Err(AcceptError::Blocked);
        }
        let identity = identity.ces_id.map(|id| Arc::<str>::from(canonical_name(&id)));
        match &identity {
            None if !settings.believe_unauthenticated => return Err(AcceptError::Identity),
            Some(id) if same_name(id, &settings.ces_id) || !self.is_trusted(id) => {
                return Err(AcceptError::Identity);
            }
            _ => {}
        }
        let waiting = self.unidentified.get(&remote.ip()).copied().unwrap_or(0);
        if self.conns.len() >= limits.connections as usize || waiting >= limits.unidentified_per_address {
            return Err(AcceptError::Overload);
        }
        let conn = self.insert_conn(Origin::Accepted, remote, now);
        *self.unidentified.entry(remote.ip()).or_default() += 1;
        if let Some(entry) = self.conns.get_mut(&conn.0) {
            entry.up = true;
            entry.local = local;
            entry.identity.clone_from(&identity);
        }
        // A further connection of a peer that is up belongs to it at once.
        let known = identity.and_then(|id| self.peer_ids.get(&id).copied());
        match known.filter(|peer| self.is_up(*peer)) {
            Some(peer) => self.attach(peer, conn),
            None => self.set_deadline(conn, Some(now + u64::from(limits.c2c_setup_ms) * MS)),
        }
        Ok(conn)
    }

    pub(super) fn is_trusted(&self, ces_id: &str) -> bool {
        let trusted = &self.settings.trusted;
        trusted.is_empty() || trusted.iter().any(|id| same_name(id, ces_id))
    }

    /// Makes a connection one of its peer's for everything.
    pub(super) fn attach(&mut self, peer: PeerId, conn: ConnId) {
        let Some(entry) = self.conns.get_mut(&conn.0) else { return };
        entry.deadline = None;
        entry.c2c_messages = 0;
        if entry.established {
            return;
        }
        entry.established = true;
        entry.peer = Some(peer);
        let (remote, is_ours) = (entry.remote.ip(), entry.is_ours());
        if !is_ours {
            self.identified(remote);
        }
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        entry.conns.push(conn);
        // Both ends may have opened as many; beyond that the oldest that the peer opened is most likely dead.
        if entry.conns.len() > 2 * usize::from(self.settings.limits.connections_per_peer) {
            let surplus =
                entry.conns.iter().find(|id| self.conns.get(&id.0).is_some_and(|conn| !conn.is_ours()));
            if let Some(surplus) = surplus.copied().filter(|surplus| *surplus != conn) {
                self.surplus.push(surplus);
            }
        }
    }

    /// One connection fewer from this address of which nobody knows whose it is.
    fn identified(&mut self, addr: IpAddr) {
        if let Some(count) = self.unidentified.get_mut(&addr) {
            *count -= 1;
            if *count == 0 {
                self.unidentified.remove(&addr);
            }
        }
    }

    pub(super) fn received(&mut self, realm: &mut dyn Realm, conn: ConnId, bytes: &[u8], now: Nanos) {
        let Some(entry) = self.conns.get_mut(&conn.0).filter(|entry| entry.up) else { return };
        let mut deframer = std::mem::take(&mut entry.deframer);
        let mut input = bytes;
        let mut ended_one = false;
        loop {
            match deframer.next(&mut input) {
                Ok(Some(payload)) => {
                    ended_one = true;
                    self.payload(realm, conn, payload, now);
                    if !self.conns.contains_key(&conn.0) {
                        return;
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    self.counters.malformed += 1;
                    return self.abuse(realm, conn, BlockReason::Garbage, now);
                }
            }
        }
        let frame_ns = u64::from(self.settings.limits.frame_ms) * MS;
        let Some(entry) = self.conns.get_mut(&conn.0) else { return };
        let old = entry.frame_deadline.filter(|_| !ended_one);
        entry.frame_deadline = deframer.is_partial().then(|| old.unwrap_or(now + frame_ns));
        entry.deframer = deframer;
        if let Some(at) = entry.frame_deadline.filter(|at| old != Some(*at)) {
            self.timer(at, Timer::Frame(conn.0));
        }
    }

    fn payload(&mut self, realm: &mut dyn Realm, conn: ConnId, payload: &[u8], now: Nanos) {
        self.counters.messages_in += 1;
        let limits = &self.settings.limits;
        let (per_s, max_malformed, max_tlvs) =
            (limits.messages_per_s, limits.malformed, usize::from(limits.tlvs));
        let Some(entry) = self.conns.get_mut(&conn.0) else { return };
        if !entry.meter(per_s, now) {
            return self.abuse(realm, conn, BlockReason::Flood, now);
        }
        let message = match Message::parse(payload, max_tlvs) {
            Ok(message) if message.layer().is_some() => message,
            _ => {
                self.counters.malformed += 1;
                if now.saturating_sub(entry.malformed_since) > MALFORMED_NS {
                    (entry.malformed, entry.malformed_since) = (0, now);
                }
                entry.malformed = entry.malformed.saturating_add(1);
                if !entry.established || entry.malformed > max_malformed {
                    self.abuse(realm, conn, BlockReason::Garbage, now);
                }
                return;
            }
        };
        self.counters.unknown_tlvs += message.tlvs.iter().filter(|tlv| tlv.item().is_none()).count() as u64;
        match message.layer() {
            Some(Layer::C2c) => self.c2c_message(realm, conn, &message, now),
            _ => self.h2h_message(realm, conn, &message, now),
        }
    }

    pub(super) fn frame_due(&self, conn: u64, at: Nanos) -> bool {
        self.conns.get(&conn).is_some_and(|entry| entry.frame_deadline == Some(at))
    }

    pub(super) fn conn_due(&self, conn: u64, at: Nanos) -> bool {
        self.conns.get(&conn).is_some_and(|entry| entry.deadline == Some(at))
    }

    /// A connection of ours is not up in time, or C2C is not done in time.
    pub(super) fn conn_timeout(&mut self, realm: &mut dyn Realm, conn: ConnId, now: Nanos) {
        let Some(entry) = self.conns.get(&conn.0) else { return };
        match (entry.is_ours(), entry.up) {
            (true, false) => self.close(realm, conn, Failure::Unreachable, now),
            (true, true) => self.c2c_silent(realm, conn, now),
            (false, _) => self.abuse(realm, conn, BlockReason::C2cSilent, now),
        }
    }

    /// Closes a connection whose peer breaks the rules and refuses its address for a while. A peer that was up is
    /// down with all its connections.
    pub(super) fn abuse(&mut self, realm: &mut dyn Realm, conn: ConnId, why: BlockReason, now: Nanos) {
        let Some(entry) = self.conns.get(&conn.0) else { return };
        let (addr, peer) = (entry.remote.ip(), entry.peer.filter(|_| entry.established));
        self.put_block(addr, why, u64::from(self.settings.limits.block_s) * S, now);
        if let Some(peer) = peer {
            self.peer_down(realm, peer, PeerDownReason::Abuse, now);
        }
        self.close(realm, conn, Failure::Lost, now);
    }

    pub(super) fn put_block(&mut self, addr: IpAddr, why: BlockReason, for_ns: u64, now: Nanos) {
        if for_ns == 0 {
            return;
        }
        self.counters.blocks[why as usize] += 1;
        self.blocked.insert(addr, why, now + for_ns, now);
        self.outputs.push_back(Output::Blocked { addr, why, for_ns });
    }

    /// Closes a connection from our side.
    pub(super) fn close(&mut self, realm: &mut dyn Realm, conn: ConnId, why: Failure, now: Nanos) {
        if self.conns.contains_key(&conn.0) {
            self.outputs.push_back(Output::Close { conn });
            self.forget_conn(realm, conn, why, now);
        }
    }

    /// A connection is gone; `why` is what a C2C that ran on it failed with.
    pub(super) fn forget_conn(&mut self, realm: &mut dyn Realm, conn: ConnId, why: Failure, now: Nanos) {
        let Some(entry) = self.conns.remove(&conn.0) else { return };
        if !entry.is_ours() && !entry.established {
            self.identified(entry.remote.ip());
        }
        if let Origin::Ours(endpoint) = &entry.origin
            && !entry.established
            && matches!(why, Failure::Unreachable | Failure::Silent | Failure::Lost | Failure::Identity)
            && !entry.peer.is_some_and(|peer| self.is_only_revival(peer))
        {
            let until = now + u64::from(self.settings.limits.unreachable_s) * S;
            self.unreachable.insert((endpoint.addr, endpoint.port), (), until, now);
        }
        if let Some(peer) = entry.peer {
            self.peer_lost_conn(realm, peer, conn, why, now);
        }
    }

    /// Sends one message.
    pub(super) fn send(&mut self, conn: ConnId, frame: Result<Vec<u8>, crate::frame::FrameError>) -> bool {
        match frame {
            Ok(bytes) if self.conns.get(&conn.0).is_some_and(|entry| entry.up) => {
                self.counters.messages_out += 1;
                self.outputs.push_back(Output::Send { conn, bytes });
                true
            }
            _ => false,
        }
    }

    /// Closes what `attach` found to be too many.
    pub(super) fn close_surplus(&mut self, realm: &mut dyn Realm, now: Nanos) {
        while let Some(conn) = self.surplus.pop() {
            self.close(realm, conn, Failure::Overload, now);
        }
    }
}
