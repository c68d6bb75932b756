//! External ports given by blocks: a host's are of its own, and one record says whose all of a block were.
#![allow(missing_docs)]

mod common;

use ces_dataplane::msg::{Record, Recorded, Recording};
use ces_dataplane::reason::DropReason as Why;
use ces_dataplane::settings::{NatRoom, WorkerSettings};
use common::nat::*;
use common::*;
use std::collections::BTreeSet;

/// Ports of a block.
const PORTS: u16 = 16;

fn by_blocks() -> WorkerSettings {
    let mut settings = nat_settings();
    settings.nat_room = NatRoom { sessions: 256, mappings: 256, hosts: 8, addresses: 2 };
    (settings.nat.block_ports, settings.nat.host_blocks) = (PORTS, 2);
    settings.nat.ports = (1024, 1024 + 4 * PORTS - 1);
    settings.nat.reserve_percent = 0;
    settings.recording = Recording::Blocks;
    settings
}

fn records(gateway: &mut Gateway) -> Vec<Record> {
    let mut told = Vec::new();
    while let Some(record) = gateway.state.peek_record() {
        told.push(*record);
        gateway.state.pop_record();
    }
    told
}

fn record(what: Recorded, host: u32, first: u16) -> Record {
    Record {
        what,
        protocol: 0,
        host: (address(host), 0),
        external: (address(LOCAL), first),
        remote: None,
        last: Some(first + PORTS - 1),
    }
}

#[test]
fn a_hosts_ports_are_of_its_blocks_and_of_nobody_elses() {
    let mut gateway = gateway_with(by_blocks());
    let first = external(&mut gateway, HOST, 5000) / PORTS * PORTS;
    let others = external(&mut gateway, OTHER, 5000) / PORTS * PORTS;
    assert_ne!(first, others);
    let created = [record(Recorded::Created, HOST, first), record(Recorded::Created, OTHER, others)];
    assert_eq!(records(&mut gateway), created);
    let mine: BTreeSet<u16> = (5001..5016).map(|port| external(&mut gateway, HOST, port)).collect();
    assert!(mine.iter().all(|port| port / PORTS * PORTS == first));
    // TCP and ICMP queries have them as well, without a record more.
    let syn = from_host(&Ip::new(HOST, SERVER, 6, tcp(7000, 80, SYN, &[], b"")));
    assert_eq!(flow(&sent(&mut gateway, INSIDE, &syn).1).1 / PORTS * PORTS, first);
    let ping = from_host(&Ip::new(HOST, SERVER, 1, icmp(8, 0, 0x2a2a_0001, b"ping")));
    assert_eq!((word(&sent(&mut gateway, INSIDE, &ping).1, 24) >> 16) as u16 / PORTS * PORTS, first);
    assert_eq!(records(&mut gateway), []);
    // The seventeenth of UDP is of another block.
    let second = external(&mut gateway, HOST, 5016) / PORTS * PORTS;
    assert!(second != first && second != others);
    assert_eq!(records(&mut gateway), [record(Recorded::Created, HOST, second)]);
    gateway.state.take_stock();
    assert_eq!((gateway.state.counters.nat_blocks, gateway.state.counters.ports_percent), (3, 75));
}

#[test]
fn a_host_has_so_many_blocks_and_is_told_when_it_wants_more() {
    let mut gateway = gateway_with(by_blocks());
    for port in 5000..5032 {
        external(&mut gateway, HOST, port);
    }
    // What it has of its own, and nobody answered, gives way; what goes on does not.
    external(&mut gateway, HOST, 5032);
    for port in 6000..6032 {
        let syn = from_host(&Ip::new(HOST, SERVER, 6, tcp(port, 80, SYN, &[], b"")));
        let mapped = flow(&sent(&mut gateway, INSIDE, &syn).1).1;
        let answer = from_world(&Ip::new(SERVER, LOCAL, 6, tcp(80, mapped, SYN | ACK, &[], b"")));
        sent(&mut gateway, OUTSIDE, &answer);
        sent(&mut gateway, INSIDE, &from_host(&Ip::new(HOST, SERVER, 6, tcp(port, 80, ACK, &[], b""))));
    }
    let syn = from_host(&Ip::new(HOST, SERVER, 6, tcp(6032, 80, SYN, &[], b"")));
    assert_eq!(dropped(&mut gateway, INSIDE, &syn), Why::NatHostLimit);
    external(&mut gateway, OTHER, 5000);
}

/// RFC 6888 §3, REQ-8, for the block; with its last port it is given back.
#[test]
fn a_block_ends_with_its_last_port_and_rests() {
    let mut settings = by_blocks();
    settings.nat.ports = (1024, 1024 + 2 * PORTS - 1);
    let mut gateway = gateway_with(settings);
    let first = external(&mut gateway, HOST, 5000) / PORTS * PORTS;
    records(&mut gateway);
    wait(&mut gateway, 125);
    assert_eq!(records(&mut gateway), [record(Recorded::Ended, HOST, first)]);
    gateway.state.take_stock();
    assert_eq!(gateway.state.counters.nat_blocks, 0);
    assert_ne!(external(&mut gateway, OTHER, 5000) / PORTS * PORTS, first, "it rests");
    // There is no other: what has rested longest.
    assert_eq!(external(&mut gateway, HOST, 5000) / PORTS * PORTS, first);
    let (created, found) = ([record(Recorded::Created, HOST, first)], records(&mut gateway));
    assert_eq!(found[1..], created);
}

#[test]
fn the_last_blocks_are_for_hosts_that_have_none() {
    let mut settings = by_blocks();
    settings.nat.reserve_percent = 50;
    let mut gateway = gateway_with(settings);
    for port in 5000..5032 {
        external(&mut gateway, HOST, port);
    }
    for port in 6000..6016 {
        external(&mut gateway, OTHER, port);
    }
    // One of four is left, and two were to be: a port of its own that nobody answered gives way.
    external(&mut gateway, OTHER, 6016);
    gateway.state.take_stock();
    assert_eq!((gateway.state.counters.nat_blocks, gateway.state.counters.sessions_displaced), (3, 1));
}

/// RFC 4787 §4.1, REQ-2: where an address has no block left, a host that has none yet is seen under another one.
#[test]
fn a_new_host_is_seen_under_an_address_that_has_a_block_left() {
    let mut settings = by_blocks();
    settings.nat.addresses.push(address(LOCAL + 9));
    settings.nat.ports = (1024, 1024 + PORTS - 1);
    let mut gateway = gateway_with(settings);
    let seen = |gateway: &mut Gateway, host: u32| {
        let packet = Ip::new(host, SERVER, 17, udp(5000, 53, b"q"));
        let frame = if host == HOST { from_host(&packet) } else { from_other(&packet) };
        flow(&sent(gateway, INSIDE, &frame).1).0
    };
    assert_ne!(seen(&mut gateway, HOST), seen(&mut gateway, OTHER));
    for port in 5001..5016 {
        external(&mut gateway, HOST, port);
    }
    external(&mut gateway, HOST, 5016);
    assert_eq!(gateway.state.counters.nat_blocks, 0, "not counted yet");
    gateway.state.take_stock();
    assert_eq!(gateway.state.counters.nat_blocks, 2);
}

#[test]
fn workers_share_the_blocks_and_what_comes_back_finds_its_own() {
    let mut given = BTreeSet::new();
    for worker in 0..2 {
        let mut settings = by_blocks();
        (settings.nat.block_ports, settings.nat.ports) = (512, (1024, 9215));
        (settings.worker, settings.workers) = (worker, 2);
        settings.layout = ces_dataplane::tag::Layout::new(2, settings.bindings);
        let mut gateway = gateway_with(settings);
        let hosts = [HOST, OTHER].into_iter();
        let mine = hosts.filter(|host| ces_dataplane::tag::worker_of(*host, 2) == worker);
        for host in mine {
            let mapped = external(&mut gateway, host, 5000);
            assert!(given.insert(mapped / 512));
            let back = from_world(&Ip::new(SERVER, LOCAL, 17, udp(53, mapped, b"a")));
            sent(&mut gateway, OUTSIDE, &back);
        }
    }
    assert_eq!(given.len(), 2);
}
