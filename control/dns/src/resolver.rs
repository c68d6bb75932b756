//! Asking upstream.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use hickory_proto::rr::{Name, RecordType};
use serde::Deserialize;

use crate::Nanos;
use crate::cache;
use crate::message::Query;
use crate::packet::Packet;

/// What the asker wants back with the resolution.
pub type Token = u64;

/// How the resolver behaves.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Upstream servers, tried in this order. None: every resolution fails.
    pub servers: Vec<SocketAddr>,
    /// UDP sockets (source ports) that the driver holds open to choose from.
    pub sockets: u16,
    /// How long one server may take before the next is asked, milliseconds.
    pub attempt_ms: u32,
    /// How long all attempts for one question may take, milliseconds.
    pub deadline_ms: u32,
    /// Messages sent for one question at most.
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

/// The socket that a query leaves by, and that its answer must come back on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SocketKey {
    /// One of the pool of UDP sockets: 0 to `Settings::sockets` − 1.
    Udp(u16),
    /// A TCP connection of its own: one query, one answer, then closed by the driver.
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

/// Which question is asked of upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The name.
    pub name: Name,
    /// The type.
    pub qtype: RecordType,
    /// DNSSEC records are wanted.
    pub dnssec_ok: bool,
    /// CD: the answer is wanted even if upstream finds it bogus.
    pub checking_disabled: bool,
}

impl Question {
    /// A question of the gateway's own, without DNSSEC.
    pub fn new(name: Name, qtype: RecordType) -> Self {
        Self { name, qtype, dnssec_ok: false, checking_disabled: false }
    }

    /// The question to forward for a client's query.
    pub fn of(query: &Query) -> Self {
        Self {
            name: query.name.clone(),
            qtype: query.qtype,
            dnssec_ok: query.edns.is_some_and(|e| e.dnssec_ok),
            checking_disabled: query.checking_disabled,
        }
    }
}

/// A response and when it came.
#[derive(Clone, Debug)]
pub struct Received {
    /// The response.
    pub packet: Arc<Packet>,
    /// When it came; its TTLs count from here.
    pub at: Nanos,
    /// It came out of the cache.
    pub cached: bool,
}

impl Received {
    /// The response for that asker, TTLs aged.
    pub fn reply(&self, query: &Query, now: Nanos) -> Vec<u8> {
        self.packet.reply(query, (now.saturating_sub(self.at) / crate::SECOND) as u32)
    }
}

/// How a resolution ended.
#[derive(Clone, Debug)]
pub enum Resolution {
    /// Records.
    Answer(Received),
    /// The name exists without that type.
    NoData(Received),
    /// The name does not exist.
    NxDomain(Received),
    /// Upstream failed, or too much is in flight.
    ServFail,
    /// Every server refuses.
    Refused,
    /// No server answered in time.
    Timeout,
}

/// The upstream side.
#[derive(Debug)]
pub struct Resolver {
    done: VecDeque<(Token, Resolution)>,
}

impl Resolver {
    /// No server asked yet, nothing cached.
    pub fn new(_settings: Settings, _seed: u64) -> Self {
        Self { done: VecDeque::new() }
    }

    /// Asks; `token` comes back by [`Self::poll_done`], at once if the cache knows. `deadline_ms` of 0 means the
    /// configured total.
    pub fn query(&mut self, _question: Question, _deadline_ms: u32, token: Token, _now: Nanos) {
        self.done.push_back((token, Resolution::Timeout));
    }

    /// What the cache knows.
    pub fn cached(&mut self, _question: &Question, _now: Nanos) -> Option<Resolution> {
        None
    }

    /// A message came in on that socket.
    pub fn handle_response(&mut self, _server: SocketAddr, _socket: SocketKey, _bytes: &[u8], _now: Nanos) {}

    /// The socket reports that the server cannot be reached (ICMP, or a TCP connection refused or closed).
    pub fn handle_unreachable(&mut self, _server: SocketAddr, _socket: SocketKey, _now: Nanos) {}

    /// Time has come.
    pub fn handle_timeout(&mut self, _now: Nanos) {}

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Nanos> {
        None
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        None
    }

    /// The next resolution that ended.
    pub fn poll_done(&mut self) -> Option<(Token, Resolution)> {
        self.done.pop_front()
    }
}
