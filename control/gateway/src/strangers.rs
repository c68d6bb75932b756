//! Inside hosts that no file names: how much each may ask. They resolve ordinary names and go out; nobody reaches them by
//! name, and nothing is negotiated for them.
//!
//! As many as there are, a fixed number of meters holds them: two hosts may share one.

use crate::Nanos;
use crate::address::HostAddress;
use ces_meter::{Level, Rate};
use rustc_hash::FxSeededState;
use std::hash::BuildHasher;

/// Meters.
const METERS: usize = 1024;

/// The hosts' meters.
pub(crate) struct Strangers {
    levels: Vec<Level>,
    seed: FxSeededState,
}

impl Strangers {
    /// All full.
    pub(crate) fn new(seed: u64) -> Self {
        Self { levels: vec![Level::default(); METERS], seed: FxSeededState::with_seed(seed as usize) }
    }

    /// Whether this host may ask once more.
    pub(crate) fn admit(&mut self, host: HostAddress, rate: Rate, now: Nanos) -> bool {
        let place = self.seed.hash_one(host) as usize % METERS;
        self.levels[place].take(rate, now)
    }
}
