//! Measuring: what the benchmarks have in common.
//!
//! `bench` measures the packet path. README.md says how to run it and what each number means; `runs/` holds what came out,
//! `JOURNAL.md` what was tried.
//!
//! Read in this order: [`measure`] and [`calibration`] (what a number is, and what it is held against), [`packets`],
//! [`rotation`] and [`sequence`] (what goes in), [`realm`] and [`world`] (the state that it meets); then the cases: [`path`] and
//! [`stage`] of the path, [`turn`], [`fleet`], [`idle`] and [`threads`] of workers, [`insertion`], [`churn`]
//! and [`footprint`] of tables;
//! [`queue`] of shaped ports; last [`memory`] and [`place`] (what is told of the machine).
#![forbid(unsafe_code)]

pub mod calibration;
pub mod churn;
pub mod fleet;
pub mod footprint;
pub mod idle;
pub mod insertion;
pub mod measure;
pub mod memory;
pub mod packets;
pub mod path;
pub mod place;
pub mod queue;
pub mod random;
pub mod realm;
pub mod rotation;
pub mod rules;
pub mod sequence;
pub mod stage;
pub mod threads;
pub mod turn;
pub mod world;
