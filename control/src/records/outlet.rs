//! The queues between the control thread and those who get records.

use ces_dataplane::msg::Record;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// Records that may wait for a disk or a collector: 4 MiB.
pub(super) const QUEUE: usize = 65_536;

/// A record, and when it was made, in milliseconds since 1970.
pub(super) type Timed = (u64, Record);

/// What became of records, for one of those who get them.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) kept: AtomicU64,
    pub(super) lost: AtomicU64,
}

impl Tally {
    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

/// The way to one of those who get records.
#[derive(Debug)]
pub(super) struct Outlet<T> {
    pub(super) queue: SyncSender<T>,
    pub(super) tally: Arc<Tally>,
}

impl<T> Outlet<T> {
    pub(super) fn new() -> (Self, Receiver<T>, Arc<Tally>) {
        let (queue, taken) = sync_channel(QUEUE);
        let tally = Arc::new(Tally::default());
        (Self { queue, tally: Arc::clone(&tally) }, taken, tally)
    }

    /// Never waits. Whoever is gone loses it, too.
    pub(super) fn put(&self, what: T) {
        match self.queue.try_send(what) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Tally::add(&self.tally.lost, 1),
        }
    }
}
