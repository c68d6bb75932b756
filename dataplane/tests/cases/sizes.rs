//! Packets that are too large, and segments that would be.

use super::*;

fn segment_size(size: u16) -> Vec<u8> {
    let [high, low] = size.to_be_bytes();
    vec![1, 2, 4, high, low, 0, 0, 0] // at an odd place on purpose
}

#[test]
fn segments_are_clamped_to_the_tunnel() {
    // 1500 - 50 of VXLAN - 40 of headers
    let clamped = 1410;
    let mut cases = Vec::new();
    for (offered, seen) in [(1460, clamped), (1410, 1410), (536, 536)] {
        let g = gateway();
        let packet = Ip::new(HOST, PROXY, 6, tcp(5000, 80, 2, &segment_size(offered), b""));
        let changed = Ip::new(HOST, PROXY, 6, tcp(5000, 80, 2, &segment_size(seen), b""));
        let inner = changed.readdressed(g.tag(0), REMOTE_TAG, 1);
        let output = Some((OUTSIDE, to_peer(Encapsulation::Vxlan, &inner)));
        cases.push(case("syn out", g, (INSIDE, from_host(&packet)), OUT, output));
        let g = gateway();
        let packet = far(&g, 6, tcp(80, 5000, 0x12, &segment_size(offered), b""));
        let changed = far(&g, 6, tcp(80, 5000, 0x12, &segment_size(seen), b"")).readdressed(PROXY, HOST, 1);
        let input = (OUTSIDE, from_peer(Encapsulation::Vxlan, &packet));
        cases.push(case("syn ack in", g, input, IN, Some((INSIDE, to_host(&changed)))));
    }
    run(cases);
}

#[test]
fn too_big_is_answered_or_cut() {
    let big = |bits| Ip::new(HOST, PROXY, 17, udp(1, 2, &[7; 1440])).fragment(bits);
    // DF: the proxy says what fits (1450 in VXLAN), and quotes 548 bytes.
    let packet = big(0x4000);
    let quoted = packet.bytes()[..548].to_vec();
    let mut said = Ip::new(PROXY, HOST, 1, icmp(3, 4, 1450, &quoted)).tos(0xc0);
    said.id = 0;
    let reply = Verdict::Reply(Egress::by(INSIDE), Why::TooBig);
    let answered = case(
        "too big with df",
        gateway(),
        (INSIDE, from_host(&packet)),
        reply,
        Some((INSIDE, to_host(&said))),
    );
    // Without DF: two fragments of at most 1450 bytes, the second first.
    let g = gateway();
    let packet = big(0);
    let whole = packet.readdressed(g.tag(0), REMOTE_TAG, 1);
    let payload = whole.bytes()[20..].to_vec();
    let part = |bits, range: std::ops::Range<usize>| {
        let mut part = whole.clone().fragment(bits).raw();
        part.payload = payload[range].to_vec();
        (OUTSIDE, to_peer(Encapsulation::Vxlan, &part))
    };
    let cut = Case {
        title: "too big without df",
        input: vec![(INSIDE, from_host(&packet))],
        output: vec![part(1424 / 8, 1424..1448), part(0x2000, 0..1424)],
        fates: vec![OUT],
        gateway: g,
    };
    // Towards a narrow inside port: back through the tunnel.
    let mut narrow = settings();
    narrow.ports[0].mtu = 1000;
    let g = Gateway::new(narrow.clone(), Encapsulation::Vxlan, binding());
    let packet = far(&g, 17, udp(1, 2, &[7; 1100]));
    let quoted = packet.bytes()[..548].to_vec();
    let mut said = Ip::new(g.tag(0), REMOTE_TAG, 1, icmp(3, 4, 1000, &quoted)).tos(0xc0);
    said.id = 0;
    let back = case(
        "too big for the inside",
        g,
        (OUTSIDE, from_peer(Encapsulation::Vxlan, &packet)),
        Verdict::Reply(Egress::by(OUTSIDE), Why::TooBig),
        Some((OUTSIDE, to_peer(Encapsulation::Vxlan, &said))),
    );
    let g = Gateway::new(narrow, Encapsulation::Vxlan, binding());
    let packet = far(&g, 17, udp(1, 2, &[7; 1100])).fragment(0);
    let whole = packet.readdressed(PROXY, HOST, 1);
    let payload = whole.bytes()[20..].to_vec();
    let part = |bits, range: std::ops::Range<usize>| {
        let mut part = whole.clone().fragment(bits).raw();
        part.payload = payload[range].to_vec();
        (INSIDE, to_host(&part))
    };
    let cut_inside = Case {
        title: "too big for the inside without df",
        input: vec![(OUTSIDE, from_peer(Encapsulation::Vxlan, &packet))],
        output: vec![part(976 / 8, 976..1108), part(0x2000, 0..976)],
        fates: vec![IN],
        gateway: g,
    };
    let mut g = gateway();
    g.wire.empty = true;
    let no_buffer = drop_case("no buffer for a fragment", g, (INSIDE, from_host(&big(0))), Why::NoBuffer);
    run(vec![answered, cut, back, cut_inside, no_buffer]);
}
