//! CES records: both forms out and in, the recorded exchange of the reference, and what is not taken.

use std::net::IpAddr;
use std::sync::Arc;

use ces_dns::answer::{Answer, Voice};
use ces_dns::message::{self, Transport};
use ces_dns::naptr::{
    self, ACCEPTED, Announcement, Defaults, Endpoint, Forms, NaptrCounters, NaptrFault, Proto, Published,
};
use ces_dns::packet::{CheckedResponse, TtlBounds};
use ces_dns::{Name, RData, Record, RecordType};
use hickory_proto::op::{Message, MessageType, OpCode};
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
    let packet = CheckedResponse::parse(&hex("response_hex"), bounds).unwrap();
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
        forms: Forms::Both,
    };
    let published = own.emit();
    let records: Vec<NAPTR> = published.all().cloned().collect();
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
        "1^.*$1cesid:1=b?ip=192.0.2.21",
        "i^.*$icesid:1=b?ip=192.0.2.1i",
        "\\^.*$\\cesid:1=b?ip=192.0.2.1\\",
        "!^(.*)$!cesid:1=\\1?ip=192.0.2.1!",
        "!^.*$!cesid:1=b?ip=192.0.2.1\\!",
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
        let own = Announcement { ces_id: id.into(), endpoints: vec![endpoint.clone()], forms: Forms::Both };
        for naptr in own.emit().all() {
            // Over the wire, and cut at every octet on the way.
            let bytes = RData::NAPTR(naptr.clone()).to_bytes().unwrap();
            let frame = [&[0, 0, 35, 0, 1, 0, 0, 0, 30][..], &(bytes.len() as u16).to_be_bytes(), &bytes].concat();
            for end in 0..frame.len() {
                prop_assert!(Record::<RData>::read(&mut BinDecoder::new(&frame[..end])).is_err());
            }
            let read = Record::<RData>::read(&mut BinDecoder::new(&frame)).unwrap();
            prop_assert_eq!(&read.data, &RData::NAPTR(naptr.clone()));
            let parsed = naptr::parse(naptr, Defaults { port, proto }).unwrap();
            prop_assert_eq!(&parsed.ces_id, &own.ces_id);
            let behind = if parsed.is_explicit { 0 } else { 1000 };
            let order = endpoint.order.saturating_add(behind);
            prop_assert_eq!(&parsed.endpoint, &Endpoint { order, ..endpoint.clone() });
        }
    }
}

/// RFC 3402 §3.2: a backslash makes a delimiter an ordinary character, and any octet but a digit and the flag delimits.
#[test]
fn n15_what_is_legal_is_taken() {
    for text in [
        "!^.*\\!?$!cesid=1:b.ces.?cetp_ipv4=192.0.2.1!",
        "!^.*$!cesid=1:b.ces.?cetp_ipv4=192.0.2.1?alias=a\\!b!",
        "/^.*$/cesid=1:b.ces.?cetp_ipv4=192.0.2.1/",
        "/^.*$/cesid=1:b.ces.?cetp_ipv4=192.0.2.1/i",
        "x^.*$xcesid=1:b.ces.?cetp_ipv4=192.0.2.1x",
        "?^.*$?cesid=1:b.ces.\\?cetp_ipv4=192.0.2.1?",
        ":^.*$:cesid=1\\:b.ces.?cetp_ipv4=192.0.2.1:",
        "!^.*$!cesid=1:b\\.ces.?cetp_ipv4=192\\.0.2.1!",
        "\u{e9}^.*$\u{e9}cesid=1:b.ces.?cetp_ipv4=192.0.2.1\u{e9}",
    ] {
        let found = naptr::discover(&[record(1, 1, "CES+cesid", text)], DEFAULTS);
        assert_eq!(found.mistake(), None, "{text}");
        assert_eq!(&*found.services[0].ces_id, "b.ces.", "{text}");
        assert_eq!(found.services[0].endpoints[0].addr, IpAddr::from([192, 0, 2, 1]), "{text}");
    }
}

#[test]
fn n15_mistakes_are_told_and_what_can_be_used_is() {
    let good = "!^.*$!cesid=1:b.ces.?cetp_ipv4=192.0.2.1!";
    for (text, mistake, gateways) in [
        ("!^.*$!cesid=1:b.ces.?cetp_ipv4=192.0.2.2?port=0!", NaptrFault::Port, 0),
        ("!^.*$!cesid=1:b.ces.??cetp_ipv4=192.0.2.2!", NaptrFault::EmptyField, 1),
        ("!^.*$!cesid=1:b.ces.?cetp_ipv4=192.0.2.2?!", NaptrFault::EmptyField, 1),
        ("!^.*$!?cesid=1:b.ces.?cetp_ipv4=192.0.2.2!", NaptrFault::EmptyField, 1),
    ] {
        let alone = naptr::discover(&[record(1, 1, "CES+cesid", text)], DEFAULTS);
        assert_eq!((alone.mistake(), alone.services.len()), (Some(mistake), gateways), "{text}");
        let beside = [record(1, 1, "CES+cesid", text), record(2, 1, "CES+cesid", good)];
        let beside = naptr::discover(&beside, DEFAULTS);
        assert_eq!((beside.mistake(), beside.services[0].endpoints.len()), (Some(mistake), 1 + gateways));
    }
    let other = naptr::discover(&[record(1, 1, "E2U+sip", "!^.*$!sip:a!")], DEFAULTS);
    assert_eq!(other.mistake(), None, "what is not ours is no mistake");
}

/// A reader that takes the first record by order and preference, whatever it is, behind a resolver that rotates.
#[test]
fn c1_the_form_that_every_reader_understands_comes_first_by_order() {
    for endpoints in 1..=5u8 {
        let own = Announcement {
            ces_id: "gwb.demo.".into(),
            endpoints: (1..=endpoints)
                .map(|n| {
                    endpoint(&format!("198.51.100.{n}"), 48_000 + u16::from(n), Proto::Tls, None, 100, 10)
                })
                .collect(),
            forms: Forms::Both,
        };
        let published = own.emit();
        for name in ["www.b.demo".to_owned(), format!("{0}.{0}.{0}.b.demo", "a".repeat(63))] {
            let owner = ces_dns::name(&name).unwrap();
            let mut set: Vec<NAPTR> = published.of(&owner).cloned().collect();
            assert!((1..=ACCEPTED).contains(&set.len()), "{endpoints} endpoints of {name}");
            for _ in 0..set.len() {
                set.rotate_left(1);
                let first = set.iter().min_by_key(|record| (record.order, record.preference)).unwrap();
                assert_eq!(&*first.services, b"CES+cesid", "{endpoints} endpoints");
            }
        }
    }
}

/// Whatever orders a site gives its endpoints: nothing of the other form comes before anything of the reference's.
#[test]
fn c1_the_forms_do_not_mix_whatever_the_orders_are() {
    for (orders, expected) in [
        (vec![100, 100], 4),
        (vec![0, 2_000], 4),
        (vec![1_100, 100], 4),
        (vec![64_536], 2),
        (vec![65_000, 65_534], 4),
        (vec![65_535], 1),
        (vec![65_535, 7], 2),
    ] {
        let endpoints = orders.iter().zip(1u8..);
        let own = Announcement {
            ces_id: "gwb.demo.".into(),
            endpoints: endpoints
                .map(|(order, n)| endpoint(&format!("198.51.100.{n}"), 48_001, Proto::Tls, None, *order, 10))
                .collect(),
            forms: Forms::Both,
        };
        let published = own.emit();
        let set: Vec<&NAPTR> = published.of(&ces_dns::name("www.b.demo").unwrap()).collect();
        assert_eq!(set.len(), expected, "{orders:?}");
        let of =
            |form: &[u8]| set.iter().filter(|n| &*n.services == form).map(|n| n.order).collect::<Vec<_>>();
        let (first, second) = (of(b"CES+cesid"), of(b"CETP+cesid"));
        assert!(
            second.iter().min().is_none_or(|least| first.iter().all(|order| order < least)),
            "{orders:?}"
        );
    }
}

#[test]
fn c1_the_set_fits_an_answer_without_edns() {
    let alias = "x".repeat(32);
    for (name_length, endpoints, expected) in
        [(10, 1, 2), (10, 2, 2), (10, 3, 3), (10, 5, 3), (250, 1, 1), (250, 2, 1), (120, 2, 2)]
    {
        let mut name = vec!["b.demo".to_owned()];
        while name.iter().map(|label| label.len() + 1).sum::<usize>() + 2 < name_length {
            let left = name_length - name.iter().map(|label| label.len() + 1).sum::<usize>() - 1;
            name.insert(0, "a".repeat(left.min(63)));
        }
        let name = name.join(".");
        let own = Announcement {
            ces_id: "gwb.demo.".into(),
            endpoints: (1..=endpoints)
                .map(|n| endpoint(&format!("198.51.100.{n}"), 49_001, Proto::Tls, Some(&alias), n, 1))
                .collect(),
            forms: Forms::Both,
        };
        let owner = ces_dns::name(&name).unwrap();
        let published = own.emit();
        let set: Vec<&NAPTR> = published.of(&owner).collect();
        assert_eq!(set.len(), expected, "{name_length} octets, {endpoints} endpoints");
        // The asker draws a case, so that the owner cannot be a pointer to the question.
        let mut asked = Message::new(7, MessageType::Query, OpCode::Query);
        let question = ces_dns::name(&name.to_ascii_uppercase()).unwrap();
        asked.add_query(hickory_proto::op::Query::query(question, RecordType::NAPTR));
        let query = message::parse(&asked.to_vec().unwrap(), Transport::Udp).unwrap();
        let records = set.into_iter().cloned();
        let records =
            records.map(|n| Record::from_rdata(Published::owner(&query.name), 30, RData::NAPTR(n))).collect();
        let bytes = Answer::records(Voice::Authority, records).emit(&query);
        let reply = Message::from_vec(&bytes).unwrap();
        assert!(!reply.metadata.truncation && bytes.len() <= 512, "{} octets", bytes.len());
        assert_eq!(reply.answers.len(), expected);
    }
}

#[test]
fn c1_a_key_says_which_forms() {
    let own = |forms| Announcement {
        ces_id: "gwb.demo.".into(),
        endpoints: vec![endpoint("198.51.100.2", 48001, Proto::Tls, None, 100, 10)],
        forms,
    };
    let of = |forms| -> Vec<(u16, String)> {
        let published = own(forms).emit();
        let words = |n: &NAPTR| (n.order, String::from_utf8_lossy(&n.services).into_owned());
        published.of(&ces_dns::name("www.b.demo").unwrap()).map(words).collect()
    };
    let (reference, tutorial) = ("CES+cesid".to_owned(), "CETP+cesid".to_owned());
    assert_eq!(of(Forms::Both), [(100, reference.clone()), (1100, tutorial.clone())]);
    assert_eq!(of(Forms::Reference), [(100, reference)]);
    assert_eq!(of(Forms::Tutorial), [(100, tutorial)]);
}
