//! Peers that break the rules: each is closed, blocked for its time, counted, and leaves nothing behind.

mod lab;

use ces_cetp::engine::*;
use ces_cetp::frame;
use lab::{MS, S, TestOwner};
use std::net::SocketAddr;

struct Victim {
    engine: ces_cetp::Engine,
    owner: TestOwner,
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn victim(change: impl Fn(&mut EngineSettings)) -> Victim {
    let mut settings = lab::settings("gwb.demo.", "192.0.2.2");
    change(&mut settings);
    let mut lab = lab::Lab::new();
    lab.add(settings, lab::host_policies("gwb.demo.", 2, &[]));
    let lab::Node { engine, owner, .. } = lab.nodes.pop().unwrap();
    Victim { engine, owner }
}

impl Victim {
    fn accept(&mut self, remote: &str, now: Nanos) -> Result<ConnId, AcceptError> {
        let identity = PeerIdentity { ces_id: Some("gwx.demo.".into()) };
        self.engine.handle_accepted(identity, at(remote), now)
    }

    fn hear(&mut self, conn: ConnId, bytes: &[u8], now: Nanos) -> Vec<CetpOutput> {
        self.engine.handle_received(&mut self.owner, conn, bytes, now);
        self.outputs()
    }

    fn say(&mut self, conn: ConnId, json: &str, now: Nanos) -> Vec<CetpOutput> {
        self.hear(conn, &frame::emit(json.as_bytes()).unwrap(), now)
    }

    fn outputs(&mut self) -> Vec<CetpOutput> {
        std::iter::from_fn(|| self.engine.poll_output()).collect()
    }

    fn time(&mut self, now: Nanos) -> Vec<CetpOutput> {
        while self.engine.poll_timeout().is_some_and(|at| at <= now) {
            self.engine.handle_timeout(&mut self.owner, now);
        }
        self.outputs()
    }

    fn assert_blocked(&mut self, outputs: &[CetpOutput], why: BlockReason, now: Nanos) {
        let blocked = outputs.iter().any(
            |o| matches!(o, CetpOutput::Blocked { why: w, for_ns, .. } if *w == why && *for_ns == 60 * S),
        );
        assert!(blocked, "{outputs:?}");
        assert!(outputs.iter().any(|o| matches!(o, CetpOutput::Close { .. })));
        assert_eq!(self.engine.counters().blocks[why as usize], 1);
        assert_eq!(self.accept("192.0.2.66:2", now), Err(AcceptError::Blocked));
        assert_eq!(self.accept("192.0.2.66:2", now + 60 * S - 1), Err(AcceptError::Blocked));
        assert!(self.accept("192.0.2.66:3", now + 60 * S).is_ok(), "60 s later it may try again");
        assert!(self.accept("192.0.2.67:1", now).is_ok(), "others are not concerned");
    }
}

/// A first message of C2C that satisfies the victim, or not.
fn c2c(sst: u32, version: &str) -> String {
    format!(
        r#"{{"VER":2,"SST":{sst},"DST":0,"TLV":[{{"ope":"info","group":"ces","code":"cesid","value":"gwx.demo."}},
        {{"ope":"info","group":"ces","code":"fw_version","value":"{version}"}},
        {{"ope":"info","group":"ces","code":"ttl","value":3600}},
        {{"ope":"info","group":"rloc","code":"ipv4","value":[100,80,"192.0.2.66","wan0"]}},
        {{"ope":"info","group":"payload","code":"vxlan","value":[80,77]}},
        {{"ope":"info","group":"payload","code":"geneve","value":[40,78]}}]}}"#
    )
}

fn h2h(sst: u32, source: &str, destination: &str) -> String {
    format!(
        r#"{{"VER":2,"SST":{sst},"DST":0,"TLV":[{{"ope":"info","group":"control","code":"dstep","value":"{destination}"}},
        {{"ope":"info","group":"id","code":"fqdn","value":"{source}"}},
        {{"ope":"info","group":"control","code":"caep","value":"x"}}]}}"#
    )
}

/// Only the claim: the victim has to ask for the rest.
const POOR: &str =
    r#"{"VER":2,"SST":5,"DST":0,"TLV":[{"ope":"info","group":"ces","code":"cesid","value":"gwx.demo."}]}"#;

fn up(victim: &mut Victim) -> ConnId {
    let conn = victim.accept("192.0.2.66:1", 0).unwrap();
    let outputs = victim.say(conn, &c2c(9, "0.1"), 0);
    assert!(matches!(outputs[0], CetpOutput::PeerUp { .. }), "{outputs:?}");
    conn
}

#[test]
fn a_peer_that_connects_and_says_nothing() {
    let mut victim = victim(|_| {});
    // Whom the transport names may think C2C done: it loses the connection.
    let conn = victim.accept("192.0.2.66:1", 0).unwrap();
    assert!(victim.time(2 * S - 1).is_empty());
    assert_eq!(victim.time(2 * S), [CetpOutput::Close { conn }]);
    let mut victim = self::victim(|_| {});
    victim.engine.handle_accepted(PeerIdentity { ces_id: None }, at("192.0.2.66:1"), 0).unwrap();
    let outputs = victim.time(2 * S);
    victim.assert_blocked(&outputs, BlockReason::C2cSilent, 2 * S);
}

#[test]
fn a_peer_that_never_gets_to_the_point() {
    let mut victim = victim(|_| {});
    let conn = victim.accept("192.0.2.66:1", 0).unwrap();
    for _ in 0..2 {
        assert!(matches!(victim.say(conn, POOR, MS)[..], [CetpOutput::Send { .. }]));
    }
    let outputs = victim.say(conn, POOR, MS);
    victim.assert_blocked(&outputs, BlockReason::C2cRounds, MS);
}

#[test]
fn a_peer_that_sends_a_byte_at_a_time() {
    let mut victim = victim(|_| {});
    let conn = up(&mut victim);
    let frame = frame::emit(h2h(1, "h.x.", "h0.gwb.demo.").as_bytes()).unwrap();
    let mut outputs = Vec::new();
    for (index, byte) in frame.iter().enumerate() {
        let now = index as u64 * 100 * MS;
        outputs.extend(victim.time(now));
        if outputs.is_empty() {
            outputs.extend(victim.hear(conn, &[*byte], now));
        }
    }
    assert!(outputs.iter().any(|o| matches!(o, CetpOutput::PeerDown { why: PeerDownReason::Abuse, .. })));
    victim.assert_blocked(&outputs, BlockReason::Slow, 2 * S);
}

#[test]
fn a_frame_in_two_halves_is_no_abuse() {
    let mut victim = victim(|_| {});
    let conn = up(&mut victim);
    let frame = frame::emit(h2h(1, "h.x.", "h0.gwb.demo.").as_bytes()).unwrap();
    for round in 0..10 {
        let now = round * 1_500 * MS;
        assert!(victim.time(now).is_empty());
        let _ = victim.hear(conn, &frame[..50], now);
        let _ = victim.hear(conn, &[&frame[50..], &frame[..20]].concat(), now + S);
        assert!(victim.time(now + 1_400 * MS).is_empty());
        let _ = victim.hear(conn, &frame[20..], now + 1_400 * MS);
    }
    assert_eq!(victim.engine.counters().blocks, [0; 7]);
}

#[test]
fn garbage_before_c2c() {
    let absurd = r#"{"VER":2,"SST":4294967296,"DST":0,"TLV":[{"ope":"query","group":"ces","code":"ttl"}]}"#;
    for bytes in [
        vec![0, 0],
        vec![0, 3, b'{', b'}', b' '],
        frame::emit(b"GET / HTTP/1.1").unwrap(),
        frame::emit(absurd.as_bytes()).unwrap(),
        frame::emit(br#"{"VER":2,"SST":1,"DST":0,"TLV":[{"ope":"info","group":"moon","code":"x"}]}"#)
            .unwrap(),
    ] {
        let mut victim = victim(|_| {});
        let conn = victim.accept("192.0.2.66:1", 0).unwrap();
        let outputs = victim.hear(conn, &bytes, MS);
        victim.assert_blocked(&outputs, BlockReason::Garbage, MS);
        assert_eq!(victim.engine.counters().malformed, 1);
    }
}

#[test]
fn too_long_a_message() {
    let mut victim = victim(|settings| settings.limits.message_bytes = 1_000);
    let conn = victim.accept("192.0.2.66:1", 0).unwrap();
    let outputs = victim.hear(conn, &[0x03, 0xE9, b'{'], MS);
    victim.assert_blocked(&outputs, BlockReason::Garbage, MS);
}

#[test]
fn an_established_peer_may_err_a_few_times() {
    let mut victim = victim(|_| {});
    let conn = up(&mut victim);
    for _ in 0..8 {
        assert!(victim.say(conn, "nonsense", MS).is_empty());
    }
    let outputs = victim.say(conn, "nonsense", MS);
    assert!(outputs.iter().any(|o| matches!(o, CetpOutput::PeerDown { why: PeerDownReason::Abuse, .. })));
    victim.assert_blocked(&outputs, BlockReason::Garbage, MS);
}

#[test]
fn c8_errors_of_a_long_life_are_no_abuse() {
    let mut victim = victim(|_| {});
    let conn = up(&mut victim);
    for minute in 0..100 {
        assert!(victim.say(conn, "nonsense", MS + minute * 61 * S).is_empty());
    }
}

#[test]
fn c8_who_asks_for_what_we_lack_is_refused_and_not_blocked() {
    let mut victim = victim(|_| {});
    let conn = victim.accept("192.0.2.66:1", 0).unwrap();
    let query = r#"{"ope":"query","group":"ces","code":"caces"}"#;
    let first = c2c(1, "0.1");
    let asks = first.replacen(r#""TLV":["#, &format!(r#""TLV":[{query},"#), 1);
    let outputs = victim.say(conn, &asks, MS);
    assert!(
        outputs.iter().any(|o| matches!(o, CetpOutput::PeerFailed { why: Failure::Unavailable, .. })),
        "{outputs:?}"
    );
    assert!(outputs.iter().any(|o| matches!(o, CetpOutput::Close { .. })));
    assert!(!outputs.iter().any(|o| matches!(o, CetpOutput::Blocked { .. })));
    let again = victim.accept("192.0.2.66:2", 2 * MS).unwrap();
    let outputs = victim.say(again, &first, 3 * MS);
    assert!(outputs.iter().any(|o| matches!(o, CetpOutput::PeerUp { .. })), "{outputs:?}");
}

/// More work than we do for anybody is no crime either; a wrong answer to what we ask for is.
#[test]
fn c8_who_asks_for_much_work_is_refused_and_not_blocked() {
    let pow = |ope: &str, value: &str| {
        let tlv = format!(r#"{{"ope":"{ope}","group":"ces","code":"pow","value":"{value}"}}"#);
        c2c(1, "0.1").replacen(r#""TLV":["#, &format!(r#""TLV":[{tlv},"#), 1)
    };
    let mut victim = victim(|_| {});
    let conn = victim.accept("192.0.2.66:1", 0).unwrap();
    let outputs = victim.say(conn, &pow("query", "0123456789abcdef;30"), MS);
    assert!(
        outputs.iter().any(|o| matches!(o, CetpOutput::PeerFailed { why: Failure::ProofOfWork, .. })),
        "{outputs:?}"
    );
    assert!(!outputs.iter().any(|o| matches!(o, CetpOutput::Blocked { .. })));
    assert!(victim.accept("192.0.2.66:2", 2 * MS).is_ok());
}

/// The victim seeks the peer itself.
fn seek(victim: &mut Victim) -> Vec<CetpOutput> {
    let (addr, port, proto) = (at("192.0.2.66:0").ip(), 49_001, Proto::Tls);
    let endpoint = Endpoint { addr, port, proto, order: 10, preference: 10, alias: None };
    let request = H2hRequest {
        source: "h0.gwb.demo.".into(),
        destination: "h.gwx.demo.".into(),
        ces_id: "gwx.demo.".into(),
        endpoints: vec![endpoint],
    };
    victim.engine.negotiate(&mut victim.owner, request, 0);
    victim.outputs()
}

#[test]
fn c7_a_peer_that_begins_at_once_with_us_is_not_blocked_for_what_goes_wrong() {
    let no_tags = c2c(0, "0.1");
    let end =
        r#"{"VER":2,"SST":5,"DST":0,"TLV":[{"ope":"info","group":"ces","code":"terminate","value":""}]}"#;
    let early = h2h(1, "h.x.", "h0.gwb.demo.");
    let wrong = c2c(9, "7");
    let empty = end.replace("\"SST\":5", "\"SST\":0");
    let cases: [&[&str]; 10] = [
        &[],
        &[&no_tags],
        &[end],
        &[&no_tags, end, &no_tags],
        &[&early, &early, &early, &early],
        &[&early, end, &no_tags],
        &[&empty],
        &[&empty, &early, &empty],
        &[&wrong],
        &[POOR, POOR, POOR],
    ];
    for (index, says) in cases.iter().enumerate() {
        let mut victim = victim(|_| {});
        assert!(matches!(seek(&mut victim)[..], [CetpOutput::Connect { .. }]));
        let conn = victim.accept("192.0.2.66:1", 0).unwrap();
        let mut outputs = Vec::new();
        for say in *says {
            outputs.extend(victim.say(conn, say, MS));
        }
        outputs.extend(victim.time(2 * S));
        outputs.extend(victim.time(10 * S));
        assert!(
            !outputs.iter().any(|o| matches!(o, CetpOutput::Blocked { .. })),
            "case {index}: {outputs:?}"
        );
        let again = victim.accept("192.0.2.66:2", 10 * S).unwrap();
        let outputs = victim.say(again, &c2c(10, "0.1"), 10 * S);
        assert!(outputs.iter().any(|o| matches!(o, CetpOutput::PeerUp { .. })), "case {index}: {outputs:?}");
    }
}

#[test]
fn c7_a_first_message_without_tags_is_passed_over() {
    let mut victim = victim(|_| {});
    let conn = victim.accept("192.0.2.66:1", 0).unwrap();
    assert!(victim.say(conn, &c2c(0, "0.1"), MS).is_empty());
    let outputs = victim.say(conn, &c2c(9, "0.1"), MS);
    assert!(matches!(outputs[0], CetpOutput::PeerUp { .. }), "{outputs:?}");
}

#[test]
fn a_flood() {
    let mut victim = victim(|settings| settings.limits.messages_per_s = 100);
    let conn = up(&mut victim);
    let mut outputs = Vec::new();
    let mut count = 0;
    while !outputs.iter().any(|o| matches!(o, CetpOutput::Close { .. })) {
        outputs.extend(victim.say(conn, &h2h(1, "h.x.", "nothing.gwb.demo."), 10 * MS));
        count += 1;
    }
    assert!((98..=102).contains(&count), "{count}");
    victim.assert_blocked(&outputs, BlockReason::Flood, 10 * MS);
}

#[test]
fn the_allowed_rate_is_no_flood() {
    let mut victim = victim(|settings| settings.limits.messages_per_s = 100);
    let conn = up(&mut victim);
    for index in 0..1_000 {
        let outputs = victim.say(conn, &h2h(1, "h.x.", "nothing.gwb.demo."), index * 10 * MS);
        assert!(
            matches!(outputs[..], [CetpOutput::Send { .. }, CetpOutput::Refused { .. }]),
            "{index}: {outputs:?}"
        );
    }
}

#[test]
fn h2h_before_c2c() {
    let mut victim = victim(|_| {});
    let conn = victim.accept("192.0.2.66:1", 0).unwrap();
    for _ in 0..2 {
        assert!(victim.say(conn, &h2h(1, "h.x.", "h0.gwb.demo."), MS).is_empty());
    }
    let outputs = victim.say(conn, &h2h(1, "h.x.", "h0.gwb.demo."), MS);
    victim.assert_blocked(&outputs, BlockReason::C2cRounds, MS);
    assert_eq!(victim.owner.reserves, 0);
}

#[test]
fn another_s_name_or_ours() {
    for name in ["gwz.demo.", "gwb.demo.", ""] {
        let mut victim = victim(|_| {});
        let conn = victim.accept("192.0.2.66:1", 0).unwrap();
        let outputs = victim.say(conn, &c2c(9, "0.1").replace("gwx.demo.", name), MS);
        assert!(
            outputs.iter().any(|o| matches!(o, CetpOutput::PeerFailed { why: Failure::Identity, .. })),
            "{outputs:?}"
        );
        victim.assert_blocked(&outputs, BlockReason::C2cFailed, MS);
    }
    let mut victim = victim(|_| {});
    let own = PeerIdentity { ces_id: Some("GWB.demo".into()) };
    let accepted = victim.engine.handle_accepted(own, at("192.0.2.66:1"), 0);
    assert_eq!(accepted, Err(AcceptError::Identity));
}

#[test]
fn without_proof_a_claim_does_not_take_a_proven_name() {
    let mut victim = victim(|_| {});
    up(&mut victim);
    let anonymous = PeerIdentity::default();
    let conn = victim.engine.handle_accepted(anonymous, at("192.0.2.99:1"), 0).unwrap();
    let outputs = victim.say(conn, &c2c(10, "0.1"), MS);
    assert!(outputs.iter().any(|o| matches!(o, CetpOutput::PeerFailed { why: Failure::Identity, .. })));
    assert_eq!(victim.engine.peers(0)[0].tags.unwrap().1, 9, "the true peer's C2C stands");
}

#[test]
fn many_connections_of_one_address() {
    let mut victim = victim(|settings| settings.limits.connections = 20);
    for index in 0..16 {
        assert!(victim.accept(&format!("192.0.2.66:{}", index + 1), 0).is_ok());
    }
    assert_eq!(victim.accept("192.0.2.66:99", 0), Err(AcceptError::Overload));
    for index in 0..4 {
        assert!(victim.accept(&format!("192.0.2.{}:1", 100 + index), 0).is_ok());
    }
    assert_eq!(victim.accept("192.0.2.200:1", 0), Err(AcceptError::Overload));
    assert_eq!(victim.engine.counters().accepts_refused, 2);
    let _ = victim.time(2 * S);
    assert!(victim.accept("192.0.2.201:1", 2 * S).is_ok(), "the silent ones are gone");
}

#[test]
fn messages_for_sessions_that_are_not_there() {
    let mut victim = victim(|_| {});
    let conn = up(&mut victim);
    let terminate =
        r#"{"VER":2,"SST":1,"DST":2,"TLV":[{"ope":"info","group":"control","code":"terminate","value":""}]}"#;
    assert!(victim.say(conn, terminate, MS).is_empty(), "no answer to an end");
    let end_all = terminate.replace("control", "ces");
    assert!(victim.say(conn, &end_all, MS).is_empty());
    assert!(victim.engine.peers(MS)[0].up);
    let late =
        r#"{"VER":2,"SST":1,"DST":2,"TLV":[{"ope":"info","group":"id","code":"fqdn","value":"h.x."}]}"#;
    let outputs = victim.say(conn, late, MS);
    let [CetpOutput::Send { bytes, .. }] = &outputs[..] else { panic!("{outputs:?}") };
    assert!(String::from_utf8_lossy(bytes).contains(r#""SST":2,"DST":1"#), "what nobody waits for is ended");
    assert_eq!(victim.engine.counters().unknown_session, 3);
}

#[test]
fn another_peer_s_session_cannot_be_ended() {
    let mut victim = victim(|_| {});
    let conn = up(&mut victim);
    let outputs = victim.say(conn, &h2h(50, "h.x.", "h0.gwb.demo."), MS);
    let CetpOutput::H2hUp { session } = &outputs[0] else { panic!("{outputs:?}") };
    let identity = PeerIdentity { ces_id: Some("gwy.demo.".into()) };
    let other = victim.engine.handle_accepted(identity, at("192.0.2.77:1"), 0).unwrap();
    let _ = victim.say(other, &c2c(10, "0.1").replace("gwx.demo.", "gwy.demo."), MS);
    let tag = session.local_tag;
    let terminate = format!(
        r#"{{"VER":2,"SST":50,"DST":{tag},"TLV":[{{"ope":"info","group":"control","code":"terminate","value":""}}]}}"#
    );
    assert!(victim.say(other, &terminate, MS).is_empty());
    assert!(victim.engine.session(tag).is_some());
    let wrong_sst = terminate.replace("\"SST\":50", "\"SST\":51");
    assert!(victim.say(conn, &wrong_sst, MS).is_empty());
    assert!(victim.engine.session(tag).is_some());
    assert_eq!(
        victim.say(conn, &terminate, MS),
        [CetpOutput::H2hDown { local_tag: tag, why: DownReason::ByPeer }]
    );
}

#[test]
fn names_that_are_none() {
    let mut victim = victim(|_| {});
    let conn = up(&mut victim);
    let long = format!("{}.", "a".repeat(255));
    for (source, destination) in
        [("", "h0.gwb.demo."), ("h.x.", ""), (&*long, "h0.gwb.demo."), ("h x.", "h0.gwb.demo.")]
    {
        assert!(victim.say(conn, &h2h(1, source, destination), MS).is_empty());
    }
    assert!(
        victim
            .say(conn, &h2h(0, "h.x.", "h0.gwb.demo.").replace("\"DST\":0", "\"DST\":\"0\""), MS)
            .is_empty()
    );
    let received = victim.engine.counters().h2h_received;
    assert_eq!(received.failed[Failure::Malformed as usize], 4);
    assert_eq!(victim.engine.counters().malformed, 1);
    assert_eq!(victim.owner.reserves, 0);
}

#[test]
fn work_beyond_measure_is_refused() {
    let mut victim = victim(|_| {});
    let conn = victim.accept("192.0.2.66:1", 0).unwrap();
    let pow = r#"},{"ope":"query","group":"ces","code":"pow","value":"aaaaaaaaaaaaaaaa;40"}]}"#;
    let message = c2c(9, "0.1").replace("}]}", pow);
    let outputs = victim.say(conn, &message, MS);
    assert!(
        outputs.iter().any(|o| matches!(o, CetpOutput::PeerFailed { why: Failure::ProofOfWork, .. })),
        "{outputs:?}"
    );
}

#[test]
fn the_operator_s_block() {
    let mut victim = victim(|_| {});
    up(&mut victim);
    victim.engine.block(&mut victim.owner, at("192.0.2.66:0").ip(), 10 * S, S);
    let outputs = victim.outputs();
    assert!(outputs.iter().any(|o| matches!(o, CetpOutput::Close { .. })));
    assert_eq!(victim.engine.blocks(S)[0].left_s, 10);
    assert_eq!(victim.accept("192.0.2.66:9", 2 * S), Err(AcceptError::Blocked));
    assert!(victim.engine.unblock(at("192.0.2.66:0").ip()));
    assert!(victim.accept("192.0.2.66:9", 2 * S).is_ok());
}

/// Values that a message may carry where something else is expected.
const ODD: [&str; 12] = [
    "null",
    "true",
    "-1",
    "0",
    "4294967296",
    "18446744073709551616",
    "1.5",
    r#""""#,
    r#""x""#,
    "[]",
    "{}",
    r#"[[{"a":[1]}]]"#,
];

proptest::proptest! {
    #[test]
    fn whatever_a_peer_says_the_engine_holds(
        says in proptest::collection::vec((0usize..8, 0usize..400, 0usize..12, proptest::prelude::any::<bool>()), 1..20),
        established: bool,
    ) {
        let mut victim = victim(|settings| settings.limits.malformed = 1_000);
        let conn = if established { up(&mut victim) } else { victim.accept("192.0.2.66:1", 0).unwrap() };
        let tags = victim.engine.peers(0).first().and_then(|peer| peer.tags).unwrap_or((1, 2));
        let after = |tlvs: &str| format!(r#"{{"VER":2,"SST":{},"DST":{},"TLV":[{tlvs}]}}"#, tags.1, tags.0);
        let messages = [
            c2c(9, "0.1"),
            POOR.to_owned(),
            h2h(7, "h.x.", "h0.gwb.demo."),
            h2h(7, "h.x.", "h1.gwb.demo."),
            after(r#"{"ope":"query","group":"ces","code":"host_filtering","value":{"remote_host":"h0.gwb.demo."}},
                {"ope":"query","group":"ces","code":"ack","value":3}"#),
            after(r#"{"ope":"query","group":"ces","code":"evidence","value":"{\"h2h_session\":[1,2],\"misbehavior\":\"x\"}"},
                {"ope":"query","group":"ces","code":"ack","value":3}"#),
            after(r#"{"ope":"info","group":"ces","code":"terminate","value":{"sessions":[[1,2],"x",[7]]}}"#),
            after(r#"{"ope":"info","group":"control","code":"terminate","value":""}"#),
        ];
        for (which, at, odd, replace) in says {
            let mut json = messages[which].clone();
            if replace {
                // One value becomes something else.
                let values: Vec<usize> = json.match_indices("\":").map(|(index, _)| index + 2).collect();
                let start = values[at % values.len()];
                let mut stream = serde_json::Deserializer::from_str(&json[start..]).into_iter::<serde_json::Value>();
                let _ = stream.next();
                let end = start + stream.byte_offset();
                json.replace_range(start..end, ODD[odd]);
            }
            let outputs = victim.say(conn, &json, MS);
            for output in outputs {
                match output {
                    CetpOutput::H2hUp { session } => {
                        proptest::prop_assert!(victim.owner.reserved.remove(&session.local_tag));
                        victim.owner.up.insert(session.local_tag, session);
                    }
                    CetpOutput::H2hDown { local_tag, .. } => {
                        proptest::prop_assert!(victim.owner.up.remove(&local_tag).is_some());
                    }
                    _ => {}
                }
            }
            proptest::prop_assert!(victim.owner.reserved.is_empty());
        }
    }
}
