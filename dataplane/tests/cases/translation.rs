//! What passes: translated, wrapped and unwrapped, turned back, with the outer header's marks.

use super::*;

#[test]
fn egress_translates_and_wraps() {
    let mut cases = Vec::new();
    for (title, encapsulation) in [
        ("egress vxlan", Encapsulation::Vxlan),
        ("egress gre", Encapsulation::Gre),
        ("egress geneve", Encapsulation::Geneve),
    ] {
        for packet in [
            host_udp(),
            Ip::new(HOST, PROXY, 6, tcp(5000, 80, 0x10, &[], b"data")),
            Ip::new(HOST, PROXY, 1, icmp(8, 0, 0x0007_0001, b"ping")),
            Ip::new(HOST, PROXY, 136, udp(1, 2, b"udp-lite")),
            Ip::new(HOST, PROXY, 50, b"esp has no checksum".to_vec()),
            host_udp().tos(0xb9),
            host_udp().options(&[7, 7, 4, 0, 0, 0, 0, 0]),
            host_udp().fragment(0),
            // a computed checksum of 0 is sent as ffff; none stays none
            Ip::new(HOST, PROXY, 17, vec![0x13, 0x88, 0, 53, 0, 9, 0, 0, 1]),
            // a first fragment with its layer 4 header, and a later one
            Ip::new(HOST, PROXY, 17, vec![9; 16]).fragment(0x0003).raw(),
        ] {
            let gateway = Gateway::new(settings(), encapsulation, binding());
            let inner = packet.readdressed(gateway.tag(0), REMOTE_TAG, 1);
            let output = Some((OUTSIDE, to_peer(encapsulation, &inner)));
            cases.push(case(title, gateway, (INSIDE, from_host(&packet)), OUT, output));
        }
    }
    run(cases);
}

#[test]
fn ingress_checks_translates_and_delivers() {
    let mut cases = Vec::new();
    for (title, encapsulation) in [
        ("ingress vxlan", Encapsulation::Vxlan),
        ("ingress gre", Encapsulation::Gre),
        ("ingress geneve", Encapsulation::Geneve),
    ] {
        for (protocol, payload) in [
            (17, udp(53, 5000, b"answer")),
            (6, tcp(80, 5000, 0x10, &[], b"data")),
            (1, icmp(0, 0, 0x0007_0001, b"ping")),
        ] {
            let gateway = Gateway::new(settings(), encapsulation, binding());
            let inner = far(&gateway, protocol, payload);
            let output = Some((INSIDE, to_host(&inner.readdressed(PROXY, HOST, 1))));
            cases.push(case(title, gateway, (OUTSIDE, from_peer(encapsulation, &inner)), IN, output));
        }
    }
    run(cases);
}

#[test]
fn padding_is_not_carried() {
    let gateway = gateway();
    let packet = Ip::new(HOST, PROXY, 17, udp(1, 2, b""));
    let mut padded = from_host(&packet);
    padded.resize(60, 0xee);
    let inner = packet.readdressed(gateway.tag(0), REMOTE_TAG, 1);
    let there = case(
        "padding out",
        gateway,
        (INSIDE, padded),
        OUT,
        Some((OUTSIDE, to_peer(Encapsulation::Vxlan, &inner))),
    );
    let gateway = self::gateway();
    let inner = far(&gateway, 17, udp(2, 1, b""));
    let mut padded = from_peer(Encapsulation::Vxlan, &inner);
    padded.extend([0xee; 10]);
    let output = Some((INSIDE, to_host(&inner.readdressed(PROXY, HOST, 1))));
    run(vec![there, case("padding in", gateway, (OUTSIDE, padded), IN, output)]);
}

#[test]
fn vlan_tags_are_the_ports_own() {
    let mut with_tags = settings();
    with_tags.ports[0].vlan = Some(10);
    with_tags.ports[1].vlan = Some(20);
    let make = || Gateway::new(with_tags.clone(), Encapsulation::Vxlan, binding());
    let packet = host_udp();
    let inner = packet.readdressed(make().tag(0), REMOTE_TAG, 1);
    let back = far(&make(), 17, udp(53, 5000, b"answer"));
    run(vec![
        case(
            "tagged out",
            make(),
            (INSIDE, tagged(10, from_host(&packet))),
            OUT,
            Some((OUTSIDE, tagged(20, to_peer(Encapsulation::Vxlan, &inner)))),
        ),
        case(
            "tagged in",
            make(),
            (OUTSIDE, tagged(20, from_peer(Encapsulation::Vxlan, &back))),
            IN,
            Some((INSIDE, tagged(10, to_host(&back.readdressed(PROXY, HOST, 1))))),
        ),
        drop_case("another tag", make(), (INSIDE, tagged(11, from_host(&packet))), Why::VlanUnknown),
        drop_case("no tag", make(), (INSIDE, from_host(&packet)), Why::VlanUnknown),
        drop_case("a tag too many", gateway(), (INSIDE, tagged(10, from_host(&packet))), Why::VlanUnknown),
        case(
            "a priority tag",
            gateway(),
            (INSIDE, tagged(0, from_host(&packet))),
            OUT,
            Some((OUTSIDE, to_peer(Encapsulation::Vxlan, &inner))),
        ),
    ]);
}

#[test]
fn local_packets_turn_back() {
    let packet = Ip::new(HOST, PROXY_OTHER, 17, udp(1, 2, b"local"));
    let there = ethernet(MAC_OTHER, MAC_IN, 0x0800, &packet.readdressed(PROXY_HOST, OTHER, 1).bytes());
    // The other host's port is closed: its error quotes what it received, and the host must see what it sent.
    let received = packet.readdressed(PROXY_HOST, OTHER, 1).bytes();
    let error = Ip::new(OTHER, PROXY_HOST, 1, icmp(3, 3, 0, &received));
    let seen = packet.readdressed(HOST, PROXY_OTHER, 1).bytes();
    let arrives = Ip::new(PROXY_OTHER, HOST, 1, icmp(3, 3, 0, &seen)).ttl(63);
    run(vec![
        case("local", local(), (INSIDE, from_host(&packet)), IN, Some((INSIDE, there))),
        case(
            "local closed port",
            local(),
            (INSIDE, ethernet(MAC_IN, MAC_OTHER, 0x0800, &error.bytes())),
            IN,
            Some((INSIDE, to_host(&arrives))),
        ),
    ]);
}

#[test]
fn geneve_options_are_skipped_unless_critical() {
    let with_options = |critical: u8| {
        let g = Gateway::new(settings(), Encapsulation::Geneve, binding());
        let inner = far(&g, 17, udp(1, 2, b"x"));
        let mut payload = tunnel_header(Encapsulation::Geneve, ID_IN, inner.bytes().len() + 8);
        payload[8] = 2;
        payload[9] = critical;
        payload.splice(16..16, [1, 2, 3, 1, 5, 6, 7, 8]);
        payload.extend(inner.bytes());
        let packet = Ip::new(REMOTE, LOCAL, 17, payload).raw();
        (g, inner, ethernet(MAC_OUT, MAC_ROUTER, 0x0800, &packet.bytes()))
    };
    let (gateway, inner, frame) = with_options(0);
    let output = Some((INSIDE, to_host(&inner.readdressed(PROXY, HOST, 1))));
    let skipped = case("geneve options", gateway, (OUTSIDE, frame), IN, output);
    let (gateway, _, frame) = with_options(0x40);
    run(vec![skipped, drop_case("geneve critical", gateway, (OUTSIDE, frame), Why::TunnelMalformed)]);
}

#[test]
fn congestion_marks_follow_rfc_6040() {
    let mut cases = Vec::new();
    for (inner_tos, outer_tos, tos) in
        [(0xb8, 0xb8, Some(0xb8)), (0xba, 0x03, Some(0xbb)), (0xb8, 0x03, None), (0x01, 0x00, Some(0x01))]
    {
        let g = gateway();
        let inner = far(&g, 17, udp(1, 2, b"ecn")).tos(inner_tos);
        let packet = outer(Encapsulation::Vxlan, REMOTE, LOCAL, ID_IN, &inner.bytes(), outer_tos);
        let frame = ethernet(MAC_OUT, MAC_ROUTER, 0x0800, &packet.bytes());
        cases.push(match tos {
            Some(tos) => {
                let output = Some((INSIDE, to_host(&inner.readdressed(PROXY, HOST, 1).tos(tos))));
                case("ecn", g, (OUTSIDE, frame), IN, output)
            }
            None => drop_case("ecn mark on a packet without", g, (OUTSIDE, frame), Why::EcnInvalid),
        });
    }
    run(cases);
}
