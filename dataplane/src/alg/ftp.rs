//! Reads one direction of FTP's control channel as it comes, whatever segments it comes in, and notes in its [`Shift`] what
//! is to be written instead of the places that its lines name.
//!
//! What has begun like a line that matters is kept until the line is whole; all else goes on at once.

use super::shift::{Shift, TEXT};
use crate::wire::ftp::{LINE, PLACE, Place, Said, Speaker, WORD, may_matter, said};
use crate::wire::text::{Garbled, Text};

/// What is done about what lines say.
pub trait Listener {
    /// Its speaker awaits a connection there: what to write instead of that place, if anything.
    fn awaits(&mut self, place: Place) -> Option<Text<PLACE>>;

    /// Anything else.
    fn hear(&mut self, said: Result<Said, Garbled>);

    /// Whether nothing that comes can be read any more: it is encrypted.
    fn is_private(&self) -> bool;
}

/// The state of reading.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    /// Whose lines they are.
    pub speaker: Speaker,
    /// What comes next is in the middle of a line that does not matter.
    is_within: bool,
    /// What has begun like a line that matters is kept until that is whole; otherwise such a line does not matter.
    keeps: bool,
    /// What is to be written stands for all of a line, so that the next gateway gets that in one segment, whatever comes again.
    by_line: bool,
}

impl Reader {
    /// Of the lines of this speaker.
    pub const fn new(speaker: Speaker) -> Self {
        Self { speaker, is_within: false, keeps: true, by_line: false }
    }

    /// The same, for another gateway that reads without keeping anything.
    pub const fn for_another(self) -> Self {
        Self { by_line: true, ..self }
    }

    /// The same of what comes from such a gateway.
    pub const fn from_another(self) -> Self {
        Self { keeps: false, ..self }
    }

    /// The same, of which nothing has been read.
    pub const fn anew(self) -> Self {
        Self { is_within: false, ..self }
    }

    /// Whether the next bytes are whole lines, of which one look shows that none matters.
    pub fn skims(self, shift: &Shift, bytes: &[u8]) -> bool {
        let matters = |line: &[u8]| may_matter(self.speaker, &line[..line.len().min(WORD)]);
        let is_between = !self.is_within && shift.held().is_empty();
        is_between && bytes.ends_with(b"\n") && !bytes.split_inclusive(|byte| *byte == b'\n').any(matters)
    }

    /// Reads the next bytes, which begin at [`Shift::next`]; how many of them: fewer than all if there is no room for what is
    /// to be noted of the rest.
    pub fn read(&mut self, shift: &mut Shift, bytes: &[u8], listener: &mut impl Listener) -> usize {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let end = rest.iter().position(|byte| *byte == b'\n').map(|end| end + 1);
            let read = match end {
                _ if listener.is_private() => {
                    shift.let_go();
                    self.skip(shift, rest, None)
                }
                _ if self.is_within => self.skip(shift, rest, end),
                Some(end) if shift.held().is_empty() => self.whole(shift, &rest[..end], listener),
                Some(end) => self.complete(shift, &rest[..end], listener),
                None => self.part(shift, rest),
            };
            if read == 0 {
                break;
            }
            at += read;
        }
        at
    }

    /// What does not matter up to the end of its line.
    fn skip(&mut self, shift: &mut Shift, rest: &[u8], end: Option<usize>) -> usize {
        let count = end.unwrap_or(rest.len());
        self.is_within = end.is_none();
        shift.pass(count);
        count
    }

    /// A line that comes in one piece.
    fn whole(self, shift: &mut Shift, line: &[u8], listener: &mut impl Listener) -> usize {
        let said = said(self.speaker, line);
        if said == Ok(Said::Nothing) {
            shift.pass(line.len());
            return line.len();
        }
        // Before anybody hears of it: it will be read again.
        if !shift.make_room() {
            return 0;
        }
        let rest = match self.instead(said, line, listener) {
            // One that is too long for that stays as it is.
            Some((place, text)) if self.by_line => {
                if replace_line(shift, line, place, &text) {
                    0
                } else {
                    line.len()
                }
            }
            Some((place, text)) => {
                shift.pass(place.at());
                // It fits: a place is shorter than a line.
                shift.replace(place.end() - place.at(), &text);
                line.len() - place.end()
            }
            None => line.len(),
        };
        shift.pass(rest);
        line.len()
    }

    /// A line, or what comes next of one, that does not end here.
    fn part(&mut self, shift: &mut Shift, rest: &[u8]) -> usize {
        let mut begun = Text::<LINE>::EMPTY;
        let begins = begun.extend(shift.held()) && begun.extend(rest) && may_matter(self.speaker, &begun);
        let matters = begins && self.keeps;
        if matters && shift.held().is_empty() && !shift.make_room() {
            return 0;
        }
        if matters && shift.hold(rest) {
            return rest.len();
        }
        shift.let_go();
        self.skip(shift, rest, None)
    }

    /// The end of a line whose beginning was kept.
    fn complete(self, shift: &mut Shift, end: &[u8], listener: &mut impl Listener) -> usize {
        let held = shift.held().len();
        let mut line = Text::<{ TEXT + LINE }>::EMPTY;
        let is_whole = line.extend(shift.held()) && line.extend(end);
        let found = is_whole.then(|| self.instead(said(self.speaker, &line), &line, listener)).flatten();
        // What was kept the sender has heard of, so the edit is about all of that.
        let closed = found.map_or(0, |(place, text)| {
            let end = if self.by_line { line.len() } else { place.end().max(held) };
            let more = end - held;
            let mut instead = Text::<TEXT>::EMPTY;
            let fits = instead.extend(&line[..place.at()])
                && instead.extend(&text)
                && instead.extend(&line[place.end()..end]);
            if fits && shift.close(more, &instead) { more } else { 0 }
        });
        shift.let_go();
        shift.pass(end.len() - closed);
        end.len()
    }

    /// What a listener wants written instead of a line's place.
    fn instead(
        self,
        said: Result<Said, Garbled>,
        line: &[u8],
        listener: &mut impl Listener,
    ) -> Option<(Place, Text<PLACE>)> {
        let (place, text) = told(said, listener)?;
        (self.by_line || line[place.at()..place.end()] != *text).then_some((place, text))
    }
}

/// Has a listener hear what a line says: the place that it names, and what to write instead.
fn told(said: Result<Said, Garbled>, listener: &mut impl Listener) -> Option<(Place, Text<PLACE>)> {
    let Ok(Said::Awaits(place)) = said else {
        listener.hear(said);
        return None;
    };
    listener.awaits(place).map(|text| (place, text))
}

/// Has a listener hear all lines of a segment, as far as they stand in it: nothing is written.
pub fn overhear(speaker: Speaker, bytes: &[u8], listener: &mut impl Listener) {
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if !listener.is_private() {
            let _ = told(said(speaker, line), listener);
        }
    }
}

/// Puts a line with another place in the place of the next bytes, which are that line; `false`, with nothing changed, if it is
/// too long.
fn replace_line(shift: &mut Shift, line: &[u8], place: Place, text: &[u8]) -> bool {
    let mut instead = Text::<TEXT>::EMPTY;
    instead.extend(&line[..place.at()])
        && instead.extend(text)
        && instead.extend(&line[place.end()..])
        && shift.replace(line.len(), &instead)
}
