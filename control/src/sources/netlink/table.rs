//! What the kernel knows about the shadow TAPs' neighbours and routes, kept for lookups.
//!
//! The kernel may say less than happened (its queue to us overflows, `ENOBUFS`). Then everything is dumped again; what
//! the dump did not name is gone. So every entry carries the number of the dump that last saw it.

use super::message::{Notice, Route};
use ces_dataplane::msg::PortId;
use rustc_hash::FxHashMap;
use std::net::Ipv4Addr;

/// Neighbours kept at most: twice the kernel's own hard limit (gc_thresh3 = 1024) for each of 16 ports.
const NEIGHBOURS: usize = 32_768;
/// Routes kept at most: a full IPv4 table is about a million, and the gateway is no place for it.
const ROUTES: usize = 65_536;

/// Where packets to some address go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// Out of this port.
    pub port: PortId,
    /// To this neighbour.
    pub address: Ipv4Addr,
}

/// What a notice changed, for those who hold copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A neighbour's MAC address is known, or has changed, or is unknown again.
    Neighbour(NextHop, Option<[u8; 6]>),
    /// Some route is different: next hops may be.
    Routes,
}

#[derive(Clone, Copy)]
struct Seen<T> {
    value: T,
    dump: u32,
}

/// Routes and neighbours of the ports' TAPs.
#[derive(Default)]
pub struct Table {
    /// Interface index of each port's TAP.
    indices: Vec<u32>,
    /// Longest prefix first, then lowest metric: the first match is the best.
    routes: Vec<Seen<Route>>,
    neighbours: FxHashMap<NextHop, Seen<[u8; 6]>>,
    dump: u32,
    overflows: u64,
}

fn contains(route: &Route, address: Ipv4Addr) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(route.prefix)).unwrap_or(0);
    u32::from(route.network) & mask == u32::from(address) & mask
}

impl Table {
    /// A table for the TAPs with these interface indices, in the order of the ports.
    pub fn new(indices: Vec<u32>) -> Self {
        Self { indices, ..Self::default() }
    }

    /// The interface index of a port's TAP.
    pub fn index(&self, port: PortId) -> Option<u32> {
        self.indices.get(usize::from(port)).copied()
    }

    fn port(&self, index: u32) -> Option<PortId> {
        self.indices.iter().position(|&own| own == index).map(|at| at as PortId)
    }

    /// The port and neighbour for packets to `destination`; `None` without a route.
    pub fn next_hop(&self, destination: Ipv4Addr) -> Option<NextHop> {
        let route = &self.routes.iter().find(|route| contains(&route.value, destination))?.value;
        Some(NextHop { port: self.port(route.index)?, address: route.gateway.unwrap_or(destination) })
    }

    /// The neighbour's MAC address, if the kernel knows it.
    pub fn mac(&self, hop: NextHop) -> Option<[u8; 6]> {
        self.neighbours.get(&hop).map(|seen| seen.value)
    }

    /// How many routes and neighbours there are, and how many did not fit.
    pub fn sizes(&self) -> (usize, usize, u64) {
        (self.routes.len(), self.neighbours.len(), self.overflows)
    }

    /// All routes, best first.
    pub fn routes(&self) -> impl Iterator<Item = (Route, PortId)> + '_ {
        self.routes.iter().filter_map(|seen| Some((seen.value, self.port(seen.value.index)?)))
    }

    /// All neighbours, in no order.
    pub fn neighbours(&self) -> impl Iterator<Item = (NextHop, [u8; 6])> + '_ {
        self.neighbours.iter().map(|(hop, seen)| (*hop, seen.value))
    }

    /// Takes in what the kernel said. The hop that is returned second is stale: have it confirmed.
    pub fn hear(&mut self, notice: Notice) -> (Option<Change>, Option<NextHop>) {
        match notice {
            Notice::Neighbour { index, address, mac, stale } => {
                let Some(port) = self.port(index) else { return (None, None) };
                let hop = NextHop { port, address };
                (self.set_neighbour(hop, mac), stale.then_some(hop))
            }
            Notice::NeighbourGone { index, address } => {
                let Some(port) = self.port(index) else { return (None, None) };
                (self.set_neighbour(NextHop { port, address }, None), None)
            }
            Notice::Route(route) => (self.set_route(route), None),
            Notice::RouteGone(route) => {
                let before = self.routes.len();
                self.routes.retain(|kept| kept.value != route);
                ((self.routes.len() != before).then_some(Change::Routes), None)
            }
            Notice::Done(_) | Notice::Answer { .. } => (None, None),
        }
    }

    fn set_neighbour(&mut self, hop: NextHop, mac: Option<[u8; 6]>) -> Option<Change> {
        let before = match mac {
            Some(value) => {
                if self.neighbours.len() >= NEIGHBOURS && !self.neighbours.contains_key(&hop) {
                    self.overflows += 1;
                    return None;
                }
                self.neighbours.insert(hop, Seen { value, dump: self.dump })
            }
            None => self.neighbours.remove(&hop),
        };
        (before.map(|seen| seen.value) != mac).then_some(Change::Neighbour(hop, mac))
    }

    fn set_route(&mut self, route: Route) -> Option<Change> {
        self.port(route.index)?;
        let key = |route: &Route| (std::cmp::Reverse(route.prefix), route.metric, u32::from(route.network));
        let seen = Seen { value: route, dump: self.dump };
        let found = self.routes.binary_search_by_key(&key(&route), |kept| key(&kept.value));
        match found {
            Ok(at) if self.routes[at].value == route => {
                self.routes[at] = seen;
                return None;
            }
            // Same network and metric: the kernel's "replace" comes as one notice.
            Ok(at) => self.routes[at] = seen,
            Err(_) if self.routes.len() >= ROUTES => {
                self.overflows += 1;
                return None;
            }
            Err(at) => self.routes.insert(at, seen),
        }
        Some(Change::Routes)
    }

    /// A dump begins: what it does not name will be gone at [`Table::end_dump`].
    pub fn begin_dump(&mut self) {
        self.dump = self.dump.wrapping_add(1);
    }

    /// The dump is complete.
    pub fn end_dump(&mut self) -> Vec<Change> {
        let dump = self.dump;
        let mut changes = Vec::new();
        self.neighbours.retain(|hop, seen| {
            let keep = seen.dump == dump;
            if !keep {
                changes.push(Change::Neighbour(*hop, None));
            }
            keep
        });
        let before = self.routes.len();
        self.routes.retain(|seen| seen.dump == dump);
        if self.routes.len() != before {
            changes.push(Change::Routes);
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(to: [u8; 4], prefix: u8, via: Option<[u8; 4]>, index: u32, metric: u32) -> Notice {
        Notice::Route(Route { network: to.into(), prefix, gateway: via.map(Into::into), index, metric })
    }

    fn table() -> Table {
        let mut table = Table::new(vec![10, 11]);
        table.hear(route([10, 0, 0, 0], 24, None, 10, 0));
        table.hear(route([192, 0, 2, 0], 24, None, 11, 0));
        table.hear(route([0; 4], 0, Some([192, 0, 2, 1]), 11, 0));
        table
    }

    fn hop(port: PortId, address: [u8; 4]) -> NextHop {
        NextHop { port, address: address.into() }
    }

    #[test]
    fn the_longest_prefix_wins_then_the_lowest_metric() {
        let mut table = table();
        let next = |table: &Table, to: [u8; 4]| table.next_hop(to.into());
        assert_eq!(next(&table, [10, 0, 0, 9]), Some(hop(0, [10, 0, 0, 9])));
        assert_eq!(next(&table, [198, 51, 100, 1]), Some(hop(1, [192, 0, 2, 1])));
        table.hear(route([198, 51, 100, 0], 24, Some([192, 0, 2, 7]), 11, 20));
        table.hear(route([198, 51, 100, 0], 24, Some([192, 0, 2, 8]), 11, 10));
        assert_eq!(next(&table, [198, 51, 100, 1]), Some(hop(1, [192, 0, 2, 8])));
        assert_eq!(next(&Table::new(vec![1]), [1, 1, 1, 1]), None);
    }

    #[test]
    fn routes_and_neighbours_of_other_interfaces_are_ignored() {
        let mut table = table();
        assert_eq!(table.hear(route([172, 16, 0, 0], 12, None, 99, 0)), (None, None));
        let notice =
            Notice::Neighbour { index: 99, address: [10, 0, 0, 9].into(), mac: Some([1; 6]), stale: false };
        assert_eq!(table.hear(notice), (None, None));
    }

    #[test]
    fn only_a_difference_is_a_change() {
        let mut table = table();
        let heard = |table: &mut Table, mac, stale| {
            table.hear(Notice::Neighbour { index: 10, address: [10, 0, 0, 9].into(), mac, stale })
        };
        let nine = hop(0, [10, 0, 0, 9]);
        assert_eq!(
            heard(&mut table, Some([1; 6]), false),
            (Some(Change::Neighbour(nine, Some([1; 6]))), None)
        );
        assert_eq!(heard(&mut table, Some([1; 6]), true), (None, Some(nine)));
        assert_eq!(heard(&mut table, None, false), (Some(Change::Neighbour(nine, None)), None));
        assert_eq!(heard(&mut table, None, false), (None, None));
    }

    #[test]
    fn what_a_dump_does_not_name_is_gone() {
        let mut table = table();
        let nine = hop(0, [10, 0, 0, 9]);
        table.hear(Notice::Neighbour { index: 10, address: nine.address, mac: Some([1; 6]), stale: false });
        table.begin_dump();
        table.hear(route([10, 0, 0, 0], 24, None, 10, 0));
        let changes = table.end_dump();
        assert_eq!(changes, vec![Change::Neighbour(nine, None), Change::Routes]);
        assert_eq!(table.next_hop([192, 0, 2, 9].into()), None);
        assert_eq!(table.next_hop([10, 0, 0, 9].into()), Some(nine));
    }
}
