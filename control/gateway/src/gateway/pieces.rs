//! The gateway goes on with what is done a piece at a time.

use super::Gateway;
use crate::Nanos;
use crate::output::Output;
use ces_dataplane::msg::Command;

/// Questions that one piece asks: some microseconds each.
const QUESTIONS: usize = 200;
/// Bindings that one piece asks workers for.
const READ: usize = 500;
/// What one piece tells of pins, in destinations, hosts and sessions: a microsecond or two each where nothing of them is cached.
const PINS: usize = 500;

impl Gateway {
    /// Whether there is something to be gone on with: [`Gateway::do_chores`], when what was done last has gone out.
    pub fn has_chores(&self) -> bool {
        self.engine.has_ends()
            || self.core.has_pins_to_tell()
            || self.waiting.is_owed()
            || self.signs.is_owed()
    }

    /// Does a piece of it.
    pub fn do_chores(&mut self, now: Nanos) {
        if self.engine.has_ends() {
            self.engine.end_some(&mut self.core.at(now), now);
        }
        self.core.tell_some_pins(PINS);
        let patience = self.core.settings().dns.naptr_timeout_ms;
        for (id, question, is_discovery) in self.waiting.take_owed(QUESTIONS) {
            self.resolver.query(question, if is_discovery { patience } else { 0 }, id, now);
        }
        for tag in self.signs.take(READ) {
            if self.engine.is_doubted(tag) {
                let handle = self.core.sessions().handle(tag);
                let worker = self.core.sessions().worker(handle);
                self.core.push(Output::Dataplane { worker, command: Command::ReadBinding(handle) });
            }
        }
        self.settle(now);
    }
}
