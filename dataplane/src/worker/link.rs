//! What joins a worker to the control thread: rings, the published counters, and a bell.

use crate::counters::Published;
use crate::msg::{Command, Event, FrameSlot, TraceRecord};
use crate::premises::Premises;
use crate::seal::KeyChange;
use machine::ring::{self, Consumer, Producer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// How many entries each ring has; rounded up to powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSizes {
    /// Commands: what the control thread may send between two turns of the worker.
    pub commands: usize,
    /// Events, the answers to commands among them.
    pub events: usize,
    /// Records of traces, of some 400 bytes each.
    pub traces: usize,
    /// Punted frames, of 2 KiB each.
    pub punt: usize,
    /// Injected frames, of 2 KiB each.
    pub inject: usize,
}

impl Default for RingSizes {
    /// At 20,000 negotiations a second and a control thread that looks every 10 ms: 200 of everything, a few times over.
    fn default() -> Self {
        Self { commands: 4096, events: 4096, traces: 256, punt: 1024, inject: 1024 }
    }
}

/// The control thread's ends.
#[derive(Debug)]
pub struct ControlSide {
    /// To the worker.
    pub commands: Producer<Command>,
    /// Frames for the worker to send.
    pub inject: Producer<FrameSlot>,
    /// From the worker.
    pub events: Consumer<Event>,
    /// Records of traces.
    pub traces: Consumer<TraceRecord>,
    /// Frames that the worker received for the gateway itself.
    pub punt: Consumer<FrameSlot>,
    /// What the worker counts.
    pub counters: Arc<Published>,
    /// Premises for the worker to move into, each before its [`Command::MoveIn`].
    pub premises: Producer<Box<Premises>>,
    /// Premises that it has moved out of, to be freed.
    pub left: Consumer<Box<Premises>>,
    /// Keys for the worker to take, each before its [`Command::TakeKey`].
    pub keys: Producer<Box<KeyChange>>,
    /// Those that were in their place, to be freed.
    pub keys_left: Consumer<Box<KeyChange>>,
    /// How the worker ends the control thread's sleep.
    pub bell: Arc<Bell>,
}

impl ControlSide {
    /// Whether there is nothing to take.
    pub fn is_quiet(&self) -> bool {
        self.events.is_empty() && self.traces.is_empty() && self.punt.is_empty()
    }
}

/// The worker's ends.
#[derive(Debug)]
pub struct WorkerSide {
    pub(super) commands: Consumer<Command>,
    pub(super) inject: Consumer<FrameSlot>,
    pub(super) events: Producer<Event>,
    pub(super) traces: Producer<TraceRecord>,
    pub(super) punt: Producer<FrameSlot>,
    pub(super) counters: Arc<Published>,
    pub(super) premises: Consumer<Box<Premises>>,
    pub(super) left: Producer<Box<Premises>>,
    pub(super) keys: Consumer<Box<KeyChange>>,
    pub(super) keys_left: Producer<Box<KeyChange>>,
    pub(super) bell: Arc<Bell>,
}

/// Premises that may be on their way to a worker: one while it moves, and one more for luck.
const PREMISES: usize = 2;

/// Keys that may be on their way to a worker.
const KEYS: usize = 256;

/// The rings between the control thread and one worker. `bell` may be shared by all workers.
pub fn link(sizes: RingSizes, bell: Arc<Bell>) -> (ControlSide, WorkerSide) {
    let (command_in, commands) = ring::ring(sizes.commands);
    let (inject_in, inject) = ring::ring(sizes.inject);
    let (events, event_out) = ring::ring(sizes.events);
    let (traces, trace_out) = ring::ring(sizes.traces);
    let (punt, punt_out) = ring::ring(sizes.punt);
    let (premises_in, premises) = ring::ring(PREMISES);
    let (left, left_out) = ring::ring(PREMISES);
    let (keys_in, keys) = ring::ring(KEYS);
    let (keys_left, keys_out) = ring::ring(KEYS);
    let counters = Arc::new(Published::default());
    let control = ControlSide {
        commands: command_in,
        inject: inject_in,
        events: event_out,
        traces: trace_out,
        punt: punt_out,
        counters: Arc::clone(&counters),
        premises: premises_in,
        left: left_out,
        keys: keys_in,
        keys_left: keys_out,
        bell: Arc::clone(&bell),
    };
    let worker = WorkerSide {
        commands,
        inject,
        events,
        traces,
        punt,
        counters,
        premises,
        left,
        keys,
        keys_left,
        bell,
    };
    (control, worker)
}

/// Wakes the control thread, if it sleeps, when there is something in the rings for it.
///
/// The control thread calls [`Bell::doze`], looks at all rings once more, sleeps if they are empty, and calls
/// [`Bell::awake`] afterwards. While it is awake a worker's ring costs one load; it makes a system call only for a sleeper,
/// at most once for each sleep.
pub struct Bell {
    dozing: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Bell {
    /// A bell that calls `wake`, which must end the control thread's sleep, also one that is just about to begin (as
    /// `mio::Waker` does).
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self { dozing: AtomicBool::new(false), wake: Box::new(wake) }
    }

    /// A bell that nobody hears: the control thread looks often enough.
    pub fn silent() -> Self {
        Self::new(|| {})
    }

    /// From here on the control thread wants to be woken. What was put in a ring before is seen after this.
    pub fn doze(&self) {
        self.dozing.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst); // with the fence in `ring`: either the worker sees this, or we see its ring's index
    }

    /// From here on the control thread looks by itself.
    pub fn awake(&self) {
        self.dozing.store(false, Ordering::Relaxed);
    }

    /// There is something in a ring.
    pub(super) fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.dozing.load(Ordering::Relaxed) && self.dozing.swap(false, Ordering::Relaxed) {
            (self.wake)();
        }
    }
}

impl std::fmt::Debug for Bell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bell")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn bell_rings_once_for_each_sleep() {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let bell = Bell::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        bell.ring();
        assert_eq!(count.load(Ordering::Relaxed), 0, "nobody sleeps");
        bell.doze();
        bell.ring();
        bell.ring();
        assert_eq!(count.load(Ordering::Relaxed), 1);
        bell.doze();
        bell.awake();
        bell.ring();
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }
}
