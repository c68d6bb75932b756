//! The packet path: tables, translation, tunnels, and the worker loop.
//!
//! The core is pure: packets, time and state are arguments. Only `io` knows DPDK.
//!
//! Read in this order: [`frame`] (what a packet is to the core), [`verdict`] (what can become of it), [`path`] (how a
//! burst goes from one to the other), [`state`] (what a worker owns and how the control thread changes it).

#![forbid(unsafe_code)]

pub mod binding;
pub mod counters;
pub mod frame;
pub mod hop;
pub mod index;
pub mod io;
pub mod limits;
pub mod meter;
pub mod msg;
pub mod path;
pub mod port;
pub mod reason;
pub mod settings;
pub mod state;
pub mod tag;
pub mod tunnel;
pub mod verdict;
pub mod worker;

pub use ces_wire as wire;

/// Nanoseconds since an arbitrary start. The core reads no clock: `now` is an argument.
pub type Nanos = u64;
