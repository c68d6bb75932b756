//! A thread's share of a stream, as it is sent: whose turn it is, and what its packet says.

use super::schedule::Schedule;
use crate::frame::ends::Ends;
use crate::frame::signature::Signature;
use crate::frame::template::{Link, Template};
use crate::port::frames::Blank;
use crate::profile::Order;
use crate::profile::traffic::{self, Lengths, Traffic};
use ces_perf::random::Random;
use machine::table::HugeSlice;
use std::io;
use std::sync::Arc;

/// Packets at most in a burst.
pub const BURST_MAX: usize = 256;

/// A flow, as its sender knows it.
#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    tuple: Ends,
    shape: u32,
    /// The number of its next packet.
    sequence: u32,
}

const _: () = assert!(size_of::<Flow>() as u64 == traffic::SENDER_BYTES);

/// A packet whose time is written just before it is sent.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Index of its flow.
    flow: u32,
    sequence: u32,
}

/// A thread's share of a stream.
pub struct Sender {
    /// The stream.
    pub stream: usize,
    /// The port that sends.
    pub port: usize,
    /// Its part of all packets of all streams and threads.
    pub share: f64,
    /// When its packets are due.
    pub schedule: Schedule,
    /// Packets that the port has taken.
    pub sent: u64,
    /// Bytes of these, FCS included.
    pub sent_bytes: u64,
    lengths: Arc<Lengths>,
    templates: Vec<Template>,
    order: Order,
    flows: HugeSlice<Flow>,
    /// Index of the first of `flows` in the stream, and its number.
    first: (u32, u32),
    /// Cycles between two probes; 0 = none are sent.
    probe_every: u64,
    /// When the next probe is due, in cycles since the start.
    probe_next: u64,
    turn: usize,
    random: Random,
    drawn: Box<[u32; BURST_MAX]>,
}

/// What identifies a sender's share: `part` of `parts`, and where the stream's flows are numbered from.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Which thread.
    pub thread: u32,
    /// Of how many.
    pub threads: u32,
    /// Number of the stream's first flow.
    pub first: u32,
}

impl Part {
    /// The flows of `count` that are this part's.
    fn of(&self, count: u32) -> std::ops::Range<u32> {
        let cut = |thread: u32| (u64::from(count) * u64::from(thread) / u64::from(self.threads)) as u32;
        cut(self.thread)..cut(self.thread + 1)
    }
}

impl Sender {
    /// The sender of a part of a stream; `None` if it has no flows.
    pub fn new(
        stream: usize,
        traffic: &Traffic,
        lengths: &Arc<Lengths>,
        link: &Link,
        part: Part,
        seed: u64,
    ) -> io::Result<Option<Self>> {
        let own = part.of(traffic.count);
        if own.is_empty() {
            return Ok(None);
        }
        let flow = |index: u32| {
            let flow = traffic.flow(index);
            Flow { tuple: flow.ends, shape: flow.shape, sequence: 0 }
        };
        let share = traffic.share * own.len() as f64 / f64::from(traffic.count);
        Ok(Some(Self {
            stream,
            port: traffic.from,
            share,
            schedule: Schedule::free(0.0),
            sent: 0,
            sent_bytes: 0,
            lengths: Arc::clone(lengths),
            templates: traffic.shapes.iter().map(|shape| Template::new(link, shape)).collect(),
            order: traffic.order,
            flows: HugeSlice::from_fn(own.len(), |index| flow(own.start + index as u32))?,
            first: (own.start, part.first + own.start),
            probe_every: 0,
            probe_next: 0,
            turn: 0,
            random: Random::new(mixed(seed ^ u64::from(part.first + own.start))),
            drawn: Box::new([0; BURST_MAX]),
        }))
    }

    /// Makes ready for a trial. `probes_per_second` are sent by all threads together, of which this one has its share.
    pub fn begin(&mut self, schedule: Schedule, probes_per_second: f64, hertz: u64) {
        self.schedule = schedule;
        (self.sent, self.sent_bytes, self.turn, self.probe_next) = (0, 0, 0, 0);
        let probes = probes_per_second > 0.0;
        self.probe_every = if probes { (hertz as f64 / probes_per_second).max(1.0) as u64 } else { 0 };
        for flow in &mut *self.flows {
            flow.sequence = 0;
        }
    }

    /// Fills fresh frames with packets that were due when `elapsed` cycles had passed. If a probe is among them, it is the
    /// first; its time may be [written](Self::write_probe) again. Returns it, and the bytes of all frames, FCS included.
    #[inline(always)]
    pub fn fill<F: Blank>(
        &mut self,
        frames: &mut [F],
        trial: u16,
        time_ns: u64,
        elapsed: u64,
    ) -> (Option<Probe>, u64) {
        // In phases, so that the flows' lines are fetched side by side.
        let count = frames.len().min(BURST_MAX);
        for index in 0..count {
            let drawn = self.draw();
            self.drawn[index] = drawn as u32;
            if let Some(flow) = self.flows.get(drawn) {
                machine::prefetch_write(flow);
            }
        }
        let probe = (self.probe_every != 0 && elapsed >= self.probe_next && count > 0)
            .then(|| self.take_probe(elapsed));
        let (mut bytes, mut time_ns) = (0, if probe.is_some() { time_ns } else { 0 });
        for (frame, &index) in frames.iter_mut().zip(&self.drawn[..count]) {
            let Some(flow) = self.flows.get_mut(index as usize) else { continue };
            let total = self.lengths.at(self.first.0 + index, flow.sequence);
            let signature = Signature { trial, flow: self.first.1 + index, sequence: flow.sequence, time_ns };
            flow.sequence = flow.sequence.wrapping_add(1);
            let Some(template) = self.templates.get(flow.shape as usize) else { continue };
            bytes += template.write(frame, total, &flow.tuple, &signature) as u64
                + u64::from(crate::profile::size::FCS);
            // Only the first is timed.
            time_ns = 0;
        }
        (probe, bytes)
    }

    /// The next flow.
    #[inline(always)]
    fn draw(&mut self) -> usize {
        let count = self.flows.len();
        match self.order {
            Order::Sequential => {
                let drawn = self.turn;
                self.turn = if drawn + 1 == count { 0 } else { drawn + 1 };
                drawn
            }
            Order::Random => self.random.below(count as u32) as usize,
        }
    }

    /// The first packet that is drawn is a probe.
    #[cold]
    fn take_probe(&mut self, elapsed: u64) -> Probe {
        // Probes that were missed are not made up for: they would not be spread over the time.
        self.probe_next = (self.probe_next + self.probe_every).max(elapsed.saturating_sub(self.probe_every));
        let flow = self.drawn[0];
        Probe { flow, sequence: self.flows.get(flow as usize).map_or(0, |flow| flow.sequence) }
    }

    /// Writes a probe again, with a later time.
    #[cold]
    pub fn write_probe<F: Blank>(&self, frame: &mut F, probe: &Probe, trial: u16, time_ns: u64) {
        let &Probe { flow: index, sequence } = probe;
        let Some(flow) = self.flows.get(index as usize) else { return };
        let total = self.lengths.at(self.first.0 + index, sequence);
        let signature = Signature { trial, flow: self.first.1 + index, sequence, time_ns };
        self.templates[flow.shape as usize].write(frame, total, &flow.tuple, &signature);
    }
}

/// SplitMix64 (Steele et al. 2014): neighbouring seeds become unlike ones, and none is 0.
fn mixed(seed: u64) -> u64 {
    let mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1
}
