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
    /// Names that have names below them: they exist, too (RFC 8020 §2).
    above: FxHashSet<Arc<str>>,
}

impl Registry {
    pub(super) fn new(hosts: Vec<HostEntry>) -> Self {
        let mut by_name = FxHashMap::default();
        let mut above = FxHashSet::default();
        for (index, host) in hosts.iter().enumerate() {
            for name in std::iter::once(&host.name).chain(&host.services) {
                by_name.insert(name.shared(), index as u32);
                let mut rest = name.as_str();
                while let Some((_, parent)) = rest.split_once('.').filter(|(_, parent)| !parent.is_empty()) {
                    if !above.insert(Arc::from(parent)) {
                        break;
                    }
                    rest = parent;
                }
            }
        }
        Self { hosts, by_name, above }
    }

    /// Names of hosts and of their services.
    pub fn names(&self) -> usize {
        self.by_name.len()
    }

    /// All hosts, in the order of the files.
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
        self.above.contains(name)
    }
}
