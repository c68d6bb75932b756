//! ICMP errors: those that pass, those that the gateway makes, and those about its own tunnel packets.

use super::*;

#[test]
fn time_runs_out_here() {
    // Inside: the gateway itself says so. Quoted: the packet as the host sent it.
    let packet = host_udp().ttl(1);
    let mut said = Ip::new(GATEWAY, HOST, 1, icmp(11, 0, 0, &packet.bytes())).tos(0xc0);
    said.id = 0;
    let reply = Verdict::Reply(Egress::by(INSIDE), Why::TtlExceeded);
    let inside =
        case("ttl inside", gateway(), (INSIDE, from_host(&packet)), reply, Some((INSIDE, to_host(&said))));
    // Through the tunnel: with the binding's tags, so that the far host sees its proxy.
    let g = gateway();
    let inner = far(&g, 17, udp(1, 33434, b"trace")).ttl(1);
    let mut said = Ip::new(g.tag(0), REMOTE_TAG, 1, icmp(11, 0, 0, &inner.bytes())).tos(0xc0);
    said.id = 0;
    let reply = Verdict::Reply(Egress::by(OUTSIDE), Why::TtlExceeded);
    let output = Some((OUTSIDE, to_peer(Encapsulation::Vxlan, &said)));
    let outside = case("ttl outside", g, (OUTSIDE, from_peer(Encapsulation::Vxlan, &inner)), reply, output);
    let silent =
        |title, packet: Ip| drop_case(title, gateway(), (INSIDE, from_host(&packet)), Why::TtlExceeded);
    let quoted = Ip::new(PROXY, HOST, 17, udp(1, 2, b"")).bytes();
    run(vec![
        inside,
        outside,
        silent("no error about an error", Ip::new(HOST, PROXY, 1, icmp(3, 3, 0, &quoted)).ttl(1)),
        silent(
            "no error about a later fragment",
            Ip::new(HOST, PROXY, 17, vec![0; 16]).ttl(1).fragment(3).raw(),
        ),
    ]);
}

#[test]
fn icmp_errors_are_translated_with_what_they_quote() {
    let mut cases = Vec::new();
    for (protocol, payload) in [
        (17, udp(5000, 7, b"to a closed port")),
        (17, vec![0x13, 0x88, 0, 7, 0, 9, 0, 0, 1]), // without checksum
        (6, tcp(5000, 7, 0x10, &[], b"data")),
        (1, icmp(8, 0, 0x0007_0001, b"ping")),
    ] {
        // Outwards: the host's port is closed. The far gateway must find its packet with our tags.
        for (title, sender) in [("error from the host", HOST), ("error from a router inside", OTHER)] {
            let g = gateway();
            let received = Ip::new(PROXY, HOST, protocol, payload.clone());
            let error = Ip::new(sender, PROXY, 1, icmp(3, 3, 0, &received.bytes()));
            let quoted = received.readdressed(REMOTE_TAG, g.tag(0), 0).bytes();
            let inner = Ip::new(g.tag(0), REMOTE_TAG, 1, icmp(3, 3, 0, &quoted)).ttl(63);
            let output = Some((OUTSIDE, to_peer(Encapsulation::Vxlan, &inner)));
            cases.push(case(title, g, (INSIDE, from_host(&error)), OUT, output));
        }
        // Inwards: quotes what our host sent, with our tag as source.
        let g = gateway();
        let sent = Ip::new(g.tag(0), REMOTE_TAG, protocol, payload).ttl(60);
        let error = far(&g, 1, icmp(11, 0, 0, &sent.bytes()));
        let quoted = sent.readdressed(HOST, PROXY, 0).bytes();
        let arrives = Ip::new(PROXY, HOST, 1, icmp(11, 0, 0, &quoted)).ttl(63);
        let input = (OUTSIDE, from_peer(Encapsulation::Vxlan, &error));
        cases.push(case("error from the tunnel", g, input, IN, Some((INSIDE, to_host(&arrives)))));
    }
    let unmatched = |title, quoted: Vec<u8>| {
        let error = Ip::new(HOST, PROXY, 1, icmp(3, 3, 0, &quoted));
        drop_case(title, gateway(), (INSIDE, from_host(&error)), Why::IcmpErrorUnmatched)
    };
    cases.push(unmatched("error about nothing", vec![]));
    cases.push(unmatched(
        "error about half a header",
        Ip::new(PROXY, HOST, 17, udp(1, 2, b"")).bytes()[..27].to_vec(),
    ));
    cases.push(unmatched("error about another's packet", Ip::new(PROXY, OTHER, 17, udp(1, 2, b"")).bytes()));
    cases.push(unmatched("error to another proxy", Ip::new(PROXY_OTHER, HOST, 17, udp(1, 2, b"")).bytes()));
    let g = gateway();
    let foreign = Ip::new(g.tag(0), REMOTE_TAG ^ 1, 17, udp(1, 2, b"")).bytes();
    let error = far(&g, 1, icmp(3, 1, 0, &foreign));
    cases.push(drop_case(
        "tunnel error about another's packet",
        g,
        (OUTSIDE, from_peer(Encapsulation::Vxlan, &error)),
        Why::IcmpErrorUnmatched,
    ));
    run(cases);
}

/// An ICMP error of a router outside about what we sent.
fn outer_error(kind: u8, code: u8, rest: u32, sent: &[u8]) -> Vec<u8> {
    let error = Ip::new(0x0909_0909, LOCAL, 1, icmp(kind, code, rest, sent));
    ethernet(MAC_OUT, MAC_ROUTER, 0x0800, &error.bytes())
}

#[test]
fn a_narrow_path_outside_lowers_the_tunnels_mtu() {
    use ces_dataplane::msg::Event;
    for encapsulation in [Encapsulation::Vxlan, Encapsulation::Gre, Encapsulation::Geneve] {
        let sent = |id| outer(encapsulation, LOCAL, REMOTE, id, &host_udp().bytes(), 0).bytes();
        let mut g = Gateway::new(settings(), encapsulation, binding());
        let absorbed = |g: &mut Gateway, mtu, quoted: &[u8]| {
            assert_eq!(g.one(OUTSIDE, &outer_error(3, 4, mtu, quoted)).0, Verdict::Absorb);
            g.events()
        };
        let changed = |mtu| vec![Event::TunnelMtu(TunnelId(0), mtu)];
        assert_eq!(absorbed(&mut g, 1400, &sent(ID_OUT)), changed(1400));
        assert_eq!(absorbed(&mut g, 1400, &sent(ID_OUT)), vec![]);
        assert_eq!(absorbed(&mut g, 1450, &sent(ID_OUT)), vec![], "never up");
        assert_eq!(absorbed(&mut g, 1300, &sent(ID_OUT)[..28]), changed(1300), "64 bits of quote");
        assert_eq!(absorbed(&mut g, 68, &sent(ID_OUT)), changed(576), "the floor");
        let forged = |g: &mut Gateway, quoted: &[u8]| g.one(OUTSIDE, &outer_error(3, 4, 600, quoted)).0;
        let unmatched = Verdict::Drop(Why::IcmpErrorUnmatched);
        assert_eq!(forged(&mut g, &sent(ID_OUT + 1)), unmatched, "wrong id");
        let elsewhere = outer(encapsulation, LOCAL, REMOTE + 1, ID_OUT, &host_udp().bytes(), 0).bytes();
        assert_eq!(forged(&mut g, &elsewhere), unmatched, "no such peer");
        let overhead = if encapsulation == Encapsulation::Gre { 42 } else { 50 };
        let big = Ip::new(HOST, PROXY, 17, udp(1, 2, &[7; 1000]));
        let (verdict, out) = g.one(INSIDE, &from_host(&big));
        assert_eq!(verdict, Verdict::Reply(Egress::by(INSIDE), Why::TooBig));
        assert_eq!(u16::from_be_bytes([out[0].1[40], out[0].1[41]]), 576 - overhead);
    }
    // A router of before RFC 1191 says no MTU: the next plateau below what was sent.
    let mut g = gateway();
    let long = Ip::new(HOST, PROXY, 17, udp(1, 2, &[7; 1400])).bytes();
    let sent = outer(Encapsulation::Vxlan, LOCAL, REMOTE, ID_OUT, &long, 0).bytes();
    g.one(OUTSIDE, &outer_error(3, 4, 0, &sent[..60]));
    assert_eq!(g.events(), vec![Event::TunnelMtu(TunnelId(0), 1006)]);
}

/// Who quotes no more than 64 bits of a UDP tunnel may be anybody: addresses and ports can be guessed, the id cannot.
#[test]
fn p12_a_quote_that_proves_nothing_narrows_a_tunnel_little() {
    use ces_dataplane::msg::Event;
    for encapsulation in [Encapsulation::Vxlan, Encapsulation::Geneve] {
        let sent = outer(encapsulation, LOCAL, REMOTE, ID_OUT, &host_udp().bytes(), 0).bytes();
        for (said, length, narrowed) in
            [(68, 28, 1280), (0, 28, 1280), (1300, 28, 1300), (68, 35, 1280), (68, 36, 576), (1000, 36, 1000)]
        {
            let mut g = Gateway::new(settings(), encapsulation, binding());
            g.one(OUTSIDE, &outer_error(3, 4, said, &sent[..length]));
            assert_eq!(g.events(), [Event::TunnelMtu(TunnelId(0), narrowed)], "{said} by {length} octets");
        }
    }
}

#[test]
fn other_errors_outside_reach_the_host_as_from_its_proxy() {
    let g = gateway();
    let packet = host_udp();
    let sent = packet.readdressed(g.tag(0), REMOTE_TAG, 1);
    let outer_sent = outer(Encapsulation::Vxlan, LOCAL, REMOTE, ID_OUT, &sent.bytes(), 0).bytes();
    let seen = sent.readdressed(HOST, PROXY, 0);
    let mut said = Ip::new(PROXY, HOST, 1, icmp(3, 1, 0, &seen.bytes())).tos(0xc0);
    said.id = 0;
    let told = case(
        "peer unreachable",
        g,
        (OUTSIDE, outer_error(11, 0, 0, &outer_sent)),
        IN,
        Some((INSIDE, to_host(&said))),
    );
    let short = drop_case(
        "peer unreachable, short quote",
        gateway(),
        (OUTSIDE, outer_error(3, 0, 0, &outer_sent[..28])),
        Why::IcmpErrorUnmatched,
    );
    let mut corrupt = outer_error(3, 0, 0, &outer_sent);
    corrupt[60] ^= 1;
    run(vec![told, short, drop_case("corrupt error", gateway(), (OUTSIDE, corrupt), Why::L4Malformed)]);
}

#[test]
fn errors_are_rate_limited() {
    let mut slow = settings();
    slow.icmp_error_rate = 160; // bursts of 16, of one host two
    let mut g = Gateway::new(slow, Encapsulation::Vxlan, binding());
    let frame = from_host(&host_udp().ttl(1));
    let fates: Vec<_> = (0..4).map(|_| g.one(INSIDE, &frame).0).collect();
    let (yes, no) = (Verdict::Reply(Egress::by(INSIDE), Why::TtlExceeded), Verdict::Drop(Why::TtlExceeded));
    assert_eq!(fates, [yes, yes, no, no]);
    let counters = &g.state.counters;
    assert_eq!((counters.icmp_generated, counters.icmp_suppressed, counters.dropped()), (2, 2, 4));
}
