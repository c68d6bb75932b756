//! Upstreams that misbehave, and far names of every kind, as tables: name and what upstream does in, answer out.

mod lab;

use ces_dns::message::Transport;
use ces_dns::naptr::{Announcement, Endpoint, Forms, NaptrFault, Proto};
use ces_dns::outcome::{QueryOutcome, QuerySide};
use ces_gateway::CoreSettings;
use ces_gateway::names::Name;
use ces_gateway::sessions::Change;
use hickory_proto::op::ResponseCode::{FormErr, NXDomain, NoError, NotImp, Refused, ServFail};
use hickory_proto::rr::RData;
use hickory_proto::rr::RecordType::{self, A, AAAA, HTTPS, MX, NAPTR, SRV, SVCB, TXT};
use hickory_proto::rr::rdata::svcb::{IpHint, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{self, SVCB as Service};
use lab::{A_OUTER, B_OUTER, H1, H2, Lab, MS, Odd, S};
use std::net::{IpAddr, Ipv4Addr};

const LEGACY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 80);
const PROXY: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 1);

fn address(ip: Ipv4Addr) -> Odd {
    Odd::Says(vec![RData::A(rdata::A(ip))])
}

/// CES records that say so of a gateway at an address.
fn gateway(ces_id: &str, at: Ipv4Addr, order: u16) -> Vec<RData> {
    let endpoint =
        Endpoint { addr: at.into(), port: 48001, proto: Proto::Tls, alias: None, order, preference: 10 };
    let own = Announcement { ces_id: ces_id.into(), endpoints: vec![endpoint], forms: Forms::Reference };
    own.emit().all().cloned().map(RData::NAPTR).collect()
}

fn record(regexp: &str) -> RData {
    let flags: Box<[u8]> = (*b"U").into();
    let service: Box<[u8]> = (*b"CES+cesid").into();
    let root = hickory_proto::rr::Name::root();
    RData::NAPTR(rdata::NAPTR::new(10, 10, flags, service, regexp.as_bytes().into(), root))
}

/// A peer's word for the name of its host counts if the name's own CES records say the same: what upstream says of the name,
/// whether the session comes about, and what that costs the peer.
#[test]
fn c17_a_claimed_name_is_looked_up() {
    let here = || gateway("cesb.demo.", B_OUTER, 10);
    let theirs = || gateway("cesa.demo.", A_OUTER, 10);
    let both =
        || gateway("cesc.demo.", B_OUTER, 10).into_iter().chain(gateway("CESA.demo.", A_OUTER, 20)).collect();
    for (title, naptr, is_believed) in [
        ("as it is", Odd::Asks, true),
        ("it leads there", Odd::Says(theirs()), true),
        ("there among others", Odd::Says(both()), true),
        ("slowly", Odd::After(1_200 * MS, Box::new(Odd::Says(theirs()))), true),
        ("it leads elsewhere", Odd::Says(gateway("cesc.demo.", A_OUTER, 10)), false),
        ("it leads here", Odd::Says(here()), false),
        ("records that say nothing", Odd::Says(vec![record("!^.*$!nothing!")]), false),
        ("no records", Odd::Says(vec![]), false),
        ("no name", Odd::Code(NXDomain), false),
        ("SERVFAIL", Odd::Code(ServFail), false),
        ("REFUSED", Odd::Code(Refused), false),
        ("silence", Odd::Silent, false),
    ] {
        let mut lab = Lab::new();
        lab.odd("h1.a.demo", NAPTR, naptr);
        let token = lab.query(0, H1, "h1.b.demo", A);
        // Nothing is kept for who asks as long as nobody knows.
        if lab.reply(0, token).is_none() {
            assert_eq!(lab.nodes[1].gateway.pools().slots_used, [0], "{title}");
        }
        assert_eq!(lab.wait(0, token).address.is_some(), is_believed, "{title}");
        let counters = lab.nodes[1].gateway.counters();
        assert_eq!(
            (counters.claims_looked_up, counters.claims_refused),
            (1, u64::from(!is_believed)),
            "{title}"
        );
        assert_eq!(lab.logged(1, "session refused", "may not speak for"), !is_believed, "{title}");
        // What is known is not asked again, for another name of ours either; nobody is blocked for it.
        lab.upstream_queries.clear();
        assert_eq!(lab.ask(0, H1, "www.h1.b.demo", A).address.is_some(), is_believed, "{title}");
        assert!(!lab.upstream_queries.contains(&("h1.a.demo.".into(), NAPTR)), "{title}");
        assert!(lab.nodes[1].gateway.blocks(lab.now).is_empty());
    }
}

/// A name's owner is found by another name for which it stands, though the server says no more than that (CNAME).
#[test]
fn c17_a_bare_alias_of_a_claimed_name_is_followed() {
    let to = |target: &str| Odd::Says(vec![RData::CNAME(rdata::CNAME(ces_dns::name(target).unwrap()))]);
    let theirs = || Odd::Says(gateway("cesa.demo.", A_OUTER, 10));
    let chain = |length: usize| {
        let mut steps = vec![("h1.a.demo".to_owned(), to("n1.else"))];
        steps.extend((1..length).map(|n| (format!("n{n}.else"), to(&format!("n{}.else", n + 1)))));
        steps.push((format!("n{length}.else"), theirs()));
        steps
    };
    let two = |end: Odd| vec![("h1.a.demo".to_owned(), to("n1.else")), ("n1.else".to_owned(), end)];
    let late = |odd: Odd| Odd::After(900 * MS, Box::new(odd));
    for (title, steps, is_believed) in [
        ("one", chain(1), true),
        ("eight", chain(8), true),
        ("nine", chain(9), false),
        ("to itself", vec![("h1.a.demo".to_owned(), to("h1.a.demo"))], false),
        ("round", two(to("H1.a.demo")), false),
        ("elsewhere", two(Odd::Says(gateway("cesc.demo.", A_OUTER, 10))), false),
        ("to nothing", two(Odd::Says(vec![])), false),
        ("to no name", two(Odd::Code(NXDomain)), false),
        ("to silence", two(Odd::Silent), false),
        (
            "too late",
            vec![("h1.a.demo".to_owned(), late(to("n1.else"))), ("n1.else".to_owned(), late(theirs()))],
            false,
        ),
    ] {
        let mut lab = Lab::new();
        for (name, odd) in steps {
            lab.odd(&name, NAPTR, odd);
        }
        let token = lab.query(0, H1, "h1.b.demo", A);
        assert_eq!(lab.wait(0, token).address.is_some(), is_believed, "{title}");
        let counters = lab.nodes[1].gateway.counters();
        assert_eq!(
            (counters.claims_looked_up, counters.claims_refused),
            (1, u64::from(!is_believed)),
            "{title}"
        );
    }
}

#[test]
fn c17_what_could_not_be_looked_up_is_asked_again_soon() {
    let mut lab = Lab::new();
    lab.odd("h1.a.demo", NAPTR, Odd::Code(ServFail));
    assert_eq!(lab.ask(0, H1, "h1.b.demo", A).code, NXDomain);
    lab.odd("h1.a.demo", NAPTR, Odd::Asks);
    lab.advance(31 * S);
    assert_eq!(lab.ask(0, H1, "h1.b.demo", A).address, Some(PROXY));
}

#[test]
fn c17_nobody_is_asked_where_the_answer_is_known() {
    let name = |text: &str| Name::parse(text).unwrap();
    let listed = |settings: &mut CoreSettings| {
        settings.cetp.peer_zones = [(name("cesa.demo."), vec![name("a.demo.")])].into_iter().collect();
    };
    let off = |settings: &mut CoreSettings| settings.cetp.look_up_names = false;
    for change in [&listed as &dyn Fn(&mut CoreSettings), &off] {
        let mut lab = Lab::with(
            |settings| {
                if settings.realm.ces_id.as_str() == "cesb.demo." {
                    change(settings);
                }
            },
            &lab::realm("a.demo"),
            &lab::realm("b.demo"),
        );
        lab.odd("h1.a.demo", NAPTR, Odd::Code(NXDomain));
        assert_eq!(lab.ask(0, H1, "h1.b.demo", A).address, Some(PROXY));
        // Nor on behalf of whom policy refuses anyway.
        assert_eq!(lab.ask(0, H1, "h3.b.demo", A).code, NXDomain);
        assert_eq!(lab.nodes[1].gateway.counters().claims_looked_up, 0);
    }
    let mut lab = Lab::new();
    assert_eq!(lab.ask(0, H2, "h1.b.demo", A).code, NXDomain);
    assert_eq!(lab.nodes[1].gateway.counters().claims_looked_up, 0);
}

/// Where names are not looked up, a peer may call its hosts as it likes, and what it calls them leads none of ours to them: what
/// the name's own records say, and what our host is told who asks for it.
#[test]
fn c17_a_word_that_nobody_looks_up_leads_no_host_of_ours_anywhere() {
    let change = |settings: &mut CoreSettings| {
        settings.cetp.look_up_names = false;
        if settings.realm.ces_id.as_str() == "cesa.demo." {
            settings.realm.zones.push(Name::parse("bank.example.").unwrap());
        }
    };
    let theirs = lab::realm("a.demo").replace("h1.a.demo", "www.bank.example");
    let ours = lab::realm("b.demo").replace("\"h1.a.demo\"", "\"*\"");
    let mut lab = Lab::with(change, &theirs, &ours);
    lab.odd("www.bank.example", A, address(LEGACY));
    let claimed = lab.ask(0, H1, "h1.b.demo", A).address;
    assert_eq!(claimed, Some(PROXY));
    let to_the_peer = lab.nodes[1].bindings.values().next().unwrap().proxy;
    for (title, naptr, expected) in [
        ("no CES", Odd::Code(NXDomain), Some(LEGACY)),
        ("another's", Odd::Says(gateway("cesc.demo.", Ipv4Addr::new(192, 0, 2, 77), 10)), None),
        ("its own", Odd::Says(gateway("cesa.demo.", A_OUTER, 10)), Some(to_the_peer)),
    ] {
        lab.odd("www.bank.example", NAPTR, naptr);
        lab.advance(61 * S);
        let answer = lab.ask(1, H1, "www.bank.example", A).address;
        assert_eq!(answer.is_some(), expected.is_some(), "{title}");
        assert_eq!(answer == Some(to_the_peer), title == "its own" && answer == expected, "{title}");
        assert!(title == "its own" || answer == expected, "{title}");
    }
}

/// RFC 4074 §4, RFC 8906 §3.1.2: an ordinary name whose server knows no NAPTR, in every way that there is.
#[test]
fn n1_a_server_that_knows_no_naptr_costs_no_name_its_address() {
    for (title, naptr, at_most_ms) in [
        ("SERVFAIL", Odd::Code(ServFail), 20),
        ("NOTIMP", Odd::Code(NotImp), 20),
        ("FORMERR", Odd::Code(FormErr), 20),
        ("REFUSED", Odd::Code(Refused), 20),
        ("NXDOMAIN", Odd::Code(NXDomain), 20),
        ("no data", Odd::Says(vec![]), 20),
        ("no data after 0.7 s", Odd::After(700 * MS, Box::new(Odd::Says(vec![]))), 720),
        ("no data after 1.6 s", Odd::After(1_600 * MS, Box::new(Odd::Says(vec![]))), 1_620),
        ("SERVFAIL after 3 s", Odd::After(3 * S, Box::new(Odd::Code(ServFail))), 3_020),
        ("silence", Odd::Silent, 4_020),
    ] {
        for (qtype, expected) in [(A, Some(LEGACY)), (AAAA, None), (TXT, None)] {
            let mut lab = Lab::new();
            lab.odd("odd.example", NAPTR, naptr.clone());
            lab.odd("odd.example", A, address(LEGACY));
            lab.odd("odd.example", AAAA, Odd::Says(vec![]));
            lab.odd("odd.example", TXT, Odd::Says(vec![]));
            let begin = lab.now;
            let reply = lab.ask(0, H1, "odd.example", qtype);
            assert_eq!((reply.code, reply.address), (NoError, expected), "{title} {qtype}");
            assert!(lab.now - begin <= at_most_ms * MS, "{title} {qtype}: {} ms", (lab.now - begin) / MS);
            assert!(lab.now - begin < 5 * S, "a stub resolver asks again");
            assert_eq!(lab.nodes[0].gateway.pools().waiting, 0);
        }
    }
}

#[test]
fn n1_the_address_is_asked_for_at_the_same_time() {
    let mut lab = Lab::new();
    lab.odd("odd.example", NAPTR, Odd::After(700 * MS, Box::new(Odd::Says(vec![]))));
    lab.odd("odd.example", A, Odd::After(600 * MS, Box::new(address(LEGACY))));
    let begin = lab.now;
    assert_eq!(lab.address(0, H1, "odd.example"), Some(LEGACY));
    assert!(lab.now - begin <= 720 * MS, "not one after the other");
}

/// Where the address itself cannot be had, that is what is said.
#[test]
fn n1_what_the_address_question_gets_is_what_is_said() {
    for (title, naptr, a, code, outcome) in [
        ("both fail", Odd::Code(ServFail), Odd::Code(ServFail), ServFail, QueryOutcome::UpstreamFailed),
        ("both are refused", Odd::Code(Refused), Odd::Code(Refused), Refused, QueryOutcome::UpstreamRefused),
        ("both are silent", Odd::Silent, Odd::Silent, ServFail, QueryOutcome::UpstreamTimeout),
        ("no such name", Odd::Code(NXDomain), Odd::Code(NXDomain), NXDomain, QueryOutcome::NxDomain),
        ("no NAPTR, no name", Odd::Silent, Odd::Code(NXDomain), NXDomain, QueryOutcome::NxDomain),
    ] {
        let mut lab = Lab::new();
        lab.odd("odd.example", NAPTR, naptr);
        lab.odd("odd.example", A, a);
        let reply = lab.ask(0, H1, "odd.example", A);
        assert_eq!(reply.code, code, "{title}");
        assert_eq!(lab.dns_count(0, outcome), 1, "{title}");
        assert!(!lab.logged(0, "name failed", ""), "{title}: nobody is blamed for a question of ours");
    }
}

#[test]
fn n1_a_late_answer_leads_to_the_tunnel() {
    for late in [0, 700, 1_600, 3_500] {
        let mut lab = Lab::new();
        lab.odd("h1.b.demo", NAPTR, Odd::After(late * MS, Box::new(Odd::Asks)));
        lab.odd("h1.b.demo", A, address(LEGACY));
        assert_eq!(lab.address(0, H1, "h1.b.demo"), Some(PROXY), "after {late} ms");
    }
}

/// Silence is remembered, so that it is waited out once; who asks again has waited long enough.
#[test]
fn n1_silence_is_waited_out_once_and_never_beyond_a_second_try() {
    let mut lab = Lab::new();
    lab.odd("odd.example", NAPTR, Odd::Silent);
    lab.odd("odd.example", A, address(LEGACY));
    let first = lab.query(0, H1, "odd.example", A);
    lab.advance(300 * MS);
    let early = lab.query(0, H1, "odd.example", A);
    assert!(lab.reply(0, early).is_none(), "two programs, not a second try");
    lab.advance(800 * MS);
    let again = lab.query(0, H1, "odd.example", A);
    for token in [first, early, again] {
        assert_eq!(lab.reply(0, token).expect("at once").address, Some(LEGACY));
    }
    lab.advance(10 * S);
    let begin = lab.now;
    assert_eq!(lab.address(0, H2, "odd.example"), Some(LEGACY));
    assert!(lab.now - begin <= 20 * MS);
}

#[test]
fn n1_a_name_once_known_as_one_of_ces_does_not_fall_back() {
    for (title, naptr, code) in [
        ("silence", Odd::Silent, ServFail),
        ("SERVFAIL", Odd::Code(ServFail), ServFail),
        ("NOTIMP", Odd::Code(NotImp), ServFail),
        ("REFUSED", Odd::Code(Refused), ServFail),
        ("a record that cannot be read", Odd::Says(vec![record("!^.*$!cesid=1:b?port=0!")]), ServFail),
    ] {
        let mut lab = Lab::new();
        lab.odd("h1.b.demo", A, address(LEGACY));
        assert_eq!(lab.address(0, H1, "h1.b.demo"), Some(PROXY), "{title}");
        lab.advance(60 * S);
        lab.odd("h1.b.demo", NAPTR, naptr);
        let reply = lab.ask(0, H2, "h1.b.demo", A);
        assert_eq!((reply.code, reply.address), (code, None), "{title}");
        assert!(lab.logged(0, "name failed", "it has had"), "{title}: told by its right name");
    }
    // A name in a zone that is listed as a peer's is one of CES before anybody has asked for it.
    let listed = |settings: &mut CoreSettings| {
        let name = |text: &str| Name::parse(text).unwrap();
        settings.cetp.peer_zones = [(name("cesb.demo."), vec![name("b.demo.")])].into_iter().collect();
    };
    let mut lab = Lab::with(listed, &lab::realm("a.demo"), "");
    lab.odd("h1.b.demo", A, address(LEGACY));
    lab.odd("h1.b.demo", NAPTR, Odd::Silent);
    assert_eq!(lab.ask(0, H1, "h1.b.demo", A).code, ServFail);
    // Where its server says that there is none, there is none any more.
    let mut lab = Lab::new();
    lab.odd("h1.b.demo", A, address(LEGACY));
    assert_eq!(lab.address(0, H1, "h1.b.demo"), Some(PROXY));
    lab.advance(60 * S);
    lab.odd("h1.b.demo", NAPTR, Odd::Says(vec![]));
    assert_eq!(lab.address(0, H2, "h1.b.demo"), Some(LEGACY));
}

/// The name of a load balancer's, whose server knows no NAPTR, for one with CES.
#[test]
fn n1_an_alias_of_a_name_known_as_one_of_ces_does_not_fall_back() {
    for (title, naptr) in
        [("silence", Odd::Silent), ("SERVFAIL", Odd::Code(ServFail)), ("REFUSED", Odd::Code(Refused))]
    {
        let mut lab = Lab::new();
        lab.odd("h1.b.demo", A, address(LEGACY));
        for (alias, target) in [("www.example", "h1.b.demo"), ("other.example", "plain.example")] {
            lab.odd(alias, NAPTR, naptr.clone());
            lab.odd(alias, A, Odd::Alias(target.into(), LEGACY));
        }
        assert_eq!(lab.address(0, H1, "h1.b.demo"), Some(PROXY), "{title}");
        let reply = lab.ask(0, H2, "www.example", A);
        assert_eq!((reply.code, reply.address), (ServFail, None), "{title}");
        assert!(lab.logged(0, "name failed", "a name that leads to it"), "{title}: told by its right name");
        let data = lab.ask(0, H2, "other.example", A).data.join(" ");
        assert!(data.contains("203.0.113.80"), "{title}: {data}");
        assert_eq!(lab.nodes[0].gateway.pools().waiting, 0, "{title}");
    }
}

/// RFC 1034 §3.6.2: a server tells that a name stands for another one, and leaves it to who asks to go on from there.
#[test]
fn n1_a_name_that_is_only_told_to_stand_for_another_one_is_followed() {
    let to = |target: &str| Odd::Says(vec![RData::CNAME(rdata::CNAME(ces_dns::name(target).unwrap()))]);
    let chain: Vec<_> = (0..12).map(|n| (format!("n{n}.example"), format!("n{}.example", n + 1))).collect();
    let chain: Vec<_> = chain.iter().map(|(name, target)| (&**name, &**target)).collect();
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], bool);
    let table: [Row<'_>; 6] = [
        ("one", &[("n0.example", "h1.b.demo")], true),
        ("several", &[("n0.example", "n1.example"), ("n1.example", "H1.B.demo")], true),
        ("a name without CES", &[("n0.example", "plain.example")], false),
        ("itself", &[("n0.example", "N0.example")], false),
        ("round and round", &[("n0.example", "n1.example"), ("n1.example", "n0.example")], false),
        ("without an end", &chain, false),
    ];
    for (title, aliases, leads) in table {
        let mut lab = Lab::new();
        lab.odd("plain.example", NAPTR, Odd::Says(vec![]));
        for (name, target) in aliases {
            lab.odd(name, NAPTR, to(target));
        }
        lab.odd("n0.example", A, Odd::Alias(aliases[0].1.into(), LEGACY));
        for _ in 0..2 {
            let data = lab.ask(0, H1, "n0.example", A).data.join(" ");
            let expected = if leads { PROXY } else { LEGACY };
            assert!(data.contains(&expected.to_string()), "{title}: {data}");
        }
        assert_eq!(lab.nodes[0].gateway.bindings(lab.now).len(), usize::from(leads), "{title}");
        assert_eq!(lab.nodes[0].gateway.pools().waiting, 0, "{title}");
    }
    // What stands for a name of ours leads there; what stood for one with CES does not fall back when nobody tells any more.
    let mut lab = Lab::new();
    lab.odd("n0.example", NAPTR, to("h2.a.demo"));
    assert_eq!(lab.address(0, H1, "n0.example"), Some(PROXY));
    assert_eq!(lab.nodes[0].gateway.bindings(lab.now).len(), 2);
    for (title, alias, target) in
        [("the alias", Odd::Silent, Odd::Asks), ("the name", to("h1.b.demo"), Odd::Silent)]
    {
        let mut lab = Lab::new();
        lab.odd("n0.example", NAPTR, to("h1.b.demo"));
        lab.odd("n0.example", A, address(LEGACY));
        assert_eq!(lab.address(0, H1, "n0.example"), Some(PROXY), "{title}");
        lab.advance(60 * S);
        lab.odd("n0.example", NAPTR, alias);
        lab.odd("h1.b.demo", NAPTR, target);
        let begin = lab.now;
        let reply = lab.ask(0, H2, "n0.example", A);
        assert_eq!((reply.code, reply.address), (ServFail, None), "{title} is silent");
        assert!(lab.now - begin < 5 * S, "{title} is silent");
    }
}

fn service(target: &str, hints: &[Ipv4Addr]) -> Service {
    let hints = hints.iter().map(|ip| rdata::A(*ip)).collect();
    let parameters = vec![(SvcParamKey::Ipv4Hint, SvcParamValue::Ipv4Hint(IpHint(hints)))];
    Service::new(1, ces_dns::name(target).unwrap(), parameters)
}

/// RFC 9460 §7.3.
#[test]
fn n2_nothing_leads_around_the_tunnel_of_a_name_with_ces() {
    let mut lab = Lab::new();
    let https = |target| Odd::Says(vec![RData::HTTPS(rdata::HTTPS(service(target, &[LEGACY])))]);
    lab.odd("h1.b.demo", HTTPS, https("."));
    lab.odd("h1.b.demo", SVCB, Odd::Says(vec![RData::SVCB(service("cdn.example", &[LEGACY]))]));
    lab.odd("h1.b.demo", A, address(LEGACY));
    lab.odd("alias.example", HTTPS, https("h1.b.demo"));
    lab.odd("plain.example", HTTPS, https("."));
    lab.alias = Some(("other.example.".into(), "h1.b.demo.".into()));
    let srv = RData::SRV(rdata::SRV::new(1, 1, 5060, ces_dns::name("h1.b.demo").unwrap()));
    lab.odd("_sip._tcp.example", SRV, Odd::With(vec![srv], vec![("h1.b.demo".into(), LEGACY)]));
    let all = |reply: &lab::Reply| reply.data.join(" ") + &reply.additional.join(" ");
    // Before, beside and after the first connection.
    for round in 0..2 {
        for (name, qtype, answers) in [
            ("h1.b.demo", HTTPS, 0),
            ("h1.b.demo", SVCB, 0),
            ("other.example", HTTPS, 0),
            ("alias.example", HTTPS, 1),
            ("_sip._tcp.example", SRV, 1),
            ("h1.b.demo", RecordType::ANY, 1),
        ] {
            let reply = lab.ask(0, H1, name, qtype);
            assert_eq!((reply.code, reply.answers), (NoError, answers), "{name} {qtype}, round {round}");
            assert!(!all(&reply).contains("203.0.113.80"), "{name} {qtype}: {}", all(&reply));
        }
        let plain = lab.ask(0, H1, "plain.example", HTTPS);
        assert!(all(&plain).contains("203.0.113.80"), "{}", all(&plain));
        assert_eq!(lab.address(0, H1, "h1.b.demo"), Some(PROXY));
    }
}

/// DNS rebinding.
#[test]
fn n3_addresses_of_this_side_do_not_pass_and_are_counted() {
    let change = |s: &mut CoreSettings| {
        s.dns.private_networks = vec!["10.1.0.0/16".parse().unwrap()];
        s.dns.private_names = vec![Name::parse("corp.example").unwrap()];
    };
    let mut lab = Lab::with(change, &lab::realm("a.demo"), &lab::realm("b.demo"));
    let mut filtered = 0;
    for (name, text, passes) in [
        ("evil.example", "192.168.0.12", false),
        ("evil.example", "10.64.0.1", false),
        ("evil.example", "192.168.0.1", false),
        ("evil.example", "127.0.0.1", false),
        ("evil.example", "172.16.3.4", false),
        ("evil.example", "10.1.3.4", true),
        ("x.corp.example", "172.16.3.4", true),
        ("x.corp.example", "192.168.0.12", false),
        ("evil.example", "203.0.113.80", true),
    ] {
        let ip: Ipv4Addr = text.parse().unwrap();
        lab.odd(name, A, address(ip));
        lab.nodes[0].gateway.flush_cache();
        let reply = lab.ask(0, H1, name, A);
        assert_eq!((reply.code, reply.address), (NoError, passes.then_some(ip)), "{name} {text}");
        filtered += u64::from(!passes);
        let dns = serde_json::to_value(lab.nodes[0].gateway.dns(lab.now)).unwrap();
        assert_eq!(dns["resolver"]["rebinding_filtered"], filtered, "{name} {text}");
    }
    // An address of the circular pool stands for whom a name of ours was asked for.
    let pool = |s: &mut CoreSettings| {
        s.realm_gateway = Some(toml::from_str("addresses = [\"198.51.100.16/30\"]").unwrap());
    };
    let mut lab = Lab::with(pool, &lab::realm("a.demo"), &lab::realm("b.demo"));
    for (text, passes) in [("198.51.100.18", false), ("::ffff:198.51.100.18", false), ("198.51.100.20", true)]
    {
        let ip: IpAddr = text.parse().unwrap();
        let (qtype, data) = match ip {
            IpAddr::V4(ip) => (A, RData::A(rdata::A(ip))),
            IpAddr::V6(ip) => (AAAA, RData::AAAA(rdata::AAAA(ip))),
        };
        lab.odd("evil.example", qtype, Odd::Says(vec![data]));
        lab.nodes[0].gateway.flush_cache();
        assert_eq!(lab.ask(0, H1, "evil.example", qtype).answers, usize::from(passes), "{text}");
    }
    let off = |s: &mut CoreSettings| s.dns.filter_private = false;
    let mut lab = Lab::with(off, &lab::realm("a.demo"), &lab::realm("b.demo"));
    for (text, passes) in [("127.0.0.1", true), ("192.168.0.12", false), ("10.64.7.7", false)] {
        let ip: Ipv4Addr = text.parse().unwrap();
        lab.odd("evil.example", A, address(ip));
        lab.nodes[0].gateway.flush_cache();
        assert_eq!(lab.address(0, H1, "evil.example"), passes.then_some(ip), "{text}");
    }
}

/// A host behind is reached at the gateway's own address outside, by a static mapping, from inside by the same name as from
/// everywhere. What a reload changes about that, and about what lies inside, holds from then on.
#[test]
fn n3_a_name_leads_to_an_address_of_ours_of_which_ports_are_a_hosts() {
    let mut lab = Lab::new();
    let now = lab.now;
    lab.nodes[0].gateway.set_addresses(vec![lab::GATEWAY.into(), A_OUTER.into()], now);
    lab.odd("www.example", A, address(A_OUTER));
    lab.odd("evil.example", A, address(lab::GATEWAY));
    lab.odd("odd.example", A, address(Ipv4Addr::new(198, 18, 0, 9)));
    let reload = |lab: &mut Lab, change: &dyn Fn(&mut CoreSettings)| {
        let mut settings = lab.nodes[0].settings.clone();
        change(&mut settings);
        let files = lab::hosts(&lab::realm("a.demo"));
        let (registry, policies) = ces_gateway::registry::load(&files, &settings).unwrap();
        let now = lab.now;
        lab.nodes[0].gateway.reload(settings, registry, policies, now).unwrap();
        lab.settle();
    };
    let passes = |lab: &mut Lab| {
        ["www.example", "evil.example", "odd.example"].map(|name| lab.address(0, H1, name).is_some())
    };
    assert_eq!(passes(&mut lab), [false, false, true]);
    reload(&mut lab, &|settings| settings.shared = vec![A_OUTER]);
    assert_eq!(passes(&mut lab), [true, false, true]);
    reload(&mut lab, &|settings| settings.realm.networks.push("198.18.0.0/24".parse().unwrap()));
    assert_eq!(passes(&mut lab), [false, false, false]);
    // What changes nothing about how is asked leaves what is known.
    reload(&mut lab, &|_| {});
    assert_eq!(passes(&mut lab), [false, false, true]);
    lab.upstream_queries.clear();
    reload(&mut lab, &|settings| settings.dns.host_rate += 1);
    assert_eq!(passes(&mut lab), [false, false, true]);
    assert!(!lab.upstream_queries.contains(&("odd.example.".into(), A)), "{:?}", lab.upstream_queries);
}

#[test]
fn n6_the_next_gateway_of_a_name_is_tried_whatever_is_wrong_with_the_first() {
    let dead = Ipv4Addr::new(203, 0, 113, 200);
    let good = || gateway("cesb.demo.", B_OUTER, 20);
    let trusting = |s: &mut CoreSettings| {
        if s.realm.name == "a" {
            s.cetp.trusted = vec![Name::parse("cesb.demo").unwrap()];
        }
    };
    let any = |_: &mut CoreSettings| {};
    let only_b = lab::realm("a.demo")
        .replace("outbound.to = [\"*\"]", "outbound = { to = \"*\", peers = [\"cesb.demo\"] }");
    assert!(only_b.contains("peers"));
    let realm = lab::realm("a.demo");
    type Change = fn(&mut CoreSettings);
    let cases: [(&str, Change, &str, Vec<RData>); 5] = [
        ("not trusted", trusting, &realm, gateway("cesx.demo.", dead, 10)),
        ("not trusted, and alive", trusting, &realm, gateway("cesx.demo.", B_OUTER, 10)),
        ("dead", any, &realm, gateway("cesx.demo.", dead, 10)),
        ("this gateway", any, &realm, gateway("cesa.demo.", A_OUTER, 10)),
        ("no peer of a rule", any, &only_b, gateway("cesx.demo.", dead, 10)),
    ];
    for (title, change, realm, first) in cases {
        for (second, expected) in [(true, Some(PROXY)), (false, None)] {
            let mut lab = Lab::with(change, realm, &lab::realm("b.demo"));
            let records = first.iter().cloned().chain(second.then(good).into_iter().flatten());
            lab.odd("h1.b.demo", NAPTR, Odd::Says(records.collect()));
            let reply = lab.ask(0, H1, "h1.b.demo", A);
            assert_eq!(reply.address, expected, "{title}, followed by a good one: {second}");
            let code = match (second, title) {
                (true, _) => NoError,
                (false, "dead") => ServFail,
                (false, _) => NXDomain,
            };
            assert_eq!(reply.code, code, "{title}, followed by a good one: {second}");
        }
    }
}

#[test]
fn c5_where_a_strangers_name_says_that_a_gateway_is_matters_to_that_name_alone() {
    let tarpit = Ipv4Addr::new(203, 0, 113, 66);
    for is_up in [false, true] {
        let mut lab = Lab::new();
        lab.tarpits.insert(tarpit.into());
        lab.odd("evil.example", NAPTR, Odd::Says(gateway("cesb.demo.", tarpit, 10)));
        if is_up {
            assert_eq!(lab.address(0, H1, "h1.b.demo"), Some(PROXY));
        }
        let lured = lab.query(0, H1, "evil.example", A);
        lab.advance(100 * MS);
        assert!(lab.address(0, H1, "h2.b.demo").is_some(), "up {is_up}");
        assert_eq!(lab.wait(0, lured).address, None);
        // Nor does anybody look for the gateway there when it is lost.
        lab.kill(1);
        lab.restart(1, &lab::realm("b.demo"));
        lab.advance(3 * S);
        let remembered = |change: &Change| match change {
            Change::Peer { endpoints, .. } => endpoints.iter().map(|endpoint| endpoint.address).collect(),
            _ => Vec::new(),
        };
        let all: Vec<_> = lab.nodes[0].changes.iter().flat_map(|(_, change)| remembered(change)).collect();
        assert!(!all.is_empty() && all.iter().all(|address| *address == IpAddr::V4(B_OUTER)), "{all:?}");
        assert!(lab.nodes[0].gateway.peers(lab.now).iter().any(|peer| peer.up), "up {is_up}");
    }
}

/// RFC 8020 §2: one name, one truth.
#[test]
fn n12_a_refused_name_is_not_there_for_any_type() {
    // b takes h2 of a for its h2 only; h3 of a has no policy at all.
    for (host, name) in [(H2, "h1.b.demo"), (lab::H3, "h1.b.demo"), (H2, "h1.a.demo"), (lab::H3, "h2.a.demo")]
    {
        let mut lab = Lab::new();
        lab.odd("h1.b.demo", TXT, Odd::Says(vec![RData::TXT(rdata::TXT::new(vec!["here".into()]))]));
        for qtype in [A, AAAA, MX, TXT, HTTPS, SRV, RecordType::ANY, A] {
            let reply = lab.ask(0, host, name, qtype);
            assert_eq!((reply.code, reply.answers), (NXDomain, 0), "{host} {name} {qtype}");
        }
    }
    // Where the first question is not for an address, our own policy is asked.
    let mut lab = Lab::new();
    lab.odd("h1.b.demo", TXT, Odd::Says(vec![RData::TXT(rdata::TXT::new(vec!["here".into()]))]));
    for qtype in [RecordType::ANY, TXT, MX, HTTPS] {
        assert_eq!(lab.ask(0, lab::H3, "h1.b.demo", qtype).code, NXDomain, "{qtype}");
    }
    assert_eq!(lab.cetp_frames, 0, "nobody is asked for that");
    assert_eq!(lab.ask(0, H1, "nobody.b.demo", RecordType::ANY).code, NXDomain);
    assert_eq!(lab.ask(0, H1, "h1.b.demo", RecordType::ANY).code, NoError);
    // Who may reach it is told.
    for _ in 0..2 {
        assert_eq!(lab.ask(0, H1, "h1.b.demo", TXT).data, ["here"]);
        assert_eq!(lab.ask(0, H1, "h1.b.demo", MX).code, NoError);
        assert_eq!(lab.address(0, H1, "h1.b.demo"), Some(PROXY));
    }
    assert_eq!(lab.ask(0, H1, "h2.a.demo", MX).code, NoError);
}

/// RFC 8906 §3.1.
#[test]
fn n14_from_outside_other_names_are_refused_and_never_amplified() {
    let mut lab = Lab::with(|s| s.dns.outside_rate = 100, &lab::realm("a.demo"), &lab::realm("b.demo"));
    let client = Ipv4Addr::new(198, 51, 100, 9);
    for (name, qtype, transport) in [
        ("legacy.example", A, Transport::Udp),
        ("legacy.example", TXT, Transport::Tcp),
        ("demo", NAPTR, Transport::Udp),
        ("8.8.8.8.in-addr.arpa", RecordType::PTR, Transport::Tcp),
        ("localhost", A, Transport::Udp),
    ] {
        let token = lab.query_as(0, QuerySide::Outside, transport, client, name, qtype);
        let reply = lab.reply(0, token).unwrap();
        assert_eq!((reply.code, reply.answers, reply.authoritative), (Refused, 0, false), "{name}");
        assert!(lab.nodes[0].answers[&token].as_ref().unwrap().len() <= lab::question(name, qtype, 1).len());
    }
    lab.advance(2 * S);
    let refused = |lab: &mut Lab, transport| {
        (0..30u8)
            .filter(|n| {
                let client = Ipv4Addr::new(198, 51, 100, *n);
                let token = lab.query_as(0, QuerySide::Outside, transport, client, "legacy.example", A);
                lab.nodes[0].answers[&token].is_some()
            })
            .count()
    };
    assert_eq!(refused(&mut lab, Transport::Udp), 10, "a tenth of dns.outside_rate");
    assert_eq!(refused(&mut lab, Transport::Tcp), 30, "whose sender is no lie");
    assert!(lab.upstream_queries.is_empty());
}

#[test]
fn n15_mistakes_in_ces_records_are_told_and_counted() {
    for (regexp, fault, address) in [
        ("!^.*$!cesid=1:cesb.demo.?cetp_ipv4=192.0.2.2?proto=tls?port=0!", Some(NaptrFault::Port), LEGACY),
        ("!^.*$!cesid=1:cesb.demo.??cetp_ipv4=192.0.2.2?port=48001!", Some(NaptrFault::EmptyField), PROXY),
        ("!^.*\\!?$!cesid=1:cesb.demo.?cetp_ipv4=192.0.2.2?port=48001!", None, PROXY),
    ] {
        let mut lab = Lab::new();
        lab.odd("h1.b.demo", NAPTR, Odd::Says(vec![record(regexp)]));
        lab.odd("h1.b.demo", A, self::address(LEGACY));
        assert_eq!(lab.address(0, H1, "h1.b.demo"), Some(address), "{regexp}");
        assert_eq!(lab.logged(0, "CES record with a mistake", ""), fault.is_some(), "{regexp}");
        let dns = serde_json::to_value(lab.nodes[0].gateway.dns(lab.now)).unwrap();
        for (label, count) in dns["counters"]["naptr"].as_object().unwrap() {
            let expected = u64::from(fault.is_some_and(|fault| fault.label() == label));
            assert_eq!(count.as_u64(), Some(expected), "{regexp} {label}");
        }
    }
}

/// A connection may have 64 questions under way, all of them about one name.
#[test]
fn n17_as_many_as_a_connection_may_ask_wait_for_one_name() {
    let mut lab = Lab::new();
    let long = || RData::TXT(rdata::TXT::new(vec!["x".repeat(200); 250]));
    lab.odd("big.example", NAPTR, Odd::After(50 * MS, Box::new(Odd::Says(vec![]))));
    lab.odd("big.example", TXT, Odd::After(100 * MS, Box::new(Odd::Says(vec![long()]))));
    let tokens: Vec<u64> =
        (0..64).map(|_| lab.query_as(0, QuerySide::Inside, Transport::Tcp, H1, "big.example", TXT)).collect();
    for token in tokens {
        assert_eq!(lab.wait(0, token).code, NoError);
        assert!(lab.nodes[0].answers[&token].as_ref().unwrap().len() > 50_000);
    }
}

#[test]
fn n18_hosts_that_ask_for_what_is_not_there_leave_the_others_their_share() {
    let mut text = lab::realm("a.demo");
    for n in 0..5 {
        let host = format!("name = \"x{n}.a.demo\"\naddress = \"192.168.0.{}\"\n", 20 + n);
        text = [&text, "[[host]]\n", &host, "policy = \"office\"\n"].concat();
    }
    let mut lab = Lab::with(|_| {}, &text, &lab::realm("b.demo"));
    assert_eq!(lab.address(0, H1, "h1.b.demo"), Some(PROXY));
    let light = Ipv4Addr::new(192, 168, 0, 24);
    let mut failed = 0;
    for ms in 0..3_000u64 {
        for n in 0..4 {
            let greedy = Ipv4Addr::new(192, 168, 0, 20 + n);
            // A name that a gateway announces, and does not serve.
            let name = format!("n{ms}-{n}.b.demo");
            lab.odd(&name, NAPTR, Odd::Says(gateway("cesb.demo.", B_OUTER, 1)));
            lab.odd(&name, A, Odd::Says(vec![]));
            lab.query(0, greedy, &name, A);
        }
        if ms % 100 == 0 {
            let name = format!("l{ms}.b.demo");
            lab.odd(&name, NAPTR, Odd::Says(gateway("cesb.demo.", B_OUTER, 1)));
            lab.odd(&name, A, Odd::Says(vec![]));
            let token = lab.query(0, light, &name, A);
            failed += u32::from(lab.reply(0, token).is_some_and(|reply| reply.code == ServFail));
        }
        lab.advance(MS);
    }
    assert!(lab.dns_count(0, QueryOutcome::NegotiationRate) > 1_000, "the greedy ones meet their bound");
    assert_eq!(failed, 0, "the light one does not");
}

#[test]
fn c16_what_goes_to_peers_is_in_lower_case() {
    let mut lab = Lab::new();
    assert_eq!(lab.address(0, H1, "H1.b.DEMO"), Some(PROXY));
    let bindings = lab.nodes[1].gateway.bindings(lab.now);
    assert_eq!((&*bindings[0].local, &*bindings[0].remote), ("h1.b.demo.", "h1.a.demo."));
}
