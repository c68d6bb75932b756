//! The cases that run `process_burst` over a realm: egress, ingress, local.

use crate::measure::{Burst, Case};
use crate::packets::Template;
use crate::realm::Plan;
use crate::rotation::{NoBuffers, Rotation, Slot};
use crate::sequence::Sequence;
use crate::turn::drops;
use crate::world::World;
use ces_dataplane::egress::Egress;
use ces_dataplane::msg::PortId;
use ces_dataplane::path::process_burst;
use ces_dataplane::state::State;
use ces_dataplane::verdict::Verdict;

/// A realm and packets for it.
pub struct Path<F> {
    arrival: PortId,
    departure: PortId,
    state: State,
    rotation: Rotation<F>,
    template: Template,
    sequence: Sequence,
    verdicts: Vec<Verdict>,
    buffers: NoBuffers,
    clock: machine::Clock,
    packets: u64,
    strays: u64,
    allocations: u64,
}

impl<F: Slot> Path<F> {
    /// A realm after `plan`, over this packet memory, in bursts of `burst`.
    pub fn new(plan: Plan, rotation: Rotation<F>, burst: usize) -> Result<Self, String> {
        let clock = machine::Clock::new();
        let settings = plan.settings();
        let handles = plan.handles(&settings);
        let state = plan.state(&settings, &handles, clock.now())?;
        let sequence = Sequence::new(&plan, &settings, &handles, None);
        let ports = (plan.arrival(), plan.departure());
        Ok(Self::over(state, ports, (plan.template(), sequence), rotation, burst, clock))
    }

    /// The same with sessions of NAT44.
    pub fn into_the_world(world: World, rotation: Rotation<F>, burst: usize) -> Result<Self, String> {
        let clock = machine::Clock::new();
        let state = world.state(clock.now())?;
        let packets = (world.template(), world.sequence());
        Ok(Self::over(state, world.ports(), packets, rotation, burst, clock))
    }

    fn over(
        state: State,
        (arrival, departure): (PortId, PortId),
        (mut template, mut sequence): (Template, Sequence),
        mut rotation: Rotation<F>,
        burst: usize,
        clock: machine::Clock,
    ) -> Self {
        rotation.fill(|frame| frame.rewrite(template.packet(sequence.next_flow())));
        Self {
            arrival,
            departure,
            state,
            rotation,
            template,
            sequence,
            verdicts: vec![Verdict::Absorb; burst],
            buffers: NoBuffers::default(),
            clock,
            packets: 0,
            strays: 0,
            allocations: 0,
        }
    }
}

impl<F: Slot> Case for Path<F> {
    fn burst(&mut self) -> Burst {
        let Self { template, sequence, .. } = self;
        let frames = self.rotation.advance(|frame| frame.rewrite(template.packet(sequence.next_flow())));
        let packets = frames.len() as u64;
        let (port, now) = (self.arrival, self.clock.now());
        let allocations = machine::allocations::on_this_thread();
        let cycles = measured(&mut self.state, port, frames, &mut self.verdicts, &mut self.buffers, now);
        self.allocations += machine::allocations::on_this_thread() - allocations;
        let right = Verdict::Forward(Egress::by(self.departure));
        self.strays += self.verdicts.iter().filter(|verdict| **verdict != right).count() as u64;
        self.packets += packets;
        while self.state.peek_event().is_some() {
            self.state.pop_event();
        }
        Burst { cycles, packets }
    }

    fn check(&self) -> Result<(), String> {
        if self.strays == 0 && self.buffers.wanted == 0 {
            return Ok(());
        }
        Err(format!(
            "{} of {} packets were not forwarded; drops: {}; frames wanted: {}",
            self.strays,
            self.packets,
            drops(&self.state.counters),
            self.buffers.wanted
        ))
    }

    fn allocations_per_packet(&self) -> f64 {
        self.allocations as f64 / self.packets.max(1) as f64
    }
}

/// What is measured, in a function with a name that callgrind can be told.
#[inline(never)]
fn measured<F: Slot>(
    state: &mut State,
    port: PortId,
    frames: &mut [F],
    verdicts: &mut [Verdict],
    buffers: &mut NoBuffers,
    now: u64,
) -> u64 {
    let begin = machine::cycles();
    process_burst(state, port, frames, verdicts, buffers, now);
    machine::cycles() - begin
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::realm::Way;
    use crate::world::Heading;

    #[test]
    fn every_packet_is_forwarded() {
        for way in [Way::Egress, Way::Ingress, Way::Local] {
            for entries in [1, 1000] {
                let plan = Plan { tunnels: 20, limited: 100, ..Plan::new(way, entries) };
                let mut path = Path::new(plan, Rotation::in_memory(1000, 64), 64).unwrap();
                for _ in 0..100 {
                    assert_eq!(path.burst().packets, 64);
                }
                path.check().unwrap();
            }
        }
    }

    #[test]
    fn every_session_is_of_the_world() {
        for heading in [Heading::Out, Heading::In] {
            for sessions in [1, 1000] {
                let world = World::new(heading, sessions);
                let mut path = Path::into_the_world(world, Rotation::in_memory(1000, 64), 64).unwrap();
                for _ in 0..100 {
                    assert_eq!(path.burst().packets, 64);
                }
                path.check().unwrap();
            }
        }
    }
}
