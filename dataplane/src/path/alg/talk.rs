//! Streams of messages (SIP over TCP, RTSP): both ways alike, what one side says is read, and its segments are written anew where
//! messages have to differ, or have moved.

use super::acknowledge::{say, say_through};
use super::growth::{leave_room, make_way};
use super::stream::{Segment, WRITTEN, ip_of};
use super::{crossing, rtsp, sip};
use crate::alg::edits::Edits;
use crate::alg::shift::is_before;
use crate::alg::talk::{Language, MESSAGE, MOST, Step};
use crate::frame::Frame;
use crate::packet::Packet;
use crate::path::ground::Ground;
use crate::path::segment::SEGMENT_HEADERS;
use crate::reason::DropReason;
use crate::table::channels::Talk;
use crate::table::conversations::Through;
use crate::table::session::{Heading, Session};
use crate::verdict::{Settled, Verdict};
use crate::way::Way;
use crate::wire::framing::{Extent, Framed, framed};
use crate::wire::{Pair, Wire, ipv4, tcp};

/// Whose a stream is.
#[derive(Clone, Copy)]
pub(super) enum TalkOf<'e> {
    /// A session's, in this slot.
    Session(u32),
    /// One that goes through a binding: its conversation, and the addresses of what is read.
    Crossing(u32, Pair, Through<'e>),
}

impl TalkOf<'_> {
    /// What is said in it.
    fn talk<'g>(self, ground: &'g mut Ground<'_>) -> Option<&'g mut Talk> {
        match self {
            Self::Session(slot) => ground.sessions.talk(slot),
            Self::Crossing(line, ..) => ground.bindings.conversations().talk(line),
        }
    }

    /// Whether its connection has ended, or not begun. One through a binding that has ended is forgotten with the next SYN.
    fn is_over(self, ground: &Ground<'_>) -> bool {
        match self {
            Self::Session(slot) => ground.sessions.get(slot).is_some_and(Session::gives_way),
            Self::Crossing(..) => false,
        }
    }

    /// The way of what is read, which has this heading, or back.
    fn way(self, ground: &Ground<'_>, heading: Heading, is_back: bool) -> Way {
        let turned = |heading: Heading| if is_back { heading.reversed() } else { heading };
        match self {
            Self::Session(slot) => {
                let hop = ground.sessions.get(slot).map(|session| session.hop(turned(heading)));
                Way::Realm(hop.unwrap_or(0))
            }
            Self::Crossing(_, _, (_, entry, heading)) => entry.way(turned(heading)),
        }
    }
}

/// What is to be written anew of a message; `None`: it could not be read.
fn translate(
    ground: &mut Ground<'_>,
    bytes: &[u8],
    extent: Extent,
    (stream, heading): (TalkOf<'_>, Heading),
    (language, is_dry): (Language, bool),
) -> Option<Edits> {
    let has_body = bytes.len() > extent.head;
    match (stream, language) {
        (TalkOf::Session(slot), Language::Sip) => {
            sip::translate(ground, bytes, has_body, (slot, heading), is_dry)
        }
        (TalkOf::Session(slot), Language::Rtsp) => {
            rtsp::translate(ground, bytes, extent, (slot, heading), is_dry)
        }
        (TalkOf::Crossing(_, here, through), Language::Sip) => {
            crossing::translate_sip(ground, bytes, has_body, (here, through), is_dry)
        }
        (TalkOf::Crossing(line, here, through), Language::Rtsp) => {
            let is_client = ground.bindings.conversations().get_mut(line).is_client(heading);
            crossing::translate_rtsp(ground, bytes, extent, (here, through), (is_client, is_dry))
        }
    }
}

/// The gateway says so much to who has sent a segment, in the name of the other end.
fn reply<F: Frame>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &Packet,
    stream: TalkOf<'_>,
    about: (&tcp::Header, u32, u16),
    bytes: &[u8],
) -> Verdict {
    match stream {
        TalkOf::Crossing(_, _, (_, entry, Heading::In)) => {
            say_through((ground.ways, entry.way_out()), frame, packet, about, bytes)
        }
        _ => say(&mut ground.desk, frame, packet, about, bytes, ground.arrival),
    }
}

fn count_garbled(ground: &mut Ground<'_>, language: Language) {
    match language {
        Language::Sip => ground.desk.counters.sip_garbled += 1,
        Language::Rtsp => ground.desk.counters.rtsp_garbled += 1,
    }
}

fn count_rewritten(ground: &mut Ground<'_>, language: Language) {
    match language {
        Language::Sip => ground.desk.counters.sip_rewritten += 1,
        Language::Rtsp => ground.desk.counters.rtsp_rewritten += 1,
    }
}

/// Shows what would be written anew, as far as whole messages stand in a segment.
#[cold]
pub(super) fn watch(
    ground: &mut Ground<'_>,
    ip: &[u8],
    packet: &Packet,
    place: (TalkOf<'_>, Heading),
    language: Language,
) {
    let Ok(segment) = Segment::of(ip, packet) else { return };
    let mut rest = segment.payload(ip);
    while let Framed::Message(extent) = framed(rest, language.version()) {
        let Some(message) = rest.get(..extent.head + extent.body) else { return };
        translate(ground, message, extent, place, (language, true));
        rest = &rest[message.len()..];
    }
}

/// Reads and rewrites a segment.
pub(super) fn treat<F: Frame>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &mut Packet,
    (stream, heading): (TalkOf<'_>, Heading),
    language: Language,
) -> Settled<()> {
    let ip = ip_of(frame, packet);
    let segment = Segment::of(ip, packet)?;
    let Some(talk) = stream.talk(ground) else { return Ok(()) };
    let (start, end) = segment.ends(ip);
    let back = talk.tongue(heading.reversed());
    back.window = segment.header.window;
    let owed = back.owed();
    if let Some(shift) = &mut back.shift {
        let is_news = segment.move_back(ip, shift, |heard| owed.heard(heard));
        back.release();
        if is_news && !segment.speaks(ip) && packet.tcp_flags & (tcp::SYN | tcp::RST) == 0 {
            say_more(ground, frame, packet, &segment, (stream, heading))?;
        }
    }
    let is_over = stream.is_over(ground);
    let Some(talk) = stream.talk(ground) else { return Ok(()) };
    let (tongue, ip) = (talk.tongue(heading), ip_of(frame, packet));
    if packet.tcp_flags & tcp::SYN != 0 {
        tongue.begin(segment.header.sequence, is_over);
        talk.tongue(heading.reversed()).most = segment.largest(ip);
        match stream {
            TalkOf::Session(slot) => make_way(ground, frame, packet, (slot, heading.reversed())),
            TalkOf::Crossing(_, _, (_, entry, _)) => leave_room(ip, packet, ground.ways.mtu(entry.way_out())),
        }
        return Ok(());
    }
    if tongue.shift.is_none() {
        // Of the process before: nothing of it has moved.
        tongue.begin(start.wrapping_sub(1), false);
    }
    let glides =
        !segment.speaks(ip) || !segment.is_last() && tongue.glides(start, end.wrapping_sub(start) as usize);
    if let (true, Some(shift)) = (glides, &tongue.shift) {
        segment.move_on(ip, shift);
        return Ok(());
    }
    if !segment.is_sound(ip, packet) {
        return Err(DropReason::AlgChecksum.into());
    }
    let before = tongue.awaited();
    let is_room = read(ground, segment.payload(ip), start, (stream, heading), language)?;
    let Some(talk) = stream.talk(ground) else { return Ok(()) };
    let tongue = talk.tongue(heading);
    if segment.is_last() && tongue.keeps() {
        tongue.turn_blind();
        count_garbled(ground, language);
    }
    if let TalkOf::Session(slot) = stream {
        ground.sessions.talked(slot);
    }
    let Some(talk) = stream.talk(ground) else { return Ok(()) };
    let tongue = talk.tongue(heading);
    let Some(shift) = tongue.shift else { return Ok(()) };
    // What is kept may begin before this segment.
    let is_kept = is_before(shift.next(), start);
    let passed =
        if is_kept { 0 } else { shift.next().wrapping_sub(start).min(end.wrapping_sub(start)) as usize };
    if passed > 0 || start == end {
        return write(ground, frame, packet, &segment, (stream, heading), passed);
    }
    let is_again = before == tongue.awaited();
    if !tongue.owes(language, end, segment.is_pushed(), is_again) {
        return Err(if is_room { DropReason::AlgPart } else { DropReason::AlgRoom }.into());
    }
    let about = (&segment.header, tongue.arrived(), tongue.window);
    Err(reply(ground, frame, packet, stream, about, &[]))
}

/// Who has acknowledged a part of what its sender has heard of long ago gets more of it at once: that sender would say the rest
/// again only when its timer has run out, each time after twice as long (RFC 6298 §5.5). `Ok`: there is none.
fn say_more<F: Frame>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &Packet,
    segment: &Segment,
    (stream, heading): (TalkOf<'_>, Heading),
) -> Settled<()> {
    let mtu = usize::from(ground.ways.mtu(stream.way(ground, heading, true)));
    let Some(talk) = stream.talk(ground) else { return Ok(()) };
    let (next, window) = (talk.tongue(heading).arrived(), talk.tongue(heading).window);
    let tongue = talk.tongue(heading.reversed());
    let (Some(shift), Some((from, bytes))) = (&tongue.shift, tongue.rest()) else { return Ok(()) };
    let headers = ipv4::LENGTH + segment.header.length();
    let largest = usize::from(tongue.most.saturating_add(SEGMENT_HEADERS));
    let most = mtu.min(largest).saturating_sub(headers).min(segment.header.window.into());
    let mut out = [0; WRITTEN];
    let Some((sequence, count)) = shift.write(from, from, bytes, &mut out) else { return Ok(()) };
    if most == 0 || count == 0 {
        return Ok(());
    }
    let header = tcp::Header { acknowledgement: sequence, ..segment.header };
    let out = &out[..count.min(most)];
    Err(reply(ground, frame, packet, stream, (&header, next, window), out))
}

/// Reads what is new in a segment; whether there was room for all that is to be noted of it.
fn read(
    ground: &mut Ground<'_>,
    payload: &[u8],
    start: u32,
    (stream, heading): (TalkOf<'_>, Heading),
    language: Language,
) -> Result<bool, DropReason> {
    let mut at = None;
    loop {
        let Some(talk) = stream.talk(ground) else { return Ok(true) };
        let tongue = talk.tongue(heading);
        let first = tongue.awaited().wrapping_sub(start);
        // What lies between has not been read: it may be the first half of a message.
        if (first as i32) < 0 {
            return Err(DropReason::AlgGap);
        }
        let from = *at.get_or_insert(first as usize);
        let Some(new) = payload.get(from..).filter(|new| !new.is_empty()) else { return Ok(true) };
        match tongue.step(language, new) {
            Step::Passed(count) => at = Some(from + count),
            Step::Part => return Ok(true),
            Step::Full => return Ok(false),
            Step::Message(extent, rest) => {
                // Before anybody hears of it: it will be read again.
                if !tongue.shift.as_mut().is_some_and(|shift| shift.has_room(MOST)) {
                    return Ok(false);
                }
                let mut room = [0; MESSAGE];
                let (message, count) = tongue.whole(extent, new, &mut room);
                let edits = translate(ground, message, extent, (stream, heading), (language, false));
                let edits = edits.unwrap_or_default();
                let Some(talk) = stream.talk(ground) else { return Ok(true) };
                let is_noted = talk.tongue(heading).note(message.len(), &edits, rest);
                if !is_noted {
                    count_garbled(ground, language);
                } else if !edits.is_empty() {
                    count_rewritten(ground, language);
                }
                at = Some(from + count);
            }
            Step::Other => {
                talk.tongue(Heading::Out).turn_blind();
                talk.tongue(Heading::In).turn_blind();
                count_garbled(ground, language);
            }
        }
    }
}

/// Writes so much of a segment as its receiver gets it: as far as fits its way. The rest comes again.
fn write<F: Frame>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &mut Packet,
    segment: &Segment,
    (stream, heading): (TalkOf<'_>, Heading),
    passed: usize,
) -> Settled<()> {
    let mtu = usize::from(ground.ways.mtu(stream.way(ground, heading, false)));
    let ip = ip_of(frame, packet);
    let payload = segment.payload(ip);
    let (start, _) = segment.ends(ip);
    let length = payload.len();
    let headers = usize::from(packet.total) - length;
    let Some(talk) = stream.talk(ground) else { return Ok(()) };
    let tongue = talk.tongue(heading);
    // RFC 6691 §2: what is said to be the largest counts options of TCP as well.
    let largest =
        usize::from(tongue.most.saturating_add(SEGMENT_HEADERS)).saturating_sub(headers).max(length);
    let most = mtu.saturating_sub(headers).min(largest);
    let Some(shift) = tongue.shift else { return Ok(()) };
    let mut out = [0; WRITTEN];
    let written = match tongue.carries(start) {
        None if passed == length && shift.leaves(start, length) => {
            segment.move_on(ip, &shift);
            return Ok(());
        }
        None => shift.write(start, start, &payload[..passed], &mut out),
        Some((from, owed, known)) => {
            let mut all = [0; WRITTEN];
            let more = payload.get(known..passed).unwrap_or_default();
            let whole = owed.len() + more.len();
            let Some(room) = all.get_mut(..whole) else { return Err(DropReason::AlgRoom.into()) };
            room[..owed.len()].copy_from_slice(owed);
            room[owed.len()..].copy_from_slice(more);
            shift.write(from, from, &all[..whole], &mut out)
        }
    };
    let (sequence, count) = written.ok_or(DropReason::AlgRoom)?;
    let fits = count <= most;
    let is_over = segment.is_last() && passed == length && fits;
    segment.put(frame, packet, &shift, (sequence, &out[..count.min(most)], is_over))?;
    Ok(())
}
