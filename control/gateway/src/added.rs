//! Names that came at run time (RFC 2136): what is said of each, kept over a restart, and how they become names of hosts.
//!
//! A name leads to one address. If a host has that address, it is one more name of that host; otherwise the first such name is
//! a host of its own. What the files say comes first: a name that a file gives to another host meanwhile is set aside, and
//! counts again when the file lets it go.

use crate::Nanos;
use crate::names::Name;
use crate::registry::{HostEntry, PolicySet, Registry, inbound_of};
use crate::settings::{CoreSettings, Updates};
use crate::snapshot::Page;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Names that are remembered: some 200 octets each.
pub(crate) const NAMES_MAX: usize = 65_536;
/// Records of other types that one name may have, and octets of each.
pub(crate) const NOTES_MAX: usize = 4;
pub(crate) const NOTE_OCTETS_MAX: usize = 512;

/// What is said of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddedName {
    /// The address of its host.
    pub address: Option<Ipv4Addr>,
    /// Of the name of an address: the name that it has (PTR).
    pub pointer: Option<Arc<str>>,
    /// Records that mean nothing to the gateway, by type: what a DHCP server notes about who has the name (TXT, DHCID).
    pub notes: Vec<(u16, Box<[u8]>)>,
    /// Whose key set it.
    pub key: Arc<str>,
    /// When it was set first, in nanoseconds since 1970.
    pub since: Nanos,
}

impl AddedName {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.address.is_none() && self.pointer.is_none() && self.notes.is_empty()
    }

    /// Records of this type that mean nothing to the gateway go: this one, or all of them (RFC 2136 §2.5.2, §2.5.4).
    pub(crate) fn forget(&mut self, kind: u16, record: Option<&[u8]>) {
        self.notes.retain(|(other, data)| *other != kind || record.is_some_and(|record| **data != *record));
    }
}

/// A change of them as it is written down; `None`: nothing is said of the name any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddedRecord {
    /// The name.
    pub name: Arc<str>,
    /// What is said of it.
    pub is: Option<AddedName>,
}

/// A name that came at run time, as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AddedRow {
    /// The name.
    pub name: Arc<str>,
    /// Where it leads.
    pub address: Option<Ipv4Addr>,
    /// The name of the address that it is of.
    pub pointer: Option<Arc<str>>,
    /// Records that mean nothing to the gateway.
    pub notes: usize,
    /// Whose key set it.
    pub key: Arc<str>,
    /// Since when, in seconds since 1970.
    pub since_s: u64,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct AddedNames {
    names: BTreeMap<Arc<str>, AddedName>,
    /// The names of each address.
    by_address: BTreeMap<Ipv4Addr, BTreeSet<Arc<str>>>,
}

impl AddedNames {
    pub(crate) fn get(&self, name: &str) -> Option<&AddedName> {
        self.names.get(name)
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// Some of them, from this place on.
    pub(crate) fn page(&self, from: u64, most: usize) -> Page<AddedRow> {
        let rows = self.names.iter().skip(from as usize).take(most);
        let rows = rows.map(|(name, is)| AddedRow {
            name: Arc::clone(name),
            address: is.address,
            pointer: is.pointer.clone(),
            notes: is.notes.len(),
            key: Arc::clone(&is.key),
            since_s: is.since / crate::SECOND,
        });
        let next = from + most as u64;
        Page { rows: rows.collect(), next: (next < self.names.len() as u64).then_some(next) }
    }

    pub(crate) fn set(&mut self, record: AddedRecord) {
        let AddedRecord { name, is } = record;
        let after = is.as_ref().and_then(|is| is.address);
        let before = match is {
            Some(is) => self.names.insert(Arc::clone(&name), is),
            None => self.names.remove(&name),
        };
        if let Some(address) = before.and_then(|is| is.address)
            && let Some(names) = self.by_address.get_mut(&address)
        {
            names.remove(&name);
            if names.is_empty() {
                self.by_address.remove(&address);
            }
        }
        if let Some(address) = after {
            self.by_address.entry(address).or_default().insert(name);
        }
    }

    /// The names that lead to an address, the first that was set first.
    pub(crate) fn of(&self, address: Ipv4Addr) -> Vec<(Name, &AddedName)> {
        let names = self.by_address.get(&address).into_iter().flatten();
        let said = |name: &Arc<str>| Some((Name::parse(name).ok()?, self.names.get(name)?));
        let mut all: Vec<_> = names.filter_map(said).collect();
        all.sort_by_key(|(_, is)| is.since);
        all
    }

    /// Where they lead.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.by_address.keys().copied()
    }

    /// Has hosts and policies know all of them. What the files contradict comes back, with why.
    pub(crate) fn lay_over(
        &self,
        registry: &mut Registry,
        policies: &mut PolicySet,
        settings: &CoreSettings,
    ) -> Vec<(Arc<str>, String)> {
        let mut aside = Vec::new();
        for address in self.addresses() {
            for (name, is) in self.of(address) {
                if let Err(why) = enter(registry, policies, settings, &name, address, &is.key) {
                    aside.push((name.shared(), why));
                }
            }
        }
        aside
    }
}

/// By what a key may set a name.
pub(crate) fn rule<'a>(settings: &'a CoreSettings, key: &str, name: &str) -> Option<&'a Updates> {
    let rules = settings.dns.updates.iter();
    let mut of_key = rules.filter(|rule| rule.key.as_str() == key);
    of_key.find(|rule| rule.names.iter().any(|pattern| pattern.matches(name)))
}

/// Has hosts and policies know that a name leads to an address.
pub(crate) fn enter(
    registry: &mut Registry,
    policies: &mut PolicySet,
    settings: &CoreSettings,
    name: &Name,
    address: Ipv4Addr,
    key: &str,
) -> Result<(), String> {
    if let Some(other) = registry.host(name.as_str()) {
        return Err(format!("{name} belongs to {} already", other.name));
    }
    if !settings.realm.networks.iter().any(|network| network.contains(&address)) {
        return Err(format!("{address} lies in no network of the realm"));
    }
    let rule = rule(settings, key, name.as_str());
    let inbound = rule.and_then(|rule| rule.inbound).and_then(|it| inbound_of(it, name).ok());
    if let Some(host) = registry.at(address.into()) {
        let host = host.name.clone();
        registry.add_service(address.into(), name, inbound);
        policies.share(&host, name);
    } else {
        registry.add(HostEntry {
            name: name.clone(),
            address: address.into(),
            mac: None,
            services: Vec::new(),
            inbound: inbound.into_iter().collect(),
            groups: Vec::new(),
        });
        if let Some(policy) = rule.and_then(|rule| rule.policy.as_ref()) {
            policies.give(name, policy);
        }
    }
    registry.mark(name);
    Ok(())
}

/// Has hosts and policies forget a name that led to an address; those that are left of a host that it was the own name of
/// have to be entered again, and are told.
pub(crate) fn leave(
    registry: &mut Registry,
    policies: &mut PolicySet,
    name: &Name,
    address: Ipv4Addr,
) -> Vec<Name> {
    if !registry.unmark(name) {
        // It was set aside: what the files say there is not its.
        return Vec::new();
    }
    let Some(host) = registry.at(address.into()) else { return Vec::new() };
    if host.name != *name {
        registry.remove_service(name);
        policies.forget(name);
        return Vec::new();
    }
    let gone = registry.remove(address.into());
    policies.forget(name);
    let services = gone.map(|host| host.services).unwrap_or_default();
    for service in &services {
        registry.unmark(service);
        policies.forget(service);
    }
    services
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_the_names_that_lead_there_in_their_order() {
        let mut added = AddedNames::default();
        let [one, two] = [1, 2].map(|last| Ipv4Addr::new(10, 1, 0, last));
        let mut set = |name: &str, address: Option<Ipv4Addr>, since| {
            let is = address.map(|_| AddedName { address, since, ..AddedName::default() });
            added.set(AddedRecord { name: name.into(), is });
            [one, two].map(|address| {
                added.of(address).iter().map(|(name, _)| name.to_string()).collect::<Vec<String>>()
            })
        };
        let none: [Vec<String>; 2] = [vec![], vec![]];
        assert_eq!(set("b.demo.", Some(one), 1), [vec!["b.demo.".to_owned()], vec![]]);
        assert_eq!(set("a.demo.", Some(one), 2), [vec!["b.demo.".to_owned(), "a.demo.".to_owned()], vec![]]);
        assert_eq!(set("b.demo.", Some(two), 1), [vec!["a.demo.".to_owned()], vec!["b.demo.".to_owned()]]);
        set("a.demo.", None, 0);
        assert_eq!(set("b.demo.", None, 0), none);
        assert_eq!(added.addresses().count() + added.len(), 0);
    }

    #[test]
    fn a_name_that_was_set_aside_takes_nothing_of_the_files_with_it() {
        let (mut registry, mut policies) = (Registry::default(), PolicySet::default());
        let (own, other) = (Name::parse("a.demo.").unwrap(), Name::parse("b.demo.").unwrap());
        let address = Ipv4Addr::new(10, 1, 0, 5);
        registry.add(HostEntry {
            name: own.clone(),
            address: address.into(),
            mac: None,
            services: vec![other.clone()],
            inbound: Vec::new(),
            groups: Vec::new(),
        });
        for name in [&own, &other] {
            assert!(leave(&mut registry, &mut policies, name, address).is_empty());
            assert!(registry.host(name.as_str()).is_some(), "{name}");
        }
        registry.add_service(address.into(), &Name::parse("c.demo.").unwrap(), None);
        let late = Name::parse("c.demo.").unwrap();
        registry.mark(&late);
        leave(&mut registry, &mut policies, &late, address);
        assert!(registry.host("c.demo.").is_none() && registry.host("a.demo.").is_some());
    }
}
