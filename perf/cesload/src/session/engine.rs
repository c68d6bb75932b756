//! Sessions on DPDK ports: threads on their cores, watched from another.
//!
//! Each thread has its share of the client addresses and ports, and of the rate. It is client and server: the server keeps no
//! state and answers with a copy of a template, so that it costs about what sending costs; and all threads have one clock.

use crate::arp::Answers;
use crate::port::{self, OpenPort, PortError, Ports};
use crate::profile::Profile;
use crate::profile::session::Placed;
use crate::session::client::Client;
use crate::session::crew::{Crew, ThreadPart};
use crate::session::load::{HAND_OVER, Load, SessionKind};
use crate::session::outcome::{self, Outcome, SeenTrial};
use crate::session::phases::{Tallied, Work};
use crate::session::plan::Share;
use crate::session::server::Server;
use crate::session::wires::Wires;
use crate::trial::{Ascent, Counts, Failure, Interval, Ladder, Progress, Rung, Trial, Trials, Unit, Watch};
use ces_dataplane::io::dpdk::DpdkPort;
use ces_dataplane::wire::ethernet;
use ces_dataplane::worker::Mesh;
use dpdk::{Eal, Mempool, RegisteredThread, Stats};
use ipnet::Ipv4Subnets;
use machine::Clock;
use std::net::Ipv4Addr;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

/// How often the one who watches is told, and an interval ends.
const TICK: Duration = Duration::from_millis(100);
/// Intervals of a trial at most; longer trials have longer ones.
const INTERVALS_MAX: u32 = 600;

/// Why sessions cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The profile has none.
    #[error("the profile has no [[session]]")]
    None,
    /// The ports are not ready.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The tables do not fit.
    #[error("no memory for {sessions} sessions of \"{name}\", 32 bytes each: {error}")]
    Memory {
        /// The kind of sessions.
        name: String,
        /// How many there can be.
        sessions: u32,
        /// What the system says.
        error: std::io::Error,
    },
}

/// One generator thread.
struct Lane {
    core: usize,
    load: Load<DpdkPort, Mempool>,
    part: ThreadPart,
}

/// The engine of sessions.
pub struct SessionEngine {
    eal: Eal,
    ports: Vec<OpenPort>,
    lanes: Vec<Lane>,
    clock: Clock,
    catch_up_ms: u32,
    trial: u16,
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

impl SessionEngine {
    /// Opens the profile's ports, with a thread on each of its cores. `say` is told what is being waited for.
    pub fn open(profile: &Profile, say: &mut dyn FnMut(&str)) -> Result<Self, SessionError> {
        if profile.sessions.is_empty() {
            return Err(SessionError::None);
        }
        Self::on(profile, port::open(profile, say)?)
    }

    fn on(profile: &Profile, ports: Ports) -> Result<Self, SessionError> {
        let Ports { eal, ports, threads, .. } = ports;
        let mut answers: Vec<Answers> = ports.iter().map(|port| port.answers.clone()).collect();
        for (placed, session) in profile.sessions.iter().zip(&profile.session) {
            answers[placed.from].networks.extend(networks(session.client.first, session.client.last));
            if let Some(server) = session.server {
                answers[placed.to].networks.extend(networks(server.first, server.last));
            }
        }
        // Not a secret, but nothing that another run's packets would fit by chance.
        let secret = machine::cycles();
        let all = profile.sessions.iter().map(|placed| u64::from(placed.plan.capacity())).sum();
        let (count, mut before) = (threads.len(), 0);
        let mut lanes = Vec::with_capacity(count);
        for (number, (thread, mesh)) in threads.into_iter().zip(Mesh::new(count, HAND_OVER)).enumerate() {
            let kinds = kinds(profile, &ports, number, count, secret)?;
            let own = kinds.iter().map(|kind| u64::from(kind.client.share().count())).sum();
            let wires = Wires::new(thread.io.ports, ports.len(), thread.io.pool);
            let mut load = Load::new(wires, kinds, answers.clone(), mesh);
            load.nap = Duration::from_micros(u64::from(profile.generator.nap_us));
            lanes.push(Lane { core: thread.core, load, part: ThreadPart { before, own, all } });
            before += own;
        }
        Ok(Self {
            eal,
            ports,
            lanes,
            clock: Clock::new(),
            catch_up_ms: profile.generator.catch_up_ms,
            trial: machine::cycles() as u16,
        })
    }

    fn kinds(&self) -> &[SessionKind] {
        self.lanes.first().map_or(&[], |lane| lane.load.kinds())
    }

    fn stats(&self) -> Vec<Stats> {
        self.ports.iter().map(|port| port.device.stats().unwrap_or_default()).collect()
    }

    /// Runs `work` on each of the generator's threads and watches them. The intervals are what they told meanwhile.
    fn watched<R: Send>(
        &mut self,
        total: Duration,
        watch: &mut dyn FnMut(Progress) -> Watch,
        work: impl Fn(Work<'_, DpdkPort, Mempool, &mut dyn FnMut() -> u64>) -> R + Sync,
    ) -> Result<(Vec<R>, SeenTrial), Failure> {
        let failure = |why: String| Failure { why, partial: None };
        let before = self.stats();
        let (crew, clock, catch_up_ms) = (&Crew::new(self.lanes.len()), self.clock, self.catch_up_ms);
        let (eal, ports, work) = (&self.eal, &self.ports, &work);
        let mut watched = SeenTrial::default();
        let lanes = self.lanes.iter_mut().enumerate();
        let results = std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for (number, Lane { core, load, part }) in lanes {
                let run = move || {
                    let mut present = Present { crew, done: false };
                    machine::pin_to_core(*core)
                        .map_err(|error| format!("core {core} cannot be used: {error}"))?;
                    let _registered = RegisteredThread::new(eal).map_err(|error| error.to_string())?;
                    let mut now = || clock.now();
                    let done = work(Work::new(load, &mut now, crew, number, *part, catch_up_ms));
                    present.done = true;
                    Ok::<R, String>(done)
                };
                match std::thread::Builder::new().name(format!("generator{number}")).spawn_scoped(scope, run)
                {
                    Ok(thread) => threads.push(thread),
                    Err(error) => {
                        crew.give_up();
                        return Err(failure(format!("no thread for the generator: {error}")));
                    }
                }
            }
            let over = || threads.iter().all(ScopedJoinHandle::is_finished);
            observe(crew, ports, total, &over, watch, &mut watched);
            let join = |thread: ScopedJoinHandle<'_, Result<R, String>>| match thread.join() {
                Ok(result) => result.map_err(failure),
                Err(_) => Err(failure("a thread of the generator has panicked".to_owned())),
            };
            // All are joined, whatever became of the first.
            let results: Vec<_> = threads.into_iter().map(join).collect();
            results.into_iter().collect::<Result<Vec<R>, Failure>>()
        })?;
        for (before, after) in before.iter().zip(self.stats()) {
            let lost = |stats: &Stats| stats.rx_missed + stats.rx_no_buffer;
            watched.missed += lost(&after).saturating_sub(lost(before));
        }
        Ok((results, watched))
    }

    fn outcome<'a>(&'a self, watched: &'a SeenTrial, asked_per_second: Option<f64>) -> Outcome<'a> {
        Outcome { kinds: self.kinds(), watched, asked_per_second }
    }

    fn next_trial(&mut self, keep: bool) {
        self.trial = self.trial.wrapping_add(1);
        for lane in &mut self.lanes {
            lane.load.reset(self.trial, keep);
        }
    }
}

/// The sessions of one thread of so many.
fn kinds(
    profile: &Profile,
    ports: &[OpenPort],
    thread: usize,
    threads: usize,
    secret: u64,
) -> Result<Vec<SessionKind>, SessionError> {
    let mut kinds = Vec::with_capacity(profile.sessions.len());
    for Placed { plan, from, to, weight } in &profile.sessions {
        let link = |own: &OpenPort, other: &OpenPort| ethernet::Header {
            destination: own.peer.unwrap_or(other.mac),
            source: own.mac,
            vlan: own.vlan,
            ethertype: ethernet::IPV4,
        };
        let secret = secret ^ u64::from(plan.number) << 56;
        let server = Server::new(plan, *to, link(&ports[*to], &ports[*from]), secret.rotate_left(32));
        let share = Share::new(plan, thread, threads);
        let sessions = share.count();
        let client = Client::new(plan.clone(), share, *from, link(&ports[*from], &ports[*to]), secret)
            .map_err(|error| SessionError::Memory { name: plan.name.clone(), sessions, error })?;
        kinds.push(SessionKind { client, server, weight: *weight, credit: 0.0 });
    }
    Ok(kinds)
}

/// Watches the threads until they are `over`.
fn observe(
    crew: &Crew,
    ports: &[OpenPort],
    total: Duration,
    over: &dyn Fn() -> bool,
    watch: &mut dyn FnMut(Progress) -> Watch,
    watched: &mut SeenTrial,
) {
    let step = TICK.max(total / INTERVALS_MAX);
    // The trial's start, and that of its stage.
    let (begun, mut start, mut at) = (Instant::now(), Instant::now(), 0);
    let (mut last, mut counted) = (Duration::ZERO, Counts::default());
    while !over() {
        std::thread::sleep(TICK.min(step).min(Duration::from_millis(20)));
        let (stage, counts) = crew.counts();
        if stage != at {
            (start, at, last, counted) = (Instant::now(), stage, Duration::ZERO, Counts::default());
        }
        let elapsed = start.elapsed();
        if elapsed < last + step {
            continue;
        }
        watched.intervals[stage].push(Interval {
            end_s: elapsed.as_secs_f64(),
            length_s: elapsed.saturating_sub(last).as_secs_f64(),
            counts: counts.since(&counted),
        });
        (last, counted) = (elapsed, counts);
        let progress =
            Progress { elapsed_s: begun.elapsed().as_secs_f64(), total_s: total.as_secs_f64(), counts };
        if watch(progress) == Watch::Stop {
            crew.stop();
        }
        if watched.down.is_none() {
            let up = |port: &OpenPort| port.device.link().is_ok_and(|link| link.up);
            watched.down = ports.iter().find(|port| !up(port)).map(|port| port.name.clone());
            if watched.down.is_some() {
                crew.stop();
            }
        }
    }
}

/// The sum of what all threads did.
fn sum<T: Default>(parts: Vec<T>, mut add: impl FnMut(&mut T, T)) -> T {
    let mut parts = parts.into_iter();
    let mut sum = parts.next().unwrap_or_default();
    parts.for_each(|part| add(&mut sum, part));
    sum
}

/// The networks that these addresses are.
fn networks(first: Ipv4Addr, last: Ipv4Addr) -> impl Iterator<Item = (u32, u8)> {
    Ipv4Subnets::new(first, last, 0).map(|network| (network.network().to_bits(), network.prefix_len()))
}

impl Trials for SessionEngine {
    fn unit(&self) -> Unit {
        Unit::Sessions
    }

    /// A link's speed does not say how many sessions it carries.
    fn line_rate(&self) -> Option<f64> {
        None
    }

    fn run(
        &mut self,
        per_second: Option<f64>,
        duration: Duration,
        watch: &mut dyn FnMut(Progress) -> Watch,
    ) -> Result<Trial, Failure> {
        self.next_trial(false);
        let (phases, watched) =
            self.watched(duration, watch, |work| work.run(per_second, duration.as_nanos() as u64))?;
        let phase = sum(phases, |phase, other| phase.add(&other));
        let trial = self.outcome(&watched, per_second).sessions(&phase, |tally| tally.completed);
        watched.check(trial)
    }
}

impl Ladder for SessionEngine {
    fn climb(&mut self, ascent: &Ascent, watch: &mut dyn FnMut(Progress) -> Watch) -> Result<Rung, Failure> {
        let Ascent { sessions, open_per_second, use_per_second, hold, .. } = *ascent;
        let most = self.sessions_max();
        if sessions == 0 || sessions > most {
            let why = format!(
                "{sessions} sessions at once are impossible: the profile's client addresses and ports have room for 1 to {most}"
            );
            return Err(Failure { why, partial: None });
        }
        self.next_trial(true);
        let once = |rate: Option<f64>| {
            rate.map_or(Duration::ZERO, |rate| {
                Duration::try_from_secs_f64(sessions as f64 / rate).unwrap_or(Duration::MAX)
            })
        };
        let ends = self.lanes.iter().any(|lane| !lane.load.ends_silently());
        let ending = if ends { once(open_per_second) } else { Duration::ZERO };
        let total =
            once(open_per_second).saturating_add(hold.max(once(use_per_second))).saturating_add(ending);
        let (climbs, watched) = self.watched(total, watch, |work| work.climb(ascent))?;
        let climb = sum(climbs, |climb, other| climb.add(&other));
        let mut holding = self.outcome(&watched, use_per_second).requests(&climb.holding);
        let Tallied { tallies, served, .. } = &climb.ending;
        for ((tally, served), kind) in tallies.iter().zip(served).zip(self.kinds()) {
            outcome::tell(
                &mut holding.notes,
                &format!("{} at its end", kind.client.plan().name),
                tally,
                served,
            );
        }
        let opening = self.outcome(&watched, open_per_second).sessions(&climb.opening, |tally| tally.set_up);
        let opening = watched.check(opening)?;
        Ok(Rung {
            wanted: sessions,
            opened: climb.opened,
            opening,
            holding: Some(holding),
            alive: climb.alive,
        })
    }

    fn sessions_max(&self) -> u64 {
        self.kinds().iter().map(|kind| u64::from(kind.client.plan().capacity())).sum()
    }
}
