//! Names whose upstream misbehaves on purpose (tests/tools/odd.py), asked for by real stub resolvers.

use crate::Case;
use ces_tests::lab::{Edit, Lab, Realm};

pub(crate) const CASES: &[Case] = &[
    ("n1_servers_without_naptr_cost_no_name_its_address", n1_servers_without_naptr_cost_no_name_its_address),
    ("n2_no_hint_leads_around_the_tunnel", n2_no_hint_leads_around_the_tunnel),
    ("n3_addresses_of_this_side_do_not_pass", n3_addresses_of_this_side_do_not_pass),
    ("n3_a_host_behind_is_reached_by_name_from_inside", n3_a_host_behind_is_reached_by_name_from_inside),
    ("n4_a_server_that_does_not_keep_the_case_is_quick", n4_a_server_that_does_not_keep_the_case_is_quick),
    ("n6_the_second_gateway_answers", n6_the_second_gateway_answers),
    ("n7_forged_answers_are_not_believed", n7_forged_answers_are_not_believed),
    ("n7_a_resolver_may_be_inside", n7_a_resolver_may_be_inside),
    ("n9_what_means_nothing_outside_is_not_asked", n9_what_means_nothing_outside_is_not_asked),
    ("n12_what_is_refused_has_no_type", n12_what_is_refused_has_no_type),
    ("n15_mistakes_are_counted", n15_mistakes_are_counted),
    ("n16_answers_that_are_not_whole_are_quick", n16_answers_that_are_not_whole_are_quick),
    ("n17_who_reads_late_gets_all_answers", n17_who_reads_late_gets_all_answers),
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
    // Whose server says that it stands for another name, and nothing more, leads to that.
    assert!(lab.dig("a1", "bare-alias.odd.demo").contains("10.64."));
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
    for question in
        ["inside", "proxy", "gateway", "outside", "loopback"].map(|label| format!("{label}.odd.demo A"))
    {
        assert_eq!(lab.dig("a1", &question), "", "{question}");
    }
    assert_eq!(lab.dig("a1", "mapped.odd.demo AAAA"), "");
    assert!(filtered() >= before + 6.0, "counted");
    lab.ctl(Realm::A, "show dns").says("rebinding_filtered");
}

/// Port 8080 of the gateway's outside address is a2's, for whoever has its name.
const BEHIND: &[Edit] = &[
    ODD[0],
    (
        Realm::A,
        "[tls]\n",
        "[nat]\naddresses = [\"192.0.2.2\"]\n\n[[nat.static]]\nexternal = \"192.0.2.2\"\n\
         inside = \"192.168.10.12\"\nprotocol = \"tcp\"\nport = 8080\ninside_port = 80\n\n[tls]\n",
    ),
];

fn n3_a_host_behind_is_reached_by_name_from_inside(lab: &Lab) {
    let _odd = Odd::start(lab);
    lab.gateways(BEHIND);
    let directory = lab.directory().join("www");
    let line = format!("python3 -m http.server --bind 192.168.10.12 --directory {} 80", directory.display());
    let server = lab.serve("a2", "192.168.10.12:80", &line);
    for host in ["a1", "a2"] {
        lab.run(host, "curl -sS -m 20 http://outside.odd.demo:8080/").says("Hello from b1");
        // Of the gateway itself nothing is to be had there from inside.
        let other = lab.run(host, "curl -sS -m 5 -k https://outside.odd.demo:48001/");
        assert!(!other.ok(), "{other}");
    }
    assert_eq!(lab.dig("a1", "gateway.odd.demo"), "");
    server.end();
}

fn n4_a_server_that_does_not_keep_the_case_is_quick(lab: &Lab) {
    let odd = Odd::start(lab);
    for label in ["lowercase", "lowercase-udp", "uppercase-udp"] {
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

/// A resolver of the realm's own, which answers over UDP and TCP.
fn n7_a_resolver_may_be_inside(lab: &Lab) {
    let odd = lab.root().join("tests/tools/odd.py");
    let line = format!("python3 {} 192.168.10.12 203.0.113.53", odd.display());
    let resolver = lab.serve("a2", "192.168.10.12:53", &line);
    lab.gateways(&[(Realm::A, "upstreams = [\"203.0.113.53\"]", "upstreams = [\"192.168.10.12\"]")]);
    assert_eq!(lab.dig("a1", "plain.odd.demo"), LEGACY);
    assert_eq!(lab.dig("a1", "lowercase.odd.demo"), LEGACY);
    assert_eq!(lab.dig("a1", "big.odd.demo TXT").lines().count(), 300);
    lab.gateways(&[]);
    resolver.end();
}

/// A name that the far gateway knows nothing of is not there for any type.
fn n12_what_is_refused_has_no_type(lab: &Lab) {
    let _odd = Odd::start(lab);
    for qtype in ["A", "TXT", "AAAA", "HTTPS", "A"] {
        assert_eq!(lab.dig_status("a1", &format!("unserved.odd.demo {qtype}")), "NXDOMAIN", "{qtype}");
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

/// Twenty questions in one segment, whose answers have 60 KB each.
const LATE: &str = "python3 -c \"import socket, struct, time
question = b'\\x03big\\x03odd\\x04demo\\x00' + struct.pack('!HH', 16, 1)
query = lambda n: struct.pack('!HHHHHH', n, 0x100, 1, 0, 0, 0) + question
client = socket.create_connection(('192.168.10.1', 53), 5)
client.settimeout(20)
client.sendall(b''.join(struct.pack('!H', len(query(n))) + query(n) for n in range(20)))
time.sleep(2)
stream = client.makefile('rb')
answers = [stream.read(struct.unpack('!H', stream.read(2))[0]) for _ in range(20)]
print(sum(len(answer) > 60000 for answer in answers), len({answer[:2] for answer in answers}))\"";

fn n17_who_reads_late_gets_all_answers(lab: &Lab) {
    let _odd = Odd::start(lab);
    assert_eq!(lab.run("a1", LATE).expect().trim(), "20 20");
}
