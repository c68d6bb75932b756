//! What the generator's threads and the thread that watches them share.

use crate::trial::{Counts, Published};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// How far a trial is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Threads poll, and send nothing yet.
    Ready = 0,
    /// Packets are sent.
    Send = 1,
    /// The last ones are waited for.
    Drain = 2,
    /// Threads end.
    End = 3,
}

/// A port that is stuck: none.
const NONE: u32 = u32::MAX;

/// What all share.
#[derive(Debug)]
pub struct Shared {
    phase: AtomicU8,
    /// The counter at the start of sending.
    start: AtomicU64,
    /// Threads that are ready.
    ready: AtomicU32,
    /// Threads that have sent all they will.
    finished: AtomicU32,
    /// A port that has taken nothing for too long.
    stuck: AtomicU32,
    /// What each thread has counted.
    pub threads: Vec<Published>,
}

impl Shared {
    /// For so many threads.
    pub fn new(threads: usize) -> Self {
        Self {
            phase: AtomicU8::new(Phase::Ready as u8),
            start: AtomicU64::new(0),
            ready: AtomicU32::new(0),
            finished: AtomicU32::new(0),
            stuck: AtomicU32::new(NONE),
            threads: (0..threads).map(|_| Published::default()).collect(),
        }
    }

    /// How far the trial is.
    #[inline(always)]
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Ready,
            1 => Phase::Send,
            2 => Phase::Drain,
            _ => Phase::End,
        }
    }

    /// Goes on to another phase.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// Begins to send, from `start` of the counter on.
    pub fn begin(&self, start: u64) {
        self.start.store(start, Ordering::Relaxed);
        self.enter(Phase::Send);
    }

    /// The counter at the start of sending.
    pub fn start(&self) -> u64 {
        self.start.load(Ordering::Relaxed)
    }

    /// A thread is ready.
    pub fn report_ready(&self) {
        self.ready.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether all threads are ready.
    pub fn all_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire) as usize == self.threads.len()
    }

    /// A thread has sent all it will.
    pub fn report_finished(&self) {
        self.finished.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether all threads have.
    pub fn all_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire) as usize == self.threads.len()
    }

    /// A port has taken nothing for too long.
    pub fn report_stuck(&self, port: usize) {
        self.stuck.store(port as u32, Ordering::Release);
    }

    /// A port that has.
    pub fn stuck(&self) -> Option<usize> {
        let port = self.stuck.load(Ordering::Acquire);
        (port != NONE).then_some(port as usize)
    }

    /// The sum of all threads.
    pub fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        for thread in &self.threads {
            sum.add(&thread.read());
        }
        sum
    }
}
