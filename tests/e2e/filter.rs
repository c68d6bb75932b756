//! The stateful filter between real programs: which sessions hosts may open, and what a reload of the rules does to those
//! that stand.

use crate::Case;
use ces_tests::lab::{Background, Edit, Lab, Realm, eventually};

pub(crate) const CASES: &[Case] = &[
    ("the_first_rule_that_fits_decides", the_first_rule_that_fits_decides),
    ("the_packet_and_its_port_may_decide", the_packet_and_its_port_may_decide),
    ("rules_log_and_slow_down", rules_log_and_slow_down),
    ("a_reload_ends_what_new_rules_forbid", a_reload_ends_what_new_rules_forbid),
    ("wrong_rules_are_refused_with_their_lines", wrong_rules_are_refused_with_their_lines),
];

const FILTERED: &[Edit] = &[(
    Realm::A,
    "[tls]\n",
    "[nat]\naddresses = [\"192.0.2.2\"]\n\n[filter]\nfiles = [\"rules\"]\n\n[tls]\n",
)];

/// Puts these rules into the file that the configuration names.
fn write(lab: &Lab, rules: &str) {
    std::fs::write(lab.directory().join("a/rules"), rules).expect("the state directory is ours");
}

/// Both gateways, with these rules in force.
fn gateways(lab: &Lab, rules: &str) {
    write(lab, rules);
    lab.gateways(FILTERED);
    lab.ctl(Realm::A, "reload").expect();
}

/// A web server in the world.
fn web(lab: &Lab) -> Background {
    let www = lab.directory().join("www");
    let line = format!("python3 -m http.server --bind 203.0.113.80 --directory {} 80", www.display());
    let server = lab.background("net", &line);
    assert!(eventually(|| lab.run("net", "curl -sf -o /dev/null http://203.0.113.80/").ok()), "it is up");
    server
}

fn decisions(lab: &Lab, rule: &str) -> f64 {
    lab.metrics(Realm::A).sum("ces_filter_decisions_total", &[("rule", rule)])
}

fn the_first_rule_that_fits_decides(lab: &Lab) {
    gateways(
        lab,
        "set web = 203.0.113.80\n\
         allow tcp from inside host a1.a.demo to outside @web port http name web\n\
         reject tcp to outside port http name no-web\n\
         deny icmp from inside host a2.a.demo to outside type ping name silent\n",
    );
    let server = web(lab);
    lab.run("a1", "curl -sS -m 20 http://203.0.113.80/").says("Hello from b1");
    let refused = lab.run("a2", "curl -sS -m 20 http://203.0.113.80/");
    assert_eq!(refused.status, 7, "it is reset at once: {refused}");
    lab.run("a1", "ping -n -c 2 -i 0.2 -W 5 203.0.113.9").says(" 0% packet loss");
    lab.drops_more(Realm::A, "filter_denied", 2, || {
        lab.run("a2", "ping -n -c 2 -i 0.2 -W 1 203.0.113.9").says("100% packet loss");
    });
    // Names of other realms are the policies' matter.
    lab.run("a2", "curl -sS -m 20 http://www.b.demo/").says("Hello from b1");
    assert!(
        decisions(lab, "web") >= 1.0 && decisions(lab, "no-web") >= 1.0 && decisions(lab, "silent") >= 2.0
    );
    let rules = lab.json(Realm::A, "show rules");
    assert_eq!((rules[1]["line"].as_u64(), rules[1]["name"].as_str()), (Some(3), Some("no-web")));
    assert!(rules[1]["decided"].as_u64() >= Some(1));
    lab.ctl(Realm::A, "show rules").says("a/rules:4");
    lab.ctl(Realm::A, "why 192.168.10.12 203.0.113.80 tcp 80").says("from inside to outside: reject, by ");
    lab.ctl(Realm::A, "why 192.168.10.12 203.0.113.80 tcp 80")
        .says("a/rules:3: reject tcp to outside port http");
    lab.ctl(Realm::A, "why 192.168.10.12 203.0.113.80 tcp 443").says("no rule decides; it may be opened");
    server.end();
}

fn the_packet_and_its_port_may_decide(lab: &Lab) {
    gateways(
        lab,
        "deny icmp to outside length 500-65535 name large\n\
         deny icmp from on outside name from-outside\n\
         deny icmp from on inside to on outside dscp ef name expedited\n\
         deny tcp to outside port 81 flags ece, cwr name ecn\n\
         deny udp to outside fragmented name parts\n",
    );
    let ping = |how: &str| lab.run("a1", &format!("ping -n -c 2 -i 0.2 -W 1 {how} 203.0.113.9"));
    ping("").says(" 0% packet loss");
    ping("-s 600").says("100% packet loss");
    ping("-Q 0xb8").says("100% packet loss");
    let server = lab.background("net", "python3 -m http.server --bind 203.0.113.81 81");
    assert!(eventually(|| lab.run("net", "curl -sf -o /dev/null http://203.0.113.81:81/").ok()), "it is up");
    for (ecn, status) in [(0, 0), (1, 28)] {
        lab.run("a1", &format!("sysctl -qw net.ipv4.tcp_ecn={ecn} net.ipv4.tcp_ecn_fallback=0")).expect();
        let asked = lab.run("a1", "curl -sS -o /dev/null -m 3 http://203.0.113.81:81/");
        assert_eq!(asked.status, status, "ECN {ecn}: {asked}");
    }
    lab.run("a1", "sysctl -qw net.ipv4.tcp_ecn=2 net.ipv4.tcp_ecn_fallback=1").expect();
    lab.run("a1", "head -c 3000 /dev/zero | socat -u -b 3000 - UDP:203.0.113.9:9").expect();
    for rule in ["large", "expedited", "ecn", "parts"] {
        assert!(decisions(lab, rule) >= 1.0, "{rule}");
    }
    assert!(decisions(lab, "from-outside") <= 0.0);
    let why = "why 192.168.10.11 203.0.113.9";
    lab.ctl(Realm::A, &format!("{why} icmp 8 --length 700")).says("a/rules:1: deny");
    lab.ctl(Realm::A, &format!("{why} icmp 8 --dscp ef")).says("a/rules:3: deny");
    lab.ctl(Realm::A, &format!("{why} icmp 8 --dscp ef --goes-by inside")).says("no rule decides");
    lab.ctl(Realm::A, &format!("{why} tcp 81 --flags syn,ece,cwr")).says("a/rules:4: deny");
    lab.ctl(Realm::A, &format!("{why} udp 9 --fragmented")).says("a/rules:5: deny");
    server.end();
}

fn rules_log_and_slow_down(lab: &Lab) {
    gateways(
        lab,
        "deny icmp from inside host a2.a.demo log name quiet\n\
         allow udp to outside port 9 rate 1000, 3 per source name slow\n",
    );
    lab.run("a2", "ping -n -c 1 -W 1 203.0.113.9").says("100% packet loss");
    let told = |text: &str| eventually(|| lab.ctl(Realm::A, "show logged").stdout.contains(text));
    assert!(told("192.168.10.12") && told("a/rules:1") && told("icmp type 8"));
    assert!(eventually(|| lab.log(Realm::A).contains("filter: deny rule=")), "{}", lab.log(Realm::A));
    assert!(
        lab.log(Realm::A).contains("name=quiet protocol=icmp icmp_type=8 from=inside source=192.168.10.12")
    );
    let logged = lab.metrics(Realm::A).sum("ces_filter_logged_total", &[("outcome", "told")]);
    assert!(logged >= 1.0);
    // A session each: other source ports.
    let many =
        "for port in $(seq 5001 5040); do echo x | socat -u - UDP:203.0.113.9:9,sourceport=$port; done";
    lab.drops_more(Realm::A, "filter_rate", 1, || {
        lab.run("a1", many).expect();
    });
    let rules = lab.json(Realm::A, "show rules");
    let (decided, exceeded) = (rules[1]["decided"].as_u64(), rules[1]["exceeded"].as_u64());
    assert!(decided >= Some(40) && exceeded >= Some(1) && exceeded < decided, "{rules}");
}

fn a_reload_ends_what_new_rules_forbid(lab: &Lab) {
    gateways(lab, "allow\n");
    let (ended, goes_on) = (
        lab.background("a1", "ping -n -i 0.1 -W 1 203.0.113.9"),
        lab.background("a2", "ping -n -c 60 -i 0.1 -W 5 203.0.113.9"),
    );
    let open = |host: &str| lab.ctl(Realm::A, "show sessions").stdout.contains(host);
    assert!(eventually(|| open("192.168.10.11:") && open("192.168.10.12:")));
    write(lab, "deny icmp from inside host a1.a.demo\n");
    lab.ctl(Realm::A, "reload").expect();
    assert!(eventually(|| lab.metrics(Realm::A).sum("ces_filter_sessions_ended_total", &[]) >= 1.0));
    goes_on.wait().says(" 0% packet loss");
    ended.end();
}

fn wrong_rules_are_refused_with_their_lines(lab: &Lab) {
    gateways(lab, "deny icmp from inside host a1.a.demo\n");
    write(lab, "allow\nallow tcp from inside host nobody.a.demo\npermit all\n");
    let refused = lab.ctl(Realm::A, "reload");
    assert!(!refused.ok(), "{refused}");
    refused.says("a/rules:2: there is no host nobody.a.demo");
    refused.says("a/rules:3: \"permit\"");
    lab.run("a1", "ping -n -c 1 -W 1 203.0.113.9").says("100% packet loss");
    let config = lab.directory().join("a/cesd.toml");
    let check = format!("{}/cesd --config {} --check", lab.binaries().display(), config.display());
    let checked = lab.run("gwa", &check);
    assert_eq!(checked.status, 2, "{checked}");
    checked.says("a/rules:2: there is no host nobody.a.demo");
}
