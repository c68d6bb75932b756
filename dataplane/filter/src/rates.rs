//! How many sessions a second a rule opens: of all together, and of each source.
//!
//! A rule's own bucket is one for all workers. The buckets of sources stand in a table for each worker, which alone writes
//! it: a host inside is one worker's, a source outside may have its rate at each. A bucket that is full again says nothing,
//! so its place is free; where none is free, the fullest gives way. However many sources there are, the table is as large.

use crate::rule::OpeningRates;
use ces_meter::{Nanos, Rate, SharedLevel};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Places that a source may have.
const WAYS: usize = 4;
/// Sets of such places for each worker: 16,384 buckets, 256 KiB.
const SETS: usize = 4096;

/// A source's bucket at a rule.
#[derive(Debug, Default)]
struct Place {
    /// The limit's number and the source.
    key: AtomicU64,
    level: SharedLevel,
}

/// What a rule with a rate lets.
#[derive(Debug)]
struct Limit {
    all: Rate,
    level: SharedLevel,
    each: Option<Rate>,
}

/// The rates of all rules, and how they stand.
#[derive(Debug)]
pub(crate) struct RuleRates {
    limits: Vec<Limit>,
    /// By worker.
    sources: Vec<Vec<Place>>,
}

/// Rates in sessions a second; a second's worth may come at once.
fn rate(sessions: Option<u32>) -> Option<Rate> {
    sessions.map(|sessions| Rate::per_second(sessions).whole())
}

impl RuleRates {
    /// These, by number, for so many workers.
    pub(crate) fn new(limits: &[OpeningRates], workers: usize) -> Self {
        let table = || (0..SETS * WAYS).map(|_| Place::default()).collect();
        let by_source = limits.iter().any(|limits| limits.each.is_some());
        let limit = |limits: &OpeningRates| Limit {
            all: rate(limits.all).unwrap_or(Rate::UNLIMITED),
            level: SharedLevel::default(),
            each: rate(limits.each),
        };
        Self {
            limits: limits.iter().map(limit).collect(),
            sources: (0..if by_source { workers } else { 0 }).map(|_| table()).collect(),
        }
    }

    /// Whether one more session may be opened by the limit of this number, by a source at a worker; then it is counted.
    pub(crate) fn take(&self, number: u32, worker: usize, source: u32, now: Nanos) -> bool {
        let Some(limit) = self.limits.get(number as usize) else { return true };
        if let (Some(rate), Some(places)) = (limit.each, self.sources.get(worker))
            && !of_source(places, number, source, now).take(rate, now)
        {
            return false;
        }
        limit.level.take(limit.all, now)
    }
}

/// The bucket of a source, full if it was not there.
fn of_source(places: &[Place], number: u32, source: u32, now: Nanos) -> &SharedLevel {
    let key = u64::from(number) << 32 | u64::from(source);
    let set = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as usize * WAYS;
    let set = &places[set..set + WAYS];
    let is_known = |place: &&Place| place.key.load(Relaxed) == key && !place.level.is_full(now);
    let fullest = || set.iter().min_by_key(|place| place.level.full_at());
    let place = set.iter().find(is_known).or_else(fullest).unwrap_or(&set[0]);
    if place.key.swap(key, Relaxed) != key {
        place.level.refill();
    }
    &place.level
}

#[cfg(test)]
mod tests {
    use super::*;
    use ces_meter::SECOND;

    #[test]
    fn a_rule_and_each_source_have_their_rates() {
        let rates = RuleRates::new(&[OpeningRates { all: Some(10), each: Some(4) }], 2);
        let taken =
            |source: u32, worker: usize, now| (0..20).filter(|_| rates.take(0, worker, source, now)).count();
        assert_eq!([taken(1, 0, 0), taken(2, 0, 0), taken(3, 1, 0)], [4, 4, 2]);
        assert_eq!([taken(1, 0, SECOND), taken(1, 0, SECOND)], [4, 0]);
        assert!(rates.take(7, 0, 1, 0), "a rule without");
    }

    #[test]
    fn sources_take_no_more_room_however_many_there_are() {
        let rates = RuleRates::new(&[OpeningRates { all: None, each: Some(1) }], 1);
        assert!(rates.take(0, 0, 7, 0));
        let strangers = (1000..200_000u32).filter(|&source| rates.take(0, 0, source, 1)).count();
        assert_eq!(strangers, 199_000, "each has its first session");
        assert_eq!(rates.sources[0].len(), SETS * WAYS);
        assert!((1000..1100u32).all(|source| rates.take(0, 0, source, 2 * SECOND)), "and its next, later");
    }
}
