//! What is being looked into about hosts' MAC addresses: owners that are asked whether they are still there, routes that say who
//! is on a link, and what the workers are yet to be told.

use crate::Nanos;
use crate::hosts::HostId;
use crate::routes::Route;
use std::collections::VecDeque;

/// See above.
#[derive(Default)]
pub(super) struct Watch {
    /// Hosts that are asked whether they still have their address, and until when they may answer.
    asked: VecDeque<(Nanos, HostId)>,
    /// Routes to the realm's networks.
    near: Vec<Route>,
    /// Slots of hosts whose pins the workers are told anew, in a ring: what changes meanwhile is told in one more round of it.
    next: usize,
    left: usize,
}

impl Watch {
    /// A host was asked, and may answer until then.
    pub(super) fn asked(&mut self, id: HostId, until: Nanos) {
        self.asked.push_back((until, id));
    }

    /// When the next one's time is over.
    pub(super) fn next_silence(&self) -> Option<Nanos> {
        self.asked.front().map(|(until, _)| *until)
    }

    /// One whose time is over.
    pub(super) fn take_silent(&mut self, now: Nanos) -> Option<HostId> {
        self.asked.pop_front_if(|(until, _)| *until <= now).map(|(_, id)| id)
    }

    /// These lead to the realm's networks; false if they did before.
    pub(super) fn set_near(&mut self, near: Vec<Route>) -> bool {
        std::mem::replace(&mut self.near, near) != self.near
    }

    /// The workers are to be told of the pins in that many slots.
    pub(super) const fn tell(&mut self, slots: usize) {
        self.left = slots;
    }

    /// Whether nobody is to be told anything.
    pub(super) fn is_told(&self) -> bool {
        self.left == 0
    }

    /// The slot that is told next, of that many.
    pub(super) fn next_told(&mut self, slots: usize) -> Option<usize> {
        self.left = self.left.min(slots).checked_sub(1)?;
        let slot = self.next % slots;
        self.next = slot + 1;
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r2_each_slot_is_told_after_the_last_change() {
        let mut watch = Watch::default();
        watch.tell(4);
        let told: Vec<_> = (0..3).filter_map(|_| watch.next_told(4)).collect();
        watch.tell(4);
        let rest: Vec<_> = std::iter::from_fn(|| watch.next_told(4)).collect();
        assert_eq!((told, rest), (vec![0, 1, 2], vec![3, 0, 1, 2]));
        assert!(watch.is_told() && watch.next_told(0).is_none());
    }
}
