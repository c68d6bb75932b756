//! What a trial is for: each mode runs trials, judges them by its criterion and tells its findings.
//!
//! Modes know no port, no terminal and no file; they are tested on the same arithmetic devices as the search.

pub mod command;
pub mod ladder;
pub mod log;
pub mod rate;
pub mod reconfig;
pub mod throughput;
mod verdict;

#[cfg(test)]
pub(crate) mod tests;

pub use verdict::{Ended, Verdict};

/// What a mode found, as far as it came.
#[derive(Clone, Debug)]
pub enum Findings {
    /// One trial, or what there was of it; nothing if it could not begin.
    Rate(Option<crate::trial::Trial>),
    /// Searches, of packets or sessions.
    Throughput(throughput::Findings),
    /// The session ladder.
    Ladder(ladder::Findings),
    /// Trials with a command in them.
    Reconfig(reconfig::Findings),
}
