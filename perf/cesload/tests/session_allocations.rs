//! The loop of sessions allocates nothing: from the query for a name to the last acknowledgement, lost frames included.

use ces_dataplane::frame::Frame as _;
use ces_dataplane::io::memory::{self, Cable, MemoryPool};
use ces_dataplane::wire::ethernet;
use ces_dataplane::worker::Mesh;
use ces_load::arp::Answers;
use ces_load::session::client::Client;
use ces_load::session::dns::Names;
use ces_load::session::frames::Outlet as _;
use ces_load::session::load::Load;
use ces_load::session::plan::{Destination, Plan, Share, Transport};
use ces_load::session::server::Server;
use ces_load::session::wires::Wires;

#[global_allocator]
static ALLOCATOR: machine::allocations::Counting = machine::allocations::Counting;

fn plan(transport: Transport, target: Destination) -> Plan {
    Plan {
        name: String::new(),
        transport,
        client: 0x0a00_0001,
        clients: 16,
        client_port: 1000,
        client_ports: 1000,
        target,
        server_port: 80,
        requests: 2,
        request_bytes: 100,
        response_bytes: 200,
        think_ns: 2_000,
        timeout_ns: 50_000,
        retries: 2,
        outstanding: u32::MAX,
    }
}

/// Carries frames, and answers every query with the same address; every 50th frame is lost.
struct Network {
    cables: [Cable; 2],
    name_server: (Wires<memory::MemoryPort, MemoryPool>, Cable),
    count: u64,
}

impl Network {
    fn carry(&mut self) {
        let [a, b] = &mut self.cables;
        while let Some(frame) = a.receive() {
            self.count += 1;
            if self.count.is_multiple_of(50) {
                continue;
            }
            let query = frame.data();
            // A query for an address: UDP to port 53.
            if query[23] == 17 && query[36..38] == [0, 53] {
                let mut answer = [0; 400];
                let length = query.len();
                answer[..length].copy_from_slice(query);
                answer[26..30].copy_from_slice(&query[30..34]);
                answer[30..34].copy_from_slice(&query[26..30]);
                answer[34..36].copy_from_slice(&query[36..38]);
                answer[36..38].copy_from_slice(&query[34..36]);
                answer[40..42].fill(0); // no checksum (RFC 768)
                answer[44] |= 0x80;
                answer[49] = 1;
                let record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x1e\0\x04\xc6\x33\x64\x01";
                answer[length..length + 16].copy_from_slice(record);
                let total = (length + 16 - 14) as u16;
                answer[16..18].copy_from_slice(&total.to_be_bytes());
                answer[38..40].copy_from_slice(&(total - 20).to_be_bytes());
                answer[24..26].fill(0);
                let sum = ces_dataplane::wire::checksum::checksum(&answer[14..34]);
                answer[24..26].copy_from_slice(&sum.to_be_bytes());
                let (wires, cable) = &mut self.name_server;
                assert!(wires.frame(0, &answer[..length + 16]).is_some());
                wires.flush();
                if let Some(frame) = cable.receive() {
                    let _ = a.send(frame);
                }
            } else {
                let _ = b.send(frame);
            }
        }
        while let Some(frame) = b.receive() {
            let _ = a.send(frame);
        }
    }
}

#[test]
fn nothing_is_allocated_for_sessions() {
    let names = || Destination::Named { server: 1, names: Names::new("h{}.b.demo", 1, 1000).unwrap() };
    let addresses = Destination::Addresses { first: 0xc633_6401, count: 1 };
    sessions(&plan(Transport::Tcp, names()));
    sessions(&plan(Transport::Udp, names()));
    sessions(&plan(Transport::Tcp, addresses));
}

fn sessions(plan: &Plan) {
    let ((a, to_a), (b, to_b)) = (memory::port(1024), memory::port(1024));
    let (server, cable) = memory::port(1024);
    let link =
        ethernet::Header { destination: [2; 6], source: [4; 6], vlan: None, ethertype: ethernet::IPV4 };
    let client = Client::new(plan.clone(), Share::new(plan, 0, 1), 0, link, 2).unwrap();
    let sides = (client, Server::new(plan, 1, link, 1));
    let answers = vec![Answers::default(), Answers::default()];
    // Frames that are lost or answered by the name server do not come back to the pools.
    let wires = Wires::new(vec![a, b], 2, MemoryPool::new(20_000));
    let mut load = Load::new(wires, sides, answers, Mesh::alone());
    load.reset(1, false);
    let name_server = (Wires::new(vec![server], 1, MemoryPool::new(10_000)), cable);
    let mut network = Network { cables: [to_a, to_b], name_server, count: 0 };
    let mut now = 1 << 30;
    let mut run = |turns: u32| {
        for _ in 0..turns {
            now += 1_000;
            load.begin(now);
            load.turn(now);
            network.carry();
        }
        (load.client.tally().completed, load.client.tally().again)
    };
    let (before, _) = run(200);
    let allocations = machine::allocations::on_this_thread();
    let (after, again) = run(2_000);
    assert_eq!(machine::allocations::on_this_thread() - allocations, 0);
    assert!(after > before + 1_500 && again > 0, "{before} to {after} completed, {again} sent again");
}

#[test]
fn nothing_is_allocated_for_what_is_another_threads() {
    let link =
        ethernet::Header { destination: [2; 6], source: [4; 6], vlan: None, ethertype: ethernet::IPV4 };
    let plan = plan(Transport::Tcp, Destination::Addresses { first: 0xc633_6401, count: 1 });
    let (mut loads, mut near, mut far) = (Vec::new(), Vec::new(), Vec::new());
    for (thread, mesh) in Mesh::new(2, 64).into_iter().enumerate() {
        let ((a, to_a), (b, to_b)) = (memory::port(1024), memory::port(1024));
        near.push(to_a);
        far.push(to_b);
        let client = Client::new(plan.clone(), Share::new(&plan, thread, 2), 0, link, 2).unwrap();
        let sides = (client, Server::new(&plan, 1, link, 1));
        let wires = Wires::new(vec![a, b], 2, MemoryPool::new(10_000));
        let mut load = Load::new(wires, sides, vec![Answers::default(), Answers::default()], mesh);
        load.reset(1, false);
        loads.push(load);
    }
    let mut now = 1 << 30;
    let mut run = |turns: u32| {
        for _ in 0..turns {
            now += 1_000;
            for load in &mut loads {
                load.begin(now);
                load.turn(now);
            }
            for queue in 0..2 {
                while let Some(frame) = near[queue].receive() {
                    let _ = far[queue].send(frame);
                }
                while let Some(frame) = far[queue].receive() {
                    let _ = near[1 - queue].send(frame);
                }
            }
        }
        loads.iter().map(|load| load.client.tally().completed).sum::<u64>()
    };
    let before = run(200);
    let allocations = machine::allocations::on_this_thread();
    let after = run(2_000);
    assert_eq!(machine::allocations::on_this_thread() - allocations, 0);
    assert!(after > before + 3_000, "{before} to {after} completed");
}
