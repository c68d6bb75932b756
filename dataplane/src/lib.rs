//! The packet path: wire formats, tables, translation, tunnels, and the worker loop.
//!
//! The core is pure: packets, time and state are arguments. Only `io` knows DPDK.

pub mod msg;
pub mod reason;
pub mod tag;
