//! Signed messages (RFC 8945) and UPDATE (RFC 2136), as `nsupdate` and `dig` of BIND 9.18 send them.

use ces_dns::message::{Transport, parse_signed};
use ces_dns::outcome::QueryOutcome;
use ces_dns::tsig::{Algorithm, Keyring, SharedKey};
use ces_dns::update::{Data, Prerequisite, Records, Update, ZoneChange, parse};
use ces_dns::{Name, RecordType, ResponseCode, answer, name};

/// nsupdate -y hmac-sha256:dhcp.b.demo:…: prereq nxdomain n1, add n1 A and TXT, delete n2 A.
const UPDATE: &str = "bdce2800000100010003000101620464656d6f0000060001026e31c00c00ff00fe000000000000c018000100010000012c0004\
                      c0a80a0cc018001000010000012c0005046e6f7465026e32c00c000100ff000000000000046468637001620464656d6f0000fa\
                      00ff00000000003d0b686d61632d7368613235360000006b0d43a2012c002077c782d4e804266870d9d6623d67098782a35e94\
                      390967769c4f921184398d1abdce00000000";
/// dig -y …: www.b.demo A.
const QUERY: &str = "e83b012000010000000000020377777701620464656d6f000001000100002904d0000000000000046468637001620464656d6f\
                     0000fa00ff00000000003d0b686d61632d7368613235360000006b0d43a2012c00204c0efff518f6d0700954a834bdfec2e583\
                     3e0b09ee997470885a67b6247fb55ee83b00000000";
/// When both were signed, in seconds since 1970.
const SIGNED: u64 = 0x6b0d_43a2;
const SECRET: &[u8] = b"secret of thirty-two octets made";

fn hex(text: &str) -> Vec<u8> {
    let octet = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(octet).collect()
}

fn key(algorithm: Algorithm, secret: &[u8]) -> Keyring {
    Keyring::new([SharedKey::new(name("dhcp.b.demo").unwrap(), algorithm, secret.to_vec())])
}

fn keys() -> Keyring {
    key(Algorithm::Sha256, SECRET)
}

fn is_ours(zone: &Name) -> bool {
    *zone == name("b.demo").unwrap()
}

fn read(bytes: &[u8], keys: &Keyring, now_s: u64) -> Result<Update, (QueryOutcome, Vec<u8>)> {
    parse(bytes, keys, is_ours, now_s).map_err(|wrong| (wrong.outcome, wrong.reply.unwrap_or_default()))
}

/// An UPDATE of b.demo with these records (name, type, class, TTL, data) as prerequisites and as changes.
fn unsigned(
    prerequisites: &[(&str, u16, u16, u32, &[u8])],
    changes: &[(&str, u16, u16, u32, &[u8])],
) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 0x28, 0, 0, 1];
    bytes.extend((prerequisites.len() as u16).to_be_bytes());
    bytes.extend((changes.len() as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(b"\x01b\x04demo\0\0\x06\0\x01");
    for (owner, kind, class, ttl, data) in prerequisites.iter().chain(changes) {
        for label in &name(owner).unwrap() {
            bytes.push(label.len() as u8);
            bytes.extend(label);
        }
        bytes.push(0);
        bytes.extend(kind.to_be_bytes());
        bytes.extend(class.to_be_bytes());
        bytes.extend(ttl.to_be_bytes());
        bytes.extend((data.len() as u16).to_be_bytes());
        bytes.extend(*data);
    }
    bytes
}

#[test]
fn what_nsupdate_sends_is_read() {
    let update = read(&hex(UPDATE), &keys(), SIGNED + 300).unwrap();
    let [n1, n2] = ["n1.b.demo", "n2.b.demo"].map(|text| name(text).unwrap());
    assert_eq!(update.key(), name("dhcp.b.demo").as_ref());
    assert_eq!(update.prerequisites, [Prerequisite::NotInUse(n1.clone())]);
    let data = |bytes: &[u8]| Data::from(bytes);
    assert_eq!(
        update.changes,
        [
            ZoneChange::Add(n1.clone(), RecordType::A, data(&[192, 168, 10, 12])),
            ZoneChange::Add(n1, RecordType::TXT, data(b"\x04note")),
            ZoneChange::DeleteSet(n2, RecordType::A),
        ]
    );
    // QR, the opcode, the code, and a signature behind it.
    let reply = update.reply(ResponseCode::NoError);
    assert_eq!((&reply[..4], &reply[10..12]), (&[0xbd, 0xce, 0xa8, 0][..], &[0, 1][..]));
}

/// The other end's view of an answer: RFC 8945 §5.3.1 has the request's MAC, with its length, in front of it.
#[test]
fn an_answer_is_signed_with_the_request_before_it() {
    // Also where a forwarder has given it another number: the answer goes back under that one, and says the original.
    for id in [[0xe8, 0x3b], [7, 7]] {
        let mut bytes = hex(QUERY);
        bytes[..2].copy_from_slice(&id);
        let reply = answer::refused(&parse_signed(&bytes, Transport::Udp, &keys(), SIGNED).unwrap());
        assert_eq!((&reply[..2], &reply[reply.len() - 6..reply.len() - 4]), (&id[..], &[0xe8, 0x3b][..]));
        is_signed_behind_the_query(&reply);
    }
}

fn is_signed_behind_the_query(reply: &[u8]) {
    use hmac::{Hmac, KeyInit, Mac};
    // name 13, type to length 10, algorithm 13, time and fudge 8, MAC 2 + 32, id to other 6.
    let at = reply.len() - (13 + 10 + 13 + 8 + 34 + 6);
    let mut unsigned = reply[..at].to_vec();
    unsigned[11] -= 1;
    // RFC 8945 §4.3.2: the original number takes the place of the one in front.
    unsigned[..2].copy_from_slice(&reply[reply.len() - 6..reply.len() - 4]);
    let request_mac = &hex(QUERY)[hex(QUERY).len() - 38..][..32];
    let mut variables = reply[at..at + 13].to_vec();
    variables.extend([0, 255, 0, 0, 0, 0]);
    variables.extend(&reply[at + 23..at + 44]);
    variables.extend([0; 4]);
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET).unwrap();
    for part in [&[0, 32][..], request_mac, &unsigned, &variables] {
        mac.update(part);
    }
    assert!(mac.verify_slice(&reply[at + 46..at + 78]).is_ok());
}

/// RFC 8945 §5.2: each fault has its error, in a record that is signed for a wrong time alone.
#[test]
fn a_wrong_signature_is_told_which() {
    let bytes = hex(UPDATE);
    let error = |reply: &[u8]| u16::from_be_bytes([reply[reply.len() - 4], reply[reply.len() - 3]]);
    let (outcome, reply) = read(&bytes, &Keyring::default(), SIGNED).unwrap_err();
    assert_eq!((outcome, reply[3] & 15, error(&reply)), (QueryOutcome::BadKey, 9, 17));
    let (outcome, reply) = read(&bytes, &key(Algorithm::Sha512, SECRET), SIGNED).unwrap_err();
    assert_eq!((outcome, error(&reply)), (QueryOutcome::BadKey, 17), "another algorithm");
    let (outcome, reply) = read(&bytes, &key(Algorithm::Sha256, &[7; 32]), SIGNED).unwrap_err();
    assert_eq!((outcome, reply[3] & 15, error(&reply)), (QueryOutcome::BadSignature, 9, 16));
    assert_eq!(reply.len(), 12 + 13 + 10 + 13 + 16, "no MAC");
    for now in [SIGNED + 301, SIGNED - 301] {
        let (outcome, reply) = read(&bytes, &keys(), now).unwrap_err();
        assert_eq!((outcome, reply[3] & 15), (QueryOutcome::BadTime, 9));
        let other = &reply[reply.len() - 6..];
        assert_eq!(u64::from_be_bytes([&[0, 0], other].concat().try_into().unwrap()), now, "our time");
        assert_eq!(reply.len(), 12 + 13 + 10 + 13 + 16 + 32 + 6, "signed");
    }
    for at in 12..bytes.len() {
        let mut other = bytes.clone();
        other[at] ^= 1;
        let is_his = read(&other, &keys(), SIGNED).is_ok_and(|update| update.key().is_some());
        assert!(!is_his, "octet {at}");
        assert!(read(&bytes[..at], &keys(), SIGNED).is_err(), "cut at {at}");
    }
}

/// RFC 8945 §5.2.2.1: half of the MAC will do, less is no message.
#[test]
fn a_mac_may_be_cut_short_to_its_half() {
    let bytes = hex(UPDATE);
    let cut = |octets: usize| {
        let (end, mac_at) = (bytes.len(), bytes.len() - 6 - 32);
        let mut short = bytes[..mac_at + octets].to_vec();
        short.extend(&bytes[end - 6..]);
        short[mac_at - 1] = octets as u8;
        let length_at = mac_at - 2 - 8 - 13 - 1;
        short[length_at] -= 32 - octets as u8;
        short
    };
    assert!(read(&cut(16), &keys(), SIGNED).is_ok());
    let (outcome, reply) = read(&cut(15), &keys(), SIGNED).unwrap_err();
    assert_eq!((outcome, reply[3] & 15), (QueryOutcome::SignatureMalformed, 1));
}

/// RFC 2136 §3.1 to §3.4.1: what is no UPDATE, of which zone, and which records may not stand in one.
#[test]
fn what_may_not_stand_in_an_update_is_told() {
    let code = |bytes: &[u8]| {
        let update = read(bytes, &keys(), SIGNED);
        update.map_or_else(|(_, reply)| u16::from(reply[3] & 15), |_| 0)
    };
    let (a, any, axfr, class, none) = (1, 255, 252, 1, 254);
    let address = &[192, 168, 10, 12][..];
    let n = "n.b.demo";
    for (text, prerequisites, changes, expected) in [
        ("nothing at all", vec![], vec![], 0),
        ("a prerequisite with a TTL", vec![(n, a, any, 1, &[][..])], vec![], 1),
        ("one with data in class ANY", vec![(n, a, any, 0, address)], vec![], 1),
        ("one with data in class NONE", vec![(n, a, none, 0, address)], vec![], 1),
        ("one outside", vec![("n.c.demo", a, any, 0, &[])], vec![], 10),
        ("one of another class", vec![(n, a, 3, 0, address)], vec![], 1),
        ("one with a value", vec![(n, a, class, 0, address)], vec![], 0),
        ("an addition", vec![], vec![(n, a, class, 60, address)], 0),
        ("an addition outside", vec![], vec![("n.c.demo", a, class, 60, address)], 10),
        ("an addition of ANY", vec![], vec![(n, any, class, 60, &[])], 1),
        ("half an address", vec![], vec![(n, a, class, 60, &address[..3])], 1),
        ("a deletion of a set", vec![], vec![(n, a, any, 0, &[])], 0),
        ("one with a TTL", vec![], vec![(n, a, any, 1, &[])], 1),
        ("one with data", vec![], vec![(n, a, any, 0, address)], 1),
        ("one of a transfer", vec![], vec![(n, axfr, any, 0, &[])], 1),
        ("a deletion of a name", vec![], vec![(n, any, any, 0, &[])], 0),
        ("a deletion of a record", vec![], vec![(n, a, none, 0, address)], 0),
        ("one with a TTL", vec![], vec![(n, a, none, 1, address)], 1),
        ("one of ANY", vec![], vec![(n, any, none, 0, &[])], 1),
        ("a class that is none", vec![], vec![(n, a, 3, 0, &[])], 1),
    ] {
        assert_eq!(code(&unsigned(&prerequisites, &changes)), expected, "{text}");
    }
    let mut other = unsigned(&[], &[]);
    other[13] = b'c';
    assert_eq!(code(&other), 9, "NOTAUTH");
    let mut two = unsigned(&[], &[]);
    two[5] = 2;
    assert_eq!(code(&two), 1);
    let mut of_a = unsigned(&[], &[]);
    let at = of_a.len() - 3;
    of_a[at] = 1;
    assert_eq!(code(&of_a), 1, "not by its SOA");
}

struct Zone;

impl Records for Zone {
    fn of(&self, asked: &Name) -> Vec<(RecordType, Data)> {
        let is = *asked == name("n.b.demo").unwrap();
        is.then(|| (RecordType::A, Data::from(&[192, 168, 10, 12][..]))).into_iter().collect()
    }
}

/// RFC 2136 §3.2
#[test]
fn prerequisites_hold_or_have_their_code() {
    let holds = |record| read(&unsigned(&[record], &[]), &keys(), SIGNED).unwrap().holds(&Zone);
    let (n, m) = ("N.b.demo", "m.b.demo");
    for (record, expected) in [
        ((n, 255, 255, 0, &[][..]), Ok(())),
        ((m, 255, 255, 0, &[]), Err(ResponseCode::NXDomain)),
        ((m, 255, 254, 0, &[]), Ok(())),
        ((n, 255, 254, 0, &[]), Err(ResponseCode::YXDomain)),
        ((n, 1, 255, 0, &[]), Ok(())),
        ((n, 16, 255, 0, &[]), Err(ResponseCode::NXRRSet)),
        ((n, 16, 254, 0, &[]), Ok(())),
        ((n, 1, 254, 0, &[]), Err(ResponseCode::YXRRSet)),
        ((n, 1, 1, 0, &[192, 168, 10, 12]), Ok(())),
        ((n, 1, 1, 0, &[192, 168, 10, 13]), Err(ResponseCode::NXRRSet)),
    ] {
        assert_eq!(holds(record), expected, "{record:?}");
    }
    let both = [(n, 1, 1, 0, &[192, 168, 10, 12][..]), (n, 1, 1, 0, &[192, 168, 10, 13])];
    let update = read(&unsigned(&both, &[]), &keys(), SIGNED).unwrap();
    assert_eq!(update.holds(&Zone), Err(ResponseCode::NXRRSet), "one set of two");
}
