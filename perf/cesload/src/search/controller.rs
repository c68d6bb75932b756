//! The Controller of RFC 9971 §4.9.2: a state machine without I/O and clock. It says which trial is next,
//! is told what became of it, and knows the results at any time.

use super::goal::Goal;
use super::load::{Bounds, Class, Outcomes, Tried, TriedLoad, classify_by, conditional_throughput};
use super::selector::{Range, Selector};
use serde::Serialize;
use std::time::Duration;

/// Within what to search.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Min Load, a second. If it is an upper bound, the goal has no lower bound.
    pub min_per_second: f64,
    /// Max Load, a second.
    pub max_per_second: f64,
    /// The search ends after this time with what it has.
    pub total: Duration,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Run this trial.
    Trial {
        /// Trial Load, a second.
        per_second: f64,
        /// Trial Duration.
        duration: Duration,
    },
    /// All goals have been reached, or cannot be.
    Done,
    /// The time is over before that.
    TimedOut,
}

/// Whether a goal's result is a regular one (RFC 9971, "Goal Results"), and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Both bounds, and as close as they should be.
    Regular,
    /// Even the smallest load is lossier than the goal allows.
    NoLowerBound,
    /// Even the largest load is carried: the device, or what the generator can tell of it, ends above.
    NoUpperBound,
    /// The search ended before the bounds were close enough.
    Unfinished,
}

/// What was found for a goal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GoalResult {
    /// The goal.
    pub goal: Goal,
    /// Whether it is a regular result.
    pub ending: Ending,
    /// Relevant Lower Bound, a second. Without an upper bound: the largest load that was carried.
    pub lower_per_second: Option<f64>,
    /// Relevant Upper Bound, a second.
    pub upper_per_second: Option<f64>,
    /// `1 - lower / upper`, if there are both.
    pub width: Option<f64>,
    /// Conditional Throughput at the lower bound, a second.
    pub throughput_per_second: Option<f64>,
    /// Loss at the lower bound: the mean over its full-length trials.
    pub loss_ratio: Option<f64>,
    /// The upper bound is one only because the load could not be offered, or because the generator dropped what came back: the
    /// device may be faster.
    pub limited_by_generator: bool,
    /// What was sent at the upper bound, a second, in the mean of its trials.
    pub upper_sent_per_second: Option<f64>,
    /// The smallest load with a trial that lost more than the goal allows, a second. Short trials without loss say little, short
    /// ones with loss do, if the goal is to lose nothing.
    pub smallest_lossy_per_second: Option<f64>,
    /// The largest load with a full-length trial that did not lose more, a second.
    pub largest_lossless_per_second: Option<f64>,
}

impl GoalResult {
    /// Over which part of the load trials contradict each other; to be compared with the goal's width. A device that does the
    /// same in each trial has none.
    pub fn noise(&self) -> Option<f64> {
        contradiction(self.smallest_lossy_per_second, self.largest_lossless_per_second)
    }
}

/// `1 - smallest / largest`, if something was lost at a smaller load than the largest at which nothing was.
pub fn contradiction(smallest_lossy: Option<f64>, largest_lossless: Option<f64>) -> Option<f64> {
    let (smallest, largest) = (smallest_lossy?, largest_lossless?);
    (smallest <= largest).then(|| 1.0 - smallest / largest)
}

/// At the smallest load, so that a width can be halved twice.
const THOUSANDTHS_IN_WIDTH: f64 = 4.0;

/// See the module's text.
#[derive(Debug)]
pub struct Controller {
    selectors: Vec<Selector>,
    outcomes: Outcomes,
    range: Range,
    total: Duration,
    trials: usize,
}

impl Controller {
    /// For these goals, of which there must be at least one.
    pub fn new(goals: &[Goal], limits: Limits) -> Controller {
        let max = TriedLoad::per_second(limits.max_per_second);
        // Loads are whole thousandths: a width must be several of them.
        let narrowest = goals.iter().map(|goal| goal.width).fold(1.0, f64::min);
        let min = TriedLoad::per_second(limits.min_per_second.max(THOUSANDTHS_IN_WIDTH / 1000.0 / narrowest))
            .min(max);
        Controller {
            selectors: goals.iter().cloned().map(Selector::new).collect(),
            outcomes: Outcomes::new(),
            range: Range { min, max },
            total: limits.total,
            trials: 0,
        }
    }

    /// Trials that were told so far.
    pub fn trials(&self) -> usize {
        self.trials
    }

    /// The next trial. `elapsed` is the time since the search began.
    pub fn poll_step(&mut self, elapsed: Duration) -> Step {
        // Of what the goals ask for, the shortest trial, and of those the smallest load: its result may move the others.
        let next = self
            .selectors
            .iter_mut()
            .filter_map(|selector| selector.nominate(&self.outcomes, self.range))
            .min_by(|(load, seconds), (other_load, other_seconds)| {
                seconds.total_cmp(other_seconds).then(load.cmp(other_load))
            });
        match next {
            None => Step::Done,
            Some(_) if elapsed >= self.total => Step::TimedOut,
            Some((load, seconds)) => {
                Step::Trial { per_second: load.as_per_second(), duration: Duration::from_secs_f64(seconds) }
            }
        }
    }

    /// Tells what became of a trial at this load.
    pub fn handle_outcome(&mut self, per_second: f64, outcome: Tried) {
        self.trials += 1;
        self.outcomes.entry(TriedLoad::per_second(per_second)).or_default().push(outcome);
    }

    /// What is known by now, goal by goal in their order.
    pub fn results(&self) -> Vec<GoalResult> {
        self.selectors.iter().map(|selector| self.result(selector)).collect()
    }

    fn result(&self, selector: &Selector) -> GoalResult {
        let target = selector.final_target();
        let bounds = Bounds::of(target, &self.outcomes);
        let width = bounds.log_width().map(|log_width| 1.0 - (-log_width).exp());
        let ending = match (bounds.lower, bounds.upper) {
            (_, Some(upper)) if upper == self.range.min => Ending::NoLowerBound,
            (Some(lower), None) if lower == self.range.max => Ending::NoUpperBound,
            // Loads are rounded to thousandths.
            (Some(_), Some(_)) if width.is_some_and(|width| width <= selector.goal.width + 1e-6) => {
                Ending::Regular
            }
            _ => Ending::Unfinished,
        };
        let limited_by_generator = bounds.upper.is_some_and(|upper| {
            classify_by(target, &self.outcomes[&upper], |outcome| outcome.device_loss_ratio) != Class::Upper
        });
        let lossy = |outcome: &Tried| outcome.loss_ratio > target.loss_ratio;
        let full = |outcome: &Tried| outcome.intended_s >= target.trial_s - 1e-9;
        // Where loss is allowed, a short trial's burst of it may be made up for by a long one's rest.
        let tells = |outcome: &Tried| target.loss_ratio == 0.0 || full(outcome);
        let mut from_below = self.outcomes.iter();
        let smallest_lossy =
            from_below.find(|(_, all)| all.iter().any(|outcome| tells(outcome) && lossy(outcome)));
        let mut from_above = self.outcomes.iter().rev();
        let largest_lossless =
            from_above.find(|(_, all)| all.iter().any(|outcome| full(outcome) && !lossy(outcome)));
        let at_lower = bounds.lower.map(|load| (load, &self.outcomes[&load]));
        GoalResult {
            goal: selector.goal.clone(),
            ending,
            lower_per_second: bounds.lower.map(TriedLoad::as_per_second),
            upper_per_second: bounds.upper.map(TriedLoad::as_per_second),
            width,
            throughput_per_second: at_lower
                .map(|(load, outcomes)| conditional_throughput(target, load, outcomes)),
            loss_ratio: at_lower.map(|(_, outcomes)| mean_full_length_loss(outcomes, target.trial_s)),
            limited_by_generator,
            upper_sent_per_second: bounds.upper.map(|upper| mean_sent(&self.outcomes[&upper])),
            smallest_lossy_per_second: smallest_lossy.map(|(load, _)| load.as_per_second()),
            largest_lossless_per_second: largest_lossless.map(|(load, _)| load.as_per_second()),
        }
    }
}

fn mean_sent(outcomes: &[Tried]) -> f64 {
    outcomes.iter().map(|outcome| outcome.sent_per_second).sum::<f64>() / outcomes.len().max(1) as f64
}

fn mean_full_length_loss(outcomes: &[Tried], trial_s: f64) -> f64 {
    let full: Vec<f64> = outcomes
        .iter()
        .filter(|outcome| outcome.intended_s >= trial_s - 1e-9)
        .map(|outcome| outcome.loss_ratio)
        .collect();
    full.iter().sum::<f64>() / full.len().max(1) as f64
}
