//! Files of hosts and policies, and settings: what is understood, and what is said about what is not.

mod lab;

use ces_cetp::engine::Direction;
use ces_cetp::tlv::Item;
use ces_gateway::names::Name;
use ces_gateway::registry::{RuleLimits, load};
use ces_gateway::{CoreSettings, SourceFile};
use lab::{A_OUTER, hosts, realm, settings};

fn a() -> CoreSettings {
    settings("a", "cesa.demo.", "a.demo", A_OUTER)
}

fn errors(text: &str) -> Vec<String> {
    load(&hosts(text), &a()).unwrap_err().iter().map(ToString::to_string).collect()
}

/// R2: a reload is prepared and followed up in pieces; it is in force as a whole or not at all.
#[test]
fn r2_a_reload_comes_in_pieces_and_into_force_at_once() {
    use ces_gateway::PIECE;
    use hickory_proto::rr::RecordType;
    use lab::{H1, Lab, hosts, realm};
    let many = |from: usize, until: usize| -> String {
        let host = |n: usize| {
            let (b, c) = (n / 256 % 256, n % 256);
            format!("[[host]]\nname = \"n{n}.a.demo\"\naddress = \"10.7.{b}.{c}\"\npolicy = \"office\"\n")
        };
        (from..until).map(host).collect()
    };
    let wide = |settings: &mut ces_gateway::CoreSettings| {
        settings.realm.networks.push("10.0.0.0/8".parse().unwrap());
    };
    let mut lab = Lab::with(wide, &(realm("a.demo") + &many(1, 2_000)), &realm("b.demo"));
    lab.address(0, H1, "n7.a.demo");
    lab.address(0, H1, "h1.b.demo").unwrap();
    let settings = lab.nodes[0].settings.clone();
    let text = realm("a.demo").replace("h3.", "h4.") + &many(1_000, 3_000);
    let (registry, policies) = ces_gateway::registry::load(&hosts(&text), &settings).unwrap();
    lab.nodes[0].gateway.begin_reload(settings.clone(), registry, policies).unwrap();
    assert!(
        lab.nodes[0]
            .gateway
            .begin_reload(settings, ces_gateway::Registry::default(), ces_gateway::PolicySet::default())
            .is_err()
    );
    let names = |lab: &mut Lab| {
        ["n7.a.demo", "n2999.a.demo", "h4.a.demo"]
            .map(|name| lab.ask(0, H1, name, RecordType::MX).code == hickory_proto::op::ResponseCode::NoError)
    };
    let before = names(&mut lab);
    let mut pieces = 0;
    while !lab.nodes[0].gateway.prepare_reload() {
        pieces += 1;
        if pieces == 3 {
            assert_eq!(names(&mut lab), before, "nothing of it is seen");
        }
    }
    assert_eq!(pieces, 2_002_usize.div_ceil(PIECE) + 2_003_usize.div_ceil(PIECE));
    let now = lab.now;
    lab.nodes[0].gateway.apply_reload(now).unwrap();
    assert!(!lab.nodes[0].gateway.cancel_reload(), "it is in force");
    let listed = lab.nodes[0].gateway.hosts(now);
    assert!(listed.len() == 2_003 && listed.iter().all(|host| &*host.name != "n7.a.demo."));
    assert_ne!(names(&mut lab), before);
    let (reloaded, pieces) = (1..)
        .find_map(|piece| lab.nodes[0].gateway.settle_reload(now).map(|reloaded| (reloaded, piece)))
        .unwrap();
    lab.settle();
    assert!(pieces > 1_003 / PIECE, "{pieces}");
    assert_eq!((reloaded.hosts_added, reloaded.hosts_removed, reloaded.hosts_changed), (1_001, 1_000, 0));
    assert_eq!(lab.nodes[0].gateway.take_discarded().len(), 1);
    assert_eq!(lab.nodes[0].gateway.pools().slots_used, [1], "the pair with a host that is gone has ended");
    assert!(lab.address(0, H1, "h1.b.demo").is_some());
}

#[test]
fn the_short_form_says_who_how_long_and_what() {
    let (registry, policies) = load(&hosts(&realm("a.demo")), &a()).unwrap();
    assert_eq!(registry.hosts().len(), 3);
    assert_eq!(registry.host("www.h1.a.demo.").unwrap().name.as_str(), "h1.a.demo.");
    let choose = |local, direction, remote| policies.choose(local, direction, remote, "cesb.demo.");
    assert!(choose("h1.a.demo.", Direction::Outbound, "anything.example.").is_some());
    // A service does not ask, and is reached as its host is.
    assert!(choose("www.h1.a.demo.", Direction::Outbound, "h1.b.demo.").is_none());
    assert!(choose("www.h1.a.demo.", Direction::Inbound, "h1.b.demo.").is_some());
    assert!(choose("h1.a.demo.", Direction::Inbound, "h2.b.demo.").is_none());
    assert!(choose("h3.a.demo.", Direction::Outbound, "h1.b.demo.").is_none());
    let choosy = choose("h2.a.demo.", Direction::Inbound, "h2.b.demo.").unwrap();
    assert_eq!(
        choosy.limits,
        RuleLimits {
            protocol: Some(6),
            port: Some(80),
            rate_bps: Some(1_000_000),
            hard_ttl_s: Some(60),
            idle_ttl_s: Some(20),
        }
    );
    assert!(choosy.policy.find_available(Item::ControlAck).is_some());
    assert!(choosy.policy.offer().is_empty());
}

#[test]
fn the_first_rule_that_fits_decides_and_peers_narrow_it() {
    let text = r#"
        [[host]]
        name = "h.a.demo"
        address = "192.168.0.1"
        policy = ["strict", "open"]
        [[policy]]
        name = "strict"
        inbound = [
            { from = "*.b.demo", peers = "cesb.demo", hard_ttl = "1m" },
            { from = "*.b.demo", hard_ttl = "2m" },
        ]
        [[policy]]
        name = "open"
        inbound.from = "*"
        "#;
    let (_, policies) = load(&hosts(text), &a()).unwrap();
    let hard = |remote, peer| {
        policies.choose("h.a.demo.", Direction::Inbound, remote, peer).unwrap().limits.hard_ttl_s
    };
    assert_eq!(hard("x.b.demo.", "cesb.demo."), Some(60));
    assert_eq!(hard("x.b.demo.", "cesc.demo."), Some(120));
    assert_eq!(hard("x.c.demo.", "cesb.demo."), None);
}

#[test]
fn the_full_form_wins_over_what_is_filled_in() {
    let text = r#"
        [[host]]
        name = "h.a.demo"
        address = "192.168.0.1"
        services = [{ name = "db.a.demo", policy = "full" }]
        policy = "none"
        [[policy]]
        name = "none"
        outbound.to = "*.b.demo"
        [[policy]]
        name = "full"
        [policy.inbound]
        from = "*"
        request = ["control.ack", { code = "control.caep", value = ["195.148.124.145"], optional = true }]
        available = [{ code = "control.caep", value = "195.148.124.145" }]
        "#;
    let (_, policies) = load(&hosts(text), &a()).unwrap();
    let rule = policies.choose("db.a.demo.", Direction::Inbound, "x.example.", "c.").unwrap();
    let asked: Vec<(Item, bool)> = rule.policy.request().iter().map(|r| (r.item, r.optional)).collect();
    assert_eq!(asked, [(Item::IdFqdn, false), (Item::ControlAck, false), (Item::ControlCaep, true)]);
    assert!(policies.choose("h.a.demo.", Direction::Inbound, "x.example.", "c.").is_none());
}

#[test]
fn every_mistake_is_told_with_its_line_and_what_was_expected() {
    let text = "\
[[host]]
name = \"h1.a.demo\"
address = \"10.0.0.1\"
policy = \"offce\"

[[host]]
name = \"h1.a.demo\"
address = \"192.168.0.2\"

[[host]]
name = \"h.c.demo\"
address = \"192.168.0.2\"

[[policy]]
name = \"office\"
outbound.from = \"*\"
inbound = [{ from = [] }, { from = \"*\", port = 80 }]

[[policy]]
name = \"office\"
outbound.to = \"*\"

[[policy]]
name = \"empty\"
";
    let expected = [
        "hosts.toml:16: policy \"office\": outbound: `to` was expected, not `from`",
        "hosts.toml:17: policy \"office\": inbound: `from` is an empty list: it matches nobody",
        "hosts.toml:17: policy \"office\": inbound: `port` needs a `protocol` such as \"tcp\"",
        "hosts.toml:20: policy \"office\" is defined twice",
        "hosts.toml:24: policy \"empty\" has no rule; `outbound` or `inbound` was expected",
        "hosts.toml:3: h1.a.demo.: 10.0.0.1 lies in no network of the realm (192.168.0.0/24)",
        "hosts.toml:4: h1.a.demo.: there is no policy \"offce\" (empty, office)",
        "hosts.toml:7: h1.a.demo. is listed twice",
        "hosts.toml:11: h.c.demo. lies in no zone of the realm (a.demo.)",
        "hosts.toml:12: h.c.demo.: 192.168.0.2 is the address of h1.a.demo. already",
    ];
    assert_eq!(errors(text), expected);
}

#[test]
fn r4_a_hosts_address_is_its_own() {
    let own = ["192.168.0.254/25".parse().unwrap(), "192.168.0.33/31".parse().unwrap()];
    let said = |address: &str| {
        let text = format!("[[host]]\nname = \"h.a.demo\"\naddress = \"{address}\"\n");
        match ces_gateway::registry::load_behind(&hosts(&text), &a(), &own) {
            Ok(_) => String::new(),
            Err(errors) => errors.iter().map(ToString::to_string).collect(),
        }
    };
    for (address, expected) in [
        ("192.168.0.254", "192.168.0.254 is the gateway's own"),
        ("192.168.0.0", "192.168.0.0 is no host's: in 192.168.0.0/24 it is the network itself"),
        ("192.168.0.255", "192.168.0.255 is no host's: in 192.168.0.128/25 it is its broadcast address"),
        ("192.168.0.128", "192.168.0.128 is no host's: in 192.168.0.128/25 it is the network itself"),
    ] {
        assert_eq!(said(address), format!("hosts.toml:3: h.a.demo.: {expected}"));
    }
    for good in ["192.168.0.1", "192.168.0.127", "192.168.0.32"] {
        assert_eq!(said(good), "", "{good}");
    }
}

/// Counted rather than timed: each complaint knows its line, and the text is gone through once.
#[test]
fn r2_as_many_complaints_as_lines_are_all_placed() {
    let text = "[[host]]\nname = \"h.b.demo\"\naddress = \"10.0.0.1\"\npolicy = \"none\"\n".repeat(2000);
    let found = errors(&text);
    let last = found.last().unwrap();
    assert!(found.len() >= 8000 && last.starts_with("hosts.toml:8000: "), "{} {last}", found.len());
}

#[test]
fn a_mistake_in_the_form_is_told_with_its_line() {
    for (text, line, expected) in [
        ("[[host]]\nname = \"h.a.demo\"\nadress = \"1.2.3.4\"\n", 3, "unknown field `adress`"),
        ("[[host]]\nname = \"h.a.demo\"\naddress = \"1.2.3\"\n", 3, "invalid IPv4 address"),
        ("[[host]]\nname = \"a..b\"\naddress = \"1.2.3.4\"\n", 2, "empty label"),
        ("[[policy]]\nname = \"p\"\ninbound.from = 5\n", 3, "one value or a list"),
        ("[[policy]]\nname = \"p\"\ninbound = { from = \"*\", idle_ttl = \"soon\" }\n", 3, "\"15m\""),
        ("[[policy]]\nname = \"p\"\ninbound = { from = \"*\", prot = 6 }\n", 3, "unknown field `prot`"),
        ("[[policy]]\nname = \"p\"\ninbound = { from = \"*\", request = [\"ack\"] }\n", 3, "\"control.ack\""),
        ("[[host]\n", 1, ""),
    ] {
        let found = errors(text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&format!("hosts.toml:{line}: ")), "{found:?}");
        assert!(found[0].contains(expected), "{found:?}");
    }
}

#[test]
fn a_tlv_that_cetp_does_not_know_is_refused() {
    let text = "[[policy]]\nname = \"p\"\ninbound = { from = \"*\", request = [\"control.nothing\"] }\n";
    assert!(errors(text)[0].contains("control.nothing"), "{:?}", errors(text));
    let network = "[[policy]]\nname = \"p\"\ninbound = { from = \"*\", request = [\"ces.pow\"] }\n";
    assert!(!errors(network).is_empty());
}

#[test]
fn the_references_policy_files_are_understood() {
    let json = r#"[
{ "type": "cespolicy", "proto": "tls", "cesid": "cesa.demo.",
  "policy": { "request": [{ "ope": "query", "group": "ces", "code": "cesid" }], "offer": [], "available": [] } },
{ "type": "cespolicy", "proto": "tls", "cesid": "other.demo.", "policy": { "request": [] } },
{ "type": "hostpolicy", "fqdn": "h1.a.demo.", "direction": "inbound", "policy": {
    "request": [{ "ope": "query", "group": "id", "code": "fqdn", "value": ["h9.b.demo."] },
                { "ope": "query", "cmp": "optional", "group": "control", "code": "hard_ttl" }],
    "available": [{ "ope": "info", "group": "control", "code": "hard_ttl", "value": "30" }] } },
{ "type": "hostpolicy", "fqdn": "stranger.a.demo.", "direction": "outbound", "policy": {} }
]"#;
    let mut files = hosts(&realm("a.demo"));
    files.push(SourceFile { path: "policies.json".into(), text: json.into() });
    let (_, policies) = load(&files, &a()).unwrap();
    assert!(policies.network().is_some());
    // The rules of the TOML file come first, as the files do.
    let rule = policies.choose("h1.a.demo.", Direction::Inbound, "h9.b.demo.", "cesb.demo.").unwrap();
    assert_eq!(rule.limits.hard_ttl_s, Some(30));
    let warnings: Vec<String> = policies.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        ["policies.json:9: a policy for stranger.a.demo., which is no host or service here"]
    );

    files[1].text = json.replace("\"outbound\"", "\"sideways\"");
    let wrong = load(&files, &a()).unwrap_err();
    assert!(wrong[0].to_string().starts_with("policies.json:9: "), "{wrong:?}");
    assert!(wrong[0].message.contains("sideways"), "{wrong:?}");
    files[1].text = "{".into();
    assert!(load(&files, &a()).unwrap_err()[0].to_string().starts_with("policies.json:1: an array"));
}

#[test]
fn settings_that_do_not_fit_together_name_the_key() {
    let problems = |change: &dyn Fn(&mut CoreSettings)| -> Vec<String> {
        let mut settings = a();
        change(&mut settings);
        settings.check(&[A_OUTER]).iter().map(ToString::to_string).collect()
    };
    assert!(problems(&|_| {}).is_empty());
    for (change, expected) in [
        (
            &(|s: &mut CoreSettings| s.realm.proxy_pool = "192.168.0.0/16".parse().unwrap())
                as &dyn Fn(&mut CoreSettings),
            "realm.proxy_pool: 192.168.0.0/16 overlaps the realm's network 192.168.0.0/24",
        ),
        (
            &|s| s.realm.proxy_pool = "192.0.2.0/24".parse().unwrap(),
            "realm.proxy_pool: 192.0.2.0/24 contains the gateway's own address 192.0.2.1",
        ),
        (
            &|s| s.realm.proxy_pool = "10.64.1.0/16".parse().unwrap(),
            "realm.proxy_pool: 10.64.1.0/16 has host bits set; write 10.64.0.0/16",
        ),
        (
            &|s| s.cetp.peer_mtu = [(Name::parse("gwb.demo.").unwrap(), 575)].into(),
            "cetp.peer_mtu: gwb.demo.: 575 bytes are fewer than every host takes (576, RFC 791)",
        ),
        (
            &|s| s.realm.proxy_rest_s = 60,
            "realm.proxy_rest_s: 60 s is shorter than the longest answer TTL (120 s); a cached answer would lead to \
             another host",
        ),
        (&|s| s.dns.upstreams.clear(), "dns.upstreams: names no resolver"),
        (&|s| s.dns.addresses.clear(), "dns.addresses: ns.a.demo. lies in a zone of ours"),
        (&|s| s.cetp.endpoints[0].port = 0, "cetp.endpoints[0].port: 1 to 65535 was expected"),
        (
            &|s| s.cetp.locators[0].address = [1, 2, 3, 4].into(),
            "cetp.locators[0].address: 1.2.3.4 is not an address of one of our ports",
        ),
        (&|s| s.cetp.locators[0].alias = "a?b".into(), "cetp.locators[0].alias: an alias consists of"),
        (&|s| s.cetp.payloads.vxlan = None, ""),
        (&|s| s.cetp.limits.peers = 0, "cetp.limits: peers"),
        (
            &|s| s.realm.networks.push("192.168.0.128/25".parse().unwrap()),
            "realm.networks[1]: 192.168.0.128/25",
        ),
    ] {
        let found = problems(change);
        match expected {
            "" => assert!(found.is_empty(), "{found:?}"),
            _ => assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?} for {expected}"),
        }
    }
}

#[test]
fn a_wrong_key_is_refused() {
    let text =
        "[realm]\nname = \"a\"\nces_id = \"c.\"\nzones = []\nnetworks = []\nproxypool = \"10.0.0.0/8\"\n";
    let wrong = toml::from_str::<CoreSettings>(text).unwrap_err().to_string();
    assert!(wrong.contains("proxypool"), "{wrong}");
}

#[test]
fn c9_a_locator_is_nothing_of_ours_and_somebodys() {
    let mut settings = a();
    settings.ours = vec!["203.0.113.16/28".parse().unwrap()];
    for (address, may) in [
        ([203, 0, 113, 17], false),
        ([203, 0, 113, 32], true),
        ([198, 51, 100, 2], true),
        ([192, 0, 2, 2], true),
        (A_OUTER.octets(), false),
        ([192, 168, 0, 10], false),
        ([10, 64, 0, 1], false),
        ([127, 0, 0, 1], false),
        ([240, 0, 0, 1], false),
        ([224, 0, 0, 5], false),
        ([0, 0, 0, 0], false),
    ] {
        assert_eq!(settings.may_be_a_peers(address.into()), may, "{address:?}");
    }
}
