//! Reads one direction of a stream of messages, SIP's or RTSP's, as it comes, whatever segments it comes in.
//!
//! A message is read when it is whole. The segments that bring it before are not passed on: they come again, from their sender,
//! and then say what they have become. Whoever sends no more until he has heard, since what he said was all of a write, hears of
//! it from the gateway; then the segment behind carries what was kept, and all of it until that has arrived.

use super::edits::{Edits, WRITTEN};
use super::shift::{Shift, is_before};
use crate::wire::framing::{Extent, Framed, framed};

/// The longest message that is read with its body; of a longer one the lines are.
pub const MESSAGE: usize = 4096;
/// The most edits of one message.
pub const MOST: usize = 24;
/// How often what is kept may come again before it is let go, if it does not even begin as a message.
const AGAIN: u8 = 3;

/// What becomes of a direction: of two messages of the most edits.
pub type MessageShift = Shift<{ 2 * MOST }, WRITTEN>;

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// RFC 3261 §18.3.
    Sip,
    /// RFC 2326, RFC 7826.
    Rtsp,
}

impl Language {
    /// How its version begins, by which a message is known.
    pub const fn version(self) -> &'static [u8] {
        match self {
            Self::Sip => b"SIP/2.0",
            Self::Rtsp => b"RTSP/",
        }
    }
}

impl Language {
    /// Whether what has come of a first line may become one of a message.
    fn begins(self, begun: &[u8]) -> bool {
        let words: &[&[u8]] = match self {
            Self::Sip => &[
                b"SIP/2.0 ",
                b"INVITE ",
                b"ACK ",
                b"BYE ",
                b"CANCEL ",
                b"REGISTER ",
                b"OPTIONS ",
                b"PRACK ",
                b"SUBSCRIBE ",
                b"NOTIFY ",
                b"PUBLISH ",
                b"INFO ",
                b"REFER ",
                b"MESSAGE ",
                b"UPDATE ",
            ],
            Self::Rtsp => &[
                b"RTSP/",
                b"OPTIONS ",
                b"DESCRIBE ",
                b"ANNOUNCE ",
                b"SETUP ",
                b"PLAY ",
                b"PAUSE ",
                b"RECORD ",
                b"TEARDOWN ",
                b"GET_PARAMETER ",
                b"SET_PARAMETER ",
                b"REDIRECT ",
                b"PLAY_NOTIFY ",
            ],
        };
        let is_begun = |word: &&[u8]| {
            begun.len().min(word.len()) == begun.iter().zip(*word).take_while(|(a, b)| a == b).count()
        };
        begun.contains(&b'\n') || words.iter().any(is_begun)
    }
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// A message, or what stands between two.
    Between,
    /// So much that is nobody's matter.
    Body(u32),
    /// Media within the connection (RFC 7826 §14), of whose header so many bytes have come, and what they say.
    Interleaved(u8, u16),
    /// What nobody reads.
    Blind,
}

/// What the next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many of them go on as they are.
    Passed(usize),
    /// The end of a message that is whole: as much of it as is read, and so much of a body that is not.
    Message(Extent, usize),
    /// They are kept, all of them, until the rest comes.
    Part,
    /// There is no room to keep them, until what was kept before has arrived.
    Full,
    /// No message: nothing is read from here on.
    Other,
}

/// One direction.
#[derive(Clone, Copy, Debug)]
pub struct Tongue {
    /// What becomes of its bytes, from its SYN on.
    pub shift: Option<MessageShift>,
    /// The window that its receiver announced last.
    pub window: u16,
    /// The largest segment that its receiver takes; 0 if that is not known.
    pub most: u16,
    reading: Reading,
    /// The old byte at which what is kept begins.
    base: u32,
    /// How many bytes are kept of a message that is not whole.
    held: u16,
    /// How many of what is kept, or was, its sender has heard of: they are kept until they have arrived.
    owed: u16,
    /// How often they came again.
    again: u8,
    text: [u8; MESSAGE],
}

impl Tongue {
    /// One of which nothing has come.
    pub const NONE: Self = Self {
        shift: None,
        window: 0,
        most: 0,
        reading: Reading::Between,
        base: 0,
        held: 0,
        owed: 0,
        again: 0,
        text: [0; MESSAGE],
    };

    /// Its SYN has this sequence number: see [`Shift::gives_way_to`]. Where a message has begun, something has been said.
    pub fn begin(&mut self, initial: u32, is_over: bool) {
        let is_silent = self.held == 0;
        if self.shift.is_none_or(|shift| shift.gives_way_to(initial, is_over) && (is_silent || is_over)) {
            *self = Self {
                shift: Some(Shift::begin(initial)),
                window: self.window,
                most: self.most,
                ..Self::NONE
            };
        }
    }

    /// Nothing is read any more.
    pub fn turn_blind(&mut self) {
        if let Some(shift) = &mut self.shift {
            shift.pass(self.held.into());
        }
        (self.reading, self.held) = (Reading::Blind, 0);
    }

    /// The first old byte that has not come.
    pub fn awaited(&self) -> u32 {
        let next = self.shift.map_or(self.base, |shift| shift.next());
        next.wrapping_add(self.held.into())
    }

    /// Whether bytes are kept of a message that is not whole.
    pub const fn keeps(&self) -> bool {
        self.held > 0
    }

    /// Whether so many old bytes from there on go on unread; then they have.
    pub fn glides(&mut self, start: u32, count: usize) -> bool {
        let Some(shift) = &mut self.shift else { return false };
        if self.owed > 0 || !shift.leaves(start, count) {
            return false;
        }
        match &mut self.reading {
            Reading::Blind => {
                let end = start.wrapping_add(count as u32);
                if is_before(shift.next(), end) {
                    shift.pass(end.wrapping_sub(shift.next()) as usize);
                }
                true
            }
            Reading::Body(left) if shift.next() == start && count <= *left as usize => {
                *left -= count as u32;
                if *left == 0 {
                    self.reading = Reading::Between;
                }
                shift.pass(count);
                true
            }
            _ => false,
        }
    }

    /// Looks at the next bytes, which begin at [`Tongue::awaited`]. What is passed or kept is noted; a message is not, until
    /// [`Tongue::note`].
    pub fn step(&mut self, language: Language, bytes: &[u8]) -> Step {
        let Some(shift) = &mut self.shift else { return Step::Other };
        let (count, reading) = match self.reading {
            Reading::Blind => (bytes.len(), Reading::Blind),
            Reading::Body(left) => {
                let count = bytes.len().min(left as usize);
                (
                    count,
                    if count == left as usize {
                        Reading::Between
                    } else {
                        Reading::Body(left - count as u32)
                    },
                )
            }
            Reading::Interleaved(come, said) => {
                let said = said << 8 | u16::from(bytes[0]);
                (1, if come < 3 { Reading::Interleaved(come + 1, said) } else { body(u32::from(said)) })
            }
            Reading::Between if self.held == 0 => {
                let empty = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
                match bytes.get(empty) {
                    _ if empty > 0 => (empty, Reading::Between),
                    Some(b'$') if language == Language::Rtsp => (1, Reading::Interleaved(1, 0)),
                    _ => return self.message(language, bytes),
                }
            }
            Reading::Between => return self.message(language, bytes),
        };
        self.reading = reading;
        shift.pass(count);
        Step::Passed(count)
    }

    /// A message, or a part of one.
    fn message(&mut self, language: Language, bytes: &[u8]) -> Step {
        if self.held == 0
            && let whole @ (Step::Message(..) | Step::Other) =
                wanted(framed(bytes, language.version()), bytes.len())
        {
            return whole;
        }
        if self.held == 0 && self.owed > 0 {
            return Step::Full;
        }
        let held = usize::from(self.held);
        let room = &mut self.text[held..];
        let more = bytes.len().min(room.len());
        room[..more].copy_from_slice(&bytes[..more]);
        match wanted(framed(&self.text[..held + more], language.version()), held + more) {
            Step::Part if more == bytes.len() => {
                if held == 0 {
                    (self.base, self.again) = (self.awaited(), 0);
                }
                self.held += more as u16;
                Step::Part
            }
            Step::Part => Step::Other,
            step => step,
        }
    }

    /// The bytes of a message that is whole with these, and how many of them it takes.
    pub fn whole<'b>(
        &self,
        extent: Extent,
        bytes: &'b [u8],
        room: &'b mut [u8; MESSAGE],
    ) -> (&'b [u8], usize) {
        let (held, length) = (usize::from(self.held), extent.head + extent.body);
        if held == 0 {
            return (&bytes[..length], length);
        }
        room[..length].copy_from_slice(&self.text[..length]);
        (&room[..length], length.saturating_sub(held))
    }

    /// A message was read, and this is to be written anew of it; `false`, with nothing written anew, if that is too much. Of its
    /// body so much is nobody's matter.
    pub fn note(&mut self, length: usize, edits: &Edits, rest: usize) -> bool {
        let Some(shift) = &mut self.shift else { return false };
        let (mut at, is_few) = (0, edits.all().len() <= MOST);
        for edit in edits.all().iter().filter(|_| is_few) {
            let (begin, end) = (usize::from(edit.span.at), usize::from(edit.span.end));
            if begin >= at {
                shift.pass(begin - at);
                let is_noted = shift.replace(end - begin, &edit.text);
                at = if is_noted { end } else { begin };
            }
        }
        shift.pass(length - at);
        (self.held, self.reading) = (0, body(rest as u32));
        is_few
    }

    /// What is kept has come again, or was all of a write: whether its sender is to hear that it has arrived. What may be none of
    /// a message is let go at last.
    pub fn owes(&mut self, language: Language, end: u32, is_pushed: bool, is_again: bool) -> bool {
        self.again = self.again.saturating_add(u8::from(is_again));
        let reached = end.wrapping_sub(self.base);
        let begins = language.begins(&self.text[..usize::from(self.held)]);
        if begins && (is_pushed || is_again) && reached <= self.held.into() {
            self.owed = self.owed.max(reached as u16);
        }
        if !begins && self.again >= AGAIN {
            self.turn_blind();
        }
        self.owed > 0 && !is_before(self.base.wrapping_add(self.owed.into()), end)
    }

    /// What its sender is to hear to have arrived.
    pub fn arrived(&self) -> u32 {
        self.owed().heard(self.shift.map_or(self.base, |shift| shift.arrived()))
    }

    /// What its sender has heard of that has not arrived.
    pub fn owed(&self) -> Owed {
        Owed { base: self.base, count: self.owed.into() }
    }

    /// What its sender has heard of need not be kept any more, when it has arrived.
    pub fn release(&mut self) {
        let end = self.base.wrapping_add(self.owed.into());
        if self.held == 0 && self.shift.is_none_or(|shift| !is_before(shift.arrived(), end)) {
            self.owed = 0;
        }
    }

    /// What a segment has to carry that begins there, as far as that has not arrived, where that begins, and how many bytes of
    /// the segment are among it: none, unless what its sender has heard of ends within an edit of another gateway.
    pub fn carries(&self, start: u32) -> Option<(u32, &[u8], usize)> {
        let known = self.base.wrapping_add(self.owed.into()).wrapping_sub(start);
        let (from, rest) = self.rest().filter(|_| known <= self.owed.into())?;
        Some((from, rest, known as usize))
    }

    /// What its sender has heard of that has not arrived, and where that begins, if it is known what it becomes.
    pub fn rest(&self) -> Option<(u32, &[u8])> {
        let arrived = self.shift.as_ref()?.arrived().wrapping_sub(self.base);
        let arrived = if arrived < u32::from(self.owed) { arrived } else { 0 };
        let is_whole = self.owed > 0 && self.held == 0;
        is_whole
            .then(|| (self.base.wrapping_add(arrived), &self.text[arrived as usize..usize::from(self.owed)]))
    }
}

/// Old bytes of which their sender has heard that they have arrived, although they have not.
#[derive(Clone, Copy, Debug)]
pub struct Owed {
    base: u32,
    count: u32,
}

impl Owed {
    /// What is heard where this has arrived: no less than before.
    pub const fn heard(self, arrived: u32) -> u32 {
        if arrived.wrapping_sub(self.base) < self.count {
            self.base.wrapping_add(self.count)
        } else {
            arrived
        }
    }
}

/// So much of a body, or none.
const fn body(left: u32) -> Reading {
    if left == 0 { Reading::Between } else { Reading::Body(left) }
}

/// Whether enough of a message is there: all of it if its body matters and is short, else its lines.
fn wanted(found: Framed, length: usize) -> Step {
    match found {
        Framed::Other => Step::Other,
        Framed::Part => Step::Part,
        Framed::Message(extent) if !extent.is_described || extent.head + extent.body > MESSAGE => {
            Step::Message(Extent { body: 0, is_described: false, ..extent }, extent.body)
        }
        Framed::Message(extent) if extent.head + extent.body <= length => Step::Message(extent, 0),
        Framed::Message(_) => Step::Part,
    }
}
