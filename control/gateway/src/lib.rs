//! The gateway's decisions without I/O or clock: who the hosts are, what they may do, and the life of a name from a
//! host's query to a binding in the data plane.
//!
//! The driver gives in what happened ([`Gateway`]'s `handle_` methods), and takes out what is to be done
//! ([`Gateway::poll_output`]). Time is an argument, randomness a seed, files are text.

#![forbid(unsafe_code)]

pub mod address;
mod admin;
mod asking;
mod bindings;
mod chores;
mod claims;
mod core;
pub mod counters;
mod forwarding;
pub mod gateway;
mod hosts;
mod identity;
mod inside;
pub mod journal;
mod known;
mod local;
pub mod log;
pub mod names;
mod neighbours;
mod network;
pub mod output;
mod outside;
mod paths;
mod pieces;
mod pins;
mod platform;
mod probes;
mod probing;
mod rates;
pub mod registry;
mod reload;
mod reloading;
mod restore;
mod reverse;
pub mod routes;
pub mod sessions;
pub mod settings;
mod shares;
pub mod snapshot;
mod word;

pub use ces_settings::SourceFile;
pub use core::figures;
pub use gateway::Gateway;
pub use log::{Entry, Level};
pub use output::{AdminToken, Output, QueryToken};
pub use pins::Evidence;
pub use platform::Platform;
pub use registry::{PolicySet, Registry};
pub use reloading::{Discarded, PIECE, Reloaded};
pub use restore::Restored;
pub use routes::{Route, Routes};
pub use sessions::{Change, Sessions};
pub use settings::Settings;

/// A MAC address.
pub type Mac = [u8; 6];

/// A MAC address as people read it.
pub fn mac_text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Nanoseconds since an arbitrary start.
pub type Nanos = u64;

/// Nanoseconds in a second.
pub(crate) const SECOND: Nanos = 1_000_000_000;
