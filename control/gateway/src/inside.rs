//! The life of a name that an inside host asks for, from its query to the answer.

use crate::asking::{Ask, Failed, Pending, Stage, Waiter};
use crate::gateway::Gateway;
use crate::hosts::{HostId, Link};
use crate::log::{Entry, Level};
use crate::names::Name;
use crate::network;
use crate::output::QueryToken;
use crate::sessions::Phase;
use ces_cetp::engine::{Asked, Direction, H2hRequest};
use ces_dataplane::tag::Handle;
use ces_dns::RecordType;
use ces_dns::answer::{self, Answer, Voice};
use ces_dns::message::{Query, Transport};
use ces_dns::naptr::{self, Defaults};
use ces_dns::outcome::{QueryOutcome, Side};
use ces_dns::question::Question;
use ces_dns::resolver::Resolution;
use ces_meter::Rate;
use std::net::IpAddr;
use std::sync::Arc;

impl Gateway {
    pub(crate) fn inside(&mut self, client: IpAddr, name: Option<&str>, query: Query, token: QueryToken) {
        let now = self.core.now;
        let id = match client.to_canonical() {
            IpAddr::V4(address) => self.core.hosts.at(address),
            IpAddr::V6(_) => None,
        };
        let is_blocked = id.is_some_and(|id| self.core.is_blocked(id));
        let Some((id, host)) = id.and_then(|id| self.core.hosts.get_mut(id).map(|host| (id, host))) else {
            self.core.log(Entry::new(Level::Info, "query from an unknown host").address(client));
            return self.refuse(token, &query, QueryOutcome::HostUnknown);
        };
        if is_blocked {
            return self.refuse(token, &query, QueryOutcome::HostBlocked);
        }
        if !host.queries.take(Rate::per_second(self.core.settings.dns.host_rate), now) {
            return self.refuse(token, &query, QueryOutcome::RateClient);
        }
        if self.reverse(id, &query, token) {
            return;
        }
        // RFC 4035 §3.1.4.1: DS of a zone stands at its parent, which is asked like any other name.
        if self.zones.contains(&query.name) && !self.zones.is_for_parent(&query.name, query.qtype) {
            return self.own_name(id, name, &query, token);
        }
        if self.served_here(&query, token) {
            return;
        }
        // RFC 8482 §4.2: nobody needs all records of a name, and among them would be addresses that lead around a tunnel.
        if query.qtype == RecordType::ANY {
            return self.answer(Side::Inside, token, answer::any(&query), QueryOutcome::Authoritative);
        }
        match (query.qtype, name) {
            (RecordType::A | RecordType::AAAA, Some(name)) => self.remote_name(id, name, query, token),
            _ => self.forward(query, token),
        }
    }

    /// A or AAAA of a name that is not ours.
    fn remote_name(&mut self, id: HostId, name: &str, query: Query, token: QueryToken) {
        match self.core.link(id, name) {
            Some(Link::Up(handle)) if !self.is_away(handle) => {
                self.answer_connected(handle, false, &query, token);
            }
            Some(Link::Asking(pending)) => self.join(pending, query, token),
            // A peer without connection may have restarted and lost its side: it is asked again. If it has not, or cannot
            // be reached, the engine answers with the session that stands.
            Some(Link::Up(_)) | None => {
                let question = Question::new(query.name.clone(), RecordType::NAPTR);
                let Some(pending) = self.wait(query.transport, token, &query) else { return };
                let remote: Arc<str> = name.into();
                if let Some(host) = self.core.hosts.get_mut(id) {
                    host.asking.insert(Arc::clone(&remote), pending);
                }
                let ask = Ask {
                    host: id,
                    remote,
                    waiters: vec![Waiter { token, query }],
                    stage: Stage::Discovery,
                    since: self.core.now,
                };
                self.pending.insert(pending, Pending::Ask(ask));
                let patience = self.core.settings.dns.naptr_timeout_ms;
                self.resolver.query(question, patience, pending, self.core.now);
            }
        }
    }

    /// Whether a binding's peer has lost all its connections.
    fn is_away(&self, handle: Handle) -> bool {
        self.core
            .sessions()
            .get(handle)
            .is_some_and(|session| session.tunnel().is_some() && !self.engine.is_connected(session.peer()))
    }

    /// One more who asks for what is being asked already.
    fn join(&mut self, pending: u64, query: Query, token: QueryToken) {
        let most = self.core.settings.dns.waiting_per_name as usize;
        let has_room = match self.pending.get(&pending) {
            Some(Pending::Ask(ask)) => ask.waiters.len() < most,
            _ => false,
        };
        if !has_room || self.waiting >= self.core.settings.dns.waiting {
            return self.serv_fail(token, &query, QueryOutcome::WaitingFull);
        }
        self.waiting += 1;
        self.core.counters.joined += 1;
        if query.transport == Transport::Tcp {
            self.tcp_waiting.insert(token, pending);
        }
        if let Some(Pending::Ask(ask)) = self.pending.get_mut(&pending) {
            ask.waiters.push(Waiter { token, query });
        }
    }

    /// A place for a query that has to wait; if there is none it is answered at once.
    fn wait(&mut self, transport: Transport, token: QueryToken, query: &Query) -> Option<u64> {
        if self.waiting >= self.core.settings.dns.waiting {
            self.serv_fail(token, query, QueryOutcome::WaitingFull);
            return None;
        }
        self.waiting += 1;
        let id = self.next_pending;
        self.next_pending += 1;
        if transport == Transport::Tcp {
            self.tcp_waiting.insert(token, id);
        }
        Some(id)
    }

    /// Gives a query to the resolver as it is.
    fn forward(&mut self, query: Query, token: QueryToken) {
        let question = Question::of(&query);
        // The path of every repeated query to the Internet: nothing to wait for.
        if let Some(resolution) = self.resolver.cached(&question, self.core.now) {
            let bytes = resolution.reply(&query, self.core.now);
            return self.answer(Side::Inside, token, bytes, resolution.outcome());
        }
        let Some(pending) = self.wait(query.transport, token, &query) else { return };
        self.pending.insert(pending, Pending::Forward(Waiter { token, query }));
        self.resolver.query(question, 0, pending, self.core.now);
    }

    /// The resolver has come to an end with something.
    pub(crate) fn resolved(&mut self, pending: u64, resolution: Resolution) {
        match self.pending.get(&pending) {
            Some(Pending::Forward(_)) => {
                if let Some(Pending::Forward(waiter)) = self.pending.remove(&pending) {
                    let bytes = resolution.reply(&waiter.query, self.core.now);
                    self.waited(&waiter);
                    self.answer(Side::Inside, waiter.token, bytes, resolution.outcome());
                }
            }
            Some(Pending::Ask(ask)) if matches!(ask.stage, Stage::Discovery) => {
                self.discovered(pending, resolution);
            }
            _ => {}
        }
    }

    fn waited(&mut self, waiter: &Waiter) {
        self.waiting -= 1;
        if waiter.query.transport == Transport::Tcp {
            self.tcp_waiting.remove(&waiter.token);
        }
    }

    fn discovered(&mut self, pending: u64, resolution: Resolution) {
        let (services, owner) = match &resolution {
            Resolution::Answer(received) => {
                let defaults = Defaults { port: network::DEFAULT_PORT, proto: naptr::Proto::Tls };
                let records = received.packet.answers();
                let owner = records.iter().find(|record| record.record_type() == RecordType::NAPTR);
                (naptr::discover(&records, defaults).services, owner.map(|record| record.name.clone()))
            }
            Resolution::NoData(_) | Resolution::NxDomain(_) => (Vec::new(), None),
            Resolution::ServFail | Resolution::Refused | Resolution::Timeout => {
                return self.fail(pending, Failed::Upstream(resolution), "the resolver does not answer");
            }
        };
        if services.is_empty() {
            return self.forward_ask(pending);
        }
        if let Some(Pending::Ask(ask)) = self.pending.get_mut(&pending) {
            ask.stage = Stage::Negotiation(services.into());
        }
        if self.follow_alias(pending, owner.as_ref()) {
            self.next_service(pending, Failed::Negotiation);
        }
    }

    /// The records may stand at another name than the one that was asked for (CNAME): the far gateway knows only that
    /// one, so it is what the ask is about from here on. False if the ask has come to its end by that.
    fn follow_alias(&mut self, pending: u64, owner: Option<&ces_dns::Name>) -> bool {
        let Some(Pending::Ask(ask)) = self.pending.get(&pending) else { return false };
        let id = ask.host;
        let Some(owner) = owner.map(ces_dns::fqdn).filter(|owner| **owner != *ask.remote) else {
            return true;
        };
        let is_ours = self.zones.contains(&ces_dns::name(&owner).unwrap_or_default());
        let link = self.core.link(id, &owner);
        if link.is_none() && !is_ours {
            let Some(Pending::Ask(ask)) = self.pending.get_mut(&pending) else { return false };
            let alias = std::mem::replace(&mut ask.remote, owner.into());
            let canonical = Arc::clone(&ask.remote);
            if let Some(host) = self.core.hosts.get_mut(id) {
                host.asking.remove(&alias);
                host.asking.insert(canonical, pending);
            }
            return true;
        }
        let Some(Pending::Ask(ask)) = self.pending.remove(&pending) else { return false };
        self.unlink(&ask, pending);
        for waiter in ask.waiters {
            self.waited(&waiter);
            let Waiter { token, query } = waiter;
            match link {
                Some(Link::Up(handle)) => self.answer_connected(handle, false, &query, token),
                Some(Link::Asking(other)) => self.join(other, query, token),
                None => self.own_name(id, Some(&owner), &query, token),
            }
        }
        false
    }

    /// No CES answers for the name: its queries are ordinary ones.
    fn forward_ask(&mut self, pending: u64) {
        let Some(Pending::Ask(ask)) = self.pending.remove(&pending) else { return };
        self.unlink(&ask, pending);
        for waiter in ask.waiters {
            let (token, question) = (waiter.token, Question::of(&waiter.query));
            let id = self.next_pending;
            self.next_pending += 1;
            if waiter.query.transport == Transport::Tcp {
                self.tcp_waiting.insert(token, id);
            }
            self.pending.insert(id, Pending::Forward(waiter));
            self.resolver.query(question, 0, id, self.core.now);
        }
    }

    /// Negotiates with the next gateway that answers for the name; without one the ask ends as `last`.
    pub(crate) fn next_service(&mut self, pending: u64, last: Failed) {
        let now = self.core.now;
        let Some(Pending::Ask(ask)) = self.pending.get_mut(&pending) else { return };
        let Stage::Negotiation(services) = &mut ask.stage else { return };
        let Some(service) = services.pop_front() else {
            return self.fail(pending, last, "no gateway that answers for it can be reached");
        };
        let (id, destination) = (ask.host, Arc::clone(&ask.remote));
        let Some(host) = self.core.hosts.get(id).filter(|_| self.core.hosts.is_registered(id)) else {
            return self.fail(pending, Failed::Host, "the host is no longer registered");
        };
        let source = Arc::clone(&host.name);
        let Ok(ces_id) = Name::parse(&service.ces_id).map(|name| name.shared()) else {
            return self.next_service(pending, last);
        };
        if ces_id == self.core.ces_id {
            return self.fail(
                pending,
                Failed::Policy,
                "its NAPTR names this gateway, which does not serve it",
            );
        }
        // Before anything is sent: who may not ask leaves no trace at the peer.
        if !self.core.is_allowed(&source, Direction::Outbound, &destination, &ces_id) {
            self.core.counters.negotiation(crate::counters::NegotiationOutcome::OutboundDenied);
            return self.fail(pending, Failed::Policy, "no outbound policy allows it");
        }
        if !self.negotiations.take(Rate::per_second(self.core.settings.dns.negotiation_rate), now) {
            return self.fail(pending, Failed::Rate, "more negotiations a second than dns.negotiation_rate");
        }
        let endpoints = service.endpoints.iter().map(network::endpoint).collect();
        let request = H2hRequest { source, destination, ces_id, endpoints };
        if let Asked::Connected { local_tag, .. } = self.engine.negotiate(&mut self.core, request, now) {
            self.connected(pending, self.core.sessions().handle(local_tag));
        }
    }

    /// The binding stands: everybody who waits gets its proxy address.
    pub(crate) fn connected(&mut self, pending: u64, handle: Handle) {
        if !self.core.sessions().get(handle).is_some_and(|session| session.phase() == Phase::Up) {
            return self.fail(pending, Failed::Exhausted, "agreed, but the binding could not be made");
        }
        let Some(Pending::Ask(ask)) = self.pending.remove(&pending) else { return };
        self.unlink(&ask, pending);
        self.core.counters.negotiation_time.record(self.core.now.saturating_sub(ask.since));
        for waiter in &ask.waiters {
            self.waited(waiter);
            self.answer_connected(handle, true, &waiter.query, waiter.token);
        }
    }

    /// No binding comes of it: everybody who waits is told so, and the log says why.
    pub(crate) fn fail(
        &mut self,
        pending: u64,
        failed: Failed,
        why: impl Into<std::borrow::Cow<'static, str>>,
    ) {
        let Some(Pending::Ask(ask)) = self.pending.remove(&pending) else { return };
        self.unlink(&ask, pending);
        if matches!(ask.stage, Stage::Negotiation(_)) {
            self.core.counters.negotiation_time.record(self.core.now.saturating_sub(ask.since));
        }
        let mut line = match failed {
            Failed::Policy => Entry::new(Level::Info, "name refused"),
            _ => Entry::new(Level::Info, "name failed"),
        };
        if let Some(host) = self.core.hosts.get(ask.host) {
            line = line.host(&host.name);
        }
        self.core.log(line.remote(&ask.remote).reason(why));
        for waiter in &ask.waiters {
            self.waited(waiter);
            let (query, token) = (&waiter.query, waiter.token);
            match &failed {
                Failed::Upstream(resolution) => {
                    let bytes = resolution.reply(query, self.core.now);
                    self.answer(Side::Inside, token, bytes, resolution.outcome());
                }
                Failed::Policy => {
                    let bytes = Answer::nx_domain(Voice::Recursive, None).emit(query);
                    self.answer(Side::Inside, token, bytes, QueryOutcome::PolicyRefused);
                }
                Failed::Negotiation => self.serv_fail(token, query, QueryOutcome::NegotiationFailed),
                Failed::Exhausted => self.serv_fail(token, query, QueryOutcome::Exhausted),
                Failed::Rate => self.serv_fail(token, query, QueryOutcome::NegotiationRate),
                Failed::Host => self.refuse(token, query, QueryOutcome::HostUnknown),
            }
        }
    }

    fn unlink(&mut self, ask: &Ask, pending: u64) {
        if let Some(host) = self.core.hosts.get_mut(ask.host)
            && host.asking.get(&ask.remote) == Some(&pending)
        {
            host.asking.remove(&ask.remote);
        }
    }

    /// Answers with the proxy address of a binding; AAAA with nothing, since the far host is reached over IPv4 here.
    pub(crate) fn answer_connected(
        &mut self,
        handle: Handle,
        is_new: bool,
        query: &Query,
        token: QueryToken,
    ) {
        let Some(session) = self.core.sessions().get(handle) else {
            return self.serv_fail(token, query, QueryOutcome::Exhausted);
        };
        let dns = &self.core.settings.dns;
        let wanted = if is_new { dns.new_ttl_s } else { dns.connected_ttl_s };
        let ttl = session.answer_ttl(wanted, self.core.now);
        let bytes = answer::addresses(query, Voice::Recursive, ttl, &[IpAddr::V4(session.proxy())]);
        let outcome = match query.qtype {
            RecordType::A if is_new => QueryOutcome::Negotiated,
            RecordType::A => QueryOutcome::Connected,
            _ => QueryOutcome::NoData,
        };
        self.answer(Side::Inside, token, bytes, outcome);
    }
}
