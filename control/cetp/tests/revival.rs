//! A peer that is lost while sessions with it stand is sought again by itself, and no more often than it should.

mod lab;

use ces_cetp::engine::*;
use lab::{Lab, S};

/// One session between h0 at each end.
fn with_a_session() -> Lab {
    let mut lab = Lab::pair(2);
    lab.ask(0, 0, 1, 0);
    lab.run_for(S);
    assert_eq!(lab.nodes[0].owner.up.len(), 1);
    lab
}

fn cut_all(lab: &mut Lab) {
    for link in lab.open_links() {
        lab.cut(link);
    }
}

fn is_up(lab: &Lab, node: usize) -> bool {
    lab.nodes[node].engine.peers(lab.now).iter().any(|peer| peer.up)
}

/// How many tries of C2C have failed at the first gateway.
fn failures(lab: &Lab) -> usize {
    lab.nodes[0].log.iter().filter(|output| matches!(output, CetpOutput::PeerFailed { .. })).count()
}

#[test]
fn c2c_comes_back_by_itself_and_sessions_stand() {
    let mut lab = with_a_session();
    cut_all(&mut lab);
    lab.run_for(S / 2);
    assert!(!is_up(&lab, 0) && !is_up(&lab, 1));
    lab.run_for(S);
    assert!(is_up(&lab, 0) && is_up(&lab, 1), "after a second and at most a quarter more");
    assert_eq!((lab.nodes[0].owner.ups, lab.nodes[0].owner.downs), (1, 0));
    lab.check_ledger();
    lab.assert_mirrored(0, 1);
}

#[test]
fn a_peer_that_restarted_is_found_out_without_a_query() {
    for crash in [Lab::restart as fn(&mut Lab, usize), Lab::forget] {
        let mut lab = with_a_session();
        crash(&mut lab, 1);
        // Without a word from its kernel, the transport's keepalive is what ends our connections.
        lab.set_dead(0, true);
        lab.set_dead(0, false);
        lab.run_for(2 * S);
        assert!(is_up(&lab, 0));
        let ended =
            |output: &CetpOutput| matches!(output, CetpOutput::H2hDown { why: DownReason::Replaced, .. });
        assert!(lab.nodes[0].log.iter().any(ended), "what our host sends is lost no longer");
        assert_eq!(lab.nodes[0].owner.up.len(), 1, "agreed on anew");
        lab.check_ledger();
        lab.assert_mirrored(0, 1);
    }
}

#[test]
fn tries_grow_rarer_and_go_on_until_the_peer_is_back() {
    let mut lab = with_a_session();
    lab.nodes[1].refuses = true;
    cut_all(&mut lab);
    // 1 s after the loss, then 2, 4, 8, 16 and 32 s after the last try: 63 s, and at most a quarter more.
    lab.run_for(80 * S);
    assert_eq!(failures(&lab), 6);
    // Never more seldom than the limit: after 1, 2, 4 and 8 s every 10 s, and at most a quarter more.
    let mut lab = with_a_session();
    lab.nodes[0].settings.limits.revive_max_s = 10;
    let settings = lab.nodes[0].settings.clone();
    lab.nodes[0].engine.configure(settings).unwrap();
    lab.nodes[1].refuses = true;
    cut_all(&mut lab);
    lab.run_for(60 * S);
    assert!((7..=8).contains(&failures(&lab)), "{}", failures(&lab));
    // After it was up, the count begins anew.
    let mut lab = with_a_session();
    lab.nodes[1].refuses = true;
    cut_all(&mut lab);
    lab.run_for(20 * S);
    assert_eq!(failures(&lab), 4);
    lab.nodes[1].refuses = false;
    lab.run_for(20 * S);
    assert!(is_up(&lab, 0));
    cut_all(&mut lab);
    lab.run_for(2 * S);
    assert!(is_up(&lab, 0), "soon again");
}

#[test]
fn a_try_that_fails_keeps_no_name_from_being_asked_for() {
    let mut lab = with_a_session();
    lab.nodes[1].refuses = true;
    cut_all(&mut lab);
    lab.run_for(2 * S);
    assert_eq!(failures(&lab), 1);
    lab.nodes[1].refuses = false;
    lab.ask(0, 1, 1, 1);
    lab.run_for(S / 2);
    let (source, destination) = ("h1.gwa.demo.", "h1.gwb.demo.");
    assert!(lab.result(0, source, destination).unwrap().is_ok(), "the endpoints are not left alone for 30 s");
    // A name that nobody can be asked for is another matter.
    lab.nodes[1].refuses = true;
    cut_all(&mut lab);
    lab.ask(0, 0, 1, 1);
    lab.run_for(S / 2);
    assert_eq!(lab.result(0, "h0.gwa.demo.", destination), Some(Err(Failure::Unreachable)));
    lab.nodes[1].refuses = false;
    lab.ask(0, 1, 1, 0);
    assert_eq!(lab.result(0, source, "h0.gwb.demo."), Some(Err(Failure::Unreachable)), "at once");
    // But the own tries go on.
    lab.run_for(3 * S);
    assert!(is_up(&lab, 0));
    lab.check_ledger();
}

#[test]
fn nobody_is_sought_without_a_session_or_after_a_goodbye() {
    let mut lab = with_a_session();
    let tag = *lab.nodes[0].owner.up.keys().next().unwrap();
    cut_all(&mut lab);
    lab.nodes[0].owner.up.remove(&tag);
    lab.nodes[0].owner.ends.remove(&tag);
    lab.nodes[0].owner.downs += 1;
    let now = lab.now;
    lab.with(0, |engine, _| engine.session_ended(tag, now));
    lab.run_for(100 * S);
    assert!(!is_up(&lab, 0) && failures(&lab) == 0);

    let mut lab = with_a_session();
    let now = lab.now;
    lab.with(1, |engine, owner| engine.terminate_peer(owner, "gwa.demo.", now));
    lab.run_for(100 * S);
    assert!(!is_up(&lab, 0) && !is_up(&lab, 1) && lab.nodes[0].owner.up.is_empty());
}

#[test]
fn it_can_be_turned_off() {
    let mut lab = with_a_session();
    lab.nodes[0].settings.limits.revive_ms = 0;
    let settings = lab.nodes[0].settings.clone();
    lab.nodes[0].engine.configure(settings).unwrap();
    cut_all(&mut lab);
    lab.run_for(100 * S);
    assert!(!is_up(&lab, 0));
    assert_eq!(lab.nodes[0].owner.up.len(), 1);
}

#[test]
fn both_may_seek_each_other_at_once() {
    let mut lab = with_a_session();
    lab.ask(1, 1, 0, 1);
    lab.run_for(S);
    cut_all(&mut lab);
    lab.run_for(2 * S);
    assert!(is_up(&lab, 0) && is_up(&lab, 1));
    assert_eq!(lab.nodes[0].owner.up.len(), 2);
    lab.check_ledger();
    lab.assert_mirrored(0, 1);
}

/// Nor does it matter that C2C was being renewed when it was lost, while another endpoint has yet to answer.
#[test]
fn c13_a_peer_that_is_lost_while_c2c_is_renewed_comes_back_by_itself() {
    let mut lab = Lab::new();
    for (ces_id, address) in
        [("gwa.demo.", "192.0.2.1"), ("gwb.demo.", "192.0.2.2"), ("gwc.demo.", "192.0.2.3")]
    {
        let mut settings = lab::settings(ces_id, address);
        let policy = lab::network_policy(ces_id).replace("7200", "600");
        settings.network_policy = std::sync::Arc::new(serde_json::from_str(&policy).unwrap());
        settings.limits.connect_ms = 560_000;
        lab.add(settings, lab::host_policies(ces_id, 2, &[]));
    }
    lab.set_dead(2, true);
    let mut request = lab.request(0, "h0.gwa.demo.", 1, "h0.gwb.demo.", 1);
    request.endpoints.extend(lab.endpoints(2, 1, Proto::Tls));
    lab.negotiate(0, request);
    lab.run_for(535 * S);
    lab.ask(0, 1, 1, 1);
    lab.run_for(4 * S);
    let link = lab.open_links()[0];
    lab.set_dead(1, true);
    lab.run_for(2 * S);
    lab.cut(link);
    lab.run_for(S);
    assert!(!is_up(&lab, 0) && lab.nodes[0].owner.up.len() == 1);
    lab.set_dead(1, false);
    lab.run_for(25 * S);
    assert!(is_up(&lab, 0), "the other endpoint is given up after 560 s, and the peer sought again");
}
