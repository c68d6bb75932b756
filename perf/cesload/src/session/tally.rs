//! What became of sessions: each that was begun is open, completed, or failed for one cause.

use crate::latency::latency_histogram;
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

macro_rules! tally {
    ($(#[$meta:meta])+ counts { $($(#[$count_doc:meta])+ $count:ident,)+ }
     delays { $($(#[$delay_doc:meta])+ $delay:ident,)+ }) => {
        $(#[$meta])+
        #[derive(Clone, Debug)]
        pub struct Tally {
            /// Sessions that failed, by cause.
            pub failed: [u64; Cause::COUNT],
            $($(#[$count_doc])+ pub $count: u64,)+
            $($(#[$delay_doc])+ pub $delay: Histogram<u64>,)+
        }

        impl Default for Tally {
            fn default() -> Self {
                Self { failed: [0; Cause::COUNT], $($count: 0,)+ $($delay: latency_histogram(),)+ }
            }
        }

        impl Tally {
            /// Adds what another thread's client counted.
            pub fn add(&mut self, other: &Self) {
                for (own, other) in self.failed.iter_mut().zip(&other.failed) {
                    *own += other;
                }
                $(self.$count += other.$count;)+
                // All have the same bounds, so that this cannot fail.
                $(let _ = self.$delay.add(&other.$delay);)+
            }
        }
    };
}

tally! {
    /// What a client counted. Frames and bytes with FCS are its own, not the server's.
    counts {
        /// Sessions begun.
        begun,
        /// Sessions that did all they should.
        completed,
        /// Sessions whose DNS query was answered with an address.
        resolved,
        /// Sessions that were set up.
        set_up,
        /// Requests that were sent, each counted once.
        requests,
        /// Requests that were answered.
        responses,
        /// Frames sent again because nothing came.
        again,
        /// Frames for which there was no buffer or no room in the port's queue; sent again after the timeout.
        unsent,
        /// Frames received again.
        duplicated,
        /// Frames of sessions that have ended, or of an earlier trial.
        late,
        /// Frames that fit no session's state: other sequence numbers, lengths or sources than were due.
        misplaced,
        /// Frames with a wrong checksum or a wrong length.
        damaged,
        /// Bytes sent.
        sent_bytes,
        /// Bytes received.
        received_bytes,
    }
    delays {
        /// From the SYN to the SYN-ACK, or from the first request to its response; the first tries count, not the last.
        set_up_ns,
        /// From the DNS query to its answer.
        dns_ns,
        /// From a request to its response, if it was sent once.
        response_ns,
        /// From the session's begin (its DNS query, if there is one) until the first packet arrived at the server.
        first_packet_ns,
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
}
