//! What a person has said, as far as it is in force: settings, who the hosts are, what they may do. It changes as a whole.

use crate::names::is_within;
use crate::registry::{PolicyRule, PolicySet, Registry};
use crate::settings::{CoreSettings, Word};
use ces_cetp::engine::Direction;
use std::sync::Arc;

/// Settings, hosts and policies that belong together.
pub(crate) struct Configuration {
    ces_id: Arc<str>,
    settings: CoreSettings,
    registry: Registry,
    policies: PolicySet,
}

impl Configuration {
    pub(crate) fn new(settings: CoreSettings, registry: Registry, policies: PolicySet) -> Self {
        Self { ces_id: settings.realm.ces_id.shared(), settings, registry, policies }
    }

    /// Our own CES id.
    pub(crate) fn ces_id(&self) -> &Arc<str> {
        &self.ces_id
    }

    pub(crate) fn settings(&self) -> &CoreSettings {
        &self.settings
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Hosts and policies, for what comes at run time.
    pub(crate) fn hosts_and_policies(&mut self) -> (&CoreSettings, &mut Registry, &mut PolicySet) {
        (&self.settings, &mut self.registry, &mut self.policies)
    }

    pub(crate) fn policies(&self) -> &PolicySet {
        &self.policies
    }

    /// The rule by which a local name may deal with a remote one, if any.
    pub(crate) fn choose(
        &self,
        local: &str,
        direction: Direction,
        remote: &str,
        peer: &str,
    ) -> Option<&Arc<PolicyRule>> {
        self.policies.choose(local, direction, remote, peer)
    }

    /// Whether a peer may be negotiated with.
    pub(crate) fn is_trusted(&self, peer: &str) -> bool {
        let trusted = &self.settings.cetp.trusted;
        trusted.is_empty() || trusted.iter().any(|name| name.as_str() == peer)
    }

    /// What becomes of a peer's word for the name of its host (C17): no name of ours, and of its own zones where we know them.
    pub(crate) fn word(&self, peer: &str, name: &str) -> Word {
        if peer == &*self.ces_id {
            return Word::Taken;
        }
        let is_ours = self.settings.realm.zones.iter().any(|zone| is_within(name, zone.as_str()));
        if is_ours { Word::Refused } else { self.settings.cetp.word(peer, name) }
    }
}
