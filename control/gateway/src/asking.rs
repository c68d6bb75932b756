//! Queries that wait for something: for a name's CES records, for a negotiation, for a resolver.

use crate::Nanos;
use crate::hosts::HostId;
use crate::output::QueryToken;
use ces_dns::message::Query;
use ces_dns::naptr::Service;
use ces_dns::resolver::Resolution;
use std::collections::VecDeque;
use std::sync::Arc;

/// A query and who asked it.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) token: QueryToken,
    pub(crate) query: Query,
}

/// A host's wish to reach a name, from its first query until the binding stands or not.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) host: HostId,
    pub(crate) remote: Arc<str>,
    /// All who asked for it: A and AAAA at once, the same again, never more than allowed.
    pub(crate) waiters: Vec<Waiter>,
    pub(crate) stage: Stage,
    pub(crate) since: Nanos,
}

#[derive(Debug)]
pub(crate) enum Stage {
    /// The resolver looks for the name's CES records.
    Discovery,
    /// The CETP engine negotiates with a gateway; those that may be tried after it.
    Negotiation(VecDeque<Service>),
}

/// Something that waits.
#[derive(Debug)]
pub(crate) enum Pending {
    Ask(Ask),
    /// An ordinary query, given to the resolver as it is.
    Forward(Waiter),
}

/// How an [`Ask`] ends when no binding comes of it.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The resolver has no answer.
    Upstream(Resolution),
    /// Policy, ours or the peer's.
    Policy,
    /// The peer could not be reached, or did not agree for another reason than policy.
    Negotiation,
    /// Nothing left to give: addresses, slots, sessions.
    Exhausted,
    /// More negotiations a second than allowed.
    Rate,
    /// The host is gone or blocked in the meantime.
    Host,
}
