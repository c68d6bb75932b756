//! Time from the processor's counter: a read costs some 20 cycles and no system call.
//!
//! The counter is taken to be invariant (`constant_tsc`, `nonstop_tsc`) and the same on all cores, as it is on every
//! server processor of the last fifteen years.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The processor's time-stamp counter.
#[inline(always)]
pub fn cycles() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: `rdtsc` is part of the x86-64 baseline, touches no memory, and Linux leaves it open to user mode.
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }
}

/// How long the calibration takes. The error is about the time of one clock read (< 100 ns) over this: 2 in 10⁶.
const CALIBRATION: Duration = Duration::from_millis(50);

/// The counter's rate in Hz. The first call measures it and takes 50 ms.
pub fn cycles_per_second() -> u64 {
    static RATE: OnceLock<u64> = OnceLock::new();
    *RATE.get_or_init(|| {
        let (begin, begin_cycles) = (Instant::now(), cycles());
        std::thread::sleep(CALIBRATION);
        let (elapsed, end_cycles) = (begin.elapsed(), cycles());
        let rate =
            u128::from(end_cycles.wrapping_sub(begin_cycles)) * 1_000_000_000 / elapsed.as_nanos().max(1);
        (rate as u64).max(1)
    })
}

/// Nanoseconds since the clock was made, or since the machine was started. A copy tells the same time on every thread.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: u64,
    /// The time at `start`.
    began: u64,
    /// Nanoseconds per cycle, with [`Clock::SHIFT`] bits after the point.
    scale: u64,
}

impl Clock {
    const SHIFT: u32 = 32;

    /// A clock that starts at 0 now.
    pub fn new() -> Self {
        let scale = ((1_000_000_000u128 << Self::SHIFT) / u128::from(cycles_per_second())) as u64;
        Self { start: cycles(), began: 0, scale }
    }

    /// A clock that tells the time since the machine was started, so that it means the same to the next process, too.
    pub fn since_boot() -> Self {
        let clock = Self::new();
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is there to be written; where the call fails, which this clock never does, it is 0.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
        let began = time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64;
        Self { start: cycles(), began, ..clock }
    }

    /// Nanoseconds since [`Clock::new`].
    #[inline(always)]
    pub fn now(&self) -> u64 {
        self.at(cycles())
    }

    /// The time at which the counter stood at `cycles`; for what was before the clock was made, when that was.
    #[inline(always)]
    pub fn at(&self, cycles: u64) -> u64 {
        let since = (u128::from(cycles.saturating_sub(self.start)) * u128::from(self.scale)) >> Self::SHIFT;
        self.began + since as u64
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_agrees_with_the_system() {
        let (clock, begin) = (Clock::new(), Instant::now());
        std::thread::sleep(Duration::from_millis(30));
        let (ours, theirs) = (clock.now() as f64, begin.elapsed().as_nanos() as f64);
        assert!((ours / theirs - 1.0).abs() < 0.05, "ours {ours} ns, the system's {theirs} ns");
    }

    #[test]
    fn clock_does_not_go_below_zero() {
        let clock = Clock::new();
        assert_eq!(clock.at(0), 0);
        let (first, second) = (Clock::since_boot(), Clock::since_boot());
        assert!(first.at(0) > 0 && second.at(0) >= first.at(0), "two clocks, one time");
    }
}
