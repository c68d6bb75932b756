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
const FREE: usize = SECONDS;

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

/// The wheel.
#[derive(Debug)]
pub(super) struct Wheel {
    links: HugeSlice<Link>,
    /// The first slot of each second, and of those that are free.
    heads: Vec<u32>,
    /// Everything before this second was looked at.
    second: u32,
}

/// The place of a second.
const fn place(second: u32) -> usize {
    second as usize % SECONDS
}

impl Wheel {
    /// A wheel for so many slots, all of them free.
    pub(super) fn new(slots: u32) -> Result<Self, SettingsError> {
        let links = HugeSlice::new(slots as usize).map_err(|_| SettingsError::Memory("timers"))?;
        let mut wheel = Self { links, heads: vec![NONE; SECONDS + 1], second: 0 };
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
    }

    /// A slot that was free, and is hung up until `due_s`; `None` if none is.
    pub(super) fn take(&mut self, due_s: u32) -> Option<u32> {
        let slot = self.heads[FREE];
        if slot == NONE {
            return None;
        }
        self.take_this(slot, due_s);
        Some(slot)
    }

    /// Hangs up this slot, which is free, until `due_s`; returns where.
    pub(super) fn take_this(&mut self, slot: u32, due_s: u32) -> u32 {
        self.unhang(slot, FREE);
        self.hang(slot, due_s)
    }

    /// Frees a slot that hangs at `due_s`.
    pub(super) fn free(&mut self, slot: u32, due_s: u32) {
        self.unhang(slot, place(due_s));
        self.hang_at(slot, FREE);
    }

    /// Hangs a slot elsewhere; returns where: never in what was looked at already, nor farther than a turn.
    pub(super) fn hang(&mut self, slot: u32, due_s: u32) -> u32 {
        let due_s = self.fits(due_s);
        self.hang_at(slot, place(due_s));
        due_s
    }

    /// Moves a slot from one second to another.
    pub(super) fn rehang(&mut self, slot: u32, from_s: u32, due_s: u32) -> u32 {
        self.unhang(slot, place(from_s));
        self.hang(slot, due_s)
    }

    /// The second at which something that is due at `due_s` hangs.
    pub(super) fn fits(&self, due_s: u32) -> u32 {
        due_s.clamp(self.second, self.second + SECONDS as u32 - 1)
    }

    /// The next slot that hangs in the past, if any: whoever gets it frees it or hangs it elsewhere.
    pub(super) fn due(&mut self, now_s: u32) -> Option<(u32, u32)> {
        // After a leap of time one turn passes every place.
        if now_s.saturating_sub(self.second) > SECONDS as u32 {
            self.second = now_s - SECONDS as u32;
        }
        while self.second < now_s {
            let slot = self.heads[place(self.second)];
            if slot != NONE {
                return Some((slot, self.second));
            }
            self.second += 1;
        }
        None
    }

    /// The first slots of the seconds from now on, the nearest first.
    pub(super) fn coming(&self, seconds: u32) -> impl Iterator<Item = (u32, u32)> {
        let from = self.second;
        (from..from + seconds)
            .map(|second| (self.heads[place(second)], second))
            .filter(|&(slot, _)| slot != NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Against a model: what is due comes once, and not early; free slots are what is left.
        #[test]
        fn what_hangs_comes_when_it_is_due(
            operations in proptest::collection::vec((0u8..4, 0u32..6, 0u32..9000), 1..200),
        ) {
            let mut wheel = Wheel::new(6).unwrap();
            let mut model: BTreeMap<u32, u32> = BTreeMap::new();
            let mut now_s = 100;
            while let Some((slot, _)) = wheel.due(now_s) {
                prop_assert!(false, "{} in an empty wheel", slot);
            }
            for (what, slot, wait) in operations {
                match what {
                    0 => {
                        let due = wheel.fits(now_s + wait);
                        if let Some(slot) = wheel.take(now_s + wait) {
                            prop_assert!(model.insert(slot, due).is_none());
                        } else {
                            prop_assert_eq!(model.len(), 6);
                        }
                    }
                    1 => {
                        if let Some(due) = model.remove(&slot) {
                            wheel.free(slot, due);
                        }
                    }
                    2 => {
                        if let Some(due) = model.get_mut(&slot) {
                            *due = wheel.rehang(slot, *due, now_s + wait);
                        }
                    }
                    _ => {
                        now_s += wait / 10;
                        let mut came = Vec::new();
                        while let Some((slot, due)) = wheel.due(now_s) {
                            prop_assert_eq!(model.remove(&slot), Some(due));
                            prop_assert!(due < now_s);
                            wheel.free(slot, due);
                            came.push(slot);
                        }
                        prop_assert!(model.values().all(|&due| due >= now_s), "{:?} came", came);
                    }
                }
            }
        }
    }
}
