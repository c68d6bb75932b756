//! What it costs to make a binding: `State::command` in bursts, with all tables filled and emptied in random order.

use crate::measure::{Burst, Case, Done};
use crate::random::shuffled;
use crate::realm::RealmPlan;
use ces_dataplane::msg::{Command, Event};
use ces_dataplane::settings::WorkerSettings;
use ces_dataplane::state::State;

/// Insertion of bindings.
pub struct Insertion {
    plan: RealmPlan,
    settings: WorkerSettings,
    state: State,
    order: Vec<u32>,
    next: usize,
    generation: u32,
    commands: Vec<Command>,
    burst: usize,
    clock: machine::Clock,
    done: Done,
}

impl Insertion {
    /// Of bindings after `plan`, in bursts of `burst`.
    pub fn new(plan: RealmPlan, burst: usize) -> Result<Self, String> {
        let clock = machine::Clock::new();
        let settings = plan.settings();
        let mut state = State::new(&settings).map_err(|error| format!("no state: {error}"))?;
        for command in plan.surroundings() {
            state.command(command, clock.now());
        }
        Ok(Self {
            order: shuffled(plan.entries, 3),
            commands: Vec::with_capacity(burst),
            plan,
            settings,
            state,
            next: 0,
            generation: 0,
            burst,
            clock,
            done: Done::default(),
        })
    }

    fn drain(&mut self) {
        while let Some(event) = self.state.peek_event() {
            self.done.right -= u64::from(matches!(event, Event::InsertFailed(..)));
            self.state.pop_event();
        }
    }

    /// Removes everything, in the order of insertion, and begins anew with the next generation of handles.
    fn empty(&mut self) {
        for index in 0..self.order.len() {
            let handle = RealmPlan::handle(&self.settings, 0, self.order[index], self.generation);
            self.state.command(Command::RemoveBinding(handle), self.clock.now());
            self.drain();
        }
        self.generation += 1;
        self.next = 0;
    }
}

impl Case for Insertion {
    fn burst(&mut self) -> Burst {
        if self.next == self.order.len() {
            self.empty();
        }
        let now = self.clock.now();
        self.commands.clear();
        let end = (self.next + self.burst).min(self.order.len());
        for &entry in &self.order[self.next..end] {
            let handle = RealmPlan::handle(&self.settings, 0, entry, self.generation);
            self.commands.push(Command::InsertBinding(handle, self.plan.binding(entry)));
        }
        self.next = end;
        let Self { state, commands, done, .. } = self;
        let burst = done.burst(commands.len(), || (measured(state, commands, now), commands.len()));
        self.drain();
        burst
    }

    fn done(&self) -> Done {
        self.done
    }
}

/// What is measured, in a function with a name that callgrind can be told.
#[inline(never)]
fn measured(state: &mut State, commands: &[Command], now: u64) -> u64 {
    let begin = machine::cycles();
    for command in commands {
        state.command(*command, now);
    }
    machine::cycles() - begin
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::realm::PlanWay;

    #[test]
    fn every_binding_goes_in_again_and_again() {
        let plan = RealmPlan { tunnels: 20, ..RealmPlan::new(PlanWay::Egress, 1000) };
        let mut insertion = Insertion::new(plan, 64).unwrap();
        let bindings: u64 = (0..100).map(|_| insertion.burst().packets).sum();
        assert!(bindings > 5000);
        insertion.check().unwrap();
    }
}
