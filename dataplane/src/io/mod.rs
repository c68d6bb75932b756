//! Where frames come from and go to. The worker's loop is the same over every back end.
//!
//! * `dpdk`: one queue pair of a DPDK port, frames are mbufs (feature `dpdk`).
//! * [`memory`]: rings between a test and a worker.
//! * [`pcap`]: a capture in, a capture out.

#[cfg(feature = "dpdk")]
pub mod dpdk;
pub mod memory;
pub mod pcap;

use crate::frame::Frame;

/// A port as one worker sees it: one receive and one transmit queue.
pub trait PortQueues {
    /// What it moves.
    type Frame: Frame;

    /// Appends received frames to `frames`, no more than its capacity holds, and returns how many.
    fn rx_burst(&mut self, frames: &mut Vec<Self::Frame>) -> usize;

    /// Sends frames from the front of `frames` and returns how many. What the queue does not take stays in `frames`.
    fn tx_burst(&mut self, frames: &mut Vec<Self::Frame>) -> usize;

    /// Frames that arrived since the last call but that the back end could not make a [`Frame`] of.
    fn take_refused(&mut self) -> u64 {
        0
    }
}

/// Where fresh frames come from, and where frames go that nobody needs any more.
pub trait Pool {
    /// What it holds.
    type Frame: Frame;

    /// An empty frame with headroom, if one is left.
    fn allocate(&mut self) -> Option<Self::Frame>;

    /// Takes all frames back.
    fn free(&mut self, frames: &mut Vec<Self::Frame>);
}
