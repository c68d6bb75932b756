//! Turns of a worker that has nothing to do: what looking at two ports and all rings costs.

use crate::measure::{Burst, Case, Done};
use crate::realm::RealmPlan;
use crate::rotation::Rotation;
use crate::sequence::Sequence;
use crate::turn::{Member, Seat};
use ces_dataplane::frame::MemoryFrame;
use ces_dataplane::io::memory::MemoryPool;
use ces_dataplane::worker::Mesh;

/// A worker that nothing arrives at.
pub struct Idle {
    member: Member<MemoryFrame, MemoryPool>,
    turns: usize,
    clock: machine::Clock,
    done: Done,
}

impl Idle {
    /// A worker in a realm after `plan`, so many turns at a time.
    pub fn new(plan: RealmPlan, turns: usize) -> Result<Self, String> {
        let (clock, settings) = (machine::Clock::new(), plan.settings());
        let handles = &plan.handles(&settings)[..];
        let sequence = Sequence::new(&plan, &settings, handles, None);
        let (rotation, pool, mesh) = (Rotation::in_memory(1, 1), MemoryPool::new(1), Mesh::alone());
        let member = Member::new(Seat { plan, settings, handles, rotation, sequence, pool, mesh, clock })?;
        Ok(Self { member, turns, clock, done: Done::default() })
    }
}

impl Case for Idle {
    fn burst(&mut self) -> Burst {
        let Self { member, turns, clock, done } = self;
        done.burst(*turns, || (member.idle(*turns, clock.now()), *turns))
    }

    fn done(&self) -> Done {
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::realm::PlanWay;

    #[test]
    fn every_turn_counts() {
        assert_eq!(Idle::new(RealmPlan::new(PlanWay::Egress, 10), 64).unwrap().burst().packets, 64);
    }
}
