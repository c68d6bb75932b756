//! Names at run time: the keys of who signs (TSIG, RFC 8945), and who may set which names by UPDATE (RFC 2136).

use crate::names::Name;
use crate::registry::{Pattern, Protocol};
use ces_dns::tsig::{Algorithm, Keyring, SharedKey};
use ces_settings::Problems;
use data_encoding::BASE64;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// The least octets of a secret: as many as a MAC of SHA-256 has halves (RFC 2104 §3 has the whole, which is what tools make).
const SECRET_MIN: usize = 16;
/// Names that one host may be given.
const HOST_NAMES_MAX: u32 = 1000;

/// A key that is shared with somebody.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TsigKey {
    /// Its name, which both ends know.
    pub name: Name,
    /// How it is used.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// The secret, in base 64.
    pub secret: Secret,
}

/// A secret, which nobody prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        BASE64.encode(&self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let secret = BASE64.decode(text.as_bytes()).ok().filter(|secret| secret.len() >= SECRET_MIN);
        secret.map(Self).ok_or_else(|| {
            Error::custom(format!(
                "{SECRET_MIN} octets or more in base 64 were expected, as tsig-keygen makes them"
            ))
        })
    }
}

/// Whose address a name may be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamedAddresses {
    /// Who sends the UPDATE, alone.
    #[default]
    Own,
    /// Any of the realm.
    Any,
}

/// Who may set which names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Updates {
    /// The key that signs.
    pub key: Name,
    /// The names, each as it is, or all below one: `*.a.demo`.
    pub names: Vec<Pattern>,
    /// What they may lead to.
    #[serde(default)]
    pub addresses: NamedAddresses,
    /// The groups of which the host at that address has to be one; empty: any host, also one that nobody else has named.
    #[serde(default)]
    pub groups: Vec<String>,
    /// How many names an address may be given so.
    #[serde(default = "default_host_names")]
    pub host_names: u32,
    /// What is reached by such a name from the plain Internet; without it nothing.
    #[serde(default)]
    pub inbound: Option<UpdatedService>,
    /// The policy of a host that has no other name; without it, it is reached by nobody and asks for nobody.
    #[serde(default)]
    pub policy: Option<String>,
}

/// What is reached by a name that came at run time: without port and protocol, everything.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdatedService {
    /// The protocol.
    pub protocol: Option<Protocol>,
    /// The port.
    pub port: Option<u16>,
}

const fn default_host_names() -> u32 {
    16
}

/// The keys, as they are used.
pub(crate) fn keyring(keys: &[TsigKey]) -> Keyring {
    let key = |key: &TsigKey| {
        let name = ces_dns::name(key.name.as_str())?;
        Some(SharedKey::new(name, key.algorithm, key.secret.0.clone()))
    };
    Keyring::new(keys.iter().filter_map(key))
}

/// What is wrong with keys and with who may use them so.
pub(super) fn check(keys: &[TsigKey], updates: &[Updates], found: &mut Problems) {
    for (i, key) in keys.iter().enumerate() {
        if keys[..i].iter().any(|other| other.name == key.name) {
            found.add(format!("dns.keys[{i}].name"), format!("{} is listed twice", key.name));
        }
    }
    for (i, rule) in updates.iter().enumerate() {
        if !keys.iter().any(|key| key.name == rule.key) {
            found.add(format!("dns.updates[{i}].key"), format!("there is no key {} in `dns.keys`", rule.key));
        }
        if rule.names.is_empty() {
            found.add(format!("dns.updates[{i}].names"), "names nothing, so nobody may change anything");
        }
        found.within(
            format!("dns.updates[{i}].host_names"),
            rule.host_names.into(),
            1,
            HOST_NAMES_MAX.into(),
        );
    }
}
