//! Calls that are followed (RFC 3261 §12), and sessions of RTSP: where the host of each awaits media, and where the other side
//! does. A call that nobody speaks of is forgotten after a time; its media goes on by itself.

use super::index::{Hasher, Index};
use super::slab::{Line, Slab};
use crate::alg::media::MediaStream;
use crate::narrow::NONE;
use crate::settings::SettingsError;

/// The most streams of a call that are awaited.
pub(super) const STREAMS: usize = 4;

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialog {
    key: u64,
    /// The slot of the session in which it was spoken of last; in a free line, the next one.
    pub(super) slot: u32,
    /// Its inside host.
    pub(super) host: u32,
    /// When it is forgotten; 0 in a free line.
    pub(super) until_s: u32,
    /// It is no call, but streams.
    is_streams: bool,
    /// Somebody has answered.
    pub(super) is_answered: bool,
    /// Where the host awaits media.
    pub(super) near: [MediaStream; STREAMS],
    /// Where the other side does.
    pub(super) far: [(u32, MediaStream); STREAMS],
    /// The places of expectations, for media and for its RTCP.
    pub(super) awaited: [[u32; 2]; STREAMS],
}

impl Dialog {
    const NONE: Self = Self {
        key: 0,
        slot: 0,
        host: 0,
        until_s: 0,
        is_streams: false,
        is_answered: false,
        near: [MediaStream::NONE; STREAMS],
        far: [(0, MediaStream::NONE); STREAMS],
        awaited: [[NONE; 2]; STREAMS],
    };
}

impl Line for Dialog {
    fn free(next: u32) -> Self {
        Self { slot: next, ..Self::NONE }
    }

    fn next(&self) -> u32 {
        self.slot
    }
}

/// The table.
#[derive(Debug)]
pub(super) struct Dialogs {
    lines: Slab<Dialog>,
    by_key: Index,
    hasher: Hasher,
    count: u32,
    /// How many are no calls, but streams.
    streams: u32,
    /// The place that is looked at next for one that is over.
    looked_at: u32,
}

impl Dialogs {
    /// Room for so many.
    pub(super) fn new(count: u32, hasher: Hasher) -> Result<Self, SettingsError> {
        let lines = Slab::new(count, "dialogs")?;
        Ok(Self { lines, by_key: Index::new(count)?, hasher, count, streams: 0, looked_at: 0 })
    }

    /// What stands for a call of a host. Its name is any text: that two have the same of these 64 bits does not happen.
    pub(super) fn key(&self, host: u32, call: &[u8]) -> u64 {
        call.chunks(8).fold(self.hasher.hash(host.into()), |key, part| {
            let word = part.iter().fold(part.len() as u64, |word, byte| word << 8 | u64::from(*byte));
            self.hasher.flow(key, word)
        })
    }

    /// The call for which this stands.
    pub(super) fn find(&self, key: u64) -> Option<u32> {
        self.by_key.find(key, |line| self.lines[line].key == key)
    }

    /// One more, of the session in this slot; `None` if there is no room.
    pub(super) fn add(&mut self, key: u64, slot: u32, host: u32, is_streams: bool) -> Option<u32> {
        let line = self.lines.take(Dialog { key, slot, host, is_streams, ..Dialog::NONE })?;
        let fits = self.by_key.insert(key, line);
        if !fits {
            self.lines.give_back(line);
        }
        self.streams += u32::from(fits && is_streams);
        fits.then_some(line)
    }

    /// One of them.
    pub(super) fn get(&self, line: u32) -> Dialog {
        self.lines[line]
    }

    /// One of them.
    pub(super) fn get_mut(&mut self, line: u32) -> &mut Dialog {
        &mut self.lines[line]
    }

    /// One less.
    pub(super) fn remove(&mut self, line: u32) {
        self.by_key.remove(self.lines[line].key, line);
        self.streams -= u32::from(self.lines[line].is_streams);
        self.lines.give_back(line);
    }

    /// Looks at the next place, if any is taken; what stands there if it is over.
    #[inline]
    pub(super) fn over(&mut self, now_s: u32) -> Option<u32> {
        if self.by_key.is_empty() {
            return None;
        }
        let line = self.looked_at;
        self.looked_at = (line + 1) % self.count;
        (1..now_s).contains(&self.lines[line].until_s).then_some(line)
    }

    /// How many calls there are, and sessions of streams.
    pub(super) fn counts(&self) -> (u64, u64) {
        let streams = u64::from(self.streams);
        (self.by_key.len() as u64 - streams, streams)
    }
}
