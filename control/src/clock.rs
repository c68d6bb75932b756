//! The control thread's clock: nanoseconds since 1970, so that what is written down means the same to the next process.

use machine::Clock;
use std::time::{SystemTime, UNIX_EPOCH};

/// Begins at the wall clock's time and goes on evenly, whatever becomes of that one.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    began: u64,
    clock: Clock,
    /// When this one was made, by the even one.
    made: u64,
}

impl WallClock {
    /// A clock on top of an even one.
    pub fn new(clock: Clock) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = u64::try_from(since.as_nanos()).unwrap_or(0);
        let made = clock.now();
        Self { began: wall.saturating_sub(made), clock, made }
    }

    /// Nanoseconds since 1970.
    pub fn now(&self) -> u64 {
        self.began + self.clock.now()
    }

    /// Nanoseconds since 1970 of a time by the even clock.
    pub const fn wall(&self, even: u64) -> u64 {
        self.began + even
    }

    /// Nanoseconds since it was made.
    pub fn age(&self) -> u64 {
        self.clock.now() - self.made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_agrees_with_the_wall_and_never_goes_back() {
        let clock = WallClock::new(Clock::new());
        let first = clock.now();
        // After 2020, before 2200: the unit is right.
        assert!((1_577_836_800..7_258_118_400).contains(&(first / 1_000_000_000)));
        assert!(clock.now() >= first);
    }
}
