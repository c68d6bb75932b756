//! What is worked off a piece at a time: whoever asks meanwhile gets what will be.

mod lab;

use ces_cetp::engine::FlowFilter;
use ces_gateway::names::Name;
use ces_gateway::settings::MacPolicy;
use ces_gateway::{Change, Evidence, registry};
use hickory_proto::rr::RecordType;
use lab::{Lab, MS, Odd, S};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::Ipv4Addr;

/// Hosts of each realm; each of the one meets each of the other: more than one piece ends.
const HOSTS: u8 = 24;

fn realm(zone: &str) -> String {
    let mut text =
        String::from("[[policy]]\nname = \"all\"\noutbound.to = [\"*\"]\ninbound.from = [\"*\"]\n");
    for number in 0..HOSTS {
        let host = host(number);
        write!(text, "[[host]]\nname = \"n{number}.{zone}\"\naddress = \"{host}\"\npolicy = \"all\"\n")
            .unwrap();
    }
    text
}

fn host(number: u8) -> Ipv4Addr {
    [192, 168, 0, 100 + number].into()
}

fn crowd() -> Lab {
    let mut lab = Lab::with(
        |settings| {
            settings.realm.mac_policy = MacPolicy::Pin;
            settings.cetp.limits.sessions_per_peer = 10_000;
            settings.cetp.limits.sessions_per_peer_max = 10_000;
        },
        &realm("a.demo"),
        &realm("b.demo"),
    );
    for a in 0..HOSTS {
        for b in 0..HOSTS {
            assert!(lab.address(0, host(a), &format!("n{b}.b.demo")).is_some());
        }
    }
    lab
}

fn sessions(lab: &Lab, node: usize) -> usize {
    lab.nodes[node].gateway.sessions().iter().filter(|session| session.stands()).count()
}

#[test]
fn r2_who_asks_while_sessions_end_gets_a_new_one() {
    let mut lab = crowd();
    let all = sessions(&lab, 0);
    assert_eq!(all, usize::from(HOSTS) * usize::from(HOSTS));
    let now = lab.now;
    assert_eq!(lab.nodes[0].gateway.terminate_sessions("cesb.demo.", now), all);
    let left = sessions(&lab, 0);
    assert!(left > 0 && all - left <= 500 && lab.nodes[0].gateway.has_chores(), "{left} are left");
    let gateway = &lab.nodes[0].gateway;
    let (a, b) = gateway
        .sessions()
        .iter()
        .find(|session| session.stands())
        .map(|session| (session.host().v4(), session.remote().to_string()))
        .unwrap();
    // The lab ends nothing more before the query has come.
    let token = lab.query(0, a, &b, RecordType::A);
    assert!(lab.wait(0, token).address.is_some());
    lab.settle();
    assert!(!lab.nodes[0].gateway.has_chores() && !lab.nodes[1].gateway.has_chores());
    assert_eq!((sessions(&lab, 0), sessions(&lab, 1)), (1, 1));
    assert_eq!(lab.nodes[0].gateway.pools().slots_used, [1]);
}

#[test]
fn r2_a_peer_that_is_not_trusted_any_more_ends_in_pieces() {
    let mut lab = crowd();
    let mut settings = lab.nodes[0].settings.clone();
    settings.cetp.trusted = vec![Name::parse("cesc.demo.").unwrap()];
    let (registry, policies) = registry::load(&lab::hosts(&realm("a.demo")), &settings).unwrap();
    let now = lab.now;
    lab.nodes[0].gateway.reload(settings, registry, policies, now).unwrap();
    assert!(sessions(&lab, 0) > 0 && lab.nodes[0].gateway.has_chores());
    lab.advance(S);
    assert_eq!((sessions(&lab, 0), sessions(&lab, 1)), (0, 0));
    assert!(!lab.nodes[0].gateway.peers(lab.now)[0].up);
}

#[test]
fn r2_a_filter_ends_what_it_stops() {
    let mut lab = crowd();
    let now = lab.now;
    assert!(lab.nodes[0].gateway.filter_at_peer(
        "cesb.demo.",
        FlowFilter::RemoteHost("n3.b.demo.".into()),
        now
    ));
    lab.advance(S);
    let each = usize::from(HOSTS);
    assert_eq!((sessions(&lab, 0), sessions(&lab, 1)), (each * (each - 1), each * (each - 1)));
}

#[test]
fn r2_workers_are_told_of_other_pins_in_pieces_and_of_all() {
    let mut lab = crowd();
    let mac = [2, 0, 0, 9, 9, 9];
    let now = lab.now;
    for number in 0..HOSTS {
        assert!(lab.nodes[0].gateway.handle_sender(host(number).into(), mac, Evidence::Arp, now));
    }
    lab.settle();
    assert!(lab.nodes[0].bindings.values().all(|binding| binding.mac == Some(mac)));
    let mut settings = lab.nodes[0].settings.clone();
    settings.realm.mac_policy = MacPolicy::Off;
    let (registry, policies) = registry::load(&lab::hosts(&realm("a.demo")), &settings).unwrap();
    lab.nodes[0].gateway.reload(settings, registry, policies, now).unwrap();
    assert!(lab.nodes[0].gateway.has_chores());
    lab.settle();
    assert!(lab.nodes[0].bindings.values().all(|binding| binding.mac.is_none()));
}

#[test]
fn r2_another_resolver_is_asked_again_in_pieces() {
    let mut lab = crowd();
    lab.upstream = lab::Upstream::Silent;
    let tokens: Vec<u64> = (0..300)
        .map(|number| lab.query(0, host(number as u8 % HOSTS), &format!("w{number}.world"), RecordType::A))
        .collect();
    lab.upstream = lab::Upstream::Answers;
    let mut settings = lab.nodes[0].settings.clone();
    settings.dns.forward_timeout_ms += 1;
    let (registry, policies) = registry::load(&lab::hosts(&realm("a.demo")), &settings).unwrap();
    let now = lab.now;
    lab.nodes[0].gateway.reload(settings, registry, policies, now).unwrap();
    assert!(lab.nodes[0].gateway.has_chores());
    lab.settle();
    for token in tokens {
        assert!(lab.reply(0, token).is_some(), "asked again");
    }
}

/// A host that asks for many names at once, and a peer whose word for its name is slow to be looked up.
#[test]
fn r2_what_waited_for_a_peers_word_is_read_in_pieces() {
    const NAMES: usize = 120;
    let names: Vec<String> = (0..NAMES).map(|number| format!("\"s{number}.b.demo\"")).collect();
    let policy = "policy = \"all\"\n";
    let served = format!("{policy}services = [{}]\n", names.join(","));
    let mut lab = Lab::with(|_| {}, &realm("a.demo"), &realm("b.demo").replacen(policy, &served, 1));
    let slowly = Odd::After(500 * MS, Box::new(Odd::Asks));
    lab.odd("n0.a.demo", RecordType::NAPTR, slowly);
    let asked: Vec<u64> =
        (0..NAMES).map(|number| lab.query(0, host(0), &format!("s{number}.b.demo"), RecordType::A)).collect();
    for token in asked {
        assert!(lab.wait(0, token).address.is_some());
    }
    let mut at_once: BTreeMap<u64, usize> = BTreeMap::new();
    for (at, change) in &lab.nodes[1].changes {
        *at_once.entry(*at).or_default() += usize::from(matches!(change, Change::Reserved { .. }));
    }
    let most = at_once.into_values().max().unwrap();
    assert!(sessions(&lab, 1) == NAMES && most <= 50, "{most} at once");
}
