//! Beside the Aalto nodes: their policies as they are shipped, and what this gateway has to be told for them.

mod lab;

use ces_gateway::{CoreSettings, SourceFile};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use lab::{H1, Lab, realm};

const NETWORK: &str = include_str!("../../cetp/tests/traces/90_policy_network_gwa_shipped.json");
const CA: &str = "195.148.124.145";

/// What a host's policy of theirs asks and tells.
fn host_policy(fqdn: &str, direction: &str) -> String {
    let offer = format!(
        r#""offer": [ {{ "ope":"info", "group": "id", "code": "fqdn", "value":"{fqdn}" }},
            {{ "ope":"info", "group": "control", "code": "caep", "value":"{CA}" }},
            {{ "ope":"info", "group": "control", "code": "hard_ttl", "value":"120" }} ],"#
    );
    let offer = if direction == "outbound" { offer.as_str() } else { "" };
    format!(
        r#"{{ "type": "hostpolicy", "fqdn": "{fqdn}", "direction": "{direction}", "policy": {{
            "request": [ {{ "ope":"query", "group": "id", "code": "fqdn" }},
                {{ "ope":"query", "group": "control", "code": "caep" }} ], {offer}
            "available": [ {{ "ope":"info", "group": "id", "code": "fqdn", "value":"{fqdn}" }},
                {{ "ope":"info", "group": "control", "code": "caep", "value":"{CA}" }} ] }} }}"#
    )
}

/// Realm b with the policies of theirs.
fn theirs(lab: &mut Lab) {
    let network = NETWORK.replace("gwb.demo.", "cesa.demo.").replace("gwa.demo.", "cesb.demo.");
    let hosts = [host_policy("h1.b.demo.", "outbound"), host_policy("h1.b.demo.", "inbound")].join(",");
    let registry = "[[host]]\nname = \"h1.b.demo\"\naddress = \"192.168.0.10\"";
    let file = |path: &str, text: String| SourceFile { path: path.into(), text };
    let files = [
        file("hosts.toml", registry.to_owned()),
        file("network.json", network),
        file("hosts.json", format!("[{hosts}]")),
    ];
    let mut settings = lab.nodes[1].settings.clone();
    "wan0".clone_into(&mut settings.cetp.locators[0].alias);
    let (registry, policies) = ces_gateway::registry::load(&files, &settings).unwrap();
    let now = lab.now;
    lab.nodes[1].gateway.reload(settings, registry, policies, now).unwrap();
    lab.settle();
}

fn beside_theirs(change: impl Fn(&mut CoreSettings)) -> Lab {
    let ours = |settings: &mut CoreSettings| {
        if settings.realm.ces_id.as_str() == "cesa.demo." {
            CA.clone_into(&mut settings.cetp.caces);
            CA.clone_into(&mut settings.cetp.caep);
            "wan0".clone_into(&mut settings.cetp.locators[0].alias);
            change(settings);
        }
    };
    let mut lab = Lab::with(ours, &realm("a.demo"), &realm("b.demo"));
    theirs(&mut lab);
    lab
}

#[test]
fn c12_two_keys_and_an_alias_are_what_their_shipped_policies_need() {
    let mut lab = beside_theirs(|_| {});
    assert!(lab.address(0, H1, "h1.b.demo").is_some(), "{:?}", lab.nodes[1].log);
    let mut lab = beside_theirs(|_| {});
    assert!(lab.address(1, H1, "h1.a.demo").is_some(), "{:?}", lab.nodes[0].log);
}

#[test]
fn c12_without_any_of_them_nothing_comes_about_and_nobody_here_is_blocked_for_it() {
    for (title, change) in [
        ("caces", (|settings: &mut CoreSettings| settings.cetp.caces.clear()) as fn(&mut CoreSettings)),
        ("caep", |settings| settings.cetp.caep.clear()),
        ("alias", |settings| settings.cetp.locators[0].alias = "internet".to_owned()),
    ] {
        let mut lab = beside_theirs(change);
        let reply = lab.ask(0, H1, "h1.b.demo", RecordType::A);
        assert_ne!(reply.code, ResponseCode::NoError, "{title}");
        // Who asks for what this gateway lacks is refused, and not blocked (C8).
        let mut lab = beside_theirs(change);
        let reply = lab.ask(1, H1, "h1.a.demo", RecordType::A);
        assert_ne!(reply.code, ResponseCode::NoError, "{title}");
        assert!(lab.nodes[0].gateway.blocks(lab.now).is_empty(), "{title}");
    }
}
