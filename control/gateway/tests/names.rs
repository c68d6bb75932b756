//! What a host gets when it asks, where no other gateway is involved: ces.md's table towards the inside, and the outside.

mod lab;

use ces_dataplane::msg::{BindingStats, EndReason, Far, InsertError};
use ces_dns::message::Transport;
use ces_dns::outcome::{QueryOutcome, QuerySide};
use ces_gateway::counters::NegotiationOutcome;
use ces_gateway::settings::CoreSettings;
use ces_gateway::{LeasedHost, Output, QueryToken};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use lab::{A_OUTER, H1, H2, H3, Lab, S, Upstream, realm};
use std::net::Ipv4Addr;

#[test]
fn an_address_that_belongs_to_no_host_is_refused() {
    let mut lab = Lab::new();
    let reply = lab.ask(0, Ipv4Addr::new(192, 168, 0, 99), "legacy.example", RecordType::A);
    assert_eq!(reply.code, ResponseCode::Refused);
    assert_eq!(lab.dns_count(0, QueryOutcome::HostUnknown), 1);
    assert!(lab.logged(0, "query from an unknown host", ""));
}

#[test]
fn a_name_without_ces_is_an_ordinary_one() {
    let mut lab = Lab::new();
    let reply = lab.ask(0, H1, "Legacy.example", RecordType::A);
    assert_eq!(reply.address, Some(Ipv4Addr::new(198, 51, 100, 80)));
    assert_eq!(
        lab.upstream_queries,
        [("legacy.example.".into(), RecordType::NAPTR), ("legacy.example.".into(), RecordType::A)]
    );
    // The second time the address comes from the cache. (That there is no CES comes without an SOA here, which may not
    // be remembered: RFC 2308 §5.)
    assert_eq!(lab.address(0, H2, "legacy.example"), Some(Ipv4Addr::new(198, 51, 100, 80)));
    assert_eq!(lab.upstream_queries.iter().filter(|query| query.1 == RecordType::A).count(), 1);
    assert_eq!(lab.dns_count(0, QueryOutcome::Cached), 1);
    assert_eq!(lab.ask(0, H1, "nothing.example", RecordType::A).code, ResponseCode::NXDomain);
    assert_eq!(lab.ask(0, H1, "legacy.example", RecordType::MX).answers, 0);
    assert_eq!(lab.nodes[0].gateway.pools().waiting, 0);
}

#[test]
fn a_resolver_that_refuses_or_is_silent_never_means_silence() {
    let mut lab = Lab::new();
    lab.upstream = Upstream::Refuses;
    assert_eq!(lab.ask(0, H1, "one.example", RecordType::A).code, ResponseCode::Refused);
    lab.upstream = Upstream::Silent;
    let begin = lab.now;
    assert_eq!(lab.ask(0, H1, "two.example", RecordType::A).code, ResponseCode::ServFail);
    assert!(lab.now - begin <= 4_020 * lab::MS, "never longer than until a stub resolver asks again");
    assert_eq!(lab.ask(0, H1, "three.example", RecordType::TXT).code, ResponseCode::ServFail);
    assert_eq!(lab.dns_count(0, QueryOutcome::UpstreamRefused), 1);
    assert_eq!(lab.dns_count(0, QueryOutcome::UpstreamTimeout), 2);
    assert_eq!(lab.nodes[0].gateway.pools().waiting, 0);
}

#[test]
fn repeated_queries_join_and_no_more_than_allowed() {
    let mut lab = Lab::new();
    lab.upstream = Upstream::Silent;
    let tokens: Vec<u64> = (0..70).map(|_| lab.query(0, H1, "slow.example", RecordType::A)).collect();
    let refused = tokens.iter().filter(|t| lab.reply(0, **t).is_some()).count();
    assert_eq!(refused, 6, "64 wait");
    assert_eq!(lab.nodes[0].gateway.counters().joined, 63);
    assert_eq!(lab.upstream_queries.len(), 2, "NAPTR, and A beside it");
    lab.advance(5 * S);
    assert!(tokens.iter().all(|t| lab.reply(0, *t).unwrap().code == ResponseCode::ServFail));
}

#[test]
fn r1_a_crowd_that_asks_for_one_name_waits_together() {
    let crowd: Vec<Ipv4Addr> = (1..=200).map(|host| Ipv4Addr::new(192, 168, 1, host)).collect();
    let host = |(number, address): (usize, &Ipv4Addr)| {
        format!("[[host]]\nname = \"c{number}.a.demo\"\naddress = \"{address}\"\npolicy = \"office\"\n")
    };
    let hosts: String = crowd.iter().enumerate().map(host).collect();
    let everywhere =
        |settings: &mut CoreSettings| settings.realm.networks = vec!["192.168.0.0/16".parse().unwrap()];
    let mut lab = Lab::with(everywhere, &(realm("a.demo") + &hosts), &realm("b.demo"));
    lab.upstream = Upstream::Silent;
    let tokens: Vec<u64> =
        crowd.iter().map(|host| lab.query(0, *host, "slow.example", RecordType::A)).collect();
    assert!(tokens.iter().all(|token| lab.reply(0, *token).is_none()), "nobody is sent away");
    assert_eq!(lab.upstream_queries.len(), 2, "NAPTR, and A beside it, for all of them");
}

#[test]
fn a_client_over_tcp_that_goes_away_is_forgotten() {
    let mut lab = Lab::new();
    lab.upstream = Upstream::Silent;
    let one = lab.query_as(0, QuerySide::Inside, Transport::Tcp, H1, "slow.example", RecordType::A);
    let other = lab.query_as(0, QuerySide::Inside, Transport::Tcp, H1, "slow.example", RecordType::TXT);
    lab.nodes[0].gateway.handle_dns_gone(QueryToken(one));
    lab.nodes[0].gateway.handle_dns_gone(QueryToken(other));
    lab.advance(5 * S);
    assert!(lab.nodes[0].answers.is_empty());
    assert_eq!(lab.dns_count(0, QueryOutcome::Abandoned), 2);
    assert_eq!(lab.nodes[0].gateway.pools().waiting, 0);
}

#[test]
fn two_hosts_of_the_realm_meet_by_name() {
    let mut lab = Lab::new();
    let reply = lab.ask(0, H1, "h2.a.demo", RecordType::A);
    let proxy = reply.address.unwrap();
    assert_eq!((proxy, reply.ttl, reply.authoritative), (Ipv4Addr::new(10, 64, 0, 1), Some(30), true));
    let (_, near) = lab.binding(0, H1, proxy).unwrap();
    let (_, far) = lab.binding(0, H2, Ipv4Addr::new(10, 64, 0, 1)).unwrap();
    assert_eq!(near.far, Far::Local { source: far.proxy, destination: H2 });
    assert_eq!(far.far, Far::Local { source: near.proxy, destination: H1 });
    assert_eq!(near.idle_s, 300);

    // Again: the same proxy, for longer; PTR on both sides; AAAA has no data.
    let again = lab.ask(0, H1, "H2.a.demo.", RecordType::A);
    assert_eq!((again.address, again.ttl), (Some(proxy), Some(120)));
    let reverse = "1.0.64.10.in-addr.arpa";
    assert_eq!(lab.ask(0, H1, reverse, RecordType::PTR).target.unwrap(), "h2.a.demo.");
    assert_eq!(lab.ask(0, H2, reverse, RecordType::PTR).target.unwrap(), "h1.a.demo.");
    assert_eq!(lab.ask(0, H3, reverse, RecordType::PTR).code, ResponseCode::NXDomain);
    let aaaa = lab.ask(0, H1, "h2.a.demo", RecordType::AAAA);
    assert_eq!((aaaa.code, aaaa.answers), (ResponseCode::NoError, 0));
    assert_eq!(lab.negotiation_count(0, NegotiationOutcome::Local), 1);
    assert!(lab.upstream_queries.is_empty());
}

#[test]
fn without_policy_nobody_is_reached_and_the_log_says_why() {
    let mut lab = Lab::new();
    // h2 may ask, but h1 takes only h1s; h3 has no policy at all.
    assert_eq!(lab.ask(0, H2, "h1.a.demo", RecordType::A).code, ResponseCode::NXDomain);
    assert!(lab.logged(0, "name refused", "no inbound policy"));
    assert_eq!(lab.ask(0, H1, "h3.a.demo", RecordType::A).code, ResponseCode::NXDomain);
    assert_eq!(lab.ask(0, H3, "h1.a.demo", RecordType::A).code, ResponseCode::NXDomain);
    assert!(lab.logged(0, "name refused", "no outbound policy"));
    assert_eq!(lab.dns_count(0, QueryOutcome::PolicyRefused), 3);
    assert_eq!(lab.negotiation_count(0, NegotiationOutcome::LocalDenied), 3);
    assert!(lab.nodes[0].bindings.is_empty());
    assert_eq!(lab.nodes[0].gateway.pools().slots_used, [0]);
}

#[test]
fn a_realm_answers_for_its_own_names() {
    let mut lab = Lab::new();
    assert_eq!(lab.address(0, H1, "h1.a.demo"), Some(H1));
    assert_eq!(lab.address(0, H1, "www.h1.a.demo"), Some(H1));
    assert_eq!(lab.ask(0, H1, "nobody.a.demo", RecordType::A).code, ResponseCode::NXDomain);
    let other_type = lab.ask(0, H1, "h2.a.demo", RecordType::MX);
    assert_eq!((other_type.code, other_type.answers), (ResponseCode::NoError, 0));
    assert_eq!(lab.ask(0, H1, "a.demo", RecordType::SOA).answers, 1);
    assert_eq!(lab.address(0, H1, "ns.a.demo"), Some(A_OUTER));
    let host = lab.ask(0, H1, "11.0.168.192.in-addr.arpa", RecordType::PTR);
    assert_eq!(host.target.unwrap(), "h2.a.demo.");
    assert_eq!(lab.ask(0, H1, "99.0.168.192.in-addr.arpa", RecordType::PTR).code, ResponseCode::NXDomain);
    assert_eq!(lab.ask(0, H1, "1.1.168.192.in-addr.arpa", RecordType::PTR).code, ResponseCode::NXDomain);
    assert!(lab.upstream_queries.is_empty());
    lab.ask(0, H1, "8.8.8.8.in-addr.arpa", RecordType::PTR);
    assert_eq!(lab.upstream_queries.len(), 1);
}

#[test]
fn the_outside_gets_ces_records_of_served_names_and_nothing_of_others() {
    let mut lab = Lab::new();
    let client = Ipv4Addr::new(203, 0, 113, 9);
    let outside = |lab: &mut Lab, name: &str, qtype| {
        lab.query_as(0, QuerySide::Outside, Transport::Udp, client, name, qtype)
    };
    let naptr = outside(&mut lab, "www.h1.a.demo", RecordType::NAPTR);
    let reply = lab.reply(0, naptr).unwrap();
    assert_eq!((reply.code, reply.answers, reply.ttl), (ResponseCode::NoError, 2, Some(30)));
    assert!(reply.authoritative);
    let address = outside(&mut lab, "www.h1.a.demo", RecordType::A);
    let reply = lab.reply(0, address).unwrap();
    assert_eq!((reply.code, reply.answers), (ResponseCode::NoError, 0));
    let unknown = outside(&mut lab, "nobody.a.demo", RecordType::NAPTR);
    assert_eq!(lab.reply(0, unknown).unwrap().code, ResponseCode::NXDomain);
    // RFC 8020: a name with names below it exists.
    let above = outside(&mut lab, "a.demo", RecordType::NAPTR);
    assert_eq!(lab.reply(0, above).unwrap().code, ResponseCode::NoError);
    let foreign = outside(&mut lab, "legacy.example", RecordType::A);
    let reply = lab.reply(0, foreign).unwrap();
    assert_eq!((reply.code, reply.answers), (ResponseCode::Refused, 0), "no open resolver");
    assert_eq!(lab.outside_count(0, QueryOutcome::OutOfZone), 1);
    assert!(lab.upstream_queries.is_empty());
}

#[test]
fn a_flood_from_outside_is_dropped_and_counted() {
    let mut lab = Lab::with(|s| s.dns.outside_rate = 100, &lab::realm("a.demo"), &lab::realm("b.demo"));
    for n in 0..200u32 {
        let client = Ipv4Addr::from(0xcb00_7100 + n);
        lab.query_as(0, QuerySide::Outside, Transport::Udp, client, "h1.a.demo", RecordType::NAPTR);
    }
    assert_eq!(lab.outside_count(0, QueryOutcome::RateTotal), 100);
}

#[test]
fn a_host_that_asks_too_much_is_refused() {
    let mut lab = Lab::with(|s| s.dns.host_rate = 10, &lab::realm("a.demo"), &lab::realm("b.demo"));
    for _ in 0..15 {
        lab.ask(0, H1, "h1.a.demo", RecordType::A);
    }
    assert_eq!(lab.dns_count(0, QueryOutcome::RateClient), 5);
    assert_eq!(lab.address(0, H2, "h2.a.demo"), Some(H2));
}

#[test]
fn garbage_is_answered_only_where_it_is_a_question() {
    let mut lab = Lab::new();
    lab.raw_query(0, QuerySide::Inside, Transport::Udp, H1, &[1, 2, 3], 900);
    assert!(lab.nodes[0].answers[&900].is_none());
    let mut response = lab::question("h1.a.demo", RecordType::A, 7);
    response[2] |= 0x80;
    lab.raw_query(0, QuerySide::Inside, Transport::Udp, H1, &response, 901);
    assert!(lab.nodes[0].answers[&901].is_none());
    let mut two = lab::question("h1.a.demo", RecordType::A, 7);
    two[5] = 2;
    lab.raw_query(0, QuerySide::Inside, Transport::Udp, H1, &two, 902);
    assert_eq!(lab.reply(0, 902).unwrap().code, ResponseCode::FormErr);
}

#[test]
fn a_local_pair_lives_as_long_as_one_half_is_used() {
    let mut lab = Lab::new();
    let proxy = lab.address(0, H1, "h2.a.demo").unwrap();
    assert!(lab.binding(0, H1, proxy).is_some());
    let (far, _) = lab.binding(0, H2, Ipv4Addr::new(10, 64, 0, 1)).unwrap();
    // A flow from h1 to h2 alone: h2's half falls idle, h1's is in use.
    lab.nodes[0].stats = BindingStats { idle_s: 5, ..BindingStats::default() };
    lab.end(0, far, EndReason::Idle);
    assert!(lab.nodes[0].bindings.contains_key(&far), "it came back");
    // Now both are idle.
    lab.nodes[0].stats = BindingStats { idle_s: 300, ..BindingStats::default() };
    lab.end(0, far, EndReason::Idle);
    assert!(lab.nodes[0].bindings.is_empty());
    assert_eq!(lab.nodes[0].gateway.pools().slots_used, [0]);
    // The address rests for others, and is the same pair's again.
    assert_eq!(lab.address(0, H1, "h1.b.demo"), Some(Ipv4Addr::new(10, 64, 0, 2)));
    assert_eq!(lab.address(0, H1, "h2.a.demo"), Some(proxy));
    lab.advance(121 * S);
    lab.nodes[0].gateway.block_host("h2.a.demo", 0, lab.now);
    lab.settle();
    assert_eq!(lab.address(0, H1, "h2.a.demo"), Some(Ipv4Addr::new(10, 64, 0, 1)));
}

#[test]
fn both_halves_of_a_local_pair_may_end_at_once() {
    let mut lab = Lab::new();
    let proxy = lab.address(0, H1, "h2.a.demo").unwrap();
    let (near, _) = lab.binding(0, H1, proxy).unwrap();
    let (far, _) = lab.binding(0, H2, Ipv4Addr::new(10, 64, 0, 1)).unwrap();
    lab.nodes[0].workers_stuck = true;
    lab.end(0, far, EndReason::Idle);
    lab.end(0, near, EndReason::Idle);
    assert_eq!(lab.nodes[0].gateway.pools().slots_used, [0]);
    assert!(lab.nodes[0].gateway.bindings(lab.now).is_empty());
    lab.nodes[0].workers_stuck = false;
    assert!(lab.address(0, H1, "h2.a.demo").is_some());
}

#[test]
fn a_hard_end_takes_both_halves() {
    let mut lab = Lab::new();
    let proxy = lab.address(0, H1, "h2.a.demo").unwrap();
    let (near, _) = lab.binding(0, H1, proxy).unwrap();
    lab.end(0, near, EndReason::Hard);
    assert!(lab.nodes[0].bindings.is_empty());
    assert_eq!(lab.nodes[0].gateway.pools().slots_used, [0]);
}

#[test]
fn a_binding_that_cannot_be_inserted_leaves_nothing_behind() {
    let mut lab = Lab::new();
    lab.nodes[0].insert_error = Some(InsertError::IndexFull);
    lab.address(0, H1, "h2.a.demo");
    assert_eq!(lab.nodes[0].gateway.pools().slots_used, [0]);
    assert!(lab.logged(0, "binding not inserted", "index"));
    assert!(lab.nodes[0].gateway.counters().insert_failed >= 1);
    lab.nodes[0].insert_error = None;
    assert!(lab.address(0, H1, "h2.a.demo").is_some());
    assert_eq!(lab.nodes[0].bindings.len(), 2);
}

#[test]
fn an_empty_pool_is_servfail_and_gives_all_back() {
    let text =
        lab::realm("a.demo").replace("\"192.168.0.11\"", "\"192.168.0.11\"\nservices = [\"www.h2.a.demo\"]");
    let mut lab = Lab::with(|s| s.realm.host_bindings = 1, &text, &lab::realm("b.demo"));
    assert!(lab.address(0, H1, "h2.a.demo").is_some());
    let reply = lab.ask(0, H1, "www.h2.a.demo", RecordType::A);
    assert_eq!(reply.code, ResponseCode::ServFail);
    assert_eq!(lab.dns_count(0, QueryOutcome::Exhausted), 1);
    assert!(lab.logged(0, "name failed", "no proxy address left"));
    assert_eq!(lab.nodes[0].gateway.pools().slots_used, [2]);
    assert_eq!(lab.nodes[0].bindings.len(), 2);
}

#[test]
fn the_operator_sees_and_ends_sessions_and_blocks_hosts() {
    let mut lab = Lab::new();
    lab.address(0, H1, "h2.a.demo").unwrap();
    let now = lab.now + 3 * S;
    let bindings = lab.nodes[0].gateway.bindings(now);
    assert_eq!(bindings.len(), 2);
    let near = bindings.iter().find(|b| b.host == H1).unwrap();
    assert_eq!((&*near.local, &*near.remote, near.age_s), ("h1.a.demo.", "h2.a.demo.", 3));
    assert!(serde_json::to_string(near).unwrap().contains("\"role\":\"local\""));
    lab.nodes[0].stats = BindingStats { out_packets: 7, ..BindingStats::default() };
    lab.nodes[0].gateway.read_binding(near.tag, ces_gateway::AdminToken(1));
    lab.settle();
    assert!(lab.nodes[0].other.iter().any(|output| matches!(output,
        Output::Binding { binding: Some(b), .. } if b.stats.unwrap().out_packets == 7)));

    assert!(lab.nodes[0].gateway.terminate_session(near.tag, now));
    lab.settle();
    assert!(lab.nodes[0].bindings.is_empty());
    assert!(!lab.nodes[0].gateway.terminate_session(near.tag, now));

    assert!(lab.nodes[0].gateway.block_host("h2.a.demo", 60, lab.now));
    assert!(!lab.nodes[0].gateway.block_host("nobody.a.demo", 60, lab.now));
    assert_eq!(lab.ask(0, H1, "h2.a.demo", RecordType::A).code, ResponseCode::NXDomain);
    assert_eq!(lab.ask(0, H2, "h2.a.demo", RecordType::A).code, ResponseCode::Refused);
    let now = lab.now;
    assert_eq!(lab.nodes[0].gateway.hosts(now)[1].blocked_s, Some(60));
    assert!(lab.nodes[0].gateway.unblock_host("h2.a.demo", now));
    assert!(lab.address(0, H1, "h2.a.demo").is_some());
    assert_eq!(lab.nodes[0].gateway.pools().proxies_per_host, 4096);
    let dns = lab.nodes[0].gateway.dns(now);
    assert!(serde_json::to_string(&dns).unwrap().contains("\"host_blocked\":1"));
}

#[test]
fn a_host_with_a_lease_is_called_what_it_calls_itself() {
    const LEASED: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 77);
    let called = |label: &str| Some(LeasedHost { mac: None, label: Some(label.into()) });
    let mut lab = Lab::new();
    lab.nodes[0].gateway.set_leased(LEASED.into(), called("laptop"));
    assert_eq!(lab.address(0, H1, "Laptop.a.demo"), Some(LEASED));
    assert_eq!(lab.ask(0, H1, "laptop.a.demo", RecordType::AAAA).code, ResponseCode::NoError);
    let reverse = "77.0.168.192.in-addr.arpa";
    assert_eq!(lab.ask(0, H1, reverse, RecordType::PTR).target.unwrap(), "laptop.a.demo.");
    assert_eq!(lab.ask(0, H1, "tablet.a.demo", RecordType::A).code, ResponseCode::NXDomain);
    // Who came first keeps it; the registry's names and those that programs trust are nobody's.
    lab.nodes[0].gateway.set_leased(Ipv4Addr::new(192, 168, 0, 78).into(), called("laptop"));
    assert_eq!(lab.address(0, H1, "laptop.a.demo"), Some(LEASED));
    for label in ["h2", "wpad"] {
        lab.nodes[0].gateway.set_leased(LEASED.into(), called(label));
        assert_ne!(lab.address(0, H1, &format!("{label}.a.demo")), Some(LEASED));
        assert_eq!(lab.ask(0, H1, reverse, RecordType::PTR).code, ResponseCode::NXDomain);
    }
    lab.nodes[0].gateway.set_leased(LEASED.into(), called("laptop"));
    lab.nodes[0].gateway.set_leased(LEASED.into(), None);
    assert_eq!(lab.ask(0, H1, "laptop.a.demo", RecordType::A).code, ResponseCode::NXDomain);
}
