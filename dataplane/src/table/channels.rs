//! What sessions of an ALG have beyond their line: how their control channel is read, and what rewriting does to its sequence
//! numbers. A session's line says that there is such a thing, and its slot leads to it; no other session pays for any.

use super::index::{Hasher, Index};
use super::slab::{Line, Slab};
use crate::alg::ftp::Reader;
use crate::alg::shift::Shift;
use crate::alg::talk::{Language, Tongue};
use crate::counters::Counters;
use crate::narrow::NONE;
use crate::settings::SettingsError;
use crate::table::dialogs::STREAMS;
use crate::table::session::Heading;
use crate::wire::ftp::{Said, Speaker};
use crate::wire::text::Garbled;

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

impl Privacy {
    /// A line of FTP says this, which is no place.
    pub const fn hear(&mut self, said: Result<Said, Garbled>, counters: &mut Counters) {
        match (said, *self) {
            (Ok(Said::AsksTls), _) => *self = Self::Asked,
            (Ok(Said::GrantsTls), Self::Asked) => *self = Self::Encrypted,
            (Ok(_), _) => {}
            (Err(Garbled), _) => counters.alg_garbled += 1,
        }
    }
}

/// What is spoken in a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// Lines of FTP.
    Lines,
    /// SIP, a message a datagram.
    Datagrams,
    /// Messages in a stream.
    Talk(Language),
}

/// A control channel: what its inside host says is read, and of messages what it hears as well.
#[derive(Clone, Copy, Debug)]
pub struct Channel {
    /// The slot of its session; in a free line, the next one.
    slot: u32,
    /// What is spoken.
    pub spoken: Spoken,
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
    /// The place of its talk.
    talk: u32,
    /// What it awaits: places of expectations.
    pub(super) awaited: [u32; AWAITED],
    /// The place that the next one takes.
    pub(super) turn: u8,
}

impl Channel {
    /// That of a session, whose inside host is this speaker.
    fn new(slot: u32, spoken: Spoken, speaker: Speaker, is_dry: bool) -> Self {
        let (privacy, reader) = (Privacy::None, Reader::new(speaker));
        Self {
            slot,
            spoken,
            is_dry,
            privacy,
            reader,
            shift: None,
            window: 0,
            talk: NONE,
            awaited: [NONE; AWAITED],
            turn: 0,
        }
    }

    /// The host's SYN has this sequence number: see [`Shift::gives_way_to`].
    pub fn begin(&mut self, initial: u32, is_over: bool) {
        if self.shift.is_none_or(|shift| shift.gives_way_to(initial, is_over)) {
            let speaker = self.reader.speaker;
            (self.privacy, self.reader, self.shift) =
                (Privacy::None, Reader::new(speaker), Some(Shift::begin(initial)));
        }
    }
}

impl Line for Channel {
    fn free(next: u32) -> Self {
        Self::new(next, Spoken::Lines, Speaker::Client, false)
    }

    fn next(&self) -> u32 {
        self.slot
    }
}

/// A request that ends streams, until it is answered.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    /// Which request of whom.
    pub request: (Heading, u32),
    /// Which stream; `None`: all of them.
    pub nth: Option<usize>,
}

/// A stream of messages, both ways.
#[derive(Clone, Copy, Debug)]
pub struct Talk {
    /// In a free line, the next one.
    next: u32,
    /// What the host says, and what it hears.
    tongues: [Tongue; 2],
    /// The last request of RTSP for a stream, and what stands for its URL.
    pub asked: (u32, u64),
    /// What stands for the URLs of the streams.
    pub urls: [u64; STREAMS],
    /// What ends when that is answered.
    pub ending: Option<Ending>,
}

impl Talk {
    pub(super) const NONE: Self =
        Self { next: NONE, tongues: [Tongue::NONE; 2], asked: (0, 0), urls: [0; STREAMS], ending: None };

    /// What comes with this heading.
    pub const fn tongue(&mut self, heading: Heading) -> &mut Tongue {
        &mut self.tongues[heading as usize]
    }

    /// Whether any byte of it has moved.
    pub(super) fn has_moved(&self) -> bool {
        self.tongues.iter().any(|tongue| tongue.shift.is_some_and(|shift| shift.has_moved()))
    }
}

impl Line for Talk {
    fn free(next: u32) -> Self {
        Self { next, ..Self::NONE }
    }

    fn next(&self) -> u32 {
        self.next
    }
}

/// The table.
#[derive(Debug)]
pub(super) struct Channels {
    lines: Slab<Channel>,
    talks: Slab<Talk>,
    by_slot: Index,
    hasher: Hasher,
}

impl Channels {
    /// Room for so many, and for so many that are streams of messages.
    pub(super) fn new(count: u32, talks: u32, hasher: Hasher) -> Result<Self, SettingsError> {
        let (lines, talks) = (Slab::new(count, "channels")?, Slab::new(talks, "talks")?);
        Ok(Self { lines, talks, by_slot: Index::new(count)?, hasher })
    }

    fn hash(&self, slot: u32) -> u64 {
        self.hasher.hash(slot.into())
    }

    fn line(&self, slot: u32) -> Option<u32> {
        self.by_slot.find(self.hash(slot), |line| self.lines[line].slot == slot)
    }

    /// One for the session in this slot, which has none; whether there was room.
    pub(super) fn add(&mut self, slot: u32, spoken: Spoken, speaker: Speaker, is_dry: bool) -> bool {
        let mut channel = Channel::new(slot, spoken, speaker, is_dry);
        // Of what is only shown nothing has to be remembered.
        if matches!(spoken, Spoken::Talk(_)) && !is_dry {
            let Some(talk) = self.talks.take(Talk::NONE) else { return false };
            channel.talk = talk;
        }
        let line = self.lines.take(channel);
        let fits = line.is_some_and(|line| self.by_slot.insert(self.hash(slot), line));
        if !fits {
            if let Some(line) = line {
                self.lines.give_back(line);
            }
            self.end_talk(channel.talk);
        }
        fits
    }

    fn end_talk(&mut self, talk: u32) {
        if talk != NONE {
            self.talks.give_back(talk);
        }
    }

    /// That of the session in this slot.
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Channel> {
        let line = self.line(slot)?;
        Some(&mut self.lines[line])
    }

    /// What is spoken in the channel of the session in this slot, both ways.
    pub(super) fn talk(&mut self, slot: u32) -> Option<&mut Talk> {
        let talk = self.lines[self.line(slot)?].talk;
        (talk != NONE).then(|| &mut self.talks[talk])
    }

    /// The session in this slot has ended. What its channel was.
    pub(super) fn remove(&mut self, slot: u32) -> Option<Channel> {
        let line = self.line(slot)?;
        let channel = self.lines[line];
        self.by_slot.remove(self.hash(slot), line);
        self.lines.give_back(line);
        self.end_talk(channel.talk);
        Some(channel)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_slot.len()
    }
}
