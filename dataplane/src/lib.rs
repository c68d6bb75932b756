//! The packet path: tables, translation, tunnels, and the worker loop.
//!
//! The core is pure: packets, time and state are arguments. Only `io` knows DPDK.
//!
//! Read in this order: [`frame`] (what a packet is to the core), [`verdict`] (what can become of it), [`state`] (what a
//! worker owns and how the control thread changes it), [`table`], [`premises`] and [`way`] (the owners: what leads a packet
//! on, what is the gateway's own, how a packet leaves), [`path`] (how a burst goes from frames to verdicts), [`queue`] (where
//! it waits to be sent), [`worker`] (the loop around it).

#![forbid(unsafe_code)]

pub mod alg;
pub mod counters;
pub mod egress;
pub mod events;
pub mod frame;
pub mod io;
pub mod msg;
pub mod narrow;
pub mod nat;
pub mod packet;
pub mod path;
pub mod port;
pub mod premises;
pub mod queue;
pub mod reason;
pub mod seal;
pub mod settings;
pub mod state;
pub mod table;
pub mod tag;
mod trace;
pub mod verdict;
pub mod way;
pub mod worker;

pub use ces_filter as filter;
pub use ces_meter as meter;
pub use ces_wire as wire;

pub use ces_meter::Nanos;
