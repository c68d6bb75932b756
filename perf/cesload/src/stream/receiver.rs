//! What a thread receives: whose packet it is, and what became of it.

use crate::arp::Answers;
use crate::frame::signature::{self, Found, Signature};
use crate::latency::{LATENCY_MAX_NS, latency_histogram};
use crate::profile::size::FCS;
use crate::profile::traffic::{Lengths, Traffic};
use crate::track::{self, Arrival};
use crate::trial::Counts;
use ces_dataplane::frame::Frame;
use hdrhistogram::Histogram;
use machine::table::HugeSlice;
use std::io;
use std::sync::Arc;

/// A stream, as its receiver knows it.
pub struct Received {
    /// What became of its packets, as far as it is seen here.
    pub counts: Counts,
    /// Delays of its probes, in nanoseconds.
    pub latency_ns: Histogram<u64>,
    /// The port that is to receive.
    to: usize,
    /// Number of its first flow.
    first: u32,
    lengths: Arc<Lengths>,
}

/// What a thread receives.
pub struct Receiver {
    /// The streams.
    pub streams: Vec<Received>,
    /// Frames without our signature.
    pub foreign: u64,
    /// Frames of another trial.
    pub late: u64,
    /// ARP requests that were answered.
    pub answered: u64,
    flows: HugeSlice<track::FlowTrack>,
    trial: u16,
    /// The burst's packets between its phases: signature, length of the packet and of the frame.
    found: Vec<(Signature, u16, u16)>,
}

impl Receiver {
    /// A receiver of all flows of all streams; with each stream, its first number.
    pub fn new(traffic: &[(Traffic, Arc<Lengths>, u32)], burst: usize) -> io::Result<Self> {
        let total: usize = traffic.iter().map(|(stream, ..)| stream.count as usize).sum();
        let of = |number: u32| {
            let stream = traffic.partition_point(|(.., first)| *first <= number).saturating_sub(1);
            let (traffic, _, first) = &traffic[stream];
            let shape = &traffic.shapes[traffic.flow(number - first).shape as usize];
            track::FlowTrack::new(stream as u16, shape.received_overhead)
        };
        let streams = traffic.iter().map(|(stream, lengths, first)| Received {
            counts: Counts::default(),
            latency_ns: latency_histogram(),
            to: stream.to,
            first: *first,
            lengths: Arc::clone(lengths),
        });
        Ok(Self {
            streams: streams.collect(),
            foreign: 0,
            late: 0,
            answered: 0,
            flows: HugeSlice::from_fn(total, |number| of(number as u32))?,
            trial: 0,
            found: Vec::with_capacity(burst),
        })
    }

    /// Makes ready for a trial.
    pub fn begin(&mut self, trial: u16) {
        (self.trial, self.foreign, self.late, self.answered) = (trial, 0, 0, 0);
        for stream in &mut self.streams {
            stream.counts = Counts::default();
            stream.latency_ns.reset();
        }
        for flow in &mut *self.flows {
            flow.reset();
        }
    }

    /// Whether anything of flow `number` was received here.
    pub fn touched(&self, number: usize) -> bool {
        self.flows.get(number).is_some_and(track::FlowTrack::touched)
    }

    /// Flows of all streams.
    pub fn flows(&self) -> usize {
        self.flows.len()
    }

    /// Counts a burst that `port` received at `now_ns`. ARP requests for `answers` become their answers, in `replies`.
    #[inline(always)]
    pub fn take<F: Frame>(
        &mut self,
        frames: &mut Vec<F>,
        port: usize,
        answers: &Answers,
        replies: &mut Vec<F>,
        now_ns: u64,
    ) {
        for frame in &*frames {
            frame.prefetch();
        }
        self.found.clear();
        let mut asked = false;
        for frame in &*frames {
            let data = frame.data();
            match signature::find(data) {
                Found::Ours(signature, total) if signature.trial == self.trial => {
                    if let Some(flow) = self.flows.get(signature.flow as usize) {
                        machine::prefetch_write(flow);
                    }
                    self.found.push((signature, total, data.len() as u16));
                }
                Found::Ours(..) => self.late += 1,
                Found::Arp(_) => asked = true,
                Found::Foreign => self.foreign += 1,
            }
        }
        if asked {
            self.answer(frames, answers, replies);
        }
        for (signature, total, length) in &self.found {
            let Some(flow) = self.flows.get_mut(signature.flow as usize) else {
                self.foreign += 1;
                continue;
            };
            let Some(stream) = self.streams.get_mut(usize::from(flow.stream)) else { continue };
            let index = signature.flow - stream.first;
            let expected = stream.lengths.at(index, signature.sequence) + flow.overhead;
            if *total != expected || port != stream.to {
                stream.counts.misplaced += 1;
                continue;
            }
            match flow.arrive(signature.sequence) {
                Arrival::InOrder => {}
                Arrival::Reordered => stream.counts.reordered += 1,
                Arrival::Duplicate => {
                    stream.counts.duplicated += 1;
                    continue;
                }
                Arrival::Stale => {
                    stream.counts.stale += 1;
                    continue;
                }
            }
            stream.counts.received += 1;
            stream.counts.received_bytes += u64::from(*length) + u64::from(FCS);
            if signature.time_ns != 0 {
                let delay = signature.age_ns(now_ns).clamp(1, LATENCY_MAX_NS);
                stream.latency_ns.saturating_record(delay);
            }
        }
    }

    #[cold]
    fn answer<F: Frame>(&mut self, frames: &mut Vec<F>, answers: &Answers, replies: &mut Vec<F>) {
        let mut index = 0;
        while index < frames.len() {
            let Found::Arp(start) = signature::find(frames[index].data()) else {
                index += 1;
                continue;
            };
            if replies.len() < replies.capacity() && answers.answer(&mut frames[index], start) {
                replies.push(frames.swap_remove(index));
                self.answered += 1;
            } else {
                self.foreign += 1;
                index += 1;
            }
        }
    }
}
