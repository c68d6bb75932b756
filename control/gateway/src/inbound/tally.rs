//! What became of reservations, by who asked, who came, and what was asked for. Bounded: where there is no room for
//! one more, some other gives way.

use super::fate::{Fate, Fates};
use rustc_hash::FxSeededState;
use std::collections::HashMap;
use std::hash::Hash;

/// Of whom it is remembered, at most: some 100 octets each.
const MOST: usize = 4096;

/// Fates by key.
pub(super) struct Tally<K> {
    fates: HashMap<K, Fates, FxSeededState>,
}

impl<K: Hash + Eq + Clone> Tally<K> {
    pub(super) fn new(seed: u64) -> Self {
        Self { fates: HashMap::with_hasher(FxSeededState::with_seed(seed as usize)) }
    }

    /// One more.
    pub(super) fn count(&mut self, key: &K, fate: Fate) {
        if let Some(fates) = self.fates.get_mut(key) {
            fates[fate as usize] += 1;
            return;
        }
        if self.fates.len() >= MOST
            && let Some(other) = self.fates.keys().next().cloned()
        {
            self.fates.remove(&other);
        }
        let mut fates = Fates::default();
        fates[fate as usize] = 1;
        self.fates.insert(key.clone(), fates);
    }

    /// The fates of one.
    pub(super) fn of(&self, key: &K) -> Fates {
        self.fates.get(key).copied().unwrap_or_default()
    }

    /// Those with the most reservations, so many at most.
    pub(super) fn top(&self, most: usize) -> Vec<(K, Fates)> {
        let mut all: Vec<_> = self.fates.iter().map(|(key, fates)| (key.clone(), *fates)).collect();
        all.sort_by_key(|(_, fates)| std::cmp::Reverse(fates.iter().sum::<u64>()));
        all.truncate(most);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_and_is_bounded() {
        let mut tally = Tally::new(1);
        for _ in 0..3 {
            tally.count(&7u32, Fate::Used);
        }
        tally.count(&7, Fate::Expired);
        tally.count(&8, Fate::Expired);
        assert_eq!((tally.of(&7)[Fate::Used as usize], tally.of(&9)), (3, Fates::default()));
        assert_eq!(tally.top(1)[0].0, 7);
        (0..2 * MOST as u32).for_each(|key| tally.count(&key, Fate::Used));
        assert_eq!(tally.fates.len(), MOST);
    }
}
