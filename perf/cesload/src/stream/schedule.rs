//! When packets are due: by the cycle counter, with a bound on what is made up for.
//!
//! Time is that in which the thread had its core ([`super::uptime`]). So what a schedule is behind by is what its port did not
//! take: it is sent as soon as the port takes it, but for what waited too long.

/// Mantissa bits of `f64` hold cycles for 40 days at 2.6 GHz exactly.
#[derive(Clone, Copy, Debug)]
enum Pace {
    /// A rate, up to a number of packets in all.
    Paced { per_cycle: f64, total: u64 },
    /// As fast as it goes: so many packets, beside the other streams, each time the port is free.
    Free { each: f64, credit: f64 },
}

/// A stream's schedule on one thread.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    pace: Pace,
    /// Packets that were taken on.
    taken: u64,
    /// Packets that were due and will never be sent.
    forgone: u64,
    /// Packets at most that are made up for.
    catch_up: u64,
}

/// Packets that are made up for at any rate: a turn of the loop is never so short that none falls due in it.
const CATCH_UP_MIN: u64 = 256;

impl Schedule {
    /// `per_second` packets for `cycles` of the counter, which makes `hertz` of them a second. What a port has not taken within
    /// `catch_up_ms` is not sent any more.
    pub fn paced(per_second: f64, cycles: u64, hertz: u64, catch_up_ms: u32) -> Self {
        let per_cycle = per_second / hertz as f64;
        let total = (per_cycle * cycles as f64).round() as u64;
        let catch_up = (per_second * f64::from(catch_up_ms) / 1000.0) as u64;
        Self {
            pace: Pace::Paced { per_cycle, total },
            taken: 0,
            forgone: 0,
            catch_up: catch_up.max(CATCH_UP_MIN),
        }
    }

    /// As fast as it goes, `each` packets for every time the port is free.
    pub fn free(each: f64) -> Self {
        Self { pace: Pace::Free { each, credit: 0.0 }, taken: 0, forgone: 0, catch_up: u64::MAX }
    }

    /// How many packets are due when `elapsed` cycles have passed; no more than `most`.
    #[inline(always)]
    pub fn due(&mut self, most: usize, elapsed: u64) -> usize {
        match &mut self.pace {
            Pace::Paced { per_cycle, total } => {
                let due = ((elapsed as f64 * *per_cycle) as u64).min(*total);
                let mut behind = due.saturating_sub(self.taken + self.forgone);
                if behind > self.catch_up {
                    self.forgone += behind - self.catch_up;
                    behind = self.catch_up;
                }
                behind.min(most as u64) as usize
            }
            Pace::Free { each, credit } => {
                *credit = (*credit + *each).min(most as f64);
                *credit as usize
            }
        }
    }

    /// What is left at the end of the time, rounding included.
    pub fn left(&mut self, most: usize) -> usize {
        match self.pace {
            Pace::Paced { total, .. } => {
                total.saturating_sub(self.taken + self.forgone).min(self.catch_up).min(most as u64) as usize
            }
            Pace::Free { .. } => 0,
        }
    }

    /// `count` packets were taken on.
    #[inline(always)]
    pub fn take(&mut self, count: usize) {
        self.taken += count as u64;
        if let Pace::Free { credit, .. } = &mut self.pace {
            *credit -= count as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_to_the_packet() {
        let mut schedule = Schedule::paced(1000.0, 2_000_000, 1_000_000, 100);
        let mut sent = 0;
        for elapsed in (0..=2_000_000).step_by(777) {
            let due = schedule.due(32, elapsed);
            schedule.take(due);
            sent += due;
            assert_eq!(sent as u64, elapsed / 1000);
        }
        let due = schedule.left(32);
        schedule.take(due);
        assert_eq!((sent + due, schedule.left(32)), (2000, 0));
    }

    #[test]
    fn what_waited_too_long_is_forgone_not_made_up() {
        // A packet each microsecond, and the port takes none for 150 ms: what waited for more than 100 ms is forgone.
        let mut schedule = Schedule::paced(1_000_000.0, 1_000_000, 1_000_000, 100);
        assert_eq!(schedule.due(32, 150_000), 32);
        let mut burst = 0;
        loop {
            let due = schedule.due(32, 150_000);
            if due == 0 {
                break;
            }
            schedule.take(due);
            burst += due;
        }
        assert_eq!(burst, 100_000);
        assert_eq!(schedule.due(32, 150_001), 1);
    }

    #[test]
    fn free_streams_share_by_their_weights() {
        let (mut heavy, mut light) = (Schedule::free(32.0), Schedule::free(32.0 / 3.0));
        let (mut a, mut b) = (0, 0);
        for _ in 0..300 {
            for (schedule, sum) in [(&mut heavy, &mut a), (&mut light, &mut b)] {
                let due = schedule.due(32, 0);
                schedule.take(due);
                *sum += due;
            }
        }
        assert_eq!(a, 9600);
        assert!(b.abs_diff(3200) <= 1, "{b}");
    }
}
