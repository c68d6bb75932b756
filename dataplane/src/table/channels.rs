//! What sessions of an ALG have beyond their line: how their control channel is read, and what rewriting does to its sequence
//! numbers. A session's line says that there is such a thing, and its slot leads to it; no other session pays for any.

use super::index::{Hasher, Index};
use super::slab::{Line, Slab};
use crate::alg::ftp::Reader;
use crate::alg::shift::Shift;
use crate::narrow::NONE;
use crate::settings::SettingsError;
use crate::wire::ftp::Speaker;

/// The most data connections that one channel awaits at a time.
pub(super) const AWAITED: usize = 4;

/// Who can read a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privacy {
    /// Everybody on the way.
    None,
    /// As before, but the client has asked for TLS.
    Asked,
    /// Its ends alone.
    Encrypted,
}

/// A control channel: what its inside host says is read.
#[derive(Clone, Copy, Debug)]
pub struct Channel {
    /// The slot of its session; in a free line, the next one.
    slot: u32,
    /// What is said is only shown, and goes as it came.
    pub is_dry: bool,
    /// Who can read it.
    pub privacy: Privacy,
    /// How it is read.
    pub reader: Reader,
    /// What becomes of the host's bytes, from its SYN on.
    pub shift: Option<Shift>,
    /// The window that the other side announced last.
    pub window: u16,
    /// What it awaits: places of expectations.
    pub(super) awaited: [u32; AWAITED],
    /// The place that the next one takes.
    pub(super) turn: u8,
}

impl Channel {
    /// That of a session, whose inside host is this speaker.
    fn new(slot: u32, speaker: Speaker, is_dry: bool) -> Self {
        let (privacy, reader) = (Privacy::None, Reader::new(speaker));
        Self { slot, is_dry, privacy, reader, shift: None, window: 0, awaited: [NONE; AWAITED], turn: 0 }
    }

    /// The host's SYN has this sequence number. One that comes again changes nothing.
    pub fn begin(&mut self, initial: u32) {
        if self.shift.is_none_or(|shift| shift.initial() != initial) {
            let speaker = self.reader.speaker;
            (self.privacy, self.reader, self.shift) =
                (Privacy::None, Reader::new(speaker), Some(Shift::begin(initial)));
        }
    }
}

impl Line for Channel {
    fn free(next: u32) -> Self {
        Self::new(next, Speaker::Client, false)
    }

    fn next(&self) -> u32 {
        self.slot
    }
}

/// The table.
#[derive(Debug)]
pub(super) struct Channels {
    lines: Slab<Channel>,
    by_slot: Index,
    hasher: Hasher,
}

impl Channels {
    /// Room for so many.
    pub(super) fn new(count: u32, hasher: Hasher) -> Result<Self, SettingsError> {
        Ok(Self { lines: Slab::new(count, "channels")?, by_slot: Index::new(count)?, hasher })
    }

    fn hash(&self, slot: u32) -> u64 {
        self.hasher.hash(slot.into())
    }

    fn line(&self, slot: u32) -> Option<u32> {
        self.by_slot.find(self.hash(slot), |line| self.lines[line].slot == slot)
    }

    /// One for the session in this slot, which has none; whether there was room.
    pub(super) fn add(&mut self, slot: u32, speaker: Speaker, is_dry: bool) -> bool {
        let Some(line) = self.lines.take(Channel::new(slot, speaker, is_dry)) else { return false };
        let fits = self.by_slot.insert(self.hash(slot), line);
        if !fits {
            self.lines.give_back(line);
        }
        fits
    }

    /// That of the session in this slot.
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Channel> {
        let line = self.line(slot)?;
        Some(&mut self.lines[line])
    }

    /// The session in this slot has ended. What its channel was.
    pub(super) fn remove(&mut self, slot: u32) -> Option<Channel> {
        let line = self.line(slot)?;
        let channel = self.lines[line];
        self.by_slot.remove(self.hash(slot), line);
        self.lines.give_back(line);
        Some(channel)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_slot.len()
    }
}
