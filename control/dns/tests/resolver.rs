//! The upstream side under a virtual clock: endings, failover, TCP, forgery, and bounds.

#[allow(dead_code, reason = "each test file uses its part")]
mod lab;

use std::collections::HashSet;
use std::net::SocketAddr;

use ces_dns::guard::{Guard, Network};
use ces_dns::message::Transport;
use ces_dns::outcome::QueryOutcome;
use ces_dns::resolver::{Question, ResolverEvent as Event, ResolverSettings, SocketKey, Transmit};
use ces_dns::{MILLISECOND, RData, Record, RecordType, ResponseCode, SECOND};
use hickory_proto::op::Message;
use hickory_proto::rr::rdata::svcb::{Alpn, IpHint, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, HTTPS, SRV, SVCB};
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
    let mut lab = Lab::new(ResolverSettings { sockets: 64, ..settings(1) });
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
    let mut lab = Lab::new(ResolverSettings { down_after: 2, down_ms: 10_000, ..settings(2) });
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
fn n1_a_server_that_is_silent_about_naptr_alone_is_not_down() {
    let mut lab = Lab::new(settings(1));
    for n in 0..5 {
        lab.resolver.query(Question::new(name(&format!("n{n}.b.demo")), RecordType::NAPTR), 0, n, lab.now);
    }
    while let Some(at) = lab.resolver.poll_timeout() {
        lab.now = at;
        lab.resolver.handle_timeout(at);
    }
    assert_eq!(std::iter::from_fn(|| lab.done()).filter(|(_, how)| *how == "timeout").count(), 5);
    assert!(lab.count(Event::Silent) >= 5 && lab.count(Event::ServerDown) == 0);
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
        let mut lab = Lab::new(ResolverSettings { attempts: 1, ..settings(1) });
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
    let mut lab = Lab::new(ResolverSettings { sockets: 4, ..settings(2) });
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

/// What a server gives back that does not keep the case of names.
fn folded(sent: &Transmit) -> Vec<u8> {
    reply(sent, |m| {
        let name = m.queries[0].name().to_lowercase();
        m.queries[0].set_name(name);
        address(m);
    })
}

fn all_sent(lab: &mut Lab) -> Vec<Transmit> {
    std::iter::from_fn(|| lab.resolver.poll_transmit()).collect()
}

fn is_lower_case(sent: &Transmit) -> bool {
    !sent.bytes[12..].iter().any(u8::is_ascii_uppercase)
}

const LONG: &str = "wwwwwwwwwwwwwwww.bbbbbbbbbbbbbb.demo";

#[test]
fn n4_a_server_that_does_not_keep_the_case_costs_one_round_trip_and_is_remembered() {
    let mut lab = Lab::new(settings(2));
    let start = lab.now;
    lab.ask(LONG, 1);
    let sent = lab.sent();
    lab.resolver.handle_response(sent.server, sent.socket, &folded(&sent), lab.now);
    assert_eq!(lab.done(), None, "a forger might have had luck");
    // At once: in lower case by another port, and over TCP.
    let again = all_sent(&mut lab);
    let [plain, tcp] = &again[..] else { panic!("{again:?}") };
    assert!(is_lower_case(plain) && matches!(plain.socket, SocketKey::Udp(_)));
    assert_ne!((plain.socket, &plain.bytes[..2]), (sent.socket, &sent.bytes[..2]));
    assert!(matches!(tcp.socket, SocketKey::Tcp(_)) && tcp.server == sent.server);
    lab.resolver.handle_response(sent.server, sent.socket, &folded(&sent), lab.now);
    assert_eq!(all_sent(&mut lab), [], "once");
    lab.resolver.handle_response(tcp.server, tcp.socket, &folded(tcp), lab.now);
    assert_eq!((lab.done(), lab.now), (Some((1, "answer")), start));
    lab.settled();

    // TCP was proof: it is asked in lower case from now on, the other server is not.
    let states = lab.resolver.servers(lab.now);
    assert!(states[0].folds_case && !states[1].folds_case);
    lab.ask(&format!("x.{LONG}"), 2);
    let sent = lab.sent();
    assert!(is_lower_case(&sent));
    lab.resolver.handle_response(sent.server, sent.socket, &folded(&sent), lab.now);
    assert_eq!(lab.done(), Some((2, "answer")));
    lab.ask(&format!("y.{LONG}"), 3);
    let to_first = lab.sent();
    lab.resolver.handle_unreachable(to_first.server, to_first.socket, lab.now);
    let to_second = lab.sent();
    assert!(to_second.server == server(2) && !is_lower_case(&to_second), "the defence stays on for others");
}

/// Servers that give names back in capitals, or each time in another case: where none was drawn, none is to be kept.
#[test]
fn n4_whatever_case_a_server_gives_back_costs_one_round_trip() {
    let capital = |sent: &Transmit| {
        let mut bytes = folded(sent);
        let end = 12 + bytes[12..].iter().position(|octet| *octet == 0).unwrap();
        bytes[12..end].make_ascii_uppercase();
        bytes
    };
    for randomise_case in [true, false] {
        let mut lab = Lab::new(ResolverSettings { randomise_case, ..settings(1) });
        for n in 0..5 {
            lab.ask(&format!("n{n}.{LONG}"), n);
            let sent = lab.sent();
            lab.resolver.handle_response(sent.server, sent.socket, &capital(&sent), lab.now);
            if randomise_case && n < 3 {
                let again = all_sent(&mut lab);
                lab.resolver.handle_unreachable(again[1].server, again[1].socket, lab.now);
                assert_eq!(lab.done(), None);
                lab.resolver.handle_response(again[0].server, again[0].socket, &capital(&again[0]), lab.now);
            }
            assert_eq!(lab.done(), Some((n, "answer")), "name {n}, {randomise_case}");
            lab.settled();
        }
        assert_eq!(lab.resolver.servers(lab.now)[0].folds_case, randomise_case);
    }
}

#[test]
fn n4_without_tcp_three_names_tell_as_much() {
    let mut lab = Lab::new(settings(1));
    for n in 0..5 {
        let start = lab.now;
        lab.ask(&format!("n{n}.{LONG}"), n);
        let sent = lab.sent();
        lab.resolver.handle_response(sent.server, sent.socket, &folded(&sent), lab.now);
        if n < 3 {
            let again = all_sent(&mut lab);
            lab.resolver.handle_unreachable(again[1].server, again[1].socket, lab.now);
            assert_eq!(lab.done(), None);
            lab.resolver.handle_response(again[0].server, again[0].socket, &folded(&again[0]), lab.now);
        }
        assert_eq!((lab.done(), lab.now), (Some((n, "answer")), start), "name {n}");
        assert!(!lab.resolver.servers(lab.now)[0].is_down, "a server may be without TCP and well");
        lab.settled();
    }
    assert_eq!(lab.count(Event::WrongCase), 3);
}

#[test]
fn n4_a_forger_who_has_luck_turns_nothing_off() {
    let mut lab = Lab::new(settings(1));
    for n in 0..20 {
        lab.ask(&format!("n{n}.{LONG}"), n);
        let sent = lab.sent();
        // Every second time a forged answer in another case comes first.
        if n % 2 == 0 {
            lab.resolver.handle_response(sent.server, sent.socket, &folded(&sent), lab.now);
            let again = all_sent(&mut lab);
            lab.answer(&again[0], address);
        } else {
            lab.answer(&sent, address);
        }
        assert_eq!(lab.done(), Some((n, "answer")));
    }
    assert!(!lab.resolver.servers(lab.now)[0].folds_case);
}

#[test]
fn n4_and_c16_the_case_is_a_setting_and_without_it_names_go_out_in_lower_case() {
    let mut lab = Lab::new(ResolverSettings { randomise_case: false, ..settings(1) });
    lab.ask("SRV1.hostB1.Demo", 1);
    let sent = lab.sent();
    assert!(is_lower_case(&sent));
    lab.answer(&sent, address);
    assert_eq!(lab.done(), Some((1, "answer")));
}

#[test]
fn n7_every_query_has_a_socket_of_its_own_that_is_closed_after_it() {
    let mut lab = Lab::new(ResolverSettings { sockets: 256, ..settings(1) });
    let mut open = HashSet::new();
    for n in 0..20 {
        lab.ask(&format!("n{n}.b.demo"), n);
        let sent = lab.sent();
        assert!(open.insert(sent.socket), "nothing else is open on it");
        assert_eq!(lab.resolver.poll_closed(), None);
        if n % 3 == 0 {
            lab.answer(&sent, address);
            assert_eq!(lab.resolver.poll_closed(), Some(sent.socket));
            open.remove(&sent.socket);
        }
    }
    while let Some(at) = lab.resolver.poll_timeout() {
        lab.now = at;
        lab.resolver.handle_timeout(at);
        open.extend(all_sent(&mut lab).into_iter().map(|sent| sent.socket));
        while let Some(socket) = lab.resolver.poll_closed() {
            assert!(open.remove(&socket));
        }
    }
    assert_eq!(open, HashSet::new(), "none is left open");
    lab.settled();
}

#[test]
fn n7_more_in_flight_than_sockets_share_them() {
    let mut lab = Lab::new(ResolverSettings { sockets: 2, ..settings(1) });
    let sent: Vec<_> = (0..50)
        .map(|n| {
            lab.ask(&format!("n{n}.b.demo"), n);
            lab.sent()
        })
        .collect();
    for sent in &sent {
        lab.answer(sent, address);
    }
    assert_eq!(std::iter::from_fn(|| lab.done()).count(), 50);
    assert_eq!(std::iter::from_fn(|| lab.resolver.poll_closed()).collect::<HashSet<_>>().len(), 2);
}

/// RFC 5452 §9.1. What comes as if from the server: is it believed, and what is sent because of it, at once.
#[test]
fn n7_and_n16_an_answer_counts_only_with_its_question_and_nothing_is_waited_out() {
    type Answer = Box<dyn Fn(&Transmit) -> Vec<u8>>;
    let headless = |code: ResponseCode| -> Answer {
        Box::new(move |sent| {
            let mut bytes = [&sent.bytes[..2], &[0x81, 0x80, 0, 0, 0, 0, 0, 0, 0, 0][..]].concat();
            bytes[3] |= u16::from(code) as u8;
            bytes
        })
    };
    let patched = |at: usize, value: u8| -> Answer {
        Box::new(move |sent| {
            let mut bytes = reply(sent, address);
            bytes[at] = value;
            bytes
        })
    };
    let cases: Vec<(&str, Answer, Option<&str>, &[&str])> = vec![
        ("as it should be", Box::new(|sent| reply(sent, address)), Some("answer"), &[]),
        (
            "octets behind it",
            Box::new(|sent| [reply(sent, address), vec![1; 9]].concat()),
            Some("answer"),
            &[],
        ),
        ("an additional record that is not there", patched(11, 1), Some("answer"), &[]),
        ("an answer record that is not there", patched(7, 2), None, &["tcp"]),
        ("an authority record that is not there", patched(9, 1), None, &["tcp"]),
        ("SERVFAIL without question", headless(ResponseCode::ServFail), None, &["tcp"]),
        ("REFUSED without question", headless(ResponseCode::Refused), None, &["tcp"]),
        ("FORMERR without question", headless(ResponseCode::FormErr), None, &["udp without EDNS", "tcp"]),
        ("NOTIMP without question", headless(ResponseCode::NotImp), None, &["udp without EDNS", "tcp"]),
        ("NXDOMAIN without question", headless(ResponseCode::NXDomain), None, &["tcp"]),
        ("nothing without question", headless(ResponseCode::NoError), None, &["tcp"]),
        (
            "another type",
            Box::new(|sent| {
                let mut bytes = reply(sent, address);
                let at = bytes.len() - 16 - 4;
                bytes[at + 1] = 33;
                bytes
            }),
            None,
            &["tcp"],
        ),
        (
            "another name",
            Box::new(|sent| {
                reply(sent, |m| {
                    m.queries[0].set_name(name("other.b.demo"));
                    address(m);
                })
            }),
            None,
            &["tcp"],
        ),
    ];
    for (title, answer, done, expected) in cases {
        let mut lab = Lab::new(settings(1));
        lab.ask("www.b.demo", 1);
        let sent = lab.sent();
        lab.resolver.handle_response(sent.server, sent.socket, &answer(&sent), lab.now);
        assert_eq!(lab.done().map(|(_, how)| how), done, "{title}");
        let again = all_sent(&mut lab);
        let how: Vec<_> = again
            .iter()
            .map(|sent| match sent.socket {
                SocketKey::Tcp(_) => "tcp",
                SocketKey::Udp(_) if Message::from_vec(&sent.bytes).unwrap().edns.is_none() => {
                    "udp without EDNS"
                }
                SocketKey::Udp(_) => "udp",
            })
            .collect();
        assert_eq!(how, expected, "{title}");
        let Some(tcp) = again.last() else { continue };
        // The true answer may yet come; or TCP brings it; or there is no TCP, and it is told at once.
        lab.resolver.handle_response(sent.server, sent.socket, &answer(&sent), lab.now);
        assert_eq!(all_sent(&mut lab), [], "{title}: once");
        lab.resolver.handle_unreachable(tcp.server, tcp.socket, lab.now);
        if let [plainer, _] = &again[..] {
            lab.resolver.handle_response(plainer.server, plainer.socket, &reply(plainer, address), lab.now);
            assert_eq!(lab.done(), Some((1, "answer")), "{title}");
        } else {
            assert_eq!(lab.done(), Some((1, "serv_fail")), "{title}");
        }
        lab.settled();
    }
}

/// RFC 9460 §7.3 and DNS rebinding: what stands in an answer from upstream, and what of it passes.
#[test]
fn n2_and_n3_addresses_and_hints_that_lead_inside_do_not_pass() {
    let network = |text: &str, prefix| Network { address: text.parse().unwrap(), prefix };
    let guard = Guard {
        own: vec![network("10.64.0.0", 16), network("192.168.10.0", 24)],
        private: true,
        networks: vec![network("10.1.0.0", 16)],
        names: vec![name("corp.example")],
    };
    let hints = |target: &str, v4: &[&str], v6: &[&str]| {
        let mut parameters = vec![(SvcParamKey::Alpn, SvcParamValue::Alpn(Alpn(vec!["h2".into()])))];
        let v4: Vec<A> = v4.iter().map(|text| A(text.parse().unwrap())).collect();
        if !v4.is_empty() {
            parameters.push((SvcParamKey::Ipv4Hint, SvcParamValue::Ipv4Hint(IpHint(v4))));
        }
        let v6: Vec<AAAA> = v6.iter().map(|text| AAAA(text.parse().unwrap())).collect();
        if !v6.is_empty() {
            parameters.push((SvcParamKey::Ipv6Hint, SvcParamValue::Ipv6Hint(IpHint(v6))));
        }
        RData::HTTPS(HTTPS(SVCB::new(1, name(target), parameters)))
    };
    let ip = |text: &str| RData::from(text.parse::<std::net::IpAddr>().unwrap());
    let cname = |text: &str| RData::CNAME(CNAME(name(text)));
    let good = ip("203.0.113.80");
    for (asked, records, expected, kind) in [
        ("evil.demo", vec![("evil.demo", ip("10.64.0.1"))], vec![], "no_data"),
        (
            "evil.demo",
            vec![("evil.demo", ip("192.168.10.12")), ("evil.demo", good.clone())],
            vec![good.clone()],
            "answer",
        ),
        ("evil.demo", vec![("evil.demo", ip("127.0.0.1"))], vec![], "no_data"),
        ("evil.demo", vec![("evil.demo", ip("::ffff:10.64.0.1"))], vec![], "no_data"),
        ("evil.demo", vec![("evil.demo", ip("fd00::1"))], vec![], "no_data"),
        ("evil.demo", vec![("evil.demo", ip("10.1.2.3"))], vec![ip("10.1.2.3")], "answer"),
        (
            "evil.demo",
            vec![("evil.demo", cname("www.corp.example")), ("www.corp.example", ip("10.9.9.9"))],
            vec![cname("www.corp.example")],
            "no_data",
        ),
        ("www.corp.example", vec![("www.corp.example", ip("10.9.9.9"))], vec![ip("10.9.9.9")], "answer"),
        ("www.corp.example", vec![("www.corp.example", ip("10.64.0.1"))], vec![], "no_data"),
        (
            "evil.demo",
            vec![("evil.demo", hints(".", &["203.0.113.80", "10.64.0.9"], &["2001:db8::1"]))],
            vec![hints(".", &[], &[])],
            "answer",
        ),
        ("evil.demo", vec![("evil.demo", hints(".", &[], &["::1"]))], vec![hints(".", &[], &[])], "answer"),
        (
            "evil.demo",
            vec![("evil.demo", hints("www.b.demo", &["203.0.113.80"], &[]))],
            vec![hints("www.b.demo", &[], &[])],
            "answer",
        ),
        (
            "good.demo",
            vec![("good.demo", hints(".", &["203.0.113.80"], &[]))],
            vec![hints(".", &["203.0.113.80"], &[])],
            "answer",
        ),
    ] {
        let mut lab = Lab::new(ResolverSettings { guard: guard.clone(), ..settings(1) });
        let qtype = match &records.last().unwrap().1 {
            RData::A(_) => RecordType::A,
            RData::AAAA(_) => RecordType::AAAA,
            _ => RecordType::HTTPS,
        };
        lab.resolver.query(Question::new(name(asked), qtype), 0, 1, lab.now);
        let sent = lab.sent();
        lab.answer(&sent, |message| {
            for (owner, data) in &records {
                message.add_answer(Record::from_rdata(name(owner), 60, data.clone()));
            }
        });
        let (_, resolution) = lab.resolver.poll_done().unwrap();
        assert_eq!(label(&resolution), kind, "{asked} {records:?}");
        let mut query = query(asked);
        (query.qtype, query.transport) = (qtype, Transport::Tcp);
        let reply = Message::from_vec(&resolution.reply(&query, lab.now)).unwrap();
        let passed: Vec<RData> = reply.answers.into_iter().map(|record| record.data).collect();
        assert_eq!(passed, expected, "{asked} {records:?}");
        let is_changed = records.iter().map(|(_, data)| data).ne(&expected);
        assert_eq!(lab.count(Event::Rebinding), u64::from(is_changed), "{asked} {records:?}");
    }
}

#[test]
fn n2_no_addresses_come_beside_an_answer() {
    let mut lab = Lab::new(settings(1));
    let asked = Question::new(name("_sip._tcp.b.demo"), RecordType::SRV);
    lab.resolver.query(asked, 0, 1, lab.now);
    let sent = lab.sent();
    lab.answer(&sent, |message| {
        let srv = SRV::new(1, 1, 5060, name("www.b.demo"));
        message.add_answer(Record::from_rdata(name("_sip._tcp.b.demo"), 60, RData::SRV(srv)));
        message.add_additional(Record::from_rdata(name("www.b.demo"), 60, RData::A(A::new(203, 0, 113, 80))));
    });
    let (_, resolution) = lab.resolver.poll_done().unwrap();
    let mut query = query("_sip._tcp.b.demo");
    query.qtype = RecordType::SRV;
    let reply = Message::from_vec(&resolution.reply(&query, lab.now)).unwrap();
    assert_eq!((reply.answers.len(), reply.additionals.len()), (1, 0));
}

#[test]
fn too_much_in_flight_fails_at_once() {
    let mut lab = Lab::new(ResolverSettings { in_flight: 10, waiting: 3, ..settings(1) });
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
