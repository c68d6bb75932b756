//! The upstream side under a virtual clock: endings, failover, TCP, forgery, the cache, and bounds.

use std::collections::HashSet;
use std::net::SocketAddr;

use ces_dns::message::{self, Query, Transport};
use ces_dns::outcome::QueryOutcome;
use ces_dns::resolver::{
    Question, Resolution, Resolver, ResolverEvent as Event, Settings, SocketKey, Token, Transmit,
};
use ces_dns::{MILLISECOND, Name, Nanos, RData, Record, RecordType, ResponseCode, SECOND};
use hickory_proto::op::{Message, MessageType, OpCode};
use hickory_proto::rr::rdata::{A, SOA};
use proptest::prelude::*;

fn server(n: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, n], 53))
}

fn settings(servers: u8) -> Settings {
    Settings { servers: (1..=servers).map(server).collect(), ..Settings::default() }
}

fn name(text: &str) -> Name {
    ces_dns::name(text).unwrap()
}

fn question(text: &str) -> Question {
    Question::new(name(text), RecordType::A)
}

fn query(text: &str) -> Query {
    let mut message = Message::new(5, MessageType::Query, OpCode::Query);
    message.add_query(hickory_proto::op::Query::query(name(text), RecordType::A));
    message::parse(&message.to_vec().unwrap(), Transport::Udp).unwrap()
}

/// What an upstream answers to a transmitted query.
fn reply(transmit: &Transmit, change: impl FnOnce(&mut Message)) -> Vec<u8> {
    let asked = Message::from_vec(&transmit.bytes).unwrap();
    let mut message = Message::new(asked.metadata.id, MessageType::Response, OpCode::Query);
    message.add_query(asked.queries[0].clone());
    change(&mut message);
    message.to_vec().unwrap()
}

fn address(message: &mut Message) {
    with_ttl(message, 60);
}

fn with_ttl(message: &mut Message, ttl: u32) {
    let owner = message.queries[0].name().clone();
    message.add_answer(Record::from_rdata(owner, ttl, RData::A(A::new(198, 51, 100, 1))));
}

fn nothing(message: &mut Message) {
    message.metadata.response_code = ResponseCode::NXDomain;
    let soa = SOA::new(name("ns.b"), name("m.b"), 1, 2, 3, 4, 20);
    message.add_authority(Record::from_rdata(name("b"), 600, RData::SOA(soa)));
}

fn code(code: ResponseCode) -> impl Fn(&mut Message) {
    move |message| message.metadata.response_code = code
}

struct Lab {
    resolver: Resolver,
    now: Nanos,
}

impl Lab {
    fn new(settings: Settings) -> Self {
        Self { resolver: Resolver::new(settings, 42), now: 1_000 * SECOND }
    }

    fn ask(&mut self, text: &str, token: Token) {
        self.resolver.query(question(text), 0, token, self.now);
    }

    fn sent(&mut self) -> Transmit {
        let transmit = self.resolver.poll_transmit().expect("something to send");
        assert_eq!(self.resolver.poll_transmit(), None);
        transmit
    }

    fn answer(&mut self, transmit: &Transmit, change: impl FnOnce(&mut Message)) {
        let bytes = reply(transmit, change);
        self.resolver.handle_response(transmit.server, transmit.socket, &bytes, self.now);
    }

    fn done(&mut self) -> Option<(Token, &'static str)> {
        let (token, resolution) = self.resolver.poll_done()?;
        Some((token, label(&resolution)))
    }

    /// Goes to the next timer, which must be at most that far away.
    fn tick(&mut self, at_most_ms: u64) {
        let at = self.resolver.poll_timeout().expect("a timer");
        assert!(at <= self.now + at_most_ms * MILLISECOND, "{} ms", (at - self.now) / MILLISECOND);
        self.now = at;
        self.resolver.handle_timeout(at);
    }

    fn count(&self, event: Event) -> u64 {
        self.resolver.counters().value(event)
    }

    /// Nothing is left behind, and each question ended once.
    fn settled(&self) {
        assert_eq!(self.resolver.in_flight(), 0);
        assert_eq!(self.resolver.poll_timeout(), None);
        let endings: u64 = Event::ALL[..6].iter().map(|&e| self.count(e)).sum();
        assert_eq!(endings, self.count(Event::Asked));
    }
}

fn label(resolution: &Resolution) -> &'static str {
    match resolution {
        Resolution::Answer(_) => "answer",
        Resolution::NoData(_) => "no_data",
        Resolution::NxDomain(_) => "nx_domain",
        Resolution::ServFail => "serv_fail",
        Resolution::Refused => "refused",
        Resolution::Timeout => "timeout",
    }
}

#[test]
fn a_question_is_sent_and_its_answer_comes_back() {
    let mut lab = Lab::new(settings(1));
    lab.ask("www.b.demo", 7);
    let sent = lab.sent();
    assert_eq!(sent.server, server(1));
    let message = Message::from_vec(&sent.bytes).unwrap();
    assert!(message.metadata.recursion_desired);
    assert_eq!(message.queries[0].name(), &name("www.b.demo"));
    assert_eq!(message.edns.as_ref().unwrap().max_payload(), 1232);
    assert_eq!(lab.done(), None);
    lab.answer(&sent, address);
    let (token, resolution) = lab.resolver.poll_done().unwrap();
    assert_eq!((token, label(&resolution)), (7, "answer"));
    assert_eq!(resolution.outcome(), QueryOutcome::Forwarded);
    let reply = Message::from_vec(&resolution.reply(&query("WWW.b.demo"), lab.now)).unwrap();
    assert_eq!(reply.answers[0].ttl, 60);
    lab.settled();
}

#[test]
fn id_socket_and_case_are_unpredictable() {
    let mut lab = Lab::new(Settings { sockets: 64, ..settings(1) });
    let (mut ids, mut sockets, mut cases) = (HashSet::new(), HashSet::new(), HashSet::new());
    for n in 0..200 {
        lab.resolver.query(question(&format!("abcdefghijkl.{n}")), 0, n, lab.now);
        let sent = lab.sent();
        ids.insert(sent.bytes[..2].to_vec());
        cases.insert(sent.bytes[13..25].to_vec());
        let SocketKey::Udp(socket) = sent.socket else { panic!("{sent:?}") };
        assert!(socket < 64);
        sockets.insert(socket);
    }
    assert!(ids.len() > 190 && sockets.len() > 50 && cases.len() > 180);
}

#[test]
fn the_same_question_is_asked_once() {
    let mut lab = Lab::new(settings(1));
    lab.ask("www.b.demo", 1);
    lab.ask("WWW.b.Demo", 2);
    let sent = lab.sent();
    lab.answer(&sent, address);
    assert_eq!(lab.done(), Some((1, "answer")));
    assert_eq!(lab.done(), Some((2, "answer")));
    assert_eq!(lab.count(Event::Joined), 1);
    lab.settled();
    // Another type, or DNSSEC wanted, is another question.
    lab.resolver.query(Question::new(name("www.b.demo"), RecordType::AAAA), 0, 3, lab.now);
    lab.resolver.query(Question { dnssec_ok: true, ..question("www.b.demo") }, 0, 4, lab.now);
    assert_eq!(lab.resolver.in_flight(), 2);
}

#[test]
fn each_ending_is_told_and_counted() {
    type Change = Box<dyn Fn(&mut Message)>;
    let cases: Vec<(&str, Event, Change)> = vec![
        ("answer", Event::Answer, Box::new(address)),
        ("nx_domain", Event::NxDomain, Box::new(nothing)),
        ("no_data", Event::NoData, Box::new(|_: &mut Message| {})),
        ("serv_fail", Event::ServFail, Box::new(code(ResponseCode::ServFail))),
        ("refused", Event::Refused, Box::new(code(ResponseCode::Refused))),
    ];
    for (title, event, change) in cases {
        let mut lab = Lab::new(settings(1));
        lab.ask("www.b.demo", 1);
        let sent = lab.sent();
        lab.answer(&sent, change);
        let (_, resolution) = lab.resolver.poll_done().unwrap();
        assert_eq!(label(&resolution), title);
        assert_eq!(lab.count(event), 1);
        let reply = Message::from_vec(&resolution.reply(&query("www.b.demo"), lab.now)).unwrap();
        assert_eq!(reply.metadata.id, 5, "never silence");
        lab.settled();
    }
}

#[test]
fn a_silent_server_is_followed_by_the_next_and_may_still_answer() {
    let mut lab = Lab::new(settings(2));
    lab.ask("www.b.demo", 1);
    let first = lab.sent();
    lab.tick(800);
    let second = lab.sent();
    assert_eq!((first.server, second.server), (server(1), server(2)));
    assert_ne!((first.socket, &first.bytes[..2]), (second.socket, &second.bytes[..2]));
    lab.answer(&first, address);
    assert_eq!(lab.done(), Some((1, "answer")));
    lab.settled();
    lab.answer(&second, address);
    assert_eq!(lab.count(Event::Unexpected), 1, "the other one comes too late");
}

#[test]
fn silence_everywhere_ends_at_the_deadline() {
    let mut lab = Lab::new(settings(2));
    let start = lab.now;
    lab.ask("www.b.demo", 1);
    let mut servers = Vec::new();
    while lab.resolver.in_flight() > 0 {
        servers.extend(std::iter::from_fn(|| lab.resolver.poll_transmit()).map(|t| t.server));
        lab.tick(3_000);
    }
    assert_eq!(lab.done(), Some((1, "timeout")));
    assert_eq!(lab.now - start, 3 * SECOND);
    assert_eq!(servers, [server(1), server(2), server(1)], "0, 0.8 and 1.6 s; backed off beyond 3 s");
    lab.settled();
}

#[test]
fn an_impatient_asker_waits_its_half_second_and_sees_a_second_attempt() {
    let mut lab = Lab::new(settings(1));
    let start = lab.now;
    lab.resolver.query(Question::new(name("www.b.demo"), RecordType::NAPTR), 500, 1, lab.now);
    lab.sent();
    lab.tick(250);
    let second = lab.sent();
    assert_eq!(lab.done(), None);
    lab.tick(500);
    assert_eq!(lab.done(), Some((1, "timeout")));
    assert_eq!(lab.now - start, 500 * MILLISECOND);
    // Late, but not for the next asker.
    lab.now += 100 * MILLISECOND;
    lab.answer(&second, nothing);
    lab.resolver.query(Question::new(name("www.b.demo"), RecordType::NAPTR), 500, 2, lab.now);
    assert_eq!(lab.done(), Some((2, "nx_domain")));
    lab.settled();
}

#[test]
fn a_patient_asker_is_not_hurried_by_one_that_joins() {
    let mut lab = Lab::new(settings(1));
    let start = lab.now;
    lab.resolver.query(question("www.b.demo"), 500, 1, lab.now);
    lab.resolver.query(question("www.b.demo"), 2_000, 2, lab.now);
    let mut ends = Vec::new();
    while lab.resolver.in_flight() > 0 {
        lab.tick(3_000);
        while let Some((token, _)) = lab.resolver.poll_done() {
            ends.push((token, (lab.now - start) / MILLISECOND));
        }
    }
    assert_eq!(ends, [(1, 500), (2, 2_000)]);
    lab.settled();
}

#[test]
fn a_server_that_fails_or_refuses_is_followed_by_the_next_at_once() {
    for bad in [ResponseCode::ServFail, ResponseCode::Refused, ResponseCode::NotAuth] {
        let mut lab = Lab::new(settings(2));
        lab.ask("www.b.demo", 1);
        let first = lab.sent();
        lab.answer(&first, code(bad));
        let second = lab.sent();
        assert_eq!(second.server, server(2));
        lab.answer(&second, address);
        assert_eq!(lab.done(), Some((1, "answer")), "{bad}");
        lab.settled();
    }
    // RFC order of blame: one failed and one refuses is a failure.
    let mut lab = Lab::new(settings(2));
    lab.ask("www.b.demo", 1);
    let first = lab.sent();
    lab.answer(&first, code(ResponseCode::ServFail));
    let second = lab.sent();
    lab.answer(&second, code(ResponseCode::Refused));
    assert_eq!(lab.done(), Some((1, "serv_fail")));
    lab.settled();
}

#[test]
fn a_dead_server_is_asked_last_until_its_time_is_over() {
    let mut lab = Lab::new(Settings { down_after: 2, down_ms: 10_000, ..settings(2) });
    for n in 0..2 {
        lab.ask(&format!("n{n}.b.demo"), n);
        assert_eq!(lab.sent().server, server(1));
        lab.tick(800);
        let second = lab.sent();
        lab.answer(&second, address);
        assert!(lab.done().is_some());
    }
    assert_eq!(lab.count(Event::ServerDown), 1);
    assert!(lab.resolver.servers(lab.now)[0].is_down);
    lab.ask("x.b.demo", 8);
    assert_eq!(lab.sent().server, server(2));
    lab.now += 10 * SECOND;
    lab.ask("y.b.demo", 9);
    assert_eq!(lab.sent().server, server(1));
}

#[test]
fn an_unreachable_server_is_not_waited_for() {
    let mut lab = Lab::new(settings(2));
    lab.ask("www.b.demo", 1);
    let first = lab.sent();
    lab.resolver.handle_unreachable(server(9), first.socket, lab.now);
    assert_eq!(lab.resolver.poll_transmit(), None, "not a server that was asked");
    lab.resolver.handle_unreachable(first.server, first.socket, lab.now);
    let second = lab.sent();
    assert_eq!(second.server, server(2));
    lab.resolver.handle_unreachable(second.server, second.socket, lab.now);
    assert_eq!(lab.done(), Some((1, "timeout")));
    lab.settled();
}

#[test]
fn a_truncated_answer_is_fetched_over_tcp() {
    let mut lab = Lab::new(settings(1));
    lab.ask("www.b.demo", 1);
    let udp = lab.sent();
    lab.answer(&udp, |m| m.metadata.truncation = true);
    assert_eq!(lab.done(), None);
    let tcp = lab.sent();
    assert!(matches!(tcp.socket, SocketKey::Tcp(_)));
    assert_eq!(tcp.server, server(1));
    lab.answer(&tcp, address);
    assert_eq!(lab.done(), Some((1, "answer")));
    lab.settled();
}

#[test]
fn tcp_that_fails_or_lies_ends_in_serv_fail_or_timeout() {
    type Act = fn(&mut Lab, &Transmit);
    let cases: [(&str, Act); 4] = [
        ("timeout", |lab, tcp| lab.resolver.handle_unreachable(tcp.server, tcp.socket, lab.now)),
        ("serv_fail", |lab, tcp| lab.answer(tcp, |m| m.metadata.truncation = true)),
        ("serv_fail", |lab, tcp| lab.resolver.handle_response(tcp.server, tcp.socket, &tcp.bytes, lab.now)),
        ("serv_fail", |lab, tcp| {
            lab.answer(tcp, |m| {
                m.queries[0].set_name(name("other.b.demo"));
            });
        }),
    ];
    for (title, act) in cases {
        let mut lab = Lab::new(Settings { attempts: 1, ..settings(1) });
        lab.ask("www.b.demo", 1);
        let udp = lab.sent();
        lab.answer(&udp, |m| m.metadata.truncation = true);
        let tcp = lab.sent();
        act(&mut lab, &tcp);
        assert_eq!(lab.done(), Some((1, title)));
        lab.settled();
    }
}

#[test]
fn a_server_without_edns_is_asked_without() {
    let mut lab = Lab::new(settings(1));
    lab.ask("www.b.demo", 1);
    let first = lab.sent();
    lab.answer(&first, code(ResponseCode::FormErr));
    let second = lab.sent();
    assert!(Message::from_vec(&second.bytes).unwrap().edns.is_none());
    lab.answer(&second, address);
    assert_eq!(lab.done(), Some((1, "answer")));
    assert_eq!(lab.count(Event::EdnsFallback), 1);
    lab.settled();
}

#[test]
fn forged_answers_are_counted_and_the_wait_goes_on() {
    let mut lab = Lab::new(Settings { sockets: 4, ..settings(2) });
    lab.ask("www.b.demo", 1);
    let sent = lab.sent();
    let good = reply(&sent, address);
    let SocketKey::Udp(socket) = sent.socket else { panic!() };

    let mut wrong_id = good.clone();
    wrong_id[1] ^= 1;
    lab.resolver.handle_response(sent.server, sent.socket, &wrong_id, lab.now);
    lab.resolver.handle_response(sent.server, SocketKey::Udp((socket + 1) % 4), &good, lab.now);
    lab.resolver.handle_response(sent.server, SocketKey::Tcp(0), &good, lab.now);
    lab.resolver.handle_response(sent.server, sent.socket, &good[..1], lab.now);
    assert_eq!(lab.count(Event::Unexpected), 4);

    lab.resolver.handle_response(server(2), sent.socket, &good, lab.now);
    lab.resolver.handle_response(SocketAddr::from(([192, 0, 2, 1], 54)), sent.socket, &good, lab.now);
    assert_eq!(lab.count(Event::WrongServer), 2);

    let other = reply(&sent, |m| {
        m.queries[0].set_name(name("evil.demo"));
        address(m);
    });
    lab.resolver.handle_response(sent.server, sent.socket, &other, lab.now);
    assert_eq!(lab.count(Event::WrongQuestion), 1);

    let mut lower = good.clone();
    lower[12..24].make_ascii_lowercase();
    let mut upper = good.clone();
    upper[12..24].make_ascii_uppercase();
    for bytes in [&lower, &upper] {
        if bytes != &good {
            lab.resolver.handle_response(sent.server, sent.socket, bytes, lab.now);
        }
    }
    assert!(lab.count(Event::WrongCase) >= 1);

    for end in 2..good.len() {
        lab.resolver.handle_response(sent.server, sent.socket, &good[..end], lab.now);
    }
    assert_eq!(lab.count(Event::Malformed), good.len() as u64 - 2);

    assert_eq!(lab.done(), None, "nothing of that was believed");
    lab.resolver.handle_response(sent.server, sent.socket, &good, lab.now);
    assert_eq!(lab.done(), Some((1, "answer")));
    lab.settled();
}

#[test]
fn a_server_that_does_not_keep_the_case_is_asked_over_tcp() {
    let mut lab = Lab::new(settings(1));
    lab.ask("wwwwwwwwwwwwwwww.bbbbbbbbbbbbbb.demo", 1);
    let sent = lab.sent();
    let lower = |sent: &Transmit| {
        reply(sent, |m| {
            let name = m.queries[0].name().to_lowercase();
            m.queries[0].set_name(name);
            address(m);
        })
    };
    lab.resolver.handle_response(sent.server, sent.socket, &lower(&sent), lab.now);
    assert_eq!(lab.done(), None);
    lab.tick(800);
    let tcp = lab.sent();
    assert!(matches!(tcp.socket, SocketKey::Tcp(_)));
    lab.resolver.handle_response(tcp.server, tcp.socket, &lower(&tcp), lab.now);
    assert_eq!(lab.done(), Some((1, "answer")));
    lab.settled();
}

#[test]
fn an_answer_is_cached_for_its_ttl_and_ages() {
    let mut lab = Lab::new(settings(1));
    lab.ask("www.b.demo", 1);
    let sent = lab.sent();
    lab.answer(&sent, address);
    lab.done().unwrap();
    lab.now += 59 * SECOND + 999 * MILLISECOND;
    lab.ask("Www.B.demo", 2);
    let (_, resolution) = lab.resolver.poll_done().unwrap();
    assert_eq!(resolution.outcome(), QueryOutcome::Cached);
    let reply = Message::from_vec(&resolution.reply(&query("Www.B.demo"), lab.now)).unwrap();
    assert_eq!(reply.answers[0].ttl, 1);
    assert!(reply.queries[0].name().eq_case(&name("Www.B.demo")));
    assert!(lab.resolver.cached(&question("www.b.demo"), lab.now).is_some());
    lab.now += MILLISECOND;
    assert!(lab.resolver.cached(&question("www.b.demo"), lab.now).is_none());
    lab.ask("www.b.demo", 3);
    lab.sent();
}

#[test]
fn what_does_not_exist_is_cached_as_long_as_the_soa_says() {
    let mut lab = Lab::new(settings(1));
    lab.ask("no.b.demo", 1);
    let sent = lab.sent();
    lab.answer(&sent, nothing);
    lab.done().unwrap();
    lab.now += 19 * SECOND;
    lab.ask("no.b.demo", 2);
    assert_eq!(lab.done(), Some((2, "nx_domain")));
    lab.now += SECOND;
    lab.ask("no.b.demo", 3);
    assert_eq!(lab.done(), None);
}

#[test]
fn rfc_9520_a_failure_is_remembered_for_a_second() {
    let mut lab = Lab::new(settings(1));
    lab.ask("www.b.demo", 1);
    let sent = lab.sent();
    lab.answer(&sent, code(ResponseCode::ServFail));
    assert_eq!(lab.done(), Some((1, "serv_fail")));
    lab.ask("www.b.demo", 2);
    assert_eq!(lab.done(), Some((2, "serv_fail")));
    assert_eq!(lab.resolver.poll_transmit(), None);
    lab.now += SECOND;
    lab.ask("www.b.demo", 3);
    lab.sent();
}

#[test]
fn a_ttl_of_zero_is_not_cached() {
    let mut lab = Lab::new(settings(1));
    for token in 0..3 {
        lab.ask("www.b.demo", token);
        let sent = lab.sent();
        lab.answer(&sent, |m| with_ttl(m, 0));
        assert_eq!(lab.done(), Some((token, "answer")));
    }
    assert_eq!(lab.resolver.cache_usage().entries, 0);
}

#[test]
fn the_cache_stays_within_entries_and_octets() {
    for (entries, bytes) in [(10, 1 << 20), (1_000, 8_000), (0, 1 << 20), (10, 0)] {
        let mut settings = settings(1);
        (settings.cache.entries, settings.cache.bytes) = (entries, bytes);
        let mut lab = Lab::new(settings);
        for n in 0..200 {
            // One name is asked for all the time: it stays.
            if n > 0 {
                lab.ask("hot.b.demo", 1_000);
                if let Some(sent) = lab.resolver.poll_transmit() {
                    lab.answer(&sent, address);
                }
                lab.done().unwrap();
            }
            lab.ask(&format!("n{n}.b.demo"), n);
            let sent = lab.sent();
            lab.answer(&sent, address);
            lab.done().unwrap();
            let usage = lab.resolver.cache_usage();
            assert!(usage.entries <= entries as usize && usage.bytes <= bytes, "{usage:?}");
        }
        if entries > 0 && bytes > 0 {
            let usage = lab.resolver.cache_usage();
            assert!(usage.entries > 5 && usage.evicted > 100, "{usage:?}");
            assert!(lab.resolver.cached(&question("hot.b.demo"), lab.now).is_some(), "second chance");
        }
        lab.resolver.clear_cache();
        assert_eq!((lab.resolver.cache_usage().entries, lab.resolver.cache_usage().bytes), (0, 0));
    }
}

#[test]
fn too_much_in_flight_fails_at_once() {
    let mut lab = Lab::new(Settings { in_flight: 10, waiting: 3, ..settings(1) });
    for n in 0..12 {
        lab.ask(&format!("n{n}.b.demo"), n);
    }
    assert_eq!(lab.resolver.in_flight(), 10);
    assert_eq!(lab.done(), Some((10, "serv_fail")));
    assert_eq!(lab.done(), Some((11, "serv_fail")));
    for n in 20..23 {
        lab.ask("n0.b.demo", n);
    }
    assert_eq!(lab.done(), Some((22, "serv_fail")));
    assert_eq!(lab.count(Event::Overflow), 3);
    let mut none = Lab::new(settings(0));
    none.ask("www.b.demo", 1);
    assert_eq!(none.done(), Some((1, "serv_fail")));
    none.settled();
}

proptest! {
    /// Whatever upstream, forgers and the clock do: each asker is told exactly once, and nothing is left behind.
    #[test]
    fn every_question_ends_once(
        steps in proptest::collection::vec((0u8..10, any::<u8>(), any::<u16>()), 1..120),
        servers in 0u8..4,
    ) {
        let mut settings = settings(servers);
        (settings.in_flight, settings.waiting, settings.sockets) = (6, 3, 2);
        settings.cache.entries = 4;
        let mut lab = Lab::new(settings);
        let mut open: Vec<Transmit> = Vec::new();
        let mut asked = 0;
        let mut told = HashSet::new();
        for (step, pick, value) in steps {
            match step {
                0..=2 => {
                    let patience = if pick % 2 == 0 { 0 } else { u32::from(value) % 4_000 };
                    lab.resolver.query(question(&format!("n{}.b", pick % 8)), patience, asked, lab.now);
                    asked += 1;
                }
                3 => lab.now += u64::from(value) * MILLISECOND / 16,
                4 => lab.resolver.handle_timeout(lab.now),
                _ if open.is_empty() => {}
                step => {
                    let transmit = open[usize::from(pick) % open.len()].clone();
                    match step {
                        5 => lab.answer(&transmit, address),
                        6 => lab.answer(&transmit, code(ResponseCode::from(0, (value % 16) as u8))),
                        7 => lab.answer(&transmit, |m| m.metadata.truncation = true),
                        8 => lab.resolver.handle_unreachable(transmit.server, transmit.socket, lab.now),
                        _ => {
                            let mut bytes = reply(&transmit, nothing);
                            let at = usize::from(value) % bytes.len();
                            bytes[at] ^= pick | 1;
                            lab.resolver.handle_response(transmit.server, transmit.socket, &bytes, lab.now);
                        }
                    }
                }
            }
            open.extend(std::iter::from_fn(|| lab.resolver.poll_transmit()));
            while let Some((token, _)) = lab.resolver.poll_done() {
                prop_assert!(told.insert(token));
            }
            prop_assert!(lab.resolver.in_flight() <= 6);
        }
        while let Some(at) = lab.resolver.poll_timeout() {
            lab.now = lab.now.max(at);
            lab.resolver.handle_timeout(lab.now);
        }
        while let Some((token, _)) = lab.resolver.poll_done() {
            prop_assert!(told.insert(token));
        }
        prop_assert_eq!(told.len() as u64, asked);
        lab.settled();
    }

    #[test]
    fn arbitrary_bytes_from_upstream_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut lab = Lab::new(settings(1));
        lab.ask("www.b.demo", 1);
        let sent = lab.sent();
        let bytes = [&sent.bytes[..2], &bytes].concat();
        lab.resolver.handle_response(sent.server, sent.socket, &bytes, lab.now);
    }
}
