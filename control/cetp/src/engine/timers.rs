//! What has its time. Timers are not taken back; one that is no longer meant is passed over.

use super::api::{ActionId, ConnId, Nanos, NegotiationId, PeerId};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What a timer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Conn(ConnId),
    Frame(ConnId),
    Negotiation(NegotiationId),
    C2c(PeerId),
    Attempt(PeerId),
    Action(ActionId),
    Revival(PeerId),
    Renewal(PeerId),
    Doubt(PeerId),
}

/// All timers, the next one first.
#[derive(Debug, Default)]
pub(super) struct Timers(BinaryHeap<Reverse<(Nanos, Timer)>>);

impl Timers {
    pub(super) fn set(&mut self, at: Nanos, timer: Timer) {
        self.0.push(Reverse((at, timer)));
    }

    /// The next one.
    pub(super) fn first(&self) -> Option<(Nanos, Timer)> {
        self.0.peek().map(|Reverse(first)| *first)
    }

    pub(super) fn drop_first(&mut self) {
        self.0.pop();
    }
}
