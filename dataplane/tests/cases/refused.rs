//! What is wrong with itself, or was not asked for, and its reason.

use super::*;

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
