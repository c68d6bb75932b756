//! The upstream side under a virtual clock: endings, failover, TCP, forgery, and bounds.

#[allow(dead_code, reason = "each test file uses its part")]
mod lab;

use std::collections::HashSet;
use std::net::SocketAddr;

use ces_dns::outcome::QueryOutcome;
use ces_dns::resolver::{Question, ResolverEvent as Event, Settings, SocketKey, Transmit};
use ces_dns::{MILLISECOND, RecordType, ResponseCode, SECOND};
use hickory_proto::op::Message;
use lab::{Lab, address, code, label, name, nothing, query, question, reply, server, settings};
use proptest::prelude::*;

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
