//! MLRsearch, after RFC 9971: the largest load at which no more is lost than a goal allows.
//!
//! Several goals (no loss: NDR; 0.5 %: PDR) share one search and its trials. What is a bound is the RFC's definition to the
//! letter (`load.rs`); which load is tried next is this module's own choice in the spirit of the RFC's prototype (`selector.rs`).
//! None of it runs a trial or reads a clock; `run.rs` does both.

mod controller;
mod goal;
mod load;
mod run;
mod selector;

#[cfg(test)]
mod tests;

pub use controller::{Controller, Ending, GoalResult, Limits, Step, contradiction};
pub use goal::{EXCEED_RATIO, FINAL_TRIAL, Goal, INITIAL_TRIAL, PDR_LOSS_RATIO, TRIALS_IN_SUM, WIDTH};
pub use load::{Tried, offered};
pub use run::{FULL_SPEED, MaxLoad, Ran, SEARCH, SearchPlan, SearchResult, Stopped, run_trial, search};
