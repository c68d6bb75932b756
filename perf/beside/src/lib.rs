//! The gateway beside what a person would use instead.
//!
//! `dut` runs the gateway's own worker loop with a realm full of bindings. `beside` starts it and the others, one after the
//! other, on the same core, has the same generator offer the same packets to each, and prints ratios. README.md says what
//! each of them is configured to do and how to read the table.
#![forbid(unsafe_code)]

pub mod case;
pub mod device;
pub mod dut;
pub mod export;
pub mod frame;
pub mod generator;
pub mod interrupt;
pub mod memory;
pub mod probe;
pub mod process;
pub mod realm;
pub mod report;
pub mod run;
pub mod scratch;
pub mod soaker;
pub mod spread;
pub mod stats;
