//! What the operator sees and does.

use super::Gateway;
use super::reloading::Discarded;
use crate::asking::{Failed, Pending, Waiting};
use crate::counters::CoreCounters;
use crate::hosts::{Host, HostId};
use crate::inbound::{
    InboundFigures, InboundSnapshot, ReputationSnapshot, ReservationSnapshot, ServiceSnapshot,
};
use crate::log::{LogLine, Severity};
use crate::output::AdminToken;
use crate::sessions::{CesSession, CesSessions, Change, Phase, TunnelKey};
use crate::snapshot::{
    BindingSnapshot, DnsSnapshot, HostSnapshot, Page, PoolSnapshot, ServerSnapshot, TunnelSnapshot,
};
use crate::{Nanos, mac_text};
use ces_cetp::engine::{BlockSnapshot, FilterSnapshot, FlowFilter, PeerSnapshot};
use ces_dataplane::msg::{BindingStats, TunnelId};
use ces_dataplane::tag::Handle;
use ces_dns::outcome::QueryOutcome;
use std::net::IpAddr;
use std::sync::Arc;

/// Slots that one page of bindings looks at, whatever it finds: some microseconds.
const SLOTS_A_PAGE: usize = 4096;

impl Gateway {
    /// What was counted.
    pub fn counters(&self) -> &CoreCounters {
        self.core.counters()
    }

    /// What the CETP engine counted.
    pub fn cetp_counters(&self) -> &ces_cetp::engine::CetpCounters {
        self.engine.counters()
    }

    /// What the resolver counted.
    pub fn resolver_counters(&self) -> &ces_dns::resolver::ResolverCounters {
        self.resolver.counters()
    }

    /// All hosts, by name.
    pub fn hosts(&self, now: Nanos) -> Vec<HostSnapshot> {
        let mut hosts = self.hosts_page(0, usize::MAX, now).rows;
        hosts.sort_by(|a, b| a.name.cmp(&b.name));
        hosts
    }

    /// Hosts, in no order: at most so many, from where the page before ended; the first begins at 0.
    pub fn hosts_page(&self, from: u64, most: usize, now: Nanos) -> Page<HostSnapshot> {
        let sessions = self.core.sessions();
        let describe = |host: &Host| HostSnapshot {
            name: Arc::clone(host.name()),
            address: host.address(),
            services: host.services().to_vec(),
            bindings: sessions.proxies_used(host.address()),
            bindings_max: self.core.settings().realm.host_bindings,
            blocked_s: sessions
                .host_blocked_until(host.name(), now)
                .map(|until| (until - now).div_ceil(crate::SECOND)),
            worker: host.worker(),
            mac: host.pin().mac().map(mac_text),
            mac_known_by: host.pin().known_by(),
            mac_other: host.pin().others().0.map(mac_text),
            mac_others: host.pin().others().1,
        };
        let (hosts, next) = self.core.hosts().page(from, most);
        Page { rows: hosts.into_iter().map(describe).collect(), next }
    }

    /// All sessions, as data.
    pub fn sessions(&self) -> &CesSessions {
        self.core.sessions()
    }

    /// All bindings, without counters: those are read one by one with [`Gateway::read_binding`].
    pub fn bindings(&self, now: Nanos) -> Vec<BindingSnapshot> {
        let (mut rows, mut from) = (Vec::new(), Some(0));
        while let Some(start) = from {
            let page = self.bindings_page(start, usize::MAX, now);
            rows.extend(page.rows);
            from = page.next;
        }
        rows
    }

    /// Bindings as [`Gateway::bindings`] has them: at most so many, from where the page before ended; the first begins at 0.
    pub fn bindings_page(&self, from: u64, most: usize, now: Nanos) -> Page<BindingSnapshot> {
        let (sessions, next) = self.core.sessions().page(from, most, SLOTS_A_PAGE);
        let known = sessions.into_iter().filter(|session| session.stands());
        Page { rows: known.filter_map(|session| self.describe(session, None, now)).collect(), next }
    }

    /// The binding with that tag of ours, without counters.
    pub fn binding(&self, tag: u32, now: Nanos) -> Option<BindingSnapshot> {
        let session = self.core.sessions().get(self.core.sessions().handle(tag))?;
        self.describe(session, None, now)
    }

    /// Asks the worker for a binding's counters; the answer is an [`Output::Binding`](crate::Output::Binding).
    pub fn read_binding(&mut self, tag: u32, token: AdminToken) {
        let handle = self.core.sessions().handle(tag);
        let (fabric, out) = self.core.fabric_mut();
        fabric.read(handle, token, out);
    }

    pub(crate) fn snapshot(
        &self,
        handle: Handle,
        stats: Option<BindingStats>,
        now: Nanos,
    ) -> Option<BindingSnapshot> {
        self.core.sessions().get(handle).and_then(|session| self.describe(session, stats, now))
    }

    /// `None` for what is only reserved.
    fn describe(
        &self,
        session: &CesSession,
        stats: Option<BindingStats>,
        now: Nanos,
    ) -> Option<BindingSnapshot> {
        let terms = session.terms()?;
        let tunnel = session.tunnel();
        Some(BindingSnapshot {
            tag: session.tag(),
            remote_tag: tunnel.map_or(0, |(_, remote_tag)| remote_tag),
            role: terms.role,
            local: Arc::clone(session.local()),
            remote: Arc::clone(session.remote()),
            host: session.host(),
            proxy: session.proxy(),
            peer: tunnel.is_some().then(|| Arc::clone(session.peer())),
            tunnel: tunnel.and_then(|(key, _)| self.describe_tunnel(self.core.sessions().tunnel_id(key)?)),
            idle_s: terms.idle_s,
            hard_s: terms.hard_s,
            age_s: now.saturating_sub(session.since()) / crate::SECOND,
            protocol: terms.carries.protocol,
            port: terms.carries.port,
            rate_bps: terms.carries.rate_bps,
            worker: self.core.sessions().worker(session.handle()),
            stats,
        })
    }

    fn describe_tunnel(&self, id: TunnelId) -> Option<TunnelSnapshot> {
        let entry = self.core.sessions().tunnel(id)?;
        let TunnelKey { peer, encapsulation, local, remote, id_in, id_out } = entry.key.clone();
        let (mtu, bindings) = (self.core.fabric().mtu(id), entry.bindings);
        Some(TunnelSnapshot { peer, encapsulation, local, remote, id_in, id_out, mtu, bindings })
    }

    /// All tunnels.
    pub fn tunnels(&self) -> Vec<TunnelSnapshot> {
        let tunnels = self.core.sessions().tunnels().iter();
        tunnels.filter_map(|(id, _)| self.describe_tunnel(id)).collect()
    }

    /// All CETP peers.
    pub fn peers(&self, now: Nanos) -> Vec<PeerSnapshot> {
        self.engine.peers(now)
    }

    /// The addresses that CETP blocks.
    pub fn blocks(&self, now: Nanos) -> Vec<BlockSnapshot> {
        self.engine.blocks(now)
    }

    /// The names that CETP filters.
    pub fn filters(&self, now: Nanos) -> Vec<FilterSnapshot> {
        self.engine.filters(now)
    }

    /// The name service.
    pub fn dns(&self, now: Nanos) -> DnsSnapshot {
        let cache = self.resolver.cache_usage();
        let server = |state: ces_dns::resolver::ServerState| ServerSnapshot {
            address: state.address,
            is_down: state.is_down,
            folds_case: state.folds_case,
            sent: state.sent,
            answered: state.answered,
        };
        DnsSnapshot {
            counters: self.core.counters().clone(),
            cache_entries: cache.entries as u64,
            cache_bytes: cache.bytes,
            cache_evicted: cache.evicted,
            servers: self.resolver.servers(now).into_iter().map(server).collect(),
            resolver: self.resolver.counters().iter().collect(),
            waiting: self.waiting.queries(),
        }
    }

    /// How full the pools are.
    pub fn pools(&self) -> PoolSnapshot {
        let core = &self.core;
        let sessions = core.sessions();
        let (slots_used, slots_per_worker) = sessions.slots_used();
        let (proxies_used, proxies_used_max) = sessions.proxies_occupied();
        let (neighbours_used, neighbours_max) = core.fabric().hops();
        PoolSnapshot {
            slots_used,
            slots_per_worker,
            tunnels_used: sessions.tunnels().used(),
            tunnels_max: sessions.tunnels().max(),
            neighbours_used,
            neighbours_max,
            proxies_used,
            proxies_used_max,
            proxies_per_host: core.settings().realm.host_bindings,
            waiting: self.waiting.queries(),
            waiting_max: core.settings().dns.waiting,
        }
    }

    /// The circular pool; `None`: there is none.
    pub fn inbound(&self) -> Option<InboundSnapshot> {
        self.inbound.is_there().then(|| self.inbound.snapshot())
    }

    /// Reputations of who asks from outside, and of who comes.
    pub fn reputations(&self, now: Nanos) -> Option<ReputationSnapshot> {
        self.inbound.is_there().then(|| self.inbound.reputations(now))
    }

    /// How full it is; `None`: there is none.
    pub fn inbound_figures(&self) -> Option<InboundFigures> {
        self.inbound.is_there().then(|| self.inbound.figures())
    }

    /// Some of the pending reservations: at most as many as that, from this place on.
    pub fn reservations_page(&self, from: u64, most: usize, now: Nanos) -> Page<ReservationSnapshot> {
        self.inbound.page(from, most, now)
    }

    /// Services for the plain Internet of some hosts: of at most as many as that, from this place on.
    pub fn services_page(&self, from: u64, most: usize) -> Page<ServiceSnapshot> {
        self.inbound.services(self.core.configuration().registry().hosts(), from, most)
    }

    /// Ends a session (for a local pair both its bindings) and tells the peer. False if there is none.
    pub fn terminate_session(&mut self, tag: u32, now: Nanos) -> bool {
        let ended = self.terminate(self.core.sessions().handle(tag), now);
        self.settle(now);
        ended
    }

    /// Ends a session that stands, for a local pair both its bindings.
    pub(crate) fn terminate(&mut self, handle: Handle, now: Nanos) -> bool {
        let Some(session) = self.core.sessions().get(handle) else { return false };
        let tag = session.tag();
        match (session.phase(), session.partner()) {
            (Phase::Up | Phase::Dormant, Some(partner)) => {
                self.core.remove(handle, now);
                self.core.remove(self.core.sessions().handle(partner), now);
                true
            }
            (Phase::Up, _) => self.engine.terminate_session(tag),
            _ => false,
        }
    }

    /// Ends all sessions with a peer; how many there were.
    pub fn terminate_sessions(&mut self, ces_id: &str, now: Nanos) -> usize {
        let count = self.engine.terminate_sessions(&mut self.core.at(now), ces_id, now);
        self.settle(now);
        count
    }

    /// Ends C2C with a peer, and with it all sessions. False if it is not up.
    pub fn terminate_peer(&mut self, ces_id: &str, now: Nanos) -> bool {
        let ended = self.engine.terminate_peer(&mut self.core.at(now), ces_id, now);
        self.settle(now);
        ended
    }

    /// Refuses a host, in and out, for so many seconds, and ends its sessions. False if there is no such host.
    pub fn block_host(&mut self, name: &str, for_s: u64, now: Nanos) -> bool {
        let Some(id) = self.host_id(name) else { return false };
        let Some(host) = self.core.hosts().get(id) else { return false };
        let (name, address) = (Arc::clone(host.name()), host.address());
        let until = now.saturating_add(for_s.saturating_mul(crate::SECOND));
        let _ = self.core.change(Change::HostBlocked { name: Arc::clone(&name), until: Some(until) }, now);
        let line = LogLine::new(Severity::Info, "host blocked").host(&name).reason(format!("for {for_s} s"));
        self.core.log(line);
        let sessions: Vec<Handle> = self.core.sessions().of(address).map(CesSession::handle).collect();
        for handle in sessions {
            self.terminate(handle, now);
        }
        self.settle(now);
        true
    }

    /// Lets a blocked host act again. False if it was not blocked.
    pub fn unblock_host(&mut self, name: &str, now: Nanos) -> bool {
        let Some(id) = self.host_id(name).filter(|id| self.core.is_blocked(*id, now)) else { return false };
        let Some(name) = self.core.hosts().get(id).map(|host| Arc::clone(host.name())) else { return false };
        self.core.log(LogLine::new(Severity::Info, "host unblocked").host(&name));
        self.core.change(Change::HostBlocked { name, until: None }, now).is_ok()
    }

    fn host_id(&self, name: &str) -> Option<HostId> {
        let name = crate::names::Name::parse(name).ok()?;
        self.core.hosts().named(name.as_str())
    }

    /// Asks a peer to stop flows to us for a while, and refuses them here meanwhile. False if the peer is not up.
    pub fn filter_at_peer(&mut self, ces_id: &str, filter: FlowFilter, now: Nanos) -> bool {
        let is_asked = self.engine.filter_at_peer(ces_id, filter, now).is_some();
        self.settle(now);
        is_asked
    }

    /// Tells a peer about misbehaviour in a session. False if there is none, or its peer is not up.
    pub fn report(&mut self, tag: u32, misbehavior: &str, now: Nanos) -> bool {
        let is_told = self.engine.report(tag, misbehavior, now).is_some();
        self.settle(now);
        is_told
    }

    /// Refuses a CETP sender's address for so many seconds.
    pub fn block_address(&mut self, address: IpAddr, for_s: u64, now: Nanos) {
        self.engine.block(&mut self.core.at(now), address, for_s.saturating_mul(crate::SECOND), now);
        self.settle(now);
    }

    /// Lets a blocked address in again. False if it was not blocked.
    pub fn unblock_address(&mut self, address: IpAddr, now: Nanos) -> bool {
        let _ = self.core.change(Change::AddressBlocked { address, until: None }, now);
        self.engine.unblock(address)
    }

    /// Forgets what the resolver's cache knows.
    pub fn flush_cache(&mut self) {
        let before = self.resolver.clear_cache();
        self.discarded.push(Discarded::new(before));
    }

    /// Says goodbye to all peers and answers what still waits. Poll the outputs once more, then stop. Sessions end, unless
    /// they are kept for the next process: then the peers see nothing but closed connections.
    pub fn shutdown(&mut self, keep_sessions: bool, now: Nanos) {
        if keep_sessions {
            self.engine.leave(&mut self.core.at(now), now);
        } else {
            self.engine.shutdown(&mut self.core.at(now), now);
        }
        self.settle(now);
        // An ask that ends may leave ordinary queries behind.
        let next = |waiting: &Waiting| {
            let whoever =
                |(_, pending): &(u64, &Pending)| matches!(pending, Pending::Ask(_) | Pending::Forward(..));
            waiting.iter().filter(whoever).map(|(id, _)| id).min()
        };
        while let Some(id) = next(&self.waiting) {
            if let Some((waiter, _)) = self.waiting.forwarded(id) {
                self.serv_fail(waiter.token, &waiter.query, QueryOutcome::UpstreamFailed);
            } else {
                self.fail(id, Failed::Negotiation, "the gateway stops", now);
            }
        }
    }
}
