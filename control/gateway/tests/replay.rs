//! A session is data: a run of changes, replayed, makes the same sessions again.

mod lab;

use ces_dataplane::msg::{Binding, EndReason, Patience};
use ces_dataplane::tag::Handle;
use ces_gateway::sessions::Figures;
use ces_gateway::settings::{CoreSettings, MacPolicy};
use ces_gateway::{CesSessions, Change, Evidence, Mac};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, RecordType, rdata};
use lab::{H1, H2, Lab, Odd, S, host_mac, hosts, platform, realm};
use std::net::Ipv4Addr;

fn figures(lab: &Lab, node: usize) -> Figures {
    ces_gateway::figures(&lab.nodes[node].settings, &platform(node as u8 + 1, 1))
}

/// Negotiations both ways, agreed and refused, local pairs, ends of every kind, blocks, and a reload.
fn eventful() -> Lab {
    let lifetime = |settings: &mut CoreSettings| settings.cetp.limits.dp_ttl_s = 3_600;
    let mut lab = Lab::with(lifetime, &realm("a.demo"), &realm("b.demo"));
    lab.address(0, H1, "h1.b.demo").unwrap();
    lab.address(0, H1, "www.h1.b.demo").unwrap();
    lab.address(0, H2, "h2.b.demo").unwrap();
    lab.address(1, H1, "h1.a.demo").unwrap();
    lab.address(0, H1, "h2.a.demo").unwrap();
    lab.ask(0, H1, "h3.b.demo", RecordType::A);
    lab.advance(3 * S);
    let (idle, _) = lab.binding(0, H1, "10.64.0.2".parse().unwrap()).unwrap();
    lab.end(0, idle, EndReason::Idle);
    lab.address(0, H1, "www.h1.b.demo").unwrap();
    // A half of the local pair falls idle, and comes back.
    let local = lab.nodes[0].gateway.bindings(lab.now).into_iter().find(|b| b.peer.is_none()).unwrap();
    let (half, _) = lab.binding(0, local.host.v4(), local.proxy.v4()).unwrap();
    lab.nodes[0].stats.idle_s = 0;
    lab.end(0, half, EndReason::Idle);
    let now = lab.now;
    lab.nodes[0].gateway.block_host("h2.a.demo", 60, now);
    lab.settle();
    let text = realm("a.demo").replace("h3.", "h4.");
    let settings = lab.nodes[0].settings.clone();
    let (registry, policies) = ces_gateway::registry::load(&hosts(&text), &settings).unwrap();
    lab.nodes[0].gateway.reload(settings, registry, policies, now).unwrap();
    lab.settle();
    lab.address(0, H1, "h1.b.demo").unwrap();
    let now = lab.now;
    assert!(lab.nodes[0].gateway.unblock_host("h2.a.demo", now));
    lab.address(0, H1, "h2.a.demo").unwrap();
    lab
}

fn replayed(figures: &Figures, changes: &[(u64, Change)]) -> CesSessions {
    let mut sessions = CesSessions::new(figures);
    for (at, change) in changes {
        sessions.apply(change, *at).unwrap_or_else(|why| panic!("{change:?}: {why}"));
    }
    sessions
}

fn written(sessions: &CesSessions) -> Vec<(u64, Change)> {
    let mut changes = Vec::new();
    sessions.write_down(|at, change| changes.push((at, change)));
    changes
}

#[test]
fn a_recorded_run_replayed_makes_the_same_sessions() {
    let lab = eventful();
    for (node, it) in lab.nodes.iter().enumerate() {
        assert!(it.changes.len() > 4, "{:?}", it.changes);
        assert!(replayed(&figures(&lab, node), &it.changes) == *it.gateway.sessions());
        // So does any run of it, on the way.
        let half = &it.changes[..it.changes.len() / 2];
        assert!(replayed(&figures(&lab, node), half) != *it.gateway.sessions());
    }
}

#[test]
fn a_change_survives_being_written_as_text() {
    let lab = eventful();
    for (_, change) in &lab.nodes[0].changes {
        let text = serde_json::to_string(change).unwrap();
        assert_eq!(serde_json::from_str::<Change>(&text).unwrap(), *change, "{text}");
    }
}

#[test]
fn a_snapshot_makes_the_same_sessions_and_the_same_snapshot() {
    let lab = eventful();
    for (node, it) in lab.nodes.iter().enumerate() {
        let snapshot = written(it.gateway.sessions());
        assert!(snapshot.len() < it.changes.len());
        let again = replayed(&figures(&lab, node), &snapshot);
        assert_eq!(written(&again), snapshot);
        // What comes next is the same, too: the same slot, the same address.
        let names = it.gateway.sessions().iter().next().unwrap().names().clone();
        for host in [H1, H2] {
            let next = |sessions: &CesSessions| {
                sessions.reservation(host.into(), 0, names.clone(), lab.now).unwrap()
            };
            assert_eq!(next(&again), next(it.gateway.sessions()));
        }
    }
}

#[test]
fn a_change_that_does_not_fit_changes_nothing() {
    let lab = eventful();
    let first = lab.nodes[0].changes[0].clone();
    let figures = figures(&lab, 0);
    let mut sessions = replayed(&figures, &lab.nodes[0].changes);
    for change in [first.1, Change::Released { tag: 7 }, Change::Ended { tag: 7, rest_until: 9 }] {
        assert!(sessions.apply(&change, lab.now).is_err(), "{change:?}");
        assert!(sessions == *lab.nodes[0].gateway.sessions());
    }
}

/// What a gateway's operator sees, in an order of its own, but for ages and tunnels' widths.
fn listed(lab: &Lab, node: usize) -> Vec<String> {
    let gateway = &lab.nodes[node].gateway;
    let mut all: Vec<String> =
        gateway.bindings(lab.now).iter().map(|binding| serde_json::to_string(binding).unwrap()).collect();
    all.extend(gateway.tunnels().iter().map(|tunnel| serde_json::to_string(tunnel).unwrap()));
    all.extend(gateway.hosts(lab.now).iter().map(|host| serde_json::to_string(host).unwrap()));
    all
}

#[test]
fn r1_a_gateway_that_is_killed_goes_on_and_its_peer_negotiates_nothing_anew() {
    let mut lab = eventful();
    let text = realm("a.demo").replace("h3.", "h4.");
    let (seen, bindings) = (listed(&lab, 0), lab.nodes[0].bindings.clone());
    let (at_peer, peer_ups) = (listed(&lab, 1), lab.nodes[1].bindings.clone());
    assert!(bindings.len() >= 2 && !peer_ups.is_empty());
    lab.kill(0);
    let restored = lab.resume(0, &text);
    assert_eq!((restored.kept, restored.ended), (bindings.len(), 0));
    // The workers are told the same bindings, tunnels before them; the operator sees the same.
    let same = |(handle, binding): (&Handle, &Binding)| {
        (*handle, Binding { hard_s: 0, patience: Patience::None, ..*binding })
    };
    let again = &lab.nodes[0].bindings;
    assert!(again.iter().map(same).eq(bindings.iter().map(same)), "{again:?} {bindings:?}");
    // Nobody knows which connections they carry: what would outlast one does so from here on (P1).
    let patience = |binding: &Binding| binding.patience != Patience::None;
    assert!(again.iter().all(|(handle, binding)| patience(binding) == patience(&bindings[handle])));
    assert!(again.values().any(|binding| binding.patience == Patience::Now));
    // What is left of their lifetimes is what was left.
    let left = |(handle, binding): (&Handle, &Binding)| bindings[handle].hard_s - binding.hard_s;
    assert!(again.iter().map(left).all(|passed| passed <= 3));
    assert!(again.iter().map(left).any(|passed| passed == 3));
    assert_eq!(listed(&lab, 0), seen);
    // C2C comes back by itself, and nothing of a session is said.
    let (ups, log) = (lab.nodes[1].bindings.clone(), lab.nodes[1].log.len());
    lab.advance(5 * S);
    assert!(lab.nodes[0].gateway.peers(lab.now).iter().any(|peer| peer.up));
    assert_eq!((lab.nodes[1].bindings.clone(), listed(&lab, 1).len()), (ups, at_peer.len()));
    let said = &lab.nodes[1].log[log..];
    assert!(said.iter().all(|line| !line.event.starts_with("session")), "{said:?}");
    // The name is answered as before, from what stands.
    let frames = lab.cetp_frames;
    let before = bindings.values().map(|binding| binding.proxy).collect::<Vec<_>>();
    assert!(before.contains(&lab.address(0, H1, "h1.b.demo").unwrap()));
    assert_eq!(lab.cetp_frames, frames);
    // And the peer's sessions end here, as ever.
    let tag = lab.nodes[1].gateway.bindings(lab.now)[0].tag;
    let (now, stood) = (lab.now, lab.nodes[0].bindings.len());
    assert!(lab.nodes[1].gateway.terminate_session(tag, now));
    lab.settle();
    assert_eq!(lab.nodes[0].bindings.len(), stood - 1);
}

#[test]
fn r1_what_no_longer_holds_is_not_taken_up_and_the_peer_is_told() {
    let mut lab = eventful();
    let stood = lab.nodes[0].bindings.len();
    lab.kill(0);
    // h1 has lost its policy meanwhile.
    let text = realm("a.demo").replacen("policy = [\"office\"]", "", 1);
    let restored = lab.resume(0, &text);
    assert!(restored.ended > 0 && restored.kept + restored.ended == stood, "{restored:?}");
    let gone = |lab: &Lab| lab.nodes[0].gateway.bindings(lab.now).iter().all(|b| &*b.local != "h1.a.demo.");
    assert!(gone(&lab));
    // The peer hears of it as soon as it is there.
    lab.address(1, H2, "h2.a.demo");
    lab.advance(5 * S);
    let left = lab.nodes[1].gateway.bindings(lab.now);
    assert!(left.iter().all(|binding| &*binding.remote != "h1.a.demo."), "{left:?}");
}

#[test]
fn n5_an_address_of_before_never_stands_for_another_host() {
    let mut lab = Lab::new();
    let first = lab.address(0, H1, "h1.b.demo").unwrap();
    let known = lab.nodes[0].changes.clone();
    // Said to the host, and not yet written down when the process is killed.
    let lost = lab.address(0, H1, "www.h1.b.demo").unwrap();
    lab.nodes[0].changes = known;
    lab.kill(0);
    lab.resume(0, &realm("a.demo"));
    lab.advance(5 * S);
    assert_eq!(lab.address(0, H1, "h1.b.demo"), Some(first));
    let other = lab.address(0, H1, "h2.a.demo").unwrap();
    let again = lab.address(0, H1, "www.h1.b.demo").unwrap();
    assert!(other != lost && again != lost && again != first, "{first} {lost} {other} {again}");
}

#[test]
fn n1_a_name_that_has_had_ces_records_does_not_fall_back_after_a_restart_either() {
    let mut lab = Lab::new();
    let legacy = Odd::Says(vec![RData::A(rdata::A::new(203, 0, 113, 80))]);
    lab.odd("h1.b.demo", RecordType::A, legacy);
    lab.address(0, H1, "h1.b.demo").unwrap();
    let learnt = |lab: &Lab| {
        lab.nodes[0].changes.iter().filter(|(_, change)| matches!(change, Change::Far { .. })).count()
    };
    lab.advance(600 * S);
    lab.address(0, H2, "h1.b.demo");
    assert_eq!(learnt(&lab), 1, "it is written down once in half a day");
    lab.kill(0);
    lab.resume(0, &realm("a.demo"));
    lab.odd("h1.b.demo", RecordType::NAPTR, Odd::Silent);
    let reply = lab.ask(0, H2, "h1.b.demo", RecordType::A);
    assert_eq!((reply.code, reply.address), (ResponseCode::ServFail, None));
    lab.advance(60 * S);
    // An answer that there are none is believed at once.
    lab.odd("h1.b.demo", RecordType::NAPTR, Odd::Says(vec![]));
    assert!(lab.address(0, H2, "h1.b.demo").is_some());
    assert_eq!(learnt(&lab), 2);
}

/// What ended while the peer could not be told is told though this process is another one by then.
#[test]
fn c3_an_end_that_the_peer_has_yet_to_be_told_outlives_a_restart() {
    for first_back in [0, 1] {
        let mut lab = Lab::new();
        let proxies: Vec<_> = ["h1.b.demo", "www.h1.b.demo"]
            .into_iter()
            .map(|name| lab.address(0, H1, name).unwrap())
            .collect();
        lab.kill(1);
        lab.unreachable = true;
        let (ended, _) = lab.binding(0, H1, proxies[0]).unwrap();
        lab.end(0, ended, EndReason::Idle);
        lab.kill(0);
        for node in [first_back, 1 - first_back] {
            lab.resume(node, &realm(["a.demo", "b.demo"][node]));
            lab.advance(5 * S);
        }
        assert_eq!(lab.nodes[1].bindings.len(), 2);
        lab.unreachable = false;
        lab.advance(20 * S);
        assert_eq!(lab.nodes[1].bindings.len(), 1, "{first_back} first");
        // Once is enough: the next process has nothing left to tell.
        let owed = |lab: &Lab| {
            written(lab.nodes[0].gateway.sessions())
                .iter()
                .any(|(_, change)| matches!(change, Change::Owed { .. }))
        };
        assert!(!owed(&lab));
    }
}

/// A machine whose clock has no battery begins in the past.
#[test]
fn r1_a_clock_that_was_set_back_ends_nothing_and_stops_nothing() {
    let mut lab = Lab::new();
    lab.advance(36_000 * S);
    let first = lab.address(0, H1, "h1.b.demo").unwrap();
    let other = lab.address(1, H1, "h1.a.demo").unwrap();
    lab.kill(0);
    lab.kill(1);
    lab.now = 5 * S;
    for (node, zone) in ["a.demo", "b.demo"].into_iter().enumerate() {
        let restored = lab.resume(node, &realm(zone));
        assert_eq!((restored.kept, restored.ended), (1, 0));
    }
    lab.advance(5 * S);
    assert_eq!(
        (lab.address(0, H1, "h1.b.demo"), lab.address(1, H1, "h1.a.demo")),
        (Some(first), Some(other))
    );
    // Another host asks for the same name, which has had CES records then.
    lab.ask(0, H2, "h1.b.demo", RecordType::A);
    assert!(lab.address(0, H1, "www.h1.b.demo").is_some_and(|proxy| proxy != first));
    let (ended, _) = lab.binding(0, H1, first).unwrap();
    lab.end(0, ended, EndReason::Idle);
    assert_eq!(lab.address(0, H1, "h1.b.demo"), Some(first));
}

#[test]
fn c15_a_clean_stop_ends_nothing() {
    let mut lab = Lab::new();
    let proxy = lab.address(0, H1, "h1.b.demo").unwrap();
    let (_, binding) = lab.binding(0, H1, proxy).unwrap();
    let now = lab.now;
    lab.nodes[0].gateway.shutdown(true, now);
    lab.settle();
    assert_eq!((lab.nodes[0].bindings.len(), lab.nodes[1].bindings.len()), (1, 1));
    lab.kill(0);
    lab.advance(3 * S);
    lab.resume(0, &realm("a.demo"));
    lab.advance(5 * S);
    assert_eq!(lab.nodes[1].bindings.len(), 1);
    assert_eq!(lab.binding(0, H1, proxy).unwrap().1.far, binding.far);
}

#[test]
fn p10_a_restart_lets_nobody_else_be_the_first_that_is_seen() {
    let other: Mac = [2, 0, 0, 9, 9, 9];
    let text = realm("a.demo");
    let pin = |settings: &mut CoreSettings| settings.realm.mac_policy = MacPolicy::Pin;
    let mut lab = Lab::with(pin, &text, &realm("b.demo"));
    let claims = |lab: &mut Lab, host: Ipv4Addr, mac, by| {
        let now = lab.now;
        let taken = lab.nodes[0].gateway.handle_sender(host.into(), mac, by, now);
        lab.settle();
        taken
    };
    assert!(claims(&mut lab, H1, host_mac(H1), Evidence::Packet));
    assert!(claims(&mut lab, H1, host_mac(H1), Evidence::Arp), "better known from here on");
    assert!(claims(&mut lab, H2, host_mac(H2), Evidence::Packet));
    let written =
        |lab: &Lab| lab.nodes[0].changes.iter().filter(|(_, c)| matches!(c, Change::Pinned { .. })).count();
    assert_eq!(written(&lab), 3);
    assert!(claims(&mut lab, H1, host_mac(H1), Evidence::Arp) && written(&lab) == 3, "nothing new");
    let proxy = lab.address(0, H1, "h1.b.demo").unwrap();
    for life in 0..2 {
        lab.kill(0);
        lab.resume(0, &text);
        assert_eq!(lab.binding(0, H1, proxy).unwrap().1.mac, Some(host_mac(H1)), "life {life}");
        assert!(!claims(&mut lab, H1, other, Evidence::Arp), "the first after a restart");
        assert!(claims(&mut lab, H2, other, Evidence::Arp), "known by a packet alone: ARP says more");
    }
    // Who is silent loses it, and that is known to the next as well.
    lab.advance(2 * S);
    lab.kill(0);
    lab.resume(0, &text);
    assert!(claims(&mut lab, H1, other, Evidence::Packet));
    // A host that is gone is forgotten.
    lab.kill(0);
    lab.resume(0, &text.replace("192.168.0.10", "192.168.0.77"));
    assert_eq!(lab.nodes[0].gateway.sessions().pin(H1.into()), None);
}
