//! Asking upstream: one question in, one of six endings out, and nothing that an outsider can forge on the way.
//!
//! The driver owns the sockets: it sends what [`Resolver::poll_transmit`] gives, from the socket that it names, and
//! brings back whatever comes in there. An answer counts only if server, socket (hence port), id and the question in
//! its random case all agree (RFC 5452 §9); everything else is counted and ignored, and the wait goes on. A slow server
//! may still answer while the next one is already asked: every attempt of a question stays open until the question ends.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;

use crate::cache::{self, Cache, Entry};
use crate::flight::{Attempt, Flight, Server, encode};
use crate::packet::{Kind, Packet};
pub use crate::question::Question;
use crate::question::{Key, Seeded};
pub use crate::resolution::{Failure, Received, Resolution, ResolverCounters, ResolverEvent};
use crate::{MILLISECOND, Nanos};

/// What the asker wants back with the resolution.
pub type Token = u64;

/// How the resolver behaves.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Upstream servers, tried in this order; those beyond [`MAX_SERVERS`] are not used. None: every resolution fails.
    pub servers: Vec<SocketAddr>,
    /// UDP sockets (source ports) that the driver holds open to choose from.
    pub sockets: u16,
    /// How long one server may take before the next is asked, milliseconds.
    pub attempt_ms: u32,
    /// How long all attempts for one question may take, milliseconds.
    pub deadline_ms: u32,
    /// Messages sent for one question at most, changes to TCP or to no EDNS not counted.
    pub attempts: u8,
    /// For how long a server that kept silent is asked last, milliseconds.
    pub down_ms: u32,
    /// Silent attempts in a row that make a server count as down.
    pub down_after: u8,
    /// Questions in flight at most.
    pub in_flight: u32,
    /// Askers that may wait for the same question.
    pub waiting: u32,
    /// Randomise the case of names (draft-vixie-dnsext-dns0x20).
    pub randomise_case: bool,
    /// What the cache may hold.
    pub cache: cache::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            sockets: 16,
            attempt_ms: 800,
            deadline_ms: 3_000,
            attempts: 4,
            down_ms: 10_000,
            down_after: 3,
            in_flight: 8_192,
            waiting: 64,
            randomise_case: true,
            cache: cache::Settings::default(),
        }
    }
}

/// Upstream servers that are used.
pub const MAX_SERVERS: usize = 8;

/// The socket that a query leaves by, and that its answer must come back on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SocketKey {
    /// One of the pool of UDP sockets: 0 to `Settings::sockets` − 1.
    Udp(u16),
    /// A TCP connection of its own: one query, one answer, then closed by the driver, which also closes it after
    /// `Settings::deadline_ms` without answer.
    Tcp(u64),
}

/// One message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// To where.
    pub server: SocketAddr,
    /// By which socket.
    pub socket: SocketKey,
    /// The message, without the length that TCP puts in front.
    pub bytes: Vec<u8>,
}

/// An upstream server, for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerState {
    /// Its address.
    pub address: SocketAddr,
    /// It kept silent and is asked last.
    pub is_down: bool,
    /// Messages sent to it.
    pub sent: u64,
    /// Answers that came back.
    pub answered: u64,
}

/// The upstream side.
#[derive(Debug)]
pub struct Resolver {
    settings: Settings,
    rng: StdRng,
    servers: Vec<Server>,
    cache: Cache,
    flights: Vec<Option<Flight>>,
    free: Vec<u32>,
    by_key: HashMap<Key, u32, Seeded>,
    by_id: BTreeMap<(SocketKey, u16), u32>,
    timers: BTreeSet<(Nanos, u32)>,
    transmits: VecDeque<Transmit>,
    done: VecDeque<(Token, Resolution)>,
    next_tcp: u64,
    counters: ResolverCounters,
}

impl Resolver {
    /// No server asked yet, nothing cached.
    pub fn new(settings: Settings, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        Self {
            servers: settings.servers.iter().take(MAX_SERVERS).map(|&a| Server::new(a)).collect(),
            cache: Cache::new(settings.cache.clone(), rng.random()),
            flights: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::with_hasher(Seeded(rng.random())),
            by_id: BTreeMap::new(),
            timers: BTreeSet::new(),
            transmits: VecDeque::new(),
            done: VecDeque::new(),
            next_tcp: 0,
            counters: ResolverCounters::default(),
            rng,
            settings,
        }
    }

    /// Asks; `token` comes back by [`Self::poll_done`], at once if the cache knows. `patience_ms` is how long this
    /// asker waits; 0 means the configured deadline. The question itself is pursued until that deadline, so an answer
    /// too late for one asker still reaches the cache.
    pub fn query(&mut self, question: Question, patience_ms: u32, token: Token, now: Nanos) {
        self.counters.count(ResolverEvent::Asked);
        let key = question.key();
        if let Some(resolution) = self.lookup(&key, now) {
            self.end(token, resolution);
            return;
        }
        let patience_ms = if patience_ms == 0 { self.settings.deadline_ms } else { patience_ms };
        let until = now + Nanos::from(patience_ms) * MILLISECOND;
        if let Some(&slot) = self.by_key.get(&key) {
            let Some(flight) = self.flights[slot as usize].as_mut() else { return };
            if flight.waiting.len() >= self.settings.waiting as usize {
                self.counters.count(ResolverEvent::Overflow);
                self.end(token, Resolution::ServFail);
                return;
            }
            flight.waiting.push((token, until));
            self.counters.count(ResolverEvent::Joined);
            self.retime(slot);
            return;
        }
        if self.by_key.len() >= self.settings.in_flight as usize || self.servers.is_empty() {
            self.counters.count(ResolverEvent::Overflow);
            self.end(token, Resolution::ServFail);
            return;
        }
        let deadline = until.max(now + Nanos::from(self.settings.deadline_ms) * MILLISECOND);
        let step_ms = step_ms(&self.settings, patience_ms, self.servers.len());
        let flight = Flight::new(key.clone(), question, (token, until), deadline, step_ms);
        let slot = if let Some(slot) = self.free.pop() {
            self.flights[slot as usize] = Some(flight);
            slot
        } else {
            self.flights.push(Some(flight));
            self.flights.len() as u32 - 1
        };
        self.by_key.insert(key, slot);
        self.attempt(slot, now);
        self.retime(slot);
    }

    /// What the cache knows. A hit here counts as a question asked and ended; a miss counts nothing.
    pub fn cached(&mut self, question: &Question, now: Nanos) -> Option<Resolution> {
        let resolution = self.lookup(&question.key(), now)?;
        self.counters.count(ResolverEvent::Asked);
        self.counters.count(resolution.event());
        Some(resolution)
    }

    /// A message came in on that socket.
    pub fn handle_response(&mut self, server: SocketAddr, socket: SocketKey, bytes: &[u8], now: Nanos) {
        let id = bytes.first_chunk().map(|&id| u16::from_be_bytes(id));
        let slot = id.and_then(|id| self.by_id.get(&(socket, id)).copied());
        let (Some(id), Some(slot)) = (id, slot) else {
            self.counters.count(ResolverEvent::Unexpected);
            return;
        };
        let Some(flight) = self.flights[slot as usize].as_mut() else { return };
        let Some(at) = flight.sent.iter().position(|a| a.socket == socket && a.id == id) else { return };
        let Attempt { server: asked, edns, .. } = flight.sent[at];
        if self.servers[asked].address != server {
            self.counters.count(ResolverEvent::WrongServer);
            return;
        }
        let is_tcp = matches!(socket, SocketKey::Tcp(_));
        let Ok(packet) = Packet::parse(bytes, self.cache.bounds()) else {
            self.counters.count(ResolverEvent::Malformed);
            if is_tcp {
                self.fail(slot, at, Failure::ServFail, now);
            }
            return;
        };
        let expected = &*flight.sent[at].question;
        let question = packet.question();
        if !question.eq_ignore_ascii_case(expected) && !question.is_empty() {
            // RFC 5452 §9.1: the question must match. Somebody guesses; TCP cannot be guessed into.
            self.counters.count(ResolverEvent::WrongQuestion);
            flight.distrusted = Some(asked);
            if is_tcp {
                self.fail(slot, at, Failure::ServFail, now);
            }
            return;
        }
        if question != expected && !question.is_empty() && !is_tcp {
            self.counters.count(ResolverEvent::WrongCase);
            flight.distrusted = Some(asked);
            return;
        }
        self.servers[asked].answered();
        if packet.is_truncated() {
            // RFC 7766 §5: TC means to ask again over TCP.
            if is_tcp {
                self.fail(slot, at, Failure::ServFail, now);
            } else {
                self.counters.count(ResolverEvent::Truncated);
                self.close_attempt(slot, at);
                self.send(slot, asked, true, edns, now);
                self.retime(slot);
            }
            return;
        }
        match packet.kind() {
            Kind::Answer | Kind::NoData | Kind::NxDomain => {
                let received = Received { packet: Arc::new(packet), at: now, cached: false };
                self.finish(slot, Resolution::of(received), now);
            }
            // RFC 6891 §6.2.2: a server that does not know EDNS says FORMERR; it is asked without.
            Kind::NoEdns if edns => {
                self.counters.count(ResolverEvent::EdnsFallback);
                self.close_attempt(slot, at);
                self.send(slot, asked, is_tcp, false, now);
                self.retime(slot);
            }
            Kind::Refused => self.fail(slot, at, Failure::Refused, now),
            Kind::Failure | Kind::NoEdns => self.fail(slot, at, Failure::ServFail, now),
        }
    }

    /// The socket reports that the server cannot be reached (ICMP, or a TCP connection refused, closed or silent).
    pub fn handle_unreachable(&mut self, server: SocketAddr, socket: SocketKey, now: Nanos) {
        self.counters.count(ResolverEvent::Unreachable);
        let open: Vec<(u16, u32)> =
            self.by_id.range((socket, 0)..=(socket, u16::MAX)).map(|(&(_, id), &slot)| (id, slot)).collect();
        for (id, slot) in open {
            let Some(flight) = self.flights[slot as usize].as_ref() else { continue };
            let Some(at) = flight.sent.iter().position(|a| a.socket == socket && a.id == id) else {
                continue;
            };
            let asked = flight.sent[at].server;
            if self.servers[asked].address == server {
                self.mark_down(asked, now);
                self.fail(slot, at, Failure::Timeout, now);
            }
        }
    }

    /// Time has come: attempts and askers whose time is over.
    pub fn handle_timeout(&mut self, now: Nanos) {
        while let Some(&(at, slot)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            let Some(flight) = self.flights[slot as usize].as_mut() else { continue };
            flight.timer = None;
            if flight.deadline <= now {
                let silent: Vec<usize> = flight.sent.iter().filter(|a| !a.blamed).map(|a| a.server).collect();
                let failure = flight.worst.unwrap_or(Failure::Timeout);
                for server in silent {
                    self.silent(server, now);
                }
                self.finish(slot, failure.into(), now);
                continue;
            }
            let mut expired = Vec::new();
            flight.waiting.retain(|&(token, until)| {
                if until <= now {
                    expired.push(token);
                }
                until > now
            });
            if flight.next_attempt <= now {
                flight.next_attempt = Nanos::MAX;
                if let Some(last) = flight.sent.last_mut().filter(|a| !a.blamed) {
                    last.blamed = true;
                    let server = last.server;
                    self.silent(server, now);
                }
                self.attempt(slot, now);
            }
            for token in expired {
                self.end(token, Resolution::Timeout);
            }
            self.retime(slot);
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Nanos> {
        self.timers.first().map(|&(at, _)| at)
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next resolution that ended.
    pub fn poll_done(&mut self) -> Option<(Token, Resolution)> {
        self.done.pop_front()
    }

    /// Counters.
    pub fn counters(&self) -> &ResolverCounters {
        &self.counters
    }

    /// Questions in flight.
    pub fn in_flight(&self) -> usize {
        self.by_key.len()
    }

    /// What the cache holds.
    pub fn cache_usage(&self) -> cache::Usage {
        self.cache.usage()
    }

    /// Forgets every cached answer.
    pub fn clear_cache(&mut self) {
        self.cache.clear();
    }

    /// The servers, for the operator.
    pub fn servers(&self, now: Nanos) -> Vec<ServerState> {
        self.servers.iter().map(|s| s.state(now)).collect()
    }

    fn lookup(&mut self, key: &Key, now: Nanos) -> Option<Resolution> {
        let (entry, at) = self.cache.lookup(key, now)?;
        self.counters.count(ResolverEvent::CacheHit);
        Some(match entry {
            Entry::Packet(packet) => Resolution::of(Received { packet, at, cached: true }),
            Entry::Failure(failure) => failure.into(),
        })
    }

    fn end(&mut self, token: Token, resolution: Resolution) {
        self.counters.count(resolution.event());
        self.done.push_back((token, resolution));
    }

    /// Sends the next attempt, if there is one left, to the best server: least asked for this question, not down,
    /// first in the list.
    fn attempt(&mut self, slot: u32, now: Nanos) {
        let Some(flight) = self.flights[slot as usize].as_mut() else { return };
        if flight.attempts >= self.settings.attempts.max(1) {
            return;
        }
        let distrusted = flight.distrusted.take();
        let best = (0..self.servers.len())
            .min_by_key(|&s| (flight.asked[s], self.servers[s].is_down(now), s))
            .map(|s| (s, false));
        let Some((server, tcp)) = distrusted.map(|s| (s, true)).or(best) else { return };
        let round = u32::from(flight.attempts) / self.servers.len() as u32;
        flight.attempts += 1;
        // Exponential back-off by rounds over all servers (RFC 1536 §1).
        let step = (Nanos::from(flight.step_ms) * MILLISECOND) << round.min(6);
        flight.next_attempt = now + step;
        self.send(slot, server, tcp, true, now);
    }

    fn send(&mut self, slot: u32, server: usize, tcp: bool, edns: bool, now: Nanos) {
        let Some(flight) = self.flights[slot as usize].as_mut() else { return };
        // RFC 5452 §9.2: id and port are unpredictable. Few tries suffice: of 65,536 ids a socket, in_flight / sockets
        // are taken.
        let fresh = (0..32).find_map(|_| {
            let id: u16 = self.rng.random();
            let socket = if tcp {
                SocketKey::Tcp(self.next_tcp)
            } else {
                SocketKey::Udp(self.rng.random_range(0..self.settings.sockets.max(1)))
            };
            (!self.by_id.contains_key(&(socket, id))).then_some((socket, id))
        });
        let Some((socket, id)) = fresh else { return };
        let case = if self.settings.randomise_case { Some(&mut self.rng) } else { None };
        let (bytes, question) = encode(&flight.question, id, edns, case);
        if tcp {
            self.next_tcp += 1;
            self.counters.count(ResolverEvent::SentTcp);
            flight.next_attempt = flight.next_attempt.max(now + Nanos::from(flight.step_ms) * MILLISECOND);
        } else {
            self.counters.count(ResolverEvent::SentUdp);
        }
        flight.asked[server] = flight.asked[server].saturating_add(1);
        flight.sent.push(Attempt { server, socket, id, question, edns, blamed: false });
        self.by_id.insert((socket, id), slot);
        self.servers[server].sent += 1;
        self.transmits.push_back(Transmit { server: self.servers[server].address, socket, bytes });
    }

    fn close_attempt(&mut self, slot: u32, at: usize) {
        let Some(flight) = self.flights[slot as usize].as_mut() else { return };
        let attempt = flight.sent.remove(at);
        self.by_id.remove(&(attempt.socket, attempt.id));
    }

    /// One attempt failed for good: another server, or the end if none is left to wait for.
    fn fail(&mut self, slot: u32, at: usize, failure: Failure, now: Nanos) {
        self.close_attempt(slot, at);
        let Some(flight) = self.flights[slot as usize].as_mut() else { return };
        flight.worst = flight.worst.max(Some(failure));
        let untried = (0..self.servers.len()).any(|s| flight.asked[s] == 0);
        if (untried || flight.distrusted.is_some()) && flight.attempts < self.settings.attempts {
            self.attempt(slot, now);
        } else if flight.sent.is_empty() {
            let worst = flight.worst.unwrap_or(failure);
            self.finish(slot, worst.into(), now);
            return;
        }
        self.retime(slot);
    }

    fn finish(&mut self, slot: u32, resolution: Resolution, now: Nanos) {
        let Some(flight) = self.flights[slot as usize].take() else { return };
        self.free.push(slot);
        self.by_key.remove(&flight.key);
        if let Some(timer) = flight.timer {
            self.timers.remove(&(timer, slot));
        }
        for attempt in &flight.sent {
            self.by_id.remove(&(attempt.socket, attempt.id));
        }
        match &resolution {
            Resolution::Answer(r) | Resolution::NoData(r) | Resolution::NxDomain(r) => {
                self.cache.insert(flight.key, r, now);
            }
            Resolution::ServFail => self.cache.insert_failure(flight.key, Failure::ServFail, now),
            Resolution::Refused => self.cache.insert_failure(flight.key, Failure::Refused, now),
            Resolution::Timeout => self.cache.insert_failure(flight.key, Failure::Timeout, now),
        }
        for (token, _) in flight.waiting {
            self.end(token, resolution.clone());
        }
    }

    fn retime(&mut self, slot: u32) {
        let Some(flight) = self.flights[slot as usize].as_mut() else { return };
        let due = flight.due();
        if flight.timer == Some(due) {
            return;
        }
        if let Some(old) = flight.timer.replace(due) {
            self.timers.remove(&(old, slot));
        }
        self.timers.insert((due, slot));
    }

    fn silent(&mut self, server: usize, now: Nanos) {
        self.counters.count(ResolverEvent::Silent);
        if self.servers[server].silent() >= self.settings.down_after.max(1) {
            self.mark_down(server, now);
        }
    }

    fn mark_down(&mut self, server: usize, now: Nanos) {
        let until = now + Nanos::from(self.settings.down_ms) * MILLISECOND;
        if !self.servers[server].is_down(now) {
            self.counters.count(ResolverEvent::ServerDown);
        }
        self.servers[server].down_until = until;
    }
}

/// How long the first attempt may take: short enough that an impatient asker still sees a second one.
fn step_ms(settings: &Settings, patience_ms: u32, servers: usize) -> u32 {
    let tries = servers.min(usize::from(settings.attempts)).max(2) as u32;
    settings.attempt_ms.min(patience_ms / tries).max(1)
}
