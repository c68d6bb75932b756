//! The machine's monotonic clock. Every process reads the same one, in whatever network namespace it runs, so what one
//! host stamps the other can compare.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since the machine's start.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_clock_does_not_go_back() {
        let before = super::now();
        assert!(super::now() >= before && before > 0);
    }
}
