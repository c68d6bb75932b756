//! All policies of a gateway, and which one applies.

use super::{Policy, PolicyError, canonical_name, same_name};
use crate::engine::api::{Direction, Proto};
use crate::tlv::Layer;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;

/// One policy of a file, and what it is for.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(try_from = "RawEntry", into = "RawEntry")]
pub enum PolicyEntry {
    /// For C2C.
    Ces {
        /// Our CES id.
        ces_id: Arc<str>,
        /// The transport.
        proto: Proto,
        /// The policy.
        policy: Arc<Policy>,
    },
    /// For H2H.
    Host {
        /// The local name.
        fqdn: Arc<str>,
        /// Which end the local name is.
        direction: Direction,
        /// Only towards this remote name, or with `*.` in front, names below it; any if unset.
        remote: Option<Arc<str>>,
        /// Only towards names behind this gateway; any if unset.
        remote_cesid: Option<Arc<str>>,
        /// The policy.
        policy: Arc<Policy>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    CesPolicy,
    HostPolicy,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    r#type: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proto: Option<Proto>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cesid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fqdn: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    direction: Option<Direction>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    remote: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    remote_cesid: Option<String>,
    policy: Policy,
}

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum EntryError {
    #[error("{kind}: \"{key}\" is missing")]
    Missing { kind: &'static str, key: &'static str },
    #[error("{kind}: \"{key}\" has no meaning here")]
    Surplus { kind: &'static str, key: &'static str },
    #[error(
        "hostpolicy of {0}: an inbound policy offers nothing up front; \"offer\" belongs into an outbound one"
    )]
    InboundOffer(String),
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

impl TryFrom<RawEntry> for PolicyEntry {
    type Error = String;

    fn try_from(raw: RawEntry) -> Result<Self, String> {
        Self::compile(raw).map_err(|error| error.to_string())
    }
}

fn name(text: String) -> Arc<str> {
    canonical_name(&text).into()
}

impl PolicyEntry {
    fn compile(raw: RawEntry) -> Result<Self, EntryError> {
        match raw.r#type {
            Kind::CesPolicy => {
                let kind = "cespolicy";
                let surplus = [
                    ("fqdn", raw.fqdn.is_some()),
                    ("direction", raw.direction.is_some()),
                    ("remote", raw.remote.is_some()),
                    ("remote_cesid", raw.remote_cesid.is_some()),
                ];
                if let Some((key, _)) = surplus.into_iter().find(|(_, is_there)| *is_there) {
                    return Err(EntryError::Surplus { kind, key });
                }
                raw.policy.check_layer(Layer::C2c)?;
                Ok(Self::Ces {
                    ces_id: name(raw.cesid.ok_or(EntryError::Missing { kind, key: "cesid" })?),
                    proto: raw.proto.unwrap_or(Proto::Tls),
                    policy: Arc::new(raw.policy),
                })
            }
            Kind::HostPolicy => {
                let kind = "hostpolicy";
                let surplus = [("cesid", raw.cesid.is_some()), ("proto", raw.proto.is_some())];
                if let Some((key, _)) = surplus.into_iter().find(|(_, is_there)| *is_there) {
                    return Err(EntryError::Surplus { kind, key });
                }
                let fqdn = raw.fqdn.ok_or(EntryError::Missing { kind, key: "fqdn" })?;
                let direction = raw.direction.ok_or(EntryError::Missing { kind, key: "direction" })?;
                if direction == Direction::Inbound && !raw.policy.offer().is_empty() {
                    return Err(EntryError::InboundOffer(fqdn));
                }
                raw.policy.check_layer(Layer::H2h)?;
                Ok(Self::Host {
                    fqdn: name(fqdn),
                    direction,
                    remote: raw.remote.map(name),
                    remote_cesid: raw.remote_cesid.map(name),
                    policy: Arc::new(raw.policy),
                })
            }
        }
    }
}

impl From<PolicyEntry> for RawEntry {
    fn from(entry: PolicyEntry) -> Self {
        let empty = |kind, policy: &Arc<Policy>| Self {
            r#type: kind,
            proto: None,
            cesid: None,
            fqdn: None,
            direction: None,
            remote: None,
            remote_cesid: None,
            policy: Policy::clone(policy),
        };
        match entry {
            PolicyEntry::Ces { ces_id, proto, policy } => Self {
                proto: Some(proto),
                cesid: Some(ces_id.to_string()),
                ..empty(Kind::CesPolicy, &policy)
            },
            PolicyEntry::Host { fqdn, direction, remote, remote_cesid, policy } => Self {
                fqdn: Some(fqdn.to_string()),
                direction: Some(direction),
                remote: remote.map(|name| name.to_string()),
                remote_cesid: remote_cesid.map(|name| name.to_string()),
                ..empty(Kind::HostPolicy, &policy)
            },
        }
    }
}

/// A file of policies in TOML: `[[policies]]`, each with the keys of the JSON form.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    /// The policies.
    #[serde(default)]
    pub policies: Vec<PolicyEntry>,
}

impl PolicyFile {
    /// Reads the reference's JSON: an array of policies, or several arrays one after the other.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        let mut policies = Vec::new();
        for array in serde_json::Deserializer::from_str(text).into_iter::<Vec<PolicyEntry>>() {
            policies.extend(array?);
        }
        Ok(Self { policies })
    }
}

/// What a host's policy applies to, besides its name and direction.
#[derive(Clone, Debug)]
struct Rule {
    remote: Option<Arc<str>>,
    remote_cesid: Option<Arc<str>>,
    policy: Arc<Policy>,
}

impl Rule {
    fn matches(&self, remote: &str, remote_ces: &str) -> bool {
        self.remote.as_deref().is_none_or(|pattern| names(pattern, remote))
            && self.remote_cesid.as_deref().is_none_or(|ces| same_name(ces, remote_ces))
    }

    /// The more it says, the earlier it is asked: an exact name, the longest suffix, then the gateway.
    fn precision(&self) -> (bool, usize, bool) {
        let remote = self.remote.as_deref().unwrap_or_default();
        (!remote.is_empty() && !remote.starts_with("*."), remote.len(), self.remote_cesid.is_some())
    }
}

/// Whether a pattern (a name, or `*.` and a name) names this name.
fn names(pattern: &str, name: &str) -> bool {
    let Some(parent) = pattern.strip_prefix('*') else { return same_name(pattern, name) };
    // `parent` begins with a dot.
    let (parent, name) = (parent.trim_end_matches('.'), name.trim_end_matches('.'));
    name.len()
        .checked_sub(parent.len())
        .filter(|&cut| cut > 0)
        .and_then(|cut| name.get(cut..))
        .is_some_and(|tail| tail.eq_ignore_ascii_case(parent))
}

/// All policies, and the choice among them.
#[derive(Clone, Debug, Default)]
pub struct PolicyBook {
    ces: Vec<(Arc<str>, Proto, Arc<Policy>)>,
    /// By local name: inbound, outbound.
    hosts: HashMap<Box<str>, [Vec<Rule>; 2]>,
}

impl PolicyBook {
    /// Binds policies together. Two for the same case are a mistake.
    pub fn new(entries: impl IntoIterator<Item = PolicyEntry>) -> Result<Self, String> {
        let mut book = Self::default();
        for entry in entries {
            match entry {
                PolicyEntry::Ces { ces_id, proto, policy } => {
                    if book.ces.iter().any(|(id, p, _)| *id == ces_id && *p == proto) {
                        return Err(format!("two cespolicies for {ces_id}"));
                    }
                    book.ces.push((ces_id, proto, policy));
                }
                PolicyEntry::Host { fqdn, direction, remote, remote_cesid, policy } => {
                    let rules = &mut book.hosts.entry(Box::from(&*fqdn)).or_default()[direction as usize];
                    if rules.iter().any(|rule| rule.remote == remote && rule.remote_cesid == remote_cesid) {
                        let direction = if direction == Direction::Inbound { "inbound" } else { "outbound" };
                        return Err(format!("two {direction} hostpolicies for {fqdn} in the same case"));
                    }
                    rules.push(Rule { remote, remote_cesid, policy });
                }
            }
        }
        for rules in book.hosts.values_mut().flatten() {
            rules.sort_by_key(|rule| std::cmp::Reverse(rule.precision()));
        }
        Ok(book)
    }

    /// The network policy of a gateway of ours: for this transport, or for another if there is none.
    pub fn ces(&self, ces_id: &str, proto: Proto) -> Option<Arc<Policy>> {
        let mut all = self.ces.iter().filter(|(id, ..)| same_name(id, ces_id));
        all.clone().find(|(_, p, _)| *p == proto).or_else(|| all.next()).map(|(.., policy)| policy.clone())
    }

    /// The policy of a local name (lower case, trailing dot) towards a remote one; `None` = deny.
    pub fn host(
        &self,
        local: &str,
        direction: Direction,
        remote: &str,
        remote_ces: &str,
    ) -> Option<Arc<Policy>> {
        let rules = &self.hosts.get(local)?[direction as usize];
        rules.iter().find(|rule| rule.matches(remote, remote_ces)).map(|rule| rule.policy.clone())
    }

    /// The local names that have a policy.
    pub fn local_names(&self) -> impl Iterator<Item = (&str, Direction)> {
        self.hosts.iter().flat_map(|(name, rules)| {
            let both = [Direction::Inbound, Direction::Outbound].into_iter();
            both.filter(|direction| !rules[*direction as usize].is_empty())
                .map(|direction| (&**name, direction))
        })
    }
}
