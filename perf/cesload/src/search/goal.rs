//! What is searched for: a goal in the terms of RFC 9971 §4.6, and the easier targets on the way to it.

use serde::Serialize;
use std::time::Duration;

/// A Search Goal (RFC 9971, "Search Goal"). Ratios are of one, not percent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Goal {
    /// What a person calls it: "NDR".
    pub name: String,
    /// Goal Loss Ratio: a trial that loses more is a high-loss trial.
    pub loss_ratio: f64,
    /// Goal Exceed Ratio: this share of the time at a lower bound may be high-loss trials.
    pub exceed_ratio: f64,
    /// Goal Final Trial Duration.
    #[serde(rename = "final_trial_s", serialize_with = "as_seconds")]
    pub final_trial: Duration,
    /// Goal Duration Sum: for so long a load is tried until it is called a bound.
    #[serde(rename = "duration_sum_s", serialize_with = "as_seconds")]
    pub duration_sum: Duration,
    /// Goal Initial Trial Duration: trials far from the bounds may be as short as this.
    #[serde(rename = "initial_trial_s", serialize_with = "as_seconds")]
    pub initial_trial: Duration,
    /// Goal Width: `1 - lower / upper` at the end is not larger.
    pub width: f64,
}

fn as_seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

/// PDR's loss ratio: 0.5 %, as FD.io CSIT reports it.
pub const PDR_LOSS_RATIO: f64 = 0.005;
/// Half of the time at a lower bound may be high-loss (the RFC's recommended value: with it the length of searches varies least).
pub const EXCEED_RATIO: f64 = 0.5;
/// 0.5 %. The RFC recommends a width not below the loss ratio, so that PDR's throughput cannot come out below NDR's.
pub const WIDTH: f64 = 0.005;
/// The final trial's seconds, unless told otherwise.
pub const FINAL_TRIAL: Duration = Duration::from_secs(5);
/// The first trials' seconds, if the final ones are longer.
pub const INITIAL_TRIAL: Duration = Duration::from_secs(1);
/// With [`EXCEED_RATIO`] two of three final trials at a load decide.
pub const TRIALS_IN_SUM: u32 = 3;
/// Easier targets before the goal itself. Each doubles the width, so that the first one is 4 widths.
const PRECEDING_TARGETS: usize = 2;

impl Goal {
    /// A goal with the usual attributes and this loss ratio.
    pub fn with_loss_ratio(name: &str, loss_ratio: f64) -> Goal {
        Goal {
            name: name.to_owned(),
            loss_ratio,
            exceed_ratio: EXCEED_RATIO,
            final_trial: FINAL_TRIAL,
            duration_sum: FINAL_TRIAL * TRIALS_IN_SUM,
            initial_trial: INITIAL_TRIAL,
            width: WIDTH,
        }
    }

    /// No loss.
    pub fn ndr() -> Goal {
        Goal::with_loss_ratio("NDR", 0.0)
    }

    /// At most 0.5 % loss.
    pub fn pdr() -> Goal {
        Goal::with_loss_ratio("PDR", PDR_LOSS_RATIO)
    }

    /// The same goal with final trials of this length, the sum and the first trials in proportion.
    #[must_use]
    pub fn with_final_trial(mut self, final_trial: Duration) -> Goal {
        self.final_trial = final_trial;
        self.duration_sum = final_trial * TRIALS_IN_SUM;
        self.initial_trial = INITIAL_TRIAL.min(final_trial);
        self
    }

    /// The targets on the way to this goal, easiest first, the goal itself last. A target is a goal with shorter trials and a
    /// larger
    /// width: the way that sums and trials grow is geometric, as in the RFC's prototype implementation.
    pub(crate) fn targets(&self) -> Vec<Target> {
        let sum = self.duration_sum.as_secs_f64();
        let first = self.initial_trial.as_secs_f64().min(sum);
        let multiplier = (first / sum).powf(1.0 / PRECEDING_TARGETS as f64);
        let mut targets: Vec<Target> = (0..=PRECEDING_TARGETS)
            .map(|steps_before| {
                let sum = sum * multiplier.powi(steps_before as i32);
                Target {
                    loss_ratio: self.loss_ratio,
                    exceed_ratio: self.exceed_ratio,
                    trial_s: sum.min(self.final_trial.as_secs_f64()),
                    sum_s: sum,
                    log_width: -(1.0 - self.width).ln() * f64::from(1u32 << steps_before),
                }
            })
            .collect();
        targets.reverse();
        targets
    }
}

/// What a search has in view at the moment: a goal, or an easier one before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Target {
    pub loss_ratio: f64,
    pub exceed_ratio: f64,
    /// Seconds of its trials.
    pub trial_s: f64,
    /// Seconds at a load until it is a bound.
    pub sum_s: f64,
    /// `ln(upper / lower)` at which the bounds are close enough.
    pub log_width: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_grow_to_the_goal_and_halve_their_width() {
        let goal = Goal::ndr();
        let targets = goal.targets();
        assert_eq!(targets.len(), 3);
        let last = targets.last().unwrap();
        assert!((last.trial_s - 5.0).abs() < 1e-9 && (last.sum_s - 15.0).abs() < 1e-9);
        assert!((targets[0].trial_s - 1.0).abs() < 1e-9 && (targets[0].sum_s - 1.0).abs() < 1e-9);
        for pair in targets.windows(2) {
            assert!(pair[0].sum_s <= pair[1].sum_s);
            assert!((pair[0].log_width / pair[1].log_width - 2.0).abs() < 1e-9);
        }
    }

    #[test]
    fn trials_are_never_longer_than_the_final_one() {
        let goal = Goal::pdr().with_final_trial(Duration::from_millis(200));
        assert!(goal.targets().iter().all(|target| target.trial_s <= 0.2 + 1e-9));
    }
}
