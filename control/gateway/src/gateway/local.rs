//! The realm's own names, and two of its hosts that meet by name: the same policy, no tunnel, both addresses rewritten.
//!
//! A pair is two bindings, one for each host, each with a proxy address of its own: neither host sees the other's
//! address. They live and end together.

use super::{Gateway, Link};
use crate::Nanos;
use crate::core::carries;
use crate::counters::NegotiationOutcome;
use crate::fabric::GivenUp;
use crate::hosts::HostId;
use crate::log::{LogLine, Severity};
use crate::output::QueryToken;
use crate::registry::RuleLimits;
use crate::sessions::{Reach, Terms};
use crate::snapshot::SessionOrigin;
use ces_cetp::Policy;
use ces_cetp::engine::{Direction, ReserveError};
use ces_cetp::tlv::Item;
use ces_cetp::value::Value;
use ces_dataplane::tag::Handle;
use ces_dns::RecordType;
use ces_dns::answer::{self, Answer, Voice};
use ces_dns::message::Query;
use ces_dns::outcome::{QueryOutcome, QuerySide};
use ces_dns::zone::{Lookup, Standing};
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

/// Why two hosts of the realm do not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Apart {
    Policy(Cow<'static, str>),
    Exhausted(&'static str),
}

impl Gateway {
    /// A name in one of our zones, asked for by a host.
    pub(crate) fn own_name(
        &mut self,
        id: HostId,
        name: Option<&str>,
        query: &Query,
        token: QueryToken,
        now: Nanos,
    ) {
        let target = name.and_then(|name| self.core.hosts().named(name).map(|target| (name, target)));
        let Some((name, target)) = target else {
            if self.has_noted(query, token) {
                return;
            }
            return match self.leased_as(name) {
                Some(host) => self.answer_leased(host, query, token),
                None => self.zone_answer(name, query, token),
            };
        };
        if !matches!(query.qtype, RecordType::A | RecordType::AAAA) {
            // RFC 8020 §2: a name that policy refuses is not there, for no type.
            if target != id && !self.may_meet(id, name, now) {
                let answer = Answer::nx_domain(Voice::LocalAuthority, self.zones.soa(&query.name));
                return self.answer(
                    QuerySide::Inside,
                    token,
                    answer.emit(query),
                    QueryOutcome::PolicyRefused,
                );
            }
            if self.has_noted(query, token) {
                return;
            }
            // ces.md: known, no such type: NOERROR, empty.
            let answer = Answer::no_data(Voice::LocalAuthority, self.zones.soa(&query.name));
            return self.answer(QuerySide::Inside, token, answer.emit(query), QueryOutcome::NoData);
        }
        if target == id {
            let Some(host) = self.core.hosts().get(id) else { return };
            let (address, ttl) = (host.address().ip(), self.core.settings().dns.connected_ttl_s);
            return self.answer_local(address, ttl, query, token);
        }
        let (handle, is_new) = match self.link(id, name, now) {
            Some(Link::Up(handle)) => (handle, false),
            _ => match self.connect(id, target, name, now) {
                Ok(handle) => (handle, true),
                Err(apart) => return self.refuse_local(id, name, apart, query, token),
            },
        };
        let Some(session) = self.core.sessions().get(handle) else { return };
        let dns = &self.core.settings().dns;
        let wanted = if is_new { dns.new_ttl_s } else { dns.connected_ttl_s };
        let (proxy, ttl) = (session.proxy().ip(), session.answer_ttl(wanted, now));
        self.answer_local(proxy, ttl, query, token);
    }

    /// Answers with what was noted of a name, if there is such.
    fn has_noted(&mut self, query: &Query, token: QueryToken) -> bool {
        let notes = self.notes(query);
        if notes.is_empty() {
            return false;
        }
        let answer = Answer::records(Voice::LocalAuthority, notes);
        self.answer(QuerySide::Inside, token, answer.emit(query), QueryOutcome::Local);
        true
    }

    /// Whether a host meets a name of ours, or may.
    fn may_meet(&self, id: HostId, name: &str, now: Nanos) -> bool {
        matches!(self.link(id, name, now), Some(Link::Up(_)))
            || self.core.hosts().get(id).is_some_and(|host| self.agree(host.name(), name, now).is_ok())
    }

    pub(super) fn answer_local(&mut self, address: IpAddr, ttl: u32, query: &Query, token: QueryToken) {
        let (bytes, outcome) = if query.qtype == RecordType::A {
            (answer::addresses(query, Voice::LocalAuthority, ttl, &[address]), QueryOutcome::Local)
        } else {
            let answer = Answer::no_data(Voice::LocalAuthority, self.zones.soa(&query.name));
            (answer.emit(query), QueryOutcome::NoData)
        };
        self.answer(QuerySide::Inside, token, bytes, outcome);
    }

    fn refuse_local(&mut self, id: HostId, name: &str, apart: Apart, query: &Query, token: QueryToken) {
        let mut line = match &apart {
            Apart::Policy(_) => LogLine::new(Severity::Info, "name refused"),
            Apart::Exhausted(_) => LogLine::new(Severity::Warn, "name failed"),
        };
        if let Some(host) = self.core.hosts().get(id) {
            line = line.host(host.name());
        }
        line = line.remote(&name.into());
        match apart {
            Apart::Policy(why) => {
                self.core.counters_mut().negotiation(NegotiationOutcome::LocalDenied);
                self.core.log(line.reason(why));
                let answer = Answer::nx_domain(Voice::LocalAuthority, self.zones.soa(&query.name));
                self.answer(QuerySide::Inside, token, answer.emit(query), QueryOutcome::PolicyRefused);
            }
            Apart::Exhausted(why) => {
                self.core.counters_mut().negotiation(NegotiationOutcome::Exhausted);
                self.core.log(line.reason(why));
                self.serv_fail(token, query, QueryOutcome::Exhausted);
            }
        }
    }

    /// A name of ours that is no host's: what the zone has, to a host that is also offered recursion.
    fn zone_answer(&mut self, name: Option<&str>, query: &Query, token: QueryToken) {
        let mut standing = if name.is_some_and(|name| self.core.configuration().registry().is_above(name)) {
            Standing::Above
        } else {
            Standing::Unknown
        };
        match self.zones.lookup(query, &mut standing) {
            Lookup::Answer(mut answer, outcome) => {
                answer.voice = Voice::LocalAuthority;
                self.answer(QuerySide::Inside, token, answer.emit(query), outcome);
            }
            Lookup::Lacking(_) | Lookup::Truncate | Lookup::OutOfZone => {
                self.refuse(token, query, QueryOutcome::OutOfZone);
            }
        }
    }

    /// What both policies agree on for these two hosts, if they do.
    pub(crate) fn agree(
        &self,
        source: &str,
        destination: &str,
        now: Nanos,
    ) -> Result<RuleLimits, Cow<'static, str>> {
        let core = &self.core;
        let peer = core.configuration().ces_id();
        let is_blocked = |name: &str| core.hosts().named(name).is_none_or(|id| core.is_blocked(id, now));
        if is_blocked(destination) {
            return Err("the host is blocked".into());
        }
        let asks = core
            .configuration()
            .choose(source, Direction::Outbound, destination, peer)
            .ok_or("no outbound policy allows it")?;
        let serves = core
            .configuration()
            .choose(destination, Direction::Inbound, source, peer)
            .ok_or("no inbound policy allows it")?;
        meets(&serves.policy, &asks.policy, source).map_err(|item| unmet("inbound", item))?;
        meets(&asks.policy, &serves.policy, destination).map_err(|item| unmet("outbound", item))?;
        asks.limits.and(serves.limits).ok_or_else(|| "the limits of both policies exclude each other".into())
    }

    fn connect(&mut self, id: HostId, target: HostId, name: &str, now: Nanos) -> Result<Handle, Apart> {
        let core = &mut self.core;
        let (Some(host), Some(far)) = (core.hosts().get(id), core.hosts().get(target)) else {
            return Err(Apart::Policy("the host is no longer registered".into()));
        };
        let (source, address, far_address) = (Arc::clone(host.name()), host.address(), far.address());
        let limits = self.agree(&source, name, now).map_err(Apart::Policy)?;
        let core = &mut self.core;
        let destination: Arc<str> = name.into();
        let peer = Arc::clone(core.configuration().ces_id());
        let exhausted = |e| match e {
            ReserveError::PoolEmpty => Apart::Exhausted("no proxy address left"),
            ReserveError::TableFull => Apart::Exhausted("no binding left"),
            ReserveError::UnknownHost => Apart::Policy("the host is no longer registered".into()),
        };
        let near = core
            .reserve_for(id, Arc::clone(&source), Arc::clone(&destination), Arc::clone(&peer), now)
            .map_err(exhausted)?;
        let other = match core.reserve_for(target, destination, source, peer, now) {
            Ok(other) => other,
            Err(e) => {
                core.unreserve(near, now);
                return Err(exhausted(e));
            }
        };
        let halves = [near, other].map(|handle| {
            let session = core.sessions().get(handle);
            session.map(|session| (handle, session.tag(), core.proxy_to_be(session, now)))
        });
        let [Some(near_half), Some(other_half)] = halves else {
            return Err(Apart::Exhausted("no binding left"));
        };
        let idle_s = limits.idle_ttl_s.unwrap_or(core.settings().cetp.idle_ttl_s);
        let is_patient = limits.idle_ttl_s.is_none();
        let hard_s = limits.hard_ttl_s.unwrap_or(core.settings().cetp.hard_ttl_s);
        // The far half first: whoever answers finds the way back.
        for (half, partner, reached, asked) in
            [(other_half, near_half, address, false), (near_half, other_half, far_address, true)]
        {
            let reach = Reach::Local { source: partner.2, destination: reached, partner: partner.1, asked };
            let terms = Terms {
                role: SessionOrigin::Local,
                reach,
                idle_s,
                is_patient,
                hard_s,
                carries: carries(limits, !asked),
            };
            if let Err(GivenUp::Refused(why) | GivenUp::Exhausted(why)) = core.establish(half.0, terms, now) {
                core.remove(near, now);
                core.remove(other, now);
                return Err(Apart::Exhausted(why));
            }
        }
        core.counters_mut().negotiation(NegotiationOutcome::Local);
        if let Some(session) = core.sessions().get(near) {
            let line = LogLine::new(Severity::Info, "session up")
                .host(session.local())
                .remote(session.remote())
                .address(session.proxy())
                .tag(session.tag());
            core.log(line);
        }
        Ok(near)
    }
}

fn unmet(direction: &str, item: Item) -> Cow<'static, str> {
    format!("the {direction} policy requires {item}, which the other does not meet").into()
}

/// Whether what one side requires is told by the other, whose name is `name`; the first requirement that is not.
fn meets(requires: &Policy, tells: &Policy, name: &str) -> Result<(), Item> {
    for requirement in requires.request().iter().filter(|requirement| !requirement.optional) {
        let item = requirement.item;
        let is_met = match item {
            // What proves that a peer receives proves nothing between two hosts of ours.
            Item::ControlAck => true,
            Item::IdFqdn => requirement.accept.matches(item, Some(&Value::Text(Cow::Borrowed(name)))),
            _ => tells
                .offer()
                .iter()
                .chain(tells.available())
                .any(|told| told.item == item && requirement.accept.matches(item, told.value.as_ref())),
        };
        if !is_met {
            return Err(item);
        }
    }
    Ok(())
}

/// Whether a policy would still take a peer of that name.
pub(crate) fn takes_name(policy: &Policy, name: &str) -> bool {
    policy
        .request()
        .iter()
        .filter(|requirement| requirement.item == Item::IdFqdn && !requirement.optional)
        .all(|requirement| requirement.accept.matches(Item::IdFqdn, Some(&Value::Text(Cow::Borrowed(name)))))
}
