//! Two gateways that begin with each other at once: whatever order the network makes of it, both are up and names work.

mod lab;

use ces_cetp::engine::*;
use lab::{Lab, MS, S};

/// What a thing may take on its way: less than any other, about a round trip, longer than a whole negotiation.
const DELAYS: [Nanos; 3] = [MS, 30 * MS, 400 * MS];

/// The delays of one case: its digits, and then always the first.
fn delays(mut case: usize) -> Box<dyn FnMut() -> Nanos> {
    Box::new(move || {
        let delay = DELAYS[case % DELAYS.len()];
        case /= DELAYS.len();
        delay
    })
}

fn result(lab: &Lab, from: usize, to: usize) -> Option<Result<(), Failure>> {
    let name = |node: usize| format!("h0.{}", lab.nodes[node].settings.ces_id);
    Some(lab.result(from, &name(from), &name(to))?.map(|_| ()))
}

fn is_acknowledged(lab: &mut Lab, from: usize, ces_id: &str) -> bool {
    let now = lab.now;
    let filter = FlowFilter::RemoteHost("nobody.".into());
    let id = lab.with(from, |engine, _| engine.filter_at_peer(ces_id, filter, now));
    lab.run_for(3 * S);
    let acknowledged = CetpOutput::ActionDone { id: id.unwrap(), result: ActionResult::Acknowledged };
    lab.nodes[from].log.contains(&acknowledged)
}

/// Both ask, the second one a while after the first. Then all is well, or the case is told.
fn glare(case: usize, endpoints: u16, proto: Proto, apart: Nanos) {
    let mut lab = Lab::pair(3);
    lab.delays = Some(delays(case));
    let told = format!("case {case}, {endpoints} endpoints, {proto:?}, {apart} ns apart");
    for (from, to) in [(0, 1), (1, 0)] {
        let name = |node: usize| format!("h0.{}", lab.nodes[node].settings.ces_id);
        let mut request = lab.request(from, &name(from), to, &name(to), endpoints);
        request.endpoints = lab.endpoints(to, endpoints, proto);
        lab.negotiate(from, request);
        lab.run_for(apart);
    }
    lab.run_for(6 * S);
    for (from, to) in [(0, 1), (1, 0)] {
        assert_eq!(result(&lab, from, to), Some(Ok(())), "{told}: {from} to {to}");
    }
    lab.check_ledger();
    lab.assert_mirrored(0, 1);
    for node in 0..2 {
        assert_eq!(lab.nodes[node].engine.counters().blocks, [0; 7], "{told}");
        assert!(lab.nodes[node].engine.peers(lab.now)[0].up, "{told}");
    }
    // Who is up answers: names, and what concerns gateways.
    for (from, to) in [(0, 1), (1, 0)] {
        for host in 1..3 {
            lab.ask(from, host, to, host);
        }
        lab.run_for(2 * S);
        assert!(lab.results(from).iter().all(Result::is_ok), "{told}");
        let ces_id = lab.nodes[to].settings.ces_id.clone();
        assert!(is_acknowledged(&mut lab, from, &ces_id), "{told}: {from} is up and not answered");
    }
}

#[test]
fn c7_every_order_of_the_first_messages_works() {
    // The first eight things to set out are both connections, their answers, both requests, and their answers.
    for case in 0..DELAYS.len().pow(8) {
        glare(case, 1, Proto::Tls, 0);
    }
}

#[test]
fn c7_so_does_every_order_with_several_connections() {
    for apart in [0, 20 * MS, 70 * MS] {
        for case in 0..DELAYS.len().pow(6) {
            // Spread over all that sets out: with three connections at each end there are thirty such things.
            glare(case.wrapping_mul(0x9E37_79B9_7F4A_7C15), 3, Proto::Tls, apart);
        }
    }
}
/// Both ask, and some things take longer than anybody waits.
fn slow_glare(case: usize) {
    let mut lab = Lab::pair(1);
    let mut left = case.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    lab.delays = Some(Box::new(move || {
        let delay = [MS, 30 * MS, 400 * MS, 2_500 * MS][left % 4];
        left /= 4;
        delay
    }));
    lab.ask(0, 0, 1, 0);
    lab.ask(1, 0, 0, 0);
    lab.run_for(6 * S);
    for (from, to) in [(0, 1), (1, 0)] {
        if result(&lab, from, to) != Some(Ok(())) {
            lab.ask(from, 0, to, 0);
        }
    }
    lab.delays = None;
    lab.run_for(6 * S);
    for (from, to) in [(0, 1), (1, 0)] {
        if result(&lab, from, to) != Some(Ok(())) {
            lab.ask(from, 0, to, 0);
            lab.run_for(3 * S);
        }
        assert_eq!(result(&lab, from, to), Some(Ok(())), "case {case}: {from} to {to}");
        assert_eq!(lab.nodes[from].engine.counters().blocks, [0; 7], "case {case}");
    }
    lab.check_ledger();
}

#[test]
fn c7_what_comes_too_late_blocks_nobody_and_a_further_ask_works() {
    for case in 0..4_000 {
        slow_glare(case);
    }
}
