//! The proxy addresses of one host: the whole pool for itself, lowest address first.
//!
//! An address rests after its binding ended, until no answer that named it can be in a cache any more: a host that
//! still uses an old answer then reaches nobody, rather than somebody else.

use crate::Nanos;
use crate::address::ProxyAddress;
use ipnet::Ipv4Net;
use std::collections::VecDeque;
use std::net::Ipv4Addr;

/// One bit for each address, grown as far as it is used: a host with few bindings costs one word, one that used a
/// whole /16 costs 8 KiB.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ProxyPool {
    words: Vec<u64>,
    /// No word before this one has a free bit.
    hint: usize,
    in_use: u32,
    resting: VecDeque<(Nanos, u32)>,
    /// The first word beyond all that were used before the last restart.
    floor: usize,
}

/// Figures that all hosts' pools share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProxyLimits {
    network: u32,
    /// Offsets 0 (the network's address) and `last + 1` (broadcast) are never given out.
    last: u32,
    per_host: u32,
}

impl ProxyLimits {
    pub(crate) fn new(pool: Ipv4Net, per_host: u32) -> Self {
        let last = (1u64 << (32 - pool.prefix_len())).saturating_sub(2) as u32;
        Self { network: pool.network().into(), last, per_host }
    }

    fn offset(&self, address: ProxyAddress) -> Option<u32> {
        let offset = u32::from(address.v4()).checked_sub(self.network)?;
        (1..=self.last).contains(&offset).then_some(offset)
    }

    fn address(&self, offset: u32) -> ProxyAddress {
        Ipv4Addr::from(self.network + offset).into()
    }
}

impl ProxyPool {
    /// A pool of which the last process may have given addresses out that nobody remembers.
    pub(super) fn beginning_at(floor: usize) -> Self {
        Self { floor, ..Self::default() }
    }

    /// From here on, while one has to be careful, addresses come from so many words beyond all that were used.
    pub(super) fn restart(&mut self, beyond: usize) {
        self.floor = self.words.len() + beyond;
    }

    /// The lowest free address; `None` if the pool is empty or the host has all that it may have.
    pub(super) fn next(&self, limits: &ProxyLimits, is_careful: bool, now: Nanos) -> Option<ProxyAddress> {
        if self.in_use >= limits.per_host {
            return None;
        }
        let beyond = is_careful.then(|| self.lowest(limits, self.floor, now)).flatten();
        beyond.or_else(|| self.lowest(limits, 0, now)).map(|offset| limits.address(offset))
    }

    /// The lowest free offset, or one that has rested enough, from this word on.
    fn lowest(&self, limits: &ProxyLimits, from: usize, now: Nanos) -> Option<u32> {
        let from = from.max(self.hint);
        let word = (from..self.words.len()).find(|word| self.words[*word] != u64::MAX);
        let word = word.unwrap_or_else(|| self.words.len().max(from));
        let bits = self.words.get(word).copied().unwrap_or_else(|| first_word(word));
        let free = (word as u32).saturating_mul(64).saturating_add(bits.trailing_ones());
        let rested = self.resting.iter().take_while(|(until, _)| *until <= now).map(|(_, offset)| *offset);
        let rested = rested.filter(|offset| *offset as usize / 64 >= from).min();
        let lowest = rested.map_or(free, |rested| rested.min(free));
        (lowest <= limits.last).then_some(lowest)
    }

    /// Takes an address. False if it is not of the pool, or taken.
    pub(super) fn take(&mut self, limits: &ProxyLimits, address: ProxyAddress, now: Nanos) -> bool {
        let Some(offset) = limits.offset(address) else { return false };
        while let Some(&(until, rested)) = self.resting.front()
            && until <= now
        {
            self.resting.pop_front();
            self.free(rested);
        }
        let (word, bit) = ((offset / 64) as usize, 1u64 << (offset % 64));
        for new in self.words.len()..=word {
            self.words.push(first_word(new));
        }
        let is_free = self.words[word] & bit == 0;
        if is_free {
            self.words[word] |= bit;
            self.in_use += 1;
            while self.words.get(self.hint).is_some_and(|word| *word == u64::MAX) {
                self.hint += 1;
            }
        }
        is_free
    }

    /// An address whose binding is gone: it rests before it is given out again.
    pub(super) fn release(&mut self, limits: &ProxyLimits, address: ProxyAddress, until: Nanos) {
        let Some(offset) = limits.offset(address) else { return };
        self.in_use -= 1;
        self.resting.push_back((until, offset));
    }

    /// An address that nobody heard of: it is free at once.
    pub(super) fn unallocate(&mut self, limits: &ProxyLimits, address: ProxyAddress) {
        let Some(offset) = limits.offset(address) else { return };
        self.in_use -= 1;
        self.free(offset);
    }

    /// An address that rests already, as a snapshot tells it. False if it is not of the pool, or taken.
    pub(super) fn rest(&mut self, limits: &ProxyLimits, address: ProxyAddress, until: Nanos) -> bool {
        let is_taken = self.take(limits, address, 0);
        if is_taken {
            self.release(limits, address, until);
        }
        is_taken
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

    /// What rests, and until when.
    pub(super) fn resting(&self, limits: &ProxyLimits) -> Vec<(Nanos, ProxyAddress)> {
        self.resting.iter().map(|(until, offset)| (*until, limits.address(*offset))).collect()
    }
}

/// A word of which nothing is used: offset 0 is the network's own address.
fn first_word(number: usize) -> u64 {
    u64::from(number == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn limits(pool: &str, per_host: u32) -> ProxyLimits {
        ProxyLimits::new(pool.parse().unwrap(), per_host)
    }

    fn allocate(pool: &mut ProxyPool, limits: &ProxyLimits, now: Nanos) -> Option<ProxyAddress> {
        let address = pool.next(limits, false, now)?;
        assert!(pool.take(limits, address, now));
        Some(address)
    }

    #[test]
    fn the_lowest_address_comes_first_and_the_ends_never() {
        let limits = limits("10.64.0.0/29", 100);
        let mut pool = ProxyPool::default();
        let all: Vec<_> = std::iter::from_fn(|| allocate(&mut pool, &limits, 0)).collect();
        let expected: Vec<ProxyAddress> = (1..=6).map(|n| [10, 64, 0, n].into()).collect();
        assert_eq!(all, expected);
        assert!(
            !pool.take(&limits, ProxyAddress::from([10, 64, 0, 7]), 0) && !pool.take(&limits, expected[0], 0)
        );
    }

    #[test]
    fn a_released_address_rests_and_then_is_the_lowest_again() {
        let limits = limits("10.64.0.0/16", 100);
        let mut pool = ProxyPool::default();
        let first = allocate(&mut pool, &limits, 0).unwrap();
        pool.release(&limits, first, 130);
        assert_eq!(allocate(&mut pool, &limits, 129).unwrap(), ProxyAddress::from([10, 64, 0, 2]));
        assert_eq!(allocate(&mut pool, &limits, 130).unwrap(), first);
        assert_eq!(pool.occupied(), 2);
    }

    #[test]
    fn an_address_that_nobody_heard_of_is_free_at_once() {
        let limits = limits("10.64.0.0/16", 1);
        let mut pool = ProxyPool::default();
        let first = allocate(&mut pool, &limits, 0).unwrap();
        assert_eq!(allocate(&mut pool, &limits, 0), None);
        pool.unallocate(&limits, first);
        assert_eq!(allocate(&mut pool, &limits, 0), Some(first));
    }

    /// What the last process gave out in its last moments stands nowhere: it is not given out again while a host may use it.
    #[test]
    fn n5_after_a_restart_addresses_come_from_beyond_all_that_were_used() {
        let limits = limits("10.64.0.0/16", 1000);
        let mut pool = ProxyPool::default();
        let first = allocate(&mut pool, &limits, 0).unwrap();
        pool.release(&limits, first, 100);
        pool.restart(1);
        let careful = pool.next(&limits, true, 200).unwrap();
        assert_eq!(careful, ProxyAddress::from([10, 64, 0, 128]));
        assert!(pool.take(&limits, careful, 200));
        assert_eq!(pool.next(&limits, true, 200).unwrap(), ProxyAddress::from([10, 64, 0, 129]));
        assert_eq!(pool.next(&limits, false, 200).unwrap(), first);
        assert_eq!(
            ProxyPool::beginning_at(1).next(&limits, true, 0).unwrap(),
            ProxyAddress::from([10, 64, 0, 64])
        );
    }

    #[test]
    fn a_pool_that_is_too_small_for_care_still_gives_what_it_has() {
        let limits = limits("10.64.0.0/29", 100);
        assert_eq!(
            ProxyPool::beginning_at(1).next(&limits, true, 0).unwrap(),
            ProxyAddress::from([10, 64, 0, 1])
        );
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_sorted_set(operations in prop::collection::vec(any::<(bool, prop::sample::Index)>(), 1..600)) {
            let limits = ProxyLimits::new("10.0.0.0/24".parse().unwrap(), 1000);
            let mut pool = ProxyPool::default();
            let mut free: BTreeSet<u32> = (1..=254).collect();
            let mut taken = Vec::new();
            for (take, which) in operations {
                if take || taken.is_empty() {
                    let expected = free.pop_first();
                    let got = allocate(&mut pool, &limits, 0).map(|a| u32::from(a.v4()) & 0xff);
                    prop_assert_eq!(got, expected);
                    taken.extend(expected);
                } else {
                    let offset = taken.swap_remove(which.index(taken.len()));
                    free.insert(offset);
                    pool.unallocate(&limits, Ipv4Addr::from(0x0a00_0000 + offset).into());
                }
                prop_assert_eq!(pool.in_use() as usize, taken.len());
            }
        }
    }
}
