//! Tables of what is refused for a while: abusive senders, dead endpoints, filtered names.
//!
//! Bounded: when one is full, the entry that was put there first gives way, since it would have been the first to end.

use crate::keyed::Keyed;
use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Keys that count until a time, each with a note.
#[derive(Debug)]
pub(crate) struct Expiring<K, V> {
    entries: HashMap<K, (u64, V), Keyed>,
    /// Each key once, in the order of insertion, with the end it had then.
    order: VecDeque<(u64, K)>,
    capacity: usize,
}

impl<K: Hash + Eq + Clone, V> Expiring<K, V> {
    pub(crate) fn new(capacity: usize, key: Keyed) -> Self {
        Self { entries: HashMap::with_hasher(key), order: VecDeque::new(), capacity }
    }

    pub(crate) fn resize(&mut self, capacity: usize) {
        self.capacity = capacity;
        while self.entries.len() > capacity {
            self.evict();
        }
    }

    /// Puts a key there, or prolongs it; the later end counts.
    pub(crate) fn insert(&mut self, key: K, value: V, until: u64, now: u64) {
        self.expire(now);
        if let Some(entry) = self.entries.get_mut(&key) {
            *entry = (until.max(entry.0), value);
            return;
        }
        if self.capacity == 0 {
            return;
        }
        if self.entries.len() >= self.capacity {
            self.evict();
        }
        self.order.push_back((until, key.clone()));
        self.entries.insert(key, (until, value));
    }

    /// Whether there is room for one more without eviction.
    pub(crate) fn has_room(&mut self, now: u64) -> bool {
        self.expire(now);
        self.entries.len() < self.capacity
    }

    /// The note of a key that counts.
    pub(crate) fn find<Q: Hash + Eq + ?Sized>(&self, key: &Q, now: u64) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key).filter(|(until, _)| now < *until).map(|(_, value)| value)
    }

    pub(crate) fn contains<Q: Hash + Eq + ?Sized>(&self, key: &Q, now: u64) -> bool
    where
        K: Borrow<Q>,
    {
        !self.entries.is_empty() && self.find(key, now).is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let (_, value) = self.entries.remove(key)?;
        self.order.retain(|(_, other)| other != key);
        Some(value)
    }

    /// What counts, with its end.
    pub(crate) fn iter(&self, now: u64) -> impl Iterator<Item = (&K, &V, u64)> {
        self.entries
            .iter()
            .filter(move |(_, (until, _))| now < *until)
            .map(|(key, (until, value))| (key, value, *until))
    }

    fn evict(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.entries.remove(&key);
        }
    }

    fn expire(&mut self, now: u64) {
        while let Some((until, _)) = self.order.front()
            && *until <= now
        {
            let Some((_, key)) = self.order.pop_front() else { return };
            match self.entries.get(&key) {
                // Prolonged since.
                Some((later, _)) if *later > now => self.order.push_back((*later, key)),
                _ => {
                    self.entries.remove(&key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;

    fn table(capacity: usize) -> Expiring<u8, u8> {
        Expiring::new(capacity, Keyed::draw(&mut rand::rngs::StdRng::from_seed([0; 32])))
    }

    #[test]
    fn entries_end_and_can_be_prolonged() {
        let mut blocks = table(4);
        blocks.insert(1, 0, 60, 0);
        assert!(blocks.contains(&1, 59) && !blocks.contains(&1, 60));
        blocks.insert(1, 0, 100, 50);
        blocks.insert(2, 0, 110, 70);
        assert!(blocks.contains(&1, 99) && !blocks.contains(&1, 100));
        assert_eq!(blocks.remove(&2), Some(0));
        assert!(!blocks.contains(&2, 71));
    }

    #[test]
    fn the_first_gives_way_when_full() {
        let mut blocks = table(2);
        (1..=3).for_each(|key| blocks.insert(key, key, 60, 0));
        assert!(!blocks.contains(&1, 1) && blocks.contains(&2, 1) && blocks.contains(&3, 1));
        assert!(!blocks.has_room(1) && blocks.has_room(60));
    }

    proptest! {
        #[test]
        fn order_and_entries_stay_one_to_one(steps in prop::collection::vec((0u8..6, 1u64..20, 0u64..10, any::<bool>()), 0..100)) {
            let mut blocks = table(4);
            let mut now = 0;
            for (key, length, passed, remove) in steps {
                now += passed;
                if remove { blocks.remove(&key); } else { blocks.insert(key, 0, now + length, now); }
                prop_assert_eq!(blocks.order.len(), blocks.entries.len());
                prop_assert!(blocks.entries.len() <= 4);
                prop_assert_eq!(blocks.contains(&key, now), !remove);
            }
        }
    }
}
