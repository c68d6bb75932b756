//! Sessions on DPDK ports: one thread on its core, watched from another.
//!
//! Client and server share one thread. The server keeps no state and answers with a copy of a template, so that it costs
//! about what sending costs; and one thread has one clock.

use crate::arp::Answers;
use crate::port::{self, OpenPort, PortError, Ports};
use crate::profile::Profile;
use crate::session::client::Client;
use crate::session::load::{Kind, Load};
use crate::session::outcome::{self, Outcome, Watched};
use crate::session::phases::{Gauge, Phase, Work};
use crate::session::server::Server;
use crate::session::wires::Wires;
use crate::trial::{Counts, Failure, Interval, Ladder, Progress, Rung, Trial, Trials, Unit, Watch};
use ces_dataplane::io::dpdk::DpdkPort;
use ces_dataplane::wire::ethernet;
use dpdk::{Eal, Mempool, RegisteredThread, Stats};
use ipnet::Ipv4Subnets;
use machine::Clock;
use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;
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

/// The engine of sessions.
pub struct Engine {
    eal: Eal,
    ports: Vec<OpenPort>,
    core: usize,
    load: Load<DpdkPort, Mempool>,
    clock: Clock,
    catch_up_ms: u32,
    trial: u16,
    notes: Vec<String>,
}

impl Engine {
    /// Opens the profile's ports, for one thread. `say` is told what is being waited for.
    pub fn open(profile: &Profile, say: &mut dyn FnMut(&str)) -> Result<Self, SessionError> {
        if profile.sessions.is_empty() {
            return Err(SessionError::None);
        }
        let mut one = profile.clone();
        one.generator.cores.truncate(1);
        let mut notes = Vec::new();
        if profile.generator.cores.len() > 1 {
            notes.push("Sessions run on the first of the cores alone.".to_owned());
        }
        Self::on(profile, port::open(&one, say)?, notes)
    }

    fn on(profile: &Profile, ports: Ports, notes: Vec<String>) -> Result<Self, SessionError> {
        let Ports { eal, ports, threads, .. } = ports;
        let Some(thread) = threads.into_iter().next() else { return Err(SessionError::None) };
        let mut answers: Vec<Answers> = ports.iter().map(|port| port.answers.clone()).collect();
        let mut kinds = Vec::with_capacity(profile.sessions.len());
        for (placed, session) in profile.sessions.iter().zip(&profile.session) {
            let (from, to) = (&ports[placed.from], &ports[placed.to]);
            let link = |own: &OpenPort, other: &OpenPort| ethernet::Header {
                destination: own.peer.unwrap_or(other.mac),
                source: own.mac,
                vlan: own.vlan,
                ethertype: ethernet::IPV4,
            };
            answers[placed.from].networks.extend(networks(session.client.first, session.client.last));
            if let Some(server) = session.server {
                answers[placed.to].networks.extend(networks(server.first, server.last));
            }
            // Not a secret, but nothing that another run's packets would fit by chance.
            let secret = machine::cycles() ^ u64::from(placed.plan.number) << 56;
            let plan = placed.plan.clone();
            let server = Server::new(&plan, placed.to, link(to, from), secret.rotate_left(32));
            let (name, sessions) = (plan.name.clone(), plan.capacity());
            let client = Client::new(plan, placed.from, link(from, to), secret)
                .map_err(|error| SessionError::Memory { name, sessions, error })?;
            kinds.push(Kind { client, server, weight: placed.weight, credit: 0.0 });
        }
        let wires = Wires::new(thread.io.ports, ports.len(), thread.io.pool);
        Ok(Self {
            eal,
            ports,
            core: thread.core,
            load: Load::new(wires, kinds, answers),
            clock: Clock::new(),
            catch_up_ms: profile.generator.catch_up_ms,
            trial: machine::cycles() as u16,
            notes,
        })
    }

    fn stats(&self) -> Vec<Stats> {
        self.ports.iter().map(|port| port.device.stats().unwrap_or_default()).collect()
    }

    /// Runs `work` on the generator's thread and watches it. The intervals are what it told meanwhile.
    fn watched<R: Send>(
        &mut self,
        total: Duration,
        watch: &mut dyn FnMut(Progress) -> Watch,
        work: impl FnOnce(Work<'_, DpdkPort, Mempool, &mut dyn FnMut() -> u64>) -> R + Send,
    ) -> Result<(R, Watched), Failure> {
        let failure = |why: String| Failure { why, partial: None };
        let (gauge, clock, core, catch_up_ms) = (Gauge::default(), self.clock, self.core, self.catch_up_ms);
        let (load, eal, ports) = (&mut self.load, &self.eal, &self.ports);
        let before: Vec<Stats> = ports.iter().map(|port| port.device.stats().unwrap_or_default()).collect();
        let mut watched = Watched::default();
        let step = TICK.max(total / INTERVALS_MAX);
        let result = std::thread::scope(|scope| {
            let gauge = &gauge;
            let thread =
                std::thread::Builder::new().name("generator".to_owned()).spawn_scoped(scope, move || {
                    machine::pin_to_core(core)
                        .map_err(|error| format!("core {core} cannot be used: {error}"))?;
                    let _registered = RegisteredThread::new(eal).map_err(|error| error.to_string())?;
                    let mut now = || clock.now();
                    Ok::<R, String>(work(Work::new(load, &mut now, gauge, catch_up_ms)))
                });
            let thread = thread.map_err(|error| failure(format!("no thread for the generator: {error}")))?;
            let (start, mut last) = (Instant::now(), Duration::ZERO);
            let mut counted = Counts::default();
            while !thread.is_finished() {
                std::thread::sleep(TICK.min(step).min(Duration::from_millis(20)));
                let elapsed = start.elapsed();
                if elapsed < last + step {
                    continue;
                }
                let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
                let counts = Counts {
                    sent: read(&gauge.sent),
                    received: read(&gauge.received),
                    sent_bytes: read(&gauge.sent_bytes),
                    received_bytes: read(&gauge.received_bytes),
                    ..Counts::default()
                };
                watched.intervals.push(Interval {
                    end_s: elapsed.as_secs_f64(),
                    length_s: elapsed.saturating_sub(last).as_secs_f64(),
                    counts: Counts {
                        sent: counts.sent.saturating_sub(counted.sent),
                        received: counts.received.saturating_sub(counted.received),
                        sent_bytes: counts.sent_bytes.saturating_sub(counted.sent_bytes),
                        received_bytes: counts.received_bytes.saturating_sub(counted.received_bytes),
                        ..Counts::default()
                    },
                });
                (last, counted) = (elapsed, counts);
                let progress =
                    Progress { elapsed_s: elapsed.as_secs_f64(), total_s: total.as_secs_f64(), counts };
                if watch(progress) == Watch::Stop {
                    gauge.stop.store(true, Ordering::Relaxed);
                }
                if watched.down.is_none() {
                    let up = |port: &OpenPort| port.device.link().is_ok_and(|link| link.up);
                    watched.down = ports.iter().find(|port| !up(port)).map(|port| port.name.clone());
                    if watched.down.is_some() {
                        gauge.stop.store(true, Ordering::Relaxed);
                    }
                }
            }
            match thread.join() {
                Ok(result) => result.map_err(failure),
                Err(_) => Err(failure("the generator's thread has panicked".to_owned())),
            }
        })?;
        for (before, after) in before.iter().zip(self.stats()) {
            let lost = |stats: &Stats| stats.rx_missed + stats.rx_no_buffer;
            watched.missed += lost(&after).saturating_sub(lost(before));
        }
        Ok((result, watched))
    }

    fn outcome<'a>(&'a self, watched: &'a Watched, asked_per_second: Option<f64>) -> Outcome<'a> {
        Outcome { kinds: self.load.kinds(), notes: &self.notes, watched, asked_per_second }
    }

    fn next_trial(&mut self, keep: bool) {
        self.trial = self.trial.wrapping_add(1);
        self.load.reset(self.trial, keep);
    }
}

/// The networks that these addresses are.
fn networks(first: Ipv4Addr, last: Ipv4Addr) -> impl Iterator<Item = (u32, u8)> {
    Ipv4Subnets::new(first, last, 0).map(|network| (network.network().to_bits(), network.prefix_len()))
}

impl Trials for Engine {
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
        let (phase, watched) =
            self.watched(duration, watch, |work| work.run(per_second, duration.as_nanos() as u64))?;
        let trial = self.outcome(&watched, per_second).sessions(&phase, |tally| tally.completed);
        watched.check(trial)
    }
}

impl Ladder for Engine {
    fn climb(
        &mut self,
        sessions: u64,
        open_per_second: Option<f64>,
        hold: Duration,
        watch: &mut dyn FnMut(Progress) -> Watch,
    ) -> Result<Rung, Failure> {
        let most = self.sessions_max();
        if sessions == 0 || sessions > most {
            let why = format!(
                "{sessions} sessions at once are impossible: the profile's client addresses and ports have room for 1 to {most}"
            );
            return Err(Failure { why, partial: None });
        }
        self.next_trial(true);
        let opening = open_per_second.map_or(Duration::ZERO, |rate| {
            Duration::try_from_secs_f64(sessions as f64 / rate).unwrap_or(Duration::MAX)
        });
        let (climb, watched) = self.watched(opening.saturating_add(hold), watch, |work| {
            work.climb(sessions, open_per_second, hold.as_nanos() as u64)
        })?;
        let beside = Watched::default();
        let mut holding = self.outcome(&beside, None).requests(&climb.holding);
        let Phase { tallies, served, .. } = &climb.ending;
        for ((tally, served), kind) in tallies.iter().zip(served).zip(self.load.kinds()) {
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
        self.load.kinds().iter().map(|kind| u64::from(kind.client.plan().capacity())).sum()
    }
}
