//! cesload: a traffic generator and sink on DPDK ports.
//!
//! A **profile** says what is sent. An **engine** sends it for a while at a given load, and counts what comes back: that is a
//! **trial**. A **search** runs trials until it knows a rate; a **mode** is a search with its criterion; a **report** tells.

#![forbid(unsafe_code)]

pub mod arp;
pub mod frame;
pub mod mode;
pub mod observer;
pub mod port;
pub mod profile;
pub mod record;
pub mod report;
pub mod search;
pub mod session;
pub mod stream;
mod sums;
pub mod track;
pub mod trial;
pub mod wire;
pub mod words;
