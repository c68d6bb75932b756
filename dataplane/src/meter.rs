//! Token buckets: for punted packets, for ICMP errors that the gateway makes, for bindings with a rate.

use crate::Nanos;

/// A token bucket. A token is a packet or a byte, as its user says; parts of a token are kept in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    /// Tokens a second.
    rate: u64,
    /// The most that gather.
    depth: u64,
    tokens: u64,
    /// Up to when tokens were added.
    filled: Nanos,
}

/// A second.
pub const SECOND: Nanos = 1_000_000_000;

impl Bucket {
    /// A full bucket.
    pub const fn new(rate: u64, depth: u64) -> Self {
        Self { rate, depth, tokens: depth, filled: 0 }
    }

    /// Takes tokens; `false`, taking none, if there are not enough.
    pub fn take(&mut self, tokens: u64, now: Nanos) -> bool {
        self.fill(now);
        let enough = self.tokens >= tokens;
        if enough {
            self.tokens -= tokens;
        }
        enough
    }

    /// Takes tokens back that were not needed.
    pub fn give_back(&mut self, tokens: u64) {
        self.tokens = self.depth.min(self.tokens + tokens);
    }

    fn fill(&mut self, now: Nanos) {
        let elapsed = now.saturating_sub(self.filled);
        let fresh = u128::from(elapsed) * u128::from(self.rate) / u128::from(SECOND);
        if fresh >= u128::from(self.depth - self.tokens) {
            self.tokens = self.depth;
            self.filled = now;
        } else if fresh > 0 {
            self.tokens += fresh as u64;
            // Only the time of whole tokens is used up: a bucket that is asked often still fills at its rate.
            self.filled += (fresh * u128::from(SECOND) / u128::from(self.rate)) as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_more_than_depth_and_rate(rate in 1u64..10_000_000, steps in proptest::collection::vec(1u64..50_000_000, 1..200)) {
            let mut bucket = Bucket::new(rate, 10);
            let (mut now, mut taken) = (0, 0u64);
            for step in steps {
                now += step;
                while bucket.take(1, now) {
                    taken += 1;
                }
            }
            let most = 10 + (u128::from(now) * u128::from(rate) / u128::from(SECOND)) as u64;
            prop_assert!(taken <= most + 1, "{taken} of {most}");
        }
    }

    #[test]
    fn asking_often_does_not_starve() {
        let mut bucket = Bucket::new(1000, 1);
        let taken = (0..1_000_000).filter(|step| bucket.take(1, step * 1000)).count();
        assert!((999..=1001).contains(&taken), "{taken} in a second at 1000 a second");
    }
}
