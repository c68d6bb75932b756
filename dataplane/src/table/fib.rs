//! Where addresses lead: the forwarding table (longest prefix match), published as a whole.
//!
//! Prefixes become ranges that do not overlap, each with the number of what it leads to. The upper half of an address says
//! between which ranges to search, and its lower half is all that has to be compared there: 4 bytes a range, at most two ranges
//! a route beside one for each upper half. At a million routes some 20 ranges share theirs, so a look-up reads three lines or
//! so. Only the first packet of a session looks here.
//!
//! What a number stands for is kept beside the ranges: they are made where routes are learnt, which knows routers by their
//! addresses, and the numbers of next hops are given by who tells the workers.

use crate::msg::{HopId, PortId};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// What a route leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Next {
    /// A router.
    Via(HopId),
    /// The link of this port: the destination itself is the next hop.
    OnLink(PortId),
}

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The network.
    pub network: u32,
    /// Bits of its prefix, 0 to 32.
    pub prefix: u8,
    /// Where it leads.
    pub next: Next,
}

/// A prefix, and the number of what it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The network; the bits behind its prefix are 0.
    pub network: u32,
    /// Bits of its prefix, 0 to 32.
    pub prefix: u8,
    /// What it leads to; 0 = nowhere.
    pub number: u16,
}

impl Row {
    /// The last address of its network.
    const fn last(self) -> u32 {
        self.network | crate::wire::ipv4::mask(self.prefix) ^ u32::MAX
    }
}

/// Rows of what leads somewhere (network, bits of its prefix, where), and what their numbers stand for. Of several to one network
/// the first in order counts.
pub fn numbered<T: Copy + Eq + Hash>(
    prefixes: impl IntoIterator<Item = (u32, u8, T)>,
) -> (Vec<Row>, Vec<Option<T>>) {
    let (mut numbers, mut leads) = (HashMap::new(), vec![None]);
    let mut rows = Vec::new();
    for (network, prefix, lead) in prefixes {
        let number = *numbers.entry(lead).or_insert_with(|| {
            leads.push(Some(lead));
            (leads.len() - 1) as u16
        });
        rows.push(Row { network: network & crate::wire::ipv4::mask(prefix), prefix, number });
    }
    rows.sort_by_key(|row| (row.network, row.prefix)); // stable: the first one stays ahead
    rows.dedup_by_key(|row| (row.network, row.prefix));
    (rows, leads)
}

/// Upper halves of an address.
const HALVES: u32 = 1 << 16;

/// Numbers by address: that of the longest prefix which the address lies in.
#[derive(Clone, Debug, Default)]
pub struct Prefixes {
    /// By upper half, and once more at the end: the first of its ranges. Empty if there is no prefix at all.
    first: Vec<u32>,
    /// Where each range begins, by the lower half; it ends where the next one begins. The first of an upper half begins at 0.
    starts: Vec<u16>,
    numbers: Vec<u16>,
}

impl Prefixes {
    /// Of these rows, in order of networks, the shorter prefix first, none of them twice.
    pub fn new(rows: &[Row]) -> Self {
        let mut ranges = Ranges::default();
        // The rows around the place where the sweep stands, the widest first.
        let mut around: Vec<Row> = Vec::new();
        for row in rows {
            ranges.leave(&mut around, Some(row.network));
            ranges.begin(row.network, row.number);
            around.push(*row);
        }
        ranges.leave(&mut around, None);
        ranges.end()
    }

    /// The number for an address; 0 = none.
    #[inline(always)]
    pub fn find(&self, address: u32) -> u16 {
        let half = (address >> 16) as usize;
        let Some(&[from, to]) = self.first.get(half..half + 2) else { return 0 };
        let after = self.starts[from as usize..to as usize].partition_point(|&start| start <= address as u16);
        self.numbers[from as usize + after - 1]
    }

    /// How many ranges there are.
    pub fn ranges(&self) -> usize {
        self.starts.len()
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.first) + size_of_val(&*self.starts) + size_of_val(&*self.numbers)
    }
}

/// Ranges, as a sweep over the rows in order makes them.
#[derive(Default)]
struct Ranges {
    made: Prefixes,
    /// Where it leads from the last beginning on.
    number: u16,
}

impl Ranges {
    /// From here on it leads there.
    fn begin(&mut self, start: u32, number: u16) {
        self.open(start >> 16);
        let Prefixes { starts, numbers, .. } = &mut self.made;
        if starts.last() == Some(&(start as u16)) {
            if let Some(last) = numbers.last_mut() {
                *last = number;
            }
        } else if self.number != number {
            starts.push(start as u16);
            numbers.push(number);
        }
        self.number = number;
    }

    /// All upper halves up to this one begin with what goes on into them.
    fn open(&mut self, half: u32) {
        while self.made.first.len() <= half as usize {
            self.made.first.push(self.made.starts.len() as u32);
            self.made.starts.push(0);
            self.made.numbers.push(self.number);
        }
    }

    /// Leaves the rows that end before an address, all of them if there is none: behind each, the one around it goes on.
    fn leave(&mut self, around: &mut Vec<Row>, until: Option<u32>) {
        while let Some(row) = around.pop_if(|row| until.is_none_or(|until| row.last() < until)) {
            if let Some(start) = row.last().checked_add(1) {
                self.begin(start, around.last().map_or(0, |outer| outer.number));
            }
        }
    }

    fn end(mut self) -> Prefixes {
        self.open(HALVES - 1);
        self.made.first.push(self.made.starts.len() as u32);
        self.made
    }
}

/// The table.
#[derive(Clone, Debug, Default)]
pub struct Fib {
    prefixes: Arc<Prefixes>,
    /// What the numbers stand for.
    nexts: Vec<Option<Next>>,
    /// Differs from that of every table before, so that who looked a hop up knows that it has to look again.
    generation: u16,
}

impl Fib {
    /// The table of these prefixes; behind each number is what stands at its place.
    pub const fn new(prefixes: Arc<Prefixes>, nexts: Vec<Option<Next>>, generation: u16) -> Self {
        Self { prefixes, nexts, generation }
    }

    /// The table of these few routes. Of several to one network the first in order counts.
    pub fn of(routes: &[Route], generation: u16) -> Self {
        let (rows, nexts) = numbered(routes.iter().map(|route| (route.network, route.prefix, route.next)));
        Self::new(Arc::new(Prefixes::new(&rows)), nexts, generation)
    }

    /// Where an address leads.
    pub fn find(&self, address: u32) -> Option<Next> {
        self.nexts.get(usize::from(self.prefixes.find(address))).copied().flatten()
    }

    /// See [`Fib::new`].
    #[inline(always)]
    pub const fn generation(&self) -> u16 {
        self.generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ipv4::{mask, within};
    use proptest::prelude::*;

    fn route() -> impl Strategy<Value = Route> {
        // Close together, so that they lie in one another.
        let address = prop_oneof![0x0a00_0000u32..0x0a00_0400, any::<u32>(), Just(0), Just(u32::MAX)];
        let next =
            prop_oneof![(0u32..4).prop_map(|id| Next::Via(HopId(id))), (0u8..2).prop_map(Next::OnLink),];
        (address, 0u8..=32, next).prop_map(|(network, prefix, next)| Route {
            network: network & mask(prefix),
            prefix,
            next,
        })
    }

    proptest! {
        #[test]
        fn the_longest_prefix_decides(
            routes in proptest::collection::vec(route(), 0..40),
            more in proptest::collection::vec(any::<u32>(), 20),
        ) {
            let fib = Fib::of(&routes, 7);
            let edges = routes.iter().flat_map(|route| {
                let last = route.network | !mask(route.prefix);
                [route.network.wrapping_sub(1), route.network, last, last.wrapping_add(1)]
            });
            for address in edges.chain(more).chain(0x0a00_0000..0x0a00_0400) {
                let around = routes.iter().filter(|route| within(address, route.network, route.prefix));
                // The first of the longest.
                let mut best: Option<&Route> = None;
                for route in around {
                    if best.is_none_or(|best| route.prefix > best.prefix) {
                        best = Some(route);
                    }
                }
                prop_assert_eq!(fib.find(address), best.map(|route| route.next), "{:#x}", address);
            }
            prop_assert!(fib.prefixes.ranges() <= 2 * routes.len() + HALVES as usize);
        }
    }

    #[test]
    fn without_routes_nothing_leads_anywhere() {
        let fib = Fib::default();
        assert_eq!((fib.find(0), fib.find(u32::MAX), fib.prefixes.bytes()), (None, None, 0));
    }
}
