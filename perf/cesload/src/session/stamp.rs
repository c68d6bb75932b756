//! Time in four bytes, so that a session's state stays small.

use ces_dataplane::Nanos;

/// Nanoseconds of a unit, as a power of two: 256 ns.
const UNIT: u32 = 8;

/// A moment, in units of 256 ns since the clock's start, modulo 2³² of them: 18 minutes. Fit for differences below half of
/// that, which is why no wait of a session may be longer than [`LONGEST_WAIT_MS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp(pub u32);

/// The longest timeout and the longest time to think, in milliseconds: half of what a stamp can tell apart is 549 s, and a
/// first packet may be measured over a few waits.
pub const LONGEST_WAIT_MS: u64 = 60_000;

impl Stamp {
    /// The moment of the clock.
    pub const fn at(now: Nanos) -> Self {
        Self((now >> UNIT) as u32)
    }

    /// Nanoseconds from `earlier` until this; `None` if that is not earlier.
    pub const fn since(self, earlier: Self) -> Option<Nanos> {
        let units = self.0.wrapping_sub(earlier.0);
        if units < 1 << 31 { Some((units as Nanos) << UNIT) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn difference_is_right_across_the_wrap() {
        let wrap = 1 << (32 + UNIT);
        let (before, after) = (Stamp::at(wrap - 10_240), Stamp::at(wrap + 10_240));
        assert_eq!(after.since(before), Some(20_480));
        assert_eq!(before.since(after), None);
        assert_eq!(before.since(before), Some(0));
    }

    #[test]
    fn longest_wait_can_be_told() {
        let wait = LONGEST_WAIT_MS * 1_000_000;
        assert_eq!(Stamp::at(5 * wait).since(Stamp::at(0)), Some(5 * wait));
    }
}
