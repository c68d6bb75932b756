//! Peers that are away, and endpoints that are not theirs: names work soon after the peer is back, nobody is flooded, and what
//! one name says of a gateway keeps nobody from it.

mod lab;

use ces_cetp::engine::*;
use lab::{Lab, MS, S};
use std::net::{IpAddr, SocketAddr};

const HOSTS: usize = 8;

fn is_ok(lab: &Lab, host: usize) -> bool {
    let (source, destination) = (format!("h{host}.gwa.demo."), format!("h{host}.gwb.demo."));
    matches!(lab.result(0, &source, &destination), Some(Ok(_)))
}

/// The ways of being away: gone without a word, or refusing what comes.
#[derive(Clone, Copy, Debug)]
enum Absence {
    Dead,
    Refuses,
}

fn leave(lab: &mut Lab, absence: Absence) {
    match absence {
        Absence::Dead => {
            lab.forget(1);
            lab.set_dead(1, true);
            // The transport's keepalive notices.
            lab.set_dead(0, true);
            lab.set_dead(0, false);
        }
        Absence::Refuses => {
            lab.restart(1);
            lab.nodes[1].refuses = true;
        }
    }
}

fn come_back(lab: &mut Lab) {
    lab.set_dead(1, false);
    lab.nodes[1].refuses = false;
}

/// Whether names work three seconds after the peer is back, though somebody asked every so often while it was away.
fn away(absence: Absence, with_session: bool, away: Nanos, every: Nanos) {
    let mut lab = Lab::pair(HOSTS);
    if with_session {
        lab.ask(0, 0, 1, 0);
        lab.run_for(S);
    }
    leave(&mut lab, absence);
    let back = lab.now + away;
    while lab.now < back {
        lab.ask(0, 1, 1, 1);
        lab.run_for(every.min(back - lab.now));
    }
    let first = lab.dials.len();
    come_back(&mut lab);
    for _ in 0..6 {
        lab.ask(0, 1, 1, 1);
        lab.run_for(S / 2);
    }
    let told = format!("{absence:?}, session {with_session}, away {away}, asked every {every}");
    assert!(is_ok(&lab, 1), "{told}: asked again and again");
    lab.ask(0, 2, 1, 2);
    lab.run_for(S / 10);
    assert!(is_ok(&lab, 2), "{told}: another name");
    assert!(lab.dials.len() <= first + 6, "{told}");
    lab.check_ledger();
}

#[test]
fn c11_names_work_within_3_s_of_the_peers_return() {
    for absence in [Absence::Dead, Absence::Refuses] {
        for with_session in [false, true] {
            for seconds in [1, 3, 17, 40, 200] {
                for every in [50 * MS, 333 * MS, 1_100 * MS, 7 * S] {
                    away(absence, with_session, seconds * S, every);
                }
            }
        }
    }
}

#[test]
fn c11_a_peer_that_is_away_is_tried_for_names_once_a_second_at_most() {
    for absence in [Absence::Dead, Absence::Refuses] {
        let mut lab = Lab::pair(HOSTS);
        leave(&mut lab, absence);
        let begin = lab.now;
        for index in 0..3_000 {
            lab.ask(0, index % HOSTS, 1, index % HOSTS);
            lab.run_for(10 * MS);
        }
        let seconds = ((lab.now - begin) / S) as usize;
        for endpoint in lab.endpoints(1, 3, Proto::Tls) {
            let there = SocketAddr::new(endpoint.addr, endpoint.port);
            let dials: Vec<Nanos> =
                lab.dials.iter().filter(|dial| dial.2 == there).map(|dial| dial.0).collect();
            assert!(dials.len() <= seconds + 1, "{absence:?}: {} in {seconds} s", dials.len());
            assert!(dials.windows(2).all(|two| two[1] - two[0] >= S), "{absence:?}");
        }
        // Who is told no is told so at once.
        assert!(lab.nodes[0].engine.pending() <= HOSTS);
    }
}

/// A peer with which nothing can be agreed is not dialled for every name, and soon after that is mended it is asked again.
#[test]
fn c8_a_refusal_is_remembered_for_a_while() {
    let caces = r#"{"group":"ces","code":"caces"},"#;
    let wants =
        lab::network_policy("gwa.demo.").replacen(r#""request":["#, &format!(r#""request":[{caces}"#), 1);
    let mut settings = lab::settings("gwa.demo.", "192.0.2.1");
    settings.network_policy = std::sync::Arc::new(serde_json::from_str(&wants).unwrap());
    let mut lab = Lab::new();
    lab.add(settings, lab::host_policies("gwa.demo.", HOSTS, &[]));
    lab.add(lab::settings("gwb.demo.", "192.0.2.2"), lab::host_policies("gwb.demo.", HOSTS, &[]));
    for index in 0..300 {
        lab.ask(0, index % HOSTS, 1, index % HOSTS);
        lab.run_for(100 * MS);
    }
    let results = lab.results(0);
    assert!(results.len() == 300 && results.iter().all(|why| *why == Err(Failure::Refused)), "{results:?}");
    assert!(lab.dials.len() <= 3 * 3, "{} in 30 s", lab.dials.len());
    // What we want changes; what the peer wants may.
    let mended = lab::settings("gwa.demo.", "192.0.2.1");
    lab.with(0, |engine, _| engine.configure(mended)).unwrap();
    lab.ask(0, 1, 1, 1);
    lab.run_for(S);
    assert!(is_ok(&lab, 1));
    // Nor does it keep the peer itself from coming.
    let mut lab = Lab::new();
    let mut settings = lab::settings("gwa.demo.", "192.0.2.1");
    settings.network_policy = std::sync::Arc::new(serde_json::from_str(&wants).unwrap());
    lab.add(settings, lab::host_policies("gwa.demo.", HOSTS, &[]));
    let tells = lab::network_policy("gwb.demo.").replacen(
        r#""offer":["#,
        r#""offer":[{"group":"ces","code":"caces","value":"192.0.2.9"},"#,
        1,
    );
    let mut settings = lab::settings("gwb.demo.", "192.0.2.2");
    settings.network_policy = std::sync::Arc::new(serde_json::from_str(&tells).unwrap());
    lab.add(settings, lab::host_policies("gwb.demo.", HOSTS, &[]));
    lab.ask(0, 1, 1, 1);
    lab.run_for(S);
    assert!(!is_ok(&lab, 1));
    lab.ask(1, 2, 0, 2);
    lab.run_for(S);
    lab.ask(0, 3, 1, 3);
    lab.run_for(S);
    assert!(is_ok(&lab, 3), "{:?}", lab.nodes[0].log);
}

/// What may stand where a stranger's name says that a gateway is.
#[derive(Clone, Copy, Debug)]
enum Bad {
    /// Nothing, that nobody says so.
    Tarpit,
    /// Something that refuses.
    Closed,
    /// Another gateway.
    Other,
    /// The true gateway, through a relay that then says nothing more.
    Relay,
}

const BAD: [Bad; 4] = [Bad::Tarpit, Bad::Closed, Bad::Other, Bad::Relay];

/// gwa, gwb, gwc, and gwd which refuses.
fn gateways() -> Lab {
    let mut lab = Lab::pair(HOSTS);
    lab.add(lab::settings("gwc.demo.", "192.0.2.3"), lab::host_policies("gwc.demo.", 1, &[]));
    let closed = lab.add(lab::settings("gwd.demo.", "192.0.2.4"), Vec::new());
    lab.nodes[closed].refuses = true;
    lab.relays = (1..=100).collect();
    lab
}

/// Where the stranger's `index`th name says that gwb is.
fn endpoints(bad: Bad, index: u16, count: u16) -> Vec<Endpoint> {
    let addr: IpAddr = match bad {
        Bad::Tarpit => [203, 0, 113, (index % 250) as u8].into(),
        Bad::Closed => [192, 0, 2, 4].into(),
        Bad::Other => [192, 0, 2, 3].into(),
        Bad::Relay => [192, 0, 2, 2].into(),
    };
    let first = match bad {
        Bad::Relay => 1 + index % 90,
        _ => 49_001 + index % 1_000,
    };
    let one = |port| Endpoint { addr, port, proto: Proto::Tls, order: 1, preference: 1, alias: None };
    (first..first + count).map(one).collect()
}

/// A host asks for a stranger's name.
fn lure(lab: &mut Lab, host: usize, bad: Bad, index: u16, count: u16) {
    let request = H2hRequest {
        source: format!("h{host}.gwa.demo.").into(),
        destination: format!("n{index}.stranger.").into(),
        ces_id: "gwb.demo.".into(),
        endpoints: endpoints(bad, index, count),
    };
    lab.negotiate(0, request);
}

#[test]
fn c5_a_strangers_endpoints_keep_nobody_from_the_gateway() {
    for bad in BAD {
        for names in [1, 3, 40] {
            for apart in [0, 7 * MS, 300 * MS, 1_900 * MS] {
                // Who asks for dozens of names at once stands in its own way.
                for host in [0, 1].into_iter().take(if names > 8 { 1 } else { 2 }) {
                    for is_first in [true, false] {
                        let mut lab = gateways();
                        if is_first {
                            lab.ask(0, 1, 1, 1);
                        }
                        for index in 0..names {
                            lure(&mut lab, host, bad, index, 3);
                        }
                        lab.run_for(apart);
                        if !is_first {
                            lab.ask(0, 1, 1, 1);
                        }
                        // A relay shows who it leads to, and has a part of the time.
                        lab.run_for(if matches!(bad, Bad::Relay) { 4 * S } else { S / 2 });
                        let told = format!("{bad:?}, {names} names, {apart} ns, h{host}, first {is_first}");
                        assert!(is_ok(&lab, 1), "{told}");
                        lab.run_for(10 * S);
                        assert_eq!(lab.nodes[0].engine.pending(), 0, "{told}");
                        assert!(lab.nodes[0].engine.peers(lab.now)[0].up, "{told}");
                        lab.check_ledger();
                    }
                }
            }
        }
    }
}

#[test]
fn c5_who_keeps_asking_for_a_strangers_names_keeps_nobody_from_the_gateway() {
    for bad in BAD {
        let mut lab = gateways();
        for round in 0..40 {
            lure(&mut lab, 0, bad, round, 3);
            lab.run_for(50 * MS);
        }
        lab.ask(0, 1, 1, 1);
        for round in 40..60 {
            lure(&mut lab, 0, bad, round, 3);
            lab.run_for(50 * MS);
        }
        lab.run_for(if matches!(bad, Bad::Relay) { 3 * S } else { 0 });
        assert!(is_ok(&lab, 1), "{bad:?}");
    }
}

#[test]
fn c5_what_one_host_opens_is_bounded() {
    let mut lab = gateways();
    for index in 0..500 {
        lure(&mut lab, 0, Bad::Tarpit, index, 5);
        assert!(lab.connections(0) <= 24 + 1, "{}", lab.connections(0));
    }
    lab.run_for(5 * S);
    assert_eq!((lab.connections(0), lab.nodes[0].engine.pending()), (0, 0));
    assert_eq!(lab.results(0).len(), 500);
}

#[test]
fn c5_a_strangers_name_does_not_say_where_a_lost_peer_is() {
    for bad in BAD {
        for crash in [Lab::restart as fn(&mut Lab, usize), Lab::forget] {
            let mut lab = gateways();
            lab.ask(0, 1, 1, 1);
            lab.run_for(S);
            for index in 0..20 {
                lure(&mut lab, 0, bad, index, 3);
            }
            lab.run_for(S);
            crash(&mut lab, 1);
            lab.set_dead(0, true);
            lab.set_dead(0, false);
            lab.run_for(2 * S);
            assert!(lab.nodes[0].engine.peers(lab.now)[0].up, "{bad:?}: it is where it was");
            let known = lab.nodes[0].engine.peer_memory("gwb.demo.").unwrap().endpoints;
            let is_true = |endpoint: &Endpoint| endpoint.port > 100 && endpoint.addr == lab.nodes[1].addr;
            assert!(known.iter().all(is_true), "{bad:?}: {known:?}");
        }
    }
}

#[test]
fn c5_an_endpoint_that_is_not_the_one_gateways_may_be_the_others() {
    let mut lab = gateways();
    let mut request = lab.request(0, "h0.gwa.demo.", 1, "n.stranger.", 3);
    request.ces_id = "gwc.demo.".into();
    lab.negotiate(0, request);
    lab.run_for(100 * MS);
    assert_eq!(lab.result(0, "h0.gwa.demo.", "n.stranger."), Some(Err(Failure::Identity)));
    lab.ask(0, 1, 1, 1);
    lab.run_for(100 * MS);
    assert!(is_ok(&lab, 1));
}
