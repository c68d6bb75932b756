//! Names whose upstream misbehaves on purpose (tests/tools/odd.py), asked for by real stub resolvers.

use crate::Case;
use ces_tests::lab::{Edit, Lab, Realm};

pub(crate) const CASES: &[Case] = &[
    ("n1_servers_without_naptr_cost_no_name_its_address", n1_servers_without_naptr_cost_no_name_its_address),
    ("n2_no_hint_leads_around_the_tunnel", n2_no_hint_leads_around_the_tunnel),
    ("n3_addresses_of_this_side_do_not_pass", n3_addresses_of_this_side_do_not_pass),
    ("n4_a_server_that_does_not_keep_the_case_is_quick", n4_a_server_that_does_not_keep_the_case_is_quick),
    ("n6_the_second_gateway_answers", n6_the_second_gateway_answers),
    ("n7_forged_answers_are_not_believed", n7_forged_answers_are_not_believed),
    ("n9_what_means_nothing_outside_is_not_asked", n9_what_means_nothing_outside_is_not_asked),
    ("n15_mistakes_are_counted", n15_mistakes_are_counted),
    ("n16_answers_that_are_not_whole_are_quick", n16_answers_that_are_not_whole_are_quick),
];

/// Gateway A asks the odd upstream.
const ODD: &[Edit] = &[(Realm::A, "upstreams = [\"203.0.113.53\"]", "upstreams = [\"203.0.113.54\"]")];

const LEGACY: &str = "203.0.113.80";

/// The lab with the odd upstream in it, for as long as the case lasts.
struct Odd<'a>(&'a Lab);

impl<'a> Odd<'a> {
    fn start(lab: &'a Lab) -> Self {
        lab.server("odd", "start");
        let odd = Self(lab);
        lab.gateways(ODD);
        odd
    }

    /// How long a question takes, in milliseconds, as dig has it.
    fn takes_ms(&self, question: &str) -> (String, u64) {
        let answer = self.0.run("a1", &format!("dig +time=5 +tries=1 {question}"));
        let text = answer.expect();
        let ms = text.split("Query time: ").nth(1).and_then(|rest| rest.split(' ').next());
        let ms = ms.and_then(|ms| ms.parse().ok()).unwrap_or_else(|| panic!("no time\n{answer}"));
        (text.to_owned(), ms)
    }
}

impl Drop for Odd<'_> {
    fn drop(&mut self) {
        self.0.server("odd", "stop");
    }
}

fn n1_servers_without_naptr_cost_no_name_its_address(lab: &Lab) {
    let _odd = Odd::start(lab);
    for how in ["servfail", "notimp", "formerr", "refused", "slow700", "slow1600", "silent"] {
        let name = format!("{how}-naptr.odd.demo");
        lab.run("a1", &format!("getent ahostsv4 {name}")).says(LEGACY);
        assert_eq!(lab.dig("a2", &name), LEGACY, "{name}");
    }
}

fn n2_no_hint_leads_around_the_tunnel(lab: &Lab) {
    let _odd = Odd::start(lab);
    for question in ["https-hint.odd.demo HTTPS", "hint-of-other.odd.demo HTTPS", "srv-extra.odd.demo SRV"] {
        let answer = lab.run("a1", &format!("dig +time=5 {question}"));
        answer.says("NOERROR");
        assert!(!answer.expect().contains(LEGACY), "{answer}");
    }
    assert!(lab.dig("a1", "https-hint.odd.demo").contains("10.64."));
}

fn n3_addresses_of_this_side_do_not_pass(lab: &Lab) {
    let _odd = Odd::start(lab);
    let filtered = || lab.metrics(Realm::A).sum("ces_dns_resolver_total", &[("event", "rebinding_filtered")]);
    let before = filtered();
    for question in ["inside", "proxy", "gateway", "loopback"].map(|label| format!("{label}.odd.demo A")) {
        assert_eq!(lab.dig("a1", &question), "", "{question}");
    }
    assert_eq!(lab.dig("a1", "mapped.odd.demo AAAA"), "");
    assert!(filtered() >= before + 5.0, "counted");
    lab.ctl(Realm::A, "show dns").says("rebinding_filtered");
}

fn n4_a_server_that_does_not_keep_the_case_is_quick(lab: &Lab) {
    let odd = Odd::start(lab);
    for label in ["lowercase", "lowercase-udp"] {
        for _ in 0..4 {
            let (text, ms) = odd.takes_ms(&format!("{label}.odd.demo"));
            assert!(text.contains(LEGACY) && ms < 700, "{ms} ms\n{text}");
            lab.ctl(Realm::A, "flush").expect();
        }
    }
    lab.ctl(Realm::A, "show dns").says("does not keep the case");
}

fn n6_the_second_gateway_answers(lab: &Lab) {
    let _odd = Odd::start(lab);
    assert!(lab.dig("a1", "two-gateways.odd.demo").contains("10.64."));
}

fn n7_forged_answers_are_not_believed(lab: &Lab) {
    let _odd = Odd::start(lab);
    for label in ["no-question", "other-question", "other-port"] {
        assert_eq!(lab.dig("a1", &format!("{label}.odd.demo")), LEGACY, "{label}");
    }
}

fn n9_what_means_nothing_outside_is_not_asked(lab: &Lab) {
    let _odd = Odd::start(lab);
    let log = || std::fs::read_to_string(lab.directory().join("log/odd.log")).unwrap_or_default();
    let before = log().len();
    for question in [
        "localhost A",
        "168.192.in-addr.arpa NS",
        "b._dns-sd._udp.0.10.168.192.in-addr.arpa PTR",
        "nas.home.arpa A",
        "_dns.resolver.arpa SVCB",
        "-x 192.168.10.1",
    ] {
        lab.dig_status("a1", question);
    }
    assert_eq!(&log()[before..], "");
    assert_eq!(lab.dig("a1", "localhost"), "127.0.0.1");
    assert_eq!(lab.dig("a1", "-x 192.168.10.1"), "gwa.demo.");
}

fn n15_mistakes_are_counted(lab: &Lab) {
    let _odd = Odd::start(lab);
    let count = |reason| lab.metrics(Realm::A).sum("ces_naptr_faults_total", &[("reason", reason)]);
    let before = (count("port"), count("empty_field"));
    assert_eq!(lab.dig("a1", "port0.odd.demo"), LEGACY);
    assert!(lab.dig("a1", "empty-field.odd.demo").contains("10.64."));
    assert!(lab.dig("a2", "escaped.odd.demo").contains("10.64."));
    assert!(count("port") > before.0 && count("empty_field") > before.1);
    assert!(lab.log(Realm::A).contains("CES record with a mistake"));
}

fn n16_answers_that_are_not_whole_are_quick(lab: &Lab) {
    let odd = Odd::start(lab);
    for label in ["trailing", "broken-additional", "broken-answer"] {
        let (text, ms) = odd.takes_ms(&format!("{label}.odd.demo"));
        assert!(text.contains(LEGACY) && ms < 700, "{label}: {ms} ms\n{text}");
    }
}
