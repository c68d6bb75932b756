//! Runs a search on something that runs trials.

use super::controller::{Controller, GoalResult, Limits, Step};
use super::goal::Goal;
use super::load::{Tried, offered};
use crate::observer::{Observer, Planned};
use crate::trial::{Failure, Progress, Trial, Trials, Watch};
use serde::Serialize;
use std::time::Duration;

/// The label of a search's trials.
pub const SEARCH: &str = "search";
/// The label of the trial that finds out how much can be sent.
pub const FULL_SPEED: &str = "full speed";

/// What to search, and between which loads.
#[derive(Clone, Debug)]
pub struct SearchPlan {
    /// At least one goal.
    pub goals: Vec<Goal>,
    /// The smallest load that is tried, a second.
    pub min_per_second: f64,
    /// The largest; without one the line rate, or if the ports do not tell it, what can be sent at full speed.
    pub max_per_second: Option<f64>,
    /// The search ends after this time with what it has.
    pub total: Duration,
}

/// Why a search ended before its goals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stopped {
    /// It did not.
    No,
    /// [`SearchPlan::total`] is over.
    TimedOut,
    /// The user ended it.
    Interrupted,
    /// A trial failed; why.
    Failed(String),
}

/// Where a search's largest load comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaxLoad {
    /// The user.
    Given,
    /// The ports' link speed.
    LineRate,
    /// A trial at full speed, and [`ABOVE_FULL_SPEED`] more.
    Measured,
}

/// By how much the largest load exceeds what a short trial sent at full speed: where a port holds back what its device cannot
/// take,
/// full speed is the device's own, and a search needs a load that is too much to tell that. It also changes from trial to trial.
const ABOVE_FULL_SPEED: f64 = 1.25;

/// What a search found.
#[derive(Clone, Debug)]
pub struct SearchResult {
    /// Goal by goal.
    pub goals: Vec<GoalResult>,
    /// How many trials were run to their end.
    pub trials: usize,
    /// How long it took.
    pub elapsed: Duration,
    /// The largest load that could be tried, a second, and where it comes from; nothing if the search ended before it was known.
    pub max_load: Option<(f64, MaxLoad)>,
    /// What was sent at full speed, a second, if that was tried: it tells how fast the machine was before the search.
    pub full_speed_per_second: Option<f64>,
    /// The most that was sent a second in a trial that should have sent more: the limit of generator and ports. A device that
    /// does not empty a memory ring shows here, too.
    pub most_sent_per_second: Option<f64>,
    /// Why it ended before its goals.
    pub stopped: Stopped,
}

/// Searches. `now` tells the time since any fixed moment.
pub fn search(
    trials: &mut dyn Trials,
    plan: &SearchPlan,
    observer: &mut dyn Observer,
    now: &mut dyn FnMut() -> Duration,
) -> SearchResult {
    let start = now();
    let mut found = SearchResult {
        goals: Vec::new(),
        trials: 0,
        elapsed: Duration::ZERO,
        max_load: None,
        full_speed_per_second: None,
        most_sent_per_second: None,
        stopped: Stopped::No,
    };
    match max_load(trials, plan, observer, &mut found.full_speed_per_second) {
        Ok(max_load) => {
            found.max_load = Some(max_load);
            let limits =
                Limits { min_per_second: plan.min_per_second, max_per_second: max_load.0, total: plan.total };
            let mut controller = Controller::new(&plan.goals, limits);
            let width = plan.goals.iter().map(|goal| goal.width).fold(1.0, f64::min);
            let most_sent = &mut found.most_sent_per_second;
            found.stopped = drive(&mut controller, width, trials, observer, most_sent, &mut || {
                now().saturating_sub(start)
            });
            found.goals = controller.results();
            found.trials = controller.trials();
        }
        Err(stopped) => found.stopped = stopped,
    }
    if let Some(full_speed) = found.full_speed_per_second {
        found.most_sent_per_second = Some(found.most_sent_per_second.unwrap_or(0.0).max(full_speed));
    }
    found.elapsed = now().saturating_sub(start);
    found
}

fn drive(
    controller: &mut Controller,
    width: f64,
    trials: &mut dyn Trials,
    observer: &mut dyn Observer,
    most_sent: &mut Option<f64>,
    elapsed: &mut dyn FnMut() -> Duration,
) -> Stopped {
    loop {
        let (per_second, duration) = match controller.poll_step(elapsed()) {
            Step::Trial { per_second, duration } => (per_second, duration),
            Step::Done => return Stopped::No,
            Step::TimedOut => return Stopped::TimedOut,
        };
        let planned = Planned { label: SEARCH.to_owned(), per_second: Some(per_second), duration };
        match run_trial(trials, &planned, observer) {
            Ran { trial: Some(trial), stopped: Stopped::No } => {
                if !offered(trial.asked_per_second, trial.counts.sent, trial.seconds, width) {
                    *most_sent = Some(most_sent.unwrap_or(0.0).max(trial.sent_per_second()));
                }
                controller.handle_outcome(per_second, Tried::of(&trial, duration.as_secs_f64(), width));
            }
            Ran { stopped, .. } => return stopped,
        }
    }
}

fn max_load(
    trials: &mut dyn Trials,
    plan: &SearchPlan,
    observer: &mut dyn Observer,
    full_speed: &mut Option<f64>,
) -> Result<(f64, MaxLoad), Stopped> {
    if let Some(max) = plan.max_per_second {
        return Ok((max, MaxLoad::Given));
    }
    if let Some(line_rate) = trials.line_rate() {
        return Ok((line_rate, MaxLoad::LineRate));
    }
    let duration = plan.goals.iter().map(|goal| goal.initial_trial).min().unwrap_or(super::INITIAL_TRIAL);
    let planned = Planned { label: FULL_SPEED.to_owned(), per_second: None, duration };
    let sent = match run_trial(trials, &planned, observer) {
        Ran { trial: Some(trial), stopped: Stopped::No } => trial.sent_per_second(),
        Ran { stopped, .. } => return Err(stopped),
    };
    if sent > 0.0 {
        *full_speed = Some(sent);
        Ok((sent * ABOVE_FULL_SPEED, MaxLoad::Measured))
    } else {
        Err(Stopped::Failed("nothing could be sent at full speed".to_owned()))
    }
}

/// What became of a trial that was to be run.
#[derive(Debug)]
pub struct Ran {
    /// The trial, or what there was of it when it was stopped.
    pub trial: Option<Trial>,
    /// Whether it went to its end.
    pub stopped: Stopped,
}

/// Runs one trial and tells the observer of its beginning and its end, whichever it is.
pub fn run_trial(trials: &mut dyn Trials, planned: &Planned, observer: &mut dyn Observer) -> Ran {
    observer.begins(planned);
    let mut interrupted = false;
    let mut watch = |progress: Progress| {
        let wish = observer.watch(progress);
        interrupted |= wish == Watch::Stop;
        wish
    };
    let (trial, failed) = match trials.run(planned.per_second, planned.duration, &mut watch) {
        Ok(trial) => (Some(trial), None),
        Err(Failure { why, partial }) => (partial.map(|partial| *partial), Some(why)),
    };
    let trial = trial.map(|trial| planned.became(trial));
    if let Some(trial) = &trial {
        observer.ended(trial);
    }
    let stopped = match failed {
        Some(why) => Stopped::Failed(why),
        None if interrupted => Stopped::Interrupted,
        None => Stopped::No,
    };
    Ran { trial, stopped }
}
