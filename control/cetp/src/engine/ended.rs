//! The tags of sessions that have ended here: a peer that still has one, because it was not told or did not hear it, refuses
//! the same pair as a duplicate until it is told again.

use super::pair::{Pair, PairRef};
use crate::keyed::Keyed;
use std::collections::{HashMap, VecDeque};

/// Pairs that are remembered: some 200 octets each.
const MOST: usize = 4_096;

/// The tags, ours first, that each pair had last.
#[derive(Debug)]
pub(super) struct Ended {
    tags: HashMap<Pair, (u32, u32), Keyed>,
    /// In the order in which they ended; one that has been taken out stands there until its turn comes.
    order: VecDeque<Pair>,
}

impl Ended {
    pub(super) fn new(key: Keyed) -> Self {
        Self { tags: HashMap::with_hasher(key), order: VecDeque::new() }
    }

    /// A session has ended.
    pub(super) fn keep(&mut self, pair: Pair, tags: (u32, u32)) {
        if self.order.len() >= MOST
            && let Some(first) = self.order.pop_front()
        {
            self.tags.remove(&first);
        }
        self.order.push_back(pair.clone());
        self.tags.insert(pair, tags);
    }

    /// What a pair had last: it is to be told once.
    pub(super) fn take(&mut self, pair: &Pair) -> Option<(u32, u32)> {
        self.tags.remove(pair as &dyn PairRef)
    }
}

#[cfg(test)]
mod tests {
    use super::super::api::Role;
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn c2_what_is_remembered_is_bounded_and_told_once() {
        let mut ended = Ended::new(Keyed::draw(&mut rand::rngs::StdRng::from_seed([0; 32])));
        let pair = |peer| Pair { peer, role: Role::Initiator, source: "a.".into(), destination: "b.".into() };
        for peer in 0..=(MOST as u32) {
            ended.keep(pair(peer), (peer, 7));
        }
        assert_eq!((ended.tags.len(), ended.order.len()), (MOST, MOST));
        assert_eq!(
            (ended.take(&pair(0)), ended.take(&pair(1)), ended.take(&pair(1))),
            (None, Some((1, 7)), None)
        );
    }
}
