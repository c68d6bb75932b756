//! Two gateways and their hosts, which use the same private addresses: from a query in one realm to bindings in both.

mod lab;

use ces_dataplane::msg::{BindingStats, Command, EndReason, Event, Far, InsertError, Patience};
use ces_dns::outcome::QueryOutcome;
use ces_gateway::counters::NegotiationOutcome;
use ces_gateway::names::Name;
use ces_gateway::snapshot::SessionOrigin;
use ces_gateway::{Platform, PolicySet, Registry};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use lab::{H1, H2, H3, Lab, MS, S, Upstream, hosts, realm};
use std::net::Ipv4Addr;

const FIRST: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 1);

/// The tags of the one session between a and b.
fn tags(lab: &Lab) -> (u32, u32) {
    let of = |i: usize| {
        let bindings = lab.nodes[i].gateway.bindings(lab.now);
        assert_eq!(bindings.len(), 1);
        bindings[0].tag
    };
    (of(0), of(1))
}

#[test]
fn a_far_name_becomes_a_proxy_address_and_a_binding_at_both_ends() {
    let mut lab = Lab::new();
    let reply = lab.ask(0, H1, "www.h1.b.demo", RecordType::A);
    assert_eq!((reply.address, reply.ttl), (Some(FIRST), Some(30)));
    let (_, a) = lab.binding(0, H1, FIRST).unwrap();
    let (_, b) = lab.binding(1, H1, FIRST).unwrap();
    lab::assert_paired(&a, &b, tags(&lab));
    assert_eq!((a.idle_s, b.idle_s), (300, 300));
    // P1: an established TCP connection is longer than what nobody chose.
    assert_eq!((a.patience, b.patience), (Patience::WithTcp, Patience::WithTcp));
    // Nor does it end while it is used, where nobody has said how long it lasts.
    assert_eq!((a.hard_s, b.hard_s), (0, 0));

    // Both ends see it under the other's name, and so do their hosts.
    let at_a = &lab.nodes[0].gateway.bindings(lab.now)[0];
    let at_b = &lab.nodes[1].gateway.bindings(lab.now)[0];
    assert_eq!(
        (&*at_a.local, &*at_a.remote, at_a.role),
        ("h1.a.demo.", "www.h1.b.demo.", SessionOrigin::Initiator)
    );
    assert_eq!(
        (&*at_b.local, &*at_b.remote, at_b.role),
        ("www.h1.b.demo.", "h1.a.demo.", SessionOrigin::Responder)
    );
    let (ta, tb) = (at_a.tunnel.as_ref().unwrap(), at_b.tunnel.as_ref().unwrap());
    assert_eq!((ta.local, ta.remote, ta.id_in), (tb.remote, tb.local, tb.id_out));
    let reverse = "1.0.64.10.in-addr.arpa";
    assert_eq!(lab.ask(0, H1, reverse, RecordType::PTR).target.unwrap(), "www.h1.b.demo.");
    assert_eq!(lab.ask(1, H1, reverse, RecordType::PTR).target.unwrap(), "h1.a.demo.");
    assert_eq!(lab.ask(0, H2, reverse, RecordType::PTR).code, ResponseCode::NXDomain);

    // The second time costs nothing.
    let frames = lab.cetp_frames;
    let again = lab.ask(0, H1, "WWW.h1.b.demo", RecordType::A);
    assert_eq!((again.address, again.ttl), (Some(FIRST), Some(120)));
    let aaaa = lab.ask(0, H1, "www.h1.b.demo", RecordType::AAAA);
    assert_eq!((aaaa.code, aaaa.answers), (ResponseCode::NoError, 0));
    assert_eq!(lab.cetp_frames, frames);
    assert_eq!(lab.dns_count(0, QueryOutcome::Negotiated), 1);
    assert_eq!(lab.dns_count(0, QueryOutcome::Connected), 1);
    assert_eq!(lab.negotiation_count(0, NegotiationOutcome::Initiated), 1);
    assert_eq!(lab.negotiation_count(1, NegotiationOutcome::Accepted), 1);
    assert_eq!(lab.nodes[0].gateway.counters().negotiation_time.count, 1);
}

#[test]
fn the_worker_knows_tunnel_and_neighbours_before_the_binding_and_the_binding_before_the_answer() {
    let mut lab = Lab::new();
    lab.address(0, H1, "h1.b.demo").unwrap();
    for node in &lab.nodes {
        let position =
            |wanted: fn(&Command) -> bool| node.commands.iter().position(|(_, c)| wanted(c)).unwrap();
        let neighbour = position(|c| matches!(c, Command::SetHop(..)));
        let tunnel = position(|c| matches!(c, Command::SetTunnel(..)));
        let binding = position(|c| matches!(c, Command::InsertBinding(..)));
        assert!(neighbour < tunnel && tunnel < binding);
        // The host's own MAC address and the next hop's are asked for ahead of the first packet.
        let asked = node.other.iter().filter(|o| matches!(o, ces_gateway::Output::ResolveNeighbour { .. }));
        assert_eq!(asked.count(), 2);
    }
}

#[test]
fn a_and_aaaa_asked_at_once_are_one_negotiation() {
    let mut lab = Lab::new();
    lab.delay = 5 * MS;
    let aaaa = lab.query(0, H1, "h1.b.demo", RecordType::AAAA);
    let a = lab.query(0, H1, "h1.b.demo", RecordType::A);
    let again = lab.query(0, H1, "h1.b.demo", RecordType::A);
    assert!(lab.reply(0, a).is_none());
    assert_eq!(lab.wait(0, a).address, Some(FIRST));
    assert_eq!(lab.wait(0, again).address, Some(FIRST));
    let nothing = lab.wait(0, aaaa);
    assert_eq!((nothing.code, nothing.answers), (ResponseCode::NoError, 0));
    assert_eq!(lab.negotiation_count(0, NegotiationOutcome::Initiated), 1);
    assert_eq!(lab.nodes[0].gateway.counters().joined, 2);
    // AAAA alone begins one as well.
    let alone = lab.ask(0, H1, "www.h1.b.demo", RecordType::AAAA);
    assert_eq!((alone.code, alone.answers), (ResponseCode::NoError, 0));
    assert_eq!(lab.nodes[0].bindings.len(), 2);
}

#[test]
fn policy_on_either_side_is_nxdomain_and_our_own_is_asked_before_anything_is_sent() {
    let mut lab = Lab::new();
    // h3 has no policy here: nothing leaves.
    assert_eq!(lab.ask(0, H3, "h1.b.demo", RecordType::A).code, ResponseCode::NXDomain);
    assert_eq!(lab.cetp_frames, 0);
    assert!(lab.logged(0, "name refused", "no outbound policy"));
    // h2 is not who h1 takes; h3 takes nobody.
    assert_eq!(lab.ask(0, H2, "h1.b.demo", RecordType::A).code, ResponseCode::NXDomain);
    assert_eq!(lab.ask(0, H1, "h3.b.demo", RecordType::A).code, ResponseCode::NXDomain);
    assert_eq!(lab.dns_count(0, QueryOutcome::PolicyRefused), 3);
    assert_eq!(lab.negotiation_count(0, NegotiationOutcome::OutboundDenied), 1);
    assert_eq!(lab.negotiation_count(0, NegotiationOutcome::Refused), 2);
    assert_eq!(lab.negotiation_count(1, NegotiationOutcome::Refused), 2);
    assert!(lab.nodes[0].bindings.is_empty() && lab.nodes[1].bindings.is_empty());
    for node in &lab.nodes {
        assert_eq!(node.gateway.pools().slots_used, [0]);
        assert_eq!(node.gateway.pools().proxies_used, 0);
    }
    assert!(lab.logged(1, "session refused", ""));
    // A name that the far realm does not have is an ordinary NXDOMAIN.
    assert_eq!(lab.ask(0, H1, "nobody.b.demo", RecordType::A).code, ResponseCode::NXDomain);
}

#[test]
fn the_narrower_of_both_policies_holds_at_both_ends() {
    let mut lab = Lab::new();
    let proxy = lab.address(0, H2, "h2.b.demo").unwrap();
    let (_, a) = lab.binding(0, H2, proxy).unwrap();
    let (_, b) = lab.binding(1, H2, FIRST).unwrap();
    for (binding, is_serving) in [(a, false), (b, true)] {
        assert_eq!((binding.hard_s, binding.idle_s, binding.patience), (60, 20, Patience::None));
        let limits = binding.limits;
        assert_eq!((limits.protocol, limits.port), (Some(6), Some(80)));
        assert_eq!((limits.rate_bps, limits.port_is_inside), (Some(1_000_000), is_serving));
    }
    // An answer never outlives the binding.
    assert_eq!(lab.ask(0, H2, "h2.b.demo", RecordType::A).ttl, Some(20));
}

/// A worker that has no room for what restricts a binding would carry nothing of it: there is no such session at either end.
#[test]
fn p15_without_room_for_limits_there_is_no_session() {
    for full in [0, 1] {
        let mut lab = Lab::new();
        let platform = Platform { limited_per_worker: 0, ..lab::platform(full as u8 + 1, 1) };
        let text = realm(if full == 0 { "a.demo" } else { "b.demo" });
        let settings = lab.nodes[full].settings.clone();
        lab.nodes[full].gateway = lab::start(&settings, &hosts(&text), platform, lab.now);
        lab.settle();
        let reply = lab.ask(0, H2, "h2.b.demo", RecordType::A);
        if full == 0 {
            assert_eq!(reply.code, ResponseCode::ServFail);
            assert_eq!(lab.negotiation_count(0, NegotiationOutcome::Exhausted), 1);
        }
        lab.advance(10 * S);
        assert!(lab.nodes[full].bindings.is_empty(), "the worker was never asked");
        assert_eq!([0, 1].map(|i| lab.nodes[i].gateway.bindings(lab.now).len()), [0, 0]);
        assert!(lab.nodes[full].log.iter().any(|line| format!("{line:?}").contains("capacity.limited")));
        // What is not restricted needs no such room.
        assert!(lab.address(0, H1, "h1.b.demo").is_some());
    }
}

/// A peer is believed about the names of its own zones, where they are known, and about nobody else's, ours least of all.
#[test]
fn c17_a_peer_speaks_for_its_own_names_alone() {
    let name = |text: &str| Name::parse(text).unwrap();
    for (zones, is_believed) in [
        (vec![], true),
        (vec![("cesa.demo.", vec!["a.demo."])], true),
        (vec![("cesa.demo.", vec!["c.demo.", "a.demo."]), ("cesc.demo.", vec!["d.demo."])], true),
        (vec![("cesc.demo.", vec!["d.demo."])], true),
        (vec![("cesa.demo.", vec!["c.demo."])], false),
        (vec![("cesa.demo.", vec!["h2.a.demo."])], false),
        (vec![("cesa.demo.", vec![])], false),
        (vec![("cesc.demo.", vec!["a.demo."])], false),
        (vec![("cesc.demo.", vec!["h1.a.demo."])], false),
    ] {
        let at_b = |settings: &mut ces_gateway::CoreSettings| {
            if settings.realm.ces_id.as_str() == "cesb.demo." {
                settings.cetp.peer_zones = zones
                    .iter()
                    .map(|(peer, zones)| (name(peer), zones.iter().map(|zone| name(zone)).collect()))
                    .collect();
            }
        };
        let mut lab = Lab::with(at_b, &realm("a.demo"), &realm("b.demo"));
        let reply = lab.ask(0, H1, "h1.b.demo", RecordType::A);
        assert_eq!(reply.address.is_some(), is_believed, "{zones:?}");
        let refused = lab.nodes[1].gateway.counters().claims_refused;
        assert_eq!(refused, u64::from(!is_believed), "{zones:?}");
        assert_eq!(lab.logged(1, "session refused", "may not speak for"), !is_believed);
        assert_eq!(lab.nodes[1].gateway.bindings(lab.now).len(), usize::from(is_believed));
    }
}

/// What a peer may say, and where it may be, is asked again with other settings: of a process that runs, and of the next one.
#[test]
fn c9_c17_sessions_end_with_a_peer_that_may_no_longer_be_there_or_speak_for_them() {
    let name = |text: &str| Name::parse(text).unwrap();
    let anothers = |settings: &mut ces_gateway::CoreSettings| {
        settings.cetp.peer_zones = [(name("cesc.demo."), vec![name("a.demo.")])].into_iter().collect();
    };
    let ours = |settings: &mut ces_gateway::CoreSettings| settings.realm.zones.push(name("a.demo."));
    let inside = |settings: &mut ces_gateway::CoreSettings| {
        settings.realm.networks.push("192.0.2.0/31".parse().unwrap());
    };
    let other = |settings: &mut ces_gateway::CoreSettings| settings.dns.connected_ttl_s = 60;
    type Change<'a> = &'a dyn Fn(&mut ces_gateway::CoreSettings);
    let changes: [(&str, Change<'_>, bool, bool); 4] = [
        ("the peer's hosts' names are another's", &anothers, false, true),
        ("they are ours", &ours, false, true),
        ("its locator is inside", &inside, false, false),
        ("something else", &other, true, true),
    ];
    for (title, change, asked_by_it, asked_by_us) in changes {
        for restarts in [false, true] {
            let mut lab = Lab::new();
            lab.address(0, H1, "h1.b.demo").unwrap();
            lab.address(1, H2, "h2.a.demo").unwrap();
            change(&mut lab.nodes[1].settings);
            let (settings, text, now) = (lab.nodes[1].settings.clone(), realm("b.demo"), lab.now);
            if restarts {
                lab.kill(1);
                lab.resume(1, &text);
            } else {
                let (registry, policies) = ces_gateway::registry::load(&hosts(&text), &settings).unwrap();
                lab.nodes[1].gateway.reload(settings, registry, policies, now).unwrap();
                lab.settle();
            }
            lab.advance(5 * S);
            let bindings = lab.nodes[1].gateway.bindings(lab.now);
            let has = |local: &str| bindings.iter().any(|binding| &*binding.local == local);
            assert_eq!(
                (has("h1.b.demo."), has("h2.b.demo.")),
                (asked_by_it, asked_by_us),
                "{title}, restarts {restarts}"
            );
            let told = lab.nodes[0].gateway.bindings(lab.now).len();
            assert_eq!(
                told,
                usize::from(asked_by_it) + usize::from(asked_by_us),
                "{title}: the peer is told"
            );
        }
    }
}

#[test]
fn c17_a_thousand_hosts_may_begin_at_once() {
    let mut theirs = String::from("[[policy]]\nname = \"out\"\noutbound.to = [\"*\"]\n");
    let host = |number: u16| Ipv4Addr::new(192, 168, 1 + (number / 250) as u8, 1 + (number % 250) as u8);
    for number in 0..1_000 {
        let address = host(number);
        let host =
            ["[[host]]\nname = \"n", &number.to_string(), ".a.demo\"\naddress = \"", &address.to_string()];
        theirs.extend(host);
        theirs += "\"\npolicy = \"out\"\n";
    }
    let ours = realm("b.demo").replace("\"h1.a.demo\"", "\"*\"");
    let change = |settings: &mut ces_gateway::CoreSettings| {
        settings.realm.networks = vec!["192.168.0.0/16".parse().unwrap()];
        settings.cetp.limits.sessions_per_peer = 10_000;
        settings.cetp.limits.sessions_per_peer_max = 10_000;
    };
    let mut lab = Lab::with(change, &theirs, &ours);
    lab.delay = 5 * MS;
    let tokens: Vec<u64> =
        (0..1_000).map(|number| lab.query(0, host(number), "h1.b.demo", RecordType::A)).collect();
    for (number, token) in tokens.into_iter().enumerate() {
        assert!(lab.wait(0, token).address.is_some(), "host {number}");
    }
    assert_eq!(lab.nodes[1].gateway.counters().claims_looked_up, 1_000);
    assert_eq!(lab.nodes[1].gateway.bindings(lab.now).len(), 1_000);
}

#[test]
fn c17_nobody_speaks_for_our_names() {
    // The realm behind a says that its hosts are b's, and b's policy lets b's own hosts in.
    let theirs = realm("a.demo");
    let ours = realm("b.demo").replace("\"h1.a.demo\"", "\"*\"");
    let change = |settings: &mut ces_gateway::CoreSettings| {
        if settings.realm.ces_id.as_str() == "cesb.demo." {
            settings.realm.zones.push(Name::parse("a.demo.").unwrap());
        }
    };
    let mut lab = Lab::with(change, &theirs, &ours);
    assert_eq!(lab.ask(0, H1, "h1.b.demo", RecordType::A).address, None);
    assert_eq!(lab.nodes[1].gateway.counters().claims_refused, 1);
}

#[test]
fn both_directions_at_once_share_the_peer() {
    let mut lab = Lab::new();
    lab.delay = 3 * MS;
    let one = lab.query(0, H1, "h1.b.demo", RecordType::A);
    let other = lab.query(1, H1, "h1.a.demo", RecordType::A);
    assert!(lab.wait(0, one).address.is_some());
    assert!(lab.wait(1, other).address.is_some());
    assert_eq!((lab.nodes[0].bindings.len(), lab.nodes[1].bindings.len()), (2, 2));
    // Two bindings of one host towards the same far host have proxy addresses of their own.
    let proxies: Vec<Ipv4Addr> = lab.nodes[0].bindings.values().map(|b| b.proxy).collect();
    assert_ne!(proxies[0], proxies[1]);
}

#[test]
fn a_peer_that_cannot_be_reached_is_servfail() {
    let mut lab = Lab::new();
    lab.unreachable = true;
    assert_eq!(lab.ask(0, H1, "h1.b.demo", RecordType::A).code, ResponseCode::ServFail);
    assert_eq!(lab.dns_count(0, QueryOutcome::NegotiationFailed), 1);
    assert_eq!(lab.negotiation_count(0, NegotiationOutcome::Unreachable), 1);
    assert_eq!(lab.nodes[0].gateway.pools().slots_used, [0]);
    assert!(lab.logged(0, "name failed", ""));
}

#[test]
fn c11_names_work_within_3_s_of_the_peers_return_though_they_were_asked_for_meanwhile() {
    for with_session in [false, true] {
        for seconds in [2, 20, 90] {
            let mut lab = Lab::new();
            if with_session {
                lab.address(0, H1, "h1.b.demo").unwrap();
                lab.kill(1);
                lab.restart(1, &lab::realm("b.demo"));
            }
            lab.unreachable = true;
            for _ in 0..2 * seconds {
                lab.advance(500 * MS);
                assert_eq!(lab.ask(0, H1, "h2.b.demo", RecordType::A).code, ResponseCode::ServFail);
            }
            lab.unreachable = false;
            lab.advance(3 * S - MS);
            assert!(lab.address(0, H1, "h2.b.demo").is_some(), "{seconds} s, session {with_session}");
        }
    }
}

#[test]
fn a_peer_that_dies_mid_negotiation_is_servfail() {
    let mut lab = Lab::new();
    lab.address(0, H1, "h1.b.demo").unwrap();
    lab.delay = 20 * MS;
    let token = lab.query(0, H1, "www.h1.b.demo", RecordType::A);
    lab.kill(1);
    let begin = lab.now;
    assert_eq!(lab.wait(0, token).code, ResponseCode::ServFail);
    assert!(lab.now - begin <= 5 * S);
    // What stood before stands on: H2H outlives the loss of connections.
    assert_eq!(lab.nodes[0].bindings.len(), 1);
    assert_eq!(lab.nodes[0].gateway.pools().slots_used, [1]);
}

#[test]
fn a_peer_that_is_silent_is_servfail_in_time() {
    let mut lab = Lab::new();
    lab.mute = true;
    let begin = lab.now;
    assert_eq!(lab.ask(0, H1, "h1.b.demo", RecordType::A).code, ResponseCode::ServFail);
    assert!(lab.now - begin <= 5 * S, "{} ms", (lab.now - begin) / MS);
    assert_eq!(lab.nodes[0].gateway.pools().slots_used, [0]);
}

#[test]
fn c3_a_lifetime_that_is_over_leaves_nothing_at_either_end() {
    let lifetime = |settings: &mut ces_gateway::CoreSettings| settings.cetp.limits.dp_ttl_s = 3_600;
    let mut lab = Lab::with(lifetime, &realm("a.demo"), &realm("b.demo"));
    lab.address(0, H1, "h1.b.demo").unwrap();
    let frames = lab.cetp_frames;
    let (at_a, a) = lab.binding(0, H1, FIRST).unwrap();
    assert_eq!(a.hard_s, 3_600);
    lab.now += u64::from(a.hard_s) * S;
    // Neither side has said how long it lasts, so the other one is told.
    lab.end(0, at_a, EndReason::Hard);
    assert_eq!(lab.cetp_frames, frames + 1);
    for node in &lab.nodes {
        assert_eq!(node.gateway.pools().slots_used, [0]);
        assert!(node.gateway.tunnels().is_empty());
    }
    let reverse = "1.0.64.10.in-addr.arpa";
    assert_eq!(lab.ask(0, H1, reverse, RecordType::PTR).code, ResponseCode::NXDomain);
    // The next query negotiates anew, and gets the address that it had (P1).
    let reply = lab.ask(0, H1, "h1.b.demo", RecordType::A);
    assert_eq!((reply.address, reply.ttl), (Some(FIRST), Some(30)));
}

#[test]
fn c3_an_end_that_only_one_side_knows_of_is_told() {
    for end in [0, 1] {
        let mut lab = Lab::new();
        lab.address(0, H1, "h1.b.demo").unwrap();
        let (handle, _) = lab.binding(end, H1, FIRST).unwrap();
        lab.end(end, handle, EndReason::Idle);
        for node in &lab.nodes {
            assert!(node.bindings.is_empty(), "ended by {end}");
            assert_eq!(node.gateway.pools().slots_used, [0]);
        }
        assert!(lab.logged(1 - end, "session down", "the peer terminated it"));
        assert!(lab.address(0, H1, "h1.b.demo").is_some());
    }
}

#[test]
fn c2_whoever_ends_a_peer_ends_its_sessions_at_both_ends() {
    for end in [0, 1] {
        let mut lab = Lab::new();
        lab.address(0, H1, "h1.b.demo").unwrap();
        lab.address(0, H2, "h2.b.demo").unwrap();
        let peer = ["cesb.demo.", "cesa.demo."][end];
        let (now, frames) = (lab.now, lab.cetp_frames);
        assert!(lab.nodes[end].gateway.terminate_peer(peer, now));
        lab.settle();
        // Each session is told by its tags, before C2C is: a node that keeps sessions beyond C2C hears of them.
        assert!(lab.cetp_frames >= frames + 3);
        for node in &lab.nodes {
            assert!(node.bindings.is_empty());
        }
        assert!(lab.address(0, H1, "h1.b.demo").is_some());
    }
}

/// The end of a session is lost on its way: the peer still has it, and refuses the pair as a duplicate.
#[test]
fn c2_a_pair_that_the_peer_still_has_works_at_the_first_ask() {
    for others in [false, true] {
        let mut lab = Lab::new();
        lab.address(0, H1, "h1.b.demo").unwrap();
        if others {
            lab.address(0, H1, "www.h1.b.demo").unwrap();
        }
        let find = |lab: &Lab| {
            lab.nodes[0].gateway.bindings(lab.now).iter().find(|b| &*b.remote == "h1.b.demo.").unwrap().tag
        };
        let (tag, now) = (find(&lab), lab.now);
        lab.mute = true;
        assert!(lab.nodes[0].gateway.terminate_session(tag, now));
        lab.settle();
        lab.mute = false;
        assert!(lab.address(0, H1, "h1.b.demo").is_some());
        for node in &lab.nodes {
            assert_eq!(node.gateway.bindings(lab.now).len(), 1 + usize::from(others));
        }
    }
}

#[test]
fn c4_the_session_of_a_pair_answers_in_both_directions() {
    let mut lab = Lab::new();
    lab.address(1, H1, "h1.a.demo").unwrap();
    let (frames, before) = (lab.cetp_frames, lab.nodes[0].bindings.clone());
    let proxy = lab.address(0, H1, "h1.b.demo").unwrap();
    assert_eq!((lab.cetp_frames, &lab.nodes[0].bindings), (frames, &before));
    assert!(before.values().any(|binding| binding.proxy == proxy));
    // Another name of the host, and one whose session is restricted, are negotiated.
    assert!(lab.address(0, H1, "www.h1.b.demo").unwrap() != proxy);
    lab.address(1, H2, "h2.a.demo").unwrap();
    lab.address(0, H2, "h2.b.demo").unwrap();
    assert_eq!(lab.nodes[0].bindings.len(), 4);
    // Who may not ask is not answered by what others asked for.
    let text = realm("a.demo").replace("outbound.to = [\"*\"]", "outbound.to = [\"x.demo\"]");
    let settings = lab.nodes[0].settings.clone();
    let (registry, policies) = ces_gateway::registry::load(&hosts(&text), &settings).unwrap();
    let now = lab.now;
    lab.nodes[0].gateway.reload(settings, registry, policies, now).unwrap();
    lab.settle();
    assert_eq!(lab.ask(0, H1, "h1.b.demo", RecordType::A).code, ResponseCode::NXDomain);
}

/// Nor does it matter that the peer cannot be asked just now, or refuses: as long as the pair's session stands it answers.
#[test]
fn c4_the_session_of_a_pair_answers_whoever_can_be_asked() {
    let mut lab = Lab::new();
    lab.address(1, H1, "h1.a.demo").unwrap();
    let (_, before) = lab.binding(0, H1, FIRST).unwrap();
    lab.kill(0);
    lab.unreachable = true;
    lab.resume(0, &realm("a.demo"));
    let reply = lab.ask(0, H1, "h1.b.demo", RecordType::A);
    assert_eq!((reply.address, reply.ttl), (Some(FIRST), Some(1)), "{:?}", lab.nodes[0].log);
    assert_eq!(lab.ask(0, H1, "www.h1.b.demo", RecordType::A).code, ResponseCode::ServFail);
    lab.unreachable = false;
    lab.advance(5 * S);
    assert_eq!(lab.address(0, H1, "h1.b.demo"), Some(FIRST));
    assert_eq!(lab.binding(0, H1, FIRST).unwrap().1.far, before.far);
}

#[test]
fn one_end_that_expired_first_agrees_again_with_the_other() {
    let mut lab = Lab::new();
    lab.address(0, H1, "h1.b.demo").unwrap();
    let (at_a, _) = lab.binding(0, H1, FIRST).unwrap();
    lab.end(0, at_a, EndReason::Idle);
    let reply = lab.ask(0, H1, "h1.b.demo", RecordType::A);
    assert_eq!(reply.code, ResponseCode::NoError, "{:?}", lab.nodes[1].log);
    let proxy = reply.address.unwrap();
    let (_, a) = lab.binding(0, H1, proxy).unwrap();
    assert_eq!(lab.nodes[1].bindings.len(), 1);
    let b = *lab.nodes[1].bindings.values().next().unwrap();
    lab::assert_paired(&a, &b, tags(&lab));
}

#[test]
fn a_terminated_session_ends_at_both_ends() {
    let mut lab = Lab::new();
    lab.address(0, H1, "h1.b.demo").unwrap();
    let (tag, _) = tags(&lab);
    let now = lab.now;
    assert!(lab.nodes[0].gateway.terminate_session(tag, now));
    lab.settle();
    for node in &lab.nodes {
        assert!(node.bindings.is_empty());
        assert_eq!(node.gateway.pools().slots_used, [0]);
    }
    assert!(lab.logged(1, "session down", "the peer terminated it"));
}

#[test]
fn a_slot_is_used_again_only_when_the_worker_has_let_go() {
    let mut lab = Lab::new();
    lab.address(0, H1, "h1.b.demo").unwrap();
    let (tag, _) = tags(&lab);
    lab.nodes[0].workers_stuck = true;
    let now = lab.now;
    assert!(lab.nodes[0].gateway.terminate_session(tag, now));
    lab.settle();
    assert_eq!(lab.nodes[0].gateway.pools().slots_used, [1]);
    assert_eq!(lab.nodes[0].gateway.tunnels().len(), 1);
    let (handle, _) = lab.binding(0, H1, FIRST).unwrap();
    lab.end(0, handle, EndReason::Removed);
    assert_eq!(lab.nodes[0].gateway.pools().slots_used, [0]);
    assert!(lab.nodes[0].gateway.tunnels().is_empty());
    // Said twice, it is counted and harmless.
    let event = Event::BindingEnded(handle, EndReason::Removed, BindingStats::default());
    lab.nodes[0].gateway.handle_event(0, event, now);
    assert_eq!(lab.nodes[0].gateway.counters().stale_events, 1);
}

#[test]
fn a_binding_that_the_worker_refuses_ends_at_the_peer_too() {
    let mut lab = Lab::new();
    lab.nodes[0].insert_error = Some(InsertError::IndexFull);
    lab.query(0, H1, "h1.b.demo", RecordType::A);
    lab.advance(S);
    for node in &lab.nodes {
        assert!(node.bindings.is_empty());
        assert_eq!(node.gateway.pools().slots_used, [0]);
        assert!(node.gateway.tunnels().is_empty());
    }
    lab.nodes[0].insert_error = None;
    assert!(lab.address(0, H1, "h1.b.demo").is_some());
}

#[test]
fn an_empty_pool_is_servfail_at_our_end_and_at_theirs() {
    let one = |s: &mut ces_gateway::CoreSettings| s.realm.host_bindings = 1;
    let mut lab = Lab::with(one, &realm("a.demo"), &realm("b.demo"));
    assert!(lab.address(0, H1, "h1.b.demo").is_some());
    assert_eq!(lab.ask(0, H1, "www.h1.b.demo", RecordType::A).code, ResponseCode::ServFail);
    assert_eq!(lab.dns_count(0, QueryOutcome::Exhausted), 1);
    assert_eq!(lab.negotiation_count(0, NegotiationOutcome::Exhausted), 1);
    // The far end's pool is as empty.
    let reply = lab.ask(0, H2, "h1.b.demo", RecordType::A);
    assert_ne!(reply.code, ResponseCode::NoError);
    assert_eq!(lab.nodes[0].gateway.pools().slots_used, [1]);
}

#[test]
fn more_negotiations_a_second_than_allowed_are_servfail() {
    let text = realm("b.demo").replace("services = [\"www.h1.b.demo\"]", &{
        let names: Vec<String> = (0..20).map(|n| format!("\"s{n}.b.demo\"")).collect();
        format!("services = [{}]", names.join(", "))
    });
    let mut lab = Lab::with(|s| s.dns.negotiation_rate = 10, &realm("a.demo"), &text);
    for n in 0..20 {
        lab.query(0, H1, &format!("s{n}.b.demo"), RecordType::A);
    }
    lab.advance(20 * MS);
    assert_eq!(lab.dns_count(0, QueryOutcome::NegotiationRate), 10);
    assert_eq!(lab.dns_count(0, QueryOutcome::Negotiated), 10);
}

#[test]
fn a_restarted_gateway_finds_together_with_its_peer_again() {
    let mut lab = Lab::new();
    lab.address(0, H1, "h1.b.demo").unwrap();
    lab.kill(1);
    lab.restart(1, &realm("b.demo"));
    lab.advance(S);
    // The old session stands at a; a new name works, and so does the other direction.
    assert!(lab.address(0, H1, "www.h1.b.demo").is_some());
    assert!(lab.address(1, H1, "h1.a.demo").is_some());
    // The restarted end asks for the pair that the other still holds the other way round.
    lab.kill(0);
    lab.restart(0, &realm("a.demo"));
    let reply = lab.ask(0, H1, "www.h1.b.demo", RecordType::A);
    assert_eq!(reply.code, ResponseCode::NoError, "{:?}", lab.nodes[1].log);
    let (_, a) = lab.binding(0, H1, reply.address.unwrap()).unwrap();
    let Far::Tunnel { remote_tag, .. } = a.far else { panic!() };
    let at_b = lab.nodes[1].gateway.bindings(lab.now);
    assert!(at_b.iter().any(|b| b.tag == remote_tag && &*b.local == "www.h1.b.demo."));
}

#[test]
fn the_name_of_a_restarted_peer_is_negotiated_anew() {
    let mut lab = Lab::new();
    lab.address(0, H1, "h1.b.demo").unwrap();
    lab.address(0, H2, "h2.b.demo").unwrap();
    lab.kill(1);
    lab.restart(1, &realm("b.demo"));
    lab.advance(S);
    // The session still stands here, but nobody is connected to its peer: the answer is not taken from it.
    let proxy = lab.address(0, H1, "h1.b.demo").unwrap();
    let (_, a) = lab.binding(0, H1, proxy).unwrap();
    let Far::Tunnel { remote_tag, .. } = a.far else { panic!() };
    let now = lab.now;
    assert!(lab.nodes[1].gateway.bindings(now).iter().any(|binding| binding.tag == remote_tag));
    // What else there was with the peer of before has been agreed on anew, or has ended.
    lab.advance(31 * S);
    let there: Vec<u32> = lab.nodes[1].gateway.bindings(lab.now).iter().map(|binding| binding.tag).collect();
    let stands = |far| matches!(far, Far::Tunnel { remote_tag, .. } if there.contains(&remote_tag));
    assert!(lab.nodes[0].bindings.values().all(|binding| stands(binding.far)));
}

/// C13: a peer of which nobody knows whether it is another: what it carries shows it, what it does not carry ends.
#[test]
fn c13_packets_show_that_a_peer_with_other_tunnel_ids_has_its_sessions() {
    for carries in [true, false] {
        let mut lab = Lab::new();
        // By the far end alone: nobody here can ask for the pair.
        let there = lab.address(1, H1, "h1.a.demo").unwrap();
        let handle = *lab.nodes[0].bindings.keys().next().unwrap();
        lab.nodes[0].stats.in_packets = 7;
        lab.kill(1);
        lab.restart(1, &realm("b.demo"));
        lab.address(1, H2, "h1.a.demo");
        lab.advance(2 * S);
        assert!(lab.nodes[0].gateway.peers(lab.now)[0].doubted);
        assert!(lab.logged(0, "peer doubted", "other tunnel ids"));
        lab.advance(10 * S);
        lab.nodes[0].stats.in_packets += u64::from(carries);
        lab.advance(4 * S);
        assert_eq!(lab.nodes[0].gateway.peers(lab.now)[0].doubted, !carries);
        lab.advance(60 * S);
        assert_eq!(lab.nodes[0].bindings.contains_key(&handle), carries, "{there}");
        let counters = lab.nodes[0].gateway.cetp_counters();
        assert_eq!((counters.peers_proven, counters.peers_restarted), if carries { (1, 0) } else { (0, 1) });
        let why = if carries { "still has" } else { "nothing came" };
        assert!(lab.logged(0, "peer no longer doubted", why));
    }
}

/// C13: what a peer's ways are is not to be found out anew by each process.
#[test]
fn c13_the_next_process_knows_a_peer_that_draws_other_tunnel_ids() {
    for knows in [true, false] {
        let mut lab = Lab::new();
        lab.address(1, H1, "h1.a.demo").unwrap();
        let handle = *lab.nodes[0].bindings.keys().next().unwrap();
        let back = |lab: &mut Lab| {
            lab.kill(1);
            lab.restart(1, &realm("b.demo"));
            lab.address(1, H2, "h1.a.demo");
            lab.advance(5 * S);
        };
        if knows {
            back(&mut lab);
            lab.nodes[0].stats.in_packets += 1;
            lab.advance(4 * S);
            assert_eq!(lab.nodes[0].gateway.cetp_counters().peers_proven, 1);
        }
        lab.kill(0);
        lab.resume(0, &realm("a.demo"));
        back(&mut lab);
        assert!(lab.nodes[0].gateway.peers(lab.now)[0].doubted);
        lab.advance(60 * S);
        assert_eq!(lab.nodes[0].bindings.contains_key(&handle), knows);
    }
}

/// C13: what came on a session before its peer was lost once more does not show that it has it still.
#[test]
fn c13_packets_between_two_restarts_show_nothing() {
    let mut lab = Lab::new();
    lab.address(1, H1, "h1.a.demo").unwrap();
    let handle = *lab.nodes[0].bindings.keys().next().unwrap();
    let back = |lab: &mut Lab| {
        lab.kill(1);
        lab.restart(1, &realm("b.demo"));
        lab.address(1, H2, "h1.a.demo");
        lab.advance(2 * S);
        assert!(lab.nodes[0].gateway.peers(lab.now)[0].doubted);
    };
    lab.nodes[0].stats.in_packets = 7;
    back(&mut lab);
    lab.nodes[0].stats.in_packets = 8;
    back(&mut lab);
    lab.advance(60 * S);
    assert!(!lab.nodes[0].bindings.contains_key(&handle));
    let counters = lab.nodes[0].gateway.cetp_counters();
    assert_eq!((counters.peers_proven, counters.peers_restarted), (0, 1));
}

/// What a host remembers of a name is true again as soon as it asks for it, whatever happened meanwhile.
#[test]
fn p1_the_same_pair_gets_the_same_address_as_long_as_it_is_free() {
    let mut lab = Lab::new();
    let www = lab.address(0, H1, "www.h1.b.demo").unwrap();
    let (handle, _) = lab.binding(0, H1, www).unwrap();
    lab.end(0, handle, EndReason::Idle);
    let other = lab.address(0, H1, "h1.b.demo").unwrap();
    assert_ne!(other, www, "it rests for another name");
    assert_eq!(lab.address(0, H1, "www.h1.b.demo"), Some(www));
    // Long after its rest, and in the next process, for the far host's names here too.
    let (handle, _) = lab.binding(0, H1, www).unwrap();
    lab.end(0, handle, EndReason::Hard);
    lab.advance(1000 * S);
    lab.kill(0);
    lab.resume(0, &realm("a.demo"));
    assert_eq!(lab.address(0, H1, "www.h1.b.demo"), Some(www));
    assert_eq!(lab.address(0, H1, "h1.b.demo"), Some(other));
    let at_b = |lab: &Lab| -> Vec<_> {
        lab.nodes[1]
            .gateway
            .bindings(lab.now)
            .iter()
            .map(|binding| (binding.local.clone(), binding.proxy))
            .collect()
    };
    let before = at_b(&lab);
    let tag = lab.nodes[0].gateway.bindings(lab.now)[0].tag;
    let now = lab.now;
    assert!(lab.nodes[0].gateway.terminate_session(tag, now));
    lab.settle();
    assert_eq!(at_b(&lab).len(), 1);
    lab.address(0, H1, "www.h1.b.demo").unwrap();
    lab.address(0, H1, "h1.b.demo").unwrap();
    let proxies =
        |list: &[(_, _)]| list.iter().map(|(_, proxy)| *proxy).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(proxies(&at_b(&lab)), proxies(&before));
}

/// RFC 5382 §5, REQ-5: an established connection outlasts two hours, by the peer's word and over the renewals of C2C.
#[test]
fn p1_what_nobody_limits_lasts_as_long_as_it_is_used() {
    let mut lab = Lab::new();
    let proxy = lab.address(0, H1, "h1.b.demo").unwrap();
    let stands =
        |lab: &Lab| [0, 1].map(|node| lab.nodes[node].bindings.values().copied().collect::<Vec<_>>());
    let before = stands(&lab);
    lab.advance(8 * 3_600 * S);
    assert_eq!(stands(&lab), before);
    assert_eq!(lab.address(0, H1, "h1.b.demo"), Some(proxy));
    // Where one end says how long, both end together.
    let text = realm("b.demo").replace(
        "inbound.from = [\"h1.a.demo\", \"h1.b.demo\"]",
        "inbound = { from = \"*\", hard_ttl = 90 }",
    );
    let mut lab = Lab::with(|_| {}, &realm("a.demo"), &text);
    lab.address(0, H1, "h1.b.demo").unwrap();
    assert_eq!(stands(&lab).map(|all| all[0].hard_s), [90, 90]);
}

#[test]
fn p3_no_answer_outlives_a_peer_that_has_restarted() {
    let mut lab = Lab::new();
    let proxy = lab.address(0, H1, "h1.b.demo").unwrap();
    let local = lab.address(0, H1, "h2.a.demo").unwrap();
    let (_, before) = lab.binding(0, H1, proxy).unwrap();
    assert_eq!(lab.ask(0, H1, "h1.b.demo", RecordType::A).ttl, Some(120));
    lab.kill(1);
    // Nobody knows whether it has lost its side: the answer is believed for a moment.
    lab.unreachable = true;
    let unsure = lab.ask(0, H1, "h1.b.demo", RecordType::A);
    assert_eq!((unsure.address, unsure.ttl), (Some(proxy), Some(1)));
    assert_eq!(lab.ask(0, H1, "h2.a.demo", RecordType::A).ttl, Some(120), "a local pair has no peer");
    lab.unreachable = false;
    lab.restart(1, &realm("b.demo"));
    lab.advance(60 * S);
    // What all earlier answers said leads to the same name again.
    let anew = lab.ask(0, H1, "h1.b.demo", RecordType::A);
    assert_eq!(anew.address, Some(proxy));
    let (_, after) = lab.binding(0, H1, proxy).unwrap();
    assert!(after.far != before.far && lab.binding(0, H1, local).is_some());
    assert_eq!(lab.nodes[0].gateway.bindings(lab.now).len(), 3);
}

/// The peer comes back while the old session still stands here: the new one takes its address over, worker and all.
#[test]
fn p3_the_address_goes_from_the_old_session_to_the_new_one() {
    let mut lab = Lab::new();
    let proxy = lab.address(0, H1, "h1.b.demo").unwrap();
    lab.kill(1);
    lab.restart(1, &realm("b.demo"));
    assert_eq!(lab.address(0, H1, "h1.b.demo"), Some(proxy));
    assert_eq!(lab.nodes[0].bindings.len(), 1);
    let usage = |lab: &Lab| {
        (lab.nodes[0].gateway.pools().slots_used, lab.nodes[0].gateway.hosts(lab.now)[0].bindings)
    };
    assert_eq!(usage(&lab), (vec![1], 1));
    // The same while the worker has yet to let go of the old one.
    lab.kill(1);
    lab.restart(1, &realm("b.demo"));
    lab.nodes[0].workers_stuck = true;
    assert_eq!(lab.address(0, H1, "h1.b.demo"), Some(proxy));
    let figures = ces_gateway::figures(&lab.nodes[0].settings, &lab::platform(1, 1));
    let mut again = ces_gateway::CesSessions::new(&figures);
    lab.nodes[0].gateway.sessions().write_down(|at, change| {
        again.apply(&change, at).unwrap_or_else(|why| panic!("{change:?}: {why}"));
    });
    let names = lab.nodes[0].gateway.sessions().iter().next().unwrap().names().clone();
    let next = |sessions: &ces_gateway::CesSessions| {
        sessions.reservation(H1.into(), 0, names.clone(), lab.now).unwrap()
    };
    assert_eq!(next(&again), next(lab.nodes[0].gateway.sessions()));
}

#[test]
fn a_reload_keeps_what_is_allowed_and_ends_the_rest() {
    let mut lab = Lab::new();
    lab.address(0, H1, "h1.b.demo").unwrap();
    lab.address(0, H2, "h2.b.demo").unwrap();
    lab.address(0, H1, "h2.a.demo").unwrap();
    let reload = |lab: &mut Lab, text: &str| {
        let settings = lab.nodes[0].settings.clone();
        let (registry, policies) = ces_gateway::registry::load(&hosts(text), &settings).unwrap();
        let now = lab.now;
        let reloaded = lab.nodes[0].gateway.reload(settings, registry, policies, now).unwrap();
        lab.settle();
        reloaded
    };
    // The same again changes nothing.
    let same = reload(&mut lab, &realm("a.demo"));
    assert_eq!(same, ces_gateway::Reloaded::default());
    assert_eq!(lab.nodes[0].bindings.len(), 4);
    // h2 loses its policies, h3 goes, h4 comes.
    let text = realm("a.demo").replace("policy = [\"office\", \"choosy\"]", "").replace("h3.", "h4.");
    let changed = reload(&mut lab, &text);
    assert_eq!((changed.hosts_added, changed.hosts_removed, changed.hosts_changed), (1, 1, 0));
    assert_eq!(changed.sessions_terminated, 3);
    assert!(lab.binding(0, H1, FIRST).is_some());
    assert_eq!((lab.nodes[0].bindings.len(), lab.nodes[1].bindings.len()), (1, 1));
    assert_eq!(lab.ask(0, H2, "h2.b.demo", RecordType::A).code, ResponseCode::NXDomain);
    // h1 moves: to the workers it is another host.
    let moved = reload(&mut lab, &realm("a.demo").replace("192.168.0.10\"", "192.168.0.20\""));
    assert_eq!((moved.hosts_changed, moved.sessions_terminated), (1, 1));
    assert!(lab.nodes[0].bindings.is_empty() && lab.nodes[1].bindings.is_empty());
    assert_eq!(lab.ask(0, H1, "h1.b.demo", RecordType::A).code, ResponseCode::Refused);
    assert!(lab.address(0, Ipv4Addr::new(192, 168, 0, 20), "h1.b.demo").is_some());
    assert_eq!(lab.nodes[0].gateway.hosts(lab.now).len(), 3);
}

#[test]
fn a_reload_that_needs_a_restart_changes_nothing() {
    let mut lab = Lab::new();
    lab.address(0, H1, "h1.b.demo").unwrap();
    let mut settings = lab.nodes[0].settings.clone();
    settings.realm.proxy_pool = "10.65.0.0/16".parse().unwrap();
    let now = lab.now;
    let wrong = lab.nodes[0].gateway.reload(settings, Registry::default(), PolicySet::default(), now);
    assert!(wrong.unwrap_err().contains("realm.proxy_pool"));
    assert_eq!(lab.nodes[0].gateway.hosts(now).len(), 3);
    assert_eq!(lab.nodes[0].bindings.len(), 1);
}

#[test]
fn other_resolvers_are_asked_what_the_old_ones_still_owe() {
    let mut lab = Lab::new();
    lab.upstream = Upstream::Silent;
    let token = lab.query(0, H1, "h1.b.demo", RecordType::A);
    lab.upstream = Upstream::Answers;
    let mut settings = lab.nodes[0].settings.clone();
    settings.dns.forward_timeout_ms = 3000;
    let (registry, policies) = ces_gateway::registry::load(&hosts(&realm("a.demo")), &settings).unwrap();
    let now = lab.now;
    lab.nodes[0].gateway.reload(settings, registry, policies, now).unwrap();
    lab.settle();
    assert_eq!(lab.wait(0, token).address, Some(FIRST));
}

#[test]
fn a_peer_is_terminated_with_all_its_sessions() {
    let mut lab = Lab::new();
    lab.address(0, H1, "h1.b.demo").unwrap();
    lab.address(0, H2, "h2.b.demo").unwrap();
    let now = lab.now;
    assert_eq!(lab.nodes[0].gateway.peers(now).len(), 1);
    assert!(lab.nodes[0].gateway.terminate_peer("cesb.demo.", now));
    lab.settle();
    for node in &lab.nodes {
        assert!(node.bindings.is_empty());
        assert_eq!(node.gateway.pools().slots_used, [0]);
    }
    assert!(lab.address(0, H1, "h1.b.demo").is_some(), "and may come again");
}

#[test]
fn a_gateway_that_stops_says_goodbye_and_answers_who_waits() {
    let mut lab = Lab::new();
    lab.address(0, H1, "h1.b.demo").unwrap();
    lab.upstream = Upstream::Silent;
    let forwarded = lab.query(0, H1, "x.example", RecordType::TXT);
    let asked = lab.query(0, H1, "y.example", RecordType::A);
    let now = lab.now;
    lab.nodes[0].gateway.shutdown(false, now);
    lab.settle();
    assert_eq!(lab.reply(0, forwarded).unwrap().code, ResponseCode::ServFail);
    assert_eq!(lab.reply(0, asked).unwrap().code, ResponseCode::ServFail);
    assert_eq!(lab.nodes[0].gateway.pools().waiting, 0);
    assert!(lab.nodes[0].bindings.is_empty());
    assert!(lab.nodes[1].bindings.is_empty(), "{:?}", lab.nodes[1].log);
}

#[test]
fn a_cold_start_takes_one_round_trip_for_the_gateways_and_one_for_the_hosts() {
    let mut lab = Lab::new();
    lab.address(0, H1, "h1.b.demo").unwrap();
    assert_eq!(lab.cetp_frames, 4);
    lab.address(0, H2, "h2.b.demo").unwrap();
    assert_eq!(lab.cetp_frames, 6);
}

#[test]
fn an_alias_leads_to_the_name_that_the_far_gateway_knows() {
    let mut lab = Lab::new();
    lab.alias = Some(("alias.example.".into(), "www.h1.b.demo.".into()));
    let proxy = lab.address(0, H1, "alias.example").unwrap();
    assert_eq!(&*lab.nodes[0].gateway.bindings(lab.now)[0].remote, "www.h1.b.demo.");
    assert_eq!(lab.address(0, H1, "www.h1.b.demo"), Some(proxy));
    assert_eq!(lab.address(0, H1, "alias.example"), Some(proxy));
    assert_eq!(lab.nodes[0].bindings.len(), 1);
    // An alias of a name of our own realm is that name.
    lab.nodes[0].gateway.flush_cache();
    lab.alias = Some(("alias.example.".into(), "h2.a.demo.".into()));
    lab.address(0, H1, "alias.example").unwrap();
    assert!(lab.nodes[0].gateway.bindings(lab.now).iter().any(|b| b.role == SessionOrigin::Local));
    assert_eq!(lab.nodes[0].gateway.pools().waiting, 0);
}

#[test]
fn a_narrow_path_is_believed_in_for_ten_minutes() {
    let mut lab = Lab::new();
    lab.address(0, H1, "h1.b.demo").unwrap();
    let Some((_, Command::SetTunnel(tunnel, _))) =
        lab.nodes[0].commands.iter().find(|(_, c)| matches!(c, Command::SetTunnel(..))).copied()
    else {
        panic!("no tunnel")
    };
    let now = lab.now;
    lab.nodes[0].gateway.handle_event(0, Event::TunnelMtu(tunnel, 1400), now);
    lab.nodes[0].gateway.handle_event(0, Event::TunnelMtu(tunnel, 1450), now);
    lab.settle();
    assert_eq!(lab.nodes[0].gateway.tunnels()[0].mtu, 1400);
    lab.advance(599 * S);
    assert_eq!(lab.nodes[0].gateway.tunnels()[0].mtu, 1400);
    lab.advance(2 * S);
    assert_eq!(lab.nodes[0].gateway.tunnels()[0].mtu, 1500);
}

#[test]
fn a_host_that_is_blocked_while_it_negotiates_gets_no_binding() {
    let mut lab = Lab::new();
    lab.delay = 5 * MS;
    let token = lab.query(0, H1, "h1.b.demo", RecordType::A);
    let now = lab.now;
    assert!(lab.nodes[0].gateway.block_host("h1.a.demo", 60, now));
    assert_ne!(lab.wait(0, token).code, ResponseCode::NoError);
    lab.advance(S);
    for node in &lab.nodes {
        assert!(node.bindings.is_empty());
        assert_eq!(node.gateway.pools().slots_used, [0]);
    }
}

#[test]
fn p12_a_peers_mtu_is_what_a_person_says_and_follows_a_reload() {
    let said = |mtu: u16| {
        move |settings: &mut ces_gateway::CoreSettings| {
            settings.cetp.peer_mtu = [(ces_gateway::names::Name::parse("cesb.demo.").unwrap(), mtu)].into();
        }
    };
    let mut lab = Lab::with(said(1400), &realm("a.demo"), &realm("b.demo"));
    lab.address(0, H1, "h1.b.demo").unwrap();
    let mtus = |lab: &Lab| {
        [0, 1].map(|node| lab.nodes[node].gateway.bindings(lab.now)[0].tunnel.as_ref().unwrap().mtu)
    };
    assert_eq!(mtus(&lab), [1400, 1500], "to that peer alone");
    let mut settings = lab.nodes[0].settings.clone();
    said(1300)(&mut settings);
    let (registry, policies) = ces_gateway::registry::load(&hosts(&realm("a.demo")), &settings).unwrap();
    let now = lab.now;
    lab.nodes[0].gateway.reload(settings, registry, policies, now).unwrap();
    lab.settle();
    assert_eq!(mtus(&lab), [1300, 1500]);
    assert!(
        lab.nodes[0]
            .commands
            .iter()
            .any(|(_, command)| matches!(command, Command::SetTunnel(_, t) if t.mtu == 1300))
    );
}
