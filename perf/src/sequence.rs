//! Which packet comes next: the flows of all entries in random order, again and again.

use crate::packets::Differences;
use crate::random::shuffled;
use crate::realm::RealmPlan;
use ces_dataplane::settings::WorkerSettings;
use ces_dataplane::tag::Handle;
use std::sync::Arc;

/// A sequence is at least so long, and made of whole permutations of its entries.
const LEAST: usize = 1 << 16;

/// A sequence. Those who share one go through it at a distance from each other.
#[derive(Clone, Debug)]
pub struct Sequence {
    flows: Arc<[Differences]>,
    next: usize,
}

impl Sequence {
    /// Of all bindings of a realm, or of those that one worker owns.
    pub fn new(plan: &RealmPlan, settings: &WorkerSettings, handles: &[Handle], owner: Option<u32>) -> Self {
        let entries: Vec<u32> = (0..plan.entries)
            .filter(|&entry| {
                owner.is_none_or(|owner| settings.layout.worker(handles[entry as usize]) == owner)
            })
            .collect();
        Self::of(entries.len() as u32, |place| {
            let entry = entries[place as usize];
            plan.flow(settings, entry, handles[entry as usize])
        })
    }

    /// Of so many entries, each with its flow.
    pub fn of(entries: u32, flow: impl Fn(u32) -> Differences) -> Self {
        let rounds = LEAST.div_ceil(entries.max(1) as usize);
        let mut flows = Vec::with_capacity(rounds * entries as usize);
        for seed in 0..rounds {
            flows.extend(shuffled(entries, 100 + seed as u64).into_iter().map(&flow));
        }
        Self { flows: flows.into(), next: 0 }
    }

    /// The same, begun at this part of `parts`.
    pub fn part(&self, part: usize, parts: usize) -> Self {
        Self {
            flows: Arc::clone(&self.flows),
            next: self.flows.len() / parts.max(1) * part % self.flows.len().max(1),
        }
    }

    /// Whether there is nothing in it: a worker owns no binding.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Flows until it begins anew.
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// The next flow.
    #[inline]
    pub fn next_flow(&mut self) -> &Differences {
        let flow = &self.flows[self.next];
        self.next = if self.next + 1 == self.flows.len() { 0 } else { self.next + 1 };
        flow
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::realm::PlanWay;
    use std::collections::HashSet;

    #[test]
    fn every_binding_comes_before_any_comes_again() {
        let plan = RealmPlan { workers: 2, ..RealmPlan::new(PlanWay::Egress, 700) };
        let settings = plan.settings();
        let handles = plan.handles(&settings);
        let keys = |sequence: &mut Sequence, count: usize| {
            let flows = (0..count).map(|_| *sequence.next_flow());
            flows.map(|flow| (flow.source, flow.destination)).collect::<HashSet<_>>()
        };
        let mut all = Sequence::new(&plan, &settings, &handles, None);
        assert_eq!(keys(&mut all, 700).len(), 700);
        let own = [0, 1].map(|owner| Sequence::new(&plan, &settings, &handles, Some(owner)));
        let counts = own.map(|mut own| keys(&mut own, 10_000).len());
        assert_eq!(counts[0] + counts[1], 700);
        assert_ne!(all.part(1, 2).next_flow(), all.part(0, 2).next_flow());
    }
}
