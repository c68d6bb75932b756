//! Taking turns by deficit, with those that just came first (DRR++, RFC 8290 §4): the order of hosts within a class, and of
//! flows within a host.
//!
//! Who comes after a pause stands in the new list, which is served before the old one, until it has sent a quantum: who
//! sends little never waits behind who sends much. Lists lead through the members themselves.

use crate::narrow::NONE;

/// Bytes that each may send in a turn: a frame of the usual longest length (RFC 8290 §5.2.3).
pub(super) const QUANTUM: i32 = 1538;

/// What takes part in a round.
pub(super) trait Turn {
    /// Its place.
    fn place(&mut self) -> &mut Place;
}

/// The place of one that takes part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    next: u32,
    /// Bytes that it may still send.
    deficit: i32,
    waits: bool,
}

impl Default for Place {
    fn default() -> Self {
        Self { next: NONE, deficit: 0, waits: false }
    }
}

impl Place {
    /// Whether it stands in a list.
    #[inline(always)]
    pub(super) const fn waits(&self) -> bool {
        self.waits
    }
}

#[derive(Clone, Copy, Debug)]
struct List {
    first: u32,
    last: u32,
}

impl List {
    const EMPTY: Self = Self { first: NONE, last: NONE };

    fn push<T: Turn>(&mut self, all: &mut [T], one: u32) {
        all[one as usize].place().next = NONE;
        if self.first == NONE {
            self.first = one;
        } else {
            all[self.last as usize].place().next = one;
        }
        self.last = one;
    }

    fn pop<T: Turn>(&mut self, all: &mut [T]) {
        self.first = all[self.first as usize].place().next;
    }
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    new: List,
    old: List,
}

impl Round {
    pub(super) const EMPTY: Self = Self { new: List::EMPTY, old: List::EMPTY };

    /// Joins, unless it is there already; whether it was not.
    #[inline(always)]
    pub(super) fn join<T: Turn>(&mut self, all: &mut [T], one: u32) -> bool {
        let place = all[one as usize].place();
        if place.waits {
            return false;
        }
        (place.waits, place.deficit) = (true, QUANTUM);
        self.new.push(all, one);
        true
    }

    /// Whose turn it is; those before who have used up theirs go behind the others.
    #[inline(always)]
    pub(super) fn turn<T: Turn>(&mut self, all: &mut [T]) -> Option<u32> {
        loop {
            let list = if self.new.first == NONE { &mut self.old } else { &mut self.new };
            let one = list.first;
            if one == NONE {
                return None;
            }
            let place = all[one as usize].place();
            if place.deficit > 0 {
                return Some(one);
            }
            place.deficit += QUANTUM;
            list.pop(all);
            self.old.push(all, one);
        }
    }

    /// Whose turn it is has sent so many bytes.
    #[inline(always)]
    pub(super) fn sent<T: Turn>(all: &mut [T], one: u32, bytes: u32) {
        all[one as usize].place().deficit -= bytes as i32;
    }

    /// Whose turn it is has nothing to send; whether it leaves. RFC 8290 §4.2: out of the new list it goes behind the old
    /// one first, or coming back at once it would always be new.
    #[inline(always)]
    pub(super) fn skip<T: Turn>(&mut self, all: &mut [T]) -> bool {
        let is_new = self.new.first != NONE;
        let list = if is_new { &mut self.new } else { &mut self.old };
        let one = list.first;
        list.pop(all);
        if is_new && self.old.first != NONE {
            self.old.push(all, one);
            return false;
        }
        all[one as usize].place().waits = false;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Turn for Place {
        fn place(&mut self) -> &mut Place {
            self
        }
    }

    #[test]
    fn each_sends_as_much_as_the_others_whatever_its_frames_are() {
        let (mut all, mut round) = ([Place::default(); 3], Round::EMPTY);
        let (lengths, mut sent) = ([84u32, 1538, 700], [0u32; 3]);
        for one in 0..3 {
            assert!(round.join(&mut all, one) && !round.join(&mut all, one));
        }
        while sent.iter().sum::<u32>() < 3_000_000 {
            let one = round.turn(&mut all).unwrap();
            sent[one as usize] += lengths[one as usize];
            Round::sent(&mut all, one, lengths[one as usize]);
        }
        assert!(sent.iter().all(|sent| sent.abs_diff(1_000_000) < 4000), "{sent:?}");
    }

    #[test]
    fn who_comes_after_a_pause_is_served_first_and_only_once() {
        let (mut all, mut round) = ([Place::default(); 2], Round::EMPTY);
        round.join(&mut all, 0);
        Round::sent(&mut all, 0, 1538);
        assert_eq!(round.turn(&mut all), Some(0), "alone, it is its own turn again");
        round.join(&mut all, 1);
        assert_eq!(round.turn(&mut all), Some(1));
        assert!(!round.skip(&mut all), "with nothing left it goes behind the other");
        assert_eq!(round.turn(&mut all), Some(0));
        assert!(!round.join(&mut all, 1), "and is not new again meanwhile");
        Round::sent(&mut all, 0, 1538);
        assert_eq!(round.turn(&mut all), Some(1));
        assert!(round.skip(&mut all));
        assert_eq!(round.turn(&mut all), Some(0));
        assert!(round.skip(&mut all));
        assert_eq!(round.turn(&mut all), None);
    }
}
