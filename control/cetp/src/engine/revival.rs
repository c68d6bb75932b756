//! A peer that is lost while sessions with it stand is sought again without being asked for.
//!
//! Its sessions carry packets all the while. But a peer that has restarted knows nothing of them, and what our hosts send
//! into them is lost until C2C tells: so C2C is tried anew, soon at first, then ever more seldom. Only who knows the peer's
//! endpoints can try: who asked it for a name before. Once no session is left, there is nothing to seek it for.

use super::attempts::Purpose;
use super::peers::PeerId;
use super::{Engine, Nanos, Timer};
use crate::limits::{MS, S};
use rand::Rng;

/// What is planned for a peer that is lost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Revival {
    /// When it is tried next.
    pub(super) at: Option<Nanos>,
    /// How many tries there were since it was last up.
    tries: u32,
}

impl Engine {
    /// Plans the next try, if there is a reason for one and none is planned or under way.
    pub(super) fn plan_revival(&mut self, peer: PeerId, now: Nanos) {
        let limits = &self.settings.limits;
        let (first, longest) = (u64::from(limits.revive_ms) * MS, u64::from(limits.revive_max_s) * S);
        let has_sessions = self.table.count_of(peer) > 0;
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        let is_sought = first > 0
            && entry.c2c.is_none()
            && entry.attempt.is_none()
            && entry.revival.at.is_none()
            && has_sessions
            && !entry.endpoints.is_empty();
        if !is_sought {
            return;
        }
        // Twice as long each time. Up to a quarter more, so that the peers of one that died do not all come at once.
        let wait = first.saturating_mul(1 << entry.revival.tries.min(31)).min(longest.max(first));
        let at = now + wait + self.rng.next_u64() % (wait / 4 + 1);
        entry.revival.at = Some(at);
        entry.revival.tries = entry.revival.tries.saturating_add(1);
        self.timer(at, Timer::Revival(peer));
    }

    pub(super) fn revival_due(&self, peer: PeerId, at: Nanos) -> bool {
        self.peers.get(&peer).is_some_and(|entry| entry.revival.at == Some(at))
    }

    /// The time for a try has come.
    pub(super) fn revive(&mut self, peer: PeerId, now: Nanos) {
        let has_sessions = self.table.count_of(peer) > 0;
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        entry.revival.at = None;
        if !has_sessions || entry.c2c.is_some() {
            entry.revival = Revival::default();
        } else if self.start_revival(peer, now).is_err() {
            self.plan_revival(peer, now);
        }
    }

    /// Whether nobody but ourselves waits for C2C with a peer. Then that an endpoint did not answer is no reason to keep a
    /// name from being asked for there: it may be back before the next try.
    pub(super) fn is_only_revival(&self, peer: PeerId) -> bool {
        self.peers.get(&peer).is_some_and(|entry| {
            let purpose = entry.attempt.as_ref().map(|attempt| attempt.purpose);
            entry.waiting.is_empty() && purpose == Some(Purpose::Revival)
        })
    }
}
