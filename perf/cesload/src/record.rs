//! A finished trial as reports keep it: small, and complete enough to draw everything again.

use crate::observer::Planned;
use crate::trial::{Counts, Interval, StreamTrial, Trial, Unit};
use hdrhistogram::Histogram;
use serde::Serialize;

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

/// A stream's share of a trial.
#[derive(Clone, Debug, Serialize)]
pub struct StreamRecord {
    /// Its name.
    pub name: String,
    /// What became of it.
    #[serde(flatten)]
    pub counts: Counts,
    /// Sent and not received.
    pub lost: u64,
    /// Lost of sent.
    pub loss_ratio: f64,
    /// Delays of its probes.
    pub latency_us: Option<Latency>,
}

impl StreamRecord {
    fn of(stream: &StreamTrial) -> StreamRecord {
        StreamRecord {
            name: stream.name.clone(),
            counts: stream.counts,
            lost: stream.counts.lost(),
            loss_ratio: stream.counts.loss_ratio(),
            latency_us: Latency::of(&stream.latency_ns),
        }
    }
}

/// A trial.
#[derive(Clone, Debug, Serialize)]
pub struct TrialRecord {
    /// What it was for.
    pub label: String,
    /// What it counts.
    pub unit: Unit,
    /// What was asked for, a second; none = as fast as it goes.
    pub asked_per_second: Option<f64>,
    /// For how many seconds it was to send.
    pub intended_seconds: f64,
    /// For how many seconds it sent.
    pub seconds: f64,
    /// Sent a second.
    pub sent_per_second: f64,
    /// Received a second.
    pub received_per_second: f64,
    /// Sent of asked.
    pub reached: f64,
    /// Sum of all streams.
    #[serde(flatten)]
    pub counts: Counts,
    /// Sent and not received.
    pub lost: u64,
    /// Lost of sent.
    pub loss_ratio: f64,
    /// Frames received without our signature.
    pub foreign: u64,
    /// Frames of an earlier trial.
    pub late: u64,
    /// Dropped by the generator's own ports.
    pub missed_by_generator: u64,
    /// How long the generator did not have its core, in seconds, which are not in `seconds`.
    pub held_up_seconds: f64,
    /// Delays of all probes.
    pub latency_us: Option<Latency>,
    /// Each stream.
    pub streams: Vec<StreamRecord>,
    /// The trial in slices.
    pub intervals: Vec<Interval>,
    /// What a reader has to know.
    pub notes: Vec<String>,
}

/// A plot is at most about so wide in pixels, and a soak of a day has many slices: neighbours are merged above this number.
const INTERVALS_MAX: usize = 2000;

impl TrialRecord {
    /// Of a trial that was planned like this.
    pub fn of(planned: &Planned, trial: &Trial) -> TrialRecord {
        TrialRecord {
            label: planned.label.clone(),
            unit: trial.unit,
            asked_per_second: trial.asked_per_second,
            intended_seconds: planned.duration.as_secs_f64(),
            seconds: trial.seconds,
            sent_per_second: trial.sent_per_second(),
            received_per_second: trial.received_per_second(),
            reached: trial.reached(),
            counts: trial.counts,
            lost: trial.counts.lost(),
            loss_ratio: trial.counts.loss_ratio(),
            foreign: trial.foreign,
            late: trial.late,
            missed_by_generator: trial.missed_by_generator,
            held_up_seconds: trial.held_up_seconds,
            latency_us: Latency::of(&trial.latency_ns()),
            streams: trial.streams.iter().map(StreamRecord::of).collect(),
            intervals: merged(&trial.intervals),
            notes: trial.notes.clone(),
        }
    }
}

fn merged(intervals: &[Interval]) -> Vec<Interval> {
    let together = intervals.len().div_ceil(INTERVALS_MAX).max(1);
    let merge = |slices: &[Interval]| {
        let mut sum = Interval::default();
        for slice in slices {
            sum.end_s = slice.end_s;
            sum.length_s += slice.length_s;
            sum.counts.add(&slice.counts);
        }
        sum
    };
    intervals.chunks(together).map(merge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::latency_histogram;

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

    #[test]
    fn merged_slices_lose_nothing() {
        let slice = |number: usize| Interval {
            end_s: (number + 1) as f64,
            length_s: 1.0,
            counts: Counts { sent: 7, received: 6, ..Counts::default() },
        };
        let all: Vec<Interval> = (0..86_400).map(slice).collect();
        let merged = merged(&all);
        assert!(merged.len() <= INTERVALS_MAX);
        assert_eq!(merged.iter().map(|slice| slice.counts.sent).sum::<u64>(), 7 * 86_400);
        assert!((merged.last().unwrap().end_s - 86_400.0).abs() < 1e-9);
    }
}
