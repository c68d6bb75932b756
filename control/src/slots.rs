//! Numbered slots for connections and questions under way, with generations.
//!
//! A number may come back late (an event of a socket that is closed, an answer for a client that is gone). The generation
//! in the key tells it from the slot's next user.

/// Names a value as long as it is in its slot, and nothing afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    index: u32,
    generation: u32,
}

/// Bits of a generation in a packed key; with 32 for the index, nine are left for the user.
const GENERATION_BITS: u32 = 23;

impl Key {
    /// The key in 55 bits.
    pub const fn pack(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// A key from its low 55 bits.
    pub const fn unpack(bits: u64) -> Self {
        Self { index: bits as u32, generation: (bits >> 32) as u32 & ((1 << GENERATION_BITS) - 1) }
    }
}

/// Values by key.
#[derive(Debug)]
pub struct Slots<T> {
    entries: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    /// Puts a value into a free slot.
    pub fn insert(&mut self, value: T) -> Key {
        if let Some(index) = self.free.pop() {
            let (generation, slot) = &mut self.entries[index as usize];
            *slot = Some(value);
            return Key { index, generation: *generation };
        }
        let index = self.entries.len() as u32;
        self.entries.push((0, Some(value)));
        Key { index, generation: 0 }
    }

    /// The value, if it is still there.
    pub fn get(&self, key: Key) -> Option<&T> {
        let (generation, slot) = self.entries.get(key.index as usize)?;
        slot.as_ref().filter(|_| *generation == key.generation)
    }

    /// The value, if it is still there.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let (generation, slot) = self.entries.get_mut(key.index as usize)?;
        slot.as_mut().filter(|_| *generation == key.generation)
    }

    /// Takes the value out.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let (generation, slot) = self.entries.get_mut(key.index as usize)?;
        if *generation != key.generation {
            return None;
        }
        let value = slot.take()?;
        *generation = (*generation + 1) & ((1 << GENERATION_BITS) - 1);
        self.free.push(key.index);
        Some(value)
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All values with their keys.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.entries.iter().enumerate().filter_map(|(index, (generation, slot))| {
            slot.as_ref().map(|value| (Key { index: index as u32, generation: *generation }, value))
        })
    }

    /// The keys of the values for which this holds.
    pub fn keys_where(&self, holds: impl Fn(&T) -> bool) -> Vec<Key> {
        self.iter().filter(|(_, value)| holds(value)).map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn a_key_outlives_its_value_without_naming_the_next_one() {
        let mut slots = Slots::default();
        let first = slots.insert('a');
        assert_eq!(slots.remove(first), Some('a'));
        let second = slots.insert('b');
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(second), Some(&'b'));
        assert_eq!(Key::unpack(second.pack()), second);
        assert!(second.pack() < 1 << 55);
    }

    proptest! {
        #[test]
        fn slots_agree_with_a_map(steps in prop::collection::vec((any::<bool>(), 0usize..40), 0..300)) {
            let (mut slots, mut model, mut keys) = (Slots::default(), HashMap::new(), Vec::new());
            for (step, (insert, pick)) in steps.into_iter().enumerate() {
                if insert {
                    let key = slots.insert(step);
                    prop_assert_eq!(model.insert(key, step), None);
                    keys.push(key);
                } else if !keys.is_empty() {
                    let key = keys[pick % keys.len()];
                    prop_assert_eq!(slots.remove(key), model.remove(&key));
                }
                prop_assert_eq!(slots.len(), model.len());
                for (key, value) in slots.iter() {
                    prop_assert_eq!(model.get(&key), Some(value));
                }
            }
        }
    }
}
