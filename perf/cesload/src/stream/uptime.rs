//! The time in which a generator thread had its core.
//!
//! A scheduler or a hypervisor takes the core away for milliseconds. A generator that ignores it and makes up for what it missed
//! offers a burst at full speed that nobody asked for; one that leaves it out offers less than was asked for, at every load,
//! and a
//! search takes that for the device's limit. So such time is no part of a trial: the schedule stands still, the trial takes so
//! much
//! longer, and while it runs the load is what was asked for. How long that was is reported.

/// A turn of the loop that took so much longer than the usual one did not have its core all the time. A port whose driver makes
/// system calls (`net_af_packet`) takes a tenth of a millisecond for a burst, which is usual for it and its own slowness.
const TIMES_USUAL: u64 = 8;
/// Shorter turns are never a hold-up: an interrupt, or a few bursts in a row. A tenth of a millisecond at ten million packets a
/// second is a thousand packets, which fit in a port's ring.
const SHORTEST_HZ: u64 = 10_000;
/// The usual turn is a mean over about so many.
const MEMORY: u64 = 256;

/// Tells it from the counter's value at the beginning of each turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Uptime {
    start: u64,
    /// The last turn's beginning.
    last: u64,
    /// What a turn takes, times [`MEMORY`].
    usual: u64,
    shortest: u64,
    held: u64,
}

impl Uptime {
    /// From `start` of a counter that makes `hertz` cycles a second.
    pub(super) fn new(start: u64, hertz: u64) -> Self {
        Self { start, last: start, usual: 0, shortest: hertz / SHORTEST_HZ, held: 0 }
    }

    /// A turn begins: how long the thread has had its core since the start.
    #[inline(always)]
    pub(super) fn turn(&mut self, now: u64) -> u64 {
        let took = now.saturating_sub(self.last);
        self.last = now;
        if took > self.shortest && took > self.usual * TIMES_USUAL / MEMORY {
            self.hold(took);
        } else {
            self.usual = self.usual - self.usual / MEMORY + took;
        }
        now.saturating_sub(self.start + self.held)
    }

    #[cold]
    fn hold(&mut self, took: u64) {
        // What a turn takes anyway is not lost. A port that becomes slower for good has become the usual one after some turns.
        self.held += took - self.usual / MEMORY;
        self.usual += took.min(self.shortest * TIMES_USUAL);
    }

    /// How long it was without its core.
    pub(super) fn held(&self) -> u64 {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERTZ: u64 = 1_000_000_000;

    #[test]
    fn a_core_that_is_taken_away_stops_the_time() {
        let mut uptime = Uptime::new(5_000, HERTZ);
        let mut now = 5_000;
        for _ in 0..10_000 {
            now += 500;
            uptime.turn(now);
        }
        assert_eq!((uptime.turn(now), uptime.held()), (5_000_000, 0));
        // Four milliseconds, but for a turn.
        let elapsed = uptime.turn(now + 4_000_000);
        assert_eq!(elapsed + uptime.held(), 9_000_000);
        assert!((5_000_000..5_000_600).contains(&elapsed), "{elapsed}");
    }

    #[test]
    fn a_slow_port_is_slow_and_not_a_hold_up() {
        // Each turn 150 microseconds: at first that looks like one, then it is the usual thing.
        let mut uptime = Uptime::new(0, HERTZ);
        let mut now = 0;
        for _ in 0..1_000 {
            now += 150_000;
            uptime.turn(now);
        }
        let before = uptime.held();
        assert!(before < now / 10, "{before} of {now}");
        for _ in 0..1_000 {
            now += 150_000;
            uptime.turn(now);
        }
        assert_eq!(uptime.held(), before);
    }
}
