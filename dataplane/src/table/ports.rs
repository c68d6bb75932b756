//! External addresses and which of their ports are taken.
//!
//! A port that was given back rests before somebody else gets it (RFC 6888 §3, REQ-8), unless there is no other: then the one
//! that has rested longest is taken. Each worker has its share of all ports, so that a port says whose it is.

use crate::nat::Space;
use crate::nat::statics::Taken;
use crate::settings::SettingsError;
use crate::tag::worker_of_port;
use crate::wire::{geneve, vxlan};
use machine::table::HugeSlice;
use std::collections::VecDeque;
use std::net::Ipv4Addr;

/// Ports of a space, in words of 64.
const WORDS: usize = 1 << 10;
/// How long a port rests: RFC 6888 §3, REQ-8.
pub(super) const REST_S: u32 = 120;
/// Ports that are tried to find one that is free together with the next.
const TRIES: usize = 32;

/// This worker, bits of the number of ports next to one another that are one's, and how many workers there are.
pub(super) type Worker = (u32, u32, u32);

/// An address.
#[derive(Debug)]
struct Pool {
    address: u32,
    /// Whether it is given to hosts that have none yet.
    offered: bool,
    /// Ports that are taken or rest, and those of other workers: a bit each.
    taken: HugeSlice<u64>,
    used: u32,
    /// Those of them that do not rest, by space.
    given: [u32; Space::COUNT],
}

/// A port that rests.
#[derive(Clone, Copy, Debug)]
struct Resting {
    until_s: u32,
    place: Place,
}

/// A port of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) pool: u16,
    pub(super) space: Space,
    pub(super) port: u16,
}

/// The addresses.
#[derive(Debug)]
pub(super) struct Ports {
    pools: Vec<Pool>,
    /// Those with an address, in the order of addresses.
    by_address: Vec<(u32, u16)>,
    /// Those that are offered.
    offered: Vec<u16>,
    resting: VecDeque<Resting>,
    /// How many ports of an address hosts may have of this worker, by space.
    room: [u32; Space::COUNT],
    worker: Worker,
    random: u64,
}

/// Of the ports that a host asks for: its own, or one as even or odd (RFC 4787 §4.2.2, REQ-4).
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'t> {
    pub(super) pool: u16,
    pub(super) space: Space,
    pub(super) port: u16,
    /// First and last that may be given.
    pub(super) range: (u16, u16),
    /// Those that are configured for somebody: nobody else gets them.
    pub(super) taken: Taken<'t>,
}

impl Ports {
    /// Room for so many addresses, which are none yet, and so many ports that rest: nothing is allocated later.
    pub(super) fn new(
        addresses: u16,
        resting: u32,
        seed: u64,
        worker: Worker,
    ) -> Result<Self, SettingsError> {
        let taken = |word| never(word, worker);
        let pool = |_| {
            let taken = HugeSlice::from_fn(Space::COUNT * WORDS, taken)?;
            Ok::<_, std::io::Error>(Pool {
                address: 0,
                offered: false,
                taken,
                used: 0,
                given: [0; Space::COUNT],
            })
        };
        let pools: Result<_, _> = (0..addresses).map(pool).collect();
        Ok(Self {
            pools: pools.map_err(|_| SettingsError::Memory("ports"))?,
            by_address: Vec::with_capacity(addresses.into()),
            offered: Vec::with_capacity(addresses.into()),
            resting: VecDeque::with_capacity(resting as usize),
            room: [0; Space::COUNT],
            worker,
            random: seed | 1,
        })
    }

    /// From now on these addresses are offered, as far as there is room, and no others, with the ports from the first to the
    /// last; those in use stay until they no longer are.
    pub(super) fn offer(&mut self, addresses: &[Ipv4Addr], range: (u16, u16)) {
        self.room = std::array::from_fn(|space| {
            let words = usize::from(range.0) / 64..=usize::from(range.1) / 64;
            let may = |word| within(word, range) & !never(space * WORDS + word, self.worker);
            words.map(|word| may(word).count_ones()).sum()
        });
        for pool in &mut self.pools {
            pool.offered = addresses.contains(&Ipv4Addr::from_bits(pool.address));
        }
        for address in addresses.iter().map(|address| address.to_bits()) {
            if self.pools.iter().any(|pool| pool.address == address) {
                continue;
            }
            if let Some(pool) = self.pools.iter_mut().find(|pool| !pool.offered && pool.used == 0) {
                (pool.address, pool.offered) = (address, true);
            }
        }
        let numbered = || self.pools.iter().zip(0u16..);
        self.offered.clear();
        self.offered.extend(numbered().filter(|(pool, _)| pool.offered).map(|(_, number)| number));
        self.by_address.clear();
        self.by_address.extend(
            numbered().filter(|(pool, _)| pool.address != 0).map(|(pool, number)| (pool.address, number)),
        );
        self.by_address.sort_unstable();
    }

    /// The address for a host, by a hash of it: a host has one address for all that it does (RFC 4787 §4.1, REQ-2).
    pub(super) fn pair(&self, hash: u64) -> Option<u16> {
        self.offered.get(self.place(hash)).copied()
    }

    /// The same, but the next one for which this holds, if it does for any.
    pub(super) fn pair_where(&self, hash: u64, holds: impl Fn(u16) -> bool) -> Option<u16> {
        let (before, from) = self.offered.split_at(self.place(hash));
        let fits = from.iter().chain(before).copied().find(|pool| holds(*pool));
        fits.or_else(|| self.pair(hash))
    }

    fn place(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.offered.len() as u128) >> 64) as usize
    }

    /// How many addresses are offered.
    pub(super) fn offered(&self) -> u32 {
        self.offered.len() as u32
    }

    /// How many ports of a pool are given to hosts, and how many may be.
    pub(super) fn given(&self, pool: u16, space: Space) -> (u32, u32) {
        let given = self.pools.get(usize::from(pool)).map_or(0, |pool| pool.given[space as usize]);
        (given, self.room[space as usize])
    }

    /// How many in a hundred are given where the most are.
    pub(super) fn fullest_percent(&self) -> u32 {
        let pools = self.pools.iter().filter(|pool| pool.offered);
        let percents = pools.flat_map(|pool| pool.given.iter().zip(&self.room));
        percents.map(|(given, room)| given * 100 / (*room).max(1)).max().unwrap_or(0)
    }

    /// Whether hosts that have none yet may get it.
    pub(super) fn is_offered(&self, pool: u16) -> bool {
        self.pools.get(usize::from(pool)).is_some_and(|pool| pool.offered)
    }

    /// The address of a pool.
    pub(super) fn address(&self, pool: u16) -> u32 {
        self.pools.get(usize::from(pool)).map_or(0, |pool| pool.address)
    }

    /// The pool of an address that hosts have or may have.
    pub(super) fn pool_of(&self, address: u32) -> Option<u16> {
        let after = self.by_address.partition_point(|(other, _)| *other < address);
        let (_, number) = *self.by_address.get(after).filter(|(other, _)| *other == address)?;
        let pool = &self.pools[usize::from(number)];
        (pool.offered || pool.used > 0).then_some(number)
    }

    /// Takes a port: the one that the host has inside, where it is free.
    pub(super) fn take(&mut self, wish: Wish<'_>, now_s: u32) -> Option<u16> {
        self.wake(now_s);
        let port = self.choose(wish).or_else(|| self.longest_resting(wish))?;
        self.claim(Place { pool: wish.pool, space: wish.space, port }).then_some(port)
    }

    /// The same, but none that rests.
    pub(super) fn take_rested(&mut self, wish: Wish<'_>, now_s: u32) -> Option<u16> {
        self.wake(now_s);
        let port = self.choose(wish)?;
        self.claim(Place { pool: wish.pool, space: wish.space, port }).then_some(port)
    }

    /// Takes an even port and the next one: those that the host has inside, where they are free.
    pub(super) fn take_pair(&mut self, wish: Wish<'_>, now_s: u32) -> Option<u16> {
        self.wake(now_s);
        let (first, last) = wish.range;
        let place = |port| Place { pool: wish.pool, space: wish.space, port };
        let mut sought = wish;
        for _ in 0..TRIES {
            let port = self.choose(sought)?;
            let fits = port.is_multiple_of(2) && port < last && !wish.taken.has(port + 1);
            if fits && self.claim(place(port)) {
                if self.claim(place(port + 1)) {
                    return Some(port);
                }
                self.free(place(port));
            }
            // Somewhere else, from where none is free on.
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let span = u32::from(last - first).max(1);
            sought.port = (first + ((self.random >> 32) as u32 % span) as u16) & !1;
        }
        None
    }

    /// Takes this port, if it is free.
    pub(super) fn claim(&mut self, place: Place) -> bool {
        let Some(pool) = self.pools.get_mut(usize::from(place.pool)) else { return false };
        let (word, bit) = bit(place.space, place.port);
        let free = pool.taken[word] & bit == 0;
        if free {
            pool.taken[word] |= bit;
            pool.used += 1;
            pool.given[place.space as usize] += 1;
        }
        free
    }

    fn choose(&mut self, wish: Wish<'_>) -> Option<u16> {
        let (first, last) = wish.range;
        let pool = self.pools.get(usize::from(wish.pool))?;
        let (word, bit) = bit(wish.space, wish.port);
        let is_free = pool.taken[word] & bit == 0 && !wish.taken.has(wish.port);
        if (first..=last).contains(&wish.port) && is_free {
            return Some(wish.port);
        }
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let alike = if wish.port.is_multiple_of(2) { 0x5555_5555_5555_5555 } else { 0xaaaa_aaaa_aaaa_aaaa };
        let from = self.random as usize;
        [alike, u64::MAX].into_iter().find_map(|mask| {
            let (low, high) = (usize::from(first) / 64, usize::from(last) / 64);
            (0..=high - low).find_map(|step| {
                let word = low + (from + step) % (high - low + 1);
                let taken = pool.taken[wish.space as usize * WORDS + word] | wish.taken.among(word as u16);
                let free = !taken & mask & within(word, wish.range);
                // Not always the lowest, or it would be the one that was given back last.
                let turned = free.rotate_right(from as u32 >> 16 & 63);
                let found = turned.trailing_zeros() + (from as u32 >> 16 & 63);
                (free != 0).then(|| (word * 64) as u16 + (found % 64) as u16)
            })
        })
    }

    /// There is no other: the port of this pool that has rested longest.
    fn longest_resting(&mut self, wish: Wish<'_>) -> Option<u16> {
        let fits = |resting: &Resting| {
            let Place { pool, space, port } = resting.place;
            let is_given = (wish.range.0..=wish.range.1).contains(&port) && !wish.taken.has(port);
            pool == wish.pool && space == wish.space && is_given
        };
        let looked_at = self.resting.iter().take(64).position(fits);
        // The last one may have been given back for this.
        let newest = || self.resting.back().filter(|resting| fits(resting)).map(|_| self.resting.len() - 1);
        let at = looked_at.or_else(newest)?;
        let resting = self.resting.remove(at)?;
        self.free(resting.place);
        Some(resting.place.port)
    }

    /// Frees what has rested.
    fn wake(&mut self, now_s: u32) {
        while let Some(resting) = self.resting.pop_front_if(|resting| resting.until_s <= now_s) {
            self.free(resting.place);
        }
    }

    fn free(&mut self, place: Place) {
        if let Some(pool) = self.pools.get_mut(usize::from(place.pool)) {
            let (word, bit) = bit(place.space, place.port);
            pool.taken[word] &= !bit;
            pool.used -= 1;
        }
    }

    /// Gives a port back: it rests.
    pub(super) fn give_back(&mut self, place: Place, now_s: u32) {
        if let Some(pool) = self.pools.get_mut(usize::from(place.pool)) {
            pool.given[place.space as usize] -= 1;
        }
        if self.resting.len() == self.resting.capacity()
            && let Some(oldest) = self.resting.pop_front()
        {
            self.free(oldest.place);
        }
        self.resting.push_back(Resting { until_s: now_s.saturating_add(REST_S), place });
    }

    /// Addresses, with their ports that are taken or rest.
    pub(super) fn used(&self) -> impl Iterator<Item = (u32, u32)> {
        self.pools.iter().filter(|pool| pool.offered || pool.used > 0).map(|pool| (pool.address, pool.used))
    }
}

/// The ports of a word that no host of this worker gets.
fn never(word: usize, (worker, bits, workers): Worker) -> u64 {
    let mine = worker_of_port((word % WORDS * 64) as u16, bits, workers) == worker;
    if mine { reserved(word) } else { u64::MAX }
}

/// The ports of a word that no host gets: those of tunnels, since what comes to them is taken for one of ours.
fn reserved(word: usize) -> u64 {
    let of = |port: u16| bit(Space::Udp, port);
    [vxlan::PORT, geneve::PORT].map(of).into_iter().filter(|(at, _)| *at == word).map(|(_, bit)| bit).sum()
}

/// Where a port's bit is.
const fn bit(space: Space, port: u16) -> (usize, u64) {
    (space as usize * WORDS + port as usize / 64, 1 << (port % 64))
}

/// The ports of a word that lie in a range.
fn within(word: usize, (first, last): (u16, u16)) -> u64 {
    let base = word * 64;
    let from = usize::from(first).saturating_sub(base);
    let to = usize::from(last).saturating_sub(base).min(63);
    (u64::MAX << from.min(63)) & (u64::MAX >> (63 - to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tag::PORT_BITS;
    use std::collections::BTreeSet;

    fn ports(worker: u32, workers: u32) -> Ports {
        let mut ports = Ports::new(2, 1 << 16, 12_345, (worker, PORT_BITS, workers)).unwrap();
        ports.offer(&[7, 8, 9].map(Ipv4Addr::from_bits), (1024, 2047));
        assert_eq!(ports.pool_of(9), None, "no room for the third");
        ports
    }

    fn wish(port: u16) -> Wish<'static> {
        Wish { pool: 0, space: Space::Udp, port, range: (1024, 2047), taken: Taken::default() }
    }

    #[test]
    fn a_port_is_kept_where_it_is_free_and_its_parity_otherwise() {
        let mut ports = ports(0, 1);
        assert_eq!(ports.take(wish(1500), 0), Some(1500));
        let other = ports.take(wish(1500), 0).unwrap();
        assert!(other != 1500 && other.is_multiple_of(2) && (1024..2048).contains(&other));
        let odd = ports.take(wish(40_001), 0).unwrap();
        assert!(!odd.is_multiple_of(2) && (1024..2048).contains(&odd));
        assert_eq!(
            ports.take(Wish { space: Space::Tcp, ..wish(1500) }, 0),
            Some(1500),
            "each space by itself"
        );
        assert_eq!(ports.take(Wish { pool: 1, ..wish(1500) }, 0), Some(1500), "each address by itself");
    }

    #[test]
    fn every_port_is_given_once_and_rests() {
        let mut ports = ports(0, 1);
        let all: BTreeSet<u16> = (0..1024).map(|_| ports.take(wish(1024), 0).unwrap()).collect();
        assert_eq!(all, (1024..2048).collect());
        assert_eq!(ports.take(wish(1024), 0), None);
        let place = |port| Place { pool: 0, space: Space::Udp, port };
        ports.give_back(place(1300), 10);
        ports.give_back(place(1200), 20);
        assert_eq!(ports.take(wish(1200), 30), Some(1300), "there is none that has rested: the longest");
        assert_eq!(ports.take(wish(1200), 20 + REST_S), Some(1200));
        assert_eq!(ports.used().collect::<Vec<_>>(), [(7, 1024), (8, 0)]);
    }

    #[test]
    fn nobody_gets_the_port_of_a_tunnel() {
        let mut ports = ports(0, 1);
        for port in [vxlan::PORT, geneve::PORT] {
            let wish = |space| Wish { space, range: (1024, 32_767), ..wish(port) };
            assert!(ports.take(wish(Space::Udp), 0).is_some_and(|given| given != port));
            assert_eq!(ports.take(wish(Space::Tcp), 0), Some(port));
        }
    }

    #[test]
    fn workers_share_all_ports() {
        let mut given = BTreeSet::new();
        for worker in 0..3 {
            let mut ports = ports(worker, 3);
            while let Some(port) = ports.take(wish(1024), 0) {
                assert_eq!(worker_of_port(port, PORT_BITS, 3), worker);
                assert!(given.insert(port));
            }
        }
        assert_eq!(given.len(), 1024);
    }

    #[test]
    fn an_address_in_use_stays_until_it_no_longer_is() {
        let mut ports = ports(0, 1);
        ports.take(wish(1024), 0).unwrap();
        ports.offer(&[Ipv4Addr::from_bits(9)], (1024, 2047));
        assert_eq!((ports.pool_of(7), ports.pool_of(8), ports.pool_of(9)), (Some(0), None, Some(1)));
        assert!(!ports.is_offered(0) && ports.pair(u64::MAX) == Some(1));
        ports.give_back(Place { pool: 0, space: Space::Udp, port: 1024 }, 0);
        ports.wake(REST_S);
        assert_eq!(ports.pool_of(7), None);
    }
}
