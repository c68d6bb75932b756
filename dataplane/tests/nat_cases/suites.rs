//! What the suites of others try, in our own words.

use super::*;
use ces_dataplane::msg::Command;
use ces_dataplane::premises::Premises;
use ces_dataplane::reason::DropReason as Why;
use ces_dataplane::settings::NatRoom;
use std::collections::{BTreeMap, BTreeSet};

/// What is in a packet with this port or identifier.
type Payload = fn(u16) -> Vec<u8>;

/// Of TCP, UDP and ICMP queries, what a host sends from its port, and what answers the external one.
fn flows() -> [(u8, Payload, Payload); 3] {
    [
        (6, |port| tcp(port, 20, SYN, &[], b"abc"), |port| tcp(20, port, SYN | ACK, &[], b"abc")),
        (17, |port| udp(port, 20, b"abc"), |port| udp(20, port, b"abc")),
        (
            1,
            |id| icmp(8, 0, u32::from(id) << 16 | 1, b"abc"),
            |id| icmp(0, 0, u32::from(id) << 16 | 1, b"abc"),
        ),
    ]
}

/// The host's port in what it sends, and in what comes to it: the identifier of an ICMP query.
fn own_port(frame: &[u8], out: bool) -> u16 {
    match (frame[23], out) {
        (1, _) => (word(frame, 24) >> 16) as u16,
        (_, true) => (word(frame, 20) >> 16) as u16,
        (_, false) => word(frame, 20) as u16,
    }
}

/// Each host's flows of every protocol go out under a port of their own and come back to it.
#[test]
fn many_flows_go_out_and_come_back() {
    let mut settings = nat_settings();
    settings.nat_room = NatRoom { sessions: 4000, mappings: 4000, hosts: 8, addresses: 1 };
    let mut gateway = gateway_with(settings);
    for (protocol, out, back) in flows() {
        let mut owners = BTreeMap::new();
        for port in 2000..2500 {
            for (host, wrap) in [(HOST, from_host as fn(&Ip) -> Vec<u8>), (OTHER, from_other)] {
                let (_, frame) =
                    sent(&mut gateway, INSIDE, &wrap(&Ip::new(host, SERVER, protocol, out(port))));
                let twice = owners.insert(own_port(&frame, true), (host, port));
                assert_eq!((word(&frame, 12), twice), (LOCAL, None));
            }
        }
        for (external, owner) in owners {
            let answer = from_world(&Ip::new(SERVER, LOCAL, protocol, back(external)));
            let (_, frame) = sent(&mut gateway, OUTSIDE, &answer);
            assert_eq!((word(&frame, 16), own_port(&frame, false)), owner);
        }
    }
}

/// The lowest and the highest port of a host are as good as others.
#[test]
fn ports_at_the_edges() {
    let mut gateway = gateway();
    for (protocol, out, back) in flows() {
        for port in [1, 1023, 65_535] {
            let (_, frame) =
                sent(&mut gateway, INSIDE, &from_host(&Ip::new(HOST, SERVER, protocol, out(port))));
            let external = own_port(&frame, true);
            assert!((1024..32_768).contains(&external));
            let (_, frame) =
                sent(&mut gateway, OUTSIDE, &from_world(&Ip::new(SERVER, LOCAL, protocol, back(external))));
            assert_eq!((word(&frame, 16), own_port(&frame, false)), (HOST, port));
        }
    }
}

/// Several addresses: hosts are spread over them, and each keeps its own for whatever it does (RFC 4787 §4.1, REQ-2).
#[test]
fn hosts_spread_over_addresses_and_keep_theirs() {
    let mut settings = nat_settings();
    settings.nat_room = NatRoom { sessions: 1000, mappings: 1000, hosts: 100, addresses: 4 };
    settings.nat.addresses = (0..4).map(|nth| address(LOCAL + 16 + nth)).collect();
    settings.neighbours = 64;
    let mut gateway = gateway_with(settings);
    let mut used = BTreeSet::new();
    for host in (0x0a00_0032..).take(50) {
        gateway.command(Command::Reach(address(host), HOP_HOST));
        let addresses: BTreeSet<u32> = flows()
            .iter()
            .flat_map(|&(protocol, out, _)| {
                [3000, 3001].map(|port| Ip::new(host, SERVER, protocol, out(port)))
            })
            .map(|packet| word(&sent(&mut gateway, INSIDE, &from_host(&packet)).1, 12))
            .collect();
        assert_eq!(addresses.len(), 1);
        used.extend(addresses);
    }
    assert_eq!(used.len(), 4);
}

/// Without an address nobody goes out; with the first one everybody does.
#[test]
fn an_address_that_comes_is_used_at_once() {
    let mut settings = nat_settings();
    settings.nat.addresses.clear();
    let mut gateway = gateway_with(settings);
    let packet = from_host(&Ip::new(HOST, SERVER, 17, udp(5000, 53, b"q")));
    assert_eq!(dropped(&mut gateway, INSIDE, &packet), Why::NatNoAddress);
    let mut premises = Premises::new(&nat_settings()).with_routes(routes(2));
    gateway.state.move_in(&mut premises);
    assert_eq!(flow(&sent(&mut gateway, INSIDE, &packet).1), (LOCAL, 5000, SERVER, 53));
}

/// Three fragments of every protocol, in order and the other way round, out and back.
#[test]
fn fragments_of_every_protocol_both_ways() {
    for (protocol, out, back) in flows() {
        for in_order in [true, false] {
            let mut gateway = gateway();
            let cut = |source, destination, payload: Vec<u8>, id| {
                let mut whole = payload;
                whole.extend([0x41; 40]);
                let whole = Ip::new(source, destination, protocol, whole).bytes()[20..].to_vec();
                let ends = [0, 24, 40, whole.len()];
                let parts = ends.windows(2).map(|part| {
                    let more = if part[1] < whole.len() { 0x2000 } else { 0 };
                    let bytes = whole[part[0]..part[1]].to_vec();
                    let fragment = more | (part[0] / 8) as u16;
                    let mut part = Ip::new(source, destination, protocol, bytes).fragment(fragment).raw();
                    part.id = id;
                    part
                });
                parts.collect::<Vec<_>>()
            };
            // What overtook the first one is kept, and comes again behind it.
            let carry = |gateway: &mut Gateway, port, mut parts: Vec<Vec<u8>>| {
                if !in_order {
                    parts.reverse();
                }
                let kept: Vec<_> = parts[..2]
                    .iter()
                    .filter(|part| !in_order && matches!(gateway.one(port, part).0, Verdict::HoldLater(_)))
                    .collect();
                assert_eq!(kept.len(), if in_order { 0 } else { 2 });
                if !in_order {
                    parts.reverse();
                }
                parts.iter().map(|part| sent(gateway, port, part).1).collect::<Vec<_>>()
            };
            let parts = cut(HOST, SERVER, out(5001), 7).iter().map(from_host).collect();
            let frames = carry(&mut gateway, INSIDE, parts);
            let external = own_port(&frames[0], true);
            let datagram: Vec<u8> = frames.iter().flat_map(|frame| frame[34..].to_vec()).collect();
            let sum = if protocol == 1 {
                checksum(&datagram)
            } else {
                l4_checksum(LOCAL, SERVER, protocol, &datagram)
            };
            assert!(sum == 0 || protocol == 17, "{protocol}");
            let parts = cut(SERVER, LOCAL, back(external), 8).iter().map(from_world).collect();
            let frames = carry(&mut gateway, OUTSIDE, parts);
            assert_eq!(own_port(&frames[0], false), 5001);
            assert!(frames.iter().all(|frame| word(frame, 16) == HOST));
        }
    }
}

/// Fragments turn back to another host inside as whole packets do.
#[test]
fn fragments_turn_back_inside() {
    let mut gateway = gateway();
    external(&mut gateway, HOST, 5000);
    let other = external(&mut gateway, OTHER, 5000);
    // Each has asked for the other.
    gateway.one(INSIDE, &from_host(&Ip::new(HOST, LOCAL, 17, udp(5000, other, b"x"))));
    let back = Ip::new(OTHER, LOCAL, 17, udp(5000, 5000, b"x"));
    sent(&mut gateway, INSIDE, &from_other(&back));
    let whole = Ip::new(HOST, LOCAL, 17, udp(5000, other, &[9; 64])).bytes()[20..].to_vec();
    let part = |from: usize, to: usize, fragment| {
        let mut part = Ip::new(HOST, LOCAL, 17, whole[from..to].to_vec()).fragment(fragment).raw();
        part.id = 99;
        from_host(&part)
    };
    let (port, first) = sent(&mut gateway, INSIDE, &part(0, 40, 0x2000));
    let (_, second) = sent(&mut gateway, INSIDE, &part(40, 72, 5));
    assert_eq!((port, flow(&first)), (INSIDE, (LOCAL, 5000, OTHER, 5000)));
    assert_eq!((word(&second, 12), word(&second, 16)), (LOCAL, OTHER));
    assert_eq!(l4_checksum(LOCAL, OTHER, 17, &[&first[34..], &second[34..]].concat()), 0);
}

/// The time to live goes down by one both ways, and where it runs out a session neither begins nor goes on.
#[test]
fn hop_limits_both_ways() {
    let mut gateway = gateway();
    let out = |ttl| from_host(&Ip::new(HOST, SERVER, 17, udp(5000, 53, b"q")).ttl(ttl));
    let back = |ttl| from_world(&Ip::new(SERVER, LOCAL, 17, udp(53, 5000, b"a")).ttl(ttl));
    assert_eq!(sent(&mut gateway, INSIDE, &out(2)).1[22], 1);
    assert_eq!(sent(&mut gateway, OUTSIDE, &back(2)).1[22], 1);
    for ttl in [1, 0] {
        assert_eq!(dropped(&mut gateway, INSIDE, &out(ttl)), Why::TtlExceeded);
        assert_eq!(dropped(&mut gateway, OUTSIDE, &back(ttl)), Why::TtlExceeded);
    }
}

/// What a link adds to a short packet to fill its frame is no part of it.
#[test]
fn an_ethernet_trailer_is_no_part_of_a_packet() {
    let mut gateway = gateway();
    for (protocol, out, back) in flows() {
        let mut frame = from_host(&Ip::new(HOST, SERVER, protocol, out(5003)));
        frame.extend([0xaa; 18]);
        let external = own_port(&sent(&mut gateway, INSIDE, &frame).1, true);
        let mut frame = from_world(&Ip::new(SERVER, LOCAL, protocol, back(external)));
        frame.extend([0xaa; 18]);
        assert_eq!(own_port(&sent(&mut gateway, OUTSIDE, &frame).1, false), 5003);
    }
}

/// From inside, from outside, at once: closed 4 minutes after the last packet. What comes meanwhile is carried and lost on
/// nobody, and what comes afterwards opens nothing.
#[test]
fn tcp_closes_from_either_side_or_both_at_once() {
    let cases: [(&str, &[(bool, u8)]); 3] = [
        ("inside", &[(true, FIN | ACK), (false, ACK), (false, FIN | ACK), (true, ACK)]),
        ("outside", &[(false, FIN | ACK), (true, FIN | ACK), (false, ACK)]),
        ("both", &[(true, FIN | ACK), (false, FIN | ACK), (true, ACK), (false, ACK)]),
    ];
    for (name, steps) in cases {
        let mut gateway = connected();
        carried(&mut gateway, steps);
        carried(&mut gateway, &[(false, FIN | ACK), (true, ACK)]);
        wait(&mut gateway, 237);
        assert_eq!(live(&mut gateway), 1, "{name}");
        wait(&mut gateway, 5);
        assert_eq!(live(&mut gateway), 0, "{name}");
        assert!(
            segment(&mut gateway, true, ACK).is_none() && segment(&mut gateway, false, FIN | ACK).is_none()
        );
    }
}

/// One FIN leaves a connection as long as it needs: the other half may go on for hours (RFC 7857 §2).
#[test]
fn half_a_connection_goes_on() {
    for out in [true, false] {
        let mut gateway = connected();
        carried(&mut gateway, &[(out, FIN | ACK), (!out, ACK)]);
        wait(&mut gateway, 7000);
        carried(&mut gateway, &[(!out, ACK), (out, ACK), (!out, FIN | ACK), (out, ACK)]);
    }
}

/// A SYN of either side opens a closed connection again; it is established once the other has answered with its own.
#[test]
fn a_closed_connection_is_reopened_by_both_sides() {
    for out in [true, false] {
        let mut gateway = connected();
        carried(&mut gateway, &[(out, FIN | ACK), (!out, FIN | ACK), (out, ACK), (out, SYN)]);
        wait(&mut gateway, 100);
        carried(&mut gateway, &[(out, SYN)]);
        wait(&mut gateway, 145);
        assert_eq!(live(&mut gateway), 0, "one side's SYN alone keeps nothing");
        let mut gateway = connected();
        carried(
            &mut gateway,
            &[(out, FIN | ACK), (!out, FIN | ACK), (out, SYN), (!out, SYN | ACK), (out, ACK)],
        );
        wait(&mut gateway, 1000);
        carried(&mut gateway, &[(!out, ACK)]);
    }
}

/// A SYN, a SYN ACK, that are sent again are carried again, whatever else was on the way.
#[test]
fn what_opens_a_connection_may_be_sent_again() {
    let cases: [&[(bool, u8)]; 2] = [
        &[(true, SYN), (true, SYN), (false, SYN | ACK), (false, SYN | ACK), (true, ACK)],
        &[(true, SYN), (false, SYN | ACK), (true, ACK), (false, SYN | ACK), (true, ACK)],
    ];
    for steps in cases {
        let mut gateway = gateway();
        carried(&mut gateway, steps);
        wait(&mut gateway, 1000);
        carried(&mut gateway, &[(false, ACK)]);
    }
}

/// What a tracker of windows has called invalid, and cut healthy connections by: each is carried.
#[test]
fn what_a_tracker_of_windows_might_refuse_is_carried() {
    type Step = (bool, u8, u32);
    let cases: [(&str, &[Step]); 4] = [
        (
            "data that was acknowledged already comes again",
            &[(false, ACK, 1), (false, ACK, 70_000), (false, ACK, 1)],
        ),
        (
            "a reset that is not exact, after a FIN",
            &[(false, FIN | ACK, 3001), (true, RST | ACK, 1001), (false, RST, 2001)],
        ),
        (
            "a challenge ACK for a new SYN, its reset, and the SYN again",
            &[
                (true, SYN, 9),
                (false, ACK, 145_824_453),
                (true, RST, 643_160_523),
                (true, SYN, 9),
                (false, SYN | ACK, 1),
                (true, ACK, 10),
            ],
        ),
        (
            "the SYN ACK of an earlier connection ahead of the right one",
            &[
                (true, RST, 3),
                (true, SYN, 9),
                (false, SYN | ACK, 145_824_453),
                (true, SYN, 9),
                (false, SYN | ACK, 145_758_918),
                (true, ACK, 10),
            ],
        ),
    ];
    for (name, steps) in cases {
        let mut gateway = connected();
        for &(out, flags, sequence) in steps {
            let port = if out { INSIDE } else { OUTSIDE };
            let (verdict, frames) = gateway.one(port, &numbered(out, flags, sequence, b""));
            assert!(matches!(verdict, Verdict::Forward(_)), "{name}: {verdict:?}");
            assert_sound(&frames[0].1);
        }
    }
    // Over after its 4 minutes where both have ended, and as new where it was opened again.
    let mut gateway = connected();
    carried(
        &mut gateway,
        &[(true, SYN), (false, ACK), (true, RST), (true, SYN), (false, SYN | ACK), (true, ACK)],
    );
    wait(&mut gateway, 1000);
    carried(&mut gateway, &[(false, ACK)]);
}

/// Two packets of one new flow in one burst: one session, one mapping.
#[test]
fn a_flow_begins_once() {
    let mut gateway = gateway();
    let packet = |data: &[u8]| from_other(&Ip::new(OTHER, SERVER, 17, udp(5000, 53, data)));
    external(&mut gateway, HOST, 5000);
    let (_, out) = gateway.burst(INSIDE, &[packet(b"one"), packet(b"two"), packet(b"three")]);
    let ports: BTreeSet<u16> = out.iter().map(|(_, frame)| flow(frame).1).collect();
    assert_eq!((out.len(), ports.len(), live(&mut gateway)), (3, 1, 2));
}

/// An inside host that sends from a port of the gateway's own gets another one outside: what comes to the gateway is its own.
#[test]
fn no_host_gets_a_port_of_the_gateways_own() {
    let mut gateway = gateway();
    for (protocol, port) in [(6, 48_001), (6, 53), (17, 53), (17, 4789), (17, 6081), (17, 40_000)] {
        let payload = if protocol == 6 { tcp(port, 80, SYN, &[], b"") } else { udp(port, 80, b"") };
        let (_, frame) = sent(&mut gateway, INSIDE, &from_host(&Ip::new(HOST, SERVER, protocol, payload)));
        let external = flow(&frame).1;
        assert!(
            external != port && (1024..32_768).contains(&external) && external != 4789 && external != 6081
        );
        let payload = if protocol == 6 { tcp(80, port, SYN | ACK, &[], b"") } else { udp(80, port, b"") };
        let (verdict, _) = gateway.one(OUTSIDE, &from_world(&Ip::new(SERVER, LOCAL, protocol, payload)));
        assert!(!matches!(verdict, Verdict::Forward(_)), "{port}: {verdict:?}");
    }
}

/// What stays inside, and what is for the gateway, is not translated.
#[test]
fn nothing_is_translated_that_does_not_go_out() {
    let mut gateway = gateway();
    for destination in [OTHER, 0x0a00_0077, GATEWAY, PROXY] {
        let packet = from_host(&Ip::new(HOST, destination, 17, udp(5000, 53, b"q")));
        let (verdict, _) = gateway.one(INSIDE, &packet);
        assert!(!matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
    }
    assert_eq!(live(&mut gateway), 0);
}

/// RFC 4787 §4.3, REQ-6: what a host sends refreshes its session, and so does what it gets.
#[test]
fn udp_is_refreshed_both_ways() {
    let mut gateway = gateway();
    let out = from_host(&Ip::new(HOST, SERVER, 17, udp(5000, 53, b"q")));
    let back = from_world(&Ip::new(SERVER, LOCAL, 17, udp(53, 5000, b"a")));
    sent(&mut gateway, INSIDE, &out);
    wait(&mut gateway, 119);
    sent(&mut gateway, OUTSIDE, &back);
    for (port, frame) in [(INSIDE, &out), (OUTSIDE, &back), (OUTSIDE, &back)] {
        wait(&mut gateway, 297);
        sent(&mut gateway, port, frame);
    }
    wait(&mut gateway, 305);
    assert_eq!(live(&mut gateway), 0);
}

/// RFC 5508 §3.2, REQ-2.
#[test]
fn queries_last_a_minute() {
    let mut gateway = gateway();
    sent(&mut gateway, INSIDE, &from_host(&Ip::new(HOST, SERVER, 1, icmp(8, 0, 0x2a2a_0001, b"ping"))));
    wait(&mut gateway, 58);
    assert_eq!(live(&mut gateway), 1);
    wait(&mut gateway, 4);
    assert_eq!(live(&mut gateway), 0);
}
