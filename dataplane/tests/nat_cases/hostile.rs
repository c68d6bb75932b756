//! Bad input: everything has one fate and is counted, nothing grows, and what stands goes on.

use super::*;
use ces_dataplane::nat::Filtering;
use ces_dataplane::premises::Premises;
use ces_dataplane::reason::DropReason as Why;

/// Numbers that look random, the same ones each time.
fn numbers(count: usize) -> impl Iterator<Item = u32> {
    let mut state = 0x2545_f491u32;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    })
    .take(count)
}

/// An address of the world.
const fn stranger(random: u32) -> u32 {
    0x2000_0000 | random >> 4
}

const MANY: usize = 10_000;

/// Floods from outside, and from an inside host: no session more than there is room, and the connection that stands goes on.
#[test]
fn floods_take_nothing_from_what_stands() {
    type Flood = (&'static str, u8, fn(u32) -> Vec<u8>);
    let floods: [Flood; 6] = [
        ("SYNs from outside", OUTSIDE, |random| {
            from_world(&Ip::new(stranger(random), LOCAL, 6, tcp(random as u16 | 1, 4000, SYN, &[], b"")))
        }),
        ("UDP from random sources", OUTSIDE, |random| {
            from_world(&Ip::new(stranger(random), LOCAL, 17, udp(53, random as u16 | 1, b"x")))
        }),
        ("forged quotes of our connections", OUTSIDE, |random| {
            let quoted = Ip::new(LOCAL, stranger(random), 6, tcp(4000, 80, ACK, &[], b"")).bytes();
            from_world(&Ip::new(stranger(!random), LOCAL, 1, icmp(3, 1, 0, &quoted)))
        }),
        ("first fragments", OUTSIDE, |random| {
            let bytes = Ip::new(stranger(random), LOCAL, 17, udp(53, 4000, &[1; 24])).bytes()[20..].to_vec();
            let mut part = Ip::new(stranger(random), LOCAL, 17, bytes).fragment(0x2000).raw();
            part.id = random as u16;
            from_world(&part)
        }),
        ("SYNs of an inside host", INSIDE, |random| {
            from_other(&Ip::new(OTHER, stranger(random), 6, tcp(random as u16 | 1, 80, SYN, &[], b"")))
        }),
        ("UDP of an inside host", INSIDE, |random| {
            from_other(&Ip::new(OTHER, stranger(random), 17, udp(random as u16 | 1, 80, b"x")))
        }),
    ];
    for (name, port, frame) in floods {
        let mut gateway = connected();
        let (mut forwarded, before) = (0, gateway.state.counters.dropped());
        for random in numbers(MANY) {
            let (verdict, _) = gateway.one(port, &frame(random));
            forwarded += u64::from(!matches!(verdict, Verdict::Drop(_) | Verdict::Reply(..)));
            assert!(port == INSIDE || !matches!(verdict, Verdict::Forward(_) | Verdict::Reply(..)), "{name}");
        }
        let fates = forwarded + gateway.state.counters.dropped() - before;
        assert_eq!(fates, MANY as u64, "{name}: each has one fate");
        assert!(live(&mut gateway) <= 64, "{name}");
        wait(&mut gateway, 1);
        carried(&mut gateway, &[(false, ACK), (true, ACK)]);
        wait(&mut gateway, 7000);
        carried(&mut gateway, &[(false, ACK)]);
    }
}

/// Later fragments whose first one never comes wait or are dropped; nothing is made for them.
#[test]
fn fragments_that_never_complete() {
    let mut gateway = connected();
    for random in numbers(MANY) {
        let mut later = Ip::new(stranger(random), LOCAL, 17, vec![1; 64]).fragment(0x2000 | 5).raw();
        later.id = random as u16;
        let (verdict, out) = gateway.one(OUTSIDE, &from_world(&later));
        assert!(matches!(verdict, Verdict::HoldLater(_) | Verdict::Drop(_)) && out.is_empty(), "{verdict:?}");
    }
    assert_eq!(live(&mut gateway), 1);
    carried(&mut gateway, &[(false, ACK), (true, ACK)]);
}

/// RFC 1858 §3, RFC 3128: a first fragment without its whole header, and a later one that lies over it.
#[test]
fn tiny_and_overlapping_fragments() {
    let mut gateway = connected();
    let bytes = tcp(4000, 80, SYN, &[], &[0; 24]);
    let part = |from: usize, to: usize, fragment| {
        Ip::new(HOST, SERVER, 6, bytes[from..to].to_vec()).fragment(fragment)
    };
    for (name, part) in [
        ("8 bytes of TCP", part(0, 8, 0x2000)),
        ("16 bytes of TCP", part(0, 16, 0x2000)),
        ("over the flags", part(8, 44, 1)),
    ] {
        let (verdict, out) = gateway.one(INSIDE, &from_host(&part.clone().raw()));
        assert!(matches!(verdict, Verdict::Drop(Why::FragmentTiny)) && out.is_empty(), "{name}: {verdict:?}");
        let back = Ip { source: SERVER, destination: LOCAL, ..part.raw() };
        let (verdict, out) = gateway.one(OUTSIDE, &from_world(&back));
        assert!(matches!(verdict, Verdict::Drop(Why::FragmentTiny)) && out.is_empty(), "{name}: {verdict:?}");
    }
    assert_eq!(live(&mut gateway), 1);
}

/// A session begins with a SYN and nothing beside it (RFC 7857 §2), from whichever side.
#[test]
fn bad_flags_of_tcp_open_nothing() {
    const URG_PSH: u8 = 0x28;
    for filtering in [Filtering::AddressAndPortDependent, Filtering::EndpointIndependent] {
        let mut settings = nat_settings();
        settings.nat.filtering = filtering;
        let mut gateway = gateway_with(settings);
        let syn = from_host(&Ip::new(HOST, SERVER, 6, tcp(4000, 80, SYN, &[], b"")));
        sent(&mut gateway, INSIDE, &syn);
        for flags in [
            0,
            0xff,
            FIN,
            ACK,
            RST,
            URG_PSH,
            SYN | FIN,
            SYN | RST,
            SYN | FIN | RST | ACK,
            FIN | RST,
            URG_PSH | FIN,
            SYN | ACK,
        ] {
            let out = from_host(&Ip::new(HOST, SERVER_2, 6, tcp(5000, 80, flags, &[], b"")));
            assert_eq!(dropped(&mut gateway, INSIDE, &out), Why::NatNoSession, "{flags:#x}");
            let into = from_world(&Ip::new(SERVER_2, LOCAL, 6, tcp(80, 4000, flags, &[], b"")));
            let (verdict, out) = gateway.one(OUTSIDE, &into);
            // It may belong to a connection of the gateway's own.
            assert!(
                matches!(verdict, Verdict::Drop(Why::Unasked) | Verdict::Punt(_)),
                "{flags:#x}: {verdict:?}"
            );
            assert!(out.is_empty());
        }
        assert_eq!(live(&mut gateway), 1);
    }
}

/// Port 0 is nobody's (RFC 768, RFC 9293 §3.1).
#[test]
fn port_0_goes_nowhere() {
    let mut settings = nat_settings();
    settings.nat.filtering = Filtering::EndpointIndependent;
    let mut gateway = gateway_with(settings);
    external(&mut gateway, HOST, 5000);
    for (from, to) in [(0, 53), (5000, 0), (0, 0)] {
        for (protocol, payload) in [(17, udp(from, to, b"x")), (6, tcp(from, to, SYN, &[], b""))] {
            let out = from_host(&Ip::new(HOST, SERVER, protocol, payload));
            assert_eq!(dropped(&mut gateway, INSIDE, &out), Why::L4Malformed);
        }
    }
    for (from, to) in [(0, 5000), (53, 0), (0, 0)] {
        let into = from_world(&Ip::new(SERVER_2, LOCAL, 17, udp(from, to, b"x")));
        assert_eq!(dropped(&mut gateway, OUTSIDE, &into), Why::Unasked, "{from} {to}");
    }
    assert_eq!(live(&mut gateway), 1);
}

/// Source and destination alike, whosever the address is.
#[test]
fn land_packets() {
    let mut gateway = connected();
    for (port, address) in
        [(OUTSIDE, LOCAL), (OUTSIDE, HOST), (INSIDE, LOCAL), (INSIDE, GATEWAY), (INSIDE, HOST)]
    {
        for payload in [tcp(4000, 4000, SYN, &[], b""), tcp(80, 80, SYN, &[], b"")] {
            let packet = Ip::new(address, address, 6, payload);
            let frame = if port == INSIDE { from_host(&packet) } else { from_world(&packet) };
            let (verdict, out) = gateway.one(port, &frame);
            assert!(!matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
            assert!(out.iter().all(|(_, frame)| frame[23] == 1), "at most an ICMP error");
        }
    }
    assert_eq!(live(&mut gateway), 1);
}

/// Every port is tried, by TCP and UDP: nothing is answered and nothing is made.
#[test]
fn ten_thousand_scans_of_the_pool() {
    let mut gateway = connected();
    for port in (1..=MANY as u16).filter(|port| *port != 4000) {
        for (protocol, payload) in [(6, tcp(999, port, SYN, &[], b"")), (17, udp(999, port, b"x"))] {
            let scan = from_world(&Ip::new(SERVER_2, LOCAL, protocol, payload));
            // The gateway itself answers questions of DNS.
            assert_ne!(
                silent(&mut gateway, OUTSIDE, &scan),
                (protocol, port) == (17, 53),
                "{protocol} {port}"
            );
        }
    }
    assert_eq!(live(&mut gateway), 1);
}

/// A reload with other addresses: what stands goes on under the old one, the next host has a new one, and the host that had
/// the old one has a new one as soon as nothing of it is left.
#[test]
fn a_pool_changes_while_sessions_live() {
    let mut gateway = connected();
    let mut changed = nat_settings();
    changed.nat.addresses = vec![address(LOCAL + 9)];
    let mut premises = Premises::new(&changed).with_routes(routes(2));
    gateway.state.move_in(&mut premises);
    carried(&mut gateway, &[(true, ACK), (false, ACK)]);
    let out = |host, port| Ip::new(host, SERVER, 17, udp(port, 53, b"q"));
    assert_eq!(flow(&sent(&mut gateway, INSIDE, &from_other(&out(OTHER, 6000))).1).0, LOCAL + 9);
    carried(&mut gateway, &[(true, RST)]);
    wait(&mut gateway, 245);
    assert_eq!(flow(&sent(&mut gateway, INSIDE, &from_host(&out(HOST, 6000))).1).0, LOCAL + 9);
    let old = from_world(&Ip::new(SERVER, LOCAL, 6, tcp(80, 4000, ACK, &[], b"")));
    assert!(!matches!(gateway.one(OUTSIDE, &old).0, Verdict::Forward(_)));
}

/// Hours at once, and back: each turn takes a bounded time, all that is due goes, nothing else does.
#[test]
fn time_that_jumps() {
    let mut gateway = connected();
    for port in 5000..5020 {
        external(&mut gateway, HOST, port);
    }
    // Back, to the beginning: nothing ends, nothing is refused.
    wait(&mut gateway, 10);
    gateway.now = SECOND;
    gateway.state.tick(gateway.now);
    carried(&mut gateway, &[(true, ACK), (false, ACK)]);
    assert_eq!(live(&mut gateway), 21);
    // An hour: UDP is over, the connection is not.
    gateway.now += 3600 * SECOND;
    for _ in 0..100 {
        gateway.state.tick(gateway.now);
    }
    assert_eq!(live(&mut gateway), 1);
    carried(&mut gateway, &[(false, ACK)]);
    // Years.
    gateway.now += 100_000_000 * SECOND;
    for _ in 0..100 {
        gateway.state.tick(gateway.now);
    }
    assert_eq!(live(&mut gateway), 0);
    assert!(segment(&mut gateway, true, ACK).is_none());
    wait(&mut gateway, 121); // its port rests
    carried(&mut gateway, &[(true, SYN), (false, SYN | ACK)]);
}

/// RFC 5382 §7.3, REQ-10: whatever errors say of a connection, and who forges them, it goes on.
#[test]
fn icmp_errors_end_no_connection() {
    let mut gateway = connected();
    let went = Ip::new(LOCAL, SERVER, 6, tcp(4000, 80, ACK, &[], b"x")).bytes();
    let came = Ip::new(SERVER, HOST, 6, tcp(80, 4000, ACK, &[], b"x")).bytes();
    for (kind, code) in [(3, 0), (3, 1), (3, 2), (3, 3), (3, 13), (11, 0), (12, 0)] {
        sent(&mut gateway, OUTSIDE, &from_world(&Ip::new(SERVER, LOCAL, 1, icmp(kind, code, 0, &went))));
        sent(&mut gateway, INSIDE, &from_host(&Ip::new(HOST, SERVER, 1, icmp(kind, code, 0, &came))));
    }
    wait(&mut gateway, 7000);
    carried(&mut gateway, &[(false, ACK), (true, ACK)]);
}

/// RFC 7857 §7.1: errors keep nothing alive, from whichever side.
#[test]
fn icmp_errors_do_not_refresh() {
    let mut gateway = gateway();
    external(&mut gateway, HOST, 5000);
    let went = Ip::new(LOCAL, SERVER, 17, udp(5000, 53, b"q")).bytes();
    let came = Ip::new(SERVER, HOST, 17, udp(53, 5000, b"a")).bytes();
    wait(&mut gateway, 117);
    sent(&mut gateway, OUTSIDE, &from_world(&Ip::new(WAYPOINT, LOCAL, 1, icmp(3, 1, 0, &went))));
    sent(&mut gateway, INSIDE, &from_host(&Ip::new(HOST, SERVER, 1, icmp(3, 3, 0, &came))));
    assert_eq!(live(&mut gateway), 1, "nor do they end anything");
    wait(&mut gateway, 6);
    assert_eq!(live(&mut gateway), 0);
}
