//! What is refused for a while: addresses that broke the rules, endpoints that did not answer, names that are filtered.

use super::api::{BlockSnapshot, Endpoint, FilterSnapshot, Nanos, PeerId};
use super::reason::{BlockReason, Failure};
use crate::block::Expiring;
use crate::keyed::Keyed;
use crate::limits::{CetpLimits, S};
use std::net::IpAddr;
use std::sync::Arc;

/// What a filter holds for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct FilterKey {
    pub(super) name: Arc<str>,
    /// Which end of a session the name is.
    pub(super) local: bool,
    /// Only with this peer.
    pub(super) ces_id: Option<Arc<str>>,
}

/// All that is refused.
#[derive(Debug)]
pub(super) struct Refused {
    blocked: Expiring<IpAddr, BlockReason>,
    /// Of each peer its own: what is at an endpoint for the one says nothing of what is there for the other.
    unreachable: Expiring<(PeerId, IpAddr, u16), ()>,
    filters: Expiring<FilterKey, ()>,
    /// Peers that do not agree with us on C2C, or we not with them: they are not asked for every name anew.
    at_odds: Expiring<PeerId, Failure>,
}

/// For how long it is remembered that a peer does not agree: as long as nobody minds who mends it.
const AT_ODDS: Nanos = 10 * S;

impl Refused {
    pub(super) fn new(limits: &CetpLimits, mut key: impl FnMut() -> Keyed) -> Self {
        Self {
            blocked: Expiring::new(limits.blocked as usize, key()),
            unreachable: Expiring::new(limits.unreachable as usize, key()),
            filters: Expiring::new(limits.filters as usize, key()),
            at_odds: Expiring::new(limits.peers as usize, key()),
        }
    }

    pub(super) fn resize(&mut self, limits: &CetpLimits) {
        self.blocked.resize(limits.blocked as usize);
        self.unreachable.resize(limits.unreachable as usize);
        self.filters.resize(limits.filters as usize);
        // Other settings, perhaps other policies.
        self.at_odds.resize(0);
        self.at_odds.resize(limits.peers as usize);
    }

    // --- peers

    /// Why C2C with a peer was not agreed on a moment ago.
    pub(super) fn is_at_odds(&self, peer: PeerId, now: Nanos) -> Option<Failure> {
        self.at_odds.find(&peer, now).copied()
    }

    pub(super) fn be_at_odds(&mut self, peer: PeerId, why: Failure, now: Nanos) {
        self.at_odds.insert(peer, why, now + AT_ODDS, now);
    }

    /// It has agreed after all.
    pub(super) fn agree(&mut self, peer: PeerId) {
        self.at_odds.remove(&peer);
    }

    // --- addresses

    pub(super) fn is_blocked(&self, addr: IpAddr, now: Nanos) -> bool {
        self.blocked.contains(&addr, now)
    }

    pub(super) fn block(&mut self, addr: IpAddr, why: BlockReason, until: Nanos, now: Nanos) {
        self.blocked.insert(addr, why, until, now);
    }

    /// Lets an address in again. False if it was not blocked.
    pub(super) fn unblock(&mut self, addr: IpAddr) -> bool {
        self.blocked.remove(&addr).is_some()
    }

    pub(super) fn blocks(&self, now: Nanos) -> Vec<BlockSnapshot> {
        let snapshot = |(addr, why, until): (&IpAddr, &BlockReason, Nanos)| BlockSnapshot {
            addr: *addr,
            why: *why,
            left_s: until.saturating_sub(now).div_ceil(S),
        };
        let mut blocks: Vec<_> = self.blocked.iter(now).map(snapshot).collect();
        blocks.sort_by_key(|block| block.addr);
        blocks
    }

    // --- endpoints

    pub(super) fn is_unreachable(&self, peer: PeerId, endpoint: &Endpoint, now: Nanos) -> bool {
        self.unreachable.contains(&(peer, endpoint.addr, endpoint.port), now)
    }

    pub(super) fn leave_alone(&mut self, peer: PeerId, endpoint: &Endpoint, until: Nanos, now: Nanos) {
        if until > now {
            self.unreachable.insert((peer, endpoint.addr, endpoint.port), (), until, now);
        }
    }

    // --- names

    /// Whether a filter stops new sessions of these two.
    pub(super) fn is_filtered(&self, local: &str, remote: &str, ces_id: &Arc<str>, now: Nanos) -> bool {
        if self.filters.is_empty() {
            return false;
        }
        let ends = [(local, true), (remote, false)];
        ends.into_iter().any(|(name, local)| {
            let mut key = FilterKey { name: name.into(), local, ces_id: None };
            let everywhere = self.filters.contains(&key, now);
            key.ces_id = Some(ces_id.clone());
            everywhere || self.filters.contains(&key, now)
        })
    }

    /// Puts a filter up, or prolongs it; false if there is no room.
    pub(super) fn filter(&mut self, key: FilterKey, until: Nanos, now: Nanos) -> bool {
        let has_room = self.filters.contains(&key, now) || self.filters.has_room(now);
        if has_room {
            self.filters.insert(key, (), until, now);
        }
        has_room
    }

    pub(super) fn filters(&self, now: Nanos) -> Vec<FilterSnapshot> {
        let snapshot = |(key, (), until): (&FilterKey, &(), Nanos)| FilterSnapshot {
            name: key.name.clone(),
            local: key.local,
            ces_id: key.ces_id.clone(),
            left_s: until.saturating_sub(now).div_ceil(S),
        };
        self.filters.iter(now).map(snapshot).collect()
    }
}
