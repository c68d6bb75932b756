//! The Realm Gateway's control side: queries from outside in, reservations and answers out.
#![allow(missing_docs)]

mod lab;

use ces_dataplane::msg::{Command, Event, Reservation, ReservationEnd, ReservationId};
use ces_dataplane::tag::worker_of;
use ces_dns::message::Transport;
use ces_dns::outcome::{QueryOutcome, Side};
use ces_gateway::inbound::Fate;
use ces_gateway::settings::Settings;
use ces_gateway::{Gateway, Output, QueryToken};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use lab::{Reply, hosts, platform, question, settings, start};
use std::net::Ipv4Addr;

const OUTER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const SECOND: u64 = 1_000_000_000;

const HOSTS: &str = r#"
[[host]]
name = "h1.b.demo"
address = "192.168.0.10"
inbound = [
    "h1.b.demo",
    { name = "www.b.demo", protocol = "tcp", port = 80 },
    { name = "ssh.b.demo", protocol = "tcp", port = 22, loose_packets = -1, timeout_ms = 700 },
]
[[host]]
name = "h2.b.demo"
address = "192.168.0.11"
inbound = [{ name = "web.b.demo", protocol = "tcp", port = 80 }]
"#;

fn pooled(pool: &str) -> Settings {
    let mut settings = settings("b", "cesb.demo.", "b.demo.", OUTER);
    settings.realm_gateway = Some(toml::from_str(pool).expect("a good section"));
    assert_eq!(settings.check(&[OUTER]), []);
    settings
}

struct Outside {
    gateway: Gateway,
    now: u64,
    asked: u16,
    reserved: Vec<(u32, ReservationId, Reservation)>,
    withdrawn: Vec<ReservationId>,
}

impl Outside {
    fn new(pool: &str, workers: u32) -> Self {
        let gateway = start(&pooled(pool), &hosts(HOSTS), platform(2, workers), 0);
        Self { gateway, now: SECOND, asked: 0, reserved: Vec::new(), withdrawn: Vec::new() }
    }

    /// What came back; `None`: nothing did.
    fn outputs(&mut self) -> Option<Reply> {
        let mut reply = None;
        while let Some(output) = self.gateway.poll_output() {
            match output {
                Output::Dataplane { worker, command: Command::Reserve(id, reservation) } => {
                    assert!(reply.is_none(), "the reservation comes before the answer");
                    self.reserved.push((worker, id, reservation));
                }
                Output::Dataplane { command: Command::Withdraw(id), .. } => self.withdrawn.push(id),
                Output::Answer { bytes, .. } => reply = Some(Reply::read(&bytes)),
                _ => {}
            }
        }
        reply
    }

    fn ask_by(&mut self, transport: Transport, name: &str, qtype: RecordType) -> Option<Reply> {
        self.asked += 1;
        self.send(transport, name, qtype, self.asked)
    }

    fn send(&mut self, transport: Transport, name: &str, qtype: RecordType, id: u16) -> Option<Reply> {
        let client = "203.0.113.53:5353".parse().expect("a client");
        let bytes = question(name, qtype, id);
        self.gateway.handle_dns(Side::Outside, transport, client, &bytes, QueryToken(7), self.now);
        self.outputs()
    }

    /// The address that a name has for who asks now.
    fn ask(&mut self, name: &str) -> Option<u8> {
        let reply = self.ask_by(Transport::Udp, name, RecordType::A)?;
        assert!(reply.address.is_none() || (reply.ttl == Some(0) && reply.authoritative), "{reply:?}");
        reply.address.map(|address| address.octets()[3])
    }

    fn end(&mut self, place: usize, end: ReservationEnd) {
        let (worker, id, _) = self.reserved[place];
        self.gateway.handle_event(worker, Event::ReservationEnded(id, end), self.now);
    }

    fn fates(&self) -> Vec<(Fate, u64)> {
        let figures = self.gateway.inbound_figures().expect("there is a pool");
        Fate::ALL.iter().map(|&fate| (fate, figures.fates[fate as usize])).filter(|(_, n)| *n > 0).collect()
    }

    fn count(&self, outcome: QueryOutcome) -> u64 {
        self.gateway.counters().dns.value(Side::Outside, outcome)
    }
}

const TWO: &str = "addresses = ['198.51.100.16/31']";

#[test]
fn a_name_has_the_next_address_and_its_worker_knows_before_the_answer() {
    let mut outside = Outside::new(TWO, 1);
    assert_eq!([1, 2, 3].map(|_| outside.ask("www.b.demo")), [Some(16), Some(17), None]);
    let (worker, id, reservation) = outside.reserved[0];
    let asked = Reservation {
        address: Ipv4Addr::new(198, 51, 100, 16),
        port: 80,
        protocol: 6,
        host: Ipv4Addr::new(192, 168, 0, 10),
        from: (Ipv4Addr::UNSPECIFIED, 0),
        loose: Some(0),
        lasts_ms: 2000,
    };
    assert_eq!((worker, id, reservation), (0, ReservationId(0), asked));
    assert_eq!((outside.count(QueryOutcome::Reserved), outside.count(QueryOutcome::PoolExhausted)), (2, 1));
    outside.end(0, ReservationEnd::Used(Ipv4Addr::new(8, 8, 8, 8)));
    assert_eq!([1, 2].map(|_| outside.ask("WWW.b.demo")), [Some(16), None], "at once");
    outside.end(1, ReservationEnd::Expired);
    assert_eq!(outside.fates(), [(Fate::Used, 1), (Fate::Expired, 1), (Fate::Refused, 2)]);
    let shown = outside.gateway.inbound().expect("there is a pool");
    assert_eq!((shown.clients[0].0, shown.resolvers[0].1["used"]), (Ipv4Addr::new(8, 8, 8, 0), 1));
}

#[test]
fn services_share_an_address_of_whatever_host_they_are() {
    let mut outside = Outside::new(TWO, 1);
    assert_eq!(
        ["www.b.demo", "ssh.b.demo", "web.b.demo", "h1.b.demo"].map(|name| outside.ask(name)),
        [Some(16), Some(16), Some(17), None]
    );
    assert_eq!((outside.reserved[1].2.loose, outside.reserved[1].2.lasts_ms), (None, 700));
}

#[test]
fn a_query_that_is_sent_again_has_the_same_address_and_later_another_one() {
    let mut outside = Outside::new(TWO, 1);
    let address = |outside: &mut Outside| {
        outside.send(Transport::Udp, "www.b.demo", RecordType::A, 9).and_then(|reply| reply.address)
    };
    let first = address(&mut outside);
    assert_eq!((address(&mut outside), outside.reserved.len()), (first, 1));
    outside.now += 3 * SECOND / 2;
    assert_ne!(address(&mut outside), first);
    assert_eq!(outside.withdrawn, [ReservationId(0)]);
    outside.end(0, ReservationEnd::Withdrawn);
    assert_eq!(outside.fates(), [(Fate::Replaced, 1)]);
}

#[test]
fn what_is_not_offered_is_not_there() {
    let mut outside = Outside::new(TWO, 1);
    for (name, qtype, code) in [
        ("h2.b.demo", RecordType::A, ResponseCode::NoError),
        ("www.b.demo", RecordType::AAAA, ResponseCode::NoError),
        ("www.b.demo", RecordType::HTTPS, ResponseCode::NoError),
        ("www.b.demo", RecordType::SRV, ResponseCode::NoError),
        ("nobody.b.demo", RecordType::A, ResponseCode::NXDomain),
    ] {
        let reply = outside.ask_by(Transport::Udp, name, qtype).expect("an answer");
        assert_eq!((reply.code, reply.answers, reply.soa.is_some()), (code, 0, true), "{name} {qtype}");
    }
    assert!(outside.gateway.block_host("h1.b.demo.", 60, outside.now));
    assert_eq!(outside.ask("www.b.demo"), None);
    assert!(outside.reserved.is_empty());
}

#[test]
fn over_tcp_a_full_pool_is_a_moment_of_patience() {
    let mut outside = Outside::new("addresses = ['198.51.100.16']", 1);
    assert_eq!(outside.ask("h1.b.demo"), Some(16));
    assert_eq!(outside.ask_by(Transport::Tcp, "h1.b.demo", RecordType::A), None, "later");
    assert_eq!(outside.gateway.poll_timeout(), Some(outside.now + SECOND / 2));
    outside.now += SECOND / 2;
    outside.gateway.handle_timeout(outside.now);
    let reply = outside.outputs().expect("an answer that nobody keeps");
    assert_eq!((reply.code, reply.answers, reply.soa), (ResponseCode::NoError, 0, None));
    outside.ask_by(Transport::Tcp, "h1.b.demo", RecordType::A);
    outside.end(0, ReservationEnd::Expired);
    outside.now += SECOND / 2;
    outside.gateway.handle_timeout(outside.now);
    assert!(outside.outputs().is_some_and(|reply| reply.address.is_some()));
    outside.ask_by(Transport::Tcp, "h1.b.demo", RecordType::A);
    outside.gateway.handle_dns_gone(QueryToken(7));
    assert_eq!(outside.count(QueryOutcome::Abandoned), 1);
}

#[test]
fn one_host_has_so_much_and_each_worker_its_own_addresses() {
    let mut outside = Outside::new("addresses = ['198.51.100.16/30']\nhost_reservations = 1", 2);
    let mine = |address: u8| u32::from(address) % 2 == worker_of(0xc0a8_000a, 2);
    assert!(outside.ask("www.b.demo").is_some_and(mine));
    assert_eq!(outside.ask("ssh.b.demo"), None);
    assert_eq!(outside.count(QueryOutcome::InboundLimit), 1);
    assert_eq!(outside.reserved[0].0, worker_of(0xc0a8_000a, 2));
}

#[test]
fn a_reload_takes_back_what_is_no_longer_offered() {
    let mut outside = Outside::new(TWO, 1);
    assert_eq!(["www.b.demo", "ssh.b.demo"].map(|name| outside.ask(name)), [Some(16), Some(16)]);
    let settings = pooled("addresses = ['198.51.100.18']");
    let text = HOSTS.replace("port = 22", "port = 2222");
    let (registry, policies) = ces_gateway::registry::load(&hosts(&text), &settings).expect("good hosts");
    outside.gateway.reload(settings, registry, policies, outside.now).expect("a good reload");
    outside.outputs();
    assert_eq!(outside.withdrawn, [ReservationId(1)]);
    assert_eq!(outside.ask("www.b.demo"), Some(18));
    outside.end(1, ReservationEnd::Withdrawn);
    outside.end(0, ReservationEnd::Used(Ipv4Addr::new(8, 8, 8, 8)));
    assert_eq!(outside.fates(), [(Fate::Used, 1), (Fate::Withdrawn, 1)]);
    let shown = outside.gateway.inbound().expect("there is a pool");
    assert_eq!(shown.addresses.iter().map(|at| at.address.octets()[3]).collect::<Vec<_>>(), [18]);
}

#[test]
fn wrong_services_are_refused_with_their_lines() {
    let settings = pooled(TWO);
    for (entry, said) in [
        ("{ protocol = 'icmp', port = 8 }", "protocol 1 has no ports"),
        ("{ protocol = 'sctp', port = 8 }", "protocol 132 has no ports"),
        ("{ port = 0 }", "`port` = 0"),
        ("{ loose_packets = -2 }", "`loose_packets`"),
        ("{ timeout_ms = 5 }", "`timeout_ms`"),
        ("'h1.b.demo', 'h1.b.demo'", "listed twice"),
        ("'www.elsewhere.demo'", "lies in no zone"),
        ("{ prot = 6 }", "unknown field"),
    ] {
        let text = format!("[[host]]\nname = 'h1.b.demo'\naddress = '192.168.0.10'\ninbound = [{entry}]\n");
        let errors = ces_gateway::registry::load(&hosts(&text), &settings).expect_err(entry);
        assert!(errors[0].to_string().contains(said) && errors[0].line == Some(4), "{entry}: {}", errors[0]);
    }
}

#[test]
fn a_wrong_pool_is_refused() {
    for (pool, said) in [
        ("addresses = []", "names no address"),
        ("addresses = ['198.51.100.17/28']", "host bits"),
        ("addresses = ['198.51.0.0/16']", "prefix length"),
        ("addresses = ['192.168.0.16']", "which is inside"),
        ("addresses = ['198.51.100.0/29']", "gateway's own"),
        ("addresses = ['198.51.100.16', '198.51.100.16/31']", "overlaps"),
        ("addresses = ['198.51.100.16']\ntimeout_ms = 1", "timeout_ms"),
    ] {
        let mut settings = settings("b", "cesb.demo.", "b.demo.", OUTER);
        settings.realm_gateway = Some(toml::from_str(pool).expect(pool));
        let problems = settings.check(&[OUTER]);
        assert!(problems.iter().any(|problem| problem.to_string().contains(said)), "{pool}: {problems:?}");
    }
}
