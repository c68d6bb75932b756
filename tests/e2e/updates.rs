//! Names and hosts that come and go at run time, by nsupdate and by cesctl, and who asks and signs.

use crate::Case;
use crate::inbound::{OF_HOSTS, THREE, write};
use ces_tests::lab::{Edit, Lab, Outcome, Realm, eventually};

pub(crate) const CASES: &[Case] = &[
    ("a_host_sets_its_own_names_by_nsupdate", a_host_sets_its_own_names),
    ("what_an_update_may_not_is_refused_with_its_code", what_an_update_may_not),
    ("hosts_come_and_go_by_cesctl", hosts_come_and_go_by_cesctl),
    ("agreed_resolvers_sign_what_they_ask", agreed_resolvers_sign),
    ("who_never_comes_has_no_reputation", who_never_comes_has_no_reputation),
];

const KEYS: &str = "name_server = \"gwb.demo.\"\n
keys = [
    { name = \"hosts.b.demo\", secret = \"c2VjcmV0IG9mIHRoaXJ0eS10d28gb2N0ZXRzIG1hZGU=\" },
    { name = \"dhcp.b.demo\", algorithm = \"hmac-sha512\", secret = \"YW5vdGhlciBvbmUgb2YgdGhpcnR5LXR3byBvY3RldHM=\" },
]

[[dns.updates]]
key = \"hosts.b.demo\"
names = [\"*.dyn.b.demo\"]
inbound = { protocol = \"tcp\", port = 80 }
host_names = 2

[[dns.updates]]
key = \"dhcp.b.demo\"
names = [\"*.b.demo\"]
addresses = \"any\"
";

/// The key that hosts have, and the one of who gives them addresses.
const HOSTS: &str = "-y hmac-sha256:hosts.b.demo:c2VjcmV0IG9mIHRoaXJ0eS10d28gb2N0ZXRzIG1hZGU=";
const DHCP: &str = "-y hmac-sha512:dhcp.b.demo:YW5vdGhlciBvbmUgb2YgdGhpcnR5LXR3byBvY3RldHM=";

const EDITS: &[Edit] = &[
    (Realm::B, "name_server = \"gwb.demo.\"\n", KEYS),
    THREE[0],
    (Realm::B, "[registry]", "[state]\ndirectory = \"state\"\n\n[registry]"),
];

fn gateways(lab: &Lab) {
    lab.gateways(EDITS);
    lab.run("net", "ip route replace 198.51.100.16/29 via 198.51.100.2").expect();
}

/// nsupdate on a host, with a key, with these lines.
fn update(lab: &Lab, node: &str, key: &str, lines: &[&str]) -> Outcome {
    let lines = lines.join("\\n");
    lab.run(node, &format!("printf 'server 192.168.10.1\\n{lines}\\nsend\\n' | nsupdate {key} 2>&1"))
}

fn asked(lab: &Lab, node: &str, question: &str) -> String {
    lab.run(node, &format!("dig +short +time=2 @192.168.10.1 {question}")).expect().trim().to_owned()
}

fn a_host_sets_its_own_names(lab: &Lab) {
    gateways(lab);
    // By UDP, and then by TCP; nsupdate finds the zone by itself.
    update(lab, "b1", HOSTS, &["update add pc.dyn.b.demo 300 A 192.168.10.11"]).expect();
    let tcp = format!("-v {HOSTS}");
    let lines = ["prereq nxdomain tv.dyn.b.demo", "update add tv.dyn.b.demo 300 A 192.168.10.11"];
    update(lab, "b1", &tcp, &lines).expect();
    assert_eq!(asked(lab, "b1", "pc.dyn.b.demo"), "192.168.10.11");
    update(lab, "b1", HOSTS, &["update add 11.10.168.192.in-addr.arpa 300 PTR tv.dyn.b.demo"]).expect();
    assert_eq!(asked(lab, "b1", "-x 192.168.10.11"), "tv.dyn.b.demo.");
    // From the plain Internet it is reached at once, as its key's rule has it.
    lab.run("net", "curl -sS -m 30 --interface 203.0.113.21 http://pc.dyn.b.demo/").says("Hello from b1");
    let shown = lab.ctl(Realm::B, "show names");
    shown.says("pc.dyn.b.demo.");
    shown.says("hosts.b.demo.");
    lab.ctl(Realm::B, "show hosts").says("tv.dyn.b.demo.");
    assert_eq!(lab.metrics(Realm::B).sum("ces_added_names", &[]) as u64, 3);

    // Neither a reload nor another process loses them; nor does one that is killed.
    lab.ctl(Realm::B, "reload").expect();
    assert_eq!(asked(lab, "b1", "pc.dyn.b.demo"), "192.168.10.11");
    lab.kill(Realm::B);
    lab.start(Realm::B);
    assert_eq!(asked(lab, "b1", "pc.dyn.b.demo"), "192.168.10.11");
    assert_eq!(asked(lab, "b1", "-x 192.168.10.11"), "tv.dyn.b.demo.");
    lab.run("net", "curl -sS -m 30 --interface 203.0.113.22 http://pc.dyn.b.demo/").says("Hello from b1");

    update(lab, "b1", HOSTS, &["update delete pc.dyn.b.demo", "update delete tv.dyn.b.demo"]).expect();
    update(lab, "b1", HOSTS, &["update delete 11.10.168.192.in-addr.arpa PTR"]).expect();
    lab.run("b1", "dig @192.168.10.1 pc.dyn.b.demo").says("NXDOMAIN");
    lab.run("net", "dig @198.51.100.2 pc.dyn.b.demo").says("NXDOMAIN");
    assert_eq!(asked(lab, "b1", "-x 192.168.10.11"), "b1.b.demo.");
    assert_eq!(lab.metrics(Realm::B).sum("ces_added_names", &[]) as u64, 0);
}

fn what_an_update_may_not(lab: &Lab) {
    gateways(lab);
    let refused = |node: &str, key: &str, lines: &[&str], code: &str| {
        let outcome = update(lab, node, key, lines);
        assert!(!outcome.ok(), "{lines:?}: {outcome}");
        assert!(outcome.to_string().contains(code), "{lines:?}: {code}: {outcome}");
    };
    let add = "update add x.dyn.b.demo 300 A 192.168.10.11";
    for (node, key, lines, code) in [
        // Who he is.
        ("b1", "", &[add][..], "REFUSED"),
        ("b1", "-y hmac-sha256:who.b.demo:c2VjcmV0IG9mIHRoaXJ0eS10d28gb2N0ZXRzIG1hZGU=", &[add], "BADKEY"),
        ("b1", "-y hmac-sha256:hosts.b.demo:YW5vdGhlciBvbmUgb2YgdGhpcnR5LXR3byBvY3RldHM=", &[add], "BADSIG"),
        // What he may.
        ("b1", HOSTS, &["update add x.b.demo 300 A 192.168.10.11"], "REFUSED"),
        ("b1", HOSTS, &["update add x.dyn.b.demo 300 A 192.168.10.12"], "REFUSED"),
        ("b1", HOSTS, &["update add x.dyn.b.demo 300 AAAA 2001:db8::1"], "REFUSED"),
        ("b1", DHCP, &["update add x.b.demo 300 A 192.168.11.12"], "REFUSED"),
        ("b1", DHCP, &["update add x.b.demo 300 A 192.168.10.1"], "REFUSED"),
        // What the files say stays.
        ("b1", DHCP, &["update delete www.b.demo A"], "REFUSED"),
        ("b1", DHCP, &["update add www.b.demo 300 A 192.168.10.12"], "REFUSED"),
        // Which zone.
        ("b1", HOSTS, &["zone c.demo", "update add x.c.demo 300 A 192.168.10.11"], "NOTAUTH"),
        ("b1", HOSTS, &["zone b.demo", "update add x.c.demo 300 A 192.168.10.11"], "NOTZONE"),
        // What has to hold.
        ("b1", DHCP, &["prereq nxdomain b1.b.demo", add], "YXDOMAIN"),
        ("b1", DHCP, &["prereq yxdomain nobody.b.demo", add], "NXDOMAIN"),
        ("b1", DHCP, &["prereq nxrrset b1.b.demo A", add], "YXRRSET"),
        ("b1", DHCP, &["prereq yxrrset b1.b.demo TXT", add], "NXRRSET"),
        ("b1", DHCP, &["prereq yxrrset b1.b.demo A 192.168.10.12", add], "NXRRSET"),
    ] {
        refused(node, key, lines, code);
    }
    // Whoever gives addresses notes whose a name is (RFC 4701, 4703), and takes it back by that.
    let note = "AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA=";
    let lines = [
        "prereq nxdomain lap.b.demo",
        "update add lap.b.demo 300 A 192.168.10.77",
        &format!("update add lap.b.demo 300 DHCID {note}"),
    ];
    update(lab, "b2", DHCP, &lines).expect();
    refused("b2", DHCP, &lines, "YXDOMAIN");
    let lines = [&format!("prereq yxrrset lap.b.demo DHCID {note}")[..], "update delete lap.b.demo"];
    update(lab, "b2", DHCP, &lines).expect();
    lab.run("b1", "dig @192.168.10.1 lap.b.demo").says("NXDOMAIN");
    // A name moves in one go.
    update(lab, "b2", DHCP, &["update add mv.b.demo 300 A 192.168.10.77"]).expect();
    update(lab, "b2", DHCP, &["update delete mv.b.demo A", "update add mv.b.demo 300 A 192.168.10.78"])
        .expect();
    lab.ctl(Realm::B, "show names").says("192.168.10.78");
    refused("b2", DHCP, &["update add mv.b.demo 300 A 192.168.10.79"], "REFUSED");
    update(lab, "b2", DHCP, &["update delete mv.b.demo A 192.168.10.78"]).expect();
    // No more names than may be.
    let many = ["update add m1.dyn.b.demo 1 A 192.168.10.11", "update add m2.dyn.b.demo 1 A 192.168.10.11"];
    update(lab, "b1", HOSTS, &many).expect();
    refused("b1", HOSTS, &["update add m3.dyn.b.demo 1 A 192.168.10.11"], "REFUSED");
    update(lab, "b1", HOSTS, &["update delete m1.dyn.b.demo", "update delete m2.dyn.b.demo"]).expect();
    // From outside nobody is heard.
    let line = format!("printf 'server 198.51.100.2\\nzone b.demo\\n{add}\\nsend\\n' | nsupdate {DHCP} 2>&1");
    lab.run("net", &line);
    lab.run("b1", "dig @192.168.10.1 x.dyn.b.demo").says("NXDOMAIN");
    let queries = |outcome: &str| lab.metrics(Realm::B).sum("ces_dns_queries_total", &[("outcome", outcome)]);
    for outcome in ["bad_key", "bad_signature", "update_refused", "update_zone", "prerequisite", "updated"] {
        assert!(queries(outcome) > 0.0, "{outcome}");
    }
    lab.ctl(Realm::B, "show dns").says("update_refused");
}

fn hosts_come_and_go_by_cesctl(lab: &Lab) {
    gateways(lab);
    // Another address on b2's machine, which no file knows.
    lab.run("b2", "ip address add 192.168.10.77/24 dev eth0").expect();
    let line = "host add new.b.demo 192.168.10.77 --service also.b.demo --policy server \
                --inbound new-ssh.b.demo=tcp/22 --inbound new-web.b.demo=tcp/80";
    lab.ctl(Realm::B, line).says("new.b.demo. added");
    lab.ctl(Realm::B, "show hosts").says("also.b.demo.");
    let served = lab.serve("b2", "192.168.10.77:80", "python3 -m http.server -b 192.168.10.77 80");
    lab.run(
        "net",
        "curl -sS -m 30 --interface 203.0.113.21 -o /dev/null -w %{http_code} http://new-web.b.demo/",
    )
    .says("200");
    for (arguments, why) in [
        ("host add x.b.demo 192.168.10.77", "is the address of new.b.demo. already"),
        ("host add b1.b.demo 192.168.10.78", "b1.b.demo. is listed twice"),
        ("host add x.c.demo 192.168.10.78", "lies in no zone of the realm"),
        ("host add x.b.demo 10.0.0.1", "lies in no network of the realm"),
        ("host add x.b.demo 192.168.10.78 --policy nobodys", "there is no policy"),
        ("host add x.b.demo 192.168.10.78 --inbound tcp/x", "is no port"),
        ("host remove b1.b.demo", "was not added at run time"),
    ] {
        let refused = lab.ctl(Realm::B, arguments);
        assert!(!refused.ok() && refused.to_string().contains(why), "{arguments}: {refused}");
    }
    lab.ctl(Realm::B, "reload").expect();
    lab.kill(Realm::B);
    lab.start(Realm::B);
    assert!(eventually(|| lab.ctl(Realm::B, "show hosts").to_string().contains("new.b.demo.")));
    lab.ctl(Realm::B, "host remove new.b.demo").says("removed");
    assert!(!lab.ctl(Realm::B, "show hosts").to_string().contains("new.b.demo."));
    lab.run("net", "dig @198.51.100.2 new-web.b.demo").says("NXDOMAIN");
    served.end();
    lab.run("b2", "ip address del 192.168.10.77/24 dev eth0").expect();
}

/// By BIND's dig: who signs needs no other proof, and has a signed answer; everybody else comes back over TCP.
fn agreed_resolvers_sign(lab: &Lab) {
    let edits = [EDITS[0], (Realm::B, "[tls]\n", SIGNED), OF_HOSTS];
    write(lab, REACHED);
    lab.gateways(&edits);
    let ask = |key: &str, more: &str| {
        let line =
            format!("dig +tries=1 +time=2 +ignore {key} {more} -b 203.0.113.60 @198.51.100.2 all.b.demo");
        lab.run("net", &line)
    };
    let signed = ask(DHCP, "");
    signed.says("198.51.100.17");
    signed.says("TSIG");
    assert!(!signed.to_string().contains("could not be validated"), "{signed}");
    ask("", "").says("tc");
    ask("-y hmac-sha512:dhcp.b.demo:c2VjcmV0IG9mIHRoaXJ0eS10d28gb2N0ZXRzIG1hZGU=", "").says("BADSIG");
    ask("-y hmac-sha512:who.b.demo:c2VjcmV0IG9mIHRoaXJ0eS10d28gb2N0ZXRzIG1hZGU=", "").says("BADKEY");
    ask(DHCP, "+tcp +subnet=203.0.113.64/26").says("CLIENT-SUBNET: 203.0.113.64/26/26");
    ask(HOSTS, "").says("tc");
}

const SIGNED: &str = "[nat]\naddresses = [\"198.51.100.2\"]\n\n[realm_gateway]\ntimeout_ms = 500\n\
                      addresses = [\"198.51.100.17\", \"198.51.100.18/31\"]\n\
                      resolvers = [{ key = \"dhcp.b.demo\", proof = \"none\", client_subnet = true }]\n\n[tls]\n";

const OPEN: &str = "[nat]\naddresses = [\"198.51.100.2\"]\n\n[realm_gateway]\ntimeout_ms = 500\nproof = \"none\"\n\
                    addresses = [\"198.51.100.17\", \"198.51.100.18/31\"]\n\n[tls]\n";

/// The first of the lab's hosts is reached by a full name.
const REACHED: &str = "inbound = [\"all.b.demo\"]\n";

fn who_never_comes_has_no_reputation(lab: &Lab) {
    write(lab, REACHED);
    lab.gateways(&[(Realm::B, "[tls]\n", OPEN), OF_HOSTS]);
    let ask = || lab.run("net", "dig +short +tries=1 +time=1 -b 203.0.113.60 @198.51.100.2 all.b.demo");
    let is_refused = || {
        for _ in 0..3 {
            ask();
        }
        lab.metrics(Realm::B).sum("ces_inbound_wanting_total", &[]) > 0.0
    };
    assert!(eventually(is_refused), "{}", lab.ctl(Realm::B, "show reputation"));
    let shown = lab.json(Realm::B, "show reputation");
    assert!(shown["askers"][0]["reputation"].as_f64().is_some_and(|value| value < 0.45), "{shown}");
    lab.ctl(Realm::B, "show reputation").says("203.0.113.0");
    assert!(lab.metrics(Realm::B).sum("ces_inbound_reputations", &[("of", "askers")]) > 0.0);
}
