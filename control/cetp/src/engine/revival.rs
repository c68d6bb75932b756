//! A peer that is lost while sessions with it stand is sought again without being asked for.
//!
//! Its sessions carry packets all the while. But a peer that has restarted knows nothing of them, and what our hosts send
//! into them is lost until C2C tells: so C2C is tried anew, soon at first, then ever more seldom. Only who knows the peer's
//! endpoints can try: who asked it for a name before. Once no session is left, there is nothing to seek it for.

use super::api::Nanos;
use crate::limits::{CetpLimits, MS, S};
use rand::Rng;

/// What is planned for a peer that is lost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Revival {
    /// When it is tried next.
    at: Option<Nanos>,
    /// How many tries there were since it was last up.
    tries: u32,
}

impl Revival {
    /// Plans the next try, unless one is planned or there are to be none; when it is.
    pub(super) fn plan(&mut self, limits: &CetpLimits, rng: &mut impl Rng, now: Nanos) -> Option<Nanos> {
        let (first, longest) = (u64::from(limits.revive_ms) * MS, u64::from(limits.revive_max_s) * S);
        if first == 0 || self.at.is_some() {
            return None;
        }
        // Twice as long each time. Up to a quarter more, so that the peers of one that died do not all come at once.
        let wait = first.saturating_mul(1 << self.tries.min(31)).min(longest.max(first));
        self.at = Some(now + wait + rng.next_u64() % (wait / 4 + 1));
        self.tries = self.tries.saturating_add(1);
        self.at
    }

    /// Tries before the one under way.
    pub(super) const fn tries(&self) -> u32 {
        self.tries.saturating_sub(1)
    }

    pub(super) fn is_due(&self, at: Nanos) -> bool {
        self.at == Some(at)
    }

    /// The time has come.
    pub(super) const fn begin(&mut self) {
        self.at = None;
    }
}
