//! The proxy addresses of one host: the whole pool for itself, lowest address first.
//!
//! An address rests after its binding ended, until no answer that named it can be in a cache any more: a host that
//! still uses an old answer then reaches nobody, rather than somebody else. It is kept for the name that it stood for, as long
//! as others are left: when the host asks for that name again, what it remembers is true again.

use crate::Nanos;
use crate::address::ProxyAddress;
use ipnet::Ipv4Net;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Addresses that a host's names keep though they have rested: some 100 octets each.
const KEPT: usize = 128;
/// Addresses that the last process may have taken from their names in its last moments: the oldest of those kept.
const CAREFUL: usize = KEPT / 2;

/// One bit for each address, grown as far as it is used: a host with few bindings costs one word, one that used a
/// whole /16 costs 8 KiB.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ProxyPool {
    words: Vec<u64>,
    /// No word before this one has a free bit.
    hint: usize,
    in_use: u32,
    /// By the end of their rest, and the names that they stood for.
    resting: BTreeMap<Rest, Arc<str>>,
    /// The address that each of these names had last.
    names: BTreeMap<Arc<str>, Rest>,
    /// The first word beyond all that were used before the last restart.
    floor: usize,
}

/// Until when an address rests, and its offset.
type Rest = (Nanos, u32);

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

    /// The lowest free address, or else the one that has rested longest; `None` if there is none, or the host has all that it
    /// may have.
    pub(super) fn next(&self, limits: &ProxyLimits, is_careful: bool, now: Nanos) -> Option<ProxyAddress> {
        if self.in_use >= limits.per_host {
            return None;
        }
        let beyond = is_careful.then(|| self.lowest(limits, self.floor)).flatten();
        let free = beyond.or_else(|| self.lowest(limits, 0));
        free.or_else(|| self.rested(now)).map(|offset| limits.address(offset))
    }

    /// The lowest free offset from this word on.
    fn lowest(&self, limits: &ProxyLimits, from: usize) -> Option<u32> {
        let from = from.max(self.hint);
        let word = (from..self.words.len()).find(|word| self.words[*word] != u64::MAX);
        let word = word.unwrap_or_else(|| self.words.len().max(from));
        let bits = self.words.get(word).copied().unwrap_or_else(|| first_word(word));
        let free = (word as u32).saturating_mul(64).saturating_add(bits.trailing_ones());
        (free <= limits.last).then_some(free)
    }

    /// The offset that has rested longest, if that was long enough.
    fn rested(&self, now: Nanos) -> Option<u32> {
        self.resting.first_key_value().filter(|((until, _), _)| *until <= now).map(|((_, offset), _)| *offset)
    }

    /// The address that this name had last, if nobody else has it and, while one has to be careful, nobody else can have had
    /// it.
    pub(super) fn had(
        &self,
        limits: &ProxyLimits,
        name: &str,
        is_careful: bool,
        now: Nanos,
    ) -> Option<ProxyAddress> {
        let rest = self.names.get(name)?;
        let is_sure = || rest.0 > now || self.resting.range(rest..).count() <= CAREFUL;
        (!is_careful || is_sure()).then(|| limits.address(rest.1))
    }

    /// Takes an address that is free, or has rested longest. False if it is not of the pool, or taken.
    pub(super) fn take(&mut self, limits: &ProxyLimits, address: ProxyAddress, now: Nanos) -> bool {
        let Some(offset) = limits.offset(address) else { return false };
        while self.resting.len() > KEPT
            && let Some(rested) = self.rested(now)
        {
            self.forget_first();
            self.free(rested);
        }
        let (word, bit) = ((offset / 64) as usize, 1u64 << (offset % 64));
        for new in self.words.len()..=word {
            self.words.push(first_word(new));
        }
        let is_free = self.words[word] & bit == 0;
        let is_rested = self.rested(now) == Some(offset);
        if is_free {
            self.words[word] |= bit;
            while self.words.get(self.hint).is_some_and(|word| *word == u64::MAX) {
                self.hint += 1;
            }
        } else if is_rested {
            self.forget_first();
        }
        self.in_use += u32::from(is_free || is_rested);
        is_free || is_rested
    }

    /// Takes the address that this name had last, which [`ProxyPool::had`] has told.
    pub(super) fn take_back(&mut self, limits: &ProxyLimits, address: ProxyAddress, name: &str) {
        let rest = self.names.get(name).filter(|rest| limits.offset(address) == Some(rest.1)).copied();
        if let Some(rest) = rest {
            self.forget(rest);
            self.in_use += 1;
        }
    }

    fn forget_first(&mut self) {
        if let Some((rest, _)) = self.resting.first_key_value() {
            self.forget(*rest);
        }
    }

    /// An address rests no more.
    fn forget(&mut self, rest: Rest) {
        let Some(name) = self.resting.remove(&rest) else { return };
        if self.names.get(&name) == Some(&rest) {
            self.names.remove(&name);
        }
    }

    /// An address whose binding is gone: it rests before another name than the one that it stood for may have it.
    pub(super) fn release(
        &mut self,
        limits: &ProxyLimits,
        address: ProxyAddress,
        name: &Arc<str>,
        until: Nanos,
    ) {
        let Some(offset) = limits.offset(address) else { return };
        self.in_use -= 1;
        self.resting.insert((until, offset), Arc::clone(name));
        // What was written down by an older version has no name.
        if !name.is_empty() {
            self.names.insert(Arc::clone(name), (until, offset));
        }
    }

    /// An address that nobody heard of: it is free at once.
    pub(super) fn unallocate(&mut self, limits: &ProxyLimits, address: ProxyAddress) {
        let Some(offset) = limits.offset(address) else { return };
        self.in_use -= 1;
        self.free(offset);
    }

    /// An address that rests already, as a snapshot tells it. False if it is not of the pool, or taken.
    pub(super) fn rest(
        &mut self,
        limits: &ProxyLimits,
        address: ProxyAddress,
        name: &Arc<str>,
        until: Nanos,
    ) -> bool {
        let is_taken = self.take(limits, address, 0);
        if is_taken {
            self.release(limits, address, name, until);
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

    /// Addresses that are in use, rest, or are kept for their names.
    pub(crate) fn occupied(&self) -> u32 {
        self.in_use + self.resting.len() as u32
    }

    /// What rests, until when, and the names that it stood for.
    pub(super) fn resting(&self, limits: &ProxyLimits) -> Vec<(Nanos, ProxyAddress, &Arc<str>)> {
        let entry = |((until, offset), name): (&Rest, _)| (*until, limits.address(*offset), name);
        self.resting.iter().map(entry).collect()
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
    fn p1_a_released_address_is_its_names_again_and_anothers_at_the_very_last() {
        let limits = limits("10.64.0.0/30", 100);
        let (www, ftp): (Arc<str>, Arc<str>) = ("www.b.".into(), "ftp.b.".into());
        let mut pool = ProxyPool::default();
        let first = allocate(&mut pool, &limits, 0).unwrap();
        pool.release(&limits, first, &www, 130);
        assert_eq!(pool.had(&limits, &ftp, false, 5), None);
        assert_eq!(pool.had(&limits, &www, true, 5), Some(first));
        pool.take_back(&limits, first, &www);
        assert_eq!((pool.in_use(), pool.occupied(), pool.had(&limits, &www, false, 5)), (1, 1, None));
        pool.release(&limits, first, &www, 130);
        // As long as others are left, it is kept though it has rested.
        let second = allocate(&mut pool, &limits, 500).unwrap();
        assert_ne!(second, first);
        assert_eq!(pool.had(&limits, &www, false, 500), Some(first));
        assert_eq!(allocate(&mut pool, &limits, 129), None);
        assert_eq!(allocate(&mut pool, &limits, 130), Some(first));
        assert_eq!((pool.had(&limits, &www, false, 500), pool.occupied()), (None, 2));
    }

    #[test]
    fn p1_as_many_names_keep_their_addresses_as_there_is_room_for() {
        let limits = limits("10.64.0.0/16", 1000);
        let mut pool = ProxyPool::default();
        let name = |n: usize| Arc::<str>::from(format!("n{n}.b."));
        let all: Vec<_> = (0..KEPT + 10).map(|_| allocate(&mut pool, &limits, 0).unwrap()).collect();
        for (n, address) in all.iter().enumerate() {
            pool.release(&limits, *address, &name(n), 100 + n as Nanos);
        }
        pool.restart(1);
        // After a restart those that no other name can have got meanwhile.
        assert!(pool.had(&limits, &name(KEPT + 9), true, 1000).is_some());
        assert!(
            pool.had(&limits, &name(9), true, 1000).is_none()
                && pool.had(&limits, &name(9), true, 10).is_some()
        );
        allocate(&mut pool, &limits, 1000).unwrap();
        let kept = (0..KEPT + 10).filter(|n| pool.had(&limits, &name(*n), false, 1000).is_some());
        assert!(kept.eq(10..KEPT + 10));
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
        pool.release(&limits, first, &"www.b.".into(), 100);
        pool.restart(1);
        let careful = pool.next(&limits, true, 200).unwrap();
        assert_eq!(careful, ProxyAddress::from([10, 64, 0, 128]));
        assert!(pool.take(&limits, careful, 200));
        assert_eq!(pool.next(&limits, true, 200).unwrap(), ProxyAddress::from([10, 64, 0, 129]));
        assert_eq!(pool.next(&limits, false, 200).unwrap(), ProxyAddress::from([10, 64, 0, 2]));
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
