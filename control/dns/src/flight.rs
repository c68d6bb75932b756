//! One question on its way upstream, and what is known of the servers.

use std::net::SocketAddr;

use rand::RngExt;
use rand::rngs::StdRng;

use crate::Nanos;
use crate::message::UDP_MAX;
use crate::question::{Key, Question};
use crate::resolver::{Failure, MAX_SERVERS, ServerState, SocketKey, Token};
use crate::wire::{self, HEADER, Header};

/// One message that may still be answered.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// Index of the server.
    pub(crate) server: usize,
    pub(crate) socket: SocketKey,
    pub(crate) id: u16,
    /// The question section as sent, in its random case.
    pub(crate) question: Box<[u8]>,
    pub(crate) edns: bool,
    /// Its silence has been held against the server.
    pub(crate) blamed: bool,
}

/// A question in flight.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) key: Key,
    pub(crate) question: Question,
    /// Who waits, and until when.
    pub(crate) waiting: Vec<(Token, Nanos)>,
    pub(crate) sent: Vec<Attempt>,
    /// Messages to each server.
    pub(crate) asked: [u8; MAX_SERVERS],
    pub(crate) attempts: u8,
    pub(crate) step_ms: u32,
    pub(crate) next_attempt: Nanos,
    pub(crate) deadline: Nanos,
    pub(crate) worst: Option<Failure>,
    /// A server in whose name a wrong question was answered: asked over TCP next.
    pub(crate) distrusted: Option<usize>,
    /// The timer that is set.
    pub(crate) timer: Option<Nanos>,
}

impl Flight {
    pub(crate) fn new(
        key: Key,
        question: Question,
        first: (Token, Nanos),
        deadline: Nanos,
        step_ms: u32,
    ) -> Self {
        Self {
            key,
            question,
            waiting: vec![first],
            sent: Vec::with_capacity(1),
            asked: [0; MAX_SERVERS],
            attempts: 0,
            step_ms,
            next_attempt: Nanos::MAX,
            deadline,
            worst: None,
            distrusted: None,
            timer: None,
        }
    }

    /// When something is due.
    pub(crate) fn due(&self) -> Nanos {
        let asker = self.waiting.iter().map(|&(_, until)| until).min();
        self.deadline.min(self.next_attempt).min(asker.unwrap_or(Nanos::MAX))
    }
}

/// What is known of a server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) down_until: Nanos,
    pub(crate) sent: u64,
    answered: u64,
    /// Silent attempts in a row.
    silent: u8,
}

impl Server {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, down_until: 0, sent: 0, answered: 0, silent: 0 }
    }

    pub(crate) fn is_down(&self, now: Nanos) -> bool {
        self.down_until > now
    }

    /// It answered: whatever was held against it is over.
    pub(crate) fn answered(&mut self) {
        self.answered += 1;
        (self.silent, self.down_until) = (0, 0);
    }

    /// It kept silent; how often in a row.
    pub(crate) fn silent(&mut self) -> u8 {
        self.silent = self.silent.saturating_add(1);
        self.silent
    }

    pub(crate) fn state(&self, now: Nanos) -> ServerState {
        ServerState {
            address: self.address,
            is_down: self.is_down(now),
            sent: self.sent,
            answered: self.answered,
        }
    }
}

/// A query for upstream, and its question section apart. RD is set: upstream is a recursive server. Without EDNS there
/// is no DO either (RFC 3225 §3).
pub(crate) fn encode(
    question: &Question,
    id: u16,
    edns: bool,
    case: Option<&mut StdRng>,
) -> (Vec<u8>, Box<[u8]>) {
    let flags = wire::RD | if question.checking_disabled { wire::CD } else { 0 };
    let mut out = Vec::with_capacity(HEADER + wire::wire_len(&question.name) + 4 + crate::answer::OPT);
    Header { id, flags, questions: 1, answers: 0, authorities: 0, additionals: u16::from(edns) }
        .emit(&mut out);
    wire::emit_name(&question.name, &mut out);
    if let Some(rng) = case {
        // Length octets are below 64 and no letters.
        let mut bits = 0u64;
        for (n, octet) in out[HEADER..].iter_mut().enumerate() {
            if n % 64 == 0 {
                bits = rng.random();
            }
            if octet.is_ascii_alphabetic() {
                *octet ^= ((bits & 1) as u8) << 5;
            }
            bits >>= 1;
        }
    }
    out.extend_from_slice(&u16::from(question.qtype).to_be_bytes());
    out.extend_from_slice(&wire::CLASS_IN.to_be_bytes());
    let section = out[HEADER..].into();
    if edns {
        out.extend_from_slice(&[0, 0, 41]);
        out.extend_from_slice(&UDP_MAX.to_be_bytes());
        out.extend_from_slice(&[0, 0, u8::from(question.dnssec_ok) << 7, 0, 0, 0]);
    }
    (out, section)
}
