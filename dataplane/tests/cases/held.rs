//! Packets whose next hop has no MAC address yet: kept, and then what they would have been.

use super::*;
use ces_dataplane::egress::Egress;
use ces_dataplane::msg::{Event, HopId};
use ces_dataplane::narrow::Number24;

const HOPS: [(HopId, PortId, [u8; 6]); 3] =
    [(ROUTER, OUTSIDE, MAC_ROUTER), (HOP_HOST, INSIDE, MAC_HOST), (HOP_OTHER, INSIDE, MAC_OTHER)];

/// Tells a gateway all MAC addresses, or takes them away.
fn tell(gateway: &mut Gateway, known: bool) {
    for (hop, port, mac) in HOPS {
        gateway.command(Command::SetHop(hop, Neighbour { port, mac: known.then_some(mac), pin: None }));
    }
}

/// Sends the same to two gateways, of which one learns the MAC addresses only after: the packet is kept for `hop`, uncounted,
/// the hop is asked for once, and when it is known the packet becomes what it became at the other one.
fn kept_then_sent(
    title: &str,
    make: impl Fn() -> Gateway,
    hop: HopId,
    input: impl Fn(&Gateway) -> (PortId, Vec<u8>),
) {
    let (mut knows, mut learns) = (make(), make());
    let (port, frame) = input(&knows);
    let (wanted, out) = knows.one(port, &frame);
    tell(&mut learns, false);
    let (verdict, kept) = learns.left(port, &frame);
    assert_eq!(verdict, Verdict::Hold(Number24::new(hop.0)), "{title}");
    assert_eq!(learns.events(), [Event::HopWanted(hop)], "{title}");
    assert_eq!(learns.state.counters.dropped(), 0, "{title}");
    tell(&mut learns, true);
    let (verdict, sent) = learns.one(port, &kept);
    let normal = |frames: &[(PortId, Vec<u8>)]| -> Vec<_> {
        frames.iter().map(|(port, frame)| (*port, normalised(frame))).collect()
    };
    assert_eq!((verdict, normal(&sent)), (wanted, normal(&out)), "{title}");
    for (_, frame) in &sent {
        assert_sound(frame);
    }
    assert_eq!(learns.state.counters, knows.state.counters, "{title}");
}

#[test]
fn what_was_kept_is_sent_as_it_would_have_been() {
    let through = |encapsulation| move || Gateway::new(settings(), encapsulation, binding());
    for encapsulation in [Encapsulation::Vxlan, Encapsulation::Gre, Encapsulation::Geneve] {
        kept_then_sent("to a peer", through(encapsulation), ROUTER, |_| (INSIDE, from_host(&host_udp())));
        kept_then_sent("from a peer", through(encapsulation), HOP_HOST, |g| {
            (OUTSIDE, from_peer(encapsulation, &far(g, 17, udp(1, 2, b"hello"))))
        });
    }
    kept_then_sent("between hosts", local, HOP_OTHER, |_| {
        (INSIDE, from_host(&Ip::new(HOST, PROXY_OTHER, 17, udp(1, 2, b"hello"))))
    });
    kept_then_sent("with congestion met", gateway, HOP_HOST, |g| {
        let inner = far(g, 17, udp(1, 2, b"")).tos(2);
        let packet = outer(Encapsulation::Vxlan, REMOTE, LOCAL, ID_IN, &inner.bytes(), 3);
        (OUTSIDE, ethernet(MAC_OUT, MAC_ROUTER, 0x0800, &packet.bytes()))
    });
    // What is cut, clamped or refused for its size waits until the size is known.
    for fragment in [0, 0x4000] {
        kept_then_sent("too big", gateway, ROUTER, |_| {
            (INSIDE, from_host(&Ip::new(HOST, PROXY, 17, udp(1, 2, &[7; 1440])).fragment(fragment)))
        });
    }
    let segment_size = [2, 4, 5, 0xb4];
    kept_then_sent("syn", gateway, ROUTER, |_| {
        (INSIDE, from_host(&Ip::new(HOST, PROXY, 6, tcp(5000, 80, 2, &segment_size, b""))))
    });
    kept_then_sent("syn ack", gateway, HOP_HOST, |g| {
        let inner = far(g, 6, tcp(80, 5000, 0x12, &segment_size, b""));
        (OUTSIDE, from_peer(Encapsulation::Vxlan, &inner))
    });
}

/// What an error quotes must not be translated twice.
#[test]
fn errors_are_kept_too() {
    kept_then_sent("error from the host", gateway, ROUTER, |_| {
        let received = Ip::new(PROXY, HOST, 17, udp(5000, 7, b"closed")).bytes();
        (INSIDE, from_host(&Ip::new(HOST, PROXY, 1, icmp(3, 3, 0, &received))))
    });
    kept_then_sent("error between hosts", local, HOP_OTHER, |_| {
        let received = Ip::new(PROXY_OTHER, HOST, 17, udp(5000, 7, b"closed")).bytes();
        (INSIDE, from_host(&Ip::new(HOST, PROXY_OTHER, 1, icmp(3, 3, 0, &received))))
    });
    kept_then_sent("error from the tunnel", gateway, HOP_HOST, |g| {
        let sent = Ip::new(g.tag(0), REMOTE_TAG, 17, udp(5000, 7, b"closed")).ttl(60).bytes();
        (OUTSIDE, from_peer(Encapsulation::Vxlan, &far(g, 1, icmp(3, 3, 0, &sent))))
    });
    kept_then_sent("peer unreachable", gateway, HOP_HOST, |g| {
        let sent = host_udp().readdressed(g.tag(0), REMOTE_TAG, 1).bytes();
        let sent = outer(Encapsulation::Vxlan, LOCAL, REMOTE, ID_OUT, &sent, 0).bytes();
        let error = Ip::new(0x0909_0909, LOCAL, 1, icmp(11, 0, 0, &sent));
        (OUTSIDE, ethernet(MAC_OUT, MAC_ROUTER, 0x0800, &error.bytes()))
    });
}

/// What no next hop would make go on is decided on at once, and keeps nothing else from being kept.
#[test]
fn what_is_refused_is_not_kept() {
    let refused = |title, mut g: Gateway, input, why| {
        tell(&mut g, false);
        drop_case(title, g, input, why)
    };
    let told = |title, mut g: Gateway, packet: &Ip, why, code| {
        tell(&mut g, false);
        told_case(title, g, packet, why, (3, code))
    };
    let only = |protocol| limited(BindingLimits { protocol: Some(protocol), ..BindingLimits::default() });
    let quoted = Ip::new(PROXY, OTHER, 17, udp(1, 2, b"")).bytes();
    let stray = Ip::new(REMOTE_TAG, 7, 17, udp(1, 2, b""));
    run(vec![
        told("policy", only(6), &host_udp(), Why::PolicyProtocol, 13),
        told("no binding", gateway(), &Ip::new(HOST, PROXY_OTHER, 17, udp(1, 2, b"")), Why::NoBinding, 1),
        refused(
            "error about another's packet",
            gateway(),
            (INSIDE, from_host(&Ip::new(HOST, PROXY, 1, icmp(3, 3, 0, &quoted)))),
            Why::IcmpErrorUnmatched,
        ),
        refused(
            "no such tag",
            gateway(),
            (OUTSIDE, from_peer(Encapsulation::Vxlan, &stray)),
            Why::TunnelTagUnknown,
        ),
    ]);
    let mut g = gateway();
    tell(&mut g, false);
    assert_eq!(
        g.one(INSIDE, &from_host(&host_udp().ttl(1))).0,
        Verdict::Reply(Egress::by(INSIDE), Why::TtlExceeded),
        "the answer needs no next hop"
    );
}

/// A kept packet takes of its binding's rate once, when it goes.
#[test]
fn the_rate_is_taken_from_once() {
    let limits = BindingLimits { rate_bps: Some(8000), ..BindingLimits::default() }; // 3,000 bytes at once, then 1,000 a second
    let mut g = limited(limits);
    let packet = from_host(&Ip::new(HOST, PROXY, 17, udp(1, 2, &[7; 1400 - 28])));
    let inner = far(&g, 17, udp(1, 2, &[7; 1400 - 28]));
    let inward = from_peer(Encapsulation::Vxlan, &inner);
    tell(&mut g, false);
    for _ in 0..5 {
        assert!(matches!(g.one(INSIDE, &packet).0, Verdict::Hold(_)));
        assert!(matches!(g.one(OUTSIDE, &inward).0, Verdict::Hold(_)));
    }
    tell(&mut g, true);
    let limited = Verdict::Drop(Why::RateLimited);
    assert_eq!([(); 3].map(|()| g.one(INSIDE, &packet).0), [OUT, OUT, limited]);
    assert_eq!([(); 3].map(|()| g.one(OUTSIDE, &inward).0), [IN, IN, limited]);
}
