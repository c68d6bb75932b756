//! Sessions of NAT44 go on in the next process, however the last one ended. No NIC.
#![allow(missing_docs)]

mod common;

use ces_dataplane::msg::{Command, HopId, Neighbour, Recorded, Recording};
use ces_dataplane::nat::statics::Static;
use ces_dataplane::premises::Premises;
use ces_dataplane::reason::DropReason as Why;
use ces_dataplane::settings::{NatRoom, WorkerSettings};
use ces_dataplane::state::State;
use ces_dataplane::table::fib::{Fib, Next, Route};
use ces_dataplane::table::sessions::Sessions;
use ces_dataplane::verdict::Verdict;
use common::*;
use machine::Kept;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const SERVER: u32 = 0x0808_0808;
const SESSIONS: u32 = 64;
const LINE: usize = 64;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// A file in memory, gone when dropped.
struct Memory(PathBuf);

impl Memory {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self(PathBuf::from(format!("/dev/shm/ces-kept-{}-{number}", std::process::id())))
    }

    fn open(&self) -> Kept {
        Kept::open(&self.0, Sessions::kept_bytes(SESSIONS)).unwrap()
    }

    fn file(&self) -> File {
        File::options().read(true).write(true).open(&self.0).unwrap()
    }

    /// The numbers of the lines in which something stands.
    fn taken(&self) -> Vec<u64> {
        let mut bytes = vec![0; LINE * SESSIONS as usize];
        self.file().read_exact_at(&mut bytes, 0).unwrap();
        let is_taken = |line: &(usize, &[u8])| line.1.iter().any(|&byte| byte != 0);
        bytes.chunks(LINE).enumerate().filter(is_taken).map(|(number, _)| number as u64).collect()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn nat_settings() -> WorkerSettings {
    let mut settings = settings();
    settings.nat_room = NatRoom { sessions: SESSIONS, mappings: 64, hosts: 8, addresses: 2 };
    settings.nat.addresses = vec![address(LOCAL)];
    settings
}

/// A process that finds what the last one left; the seed of its tables is another one.
fn resumed(memory: &Memory, mut settings: WorkerSettings, now: u64) -> Gateway {
    settings.hash_seed = [now, now ^ 0x5555];
    let route = |network, prefix, next| Route { network, prefix, next };
    let fib = Fib::of(&[route(0, 0, Next::Via(ROUTER)), route(0x0a00_0000, 24, Next::OnLink(INSIDE))], 1);
    let mut premises = Premises::new(&settings).with_routes(Arc::new(fib));
    let mut gateway = Gateway::bare(settings);
    gateway.state = State::resumed(&gateway.settings, memory.open(), now).unwrap();
    gateway.now = now;
    gateway.state.move_in(&mut premises);
    let hops = [(ROUTER, OUTSIDE, MAC_ROUTER), (HOP_HOST, INSIDE, MAC_HOST), (HOP_OTHER, INSIDE, MAC_OTHER)];
    for (hop, port, mac) in hops {
        gateway.command(Command::SetHop(hop, Neighbour { port, mac: Some(mac), pin: None }));
    }
    let reach: [(u32, HopId); 2] = [(HOST, HOP_HOST), (OTHER, HOP_OTHER)];
    for (host, hop) in reach {
        gateway.command(Command::Reach(address(host), hop));
    }
    gateway
}

fn flow(frame: &[u8]) -> (u32, u16, u32, u16) {
    let word = |at: usize| u32::from_be_bytes(frame[14 + at..14 + at + 4].try_into().unwrap());
    (word(12), (word(20) >> 16) as u16, word(16), word(20) as u16)
}

fn forwarded(gateway: &mut Gateway, port: u8, frame: &[u8]) -> Option<(u32, u16, u32, u16)> {
    let (verdict, out) = gateway.one(port, frame);
    matches!(verdict, Verdict::Forward(_)).then(|| {
        assert_sound(&out[0].1);
        flow(&out[0].1)
    })
}

fn from_other(packet: &Ip) -> Vec<u8> {
    ethernet(MAC_IN, MAC_OTHER, 0x0800, &packet.bytes())
}

fn from_world(packet: &Ip) -> Vec<u8> {
    ethernet(MAC_OUT, MAC_ROUTER, 0x0800, &packet.bytes())
}

/// Established TCP of one host, UDP of another one that wants the same port, a ping, and GRE. Returns the other's port
/// outside.
fn open(gateway: &mut Gateway) -> u16 {
    let syn = Ip::new(HOST, SERVER, 6, tcp(5000, 80, SYN, &[], &[]));
    assert_eq!(forwarded(gateway, INSIDE, &from_host(&syn)), Some((LOCAL, 5000, SERVER, 80)));
    let syn_ack = Ip::new(SERVER, LOCAL, 6, tcp(80, 5000, SYN | ACK, &[], &[]));
    assert!(forwarded(gateway, OUTSIDE, &from_world(&syn_ack)).is_some());
    let first = Ip::new(HOST, SERVER, 17, udp(6000, 53, b"q"));
    assert!(forwarded(gateway, INSIDE, &from_host(&first)).is_some());
    let second = Ip::new(OTHER, SERVER, 17, udp(6000, 53, b"q"));
    let gre = Ip::new(HOST, SERVER, 47, vec![0; 8]);
    assert!(matches!(gateway.one(INSIDE, &from_host(&gre)).0, Verdict::Forward(_)));
    forwarded(gateway, INSIDE, &from_other(&second)).unwrap().1
}

#[test]
fn sessions_go_on_in_the_next_process() {
    let memory = Memory::new();
    let mut gateway = resumed(&memory, nat_settings(), SECOND);
    assert_eq!(gateway.state.counters.sessions_adopted, 0);
    let port = open(&mut gateway);
    drop(gateway);

    let mut gateway = resumed(&memory, nat_settings(), 90 * SECOND);
    let counters = &gateway.state.counters;
    assert_eq!((counters.sessions_adopted, counters.sessions_forgotten), (4, 0));
    // From outside first, and not by a SYN.
    let data = Ip::new(SERVER, LOCAL, 6, tcp(80, 5000, ACK, &[], b"data"));
    assert_eq!(forwarded(&mut gateway, OUTSIDE, &from_world(&data)), Some((SERVER, 80, HOST, 5000)));
    let more = Ip::new(HOST, SERVER, 6, tcp(5000, 80, ACK, &[], b"more"));
    assert_eq!(forwarded(&mut gateway, INSIDE, &from_host(&more)), Some((LOCAL, 5000, SERVER, 80)));
    let answer = Ip::new(SERVER, LOCAL, 17, udp(53, port, b"a"));
    assert_eq!(forwarded(&mut gateway, OUTSIDE, &from_world(&answer)), Some((SERVER, 53, OTHER, 6000)));
    // A mapping goes on for other destinations (RFC 4787 §4.1), and its port is nobody else's.
    let elsewhere = Ip::new(OTHER, SERVER + 1, 17, udp(6000, 99, b"q"));
    assert_eq!(forwarded(&mut gateway, INSIDE, &from_other(&elsewhere)), Some((LOCAL, port, SERVER + 1, 99)));
    let same = Ip::new(OTHER, SERVER, 6, tcp(5000, 80, SYN, &[], &[]));
    assert!(forwarded(&mut gateway, INSIDE, &from_other(&same)).is_some_and(|(_, given, ..)| given != 5000));
    // UDP that nobody answered before was answered now; TCP has its two hours since its last packet.
    gateway.now += 7000 * SECOND;
    for _ in 0..100 {
        gateway.state.tick(gateway.now);
    }
    assert!(forwarded(&mut gateway, OUTSIDE, &from_world(&data)).is_some());
    assert_eq!(forwarded(&mut gateway, OUTSIDE, &from_world(&answer)), None, "its time was over");
}

#[test]
fn time_goes_on_while_nobody_runs() {
    let memory = Memory::new();
    let mut gateway = resumed(&memory, nat_settings(), SECOND);
    let port = open(&mut gateway);
    drop(gateway);
    let mut gateway = resumed(&memory, nat_settings(), 200 * SECOND);
    gateway.now += 2 * SECOND;
    gateway.state.tick(gateway.now);
    let answer = Ip::new(SERVER, LOCAL, 17, udp(53, port, b"a"));
    assert_eq!(gateway.one(OUTSIDE, &from_world(&answer)).0, Verdict::Drop(Why::Unasked));
    let data = Ip::new(SERVER, LOCAL, 6, tcp(80, 5000, ACK, &[], b"data"));
    assert!(forwarded(&mut gateway, OUTSIDE, &from_world(&data)).is_some());
}

#[test]
fn what_the_configuration_no_longer_has_room_for_is_forgotten() {
    let memory = Memory::new();
    let mut gateway = resumed(&memory, nat_settings(), SECOND);
    open(&mut gateway);
    drop(gateway);
    let mut settings = nat_settings();
    settings.nat.addresses = vec![address(LOCAL + 1)];
    let gateway = resumed(&memory, settings, 2 * SECOND);
    let counters = &gateway.state.counters;
    assert_eq!((counters.sessions_adopted, counters.sessions_forgotten), (0, 4));
    drop(gateway);
    assert_eq!(memory.taken(), [0; 0], "nor do they come back");

    let mut gateway = resumed(&memory, nat_settings(), 3 * SECOND);
    open(&mut gateway);
    drop(gateway);
    let mut settings = nat_settings();
    settings.nat_room.mappings = 1;
    let mut gateway = resumed(&memory, settings, 4 * SECOND);
    let counters = gateway.state.counters.clone();
    assert_eq!((counters.sessions_adopted, counters.sessions_forgotten), (2, 2), "a mapping, and GRE");
    gateway.state.take_stock();
    assert_eq!(gateway.state.counters.mappings_live, 1);
}

#[test]
fn with_several_workers_each_takes_up_its_own() {
    let memory = Memory::new();
    let mut gateway = resumed(&memory, nat_settings(), SECOND);
    open(&mut gateway);
    drop(gateway);
    let mut settings = nat_settings();
    settings.layout = ces_dataplane::tag::Layout::new(2, settings.bindings);
    settings.workers = 2;
    settings.worker = ces_dataplane::tag::worker_of(HOST, 2);
    let gateway = resumed(&memory, settings, 2 * SECOND);
    let counters = &gateway.state.counters;
    assert_eq!(counters.sessions_adopted + counters.sessions_forgotten, 4);
    assert!(counters.sessions_forgotten >= 1, "no port of another worker's");
}

/// Who had a block has it still, and nobody else gets a port of it; a port that is of another size's block is forgotten with the
/// session.
#[test]
fn blocks_of_ports_go_on_with_their_hosts() {
    let mut settings = nat_settings();
    (settings.nat.block_ports, settings.recording) = (64, Recording::Blocks);
    let memory = Memory::new();
    let mut gateway = resumed(&memory, settings.clone(), SECOND);
    let mapped = |gateway: &mut Gateway, host: u32, port: u16| {
        let packet = Ip::new(host, SERVER, 17, udp(port, 53, b"q"));
        let frame = if host == HOST { from_host(&packet) } else { from_other(&packet) };
        forwarded(gateway, INSIDE, &frame).unwrap().1
    };
    let before = [mapped(&mut gateway, HOST, 5000), mapped(&mut gateway, OTHER, 5000)];
    drop(gateway);
    let mut gateway = resumed(&memory, settings.clone(), 2 * SECOND);
    assert_eq!(gateway.state.counters.sessions_adopted, 2);
    gateway.state.take_stock();
    assert_eq!(gateway.state.counters.nat_blocks, 2);
    for _ in 0..2 {
        let told = gateway.state.peek_record().map(|record| (record.what, record.last.is_some()));
        assert_eq!(told, Some((Recorded::Created, true)));
        gateway.state.pop_record();
    }
    assert_eq!(before, [mapped(&mut gateway, HOST, 5000), mapped(&mut gateway, OTHER, 5000)]);
    for (host, port) in [(HOST, before[0]), (OTHER, before[1])] {
        assert_eq!(mapped(&mut gateway, host, 5001) / 64, port / 64);
    }
    drop(gateway);
    settings.nat.block_ports = 8192;
    let gateway = resumed(&memory, settings, 3 * SECOND);
    let counters = &gateway.state.counters;
    assert_eq!(counters.sessions_adopted + counters.sessions_forgotten, 4);
    assert!(counters.sessions_adopted >= 2, "{}", counters.sessions_adopted);
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A process may end in the middle of a write, and a file may hold anything: a line that does not fit together is
        /// none, and what is taken up never leads two flows to one place.
        #[test]
        fn torn_lines_are_no_sessions(
            writes in proptest::collection::vec((0usize..16, 0usize..60, any::<[u8; 4]>()), 0..30),
            copies in proptest::collection::vec((0usize..16, 0u64..16), 0..4),
        ) {
            let memory = Memory::new();
            let mut gateway = resumed(&memory, nat_settings(), SECOND);
            let port = open(&mut gateway);
            drop(gateway);
            let taken = memory.taken();
            for (line, to) in copies {
                let mut bytes = [0; LINE];
                memory.file().read_exact_at(&mut bytes, taken[line % taken.len()] * LINE as u64).unwrap();
                memory.file().write_all_at(&bytes, to * LINE as u64).unwrap();
            }
            for (line, at, bytes) in writes {
                memory.file().write_all_at(&bytes, taken[line % taken.len()] * LINE as u64 + at as u64).unwrap();
            }
            let mut gateway = resumed(&memory, nat_settings(), 2 * SECOND);
            let data = Ip::new(SERVER, LOCAL, 6, tcp(80, 5000, ACK, &[], b"data"));
            if let Some(flow) = forwarded(&mut gateway, OUTSIDE, &from_world(&data)) {
                prop_assert_eq!(flow, (SERVER, 80, HOST, 5000));
            }
            let answer = Ip::new(SERVER, LOCAL, 17, udp(53, port, b"a"));
            if let Some(flow) = forwarded(&mut gateway, OUTSIDE, &from_world(&answer)) {
                prop_assert_eq!(flow, (SERVER, 53, OTHER, 6000));
            }
            gateway.now += 9000 * SECOND;
            for _ in 0..10_000 {
                gateway.state.tick(gateway.now);
            }
            gateway.state.take_stock();
            let counters = &gateway.state.counters;
            prop_assert_eq!((counters.sessions_live, counters.mappings_live, counters.nat_hosts), (0, 0, 0));
        }
    }
}

/// By how much the numbers of a control channel have moved is not kept: one in which something was written anew does not go
/// on, others do, and are read again.
#[test]
fn no_control_channel_goes_on_with_numbers_that_are_not_known() {
    let memory = Memory::new();
    let mut before = resumed(&memory, nat_settings(), 100 * SECOND);
    let says = |port, flags, sequence: u32, data: &[u8]| {
        let mut segment = tcp(port, 21, flags, &[], data);
        segment[4..8].copy_from_slice(&sequence.to_be_bytes());
        from_host(&Ip::new(HOST, SERVER, 6, segment))
    };
    let place = b"PORT 10,0,0,10,20,21\r\n";
    for port in [4000, 4001] {
        assert!(forwarded(&mut before, INSIDE, &says(port, 0x02, 0, b"")).is_some());
        assert!(forwarded(&mut before, INSIDE, &says(port, 0x10, 1, b"NOOP\r\n")).is_some());
    }
    assert!(forwarded(&mut before, INSIDE, &says(4000, 0x10, 7, place)).is_some());
    drop(before);
    let mut after = resumed(&memory, nat_settings(), 101 * SECOND);
    let counters = &after.state.counters;
    assert_eq!((counters.sessions_adopted, counters.sessions_forgotten), (1, 1));
    assert!(forwarded(&mut after, INSIDE, &says(4000, 0x10, 29, b"NOOP\r\n")).is_none());
    assert!(forwarded(&mut after, INSIDE, &says(4001, 0x10, 7, b"")).is_some());
    let (_, out) = after.one(INSIDE, &says(4001, 0x10, 7, place));
    assert!(out[0].1.ends_with(b"PORT 198,51,100,1,20,21\r\n"));
    assert_eq!(after.state.counters.alg_announced, 1);
}

/// A session of a static mapping goes on as long as the mapping is configured, and takes no port.
#[test]
fn what_is_configured_goes_on_as_it_is_configured() {
    let memory = Memory::new();
    let mut settings = nat_settings();
    settings.nat.statics = vec![Static {
        external: address(LOCAL).into(),
        inside: address(HOST).into(),
        protocol: None,
        port: Some(80),
        ports: None,
        inside_port: Some(8080),
    }]
    .into();
    let arrives = from_world(&Ip::new(SERVER, LOCAL, 17, udp(9, 80, b"x")));
    let leaves = from_host(&Ip::new(HOST, SERVER, 17, udp(8080, 9, b"x")));
    let mut gateway = resumed(&memory, settings.clone(), SECOND);
    assert_eq!(forwarded(&mut gateway, OUTSIDE, &arrives), Some((SERVER, 9, HOST, 8080)));
    drop(gateway);
    let mut gateway = resumed(&memory, settings.clone(), 2 * SECOND);
    assert_eq!(gateway.state.counters.sessions_adopted, 1);
    assert_eq!(forwarded(&mut gateway, INSIDE, &leaves), Some((LOCAL, 80, SERVER, 9)));
    gateway.state.take_stock();
    let counters = &gateway.state.counters;
    assert_eq!((counters.sessions_configured, counters.nat_ports, counters.sessions_opened), (1, 0, 0));
    drop(gateway);
    settings.nat.statics = Vec::new().into();
    let gateway = resumed(&memory, settings, 3 * SECOND);
    assert_eq!(gateway.state.counters.sessions_forgotten, 1);
}
