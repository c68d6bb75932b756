//! The recorded exchanges of the reference implementation: all are parsed, and the engine, put in the place of either
//! side, says the same. Compared as sets of TLVs; tags, tunnel ids, tokens and acknowledgements are drawn anew.

mod lab;

use ces_cetp::engine::*;
use ces_cetp::message::Message;
use ces_cetp::{Engine, frame};
use lab::S;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

fn traces() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/traces")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(traces().join(name)).unwrap()
}

/// The messages of a trace: who sent it, and what.
fn messages(name: &str) -> Vec<(String, Value)> {
    let trace: Value = serde_json::from_str(&read(name)).unwrap();
    let events = trace["events"].as_array().cloned().unwrap_or_default();
    let message = |event: &Value| Some((event["from"].as_str()?.to_owned(), event.get("message")?.clone()));
    events.iter().filter_map(message).collect()
}

/// What a message says, without what is drawn at random: numbers and decimal strings are one.
fn said(message: &Value) -> BTreeSet<String> {
    let plain = |value: &Value| match value {
        Value::String(text) if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() => {
            json!(text.parse::<u64>().unwrap())
        }
        other => other.clone(),
    };
    let tlv = |tlv: &Value| {
        let mut tlv = tlv.clone();
        let (group, code) =
            (tlv["group"].as_str().unwrap().to_owned(), tlv["code"].as_str().unwrap().to_owned());
        if let Some(value) = tlv.get_mut("value") {
            *value = match (group.as_str(), code.as_str()) {
                ("payload", _) => json!([value[0], "id"]),
                ("ces", "pow") => json!("work"),
                (_, "ack") => json!("ack"),
                (_, "terminate") if value.is_object() => json!(said(&json!({ "TLV": [value.clone()] }))),
                _ => plain(value),
            };
        }
        tlv.to_string()
    };
    message["TLV"].as_array().unwrap().iter().map(tlv).collect()
}

fn parse_frame(bytes: &[u8]) -> Value {
    assert_eq!(usize::from(u16::from_be_bytes([bytes[0], bytes[1]])), bytes.len() - 2);
    serde_json::from_slice(&bytes[2..]).unwrap()
}

/// A network policy with what gwb (or gwa) evidently had: the shipped one of gwa with the name, `ttl` and the
/// requirements of the scenario.
fn network_policy(
    ces_id: &str,
    peers: &[&str],
    ttl: u32,
    change: impl Fn(&mut Value),
) -> Arc<ces_cetp::Policy> {
    let mut files: Value = serde_json::from_str(&read("90_policy_network_gwa_shipped.json")).unwrap();
    let policy = &mut files[0]["policy"];
    for list in ["offer", "available"] {
        for entry in policy[list].as_array_mut().unwrap() {
            match entry["code"].as_str().unwrap() {
                "cesid" => entry["value"] = json!(ces_id),
                "ttl" => entry["value"] = json!(ttl),
                _ => {}
            }
        }
    }
    policy["request"][0]["value"] = json!(peers);
    change(policy);
    Arc::new(serde_json::from_value(policy.clone()).unwrap())
}

fn settings(ces_id: &str, address: &str, policy: Arc<ces_cetp::Policy>) -> EngineSettings {
    let locators = [80, 60, 40].map(|order| Locator {
        address: LocatorAddress::Ip(address.parse().unwrap()),
        preference: 100,
        order,
        alias: "wan0".into(),
    });
    let payloads = [(Encapsulation::Vxlan, 80), (Encapsulation::Gre, 60), (Encapsulation::Geneve, 40)];
    let payloads = payloads.map(|(encapsulation, preference)| PayloadOffer { encapsulation, preference });
    EngineSettings {
        ces_id: ces_id.into(),
        network_policy: policy,
        locators: locators.to_vec(),
        payloads: payloads.to_vec(),
        trusted: Vec::new(),
        believe_unauthenticated: false,
        sealing: ces_cetp::engine::SealingSettings::default(),
        limits: ces_cetp::CetpLimits::default(),
    }
}

/// Host policies of gwb as its messages show them.
const GWB_HOSTS: &str = r#"[
{"type":"hostpolicy","fqdn":"srv1.hostb1.gwb.demo.","direction":"inbound","policy":{
  "request":[{"group":"id","code":"fqdn"},{"group":"control","code":"caep"}],
  "available":[{"group":"id","code":"fqdn","value":"srv1.hostb1.gwb.demo."},
    {"group":"control","code":"caep","value":"195.148.124.145"},{"group":"control","code":"hard_ttl","value":"180"}]}},
{"type":"hostpolicy","fqdn":"srv2.hostb1.gwb.demo.","direction":"inbound","policy":{
  "request":[{"group":"id","code":"fqdn"},{"group":"control","code":"caep"},{"group":"control","code":"ack"}],
  "available":[{"group":"id","code":"fqdn","value":"srv2.hostb1.gwb.demo."},
    {"group":"control","code":"caep","value":"195.148.124.145"}]}},
{"type":"hostpolicy","fqdn":"hostb2.gwb.demo.","direction":"outbound","policy":{
  "request":[{"group":"id","code":"fqdn"},{"group":"control","code":"caep"}],
  "offer":[{"group":"id","code":"fqdn","value":"hostb2.gwb.demo."},
    {"group":"control","code":"caep","value":"195.148.124.145"}],
  "available":[{"group":"id","code":"fqdn","value":"hostb2.gwb.demo."},
    {"group":"control","code":"caep","value":"195.148.124.145"}]}}
]"#;

struct Side {
    engine: Engine,
    owner: lab::TestOwner,
    conn: Option<ConnId>,
}

fn side(settings: EngineSettings, hosts: &str) -> Side {
    let book = lab::Book::read(hosts);
    let mut lab = lab::Lab::new();
    lab.add(settings, Vec::new());
    let lab::Node { engine, mut owner, .. } = lab.nodes.pop().unwrap();
    owner.services = book.0.keys().map(|(name, _)| (**name).to_owned()).collect();
    owner.book = book;
    Side { engine, owner, conn: None }
}

fn gwa(change: impl Fn(&mut Value)) -> Side {
    let policy = network_policy("gwa.demo.", &["gwb.demo.", "gwc.demo."], 7200, change);
    side(settings("gwa.demo.", "127.0.1.130", policy), &read("91_policy_hosts_gwa_shipped.json"))
}

fn gwb(change: impl Fn(&mut Value)) -> Side {
    let policy = network_policy("gwb.demo.", &["gwa.demo.", "gwc.demo."], 3600, change);
    side(settings("gwb.demo.", "127.0.2.130", policy), GWB_HOSTS)
}

impl Side {
    /// The reference connects to us.
    fn accept(&mut self, peer: &str) {
        let remote = "127.0.1.130:40000".parse().unwrap();
        let identity = PeerIdentity { ces_id: Some(peer.into()) };
        self.conn = Some(self.engine.handle_accepted(identity, remote, 0).unwrap());
    }

    /// We connect to the reference, for this pair of names.
    fn connect(&mut self, source: &str, destination: &str, peer: &str) -> Vec<CetpOutput> {
        let endpoint = Endpoint {
            addr: "127.0.2.130".parse().unwrap(),
            port: 49_001,
            proto: Proto::Tls,
            order: 10,
            preference: 100,
            alias: None,
        };
        let request = H2hRequest {
            source: source.into(),
            destination: destination.into(),
            ces_id: peer.into(),
            endpoints: vec![endpoint],
        };
        let _ = self.engine.negotiate(&mut self.owner, request, 0);
        let mut outputs = self.outputs();
        let connect = outputs.iter().find_map(|output| match output {
            CetpOutput::Connect { conn, .. } => Some(*conn),
            _ => None,
        });
        if let Some(conn) = connect {
            self.conn = Some(conn);
            let remote = "127.0.2.130:49001".parse().unwrap();
            let identity = PeerIdentity { ces_id: Some(peer.into()) };
            self.engine.handle_connected(&mut self.owner, conn, identity, remote, 0);
            outputs.extend(self.outputs());
        }
        outputs
    }

    fn outputs(&mut self) -> Vec<CetpOutput> {
        let mut outputs = Vec::new();
        while let Some(output) = self.engine.poll_output() {
            match &output {
                CetpOutput::H2hUp { session } => {
                    self.owner.reserved.remove(&session.local_tag);
                    self.owner.up.insert(session.local_tag, session.clone());
                }
                CetpOutput::H2hDown { local_tag, .. } => {
                    self.owner.up.remove(local_tag);
                }
                _ => {}
            }
            outputs.push(output);
        }
        outputs
    }

    fn hear(&mut self, message: &Value) -> Vec<CetpOutput> {
        let bytes = frame::emit(message.to_string().as_bytes()).unwrap();
        self.engine.handle_received(&mut self.owner, self.conn.unwrap(), &bytes, S / 10);
        self.outputs()
    }
}

fn sent(outputs: &[CetpOutput]) -> Vec<Value> {
    let frame = |output: &CetpOutput| match output {
        CetpOutput::Send { bytes, .. } => Some(parse_frame(bytes)),
        _ => None,
    };
    outputs.iter().filter_map(frame).collect()
}

/// What we say more than the reference: "no IPv6 locator" up front, which saves a round trip.
fn without_upfront(mut said: BTreeSet<String>) -> BTreeSet<String> {
    said.retain(|tlv| !(tlv.contains("notAvailable") && tlv.contains("ipv6")));
    said
}

/// Our answer to a message must say what the reference said next, to the tag of the message.
fn assert_answers(side: &mut Side, question: &Value, recorded: &Value) -> Vec<CetpOutput> {
    let outputs = side.hear(question);
    let sent = sent(&outputs);
    assert_eq!(sent.len(), 1, "{outputs:?}");
    assert_eq!(said(&sent[0]), said(recorded));
    assert_eq!(sent[0]["DST"], question["SST"]);
    assert_eq!(sent[0]["SST"] == json!(0), recorded["SST"] == json!(0), "state is kept exactly where it was");
    outputs
}

#[test]
fn every_recorded_message_is_parsed_and_comes_back() {
    let mut count = 0;
    for entry in std::fs::read_dir(traces()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with('9') {
            continue;
        }
        for (_, recorded) in messages(&name) {
            let text = recorded.to_string();
            let message = Message::parse(text.as_bytes(), 128).unwrap();
            assert!(message.tlvs.iter().all(|tlv| tlv.item().is_some()), "{name}");
            let frame = message.emit().unwrap();
            assert_eq!(parse_frame(&frame), recorded, "{name}");
            for end in 0..text.len() {
                assert!(Message::parse(&text.as_bytes()[..end], 128).is_err(), "{name} cut at {end}");
            }
            count += 1;
        }
    }
    assert_eq!(count, 30);
}

#[test]
fn as_responder_we_answer_like_gwb_in_trace_01_and_02() {
    let trace = messages("01_c2c_2rtt_h2h_1rtt.json");
    let mut gwb = gwb(|_| {});
    gwb.accept("gwa.demo.");
    assert_answers(&mut gwb, &trace[0].1, &trace[1].1);
    assert!(gwb.engine.peers(0).is_empty(), "nothing is kept after the first message");
    let outputs = assert_answers(&mut gwb, &trace[2].1, &trace[3].1);
    assert!(matches!(outputs[0], CetpOutput::PeerUp { role: Role::Responder, .. }));
    let outputs = assert_answers(&mut gwb, &trace[4].1, &trace[5].1);
    let CetpOutput::H2hUp { session } = &outputs[0] else {
        panic!("the binding stands before the answer: {outputs:?}")
    };
    assert_eq!(session.hard_ttl_s, 120, "the smaller of 120 and 180");
    assert_eq!(session.remote_tag, 3_521_597_043);
    assert_eq!(session.tunnel.encapsulation, Encapsulation::Vxlan);
    assert_eq!(session.tunnel.id_out, 3_920_606);
    assert_eq!(
        (session.tunnel.local.to_string(), session.tunnel.remote.to_string()),
        ("127.0.2.130".into(), "127.0.1.130".into())
    );

    let trace = messages("02_h2h_2rtt_ack.json");
    let outputs = gwb.hear(&trace[0].1);
    let answer = sent(&outputs).remove(0);
    assert_eq!(said(&answer), said(&trace[1].1));
    assert_eq!(answer["SST"], json!(0));
    // The same ack as recorded would be a guess; ours must come back.
    let recorded_ack = gwb.hear(&trace[2].1);
    assert_eq!(sent(&recorded_ack)[0]["TLV"][0]["code"], json!("terminate"));
    let ack =
        answer["TLV"].as_array().unwrap().iter().find(|tlv| tlv["code"] == "ack").unwrap()["value"].clone();
    let mut second = trace[2].1.clone();
    for tlv in second["TLV"].as_array_mut().unwrap() {
        if tlv["code"] == "ack" {
            tlv["value"] = ack.clone();
        }
    }
    let outputs = assert_answers(&mut gwb, &second, &trace[3].1);
    assert!(matches!(outputs[0], CetpOutput::H2hUp { .. }));
}

#[test]
fn as_initiator_we_behave_like_gwa_in_trace_01_and_02() {
    let trace = messages("01_c2c_2rtt_h2h_1rtt.json");
    let mut gwa = gwa(|_| {});
    let outputs = gwa.connect("hosta1.gwa.demo.", "srv1.hostb1.gwb.demo.", "gwb.demo.");
    let first = sent(&outputs).remove(0);
    assert_eq!(without_upfront(said(&first)), said(&trace[0].1));
    let tag = first["SST"].clone();
    let mut readdressed = |recorded: &Value, tag: &Value| {
        let mut message = recorded.clone();
        message["DST"] = tag.clone();
        sent(&gwa.hear(&message))
    };
    let second = readdressed(&trace[1].1, &tag).remove(0);
    assert_eq!(said(&second), said(&trace[2].1));
    assert_eq!((&second["SST"], &second["DST"]), (&tag, &json!(0)));
    let third = readdressed(&trace[3].1, &tag).remove(0);
    assert_eq!(said(&third), said(&trace[4].1), "C2C is done, so H2H begins");
    let mut last = trace[5].1.clone();
    last["DST"] = third["SST"].clone();
    let outputs = gwa.hear(&last);
    let CetpOutput::H2hUp { session } = &outputs[0] else { panic!("{outputs:?}") };
    assert_eq!((session.hard_ttl_s, session.remote_tag), (120, 1_257_395_471));
    assert_eq!((session.tunnel.id_out, session.tunnel.encapsulation), (3_481_671, Encapsulation::Vxlan));
    assert!(matches!(outputs[1], CetpOutput::NegotiationDone { result: Ok(_), .. }));

    let trace = messages("02_h2h_2rtt_ack.json");
    let outputs = gwa.connect("hosta1.gwa.demo.", "srv2.hostb1.gwb.demo.", "gwb.demo.");
    let first = sent(&outputs).remove(0);
    assert_eq!(said(&first), said(&trace[0].1));
    let mut reply = trace[1].1.clone();
    reply["DST"] = first["SST"].clone();
    let second = sent(&gwa.hear(&reply)).remove(0);
    assert_eq!(said(&second), said(&trace[2].1));
    assert!(second.to_string().contains("1509025458"), "the number is echoed");
    assert_eq!(second["TLV"].as_array().unwrap().last().unwrap()["code"], json!("dstep"), "dstep comes last");
    let mut last = trace[3].1.clone();
    last["DST"] = first["SST"].clone();
    let outputs = gwa.hear(&last);
    assert!(matches!(&outputs[0], CetpOutput::H2hUp { session } if session.hard_ttl_s == 120), "{outputs:?}");
}

#[test]
fn a_sender_that_is_not_allowed_is_refused_as_in_trace_04() {
    let trace = messages("04_h2h_fail_sender_not_allowed.json");
    let c2c = messages("20_c2c_1rtt.json");
    // As gwa: gwb is up (its C2C is that of gwa with the names changed), then its host asks.
    let mut ours = gwa(|_| {});
    ours.accept("gwb.demo.");
    let text = c2c[0].1.to_string().replace("gwa.demo.", "gwb.demo.").replace("0.1.130", "0.2.130");
    let mut first: Value = serde_json::from_str(&text).unwrap();
    let none = json!({"ope":"info","cmp":"notAvailable","group":"rloc","code":"ipv6"});
    first["TLV"].as_array_mut().unwrap().push(none);
    assert!(matches!(ours.hear(&first)[0], CetpOutput::PeerUp { .. }));
    let outputs = assert_answers(&mut ours, &trace[0].1, &trace[1].1);
    assert!(matches!(&outputs[1], CetpOutput::Refused { why: Failure::Unmet, .. }), "{outputs:?}");
    assert_eq!(ours.owner.reserves, 0);

    // As gwb: we ask, the reference refuses.
    let mut gwb =
        gwb(|policy| policy["request"].as_array_mut().unwrap().retain(|entry| entry["code"] != "ipv6"));
    let outputs = gwb.connect("hostb2.gwb.demo.", "srv1.hosta1.gwa.demo.", "gwa.demo.");
    let first = sent(&outputs).remove(0);
    let text = c2c[1].1.to_string().replace("gwb.demo.", "gwa.demo.").replace("0.2.130", "0.1.130");
    let mut answer: Value = serde_json::from_str(&text).unwrap();
    answer["DST"] = first["SST"].clone();
    let h2h = sent(&gwb.hear(&answer)).remove(0);
    assert_eq!(said(&h2h), said(&trace[0].1));
    let mut refusal = trace[1].1.clone();
    refusal["DST"] = h2h["SST"].clone();
    let outputs = gwb.hear(&refusal);
    assert!(
        matches!(&outputs[0], CetpOutput::NegotiationDone { result: Err(Failure::Refused), .. }),
        "{outputs:?}"
    );
    assert!(gwb.owner.reserved.is_empty());
}

/// As gwb, with C2C of trace 20 and the H2H of it up; the tags of both, (theirs, ours).
fn connected() -> (Side, (Value, Value), (Value, Value)) {
    let trace = messages("20_c2c_1rtt.json");
    let mut gwb =
        gwb(|policy| policy["request"].as_array_mut().unwrap().retain(|entry| entry["code"] != "ipv6"));
    gwb.accept("gwa.demo.");
    let outputs = assert_answers(&mut gwb, &trace[0].1, &trace[1].1);
    let c2c = sent(&outputs)[0]["SST"].clone();
    let outputs = assert_answers(&mut gwb, &trace[2].1, &trace[3].1);
    let h2h = sent(&outputs)[0]["SST"].clone();
    (gwb, (trace[0].1["SST"].clone(), c2c), (trace[2].1["SST"].clone(), h2h))
}

#[test]
fn one_round_trip_is_enough_as_in_trace_20() {
    let (gwb, ..) = connected();
    assert_eq!(gwb.engine.counters().c2c_received.established, 1);
    assert_eq!(gwb.engine.counters().asked, 0);
}

#[test]
fn an_established_session_ends_as_in_trace_06() {
    let trace = messages("06_h2h_terminate_established.json");
    let (mut gwb, _, (theirs, ours)) = connected();
    let mut terminate = trace[0].1.clone();
    (terminate["SST"], terminate["DST"]) = (theirs, ours.clone());
    let outputs = gwb.hear(&terminate);
    let tag = ours.as_u64().unwrap() as u32;
    assert_eq!(outputs, [CetpOutput::H2hDown { local_tag: tag, why: DownReason::ByPeer }]);

    // And the other way round: we terminate, and say it like gwa.
    let (mut gwb, _, (theirs, ours)) = connected();
    assert!(gwb.engine.terminate_session(ours.as_u64().unwrap() as u32));
    let outputs = gwb.outputs();
    let said_by_us = sent(&outputs).remove(0);
    assert_eq!(said(&said_by_us), said(&trace[0].1));
    assert_eq!((&said_by_us["SST"], &said_by_us["DST"]), (&ours, &theirs));
}

#[test]
fn host_filtering_is_acknowledged_as_in_trace_08() {
    let trace = messages("08_c2c_host_filtering.json");
    let (mut gwb, (theirs, ours), _) = connected();
    for pair in trace.chunks(2) {
        let mut query = pair[0].1.clone();
        (query["SST"], query["DST"]) = (theirs.clone(), ours.clone());
        let outputs = gwb.hear(&query);
        let answer = sent(&outputs).remove(0);
        assert_eq!(answer["TLV"], pair[1].1["TLV"], "the very number is repeated");
        assert_eq!((&answer["SST"], &answer["DST"]), (&ours, &theirs));
    }
    let filtered: Vec<_> =
        gwb.engine.filters(S / 10).into_iter().map(|f| (f.name.to_string(), f.local)).collect();
    assert!(filtered.contains(&("hostb2.gwb.demo.".into(), true)));
    assert!(filtered.contains(&("srv1.hosta2.gwa.demo.".into(), false)));
    // What the reference's hosts met with a timeout, ours are told.
    let outputs = gwb.connect("hostb2.gwb.demo.", "srv1.hosta1.gwa.demo.", "gwa.demo.");
    assert!(
        matches!(&outputs[0], CetpOutput::NegotiationDone { result: Err(Failure::Filtered), .. }),
        "{outputs:?}"
    );
}

#[test]
fn a_wrong_version_is_refused_as_in_trace_22() {
    let trace = messages("22_c2c_fail_fw_version.json");
    let mut gwb = gwb(|_| {});
    gwb.accept("gwa.demo.");
    let outputs = assert_answers(&mut gwb, &trace[0].1, &trace[1].1);
    assert!(
        outputs
            .iter()
            .any(|output| matches!(output, CetpOutput::Blocked { why: BlockReason::C2cFailed, .. }))
    );
    assert!(matches!(outputs.last(), Some(CetpOutput::Close { .. })));
    let remote = "127.0.1.130:40001".parse().unwrap();
    let identity = PeerIdentity { ces_id: Some("gwa.demo.".into()) };
    assert_eq!(gwb.engine.handle_accepted(identity.clone(), remote, 59 * S), Err(AcceptError::Blocked));
    assert!(gwb.engine.handle_accepted(identity, remote, 61 * S).is_ok());

    // As gwa with the wrong version: the refusal is understood.
    let mut gwa = gwa(|policy| {
        policy["offer"][2]["value"] = json!("0.2");
    });
    let outputs = gwa.connect("hosta1.gwa.demo.", "srv1.hostb1.gwb.demo.", "gwb.demo.");
    let first = sent(&outputs).remove(0);
    assert_eq!(without_upfront(said(&first)), said(&trace[0].1));
    let mut refusal = trace[1].1.clone();
    refusal["DST"] = first["SST"].clone();
    let outputs = gwa.hear(&refusal);
    assert!(outputs.iter().any(|o| matches!(o, CetpOutput::PeerFailed { why: Failure::Refused, .. })));
    assert!(
        outputs
            .iter()
            .any(|o| matches!(o, CetpOutput::NegotiationDone { result: Err(Failure::Refused), .. }))
    );
}

#[test]
fn work_is_asked_and_done_as_in_trace_21() {
    let with_pow = |policy: &mut Value| {
        let request = policy["request"].as_array_mut().unwrap();
        request.insert(1, json!({"ope":"query","group":"ces","code":"pow"}));
    };
    let trace = messages("21_c2c_pow.json");
    let mut gwb = gwb(with_pow);
    gwb.accept("gwa.demo.");
    let outputs = assert_answers(&mut gwb, &trace[0].1, &trace[1].1);
    let asked = sent(&outputs).remove(0);
    let query = asked["TLV"].as_array().unwrap().iter().find(|tlv| tlv["code"] == "pow").unwrap();
    let (challenge, bits) = ces_cetp::pow::parse_query(query["value"].as_str().unwrap()).unwrap();
    assert_eq!(bits, 12);
    let mut second = trace[2].1.clone();
    for tlv in second["TLV"].as_array_mut().unwrap() {
        if tlv["code"] == "pow" && tlv["ope"] == "info" {
            tlv["value"] = json!(ces_cetp::pow::solve(challenge, bits));
        }
    }
    let outputs = assert_answers(&mut gwb, &second, &trace[3].1);
    let answer = sent(&outputs).remove(0);
    let work = answer["TLV"].as_array().unwrap().iter().find(|tlv| tlv["code"] == "pow").unwrap();
    assert!(ces_cetp::pow::verify(work["value"].as_str().unwrap(), "c330127c2c0b2883", 12));

    // As gwa: the challenge of gwb is worked on, and the recorded answer, made for another challenge, is not enough.
    let mut gwa = gwa(with_pow);
    let outputs = gwa.connect("hosta1.gwa.demo.", "srv1.hostb1.gwb.demo.", "gwb.demo.");
    let first = sent(&outputs).remove(0);
    assert_eq!(without_upfront(said(&first)), said(&trace[0].1));
    let mut reply = trace[1].1.clone();
    reply["DST"] = first["SST"].clone();
    let second = sent(&gwa.hear(&reply)).remove(0);
    assert_eq!(said(&second), said(&trace[2].1));
    let work =
        second["TLV"].as_array().unwrap().iter().find(|t| t["code"] == "pow" && t["ope"] == "info").unwrap();
    assert!(ces_cetp::pow::verify(work["value"].as_str().unwrap(), "57c5c792e1eff031", 12));
    let mut last = trace[3].1.clone();
    last["DST"] = first["SST"].clone();
    let outputs = gwa.hear(&last);
    assert!(
        outputs.iter().any(|o| matches!(o, CetpOutput::PeerFailed { why: Failure::ProofOfWork, .. })),
        "{outputs:?}"
    );
}

#[test]
fn a_second_session_for_the_same_names_is_refused_and_the_same_message_is_answered_again() {
    let trace = messages("20_c2c_1rtt.json");
    let (mut gwb, _, (_, ours)) = connected();
    let outputs = gwb.hear(&trace[2].1);
    assert_eq!(sent(&outputs)[0]["SST"], ours, "the answer may have been lost: the same one again");
    assert_eq!(outputs.len(), 1);
    let mut other = trace[2].1.clone();
    other["SST"] = json!(77);
    let outputs = gwb.hear(&other);
    let refusal = json!([{"ope":"info","group":"control","code":"terminate","value":""}]);
    assert_eq!(sent(&outputs)[0]["TLV"], refusal);
    assert!(matches!(outputs[1], CetpOutput::Refused { why: Failure::Duplicate, .. }));
    assert_eq!(gwb.engine.sessions().count(), 1);
    // C2: who asks once more has lost its side.
    let outputs = gwb.hear(&other);
    assert!(matches!(outputs[0], CetpOutput::H2hDown { why: DownReason::Replaced, .. }), "{outputs:?}");
    assert!(matches!(outputs[1], CetpOutput::H2hUp { .. }));
    assert_eq!(gwb.engine.sessions().count(), 1);
}

/// As gwa, with C2C of trace 01 up: our first message of H2H.
fn asking() -> (Side, Value) {
    let trace = messages("01_c2c_2rtt_h2h_1rtt.json");
    let mut gwa = gwa(|_| {});
    let outputs = gwa.connect("hosta1.gwa.demo.", "srv1.hostb1.gwb.demo.", "gwb.demo.");
    let tag = sent(&outputs)[0]["SST"].clone();
    let mut last = Vec::new();
    for recorded in [&trace[1].1, &trace[3].1] {
        let mut message = recorded.clone();
        message["DST"] = tag.clone();
        last = sent(&gwa.hear(&message));
    }
    (gwa, last.remove(0))
}

/// What the reference says to a pair of which it still has a session: `control.terminate`, empty.
fn duplicate(tag: &Value) -> Value {
    json!({"VER":2,"SST":0,"DST":tag,"TLV":[{"ope":"info","group":"control","code":"terminate","value":""}]})
}

/// C2: a peer that still has a session which ended here is told by its tags, where they are remembered, and asked again.
#[test]
fn c2_a_session_that_the_peer_still_has_is_ended_and_the_pair_agreed_anew() {
    let trace = messages("01_c2c_2rtt_h2h_1rtt.json");
    let (mut gwa, first) = asking();
    let mut answer = trace[5].1.clone();
    answer["DST"] = first["SST"].clone();
    let theirs = answer["SST"].clone();
    gwa.hear(&answer);
    // Its end is told, and lost.
    assert!(gwa.engine.terminate_session(first["SST"].as_u64().unwrap() as u32));
    gwa.outputs();
    let outputs = gwa.connect("hosta1.gwa.demo.", "srv1.hostb1.gwb.demo.", "gwb.demo.");
    let again = sent(&outputs).remove(0);
    let said_now = sent(&gwa.hear(&duplicate(&again["SST"])));
    assert_eq!((&said_now[0]["SST"], &said_now[0]["DST"]), (&first["SST"], &theirs));
    assert_eq!(said_now[0]["TLV"][0]["code"], json!("terminate"));
    assert_eq!((&said_now[1], said_now.len()), (&again, 2));
    answer["DST"] = again["SST"].clone();
    assert!(matches!(gwa.hear(&answer)[0], CetpOutput::H2hUp { .. }));
}

/// C2: where nothing is remembered and nothing stands with the peer, all that it still has is over.
#[test]
fn c2_a_peer_that_has_what_nobody_here_remembers_is_told_that_all_is_over() {
    let trace = messages("01_c2c_2rtt_h2h_1rtt.json");
    let (mut gwa, first) = asking();
    let said_now = sent(&gwa.hear(&duplicate(&first["SST"])));
    let tlv = &said_now[0]["TLV"][0];
    assert_eq!(
        (&tlv["group"], &tlv["code"], &tlv["value"]),
        (&json!("ces"), &json!("terminate"), &json!({"sessions":"*"}))
    );
    assert_eq!((&said_now[1], said_now.len()), (&first, 2));
    // It is asked twice, not for ever.
    let outputs = gwa.hear(&duplicate(&first["SST"]));
    assert!(
        matches!(outputs[0], CetpOutput::NegotiationDone { result: Err(Failure::Refused), .. }),
        "{outputs:?}"
    );

    // With another session, that one is not ended for it.
    let (mut gwa, first) = asking();
    let mut answer = trace[5].1.clone();
    answer["DST"] = first["SST"].clone();
    gwa.hear(&answer);
    let outputs = gwa.connect("hosta1.gwa.demo.", "srv2.hostb1.gwb.demo.", "gwb.demo.");
    let other = sent(&outputs).remove(0);
    assert_eq!(sent(&gwa.hear(&duplicate(&other["SST"]))), [other]);
    assert_eq!(gwa.engine.sessions().count(), 1);
}

/// C13: the reference draws tunnel ids for each C2C. After a loss its refusal of a pair as a duplicate shows that it has all.
#[test]
fn c13_a_node_that_draws_anew_after_a_loss_keeps_its_sessions_by_refusing_one() {
    let trace = messages("01_c2c_2rtt_h2h_1rtt.json");
    let (mut gwa, first) = asking();
    let mut answer = trace[5].1.clone();
    answer["DST"] = first["SST"].clone();
    gwa.hear(&answer);
    gwa.engine.handle_closed(&mut gwa.owner, gwa.conn.unwrap(), S / 5);
    gwa.outputs();
    let outputs = gwa.connect("hosta1.gwa.demo.", "srv2.hostb1.gwb.demo.", "gwb.demo.");
    let tag = sent(&outputs)[0]["SST"].clone();
    let mut outputs = Vec::new();
    for recorded in [&trace[1].1, &trace[3].1] {
        let mut message = recorded.clone();
        message["DST"] = tag.clone();
        for tlv in message["TLV"].as_array_mut().unwrap() {
            if tlv["group"] == "payload" && tlv["ope"] == "info" {
                tlv["value"][1] = json!(77);
            }
        }
        outputs = gwa.hear(&message);
    }
    assert!(outputs.iter().any(|output| matches!(output, CetpOutput::Doubted { .. })), "{outputs:?}");
    let about = |message: &&Value| message.to_string().contains("srv1.hostb1");
    let said_now = sent(&outputs);
    let again = said_now.iter().find(about).expect("the pair that stands is asked for");
    let outputs = gwa.hear(&duplicate(&again["SST"]));
    assert!(matches!(outputs[0], CetpOutput::DoubtOver { stands: true, .. }), "{outputs:?}");
    let kept = first["SST"].as_u64().unwrap() as u32;
    assert!(
        matches!(&outputs[1], CetpOutput::NegotiationDone { result: Ok((tag, _)), .. } if *tag == kept),
        "{outputs:?}"
    );
    assert!(gwa.owner.up.contains_key(&kept) && !gwa.engine.is_doubted(kept));
}

#[test]
fn an_unknown_mandatory_query_is_answered_not_available_and_counted() {
    let trace = messages("20_c2c_1rtt.json");
    let (mut gwb, ..) = connected();
    let mut request = trace[2].1.clone();
    request["SST"] = json!(78);
    let tlvs = request["TLV"].as_array_mut().unwrap();
    tlvs[1]["value"] = json!("other.gwa.demo.");
    tlvs.push(json!({"ope":"query","group":"control","code":"shoe_size"}));
    tlvs.push(json!({"ope":"info","group":"control","code":"hat_size","value":7}));
    let outputs = gwb.hear(&request);
    assert!(matches!(outputs[0], CetpOutput::H2hUp { .. }));
    assert!(
        said(&sent(&outputs)[0]).iter().any(|tlv| tlv.contains("shoe_size") && tlv.contains("notAvailable"))
    );
    assert_eq!(gwb.engine.counters().unknown_tlvs, 2);
}
