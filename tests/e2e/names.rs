//! What a name becomes: inside, outside, and in reverse.

use crate::Case;
use ces_tests::lab::{Lab, Realm, eventually};

pub(crate) const CASES: &[Case] = &[
    ("far_name_is_answered_with_a_proxy_address", far_name_is_answered_with_a_proxy_address),
    ("same_pair_keeps_its_proxy_address", same_pair_keeps_its_proxy_address),
    ("names_are_found_in_any_case", names_are_found_in_any_case),
    ("proxy_address_has_the_far_name_in_reverse", proxy_address_has_the_far_name_in_reverse),
    ("far_name_over_tcp", far_name_over_tcp),
    ("unknown_far_name_does_not_exist", unknown_far_name_does_not_exist),
    ("refused_name_does_not_exist_and_the_log_says_why", refused_name_does_not_exist_and_the_log_says_why),
    (
        "host_without_policy_reaches_nobody_and_is_reached_by_nobody",
        host_without_policy_reaches_nobody_and_is_reached_by_nobody,
    ),
    ("names_of_the_own_realm", names_of_the_own_realm),
    ("ordinary_names_are_forwarded", ordinary_names_are_forwarded),
    ("long_answer_is_truncated_and_whole_over_tcp", long_answer_is_truncated_and_whole_over_tcp),
    ("edns_is_answered", edns_is_answered),
    ("outside_naptr_comes_in_both_forms", outside_naptr_comes_in_both_forms),
    ("outside_sees_no_more_than_the_zone", outside_sees_no_more_than_the_zone),
    ("gateway_is_no_open_resolver", gateway_is_no_open_resolver),
    ("malformed_queries_do_no_harm", malformed_queries_do_no_harm),
    ("silent_upstream_is_servfail", silent_upstream_is_servfail),
];

fn is_proxy(address: &str) -> bool {
    address.starts_with("10.64.") && address.parse::<std::net::Ipv4Addr>().is_ok()
}

fn far_name_is_answered_with_a_proxy_address(lab: &Lab) {
    lab.gateways(&[]);
    for (host, name) in [("a1", "www.b.demo"), ("a2", "www.b.demo"), ("b1", "a1.a.demo")] {
        let address = lab.dig(host, name);
        assert!(is_proxy(&address), "{host} asks for {name}: {address:?}");
    }
}

fn same_pair_keeps_its_proxy_address(lab: &Lab) {
    lab.gateways(&[]);
    let first = lab.dig("a1", "www.b.demo");
    assert_eq!(first, lab.dig("a1", "www.b.demo"));
    assert_ne!(first, lab.dig("a1", "b1.b.demo"), "another name of the same host is another far end");
}

fn names_are_found_in_any_case(lab: &Lab) {
    lab.gateways(&[]);
    assert_eq!(lab.dig("a1", "www.b.demo"), lab.dig("a1", "WwW.b.DEMO"));
}

fn proxy_address_has_the_far_name_in_reverse(lab: &Lab) {
    lab.gateways(&[]);
    let address = lab.dig("a1", "www.b.demo");
    assert_eq!(lab.dig("a1", &format!("-x {address}")), "www.b.demo.");
    // The other end: b1 sees a1 under a proxy address of its own, and may ask whose it is.
    lab.reach("a1", "www.b.demo");
    let far = lab.json(Realm::B, "show bindings").to_string();
    assert!(far.contains("a1.a.demo."), "{far}");
    assert_eq!(lab.dig_status("a1", "-x 10.64.200.200"), "NXDOMAIN");
}

fn far_name_over_tcp(lab: &Lab) {
    lab.gateways(&[]);
    assert_eq!(lab.dig("a1", "+tcp www.b.demo"), lab.dig("a1", "www.b.demo"));
}

fn unknown_far_name_does_not_exist(lab: &Lab) {
    lab.gateways(&[]);
    assert_eq!(lab.dig_status("a1", "nobody.b.demo"), "NXDOMAIN");
}

fn refused_name_does_not_exist_and_the_log_says_why(lab: &Lab) {
    lab.gateways(&[]);
    assert_eq!(lab.dig_status("a1", "b2.b.demo"), "NXDOMAIN");
    assert!(is_proxy(&lab.dig("a2", "b2.b.demo")), "a2 may");
    let logged =
        |realm| lab.log(realm).lines().any(|line| line.contains("b2.b.demo") && line.contains("a1.a.demo"));
    assert!(eventually(|| logged(Realm::A) && logged(Realm::B)), "both gateways log the refusal");
}

fn host_without_policy_reaches_nobody_and_is_reached_by_nobody(lab: &Lab) {
    lab.gateways(&[]);
    // b2 has an inbound policy only.
    assert_eq!(lab.dig_status("b2", "a1.a.demo"), "NXDOMAIN");
    // a2 has an outbound policy only.
    assert_eq!(lab.dig_status("b1", "a2.a.demo"), "NXDOMAIN");
}

fn names_of_the_own_realm(lab: &Lab) {
    lab.gateways(&[]);
    let address = lab.dig("a2", "a1.a.demo");
    assert!(is_proxy(&address) || address == "192.168.10.11", "{address:?}");
    assert_eq!(lab.dig_status("a2", "nobody.a.demo"), "NXDOMAIN");
    assert_eq!(lab.dig_status("a2", "a1.a.demo TXT"), "NOERROR");
    assert_eq!(lab.dig("a2", "a1.a.demo TXT"), "");
}

fn ordinary_names_are_forwarded(lab: &Lab) {
    lab.gateways(&[]);
    assert_eq!(lab.dig("a1", "www.example.demo"), "203.0.113.80");
    assert_eq!(lab.dig("a1", "www.example.demo TXT"), "\"an ordinary name\"");
    assert_eq!(lab.dig("a1", "mail.example.demo MX"), "10 www.example.demo.");
    assert_eq!(lab.dig_status("a1", "nobody.example.demo"), "NXDOMAIN");
    assert_eq!(lab.dig_status("a1", "www.example.demo AAAA"), "NOERROR");
}

fn long_answer_is_truncated_and_whole_over_tcp(lab: &Lab) {
    lab.gateways(&[]);
    let cut = lab.run("a1", "dig +noedns +ignore long.example.demo TXT");
    let flags = cut.expect().lines().find(|line| line.contains("flags:")).unwrap_or_default();
    assert!(flags.contains(" tc"), "{cut}");
    assert_eq!(
        lab.dig("a1", "+noedns long.example.demo TXT").lines().filter(|line| line.contains('"')).count(),
        6
    );
    assert_eq!(lab.dig("a1", "+tcp long.example.demo TXT").lines().count(), 6);
}

fn edns_is_answered(lab: &Lab) {
    lab.gateways(&[]);
    for name in ["www.b.demo", "www.example.demo", "nobody.a.demo"] {
        lab.run("a1", &format!("dig +nocookie +edns=0 {name}")).says("EDNS: version: 0");
        // RFC 6891 §6.1.3: a version that we do not speak is BADVERS.
        lab.run("a1", &format!("dig +nocookie +edns=1 +noednsnegotiation {name}")).says("BADVERS");
        assert!(!lab.run("a1", &format!("dig +noedns {name}")).expect().contains("EDNS:"), "{name}");
    }
}

fn outside_naptr_comes_in_both_forms(lab: &Lab) {
    lab.gateways(&[]);
    for question in ["@198.51.100.2 www.b.demo NAPTR", "@198.51.100.2 +tcp www.b.demo NAPTR"] {
        let records = lab.dig("net", &format!("-b 203.0.113.7 {question}"));
        assert!(
            records.contains("\"CETP+cesid\"") && records.contains("cesid:1=gwb.demo.?ip=198.51.100.2"),
            "{records}"
        );
        assert!(
            records.contains("\"CES+cesid\"") && records.contains("cesid=1:gwb.demo.?cetp_ipv4=198.51.100.2"),
            "{records}"
        );
        assert!(records.contains("proto=tls?port=48001"), "{records}");
    }
}

fn outside_sees_no_more_than_the_zone(lab: &Lab) {
    lab.gateways(&[]);
    let ask = |question: &str| lab.dig_status("net", &format!("@198.51.100.2 {question}"));
    assert_eq!(ask("nobody.b.demo NAPTR"), "NXDOMAIN");
    assert_eq!(ask("www.b.demo MX"), "NOERROR");
    assert!(
        !lab.run("net", "dig @198.51.100.2 www.b.demo A").expect().contains("192.168."),
        "no private address leaves"
    );
    lab.run("net", "dig @198.51.100.2 b.demo SOA").says("gwb.demo.");
    assert_eq!(lab.dig("net", "@198.51.100.2 b.demo NS"), "gwb.demo.");
    // RFC 1035 §4.1.1: an authority says so; it offers no recursion.
    let answer = lab.run("net", "dig @198.51.100.2 www.b.demo NAPTR");
    let flags = answer.expect().lines().find(|line| line.contains("flags:")).unwrap_or_default();
    assert!(flags.contains(" aa") && !flags.contains(" ra"), "{answer}");
}

fn gateway_is_no_open_resolver(lab: &Lab) {
    lab.gateways(&[]);
    let outcomes = |lab: &Lab| {
        lab.metrics(Realm::B).sum("ces_dns_queries_total", &[("side", "outside"), ("outcome", "out_of_zone")])
    };
    let before = outcomes(lab);
    for question in ["@198.51.100.2 www.example.demo", "@198.51.100.2 +tcp www.example.demo"] {
        assert_eq!(lab.dig_status("net", question), "REFUSED", "{question}");
    }
    assert!(eventually(|| outcomes(lab) > before), "counted");
}

fn malformed_queries_do_no_harm(lab: &Lab) {
    lab.gateways(&[]);
    let address = ["192.168.10.1", "198.51.100.2"];
    for (node, server) in [("b1", address[0]), ("net", address[1])] {
        lab.tool(node, "dns.py", server).expect();
        let question = if node == "net" { "www.b.demo NAPTR" } else { "b1.b.demo NAPTR" };
        assert_eq!(lab.dig_status(node, &format!("@{server} {question}")), "NOERROR");
    }
    assert!(lab.is_running(Realm::B));
}

fn silent_upstream_is_servfail(lab: &Lab) {
    lab.gateways(&[]);
    lab.server("named", "stop");
    let far = lab.run("a1", "dig +time=10 +tries=1 silent.b.demo");
    let ordinary = lab.run("a1", "dig +time=10 +tries=1 silent.example.demo");
    lab.server("named", "start");
    far.says("SERVFAIL");
    ordinary.says("SERVFAIL");
    assert!(
        eventually(|| lab.dig_status("a1", "silent.example.demo") == "NXDOMAIN"),
        "it is asked again when it is back"
    );
}
