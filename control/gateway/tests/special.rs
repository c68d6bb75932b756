//! Names that are answered here whoever asks, as a table: name and type in, answer out, and nothing upstream.

mod lab;

use hickory_proto::op::ResponseCode::{self, NXDomain, NoError};
use hickory_proto::rr::RecordType::{self, A, AAAA, ANY, MX, NS, PTR, SOA, SVCB, TXT};
use lab::{H1, Lab};

/// Name, type, code, data, owner of the SOA.
type Row = (&'static str, RecordType, ResponseCode, &'static [&'static str], Option<&'static str>);

fn check(lab: &mut Lab, rows: &[Row]) {
    for (name, qtype, code, data, soa) in rows {
        let reply = lab.ask(0, H1, name, *qtype);
        assert_eq!(reply.code, *code, "{name} {qtype}");
        assert_eq!(reply.data, *data, "{name} {qtype}");
        assert_eq!(reply.soa.as_deref(), *soa, "{name} {qtype}");
    }
    assert!(lab.upstream_queries.is_empty(), "{:?}", lab.upstream_queries);
}

/// RFC 6761 §6.3.
#[test]
fn n8_localhost_is_the_host_itself() {
    check(
        &mut Lab::new(),
        &[
            ("localhost", A, NoError, &["127.0.0.1"], None),
            ("LocalHost", AAAA, NoError, &["::1"], None),
            ("a.b.localhost", A, NoError, &["127.0.0.1"], None),
            ("a.b.localhost", AAAA, NoError, &["::1"], None),
            ("localhost", ANY, NoError, &["127.0.0.1"], None),
            ("localhost", MX, NoError, &[], Some("localhost.")),
            ("a.localhost", TXT, NoError, &[], Some("localhost.")),
            ("localhost", NS, NoError, &["localhost."], None),
            ("1.0.0.127.in-addr.arpa", PTR, NoError, &["localhost."], None),
            ("2.0.0.127.in-addr.arpa", PTR, NXDomain, &[], Some("127.in-addr.arpa.")),
            ("0.0.127.in-addr.arpa", PTR, NoError, &[], Some("127.in-addr.arpa.")),
        ],
    );
}

/// RFC 6303 §3 and §4, RFC 7793, RFC 8375, RFC 9462 §6: zones, not addresses.
#[test]
fn n9_zones_that_every_resolver_serves_for_itself_are_answered_here() {
    check(
        &mut Lab::new(),
        &[
            ("168.192.in-addr.arpa", NS, NoError, &["168.192.in-addr.arpa."], None),
            ("168.192.in-addr.arpa", TXT, NoError, &[], Some("168.192.in-addr.arpa.")),
            ("0.168.192.in-addr.arpa", NS, NoError, &[], Some("168.192.in-addr.arpa.")),
            ("9.168.192.in-addr.arpa", NS, NXDomain, &[], Some("168.192.in-addr.arpa.")),
            ("b._dns-sd._udp.0.10.168.192.in-addr.arpa", PTR, NXDomain, &[], Some("168.192.in-addr.arpa.")),
            ("1.0/25.0.64.10.in-addr.arpa", PTR, NXDomain, &[], Some("10.in-addr.arpa.")),
            ("64.10.in-addr.arpa", SOA, NoError, &[], Some("10.in-addr.arpa.")),
            ("1.1.16.172.in-addr.arpa", PTR, NXDomain, &[], Some("16.172.in-addr.arpa.")),
            ("1.1.64.100.in-addr.arpa", PTR, NXDomain, &[], Some("64.100.in-addr.arpa.")),
            ("1.1.254.169.in-addr.arpa", PTR, NXDomain, &[], Some("254.169.in-addr.arpa.")),
            ("255.255.255.255.in-addr.arpa", PTR, NoError, &[], Some("255.255.255.255.in-addr.arpa.")),
            ("x.d.f.ip6.arpa", PTR, NXDomain, &[], Some("d.f.ip6.arpa.")),
            ("home.arpa", A, NoError, &[], Some("home.arpa.")),
            ("nas.home.arpa", A, NXDomain, &[], Some("home.arpa.")),
            ("_dns.resolver.arpa", SVCB, NoError, &[], Some("resolver.arpa.")),
            ("x.test", A, NXDomain, &[], Some("test.")),
            ("x.invalid", TXT, NXDomain, &[], Some("invalid.")),
            ("x.onion", A, NXDomain, &[], Some("onion.")),
            ("printer.local", AAAA, NXDomain, &[], Some("local.")),
        ],
    );
}

#[test]
fn n9_a_site_may_have_such_zones_asked_upstream() {
    let change = |s: &mut ces_gateway::CoreSettings| {
        s.dns.forward_zones = ["10.in-addr.arpa", "corp.local"].map(ParseName::parse_name).to_vec();
    };
    let mut lab = Lab::with(change, &lab::realm("a.demo"), &lab::realm("b.demo"));
    for (name, is_asked) in [
        ("1.2.3.10.in-addr.arpa", true),
        ("x.corp.local", true),
        ("x.local", false),
        ("1.1.168.192.in-addr.arpa", false),
        // What stands behind a proxy address nobody else knows.
        ("1.0.64.10.in-addr.arpa", false),
    ] {
        lab.upstream_queries.clear();
        lab.ask(0, H1, name, PTR);
        assert_eq!(!lab.upstream_queries.is_empty(), is_asked, "{name}");
    }
}

/// RFC 2308 §3: what an authority says is not there, it says with its SOA.
#[test]
fn n13_addresses_without_names_have_an_soa_and_the_gateway_has_a_name() {
    let mut lab = Lab::new();
    let proxy = lab.address(0, H1, "h2.a.demo").unwrap();
    assert_eq!(proxy.octets(), [10, 64, 0, 1]);
    check(
        &mut lab,
        &[
            ("1.0.64.10.in-addr.arpa", PTR, NoError, &["h2.a.demo."], None),
            ("1.0.64.10.in-addr.arpa", TXT, NoError, &[], Some("10.in-addr.arpa.")),
            ("2.0.64.10.in-addr.arpa", PTR, NXDomain, &[], Some("10.in-addr.arpa.")),
            ("10.0.168.192.in-addr.arpa", PTR, NoError, &["h1.a.demo."], None),
            ("10.0.168.192.in-addr.arpa", A, NoError, &[], Some("168.192.in-addr.arpa.")),
            ("99.0.168.192.in-addr.arpa", PTR, NXDomain, &[], Some("168.192.in-addr.arpa.")),
            ("1.0.168.192.in-addr.arpa", PTR, NoError, &["ns.a.demo."], None),
            ("1.0.168.192.in-addr.arpa", TXT, NoError, &[], Some("168.192.in-addr.arpa.")),
        ],
    );
}

#[test]
fn n13_an_address_that_a_port_gets_later_has_its_name_too() {
    let mut lab = Lab::new();
    let other = std::net::Ipv4Addr::new(192, 168, 0, 2);
    let now = lab.now;
    lab.nodes[0].gateway.set_addresses(vec![other.into()], now);
    lab.settle();
    assert_eq!(lab.ask(0, H1, "2.0.168.192.in-addr.arpa", PTR).target.as_deref(), Some("ns.a.demo."));
    assert_eq!(lab.ask(0, H1, "1.0.168.192.in-addr.arpa", PTR).code, NXDomain);
}

#[test]
fn n13_a_realm_of_public_addresses_has_a_zone_for_them() {
    let text = lab::realm("a.demo").replace("192.168.0.", "198.18.7.");
    let change = |s: &mut ces_gateway::CoreSettings| {
        if s.realm.name == "a" {
            s.realm.networks = vec!["198.18.4.0/22".parse().unwrap()];
        }
    };
    let mut lab = Lab::with(change, &text, &lab::realm("b.demo"));
    let host = std::net::Ipv4Addr::new(198, 18, 7, 10);
    let reply = lab.ask(0, host, "99.7.18.198.in-addr.arpa", PTR);
    assert_eq!((reply.code, reply.soa.as_deref()), (NXDomain, Some("18.198.in-addr.arpa.")));
    let reply = lab.ask(0, host, "10.7.18.198.in-addr.arpa", PTR);
    assert_eq!(reply.target.as_deref(), Some("h1.a.demo."));
}

/// A host that no file names, where such hosts go out: it is told who the gateway is, and nobody else.
#[test]
fn n13_a_nameless_host_is_told_the_gateways_name_and_no_other() {
    let mut lab = Lab::new();
    let platform = ces_gateway::Platform { forwards: true, ..lab::platform(1, 1) };
    let settings = lab.nodes[0].settings.clone();
    lab.nodes[0].gateway = lab::start(&settings, &lab::hosts(&lab::realm("a.demo")), platform, lab.now);
    lab.settle();
    let nameless = std::net::Ipv4Addr::new(192, 168, 0, 200);
    for (name, code, target) in [
        ("1.0.168.192.in-addr.arpa", NoError, Some("ns.a.demo.")),
        ("10.0.168.192.in-addr.arpa", NoError, None),
        ("1.0.64.10.in-addr.arpa", NoError, None),
        ("1.0.0.127.in-addr.arpa", NoError, Some("localhost.")),
    ] {
        let reply = lab.ask(0, nameless, name, PTR);
        assert_eq!((reply.code, reply.target.as_deref()), (code, target), "{name}");
    }
    assert!(lab.upstream_queries.is_empty());
}

/// RFC 4035 §3.1.4.1: to a host, which is offered recursion, DS of our zone comes from where it stands.
#[test]
fn n10_ds_of_the_own_zone_is_asked_of_its_parent() {
    let mut lab = Lab::new();
    lab.ask(0, H1, "a.demo", RecordType::DS);
    assert_eq!(lab.upstream_queries.last().unwrap(), &("a.demo.".to_owned(), RecordType::DS));
    lab.upstream_queries.clear();
    // So does that of the zones that every resolver serves for itself: their parents say that they are not signed.
    for name in ["10.in-addr.arpa", "168.192.in-addr.arpa", "d.f.ip6.arpa", "home.arpa"] {
        lab.upstream_queries.clear();
        lab.ask(0, H1, name, RecordType::DS);
        assert_eq!(lab.upstream_queries, [(format!("{name}."), RecordType::DS)]);
    }
    lab.upstream_queries.clear();
    // Below them is no other zone, and those at the top are in nobody's.
    for name in ["64.10.in-addr.arpa", "nas.home.arpa", "localhost", "x.onion", "onion"] {
        lab.ask(0, H1, name, RecordType::DS);
        assert!(lab.upstream_queries.is_empty(), "{name}: {:?}", lab.upstream_queries);
    }
    let reply = lab.ask(0, H1, "a.demo", RecordType::DNSKEY);
    assert_eq!((reply.code, reply.soa.as_deref()), (NoError, Some("a.demo.")));
    assert!(lab.upstream_queries.is_empty());
}

trait ParseName {
    fn parse_name(self) -> ces_gateway::names::Name;
}

impl ParseName for &str {
    fn parse_name(self) -> ces_gateway::names::Name {
        ces_gateway::names::Name::parse(self).unwrap()
    }
}
