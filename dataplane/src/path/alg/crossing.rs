//! What becomes of a message between realms, and between two hosts of one: either of its addresses is what its gateway makes of
//! it in its header, so that both hosts read the address under which they know the other. Ports stay, and media goes through
//! the binding of the same pair; one that is restricted lets in what is announced.

use super::shown::show;
use super::{rtsp, sip};
use crate::Nanos;
use crate::alg::edits::Edits;
use crate::alg::media::MediaStream;
use crate::alg::rtsp::{Interpreter, describe, interpret};
use crate::alg::sip::Translator;
use crate::alg::talk::Language;
use crate::counters::Counters;
use crate::events::Events;
use crate::meter::seconds;
use crate::path::ground::Ground;
use crate::premises::Meters;
use crate::table::bindings::Bindings;
use crate::table::conversations::{Announcer, Through};
use crate::table::session::Heading;
use crate::table::sessions::UNPRIVILEGED;
use crate::wire::framing::Extent;
use crate::wire::rtsp::PORT as RTSP_PORT;
use crate::wire::sip::{Message, Method, PORT as SIP_PORT, Use};
use crate::wire::{Pair, ipv4};

/// A message that goes through a binding.
pub(super) struct Crossing<'s> {
    bindings: &'s mut Bindings,
    counters: &'s mut Counters,
    meters: &'s mut Meters,
    events: &'s mut Events,
    /// The host and its proxy.
    between: [u32; 2],
    /// Its addresses here, and there.
    here: Pair,
    there: Pair,
    /// Who speaks, where the other one may come only to what is announced.
    announcer: Option<Announcer>,
    /// What stands for its call, if it is one.
    call: u32,
    language: Language,
    await_s: u16,
    /// Who speaks has opened the connection.
    is_client: bool,
    is_dry: bool,
    /// What was told last of what is written anew.
    told: Option<[(u32, u16); 2]>,
    now: Nanos,
}

/// What is to be written anew of a message of SIP, with its body or without; `None`: nothing, for it cannot be read.
pub(super) fn translate_sip(
    ground: &mut Ground<'_>,
    bytes: &[u8],
    has_body: bool,
    (here, through): (Pair, Through<'_>),
    is_dry: bool,
) -> Option<Edits> {
    let mut crossing = Crossing::of(ground, Language::Sip, (here, through), is_dry);
    let addresses = [here.source(), here.destination()];
    let (message, described) = sip::read(crossing.counters, bytes, has_body, &addresses)?;
    crossing.call = crossing.bindings.conversations().call(message.call.of(bytes));
    let mut edits = Edits::default();
    edits.name(bytes, &message, &mut crossing);
    if let Some(described) = &described {
        edits.describe(bytes, described, &mut crossing);
    }
    crossing.follow(&message);
    edits.finish(bytes, message.body, message.length)?;
    Some(edits)
}

/// The same of a message of RTSP, of who has opened the connection or not.
pub(super) fn translate_rtsp(
    ground: &mut Ground<'_>,
    bytes: &[u8],
    extent: Extent,
    (here, through): (Pair, Through<'_>),
    (is_client, is_dry): (bool, bool),
) -> Option<Edits> {
    let mut crossing = Crossing::of(ground, Language::Rtsp, (here, through), is_dry);
    crossing.is_client = is_client;
    let addresses = [here.source(), here.destination()];
    let (message, described) = rtsp::read(crossing.counters, bytes, extent, &addresses)?;
    let mut edits = Edits::default();
    if let Some(described) = &described {
        describe(&mut edits, bytes, described, &crossing);
    }
    interpret(&mut edits, bytes, &message, &mut crossing);
    edits.finish(bytes, message.body, message.length)?;
    Some(edits)
}

impl<'s> Crossing<'s> {
    fn of(
        ground: &'s mut Ground<'_>,
        language: Language,
        (here, (_, entry, heading)): (Pair, Through<'_>),
        is_dry: bool,
    ) -> Self {
        let Ground { desk, bindings, events, arrival, .. } = ground;
        let alg = &desk.premises.alg;
        let is_narrow = entry.annex().is_some_and(|annex| bindings.annexes().is_restricted(annex));
        Crossing {
            bindings,
            counters: desk.counters,
            meters: desk.meters,
            events,
            between: [entry.host(), entry.proxy()],
            here,
            there: if heading == Heading::Out { entry.far() } else { entry.near_reversed() },
            announcer: (is_narrow && !is_dry).then(|| (entry.far(), heading)),
            call: 0,
            language,
            await_s: if language == Language::Sip { alg.sip.await_s } else { alg.rtsp.await_s },
            is_client: false,
            is_dry,
            told: None,
            now: arrival.now,
        }
    }

    /// With its call media ends, as far as it was announced (RFC 3261 §15.1).
    fn follow(&mut self, message: &Message) {
        if let (Method::Bye, 200..=299, Some((pair, _))) = (message.method, message.status, self.announcer) {
            self.bindings.conversations().end_call(pair, self.call);
        }
    }

    /// Says what is written instead of a place, once where that is the same again and again.
    fn tell(&mut self, address: u32, port: u16) {
        let places = [(address, port), (self.beyond(address), port)];
        if self.told.replace(places) == Some(places) {
            return;
        }
        let (name, would) = match self.language {
            Language::Sip => ("sip", &mut self.counters.sip_would_rewrite),
            Language::Rtsp => ("rtsp", &mut self.counters.rtsp_would_rewrite),
        };
        *would += u64::from(self.is_dry);
        show(self.between, (name, self.is_dry), places, (self.meters, self.events), self.now);
    }

    /// The other one may come to these ports of who speaks, if nothing else listens there.
    fn announce(&mut self, stream: MediaStream) -> Option<MediaStream> {
        let (refused, announced) = match self.language {
            Language::Sip => (&mut self.counters.sip_refused, &mut self.counters.sip_announced),
            Language::Rtsp => (&mut self.counters.rtsp_refused, &mut self.counters.rtsp_announced),
        };
        if stream.port < UNPRIVILEGED || stream.rtcp.is_some_and(|port| port < UNPRIVILEGED) {
            *refused += 1;
            return None;
        }
        *announced += u64::from(!self.is_dry);
        let Some(announcer) = self.announcer else { return Some(stream) };
        for port in [Some(stream.port), stream.rtcp].into_iter().flatten() {
            let times = (self.await_s, seconds(self.now));
            self.bindings.conversations().announce(announcer, (ipv4::UDP, port), self.call, times);
        }
        Some(stream)
    }

    /// What an address of the message's packet is beyond the gateway.
    fn beyond(&self, address: u32) -> u32 {
        let is_source = address == self.here.source();
        if is_source { self.there.source() } else { self.there.destination() }
    }
}

impl Translator for Crossing<'_> {
    const PORTS_STAY: bool = true;

    fn own(&self) -> u32 {
        self.here.source()
    }

    fn other(&self, address: u32) -> u32 {
        self.beyond(address)
    }

    fn place(&mut self, address: u32, port: Option<u16>, used: Use) -> Option<(u32, u16)> {
        let port = port.unwrap_or(SIP_PORT);
        if used != Use::Other {
            self.tell(address, port);
        }
        Some((self.beyond(address), port))
    }

    fn stream(&mut self, _: usize, stream: MediaStream) -> Option<MediaStream> {
        let told = self.announce(stream)?;
        self.tell(self.here.source(), told.port);
        Some(told)
    }
}

/// Who speaks says what is his, and of the other one what he knows of him.
impl Interpreter for Crossing<'_> {
    fn own(&self) -> u32 {
        self.here.source()
    }

    fn other(&self) -> u32 {
        self.there.source()
    }

    fn peer(&self) -> u32 {
        self.here.destination()
    }

    fn far(&self, address: u32) -> Option<u32> {
        let is_ours = address == self.here.source() || address == self.here.destination();
        is_ours.then(|| self.beyond(address))
    }

    fn is_client(&self) -> bool {
        self.is_client
    }

    fn speaks(&self) -> bool {
        true
    }

    fn place(&mut self, address: u32, port: Option<u16>) -> Option<(u32, u16)> {
        let port = port.unwrap_or(RTSP_PORT);
        self.tell(address, port);
        Some((self.beyond(address), port))
    }

    fn announced(&mut self, stream: MediaStream, _: Option<(u32, MediaStream)>) -> Option<MediaStream> {
        self.announce(stream)
    }

    fn answered(&mut self, _: MediaStream, _: Option<(u32, MediaStream)>) -> Option<MediaStream> {
        None
    }

    fn refuse(&mut self) {
        self.counters.rtsp_refused += 1;
    }

    fn garbled(&mut self) {
        self.counters.rtsp_garbled += 1;
    }
}
