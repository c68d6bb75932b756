//! Many sessions that end at once end a piece at a time; what is asked for meanwhile is right.

mod lab;

use ces_cetp::engine::*;
use lab::{Lab, MS, S};

/// Hosts of each end; each of the one has a session with each of the other.
const HOSTS: usize = 40;
const SESSIONS: usize = HOSTS * HOSTS;
/// More than one piece ends.
const MOST: u64 = 125;

/// Two gateways with nothing between them yet.
fn two() -> Lab {
    let mut lab = Lab::new();
    for (ces_id, address) in [("gwa.demo.", "192.0.2.1"), ("gwb.demo.", "192.0.2.2")] {
        let mut settings = lab::settings(ces_id, address);
        settings.limits.sessions_per_peer = 10_000;
        settings.limits.sessions_per_peer_max = 10_000;
        lab.add(settings, lab::host_policies(ces_id, HOSTS, &[]));
    }
    lab
}

fn crowd() -> Lab {
    let mut lab = two();
    for a in 0..HOSTS {
        for b in 0..HOSTS {
            lab.ask(0, a, 1, b);
        }
    }
    lab.run_for(S);
    assert_eq!(lab.nodes[0].owner.up.len(), SESSIONS);
    finish(&lab);
    lab
}

fn finish(lab: &Lab) {
    lab.check_ledger();
    lab.assert_mirrored(0, 1);
}

/// A pair with a session that is to end and has not ended yet.
fn one_left(lab: &Lab, node: usize) -> (usize, usize) {
    let number = |name: &str| name[1..].split('.').next().unwrap().parse().unwrap();
    let left =
        lab.nodes[node].owner.up.values().find(|session| lab.nodes[node].engine.is_to_end(session.local_tag));
    let session = left.expect("one that is left");
    (number(&session.local_fqdn), number(&session.remote_fqdn))
}

fn down(lab: &Lab, node: usize, why: DownReason) -> usize {
    let is_it =
        |output: &&CetpOutput| matches!(output, CetpOutput::H2hDown { why: said, .. } if *said == why);
    lab.nodes[node].log.iter().filter(is_it).count()
}

#[test]
fn r2_all_sessions_end_in_pieces_and_a_new_one_between_them_stands() {
    let mut lab = crowd();
    let now = lab.now;
    let count = lab.with(0, |engine, owner| engine.terminate_sessions(owner, "gwb.demo.", now));
    assert_eq!((count, lab.nodes[0].owner.downs), (SESSIONS, MOST));
    lab.with(0, |engine, owner| engine.end_some(owner, now));
    assert_eq!(lab.nodes[0].owner.downs, MOST, "one piece at a moment");
    assert_eq!(
        lab.with(0, |engine, owner| engine.terminate_sessions(owner, "gwb.demo.", now)),
        0,
        "they are ending"
    );
    let (a, b) = one_left(&lab, 0);
    assert!(matches!(lab.ask(0, a, 1, b), Negotiating::Pending(_)), "not the one that is to end");
    let mut seen = lab.nodes[0].owner.downs;
    while lab.nodes[0].engine.has_ends() || lab.nodes[1].engine.has_ends() {
        lab.run_for(MS / 10);
        let downs = lab.nodes[0].owner.downs;
        assert!(downs - seen <= MOST);
        seen = downs;
    }
    lab.run_for(S);
    finish(&lab);
    assert_eq!(lab.nodes[0].owner.up.len(), 1);
    assert_eq!((down(&lab, 0, DownReason::ByUs), down(&lab, 1, DownReason::ByPeer)), (SESSIONS, SESSIONS));
    assert!(matches!(lab.ask(0, a, 1, b), Negotiating::Connected { .. }));
}

#[test]
fn r2_what_the_far_end_asks_for_while_its_sessions_end_is_new() {
    let mut lab = crowd();
    let now = lab.now;
    lab.with(0, |engine, owner| engine.terminate_sessions(owner, "gwb.demo.", now));
    while lab.nodes[1].owner.downs == 0 {
        lab.run_for(MS / 10);
    }
    assert!(lab.nodes[1].owner.downs <= MOST && lab.nodes[1].engine.has_ends());
    let (b, a) = one_left(&lab, 1);
    assert!(matches!(lab.ask(1, b, 0, a), Negotiating::Pending(_)));
    lab.run_for(S);
    finish(&lab);
    assert_eq!(lab.nodes[1].owner.up.len(), 1);
}

#[test]
fn r2_a_peer_leaves_when_all_its_sessions_are_told_and_who_waits_asks_anew() {
    let mut lab = crowd();
    let now = lab.now;
    assert!(lab.with(0, |engine, owner| engine.terminate_peer(owner, "gwb.demo.", now)));
    assert!(lab.with(0, |engine, owner| engine.terminate_peer(owner, "gwb.demo.", now)), "it is still up");
    assert_eq!(lab.nodes[0].owner.downs, MOST);
    let (a, b) = one_left(&lab, 0);
    assert!(matches!(lab.ask(0, a, 1, b), Negotiating::Pending(_)));
    lab.run_for(S);
    finish(&lab);
    assert_eq!(lab.nodes[0].owner.up.len(), 1);
    assert_eq!(down(&lab, 1, DownReason::ByPeer), SESSIONS, "each was told");
    let log = &lab.nodes[1].log;
    let left = log.iter().position(|output| matches!(output, CetpOutput::PeerDown { .. })).unwrap();
    let last = log.iter().rposition(|output| matches!(output, CetpOutput::H2hDown { .. })).unwrap();
    assert!(last < left, "C2C ends last");
}

#[test]
fn r2_what_a_restarted_peer_has_lost_ends_in_pieces() {
    let mut lab = crowd();
    lab.restart(1);
    lab.run_for(100 * MS);
    lab.ask(0, 0, 1, 0);
    // What is asked for to find out is made anew; of the rest nobody knows for a while.
    lab.run_for(29 * S);
    let made = lab.nodes[0].owner.downs;
    assert!((1..10).contains(&made));
    while !lab.nodes[0].engine.has_ends() {
        lab.run_for(MS / 10);
    }
    assert!(lab.nodes[0].owner.downs <= made + MOST);
    let (a, b) = one_left(&lab, 0);
    assert!(matches!(lab.ask(0, a, 1, b), Negotiating::Pending(_)), "not what the peer has lost");
    lab.run_for(S);
    finish(&lab);
    let again = lab.nodes[0].engine.counters().asked_again as usize;
    assert_eq!(lab.nodes[0].owner.up.len(), 2 + again);
    let gone = down(&lab, 0, DownReason::Replaced);
    assert_eq!(gone, SESSIONS, "each once");
}

#[test]
fn r2_a_filter_looks_at_sessions_in_pieces() {
    let mut lab = crowd();
    let now = lab.now;
    let host = FlowFilter::RemoteHost("h0.gwa.demo.".into());
    lab.with(1, |engine, _| assert!(engine.filter_at_peer("gwa.demo.", host, now).is_some()));
    assert!(lab.nodes[1].engine.has_ends() && lab.nodes[1].owner.downs == 0);
    lab.run_for(S);
    assert_eq!(down(&lab, 1, DownReason::Filtered), HOSTS);
    finish(&lab);
}

#[test]
fn r2_a_gateway_that_stops_ends_everything_at_once() {
    let mut lab = crowd();
    let now = lab.now;
    lab.with(0, |engine, owner| engine.shutdown(owner, now));
    assert!(lab.nodes[0].owner.up.is_empty() && !lab.nodes[0].engine.has_ends());
    lab.run_for(S);
    finish(&lab);
}

/// In whatever form a peer names them: in one list, or one after the other in one segment.
#[test]
fn r2_sessions_that_a_peer_names_end_in_pieces() {
    let end = |(theirs, ours): (u32, u32), group: &str, value: &str| {
        let tlv = format!(r#"{{"ope":"info","group":"{group}","code":"terminate","value":{value}}}"#);
        let json = format!(r#"{{"VER":2,"SST":{theirs},"DST":{ours},"TLV":[{tlv}]}}"#);
        [&(json.len() as u16).to_be_bytes(), json.as_bytes()].concat()
    };
    for is_list in [true, false] {
        let mut lab = crowd();
        let (ours, theirs) = lab.nodes[1].engine.peers(lab.now)[0].tags.unwrap();
        let named = lab.nodes[1].owner.up.values().map(|session| (session.remote_tag, session.local_tag));
        let bytes = if is_list {
            let list: Vec<String> = named.map(|(theirs, ours)| format!("[{theirs},{ours}]")).collect();
            end((theirs, ours), "ces", &format!(r#"{{"sessions":[{}]}}"#, list.join(",")))
        } else {
            named.flat_map(|tags| end(tags, "control", r#""""#)).collect()
        };
        lab.inject(1, &bytes);
        assert_eq!(lab.nodes[1].owner.downs, MOST, "list {is_list}");
        assert_eq!(
            lab.nodes[1].engine.sessions().filter(|s| lab.nodes[1].engine.is_to_end(s.local_tag)).count(),
            SESSIONS - MOST as usize
        );
        // The rest follows, a piece at a time.
        lab.run_for(S);
        assert_eq!(down(&lab, 1, DownReason::ByPeer), SESSIONS, "list {is_list}");
        assert!(lab.nodes[1].owner.up.is_empty() && !lab.nodes[1].engine.has_ends());
    }
}

/// What waits for a peer when it comes, or is known not to come, or goes.
#[test]
fn r2_who_waits_for_a_peer_goes_on_in_pieces() {
    for (comes, most) in [(true, 100), (false, 250)] {
        let mut lab = two();
        lab.nodes[1].refuses = !comes;
        for a in 0..HOSTS {
            for b in 0..HOSTS {
                lab.ask(0, a, 1, b);
            }
        }
        assert_eq!(lab.nodes[0].engine.pending(), SESSIONS);
        let done = |lab: &Lab| if comes { lab.nodes[0].owner.reserves } else { lab.results(0).len() as u64 };
        let (mut seen, mut longest) = (0, 0);
        while seen < SESSIONS as u64 {
            lab.run_for(MS / 10);
            longest = longest.max(done(&lab) - seen);
            seen = done(&lab);
        }
        assert_eq!(longest, most, "comes {comes}");
        lab.run_for(S);
        finish(&lab);
        assert_eq!(lab.nodes[0].owner.up.len(), if comes { SESSIONS } else { 0 });
    }
    // All that runs is lost, and starts anew where the peer is again.
    let mut lab = two();
    lab.ask(0, 0, 1, 0);
    lab.run_for(S);
    for a in 0..HOSTS {
        for b in 0..HOSTS {
            lab.ask(0, a, 1, b);
        }
    }
    for link in lab.open_links() {
        lab.cut(link);
    }
    assert!(lab.nodes[0].engine.has_ends());
    lab.run_for(2 * S);
    finish(&lab);
    assert_eq!(lab.nodes[0].owner.up.len(), SESSIONS);
}
