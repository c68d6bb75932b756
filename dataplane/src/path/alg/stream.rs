//! A TCP segment of a direction that is rewritten, or of the one that answers it.

use crate::alg::ftp::{Listener, Reader};
use crate::alg::shift::{GROWTH, Shift, is_before};
use crate::counters::Counters;
use crate::frame::Frame;
use crate::packet::Packet;
use crate::reason::DropReason;
use crate::way::write::{replace_covered, replace_covered_word};
use crate::wire::checksum::{Sum, pseudo};
use crate::wire::tcp::selective;
use crate::wire::{Wire, ipv4, read32, tcp, write16};

/// Bytes of the longest payload there is, grown.
const ROOM: usize = 2048 + GROWTH as usize;
/// Bytes of what is written of a payload, or of what it carries.
pub(super) const WRITTEN: usize = 4096;
/// The largest segment of who says nothing about it (RFC 9293 §3.7.1).
const LARGEST: u16 = 536;
/// Two options that say nothing.
const NO_OPERATIONS: u16 = 0x0101;

/// Where things stand in a packet that is a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) header: tcp::Header,
    /// Where it begins in the packet.
    l4: usize,
    /// Where its payload begins.
    data: usize,
}

/// What of a segment goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// The old byte from which on.
    from: u32,
    /// How many bytes of the payload are dealt with.
    length: usize,
}

impl Segment {
    /// The segment that this packet is.
    pub(super) fn of(ip: &[u8], packet: &Packet) -> Result<Self, DropReason> {
        let l4 = usize::from(packet.l4);
        let header = tcp::Header::parse(ip.get(l4..).unwrap_or_default())?;
        Ok(Self { header, l4, data: l4 + header.length() })
    }

    /// What it carries.
    pub(super) fn payload<'i>(&self, ip: &'i [u8]) -> &'i [u8] {
        ip.get(self.data..).unwrap_or_default()
    }

    const fn has(&self, flag: u8) -> bool {
        self.header.flags & flag != 0
    }

    /// The number of its first byte (RFC 9293 §3.4: a SYN comes before).
    const fn start(&self) -> u32 {
        self.header.sequence.wrapping_add(self.has(tcp::SYN) as u32)
    }

    /// Whether its checksum is right: what is not must not be believed.
    pub(super) fn is_sound(&self, ip: &[u8], packet: &Packet) -> bool {
        let segment = &ip[self.l4..];
        summed(packet, segment.len()).bytes(segment).fold() == 0xffff
    }

    /// The number of its first byte, and behind its last one.
    pub(super) fn ends(&self, ip: &[u8]) -> (u32, u32) {
        let start = self.start();
        (start, start.wrapping_add(self.payload(ip).len() as u32))
    }

    /// The largest that its sender takes, as its SYN says (RFC 9293 §3.7.1).
    pub(super) fn largest(&self, ip: &[u8]) -> u16 {
        let options = ip.get(self.l4..self.data).unwrap_or_default();
        tcp::maximum_segment(options).map_or(LARGEST, |(_, size)| size)
    }

    /// Whether it ends its direction.
    pub(super) const fn is_last(&self) -> bool {
        self.has(tcp::FIN)
    }

    /// Whether it is the end of what its sender wrote at once.
    pub(super) const fn is_pushed(&self) -> bool {
        self.has(tcp::PSH)
    }

    /// Moves what it acknowledges, and has beyond a gap, to where that is to the sender of the other direction; of what that is
    /// acknowledged it has heard anyhow. Whether more has arrived than before.
    pub(super) fn move_back<const E: usize, const T: usize>(
        &self,
        ip: &mut [u8],
        shift: &mut Shift<E, T>,
        anyhow: impl Fn(u32) -> u32,
    ) -> bool {
        if !self.has(tcp::ACK) {
            return false;
        }
        let is_news = shift.acknowledge(self.header.acknowledgement);
        let segment = &mut ip[self.l4..];
        let heard = anyhow(shift.heard(self.header.acknowledgement));
        replace_covered_word(segment, tcp::ACKNOWLEDGEMENT, heard, tcp::CHECKSUM);
        if let Some((at, count)) = selective(&segment[..self.header.length()]) {
            move_selective(segment, at, count, shift);
        }
        is_news
    }

    /// Moves its number, and of what is urgent the end.
    pub(super) fn move_on<const E: usize, const T: usize>(&self, ip: &mut [u8], shift: &Shift<E, T>) {
        self.renumber(&mut ip[self.l4..], shift.sent(self.header.sequence), shift);
    }

    fn renumber<const E: usize, const T: usize>(
        &self,
        segment: &mut [u8],
        sequence: u32,
        shift: &Shift<E, T>,
    ) {
        replace_covered_word(segment, tcp::SEQUENCE, sequence, tcp::CHECKSUM);
        if self.has(tcp::URG) {
            // RFC 9293 §3.1: it counts from the segment's own number.
            let urgent = shift.sent(self.header.sequence.wrapping_add(self.header.urgent.into()));
            let urgent = u16::try_from(urgent.wrapping_sub(sequence)).unwrap_or(0);
            replace_covered(segment, tcp::URGENT, urgent, tcp::CHECKSUM);
        }
    }

    /// Whether there is more to do than to move its number: it says something, or ends what may have been kept.
    pub(super) fn speaks(&self, ip: &[u8]) -> bool {
        !self.has(tcp::RST) && (self.has(tcp::FIN) || !self.payload(ip).is_empty())
    }

    /// Whether it has gone on as it is, but for where it is: it says nothing, or at a glance nothing that matters.
    pub(super) fn glides(
        &self,
        ip: &mut [u8],
        packet: &Packet,
        shift: &mut Shift,
        reader: Reader,
    ) -> Result<bool, DropReason> {
        let speaks = self.speaks(ip);
        if speaks && !self.is_sound(ip, packet) {
            return Err(DropReason::AlgChecksum);
        }
        let glides = !speaks || self.skims(ip, shift, reader);
        if glides {
            self.move_on(ip, shift);
        }
        Ok(glides)
    }

    /// Whether it is new, and nothing in it matters: read at a glance.
    fn skims(&self, ip: &[u8], shift: &mut Shift, reader: Reader) -> bool {
        let (start, payload) = (self.start(), self.payload(ip));
        let is_plain = start == shift.next() && shift.carries(start) == start && !self.has(tcp::FIN);
        let skims = is_plain && reader.skims(shift, payload);
        if skims {
            shift.pass(payload.len());
        }
        skims
    }

    /// Reads what is new in it.
    pub(super) fn read(
        &self,
        ip: &[u8],
        shift: &mut Shift,
        reader: &mut Reader,
        listener: &mut impl Listener,
    ) -> Result<Span, DropReason> {
        let (start, payload) = (self.start(), self.payload(ip));
        // What lies between has not been read: it may be the first half of a line.
        if is_before(shift.next(), start) {
            return Err(DropReason::AlgGap);
        }
        let known = shift.next().wrapping_sub(start) as usize;
        let read = payload.get(known..).map_or(0, |new| reader.read(shift, new, listener));
        let length = if known < payload.len() { known + read } else { payload.len() };
        if self.has(tcp::FIN) && length == payload.len() {
            shift.let_go();
        }
        let from = shift.carries(start);
        if length == 0 && !payload.is_empty() { Err(DropReason::AlgRoom) } else { Ok(Span { from, length }) }
    }

    /// Whether it goes on as it is, but for where it is.
    fn goes_on(&self, ip: &[u8], span: Span, shift: &Shift) -> bool {
        let Span { from, length } = span;
        length == self.payload(ip).len() && from == self.start() && shift.leaves(from, length)
    }

    /// Writes what its receiver gets instead, into the frame and what is known of it; `false` if nothing of it goes on yet.
    fn rewrite<F: Frame>(
        &self,
        frame: &mut F,
        packet: &mut Packet,
        shift: &Shift,
        span: Span,
    ) -> Result<bool, DropReason> {
        let l3 = usize::from(packet.l3);
        frame.truncate(l3 + usize::from(packet.total));
        let whole = frame.data().len() - l3 - self.data;
        let mut out = [0; ROOM];
        let payload = &frame.data()[l3 + self.data..][..span.length];
        let written = shift.write(span.from, self.start(), payload, &mut out).ok_or(DropReason::AlgRoom)?;
        let (sequence, length) = written;
        let is_over = self.has(tcp::FIN) && span.length == whole;
        let said_again = is_before(span.from, shift.base());
        if length == 0 && !is_over && !self.has(tcp::SYN) && !said_again {
            return Ok(false);
        }
        self.put(frame, packet, shift, (sequence, &out[..length], is_over))?;
        Ok(true)
    }

    /// Has what of it is dealt with go on, as it is or written anew; `false` if nothing of it goes on yet.
    pub(super) fn pass_on<F: Frame>(
        &self,
        frame: &mut F,
        packet: &mut Packet,
        (shift, span): (&Shift, Span),
        counters: &mut Counters,
    ) -> Result<bool, DropReason> {
        let ip = ip_of(frame, packet);
        if self.goes_on(ip, span, shift) {
            self.move_on(ip, shift);
            return Ok(true);
        }
        let goes_on = self.rewrite(frame, packet, shift, span)?;
        counters.alg_rewritten += u64::from(goes_on);
        Ok(goes_on)
    }

    /// Puts what is written in the place of its payload; whether that is all up to the end of its direction is said, too.
    pub(super) fn put<F: Frame, const E: usize, const T: usize>(
        &self,
        frame: &mut F,
        packet: &mut Packet,
        shift: &Shift<E, T>,
        (sequence, out, is_over): (u32, &[u8], bool),
    ) -> Result<(), DropReason> {
        let (l3, length) = (usize::from(packet.l3), out.len());
        frame.truncate(l3 + usize::from(packet.total));
        let total = u16::try_from(self.data + length).map_err(|_| DropReason::AlgRoom)?;
        if !resize(frame, l3 + usize::from(total)) {
            return Err(DropReason::AlgRoom);
        }
        let ip = &mut frame.data_mut()[l3..];
        replace_covered(&mut ip[..usize::from(packet.l4)], ipv4::TOTAL_LENGTH, total, ipv4::CHECKSUM);
        let segment = &mut ip[self.l4..];
        segment[self.data - self.l4..].copy_from_slice(out);
        if !is_over {
            segment[tcp::FLAGS] &= !tcp::FIN;
        }
        let first = if self.has(tcp::SYN) { sequence.wrapping_sub(1) } else { sequence };
        self.renumber(segment, first, shift);
        write16(segment, tcp::CHECKSUM, 0);
        let sum = summed(packet, segment.len()).bytes(segment).checksum();
        write16(segment, tcp::CHECKSUM, sum);
        packet.total = total;
        Ok(())
    }
}

/// The sum of the pseudo header of a segment of this length.
fn summed(packet: &Packet, length: usize) -> Sum {
    pseudo(packet.source(), packet.destination(), ipv4::TCP, length)
}

/// Gives a frame this length, whatever the new end holds; `false` without room.
pub(super) fn resize<F: Frame>(frame: &mut F, length: usize) -> bool {
    let now = frame.data().len();
    frame.truncate(length);
    length <= now || frame.extend(length - now)
}

/// Moves the edges of blocks that were received beyond a gap (RFC 2018 §3). An edit of which only a part was received counts
/// as not received; a block without anything else is none, and then nothing is said of any, which is allowed (§4).
fn move_selective<const E: usize, const T: usize>(
    segment: &mut [u8],
    at: usize,
    count: usize,
    shift: &Shift<E, T>,
) {
    let edges = |segment: &[u8], block: usize| {
        let at = at + 8 * block;
        (at, shift.heard_from(read32(segment, at)), shift.heard(read32(segment, at + 4)))
    };
    let is_empty = |block| {
        let (_, left, right) = edges(segment, block);
        !is_before(left, right)
    };
    if (0..count).any(is_empty) {
        for word in 0..=4 * count {
            replace_covered(segment, at - 2 + 2 * word, NO_OPERATIONS, tcp::CHECKSUM);
        }
        return;
    }
    for block in 0..count {
        let (at, left, right) = edges(segment, block);
        replace_covered_word(segment, at, left, tcp::CHECKSUM);
        replace_covered_word(segment, at + 4, right, tcp::CHECKSUM);
    }
}

/// The packet in its frame.
pub(super) fn ip_of<'f, F: Frame>(frame: &'f mut F, packet: &Packet) -> &'f mut [u8] {
    let (l3, total) = (usize::from(packet.l3), usize::from(packet.total));
    frame.data_mut().get_mut(l3..l3 + total).unwrap_or_default()
}
