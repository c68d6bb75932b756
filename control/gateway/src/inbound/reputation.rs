//! Reputation: whether who asks, or for whom he asks, comes for what was set aside.
//!
//! It is a number from 0 to 1, of a network as labels and cookies are good for one. In each period of 20 s in which reservations
//! ended it moves half of the way to the part of them that were used; in one without, an eighth of the way back to 0.45, which
//! is where everybody begins. The busier the pool is, the better a reputation has to be ([`Tier`]); so whoever only asks ends at
//! 0 and has the pool while it is of no use to others.
//!
//! What is remembered is bounded. Where there is no room for one more, of eight at random the one gives way whose reputation
//! says least, so that a flood of new names does not wash out who is known.

use crate::Nanos;
use crate::settings::{Tier, Wanted};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustc_hash::FxSeededState;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where everybody begins, and to where all age.
pub(super) const BEGIN: f32 = 0.45;
/// How long a period is.
const PERIOD_NS: Nanos = 20 * crate::SECOND;
/// What is left of the distance to [`BEGIN`] after a period in which nothing happened.
const KEPT: f32 = 0.875;
/// Of how many it is remembered: some 100 octets each.
const MOST: usize = 16_384;
/// Who is looked at for one who gives way.
const SAMPLE: usize = 8;

/// What is known of one.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    value: f32,
    /// The period in which it was looked at last.
    period: u64,
    /// Reservations of that period that ended.
    used: u32,
    expired: u32,
    /// Pending ones.
    pending: u32,
}

/// A reputation as a list shows it.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct ReputationRow {
    /// The network: 24 bits of IPv4, 48 of IPv6.
    pub network: IpAddr,
    /// From 0 to 1.
    pub reputation: f32,
    /// Reservations of the running period that were used.
    pub used: u32,
    /// And those for which nobody came.
    pub expired: u32,
    /// Pending ones.
    pub pending: u32,
}

/// The network of an address: 24 bits of IPv4, 48 of IPv6.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() & !0xff).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !0 << 80).into(),
    }
}

/// What is known of all.
pub(super) struct Reputations {
    known: HashMap<IpAddr, u32, FxSeededState>,
    /// Where each stands, with whom it is: so that some can be looked at, at random.
    all: Vec<(IpAddr, Known)>,
    rng: StdRng,
    /// How many have something pending.
    holders: usize,
}

impl Known {
    /// Brings it to the running period.
    fn age(&mut self, now: Nanos) {
        let period = now / PERIOD_NS;
        let passed = period.saturating_sub(self.period);
        if passed == 0 {
            return;
        }
        let ended = self.used + self.expired;
        let idle = if ended > 0 {
            self.value = f32::midpoint(self.value, self.used as f32 / ended as f32);
            (self.used, self.expired) = (0, 0);
            passed - 1
        } else {
            passed
        };
        // After 200 periods, more than an hour, nothing is left of it.
        self.value = BEGIN + (self.value - BEGIN) * KEPT.powi(idle.min(200) as i32);
        self.period = period;
    }

    /// What it would be if the period ended now: a burst is not forgiven until then.
    fn so_far(&self) -> f32 {
        let ended = self.used + self.expired;
        if ended == 0 { self.value } else { f32::midpoint(self.value, self.used as f32 / ended as f32) }
    }
}

impl Reputations {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            known: HashMap::with_hasher(FxSeededState::with_seed(seed as usize)),
            all: Vec::new(),
            rng: StdRng::seed_from_u64(seed),
            holders: 0,
        }
    }

    fn entry(&mut self, who: IpAddr, now: Nanos) -> &mut Known {
        let who = network(who);
        let at = match self.known.get(&who) {
            Some(at) => *at as usize,
            None => self.insert(who, now),
        };
        let known = &mut self.all[at].1;
        known.age(now);
        known
    }

    fn insert(&mut self, who: IpAddr, now: Nanos) -> usize {
        let fresh = Known { value: BEGIN, period: now / PERIOD_NS, ..Known::default() };
        let at = if self.all.len() < MOST {
            self.all.push((who, fresh));
            self.all.len() - 1
        } else {
            let sample = (0..SAMPLE).map(|_| self.rng.random_range(0..self.all.len()));
            let says = |at: &usize| {
                let known = &self.all[*at].1;
                f32::from(u8::from(known.pending > 0)) + (known.so_far() - BEGIN).abs()
            };
            let sample: Vec<_> = sample.collect();
            let at = sample.into_iter().min_by(|a, b| says(a).total_cmp(&says(b))).unwrap_or(0);
            self.holders -= usize::from(self.all[at].1.pending > 0);
            let before = std::mem::replace(&mut self.all[at], (who, fresh));
            self.known.remove(&before.0);
            at
        };
        self.known.insert(who, at as u32);
        at
    }

    /// What is known of who asks from there.
    pub(super) fn of(&mut self, who: IpAddr, now: Nanos) -> f32 {
        let who = network(who);
        match self.known.get(&who) {
            Some(at) => {
                let known = &mut self.all[*at as usize].1;
                known.age(now);
                known.so_far()
            }
            None => BEGIN,
        }
    }

    /// Something is set aside for who asks from there.
    pub(super) fn begin(&mut self, who: IpAddr, now: Nanos) {
        let known = self.entry(who, now);
        known.pending += 1;
        let is_first = known.pending == 1;
        self.holders += usize::from(is_first);
    }

    /// That is over: somebody came, or nobody; or neither can be held against anyone (`None`).
    pub(super) fn end(&mut self, who: IpAddr, was_used: Option<bool>, now: Nanos) {
        let known = self.entry(who, now);
        let was_last = known.pending == 1;
        known.pending = known.pending.saturating_sub(1);
        match was_used {
            Some(true) => known.used += 1,
            Some(false) => known.expired += 1,
            None => {}
        }
        self.holders -= usize::from(was_last);
    }

    /// Of a client who came, or did not.
    pub(super) fn note(&mut self, who: IpAddr, was_used: bool, now: Nanos) {
        let known = self.entry(who, now);
        if was_used { known.used += 1 } else { known.expired += 1 }
    }

    /// Whether who asks from there holds less than an equal share of so many addresses: of all who hold some, and of one who may
    /// come yet.
    pub(super) fn holds_less(&self, who: IpAddr, addresses: usize) -> bool {
        let pending = self.known.get(&network(who)).map_or(0, |at| self.all[*at as usize].1.pending);
        let others = self.holders + usize::from(pending == 0);
        (pending as usize + 1) * (others + 1) <= addresses.max(others + 1)
    }

    /// How many are remembered.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Those that say most, so many at most: the worst first.
    pub(super) fn rows(&self, most: usize, now: Nanos) -> Vec<ReputationRow> {
        let mut rows: Vec<_> = self.all.iter().map(|(network, known)| (*network, *known)).collect();
        for (_, known) in &mut rows {
            known.age(now);
        }
        rows.sort_by(|(_, a), (_, b)| (b.so_far() - BEGIN).abs().total_cmp(&(a.so_far() - BEGIN).abs()));
        rows.truncate(most);
        rows.sort_by(|(_, a), (_, b)| a.so_far().total_cmp(&b.so_far()));
        let row = |(network, known): (IpAddr, Known)| ReputationRow {
            network,
            reputation: known.so_far(),
            used: known.used,
            expired: known.expired,
            pending: known.pending,
        };
        rows.into_iter().map(row).collect()
    }
}

/// Whether a reputation will do for what is wanted, where so many of a hundred addresses are taken.
pub(super) fn suffices(tiers: &[Tier], load_percent: u32, wanted: Wanted, reputation: f32) -> bool {
    let tier = tiers.iter().rev().find(|tier| tier.load <= load_percent);
    tier.is_none_or(|tier| reputation >= tier.least(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));
    const SAME: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 200));

    #[test]
    fn who_does_not_come_goes_down_and_is_forgiven_with_time() {
        let mut all = Reputations::new(1);
        let mut now = PERIOD_NS;
        assert!((all.of(A, now) - BEGIN).abs() < 1e-6);
        let mut before = BEGIN;
        for _ in 0..5 {
            for _ in 0..10 {
                all.begin(A, now);
                all.end(SAME, Some(false), now);
            }
            assert!(all.of(A, now) < before, "at once, not after the period");
            now += PERIOD_NS;
            let value = all.of(SAME, now);
            assert!((value - before / 2.0).abs() < 1e-6);
            before = value;
        }
        now += 20 * PERIOD_NS;
        assert!((0.40..BEGIN).contains(&all.of(A, now)));
        for _ in 0..3 {
            all.begin(A, now);
            all.end(A, Some(true), now);
            now += PERIOD_NS;
        }
        assert!(all.of(A, now) > 0.9);
        now += 1_000_000 * PERIOD_NS;
        assert!((all.of(A, now) - BEGIN).abs() < 1e-6);
    }

    #[test]
    fn a_flood_of_new_ones_washes_nobody_out_who_is_known() {
        let mut all = Reputations::new(3);
        let known = |n: u32| IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + (n << 8)));
        for n in 0..100 {
            for _ in 0..4 {
                all.note(known(n), n % 2 == 0, PERIOD_NS);
            }
        }
        for n in 0..200_000u32 {
            all.begin(Ipv4Addr::from_bits(0x6400_0000 + (n << 8)).into(), PERIOD_NS);
            all.end(Ipv4Addr::from_bits(0x6400_0000 + (n << 8)).into(), None, PERIOD_NS);
        }
        assert_eq!((all.len(), all.known.len(), all.holders), (MOST, MOST, 0));
        let stays = (0..100).filter(|n| (all.of(known(*n), PERIOD_NS) - BEGIN).abs() > 0.2).count();
        assert_eq!(stays, 100);
    }

    #[test]
    fn the_busier_the_pool_the_better_a_reputation_must_be() {
        let tiers = crate::settings::default_tiers();
        for (load, wanted, reputation, will_do) in [
            (0, Wanted::Full, 0.0, true),
            (32, Wanted::Full, 0.0, true),
            (33, Wanted::Full, 0.1, false),
            (33, Wanted::Shared, 0.0, true),
            (66, Wanted::Full, BEGIN, true),
            (66, Wanted::Service, 0.2, false),
            (99, Wanted::Full, BEGIN, false),
            (99, Wanted::Full, 0.9, true),
            (100, Wanted::Shared, 0.2, false),
        ] {
            assert_eq!(suffices(&tiers, load, wanted, reputation), will_do, "{load} {wanted:?} {reputation}");
        }
    }

    proptest! {
        /// However many hold however much, who holds nothing finds his share, and all shares together are no more than there is.
        #[test]
        fn shares_are_fair_and_leave_room_for_one_more(
            addresses in 2usize..300, asks in proptest::collection::vec(0u32..40, 0..600),
        ) {
            let mut all = Reputations::new(5);
            let who = |n: u32| IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + (n << 8)));
            let mut taken = 0;
            for n in asks {
                if taken < addresses && all.holds_less(who(n), addresses) {
                    all.begin(who(n), 1);
                    taken += 1;
                }
            }
            prop_assert!(taken <= addresses);
            let holders = all.holders;
            if holders + 1 < addresses {
                prop_assert!(all.holds_less(who(99), addresses), "{} hold {} of {}", holders, taken, addresses);
            }
        }
    }
}
