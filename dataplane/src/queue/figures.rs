//! What shaped ports tell of their queues: numbers of which the worker is the only writer, and that change only where a port is
//! shaped.

use super::class::Class;
use crate::msg::PORTS;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number of a queue, which is a class of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Figure {
    /// Packets sent.
    Sent,
    /// Their bytes, as on the wire.
    SentBytes,
    /// Packets of which as many of their host or flow waited as may.
    DroppedFull,
    /// Packets dropped because their flow's queue stood for too long.
    DroppedLate,
    /// Packets marked for that.
    Marked,
    /// Packets that wait now.
    Packets,
    /// Their bytes, as on the wire.
    Bytes,
    /// Hosts whose they are.
    Hosts,
    /// How long the last packets waited, in nanoseconds.
    Delay,
}

const FIGURES: usize = Figure::Delay as usize + 1;
const NUMBERS: usize = PORTS * Class::COUNT * FIGURES;

/// The figures of all queues of a worker.
#[derive(Debug)]
pub struct QueueFigures([AtomicU64; NUMBERS]);

impl Default for QueueFigures {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; NUMBERS])
    }
}

impl QueueFigures {
    fn of(&self, port: usize, class: Class, figure: Figure) -> &AtomicU64 {
        &self.0[(port % PORTS * Class::COUNT + class as usize) * FIGURES + figure as usize]
    }

    /// Tells a number.
    pub fn tell(&self, port: usize, class: Class, figure: Figure, number: u64) {
        self.of(port, class, figure).store(number, Relaxed);
    }

    /// The number that was told last.
    pub fn told(&self, port: usize, class: Class, figure: Figure) -> u64 {
        self.of(port, class, figure).load(Relaxed)
    }
}
