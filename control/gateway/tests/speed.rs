//! How fast the gateway decides, in process, without sockets. Not run by itself:
//! `cargo test -p ces-gateway --release --test speed -- --ignored --nocapture`.

mod lab;

use ces_dns::message::Transport;
use ces_dns::outcome::{QueryOutcome, QuerySide};
use ces_gateway::journal::{JournalHeader, Pen, replay};
use ces_gateway::{CoreSettings, Output, QueryToken};
use hickory_proto::rr::RecordType;
use lab::{Lab, platform, question};
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

const HOSTS: u32 = 1000;
const NAMES: u32 = 8;

fn host(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(192, 168, 0, 0)) + 10 + n)
}

fn realm(zone: &str) -> String {
    let mut text = String::from("[[policy]]\nname = \"all\"\noutbound.to = \"*\"\ninbound.from = \"*\"\n");
    for n in 0..HOSTS {
        write!(
            text,
            "[[host]]\nname = \"h{n}.{zone}\"\naddress = \"{}\"\npolicy = \"all\"\nservices = [{}]\n",
            host(n),
            (1..NAMES).map(|s| format!("\"s{s}.h{n}.{zone}\"")).collect::<Vec<_>>().join(", ")
        )
        .unwrap();
    }
    text
}

fn name(n: u32, s: u32) -> String {
    if s == 0 { format!("h{n}.b.demo") } else { format!("s{s}.h{n}.b.demo") }
}

fn change(settings: &mut CoreSettings) {
    settings.realm.networks = vec!["192.168.0.0/16".parse().unwrap()];
    settings.dns.negotiation_rate = 0;
    settings.dns.host_rate = 0;
    settings.dns.outside_rate = 0;
    settings.cetp.limits.sessions_per_peer = 1_000_000;
    settings.cetp.limits.sessions_per_peer_max = 1_000_000;
    settings.cetp.limits.messages_per_s = 10_000_000;
}

#[test]
#[ignore = "a measurement"]
fn negotiations_and_answers_a_second() {
    let mut lab = Lab::with(change, &realm("a.demo"), &realm("b.demo"));
    // The first one also makes the peers known to each other, the first round fills the resolver's cache.
    assert!(lab.address(0, host(0), &name(0, 0)).is_some());
    for n in 1..HOSTS {
        let client = SocketAddr::new(host(n).into(), 53);
        let query = question(&name(n, 0), RecordType::NAPTR, 1);
        let now = lab.now;
        lab.nodes[0].gateway.handle_dns(
            QuerySide::Inside,
            Transport::Udp,
            client,
            &query,
            QueryToken(1 << 40),
            now,
        );
        lab.settle();
        lab.nodes[0].answers.remove(&(1 << 40));
    }
    let rounds = u64::from(HOSTS * (NAMES - 1));
    let begin = Instant::now();
    for s in 1..NAMES {
        for n in 0..HOSTS {
            lab.now += 1000;
            lab.query(0, host(n), &name(n, s), RecordType::A);
        }
    }
    let took = begin.elapsed();
    assert_eq!(lab.dns_count(0, QueryOutcome::Negotiated), rounds + 1);
    println!(
        "negotiations: {:.0}/s for both gateways and the lab together ({:.1} us each)",
        rounds as f64 / took.as_secs_f64(),
        took.as_secs_f64() * 1e6 / rounds as f64
    );

    let queries: Vec<(SocketAddr, Vec<u8>)> = (0..HOSTS)
        .flat_map(|n| (1..NAMES).map(move |s| (n, s)))
        .map(|(n, s)| (SocketAddr::new(host(n).into(), 53), question(&name(n, s), RecordType::A, 7)))
        .collect();
    let gateway = &mut lab.nodes[0].gateway;
    let begin = Instant::now();
    let mut answers = 0u64;
    for round in 0..20 {
        for (client, query) in &queries {
            gateway.handle_dns(QuerySide::Inside, Transport::Udp, *client, query, QueryToken(round), lab.now);
            while let Some(output) = gateway.poll_output() {
                answers += u64::from(matches!(output, Output::Answer { .. }));
            }
        }
    }
    let took = begin.elapsed();
    assert_eq!(answers, queries.len() as u64 * 20);
    println!(
        "answers for connected pairs: {:.0}/s ({:.2} us each)",
        answers as f64 / took.as_secs_f64(),
        took.as_secs_f64() * 1e6 / answers as f64
    );
}

#[test]
#[ignore = "a measurement"]
fn what_the_journal_costs() {
    let mut lab = Lab::with(change, &realm("a.demo"), &realm("b.demo"));
    for s in 0..NAMES {
        for n in 0..HOSTS {
            lab.now += 1000;
            lab.query(0, host(n), &name(n, s), RecordType::A);
        }
    }
    let sessions = f64::from(HOSTS * NAMES);
    let node = &lab.nodes[0];
    let figures = ces_gateway::figures(&node.settings, &platform(1, 1));
    let mut bytes = Vec::new();
    let mut pen = Pen::begin(&JournalHeader::new(&figures, [0; 2]), &mut bytes);
    let begin = Instant::now();
    for (at, change) in &node.changes {
        pen.write(*at, change, &mut bytes);
    }
    let took = begin.elapsed();
    println!(
        "journal: {:.0} octets a session from its wish to its binding, {:.2} us to write them",
        bytes.len() as f64 / sessions,
        took.as_secs_f64() * 1e6 / sessions
    );
    let begin = Instant::now();
    let replayed = replay(&bytes, &figures).unwrap();
    let took = begin.elapsed();
    assert!(replayed.sessions == *node.gateway.sessions());
    println!("replay: {:.2} us a session", took.as_secs_f64() * 1e6 / sessions);
    lab.kill(0);
    let begin = Instant::now();
    let restored = lab.resume(0, &realm("a.demo"));
    let took = begin.elapsed();
    assert_eq!((restored.kept, restored.ended), (sessions as usize, 0));
    println!("replay, registry and restoring: {:.2} us a session", took.as_secs_f64() * 1e6 / sessions);
}
