//! Telephones cross NAT44: baresip and sipp inside and in the world, with kamailio as their registrar, and media counted at both
//! ends. Between realms they call each other by name.

use crate::Case;
use ces_tests::lab::{Background, Edit, Lab, Realm, eventually};

pub(crate) const CASES: &[Case] = &[
    ("phones_call_each_other_through_a_registrar", phones_call_each_other_through_a_registrar),
    ("a_registrar_that_mends_nat_itself_is_not_harmed", a_registrar_that_mends_nat_itself_is_not_harmed),
    ("phones_call_each_other_over_tcp", phones_call_each_other_over_tcp),
    ("calls_are_made_moved_and_given_up", calls_are_made_moved_and_given_up),
    ("calls_are_made_moved_and_given_up_over_tcp", calls_are_made_moved_and_given_up_over_tcp),
    ("whatever_else_is_said_in_a_call", whatever_else_is_said_in_a_call),
    ("media_is_let_in_where_rules_forbid_the_world", media_is_let_in_where_rules_forbid_the_world),
    ("phones_of_two_realms_call_each_other_by_name", phones_of_two_realms_call_each_other_by_name),
    ("a_call_crosses_a_restricted_binding", a_call_crosses_a_restricted_binding),
];

/// Where the registrar is, and the telephones in the world.
const REGISTRAR: &str = "203.0.113.40";
const BOB: &str = "203.0.113.41";
const PEER: &str = "203.0.113.42";

const NAT: &[Edit] = &[(Realm::A, "[tls]\n", "[nat]\naddresses = [\"192.0.2.2\"]\n\n[tls]\n")];

/// A host that is called without having registered; nobody else is let in but by a call.
const CALLED: &[Edit] = &[(
    Realm::A,
    "[tls]\n",
    "[nat]\naddresses = [\"192.0.2.2\"]\n\n[alg.sip]\nmedia_from = \"announced\"\n\n\
     [[nat.static]]\nexternal = \"192.0.2.2\"\ninside = \"192.168.10.11\"\nprotocol = \"udp\"\nport = 5060\n\n\
     [filter]\nfiles = [\"rules\"]\n\n[tls]\n",
)];

fn events(lab: &Lab, event: &str) -> u64 {
    events_of(lab, Realm::A, event)
}

fn events_of(lab: &Lab, realm: Realm, event: &str) -> u64 {
    lab.metrics(realm).sum("ces_alg_sip_events_total", &[("event", event)]) as u64
}

/// A file of `tests/tools/sip`, with what stands for these words.
fn rendered(lab: &Lab, name: &str, to: &str, words: &[(&str, &str)]) -> String {
    let text = std::fs::read_to_string(lab.root().join("tests/tools/sip").join(name)).expect("it is there");
    let text = words.iter().fold(text, |text, (from, to)| text.replace(from, to));
    let path = lab.directory().join(to);
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("the state directory is ours");
    std::fs::write(&path, text).expect("the state directory is ours");
    path.display().to_string()
}

/// A minute of a tone: what telephones send that have no microphone.
fn tone(lab: &Lab) -> String {
    let path = lab.directory().join("tone.wav");
    let line = format!(
        "python3 -c \"import math,struct,wave
w=wave.open('{}','wb'); w.setnchannels(1); w.setsampwidth(2); w.setframerate(8000)
w.writeframes(b''.join(struct.pack('<h',int(8000*math.sin(i/3))) for i in range(8000*60)))\"",
        path.display()
    );
    lab.run("net", &line).expect();
    path.display().to_string()
}

fn registrar(lab: &Lab, more: &str) -> Background {
    let listen = format!("{REGISTRAR}:5060");
    let config = rendered(lab, "kamailio.cfg", "kamailio.cfg", &[("@LISTEN@", &listen)]);
    let at = lab.directory().display();
    lab.serve("net", &listen, &format!("kamailio -DD -E -f {config} -m 16 -M 8 -Y {at} {more}"))
}

/// A telephone on a node that the registrar knows; for so long, doing this.
fn phone(
    lab: &Lab,
    node: &str,
    (name, transport): (&str, &str),
    address: &str,
    seconds: u32,
    doing: &str,
) -> Background {
    let account = format!("<sip:{name}@{REGISTRAR};transport={transport}>;auth_pass=x;regint=600");
    phone_of(lab, (node, name, address), &account, seconds, doing)
}

/// A telephone on a node, with this account.
fn phone_of(
    lab: &Lab,
    (node, name, address): (&str, &str, &str),
    account: &str,
    seconds: u32,
    doing: &str,
) -> Background {
    let words = [("@LISTEN@", format!("{address}:5060")), ("@TONE@", tone(lab))];
    let words = words.each_ref().map(|(from, to)| (*from, to.as_str()));
    rendered(lab, "baresip.conf", &format!("phone-{name}/config"), &words);
    let at = lab.directory().join(format!("phone-{name}"));
    std::fs::write(at.join("accounts"), format!("{account};answermode=auto\n"))
        .expect("the state directory is ours");
    std::fs::write(at.join("contacts"), "").expect("the state directory is ours");
    lab.background(node, &format!("baresip -f {} -t {seconds} {doing}", at.display()))
}

/// Whether a telephone sent and received as many bits a second as its codec has, which it counts every three seconds.
fn heard(said: &str) -> bool {
    said.split("audio=").filter_map(|rest| rest.split(' ').next()).any(|rates| {
        let rates: Vec<u32> = rates.split('/').filter_map(|rate| rate.parse().ok()).collect();
        rates.len() == 2 && rates.iter().all(|rate| *rate > 50_000)
    })
}

/// The world's telephone says that it is at the name server's address, and does not bind to it: what it sends comes from there.
fn from_one_address(lab: &Lab, source: &str) {
    lab.run("net", &format!("ip route replace 192.0.2.0/30 dev gwa scope link src {source}")).expect();
}

/// One calls the other, which answers; both hear each other.
fn call(lab: &Lab, transport: &str, caller: (&str, &str, &str), called: (&str, &str, &str)) {
    let registered = events(lab, "registered");
    let waits = phone(lab, called.0, (called.1, transport), called.2, 40, "");
    let is_there = || {
        let log = lab.run("net", &format!("ss -Hlnu sport = :5060 src {}", called.2));
        events(lab, "registered") > registered || called.0 == "net" && !log.stdout.is_empty()
    };
    assert!(eventually(is_there), "{}", waits.end());
    // A registration that does not pass the gateway is seen by the registrar alone: the caller tries until it is there.
    let doing = format!("-e '/dial sip:{}@{REGISTRAR};transport={transport}'", called.1);
    let caller_is = (caller.1, transport);
    let mut said = phone(lab, caller.0, caller_is, caller.2, 9, &doing).wait();
    for _ in 0..5 {
        if said.stdout.contains("Call established") {
            break;
        }
        said = phone(lab, caller.0, caller_is, caller.2, 9, &doing).wait();
    }
    let answered = waits.end();
    assert!(said.stdout.contains("Call established"), "{said}\n{answered}");
    assert!(heard(&said.to_string()) && heard(&answered.to_string()), "{said}\n{answered}");
}

const ALICE: (&str, &str, &str) = ("a1", "alice", "192.168.10.11");

/// In either direction, and between two hosts inside, whose registrar is in the world.
fn phones_call_each_other_through_a_registrar(lab: &Lab) {
    lab.gateways(NAT);
    from_one_address(lab, "203.0.113.53");
    let registrar = registrar(lab, "");
    let (calls, ended) = (events(lab, "call"), events(lab, "ended"));
    call(lab, "udp", ALICE, ("net", "bob", BOB));
    call(lab, "udp", ("net", "bob", BOB), ALICE);
    assert!(events(lab, "call") >= calls + 2 && events(lab, "ended") >= ended + 2);
    call(lab, "udp", ("a2", "carol", "192.168.10.12"), ALICE);
    assert_eq!(events(lab, "garbled"), 0, "{}", lab.ctl(Realm::A, "show alg"));
    let registrar = registrar.end();
    assert!(!registrar.stderr.contains("192.168.10."), "{registrar}");
    lab.ctl(Realm::A, "show alg").says("SIP on UDP and TCP ports 5060");
    lab.ctl(Realm::A, "show alg --last").says("sip");
    from_one_address(lab, "192.0.2.1");
}

/// The same over TCP.
fn phones_call_each_other_over_tcp(lab: &Lab) {
    lab.gateways(NAT);
    from_one_address(lab, "203.0.113.53");
    let registrar = registrar(lab, "-A TCP");
    let (messages, garbled) = (events(lab, "message"), events(lab, "garbled"));
    call(lab, "tcp", ALICE, ("net", "bob", BOB));
    call(lab, "tcp", ("net", "bob", BOB), ALICE);
    assert!(events(lab, "message") > messages + 10, "{}", lab.ctl(Realm::A, "show alg"));
    assert_eq!(events(lab, "garbled"), garbled, "{}", lab.ctl(Realm::A, "show alg"));
    let registrar = registrar.end();
    assert!(!registrar.stderr.contains("192.168.10."), "{registrar}");
    from_one_address(lab, "192.0.2.1");
}

fn a_registrar_that_mends_nat_itself_is_not_harmed(lab: &Lab) {
    lab.gateways(NAT);
    from_one_address(lab, "203.0.113.53");
    let registrar = registrar(lab, "-A NAT");
    call(lab, "udp", ("net", "bob", BOB), ALICE);
    registrar.end();
    from_one_address(lab, "192.0.2.1");
}

/// A telephone of sipp on a node, which plays a scenario so often; what it was sent is in a file.
fn sipp(lab: &Lab, node: &str, scenario: &str, address: &str, more: &str) -> (String, Background) {
    let raw = lab.directory().join("tone.ulaw");
    std::fs::write(&raw, vec![0x55; 16_000]).expect("the state directory is ours");
    let words = [("@TONE@", raw.display().to_string())];
    let words = words.each_ref().map(|(from, to)| (*from, to.as_str()));
    let file = rendered(lab, &format!("{scenario}.xml"), &format!("{scenario}.xml"), &words);
    let log = lab.directory().join(format!("{scenario}.messages")).display().to_string();
    let _ = std::fs::remove_file(&log);
    let line = format!(
        "sipp -sf {file} -i {address} -mi {address} -cid_str call-%u -nostdin -trace_msg -message_file {log} \
         -timeout 60 -timeout_error {more}"
    );
    (log, lab.background(node, &line))
}

/// Who is to be called is there: nobody asks again who has found no connection.
fn is_there(lab: &Lab) {
    is_there_at(lab, "net", PEER);
}

fn is_there_at(lab: &Lab, node: &str, address: &str) {
    let listens = || !lab.run(node, &format!("ss -Hlntu sport = :5060 src {address}")).stdout.is_empty();
    assert!(eventually(listens), "nobody is to be called");
}

/// How many packets of media went each way between a host and the peer in the world.
fn media(lab: &Lab) -> Vec<(u64, u64)> {
    let sessions = lab.json(Realm::A, "show sessions");
    let is_media = |row: &&serde_json::Value| {
        row["protocol"] == 17
            && row["remote"].as_str().is_some_and(|at| at.starts_with(PEER) && !at.ends_with(":5060"))
    };
    let count = |row: &serde_json::Value| {
        let packets = |key: &str| row[key].as_u64().unwrap_or(0);
        (packets("out_packets"), packets("in_packets"))
    };
    sessions.as_array().expect("rows").iter().filter(is_media).map(count).collect()
}

/// INVITE, another offer, OPTIONS and BYE by one who writes compact forms; and one who gives up.
fn calls_are_made_moved_and_given_up(lab: &Lab) {
    calls_are_made_by(lab, "u1");
}

fn calls_are_made_moved_and_given_up_over_tcp(lab: &Lab) {
    calls_are_made_by(lab, "t1");
}

fn calls_are_made_by(lab: &Lab, transport: &str) {
    lab.gateways(NAT);
    let host = ALICE.2;
    let ended = events(lab, "ended");
    let (log, answerer) =
        sipp(lab, "net", "answerer", PEER, &format!("-t {transport} -rtp_echo -mp 6000 -m 3"));
    is_there(lab);
    let (_, caller) = sipp(lab, "a1", "caller", host, &format!("-t {transport} -mp 4000 -m 3 -l 1 {PEER}"));
    let went = || media(lab).iter().any(|&(out, back)| out > 20 && back > 20);
    assert!(eventually(went), "{:?} {}", media(lab), caller.end());
    let (caller, answerer) = (caller.wait(), answerer.wait());
    assert!(caller.ok() && answerer.ok(), "{caller}\n{answerer}");
    let read = std::fs::read_to_string(&log).expect("messages");
    assert!(read.contains("INVITE sip:b@") && !read.contains("192.168.10."), "{read}");
    assert!(events(lab, "ended") >= ended + 3);
    let (log, ringer) = sipp(lab, "net", "ringer", PEER, &format!("-t {transport} -m 2"));
    is_there(lab);
    let (_, gives_up) = sipp(lab, "a1", "giver-up", host, &format!("-t {transport} -m 2 -l 1 {PEER}"));
    let (gives_up, ringer) = (gives_up.wait(), ringer.wait());
    assert!(gives_up.ok() && ringer.ok(), "{gives_up}\n{ringer}");
    let read = std::fs::read_to_string(&log).expect("messages");
    assert!(read.contains("CANCEL") && !read.contains("192.168.10."), "{read}");
    assert!(events(lab, "ended") >= ended + 5);
    assert_eq!(lab.metrics(Realm::A).sum("ces_sip_calls", &[]) as u64, 0);
}

/// MESSAGE, OPTIONS, UPDATE (RFC 3311) with another offer, and REFER (RFC 3515), over either transport: nothing private leaves.
fn whatever_else_is_said_in_a_call(lab: &Lab) {
    lab.gateways(NAT);
    for transport in ["u1", "t1"] {
        let garbled = events(lab, "garbled");
        let (log, answerer) = sipp(lab, "net", "talker-answered", PEER, &format!("-t {transport} -m 1"));
        is_there(lab);
        let (heard, talker) =
            sipp(lab, "a1", "talker", ALICE.2, &format!("-t {transport} -mp 4000 -m 1 -l 1 {PEER}"));
        let (talker, answerer) = (talker.wait(), answerer.wait());
        assert!(talker.ok() && answerer.ok(), "{talker}\n{answerer}");
        let (log, heard) = [log, heard].map(|log| std::fs::read_to_string(log).expect("messages")).into();
        for method in ["MESSAGE", "OPTIONS", "UPDATE", "REFER"] {
            assert!(log.contains(&format!("{method} sip:b@")), "{method}: {log}");
        }
        assert!(!log.contains("192.168.10.") && log.contains("Refer-To: <sip:c@192.0.2.2:"), "{log}");
        assert!(!heard.contains("192.0.2.2"), "what comes back is put back: {heard}");
        assert_eq!(events(lab, "garbled"), garbled, "{}", lab.ctl(Realm::A, "show alg"));
    }
}

/// What a call announces is let in, from whom it names, and nobody else is; with the call it ends.
fn media_is_let_in_where_rules_forbid_the_world(lab: &Lab) {
    let rules = lab.directory().join("a/rules");
    std::fs::write(&rules, "allow udp from outside to inside port 5060\ndeny\n")
        .expect("the state directory is ours");
    lab.gateways(CALLED);
    lab.ctl(Realm::A, "reload").expect();
    let (log, answerer) = sipp(lab, "a1", "answerer", ALICE.2, "-rtp_echo -mp 4000 -m 1");
    let (heard, caller) = sipp(lab, "net", "caller", PEER, "-mp 6000 -m 1 192.0.2.2");
    let went = || media(lab).iter().any(|&(out, back)| out > 20 && back > 20);
    assert!(eventually(went), "{:?} {} {}", media(lab), caller.end(), answerer.end());
    let (caller, answerer) = (caller.wait(), answerer.wait());
    assert!(caller.ok() && answerer.ok(), "{caller}\n{answerer}");
    let (log, heard) = [log, heard].map(|log| std::fs::read_to_string(log).expect("messages")).into();
    assert!(log.contains("INVITE sip:b@192.168.10.11") && !heard.contains("192.168.10."), "{log}\n{heard}");
    assert!(eventually(|| media(lab).is_empty()), "{:?}", media(lab));
}

const BY_NAME: [&str; 2] = ["192.168.10.11", "192.168.10.12"];

/// One calls the other by a name, which answers; both hear each other.
fn call_by_name(lab: &Lab, caller: &str, called: &str, name: &str, transport: &str) {
    let [called_at, caller_at] = BY_NAME;
    let account = |name: &str, at: &str| format!("<sip:{name}@{at};transport={transport}>;regint=0");
    let waits = phone_of(lab, (called, "bob", called_at), &account("bob", called_at), 40, "");
    is_there_at(lab, called, called_at);
    let dial = format!("-e '/dial sip:bob@{name};transport={transport}'");
    let said = phone_of(lab, (caller, "alice", caller_at), &account("alice", caller_at), 9, &dial).wait();
    let answered = waits.end();
    assert!(said.stdout.contains("Call established"), "{said}\n{answered}");
    assert!(heard(&said.to_string()) && heard(&answered.to_string()), "{said}\n{answered}");
}

/// Through two gateways, and through one where both are of one realm: either telephone reads the other one's proxy address.
fn phones_of_two_realms_call_each_other_by_name(lab: &Lab) {
    lab.gateways(&[]);
    let before = Realm::BOTH.map(|realm| events_of(lab, realm, "rewritten"));
    call_by_name(lab, "a2", "b1", "www.b.demo", "udp");
    call_by_name(lab, "a2", "a1", "a1.a.demo", "udp");
    call_by_name(lab, "a2", "b1", "www.b.demo", "tcp");
    call_by_name(lab, "a2", "a1", "a1.a.demo", "tcp");
    for (realm, before) in Realm::BOTH.into_iter().zip(before) {
        assert!(events_of(lab, realm, "rewritten") >= before + 8, "{}", lab.ctl(realm, "show alg"));
        assert_eq!(events_of(lab, realm, "garbled"), 0, "{}", lab.ctl(realm, "show alg"));
        lab.ctl(realm, "show alg --last").says("sip");
    }
}

/// Where the pair may use SIP's port alone, media that a call announces comes in as well, until its end, and nothing else.
fn a_call_crosses_a_restricted_binding(lab: &Lab) {
    lab.gateways(&[]);
    let came = || lab.metrics(Realm::B).sum("ces_alg_events_total", &[("event", "came")]) as u64;
    let (before, [called_at, caller_at]) = (came(), BY_NAME);
    let (log, answerer) = sipp(lab, "b1", "answerer", called_at, "-t u1 -rtp_echo -mp 6000 -m 2");
    is_there_at(lab, "b1", called_at);
    let (heard, caller) = sipp(lab, "a2", "caller", caller_at, "-t u1 -mp 4000 -m 2 -l 1 phone.b.demo");
    let (caller, answerer) = (caller.wait(), answerer.wait());
    assert!(caller.ok() && answerer.ok(), "{caller}\n{answerer}");
    let (log, heard) = [log, heard].map(|log| std::fs::read_to_string(log).expect("messages")).into();
    assert!(log.contains("INVITE sip:b@192.168.10.11") && !log.contains(caller_at), "{log}");
    assert!(!heard.contains(called_at), "{heard}");
    assert!(
        came() >= before + 2,
        "{} {} {heard}",
        lab.ctl(Realm::A, "show drops"),
        lab.ctl(Realm::B, "show drops")
    );
    let knock = "python3 -c \"import socket
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.settimeout(1)
s.sendto(b'x',('phone.b.demo',6000))\"";
    let refused = lab.drops(Realm::A, "policy_protocol");
    lab.run("a2", knock).expect();
    assert!(eventually(|| lab.drops(Realm::A, "policy_protocol") > refused), "the call is over");
}
