//! Policies as the reference implementation's files have them, found by the local name alone.

use ces_cetp::Policy;
use ces_cetp::engine::Direction;
use ces_cetp::policy::PolicyEntry;
use std::collections::HashMap;
use std::sync::Arc;

/// The policies of hosts, one for a name and direction.
#[derive(Default)]
pub(crate) struct Book(pub HashMap<(Arc<str>, Direction), Arc<Policy>>);

impl Book {
    pub(crate) fn read(json: &str) -> Self {
        let entries: Vec<PolicyEntry> = serde_json::from_str(json).expect("an array of policies");
        let hosts = entries.into_iter().filter_map(|entry| match entry {
            PolicyEntry::Host { fqdn, direction, policy, .. } => Some(((fqdn, direction), policy)),
            PolicyEntry::Ces { .. } => None,
        });
        Self(hosts.collect())
    }

    pub(crate) fn host(&self, local: &str, direction: Direction) -> Option<Arc<Policy>> {
        self.0.get(&(local.into(), direction)).cloned()
    }
}
