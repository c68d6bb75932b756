//! What became of sessions: each that was begun is open, completed, or failed for one cause.

use crate::trial::latency_histogram;
use hdrhistogram::Histogram;

/// Why a session failed. Declared once, with its text.
macro_rules! causes {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// Why a session failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Cause {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Cause {
            /// All of them.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$name),+];
            /// How many there are.
            pub const COUNT: usize = [$($text),+].len();

            /// For a report.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

causes! {
    /// The name server did not answer in all tries.
    NoDnsAnswer = "no DNS answer",
    /// The name server refused (code 5).
    DnsRefused = "DNS: refused",
    /// The name server failed (code 2).
    DnsServerFailure = "DNS: server failure",
    /// The name does not exist (code 3).
    DnsNoSuchName = "DNS: no such name",
    /// The answer has no address.
    DnsNoAddress = "DNS: no address",
    /// The answer has another code, is truncated or malformed.
    DnsUnusable = "DNS: unusable answer",
    /// A reset answered the SYN.
    Refused = "refused",
    /// No SYN-ACK in all tries.
    NoSynAck = "no SYN-ACK",
    /// A reset ended a connection that was set up.
    Reset = "reset",
    /// No response in all tries.
    NoResponse = "no response",
    /// No FIN in all tries.
    NoFin = "no FIN",
    /// The trial was stopped before the session's end.
    Stopped = "stopped before its end",
}

/// What a client counted. Frames and bytes with FCS are its own, not the server's.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Sessions begun.
    pub begun: u64,
    /// Sessions that did all they should.
    pub completed: u64,
    /// Sessions that failed, by cause.
    pub failed: [u64; Cause::COUNT],
    /// Sessions whose DNS query was answered with an address.
    pub resolved: u64,
    /// Sessions that were set up.
    pub set_up: u64,
    /// Requests that were sent, each counted once.
    pub requests: u64,
    /// Requests that were answered.
    pub responses: u64,
    /// Frames sent again because nothing came.
    pub again: u64,
    /// Frames for which there was no buffer or no room in the port's queue; sent again after the timeout.
    pub unsent: u64,
    /// Frames received again.
    pub duplicated: u64,
    /// Frames of sessions that have ended, or of an earlier trial.
    pub late: u64,
    /// Frames that fit no session's state: other sequence numbers, lengths or sources than were due.
    pub misplaced: u64,
    /// Frames with a wrong checksum or a wrong length.
    pub damaged: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// From the SYN to the SYN-ACK, or from the first request to its response; the first tries count, not the last.
    pub set_up_ns: Histogram<u64>,
    /// From the DNS query to its answer.
    pub dns_ns: Histogram<u64>,
    /// From a request to its response, if it was sent once.
    pub response_ns: Histogram<u64>,
    /// From the session's begin (its DNS query, if there is one) until the first packet arrived at the server.
    pub first_packet_ns: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            begun: 0,
            completed: 0,
            failed: [0; Cause::COUNT],
            resolved: 0,
            set_up: 0,
            requests: 0,
            responses: 0,
            again: 0,
            unsent: 0,
            duplicated: 0,
            late: 0,
            misplaced: 0,
            damaged: 0,
            sent_bytes: 0,
            received_bytes: 0,
            set_up_ns: latency_histogram(),
            dns_ns: latency_histogram(),
            response_ns: latency_histogram(),
            first_packet_ns: latency_histogram(),
        }
    }
}

impl Tally {
    /// Sessions that failed, of all causes.
    pub fn failures(&self) -> u64 {
        self.failed.iter().sum()
    }

    /// Sessions that are at their end, completed or failed.
    pub fn ended(&self) -> u64 {
        self.completed + self.failures()
    }

    /// Adds what another thread's client counted.
    pub fn add(&mut self, other: &Self) {
        for (own, other) in self.failed.iter_mut().zip(&other.failed) {
            *own += other;
        }
        for (own, other) in [
            (&mut self.begun, other.begun),
            (&mut self.completed, other.completed),
            (&mut self.resolved, other.resolved),
            (&mut self.set_up, other.set_up),
            (&mut self.requests, other.requests),
            (&mut self.responses, other.responses),
            (&mut self.again, other.again),
            (&mut self.unsent, other.unsent),
            (&mut self.duplicated, other.duplicated),
            (&mut self.late, other.late),
            (&mut self.misplaced, other.misplaced),
            (&mut self.damaged, other.damaged),
            (&mut self.sent_bytes, other.sent_bytes),
            (&mut self.received_bytes, other.received_bytes),
        ] {
            *own += other;
        }
        for (own, other) in [
            (&mut self.set_up_ns, &other.set_up_ns),
            (&mut self.dns_ns, &other.dns_ns),
            (&mut self.response_ns, &other.response_ns),
            (&mut self.first_packet_ns, &other.first_packet_ns),
        ] {
            // Both have the same bounds, so that this cannot fail.
            let _ = own.add(other);
        }
    }
}
