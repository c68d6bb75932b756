//! Port blocks: external ports next to one another, of all protocols, that one host has alone, so that one record says whose
//! all of them were (RFC 8158 §5.6.8).
//!
//! A host has a block from its first port in it to its last one, and then it rests before somebody else gets it (RFC 6888 §3,
//! REQ-8), unless there is no other: then the one that has rested longest is taken.

use super::ports::Worker;
use crate::narrow::NONE;
use crate::nat::Nat;
use crate::tag::worker_of_port;

/// Ports of an address.
const PORTS: u32 = 1 << 16;

/// A block.
#[derive(Clone, Copy, Debug)]
struct Block {
    /// Whose it is; 0: nobody's.
    host: u32,
    /// Another one of this host.
    next: u32,
    /// Ports of it that the host has.
    used: u16,
    /// Until when it rests.
    rests_until_s: u32,
}

impl Block {
    const FREE: Self = Self { host: 0, next: NONE, used: 0, rests_until_s: 0 };
}

/// Those of all addresses.
#[derive(Debug)]
pub(super) struct Blocks {
    /// Bits of the number of ports of each.
    bits: u32,
    blocks: Vec<Block>,
    /// How many of them hosts have, by pool.
    given: Vec<u32>,
    /// How many of a pool they may have.
    room: u32,
    worker: Worker,
    random: u32,
}

impl Blocks {
    /// Those of so many addresses; none where ports are given one at a time.
    pub(super) fn new(nat: &Nat, addresses: u16, worker: Worker) -> Self {
        let bits = nat.block_ports.checked_ilog2().unwrap_or(0);
        let count = if bits == 0 { 0 } else { u32::from(addresses) * (PORTS >> bits) };
        let given = vec![0; addresses.into()];
        Self { bits, blocks: vec![Block::FREE; count as usize], given, room: 0, worker, random: 0x9e37_79b9 }
    }

    /// From now on hosts get those with ports from the first to the last.
    pub(super) fn offer(&mut self, range: (u16, u16)) {
        self.room = if self.are_on() { self.givable(0, range).count() as u32 } else { 0 };
    }

    /// Whether ports are given by blocks.
    pub(super) fn are_on(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// The block of a port.
    pub(super) const fn of(&self, pool: u16, port: u16) -> u32 {
        (pool as u32 * PORTS + port as u32) >> self.bits
    }

    /// The pool of a block.
    pub(super) const fn pool(&self, block: u32) -> u16 {
        ((block << self.bits) / PORTS) as u16
    }

    /// Its first and last port.
    pub(super) const fn range(&self, block: u32) -> (u16, u16) {
        let first = (block << self.bits) as u16;
        (first, first + ((1u32 << self.bits) - 1) as u16)
    }

    /// Whose it is.
    pub(super) fn host(&self, block: u32) -> Option<u32> {
        self.blocks.get(block as usize).map(|block| block.host).filter(|host| *host != 0)
    }

    /// The blocks of a host, of which this is the first.
    pub(super) fn of_host(&self, first: u32) -> impl Iterator<Item = u32> {
        let at = |block: u32| (block != NONE).then_some(block);
        std::iter::successors(at(first), move |block| at(self.after(*block)))
    }

    /// The one after this of the same host, or `NONE`.
    pub(super) fn after(&self, block: u32) -> u32 {
        self.blocks[block as usize].next
    }

    /// How many of them hosts have.
    pub(super) fn given(&self) -> u32 {
        self.given.iter().sum()
    }

    /// How many in a hundred hosts have where the most are.
    pub(super) fn fullest_percent(&self) -> u32 {
        self.given.iter().max().map_or(0, |given| given * 100 / self.room.max(1))
    }

    /// Those of a pool that hosts of this worker may get, with ports from the first to the last.
    fn givable(&self, pool: u16, (first, last): (u16, u16)) -> impl Iterator<Item = u32> {
        let (worker, bits, workers) = self.worker;
        let all = self.of(pool, 0)..=self.of(pool, u16::MAX);
        all.filter(move |block| {
            let (from, to) = self.range(*block);
            first <= from && to <= last && worker_of_port(from, bits, workers) == worker
        })
    }

    /// Whether nobody has one of these, and it may be given: to a host that has none yet, or while more than the reserve is left
    /// for those.
    pub(super) fn has_free(&self, pool: u16, nat: &Nat, has_some: bool) -> bool {
        let reserve = if has_some { self.room * u32::from(nat.reserve_percent) / 100 } else { 0 };
        self.room.saturating_sub(self.given[usize::from(pool)]) > reserve
    }

    /// One that nobody has: any of those that have rested, or the one that has rested longest.
    pub(super) fn free_one(&mut self, pool: u16, nat: &Nat, now_s: u32) -> Option<u32> {
        // Numerical Recipes' generator: which one it is need not be hard to guess, the port in it is.
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let turn = self.random;
        let free = self.givable(pool, nat.ports).filter(|block| self.host(*block).is_none());
        free.min_by_key(|block| {
            let until_s = self.blocks[*block as usize].rests_until_s;
            (if until_s <= now_s { 0 } else { until_s }, (block ^ turn).wrapping_mul(0x9e37_79b1))
        })
    }

    /// A host has it from now on, beside those of which this is the first. It is the first then.
    pub(super) fn give(&mut self, block: u32, host: u32, first: u32) {
        self.blocks[block as usize] = Block { host, next: first, ..Block::FREE };
        let pool = usize::from(self.pool(block));
        self.given[pool] += 1;
    }

    /// One port more of it is the host's.
    pub(super) fn enter(&mut self, pool: u16, port: u16) {
        let block = self.of(pool, port);
        if let Some(block) = self.blocks.get_mut(block as usize) {
            block.used += 1;
        }
    }

    /// One port less; the block if it was the last one.
    pub(super) fn leave(&mut self, pool: u16, port: u16) -> Option<u32> {
        let number = self.of(pool, port);
        let block = self.blocks.get_mut(number as usize)?;
        block.used -= 1;
        (block.used == 0).then_some(number)
    }

    /// Takes it from its host, of whose blocks this is the first; returns which is then.
    pub(super) fn take_back(&mut self, block: u32, first: u32, rests_until_s: u32) -> u32 {
        let next = self.blocks[block as usize].next;
        let before = self.of_host(first).find(|other| self.blocks[*other as usize].next == block);
        self.blocks[block as usize] = Block { rests_until_s, ..Block::FREE };
        let pool = usize::from(self.pool(block));
        self.given[pool] -= 1;
        match before {
            Some(before) => {
                self.blocks[before as usize].next = next;
                first
            }
            None => next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn nat() -> Nat {
        Nat { block_ports: 256, ports: (1024, 4095), ..Nat::default() }
    }

    fn blocks(addresses: u16, worker: u32, workers: u32) -> Blocks {
        let mut blocks = Blocks::new(&nat(), addresses, (worker, 8, workers));
        blocks.offer(nat().ports);
        blocks
    }

    #[test]
    fn blocks_lie_within_the_range_and_workers_share_them() {
        let mut given = BTreeSet::new();
        for worker in 0..3 {
            let mut blocks = blocks(2, worker, 3);
            while let Some(block) = blocks.free_one(1, &nat(), 0) {
                blocks.give(block, 7, NONE);
                let (first, last) = blocks.range(block);
                assert_eq!((blocks.pool(block), last - first), (1, 255));
                assert!(given.insert(first) && first >= 1024 && last <= 4095);
            }
        }
        assert_eq!(given.len(), 12);
    }

    #[test]
    fn the_last_ones_are_for_hosts_that_have_none() {
        let mut blocks = blocks(1, 0, 1);
        for _ in 0..11 {
            assert!(blocks.has_free(0, &nat(), true));
            let block = blocks.free_one(0, &nat(), 0).unwrap();
            blocks.give(block, 7, NONE);
        }
        assert_eq!((blocks.has_free(0, &nat(), true), blocks.has_free(0, &nat(), false)), (false, true));
    }

    #[test]
    fn a_block_rests_and_the_chain_stays_whole() {
        let mut blocks = blocks(1, 0, 1);
        let mut first = NONE;
        let mine: Vec<u32> = (0..12)
            .map(|_| {
                let block = blocks.free_one(0, &nat(), 0).unwrap();
                blocks.give(block, 7, first);
                first = block;
                block
            })
            .collect();
        assert_eq!(blocks.of_host(first).collect::<BTreeSet<_>>(), mine.iter().copied().collect());
        for (at, block) in [mine[3], mine[11], mine[0]].into_iter().zip(0..) {
            first = blocks.take_back(at, first, 100 + block);
        }
        assert_eq!(blocks.of_host(first).count(), 9);
        assert_eq!(
            blocks.free_one(0, &nat(), 50),
            Some(mine[3]),
            "there is none that has rested: the longest"
        );
        assert_eq!(blocks.given(), 9);
    }
}
