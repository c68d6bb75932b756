//! A reload under way: what it has prepared, and what is left to do, a piece at a time, so that nobody waits for a hundred
//! thousand hosts.

use crate::configuration::Configuration;
use crate::core::Core;
use crate::hosts::{HostDirectory, HostId};
use crate::names::Name;
use crate::registry::MacEntry;
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

/// Hosts, or sessions, that one piece of a reload looks at: some microseconds each.
pub const PIECE: usize = 500;

/// A reload under way.
pub(super) struct Reload {
    /// What is to come into force, or was in force before.
    configuration: Configuration,
    /// What names and addresses will lead to.
    directory: HostDirectory,
    pub(super) stage: Stage,
    pub(super) reloaded: Reloaded,
    /// Hosts that are new, and those that are gone.
    added: Vec<HostId>,
    gone: Vec<HostId>,
    services: Vec<(HostId, Vec<Arc<str>>)>,
    macs: Vec<(HostId, Option<MacEntry>)>,
    /// Who waited when it was applied.
    asks: Vec<u64>,
}

/// How far a reload has come. Until it is applied nobody sees anything of it; then all see all of it at once.
#[derive(Clone, Copy)]
pub(super) enum Stage {
    /// The hosts that there are, from this slot on, are looked for in the new registry.
    Compare(usize),
    /// The hosts of the new registry, from this one on, are prepared.
    Add(usize),
    /// Everything is prepared.
    Ready,
    /// It is applied: those who wait on behalf of hosts that are gone are told so.
    Asks,
    /// What is known of hosts that stay is changed.
    Hosts,
    /// Sessions, from this place on, are ended where they are not allowed any more.
    Sessions(u64),
    /// Hosts that are gone are forgotten.
    Forget,
}

/// What is out of use: to be dropped where that takes nobody's time.
pub struct Discarded(#[allow(dead_code)] Box<dyn Send>);

impl Discarded {
    pub(super) fn new(what: impl Send + 'static) -> Self {
        Self(Box::new(what))
    }
}

impl Reload {
    pub(super) fn new(configuration: Configuration, directory: HostDirectory) -> Self {
        Self {
            configuration,
            directory,
            stage: Stage::Compare(0),
            reloaded: Reloaded::default(),
            added: Vec::new(),
            gone: Vec::new(),
            services: Vec::new(),
            macs: Vec::new(),
            asks: Vec::new(),
        }
    }

    /// Does a piece of what nobody sees yet. True when all of it is done.
    pub(super) fn prepare(&mut self, core: &mut Core) -> bool {
        match self.stage {
            Stage::Compare(from) => self.stage = self.compare(core, from),
            Stage::Add(from) => self.stage = self.add(core, from),
            _ => return true,
        }
        false
    }

    /// Whether nothing is left to be prepared.
    pub(super) fn is_prepared(&self) -> bool {
        !matches!(self.stage, Stage::Compare(_) | Stage::Add(_))
    }

    /// Whether it has been applied.
    pub(super) fn is_in_force(&self) -> bool {
        matches!(self.stage, Stage::Asks | Stage::Hosts | Stage::Sessions(_) | Stage::Forget)
    }

    pub(super) fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Comes into force, in one moment. These wait for something.
    pub(super) fn exchange(&mut self, core: &mut Core, asks: Vec<u64>) {
        let empty = core.hosts().draft(0, 0);
        let directory = std::mem::replace(&mut self.directory, empty);
        self.directory = core.exchange(&mut self.configuration, directory);
        (self.stage, self.asks) = (Stage::Asks, asks);
    }

    /// Some of those who waited when it came into force. After them it is the hosts' turn.
    pub(super) fn take_asks(&mut self) -> Vec<u64> {
        let rest = self.asks.len().saturating_sub(PIECE);
        if rest == 0 {
            self.stage = Stage::Hosts;
        }
        self.asks.split_off(rest)
    }

    /// Takes back what was prepared.
    pub(super) fn cancel(self, core: &mut Core) {
        self.added.into_iter().for_each(|id| core.hosts_mut().remove(id));
    }

    /// Forgets some of the hosts that are gone. True when all are forgotten.
    pub(super) fn forget(&mut self, core: &mut Core) -> bool {
        let rest = self.gone.len().saturating_sub(PIECE);
        self.gone.drain(rest..).for_each(|id| core.hosts_mut().remove(id));
        self.gone.is_empty()
    }

    /// What is out of use from here on.
    pub(super) fn discard(self) -> Discarded {
        Discarded::new((self.directory, self.configuration))
    }

    /// Looks for some of the hosts that there are in the new registry.
    fn compare(&mut self, core: &Core, from: usize) -> Stage {
        let until = from.saturating_add(PIECE).min(core.hosts().slots());
        let ids = (from as u32..until as u32).map(HostId).filter(|id| core.hosts().is_registered(*id));
        for (id, host) in ids.filter_map(|id| Some((id, core.hosts().get(id)?))) {
            let entry = self
                .configuration
                .registry()
                .host(host.name())
                .filter(|entry| *entry.name.as_str() == **host.name());
            match entry {
                None => {
                    self.reloaded.hosts_removed += 1;
                    self.gone.push(id);
                }
                // To the workers a host is its address: with another one it is another host.
                Some(entry) if entry.address != host.address() => {
                    self.reloaded.hosts_changed += 1;
                    self.gone.push(id);
                }
                Some(entry) => {
                    let services: Vec<Arc<str>> = entry.services.iter().map(Name::shared).collect();
                    let names = std::iter::once(host.name()).chain(&services).cloned();
                    self.directory.add(id, host.address(), names);
                    self.macs.push((id, entry.mac));
                    if services != host.services() {
                        self.reloaded.hosts_changed += 1;
                        self.services.push((id, services));
                    }
                }
            }
        }
        if until < core.hosts().slots() { Stage::Compare(until) } else { Stage::Add(0) }
    }

    /// Prepares those of some hosts of the new registry that are new.
    fn add(&mut self, core: &mut Core, from: usize) -> Stage {
        let all = self.configuration.registry().hosts();
        let until = from.saturating_add(PIECE).min(all.len());
        for entry in &all[from..until] {
            if self.directory.named(entry.name.as_str()).is_some() {
                continue;
            }
            let id = core.prepare_host(entry);
            let names = std::iter::once(&entry.name).chain(&entry.services).map(Name::shared);
            self.directory.add(id, entry.address, names);
            self.added.push(id);
            self.reloaded.hosts_added +=
                usize::from(core.configuration().registry().host(entry.name.as_str()).is_none());
        }
        if until < all.len() { Stage::Add(until) } else { Stage::Ready }
    }

    /// Changes what is known of some hosts that stay.
    pub(super) fn tell(&mut self, core: &mut Core) -> Stage {
        let rest = self.macs.len().saturating_sub(PIECE);
        for (id, mac) in self.macs.drain(rest..) {
            if core.hosts_mut().get_mut(id).is_some_and(|host| host.pin_mut().give(mac)) {
                self.reloaded.hosts_changed += 1;
                core.tell_pin(id);
            }
        }
        let rest = self.services.len().saturating_sub(PIECE);
        self.services.drain(rest..).for_each(|(id, services)| core.hosts_mut().set_services(id, services));
        if self.macs.is_empty() && self.services.is_empty() { Stage::Sessions(0) } else { Stage::Hosts }
    }
}
