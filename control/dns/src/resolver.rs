//! Asking upstream: one question in, one of six endings out, and nothing that an outsider can forge on the way.
//!
//! The driver owns the sockets: it closes what [`Resolver::poll_closed`] names, then sends what
//! [`Resolver::poll_transmit`] gives, from the socket that it names, and brings back whatever comes in there. An answer
//! counts only if server, socket (hence port), id and the question in its random case all agree (RFC 5452 §9);
//! everything else is counted, and the wait goes on, while the server is asked once more in a way that cannot be forged.
//! A slow server may still answer while the next one is already asked: every attempt of a question stays open until the
//! question ends.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use hickory_proto::rr::RecordType;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;

use crate::cache::{self, Cache, CacheSettings, Cached};
use crate::flight::{Flight, Manner, Try};
pub use crate::flight::{SocketKey, Token, Transmit};
use crate::flights::Flights;
use crate::guard::Guard;
use crate::packet::{self, CheckedResponse, Kind};
pub use crate::question::Question;
use crate::question::QuestionKey;
pub use crate::resolution::{Failure, Received, Resolution, ResolverCounters, ResolverEvent};
use crate::servers::Servers;
pub use crate::servers::{MAX_SERVERS, ServerState};
use crate::{MILLISECOND, Nanos};

/// How the resolver behaves.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResolverSettings {
    /// Upstream servers, tried in this order; those beyond [`MAX_SERVERS`] are not used. None: every resolution fails.
    pub servers: Vec<SocketAddr>,
    /// UDP sockets that may be open at a time: beyond that, queries share them.
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
    /// Randomise the case of names (draft-vixie-dnsext-dns0x20), with servers that keep it.
    pub randomise_case: bool,
    /// What no answer from upstream may say.
    #[serde(skip)]
    pub guard: Guard,
    /// What the cache may hold.
    pub cache: CacheSettings,
}

impl Default for ResolverSettings {
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
            guard: Guard::default(),
            cache: CacheSettings::default(),
        }
    }
}

/// The upstream side.
#[derive(Debug)]
pub struct Resolver {
    settings: ResolverSettings,
    rng: StdRng,
    servers: Servers,
    cache: Cache,
    flights: Flights,
    transmits: VecDeque<(Transmit, u16)>,
    done: VecDeque<(Token, Resolution)>,
    counters: ResolverCounters,
}

impl Resolver {
    /// No server asked yet, nothing cached.
    pub fn new(settings: ResolverSettings, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let down_ns = Nanos::from(settings.down_ms) * MILLISECOND;
        Self {
            servers: Servers::new(&settings.servers, settings.down_after, down_ns),
            cache: Cache::new(settings.cache.clone(), rng.random()),
            flights: Flights::new(settings.sockets, rng.random()),
            transmits: VecDeque::new(),
            done: VecDeque::new(),
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
        if let Some(slot) = self.flights.find(&key) {
            return self.join(slot, token, until);
        }
        if self.flights.len() >= self.settings.in_flight as usize || self.servers.len() == 0 {
            self.counters.count(ResolverEvent::Overflow);
            self.end(token, Resolution::ServFail);
            return;
        }
        let deadline = until.max(now + Nanos::from(self.settings.deadline_ms) * MILLISECOND);
        let step_ms = step_ms(&self.settings, patience_ms, self.servers.len());
        let slot = self.flights.insert(Flight::new(key, question, (token, until), deadline, step_ms));
        self.attempt(slot, now);
        self.flights.retime(slot);
    }

    /// One more who waits for what is being asked.
    fn join(&mut self, slot: u32, token: Token, until: Nanos) {
        let Some(flight) = self.flights.get_mut(slot) else { return };
        if flight.waiting.len() >= self.settings.waiting as usize {
            self.counters.count(ResolverEvent::Overflow);
            self.end(token, Resolution::ServFail);
            return;
        }
        flight.waiting.push((token, until));
        self.counters.count(ResolverEvent::Joined);
        self.flights.retime(slot);
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
        let open = id.and_then(|id| self.flights.answered(socket, id));
        let Some((slot, at)) = open else {
            self.counters.count(ResolverEvent::Unexpected);
            return;
        };
        let Some((asked, manner)) = self.flights.attempt(slot, at) else { return };
        if self.servers.address(asked) != server {
            self.counters.count(ResolverEvent::WrongServer);
            return;
        }
        let packet = match self.read(slot, at, bytes, now) {
            Ok(packet) => packet,
            Err(doubt) if manner.tcp => {
                self.counters.count(doubt);
                return self.fail(slot, at, Failure::ServFail, now);
            }
            Err(doubt) => {
                self.counters.count(doubt);
                return self.doubt(slot, at, doubt, bytes, now);
            }
        };
        self.servers.answered(asked);
        if packet.is_truncated() {
            // RFC 7766 §5: TC means to ask again over TCP.
            if manner.tcp {
                self.fail(slot, at, Failure::ServFail, now);
            } else {
                self.counters.count(ResolverEvent::Truncated);
                self.again(slot, at, Manner { tcp: true, ..manner }, now);
            }
            return;
        }
        match packet.kind() {
            Kind::Answer | Kind::NoData | Kind::NxDomain => {
                let packet = match self.settings.guard.clean(&packet, self.cache.bounds()) {
                    Some(clean) => {
                        self.counters.count(ResolverEvent::Rebinding);
                        clean
                    }
                    None => packet,
                };
                let received = Received { packet: Arc::new(packet), at: now, cached: false };
                self.finish(slot, Resolution::of(received), now);
            }
            // RFC 6891 §6.2.2: a server that does not know EDNS says FORMERR; it is asked without.
            Kind::NoEdns if manner.edns => {
                self.counters.count(ResolverEvent::EdnsFallback);
                self.again(slot, at, Manner { edns: false, ..manner }, now);
            }
            Kind::Refused => self.fail(slot, at, Failure::Refused, now),
            Kind::Failure | Kind::NoEdns => self.fail(slot, at, Failure::ServFail, now),
        }
    }

    /// A response that answers what was asked, to the letter; or what is wrong with it.
    fn read(
        &mut self,
        slot: u32,
        at: usize,
        bytes: &[u8],
        now: Nanos,
    ) -> Result<CheckedResponse, ResolverEvent> {
        let packet =
            CheckedResponse::parse(bytes, self.cache.bounds()).map_err(|_| ResolverEvent::Malformed)?;
        let attempt = self.flights.get(slot).and_then(|flight| flight.sent.get(at));
        let Some(attempt) = attempt else { return Err(ResolverEvent::Unexpected) };
        let (name, kind) = attempt.question.split_at(attempt.question.len().saturating_sub(4));
        // RFC 5452 §9.1: the question must match. Where there is none, nothing says what is answered.
        let answered = packet.question().strip_suffix(kind).filter(|own| own.eq_ignore_ascii_case(name));
        let Some(answered) = answered else { return Err(ResolverEvent::WrongQuestion) };
        let is_kept = answered == name;
        if !is_kept && attempt.drawn && !attempt.manner.tcp {
            return Err(ResolverEvent::WrongCase);
        }
        if is_kept && has_both_cases(name) {
            self.servers.kept_case(attempt.server);
        } else if !is_kept && attempt.manner.tcp {
            // It is the server itself that does not keep the case.
            self.servers.folded(attempt.server, true, now);
        } else if attempt.manner.plain {
            // Whatever case it gives back: none was drawn.
            self.servers.folded(attempt.server, false, now);
        }
        Ok(packet)
    }

    /// A datagram came that cannot be used, as if from the server: it is asked again at once, over TCP, which nobody can
    /// guess into, and without what it may not understand. What was sent stays open: the true answer may yet come.
    fn doubt(&mut self, slot: u32, at: usize, doubt: ResolverEvent, bytes: &[u8], now: Nanos) {
        let Some((server, manner)) = self.flights.attempt(slot, at) else { return };
        let Some(flight) = self.flights.get_mut(slot) else { return };
        flight.sent[at].doubted = true;
        let bit = 1 << server;
        let is_case = doubt == ResolverEvent::WrongCase;
        let is_plainer = is_case || (manner.edns && packet::says_no_edns(bytes));
        let plain = (is_plainer && flight.in_plain & bit == 0).then_some(Manner {
            tcp: false,
            edns: manner.edns && is_case,
            plain: is_case,
        });
        let tcp =
            (flight.over_tcp & bit == 0).then_some(Manner { tcp: true, edns: manner.edns, plain: false });
        if plain.is_some() {
            flight.in_plain |= bit;
        }
        flight.over_tcp |= bit;
        for manner in [plain, tcp].into_iter().flatten() {
            self.send(slot, server, manner, now);
        }
        self.flights.retime(slot);
    }

    /// The socket reports that the server cannot be reached (ICMP, or a TCP connection refused, closed or silent).
    pub fn handle_unreachable(&mut self, server: SocketAddr, socket: SocketKey, now: Nanos) {
        self.counters.count(ResolverEvent::Unreachable);
        for id in self.flights.ids(socket) {
            let Some((slot, at)) = self.flights.answered(socket, id) else { continue };
            let Some((asked, manner)) = self.flights.attempt(slot, at) else { continue };
            if self.servers.address(asked) == server {
                // A server may be without TCP and well.
                if !manner.tcp && self.servers.down(asked, now) {
                    self.counters.count(ResolverEvent::ServerDown);
                }
                self.fail(slot, at, Failure::Timeout, now);
            }
        }
    }

    /// Time has come: attempts and askers whose time is over.
    pub fn handle_timeout(&mut self, now: Nanos) {
        while let Some(slot) = self.flights.pop_due(now) {
            let Some(flight) = self.flights.get_mut(slot) else { continue };
            // RFC 8906 §3.1.2: who keeps silent about NAPTR may know no such type. It is not down for that; who is, keeps
            // silent about addresses too.
            let is_judged = flight.question.qtype != RecordType::NAPTR;
            if flight.deadline <= now {
                let silent: Vec<usize> = flight.sent.iter().filter(|a| !a.blamed).map(|a| a.server).collect();
                let failure = flight.worst.unwrap_or(Failure::Timeout);
                for server in silent {
                    self.silent(server, is_judged, now);
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
                    self.silent(server, is_judged, now);
                }
                self.attempt(slot, now);
            }
            for token in expired {
                self.end(token, Resolution::Timeout);
            }
            self.flights.retime(slot);
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Nanos> {
        self.flights.next_due()
    }

    /// The next socket to be closed: nothing is waited for on it any more, and what is sent by it next is to come from
    /// another port. Before what there is to send.
    pub fn poll_closed(&mut self) -> Option<SocketKey> {
        self.flights.poll_closed()
    }

    /// The sockets that something is waited for on.
    pub fn sockets(&self) -> Vec<SocketKey> {
        self.flights.sockets()
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        while let Some((transmit, id)) = self.transmits.pop_front() {
            // What ended before it was sent is not sent.
            if self.flights.is_open(transmit.socket, id) {
                return Some(transmit);
            }
        }
        None
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
        self.flights.len()
    }

    /// What the cache holds.
    pub fn cache_usage(&self) -> cache::CacheUsage {
        self.cache.usage()
    }

    /// Forgets every cached answer.
    pub fn clear_cache(&mut self) -> impl Send + use<> {
        self.cache.clear()
    }

    /// The servers, for the operator.
    pub fn servers(&self, now: Nanos) -> Vec<ServerState> {
        self.servers.states(now)
    }

    fn lookup(&mut self, key: &QuestionKey, now: Nanos) -> Option<Resolution> {
        let (entry, at) = self.cache.lookup(key, now)?;
        self.counters.count(ResolverEvent::CacheHit);
        Some(match entry {
            Cached::Packet(packet) => Resolution::of(Received { packet, at, cached: true }),
            Cached::Failure(failure) => failure.into(),
        })
    }

    fn end(&mut self, token: Token, resolution: Resolution) {
        self.counters.count(resolution.event());
        self.done.push_back((token, resolution));
    }

    /// Sends the next attempt, if there is one left, to the best server.
    fn attempt(&mut self, slot: u32, now: Nanos) {
        let Some(flight) = self.flights.get_mut(slot) else { return };
        if flight.attempts >= self.settings.attempts.max(1) {
            return;
        }
        let Some(server) = self.servers.best(flight.asked, now) else { return };
        let round = u32::from(flight.attempts) / self.servers.len() as u32;
        flight.attempts += 1;
        // Exponential back-off by rounds over all servers (RFC 1536 §1).
        let step = (Nanos::from(flight.step_ms) * MILLISECOND) << round.min(6);
        flight.next_attempt = now + step;
        self.send(slot, server, Manner { tcp: false, edns: true, plain: false }, now);
    }

    /// Asks the same server again in another manner, in place of a message that it did answer.
    fn again(&mut self, slot: u32, at: usize, manner: Manner, now: Nanos) {
        let Some(answered) = self.flights.close(slot, at) else { return };
        self.send(slot, answered.server, manner, now);
        self.flights.retime(slot);
    }

    fn send(&mut self, slot: u32, server: usize, manner: Manner, now: Nanos) {
        let Some((socket, id)) = self.flights.draw(manner.tcp, &mut self.rng) else { return };
        let Some(flight) = self.flights.get_mut(slot) else { return };
        let is_random =
            self.settings.randomise_case && !manner.plain && !self.servers.folds_case(server, now);
        let (bytes, question) = flight.question.emit(id, manner.edns, is_random.then_some(&mut self.rng));
        if manner.tcp {
            self.counters.count(ResolverEvent::SentTcp);
            flight.next_attempt = flight.next_attempt.max(now + Nanos::from(flight.step_ms) * MILLISECOND);
        } else {
            self.counters.count(ResolverEvent::SentUdp);
        }
        flight.asked[server] = flight.asked[server].saturating_add(1);
        let attempt =
            Try { server, socket, id, question, manner, drawn: is_random, blamed: false, doubted: false };
        self.flights.open(slot, attempt);
        self.servers.sent(server);
        self.transmits.push_back((Transmit { server: self.servers.address(server), socket, bytes }, id));
    }

    /// A server failed for good: another one, or the end if none is left to wait for.
    fn fail(&mut self, slot: u32, at: usize, failure: Failure, now: Nanos) {
        let Some(failed) = self.flights.close(slot, at) else { return };
        let mut failure = failure;
        // What it said to one message it would say to the others. Where it only has no TCP, those are still waited for
        // which it has not answered by what cannot be used.
        let without_tcp = failed.manner.tcp && failure == Failure::Timeout;
        while let Some(at) = self.flights.get(slot).and_then(|flight| {
            flight.sent.iter().position(|a| a.server == failed.server && (a.doubted || !without_tcp))
        }) {
            self.flights.close(slot, at);
            failure = if without_tcp { Failure::ServFail } else { failure };
        }
        let servers = self.servers.len();
        let Some(flight) = self.flights.get_mut(slot) else { return };
        flight.worst = flight.worst.max(Some(failure));
        let is_untried = (0..servers).any(|s| flight.asked[s] == 0);
        let (worst, is_last) = (flight.worst.unwrap_or(failure), flight.sent.is_empty());
        if is_untried && flight.attempts < self.settings.attempts {
            self.attempt(slot, now);
        } else if is_last {
            return self.finish(slot, worst.into(), now);
        }
        self.flights.retime(slot);
    }

    fn finish(&mut self, slot: u32, resolution: Resolution, now: Nanos) {
        let Some(flight) = self.flights.remove(slot) else { return };
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

    fn silent(&mut self, server: usize, is_judged: bool, now: Nanos) {
        self.counters.count(ResolverEvent::Silent);
        if is_judged && self.servers.silent(server, now) {
            self.counters.count(ResolverEvent::ServerDown);
        }
    }
}

/// Whether a name has letters of both cases, so that whoever gives it back unchanged keeps them.
fn has_both_cases(name: &[u8]) -> bool {
    name.iter().any(u8::is_ascii_lowercase) && name.iter().any(u8::is_ascii_uppercase)
}

/// How long the first attempt may take: short enough that an impatient asker still sees a second one.
fn step_ms(settings: &ResolverSettings, patience_ms: u32, servers: usize) -> u32 {
    let tries = servers.min(usize::from(settings.attempts)).max(2) as u32;
    settings.attempt_ms.min(patience_ms / tries).max(1)
}
