//! Two engines back to back, and what both have to hold.

mod lab;

use ces_cetp::engine::*;
use lab::{DELAY, Lab, MS, S};

fn names(lab: &Lab, from: usize, a: usize, to: usize, b: usize) -> (String, String) {
    let name = |node: usize, host| format!("h{host}.{}", lab.nodes[node].settings.ces_id);
    (name(from, a), name(to, b))
}

fn result(lab: &Lab, from: usize, a: usize, to: usize, b: usize) -> Option<Result<u32, Failure>> {
    let (source, destination) = names(lab, from, a, to, b);
    lab.result(from, &source, &destination).map(|result| result.map(|(tag, _)| tag))
}

fn finish(lab: &Lab) {
    lab.check_ledger();
    if lab.nodes.len() >= 2 {
        lab.assert_mirrored(0, 1);
    }
}

#[test]
fn a_name_becomes_a_session_at_both_ends() {
    let mut lab = Lab::pair(2);
    let Asked::Pending(id) = lab.ask(0, 0, 1, 1) else { panic!("not pending") };
    // A second asker joins the first.
    assert_eq!(lab.ask(0, 0, 1, 1), Asked::Pending(id));
    lab.run_for(S);
    let tag = result(&lab, 0, 0, 1, 1).unwrap().unwrap();
    let session = &lab.nodes[0].owner.up[&tag];
    assert_eq!(session.hard_ttl_s, 120);
    assert_eq!(session.tunnel.encapsulation, Encapsulation::Vxlan);
    let Asked::Connected { local_tag, .. } = lab.ask(0, 0, 1, 1) else { panic!("not connected") };
    assert_eq!(local_tag, tag);
    assert_eq!(lab.results(0).len(), 1);
    finish(&lab);
}
