//! Static mappings: what is reached from everywhere because it is configured.

use super::*;
use ces_dataplane::nat::statics::{PortProtocol, Static};
use ces_dataplane::premises::Premises;
use ces_dataplane::reason::DropReason as Why;
use ces_dataplane::settings::WorkerSettings;
use ces_dataplane::tag::{Layout, worker_of};

/// An address that the host has for itself, and one that the other host has.
const WHOLE: u32 = 0xc633_6450;
const WHOLE_OTHER: u32 = 0xc633_6451;

fn whole(external: u32, host: u32) -> Static {
    let net = |bits| address(bits).into();
    let (external, inside) = (net(external), net(host));
    Static { external, inside, protocol: None, port: None, ports: None, inside_port: None }
}

fn ports(external: u32, ports: (u16, u16), host: u32, inside_port: u16) -> Static {
    Static { ports: Some(ports), inside_port: Some(inside_port), ..whole(external, host) }
}

/// The host's port 8080 at the gateway's port 80, five ports of the other host as they are, and an address for each.
fn statics() -> Vec<Static> {
    vec![
        Static { protocol: Some(PortProtocol::Tcp), ..ports(LOCAL, (80, 80), HOST, 8080) },
        ports(LOCAL, (2000, 2004), OTHER, 2000),
    ]
}

fn wholes() -> Vec<Static> {
    vec![whole(WHOLE, HOST), whole(WHOLE_OTHER, OTHER)]
}

fn settings_with(lines: Vec<Static>) -> WorkerSettings {
    let mut settings = nat_settings();
    settings.nat.statics = lines.into();
    settings
}

fn with(lines: Vec<Static>) -> Gateway {
    gateway_with(settings_with(lines))
}

/// What a reload does.
fn change(gateway: &mut Gateway, lines: Vec<Static>) {
    gateway.settings.translations += 1;
    gateway.settings.nat.statics = lines.into();
    let mut premises = Premises::new(&gateway.settings).with_routes(routes(1));
    gateway.state.move_in(&mut premises);
}

fn syn(source: u32, source_port: u16, destination: u32, port: u16) -> Ip {
    Ip::new(source, destination, 6, tcp(source_port, port, SYN, &[], &[]))
}

fn datagram(source: u32, source_port: u16, destination: u32, port: u16) -> Ip {
    Ip::new(source, destination, 17, udp(source_port, port, b"q"))
}

fn ping(source: u32, destination: u32, kind: u8, id: u16) -> Ip {
    Ip::new(source, destination, 1, icmp(kind, 0, u32::from(id) << 16 | 1, b"ping"))
}

#[test]
fn ports_of_a_host_are_reached_from_everywhere_and_answer_from_there() {
    let mut gateway = with(statics());
    let (port, frame) = sent(&mut gateway, OUTSIDE, &from_world(&syn(SERVER, 5000, LOCAL, 80)));
    assert_eq!((port, flow(&frame)), (INSIDE, (SERVER, 5000, HOST, 8080)));
    let answer = from_host(&Ip::new(HOST, SERVER, 6, tcp(8080, 5000, SYN | ACK, &[], &[])));
    assert_eq!(flow(&sent(&mut gateway, INSIDE, &answer).1), (LOCAL, 80, SERVER, 5000));
    for port in 2000..2005 {
        let (_, frame) = sent(&mut gateway, OUTSIDE, &from_world(&datagram(SERVER_2, 7, LOCAL, port)));
        assert_eq!(flow(&frame), (SERVER_2, 7, OTHER, port));
    }
    for nobodys in
        [datagram(SERVER, 7, LOCAL, 80), datagram(SERVER, 7, LOCAL, 2005), ping(SERVER, LOCAL, 0, 80)]
    {
        let (verdict, _) = gateway.one(OUTSIDE, &from_world(&nobodys));
        assert!(!matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
    }
    let late = from_world(&Ip::new(SERVER_2, LOCAL, 6, tcp(9, 80, ACK, &[], b"x")));
    assert!(!matches!(gateway.one(OUTSIDE, &late).0, Verdict::Forward(_)), "TCP begins with a SYN");
    assert_eq!(live(&mut gateway), 6);
    assert_eq!((gateway.state.counters.sessions_configured, gateway.state.counters.nat_ports), (6, 0));
}

/// What the host itself sends from there is seen as the static mapping says, and from elsewhere as ever.
#[test]
fn what_a_host_sends_from_there_uses_its_static_mapping() {
    let mut gateway = with(statics());
    assert_eq!(flow(&sent(&mut gateway, INSIDE, &from_host(&syn(HOST, 8080, SERVER, 99))).1).1, 80);
    assert_eq!(external(&mut gateway, OTHER, 2003), 2003);
    assert_eq!(external(&mut gateway, HOST, 8080), 8080, "of TCP alone");
    assert_eq!(external(&mut gateway, OTHER, 2005), 2005);
}

/// However few ports are left.
#[test]
fn nobody_else_gets_a_port_that_is_configured() {
    let mut settings = settings_with(statics());
    settings.nat.ports = (1996, 2009);
    let mut gateway = gateway_with(settings);
    let mut given = Vec::new();
    for port in 2000..2010 {
        let packet = from_host(&datagram(HOST, port, SERVER, 53));
        match gateway.one(INSIDE, &packet) {
            (Verdict::Forward(_), out) => {
                let port = flow(&out[0].1).1;
                given.push(port);
                // What was not answered would give way.
                sent(&mut gateway, OUTSIDE, &from_world(&datagram(SERVER, 53, LOCAL, port)));
            }
            (verdict, _) => assert!(matches!(
                verdict,
                Verdict::Reply(_, Why::NatPortsFull) | Verdict::Drop(Why::NatPortsFull)
            )),
        }
    }
    given.sort_unstable();
    assert_eq!(given, [1996, 1997, 1998, 1999, 2005, 2006, 2007, 2008, 2009]);
    // Nor when those that rest are the only ones.
    wait(&mut gateway, 305);
    for port in 3000..3009 {
        assert!(!(2000..2005).contains(&external(&mut gateway, HOST, port)));
    }
}

/// TCP, UDP, queries and protocols without ports, whoever begins; nothing of them is mapped.
#[test]
fn a_whole_address_is_the_hosts_in_every_protocol() {
    for begins_outside in [true, false] {
        let mut gateway = with(wholes());
        let cases: [(u8, Vec<u8>, Vec<u8>); 5] = [
            (6, tcp(5000, 80, SYN, &[], &[]), tcp(80, 5000, SYN | ACK, &[], &[])),
            (17, udp(40_000, 53, b"q"), udp(53, 40_000, b"a")),
            (1, icmp(8, 0, 0x0007_0001, b"ping"), icmp(0, 0, 0x0007_0001, b"ping")),
            (50, vec![9; 20], vec![9; 20]),
            (132, vec![0; 20], vec![0; 20]),
        ];
        for (protocol, first, second) in cases {
            let steps = if begins_outside {
                [(false, first), (true, second)]
            } else {
                [(true, first), (false, second)]
            };
            for (out, payload) in steps {
                let (port, frame, from, to) = if out {
                    let packet = from_host(&Ip::new(HOST, SERVER, protocol, payload.clone()));
                    let (port, frame) = sent(&mut gateway, INSIDE, &packet);
                    (port, frame, WHOLE, SERVER)
                } else {
                    let packet = from_world(&Ip::new(SERVER, WHOLE, protocol, payload.clone()));
                    let (port, frame) = sent(&mut gateway, OUTSIDE, &packet);
                    (port, frame, SERVER, HOST)
                };
                assert_eq!(port, if out { OUTSIDE } else { INSIDE }, "{protocol}");
                assert_eq!((word(&frame, 12), word(&frame, 16)), (from, to), "{protocol}");
                assert_eq!(frame[34..].len(), payload.len(), "{protocol}");
                if protocol != 1 {
                    assert_eq!(frame[34..38], payload[..4], "{protocol}: ports stay as they are");
                }
            }
        }
        assert_eq!(live(&mut gateway), 5);
        let counters = &gateway.state.counters;
        assert_eq!((counters.sessions_opened, counters.mappings_live, counters.nat_ports), (5, 0, 0));
    }
}

/// RFC 2784: GRE for a host is no tunnel of the gateway's.
#[test]
fn gre_reaches_the_host_that_has_the_address() {
    let mut gateway = with(wholes());
    let packet = |source, destination| {
        let inner = Ip::new(0x0101_0101, 0x0202_0202, 17, udp(1, 2, b"x")).bytes();
        Ip::new(source, destination, 47, [&[0, 0, 8, 0][..], &inner].concat()).raw()
    };
    let (verdict, out) = gateway.one(OUTSIDE, &from_world(&packet(SERVER, WHOLE)));
    assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
    assert_eq!((word(&out[0].1, 12), word(&out[0].1, 16)), (SERVER, HOST));
    let (verdict, out) = gateway.one(INSIDE, &from_host(&packet(HOST, SERVER)));
    assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
    assert_eq!(word(&out[0].1, 12), WHOLE);
}

#[test]
fn errors_find_the_host_that_has_the_address_or_the_port() {
    let mut gateway = with([statics(), wholes()].concat());
    sent(&mut gateway, OUTSIDE, &from_world(&syn(SERVER, 5000, LOCAL, 80)));
    sent(&mut gateway, OUTSIDE, &from_world(&datagram(SERVER, 7, WHOLE_OTHER, 7)));
    for (external, host, ports, protocol, inside) in
        [(LOCAL, HOST, (80, 5000), 6, 8080), (WHOLE_OTHER, OTHER, (7, 7), 17, 7)]
    {
        let payload =
            |port| if protocol == 6 { tcp(port, ports.1, ACK, &[], &[]) } else { udp(port, ports.1, b"a") };
        let quoted = Ip::new(external, SERVER, protocol, payload(ports.0)).bytes();
        let error = from_world(&Ip::new(WAYPOINT, external, 1, icmp(3, 1, 0, &quoted[..28])));
        let (port, frame) = sent(&mut gateway, OUTSIDE, &error);
        assert_eq!((port, word(&frame, 12), word(&frame, 16)), (INSIDE, WAYPOINT, host));
        assert_eq!((word(&frame, 40), word(&frame, 48) >> 16), (host, inside));
    }
}

/// From a host without a static mapping, from one that has one, from the host itself; by TCP, UDP and ping; and back.
#[test]
fn hosts_reach_one_another_by_what_is_configured() {
    let mut gateway = with([statics(), vec![whole(WHOLE_OTHER, OTHER)]].concat());
    // A dynamic one to a port.
    let there = sent(&mut gateway, INSIDE, &from_other(&syn(OTHER, 5000, LOCAL, 80)));
    assert_eq!((there.0, flow(&there.1)), (INSIDE, (WHOLE_OTHER, 5000, HOST, 8080)));
    let answer = from_host(&Ip::new(HOST, WHOLE_OTHER, 6, tcp(8080, 5000, SYN | ACK, &[], &[])));
    assert_eq!(flow(&sent(&mut gateway, INSIDE, &answer).1), (LOCAL, 80, OTHER, 5000));
    // The host to itself.
    let itself = sent(&mut gateway, INSIDE, &from_host(&syn(HOST, 6000, LOCAL, 80)));
    assert_eq!((itself.0, flow(&itself.1)), (INSIDE, (LOCAL, 6000, HOST, 8080)));
    // A dynamic one to a whole address, and what has the whole address to a dynamic one.
    assert_eq!(external(&mut gateway, HOST, 7000), 7000);
    let there = sent(&mut gateway, INSIDE, &from_host(&datagram(HOST, 7000, WHOLE_OTHER, 9)));
    assert_eq!(flow(&there.1), (LOCAL, 7000, OTHER, 9));
    let back = sent(&mut gateway, INSIDE, &from_other(&datagram(OTHER, 9, LOCAL, 7000)));
    assert_eq!(flow(&back.1), (WHOLE_OTHER, 9, HOST, 7000));
    // Protocols without ports.
    let there = sent(&mut gateway, INSIDE, &from_host(&Ip::new(HOST, WHOLE_OTHER, 50, vec![1; 20])));
    assert_eq!((word(&there.1, 12), word(&there.1, 16)), (LOCAL, OTHER));
    let back = sent(&mut gateway, INSIDE, &from_other(&Ip::new(OTHER, LOCAL, 50, vec![1; 20])));
    assert_eq!((word(&back.1, 12), word(&back.1, 16)), (WHOLE_OTHER, HOST));
    // RFC 5508 §3.3, REQ-7
    let there = sent(&mut gateway, INSIDE, &from_host(&ping(HOST, WHOLE_OTHER, 8, 77)));
    assert_eq!((word(&there.1, 12), word(&there.1, 16)), (LOCAL, OTHER));
    let id = (word(&there.1, 24) >> 16) as u16;
    let back = sent(&mut gateway, INSIDE, &from_other(&ping(OTHER, LOCAL, 0, id)));
    assert_eq!((word(&back.1, 12), word(&back.1, 16)), (WHOLE_OTHER, HOST));
    assert_eq!(word(&back.1, 24) >> 16, 77);
}

/// In parts, in order or not, both ways and back inside.
#[test]
fn fragments_come_in_and_turn_back() {
    let mut gateway = with([statics(), wholes()].concat());
    let cut = |source, destination, port: u16, id| {
        let whole = Ip::new(source, destination, 17, udp(4000, port, &[7; 64])).bytes()[20..].to_vec();
        [(0, 40, 0x2000), (40, 72, 5)].map(|(from, to, fragment): (usize, usize, u16)| {
            let mut part =
                Ip::new(source, destination, 17, whole[from..to].to_vec()).fragment(fragment).raw();
            part.id = id;
            part
        })
    };
    for (destination, to, port) in [(WHOLE, HOST, 9), (LOCAL, OTHER, 2001)] {
        for (source, wrap, arrival, seen) in [
            (SERVER, from_world as fn(&Ip) -> Vec<u8>, OUTSIDE, SERVER),
            (OTHER, from_other, INSIDE, WHOLE_OTHER),
        ] {
            let [first, second] = cut(source, destination, port, 5);
            let early = gateway.one(arrival, &wrap(&second)).0;
            assert!(matches!(early, Verdict::HoldLater(_)), "{early:?}");
            let frames = [first, second].map(|part| sent(&mut gateway, arrival, &wrap(&part)).1);
            assert!(frames.iter().all(|frame| (word(frame, 12), word(frame, 16)) == (seen, to)));
            assert_eq!(l4_checksum(seen, to, 17, &[&frames[0][34..], &frames[1][34..]].concat()), 0);
        }
    }
}

#[test]
fn nobody_outside_sends_from_an_address_of_a_host() {
    let mut gateway = with(wholes());
    for source in [WHOLE, WHOLE_OTHER] {
        let packet = from_world(&datagram(source, 7, WHOLE, 7));
        assert_eq!(dropped(&mut gateway, OUTSIDE, &packet), Why::SourceSpoofed);
    }
    assert_eq!(live(&mut gateway), 0);
}

/// Two external ports stand for one of the host: the same port of a stranger cannot be told apart behind both.
#[test]
fn two_ways_to_one_port_are_two_sessions_or_none() {
    let line = |port| Static { protocol: Some(PortProtocol::Udp), ..ports(LOCAL, (port, port), HOST, 53) };
    let mut gateway = with(vec![line(53), line(5353)]);
    sent(&mut gateway, OUTSIDE, &from_world(&datagram(SERVER, 9, LOCAL, 5353)));
    assert_eq!(dropped(&mut gateway, OUTSIDE, &from_world(&datagram(SERVER, 9, LOCAL, 53))), Why::NatTaken);
    sent(&mut gateway, OUTSIDE, &from_world(&datagram(SERVER, 10, LOCAL, 53)));
    let answers = [9, 10]
        .map(|port| flow(&sent(&mut gateway, INSIDE, &from_host(&datagram(HOST, 53, SERVER, port))).1).1);
    assert_eq!(answers, [5353, 53]);
}

#[test]
fn what_is_added_holds_at_once_and_what_is_removed_ends() {
    let mut gateway = gateway();
    // Somebody has the port already.
    assert_eq!(external(&mut gateway, HOST, 2001), 2001);
    assert_eq!(external(&mut gateway, HOST, 5000), 5000);
    change(&mut gateway, statics());
    assert_eq!(dropped(&mut gateway, INSIDE, &from_host(&datagram(HOST, 2001, SERVER, 53))), Why::NatChanged);
    assert!(external(&mut gateway, HOST, 2001) != 2001, "it begins anew");
    assert_eq!(external(&mut gateway, HOST, 5000), 5000, "what is not concerned goes on");
    sent(&mut gateway, OUTSIDE, &from_world(&datagram(SERVER, 9, LOCAL, 2001)));
    sent(&mut gateway, OUTSIDE, &from_world(&syn(SERVER, 9, LOCAL, 80)));
    // Another host has the ports, and nobody has port 80.
    change(&mut gateway, vec![ports(LOCAL, (2000, 2004), HOST, 2000)]);
    let late = from_world(&Ip::new(SERVER, LOCAL, 6, tcp(9, 80, ACK, &[], &[])));
    assert_eq!(dropped(&mut gateway, OUTSIDE, &late), Why::NatChanged);
    // What no packet comes for is sought.
    gateway.state.tick(gateway.now);
    let (_, frame) = sent(&mut gateway, OUTSIDE, &from_world(&datagram(SERVER, 9, LOCAL, 2001)));
    assert_eq!(flow(&frame), (SERVER, 9, HOST, 2001));
    assert_eq!(gateway.state.counters.sessions_changed, 3);
    gateway.state.take_stock();
    assert_eq!(gateway.state.counters.sessions_configured, 1);
}

/// A port that a host had dynamically is configured for another one while sessions use it: none of them goes on, whether a
/// packet comes or not, and nothing is given twice.
#[test]
fn sessions_of_a_port_that_becomes_anothers_end_without_a_packet() {
    let mut gateway = gateway();
    for remote in 0..20 {
        sent(&mut gateway, INSIDE, &from_host(&datagram(HOST, 2002, SERVER, 100 + remote)));
    }
    assert_eq!(external(&mut gateway, HOST, 3000), 3000);
    change(&mut gateway, statics());
    // New sessions of the host's port wait for those that stand.
    assert_eq!(dropped(&mut gateway, INSIDE, &from_host(&datagram(HOST, 2002, SERVER, 99))), Why::NatChanged);
    for _ in 0..4 {
        gateway.state.tick(gateway.now);
    }
    assert_eq!(live(&mut gateway), 1);
    assert!(external(&mut gateway, HOST, 2002) != 2002);
}

/// RFC 6888 §3, REQ-4: strangers do not fill more than the host's share.
#[test]
fn a_host_that_is_reached_has_its_limit() {
    let mut settings = settings_with(wholes());
    settings.nat.host_sessions = 3;
    let mut gateway = gateway_with(settings);
    for port in 1..4 {
        sent(&mut gateway, OUTSIDE, &from_world(&datagram(SERVER, port, WHOLE, 7)));
    }
    assert_eq!(
        dropped(&mut gateway, OUTSIDE, &from_world(&datagram(SERVER, 9, WHOLE, 7))),
        Why::NatHostLimit
    );
    sent(&mut gateway, OUTSIDE, &from_world(&datagram(SERVER, 9, WHOLE_OTHER, 7)));
}

/// Whichever worker it comes to, the host's is found: by the address or the port, in every protocol, errors and fragments too.
#[test]
fn what_comes_finds_the_worker_of_the_host() {
    let workers = 3;
    let mut gateways: Vec<_> = (0..workers)
        .map(|worker| {
            let mut settings = settings_with([statics(), wholes()].concat());
            (settings.worker, settings.workers) = (worker, workers);
            settings.layout = Layout::new(workers, 64);
            gateway_with(settings)
        })
        .collect();
    let later = datagram(SERVER, 7, WHOLE, 7).fragment(5).raw();
    let quoted = Ip::new(LOCAL, SERVER, 6, tcp(80, 5000, ACK, &[], &[])).bytes();
    let cases = [
        (syn(SERVER, 5000, LOCAL, 80), HOST),
        (datagram(SERVER, 5000, LOCAL, 2004), OTHER),
        (datagram(SERVER, 5000, WHOLE_OTHER, 33_333), OTHER),
        (ping(SERVER, WHOLE, 8, 5), HOST),
        (Ip::new(SERVER, WHOLE_OTHER, 50, vec![1; 20]), OTHER),
        (later, HOST),
        (Ip::new(WAYPOINT, LOCAL, 1, icmp(3, 1, 0, &quoted)), HOST),
    ];
    for (packet, host) in &cases {
        let owner = worker_of(*host, workers) as usize;
        for (first, gateway) in gateways.iter_mut().enumerate() {
            let verdict = gateway.one(OUTSIDE, &from_world(packet)).0;
            let handed = Verdict::HandOff(owner as u8);
            assert_eq!(verdict == handed, first != owner, "{packet:?} at {first}: {verdict:?}");
        }
    }
    // And what such a host sends goes out, whatever the protocol.
    let owner = worker_of(HOST, workers) as usize;
    let out = from_host(&Ip::new(HOST, SERVER, 50, vec![1; 20]));
    assert_eq!(word(&sent(&mut gateways[owner], INSIDE, &out).1, 12), WHOLE);
}

/// ARP for the address is the kernel's to answer, and nothing else for it is the gateway's.
#[test]
fn an_own_address_that_a_host_has_is_the_hosts() {
    let mut settings = settings_with(wholes());
    settings.ports[1].addresses.push((address(WHOLE), 24));
    let mut gateway = gateway_with(settings);
    let mut request = [0, 1, 8, 0, 6, 4, 0, 1].to_vec();
    request.extend(MAC_ROUTER);
    request.extend((LOCAL + 1).to_be_bytes());
    request.extend([0; 6]);
    request.extend(WHOLE.to_be_bytes());
    let frame = ethernet([0xff; 6], MAC_ROUTER, 0x0806, &request);
    assert!(matches!(gateway.one(OUTSIDE, &frame).0, Verdict::Punt(_)));
    sent(&mut gateway, OUTSIDE, &from_world(&ping(SERVER, WHOLE, 8, 5)));
    let (port, _) = sent(&mut gateway, INSIDE, &from_other(&ping(OTHER, WHOLE, 8, 6)));
    assert_eq!(port, INSIDE);
    let (_, frame) = sent(&mut gateway, OUTSIDE, &from_world(&syn(SERVER, 5000, WHOLE, 48_001)));
    assert_eq!(word(&frame, 16), HOST);
}
