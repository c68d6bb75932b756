//! Upstream responses kept as bytes: what they mean, how they age, and that forwarding preserves them.

use ces_dns::message::{self, Query, Transport};
use ces_dns::packet::{CheckedResponse, Kind, PacketFault, TtlBounds};
use ces_dns::{Name, RData, Record, RecordType, ResponseCode};
use hickory_proto::op::{Edns, Message, MessageType, OpCode};
use hickory_proto::rr::rdata::{A, CNAME, MX, NS, NULL, SOA, TXT};
use proptest::prelude::*;

const BOUNDS: TtlBounds = TtlBounds { min_s: 0, max_s: 86_400, max_negative_s: 3_600 };

fn name(text: &str) -> Name {
    ces_dns::name(text).unwrap()
}

fn response(question: &str, qtype: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Response, OpCode::Query);
    message.metadata.recursion_available = true;
    message.add_query(hickory_proto::op::Query::query(name(question), qtype));
    message
}

fn a(owner: &str, ttl: u32, last: u8) -> Record {
    Record::from_rdata(name(owner), ttl, RData::A(A::new(192, 0, 2, last)))
}

fn cname(owner: &str, ttl: u32, target: &str) -> Record {
    Record::from_rdata(name(owner), ttl, RData::CNAME(CNAME(name(target))))
}

fn soa(ttl: u32, minimum: u32) -> Record {
    let data = SOA::new(name("ns.b"), name("mail.b"), 1, 2, 3, 4, minimum);
    Record::from_rdata(name("b"), ttl, RData::SOA(data))
}

fn packet(message: &Message) -> CheckedResponse {
    CheckedResponse::parse(&message.to_vec().unwrap(), BOUNDS).unwrap()
}

fn client(question: &str, qtype: RecordType, edns: Option<u16>, transport: Transport) -> Query {
    let mut message = Message::new(99, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(hickory_proto::op::Query::query(name(question), qtype));
    if let Some(payload) = edns {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        message.set_edns(edns);
    }
    message::parse(&message.to_vec().unwrap(), transport).unwrap()
}

#[test]
fn each_kind_of_response_is_told_apart() {
    let with = |code, answers: &[Record], authorities: &[Record]| {
        let mut message = response("www.b", RecordType::A);
        message.metadata.response_code = code;
        message.add_answers(answers.to_vec());
        message.add_authorities(authorities.to_vec());
        packet(&message).kind()
    };
    let ns = Record::from_rdata(name("b"), 60, RData::NS(NS(name("ns.b"))));
    let none: &[Record] = &[];
    let ok = ResponseCode::NoError;
    assert_eq!(with(ok, &[a("WWW.b", 60, 1)], none), Kind::Answer);
    assert_eq!(with(ok, &[cname("www.b", 60, "x.c"), a("x.c", 60, 1)], none), Kind::Answer);
    assert_eq!(with(ok, &[a("x.c", 60, 1), cname("www.b", 60, "x.c")], none), Kind::Answer, "any order");
    assert_eq!(with(ok, &[a("other.b", 60, 1)], none), Kind::NoData, "an answer to nobody's question");
    assert_eq!(with(ok, &[cname("www.b", 60, "x.c")], &[soa(60, 60)]), Kind::NoData);
    assert_eq!(
        with(ok, &[cname("www.b", 60, "x.c"), cname("x.c", 60, "www.b")], none),
        Kind::NoData,
        "a loop"
    );
    assert_eq!(with(ok, none, &[soa(60, 60)]), Kind::NoData);
    assert_eq!(with(ok, none, none), Kind::NoData);
    assert_eq!(with(ok, none, &[ns]), Kind::Failure, "a referral");
    assert_eq!(with(ResponseCode::NXDomain, none, &[soa(60, 60)]), Kind::NxDomain);
    assert_eq!(with(ResponseCode::Refused, none, none), Kind::Refused);
    assert_eq!(with(ResponseCode::ServFail, none, none), Kind::Failure);
    assert_eq!(with(ResponseCode::NotAuth, none, none), Kind::Failure);
    assert_eq!(with(ResponseCode::FormErr, none, none), Kind::NoEdns);
    let mut badvers = response("www.b", RecordType::A);
    badvers.metadata.response_code = ResponseCode::BADVERS;
    badvers.set_edns(Edns::new());
    assert_eq!(packet(&badvers).kind(), Kind::NoEdns);
}

#[test]
fn an_error_without_question_is_an_error() {
    let mut message = Message::new(7, MessageType::Response, OpCode::Query);
    message.metadata.response_code = ResponseCode::Refused;
    assert_eq!(packet(&message).kind(), Kind::Refused);
    message.metadata.response_code = ResponseCode::NoError;
    assert_eq!(CheckedResponse::parse(&message.to_vec().unwrap(), BOUNDS), Err(PacketFault::Question));
}

#[test]
fn a_lifetime_is_the_least_ttl_of_what_is_answered() {
    let mut message = response("www.b", RecordType::A);
    message.add_answers([cname("www.b", 300, "x.b"), a("x.b", 20, 1), a("x.b", 500, 2)]);
    message.add_additional(a("glue.b", 1, 3));
    assert_eq!(packet(&message).lifetime_s(), 20);
    message.answers[1].ttl = 0;
    assert_eq!(packet(&message).lifetime_s(), 0);
    let bytes = message.to_vec().unwrap();
    let bounds = TtlBounds { min_s: 5, max_s: 100, ..BOUNDS };
    assert_eq!(CheckedResponse::parse(&bytes, bounds).unwrap().lifetime_s(), 5);
    message.answers[1].ttl = 400;
    assert_eq!(CheckedResponse::parse(&message.to_vec().unwrap(), bounds).unwrap().lifetime_s(), 100);
    // RFC 2181 §8: the highest bit set means 0.
    message.answers[1].ttl = 0x8000_0001;
    assert_eq!(packet(&message).lifetime_s(), 0);
}

#[test]
fn rfc_2308_section_5_the_soa_says_how_long_nothing_is_known() {
    for (ttl, minimum, expected) in [(600, 60, 60), (60, 600, 60), (90_000, 90_000, 3_600), (600, 0, 0)] {
        for code in [ResponseCode::NoError, ResponseCode::NXDomain] {
            let mut message = response("www.b", RecordType::A);
            message.metadata.response_code = code;
            message.add_authority(soa(ttl, minimum));
            let packet = packet(&message);
            assert_eq!(packet.lifetime_s(), expected);
            let reply = packet.reply(&client("www.b", RecordType::A, None, Transport::Udp), 10);
            let reply = Message::from_vec(&reply).unwrap();
            assert_eq!(reply.authorities[0].ttl, expected.saturating_sub(10));
            assert_eq!(reply.metadata.response_code, code);
        }
    }
    let mut without = response("www.b", RecordType::A);
    without.metadata.response_code = ResponseCode::NXDomain;
    assert_eq!(packet(&without).lifetime_s(), 0, "no SOA, no caching");
}

#[test]
fn a_reply_is_the_upstreams_with_the_askers_id_case_flags_and_edns() {
    let mut message = response("www.b", RecordType::A);
    message.metadata.authentic_data = true;
    message.metadata.authoritative = true;
    message.add_answers([cname("www.b", 300, "x.b"), a("x.b", 200, 1)]);
    message.add_authority(Record::from_rdata(name("b"), 5, RData::NS(NS(name("ns.b")))));
    message.add_additional(a("ns.b", 50, 9));
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    message.set_edns(edns);
    let packet = packet(&message);
    for edns in [None, Some(1232)] {
        let query = client("wWw.B", RecordType::A, edns, Transport::Udp);
        let reply = Message::from_vec(&packet.reply(&query, 30)).unwrap();
        let m = reply.metadata;
        assert_eq!((m.id, m.recursion_desired, m.recursion_available), (99, true, true));
        assert!(!m.authoritative && !m.authentic_data && !m.truncation, "nothing of that is ours to say");
        assert!(reply.queries[0].name().eq_case(&query.name));
        let ttls: Vec<_> = reply.all_sections().map(|r| r.ttl).collect();
        assert_eq!(ttls, [270, 170, 0, 20]);
        for (ours, theirs) in reply.all_sections().zip(message.all_sections()) {
            assert_eq!((&ours.name, &ours.data), (&theirs.name, &theirs.data));
        }
        assert_eq!(reply.edns.map(|e| e.max_payload()), edns.map(|_| 1232));
    }
}

#[test]
fn unknown_types_are_preserved_octet_by_octet() {
    let mut message = response("x.b", RecordType::Unknown(65_300));
    let data =
        RData::Unknown { code: RecordType::Unknown(65_300), rdata: NULL::with(vec![0xc0, 0xff, 1, 2, 3]) };
    message.add_answer(Record::from_rdata(name("x.b"), 60, data));
    let packet = packet(&message);
    let query = client("x.b", RecordType::Unknown(65_300), None, Transport::Udp);
    let reply = Message::from_vec(&packet.reply(&query, 0)).unwrap();
    assert_eq!(reply.answers, message.answers);
}

#[test]
fn a_reply_fits_what_the_asker_takes() {
    let mut message = response("www.b", RecordType::A);
    message.add_answers((0..40).map(|n| a("www.b", 60, n)));
    message.add_additionals((0..40).map(|n| a("ns.b", 60, n)));
    let packet = packet(&message);
    let reply = |edns, transport| {
        let query = client("www.b", RecordType::A, edns, transport);
        let bytes = packet.reply(&query, 0);
        assert!(bytes.len() <= query.limit());
        let reply = Message::from_vec(&bytes).unwrap();
        (reply.metadata.truncation, reply.answers.len(), reply.additionals.len())
    };
    assert_eq!(reply(None, Transport::Udp), (true, 0, 0));
    assert_eq!(reply(Some(700), Transport::Udp), (false, 40, 0));
    assert_eq!(reply(Some(1232), Transport::Udp), (false, 40, 0));
    assert_eq!(reply(None, Transport::Tcp), (false, 40, 40));
}

#[test]
fn cut_in_its_answer_a_response_is_no_packet() {
    let mut message = response("www.b", RecordType::A);
    message.add_answers([cname("www.b", 300, "x.b"), a("x.b", 200, 1)]);
    message.add_authority(soa(60, 60));
    message.set_edns(Edns::new());
    let bytes = message.to_vec().unwrap();
    // An OPT record of 11 octets comes last.
    for end in 0..bytes.len() - 11 {
        assert!(CheckedResponse::parse(&bytes[..end], BOUNDS).is_err(), "{end}");
    }
    assert_eq!(CheckedResponse::parse(&vec![0; 70_000], BOUNDS), Err(PacketFault::Length));
    let mut query = bytes;
    query[2] &= 0x7f;
    assert_eq!(CheckedResponse::parse(&query, BOUNDS), Err(PacketFault::NotAResponse));
}

/// What is wrong only behind the answer does not make the answer worse.
#[test]
fn n16_what_is_wrong_behind_the_answer_is_left_out() {
    let mut message = response("www.b", RecordType::A);
    message.add_answer(a("www.b", 200, 1));
    message.add_additional(a("kept.b", 60, 2));
    let bytes = message.to_vec().unwrap();
    let more = |count: u8, tail: &[u8]| {
        let mut bytes = [&bytes[..], tail].concat();
        bytes[11] += count;
        bytes
    };
    for (title, bytes, kept) in [
        ("an octet behind it", more(0, &[0]), 1),
        ("a second message behind it", more(0, &bytes), 1),
        ("a record that is not there", more(1, &[]), 1),
        ("a record cut short", more(1, &[0xc0, 12, 0, 1, 0, 1]), 1),
        ("an A record of 3 octets", more(1, &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 3, 1, 2, 3]), 1),
        (
            "a loop, and a good one after it",
            more(2, &[0xc0, 200, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 1, 2, 3, 4]),
            1,
        ),
        ("an OPT cut short", more(1, &[0, 0, 41, 4, 208]), 1),
        ("the only additional one cut", bytes[..bytes.len() - 1].to_vec(), 0),
    ] {
        let packet =
            CheckedResponse::parse(&bytes, BOUNDS).unwrap_or_else(|fault| panic!("{title}: {fault:?}"));
        let reply = packet.reply(&client("www.b", RecordType::A, None, Transport::Udp), 0);
        let reply = Message::from_vec(&reply).unwrap();
        assert_eq!((reply.answers.len(), reply.additionals.len()), (1, kept), "{title}");
    }
}

#[test]
fn compression_loops_in_owner_and_data_are_found() {
    let mut bytes = response("www.b", RecordType::A).to_vec().unwrap();
    bytes[7] = 1;
    let at = bytes.len() as u8;
    let record = |owner: &[u8], kind: u8, data: &[u8]| {
        [&bytes[..], owner, &[0, kind, 0, 1, 0, 0, 0, 9, 0, data.len() as u8], data].concat()
    };
    let root = [0];
    let good = [0xc0, 12];
    let itself = [0xc0, at + 11];
    let ahead = [0xc0, at + 20];
    assert!(CheckedResponse::parse(&record(&good, 5, &good), BOUNDS).is_ok());
    for (title, bytes) in [
        ("owner to itself", record(&[0xc0, at], 1, &[1, 2, 3, 4])),
        ("owner ahead", record(&[0xc0, at + 5], 1, &[1, 2, 3, 4])),
        ("owner by label to itself", record(&[1, b'a', 0xc0, at], 1, &[1, 2, 3, 4])),
        ("CNAME to itself", record(&root, 5, &itself)),
        ("CNAME ahead", record(&root, 5, &ahead)),
        ("NS by label to itself", record(&root, 2, &[1, b'a', 0xc0, at + 11])),
        ("MX cut", record(&root, 15, &[0])),
        ("MX to itself", record(&root, 15, &[0, 1, 0xc0, at + 13])),
        ("PTR with a tail", record(&root, 12, &[0xc0, 12, 0])),
        ("SOA short", record(&root, 6, &[0xc0, 12, 0xc0, 12, 0, 0])),
        ("A of 3", record(&root, 1, &[1, 2, 3])),
        ("AAAA of 4", record(&root, 28, &[1, 2, 3, 4])),
    ] {
        assert_eq!(CheckedResponse::parse(&bytes, BOUNDS), Err(PacketFault::Record), "{title}");
    }
}

#[test]
fn what_follows_opt_is_cut_off_with_it() {
    let mut message = response("www.b", RecordType::A);
    message.add_answer(a("www.b", 60, 1));
    message.add_additional(a("kept.b", 60, 2));
    message.set_edns(Edns::new());
    let mut bytes = message.to_vec().unwrap();
    bytes[11] += 1;
    bytes.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 1, 2, 3, 4]);
    let packet = CheckedResponse::parse(&bytes, BOUNDS).unwrap();
    let reply = packet.reply(&client("www.b", RecordType::A, Some(1232), Transport::Udp), 0);
    let reply = Message::from_vec(&reply).unwrap();
    assert_eq!(reply.additionals.len(), 1);
    assert!(reply.edns.is_some());
}

/// Responses of many shapes.
fn shaped() -> impl Strategy<Value = Message> {
    let record = (0u8..5, 0u8..4, 0u32..100_000).prop_map(|(kind, owner, ttl)| {
        let owner = ["www.b", "x.b", "deep.er.x.b", "b"][usize::from(owner)];
        match kind {
            0 => a(owner, ttl, 1),
            1 => cname(owner, ttl, "x.b"),
            2 => Record::from_rdata(name(owner), ttl, RData::TXT(TXT::new(vec!["text".into()]))),
            3 => Record::from_rdata(name(owner), ttl, RData::MX(MX::new(1, name("mail.x.b")))),
            _ => soa(ttl, ttl / 2),
        }
    });
    let section = || proptest::collection::vec(record.clone(), 0..6);
    (section(), section(), section(), any::<bool>()).prop_map(|(answers, authorities, additionals, edns)| {
        let mut message = response("www.b", RecordType::A);
        message.add_answers(answers).add_authorities(authorities).add_additionals(additionals);
        if edns {
            message.set_edns(Edns::new());
        }
        message
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), header: bool) {
        if header && bytes.len() >= 12 {
            bytes[2..12].copy_from_slice(&[0x80, 0, 0, 1, 0, 2, 0, 1, 0, 1]);
        }
        exercise(&bytes)?;
    }

    #[test]
    fn damaged_responses_never_panic(
        message in shaped(),
        changes in proptest::collection::vec((0usize..400, any::<u8>()), 0..6),
    ) {
        let mut bytes = message.to_vec().unwrap();
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        exercise(&bytes)?;
    }

    #[test]
    fn what_hickory_writes_is_read_and_forwarded_as_it_was(message in shaped(), age in 0u32..200_000) {
        let packet = packet(&message);
        let reply = packet.reply(&client("wWw.B", RecordType::A, None, Transport::Tcp), age);
        let reply = Message::from_vec(&reply).unwrap();
        prop_assert_eq!(reply.answers.len(), message.answers.len());
        for (ours, theirs) in reply.all_sections().zip(message.all_sections()) {
            prop_assert_eq!((&ours.name, &ours.data), (&theirs.name, &theirs.data));
            prop_assert!(ours.ttl <= theirs.ttl.saturating_sub(age));
        }
    }
}

fn exercise(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(packet) = CheckedResponse::parse(bytes, BOUNDS) {
        let _ = packet.answers();
        for (edns, transport) in
            [(None, Transport::Udp), (Some(1232), Transport::Udp), (None, Transport::Tcp)]
        {
            let query = client("www.b", RecordType::A, edns, transport);
            prop_assert!(packet.reply(&query, 5).len() <= query.limit());
        }
    }
    Ok(())
}
