//! A policy of a file in the reference implementation's form, and what it is for.

use super::{Policy, PolicyError, canonical_name};
use crate::engine::api::{Direction, Proto};
use crate::tlv::Layer;
use serde::Deserialize;
use std::sync::Arc;

/// One policy of a file, and what it is for.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "RawEntry")]
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    CesPolicy,
    HostPolicy,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    r#type: Kind,
    proto: Option<Proto>,
    cesid: Option<String>,
    fqdn: Option<String>,
    direction: Option<Direction>,
    remote: Option<String>,
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
