//! Who the hosts are: addresses, names, services.

use super::mac::MacEntry;
use crate::address::HostAddress;
use crate::names::Name;
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// The group of the hosts that no file names.
pub const DEFAULT_GROUP: &str = "default";

/// A host of the realm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEntry {
    /// Its own name: the source of what it asks for.
    pub name: Name,
    /// Its address.
    pub address: HostAddress,
    /// What is said of its MAC address.
    pub mac: Option<MacEntry>,
    /// Other names under which it is reached.
    pub services: Vec<Name>,
    /// What of it is reached from the plain Internet: each name once.
    pub inbound: Vec<Service>,
    /// The groups to which it belongs, for rules of the filter.
    pub groups: Vec<Arc<str>>,
}

impl HostEntry {
    /// What is reached of it from the plain Internet by this name.
    pub fn inbound(&self, name: &str) -> Option<&Service> {
        self.inbound.iter().find(|service| service.name.as_str() == name)
    }
}

/// A name by which a host is reached from the plain Internet, and for what. With neither port nor protocol it is a
/// full name, which has an address alone for a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The name.
    pub name: Name,
    /// The host's port; 0 = any.
    pub port: u16,
    /// The protocol; 0 = any.
    pub protocol: u8,
    /// Sessions beside the first, if it does not go by the gateway's settings; -1 = any number.
    pub loose_packets: Option<i32>,
    /// How long an address is set aside, in milliseconds, if it does not go by the gateway's settings.
    pub timeout_ms: Option<u32>,
}

/// The hosts of the realm: addresses, names, services.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    hosts: Vec<HostEntry>,
    by_name: FxHashMap<Arc<str>, u32>,
    by_address: FxHashMap<HostAddress, u32>,
    /// Names that have names below them, and how many there are right below: they exist, too (RFC 8020 §2).
    above: FxHashMap<Arc<str>, u32>,
    /// Names that came at run time, and not by a file.
    late: FxHashSet<Arc<str>>,
}

impl Registry {
    pub(super) fn new(hosts: Vec<HostEntry>) -> Self {
        let mut registry = Self::default();
        for host in hosts {
            registry.add(host);
        }
        registry
    }

    /// One host more.
    pub(crate) fn add(&mut self, host: HostEntry) {
        let index = self.hosts.len() as u32;
        for name in std::iter::once(&host.name).chain(&host.services) {
            self.enter(name, index);
        }
        self.by_address.insert(host.address, index);
        self.hosts.push(host);
    }

    /// One host less, by its address.
    pub(crate) fn remove(&mut self, address: HostAddress) -> Option<HostEntry> {
        let index = self.by_address.remove(&address)?;
        let host = self.hosts.swap_remove(index as usize);
        for name in std::iter::once(&host.name).chain(&host.services) {
            self.leave(name);
        }
        if let Some(moved) = self.hosts.get(index as usize) {
            self.by_address.insert(moved.address, index);
            for name in std::iter::once(&moved.name).chain(&moved.services) {
                self.by_name.insert(name.shared(), index);
            }
        }
        Some(host)
    }

    /// A host has one name more, by which it may be reached from the plain Internet.
    pub(crate) fn add_service(&mut self, address: HostAddress, name: &Name, inbound: Option<Service>) {
        let Some(index) = self.by_address.get(&address).copied() else { return };
        self.enter(name, index);
        let host = &mut self.hosts[index as usize];
        host.services.push(name.clone());
        host.inbound.extend(inbound);
    }

    /// A host has one of its names beside its own no more.
    pub(crate) fn remove_service(&mut self, name: &Name) {
        let Some(index) = self.by_name.get(name.as_str()).copied() else { return };
        let host = &mut self.hosts[index as usize];
        host.services.retain(|service| service != name);
        host.inbound.retain(|service| service.name != *name);
        self.leave(name);
    }

    /// A name that is there came at run time.
    pub(crate) fn mark(&mut self, name: &Name) {
        self.late.insert(name.shared());
    }

    /// Whether a name came at run time; it is going.
    pub(crate) fn unmark(&mut self, name: &Name) -> bool {
        self.late.remove(name.as_str())
    }

    fn exists(&self, name: &str) -> bool {
        self.by_name.contains_key(name) || self.above.contains_key(name)
    }

    fn enter(&mut self, name: &Name, index: u32) {
        let mut rest = Some(name.as_str()).filter(|name| !self.exists(name));
        while let Some((_, parent)) =
            rest.and_then(|rest| rest.split_once('.')).filter(|(_, parent)| !parent.is_empty())
        {
            rest = Some(parent).filter(|parent| !self.exists(parent));
            *self.above.entry(Arc::from(parent)).or_default() += 1;
        }
        self.by_name.insert(name.shared(), index);
    }

    fn leave(&mut self, name: &Name) {
        self.by_name.remove(name.as_str());
        let mut rest = name.as_str();
        while !self.exists(rest)
            && let Some((_, parent)) = rest.split_once('.').filter(|(_, parent)| !parent.is_empty())
        {
            if let Some(count) = self.above.get_mut(parent) {
                *count -= 1;
                if *count == 0 {
                    self.above.remove(parent);
                }
            }
            rest = parent;
        }
    }

    /// The host with this address.
    pub fn at(&self, address: HostAddress) -> Option<&HostEntry> {
        self.by_address.get(&address).map(|index| &self.hosts[*index as usize])
    }

    /// Names of hosts and of their services.
    pub fn names(&self) -> usize {
        self.by_name.len()
    }

    /// All hosts.
    pub fn hosts(&self) -> &[HostEntry] {
        &self.hosts
    }

    /// The host behind a name, its own or a service's.
    pub fn host(&self, name: &str) -> Option<&HostEntry> {
        self.by_name.get(name).map(|index| &self.hosts[*index as usize])
    }

    /// The hosts of a group.
    pub fn group(&self, group: &str) -> impl Iterator<Item = &HostEntry> {
        self.hosts.iter().filter(move |host| host.groups.iter().any(|own| **own == *group))
    }

    /// Whether a name has names of hosts below it.
    pub fn is_above(&self, name: &str) -> bool {
        self.above.contains_key(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAMES: [&str; 6] = ["a.", "b.a.", "c.b.a.", "d.c.b.a.", "e.a.", "f.e.a."];

    fn entry(n: u8, names: &[usize]) -> HostEntry {
        let mut names = names.iter().map(|at| Name::parse(NAMES[*at]).expect("a name"));
        HostEntry {
            name: names.next().expect("a host has a name"),
            address: [10, 0, 0, n].into(),
            mac: None,
            services: names.collect(),
            inbound: Vec::new(),
            groups: Vec::new(),
        }
    }

    proptest! {
        /// What comes and goes leaves what would be there if only the rest had ever come.
        #[test]
        fn what_comes_and_goes_leaves_no_trace(steps in proptest::collection::vec((0..6usize, 0..3u8), 0..40)) {
            let mut registry = Registry::default();
            let mut hosts: std::collections::BTreeMap<u8, Vec<usize>> = std::collections::BTreeMap::new();
            for (at, n) in steps {
                let name = Name::parse(NAMES[at]).expect("a name");
                let address = HostAddress::from([10, 0, 0, n]);
                let owner = hosts.iter().find(|(_, names)| names.contains(&at)).map(|(n, _)| *n);
                let is_own = owner.is_some_and(|owner| hosts[&owner][0] == at);
                match (owner, hosts.get_mut(&n)) {
                    (None, None) => {
                        registry.add(entry(n, &[at]));
                        hosts.insert(n, vec![at]);
                    }
                    (None, Some(names)) => {
                        registry.add_service(address, &name, None);
                        names.push(at);
                    }
                    (Some(owner), _) if is_own => {
                        prop_assert!(registry.remove([10, 0, 0, owner].into()).is_some());
                        hosts.remove(&owner);
                    }
                    (Some(owner), _) => {
                        registry.remove_service(&name);
                        hosts.entry(owner).or_default().retain(|other| *other != at);
                    }
                }
                let anew = Registry::new(hosts.iter().map(|(n, names)| entry(*n, names)).collect());
                prop_assert_eq!(&registry.above, &anew.above);
                prop_assert_eq!(registry.names(), anew.names());
                for (n, names) in &hosts {
                    for at in names {
                        prop_assert_eq!(registry.host(NAMES[*at]), anew.at([10, 0, 0, *n].into()));
                    }
                }
            }
        }
    }
}
