//! Ports by blocks: a host's external ports are of its own blocks. It gets another one where those are full, of which there is a
//! record, and loses one with its last port in it.

use super::{Sessions, Wish};
use crate::msg::Recorded;
use crate::narrow::NONE;
use crate::nat::Nat;
use crate::reason::DropReason;
use crate::table::ports::{Place, Ports, REST_S};

/// How a port is taken, or an even one with the next.
pub(super) type Take = fn(&mut Ports, Wish<'_>, u32) -> Option<u16>;

impl Sessions {
    /// The address for a host that has none, by its hash: with blocks, one of which there is a block to be had.
    pub(super) fn pool_for(&self, hash: u64, nat: &Nat) -> Option<u16> {
        if self.blocks.are_on() {
            self.ports.pair_where(hash, |pool| self.blocks.has_free(pool, nat, false))
        } else {
            self.ports.pair(hash)
        }
    }

    /// A port for a host, or a pair, of its blocks: of those that it has, of another one, or in the place of what rests or gives
    /// way there.
    pub(super) fn port_of_blocks(
        &mut self,
        subscriber: u32,
        wish: Wish<'_>,
        (take, take_any): (Take, Take),
        nat: &Nat,
        now_s: u32,
    ) -> Result<u16, DropReason> {
        if let Some(port) = self.of_own_blocks(subscriber, wish, take, now_s) {
            return Ok(port);
        }
        let refused = match self.grow(subscriber, wish.pool, nat, now_s) {
            Ok(block) => {
                let within = self.within(block, wish);
                if let Some(port) = take(&mut self.ports, within, now_s) {
                    self.record_block(Recorded::Created, block);
                    return Ok(port);
                }
                self.shrink(block, 0);
                DropReason::NatPortsFull
            }
            Err(refused) => refused,
        };
        if let Some(port) = self.of_own_blocks(subscriber, wish, take_any, now_s) {
            return Ok(port);
        }
        let host = self.subscribers.get(subscriber).host;
        let freed = self.free_port(wish.pool, wish.space, now_s, |session| session.host().0 == host);
        let freed = if freed { self.of_own_blocks(subscriber, wish, take_any, now_s) } else { None };
        freed.ok_or(refused)
    }

    fn of_own_blocks(&mut self, subscriber: u32, wish: Wish<'_>, take: Take, now_s: u32) -> Option<u16> {
        let mut block = self.subscribers.get(subscriber).blocks;
        while block != NONE {
            let within = self.within(block, wish);
            if self.blocks.pool(block) == wish.pool
                && let Some(port) = take(&mut self.ports, within, now_s)
            {
                return Some(port);
            }
            block = self.blocks.after(block);
        }
        None
    }

    /// The same wish, of a block.
    fn within<'t>(&self, block: u32, wish: Wish<'t>) -> Wish<'t> {
        Wish { range: self.blocks.range(block), ..wish }
    }

    /// One block more for a host that may have one.
    fn grow(&mut self, subscriber: u32, pool: u16, nat: &Nat, now_s: u32) -> Result<u32, DropReason> {
        let held = self.blocks.of_host(self.subscribers.get(subscriber).blocks).count();
        if held >= usize::from(nat.host_blocks) {
            return Err(DropReason::NatHostLimit);
        }
        if held > 0 && !self.blocks.has_free(pool, nat, true) {
            return Err(DropReason::NatShare);
        }
        let block = self.blocks.free_one(pool, nat, now_s).ok_or(DropReason::NatPortsFull)?;
        self.own(subscriber, block);
        Ok(block)
    }

    fn own(&mut self, subscriber: u32, block: u32) {
        let line = self.subscribers.get_mut(subscriber);
        self.blocks.give(block, line.host, line.blocks);
        line.blocks = block;
    }

    /// A port was its host's when the last process ended; whether its block may be. Of that there is a record, since the last
    /// process may have given it alone, or recorded something else.
    pub(super) fn own_again(&mut self, subscriber: u32, place: Place) -> bool {
        let block = self.blocks.of(place.pool, place.port);
        if let Some(host) = self.blocks.host(block) {
            return host == self.subscribers.get(subscriber).host;
        }
        self.own(subscriber, block);
        self.record_block(Recorded::Created, block);
        true
    }

    /// A host has a port less: with the last one of a block the block is gone.
    pub(super) fn leave_block(&mut self, place: Place, now_s: u32) {
        if let Some(block) = self.blocks.leave(place.pool, place.port) {
            self.record_block(Recorded::Ended, block);
            self.shrink(block, now_s.saturating_add(REST_S));
        }
    }

    fn shrink(&mut self, block: u32, rests_until_s: u32) {
        let host = self.blocks.host(block).and_then(|host| self.subscribers.find(host));
        if let Some(host) = host {
            let line = self.subscribers.get_mut(host);
            line.blocks = self.blocks.take_back(block, line.blocks, rests_until_s);
        }
    }

    fn record_block(&mut self, what: Recorded, block: u32) {
        if let Some(host) = self.blocks.host(block) {
            let external = self.ports.address(self.blocks.pool(block));
            self.records.block(what, host, external, self.blocks.range(block));
        }
    }
}
