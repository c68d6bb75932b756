//! From a key's hash to the slot that holds the key: a cuckoo table of two choices in buckets of one cache line.
//!
//! A bucket keeps, for eight entries, 16 bits of their hash (the signature) and their slot; the key itself stands only in
//! the slot, so the caller compares it there. A key lives in its primary bucket unless that was full when it came;
//! then in its secondary one, which follows from the primary and the signature, so that entries move without their
//! keys. Each bucket counts how many of its own live elsewhere: as long as that is 0, which at 80 % load it is for
//! 3 of 4 buckets and at 50 % for 99 of 100, a lookup touches one line, also for a key that is not there.
//!
//! Insertion displaces at most [`MOVES`] entries and otherwise fails; it changes nothing then.

use crate::narrow::NONE;
use crate::settings::SettingsError;
use machine::table::HugeSlice;

/// Entries in a bucket.
const WAYS: usize = 8;
/// Most displacements of one insertion. At 80 % load 99.9 % of insertions into full buckets need fewer than 8.
const MOVES: usize = 32;
/// Slots that the table is sized for, of eight in a bucket: 80 %.
const WAYS_USED: f64 = 6.4;

/// One cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
struct Bucket {
    /// Eight signatures of 16 bits, the first lowest; 0 = empty.
    signatures: [u64; 2],
    slots: [u32; WAYS],
    /// Entries whose primary bucket this is and that live in their secondary one.
    elsewhere: u32,
    /// Bit per way: the entry is here as in its secondary bucket.
    guests: u8,
}

impl Bucket {
    /// Bit per way: the signature is `signature`.
    #[inline(always)]
    fn matches(&self, signature: u16) -> u32 {
        machine::matching_lanes(self.signatures, signature)
    }

    /// The first way with this signature.
    #[inline(always)]
    fn first(&self, signature: u16) -> Option<usize> {
        let matches = self.matches(signature);
        (matches != 0).then_some(matches.trailing_zeros() as usize)
    }

    fn signature(&self, way: usize) -> u16 {
        (self.signatures[way / 4] >> (way % 4 * 16)) as u16
    }

    fn put(&mut self, way: usize, signature: u16, slot: u32, guest: bool) {
        let shift = way % 4 * 16;
        let word = &mut self.signatures[way / 4];
        *word = *word & !(0xffff << shift) | u64::from(signature) << shift;
        self.slots[way] = slot;
        self.guests = self.guests & !(1 << way) | u8::from(guest) << way;
    }

    /// Puts an entry that is at home into a free way.
    #[inline(always)]
    fn settle(&mut self, way: usize, signature: u16, slot: u32) {
        self.signatures[way / 4] |= u64::from(signature) << (way % 4 * 16);
        self.slots[way] = slot;
    }

    /// Empties a way.
    #[inline(always)]
    fn clear(&mut self, way: usize) {
        self.signatures[way / 4] &= !(0xffff << (way % 4 * 16));
        self.guests &= !(1 << way);
    }

    fn free(&self) -> Option<usize> {
        self.first(0)
    }

    fn is_guest(&self, way: usize) -> bool {
        self.guests >> way & 1 == 1
    }
}

/// Where an entry stands, until the table changes.
#[derive(Clone, Copy, Debug)]
pub struct Located {
    bucket: usize,
    way: usize,
    /// Its slot.
    pub slot: u32,
}

/// The table.
#[derive(Debug)]
pub struct Index {
    buckets: HugeSlice<Bucket>,
    mask: usize,
    length: usize,
}

/// The signature of a hash, never 0.
#[inline(always)]
fn signature(hash: u64) -> u16 {
    let signature = (hash >> 48) as u16;
    signature + u16::from(signature == 0)
}

impl Index {
    /// A table for so many entries at 80 % load at most; the number of buckets is a power of two.
    pub fn new(entries: u32) -> Result<Self, SettingsError> {
        let buckets = ((f64::from(entries) / WAYS_USED) as usize + 1).next_power_of_two();
        let table = HugeSlice::new(buckets).map_err(|_| SettingsError::Memory("lookup"))?;
        Ok(Self { buckets: table, mask: buckets - 1, length: 0 })
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Bytes of the table.
    pub fn bytes(&self) -> usize {
        self.buckets.len() * size_of::<Bucket>()
    }

    /// The page size of its memory in bytes.
    pub fn page_size(&self) -> usize {
        self.buckets.page_size()
    }

    #[inline(always)]
    fn primary(&self, hash: u64) -> usize {
        hash as usize & self.mask
    }

    /// The other bucket of an entry: an involution. The odd multiplier spreads neighbouring signatures; the constant
    /// keeps the two apart wherever the table has more than one bucket.
    #[inline(always)]
    fn other(&self, bucket: usize, signature: u16) -> usize {
        (bucket ^ (usize::from(signature).wrapping_mul(0x5bd1_e995) | 1)) & self.mask
    }

    /// Starts to fetch the line that [`Index::candidate`] will read.
    #[inline(always)]
    pub fn prefetch(&self, hash: u64) {
        machine::prefetch(&self.buckets[self.primary(hash)]);
    }

    /// The same for a line that will be changed.
    #[inline(always)]
    pub fn prefetch_write(&self, hash: u64) {
        machine::prefetch_write(&self.buckets[self.primary(hash)]);
    }

    /// The slot that most likely holds the key of this hash, or [`NONE`] if it is certain that none does. If the key in
    /// that slot is another one, [`Index::find`] decides.
    #[inline(always)]
    pub fn candidate(&self, hash: u64) -> u32 {
        let (primary, signature) = (self.primary(hash), signature(hash));
        let bucket = &self.buckets[primary];
        match bucket.first(signature) {
            Some(way) => bucket.slots[way & (WAYS - 1)],
            None if bucket.elsewhere == 0 => NONE,
            None => self.candidate_elsewhere(primary, signature),
        }
    }

    #[inline(never)]
    fn candidate_elsewhere(&self, primary: usize, signature: u16) -> u32 {
        let bucket = &self.buckets[self.other(primary, signature)];
        bucket.first(signature).map_or(NONE, |way| bucket.slots[way])
    }

    /// The slot of the key: the one for which `is` holds among those with its signature.
    #[inline]
    pub fn find(&self, hash: u64, is: impl FnMut(u32) -> bool) -> Option<u32> {
        self.place(hash, is).map(|place| place.slot)
    }

    /// Where the key stands, as [`Index::find`] finds it.
    #[inline]
    pub fn place(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<Located> {
        let (primary, signature) = (self.primary(hash), signature(hash));
        let mut at = primary;
        loop {
            let bucket = &self.buckets[at];
            let mut matches = bucket.matches(signature);
            while matches != 0 {
                let way = matches.trailing_zeros() as usize & (WAYS - 1);
                if is(bucket.slots[way]) {
                    return Some(Located { bucket: at, way, slot: bucket.slots[way] });
                }
                matches &= matches - 1;
            }
            if at != primary || bucket.elsewhere == 0 {
                return None;
            }
            at = self.other(primary, signature);
        }
    }

    /// Inserts the slot of a key that is not in the table yet; `false`, with nothing changed, if there is no room.
    #[inline]
    pub fn insert(&mut self, hash: u64, slot: u32) -> bool {
        let (primary, signature) = (self.primary(hash), signature(hash));
        let bucket = &mut self.buckets[primary];
        if let Some(way) = bucket.free() {
            bucket.settle(way & (WAYS - 1), signature, slot);
            self.length += 1;
            return true;
        }
        self.insert_elsewhere(primary, signature, slot)
    }

    /// The same where its primary bucket is full.
    #[cold]
    fn insert_elsewhere(&mut self, primary: usize, signature: u16, slot: u32) -> bool {
        let secondary = self.other(primary, signature);
        let direct = self.buckets[secondary].free().map(|way| (secondary, way));
        let Some((at, way)) =
            direct.or_else(|| self.make_room(primary)).or_else(|| self.make_room(secondary))
        else {
            return false;
        };
        self.buckets[at].put(way, signature, slot, at != primary);
        if at != primary {
            self.buckets[primary].elsewhere += 1;
        }
        self.length += 1;
        true
    }

    /// Frees a way in the bucket `start` by a chain of moves to other buckets, if one of at most [`MOVES`] is found.
    fn make_room(&mut self, start: usize) -> Option<(usize, usize)> {
        let mut path = [(0usize, 0usize); MOVES];
        let mut at = start;
        for step in 0..MOVES {
            // Any victim will do; a different one each time keeps the walk from going round in a small circle.
            let way = (start + step * 5) % WAYS;
            path[step] = (at, way);
            at = self.other(at, self.buckets[at].signature(way));
            if path[..=step].iter().any(|&(bucket, _)| bucket == at) {
                return None; // a circle: moving along it would overwrite
            }
            if let Some(free) = self.buckets[at].free() {
                let mut to = (at, free);
                for &from in path[..=step].iter().rev() {
                    self.shift(from, to);
                    to = from;
                }
                return Some(to);
            }
        }
        None
    }

    /// Moves an entry to its other bucket.
    fn shift(&mut self, from: (usize, usize), to: (usize, usize)) {
        let bucket = &mut self.buckets[from.0];
        let (signature, slot, guest) =
            (bucket.signature(from.1), bucket.slots[from.1], bucket.is_guest(from.1));
        bucket.clear(from.1);
        self.buckets[to.0].put(to.1, signature, slot, !guest);
        if guest {
            self.buckets[to.0].elsewhere -= 1; // it is home again
        } else {
            self.buckets[from.0].elsewhere += 1;
        }
    }

    /// Removes the entry with this hash and slot; `false` if there is none.
    #[inline]
    pub fn remove(&mut self, hash: u64, slot: u32) -> bool {
        let place = self.place(hash, |other| other == slot);
        if let Some(place) = place {
            self.remove_at(hash, place);
        }
        place.is_some()
    }

    /// Removes the entry of this hash from where it was found just now.
    #[inline]
    pub fn remove_at(&mut self, hash: u64, Located { bucket, way, .. }: Located) {
        if self.buckets[bucket].is_guest(way) {
            let primary = self.primary(hash);
            self.buckets[primary].elsewhere -= 1;
        }
        self.buckets[bucket].clear(way & (WAYS - 1));
        self.length -= 1;
    }
}

/// The seeded hash of the tables: two rounds of multiply and fold. The seed is secret and random, so that nobody outside
/// can choose keys that collide.
#[derive(Clone, Copy, Debug)]
pub struct Hasher {
    seed: [u64; 2],
}

impl Hasher {
    /// A hash with this seed.
    pub const fn new(seed: [u64; 2]) -> Self {
        Self { seed: [seed[0], seed[1] | 1] }
    }

    /// The hash of a key, such as a pair of addresses.
    #[inline(always)]
    pub const fn hash(self, key: u64) -> u64 {
        let x = fold(key ^ self.seed[0], self.seed[1]);
        fold(x, 0x9e37_79b9_7f4a_7c15)
    }

    /// The hash of a key of two words, such as a flow.
    #[inline(always)]
    pub const fn flow(self, key: u64, more: u64) -> u64 {
        let x = fold(key ^ self.seed[0], self.seed[1]);
        fold(x ^ more, 0x9e37_79b9_7f4a_7c15)
    }
}

/// The upper and lower half of the product, one upon the other.
#[inline(always)]
const fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn hasher() -> Hasher {
        Hasher::new([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210])
    }

    #[test]
    fn a_bucket_is_one_cache_line() {
        assert_eq!(size_of::<Bucket>(), 64);
    }

    #[derive(Clone, Debug)]
    enum Operation {
        Insert(u16),
        Remove(u16),
    }

    fn operation() -> impl Strategy<Value = Operation> {
        let key = 0u16..300;
        prop_oneof![
            3 => key.clone().prop_map(Operation::Insert),
            1 => key.prop_map(Operation::Remove),
        ]
    }

    proptest! {
        /// Against the model, in a table too small for all keys: what was inserted is found, at the oracle's slot; what
        /// was not is not; a failed insertion changes nothing.
        #[test]
        fn behaves_as_a_hash_map(seed: [u64; 2], operations in proptest::collection::vec(operation(), 1..800)) {
            let hasher = Hasher::new(seed);
            let mut index = Index::new(100).unwrap();
            let mut model: HashMap<u16, u32> = HashMap::new();
            let keys = |slot: u32| (slot / 7) as u16;
            for operation in operations {
                match operation {
                    Operation::Insert(key) => {
                        let hash = hasher.hash(key.into());
                        let slot = u32::from(key) * 7 + 3;
                        if let std::collections::hash_map::Entry::Vacant(entry) = model.entry(key) {
                            if index.insert(hash, slot) {
                                entry.insert(slot);
                            } else {
                                prop_assert!(model.len() > 60, "refused at {} of 128", model.len());
                            }
                        }
                    }
                    Operation::Remove(key) => {
                        let slot = u32::from(key) * 7 + 3;
                        let removed = index.remove(hasher.hash(key.into()), slot);
                        prop_assert_eq!(removed, model.remove(&key).is_some());
                    }
                }
                prop_assert_eq!(index.len(), model.len());
            }
            for key in 0..300u16 {
                let hash = hasher.hash(key.into());
                prop_assert_eq!(index.find(hash, |slot| keys(slot) == key), model.get(&key).copied());
                let candidate = index.candidate(hash);
                prop_assert!(!model.contains_key(&key) || candidate != NONE);
            }
            let guests: u32 = index.buckets.iter().map(|bucket| bucket.guests.count_ones()).sum();
            let elsewhere: u32 = index.buckets.iter().map(|bucket| bucket.elsewhere).sum();
            prop_assert_eq!(guests, elsewhere);
        }
    }

    #[test]
    fn takes_what_it_is_sized_for() {
        // 6,550 of 8,192 ways: the highest load that the sizing allows.
        let entries = 6550;
        let mut index = Index::new(entries).unwrap();
        let hash = |slot: u32| {
            hasher().hash(u64::from(0x0a00_0000 + slot % 100) << 32 | u64::from(0x0a80_0000 + slot / 100))
        };
        assert_eq!(index.bytes(), 1024 * 64);
        for slot in 0..entries {
            assert!(index.insert(hash(slot), slot), "{slot}");
        }
        let wrong = (0..entries).filter(|&slot| index.candidate(hash(slot)) != slot).count();
        assert!(wrong < 10, "{wrong} false candidates");
        let full = index.buckets.iter().filter(|bucket| bucket.elsewhere > 0).count();
        assert!(full < 320, "{full} of 1024 buckets send lookups elsewhere");
    }
}
