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
    entries: HashMap<K, Entry<V>, Keyed>,
    /// The order of insertion. A place whose number is not its entry's is void.
    order: VecDeque<(u64, K)>,
    next: u64,
    capacity: usize,
}

#[derive(Debug)]
struct Entry<V> {
    until: u64,
    number: u64,
    value: V,
}

impl<K: Hash + Eq + Clone, V> Expiring<K, V> {
    pub(crate) fn new(capacity: usize, key: Keyed) -> Self {
        Self { entries: HashMap::with_hasher(key), order: VecDeque::new(), next: 0, capacity }
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
        let until = self.entries.get(&key).map_or(until, |entry| until.max(entry.until));
        if self.capacity == 0 {
            return;
        }
        if self.entries.len() >= self.capacity && !self.entries.contains_key(&key) {
            self.evict();
        }
        self.next += 1;
        self.order.push_back((self.next, key.clone()));
        self.entries.insert(key, Entry { until, number: self.next, value });
        // Void places at most as many as entries: sweeping costs each insertion a constant share.
        if self.order.len() > 2 * self.entries.len() + 16 {
            let entries = &self.entries;
            self.order.retain(|(number, key)| entries.get(key).is_some_and(|entry| entry.number == *number));
        }
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
        self.entries.get(key).filter(|entry| now < entry.until).map(|entry| &entry.value)
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
        self.entries.remove(key).map(|entry| entry.value)
    }

    /// What counts, with its end.
    pub(crate) fn iter(&self, now: u64) -> impl Iterator<Item = (&K, &V, u64)> {
        let counting = self.entries.iter().filter(move |(_, entry)| now < entry.until);
        counting.map(|(key, entry)| (key, &entry.value, entry.until))
    }

    fn evict(&mut self) {
        while let Some((number, key)) = self.order.pop_front() {
            if self.entries.get(&key).is_some_and(|entry| entry.number == number) {
                self.entries.remove(&key);
                return;
            }
        }
    }

    /// Forgets what has ended at the front; what ended further back counts no more and goes when it is its turn.
    fn expire(&mut self, now: u64) {
        while let Some((number, key)) = self.order.front() {
            match self.entries.get(key) {
                Some(entry) if entry.number == *number && now < entry.until => return,
                Some(entry) if entry.number == *number => {
                    self.entries.remove(key);
                }
                _ => {}
            }
            self.order.pop_front();
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
        fn the_table_stays_bounded_and_true(steps in prop::collection::vec((0u8..6, 1u64..20, 0u64..10, any::<bool>()), 0..100)) {
            let mut blocks = table(4);
            let mut now = 0;
            for (key, length, passed, remove) in steps {
                now += passed;
                if remove { blocks.remove(&key); } else { blocks.insert(key, 0, now + length, now); }
                prop_assert!(blocks.order.len() <= 2 * 4 + 16);
                let placed = |(number, key): &&(u64, u8)| blocks.entries.get(key).is_some_and(|e| e.number == *number);
                prop_assert_eq!(blocks.order.iter().filter(placed).count(), blocks.entries.len());
                prop_assert!(blocks.entries.len() <= 4);
                prop_assert_eq!(blocks.contains(&key, now), !remove);
            }
        }
    }
}
