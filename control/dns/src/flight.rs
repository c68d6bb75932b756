//! One question on its way upstream: who waits, and the messages that may still be answered.

use std::net::SocketAddr;

use crate::Nanos;
use crate::question::{Question, QuestionKey};
use crate::resolution::Failure;
use crate::servers::MAX_SERVERS;

/// What the asker wants back with the resolution.
pub type Token = u64;

/// The socket that a query leaves by, and that its answer must come back on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SocketKey {
    /// One of the UDP sockets: 0 to `ResolverSettings::sockets` − 1. The driver binds it to a port that nobody can guess when
    /// something is sent by it, and closes it when [`crate::resolver::Resolver::poll_closed`] says so.
    Udp(u16),
    /// A TCP connection of its own: one query, one answer, then closed by the driver, which also closes it after
    /// `ResolverSettings::deadline_ms` without answer.
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

/// How a message is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Manner {
    pub(crate) tcp: bool,
    pub(crate) edns: bool,
    /// In lower case, whatever is known of the server.
    pub(crate) plain: bool,
}

/// One message that may still be answered.
#[derive(Debug)]
pub(crate) struct Try {
    /// Index of the server.
    pub(crate) server: usize,
    pub(crate) socket: SocketKey,
    pub(crate) id: u16,
    /// The question section as sent, in its random case.
    pub(crate) question: Box<[u8]>,
    pub(crate) manner: Manner,
    /// The case of the name was drawn, so that who gives it back has seen it.
    pub(crate) drawn: bool,
    /// Its silence has been held against the server.
    pub(crate) blamed: bool,
    /// It was answered by what cannot be used: the true answer may yet come, if that was none.
    pub(crate) doubted: bool,
}

/// A question in flight.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) key: QuestionKey,
    pub(crate) question: Question,
    /// Who waits, and until when.
    pub(crate) waiting: Vec<(Token, Nanos)>,
    pub(crate) sent: Vec<Try>,
    /// Messages to each server.
    pub(crate) asked: [u8; MAX_SERVERS],
    /// Servers that were asked over TCP, and in lower case, because of what came from them: a bit for each.
    pub(crate) over_tcp: u8,
    pub(crate) in_plain: u8,
    pub(crate) attempts: u8,
    pub(crate) step_ms: u32,
    pub(crate) next_attempt: Nanos,
    pub(crate) deadline: Nanos,
    pub(crate) worst: Option<Failure>,
}

const _: () = assert!(MAX_SERVERS <= 8);

impl Flight {
    pub(crate) fn new(
        key: QuestionKey,
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
            over_tcp: 0,
            in_plain: 0,
            attempts: 0,
            step_ms,
            next_attempt: Nanos::MAX,
            deadline,
            worst: None,
        }
    }

    /// When something is due.
    pub(crate) fn due(&self) -> Nanos {
        let asker = self.waiting.iter().map(|&(_, until)| until).min();
        self.deadline.min(self.next_attempt).min(asker.unwrap_or(Nanos::MAX))
    }
}
