//! What the gateway owns beside its protocol engines: who the hosts are, what they may do, and what they are connected to.
//!
//! It is a value of its own so that the CETP engine can ask it (as its [`Owner`]) while it is driven. What must agree is in
//! owners: the configuration, the hosts, the [`Fabric`] of sessions and what carries them. What concerns hosts and fabric alike
//! is here, and, where it is about hosts' MAC addresses, in `identity`.

mod identity;
mod watch;

use crate::Nanos;
use crate::address::{ProxyAddress, TunnelEnd};
use crate::claims::{self, Claims};
use crate::configuration::Configuration;
use crate::counters::CoreCounters;
use crate::fabric::{Fabric, GivenUp};
use crate::hosts::{HostDirectory, HostId, Hosts};
use crate::leased::Leased;
use crate::log::LogLine;
use crate::names::Name;
use crate::outbox::Outbox;
use crate::output::Output;
use crate::pins::Pin;
use crate::platform::Platform;
use crate::registry::{HostEntry, PolicySet, Registry, RuleLimits};
use crate::seal_keys::SealKeys;
use crate::sessions::{
    Applied, Carries, CesSession, CesSessions, Change, Figures, Inconsistent, PairNames, Phase, Reach, Terms,
    TunnelKey,
};
use crate::settings::{CoreSettings, MacPolicy, Word};
use crate::snapshot::SessionOrigin;
use ces_cetp::engine::{
    self as cetp, Claim, Direction, H2hSession, LocatorAddress, Owner, ReserveError, SetAside,
};
use ces_cetp::seal::PeerKeys;
use ces_dataplane::msg::{Encapsulation, Patience};
use ces_dataplane::tag::{Handle, worker_of};
use std::sync::Arc;
use watch::Watch;

/// For how long a name is believed to have CES records: a day covers an outage.
const RECORDS_NS: Nanos = 86_400 * crate::SECOND;

/// The realm: its configuration, its hosts, and their sessions.
pub(crate) struct Core {
    configuration: Configuration,
    hosts: Hosts,
    leased: Leased,
    /// What peers' words for their hosts' names are worth.
    claims: Claims,
    fabric: Fabric,
    seal_keys: SealKeys,
    watch: Watch,
    out: Outbox,
    counters: CoreCounters,
}

impl Core {
    pub(crate) fn new(
        settings: CoreSettings,
        registry: Registry,
        policies: PolicySet,
        platform: &Platform,
        hash_seed: u64,
    ) -> Self {
        let mut fabric = Fabric::new(&figures(&settings, platform), platform);
        fabric.set_strict(settings.realm.mac_policy == MacPolicy::Strict);
        let mut core = Self {
            configuration: Configuration::new(settings, registry, policies),
            hosts: Hosts::new(hash_seed),
            leased: Leased::new(hash_seed),
            claims: Claims::new(hash_seed.rotate_left(32)),
            fabric,
            watch: Watch::default(),
            seal_keys: SealKeys::new(platform),
            out: Outbox::new(platform.workers),
            counters: CoreCounters::default(),
        };
        for host in core.configuration.registry().hosts() {
            let id = prepare_host(&mut core.hosts, host, platform.workers);
            core.hosts.publish(id);
        }
        core
    }

    // --- the owners

    /// What is in force.
    pub(crate) fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// The same, for names that come at run time.
    pub(crate) fn configuration_mut(&mut self) -> &mut Configuration {
        &mut self.configuration
    }

    /// What is in force, and where is said what is to be done.
    pub(crate) fn configuration_and_out(&mut self) -> (&Configuration, &mut Outbox) {
        (&self.configuration, &mut self.out)
    }

    pub(crate) fn settings(&self) -> &CoreSettings {
        self.configuration.settings()
    }

    pub(crate) fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    pub(crate) fn hosts_mut(&mut self) -> &mut Hosts {
        &mut self.hosts
    }

    /// Hosts that have their address by a lease.
    pub(crate) fn leased(&self) -> &Leased {
        &self.leased
    }

    pub(crate) fn claims_mut(&mut self) -> &mut Claims {
        &mut self.claims
    }

    pub(crate) fn fabric(&self) -> &Fabric {
        &self.fabric
    }

    /// The fabric, and where it says what is to be done.
    pub(crate) fn fabric_mut(&mut self) -> (&mut Fabric, &mut Outbox) {
        (&mut self.fabric, &mut self.out)
    }

    /// Tells the workers a peer's keys; whether what is sent to it is sent under another one.
    pub(crate) fn tell_keys(&mut self, ces_id: &Arc<str>, keys: Option<&PeerKeys>) -> bool {
        let rekey = self.configuration.settings().cetp.limits.rekey_packets;
        self.seal_keys.tell(ces_id, keys, rekey, &mut self.out)
    }

    /// All sessions.
    pub(crate) fn sessions(&self) -> &CesSessions {
        self.fabric.sessions()
    }

    pub(crate) fn counters(&self) -> &CoreCounters {
        &self.counters
    }

    pub(crate) fn counters_mut(&mut self) -> &mut CoreCounters {
        &mut self.counters
    }

    /// What is to be done.
    pub(crate) fn out(&mut self) -> &mut Outbox {
        &mut self.out
    }

    pub(crate) fn push(&mut self, output: Output) {
        self.out.push(output);
    }

    pub(crate) fn log(&mut self, entry: LogLine) {
        self.out.log(entry);
    }

    /// Another configuration is in force, and hosts are found by another directory; the ones before come back.
    pub(crate) fn exchange(
        &mut self,
        configuration: &mut Configuration,
        directory: HostDirectory,
    ) -> HostDirectory {
        std::mem::swap(&mut self.configuration, configuration);
        self.fabric.set_strict(self.settings().realm.mac_policy == MacPolicy::Strict);
        self.hosts.exchange(directory)
    }

    /// A host of a registry, which nobody finds yet.
    pub(crate) fn prepare_host(&mut self, host: &HostEntry) -> HostId {
        prepare_host(&mut self.hosts, host, self.out.workers())
    }

    // --- who may what

    /// Whether the administrator refuses a host.
    pub(crate) fn is_blocked(&self, id: HostId, now: Nanos) -> bool {
        self.hosts.get(id).is_some_and(|host| self.sessions().host_blocked_until(host.name(), now).is_some())
    }

    /// Whether a peer may say that its host has this name; `None` if that has yet to be looked up.
    pub(crate) fn may_speak_for(&self, peer: &str, name: &str, now: Nanos) -> Option<bool> {
        match self.configuration.word(peer, name) {
            Word::Taken | Word::Believed => Some(true),
            Word::Refused => Some(false),
            Word::LookedUp => self.claims.known(peer, name, now).map(|word| word == claims::ClaimWord::True),
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
            && self.configuration.choose(local, direction, remote, peer).is_some()
    }

    /// Whether a far name has had CES records of late, so that the ordinary address must not stand in for it because a packet
    /// was lost (N1); whoever lists a peer's zones says so of all names in them.
    pub(crate) fn has_records(&self, name: &str, now: Nanos) -> bool {
        self.sessions().has_records_until(name, now).is_some() || self.settings().cetp.is_a_peers(name)
    }

    /// A far name has CES records, or has none. It is written down when half of the time is over that it is believed for.
    pub(crate) fn learn_records(&mut self, name: &Arc<str>, has_some: bool, now: Nanos) {
        let known = self.sessions().has_records_until(name, now);
        let until = has_some.then_some(now + RECORDS_NS);
        let is_news = match (known, until) {
            // The clock may have been set back since the last process wrote it down.
            (Some(known), Some(until)) => until.saturating_sub(known) >= RECORDS_NS / 2,
            (known, until) => known.is_some() != until.is_some(),
        };
        if is_news {
            let _ = self.change(Change::Far { name: Arc::clone(name), until }, now);
        }
    }

    /// The session that answers when a host asks for a far name.
    pub(crate) fn met(&self, id: HostId, name: &str, now: Nanos) -> Option<Handle> {
        let host = self.hosts.get(id)?;
        let own = self.sessions().towards(host.address(), name).map(CesSession::handle);
        own.or_else(|| {
            let session = self.counterpart(id, name, now)?;
            let word = self.configuration.word(session.peer(), name);
            matches!(word, Word::Taken | Word::LookedUp).then(|| session.handle())
        })
    }

    /// The session of the pair that the far end asked for: it answers for our end as well, as far as that may ask. The far
    /// gateway may know one session for a pair and refuse another one.
    pub(crate) fn counterpart(&self, id: HostId, name: &str, now: Nanos) -> Option<&CesSession> {
        let host = self.hosts.get(id)?;
        let session = self.sessions().asked_by(host.address(), host.name(), name)?;
        self.is_allowed(host.name(), Direction::Outbound, name, session.peer(), now).then_some(session)
    }

    // --- the life of a session

    /// Makes a change of the sessions: see [`Fabric::change`].
    pub(crate) fn change(&mut self, change: Change, now: Nanos) -> Result<Applied, Inconsistent> {
        self.fabric.change(change, &mut self.out, now)
    }

    /// Takes the sessions that were replayed for its own.
    pub(crate) fn adopt(&mut self, sessions: CesSessions) {
        self.fabric.adopt(sessions);
    }

    /// Goes on after another process: so far beyond what is known of it.
    pub(crate) fn restart(&mut self, beyond: u32, generations: u32, now: Nanos) {
        let careful_s = self.settings().realm.proxy_rest_s.max(self.settings().dns.connected_ttl_s);
        let careful_until = now + u64::from(careful_s) * crate::SECOND;
        let _ = self.change(Change::Restarted { careful_until, beyond, generations }, now);
    }

    /// Ends a session that no worker knows yet.
    pub(crate) fn drop_session(&mut self, tag: u32, now: Nanos) {
        let rest_until = self.rest_until(now);
        let _ = self.change(Change::Ending { tag }, now);
        let _ = self.change(Change::Ended { tag, rest_until }, now);
    }

    /// Until when the proxy address of what ends now is not given out to another name.
    fn rest_until(&self, now: Nanos) -> Nanos {
        now + u64::from(self.settings().realm.proxy_rest_s) * crate::SECOND
    }

    /// Tells the workers of all tunnels and sessions; those for which there is no next hop left come back.
    pub(crate) fn tell_all(&mut self, now: Nanos) -> Vec<u32> {
        self.fabric.tell_tunnels(&self.configuration.settings().cetp, &mut self.out, now);
        let sessions: Vec<_> =
            self.sessions().iter().map(|s| (s.handle(), s.tag(), s.next_inside())).collect();
        let mut failed = Vec::new();
        for (handle, tag, inside) in sessions {
            if self.fabric.retake(inside, &mut self.out) {
                // Nobody knows which connections it carries.
                self.insert(handle, Patience::Now, now);
            } else {
                failed.push(tag);
            }
        }
        failed
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
        let names = PairNames { local, remote, peer };
        let change = self.sessions().reservation(host.address(), host.worker(), names, now)?;
        let Change::Reserved { tag, .. } = change else { return Err(ReserveError::TableFull) };
        self.change(change, now).map_err(|_| ReserveError::TableFull)?;
        Ok(self.sessions().handle(tag))
    }

    /// Gives a reservation back: nobody heard of its proxy address.
    pub(crate) fn unreserve(&mut self, handle: Handle, now: Nanos) {
        self.fabric.unreserve(handle, &mut self.out, now);
    }

    /// Makes a reserved session a binding. The error says what was missing; the session is then still reserved.
    pub(crate) fn session_up(&mut self, agreed: &H2hSession, now: Nanos) -> Result<Handle, GivenUp> {
        let handle = self.sessions().handle(agreed.local_tag);
        let session = self.sessions().get(handle).filter(|session| session.phase() == Phase::Reserved);
        let address = session.map(CesSession::host).ok_or(GivenUp::Exhausted("no reservation"))?;
        let id = self.hosts.named(&agreed.local_fqdn).filter(|id| {
            self.hosts.is_registered(*id) && self.hosts.get(*id).is_some_and(|host| host.address() == address)
        });
        let id = id.ok_or(GivenUp::Refused("the host is no longer registered"))?;
        if self.is_blocked(id, now) {
            return Err(GivenUp::Refused("the host is blocked"));
        }
        let direction = match agreed.role {
            cetp::Role::Initiator => Direction::Outbound,
            cetp::Role::Responder => Direction::Inbound,
        };
        let rule =
            self.configuration.choose(&agreed.local_fqdn, direction, &agreed.remote_fqdn, &agreed.ces_id);
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
            tunnel: tunnel_key(agreed, self.settings())?,
            remote_tag: agreed.remote_tag,
            peer_until: agreed.peer_until,
        };
        let role = match agreed.role {
            cetp::Role::Initiator => SessionOrigin::Initiator,
            cetp::Role::Responder => SessionOrigin::Responder,
        };
        let terms = Terms {
            role,
            reach,
            idle_s: limits.idle_ttl_s.unwrap_or(self.settings().cetp.idle_ttl_s),
            is_patient: limits.idle_ttl_s.is_none(),
            hard_s: limits.hard_ttl_s.unwrap_or(0),
            carries: carries(limits, role == SessionOrigin::Responder),
        };
        self.establish(handle, terms, now)?;
        Ok(handle)
    }

    /// Makes a session of a reservation that is agreed on, and a binding of it.
    pub(crate) fn establish(&mut self, handle: Handle, terms: Terms, now: Nanos) -> Result<(), GivenUp> {
        let cetp = &self.configuration.settings().cetp;
        self.fabric.establish(handle, terms, cetp, &mut self.out, now)?;
        self.insert(handle, Patience::WithTcp, now);
        Ok(())
    }

    /// The proxy address that a reservation will have when it stands.
    pub(crate) fn proxy_to_be(&self, session: &CesSession, now: Nanos) -> ProxyAddress {
        self.fabric.proxy_to_be(session, now)
    }

    /// Tells the worker of a session that stands, with this patience if it has any.
    fn insert(&mut self, handle: Handle, patience: Patience, now: Nanos) {
        let mac = self.sessions().get(handle).and_then(|session| self.pinned(session.host()));
        self.fabric.insert(handle, mac, patience, &mut self.out, now);
    }

    /// A half of a local pair that the worker let fall comes back, in the slot that it had.
    pub(crate) fn wake(&mut self, handle: Handle, now: Nanos) {
        let Some(tag) = self.sessions().get(handle).map(CesSession::tag) else { return };
        if self.change(Change::Woke { tag }, now).is_ok() {
            self.insert(handle, Patience::WithTcp, now);
        }
    }

    /// Takes a session out of use: see [`Fabric::remove`].
    pub(crate) fn remove(&mut self, handle: Handle, now: Nanos) {
        let rest_until = self.rest_until(now);
        self.fabric.remove(handle, rest_until, &mut self.out, now);
    }

    /// A binding is gone at the worker: what it held comes back.
    pub(crate) fn release_binding(&mut self, handle: Handle, now: Nanos) {
        let rest_until = self.rest_until(now);
        self.fabric.release(handle, rest_until, &mut self.out, now);
    }

    /// What stands behind a proxy address of a host.
    pub(crate) fn behind(&self, id: HostId, proxy: ProxyAddress) -> Option<&CesSession> {
        self.sessions().behind(self.hosts.get(id)?.address(), proxy)
    }

    /// A person may have said something else of the paths to peers.
    pub(crate) fn say_mtus(&mut self, now: Nanos) {
        self.fabric.say_mtus(&self.configuration.settings().cetp, &mut self.out, now);
    }
}

/// A host of a registry, which nobody finds yet.
fn prepare_host(hosts: &mut Hosts, host: &HostEntry, workers: u32) -> HostId {
    let worker = worker_of(host.address.v4().into(), workers);
    let services = host.services.iter().map(Name::shared).collect();
    hosts.prepare(host.name.shared(), services, host.address, worker, Pin::new(host.mac))
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

impl Owner for At<'_> {
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
        self.core
            .configuration
            .choose(local, direction, remote, remote_ces)
            .map(|rule| Arc::clone(&rule.policy))
    }

    fn claim(&self, local: &str, remote: &str, remote_ces: &str) -> Claim {
        let core = &self.core;
        // Where policy refuses anyway, nobody has to be asked.
        let would_allow =
            || core.configuration.choose(local, Direction::Inbound, remote, remote_ces).is_some();
        let is_unknown = core.hosts.named(local).is_some()
            && core.may_speak_for(remote_ces, remote, self.now).is_none()
            && would_allow();
        if is_unknown { Claim::Unknown } else { Claim::Settled }
    }

    fn is_service(&self, fqdn: &str) -> bool {
        self.core.hosts.named(fqdn).is_some()
    }

    fn reserve(&mut self, local: &str, remote: &str, remote_ces: &str) -> Result<SetAside, ReserveError> {
        let id = self.core.hosts.named(local).ok_or(ReserveError::UnknownHost)?;
        let handle = self.core.reserve_for(id, local.into(), remote.into(), remote_ces.into(), self.now)?;
        let session = self.core.sessions().get(handle).ok_or(ReserveError::TableFull)?;
        Ok(SetAside { tag: session.tag(), proxy: session.proxy().ip() })
    }

    fn release(&mut self, tag: u32) {
        self.core.unreserve(self.core.sessions().handle(tag), self.now);
    }
}

/// What a run of changes has to be under to mean the same.
pub fn figures(settings: &CoreSettings, platform: &Platform) -> Figures {
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

fn tunnel_key(agreed: &H2hSession, settings: &CoreSettings) -> Result<TunnelKey, GivenUp> {
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
        encapsulation: if choice.sealed { Encapsulation::Psp } else { encapsulation(choice.encapsulation) },
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
