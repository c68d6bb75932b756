//! What the gateway owns beside its protocol engines: hosts, policy, pools, and the bindings in them.
//!
//! It is a value of its own so that the CETP engine can ask it (as its [`Realm`]) while it is driven.

use crate::Nanos;
use crate::address::{ProxyAddress, TunnelEnd};
use crate::chores::Chores;
use crate::claims::{self, Claims};
use crate::counters::Counters;
use crate::forwarding::Forwarding;
use crate::hosts::{HostId, Hosts, Link};
use crate::log::{Entry, Level};
use crate::names::is_within;
use crate::neighbours::Neighbours;
use crate::output::{AdminToken, Output};
use crate::paths::Paths;
use crate::pins::Pin;
use crate::platform::Platform;
use crate::registry::{PolicySet, Registry, RuleLimits};
use crate::routes::Route;
use crate::sessions::{
    Applied, Carries, Change, Figures, Inconsistent, Names, Phase, Reach, Session, Sessions, Terms, TunnelKey,
};
use crate::settings::{Settings, Word};
use crate::snapshot::Role;
use ces_cetp::engine::{
    self as cetp, Claim, Direction, H2hSession, LocatorAddress, Realm, Reservation, ReserveError,
};
use ces_dataplane::msg::{Binding, Command, Encapsulation, Far, Patience, TunnelId};
use ces_dataplane::tag::{Handle, worker_of};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// Why an agreed session does not become a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GivenUp {
    /// It may not: what was agreed is no longer allowed, or cannot be carried.
    Refused(&'static str),
    /// Something has run out.
    Exhausted(&'static str),
}

/// For how long a name is believed to have CES records: a day covers an outage.
const RECORDS_NS: Nanos = 86_400 * crate::SECOND;

pub(crate) struct Core {
    pub(crate) settings: Settings,
    pub(crate) ces_id: Arc<str>,
    pub(crate) registry: Registry,
    pub(crate) policies: PolicySet,
    pub(crate) hosts: Hosts,
    /// What peers' words for their hosts' names are worth.
    pub(crate) claims: Claims,
    /// Changed by [`Core::change`] alone.
    sessions: Sessions,
    /// Sessions of a worker that may have limits.
    limited_per_worker: u32,
    pub(crate) paths: Paths,
    pub(crate) neighbours: Neighbours,
    /// Routes to the realm's networks.
    pub(crate) near: Vec<Route>,
    /// Hosts that are asked whether they still have their address, and until when they may answer.
    pub(crate) asked: VecDeque<(Nanos, HostId)>,
    pub(crate) chores: Chores,
    /// `None`: the workers forward by names alone.
    pub(crate) forwarding: Option<Forwarding>,
    pub(crate) workers: u32,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) counters: Counters,
    /// Administrators who wait for a binding's counters.
    pub(crate) reads: FxHashMap<Handle, Vec<AdminToken>>,
}

impl Core {
    pub(crate) fn new(
        settings: Settings,
        registry: Registry,
        policies: PolicySet,
        platform: &Platform,
        hash_seed: u64,
    ) -> Self {
        let mut core = Self {
            ces_id: settings.realm.ces_id.shared(),
            registry: Registry::default(),
            policies,
            hosts: Hosts::new(hash_seed),
            claims: Claims::new(hash_seed.rotate_left(32)),
            sessions: Sessions::new(&figures(&settings, platform)),
            limited_per_worker: platform.limited_per_worker,
            paths: Paths::new(platform.outer_mtu),
            neighbours: Neighbours::new(platform.neighbours, platform.workers),
            near: Vec::new(),
            asked: VecDeque::new(),
            chores: Chores::default(),
            forwarding: platform.forwards.then(|| Forwarding::new(platform.neighbours, platform.workers)),
            workers: platform.workers,
            outputs: VecDeque::new(),
            counters: Counters::default(),
            reads: FxHashMap::default(),
            settings,
        };
        for host in registry.hosts() {
            let id = core.prepare_host(host);
            core.hosts.publish(id);
        }
        core.registry = registry;
        core
    }

    /// A host of a registry, which nobody finds yet.
    pub(crate) fn prepare_host(&mut self, host: &crate::registry::HostEntry) -> HostId {
        let worker = worker_of(host.address.v4().into(), self.workers);
        let services = host.services.iter().map(crate::names::Name::shared).collect();
        let id = self.hosts.prepare(host.name.shared(), services, host.address, worker);
        if let Some(added) = self.hosts.get_mut(id) {
            added.pin = Pin::new(host.mac);
        }
        id
    }

    pub(crate) fn log(&mut self, entry: Entry) {
        self.outputs.push_back(Output::Log(entry));
    }

    pub(crate) fn command(&mut self, worker: u32, command: Command) {
        self.outputs.push_back(Output::Dataplane { worker, command });
    }

    fn command_all(&mut self, command: Command) {
        for worker in 0..self.workers {
            self.command(worker, command);
        }
    }

    /// Takes the sessions that were replayed for its own: what is learnt anew by each process is not there yet.
    pub(crate) fn adopt(&mut self, sessions: Sessions) {
        self.sessions = sessions;
    }

    /// Goes on after another process: so far beyond what is known of it.
    pub(crate) fn restart(&mut self, beyond: u32, generations: u32, now: Nanos) {
        let careful_s = self.settings.realm.proxy_rest_s.max(self.settings.dns.connected_ttl_s);
        let careful_until = now + u64::from(careful_s) * crate::SECOND;
        let _ = self.change(Change::Restarted { careful_until, beyond, generations }, now);
    }

    /// Ends a session that no worker knows yet.
    pub(crate) fn drop_session(&mut self, tag: u32, now: Nanos) {
        let rest_until = now + u64::from(self.settings.realm.proxy_rest_s) * crate::SECOND;
        let _ = self.change(Change::Ending { tag }, now);
        let _ = self.change(Change::Ended { tag, rest_until }, now);
    }

    /// Tells the workers of all tunnels and sessions; those for which there is no next hop left come back.
    pub(crate) fn tell_all(&mut self, now: Nanos) -> Vec<u32> {
        let mut failed = Vec::new();
        let tunnels: Vec<_> =
            self.sessions.tunnels().iter().map(|(id, entry)| (id, entry.key.clone())).collect();
        for (id, TunnelKey { remote, peer, .. }) in tunnels {
            if let Some(neighbour) = self.neighbours.acquire(remote, &mut self.outputs) {
                self.paths.insert(id, neighbour, self.settings.cetp.mtu_to(&peer), now);
                self.tell_tunnel(id);
            }
        }
        let sessions: Vec<_> = self.sessions.iter().map(|s| (s.handle(), s.tag(), s.next_inside())).collect();
        for (handle, tag, inside) in sessions {
            match self.neighbours.acquire(inside, &mut self.outputs) {
                // Nobody knows which connections it carries.
                Some(_) => self.insert_as(handle, Patience::Now, now),
                None => failed.push(tag),
            }
        }
        failed
    }

    /// All sessions.
    pub(crate) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Makes a change and tells it. One that does not fit what is there is a bug, which the log tells and which changes nothing.
    pub(crate) fn change(&mut self, change: Change, now: Nanos) -> Result<Applied, Inconsistent> {
        let applied = self.sessions.apply(&change, now);
        match &applied {
            Ok(_) => self.outputs.push_back(Output::Changed { at: now, change: Box::new(change) }),
            Err(why) => {
                let line = Entry::new(Level::Warn, "change that does not fit");
                self.log(line.reason(format!("{change:?}: {why}")));
            }
        }
        applied
    }

    /// A host, and how it stands to a far name.
    pub(crate) fn link(&self, id: HostId, name: &str, now: Nanos) -> Option<Link> {
        let host = self.hosts.get(id)?;
        let asking = host.asking.get(name).map(|pending| Link::Asking(*pending));
        let up = || self.sessions.towards(host.address, name).map(Session::handle);
        asking.or_else(|| up().or_else(|| self.counterpart(id, name, now)).map(Link::Up))
    }

    /// The session of the pair that the far end asked for: it answers for our end as well, as far as that may ask. The far
    /// gateway may know one session for a pair and refuse another one.
    fn counterpart(&self, id: HostId, name: &str, now: Nanos) -> Option<Handle> {
        let host = self.hosts.get(id)?;
        let session = self.sessions.asked_by(host.address, &host.name, name)?;
        let may_ask = self.is_allowed(&host.name, Direction::Outbound, name, session.peer(), now);
        may_ask.then(|| session.handle())
    }

    /// Whether a far name has had CES records of late, so that the ordinary address must not stand in for it because a packet
    /// was lost (N1); whoever lists a peer's zones says so of all names in them.
    pub(crate) fn has_records(&self, name: &str, now: Nanos) -> bool {
        self.sessions.has_records_until(name, now).is_some() || self.settings.cetp.is_a_peers(name)
    }

    /// A far name has CES records, or has none. It is written down when half of the time is over that it is believed for.
    pub(crate) fn learn_records(&mut self, name: &Arc<str>, has_some: bool, now: Nanos) {
        let known = self.sessions.has_records_until(name, now);
        let until = has_some.then_some(now + RECORDS_NS);
        let is_news = match (known, until) {
            (Some(known), Some(until)) => until - known >= RECORDS_NS / 2,
            (known, until) => known.is_some() != until.is_some(),
        };
        if is_news {
            let _ = self.change(Change::Far { name: Arc::clone(name), until }, now);
        }
    }

    /// Whether the administrator refuses a host.
    pub(crate) fn is_blocked(&self, id: HostId, now: Nanos) -> bool {
        self.hosts.get(id).is_some_and(|host| self.sessions.host_blocked_until(&host.name, now).is_some())
    }

    /// What becomes of a peer's word for the name of its host (C17): no name of ours, and of its own zones where we know them.
    fn word(&self, peer: &str, name: &str) -> Word {
        if peer == &*self.ces_id {
            return Word::Taken;
        }
        let is_ours = self.settings.realm.zones.iter().any(|zone| is_within(name, zone.as_str()));
        if is_ours { Word::Refused } else { self.settings.cetp.word(peer, name) }
    }

    /// Whether a peer may say that its host has this name; `None` if that has yet to be looked up.
    pub(crate) fn may_speak_for(&self, peer: &str, name: &str, now: Nanos) -> Option<bool> {
        match self.word(peer, name) {
            Word::Taken => Some(true),
            Word::Refused => Some(false),
            Word::LookedUp => self.claims.known(peer, name, now).map(|word| word == claims::Word::True),
        }
    }

    /// Whether policy, and the administrator, let a local name deal with a remote one.
    pub(crate) fn is_allowed(
        &self,
        local: &str,
        direction: Direction,
        remote: &str,
        peer: &str,
        now: Nanos,
    ) -> bool {
        self.hosts.named(local).is_some_and(|id| !self.is_blocked(id, now))
            && (direction == Direction::Outbound || self.may_speak_for(peer, remote, now) == Some(true))
            && self.policies.choose(local, direction, remote, peer).is_some()
    }

    /// Sets a slot and a proxy address aside.
    pub(crate) fn reserve_for(
        &mut self,
        id: HostId,
        local: Arc<str>,
        remote: Arc<str>,
        peer: Arc<str>,
        now: Nanos,
    ) -> Result<Handle, ReserveError> {
        let host = self.hosts.get(id).ok_or(ReserveError::UnknownHost)?;
        let names = Names { local, remote, peer };
        let change = self.sessions.reservation(host.address, host.worker, names, now)?;
        let Change::Reserved { tag, .. } = change else { return Err(ReserveError::TableFull) };
        self.change(change, now).map_err(|_| ReserveError::TableFull)?;
        Ok(self.sessions.handle(tag))
    }

    /// Gives a reservation back: nobody heard of its proxy address.
    pub(crate) fn unreserve(&mut self, handle: Handle, now: Nanos) {
        let session = self.sessions.get(handle).filter(|session| session.phase() == Phase::Reserved);
        if let Some(tag) = session.map(Session::tag) {
            let _ = self.change(Change::Released { tag }, now);
        }
    }

    /// Makes a reserved session a binding. The error says what was missing; the session is then still reserved.
    pub(crate) fn session_up(&mut self, agreed: &H2hSession, now: Nanos) -> Result<Handle, GivenUp> {
        let handle = self.sessions.handle(agreed.local_tag);
        let session = self.sessions.get(handle).filter(|session| session.phase() == Phase::Reserved);
        let address = session.map(Session::host).ok_or(GivenUp::Exhausted("no reservation"))?;
        let id = self.hosts.named(&agreed.local_fqdn).filter(|id| {
            self.hosts.is_registered(*id) && self.hosts.get(*id).is_some_and(|host| host.address == address)
        });
        let id = id.ok_or(GivenUp::Refused("the host is no longer registered"))?;
        if self.is_blocked(id, now) {
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
        let reach = Reach::Tunnel {
            tunnel: tunnel_key(agreed, &self.settings)?,
            remote_tag: agreed.remote_tag,
            peer_until: agreed.peer_until,
        };
        let role = match agreed.role {
            cetp::Role::Initiator => Role::Initiator,
            cetp::Role::Responder => Role::Responder,
        };
        let terms = Terms {
            role,
            reach,
            idle_s: limits.idle_ttl_s.unwrap_or(self.settings.cetp.idle_ttl_s),
            is_patient: limits.idle_ttl_s.is_none(),
            hard_s: limits.hard_ttl_s.unwrap_or(0),
            carries: carries(limits, role == Role::Responder),
        };
        self.establish(handle, terms, now)?;
        Ok(handle)
    }

    /// Makes a session of a reservation that is agreed on, and a binding of it.
    pub(crate) fn establish(&mut self, handle: Handle, terms: Terms, now: Nanos) -> Result<(), GivenUp> {
        let session = self.sessions.get(handle).ok_or(GivenUp::Exhausted("no reservation"))?;
        let (tag, host) = (session.tag(), session.host());
        let (inside, peer) = match &terms.reach {
            Reach::Tunnel { tunnel, .. } => (host, Some(tunnel.clone())),
            Reach::Local { destination, .. } => (*destination, None),
        };
        if peer.as_ref().is_some_and(|tunnel| !self.sessions.tunnels().has_room(tunnel)) {
            return Err(GivenUp::Exhausted("no tunnel left"));
        }
        let is_full = self.sessions.limited(self.sessions.worker(handle)) >= self.limited_per_worker;
        if terms.carries.is_limited() && is_full {
            return Err(GivenUp::Exhausted("no room left for what restricts a binding (capacity.limited)"));
        }
        // The peer's locator first: what is new is told to the workers in that order.
        let outer = peer.as_ref().map(|tunnel| self.neighbours.acquire(tunnel.remote, &mut self.outputs));
        let inner = self.neighbours.acquire(inside, &mut self.outputs);
        let (Some(outer), Some(_)) = (outer.map_or(Some(None), |id| id.map(Some)), inner) else {
            outer.flatten().into_iter().chain(inner).for_each(|id| self.neighbours.release(id));
            return Err(GivenUp::Exhausted("no slot for a next hop left"));
        };
        let proxy = self.sessions.get(handle).and_then(|session| self.earlier_proxy(session, now));
        let applied = self.change(Change::Established { tag, terms: Box::new(terms), proxy }, now);
        if applied.is_err() {
            outer.into_iter().chain(inner).for_each(|id| self.neighbours.release(id));
            return Err(GivenUp::Exhausted("no reservation"));
        }
        match (applied, outer) {
            (Ok(Applied::TunnelMade(id)), Some(outer)) => {
                let said = peer.and_then(|tunnel| self.settings.cetp.mtu_to(&tunnel.peer));
                self.paths.insert(id, outer, said, now);
                self.tell_tunnel(id);
            }
            // The tunnel holds its next hop once, however many share it.
            (_, outer) => outer.into_iter().for_each(|id| self.neighbours.release(id)),
        }
        self.insert(handle, now);
        Ok(())
    }

    /// The address that the far name of a reservation had before, if it is free for it: what the host remembers is true again.
    fn earlier_proxy(&self, session: &Session, now: Nanos) -> Option<ProxyAddress> {
        self.sessions.earlier(session.host(), session.remote(), now)
    }

    /// The proxy address that a reservation will have when it stands.
    pub(crate) fn proxy_to_be(&self, session: &Session, now: Nanos) -> ProxyAddress {
        self.earlier_proxy(session, now).unwrap_or(session.proxy())
    }

    /// Tells the worker of a session that stands.
    pub(crate) fn insert(&mut self, handle: Handle, now: Nanos) {
        self.insert_as(handle, Patience::WithTcp, now);
    }

    /// The same with this patience, if the session has any.
    fn insert_as(&mut self, handle: Handle, patience: Patience, now: Nanos) {
        let binding = self.sessions.get(handle).and_then(|session| self.binding(session, patience, now));
        let Some(binding) = binding else { return };
        self.command(self.sessions.worker(handle), Command::InsertBinding(handle, binding));
    }

    /// A session as its worker is told; `None` while it is only reserved.
    fn binding(&self, session: &Session, patience: Patience, now: Nanos) -> Option<Binding> {
        let terms = session.terms()?;
        let far = match &terms.reach {
            Reach::Tunnel { tunnel, remote_tag, .. } => {
                Far::Tunnel { tunnel: self.sessions.tunnel_id(tunnel)?, remote_tag: *remote_tag }
            }
            Reach::Local { source, destination, .. } => {
                Far::Local { source: source.v4(), destination: destination.v4() }
            }
        };
        Some(Binding {
            host: session.host().v4(),
            proxy: session.proxy().v4(),
            far,
            neighbour: self.neighbours.id(session.next_inside())?,
            mac: self.pinned(session.host()),
            idle_s: terms.idle_s,
            patience: if terms.is_patient { patience } else { Patience::None },
            hard_s: session.hard_left_s(now).unwrap_or(0),
            limits: terms.carries.limits(),
        })
    }

    /// A half of a local pair that the worker let fall comes back, in the slot that it had.
    pub(crate) fn wake(&mut self, handle: Handle, now: Nanos) {
        let Some(tag) = self.sessions.get(handle).map(Session::tag) else { return };
        if self.change(Change::Woke { tag }, now).is_ok() {
            self.insert(handle, now);
        }
    }

    /// Takes a session out of use: nobody finds it by name or proxy address, and the worker removes its binding. Its slot
    /// and its proxy address come back when the worker has said so.
    pub(crate) fn remove(&mut self, handle: Handle, now: Nanos) {
        let Some((tag, phase)) = self.sessions.get(handle).map(|session| (session.tag(), session.phase()))
        else {
            return;
        };
        match phase {
            Phase::Reserved => self.unreserve(handle, now),
            Phase::Up => {
                let _ = self.change(Change::Ending { tag }, now);
                self.command(self.sessions.worker(handle), Command::RemoveBinding(handle));
            }
            // The worker has ended it already.
            Phase::Dormant => self.release_binding(handle, now),
            Phase::Ending => {}
        }
    }

    /// A binding is gone at the worker: what it held comes back.
    pub(crate) fn release_binding(&mut self, handle: Handle, now: Nanos) {
        let Some(session) = self.sessions.get(handle) else { return };
        let (tag, inside) = (session.tag(), session.next_inside());
        let rest_until = now + u64::from(self.settings.realm.proxy_rest_s) * crate::SECOND;
        let Ok(applied) = self.change(Change::Ended { tag, rest_until }, now) else { return };
        if let Some(id) = self.neighbours.id(inside) {
            self.neighbours.release(id);
        }
        if let Applied::TunnelGone(id) = applied {
            self.command_all(Command::RemoveTunnel(id));
            if let Some(neighbour) = self.paths.remove(id) {
                self.neighbours.release(neighbour);
            }
        }
        for token in self.reads.remove(&handle).into_iter().flatten() {
            self.outputs.push_back(Output::Binding { token, binding: None });
        }
    }

    pub(crate) fn tell_tunnel(&mut self, id: TunnelId) {
        let entry = self.sessions.tunnel(id);
        if let Some(tunnel) = entry.and_then(|entry| self.paths.tunnel(id, &entry.key)) {
            self.command_all(Command::SetTunnel(id, tunnel));
        }
    }

    /// The path to a peer is narrower than thought.
    pub(crate) fn tunnel_mtu(&mut self, id: TunnelId, mtu: u16, now: Nanos) {
        if !self.paths.narrow(id, mtu, now) {
            return;
        }
        self.tell_tunnel(id);
        self.log_mtu(id);
    }

    pub(crate) fn log_mtu(&mut self, id: TunnelId) {
        if let Some(entry) = self.sessions.tunnel(id) {
            let line = Entry::new(Level::Info, "tunnel mtu").peer(&entry.key.peer).address(entry.key.remote);
            self.log(line.reason(format!("{} bytes", self.paths.mtu(id))));
        }
    }

    /// A person may have said something else of the paths to peers.
    pub(crate) fn say_mtus(&mut self, now: Nanos) {
        let said = |peer: &str| self.settings.cetp.mtu_to(peer);
        let tunnels: Vec<_> =
            self.sessions.tunnels().iter().map(|(id, entry)| (id, said(&entry.key.peer))).collect();
        for (id, said) in tunnels {
            if self.paths.say(id, said, now) {
                self.tell_tunnel(id);
            }
        }
    }

    /// Paths that were narrow long enough are tried at full width again.
    pub(crate) fn widen_tunnels(&mut self, now: Nanos) {
        for id in self.paths.widen(now) {
            self.tell_tunnel(id);
        }
    }

    /// What stands behind a proxy address of a host.
    pub(crate) fn behind(&self, id: HostId, proxy: ProxyAddress) -> Option<&Session> {
        self.sessions.behind(self.hosts.get(id)?.address, proxy)
    }
}

/// The gateway's hosts at a moment: the engine's questions are about now, and do not say when that is.
pub(crate) struct At<'a> {
    core: &'a mut Core,
    now: Nanos,
}

impl Core {
    pub(crate) fn at(&mut self, now: Nanos) -> At<'_> {
        At { core: self, now }
    }
}

impl Realm for At<'_> {
    fn host_policy(
        &self,
        local: &str,
        direction: Direction,
        remote: &str,
        remote_ces: &str,
    ) -> Option<Arc<ces_cetp::Policy>> {
        if !self.core.is_allowed(local, direction, remote, remote_ces, self.now) {
            return None;
        }
        self.core.policies.choose(local, direction, remote, remote_ces).map(|rule| Arc::clone(&rule.policy))
    }

    fn claim(&self, local: &str, remote: &str, remote_ces: &str) -> Claim {
        let core = &self.core;
        // Where policy refuses anyway, nobody has to be asked.
        let would_allow = || core.policies.choose(local, Direction::Inbound, remote, remote_ces).is_some();
        let is_unknown = core.hosts.named(local).is_some()
            && core.may_speak_for(remote_ces, remote, self.now).is_none()
            && would_allow();
        if is_unknown { Claim::Unknown } else { Claim::Settled }
    }

    fn is_service(&self, fqdn: &str) -> bool {
        self.core.hosts.named(fqdn).is_some()
    }

    fn reserve(&mut self, local: &str, remote: &str, remote_ces: &str) -> Result<Reservation, ReserveError> {
        let id = self.core.hosts.named(local).ok_or(ReserveError::UnknownHost)?;
        let handle = self.core.reserve_for(id, local.into(), remote.into(), remote_ces.into(), self.now)?;
        let session = self.core.sessions.get(handle).ok_or(ReserveError::TableFull)?;
        Ok(Reservation { tag: session.tag(), proxy: session.proxy().ip() })
    }

    fn release(&mut self, tag: u32) {
        self.core.unreserve(self.core.sessions.handle(tag), self.now);
    }
}

/// What a run of changes has to be under to mean the same.
pub fn figures(settings: &Settings, platform: &Platform) -> Figures {
    Figures {
        layout: platform.layout,
        tag_key: platform.tag_key,
        workers: platform.workers,
        per_worker: platform.bindings_per_worker,
        tunnels: platform.tunnels,
        pool: settings.realm.proxy_pool,
        per_host: settings.realm.host_bindings,
    }
}

/// A rule's limits as a session keeps them.
pub(crate) fn carries(limits: RuleLimits, is_served_here: bool) -> Carries {
    Carries { protocol: limits.protocol, port: limits.port, is_served_here, rate_bps: limits.rate_bps }
}

fn tunnel_key(agreed: &H2hSession, settings: &Settings) -> Result<TunnelKey, GivenUp> {
    let end = |address| match address {
        LocatorAddress::Ip(address) => TunnelEnd::of(address),
        LocatorAddress::Mac(_) => None,
    };
    let choice = &agreed.tunnel;
    let ends = end(choice.local).zip(end(choice.remote));
    let (local, remote) = ends.ok_or(GivenUp::Refused("only IPv4 locators are carried"))?;
    if !settings.may_be_a_peers(remote.v4()) {
        return Err(GivenUp::Refused("the peer's locator is ours, our hosts', or nobody's"));
    }
    Ok(TunnelKey {
        peer: Arc::clone(&agreed.ces_id),
        encapsulation: encapsulation(choice.encapsulation),
        local,
        remote,
        id_in: choice.id_in,
        id_out: choice.id_out,
    })
}

pub(crate) fn encapsulation(choice: cetp::Encapsulation) -> Encapsulation {
    match choice {
        cetp::Encapsulation::Vxlan => Encapsulation::Vxlan,
        cetp::Encapsulation::Gre => Encapsulation::Gre,
        cetp::Encapsulation::Geneve => Encapsulation::Geneve,
    }
}
