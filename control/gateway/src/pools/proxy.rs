//! The proxy addresses of one host: the whole pool for itself, lowest address first.
//!
//! An address rests after its binding ended, until no answer that named it can be in a cache any more: a host that
//! still uses an old answer then reaches nobody, rather than somebody else.

use crate::Nanos;
use ipnet::Ipv4Net;
use std::collections::VecDeque;
use std::net::Ipv4Addr;

/// One bit for each address, grown as far as it is used: a host with few bindings costs one word, one that used a
/// whole /16 costs 8 KiB.
#[derive(Debug, Default)]
pub(crate) struct ProxyPool {
    words: Vec<u64>,
    /// No word before this one has a free bit.
    hint: usize,
    in_use: u32,
    resting: VecDeque<(Nanos, u32)>,
}

/// Figures that all hosts' pools share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProxyLimits {
    network: u32,
    /// Offsets 0 (the network's address) and `last + 1` (broadcast) are never given out.
    last: u32,
    per_host: u32,
    rest_ns: Nanos,
}

impl ProxyLimits {
    pub(crate) fn new(pool: Ipv4Net, per_host: u32, rest_ns: Nanos) -> Self {
        let last = (1u64 << (32 - pool.prefix_len())).saturating_sub(2) as u32;
        Self { network: pool.network().into(), last, per_host, rest_ns }
    }
}

impl ProxyPool {
    /// The lowest free address; `None` if the pool is empty or the host has all that it may have.
    pub(crate) fn allocate(&mut self, limits: &ProxyLimits, now: Nanos) -> Option<Ipv4Addr> {
        if self.in_use >= limits.per_host {
            return None;
        }
        while let Some(&(until, offset)) = self.resting.front() {
            if until > now {
                break;
            }
            self.resting.pop_front();
            self.free(offset);
        }
        while self.words.get(self.hint).is_some_and(|word| *word == u64::MAX) {
            self.hint += 1;
        }
        if self.hint == self.words.len() {
            self.words.push(u64::from(self.hint == 0)); // offset 0 is the network's own address
        }
        let bit = self.words[self.hint].trailing_ones();
        let offset = self.hint as u32 * 64 + bit;
        if offset > limits.last {
            return None;
        }
        self.words[self.hint] |= 1 << bit;
        self.in_use += 1;
        Some(Ipv4Addr::from(limits.network + offset))
    }

    /// An address whose binding is gone: it rests before it is given out again.
    pub(crate) fn release(&mut self, limits: &ProxyLimits, address: Ipv4Addr, now: Nanos) {
        self.in_use -= 1;
        self.resting.push_back((now + limits.rest_ns, u32::from(address) - limits.network));
    }

    /// An address that nobody heard of: it is free at once.
    pub(crate) fn unallocate(&mut self, limits: &ProxyLimits, address: Ipv4Addr) {
        self.in_use -= 1;
        self.free(u32::from(address) - limits.network);
    }

    fn free(&mut self, offset: u32) {
        let word = (offset / 64) as usize;
        self.words[word] &= !(1 << (offset % 64));
        self.hint = self.hint.min(word);
    }

    /// Addresses of living bindings.
    pub(crate) fn in_use(&self) -> u32 {
        self.in_use
    }

    /// Addresses that cannot be given out: in use or resting.
    pub(crate) fn occupied(&self) -> u32 {
        self.in_use + self.resting.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn limits(pool: &str, per_host: u32) -> ProxyLimits {
        ProxyLimits::new(pool.parse().unwrap(), per_host, 120)
    }

    #[test]
    fn the_lowest_address_comes_first_and_the_ends_never() {
        let limits = limits("10.64.0.0/29", 100);
        let mut pool = ProxyPool::default();
        let all: Vec<_> = std::iter::from_fn(|| pool.allocate(&limits, 0)).collect();
        let expected: Vec<Ipv4Addr> = (1..=6).map(|n| Ipv4Addr::new(10, 64, 0, n)).collect();
        assert_eq!(all, expected);
    }

    #[test]
    fn a_released_address_rests_and_then_is_the_lowest_again() {
        let limits = limits("10.64.0.0/16", 100);
        let mut pool = ProxyPool::default();
        let first = pool.allocate(&limits, 0).unwrap();
        pool.release(&limits, first, 10);
        assert_eq!(pool.allocate(&limits, 129).unwrap(), Ipv4Addr::new(10, 64, 0, 2));
        assert_eq!(pool.allocate(&limits, 130).unwrap(), first);
        assert_eq!(pool.occupied(), 2);
    }

    #[test]
    fn an_address_that_nobody_heard_of_is_free_at_once() {
        let limits = limits("10.64.0.0/16", 1);
        let mut pool = ProxyPool::default();
        let first = pool.allocate(&limits, 0).unwrap();
        assert_eq!(pool.allocate(&limits, 0), None);
        pool.unallocate(&limits, first);
        assert_eq!(pool.allocate(&limits, 0), Some(first));
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_sorted_set(operations in prop::collection::vec(any::<(bool, prop::sample::Index)>(), 1..600)) {
            let limits = ProxyLimits::new("10.0.0.0/24".parse().unwrap(), 1000, 0);
            let mut pool = ProxyPool::default();
            let mut free: BTreeSet<u32> = (1..=254).collect();
            let mut taken = Vec::new();
            for (take, which) in operations {
                if take || taken.is_empty() {
                    let expected = free.pop_first();
                    let got = pool.allocate(&limits, 0).map(|a| u32::from(a) & 0xff);
                    prop_assert_eq!(got, expected);
                    taken.extend(expected);
                } else {
                    let offset = taken.swap_remove(which.index(taken.len()));
                    free.insert(offset);
                    pool.unallocate(&limits, Ipv4Addr::from(0x0a00_0000 + offset));
                }
                prop_assert_eq!(pool.in_use() as usize, taken.len());
            }
        }
    }
}
