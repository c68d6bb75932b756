//! What goes no further and is answered: towards the inside the gateway says why, as a router does.

use super::*;

fn to(destination: u32) -> Ip {
    Ip::new(HOST, destination, 17, udp(1, 2, b""))
}

#[test]
fn p2_the_inside_is_told_why() {
    let only_web =
        || limited(BindingLimits { protocol: Some(6), port: Some(80), ..BindingLimits::default() });
    let syn = |port| Ip::new(HOST, PROXY, 6, tcp(5000, port, 2, &[], b""));
    let mut from_other = told_case(
        "from a host without a binding",
        gateway(),
        &Ip::new(OTHER, PROXY, 17, udp(1, 2, b"")),
        Why::NoBinding,
        (3, 1),
    );
    from_other.output[0].1[..6].copy_from_slice(&MAC_HOST); // where the frame came from
    run(vec![
        told_case("to the world", gateway(), &to(0x0808_0808), Why::NoRoute, (3, 0)),
        told_case("to a free proxy", gateway(), &to(PROXY_OTHER), Why::NoBinding, (3, 1)),
        from_other,
        told_case("a port that policy refuses", only_web(), &syn(22), Why::PolicyProtocol, (3, 13)),
        told_case(
            "a first fragment",
            gateway(),
            &to(PROXY_OTHER).fragment(0x2000).raw(),
            Why::NoBinding,
            (3, 1),
        ),
        told_case(
            "an echo request",
            gateway(),
            &Ip::new(HOST, PROXY_OTHER, 1, icmp(8, 0, 1, b"")),
            Why::NoBinding,
            (3, 1),
        ),
        told_case(
            "another protocol",
            gateway(),
            &Ip::new(HOST, PROXY_OTHER, 132, vec![0; 20]),
            Why::NoBinding,
            (3, 1),
        ),
        told_case(
            "one that policy refuses",
            only_web(),
            &Ip::new(HOST, PROXY, 132, vec![0; 20]),
            Why::PolicyProtocol,
            (3, 13),
        ),
        // The first hop of a traceroute shows itself, wherever that goes.
        told_case("ttl to the world", gateway(), &to(0x0808_0808).ttl(1), Why::TtlExceeded, (11, 0)),
        told_case("ttl to a free proxy", gateway(), &to(PROXY_OTHER).ttl(1), Why::TtlExceeded, (11, 0)),
        told_case("ttl, refused by policy", only_web(), &syn(22).ttl(1), Why::TtlExceeded, (11, 0)),
    ]);
}

#[test]
fn p2_what_must_not_be_answered_is_not() {
    let silent = |title, packet: Ip, why| drop_case(title, gateway(), (INSIDE, from_host(&packet)), why);
    let quoted = Ip::new(PROXY_OTHER, HOST, 17, udp(1, 2, b"")).bytes();
    let g = limited(BindingLimits { protocol: Some(6), ..BindingLimits::default() });
    let inner = far(&g, 17, udp(1, 2, b""));
    run(vec![
        silent("a later fragment", to(0x0808_0808).fragment(3).raw(), Why::NoRoute),
        silent("an error", Ip::new(HOST, 0x0808_0808, 1, icmp(3, 3, 0, &quoted)), Why::IcmpErrorUnmatched),
        silent("to multicast", to(0xe000_00fb), Why::Multicast),
        drop_case("outside", g, (OUTSIDE, from_peer(Encapsulation::Vxlan, &inner)), Why::PolicyProtocol),
    ]);
    let mut slow = settings();
    slow.icmp_error_rate = 160; // bursts of 16, of one host two
    let mut g = Gateway::new(slow, Encapsulation::Vxlan, binding());
    let fates: Vec<_> = (0..4).map(|_| g.one(INSIDE, &from_host(&to(0x0808_0808))).0).collect();
    let (yes, no) = (Verdict::Reply(Egress::by(INSIDE), Why::NoRoute), Verdict::Drop(Why::NoRoute));
    assert_eq!(fates, [yes, yes, no, no], "metered");
}

/// Where the gateway itself is asked for what it does not have, a host inside does not wait for it; who looks for open ports by
/// other segments hears nothing (P11), nor does anybody outside.
#[test]
fn p2_the_gateway_says_where_nobody_listens() {
    let to_us = |protocol, payload| Ip::new(HOST, GATEWAY, protocol, payload);
    let syn = tcp(5000, 48001, 2, &[], b"");
    let told = |title, packet: &Ip, code| told_case(title, gateway(), packet, Why::Unasked, (3, code));
    let unasked = |title, packet: &Ip| drop_case(title, gateway(), (INSIDE, from_host(packet)), Why::Unasked);
    let mut cases = vec![
        told("a connection", &to_us(6, syn.clone()), 3),
        told("a datagram", &to_us(17, udp(5000, 123, b"a")), 3),
        // A traceroute to the gateway ends there.
        told("a datagram whose time is over", &to_us(17, udp(5000, 33434, b"a")).ttl(1), 3),
        told("another protocol", &to_us(132, vec![0; 20]), 2),
        unasked("a part of a datagram", &to_us(17, udp(5000, 123, b"12345678")).fragment(0x2000).raw()),
        drop_case(
            "outside",
            gateway(),
            from_outside(&Ip::new(0x0808_0808, LOCAL, 6, tcp(5000, 22, 2, &[], b""))),
            Why::Unasked,
        ),
        drop_case(
            "outside, a datagram",
            gateway(),
            from_outside(&Ip::new(0x0808_0808, LOCAL, 17, udp(1, 2, b""))),
            Why::Unasked,
        ),
    ];
    for flags in [0x01, 0, 0x29, 0x03, 0x06] {
        let scan = to_us(6, tcp(5000, 48001, flags, &[], b""));
        let fate = gateway().one(INSIDE, &from_host(&scan)).0;
        assert!(!matches!(fate, Verdict::Reply(..)) || flags == 0x03, "{flags:02x}: {fate:?}");
    }
    cases.push(unasked("time stamp", &to_us(1, icmp(13, 0, 1, &[0; 12]))));
    run(cases);
}

#[test]
fn p2_the_gateway_answers_at_its_outside_address_too() {
    let ping = Ip::new(HOST, LOCAL, 1, icmp(8, 0, 1, b""));
    let forged = Ip::new(LOCAL, REMOTE, 6, tcp(40000, 48001, 0x10, &[], b"")).bytes();
    let error = Ip::new(HOST, LOCAL, 1, icmp(3, 4, 600, &forged));
    run(vec![
        case("ping", gateway(), (INSIDE, from_host(&ping)), Verdict::Punt(PuntClass::Icmp), None),
        told_case(
            "no service",
            gateway(),
            &Ip::new(HOST, LOCAL, 6, tcp(1, 48001, 2, &[], b"")),
            Why::NoRoute,
            (3, 0),
        ),
        drop_case("no errors", gateway(), (INSIDE, from_host(&error)), Why::IcmpErrorUnmatched),
    ]);
}

fn from_outside(packet: &Ip) -> (PortId, Vec<u8>) {
    (OUTSIDE, ethernet(MAC_OUT, MAC_ROUTER, 0x0800, &packet.bytes()))
}

#[test]
fn p4_addresses_of_the_inside_do_not_arrive_outside() {
    let refused = |title, source, protocol, payload, why| {
        drop_case(title, gateway(), from_outside(&Ip::new(source, LOCAL, protocol, payload)), why)
    };
    let arp = |sender: u32| {
        let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, 1];
        bytes.extend(MAC_ROUTER);
        bytes.extend(sender.to_be_bytes());
        bytes.extend([0; 6]);
        bytes.extend(LOCAL.to_be_bytes());
        (OUTSIDE, ethernet([0xff; 6], MAC_ROUTER, 0x0806, &bytes))
    };
    run(vec![
        refused("ping as a host", HOST, 1, icmp(8, 0, 1, b""), Why::SourceSpoofed),
        refused("connection as a host", HOST, 6, tcp(5000, 48001, 2, &[], b""), Why::SourceSpoofed),
        refused("question as a host", HOST, 17, udp(5000, 53, b"q"), Why::SourceSpoofed),
        refused("as the gateway inside", GATEWAY, 1, icmp(8, 0, 1, b""), Why::SourceSpoofed),
        refused("as a proxy", PROXY, 1, icmp(8, 0, 1, b""), Why::SourceSpoofed),
        refused("loopback", 0x7f00_0001, 1, icmp(8, 0, 1, b""), Why::SourceInvalid),
        refused("as the gateway outside", LOCAL, 1, icmp(8, 0, 1, b""), Why::SourceInvalid),
        refused("as everybody outside", LOCAL | 255, 1, icmp(8, 0, 1, b""), Why::SourceInvalid),
        drop_case(
            "as everybody inside",
            gateway(),
            (INSIDE, from_host(&Ip::new(HOST | 255, 0x0808_0808, 17, udp(1, 2, b"")))),
            Why::SourceInvalid,
        ),
        drop_case("arp as a host", gateway(), arp(HOST), Why::SourceSpoofed),
        case("arp of a router", gateway(), arp(0xc633_64fe), Verdict::Punt(PuntClass::Arp), None),
    ]);
}

/// RFC 1122 §3.3.2: whoever sends a long echo request gets its answer. The kernel puts it together.
#[test]
fn p14_parts_of_an_echo_request_reach_the_kernel() {
    let first = |kind| Ip::new(HOST, GATEWAY, 1, icmp(kind, 0, 1, &[7; 16])).fragment(0x2000).raw();
    let later = |protocol| Ip::new(HOST, GATEWAY, protocol, vec![7; 16]).fragment(3).raw();
    let inside = |title, packet: &Ip, fate| case(title, gateway(), (INSIDE, from_host(packet)), fate, None);
    let (kernel, unasked) = (Verdict::Punt(PuntClass::Icmp), Verdict::Drop(Why::Unasked));
    let outside =
        |packet: &Ip| from_outside(&Ip { source: 0x0808_0808, destination: LOCAL, ..packet.clone() });
    run(vec![
        inside("first", &first(8), kernel),
        inside("later", &later(1), kernel),
        case("first, outside", gateway(), outside(&first(8)), kernel, None),
        case("later, outside", gateway(), outside(&later(1)), kernel, None),
        inside("first of a time stamp", &first(13), unasked),
        inside(
            "first of UDP",
            &Ip::new(HOST, GATEWAY, 17, udp(1, 53, b"12345678")).fragment(0x2000).raw(),
            unasked,
        ),
        inside("later of UDP", &later(17), unasked),
        inside("later of TCP", &Ip { payload: vec![7; 32], ..later(6) }, unasked),
    ]);
    let mut few = settings();
    few.punt_rates[PuntClass::Icmp as usize] = 10;
    let mut g = Gateway::bare(few);
    let fates = [0; 2].map(|_| g.one(INSIDE, &from_host(&later(1))).0);
    assert_eq!(fates, [kernel, Verdict::Drop(Why::PuntMetered)], "within the meter of ICMP");
}

/// What comes from outside takes nothing of what the inside may send to the control thread.
#[test]
fn p16_each_side_has_its_meters() {
    let mut few = settings();
    few.punt_rates[PuntClass::Dns as usize] = 10;
    let mut g = Gateway::bare(few);
    let (port, question) = from_outside(&Ip::new(0x0808_0808, LOCAL, 17, udp(5000, 53, b"q")));
    let fates = [0; 2].map(|_| g.one(port, &question).0);
    assert_eq!(fates, [Verdict::Punt(PuntClass::Dns), Verdict::Drop(Why::PuntMetered)]);
    let own = from_host(&Ip::new(HOST, GATEWAY, 17, udp(5000, 53, b"q")));
    assert_eq!(g.one(INSIDE, &own).0, Verdict::Punt(PuntClass::Dns));
}
