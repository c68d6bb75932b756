use super::*;
use crate::engine::{Direction, Proto};

const GWA_NETWORK: &str = include_str!("../../tests/traces/90_policy_network_gwa_shipped.json");
const GWA_HOSTS: &str = include_str!("../../tests/traces/91_policy_hosts_gwa_shipped.json");

fn policy(json: &str) -> Result<Policy, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
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
    let mut file = PolicyFile::from_json(GWA_NETWORK).unwrap();
    file.policies.extend(PolicyFile::from_json(GWA_HOSTS).unwrap().policies);
    let book = PolicyBook::new(file.policies.clone()).unwrap();
    let network = book.ces("gwa.demo", Proto::Tls).unwrap();
    assert_eq!(network.request().len(), 11);
    assert_eq!(
        &*network.find_available(Item::CesTtl).unwrap().info,
        r#"{"ope":"info","group":"ces","code":"ttl","value":7200}"#
    );
    let host =
        book.host("hosta1.gwa.demo.", Direction::Outbound, "srv1.hostb1.gwb.demo.", "gwb.demo.").unwrap();
    assert_eq!(host.own().hard_ttl_s, Some(120));
    assert!(host.request().iter().any(|entry| entry.optional && entry.item == Item::ControlHardTtl));
    assert!(book.host("stranger.gwa.demo.", Direction::Outbound, "x.", "gwb.demo.").is_none());
    // Loading what was written gives the same.
    let again = PolicyFile::from_json(&serde_json::to_string(&file.policies).unwrap()).unwrap();
    assert_eq!(again, file);
}

#[test]
fn toml_is_the_same_as_json() {
    let toml = r#"
        [[policies]]
        type = "hostpolicy"
        fqdn = "Hosta1.gwa.demo"
        direction = "outbound"
        [policies.policy]
        request = [
            { group = "id", code = "fqdn", value = ["a.", "b."] },
            { group = "control", code = "hard_ttl", cmp = "optional", value = { min = 10, max = "20" } },
        ]
        available = [{ group = "control", code = "hard_ttl", value = 120 }, { group = "control", code = "ack" }]
    "#;
    let json = r#"[{"policy": {
        "available": [{"group":"control","code":"hard_ttl","value":"120"}, {"ope":"info","group":"control","code":"ack"}],
        "request": [{"ope":"query","group":"id","code":"fqdn","value":["a.","b."]},
            {"cmp":"optional","group":"control","code":"hard_ttl","value":{"min":"10","max":20}}]},
        "direction": "outbound", "fqdn": "hosta1.gwa.demo.", "type": "hostpolicy"}]"#;
    let from_toml: PolicyFile = toml::from_str(toml).unwrap();
    assert_eq!(from_toml, PolicyFile::from_json(json).unwrap());
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
        let error = PolicyFile::from_json(json).unwrap_err().to_string();
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

#[test]
fn the_most_precise_host_policy_is_chosen() {
    let entry = |remote: Option<&str>, ces: Option<&str>, ttl: u32| {
        let policy =
            policy(&format!(r#"{{"available":[{{"group":"control","code":"hard_ttl","value":{ttl}}}]}}"#));
        PolicyEntry::Host {
            fqdn: "a.".into(),
            direction: Direction::Outbound,
            remote: remote.map(Into::into),
            remote_cesid: ces.map(Into::into),
            policy: policy.unwrap().into(),
        }
    };
    let entries = vec![
        entry(None, None, 1),
        entry(Some("*.demo."), None, 2),
        entry(Some("*.b.demo."), None, 3),
        entry(Some("x.b.demo."), None, 4),
        entry(None, Some("gwc."), 5),
    ];
    let book = PolicyBook::new(entries.clone()).unwrap();
    let chosen = |remote, ces| {
        book.host("a.", Direction::Outbound, remote, ces).and_then(|policy| policy.own().hard_ttl_s)
    };
    assert_eq!(chosen("elsewhere.", "gwb."), Some(1));
    assert_eq!(chosen("elsewhere.", "gwc."), Some(5));
    assert_eq!(chosen("y.demo.", "gwb."), Some(2));
    assert_eq!(chosen("y.b.demo", "gwb."), Some(3));
    assert_eq!(chosen("X.b.demo.", "gwb."), Some(4));
    assert_eq!(chosen("b.demo.", "gwb."), Some(2), "a name is not below itself");
    assert!(book.host("a.", Direction::Inbound, "x.", "gwb.").is_none());
    assert!(
        PolicyBook::new(entries.into_iter().chain([entry(None, None, 9)]))
            .unwrap_err()
            .contains("two outbound")
    );
}
