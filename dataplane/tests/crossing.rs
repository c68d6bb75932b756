//! SIP and RTSP between realms, and between two hosts of one, which know each other by proxy addresses: datagrams and segments
//! in, datagrams and segments out. No NIC.
#![allow(missing_docs)]

mod common;

use ces_dataplane::alg::scope::{AlgHosts, AlgMode};
use ces_dataplane::msg::{Binding, BindingLimits, Command, Event, Far};
use ces_dataplane::reason::DropReason as Why;
use ces_dataplane::verdict::Verdict;
use common::nat::{ACK, RST, SYN};
use common::realms::{cross, gateways};
use common::talk::dotted;
use common::*;

const SIP: u16 = 5060;
const RTSP: u16 = 554;

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

/// A connection of the first one's host to the second one's, and how far each of the two is.
struct Connection {
    gateways: Vec<Gateway>,
    port: u16,
    sent: [u32; 2],
    got: [u32; 2],
}

impl Connection {
    fn open(gateways: Vec<Gateway>, port: u16) -> Self {
        let mut connection = Self { gateways, port, sent: [1000, 5000], got: [5000, 1000] };
        connection.says(0, SYN, "");
        connection.says(1, SYN | ACK, "");
        connection
    }

    fn packet(&self, from: usize, flags: u8, data: &str) -> Ip {
        let ports = if from == 0 { (4000, self.port) } else { (self.port, 4000) };
        let mut bytes = tcp(ports.0, ports.1, flags, &[], data.as_bytes());
        bytes[4..8].copy_from_slice(&self.sent[from].to_be_bytes());
        bytes[8..12].copy_from_slice(&self.got[from].to_be_bytes());
        Ip::new(HOST, PROXY, 6, bytes)
    }

    /// One says something in one segment: what the other one reads, who has read all before.
    fn says(&mut self, from: usize, flags: u8, data: &str) -> String {
        let packet = self.packet(from, flags, data);
        let (frame, _) = cross(&mut self.gateways, from, &packet).unwrap();
        let is_first = u32::from(flags & SYN != 0);
        let number = u32::from_be_bytes(frame[38..42].try_into().unwrap());
        assert_eq!(number, self.got[1 - from]);
        let end = 14 + usize::from(u16::from_be_bytes([frame[16], frame[17]]));
        let read = String::from_utf8_lossy(&frame[54..end]).into_owned();
        self.sent[from] += data.len() as u32 + is_first;
        self.got[1 - from] += read.len() as u32 + is_first;
        read
    }

    fn host(&mut self, from: usize, text: &str) -> String {
        self.says(from, ACK | 0x08, text)
    }

    fn media(&mut self, from: usize, ports: (u16, u16)) -> Result<(), Why> {
        cross(&mut self.gateways, from, &datagram(ports, "rtp")).map(|_| ())
    }
}

fn asks(own: u32, other: u32) -> String {
    let (own, other) = (dotted(own), dotted(other));
    format!(
        "SETUP rtsp://{other}/a/1 RTSP/1.0\r\nCSeq: 2\r\n\
         Transport: RTP/AVP;unicast;destination={own};client_port=5000-5001,RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n"
    )
}

fn agrees(own: u32, other: u32) -> String {
    let (own, other) = (dotted(own), dotted(other));
    format!(
        "RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Base: rtsp://{own}:554/a/\r\nTransport: RTP/AVP;unicast;destination={other};\
         client_port=5000-5001;source={own};server_port=6000-6001\r\n\r\n"
    )
}

/// RFC 2326 §12.39, RFC 7826 §18.54: URLs, transports and descriptions, whoever says them of whom.
#[test]
fn players_and_cameras_read_each_others_proxy_addresses() {
    let mut connection = Connection::open(realms(), RTSP);
    for round in 0..4 {
        assert_eq!(connection.host(0, &asks(HOST, PROXY)), asks(PROXY, HOST), "{round}");
        assert_eq!(connection.host(1, &agrees(HOST, PROXY)), agrees(PROXY, HOST), "{round}");
    }
    let sockets = |own: u32, other: u32| {
        let (own, other) = (dotted(own), dotted(other));
        format!(
            "RTSP/2.0 200 OK\r\nCSeq: 3\r\nTransport: RTP/AVP;unicast;dest_addr=\"{other}:5002\"/\"{other}:5003\";\
             src_addr=\"{own}:6002\"/\"{own}:6003\"\r\n\r\n"
        )
    };
    assert_eq!(connection.host(1, &sockets(HOST, PROXY)), sockets(PROXY, HOST));
    let describes = |own: u32| {
        let at = dotted(own);
        let body = format!(
            "v=0\r\no=- 1 1 IN IP4 {at}\r\ns=-\r\nc=IN IP4 {at}\r\nm=video 0 RTP/AVP 96\r\n\
             a=control:rtsp://{at}/a/0\r\n"
        );
        with_body("RTSP/1.0 200 OK\r\nCSeq: 1\r\n", &body)
    };
    assert_eq!(connection.host(1, &describes(HOST)), describes(PROXY));
    let counters = &connection.gateways[0].state.counters;
    assert_eq!((counters.rtsp_messages, counters.rtsp_garbled, counters.rtsp_refused), (10, 0, 0));
    assert_eq!(counters.dropped(), 0);
}

/// SIP over TCP, the same.
#[test]
fn telephones_do_so_over_tcp() {
    let mut connection = Connection::open(realms(), SIP);
    let body = |at| described(at, 4000);
    let said = answer("INVITE", HOST, PROXY, &body(HOST));
    assert_eq!(connection.host(1, &said), answer("INVITE", PROXY, HOST, &body(PROXY)));
    assert_eq!(connection.host(0, &said), answer("INVITE", PROXY, HOST, &body(PROXY)));
}

/// What a part of a message's bytes is kept for, its sender hears from each gateway that keeps it, through the tunnel as well;
/// and the whole goes on with the rest.
#[test]
fn a_message_in_two_segments_arrives_once_and_whole() {
    let mut connection = Connection::open(realms(), RTSP);
    let text = asks(HOST, PROXY);
    let (first, second) = text.split_at(60);
    let part = from_host(&connection.packet(0, ACK | 0x08, first));
    // Its own gateway keeps it, and says so.
    let (_, out) = connection.gateways[0].one(INSIDE, &part);
    assert_eq!(out[0].0, INSIDE, "an acknowledgement");
    connection.sent[0] += first.len() as u32;
    let read = connection.says(0, ACK | 0x08, second);
    assert_eq!(read, asks(PROXY, HOST));
    // Of what comes through a tunnel in parts the other gateway says so, by the tunnel.
    let mut connection = Connection::open(realms(), RTSP);
    let tags = [0, 1].map(|nth| connection.gateways[nth].tag(0));
    let mut packet = connection.packet(0, ACK | 0x08, first);
    (packet.source, packet.destination) = (tags[0], tags[1]);
    let (_, between) = cross(&mut connection.gateways, 0, &datagram((9, 9), "x")).unwrap();
    let outer = outer(
        ces_dataplane::msg::Encapsulation::Vxlan,
        u32::from_be_bytes(between[26..30].try_into().unwrap()),
        u32::from_be_bytes(between[30..34].try_into().unwrap()),
        ID_OUT,
        &packet.bytes(),
        0,
    );
    let (_, out) =
        connection.gateways[1].one(OUTSIDE, &ethernet(MAC_OUT, MAC_ROUTER, 0x0800, &outer.bytes()));
    assert_eq!(out[0].0, OUTSIDE);
    assert_sound(&out[0].1);
    let inner = &out[0].1[64..];
    let word = |at: usize| u32::from_be_bytes(inner[at..at + 4].try_into().unwrap());
    assert_eq!((word(12), word(16)), (tags[1], tags[0]));
    assert_eq!(word(28), connection.sent[0] + first.len() as u32, "acknowledged");
}

#[test]
fn a_restricted_binding_carries_what_is_agreed_on() {
    let limits = BindingLimits { protocol: Some(6), port: Some(RTSP), ..BindingLimits::default() };
    let mut connection = Connection::open(gateways(&settings(), limits), RTSP);
    assert_eq!(connection.media(1, (6000, 5000)), Err(Why::PolicyProtocol));
    connection.host(0, &asks(HOST, PROXY));
    connection.host(1, &agrees(HOST, PROXY));
    assert_eq!(connection.media(1, (6000, 5000)), Ok(()));
    assert_eq!(connection.media(0, (5001, 6001)), Ok(()), "RTCP of the player");
    assert_eq!(connection.media(1, (6001, 5001)), Ok(()));
    assert_eq!(connection.media(1, (6000, 5004)), Err(Why::PolicyProtocol));
}

/// P9: what was announced may come in parts, in any order (RFC 4787 §11, REQ-14), whatever else the binding carries.
#[test]
fn p9_announced_media_comes_in_parts_through_a_restricted_binding() {
    let whole = udp(5000, 6000, &[7; 56]);
    let part = |id, fragment, from: usize, to: usize| {
        let part = Ip::new(HOST, PROXY, 17, whole[from..to].to_vec()).fragment(fragment).raw();
        from_host(&Ip { id, ..part })
    };
    let parts = |id| [part(id, 0x2000, 0, 32), part(id, 4, 32, 64)];
    let carried =
        |gateway: &mut Gateway, frame: &[u8]| matches!(gateway.one(INSIDE, frame).0, Verdict::Forward(_));
    for protocol in [6, 17] {
        let limits = BindingLimits { protocol: Some(protocol), port: Some(RTSP), ..BindingLimits::default() };
        let gateways = gateways(&settings(), limits);
        let mut gateway = if protocol == 6 {
            let mut connection = Connection::open(gateways, RTSP);
            let [first, later] = parts(1);
            assert!(!carried(&mut connection.gateways[0], &first), "nobody has announced it");
            assert!(!carried(&mut connection.gateways[0], &later));
            connection.host(0, &asks(HOST, PROXY));
            connection.host(1, &agrees(HOST, PROXY));
            connection.gateways.remove(0)
        } else {
            let limits = BindingLimits { port: Some(SIP), ..limits };
            let mut gateways = common::realms::gateways(&settings(), limits);
            says(&mut gateways, 0, &request("INVITE", HOST, PROXY, &described(HOST, 5000)));
            cross(&mut gateways, 1, &datagram((6000, 5000), "rtp")).unwrap();
            gateways.remove(0)
        };
        let [first, later] = parts(2);
        assert!(carried(&mut gateway, &first) && carried(&mut gateway, &later), "{protocol}");
        let [first, later] = parts(3);
        assert!(matches!(gateway.one(INSIDE, &later).0, Verdict::HoldLater(_)), "{protocol}");
        gateway.state.take_came();
        assert!(carried(&mut gateway, &first), "{protocol}");
        assert!(gateway.state.take_came().is_some(), "what waits goes on");
        assert!(carried(&mut gateway, &later), "{protocol}");
        // Nobody else's parts come along.
        let other = Ip { id: 3, ..Ip::new(HOST, PROXY, 132, whole[32..64].to_vec()).fragment(4).raw() };
        assert!(!carried(&mut gateway, &from_host(&other)));
    }
}

/// A SYN in the midst of a connection is its receiver's to answer (RFC 5961 §4.2): what is said goes on being read where it was.
#[test]
fn a_stray_syn_leaves_a_stream_where_it_is() {
    let mut connection = Connection::open(realms(), RTSP);
    connection.host(0, &asks(HOST, PROXY));
    connection.host(1, &agrees(HOST, PROXY));
    for from in [0, 1] {
        for flags in [SYN, SYN | ACK] {
            let mut stray = connection.packet(from, flags, "");
            stray.payload[4..8].copy_from_slice(&0x7000_0000u32.to_be_bytes());
            cross(&mut connection.gateways, from, &stray).unwrap();
        }
    }
    assert_eq!(connection.host(0, &asks(HOST, PROXY)), asks(PROXY, HOST));
    assert_eq!(connection.host(1, &agrees(HOST, PROXY)), agrees(PROXY, HOST));
}

const FTP: u16 = 21;

/// The host's own address in a line, or its tag or proxy.
fn port_line(at: u32) -> String {
    let [a, b, c, d] = at.to_be_bytes();
    format!("PORT {a},{b},{c},{d},20,21\r\n")
}

/// A line of FTP is put together as long as it has 112 bytes at most.
#[test]
fn a_long_line_passes_as_it_is() {
    for (length, is_kept) in [(112, true), (113, false)] {
        let mut connection = Connection::open(realms(), FTP);
        let begun = format!("PORT {}", "1".repeat(length - 5));
        let part = from_host(&connection.packet(0, ACK | 0x08, &begun));
        let (_, out) = connection.gateways[0].one(INSIDE, &part);
        assert_eq!(out[0].0, if is_kept { INSIDE } else { OUTSIDE }, "{length}: acknowledged, or passed on");
    }
}

#[test]
fn after_a_restart_a_control_connection_passes_unread() {
    for (port, said) in [(FTP, port_line(HOST)), (RTSP, asks(HOST, PROXY))] {
        let mut connection = Connection { gateways: realms(), port, sent: [1000, 5000], got: [5000, 1000] };
        assert_eq!(connection.host(0, &said), said);
    }
}

/// An ICMP error quotes the numbers that its sender has seen: nobody moves them back.
#[test]
fn errors_about_a_control_connection_quote_what_their_sender_has_seen() {
    let mut connection = Connection::open(realms(), FTP);
    assert_eq!(connection.host(0, &port_line(HOST)), port_line(PROXY));
    let list = connection.packet(0, ACK | 0x08, "LIST\r\n");
    let (frame, _) = cross(&mut connection.gateways, 0, &list).unwrap();
    let number = |at: usize, frame: &[u8]| u32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
    assert_ne!(number(38, &frame), connection.sent[0], "the line has grown");
    let error = Ip::new(HOST, PROXY, 1, icmp(3, 1, 0, &frame[14..]));
    let (told, _) = cross(&mut connection.gateways, 1, &error).unwrap();
    assert_eq!((number(54, &told), number(58, &told)), (HOST, PROXY));
    assert_eq!(number(66, &told), number(38, &frame));
}

/// Without room a connection passes unread, in a dry run it is shown, and where it is off nobody looks.
#[test]
fn a_stream_is_off_or_only_shown_or_has_no_room() {
    for (mode, talks) in [(AlgMode::DryRun, 16), (AlgMode::Off, 16), (AlgMode::On, 0)] {
        let mut settings = settings();
        (settings.alg.rtsp.mode, settings.talks) = (mode, talks);
        let mut connection = Connection::open(gateways(&settings, BindingLimits::default()), RTSP);
        assert_eq!(connection.host(0, &asks(HOST, PROXY)), asks(HOST, PROXY));
        let counters = &connection.gateways[0].state.counters;
        assert_eq!(
            (counters.rtsp_would_rewrite, counters.alg_unattended),
            (u64::from(mode == AlgMode::DryRun), u64::from(talks == 0))
        );
    }
}

/// With its connection what is known of one is forgotten: there is room for the next.
#[test]
fn room_comes_back() {
    let mut settings = settings();
    (settings.channels, settings.talks) = (2, 1);
    let mut connection = Connection::open(gateways(&settings, BindingLimits::default()), RTSP);
    connection.says(0, RST, "");
    for gateway in &mut connection.gateways {
        gateway.now += 61 * SECOND;
        for _ in 0..8 {
            gateway.now += 3 * SECOND;
            gateway.state.tick(gateway.now);
        }
    }
    let mut connection = Connection::open(connection.gateways, RTSP);
    assert_eq!(connection.host(0, &asks(HOST, PROXY)), asks(PROXY, HOST));
}
