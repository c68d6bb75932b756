//! What the gateway answers to the outside, and that it answers nothing else.

use std::sync::Arc;

use ces_dns::message::{self, Query, Transport};
use ces_dns::naptr::{self, Announcement, Defaults, Endpoint, Forms, Proto, Published};
use ces_dns::outcome::QueryOutcome;
use ces_dns::zone::{Lookup, NameServer, Names, Standing, ZoneError, ZoneSettings, Zones};
use ces_dns::{Name, RData, RecordType, ResponseCode};
use hickory_proto::op::{Message, MessageType, OpCode};

struct Registry(Vec<&'static str>);

impl Names for Registry {
    fn standing(&self, name: &Name) -> Standing {
        let served = |text: &&str| ces_dns::name(text).unwrap();
        if self.0.iter().any(|text| served(text) == *name) {
            Standing::Served
        } else if self.0.iter().any(|text| name.zone_of(&served(text))) {
            Standing::Above
        } else {
            Standing::Unknown
        }
    }
}

fn settings(origin: &str) -> ZoneSettings {
    ZoneSettings {
        origin: origin.into(),
        nameservers: vec![
            NameServer {
                name: format!("ns.{origin}"),
                addresses: vec!["192.0.2.53".parse().unwrap(), "2001:db8::53".parse().unwrap()],
            },
            NameServer {
                name: "ns.elsewhere.example".into(),
                addresses: vec!["192.0.2.99".parse().unwrap()],
            },
        ],
        mailbox: None,
        serial: 7,
        negative_ttl_s: 30,
        ttl_s: 3600,
        ces_ttl_s: 30,
    }
}

fn announcement() -> Announcement {
    let endpoint = Endpoint {
        addr: "192.0.2.1".parse().unwrap(),
        port: 49001,
        proto: Proto::Tls,
        alias: Some(Arc::from("IXP")),
        order: 10,
        preference: 20,
    };
    Announcement { ces_id: "cesb.demo.".into(), endpoints: vec![endpoint], forms: Forms::Both }
}

fn zones() -> Zones {
    Zones::new(&[settings("b.demo"), settings("sub.b.demo.")], announcement().emit()).unwrap()
}

fn query(name: &str, qtype: RecordType) -> Query {
    let mut message = Message::new(9, MessageType::Query, OpCode::Query);
    message.add_query(hickory_proto::op::Query::query(ces_dns::name(name).unwrap(), qtype));
    message::parse(&message.to_vec().unwrap(), Transport::Udp).unwrap()
}

/// The answer as it comes off the wire.
fn ask(name: &str, qtype: RecordType) -> Option<(QueryOutcome, Message)> {
    let query = query(name, qtype);
    let mut registry = Registry(vec!["www.b.demo", "deep.host.b.demo", "b.demo"]);
    match zones().lookup(&query, &mut registry) {
        Lookup::Answer(answer, outcome) => Some((outcome, Message::from_vec(&answer.emit(&query)).unwrap())),
        Lookup::Lacking(_) | Lookup::Truncate | Lookup::OutOfZone => None,
    }
}

#[test]
fn a_served_name_answers_naptr_in_both_forms() {
    for name in ["www.b.demo", "wWw.B.DEMO", "deep.host.b.demo"] {
        let (outcome, reply) = ask(name, RecordType::NAPTR).unwrap();
        assert_eq!(outcome, QueryOutcome::Authoritative);
        assert!(reply.metadata.authoritative && !reply.metadata.recursion_available);
        assert_eq!(reply.answers.len(), 2);
        assert!(reply.answers.iter().all(|r| r.ttl == 30 && r.name == ces_dns::name(name).unwrap()));
        let found = naptr::discover(&reply.answers, Defaults { port: 1, proto: Proto::Tcp });
        assert_eq!(found.services[0].endpoints, announcement().endpoints);
    }
}

#[test]
fn negative_answers_carry_the_soa_with_the_negative_ttl() {
    for (name, qtype, outcome, code) in [
        ("www.b.demo", RecordType::A, QueryOutcome::NoData, ResponseCode::NoError),
        ("www.b.demo", RecordType::TXT, QueryOutcome::NoData, ResponseCode::NoError),
        ("host.b.demo", RecordType::NAPTR, QueryOutcome::NoData, ResponseCode::NoError),
        ("b.demo", RecordType::MX, QueryOutcome::NoData, ResponseCode::NoError),
        ("ns.b.demo", RecordType::NAPTR, QueryOutcome::NoData, ResponseCode::NoError),
        ("nobody.b.demo", RecordType::A, QueryOutcome::NxDomain, ResponseCode::NXDomain),
        ("below.www.b.demo", RecordType::NAPTR, QueryOutcome::NxDomain, ResponseCode::NXDomain),
    ] {
        let (found, reply) = ask(name, qtype).unwrap();
        assert_eq!((found, reply.metadata.response_code), (outcome, code), "{name} {qtype}");
        assert!(reply.answers.is_empty() && reply.metadata.authoritative);
        assert_eq!(reply.authorities.len(), 1);
        assert_eq!(reply.authorities[0].ttl, 30);
        let RData::SOA(soa) = &reply.authorities[0].data else { panic!("{name}: no SOA") };
        assert_eq!((soa.serial, soa.minimum), (7, 30));
        assert_eq!(soa.rname.to_ascii(), "hostmaster.b.demo.");
    }
}

#[test]
fn the_apex_has_soa_and_ns_and_the_name_server_its_addresses() {
    let (_, reply) = ask("B.demo", RecordType::SOA).unwrap();
    assert_eq!((reply.answers.len(), reply.answers[0].ttl), (1, 3600));
    let (_, reply) = ask("b.demo", RecordType::NS).unwrap();
    assert_eq!((reply.answers.len(), reply.additionals.len()), (2, 2), "no glue for a name elsewhere");
    let (_, reply) = ask("ns.b.demo", RecordType::A).unwrap();
    assert_eq!(reply.answers[0].data.ip_addr(), Some("192.0.2.53".parse().unwrap()));
    let (_, reply) = ask("ns.b.demo", RecordType::AAAA).unwrap();
    assert_eq!(reply.answers[0].data.ip_addr(), Some("2001:db8::53".parse().unwrap()));
    let (_, reply) = ask("b.demo", RecordType::NAPTR).unwrap();
    assert_eq!(reply.answers.len(), 2, "the apex may be served as well");
    let (_, reply) = ask("b.demo", RecordType::ANY).unwrap();
    assert_eq!(reply.answers.len(), 3, "SOA and NAPTR");
}

#[test]
fn the_longest_zone_answers() {
    let (_, reply) = ask("x.sub.b.demo", RecordType::A).unwrap();
    assert_eq!(reply.authorities[0].name.to_ascii(), "sub.b.demo.");
}

/// RFC 4035 §3.1.4.1: DS stands at the parent of a zone, where that is ours; else the child has none to show.
#[test]
fn n10_ds_comes_from_the_parent() {
    for (name, soa_of, is_for_parent) in [
        ("sub.b.demo", "b.demo.", false),
        ("SUB.b.demo", "b.demo.", false),
        ("b.demo", "b.demo.", true),
        ("www.b.demo", "b.demo.", false),
        ("x.sub.b.demo", "sub.b.demo.", false),
    ] {
        let (_, reply) = ask(name, RecordType::DS).unwrap();
        let exists = name != "x.sub.b.demo";
        let code = if exists { ResponseCode::NoError } else { ResponseCode::NXDomain };
        assert_eq!((reply.metadata.response_code, reply.answers.len()), (code, 0), "{name}");
        assert_eq!(reply.authorities[0].name.to_ascii(), soa_of, "{name}");
        assert_eq!(
            zones().is_for_parent(&ces_dns::name(name).unwrap(), RecordType::DS),
            is_for_parent,
            "{name}"
        );
    }
    assert!(!zones().is_for_parent(&ces_dns::name("b.demo").unwrap(), RecordType::NS));
}

/// The case that an asker drew must not stay in the caches of others.
#[test]
fn c16_records_are_owned_in_lower_case() {
    let long = format!("{0}.{0}.{0}.B.demo", "A".repeat(60));
    for (name, expected) in [("wWw.B.DEMO", "www.b.demo."), ("deep.HOST.b.demo", "deep.host.b.demo.")] {
        let (_, reply) = ask(name, RecordType::NAPTR).unwrap();
        assert!(reply.answers.iter().all(|record| record.name.to_ascii() == expected), "{reply:?}");
        assert_eq!(
            reply.queries[0].name().to_ascii(),
            format!("{name}."),
            "the question is echoed as it came"
        );
    }
    let asked = ces_dns::name(&long).unwrap();
    assert!(Published::owner(&asked).eq_case(&asked), "there is no room to write it twice");
}

#[test]
fn outside_of_the_zones_there_is_no_answer() {
    for name in [".", "demo", "xb.demo", "www.a.demo", "b.demo.example", "1.2.0.192.in-addr.arpa"] {
        assert_eq!(ask(name, RecordType::NAPTR), None, "{name}");
        assert!(!zones().contains(&ces_dns::name(name).unwrap()));
    }
    assert!(zones().soa(&ces_dns::name("a.b.demo").unwrap()).is_some());
}

#[test]
fn what_cannot_be_served_is_refused_with_its_name() {
    let ces = || announcement().emit();
    let bad = |change: fn(&mut ZoneSettings)| {
        let mut settings = settings("b.demo");
        change(&mut settings);
        Zones::new(&[settings], Published::default()).unwrap_err().to_string()
    };
    assert_eq!(bad(|s| s.origin = "b..demo".into()), "\"b..demo\" is not a domain name");
    assert_eq!(bad(|s| s.nameservers.clear()), "zone b.demo has no name server");
    assert_eq!(bad(|s| s.nameservers[0].name = "a b".into()), "\"a b\" is not a domain name");
    assert_eq!(bad(|s| s.mailbox = Some("nobody".into())), "\"nobody\" is not a domain name");
    let twice = Zones::new(&[settings("b.demo"), settings("B.DEMO.")], ces()).unwrap_err();
    assert_eq!(twice, ZoneError::Twice("B.DEMO.".into()));
    let mut own = announcement();
    own.ces_id = "not a name".into();
    let error = Zones::new(&[settings("b.demo")], own.emit()).unwrap_err().to_string();
    assert!(error.ends_with(": identity"), "{error}");
}

#[test]
fn a_mailbox_may_have_dots() {
    let mut with = settings("b.demo");
    with.mailbox = Some("first.last@b.demo".into());
    let zones = Zones::new(&[with], Published::default()).unwrap();
    let RData::SOA(soa) = zones.soa(&ces_dns::name("b.demo").unwrap()).unwrap().data else { panic!() };
    assert_eq!(soa.rname.iter().next(), Some(&b"first.last"[..]));
}
