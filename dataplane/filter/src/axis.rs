//! One thing that rules look at, such as the source address, cut into the intervals within which no rule sees a difference.
//!
//! An interval is found by the upper bits of a number; where many are close together, a page of 256 says more by the next 8
//! bits, and so on. At the end stands a place in the list of all intervals, and the right one is there or among the next few:
//! all of these are compared, without a jump that would have to be guessed.

/// Intervals that are compared at the end: where there are more, there is a page.
const CLOSE: usize = 4;
/// Bits that a page tells apart, and its entries.
const PAGE_BITS: u32 = 8;
const PAGE: usize = 1 << PAGE_BITS;
/// An entry is a page's number.
const IS_PAGE: u32 = 1 << 31;
/// An entry is a place in the list of intervals; what is neither is what is said of all its numbers.
const IS_PLACE: u32 = 1 << 30;

/// The intervals, each with the number that was said for it.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    /// The lower bits that the top says nothing about.
    below: u32,
    top: Vec<u32>,
    pages: Vec<[u32; PAGE]>,
    /// Where each interval begins, and what is said of it.
    intervals: Vec<[u32; 2]>,
}

impl Axis {
    /// Numbers of so many bits, of which the top tells the upper ones and leaves `below`. `intervals` are their beginnings,
    /// the first of them 0, and what is said of each.
    pub(crate) fn new(bits: u32, below: u32, intervals: Vec<[u32; 2]>) -> Self {
        let mut axis = Self { below, top: Vec::new(), pages: Vec::new(), intervals };
        let mut interval = 0;
        axis.top =
            (0..1u32 << (bits - below)).map(|top| axis.entry(top << below, below, &mut interval)).collect();
        // What is compared beyond the last one is never reached.
        if let Some(&[_, last]) = axis.intervals.last() {
            axis.intervals.extend([[u32::MAX, last]; CLOSE]);
        }
        axis
    }

    /// The entry for the numbers from `first` on that differ in their last `bits` alone. `interval`: that of the number before.
    fn entry(&mut self, first: u32, bits: u32, interval: &mut usize) -> u32 {
        let last = first | ((1 << bits) - 1);
        let mut at = *interval;
        while self.intervals.get(at + 1).is_some_and(|&[start, _]| start <= first) {
            at += 1;
        }
        let more =
            self.intervals[at + 1..].iter().take(CLOSE).take_while(|&&[start, _]| start <= last).count();
        if more < CLOSE {
            *interval = at + more;
            return if more == 0 { self.intervals[at][1] } else { IS_PLACE | at as u32 };
        }
        let page = self.pages.len();
        self.pages.push([0; PAGE]);
        let bits = bits - PAGE_BITS;
        for part in 0..PAGE {
            self.pages[page][part] = self.entry(first + ((part as u32) << bits), bits, &mut at);
        }
        *interval = at;
        IS_PAGE | page as u32
    }

    /// What is said of a number.
    #[inline]
    pub(crate) fn find(&self, number: u32) -> u32 {
        let mut entry = self.top[(number >> self.below) as usize];
        let mut below = self.below;
        while entry & IS_PAGE != 0 {
            below = below.wrapping_sub(PAGE_BITS);
            entry = self.pages[(entry & !IS_PAGE) as usize][(number.wrapping_shr(below)) as usize % PAGE];
        }
        if entry & IS_PLACE == 0 {
            return entry;
        }
        let at = (entry & !IS_PLACE) as usize;
        let Some(near) = self.intervals.get(at..).and_then(|near| near.first_chunk::<CLOSE>()) else {
            return 0;
        };
        let passed: u32 = near[1..].iter().map(|&[start, _]| u32::from(start <= number)).sum();
        near[passed as usize % CLOSE][1]
    }

    pub(crate) fn bytes(&self) -> usize {
        (self.top.len() + self.pages.len() * PAGE + 2 * self.intervals.len()) * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn said(start: u32) -> u32 {
        (start ^ 5) & 0xffff
    }

    fn starts() -> impl Strategy<Value = BTreeSet<u32>> {
        let start = prop_oneof![any::<u32>(), 0x0a00_0000u32..0x0a00_0400, 0x0a00_0000u32..0x0a02_0000];
        proptest::collection::btree_set(start, 0..400)
    }

    proptest! {
        #[test]
        fn a_number_is_in_its_interval(mut starts in starts(), others in proptest::collection::vec(any::<u32>(), 20)) {
            starts.insert(0);
            let axis = Axis::new(32, 16, starts.iter().map(|&start| [start, said(start)]).collect());
            let edges = starts.iter().flat_map(|&start| [start.wrapping_sub(1), start, start.wrapping_add(1)]);
            for number in edges.chain(others).chain([0, u32::MAX]) {
                let start = starts.range(..=number).next_back().unwrap();
                prop_assert_eq!(axis.find(number), said(*start), "{:#x}", number);
            }
        }

        #[test]
        fn a_port_is_too(mut starts in proptest::collection::btree_set(0u32..0x1_0000, 0..200)) {
            starts.insert(0);
            let axis = Axis::new(16, 8, starts.iter().map(|&start| [start, start + 1]).collect());
            for number in 0..0x1_0000 {
                prop_assert_eq!(axis.find(number), starts.range(..=number).next_back().unwrap() + 1);
            }
        }
    }
}
