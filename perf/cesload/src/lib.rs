//! cesload: a traffic generator and sink on DPDK ports.
//!
//! A **profile** says what is sent. An **engine** sends it for a while at a given load, and counts what comes back: that is a
//! **trial**. A **search** runs trials until it knows a rate; a **mode** is a search with its criterion; a **report** tells.
//!
//! Read in this order: [`profile`] and [`frame`] (what is sent), [`port`] and [`arp`] (where), the [`crew`] of threads of the
//! two engines, [`stream`] (packets at a rate, with [`track`]) and [`session`] (sessions with an end), [`trial`] and [`latency`]
//! (what came of it), [`search`], [`mode`], [`observer`] and [`report`]. [`wire`] is a device to measure the generator itself
//! by; [`words`] is how numbers are written.

#![forbid(unsafe_code)]

pub mod arp;
pub mod crew;
pub mod frame;
pub mod latency;
pub mod mode;
pub mod observer;
pub mod port;
pub mod profile;
pub mod report;
pub mod search;
pub mod session;
pub mod stream;
mod sums;
pub mod track;
pub mod trial;
pub mod wire;
pub mod words;
