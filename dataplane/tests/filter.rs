//! The stateful filter, case by case: rules as a person writes them, packets in, packets out. No NIC.
#![allow(missing_docs)]

mod common;

use ces_dataplane::filter::{Filter, Ruling};
use ces_dataplane::msg::{Command, Event};
use ces_dataplane::nat::Filtering;
use ces_dataplane::nat::exceptions::Exception;
use ces_dataplane::nat::statics::Static;
use ces_dataplane::premises::Premises;
use ces_dataplane::reason::DropReason as Why;
use ces_dataplane::settings::{NatRoom, WorkerSettings};
use ces_dataplane::table::fib::{Fib, Next, Route};
use ces_dataplane::verdict::Verdict;
use common::rules::filter;
use common::*;
use std::sync::Arc;

const SERVER: u32 = 0x0808_0808;
const SERVER_2: u32 = 0x0909_0909;
/// Under which the hosts are seen: none of the gateway's own.
const EXTERNAL: u32 = 0xc633_6442;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const RST: u8 = 0x04;

fn settings_of(filtering: Filtering) -> WorkerSettings {
    let mut settings = settings();
    settings.nat_room = NatRoom { sessions: 64, mappings: 64, hosts: 8, addresses: 2 };
    settings.nat.addresses = vec![address(EXTERNAL)];
    settings.nat.filtering = filtering;
    settings.nat.tell_unasked = false;
    settings
}

/// A gateway with its filter, whose rules count.
struct Filtered {
    gateway: Gateway,
    settings: WorkerSettings,
    filter: Arc<Filter>,
    filters: u16,
}

impl Filtered {
    fn new(rules: &str, filtering: Filtering) -> Self {
        let settings = settings_of(filtering);
        let gateway = Gateway::bare(settings.clone());
        let mut filtered = Self { gateway, settings, filter: filter(rules), filters: 0 };
        filtered.publish(rules);
        filtered.gateway.command(Command::Reach(address(HOST), HOP_HOST));
        filtered.gateway.command(Command::Reach(address(OTHER), HOP_OTHER));
        filtered
    }

    fn publish(&mut self, rules: &str) {
        let route = |network, prefix, next| Route { network, prefix, next };
        let routes = [
            route(0, 0, Next::Via(ROUTER)),
            route(0x0a00_0000, 24, Next::OnLink(INSIDE)),
            route(LOCAL & 0xffff_ff00, 24, Next::OnLink(OUTSIDE)),
        ];
        self.filter = filter(rules);
        self.filters += 1;
        let premises = Premises::new(&self.settings).with_routes(Arc::new(Fib::of(&routes, 1)));
        self.gateway.state.move_in(&mut premises.with_filter(Some(Arc::clone(&self.filter)), self.filters));
    }

    /// What becomes of a packet.
    fn fate(&mut self, side: u8, packet: &Ip) -> Fate {
        let frame = match (side, packet.source) {
            (OUTSIDE, _) => ethernet(MAC_OUT, MAC_ROUTER, 0x0800, &packet.bytes()),
            (_, OTHER) => ethernet(MAC_IN, MAC_OTHER, 0x0800, &packet.bytes()),
            _ => from_host(packet),
        };
        match self.gateway.one(side, &frame) {
            (Verdict::Forward(_), _) => Fate::Passes,
            (Verdict::Drop(why), _) => Fate::Drops(why),
            (Verdict::Reply(_, why), mut out) => {
                let (port, answer) = out.remove(0);
                assert_sound(&answer);
                assert_eq!(port, side);
                Fate::Tells(why, answer[14 + 9], answer)
            }
            (other, _) => panic!("{other:?}"),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Passes,
    Drops(Why),
    /// Drops it and tells the sender, by this protocol.
    Tells(Why, u8, Vec<u8>),
}

fn syn(from: u32, to: u32, port: u16) -> Ip {
    Ip::new(from, to, 6, tcp(4000, port, SYN, &[], &[]))
}

/// A query or its answer.
fn echo(kind: u8, id: u32, sequence: u32) -> Vec<u8> {
    icmp(kind, 0, id << 16 | sequence, b"x")
}

fn datagram(from: u32, to: u32, port: u16) -> Ip {
    Ip::new(from, to, 17, udp(5000, port, b"x"))
}

#[test]
fn the_first_rule_that_fits_decides_about_what_goes_out() {
    let rules = "allow tcp from inside host h1.a.demo to outside 8.8.8.0/24 port 80\n\
                 deny tcp to 8.8.0.0/16\n\
                 reject tcp from any to any port smtp\n\
                 reject udp from inside group staff\n\
                 deny udp from inside 10.0.0.0/8 port 5000 to any port 9\n";
    let mut gateway = Filtered::new(rules, Filtering::default());
    let denied = Fate::Drops(Why::FilterDenied);
    assert_eq!(gateway.fate(INSIDE, &syn(HOST, SERVER, 80)), Fate::Passes);
    assert_eq!(gateway.fate(INSIDE, &syn(HOST, SERVER, 81)), denied);
    assert_eq!(gateway.fate(INSIDE, &syn(OTHER, SERVER, 80)), denied);
    assert_eq!(
        gateway.fate(INSIDE, &syn(OTHER, SERVER_2, 80)),
        Fate::Passes,
        "what no rule decides goes out"
    );
    assert!(matches!(gateway.fate(INSIDE, &syn(HOST, SERVER_2, 25)), Fate::Tells(Why::FilterRejected, 6, _)));
    assert!(matches!(
        gateway.fate(INSIDE, &datagram(OTHER, SERVER_2, 9)),
        Fate::Tells(Why::FilterRejected, 1, _)
    ));
    assert_eq!(gateway.fate(INSIDE, &datagram(HOST, SERVER_2, 9)), denied);
    assert_eq!(gateway.fate(INSIDE, &datagram(HOST, SERVER_2, 10)), Fate::Passes);
    assert_eq!(gateway.filter.counts(), [1, 2, 1, 1, 1]);
    assert_eq!(gateway.gateway.state.counters.sessions_opened, 3);
    // Once a session: what follows asks nobody.
    for _ in 0..3 {
        assert_eq!(gateway.fate(INSIDE, &datagram(HOST, SERVER_2, 10)), Fate::Passes);
    }
    let answer = Ip::new(SERVER, EXTERNAL, 6, tcp(80, 4000, SYN | ACK, &[], &[]));
    assert_eq!(gateway.fate(OUTSIDE, &answer), Fate::Passes, "what was asked for comes back");
    assert_eq!(gateway.filter.counts(), [1, 2, 1, 1, 1]);
}

/// RFC 9293 §3.5.2; RFC 1812 §5.2.7.1: code 13.
#[test]
fn who_is_rejected_is_told_as_his_protocol_tells() {
    let mut gateway = Filtered::new("reject", Filtering::default());
    let Fate::Tells(_, 6, reset) = gateway.fate(INSIDE, &syn(HOST, SERVER, 80)) else { panic!("no reset") };
    let (ip, segment) = (&reset[14..34], &reset[34..]);
    assert_eq!((&reset[..6], &reset[6..12]), (&MAC_HOST[..], &MAC_IN[..]));
    assert_eq!((&ip[12..16], &ip[16..20]), (&SERVER.to_be_bytes()[..], &HOST.to_be_bytes()[..]));
    assert_eq!(
        (&segment[..4], segment.len()),
        (&[0, 80, 4000u16.to_be_bytes()[0], 4000u16.to_be_bytes()[1]][..], 20)
    );
    let sent = syn(HOST, SERVER, 80).bytes();
    let sequence = u32::from_be_bytes(sent[24..28].try_into().unwrap());
    assert_eq!((&segment[4..8], &segment[8..12]), (&[0; 4][..], &sequence.wrapping_add(1).to_be_bytes()[..]));
    assert_eq!(segment[13], RST | ACK);
    let Fate::Tells(_, 1, error) = gateway.fate(INSIDE, &datagram(HOST, SERVER, 80)) else {
        panic!("no error")
    };
    assert_eq!(&error[34..36], [3, 13], "communication administratively prohibited");
    let ping = Ip::new(HOST, SERVER, 1, echo(8, 7000, 1));
    assert!(matches!(gateway.fate(INSIDE, &ping), Fate::Tells(Why::FilterRejected, 1, _)));
}

#[test]
fn types_of_icmp_are_told_apart() {
    let mut gateway = Filtered::new("allow icmp to outside type ping\ndeny icmp", Filtering::default());
    assert_eq!(gateway.fate(INSIDE, &Ip::new(HOST, SERVER, 1, echo(8, 7000, 1))), Fate::Passes);
    assert_eq!(
        gateway.fate(INSIDE, &Ip::new(HOST, SERVER, 1, echo(13, 8000, 1))),
        Fate::Drops(Why::FilterDenied)
    );
    assert_eq!(
        gateway.fate(OUTSIDE, &Ip::new(SERVER, EXTERNAL, 1, echo(0, 7000, 1))),
        Fate::Passes,
        "the answer"
    );
}

#[test]
fn what_comes_from_outside_is_asked_where_it_would_open_a_session() {
    let rules = "allow udp from outside 9.0.0.0/8 to inside host h1.a.demo port 5000\n\
                 reject udp from outside to inside port 5000\n";
    let mut gateway = Filtered::new(rules, Filtering::EndpointIndependent);
    let stranger = |from| Ip::new(from, EXTERNAL, 17, udp(99, 5000, b"x"));
    assert_eq!(gateway.fate(OUTSIDE, &stranger(SERVER_2)), Fate::Drops(Why::Unasked), "no port is open");
    assert_eq!(gateway.fate(INSIDE, &datagram(HOST, 0x0707_0707, 53)), Fate::Passes);
    assert_eq!(
        gateway.fate(OUTSIDE, &stranger(SERVER_2)),
        Fate::Passes,
        "to the host's own address and port"
    );
    assert!(matches!(gateway.fate(OUTSIDE, &stranger(SERVER)), Fate::Tells(Why::FilterRejected, 1, _)));
    assert_eq!(gateway.filter.counts(), [1, 1]);
    // A segment that opens no connection opens no session either.
    let mut gateway = Filtered::new("", Filtering::EndpointIndependent);
    assert_eq!(gateway.fate(INSIDE, &syn(HOST, 0x0707_0707, 80)), Fate::Passes);
    for (flags, fate) in
        [(ACK, Fate::Drops(Why::Unasked)), (RST, Fate::Drops(Why::Unasked)), (SYN, Fate::Passes)]
    {
        let segment = Ip::new(SERVER, EXTERNAL, 6, tcp(99, 4000, flags, &[], &[]));
        assert_eq!(gateway.fate(OUTSIDE, &segment), fate);
    }
}

/// A packet with ACK set and no session is dropped, though a stateless rule would pass it.
#[test]
fn an_acknowledgement_of_nothing_is_dropped() {
    let mut gateway = Filtered::new("allow", Filtering::default());
    let outside = Ip::new(SERVER, EXTERNAL, 6, tcp(80, 4000, ACK, &[], &[]));
    assert_eq!(gateway.fate(OUTSIDE, &outside), Fate::Drops(Why::Unasked));
    let inside = Ip::new(HOST, SERVER, 6, tcp(4000, 80, ACK, &[], &[]));
    assert!(matches!(gateway.fate(INSIDE, &inside), Fate::Tells(Why::NatNoSession, 1, _)));
    assert_eq!(gateway.filter.counts(), [0]);
}

#[test]
fn hosts_that_meet_at_external_addresses_are_judged_once_by_their_own() {
    let rules = "allow udp from inside group staff to inside host h1.a.demo\ndeny udp to inside\n";
    let mut gateway = Filtered::new(rules, Filtering::EndpointIndependent);
    assert_eq!(gateway.fate(INSIDE, &datagram(HOST, SERVER, 53)), Fate::Passes);
    let other = Ip::new(OTHER, SERVER, 17, udp(6000, 53, b"x"));
    assert_eq!(gateway.fate(INSIDE, &other), Fate::Passes);
    assert_eq!(gateway.fate(INSIDE, &Ip::new(OTHER, EXTERNAL, 17, udp(6000, 5000, b"x"))), Fate::Passes);
    assert_eq!(gateway.filter.counts(), [1, 0]);
    assert_eq!(
        gateway.fate(INSIDE, &Ip::new(HOST, EXTERNAL, 17, udp(5000, 6000, b"x"))),
        Fate::Passes,
        "its answer"
    );
    gateway.publish("deny udp from inside group staff to inside");
    let again = Ip::new(OTHER, EXTERNAL, 17, udp(6000, 5000, b"x"));
    assert_eq!(gateway.fate(INSIDE, &again), Fate::Drops(Why::FilterDenied));
}

#[test]
fn sessions_that_new_rules_forbid_end_and_others_go_on() {
    let mut gateway = Filtered::new("", Filtering::default());
    assert_eq!(gateway.fate(INSIDE, &datagram(HOST, SERVER, 53)), Fate::Passes);
    assert_eq!(gateway.fate(INSIDE, &datagram(HOST, SERVER_2, 53)), Fate::Passes);
    assert_eq!(gateway.fate(INSIDE, &Ip::new(HOST, SERVER, 1, echo(8, 7000, 1))), Fate::Passes);
    gateway.publish("deny udp to 8.8.8.8\nreject icmp type timestamp-request");
    let answer = |from, port| Ip::new(from, EXTERNAL, 17, udp(53, port, b"x"));
    assert_eq!(gateway.fate(OUTSIDE, &answer(SERVER, 5000)), Fate::Drops(Why::FilterDenied));
    assert_eq!(gateway.fate(OUTSIDE, &answer(SERVER, 5000)), Fate::Drops(Why::Unasked), "it is gone");
    assert_eq!(gateway.fate(OUTSIDE, &answer(SERVER_2, 5000)), Fate::Passes);
    assert_eq!(
        gateway.fate(OUTSIDE, &Ip::new(SERVER, EXTERNAL, 1, echo(0, 7000, 1))),
        Fate::Passes,
        "not of that type"
    );
    assert_eq!(gateway.gateway.state.counters.sessions_forbidden, 1);
    assert_eq!(gateway.filter.counts(), [0, 0], "what was open is judged, not counted");
    gateway.publish("");
    assert_eq!(gateway.fate(INSIDE, &datagram(HOST, SERVER, 53)), Fate::Passes);
}

#[test]
fn the_packet_itself_may_decide() {
    let rules = "deny tcp from inside flags ece, cwr\n\
                 deny tcp to any port 99 flags !ece\n\
                 deny udp to any dscp ef\n\
                 deny icmp to any length 101-65535\n\
                 deny udp to any fragmented\n\
                 deny sctp from on outside\n\
                 deny gre from on inside to on outside whole\n";
    let mut gateway = Filtered::new(rules, Filtering::default());
    let denied = Fate::Drops(Why::FilterDenied);
    let flags = |port, flags| Ip::new(HOST, SERVER, 6, tcp(4000, port, flags, &[], &[]));
    assert_eq!(gateway.fate(INSIDE, &flags(80, SYN | 0xc0)), denied, "ECN is asked for (RFC 3168 §6.1.1)");
    assert_eq!(gateway.fate(INSIDE, &flags(80, SYN)), Fate::Passes);
    assert_eq!(gateway.fate(INSIDE, &flags(99, SYN)), denied);
    assert_eq!(gateway.fate(INSIDE, &flags(99, SYN | 0x40)), Fate::Passes);
    assert_eq!(gateway.fate(INSIDE, &datagram(HOST, SERVER, 9).tos(46 << 2)), denied);
    assert_eq!(gateway.fate(INSIDE, &datagram(HOST, SERVER, 9).tos(46)), Fate::Passes);
    let ping = |id: u32, bytes| Ip::new(HOST, SERVER, 1, icmp(8, 0, id << 16 | 1, &vec![7; bytes]));
    assert_eq!(gateway.fate(INSIDE, &ping(7000, 73)), denied, "101 bytes");
    assert_eq!(gateway.fate(INSIDE, &ping(7001, 72)), Fate::Passes);
    assert_eq!(gateway.fate(INSIDE, &datagram(HOST, SERVER, 10).fragment(0x2000)), denied);
    assert_eq!(gateway.fate(INSIDE, &datagram(HOST, SERVER, 11)), Fate::Passes);
    assert_eq!(gateway.fate(INSIDE, &Ip::new(HOST, SERVER, 132, vec![0; 20])), Fate::Passes);
    assert_eq!(gateway.fate(INSIDE, &Ip::new(HOST, SERVER, 47, vec![0; 20])), denied);
    assert_eq!(gateway.filter.counts(), [1, 1, 1, 1, 1, 0, 1]);
}

/// What was seen of the first packet is remembered; its length is not, and then counts in favour.
#[test]
fn what_stands_is_judged_by_its_first_packet() {
    let mut gateway = Filtered::new("", Filtering::default());
    let marked = |port| datagram(HOST, SERVER, port).tos(46 << 2);
    assert_eq!(gateway.fate(INSIDE, &marked(53)), Fate::Passes);
    assert_eq!(gateway.fate(INSIDE, &datagram(HOST, SERVER, 54)), Fate::Passes);
    gateway.publish("deny udp dscp ef\nallow udp length 1000-2000\ndeny");
    assert_eq!(gateway.fate(INSIDE, &datagram(HOST, SERVER, 53)), Fate::Drops(Why::FilterDenied));
    assert_eq!(gateway.fate(INSIDE, &marked(54)), Fate::Passes);
    gateway.publish("allow udp length 1-2000");
    assert_eq!(gateway.fate(INSIDE, &datagram(HOST, SERVER, 55).fragment(0x2000)), Fate::Passes);
    gateway.publish("deny udp fragmented");
    assert_eq!(gateway.fate(INSIDE, &datagram(HOST, SERVER, 55)), Fate::Drops(Why::FilterDenied));
    assert_eq!(gateway.fate(INSIDE, &datagram(HOST, SERVER, 54)), Fate::Passes);
    gateway.publish("deny udp from on inside to on outside");
    assert_eq!(gateway.fate(INSIDE, &datagram(HOST, SERVER, 54)), Fate::Drops(Why::FilterDenied));
}

#[test]
fn a_rule_opens_as_many_sessions_a_second_as_its_rates_say() {
    let mut gateway = Filtered::new("allow udp rate 5, 3 per source\nallow", Filtering::default());
    let passed = |gateway: &mut Filtered, host, ports: std::ops::Range<u16>| {
        let fates = ports.map(|port| gateway.fate(INSIDE, &datagram(host, SERVER, port)));
        fates.filter(|fate| *fate == Fate::Passes).count()
    };
    assert_eq!(passed(&mut gateway, HOST, 1..9), 3);
    assert_eq!(passed(&mut gateway, OTHER, 1..9), 2, "of five for all");
    assert_eq!(gateway.fate(INSIDE, &datagram(OTHER, SERVER, 8)), Fate::Drops(Why::FilterRate));
    assert_eq!(gateway.fate(INSIDE, &datagram(HOST, SERVER, 1)), Fate::Passes, "what is open asks nobody");
    assert_eq!((gateway.filter.counts(), gateway.filter.exceeded()), (vec![17, 0], vec![12, 0]));
    gateway.gateway.now += SECOND + 100;
    assert_eq!(passed(&mut gateway, HOST, 20..30), 3);
    gateway.publish("allow udp rate 1");
    assert_eq!(gateway.fate(INSIDE, &datagram(HOST, SERVER, 20)), Fate::Passes, "and is not counted anew");
    assert_eq!(passed(&mut gateway, HOST, 40..50), 1);
}

#[test]
fn decisions_are_told_as_many_as_can_be_read() {
    let mut gateway =
        Filtered::new("deny tcp to any port 25 log\nallow udp\nreject icmp log", Filtering::default());
    gateway.gateway.events();
    assert_eq!(gateway.fate(INSIDE, &syn(HOST, SERVER, 25)), Fate::Drops(Why::FilterDenied));
    assert_eq!(gateway.fate(INSIDE, &datagram(HOST, SERVER, 53)), Fate::Passes);
    let told = |gateway: &mut Filtered| {
        let events = gateway.gateway.events().into_iter();
        let decided = |event| match event {
            Event::Decided(filter, decision, asked) => Some((filter, decision, asked)),
            _ => None,
        };
        events.filter_map(decided).collect::<Vec<_>>()
    };
    let [(filter, decision, asked)] = told(&mut gateway)[..] else { panic!("one decision") };
    assert_eq!((filter, decision.rule, decision.fate), (1, 0, Ruling::Denied));
    assert_eq!((asked.source, asked.destination, asked.destination_port), (HOST, SERVER, 25));
    assert_eq!((asked.seen.mark, asked.seen.length), (SYN, 40));
    for _ in 0..150 {
        gateway.fate(INSIDE, &syn(HOST, SERVER, 25));
    }
    let more = told(&mut gateway).len();
    let counters = &gateway.gateway.state.counters;
    assert_eq!((more, counters.decisions_told, counters.decisions_suppressed), (99, 100, 51));
}

/// RFC 3704 §2.2; RFC 2827; RFC 1812 §5.3.5.2.
#[test]
fn spoofed_sources_and_directed_broadcasts_open_nothing() {
    let mut gateway = Filtered::new("allow", Filtering::EndpointIndependent);
    assert_eq!(gateway.fate(INSIDE, &datagram(HOST, 0x0707_0707, 53)), Fate::Passes);
    let inside_from_outside = Ip::new(OTHER, EXTERNAL, 17, udp(99, 5000, b"x"));
    assert_eq!(gateway.fate(OUTSIDE, &inside_from_outside), Fate::Drops(Why::SourceSpoofed));
    let outside_from_inside = datagram(SERVER, SERVER_2, 53);
    assert_eq!(gateway.fate(INSIDE, &outside_from_inside), Fate::Drops(Why::SourceSpoofed));
    for broadcast in [(EXTERNAL & 0xffff_ff00) | 0xff, u32::MAX] {
        assert_eq!(gateway.fate(INSIDE, &datagram(HOST, broadcast, 53)), Fate::Drops(Why::Broadcast));
        let ping = Ip::new(HOST, broadcast, 1, echo(8, 7000, 1));
        assert_eq!(gateway.fate(INSIDE, &ping), Fate::Drops(Why::Broadcast));
    }
    // The way back leads elsewhere: by an inside port.
    let route = |network, prefix, next| Route { network, prefix, next };
    let routes = [route(0, 0, Next::Via(ROUTER)), route(0x0900_0000, 8, Next::OnLink(INSIDE))];
    let premises = Premises::new(&gateway.settings).with_routes(Arc::new(Fib::of(&routes, 9)));
    gateway.gateway.state.move_in(&mut premises.with_filter(None, 9));
    let elsewhere = Ip::new(SERVER_2, EXTERNAL, 17, udp(99, 5000, b"x"));
    assert_eq!(gateway.fate(OUTSIDE, &elsewhere), Fate::Drops(Why::SourceSpoofed));
}

/// A gateway whose settings a test has changed.
fn filtered(rules: &str, change: impl FnOnce(&mut WorkerSettings)) -> Filtered {
    let mut gateway = Filtered::new("allow", Filtering::default());
    change(&mut gateway.settings);
    gateway.publish(rules);
    gateway
}

/// A static mapping lets in from everywhere what no rule forbids, which see the host under its own address and port.
#[test]
fn rules_judge_what_comes_to_a_static_mapping() {
    let net = |bits: u32| address(bits).into();
    let line = |external, host| Static {
        external: net(external),
        inside: net(host),
        protocol: None,
        port: None,
        ports: None,
        inside_port: None,
    };
    let lines = vec![
        Static { port: Some(80), inside_port: Some(8080), ..line(EXTERNAL, HOST) },
        line(EXTERNAL + 1, OTHER),
    ];
    let rules = "allow tcp from outside to inside host h1.a.demo port 8080\n\
                 deny tcp from outside to inside group staff port 81\n\
                 deny icmp from outside\n\
                 deny tcp from inside group staff to inside host h1.a.demo\n";
    let mut gateway = filtered(rules, |settings| settings.nat.statics = lines.into());
    let denied = Fate::Drops(Why::FilterDenied);
    assert_eq!(gateway.fate(OUTSIDE, &syn(SERVER, EXTERNAL, 80)), Fate::Passes);
    assert_eq!(gateway.fate(OUTSIDE, &syn(SERVER, EXTERNAL + 1, 81)), denied);
    assert_eq!(gateway.fate(OUTSIDE, &syn(SERVER, EXTERNAL + 1, 82)), Fate::Passes);
    assert_eq!(gateway.fate(OUTSIDE, &Ip::new(SERVER, EXTERNAL + 1, 1, echo(8, 7, 1))), denied);
    assert_eq!(gateway.fate(INSIDE, &syn(OTHER, EXTERNAL, 80)), denied, "between hosts as they are inside");
    assert_eq!(gateway.fate(INSIDE, &syn(HOST, EXTERNAL + 1, 99)), Fate::Passes);
}

/// RFC 6888 §3, REQ-6: between two networks nothing is translated, and the state is the same: answers come in, and what a rule
/// allows; everything else does not.
#[test]
fn exceptions_are_routed_as_they_are_and_filtered() {
    let pair = Exception { inside: address(HOST).into(), outside: "8.8.8.0/24".parse().unwrap() };
    let rules = "allow tcp from outside 8.8.8.0/24 to inside host h1.a.demo port 22\n";
    for filter in [rules, "allow tcp from outside to inside port 99\n"] {
        let mut gateway = filtered(filter, |settings| settings.nat.exceptions = vec![pair].into());
        let seen = |gateway: &mut Filtered, side: u8, packet: &Ip| {
            let frame = if side == OUTSIDE {
                ethernet(MAC_OUT, MAC_ROUTER, 0x0800, &packet.bytes())
            } else {
                from_host(packet)
            };
            let (verdict, out) = gateway.gateway.one(side, &frame);
            assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
            assert_sound(&out[0].1);
            assert_eq!(out[0].1[26..34], packet.bytes()[12..20], "as it was");
            assert_eq!(out[0].1[34..38], packet.bytes()[20..24], "as it was");
        };
        seen(&mut gateway, INSIDE, &datagram(HOST, SERVER, 53));
        seen(&mut gateway, OUTSIDE, &Ip::new(SERVER, HOST, 17, udp(53, 5000, b"a")));
        seen(&mut gateway, INSIDE, &Ip::new(HOST, SERVER, 1, echo(8, 7, 1)));
        seen(&mut gateway, OUTSIDE, &Ip::new(SERVER, HOST, 1, echo(0, 7, 1)));
        seen(&mut gateway, INSIDE, &Ip::new(HOST, SERVER, 50, vec![5; 20]));
        seen(&mut gateway, OUTSIDE, &Ip::new(SERVER, HOST, 50, vec![5; 20]));
        // An error of a router behind keeps its source.
        let quoted = Ip::new(SERVER, HOST, 17, udp(53, 5000, b"a")).bytes();
        let error = Ip::new(0x0a00_0063, SERVER, 1, icmp(3, 1, 0, &quoted));
        let (_, out) = gateway.gateway.one(INSIDE, &from_host(&error));
        assert_eq!(out[0].1[26..30], 0x0a00_0063u32.to_be_bytes());
        for (packet, why) in [
            (datagram(SERVER, HOST, 54), Why::Unasked),
            (Ip::new(SERVER, HOST, 1, echo(8, 9, 1)), Why::Unasked),
            (Ip::new(SERVER, HOST, 6, tcp(4000, 22, ACK, &[], &[])), Why::Unasked),
            (syn(SERVER_2, HOST, 22), Why::Unasked),
            (syn(OTHER, HOST, 22), Why::SourceSpoofed),
        ] {
            assert_eq!(gateway.fate(OUTSIDE, &packet), Fate::Drops(why), "{packet:?}");
        }
        if filter == rules {
            seen(&mut gateway, OUTSIDE, &syn(SERVER, HOST, 22));
            // Others go out as ever, and so does the host to others.
            let (_, out) = gateway.gateway.one(INSIDE, &from_host(&syn(HOST, SERVER_2, 80)));
            assert_eq!(out[0].1[26..30], EXTERNAL.to_be_bytes());
            // Without the rule, what it let in ends; without the exception, all of it.
            gateway.publish("deny udp to any port 1\n");
            assert_eq!(gateway.fate(OUTSIDE, &syn(SERVER, HOST, 22)), Fate::Drops(Why::FilterDenied));
            seen(&mut gateway, INSIDE, &datagram(HOST, SERVER, 53));
            gateway.settings.nat.exceptions = Vec::new().into();
            gateway.settings.translations += 1;
            gateway.publish("allow");
            assert_eq!(gateway.fate(INSIDE, &datagram(HOST, SERVER, 53)), Fate::Drops(Why::NatChanged));
            assert_eq!(gateway.fate(INSIDE, &datagram(HOST, SERVER, 53)), Fate::Passes);
            gateway.gateway.state.tick(SECOND);
            assert_eq!(gateway.gateway.state.counters.sessions_changed, 3);
        }
    }
}
