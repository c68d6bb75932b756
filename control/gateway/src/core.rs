//! What the gateway owns beside its protocol engines: hosts, policy, pools, and the bindings in them.
//!
//! It is a value of its own so that the CETP engine can ask it (as its [`Realm`]) while it is driven.

use crate::Nanos;
use crate::counters::Counters;
use crate::gateway::Platform;
use crate::hosts::{HostId, Hosts, Link};
use crate::log::{Entry, Level};
use crate::output::{AdminToken, Output};
use crate::pools::{ProxyLimits, Slots, TunnelKey, Tunnels};
use crate::registry::{PolicySet, Registry, RuleLimits};
use crate::routes::Neighbours;
use crate::session::{Phase, Reach, Session};
use crate::settings::Settings;
use crate::snapshot::Role;
use ces_cetp::engine::{
    self as cetp, Direction, H2hSession, LocatorAddress, Realm, Reservation, ReserveError,
};
use ces_dataplane::msg::{Command, Encapsulation, Limits, NeighbourId, TunnelId};
use ces_dataplane::tag::{Handle, TagCipher, worker_of};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// How long a narrower path is believed in before the full width is tried again: RFC 1191 §6.3 recommends 10 minutes.
const NARROW_NS: Nanos = 600 * crate::SECOND;

/// Why an agreed session does not become a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GivenUp {
    /// It may not: what was agreed is no longer allowed, or cannot be carried.
    Refused(&'static str),
    /// Something has run out.
    Exhausted(&'static str),
}

pub(crate) struct Core {
    pub(crate) settings: Settings,
    pub(crate) ces_id: Arc<str>,
    pub(crate) registry: Registry,
    pub(crate) policies: PolicySet,
    pub(crate) hosts: Hosts,
    pub(crate) slots: Slots,
    pub(crate) tunnels: Tunnels,
    pub(crate) neighbours: Neighbours,
    pub(crate) proxies: ProxyLimits,
    pub(crate) workers: u32,
    pub(crate) outer_mtu: u16,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) counters: Counters,
    /// Administrators who wait for a binding's counters.
    pub(crate) reads: FxHashMap<Handle, Vec<AdminToken>>,
    /// The time of the call that is being handled: what the engine's questions do not carry.
    pub(crate) now: Nanos,
}

impl Core {
    pub(crate) fn new(
        settings: Settings,
        registry: Registry,
        policies: PolicySet,
        platform: &Platform,
        hash_seed: u64,
        now: Nanos,
    ) -> Self {
        let cipher = TagCipher::new(platform.tag_key);
        let mut core = Self {
            ces_id: settings.realm.ces_id.shared(),
            registry: Registry::default(),
            policies,
            hosts: Hosts::new(hash_seed),
            slots: Slots::new(platform.layout, cipher, platform.workers, platform.bindings_per_worker),
            tunnels: Tunnels::new(platform.tunnels),
            neighbours: Neighbours::new(platform.neighbours, platform.workers),
            proxies: ProxyLimits::new(
                settings.realm.proxy_pool,
                settings.realm.host_bindings,
                u64::from(settings.realm.proxy_rest_s) * crate::SECOND,
            ),
            workers: platform.workers,
            outer_mtu: platform.outer_mtu,
            outputs: VecDeque::new(),
            counters: Counters::default(),
            reads: FxHashMap::default(),
            now,
            settings,
        };
        for host in registry.hosts() {
            core.add_host(host);
        }
        core.registry = registry;
        core
    }

    pub(crate) fn add_host(&mut self, host: &crate::registry::HostEntry) -> HostId {
        let worker = worker_of(host.address.into(), self.workers);
        let services = host.services.iter().map(crate::names::Name::shared).collect();
        self.hosts.insert(host.name.shared(), services, host.address, worker, self.now)
    }

    pub(crate) fn log(&mut self, entry: Entry) {
        self.outputs.push_back(Output::Log(entry));
    }

    fn command(&mut self, worker: u32, command: Command) {
        self.outputs.push_back(Output::Dataplane { worker, command });
    }

    fn command_all(&mut self, command: Command) {
        for worker in 0..self.workers {
            self.command(worker, command);
        }
    }

    /// Whether policy, and the administrator, let a local name deal with a remote one.
    pub(crate) fn is_allowed(&self, local: &str, direction: Direction, remote: &str, peer: &str) -> bool {
        self.hosts.named(local).and_then(|id| self.hosts.get(id)).is_some_and(|h| !h.is_blocked(self.now))
            && self.policies.choose(local, direction, remote, peer).is_some()
    }

    /// Sets a slot and a proxy address aside.
    pub(crate) fn reserve_for(
        &mut self,
        id: HostId,
        local: Arc<str>,
        remote: Arc<str>,
        peer: Arc<str>,
    ) -> Result<Handle, ReserveError> {
        let host = self.hosts.get_mut(id).ok_or(ReserveError::UnknownHost)?;
        let proxy = host.proxies.allocate(&self.proxies, self.now).ok_or(ReserveError::PoolEmpty)?;
        let (address, now) = (host.address, self.now);
        let make =
            |handle, tag| Session::reserved(handle, tag, id, address, proxy, (local, remote, peer), now);
        self.slots.allocate(host.worker, make).ok_or_else(|| {
            host.proxies.unallocate(&self.proxies, proxy);
            ReserveError::TableFull
        })
    }

    /// Gives a reservation back: nobody heard of its proxy address.
    pub(crate) fn unreserve(&mut self, handle: Handle) {
        if self.slots.get(handle).is_some_and(|session| session.phase == Phase::Reserved)
            && let Some(session) = self.slots.release(handle)
            && let Some(host) = self.hosts.get_mut(session.host)
        {
            host.proxies.unallocate(&self.proxies, session.proxy);
            self.forget_if_gone(session.host);
        }
    }

    /// Makes a reserved session a binding. The error says what was missing; the session is then still reserved.
    pub(crate) fn session_up(&mut self, agreed: &H2hSession) -> Result<Handle, GivenUp> {
        let handle = self.slots.handle(agreed.local_tag);
        let session = self.slots.get(handle).ok_or(GivenUp::Exhausted("no reservation"))?;
        if session.phase != Phase::Reserved {
            return Err(GivenUp::Exhausted("no reservation"));
        }
        let id = session.host;
        if !self.hosts.is_registered(id) {
            return Err(GivenUp::Refused("the host is no longer registered"));
        }
        if self.hosts.get(id).is_some_and(|host| host.is_blocked(self.now)) {
            return Err(GivenUp::Refused("the host is blocked"));
        }
        let direction = match agreed.role {
            cetp::Role::Initiator => Direction::Outbound,
            cetp::Role::Responder => Direction::Inbound,
        };
        let rule = self.policies.choose(&agreed.local_fqdn, direction, &agreed.remote_fqdn, &agreed.ces_id);
        let own = rule.map(|rule| rule.limits).ok_or(GivenUp::Refused("policy no longer allows it"))?;
        let theirs = RuleLimits {
            protocol: agreed.carry.protocol,
            port: agreed.carry.port.filter(|port| *port > 0),
            rate_bps: agreed.carry.rate_bps.filter(|rate| *rate > 0),
            hard_ttl_s: (agreed.hard_ttl_s > 0).then_some(agreed.hard_ttl_s),
            idle_ttl_s: agreed.idle_ttl_s.map(|s| s.min(u32::from(u16::MAX)) as u16).filter(|s| *s > 0),
        };
        let limits =
            own.and(theirs).ok_or(GivenUp::Refused("the limits of both sides exclude each other"))?;
        let tunnel = self.tunnel_for(agreed)?;
        let Some(neighbour) = self.host_neighbour(id) else {
            self.release_tunnel(tunnel);
            return Err(GivenUp::Exhausted("no slot for a next hop left"));
        };
        let idle_s = limits.idle_ttl_s.unwrap_or(self.settings.cetp.idle_ttl_s);
        let now = self.now;
        let session = self.slots.get_mut(handle).ok_or(GivenUp::Exhausted("no reservation"))?;
        session.role = match agreed.role {
            cetp::Role::Initiator => Role::Initiator,
            cetp::Role::Responder => Role::Responder,
        };
        session.reach = Reach::Tunnel { tunnel, remote_tag: agreed.remote_tag };
        session.neighbour = neighbour;
        session.idle_s = idle_s;
        session.hard_s = limits.hard_ttl_s.unwrap_or(0);
        session.since = now;
        session.limits = data_limits(limits, agreed.role == cetp::Role::Responder);
        self.insert(handle);
        Ok(handle)
    }

    /// Tells the worker of a session that has all it needs, and lets its proxy address be found.
    pub(crate) fn insert(&mut self, handle: Handle) {
        let now = self.now;
        let Some(session) = self.slots.get_mut(handle) else { return };
        let Some(binding) = session.binding(now) else { return };
        session.phase = Phase::Up;
        let (id, proxy) = (session.host, session.proxy);
        if let Some(host) = self.hosts.get_mut(id) {
            host.by_proxy.insert(proxy, handle);
        }
        self.command(self.slots.worker(handle), Command::InsertBinding(handle, binding));
    }

    /// Takes a session out of use: nobody finds it by name or proxy address, and the worker removes its binding. Its slot
    /// and its proxy address come back when the worker has said so.
    pub(crate) fn remove(&mut self, handle: Handle) {
        let Some(session) = self.slots.get_mut(handle) else { return };
        match session.phase {
            Phase::Reserved => self.unreserve(handle),
            Phase::Up => {
                session.phase = Phase::Ending;
                self.unlink(handle);
                self.command(self.slots.worker(handle), Command::RemoveBinding(handle));
            }
            // The worker has ended it already.
            Phase::Dormant => self.release_binding(handle),
            Phase::Ending => {}
        }
    }

    /// A binding is gone at the worker: what it held comes back.
    pub(crate) fn release_binding(&mut self, handle: Handle) {
        self.unlink(handle);
        let Some(session) = self.slots.release(handle) else { return };
        if let Reach::Tunnel { tunnel, .. } = session.reach {
            self.release_tunnel(tunnel);
        }
        if let Reach::Local { .. } = session.reach {
            self.neighbours.release(session.neighbour);
        }
        if let Some(host) = self.hosts.get_mut(session.host) {
            host.proxies.release(&self.proxies, session.proxy, self.now);
        }
        for token in self.reads.remove(&handle).into_iter().flatten() {
            self.outputs.push_back(Output::Binding { token, binding: None });
        }
        self.forget_if_gone(session.host);
    }

    fn unlink(&mut self, handle: Handle) {
        let Some(session) = self.slots.get(handle) else { return };
        let Some(host) = self.hosts.get_mut(session.host) else { return };
        if host.by_proxy.get(&session.proxy) == Some(&handle) {
            host.by_proxy.remove(&session.proxy);
        }
        if host.links.get(&session.remote) == Some(&Link::Up(handle)) {
            host.links.remove(&session.remote);
        }
    }

    /// A host that is no longer registered is forgotten with its last binding.
    pub(crate) fn forget_if_gone(&mut self, id: HostId) {
        let is_unused = self.hosts.get(id).is_some_and(|host| host.proxies.in_use() == 0);
        if is_unused
            && !self.hosts.is_registered(id)
            && let Some(neighbour) = self.hosts.remove(id).and_then(|host| host.neighbour)
        {
            self.neighbours.release(neighbour);
        }
    }

    /// The host as a next hop: resolved at its first binding, so that its first packet does not wait.
    pub(crate) fn host_neighbour(&mut self, id: HostId) -> Option<NeighbourId> {
        let host = self.hosts.get_mut(id)?;
        if host.neighbour.is_none() {
            host.neighbour = self.neighbours.acquire(host.address, &mut self.outputs);
        }
        host.neighbour
    }

    fn tunnel_for(&mut self, agreed: &H2hSession) -> Result<TunnelId, GivenUp> {
        let ipv4 = |address| match address {
            LocatorAddress::Ip(IpAddr::V4(address)) => Some(address),
            _ => None,
        };
        let choice = &agreed.tunnel;
        let local = ipv4(choice.local).ok_or(GivenUp::Refused("only IPv4 locators are carried"))?;
        let remote = ipv4(choice.remote).ok_or(GivenUp::Refused("only IPv4 locators are carried"))?;
        let key = TunnelKey {
            peer: Arc::clone(&agreed.ces_id),
            encapsulation: encapsulation(choice.encapsulation),
            local,
            remote,
            id_in: choice.id_in,
            id_out: choice.id_out,
        };
        if let Some(id) = self.tunnels.share(&key) {
            return Ok(id);
        }
        if !self.tunnels.has_room() {
            return Err(GivenUp::Exhausted("no tunnel left"));
        }
        let neighbour = self
            .neighbours
            .acquire(remote, &mut self.outputs)
            .ok_or(GivenUp::Exhausted("no slot for a next hop left"))?;
        let (id, tunnel) = self
            .tunnels
            .insert(key, neighbour, self.outer_mtu)
            .ok_or(GivenUp::Exhausted("no tunnel left"))?;
        self.command_all(Command::SetTunnel(id, tunnel));
        Ok(id)
    }

    fn release_tunnel(&mut self, id: TunnelId) {
        if let Some(entry) = self.tunnels.release(id) {
            self.command_all(Command::RemoveTunnel(id));
            self.neighbours.release(entry.neighbour);
        }
    }

    /// The path to a peer is narrower than thought.
    pub(crate) fn tunnel_mtu(&mut self, id: TunnelId, mtu: u16) {
        let Some(entry) = self.tunnels.get_mut(id) else { return };
        if mtu >= entry.mtu {
            return;
        }
        entry.mtu = mtu;
        entry.narrow_until = Some(self.now + NARROW_NS);
        let tunnel = entry.tunnel();
        let line = Entry::new(Level::Info, "tunnel mtu")
            .peer(&entry.key.peer)
            .address(entry.key.remote)
            .reason(format!("{mtu} bytes"));
        self.command_all(Command::SetTunnel(id, tunnel));
        self.log(line);
    }

    /// Paths that were narrow long enough are tried at full width again.
    pub(crate) fn widen_tunnels(&mut self) {
        for (id, tunnel) in self.tunnels.widen(self.outer_mtu, self.now) {
            self.command_all(Command::SetTunnel(id, tunnel));
        }
    }

    /// What stands behind a proxy address of a host.
    pub(crate) fn behind(&self, id: HostId, proxy: Ipv4Addr) -> Option<&Session> {
        self.hosts.get(id)?.by_proxy.get(&proxy).and_then(|handle| self.slots.get(*handle))
    }
}

impl Realm for Core {
    fn host_policy(
        &self,
        local: &str,
        direction: Direction,
        remote: &str,
        remote_ces: &str,
    ) -> Option<Arc<ces_cetp::Policy>> {
        if !self.is_allowed(local, direction, remote, remote_ces) {
            return None;
        }
        self.policies.choose(local, direction, remote, remote_ces).map(|rule| Arc::clone(&rule.policy))
    }

    fn is_service(&self, fqdn: &str) -> bool {
        self.hosts.named(fqdn).is_some()
    }

    fn reserve(&mut self, local: &str, remote: &str, remote_ces: &str) -> Result<Reservation, ReserveError> {
        let id = self.hosts.named(local).ok_or(ReserveError::UnknownHost)?;
        let handle = self.reserve_for(id, local.into(), remote.into(), remote_ces.into())?;
        let session = self.slots.get(handle).ok_or(ReserveError::TableFull)?;
        Ok(Reservation { tag: session.tag, proxy: IpAddr::V4(session.proxy) })
    }

    fn release(&mut self, tag: u32) {
        self.unreserve(self.slots.handle(tag));
    }
}

/// A rule's limits as the worker enforces them.
pub(crate) fn data_limits(limits: RuleLimits, port_is_inside: bool) -> Limits {
    Limits { protocol: limits.protocol, port: limits.port, port_is_inside, rate_bps: limits.rate_bps }
}

pub(crate) fn encapsulation(choice: cetp::Encapsulation) -> Encapsulation {
    match choice {
        cetp::Encapsulation::Vxlan => Encapsulation::Vxlan,
        cetp::Encapsulation::Gre => Encapsulation::Gre,
        cetp::Encapsulation::Geneve => Encapsulation::Geneve,
    }
}
