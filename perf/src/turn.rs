//! The cases that run whole turns of the worker: commands, receive, path, send, events, expiry.
//!
//! The ports are two vectors each: what a driver would have received lies in one, what it would send is put in the other. So
//! everything is counted that a worker does, but for the driver.

use crate::measure::{Burst, Case};
use crate::packets::Template;
use crate::path::Sequence;
use crate::realm::{INSIDE, OUTSIDE, Plan};
use crate::rotation::{Rotation, Slot};
use ces_dataplane::counters::Counters;
use ces_dataplane::io::{Pool, Port};
use ces_dataplane::reason::DropReason;
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

impl<F: Slot> Port for Wire<F> {
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

/// A worker in a realm, and packets for it.
pub struct Turn<F: Slot + Send, M: Pool<Frame = F>> {
    plan: Plan,
    worker: Worker<Wire<F>, M>,
    wires: Vec<Rc<RefCell<Wires<F>>>>,
    rotation: Rotation<F>,
    template: Template,
    sequence: Sequence,
    clock: machine::Clock,
    packets: u64,
    strays: u64,
    allocations: u64,
    _control: ControlSide,
}

impl<F: Slot + Send, M: Pool<Frame = F>> Turn<F, M> {
    /// A worker in a realm after `plan`, with this pool for frames of its own, over this packet memory.
    pub fn new(plan: Plan, mut rotation: Rotation<F>, burst: usize, pool: M) -> Result<Self, String> {
        let clock = machine::Clock::new();
        let settings = plan.settings();
        let state = plan.state(&settings, clock.now())?;
        let (mut template, mut sequence) = (plan.template(), Sequence::new(&plan));
        rotation.fill(|frame| frame.rewrite(template.packet(sequence.next_flow())));
        let wires: Vec<_> = [INSIDE, OUTSIDE]
            .map(|_| {
                let (arrived, departed) = (Vec::with_capacity(burst), Vec::with_capacity(burst));
                Rc::new(RefCell::new(Wires { arrived, departed }))
            })
            .into();
        let (control_side, control) = link(RingSizes::default(), Arc::new(Bell::silent()));
        let ports = wires.iter().map(|wire| Wire(Rc::clone(wire))).collect();
        let (mesh, idle) = (Mesh::alone(), Idle::default());
        let worker = Worker::new(Parts { state, ports, pool, control, mesh, clock, idle });
        Ok(Self {
            plan,
            worker,
            wires,
            rotation,
            template,
            sequence,
            clock,
            packets: 0,
            strays: 0,
            allocations: 0,
            _control: control_side,
        })
    }

    /// Packets that did not go where they belong: a benchmark with any of them is void.
    pub fn check(&self) -> Result<(), String> {
        if self.strays == 0 {
            return Ok(());
        }
        let drops = drops(&self.worker.state().counters);
        Err(format!("{} of {} packets were not sent; drops: {drops}", self.strays, self.packets))
    }

    /// Allocations in the turns, for each packet so far.
    pub fn allocations_per_packet(&self) -> f64 {
        self.allocations as f64 / self.packets.max(1) as f64
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

impl<F: Slot + Send, M: Pool<Frame = F>> Case for Turn<F, M> {
    fn burst(&mut self) -> Burst {
        let Self { template, sequence, .. } = self;
        let frames = self.rotation.advance(|frame| frame.rewrite(template.packet(sequence.next_flow())));
        let packets = frames.len();
        self.wires[usize::from(self.plan.arrival())].borrow_mut().arrived.append(frames);
        let now = self.clock.now();
        let allocations = machine::allocations::on_this_thread();
        let mut cycles = measured(&mut self.worker, now);
        // A burst larger than the worker's takes several turns.
        while !self.wires[usize::from(self.plan.arrival())].borrow().arrived.is_empty() {
            cycles += measured(&mut self.worker, now);
        }
        self.allocations += machine::allocations::on_this_thread() - allocations;
        frames.append(&mut self.wires[usize::from(self.plan.departure())].borrow_mut().departed);
        let packets = packets as u64;
        self.strays += packets - frames.len() as u64;
        self.packets += packets;
        Burst { cycles, packets }
    }
}

/// What is measured, in a function with a name that callgrind can be told.
#[inline(never)]
fn measured<F: Slot + Send, M: Pool<Frame = F>>(worker: &mut Worker<Wire<F>, M>, now: u64) -> u64 {
    let begin = machine::cycles();
    worker.turn(now);
    machine::cycles() - begin
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::realm::Way;
    use ces_dataplane::io::memory::MemoryPool;
    use ces_dataplane::msg::Encapsulation;

    #[test]
    fn every_packet_is_sent() {
        for (way, encapsulation) in [
            (Way::Egress, Encapsulation::Vxlan),
            (Way::Ingress, Encapsulation::Vxlan),
            (Way::Ingress, Encapsulation::Gre),
            (Way::Ingress, Encapsulation::Geneve),
            (Way::Local, Encapsulation::Vxlan),
        ] {
            let plan = Plan { way, entries: 500, tunnels: 20, encapsulation };
            let rotation = Rotation::in_memory(1000, 64);
            let mut turn = Turn::new(plan, rotation, 64, MemoryPool::new(8)).unwrap();
            for _ in 0..100 {
                assert_eq!(turn.burst().packets, 64);
            }
            turn.check().unwrap();
        }
    }
}
