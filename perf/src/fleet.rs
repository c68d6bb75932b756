//! One worker, or several that run in turn on one core.
//!
//! Of several, each has its own tables, packet memory and rings to the others, so that the working set is that of a gateway
//! with so many cores, and so is the share of packets that arrive at the wrong one. What is not as there: all of them share
//! one core's first and second level cache, which is worse, and no line moves from core to core, which is better
//! ([`crate::threads`] measures that on as many cores as there are).

use crate::measure::{Burst, Case, Done, INTERRUPTED_NS};
use crate::realm::RealmPlan;
use crate::rotation::{Rewrite, Rotation};
use crate::sequence::Sequence;
use crate::turn::{Member, Seat};
use ces_dataplane::io::Pool;
use ces_dataplane::path::BURST;
use ces_dataplane::settings::WorkerSettings;
use ces_dataplane::worker::Mesh;

/// Room for frames in each ring between two workers, as `cesd` has it.
pub const RING: usize = 512;

/// Where a packet arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steering {
    /// At the worker that owns its binding, as with a NIC whose hash is ours to choose.
    Own,
    /// At any, as with a NIC whose hash is not: all but one in so many workers are handed over.
    Mixed,
}

/// Frames that a fleet needs beside those in rotation: what is under way between workers after a round.
pub const fn spare(workers: u32, burst: usize) -> usize {
    if workers == 1 { 0 } else { 2 * workers as usize * if burst > BURST { burst } else { BURST } }
}

/// The sequences of the packets that arrive at each worker.
pub fn sequences(
    plan: &RealmPlan,
    settings: &WorkerSettings,
    handles: &[ces_dataplane::tag::Handle],
    steering: Steering,
) -> Vec<Sequence> {
    let workers = plan.workers as usize;
    if workers == 1 || steering == Steering::Mixed {
        let all = Sequence::new(plan, settings, handles, None);
        (0..workers).map(|worker| all.part(worker, workers)).collect()
    } else {
        (0..plan.workers).map(|worker| Sequence::new(plan, settings, handles, Some(worker))).collect()
    }
}

/// Workers in a realm.
pub struct Crowd<F: Rewrite + Send, M: Pool<Frame = F>> {
    members: Vec<Member<F, M>>,
    stash: Vec<F>,
    clock: machine::Clock,
    done: Done,
}

impl<F: Rewrite + Send, M: Pool<Frame = F>> Crowd<F, M> {
    /// As many workers as `plan` names, each with one of these packet memories and a pool of `pool`'s making; `spare`
    /// are [`spare`] further frames.
    pub fn new(
        plan: RealmPlan,
        steering: Steering,
        rotations: Vec<Rotation<F>>,
        mut spare: Vec<F>,
        mut pool: impl FnMut() -> M,
    ) -> Result<Self, String> {
        let clock = machine::Clock::new();
        let settings = plan.settings();
        let handles = plan.handles(&settings);
        let workers = plan.workers as usize;
        let meshes = if workers == 1 { vec![Mesh::alone()] } else { Mesh::new(workers, RING) };
        let sequences = sequences(&plan, &settings, &handles, steering);
        let members = meshes
            .into_iter()
            .zip(sequences)
            .zip(rotations)
            .zip(0..)
            .map(|(((mesh, sequence), rotation), worker)| {
                let settings = WorkerSettings { worker, ..settings.clone() };
                let pool = pool();
                Member::new(Seat { plan, settings, handles: &handles, rotation, sequence, pool, mesh, clock })
            })
            .collect::<Result<_, String>>()?;
        spare.reserve(2 * (workers + 1) * workers * BURST);
        Ok(Self { members, stash: spare, clock, done: Done::default() })
    }
}

impl<F: Rewrite + Send, M: Pool<Frame = F>> Case for Crowd<F, M> {
    fn burst(&mut self) -> Burst {
        let Self { members, stash, clock, done } = self;
        let packets = members.iter_mut().map(Member::offer).sum::<u64>() as usize;
        let now = clock.now();
        let burst =
            done.burst(packets, || (members.iter_mut().map(|member| member.turn(now)).sum(), packets));
        for member in &mut *members {
            member.collect(stash);
        }
        for member in members {
            member.refill(stash);
        }
        burst
    }

    fn done(&self) -> Done {
        self.done
    }

    fn limit_ns(&self) -> u64 {
        INTERRUPTED_NS * self.members.len() as u64
    }

    fn check(&self) -> Result<(), String> {
        self.members.iter().try_for_each(Member::check)
    }

    fn handed_over(&self) -> f64 {
        let taken: u64 = self.members.iter().map(|member| member.counters().taken_over).sum();
        taken as f64 / self.done.packets.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::realm::PlanWay;
    use ces_dataplane::frame::MemoryFrame;
    use ces_dataplane::io::memory::MemoryPool;
    use ces_dataplane::msg::Encapsulation;

    fn fleet(plan: RealmPlan, steering: Steering) -> Crowd<MemoryFrame, MemoryPool> {
        let rotations = (0..plan.workers).map(|_| Rotation::in_memory(1000, 64)).collect();
        let spare = vec![MemoryFrame::empty(); spare(plan.workers, 64)];
        Crowd::new(plan, steering, rotations, spare, || MemoryPool::new(8)).unwrap()
    }

    #[test]
    fn every_packet_is_sent() {
        for (way, encapsulation) in [
            (PlanWay::Egress, Encapsulation::Vxlan),
            (PlanWay::Ingress, Encapsulation::Vxlan),
            (PlanWay::Ingress, Encapsulation::Gre),
            (PlanWay::Ingress, Encapsulation::Geneve),
            (PlanWay::Local, Encapsulation::Vxlan),
        ] {
            let plan = RealmPlan { tunnels: 20, encapsulation, ..RealmPlan::new(way, 500) };
            let mut fleet = fleet(plan, Steering::Own);
            for _ in 0..100 {
                assert_eq!(fleet.burst().packets, 64);
            }
            fleet.check().unwrap();
        }
    }

    #[test]
    fn only_mixed_packets_are_handed_over() {
        for way in [PlanWay::Egress, PlanWay::Ingress] {
            for workers in [2, 5] {
                let plan = RealmPlan { workers, ..RealmPlan::new(way, 2000) };
                let [mut own, mut mixed] = [Steering::Own, Steering::Mixed].map(|how| fleet(plan, how));
                for _ in 0..200 {
                    assert_eq!(own.burst().packets, u64::from(workers) * 64);
                    assert_eq!(mixed.burst().packets, u64::from(workers) * 64);
                }
                own.check().unwrap();
                mixed.check().unwrap();
                let expected = 1.0 - 1.0 / f64::from(workers);
                assert!(own.handed_over() == 0.0 && (mixed.handed_over() - expected).abs() < 0.05);
            }
        }
    }
}
