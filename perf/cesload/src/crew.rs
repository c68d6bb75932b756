//! What the generator's threads tell each other, and the one that watches them.
//!
//! Threads have no state in common but these words. They meet between the phases of a trial: whoever is done goes on to receive
//! and to answer until all are, since what belongs to another thread's sessions may come to any of them.

use crate::trial::{Counts, Published};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;

/// What a trial is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum TrialStage {
    /// Sessions are begun.
    #[default]
    Begin = 0,
    /// Sessions that are kept open are used.
    Hold = 1,
    /// Sessions that were kept open end.
    End = 2,
}

impl TrialStage {
    /// How many there are.
    pub const COUNT: usize = 3;
}

/// What one thread has counted so far in its stage.
#[derive(Debug, Default)]
pub struct Gauge {
    stage: AtomicU8,
    counts: Published,
}

impl Gauge {
    /// Says it.
    pub fn publish(&self, stage: TrialStage, counts: &Counts) {
        self.counts.publish(counts);
        self.stage.store(stage as u8, Ordering::Relaxed);
    }
}

/// A port that is stuck: none.
const NONE: usize = usize::MAX;

/// All threads of a trial.
#[derive(Debug)]
pub struct Crew {
    /// Set to end the trial.
    stop: AtomicBool,
    /// Whether the last packets have been waited for.
    over: AtomicBool,
    /// Whether a thread is gone: nobody waits for it.
    broken: AtomicBool,
    /// How often a thread has come to a meeting.
    arrived: AtomicUsize,
    /// A port that has taken nothing for too long.
    stuck: AtomicUsize,
    gauges: Vec<Gauge>,
}

/// A thread that ends without having said that it is done takes the others with it.
struct Present<'a> {
    crew: &'a Crew,
    done: bool,
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.crew.give_up();
        }
    }
}

impl Crew {
    /// So many threads.
    pub fn new(threads: usize) -> Self {
        Self {
            stop: AtomicBool::new(false),
            over: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            arrived: AtomicUsize::new(0),
            stuck: AtomicUsize::new(NONE),
            gauges: (0..threads).map(|_| Gauge::default()).collect(),
        }
    }

    /// Does `work` with each of the lanes on a thread of its own, which `watch` watches until they are over. What each came to.
    pub fn run<L: Send, R: Send>(
        &self,
        lanes: &mut [L],
        work: impl Fn(usize, &mut L) -> Result<R, String> + Sync,
        watch: impl FnOnce(&dyn Fn() -> bool),
    ) -> Result<Vec<R>, String> {
        let work = &work;
        std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for (number, lane) in lanes.iter_mut().enumerate() {
                let run = move || {
                    let mut present = Present { crew: self, done: false };
                    let came_to = work(number, lane)?;
                    present.done = true;
                    Ok(came_to)
                };
                match std::thread::Builder::new().name(format!("generator{number}")).spawn_scoped(scope, run)
                {
                    Ok(thread) => threads.push(thread),
                    Err(error) => {
                        self.give_up();
                        return Err(format!("no thread for the generator: {error}"));
                    }
                }
            }
            watch(&|| threads.iter().all(ScopedJoinHandle::is_finished));
            self.over.store(true, Ordering::Release);
            let panicked = |_| Err("a thread of the generator has panicked".to_owned());
            let join =
                |thread: ScopedJoinHandle<'_, Result<R, String>>| thread.join().unwrap_or_else(panicked);
            // All are joined, whatever became of the first.
            let results: Vec<_> = threads.into_iter().map(join).collect();
            results.into_iter().collect()
        })
    }

    /// What a thread has counted.
    pub fn gauge(&self, thread: usize) -> &Gauge {
        &self.gauges[thread]
    }

    /// Ends the trial.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether it is to end.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether nothing is waited for any more.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire) || self.broken.load(Ordering::Acquire)
    }

    /// A port has taken nothing for too long.
    pub fn report_stuck(&self, port: usize) {
        self.stuck.store(port, Ordering::Release);
    }

    /// A port that has.
    pub fn stuck(&self) -> Option<usize> {
        Some(self.stuck.load(Ordering::Acquire)).filter(|port| *port != NONE)
    }

    /// A thread cannot go on: the others end, too, and do not wait for it.
    pub fn give_up(&self) {
        self.broken.store(true, Ordering::Release);
        self.stop();
    }

    /// A thread comes to a meeting.
    pub fn arrive(&self) {
        self.arrived.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether all have come to so many meetings, or one never will.
    pub fn have_met(&self, meetings: usize) -> bool {
        self.arrived.load(Ordering::Acquire) >= meetings * self.gauges.len()
            || self.broken.load(Ordering::Acquire)
    }

    /// The stage that the first thread is at, and what all that are at it have counted. The numbers may be of several moments.
    pub fn counts(&self) -> (usize, Counts) {
        let stage = |gauge: &Gauge| gauge.stage.load(Ordering::Relaxed);
        let now = self.gauges.first().map_or(0, stage);
        let mut sum = Counts::default();
        for gauge in self.gauges.iter().filter(|gauge| stage(gauge) == now) {
            sum.add(&gauge.counts.read());
        }
        (usize::from(now).min(TrialStage::COUNT - 1), sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_the_dead() {
        let crew = Crew::new(2);
        crew.arrive();
        assert!(crew.have_met(0) && !crew.have_met(1));
        crew.arrive();
        assert!(crew.have_met(1) && !crew.have_met(2));
        crew.give_up();
        assert!(crew.have_met(2) && crew.is_stopped() && crew.is_over());
    }

    #[test]
    fn counts_are_those_of_one_stage() {
        let crew = Crew::new(2);
        let sent = |sent| Counts { sent, ..Counts::default() };
        crew.gauge(0).publish(TrialStage::Begin, &sent(3));
        crew.gauge(1).publish(TrialStage::Begin, &sent(4));
        assert_eq!(crew.counts(), (0, sent(7)));
        crew.gauge(0).publish(TrialStage::Hold, &sent(1));
        assert_eq!(crew.counts(), (1, sent(1)));
    }
}
