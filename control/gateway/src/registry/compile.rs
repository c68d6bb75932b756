//! From a rule as a person writes it to a CETP policy.
//!
//! The short form says who and for how long; what the protocol needs beside that is filled in: our name where the peer
//! asks for it, and questions for the peer's lifetimes and limits, so that both sides keep the narrower.

use super::file::{Policy as PolicyEntry, RuleEntry, TlvEntry};
use super::policy::{Compiled, PolicyRule};
use super::value::Several;
use ces_cetp::Policy;
use ces_cetp::engine::Direction;
use ces_cetp::tlv::Layer;
use serde_json::{Value, json};
use std::sync::Arc;

/// Compiles a policy, of hosts whose certificate authority has that address, if any; the error says in which direction.
pub(super) fn compile(policy: &PolicyEntry, caep: &str) -> Result<Compiled, String> {
    let rules = |entries: &[RuleEntry], direction, label| {
        let rules = entries.iter().map(|entry| rule(entry, direction, caep)).collect::<Result<Vec<_>, _>>();
        rules.map_err(|e| format!("{label}: {e}"))
    };
    Ok(Compiled {
        outbound: rules(policy.outbound(), Direction::Outbound, "outbound")?,
        inbound: rules(policy.inbound(), Direction::Inbound, "inbound")?,
    })
}

fn rule(entry: &RuleEntry, direction: Direction, caep: &str) -> Result<Arc<PolicyRule>, String> {
    let policy: Policy = serde_json::from_value(expand(entry, direction, caep)).map_err(|e| e.to_string())?;
    policy.check_layer(Layer::H2h).map_err(|e| e.to_string())?;
    let names = match direction {
        Direction::Outbound => &entry.to,
        Direction::Inbound => &entry.from,
    };
    let names = names.as_ref().map(|Several(names)| names.clone()).unwrap_or_default();
    Ok(Arc::new(PolicyRule::new(names, entry.peers.0.clone(), Arc::new(policy))))
}

fn expand(entry: &RuleEntry, direction: Direction, caep: &str) -> Value {
    let numbers = [
        ("hard_ttl", entry.hard_ttl.map(|t| u64::from(t.0))),
        ("idle_ttl", entry.idle_ttl.map(|t| u64::from(t.0))),
        ("dp_proto", entry.protocol.map(|p| u64::from(p.0))),
        ("dp_port", entry.port.map(u64::from)),
        ("dp_ratelimit", entry.rate_bps.map(|r| r.0)),
    ];
    let mut request = Entries::default();
    request.add("query", "id", "fqdn", false, None);
    if direction == Direction::Outbound {
        // The responder tells its own only when it is asked.
        for (code, _) in numbers {
            request.add("query", "control", code, true, None);
        }
    }
    let mut offer = Entries::default();
    let mut available = Entries::default();
    for list in [&mut offer, &mut available] {
        // Without value: the engine fills in the name that the session is about.
        list.add("info", "id", "fqdn", false, None);
        if !caep.is_empty() {
            list.add("info", "control", "caep", false, Some(json!(caep)));
        }
        for (code, value) in numbers {
            if let Some(value) = value {
                list.add("info", "control", code, false, Some(json!(value)));
            }
        }
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
