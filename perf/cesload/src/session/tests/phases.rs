//! Whole trials on ports that are memory, with a clock that is a counter.

use crate::arp::Answers;
use crate::crew::Crew;
use crate::session::client::Client;
use crate::session::load::Load;
use crate::session::phases::{Climb, Tallied, Work};
use crate::session::plan::{Plan, Share, Transport};
use crate::session::server::Server;
use crate::session::tally::Cause;
use crate::session::tests::plan::plan;
use crate::session::wires::Wires;
use crate::trial::Ascent;
use ces_dataplane::Nanos;
use ces_dataplane::io::memory::{self, Cable, MemoryPool, MemoryPort};
use ces_dataplane::wire::ethernet;
use ces_dataplane::worker::Mesh;
use machine::Clock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Two ports, and the cables between them.
fn load(plan: &Plan) -> (Load<MemoryPort, MemoryPool>, [Cable; 2]) {
    let ((a, to_a), (b, to_b)) = (memory::port(1024), memory::port(1024));
    let link = |last| ethernet::Header {
        destination: [2, 0, 0, 0, 0, 1 - last],
        source: [2, 0, 0, 0, 0, last],
        vlan: None,
        ethertype: ethernet::IPV4,
    };
    let client = Client::new(plan.clone(), Share::new(plan, 0, 1), 0, link(0), 3).unwrap();
    let sides = (client, Server::new(plan, 1, link(1), 4));
    let answers = vec![Answers::default(), Answers::default()];
    let mut load = Load::new(Wires::new(vec![a, b], 2, MemoryPool::new(8192)), sides, answers, Mesh::alone());
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

fn many(transport: Transport) -> Plan {
    Plan { client_ports: 1000, client_port: 1000, ..plan(transport) }
}

#[test]
fn rate_is_held_and_all_complete() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let (mut load, cables) = load(&many(transport));
        let crew = Crew::new(1);
        let phase = Work::new(&mut load, clock(cables, u64::MAX), &crew, 64).run(Some(100_000.0), 20_000_000);
        let tally = &phase.tally;
        assert_eq!((tally.begun, tally.completed, tally.failures(), tally.again), (2000, 2000, 0, 0));
        assert!((phase.seconds - 0.02).abs() < 1e-4, "{}", phase.seconds);
        assert_eq!((phase.full, phase.foreign, phase.stopped), (0, 0, false));
        assert_eq!(crew.counts().1.received, 2000);
    }
}

#[test]
fn sessions_over_a_bad_wire_are_tried_again_and_accounted_for() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let (mut load, cables) = load(&many(transport));
        let crew = Crew::new(1);
        let phase = Work::new(&mut load, clock(cables, 100), &crew, 64).run(Some(100_000.0), 20_000_000);
        let tally = &phase.tally;
        assert_eq!(tally.begun, 2000);
        assert_eq!(tally.completed + tally.failures(), 2000);
        assert!(tally.again > 10 && tally.completed > 1990, "{tally:?}");
    }
}

#[test]
fn want_of_addresses_and_ports_is_told() {
    let slow = Plan { think_ns: 5_000_000, ..plan(Transport::Tcp) };
    let (mut load, cables) = load(&slow);
    let crew = Crew::new(1);
    let phase = Work::new(&mut load, clock(cables, u64::MAX), &crew, 64).run(Some(100_000.0), 2_000_000);
    assert_eq!((phase.tally.begun, phase.full), (32, 168));
    assert_eq!(phase.tally.completed, 32);
}

#[test]
fn as_fast_as_it_goes_ends_too() {
    let (mut load, cables) = load(&many(Transport::Tcp));
    let crew = Crew::new(1);
    let phase = Work::new(&mut load, clock(cables, u64::MAX), &crew, 64).run(None, 1_000_000);
    let tally = &phase.tally;
    assert!(tally.begun > 1000, "{}", tally.begun);
    assert_eq!((tally.completed + tally.failures(), phase.full), (tally.begun, 0));
}

#[test]
fn stopped_trial_keeps_its_books() {
    let (mut load, _cables) = load(&many(Transport::Tcp));
    let crew = Crew::new(1);
    let mut now = 0;
    let clock = || {
        now += 1000;
        if now > 500_000 {
            crew.stop();
        }
        now
    };
    let phase = Work::new(&mut load, clock, &crew, 64).run(Some(100_000.0), 1_000_000_000);
    let tally = &phase.tally;
    assert!(phase.stopped && tally.begun < 100, "{}", tally.begun);
    assert_eq!((tally.completed, tally.failed[Cause::Stopped as usize]), (0, tally.begun));
}

#[test]
fn ladder_opens_uses_and_ends() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let (mut load, cables) = load(&many(transport));
        let crew = Crew::new(1);
        let mut clock = clock(cables, u64::MAX);
        // All that there is room for, and then few: a climb begins with the first slots.
        for sessions in [4000, 100] {
            load.reset(9, true);
            let climb = Work::new(&mut load, &mut clock, &crew, 64).climb(&ascent(sessions, 500_000.0));
            assert_eq!((climb.opened, climb.alive), (sessions, sessions));
            let (requests, responses) = (climb.holding.tally.requests, climb.holding.tally.responses);
            assert!(requests >= sessions && requests == responses, "{requests} of {sessions}");
            assert_eq!(climb.ending.tally.completed, sessions);
            assert_eq!(load.client.open(), 0);
        }
    }
}

#[test]
fn forgotten_sessions_are_not_alive() {
    // A device that forgets: after the opening nothing passes for the first client address.
    let (mut load, [mut a, mut b]) = load(&many(Transport::Tcp));
    let crew = Crew::new(1);
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
    let climb = Work::new(&mut load, clock, &crew, 64).climb(&ascent(400, 400_000.0));
    assert_eq!(climb.opened, 400);
    assert_eq!(climb.alive, 300);
    assert_eq!(climb.holding.tally.failed[Cause::NoResponse as usize], 100);
}

#[test]
fn further_queues_are_listened_on() {
    // What is for the clients comes at the third queue pair: the second of port 0.
    let plan = many(Transport::Tcp);
    let ((a, mut at_a), (b, mut at_b)) = (memory::port(1024), memory::port(1024));
    let (c, mut at_c) = memory::port(1024);
    let link =
        ethernet::Header { destination: [2; 6], source: [4; 6], vlan: None, ethertype: ethernet::IPV4 };
    let client = Client::new(plan.clone(), Share::new(&plan, 0, 1), 0, link, 3).unwrap();
    let sides = (client, Server::new(&plan, 1, link, 4));
    let wires = Wires::new(vec![a, b, c], 2, MemoryPool::new(4096));
    let mut load = Load::new(wires, sides, vec![Answers::default(), Answers::default()], Mesh::alone());
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
    let crew = Crew::new(1);
    let phase = Work::new(&mut load, clock, &crew, 64).run(Some(100_000.0), 1_000_000);
    assert_eq!((phase.tally.begun, phase.tally.completed, phase.foreign), (100, 100, 0));
}

/// A rung whose sessions are opened and used at one rate, for five milliseconds.
fn ascent(sessions: u64, per_second: f64) -> Ascent {
    Ascent {
        sessions,
        open_per_second: Some(per_second),
        use_per_second: Some(per_second),
        hold: Duration::from_millis(5),
        refresh: None,
    }
}

#[test]
fn slow_ports_are_waited_for() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let (mut load, [mut a, mut b]) = load(&many(transport));
        let crew = Crew::new(1);
        let mut now = 1 << 30;
        // One frame each way at a look, though thousands are wanted.
        let clock = || {
            now += 1000;
            if let Some(frame) = a.receive() {
                b.send(frame).unwrap();
            }
            if let Some(frame) = b.receive() {
                a.send(frame).unwrap();
            }
            now
        };
        let phase = Work::new(&mut load, clock, &crew, 64).run(None, 20_000_000);
        let (tally, served) = (&phase.tally, &phase.served);
        assert!(tally.begun > 2000, "{}", tally.begun);
        assert_eq!(served.unsent, 0);
        // Over TCP a SYN-ACK has two frames follow: clients receive all the same, since it is what the servers' port waits for.
        assert!(tally.unsent == 0 || transport == Transport::Tcp, "{}", tally.unsent);
    }
}

#[test]
fn stopped_climb_ends_where_nothing_is_taken_any_more() {
    let (mut load, [mut a, mut b]) = load(&many(Transport::Tcp));
    let crew = Crew::new(1);
    let mut now = 1 << 30;
    let clock = || {
        now += 1000;
        // All are open by then; from there on both cables are cut.
        if now > (1 << 30) + 14_000_000 {
            crew.stop();
            return now;
        }
        while let Some(frame) = a.receive() {
            b.send(frame).unwrap();
        }
        while let Some(frame) = b.receive() {
            a.send(frame).unwrap();
        }
        now
    };
    load.reset(9, true);
    // Nothing is under way when it is stopped: the first request has been answered, and the next is due in a second.
    let hold = Duration::from_hours(1);
    let ascent = Ascent { use_per_second: Some(1.0), hold, ..ascent(4000, 400_000.0) };
    let climb = Work::new(&mut load, clock, &crew, 64).climb(&ascent);
    assert_eq!(climb.opened, 4000);
    assert!(climb.holding.stopped && climb.alive == 4000);
    assert_eq!(climb.ending.tally.failed[Cause::Stopped as usize], 4000);
    assert_eq!(load.client.open(), 0);
}

#[test]
fn sessions_that_end_in_silence_are_not_waited_for() {
    let (mut load, cables) = load(&many(Transport::Udp));
    let crew = Crew::new(1);
    load.reset(9, true);
    let climb = Work::new(&mut load, clock(cables, u64::MAX), &crew, 64).climb(&ascent(3200, 100_000.0));
    assert_eq!((climb.opened, climb.alive), (3200, 3200));
    assert!(climb.ending.seconds < 0.1 * climb.opening.seconds, "{}", climb.ending.seconds);
}

#[test]
fn what_a_device_forgets_when_it_is_idle_is_kept_by_use() {
    // It forgets an address and port that has sent nothing for so long.
    const FORGETS: Nanos = 3_000_000;
    for (refresh, alive) in [(None, 0), (Some(Duration::from_millis(1)), 4000)] {
        let (mut load, [mut a, mut b]) = load(&many(Transport::Tcp));
        let crew = Crew::new(1);
        let mut now = 1 << 30;
        let mut seen = std::collections::HashMap::new();
        let clock = || {
            now += 1000;
            while let Some(frame) = a.receive() {
                let data = ces_dataplane::frame::Frame::data(&frame);
                let begins = data[47] & 2 != 0; // SYN
                let last = seen.entry(data[26..36].to_vec()).or_insert(now);
                if begins || now - *last < FORGETS {
                    *last = now;
                    b.send(frame).unwrap();
                }
            }
            while let Some(frame) = b.receive() {
                a.send(frame).unwrap();
            }
            now
        };
        load.reset(9, true);
        // It takes ten milliseconds to open them, and as long to use each.
        let ascent = Ascent { refresh, ..ascent(4000, 400_000.0) };
        let climb = Work::new(&mut load, clock, &crew, 64).climb(&ascent);
        assert_eq!((climb.opened, climb.alive), (4000, alive), "{refresh:?}");
    }
}

/// What several threads do over a device that hands every answer to the queue of the next one.
fn crossed<R: Send + Default>(
    plan: &Plan,
    keep: bool,
    threads: usize,
    work: impl Fn(Work<'_, MemoryPort, MemoryPool, &mut dyn FnMut() -> Nanos>) -> R + Sync,
) -> Vec<R> {
    let link = |last| ethernet::Header {
        destination: [2, 0, 0, 0, 0, 1 - last],
        source: [2, 0, 0, 0, 0, last],
        vlan: None,
        ethertype: ethernet::IPV4,
    };
    let (mut loads, mut near, mut far) = (Vec::new(), Vec::new(), Vec::new());
    for (thread, mesh) in Mesh::new(threads, 64).into_iter().enumerate() {
        let ((a, to_a), (b, to_b)) = (memory::port(1024), memory::port(1024));
        near.push(to_a);
        far.push(to_b);
        let client = Client::new(plan.clone(), Share::new(plan, thread, threads), 0, link(0), 3).unwrap();
        let sides = (client, Server::new(plan, 1, link(1), 4));
        let wires = Wires::new(vec![a, b], 2, MemoryPool::new(8192));
        let mut load = Load::new(wires, sides, vec![Answers::default(), Answers::default()], mesh);
        load.reset(9, keep);
        loads.push(load);
    }
    let (crew, clock, done) = (&Crew::new(threads), Clock::new(), &AtomicBool::new(false));
    let work = &work;
    std::thread::scope(|scope| {
        let run = |mut load: Load<_, _>| {
            scope.spawn(move || {
                let mut now = || {
                    std::thread::yield_now();
                    clock.now()
                };
                work(Work::new(&mut load, &mut now, crew, 64))
            })
        };
        let running: Vec<_> = loads.into_iter().map(run).collect();
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                for queue in 0..threads {
                    while let Some(frame) = near[queue].receive() {
                        let _ = far[queue].send(frame);
                    }
                    while let Some(frame) = far[queue].receive() {
                        let _ = near[(queue + 1) % threads].send(frame);
                    }
                }
                std::thread::yield_now();
            }
        });
        let results = running.into_iter().map(|thread| thread.join().unwrap_or_default()).collect();
        done.store(true, Ordering::Relaxed);
        results
    })
}

/// Sessions that are patient enough for a machine that is busy.
fn patient(transport: Transport) -> Plan {
    Plan { timeout_ns: 200_000_000, retries: 100, ..many(transport) }
}

#[test]
fn answers_at_another_thread_reach_their_owner() {
    for (transport, threads) in [(Transport::Udp, 2), (Transport::Tcp, 3)] {
        let phases =
            crossed(&patient(transport), false, threads, |work| work.run(Some(20_000.0), 100_000_000));
        let mut sum = Tallied::default();
        for phase in phases {
            assert!(phase.handed_over > 0 && phase.tally.begun > 0, "each thread has its part");
            sum.add(&phase);
        }
        let tally = &sum.tally;
        assert!(tally.begun <= 2001);
        assert_eq!((tally.completed, tally.failures()), (tally.begun, 0));
        assert_eq!(tally.set_up_ns.len(), tally.set_up);
        assert_eq!(tally.first_packet_ns.len(), tally.set_up);
        assert_eq!((sum.foreign, sum.full, sum.stopped), (0, 0, false));
    }
}

#[test]
fn threads_climb_together() {
    for transport in [Transport::Udp, Transport::Tcp] {
        for sessions in [4000, 5] {
            let plan = patient(transport);
            let climbs = crossed(&plan, true, 3, |work| work.climb(&ascent(sessions, 100_000.0)));
            let mut sum = Climb::default();
            for climb in climbs {
                assert!(climb.opened.abs_diff(sessions / 3) <= 4, "{}", climb.opened);
                sum.add(&climb);
            }
            assert_eq!((sum.opened, sum.alive), (sessions, sessions));
            assert_eq!(sum.ending.tally.completed, sessions);
            assert!(sum.holding.tally.responses >= sessions);
        }
    }
}

#[test]
fn threads_ask_for_different_names() {
    let plan = Plan {
        target: crate::session::plan::Destination::Named {
            server: 1,
            names: crate::session::dns::Names::new("h{}.b.demo", 0, 9).unwrap(),
        },
        ..many(Transport::Udp)
    };
    let link =
        ethernet::Header { destination: [2; 6], source: [4; 6], vlan: None, ethertype: ethernet::IPV4 };
    let mut asked = std::collections::HashSet::new();
    for thread in 0..2 {
        let mut client = Client::new(plan.clone(), Share::new(&plan, thread, 2), 0, link, 3).unwrap();
        let mut out = crate::session::tests::world::Sent::default();
        // Five of ten names for each of four clients.
        for _ in 0..20 {
            assert!(client.begin(1 << 30, &mut out));
        }
        asked.extend(out.frames.iter().map(|(_, frame)| (frame[26..30].to_vec(), frame[54..].to_vec())));
    }
    assert_eq!(asked.len(), 40, "no client asks twice before every client has asked for every name");
}
