//! What the world may ask: our zones, and nothing else. No recursion, no answer that helps a flood.

use super::{Gateway, host_name};
use crate::Nanos;
use crate::core::Core;
use crate::inbound::{Inbound, Late, Refusal, Wish};
use crate::output::QueryToken;
use ces_dns::answer::{self, Answer, Voice};
use ces_dns::message::{Query, Transport};
use ces_dns::outcome::{QueryOutcome, Side};
use ces_dns::zone::{self, Lookup, Names, Standing};
use ces_dns::{Name, ResponseCode};
use std::net::{Ipv4Addr, SocketAddr};

/// Any client: what is set aside is for whoever comes first.
const ANYBODY: (Ipv4Addr, u8) = (Ipv4Addr::UNSPECIFIED, 0);

/// What is known about the one name that is asked for, by this client.
struct Known<'a> {
    core: &'a mut Core,
    inbound: &'a mut Inbound,
    name: Option<&'a str>,
    client: SocketAddr,
    now: Nanos,
}

impl Names for Known<'_> {
    fn standing(&self, _name: &Name) -> Standing {
        match self.name {
            Some(name) if self.core.hosts().named(name).is_some() => Standing::Served,
            Some(name) if self.core.configuration().registry().is_above(name) => Standing::Above,
            _ => Standing::Unknown,
        }
    }

    fn inbound_address(&mut self, query: &Query) -> zone::Inbound {
        self.name.map_or(zone::Inbound::NotOffered, |name| self.reserve(name, query.id))
    }
}

impl Known<'_> {
    /// Sets a public address aside for a client of whoever asks for this name by that number.
    fn reserve(&mut self, name: &str, id: u16) -> zone::Inbound {
        let host = self.core.hosts().named(name).filter(|id| !self.core.is_blocked(*id, self.now));
        let offered = host.filter(|_| self.inbound.is_there());
        let Some(host) = offered.and_then(|id| self.core.hosts().get(id)) else {
            return zone::Inbound::NotOffered;
        };
        let (host, worker) = (host.address(), host.worker());
        let (configuration, out) = self.core.configuration_and_out();
        let Some(service) = configuration.registry().host(name).and_then(|entry| entry.inbound(name)) else {
            return zone::Inbound::NotOffered;
        };
        let wish = Wish { host, worker, service, asker: self.client, id, from: ANYBODY };
        match self.inbound.reserve(&wish, out, self.now) {
            Ok(address) => zone::Inbound::Address(address),
            Err(Refusal::Exhausted) => zone::Inbound::Lacking(QueryOutcome::PoolExhausted),
            Err(Refusal::HostLimit) => zone::Inbound::Lacking(QueryOutcome::InboundLimit),
        }
    }
}

impl Gateway {
    pub(super) fn outside(
        &mut self,
        client: SocketAddr,
        name: Option<&str>,
        query: Query,
        token: QueryToken,
        now: Nanos,
    ) {
        match self.look_up(client, name, &query, now) {
            Lookup::Answer(answer, outcome) => {
                self.answer(Side::Outside, token, answer.emit(&query), outcome);
            }
            Lookup::OutOfZone => self.refuse_outside(&query, token, now),
            Lookup::Lacking(outcome) => {
                // Who comes over TCP has shown that he is there, and has a moment of patience.
                let is_over_tcp = query.transport == Transport::Tcp;
                let left =
                    if is_over_tcp { self.inbound.wait(client, query, token, now) } else { Some(query) };
                if let Some(query) = left {
                    self.lack(&query, token, outcome);
                }
            }
        }
    }

    fn look_up(&mut self, client: SocketAddr, name: Option<&str>, query: &Query, now: Nanos) -> Lookup {
        let mut known = Known { core: &mut self.core, inbound: &mut self.inbound, name, client, now };
        self.zones.lookup(query, &mut known)
    }

    /// There is no address. Over UDP that is silence: the resolver asks again, and may find one then. Over TCP it is an answer
    /// that nobody remembers (RFC 2308 §2.2: without an SOA).
    fn lack(&mut self, query: &Query, token: QueryToken, outcome: QueryOutcome) {
        match query.transport {
            Transport::Udp => self.no_answer(Side::Outside, token, outcome),
            Transport::Tcp => {
                let empty = Answer::no_data(Voice::Authority, None);
                self.answer(Side::Outside, token, empty.emit(query), outcome);
            }
        }
    }

    /// Queries over TCP that found no address look once more when their time has come.
    pub(super) fn answer_late(&mut self, now: Nanos) {
        let mut text = std::mem::take(&mut self.text);
        while let Some(Late { client, query, token, .. }) = self.inbound.take_late(now) {
            let is_host_name = host_name(&query, &mut text);
            match self.look_up(client, is_host_name.then_some(text.as_str()), &query, now) {
                Lookup::Answer(answer, outcome) => {
                    self.answer(Side::Outside, token, answer.emit(&query), outcome);
                }
                Lookup::Lacking(outcome) => self.lack(&query, token, outcome),
                Lookup::OutOfZone => self.refuse_outside(&query, token, now),
            }
        }
        self.text = text;
    }

    /// RFC 8906 §3.1: REFUSED, not silence, which costs who asks by mistake his time. It is never larger than its query, and
    /// over UDP, where the sender may be a lie, there are so few a second that nobody can be flooded through us.
    fn refuse_outside(&mut self, query: &Query, token: QueryToken, now: Nanos) {
        if query.transport == Transport::Udp && !self.rates.refusal(now) {
            return self.no_answer(Side::Outside, token, QueryOutcome::OutOfZone);
        }
        let bytes = answer::error(query, ResponseCode::Refused);
        self.answer(Side::Outside, token, bytes, QueryOutcome::OutOfZone);
    }
}
