//! RTSP (RFC 2326, RFC 7826): where its messages name the inside host is written anew, both ways, and the media that they
//! announce is awaited.

use super::shown::show;
use crate::Nanos;
use crate::alg::edits::Edits;
use crate::alg::media::MediaStream;
use crate::alg::rtsp::{Interpreter, describe, interpret};
use crate::counters::Counters;
use crate::events::Events;
use crate::meter::seconds;
use crate::path::ground::Ground;
use crate::premises::{Meters, Premises};
use crate::table::channels::Ending;
use crate::table::session::{Heading, Session};
use crate::table::sessions::{Sessions, UNPRIVILEGED};
use crate::wire::framing::Extent;
use crate::wire::ipv4;
use crate::wire::rtsp::{self, Message, PORT, RtspMethod};
use crate::wire::sdp::{self, Description};

/// What is to be written anew of a message; `None`: nothing, for it cannot be read.
pub(super) fn translate(
    ground: &mut Ground<'_>,
    bytes: &[u8],
    extent: Extent,
    (slot, heading): (u32, Heading),
    is_dry: bool,
) -> Option<Edits> {
    let session = ground.sessions.get(slot).copied()?;
    let (host, external) = (session.host().0, session.arriving().addresses.destination());
    let addresses = if heading == Heading::Out { (host, external) } else { (external, host) };
    let Ground { desk, sessions, events, arrival, .. } = ground;
    let (message, described) = read(desk.counters, bytes, extent, &[addresses.0])?;
    let mut hearing = Hearing {
        sessions,
        premises: desk.premises,
        counters: desk.counters,
        meters: desk.meters,
        events,
        session,
        slot,
        heading,
        is_dry,
        stands_for: 0,
        now: arrival.now,
        addresses,
    };
    let mut edits = Edits::default();
    if let Some(described) = &described {
        describe(&mut edits, bytes, described, &hearing);
    }
    hearing.remember(bytes, &message);
    interpret(&mut edits, bytes, &message, &mut hearing);
    hearing.follow(bytes, &message);
    edits.finish(bytes, message.body, message.length)?;
    Some(edits)
}

/// A message that names any of these addresses, and what it describes.
pub(super) fn read(
    counters: &mut Counters,
    bytes: &[u8],
    extent: Extent,
    addresses: &[u32],
) -> Option<(Message, Option<Description>)> {
    let Ok(mut message) = rtsp::read(bytes, extent.head, addresses) else {
        counters.rtsp_garbled += 1;
        return None;
    };
    counters.rtsp_messages += 1;
    if !extent.is_described || bytes.len() <= extent.head {
        return Some((message, None));
    }
    let described = sdp::read(bytes, message.body);
    let controls = rtsp::read_controls(&mut message, bytes, addresses);
    let described = described.ok().filter(|_| controls.is_ok());
    counters.rtsp_garbled += u64::from(described.is_none());
    Some((message, described))
}

/// A message of a session.
struct Hearing<'s> {
    sessions: &'s mut Sessions,
    premises: &'s Premises,
    counters: &'s mut Counters,
    meters: &'s mut Meters,
    events: &'s mut Events,
    session: Session,
    slot: u32,
    heading: Heading,
    /// Nothing is done about it.
    is_dry: bool,
    /// What stands for the URL of the stream that it is about.
    stands_for: u64,
    now: Nanos,
    /// The address that is sought, and what it is called by the other side.
    addresses: (u32, u32),
}

impl Hearing<'_> {
    /// Which stream is asked for: its answer, which may be what announces it, says no more than which request it answers.
    fn remember(&mut self, bytes: &[u8], message: &Message) {
        let host = self.session.host().0;
        let key = self.sessions.key(host, message.url.of(bytes));
        let Some(talk) = self.sessions.talk(self.slot) else { return };
        if message.method == RtspMethod::Setup {
            talk.asked = (message.sequence, key);
        }
        let (sequence, asked) = talk.asked;
        self.stands_for = if sequence == message.sequence { asked } else { 0 };
    }

    /// What a message means for the streams that stand.
    fn follow(&mut self, bytes: &[u8], message: &Message) {
        let Premises { nat, alg, .. } = self.premises;
        let rules = alg.rtsp.media_rules();
        let Some(line) = self.sessions.streams(self.slot, false, rules, self.now).filter(|_| !self.is_dry)
        else {
            return;
        };
        let key = self.sessions.key(self.session.host().0, message.url.of(bytes));
        if message.method == RtspMethod::Play {
            self.sessions.await_again(line, (rules, nat), self.now);
        }
        let Some(talk) = self.sessions.talk(self.slot) else { return };
        if message.method == RtspMethod::Teardown {
            // RFC 2326 §10.7: one stream of several, or all that there is.
            let nth = talk.urls.iter().position(|url| *url == key);
            talk.ending = Some(Ending { request: (self.heading, message.sequence), nth });
            return;
        }
        let answered = (self.heading.reversed(), message.sequence);
        let Some(ending) = talk.ending.filter(|ending| ending.request == answered && message.status != 0)
        else {
            return;
        };
        talk.ending = None;
        if !(200..300).contains(&message.status) {
            return;
        }
        self.counters.rtsp_ended += 1;
        match ending.nth {
            Some(nth) => {
                talk.urls[nth] = 0;
                self.sessions.end_stream(line, nth, seconds(self.now));
            }
            None => self.sessions.end_call(line, seconds(self.now)),
        }
    }

    /// Says what is written instead of a place.
    fn tell(&mut self, from: (u32, u16), to: (u32, u16)) {
        if self.heading == Heading::Out && from != to {
            self.counters.rtsp_would_rewrite += u64::from(self.is_dry);
            show(
                self.session.between(),
                ("rtsp", self.is_dry),
                [from, to],
                (self.meters, self.events),
                self.now,
            );
        }
    }

    /// The other end awaits media at these ports: it is to come from the address that it knows.
    fn meet(&mut self, far: MediaStream) {
        let Premises { nat, alg, .. } = self.premises;
        for port in [Some(far.port), far.rtcp].into_iter().flatten() {
            self.sessions.meet_at(self.slot, (port, ipv4::UDP), alg.rtsp.await_s, nat, self.now);
        }
    }
}

impl Interpreter for Hearing<'_> {
    fn own(&self) -> u32 {
        self.addresses.0
    }

    fn other(&self) -> u32 {
        self.addresses.1
    }

    fn peer(&self) -> u32 {
        self.session.remote().0
    }

    /// Of the other end a server knows no address of ours (RFC 2326 §12.39).
    fn far(&self, address: u32) -> Option<u32> {
        (self.speaks() && address == self.addresses.1).then(|| self.peer())
    }

    fn is_client(&self) -> bool {
        self.session.opened() == Heading::Out
    }

    fn speaks(&self) -> bool {
        self.heading == Heading::Out
    }

    fn place(&mut self, _: u32, port: Option<u16>) -> Option<(u32, u16)> {
        let (host, own) = self.session.host();
        let outside = self.session.arriving().ports as u16;
        let named = port.unwrap_or(PORT);
        let (here, there) = if self.speaks() { (own, outside) } else { (outside, own) };
        if named == here {
            return Some((self.addresses.1, there));
        }
        let Premises { nat, .. } = self.premises;
        if self.speaks() {
            let known = self.sessions.outside(&self.session, named, nat);
            return Some(known.unwrap_or((self.addresses.1, named)));
        }
        self.sessions.behind(self.addresses.0, named, ipv4::TCP, nat).filter(|behind| behind.0 == host)
    }

    /// The other end of the connection may reach the host's own ports, as it is told here, and nobody anybody else's.
    fn announced(&mut self, stream: MediaStream, far: Option<(u32, MediaStream)>) -> Option<MediaStream> {
        let Premises { nat, alg, .. } = self.premises;
        if stream.port < UNPRIVILEGED || stream.rtcp.is_some_and(|port| port < UNPRIVILEGED) {
            self.counters.rtsp_refused += 1;
            return None;
        }
        let rules = alg.rtsp.media_rules();
        let told = if self.is_dry {
            let at = |port| Sessions::expected_at(&self.session, (port, ipv4::UDP), nat).1;
            Some(MediaStream { port: at(stream.port), rtcp: stream.rtcp.map(at), ..stream })
        } else {
            let line = self.sessions.streams(self.slot, true, rules, self.now);
            let place = line.and_then(|line| Some((line, self.sessions.nth_stream(line, stream.port)?)));
            place.and_then(|(line, nth)| {
                if let Some(far) = far {
                    self.sessions.hear_stream(line, nth, far, (rules, nat), self.now);
                    self.meet(far.1);
                }
                let told = self.sessions.await_stream(line, (nth, stream), (rules, nat), self.now).ok()?;
                let stands_for = self.stands_for;
                if let Some(talk) = self.sessions.talk(self.slot) {
                    talk.urls[nth] = stands_for;
                }
                Some(told)
            })
        };
        // A range is one of ports that lie side by side.
        let is_pair = |told: &MediaStream| {
            stream.rtcp != stream.port.checked_add(1) || told.rtcp == told.port.checked_add(1)
        };
        let Some(told) = told.filter(is_pair) else {
            self.counters.rtsp_full += 1;
            return None;
        };
        self.counters.rtsp_announced += u64::from(!self.is_dry);
        self.tell(
            (self.session.host().0, stream.port),
            (self.session.arriving().addresses.destination(), told.port),
        );
        Some(told)
    }

    fn answered(&mut self, stream: MediaStream, far: Option<(u32, MediaStream)>) -> Option<MediaStream> {
        let Premises { nat, alg, .. } = self.premises;
        let host = self.session.host().0;
        let behind = |port| self.sessions.behind(self.addresses.0, port, ipv4::UDP, nat);
        let mine = |port| behind(port).filter(|behind| behind.0 == host).map(|behind| behind.1);
        let rtcp = match stream.rtcp {
            Some(rtcp) => Some(mine(rtcp)?),
            None => None,
        };
        let near = MediaStream { port: mine(stream.port)?, rtcp, ..stream };
        let rules = alg.rtsp.media_rules();
        let line = self.sessions.streams(self.slot, false, rules, self.now);
        if let (Some(line), Some(far)) = (line, far)
            && let Some(nth) = self.sessions.nth_stream(line, near.port)
        {
            self.sessions.hear_stream(line, nth, far, (rules, nat), self.now);
        }
        Some(near)
    }

    fn refuse(&mut self) {
        self.counters.rtsp_refused += 1;
    }

    fn garbled(&mut self) {
        self.counters.rtsp_garbled += 1;
    }
}
