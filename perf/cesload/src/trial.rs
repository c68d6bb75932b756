//! A trial: a load offered for a while, and what became of it.
//!
//! What searches and modes run on. They see no port and no packet, so they are tested on a device that is made of arithmetic.

use crate::latency::{Latency, latency_histogram};
use crate::sums::sums;
use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a load counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Packets that are sent; each should be received once.
    Packets,
    /// Sessions that are begun; each should be set up, used and ended.
    Sessions,
}

impl Unit {
    /// What it counts, in words.
    pub fn name(self) -> &'static str {
        if self == Self::Packets { "packets" } else { "sessions" }
    }

    /// The same for a rate.
    pub fn per_second(self) -> &'static str {
        if self == Self::Packets { "packets/s" } else { "sessions/s" }
    }
}

sums! {
    /// What became of packets or sessions. Sums over streams, threads and time.
    Counts {
        /// Sent, or begun.
        sent,
        /// Bytes sent, as Ethernet frames with their FCS.
        sent_bytes,
        /// Received, each counted once; or completed.
        received,
        /// Bytes received, as Ethernet frames with their FCS.
        received_bytes,
        /// Received again.
        duplicated,
        /// Received after one that was sent later (RFC 4737 §3).
        reordered,
        /// Received so late that it cannot be told whether it is a duplicate: outside the flow's window. Not in `received`.
        stale,
        /// Received where it does not belong: at the wrong port, or with another length than it should have.
        misplaced,
    }
}

impl Counts {
    /// What was counted since `before`.
    pub fn since(&self, before: &Counts) -> Counts {
        let (now, before) = (self.all(), before.all());
        Counts::of(std::array::from_fn(|at| now[at].saturating_sub(before[at])))
    }

    /// Sent and not received, or begun and not completed.
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }

    /// Lost of sent; zero if nothing was sent.
    pub fn loss_ratio(&self) -> f64 {
        if self.sent == 0 { 0.0 } else { self.lost() as f64 / self.sent as f64 }
    }
}

/// What one thread has counted so far. Each has its own lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Published([AtomicU64; Counts::COUNT]);

impl Published {
    /// Says it.
    pub fn publish(&self, counts: &Counts) {
        for (place, value) in self.0.iter().zip(counts.all()) {
            place.store(value, Ordering::Relaxed);
        }
    }

    /// What was said last. The numbers may be of two moments.
    pub fn read(&self) -> Counts {
        Counts::of(self.0.each_ref().map(|place| place.load(Ordering::Relaxed)))
    }
}

/// One stream's share of a trial.
#[derive(Clone, Debug, Serialize)]
pub struct StreamTrial {
    /// Its name in the profile.
    pub name: String,
    /// What became of it, its probes included.
    #[serde(flatten, serialize_with = "with_loss")]
    pub counts: Counts,
    /// Delay of its probes, from just before the port took the packet until it was polled.
    pub latency_us: Option<Latency>,
}

/// A slice of a trial's time, for plots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Interval {
    /// Its end, in seconds since the trial's start.
    pub end_s: f64,
    /// Its length in seconds.
    pub length_s: f64,
    /// What was sent and received in it. Loss cannot be told for an interval: packets are still under way at its end.
    pub counts: Counts,
}

/// A finished trial, or what there was of it when it failed.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// What it was for.
    pub label: String,
    /// What the numbers count.
    pub unit: Unit,
    /// What was asked for, a second; `None` = as fast as it goes.
    pub asked_per_second: Option<f64>,
    /// For how many seconds it was to send.
    pub intended_seconds: f64,
    /// How long was sent, in seconds, without the wait for the last packets and without hold-ups.
    pub seconds: f64,
    /// Sum of all streams.
    #[serde(flatten, serialize_with = "with_loss")]
    pub counts: Counts,
    /// Delays of all probes.
    pub latency_us: Option<Latency>,
    /// Each stream.
    pub streams: Vec<StreamTrial>,
    /// The trial in slices.
    pub intervals: Vec<Interval>,
    /// Frames received without our signature: ARP, neighbours' chatter.
    pub foreign: u64,
    /// Frames of an earlier trial.
    pub late: u64,
    /// Packets that the ports' own counters say they dropped at the generator: it, not the device, was too slow.
    pub missed_by_generator: u64,
    /// How long the generator did not have its core, in seconds. They are not in `seconds`: nothing was due in them.
    pub held_up_seconds: f64,
    /// What a reader of the numbers has to know, in a sentence each.
    pub notes: Vec<String>,
}

/// Counts, and what is lost by them.
fn with_loss<S: Serializer>(counts: &Counts, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct WithLoss<'a> {
        #[serde(flatten)]
        counts: &'a Counts,
        lost: u64,
        loss_ratio: f64,
    }
    WithLoss { counts, lost: counts.lost(), loss_ratio: counts.loss_ratio() }.serialize(serializer)
}

impl Trial {
    /// This one, or where something could not go on, a failure with what was measured.
    pub fn unless(self, fault: Option<String>) -> Result<Trial, Failure> {
        match fault {
            None => Ok(self),
            Some(why) => Err(Failure { why, partial: Some(Box::new(self)) }),
        }
    }

    /// One of which nothing has been counted yet.
    pub fn new(unit: Unit, asked_per_second: Option<f64>, seconds: f64, intervals: Vec<Interval>) -> Trial {
        Trial {
            label: String::new(),
            unit,
            asked_per_second,
            intended_seconds: seconds,
            seconds,
            counts: Counts::default(),
            latency_us: None,
            streams: Vec::new(),
            intervals,
            foreign: 0,
            late: 0,
            missed_by_generator: 0,
            held_up_seconds: 0.0,
            notes: Vec::new(),
        }
    }

    /// What was really sent, a second.
    pub fn sent_per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.counts.sent as f64 / self.seconds } else { 0.0 }
    }

    /// What came back, a second.
    pub fn received_per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.counts.received as f64 / self.seconds } else { 0.0 }
    }

    /// Sent of asked; 1 if all that was asked for could be sent. Below 1 the ports or the generator are the limit.
    pub fn reached(&self) -> f64 {
        match self.asked_per_second {
            Some(asked) if asked > 0.0 && self.seconds > 0.0 => (self.sent_per_second() / asked).min(1.0),
            _ => 1.0,
        }
    }

    /// The share of the time in which the generator did not have its core.
    pub fn held_up(&self) -> f64 {
        let all = self.seconds + self.held_up_seconds;
        if all > 0.0 { self.held_up_seconds / all } else { 0.0 }
    }

    /// Has these streams, each with its delays in nanoseconds.
    pub fn tell_streams(&mut self, streams: Vec<(String, Counts, Histogram<u64>)>) {
        let mut all = latency_histogram();
        for (name, counts, latency_ns) in streams {
            // Both have the same bounds, so that this cannot fail.
            let _ = all.add(&latency_ns);
            self.streams.push(StreamTrial { name, counts, latency_us: Latency::of(&latency_ns) });
        }
        self.latency_us = Latency::of(&all);
    }
}

/// What a trial tells while it runs, a few times a second, on the thread that runs it (never on a generator's core).
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Seconds since its start.
    pub elapsed_s: f64,
    /// Seconds that it will take.
    pub total_s: f64,
    /// What there is so far.
    pub counts: Counts,
}

/// What the watcher wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Go on.
    Continue,
    /// End the trial now: it is reported as far as it went.
    Stop,
}

/// A trial that did not go well.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct Failure {
    /// Why, as a sentence for the user: which port, what happened.
    pub why: String,
    /// What was measured so far.
    pub partial: Option<Box<Trial>>,
}

/// Something that can run trials: the engine of streams, the engine of sessions, or a device made of arithmetic in tests.
pub trait Trials {
    /// What its loads count.
    fn unit(&self) -> Unit;

    /// The most that the ports can carry a second by their link speed; `None` if they do not say.
    fn line_rate(&self) -> Option<f64>;

    /// Offers `per_second` (`None`: as fast as it goes) for `duration`, waits for the last packets, and tells what became of it.
    fn run(
        &mut self,
        per_second: Option<f64>,
        duration: Duration,
        watch: &mut dyn FnMut(Progress) -> Watch,
    ) -> Result<Trial, Failure>;
}

/// A step of the session ladder: so many sessions opened, kept open and used.
#[derive(Clone, Debug)]
pub struct Rung {
    /// Sessions that should be open at once.
    pub wanted: u64,
    /// Sessions that were.
    pub opened: u64,
    /// Opening them: sessions a second, delays, losses.
    pub opening: Trial,
    /// Packets through all of them in turn, while they were open.
    pub holding: Option<Trial>,
    /// Sessions that still answered at the end.
    pub alive: u64,
}

/// How a rung is climbed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ascent {
    /// Sessions to be open at once.
    pub sessions: u64,
    /// Sessions opened a second; `None` = as fast as it goes.
    pub open_per_second: Option<f64>,
    /// Requests a second while they are held open; `None` = as fast as it goes.
    pub use_per_second: Option<f64>,
    /// How long they are held open at least. It takes longer if each has not had its turn by then.
    pub hold: Duration,
    /// From the first on, every open session is used so often.
    pub refresh: Option<Duration>,
}

/// Something that can climb the session ladder.
pub trait Ladder {
    /// Opens sessions, sends through each of them, and ends them.
    fn climb(&mut self, ascent: &Ascent, watch: &mut dyn FnMut(Progress) -> Watch) -> Result<Rung, Failure>;

    /// The most sessions that the profile's addresses and ports allow.
    fn sessions_max(&self) -> u64;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_is_what_was_sent_and_not_received() {
        let counts = Counts { sent: 1000, received: 999, duplicated: 5, ..Counts::default() };
        assert_eq!(counts.lost(), 1);
        assert!((counts.loss_ratio() - 0.001).abs() < 1e-12);
        assert!(Counts::default().loss_ratio().abs() < f64::EPSILON);
    }

    #[test]
    fn a_rate_that_was_not_reached_shows() {
        let mut trial = Trial::new(Unit::Packets, Some(1000.0), 2.0, Vec::new());
        trial.counts = Counts { sent: 1000, received: 1000, ..Counts::default() };
        assert!((trial.reached() - 0.5).abs() < 1e-9);
        trial.asked_per_second = None;
        assert!((trial.reached() - 1.0).abs() < 1e-9);
    }
}
