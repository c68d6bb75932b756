//! CES records: both forms out and in, the recorded exchange of the reference, and what is not taken.

use std::net::IpAddr;
use std::sync::Arc;

use ces_dns::naptr::{self, ACCEPTED, Announcement, Defaults, Endpoint, NaptrCounters, NaptrFault, Proto};
use ces_dns::packet::{Packet, TtlBounds};
use ces_dns::{Name, RData, Record};
use hickory_proto::rr::rdata::NAPTR;
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, BinEncodable};
use proptest::prelude::*;

const DEFAULTS: Defaults = Defaults { port: 48001, proto: Proto::Tls };

fn record(order: u16, preference: u16, service: &str, regexp: &str) -> Record {
    let naptr = NAPTR::new(
        order,
        preference,
        (*b"u").into(),
        service.as_bytes().into(),
        regexp.as_bytes().into(),
        Name::root(),
    );
    Record::from_rdata(ces_dns::name("www.b.demo").unwrap(), 30, RData::NAPTR(naptr))
}

fn fault(service: &str, regexp: &str) -> NaptrFault {
    let discovery = naptr::discover(&[record(10, 10, service, regexp)], DEFAULTS);
    assert!(discovery.services.is_empty(), "{regexp}");
    discovery.faults[0]
}

fn endpoint(
    addr: &str,
    port: u16,
    proto: Proto,
    alias: Option<&str>,
    order: u16,
    preference: u16,
) -> Endpoint {
    Endpoint { addr: addr.parse().unwrap(), port, proto, alias: alias.map(Arc::from), order, preference }
}

#[test]
fn the_tutorials_example_is_understood() {
    let text = "!^(.*)$!cesid:1=cesb.ces.?ip=192.0.2.10?alias=IXP!";
    let found = naptr::discover(&[record(10, 6, "CETP+cesid", text)], DEFAULTS);
    assert_eq!(found.faults, []);
    assert_eq!(&*found.services[0].ces_id, "cesb.ces.");
    assert_eq!(found.services[0].endpoints, [endpoint("192.0.2.10", 48001, Proto::Tls, Some("IXP"), 10, 6)]);
}

#[test]
fn the_references_example_is_understood() {
    let text = "!^.*$!cesid=1:cesb.ces.?cetp_ipv4=192.0.2.10?proto=tcp?port=49001!";
    let found = naptr::discover(&[record(10, 6, "ces+CESID", text)], DEFAULTS);
    assert_eq!(found.faults, []);
    assert_eq!(found.services[0].endpoints, [endpoint("192.0.2.10", 49001, Proto::Tcp, None, 10, 6)]);
}

#[test]
fn an_ipv6_locator_is_understood_in_both_forms() {
    for (service, text) in [
        ("CETP+cesid", "!^(.*)$!cesid:1=b.ces?ip=2001:db8::10!"),
        ("CES+cesid", "!^.*$!cesid=1:b.ces?cetp_ipv6=2001:db8::10!"),
    ] {
        let found = naptr::discover(&[record(1, 1, service, text)], DEFAULTS);
        assert_eq!(found.services[0].endpoints[0].addr, "2001:db8::10".parse::<IpAddr>().unwrap(), "{text}");
    }
}

#[test]
fn the_recorded_answer_of_the_reference_is_read_and_sorted() {
    let trace: serde_json::Value = serde_json::from_str(include_str!("00_naptr.json")).unwrap();
    let hex = |key: &str| -> Vec<u8> {
        let text = trace[key].as_str().unwrap();
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    let query = ces_dns::message::parse(&hex("query_hex"), ces_dns::message::Transport::Udp).unwrap();
    assert_eq!(ces_dns::fqdn(&query.name), "srv1.hostb1.gwb.demo.");
    let bounds = TtlBounds { min_s: 0, max_s: 86_400, max_negative_s: 3_600 };
    let packet = Packet::parse(&hex("response_hex"), bounds).unwrap();
    let found = naptr::discover(&packet.answers(), DEFAULTS);
    assert_eq!(found.faults, []);
    assert_eq!(found.services.len(), 1);
    assert_eq!(&*found.services[0].ces_id, "gwb.demo.");
    let ports: Vec<_> = found.services[0].endpoints.iter().map(|e| (e.order, e.preference, e.port)).collect();
    assert_eq!(ports, [(100, 10, 49001), (100, 20, 49003), (300, 10, 49002)]);
}

#[test]
fn what_is_published_is_understood_as_it_was_meant() {
    let own = Announcement {
        ces_id: "cesa.demo.".into(),
        endpoints: vec![
            endpoint("192.0.2.1", 49001, Proto::Tls, Some("IXP"), 10, 10),
            endpoint("2001:db8::1", 49002, Proto::Tcp, None, 10, 20),
            endpoint("198.51.100.1", 49001, Proto::Tls, Some("transit"), 20, 10),
        ],
    };
    let records = own.emit();
    assert_eq!(records.len(), 6, "both forms");
    let wrap = |n: NAPTR| Record::from_rdata(ces_dns::name("h.a.demo").unwrap(), 30, RData::NAPTR(n));
    // In whichever order they come.
    for reverse in [false, true] {
        let mut answer: Vec<_> = records.iter().cloned().map(wrap).collect();
        if reverse {
            answer.reverse();
        }
        let found = naptr::discover(&answer, Defaults { port: 1, proto: Proto::Tcp });
        assert_eq!(found.faults, []);
        assert_eq!(found.services.len(), 1);
        assert_eq!(found.services[0].ces_id, own.ces_id);
        assert_eq!(found.services[0].endpoints, own.endpoints);
    }
}

#[test]
fn at_most_five_endpoints_are_taken_the_best_ones() {
    let records: Vec<_> = (0..8)
        .map(|n| record(8 - n, 1, "CETP+cesid", &format!("!^(.*)$!cesid:1=b.ces.?ip=192.0.2.{n}!")))
        .collect();
    let found = naptr::discover(&records, DEFAULTS);
    let endpoints = &found.services[0].endpoints;
    assert_eq!(endpoints.len(), ACCEPTED);
    assert!(endpoints.iter().map(|e| e.order).eq(1..=5));
    assert_eq!(found.faults, [NaptrFault::Excess; 3]);
    let mut counters = NaptrCounters::default();
    counters.count(&found);
    assert_eq!((counters.value(NaptrFault::Excess), counters.value(NaptrFault::Port)), (3, 0));

    let flood: Vec<_> = std::iter::repeat_n(&records, 100).flatten().cloned().collect();
    let found = naptr::discover(&flood, DEFAULTS);
    assert_eq!(found.services[0].endpoints.len(), ACCEPTED);
}

#[test]
fn several_gateways_come_in_order() {
    let records = [
        record(20, 1, "CETP+cesid", "!^(.*)$!cesid:1=far.ces.?ip=192.0.2.1!"),
        record(10, 2, "CETP+cesid", "!^(.*)$!cesid:1=near.ces.?ip=192.0.2.2!"),
        record(10, 1, "SIP+D2U", "!^.*$!sip:x!"),
        record(30, 1, "CETP+cesid", "!^(.*)$!cesid:1=NEAR.ces.?ip=192.0.2.3!"),
    ];
    let found = naptr::discover(&records, DEFAULTS);
    let ids: Vec<_> = found.services.iter().map(|s| (&*s.ces_id, s.endpoints.len())).collect();
    assert_eq!(ids, [("near.ces.", 2), ("far.ces.", 1)]);
    assert_eq!(found.faults, [NaptrFault::OtherService]);
}

#[test]
fn each_wrong_form_has_its_reason() {
    let t = |text: &str| fault("CETP+cesid", text);
    let r = |text: &str| fault("CES+cesid", text);
    assert_eq!(fault("E2U+sip", "!^.*$!sip:a!"), NaptrFault::OtherService);
    for text in [
        "",
        "!",
        "!!",
        "!^.*$!",
        "!^.*$!cesid:1=b?ip=192.0.2.1",
        "x^.*$xcesid:1=b?ip=192.0.2.1x",
        "!!cesid:1=b!",
        "!^.*$!cesid:1=b?ip=192.0.2.1!x",
        "!^.*$!cesid:1=b!ip=192.0.2.1!",
        "?^.*$?cesid:1=b?ip=192.0.2.1?",
    ] {
        assert_eq!(t(text), NaptrFault::Delimiters, "{text}");
    }
    assert_eq!(t("!^.*$!cesid:1=b?ip!"), NaptrFault::Field);
    assert_eq!(t("!^.*$!cesid:1=b?ip=192.0.2.1=2!"), NaptrFault::Field);
    assert_eq!(t("!^.*$!!"), NaptrFault::Field);
    assert_eq!(t("!^.*$!cesid:1=b?ip=192.0.2.1?ip=192.0.2.2!"), NaptrFault::RepeatedField);
    assert_eq!(r("!^.*$!cesid=1:b?cetp_ipv4=192.0.2.1?cetp_ipv6=::1!"), NaptrFault::RepeatedField);
    assert_eq!(t("!^.*$!ip=192.0.2.1!"), NaptrFault::NoIdentity);
    assert_eq!(t("!^.*$!cesid:2=b?ip=192.0.2.1!"), NaptrFault::Identity);
    assert_eq!(r("!^.*$!cesid=2:b?cetp_ipv4=192.0.2.1!"), NaptrFault::Identity);
    for name in ["", ".", "a..b", "a b", "a/b", &"a".repeat(64)] {
        assert_eq!(t(&format!("!^.*$!cesid:1={name}?ip=192.0.2.1!")), NaptrFault::Identity, "{name}");
    }
    assert_eq!(t("!^.*$!cesid:1=b!"), NaptrFault::NoAddress);
    assert_eq!(r("!^.*$!cesid=1:b?ip=192.0.2.1!"), NaptrFault::NoAddress, "the other form's key");
    for ip in ["", "1.2.3", "0.0.0.0", "255.255.255.255", "224.0.0.1", "::", "ff02::1", "1.2.3.4:5"] {
        assert_eq!(t(&format!("!^.*$!cesid:1=b?ip={ip}!")), NaptrFault::Address, "{ip}");
    }
    assert_eq!(r("!^.*$!cesid=1:b?cetp_ipv4=::1!"), NaptrFault::Address);
    assert_eq!(r("!^.*$!cesid=1:b?cetp_ipv6=192.0.2.1!"), NaptrFault::Address);
    assert_eq!(r("!^.*$!cesid=1:b?cetp_ipv4=192.0.2.1?proto=udp!"), NaptrFault::Protocol);
    for port in ["", "0", "65536", "-1", "+5", "x"] {
        assert_eq!(
            r(&format!("!^.*$!cesid=1:b?cetp_ipv4=192.0.2.1?port={port}!")),
            NaptrFault::Port,
            "{port}"
        );
    }
    assert_eq!(t("!^.*$!cesid:1=b?ip=192.0.2.1?alias=!"), NaptrFault::Alias);
    assert_eq!(t(&format!("!^.*$!cesid:1=b?ip=192.0.2.1?alias={}!", "x".repeat(33))), NaptrFault::Alias);
    let mut wrong = record(1, 1, "CETP+cesid", "!^.*$!cesid:1=b?ip=192.0.2.1!");
    if let RData::NAPTR(naptr) = &mut wrong.data {
        naptr.flags = (*b"S").into();
    }
    assert_eq!(naptr::discover(&[wrong], DEFAULTS).faults, [NaptrFault::NotTerminal]);
}

proptest! {
    #[test]
    fn arbitrary_expressions_never_panic(text in proptest::collection::vec(any::<u8>(), 0..255), form: bool) {
        let service = if form { "CETP+cesid" } else { "CES+cesid" };
        let naptr = NAPTR::new(1, 1, (*b"U").into(), service.as_bytes().into(), text.into(), Name::root());
        let _ = naptr::parse(&naptr, DEFAULTS);
    }

    #[test]
    fn near_expressions_never_panic(
        text in "!(\\^\\.\\*\\$)?!(cesid|cesid:1|ip|alias|=|1:|\\?|port|proto|cetp_ipv4|[0-9a-z.é])*!?"
    ) {
        for service in ["CETP+cesid", "CES+cesid"] {
            let _ = naptr::discover(&[record(1, 1, service, &text)], DEFAULTS);
        }
    }

    #[test]
    fn emit_then_parse_is_the_identity(
        id in "[a-z0-9]{1,9}(-[a-z0-9]{1,9})?(\\.[a-z0-9_]{1,20}){0,3}\\.?",
        v4: [u8; 4],
        v6: [u8; 16],
        use_v6: bool,
        port in 1u16..,
        tls: bool,
        alias in proptest::option::of("[A-Za-z0-9_-]{1,32}"),
        order: u16,
        preference: u16,
    ) {
        let addr = if use_v6 { IpAddr::from(v6) } else { IpAddr::from(v4) };
        prop_assume!(!addr.is_unspecified() && !addr.is_multicast() && addr != IpAddr::from([255; 4]));
        let proto = if tls { Proto::Tls } else { Proto::Tcp };
        let endpoint = Endpoint { addr, port, proto, alias: alias.map(Arc::from), order, preference };
        let own = Announcement { ces_id: id.into(), endpoints: vec![endpoint.clone()] };
        for naptr in own.emit() {
            // Over the wire, and cut at every octet on the way.
            let bytes = RData::NAPTR(naptr.clone()).to_bytes().unwrap();
            let frame = [&[0, 0, 35, 0, 1, 0, 0, 0, 30][..], &(bytes.len() as u16).to_be_bytes(), &bytes].concat();
            for end in 0..frame.len() {
                prop_assert!(Record::<RData>::read(&mut BinDecoder::new(&frame[..end])).is_err());
            }
            let read = Record::<RData>::read(&mut BinDecoder::new(&frame)).unwrap();
            prop_assert_eq!(&read.data, &RData::NAPTR(naptr.clone()));
            let parsed = naptr::parse(&naptr, Defaults { port, proto }).unwrap();
            prop_assert_eq!(&parsed.ces_id, &own.ces_id);
            prop_assert_eq!(&parsed.endpoint, &endpoint);
        }
    }
}
