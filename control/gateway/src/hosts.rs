//! The inside hosts as they live: what each asks for, its rate. What it is connected to is in [`crate::sessions`].

use crate::address::HostAddress;
use crate::pins::Pin;
use crate::shares::Started;
use ces_dataplane::tag::Handle;
use ces_meter::Level;
use rustc_hash::FxSeededState;
use std::collections::HashMap;
use std::sync::Arc;

/// Names an inside host as long as it is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HostId(pub(crate) u32);

/// How a host stands to a far name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// Somebody asked; the pending entry knows how far it is.
    Asking(u64),
    /// Connected.
    Up(Handle),
}

/// A map keyed by what comes from outside.
pub(crate) type Seeded<K, V> = HashMap<K, V, FxSeededState>;

/// One host.
pub(crate) struct Host {
    pub(crate) name: Arc<str>,
    pub(crate) services: Vec<Arc<str>>,
    pub(crate) address: HostAddress,
    pub(crate) worker: u32,
    /// What is known of its MAC address.
    pub(crate) pin: Pin,
    /// How much of what it may ask is left.
    pub(crate) queries: Level,
    /// Negotiations that its queries started.
    pub(crate) started: Started,
    /// Far names that it asks for, and the pending entry that knows how far each is.
    pub(crate) asking: Seeded<Arc<str>, u64>,
}

/// All hosts.
pub(crate) struct Hosts {
    seed: usize,
    slots: Vec<Option<Host>>,
    free: Vec<u32>,
    by_address: Seeded<HostAddress, HostId>,
    by_name: Seeded<Arc<str>, HostId>,
}

impl Hosts {
    pub(crate) fn new(seed: u64) -> Self {
        let seed = seed as usize;
        Self {
            seed,
            slots: Vec::new(),
            free: Vec::new(),
            by_address: HashMap::with_hasher(FxSeededState::with_seed(seed)),
            by_name: HashMap::with_hasher(FxSeededState::with_seed(seed)),
        }
    }

    pub(crate) fn insert(
        &mut self,
        name: Arc<str>,
        services: Vec<Arc<str>>,
        address: HostAddress,
        worker: u32,
    ) -> HostId {
        let host = Host {
            name: Arc::clone(&name),
            services: services.clone(),
            address,
            worker,
            pin: Pin::default(),
            queries: Level::default(),
            started: Started::default(),
            asking: HashMap::with_hasher(FxSeededState::with_seed(self.seed)),
        };
        let id = if let Some(id) = self.free.pop() {
            self.slots[id as usize] = Some(host);
            HostId(id)
        } else {
            self.slots.push(Some(host));
            HostId((self.slots.len() - 1) as u32)
        };
        self.by_address.insert(address, id);
        for name in std::iter::once(name).chain(services) {
            self.by_name.insert(name, id);
        }
        id
    }

    /// Takes a host's names and address away; nobody finds it any more. Who waits on its behalf still does, by id.
    pub(crate) fn hide(&mut self, id: HostId) {
        let Some(host) = self.slots.get(id.0 as usize).and_then(Option::as_ref) else { return };
        if self.by_address.get(&host.address) == Some(&id) {
            self.by_address.remove(&host.address);
        }
        for name in std::iter::once(&host.name).chain(&host.services) {
            if self.by_name.get(name) == Some(&id) {
                self.by_name.remove(name);
            }
        }
    }

    /// Other services for a host.
    pub(crate) fn set_services(&mut self, id: HostId, services: Vec<Arc<str>>) {
        let Some(host) = self.slots.get_mut(id.0 as usize).and_then(Option::as_mut) else { return };
        let before = std::mem::replace(&mut host.services, services.clone());
        for name in before {
            if self.by_name.get(&name) == Some(&id) {
                self.by_name.remove(&name);
            }
        }
        for name in services {
            self.by_name.insert(name, id);
        }
    }

    /// Forgets a hidden host.
    pub(crate) fn remove(&mut self, id: HostId) {
        if self.slots.get_mut(id.0 as usize).and_then(Option::take).is_some() {
            self.free.push(id.0);
        }
    }

    /// Whether the host can still be found by its name: neither hidden nor gone.
    pub(crate) fn is_registered(&self, id: HostId) -> bool {
        self.get(id).is_some_and(|host| self.by_name.get(&host.name) == Some(&id))
    }

    pub(crate) fn get(&self, id: HostId) -> Option<&Host> {
        self.slots.get(id.0 as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: HostId) -> Option<&mut Host> {
        self.slots.get_mut(id.0 as usize)?.as_mut()
    }

    pub(crate) fn at(&self, address: HostAddress) -> Option<HostId> {
        self.by_address.get(&address).copied()
    }

    pub(crate) fn named(&self, name: &str) -> Option<HostId> {
        self.by_name.get(name).copied()
    }

    /// The hosts from this place on, as many as that, and where the rest begins.
    pub(crate) fn page(&self, from: u64, most: usize) -> (Vec<&Host>, Option<u64>) {
        let from = (from as usize).min(self.slots.len());
        let end = from.saturating_add(most).min(self.slots.len());
        let next = (end < self.slots.len()).then_some(end as u64);
        (self.slots[from..end].iter().filter_map(Option::as_ref).collect(), next)
    }

    /// All hosts that are registered.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (HostId, &Host)> {
        let ids = (0u32..).map(HostId).zip(&self.slots);
        ids.filter_map(|(id, slot)| slot.as_ref().map(|host| (id, host)))
            .filter(|(id, host)| self.by_name.get(&host.name) == Some(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hidden_host_is_found_by_its_id_alone() {
        let mut hosts = Hosts::new(1);
        let id = hosts.insert("h1.a.".into(), vec!["www.a.".into()], [10, 0, 0, 1].into(), 0);
        assert_eq!(hosts.named("www.a."), Some(id));
        hosts.hide(id);
        assert_eq!((hosts.named("www.a."), hosts.named("h1.a."), hosts.iter().count()), (None, None, 0));
        assert!(hosts.get(id).is_some() && !hosts.is_registered(id));
        hosts.remove(id);
        assert!(hosts.get(id).is_none());
        assert_eq!(hosts.insert("h2.a.".into(), vec![], [10, 0, 0, 2].into(), 0), id);
    }
}
