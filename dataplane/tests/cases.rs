//! The packet path, case by case: a gateway, packets in, packets out, what was decided. No NIC.
//!
//! When a case fails, what came and what left is kept as a pcap file, and the message says where.
#![allow(missing_docs)]

mod common;

use ces_dataplane::msg::{
    Binding, Command, Encapsulation, Far, Limits, Neighbour, PortId, PuntClass, Tunnel, TunnelId,
};
use ces_dataplane::reason::DropReason as Why;
use ces_dataplane::verdict::Verdict;
use common::*;

struct Case {
    title: &'static str,
    gateway: Gateway,
    input: Vec<(PortId, Vec<u8>)>,
    output: Vec<(PortId, Vec<u8>)>,
    fates: Vec<Verdict>,
}

fn run(cases: Vec<Case>) {
    let mut failed = Vec::new();
    for mut case in cases {
        let (mut fates, mut output) = (Vec::new(), Vec::new());
        for (port, frame) in &case.input {
            let (verdict, out) = case.gateway.one(*port, frame);
            fates.push(verdict);
            output.extend(out);
        }
        for (_, frame) in &output {
            assert_sound(frame);
        }
        let output: Vec<_> = output.into_iter().map(|(port, frame)| (port, normalised(&frame))).collect();
        let drops: u64 = case.gateway.state.counters.dropped();
        let dropped =
            fates.iter().filter(|fate| matches!(fate, Verdict::Drop(_) | Verdict::Reply(..))).count();
        if output != case.output || fates != case.fates || drops != dropped as u64 {
            let frames: Vec<_> = case
                .input
                .iter()
                .chain(&output)
                .chain(&case.output)
                .map(|(_, frame)| frame.clone())
                .collect();
            let kept = keep_pcap(case.title, &frames);
            failed.push(format!(
                "{}: {fates:?}, wanted {:?}; {drops} drops counted\n  out    {:02x?}\n  wanted {:02x?}\n  kept in {kept}",
                case.title, case.fates, output, case.output
            ));
        }
    }
    assert!(failed.is_empty(), "{} cases failed\n{}", failed.len(), failed.join("\n"));
}

fn gateway() -> Gateway {
    Gateway::new(settings(), Encapsulation::Vxlan, binding())
}

fn limited(limits: Limits) -> Gateway {
    Gateway::new(settings(), Encapsulation::Vxlan, Binding { limits, ..binding() })
}

/// Two hosts of one realm that know each other by proxies.
fn local() -> Gateway {
    let mut gateway = Gateway::bare(settings());
    let there = Binding {
        far: Far::Local { source: address(PROXY_HOST), destination: address(OTHER) },
        proxy: address(PROXY_OTHER),
        neighbour: HOP_OTHER,
        ..binding()
    };
    let back = Binding {
        host: address(OTHER),
        far: Far::Local { source: address(PROXY_OTHER), destination: address(HOST) },
        proxy: address(PROXY_HOST),
        ..binding()
    };
    let handles = [gateway.handle(1), gateway.handle(2)];
    gateway.command(Command::InsertBinding(handles[0], there));
    gateway.command(Command::InsertBinding(handles[1], back));
    gateway
}

/// One packet in at a port, one decision, at most one packet out.
fn case(
    title: &'static str,
    gateway: Gateway,
    input: (PortId, Vec<u8>),
    fate: Verdict,
    output: Option<(PortId, Vec<u8>)>,
) -> Case {
    Case { title, gateway, input: vec![input], output: output.into_iter().collect(), fates: vec![fate] }
}

fn drop_case(title: &'static str, gateway: Gateway, input: (PortId, Vec<u8>), why: Why) -> Case {
    case(title, gateway, input, Verdict::Drop(why), None)
}

fn host_udp() -> Ip {
    Ip::new(HOST, PROXY, 17, udp(5000, 53, b"hello"))
}

/// A packet of the far host as it comes through the tunnel.
fn far(gateway: &Gateway, protocol: u8, payload: Vec<u8>) -> Ip {
    Ip::new(REMOTE_TAG, gateway.tag(0), protocol, payload)
}

const OUT: Verdict = Verdict::Forward(OUTSIDE);
const IN: Verdict = Verdict::Forward(INSIDE);

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
fn malformed_frames_have_their_reasons() {
    let good = from_host(&host_udp());
    let patched = |at: usize, value: u8| {
        let mut frame = good.clone();
        frame[at] = value;
        // the header checksum made right again
        frame[24..26].fill(0);
        let length = usize::from(frame[14] & 15).max(5) * 4;
        let sum = checksum(&frame[14..14 + length.min(frame.len() - 14)]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame
    };
    let mut corrupt = good.clone();
    corrupt[24] ^= 1;
    let inside = |title, frame, why| drop_case(title, gateway(), (INSIDE, frame), why);
    let packet = |protocol, payload| from_host(&Ip::new(HOST, PROXY, protocol, payload).raw());
    run(vec![
        inside("no Ethernet header", good[..13].to_vec(), Why::Truncated),
        inside("no IPv4 header", good[..33].to_vec(), Why::Truncated),
        inside("cut payload", good[..40].to_vec(), Why::IpTotalLength),
        inside("IPv6 ethertype", ethernet(MAC_IN, MAC_HOST, 0x86dd, &[0x60; 40]), Why::EthertypeUnknown),
        inside("other station", ethernet(MAC_OTHER, MAC_HOST, 0x0800, &host_udp().bytes()), Why::NotForUs),
        inside("broadcast MAC", ethernet([0xff; 6], MAC_HOST, 0x0800, &host_udp().bytes()), Why::Broadcast),
        inside(
            "multicast MAC",
            ethernet([1, 0, 0x5e, 0, 0, 1], MAC_HOST, 0x0800, &host_udp().bytes()),
            Why::Multicast,
        ),
        inside("version", patched(14, 0x65), Why::IpVersion),
        inside("header of 4 words", patched(14, 0x44), Why::IpHeaderLength),
        inside("total length below the header", patched(17, 19), Why::IpTotalLength),
        inside("total length beyond the frame", patched(17, 200), Why::IpTotalLength),
        inside("header checksum", corrupt, Why::IpChecksum),
        inside(
            "loose source route",
            from_host(&host_udp().options(&[131, 7, 4, 1, 2, 3, 4, 0])),
            Why::SourceRoute,
        ),
        inside(
            "strict source route",
            from_host(&host_udp().options(&[1, 137, 7, 4, 1, 2, 3, 4])),
            Why::SourceRoute,
        ),
        inside(
            "option beyond the header",
            from_host(&host_udp().options(&[7, 9, 4, 0])),
            Why::IpHeaderLength,
        ),
        inside("UDP of 7 bytes", packet(17, vec![0; 7]), Why::L4Malformed),
        inside("UDP length beyond", packet(17, vec![0, 1, 0, 2, 0, 9, 0, 0]), Why::L4Malformed),
        inside("UDP length below", packet(17, vec![0, 1, 0, 2, 0, 7, 0, 0]), Why::L4Malformed),
        inside("TCP of 19 bytes", packet(6, vec![0x50; 19]), Why::L4Malformed),
        inside("TCP offset of 4 words", packet(6, vec![0x40; 20]), Why::L4Malformed),
        inside("TCP offset beyond", packet(6, vec![0x60; 20]), Why::L4Malformed),
        inside("ICMP of 7 bytes", packet(1, vec![8; 7]), Why::L4Malformed),
        inside("ICMP redirect", packet(1, vec![5; 40]), Why::IcmpTypeUnknown),
        inside("ICMP router advertisement", packet(1, vec![9; 40]), Why::IcmpTypeUnknown),
        inside("ping of death", from_host(&host_udp().fragment(0x1fff).raw()), Why::IpTotalLength),
        inside(
            "tiny first fragment of TCP",
            from_host(&Ip::new(HOST, PROXY, 6, vec![0; 16]).fragment(0x2000).raw()),
            Why::FragmentTiny,
        ),
        inside(
            "fragment over the TCP header",
            from_host(&Ip::new(HOST, PROXY, 6, vec![0; 16]).fragment(0x0001).raw()),
            Why::FragmentTiny,
        ),
        inside("fragment of an ICMP error", packet_fragment(), Why::IcmpErrorUnmatched),
    ]);
}

fn packet_fragment() -> Vec<u8> {
    from_host(&Ip::new(HOST, PROXY, 1, vec![3; 16]).fragment(0x2000).raw())
}

#[test]
fn sources_and_destinations_that_nobody_may_use() {
    let from = |source| from_host(&Ip::new(source, PROXY, 17, udp(1, 2, b"")));
    let to = |destination| from_host(&Ip::new(HOST, destination, 17, udp(1, 2, b"")));
    let inside = |title, frame, why| drop_case(title, gateway(), (INSIDE, frame), why);
    run(vec![
        inside("source 0.0.0.0", from(0), Why::SourceInvalid),
        inside("source loopback", from(0x7f00_0001), Why::SourceInvalid),
        inside("source multicast", from(0xe000_0001), Why::SourceInvalid),
        inside("source broadcast", from(u32::MAX), Why::SourceInvalid),
        inside("source our own", from(GATEWAY), Why::SourceInvalid),
        inside("source elsewhere", from(0x0a00_0101), Why::SourceSpoofed),
        inside("to multicast", to(0xe000_00fb), Why::Multicast),
        inside("to everybody", to(u32::MAX), Why::Broadcast),
        inside("to the subnet", to(0x0a00_00ff), Why::Broadcast),
        inside("to a free proxy", to(PROXY_OTHER), Why::NoBinding),
        inside("to the world", to(0x0808_0808), Why::NoRoute),
        inside("from another host", from(OTHER), Why::NoBinding),
    ]);
}

#[test]
fn tunnel_packets_that_nobody_asked_for() {
    let vxlan = Encapsulation::Vxlan;
    let g = gateway();
    let inner = far(&g, 17, udp(1, 2, b"spoof"));
    let wrapped = |source, destination, id, inner: &Ip| {
        ethernet(
            MAC_OUT,
            MAC_ROUTER,
            0x0800,
            &outer(vxlan, source, destination, id, &inner.bytes(), 0).bytes(),
        )
    };
    let tags =
        |source, destination| wrapped(REMOTE, LOCAL, ID_IN, &inner.readdressed(source, destination, 0));
    let patched = |at: usize, value: u8| {
        let mut frame = from_peer(vxlan, &inner);
        frame[at] = value;
        frame
    };
    let refragmented = |encapsulation, bits| {
        ethernet(
            MAC_OUT,
            MAC_ROUTER,
            0x0800,
            &outer(encapsulation, REMOTE, LOCAL, ID_IN, &inner.bytes(), 0).fragment(bits).bytes(),
        )
    };
    let outside = |title, frame, why| drop_case(title, gateway(), (OUTSIDE, frame), why);
    run(vec![
        outside(
            "replayed from elsewhere",
            wrapped(REMOTE + 1, LOCAL, ID_IN, &inner),
            Why::TunnelOuterUnknown,
        ),
        outside("not to us", wrapped(REMOTE, LOCAL + 1, ID_IN, &inner), Why::Unasked),
        outside("other id", wrapped(REMOTE, LOCAL, ID_IN + 1, &inner), Why::TunnelIdUnknown),
        outside("other encapsulation", from_peer(Encapsulation::Geneve, &inner), Why::TunnelOuterUnknown),
        outside("other remote tag", tags(REMOTE_TAG + 1, g.tag(0)), Why::TunnelTagUnknown),
        outside("other local tag", tags(REMOTE_TAG, g.tag(0) + 1), Why::TunnelTagUnknown),
        outside("stale generation", tags(REMOTE_TAG, stale(&g)), Why::TunnelTagUnknown),
        outside("no id flag", patched(42, 0), Why::TunnelMalformed),
        outside("inner not IPv4", patched(63, 6), Why::TunnelMalformed),
        outside("inner checksum", patched(72, 0xff), Why::IpChecksum),
        outside("outer first fragment", refragmented(vxlan, 0x2000), Why::OuterFragment),
        outside("outer fragment of GRE", refragmented(Encapsulation::Gre, 0x0100), Why::OuterFragment),
        outside(
            "plain packet",
            ethernet(MAC_OUT, MAC_ROUTER, 0x0800, &inner.readdressed(REMOTE, LOCAL, 0).bytes()),
            Why::Unasked,
        ),
        outside(
            "plain packet past us",
            ethernet(MAC_OUT, MAC_ROUTER, 0x0800, &inner.readdressed(REMOTE, HOST, 0).bytes()),
            Why::Unasked,
        ),
    ]);
}

fn stale(gateway: &Gateway) -> u32 {
    let handle = gateway.settings.layout.handle(0, 0, 2);
    ces_dataplane::tag::TagCipher::new(gateway.settings.tag_key).tag(handle).0
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

#[test]
fn time_runs_out_here() {
    // Inside: the gateway itself says so. Quoted: the packet as the host sent it.
    let packet = host_udp().ttl(1);
    let mut said = Ip::new(GATEWAY, HOST, 1, icmp(11, 0, 0, &packet.bytes())).tos(0xc0);
    said.id = 0;
    let reply = Verdict::Reply(INSIDE, Why::TtlExceeded);
    let inside =
        case("ttl inside", gateway(), (INSIDE, from_host(&packet)), reply, Some((INSIDE, to_host(&said))));
    // Through the tunnel: with the binding's tags, so that the far host sees its proxy.
    let g = gateway();
    let inner = far(&g, 17, udp(1, 33434, b"trace")).ttl(1);
    let mut said = Ip::new(g.tag(0), REMOTE_TAG, 1, icmp(11, 0, 0, &inner.bytes())).tos(0xc0);
    said.id = 0;
    let reply = Verdict::Reply(OUTSIDE, Why::TtlExceeded);
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
    let reply = Verdict::Reply(INSIDE, Why::TooBig);
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
        Verdict::Reply(OUTSIDE, Why::TooBig),
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

#[test]
fn limits_hold() {
    let only_udp = || limited(Limits { protocol: Some(17), ..Limits::default() });
    let only_web = || limited(Limits { protocol: Some(6), port: Some(80), ..Limits::default() });
    let serving = || limited(Limits { port: Some(80), port_is_inside: true, ..Limits::default() });
    let web = |source, destination| Ip::new(HOST, PROXY, 6, tcp(source, destination, 0x10, &[], b""));
    let passes = |title, g: Gateway, packet: &Ip| {
        let inner = packet.readdressed(g.tag(0), REMOTE_TAG, 1);
        let output = Some((OUTSIDE, to_peer(Encapsulation::Vxlan, &inner)));
        case(title, g, (INSIDE, from_host(packet)), OUT, output)
    };
    let refused =
        |title, g, packet: &Ip| drop_case(title, g, (INSIDE, from_host(packet)), Why::PolicyProtocol);
    let g = serving();
    let inner = far(&g, 6, tcp(5000, 80, 0x10, &[], b""));
    let arrives = to_host(&inner.readdressed(PROXY, HOST, 1));
    let to_server = case(
        "to the server inside",
        g,
        (OUTSIDE, from_peer(Encapsulation::Vxlan, &inner)),
        IN,
        Some((INSIDE, arrives)),
    );
    let g = serving();
    let inner = far(&g, 6, tcp(80, 5000, 0x10, &[], b""));
    let not_to_server = drop_case(
        "past the server inside",
        g,
        (OUTSIDE, from_peer(Encapsulation::Vxlan, &inner)),
        Why::PolicyProtocol,
    );
    run(vec![
        passes("udp only: udp", only_udp(), &host_udp()),
        refused("udp only: tcp", only_udp(), &web(1, 2)),
        refused("udp only: ping", only_udp(), &Ip::new(HOST, PROXY, 1, icmp(8, 0, 1, b""))),
        passes("port 80", only_web(), &web(5000, 80)),
        refused("not port 80", only_web(), &web(80, 5000)),
        refused("port 80 of udp", only_web(), &Ip::new(HOST, PROXY, 17, udp(5000, 80, b""))),
        passes("from the server inside", serving(), &web(80, 5000)),
        refused("past the server inside, out", serving(), &web(5000, 80)),
        to_server,
        not_to_server,
    ]);
    // A rate of 80 kbit/s fills 10 kB a second; the bucket holds 3,000 bytes.
    let mut g = limited(Limits { rate_bps: Some(80_000), ..Limits::default() });
    let frame = from_host(&Ip::new(HOST, PROXY, 17, udp(1, 2, &[0; 972])));
    let passed = |g: &mut Gateway| (0..10).filter(|_| g.one(INSIDE, &frame).0 == OUT).count();
    assert_eq!(passed(&mut g), 3);
    g.now += SECOND / 10;
    assert_eq!(passed(&mut g), 1);
    g.now += 10 * SECOND;
    assert_eq!(passed(&mut g), 3);
}

#[test]
fn later_fragments_follow_their_first_through_limits() {
    let g = limited(Limits { port: Some(53), ..Limits::default() });
    let first = Ip::new(HOST, PROXY, 17, udp(5000, 53, &[1; 16])).fragment(0x2000).raw();
    let later = Ip::new(HOST, PROXY, 17, vec![2; 16]).fragment(3).raw();
    let mut other = later.clone();
    other.id = 1;
    let sent = |packet: &Ip| {
        // the first's checksum is over a whole that is not here: only adjusted
        let bytes = g.tag(0);
        packet.readdressed(bytes, REMOTE_TAG, 1)
    };
    let (second, first_sent) = (sent(&later), sent(&first));
    let mut g = limited(Limits { port: Some(53), ..Limits::default() });
    assert_eq!(g.one(INSIDE, &from_host(&later)).0, Verdict::Drop(Why::FragmentUnmatched));
    let (verdict, out) = g.one(INSIDE, &from_host(&first));
    assert_eq!((verdict, out[0].1.len()), (OUT, to_peer(Encapsulation::Vxlan, &first_sent).len()));
    let (verdict, out) = g.one(INSIDE, &from_host(&later));
    assert_eq!((verdict, normalised(&out[0].1)), (OUT, to_peer(Encapsulation::Vxlan, &second)));
    assert_eq!(g.one(INSIDE, &from_host(&other)).0, Verdict::Drop(Why::FragmentUnmatched));
    g.now += 31 * SECOND;
    assert_eq!(g.one(INSIDE, &from_host(&later)).0, Verdict::Drop(Why::FragmentUnmatched));
}

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
        punted("dns answer", outside(17, udp(53, 40000, b"a")), PuntClass::Udp),
        unasked("dns answer to a low port", outside(17, udp(53, 123, b"a"))),
        unasked("dns answer from inside", inside(17, udp(53, 40000, b"a"))),
        unasked("ntp", outside(17, udp(5000, 123, b"a"))),
        punted("cetp", outside(6, tcp(5000, 48001, 2, &[], b"")), PuntClass::Tcp),
        unasked("ssh", outside(6, tcp(5000, 22, 2, &[], b""))),
        unasked("cetp from inside", inside(6, tcp(5000, 48001, 2, &[], b""))),
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
    few.punt_rates[PuntClass::Dns as usize] = 20;
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

#[test]
fn closed_ways_have_their_reasons() {
    let unresolved = || {
        let mut g = gateway();
        g.command(Command::SetNeighbour(ROUTER, Neighbour { port: OUTSIDE, mac: None }));
        g
    };
    let unresolved_host =
        || Gateway::new(settings(), Encapsulation::Vxlan, Binding { neighbour: HOP_UNKNOWN, ..binding() });
    let mut removed = gateway();
    removed.command(Command::RemoveTunnel(TunnelId(0)));
    let mut removed_in = gateway();
    removed_in.command(Command::RemoveTunnel(TunnelId(0)));
    let inner = far(&removed_in, 17, udp(1, 2, b""));
    let from_far = from_peer(Encapsulation::Vxlan, &inner);
    run(vec![
        drop_case(
            "router unresolved",
            unresolved(),
            (INSIDE, from_host(&host_udp())),
            Why::NeighbourUnresolved,
        ),
        drop_case(
            "host unresolved",
            unresolved_host(),
            (OUTSIDE, from_far.clone()),
            Why::NeighbourUnresolved,
        ),
        drop_case("tunnel removed", removed, (INSIDE, from_host(&host_udp())), Why::NoRoute),
        drop_case("tunnel removed, in", removed_in, (OUTSIDE, from_far), Why::TunnelOuterUnknown),
    ]);
    let mut g = unresolved();
    for _ in 0..3 {
        g.one(INSIDE, &from_host(&host_udp()));
    }
    g.now += SECOND;
    g.one(INSIDE, &from_host(&host_udp()));
    assert_eq!(g.events(), vec![ces_dataplane::msg::Event::NeighbourWanted(ROUTER); 2]);
    g.command(Command::SetNeighbour(ROUTER, Neighbour { port: OUTSIDE, mac: Some(MAC_ROUTER) }));
    assert_eq!(g.one(INSIDE, &from_host(&host_udp())).0, OUT);
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
        assert_eq!(verdict, Verdict::Reply(INSIDE, Why::TooBig));
        assert_eq!(u16::from_be_bytes([out[0].1[40], out[0].1[41]]), 576 - overhead);
    }
    // A router of before RFC 1191 says no MTU: the next plateau below what was sent.
    let mut g = gateway();
    let long = Ip::new(HOST, PROXY, 17, udp(1, 2, &[7; 1400])).bytes();
    let sent = outer(Encapsulation::Vxlan, LOCAL, REMOTE, ID_OUT, &long, 0).bytes();
    g.one(OUTSIDE, &outer_error(3, 4, 0, &sent[..60]));
    assert_eq!(g.events(), vec![Event::TunnelMtu(TunnelId(0), 1006)]);
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
    slow.icmp_error_rate = 20;
    let mut g = Gateway::new(slow, Encapsulation::Vxlan, binding());
    let frame = from_host(&host_udp().ttl(1));
    let fates: Vec<_> = (0..4).map(|_| g.one(INSIDE, &frame).0).collect();
    let (yes, no) = (Verdict::Reply(INSIDE, Why::TtlExceeded), Verdict::Drop(Why::TtlExceeded));
    assert_eq!(fates, [yes, yes, no, no]);
    let counters = &g.state.counters;
    assert_eq!((counters.icmp_generated, counters.icmp_suppressed, counters.dropped()), (2, 2, 4));
}

#[test]
fn several_workers_hand_over() {
    use ces_dataplane::tag::{Layout, worker_of};
    let mut two = settings();
    two.workers = 2;
    two.layout = Layout::new(2, 64);
    two.worker = worker_of(HOST, 2);
    let other = 1 - two.worker;
    let mut mine = Gateway::new(two.clone(), Encapsulation::Vxlan, binding());
    let inner = far(&mine, 17, udp(1, 2, b""));
    two.worker = other;
    let mut theirs = Gateway::bare(two);
    let frames = [(INSIDE, from_host(&host_udp())), (OUTSIDE, from_peer(Encapsulation::Vxlan, &inner))];
    for (port, frame) in frames {
        let (verdict, out) = theirs.one(port, &frame);
        assert_eq!((verdict, out), (Verdict::HandOff(1 - other as u8), vec![]));
        assert!(matches!(mine.one(port, &frame).0, Verdict::Forward(_)));
    }
    // What is for the gateway itself stays where it arrives.
    let dns = from_host(&Ip::new(HOST, GATEWAY, 17, udp(5000, 53, b"q")));
    assert_eq!(theirs.one(INSIDE, &dns).0, Verdict::Punt(PuntClass::Dns));
}

#[test]
fn a_burst_of_everything_keeps_its_order() {
    let mut g = gateway();
    let good = from_host(&host_udp());
    let bad = good[..20].to_vec();
    let none = from_host(&Ip::new(HOST, PROXY_OTHER, 17, udp(1, 2, b"")));
    let frames: Vec<_> = (0..150).map(|n| [&good, &bad, &none][n % 3].clone()).collect();
    let (verdicts, out) = g.burst(INSIDE, &frames);
    for (number, verdict) in verdicts.iter().enumerate() {
        let wanted = [OUT, Verdict::Drop(Why::Truncated), Verdict::Drop(Why::NoBinding)][number % 3];
        assert_eq!(*verdict, wanted, "frame {number}");
    }
    assert_eq!(out.len(), 50);
}

/// The tunnel of a peer whose locators changed carries on with the new ones only.
#[test]
fn a_replaced_tunnel_is_the_new_one() {
    let mut g = gateway();
    let moved = Tunnel { remote: address(REMOTE + 9), ..tunnel(Encapsulation::Gre) };
    g.command(Command::SetTunnel(TunnelId(0), moved));
    let inner = far(&g, 17, udp(1, 2, b""));
    assert_eq!(
        g.one(OUTSIDE, &from_peer(Encapsulation::Vxlan, &inner)).0,
        Verdict::Drop(Why::TunnelOuterUnknown)
    );
    let packet = outer(Encapsulation::Gre, REMOTE + 9, LOCAL, ID_IN, &inner.bytes(), 0);
    assert_eq!(g.one(OUTSIDE, &ethernet(MAC_OUT, MAC_ROUTER, 0x0800, &packet.bytes())).0, IN);
    let (verdict, out) = g.one(INSIDE, &from_host(&host_udp()));
    assert_eq!((verdict, &out[0].1[30..34]), (OUT, &(REMOTE + 9).to_be_bytes()[..]));
}
