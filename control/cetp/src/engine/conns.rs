//! Connections, and whose they are: from the wish to open one, or its arrival, to its end.
//!
//! A connection belongs to nobody, is being opened for a peer, or is one of its peer's for everything, C2C being done. The
//! lists of each peer and the count of strangers by address agree with that, since nobody else writes them.

use super::api::{ConnId, Endpoint, Nanos, PeerId};
use super::timers::{Timer, Timers};
use crate::frame::Deframer;
use crate::keyed::Keyed;
use crate::limits::{CetpLimits, MS, S};
use rustc_hash::FxHashMap;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// How long malformed messages of a peer are held against it: a rate is abuse, a sum over months is not.
const MALFORMED_NS: Nanos = 60 * S;

/// Messages of H2H that are kept on one connection until C2C is done.
const MAX_EARLY: usize = 16;

/// Where a connection came from.
#[derive(Debug)]
pub(super) enum Origin {
    /// We opened it, to this endpoint.
    Ours(Endpoint),
    /// The peer did.
    Accepted,
}

/// Whom a connection is opened for: a host of ours that asked, and the name that says that its gateway is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) asker: Arc<str>,
    pub(super) name: Arc<str>,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) origin: Origin,
    pub(super) up: bool,
    pub(super) remote: SocketAddr,
    /// What the transport knows about the peer.
    pub(super) identity: Option<Arc<str>>,
    /// The peer that it belongs to, once that is known; for one of ours from the beginning.
    pub(super) peer: Option<PeerId>,
    /// For whom we open it.
    pub(super) wish: Option<Wish>,
    /// Whether it is one of its peer's connections for everything, C2C being done.
    pub(super) established: bool,
    /// Whether what is sent on it gets there and is understood, as far as can be known: the peer has said something on it, or
    /// it leads where the peer was found.
    pub(super) sound: bool,
    pub(super) opened: Nanos,
    /// When it has to be up, or C2C done.
    deadline: Option<Nanos>,
    frame_deadline: Option<Nanos>,
    deframer: Deframer,
    /// Messages of C2C negotiation since the last that succeeded.
    c2c_messages: u8,
    /// Malformed messages since the first one of this while.
    malformed: u16,
    malformed_since: Nanos,
    /// Messages that may still come now, and when that was so.
    tokens: u32,
    filled: Nanos,
    /// Messages of H2H that came before C2C was done here, though it was at the other end.
    early: Vec<Vec<u8>>,
}

impl Conn {
    fn new(origin: Origin, remote: SocketAddr, limits: &CetpLimits, now: Nanos) -> Self {
        Self {
            origin,
            up: false,
            remote,
            identity: None,
            peer: None,
            wish: None,
            established: false,
            sound: false,
            opened: now,
            deadline: None,
            frame_deadline: None,
            deframer: Deframer::new(limits.message_bytes as usize),
            c2c_messages: 0,
            malformed: 0,
            malformed_since: now,
            tokens: limits.messages_per_s,
            filled: now,
            early: Vec::new(),
        }
    }

    pub(super) const fn is_ours(&self) -> bool {
        matches!(self.origin, Origin::Ours(_))
    }

    /// The name that says that its peer is there.
    pub(super) fn said_by(&self) -> Option<&Arc<str>> {
        self.wish.as_ref().map(|wish| &wish.name)
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

/// The connections of one peer.
#[derive(Debug, Default)]
struct Lines {
    /// Those for everything.
    ready: Vec<ConnId>,
    /// Those that we open, or on which C2C of ours is not done.
    opening: Vec<ConnId>,
    turn: usize,
}

/// A connection that was taken out.
#[derive(Debug)]
pub(super) struct Gone {
    pub(super) conn: Conn,
    /// Whether its peer had it for everything until now.
    pub(super) was_ready: bool,
}

/// All connections.
#[derive(Debug)]
pub(super) struct Conns {
    conns: FxHashMap<ConnId, Conn>,
    last: u64,
    lines: FxHashMap<PeerId, Lines>,
    /// Accepted connections of which nobody knows whose they are, by address.
    unidentified: HashMap<IpAddr, u16, Keyed>,
}

impl Conns {
    pub(super) fn new(key: Keyed) -> Self {
        Self {
            conns: FxHashMap::default(),
            last: 0,
            lines: FxHashMap::default(),
            unidentified: HashMap::with_hasher(key),
        }
    }

    // --- what there is

    pub(super) fn get(&self, id: ConnId) -> Option<&Conn> {
        self.conns.get(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.conns.len()
    }

    fn find(&self, wanted: impl Fn(&Conn) -> bool) -> Vec<ConnId> {
        let mut ids: Vec<ConnId> =
            self.conns.iter().filter(|(_, conn)| wanted(conn)).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// All, in the order in which they came.
    pub(super) fn all(&self) -> Vec<ConnId> {
        self.find(|_| true)
    }

    /// Those with that address.
    pub(super) fn with(&self, addr: IpAddr) -> Vec<ConnId> {
        self.find(|conn| conn.remote.ip() == addr)
    }

    /// Those that a peer opened before C2C was done, and that its transport names.
    pub(super) fn named(&self, ces_id: &str) -> Vec<ConnId> {
        self.find(|conn| {
            !conn.is_ours() && !conn.established && conn.up && conn.identity.as_deref() == Some(ces_id)
        })
    }

    /// A peer's connections for everything, the oldest first.
    pub(super) fn of(&self, peer: PeerId) -> &[ConnId] {
        self.lines.get(&peer).map_or(&[], |lines| &lines.ready)
    }

    /// Those that are being opened for a peer, in the order of its endpoints.
    pub(super) fn opening(&self, peer: PeerId) -> &[ConnId] {
        self.lines.get(&peer).map_or(&[], |lines| &lines.opening)
    }

    /// The one of those that goes to an endpoint.
    pub(super) fn opening_to(&self, peer: PeerId, endpoint: &Endpoint) -> Option<ConnId> {
        let is_there = |conn: &Conn| matches!(&conn.origin, Origin::Ours(at) if at.is_at(endpoint));
        self.opening(peer).iter().copied().find(|id| self.get(*id).is_some_and(is_there))
    }

    /// Those of them that a host asked for last, the oldest first.
    pub(super) fn opening_for(&self, peer: PeerId, asker: &str) -> Vec<ConnId> {
        let is_its = |conn: &Conn| conn.wish.as_ref().is_some_and(|wish| *wish.asker == *asker);
        self.opening(peer).iter().copied().filter(|id| self.get(*id).is_some_and(is_its)).collect()
    }

    /// Another wish is for one as well: it is that one's from now on, lest the first gives it up for something else.
    pub(super) fn wish_for(&mut self, id: ConnId, wish: &Wish) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.wish = Some(wish.clone());
        }
    }

    pub(super) fn has_any(&self, peer: PeerId) -> bool {
        !self.of(peer).is_empty()
    }

    /// Accepted connections from an address of which nobody knows whose they are.
    pub(super) fn strangers(&self, addr: IpAddr) -> u16 {
        self.unidentified.get(&addr).copied().unwrap_or(0)
    }

    /// A connection of the peer's to send on: each that is sound in its turn, or each if none is.
    pub(super) fn pick(&mut self, peer: PeerId) -> Option<ConnId> {
        let lines = self.lines.get_mut(&peer).filter(|lines| !lines.ready.is_empty())?;
        let count = lines.ready.len();
        let mut turns = (1..=count).map(|step| (lines.turn + step) % count);
        let is_sound = |turn: &usize| self.conns.get(&lines.ready[*turn]).is_some_and(|conn| conn.sound);
        lines.turn = turns.find(is_sound).unwrap_or((lines.turn + 1) % count);
        Some(lines.ready[lines.turn])
    }

    /// Something was said on a connection, or it leads where the peer was found.
    pub(super) fn vouch(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.sound = true;
        }
    }

    // --- beginnings

    fn insert(&mut self, conn: Conn) -> ConnId {
        self.last += 1;
        let id = ConnId(self.last);
        self.conns.insert(id, conn);
        id
    }

    /// One that we open to a peer's endpoint, for a name or of our own accord.
    pub(super) fn open(
        &mut self,
        peer: PeerId,
        endpoint: Endpoint,
        wish: Option<&Wish>,
        limits: &CetpLimits,
        now: Nanos,
    ) -> ConnId {
        let remote = SocketAddr::new(endpoint.addr, endpoint.port);
        let mut conn = Conn::new(Origin::Ours(endpoint), remote, limits, now);
        (conn.peer, conn.wish) = (Some(peer), wish.cloned());
        let id = self.insert(conn);
        self.lines.entry(peer).or_default().opening.push(id);
        id
    }

    /// One that somebody opened to us.
    pub(super) fn accept(
        &mut self,
        identity: Option<Arc<str>>,
        remote: SocketAddr,
        limits: &CetpLimits,
        now: Nanos,
    ) -> ConnId {
        let mut conn = Conn::new(Origin::Accepted, remote, limits, now);
        conn.up = true;
        conn.identity = identity;
        *self.unidentified.entry(remote.ip()).or_default() += 1;
        self.insert(conn)
    }

    /// One of ours is up.
    pub(super) fn connected(
        &mut self,
        id: ConnId,
        identity: Option<Arc<str>>,
        remote: SocketAddr,
        now: Nanos,
    ) -> Option<&Conn> {
        let conn = self.conns.get_mut(&id).filter(|conn| !conn.up)?;
        conn.up = true;
        conn.remote = remote;
        conn.opened = now;
        conn.identity = identity;
        conn.deadline = None;
        Some(conn)
    }

    /// Makes a connection one of its peer's for everything. False if it is that already.
    pub(super) fn attach(&mut self, peer: PeerId, id: ConnId) -> bool {
        let Some(conn) = self.conns.get_mut(&id) else { return false };
        conn.deadline = None;
        conn.c2c_messages = 0;
        if conn.established {
            return false;
        }
        conn.established = true;
        conn.peer = Some(peer);
        let (is_ours, addr) = (conn.is_ours(), conn.remote.ip());
        if !is_ours {
            self.identified(addr);
        }
        let lines = self.lines.entry(peer).or_default();
        lines.opening.retain(|other| *other != id);
        lines.ready.push(id);
        true
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

    // --- ends

    /// A peer's connections for everything, which are its no longer.
    pub(super) fn detach(&mut self, peer: PeerId) -> Vec<ConnId> {
        self.lines.get_mut(&peer).map(|lines| std::mem::take(&mut lines.ready)).unwrap_or_default()
    }

    pub(super) fn remove(&mut self, id: ConnId) -> Option<Gone> {
        let conn = self.conns.remove(&id)?;
        if !conn.is_ours() && !conn.established {
            self.identified(conn.remote.ip());
        }
        let mut was_ready = false;
        if let Some(peer) = conn.peer
            && let Some(lines) = self.lines.get_mut(&peer)
        {
            was_ready = lines.ready.contains(&id);
            lines.ready.retain(|other| *other != id);
            lines.opening.retain(|other| *other != id);
            if lines.ready.is_empty() && lines.opening.is_empty() {
                self.lines.remove(&peer);
            }
        }
        Some(Gone { conn, was_ready })
    }

    // --- clocks

    pub(super) fn set_deadline(&mut self, id: ConnId, at: Nanos, timers: &mut Timers) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.deadline = Some(at);
            timers.set(at, Timer::Conn(id));
        }
    }

    pub(super) fn is_due(&self, id: ConnId, at: Nanos) -> bool {
        self.get(id).is_some_and(|conn| conn.deadline == Some(at))
    }

    pub(super) fn is_frame_due(&self, id: ConnId, at: Nanos) -> bool {
        self.get(id).is_some_and(|conn| conn.frame_deadline == Some(at))
    }

    // --- what arrives

    /// The stream of a connection, for the time in which it is cut into frames.
    pub(super) fn take_stream(&mut self, id: ConnId) -> Option<Deframer> {
        let conn = self.conns.get_mut(&id).filter(|conn| conn.up)?;
        Some(std::mem::take(&mut conn.deframer))
    }

    /// Gives it back. A frame that has begun has a while to end.
    pub(super) fn put_stream(
        &mut self,
        id: ConnId,
        deframer: Deframer,
        ended_one: bool,
        frame_ms: u32,
        now: Nanos,
        timers: &mut Timers,
    ) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let old = conn.frame_deadline.filter(|_| !ended_one);
        let frame_ns = u64::from(frame_ms) * MS;
        conn.frame_deadline = deframer.is_partial().then(|| old.unwrap_or(now + frame_ns));
        conn.deframer = deframer;
        if let Some(at) = conn.frame_deadline.filter(|at| old != Some(*at)) {
            timers.set(at, Timer::Frame(id));
        }
    }

    /// Whether one message more is within what may come in a second.
    pub(super) fn meter(&mut self, id: ConnId, per_s: u32, now: Nanos) -> bool {
        self.conns.get_mut(&id).is_some_and(|conn| conn.meter(per_s, now))
    }

    /// Counts a message of C2C negotiation; how many there are since the last that succeeded.
    pub(super) fn count_c2c(&mut self, id: ConnId) -> u8 {
        let Some(conn) = self.conns.get_mut(&id) else { return 0 };
        conn.c2c_messages = conn.c2c_messages.saturating_add(1);
        conn.c2c_messages
    }

    /// Keeps a message until C2C is done. False if there are too many.
    pub(super) fn keep_early(&mut self, id: ConnId, payload: &[u8]) -> bool {
        let conn = self.conns.get_mut(&id).filter(|conn| conn.early.len() < MAX_EARLY);
        conn.map(|conn| conn.early.push(payload.to_vec())).is_some()
    }

    /// What came on a peer's connections before C2C was done.
    pub(super) fn take_early(&mut self, peer: PeerId) -> Vec<(ConnId, Vec<u8>)> {
        let ready = self.of(peer).to_vec();
        let early = ready.into_iter().filter_map(|id| {
            let conn = self.conns.get_mut(&id).filter(|conn| !conn.early.is_empty())?;
            Some((id, std::mem::take(&mut conn.early)))
        });
        early.flat_map(|(id, all)| all.into_iter().map(move |payload| (id, payload))).collect()
    }

    /// Counts a malformed message; how many there are in this while.
    pub(super) fn count_malformed(&mut self, id: ConnId, now: Nanos) -> u16 {
        let Some(conn) = self.conns.get_mut(&id) else { return 0 };
        if now.saturating_sub(conn.malformed_since) > MALFORMED_NS {
            (conn.malformed, conn.malformed_since) = (0, now);
        }
        conn.malformed = conn.malformed.saturating_add(1);
        conn.malformed
    }
}

#[cfg(test)]
mod tests {
    use super::super::api::Proto;
    use super::*;
    use rand::SeedableRng;

    fn conns() -> Conns {
        Conns::new(Keyed::draw(&mut rand::rngs::StdRng::from_seed([0; 32])))
    }

    #[test]
    fn a_connection_is_in_one_list_at_a_time() {
        let (mut conns, limits) = (conns(), CetpLimits::default());
        let addr = [192, 0, 2, 1].into();
        let (port, order, preference) = (1, 0, 0);
        let endpoint = Endpoint { addr, port, proto: Proto::Tls, order, preference, alias: None };
        let ours = conns.open(7, endpoint, None, &limits, 0);
        let theirs = conns.accept(Some("gwb.".into()), SocketAddr::new(addr, 9), &limits, 0);
        assert_eq!((conns.opening(7), conns.of(7), conns.strangers(addr)), (&[ours][..], &[][..], 1));
        assert_eq!(conns.named("gwb."), [theirs]);
        assert!(conns.attach(7, theirs) && conns.attach(7, ours) && !conns.attach(7, ours));
        assert_eq!((conns.opening(7), conns.of(7), conns.strangers(addr)), (&[][..], &[theirs, ours][..], 0));
        assert!(conns.named("gwb.").is_empty());
        assert!(conns.remove(theirs).unwrap().was_ready);
        assert_eq!(conns.detach(7), [ours]);
        assert!(!conns.remove(ours).unwrap().was_ready, "it was its peer's no longer");
        assert!(conns.remove(ours).is_none() && conns.lines.is_empty() && conns.unidentified.is_empty());
    }
}
