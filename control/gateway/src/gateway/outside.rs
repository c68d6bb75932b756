//! What the world may ask: our zones, and nothing else. No recursion, no answer that helps a flood.

use super::{Gateway, host_name};
use crate::Nanos;
use crate::core::Core;
use crate::hosts::HostId;
use crate::inbound::{InboundState, Late, Refusal, WhoAsks, Wish};
use crate::output::QueryToken;
use ces_dns::answer::{self, Answer, Voice};
use ces_dns::message::{Query, Transport};
use ces_dns::outcome::{QueryOutcome, QuerySide};
use ces_dns::zone::{self, Lookup, Names, Standing};
use ces_dns::{Name, ResponseCode};
use std::net::{Ipv4Addr, SocketAddr};

/// Any client: what is set aside is for whoever comes first.
const ANYBODY: (Ipv4Addr, u8) = (Ipv4Addr::UNSPECIFIED, 0);

/// Who asks, by address and, if he signs, by key.
fn asker(address: SocketAddr, query: &Query) -> WhoAsks {
    let key = query.seal.as_ref().and_then(|seal| seal.key());
    WhoAsks { address, key: key.map(|key| ces_dns::fqdn(key.name())) }
}

/// What is known about the one name that is asked for, by this client.
struct Known<'a> {
    core: &'a mut Core,
    inbound: &'a mut InboundState,
    /// The name of a host, or what stands for one, behind the label that shows that its asker was told so.
    name: Option<&'a str>,
    has_label: bool,
    /// Whether the client has shown that it receives what is sent to its address.
    is_there: bool,
    asker: WhoAsks,
    /// The network for which it asks.
    from: (Ipv4Addr, u8),
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
        let Some(name) = self.name.filter(|name| self.offers(name)) else { return zone::Inbound::NotOffered };
        let proof = self.inbound.proof(&self.asker);
        if proof.is_by_truncation() && !self.is_there {
            return zone::Inbound::Truncate;
        }
        if proof.is_by_cname() && !self.has_label {
            let label = self.inbound.prover().label(name, self.asker.address.ip(), self.now);
            // A name that has no room for it is known by truncation alone.
            return match query.name.prepend_label(label) {
                Ok(alias) => zone::Inbound::Alias(alias),
                Err(_) if !self.is_there => zone::Inbound::Truncate,
                Err(_) => self.reserve(name, query.id),
            };
        }
        self.reserve(name, query.id)
    }
}

impl Known<'_> {
    /// Whether something is reached by this name from the plain Internet.
    fn offers(&self, name: &str) -> bool {
        let is_offered = |id: &HostId| self.inbound.is_there() && !self.core.is_blocked(*id, self.now);
        let entry = || self.core.configuration().registry().host(name);
        self.core.hosts().named(name).as_ref().is_some_and(is_offered)
            && entry().is_some_and(|entry| entry.inbound(name).is_some())
    }

    /// Sets a public address aside for a client of whoever asks for this name by that number.
    fn reserve(&mut self, name: &str, id: u16) -> zone::Inbound {
        let host = self.core.hosts().named(name).and_then(|id| self.core.hosts().get(id));
        let Some((host, worker)) = host.map(|host| (host.address(), host.worker())) else {
            return zone::Inbound::NotOffered;
        };
        let (configuration, out) = self.core.configuration_and_out();
        let Some(service) = configuration.registry().host(name).and_then(|entry| entry.inbound(name)) else {
            return zone::Inbound::NotOffered;
        };
        let wish = Wish { host, worker, service, asker: &self.asker, id, from: self.from };
        match self.inbound.reserve(&wish, out, self.now) {
            Ok(address) => zone::Inbound::Address(address),
            Err(Refusal::Exhausted) => zone::Inbound::Lacking(QueryOutcome::PoolExhausted),
            Err(Refusal::HostLimit) => zone::Inbound::Lacking(QueryOutcome::InboundLimit),
            Err(Refusal::Reputation) => zone::Inbound::Lacking(QueryOutcome::Reputation),
            Err(Refusal::Share) => zone::Inbound::Lacking(QueryOutcome::InboundShare),
        }
    }
}

impl Gateway {
    pub(super) fn outside(
        &mut self,
        client: SocketAddr,
        name: Option<&str>,
        mut query: Query,
        token: QueryToken,
        now: Nanos,
    ) {
        self.give_cookie(&mut query, client, now);
        self.give_subnet(&mut query, client);
        let found = self.look_up(client, name, &query, now);
        // Who comes over TCP has shown that he is there, and has a moment of patience.
        if matches!(found, Lookup::Lacking(_)) && query.transport == Transport::Tcp {
            let Some(left) = self.inbound.wait(client, query, token, now) else { return };
            query = left;
        }
        self.tell(found, &query, token, now);
    }

    fn tell(&mut self, found: Lookup, query: &Query, token: QueryToken, now: Nanos) {
        match found {
            Lookup::Answer(answer, outcome) => {
                self.answer(QuerySide::Outside, token, answer.emit(query), outcome);
            }
            Lookup::Lacking(outcome) => self.lack(query, token, outcome),
            Lookup::Truncate => self.truncate(query, token),
            Lookup::OutOfZone => self.refuse_outside(query, token, now),
        }
    }

    fn look_up(&mut self, client: SocketAddr, name: Option<&str>, query: &Query, now: Nanos) -> Lookup {
        let Self { core, inbound, zones, .. } = self;
        let prover = inbound.prover();
        let told =
            name.filter(|name| core.hosts().named(name).is_none()).and_then(|name| name.split_once('.'));
        let told = told.filter(|(label, name)| prover.is_label(label, name, client.ip(), now));
        let has_cookie = query.cookie.is_some_and(|cookie| prover.knows(&cookie, client.ip(), now));
        let is_there = query.transport == Transport::Tcp || has_cookie;
        let (name, has_label) = (told.map(|(_, name)| name).or(name), told.is_some());
        // What the answer will say: it was believed.
        let subnet = query.edns.and_then(|edns| edns.client_subnet);
        let from = subnet.and_then(|subnet| subnet.network()).unwrap_or(ANYBODY);
        let asker = asker(client, query);
        zones.lookup(query, &mut Known { core, inbound, name, has_label, is_there, asker, from, now })
    }

    /// Has the answer carry a cookie for who sent one (RFC 7873 §5.2.3).
    fn give_cookie(&self, query: &mut Query, client: SocketAddr, now: Nanos) {
        if let (Some(edns), Some(cookie)) = (&mut query.edns, query.cookie) {
            edns.cookie = Some(self.inbound.prover().cookie(cookie.client, client.ip(), now));
        }
    }

    /// Has the answer say for whose network it is good, if who asks is believed for whose he asks (RFC 7871 §7.2.1).
    fn give_subnet(&self, query: &mut Query, client: SocketAddr) {
        let asker = asker(client, query);
        if let (Some(edns), Some(subnet)) = (&mut query.edns, query.client_subnet)
            && self.inbound.believes_subnets_of(&asker)
        {
            edns.client_subnet = Some(subnet.answered(subnet.network().is_some()));
        }
    }

    /// Who asks may be somebody else: he is to come back over TCP, which is no larger than his query and a cookie.
    fn truncate(&mut self, query: &Query, token: QueryToken) {
        self.answer(QuerySide::Outside, token, answer::truncated(query), QueryOutcome::Truncated);
    }

    /// There is no address. Over UDP that is silence: the resolver asks again, and may find one then. Over TCP it is an answer
    /// that nobody remembers (RFC 2308 §2.2: without an SOA).
    fn lack(&mut self, query: &Query, token: QueryToken, outcome: QueryOutcome) {
        match query.transport {
            Transport::Udp => self.no_answer(QuerySide::Outside, token, outcome),
            Transport::Tcp => {
                let empty = Answer::no_data(Voice::Authority, None);
                self.answer(QuerySide::Outside, token, empty.emit(query), outcome);
            }
        }
    }

    /// Queries over TCP that found no address look once more when their time has come.
    pub(super) fn answer_late(&mut self, now: Nanos) {
        let mut text = std::mem::take(&mut self.text);
        while let Some(Late { client, query, token, .. }) = self.inbound.take_late(now) {
            let is_host_name = host_name(&query, &mut text);
            let found = self.look_up(client, is_host_name.then_some(text.as_str()), &query, now);
            self.tell(found, &query, token, now);
        }
        self.text = text;
    }

    /// RFC 8906 §3.1: REFUSED, not silence, which costs who asks by mistake his time. It is never larger than its query, and
    /// over UDP, where the sender may be a lie, there are so few a second that nobody can be flooded through us.
    fn refuse_outside(&mut self, query: &Query, token: QueryToken, now: Nanos) {
        if query.transport == Transport::Udp && !self.rates.refusal(now) {
            return self.no_answer(QuerySide::Outside, token, QueryOutcome::OutOfZone);
        }
        let bytes = answer::error(query, ResponseCode::Refused);
        self.answer(QuerySide::Outside, token, bytes, QueryOutcome::OutOfZone);
    }
}
