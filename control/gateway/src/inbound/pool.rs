//! The circular pool: public addresses, each set aside for a moment, one after the other.
//!
//! What is reserved of an address is a port and a protocol, either of which may be any. No two reservations of an
//! address overlap, so that a packet fits one at most: a full name (any, any) has its address alone, services share
//! one as long as no packet could be for two of them. (80, any) overlaps (any, TCP): both take TCP to port 80.

use crate::settings::Wanted;
use ces_dataplane::tag::worker_of_pool;
use rustc_hash::FxHashMap;
use std::net::Ipv4Addr;

/// Port and protocol; 0 = any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tuple {
    pub(crate) port: u16,
    pub(crate) protocol: u8,
}

impl Tuple {
    const fn is_all(self) -> bool {
        self.port == 0 && self.protocol == 0
    }
}

/// What is reserved of an address: how often each port, and each protocol, stands in it, so that an overlap is found
/// without a look at all of it.
#[derive(Debug, Default)]
struct Taken {
    tuples: FxHashMap<Tuple, u32>,
    ports: FxHashMap<u16, u32>,
    protocols: FxHashMap<u8, u32>,
}

impl Taken {
    fn is_empty(&self) -> bool {
        self.tuples.is_empty()
    }

    fn overlaps(&self, Tuple { port, protocol }: Tuple) -> bool {
        let has = |port, protocol| self.tuples.contains_key(&Tuple { port, protocol });
        match (port, protocol) {
            (0, 0) => !self.is_empty(),
            (port, 0) => self.ports.contains_key(&port) || self.ports.contains_key(&0),
            (0, protocol) => self.protocols.contains_key(&protocol) || self.protocols.contains_key(&0),
            (port, protocol) => has(port, protocol) || has(port, 0) || has(0, protocol) || has(0, 0),
        }
    }

    fn add(&mut self, tuple: Tuple) {
        *self.tuples.entry(tuple).or_default() += 1;
        *self.ports.entry(tuple.port).or_default() += 1;
        *self.protocols.entry(tuple.protocol).or_default() += 1;
    }

    fn remove(&mut self, tuple: Tuple) {
        fn less<K: std::hash::Hash + Eq>(map: &mut FxHashMap<K, u32>, key: &K) {
            if let Some(count) = map.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    map.remove(key);
                }
            }
        }
        less(&mut self.tuples, &tuple);
        less(&mut self.ports, &tuple.port);
        less(&mut self.protocols, &tuple.protocol);
    }
}

/// An address.
#[derive(Debug)]
struct Address {
    ip: Ipv4Addr,
    /// Whether it is given out; one that a reload took out stays until nothing is reserved of it.
    is_offered: bool,
    taken: Taken,
    /// How often something of it was reserved.
    given: u64,
}

/// The addresses of one worker: a host is reached at those of its own worker, which finds its packets there.
#[derive(Debug, Default)]
struct Circle {
    addresses: Vec<Address>,
    /// Where the next search begins.
    next: usize,
}

impl Circle {
    fn is_free(&self, at: usize, tuple: Tuple) -> bool {
        let Address { is_offered, taken, .. } = &self.addresses[at];
        *is_offered && !taken.overlaps(tuple)
    }

    /// The next address that takes it: one that others share, if it can be shared, so that full names find others free.
    fn find(&self, tuple: Tuple) -> Option<usize> {
        let count = self.addresses.len();
        let all = || (0..count).map(|step| (self.next + step) % count);
        let is_shared = |&at: &usize| !self.addresses[at].taken.is_empty();
        let shared = || all().filter(is_shared).find(|&at| self.is_free(at, tuple));
        let alone = || all().filter(|at| !is_shared(at)).find(|&at| self.is_free(at, tuple));
        if tuple.is_all() { alone() } else { shared().or_else(alone) }
    }
}

/// An address as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PoolAddress {
    /// The address.
    pub address: Ipv4Addr,
    /// The worker that owns it.
    pub worker: u32,
    /// Whether it is given out; one that a reload took out is kept until nothing is reserved of it.
    pub offered: bool,
    /// Pending reservations.
    pub pending: u32,
    /// Whether one of them has it alone.
    pub exclusive: bool,
    /// Reservations since it belongs to the pool.
    pub given: u64,
}

/// The pool.
#[derive(Debug)]
pub(crate) struct CircularPool {
    circles: Vec<Circle>,
}

impl CircularPool {
    /// Without addresses, for so many workers.
    pub(crate) fn new(workers: u32) -> Self {
        Self { circles: (0..workers.max(1)).map(|_| Circle::default()).collect() }
    }

    fn circle(&mut self, address: Ipv4Addr) -> &mut Circle {
        let worker = worker_of_pool(address.to_bits(), self.circles.len() as u32);
        &mut self.circles[worker as usize]
    }

    /// From now on these are given out.
    pub(crate) fn offer(&mut self, addresses: &[Ipv4Addr]) {
        for circle in &mut self.circles {
            circle.addresses.retain(|address| addresses.contains(&address.ip) || !address.taken.is_empty());
            circle
                .addresses
                .iter_mut()
                .for_each(|address| address.is_offered = addresses.contains(&address.ip));
            circle.next = 0;
        }
        for &ip in addresses {
            let circle = self.circle(ip);
            if !circle.addresses.iter().any(|address| address.ip == ip) {
                let address = Address { ip, is_offered: true, taken: Taken::default(), given: 0 };
                circle.addresses.push(address);
            }
        }
    }

    /// Takes the next address of a worker; `None` if none takes it.
    pub(crate) fn take(&mut self, worker: u32, tuple: Tuple) -> Option<Ipv4Addr> {
        let circle = self.circles.get_mut(worker as usize)?;
        let at = circle.find(tuple)?;
        circle.next = (at + 1) % circle.addresses.len();
        let address = &mut circle.addresses[at];
        address.taken.add(tuple);
        address.given += 1;
        Some(address.ip)
    }

    /// What it would be to take that of a worker's addresses, of how many of them something is taken, and how many there are.
    pub(crate) fn outlook(&self, worker: u32, tuple: Tuple) -> (Wanted, usize, usize) {
        let Some(circle) = self.circles.get(worker as usize) else { return (Wanted::Full, 0, 0) };
        let offered = circle.addresses.iter().filter(|address| address.is_offered);
        let taken = offered.clone().filter(|address| !address.taken.is_empty()).count();
        let is_shared = |at: usize| !circle.addresses[at].taken.is_empty();
        let wanted = if tuple.is_all() {
            Wanted::Full
        } else if circle.find(tuple).is_some_and(is_shared) {
            Wanted::Shared
        } else {
            Wanted::Service
        };
        (wanted, taken, offered.count())
    }

    /// Gives it back.
    pub(crate) fn give_back(&mut self, ip: Ipv4Addr, tuple: Tuple) {
        let circle = self.circle(ip);
        if let Some(address) = circle.addresses.iter_mut().find(|address| address.ip == ip) {
            address.taken.remove(tuple);
        }
        if circle.addresses.iter().any(|address| !address.is_offered && address.taken.is_empty()) {
            circle.addresses.retain(|address| address.is_offered || !address.taken.is_empty());
            circle.next = 0;
        }
    }

    /// Addresses of which something is reserved, and those that are given out.
    pub(crate) fn load(&self) -> (usize, usize) {
        let all = || self.circles.iter().flat_map(|circle| &circle.addresses);
        (all().filter(|a| !a.taken.is_empty()).count(), all().filter(|a| a.is_offered).count())
    }

    /// All addresses.
    pub(crate) fn view(&self) -> Vec<PoolAddress> {
        let all = self.circles.iter().zip(0..).flat_map(|(circle, worker)| {
            circle.addresses.iter().map(move |address| PoolAddress {
                address: address.ip,
                worker,
                offered: address.is_offered,
                pending: address.taken.tuples.values().sum(),
                exclusive: address.taken.tuples.keys().any(|tuple| tuple.is_all()),
                given: address.given,
            })
        });
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|address| address.address);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ANY: Tuple = Tuple { port: 0, protocol: 0 };

    const fn tuple(port: u16, protocol: u8) -> Tuple {
        Tuple { port, protocol }
    }

    fn pool(addresses: &[u32]) -> CircularPool {
        let mut pool = CircularPool::new(1);
        pool.offer(&addresses.iter().map(|&address| address.into()).collect::<Vec<_>>());
        pool
    }

    fn take(pool: &mut CircularPool, tuple: Tuple) -> Option<u32> {
        pool.take(0, tuple).map(Ipv4Addr::to_bits)
    }

    #[test]
    fn addresses_come_one_after_the_other() {
        let mut pool = pool(&[1, 2, 3]);
        assert_eq!([ANY; 4].map(|tuple| take(&mut pool, tuple)), [Some(1), Some(2), Some(3), None]);
        pool.give_back(2.into(), ANY);
        assert_eq!((take(&mut pool, ANY), take(&mut pool, ANY)), (Some(2), None));
        pool.give_back(1.into(), ANY);
        pool.give_back(3.into(), ANY);
        assert_eq!((take(&mut pool, ANY), pool.load()), (Some(3), (2, 3)), "from where it was");
    }

    #[test]
    fn services_share_an_address_and_full_names_do_not() {
        let mut pool = pool(&[1, 2]);
        assert_eq!([tuple(80, 6), tuple(443, 6), tuple(0, 1)].map(|t| take(&mut pool, t)), [Some(1); 3]);
        assert_eq!((take(&mut pool, tuple(80, 6)), take(&mut pool, ANY)), (Some(2), None));
        pool.give_back(2.into(), tuple(80, 6));
        assert_eq!((take(&mut pool, ANY), take(&mut pool, tuple(80, 6))), (Some(2), None));
    }

    /// The rule that the reference implementation got wrong.
    #[test]
    fn wildcards_overlap_both_ways() {
        for (one, other, overlap) in [
            (tuple(80, 0), tuple(0, 6), true),
            (tuple(0, 6), tuple(80, 0), true),
            (tuple(80, 0), tuple(80, 6), true),
            (tuple(80, 6), tuple(80, 0), true),
            (tuple(0, 6), tuple(80, 6), true),
            (tuple(80, 0), tuple(81, 0), false),
            (tuple(0, 6), tuple(0, 17), false),
            (tuple(80, 6), tuple(80, 17), false),
            (tuple(80, 6), tuple(0, 17), false),
            (ANY, tuple(80, 6), true),
            (tuple(80, 6), ANY, true),
        ] {
            let mut pool = pool(&[1]);
            assert_eq!(take(&mut pool, one), Some(1));
            assert_eq!(take(&mut pool, other).is_none(), overlap, "{one:?} {other:?}");
        }
    }

    #[test]
    fn what_is_taken_out_stays_until_nothing_is_reserved_of_it() {
        let mut pool = pool(&[1, 2]);
        assert_eq!(take(&mut pool, tuple(80, 6)), Some(1));
        pool.offer(&[2.into(), 3.into()]);
        assert_eq!([ANY; 3].map(|tuple| take(&mut pool, tuple)), [Some(2), Some(3), None]);
        assert_eq!((pool.view().len(), pool.load()), (3, (3, 2)));
        pool.give_back(1.into(), tuple(80, 6));
        assert_eq!(pool.view().len(), 2);
    }

    #[test]
    fn each_worker_has_its_own() {
        let mut pool = CircularPool::new(2);
        pool.offer(&[Ipv4Addr::from_bits(4), 5.into(), 6.into()]);
        let of = |pool: &mut CircularPool, worker| pool.take(worker, ANY).map(Ipv4Addr::to_bits);
        assert_eq!([0, 0, 0].map(|worker| of(&mut pool, worker)), [Some(4), Some(6), None]);
        assert_eq!([1, 1].map(|worker| of(&mut pool, worker)), [Some(5), None]);
    }

    proptest! {
        /// Against the rule as it is said: two overlap if some packet is for both.
        #[test]
        fn an_overlap_is_found_whatever_stands_there(
            taken in proptest::collection::vec((0u16..3, 0u8..3), 0..6), one in (0u16..3, 0u8..3),
        ) {
            let mut all = Taken::default();
            for &(port, protocol) in &taken {
                all.add(tuple(port, protocol));
            }
            let both = |a: (u16, u8)| (a.0 == 0 || one.0 == 0 || a.0 == one.0) && (a.1 == 0 || one.1 == 0 || a.1 == one.1);
            prop_assert_eq!(all.overlaps(tuple(one.0, one.1)), taken.iter().any(|&a| both(a)));
            for &(port, protocol) in &taken {
                all.remove(tuple(port, protocol));
            }
            prop_assert!(all.is_empty() && all.ports.is_empty() && all.protocols.is_empty());
        }
    }
}
