//! Who sees trials begin, run and end: the terminal, the report, tests.

use crate::trial::{Progress, Trial, Watch};
use std::time::Duration;

/// A trial that is about to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// What it is for: "search", "latency at 50 % of PDR".
    pub label: String,
    /// What will be offered a second; `None` = as fast as it goes.
    pub per_second: Option<f64>,
    /// For how long.
    pub duration: Duration,
}

impl Planned {
    /// The trial that was run for it.
    pub fn became(&self, trial: Trial) -> Trial {
        Trial { label: self.label.clone(), intended_seconds: self.duration.as_secs_f64(), ..trial }
    }
}

/// Sees what happens, and may end it.
pub trait Observer {
    /// A trial begins.
    fn begins(&mut self, planned: &Planned);
    /// It runs; called a few times a second.
    fn watch(&mut self, progress: Progress) -> Watch;
    /// It has ended, or failed with at least this to show.
    fn ended(&mut self, trial: &Trial);
}
