//! Where addresses lead: the forwarding table (longest prefix match), published as a whole.
//!
//! Prefixes become ranges that do not overlap, in order, each with its next hop; the upper 16 bits of an address say between
//! which two ranges to search. So it is 8 bytes a range, at most two ranges a route, and no look-up reads more than a few
//! lines: some 15 ranges share their upper half at a million routes. Only the first packet of a session looks here.

use crate::msg::{HopId, PortId};

/// What a route leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A router.
    Via(HopId),
    /// The link of this port: the destination itself is the next hop.
    OnLink(PortId),
}

/// As it stands in the table; 0 = nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Kept(u32);

impl Kept {
    const LINK: u32 = 1 << 31;

    const fn new(next: Next) -> Self {
        match next {
            Next::Via(HopId(id)) => Self(id + 1),
            Next::OnLink(port) => Self(Self::LINK | port as u32),
        }
    }

    const fn get(self) -> Option<Next> {
        match self.0 {
            0 => None,
            link if link & Self::LINK != 0 => Some(Next::OnLink(link as u8)),
            via => Some(Next::Via(HopId(via - 1))),
        }
    }
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

impl Route {
    /// The last address of its network.
    const fn last(&self) -> u32 {
        self.network | crate::wire::ipv4::mask(self.prefix) ^ u32::MAX
    }
}

/// Upper halves of an address.
const HALVES: usize = 1 << 16;

/// The table.
#[derive(Clone, Debug)]
pub struct Fib {
    /// Where each range begins; it ends where the next one begins. The first begins at 0.
    starts: Vec<u32>,
    /// Where it leads.
    nexts: Vec<Kept>,
    /// By upper half, and once more at the end: the range of its first address.
    first: Vec<u32>,
    /// Differs from that of every table before, so that who looked a hop up knows that it has to look again.
    generation: u16,
}

impl Default for Fib {
    fn default() -> Self {
        Self::new(Vec::new(), 0)
    }
}

impl Fib {
    /// The table of these routes. Of several to one network the first in order counts.
    pub fn new(mut routes: Vec<Route>, generation: u16) -> Self {
        for route in &mut routes {
            route.network &= crate::wire::ipv4::mask(route.prefix);
        }
        routes.sort_by_key(|route| (route.network, route.prefix)); // stable: the first one stays ahead
        routes.dedup_by_key(|route| (route.network, route.prefix));
        let mut ranges = Ranges { starts: vec![0], nexts: vec![Kept::default()] };
        // The routes around the place where the sweep stands, the widest first.
        let mut around: Vec<Route> = Vec::new();
        for route in routes {
            ranges.leave(&mut around, Some(route.network));
            ranges.begin(route.network, Kept::new(route.next));
            around.push(route);
        }
        ranges.leave(&mut around, None);
        let Ranges { starts, nexts } = ranges;
        let mut first = Vec::with_capacity(HALVES + 1);
        let mut range = 0;
        for half in 0..HALVES as u32 {
            while starts.get(range + 1).is_some_and(|&start| start <= half << 16) {
                range += 1;
            }
            first.push(range as u32);
        }
        first.push(starts.len() as u32 - 1);
        Self { starts, nexts, first, generation }
    }

    /// Where an address leads.
    pub fn find(&self, address: u32) -> Option<Next> {
        let half = (address >> 16) as usize;
        let (low, high) = (self.first[half] as usize, self.first[half + 1] as usize);
        let after = self.starts[low..=high].partition_point(|&start| start <= address);
        self.nexts[low + after - 1].get()
    }

    /// See [`Fib::new`].
    #[inline(always)]
    pub const fn generation(&self) -> u16 {
        self.generation
    }

    /// How many ranges there are.
    pub fn ranges(&self) -> usize {
        self.starts.len()
    }
}

/// Ranges, as a sweep over the routes in order makes them.
struct Ranges {
    starts: Vec<u32>,
    nexts: Vec<Kept>,
}

impl Ranges {
    /// From here on it leads there.
    fn begin(&mut self, start: u32, next: Kept) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.nexts.pop();
        }
        if self.nexts.last() != Some(&next) {
            self.starts.push(start);
            self.nexts.push(next);
        }
    }

    /// Leaves the routes that end before an address, all of them if there is none: behind each, the one around it goes on.
    fn leave(&mut self, around: &mut Vec<Route>, until: Option<u32>) {
        while let Some(route) = around.pop_if(|route| until.is_none_or(|until| route.last() < until)) {
            if let Some(start) = route.last().checked_add(1) {
                self.begin(start, around.last().map_or(Kept::default(), |outer| Kept::new(outer.next)));
            }
        }
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
            let fib = Fib::new(routes.clone(), 7);
            let edges = routes.iter().flat_map(|route| {
                [route.network.wrapping_sub(1), route.network, route.last(), route.last().wrapping_add(1)]
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
            prop_assert!(fib.ranges() <= 2 * routes.len() + 1);
        }
    }

    #[test]
    fn without_routes_nothing_leads_anywhere() {
        let fib = Fib::default();
        assert_eq!((fib.find(0), fib.find(u32::MAX), fib.ranges()), (None, None, 1));
    }
}
