//! SIP (RFC 3261): what its messages name of the inside host is written anew, both ways, and the media that they announce is
//! awaited. Datagrams here; how messages stand in a stream is [`super::talk`]'s matter, and what they become between realms
//! [`super::crossing`]'s.

use super::shown::show;
use super::stream::ip_of;
use crate::Nanos;
use crate::alg::edits::{Edits, GROWTH};
use crate::alg::media::MediaStream;
use crate::alg::sip::Translator;
use crate::counters::Counters;
use crate::events::Events;
use crate::frame::Frame;
use crate::meter::seconds;
use crate::packet::{DONT_FRAGMENT, Packet};
use crate::path::ground::Ground;
use crate::premises::{Meters, Premises};
use crate::table::session::{Heading, Session};
use crate::table::sessions::{Sessions, UNPRIVILEGED};
use crate::way::{Way, write};
use crate::wire::checksum::pseudo;
use crate::wire::sdp::{self, Description};
use crate::wire::sip::{self, Form, Message, Method, PORT, Use};
use crate::wire::{Wire, ipv4, read16, udp, write16};

/// Bytes of the longest message there is, grown.
const ROOM: usize = 2048 + GROWTH;
/// For how long a host is where it has registered, if nobody says so (RFC 3261 §10.2.1.1).
const REGISTERED_S: u32 = 3600;

/// Reads and rewrites a datagram of a control channel.
#[inline(never)]
pub(super) fn treat<F: Frame>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &mut Packet,
    place: (u32, Heading),
    is_dry: bool,
) {
    let Some(session) = ground.sessions.get(place.0) else { return };
    let mtu = ground.ways.mtu(Way::Realm(session.hop(place.1)));
    rewrite(ground, frame, packet, (mtu, is_dry), |ground, bytes| {
        translate(ground, bytes, true, place, is_dry)
    });
}

/// Reads and rewrites a datagram whose way carries so much. What cannot be read goes on as it is.
pub(super) fn rewrite<F: Frame>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &mut Packet,
    (mtu, is_dry): (u16, bool),
    translate: impl FnOnce(&mut Ground<'_>, &[u8]) -> Option<Edits>,
) {
    if packet.is_fragment() {
        ground.desk.counters.sip_fragmented += 1;
        return;
    }
    let ip = ip_of(frame, packet);
    let Some(datagram) = ip.get(usize::from(packet.l4)..) else { return };
    let Ok(header) = udp::Header::parse(datagram) else { return };
    let Some(message_bytes) = datagram.get(udp::LENGTH..usize::from(header.datagram_length)) else { return };
    if header.checksum != 0 && !is_sound(packet, &datagram[..usize::from(header.datagram_length)]) {
        // Its receiver will not believe it either.
        ground.desk.counters.sip_garbled += 1;
        return;
    }
    let Some(edits) = translate(ground, message_bytes) else { return };
    if edits.is_empty() || is_dry {
        return;
    }
    let mut out = [0; ROOM];
    let Some(length) = edits.write(message_bytes, &mut out) else {
        ground.desk.counters.sip_garbled += 1;
        return;
    };
    if put(frame, packet, mtu, &out[..length], ground.desk.counters) {
        ground.desk.counters.sip_rewritten += 1;
    } else {
        ground.desk.counters.sip_full += 1;
    }
}

/// What is to be written anew of a message, with its body or without; `None`: nothing, for it cannot be read.
pub(super) fn translate(
    ground: &mut Ground<'_>,
    bytes: &[u8],
    has_body: bool,
    (slot, heading): (u32, Heading),
    is_dry: bool,
) -> Option<Edits> {
    let session = ground.sessions.get(slot).copied()?;
    let (host, external) = (session.host().0, session.arriving().addresses.destination());
    let (own, other) = if heading == Heading::Out { (host, external) } else { (external, host) };
    let (message, described) = read(ground.desk.counters, bytes, has_body, &[own])?;
    let mut edits = Edits::default();
    let Ground { desk, sessions, events, arrival, .. } = ground;
    let mut call = Call {
        sessions,
        premises: desk.premises,
        counters: desk.counters,
        meters: desk.meters,
        events,
        session,
        slot,
        heading,
        is_dry,
        line: None,
        told: None,
        now: arrival.now,
        addresses: (own, other),
    };
    call.find(bytes, &message, described.is_some());
    edits.name(bytes, &message, &mut call);
    match (&described, heading) {
        (Some(described), Heading::Out) => edits.describe(bytes, described, &mut call),
        (Some(described), Heading::In) => call.learn(described),
        (None, _) => {}
    }
    call.follow(&message);
    edits.finish(bytes, message.body, message.length)?;
    Some(edits)
}

/// A message that names any of these addresses, and what it describes.
pub(super) fn read(
    counters: &mut Counters,
    bytes: &[u8],
    has_body: bool,
    addresses: &[u32],
) -> Option<(Message, Option<Description>)> {
    let read = if has_body { sip::read(bytes, addresses) } else { sip::read_head(bytes, addresses) };
    let Ok(message) = read else {
        counters.sip_garbled += 1;
        return None;
    };
    let message = message?;
    counters.sip_messages += 1;
    if !message.is_described || !has_body {
        return Some((message, None));
    }
    let described = sdp::read(bytes, message.body);
    counters.sip_garbled += u64::from(described.is_err());
    Some((message, described.ok()))
}

fn is_sound(packet: &Packet, datagram: &[u8]) -> bool {
    let sum = pseudo(packet.source(), packet.destination(), ipv4::UDP, datagram.len());
    sum.bytes(datagram).fold() == 0xffff
}

/// Puts a message in the place of the one that a datagram carries; `false`, with nothing changed, without room. One that is too
/// long now for its way is cut there, whatever its sender wished: who sent less cannot be told to send less.
fn put<F: Frame>(
    frame: &mut F,
    packet: &mut Packet,
    mtu: u16,
    message: &[u8],
    counters: &mut Counters,
) -> bool {
    let (l3, l4) = (usize::from(packet.l3), usize::from(packet.l4));
    let Ok(total) = u16::try_from(l4 + udp::LENGTH + message.len()) else { return false };
    let before = l3 + usize::from(packet.total);
    frame.truncate(before);
    let length = l3 + usize::from(total);
    if length > before && !frame.extend(length - before) {
        return false;
    }
    frame.truncate(length);
    let ip = &mut frame.data_mut()[l3..];
    let (header, datagram) = ip.split_at_mut(l4);
    write::replace_covered(header, ipv4::TOTAL_LENGTH, total, ipv4::CHECKSUM);
    if total > packet.total && total > mtu && packet.flags & DONT_FRAGMENT != 0 {
        let flags = read16(header, ipv4::FRAGMENT) & !ipv4::DONT_FRAGMENT;
        write::replace_covered(header, ipv4::FRAGMENT, flags, ipv4::CHECKSUM);
        packet.flags &= !DONT_FRAGMENT;
        counters.sip_grown += 1;
    }
    datagram[udp::LENGTH..].copy_from_slice(message);
    write16(datagram, udp::DATAGRAM_LENGTH, total - l4 as u16);
    if read16(datagram, udp::CHECKSUM) != 0 {
        write16(datagram, udp::CHECKSUM, 0);
        let sum = pseudo(packet.source(), packet.destination(), ipv4::UDP, datagram.len());
        let sum = sum.bytes(datagram).checksum_udp();
        write16(datagram, udp::CHECKSUM, sum);
    }
    packet.total = total;
    true
}

/// A message of a call, or of none.
struct Call<'s> {
    sessions: &'s mut Sessions,
    premises: &'s Premises,
    counters: &'s mut Counters,
    meters: &'s mut Meters,
    events: &'s mut Events,
    session: Session,
    slot: u32,
    heading: Heading,
    is_dry: bool,
    /// The place of the call.
    line: Option<u32>,
    /// What was told last of what is written anew.
    told: Option<[(u32, u16); 2]>,
    now: Nanos,
    addresses: (u32, u32),
}

impl Call<'_> {
    /// Finds the call of a message that says something of media, or of its end.
    fn find(&mut self, bytes: &[u8], message: &Message, is_described: bool) {
        let ends = message.status >= 200 && matches!(message.method, Method::Invite | Method::Bye);
        if self.is_dry || !(is_described || ends) {
            return;
        }
        let begins = is_described && message.method == Method::Invite;
        let before = self.sessions.calls().0;
        let name = message.call.of(bytes);
        self.line =
            self.sessions.call(self.slot, name, begins, self.premises.alg.sip.media_rules(), self.now);
        self.counters.sip_calls += self.sessions.calls().0 - before;
        self.counters.sip_full += u64::from(begins && self.line.is_none());
    }

    /// What the other side awaits.
    fn learn(&mut self, described: &Description) {
        let (Some(line), Premises { nat, alg, .. }) = (self.line, self.premises) else { return };
        for (nth, media) in described.media().iter().enumerate() {
            let Some(address) = described.address(media) else { continue };
            let rtcp = media.rtcp.map(|rtcp| rtcp.port).or(media.port.port.checked_add(1));
            let rtcp = rtcp.filter(|_| media.is_rtp && media.port.port != 0);
            let stream = MediaStream { port: media.port.port, rtcp, is_muxed: media.is_muxed };
            self.sessions.hear_stream(line, nth, (address, stream), (alg.sip.media_rules(), nat), self.now);
        }
    }

    /// What a response means for what is awaited (RFC 3261 §10.3, §13.2.2, §15.1).
    fn follow(&mut self, message: &Message) {
        let now_s = seconds(self.now);
        match (message.method, message.status, self.line) {
            (Method::Invite, 200..=299, Some(line)) => {
                self.sessions.call_answered(line, true);
            }
            // Who has to say first who he is tries again; what fails of a call that stands leaves it as it was.
            (Method::Invite, 300.., Some(line)) if !self.sessions.call_answered(line, false) => {
                self.sessions.end_call(line, now_s);
                self.counters.sip_ended += 1;
            }
            (Method::Bye, 200..=400 | 402..=406 | 408.., Some(line)) => {
                self.sessions.end_call(line, now_s);
                self.counters.sip_ended += 1;
            }
            (Method::Register, 200..=299, _) if self.heading == Heading::In && !self.is_dry => {
                let Premises { nat, alg, .. } = self.premises;
                let expires_s = message.expires.unwrap_or(REGISTERED_S).min(alg.sip.registered_s.into());
                for naming in message.places().iter().filter(|naming| naming.used == Use::Contact) {
                    if let Form::Both(port) = naming.form {
                        let port = port.unwrap_or(PORT);
                        self.sessions.await_requests(self.slot, port, expires_s, nat, self.now);
                        self.counters.sip_registered += u64::from(expires_s > 0);
                    }
                }
            }
            _ => {}
        }
    }

    /// Says what is written instead of a place, once where that is the same again and again.
    fn tell(&mut self, from: (u32, u16), to: (u32, u16)) {
        if self.heading == Heading::In || from == to || self.told.replace([from, to]) == Some([from, to]) {
            return;
        }
        self.counters.sip_would_rewrite += u64::from(self.is_dry);
        show(self.session.between(), ("sip", self.is_dry), [from, to], (self.meters, self.events), self.now);
    }

    /// Where a port of the host is outside.
    fn outside(&mut self, port: Option<u16>, used: Use) -> Option<(u32, u16)> {
        let own = self.session.host().1;
        let here = (self.addresses.1, self.session.arriving().ports as u16);
        let Premises { nat, alg, .. } = self.premises;
        let sought = port.unwrap_or(PORT);
        if sought == own || used == Use::Other && port.is_none() {
            return Some(here);
        }
        if self.is_dry {
            return Some(Sessions::expected_at(&self.session, (sought, self.session.protocol()), nat));
        }
        if used == Use::Other {
            let known = self.sessions.outside(&self.session, sought, nat);
            return Some(known.unwrap_or(here));
        }
        if sought < UNPRIVILEGED {
            self.counters.sip_refused += 1;
            return None;
        }
        let sought = (sought, self.session.protocol());
        let told = self.sessions.await_at(self.slot, sought, alg.sip.await_s, nat, self.now);
        let Ok(told) = told else {
            self.counters.sip_full += 1;
            return None;
        };
        self.counters.sip_announced += 1;
        Some(told)
    }

    /// Which port of the host an external one is.
    fn inside(&self, port: Option<u16>) -> Option<(u32, u16)> {
        let (host, own) = self.session.host();
        let port = port.unwrap_or(PORT);
        if port == self.session.arriving().ports as u16 {
            return Some((host, own));
        }
        let protocol = self.session.protocol();
        let behind = self.sessions.behind(self.addresses.0, port, protocol, &self.premises.nat);
        behind.filter(|behind| behind.0 == host)
    }
}

impl Translator for Call<'_> {
    const PORTS_STAY: bool = false;

    fn own(&self) -> u32 {
        self.addresses.0
    }

    fn other(&self, _: u32) -> u32 {
        self.addresses.1
    }

    fn place(&mut self, _: u32, port: Option<u16>, used: Use) -> Option<(u32, u16)> {
        match self.heading {
            Heading::In => self.inside(port),
            Heading::Out => {
                let told = self.outside(port, used)?;
                if used != Use::Other {
                    self.tell((self.addresses.0, port.unwrap_or(PORT)), told);
                }
                Some(told)
            }
        }
    }

    /// The other side of the call may reach the host's own ports, as it is told here, and nobody anybody else's.
    fn stream(&mut self, nth: usize, stream: MediaStream) -> Option<MediaStream> {
        let Premises { nat, alg, .. } = self.premises;
        if stream.port < UNPRIVILEGED || stream.rtcp.is_some_and(|port| port < UNPRIVILEGED) {
            self.counters.sip_refused += 1;
            return None;
        }
        let told = if self.is_dry {
            let at = |port| Sessions::expected_at(&self.session, (port, ipv4::UDP), nat).1;
            Ok(MediaStream { port: at(stream.port), rtcp: stream.rtcp.map(at), ..stream })
        } else {
            let line = self.line?;
            self.sessions.await_stream(line, (nth, stream), (alg.sip.media_rules(), nat), self.now)
        };
        let Ok(told) = told else {
            self.counters.sip_full += 1;
            return None;
        };
        self.counters.sip_announced += u64::from(!self.is_dry);
        self.tell((self.addresses.0, stream.port), (self.addresses.1, told.port));
        Some(told)
    }
}
