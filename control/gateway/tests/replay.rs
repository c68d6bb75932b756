//! A session is data: a run of changes, replayed, makes the same sessions again.

mod lab;

use ces_dataplane::msg::EndReason;
use ces_gateway::sessions::Figures;
use ces_gateway::{Change, Sessions};
use hickory_proto::rr::RecordType;
use lab::{H1, H2, Lab, S, hosts, platform, realm};

fn figures(lab: &Lab, node: usize) -> Figures {
    let platform = platform(node as u8 + 1, 1);
    let realm = &lab.nodes[node].settings.realm;
    Figures {
        layout: platform.layout,
        tag_key: platform.tag_key,
        workers: platform.workers,
        per_worker: platform.bindings_per_worker,
        tunnels: platform.tunnels,
        pool: realm.proxy_pool,
        per_host: realm.host_bindings,
    }
}

/// Negotiations both ways, agreed and refused, local pairs, ends of every kind, blocks, and a reload.
fn eventful() -> Lab {
    let mut lab = Lab::new();
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
    let (half, _) = lab.binding(0, local.host, local.proxy).unwrap();
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
    lab
}

fn replayed(figures: &Figures, changes: &[(u64, Change)]) -> Sessions {
    let mut sessions = Sessions::new(figures);
    for (at, change) in changes {
        sessions.apply(change, *at).unwrap_or_else(|why| panic!("{change:?}: {why}"));
    }
    sessions
}

fn written(sessions: &Sessions, now: u64) -> Vec<(u64, Change)> {
    let mut changes = Vec::new();
    sessions.write_down(now, |at, change| changes.push((at, change)));
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
        let snapshot = written(it.gateway.sessions(), lab.now);
        assert!(snapshot.len() < it.changes.len());
        let again = replayed(&figures(&lab, node), &snapshot);
        assert_eq!(written(&again, lab.now), snapshot);
        // What comes next is the same, too: the same slot, the same address.
        let names = it.gateway.sessions().iter().next().unwrap().names().clone();
        for host in [H1, H2] {
            let next = |sessions: &Sessions| sessions.reservation(host, 0, names.clone(), lab.now).unwrap();
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
