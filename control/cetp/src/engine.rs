//! The engine: all peers, negotiations and sessions of one gateway.
//!
//! It neither reads a clock nor touches a socket: time, randomness (a seed) and bytes come as arguments, what is to be
//! done comes out of [`Engine::poll_output`], and [`Engine::poll_timeout`] says when it has to be asked again. Names
//! come in any case, with or without the trailing dot; inside and in what comes out they are in lower case with it.

mod acceptor;
mod actions;
mod adopt;
mod after;
pub(crate) mod api;
mod asking;
mod attempt;
mod batches;
mod claims;
mod conns;
mod counters;
mod doubts;
mod ended;
mod ends;
mod evidence;
mod filters;
mod ground;
mod hosts;
mod inbound;
mod initiator;
mod links;
mod look;
mod pair;
mod peer;
mod peers;
mod piece;
mod reason;
mod refused;
mod revival;
mod sealing;
mod sessions;
mod streams;
mod timers;

pub use adopt::PeerMemory;
pub use api::*;
pub use counters::{CetpCounters, Outcomes};
pub use reason::{BlockReason, DownReason, Failure, PeerDownReason};

use crate::message::Message;
use crate::policy::canonical_name;
use crate::tlv::Layer;
use actions::Actions;
use claims::Claims;
use ground::Ground;
use hosts::Hosts;
use links::{Links, News};
use refused::FilterKey;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use timers::Timer;

/// Messages that are read at once of those that waited for what a peer's word is worth: some milliseconds.
const TOLD: usize = 50;

/// The CETP engine of one gateway.
#[derive(Debug)]
pub struct Engine {
    /// Gateways: connections, C2C.
    links: Links,
    /// Hosts: H2H.
    hosts: Hosts,
    actions: Actions,
    claims: Claims,
    pace: piece::Pace,
}

impl Engine {
    /// An engine with nothing under way. `seed` feeds its generator: tags, secrets, tunnel ids. It must be another one
    /// after each start: peers see by the new tunnel ids that what they had with the old engine is gone. An engine that goes
    /// on where another one ended draws the same ids as that one ([`Engine::draw_tunnel_ids_by`]).
    pub fn new(settings: EngineSettings, seed: [u8; 32], now: Nanos) -> Result<Self, String> {
        let mut ground = Ground::new(settings, seed, now)?;
        let hosts = Hosts::new(ground.draw_key());
        Ok(Self {
            links: Links::new(ground),
            hosts,
            actions: Actions::default(),
            claims: Claims::default(),
            pace: piece::Pace::default(),
        })
    }

    /// Takes new settings for what is negotiated from now on; sessions and peers stay.
    pub fn configure(&mut self, settings: EngineSettings) -> Result<(), String> {
        self.links.ground.configure(settings)
    }

    /// A local host wants to reach a remote name. Joins what is under way.
    pub fn negotiate(&mut self, realm: &mut dyn Owner, request: H2hRequest, now: Nanos) -> Negotiating {
        self.refresh(now);
        let asked = asking::ask(&mut self.hosts, &mut self.links, realm, request, now);
        self.settle(realm, now);
        asked
    }

    /// A connection of ours ([`CetpOutput::Connect`]) is up.
    pub fn handle_connected(
        &mut self,
        realm: &mut dyn Owner,
        conn: ConnId,
        identity: PeerIdentity,
        remote: SocketAddr,
        now: Nanos,
    ) {
        self.refresh(now);
        initiator::connected(&mut self.links, conn, identity, remote, now);
        self.settle(realm, now);
    }

    /// A peer connected to us. An error means: close it, it has no id.
    pub fn handle_accepted(
        &mut self,
        identity: PeerIdentity,
        remote: SocketAddr,
        now: Nanos,
    ) -> Result<ConnId, AcceptError> {
        let accepted = acceptor::accept(&mut self.links, identity, remote, now);
        self.links.ground.counters.accepts_refused += u64::from(accepted.is_err());
        accepted
    }

    /// Bytes came; any cut of the stream will do.
    pub fn handle_received(&mut self, realm: &mut dyn Owner, conn: ConnId, bytes: &[u8], now: Nanos) {
        self.refresh(now);
        self.received(realm, conn, bytes, now);
        self.settle(realm, now);
    }

    fn received(&mut self, realm: &mut dyn Owner, conn: ConnId, bytes: &[u8], now: Nanos) {
        let Some(mut stream) = self.links.conns.take_stream(conn) else { return };
        let (mut input, mut ended_one) = (bytes, false);
        loop {
            match stream.next(&mut input) {
                Ok(Some(payload)) => {
                    ended_one = true;
                    if let Some(message) = streams::read(&mut self.links, conn, payload, now)
                        && !streams::keep(&mut self.links, conn, payload, &message)
                        && !self.claims.keep(&mut self.links, realm, conn, (&message, payload), now)
                    {
                        self.message(realm, conn, &message, now);
                    }
                    self.spread(realm, now);
                    if self.links.conns.get(conn).is_none() {
                        return;
                    }
                }
                Ok(None) => break,
                Err(_) => return streams::garbage(&mut self.links, conn, now),
            }
        }
        streams::rest(&mut self.links, conn, stream, ended_one, now);
    }

    fn message(&mut self, realm: &mut dyn Owner, conn: ConnId, message: &Message<'_>, now: Nanos) {
        let (hosts, links) = (&mut self.hosts, &mut self.links);
        if message.layer() == Some(Layer::H2h) {
            return inbound::message(hosts, links, realm, conn, message, now);
        }
        let within = acceptor::message(links, |peer| hosts.use_peer(peer), conn, message, now);
        if let Some(peer) = within {
            after::message(hosts, links, &mut self.actions, (peer, conn), message, now);
        }
    }

    /// The owner knows what a peer's word for a name is worth ([`CetpOutput::Claimed`]): what waited for that is read.
    pub fn claim_settled(&mut self, realm: &mut dyn Owner, ces_id: &str, name: &str, now: Nanos) {
        self.refresh(now);
        self.claims.tell(ces_id, name);
        self.read_told(realm, now);
        self.settle(realm, now);
    }

    /// Reads some of what waited for that.
    fn read_told(&mut self, realm: &mut dyn Owner, now: Nanos) {
        for (conn, payload) in self.claims.take_told(TOLD, now) {
            if let Some(message) = streams::again(&self.links, &payload) {
                self.message(realm, conn, &message, now);
                self.spread(realm, now);
            }
        }
    }

    /// A connection is gone, or one of ours could not be opened.
    pub fn handle_closed(&mut self, realm: &mut dyn Owner, conn: ConnId, now: Nanos) {
        self.refresh(now);
        let is_up = self.links.conns.get(conn).is_some_and(|entry| entry.up);
        self.links.forget(conn, if is_up { Failure::Lost } else { Failure::Unreachable }, now);
        self.settle(realm, now);
    }

    /// Time has come for what [`Engine::poll_timeout`] announced.
    pub fn handle_timeout(&mut self, realm: &mut dyn Owner, now: Nanos) {
        self.refresh(now);
        while let Some((at, timer)) = self.links.ground.timers.first().filter(|(at, _)| *at <= now) {
            self.links.ground.timers.drop_first();
            if self.is_due(at, timer) {
                self.timeout(realm, timer, now);
                self.spread(realm, now);
            }
        }
        self.settle(realm, now);
    }

    fn timeout(&mut self, realm: &mut dyn Owner, timer: Timer, now: Nanos) {
        let (hosts, links) = (&mut self.hosts, &mut self.links);
        match timer {
            Timer::Conn(conn) => initiator::conn_timeout(links, conn, now),
            Timer::Frame(conn) => links.abuse(conn, BlockReason::Slow, now),
            Timer::Negotiation(id) => asking::silent(hosts, links, realm, id, now),
            Timer::Attempt(peer) => initiator::silent(links, peer, now),
            Timer::C2c(peer) => links.peer_down(peer, PeerDownReason::Expired, now),
            Timer::Action(id) => self.actions.done(links, id, ActionResult::Silent),
            Timer::Revival(peer) => initiator::revive(links, peer, hosts.count_of(peer) > 0, now),
            Timer::Renewal(peer) => initiator::renew(links, peer, now),
            Timer::Doubt(peer) => look::look(hosts, links, realm, peer, now),
        }
    }

    fn is_due(&self, at: Nanos, timer: Timer) -> bool {
        let peer = |peer| self.links.peers.get(peer);
        match timer {
            Timer::Conn(conn) => self.links.conns.is_due(conn, at),
            Timer::Frame(conn) => self.links.conns.is_frame_due(conn, at),
            Timer::Negotiation(id) => self.hosts.is_due(id, at),
            Timer::Attempt(id) => peer(id).is_some_and(|entry| entry.is_attempt_due(at)),
            Timer::C2c(id) => peer(id).is_some_and(|entry| entry.is_c2c_due(at)),
            Timer::Action(id) => self.actions.is_due(id, at),
            Timer::Revival(id) => peer(id).is_some_and(|entry| entry.is_revival_due(at)),
            Timer::Renewal(id) => peer(id).is_some_and(|entry| entry.is_renewal_due(at)),
            Timer::Doubt(id) => peer(id).is_some_and(|entry| entry.is_look_due(at)),
        }
    }

    /// When `handle_timeout` is due next.
    pub fn poll_timeout(&self) -> Option<Nanos> {
        self.links.ground.timers.first().map(|(at, _)| at)
    }

    /// The next thing for the owner to do; ask until `None` after every call that may have caused any.
    pub fn poll_output(&mut self) -> Option<CetpOutput> {
        self.links.ground.next_output()
    }

    /// Before anything is challenged or verified: a secret grows old by time, not by use.
    fn refresh(&mut self, now: Nanos) {
        self.links.ground.refresh(now);
    }

    /// Has the hosts hear what happened to their gateways.
    fn spread(&mut self, realm: &mut dyn Owner, now: Nanos) {
        let (hosts, links) = (&mut self.hosts, &mut self.links);
        while let Some(news) = links.next_news() {
            match news {
                News::Up(peer) => {
                    for (conn, payload) in links.conns.take_early(peer) {
                        if let Some(message) = streams::again(links, &payload)
                            && !self.claims.keep(links, realm, conn, (&message, &payload), now)
                        {
                            inbound::message(hosts, links, realm, conn, &message, now);
                        }
                    }
                    asking::flush(hosts, links, peer);
                }
                News::Doubtful(peer) => look::begin(hosts, links, realm, peer, now),
                News::Failed(peer, why) => {
                    asking::fail_waiting(hosts, links, peer, why);
                    initiator::plan_revival(links, peer, hosts.count_of(peer) > 0, now);
                }
                News::Missed(peer, why) => asking::fail_missed(hosts, links, realm, peer, why, now),
                News::LostOne(peer, conn) => asking::resume(hosts, peer, Some(conn)),
                News::Down { peer, is_sought } => {
                    self.actions.fail(links, peer);
                    asking::resume(hosts, peer, None);
                    let has_sessions = hosts.count_of(peer) > 0;
                    initiator::plan_revival(links, peer, has_sessions && is_sought, now);
                }
            }
        }
    }

    /// After each call: the first of what is to end has ended, what is too many is closed, and timers that are no longer meant
    /// do not wake the owner.
    fn settle(&mut self, realm: &mut dyn Owner, now: Nanos) {
        self.spread(realm, now);
        while self.hosts.take_begun() {
            piece::go_on(&mut self.hosts, &mut self.links, realm, &mut self.pace, now);
            self.spread(realm, now);
        }
        while self.links.close_surplus(now) {
            self.spread(realm, now);
        }
        while let Some((at, timer)) = self.links.ground.timers.first()
            && !self.is_due(at, timer)
        {
            self.links.ground.timers.drop_first();
        }
    }

    // --- ends

    /// The owner says that a session's binding ended by itself (idle or hard lifetime); nothing comes out of it.
    pub fn session_ended(&mut self, local_tag: u32, now: Nanos) {
        sessions::binding_ended(&mut self.hosts, &mut self.links, local_tag, now);
    }

    /// Terminates a session: the peer is told, [`CetpOutput::H2hDown`] follows. False if there is none.
    pub fn terminate_session(&mut self, local_tag: u32) -> bool {
        sessions::end(&mut self.hosts, &mut self.links, local_tag, DownReason::ByUs)
    }

    /// Terminates all sessions with a peer in one message (`ces.terminate`, `{"sessions": "*"}`); how many there were.
    pub fn terminate_sessions(&mut self, realm: &mut dyn Owner, ces_id: &str, now: Nanos) -> usize {
        let count = ends::all_sessions(&mut self.hosts, &mut self.links, ces_id);
        self.settle(realm, now);
        count
    }

    /// Ends C2C with a peer and with it all sessions. False if there is no such peer up.
    pub fn terminate_peer(&mut self, realm: &mut dyn Owner, ces_id: &str, now: Nanos) -> bool {
        let Some(peer) = self.links.peers.find(&canonical_name(ces_id)) else { return false };
        let was_up = ends::peer(&mut self.hosts, &mut self.links, peer);
        self.settle(realm, now);
        was_up
    }

    /// Whether some are left of many sessions that are to end, or of many negotiations that go on or fail with what became
    /// of their peer: [`Engine::end_some`] until there are none.
    pub fn has_ends(&self) -> bool {
        let hosts = &self.hosts;
        let has_more = hosts.has_due() || hosts.is_ending() || hosts.has_looks();
        has_more || self.links.is_telling() || self.claims.has_told()
    }

    /// Ends, or goes on with, some of them: a piece at each moment.
    pub fn end_some(&mut self, realm: &mut dyn Owner, now: Nanos) {
        self.refresh(now);
        self.read_told(realm, now);
        piece::go_on(&mut self.hosts, &mut self.links, realm, &mut self.pace, now);
        self.settle(realm, now);
    }

    /// Whether a session is to end. It answers for its names no more: ask anew ([`Engine::negotiate`]).
    pub fn is_to_end(&self, local_tag: u32) -> bool {
        (self.hosts.is_ending() && self.hosts.ending(local_tag).is_some())
            || doubts::is_lost(&self.hosts, &self.links, local_tag)
    }

    /// Our tags of all sessions with a peer.
    pub fn tags_with(&self, ces_id: &str) -> Vec<u32> {
        let peer = self.links.peers.find(ces_id);
        peer.into_iter().flat_map(|peer| self.hosts.tags_of(peer)).collect()
    }

    /// Whether nobody knows if the peer still has a session. It answers for its names no more: ask anew ([`Engine::negotiate`]).
    pub fn is_doubted(&self, local_tag: u32) -> bool {
        doubts::is_doubted(&self.hosts, &self.links, local_tag)
    }

    /// Something of the peer's came on a session after [`CetpOutput::Doubted`]: it has lost nothing.
    pub fn has_carried(&mut self, local_tag: u32) {
        if self.is_doubted(local_tag)
            && let Some(peer) = self.hosts.get(local_tag).map(|session| session.peer)
        {
            doubts::stands(&mut self.links, peer);
        }
    }

    /// Agrees on other keys with the peer at whose tunnels this index of ours stands, without its epoch. False: none is up.
    pub fn rekey(&mut self, realm: &mut dyn Owner, slot: u16, now: Nanos) -> bool {
        self.refresh(now);
        let Some(peer) = self.links.sealed_in(slot).filter(|peer| self.links.is_up(*peer)) else {
            return false;
        };
        initiator::renew(&mut self.links, peer, now);
        self.settle(realm, now);
        true
    }

    /// Says goodbye to all peers and ends everything: negotiations fail with [`Failure::Cancelled`], sessions go down.
    pub fn shutdown(&mut self, realm: &mut dyn Owner, now: Nanos) {
        asking::cancel_all(&mut self.hosts, &mut self.links, realm, now);
        for peer in self.links.peers.all() {
            ends::peer(&mut self.hosts, &mut self.links, peer);
        }
        piece::finish(&mut self.hosts, &mut self.links, realm, now);
        self.spread(realm, now);
        let mut tags = self.hosts.tags();
        tags.sort_unstable();
        for tag in tags {
            sessions::down(&mut self.hosts, &mut self.links, tag, DownReason::ByUs);
        }
        self.close_all(realm, now);
    }

    /// Closes everything without ending a session: another engine goes on with them.
    pub fn leave(&mut self, realm: &mut dyn Owner, now: Nanos) {
        asking::cancel_all(&mut self.hosts, &mut self.links, realm, now);
        // Nobody is sought any more.
        for peer in self.links.peers.all() {
            if let Some(entry) = self.links.peers.get_mut(peer) {
                entry.set_known(Vec::new());
            }
        }
        self.close_all(realm, now);
    }

    fn close_all(&mut self, realm: &mut dyn Owner, now: Nanos) {
        for conn in self.links.conns.all() {
            self.links.close(conn, Failure::Cancelled, now);
        }
        self.settle(realm, now);
    }

    // --- what is refused

    /// Asks a peer to stop flows to us for a while, and refuses them here meanwhile. `None` if the peer is not up.
    pub fn filter_at_peer(&mut self, ces_id: &str, filter: FlowFilter, now: Nanos) -> Option<ActionId> {
        filters::ask(&mut self.hosts, &mut self.links, &mut self.actions, ces_id, &filter, now)
    }

    /// Tells a peer about misbehaviour in a session. `None` if there is no such session or its peer is not up.
    pub fn report(&mut self, local_tag: u32, misbehavior: &str, now: Nanos) -> Option<ActionId> {
        evidence::send(&self.hosts, &mut self.links, &mut self.actions, local_tag, misbehavior, now)
    }

    /// Refuses an address for a while and closes its connections.
    pub fn block(&mut self, realm: &mut dyn Owner, addr: IpAddr, for_ns: u64, now: Nanos) {
        self.links.ground.block(addr, BlockReason::Operator, for_ns, now);
        for conn in self.links.conns.with(addr) {
            self.links.close(conn, Failure::Blocked, now);
        }
        self.settle(realm, now);
    }

    /// Lets an address in again. False if it was not blocked.
    pub fn unblock(&mut self, addr: IpAddr) -> bool {
        self.links.ground.refused.unblock(addr)
    }

    /// The blocked addresses.
    pub fn blocks(&self, now: Nanos) -> Vec<BlockSnapshot> {
        self.links.ground.refused.blocks(now)
    }

    /// The filters.
    pub fn filters(&self, now: Nanos) -> Vec<FilterSnapshot> {
        self.links.ground.refused.filters(now)
    }

    // --- what there is

    /// The counters.
    pub fn counters(&self) -> &CetpCounters {
        &self.links.ground.counters
    }

    /// All peers, for the operator.
    pub fn peers(&self, now: Nanos) -> Vec<PeerSnapshot> {
        let snapshot = |(peer, _)| {
            self.links.snapshot(peer, self.hosts.count_of(peer), self.hosts.pending_of(peer), now)
        };
        let mut peers: Vec<_> = self.links.peers.iter().filter_map(snapshot).collect();
        peers.sort_by(|a, b| a.ces_id.cmp(&b.ces_id));
        peers
    }

    /// Whether C2C with a peer stands. While it does not, the peer may have lost what was agreed: ask again
    /// ([`Engine::negotiate`]) instead of relying on a session with it.
    pub fn is_connected(&self, ces_id: &str) -> bool {
        self.links.peers.find(ces_id).is_some_and(|peer| self.links.is_up(peer))
    }

    /// A session by its local tag.
    pub fn session(&self, local_tag: u32) -> Option<&H2hSession> {
        self.hosts.get(local_tag).map(|entry| &entry.session)
    }

    /// All sessions.
    pub fn sessions(&self) -> impl Iterator<Item = &H2hSession> {
        self.hosts.iter().map(|entry| &entry.session)
    }

    /// Negotiations of ours under way.
    pub fn pending(&self) -> usize {
        self.hosts.pending()
    }

    // --- what another engine leaves

    /// Draws the tunnel ids that another engine under this key drew: for one that goes on where that one ended.
    pub fn draw_tunnel_ids_by(&mut self, key: [u64; 2]) {
        self.links.ground.draw_tunnel_ids_by(key);
    }

    /// What is worth keeping of a peer.
    pub fn peer_memory(&self, ces_id: &str) -> Option<PeerMemory> {
        adopt::memory(&self.links, ces_id)
    }

    /// Knows a peer again. False if there is no room.
    pub fn adopt_peer(&mut self, memory: PeerMemory) -> bool {
        adopt::peer(&self.hosts, &mut self.links, memory)
    }

    /// Takes a session over. False if there is no room, or one for the same names or of the same tag.
    pub fn adopt(&mut self, session: H2hSession, now: Nanos) -> bool {
        adopt::session(&mut self.hosts, &mut self.links, session, now)
    }

    /// Tells a peer, when it is up, that a session with these tags, ours first, is no more.
    pub fn tell_ended(&mut self, ces_id: &Arc<str>, tags: (u32, u32)) {
        let hosts = &self.hosts;
        if let Some(peer) = self.links.peer(ces_id, |peer| hosts.use_peer(peer)) {
            sessions::owe_end(&mut self.links, peer, tags);
        }
    }

    /// The same, of one that another engine had yet to tell.
    pub fn adopt_owed(&mut self, ces_id: &Arc<str>, tags: (u32, u32)) {
        let hosts = &self.hosts;
        if let Some(peer) = self.links.peer(ces_id, |peer| hosts.use_peer(peer))
            && let Some(entry) = self.links.peers.get_mut(peer)
        {
            entry.owe(tags);
        }
    }

    /// Refuses an address as the last engine did.
    pub fn adopt_block(&mut self, addr: IpAddr, why: BlockReason, until: Nanos, now: Nanos) {
        self.links.ground.refused.block(addr, why, until, now);
    }

    /// Refuses a name as the last engine did.
    pub fn adopt_filter(
        &mut self,
        name: &str,
        local: bool,
        ces_id: Option<Arc<str>>,
        until: Nanos,
        now: Nanos,
    ) {
        let key = FilterKey { name: canonical_name(name).into(), local, ces_id };
        // Without room it is not kept: the same bound as for new ones.
        self.links.ground.refused.filter(key, until, now);
    }
}
