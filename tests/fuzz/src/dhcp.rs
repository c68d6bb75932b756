//! Messages of DHCP as anybody may send them, to a server that has leased addresses, offered some and is probing others.
//!
//! The first octet says how the message comes: through a relay, to the server alone, from a client that has a lease.

use ces_dhcp::message::{Came, parse};
use ces_dhcp::{DhcpArrival, DhcpOutput, Given, SECOND, Server, Settings, Subnet};
use std::net::Ipv4Addr;

/// Flag: it comes to the server's address.
pub const TO_SERVER: u8 = 0x01;
/// Flag: the server probes addresses, and has leases to write down.
pub const WAITS: u8 = 0x02;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 1);
const NOW: u64 = 1_700_000_000 * SECOND;

fn settings(waits: bool) -> Settings {
    let subnet = |third: u8, link| Subnet {
        network: format!("192.168.{third}.0/24").parse().expect("a network"),
        link,
        pools: vec![([192, 168, third, 100].into(), [192, 168, third, 103].into())],
        lease_s: 600,
        given: Given {
            routers: vec![GATEWAY],
            dns: vec![GATEWAY],
            domain: Some("a.demo".into()),
            captive_portal: Some("https://portal.a.demo/".into()),
            boot_file: Some("pxelinux.0".into()),
            ..Given::default()
        },
    };
    Settings {
        subnets: vec![subnet(10, Some((0, GATEWAY))), subnet(20, None)],
        own: vec![GATEWAY],
        probe_ms: if waits { 300 } else { 0 },
        offer_s: 10,
        decline_s: 300,
        client_rate: 10,
        link_rate: 1000,
        names: true,
        are_owners_asked: true,
        is_written: waits,
        ..Settings::default()
    }
}

/// The property: no panic, one outcome or something under way, and at most one answer, of a length that every client takes
/// unless it says that it takes more.
pub fn run(data: &[u8]) {
    let Some((&flags, bytes)) = data.split_first() else { return };
    let mut server = Server::new(settings(flags & WAITS != 0), 7);
    let to = (flags & TO_SERVER != 0).then_some(GATEWAY);
    let arrival = DhcpArrival { port: 0, mac: [2, 0, 0, 0, 0, 1], source: [192, 168, 10, 100].into(), to };
    for round in 1..=3 {
        server.handle(&arrival, bytes, NOW);
        let mut answers = 0;
        while let Some(output) = server.poll_output() {
            if let DhcpOutput::Send(reply) = output {
                let longest = match parse(bytes) {
                    Ok(Came::Request(request)) => usize::from(request.longest),
                    other => panic!("answered: {other:?}"),
                };
                // What an answer has to carry of the question may be longer than its sender says that it takes.
                assert!(reply.bytes.len() >= 300 && reply.bytes.len() <= longest.max(548) + bytes.len());
                answers += 1;
            }
        }
        let (probing, waiting) = server.under_way();
        assert!(answers <= 1);
        assert_eq!(server.counters().total() as usize + probing + waiting, round);
    }
    server.handle_written(u64::MAX, flags & 4 == 0);
    for _ in 0..16 {
        let Some(due) = server.poll_timeout() else { break };
        server.handle_timeout(due);
        while server.poll_output().is_some() {}
    }
}
