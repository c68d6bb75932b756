//! A wheel of seconds on which slots hang until they are due: to hang one up, to take one off and to find what is due cost the
//! same however many there are.
//!
//! A slot that turns out not to be due yet is hung up again, so that a packet moves nothing: it only notes when it passed.

use crate::narrow::NONE;
use crate::settings::SettingsError;
use machine::table::HugeSlice;

/// Seconds of a turn: more than 2 h 4 min, the longest that anything is waited for (RFC 5382 §5).
const SECONDS: usize = 8192;
/// The chain of slots that hang nowhere.
const FREE: usize = 2 * SECONDS;

/// The neighbours of a slot in its chain.
#[derive(Clone, Copy, Debug)]
struct Link {
    before: u32,
    after: u32,
}

impl Default for Link {
    fn default() -> Self {
        Self { before: NONE, after: NONE }
    }
}

/// Where a slot hangs: at a second of a turn, among those that give way to others or among those that do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hook(u16);

impl Hook {
    const fn new(second: u32, gives_way: bool) -> Self {
        Self((second as usize % SECONDS + if gives_way { SECONDS } else { 0 }) as u16)
    }
}

/// The wheel.
#[derive(Debug)]
pub(super) struct Wheel {
    links: HugeSlice<Link>,
    /// The first slot of each second, of those that do not give way and of those that do, and of those that are free.
    heads: Vec<u32>,
    /// The seconds at which any hang that give way: a bit each.
    yielding: [u64; SECONDS / 64],
    /// Everything before this second was looked at.
    second: u32,
}

impl Wheel {
    /// A wheel for so many slots, all of them free.
    pub(super) fn new(slots: u32) -> Result<Self, SettingsError> {
        let links = HugeSlice::new(slots as usize).map_err(|_| SettingsError::Memory("timers"))?;
        let mut wheel = Self { links, heads: vec![NONE; FREE + 1], yielding: [0; SECONDS / 64], second: 0 };
        for slot in (0..slots).rev() {
            wheel.hang_at(slot, FREE);
        }
        Ok(wheel)
    }

    fn hang_at(&mut self, slot: u32, place: usize) {
        let head = std::mem::replace(&mut self.heads[place], slot);
        self.links[slot as usize] = Link { before: NONE, after: head };
        if let Some(head) = self.links.get_mut(head as usize) {
            head.before = slot;
        }
        if let Some(second) = place.checked_sub(SECONDS).filter(|second| *second < SECONDS) {
            self.yielding[second / 64] |= 1 << (second % 64);
        }
    }

    fn unhang(&mut self, slot: u32, place: usize) {
        let Link { before, after } = self.links[slot as usize];
        match self.links.get_mut(before as usize) {
            Some(before) => before.after = after,
            None => self.heads[place] = after,
        }
        if let Some(after) = self.links.get_mut(after as usize) {
            after.before = before;
        }
        if self.heads[place] == NONE
            && let Some(second) = place.checked_sub(SECONDS).filter(|second| *second < SECONDS)
        {
            self.yielding[second / 64] &= !(1 << (second % 64));
        }
    }

    /// A slot that was free, and where it is hung up until `due_s`; `None` if none is.
    pub(super) fn take(&mut self, due_s: u32, gives_way: bool) -> Option<(u32, Hook)> {
        let slot = self.heads[FREE];
        let Link { after, .. } = *self.links.get(slot as usize)?;
        self.heads[FREE] = after;
        if let Some(next) = self.links.get_mut(after as usize) {
            next.before = NONE;
            let then = next.after;
            self.prefetch(then);
        }
        Some((slot, self.hang(slot, due_s, gives_way)))
    }

    /// The slot that [`Wheel::take`] returns next.
    #[inline(always)]
    pub(super) fn next(&self) -> u32 {
        self.heads[FREE]
    }

    #[inline(always)]
    fn prefetch(&self, slot: u32) {
        if let Some(link) = self.links.get(slot as usize) {
            machine::prefetch_write(link);
        }
    }

    /// Hangs up this slot, which is free, until `due_s`; returns where.
    pub(super) fn take_this(&mut self, slot: u32, due_s: u32, gives_way: bool) -> Hook {
        self.unhang(slot, FREE);
        self.hang(slot, due_s, gives_way)
    }

    /// Frees a slot that hangs there.
    pub(super) fn free(&mut self, slot: u32, hook: Hook) {
        self.unhang(slot, hook.0.into());
        self.hang_at(slot, FREE);
    }

    /// Hangs a slot up; returns where: never in what was looked at already, nor farther than a turn.
    fn hang(&mut self, slot: u32, due_s: u32, gives_way: bool) -> Hook {
        let due_s = due_s.clamp(self.second, self.second + SECONDS as u32 - 1);
        let hook = Hook::new(due_s, gives_way);
        self.hang_at(slot, hook.0.into());
        hook
    }

    /// Moves a slot from there to another second.
    pub(super) fn rehang(&mut self, slot: u32, hook: Hook, due_s: u32, gives_way: bool) -> Hook {
        self.unhang(slot, hook.0.into());
        self.hang(slot, due_s, gives_way)
    }

    /// The next slot that hangs in the past, if any, and where: whoever gets it frees it or hangs it elsewhere.
    pub(super) fn due(&mut self, now_s: u32) -> Option<(u32, Hook)> {
        let hook = self.past(now_s)?;
        Some((self.heads[usize::from(hook.0)], hook))
    }

    /// The same with those that hang there behind it, as far as there is room.
    pub(super) fn due_together<'r>(&mut self, now_s: u32, room: &'r mut [u32]) -> Option<(&'r [u32], Hook)> {
        let hook = self.past(now_s)?;
        let (mut slot, mut count) = (self.heads[usize::from(hook.0)], 0);
        while let (Some(place), Some(link)) = (room.get_mut(count), self.links.get(slot as usize)) {
            (*place, slot, count) = (slot, link.after, count + 1);
        }
        Some((&room[..count], hook))
    }

    /// The first place in the past where anything hangs.
    fn past(&mut self, now_s: u32) -> Option<Hook> {
        // After a leap of time one turn passes every place.
        if now_s.saturating_sub(self.second) > SECONDS as u32 {
            self.second = now_s - SECONDS as u32;
        }
        while self.second < now_s {
            for hook in [true, false].map(|gives_way| Hook::new(self.second, gives_way)) {
                if self.heads[usize::from(hook.0)] != NONE {
                    return Some(hook);
                }
            }
            self.second += 1;
        }
        None
    }

    /// The slots that give way, those that are over soonest first.
    pub(super) fn yielding(&self) -> impl Iterator<Item = u32> {
        let from = self.second as usize % SECONDS;
        const WORDS: usize = SECONDS / 64;
        // The word in which the turn begins comes twice: first what is behind its beginning.
        let word = move |step: usize| {
            let mask = match step {
                0 => u64::MAX << (from % 64),
                WORDS => !(u64::MAX << (from % 64)),
                _ => u64::MAX,
            };
            let word = (from / 64 + step) % WORDS;
            (word * 64, self.yielding[word] & mask)
        };
        let seconds = (0..=WORDS).map(word).flat_map(|(base, mut bits)| {
            std::iter::from_fn(move || {
                let next = (bits != 0).then(|| base + bits.trailing_zeros() as usize);
                bits &= bits.wrapping_sub(1);
                next
            })
        });
        seconds.flat_map(move |second| {
            let mut next = self.heads[SECONDS + second];
            std::iter::from_fn(move || {
                let slot = next;
                next = self.links.get(slot as usize)?.after;
                Some(slot)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Against a model: what is due comes once, and not early; free slots are what is left; those that give way come in
        /// the order of their seconds.
        #[test]
        fn what_hangs_comes_when_it_is_due(
            operations in proptest::collection::vec((0u8..4, 0u32..6, 0u32..9000, any::<bool>()), 1..200),
        ) {
            let mut wheel = Wheel::new(6).unwrap();
            let mut model: BTreeMap<u32, (u32, bool, Hook)> = BTreeMap::new();
            let mut now_s = 100;
            let mut room = [0; 3];
            while let Some((slots, _)) = wheel.due_together(now_s, &mut room) {
                prop_assert!(false, "{:?} in an empty wheel", slots);
            }
            let fits = |now_s: u32, wait: u32| (now_s + wait).min(now_s + SECONDS as u32 - 1);
            for (what, slot, wait, gives_way) in operations {
                let due = fits(now_s, wait);
                match what {
                    0 => {
                        if let Some((slot, hook)) = wheel.take(now_s + wait, gives_way) {
                            prop_assert!(model.insert(slot, (due, gives_way, hook)).is_none());
                        } else {
                            prop_assert_eq!(model.len(), 6);
                        }
                    }
                    1 => {
                        if let Some((_, _, hook)) = model.remove(&slot) {
                            wheel.free(slot, hook);
                        }
                    }
                    2 => {
                        if let Some(hung) = model.get_mut(&slot) {
                            *hung = (due, gives_way, wheel.rehang(slot, hung.2, now_s + wait, gives_way));
                        }
                    }
                    _ => {
                        now_s += wait / 10;
                        let mut came = Vec::new();
                        while let Some((slots, hook)) = wheel.due_together(now_s, &mut room) {
                            prop_assert_eq!(wheel.due(now_s), Some((slots[0], hook)));
                            for &slot in slots {
                                let (due, _, hung) = model.remove(&slot).unwrap();
                                prop_assert!(due < now_s && hung == hook);
                                wheel.free(slot, hook);
                                came.push(slot);
                            }
                        }
                        prop_assert!(model.values().all(|&(due, ..)| due >= now_s), "{:?} came", came);
                    }
                }
                let yielding: Vec<u32> = wheel.yielding().collect();
                prop_assert!(yielding.is_sorted_by_key(|slot| model[slot].0));
                prop_assert_eq!(yielding.len(), model.values().filter(|(_, gives_way, _)| *gives_way).count());
            }
        }
    }
}
