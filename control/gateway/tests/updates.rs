//! Names at run time by UPDATE (RFC 2136), signed as a host signs: what is refused, what waits, what there is room for.

mod lab;

use ces_dns::outcome::QuerySide;
use ces_gateway::{AddedName, AddedRecord, CoreSettings, Output};
use hickory_proto::op::ResponseCode;
use hmac::{Hmac, KeyInit, Mac};
use lab::{H1, Lab, S, hosts, realm};

const SECRET: &[u8] = b"secret of thirty-two octets made";
const A: u16 = 1;
const TXT: u16 = 16;
const IN: u16 = 1;
const ANY: u16 = 255;

fn lab() -> Lab {
    let keys = |settings: &mut CoreSettings| {
        let own = r#"
            upstreams = []
            name_server = "x."
            keys = [{ name = "hosts.", secret = "c2VjcmV0IG9mIHRoaXJ0eS10d28gb2N0ZXRzIG1hZGU=" }]
            updates = [{ key = "hosts.", names = ["*.a.demo", "isatap.a.demo"] }]
        "#;
        let read: ces_gateway::settings::Dns = toml::from_str(own).unwrap();
        (settings.dns.keys, settings.dns.updates) = (read.keys, read.updates);
    };
    Lab::with(keys, &realm("a.demo"), &realm("b.demo"))
}

fn name(text: &str) -> Vec<u8> {
    let labels = text.split('.').filter(|label| !label.is_empty());
    labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).chain([0]).collect()
}

/// An UPDATE of a.demo with these changes (name, type, class, data).
fn signed(changes: &[(&str, u16, u16, &[u8])], now_s: u64) -> Vec<u8> {
    let mut bytes =
        [&[0x12, 0x34, 0x28, 0, 0, 1, 0, 0, 0, changes.len() as u8, 0, 0], &*name("a.demo")].concat();
    bytes.extend([0, 6, 0, 1]);
    for (owner, kind, class, data) in changes {
        bytes.extend(name(owner));
        bytes.extend([kind.to_be_bytes(), class.to_be_bytes(), [0; 2], [0; 2]].concat());
        bytes.extend((data.len() as u16).to_be_bytes());
        bytes.extend(*data);
    }
    let (key, algorithm) = (name("hosts"), name("hmac-sha256"));
    let times = [&now_s.to_be_bytes()[2..], &[1, 44]].concat();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET).unwrap();
    for part in [&*bytes, &key, &[0, 255, 0, 0, 0, 0], &algorithm, &times, &[0; 4]] {
        mac.update(part);
    }
    bytes[11] = 1;
    bytes.extend([&*key, &[0, 250, 0, 255, 0, 0, 0, 0, 0, (algorithm.len() + 48) as u8]].concat());
    bytes.extend(
        [&*algorithm, &times, &[0, 32], &mac.finalize().into_bytes(), &[0x12, 0x34, 0, 0, 0, 0]].concat(),
    );
    bytes
}

/// Sends one as H1; its token.
fn send(lab: &mut Lab, token: u64, changes: &[(&str, u16, u16, &[u8])]) {
    let bytes = signed(changes, lab.now / S);
    lab.raw_query(0, QuerySide::Inside, ces_dns::message::Transport::Udp, H1, &bytes, token);
}

/// Has everything be written down; what was answered.
fn answered(lab: &mut Lab, token: u64) -> Option<ResponseCode> {
    let numbers = lab.nodes[0].other.iter().filter_map(|output| match output {
        Output::Added { number, .. } => Some(*number),
        _ => None,
    });
    let last = numbers.max().unwrap_or(0);
    lab.nodes[0].gateway.handle_added_written(last, true);
    lab.settle();
    let bytes = lab.nodes[0].answers.get(&token)?.as_ref()?;
    Some(ResponseCode::from(0, bytes[3] & 15))
}

fn update(lab: &mut Lab, token: u64, changes: &[(&str, u16, u16, &[u8])]) -> ResponseCode {
    send(lab, token, changes);
    answered(lab, token).expect("an answer")
}

fn own() -> [u8; 4] {
    H1.octets()
}

/// CERT/CC VU#598349: names that programs look for by themselves are nobody's who only says so, unless a rule lists them.
#[test]
fn names_that_programs_trust_are_set_where_a_rule_lists_them() {
    let mut lab = lab();
    for (n, name, code) in [
        (1, "pc.a.demo", ResponseCode::NoError),
        (2, "wpad.a.demo", ResponseCode::Refused),
        (3, "localhost.a.demo", ResponseCode::Refused),
        (4, "wpad.pc.a.demo", ResponseCode::Refused),
        (5, "WPAD.a.demo", ResponseCode::Refused),
        (6, "isatap.a.demo", ResponseCode::NoError),
    ] {
        assert_eq!(update(&mut lab, 9000 + n, &[(name, A, IN, &own())]), code, "{name}");
    }
    assert!(lab.logged(0, "update refused", "trust"));
}

/// RFC 2136 §3.7: what came first is done first, also where settings that it waited for do not come into force.
#[test]
fn nothing_overtakes_an_update_that_waits_for_other_settings() {
    let mut lab = lab();
    let settings = lab.nodes[0].settings.clone();
    let (registry, policies) = ces_gateway::registry::load(&hosts(&realm("a.demo")), &settings).unwrap();
    lab.nodes[0].gateway.begin_reload(settings, registry, policies).unwrap();
    send(&mut lab, 9001, &[("pc.a.demo", A, IN, &own())]);
    assert_eq!(answered(&mut lab, 9001), None, "it waits");
    assert!(lab.nodes[0].gateway.cancel_reload());
    send(&mut lab, 9002, &[("pc.a.demo", ANY, ANY, &[])]);
    lab.advance(S);
    assert_eq!(answered(&mut lab, 9001), Some(ResponseCode::NoError));
    assert_eq!(answered(&mut lab, 9002), Some(ResponseCode::NoError));
    assert_eq!(lab.nodes[0].gateway.added_names(), 0, "it was set, and then deleted");
}

/// Names that have only notes take room as others do; who deletes as many as he adds needs none.
#[test]
fn there_is_room_for_so_many_names_whatever_is_said_of_them() {
    let mut lab = lab();
    let note = |n: usize| AddedRecord {
        name: format!("n{n}.a.demo.").into(),
        is: Some(AddedName { notes: vec![(TXT, Box::from(*b"\x01x"))], ..AddedName::default() }),
    };
    let now = lab.now;
    lab.nodes[0].gateway.restore_added((1..65_536).map(note).collect(), now);
    let text = &b"\x04note"[..];
    let fails = ResponseCode::ServFail;
    assert_eq!(update(&mut lab, 9001, &[("x.a.demo", TXT, IN, text), ("y.a.demo", TXT, IN, text)]), fails);
    assert_eq!(update(&mut lab, 9002, &[("x.a.demo", TXT, IN, text)]), ResponseCode::NoError);
    assert_eq!(update(&mut lab, 9003, &[("y.a.demo", TXT, IN, text)]), fails);
    assert_eq!(update(&mut lab, 9004, &[("x.a.demo", A, IN, &own())]), ResponseCode::NoError, "it is there");
    let exchange = [("x.a.demo", ANY, ANY, &[][..]), ("y.a.demo", A, IN, &own())];
    assert_eq!(update(&mut lab, 9005, &exchange), ResponseCode::NoError);
    assert_eq!(lab.nodes[0].gateway.added_names(), 65_536);
}
