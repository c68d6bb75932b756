//! The gateway's decisions without I/O or clock: who the hosts are, what they may do, and the life of a name from a
//! host's query to a binding in the data plane.
//!
//! The driver gives in what happened ([`Gateway`]'s `handle_` methods), and takes out what is to be done
//! ([`Gateway::poll_output`]). Time is an argument, randomness a seed, files are text.
//!
//! Reading order: `sessions`, then who owns what (`configuration`, `hosts`, `asking`, `fabric`), `core`, and `gateway` with the
//! lives of names and bindings.

#![forbid(unsafe_code)]

mod added;
pub mod address;
mod asking;
mod claims;
mod configuration;
mod core;
pub mod counters;
mod fabric;
mod forwarding;
pub mod gateway;
mod hosts;
pub mod inbound;
pub mod journal;
mod known;
mod leased;
pub mod log;
pub mod names;
mod neighbours;
mod network;
mod outbox;
pub mod output;
mod paths;
mod pins;
mod platform;
mod probes;
mod rates;
pub mod registry;
pub mod routes;
mod seal_keys;
pub mod sessions;
pub mod settings;
mod shares;
mod signs;
pub mod snapshot;
mod word;

pub use added::{AddedName, AddedRecord, AddedRow};
pub use ces_settings::SourceFile;
pub use core::figures;
pub use gateway::{Discarded, Gateway, PIECE, Reloaded, Restored};
pub use leased::LeasedHost;
pub use log::{LogLine, Severity};
pub use output::{AdminToken, Output, QueryToken};
pub use pins::Evidence;
pub use platform::Platform;
pub use registry::{PolicySet, Registry};
pub use routes::{LearntRoute, Routes};
pub use sessions::{CesSessions, Change};
pub use settings::CoreSettings;

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
