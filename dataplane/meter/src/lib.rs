//! Token buckets, for whatever has a rate: packets, queries, negotiations, log lines.
//!
//! A bucket is kept as a time: when it will be full again if nothing more is taken. Taking tokens moves that on by what they
//! cost, and there are too few if it would come to lie further ahead than a whole bucket costs (the virtual scheduling of
//! ITU-T I.371 annex A). So nothing has to be filled, nothing is divided, and a bucket that is asked often loses no part of
//! a token.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Nanoseconds since an arbitrary start.
pub type Nanos = u64;

/// A second.
pub const SECOND: Nanos = 1_000_000_000;

/// Whole seconds.
#[inline(always)]
pub const fn seconds(now: Nanos) -> u32 {
    (now / SECOND) as u32
}

/// Bits of [`Fine`] time behind the point: at 1 Tbit/s, where a byte costs 2,097 units, a rate is right to 0.05 %; at 1 bit/s
/// a bucket of two packets still costs less than 2⁶⁴.
const FINE_BITS: u32 = 18;

/// A time in 2⁻¹⁸ ns. 128 bits, because 64 would last for 19 hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fine(u128);

impl Fine {
    /// This time.
    #[inline(always)]
    pub const fn of(now: Nanos) -> Self {
        Self((now as u128) << FINE_BITS)
    }
}

/// How fast a bucket fills and how much it holds, in what that costs of [`Fine`] time.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// A token.
    cost: u64,
    /// A whole bucket.
    depth: u64,
}

impl Rate {
    /// Everything passes.
    pub const UNLIMITED: Self = Self { cost: 0, depth: u64::MAX };

    /// So many tokens in so long; `depth` of them gather. Of 0 tokens nothing ever passes.
    pub const fn new(tokens: u64, time: Nanos, depth: u64) -> Self {
        if tokens == 0 {
            return Self { cost: u64::MAX, depth: 0 };
        }
        let cost = ((time as u128) << FINE_BITS).div_ceil(tokens as u128);
        let depth = cost * depth as u128;
        let most = u64::MAX as u128;
        Self {
            cost: if cost < most { cost as u64 } else { u64::MAX },
            depth: if depth < most { depth as u64 } else { u64::MAX },
        }
    }

    /// So many tokens a second, and as many at once; 0 is no limit, as settings mean it.
    pub const fn per_second(tokens: u32) -> Self {
        if tokens == 0 { Self::UNLIMITED } else { Self::new(tokens as u64, SECOND, tokens as u64) }
    }

    /// The same where a token costs whole nanoseconds, for a [`SharedLevel`]: slower by less than 0.1 % up to a million a second.
    pub const fn whole(self) -> Self {
        if self.cost == 0 || self.cost > u64::MAX - (1 << FINE_BITS) {
            return self;
        }
        let cost = self.cost.next_multiple_of(1 << FINE_BITS);
        Self { cost, depth: (self.depth / self.cost).saturating_mul(cost) }
    }

    /// Takes tokens: how the bucket stands then, or `None` if there are not enough.
    #[inline(always)]
    pub fn take(self, level: Level, tokens: u64, now: Fine) -> Option<Level> {
        // Never more than the depth, which has 64 bits.
        let ahead = level.0.saturating_sub(now.0) as u64;
        let ahead = tokens.checked_mul(self.cost)?.checked_add(ahead)?;
        (ahead <= self.depth).then(|| Level(now.0 + u128::from(ahead)))
    }

    /// How the bucket stands when it has got tokens back that were taken and not needed.
    pub fn give_back(self, level: Level, tokens: u64) -> Level {
        Level(level.0.saturating_sub(u128::from(tokens) * u128::from(self.cost)))
    }
}

/// How a bucket stands: when it will be full. The default is a full one; the less there is in it, the greater the level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(u128);

impl Level {
    /// Takes a token of a bucket of this rate; `false`, taking none, if there is none.
    #[inline]
    pub fn take(&mut self, rate: Rate, now: Nanos) -> bool {
        let then = rate.take(*self, 1, Fine::of(now));
        *self = then.unwrap_or(*self);
        then.is_some()
    }
}

/// A level from which several threads take, of a bucket whose tokens cost [whole](Rate::whole) nanoseconds.
#[derive(Debug, Default)]
pub struct SharedLevel(AtomicU64);

impl SharedLevel {
    /// Takes a token of a bucket of this rate; `false`, taking none, if there is none.
    pub fn take(&self, rate: Rate, now: Nanos) -> bool {
        let then = |at: u64| {
            let level = rate.take(Level(Fine::of(at).0), 1, Fine::of(now))?;
            Some((level.0 >> FINE_BITS) as u64)
        };
        self.0.fetch_update(Relaxed, Relaxed, then).is_ok()
    }

    /// When it will be full.
    pub fn full_at(&self) -> Nanos {
        self.0.load(Relaxed)
    }

    /// Whether nothing is missing in it.
    pub fn is_full(&self, now: Nanos) -> bool {
        self.full_at() <= now
    }

    /// Fills it.
    pub fn refill(&self) {
        self.0.store(0, Relaxed);
    }
}

/// A level in 12 bytes, where there is no room for 16: 2⁷⁸ ns are more than any clock will say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, packed(4))]
pub struct PackedLevel {
    low: u64,
    high: u32,
}

impl From<Level> for PackedLevel {
    #[inline(always)]
    fn from(level: Level) -> Self {
        Self { low: level.0 as u64, high: (level.0 >> 64) as u32 }
    }
}

impl From<PackedLevel> for Level {
    #[inline(always)]
    fn from(kept: PackedLevel) -> Self {
        Self(u128::from(kept.high) << 64 | u128::from(kept.low))
    }
}

/// A token bucket. A token is a packet or a byte, as its user says.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    rate: Rate,
    level: Level,
}

impl Bucket {
    /// A full bucket of so many tokens a second.
    pub const fn new(rate: u64, depth: u64) -> Self {
        Self { rate: Rate::new(rate, SECOND, depth), level: Level(0) }
    }

    /// Takes tokens; `false`, taking none, if there are not enough.
    #[inline]
    pub fn take(&mut self, tokens: u64, now: Nanos) -> bool {
        let level = self.rate.take(self.level, tokens, Fine::of(now));
        self.level = level.unwrap_or(self.level);
        level.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_more_than_depth_and_rate(
            rate in 1u64..10_000_000,
            steps in proptest::collection::vec(1u64..50_000_000, 1..200),
        ) {
            let mut bucket = Bucket::new(rate, 10);
            let (mut now, mut taken) = (0, 0u64);
            for step in steps {
                now += step;
                while bucket.take(1, now) {
                    taken += 1;
                }
            }
            let most = 10 + (u128::from(now) * u128::from(rate) / u128::from(SECOND)) as u64;
            prop_assert!(taken <= most, "{taken} of {most}");
        }

        /// As a bucket that is filled by exact fractions, for any rate and packets of any size.
        #[test]
        fn as_a_bucket_that_is_filled(
            kbps in 1u64..400_000_000, steps in proptest::collection::vec((0u64..100_000_000, 20u64..65_536), 1..200),
        ) {
            let (bps, depth) = (kbps * 1000, (kbps * 1000 / 80).max(3000));
            let rate = Rate::new(bps, 8 * SECOND, depth);
            let (mut level, mut now) = (Level::default(), 0u64);
            // Tokens in parts of 8 · 10⁹.
            let (part, mut tokens, mut filled) = (8 * u128::from(SECOND), 8 * u128::from(SECOND) * u128::from(depth), 0);
            for (step, bytes) in steps {
                now += step;
                tokens += u128::from(now - filled) * u128::from(bps);
                (tokens, filled) = (tokens.min(part * u128::from(depth)), now);
                let took = rate.take(level, bytes, Fine::of(now));
                let wanted = part * u128::from(bytes);
                // A token's cost is rounded up by less than 1 in 5,000: so near to the limit either is right.
                let near = tokens.abs_diff(wanted) <= part * u128::from(depth) / 500;
                prop_assert!(near || took.is_some() == (tokens >= wanted), "{tokens} of {wanted}");
                if let Some(then) = took {
                    level = then;
                    tokens = tokens.saturating_sub(wanted);
                }
            }
        }
    }

    #[test]
    fn a_level_is_kept_whole() {
        let rate = Rate::new(1, SECOND, 3);
        for now in [0, 7, SECOND, 77 * SECOND, u64::MAX] {
            let level = rate.take(Level::default(), 2, Fine::of(now)).unwrap();
            assert_eq!(Level::from(PackedLevel::from(level)), level);
        }
        assert_eq!(size_of::<PackedLevel>(), 12);
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let (rate, now) = (Rate::new(1000, SECOND, 10), Fine::of(77 * SECOND));
        let empty = rate.take(Level::default(), 10, now).unwrap();
        assert_eq!(rate.take(empty, 1, now), None);
        let some = rate.give_back(empty, 4);
        assert_eq!(rate.take(some, 5, now), None);
        assert_eq!(rate.take(some, 4, now), Some(empty));
        assert_eq!(rate.take(rate.give_back(Level::default(), 4), 11, now), None, "no more than it holds");
    }

    #[test]
    fn a_second_has_its_rate_after_its_burst() {
        let (rate, mut level) = (Rate::per_second(100), Level::default());
        let burst = (0..1000).filter(|_| level.take(rate, 0)).count();
        assert_eq!(burst, 100);
        let second = (1..=1000u64).filter(|ms| level.take(rate, ms * 1_000_000)).count();
        assert_eq!(second, 100);
        assert!((0..1000).all(|_| level.take(Rate::per_second(0), 0)), "no limit");
    }

    #[test]
    fn threads_together_take_no_more_than_one_would() {
        let (rate, level) = (Rate::per_second(1000).whole(), SharedLevel::default());
        let taken = |from: u64| (from..from + 10_000).filter(|at| level.take(rate, at * 100_000)).count();
        let sum: usize = std::thread::scope(|threads| {
            let all = [0, 1, 2, 3].map(|_| threads.spawn(|| taken(0)));
            all.map(|thread| thread.join().unwrap()).iter().sum()
        });
        assert!((1000..=2000).contains(&sum), "{sum} in a second at 1000 a second, after a burst of 1000");
        assert!(!level.is_full(SECOND) && level.is_full(3 * SECOND));
        level.refill();
        assert!(level.is_full(0));
        for tokens in [1, 3, 7, 999, 1_000_000] {
            let (rate, level) = (Rate::per_second(tokens).whole(), SharedLevel::default());
            assert_eq!(
                (0..=tokens).filter(|_| level.take(rate, 5)).count(),
                tokens as usize,
                "a burst of a second"
            );
        }
        assert!(SharedLevel::default().take(Rate::UNLIMITED.whole(), 0));
    }

    #[test]
    fn a_slow_rate_still_lets_one_through() {
        let (rate, mut level) = (Rate::per_second(1), Level::default());
        assert!(level.take(rate, 0));
        assert!(!level.take(rate, 999_999_999));
        assert!(level.take(rate, 1_000_000_000));
    }

    #[test]
    fn asking_often_does_not_starve() {
        let mut bucket = Bucket::new(1000, 1);
        let taken = (0..1_000_000).filter(|step| bucket.take(1, step * 1000)).count();
        assert!((999..=1001).contains(&taken), "{taken} in a second at 1000 a second");
    }

    #[test]
    fn a_bucket_lasts_for_centuries_and_nothing_is_nothing() {
        let mut slow = Bucket::new(1, 3);
        let late = 300 * 366 * 86_400 * SECOND;
        assert_eq!(
            [0, 0, 0, 0, late, late, late, late].map(|now| slow.take(1, now)),
            [true, true, true, false, true, true, true, false]
        );
        let mut closed = Bucket::new(0, 1);
        assert!(!closed.take(1, 0) && !closed.take(1, late));
        assert!(Rate::UNLIMITED.take(Level::default(), u64::MAX, Fine::of(0)).is_some());
        assert_eq!(Rate::new(1, 8 * SECOND, 3000).take(Level::default(), 3001, Fine::of(0)), None);
    }
}
