//! Windows of measured time, and what is said about them.
//!
//! A window is 50 ms of cycles spent in the code under test; what the harness does in between (writing the packets of
//! half a round later, checking verdicts) is not counted. A case's window is always followed by one of the calibration,
//! so that both see the same machine: a shared core's speed changes from second to second, their ratio much less.
//!
//! A burst that takes longer than [`INTERRUPTED_NS`] did not run alone: the scheduler or the hypervisor took the core.
//! It is left out with its packets, and how much time was lost so is told beside the result.

use serde::Serialize;

/// Length of a window, of measured time, in milliseconds.
pub const WINDOW_MS: u64 = 50;
/// A burst that takes longer was interrupted: over 4,000 cycles for each of 64 packets at 2.6 GHz, more than the slowest
/// table without any prefetching costs, and less than the shortest time slice of a scheduler.
pub const INTERRUPTED_NS: u64 = 100_000;

/// What one call of the code under test took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    /// Cycles of the time-stamp counter.
    pub cycles: u64,
    /// Packets, or whatever the case counts.
    pub packets: u64,
}

/// What a case has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Packets, or whatever it counts.
    pub packets: u64,
    /// Those of them that went where they belong.
    pub right: u64,
    /// Allocations in the measured code.
    pub allocations: u64,
}

impl Done {
    /// Runs what is measured, which says its cycles and how many of so many packets went right.
    pub fn burst(&mut self, packets: usize, measured: impl FnOnce() -> (u64, usize)) -> Burst {
        let before = machine::allocations::on_this_thread();
        let (cycles, right) = measured();
        self.allocations += machine::allocations::on_this_thread() - before;
        self.packets += packets as u64;
        self.right += right as u64;
        Burst { cycles, packets: packets as u64 }
    }
}

/// The cycles that something takes, and what it says.
#[inline(always)]
pub fn timed<R>(run: impl FnOnce() -> R) -> (u64, R) {
    let begin = machine::cycles();
    let said = run();
    (machine::cycles() - begin, said)
}

/// Something that can be measured burst by burst.
pub trait Case {
    /// Runs one burst and says what it took.
    fn burst(&mut self) -> Burst;

    /// What it has done in all of them.
    fn done(&self) -> Done;

    /// A burst that takes longer was interrupted.
    fn limit_ns(&self) -> u64 {
        INTERRUPTED_NS
    }

    /// Whether everything went where it belongs: a case in which anything did not is void.
    fn check(&self) -> Result<(), String> {
        let Done { packets, right, .. } = self.done();
        if packets == right { Ok(()) } else { Err(format!("{} of {packets} went wrong", packets - right)) }
    }

    /// The share of packets that were handed from one worker to another.
    fn handed_over(&self) -> f64 {
        0.0
    }

    /// Bytes for each entry and page size of the case's own table, if it has one.
    fn table(&self) -> Option<(f64, usize)> {
        None
    }
}

/// Time that was left out because the core was taken away.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Interrupted {
    /// How many bursts.
    pub bursts: u64,
    /// Their cycles, of all that were measured.
    pub share_of_time: f64,
}

/// Sums over a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    cycles: u64,
    packets: u64,
    interrupted_bursts: u64,
    interrupted_cycles: u64,
}

impl Totals {
    /// Counts a burst; one above the limit was interrupted.
    #[inline]
    pub fn count(&mut self, cycles: u64, packets: u64, limit: u64) {
        if cycles > limit {
            self.interrupted_bursts += 1;
            self.interrupted_cycles += cycles;
        } else {
            self.cycles += cycles;
            self.packets += packets;
        }
    }

    /// Adds what another run counted.
    pub fn add(&mut self, other: &Self) {
        self.cycles += other.cycles;
        self.packets += other.packets;
        self.interrupted_bursts += other.interrupted_bursts;
        self.interrupted_cycles += other.interrupted_cycles;
    }

    /// Cycles of the bursts that count.
    pub fn cycles(&self) -> u64 {
        self.cycles
    }

    /// Of the bursts that count.
    pub fn cycles_per_packet(&self) -> f64 {
        self.cycles as f64 / self.packets.max(1) as f64
    }

    /// Packets in the bursts that count.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// What was left out.
    pub fn interrupted(&self) -> Interrupted {
        let all = self.cycles + self.interrupted_cycles;
        Interrupted {
            bursts: self.interrupted_bursts,
            share_of_time: self.interrupted_cycles as f64 / all.max(1) as f64,
        }
    }
}

/// Runs a case for one window; the cycles per packet in it.
pub fn window(case: &mut dyn Case, rate: u64, totals: &mut Totals) -> f64 {
    let length = rate / 1000 * WINDOW_MS;
    let limit = (u128::from(rate) * u128::from(case.limit_ns()) / 1_000_000_000) as u64;
    let mut window = Totals::default();
    while window.cycles < length {
        let burst = case.burst();
        window.count(burst.cycles, burst.packets, limit);
    }
    totals.add(&window);
    window.cycles_per_packet()
}

/// Smallest, middle and 90th of 100.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The smallest.
    pub min: f64,
    /// Half of the windows are not above it.
    pub median: f64,
    /// 90 % of the windows are not above it.
    pub p90: f64,
}

impl Spread {
    /// Of these values; zeros if there are none.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (share * sorted.len() as f64).ceil() as usize;
            sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
        };
        Self { min: at(0.0), median: at(0.5), p90: at(0.9) }
    }

    /// The same, rounded for people.
    pub fn rounded(self, digits: i32) -> Self {
        let scale = 10f64.powi(digits);
        let round = |value: f64| (value * scale).round() / scale;
        Self { min: round(self.min), median: round(self.median), p90: round(self.p90) }
    }
}

/// What came out of a run.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Cycles per packet of the case's windows.
    pub case: Spread,
    /// Cycles per packet of the calibration's windows.
    pub calibration: Spread,
    /// Each window of the case over the mean of the calibration's windows before and after it.
    pub ratio: Spread,
    /// Windows of the case.
    pub windows: usize,
    /// The case's sums.
    pub totals: Totals,
}

impl Measured {
    /// Of these windows of a case, and those of the calibration before, between and after them.
    pub fn of(case: &[f64], calibration: &[f64], totals: Totals) -> Self {
        let around = calibration.windows(2).map(|around| f64::midpoint(around[0], around[1]));
        let ratios: Vec<f64> = case.iter().zip(around).map(|(cycles, around)| cycles / around).collect();
        Self {
            case: Spread::of(case),
            calibration: Spread::of(calibration),
            ratio: Spread::of(&ratios),
            windows: case.len(),
            totals,
        }
    }
}

/// Measures a case against the calibration for at least `seconds` of the case's own time, after a warm-up of a tenth of
/// that. `each_window` is called after every window of the case, outside the measured time.
pub fn compare(case: &mut dyn Case, calibration: &mut dyn Case, seconds: f64) -> Measured {
    let rate = machine::cycles_per_second();
    let windows = ((seconds * 1000.0 / WINDOW_MS as f64).ceil() as usize).max(1);
    let mut ignored = Totals::default();
    for _ in 0..windows.div_ceil(10) {
        window(case, rate, &mut ignored);
    }
    window(calibration, rate, &mut ignored);

    let (mut totals, mut calibrated) = (Totals::default(), vec![window(calibration, rate, &mut ignored)]);
    let mut measured = Vec::with_capacity(windows);
    for _ in 0..windows {
        measured.push(window(case, rate, &mut totals));
        calibrated.push(window(calibration, rate, &mut ignored));
    }
    Measured::of(&measured, &calibrated, totals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_is_of_ranks() {
        let values: Vec<f64> = (1..=10).rev().map(f64::from).collect();
        assert_eq!(Spread::of(&values), Spread { min: 1.0, median: 5.0, p90: 9.0 });
        assert_eq!(Spread::of(&[7.0]), Spread { min: 7.0, median: 7.0, p90: 7.0 });
        assert_eq!(Spread::of(&[]), Spread { min: 0.0, median: 0.0, p90: 0.0 });
    }

    /// Takes so many cycles a burst of 10, and every 100th time the core is taken away.
    struct Pretended {
        cycles: u64,
        bursts: u64,
    }

    impl Case for Pretended {
        fn burst(&mut self) -> Burst {
            self.bursts += 1;
            let cycles = if self.bursts.is_multiple_of(100) { 10_000_000 } else { self.cycles };
            Burst { cycles, packets: 10 }
        }

        fn done(&self) -> Done {
            Done::default()
        }
    }

    #[test]
    fn ratio_leaves_interruptions_out() {
        let mut case = Pretended { cycles: 2000, bursts: 0 };
        let mut calibration = Pretended { cycles: 1000, bursts: 0 };
        let mut totals = Totals::default();
        assert!((window(&mut case, 1_000_000_000, &mut totals) - 200.0).abs() < 1e-9);
        assert!((window(&mut calibration, 1_000_000_000, &mut totals) - 100.0).abs() < 1e-9);
        assert!(totals.interrupted().bursts > 0 && totals.interrupted().share_of_time > 0.5);
    }
}
