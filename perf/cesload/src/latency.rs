//! Delays as reports keep them: small, and enough to draw their distribution again.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Delays up to a minute, to three digits: about 200 kB.
pub const LATENCY_MAX_NS: u64 = 60_000_000_000;

/// An empty histogram of delays in nanoseconds. Longer ones count as [`LATENCY_MAX_NS`].
pub fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3).expect("the bounds are constants that fit")
}

/// Delays in microseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    /// How many probes were timed.
    pub count: u64,
    /// The shortest.
    pub min: f64,
    /// Their mean.
    pub mean: f64,
    /// Half of them took at most so long.
    pub p50: f64,
    /// 90 % of them.
    pub p90: f64,
    /// 99 % of them.
    pub p99: f64,
    /// 99.9 % of them.
    pub p999: f64,
    /// The longest.
    pub max: f64,
    /// The whole distribution: (percentile, microseconds), denser towards 100.
    pub percentiles: Vec<(f64, f64)>,
}

/// Points of the percentile curve for each halving of what remains to 100 %: enough for a smooth curve.
const TICKS_PER_HALVING: u32 = 4;

impl Latency {
    /// Of delays in nanoseconds; nothing if there are none.
    pub fn of(delays_ns: &Histogram<u64>) -> Option<Latency> {
        if delays_ns.is_empty() {
            return None;
        }
        let us = |ns: u64| ns as f64 / 1000.0;
        let at = |quantile: f64| us(delays_ns.value_at_quantile(quantile));
        let curve = delays_ns.iter_quantiles(TICKS_PER_HALVING);
        Some(Latency {
            count: delays_ns.len(),
            min: us(delays_ns.min()),
            mean: delays_ns.mean() / 1000.0,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: us(delays_ns.max()),
            percentiles: curve.map(|step| (step.quantile() * 100.0, us(step.value_iterated_to()))).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_told_in_microseconds_and_end_at_the_longest() {
        let mut delays = latency_histogram();
        for ns in 1..=1000u64 {
            delays.record(ns * 1000).unwrap();
        }
        let latency = Latency::of(&delays).unwrap();
        assert_eq!(latency.count, 1000);
        assert!((latency.p50 - 500.0).abs() < 1.0 && (latency.p999 - 999.0).abs() < 1.5, "{latency:?}");
        let &(percentile, us) = latency.percentiles.last().unwrap();
        assert!((percentile - 100.0).abs() < 1e-9 && (us - latency.max).abs() < 1.0);
        assert!(Latency::of(&latency_histogram()).is_none());
    }
}
