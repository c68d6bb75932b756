//! SIP's ALG, case by case: a telephone inside, a registrar and another telephone in the world, datagrams in, datagrams out.
//! No NIC.
#![allow(missing_docs)]

mod common;

use ces_dataplane::alg::media::MediaFrom;
use ces_dataplane::alg::scope::AlgMode;
use ces_dataplane::frame::MemoryFrame;
use ces_dataplane::nat::Nat;
use ces_dataplane::path::process_burst;
use ces_dataplane::reason::DropReason as Why;
use ces_dataplane::verdict::Verdict;
use common::nat::*;
use common::*;

const SIP: u16 = 5060;
/// Where the other telephone is: 198.18.0.9 and what it says.
const PHONE: u32 = SERVER_2;

fn dotted(at: u32) -> String {
    address(at).to_string()
}

/// A message with these lines, and this body with its length.
fn message(lines: &str, body: &str) -> String {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    let lines = lines.replace('\n', "\r\n");
    format!("{lines}\r\n{kind}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// What one awaits there.
fn described(at: &str, port: u16) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 {at}\r\ns=-\r\nc=IN IP4 {at}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\na=rtcp:{}\r\n",
        port + 1
    )
}

/// A request of somebody at this place, in the call `7@host`, to somebody else at that one.
fn request(method: &str, from: &str, to: &str, body: &str) -> String {
    let lines = format!(
        "{method} sip:b@{to} SIP/2.0\nVia: SIP/2.0/UDP {from};branch=z9hG4bK1;rport\nFrom: <sip:a@{from}>;tag=1\n\
         To: <sip:b@{to}>\nCall-ID: 7@host\nCSeq: 1 {method}\nContact: <sip:a@{from}>"
    );
    message(&lines, body)
}

/// An answer to it, by somebody who is at `contact`.
fn response(status: &str, method: &str, from: &str, contact: &str, body: &str) -> String {
    let lines = format!(
        "SIP/2.0 {status}\nVia: SIP/2.0/UDP {from};branch=z9hG4bK1;received={};rport=5060\nFrom: <sip:a@{from}>;tag=1\n\
         To: <sip:b@x.demo>;tag=2\nCall-ID: 7@host\nCSeq: 1 {method}\nContact: <sip:b@{contact}>",
        from.split(':').next().unwrap()
    );
    message(&lines, body)
}

fn payload(frame: &[u8]) -> String {
    assert_sound(frame);
    let end = 14 + usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    String::from_utf8(frame[14 + 28..end].to_vec()).unwrap()
}

/// What the world is sent for what the host says from there.
fn out_from(gateway: &mut Gateway, port: u16, text: &str) -> String {
    let datagram = udp(port, SIP, text.as_bytes());
    let (by, frame) = sent(gateway, INSIDE, &from_host(&Ip::new(HOST, SERVER, 17, datagram)));
    assert_eq!(by, OUTSIDE);
    payload(&frame)
}

fn out(gateway: &mut Gateway, text: &str) -> String {
    out_from(gateway, SIP, text)
}

/// What the host is sent for what the registrar says.
fn back(gateway: &mut Gateway, text: &str) -> String {
    let datagram = udp(SIP, SIP, text.as_bytes());
    let (by, frame) = sent(gateway, OUTSIDE, &from_world(&Ip::new(SERVER, LOCAL, 17, datagram)));
    assert_eq!(by, INSIDE);
    payload(&frame)
}

/// Media from there to an external port: to which of the host's it comes.
fn media(gateway: &mut Gateway, (source, from): (u32, u16), port: u16) -> Result<u16, Why> {
    match gateway.one(OUTSIDE, &from_world(&Ip::new(source, LOCAL, 17, udp(from, port, b"rtp")))) {
        (Verdict::Forward(_), out) => {
            assert_eq!(flow(&out[0].1).2, HOST);
            Ok(flow(&out[0].1).3)
        }
        (Verdict::Drop(why), _) => Err(why),
        other => panic!("{other:?}"),
    }
}

/// The port that a description says.
fn announced(text: &str) -> u16 {
    text.split("m=audio ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
}

fn gateway_by(change: impl Fn(&mut ces_dataplane::alg::sip::Sip)) -> Gateway {
    let mut settings = nat_settings();
    change(&mut settings.alg.sip);
    gateway_with(settings)
}

/// RFC 3261 §8.1.1.7, §8.1.1.8, §20.14; RFC 3264 §5: the registrar reads where the telephone is outside, and nothing private.
#[test]
fn an_invite_of_the_host_says_where_it_is_outside() {
    let mut gateway = gateway();
    let host = dotted(HOST);
    let sent = request("INVITE", &host, &dotted(SERVER), &described(&host, 4000));
    let got = out(&mut gateway, &sent);
    // Nothing but the address differs, and the length: its ports are free.
    let local = dotted(LOCAL);
    let length = described(&host, 4000).len();
    let expected = sent
        .replace(&host, &local)
        .replace(&format!("Length: {length}"), &format!("Length: {}", described(&local, 4000).len()));
    assert_eq!(got, expected);
    // The answer comes back as if nothing had happened.
    let answer = response("200 OK", "INVITE", &local, &dotted(SERVER), &described(&dotted(PHONE), 6000));
    let got = back(&mut gateway, &answer);
    assert_eq!(got, answer.replace(&local, &host));
    let counters = &gateway.state.counters;
    assert_eq!((counters.sip_messages, counters.sip_rewritten, counters.sip_garbled), (2, 2, 0));
    assert_eq!((counters.sip_calls, counters.sip_announced), (1, 1));
}

#[test]
fn a_call_to_the_host_is_told_it_and_answered_from_outside() {
    let mut gateway = gateway();
    let (host, local, server) = (dotted(HOST), dotted(LOCAL), dotted(SERVER));
    let registers = request("REGISTER", &host, &server, "");
    assert_eq!(
        out(&mut gateway, &registers),
        registers.replace(&host, &local).replace(&format!("Length: {}", 0), "Length: 0")
    );
    let invite = request("INVITE", &server, &local, &described(&dotted(PHONE), 6000));
    assert_eq!(back(&mut gateway, &invite), invite.replace(&local, &host));
    let answer = response("200 OK", "INVITE", &server, &host, &described(&host, 4000));
    let got = out(&mut gateway, &answer);
    assert!(!got.contains(&host), "{got}");
    assert_eq!((announced(&got), got.matches(&local).count()), (4000, 3), "{got}");
}

/// RFC 3550 §11; RFC 4787 §4.2.2, REQ-4: an even port and the next, whoever has the host's own.
#[test]
fn media_has_an_even_port_and_the_next_one() {
    let mut gateway = gateway();
    // The host's neighbour has one of the two.
    let taken = Ip::new(OTHER, SERVER_2, 17, udp(4001, 9, b"x"));
    assert_eq!(flow(&sent(&mut gateway, INSIDE, &from_other(&taken)).1).1, 4001);
    let host = dotted(HOST);
    let got = out(&mut gateway, &request("INVITE", &host, &dotted(SERVER), &described(&host, 4000)));
    let port = announced(&got);
    assert!(port != 4000 && port.is_multiple_of(2), "{port}");
    assert!(got.contains(&format!("a=rtcp:{}\r\n", port + 1)), "{got}");
    assert_eq!(media(&mut gateway, (SERVER, 6000), port), Ok(4000));
    assert_eq!(media(&mut gateway, (SERVER, 6001), port + 1), Ok(4001));
}

/// Nobody but the other end of the channel, or where that is allowed whom it names, and that once.
#[test]
fn media_comes_from_whom_it_may() {
    for (from, may, may_not) in [(MediaFrom::Peer, SERVER, PHONE), (MediaFrom::Announced, PHONE, SERVER)] {
        let mut gateway = gateway_by(|sip| sip.media_from = from);
        let (host, local) = (dotted(HOST), dotted(LOCAL));
        out(&mut gateway, &request("INVITE", &host, &dotted(SERVER), &described(&host, 4000)));
        let answer = described(&dotted(PHONE), 6000);
        back(&mut gateway, &response("200 OK", "INVITE", &local, &dotted(SERVER), &answer));
        assert_eq!(media(&mut gateway, (may_not, 6000), 4000), Err(Why::Unasked));
        assert_eq!(media(&mut gateway, (WAYPOINT, 6000), 4000), Err(Why::Unasked));
        assert_eq!(media(&mut gateway, (may, 6000), 4000), Ok(4000));
        assert_eq!(media(&mut gateway, (may, 6000), 4000), Ok(4000), "an ordinary session");
        assert_eq!(media(&mut gateway, (may, 6002), 4000), Err(Why::Unasked), "once");
        assert_eq!(media(&mut gateway, (may, 6001), 4001), Ok(4001));
        // Whom the host sends to may answer, whatever was said.
        let (_, frame) =
            sent(&mut gateway, INSIDE, &from_host(&Ip::new(HOST, PHONE, 17, udp(4000, 6008, b"rtp"))));
        assert_eq!(flow(&frame), (LOCAL, 4000, PHONE, 6008));
        assert_eq!(media(&mut gateway, (PHONE, 6008), 4000), Ok(4000));
    }
}

/// RFC 3261 §15: with a call its media ends; with what did not become one, what was awaited.
#[test]
fn media_ends_with_its_call() {
    let (host, local, server) = (dotted(HOST), dotted(LOCAL), dotted(SERVER));
    let phone = described(&dotted(PHONE), 6000);
    let begin = || {
        let mut gateway = gateway_by(|sip| sip.media_from = MediaFrom::Announced);
        out(&mut gateway, &request("INVITE", &host, &server, &described(&host, 4000)));
        gateway
    };
    let live = |gateway: &mut Gateway| {
        gateway.state.take_stock();
        let counters = &gateway.state.counters;
        (counters.sip_live, counters.alg_awaited, counters.mappings_live)
    };
    let mut gateway = begin();
    back(&mut gateway, &response("200 OK", "INVITE", &local, &server, &phone));
    assert_eq!(live(&mut gateway), (1, 2, 3));
    media(&mut gateway, (PHONE, 6000), 4000).unwrap();
    media(&mut gateway, (PHONE, 6001), 4001).unwrap();
    assert_eq!(live(&mut gateway), (1, 0, 3));
    // Another offer that is refused leaves the call as it is; who has to say who he is says BYE again.
    out(&mut gateway, &request("INVITE", &host, &server, &described(&host, 4000)));
    back(&mut gateway, &response("488 No", "INVITE", &local, &server, ""));
    out(&mut gateway, &request("BYE", &host, &server, ""));
    back(&mut gateway, &response("407 Who", "BYE", &local, &server, ""));
    media(&mut gateway, (PHONE, 6000), 4000).unwrap();
    back(&mut gateway, &response("200 OK", "BYE", &local, &server, ""));
    assert_eq!(live(&mut gateway), (0, 0, 1));
    assert_eq!(media(&mut gateway, (PHONE, 6000), 4000), Err(Why::Unasked));

    let mut gateway = begin();
    back(&mut gateway, &response("180 Ringing", "INVITE", &local, &server, ""));
    assert_eq!(live(&mut gateway), (1, 2, 3));
    back(&mut gateway, &response("487 Gone", "INVITE", &local, &server, ""));
    assert_eq!(live(&mut gateway), (0, 0, 1));

    // Nobody says anything more.
    let mut gateway = begin();
    wait(&mut gateway, 200);
    assert_eq!(media(&mut gateway, (SERVER, 6000), 4000), Err(Why::Unasked));
    wait(&mut gateway, 3700);
    wait(&mut gateway, 3720);
    assert_eq!(live(&mut gateway), (0, 0, 0));
}

/// RFC 3264 §8: held and taken up again, on another port and from elsewhere, with a stream that is refused.
#[test]
fn an_offer_in_a_call_moves_its_media() {
    let mut gateway = gateway_by(|sip| sip.media_from = MediaFrom::Announced);
    let (host, local, server) = (dotted(HOST), dotted(LOCAL), dotted(SERVER));
    out(&mut gateway, &request("INVITE", &host, &server, &described(&host, 4000)));
    back(&mut gateway, &response("200 OK", "INVITE", &local, &server, &described(&dotted(PHONE), 6000)));
    let video = format!("{}m=video 4010 RTP/AVP 99\r\n", described(&host, 4004));
    let got = out(&mut gateway, &request("INVITE", &host, &server, &video));
    assert!(got.contains("m=audio 4004 ") && got.contains("m=video 4010 ") && !got.contains(&host), "{got}");
    assert_eq!(media(&mut gateway, (PHONE, 6000), 4000), Err(Why::Unasked), "it is awaited there no more");
    let refused = format!("{}m=video 0 RTP/AVP 99\r\n", described(&server, 7000));
    back(&mut gateway, &response("200 OK", "INVITE", &local, &server, &refused));
    assert_eq!(media(&mut gateway, (PHONE, 7000), 4004), Err(Why::Unasked));
    assert_eq!(media(&mut gateway, (SERVER, 7000), 4004), Ok(4004));
}

/// RFC 5761 §5.1.1: where both sides have RTCP by the same port, none is awaited beside it.
#[test]
fn rtcp_by_the_same_port_needs_no_other() {
    let mut gateway = gateway();
    let (host, local, server) = (dotted(HOST), dotted(LOCAL), dotted(SERVER));
    let muxed =
        |at: &str, port| format!("{}a=rtcp-mux\r\n", described(at, port).replace("a=rtcp:4001\r\n", ""));
    out(&mut gateway, &request("INVITE", &host, &server, &muxed(&host, 4000)));
    gateway.state.take_stock();
    assert_eq!(gateway.state.counters.alg_awaited, 2, "until the other side agrees");
    back(&mut gateway, &response("200 OK", "INVITE", &local, &server, &muxed(&server, 6000)));
    gateway.state.take_stock();
    assert_eq!(gateway.state.counters.alg_awaited, 1);
}

/// RFC 3261 §10.3: who has registered is called for as long as that stands, however long his session rests.
#[test]
fn a_registration_outlives_its_session() {
    let mut gateway = gateway();
    let (host, local, server) = (dotted(HOST), dotted(LOCAL), dotted(SERVER));
    out(&mut gateway, &request("REGISTER", &host, &server, ""));
    let granted =
        response("200 OK", "REGISTER", &local, &local, "").replace("\r\n\r\n", ";expires=1800\r\n\r\n");
    let granted = granted.replace("Content-Length: 0;expires=1800", "Content-Length: 0\r\nExpires: 1800");
    back(&mut gateway, &granted);
    wait(&mut gateway, 1200);
    gateway.state.take_stock();
    assert_eq!((gateway.state.counters.sessions_live, gateway.state.counters.alg_awaited), (0, 1));
    let invite = |port| {
        from_world(&Ip::new(
            SERVER,
            LOCAL,
            17,
            udp(port, SIP, request("INVITE", &server, &local, "").as_bytes()),
        ))
    };
    let stranger = from_world(&Ip::new(PHONE, LOCAL, 17, udp(SIP, SIP, b"x")));
    assert_eq!(dropped(&mut gateway, OUTSIDE, &stranger), Why::Unasked);
    for port in [SIP, 5070] {
        let (_, frame) = sent(&mut gateway, OUTSIDE, &invite(port));
        assert_eq!(flow(&frame), (SERVER, port, HOST, SIP), "again and again");
    }
    assert!(
        payload(&sent(&mut gateway, OUTSIDE, &invite(SIP)).1).starts_with(&format!("INVITE sip:b@{host} "))
    );
    wait(&mut gateway, 1900);
    wait(&mut gateway, 2400);
    assert_eq!(dropped(&mut gateway, OUTSIDE, &invite(SIP)), Why::Unasked);
}

/// Cases of others, 12 and 1: a port that the NAT changed is said where there was none, and everything is put back.
#[test]
fn case_12_a_contact_names_the_port_that_it_has_outside() {
    let mut gateway = gateway();
    let taken = Ip::new(OTHER, SERVER_2, 17, udp(SIP, 9, b"x"));
    assert_eq!(flow(&sent(&mut gateway, INSIDE, &from_other(&taken)).1).1, SIP);
    let host = dotted(HOST);
    let text = request("REGISTER", &host, &dotted(SERVER), "")
        .replace("Contact", "m: <sip:a@10.0.0.10:5060>\r\nContact");
    let (_, frame) =
        sent(&mut gateway, INSIDE, &from_host(&Ip::new(HOST, SERVER, 17, udp(SIP, SIP, text.as_bytes()))));
    let (port, got) = (flow(&frame).1, payload(&frame));
    let there = format!("{}:{port}", dotted(LOCAL));
    assert!(port != SIP && !got.contains(&host), "{got}");
    assert!(
        got.contains(&format!("m: <sip:a@{there}>")) && got.contains(&format!("Contact: <sip:a@{there}>"))
    );
    let answer =
        response("200 OK", "REGISTER", &there, &there, "").replace("rport=5060", &format!("rport={port}"));
    let datagram = udp(SIP, port, answer.as_bytes());
    let back = payload(&sent(&mut gateway, OUTSIDE, &from_world(&Ip::new(SERVER, LOCAL, 17, datagram))).1);
    let at = format!("{host}:5060");
    let expected = answer.replace(&there, &at).replace(&format!("rport={port}"), "rport=5060");
    assert_eq!(back, expected.replace(&format!("received={}", dotted(LOCAL)), &format!("received={host}")));
}

/// Cases of others, 5: what is held is nowhere.
#[test]
fn case_5_hold_is_no_address() {
    let mut gateway = gateway();
    let host = dotted(HOST);
    let held = described(&host, 4000).replace(&format!("c=IN IP4 {host}"), "c=IN IP4 0.0.0.0");
    let got = out(&mut gateway, &request("INVITE", &host, &dotted(SERVER), &held));
    assert!(got.contains("c=IN IP4 0.0.0.0\r\n") && announced(&got) == 4000, "{got}");
    assert_eq!(gateway.state.counters.sip_announced, 0);
}

/// What says that it is answered at another port than it sends from is, and what would be private is not said.
#[test]
fn other_ports_of_the_host_are_reached_by_the_registrar_alone() {
    let mut gateway = gateway();
    let (host, server) = (dotted(HOST), dotted(SERVER));
    let got = out_from(&mut gateway, 40_000, &request("OPTIONS", &host, &server, ""));
    assert!(!got.contains(&host) && got.contains(&format!("Via: SIP/2.0/UDP {};", dotted(LOCAL))), "{got}");
    let to_it = |source| from_world(&Ip::new(source, LOCAL, 17, udp(SIP, SIP, b"SIP/2.0 200")));
    assert_eq!(dropped(&mut gateway, OUTSIDE, &to_it(PHONE)), Why::Unasked);
    let (_, frame) = sent(&mut gateway, OUTSIDE, &to_it(SERVER));
    assert_eq!(flow(&frame).3, SIP);
}

#[test]
fn what_cannot_be_read_and_what_works_anyhow_pass_as_they_are() {
    let (host, local, server) = (dotted(HOST), dotted(LOCAL), dotted(SERVER));
    let foreign = request("INVITE", &local, &server, &described(&local, 4000));
    let wrong = request("INVITE", &host, &server, "").replace("Content-Length: 0", "Content-Length: 9");
    for (text, garbled) in [
        ("\r\n\r\n".to_owned(), 0),
        ("hello".to_owned(), 1),
        (wrong, 1),
        // A telephone that knows where it is outside.
        (foreign, 0),
    ] {
        let mut gateway = gateway();
        assert_eq!(out(&mut gateway, &text), text);
        let counters = &gateway.state.counters;
        assert_eq!(
            (counters.sip_garbled, counters.sip_rewritten, counters.sip_announced),
            (garbled, 0, 0),
            "{text}"
        );
    }
    // A description that says nothing is left, and what stands before it is not.
    let mut gateway = gateway();
    let got = out(&mut gateway, &request("INVITE", &host, &server, "v=0\r\nm=audio x RTP/AVP 0\r\n"));
    assert!(got.ends_with("m=audio x RTP/AVP 0\r\n") && !got.contains(&host), "{got}");
    assert_eq!(gateway.state.counters.sip_garbled, 1);
    // Nobody is let in to a privileged port, nor to a neighbour.
    for (at, port) in [(host.as_str(), 22), ("10.0.0.11", 4000)] {
        let mut gateway = common::nat::gateway();
        let got = out(&mut gateway, &request("INVITE", &host, &server, &described(at, port)));
        assert!(got.contains(&format!("c=IN IP4 {at}\r\n")) && announced(&got) == port, "{got}");
        assert_eq!(gateway.state.counters.sip_announced, 0);
        assert_eq!(gateway.state.counters.sip_refused, u64::from(port == 22));
    }
}

#[test]
fn a_dry_run_shows_and_does_nothing() {
    for mode in [AlgMode::DryRun, AlgMode::Off] {
        let mut gateway = gateway_by(|sip| sip.mode = mode);
        let host = dotted(HOST);
        let text = request("INVITE", &host, &dotted(SERVER), &described(&host, 4000));
        assert_eq!(out(&mut gateway, &text), text);
        assert_eq!(media(&mut gateway, (SERVER, 6000), 4000), Err(Why::Unasked));
        let counters = &gateway.state.counters;
        let shown = if mode == AlgMode::DryRun { 2 } else { 0 };
        assert_eq!((counters.sip_would_rewrite, counters.sip_rewritten, counters.sip_calls), (shown, 0, 0));
    }
}

/// What has grown beyond what its way carries is cut there, though its sender did not wish it: he sent less.
#[test]
fn a_message_that_grew_too_long_is_cut() {
    let mut gateway = gateway();
    let host = dotted(HOST);
    let text = request("OPTIONS", &host, &dotted(SERVER), "");
    let fill = 1500 - 28 - text.len() - "X: \r\n".len();
    let text = text.replace("CSeq", &format!("X: {}\r\nCSeq", "x".repeat(fill)));
    let whole = Ip::new(HOST, SERVER, 17, udp(SIP, SIP, text.as_bytes())).fragment(0x4000);
    let (verdict, frames) = gateway.one(INSIDE, &from_host(&whole));
    assert!(matches!(verdict, Verdict::Forward(_)));
    assert_eq!((frames.len(), gateway.state.counters.sip_grown), (2, 1));
}

/// Without room for calls their media is not announced, and signalling goes on.
#[test]
fn without_room_calls_are_signalled_all_the_same() {
    let mut settings = nat_settings();
    settings.dialogs = 0;
    let mut gateway = gateway_with(settings);
    let host = dotted(HOST);
    let got = out(&mut gateway, &request("INVITE", &host, &dotted(SERVER), &described(&host, 4000)));
    assert!(got.contains(&format!("Contact: <sip:a@{}>", dotted(LOCAL))));
    assert_eq!((announced(&got), gateway.state.counters.sip_full), (4000, 1));
}

/// Whoever calls it: a host takes no more than its share of the room for calls, and has it again.
#[test]
fn a_host_has_no_more_calls_than_it_may() {
    let mut gateway = gateway_by(|sip| sip.host_calls = 2);
    let (host, local, server) = (dotted(HOST), dotted(LOCAL), dotted(SERVER));
    out(&mut gateway, &request("REGISTER", &host, &server, ""));
    let invite = |call: u32| {
        request("INVITE", &server, &local, &described(&server, 6000))
            .replace("7@host", &format!("{call}@host"))
    };
    for call in 0..3 {
        back(&mut gateway, &invite(call));
    }
    gateway.state.take_stock();
    assert_eq!((gateway.state.counters.sip_live, gateway.state.counters.sip_full), (2, 1));
    out(&mut gateway, &response("486 Busy", "INVITE", &server, &host, "").replace("7@host", "0@host"));
    back(&mut gateway, &invite(3));
    gateway.state.take_stock();
    assert_eq!((gateway.state.counters.sip_live, gateway.state.counters.sip_full), (2, 1));
}

/// What a host may have bounds what it announces.
#[test]
fn a_host_announces_no_more_than_it_may_have() {
    let mut settings = nat_settings();
    settings.nat = Nat { host_ports: 2, ..settings.nat };
    let mut gateway = gateway_with(settings);
    let host = dotted(HOST);
    out(&mut gateway, &request("INVITE", &host, &dotted(SERVER), &described(&host, 4000)));
    gateway.state.take_stock();
    let counters = &gateway.state.counters;
    assert!(counters.sip_full == 1 && counters.mappings_live <= 2, "{}", counters.mappings_live);
}

/// Cycles of a packet in bursts of 32, the median of many bursts. For perf/JOURNAL.md: run it by name, with `--ignored`.
#[test]
#[ignore = "it measures"]
fn what_a_message_costs() {
    let mut gateway = gateway();
    let host = dotted(HOST);
    let text = request("INVITE", &host, &dotted(SERVER), &described(&host, 4000));
    let fill = 1200 - text.len() - "Allow: \r\n".len();
    let text =
        text.replace("CSeq", &format!("Allow: {}\r\nCSeq", "INVITE, ".repeat(fill / 8 + 1).split_at(fill).0));
    let invite = from_host(&Ip::new(HOST, SERVER, 17, udp(SIP, SIP, text.as_bytes())));
    let alive = from_host(&Ip::new(HOST, SERVER, 17, udp(SIP, SIP, b"\r\n\r\n")));
    let rtp = |port| from_host(&Ip::new(HOST, SERVER, 17, udp(port, 6000, &[0; 172])));
    out(&mut gateway, &text);
    media(&mut gateway, (SERVER, 6000), 4000).unwrap();
    sent(&mut gateway, INSIDE, &rtp(5000));
    sent(&mut gateway, OUTSIDE, &from_world(&Ip::new(SERVER, LOCAL, 17, udp(6000, 5000, b"rtp"))));
    for (what, frame) in [
        ("a packet of a session", rtp(5000)),
        ("of media that was announced", rtp(4000)),
        ("what keeps the way open", alive),
        ("an INVITE of 1,200 bytes that is written anew", invite),
    ] {
        let mut cycles: Vec<u64> = (0..2000)
            .map(|_| {
                let mut frames: Vec<_> = (0..32).map(|_| MemoryFrame::new(&frame)).collect();
                let mut verdicts = [Verdict::Absorb; 32];
                let Gateway { state, wire, now, .. } = &mut gateway;
                let began = machine::cycles();
                process_burst(state, INSIDE, &mut frames, &mut verdicts, wire, *now);
                let cycles = machine::cycles() - began;
                assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Forward(_))));
                cycles / 32
            })
            .collect();
        cycles.sort_unstable();
        println!("{what}: {} cycles", cycles[1000]);
    }
}
