//! SIP between realms, and between two hosts of one: telephones that know each other by proxy addresses, datagrams in, datagrams
//! out. No NIC.
#![allow(missing_docs)]

mod common;

use ces_dataplane::alg::scope::{AlgHosts, AlgMode};
use ces_dataplane::msg::{Binding, BindingLimits, Command, Event, Far};
use ces_dataplane::reason::DropReason as Why;
use common::realms::{cross, gateways};
use common::talk::dotted;
use common::*;

const SIP: u16 = 5060;

fn realms() -> Vec<Gateway> {
    gateways(&settings(), BindingLimits::default())
}

/// What is awaited at this address.
fn described(at: u32, port: u16) -> String {
    let at = dotted(at);
    format!(
        "v=0\r\no=- 1 1 IN IP4 {at}\r\ns=-\r\nc=IN IP4 {at}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\na=rtcp:{} IN IP4 {at}\r\n",
        port + 1
    )
}

fn with_body(head: &str, body: &str) -> String {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!("{head}{kind}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// A request of who is at `own` to who is at `other`.
fn request(method: &str, own: u32, other: u32, body: &str) -> String {
    let (own, other) = (dotted(own), dotted(other));
    with_body(
        &format!(
            "{method} sip:b@{other}:5070 SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK1;rport\r\n\
             Route: <sip:{other};lr>\r\nRecord-Route: <sip:{own};lr>\r\nf: <sip:a@{own}>;tag=1\r\nTo: <sip:b@{other}>\r\n\
             Call-ID: 7@{own}\r\nCSeq: 1 {method}\r\nm: <sip:a@{own}:5062>\r\nSubject: {own}\r\n"
        ),
        body,
    )
}

/// The answer of who is at `own` to who is at `other`.
fn answer(method: &str, own: u32, other: u32, body: &str) -> String {
    let (own, other, call) = (dotted(own), dotted(other), dotted(HOST));
    with_body(
        &format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP {other};branch=z9hG4bK1;rport=5099;received={other}\r\n\
             From: <sip:a@{other}>;tag=1\r\nTo: <sip:b@{own}>;tag=2\r\nCall-ID: 7@{call}\r\nCSeq: 1 {method}\r\n\
             Contact: <sip:b@{own}:5070>\r\n"
        ),
        body,
    )
}

fn datagram(ports: (u16, u16), text: &str) -> Ip {
    Ip::new(HOST, PROXY, 17, udp(ports.0, ports.1, text.as_bytes()))
}

fn text(frame: &[u8], at: usize) -> String {
    let end = at + usize::from(u16::from_be_bytes([frame[at + 2], frame[at + 3]]));
    String::from_utf8_lossy(&frame[at + 28..end]).into_owned()
}

/// What the other host reads of what one says, and what stands in the tunnel.
fn says(gateways: &mut [Gateway], from: usize, said: &str) -> (String, String) {
    let (frame, between) = cross(gateways, from, &datagram((5099, SIP), said)).unwrap();
    (text(&frame, 14), text(&between, 64))
}

/// RFC 3261 §8.1.1, §18.2; RFC 4566 §5.7: both sides read of each other what they know each other by, in every place of a
/// message; on the way neither realm's addresses are seen.
#[test]
fn each_reads_the_address_by_which_it_knows_the_other() {
    let mut gateways = realms();
    let tags = [0, 1].map(|nth| gateways[nth].tag(0));
    let as_written = |own, other| request("INVITE", own, other, &described(own, 4000));
    let names = |text: String| {
        text.replace(&format!("Call-ID: 7@{}", dotted(PROXY)), &format!("Call-ID: 7@{}", dotted(HOST)))
    };
    let same_subject = |text: String, at: u32| {
        let subject = |at: u32| format!("Subject: {}\r\n", dotted(at));
        text.replace(&subject(at), &subject(HOST))
    };
    let (read, between) = says(&mut gateways, 0, &as_written(HOST, PROXY));
    // A name stays, whatever it looks like, and so does a text.
    let expected = same_subject(names(as_written(PROXY, HOST)), PROXY);
    assert_eq!(read, expected);
    let on_the_way = as_written(tags[0], tags[1]);
    let call = |at| format!("Call-ID: 7@{}", dotted(at));
    let on_the_way = same_subject(on_the_way.replace(&call(tags[0]), &call(HOST)), tags[0]);
    assert_eq!(between, on_the_way);
    let (read, between) = says(&mut gateways, 1, &answer("INVITE", HOST, PROXY, &described(HOST, 6000)));
    assert_eq!(
        read,
        answer("INVITE", PROXY, HOST, &described(PROXY, 6000)),
        "the port that was sent from is the same"
    );
    assert_eq!(between, answer("INVITE", tags[1], tags[0], &described(tags[1], 6000)));
    for gateway in &gateways {
        let counters = &gateway.state.counters;
        assert_eq!((counters.sip_messages, counters.sip_rewritten, counters.sip_announced), (2, 2, 2));
        assert_eq!(counters.dropped(), 0);
    }
}

/// From whichever port it comes, and whatever else goes through the binding.
#[test]
fn what_is_read_is_told_by_its_ports_alone() {
    let mut gateways = realms();
    let said = request("OPTIONS", HOST, PROXY, "");
    let read = request("OPTIONS", PROXY, HOST, "").replacen(
        &format!("Call-ID: 7@{}", dotted(PROXY)),
        &format!("Call-ID: 7@{}", dotted(HOST)),
        1,
    );
    let read = read.replace(&format!("Subject: {}", dotted(PROXY)), &format!("Subject: {}", dotted(HOST)));
    // 5060 + 64: what is not told at a glance.
    for (ports, is_read) in [
        ((5099, SIP), true),
        ((SIP, 5099), true),
        ((SIP, SIP), true),
        ((5099, 5124), false),
        ((5124, 9), false),
    ] {
        let (frame, _) = cross(&mut gateways, 0, &datagram(ports, &said)).unwrap();
        assert_eq!(text(&frame, 14), if is_read { &read } else { &said }.clone(), "{ports:?}");
    }
    // In fragments, and what cannot be read, or is broken: as it is.
    let first = datagram((SIP, SIP), &said).fragment(0x2000);
    cross(&mut gateways, 0, &first).unwrap();
    let (frame, _) = cross(&mut gateways, 0, &datagram((SIP, SIP), "hello")).unwrap();
    assert_eq!(text(&frame, 14), "hello");
    let counters = &gateways[0].state.counters;
    assert_eq!((counters.sip_fragmented, counters.sip_garbled), (1, 1));
}

/// A message that has grown beyond what the tunnel carries is cut, whatever its sender wished.
#[test]
fn what_has_grown_too_long_goes_in_pieces() {
    let mut gateways = realms();
    let body = described(HOST, 4000);
    let fill = |length: usize| {
        request("INVITE", HOST, PROXY, &body).replace("Subject:", &format!("Subject: {}", "x".repeat(length)))
    };
    let length = 1450 - 28 - fill(0).len();
    let frame = from_host(&datagram((SIP, SIP), &fill(length)));
    let (_, out) = gateways[0].one(INSIDE, &frame);
    let grows = dotted(gateways[0].tag(0)).len() > dotted(HOST).len();
    assert_eq!(out.len(), 1 + usize::from(grows), "an address of ten characters has become one of more");
    assert_eq!(gateways[0].state.counters.sip_grown, u64::from(grows));
}

/// Two hosts of one realm, each by its own binding.
fn neighbours(settings: ces_dataplane::settings::WorkerSettings) -> Gateway {
    let mut gateway = Gateway::bare(settings);
    for (slot, host, proxy, seen_as, other, hop) in [
        (0, HOST, PROXY_OTHER, PROXY_HOST, OTHER, HOP_OTHER),
        (1, OTHER, PROXY_HOST, PROXY_OTHER, HOST, HOP_HOST),
    ] {
        let far = Far::Local { source: address(seen_as), destination: address(other) };
        let local = Binding { host: address(host), proxy: address(proxy), far, neighbour: hop, ..binding() };
        gateway.command(Command::InsertBinding(gateway.handle(slot), local));
    }
    gateway
}

fn says_near(gateway: &mut Gateway, mac: [u8; 6], (from, to): (u32, u32), said: &str) -> String {
    let packet = Ip::new(from, to, 17, udp(SIP, SIP, said.as_bytes()));
    let (verdict, out) = gateway.one(INSIDE, &ethernet(MAC_IN, mac, 0x0800, &packet.bytes()));
    assert!(!out.is_empty(), "{verdict:?}");
    assert_sound(&out[0].1);
    text(&out[0].1, 14)
}

#[test]
fn two_hosts_of_a_realm_do_so_through_one_gateway() {
    let mut gateway = neighbours(settings());
    let body = |at| described(at, 4000);
    let read = says_near(
        &mut gateway,
        MAC_HOST,
        (HOST, PROXY_OTHER),
        &answer("INVITE", HOST, PROXY_OTHER, &body(HOST)),
    );
    assert_eq!(read, answer("INVITE", PROXY_HOST, OTHER, &body(PROXY_HOST)));
    let read = says_near(
        &mut gateway,
        MAC_OTHER,
        (OTHER, PROXY_HOST),
        &answer("INVITE", OTHER, PROXY_HOST, &body(OTHER)),
    );
    assert_eq!(read, answer("INVITE", PROXY_OTHER, HOST, &body(PROXY_OTHER)));
}

/// `hosts`: what is about one host is about all that it says and hears, and of two of one realm who wants less has his way.
#[test]
fn it_is_off_or_dry_for_a_host() {
    let off = |host: u32, mode| AlgHosts {
        networks: vec![format!("{}/32", dotted(host)).parse().unwrap()],
        mode: Some(mode),
        ports: None,
    };
    let said = answer("INVITE", OTHER, PROXY_HOST, &described(OTHER, 4000));
    for (host, mode) in [(HOST, AlgMode::Off), (OTHER, AlgMode::Off), (HOST, AlgMode::DryRun)] {
        let mut settings = settings();
        settings.alg.sip.hosts = vec![off(host, mode)];
        let mut gateway = neighbours(settings);
        assert_eq!(says_near(&mut gateway, MAC_OTHER, (OTHER, PROXY_HOST), &said), said, "{host:x} {mode:?}");
        let counters = &gateway.state.counters;
        let is_dry = mode == AlgMode::DryRun;
        assert_eq!((counters.sip_messages, counters.sip_would_rewrite > 0), (u64::from(is_dry), is_dry));
        let shown = gateway
            .events()
            .iter()
            .filter(|event| matches!(event, Event::Rewritten(rewrite) if rewrite.is_dry))
            .count();
        assert_eq!(shown > 0, is_dry);
    }
}

/// A binding that carries SIP alone lets in the media of a call, from the other host, and after the call no more.
#[test]
fn a_restricted_binding_carries_what_a_call_announces() {
    let limits = BindingLimits { protocol: Some(17), port: Some(SIP), ..BindingLimits::default() };
    let mut gateways = gateways(&settings(), limits);
    let media = |gateways: &mut [Gateway], from, ports: (u16, u16)| {
        cross(gateways, from, &datagram(ports, "rtp")).map(|_| ())
    };
    assert_eq!(media(&mut gateways, 1, (6000, 4000)), Err(Why::PolicyProtocol));
    says(&mut gateways, 0, &request("INVITE", HOST, PROXY, &described(HOST, 4000)));
    assert_eq!(media(&mut gateways, 1, (6000, 4000)), Ok(()), "early media");
    assert_eq!(media(&mut gateways, 0, (4000, 6000)), Ok(()), "by the same ports");
    assert_eq!(media(&mut gateways, 1, (6000, 4001)), Ok(()), "RTCP");
    assert_eq!(media(&mut gateways, 1, (6002, 4000)), Err(Why::PolicyProtocol), "once for each port");
    assert_eq!(media(&mut gateways, 0, (4000, 6002)), Err(Why::PolicyProtocol));
    let reply = |gateways: &mut [Gateway], said: &str| {
        cross(gateways, 1, &datagram((SIP, 5099), said)).unwrap();
    };
    assert_eq!(media(&mut gateways, 0, (4002, 6002)), Err(Why::PolicyProtocol), "nobody has answered");
    reply(&mut gateways, &answer("INVITE", HOST, PROXY, &described(HOST, 6002)));
    says(&mut gateways, 0, &request("INVITE", HOST, PROXY, &described(HOST, 4002)));
    assert_eq!(media(&mut gateways, 0, (4002, 6003)), Ok(()), "between what both have announced");
    assert_eq!(media(&mut gateways, 0, (4004, 6002)), Ok(()), "from any port");
    // Another offer: what flows goes on.
    says(&mut gateways, 0, &request("INVITE", HOST, PROXY, &described(HOST, 4000)));
    assert_eq!(media(&mut gateways, 1, (6000, 4000)), Ok(()));
    // What listens below is not announced.
    says(&mut gateways, 0, &request("INVITE", HOST, PROXY, &described(HOST, 1000)));
    assert_eq!(media(&mut gateways, 1, (6000, 1000)), Err(Why::PolicyProtocol));
    assert_eq!(gateways[0].state.counters.sip_refused, 1);
    says(&mut gateways, 0, &request("BYE", HOST, PROXY, ""));
    assert_eq!(media(&mut gateways, 1, (6000, 4000)), Ok(()), "not yet");
    reply(&mut gateways, &answer("BYE", HOST, PROXY, ""));
    assert_eq!(media(&mut gateways, 1, (6000, 4000)), Err(Why::PolicyProtocol));
    assert_eq!(media(&mut gateways, 0, (4004, 6002)), Err(Why::PolicyProtocol));
    // Without an end, by silence.
    says(&mut gateways, 0, &request("INVITE", HOST, PROXY, &described(HOST, 4000)));
    for gateway in &mut gateways {
        gateway.now += 181 * SECOND;
    }
    assert_eq!(media(&mut gateways, 1, (6000, 4000)), Err(Why::PolicyProtocol));
}
