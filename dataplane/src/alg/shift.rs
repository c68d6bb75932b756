//! What rewriting does to the sequence numbers of one direction of a TCP connection.
//!
//! A [`Shift`] knows the bytes that its sender has sent (the old ones) and what its receiver gets instead (the new ones):
//! they are the same but for a few edits. An edit is a range of old bytes and the text that stands for it, whole: whatever
//! segment touches the range carries all of the text, so that a retransmission, cut anywhere, says the same as the first
//! time. With an edit everything behind it moves, and what the receiver acknowledges moves back.
//!
//! The last edit may be *open*: the beginning of something that is not whole yet. Its bytes are kept here and nothing stands
//! for them. To the sender they count as arrived when all before them has, since it may wait with the rest until they have.
//! So it may never say them again, and what comes right behind them has to carry them.
//!
//! All arithmetic is modulo 2³² (RFC 9293 §3.4).

use crate::wire::text::Text;

/// The most bytes that are kept of a line that is not whole, and that an edit of a line writes.
pub const TEXT: usize = 112;
/// The most edits of lines that are remembered. One that has arrived gives way to the next; the sender then has heard of the
/// commands behind it.
pub const EDITS: usize = 4;
/// What a segment may grow by: every edit in it, and one that was open.
pub const GROWTH: u16 = 176;

/// Whether a position comes before another one.
pub const fn is_before(position: u32, other: u32) -> bool {
    (position.wrapping_sub(other) as i32) < 0
}

/// The one that comes later.
pub const fn later(position: u32, other: u32) -> u32 {
    if is_before(position, other) { other } else { position }
}

/// Old bytes, and the text that stands for them.
#[derive(Clone, Copy, Debug)]
struct Edit<const TEXT: usize> {
    /// The first of the old bytes.
    at: u32,
    /// How many they are.
    before: u8,
    /// It was open.
    was_open: bool,
    text: Text<TEXT>,
}

impl<const TEXT: usize> Edit<TEXT> {
    const NONE: Self = Self { at: 0, before: 0, was_open: false, text: Text::EMPTY };

    const fn end(&self) -> u32 {
        self.at.wrapping_add(self.before as u32)
    }
}

/// One direction, of which so many edits are remembered, each of so many bytes.
#[derive(Clone, Copy, Debug)]
pub struct Shift<const EDITS: usize = { self::EDITS }, const TEXT: usize = { self::TEXT }> {
    /// The sequence number of the SYN.
    initial: u32,
    /// Old bytes before this one are no longer known: they have arrived.
    base: u32,
    /// How much the byte there has moved.
    offset: u32,
    /// The first old byte that has not come yet.
    next: u32,
    /// The first new byte that the receiver has not acknowledged.
    acknowledged: u32,
    edits: [Edit<TEXT>; EDITS],
    count: u8,
    is_open: bool,
    /// The bytes of the last edit while it is open.
    held: Text<TEXT>,
}

impl<const EDITS: usize, const TEXT: usize> Shift<EDITS, TEXT> {
    /// That of a direction whose SYN has this sequence number.
    pub const fn begin(initial: u32) -> Self {
        let first = initial.wrapping_add(1);
        Self {
            initial,
            base: first,
            offset: 0,
            next: first,
            acknowledged: first,
            edits: [Edit::NONE; EDITS],
            count: 0,
            is_open: false,
            held: Text::EMPTY,
        }
    }

    /// The sequence number of the SYN.
    pub const fn initial(&self) -> u32 {
        self.initial
    }

    /// Whether a SYN with this number begins another connection, since nothing has been said in this one, or it is over. One that
    /// comes again does not, nor does one in the midst of a connection: its receiver asks back (RFC 5961 §4.2).
    pub const fn gives_way_to(&self, initial: u32, is_over: bool) -> bool {
        self.initial != initial && (is_over || self.next == self.initial.wrapping_add(1))
    }

    fn edits(&self) -> &[Edit<TEXT>] {
        &self.edits[..usize::from(self.count)]
    }

    /// The edits, with how much what lies before each has moved.
    fn moved(&self) -> impl Iterator<Item = (&Edit<TEXT>, u32)> {
        self.edits().iter().scan(self.offset, |offset, edit| {
            let before = *offset;
            *offset = moves(before, edit);
            Some((edit, before))
        })
    }

    /// Whether any byte is another one, or somewhere else, to the receiver.
    pub const fn has_moved(&self) -> bool {
        self.count > 0 || self.offset != 0
    }

    /// The first old byte that has not come yet.
    pub const fn next(&self) -> u32 {
        self.next
    }

    /// Where an old byte is to the receiver: one that an edit replaced, where its text begins. A SYN that comes again, however
    /// late, is where it was.
    pub fn sent(&self, position: u32) -> u32 {
        if position == self.initial && is_before(position, self.base) {
            return position;
        }
        let mut offset = self.offset;
        for (edit, before) in self.moved() {
            if is_before(position, edit.end()) {
                return before.wrapping_add(if is_before(edit.at, position) { edit.at } else { position });
            }
            offset = moves(before, edit);
        }
        position.wrapping_add(offset)
    }

    /// What the sender is to hear of what the receiver acknowledges: of an edit all or nothing.
    pub fn heard(&self, position: u32) -> u32 {
        self.back(position, |edit| edit.at)
    }

    /// The left edge of what the receiver has beyond a gap (RFC 2018 §3): of an edit all or nothing.
    pub fn heard_from(&self, position: u32) -> u32 {
        self.back(position, Edit::end)
    }

    fn back(&self, position: u32, within: fn(&Edit<TEXT>) -> u32) -> u32 {
        let mut offset = self.offset;
        for (edit, before) in self.moved() {
            let begin = edit.at.wrapping_add(before);
            if is_before(position, begin.wrapping_add(edit.text.len() as u32)) {
                let is_within = is_before(begin, position);
                return if is_within { within(edit) } else { position.wrapping_sub(before) };
            }
            offset = moves(before, edit);
        }
        position.wrapping_sub(offset)
    }

    /// Notes what the receiver acknowledges; whether that is more than before.
    pub fn acknowledge(&mut self, position: u32) -> bool {
        let is_news = is_before(self.acknowledged, position) && !is_before(self.sent(self.next), position);
        if is_news {
            self.acknowledged = position;
        }
        is_news
    }

    /// Notes that the next `count` old bytes go on as they are.
    pub const fn pass(&mut self, count: usize) {
        self.next = self.next.wrapping_add(count as u32);
    }

    /// Whether there is room for one more edit, now or by forgetting one that has arrived.
    pub fn make_room(&mut self) -> bool {
        usize::from(self.count) < EDITS || self.forget()
    }

    /// Whether there is room for so many more edits, when all are forgotten that have arrived.
    pub fn has_room(&mut self, more: usize) -> bool {
        while self.count > 0 && self.forget() {}
        usize::from(self.count) + more <= EDITS
    }

    /// Forgets the first edit, if it has arrived.
    fn forget(&mut self) -> bool {
        let first = self.edits[0];
        let (base, offset) = (first.end(), moves(self.offset, &first));
        let is_forgotten = !is_before(self.acknowledged, base.wrapping_add(offset));
        if is_forgotten {
            (self.base, self.offset) = (base, offset);
            self.edits.rotate_left(1);
            self.count -= 1;
        }
        is_forgotten
    }

    /// Puts a text in the place of the next `before` old bytes. [`Shift::make_room`] first. `false`, with nothing changed, if
    /// they are more than an edit can be about.
    pub fn replace(&mut self, before: usize, text: &[u8]) -> bool {
        let mut edit = Edit { at: self.next, ..Edit::NONE };
        let (Ok(before), true) = (u8::try_from(before), edit.text.extend(text)) else { return false };
        let Some(place) = self.edits.get_mut(usize::from(self.count)) else { return false };
        edit.before = before;
        *place = edit;
        self.count += 1;
        self.pass(before.into());
        true
    }

    /// The old bytes of the open edit; empty if none is.
    pub fn held(&self) -> &[u8] {
        &self.held
    }

    /// Keeps the next old bytes, which are not whole. [`Shift::make_room`] first, unless an edit is open. `false`, with
    /// nothing changed, if they are too many.
    pub fn hold(&mut self, bytes: &[u8]) -> bool {
        if self.held.len() + bytes.len() > TEXT || bytes.is_empty() {
            return false;
        }
        if !self.is_open && !self.replace(0, &[]) {
            return false;
        }
        self.is_open = true;
        self.held.extend(bytes);
        let edit = &mut self.edits[usize::from(self.count) - 1];
        (edit.before, edit.was_open) = (edit.before + bytes.len() as u8, true);
        self.pass(bytes.len());
        true
    }

    /// Closes the open edit: it is about `more` further old bytes as well, and this stands for all of them. `false`, with
    /// nothing changed, if that is too much.
    pub fn close(&mut self, more: usize, text: &[u8]) -> bool {
        let Some(edit) = self.edits[..usize::from(self.count)].last_mut().filter(|_| self.is_open) else {
            return false;
        };
        let mut written = Text::EMPTY;
        let before = u8::try_from(usize::from(edit.before) + more);
        let (Ok(before), true) = (before, written.extend(text)) else { return false };
        (edit.before, edit.text) = (before, written);
        (self.is_open, self.held) = (false, Text::EMPTY);
        self.pass(more);
        true
    }

    /// Closes the open edit, if there is one: what it kept goes on as it is.
    pub fn let_go(&mut self) {
        let held = self.held;
        self.close(0, &held);
    }

    /// An old byte of what a segment has to carry that begins at this one: a byte before it where that was kept.
    pub fn carries(&self, start: u32) -> u32 {
        let owes = |edit: &Edit<TEXT>| edit.was_open && edit.end() == start;
        start.wrapping_sub(self.edits().iter().any(owes).into())
    }

    /// What the sender has been, or may be, told to have arrived.
    pub fn arrived(&self) -> u32 {
        self.heard(self.acknowledged)
    }

    /// Whether old bytes go on as they are, however far they have moved.
    pub fn leaves(&self, from: u32, count: usize) -> bool {
        let end = from.wrapping_add(count as u32);
        let apart = |edit: &Edit<TEXT>| !is_before(edit.at, end) || !is_before(from, edit.end());
        !is_before(from, self.base) && self.edits().iter().all(apart)
    }

    /// Before this old byte everything has arrived, and no more is known of it.
    pub const fn base(&self) -> u32 {
        self.base
    }

    /// Writes to `out` what stands for the old bytes from `from` on to the end of `bytes`, which begin at `start`: that is
    /// `from`, or right behind an edit in which `from` is. Where it begins to the receiver, and how long it is. Of what is
    /// known to have arrived nothing is said again; where nothing else is left, it begins one byte before what the receiver
    /// awaits, so that it acknowledges once more (RFC 9293 §3.10.7.4).
    pub fn write(&self, from: u32, start: u32, bytes: &[u8], out: &mut [u8]) -> Option<(u32, usize)> {
        let end = start.wrapping_add(bytes.len() as u32);
        if is_before(from, self.base) && !is_before(self.base, end) {
            return Some((self.base.wrapping_add(self.offset).wrapping_sub(1), 0));
        }
        let mut at = if is_before(from, self.base) { self.base } else { from };
        let begin = self.sent(at);
        let mut out = Out { bytes: out, length: 0 };
        let old = |a: u32, b: u32| bytes.get(a.wrapping_sub(start) as usize..b.wrapping_sub(start) as usize);
        for edit in self.edits() {
            if is_before(at, edit.end()) && is_before(edit.at, end) {
                if is_before(at, edit.at) {
                    out.push(old(at, edit.at)?)?;
                }
                out.push(&edit.text)?;
                at = edit.end();
            }
        }
        if is_before(at, end) {
            out.push(old(at, end)?)?;
        }
        Some((begin, out.length))
    }
}

/// How much what lies behind an edit has moved, by how much what lies before it has.
fn moves<const TEXT: usize>(offset: u32, edit: &Edit<TEXT>) -> u32 {
    offset.wrapping_add(edit.text.len() as u32).wrapping_sub(edit.before.into())
}

/// Bytes that are written one behind the other.
struct Out<'b> {
    bytes: &'b mut [u8],
    length: usize,
}

impl Out<'_> {
    fn push(&mut self, bytes: &[u8]) -> Option<()> {
        self.bytes.get_mut(self.length..self.length + bytes.len())?.copy_from_slice(bytes);
        self.length += bytes.len();
        Some(())
    }
}
