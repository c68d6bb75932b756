//! The Realm Gateway's control side: queries from outside in, reservations and answers out.
#![allow(missing_docs)]

mod lab;

use ces_dataplane::msg::{Command, Event, Reservation, ReservationEnd, ReservationId};
use ces_dataplane::tag::worker_of;
use ces_dns::message::Transport;
use ces_dns::outcome::{QueryOutcome, QuerySide};
use ces_gateway::inbound::Fate;
use ces_gateway::settings::CoreSettings;
use ces_gateway::{Gateway, Output, QueryToken};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use lab::{Reply, hosts, platform, question, settings, start};
use std::net::Ipv4Addr;

const OUTER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const SECOND: u64 = 1_000_000_000;
const RESOLVER: &str = "203.0.113.53:5353";

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

/// Where nobody needs a reputation.
fn pooled(pool: &str) -> CoreSettings {
    reputed(&format!("tiers = []\nshare_below = 0.0\n{pool}"))
}

fn reputed(pool: &str) -> CoreSettings {
    let mut settings = settings("b", "cesb.demo.", "b.demo.", OUTER);
    settings.realm_gateway = Some(toml::from_str(pool).expect("a good section"));
    settings.dns.outside_rate = 0;
    assert_eq!(settings.check(&[OUTER]), []);
    settings
}

struct Outside {
    gateway: Gateway,
    now: u64,
    asked: u16,
    reserved: Vec<(u32, ReservationId, Reservation)>,
    withdrawn: Vec<ReservationId>,
    client: &'static str,
    /// The last answer as it was sent.
    said: Vec<u8>,
}

impl Outside {
    fn new(pool: &str, workers: u32) -> Self {
        Self::with(&pooled(pool), workers)
    }

    fn with(settings: &CoreSettings, workers: u32) -> Self {
        let gateway = start(settings, &hosts(HOSTS), platform(2, workers), 0);
        Self {
            gateway,
            now: SECOND,
            asked: 0,
            reserved: Vec::new(),
            withdrawn: Vec::new(),
            client: RESOLVER,
            said: Vec::new(),
        }
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
                Output::Answer { bytes, .. } => {
                    reply = Some(Reply::read(&bytes));
                    self.said = bytes;
                }
                _ => {}
            }
        }
        reply
    }

    /// With these cookies in an OPT record.
    fn send_cookie(&mut self, name: &str, cookie: &[u8]) -> Option<Reply> {
        self.send_option(name, 10, cookie)
    }

    fn send_option(&mut self, name: &str, code: u8, data: &[u8]) -> Option<Reply> {
        self.asked = self.asked.wrapping_add(1);
        let mut bytes = question(name, RecordType::A, self.asked);
        bytes[11] = 1;
        let length = data.len() as u8;
        bytes.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 4 + length, 0, code, 0, length]);
        bytes.extend_from_slice(data);
        self.send_bytes(Transport::Udp, &bytes)
    }

    fn send_bytes(&mut self, transport: Transport, bytes: &[u8]) -> Option<Reply> {
        let client = self.client.parse().expect("a client");
        self.gateway.handle_dns(QuerySide::Outside, transport, client, bytes, QueryToken(7), self.now);
        self.outputs()
    }

    fn ask_by(&mut self, transport: Transport, name: &str, qtype: RecordType) -> Option<Reply> {
        self.asked = self.asked.wrapping_add(1);
        self.send(transport, name, qtype, self.asked)
    }

    fn send(&mut self, transport: Transport, name: &str, qtype: RecordType, id: u16) -> Option<Reply> {
        self.send_bytes(transport, &question(name, qtype, id))
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
        self.gateway.counters().dns.value(QuerySide::Outside, outcome)
    }
}

const TWO: &str = "addresses = ['198.51.100.16/31']\nproof = 'none'";

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
        clients: 1,
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
fn an_answer_of_a_shared_resolver_is_for_several_clients() {
    let mut outside = Outside::new(
        "addresses = ['198.51.100.16/31']\nresolvers = [\
         { networks = ['203.0.113.53'], proof = 'none', clients = 8 }]",
        1,
    );
    assert_eq!([1, 2, 3].map(|_| outside.ask("www.b.demo")), [Some(16); 3]);
    assert_eq!((outside.reserved.len(), outside.reserved[0].2.clients), (1, 8));
    // What lasts too short is left to those who were told it.
    outside.now += 3 * SECOND / 2;
    assert_eq!(outside.ask("www.b.demo"), Some(17));
    assert!(outside.withdrawn.is_empty());
    outside.end(1, ReservationEnd::Expired);
    assert_eq!(outside.ask("www.b.demo"), Some(17));
}

/// RFC 7871: who is believed has the first packet come from where he says, and is told for whom the answer is good.
#[test]
fn the_first_packet_comes_from_the_network_that_a_believed_resolver_tells() {
    let data = [0, 1, 24, 0, 203, 0, 113];
    let told = [0, 8, 0, 7, 0, 1, 24, 24, 203, 0, 113];
    let anybody = (Ipv4Addr::UNSPECIFIED, 0);
    for (is_believed, from) in [(true, (Ipv4Addr::new(203, 0, 113, 0), 24)), (false, anybody)] {
        let mut outside = Outside::new(
            &format!(
                "addresses = ['198.51.100.16']\nresolvers = [\
                 {{ networks = ['203.0.113.53'], proof = 'none', client_subnet = {is_believed} }}]"
            ),
            1,
        );
        outside.send_option("www.b.demo", 8, &data);
        assert_eq!(outside.reserved[0].2.from, from);
        assert_eq!(outside.said.ends_with(&told), is_believed);
    }
    // What tells nothing of an IPv4 client is for anybody; what is no such option is an error.
    let mut outside = Outside::new(
        "addresses = ['198.51.100.16/31']\nresolvers = [\
         { networks = ['203.0.113.53'], proof = 'none', client_subnet = true }]",
        1,
    );
    outside.send_option("www.b.demo", 8, &[0, 1, 0, 0]);
    outside.send_option("www.b.demo", 8, &[0, 2, 16, 0, 0x20, 0x01]);
    assert!(outside.said.ends_with(&[0, 8, 0, 6, 0, 2, 16, 0, 0x20, 0x01]), "scope 0");
    assert_eq!([0, 1].map(|place| outside.reserved[place].2.from), [anybody; 2]);
    let wrong = outside.send_option("www.b.demo", 8, &[0, 1, 24, 0, 203]).expect("an answer");
    assert_eq!(wrong.code, ResponseCode::FormErr);
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
    let mut outside = Outside::new("addresses = ['198.51.100.16']\nproof = 'none'", 1);
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
    let mut outside =
        Outside::new("addresses = ['198.51.100.16/30']\nhost_reservations = 1\nproof = 'none'", 2);
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
    let settings = pooled("addresses = ['198.51.100.18']\nproof = 'none'");
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

const TRUNCATED: u8 = 2;

/// RFC 7766 §5, RFC 7873 §5.2: who has shown nothing hears TC=1, and reserves nothing.
#[test]
fn who_may_be_somebody_else_comes_back_over_tcp_or_with_a_cookie() {
    let mut outside = Outside::new("addresses = ['198.51.100.16/29']", 1);
    let reply = outside.ask_by(Transport::Udp, "www.b.demo", RecordType::A).expect("an answer");
    assert_eq!((reply.answers, outside.said[2] & TRUNCATED, outside.reserved.len()), (0, TRUNCATED, 0));
    assert!(outside.said.len() <= question("www.b.demo", RecordType::A, 1).len(), "no more than was asked");
    assert!(
        outside
            .ask_by(Transport::Tcp, "www.b.demo", RecordType::A)
            .is_some_and(|reply| reply.address.is_some())
    );
    assert_eq!(outside.count(QueryOutcome::Truncated), 1);
    // A client's cookie alone shows nothing yet; ours does.
    let client = [7; 8];
    let reply = outside.send_cookie("www.b.demo", &client).expect("an answer");
    assert!(reply.answers == 0 && outside.said[2] & TRUNCATED != 0 && reply.edns);
    let both = outside.said[outside.said.len() - 24..].to_vec();
    assert_eq!(both[..8], client);
    assert!(outside.send_cookie("www.b.demo", &both).is_some_and(|reply| reply.address.is_some()));
    outside.client = "198.18.7.7:5353";
    let reply = outside.send_cookie("www.b.demo", &both).expect("an answer");
    assert_eq!((reply.answers, outside.reserved.len()), (0, 2), "it is of another network");
    let reply = outside.send_cookie("www.b.demo", &[1; 12]).expect("an answer");
    assert_eq!(reply.code, ResponseCode::FormErr);
    // What sets nothing aside needs no proof.
    let reply = outside.ask_by(Transport::Udp, "h2.b.demo", RecordType::A).expect("an answer");
    assert_eq!((reply.code, outside.said[2] & TRUNCATED), (ResponseCode::NoError, 0));
}

#[test]
fn who_was_told_a_name_asks_for_it() {
    let mut outside = Outside::new("addresses = ['198.51.100.16/29']\nproof = 'cname'", 1);
    let alias = |outside: &mut Outside| {
        let reply = outside.ask_by(Transport::Udp, "www.b.demo", RecordType::A).expect("an answer");
        assert_eq!(
            (reply.answers, reply.ttl, outside.count(QueryOutcome::Challenged) > 0),
            (1, Some(0), true)
        );
        reply.data[0].clone()
    };
    let told = alias(&mut outside);
    assert!(told.ends_with(".www.b.demo.") && outside.reserved.is_empty(), "{told}");
    // Letters come in any case (RFC 4343 §3), other types are empty.
    let reply = outside.ask_by(Transport::Udp, &told, RecordType::AAAA).expect("an answer");
    assert_eq!((reply.code, reply.answers), (ResponseCode::NoError, 0));
    let reply = outside.ask_by(Transport::Udp, &told.to_uppercase(), RecordType::A).expect("an answer");
    assert_eq!((reply.address.is_some(), outside.reserved.len()), (true, 1));
    let made_up =
        outside.ask_by(Transport::Udp, "0123456789abcdef.www.b.demo", RecordType::A).expect("an answer");
    assert_eq!(made_up.code, ResponseCode::NXDomain);
    let late = alias(&mut outside);
    outside.now += 6 * SECOND;
    let reply = outside.ask_by(Transport::Udp, &late, RecordType::A).expect("an answer");
    assert_eq!((reply.code, outside.reserved.len()), (ResponseCode::NXDomain, 1));
}

#[test]
fn each_group_of_resolvers_proves_what_it_is_asked_for() {
    let mut outside = Outside::new(
        "addresses = ['198.51.100.16/29']\nproof = 'both'\n\
         resolvers = [{ networks = ['203.0.113.53'], proof = 'none' }, { networks = ['203.0.113.0/24'], proof = 'truncation' }]",
        1,
    );
    let has = |outside: &mut Outside, transport, client| {
        outside.client = client;
        let reply = outside.ask_by(transport, "www.b.demo", RecordType::A).expect("an answer");
        (reply.address.is_some(), reply.answers)
    };
    assert_eq!(has(&mut outside, Transport::Udp, RESOLVER), (true, 1));
    assert_eq!(has(&mut outside, Transport::Udp, "203.0.113.54:53"), (false, 0));
    assert_eq!(has(&mut outside, Transport::Tcp, "203.0.113.54:53"), (true, 1));
    assert_eq!(has(&mut outside, Transport::Udp, "198.18.0.1:53"), (false, 0));
    assert_eq!(has(&mut outside, Transport::Tcp, "198.18.0.1:53"), (false, 1), "an alias");
}

/// `cargo test -p ces-gateway --release --test inbound -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn reservations_a_second() {
    const ASKED: u32 = 200_000;
    for name in ["h1.b.demo", "www.b.demo"] {
        let mut outside =
            Outside::new("addresses = ['198.51.101.0/24']\nhost_reservations = 1000\nproof = 'none'", 1);
        let began = std::time::Instant::now();
        for number in 0..ASKED {
            // Five milliseconds from question to first packet: some are always pending.
            outside.now += 50_000;
            assert!(outside.ask(name).is_some());
            if number >= 100 {
                outside.end(number as usize - 100, ReservationEnd::Used(Ipv4Addr::from_bits(number)));
            }
        }
        let ns = began.elapsed().as_nanos() / u128::from(ASKED);
        println!(
            "{name}: {ns} ns a question with its reservation and its end, {} a second",
            1_000_000_000 / ns
        );
    }
}

/// A crowd that asks and never comes beside one who does, for a minute, and who was there ten seconds before: how often he asked
/// meanwhile, and found an address.
///
/// Everybody asks for a full name, which takes an address of 64 alone: each of the crowd a hundred times a second, from a
/// network of its own or, if it lies about that, from another one each time; he ten times a second, and comes after 50 ms.
fn beside_liars(pool: &str, liars: u32, lie_anew: bool) -> (u32, u32) {
    const STEP: u64 = SECOND / 100;
    let pool =
        format!("{pool}\naddresses = [\"198.51.100.64/26\"]\nproof = \"none\"\nhost_reservations = 1000");
    let mut outside = Outside::with(&reputed(&pool), 1);
    let mut pending: Vec<(u64, ReservationId, bool)> = Vec::new();
    let (mut asked, mut found, mut network) = (0, 0, 0u32);
    for step in 0..6_000u64 {
        outside.now += STEP;
        let (now, over): (_, Vec<_>) =
            (outside.now, pending.extract_if(.., |(at, ..)| *at <= outside.now).collect());
        for (_, id, is_used) in over {
            let end =
                if is_used { ReservationEnd::Used([198, 18, 0, 9].into()) } else { ReservationEnd::Expired };
            outside.gateway.handle_event(0, Event::ReservationEnded(id, end), now);
            outside.outputs();
        }
        let is_his = step % 10 == 0;
        let liars = if step < 1_000 { 0 } else { liars };
        for who in (0..liars).chain(is_his.then_some(u32::MAX)) {
            network = if lie_anew { network + 1 } else { who.wrapping_add(1) };
            let client = if who == u32::MAX { 0x0808_0808 } else { 0x6400_0000 + (network << 8) };
            let before = outside.reserved.len();
            outside.asked = outside.asked.wrapping_add(1);
            let bytes = question("h1.b.demo", RecordType::A, outside.asked);
            let client = (Ipv4Addr::from_bits(client), 5353).into();
            outside.gateway.handle_dns(
                QuerySide::Outside,
                Transport::Udp,
                client,
                &bytes,
                QueryToken(7),
                now,
            );
            outside.outputs();
            let is_given = outside.reserved.len() > before;
            if let Some((_, id, _)) = outside.reserved.last().filter(|_| is_given) {
                let (lasts, is_used) =
                    if who == u32::MAX { (SECOND / 20, true) } else { (2 * SECOND, false) };
                pending.push((now + lasts, *id, is_used));
            }
            if who == u32::MAX && step >= 1_000 {
                (asked, found) = (asked + 1, found + u32::from(is_given));
            }
        }
    }
    (asked, found)
}

/// Of 64 addresses a tenth is left to who has 0.6 of reputation or more: 6, each for 50 ms, 120 a second; he wants 10. Liars whom
/// somebody knows are at 0 after their first two seconds and have the third of the pool that nobody needs, or an equal share at
/// first.
#[test]
fn who_asks_and_never_comes_starves_nobody_who_does() {
    for (liars, lie_anew) in [(1, false), (10, false), (200, false), (1, true), (20, true)] {
        let (asked, found) = beside_liars("", liars, lie_anew);
        assert_eq!((asked, found), (500, 500), "{liars} liars, {lie_anew}");
    }
}

/// Without reputations 20 who ask a hundred times a second leave to him what is free when it is his turn: next to nothing.
#[test]
fn without_reputations_he_finds_nothing() {
    let (asked, found) = beside_liars("tiers = []\nshare_below = 0.0", 20, true);
    assert!(asked == 500 && found < 100, "{found} of {asked}");
}

/// Who is under agreement signs what he asks (RFC 8945), from wherever he asks; nobody else is believed to be he.
#[test]
fn an_agreed_resolver_is_known_by_its_key() {
    let mut settings = pooled("addresses = ['198.51.100.20']");
    settings.dns.keys = vec![
        toml::from_str("name = \"dhcp.b.demo\"\nsecret = \"c2VjcmV0IG9mIHRoaXJ0eS10d28gb2N0ZXRzIG1hZGU=\"")
            .expect("a key"),
    ];
    if let Some(pool) = &mut settings.realm_gateway {
        let group = "key = 'dhcp.b.demo'\nproof = 'none'\nclient_subnet = true";
        pool.resolvers = vec![toml::from_str(group).expect("a group")];
    }
    assert_eq!(settings.check(&[OUTER]), []);
    let mut outside = Outside::with(&settings, 1);
    // dig -y hmac-sha256:dhcp.b.demo:…, as it was sent then.
    let signed = "e83b012000010000000000020377777701620464656d6f000001000100002904d0000000000000046468637001620464656d6f\
                  0000fa00ff00000000003d0b686d61632d7368613235360000006b0d43a2012c00204c0efff518f6d0700954a834bdfec2e583\
                  3e0b09ee997470885a67b6247fb55ee83b00000000";
    let octet = |at: usize| u8::from_str_radix(&signed[at..at + 2], 16).expect("hex");
    let bytes: Vec<u8> = (0..signed.len()).step_by(2).map(octet).collect();
    outside.now = 0x6b0d_43a2 * SECOND;
    outside.ask_by(Transport::Udp, "www.b.demo", RecordType::A);
    assert_eq!((outside.reserved.len(), outside.count(QueryOutcome::Truncated)), (0, 1));
    outside.send_bytes(Transport::Udp, &bytes);
    assert_eq!(outside.reserved.len(), 1, "it proves nothing else");
    assert_eq!(outside.count(QueryOutcome::Reserved), 1);
    let mut wrong = bytes.clone();
    wrong[13] ^= 0x20;
    outside.send_bytes(Transport::Udp, &wrong);
    assert_eq!((outside.reserved.len(), outside.count(QueryOutcome::BadSignature)), (1, 1));
    outside.now += 301 * SECOND;
    outside.send_bytes(Transport::Udp, &bytes);
    assert_eq!(outside.count(QueryOutcome::BadTime), 1);
}
