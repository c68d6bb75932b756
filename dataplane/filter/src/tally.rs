//! How often each rule has decided, by worker. Every worker counts in lines of its own, as the only writer.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Numbers in two lines, as the hardware fetches them.
const LINES: usize = 16;

/// The counters.
#[derive(Debug)]
pub(crate) struct Tally {
    counts: Vec<AtomicU64>,
    stride: usize,
    rules: usize,
}

impl Tally {
    pub(crate) fn new(rules: usize, workers: usize) -> Self {
        let stride = rules.next_multiple_of(LINES);
        Self { counts: (0..stride * workers).map(|_| AtomicU64::new(0)).collect(), stride, rules }
    }

    /// A rule has decided for a worker.
    pub(crate) fn count(&self, worker: usize, rule: usize) {
        if let Some(count) = self.counts.get(worker * self.stride + rule) {
            count.store(count.load(Relaxed) + 1, Relaxed);
        }
    }

    /// What all workers counted, by rule.
    pub(crate) fn totals(&self) -> Vec<u64> {
        let of = |rule: usize| self.counts.iter().skip(rule).step_by(self.stride.max(1));
        (0..self.rules).map(|rule| of(rule).map(|count| count.load(Relaxed)).sum()).collect()
    }
}
