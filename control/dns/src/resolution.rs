//! How a question to upstream ends, and what is counted on the way.

use std::sync::Arc;

use crate::answer;
use crate::outcome::QueryOutcome;
use crate::packet::{CheckedResponse, Kind};
use crate::query::Query;
use crate::{Nanos, SECOND};

/// A response and when it came.
#[derive(Clone, Debug)]
pub struct Received {
    /// The response.
    pub packet: Arc<CheckedResponse>,
    /// When it came; its TTLs count from here.
    pub at: Nanos,
    /// It came out of the cache.
    pub cached: bool,
}

impl Received {
    /// The response for that asker, TTLs aged, no addresses beside what was asked for.
    pub fn reply(&self, query: &Query, now: Nanos) -> Vec<u8> {
        let age_s = (now.saturating_sub(self.at) / SECOND).min(u64::from(u32::MAX)) as u32;
        self.packet.reply_without_hints(query, age_s)
    }
}

labelled! {
    /// How a resolution ends without a response that could be passed on.
    Failure {
        /// No server answered in time.
        Timeout = "timeout",
        /// Every server that answered refuses.
        Refused = "refused",
        /// A server failed, or too much is in flight, or no server is configured.
        ServFail = "serv_fail",
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

impl Resolution {
    pub(crate) fn of(received: Received) -> Self {
        match received.packet.kind() {
            Kind::Answer => Self::Answer(received),
            Kind::NoData => Self::NoData(received),
            Kind::NxDomain => Self::NxDomain(received),
            Kind::Refused => Self::Refused,
            Kind::Failure | Kind::NoEdns => Self::ServFail,
        }
    }

    /// The response for that asker: the records, REFUSED where upstream refuses, SERVFAIL otherwise; never silence.
    pub fn reply(&self, query: &Query, now: Nanos) -> Vec<u8> {
        match self {
            Self::Answer(r) | Self::NoData(r) | Self::NxDomain(r) => r.reply(query, now),
            Self::Refused => answer::refused(query),
            Self::ServFail | Self::Timeout => answer::serv_fail(query),
        }
    }

    /// Under what a forwarded query that ends so counts.
    pub fn outcome(&self) -> QueryOutcome {
        match self {
            Self::Answer(r) if r.cached => QueryOutcome::Cached,
            Self::Answer(_) => QueryOutcome::Forwarded,
            Self::NoData(_) => QueryOutcome::NoData,
            Self::NxDomain(_) => QueryOutcome::NxDomain,
            Self::ServFail => QueryOutcome::UpstreamFailed,
            Self::Refused => QueryOutcome::UpstreamRefused,
            Self::Timeout => QueryOutcome::UpstreamTimeout,
        }
    }

    pub(crate) fn event(&self) -> ResolverEvent {
        match self {
            Self::Answer(_) => ResolverEvent::Answer,
            Self::NoData(_) => ResolverEvent::NoData,
            Self::NxDomain(_) => ResolverEvent::NxDomain,
            Self::ServFail => ResolverEvent::ServFail,
            Self::Refused => ResolverEvent::Refused,
            Self::Timeout => ResolverEvent::Timeout,
        }
    }
}

impl From<Failure> for Resolution {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Timeout => Self::Timeout,
            Failure::Refused => Self::Refused,
            Failure::ServFail => Self::ServFail,
        }
    }
}

labelled! {
    /// What the resolver counts. The first six are the endings: each asked question counts under exactly one of them.
    ResolverEvent {
        /// Ended with records.
        Answer = "answer",
        /// Ended with NODATA.
        NoData = "no_data",
        /// Ended with NXDOMAIN.
        NxDomain = "nx_domain",
        /// Ended with SERVFAIL.
        ServFail = "serv_fail",
        /// Ended with REFUSED.
        Refused = "refused",
        /// Ended without answer in time.
        Timeout = "timeout",
        /// A question of an asker.
        Asked = "asked",
        /// Answered from the cache, failures included.
        CacheHit = "cache_hit",
        /// Joined the same question in flight.
        Joined = "joined",
        /// Too many questions in flight, or askers of one.
        Overflow = "overflow",
        /// A message sent over UDP.
        SentUdp = "sent_udp",
        /// A message sent over TCP.
        SentTcp = "sent_tcp",
        /// An attempt without answer in its time.
        Silent = "silent",
        /// A server went down.
        ServerDown = "server_down",
        /// A server or socket could not be reached.
        Unreachable = "unreachable",
        /// A truncated answer: asked again over TCP.
        Truncated = "truncated",
        /// A server without EDNS: asked again without.
        EdnsFallback = "edns_fallback",
        /// Ignored: no question of that id is open on that socket. Forged, or too late.
        Unexpected = "unexpected",
        /// Ignored: from another server than was asked.
        WrongServer = "wrong_server",
        /// Ignored: answers another question, or none; asked again over TCP.
        WrongQuestion = "wrong_question",
        /// Ignored: the right question in the wrong case; asked again over TCP and in lower case.
        WrongCase = "wrong_case",
        /// Ignored: cannot be read; asked again over TCP.
        Malformed = "malformed",
        /// Something was taken out of an answer: an address that no name of another may have.
        Rebinding = "rebinding_filtered",
    }
}

/// Counters of the resolver.
#[derive(Clone, Debug)]
pub struct ResolverCounters([u64; ResolverEvent::COUNT]);

impl Default for ResolverCounters {
    fn default() -> Self {
        Self([0; ResolverEvent::COUNT])
    }
}

impl ResolverCounters {
    /// How often that happened.
    pub fn value(&self, event: ResolverEvent) -> u64 {
        self.0[event as usize]
    }

    /// All of them, each with its label.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        ResolverEvent::ALL.iter().map(|&event| (event.label(), self.value(event)))
    }

    pub(crate) fn count(&mut self, event: ResolverEvent) {
        self.0[event as usize] += 1;
    }
}
