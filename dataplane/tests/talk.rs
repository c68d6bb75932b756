//! SIP over TCP, case by case: a telephone inside and its registrar in the world, segments in, segments out. No NIC.
#![allow(missing_docs)]

mod common;

use ces_dataplane::alg::scope::AlgMode;
use ces_dataplane::reason::DropReason as Why;
use common::nat::*;
use common::talk::*;
use common::*;

const SIP: u16 = 5060;

fn message(lines: &str, body: &str) -> String {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    let lines = lines.replace('\n', "\r\n");
    format!("{lines}\r\n{kind}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn described(at: &str, port: u16) -> String {
    format!("v=0\r\no=- 1 1 IN IP4 {at}\r\ns=-\r\nc=IN IP4 {at}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n")
}

/// A request of somebody at this place, in the call `7@host`.
fn request(method: &str, from: &str, body: &str) -> String {
    let lines = format!(
        "{method} sip:b@{} SIP/2.0\nVia: SIP/2.0/TCP {from}:4000;branch=z9hG4bK1;rport\nFrom: <sip:a@x.demo>;tag=1\n\
         To: <sip:b@x.demo>\nCall-ID: 7@host\nCSeq: 1 {method}\nContact: <sip:a@{from}:4000;transport=tcp>",
        dotted(SERVER)
    );
    message(&lines, body)
}

fn response(status: &str, method: &str, via: &str, body: &str) -> String {
    let lines = format!(
        "SIP/2.0 {status}\nVia: SIP/2.0/TCP {via}:4000;branch=z9hG4bK1;received={via};rport=4000\nFrom: <sip:a@x.demo>;tag=1\n\
         To: <sip:b@x.demo>;tag=2\nCall-ID: 7@host\nCSeq: 1 {method}\nContact: <sip:b@{}:5060;transport=tcp>",
        dotted(SERVER)
    );
    message(&lines, body)
}

/// What a request of the host becomes.
fn outside(method: &str, port: Option<u16>) -> (String, String) {
    let at = |address: u32| {
        let address = dotted(address);
        request(method, &address, &port.map_or(String::new(), |port| described(&address, port)))
    };
    (at(HOST), at(LOCAL))
}

/// RFC 3261 §18.3: a call, out of a stream, with its media until it ends.
#[test]
fn a_call_is_made_and_ended() {
    let mut talk = Talk::out(nat_settings(), SIP);
    let (invite, expected) = outside("INVITE", Some(6000));
    assert_eq!(talk.host(&invite), expected);
    let answer = |at: u32| response("200 OK", "INVITE", &dotted(at), &described(&dotted(SERVER), 7000));
    assert_eq!(talk.world(&answer(LOCAL)), answer(HOST));
    assert_eq!(talk.media((SERVER, 7000), 6000), Ok(6000));
    assert_eq!(talk.media((SERVER, 7001), 6001), Ok(6001));
    let (bye, expected) = outside("BYE", None);
    assert_eq!(talk.host(&bye), expected);
    assert_eq!(talk.live().0, 1);
    talk.world(&response("200 OK", "BYE", &dotted(LOCAL), ""));
    assert_eq!((talk.live(), talk.media((SERVER, 7000), 6000)), ((0, 0), Err(Why::Unasked)));
    let counters = &talk.gateway.state.counters;
    assert_eq!((counters.sip_messages, counters.sip_garbled, counters.sip_ended), (4, 0, 1));
}

/// A SYN in the midst of a connection, of whoever guesses its ports or of a host that has begun anew, is its receiver's to answer
/// (RFC 5961 §4.2): nothing is forgotten by it. After the connection another one may begin.
#[test]
fn a_stray_syn_leaves_a_stream_where_it_is() {
    let mut talk = Talk::out(nat_settings(), SIP);
    let (options, expected) = outside("OPTIONS", None);
    for from in [0, 1] {
        assert_eq!(talk.host(&options), expected);
        for flags in [SYN, SYN | ACK] {
            talk.stray(from, flags, 0x7000_0000).unwrap();
        }
        let (first, second) = options.as_bytes().split_at(50);
        let at = talk.sent[0];
        assert_eq!(talk.part(0, 0, at, first).unwrap_err(), Why::AlgPart);
        talk.stray(from, SYN, 0x7000_0001).unwrap();
        let (_, late) = talk.part(0, PSH, at.wrapping_add(50), second).unwrap();
        let (_, early) = talk.part(0, 0, at, first).unwrap();
        let read = talk.reads(0, &early) + &talk.reads(0, &late);
        assert_eq!(read, expected);
        talk.sent[0] = at.wrapping_add(options.len() as u32);
        let answer = |at: u32| response("200 OK", "OPTIONS", &dotted(at), "");
        assert_eq!(talk.world(&answer(LOCAL)), answer(HOST));
    }
    for from in [0, 1] {
        talk.part(from, FIN, talk.sent[from], b"").unwrap();
        talk.sent[from] = talk.sent[from].wrapping_add(1);
    }
    let (_, frame) = talk.stray(0, SYN, 0x7000_0000).unwrap();
    assert_eq!(word(&frame, 24), 0x7000_0000);
    talk.stray(1, SYN | ACK, 0x6000_0000).unwrap();
    (talk.sent, talk.got) = ([0x7000_0001, 0x6000_0001], [0x6000_0001, 0x7000_0001]);
    assert_eq!(talk.host(&options), expected);
}

/// A message longer than a segment: the first part waits, and comes again.
#[test]
fn an_invite_in_two_segments_arrives_whole() {
    let (invite, expected) = outside("INVITE", Some(6000));
    for cut in [100, invite.len() - 150, invite.len() - 10] {
        let mut talk = Talk::out(nat_settings(), SIP);
        let (first, second) = invite.as_bytes().split_at(cut);
        let at = talk.sent[0];
        assert_eq!(talk.part(0, 0, at, first).unwrap_err(), Why::AlgPart);
        let (_, late) = talk.part(0, PSH, at.wrapping_add(cut as u32), second).unwrap();
        let (_, frame) = talk.part(0, 0, at, first).unwrap();
        let mut read = talk.reads(0, &frame);
        read += &talk.reads(0, &late);
        assert_eq!(read, expected, "{cut}");
        assert_eq!(talk.media((SERVER, 7000), 6000), Ok(6000));
    }
}

/// What its sender has heard of long ago, and says no more, goes on as fast as it is acknowledged.
#[test]
fn what_was_kept_goes_on_with_each_acknowledgement() {
    let at = |own: u32| {
        let own = dotted(own);
        request("INVITE", &own, &described(&own, 6000).replace("s=-", &"s=".repeat(600)))
    };
    let mut talk = Talk::out(nat_settings(), SIP);
    let (invite, first) = (at(HOST).into_bytes(), talk.sent[0]);
    let mut parts =
        invite.chunks(500).enumerate().map(|(nth, part)| (first.wrapping_add(500 * nth as u32), part));
    for (at, part) in parts.by_ref().take(invite.len() / 500) {
        assert_eq!(talk.part(0, 0, at, part).unwrap_err(), Why::AlgPart);
        assert_eq!(talk.part(0, 0, at, part).unwrap().0, INSIDE, "it is acknowledged");
    }
    let (at_last, last) = parts.next().unwrap();
    let (_, frame) = talk.part(0, PSH, at_last, last).unwrap();
    let mut read = talk.reads(0, &frame);
    let mut pieces = 0;
    loop {
        let (port, frame) = talk.part(1, 0, talk.sent[1], b"").unwrap();
        if port == INSIDE {
            break;
        }
        read += &talk.reads(0, &frame);
        pieces += 1;
    }
    assert_eq!(pieces, 2, "the sender hears of it in the end");
    let (_, frame) = talk.part(0, PSH, at_last, last).unwrap();
    read += &talk.reads(0, &frame);
    assert_eq!(read, at(LOCAL));
}

/// Cases of others, 10: RFC 5626 §3.5.1.
#[test]
fn case_10_keepalives_between_messages() {
    let mut talk = Talk::out(nat_settings(), SIP);
    assert_eq!(talk.host("\r\n\r\n"), "\r\n\r\n");
    let (register, expected) = outside("REGISTER", None);
    assert_eq!(talk.host(&format!("\r\n\r\n{register}")), format!("\r\n\r\n{expected}"));
    assert_eq!(talk.world("\r\n"), "\r\n");
    assert_eq!(talk.gateway.state.counters.sip_garbled, 0);
}

/// Cases of others, 16.
#[test]
fn case_16_two_messages_in_one_segment() {
    let ((ack, acked), (bye, ended)) = (outside("ACK", None), outside("BYE", None));
    let compact = |text: &str| text.replace("Content-Length", "l");
    let both = compact(&ack) + &bye;
    let mut talk = Talk::out(nat_settings(), SIP);
    assert_eq!(talk.host(&both), compact(&acked) + &ended);
    // Cut after "Content-Len": the first message goes on at once.
    let mut talk = Talk::out(nat_settings(), SIP);
    let cut = both.find("Content-Len").unwrap() + 11;
    let at = talk.sent[0];
    let (_, frame) = talk.part(0, 0, at, &both.as_bytes()[..cut]).unwrap();
    assert_eq!(talk.reads(0, &frame), compact(&acked));
    let (_, late) = talk.part(0, PSH, at.wrapping_add(cut as u32), &both.as_bytes()[cut..]).unwrap();
    let (_, frame) = talk
        .part(0, PSH, at.wrapping_add(ack.len() as u32 - 13), &both.as_bytes()[ack.len() - 13..cut])
        .unwrap();
    let mut read = talk.reads(0, &frame);
    read += &talk.reads(0, &late);
    assert_eq!(read, ended);
}

/// Cases of others, 15: what did not begin as SIP is not read, wherever a segment begins; and no hole for others.
#[test]
fn case_15_a_web_page_that_speaks_sip() {
    let mut talk = Talk::out(nat_settings(), SIP);
    let post = "POST /x HTTP/1.1\r\nContent-Length: 9999\r\n\r\n";
    assert_eq!(talk.host(post), post);
    let (register, _) = outside("REGISTER", None);
    assert_eq!(talk.host(&register), register);
    assert_eq!((talk.gateway.state.counters.sip_messages, talk.live().1), (0, 0));
    // And a true one, for another host, or a privileged port.
    for contact in [format!("{}:22", dotted(OTHER)), format!("{}:22", dotted(HOST))] {
        let mut talk = Talk::out(nat_settings(), SIP);
        let (register, expected) = outside("REGISTER", None);
        let with = |text: &str, own: u32| {
            text.replace(&format!("<sip:a@{}:4000", dotted(own)), &format!("<sip:a@{contact}"))
        };
        assert_eq!(talk.host(&with(&register, HOST)), with(&expected, LOCAL));
        assert_eq!(talk.live().1, 0, "{contact}");
    }
}

/// Encrypted, not on, only shown, or without room: as it came.
#[test]
fn what_is_not_read_passes_as_it_is() {
    let (invite, _) = outside("INVITE", Some(6000));
    let mut talk = Talk::out(nat_settings(), SIP);
    assert_eq!(talk.says(0, b"\x16\x03\x01\x02\x00\x01"), "\x16\x03\x01\x02\x00\x01");
    assert_eq!(talk.host(&invite), invite);
    for mode in [AlgMode::Off, AlgMode::DryRun, AlgMode::On] {
        let mut settings = nat_settings();
        settings.alg.sip.mode = mode;
        settings.talks = u32::from(mode != AlgMode::On);
        let mut talk = Talk::out(settings, SIP);
        assert_eq!(talk.host(&invite), invite);
        assert_eq!(talk.media((SERVER, 7000), 6000), Err(Why::Unasked));
        let shown = talk.gateway.state.counters.sip_would_rewrite;
        assert_eq!(shown > 0, mode == AlgMode::DryRun);
    }
    // Who never ends a line is not waited for.
    let mut talk = Talk::out(nat_settings(), SIP);
    let at = talk.sent[0];
    for _ in 0..4 {
        assert_eq!(talk.part(0, PSH, at, b"hello").unwrap_err(), Why::AlgPart);
    }
    let (_, frame) = talk.part(0, PSH, at, b"hello").unwrap();
    assert_eq!(talk.reads(0, &frame), "hello");
}

/// RFC 3261 §10.3: a registrar comes to the port that was registered, of TCP.
#[test]
fn who_has_registered_is_called() {
    let mut talk = Talk::out(nat_settings(), SIP);
    let with = |text: String| text.replace(":4000;transport", ":5060;transport");
    let (register, expected) = outside("REGISTER", None);
    assert_eq!(talk.host(&with(register)), with(expected));
    let answer = |at: u32| {
        response("200 OK", "REGISTER", &dotted(at), "")
            .replace(&format!("<sip:b@{}", dotted(SERVER)), &format!("<sip:a@{}", dotted(at)))
    };
    assert_eq!(talk.world(&answer(LOCAL)), answer(HOST));
    wait(&mut talk.gateway, 300);
    let syn = from_world(&Ip::new(SERVER, LOCAL, 6, tcp(7777, SIP, SYN, &[], b"")));
    assert_eq!(flow(&sent(&mut talk.gateway, OUTSIDE, &syn).1), (SERVER, 7777, HOST, SIP));
    let stranger = from_world(&Ip::new(SERVER_2, LOCAL, 6, tcp(7777, SIP, SYN, &[], b"")));
    assert_eq!(dropped(&mut talk.gateway, OUTSIDE, &stranger), Why::Unasked);
}
