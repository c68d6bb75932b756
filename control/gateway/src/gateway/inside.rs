//! The life of a name that an inside host asks for, from its query to the answer.

use super::{Gateway, Link};
use crate::Nanos;
use crate::address::HostAddress;
use crate::asking::{ALIASES, Ask, AskingStage, Failed, Pending, RecordsTold, Waiter, left_ms};
use crate::hosts::HostId;
use crate::log::{LogLine, Severity};
use crate::names::{Name, is_within};
use crate::network;
use crate::output::QueryToken;
use crate::sessions::Phase;
use crate::word;
use ces_cetp::engine::{Direction, H2hRequest, Negotiating};
use ces_dataplane::tag::Handle;
use ces_dns::answer::{self, Answer, Voice};
use ces_dns::message::Query;
use ces_dns::naptr::{self, CesService, Defaults};
use ces_dns::outcome::{QueryOutcome, QuerySide};
use ces_dns::question::Question;
use ces_dns::resolver::{Received, Resolution};
use ces_dns::{MILLISECOND, RecordType};
use ces_meter::Rate;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

/// TTL of an answer with the proxy address of a session whose peer cannot be asked, in seconds.
const UNSURE_TTL_S: u32 = 1;
/// How long after the first query the same one is a second try, not the second of two programs: no stub resolver waits
/// less than a second.
const AGAIN_NS: Nanos = 900 * MILLISECOND;

impl Gateway {
    pub(crate) fn inside(
        &mut self,
        client: IpAddr,
        name: Option<&str>,
        query: Query,
        token: QueryToken,
        now: Nanos,
    ) {
        let Some(id) = HostAddress::of(client).and_then(|address| self.core.hosts().at(address)) else {
            return self.answer_stranger(client, name, query, token, now);
        };
        if let Err(outcome) = self.may_ask(id, now) {
            return self.refuse(token, &query, outcome);
        }
        if self.reverse(Some(id), &query, token, now) {
            return;
        }
        // RFC 4035 §3.1.4.1: DS of a zone stands at its parent, which is asked like any other name.
        if self.zones.contains(&query.name) && !self.zones.is_for_parent(&query.name, query.qtype) {
            return self.own_name(id, name, &query, token, now);
        }
        if self.served_here(&query, token) {
            return;
        }
        match name {
            // Names of addresses have no CES records of their own.
            Some(name) if !is_within(name, "arpa.") => self.remote_name(id, name, query, token, now),
            _ => self.forward(query, token, now),
        }
    }

    /// Whether a host may ask, or change, anything now.
    pub(super) fn may_ask(&mut self, id: HostId, now: Nanos) -> Result<(), QueryOutcome> {
        if self.core.is_blocked(id, now) {
            return Err(QueryOutcome::HostBlocked);
        }
        let rate = Rate::per_second(self.core.settings().dns.host_rate);
        let may = self.core.hosts_mut().get_mut(id).is_some_and(|host| host.may_ask(rate, now));
        if may { Ok(()) } else { Err(QueryOutcome::RateClient) }
    }

    /// A host that no file names: where hosts go out without a name, it gets ordinary names, and of ours those of its like alone.
    fn answer_stranger(
        &mut self,
        client: IpAddr,
        name: Option<&str>,
        query: Query,
        token: QueryToken,
        now: Nanos,
    ) {
        let realm = &self.core.settings().realm.networks;
        let host = HostAddress::of(client).filter(|host| realm.iter().any(|net| net.contains(&host.v4())));
        let goes_out = self.core.fabric().forwards();
        let leased = self.leased_as(name);
        if host.is_none() || !goes_out || (leased.is_none() && self.zones.contains(&query.name)) {
            self.core.log(LogLine::new(Severity::Info, "query from an unknown host").address(client));
            return self.refuse(token, &query, QueryOutcome::HostUnknown);
        }
        if !self.rates.nameless(client, now) {
            return self.refuse(token, &query, QueryOutcome::RateClient);
        }
        if let Some(host) = leased {
            return self.answer_leased(host, &query, token);
        }
        if self.is_about_us(&query) && self.reverse(None, &query, token, now) {
            return;
        }
        if self.served_here(&query, token) {
            return;
        }
        self.forward(query, token, now);
    }

    /// RFC 8482 §4.2: nobody needs all records of a name, and among them would be addresses that lead around a tunnel. One of
    /// which it is known that it is not there is not there (RFC 8020 §2).
    fn answer_any(&mut self, query: &Query, token: QueryToken, now: Nanos) {
        let naptr = Question::new(query.name.clone(), RecordType::NAPTR);
        match self.resolver.cached(&naptr, now) {
            Some(none @ Resolution::NxDomain(_)) => self.answer_ordinary(&none, query, token, now),
            _ => self.answer(QuerySide::Inside, token, answer::any(query), QueryOutcome::Authoritative),
        }
    }

    /// A name that is not ours, whatever is asked about it: what it is decides about all types.
    fn remote_name(&mut self, id: HostId, name: &str, query: Query, token: QueryToken, now: Nanos) {
        match self.link(id, name, now) {
            // A peer without connection may have restarted and lost its side: it is asked again. If it has not, or cannot
            // be reached, the engine answers with the session that stands.
            Some(Link::Up(handle)) if !is_for_address(&query) || !self.is_away(handle) => {
                self.answer_met(handle, false, query, token, now);
            }
            Some(Link::Asking(pending)) => self.join(pending, query, token, now),
            Some(Link::Up(_)) | None => self.begin(id, name, query, token, now),
        }
    }

    /// Asks for the CES records of a name, and beside them for what it answers as an ordinary one.
    fn begin(&mut self, id: HostId, name: &str, query: Query, token: QueryToken, now: Nanos) {
        if self.waiting.queries() >= self.core.settings().dns.waiting {
            return self.serv_fail(token, &query, QueryOutcome::WaitingFull);
        }
        let remote: Arc<str> = name.into();
        let (naptr, ordinary) = (Question::new(query.name.clone(), RecordType::NAPTR), Question::of(&query));
        let pending = self.waiting.begin(id, remote, Waiter { token, query }, now);
        let patience = self.core.settings().dns.naptr_timeout_ms;
        self.resolver.query(naptr, patience, pending, now);
        self.ask_beside(pending, ordinary, now);
    }

    /// Asks what a name answers as an ordinary one while its CES records are being asked for. Of a name that is known to
    /// have some nobody wants to know; asking might make the far side set an address aside.
    fn ask_beside(&mut self, pending: u64, question: Question, now: Nanos) {
        let Some(ask) = self.waiting.ask(pending) else { return };
        let is_early = matches!(ask.stage, AskingStage::Discovery) && !self.has_had_records(ask, now);
        if is_early
            && question.qtype != RecordType::ANY
            && let Some(id) = self.waiting.beside(pending, &question)
        {
            self.resolver.query(question, 0, id, now);
        }
    }

    /// Whether a binding's peer has lost all its connections, it is to end, or nobody knows whether the peer still has it.
    fn is_away(&self, handle: Handle) -> bool {
        self.core.sessions().get(handle).is_some_and(|session| {
            session.tunnel().is_some()
                && (!self.engine.is_connected(session.peer())
                    || self.engine.is_to_end(session.tag())
                    || self.engine.is_doubted(session.tag()))
        })
    }

    /// One more who asks for what is being asked already.
    fn join(&mut self, pending: u64, query: Query, token: QueryToken, now: Nanos) {
        let dns = &self.core.settings().dns;
        let (most, all) = (dns.waiting_per_name as usize, dns.waiting);
        let question = Question::of(&query);
        let Some(ask) = self.waiting.ask_mut(pending).filter(|ask| ask.waiters().len() < most) else {
            return self.serv_fail(token, &query, QueryOutcome::WaitingFull);
        };
        // Who asks the same again has little patience left: silence to the NAPTR question is an answer now.
        let is_again = || ask.waiters().iter().any(|waiter| Question::of(&waiter.query) == question);
        let is_hurried = ask.is_hurried || (now.saturating_sub(ask.since()) >= AGAIN_NS && is_again());
        ask.is_hurried = is_hurried;
        if self.waiting.queries() >= all {
            return self.serv_fail(token, &query, QueryOutcome::WaitingFull);
        }
        self.core.counters_mut().joined += 1;
        self.waiting.join(pending, Waiter { token, query });
        self.ask_beside(pending, question, now);
        self.hurry(pending, now);
    }

    /// Gives a query to the resolver as it is, but for one for all records, which nobody needs.
    fn forward(&mut self, query: Query, token: QueryToken, now: Nanos) {
        if query.qtype == RecordType::ANY {
            return self.answer_any(&query, token, now);
        }
        let question = Question::of(&query);
        // The path of every repeated query to the Internet: nothing to wait for.
        if let Some(resolution) = self.resolver.cached(&question, now) {
            let bytes = resolution.reply(&query, now);
            return self.answer(QuerySide::Inside, token, bytes, resolution.outcome());
        }
        if self.waiting.queries() >= self.core.settings().dns.waiting {
            return self.serv_fail(token, &query, QueryOutcome::WaitingFull);
        }
        let pending = self.waiting.forward(Waiter { token, query }, RecordsTold::None);
        self.resolver.query(question, 0, pending, now);
    }

    /// The resolver has come to an end with something.
    pub(crate) fn resolved(&mut self, pending: u64, resolution: Resolution, now: Nanos) {
        match self.waiting.get(pending) {
            Some(Pending::Forward(..)) => {
                if let Some((waiter, told)) = self.waiting.forwarded(pending) {
                    self.answer_told(&resolution, &waiter, told, now);
                }
            }
            Some(Pending::Claim(_)) => {
                let asked = (&mut self.waiting, &mut self.resolver);
                word::looked_up(&mut self.core, &mut self.engine, asked, (pending, &resolution), now);
            }
            Some(Pending::Ordinary { .. }) => {
                if let Some(ask) = self.waiting.answered(pending, resolution) {
                    self.hurry(ask, now);
                }
            }
            Some(Pending::Ask(ask)) if matches!(ask.stage, AskingStage::Discovery) => {
                self.discovered(pending, &resolution, now);
            }
            _ => {}
        }
    }

    fn answer_ordinary(&mut self, resolution: &Resolution, query: &Query, token: QueryToken, now: Nanos) {
        let bytes = resolution.reply(query, now);
        self.answer(QuerySide::Inside, token, bytes, resolution.outcome());
    }

    /// The same, unless it would lead around the tunnel of another name, which is known to have CES records, by a CNAME of a name
    /// whose own nobody tells.
    fn answer_told(&mut self, resolution: &Resolution, waiter: &Waiter, told: RecordsTold, now: Nanos) {
        let Waiter { token, query } = waiter;
        let alias = match resolution {
            Resolution::Answer(received) if told == RecordsTold::Nothing && is_for_address(query) => {
                let mut aliases =
                    received.packet.aliases().map(|alias| Arc::<str>::from(ces_dns::fqdn(&alias)));
                aliases.find(|alias| self.core.has_records(alias, now))
            }
            _ => None,
        };
        let Some(alias) = alias else { return self.answer_ordinary(resolution, query, *token, now) };
        let why = "it has CES records, and nobody tells those of a name that leads to it";
        self.core.log(LogLine::new(Severity::Info, "name failed").remote(&alias).reason(why));
        self.serv_fail(*token, query, QueryOutcome::UpstreamFailed);
    }

    /// Ends the wait for CES records of which nothing is heard, where those who ask cannot wait longer, or the name's
    /// server is known to say nothing, and what the name answers otherwise is there.
    fn hurry(&mut self, pending: u64, now: Nanos) {
        let Some(ask) = self.waiting.ask(pending) else { return };
        let is_over = matches!(ask.stage, AskingStage::Discovery)
            && !self.has_had_records(ask, now)
            && (ask.is_hurried || self.known.is_silent(ask.remote(), now));
        let is_settled =
            |query: &Query| query.qtype == RecordType::ANY || ask.ordinary(&Question::of(query)).is_some();
        let has_all = || ask.waiters().iter().all(|waiter| is_settled(&waiter.query));
        if is_over && has_all() {
            self.silent(pending, now);
        }
    }

    /// Nothing was heard of a name's CES records. If it answers otherwise, its server knows no NAPTR (RFC 8906 §3.1.2), and
    /// the next query does not wait for that.
    fn silent(&mut self, pending: u64, now: Nanos) {
        let Some(ask) = self.waiting.ask(pending) else { return };
        let is_alive = ask.waiters().iter().any(|waiter| {
            let answer = ask.ordinary(&Question::of(&waiter.query));
            matches!(answer, Some(Resolution::Answer(_) | Resolution::NoData(_)))
        });
        if is_alive {
            let remote = Arc::clone(ask.remote());
            self.known.silent(&remote, now);
        }
        self.forward_ask(pending, RecordsTold::Nothing, now);
    }

    fn discovered(&mut self, pending: u64, resolution: &Resolution, now: Nanos) {
        let Some(ask) = self.waiting.ask(pending) else { return };
        let remote = Arc::clone(ask.remote());
        let has_had = self.has_had_records(ask, now);
        // RFC 4074 §4, RFC 8906 §3.1.2: many servers know no NAPTR and say so by any error, or by nothing. That means that
        // there is no CES, unless there has been: then it means nothing, and the ordinary address must not stand in for it.
        let why = match resolution {
            Resolution::Answer(received) => return self.read_records(pending, &remote, received, now),
            Resolution::NoData(received) if self.follow_loose_end(pending, received, now) => return,
            Resolution::NoData(_) | Resolution::NxDomain(_) => return self.without_records(pending, now),
            Resolution::ServFail => "the resolver fails to find its NAPTR, and it has had CES records",
            Resolution::Refused => "the resolver refuses to tell its NAPTR, and it has had CES records",
            Resolution::Timeout => "nobody answers the question for its NAPTR, and it has had CES records",
        };
        match resolution {
            _ if has_had => self.fail(pending, Failed::Discovery, why, now),
            Resolution::Timeout => self.silent(pending, now),
            _ => self.forward_ask(pending, RecordsTold::Nothing, now),
        }
    }

    /// The NAPTR records of a name are there.
    fn read_records(&mut self, pending: u64, remote: &Arc<str>, received: &Received, now: Nanos) {
        let defaults = Defaults { port: network::DEFAULT_PORT, proto: naptr::Proto::Tls };
        let records = received.packet.answers();
        let owner = records.iter().find(|record| record.record_type() == RecordType::NAPTR);
        let discovery = naptr::discover(&records, defaults);
        self.core.counters_mut().naptr.count(&discovery);
        if let Some(mistake) = discovery.mistake() {
            let line = LogLine::new(Severity::Warn, "CES record with a mistake").remote(remote);
            self.core.log(line.reason(mistake.label()));
        }
        if discovery.services.is_empty() {
            let has_had = self.waiting.ask(pending).is_some_and(|ask| self.has_had_records(ask, now));
            if discovery.mistake().is_some() && has_had {
                let why = "none of its CES records can be read, and it has had others";
                return self.fail(pending, Failed::Discovery, why, now);
            }
            return self.without_records(pending, now);
        }
        self.known.heard(remote);
        // The records may stand at another name than the one that was asked for (CNAME): the far gateway knows only that one.
        let owner = owner.map(|record| Arc::<str>::from(ces_dns::fqdn(&record.name)));
        if let Some(owner) = owner.filter(|owner| owner != remote)
            && !self.stands_for(pending, owner, now)
        {
            return;
        }
        if let Some(ask) = self.waiting.ask(pending) {
            for alias in ask.names().filter(|name| *name != ask.remote()) {
                self.core.learn_records(alias, true, now);
            }
            self.reach(pending, discovery.services.into(), now);
        }
    }

    /// A name has no CES records, nor has any that stands for it.
    fn without_records(&mut self, pending: u64, now: Nanos) {
        let Some(ask) = self.waiting.ask(pending) else { return };
        for name in ask.names() {
            self.known.heard(name);
            self.core.learn_records(name, false, now);
        }
        self.forward_ask(pending, RecordsTold::None, now);
    }

    /// Whether the name that an ask is about, or one that stands for it, has had CES records.
    fn has_had_records(&self, ask: &Ask, now: Nanos) -> bool {
        ask.names().any(|name| self.core.has_records(name, now))
    }

    /// RFC 1034 §3.6.2, §5.3.3: of a name that is told to stand for another one, and nothing more, that other one's records are
    /// asked for. False if there is no such name.
    fn follow_loose_end(&mut self, pending: u64, received: &Received, now: Nanos) -> bool {
        let (Some(end), Some(ask)) = (received.packet.loose_end(), self.waiting.ask(pending)) else {
            return false;
        };
        let (name, since) = (Arc::<str>::from(ces_dns::fqdn(&end)), ask.since());
        if ask.names().count() > ALIASES || ask.names().any(|other| *other == name) {
            return false;
        }
        if self.stands_for(pending, name, now) {
            let patience_ms = left_ms(self.core.settings().dns.naptr_timeout_ms, since, now);
            self.resolver.query(Question::new(end, RecordType::NAPTR), patience_ms, pending, now);
            self.hurry(pending, now);
        }
        true
    }

    /// Gateways answer for the name. Who asks for its address is led to one of them; who asks for anything else is told
    /// what the name has, if he may know that it is there (RFC 8020 §2: a name exists for all types or for none).
    fn reach(&mut self, pending: u64, services: VecDeque<CesService>, now: Nanos) {
        let Some(ask) = self.waiting.ask_mut(pending) else { return };
        let (id, remote) = (ask.host(), Arc::clone(ask.remote()));
        let is_for_others =
            !ask.waiters().is_empty() && !ask.waiters().iter().any(|waiter| is_for_address(&waiter.query));
        if !is_for_others {
            ask.stage = AskingStage::Negotiation(services);
            return self.next_service(pending, now);
        }
        self.core.learn_records(&remote, true, now);
        if !self.may_reach(id, &remote, &services, now) {
            return self.fail(pending, Failed::Policy, "no outbound policy allows it", now);
        }
        if self.known.is_refused(id.0, &remote, now) {
            return self.fail(pending, Failed::Policy, "refused a moment ago", now);
        }
        let Some((_, waiters)) = self.waiting.end(pending) else { return };
        for Waiter { token, query } in waiters {
            self.answer_beside(query, token, now);
        }
    }

    /// Whether policy lets a host ask one of these gateways for a name.
    fn may_reach(&self, id: HostId, remote: &str, services: &VecDeque<CesService>, now: Nanos) -> bool {
        let Some(host) = self.core.hosts().get(id) else { return false };
        services.iter().filter_map(|service| Name::parse(&service.ces_id).ok()).any(|ces_id| {
            *ces_id.as_str() != **self.core.configuration().ces_id()
                && self.core.is_allowed(host.name(), Direction::Outbound, remote, ces_id.as_str(), now)
        })
    }

    /// What was asked for stands for another name, which the ask is about from here on. False if it has come to its end by
    /// that: the name is ours, or a session leads there, or it is being asked for.
    fn stands_for(&mut self, pending: u64, name: Arc<str>, now: Nanos) -> bool {
        let Some(id) = self.waiting.ask(pending).map(Ask::host) else { return false };
        let is_ours = self.zones.contains(&ces_dns::name(&name).unwrap_or_default());
        let link = self.link(id, &name, now);
        let link = link.filter(|link| !matches!(link, Link::Up(handle) if self.is_away(*handle)));
        if link.is_none() && !is_ours {
            return self.waiting.rename(pending, name);
        }
        let Some((_, waiters)) = self.waiting.end(pending) else { return false };
        for Waiter { token, query } in waiters {
            match link {
                Some(Link::Up(handle)) => self.answer_met(handle, false, query, token, now),
                Some(Link::Asking(other)) => self.join(other, query, token, now),
                None => self.own_name(id, Some(&name), &query, token, now),
            }
        }
        false
    }

    /// No CES answers for the name: its queries are ordinary ones.
    fn forward_ask(&mut self, pending: u64, told: RecordsTold, now: Nanos) {
        let Some((ask, waiters)) = self.waiting.end(pending) else { return };
        for waiter in waiters {
            let question = Question::of(&waiter.query);
            if let Some(resolution) = ask.ordinary(&question) {
                self.answer_told(resolution, &waiter, told, now);
            } else if waiter.query.qtype == RecordType::ANY {
                self.answer_any(&waiter.query, waiter.token, now);
            } else {
                let id = self.waiting.forward(waiter, told);
                self.resolver.query(question, 0, id, now);
            }
        }
    }

    /// Negotiates with the next gateway that answers for the name; without one the ask ends as the worst of those that
    /// were tried would have it.
    pub(crate) fn next_service(&mut self, pending: u64, now: Nanos) {
        loop {
            let Some(ask) = self.waiting.ask_mut(pending) else { return };
            let AskingStage::Negotiation(services) = &mut ask.stage else { return };
            let Some(service) = services.pop_front() else {
                let none = || (Failed::Negotiation, "no gateway that answers for it can be reached".into());
                let (failed, why) = ask.worst.take().unwrap_or_else(none);
                return self.fail(pending, failed, why, now);
            };
            match self.ask_gateway(pending, &service, now) {
                Ok(()) => return,
                Err((failed @ (Failed::Rate | Failed::Host), why)) => {
                    return self.fail(pending, failed, why, now);
                }
                Err((failed, why)) => self.blame(pending, failed, why),
            }
        }
    }

    /// Begins to negotiate with a gateway, or says why not.
    fn ask_gateway(
        &mut self,
        pending: u64,
        service: &CesService,
        now: Nanos,
    ) -> Result<(), (Failed, &'static str)> {
        let gone = (Failed::Host, "the host is no longer registered");
        let Some(ask) = self.waiting.ask(pending) else { return Ok(()) };
        let (id, destination) = (ask.host(), Arc::clone(ask.remote()));
        if !self.core.hosts().is_registered(id) {
            return Err(gone);
        }
        let source = self.core.hosts().get(id).map(|host| Arc::clone(host.name())).ok_or(gone)?;
        let ces_id = Name::parse(&service.ces_id)
            .map_err(|_| (Failed::Negotiation, "the id of its gateway is no name"))?
            .shared();
        if ces_id == *self.core.configuration().ces_id() {
            return Err((Failed::Policy, "its NAPTR names this gateway, which does not serve it"));
        }
        // Before anything is sent: who may not ask leaves no trace at the peer.
        if !self.core.is_allowed(&source, Direction::Outbound, &destination, &ces_id, now) {
            self.core.counters_mut().negotiation(crate::counters::NegotiationOutcome::OutboundDenied);
            return Err((Failed::Policy, "no outbound policy allows it"));
        }
        let rate = self.core.settings().dns.negotiation_rate;
        let host = self.core.hosts_mut().get_mut(id).ok_or(gone)?;
        if !self.negotiations.take(host.started(), rate, now) {
            return Err((
                Failed::Rate,
                "more negotiations a second than dns.negotiation_rate, or its host's share",
            ));
        }
        let endpoints = service.endpoints.iter().map(network::endpoint).collect();
        let request = H2hRequest { source, destination, ces_id, endpoints };
        if let Negotiating::Connected { local_tag, .. } =
            self.engine.negotiate(&mut self.core.at(now), request, now)
        {
            self.connected(pending, self.core.sessions().handle(local_tag), now);
        }
        Ok(())
    }

    fn blame(&mut self, pending: u64, failed: Failed, why: impl Into<Cow<'static, str>>) {
        if let Some(ask) = self.waiting.ask_mut(pending) {
            ask.blame(failed, why.into());
        }
    }

    /// A gateway that answers for the name has not agreed. Another may: what one of them is, or wants, says nothing of the
    /// next.
    pub(crate) fn not_agreed(&mut self, pending: u64, failed: Failed, why: &'static str, now: Nanos) {
        self.blame(pending, failed, why);
        self.next_service(pending, now);
    }

    /// The binding stands: everybody who waits gets its proxy address.
    pub(crate) fn connected(&mut self, pending: u64, handle: Handle, now: Nanos) {
        if !self.core.sessions().get(handle).is_some_and(|session| session.phase() == Phase::Up) {
            return self.fail(pending, Failed::Exhausted, "agreed, but the binding could not be made", now);
        }
        let Some((ask, waiters)) = self.waiting.end(pending) else { return };
        self.known.reached(ask.host().0, ask.remote());
        self.core.learn_records(ask.remote(), true, now);
        self.core.counters_mut().negotiation_time.record(now.saturating_sub(ask.since()));
        for Waiter { token, query } in waiters {
            self.answer_met(handle, true, query, token, now);
        }
    }

    /// No binding comes of it: everybody who waits is told so, and the log says why.
    pub(crate) fn fail(
        &mut self,
        pending: u64,
        failed: Failed,
        why: impl Into<Cow<'static, str>>,
        now: Nanos,
    ) {
        let Some((ask, waiters)) = self.waiting.end(pending) else { return };
        if matches!(ask.stage, AskingStage::Negotiation(_)) {
            self.core.learn_records(ask.remote(), true, now);
            self.core.counters_mut().negotiation_time.record(now.saturating_sub(ask.since()));
        }
        let mut line = match failed {
            Failed::Policy => LogLine::new(Severity::Info, "name refused"),
            _ => LogLine::new(Severity::Info, "name failed"),
        };
        if let Some(host) = self.core.hosts().get(ask.host()) {
            line = line.host(host.name());
        }
        self.core.log(line.remote(ask.remote()).reason(why));
        if failed == Failed::Policy {
            self.known.refused(ask.host().0, ask.remote(), now);
        }
        for Waiter { token, query } in waiters {
            let outcome = match failed {
                // RFC 8020 §2: a name that is refused is not there, for no type.
                Failed::Policy => {
                    let bytes = Answer::nx_domain(Voice::Recursive, None).emit(&query);
                    self.answer(QuerySide::Inside, token, bytes, QueryOutcome::PolicyRefused);
                    continue;
                }
                Failed::Host => {
                    self.refuse(token, &query, QueryOutcome::HostUnknown);
                    continue;
                }
                _ if !is_for_address(&query) => {
                    self.answer_beside(query, token, now);
                    continue;
                }
                Failed::Discovery => QueryOutcome::UpstreamFailed,
                Failed::Negotiation => QueryOutcome::NegotiationFailed,
                Failed::Exhausted => QueryOutcome::Exhausted,
                Failed::Rate => QueryOutcome::NegotiationRate,
            };
            self.serv_fail(token, &query, outcome);
        }
    }

    /// Answers a query about a name that a binding leads to.
    fn answer_met(&mut self, handle: Handle, is_new: bool, query: Query, token: QueryToken, now: Nanos) {
        if is_for_address(&query) {
            self.answer_connected(handle, is_new, &query, token, now);
        } else {
            self.answer_beside(query, token, now);
        }
    }

    /// What a name with CES service has beside addresses. RFC 9460 §7.3: SVCB and HTTPS would lead elsewhere than its
    /// address does, by their hints and by the name of another target.
    fn answer_beside(&mut self, query: Query, token: QueryToken, now: Nanos) {
        if matches!(query.qtype, RecordType::SVCB | RecordType::HTTPS) {
            let bytes = Answer::no_data(Voice::Recursive, None).emit(&query);
            return self.answer(QuerySide::Inside, token, bytes, QueryOutcome::NoData);
        }
        self.forward(query, token, now);
    }

    /// Answers with the proxy address of a binding; AAAA with nothing, since the far host is reached over IPv4 here.
    pub(crate) fn answer_connected(
        &mut self,
        handle: Handle,
        is_new: bool,
        query: &Query,
        token: QueryToken,
        now: Nanos,
    ) {
        let Some(session) = self.core.sessions().get(handle) else {
            return self.serv_fail(token, query, QueryOutcome::Exhausted);
        };
        let dns = &self.core.settings().dns;
        let wanted = match is_new {
            // Nobody knows whether the peer's side still stands.
            _ if self.is_away(handle) => UNSURE_TTL_S,
            true => dns.new_ttl_s,
            false => dns.connected_ttl_s,
        };
        let ttl = session.answer_ttl(wanted, now);
        let bytes = answer::addresses(query, Voice::Recursive, ttl, &[session.proxy().ip()]);
        let outcome = match query.qtype {
            RecordType::A if is_new => QueryOutcome::Negotiated,
            RecordType::A => QueryOutcome::Connected,
            _ => QueryOutcome::NoData,
        };
        self.answer(QuerySide::Inside, token, bytes, outcome);
    }
}

/// Whether a query is for addresses: those of a far name come from a negotiation.
fn is_for_address(query: &Query) -> bool {
    matches!(query.qtype, RecordType::A | RecordType::AAAA)
}
