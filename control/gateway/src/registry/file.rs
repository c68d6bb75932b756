//! The TOML form of hosts and policies: what a person edits.
//!
//! ```toml
//! [[host]]
//! name = "h1.a.demo"
//! address = "192.168.0.10"
//! mac = "02:00:00:00:00:0a"              # its packets come from there alone; without it, from where it was first seen
//! policy = "office"                      # or a list: the first rule that fits decides
//! groups = ["staff"]                     # for rules of the filter
//! services = ["www.h1.a.demo", { name = "db.h1.a.demo", policy = "database" }]
//! inbound = ["h1.a.demo", { name = "www.h1.a.demo", protocol = "tcp", port = 80 }]   # from the plain Internet
//!
//! [[policy]]
//! name = "office"
//! outbound.to = "*"
//! inbound = [{ from = ["h1.b.demo", "*.c.demo"], protocol = "tcp", port = 80, rate_bps = "10M", idle_ttl = "5m" }]
//!
//! [[policy]]
//! name = "database"
//! inbound.from = ["app.b.demo"]
//! inbound.peers = ["cesb.demo"]          # only as that gateway's host
//! inbound.request = ["control.ack", { code = "control.caep", value = "195.148.124.145" }]
//! ```

use super::complaints::Complaints;
use super::mac::MacEntry;
use super::value::{BitsPerSecond, Pattern, Protocol, Seconds, Several};
use crate::names::Name;
use ces_settings::{FileError, SourceFile};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::net::Ipv4Addr;
use toml::Spanned;

/// A whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) host: Vec<Host>,
    #[serde(default)]
    pub(super) policy: Vec<Policy>,
}

/// `[[host]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Host {
    pub(super) name: Spanned<Name>,
    pub(super) address: Spanned<Ipv4Addr>,
    pub(super) mac: Option<MacEntry>,
    pub(super) groups: Option<Spanned<Several<String>>>,
    #[serde(default)]
    pub(super) services: Vec<Spanned<Service>>,
    #[serde(default)]
    pub(super) inbound: Vec<Spanned<Inbound>>,
    pub(super) policy: Option<Spanned<Several<String>>>,
}

/// One of a host's other names, alone or with policies of its own.
pub(super) struct Service {
    pub(super) name: Name,
    pub(super) policy: Option<Spanned<Several<String>>>,
}

/// What is reached of a host from the plain Internet: everything by this name, or what is said.
pub(super) struct Inbound {
    pub(super) name: Option<Name>,
    pub(super) protocol: Option<Protocol>,
    pub(super) port: Option<u16>,
    pub(super) loose_packets: Option<i32>,
    pub(super) timeout_ms: Option<u32>,
}

/// `[[policy]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Policy {
    pub(super) name: Spanned<String>,
    pub(super) outbound: Option<Spanned<Several<RuleEntry>>>,
    pub(super) inbound: Option<Spanned<Several<RuleEntry>>>,
}

impl Policy {
    pub(super) fn outbound(&self) -> &[RuleEntry] {
        self.outbound.as_ref().map_or(&[], |rules| &rules.get_ref().0)
    }

    pub(super) fn inbound(&self) -> &[RuleEntry] {
        self.inbound.as_ref().map_or(&[], |rules| &rules.get_ref().0)
    }
}

/// One rule of a policy.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleEntry {
    pub(super) from: Option<Several<Pattern>>,
    pub(super) to: Option<Several<Pattern>>,
    #[serde(default)]
    pub(super) peers: Several<Name>,
    pub(super) hard_ttl: Option<Seconds>,
    pub(super) idle_ttl: Option<Seconds>,
    pub(super) protocol: Option<Protocol>,
    pub(super) port: Option<u16>,
    pub(super) rate_bps: Option<BitsPerSecond>,
    #[serde(default)]
    pub(super) request: Vec<TlvEntry>,
    #[serde(default)]
    pub(super) offer: Vec<TlvEntry>,
    #[serde(default)]
    pub(super) available: Vec<TlvEntry>,
}

/// A CETP TLV: `"control.ack"`, or `{ code = "control.caep", value = …, optional = true }`.
pub(super) struct TlvEntry {
    pub(super) group: String,
    pub(super) code: String,
    pub(super) optional: bool,
    pub(super) value: Option<serde_json::Value>,
}

impl<'de> Deserialize<'de> for Service {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Full {
            name: Name,
            policy: Option<Spanned<Several<String>>>,
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Service;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a name, or { name = \"…\", policy = \"…\" }")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Service, E> {
                let name =
                    Name::parse(text).map_err(|e| E::custom(format!("{text:?} is not a name: {e}")))?;
                Ok(Service { name, policy: None })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Service, A::Error> {
                let full = Full::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Service { name: full.name, policy: full.policy })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Inbound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Full {
            name: Option<Name>,
            protocol: Option<Protocol>,
            port: Option<u16>,
            loose_packets: Option<i32>,
            timeout_ms: Option<u32>,
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Inbound;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a name, or { name = \"…\", protocol = \"tcp\", port = 80 }")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Inbound, E> {
                let name =
                    Name::parse(text).map_err(|e| E::custom(format!("{text:?} is not a name: {e}")))?;
                let name = Some(name);
                Ok(Inbound { name, protocol: None, port: None, loose_packets: None, timeout_ms: None })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Inbound, A::Error> {
                let Full { name, protocol, port, loose_packets, timeout_ms } =
                    Full::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Inbound { name, protocol, port, loose_packets, timeout_ms })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for TlvEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Full {
            code: String,
            #[serde(default)]
            optional: bool,
            value: Option<serde_json::Value>,
        }
        fn split<E: Error>(text: &str) -> Result<(String, String), E> {
            match text.split_once('.') {
                Some((group, code)) if !group.is_empty() && !code.is_empty() => {
                    Ok((group.into(), code.into()))
                }
                _ => Err(E::custom(format!(
                    "{text:?}: a group and a code such as \"control.ack\" were expected"
                ))),
            }
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = TlvEntry;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a TLV such as \"control.ack\" or { code = \"control.caep\", value = \"…\" }")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<TlvEntry, E> {
                let (group, code) = split(text)?;
                Ok(TlvEntry { group, code, optional: false, value: None })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TlvEntry, A::Error> {
                let full = Full::deserialize(MapAccessDeserializer::new(map))?;
                let (group, code) = split(&full.code)?;
                Ok(TlvEntry { group, code, optional: full.optional, value: full.value })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Reads a file; the first error in its form ends it.
pub(super) fn read(source: &SourceFile) -> Result<File, FileError> {
    ces_settings::parse(&source.path, &source.text)
}

/// Finds what the form alone does not show.
pub(super) fn check_policy<'a>(source: &'a SourceFile, policy: &Policy, complaints: &mut Complaints<'a>) {
    let name = policy.name.get_ref();
    if policy.outbound().is_empty() && policy.inbound().is_empty() {
        let message = format!("policy {name:?} has no rule; `outbound` or `inbound` was expected");
        complaints.add(source, policy.name.span(), message);
    }
    for (rules, direction) in [(&policy.outbound, "outbound"), (&policy.inbound, "inbound")] {
        let Some(rules) = rules else { continue };
        for rule in &rules.get_ref().0 {
            if let Err(message) = check_rule(rule, direction == "outbound") {
                let message = format!("policy {name:?}: {direction}: {message}");
                complaints.add(source, rules.span(), message);
            }
        }
    }
}

/// IP protocols that have ports: TCP, UDP, DCCP, SCTP, UDP-Lite.
const WITH_PORTS: [u8; 5] = [6, 17, 33, 132, 136];

fn check_rule(rule: &RuleEntry, outbound: bool) -> Result<(), String> {
    let (wanted, names, other) =
        if outbound { ("to", &rule.to, &rule.from) } else { ("from", &rule.from, &rule.to) };
    if other.is_some() {
        return Err(format!("`{wanted}` was expected, not `{}`", if outbound { "from" } else { "to" }));
    }
    match names {
        None => {
            return Err(format!(
                "`{wanted}` is missing: names such as [\"h1.b.demo\", \"*.c.demo\"], or \"*\" for all"
            ));
        }
        Some(list) if list.0.is_empty() => {
            return Err(format!("`{wanted}` is an empty list: it matches nobody"));
        }
        Some(_) => {}
    }
    if rule.port.is_some() {
        match rule.protocol {
            None => return Err("`port` needs a `protocol` such as \"tcp\"".to_owned()),
            Some(protocol) if !WITH_PORTS.contains(&protocol.0) => {
                return Err(format!("protocol {} has no ports", protocol.0));
            }
            Some(_) => {}
        }
    }
    if rule.port == Some(0) {
        return Err("`port` = 0: 1 to 65535 was expected".to_owned());
    }
    if rule.hard_ttl == Some(Seconds(0)) {
        return Err("`hard_ttl` = 0: leave it out where there is to be none".to_owned());
    }
    if rule.idle_ttl.is_some_and(|idle| idle.0 == 0 || idle.0 > u32::from(u16::MAX)) {
        return Err(format!("`idle_ttl`: 1 to {} seconds was expected", u16::MAX));
    }
    if rule.rate_bps.is_some_and(|rate| rate.0 < 8000) {
        return Err("`rate_bps`: at least 8000 was expected (one large packet in 1.5 s)".to_owned());
    }
    if !outbound && !rule.offer.is_empty() {
        return Err(
            "`offer` belongs to outbound rules; a responder tells what it is asked: `available`".to_owned()
        );
    }
    Ok(())
}
