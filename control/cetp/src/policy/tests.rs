use super::*;
use crate::engine::{Direction, Proto};

const GWA_NETWORK: &str = include_str!("../../tests/traces/90_policy_network_gwa_shipped.json");
const GWA_HOSTS: &str = include_str!("../../tests/traces/91_policy_hosts_gwa_shipped.json");

fn policy(json: &str) -> Result<Policy, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

fn entries(json: &str) -> Result<Vec<PolicyEntry>, serde_json::Error> {
    serde_json::from_str(json)
}

fn accepts(item: Item, requirement: &str, value: &str) -> bool {
    let (group, code) = (item.group(), item.code());
    let policy =
        policy(&format!(r#"{{"request":[{{"group":"{group}","code":"{code}","value":{requirement}}}]}}"#));
    let value: Value<'_> = serde_json::from_str(value).unwrap();
    policy.unwrap().request()[0].accept.matches(item, Some(&value))
}

#[test]
fn the_reference_policies_load() {
    let policies = entries(GWA_NETWORK).unwrap();
    let [PolicyEntry::Ces { ces_id, proto: Proto::Tls, policy: network }] = &policies[..] else {
        panic!("{policies:?}");
    };
    assert_eq!((&**ces_id, network.request().len()), ("gwa.demo.", 11));
    assert_eq!(
        &*network.find_available(Item::CesTtl).unwrap().info,
        r#"{"ope":"info","group":"ces","code":"ttl","value":7200}"#
    );
    let policies = entries(GWA_HOSTS).unwrap();
    let host = policies.iter().find_map(|entry| match entry {
        PolicyEntry::Host { fqdn, direction: Direction::Outbound, policy, .. } => {
            (**fqdn == *"hosta1.gwa.demo.").then_some(policy)
        }
        _ => None,
    });
    let host = host.unwrap();
    assert_eq!(host.own().hard_ttl_s, Some(120));
    assert!(host.request().iter().any(|entry| entry.optional && entry.item == Item::ControlHardTtl));
}

#[test]
fn mistakes_are_named() {
    for (json, text) in [
        (r#"{"request":[{"group":"ces","code":"colour"}]}"#, "request: ces.colour is no TLV"),
        (
            r#"{"request":[{"ope":"info","group":"ces","code":"ttl"}]}"#,
            "request: ces.ttl: expected \"ope\": \"query\"",
        ),
        (r#"{"offer":[{"ope":"query","group":"ces","code":"ttl","value":1}]}"#, "expected \"ope\": \"info\""),
        (r#"{"offer":[{"group":"ces","code":"ttl","value":"long"}]}"#, "ces.ttl: expected a number"),
        (
            r#"{"offer":[{"group":"control","code":"hard_ttl","value":0}]}"#,
            "control.hard_ttl: expected seconds",
        ),
        (r#"{"offer":[{"group":"ces","code":"caces"}]}"#, "ces.caces: expected a value"),
        (r#"{"offer":[{"cmp":"optional","group":"ces","code":"caces","value":1}]}"#, "cmp may be"),
        (
            r#"{"request":[{"group":"ces","code":"ttl"},{"group":"ces","code":"ttl"}]}"#,
            "ces.ttl stands there twice",
        ),
        (r#"{"request":[{"group":"ces","code":"ttl","value":{"min":5,"max":2}}]}"#, "min not above max"),
        (r#"{"request":[{"group":"ces","code":"ttl","value":{"least":5}}]}"#, "expected {min, max}"),
        (r#"{"request":[{"group":"id","code":"fqdn","value":[]}]}"#, "at least one allowed value"),
        (r#"{"available":[{"group":"control","code":"dp_port","value":70000}]}"#, "expected a port"),
        (
            r#"{"available":[{"group":"control","code":"dp_proto","value":"carrier pigeon"}]}"#,
            "expected an IP protocol",
        ),
        (r#"{"available":[{"group":"ces","code":"keepalive_cycle","value":1}]}"#, "at least 2"),
        (r#"{"wishes":[]}"#, "unknown field"),
        (r#"{"request":[{"group":"ces","code":"ttl","values":1}]}"#, "unknown field"),
    ] {
        let error = policy(json).unwrap_err();
        assert!(error.contains(text), "{error}\nfor {json}");
    }
    for (json, text) in [
        (r#"[{"type":"hostpolicy","fqdn":"a.","policy":{}}]"#, "\"direction\" is missing"),
        (r#"[{"type":"cespolicy","policy":{}}]"#, "\"cesid\" is missing"),
        (r#"[{"type":"cespolicy","cesid":"a.","fqdn":"b.","policy":{}}]"#, "\"fqdn\" has no meaning"),
        (
            r#"[{"type":"hostpolicy","fqdn":"a.","direction":"inbound","policy":
            {"offer":[{"group":"id","code":"fqdn"}]}}]"#,
            "offers nothing up front",
        ),
        (
            r#"[{"type":"hostpolicy","fqdn":"a.","direction":"inbound","policy":
            {"available":[{"group":"ces","code":"ttl","value":3}]}}]"#,
            "ces.ttl does not belong into a hostpolicy",
        ),
        (r#"[{"type":"otherpolicy","policy":{}}]"#, "unknown variant"),
    ] {
        let error = entries(json).unwrap_err().to_string();
        assert!(error.contains(text), "{error}\nfor {json}");
    }
}

#[test]
fn values_match_as_their_item_says() {
    assert!(accepts(Item::CesFwVersion, r#""0.1""#, r#""0.1""#));
    assert!(!accepts(Item::CesFwVersion, r#""0.1""#, r#""0.2""#));
    assert!(accepts(Item::CesEvidenceFormat, r#"["IETF-IOC1","IETF-IOC2"]"#, r#""IETF-IOC2""#));
    assert!(!accepts(Item::CesEvidenceFormat, r#"["IETF-IOC1","IETF-IOC2"]"#, r#""IETF-IOC3""#));
    assert!(accepts(Item::CesTtl, r#"{"min":"3600","max":"7200"}"#, "3600"));
    assert!(!accepts(Item::CesTtl, r#"{"min":"3600","max":"7200"}"#, r#""7201""#));
    assert!(!accepts(Item::CesTtl, r#"{"min":0}"#, "0"));
    assert!(accepts(Item::CesSessionLimit, r#""300""#, r#""200""#));
    assert!(!accepts(Item::CesSessionLimit, r#""300""#, "301"));
    assert!(accepts(Item::CesKeepaliveCycle, "[2,3,1]", "2"));
    assert!(!accepts(Item::CesKeepaliveCycle, "[2,3,1]", "1"));
    assert!(accepts(Item::IdFqdn, r#"["a.demo.","b.demo."]"#, r#""B.demo""#));
    assert!(!accepts(Item::IdFqdn, r#"["a.demo.","b.demo."]"#, r#""c.demo.""#));
    assert!(accepts(Item::ControlHardTtl, "60", "3600"), "the smaller is used");
    assert!(!accepts(Item::ControlHardTtl, "60", r#""soon""#));
    assert!(accepts(Item::ControlDpProto, r#""tcp""#, "6"));
    assert!(accepts(Item::IdMsisdn, r#""358401""#, r#""358401""#));
    assert!(!accepts(Item::IdMsisdn, r#""358401""#, r#"{"a":1}"#));
}
