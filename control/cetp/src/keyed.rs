//! Keyed hashing: maps that a peer cannot make collide, values that it cannot guess, secrets that grow old.

use crate::limits::S;
use rand::Rng;
use std::hash::{BuildHasher, Hash};

// Deprecated in favour of a hasher that cannot be keyed; keyed SipHash is just what is needed.
#[allow(deprecated)]
use std::hash::SipHasher;

/// A key of SipHash-2-4.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keyed([u64; 2]);

impl Keyed {
    pub(crate) fn draw(rng: &mut impl Rng) -> Self {
        Self([rng.next_u64(), rng.next_u64()])
    }

    pub(crate) const fn of(key: [u64; 2]) -> Self {
        Self(key)
    }

    /// A value that only we can compute.
    pub(crate) fn digest(self, what: impl Hash) -> u64 {
        self.hash_one(what)
    }

    fn text(self) -> String {
        format!("{:016x}{:016x}", self.0[0], self.0[1])
    }
}

#[allow(deprecated)]
impl BuildHasher for Keyed {
    type Hasher = SipHasher;

    fn build_hasher(&self) -> SipHasher {
        SipHasher::new_with_keys(self.0[0], self.0[1])
    }
}

/// The secret behind proofs of work and acknowledgements; the one before counts a little longer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Secrets {
    current: Keyed,
    since: u64,
    previous: Option<(Keyed, u64)>,
}

impl Secrets {
    pub(crate) fn new(rng: &mut impl Rng, now: u64) -> Self {
        Self { current: Keyed::draw(rng), since: now, previous: None }
    }

    /// Changes the secret when its time is over.
    pub(crate) fn refresh(&mut self, rng: &mut impl Rng, lifetime_s: u32, grace_s: u32, now: u64) {
        let ended = self.since + u64::from(lifetime_s) * S;
        if now >= ended {
            let until = ended + u64::from(grace_s) * S;
            self.previous = (now < until).then_some((self.current, until));
            self.current = Keyed::draw(rng);
            self.since = now;
        }
    }

    /// The secret in use.
    pub(crate) const fn current(&self) -> Keyed {
        self.current
    }

    /// A number that only we can compute about something, and what it was under the secret before.
    pub(crate) fn acks(&self, what: impl Hash, now: u64) -> (u32, Option<u32>) {
        let mut acks = self.valid(now).map(|key| key.digest(&what) as u32);
        (acks.next().unwrap_or_default(), acks.next())
    }

    /// All secrets that count.
    pub(crate) fn valid(&self, now: u64) -> impl Iterator<Item = Keyed> + use<> {
        let previous = self.previous.filter(|(_, until)| now < *until).map(|(key, _)| key);
        std::iter::once(self.current).chain(previous)
    }

    /// The secret in use as text, for challenges.
    pub(crate) fn current_text(&self) -> String {
        self.current.text()
    }

    /// All secrets that count as text.
    pub(crate) fn valid_texts(&self, now: u64) -> impl Iterator<Item = String> + use<> {
        self.valid(now).map(Keyed::text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn the_old_secret_counts_a_little_longer() {
        let mut rng = rand::rngs::StdRng::from_seed([1; 32]);
        let mut secrets = Secrets::new(&mut rng, 0);
        let first = secrets.current().digest(7);
        secrets.refresh(&mut rng, 240, 2, 240 * S - 1);
        assert_eq!(secrets.current().digest(7), first);
        secrets.refresh(&mut rng, 240, 2, 240 * S);
        assert_ne!(secrets.current().digest(7), first);
        assert!(secrets.valid(242 * S - 1).any(|key| key.digest(7) == first));
        assert!(!secrets.valid(242 * S).any(|key| key.digest(7) == first));
        secrets.refresh(&mut rng, 240, 2, 1_000 * S);
        assert_eq!(secrets.valid(1_000 * S).count(), 1, "a secret long unused does not come back");
    }
}
