//! The packet path allocates nothing, whatever becomes of a packet.

mod common;
mod gateways;

use ces_dataplane::frame::MemoryFrame;
use ces_dataplane::io::memory::{self, MemoryPool};
use ces_dataplane::msg::{Command, Neighbour};
use ces_dataplane::path::process_burst;
use ces_dataplane::premises::Premises;
use ces_dataplane::reason::DropReason;
use ces_dataplane::state::State;
use ces_dataplane::verdict::Verdict;
use ces_dataplane::worker::{Bell, Idle, Mesh, Parts, RingSizes, Worker, link};
use gateways::Gateway;
use machine::Clock;
use machine::allocations::{Counting, on_this_thread};
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUNDS: usize = 1000;
const FRAMES: usize = 64;

#[test]
fn no_packet_allocates() {
    let mut workers = Vec::new();
    let mut insides = Vec::new();
    let mut outsides = Vec::new();
    let mut controls = Vec::new();
    for number in 0..2 {
        let (mut control, worker_side) = link(RingSizes::default(), Arc::new(Bell::silent()));
        for command in Gateway(number).commands() {
            control.commands.push(command).unwrap();
        }
        controls.push(control);
        // A burst, and what was held of one before.
        let (inside_port, inside) = memory::port(2 * FRAMES);
        let (outside_port, outside) = memory::port(2 * FRAMES);
        insides.push(inside);
        outsides.push(outside);
        workers.push(Worker::new(Parts {
            state: State::new(&Gateway(number).settings()).unwrap(),
            ports: vec![inside_port, outside_port],
            pool: MemoryPool::new(1024),
            control: worker_side,
            mesh: Mesh::alone(),
            lines: Vec::new(),
            clock: Clock::new(),
            idle: Idle::default(),
        }));
    }
    let packet = Gateway(0).from_host(b"payload");
    let query = Gateway(0).query();
    let mut stray = packet.clone();
    stray[33] ^= 1; // another proxy address
    stray[25] ^= 1; // and the header checksum for it, give or take the carry that these values do not have

    let (mut now, mut counted) = (1_000_000_000, 0);
    let (mut through, mut punted) = (0, 0);
    let mut turn = |worker: &mut Worker<_, _>, now| {
        let before = on_this_thread();
        worker.turn(now);
        counted += on_this_thread() - before;
    };
    let way_out = Gateway(0).commands()[1];
    let Command::SetHop(hop, known) = way_out else { panic!("{way_out:?}") };
    for round in 0..ROUNDS {
        // At times the way out has no MAC address: what is held goes, or is dropped, in the next round.
        let mac = known.mac.filter(|_| round % 4 != 1);
        controls[0].commands.push(Command::SetHop(hop, Neighbour { mac, ..known })).unwrap();
        for index in 0..FRAMES {
            let bytes = match (round + index) % 16 {
                0 => &query,
                1 => &stray,
                _ => &packet,
            };
            assert!(insides[0].send_bytes(bytes));
        }
        // At times the gateway is configured anew: who moves out frees nothing, the control thread does.
        if round % 8 == 3 {
            controls[0].premises.push(Box::new(Premises::new(&Gateway(0).settings()))).unwrap();
            controls[0].commands.push(Command::MoveIn).unwrap();
        }
        now += 10_000_000;
        turn(&mut workers[0], now);
        assert_eq!(controls[0].left.pop().is_some(), round % 8 == 3);
        while let Some(frame) = outsides[0].receive() {
            outsides[1].send(frame).unwrap();
        }
        turn(&mut workers[1], now);
        while insides[1].receive().is_some() {
            through += 1;
        }
        while insides[0].receive().is_some() {} // ICMP errors
        while controls[0].events.pop().is_some() {}
        while controls[0].punt.pop_with(|_| ()).is_some() {
            punted += 1;
        }
    }
    assert_eq!(counted, 0, "allocations");
    let counters = &workers[0].state().counters;
    let replaced = counters.drops[DropReason::NeighbourReplaced as usize];
    assert_eq!(through, ROUNDS * FRAMES * 14 / 16 - replaced as usize);
    assert!(punted > 0 && replaced > 0 && counters.held == counters.held_sent + replaced);
    let dropped = counters.dropped();
    assert_eq!(through + punted + dropped as usize, ROUNDS * FRAMES, "every packet is accounted for");
}

/// Nor does what reads messages of SIP and RTSP, as datagrams and out of streams, whole and in pieces, and writes them anew.
#[test]
fn no_message_allocates() {
    use common::nat::{ACK, FIN, SERVER, SYN, from_world, gateway};
    use common::{HOST, INSIDE, Ip, LOCAL, OUTSIDE, address, from_host, tcp, udp};
    let (host, local) = (address(HOST).to_string(), address(LOCAL).to_string());
    let body =
        format!("v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nm=audio 4000 RTP/AVP 0\r\n");
    let invite = |transport: &str| {
        format!(
            "INVITE sip:b@x SIP/2.0\r\nVia: SIP/2.0/{transport} {host}:5060;branch=z\r\nCall-ID: 7\r\nCSeq: 1 INVITE\r\n\
             Contact: <sip:a@{host}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let setup = format!(
        "SETUP rtsp://8.8.8.8/a RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP;destination={host};client_port=5000-5001\r\n\r\n"
    );
    let answer = format!(
        "RTSP/1.0 200 OK\r\nCSeq: 1\r\nTransport: RTP/AVP;destination={local};client_port=5000-5001;server_port=6-7\r\n\r\n"
    );
    let segment = |out: bool, port: u16, flags: u8, sequence: u32, data: &[u8]| {
        let (from, to) = if out { (4000, port) } else { (port, 4000) };
        let mut bytes = tcp(from, to, flags, &[], data);
        bytes[4..8].copy_from_slice(&sequence.to_be_bytes());
        if out {
            (INSIDE, from_host(&Ip::new(HOST, SERVER, 6, bytes)))
        } else {
            (OUTSIDE, from_world(&Ip::new(SERVER, LOCAL, 6, bytes)))
        }
    };
    let mut gateway = gateway();
    let mut counted = 0;
    for round in 0..100 {
        let first = round * 5000;
        let datagram = udp(5060, 5060, invite("UDP").as_bytes());
        let mut frames = vec![(INSIDE, from_host(&Ip::new(HOST, SERVER, 17, datagram)))];
        for (port, said) in [(554, &setup), (5060, &invite("TCP"))] {
            let half = said.len() / 2;
            frames.extend([
                segment(true, port, SYN, first, &[]),
                segment(false, port, SYN | ACK, first, &[]),
                segment(true, port, ACK, first + 1, &said.as_bytes()[..half]),
                segment(true, port, ACK, first + 1 + half as u32, &said.as_bytes()[half..]),
                segment(true, port, ACK, first + 1, &said.as_bytes()[..half]),
            ]);
        }
        frames.push(segment(false, 554, ACK, first + 1, answer.as_bytes()));
        for (port, said) in [(554, &setup), (5060, &invite("TCP"))] {
            let answered = if port == 554 { answer.len() as u32 } else { 0 };
            frames.extend([
                segment(true, port, FIN | ACK, first + 1 + said.len() as u32, &[]),
                segment(false, port, FIN | ACK, first + 1 + answered, &[]),
            ]);
        }
        for (port, bytes) in frames {
            let (mut frames, mut verdicts) = ([MemoryFrame::new(&bytes)], [Verdict::Absorb]);
            let before = on_this_thread();
            process_burst(
                &mut gateway.state,
                port,
                &mut frames,
                &mut verdicts,
                &mut gateway.wire,
                gateway.now,
            );
            counted += on_this_thread() - before;
        }
        gateway.events();
        gateway.now += 1_000_000_000;
    }
    assert_eq!(counted, 0, "allocations");
    let counters = &gateway.state.counters;
    assert!(counters.sip_rewritten >= 200 && counters.rtsp_rewritten >= 200, "{counters:?}");
}
