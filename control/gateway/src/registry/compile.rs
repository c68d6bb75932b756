//! From a rule as a person writes it to a CETP policy.
//!
//! The short form says who and for how long; what the protocol needs beside that is filled in: our name where the peer
//! asks for it, and questions for the peer's lifetimes and limits, so that both sides keep the narrower.

use super::file::{Policy as PolicyEntry, RuleEntry, TlvEntry};
use super::policy::{PolicySet, Rule, RuleLimits};
use super::value::Several;
use crate::names::Name;
use ces_cetp::engine::Direction;
use serde_json::{Value, json};
use std::sync::Arc;

/// Compiles a policy's rules for one local name. Outbound rules are a host's alone: services do not ask.
pub(super) fn attach(
    policy: &PolicyEntry,
    local: &Name,
    is_host: bool,
    policies: &mut PolicySet,
) -> Result<(), String> {
    if is_host {
        for entry in policy.outbound() {
            policies.add(local, Direction::Outbound, rule(entry, local, Direction::Outbound)?);
        }
    }
    for entry in policy.inbound() {
        policies.add(local, Direction::Inbound, rule(entry, local, Direction::Inbound)?);
    }
    Ok(())
}

fn rule(entry: &RuleEntry, local: &Name, direction: Direction) -> Result<Rule, String> {
    let limits = RuleLimits {
        protocol: entry.protocol.map(|p| p.0),
        port: entry.port,
        rate_bps: entry.rate_bps.map(|r| r.0),
        hard_ttl_s: entry.hard_ttl.map(|t| t.0),
        idle_ttl_s: entry.idle_ttl.map(|t| t.0.min(u32::from(u16::MAX)) as u16),
    };
    let json = Arc::new(compile(local, direction, limits, entry));
    let policy = serde_json::from_value((*json).clone()).map_err(|e| e.to_string())?;
    let names = match direction {
        Direction::Outbound => &entry.to,
        Direction::Inbound => &entry.from,
    };
    let names = names.as_ref().map(|Several(names)| names.clone()).unwrap_or_default();
    Ok(Rule { names, peers: entry.peers.0.clone(), policy: Arc::new(policy), limits, json })
}

fn compile(local: &Name, direction: Direction, limits: RuleLimits, entry: &RuleEntry) -> Value {
    let mut told = vec![("id", "fqdn", Some(json!(local.as_str())))];
    let numbers = [
        ("hard_ttl", limits.hard_ttl_s.map(u64::from)),
        ("idle_ttl", limits.idle_ttl_s.map(u64::from)),
        ("dp_proto", limits.protocol.map(u64::from)),
        ("dp_port", limits.port.map(u64::from)),
        ("dp_ratelimit", limits.rate_bps),
    ];
    told.extend(numbers.iter().filter_map(|(code, value)| value.map(|v| ("control", *code, Some(json!(v))))));

    let mut request = Entries::default();
    request.add("query", "id", "fqdn", false, None);
    for (code, _) in numbers {
        request.add("query", "control", code, true, None);
    }
    let mut offer = Entries::default();
    let mut available = Entries::default();
    for (group, code, value) in told {
        if direction == Direction::Outbound {
            offer.add("info", group, code, false, value.clone());
        }
        available.add("info", group, code, false, value);
    }
    // Proves to the peer that we receive; costs us nothing.
    available.add("info", "control", "ack", false, None);
    request.extend("query", &entry.request);
    offer.extend("info", &entry.offer);
    available.extend("info", &entry.available);
    match direction {
        Direction::Outbound => json!({ "request": request.0, "offer": offer.0, "available": available.0 }),
        Direction::Inbound => json!({ "request": request.0, "available": available.0 }),
    }
}

#[derive(Default)]
struct Entries(Vec<Value>);

impl Entries {
    /// Adds a TLV in place of one of the same group and code, so that a person's words win over what was filled in.
    fn add(&mut self, ope: &str, group: &str, code: &str, optional: bool, value: Option<Value>) {
        let mut tlv = json!({ "ope": ope, "group": group, "code": code });
        if optional {
            tlv["cmp"] = json!("optional");
        }
        if let Some(value) = value {
            tlv["value"] = value;
        }
        match self.0.iter_mut().find(|other| other["group"] == group && other["code"] == code) {
            Some(other) => *other = tlv,
            None => self.0.push(tlv),
        }
    }

    fn extend(&mut self, ope: &str, entries: &[TlvEntry]) {
        for entry in entries {
            self.add(ope, &entry.group, &entry.code, entry.optional, entry.value.clone());
        }
    }
}
