//! Lines with numbers, of which those that are free are a chain through themselves: to take one and to give it back cost the
//! same however many there are, and no memory beside them.

use crate::narrow::NONE;
use crate::settings::SettingsError;
use machine::table::HugeSlice;
use std::ops::{Index, IndexMut};

/// What stands in a slab.
pub(super) trait Line {
    /// A free line, and the one after it in the chain.
    fn free(next: u32) -> Self;
    /// The one after a free line.
    fn next(&self) -> u32;
}

/// The lines.
#[derive(Debug)]
pub(super) struct Slab<T> {
    lines: HugeSlice<T>,
    free: u32,
}

impl<T: Line> Slab<T> {
    /// Room for so many of what is called so.
    pub(super) fn new(count: u32, name: &'static str) -> Result<Self, SettingsError> {
        let chain = |line: usize| T::free(if line as u32 + 1 == count { NONE } else { line as u32 + 1 });
        let lines = HugeSlice::from_fn(count as usize, chain).map_err(|_| SettingsError::Memory(name))?;
        Ok(Self { lines, free: if count == 0 { NONE } else { 0 } })
    }

    /// How many there are, free ones too.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Takes a line for this; `None` if there is no room.
    pub(super) fn take(&mut self, content: T) -> Option<u32> {
        let line = self.free;
        let place = self.lines.get_mut(line as usize)?;
        self.free = std::mem::replace(place, content).next();
        // That of the next one, which comes soon where they come often.
        self.prefetch(self.free);
        Some(line)
    }

    /// Starts to fetch a line.
    #[inline(always)]
    pub(super) fn prefetch(&self, line: u32) {
        if let Some(line) = self.lines.get(line as usize) {
            machine::prefetch_write(line);
        }
    }

    /// Gives a line back that was taken.
    pub(super) fn give_back(&mut self, line: u32) {
        self.lines[line as usize] = T::free(self.free);
        self.free = line;
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, line: u32) -> &T {
        &self.lines[line as usize]
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, line: u32) -> &mut T {
        &mut self.lines[line as usize]
    }
}
