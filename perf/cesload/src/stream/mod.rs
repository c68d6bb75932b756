//! The engine of streams: packets of many flows at a given rate, and what became of them.
//!
//! One thread for each core runs a [`lane::Lane`]; the thread that called watches them, and the ports' links.

pub mod dpdk;
pub mod export;
pub mod lane;
pub mod receiver;
pub mod schedule;
pub mod sender;
mod uptime;
mod watch;

#[cfg(test)]
mod tests;

use crate::crew::Crew;
use crate::frame::template::Link;
use crate::latency::latency_histogram;
use crate::port::PortFacts;
use crate::port::frames::{Blank, Buffers};
use crate::profile::traffic::{Lengths, Traffic};
use crate::profile::{Generator, Profile};
use crate::trial::{Counts, Failure, Interval, Progress, Trial, Trials, Unit, Watch};
use crate::words::percent;
use ces_dataplane::io::PortQueues;
pub use dpdk::DpdkEngine;
use lane::Lane;
use machine::Clock;
use receiver::Receiver;
use schedule::Schedule;
use sender::{Part, Sender};
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;
pub use watch::Surroundings;
use watch::{Seen, observe};

/// Below this share of the time a hold-up is what every machine has.
const HELD_UP_WORTH_SAYING: f64 = 0.01;

/// The engine, over any kind of port.
pub struct StreamEngine<P: PortQueues, B, S> {
    lanes: Vec<Lane<P, B>>,
    /// Of the ports.
    names: Vec<String>,
    traffic: Vec<(Traffic, Arc<Lengths>, u32)>,
    settings: Generator,
    line_rate: Option<f64>,
    trial: u16,
    enter: Enter,
    surroundings: S,
}

/// Called on each generator thread before it begins; what it returns is kept until it ends.
pub type Enter = Box<dyn Fn(usize) -> Result<Box<dyn Any>, String> + Sync>;

/// One thread's queue pairs with what they answer, and its pool: those of all ports, perhaps several times over.
type ThreadParts<P, B> = (Vec<(P, crate::arp::Answers)>, B);

impl<P, B, S> StreamEngine<P, B, S>
where
    P: PortQueues + Send,
    P::Frame: Blank + Send,
    B: Buffers<Frame = P::Frame> + Send,
    S: Surroundings,
{
    /// The engine for a profile, with the parts of each thread.
    pub fn new(
        profile: &Profile,
        facts: &[PortFacts],
        threads: Vec<ThreadParts<P, B>>,
        enter: Enter,
        surroundings: S,
    ) -> Result<Self, String> {
        let memory = |error| format!("no memory for the flows: {error}");
        let mut first = 0;
        let mut all = Vec::new();
        for traffic in &profile.traffic {
            all.push((traffic.clone(), Arc::new(traffic.lengths.clone()), first));
            first += traffic.count;
        }
        let clock = Clock::new();
        let count = threads.len() as u32;
        let burst = usize::from(profile.generator.burst).clamp(1, sender::BURST_MAX);
        let mut lanes = Vec::new();
        for (thread, (ports, pool)) in threads.into_iter().enumerate() {
            let mut senders = Vec::new();
            for (stream, (traffic, lengths, first)) in all.iter().enumerate() {
                let (from, to) = (&facts[traffic.from], &facts[traffic.to]);
                let link = Link {
                    source: from.mac,
                    destination: from.peer.unwrap_or(to.mac),
                    vlan: from.vlan,
                    tos: traffic.tos,
                    ttl: traffic.ttl,
                };
                let part = Part { thread: thread as u32, threads: count, first: *first };
                let sender = Sender::new(stream, traffic, lengths, &link, part, profile.generator.seed);
                senders.extend(sender.map_err(memory)?);
            }
            let receiver = Receiver::new(&all, burst).map_err(memory)?;
            lanes.push(Lane::new(facts.len(), ports, pool, senders, receiver, burst, clock));
        }
        Ok(Self {
            lanes,
            names: profile.port.iter().map(|port| port.name.clone()).collect(),
            line_rate: line_rate(profile, facts),
            traffic: all,
            settings: profile.generator.clone(),
            // So that frames of a generator that ran before are told from ours.
            trial: machine::cycles() as u16,
            enter,
            surroundings,
        })
    }

    fn begin(&mut self, per_second: Option<f64>, duration: Duration) -> u64 {
        let hertz = machine::cycles_per_second();
        let cycles = (duration.as_secs_f64() * hertz as f64) as u64;
        self.trial = self.trial.wrapping_add(1);
        let most = self.lanes.iter().flat_map(|lane| &lane.senders).map(|sender| sender.share);
        let most = most.fold(f64::MIN_POSITIVE, f64::max);
        for lane in &mut self.lanes {
            for sender in &mut lane.senders {
                let schedule = match per_second {
                    Some(rate) => {
                        Schedule::paced(rate * sender.share, cycles, hertz, self.settings.catch_up_ms)
                    }
                    None => Schedule::free(f64::from(self.settings.burst) * sender.share / most),
                };
                let traffic = &self.traffic[sender.stream].0;
                let probes = f64::from(traffic.probes_per_second) * sender.share / traffic.share;
                sender.begin(schedule, probes, hertz);
            }
            lane.begin(self.trial);
        }
        cycles
    }

    /// The counts of all threads and what they say about the generator itself.
    fn trial(&self, asked: Option<f64>, intervals: Vec<Interval>, missed: u64) -> Trial {
        let seconds = self.longest(|lane| lane.elapsed);
        let mut trial = Trial::new(Unit::Packets, asked, seconds, intervals);
        trial.missed_by_generator = missed;
        trial.held_up_seconds = self.longest(|lane| lane.held);
        let mut streams = Vec::new();
        for (number, (traffic, ..)) in self.traffic.iter().enumerate() {
            let mut counts = Counts::default();
            let mut latency_ns = latency_histogram();
            for lane in &self.lanes {
                let received = &lane.receiver.streams[number];
                counts.add(&received.counts);
                // Both have the same bounds, so that this cannot fail.
                let _ = latency_ns.add(&received.latency_ns);
                for sender in lane.senders.iter().filter(|sender| sender.stream == number) {
                    counts.sent += sender.sent;
                    counts.sent_bytes += sender.sent_bytes;
                }
            }
            trial.counts.add(&counts);
            streams.push((traffic.name.clone(), counts, latency_ns));
        }
        trial.tell_streams(streams);
        for lane in &self.lanes {
            trial.foreign += lane.receiver.foreign;
            trial.late += lane.receiver.late;
        }
        trial.notes = self.notes(&trial);
        trial
    }

    /// The largest of a number of cycles among the threads, in seconds.
    fn longest(&self, cycles: fn(&Lane<P, B>) -> u64) -> f64 {
        self.lanes.iter().map(cycles).max().unwrap_or(0) as f64 / machine::cycles_per_second() as f64
    }

    fn notes(&self, trial: &Trial) -> Vec<String> {
        let mut notes = Vec::new();
        let sum = |value: fn(&Lane<P, B>) -> u64| self.lanes.iter().map(value).sum::<u64>();
        let (refused, no_buffer) = (sum(|lane| lane.refused), sum(|lane| lane.no_buffer));
        if let Some(asked) = trial.asked_per_second
            && trial.reached() < 0.999
        {
            let why = if refused > 0 { "the ports did not take more" } else { "the generator was too slow" };
            notes.push(format!(
                "of {asked:.0} packets/s asked for, {:.0} were sent: {why}",
                trial.sent_per_second()
            ));
        }
        let held = trial.held_up();
        if held > HELD_UP_WORTH_SAYING {
            notes.push(format!(
                "the generator did not have its core for {} of the time; the trial took so much longer, \
                 and the rate is that of the \
                 rest",
                percent(held)
            ));
        }
        if no_buffer > 0 {
            notes.push(format!(
                "{no_buffer} bursts were not sent because all packet buffers were in use: raise memory.mib"
            ));
        }
        if trial.missed_by_generator > 0 {
            notes.push(format!(
                "the generator's own ports dropped {} packets: it was too slow, part of the loss is its own",
                trial.missed_by_generator
            ));
        }
        if trial.counts.misplaced > 0 {
            notes.push(format!(
                "{} packets came to another port than they should, or with another length",
                trial.counts.misplaced
            ));
        }
        let spread = self.spread();
        if spread > 0 {
            notes.push(format!(
                "packets of {spread} flows came to several receive queues: of these, reordered and duplicated packets \
                 cannot be told exactly"
            ));
        }
        notes
    }

    /// Flows that more than one thread has received packets of.
    fn spread(&self) -> usize {
        let [first, rest @ ..] = self.lanes.as_slice() else { return 0 };
        if rest.is_empty() {
            return 0;
        }
        let touched =
            |number: &usize| self.lanes.iter().filter(|lane| lane.receiver.touched(*number)).count() > 1;
        (0..first.receiver.flows()).filter(touched).count()
    }
}

/// The most packets a second that all ports can carry, if all that are used tell their speed.
fn line_rate(profile: &Profile, facts: &[PortFacts]) -> Option<f64> {
    // Bits that each port carries, each way, for every packet of all streams.
    let mut bits = vec![(0.0, 0.0); facts.len()];
    for traffic in &profile.traffic {
        let (sent, received) = traffic.wire_bits(&profile.port);
        bits[traffic.from].0 += sent * traffic.share;
        bits[traffic.to].1 += received * traffic.share;
    }
    let mut least: Option<f64> = None;
    for ((sent, received), port) in bits.into_iter().zip(facts) {
        let busier = f64::max(sent, received);
        if busier > 0.0 {
            let rate = port.speed_bps? / busier;
            least = Some(least.map_or(rate, |least| least.min(rate)));
        }
    }
    least
}

impl<P, B, S> Trials for StreamEngine<P, B, S>
where
    P: PortQueues + Send,
    P::Frame: Blank + Send,
    B: Buffers<Frame = P::Frame> + Send,
    S: Surroundings,
{
    fn unit(&self) -> Unit {
        Unit::Packets
    }

    fn line_rate(&self) -> Option<f64> {
        self.line_rate
    }

    fn run(
        &mut self,
        per_second: Option<f64>,
        duration: Duration,
        watch: &mut dyn FnMut(Progress) -> Watch,
    ) -> Result<Trial, Failure> {
        if let Some(why) = self.surroundings.fault() {
            return Err(Failure { why, partial: None });
        }
        let cycles = self.begin(per_second, duration);
        let missed = self.surroundings.missed();
        let crew = Crew::new(self.lanes.len());
        let (enter, surroundings, names) = (&self.enter, &self.surroundings, &self.names);
        let drain = Duration::from_millis(u64::from(self.settings.drain_ms));
        let mut seen = Seen::default();
        let ran = crew.run(
            &mut self.lanes,
            |number, lane| {
                let _entered = enter(number)?;
                lane.run(&crew, number, cycles);
                Ok(())
            },
            |_| seen = observe(&crew, (surroundings, names), duration, drain, watch),
        );
        let fault = seen.fault.or(ran.err());
        let missed = self.surroundings.missed().saturating_sub(missed);
        self.trial(per_second, seen.intervals, missed).unless(fault)
    }
}
