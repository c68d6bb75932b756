//! What is being looked into about hosts' MAC addresses: owners that are asked whether they are still there, routes that say who
//! is on a link, and what the workers are yet to be told.

use crate::Nanos;
use crate::hosts::HostId;
use crate::routes::LearntRoute;
use std::collections::VecDeque;

/// See above.
#[derive(Default)]
pub(super) struct Watch {
    /// Hosts that are asked whether they still have their address, and until when they may answer.
    asked: VecDeque<(Nanos, HostId)>,
    /// Routes to the realm's networks.
    near: Vec<LearntRoute>,
    /// Hosts whose bindings, and destinations, whose pins the workers are told anew.
    pub(super) hosts: Round,
    pub(super) destinations: Round,
}

/// Slots in a ring that are gone through once more: what changes meanwhile is seen in one more round of it.
#[derive(Default)]
pub(super) struct Round {
    next: usize,
    left: usize,
}

impl Round {
    /// That many slots are to be gone through.
    pub(super) const fn begin(&mut self, slots: usize) {
        self.left = slots;
    }

    /// Whether none is left.
    pub(super) fn is_over(&self) -> bool {
        self.left == 0
    }

    /// The slot that is next, of that many.
    pub(super) fn next(&mut self, slots: usize) -> Option<usize> {
        self.left = self.left.min(slots).checked_sub(1)?;
        let slot = self.next % slots;
        self.next = slot + 1;
        Some(slot)
    }
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
    pub(super) fn set_near(&mut self, near: Vec<LearntRoute>) -> bool {
        std::mem::replace(&mut self.near, near) != self.near
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r2_each_slot_is_told_after_the_last_change() {
        let mut round = Round::default();
        round.begin(4);
        let told: Vec<_> = (0..3).filter_map(|_| round.next(4)).collect();
        round.begin(4);
        let rest: Vec<_> = std::iter::from_fn(|| round.next(4)).collect();
        assert_eq!((told, rest), (vec![0, 1, 2], vec![3, 0, 1, 2]));
        assert!(round.is_over() && round.next(0).is_none());
    }
}
