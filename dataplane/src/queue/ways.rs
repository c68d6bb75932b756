//! Which place in a table a key has, while there is something of it: sets of eight places, one line of tags each.
//!
//! A key in a set that is full shares the place of another, and goes on to as long as anything waits there: so nothing of it
//! overtakes anything else of it.

/// Places in a set.
const WAYS: usize = 8;

/// The sets.
#[derive(Debug)]
pub(super) struct Ways {
    /// Of each place the tag of its key; 0 = nobody's.
    tags: Vec<[u32; WAYS]>,
    /// A bit for each place that is shared.
    shared: Vec<u8>,
}

impl Ways {
    /// So many places: a power of two, and at least eight.
    pub(super) fn new(places: usize) -> Self {
        let sets = (places / WAYS).next_power_of_two();
        Self { tags: vec![[0; WAYS]; sets], shared: vec![0; sets] }
    }

    /// How many places there are.
    pub(super) fn places(&self) -> usize {
        self.tags.len() * WAYS
    }

    #[inline(always)]
    fn set(&self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.tags.len() - 1)
    }

    /// The place of the key with this hash.
    #[inline(always)]
    pub(super) fn place(&mut self, hash: u64) -> u32 {
        let (set, tag) = (self.set(hash), hash as u32 | 1);
        let tags = &self.tags[set];
        let way = tags.iter().position(|other| *other == tag).unwrap_or_else(|| self.settle(set, tag));
        (set * WAYS + way) as u32
    }

    fn settle(&mut self, set: usize, tag: u32) -> usize {
        let guest = tag as usize >> 1 & (WAYS - 1);
        let free = self.tags[set].iter().position(|other| *other == 0);
        match free {
            Some(way) if self.shared[set] >> guest & 1 == 0 => {
                self.tags[set][way] = tag;
                way
            }
            _ => {
                self.shared[set] |= 1 << guest;
                guest
            }
        }
    }

    /// Starts to fetch what [`Ways::place`] will read.
    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u64) {
        machine::prefetch(&self.tags[self.set(hash)]);
    }

    /// Nothing is at this place any more.
    #[inline(always)]
    pub(super) fn leave(&mut self, place: u32) {
        let (set, way) = (place as usize / WAYS, place as usize % WAYS);
        self.tags[set][way] = 0;
        self.shared[set] &= !(1 << way);
    }
}

#[cfg(test)]
impl Ways {
    /// Whether nobody has a place.
    pub(super) fn is_free(&self) -> bool {
        self.tags.iter().flatten().all(|tag| *tag == 0) && self.shared.iter().all(|shared| *shared == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_keeps_its_place_until_it_leaves() {
        let mut ways = Ways::new(16);
        let hash = |key: u64| key << 1; // all in the first set
        let first: Vec<u32> = (1..=8).map(|key| ways.place(hash(key))).collect();
        let mut sorted = first.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..8).collect::<Vec<_>>());
        let guest = ways.place(hash(9));
        assert!(first.contains(&guest), "a full set is shared");
        assert_eq!((1..=8).map(|key| ways.place(hash(key))).collect::<Vec<_>>(), first);
        let other = (guest + 1) % 8;
        ways.leave(other);
        assert_eq!(ways.place(hash(9)), guest, "although there is room now: something of it may wait there");
        ways.leave(guest);
        assert!([guest, other].contains(&ways.place(hash(9))));
        assert_eq!(ways.place(1 << 32 | 2), 8, "another set");
    }
}
