//! Hosts that no file names and that have their address by a lease (DHCP): what they are called, and where they send from.
//!
//! A name is its first host's until that one's lease ends, and never one that the registry has.

use crate::Mac;
use crate::address::HostAddress;
use rustc_hash::FxSeededState;
use std::collections::HashMap;
use std::sync::Arc;

/// What is known of a host by its lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeasedHost {
    /// The MAC address that its packets must come from, where that can be seen.
    pub mac: Option<Mac>,
    /// What it calls itself: a label in lower case.
    pub label: Option<Box<str>>,
}

/// The MAC address and the name of such a host.
pub(crate) type MacAndName = (Option<Mac>, Option<Arc<str>>);

/// Those hosts.
pub(crate) struct Leased {
    hosts: HashMap<HostAddress, MacAndName, FxSeededState>,
    names: HashMap<Arc<str>, HostAddress, FxSeededState>,
}

impl Leased {
    pub(crate) fn new(seed: u64) -> Self {
        let hasher = || FxSeededState::with_seed(seed as usize);
        Self { hosts: HashMap::with_hasher(hasher()), names: HashMap::with_hasher(hasher()) }
    }

    /// A host has an address, and this name if nobody has it; or nobody has the address any more. True if another MAC address
    /// is its own now.
    pub(crate) fn set(&mut self, address: HostAddress, host: Option<MacAndName>) -> bool {
        let before = self.hosts.remove(&address);
        let mac_before = before.as_ref().and_then(|(mac, _)| *mac);
        if let Some((_, Some(name))) = &before
            && self.names.get(name) == Some(&address)
        {
            self.names.remove(name);
        }
        let mac = host.as_ref().and_then(|(mac, _)| *mac);
        if let Some((mac, name)) = host {
            let name = name.filter(|name| !self.names.contains_key(name));
            self.names.extend(name.clone().map(|name| (name, address)));
            self.hosts.insert(address, (mac, name));
        }
        mac != mac_before
    }

    /// The MAC address that a host's packets must come from.
    pub(crate) fn mac(&self, address: HostAddress) -> Option<Mac> {
        self.hosts.get(&address)?.0
    }

    /// What a host is called.
    pub(crate) fn name(&self, address: HostAddress) -> Option<&Arc<str>> {
        self.hosts.get(&address)?.1.as_ref()
    }

    /// The host of a name.
    pub(crate) fn named(&self, name: &str) -> Option<HostAddress> {
        self.names.get(name).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_its_first_hosts_until_that_one_is_gone() {
        let mut leased = Leased::new(1);
        let (one, two) = (HostAddress::from([10, 0, 0, 1]), HostAddress::from([10, 0, 0, 2]));
        let pc = |mac| Some((Some([2, 0, 0, 0, 0, mac]), Some(Arc::from("pc.a."))));
        assert!(leased.set(one, pc(1)) && !leased.set(one, pc(1)) && leased.set(two, pc(2)));
        assert_eq!((leased.named("pc.a."), leased.name(two)), (Some(one), None));
        assert!(leased.set(one, pc(3)), "another station has it");
        assert_eq!(leased.name(one).map(|name| &**name), Some("pc.a."));
        assert!(leased.set(one, None));
        assert_eq!((leased.named("pc.a."), leased.mac(one)), (None, None));
        assert!(!leased.set(two, pc(2)), "renewed");
        assert_eq!(leased.named("pc.a."), Some(two));
    }
}
