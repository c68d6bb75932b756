//! The stateful filter between real programs: which sessions hosts may open, and what a reload of the rules does to those
//! that stand.

use crate::Case;
use ces_tests::lab::{Background, Edit, Lab, Realm, eventually};

pub(crate) const CASES: &[Case] = &[
    ("the_first_rule_that_fits_decides", the_first_rule_that_fits_decides),
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
