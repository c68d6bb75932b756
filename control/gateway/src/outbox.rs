//! What is to be done, in the order in which it was decided.

use crate::log::LogLine;
use crate::output::Output;
use ces_dataplane::msg::Command;
use std::collections::VecDeque;

/// Outputs that wait for the driver.
pub(crate) struct Outbox {
    workers: u32,
    queue: VecDeque<Output>,
}

impl Outbox {
    /// An empty one of a gateway with so many workers.
    pub(crate) fn new(workers: u32) -> Self {
        Self { workers, queue: VecDeque::new() }
    }

    pub(crate) fn workers(&self) -> u32 {
        self.workers
    }

    pub(crate) fn push(&mut self, output: Output) {
        self.queue.push_back(output);
    }

    pub(crate) fn log(&mut self, entry: LogLine) {
        self.push(Output::Log(entry));
    }

    /// Tells a worker.
    pub(crate) fn command(&mut self, worker: u32, command: Command) {
        self.push(Output::Dataplane { worker, command });
    }

    /// Tells all workers.
    pub(crate) fn command_all(&mut self, command: Command) {
        (0..self.workers).for_each(|worker| self.command(worker, command));
    }

    /// What was decided first.
    pub(crate) fn pop(&mut self) -> Option<Output> {
        self.queue.pop_front()
    }
}

#[cfg(test)]
impl Iterator for Outbox {
    type Item = Output;

    fn next(&mut self) -> Option<Output> {
        self.pop()
    }
}
