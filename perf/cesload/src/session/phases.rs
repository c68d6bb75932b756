//! What a generator's thread does, from the begin of a trial to its end.
//!
//! The clock is an argument, so that whole trials run in tests on ports that are memory.

use crate::crew::{Crew, TrialStage};
use crate::session::load::{Begun, Load, Taken};
use crate::session::pace::Pacer;
use crate::session::refresh::Refresh;
use crate::session::server::Served;
use crate::session::tally::Tally;
use crate::trial::{Ascent, Counts};
use ces_dataplane::Nanos;
use ces_dataplane::io::{Pool, PortQueues};
use std::time::Duration;

/// Sessions begun, used or ended at most in a turn, so that what comes is seen in between.
const BURST: usize = 32;
/// So many turns pass between two looks at whether to stop, and two publications of the counts.
const PUBLISH: u32 = 64;

/// What was counted over a while.
#[derive(Debug, Default)]
pub struct Tallied {
    /// Of the clients.
    pub tally: Tally,
    /// Of the servers.
    pub served: Served,
    /// Frames that were for nobody.
    pub foreign: u64,
    /// Frames that came to this thread and belong to another's sessions.
    pub handed_over: u64,
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
    pub opening: Tallied,
    /// While they were used.
    pub holding: Tallied,
    /// While they ended.
    pub ending: Tallied,
    /// Sessions that were open after the opening.
    pub opened: u64,
    /// Sessions that were open after the last use.
    pub alive: u64,
}

impl Tallied {
    /// Adds what another thread counted.
    pub fn add(&mut self, other: &Self) {
        self.tally.add(&other.tally);
        self.served.add(&other.served);
        self.handed_over += other.handed_over;
        self.foreign += other.foreign;
        self.seconds = self.seconds.max(other.seconds);
        self.full += other.full;
        self.stopped |= other.stopped;
    }
}

impl Climb {
    /// Adds what another thread came to.
    pub fn add(&mut self, other: &Self) {
        self.opening.add(&other.opening);
        self.holding.add(&other.holding);
        self.ending.add(&other.ending);
        self.opened += other.opened;
        self.alive += other.alive;
    }
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
    /// Sessions that end.
    Ends,
}

impl Counted {
    const fn stage(self) -> TrialStage {
        match self {
            Self::Sessions | Self::SetUps => TrialStage::Begin,
            Self::Requests => TrialStage::Hold,
            Self::Ends => TrialStage::End,
        }
    }
}

/// A generator's thread at work.
pub struct Work<'a, P: PortQueues, Q, C> {
    load: &'a mut Load<P, Q>,
    clock: C,
    crew: &'a Crew,
    catch_up_ms: u32,
    turns: u32,
    meetings: usize,
    stopped: bool,
}

impl<'a, P: PortQueues, Q: Pool<Frame = P::Frame>, C: FnMut() -> Nanos> Work<'a, P, Q, C>
where
    P::Frame: Send,
{
    /// Work on this load, whose share of the clients is its part of rates and sessions. `catch_up_ms` as for [`Pacer::new`].
    pub fn new(load: &'a mut Load<P, Q>, clock: C, crew: &'a Crew, catch_up_ms: u32) -> Self {
        Self { load, clock, crew, catch_up_ms, turns: 0, meetings: 0, stopped: false }
    }

    /// Begins sessions for a while; each runs to its end.
    pub fn run(mut self, per_second: Option<f64>, duration: Nanos) -> Tallied {
        self.meet(Counted::Sessions);
        let start = (self.clock)();
        let most =
            |rate: f64| self.load.client.share().of((rate * duration as f64 / 1e9).ceil().max(1.0) as u64);
        let most = per_second.map_or(u64::MAX, most);
        let per_second = self.load.client.share().rate(per_second);
        let (seconds, full) = self.begin(per_second, start + duration, most, None, Counted::Sessions);
        self.settle(Counted::Sessions);
        self.phase(seconds, full)
    }

    /// Opens so many sessions, uses each in turn for a while (and at least once), and ends them.
    pub fn climb(mut self, ascent: &Ascent) -> Climb {
        self.meet(Counted::SetUps);
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(Nanos::MAX);
        let (open, refresh) =
            (self.load.client.share().rate(ascent.open_per_second), ascent.refresh.map(nanos));
        let sessions = self.load.client.share().of(ascent.sessions);
        let (seconds, full) = self.begin(open, Nanos::MAX, sessions, refresh, Counted::SetUps);
        self.settle(Counted::SetUps);
        let opened = u64::from(self.load.client.idle());
        let opening = self.phase(seconds, full);
        self.load.restart_turn();
        // Each should have its turn in the time after which it is to be used again.
        let once = refresh.map_or(0.0, |every| opened as f64 / (every.max(1) as f64 / 1e9));
        let using = self.load.client.share().rate(ascent.use_per_second).map(|rate| rate.max(once));
        let seconds = self.hold(using, nanos(ascent.hold));
        self.settle(Counted::Requests);
        let alive = u64::from(self.load.client.idle());
        let holding = self.phase(seconds, 0);
        let seconds = self.end(open);
        self.settle(Counted::Ends);
        Climb { opening, holding, ending: self.phase(seconds, 0), opened, alive }
    }

    /// Waits for the other threads, and serves them meanwhile.
    fn meet(&mut self, counted: Counted) {
        self.meetings += 1;
        self.crew.arrive();
        while !self.crew.have_met(self.meetings) {
            self.turn(counted);
        }
    }

    fn phase(&mut self, seconds: f64, full: u64) -> Tallied {
        let Taken { tally, served, foreign, handed_over } = self.load.take_counts();
        Tallied { tally, served, foreign, handed_over, seconds, full, stopped: self.stopped }
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
        let tally = self.load.client.tally();
        let (sent, received) = match counted {
            Counted::Sessions => (tally.begun, tally.completed),
            Counted::SetUps => (tally.begun, tally.set_up),
            Counted::Requests => (tally.requests, tally.responses),
            Counted::Ends => (tally.ended(), tally.completed),
        };
        let (sent_bytes, received_bytes) = (tally.sent_bytes, tally.received_bytes);
        let counts = Counts { sent, sent_bytes, received, received_bytes, ..Counts::default() };
        self.crew.gauge(self.load.client.share().thread()).publish(counted.stage(), &counts);
        self.stopped |= self.crew.is_stopped();
    }

    /// Begins sessions until a time, and at most so many; tells how long that took and how many found no room.
    /// Those that are open are used once in `refresh`.
    fn begin(
        &mut self,
        per_second: Option<f64>,
        end: Nanos,
        most: u64,
        refresh: Option<Nanos>,
        counted: Counted,
    ) -> (f64, u64) {
        let start = (self.clock)();
        let mut refresh = Refresh::new(refresh, start);
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
            for _ in 0..refresh.due(self.load.client.idle(), BURST, now) {
                if !self.load.use_next(now) {
                    break;
                }
                refresh.took();
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
    /// what is not done by one timeout is given up. Then waits for the other threads.
    fn settle(&mut self, counted: Counted) {
        let mut give_up = None;
        loop {
            let now = self.turn(counted);
            if self.load.client.open() == self.load.client.idle() {
                break;
            }
            if self.stopped {
                let at = *give_up.get_or_insert(now + self.load.client.plan().timeout_ns);
                if now >= at {
                    self.load.client.abandon(now);
                }
            }
        }
        self.meet(counted);
        self.publish(counted);
    }

    /// Sends through all sessions in turn, for a while and until each had its turn; tells how long that took.
    fn hold(&mut self, per_second: Option<f64>, hold: Nanos) -> f64 {
        let start = (self.clock)();
        let mut pacer = Pacer::new(per_second, self.catch_up_ms, start);
        let mut now = start;
        while (now < start.saturating_add(hold) || self.load.rounds() == 0)
            && self.load.client.open() > 0
            && !self.stopped
        {
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

    /// Ends all sessions, as fast as they were opened, or at once if no packet says so; tells how long that took. After a
    /// stop, what
    /// has not begun to end by one timeout is given up.
    fn end(&mut self, per_second: Option<f64>) -> f64 {
        let start = (self.clock)();
        let per_second = per_second.filter(|_| !self.load.client.plan().ends_silently());
        let mut pacer = Pacer::new(per_second, self.catch_up_ms, start);
        let mut now = start;
        let mut give_up = None;
        while self.load.client.idle() > 0 {
            if self.stopped {
                // A port whose peer has left takes nothing any more.
                let at = *give_up.get_or_insert(now.saturating_add(self.load.client.plan().timeout_ns));
                if now >= at {
                    self.load.client.abandon(now);
                    break;
                }
            }
            for _ in 0..pacer.due(self.burst(per_second), now) {
                if !self.load.end_next(now) {
                    break;
                }
                pacer.took();
            }
            now = self.turn(Counted::Ends);
        }
        (now - start) as f64 / 1e9
    }

    /// As fast as it goes is no faster than what comes back is taken.
    fn burst(&self, per_second: Option<f64>) -> usize {
        if per_second.is_none() && self.load.is_busy() { 0 } else { BURST }
    }
}
