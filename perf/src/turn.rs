//! Whole turns of a worker: commands, receive, path, send, events, expiry.
//!
//! The ports are two vectors each: what a driver would have received lies in one, what it would send is put in the other. So
//! everything is counted that a worker does, but for the driver. A [`Member`] is one such worker; [`crate::fleet`] runs one
//! or more of them in turn, [`crate::threads`] each on a core of its own.

use crate::packets::PacketTemplate;
use crate::realm::{INSIDE, OUTSIDE, RealmPlan};
use crate::rotation::{Rewrite, Rotation};
use crate::sequence::Sequence;
use ces_dataplane::counters::Counters;
use ces_dataplane::io::{Pool, PortQueues};
use ces_dataplane::path::BURST;
use ces_dataplane::reason::DropReason;
use ces_dataplane::settings::WorkerSettings;
use ces_dataplane::tag::Handle;
use ces_dataplane::worker::{Bell, ControlSide, Idle, Mesh, Parts, RingSizes, Worker, link};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// What lies on both ends of a port.
struct Wires<F> {
    arrived: Vec<F>,
    departed: Vec<F>,
}

/// A port whose driver is the harness.
struct Wire<F>(Rc<RefCell<Wires<F>>>);

impl<F: Rewrite> PortQueues for Wire<F> {
    type Frame = F;

    #[inline]
    fn rx_burst(&mut self, frames: &mut Vec<F>) -> usize {
        let mut wires = self.0.borrow_mut();
        let count = wires.arrived.len().min(frames.capacity() - frames.len());
        frames.extend(wires.arrived.drain(..count));
        count
    }

    #[inline]
    fn tx_burst(&mut self, frames: &mut Vec<F>) -> usize {
        let count = frames.len();
        self.0.borrow_mut().departed.append(frames);
        count
    }
}

/// What a member is made of.
pub struct Seat<'a, F, M> {
    /// The realm.
    pub plan: RealmPlan,
    /// Its settings, with this worker's number.
    pub settings: WorkerSettings,
    /// The handle of each binding.
    pub handles: &'a [Handle],
    /// Packet memory.
    pub rotation: Rotation<F>,
    /// Which packets arrive here.
    pub sequence: Sequence,
    /// For frames of its own.
    pub pool: M,
    /// Its ends of the rings between workers.
    pub mesh: Mesh<F>,
    /// The time.
    pub clock: machine::Clock,
}

/// A worker in a realm, and packets for it.
pub struct Member<F: Rewrite + Send, M: Pool<Frame = F>> {
    worker: Worker<Wire<F>, M>,
    arrival: Rc<RefCell<Wires<F>>>,
    departure: Rc<RefCell<Wires<F>>>,
    rotation: Rotation<F>,
    template: PacketTemplate,
    sequence: Sequence,
    burst: usize,
    missing: u64,
    _control: ControlSide,
}

impl<F: Rewrite + Send, M: Pool<Frame = F>> Member<F, M> {
    /// A worker with its tables filled and its packet memory written.
    pub fn new(seat: Seat<'_, F, M>) -> Result<Self, String> {
        let Seat { plan, settings, handles, mut rotation, mut sequence, pool, mesh, clock } = seat;
        if sequence.is_empty() {
            return Err(format!("worker {} owns none of the {} bindings", settings.worker, plan.entries));
        }
        let state = plan.state(&settings, handles, clock.now())?;
        let mut template = plan.template();
        rotation.fill(|frame| frame.rewrite(template.packet(sequence.next_flow())));
        let burst = rotation.last().len();
        // A turn sends what arrived and what every other worker handed over: a burst of each, and as much again.
        let room = 2 * (burst + plan.workers as usize * BURST);
        let wires = [INSIDE, OUTSIDE].map(|_| {
            let (arrived, departed) = (Vec::with_capacity(burst), Vec::with_capacity(room));
            Rc::new(RefCell::new(Wires { arrived, departed }))
        });
        let (control_side, control) = link(RingSizes::default(), Arc::new(Bell::silent()));
        let ports = wires.iter().map(|wire| Wire(Rc::clone(wire))).collect();
        let worker = Worker::new(Parts {
            state,
            ports,
            pool,
            control,
            mesh,
            lines: Vec::new(),
            clock,
            idle: Idle::default(),
        });
        Ok(Self {
            worker,
            arrival: Rc::clone(&wires[usize::from(plan.arrival())]),
            departure: Rc::clone(&wires[usize::from(plan.departure())]),
            rotation,
            template,
            sequence,
            burst,
            missing: 0,
            _control: control_side,
        })
    }

    /// Lets a burst arrive; how many packets.
    pub fn offer(&mut self) -> u64 {
        let Self { template, sequence, .. } = self;
        let frames = self.rotation.advance(|frame| frame.rewrite(template.packet(sequence.next_flow())));
        let packets = frames.len() as u64;
        self.arrival.borrow_mut().arrived.append(frames);
        packets
    }

    /// Turns until all that arrived is taken: once, unless the burst is larger than the worker's. The cycles that took.
    pub fn turn(&mut self, now: u64) -> u64 {
        let mut cycles = measured(&mut self.worker, now);
        while !self.arrival.borrow().arrived.is_empty() {
            cycles += measured(&mut self.worker, now);
        }
        cycles
    }

    /// So many turns with nothing to do; the cycles that took.
    pub fn idle(&mut self, turns: usize, now: u64) -> u64 {
        measured_idle(&mut self.worker, turns, now)
    }

    /// Moves what was sent where it belongs to `stash`.
    pub fn collect(&mut self, stash: &mut Vec<F>) {
        stash.append(&mut self.departure.borrow_mut().departed);
    }

    /// Makes the burst that arrived last whole again from `stash`, for its next round.
    pub fn refill(&mut self, stash: &mut Vec<F>) {
        let burst = self.rotation.last();
        let missing = self.burst - burst.len();
        let found = missing.min(stash.len());
        burst.extend(stash.drain(stash.len() - found..));
        self.missing += (missing - found) as u64;
    }

    /// The worker's counters.
    pub fn counters(&self) -> &Counters {
        &self.worker.state().counters
    }

    /// Whether every packet came back from where it belongs: a benchmark in which one did not is void.
    pub fn check(&self) -> Result<(), String> {
        let dropped: u64 = self.counters().drops.iter().sum();
        if dropped == 0 && self.missing == 0 {
            return Ok(());
        }
        let drops = drops(self.counters());
        Err(format!("packets were not sent where they belong; drops: {drops}; missing: {}", self.missing))
    }
}

/// What was dropped, in words.
pub fn drops(counters: &Counters) -> String {
    let drops: Vec<String> = DropReason::ALL
        .iter()
        .zip(&counters.drops)
        .filter(|(_, count)| **count > 0)
        .map(|(reason, count)| format!("{count} {}", reason.label()))
        .collect();
    if drops.is_empty() { "none".to_owned() } else { drops.join(", ") }
}

/// What is measured, in a function with a name that callgrind can be told.
#[inline(never)]
fn measured<F: Rewrite + Send, M: Pool<Frame = F>>(worker: &mut Worker<Wire<F>, M>, now: u64) -> u64 {
    let begin = machine::cycles();
    worker.turn(now);
    machine::cycles() - begin
}

/// The same for turns without packets, all in one measurement: a turn takes about as long as reading the counter.
#[inline(never)]
fn measured_idle<F: Rewrite + Send, M: Pool<Frame = F>>(
    worker: &mut Worker<Wire<F>, M>,
    turns: usize,
    now: u64,
) -> u64 {
    let begin = machine::cycles();
    for _ in 0..turns {
        worker.turn(now);
    }
    machine::cycles() - begin
}
