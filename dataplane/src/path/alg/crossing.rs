//! What becomes of a message between realms, and between two hosts of one: either of its addresses is what its gateway makes of
//! it in its header, so that both hosts read the address under which they know the other. Ports stay, and media goes through
//! the binding of the same pair; one that is restricted lets in what is announced.

use super::shown::show;
use super::sip;
use crate::Nanos;
use crate::alg::edits::Edits;
use crate::alg::media::MediaStream;
use crate::alg::sip::Translator;
use crate::counters::Counters;
use crate::events::Events;
use crate::meter::seconds;
use crate::packet::Packet;
use crate::path::ground::Ground;
use crate::premises::Meters;
use crate::table::bindings::Bindings;
use crate::table::conversations::{Announcer, Through};
use crate::table::session::Heading;
use crate::table::sessions::UNPRIVILEGED;
use crate::wire::sip::{Message, Method, PORT, Use};
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
    /// What stands for its call.
    call: u32,
    await_s: u16,
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
    (packet, through): (&Packet, Through<'_>),
    is_dry: bool,
) -> Option<Edits> {
    let mut crossing = Crossing::of(ground, packet, through, is_dry);
    let addresses = [crossing.here.source(), crossing.here.destination()];
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

impl<'s> Crossing<'s> {
    fn of(
        ground: &'s mut Ground<'_>,
        packet: &Packet,
        (_, entry, heading): Through<'_>,
        is_dry: bool,
    ) -> Self {
        let Ground { desk, bindings, events, arrival, .. } = ground;
        let is_narrow = entry.annex().is_some_and(|annex| bindings.annexes().is_restricted(annex));
        Crossing {
            bindings,
            counters: desk.counters,
            meters: desk.meters,
            events,
            between: [entry.host(), entry.proxy()],
            here: packet.addresses,
            there: if heading == Heading::Out { entry.far() } else { entry.near_reversed() },
            announcer: (is_narrow && !is_dry).then(|| (entry.far(), heading)),
            call: 0,
            await_s: desk.premises.alg.sip.await_s,
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
        let places = [(address, port), (self.other(address), port)];
        if self.told.replace(places) != Some(places) {
            self.counters.sip_would_rewrite += u64::from(self.is_dry);
            show(self.between, ("sip", self.is_dry), places, (self.meters, self.events), self.now);
        }
    }

    /// The other one may come to these ports of who speaks.
    fn announce(&mut self, stream: MediaStream) {
        let Some(announcer) = self.announcer else { return };
        for port in [Some(stream.port), stream.rtcp].into_iter().flatten() {
            let times = (self.await_s, seconds(self.now));
            self.bindings.conversations().announce(announcer, (ipv4::UDP, port), self.call, times);
        }
    }
}

impl Translator for Crossing<'_> {
    const PORTS_STAY: bool = true;

    fn own(&self) -> u32 {
        self.here.source()
    }

    fn other(&self, address: u32) -> u32 {
        let is_source = address == self.here.source();
        if is_source { self.there.source() } else { self.there.destination() }
    }

    fn place(&mut self, address: u32, port: Option<u16>, used: Use) -> Option<(u32, u16)> {
        let port = port.unwrap_or(PORT);
        if used != Use::Other {
            self.tell(address, port);
        }
        Some((self.other(address), port))
    }

    /// Nobody announces what listens below, or anybody else.
    fn stream(&mut self, _: usize, stream: MediaStream) -> Option<MediaStream> {
        if stream.port < UNPRIVILEGED || stream.rtcp.is_some_and(|port| port < UNPRIVILEGED) {
            self.counters.sip_refused += 1;
            return None;
        }
        self.counters.sip_announced += u64::from(!self.is_dry);
        self.announce(stream);
        self.tell(self.own(), stream.port);
        Some(stream)
    }
}
