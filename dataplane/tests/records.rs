//! What is recorded of NAT44, and what not.
#![allow(missing_docs)]

mod common;

use ces_dataplane::msg::{Record, Recorded, Recording};
use ces_dataplane::nat::statics::Static;
use ces_dataplane::reason::DropReason as Why;
use ces_dataplane::settings::NatRoom;
use common::nat::*;
use common::*;

fn recording(what: Recording) -> Gateway {
    let mut settings = nat_settings();
    settings.recording = what;
    settings.nat.statics = vec![Static {
        external: address(LOCAL).into(),
        inside: address(OTHER).into(),
        protocol: None,
        port: Some(443),
        ports: None,
        inside_port: None,
    }]
    .into();
    gateway_with(settings)
}

fn records(gateway: &mut Gateway) -> Vec<Record> {
    let mut told = Vec::new();
    while let Some(record) = gateway.state.peek_record() {
        told.push(*record);
        gateway.state.pop_record();
    }
    told
}

fn record(what: Recorded, protocol: u8, port: u16, remote: Option<u16>) -> Record {
    Record {
        what,
        protocol,
        host: (address(HOST), port),
        external: (address(LOCAL), port),
        remote: remote.map(|port| (address(SERVER), port)),
        last: None,
    }
}

fn asks(gateway: &mut Gateway, port: u16) {
    sent(gateway, INSIDE, &from_host(&Ip::new(HOST, SERVER, 17, udp(5000, port, b"q"))));
}

/// RFC 6888 §4, REQ-12: not whom a host speaks with.
#[test]
fn a_mapping_is_recorded_when_it_begins_and_ends() {
    let mut gateway = recording(Recording::Mappings);
    for port in 53..63 {
        asks(&mut gateway, port);
        asks(&mut gateway, port);
    }
    assert_eq!(records(&mut gateway), [record(Recorded::Created, 17, 5000, None)]);
    // Without ports there is no mapping: the address alone.
    sent(&mut gateway, INSIDE, &from_host(&Ip::new(HOST, SERVER, 50, vec![0; 16])));
    assert_eq!(records(&mut gateway), [record(Recorded::Created, 50, 0, None)]);
    // What is configured is no secret.
    sent(&mut gateway, OUTSIDE, &from_world(&Ip::new(SERVER, LOCAL, 6, tcp(80, 443, SYN, &[], b""))));
    assert_eq!(records(&mut gateway), []);
    wait(&mut gateway, 305);
    let ended = [record(Recorded::Ended, 17, 5000, None), record(Recorded::Ended, 50, 0, None)];
    assert_eq!(records(&mut gateway), ended);
}

#[test]
fn a_session_is_recorded_when_it_begins_and_ends() {
    let mut gateway = recording(Recording::Sessions);
    asks(&mut gateway, 53);
    asks(&mut gateway, 54);
    asks(&mut gateway, 53);
    let of = |what| [record(what, 17, 5000, Some(53)), record(what, 17, 5000, Some(54))];
    assert_eq!(records(&mut gateway), of(Recorded::Created));
    sent(&mut gateway, OUTSIDE, &from_world(&Ip::new(SERVER, LOCAL, 6, tcp(80, 443, SYN, &[], b""))));
    let served = Record {
        what: Recorded::Created,
        protocol: 6,
        host: (address(OTHER), 443),
        external: (address(LOCAL), 443),
        remote: Some((address(SERVER), 80)),
        last: None,
    };
    assert_eq!(records(&mut gateway), [served]);
    wait(&mut gateway, 125);
    let mut ended = records(&mut gateway);
    ended.sort_by_key(|record| record.remote);
    assert_eq!(ended, of(Recorded::Ended));
}

#[test]
fn what_gives_way_is_recorded_and_what_is_refused_too_but_not_at_any_rate() {
    let mut settings = nat_settings();
    settings.recording = Recording::Sessions;
    settings.nat_room = NatRoom { sessions: 1, mappings: 1, hosts: 1, addresses: 1 };
    let mut gateway = gateway_with(settings);
    asks(&mut gateway, 53);
    asks(&mut gateway, 54);
    let [one, other] = [53, 54].map(Some);
    let said = [
        record(Recorded::Created, 17, 5000, one),
        record(Recorded::Ended, 17, 5000, one),
        record(Recorded::Created, 17, 5000, other),
    ];
    assert_eq!(records(&mut gateway), said);
    for _ in 0..100 {
        let frame = from_other(&Ip::new(OTHER, SERVER, 17, udp(5000, 53, b"q")));
        assert_eq!(dropped(&mut gateway, INSIDE, &frame), Why::NatFull);
    }
    let refused = records(&mut gateway);
    assert_eq!(refused.len(), 10);
    assert_eq!((refused[0].what, refused[0].host.0), (Recorded::Refused(Why::NatFull), address(OTHER)));
}

#[test]
fn without_room_records_are_lost_and_counted() {
    let mut settings = nat_settings();
    settings.recording = Recording::Sessions;
    settings.nat_room = NatRoom { sessions: 8192, mappings: 8192, hosts: 8, addresses: 1 };
    let mut gateway = gateway_with(settings);
    for port in 1..=5000 {
        asks(&mut gateway, port);
    }
    assert_eq!(records(&mut gateway).len(), 4096);
    gateway.state.take_stock();
    assert_eq!(gateway.state.counters.records_lost, 904);
    let mut gateway = recording(Recording::Nothing);
    asks(&mut gateway, 53);
    assert_eq!(records(&mut gateway), []);
}
