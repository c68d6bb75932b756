//! NAT44 when there is no room left: who gets what is left, what gives way, and what goes on.
#![allow(missing_docs)]

mod common;

use ces_dataplane::msg::{Command, Event, NatRow, NatTable, PuntClass};
use ces_dataplane::reason::DropReason as Why;
use ces_dataplane::settings::NatRoom;
use ces_dataplane::verdict::Verdict;
use common::nat::*;
use common::*;

/// A datagram of a host to the server.
fn asks(host: u32, from: u16, to: u16) -> Vec<u8> {
    let packet = Ip::new(host, SERVER, 17, udp(from, to, b"q"));
    if host == HOST { from_host(&packet) } else { from_other(&packet) }
}

/// Opens a session, and has it answered: it gives way to nobody. Returns its external port.
fn talks(gateway: &mut Gateway, host: u32, from: u16, to: u16) -> u16 {
    let port = flow(&sent(gateway, INSIDE, &asks(host, from, to)).1).1;
    sent(gateway, OUTSIDE, &from_world(&Ip::new(SERVER, LOCAL, 17, udp(to, port, b"a"))));
    port
}

fn sessions(gateway: &mut Gateway) -> (u64, u64) {
    gateway.state.take_stock();
    (gateway.state.counters.sessions_live, gateway.state.counters.sessions_displaced)
}

/// Who wants what there is not is told so, whatever goes on (RFC 6888 §3, REQ-11; RFC 5508 §7, REQ-8).
fn told(gateway: &mut Gateway, frame: &[u8], why: Why) {
    let (verdict, out) = gateway.one(INSIDE, frame);
    assert!(matches!(verdict, Verdict::Reply(_, reason) if reason == why), "{verdict:?}");
    assert_eq!(out[0].1[34..36], [3, 13]);
}

/// The gateway's own traffic has nothing to do with it.
fn gateway_is_reached(gateway: &mut Gateway) {
    let query = from_host(&Ip::new(HOST, GATEWAY, 17, udp(40_000, 53, &[0; 12])));
    assert_eq!(gateway.one(INSIDE, &query).0, Verdict::Punt(PuntClass::Dns));
    let ping = from_host(&Ip::new(HOST, GATEWAY, 1, icmp(8, 0, 7, b"")));
    assert_eq!(gateway.one(INSIDE, &ping).0, Verdict::Punt(PuntClass::Icmp));
}

#[test]
fn full_ports_are_told_and_what_stands_goes_on() {
    let mut settings = nat_settings();
    settings.nat.ports = (5000, 5007);
    let mut gateway = gateway_with(settings);
    for port in 0..8 {
        talks(&mut gateway, HOST, 5000 + port, 53);
    }
    told(&mut gateway, &asks(OTHER, 5000, 53), Why::NatPortsFull);
    told(&mut gateway, &asks(HOST, 5008, 53), Why::NatPortsFull);
    assert_eq!(external(&mut gateway, HOST, 5003), 5003);
    sent(&mut gateway, INSIDE, &from_host(&Ip::new(HOST, SERVER, 6, tcp(5003, 80, SYN, &[], b""))));
    gateway_is_reached(&mut gateway);
    assert_eq!(sessions(&mut gateway), (9, 0));
}

#[test]
fn a_port_that_nobody_answered_goes_to_who_wants_one() {
    let mut settings = nat_settings();
    settings.nat.ports = (5000, 5007);
    let mut gateway = gateway_with(settings);
    talks(&mut gateway, HOST, 5000, 53);
    for port in 5001..5008 {
        gateway.now += SECOND;
        external(&mut gateway, HOST, port);
        // A port with two sessions is not free when one of them ends.
        if port == 5001 {
            sent(&mut gateway, INSIDE, &asks(HOST, port, 54));
        }
    }
    gateway.now += SECOND;
    assert_eq!(external(&mut gateway, OTHER, 6000), 5002, "the oldest that somebody gains by");
    assert_eq!(sessions(&mut gateway), (9, 1));
    for port in 5003..5008 {
        gateway.now += SECOND;
        assert_eq!(external(&mut gateway, OTHER, 6000 + port), port);
    }
    assert_eq!(external(&mut gateway, HOST, 5000), 5000, "what was answered stays");
}

#[test]
fn of_sessions_what_is_established_stays_and_what_opens_gives_way_in_order() {
    let mut gateway = gateway();
    assert!(segment(&mut gateway, true, SYN).is_some() && segment(&mut gateway, false, SYN | ACK).is_some());
    for port in 0..100 {
        let packet = Ip::new(OTHER, SERVER, 6, tcp(7000, 100 + port, SYN, &[], b""));
        sent(&mut gateway, INSIDE, &from_other(&packet));
        gateway.now += SECOND;
        gateway.state.tick(gateway.now);
    }
    // The reserve is for who has less than half: the flood has 58 of 64, and trades its own.
    assert_eq!(sessions(&mut gateway), (58, 43));
    assert!(segment(&mut gateway, true, ACK).is_some(), "the oldest of all, and the only one established");
    let answer = |port| from_world(&Ip::new(SERVER, LOCAL, 6, tcp(port, 7000, SYN | ACK, &[], b"")));
    assert_eq!(gateway.one(OUTSIDE, &answer(142)).0, Verdict::Punt(PuntClass::Tcp), "it gave way");
    sent(&mut gateway, OUTSIDE, &answer(143));
}

#[test]
fn the_reserve_is_for_hosts_that_hold_little() {
    let mut gateway = gateway();
    for port in 0..58 {
        talks(&mut gateway, HOST, 5000, 100 + port);
    }
    // Alone it may have all.
    talks(&mut gateway, HOST, 5000, 158);
    talks(&mut gateway, OTHER, 6000, 53);
    told(&mut gateway, &asks(HOST, 5000, 200), Why::NatShare);
    for port in 0..4 {
        talks(&mut gateway, OTHER, 6000, 100 + port);
    }
    assert_eq!(sessions(&mut gateway), (64, 0));
    told(&mut gateway, &asks(OTHER, 6000, 200), Why::NatFull);
    gateway_is_reached(&mut gateway);
}

#[test]
fn who_holds_more_than_a_share_gives_way_first() {
    let mut settings = nat_settings();
    settings.nat.reserve_percent = 0;
    let mut gateway = gateway_with(settings);
    external(&mut gateway, OTHER, 6000);
    gateway.now += SECOND;
    for port in 0..63 {
        sent(&mut gateway, INSIDE, &asks(HOST, 5000, 100 + port));
    }
    sent(&mut gateway, INSIDE, &asks(OTHER, 6000, 54));
    assert_eq!(sessions(&mut gateway), (64, 1));
    assert_eq!(external(&mut gateway, OTHER, 6000), 6000);
    assert_eq!(sessions(&mut gateway), (64, 1), "the oldest of all stands");
}

#[test]
fn of_ports_the_last_are_for_who_has_few() {
    let mut settings = nat_settings();
    settings.nat.ports = (5000, 5039);
    settings.nat.reserve_percent = 20;
    let mut gateway = gateway_with(settings);
    talks(&mut gateway, OTHER, 5999, 53);
    for port in 5001..5032 {
        talks(&mut gateway, HOST, port, 53);
    }
    told(&mut gateway, &asks(HOST, 5033, 53), Why::NatShare);
    for port in 6000..6008 {
        talks(&mut gateway, OTHER, port, 53);
    }
    told(&mut gateway, &asks(OTHER, 6008, 53), Why::NatPortsFull);
    gateway.state.take_stock();
    assert_eq!(gateway.state.counters.ports_percent, 100);
}

#[test]
fn a_host_that_gives_way_to_itself_is_not_forgotten() {
    let mut settings = nat_settings();
    settings.nat_room = NatRoom { sessions: 1, mappings: 1, hosts: 1, addresses: 1 };
    let mut gateway = gateway_with(settings);
    for port in 5000..5010 {
        external(&mut gateway, HOST, port);
    }
    assert_eq!(sessions(&mut gateway), (1, 9));
    wait(&mut gateway, 125);
    assert_eq!((sessions(&mut gateway).0, gateway.state.counters.nat_hosts), (0, 0));
    external(&mut gateway, OTHER, 5000);
}

#[test]
fn who_holds_how_much_is_told() {
    let mut gateway = gateway();
    for port in 0..48 {
        sent(&mut gateway, INSIDE, &asks(HOST, 5000 + port % 2, 100 + port));
    }
    external(&mut gateway, OTHER, 6000);
    gateway.command(Command::ReadRows(NatTable::Hosts, 7, 0));
    let mut told = Vec::new();
    for event in gateway.events() {
        match event {
            Event::Row(7, NatRow::Host(host)) => {
                told.push((host.host, host.external, host.sessions, host.ports));
            }
            other => assert_eq!(other, Event::RowsRead(7, None)),
        }
    }
    told.sort_unstable();
    let external = Some(address(LOCAL));
    assert_eq!(told, [(address(HOST), external, 48, 2), (address(OTHER), external, 1, 1)]);
    gateway.state.take_stock();
    assert_eq!(gateway.state.counters.sessions_percent, 76);
}
