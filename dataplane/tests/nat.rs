//! NAT44, case by case: inside hosts and the world, packets in, packets out. No NIC.
#![allow(missing_docs)]

mod common;

use ces_dataplane::frame::{Frame, MemoryFrame};
use ces_dataplane::msg::{
    Command, Event, HopId, NatRow, NatTable, Neighbour, PuntClass, Recorded, Recording,
};
use ces_dataplane::nat::Filtering;
use ces_dataplane::path::process_arrival;
use ces_dataplane::premises::Premises;
use ces_dataplane::reason::DropReason as Why;
use ces_dataplane::settings::{NatRoom, PoolRoom};
use ces_dataplane::table::fib::{Fib, Next, Route};
use ces_dataplane::verdict::{Arrival, Attempt, Verdict};
use common::nat::*;
use common::*;
use std::sync::Arc;

#[test]
fn udp_goes_out_and_comes_back() {
    let mut gateway = gateway();
    let packet = Ip::new(HOST, SERVER, 17, udp(5000, 53, b"question"));
    let (port, frame) = sent(&mut gateway, INSIDE, &from_host(&packet));
    let outside = Ip::new(LOCAL, SERVER, 17, udp(5000, 53, b"question")).ttl(63);
    assert_eq!((port, frame), (OUTSIDE, ethernet(MAC_ROUTER, MAC_OUT, 0x0800, &outside.bytes())));
    let answer = Ip::new(SERVER, LOCAL, 17, udp(53, 5000, b"answer"));
    let (port, frame) = sent(&mut gateway, OUTSIDE, &from_world(&answer));
    let inside = Ip::new(SERVER, HOST, 17, udp(53, 5000, b"answer")).ttl(63);
    assert_eq!((port, frame), (INSIDE, to_host(&inside)));
    // And once more by the straight line, without a checksum (RFC 768).
    let mut bare = udp(5000, 53, b"again");
    bare[6..8].fill(0);
    let (_, frame) = sent(&mut gateway, INSIDE, &from_host(&Ip::new(HOST, SERVER, 17, bare)));
    assert_eq!((flow(&frame), &frame[40..42]), ((LOCAL, 5000, SERVER, 53), &[0, 0][..]));
}

/// The next hop that the host is: what it sends must come from its MAC address.
fn pinned(mac: Option<[u8; 6]>) -> Gateway {
    let mut gateway = gateway();
    gateway.command(Command::SetHop(HOP_HOST, Neighbour { port: INSIDE, mac, pin: Some(MAC_HOST) }));
    gateway
}

#[test]
fn p10_nobody_opens_or_uses_a_session_of_another_host() {
    let packet = |protocol, payload| Ip::new(HOST, SERVER, protocol, payload);
    let datagram = || packet(17, udp(5000, 53, b"question"));
    for (title, packet) in [
        ("UDP", datagram()),
        ("a SYN", packet(6, tcp(5000, 80, SYN, &[], &[]))),
        ("a ping", packet(1, icmp(8, 0, 7, b"abc"))),
        ("a first fragment", datagram().fragment(0x2000).raw()),
        ("options", datagram().options(&[1, 1, 1, 1])),
        ("another protocol", packet(132, vec![0; 20])),
        ("one that would be answered", datagram().ttl(1)),
    ] {
        // What nothing can be sent to yet is known by its MAC address all the same.
        for mac in [Some(MAC_HOST), None] {
            let mut gateway = pinned(mac);
            let (fate, out) = gateway.one(INSIDE, &from_other(&packet));
            assert_eq!((fate, out), (Verdict::Drop(Why::SourceMac), vec![]), "{title}");
            assert_eq!(gateway.state.counters.sessions_opened, 0, "{title}");
            for _ in 0..2 {
                let (fate, _) = gateway.one(INSIDE, &from_host(&packet));
                assert!(
                    matches!(fate, Verdict::Forward(_) | Verdict::Reply(_, Why::TtlExceeded)),
                    "{title}: {fate:?}"
                );
                assert_eq!(
                    gateway.one(INSIDE, &from_other(&packet)).0,
                    Verdict::Drop(Why::SourceMac),
                    "{title}"
                );
            }
        }
    }
}

#[test]
fn p10_errors_come_from_the_host_or_from_a_router_behind() {
    let mut gateway = pinned(Some(MAC_HOST));
    external(&mut gateway, HOST, 5000);
    let quoted = Ip::new(SERVER, HOST, 17, udp(53, 5000, b"answer")).bytes();
    let error = |sender| Ip::new(sender, SERVER, 1, icmp(3, 3, 0, &quoted));
    assert_eq!(dropped(&mut gateway, INSIDE, &from_other(&error(HOST))), Why::SourceMac);
    sent(&mut gateway, INSIDE, &from_host(&error(HOST)));
    sent(&mut gateway, INSIDE, &from_other(&error(0x0a00_0077)));
}

#[test]
fn p10_where_the_hosts_mac_moves_or_is_anybodys_the_next_packet_heeds_it() {
    let mut gateway = pinned(Some(MAC_HOST));
    external(&mut gateway, HOST, 5000);
    let packet = Ip::new(HOST, SERVER, 17, udp(5000, 53, b"q"));
    for (pin, taken) in
        [(Some(MAC_OTHER), [false, true]), (None, [true, true]), (Some(MAC_HOST), [true, false])]
    {
        gateway
            .command(Command::SetHop(HOP_HOST, Neighbour { port: INSIDE, mac: pin.or(Some(MAC_HOST)), pin }));
        let fates = [from_host(&packet), from_other(&packet)].map(|frame| gateway.one(INSIDE, &frame).0);
        assert_eq!(fates.map(|fate| matches!(fate, Verdict::Forward(_))), taken, "{pin:?}");
    }
}

/// A host without a number yet is asked for before it opens anything.
#[test]
fn p10_a_host_that_nobody_has_named_waits_until_it_is() {
    let mut gateway = gateway();
    gateway.command(Command::Unreach(address(HOST)));
    let packet = from_host(&Ip::new(HOST, SERVER, 17, udp(5000, 53, b"q")));
    assert!(matches!(gateway.one(INSIDE, &packet).0, Verdict::Hold(_)));
    assert!(gateway.events().contains(&Event::Wanted(address(HOST))));
    assert_eq!(gateway.state.counters.sessions_opened, 0);
    gateway.command(Command::Reach(address(HOST), HOP_HOST));
    sent(&mut gateway, INSIDE, &packet);
}

/// RFC 4787 §4.1, REQ-1; §4.2.1: two hosts with one port; §4.2.2, REQ-4.
#[test]
fn a_port_of_a_host_has_one_port_outside() {
    let mut gateway = gateway();
    assert_eq!(external(&mut gateway, HOST, 5000), 5000);
    let other = external(&mut gateway, OTHER, 5000);
    assert!(other != 5000 && other.is_multiple_of(2));
    let packet = Ip::new(OTHER, SERVER_2, 17, udp(5000, 99, b""));
    assert_eq!(flow(&sent(&mut gateway, INSIDE, &from_other(&packet)).1), (LOCAL, other, SERVER_2, 99));
    let tcp = Ip::new(OTHER, SERVER, 6, tcp(5000, 80, SYN, &[], &[]));
    assert_eq!(flow(&sent(&mut gateway, INSIDE, &from_other(&tcp)).1), (LOCAL, 5000, SERVER, 80));
    let high = external(&mut gateway, HOST, 50_001);
    assert!((1024..32_768).contains(&high) && !high.is_multiple_of(2), "no port of the gateway's own");
}

/// RFC 4787 §5, REQ-8.
#[test]
fn who_may_answer_is_who_was_asked_or_anybody() {
    use Filtering::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
    for filtering in [AddressAndPortDependent, AddressDependent, EndpointIndependent] {
        let mut settings = nat_settings();
        settings.nat.filtering = filtering;
        let mut gateway = gateway_with(settings);
        external(&mut gateway, HOST, 5000);
        for (source, port) in [(SERVER, 54), (SERVER_2, 53)] {
            let stranger = from_world(&Ip::new(source, LOCAL, 17, udp(port, 5000, b"x")));
            if filtering == EndpointIndependent || (filtering == AddressDependent && source == SERVER) {
                assert_eq!(flow(&sent(&mut gateway, OUTSIDE, &stranger).1), (source, port, HOST, 5000));
            } else {
                assert_eq!(dropped(&mut gateway, OUTSIDE, &stranger), Why::Unasked);
            }
        }
        let nobody = from_world(&Ip::new(SERVER, LOCAL, 17, udp(53, 5001, b"x")));
        assert_eq!(dropped(&mut gateway, OUTSIDE, &nobody), Why::Unasked);
        let inside = from_world(&Ip::new(OTHER, LOCAL, 17, udp(53, 5000, b"x")));
        assert_eq!(dropped(&mut gateway, OUTSIDE, &inside), Why::SourceSpoofed);
    }
}

/// RFC 4787 §5: a host outside may send from any port as long as a session with it lasts, of the same port and protocol; what
/// such sessions take is given back with them.
#[test]
fn an_address_may_answer_as_long_as_a_session_with_it_lasts() {
    let mut settings = nat_settings();
    settings.nat.filtering = Filtering::AddressDependent;
    let mut gateway = gateway_with(settings);
    let from = |source, port| from_world(&Ip::new(source, LOCAL, 17, udp(port, 5000, b"x")));
    for _ in 0..100 {
        external(&mut gateway, HOST, 5000);
        external(&mut gateway, HOST, 6000);
        assert_eq!(flow(&sent(&mut gateway, OUTSIDE, &from(SERVER, 99)).1), (SERVER, 99, HOST, 5000));
        assert_eq!(dropped(&mut gateway, OUTSIDE, &from(SERVER_2, 99)), Why::Unasked);
        let by_tcp = from_world(&Ip::new(SERVER, LOCAL, 6, tcp(99, 5000, SYN, &[], &[])));
        assert_eq!(dropped(&mut gateway, OUTSIDE, &by_tcp), Why::Unasked, "each protocol by itself");
        // The session that was opened from outside lasts longest, and is one with that address like any other.
        wait(&mut gateway, 125);
        sent(&mut gateway, OUTSIDE, &from(SERVER, 100));
        wait(&mut gateway, 310 + 130);
        assert_eq!(gateway.state.counters.sessions_live, 0);
        assert_eq!(dropped(&mut gateway, OUTSIDE, &from(SERVER, 99)), Why::Unasked);
    }
}

/// RFC 5382 §5, REQ-5; RFC 7857 §2.
#[test]
fn tcp_lasts_as_long_as_its_state_says() {
    type Steps<'a> = &'a [(bool, u8)];
    let cases: [(&str, Steps<'_>, u64); 6] = [
        ("opening", &[(true, SYN)], 240),
        ("open", &[(true, SYN), (false, SYN | ACK), (true, ACK)], 7440),
        ("half closed", &[(true, SYN), (false, SYN | ACK), (true, FIN | ACK)], 7440),
        (
            "closed",
            &[(true, SYN), (false, SYN | ACK), (true, FIN | ACK), (false, FIN | ACK), (true, ACK)],
            240,
        ),
        ("reset", &[(true, SYN), (false, SYN | ACK), (false, RST)], 240),
        ("not truly reset", &[(true, SYN), (false, SYN | ACK), (false, RST), (true, ACK)], 7440),
    ];
    for (name, steps, lasts) in cases {
        let mut gateway = gateway();
        for &(out, flags) in steps {
            assert!(segment(&mut gateway, out, flags).is_some(), "{name}");
        }
        wait(&mut gateway, lasts - 2);
        assert_eq!(gateway.state.counters.sessions_live, 1, "{name}");
        wait(&mut gateway, 4);
        assert_eq!(gateway.state.counters.sessions_live, 0, "{name}");
        assert!(segment(&mut gateway, false, ACK).is_none(), "{name}");
    }
}

#[test]
fn a_syn_reopens_what_was_closing_and_nothing_else_opens() {
    let mut gateway = gateway();
    for flags in [ACK, FIN | ACK, RST, SYN | ACK, 0] {
        let packet = Ip::new(HOST, SERVER, 6, tcp(4000, 80, flags, &[], b""));
        assert_eq!(dropped(&mut gateway, INSIDE, &from_host(&packet)), Why::NatNoSession, "{flags:#x}");
    }
    for (out, flags) in [(true, SYN), (false, SYN | ACK), (true, FIN | ACK), (false, FIN | ACK), (true, SYN)]
    {
        assert!(segment(&mut gateway, out, flags).is_some());
    }
    assert!(segment(&mut gateway, false, SYN | ACK).is_some());
    wait(&mut gateway, 1000);
    assert!(segment(&mut gateway, true, ACK).is_some(), "open again");
}

/// A SYN to where nobody answers, sent again and again, keeps nothing for ever.
#[test]
fn a_repeated_syn_does_not_keep_a_session() {
    let mut gateway = gateway();
    for _ in 0..4 {
        segment(&mut gateway, true, SYN);
        wait(&mut gateway, 59);
    }
    wait(&mut gateway, 5);
    assert_eq!(gateway.state.counters.sessions_live, 0);
}

/// RFC 5508 §3.1, REQ-1.
#[test]
fn pings_are_told_apart_by_their_identifiers() {
    let mut gateway = gateway();
    let mut ids = Vec::new();
    for host in [HOST, OTHER] {
        let ping = Ip::new(host, SERVER, 1, icmp(8, 0, 0x2a2a_0001, b"payload"));
        let frame = if host == HOST { from_host(&ping) } else { from_other(&ping) };
        let (_, frame) = sent(&mut gateway, INSIDE, &frame);
        assert_eq!(word(&frame, 12), LOCAL);
        ids.push((word(&frame, 24) >> 16, host));
    }
    assert_ne!(ids[0].0, ids[1].0);
    for (id, host) in ids {
        let pong = Ip::new(SERVER, LOCAL, 1, icmp(0, 0, id << 16 | 1, b"payload"));
        let (_, frame) = sent(&mut gateway, OUTSIDE, &from_world(&pong));
        assert_eq!((word(&frame, 16), word(&frame, 24)), (host, 0x2a2a_0001));
    }
    let unasked = Ip::new(HOST, SERVER, 1, icmp(0, 0, 0x2b2b_0001, b""));
    assert_eq!(dropped(&mut gateway, INSIDE, &from_host(&unasked)), Why::NatNoSession);
}

/// RFC 5508 §4: from the other host and from routers, with as little as 8 bytes of TCP.
#[test]
fn errors_are_translated_with_what_they_quote() {
    let mut gateway = gateway();
    external(&mut gateway, HOST, 5000);
    let other = external(&mut gateway, OTHER, 5000);
    segment(&mut gateway, true, SYN);
    let quoted = |protocol, payload: Vec<u8>| Ip::new(LOCAL, SERVER, protocol, payload).ttl(1).bytes();
    for (sender, quoted, host, port) in [
        (SERVER, quoted(17, udp(5000, 53, b"q")), HOST, 5000u32),
        (WAYPOINT, quoted(17, udp(5000, 53, b"q")), HOST, 5000),
        (WAYPOINT, quoted(17, udp(other, 53, b"q")), OTHER, 5000),
        (WAYPOINT, quoted(6, tcp(4000, 80, SYN, &[], b"x"))[..28].to_vec(), HOST, 4000),
    ] {
        let error = Ip::new(sender, LOCAL, 1, icmp(11, 0, 0, &quoted));
        let (_, frame) = sent(&mut gateway, OUTSIDE, &from_world(&error));
        assert_eq!((word(&frame, 12), word(&frame, 16)), (sender, host));
        assert_eq!((word(&frame, 28 + 12), word(&frame, 28 + 16)), (host, SERVER));
        assert_eq!(word(&frame, 28 + 20) >> 16, port);
        assert_eq!(checksum(&frame[42..62]), 0, "the quoted header");
        if frame.len() > 70 {
            let segment = &frame[62..];
            assert_eq!(l4_checksum(host, SERVER, 17, segment), 0, "what is quoted of UDP");
        }
    }
    let about_nothing = quoted(17, udp(5999, 53, b"q"));
    let error = Ip::new(WAYPOINT, LOCAL, 1, icmp(11, 0, 0, &about_nothing));
    let (verdict, _) = gateway.one(OUTSIDE, &from_world(&error));
    assert!(!matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
}

/// RFC 5508 §4.2, REQ-5: of the host, and of an inside router that is not the session's host.
#[test]
fn errors_from_inside_come_from_the_external_address() {
    let mut gateway = gateway();
    external(&mut gateway, OTHER, 5000);
    let mapped = external(&mut gateway, HOST, 5000);
    let quoted = Ip::new(SERVER, HOST, 17, udp(53, 5000, b"answer")).bytes();
    for sender in [HOST, 0x0a00_0077] {
        let error = Ip::new(sender, SERVER, 1, icmp(3, 3, 0, &quoted));
        let (port, frame) = sent(&mut gateway, INSIDE, &from_host(&error));
        assert_eq!((port, word(&frame, 12), word(&frame, 16)), (OUTSIDE, LOCAL, SERVER));
        assert_eq!((word(&frame, 28 + 12), word(&frame, 28 + 16)), (SERVER, LOCAL));
        assert_eq!(word(&frame, 28 + 20) & 0xffff, u32::from(mapped));
        assert_eq!((checksum(&frame[42..62]), l4_checksum(SERVER, LOCAL, 17, &frame[62..])), (0, 0));
    }
}

/// RFC 4787 §11, REQ-14.
#[test]
fn fragments_follow_their_first_one_both_ways() {
    let mut gateway = gateway();
    external(&mut gateway, OTHER, 5000);
    let whole = Ip::new(HOST, SERVER, 17, udp(5000, 53, &[7; 64]));
    let bytes = whole.bytes()[20..].to_vec();
    let part = |from: usize, to: usize, fragment| {
        let mut part = Ip::new(HOST, SERVER, 17, bytes[from..to].to_vec()).fragment(fragment).raw();
        part.id = 77;
        part
    };
    let (_, first) = sent(&mut gateway, INSIDE, &from_host(&part(0, 40, 0x2000)));
    let (_, second) = sent(&mut gateway, INSIDE, &from_host(&part(40, 72, 5)));
    let mapped = (word(&first, 20) >> 16) as u16;
    assert!(mapped != 5000 && word(&second, 12) == LOCAL);
    let datagram = [&first[34..], &second[34..]].concat();
    assert_eq!(l4_checksum(LOCAL, SERVER, 17, &datagram), 0);

    let answer = Ip::new(SERVER, LOCAL, 17, udp(53, mapped, &[8; 64])).bytes()[20..].to_vec();
    let part = |from: usize, to: usize, fragment| {
        let mut part = Ip::new(SERVER, LOCAL, 17, answer[from..to].to_vec()).fragment(fragment).raw();
        part.id = 78;
        from_world(&part)
    };
    let (_, first) = sent(&mut gateway, OUTSIDE, &part(0, 40, 0x2000));
    let (_, second) = sent(&mut gateway, OUTSIDE, &part(40, 72, 5));
    assert_eq!((word(&first, 16), word(&second, 16), word(&first, 20) as u16), (HOST, HOST, 5000));
    assert_eq!(l4_checksum(SERVER, HOST, 17, &[&first[34..], &second[34..]].concat()), 0);
}

#[test]
fn fragments_ahead_of_their_first_one_wait_for_it() {
    let mut gateway = gateway();
    external(&mut gateway, HOST, 5000);
    let whole = Ip::new(SERVER, LOCAL, 17, udp(53, 5000, &[8; 64])).bytes()[20..].to_vec();
    let part = |source, destination, from: usize, to: usize, fragment| {
        let mut part = Ip::new(source, destination, 17, whole[from..to].to_vec()).fragment(fragment).raw();
        part.id = 79;
        part
    };
    let later = from_world(&part(SERVER, LOCAL, 40, 72, 5));
    assert!(matches!(gateway.one(OUTSIDE, &later).0, Verdict::HoldLater(_)));
    assert_eq!(gateway.state.take_came(), None);
    sent(&mut gateway, OUTSIDE, &from_world(&part(SERVER, LOCAL, 0, 40, 0x2000)));
    assert!(gateway.state.take_came().is_some(), "what waits goes on");
    assert_eq!(word(&sent(&mut gateway, OUTSIDE, &later).1, 16), HOST);
    let outward = from_host(&part(HOST, SERVER, 40, 72, 5));
    assert!(matches!(gateway.one(INSIDE, &outward).0, Verdict::HoldLater(_)));
    let elsewhere = from_world(&part(SERVER, LOCAL + 1, 40, 72, 5));
    assert!(matches!(gateway.one(OUTSIDE, &elsewhere).0, Verdict::Drop(_)), "no host's address");
}

/// P9: whose a later fragment of ICMP is, its first one says: a host's, the gateway's, or nobody's.
#[test]
fn p9_later_fragments_of_icmp_wait_for_the_first_one_to_say_whose_they_are() {
    let mut gateway = gateway();
    let echo = Ip::new(HOST, SERVER, 1, icmp(8, 0, 7 << 16, &[1; 16]));
    let (_, out) = sent(&mut gateway, INSIDE, &from_host(&echo));
    let id = (word(&out, 24) >> 16) as u16;
    let part = |kind: u8, id: u16, number: u16, at: usize| {
        let whole = icmp(kind, 0, u32::from(id) << 16, &[8; 32]);
        let (from, to, fragment) = [(0, 24, 0x2000), (24, 32, 0x2003), (32, 40, 4)][at];
        let mut part = Ip::new(SERVER, LOCAL, 1, whole[from..to].to_vec()).fragment(fragment).raw();
        part.id = number;
        from_world(&part)
    };
    // An answer to the host, backwards.
    for at in [2, 1] {
        assert!(matches!(gateway.one(OUTSIDE, &part(0, id, 5, at)).0, Verdict::HoldLater(_)));
    }
    assert_eq!(word(&sent(&mut gateway, OUTSIDE, &part(0, id, 5, 0)).1, 16), HOST);
    assert!(gateway.state.take_came().is_some());
    for at in [1, 2] {
        assert_eq!(word(&sent(&mut gateway, OUTSIDE, &part(0, id, 5, at)).1, 16), HOST);
    }
    // An echo request to the gateway, backwards: all of it is the kernel's, and nothing of it the host's with the same number.
    for (number, other) in [(6, id.wrapping_add(1)), (7, 0)] {
        let kernel = |verdict| matches!(verdict, Verdict::Punt(PuntClass::Icmp));
        assert!(matches!(gateway.one(OUTSIDE, &part(8, other, number, 2)).0, Verdict::HoldLater(_)));
        assert!(kernel(gateway.one(OUTSIDE, &part(8, other, number, 0)).0));
        assert!(gateway.state.take_came().is_some());
        assert!(kernel(gateway.one(OUTSIDE, &part(8, other, number, 2)).0));
        assert!(kernel(gateway.one(OUTSIDE, &part(8, other, number, 1)).0));
    }
    // A first one that nobody takes takes none of the others along.
    assert_eq!(dropped(&mut gateway, OUTSIDE, &part(13, 9, 8, 0)), Why::Unasked);
    assert!(gateway.state.take_came().is_none());
    assert!(matches!(gateway.one(OUTSIDE, &part(13, 9, 8, 1)).0, Verdict::HoldLater(_)));
}

/// RFC 4787 §6, REQ-9: hosts meet at their external addresses, and see one another there.
#[test]
fn what_is_for_a_hosts_external_port_turns_back() {
    let mut gateway = gateway();
    external(&mut gateway, HOST, 5000);
    let other = external(&mut gateway, OTHER, 5000);
    let to_other = Ip::new(HOST, LOCAL, 17, udp(5000, other, b"hello"));
    assert_eq!(
        dropped(&mut gateway, INSIDE, &from_host(&to_other)),
        Why::Unasked,
        "nobody there asked for it"
    );
    let to_host_ = Ip::new(OTHER, LOCAL, 17, udp(5000, 5000, b"hello"));
    let (port, frame) = sent(&mut gateway, INSIDE, &from_other(&to_host_));
    assert_eq!((port, flow(&frame)), (INSIDE, (LOCAL, other, HOST, 5000)));
    assert_eq!((&frame[..6], frame[22]), (&MAC_HOST[..], 63));
    let (port, frame) = sent(&mut gateway, INSIDE, &from_host(&to_other));
    assert_eq!((port, flow(&frame)), (INSIDE, (LOCAL, 5000, OTHER, 5000)));
    assert_eq!(&frame[..6], &MAC_OTHER);
}

/// P2: what a host sends that goes no further is told to it, whichever way that would have gone: a route that is gone under a
/// session, an address of ours at which there is nobody. There a SYN waits as one from the world does (RFC 5382 §4.3, REQ-4), so
/// that two hosts may open the same connection from both sides; a datagram, which may do so too, is never answered.
#[test]
fn p2_a_host_is_told_what_goes_no_further() {
    let told = |gateway: &mut Gateway, packet: &Ip| match gateway.one(INSIDE, &from_host(packet)) {
        (Verdict::Reply(egress, why), out) => {
            assert_sound(&out[0].1);
            assert_eq!((egress.port, word(&out[0].1, 16), out[0].1[34]), (INSIDE, HOST, 3));
            Ok((why, out[0].1[35]))
        }
        (verdict, _) => Err(verdict),
    };
    let mut gateway = gateway();
    let packet = Ip::new(HOST, SERVER, 17, udp(5001, 53, b"q"));
    sent(&mut gateway, INSIDE, &from_host(&packet));
    let fib = Fib::of(&[Route { network: 0x0a00_0000, prefix: 24, next: Next::OnLink(INSIDE) }], 2);
    gateway.state.move_in(&mut Premises::new(&nat_settings()).with_routes(Arc::new(fib)));
    assert_eq!(told(&mut gateway, &packet), Ok((Why::NoRoute, 0)));

    let mut settings = nat_settings();
    settings.nat.tell_unasked = true;
    settings.pool = vec![address(LOCAL + 2)];
    settings.pool_room = PoolRoom { addresses: 1, reservations: 8, unwanted: 8 };
    let mut gateway = gateway_with(settings);
    let syn = |to| Ip::new(HOST, to, 6, tcp(5000, 6000, SYN, &[], b""));
    assert_eq!(told(&mut gateway, &syn(LOCAL + 2)), Ok((Why::PoolUnreserved, 1)));
    assert_eq!(
        told(&mut gateway, &Ip::new(HOST, LOCAL, 17, udp(5000, 99, b"x"))),
        Err(Verdict::Drop(Why::Unasked))
    );
    assert!(matches!(told(&mut gateway, &syn(LOCAL)), Err(Verdict::HoldUnasked(_))));
    let later = |gateway: &mut Gateway| {
        let arrival = Arrival { attempt: Attempt::Unasked, ..Arrival::at(INSIDE, gateway.now) };
        let (mut frames, mut verdicts) = ([MemoryFrame::new(&from_host(&syn(LOCAL)))], [Verdict::Absorb]);
        process_arrival(&mut gateway.state, arrival, &mut frames, &mut verdicts, &mut gateway.wire);
        (verdicts[0], frames[0].data().to_vec())
    };
    let (verdict, frame) = later(&mut gateway);
    assert!(matches!(verdict, Verdict::Reply(_, Why::Unasked)), "{verdict:?}");
    assert_eq!((word(&frame, 12), word(&frame, 16), &frame[34..36]), (LOCAL, HOST, &[3, 3][..]));
    // The other host has opened the same connection meanwhile: its own SYN is under way.
    sent(&mut gateway, INSIDE, &from_other(&Ip::new(OTHER, LOCAL, 6, tcp(6000, 5000, SYN, &[], b""))));
    assert_eq!(later(&mut gateway).0, Verdict::Drop(Why::Unasked));
}

/// Two hosts that talk by their external addresses: nobody outside takes part in that with one of those.
#[test]
fn p4_addresses_under_which_hosts_are_seen_do_not_arrive_outside() {
    let mut gateway = gateway();
    external(&mut gateway, HOST, 5000);
    let other = external(&mut gateway, OTHER, 5000);
    let first = Ip::new(HOST, LOCAL, 17, udp(5000, other, b"hello"));
    assert_eq!(dropped(&mut gateway, INSIDE, &from_host(&first)), Why::Unasked);
    sent(&mut gateway, INSIDE, &from_other(&Ip::new(OTHER, LOCAL, 17, udp(5000, 5000, b"hello"))));
    sent(&mut gateway, INSIDE, &from_host(&Ip::new(HOST, LOCAL, 17, udp(5000, other, b"hello"))));
    for packet in [
        Ip::new(LOCAL, LOCAL, 17, udp(5000, other, b"forged")),
        Ip::new(LOCAL, LOCAL, 17, udp(other, 5000, b"forged")),
    ] {
        for _ in 0..2 {
            let why = dropped(&mut gateway, OUTSIDE, &from_world(&packet));
            assert!(matches!(why, Why::SourceSpoofed | Why::SourceInvalid), "{why:?}");
        }
    }
    sent(&mut gateway, INSIDE, &from_host(&Ip::new(HOST, LOCAL, 17, udp(5000, other, b"hello"))));
    // Nor does the gateway answer there.
    let mut settings = nat_settings();
    settings.nat.addresses = vec![address(LOCAL), address(LOCAL + 1)];
    let mut gateway = gateway_with(settings);
    let ping = Ip::new(LOCAL + 1, LOCAL, 1, icmp(8, 0, 7, b"abc"));
    assert_eq!(dropped(&mut gateway, OUTSIDE, &from_world(&ping)), Why::SourceSpoofed);
}

/// Two hosts with tunnels of their own; two with the same other end cannot be told apart.
#[test]
fn protocols_without_ports_go_by_their_addresses() {
    let mut gateway = gateway();
    // What the tests look into where it is GRE is a tunnel's.
    let mut translated = |port, frame: &[u8]| {
        let (verdict, out) = gateway.one(port, frame);
        match verdict {
            Verdict::Forward(_) => Ok((word(&out[0].1, 12), word(&out[0].1, 16))),
            Verdict::Reply(_, why) => Err(why),
            other => panic!("{other:?}"),
        }
    };
    for protocol in [47u8, 50, 132] {
        let out = from_host(&Ip::new(HOST, SERVER, protocol, vec![1; 24]));
        assert_eq!(translated(INSIDE, &out), Ok((LOCAL, SERVER)));
        let back = from_world(&Ip::new(SERVER, LOCAL, protocol, vec![2; 24]));
        assert_eq!(translated(OUTSIDE, &back), Ok((SERVER, HOST)));
        let second = from_other(&Ip::new(OTHER, SERVER, protocol, vec![1; 24]));
        assert_eq!(translated(INSIDE, &second), Err(Why::NatTaken));
        let elsewhere = from_other(&Ip::new(OTHER, SERVER_2, protocol, vec![1; 24]));
        assert_eq!(translated(INSIDE, &elsewhere), Ok((LOCAL, SERVER_2)));
    }
}

#[test]
fn hops_count_and_packets_fit() {
    let mut gateway = gateway();
    external(&mut gateway, HOST, 5000);
    let late = Ip::new(HOST, SERVER, 17, udp(5000, 53, b"q")).ttl(1);
    let (verdict, out) = gateway.one(INSIDE, &from_host(&late));
    assert!(matches!(verdict, Verdict::Reply(_, Why::TtlExceeded)), "{verdict:?}");
    assert_eq!((out[0].0, out[0].1[34]), (INSIDE, 11));
    let first = Ip::new(OTHER, SERVER, 17, udp(5000, 53, b"q")).ttl(1);
    let (verdict, _) = gateway.one(INSIDE, &from_other(&first));
    assert!(matches!(verdict, Verdict::Reply(_, Why::TtlExceeded)), "{verdict:?}: and no session");
    gateway.state.take_stock();
    assert_eq!(gateway.state.counters.sessions_live, 1);
    let large = Ip::new(HOST, SERVER, 17, udp(5000, 53, &[0; 1600]));
    let (verdict, out) = gateway.one(INSIDE, &from_host(&large));
    assert!(matches!(verdict, Verdict::Reply(_, Why::TooBig)), "{verdict:?}");
    assert_eq!(word(&out[0].1, 24) & 0xffff, 1500);
    let (verdict, out) = gateway.one(INSIDE, &from_host(&large.fragment(0)));
    assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
    assert_eq!(out.len(), 2);
    let mut parts: Vec<_> = out.into_iter().map(|(_, frame)| frame).collect();
    parts.sort_by_key(|frame| word(frame, 4) & 0x1fff);
    let datagram: Vec<u8> = parts.iter().flat_map(|frame| frame[34..].to_vec()).collect();
    assert_eq!(l4_checksum(LOCAL, SERVER, 17, &datagram), 0);
}

#[test]
fn options_come_out_as_they_went_in() {
    let mut gateway = gateway();
    let packet = Ip::new(HOST, SERVER, 17, udp(5000, 53, b"q")).options(&[0x94, 4, 0, 0]);
    for _ in 0..2 {
        let (_, frame) = sent(&mut gateway, INSIDE, &from_host(&packet));
        let out = Ip::new(LOCAL, SERVER, 17, udp(5000, 53, b"q")).options(&[0x94, 4, 0, 0]).ttl(63);
        assert_eq!(&frame[14..], &out.bytes()[..]);
    }
}

/// RFC 6888 §3, REQ-4: limits by host. Who wants more is told.
#[test]
fn one_host_cannot_take_everything() {
    let mut settings = nat_settings();
    (settings.nat.host_sessions, settings.nat.host_ports) = (5, 3);
    let mut gateway = gateway_with(settings);
    for port in 5000..5003 {
        external(&mut gateway, HOST, port);
    }
    let fourth = from_host(&Ip::new(HOST, SERVER, 17, udp(5003, 53, b"q")));
    let (verdict, out) = gateway.one(INSIDE, &fourth);
    assert!(matches!(verdict, Verdict::Reply(_, Why::NatHostLimit)), "{verdict:?}");
    assert_eq!(out[0].1[34..36], [3, 13]);
    for (port, fits) in [(54, true), (55, true), (56, false)] {
        let packet = from_host(&Ip::new(HOST, SERVER, 17, udp(5000, port, b"q")));
        let (verdict, _) = gateway.one(INSIDE, &packet);
        assert_eq!(matches!(verdict, Verdict::Forward(_)), fits, "{verdict:?}");
    }
    external(&mut gateway, OTHER, 6000);
}

#[test]
fn a_port_rests_before_another_host_gets_it() {
    let mut gateway = gateway();
    external(&mut gateway, HOST, 5000);
    wait(&mut gateway, 125);
    assert_eq!(gateway.state.counters.sessions_live, 0);
    assert_ne!(external(&mut gateway, OTHER, 5000), 5000, "RFC 6888 §3, REQ-8");
    wait(&mut gateway, 121);
    assert_eq!(external(&mut gateway, HOST, 5000), 5000);
}

#[test]
fn what_is_on_a_link_is_asked_for_and_routes_move() {
    let mut gateway = gateway();
    let near = LOCAL + 7;
    let packet = from_host(&Ip::new(HOST, near, 17, udp(5000, 53, b"q")));
    assert!(matches!(gateway.one(INSIDE, &packet).0, Verdict::Hold(_)));
    assert_eq!(gateway.events(), [Event::Wanted(address(near))]);
    gateway.command(Command::Reach(address(near), ROUTER));
    sent(&mut gateway, INSIDE, &packet);
    external(&mut gateway, HOST, 5001);
    // The default route goes: nobody is sent along it any more.
    let fib = Fib::of(&[Route { network: 0x0a00_0000, prefix: 24, next: Next::OnLink(INSIDE) }], 2);
    let mut premises = Premises::new(&nat_settings()).with_routes(Arc::new(fib));
    gateway.state.move_in(&mut premises);
    let packet = from_host(&Ip::new(HOST, SERVER, 17, udp(5001, 53, b"q")));
    assert_eq!(dropped(&mut gateway, INSIDE, &packet), Why::NoRoute);
    // And comes back by another router.
    let fib = Fib::of(&[Route { network: 0, prefix: 0, next: Next::Via(HopId(2)) }], 3);
    let mut premises = Premises::new(&nat_settings()).with_routes(Arc::new(fib));
    gateway.state.move_in(&mut premises);
    assert_eq!(&sent(&mut gateway, INSIDE, &packet).1[..6], &MAC_OTHER);
}

#[test]
fn without_an_address_nobody_goes_out() {
    let mut settings = nat_settings();
    settings.nat.addresses.clear();
    let mut gateway = gateway_with(settings);
    let packet = from_host(&Ip::new(HOST, SERVER, 17, udp(5000, 53, b"q")));
    assert_eq!(dropped(&mut gateway, INSIDE, &packet), Why::NatNoAddress);
}

#[test]
fn sessions_are_told_in_pages() {
    let mut settings = nat_settings();
    settings.nat_room = NatRoom { sessions: 3000, mappings: 3000, hosts: 8, addresses: 1 };
    let mut gateway = gateway_with(settings);
    for port in 5000..5200 {
        external(&mut gateway, HOST, port);
    }
    let (mut from, mut ports) = (Some(0), Vec::new());
    while let Some(slot) = from {
        gateway.command(Command::ReadRows(NatTable::Sessions, 7, slot));
        let events = gateway.events();
        assert!(events.len() <= 65);
        for event in events {
            match event {
                Event::Row(7, NatRow::Session(session)) => {
                    assert_eq!((session.host.0, session.remote), (address(HOST), (address(SERVER), 53)));
                    assert_eq!(
                        (session.external, session.packets),
                        ((address(LOCAL), session.host.1), [1, 0])
                    );
                    ports.push(session.host.1);
                }
                Event::RowsRead(7, next) => from = next,
                other => panic!("{other:?}"),
            }
        }
    }
    ports.sort_unstable();
    assert_eq!(ports, (5000..5200).collect::<Vec<_>>());
    gateway.command(Command::ReadRows(NatTable::Sessions, 8, 99_999));
    assert_eq!(gateway.events(), [Event::RowsRead(8, None)]);
}

/// RFC 7857 §12: an error about what a host has sent to another's external address comes back to it, from that address, about
/// what it has sent; of the other host, and of a router behind; about datagrams, segments and queries.
#[test]
fn errors_turn_back_inside() {
    let mut gateway = gateway();
    let mapped = external(&mut gateway, HOST, 5000);
    let other = external(&mut gateway, OTHER, 6001);
    gateway.one(INSIDE, &from_other(&Ip::new(OTHER, LOCAL, 17, udp(6001, mapped, b"x"))));
    let (_, there) =
        sent(&mut gateway, INSIDE, &from_host(&Ip::new(HOST, LOCAL, 17, udp(5000, other, b"x"))));
    assert_eq!(flow(&there), (LOCAL, mapped, OTHER, 6001));
    for (sender, frame) in [(OTHER, from_other as fn(&Ip) -> Vec<u8>), (0x0a00_0063, from_other)] {
        for quotes in [28, there.len() - 14] {
            let error = Ip::new(sender, LOCAL, 1, icmp(3, 3, 0, &there[14..14 + quotes]));
            let (port, frame) = sent(&mut gateway, INSIDE, &frame(&error));
            assert_eq!((port, word(&frame, 12), word(&frame, 16)), (INSIDE, LOCAL, HOST));
            let quoted = &frame[42..];
            assert_eq!(quoted[12..16], HOST.to_be_bytes());
            assert_eq!(quoted[16..20], LOCAL.to_be_bytes());
            assert_eq!(quoted[20..24], (5000u32 << 16 | u32::from(other)).to_be_bytes());
            assert_eq!(checksum(&quoted[..20]), 0, "of the quoted header");
        }
    }
    // About what nobody has sent.
    let forged = Ip::new(LOCAL, OTHER, 17, udp(mapped + 2, 6001, b"x")).bytes();
    let error = from_other(&Ip::new(OTHER, LOCAL, 1, icmp(3, 3, 0, &forged)));
    assert!(!matches!(gateway.one(INSIDE, &error).0, Verdict::Forward(_)));
}

/// A host's port is one of its worker's, so whatever comes back is handed to that worker; errors, too.
#[test]
fn answers_find_the_worker_of_their_host() {
    let mut workers = [0, 1, 2].map(|worker| {
        let mut settings = nat_settings();
        (settings.worker, settings.workers) = (worker, 3);
        settings.layout = ces_dataplane::tag::Layout::new(3, 64);
        gateway_with(settings)
    });
    // Whatever worker it arrives at.
    let mut carried = |first: usize, port: u8, frame: &[u8]| {
        let (mut verdict, mut out) = workers[first].one(port, frame);
        let mut owner = first;
        if let Verdict::HandOff(worker) = verdict {
            owner = worker.into();
            (verdict, out) = workers[owner].one(port, frame);
        }
        assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
        assert_sound(&out[0].1);
        (owner, out.remove(0).1)
    };
    for first in 0..3 {
        for (host, from) in [(HOST, from_host as fn(&Ip) -> Vec<u8>), (OTHER, from_other)] {
            let port = 5000 + first as u16;
            let out = from(&Ip::new(host, SERVER, 17, udp(port, 53, b"q")));
            let (owner, frame) = carried(first, INSIDE, &out);
            let mapped = flow(&frame).1;
            assert_eq!(
                ces_dataplane::tag::worker_of_port(mapped, ces_dataplane::tag::PORT_BITS, 3) as usize,
                owner
            );
            let back = from_world(&Ip::new(SERVER, LOCAL, 17, udp(53, mapped, b"a")));
            let quoted = Ip::new(LOCAL, SERVER, 17, udp(mapped, 53, b"q")).bytes();
            let error = from_world(&Ip::new(WAYPOINT, LOCAL, 1, icmp(3, 1, 0, &quoted)));
            let ping = from(&Ip::new(host, SERVER, 1, icmp(8, 0, 0x2a2a_0001, b"ping")));
            let id = word(&carried(first, INSIDE, &ping).1, 24) >> 16;
            let pong = from_world(&Ip::new(SERVER, LOCAL, 1, icmp(0, 0, id << 16 | 1, b"ping")));
            for answer in [&back, &error, &pong] {
                for arrival in 0..3 {
                    let (worker, frame) = carried(arrival, OUTSIDE, answer);
                    assert_eq!((worker, word(&frame, 16)), (owner, host));
                }
            }
        }
    }
}

mod properties {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug)]
    enum Operation {
        /// A packet of a host: which, from which port, to which server and port.
        Out {
            host: u32,
            port: u16,
            server: u32,
            to: u16,
            tcp: bool,
        },
        /// An answer to the flow that went out as the so-manieth.
        Back {
            which: usize,
        },
        /// From a stranger to a port.
        Strange {
            port: u16,
            tcp: bool,
        },
        Wait {
            seconds: u64,
        },
    }

    fn operation() -> impl Strategy<Value = Operation> {
        prop_oneof![
            6 => (0u32..6, 5000u16..5004, 0u32..3, 80u16..82, any::<bool>()).prop_map(
                |(host, port, server, to, tcp)| Operation::Out { host, port, server, to, tcp }
            ),
            4 => any::<prop::sample::Index>().prop_map(|index| Operation::Back { which: index.index(1 << 16) }),
            1 => (1024u16..1100, any::<bool>()).prop_map(|(port, tcp)| Operation::Strange { port, tcp }),
            1 => (1u64..200).prop_map(|seconds| Operation::Wait { seconds }),
        ]
    }

    /// A host's port, by protocol.
    type Inside = (u32, u16, bool);

    /// Ports of a block, where there are any.
    const BLOCK: u16 = 4;

    /// Whose blocks are, as records tell: each was nobody's when it was given, and its host's when it was taken back.
    fn told(gateway: &mut Gateway, blocks: &mut BTreeMap<u16, u32>) -> Result<(), TestCaseError> {
        while let Some(record) = gateway.state.peek_record().copied() {
            gateway.state.pop_record();
            let (block, host) = (record.external.1 / BLOCK, record.host.0.to_bits());
            match record.what {
                Recorded::Created => prop_assert_eq!(blocks.insert(block, host), None),
                Recorded::Ended => prop_assert_eq!(blocks.remove(&block), Some(host)),
                Recorded::Refused(_) => {}
            }
        }
        Ok(())
    }

    proptest! {
        /// In a NAT whose tables, ports and quotas are too small for all: what a host's port is outside belongs to it alone,
        /// and is the same for everybody as long as it is used; what comes back reaches who sent, as it was sent; a stranger
        /// reaches nobody; every packet has one fate. With blocks of ports, records say whose each is.
        #[test]
        fn ports_have_one_owner_and_answers_find_it(
            by_blocks: bool,
            operations in proptest::collection::vec(operation(), 1..200),
        ) {
            let mut settings = nat_settings();
            settings.nat_room = NatRoom { sessions: 24, mappings: 12, hosts: 5, addresses: 1 };
            settings.nat.ports = (1024, 1039);
            (settings.nat.host_sessions, settings.nat.host_ports) = (9, 4);
            if by_blocks {
                (settings.nat.block_ports, settings.nat.host_blocks) = (BLOCK, 2);
                settings.recording = Recording::Blocks;
            }
            let mut blocks = BTreeMap::new();
            settings.neighbours = 16;
            let mut gateway = gateway_with(settings);
            for host in 0..6 {
                let hop = HopId(4 + host);
                gateway.command(Command::SetHop(hop, Neighbour { port: INSIDE, mac: Some(MAC_HOST), pin: None }));
                gateway.command(Command::Reach(address(HOST + host), hop));
            }
            let segment = |from, to, tcp_: bool, flags| {
                if tcp_ { (6, tcp(from, to, flags, &[], b"x")) } else { (17, udp(from, to, b"x")) }
            };
            // What went out last of each port, and all flows that did: inside, and as seen outside.
            let mut owners: BTreeMap<(u16, bool), Inside> = BTreeMap::new();
            let mut flows: Vec<(Inside, (u32, u16), u16)> = Vec::new();
            let (mut packets, mut forwarded) = (0, 0);
            for operation in operations {
                match operation {
                    Operation::Out { host, port, server, to, tcp } => {
                        let (protocol, payload) = segment(port, to, tcp, SYN);
                        let (source, server) = (HOST + host, SERVER + server);
                        packets += 1;
                        let (verdict, out) =
                            gateway.one(INSIDE, &from_host(&Ip::new(source, server, protocol, payload)));
                        let Verdict::Forward(_) = verdict else { continue };
                        forwarded += 1;
                        assert_sound(&out[0].1);
                        let (external, mapped, remote, remote_port) = flow(&out[0].1);
                        prop_assert_eq!((external, remote, remote_port), (LOCAL, server, to));
                        prop_assert!((1024..1040).contains(&mapped));
                        told(&mut gateway, &mut blocks)?;
                        prop_assert!(!by_blocks || blocks.get(&(mapped / BLOCK)) == Some(&source));
                        let inside = (source, port, tcp);
                        // Others may have had it, when their sessions were over.
                        flows.retain(|(other, _, theirs)| {
                            (*theirs, other.2) != (mapped, tcp) || *other == inside
                        });
                        flows.retain(|(other, _, theirs)| *other != inside || *theirs == mapped);
                        owners.insert((mapped, tcp), inside);
                        flows.push((inside, (server, to), mapped));
                    }
                    Operation::Back { which } => {
                        let Some(&(inside, (server, from), mapped)) = flows.get(which % flows.len().max(1)) else {
                            continue;
                        };
                        let (protocol, payload) = segment(from, mapped, inside.2, SYN | ACK);
                        packets += 1;
                        let (verdict, out) =
                            gateway.one(OUTSIDE, &from_world(&Ip::new(server, LOCAL, protocol, payload)));
                        forwarded += u64::from(matches!(verdict, Verdict::Forward(_) | Verdict::Punt(_)));
                        // It may be over; then it may belong to a connection of the gateway's own.
                        let Verdict::Forward(_) = verdict else { continue };
                        assert_sound(&out[0].1);
                        prop_assert_eq!(flow(&out[0].1), (server, from, inside.0, inside.1));
                        prop_assert_eq!(owners[&(mapped, inside.2)], inside);
                    }
                    Operation::Strange { port, tcp } => {
                        let (protocol, payload) = segment(999, port, tcp, SYN);
                        packets += 1;
                        let stranger = from_world(&Ip::new(0x0b0b_0b0b, LOCAL, protocol, payload));
                        prop_assert_eq!(gateway.one(OUTSIDE, &stranger).0, Verdict::Drop(Why::Unasked));
                    }
                    Operation::Wait { seconds } => wait(&mut gateway, seconds),
                }
                gateway.state.tick(gateway.now);
                gateway.state.take_stock();
                let counters = &gateway.state.counters;
                prop_assert!(counters.sessions_live <= 24 && counters.mappings_live <= 12 && counters.nat_hosts <= 5);
                prop_assert!(counters.mappings_live <= counters.sessions_live);
            }
            prop_assert_eq!(gateway.state.counters.dropped() + forwarded, packets);
            wait(&mut gateway, 8000);
            told(&mut gateway, &mut blocks)?;
            prop_assert!(blocks.is_empty() && gateway.state.counters.nat_blocks == 0);
            let counters = &gateway.state.counters;
            prop_assert_eq!((counters.sessions_live, counters.mappings_live, counters.nat_hosts), (0, 0, 0));
        }
    }
}
