//! How the punt ring is shared: each class of each side has places that nobody else takes, the rest is for whoever comes
//! first. So a flood of one class starves no other, and what comes from outside does not starve the inside. The DMZ has none of
//! its own.
//!
//! The worker knows what stands in the ring without asking the control thread: what it put in, in order, less what has gone.

use crate::msg::{PuntClass, RING_PARTS};
use crate::settings::Side;
use std::collections::VecDeque;

/// Side and class in one number.
const KINDS: usize = Side::COUNT * PuntClass::COUNT;

fn kind(side: Side, class: PuntClass) -> usize {
    side as usize * PuntClass::COUNT + class as usize
}

/// The places of one ring.
#[derive(Debug)]
pub(super) struct Shares {
    capacity: usize,
    /// Places that are each kind's own.
    own: [usize; KINDS],
    /// How many of each kind stand in the ring.
    standing: [usize; KINDS],
    /// What stands in the ring, the oldest first.
    order: VecDeque<u8>,
    /// Own places that are free: always as many are free in the ring.
    owed: usize,
}

impl Shares {
    /// The places of an empty ring.
    pub(super) fn new(capacity: usize) -> Self {
        let mut own = [0; KINDS];
        for class in PuntClass::ALL {
            for (side, share) in [Side::Inside, Side::Outside].into_iter().zip(class.shares()) {
                own[kind(side, class)] = capacity * share / RING_PARTS;
            }
        }
        let order = VecDeque::with_capacity(capacity);
        Self { capacity, own, standing: [0; KINDS], order, owed: own.iter().sum() }
    }

    /// Takes a place in the ring, in which `standing` frames are left; `false` if there is none for this kind.
    pub(super) fn take(&mut self, side: Side, class: PuntClass, standing: usize) -> bool {
        while self.order.len() > standing {
            let Some(gone) = self.order.pop_front().map(usize::from) else { break };
            self.standing[gone] -= 1;
            self.owed += usize::from(self.standing[gone] < self.own[gone]);
        }
        let kind = kind(side, class);
        let owns = self.standing[kind] < self.own[kind];
        if !owns && self.order.len() + self.owed >= self.capacity {
            return false;
        }
        self.owed -= usize::from(owns);
        self.standing[kind] += 1;
        self.order.push_back(kind as u8);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CAPACITY: usize = 64;

    #[test]
    fn p16_a_flood_leaves_the_others_their_places() {
        let mut shares = Shares::new(CAPACITY);
        let mut standing = 0;
        let mut fill = |shares: &mut Shares, side, class| {
            let before = standing;
            while shares.take(side, class, standing) {
                standing += 1;
            }
            standing - before
        };
        let shared = CAPACITY - PuntClass::ALL.iter().flat_map(|class| class.shares()).sum::<usize>();
        assert_eq!(
            fill(&mut shares, Side::Outside, PuntClass::Tcp),
            8 + shared,
            "its own and what is nobody's"
        );
        for class in PuntClass::ALL {
            assert_eq!(fill(&mut shares, Side::Inside, class), class.shares()[0], "{class:?}");
        }
        assert_eq!(fill(&mut shares, Side::Outside, PuntClass::Dns), 4);
        assert_eq!(fill(&mut shares, Side::Outside, PuntClass::Tcp), 0);
    }

    proptest! {
        /// Whatever comes and goes: never more than the ring holds, and a kind that has less than its own finds room.
        #[test]
        fn p16_what_is_owed_is_there(steps in proptest::collection::vec((any::<bool>(), 0usize..5, 0usize..4), 1..400)) {
            let mut shares = Shares::new(CAPACITY);
            let mut ring: VecDeque<usize> = VecDeque::new();
            for (outside, class, gone) in steps {
                ring.drain(..gone.min(ring.len()));
                let (side, class) = (if outside { Side::Outside } else { Side::Inside }, PuntClass::ALL[class]);
                let number = kind(side, class);
                let has = ring.iter().filter(|&&other| other == number).count();
                let took = shares.take(side, class, ring.len());
                prop_assert!(took || has >= class.shares()[side as usize]);
                if took {
                    ring.push_back(number);
                }
                prop_assert!(ring.len() <= CAPACITY);
            }
        }
    }
}
