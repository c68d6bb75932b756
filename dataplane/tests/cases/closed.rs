//! What is for the gateway itself, and ways that are closed.

use super::*;
use ces_dataplane::settings::WorkerSettings;

#[test]
fn what_is_for_the_gateway_is_punted_and_nothing_else() {
    let arp = |operation: u8, sender: u32, target: u32| {
        let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, operation];
        bytes.extend(MAC_HOST);
        bytes.extend(sender.to_be_bytes());
        bytes.extend([0; 6]);
        bytes.extend(target.to_be_bytes());
        bytes
    };
    let asks = |target| ethernet([0xff; 6], MAC_HOST, 0x0806, &arp(1, HOST, target));
    let inside = |protocol, payload| (INSIDE, from_host(&Ip::new(HOST, GATEWAY, protocol, payload)));
    let outside = |protocol, payload| {
        (
            OUTSIDE,
            ethernet(MAC_OUT, MAC_ROUTER, 0x0800, &Ip::new(0x0808_0808, LOCAL, protocol, payload).bytes()),
        )
    };
    let punted = |title, input, class| case(title, gateway(), input, Verdict::Punt(class), None);
    let unasked = |title, input| drop_case(title, gateway(), input, Why::Unasked);
    run(vec![
        punted("arp for us", (INSIDE, asks(GATEWAY)), PuntClass::Arp),
        punted(
            "arp announcement",
            (INSIDE, ethernet([0xff; 6], MAC_HOST, 0x0806, &arp(1, HOST, HOST))),
            PuntClass::Arp,
        ),
        punted(
            "arp reply",
            (INSIDE, ethernet(MAC_IN, MAC_HOST, 0x0806, &arp(2, HOST, GATEWAY))),
            PuntClass::Arp,
        ),
        unasked("arp for another", (INSIDE, asks(OTHER))),
        drop_case(
            "half an arp",
            gateway(),
            (INSIDE, ethernet(MAC_IN, MAC_HOST, 0x0806, &arp(1, 1, 1)[..27])),
            Why::Truncated,
        ),
        punted("dns inside", inside(17, udp(5000, 53, b"q")), PuntClass::Dns),
        punted("dns outside", outside(17, udp(5000, 53, b"q")), PuntClass::Dns),
        unasked("ntp", outside(17, udp(5000, 123, b"a"))),
        punted("cetp", outside(6, tcp(5000, 48001, 2, &[], b"")), PuntClass::Tcp),
        unasked("ssh", outside(6, tcp(5000, 22, 2, &[], b""))),
        punted("dns over tcp", inside(6, tcp(5000, 53, 2, &[], b"")), PuntClass::Tcp),
        punted("syn ack of our connection", outside(6, tcp(48001, 40000, 0x12, &[], b"")), PuntClass::Tcp),
        punted("segment of our connection", outside(6, tcp(48001, 40000, 0x18, &[], b"x")), PuntClass::Tcp),
        punted("ping us", inside(1, icmp(8, 0, 1, b"")), PuntClass::Icmp),
        punted("ping us from outside", outside(1, icmp(8, 0, 1, b"")), PuntClass::Icmp),
        unasked("time stamp", inside(1, icmp(13, 0, 1, &[0; 12]))),
        unasked("sctp", outside(132, vec![0; 20])),
        case(
            "error about our own connection",
            gateway(),
            outside(
                1,
                icmp(3, 4, 1400, &Ip::new(LOCAL, REMOTE, 6, tcp(40000, 48001, 0x10, &[], b"")).bytes()),
            ),
            Verdict::Punt(PuntClass::Icmp),
            None,
        ),
        // with TTL 1 too: it goes no further
        punted(
            "ping us from one hop",
            (INSIDE, from_host(&Ip::new(HOST, GATEWAY, 1, icmp(8, 0, 1, b"")).ttl(1))),
            PuntClass::Icmp,
        ),
    ]);
    let mut few = settings();
    few.punt_rates[PuntClass::Dns as usize] = 160; // Of which one host has an eighth.
    let mut g = Gateway::bare(few);
    let (port, frame) = inside(17, udp(5000, 53, b"q"));
    let fates: Vec<_> = (0..4).map(|_| g.one(port, &frame).0).collect();
    let (yes, no) = (Verdict::Punt(PuntClass::Dns), Verdict::Drop(Why::PuntMetered));
    assert_eq!(fates, [yes, yes, no, no]);
    g.now += SECOND / 20;
    assert_eq!([g.one(port, &frame).0, g.one(port, &frame).0], [yes, no]);
    // another class is not starved
    assert_eq!(
        g.one(INSIDE, &from_host(&Ip::new(HOST, GATEWAY, 1, icmp(8, 0, 1, b"")))).0,
        Verdict::Punt(PuntClass::Icmp)
    );
}

/// RFC 5452 §9.1: what nobody was asked is no answer.
#[test]
fn n7_answers_come_from_resolvers_that_are_asked_and_from_nobody_else() {
    const RESOLVER: u32 = 0x0808_0808;
    let asking = || {
        let mut settings = settings();
        settings.resolvers =
            vec![(address(RESOLVER), 53), (address(RESOLVER + 1), 5353), (address(HOST), 5353)];
        Gateway::bare(settings)
    };
    let answer = |source, from, to| {
        let packet = Ip::new(source, LOCAL, 17, udp(from, to, b"a"));
        (OUTSIDE, ethernet(MAC_OUT, MAC_ROUTER, 0x0800, &packet.bytes()))
    };
    let punted = |title, input| case(title, asking(), input, Verdict::Punt(PuntClass::Udp), None);
    let unasked = |title, input| drop_case(title, asking(), input, Why::Unasked);
    let told = |title, packet: &Ip| told_case(title, asking(), packet, Why::Unasked, (3, 3));
    run(vec![
        punted("of the resolver", answer(RESOLVER, 53, 40_000)),
        punted("of one at another port", answer(RESOLVER + 1, 5353, 40_000)),
        unasked("of anybody", answer(RESOLVER + 9, 53, 40_000)),
        unasked("of the resolver's other port", answer(RESOLVER, 5353, 40_000)),
        unasked("of the other's usual port", answer(RESOLVER + 1, 53, 40_000)),
        unasked("of nobody", answer(0x0900_0001, 0, 40_000)),
        unasked("to a low port", answer(RESOLVER, 53, 123)),
        unasked("from inside", (INSIDE, from_host(&Ip::new(HOST, GATEWAY, 17, udp(53, 40_000, b"a"))))),
        // A realm may have its resolver inside.
        punted("of one inside", (INSIDE, from_host(&Ip::new(HOST, GATEWAY, 17, udp(5353, 40_000, b"a"))))),
        told("of that to a low port", &Ip::new(HOST, GATEWAY, 17, udp(5353, 123, b"a"))),
        told("of its neighbour", &Ip::new(HOST + 1, GATEWAY, 17, udp(5353, 40_000, b"a"))),
        drop_case("where nobody is asked", gateway(), answer(RESOLVER, 53, 40_000), Why::Unasked),
    ]);
}

#[test]
fn closed_ways_have_their_reasons() {
    let unresolved = || {
        let mut g = gateway();
        g.command(Command::SetHop(ROUTER, Neighbour { port: OUTSIDE, mac: None, pin: None }));
        g
    };
    let unknown_host =
        || Gateway::new(settings(), Encapsulation::Vxlan, Binding { neighbour: HOP_UNKNOWN, ..binding() });
    let mut removed = gateway();
    removed.command(Command::RemoveTunnel(TunnelId(0)));
    let mut removed_in = gateway();
    removed_in.command(Command::RemoveTunnel(TunnelId(0)));
    let inner = far(&removed_in, 17, udp(1, 2, b""));
    let from_far = from_peer(Encapsulation::Vxlan, &inner);
    run(vec![
        drop_case(
            "host never heard of",
            unknown_host(),
            (OUTSIDE, from_far.clone()),
            Why::NeighbourUnresolved,
        ),
        told_case("tunnel removed", removed, &host_udp(), Why::NoRoute, (3, 0)),
        drop_case("tunnel removed, in", removed_in, (OUTSIDE, from_far), Why::TunnelOuterUnknown),
    ]);
    let mut g = unresolved();
    for _ in 0..3 {
        g.one(INSIDE, &from_host(&host_udp()));
    }
    g.now += SECOND;
    g.one(INSIDE, &from_host(&host_udp()));
    assert_eq!(g.events(), vec![ces_dataplane::msg::Event::HopWanted(ROUTER); 2]);
    g.command(Command::SetHop(ROUTER, Neighbour { port: OUTSIDE, mac: Some(MAC_ROUTER), pin: None }));
    assert_eq!(g.one(INSIDE, &from_host(&host_udp())).0, OUT);
}

#[test]
fn dhcp_is_for_the_server_where_there_is_one() {
    let serving = || Gateway::bare(WorkerSettings { dhcp: true, ..settings() });
    let everybody = |source: u32, destination: u32, from, to| {
        let packet = Ip::new(source, destination, 17, udp(from, to, &[1; 300]));
        (INSIDE, ethernet([0xff; 6], MAC_HOST, 0x0800, &packet.bytes()))
    };
    let discover = || everybody(0, u32::MAX, 68, 67);
    let to_us = |source| (INSIDE, from_host(&Ip::new(source, GATEWAY, 17, udp(68, 67, &[1; 300]))));
    let punted = |title, input| case(title, serving(), input, Verdict::Punt(PuntClass::Dhcp), None);
    let broadcast = |title, g, input| drop_case(title, g, input, Why::Broadcast);
    let (mut cut, mut fragment) = (discover(), discover());
    cut.1.truncate(60);
    fragment.1 = {
        let packet = Ip::new(0, u32::MAX, 17, udp(68, 67, &[1; 300])).fragment(0x2000);
        ethernet([0xff; 6], MAC_HOST, 0x0800, &packet.bytes())
    };
    let mut outside = discover();
    outside.0 = OUTSIDE;
    run(vec![
        punted("discover", discover()),
        punted("rebinding", everybody(HOST, GATEWAY | 0xff, 68, 67)),
        punted("another server's offer", everybody(HOST, u32::MAX, 67, 68)),
        punted("renewing", to_us(HOST)),
        broadcast("where there is none", gateway(), discover()),
        told_case(
            "renewing where there is none",
            gateway(),
            &Ip::new(HOST, GATEWAY, 17, udp(68, 67, &[1; 300])),
            Why::Unasked,
            (3, 3),
        ),
        broadcast("another port", serving(), everybody(HOST, u32::MAX, 137, 137)),
        broadcast("in parts", serving(), fragment),
        broadcast("from outside", serving(), outside),
        drop_case("cut short", serving(), cut, Why::IpTotalLength),
        drop_case("from elsewhere, renewing", serving(), to_us(0x0808_0808), Why::SourceSpoofed),
    ]);
    let mut few = WorkerSettings { dhcp: true, ..settings() };
    few.punt_rates[PuntClass::Dhcp as usize] = 10;
    let mut g = Gateway::bare(few);
    let (port, frame) = discover();
    let fates = [g.one(port, &frame).0, g.one(port, &frame).0];
    assert_eq!(fates, [Verdict::Punt(PuntClass::Dhcp), Verdict::Drop(Why::PuntMetered)]);
}
