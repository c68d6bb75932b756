//! How a mode ends.

use crate::search::Stopped;
use serde::Serialize;

/// How a mode ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict", content = "why")]
pub enum Verdict {
    /// It was measured; there is nothing to pass or fail.
    Done,
    /// It was measured, and meets its criterion.
    Passed,
    /// It was measured, and fails its criterion; how.
    Failed(String),
    /// The user ended it before it was done.
    Interrupted,
    /// Something broke; what.
    Error(String),
}

impl Verdict {
    /// The program's exit status.
    pub fn exit_status(&self) -> u8 {
        match self {
            Verdict::Done | Verdict::Passed => 0,
            Verdict::Interrupted | Verdict::Error(_) => 1,
            Verdict::Failed(_) => 3,
        }
    }

    /// Of a run that was stopped like this; nothing if it was not.
    pub fn of_stopped(stopped: &Stopped) -> Option<Verdict> {
        match stopped {
            Stopped::No | Stopped::TimedOut => None,
            Stopped::Interrupted => Some(Verdict::Interrupted),
            Stopped::Failed(why) => Some(Verdict::Error(why.clone())),
        }
    }
}

/// A mode's end.
#[derive(Clone, Debug)]
pub struct Ended<T> {
    /// What it found.
    pub findings: T,
    /// How it ended.
    pub verdict: Verdict,
    /// What a reader has to know, in a sentence each.
    pub notes: Vec<String>,
}

impl<T> Ended<T> {
    /// With its findings as one of all modes'.
    pub fn told<F>(self, find: impl FnOnce(T) -> F) -> Ended<F> {
        Ended { findings: find(self.findings), verdict: self.verdict, notes: self.notes }
    }
}
