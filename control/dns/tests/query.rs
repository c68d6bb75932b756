//! Queries in, answers out: what is refused and how, what an answer echoes, and that it fits.

use std::net::IpAddr;

use ces_dns::answer::{self, Answer, Voice};
use ces_dns::message::{self, Query, Transport, UDP_MAX};
use ces_dns::outcome::QueryOutcome;
use ces_dns::{Name, RData, Record, RecordType, ResponseCode};
use hickory_proto::op::{Edns, Message, MessageType, OpCode};
use hickory_proto::rr::DNSClass;
use hickory_proto::rr::rdata::TXT;
use proptest::prelude::*;

fn query(name: &str, qtype: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    message.add_query(hickory_proto::op::Query::query(name, qtype));
    message
}

fn with_edns(mut message: Message, payload: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload).set_dnssec_ok(true);
    message.set_edns(edns);
    message
}

fn parse(bytes: &[u8]) -> Query {
    message::parse(bytes, Transport::Udp).unwrap()
}

fn refused(bytes: &[u8]) -> (QueryOutcome, Option<Message>) {
    let rejection = message::parse(bytes, Transport::Udp).unwrap_err();
    (rejection.outcome, rejection.reply.map(|r| Message::from_vec(&r).unwrap()))
}

#[test]
fn a_plain_query_is_read() {
    let query = parse(&query("wWw.B.demo", RecordType::A).to_vec().unwrap());
    assert_eq!((query.id, query.qtype, query.recursion_desired), (0x1234, RecordType::A, true));
    assert_eq!(query.name.to_ascii(), "wWw.B.demo.");
    assert_eq!((query.edns, query.limit()), (None, 512));
}

#[test]
fn edns_says_what_the_asker_takes() {
    for (payload, limit) in [(0, 512), (511, 512), (600, 600), (1232, 1232), (4096, usize::from(UDP_MAX))] {
        let mut bytes = with_edns(query("a.b", RecordType::A), 1232).to_vec().unwrap();
        let at = bytes.len() - 8;
        bytes[at..at + 2].copy_from_slice(&u16::to_be_bytes(payload));
        let query = parse(&bytes);
        assert_eq!(
            query.edns,
            Some(message::Edns { payload, dnssec_ok: true, cookie: None, client_subnet: None })
        );
        assert_eq!(query.limit(), limit, "{payload}");
    }
}

#[test]
fn what_is_no_query_is_met_with_silence() {
    let mut bytes = query("a.b", RecordType::A).to_vec().unwrap();
    for end in 0..12 {
        assert_eq!(refused(&bytes[..end]), (QueryOutcome::Short, None));
    }
    bytes[2] |= 0x80;
    assert_eq!(refused(&bytes), (QueryOutcome::NotAQuery, None));
}

#[test]
fn each_kind_of_bad_query_has_its_outcome_and_code() {
    let good = query("www.b.demo", RecordType::A).to_vec().unwrap();
    let edns = with_edns(query("www.b.demo", RecordType::A), 1232).to_vec().unwrap();
    let patched = |base: &[u8], patches: &[(usize, u8)]| {
        let mut bytes = base.to_vec();
        for &(at, value) in patches {
            bytes[at] = value;
        }
        bytes
    };
    let appended = |base: &[u8], more: &[u8]| [base, more].concat();
    let type_at = good.len() - 4;
    let opt_at = good.len();
    let opt = &edns[opt_at..];
    let loop_to_self = [0xc0, 12];
    let loop_to_header = [0xc0, 0];
    let in_class = [0, 1, 0, 1];
    let header = &good[..12];
    let long_name: Vec<u8> =
        std::iter::repeat_n([&[63][..], &[b'a'; 63]].concat(), 4).flatten().chain([0]).collect();
    let cases: Vec<(&str, Vec<u8>, QueryOutcome, ResponseCode)> = vec![
        ("status", patched(&good, &[(2, 0x11)]), QueryOutcome::Opcode, ResponseCode::NotImp),
        ("update", patched(&good, &[(2, 0x29)]), QueryOutcome::Opcode, ResponseCode::NotImp),
        ("no question", patched(&good, &[(5, 0)]), QueryOutcome::QuestionCount, ResponseCode::FormErr),
        ("two questions", patched(&good, &[(5, 2)]), QueryOutcome::QuestionCount, ResponseCode::FormErr),
        (
            "65,535 questions",
            patched(&good, &[(4, 255), (5, 255)]),
            QueryOutcome::QuestionCount,
            ResponseCode::FormErr,
        ),
        (
            "name points to itself",
            [header, &loop_to_self, &in_class].concat(),
            QueryOutcome::QuestionMalformed,
            ResponseCode::FormErr,
        ),
        (
            "name points into the header",
            [header, &loop_to_header, &in_class].concat(),
            QueryOutcome::QuestionMalformed,
            ResponseCode::FormErr,
        ),
        (
            "label then a loop",
            [header, &[1, b'a', 0xc0, 12], &in_class].concat(),
            QueryOutcome::QuestionMalformed,
            ResponseCode::FormErr,
        ),
        (
            "label of 64",
            [header, &[64], &[b'a'; 64], &[0], &in_class].concat(),
            QueryOutcome::QuestionMalformed,
            ResponseCode::FormErr,
        ),
        (
            "name of 257",
            [header, &long_name, &in_class].concat(),
            QueryOutcome::QuestionMalformed,
            ResponseCode::FormErr,
        ),
        ("cut in the name", good[..20].to_vec(), QueryOutcome::QuestionMalformed, ResponseCode::FormErr),
        (
            "cut in the type",
            good[..good.len() - 1].to_vec(),
            QueryOutcome::QuestionMalformed,
            ResponseCode::FormErr,
        ),
        ("class CH", patched(&good, &[(type_at + 3, 3)]), QueryOutcome::Class, ResponseCode::Refused),
        ("type OPT", patched(&good, &[(type_at + 1, 41)]), QueryOutcome::MetaType, ResponseCode::FormErr),
        ("type TKEY", patched(&good, &[(type_at + 1, 249)]), QueryOutcome::MetaType, ResponseCode::FormErr),
        ("type 0", patched(&good, &[(type_at + 1, 0)]), QueryOutcome::MetaType, ResponseCode::FormErr),
        ("AXFR", patched(&good, &[(type_at + 1, 252)]), QueryOutcome::Transfer, ResponseCode::Refused),
        (
            "IXFR",
            patched(&good, &[(type_at + 1, 251), (9, 1)]),
            QueryOutcome::Transfer,
            ResponseCode::Refused,
        ),
        ("an answer", patched(&good, &[(7, 1)]), QueryOutcome::RecordMalformed, ResponseCode::FormErr),
        ("an authority", patched(&good, &[(9, 1)]), QueryOutcome::RecordMalformed, ResponseCode::FormErr),
        (
            "an additional that is not there",
            patched(&good, &[(11, 1)]),
            QueryOutcome::RecordMalformed,
            ResponseCode::FormErr,
        ),
        ("trailing", appended(&good, &[0]), QueryOutcome::TrailingBytes, ResponseCode::FormErr),
        (
            "two OPT",
            patched(&appended(&edns, opt), &[(11, 2)]),
            QueryOutcome::EdnsMalformed,
            ResponseCode::FormErr,
        ),
        (
            "OPT below a name",
            patched(&[&good[..], &[1, b'a'], opt].concat(), &[(11, 1)]),
            QueryOutcome::EdnsMalformed,
            ResponseCode::FormErr,
        ),
        (
            "OPT with half an option",
            patched(&appended(&edns, &[0, 3, 0]), &[(opt_at + 10, 3)]),
            QueryOutcome::EdnsMalformed,
            ResponseCode::FormErr,
        ),
        (
            "EDNS version 1",
            patched(&edns, &[(opt_at + 6, 1)]),
            QueryOutcome::EdnsVersion,
            ResponseCode::BADVERS,
        ),
    ];
    for (title, bytes, outcome, code) in cases {
        let (found, reply) = refused(&bytes);
        assert_eq!(found, outcome, "{title}");
        let reply = reply.unwrap();
        // 16 is BADVERS and BADSIG both.
        assert_eq!(u16::from(reply.metadata.response_code), u16::from(code), "{title}");
        assert_eq!(reply.metadata.id, 0x1234, "{title}");
        assert_eq!(reply.metadata.message_type, MessageType::Response, "{title}");
        assert!(reply.answers.is_empty(), "{title}");
    }
}

/// RFC 6891 §6.1.1: whatever is said to a query with OPT has one, and to a query without has none.
#[test]
fn n11_every_refusal_speaks_edns_to_who_speaks_it() {
    type Change = fn(&mut Vec<u8>, usize);
    // `end` is where the question ends.
    let cases: [(&str, Change); 9] = [
        ("NOTIMP", |bytes, _| bytes[2] = 0x11),
        ("NOTIFY", |bytes, _| bytes[2] = 0x21),
        ("UPDATE", |bytes, _| bytes[2] = 0x29),
        ("AXFR", |bytes, end| bytes[end - 3] = 252),
        ("class CH", |bytes, end| bytes[end - 1] = 3),
        ("class ANY", |bytes, end| bytes[end - 1] = 255),
        ("type TKEY", |bytes, end| bytes[end - 3] = 249),
        ("trailing", |bytes, _| bytes.push(0)),
        ("no question", |bytes, end| {
            bytes[5] = 0;
            bytes.drain(12..end);
        }),
    ];
    let plain = query("www.b.demo", RecordType::A).to_vec().unwrap();
    for (title, change) in cases {
        for (edns, mut bytes) in [
            (false, plain.clone()),
            (true, with_edns(query("www.b.demo", RecordType::A), 1232).to_vec().unwrap()),
        ] {
            change(&mut bytes, plain.len());
            let (_, reply) = refused(&bytes);
            let said = reply.unwrap().edns;
            assert_eq!(said.is_some(), edns, "{title}");
            assert!(said.is_none_or(|said| said.flags().dnssec_ok), "{title}: DO is copied (RFC 3225 §3)");
        }
    }
}

#[test]
fn cut_anywhere_a_query_is_refused() {
    let bytes = with_edns(query("www.b.demo", RecordType::NAPTR), 1232).to_vec().unwrap();
    for end in 0..bytes.len() {
        assert!(message::parse(&bytes[..end], Transport::Udp).is_err(), "{end}");
    }
}

#[test]
fn unknown_types_and_signatures_pass() {
    let mut message = query("a.b", RecordType::Unknown(65_280));
    message.add_additional(Record::from_rdata(Name::root(), 0, RData::TXT(TXT::new(vec!["x".into()]))));
    assert_eq!(parse(&message.to_vec().unwrap()).qtype, RecordType::Unknown(65_280));
}

#[test]
fn an_answer_echoes_the_question_in_its_case_and_the_flags() {
    let mut message = with_edns(query("wWw.B.dEmo", RecordType::A), 1232);
    message.metadata.checking_disabled = true;
    let query = parse(&message.to_vec().unwrap());
    let list: [IpAddr; 3] =
        ["10.9.8.7".parse().unwrap(), "::1".parse().unwrap(), "10.9.8.6".parse().unwrap()];
    for (voice, aa, ra) in [
        (Voice::Authority, true, false),
        (Voice::LocalAuthority, true, true),
        (Voice::Recursive, false, true),
    ] {
        let bytes = answer::addresses(&query, voice, 30, &list);
        let reply = Message::from_vec(&bytes).unwrap();
        let m = reply.metadata;
        assert_eq!((m.id, m.authoritative, m.recursion_available), (0x1234, aa, ra));
        assert!(m.recursion_desired && m.checking_disabled && !m.truncation && !m.authentic_data);
        assert!(reply.queries[0].name().eq_case(query_name(&message)));
        assert_eq!(reply.queries[0].query_class(), DNSClass::IN);
        let found: Vec<_> = reply.answers.iter().map(|r| (r.ttl, r.data.ip_addr().unwrap())).collect();
        assert_eq!(found, [(30, list[0]), (30, list[2])]);
        assert!(reply.answers.iter().all(|r| r.name == query.name));
        let edns = reply.edns.unwrap();
        assert_eq!((edns.max_payload(), edns.version(), edns.flags().dnssec_ok), (UDP_MAX, 0, true));
    }
}

fn query_name(message: &Message) -> &Name {
    message.queries[0].name()
}

#[test]
fn the_address_answer_by_hand_equals_the_encoders() {
    for qtype in [RecordType::A, RecordType::AAAA] {
        let query = parse(&with_edns(query("www.b.demo", qtype), 1232).to_vec().unwrap());
        let list: [IpAddr; 2] = ["10.9.8.7".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let wanted = list.iter().filter(|ip| ip.is_ipv4() == (qtype == RecordType::A));
        let records = wanted.map(|&ip| Record::from_rdata(query.name.clone(), 120, ip.into())).collect();
        let encoded = Answer::records(Voice::Recursive, records).emit(&query);
        assert_eq!(answer::addresses(&query, Voice::Recursive, 120, &list), encoded);
    }
}

#[test]
fn what_does_not_fit_is_truncated_without_records() {
    let query = query("www.b.demo", RecordType::TXT).to_vec().unwrap();
    let records = |n: usize| -> Vec<Record> {
        let text = |n: usize| RData::TXT(TXT::new(vec![format!("{n:0100}")]));
        (0..n).map(|n| Record::from_rdata(ces_dns::name("www.b.demo").unwrap(), 5, text(n))).collect()
    };
    let udp = message::parse(&query, Transport::Udp).unwrap();
    let tcp = message::parse(&query, Transport::Tcp).unwrap();

    let many = Answer::records(Voice::Authority, records(20));
    let cut = Message::from_vec(&many.emit(&udp)).unwrap();
    assert!(cut.metadata.truncation && cut.answers.is_empty());
    let whole = Message::from_vec(&many.emit(&tcp)).unwrap();
    assert!(!whole.metadata.truncation && whole.answers.len() == 20);

    // RFC 2181 §9: additional records go without TC.
    let helped = Answer { additional: records(10), ..Answer::records(Voice::Authority, records(2)) };
    let reply = Message::from_vec(&helped.emit(&udp)).unwrap();
    assert!(!reply.metadata.truncation && reply.answers.len() == 2 && reply.additionals.is_empty());

    let enormous = Answer::records(Voice::Authority, records(700));
    let reply = Message::from_vec(&enormous.emit(&tcp)).unwrap();
    assert!(reply.metadata.truncation, "beyond 65,535 octets");
}

#[test]
fn any_is_answered_with_one_hinfo() {
    let query = parse(&query("www.b.demo", RecordType::ANY).to_vec().unwrap());
    let reply = Message::from_vec(&answer::any(&query)).unwrap();
    assert_eq!(reply.answers.len(), 1);
    assert_eq!(reply.answers[0].record_type(), RecordType::HINFO);
}

proptest! {
    #[test]
    fn parsing_never_panics_and_agrees_with_hickory(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        check(&bytes)?;
    }

    /// A good query with a few octets changed reaches deeper than noise.
    #[test]
    fn damaged_queries_never_panic_and_agree_with_hickory(
        changes in proptest::collection::vec((0usize..64, any::<u8>()), 0..4),
        edns: bool,
        cut in 0usize..64,
    ) {
        let mut message = query("www.some-host.b.demo", RecordType::A);
        if edns {
            message = with_edns(message, 1232);
        }
        let mut bytes = message.to_vec().unwrap();
        for (at, value) in changes {
            if let Some(octet) = bytes.get_mut(at) {
                *octet = value;
            }
        }
        bytes.truncate(bytes.len().saturating_sub(cut.saturating_sub(40)));
        check(&bytes)?;
    }

    #[test]
    fn every_name_survives_from_query_to_answer(
        labels in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6),
    ) {
        let name = Name::from_labels(labels.iter().map(Vec::as_slice)).unwrap();
        let mut message = query("x", RecordType::A);
        message.queries[0].set_name(name.clone());
        let bytes = message.to_vec().unwrap();
        let query = message::parse(&bytes, Transport::Udp).unwrap();
        prop_assert!(query.name.eq_case(&name));
        let list = ["1.2.3.4".parse().unwrap()];
        let reply = answer::addresses(&query, Voice::Recursive, 1, &list);
        prop_assert_eq!(&reply[12..bytes.len()], &bytes[12..]);
        prop_assert!(Message::from_vec(&reply).unwrap().answers[0].name.eq_case(&name));
        let records = list.map(|ip| Record::from_rdata(name.clone(), 1, ip.into())).to_vec();
        let encoded = Answer::records(Voice::Recursive, records).emit(&query);
        prop_assert_eq!(Message::from_vec(&reply).unwrap(), Message::from_vec(&encoded).unwrap());
    }
}

/// Whatever is taken, hickory reads the same; whatever is answered, hickory can read.
fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    match message::parse(bytes, Transport::Udp) {
        Ok(query) => {
            let theirs = Message::from_vec(bytes);
            // hickory also reads the data of records that follow, which a query is not judged by.
            if let Ok(theirs) = theirs {
                prop_assert_eq!(theirs.queries.len(), 1);
                prop_assert!(theirs.queries[0].name().eq_case(&query.name));
                prop_assert_eq!(theirs.queries[0].query_type(), query.qtype);
                prop_assert_eq!(theirs.edns.is_some(), query.edns.is_some());
            }
            let reply = answer::addresses(&query, Voice::Recursive, 1, &["1.2.3.4".parse().unwrap()]);
            prop_assert!(reply.len() <= query.limit());
            prop_assert!(Message::from_vec(&reply).is_ok());
        }
        Err(rejection) => {
            if let Some(reply) = rejection.reply {
                prop_assert!(Message::from_vec(&reply).is_ok());
            }
        }
    }
    Ok(())
}
