//! What the engine counts.

use super::reason::{BlockReason, Failure};

/// Outcomes of one kind of negotiation; each negotiation ends in exactly one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Agreed.
    pub established: u64,
    /// Not agreed, by reason: index `Failure as usize`.
    pub failed: [u64; Failure::ALL.len()],
}

impl Outcomes {
    /// Label and value of each counter.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        std::iter::once(("established", self.established))
            .chain(Failure::ALL.iter().map(|failure| (failure.label(), self.failed[*failure as usize])))
    }

    /// The sum: all negotiations that are over.
    pub fn total(&self) -> u64 {
        self.iter().map(|(_, value)| value).sum()
    }

    pub(crate) fn count(&mut self, result: Result<(), Failure>) {
        match result {
            Ok(()) => self.established += 1,
            Err(failure) => self.failed[failure as usize] += 1,
        }
    }
}

/// All counters; they only rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CetpCounters {
    /// H2H negotiations of ours.
    pub h2h_initiated: Outcomes,
    /// H2H negotiations of peers.
    pub h2h_received: Outcomes,
    /// C2C negotiations of ours.
    pub c2c_initiated: Outcomes,
    /// C2C negotiations of peers.
    pub c2c_received: Outcomes,
    /// Requests that joined a negotiation under way.
    pub joined: u64,
    /// Requests for a pair that had a session.
    pub connected: u64,
    /// First-round answers with our own queries: stateless, so a negotiation that stops there is counted here only.
    pub asked: u64,
    /// Negotiations of ours that needed a second round.
    pub second_rounds: u64,
    /// Messages received.
    pub messages_in: u64,
    /// Messages sent.
    pub messages_out: u64,
    /// Messages refused before they were understood: JSON, types, absurd tags, too large.
    pub malformed: u64,
    /// Messages for a session or negotiation that is not there.
    pub unknown_session: u64,
    /// TLVs of unknown group or code.
    pub unknown_tlvs: u64,
    /// Sessions that ended, ours or the peer's wish, or by replacement.
    pub sessions_ended: u64,
    /// Peers that came back with other tunnel ids, so that nobody knew whether they still had their sessions.
    pub peers_doubted: u64,
    /// Negotiations of ours that nobody asked for but to find out whether they had.
    pub asked_again: u64,
    /// Such peers that showed that they had.
    pub peers_proven: u64,
    /// Such peers that did not.
    pub peers_restarted: u64,
    /// Filters put up for peers.
    pub filters_accepted: u64,
    /// Complaints received.
    pub evidence_received: u64,
    /// Blocks, by reason: index `BlockReason as usize`.
    pub blocks: [u64; BlockReason::ALL.len()],
    /// Connections refused on arrival.
    pub accepts_refused: u64,
}
