//! Frames that wait: until the MAC address of their next hop is known, until the first fragment of their packet has come, or
//! until it is certain that nobody asks for them.
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
use crate::table::fragments::NUMBER_BITS;
use crate::verdict::External;
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

/// How much is held, and why what gives way is dropped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Frames at most.
    most: usize,
    /// Frames of one kind at most.
    each: usize,
    /// Bits of what a frame waits for that do not say of which kind it is.
    beside: u32,
    /// How long.
    time: Nanos,
    /// Whether those that wait give way to what comes; otherwise that is not held.
    gives_way: bool,
    replaced: DropReason,
    full: DropReason,
}

/// What waits for the MAC address of its next hop.
pub(super) const FOR_HOP: Bounds = Bounds {
    most: HELD_MOST,
    each: HELD_EACH,
    beside: 0,
    time: HELD_NS,
    gives_way: true,
    replaced: DropReason::NeighbourReplaced,
    full: DropReason::NeighbourFull,
};

/// Later fragments that wait for the first one of their packet (RFC 4787 §11, REQ-14; its a) asks for bounds): of two hosts as
/// many as the largest packet has over an MTU of 1,500, so that one sent backwards comes through; of all, those of five pairs.
/// On today's paths fragments overtake one another by milliseconds; after half a second, the rest of them are lost.
pub(super) const FOR_FIRST: Bounds = Bounds {
    most: 256,
    each: 48,
    beside: NUMBER_BITS,
    time: SECOND / 2,
    gives_way: true,
    replaced: DropReason::FragmentReplaced,
    full: DropReason::FragmentFull,
};

/// SYNs that nobody has asked for (RFC 5382 §4.3, REQ-4): one of a connection, the first, for six seconds; some 40 a second, and
/// who sends more of them hears nothing.
pub(super) const FOR_ASKING: Bounds = Bounds {
    most: 256,
    each: 1,
    beside: 0,
    time: 6 * SECOND,
    gives_way: false,
    replaced: DropReason::Unasked,
    full: DropReason::Unasked,
};

/// A frame that waits.
#[derive(Debug)]
pub(super) struct HeldFrame<F> {
    /// What it waits for: the number of a next hop, or of a fragmented packet.
    pub(super) awaited: u32,
    /// Where it arrived.
    pub(super) port: PortId,
    /// What another worker makes its sender.
    pub(super) turned: Option<External>,
    /// Whether it came through an encrypted tunnel: it was opened and taken.
    pub(super) is_unsealed: bool,
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
    bounds: Bounds,
}

impl<F> Held<F> {
    /// None, with room for all.
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { frames: VecDeque::with_capacity(bounds.most), bounds }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Holds a frame; returned is the one that had to make room for it, and why.
    pub(super) fn hold(&mut self, held: HeldFrame<F>) -> Option<(F, DropReason)> {
        let Bounds { most, each, beside, replaced, full, gives_way, .. } = self.bounds;
        let kind = held.awaited >> beside;
        let mut same = self.frames.iter().enumerate().filter(|(_, other)| other.awaited >> beside == kind);
        let oldest = same.next().map(|(place, _)| place);
        if !gives_way && (oldest.is_some() || self.frames.len() >= most) {
            return Some((held.frame, replaced));
        }
        let replaced = if 1 + same.count() >= each {
            oldest.and_then(|place| self.frames.remove(place)).map(|old| (old, replaced))
        } else if self.frames.len() >= most {
            self.frames.pop_front().map(|old| (old, full))
        } else {
            None
        };
        self.frames.push_back(held);
        replaced.map(|(old, reason)| (old.frame, reason))
    }

    /// The next frame that waits for this, from `place` on, which is where the one after it will be looked for.
    pub(super) fn take_for(&mut self, awaited: u32, place: &mut usize) -> Option<HeldFrame<F>> {
        while self.frames.get(*place)?.awaited != awaited {
            *place += 1;
        }
        self.frames.remove(*place)
    }

    /// The oldest frame, if its time is over.
    pub(super) fn take_older(&mut self, now: Nanos) -> Option<HeldFrame<F>> {
        let over = now.saturating_sub(self.frames.front()?.since) >= self.bounds.time;
        if over { self.frames.pop_front() } else { None }
    }

    /// The oldest frame.
    pub(super) fn take_first(&mut self) -> Option<HeldFrame<F>> {
        self.frames.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_asked_for_stays_as_it_came_and_others_are_not_kept() {
        let mut held = Held::new(FOR_ASKING);
        let frame = |awaited, since| HeldFrame {
            awaited,
            port: 0,
            turned: None,
            is_unsealed: false,
            since,
            frame: (awaited, since),
        };
        assert!(held.hold(frame(0, 1)).is_none());
        assert_eq!(
            held.hold(frame(0, 2)),
            Some(((0, 2), DropReason::Unasked)),
            "the first of a connection stays"
        );
        for other in 1..256 {
            assert!(held.hold(frame(other, 3)).is_none());
        }
        assert_eq!(held.hold(frame(999, 4)), Some(((999, 4), DropReason::Unasked)), "there is no room");
        assert!(held.take_older(6 * SECOND).is_none());
        assert_eq!(held.take_older(6 * SECOND + 1).map(|held| held.frame), Some((0, 1)));
        assert_eq!(held.len(), 255);
    }
}
