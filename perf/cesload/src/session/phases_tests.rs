//! Whole trials on ports that are memory, with a clock that is a counter.

use crate::arp::Answers;
use crate::session::client::Client;
use crate::session::load::{Kind, Load};
use crate::session::phases::{Gauge, Work};
use crate::session::plan::tests::plan;
use crate::session::plan::{Plan, Transport};
use crate::session::server::Server;
use crate::session::tally::Cause;
use crate::session::wires::Wires;
use ces_dataplane::Nanos;
use ces_dataplane::io::memory::{self, Cable, MemoryPool, MemoryPort};
use ces_dataplane::wire::ethernet;
use std::sync::atomic::Ordering;

/// Two ports, and the cables between them.
fn load(plans: &[Plan]) -> (Load<MemoryPort, MemoryPool>, [Cable; 2]) {
    let ((a, to_a), (b, to_b)) = (memory::port(1024), memory::port(1024));
    let link = |last| ethernet::Header {
        destination: [2, 0, 0, 0, 0, 1 - last],
        source: [2, 0, 0, 0, 0, last],
        vlan: None,
        ethertype: ethernet::IPV4,
    };
    let kinds = plans
        .iter()
        .map(|plan| Kind {
            client: Client::new(plan.clone(), 0, link(0), 3).unwrap(),
            server: Server::new(plan, 1, link(1), 4),
            weight: f64::from(plan.number),
            credit: 0.0,
        })
        .collect();
    let answers = vec![Answers::default(), Answers::default()];
    let mut load = Load::new(Wires::new(vec![a, b], 2, MemoryPool::new(4096)), kinds, answers);
    load.reset(9, false);
    (load, [to_a, to_b])
}

/// A clock that ticks a microsecond at each look, and carries frames meanwhile, but for every `drop_every`th.
fn clock(mut cables: [Cable; 2], drop_every: u64) -> impl FnMut() -> Nanos {
    let (mut now, mut count) = (1 << 30, 0);
    move || {
        now += 1000;
        let mut carry = |from: &mut Cable, to: &mut Cable| {
            while let Some(frame) = from.receive() {
                count += 1;
                if count % drop_every != 0 {
                    to.send(frame).unwrap();
                }
            }
        };
        let [a, b] = &mut cables;
        carry(a, b);
        carry(b, a);
        now
    }
}

fn many(transport: Transport, number: u8) -> Plan {
    Plan {
        number,
        client_ports: 1000,
        client_port: 1000 * u16::from(number),
        server_port: u16::from(number),
        ..plan(transport)
    }
}

#[test]
fn rate_is_held_and_all_complete() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let (mut load, cables) = load(&[many(transport, 1)]);
        let gauge = Gauge::default();
        let phase =
            Work::new(&mut load, clock(cables, u64::MAX), &gauge, 64).run(Some(100_000.0), 20_000_000);
        let tally = &phase.tallies[0];
        assert_eq!((tally.begun, tally.completed, tally.failures(), tally.again), (2000, 2000, 0, 0));
        assert!((phase.seconds - 0.02).abs() < 1e-4, "{}", phase.seconds);
        assert_eq!((phase.full, phase.foreign, phase.stopped), (0, 0, false));
        assert_eq!(gauge.received.load(Ordering::Relaxed), 2000);
    }
}

#[test]
fn sessions_over_a_bad_wire_are_tried_again_and_accounted_for() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let (mut load, cables) = load(&[many(transport, 1)]);
        let gauge = Gauge::default();
        let phase = Work::new(&mut load, clock(cables, 100), &gauge, 64).run(Some(100_000.0), 20_000_000);
        let tally = &phase.tallies[0];
        assert_eq!(tally.begun, 2000);
        assert_eq!(tally.completed + tally.failures(), 2000);
        assert!(tally.again > 10 && tally.completed > 1990, "{tally:?}");
    }
}

#[test]
fn kinds_share_by_their_weights() {
    let (mut load, cables) = load(&[many(Transport::Udp, 1), many(Transport::Tcp, 3)]);
    let gauge = Gauge::default();
    let phase = Work::new(&mut load, clock(cables, u64::MAX), &gauge, 64).run(Some(100_000.0), 10_000_000);
    assert_eq!((phase.tallies[0].begun, phase.tallies[1].begun), (250, 750));
    assert_eq!((phase.tallies[0].completed, phase.tallies[1].completed), (250, 750));
}

#[test]
fn want_of_addresses_and_ports_is_told() {
    let slow = Plan { think_ns: 5_000_000, ..plan(Transport::Tcp) };
    let (mut load, cables) = load(&[slow]);
    let gauge = Gauge::default();
    let phase = Work::new(&mut load, clock(cables, u64::MAX), &gauge, 64).run(Some(100_000.0), 2_000_000);
    assert_eq!((phase.tallies[0].begun, phase.full), (32, 168));
    assert_eq!(phase.tallies[0].completed, 32);
}

#[test]
fn as_fast_as_it_goes_ends_too() {
    let (mut load, cables) = load(&[many(Transport::Tcp, 1)]);
    let gauge = Gauge::default();
    let phase = Work::new(&mut load, clock(cables, u64::MAX), &gauge, 64).run(None, 1_000_000);
    let tally = &phase.tallies[0];
    assert!(tally.begun > 1000, "{}", tally.begun);
    assert_eq!((tally.completed + tally.failures(), phase.full), (tally.begun, 0));
}

#[test]
fn stopped_trial_keeps_its_books() {
    let (mut load, _cables) = load(&[many(Transport::Tcp, 1)]);
    let gauge = Gauge::default();
    let mut now = 0;
    let clock = || {
        now += 1000;
        gauge.stop.store(now > 500_000, Ordering::Relaxed);
        now
    };
    let phase = Work::new(&mut load, clock, &gauge, 64).run(Some(100_000.0), 1_000_000_000);
    let tally = &phase.tallies[0];
    assert!(phase.stopped && tally.begun < 100, "{}", tally.begun);
    assert_eq!((tally.completed, tally.failed[Cause::Stopped as usize]), (0, tally.begun));
}

#[test]
fn ladder_opens_uses_and_ends() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let (mut load, cables) = load(&[many(transport, 1), many(transport, 2)]);
        let gauge = Gauge::default();
        let mut clock = clock(cables, u64::MAX);
        // All that there is room for, and then few: a climb begins with the first slots.
        for sessions in [8000, 100] {
            load.reset(9, true);
            let climb =
                Work::new(&mut load, &mut clock, &gauge, 64).climb(sessions, Some(500_000.0), 5_000_000);
            assert_eq!((climb.opened, climb.alive), (sessions, sessions));
            let sum = |tallies: &[crate::session::tally::Tally]| {
                tallies.iter().fold((0, 0, 0), |sum, it| {
                    (sum.0 + it.requests, sum.1 + it.responses, sum.2 + it.completed)
                })
            };
            let (requests, responses, _) = sum(&climb.holding.tallies);
            assert!(requests >= sessions && requests == responses, "{requests} of {sessions}");
            assert_eq!(sum(&climb.ending.tallies).2, sessions);
            assert_eq!(load.open(), 0);
        }
    }
}

#[test]
fn forgotten_sessions_are_not_alive() {
    // A device that forgets: after the opening nothing passes for the first client address.
    let (mut load, [mut a, mut b]) = load(&[many(Transport::Tcp, 1)]);
    let gauge = Gauge::default();
    let mut now = 1 << 30;
    let clock = || {
        now += 1000;
        let forgets = now > (1 << 30) + 3_000_000;
        while let Some(frame) = a.receive() {
            let source = &ces_dataplane::frame::Frame::data(&frame)[26..30];
            if !(forgets && source == [10, 0, 0, 1]) {
                b.send(frame).unwrap();
            }
        }
        while let Some(frame) = b.receive() {
            a.send(frame).unwrap();
        }
        now
    };
    load.reset(9, true);
    let climb = Work::new(&mut load, clock, &gauge, 64).climb(400, Some(400_000.0), 5_000_000);
    assert_eq!(climb.opened, 400);
    assert_eq!(climb.alive, 300);
    assert_eq!(climb.holding.tallies[0].failed[Cause::NoResponse as usize], 100);
}

#[test]
fn further_queues_are_listened_on() {
    // What is for the clients comes at the third queue pair: the second of port 0.
    let plan = many(Transport::Tcp, 1);
    let ((a, mut at_a), (b, mut at_b)) = (memory::port(1024), memory::port(1024));
    let (c, mut at_c) = memory::port(1024);
    let link =
        ethernet::Header { destination: [2; 6], source: [4; 6], vlan: None, ethertype: ethernet::IPV4 };
    let kind = Kind {
        server: Server::new(&plan, 1, link, 4),
        client: Client::new(plan, 0, link, 3).unwrap(),
        weight: 1.0,
        credit: 0.0,
    };
    let wires = Wires::new(vec![a, b, c], 2, MemoryPool::new(4096));
    let mut load = Load::new(wires, vec![kind], vec![Answers::default(), Answers::default()]);
    load.reset(9, false);
    let mut now = 1 << 30;
    let clock = || {
        now += 1000;
        while let Some(frame) = at_a.receive() {
            at_b.send(frame).unwrap();
        }
        while let Some(frame) = at_b.receive() {
            at_c.send(frame).unwrap();
        }
        assert!(at_c.receive().is_none(), "it is only listened on");
        now
    };
    let gauge = Gauge::default();
    let phase = Work::new(&mut load, clock, &gauge, 64).run(Some(100_000.0), 1_000_000);
    assert_eq!((phase.tallies[0].begun, phase.tallies[0].completed, phase.foreign), (100, 100, 0));
}
