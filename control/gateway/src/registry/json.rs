//! The reference implementation's policy files: JSON arrays of host and network policies.
//!
//! `{ "type": "hostpolicy", "fqdn", "direction", "policy" }` and `{ "type": "cespolicy", "proto", "cesid", "policy" }`. A host
//! policy may also name `remote` (a pattern or a list of them) and `peers`, which is this project's addition: without
//! them it holds for every remote name, as in the reference.

use super::policy::{PolicySet, Rule, RuleLimits};
use super::value::{Pattern, Several};
use super::{SourceError, SourceFile};
use crate::names::Name;
use crate::settings::Settings;
use ces_cetp::engine::{Direction, Proto};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
enum Entry {
    #[serde(rename = "hostpolicy")]
    Host {
        fqdn: Name,
        direction: Direction,
        policy: Value,
        #[serde(default)]
        remote: Option<Several<Pattern>>,
        #[serde(default)]
        peers: Option<Several<Name>>,
    },
    #[serde(rename = "cespolicy")]
    Network {
        #[serde(default)]
        proto: Option<Proto>,
        cesid: Name,
        policy: Value,
    },
}

/// Reads a file into the set. What is for another gateway or another transport is passed over, as in the reference.
pub(super) fn read(
    source: &SourceFile,
    settings: &Settings,
    policies: &mut PolicySet,
    errors: &mut Vec<SourceError>,
) {
    let mut add = |line, message| errors.push(SourceError { path: source.path.clone(), line, message });
    let raw: Vec<&serde_json::value::RawValue> = match serde_json::from_str(&source.text) {
        Ok(raw) => raw,
        Err(e) => return add(Some(e.line()), format!("an array of policies was expected: {e}")),
    };
    for text in raw {
        let text = text.get();
        let offset = text.as_ptr() as usize - source.text.as_ptr() as usize;
        let line = source.text.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count() + 1;
        let entry: Entry = match serde_json::from_str(text) {
            Ok(entry) => entry,
            Err(e) => {
                add(Some(line + e.line().saturating_sub(1)), e.to_string());
                continue;
            }
        };
        match entry {
            Entry::Host { fqdn, direction, policy, remote, peers } => match compile(&policy) {
                Ok(compiled) => {
                    let message = format!("a policy for {fqdn}, which is no host or service here");
                    policies.note_place(
                        fqdn.clone(),
                        SourceError { path: source.path.clone(), line: Some(line), message },
                    );
                    let rule = Rule {
                        names: remote.map_or_else(|| vec![Pattern::All], |Several(names)| names),
                        peers: peers.unwrap_or_default().0,
                        policy: compiled,
                        limits: limits(&policy),
                        json: Arc::new(policy),
                    };
                    policies.add(&fqdn, direction, rule);
                }
                Err(message) => add(Some(line), format!("{fqdn}: {message}")),
            },
            Entry::Network { proto, cesid, policy } => {
                let spoken = |p| settings.cetp.endpoints.iter().any(|e| e.proto == p);
                if cesid != settings.realm.ces_id || proto.is_some_and(|p| !spoken(p)) {
                    continue;
                }
                match compile(&policy) {
                    Ok(compiled) if policies.set_network(Arc::clone(&compiled)) => {}
                    Ok(_) => add(Some(line), format!("a second network policy for {cesid}")),
                    Err(message) => add(Some(line), format!("{cesid}: {message}")),
                }
            }
        }
    }
}

fn compile(policy: &Value) -> Result<Arc<ces_cetp::Policy>, String> {
    serde_json::from_value(policy.clone()).map(Arc::new).map_err(|e| e.to_string())
}

/// What the policy itself tells about the data path.
fn limits(policy: &Value) -> RuleLimits {
    let told = |code: &str| {
        let lists = ["available", "offer"].into_iter().filter_map(|list| policy[list].as_array());
        let found = lists.flatten().find(|tlv| tlv["group"] == "control" && tlv["code"] == code)?;
        number(&found["value"])
    };
    RuleLimits {
        protocol: told("dp_proto").and_then(|n| n.try_into().ok()),
        port: told("dp_port").and_then(|n| n.try_into().ok()),
        rate_bps: told("dp_ratelimit"),
        hard_ttl_s: told("hard_ttl").and_then(|n| n.try_into().ok()).filter(|n| *n > 0),
        idle_ttl_s: told("idle_ttl").map(|n| n.min(u64::from(u16::MAX)) as u16).filter(|n| *n > 0),
    }
}

/// Numbers come as numbers or as decimal strings (cetp.md).
pub(super) fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}
