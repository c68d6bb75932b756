//! Whose packets a host's are: they come from its MAC address, where that is known (P10).

use super::*;

fn pinned_binding() -> Binding {
    Binding { mac: Some(MAC_HOST), ..binding() }
}

fn pinned() -> Gateway {
    Gateway::new(settings(), Encapsulation::Vxlan, pinned_binding())
}

/// The host's packet, from another station.
fn forged(packet: &Ip) -> Vec<u8> {
    ethernet(MAC_IN, MAC_OTHER, 0x0800, &packet.bytes())
}

/// Packets of all kinds that the binding carries, whichever way through the path they take.
fn all_kinds() -> Vec<(&'static str, Ip)> {
    let packet = |protocol, payload| Ip::new(HOST, PROXY, protocol, payload);
    vec![
        ("UDP", host_udp()),
        ("TCP", packet(6, tcp(5000, 80, 0x10, &[], b"data"))),
        ("a TCP SYN", packet(6, tcp(5000, 80, 2, &[], b""))),
        ("an echo request", packet(1, icmp(8, 0, 7, b"abc"))),
        ("a fragment", host_udp().fragment(0x2000).raw()),
        ("a later fragment", packet(17, vec![1; 16]).fragment(0x0002).raw()),
        ("options", host_udp().options(&[1, 1, 1, 1])),
        ("another protocol", packet(132, vec![0; 20])),
    ]
}

#[test]
fn p10_a_hosts_packets_come_from_its_mac_address() {
    for (title, packet) in all_kinds() {
        let mut g = pinned();
        assert_eq!(g.one(INSIDE, &from_host(&packet)).0, OUT, "{title}");
        let (fate, out) = g.one(INSIDE, &forged(&packet));
        assert_eq!((fate, out), (Verdict::Drop(Why::SourceMac), vec![]), "{title}");
        assert_eq!(g.state.counters.drops[Why::SourceMac as usize], 1, "{title}");
        let mut anybodys = gateway();
        assert_eq!(
            anybodys.one(INSIDE, &forged(&packet)).0,
            OUT,
            "{title}, where nothing is known of its MAC"
        );
    }
}

#[test]
fn p10_what_would_be_answered_is_not_where_it_is_forged() {
    let slow = BindingLimits { protocol: Some(6), ..BindingLimits::default() };
    let restricted =
        Gateway::new(settings(), Encapsulation::Vxlan, Binding { limits: slow, ..pinned_binding() });
    let long = Ip::new(HOST, PROXY, 17, udp(1, 2, &[0; 1460]));
    run(vec![
        drop_case("time to live", pinned(), (INSIDE, forged(&host_udp().ttl(1))), Why::SourceMac),
        drop_case("too long", pinned(), (INSIDE, forged(&long)), Why::SourceMac),
        drop_case("not allowed", restricted, (INSIDE, forged(&host_udp())), Why::SourceMac),
    ]);
}

#[test]
fn p10_bindings_with_limits_and_within_the_realm_are_pinned_alike() {
    let limits = BindingLimits { rate_bps: Some(1_000_000_000), ..BindingLimits::default() };
    let mut limited = Gateway::new(settings(), Encapsulation::Vxlan, Binding { limits, ..pinned_binding() });
    let mut near = local();
    let handle = near.handle(1);
    near.command(Command::PinBinding(handle, Some(MAC_HOST)));
    let there = Ip::new(HOST, PROXY_OTHER, 17, udp(5000, 53, b"hello"));
    for (g, packet, way) in [(&mut limited, host_udp(), OUT), (&mut near, there, IN)] {
        assert_eq!(g.one(INSIDE, &from_host(&packet)).0, way);
        assert_eq!(g.one(INSIDE, &forged(&packet)).0, Verdict::Drop(Why::SourceMac));
    }
}

#[test]
fn p10_a_router_behind_may_say_what_became_of_the_hosts_packet() {
    let mut g = pinned();
    let quoted = Ip::new(PROXY, HOST, 17, udp(53, 5000, b"answer")).bytes();
    let of = |source| Ip::new(source, PROXY, 1, icmp(3, 1, 0, &quoted));
    assert_eq!(g.one(INSIDE, &forged(&of(OTHER))).0, OUT);
    assert_eq!(g.one(INSIDE, &from_host(&of(HOST))).0, OUT);
    assert_eq!(g.one(INSIDE, &forged(&of(HOST))).0, Verdict::Drop(Why::SourceMac));
}

#[test]
fn p10_a_pin_moves_and_goes_with_the_next_packet() {
    let mut g = pinned();
    let handle = g.handle(0);
    let fates =
        |g: &mut Gateway| [from_host(&host_udp()), forged(&host_udp())].map(|frame| g.one(INSIDE, &frame).0);
    let wrong = Verdict::Drop(Why::SourceMac);
    assert_eq!(fates(&mut g), [OUT, wrong]);
    g.command(Command::PinBinding(handle, Some(MAC_OTHER)));
    assert_eq!(fates(&mut g), [wrong, OUT]);
    g.command(Command::PinBinding(handle, None));
    assert_eq!(fates(&mut g), [OUT, OUT]);
    // A handle of another life says nothing about this one.
    let other = ces_dataplane::tag::Handle(handle.0 ^ 1 << 30);
    g.command(Command::PinBinding(other, Some(MAC_OTHER)));
    assert_eq!(fates(&mut g), [OUT, OUT]);
}
