//! Which policy holds for whom: chosen by local name, direction, remote name and peer. None chosen = deny.

use super::hosts::Registry;
use super::value::Pattern;
use crate::names::Name;
use ces_cetp::Policy;
use ces_cetp::engine::Direction;
use ces_settings::FileError;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// What a rule's bindings may carry, and for how long, as this side says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleLimits {
    /// The only IP protocol.
    pub protocol: Option<u8>,
    /// The only port on the serving side.
    pub port: Option<u16>,
    /// Bits a second in each direction.
    pub rate_bps: Option<u64>,
    /// Hard lifetime in seconds.
    pub hard_ttl_s: Option<u32>,
    /// Idle lifetime in seconds.
    pub idle_ttl_s: Option<u16>,
}

impl RuleLimits {
    /// What a policy itself tells its peers.
    fn of(policy: &Policy) -> Self {
        let own = policy.own();
        Self {
            protocol: own.protocol,
            port: own.port.filter(|port| *port > 0),
            rate_bps: own.rate_bps.filter(|rate| *rate > 0),
            hard_ttl_s: own.hard_ttl_s,
            idle_ttl_s: own.idle_ttl_s.map(|seconds| seconds.min(u32::from(u16::MAX)) as u16),
        }
    }

    /// Both at once: the narrower of each. `None` if they exclude each other.
    pub fn and(self, other: Self) -> Option<Self> {
        fn exclude<T: PartialEq>(a: Option<T>, b: Option<T>) -> bool {
            matches!((a, b), (Some(a), Some(b)) if a != b)
        }
        fn least<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
            match (a, b) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            }
        }
        if exclude(self.protocol, other.protocol) || exclude(self.port, other.port) {
            return None;
        }
        Some(Self {
            protocol: self.protocol.or(other.protocol),
            port: self.port.or(other.port),
            rate_bps: least(self.rate_bps, other.rate_bps),
            hard_ttl_s: least(self.hard_ttl_s, other.hard_ttl_s),
            idle_ttl_s: least(self.idle_ttl_s, other.idle_ttl_s),
        })
    }
}

/// One rule: for whom, and what.
#[derive(Clone, Debug)]
pub struct PolicyRule {
    pub(super) names: Vec<Pattern>,
    pub(super) peers: Vec<Name>,
    /// The CETP policy that is negotiated with.
    pub policy: Arc<Policy>,
    /// What it says for the data path.
    pub limits: RuleLimits,
}

impl PolicyRule {
    pub(super) fn new(names: Vec<Pattern>, peers: Vec<Name>, policy: Arc<Policy>) -> Self {
        let limits = RuleLimits::of(&policy);
        Self { names, peers, policy, limits }
    }

    fn matches(&self, remote: &str, peer: &str) -> bool {
        self.names.iter().any(|pattern| pattern.matches(remote))
            && (self.peers.is_empty() || self.peers.iter().any(|p| p.as_str() == peer))
    }
}

/// A policy's rules, by direction. All names that refer to it share them.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) outbound: Vec<Arc<PolicyRule>>,
    pub(super) inbound: Vec<Arc<PolicyRule>>,
}

/// The policies of hosts and of the network.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    outbound: FxHashMap<Arc<str>, Vec<Arc<PolicyRule>>>,
    inbound: FxHashMap<Arc<str>, Vec<Arc<PolicyRule>>>,
    /// Where a policy of the reference's form came from, for warnings.
    strangers: Vec<(Name, FileError)>,
    warnings: Vec<FileError>,
    network: Option<Arc<Policy>>,
    /// Policies by their names, for hosts that come at run time.
    named: FxHashMap<Arc<str>, Arc<Compiled>>,
}

impl PolicySet {
    /// The rule that holds, if any does.
    pub fn choose(
        &self,
        local: &str,
        direction: Direction,
        remote: &str,
        peer: &str,
    ) -> Option<&Arc<PolicyRule>> {
        let rules = match direction {
            Direction::Outbound => &self.outbound,
            Direction::Inbound => &self.inbound,
        };
        rules.get(local)?.iter().find(|rule| rule.matches(remote, peer))
    }

    /// The network policy, if a file names one; otherwise the gateway makes its own out of its settings.
    pub fn network(&self) -> Option<&Arc<Policy>> {
        self.network.as_ref()
    }

    /// What is probably not meant so, though it can be understood.
    pub fn warnings(&self) -> &[FileError] {
        &self.warnings
    }

    /// How many rules there are.
    pub fn rules(&self) -> usize {
        self.outbound.values().chain(self.inbound.values()).map(Vec::len).sum()
    }

    pub(super) fn add(&mut self, local: &Name, direction: Direction, rule: Arc<PolicyRule>) {
        let rules = match direction {
            Direction::Outbound => &mut self.outbound,
            Direction::Inbound => &mut self.inbound,
        };
        rules.entry(local.shared()).or_default().push(rule);
    }

    /// A policy that hosts may be given.
    pub(super) fn keep(&mut self, name: &str, policy: Compiled) {
        self.named.insert(name.into(), Arc::new(policy));
    }

    /// A host that came at run time has this policy.
    pub(crate) fn give(&mut self, host: &Name, policy: &str) {
        let Some(policy) = self.named.get(policy) else { return };
        self.outbound.insert(host.shared(), policy.outbound.clone());
        self.inbound.insert(host.shared(), policy.inbound.clone());
    }

    /// Another name of a host is reached as its host is.
    pub(crate) fn share(&mut self, host: &Name, service: &Name) {
        if let Some(rules) = self.inbound.get(host.as_str()).cloned() {
            self.inbound.insert(service.shared(), rules);
        }
    }

    /// A name is gone.
    pub(crate) fn forget(&mut self, name: &Name) {
        self.outbound.remove(name.as_str());
        self.inbound.remove(name.as_str());
    }

    pub(super) fn set_network(&mut self, policy: Arc<Policy>) -> bool {
        self.network.replace(policy).is_none()
    }

    pub(super) fn warn(&mut self, warning: FileError) {
        self.warnings.push(warning);
    }

    pub(super) fn note_place(&mut self, local: Name, place: FileError) {
        self.strangers.push((local, place));
    }

    pub(super) fn warn_about_strangers(&mut self, registry: &Registry) {
        for (local, place) in std::mem::take(&mut self.strangers) {
            if registry.host(local.as_str()).is_none() {
                self.warnings.push(place);
            }
        }
        self.warnings.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    }
}
