//! Whatever happens to connections and gateways, in whatever order: every wish ends, no reservation is lost, and once
//! the network holds still, both ends agree on every session that is asked for again.

mod lab;

use ces_cetp::engine::*;
use lab::{Lab, MS, S};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Ask {
        from: usize,
        a: usize,
        b: usize,
    },
    Wait(u64),
    Cut(usize),
    Restart(usize),
    PowerLoss(usize),
    Dead(usize, bool),
    Terminate(usize, usize),
    TerminateAll(usize),
    TerminatePeer(usize),
    BindingEnds(usize, usize),
    Starve(usize, bool),
    Garbage(usize),
    /// A host asks for a stranger's name, which says that the gateway is elsewhere.
    Lure {
        from: usize,
        a: usize,
        name: usize,
    },
    /// What crosses the network takes up to that long from now on, each thing another time.
    Delays(u64, u64),
}

const GATEWAYS: usize = 3;
const HOSTS: usize = 3;

fn step() -> impl Strategy<Value = Step> {
    let node = 0..GATEWAYS;
    prop_oneof![
        8 => (node.clone(), 0..HOSTS, 0..HOSTS).prop_map(|(from, a, b)| Step::Ask { from, a, b }),
        8 => prop_oneof![0..20 * MS, 0..3 * S].prop_map(Step::Wait),
        4 => (0usize..20).prop_map(Step::Cut),
        1 => node.clone().prop_map(Step::Restart),
        1 => node.clone().prop_map(Step::PowerLoss),
        1 => (node.clone(), any::<bool>()).prop_map(|(node, dead)| Step::Dead(node, dead)),
        2 => (node.clone(), 0usize..10).prop_map(|(node, nth)| Step::Terminate(node, nth)),
        1 => node.clone().prop_map(Step::TerminateAll),
        1 => node.clone().prop_map(Step::TerminatePeer),
        2 => (node.clone(), 0usize..10).prop_map(|(node, nth)| Step::BindingEnds(node, nth)),
        1 => (node.clone(), any::<bool>()).prop_map(|(node, starved)| Step::Starve(node, starved)),
        1 => node.clone().prop_map(Step::Garbage),
        2 => (node, 0..HOSTS, 0usize..9).prop_map(|(from, a, name)| Step::Lure { from, a, name }),
        1 => (0..700 * MS, any::<u64>()).prop_map(|(longest, seed)| Step::Delays(longest, seed)),
    ]
}

fn gateways() -> Lab {
    let mut lab = Lab::new();
    for (index, name) in ["gwa.demo.", "gwb.demo.", "gwc.demo."].into_iter().enumerate() {
        let mut settings = lab::settings(name, &format!("192.0.2.{}", index + 1));
        settings.payloads[index % 2].preference = 90;
        lab.add(settings, lab::host_policies(name, HOSTS, &[1]));
    }
    lab.relays = (1..100).collect();
    lab
}

fn apply(lab: &mut Lab, step: Step) {
    if matches!(step, Step::Restart(_) | Step::PowerLoss(_)) {
        // What a life sent does not arrive after what the next one sends.
        lab.delays = None;
        lab.run_for(S);
    }
    let now = lab.now;
    match step {
        Step::Ask { from, a, b } => {
            lab.ask(from, a, (from + 1 + b % 2) % GATEWAYS, b);
        }
        Step::Wait(duration) => lab.run_for(duration),
        Step::Cut(nth) => {
            let open = lab.open_links();
            if !open.is_empty() {
                lab.cut(open[nth % open.len()]);
            }
        }
        Step::Restart(node) => lab.restart(node),
        Step::PowerLoss(node) => lab.forget(node),
        Step::Dead(node, dead) => lab.set_dead(node, dead),
        Step::Terminate(node, nth) => {
            let tag = lab.nodes[node].owner.up.keys().nth(nth).copied();
            if let Some(tag) = tag {
                lab.with(node, |engine, _| assert!(engine.terminate_session(tag)));
            }
        }
        Step::TerminateAll(node) => {
            lab.with(node, |engine, owner| engine.terminate_sessions(owner, "gwb.demo.", now));
        }
        Step::TerminatePeer(node) => {
            lab.with(node, |engine, owner| engine.terminate_peer(owner, "gwa.demo.", now));
        }
        Step::BindingEnds(node, nth) => {
            let tag = lab.nodes[node].owner.up.keys().nth(nth).copied();
            if let Some(tag) = tag {
                lab.nodes[node].owner.up.remove(&tag);
                lab.nodes[node].owner.downs += 1;
                lab.with(node, |engine, _| engine.session_ended(tag, now));
            }
        }
        Step::Starve(node, starved) => lab.nodes[node].owner.capacity = if starved { 2 } else { usize::MAX },
        Step::Garbage(node) => lab.inject(node, b"\0\x05hello"),
        Step::Lure { from, a, name } => lure(lab, from, a, name),
        Step::Delays(longest, seed) => {
            let mut state = seed | 1;
            lab.delays = Some(Box::new(move || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 33) % (longest + 1)
            }));
        }
    }
    lab.check_ledger();
}

/// The stranger's names say that a gateway is where nobody answers, where another one is, or behind a relay that stalls.
fn lure(lab: &mut Lab, from: usize, a: usize, name: usize) {
    let to = (from + 1) % GATEWAYS;
    let other = lab.nodes[(from + 2) % GATEWAYS].addr;
    let (addr, port) = match name % 3 {
        0 => ([203, 0, 113, name as u8].into(), 49_001),
        1 => (other, 49_001),
        _ => (lab.nodes[to].addr, name as u16),
    };
    let source = format!("h{a}.{}", lab.nodes[from].settings.ces_id);
    let mut request = lab.request(from, &source, to, &format!("n{name}.stranger."), 2);
    for (index, endpoint) in request.endpoints.iter_mut().enumerate() {
        (endpoint.addr, endpoint.port) = (addr, port + 10 * index as u16);
    }
    lab.negotiate(from, request);
}

proptest! {
    #![proptest_config(ProptestConfig { ..ProptestConfig::with_cases(1_000) })]

    #[test]
    fn whatever_happens_every_wish_ends_and_the_ends_agree(steps in prop::collection::vec(step(), 1..60)) {
        let mut lab = gateways();
        let mut asked = [0_u64; GATEWAYS];
        for step in steps {
            match &step {
                Step::Ask { from, .. } | Step::Lure { from, .. } => asked[*from] += 1,
                Step::Restart(node) | Step::PowerLoss(node) => asked[*node] = 0,
                _ => {}
            }
            apply(&mut lab, step);
        }
        lab.delays = None;
        for node in 0..GATEWAYS {
            lab.set_dead(node, false);
            lab.nodes[node].owner.capacity = usize::MAX;
        }
        // All limits pass: set-up times, the block of 60 s, unreachable endpoints, the sessions' 120 s. Half-open
        // connections end with the next message.
        lab.run_for(200 * S);
        for (node, asked) in lab.nodes.iter().zip(asked) {
            prop_assert_eq!(node.engine.pending(), 0, "a wish that never ends");
            let counters = node.engine.counters();
            let begun = asked + counters.asked_again;
            prop_assert_eq!(counters.h2h_initiated.total() + counters.joined + counters.connected, begun);
        }
        lab.check_ledger();
        // Two rounds of wishes: the first may meet half-open connections.
        for pause in [31 * S, 0] {
            for from in 0..GATEWAYS {
                for to in (0..GATEWAYS).filter(|to| *to != from) {
                    lab.ask(from, 0, to, 0);
                    lab.run_for(3 * S);
                    lab.check_ledger();
                }
            }
            lab.run_for(pause);
        }
        for from in 0..GATEWAYS {
            for to in (0..GATEWAYS).filter(|to| *to != from) {
                let ours = format!("h0.{}", lab.nodes[from].settings.ces_id);
                let theirs = format!("h0.{}", lab.nodes[to].settings.ces_id);
                let session = lab.nodes[from].owner.up.values().find(|session| {
                    session.role == Role::Initiator && *session.local_fqdn == *ours && *session.remote_fqdn == *theirs
                });
                prop_assert!(session.is_some(), "{} to {} has no session", ours, theirs);
                let session = session.unwrap();
                let mirror = lab.nodes[to].owner.up.get(&session.remote_tag);
                prop_assert!(mirror.is_some(), "{} to {} has no far end", ours, theirs);
                let mirror = mirror.unwrap();
                prop_assert_eq!(mirror.remote_tag, session.local_tag);
                prop_assert_eq!(&mirror.tunnel.encapsulation, &session.tunnel.encapsulation);
                prop_assert_eq!(mirror.tunnel.id_in, session.tunnel.id_out);
                prop_assert_eq!(mirror.tunnel.id_out, session.tunnel.id_in);
            }
        }
    }
}

#[test]
fn the_same_seed_and_steps_give_the_same_bytes() {
    let run = || {
        let mut lab = gateways();
        for host in 0..HOSTS {
            lab.ask(0, host, 1, host);
            lab.ask(1, host, 2, host);
        }
        lab.run_for(S);
        lab.nodes.iter().map(|node| node.sent.clone()).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}
