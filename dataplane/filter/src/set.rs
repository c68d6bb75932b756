//! A set of very many addresses, such as a list of those that are blocked.
//!
//! What is in it changes at the first address of each range and behind its last one. So it is enough to count how many such
//! places there are up to an address: an odd number means that it is in. The upper half of an address says which of them are
//! near, and of each the lower half is kept: 2 bytes a place, 4 a single address, and a look-up reads two lines.

use crate::ranges::Ranges;

/// Upper halves of an address.
const HALVES: usize = 1 << 16;
/// So many places are compared all at once.
const AT_ONCE: usize = 64;

/// The set.
#[derive(Clone, Debug)]
pub struct AddressSet {
    /// By upper half, and once more at the end: how many places come before it.
    before: Vec<u32>,
    /// The lower halves of all places.
    places: Vec<u16>,
}

impl AddressSet {
    /// The set of these addresses.
    pub fn new(ranges: &Ranges) -> Self {
        let mut before = vec![0u32; HALVES + 1];
        let mut places = Vec::with_capacity(2 * ranges.len());
        for place in ranges.iter().flat_map(|(first, last)| [Some(first), last.checked_add(1)]).flatten() {
            before[(place >> 16) as usize + 1] += 1;
            places.push(place as u16);
        }
        for half in 0..HALVES {
            before[half + 1] += before[half];
        }
        Self { before, places }
    }

    /// Whether an address is in it.
    #[inline]
    pub fn contains(&self, address: u32) -> bool {
        let (half, low) = ((address >> 16) as usize, address as u16);
        let (from, to) = (self.before[half] as usize, self.before[half + 1] as usize);
        let near = &self.places[from..to];
        let passed = if near.len() <= AT_ONCE {
            usize::from(near.iter().map(|&place| u16::from(place <= low)).sum::<u16>())
        } else {
            near.partition_point(|&place| place <= low)
        };
        (from + passed) & 1 == 1
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.before.len() * size_of::<u32>() + self.places.len() * size_of::<u16>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn who_is_in_it_is_in_it(
            close in proptest::collection::vec((0u32..0x2_0000, 0u32..300), 0..200),
            far in proptest::collection::vec((any::<u32>(), 0u32..0x30000), 0..5),
            asked in proptest::collection::vec(0u32..0x2_0000, 100),
        ) {
            let ranges: Vec<_> = close.into_iter().chain(far).map(|(at, more)| (at, at.saturating_add(more))).collect();
            let ranges = Ranges::new(ranges);
            let set = AddressSet::new(&ranges);
            let edges = ranges.iter().flat_map(|(from, to)| [from.wrapping_sub(1), from, to, to.wrapping_add(1)]);
            for address in edges.chain(asked).chain([0, u32::MAX]) {
                prop_assert_eq!(set.contains(address), ranges.contains(address), "{:#x}", address);
            }
        }
    }
}
