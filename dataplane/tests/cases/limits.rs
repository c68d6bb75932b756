//! Bindings that may not carry everything.

use super::*;

#[test]
fn limits_hold() {
    let only_udp = || limited(BindingLimits { protocol: Some(17), ..BindingLimits::default() });
    let only_web =
        || limited(BindingLimits { protocol: Some(6), port: Some(80), ..BindingLimits::default() });
    let serving =
        || limited(BindingLimits { port: Some(80), port_is_inside: true, ..BindingLimits::default() });
    let web = |source, destination| Ip::new(HOST, PROXY, 6, tcp(source, destination, 0x10, &[], b""));
    let passes = |title, g: Gateway, packet: &Ip| {
        let inner = packet.readdressed(g.tag(0), REMOTE_TAG, 1);
        let output = Some((OUTSIDE, to_peer(Encapsulation::Vxlan, &inner)));
        case(title, g, (INSIDE, from_host(packet)), OUT, output)
    };
    let refused = |title, g, packet: &Ip| told_case(title, g, packet, Why::PolicyProtocol, (3, 13));
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
    // A rate of 80 kbit/s fills 10 kB a second; the bucket holds 3,000 bytes at least.
    let mut short = settings();
    short.rate_burst_ms = 100;
    let slow =
        Binding { limits: BindingLimits { rate_bps: Some(80_000), ..BindingLimits::default() }, ..binding() };
    let mut g = Gateway::new(short, Encapsulation::Vxlan, slow);
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
    let g = limited(BindingLimits { port: Some(53), ..BindingLimits::default() });
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
    let mut g = limited(BindingLimits { port: Some(53), ..BindingLimits::default() });
    let is_kept = |fate| matches!(fate, Verdict::HoldLater(_));
    assert!(is_kept(g.one(INSIDE, &from_host(&later)).0));
    let (verdict, out) = g.one(INSIDE, &from_host(&first));
    assert_eq!((verdict, out[0].1.len()), (OUT, to_peer(Encapsulation::Vxlan, &first_sent).len()));
    let (verdict, out) = g.one(INSIDE, &from_host(&later));
    assert_eq!((verdict, normalised(&out[0].1)), (OUT, to_peer(Encapsulation::Vxlan, &second)));
    assert!(is_kept(g.one(INSIDE, &from_host(&other)).0));
    g.now += 31 * SECOND;
    assert!(is_kept(g.one(INSIDE, &from_host(&later)).0));
}
