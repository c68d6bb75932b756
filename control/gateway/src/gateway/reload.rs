//! New settings, hosts and policies for a gateway that runs: the difference is applied, and a session ends only if it
//! would not be allowed any more.

use super::Gateway;
use super::local::takes_name;
use super::reloading::{Discarded, PIECE, Reload, Reloaded, Stage};
use crate::Nanos;
use crate::address::OwnAddress;
use crate::asking::Failed;
use crate::configuration::Configuration;
use crate::log::{LogLine, Severity};
use crate::network;
use crate::output::Output;
use crate::platform::Platform;
use crate::registry::{PolicySet, Registry};
use crate::sessions::{CesSession, Reach};
use crate::settings::{CoreSettings, Word, keyring};
use crate::snapshot::SessionOrigin;
use ces_cetp::engine::Direction;
use ces_dns::resolver::{Resolver, ResolverSettings};
use rand::RngExt;
use std::sync::Arc;

impl Gateway {
    /// Takes new settings, hosts and policies, all at once. Sessions that are still allowed go on; the others are terminated. An
    /// error (a change that needs a restart, such as another proxy pool or CES id) leaves everything as it was.
    pub fn reload(
        &mut self,
        settings: CoreSettings,
        registry: Registry,
        policies: PolicySet,
        now: Nanos,
    ) -> Result<Reloaded, String> {
        self.begin_reload(settings, registry, policies)?;
        while !self.prepare_reload() {}
        self.apply_reload(now)?;
        loop {
            if let Some(reloaded) = self.settle_reload(now) {
                return Ok(reloaded);
            }
        }
    }

    /// Begins to take new settings, hosts and policies, in pieces: [`Gateway::prepare_reload`] until it says so, then
    /// [`Gateway::apply_reload`], then [`Gateway::settle_reload`] until it tells what came of it.
    pub fn begin_reload(
        &mut self,
        settings: CoreSettings,
        mut registry: Registry,
        mut policies: PolicySet,
    ) -> Result<(), String> {
        if self.reload.is_some() {
            return Err("another reload is under way".to_owned());
        }
        self.needs_no_restart(&settings)?;
        self.lay_over(&mut registry, &mut policies, &settings);
        let directory = self.core.hosts().draft(registry.hosts().len(), registry.names());
        let configuration = Configuration::new(settings, registry, policies);
        self.reload = Some(Reload::new(configuration, directory));
        Ok(())
    }

    /// Does a piece of what can be done before anybody sees it. True when all of it is done.
    pub fn prepare_reload(&mut self) -> bool {
        let Some(reload) = &mut self.reload else { return true };
        reload.prepare(&mut self.core)
    }

    /// Whether all of that is done.
    pub fn is_reload_prepared(&self) -> bool {
        self.reload.as_ref().is_none_or(Reload::is_prepared)
    }

    /// What was prepared comes into force, in one moment. An error leaves everything as it was.
    pub fn apply_reload(&mut self, now: Nanos) -> Result<(), String> {
        let Some(reload) = &self.reload else { return Err("no reload is under way".to_owned()) };
        let next = reload.configuration();
        let prepared = network::engine_settings(next.settings(), next.policies(), &self.platform)
            .and_then(|engine| Ok((engine, network::zones(next.settings())?)))
            .and_then(|(engine, zones)| self.engine.configure(engine).map(|()| zones));
        self.zones = match prepared {
            Ok(zones) => zones,
            Err(error) => {
                self.cancel_reload();
                return Err(error);
            }
        };
        self.known.forget_refusals();
        self.core.claims_mut().forget();
        let Some(reload) = &mut self.reload else { return Ok(()) };
        reload.exchange(&mut self.core, self.waiting.ids());
        self.keys = keyring(&self.core.settings().dns.keys);
        let before = reload.configuration().settings();
        self.rates.change(&before.dns, &self.core.settings().dns, &mut self.rng);
        // What no answer may say follows from more than how the resolver is set.
        let asks = |settings| resolver_settings(settings, &self.platform);
        let (is_other_mtu, is_other_pinning, asks_otherwise) = (
            before.cetp.peer_mtu != self.core.settings().cetp.peer_mtu,
            before.realm.mac_policy != self.core.settings().realm.mac_policy,
            asks(before) != asks(self.core.settings()),
        );
        if is_other_mtu {
            self.core.say_mtus(now);
        }
        if is_other_pinning {
            self.core.tell_pins();
        } else {
            self.core.tell_destinations();
        }
        let (configuration, out) = self.core.configuration_and_out();
        self.inbound.change(configuration, out);
        self.end_what_is_not_trusted(now);
        if asks_otherwise {
            self.restart_resolver();
        }
        self.settle(now);
        Ok(())
    }

    /// Gives up a reload that is not in force. False if it is.
    pub fn cancel_reload(&mut self) -> bool {
        let is_in_force = self.reload.as_ref().is_some_and(Reload::is_in_force);
        if !is_in_force && let Some(reload) = self.reload.take() {
            reload.cancel(&mut self.core);
        }
        !is_in_force
    }

    /// Does a piece of what follows from what was applied. What the reload came to, when all of it is done.
    pub fn settle_reload(&mut self, now: Nanos) -> Option<Reloaded> {
        let reload = self.reload.as_mut()?;
        match reload.stage {
            Stage::Asks => self.fail_orphans(now),
            Stage::Hosts => reload.stage = reload.tell(&mut self.core),
            Stage::Sessions(from) => {
                let (ended, next) = self.end_what_is_not_allowed(from, now);
                if let Some(reload) = &mut self.reload {
                    reload.reloaded.sessions_terminated += ended;
                    reload.stage = next.map_or(Stage::Forget, Stage::Sessions);
                }
                self.settle(now);
            }
            Stage::Forget => {
                if !reload.forget(&mut self.core) {
                    return None;
                }
                let reload = self.reload.take()?;
                let reloaded = reload.reloaded;
                self.discarded.push(reload.discard());
                self.go_on_updating(now);
                return Some(reloaded);
            }
            Stage::Compare(_) | Stage::Add(_) | Stage::Ready => {}
        }
        None
    }

    /// What has been put out of use since this was asked last.
    pub fn take_discarded(&mut self) -> Vec<Discarded> {
        std::mem::take(&mut self.discarded)
    }

    /// What the workers or the peers were told at the start cannot change under them.
    fn needs_no_restart(&self, settings: &CoreSettings) -> Result<(), String> {
        let (old, new) = (&self.core.settings(), settings);
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

    /// Ends C2C with peers that are not trusted any more.
    fn end_what_is_not_trusted(&mut self, now: Nanos) {
        let configuration = self.core.configuration();
        let peers = self.engine.peers(now).into_iter().map(|peer| peer.ces_id);
        let untrusted: Vec<Arc<str>> = peers.filter(|peer| !configuration.is_trusted(peer)).collect();
        for peer in untrusted {
            self.engine.terminate_peer(&mut self.core.at(now), &peer, now);
        }
    }

    /// Some of those who still wait on behalf of a host that is gone are told so.
    fn fail_orphans(&mut self, now: Nanos) {
        let Some(reload) = &mut self.reload else { return };
        for id in reload.take_asks() {
            if self.waiting.ask(id).is_some_and(|ask| !self.core.hosts().is_registered(ask.host())) {
                self.fail(id, Failed::Host, "the host is no longer registered", now);
            }
        }
        self.settle(now);
    }

    /// Of some sessions, ends those that are not allowed any more; how many, and where the rest begins.
    fn end_what_is_not_allowed(&mut self, from: u64, now: Nanos) -> (usize, Option<u64>) {
        let (sessions, next) = self.core.sessions().page(from, PIECE, 8 * PIECE);
        let ended: Vec<_> = sessions
            .into_iter()
            .filter(|session| session.stands() && !self.is_still_allowed(session, now))
            .map(|session| (session.handle(), session.tag(), session.partner()))
            .collect();
        for (handle, tag, partner) in &ended {
            if let Some(session) = self.core.sessions().get(*handle) {
                let line = LogLine::new(Severity::Info, "session no longer allowed")
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
        (ended.len(), next)
    }

    /// Whether policy, and who the hosts are, still let a session be.
    pub(crate) fn is_still_allowed(&self, session: &CesSession, now: Nanos) -> bool {
        let core = &self.core;
        let owner = core.hosts().named(session.local()).and_then(|id| core.hosts().get(id));
        if owner.is_none_or(|host| host.address() != session.host()) {
            return false;
        }
        let Some(terms) = session.terms() else { return false };
        let (local, remote) = (session.local(), session.remote());
        if let Reach::Tunnel { tunnel, .. } = &terms.reach
            && !core.settings().may_be_a_peers(tunnel.remote.v4())
        {
            return false;
        }
        let direction = match (terms.role, &terms.reach) {
            // Both halves of a local pair stand or fall with what its initiator may do.
            (_, Reach::Local { asked: true, .. }) => return self.agree(local, remote, now).is_ok(),
            (_, Reach::Local { .. }) => return self.agree(remote, local, now).is_ok(),
            (SessionOrigin::Responder, _)
                if core.configuration().word(session.peer(), remote) == Word::Refused =>
            {
                return false;
            }
            (SessionOrigin::Responder, _) => Direction::Inbound,
            _ => Direction::Outbound,
        };
        core.configuration()
            .choose(local, direction, remote, session.peer())
            .is_some_and(|rule| takes_name(&rule.policy, remote))
    }

    /// Other addresses of our own on the ports: what upstream answers may not name them, and they have our name.
    pub fn set_addresses(&mut self, addresses: Vec<OwnAddress>, now: Nanos) {
        if self.platform.addresses != addresses {
            self.platform.addresses = addresses;
            self.restart_resolver();
            self.settle(now);
        }
    }

    /// Other resolvers, times or sizes: a new resolver, which is asked again what the old one still owed.
    fn restart_resolver(&mut self) {
        let settings = resolver_settings(self.core.settings(), &self.platform);
        for socket in self.resolver.sockets() {
            self.core.push(Output::UpstreamClose(socket));
        }
        let resolver = Resolver::new(settings, self.rng.random());
        let before = std::mem::replace(&mut self.resolver, resolver);
        self.discarded.push(Discarded::new(before));
        self.waiting.owe_all();
    }
}

fn resolver_settings(settings: &CoreSettings, platform: &Platform) -> ResolverSettings {
    network::resolver_settings(settings, platform.upstream_sockets, &platform.addresses)
}
