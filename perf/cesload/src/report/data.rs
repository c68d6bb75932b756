//! What is told of a run, whatever the form.

use crate::mode::{Ended, Findings};
use crate::search::{FULL_SPEED, SEARCH};
use crate::trial::Trial;
use ces_perf::place::Machine;

/// Everything that is told of a run.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// The mode, as on the command line.
    pub mode: String,
    /// The commit, if it is known.
    pub commit: Option<String>,
    /// When it began, by RFC 3339.
    pub started: String,
    /// How long it took.
    pub seconds: f64,
    /// The command line.
    pub command: Vec<String>,
    /// The machine that measured.
    pub machine: Machine,
    /// The profile's file.
    pub profile_path: String,
    /// The profile's text.
    pub profile: String,
    /// What the mode found.
    pub ended: Ended<Findings>,
    /// Every trial, in order.
    pub trials: Vec<Trial>,
}

/// The version of cesload.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

impl RunReport {
    /// Notes of the findings and of the trials, each once. Those of a search's trials are left out: that a load was too much is
    /// what it is searching for.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = self.ended.notes.clone();
        let told = self.trials.iter().filter(|trial| trial.label != SEARCH && trial.label != FULL_SPEED);
        for note in told.flat_map(|trial| &trial.notes) {
            if !notes.contains(note) {
                notes.push(note.clone());
            }
        }
        notes
    }
}
