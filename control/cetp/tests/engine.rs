//! Two engines back to back, and what both have to hold.

mod lab;

use ces_cetp::engine::*;
use lab::{DELAY, Lab, MS, S, result};

fn finish(lab: &Lab) {
    lab.check_ledger();
    if lab.nodes.len() >= 2 {
        lab.assert_mirrored(0, 1);
    }
}

#[test]
fn a_name_becomes_a_session_at_both_ends() {
    let mut lab = Lab::pair(2);
    let Negotiating::Pending(id) = lab.ask(0, 0, 1, 1) else { panic!("not pending") };
    // A second asker joins the first.
    assert_eq!(lab.ask(0, 0, 1, 1), Negotiating::Pending(id));
    lab.run_for(S);
    let tag = result(&lab, 0, 0, 1, 1).unwrap().unwrap();
    let session = &lab.nodes[0].owner.up[&tag];
    assert_eq!(session.hard_ttl_s, 120);
    assert_eq!(session.tunnel.encapsulation, Encapsulation::Vxlan);
    let Negotiating::Connected { local_tag, .. } = lab.ask(0, 0, 1, 1) else { panic!("not connected") };
    assert_eq!(local_tag, tag);
    assert_eq!(lab.results(0).len(), 1);
    finish(&lab);
}

#[test]
fn an_acknowledgement_costs_a_second_round_and_keeps_no_state() {
    let mut lab = Lab::new();
    lab.add(lab::settings("gwa.demo.", "192.0.2.1"), lab::host_policies("gwa.demo.", 1, &[]));
    lab.add(lab::settings("gwb.demo.", "192.0.2.2"), lab::host_policies("gwb.demo.", 1, &[0]));
    lab.ask(0, 0, 1, 0);
    lab.run_for(S);
    assert!(result(&lab, 0, 0, 1, 0).unwrap().is_ok());
    assert_eq!(lab.nodes[0].engine.counters().second_rounds, 1);
    assert_eq!(lab.nodes[1].engine.counters().asked, 1);
    assert_eq!(lab.nodes[1].owner.reserves, 1);
    finish(&lab);
}

#[test]
fn bytes_may_come_in_any_pieces() {
    for chunk in [1, 2, 3, 100] {
        let mut lab = Lab::pair(1);
        lab.chunk = Some(chunk);
        lab.ask(0, 0, 1, 0);
        lab.run_for(S);
        assert!(result(&lab, 0, 0, 1, 0).unwrap().is_ok(), "{chunk}");
        finish(&lab);
    }
}

#[test]
fn both_may_start_at_once() {
    for skew in [0, DELAY / 2, DELAY, 2 * DELAY, 3 * DELAY, 4 * DELAY, 5 * DELAY] {
        let mut lab = Lab::new();
        lab.add(lab::settings("gwa.demo.", "192.0.2.1"), lab::host_policies("gwa.demo.", 2, &[]));
        let mut other = lab::settings("gwb.demo.", "192.0.2.2");
        other.payloads[0].preference = 1; // prefers GENEVE, gwa VXLAN
        lab.add(other, lab::host_policies("gwb.demo.", 2, &[]));
        lab.ask(0, 0, 1, 0);
        lab.run_for(skew);
        lab.ask(1, 0, 0, 0);
        lab.ask(1, 1, 0, 1);
        lab.run_for(S);
        for (from, a, to) in [(0, 0, 1), (1, 0, 0), (1, 1, 0)] {
            assert!(result(&lab, from, a, to, a).unwrap().is_ok(), "skew {skew}");
        }
        let tags = |node: usize| lab.nodes[node].engine.peers(lab.now)[0].tags.unwrap();
        assert_eq!(tags(0), (tags(1).1, tags(1).0), "both use the same C2C, skew {skew}");
        for session in lab.nodes[0].owner.up.values() {
            let wish =
                if session.role == Role::Initiator { Encapsulation::Vxlan } else { Encapsulation::Geneve };
            assert_eq!(session.tunnel.encapsulation, wish, "the initiator's preference decides");
        }
        finish(&lab);
    }
}

#[test]
fn hosts_that_ask_for_each_other_at_once_get_a_session_each() {
    let mut lab = Lab::pair(1);
    lab.ask(0, 0, 1, 0);
    lab.run_for(S);
    lab.ask(1, 0, 0, 0);
    lab.run_for(S);
    assert!(result(&lab, 0, 0, 1, 0).unwrap().is_ok() && result(&lab, 1, 0, 0, 0).unwrap().is_ok());
    assert_eq!(lab.nodes[0].owner.up.len(), 2);
    finish(&lab);
}

#[test]
fn a_peer_that_restarts_gets_its_sessions_again() {
    for crash in [Lab::restart as fn(&mut Lab, usize), Lab::forget] {
        let mut lab = Lab::pair(2);
        lab.ask(0, 0, 1, 0);
        lab.ask(0, 1, 1, 1);
        lab.run_for(S);
        lab.ask(1, 0, 0, 0);
        lab.run_for(S);
        crash(&mut lab, 1);
        lab.run_for(S);
        lab.nodes[0].log.clear();
        // The restarted peer's host asks for the pair that still stands here.
        lab.ask(1, 0, 0, 0);
        lab.run_for(5 * S);
        assert!(result(&lab, 1, 0, 0, 0).unwrap().is_ok());
        let sessions = lab.nodes[0].log.iter().filter(|output| {
            matches!(output, CetpOutput::H2hDown { why: DownReason::Replaced, .. } | CetpOutput::H2hUp { .. })
        });
        let sessions: Vec<bool> = sessions.map(|output| matches!(output, CetpOutput::H2hUp { .. })).collect();
        assert!(!sessions.is_empty() && sessions.chunks(2).all(|two| two == [false, true]), "each anew");
        // And ours ask for what stands here but no longer there.
        for host in 0..2 {
            lab.ask(0, host, 1, host);
            lab.run_for(5 * S);
            assert!(result(&lab, 0, host, 1, host).unwrap().is_ok());
        }
        assert_eq!(lab.nodes[0].owner.up.len(), 3);
        finish(&lab);
    }
}

#[test]
fn after_a_restart_the_other_side_asks_first() {
    let mut lab = Lab::pair(1);
    lab.ask(0, 0, 1, 0);
    lab.run_for(S);
    lab.restart(1);
    lab.run_for(S);
    assert!(
        matches!(lab.ask(0, 0, 1, 0), Negotiating::Pending(_)),
        "the peer is away: it has to be looked after"
    );
    lab.run_for(S);
    assert!(result(&lab, 0, 0, 1, 0).unwrap().is_ok());
    assert_eq!(lab.nodes[0].owner.downs, 1, "the old session was replaced");
    finish(&lab);
}

#[test]
fn sessions_outlive_the_connections_and_come_back_with_them() {
    let mut lab = Lab::pair(1);
    lab.ask(0, 0, 1, 0);
    lab.run_for(S);
    let tag = result(&lab, 0, 0, 1, 0).unwrap().unwrap();
    for link in lab.open_links() {
        lab.cut(link);
    }
    lab.run_for(S);
    assert!(
        lab.nodes[0]
            .log
            .iter()
            .any(|o| matches!(o, CetpOutput::PeerDown { why: PeerDownReason::ConnectionsLost, .. }))
    );
    assert_eq!(lab.nodes[0].owner.up.len(), 1);
    lab.ask(0, 0, 1, 0);
    lab.run_for(S);
    assert_eq!(result(&lab, 0, 0, 1, 0), Some(Ok(tag)), "the same session: the peer has not lost it");
    // Even when the peer cannot be reached at all, what carries packets is not taken away.
    for link in lab.open_links() {
        lab.cut(link);
    }
    lab.nodes[1].refuses = true;
    lab.ask(0, 0, 1, 0);
    lab.run_for(S);
    assert_eq!(result(&lab, 0, 0, 1, 0), Some(Ok(tag)));
    finish(&lab);
}

#[test]
fn a_negotiation_survives_the_loss_of_a_connection_and_of_all_once() {
    for cut in [1, 3] {
        for after in 0..6 {
            let mut lab = Lab::pair(20);
            lab.ask(0, 0, 1, 0);
            lab.run_for(S);
            assert_eq!(lab.open_links().len(), 3, "one connection per endpoint");
            for host in 1..20 {
                lab.ask(0, host, 1, host);
            }
            lab.run_for(after * DELAY / 2);
            for link in lab.open_links().into_iter().take(cut) {
                lab.cut(link);
            }
            lab.run_for(5 * S);
            for host in 0..20 {
                assert!(
                    result(&lab, 0, host, 1, host).unwrap().is_ok(),
                    "cut {cut} after {after}, host {host}"
                );
            }
            finish(&lab);
        }
    }
}

#[test]
fn c13_c2c_is_renewed_before_its_time_is_over() {
    let mut lab = Lab::pair(2);
    lab.ask(0, 0, 1, 0);
    lab.run_for(S);
    let tags = |lab: &Lab| lab.nodes[0].engine.peers(lab.now)[0].tags;
    let before = tags(&lab);
    assert!(lab.nodes[0].engine.peers(lab.now)[0].ttl_left_s > 7000);
    for _ in 0..4 {
        lab.run_for(7200 * S);
        for node in &lab.nodes {
            assert!(!node.log.iter().any(|output| matches!(output, CetpOutput::PeerDown { .. })));
            assert!(node.engine.peers(lab.now)[0].up);
        }
    }
    assert_ne!(tags(&lab), before);
    assert!(!lab.open_links().is_empty());
    lab.ask(0, 1, 1, 1);
    lab.run_for(S);
    assert!(result(&lab, 0, 1, 1, 1).unwrap().is_ok());
    finish(&lab);
}

#[test]
fn c13_a_peer_that_draws_other_tunnel_ids_while_it_is_there_has_not_restarted() {
    let mut lab = Lab::pair(2);
    lab.run_for(S);
    lab.ask(0, 0, 1, 0);
    lab.run_for(7050 * S);
    lab.ask(0, 1, 1, 1);
    lab.run_for(S);
    assert!(!lab.nodes[1].owner.up.is_empty());
    lab.nodes[0].engine.draw_tunnel_ids_by([1, 1]);
    let renewed =
        lab.nodes[1].log.iter().filter(|output| matches!(output, CetpOutput::PeerUp { .. })).count();
    lab.run_for(300 * S);
    // It drew other ids, and was there all the time: nothing of before has ended.
    let ups = lab.nodes[1].log.iter().filter(|output| matches!(output, CetpOutput::PeerUp { .. })).count();
    assert!(ups > renewed);
    let replaced = |o: &CetpOutput| matches!(o, CetpOutput::H2hDown { why: DownReason::Replaced, .. });
    assert!(!lab.nodes[1].log.iter().any(replaced));
}

/// The second gateway asks for the first one's host, is lost, and is back with other tunnel ids; which session that was.
fn back_with_other_ids() -> (Lab, u32) {
    let mut lab = Lab::pair(2);
    lab.ask(1, 0, 0, 0);
    lab.run_for(S);
    let tag = *lab.nodes[0].owner.up.keys().next().unwrap();
    for link in lab.open_links() {
        lab.cut(link);
    }
    lab.nodes[1].engine.draw_tunnel_ids_by([1, 1]);
    lab.run_for(2 * S);
    assert!(lab.nodes[0].log.iter().any(|output| matches!(output, CetpOutput::Doubted { .. })));
    assert!(lab.nodes[0].engine.is_doubted(tag) && lab.nodes[0].engine.peers(lab.now)[0].doubted);
    (lab, tag)
}

fn doubt_over(lab: &Lab) -> Vec<bool> {
    let stands = |output: &CetpOutput| match output {
        CetpOutput::DoubtOver { stands, .. } => Some(*stands),
        _ => None,
    };
    lab.nodes[0].log.iter().filter_map(stands).collect()
}

#[test]
fn c13_a_packet_on_one_session_shows_that_the_peer_has_all() {
    let (mut lab, tag) = back_with_other_ids();
    lab.with(0, |engine, _| engine.has_carried(tag));
    assert_eq!(doubt_over(&lab), [true]);
    lab.run_for(40 * S);
    assert!(lab.nodes[0].owner.up.contains_key(&tag) && lab.nodes[0].owner.downs == 0);
    assert_eq!(lab.nodes[0].engine.counters().peers_proven, 1);
    finish(&lab);
    // It is known to draw others: the next time its sessions end by nothing but its word.
    for link in lab.open_links() {
        lab.cut(link);
    }
    lab.nodes[1].engine.draw_tunnel_ids_by([2, 2]);
    lab.run_for(10 * S);
    assert!(lab.nodes[0].engine.is_doubted(tag));
    lab.run_for(40 * S);
    assert!(lab.nodes[0].owner.up.contains_key(&tag) && lab.nodes[0].engine.is_doubted(tag));
    assert_eq!(doubt_over(&lab), [true, false]);
    assert!(!lab.nodes[0].engine.peers(lab.now)[0].doubted, "nobody looks for a sign any more");
    let theirs = lab.nodes[0].owner.up[&tag].remote_tag;
    lab.with(1, |engine, _| assert!(engine.terminate_session(theirs)));
    lab.run_for(S);
    assert!(lab.nodes[0].owner.up.is_empty());
}

#[test]
fn c13_what_nothing_proves_ends_when_the_time_is_over() {
    let (mut lab, tag) = back_with_other_ids();
    lab.run_for(26 * S);
    assert!(lab.nodes[0].owner.up.contains_key(&tag));
    // What is made meanwhile is not meant.
    lab.ask(1, 1, 0, 1);
    lab.run_for(6 * S);
    assert!(!lab.nodes[0].owner.up.contains_key(&tag) && lab.nodes[0].owner.up.len() == 1);
    assert_eq!((doubt_over(&lab), lab.nodes[0].engine.counters().peers_restarted), (vec![false], 1));
    // The peer, which had it after all, is told.
    finish(&lab);
    lab.assert_mirrored(0, 1);
    assert_eq!(lab.nodes[1].owner.up.len(), 1);
    // Nobody waits where no time is given.
    let mut lab = Lab::pair(1);
    lab.nodes[0].settings.limits.doubt_s = 0;
    let settings = lab.nodes[0].settings.clone();
    lab.nodes[0].engine.configure(settings).unwrap();
    lab.ask(1, 0, 0, 0);
    lab.run_for(S);
    lab.restart(1);
    lab.ask(0, 0, 1, 0);
    lab.run_for(2 * S);
    let replaced = |o: &&CetpOutput| matches!(o, CetpOutput::H2hDown { why: DownReason::Replaced, .. });
    assert_eq!(lab.nodes[0].log.iter().filter(replaced).count(), 1);
}

/// A second loss before anything is known: the time begins anew.
#[test]
fn c13_a_peer_that_is_lost_again_is_waited_for_again() {
    let (mut lab, tag) = back_with_other_ids();
    lab.run_for(20 * S);
    for link in lab.open_links() {
        lab.cut(link);
    }
    lab.run_for(20 * S);
    assert!(lab.nodes[0].owner.up.contains_key(&tag) && lab.nodes[0].engine.is_doubted(tag));
    let first = |output: &&CetpOutput| matches!(output, CetpOutput::Doubted { is_first: true, .. });
    assert_eq!(lab.nodes[0].log.iter().filter(first).count(), 2, "what came in between shows nothing");
    lab.run_for(20 * S);
    assert!(lab.nodes[0].owner.up.is_empty());
}

/// Its sessions have ended while it was away for the second time: nothing is looked for any more.
#[test]
fn c13_nobody_is_doubted_who_can_have_lost_nothing() {
    let (mut lab, tag) = back_with_other_ids();
    for link in lab.open_links() {
        lab.cut(link);
    }
    let now = lab.now;
    lab.with(0, |engine, _| engine.session_ended(tag, now));
    lab.run_for(10 * S);
    assert_eq!((doubt_over(&lab), lab.nodes[0].engine.counters().peers_proven), (vec![false], 0));
}

#[test]
fn the_session_limit_is_the_smaller_and_enforced() {
    let mut lab = Lab::pair(5);
    lab.nodes[1].settings.limits.sessions_per_peer = 3;
    let settings = lab.nodes[1].settings.clone();
    lab.nodes[1].engine.configure(settings).unwrap();
    for host in 0..5 {
        lab.ask(0, host, 1, host);
    }
    lab.run_for(S);
    let results = lab.results(0);
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 3);
    assert_eq!(results.iter().filter(|result| **result == Err(Failure::Refused)).count(), 2);
    assert_eq!(lab.nodes[1].engine.counters().h2h_received.failed[Failure::SessionLimit as usize], 2);
    // Our own limit is kept before anything is sent.
    let mut lab = Lab::pair(5);
    lab.nodes[0].settings.limits.sessions_per_peer = 3;
    let settings = lab.nodes[0].settings.clone();
    lab.nodes[0].engine.configure(settings).unwrap();
    lab.ask(0, 0, 1, 0);
    lab.run_for(S);
    lab.ask(0, 1, 1, 1);
    lab.ask(0, 2, 1, 2);
    lab.run_for(S);
    lab.ask(0, 3, 1, 3);
    assert_eq!(result(&lab, 0, 3, 1, 3), Some(Err(Failure::SessionLimit)));
    finish(&lab);
}

#[test]
fn silence_ends_in_time_and_the_endpoint_is_left_alone_for_a_while() {
    let mut lab = Lab::pair(2);
    lab.nodes[1].is_dead = true;
    lab.ask(0, 0, 1, 0);
    lab.run_for(2 * S - 1);
    assert_eq!(result(&lab, 0, 0, 1, 0), None);
    lab.run_for(1);
    assert_eq!(result(&lab, 0, 0, 1, 0), Some(Err(Failure::Unreachable)));
    lab.nodes[1].is_dead = false;
    lab.nodes[1].refuses = true;
    lab.ask(0, 0, 1, 0);
    lab.run_for(S / 2);
    lab.ask(0, 1, 1, 1);
    assert_eq!(result(&lab, 0, 1, 1, 1), Some(Err(Failure::Unreachable)), "at once");
    lab.nodes[1].refuses = false;
    lab.run_for(S / 2);
    lab.ask(0, 0, 1, 0);
    lab.run_for(S);
    assert!(result(&lab, 0, 0, 1, 0).unwrap().is_ok(), "tried again a second after the last try began");
    // A peer that dies with a negotiation under way.
    lab.nodes[1].is_dead = true;
    lab.ask(0, 1, 1, 1);
    lab.run_for(2 * S);
    assert_eq!(result(&lab, 0, 1, 1, 1), Some(Err(Failure::Silent)));
    lab.check_ledger();
}

#[test]
fn what_policy_forbids_fails_with_its_reason() {
    let mut lab = Lab::pair(2);
    let unknown = lab.request(0, "nobody.gwa.demo.", 1, "h0.gwb.demo.", 1);
    lab.negotiate(0, unknown);
    assert_eq!(lab.result(0, "nobody.gwa.demo.", "h0.gwb.demo."), Some(Err(Failure::Denied)));
    let no_service = lab.request(0, "h0.gwa.demo.", 1, "nothing.gwb.demo.", 1);
    lab.negotiate(0, no_service);
    lab.run_for(S);
    assert_eq!(lab.result(0, "h0.gwa.demo.", "nothing.gwb.demo."), Some(Err(Failure::Refused)));
    lab.nodes[1].owner.capacity = 0;
    lab.ask(0, 0, 1, 0);
    lab.run_for(S);
    assert_eq!(result(&lab, 0, 0, 1, 0), Some(Err(Failure::Refused)));
    lab.nodes[0].owner.capacity = 0;
    lab.ask(0, 0, 1, 0);
    lab.run_for(S);
    assert_eq!(result(&lab, 0, 0, 1, 0), Some(Err(Failure::Exhausted)));
    let counters = lab.nodes[1].engine.counters();
    assert_eq!(counters.h2h_received.failed[Failure::NotServed as usize], 1);
    assert_eq!(counters.h2h_received.failed[Failure::Exhausted as usize], 1);
    assert_eq!(lab.nodes[0].engine.counters().h2h_initiated.total(), 4, "each negotiation is counted once");
    finish(&lab);
}

#[test]
fn identities_must_be_what_the_names_say() {
    let mut lab = Lab::pair(1);
    let mut request = lab.request(0, "h0.gwa.demo.", 1, "h0.gwb.demo.", 3);
    request.ces_id = "gwc.demo.".into();
    lab.negotiate(0, request);
    lab.run_for(S);
    assert_eq!(lab.result(0, "h0.gwa.demo.", "h0.gwb.demo."), Some(Err(Failure::Identity)));
    lab.nodes[1].settings.trusted = vec!["gwz.demo.".into()];
    let settings = lab.nodes[1].settings.clone();
    lab.nodes[1].engine.configure(settings).unwrap();
    lab.run_for(31 * S);
    lab.ask(0, 0, 1, 0);
    lab.run_for(S);
    assert_eq!(
        result(&lab, 0, 0, 1, 0),
        Some(Err(Failure::Unreachable)),
        "an untrusted peer is closed at once"
    );
    assert_eq!(lab.nodes[1].engine.counters().accepts_refused, 3);
}

#[test]
fn gateways_without_a_network_in_common_have_no_tunnel() {
    let mut lab = Lab::pair(1);
    lab.nodes[1].settings.locators[0].alias = "elsewhere".into();
    let settings = lab.nodes[1].settings.clone();
    lab.nodes[1].engine.configure(settings).unwrap();
    lab.ask(0, 0, 1, 0);
    lab.run_for(S);
    assert_eq!(result(&lab, 0, 0, 1, 0), Some(Err(Failure::Refused)));
    assert_eq!(lab.nodes[1].engine.counters().c2c_received.failed[Failure::NoTunnel as usize], 1);
}

#[test]
fn plain_tcp_works_with_all_connections_where_it_is_allowed() {
    let mut lab = Lab::pair(9);
    for host in 0..9 {
        let mut request = lab.request(0, &format!("h{host}.gwa.demo."), 1, &format!("h{host}.gwb.demo."), 3);
        request.endpoints = lab.endpoints(1, 3, Proto::Tcp);
        lab.negotiate(0, request);
        lab.run_for(100 * MS);
    }
    lab.run_for(5 * S);
    assert!(lab.results(0).iter().all(Result::is_ok));
    assert_eq!(lab.open_links().len(), 3, "none was closed for having said nothing");
    finish(&lab);
    let mut lab = Lab::pair(1);
    lab.nodes[0].settings.believe_unauthenticated = false;
    let settings = lab.nodes[0].settings.clone();
    lab.nodes[0].engine.configure(settings).unwrap();
    let mut request = lab.request(0, "h0.gwa.demo.", 1, "h0.gwb.demo.", 3);
    request.endpoints = lab.endpoints(1, 3, Proto::Tcp);
    lab.negotiate(0, request);
    assert_eq!(lab.result(0, "h0.gwa.demo.", "h0.gwb.demo."), Some(Err(Failure::Unreachable)));
}

#[test]
fn sessions_end_at_both_ends() {
    let mut lab = Lab::pair(6);
    for host in 0..6 {
        lab.ask(0, host, 1, host);
    }
    lab.run_for(S);
    let first = *lab.nodes[0].owner.up.keys().next().unwrap();
    lab.with(0, |engine, _| assert!(engine.terminate_session(first)));
    lab.run_for(S);
    assert_eq!(lab.nodes[1].owner.up.len(), 5);
    finish(&lab);
    let now = lab.now;
    lab.with(1, |engine, owner| assert_eq!(engine.terminate_sessions(owner, "gwa.demo", now), 5));
    lab.run_for(S);
    assert!(lab.nodes[0].owner.up.is_empty() && lab.nodes[1].owner.up.is_empty());
    assert!(lab.nodes[0].engine.peers(lab.now)[0].up, "C2C stays");
    lab.ask(0, 0, 1, 0);
    lab.run_for(S);
    let now = lab.now;
    lab.with(0, |engine, owner| assert!(engine.terminate_peer(owner, "gwb.demo.", now)));
    lab.run_for(S);
    assert!(lab.nodes[1].owner.up.is_empty() && lab.open_links().is_empty());
    assert!(
        lab.nodes[1]
            .log
            .iter()
            .any(|o| matches!(o, CetpOutput::PeerDown { why: PeerDownReason::ByPeer, .. }))
    );
    lab.ask(1, 0, 0, 0);
    lab.run_for(S);
    assert!(result(&lab, 1, 0, 0, 0).unwrap().is_ok(), "and it can begin again");
    let now = lab.now;
    lab.with(1, |engine, owner| engine.shutdown(owner, now));
    lab.run_for(S);
    assert!(lab.nodes[0].owner.up.is_empty() && lab.open_links().is_empty());
    finish(&lab);
}

#[test]
fn filters_hold_for_their_time() {
    let mut lab = Lab::pair(3);
    for host in 0..3 {
        lab.ask(0, host, 1, host);
    }
    lab.run_for(S);
    let now = lab.now;
    let host = FlowFilter::RemoteHost("H0.gwa.demo".into());
    let domain = FlowFilter::LocalDomain("h1.gwb.demo.".into());
    let ids = lab.with(1, |engine, _| {
        [host, domain].map(|filter| engine.filter_at_peer("gwa.demo.", filter, now).unwrap())
    });
    lab.run_for(S);
    let done: Vec<_> = lab.nodes[1]
        .log
        .iter()
        .filter_map(|output| match output {
            CetpOutput::ActionDone { id, result } => Some((*id, *result)),
            _ => None,
        })
        .collect();
    assert_eq!(done, ids.map(|id| (id, ActionResult::Acknowledged)));
    assert_eq!(lab.nodes[0].log.iter().filter(|o| matches!(o, CetpOutput::Filtering { .. })).count(), 2);
    assert_eq!(lab.nodes[0].owner.up.len(), 1, "the flows were stopped, too");
    finish(&lab);
    for (a, b, expected) in [(0, 0, true), (0, 2, true), (2, 1, true), (1, 0, false)] {
        lab.ask(0, a, 1, b);
        lab.run_for(100 * MS);
        let filtered = result(&lab, 0, a, 1, b) == Some(Err(Failure::Filtered));
        assert_eq!(filtered, expected, "{a} {b}");
    }
    lab.run_for(30 * S);
    assert!(lab.nodes[0].engine.filters(lab.now).is_empty());
    lab.ask(0, 0, 1, 0);
    lab.run_for(S);
    assert!(result(&lab, 0, 0, 1, 0).unwrap().is_ok());
    finish(&lab);
}

#[test]
fn an_unanswered_action_ends_in_time() {
    let mut lab = Lab::pair(1);
    lab.ask(0, 0, 1, 0);
    lab.run_for(S);
    lab.nodes[1].is_dead = true;
    let now = lab.now;
    let id = lab.with(0, |engine, _| {
        engine.filter_at_peer("gwb.demo.", FlowFilter::RemoteHost("h0.gwb.demo.".into()), now)
    });
    lab.run_for(10 * S);
    let done = CetpOutput::ActionDone { id: id.unwrap(), result: ActionResult::Silent };
    assert!(lab.nodes[0].log.contains(&done));
}

#[test]
fn a_complaint_arrives_and_is_acknowledged() {
    let mut lab = Lab::pair(1);
    lab.ask(0, 0, 1, 0);
    lab.run_for(S);
    let (tag, now) = (*lab.nodes[0].owner.up.keys().next().unwrap(), lab.now);
    let theirs = *lab.nodes[1].owner.up.keys().next().unwrap();
    let id = lab.with(0, |engine, _| engine.report(tag, "port \"scan\"", now)).unwrap();
    lab.run_for(S);
    let complaint = CetpOutput::Evidence {
        ces_id: "gwa.demo.".into(),
        local_tag: Some(theirs),
        misbehavior: "port \"scan\"".into(),
    };
    assert!(lab.nodes[1].log.contains(&complaint), "{:?}", lab.nodes[1].log);
    assert!(lab.nodes[0].log.contains(&CetpOutput::ActionDone { id, result: ActionResult::Acknowledged }));
    assert_eq!(lab.nodes[1].engine.counters().evidence_received, 1);
}

#[test]
fn a_binding_that_ended_early_is_no_obstacle() {
    let mut lab = Lab::pair(1);
    lab.ask(0, 0, 1, 0);
    lab.run_for(S);
    let (tag, now) = (result(&lab, 0, 0, 1, 0).unwrap().unwrap(), lab.now);
    // Idle at our side; the peer still has its own.
    lab.nodes[0].owner.up.remove(&tag);
    lab.nodes[0].owner.downs += 1;
    lab.with(0, |engine, _| engine.session_ended(tag, now));
    assert_eq!(lab.nodes[1].owner.up.len(), 1);
    lab.ask(0, 0, 1, 0);
    lab.run_for(S);
    let new = result(&lab, 0, 0, 1, 0).unwrap().unwrap();
    assert_ne!(new, tag);
    finish(&lab);
    // After the peer's time, too, nothing more is sent about it.
    lab.run_for(181 * S);
    for node in &mut lab.nodes {
        let tags: Vec<u32> = node.owner.up.keys().copied().collect();
        for tag in tags {
            node.owner.up.remove(&tag);
            node.owner.downs += 1;
            node.engine.session_ended(tag, lab.now);
        }
    }
    lab.nodes[0].sent.clear();
    lab.ask(0, 0, 1, 0);
    assert_eq!(lab.nodes[0].sent.len(), 1);
    lab.run_for(S);
    finish(&lab);
}

#[test]
fn bounds_are_counted_refusals() {
    let mut lab = Lab::pair(10);
    lab.nodes[0].settings.limits.pending_per_peer = 4;
    let settings = lab.nodes[0].settings.clone();
    lab.nodes[0].engine.configure(settings).unwrap();
    for host in 0..10 {
        lab.ask(0, host, 1, host);
    }
    lab.run_for(S);
    assert_eq!(lab.results(0).iter().filter(|result| **result == Err(Failure::Overload)).count(), 6);
    assert_eq!(lab.results(0).iter().filter(|result| result.is_ok()).count(), 4);
    finish(&lab);
    let mut lab = Lab::pair(1);
    lab.nodes[0].settings.limits.peers = 1;
    let settings = lab.nodes[0].settings.clone();
    lab.nodes[0].engine.configure(settings).unwrap();
    lab.ask(0, 0, 1, 0);
    lab.run_for(S);
    let mut request = lab.request(0, "h0.gwa.demo.", 1, "h0.gwb.demo.", 3);
    request.ces_id = "gwc.demo.".into();
    lab.negotiate(0, request);
    assert_eq!(lab.result(0, "h0.gwa.demo.", "h0.gwb.demo."), Some(Err(Failure::Overload)));
}

#[test]
fn settings_that_cannot_work_are_refused_with_the_key() {
    let mut settings = lab::settings("gwa.demo.", "192.0.2.1");
    settings.limits.h2h_setup_ms = 0;
    assert!(ces_cetp::Engine::new(settings, [0; 32], 0).unwrap_err().contains("h2h_setup_ms"));
    let settings = lab::settings("gwa.demo.", "0.0.0.0");
    assert!(ces_cetp::Engine::new(settings, [0; 32], 0).unwrap_err().contains("locator 0.0.0.0"));
    let limits: Result<ces_cetp::CetpLimits, _> = toml::from_str("block_s = 5\nblock_ms = 3");
    assert!(limits.unwrap_err().to_string().contains("block_ms"));
}

#[test]
fn secrets_grow_old_while_nothing_happens() {
    let mut lab = Lab::new();
    for (name, address) in [("gwa.demo.", "192.0.2.1"), ("gwb.demo.", "192.0.2.2")] {
        let mut settings = lab::settings(name, address);
        let policy = lab::network_policy(name);
        let pow = r#""request":[{"group":"ces","code":"pow"},"#;
        let policy = policy.replace(r#""request":["#, pow);
        settings.network_policy = std::sync::Arc::new(serde_json::from_str(&policy).unwrap());
        settings.limits.pow_bits = 4;
        let mut json = serde_json::to_value(lab::host_policies(name, 2, &[0, 1])).unwrap();
        for entry in json.as_array_mut().unwrap() {
            // The initiator asks for an acknowledgement, too, and the responder can give it.
            let ack = serde_json::json!({"group":"control","code":"ack"});
            let list = if entry["direction"] == "outbound" { "request" } else { "available" };
            entry["policy"][list].as_array_mut().unwrap().push(ack);
        }
        lab.add(settings, serde_json::from_value(json).unwrap());
    }
    lab.ask(0, 0, 1, 0);
    lab.run_for(S);
    assert!(result(&lab, 0, 0, 1, 0).unwrap().is_ok());
    lab.run_for(1_000 * S);
    lab.ask(0, 1, 1, 1);
    lab.run_for(S);
    assert!(result(&lab, 0, 1, 1, 1).unwrap().is_ok(), "an acknowledgement after a long silence");
    lab.run_for(10_000 * S);
    lab.ask(1, 1, 0, 1);
    lab.run_for(S);
    assert!(result(&lab, 1, 1, 0, 1).unwrap().is_ok(), "and a proof of work");
    finish(&lab);
}
