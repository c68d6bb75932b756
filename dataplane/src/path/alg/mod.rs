//! Packets of control channels: FTP's here, datagrams of SIP's in [`sip`], and streams of messages, SIP's and RTSP's, in
//! [`talk`]. Only they come here, and only from the long ways: a session that is one takes no straight line.
//!
//! What the inside host says is read in order ([`said`]), and its segments are written anew where what they say has to
//! differ, or where they have moved ([`stream`]). What the other side says stays; what it acknowledges is moved back. What is
//! kept for a line that is not whole is acknowledged to the host by the gateway ([`acknowledge`]), since it may wait with the
//! rest.

mod acknowledge;
pub(super) mod between;
mod crossing;
mod growth;
mod rtsp;
mod said;
mod shown;
mod sip;
mod stream;
mod talk;

use super::ground::Ground;
use crate::alg::ftp::overhear;
use crate::alg::shift::Shift;
use crate::counters::Counters;
use crate::events::Events;
use crate::frame::Frame;
use crate::msg::Event;
use crate::packet::Packet;
use crate::premises::Premises;
use crate::reason::DropReason;
use crate::table::channels::{Channel, Privacy, Spoken};
use crate::table::session::{Heading, Session};
use crate::table::sessions::Sessions;
use crate::verdict::Settled;
use crate::way::write;
use crate::wire::ftp::{self, Place, Said, Speaker};
use crate::wire::{Wire, icmp, ipv4, read32, tcp};
use growth::make_way;
use said::Listening;
use std::net::Ipv4Addr;
use stream::{Segment, Span, ip_of};
use talk::TalkOf;

/// A session was opened: if it is a control channel, it is attended to. Without room it is not, which is counted.
pub(super) fn opened(ground: &mut Ground<'_>, slot: u32) {
    let Ground { desk, sessions, .. } = ground;
    match sessions.attend(slot, &desk.premises.alg) {
        Some(true) => desk.counters.alg_attended += 1,
        Some(false) => desk.counters.alg_unattended += 1,
        None => {}
    }
}

/// Reads and rewrites a packet of a session as far as it is a control channel's, before its addresses are changed.
pub(super) fn treat<F: Frame>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &mut Packet,
    (slot, heading): (u32, Heading),
) -> Settled<()> {
    if ground.sessions.get(slot).is_none_or(|session| !session.is_annexed()) {
        return Ok(());
    }
    let Some(&mut Channel { spoken, is_dry, .. }) = ground.sessions.channel(slot) else { return Ok(()) };
    match spoken {
        Spoken::Datagrams => {
            sip::treat(ground, frame, packet, (slot, heading), is_dry);
            return Ok(());
        }
        Spoken::Talk(language) if is_dry => {
            if !packet.is_fragment() {
                talk::watch(ground, ip_of(frame, packet), packet, (TalkOf::Session(slot), heading), language);
            }
            return Ok(());
        }
        _ => {}
    }
    if is_dry {
        if heading == Heading::Out && !packet.is_fragment() {
            watch(ground, ip_of(frame, packet), packet, slot);
        }
        return Ok(());
    }
    if packet.is_fragment() {
        return Err(DropReason::AlgFragment.into());
    }
    match (spoken, heading) {
        (Spoken::Talk(language), _) => {
            talk::treat(ground, frame, packet, (TalkOf::Session(slot), heading), language)
        }
        (_, Heading::Out) => outward(ground, frame, packet, slot),
        (_, Heading::In) => inward(ground, frame, packet, slot),
    }
}

/// Shows what would be written anew of what the host says, as far as whole lines stand in a segment.
#[cold]
fn watch(ground: &mut Ground<'_>, ip: &[u8], packet: &Packet, slot: u32) {
    let Ok(segment) = Segment::of(ip, packet) else { return };
    let Ground { desk, sessions, events, arrival, .. } = ground;
    let Some(&mut mut channel) = sessions.channel(slot) else { return };
    let (speaker, before) = (channel.reader.speaker, channel.privacy);
    let mut listening =
        Listening::to(sessions, (desk, events), &mut channel.privacy, (slot, true), arrival.now);
    overhear(speaker, segment.payload(ip), &mut listening);
    sessions.heard(slot, &channel);
    note_privacy(ground, slot, before, channel.privacy);
}

/// What comes to the inside host.
fn inward<F: Frame>(ground: &mut Ground<'_>, frame: &mut F, packet: &Packet, slot: u32) -> Settled<()> {
    let ip = ip_of(frame, packet);
    let segment = Segment::of(ip, packet)?;
    let Some(channel) = ground.sessions.channel(slot) else { return Ok(()) };
    channel.window = segment.header.window;
    if let Some(shift) = &mut channel.shift {
        segment.move_back(ip, shift, |heard| heard);
    }
    let before = channel.privacy;
    if before != Privacy::Encrypted {
        let awaited = listen(channel, segment.payload(ip));
        let now = channel.privacy;
        note_privacy(ground, slot, before, now);
        let remote = ground.sessions.get(slot).map(|session| session.remote().0);
        if let Some(place) = awaited.filter(|place| place.address == remote) {
            let Premises { nat, alg, .. } = ground.desk.premises;
            let port = (place.port, ipv4::TCP);
            ground.sessions.meet_at(slot, port, alg.ftp.await_s, nat, ground.arrival.now);
        }
    }
    if packet.tcp_flags & tcp::SYN != 0 {
        make_way(ground, frame, packet, (slot, Heading::Out));
    }
    Ok(())
}

/// Of what the other side says only matters whether it is about TLS, and where a client outside awaits its server inside: both
/// stand in a segment of their own, for one asks or grants, and waits (RFC 4217 §4, RFC 959 §5.4). The latter.
fn listen(channel: &mut Channel, payload: &[u8]) -> Option<Place> {
    let line = payload.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
    let other = match channel.reader.speaker {
        Speaker::Client => Speaker::Server,
        Speaker::Server => Speaker::Client,
    };
    match (other, ftp::said(other, line).ok()?) {
        (Speaker::Server, Said::GrantsTls) if channel.privacy == Privacy::Asked => {
            channel.privacy = Privacy::Encrypted;
        }
        (Speaker::Client, Said::AsksTls) => channel.privacy = Privacy::Asked,
        (Speaker::Client, Said::Awaits(place)) => return Some(place),
        _ => {}
    }
    None
}

/// Tells of a channel that is encrypted from now on: what is announced in it is not seen.
fn note_privacy(ground: &mut Ground<'_>, slot: u32, before: Privacy, now: Privacy) {
    if let Some(session) = ground.sessions.get(slot) {
        note_encrypted(session.between(), (before, now), ground.desk.counters, ground.events);
    }
}

fn note_encrypted(
    between: [u32; 2],
    (before, now): (Privacy, Privacy),
    counters: &mut Counters,
    events: &mut Events,
) {
    if now == Privacy::Encrypted && before != now {
        counters.alg_encrypted += 1;
        let [host, remote] = between.map(Ipv4Addr::from_bits);
        events.offer(Event::ChannelEncrypted(host, remote));
    }
}

/// What the inside host sends.
fn outward<F: Frame>(ground: &mut Ground<'_>, frame: &mut F, packet: &mut Packet, slot: u32) -> Settled<()> {
    let ip = ip_of(frame, packet);
    let segment = Segment::of(ip, packet)?;
    let is_over = ground.sessions.get(slot).is_some_and(Session::gives_way);
    let Some(channel) = ground.sessions.channel(slot) else { return Ok(()) };
    if packet.tcp_flags & tcp::SYN != 0 {
        channel.begin(segment.header.sequence, is_over);
    } else if channel.shift.is_none() && !segment.payload(ip).is_empty() {
        // Of the process before: nothing of it has moved.
        channel.begin(segment.header.sequence.wrapping_sub(1), false);
    }
    let (reader, Some(shift)) = (channel.reader, &mut channel.shift) else { return Ok(()) };
    if segment.glides(ip, packet, shift, reader)? {
        return Ok(());
    }
    let (span, shift, window) = read(ground, ip, &segment, slot)?;
    if segment.pass_on(frame, packet, (&shift, span), ground.desk.counters)? {
        return Ok(());
    }
    let about = (&segment.header, shift.arrived(), window);
    Err(acknowledge::acknowledge(&mut ground.desk, frame, packet, about, ground.arrival))
}

/// Reads what the inside host says: what of the segment goes on, what its bytes have become, and the window of the other
/// side. Hearing of a line asks the sessions, of which the channel is one.
fn read(ground: &mut Ground<'_>, ip: &[u8], segment: &Segment, slot: u32) -> Settled<(Span, Shift, u16)> {
    let Ground { desk, sessions, events, arrival, .. } = ground;
    let Some(&mut mut channel) = sessions.channel(slot) else { return Err(DropReason::NatNoSession.into()) };
    let (mut reader, before) = (channel.reader, channel.privacy);
    let Some(mut shift) = channel.shift else { return Err(DropReason::NatNoSession.into()) };
    let mut listening =
        Listening::to(sessions, (desk, events), &mut channel.privacy, (slot, false), arrival.now);
    let span = segment.read(ip, &mut shift, &mut reader, &mut listening);
    (channel.reader, channel.shift) = (reader, Some(shift));
    sessions.heard(slot, &channel);
    note_privacy(ground, slot, before, channel.privacy);
    Ok((span?, shift, channel.window))
}

/// The packet that an ICMP error quotes has moved on its way: to the host it is what the host sent.
pub(super) fn requote(sessions: &mut Sessions, ip: &mut [u8], packet: &Packet, slot: u32) {
    let Some((at, quoted)) = packet.quoted(ip) else { return };
    let (l4, sequence) = (usize::from(packet.l4), at + quoted.length() + tcp::SEQUENCE);
    if quoted.fragment_offset == 0 && sequence + 4 <= usize::from(packet.total) {
        let new = read32(ip, sequence);
        let lines = sessions.channel(slot).and_then(|channel| channel.shift).map(|shift| shift.heard(new));
        let said = sessions.talk(slot).and_then(|talk| talk.tongue(Heading::Out).shift);
        let Some(old) = lines.or(said.map(|shift| shift.heard(new))) else { return };
        write::replace_covered_word(&mut ip[l4..], sequence - l4, old, icmp::CHECKSUM);
    }
}
