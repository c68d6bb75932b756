//! The thread that watches the generator's threads: slices of time, progress, links, and the wait for the last packets.

use crate::crew::Crew;
use crate::trial::{Counts, Interval, Progress, Watch};
use std::time::{Duration, Instant};

/// How often the watching thread looks.
const LOOK: Duration = Duration::from_millis(20);
/// How often it looks while the last packets are waited for.
const LOOK_DRAIN: Duration = Duration::from_millis(2);
/// How often it tells its caller, and looks at the links.
const TELL: Duration = Duration::from_millis(200);
/// The shortest slice of a trial's time.
const INTERVAL: Duration = Duration::from_millis(100);
/// The most slices of a trial's time.
const INTERVALS: u32 = 600;
/// When all packets are back, how long to wait for what should not come: duplicates.
const QUIET: Duration = Duration::from_millis(20);
/// A thread that has not sent all after so many times the time, and [`OVERDUE`] more, gets too little of its core to say
/// anything.
const TIMES: u32 = 10;
/// See [`TIMES`].
const OVERDUE: Duration = Duration::from_secs(5);
/// The longest wait for the last packets, however many still come.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// The meetings of a trial's threads: when all poll, and when all have sent what they will.
pub(super) const READY: usize = 1;
const FINISHED: usize = 2;

/// The state of the ports, as the watching thread sees it.
pub trait Surroundings {
    /// Why a port cannot go on, if one cannot.
    fn fault(&self) -> Option<String>;

    /// Packets that the ports have lost so far because the generator was too slow.
    fn missed(&self) -> u64;
}

/// What the watching thread has seen of a trial.
#[derive(Default)]
pub(super) struct Seen {
    /// The trial in slices.
    pub intervals: Vec<Interval>,
    /// Why it could not go on, if it could not.
    pub fault: Option<String>,
}

/// Watches a trial from its start to the last packet.
pub(super) fn observe(
    crew: &Crew,
    (surroundings, names): (&impl Surroundings, &[String]),
    duration: Duration,
    drain: Duration,
    watch: &mut dyn FnMut(Progress) -> Watch,
) -> Seen {
    let every = INTERVAL.max(duration / INTERVALS);
    while !crew.have_met(READY) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let begin = Instant::now();
    let mut seen = Seen::default();
    let mut last = (Duration::ZERO, Counts::default());
    let mut told = Duration::ZERO;
    let mut slice = |intervals: &mut Vec<Interval>, now: Duration, counts: Counts| {
        let length_s = now.saturating_sub(last.0).as_secs_f64();
        if length_s > 0.0 {
            intervals.push(Interval { end_s: now.as_secs_f64(), length_s, counts: counts.since(&last.1) });
        }
        last = (now, counts);
        now
    };
    let mut sliced = Duration::ZERO;
    while !crew.have_met(FINISHED) {
        std::thread::sleep(LOOK.min(every).min(duration.saturating_sub(begin.elapsed()).max(LOOK_DRAIN)));
        let elapsed = begin.elapsed();
        if elapsed >= sliced + every && (elapsed < duration || elapsed >= duration + every) {
            sliced = slice(&mut seen.intervals, elapsed, crew.counts().1);
        }
        let stuck = crew.stuck().map(|port| {
            format!(
                "port {}: it has taken no packet for a second; its peer has left or does not poll",
                names.get(port).map_or("?", String::as_str)
            )
        });
        let overdue = (elapsed > TIMES * duration + OVERDUE)
            .then(|| format!("a thread of the generator gets less than one {TIMES}th of its core"));
        seen.fault = stuck.or(overdue);
        let mut stop = seen.fault.is_some();
        if elapsed >= told + TELL {
            told = elapsed;
            if seen.fault.is_none() {
                seen.fault = surroundings.fault();
            }
            let progress = Progress {
                elapsed_s: elapsed.as_secs_f64(),
                total_s: duration.as_secs_f64(),
                counts: crew.counts().1,
            };
            stop |= seen.fault.is_some() | (watch(progress) == Watch::Stop);
        }
        if stop {
            crew.stop();
            break;
        }
    }
    let ended = begin.elapsed();
    if seen.fault.is_none() {
        wait_for_last(crew, drain);
    }
    slice(&mut seen.intervals, ended, crew.counts().1);
    seen
}

/// Waits until nothing has come for `drain`, or all has come and nothing more.
fn wait_for_last(crew: &Crew, drain: Duration) {
    let begin = Instant::now();
    let mut before = crew.counts().1;
    let mut quiet_since = Instant::now();
    while begin.elapsed() < DRAIN_MAX {
        std::thread::sleep(LOOK_DRAIN);
        let counts = crew.counts().1;
        if counts != before {
            (before, quiet_since) = (counts, Instant::now());
        }
        let enough = if counts.lost() == 0 && crew.have_met(FINISHED) { QUIET.min(drain) } else { drain };
        if quiet_since.elapsed() >= enough {
            break;
        }
    }
}
