//! A hash map in parts. A map that grows moves all that it has at once, and with a hundred thousand entries that takes ten
//! milliseconds; of this one a part grows at a time.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, Hash};

/// Parts: of a million entries each has 16,000, which move in a millisecond.
const PARTS: usize = 64;
/// The bits of a hash that say which part it is: a map uses those at either end.
const SHIFT: u32 = 40;

#[derive(Debug)]
pub(crate) struct PartedMap<K, V, S> {
    parts: Box<[HashMap<K, V, S>]>,
    len: usize,
}

impl<K: Eq + Hash, V, S: BuildHasher + Clone> PartedMap<K, V, S> {
    pub(crate) fn new(hasher: &S) -> Self {
        Self { parts: (0..PARTS).map(|_| HashMap::with_hasher(hasher.clone())).collect(), len: 0 }
    }

    fn part<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        (self.parts[0].hasher().hash_one(key) >> SHIFT) as usize % PARTS
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.parts[self.part(key)].get(key)
    }

    pub(crate) fn get_mut<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.parts[self.part(key)].get_mut(key)
    }

    /// What a key has, made if there is nothing.
    pub(crate) fn or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        match self.parts[self.part(&key)].entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                self.len += 1;
                entry.insert(V::default())
            }
        }
    }

    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let old = self.parts[self.part(&key)].insert(key, value);
        self.len += usize::from(old.is_none());
        old
    }

    pub(crate) fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let old = self.parts[self.part(key)].remove(key);
        self.len -= usize::from(old.is_some());
        old
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.parts.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustc_hash::FxBuildHasher;

    #[test]
    fn r2_parts_are_one_map_and_share_what_there_is() {
        let mut parts = PartedMap::new(&FxBuildHasher);
        for key in 0..100_000_u32 {
            assert_eq!(parts.insert(key, key), None);
        }
        let largest = parts.parts.iter().map(HashMap::len).max();
        assert!(largest < Some(2 * 100_000 / PARTS), "{largest:?}");
        assert_eq!((parts.insert(7, 8), parts.get(&7), parts.len()), (Some(7), Some(&8), 100_000));
        assert_eq!((parts.remove(&7), parts.remove(&7), parts.len()), (Some(8), None, 99_999));
        *parts.or_default(7) += 1;
        *parts.get_mut(&7).unwrap() += 1;
        *parts.or_default(7) += 1;
        assert_eq!((parts.get(&7), parts.len(), parts.iter().count()), (Some(&3), 100_000, 100_000));
    }
}
