//! A shaped port, as one worker sees it: what waits, which class is next, and how much may go now.

use super::class::Class;
use super::codel::{Aim, Coarse, nanos};
use super::fair::{Backlog, Dequeued, FairQueues};
use super::key::{PortKeys, QueueKey, mark};
use super::pace::{Pace, Shape, SharedLine, on_wire};
use super::round::QUANTUM;
use crate::Nanos;
use crate::frame::Frame;
use crate::packet::{BURST, Packet};
use std::sync::Arc;

/// Bytes of the longest frame that counts for what a slow port can be held to.
const LONGEST: usize = 1514;

/// What became of packets in a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueOutcomes {
    /// Sent.
    pub sent: u64,
    /// Their bytes, as on the wire.
    pub bytes: u64,
    /// Not queued, because too many of their host or flow waited.
    pub full: u64,
    /// Dropped, because their flow's queue stood for too long.
    pub late: u64,
    /// Marked for that instead.
    pub marked: u64,
}

/// A shaped port.
#[derive(Debug)]
pub struct Shaper<F> {
    whose: PortKeys,
    queues: FairQueues<F>,
    pace: Pace,
    aim: Aim,
    /// Bytes that each class may still send of its part.
    deficits: [i32; Class::COUNT],
    /// Whose part it is.
    part: usize,
    outcomes: [QueueOutcomes; Class::COUNT],
    /// How long the last packets of each class waited, in units of [`codel`](super::codel).
    waited: [f32; Class::COUNT],
    /// The time of this turn.
    now: Nanos,
    /// Those of a burst: room for one.
    keys: Vec<QueueKey>,
}

impl<F: Frame> Shaper<F> {
    /// For this worker, of so many.
    pub fn new(shape: Shape, whose: PortKeys, line: Arc<SharedLine>, worker: u32, workers: u32) -> Self {
        Self {
            whose,
            queues: FairQueues::new(shape.frames_of_worker(workers) as usize),
            pace: Pace::new(line, worker as usize, shape),
            aim: Aim::of(shape.frame_ns(LONGEST)),
            deficits: [0; Class::COUNT],
            part: 0,
            outcomes: [QueueOutcomes::default(); Class::COUNT],
            waited: [0.0; Class::COUNT],
            now: 0,
            keys: Vec::with_capacity(BURST),
        }
    }

    /// Another bandwidth. What may wait stays what it was.
    pub fn change(&mut self, shape: Shape) {
        self.pace.change(shape);
        self.aim = Aim::of(shape.frame_ns(LONGEST));
    }

    /// A turn begins.
    #[inline(always)]
    pub fn begin(&mut self, now: Nanos) {
        self.now = now;
    }

    /// Queues a frame; `packet` is what it was when it arrived. What may not wait is counted and gone.
    #[inline]
    pub fn push(&mut self, frame: F, packet: Option<&Packet>) {
        let key = self.whose.key(frame.data(), packet);
        self.push_as(&key, frame);
    }

    /// Queues a burst, at most [`BURST`] frames, which were these packets when they arrived.
    pub fn push_burst(&mut self, burst: &mut Vec<F>, packets: &[Packet]) {
        let mut keys = std::mem::take(&mut self.keys);
        keys.clear();
        for (number, frame) in burst.iter().enumerate().take(BURST) {
            let key = self.whose.key(frame.data(), packets.get(number));
            self.queues.prefetch(&key);
            keys.push(key);
        }
        for (frame, key) in burst.drain(..).zip(&keys) {
            self.push_as(key, frame);
        }
        self.keys = keys;
    }

    /// Queues a frame by this key.
    #[inline]
    pub fn push_as(&mut self, key: &QueueKey, frame: F) {
        let bytes = on_wire(frame.data().len());
        if self.queues.push(key, frame, bytes, Coarse::of(self.now)).is_err() {
            self.outcomes[key.class as usize].full += 1;
        }
    }

    /// Whether nothing waits.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Moves what may go now to `out`, as far as there is room in it.
    #[inline]
    pub fn send(&mut self, out: &mut Vec<F>) {
        if self.queues.is_empty() {
            self.pace.rest();
            return;
        }
        let waiting = self.queues.all();
        let Some(grant) = self.pace.ask(waiting.bytes, waiting.hosts, self.now) else { return };
        let mut sent = 0;
        while sent < grant.bytes
            && out.len() < out.capacity()
            && let Some((frame, bytes)) = self.pop()
        {
            sent += u64::from(bytes);
            out.push(frame);
        }
        self.pace.sent(grant, sent);
    }

    /// Takes whatever waits, without any order: who takes it is at its end. `None` when there is nothing more.
    pub fn take_any(&mut self) -> Option<F> {
        self.pop().map(|(frame, _)| frame)
    }

    #[inline]
    fn pop(&mut self) -> Option<(F, u32)> {
        let now = Coarse::of(self.now);
        loop {
            let class = self.class()?;
            let before = self.queues.backlog(class).packets;
            let taken = self.queues.pop(class, self.aim, now, |frame, inner| mark(frame.data_mut(), inner));
            let outcomes = &mut self.outcomes[class as usize];
            let Some(Dequeued { frame, bytes, waited, is_marked, dropped }) = taken else {
                // All that waited in it had waited too long.
                outcomes.late += before;
                continue;
            };
            outcomes.late += u64::from(dropped);
            outcomes.marked += u64::from(is_marked);
            outcomes.sent += 1;
            outcomes.bytes += u64::from(bytes);
            let delay = &mut self.waited[class as usize];
            *delay += (waited as f32 - *delay) / 16.0;
            if class != Class::Urgent {
                self.deficits[class as usize] -= bytes as i32;
            } else if self.pace.is_urgent_due(self.now) {
                self.pace.sent_urgent(u64::from(bytes), self.now);
            }
            return Some((frame, bytes));
        }
    }

    /// The class that is next.
    #[inline]
    fn class(&mut self) -> Option<Class> {
        let waits = |class: Class| self.queues.backlog(class).packets > 0;
        let is_urgent = waits(Class::Urgent);
        if is_urgent && self.pace.is_urgent_due(self.now) {
            return Some(Class::Urgent);
        }
        let others = [Class::Assured, Class::Ordinary, Class::Background];
        let waiting = others.map(waits);
        match waiting {
            [false, false, false] => return is_urgent.then_some(Class::Urgent),
            // As nearly always.
            [false, true, false] => {
                self.deficits = [0; Class::COUNT];
                return Some(Class::Ordinary);
            }
            _ => {}
        }
        loop {
            let class = others[self.part];
            let deficit = &mut self.deficits[class as usize];
            if !waiting[self.part] {
                *deficit = 0;
            } else if *deficit > 0 {
                return Some(class);
            }
            self.part = (self.part + 1) % others.len();
            let next = others[self.part];
            self.deficits[next as usize] += QUANTUM * next.weight();
        }
    }

    /// What became of packets of a class so far.
    pub fn outcomes(&self, class: Class) -> QueueOutcomes {
        self.outcomes[class as usize]
    }

    /// What waits of a class.
    pub fn waiting(&self, class: Class) -> Backlog {
        self.queues.backlog(class)
    }

    /// How long the last packets of a class waited.
    pub fn waited(&self, class: Class) -> Nanos {
        nanos(self.waited[class as usize] as u32)
    }
}
