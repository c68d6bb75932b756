//! The gateway's decisions without I/O or clock: who the hosts are, what they may do, and the life of a name from a
//! host's query to a binding in the data plane.
//!
//! The driver gives in what happened ([`Gateway`]'s `handle_` methods), and takes out what is to be done
//! ([`Gateway::poll_output`]). Time is an argument, randomness a seed, files are text.

#![forbid(unsafe_code)]

pub mod counters;
pub mod gateway;
mod hosts;
pub mod log;
pub mod names;
pub mod output;
mod pools;
pub mod registry;
pub mod routes;
mod session;
pub mod settings;
pub mod snapshot;

pub use gateway::{Gateway, Platform, Reloaded};
pub use log::{Entry, Level};
pub use output::{AdminToken, Output, QueryToken};
pub use registry::{PolicySet, Registry, SourceError, SourceFile};
pub use routes::Route;
pub use settings::Settings;

/// Nanoseconds since an arbitrary start.
pub type Nanos = u64;

/// Nanoseconds in a second.
pub(crate) const SECOND: Nanos = 1_000_000_000;
/// Nanoseconds in a millisecond.
pub(crate) const MILLISECOND: Nanos = 1_000_000;
