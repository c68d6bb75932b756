//! The engine: all peers, negotiations and sessions of one gateway.
//!
//! It neither reads a clock nor touches a socket: time, randomness (a seed) and bytes come as arguments, what is to be
//! done comes out of [`Engine::poll_output`], and [`Engine::poll_timeout`] says when it has to be asked again. Names
//! come in any case, with or without the trailing dot; inside and in what comes out they are in lower case with it.

mod acceptor;
mod adopt;
mod after;
pub(crate) mod api;
mod attempts;
mod conns;
mod counters;
mod hosts;
mod inbound;
mod peers;
mod reason;
mod renewal;
mod revival;
mod sessions;
mod table;

pub use adopt::PeerMemory;
pub use api::*;
pub use counters::{Counters, Outcomes};
pub use reason::{BlockReason, DownReason, Failure, PeerDownReason};

use crate::block::Expiring;
use crate::keyed::{Keyed, Secrets};
use crate::limits::S;
use crate::policy::canonical_name;
use crate::tlv::Layer;
use after::{Action, FilterKey};
use conns::Conn;
use hosts::Negotiation;
use peers::{Peer, PeerId};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use table::Table;

/// What a timer is about. Timers are not taken back; one that is no longer meant is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Conn(u64),
    Frame(u64),
    Negotiation(u64),
    C2c(PeerId),
    Action(u64),
    Revival(PeerId),
    Renewal(PeerId),
}

/// The CETP engine of one gateway.
#[derive(Debug)]
pub struct Engine {
    settings: Arc<Settings>,
    rng: StdRng,
    secrets: Secrets,
    /// Makes tunnel ids and fingerprints.
    tunnel_key: Keyed,
    counters: Counters,
    outputs: VecDeque<Output>,
    timers: BinaryHeap<Reverse<(Nanos, Timer)>>,
    conns: FxHashMap<u64, Conn>,
    next_conn: u64,
    /// Connections too many, to be closed.
    surplus: Vec<ConnId>,
    /// Accepted connections of which nobody knows whose they are, by address.
    unidentified: HashMap<IpAddr, u16, Keyed>,
    peers: FxHashMap<PeerId, Peer>,
    peer_ids: HashMap<Arc<str>, PeerId, Keyed>,
    next_peer: PeerId,
    negotiations: FxHashMap<u64, Negotiation>,
    next_negotiation: u64,
    table: Table,
    actions: FxHashMap<u64, Action>,
    next_action: u64,
    blocked: Expiring<IpAddr, BlockReason>,
    unreachable: Expiring<(IpAddr, u16), ()>,
    filters: Expiring<FilterKey, ()>,
}

fn check(settings: &Settings) -> Result<(), String> {
    settings.limits.check()?;
    settings.network_policy.check_layer(Layer::C2c).map_err(|error| error.to_string())?;
    if settings.ces_id.is_empty() || settings.ces_id.len() > 255 {
        return Err("the CES id: expected 1 to 255 characters".into());
    }
    if let Some(bad) = settings.locators.iter().find(|locator| !crate::c2c::usable_locator(locator.address)) {
        return Err(format!("locator {}: expected a unicast address", bad.address));
    }
    Ok(())
}

fn canonical(mut settings: Settings) -> Arc<Settings> {
    settings.ces_id = canonical_name(&settings.ces_id).into();
    Arc::new(settings)
}

impl Engine {
    /// An engine with nothing under way. `seed` feeds its generator: tags, secrets, tunnel ids. It must be another one
    /// after each start: peers see by the new tunnel ids that what they had with the old engine is gone. An engine that goes
    /// on where another one ended draws the same ids as that one ([`Engine::draw_tunnel_ids_by`]).
    pub fn new(settings: Settings, seed: [u8; 32], now: Nanos) -> Result<Self, String> {
        check(&settings)?;
        let mut rng = StdRng::from_seed(seed);
        let secrets = Secrets::new(&mut rng, now);
        let mut key = || Keyed::draw(&mut rng);
        let limits = &settings.limits;
        Ok(Self {
            secrets,
            tunnel_key: key(),
            counters: Counters::default(),
            outputs: VecDeque::new(),
            timers: BinaryHeap::new(),
            conns: FxHashMap::default(),
            next_conn: 0,
            surplus: Vec::new(),
            unidentified: HashMap::with_hasher(key()),
            peers: FxHashMap::default(),
            peer_ids: HashMap::with_hasher(key()),
            next_peer: 0,
            negotiations: FxHashMap::default(),
            next_negotiation: 0,
            table: Table::new(key()),
            actions: FxHashMap::default(),
            next_action: 0,
            blocked: Expiring::new(limits.blocked as usize, key()),
            unreachable: Expiring::new(limits.unreachable as usize, key()),
            filters: Expiring::new(limits.filters as usize, key()),
            settings: canonical(settings),
            rng,
        })
    }

    /// Takes new settings for what is negotiated from now on; sessions and peers stay.
    pub fn configure(&mut self, settings: Settings) -> Result<(), String> {
        check(&settings)?;
        self.blocked.resize(settings.limits.blocked as usize);
        self.unreachable.resize(settings.limits.unreachable as usize);
        self.filters.resize(settings.limits.filters as usize);
        self.settings = canonical(settings);
        Ok(())
    }

    /// A local host wants to reach a remote name. Joins what is under way.
    pub fn negotiate(&mut self, realm: &mut dyn Realm, request: H2hRequest, now: Nanos) -> Asked {
        self.refresh(now);
        let asked = self.ask(realm, request, now);
        self.settle(realm, now);
        asked
    }

    /// A connection of ours ([`Output::Connect`]) is up.
    pub fn handle_connected(
        &mut self,
        realm: &mut dyn Realm,
        conn: ConnId,
        identity: PeerIdentity,
        local: SocketAddr,
        remote: SocketAddr,
        now: Nanos,
    ) {
        self.refresh(now);
        self.connected(realm, conn, identity, local, remote, now);
        self.settle(realm, now);
    }

    /// A peer connected to us. An error means: close it, it has no id.
    pub fn handle_accepted(
        &mut self,
        identity: PeerIdentity,
        local: SocketAddr,
        remote: SocketAddr,
        now: Nanos,
    ) -> Result<ConnId, AcceptError> {
        let accepted = self.accept(identity, local, remote, now);
        self.counters.accepts_refused += u64::from(accepted.is_err());
        accepted
    }

    /// Bytes came; any cut of the stream will do.
    pub fn handle_received(&mut self, realm: &mut dyn Realm, conn: ConnId, bytes: &[u8], now: Nanos) {
        self.refresh(now);
        self.received(realm, conn, bytes, now);
        self.settle(realm, now);
    }

    /// A connection is gone, or one of ours could not be opened.
    pub fn handle_closed(&mut self, realm: &mut dyn Realm, conn: ConnId, now: Nanos) {
        self.refresh(now);
        let is_up = self.conns.get(&conn.0).is_some_and(|entry| entry.up);
        self.forget_conn(realm, conn, if is_up { Failure::Lost } else { Failure::Unreachable }, now);
        self.settle(realm, now);
    }

    /// Time has come for what [`Engine::poll_timeout`] announced.
    pub fn handle_timeout(&mut self, realm: &mut dyn Realm, now: Nanos) {
        self.refresh(now);
        while let Some(Reverse((at, timer))) = self.timers.peek().copied() {
            if at > now {
                break;
            }
            self.timers.pop();
            if !self.is_due(at, timer) {
                continue;
            }
            match timer {
                Timer::Conn(id) => self.conn_timeout(realm, ConnId(id), now),
                Timer::Frame(id) => self.abuse(realm, ConnId(id), BlockReason::Slow, now),
                Timer::Negotiation(id) => self.finish(realm, NegotiationId(id), Err(Failure::Silent), now),
                Timer::C2c(peer) => self.peer_down(realm, peer, PeerDownReason::Expired, now),
                Timer::Action(id) => self.action_done(id, ActionResult::Silent),
                Timer::Revival(peer) => self.revive(peer, now),
                Timer::Renewal(peer) => self.renew(realm, peer, now),
            }
        }
        self.settle(realm, now);
    }

    /// When `handle_timeout` is due next.
    pub fn poll_timeout(&self) -> Option<Nanos> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// The next thing for the owner to do; ask until `None` after every call that may have caused any.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The owner says that a session's binding ended by itself (idle or hard lifetime); nothing comes out of it.
    pub fn session_ended(&mut self, local_tag: u32, now: Nanos) {
        self.binding_ended(local_tag, now);
    }

    /// Terminates a session: the peer is told, [`Output::H2hDown`] follows. False if there is none.
    pub fn terminate_session(&mut self, local_tag: u32) -> bool {
        self.end_session(local_tag, DownReason::ByUs)
    }

    /// Terminates all sessions with a peer in one message (`ces.terminate`, `{"sessions": "*"}`); how many there were.
    pub fn terminate_sessions(&mut self, ces_id: &str) -> usize {
        self.end_sessions(ces_id)
    }

    /// Ends C2C with a peer and with it all sessions. False if there is no such peer up.
    pub fn terminate_peer(&mut self, realm: &mut dyn Realm, ces_id: &str, now: Nanos) -> bool {
        let Some(peer) = self.peer_ids.get(canonical_name(ces_id).as_str()).copied() else { return false };
        let was_up = self.end_peer(realm, peer, now);
        self.settle(realm, now);
        was_up
    }

    /// Asks a peer to stop flows to us for a while, and refuses them here meanwhile. `None` if the peer is not up.
    pub fn filter_at_peer(&mut self, ces_id: &str, filter: Filter, now: Nanos) -> Option<ActionId> {
        self.ask_to_filter(ces_id, filter, now)
    }

    /// Tells a peer about misbehaviour in a session. `None` if there is no such session or its peer is not up.
    pub fn report(&mut self, local_tag: u32, misbehavior: &str, now: Nanos) -> Option<ActionId> {
        self.complain(local_tag, misbehavior, now)
    }

    /// Refuses a name, local or remote, in new negotiations for a while and ends its sessions. False: no room.
    pub fn filter_here(&mut self, name: Arc<str>, local: bool, for_ns: u64, now: Nanos) -> bool {
        self.put_filter(canonical_name(&name).into(), local, None, for_ns, now)
    }

    /// Refuses an address for a while and closes its connections.
    pub fn block(&mut self, realm: &mut dyn Realm, addr: IpAddr, for_ns: u64, now: Nanos) {
        self.put_block(addr, BlockReason::Operator, for_ns, now);
        let hit = self.conns.iter().filter(|(_, conn)| conn.remote.ip() == addr).map(|(id, _)| *id);
        let mut hit: Vec<u64> = hit.collect();
        hit.sort_unstable();
        for id in hit {
            self.close(realm, ConnId(id), Failure::Blocked, now);
        }
        self.settle(realm, now);
    }

    /// Lets an address in again. False if it was not blocked.
    pub fn unblock(&mut self, addr: IpAddr) -> bool {
        self.blocked.remove(&addr).is_some()
    }

    /// Says goodbye to all peers and ends everything: negotiations fail with [`Failure::Cancelled`], sessions go down.
    pub fn shutdown(&mut self, realm: &mut dyn Realm, now: Nanos) {
        let mut ids: Vec<u64> = self.negotiations.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            self.finish(realm, NegotiationId(id), Err(Failure::Cancelled), now);
        }
        let mut peers: Vec<PeerId> = self.peers.keys().copied().collect();
        peers.sort_unstable();
        for peer in peers {
            self.end_peer(realm, peer, now);
        }
        let mut tags = self.table.tags();
        tags.sort_unstable();
        for tag in tags {
            self.session_down(tag, DownReason::ByUs);
        }
        self.close_all(realm, now);
        self.settle(realm, now);
    }

    fn close_all(&mut self, realm: &mut dyn Realm, now: Nanos) {
        let mut conns: Vec<u64> = self.conns.keys().copied().collect();
        conns.sort_unstable();
        for id in conns {
            self.close(realm, ConnId(id), Failure::Cancelled, now);
        }
    }

    /// The counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// All peers, for the operator.
    pub fn peers(&self, now: Nanos) -> Vec<PeerSnapshot> {
        let mut peers: Vec<_> = self.peers.values().map(|peer| self.peer_snapshot(peer, now)).collect();
        peers.sort_by(|a, b| a.ces_id.cmp(&b.ces_id));
        peers
    }

    /// Whether C2C with a peer stands. While it does not, the peer may have lost what was agreed: ask again
    /// ([`Engine::negotiate`]) instead of relying on a session with it.
    pub fn is_connected(&self, ces_id: &str) -> bool {
        self.peer_ids.get(ces_id).is_some_and(|peer| self.is_up(*peer))
    }

    /// A session by its local tag.
    pub fn session(&self, local_tag: u32) -> Option<&H2hSession> {
        self.table.get(local_tag).map(|entry| &entry.session)
    }

    /// All sessions.
    pub fn sessions(&self) -> impl Iterator<Item = &H2hSession> {
        self.table.iter().map(|entry| &entry.session)
    }

    /// Negotiations of ours under way.
    pub fn pending(&self) -> usize {
        self.negotiations.len()
    }

    /// The blocked addresses.
    pub fn blocks(&self, now: Nanos) -> Vec<BlockSnapshot> {
        let snapshot = |(addr, why, until): (&IpAddr, &BlockReason, Nanos)| BlockSnapshot {
            addr: *addr,
            why: *why,
            left_s: until.saturating_sub(now).div_ceil(S),
        };
        let mut blocks: Vec<_> = self.blocked.iter(now).map(snapshot).collect();
        blocks.sort_by_key(|block| block.addr);
        blocks
    }

    /// The filters.
    pub fn filters(&self, now: Nanos) -> Vec<FilterSnapshot> {
        self.filter_snapshots(now)
    }

    /// Before anything is challenged or verified: a secret grows old by time, not by use.
    fn refresh(&mut self, now: Nanos) {
        let limits = &self.settings.limits;
        self.secrets.refresh(&mut self.rng, limits.secret_s, limits.secret_grace_s, now);
    }

    fn timer(&mut self, at: Nanos, timer: Timer) {
        self.timers.push(Reverse((at, timer)));
    }

    fn is_due(&self, at: Nanos, timer: Timer) -> bool {
        match timer {
            Timer::Conn(id) => self.conn_due(id, at),
            Timer::Frame(id) => self.frame_due(id, at),
            Timer::Negotiation(id) => self.negotiation_due(id, at),
            Timer::C2c(peer) => self.c2c_due(peer, at),
            Timer::Action(id) => self.action_due(id, at),
            Timer::Revival(peer) => self.revival_due(peer, at),
            Timer::Renewal(peer) => self.renewal_due(peer, at),
        }
    }

    /// After each call: what is too many is closed, and timers that are no longer meant do not wake the owner.
    fn settle(&mut self, realm: &mut dyn Realm, now: Nanos) {
        self.close_surplus(realm, now);
        while let Some(Reverse((at, timer))) = self.timers.peek().copied()
            && !self.is_due(at, timer)
        {
            self.timers.pop();
        }
    }
}
