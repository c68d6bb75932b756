//! Controlled delay (CoDel, RFC 8289): a queue that has stood for longer than it takes a sender to react tells its sender.
//!
//! Without a clock or a queue of its own: whoever takes a packet out says how long that waited.

use crate::Nanos;

/// The delay that a queue may have for longer than an interval (RFC 8289 §4.3).
pub const TARGET_NS: Nanos = 5_000_000;
/// As long as it takes senders to react: a round trip (RFC 8289 §4.2).
pub const INTERVAL_NS: Nanos = 100_000_000;

/// Bits of a nanosecond that are dropped: times are kept in 32 bits of 1.024 µs, and compared as such go round.
const COARSE: u32 = 10;
/// More packets in a row make no difference to the law that can be told.
const COUNT_MOST: u32 = 1 << 16;

/// A time that comes round after 73 minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coarse(u32);

impl Coarse {
    /// This time.
    #[inline(always)]
    pub const fn of(now: Nanos) -> Self {
        Self((now >> COARSE) as u32)
    }

    /// How long ago that was, in units; what lies ahead counts as long ago.
    #[inline(always)]
    pub const fn since(self, then: Self) -> u32 {
        self.0.wrapping_sub(then.0)
    }

    #[inline(always)]
    const fn after(self, units: u32) -> Self {
        Self(self.0.wrapping_add(units))
    }

    /// Whether it is `then` or later.
    #[inline(always)]
    const fn reached(self, then: Self) -> bool {
        self.0.wrapping_sub(then.0) as i32 >= 0
    }
}

/// Nanoseconds of so many units.
#[inline(always)]
pub const fn nanos(units: u32) -> Nanos {
    (units as Nanos) << COARSE
}

/// What a port's queues are held to.
#[derive(Clone, Copy, Debug)]
pub struct Aim {
    target: u32,
    interval: u32,
}

impl Aim {
    /// Of a port where the longest frame takes so long. RFC 8289 §4.4: no less than a packet or so can be aimed at; a port so
    /// slow waits longer for its senders as well.
    pub const fn of(frame_ns: Nanos) -> Self {
        let least = frame_ns / 2 * 3;
        let target = if least > TARGET_NS { least } else { TARGET_NS };
        let interval = INTERVAL_NS + target - TARGET_NS;
        Self { target: (target >> COARSE) as u32, interval: (interval >> COARSE) as u32 }
    }
}

/// What becomes of a packet that is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sentence {
    /// It is sent.
    Send,
    /// Its sender is told: it is marked, or dropped and the next one taken.
    Tell,
}

/// How a queue stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Codel {
    /// When it will have been above the target for an interval; meaningless unless `above`.
    above_until: Coarse,
    /// When the next sender is told; meaningless unless `telling`.
    next: Coarse,
    /// How many were told since it is above.
    count: u32,
    /// How many of them when it last came to that.
    count_before: u32,
    above: bool,
    telling: bool,
}

impl Codel {
    /// What becomes of a packet that came at `since`, and whether more than a packet stays behind.
    #[inline]
    pub fn judge(&mut self, aim: Aim, since: Coarse, is_more: bool, now: Coarse) -> Sentence {
        // RFC 8289 §5.5: a single packet is no standing queue, however long it took.
        if now.since(since) < aim.target || !is_more {
            (self.above, self.telling) = (false, false);
            return Sentence::Send;
        }
        self.judge_late(aim, now)
    }

    fn judge_late(&mut self, aim: Aim, now: Coarse) -> Sentence {
        if !self.above {
            (self.above, self.above_until) = (true, now.after(aim.interval));
            return Sentence::Send;
        }
        if self.telling {
            if !now.reached(self.next) {
                return Sentence::Send;
            }
            self.count = (self.count + 1).min(COUNT_MOST);
            self.next = self.next.after(self.pause(aim));
            return Sentence::Tell;
        }
        if !now.reached(self.above_until) {
            return Sentence::Send;
        }
        self.telling = true;
        // RFC 8289 §5.5: if it was so not long ago, it goes on about where it was.
        let more = self.count - self.count_before.min(self.count);
        let was_so = now.since(self.next) < 16 * aim.interval && more > 1;
        self.count = if was_so { more } else { 1 };
        self.count_before = self.count;
        self.next = now.after(self.pause(aim));
        Sentence::Tell
    }

    /// The control law (RFC 8289 §3.4): ever sooner, by the square root of how many were told.
    fn pause(&self, aim: Aim) -> u32 {
        (aim.interval as f32 / (self.count as f32).sqrt()) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    fn told(delay_ms: u64, is_more: bool, until_ms: u64) -> Vec<u64> {
        let (mut codel, aim) = (Codel::default(), Aim::of(0));
        let at = |ms: u64| Coarse::of((ms + 1000) * MS);
        (0..until_ms)
            .filter(|ms| {
                codel.judge(aim, Coarse::of((ms + 1000 - delay_ms) * MS), is_more, at(*ms)) == Sentence::Tell
            })
            .collect()
    }

    #[test]
    fn rfc_8289_a_burst_that_passes_within_an_interval_is_let_pass() {
        assert!(told(50, true, 100).is_empty());
        assert!(told(4, true, 10_000).is_empty(), "below the target");
        assert!(told(50, false, 10_000).is_empty(), "a single packet");
    }

    #[test]
    fn rfc_8289_a_standing_queue_is_told_ever_sooner() {
        let told = told(50, true, 2000);
        assert!((100..=102).contains(&told[0]), "{told:?}");
        let pauses: Vec<u64> = told.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(pauses.windows(2).all(|two| two[1] <= two[0] + 1), "{pauses:?}");
        for (number, pause) in pauses.iter().enumerate() {
            let law = 100.0 / ((number + 1) as f64).sqrt();
            assert!((*pause as f64 - law).abs() <= 2.0, "{number}: {pause} and {law}");
        }
    }

    #[test]
    fn a_slow_port_is_aimed_at_what_it_can_do() {
        let aim = Aim::of(12 * MS); // 1,500 bytes at 1 Mbit/s
        assert_eq!(aim.target, ((18 * MS) >> COARSE) as u32);
        assert!(Aim::of(MS).target == (TARGET_NS >> COARSE) as u32 && aim.interval > Aim::of(MS).interval);
    }
}
