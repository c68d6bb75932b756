//! Frames that wait until the MAC address of their next hop is known.
//!
//! RFC 1122 §2.3.2.2: the link layer SHOULD save at least the latest packet to an unresolved address and send it when the
//! address is resolved; RFC 1812 §3.3.2: a router SHOULD queue a small number of datagrams meanwhile. Without it the first
//! packet of nearly every new pair of hosts would be lost.
//!
//! What is held is the frame as it arrived, with its port: when its next hop is known it goes through the path as if it
//! arrived then. So a binding that ended meanwhile, a route that moved to a port with another VLAN, an MTU that is too small,
//! all find what they would have found; and any feature whose packets need a next hop is served by the same verdict.
//!
//! A packet that waited in vain is not answered with "host unreachable" (RFC 1812 §3.3.2 SHOULD): the kernel is certain only
//! after three requests, a second apart, and to say it before that would end connections whose next SYN arrives.

use crate::Nanos;
use crate::meter::SECOND;
use crate::msg::PortId;
use crate::reason::DropReason;
use std::collections::VecDeque;

/// Frames that a worker holds at most. At 20,000 new sessions a second, each to a next hop of its own that is resolved within
/// 10 ms, 200 wait; and 256 buffers are a small part of any pool, which has them beyond what else is under way.
pub const HELD_MOST: usize = 256;
/// Frames held at most for one next hop, so that one that does not answer leaves room for others: the fragments of a datagram
/// of 16 KiB (12), or the first packets of 16 hosts that found the same server.
pub(super) const HELD_EACH: usize = 16;
/// How long a frame is held. ARP asks again after a second (RFC 1122 §2.3.2.1 allows no more; `retrans_time_ms` of the
/// kernel), so one lost request or answer is survived, with a tenth for the second answer. By then the senders have sent
/// again (RFC 6298 §2: a second), and anything older would only be a duplicate.
pub(super) const HELD_NS: Nanos = SECOND + SECOND / 10;

/// A frame that waits.
#[derive(Debug)]
pub(super) struct HeldFrame<F> {
    /// The next hop that it waits for.
    pub(super) neighbour: u32,
    /// Where it arrived.
    pub(super) port: PortId,
    /// Since when.
    pub(super) since: Nanos,
    /// The frame, as it arrived.
    pub(super) frame: F,
}

/// The frames that a worker holds, in the order of their arrival.
///
/// Nearly always there is none; then nothing here costs more than a comparison. Otherwise all are looked at for those of a
/// next hop: 256 at most, one line after the other, for what would be dropped without.
#[derive(Debug)]
pub(super) struct Held<F> {
    frames: VecDeque<HeldFrame<F>>,
}

impl<F> Held<F> {
    /// None, with room for all.
    pub(super) fn new() -> Self {
        Self { frames: VecDeque::with_capacity(HELD_MOST) }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Holds a frame; returned is the one that had to make room for it, and why.
    pub(super) fn hold(&mut self, held: HeldFrame<F>) -> Option<(F, DropReason)> {
        let mut same = self.frames.iter().enumerate().filter(|(_, other)| other.neighbour == held.neighbour);
        let oldest = same.next().map(|(place, _)| place);
        let replaced = if 1 + same.count() >= HELD_EACH {
            oldest.and_then(|place| self.frames.remove(place)).map(|old| (old, DropReason::NeighbourReplaced))
        } else if self.frames.len() >= HELD_MOST {
            self.frames.pop_front().map(|old| (old, DropReason::NeighbourFull))
        } else {
            None
        };
        self.frames.push_back(held);
        replaced.map(|(old, reason)| (old.frame, reason))
    }

    /// The next frame for a next hop, from `place` on, which is where the one after it will be looked for.
    pub(super) fn take_for(&mut self, neighbour: u32, place: &mut usize) -> Option<HeldFrame<F>> {
        while self.frames.get(*place)?.neighbour != neighbour {
            *place += 1;
        }
        self.frames.remove(*place)
    }

    /// The oldest frame, if its time is over.
    pub(super) fn take_older(&mut self, now: Nanos) -> Option<HeldFrame<F>> {
        let over = now.saturating_sub(self.frames.front()?.since) >= HELD_NS;
        if over { self.frames.pop_front() } else { None }
    }

    /// The oldest frame.
    pub(super) fn take_first(&mut self) -> Option<HeldFrame<F>> {
        self.frames.pop_front()
    }
}
