//! The cases that run `process_burst` over a realm: egress, ingress, local.

use crate::measure::{Burst, Case, Done};
use crate::packets::PacketTemplate;
use crate::realm::RealmPlan;
use crate::rotation::{NoBuffers, Rewrite, Rotation};
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
    template: PacketTemplate,
    sequence: Sequence,
    verdicts: Vec<Verdict>,
    buffers: NoBuffers,
    clock: machine::Clock,
    done: Done,
}

impl<F: Rewrite> Path<F> {
    /// A realm after `plan`, over this packet memory, in bursts of `burst`.
    pub fn new(plan: RealmPlan, rotation: Rotation<F>, burst: usize) -> Result<Self, String> {
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
        (mut template, mut sequence): (PacketTemplate, Sequence),
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
            done: Done::default(),
        }
    }
}

impl<F: Rewrite> Case for Path<F> {
    fn burst(&mut self) -> Burst {
        let Self { template, sequence, state, verdicts, buffers, done, .. } = self;
        let frames = self.rotation.advance(|frame| frame.rewrite(template.packet(sequence.next_flow())));
        let (port, now) = (self.arrival, self.clock.now());
        let forwarded = Verdict::Forward(Egress::by(self.departure));
        let burst = done.burst(frames.len(), || {
            let cycles = measured(state, port, frames, verdicts, buffers, now);
            (cycles, verdicts.iter().filter(|verdict| **verdict == forwarded).count())
        });
        while state.peek_event().is_some() {
            state.pop_event();
        }
        burst
    }

    fn done(&self) -> Done {
        self.done
    }

    fn check(&self) -> Result<(), String> {
        let Done { packets, right, .. } = self.done;
        let (drops, wanted) = (drops(&self.state.counters), self.buffers.wanted);
        if packets == right && wanted == 0 {
            return Ok(());
        }
        Err(format!("{right} of {packets} packets were forwarded; drops: {drops}; frames wanted: {wanted}"))
    }
}

/// What is measured, in a function with a name that callgrind can be told.
#[inline(never)]
fn measured<F: Rewrite>(
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
    use crate::realm::PlanWay;
    use ces_dataplane::table::session::Heading;

    #[test]
    fn every_packet_is_forwarded() {
        for way in [PlanWay::Egress, PlanWay::Ingress, PlanWay::Local] {
            for entries in [1, 1000] {
                let plan = RealmPlan { tunnels: 20, limited: 100, ..RealmPlan::new(way, entries) };
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
