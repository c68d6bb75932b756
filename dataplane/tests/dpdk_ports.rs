//! Two workers on real DPDK ports: packets of one host reach the other through both gateways, over veth pairs.
//!
//! ```text
//! host 0 ══ gateway 0 ══ gateway 1 ══ host 1        (══: a veth pair, both ends driven by net_af_packet)
//! ```
//!
//! Needs root, for veth pairs in a network namespace; no huge pages.
#![cfg(feature = "dpdk")]

mod gateways;
#[path = "../../dpdk/dpdk/tests/support/mod.rs"]
mod support;

use ces_dataplane::io::dpdk::{WorkerIo, start};
use ces_dataplane::io::{Pool, PortQueues};
use ces_dataplane::msg::{Command as Order, HopId, Neighbour};
use ces_dataplane::state::State;
use ces_dataplane::worker::{Bell, Idle, Mesh, Parts, RingSizes, Worker, link};
use dpdk::{Eal, Mbuf, Memory, Mempool, Options, PortConfig, RegisteredThread};
use gateways::{Gateway, OUTSIDE};
use machine::Clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::{in_own_network, make_veth};

const PACKETS: usize = 500;
const BURST: usize = 20;

#[test]
fn packets_cross_two_workers_on_dpdk_ports() {
    if !in_own_network("packets_cross_two_workers_on_dpdk_ports") {
        return;
    }
    for name in ["host0_", "middle", "host1_"] {
        make_veth(&format!("{name}a"), &format!("{name}b"));
    }
    let options = Options {
        memory: Memory::Ordinary { mib: 256 },
        polling: Vec::new(),
        devices: Vec::new(),
        extra: Vec::new(),
    };
    let eal = Eal::start(&options).unwrap();

    let config =
        PortConfig { rx_descriptors: 256, tx_descriptors: 256, promiscuous: true, ..PortConfig::default() };
    let device =
        |number: usize, interface: &str| (format!("net_af_packet{number},iface={interface}"), config.clone());
    let devices = [
        device(0, "host0_a"), // host 0
        device(1, "host0_b"), // gateway 0, inside
        device(2, "middlea"), // gateway 0, outside
        device(3, "host1_b"), // gateway 1, inside
        device(4, "middleb"), // gateway 1, outside
        device(5, "host1_a"), // host 1
    ];
    let (ports, mut shares) = start(&eal, &devices, 1, 0).unwrap();
    let WorkerIo { ports: queues, pool } = shares.pop().unwrap();
    let mut queues = queues.into_iter();
    let mut next = || queues.next().unwrap();
    let (mut host0, gateway0, gateway1, mut host1) = (next(), [next(), next()], [next(), next()], next());

    let stop = AtomicBool::new(false);
    let mut received = Vec::with_capacity(PACKETS);
    std::thread::scope(|scope| {
        let mut controls = Vec::new();
        for (number, ports) in [(0, gateway0), (1, gateway1)] {
            let (mut control, worker_side) = link(RingSizes::default(), Arc::new(Bell::silent()));
            for command in Gateway(number).commands() {
                control.commands.push(command).unwrap();
            }
            controls.push(control);
            let (pool, stop, eal) = (pool.clone(), &stop, &eal);
            scope.spawn(move || {
                let _registered = RegisteredThread::new(eal).unwrap();
                Worker::new(Parts {
                    state: State::new(&Gateway(number).settings()).unwrap(),
                    ports: ports.into(),
                    pool,
                    control: worker_side,
                    mesh: Mesh::alone(),
                    lines: Vec::new(),
                    clock: Clock::new(),
                    idle: Idle { polls: 100, nap: Duration::from_micros(50) },
                })
                .run(stop);
            });
        }
        // Commands are taken before packets, but only once the worker runs: what is sent waits in the port.
        send_and_receive(&mut host0, &mut host1, pool.clone(), &mut received);
        // What waits for a MAC address when the workers stop is freed as well.
        let unknown = Neighbour { port: OUTSIDE, mac: None, pin: None };
        controls[0].commands.push(Order::SetHop(HopId(1), unknown)).unwrap();
        while !controls[0].commands.is_empty() {
            std::thread::yield_now();
        }
        send(&mut host0, &mut pool.clone(), 0);
        let held = || controls[0].counters.snapshot().held;
        let deadline = Instant::now() + Duration::from_secs(5);
        while held() < BURST as u64 && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert_eq!(held(), BURST as u64);
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(received.len(), PACKETS);
    for (number, frame) in received.iter().enumerate() {
        Gateway(1).assert_at_host(frame.data(), &(number as u32).to_be_bytes());
    }
    assert_eq!(ports[usize::from(OUTSIDE) + 1].stats().unwrap().tx_packets, PACKETS as u64);

    drop(received);
    drop((host0, host1, ports));
    assert_eq!(pool.available(), pool.size(), "every frame is back");
}

/// Sends a burst of packets, numbered from `first` on.
fn send(from: &mut impl PortQueues<Frame = Mbuf>, pool: &mut Mempool, first: usize) {
    let mut frames = Vec::with_capacity(BURST);
    for number in first..first + BURST {
        let mut frame = pool.allocate().unwrap();
        assert!(frame.copy_from(&Gateway(0).from_host(&(number as u32).to_be_bytes())));
        frames.push(frame);
    }
    assert_eq!(from.tx_burst(&mut frames), BURST);
}

/// Sends numbered packets from one host and collects what the other gets, for five seconds at most.
fn send_and_receive(
    from: &mut impl PortQueues<Frame = Mbuf>,
    to: &mut impl PortQueues<Frame = Mbuf>,
    mut pool: Mempool,
    received: &mut Vec<Mbuf>,
) {
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut number = 0;
    while received.len() < PACKETS && Instant::now() < deadline {
        // No more under way than every queue holds.
        if number < PACKETS && number - received.len() < 4 * BURST {
            send(from, &mut pool, number);
            number += BURST;
        }
        to.rx_burst(received);
    }
}
