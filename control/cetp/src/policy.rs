//! Policies: what is asked of a peer, what is offered up front, what is told when asked.
//!
//! A policy is compiled when it is loaded: matches are typed, and its TLVs stand rendered, so that a negotiation copies
//! text and parses nothing. The file format is the reference implementation's JSON.

mod accept;
mod entry;

pub use accept::Accept;
pub use entry::PolicyEntry;

use crate::message::{Cmp, Ope, Tlv};
use crate::tlv::{Item, Layer, TlvName};
use crate::value::Value;
use serde::Deserialize;

/// Requirements in one policy at most: what is met is a set in one word.
pub const MAX_REQUESTS: usize = 64;

/// Brings a domain name to its one form here: lower case, with the trailing dot.
pub fn canonical_name(name: &str) -> String {
    let mut name = name.to_ascii_lowercase();
    if !name.ends_with('.') {
        name.push('.');
    }
    name
}

/// Whether two names are one: case and the trailing dot do not count.
pub fn same_name(a: &str, b: &str) -> bool {
    a.strip_suffix('.').unwrap_or(a).eq_ignore_ascii_case(b.strip_suffix('.').unwrap_or(b))
}

/// One item that is asked of a peer.
#[derive(Clone, Debug, PartialEq)]
pub struct Requirement {
    /// What.
    pub item: Item,
    /// Whether we can do without.
    pub optional: bool,
    /// What value will do.
    pub accept: Accept,
    /// The query, rendered.
    pub(crate) query: Box<str>,
}

/// One item that is told to a peer.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// What.
    pub item: Item,
    /// Its value, if the policy has it; otherwise the engine knows it (locators, acknowledgements).
    pub value: Option<Value<'static>>,
    /// The info, rendered.
    pub(crate) info: Box<str>,
    /// The same as the answer to an optional query.
    pub(crate) info_optional: Box<str>,
}

/// What this side itself wants of an H2H session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnTerms {
    /// Lifetime in seconds.
    pub hard_ttl_s: Option<u32>,
    /// Idle time in seconds.
    pub idle_ttl_s: Option<u32>,
    /// The only IP protocol.
    pub protocol: Option<u8>,
    /// The only port.
    pub port: Option<u16>,
    /// Bits per second.
    pub rate_bps: Option<u64>,
}

/// A policy.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(try_from = "RawPolicy")]
pub struct Policy {
    request: Vec<Requirement>,
    offer: Vec<Offer>,
    available: Vec<Offer>,
    own: OwnTerms,
}

/// What is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Not in the registry.
    #[error("{list}: {group}.{code} is no TLV of CETP")]
    Unknown {
        /// `request`, `offer` or `available`.
        list: &'static str,
        /// As written.
        group: String,
        /// As written.
        code: String,
    },
    /// `ope` contradicts the list.
    #[error("{list}: {item}: expected \"ope\": \"{expected}\"")]
    Ope {
        /// The list.
        list: &'static str,
        /// The entry.
        item: Item,
        /// What it must be, or be left out.
        expected: &'static str,
    },
    /// Two entries for one item.
    #[error("{list}: {item} stands there twice")]
    Twice {
        /// The list.
        list: &'static str,
        /// The entry.
        item: Item,
    },
    /// A value that cannot be.
    #[error("{list}: {item}: {expected}")]
    Value {
        /// The list.
        list: &'static str,
        /// The entry.
        item: Item,
        /// What was expected.
        expected: &'static str,
    },
    /// `cmp` where it means nothing.
    #[error("{list}: {item}: cmp may be \"optional\", and only in request")]
    Cmp {
        /// The list.
        list: &'static str,
        /// The entry.
        item: Item,
    },
    /// Items of both layers, or of the wrong one.
    #[error("{item} does not belong into a {kind}")]
    Layer {
        /// The entry.
        item: Item,
        /// Which policy.
        kind: &'static str,
    },
    /// Too many requirements.
    #[error("request: more than {MAX_REQUESTS} entries")]
    TooMany,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    #[serde(default)]
    request: Vec<RawEntry>,
    #[serde(default)]
    offer: Vec<RawEntry>,
    #[serde(default)]
    available: Vec<RawEntry>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    ope: Option<Ope>,
    cmp: Option<Cmp>,
    group: String,
    code: String,
    value: Option<OwnedValue>,
}

/// A value that does not borrow from the file.
#[derive(Clone, Debug)]
struct OwnedValue(Value<'static>);

impl<'de> Deserialize<'de> for OwnedValue {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|value| Self(value.into_owned()))
    }
}

impl RawEntry {
    fn item(&self, list: &'static str, ope: Ope) -> Result<Item, PolicyError> {
        let item = Item::parse(&self.group, &self.code).ok_or_else(|| PolicyError::Unknown {
            list,
            group: self.group.clone(),
            code: self.code.clone(),
        })?;
        if self.ope.is_some_and(|said| said != ope) {
            let expected = if ope == Ope::Query { "query" } else { "info" };
            return Err(PolicyError::Ope { list, item, expected });
        }
        let cmp = self.cmp.unwrap_or_default();
        if cmp == Cmp::NotAvailable || (cmp == Cmp::Optional && ope == Ope::Info) {
            return Err(PolicyError::Cmp { list, item });
        }
        Ok(item)
    }
}

fn render(ope: Ope, cmp: Cmp, item: Item, value: Option<&Value<'_>>) -> Box<str> {
    let mut out = Vec::new();
    Tlv { ope, cmp, name: TlvName::Known(item), value: value.cloned() }.write_json(&mut out);
    String::from_utf8_lossy(&out).into_owned().into_boxed_str()
}

impl Requirement {
    fn compile(raw: RawEntry) -> Result<Self, PolicyError> {
        let list = "request";
        let item = raw.item(list, Ope::Query)?;
        let accept = Accept::compile(item, raw.value.map(|value| value.0))
            .map_err(|expected| PolicyError::Value { list, item, expected })?;
        let sound = matches!(accept, Accept::Any) || accept.bound().is_some_and(|bits| bits <= 32);
        if item == Item::CesPow && !sound {
            return Err(PolicyError::Value {
                list,
                item,
                expected: "expected no value, or the bits, 0 to 32",
            });
        }
        let cmp = raw.cmp.unwrap_or_default();
        Ok(Self { item, optional: cmp == Cmp::Optional, accept, query: render(Ope::Query, cmp, item, None) })
    }
}

impl Offer {
    fn compile(list: &'static str, raw: RawEntry) -> Result<Self, PolicyError> {
        let item = raw.item(list, Ope::Info)?;
        // Numbers may be written as decimal strings; they are sent as numbers.
        let value = raw.value.map(|value| match value.0 {
            value if item.is_number() => value.as_u64().map(Value::Number).ok_or(PolicyError::Value {
                list,
                item,
                expected: "expected a number",
            }),
            value => Ok(value),
        });
        let value = value.transpose()?;
        let positive = matches!(item, Item::ControlHardTtl | Item::ControlIdleTtl | Item::CesTtl);
        if positive && value.as_ref().and_then(Value::as_u32).is_none_or(|number| number == 0) {
            return Err(PolicyError::Value { list, item, expected: "expected seconds, 1 to 4294967295" });
        }
        if item == Item::CesKeepaliveCycle
            && value.as_ref().and_then(Value::as_u64).is_none_or(|cycle| cycle < 2)
        {
            return Err(PolicyError::Value { list, item, expected: "expected at least 2 seconds" });
        }
        if value.is_none() && !item.is_candidate() && !known_by_engine(item) {
            return Err(PolicyError::Value { list, item, expected: "expected a value" });
        }
        Ok(Self {
            item,
            info: render(Ope::Info, Cmp::Mandatory, item, value.as_ref()),
            info_optional: render(Ope::Info, Cmp::Optional, item, value.as_ref()),
            value,
        })
    }
}

/// Items that need no value in a policy, since the engine has it.
const fn known_by_engine(item: Item) -> bool {
    matches!(
        item,
        Item::CesPow | Item::CesAck | Item::ControlAck | Item::IdFqdn | Item::ControlDstep | Item::CesCesid
    )
}

fn unique(list: &'static str, items: impl Iterator<Item = Item>) -> Result<(), PolicyError> {
    let mut seen = 0_u64;
    for item in items {
        let bit = 1_u64 << item as u8;
        if seen & bit != 0 {
            return Err(PolicyError::Twice { list, item });
        }
        seen |= bit;
    }
    Ok(())
}

impl TryFrom<RawPolicy> for Policy {
    type Error = PolicyError;

    fn try_from(raw: RawPolicy) -> Result<Self, PolicyError> {
        let offers = |list, entries: Vec<RawEntry>| {
            entries.into_iter().map(|entry| Offer::compile(list, entry)).collect::<Result<Vec<_>, _>>()
        };
        let request = raw.request.into_iter().map(Requirement::compile).collect::<Result<Vec<_>, _>>()?;
        let offer = offers("offer", raw.offer)?;
        let available = offers("available", raw.available)?;
        unique("request", request.iter().map(|entry| entry.item))?;
        unique("offer", offer.iter().map(|entry| entry.item))?;
        unique("available", available.iter().map(|entry| entry.item))?;
        if request.len() > MAX_REQUESTS {
            return Err(PolicyError::TooMany);
        }
        let mut policy = Self { request, offer, available, own: OwnTerms::default() };
        policy.own = policy.own_terms()?;
        Ok(policy)
    }
}

impl Policy {
    /// What is asked of the peer.
    pub fn request(&self) -> &[Requirement] {
        &self.request
    }

    /// What is told up front.
    pub fn offer(&self) -> &[Offer] {
        &self.offer
    }

    /// What is told when asked.
    pub fn available(&self) -> &[Offer] {
        &self.available
    }

    /// What is told about an item when asked.
    pub fn find_available(&self, item: Item) -> Option<&Offer> {
        self.available.iter().find(|offer| offer.item == item)
    }

    /// What this side itself wants of a session.
    pub fn own(&self) -> &OwnTerms {
        &self.own
    }

    /// Refuses items that belong into the other kind of policy.
    pub fn check_layer(&self, layer: Layer) -> Result<(), PolicyError> {
        let kind = if layer == Layer::C2c { "cespolicy" } else { "hostpolicy" };
        let items = self.request.iter().map(|entry| entry.item);
        let infos = self.offer.iter().chain(&self.available).map(|entry| entry.item);
        match items.chain(infos).find(|item| item.layer() != layer) {
            Some(item) => Err(PolicyError::Layer { item, kind }),
            None => Ok(()),
        }
    }

    fn own_terms(&self) -> Result<OwnTerms, PolicyError> {
        let told = |item| {
            let lists = [("available", &self.available), ("offer", &self.offer)];
            lists.into_iter().find_map(|(list, entries)| {
                entries
                    .iter()
                    .find(|entry| entry.item == item)
                    .and_then(|entry| Some((list, entry.value.as_ref()?)))
            })
        };
        let number = |item, max: u64, expected| {
            let Some((list, value)) = told(item) else { return Ok(None) };
            match value.as_u64() {
                Some(number) if number <= max => Ok(Some(number)),
                _ => Err(PolicyError::Value { list, item, expected }),
            }
        };
        // A lifetime that is asked for with one value is a bound of our own.
        let bound = |item| {
            self.request.iter().find(|entry| entry.item == item).and_then(|entry| entry.accept.bound())
        };
        let ttl = |item| -> Result<Option<u32>, PolicyError> {
            let told = number(item, u64::from(u32::MAX), "expected seconds")?.map(|seconds| seconds as u32);
            Ok(smaller(told, bound(item)))
        };
        let protocol = match told(Item::ControlDpProto) {
            None => None,
            Some((list, value)) => Some(protocol(value).ok_or(PolicyError::Value {
                list,
                item: Item::ControlDpProto,
                expected: "expected an IP protocol, 0 to 255, or tcp, udp, icmp",
            })?),
        };
        Ok(OwnTerms {
            hard_ttl_s: ttl(Item::ControlHardTtl)?,
            idle_ttl_s: ttl(Item::ControlIdleTtl)?,
            protocol,
            port: number(Item::ControlDpPort, 65_535, "expected a port, 0 to 65535")?.map(|port| port as u16),
            rate_bps: number(Item::ControlDpRatelimit, u64::MAX, "expected bits per second")?,
        })
    }
}

/// The smaller of two figures that may both be missing.
pub(crate) fn smaller<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// An IP protocol by number or name.
pub(crate) fn protocol(value: &Value<'_>) -> Option<u8> {
    if let Some(number) = value.as_u64() {
        return u8::try_from(number).ok();
    }
    match value.as_str()?.to_ascii_lowercase().as_str() {
        "icmp" => Some(1),
        "tcp" => Some(6),
        "udp" => Some(17),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
