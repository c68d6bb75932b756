//! New settings, hosts and policies for a gateway that runs: the difference is applied, and a session ends only if it
//! would not be allowed any more.

use crate::Nanos;
use crate::address::OwnAddress;
use crate::asking::{Failed, Pending};
use crate::gateway::{Gateway, outside_limit};
use crate::hosts::HostId;
use crate::local::takes_name;
use crate::log::{Entry, Level};
use crate::names::Name;
use crate::network;
use crate::output::Output;
use crate::platform::Platform;
use crate::registry::{PolicySet, Registry};
use crate::sessions::{Reach, Session};
use crate::settings::Settings;
use crate::snapshot::Role;
use ces_cetp::engine::Direction;
use ces_dns::resolver::Resolver;
use rand::RngExt;
use serde::Serialize;
use std::sync::Arc;

/// What a reload changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// Hosts that are new.
    pub hosts_added: usize,
    /// Hosts that are gone.
    pub hosts_removed: usize,
    /// Hosts with another address, MAC address or other services.
    pub hosts_changed: usize,
    /// Sessions that are no longer allowed and were terminated.
    pub sessions_terminated: usize,
}

impl Gateway {
    /// Takes new settings, hosts and policies. Sessions that are still allowed go on; the others are terminated. An
    /// error (a change that needs a restart, such as another proxy pool or CES id) leaves everything as it was.
    pub fn reload(
        &mut self,
        settings: Settings,
        registry: Registry,
        policies: PolicySet,
        now: Nanos,
    ) -> Result<Reloaded, String> {
        self.needs_no_restart(&settings)?;
        let engine_settings = network::engine_settings(&settings, &policies)?;
        let zones = network::zones(&settings)?;
        self.engine.configure(engine_settings)?;
        self.zones = zones;
        self.known.forget_refusals();
        self.core.claims.forget();
        let before = std::mem::replace(&mut self.core.settings, settings);
        self.core.policies = policies;
        if before.dns.outside_rate != self.core.settings.dns.outside_rate {
            self.outside_limit = outside_limit(&self.core.settings, self.rng.random());
        }
        let (mut reloaded, gone) = self.reload_hosts(registry);
        if before.cetp.peer_mtu != self.core.settings.cetp.peer_mtu {
            self.core.say_mtus(now);
        }
        if before.realm.mac_policy != self.core.settings.realm.mac_policy {
            self.core.tell_pins();
        }
        reloaded.sessions_terminated = self.end_what_is_not_allowed(now);
        for id in gone {
            self.core.hosts.remove(id);
        }
        if before.dns != self.core.settings.dns {
            self.restart_resolver(now);
        }
        self.settle(now);
        Ok(reloaded)
    }

    /// What the workers or the peers were told at the start cannot change under them.
    fn needs_no_restart(&self, settings: &Settings) -> Result<(), String> {
        let (old, new) = (&self.core.settings, settings);
        let fixed = [
            ("realm.ces_id", old.realm.ces_id == new.realm.ces_id),
            ("realm.proxy_pool", old.realm.proxy_pool == new.realm.proxy_pool),
            ("realm.host_bindings", old.realm.host_bindings == new.realm.host_bindings),
            ("realm.proxy_rest_s", old.realm.proxy_rest_s == new.realm.proxy_rest_s),
        ];
        match fixed.iter().find(|(_, is_same)| !is_same) {
            Some((key, _)) => Err(format!("{key} cannot change while cesd runs; restart it")),
            None => Ok(()),
        }
    }

    /// What changed, and the hosts that are to be forgotten once nobody waits on their behalf.
    fn reload_hosts(&mut self, registry: Registry) -> (Reloaded, Vec<HostId>) {
        let mut reloaded = Reloaded::default();
        let core = &mut self.core;
        let old: Vec<(HostId, Arc<str>)> =
            core.hosts.iter().map(|(id, host)| (id, Arc::clone(&host.name))).collect();
        let mut gone = Vec::new();
        let (mut other_services, mut other_macs) = (Vec::new(), Vec::new());
        for (id, name) in old {
            let entry = registry.host(&name).filter(|entry| *entry.name.as_str() == *name);
            let Some(host) = core.hosts.get(id) else { continue };
            match entry {
                None => {
                    reloaded.hosts_removed += 1;
                    gone.push(id);
                }
                // To the workers a host is its address: with another one it is another host.
                Some(entry) if entry.address != host.address => {
                    reloaded.hosts_changed += 1;
                    gone.push(id);
                }
                Some(entry) => {
                    other_macs.push((id, entry.mac));
                    let services: Vec<Arc<str>> = entry.services.iter().map(Name::shared).collect();
                    if services != host.services {
                        reloaded.hosts_changed += 1;
                        other_services.push((id, services));
                    }
                }
            }
        }
        for (id, mac) in other_macs {
            if core.hosts.get_mut(id).is_some_and(|host| host.pin.give(mac)) {
                reloaded.hosts_changed += 1;
                core.tell_pin(id);
            }
        }
        // First all names go that go, then all come that come: a service may move from host to host.
        for id in &gone {
            core.hosts.hide(*id);
        }
        for (id, _) in &other_services {
            core.hosts.set_services(*id, Vec::new());
        }
        for (id, services) in other_services {
            core.hosts.set_services(id, services);
        }
        for entry in registry.hosts() {
            if core.hosts.named(entry.name.as_str()).is_none() {
                core.add_host(entry);
                reloaded.hosts_added += usize::from(core.registry.host(entry.name.as_str()).is_none());
            }
        }
        core.registry = registry;
        (reloaded, gone)
    }

    fn end_what_is_not_allowed(&mut self, now: Nanos) -> usize {
        let trusted = &self.core.settings.cetp.trusted;
        let is_trusted = |peer: &str| trusted.is_empty() || trusted.iter().any(|name| name.as_str() == peer);
        let untrusted: Vec<Arc<str>> = self
            .engine
            .peers(now)
            .into_iter()
            .map(|peer| peer.ces_id)
            .filter(|peer| !is_trusted(peer))
            .collect();
        let ended: Vec<_> = self
            .core
            .sessions()
            .iter()
            .filter(|session| session.stands() && !self.is_still_allowed(session, now))
            .map(|session| (session.handle(), session.tag(), session.partner()))
            .collect();
        for peer in untrusted {
            self.engine.terminate_peer(&mut self.core.at(now), &peer, now);
        }
        for (handle, tag, partner) in &ended {
            if let Some(session) = self.core.sessions().get(*handle) {
                let line = Entry::new(Level::Info, "session no longer allowed")
                    .host(session.local())
                    .remote(session.remote())
                    .tag(*tag);
                self.core.log(line);
            }
            match partner {
                Some(partner) => {
                    self.core.remove(*handle, now);
                    self.core.remove(self.core.sessions().handle(*partner), now);
                }
                None => {
                    self.engine.terminate_session(*tag);
                }
            }
        }
        // Who still waits on behalf of a host that is gone is told so.
        let orphans: Vec<u64> = self
            .waiting
            .iter()
            .filter(
                |(_, pending)| matches!(pending, Pending::Ask(ask) if !self.core.hosts.is_registered(ask.host)),
            )
            .map(|(id, _)| id)
            .collect();
        for id in orphans {
            self.fail(id, Failed::Host, "the host is no longer registered", now);
        }
        ended.len()
    }

    /// Whether policy, and who the hosts are, still let a session be.
    pub(crate) fn is_still_allowed(&self, session: &Session, now: Nanos) -> bool {
        let core = &self.core;
        let owner = core.hosts.named(session.local()).and_then(|id| core.hosts.get(id));
        if owner.is_none_or(|host| host.address != session.host()) {
            return false;
        }
        let Some(terms) = session.terms() else { return false };
        let (local, remote) = (session.local(), session.remote());
        let direction = match (terms.role, &terms.reach) {
            // Both halves of a local pair stand or fall with what its initiator may do.
            (_, Reach::Local { asked: true, .. }) => return self.agree(local, remote, now).is_ok(),
            (_, Reach::Local { .. }) => return self.agree(remote, local, now).is_ok(),
            (Role::Responder, _) => Direction::Inbound,
            _ => Direction::Outbound,
        };
        core.policies
            .choose(local, direction, remote, session.peer())
            .is_some_and(|rule| takes_name(&rule.policy, remote))
    }

    /// Other addresses of our own on the ports: what upstream answers may not name them, and they have our name.
    pub fn set_addresses(&mut self, addresses: Vec<OwnAddress>, now: Nanos) {
        if self.platform.addresses != addresses {
            self.platform.addresses = addresses;
            self.restart_resolver(now);
            self.settle(now);
        }
    }

    /// Other resolvers, times or sizes: a new resolver, which is asked again what the old one still owed.
    fn restart_resolver(&mut self, now: Nanos) {
        let Platform { upstream_sockets, addresses, .. } = &self.platform;
        let settings = network::resolver_settings(&self.core.settings, *upstream_sockets, addresses);
        for socket in self.resolver.sockets() {
            self.core.outputs.push_back(Output::UpstreamClose(socket));
        }
        self.resolver = Resolver::new(settings, self.rng.random());
        let patience = self.core.settings.dns.naptr_timeout_ms;
        for (id, question, is_discovery) in self.waiting.owed() {
            self.resolver.query(question, if is_discovery { patience } else { 0 }, id, now);
        }
    }
}
