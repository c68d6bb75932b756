//! A device made of arithmetic for the modes' tests.

use crate::latency::latency_histogram;
use crate::observer::{Observer, Planned};
use crate::trial::{Counts, Failure, Interval, Progress, Trial, Trials, Unit, Watch};
use std::time::Duration;

/// Forwards up to a capacity and loses a share of everything beside.
pub(crate) struct Device {
    pub unit: Unit,
    pub capacity: f64,
    pub loss_ratio: f64,
    pub fails: bool,
}

impl Device {
    pub(crate) fn with_capacity(capacity: f64) -> Device {
        Device { unit: Unit::Packets, capacity, loss_ratio: 0.0, fails: false }
    }
}

/// A trial like a real one, of so many seconds.
pub(crate) fn trial(unit: Unit, per_second: f64, seconds: f64, lost_ratio: f64) -> Trial {
    let sent = (per_second * seconds).round() as u64;
    let counts =
        Counts { sent, received: sent - (lost_ratio * sent as f64).round() as u64, ..Counts::default() };
    let mut latency_ns = latency_histogram();
    for delay in 0..100 {
        latency_ns.record(10_000 + delay * 37).unwrap();
    }
    let slice = Counts { sent: counts.sent / 10, received: counts.received / 10, ..Counts::default() };
    let intervals = (1..=10).map(|tenth| Interval {
        end_s: seconds * f64::from(tenth) / 10.0,
        length_s: seconds / 10.0,
        counts: slice,
    });
    let mut trial = Trial::new(unit, Some(per_second), seconds, intervals.collect());
    trial.counts = counts;
    trial.tell_streams(vec![("up <&>".to_owned(), counts, latency_ns)]);
    trial
}

impl Trials for Device {
    fn unit(&self) -> Unit {
        self.unit
    }

    fn line_rate(&self) -> Option<f64> {
        Some(1e6)
    }

    fn run(
        &mut self,
        per_second: Option<f64>,
        duration: Duration,
        watch: &mut dyn FnMut(Progress) -> Watch,
    ) -> Result<Trial, Failure> {
        let rate = per_second.unwrap_or(1e6);
        let lost = (1.0 - self.capacity / rate).max(self.loss_ratio);
        let total_s = duration.as_secs_f64();
        let mut seconds = total_s;
        for tenth in 1..=10 {
            let elapsed_s = total_s * f64::from(tenth) / 10.0;
            let counts = trial(self.unit, rate, elapsed_s, lost).counts;
            if watch(Progress { elapsed_s, total_s, counts }) == Watch::Stop {
                seconds = elapsed_s;
                break;
            }
        }
        let trial = trial(self.unit, rate, seconds, lost);
        if self.fails {
            return Err(Failure {
                why: "port a: the link is down".to_owned(),
                partial: Some(Box::new(trial)),
            });
        }
        Ok(trial)
    }
}

/// Remembers the trials' labels; stops in the tenth part of a trial that it is told, if it is told one.
#[derive(Default)]
pub(crate) struct Notebook {
    pub labels: Vec<String>,
    pub stop_at: Option<f64>,
}

impl Observer for Notebook {
    fn begins(&mut self, planned: &Planned) {
        self.labels.push(planned.label.clone());
    }

    fn watch(&mut self, progress: Progress) -> Watch {
        let over = self.stop_at.is_some_and(|stop_at| progress.elapsed_s >= stop_at);
        if over { Watch::Stop } else { Watch::Continue }
    }

    fn ended(&mut self, _trial: &Trial) {}
}
