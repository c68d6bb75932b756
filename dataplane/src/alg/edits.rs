//! What is to be written anew of a message: gathered in one look, and written in one copy, or noted in what becomes of a stream.

use crate::wire::sdp::MEDIA;
use crate::wire::sip::{PLACES, Span};
use crate::wire::text::Text;

/// The most bytes of what is written: `255.255.255.255:65535`.
pub const WRITTEN: usize = 24;
/// The most edits: every place, of every stream its port, address, RTCP port and that one's address, two addresses of the
/// description, and the length.
const EDITS: usize = PLACES + 4 * MEDIA + 3;
/// What a message may grow by.
pub const GROWTH: usize = EDITS * WRITTEN;

/// Bytes of a message, and the text that stands for them.
#[derive(Clone, Copy, Debug)]
pub struct Edit {
    /// The bytes.
    pub span: Span,
    /// What is written.
    pub text: Text<WRITTEN>,
}

/// What is to be written anew of a message.
#[derive(Clone, Copy, Debug)]
pub struct Edits {
    list: [Edit; EDITS],
    count: usize,
}

impl Default for Edits {
    fn default() -> Self {
        let none = Edit { span: Span { at: 0, end: 0 }, text: Text::EMPTY };
        Self { list: [none; EDITS], count: 0 }
    }
}

impl Edits {
    /// Whether there is nothing.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All of them: in order, after [`Edits::finish`].
    pub fn all(&self) -> &[Edit] {
        &self.list[..self.count]
    }

    /// One more, unless it would change nothing.
    pub fn push(&mut self, bytes: &[u8], span: Span, text: Text<WRITTEN>) {
        if *span.of(bytes) != *text
            && let Some(place) = self.list.get_mut(self.count)
        {
            *place = Edit { span, text };
            self.count += 1;
        }
    }

    /// Puts them in order, with the length of the body as it has become (RFC 3261 §20.14, RFC 7826 §18.17).
    pub fn finish(&mut self, bytes: &[u8], body: Span, length: Option<Span>) -> Option<()> {
        let growth: isize = self
            .all()
            .iter()
            .filter(|edit| edit.span.at >= body.at)
            .map(|edit| edit.text.len() as isize - isize::from(edit.span.end as i16 - edit.span.at as i16))
            .sum();
        if let (Some(span), true) = (length, growth != 0) {
            let mut text = Text::EMPTY;
            text.number(u32::try_from(usize::from(body.end - body.at).checked_add_signed(growth)?).ok()?);
            self.push(bytes, span, text);
        }
        self.list[..self.count].sort_unstable_by_key(|edit| edit.span.at);
        Some(())
    }

    /// Writes the message to `out`, after [`Edits::finish`]; how long it is, if there is room.
    pub fn write(&self, bytes: &[u8], out: &mut [u8]) -> Option<usize> {
        let (mut at, mut length) = (0, 0);
        let mut put = |part: &[u8]| {
            out.get_mut(length..length + part.len())?.copy_from_slice(part);
            length += part.len();
            Some(())
        };
        for edit in self.all() {
            put(bytes.get(at..usize::from(edit.span.at))?)?;
            put(&edit.text)?;
            at = usize::from(edit.span.end);
        }
        put(bytes.get(at..)?)?;
        Some(length)
    }
}

/// An address as it is written.
pub fn address_text(address: u32) -> Text<WRITTEN> {
    let mut text = Text::EMPTY;
    text.numbers(&address.to_be_bytes(), b'.');
    text
}

/// A port as it is written.
pub fn port_text(port: u16) -> Text<WRITTEN> {
    let mut text = Text::EMPTY;
    text.number(port.into());
    text
}

/// An address and a port, as they are written.
pub fn place_text((address, port): (u32, u16)) -> Text<WRITTEN> {
    let mut text = address_text(address);
    text.push(b':');
    text.number(port.into());
    text
}
