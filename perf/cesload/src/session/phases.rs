//! What a generator's thread does, from the begin of a trial to its end.
//!
//! The clock is an argument, so that whole trials run in tests on ports that are memory.

use crate::session::load::{Begun, Load};
use crate::session::pace::Pacer;
use crate::session::server::Served;
use crate::session::tally::Tally;
use ces_dataplane::Nanos;
use ces_dataplane::io::{Pool, Port};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Sessions begun, used or ended at most in a turn, so that what comes is seen in between.
const BURST: usize = 32;
/// So many turns pass between two looks at whether to stop, and two publications of the counts.
const PUBLISH: u32 = 64;

/// What the generator's thread and the one that watches it tell each other.
#[derive(Debug, Default)]
pub struct Gauge {
    /// Set to end the trial.
    pub stop: AtomicBool,
    /// Sessions begun, or requests sent while sessions are kept open.
    pub sent: AtomicU64,
    /// Sessions completed, or set up to be kept open, or requests answered.
    pub received: AtomicU64,
    /// Bytes that clients sent.
    pub sent_bytes: AtomicU64,
    /// Bytes that clients received.
    pub received_bytes: AtomicU64,
}

/// What was counted over a while.
#[derive(Debug, Default)]
pub struct Phase {
    /// Of each kind's client.
    pub tallies: Vec<Tally>,
    /// Of each kind's server.
    pub served: Vec<Served>,
    /// Frames that were for nobody.
    pub foreign: u64,
    /// How long was begun or used, in seconds.
    pub seconds: f64,
    /// Sessions that were due and found every address and port in use.
    pub full: u64,
    /// Whether it was stopped.
    pub stopped: bool,
}

/// What a climb came to.
#[derive(Debug, Default)]
pub struct Climb {
    /// Until all were set up.
    pub opening: Phase,
    /// While they were used.
    pub holding: Phase,
    /// While they ended.
    pub ending: Phase,
    /// Sessions that were open after the opening.
    pub opened: u64,
    /// Sessions that were open after the last use.
    pub alive: u64,
}

/// What is counted as the trial's progress.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counted {
    /// Sessions, until they are completed.
    Sessions,
    /// Sessions, until they are set up.
    SetUps,
    /// Requests.
    Requests,
}

/// A generator's thread at work.
pub struct Work<'a, P: Port, Q, C> {
    load: &'a mut Load<P, Q>,
    clock: C,
    gauge: &'a Gauge,
    catch_up_ms: u32,
    turns: u32,
    stopped: bool,
}

impl<'a, P: Port, Q: Pool<Frame = P::Frame>, C: FnMut() -> Nanos> Work<'a, P, Q, C> {
    /// Work on this load. `catch_up_ms` as for [`Pacer::new`].
    pub fn new(load: &'a mut Load<P, Q>, clock: C, gauge: &'a Gauge, catch_up_ms: u32) -> Self {
        Self { load, clock, gauge, catch_up_ms, turns: 0, stopped: false }
    }

    /// Begins sessions for a while; each runs to its end.
    pub fn run(mut self, per_second: Option<f64>, duration: Nanos) -> Phase {
        let start = (self.clock)();
        let most = per_second.map_or(u64::MAX, |rate| (rate * duration as f64 / 1e9).ceil().max(1.0) as u64);
        let (seconds, full) = self.begin(per_second, start + duration, most, Counted::Sessions);
        self.settle(Counted::Sessions);
        self.phase(seconds, full)
    }

    /// Opens so many sessions, uses each in turn for a while (and at least once), and ends them.
    pub fn climb(mut self, sessions: u64, per_second: Option<f64>, hold: Nanos) -> Climb {
        let (seconds, full) = self.begin(per_second, Nanos::MAX, sessions, Counted::SetUps);
        self.settle(Counted::SetUps);
        let opened = self.load.idle();
        let opening = self.phase(seconds, full);
        let seconds = self.hold(per_second, hold, opened);
        self.settle(Counted::Requests);
        let alive = self.load.idle();
        let holding = self.phase(seconds, 0);
        let seconds = self.end(per_second);
        self.settle(Counted::Requests);
        Climb { opening, holding, ending: self.phase(seconds, 0), opened, alive }
    }

    fn phase(&mut self, seconds: f64, full: u64) -> Phase {
        let (tallies, served, foreign) = self.load.take_counts();
        Phase { tallies, served, foreign, seconds, full, stopped: self.stopped }
    }

    /// A turn, and the time after it.
    fn turn(&mut self, counted: Counted) -> Nanos {
        let now = (self.clock)();
        self.load.turn(now);
        self.turns += 1;
        if self.turns >= PUBLISH {
            self.turns = 0;
            self.publish(counted);
        }
        now
    }

    #[cold]
    fn publish(&mut self, counted: Counted) {
        let (sent, received) = match counted {
            Counted::Sessions => (self.load.sum(|it| it.begun), self.load.sum(|it| it.completed)),
            Counted::SetUps => (self.load.sum(|it| it.begun), self.load.sum(|it| it.set_up)),
            Counted::Requests => (self.load.sum(|it| it.requests), self.load.sum(|it| it.responses)),
        };
        let gauge = self.gauge;
        gauge.sent.store(sent, Ordering::Relaxed);
        gauge.received.store(received, Ordering::Relaxed);
        gauge.sent_bytes.store(self.load.sum(|it| it.sent_bytes), Ordering::Relaxed);
        gauge.received_bytes.store(self.load.sum(|it| it.received_bytes), Ordering::Relaxed);
        self.stopped |= gauge.stop.load(Ordering::Relaxed);
    }

    /// Begins sessions until a time, and at most so many; tells how long that took and how many found no room.
    fn begin(&mut self, per_second: Option<f64>, end: Nanos, most: u64, counted: Counted) -> (f64, u64) {
        let start = (self.clock)();
        let mut pacer = Pacer::new(per_second, self.catch_up_ms, start);
        let (mut begun, mut full, mut now) = (0, 0, start);
        while now < end && begun + full < most && !self.stopped {
            let due = pacer.due(self.burst(per_second), now).min((most - begun - full) as usize);
            for _ in 0..due {
                match self.load.begin(now) {
                    Begun::Yes => begun += 1,
                    // What the port does not take stays due, as far as may be caught up.
                    Begun::Congested => break,
                    // As fast as it goes: when one has ended.
                    Begun::Full if per_second.is_none() => break,
                    Begun::Full => full += 1,
                }
                pacer.took();
            }
            now = self.turn(counted);
        }
        // All that should begin have: the rest of the time is theirs, too.
        while end != Nanos::MAX && now < end && !self.stopped {
            now = self.turn(counted);
        }
        ((now.min(end) - start) as f64 / 1e9, full)
    }

    /// Waits until every session is at its end or idle. That comes by itself, since every wait has a timeout; after a stop,
    /// what is not done by one timeout is given up.
    fn settle(&mut self, counted: Counted) {
        let mut give_up = None;
        loop {
            let now = self.turn(counted);
            if self.load.open() == self.load.idle() {
                break;
            }
            if self.stopped {
                let at = *give_up.get_or_insert(now + self.load.patience_ns());
                if now >= at {
                    self.load.abandon(now);
                }
            }
        }
        self.publish(counted);
    }

    /// Sends through all sessions in turn, for a while and until each had its turn; tells how long that took.
    fn hold(&mut self, per_second: Option<f64>, hold: Nanos, sessions: u64) -> f64 {
        let start = (self.clock)();
        // Each should have its turn in that time.
        let once = sessions as f64 / (hold.max(1) as f64 / 1e9);
        let mut pacer = Pacer::new(per_second.map(|rate| rate.max(once)), self.catch_up_ms, start);
        let mut now = start;
        while (now < start + hold || self.load.rounds() == 0) && self.load.open() > 0 && !self.stopped {
            for _ in 0..pacer.due(self.burst(per_second), now) {
                if !self.load.use_next(now) {
                    break;
                }
                pacer.took();
            }
            now = self.turn(Counted::Requests);
        }
        (now - start) as f64 / 1e9
    }

    /// Ends all sessions, as fast as they were opened; tells how long that took.
    fn end(&mut self, per_second: Option<f64>) -> f64 {
        let start = (self.clock)();
        let mut pacer = Pacer::new(per_second, self.catch_up_ms, start);
        let mut now = start;
        while self.load.idle() > 0 {
            for _ in 0..pacer.due(self.burst(per_second), now) {
                if !self.load.end_next(now) {
                    break;
                }
                pacer.took();
            }
            now = self.turn(Counted::Requests);
        }
        (now - start) as f64 / 1e9
    }

    /// As fast as it goes is no faster than what comes back is taken.
    fn burst(&self, per_second: Option<f64>) -> usize {
        if per_second.is_none() && self.load.is_busy() { 0 } else { BURST }
    }
}
