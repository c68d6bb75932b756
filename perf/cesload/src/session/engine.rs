//! Sessions on DPDK ports: threads on their cores, watched from another.
//!
//! Each thread has its share of the client addresses and ports, and of the rate. It is client and server: the server keeps no
//! state and answers with a copy of a template, so that it costs about what sending costs; and all threads have one clock.

use crate::arp::Answers;
use crate::crew::Crew;
use crate::port::{self, OpenPort, Ports, Unready};
use crate::profile::Profile;
use crate::profile::range::Addresses;
use crate::profile::session::Placed;
use crate::session::client::Client;
use crate::session::load::{HAND_OVER, Load};
use crate::session::outcome::{self, Outcome, SeenTrial};
use crate::session::phases::{Climb, Tallied, Work};
use crate::session::plan::{Plan, Share};
use crate::session::server::Server;
use crate::session::wires::Wires;
use crate::trial::{Ascent, Counts, Failure, Interval, Ladder, Progress, Rung, Trial, Trials, Unit, Watch};
use ces_dataplane::io::dpdk::DpdkPort;
use ces_dataplane::wire::ethernet;
use ces_dataplane::worker::Mesh;
use dpdk::{Eal, Mempool};
use ipnet::Ipv4Subnets;
use machine::Clock;
use std::time::{Duration, Instant};

/// How often the one who watches is told, and an interval ends.
const TICK: Duration = Duration::from_millis(100);
/// Intervals of a trial at most; longer trials have longer ones.
const INTERVALS_MAX: u32 = 600;

/// The engine of sessions.
pub struct SessionEngine {
    eal: Eal,
    ports: Vec<OpenPort>,
    plan: Plan,
    /// The generator's threads: their cores, and what runs there.
    lanes: Vec<(usize, Load<DpdkPort, Mempool>)>,
    clock: Clock,
    catch_up_ms: u32,
    trial: u16,
}

impl SessionEngine {
    /// Opens the profile's ports, with a thread on each of its cores. `say` is told what is being waited for.
    pub fn open(profile: &Profile, say: &mut dyn FnMut(&str)) -> Result<Self, Unready> {
        let (Some(placed), Some(session)) = (&profile.sessions, &profile.session) else {
            return Err(Unready::Usage("the profile has no [session]".to_owned()));
        };
        let Ports { eal, ports, threads } = port::open(profile, say)?;
        let Placed { plan, from, to } = placed;
        let mut answers: Vec<Answers> = ports.iter().map(|port| port.answers.clone()).collect();
        answers[*from].networks.extend(networks(session.client));
        answers[*to].networks.extend(session.server.into_iter().flat_map(networks));
        let link = |own: usize, other: usize| ethernet::Header {
            destination: ports[own].facts.peer.unwrap_or(ports[other].facts.mac),
            source: ports[own].facts.mac,
            vlan: ports[own].facts.vlan,
            ethertype: ethernet::IPV4,
        };
        // Not a secret, but nothing that another run's packets would fit by chance.
        let secret = machine::cycles();
        let count = threads.len();
        let mut lanes = Vec::with_capacity(count);
        for (number, (thread, mesh)) in threads.into_iter().zip(Mesh::new(count, HAND_OVER)).enumerate() {
            let server = Server::new(plan, *to, link(*to, *from), secret.rotate_left(32));
            let share = Share::new(plan, number, count);
            let sessions = share.count();
            let client =
                Client::new(plan.clone(), share, *from, link(*from, *to), secret).map_err(|error| {
                    Unready::Broken(format!("no memory for {sessions} sessions, 32 bytes each: {error}"))
                })?;
            let wires = Wires::new(thread.io.ports, ports.len(), thread.io.pool);
            let mut load = Load::new(wires, (client, server), answers.clone(), mesh);
            load.nap = Duration::from_micros(u64::from(profile.generator.nap_us));
            lanes.push((thread.core, load));
        }
        let (catch_up_ms, trial) = (profile.generator.catch_up_ms, machine::cycles() as u16);
        Ok(Self { eal, ports, plan: plan.clone(), lanes, clock: Clock::new(), catch_up_ms, trial })
    }

    /// Runs `work` on each of the generator's threads and watches them. The intervals are what they told meanwhile.
    fn watched<R: Send>(
        &mut self,
        total: Duration,
        watch: &mut dyn FnMut(Progress) -> Watch,
        work: impl Fn(Work<'_, DpdkPort, Mempool, &mut dyn FnMut() -> u64>) -> R + Sync,
    ) -> Result<(Vec<R>, SeenTrial), Failure> {
        let before = port::missed(&self.ports);
        let (crew, clock, catch_up_ms) = (&Crew::new(self.lanes.len()), self.clock, self.catch_up_ms);
        let (eal, ports) = (&self.eal, &self.ports);
        let mut watched = SeenTrial::default();
        let done = crew.run(
            &mut self.lanes,
            |_, (core, load)| {
                let _entered = port::enter(eal, *core)?;
                let mut now = || clock.now();
                Ok(work(Work::new(load, &mut now, crew, catch_up_ms)))
            },
            |over| observe(crew, ports, total, over, watch, &mut watched),
        );
        let results = done.map_err(|why| Failure { why, partial: None })?;
        watched.missed = port::missed(&self.ports).saturating_sub(before);
        Ok((results, watched))
    }

    fn outcome<'a>(&'a self, watched: &'a SeenTrial, asked_per_second: Option<f64>) -> Outcome<'a> {
        Outcome { plan: &self.plan, watched, asked_per_second }
    }

    fn next_trial(&mut self, keep: bool) {
        self.trial = self.trial.wrapping_add(1);
        for (_, load) in &mut self.lanes {
            load.reset(self.trial, keep);
        }
    }
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
        watched.fault = watched.fault.take().or_else(|| port::fault(ports));
        if watched.fault.is_some() {
            crew.stop();
        }
    }
}

/// The networks that these addresses are.
fn networks(span: Addresses) -> impl Iterator<Item = (u32, u8)> {
    Ipv4Subnets::new(span.first, span.last, 0)
        .map(|network| (network.network().to_bits(), network.prefix_len()))
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
        let mut phase = Tallied::default();
        for part in &phases {
            phase.add(part);
        }
        let trial = self.outcome(&watched, per_second).sessions(&phase, |tally| tally.completed);
        trial.unless(watched.fault)
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
        let ending = if self.plan.ends_silently() { Duration::ZERO } else { once(open_per_second) };
        let total =
            once(open_per_second).saturating_add(hold.max(once(use_per_second))).saturating_add(ending);
        let (climbs, watched) = self.watched(total, watch, |work| work.climb(ascent))?;
        let mut climb = Climb::default();
        for part in &climbs {
            climb.add(part);
        }
        let mut holding = self.outcome(&watched, use_per_second).requests(&climb.holding);
        let name = format!("{} at its end", self.plan.name);
        outcome::tell(&mut holding.notes, &name, &climb.ending.tally, &climb.ending.served);
        let opening = self.outcome(&watched, open_per_second).sessions(&climb.opening, |tally| tally.set_up);
        let opening = opening.unless(watched.fault)?;
        Ok(Rung {
            wanted: sessions,
            opened: climb.opened,
            opening,
            holding: Some(holding),
            alive: climb.alive,
        })
    }

    fn sessions_max(&self) -> u64 {
        self.plan.capacity().into()
    }
}
