//! A worker between two memifs whose peer outside is killed in the middle of traffic and comes back, ten times over; before
//! that, peers that leave before they are greeted.
//!
//! ```text
//! host ══ gateway ══ far        (══: a memif; each is a process: DPDK starts once in one)
//! ```
//!
//! The gateway's worker and DPDK's interrupt thread share a core, so that what the latter does when a peer leaves meets a
//! worker that was interrupted anywhere, in the middle of a burst too. No huge pages, no root.
#![cfg(feature = "dpdk")]

mod gateways;

use ces_dataplane::io::dpdk::{WorkerIo, start};
use ces_dataplane::reason::DropReason;
use ces_dataplane::state::State;
use ces_dataplane::worker::{Bell, ControlSide, Idle, Mesh, Parts, RingSizes, Worker, link};
use dpdk::{Eal, Mbuf, Memory, Mempool, Options, Port, PortConfig, RegisteredThread, RxQueue, TxQueue};
use gateways::{Gateway, INSIDE, OUTSIDE};
use machine::Clock;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

const LEAVES: usize = 10;
/// Peers that have gone before they are greeted, or nearly so.
const HASTY: usize = 100;
/// What a busy machine may take for anything that is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(1);
const BURST: usize = 32;
/// What the far process has received when it says so.
const MANY: usize = 200;

/// Set for a process that is one of the peers.
const PEER: &str = "CES_TEST_PEER";
const DIRECTORY: &str = "CES_TEST_DIRECTORY";

/// A peer of the gateway, as a process. As a test of its own it does nothing.
#[test]
fn peer() {
    let Ok(peer) = std::env::var(PEER) else { return };
    let directory = PathBuf::from(std::env::var(DIRECTORY).expect("a peer has its directory"));
    let eal = Eal::start(&options(Vec::new())).unwrap();
    let pool = Mempool::new(&eal, "frames", 4095).unwrap();
    match peer.as_str() {
        "host" => host(connect(&eal, &pool, &device(&directory, INSIDE, "client")), &pool),
        "far" => far(connect(&eal, &pool, &device(&directory, OUTSIDE, "client"))),
        other => panic!("no peer {other}"),
    }
}

fn options(polling: Vec<usize>) -> Options {
    Options { memory: Memory::Ordinary { mib: 64 }, polling, devices: Vec::new(), extra: Vec::new() }
}

fn device(directory: &Path, number: u8, role: &str) -> String {
    let socket = directory.join("s");
    format!("net_memif{number},role={role},id={number},socket-abstract=no,socket={}", socket.display())
}

/// Opens the port until the gateway answers.
fn connect(eal: &Eal, pool: &Mempool, device: &str) -> (Port, RxQueue, TxQueue) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut port = Port::open(eal, device).unwrap();
        // To start is to connect.
        if let Ok(mut queues) = port.start(&PortConfig::default(), std::slice::from_ref(pool)) {
            let (rx, tx) = queues.pop().unwrap();
            let answered = Instant::now() + Duration::from_secs(1);
            while Instant::now() < answered {
                if port.link().unwrap().up {
                    return (port, rx, tx);
                }
                std::thread::sleep(LOOK);
            }
        }
        assert!(Instant::now() < deadline, "the gateway does not answer on {device}");
        std::thread::sleep(LOOK);
    }
}

/// Sends packets until it is killed, as many as the gateway takes.
fn host((_port, _rx, mut tx): (Port, RxQueue, TxQueue), pool: &Mempool) {
    let packet = Gateway(0).from_host(b"payload");
    let mut frames: Vec<Mbuf> = Vec::with_capacity(BURST);
    loop {
        while frames.len() < BURST {
            let mut frame = pool.alloc().unwrap();
            assert!(frame.copy_from(&packet));
            frames.push(frame);
        }
        tx.burst(&mut frames);
        std::thread::yield_now();
    }
}

/// Sends back what it receives until it is killed, and says when that has been many.
fn far((_port, mut rx, mut tx): (Port, RxQueue, TxQueue)) {
    let mut frames: Vec<Mbuf> = Vec::with_capacity(BURST);
    let (mut received, mut said) = (0, false);
    loop {
        received += rx.burst(&mut frames);
        tx.burst(&mut frames);
        frames.clear();
        if received >= MANY && !said {
            println!("\nmany");
            said = true;
        }
        std::thread::yield_now();
    }
}

/// A peer's process, which ends with this.
struct Peer(Child, BufReader<ChildStdout>);

impl Peer {
    fn start(peer: &str, directory: &Path) -> Self {
        let this = std::env::current_exe().expect("the test binary has a path");
        let mut child = Command::new(this)
            .args(["peer", "--exact", "--nocapture"])
            .env(PEER, peer)
            .env(DIRECTORY, directory)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test binary can be run");
        let output = child.stdout.take().expect("its output is piped");
        Self(child, BufReader::new(output))
    }

    /// Waits until it has received much.
    fn has_received(&mut self) {
        let mut lines = self.1.by_ref().lines().map_while(Result::ok);
        assert!(lines.any(|line| line == "many"), "the peer ended");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The gateway: on a core that it shares with DPDK's own threads, until it is told to stop.
fn gateway(directory: &Path, core: usize, running: &Sender<(Vec<Port>, ControlSide)>, stop: &AtomicBool) {
    machine::pin_to_core(core).unwrap();
    let eal = Eal::start(&options(vec![core])).unwrap();
    let _registered = RegisteredThread::new(&eal).unwrap();
    let devices = [INSIDE, OUTSIDE].map(|port| (device(directory, port, "server"), PortConfig::default()));
    let (ports, mut shares) = start(&eal, &devices, 1, 0).unwrap();
    let WorkerIo { ports: queues, pool } = shares.pop().unwrap();
    let (mut control, worker_side) = link(RingSizes::default(), Arc::new(Bell::silent()));
    for command in Gateway(0).commands() {
        control.commands.push(command).unwrap();
    }
    running.send((ports, control)).unwrap();
    let frames = pool.clone();
    Worker::new(Parts {
        state: State::new(&Gateway(0).settings()).unwrap(),
        ports: queues,
        pool,
        control: worker_side,
        mesh: Mesh::alone(),
        lines: Vec::new(),
        clock: Clock::new(),
        idle: Idle { polls: u32::MAX, nap: Duration::ZERO },
    })
    .run(stop);
    assert_eq!(frames.available(), frames.size(), "every frame is back");
}

/// Connects as a peer would, and leaves at once.
fn hasty(directory: &Path) {
    let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
    socket.connect(&SockAddr::unix(directory.join("s")).unwrap()).unwrap();
}

fn wait(what: &str, mut until: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !until() {
        assert!(Instant::now() < deadline, "{what}: not within {} s", PATIENCE.as_secs());
        std::thread::sleep(LOOK);
    }
}

/// A directory that goes away with the test.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_peer_that_leaves_and_comes_back_costs_its_packets_alone() {
    let directory = Directory(std::env::temp_dir().join(format!("ces-peer-leaves-{}", std::process::id())));
    std::fs::create_dir_all(&directory.0).unwrap();
    let core = *machine::usable_cores().unwrap().last().unwrap();
    let stop = AtomicBool::new(false);
    let (sender, running): (_, Receiver<(Vec<Port>, ControlSide)>) = channel();
    std::thread::scope(|scope| {
        let (path, stop_gateway) = (&directory.0, &stop);
        scope.spawn(move || gateway(path, core, &sender, stop_gateway));
        let (ports, control) = running.recv().expect("the gateway starts");
        let stopped = StopOnDrop(&stop);
        let up = |port: u8| ports[usize::from(port)].link().unwrap().up;
        let lost = || control.counters.snapshot().drops[DropReason::TxQueueFull as usize];

        (0..HASTY).for_each(|_| hasty(&directory.0));
        let host = Peer::start("host", &directory.0);
        for _ in 0..LEAVES {
            let mut far = Peer::start("far", &directory.0);
            far.has_received();
            assert!(up(OUTSIDE));
            drop(far);
            wait("the link goes down", || !up(OUTSIDE));
            let before = lost();
            wait("what finds no peer is counted", || lost() > before);
        }
        assert!(up(INSIDE), "the other port is as it was");
        drop(host);
        wait("the link goes down", || !up(INSIDE));
        drop(stopped);
        // What came in went out or was dropped for one reason.
        let accounted = || {
            let counters = control.counters.snapshot();
            let sum = |counts: &[u64]| counts.iter().sum::<u64>();
            (sum(&counters.rx_packets), sum(&counters.tx_packets) + sum(&counters.drops))
        };
        wait("every packet is accounted for", || accounted().0 == accounted().1);
    });
}

/// Has the gateway stop, also if the test fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
