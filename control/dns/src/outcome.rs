//! How a query ended: one closed list per side, which is also the counter and the metric label.

/// From where a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuerySide {
    /// A host of the realm.
    Inside,
    /// Anybody else.
    Outside,
}

labelled! {
    /// Every query that reaches the gateway ends in exactly one of these.
    QueryOutcome {
        /// The proxy address of a CES binding, just negotiated.
        Negotiated = "negotiated",
        /// The proxy address of a binding that stood already.
        Connected = "connected",
        /// An address of a host of the same realm.
        Local = "local",
        /// The name behind a proxy address.
        Reverse = "reverse",
        /// Records that the gateway is authoritative for.
        Authoritative = "authoritative",
        /// From outside, a public address of a host, set aside for a moment.
        Reserved = "reserved",
        /// From outside, an alias of the name: who asks for that has seen this answer.
        Challenged = "challenged",
        /// From outside, no address of the circular pool is to be had: dropped, over TCP answered without one.
        PoolExhausted = "pool_exhausted",
        /// From outside, as much is set aside for the host as may be: the same.
        InboundLimit = "inbound_limit",
        /// From outside, who asks has not come for what was set aside, and the pool is too busy for that: the same.
        Reputation = "reputation",
        /// From outside, who asks holds an equal share of the pool already: the same.
        InboundShare = "inbound_share",
        /// An upstream answer out of the cache.
        Cached = "cached",
        /// An upstream answer, just fetched.
        Forwarded = "forwarded",
        /// The name exists without that type.
        NoData = "no_data",
        /// The name does not exist.
        NxDomain = "nx_domain",
        /// Policy, ours or the far side's, refused: NXDOMAIN to the asker.
        PolicyRefused = "policy_refused",
        /// The upstream resolver refuses.
        UpstreamRefused = "upstream_refused",
        /// The upstream resolver failed (SERVFAIL or nonsense).
        UpstreamFailed = "upstream_failed",
        /// The upstream resolver was silent.
        UpstreamTimeout = "upstream_timeout",
        /// The negotiation failed for another reason than policy.
        NegotiationFailed = "negotiation_failed",
        /// Too many negotiations a second: SERVFAIL.
        NegotiationRate = "negotiation_rate",
        /// No proxy address, binding or other resource left: SERVFAIL.
        Exhausted = "exhausted",
        /// Answered with TC=1 and no records: the querier is to come back over TCP.
        Truncated = "truncated",
        /// Shorter than a header: dropped.
        Short = "short",
        /// A response where a query was due: dropped.
        NotAQuery = "not_a_query",
        /// An opcode other than QUERY: NOTIMP.
        Opcode = "opcode",
        /// Not exactly one question: FORMERR.
        QuestionCount = "question_count",
        /// The question cannot be read (compression, over-long name, cut short): FORMERR.
        QuestionMalformed = "question_malformed",
        /// A class other than IN: REFUSED.
        Class = "class",
        /// A type that cannot be asked for, such as OPT: FORMERR.
        MetaType = "meta_type",
        /// A zone transfer: REFUSED.
        Transfer = "transfer",
        /// Records after the question that cannot be read, or that a query does not carry: FORMERR.
        RecordMalformed = "record_malformed",
        /// Bytes after the last record: FORMERR.
        TrailingBytes = "trailing_bytes",
        /// Two OPT records, or one that is not at the root: FORMERR.
        EdnsMalformed = "edns_malformed",
        /// An EDNS version above 0: BADVERS.
        EdnsVersion = "edns_version",
        /// A record TSIG that cannot be read, or is not the last one: FORMERR.
        SignatureMalformed = "signature_malformed",
        /// Signed by a key that nobody here knows: NOTAUTH, BADKEY.
        BadKey = "bad_key",
        /// A signature that is not its key's: NOTAUTH, BADSIG.
        BadSignature = "bad_signature",
        /// A signature of another time: NOTAUTH, BADTIME.
        BadTime = "bad_time",
        /// An UPDATE that did what it asks.
        Updated = "updated",
        /// An UPDATE whose prerequisites do not hold: YXDOMAIN, NXDOMAIN, YXRRSET or NXRRSET.
        Prerequisite = "prerequisite",
        /// An UPDATE of another zone than ours, or with names outside of it: NOTAUTH, NOTZONE.
        UpdateZone = "update_zone",
        /// An UPDATE by somebody who may not: REFUSED.
        UpdateRefused = "update_refused",
        /// An UPDATE that could not be written down, or for which there is no room: SERVFAIL.
        UpdateFailed = "update_failed",
        /// From an inside address that belongs to no host: REFUSED.
        HostUnknown = "host_unknown",
        /// From a host that the operator has blocked: REFUSED.
        HostBlocked = "host_blocked",
        /// More queries wait for an answer than may: SERVFAIL.
        WaitingFull = "waiting_full",
        /// From outside, a name outside of the zones: dropped.
        OutOfZone = "out_of_zone",
        /// The client's rate: REFUSED to a host, dropped towards the outside.
        RateClient = "rate_client",
        /// The rate of all clients of the side: dropped.
        RateTotal = "rate_total",
        /// The querier went away before the answer (TCP closed).
        Abandoned = "abandoned",
    }
}

/// Queries by outcome, per side.
#[derive(Clone, Debug)]
pub struct QueryCounters {
    inside: [u64; QueryOutcome::COUNT],
    outside: [u64; QueryOutcome::COUNT],
}

impl Default for QueryCounters {
    fn default() -> Self {
        Self { inside: [0; QueryOutcome::COUNT], outside: [0; QueryOutcome::COUNT] }
    }
}

impl QueryCounters {
    /// One more query of that side that ended so.
    pub fn count(&mut self, side: QuerySide, outcome: QueryOutcome) {
        match side {
            QuerySide::Inside => self.inside[outcome as usize] += 1,
            QuerySide::Outside => self.outside[outcome as usize] += 1,
        }
    }

    /// How many ended so.
    pub fn value(&self, side: QuerySide, outcome: QueryOutcome) -> u64 {
        match side {
            QuerySide::Inside => self.inside[outcome as usize],
            QuerySide::Outside => self.outside[outcome as usize],
        }
    }

    /// All queries of that side.
    pub fn total(&self, side: QuerySide) -> u64 {
        match side {
            QuerySide::Inside => self.inside.iter().sum(),
            QuerySide::Outside => self.outside.iter().sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn labels_are_distinct() {
        let labels: HashSet<_> = QueryOutcome::ALL.iter().map(|o| o.label()).collect();
        assert_eq!(labels.len(), QueryOutcome::COUNT);
    }

    #[test]
    fn each_query_counts_once_on_its_side() {
        let mut counters = QueryCounters::default();
        counters.count(QuerySide::Inside, QueryOutcome::Cached);
        counters.count(QuerySide::Outside, QueryOutcome::OutOfZone);
        assert_eq!(counters.value(QuerySide::Inside, QueryOutcome::Cached), 1);
        assert_eq!(counters.value(QuerySide::Outside, QueryOutcome::Cached), 0);
        assert_eq!((counters.total(QuerySide::Inside), counters.total(QuerySide::Outside)), (1, 1));
    }
}
