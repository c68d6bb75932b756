//! The gateway goes on with what is done a piece at a time.

use crate::Nanos;
use crate::gateway::Gateway;
use crate::hosts::HostId;

/// Questions that one piece asks: some microseconds each.
const QUESTIONS: usize = 200;
/// What one piece tells of pins, in hosts and sessions: less than a microsecond each.
const PINS: usize = 2_000;

impl Gateway {
    /// Whether there is something to be gone on with: [`Gateway::do_chores`], when what was done last has gone out.
    pub fn has_chores(&self) -> bool {
        self.engine.has_ends() || !self.core.chores.is_empty()
    }

    /// Does a piece of it.
    pub fn do_chores(&mut self, now: Nanos) {
        if self.engine.has_ends() {
            self.engine.end_some(&mut self.core.at(now), now);
        }
        self.tell_some_pins();
        self.ask_some_again(now);
        self.settle(now);
    }

    fn tell_some_pins(&mut self) {
        let core = &mut self.core;
        let mut cost = 0;
        while cost < PINS
            && let Some(slot) = core.chores.next_pin(core.hosts.slots())
        {
            let id = HostId(slot as u32);
            let has_mac = core.hosts.get(id).is_some_and(|host| host.pin.mac().is_some());
            cost += 1 + if has_mac && core.hosts.is_registered(id) { core.tell_pin(id) } else { 0 };
        }
    }

    fn ask_some_again(&mut self, now: Nanos) {
        let patience = self.core.settings.dns.naptr_timeout_ms;
        for id in self.core.chores.take_owed(QUESTIONS) {
            if let Some((question, is_discovery)) = self.waiting.owed(id) {
                self.resolver.query(question, if is_discovery { patience } else { 0 }, id, now);
            }
        }
    }
}
