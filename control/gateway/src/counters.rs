//! What is counted: every DNS query and every negotiation ends in exactly one outcome.

use ces_dataplane::msg::EndReason;
use ces_dns::labelled;
use ces_dns::naptr::NaptrCounters;
use ces_dns::outcome::{QueryCounters, QueryOutcome, QuerySide};
use serde::{Serialize, Serializer, ser::SerializeMap};

labelled! {
    /// What became of a negotiation, as initiator or responder, or between two hosts of the realm.
    NegotiationOutcome {
        /// Agreed as the initiator; the binding stands.
        Initiated = "initiated",
        /// Agreed as the responder; the binding stands.
        Accepted = "accepted",
        /// Agreed between two hosts inside.
        Local = "local",
        /// No outbound policy of the host allows that name: nothing was sent.
        OutboundDenied = "outbound_denied",
        /// Between two hosts inside: the policies do not agree.
        LocalDenied = "local_denied",
        /// The peer's policy refuses, or ours refuses what the peer says.
        Refused = "refused",
        /// The peer could not be reached or did not answer in time.
        Unreachable = "unreachable",
        /// No proxy address or no slot was left.
        Exhausted = "exhausted",
        /// What the peer said made no sense.
        Protocol = "protocol",
    }
}

labelled! {
    /// What became of the MAC addresses that hosts' addresses were seen with.
    MacEvent {
        /// A host was seen for the first time.
        Pinned = "pinned",
        /// Another station has the address now: its owner is gone, or the policy is to tell only.
        Moved = "moved",
        /// Another station used a host's address; its frame was refused.
        Refused = "refused",
        /// Another station used a host's address; the policy is to tell only.
        Told = "told",
    }
}

/// Upper bounds of the time histogram's buckets, in microseconds; one more bucket takes what is slower.
pub const TIME_BOUNDS_US: [u64; 14] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000];

/// How long something took, by bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TimeHistogram {
    /// Samples per bucket of [`TIME_BOUNDS_US`], not cumulative; the last takes what is slower than all bounds.
    pub buckets: [u64; TIME_BOUNDS_US.len() + 1],
    /// Sum of all samples in nanoseconds.
    pub sum_ns: u64,
    /// Number of samples.
    pub count: u64,
}

impl TimeHistogram {
    /// Adds a sample.
    pub fn record(&mut self, ns: u64) {
        let us = ns / 1_000;
        self.buckets[TIME_BOUNDS_US.partition_point(|bound| *bound < us)] += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
        self.count += 1;
    }
}

/// All counters of the gateway's core, monotonic since its start.
#[derive(Clone, Debug, Default)]
pub struct CoreCounters {
    /// DNS queries by side and outcome.
    pub dns: QueryCounters,
    /// Negotiations by outcome.
    pub negotiations: [u64; NegotiationOutcome::COUNT],
    /// Time from the query that starts a negotiation as the initiator to its answer, whatever the answer is.
    pub negotiation_time: TimeHistogram,
    /// Queries that joined a negotiation or a lookup under way.
    pub joined: u64,
    /// Bindings that ended, by [`EndReason`].
    pub ended: [u64; EndReason::COUNT],
    /// Sessions refused because the peer may not speak for the name that it gave its host.
    pub claims_refused: u64,
    /// Times that another key was agreed for what is sent to a peer through encrypted tunnels.
    pub rekeys: u64,
    /// What became of the MAC addresses that hosts' addresses were seen with, by [`MacEvent`].
    pub macs: [u64; MacEvent::COUNT],
    /// Names of peers' hosts that were looked up.
    pub claims_looked_up: u64,
    /// Bindings that a worker refused to insert.
    pub insert_failed: u64,
    /// Events from the data plane about handles that are not ours any more.
    pub stale_events: u64,
    /// NAPTR records of far names with something wrong, by what it is.
    pub naptr: NaptrCounters,
}

impl CoreCounters {
    pub(crate) fn negotiation(&mut self, outcome: NegotiationOutcome) {
        self.negotiations[outcome as usize] += 1;
    }

    /// How many negotiations ended so.
    pub fn negotiation_count(&self, outcome: NegotiationOutcome) -> u64 {
        self.negotiations[outcome as usize]
    }
}

struct Labelled<F>(usize, F);

impl<F: Fn(usize) -> (&'static str, u64)> Serialize for Labelled<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0))?;
        for (label, count) in (0..self.0).map(&self.1) {
            map.serialize_entry(label, &count)?;
        }
        map.end()
    }
}

impl Serialize for CoreCounters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, side) in [("dns_inside", QuerySide::Inside), ("dns_outside", QuerySide::Outside)] {
            let count = |i: usize| (QueryOutcome::ALL[i].label(), self.dns.value(side, QueryOutcome::ALL[i]));
            map.serialize_entry(key, &Labelled(QueryOutcome::COUNT, count))?;
        }
        let negotiations = |i: usize| (NegotiationOutcome::ALL[i].label(), self.negotiations[i]);
        map.serialize_entry("negotiations", &Labelled(NegotiationOutcome::COUNT, negotiations))?;
        map.serialize_entry("negotiation_time", &self.negotiation_time)?;
        map.serialize_entry("joined", &self.joined)?;
        let ended = |i: usize| (EndReason::ALL[i].label(), self.ended[i]);
        map.serialize_entry("ended", &Labelled(EndReason::COUNT, ended))?;
        map.serialize_entry("claims_refused", &self.claims_refused)?;
        map.serialize_entry("rekeys", &self.rekeys)?;
        let macs = |i: usize| (MacEvent::ALL[i].label(), self.macs[i]);
        map.serialize_entry("macs", &Labelled(MacEvent::COUNT, macs))?;
        map.serialize_entry("claims_looked_up", &self.claims_looked_up)?;
        map.serialize_entry("insert_failed", &self.insert_failed)?;
        map.serialize_entry("stale_events", &self.stale_events)?;
        map.serialize_entry("naptr", &self.naptr.iter().collect::<std::collections::BTreeMap<_, _>>())?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_lands_in_the_bucket_of_its_bound() {
        let mut histogram = TimeHistogram::default();
        histogram.record(50_000);
        histogram.record(51_000);
        histogram.record(5_000_000_000);
        assert_eq!((histogram.buckets[0], histogram.buckets[1], histogram.buckets[14]), (1, 1, 1));
        assert_eq!(histogram.count, 3);
    }
}
