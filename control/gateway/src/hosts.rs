//! The inside hosts as they live: who each is, how much it may ask. What it is connected to is in [`crate::sessions`].

use crate::Nanos;
use crate::address::HostAddress;
use crate::pins::Pin;
use crate::shares::Started;
use ces_meter::{Level, Rate};
use rustc_hash::FxSeededState;
use std::collections::HashMap;
use std::sync::Arc;

/// Names an inside host as long as it is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HostId(pub(crate) u32);

/// A map keyed by what comes from outside.
type Seeded<K, V> = HashMap<K, V, FxSeededState>;

/// One host.
pub(crate) struct Host {
    name: Arc<str>,
    services: Vec<Arc<str>>,
    address: HostAddress,
    worker: u32,
    pin: Pin,
    /// How much of what it may ask is left.
    queries: Level,
    started: Started,
}

impl Host {
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn services(&self) -> &[Arc<str>] {
        &self.services
    }

    pub(crate) fn address(&self) -> HostAddress {
        self.address
    }

    /// The worker that has its bindings.
    pub(crate) fn worker(&self) -> u32 {
        self.worker
    }

    /// What is known of its MAC address.
    pub(crate) fn pin(&self) -> &Pin {
        &self.pin
    }

    pub(crate) fn pin_mut(&mut self) -> &mut Pin {
        &mut self.pin
    }

    /// Whether it may ask once more, at that rate.
    pub(crate) fn may_ask(&mut self, rate: Rate, now: Nanos) -> bool {
        self.queries.take(rate, now)
    }

    /// Negotiations that its queries started.
    pub(crate) fn started(&mut self) -> &mut Started {
        &mut self.started
    }
}

/// Which host is found by which name and address. It changes as a whole: another one is made beside it, a part at a time.
pub(crate) struct HostDirectory {
    by_address: Seeded<HostAddress, HostId>,
    by_name: Seeded<Arc<str>, HostId>,
}

impl HostDirectory {
    /// One without hosts that has room for so many hosts and names.
    fn with_room(hosts: usize, names: usize, seed: usize) -> Self {
        let hasher = || FxSeededState::with_seed(seed);
        Self {
            by_address: HashMap::with_capacity_and_hasher(hosts, hasher()),
            by_name: HashMap::with_capacity_and_hasher(names, hasher()),
        }
    }

    /// A host is found by its address and by these names.
    pub(crate) fn add(&mut self, id: HostId, address: HostAddress, names: impl Iterator<Item = Arc<str>>) {
        self.by_address.insert(address, id);
        for name in names {
            self.by_name.insert(name, id);
        }
    }

    /// The host of a name.
    pub(crate) fn named(&self, name: &str) -> Option<HostId> {
        self.by_name.get(name).copied()
    }
}

/// All hosts.
pub(crate) struct Hosts {
    seed: usize,
    slots: Vec<Option<Box<Host>>>,
    free: Vec<u32>,
    directory: HostDirectory,
}

impl Hosts {
    pub(crate) fn new(seed: u64) -> Self {
        let seed = seed as usize;
        Self { seed, slots: Vec::new(), free: Vec::new(), directory: HostDirectory::with_room(0, 0, seed) }
    }

    /// A host that nobody finds yet.
    pub(crate) fn prepare(
        &mut self,
        name: Arc<str>,
        services: Vec<Arc<str>>,
        address: HostAddress,
        worker: u32,
        pin: Pin,
    ) -> HostId {
        let host = Box::new(Host {
            name,
            services,
            address,
            worker,
            pin,
            queries: Level::default(),
            started: Started::default(),
        });
        if let Some(id) = self.free.pop() {
            self.slots[id as usize] = Some(host);
            return HostId(id);
        }
        self.slots.push(Some(host));
        HostId((self.slots.len() - 1) as u32)
    }

    /// Lets a prepared host be found.
    pub(crate) fn publish(&mut self, id: HostId) {
        let Some(host) = self.slots.get(id.0 as usize).and_then(Option::as_deref) else { return };
        let names = std::iter::once(&host.name).chain(&host.services).cloned();
        self.directory.add(id, host.address, names);
    }

    /// Another directory in the making.
    pub(crate) fn draft(&self, hosts: usize, names: usize) -> HostDirectory {
        HostDirectory::with_room(hosts, names, self.seed)
    }

    /// From here on hosts are found by this one; the one before it. Who waits on behalf of a host that is in it no more still
    /// finds that by id.
    pub(crate) fn exchange(&mut self, directory: HostDirectory) -> HostDirectory {
        std::mem::replace(&mut self.directory, directory)
    }

    /// Other services for a host, as they are listed.
    pub(crate) fn set_services(&mut self, id: HostId, services: Vec<Arc<str>>) {
        if let Some(host) = self.get_mut(id) {
            host.services = services;
        }
    }

    /// A host is not found any more.
    pub(crate) fn withdraw(&mut self, id: HostId) {
        let Some(host) = self.slots.get(id.0 as usize).and_then(Option::as_deref) else { return };
        self.directory.by_address.remove(&host.address);
        for name in std::iter::once(&host.name).chain(&host.services) {
            self.directory.by_name.remove(name);
        }
    }

    /// A host is found by these services, and by no others.
    pub(crate) fn rename(&mut self, id: HostId, services: Vec<Arc<str>>) {
        self.withdraw(id);
        self.set_services(id, services);
        self.publish(id);
    }

    /// Forgets a host that is not found any more.
    pub(crate) fn remove(&mut self, id: HostId) {
        if self.slots.get_mut(id.0 as usize).and_then(Option::take).is_some() {
            self.free.push(id.0);
        }
    }

    /// Whether the host can still be found by its name.
    pub(crate) fn is_registered(&self, id: HostId) -> bool {
        self.get(id).is_some_and(|host| self.named(&host.name) == Some(id))
    }

    /// Slots, taken or free.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn get(&self, id: HostId) -> Option<&Host> {
        self.slots.get(id.0 as usize)?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, id: HostId) -> Option<&mut Host> {
        self.slots.get_mut(id.0 as usize)?.as_deref_mut()
    }

    pub(crate) fn at(&self, address: HostAddress) -> Option<HostId> {
        self.directory.by_address.get(&address).copied()
    }

    pub(crate) fn named(&self, name: &str) -> Option<HostId> {
        self.directory.named(name)
    }

    /// The hosts from this place on, as many as that, and where the rest begins.
    pub(crate) fn page(&self, from: u64, most: usize) -> (Vec<&Host>, Option<u64>) {
        let from = (from as usize).min(self.slots.len());
        let end = from.saturating_add(most).min(self.slots.len());
        let next = (end < self.slots.len()).then_some(end as u64);
        let ids = (from as u32..end as u32).map(HostId);
        (ids.filter(|id| self.is_registered(*id)).filter_map(|id| self.get(id)).collect(), next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_another_directory_is_found_by_its_id_alone() {
        let mut hosts = Hosts::new(1);
        let count = |hosts: &Hosts| hosts.page(0, 10).0.len();
        let id =
            hosts.prepare("h1.a.".into(), vec!["www.a.".into()], [10, 0, 0, 1].into(), 0, Pin::default());
        assert_eq!((hosts.named("www.a."), count(&hosts)), (None, 0));
        hosts.publish(id);
        assert_eq!((hosts.named("www.a."), count(&hosts)), (Some(id), 1));
        let next = hosts.draft(1, 1);
        hosts.exchange(next);
        assert_eq!((hosts.named("www.a."), hosts.named("h1.a."), count(&hosts)), (None, None, 0));
        assert!(hosts.get(id).is_some() && !hosts.is_registered(id));
        hosts.remove(id);
        assert!(hosts.get(id).is_none());
        assert_eq!(hosts.prepare("h2.a.".into(), vec![], [10, 0, 0, 2].into(), 0, Pin::default()), id);
    }
}
