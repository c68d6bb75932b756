//! NAT44 by several workers: hosts of different workers at each other's external addresses, and the same traffic through 1, 2 and
//! 4 workers. No NIC.
#![allow(missing_docs)]

mod common;

use ces_dataplane::msg::{Command, HopId, Neighbour};
use ces_dataplane::nat::Filtering;
use ces_dataplane::nat::statics::Static;
use ces_dataplane::premises::Premises;
use ces_dataplane::reason::DropReason as Why;
use ces_dataplane::settings::{NatRoom, WorkerSettings};
use ces_dataplane::table::fib::Fib;
use ces_dataplane::tag::worker_of;
use ces_dataplane::verdict::Verdict;
use common::dmz::*;
use common::nat::*;
use common::rules::filter_of;
use common::workers::Workers;
use common::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The addresses of the hosts of the realm and of those in the DMZ that are translated.
const EXTERNAL: [u32; 2] = [0xc633_6442, 0xc633_6443];
/// Hosts of the realm: of two workers they are one's and the other's, of four of each.
const HOSTS: [u32; 5] = [HOST, OTHER, HOST + 2, HOST + 3, HOST + 5];
/// One of them has an external address for itself.
const WHOLE: u32 = 0xc633_6450;

fn settings() -> WorkerSettings {
    let mut settings = nat_settings();
    add_dmz(&mut settings);
    settings.nat_room = NatRoom { sessions: 512, mappings: 512, hosts: 32, addresses: 2 };
    settings.nat.addresses = EXTERNAL.map(address).to_vec();
    settings.nat.reserve_percent = 0;
    let net = |bits| address(bits).into();
    let (external, inside) = (net(WHOLE), net(HOSTS[4]));
    let whole = Static { external, inside, protocol: None, port: None, ports: None, inside_port: None };
    settings.nat.statics = vec![whole].into();
    settings
}

fn premises(workers: &Workers, rules: &str, generation: u16) -> Vec<Premises> {
    let fib = Arc::new(Fib::of(&dmz_routes(), generation));
    let filter = (!rules.is_empty()).then(|| filter_of(rules, workers.0.len()));
    let of = |(number, worker): (usize, &Gateway)| {
        let premises = Premises::new(&worker.settings).with_routes(Arc::clone(&fib));
        premises.with_filter(filter.clone(), generation).of_worker(number)
    };
    workers.0.iter().enumerate().map(of).collect()
}

/// What a reload does.
fn rule(workers: &mut Workers, rules: &str, generation: u16) {
    let all = premises(workers, rules, generation);
    for (worker, mut premises) in workers.0.iter_mut().zip(all) {
        worker.state.move_in(&mut premises);
    }
}

/// So many workers of a gateway with these rules.
fn workers(count: u32, settings: &WorkerSettings, rules: &str) -> Workers {
    let mut workers = Workers::new(count, settings, Gateway::bare);
    rule(&mut workers, rules, 1);
    for (number, host) in HOSTS.into_iter().chain([WEB, BACK]).enumerate() {
        let (port, hop) = (port_of(host), HopId(4 + number as u32));
        workers.command(Command::SetHop(hop, Neighbour { port, mac: Some(mac_of(host)), pin: None }));
        workers.command(Command::Reach(address(host), hop));
    }
    workers
}

fn port_of(host: u32) -> u8 {
    match host {
        WEB | BACK => DMZ,
        host if host >> 8 == HOST >> 8 => INSIDE,
        _ => OUTSIDE,
    }
}

fn mac_of(host: u32) -> [u8; 6] {
    let [a, b, c, d] = host.to_be_bytes();
    if port_of(host) == OUTSIDE { MAC_ROUTER } else { [2, 0, a, b, c, d] }
}

/// A frame with this packet, as its sender sends it, and by which port.
fn from(host: u32, packet: &Ip) -> (u8, Vec<u8>) {
    let port = port_of(host);
    let gateway = [MAC_IN, MAC_OUT, MAC_DMZ][usize::from(port)];
    (port, ethernet(gateway, mac_of(host), 0x0800, &packet.bytes()))
}

type End = (u32, u16);

/// A packet of UDP, TCP (which opens, answers, or goes on), or a query of ICMP or its answer.
fn packet(protocol: u8, source: End, destination: End, flags: u8) -> Ip {
    let payload = match protocol {
        1 if flags & ACK == 0 => icmp(8, 0, u32::from(source.1) << 16 | 1, b"ping"),
        1 => icmp(0, 0, u32::from(destination.1) << 16 | 1, b"ping"),
        6 => tcp(source.1, destination.1, flags, &[], b"x"),
        _ => udp(source.1, destination.1, b"x"),
    };
    Ip::new(source.0, destination.0, protocol, payload).fragment(0)
}

/// Both ends of a packet that leaves; of a query of ICMP the identifier stands for the port of its host, which is one of ours.
fn ends(frame: &[u8]) -> (End, End) {
    let (source, from, destination, to) = flow(frame);
    match (frame[23], frame[34]) {
        (1, 8) => ((source, (word(frame, 24) >> 16) as u16), (destination, 0)),
        (1, 0) => ((source, 0), (destination, (word(frame, 24) >> 16) as u16)),
        _ => ((source, from), (destination, to)),
    }
}

/// Two hosts of different workers, with the external port that the second has because it sent something to a server.
fn met(filtering: Filtering, rules: &str) -> (Workers, End) {
    let mut settings = settings();
    settings.nat.filtering = filtering;
    let mut workers = workers(2, &settings, rules);
    assert_ne!(worker_of(HOST, 2), worker_of(OTHER, 2));
    let (port, frame) = from(OTHER, &packet(17, (OTHER, 6000), (SERVER, 53), 0));
    let at = ends(&workers.sent(0, port, &frame).1).0;
    (workers, at)
}

/// RFC 4787 §6, REQ-9, between hosts of two workers: each sees the other as everybody does, whatever worker a packet comes to.
#[test]
fn hosts_of_two_workers_meet_at_their_external_addresses() {
    for arrival in [0, 1] {
        let (mut workers, at) = met(Filtering::EndpointIndependent, "");
        let hello = packet(17, (HOST, 5000), at, 0);
        let (port, frame) = workers.sent(arrival, INSIDE, &from(HOST, &hello).1);
        let (seen, there) = ends(&frame);
        assert_eq!((port, there, frame[22]), (INSIDE, (OTHER, 6000), 63), "one hop");
        assert!(EXTERNAL.contains(&seen.0) && frame[..6] == mac_of(OTHER));
        let answer = packet(17, (OTHER, 6000), seen, 0);
        let (port, frame) = workers.sent(arrival, INSIDE, &from(OTHER, &answer).1);
        assert_eq!((port, ends(&frame)), (INSIDE, (at, (HOST, 5000))));
        // The same again: both sessions stand.
        let again = workers.sent(arrival, INSIDE, &from(HOST, &hello).1).1;
        assert_eq!(ends(&again), (seen, (OTHER, 6000)));
        let live: u64 = workers
            .0
            .iter_mut()
            .map(|worker| (worker.state.take_stock(), worker.state.counters.sessions_live).1)
            .sum();
        assert_eq!(live, 3, "one to the server, and one of each host to the other");
    }
}

/// Nobody has sent there from the other side: as for a stranger, by the filtering.
#[test]
fn a_host_of_another_worker_is_let_in_as_a_stranger_is() {
    for (filtering, is_let) in [
        (Filtering::EndpointIndependent, true),
        (Filtering::AddressDependent, false),
        (Filtering::AddressAndPortDependent, false),
    ] {
        let (mut workers, at) = met(filtering, "");
        let (port, frame) = from(HOST, &packet(17, (HOST, 5000), at, 0));
        let outcome = workers.arrive(0, port, &frame);
        assert_eq!(matches!(outcome.verdict, Verdict::Forward(_)), is_let, "{filtering:?}");
        assert!(is_let || outcome.verdict == Verdict::Drop(Why::Unasked));
    }
}

/// The rules see both hosts under their inside addresses, and who is refused is told by the worker that refused.
#[test]
fn rules_see_the_host_of_another_worker() {
    let rules = "reject udp from 10.0.0.10 to 10.0.0.11 port 6000 name no\ndeny udp from outside to inside\n";
    let (mut workers, at) = met(Filtering::EndpointIndependent, rules);
    let (port, frame) = from(HOST, &packet(17, (HOST, 5000), at, 0));
    let refused = workers.arrive(0, port, &frame);
    assert!(matches!(refused.verdict, Verdict::Reply(_, Why::FilterRejected)), "{:?}", refused.verdict);
    let (to, error) = &refused.out[0];
    assert_eq!((*to, word(error, 16), error[34], error[35]), (INSIDE, HOST, 3, 13));
    assert_eq!(ends(&error[28..]), ((HOST, 5000), at), "quoted as it was sent");
    let (port, frame) = from(HOSTS[2], &packet(17, (HOSTS[2], 5000), at, 0));
    assert_eq!(ends(&workers.sent(0, port, &frame).1).1, (OTHER, 6000), "it is no stranger");
}

/// Sessions that new rules forbid end, whichever side sends next.
#[test]
fn rules_that_change_are_heeded_between_workers() {
    for first in [HOST, OTHER] {
        let (mut workers, at) = met(Filtering::EndpointIndependent, "allow");
        let there = packet(17, (HOST, 5000), at, 0);
        let seen = ends(&workers.sent(0, INSIDE, &from(HOST, &there).1).1).0;
        let back = packet(17, (OTHER, 6000), seen, 0);
        workers.sent(0, INSIDE, &from(OTHER, &back).1);
        let (frame, wrong) =
            if first == HOST { (from(HOST, &there).1, 5001) } else { (from(OTHER, &back).1, 5001) };
        rule(&mut workers, &format!("deny udp from 10.0.0.10 port {wrong} to 10.0.0.11"), 2);
        workers.sent(0, INSIDE, &frame);
        rule(
            &mut workers,
            "deny udp from 10.0.0.10 port 5000 to 10.0.0.11 port 6000\ndeny udp from outside",
            3,
        );
        let outcome = workers.arrive(0, INSIDE, &frame);
        assert_eq!(outcome.verdict, Verdict::Drop(Why::FilterDenied), "{first:#x}");
        assert!(matches!(workers.arrive(0, INSIDE, &frame).verdict, Verdict::Drop(_)));
    }
}

/// RFC 7857 §12, RFC 5508 §4: errors about what went from one to the other, from either and from a router behind.
#[test]
fn errors_find_their_way_between_workers() {
    let (mut workers, at) = met(Filtering::EndpointIndependent, "");
    let (port, frame) = from(HOST, &packet(17, (HOST, 5000), at, 0));
    let arrived = workers.sent(0, port, &frame).1;
    let seen = ends(&arrived).0;
    let router = 0x0a00_0063;
    for (sender, source) in [(OTHER, at.0), (router, at.0)] {
        let error = Ip::new(sender, seen.0, 1, icmp(3, 3, 0, &arrived[14..]));
        let (port, error) = workers.sent(0, INSIDE, &ethernet(MAC_IN, mac_of(OTHER), 0x0800, &error.bytes()));
        assert_eq!((port, word(&error, 12), word(&error, 16)), (INSIDE, source, HOST));
        assert_eq!(ends(&error[28..]), ((HOST, 5000), at), "as it was sent");
    }
    // About what nobody has sent.
    let forged = packet(17, (seen.0, seen.1 ^ 1), (OTHER, 6000), 0);
    let error = from(OTHER, &Ip::new(OTHER, seen.0, 1, icmp(3, 3, 0, &forged.bytes())));
    assert!(!matches!(workers.arrive(0, error.0, &error.1).verdict, Verdict::Forward(_)));
    // One that was too large is told who sent it, which narrows what it sends.
    let large = Ip::new(HOST, at.0, 17, udp(5000, at.1, &[0; 1400]));
    let narrow = HopId(5);
    for worker in &mut workers.0 {
        worker.settings.ports[usize::from(INSIDE)].mtu = 1000;
    }
    rule(&mut workers, "", 2);
    workers.command(Command::SetHop(narrow, Neighbour { port: INSIDE, mac: Some(mac_of(OTHER)), pin: None }));
    let told = workers.arrive(0, INSIDE, &from(HOST, &large).1);
    assert!(matches!(told.verdict, Verdict::Reply(_, Why::TooBig)), "{:?}", told.verdict);
    assert_eq!(word(&told.out[0].1, 16), HOST);
    // And one whose time is over.
    let late = workers.arrive(0, INSIDE, &from(HOST, &packet(17, (HOST, 5000), at, 0).ttl(1)).1);
    assert!(matches!(late.verdict, Verdict::Reply(_, Why::TtlExceeded)), "{:?}", late.verdict);
}

/// Fragments, in order and out of order; the two halves know them by the same numbers.
#[test]
fn fragments_find_their_way_between_workers() {
    let (mut workers, at) = met(Filtering::EndpointIndependent, "");
    let datagram = packet(17, (HOST, 5000), at, 0);
    let payload = &datagram.payload;
    let part = |offset: u16, more: u16, data: &[u8]| {
        let mut part = datagram.clone().fragment(more << 13 | offset).raw();
        part.payload = data.to_vec();
        from(HOST, &part).1
    };
    let mut whole = payload.clone();
    whole.resize(24, 7);
    let later = workers.arrive(0, INSIDE, &part(2, 0, &whole[16..]));
    assert!(matches!(later.verdict, Verdict::HoldLater(_)), "{:?}", later.verdict);
    let first = workers.sent(0, INSIDE, &part(0, 1, &whole[..16])).1;
    assert_eq!(ends(&first).1, (OTHER, 6000));
    let later = workers.sent(0, INSIDE, &part(2, 0, &whole[16..])).1;
    assert_eq!((word(&later, 12), word(&later, 16)), (ends(&first).0.0, OTHER));
}

/// Fragments from the world: a port brings all of a packet to one worker, whoever owns what it is for (its hash is of addresses
/// alone), which knows by the first where the others belong. The others may come first.
#[test]
fn fragments_from_the_world_find_their_worker() {
    for arrival in [0, 1] {
        for (host, protocol) in [(HOST, 17), (OTHER, 17), (HOST, 6), (OTHER, 1)] {
            let mut workers = workers(2, &settings(), "");
            let remote = (SERVER, if protocol == 1 { 0 } else { 53 });
            let (port, frame) = from(host, &packet(protocol, (host, 6000), remote, SYN));
            let external = ends(&workers.sent(0, port, &frame).1).0;
            let answer = packet(protocol, remote, external, SYN | ACK);
            let mut whole = answer.bytes()[20..].to_vec();
            whole.resize(64, 7);
            let part = |offset: u16, more: u16, data: &[u8]| {
                let mut part = answer.clone().fragment(more << 13 | offset).raw();
                part.payload = data.to_vec();
                from(SERVER, &part).1
            };
            let (first, later) = (part(0, 1, &whole[..40]), part(5, 0, &whole[40..]));
            if protocol != 1 {
                let early = workers.arrive(arrival, OUTSIDE, &later);
                assert!(matches!(early.verdict, Verdict::HoldLater(_)), "{:?}", early.verdict);
                assert_eq!(early.by, arrival, "it waits where its first one is expected");
            }
            for fragment in [&first, &later] {
                let (by, frame) = workers.sent(arrival, OUTSIDE, fragment);
                assert_eq!((by, word(&frame, 12), word(&frame, 16)), (INSIDE, SERVER, host));
            }
            assert!(workers.0[arrival].state.take_came().is_some(), "the worker decides on what waits there");
        }
    }
}

/// A host with an address of its own answers pings of a host of another worker, and protocols without ports.
#[test]
fn what_is_configured_is_reached_from_another_worker() {
    let mut workers = workers(2, &settings(), "");
    let (asker, asked) = (OTHER, HOSTS[4]);
    assert_ne!(worker_of(asker, 2), worker_of(asked, 2));
    let ping = workers.sent(0, INSIDE, &from(asker, &packet(1, (asker, 77), (WHOLE, 0), 0)).1).1;
    let (seen, there) = ends(&ping);
    assert_eq!(there, (asked, 0));
    let pong = workers.sent(0, INSIDE, &from(asked, &packet(1, (asked, 0), seen, ACK)).1).1;
    assert_eq!(ends(&pong), ((WHOLE, 0), (asker, 77)));
    let syn = workers.sent(1, INSIDE, &from(asker, &packet(6, (asker, 5000), (WHOLE, 80), SYN)).1).1;
    let seen = ends(&syn).0;
    let answer = packet(6, (asked, 80), seen, SYN | ACK);
    assert_eq!(ends(&workers.sent(1, INSIDE, &from(asked, &answer).1).1), ((WHOLE, 80), (asker, 5000)));
}

/// What a packet becomes, told so that it is the same whatever the number of workers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// It leaves by a port, between two ends.
    Leaves(u8, Name, Name),
    Refused(Why),
    Other(String),
}

/// An end: an external port is told by whose it is and by its address, for its number is its worker's to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Itself(End),
    Of(End, u32),
}

/// The traffic: who sends what, where ends that are external are told by which flow made them so.
#[derive(Clone, Debug)]
enum Step {
    Out {
        host: usize,
        port: u16,
        to: usize,
        protocol: u8,
    },
    /// The other side of a flow answers, or its host goes on.
    Goes {
        which: prop::sample::Index,
        back: bool,
    },
    /// Somebody else sends to the external port of a flow.
    Strange {
        which: prop::sample::Index,
        same_host: bool,
    },
    /// A host sends there.
    Turns {
        host: usize,
        port: u16,
        which: prop::sample::Index,
    },
    /// A router says that the packets of a flow do not arrive.
    Fails {
        which: prop::sample::Index,
    },
    Wait {
        seconds: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let host = || 0usize..7;
    let protocol = || prop_oneof![Just(17u8), Just(6), Just(1)];
    let which = any::<prop::sample::Index>;
    prop_oneof![
        5 => (host(), 5000u16..5003, 0usize..4, protocol())
            .prop_map(|(host, port, to, protocol)| Step::Out { host, port, to, protocol }),
        5 => (which(), any::<bool>()).prop_map(|(which, back)| Step::Goes { which, back }),
        2 => (which(), any::<bool>()).prop_map(|(which, same_host)| Step::Strange { which, same_host }),
        4 => (host(), 5000u16..5003, which()).prop_map(|(host, port, which)| Step::Turns { host, port, which }),
        1 => which().prop_map(|which| Step::Fails { which }),
        1 => (1u64..100).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// A flow that was seen: its host's end, the other, and what each is to the other.
#[derive(Clone, Copy, Debug)]
struct Seen {
    protocol: u8,
    host: End,
    external: End,
    remote: End,
    /// What the other sends from.
    other: End,
    /// When a packet of it last passed.
    passed: u64,
}

/// Seconds for which what passed stands for certain: a query of ICMP has 60 of them.
const STANDS: u64 = 60;

/// One number of workers, with what is known of external ports there.
struct Run {
    workers: Workers,
    flows: Vec<Seen>,
    /// Whose an external port is, and when a packet of it was last seen to pass.
    owners: BTreeMap<(End, u8), (End, u64)>,
    clock: u64,
    packets: u64,
    passed: u64,
    turn: usize,
}

impl Run {
    fn new(count: u32, settings: &WorkerSettings, rules: &str) -> Self {
        let workers = workers(count, settings, rules);
        let (flows, owners) = (Vec::new(), BTreeMap::new());
        Self { workers, flows, owners, clock: 0, packets: 0, passed: 0, turn: 0 }
    }

    fn name(&self, end: End, protocol: u8) -> Name {
        let owner = self.owners.get(&(end, protocol)).filter(|_| EXTERNAL.contains(&end.0));
        owner.map_or(Name::Itself(end), |&(host, _)| Name::Of(host, end.0))
    }

    /// Sends a packet to whichever worker is next, and says what becomes of it.
    fn send(&mut self, sender: End, packet: &Ip, protocol: u8) -> (Fate, Option<(End, End)>) {
        self.turn += 1;
        self.packets += 1;
        let (port, frame) = from(sender.0, packet);
        let at = self.turn % self.workers.0.len();
        let outcome = self.workers.arrive(at, port, &frame);
        let fate = match outcome.verdict {
            Verdict::Forward(_) => {
                self.passed += 1;
                let (by, frame) = &outcome.out[0];
                assert_sound(frame);
                let (source, destination) = ends(frame);
                if protocol == 1 && frame[23] == 1 && *by != OUTSIDE && EXTERNAL.contains(&source.0) {
                    // A query from one host to another: its identifier is the receiver's own by then.
                    return (
                        Fate::Leaves(*by, Name::Itself((source.0, 0)), Name::Itself((destination.0, 0))),
                        None,
                    );
                }
                if frame[23] == protocol && EXTERNAL.contains(&source.0) {
                    self.own(source, sender, protocol);
                }
                let names = (self.name(source, protocol), self.name(destination, protocol));
                return (Fate::Leaves(*by, names.0, names.1), Some((source, destination)));
            }
            Verdict::Drop(why) | Verdict::Reply(_, why) => Fate::Refused(why),
            other => {
                self.passed += 1;
                Fate::Other(format!("{other:?}"))
            }
        };
        (fate, None)
    }

    /// No external port has two owners at once, whichever worker gave it, and a host's port has one (RFC 4787 §4.1, REQ-1): as
    /// long as the shortest that lasts, a query of ICMP.
    fn own(&mut self, external: End, host: End, protocol: u8) {
        for (&(at, of), &(owner, seen)) in &self.owners {
            if of == protocol && self.clock < seen + STANDS {
                assert_eq!(at == external, owner == host, "{at:?} is {owner:?}, {external:?} is {host:?}");
            }
        }
        self.owners.insert((external, protocol), (host, self.clock));
    }

    fn step(&mut self, step: &Step) -> Option<Fate> {
        self.flows.retain(|flow| self.clock < flow.passed + STANDS);
        let which = |index: &prop::sample::Index, flows: &[Seen]| {
            (!flows.is_empty()).then(|| flows[index.index(flows.len())])
        };
        let all = |host: usize| HOSTS.into_iter().chain([WEB, BACK]).nth(host).unwrap();
        match step {
            Step::Out { host, port, to, protocol } => {
                let (host, remote) = (all(*host), [SERVER, SERVER_2, WEB, BACK][*to]);
                let remote = (remote, if *protocol == 1 { 0 } else { 80 });
                Some(self.open(*protocol, (host, *port), remote, remote))
            }
            Step::Turns { host, port, which: index } => {
                let there = which(index, &self.flows)?;
                // An identifier that is nobody's outside: where it is somebody's by chance, a query is taken for an answer.
                let port = if there.protocol == 1 { *port + 40_000 } else { *port };
                Some(self.open(there.protocol, (all(*host), port), there.external, there.host))
            }
            Step::Goes { which: index, back } => {
                let Seen { protocol, host, external, remote, other, .. } = which(index, &self.flows)?;
                let at = index.index(self.flows.len());
                let flags = if *back { SYN | ACK } else { ACK };
                let (source, destination) = if *back { (other, external) } else { (host, remote) };
                // A query is asked again, and not answered by who asked it.
                let flags = if protocol == 1 && !*back { 0 } else { flags };
                let (fate, out) = self.send(source, &packet(protocol, source, destination, flags), protocol);
                if out.is_some() {
                    self.flows[at].passed = self.clock;
                }
                Some(fate)
            }
            Step::Strange { which: index, same_host } => {
                let Seen { protocol, external, remote, .. } = which(index, &self.flows)?;
                let is_world =
                    port_of(remote.0) == OUTSIDE && !EXTERNAL.contains(&remote.0) && remote.0 != WHOLE;
                let stranger = (if *same_host && is_world { remote.0 } else { 0x0b0b_0b0b }, 999);
                Some(self.send(stranger, &packet(protocol, stranger, external, SYN), protocol).0)
            }
            Step::Fails { which: index } => {
                let Seen { protocol, external, remote, other, .. } = which(index, &self.flows)?;
                if port_of(other.0) != OUTSIDE {
                    return None;
                }
                let quoted = packet(protocol, external, remote, 0).bytes();
                let error = Ip::new(WAYPOINT, external.0, 1, icmp(3, 1, 0, &quoted));
                let (mut fate, _) = self.send((WAYPOINT, 0), &error, protocol);
                if let Fate::Leaves(by, ..) = fate {
                    fate = Fate::Other(format!("an error leaves by {by}"));
                }
                Some(fate)
            }
            Step::Wait { seconds } => {
                self.clock += seconds;
                self.workers.wait(*seconds);
                None
            }
        }
    }

    /// A host sends its first packet to a remote end, which is `other` to itself.
    fn open(&mut self, protocol: u8, host: End, remote: End, other: End) -> Fate {
        let (fate, out) = self.send(host, &packet(protocol, host, remote, SYN), protocol);
        if let Some((external, _)) = out {
            self.flows.push(Seen { protocol, host, external, remote, other, passed: self.clock });
        }
        fate
    }
}

const RULES: &[&str] = &[
    "",
    "deny udp from 10.0.0.10 to inside\ndeny tcp from inside to 10.0.0.12\n",
    "allow from inside to inside\nallow tcp from dmz to 10.0.0.11\nallow from outside to dmz 192.0.2.130\ndeny icmp from dmz\n",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// The same traffic through 1, 2 and 4 workers, arriving at any of them, between the world, the realm and the DMZ. The
    /// same is: each packet leaves by the same port, or is refused for the same reason; its host has the same external
    /// address; an external port is a host's port's alone, and the same towards everybody, whoever it is seen by. Its number
    /// is another one, since each worker gives of its own ports; nor is it the same where a worker's part of tables, ports or
    /// quotas runs out, which are each worker's own and ample here. What is known of sessions in the end is as much.
    #[test]
    fn translation_is_the_same_whatever_the_number_of_workers(
        steps in proptest::collection::vec(step(), 1..120),
        filtering in prop_oneof![
            Just(Filtering::EndpointIndependent),
            Just(Filtering::AddressDependent),
            Just(Filtering::AddressAndPortDependent),
        ],
        rules in 0..RULES.len(),
    ) {
        let mut settings = settings();
        settings.nat.filtering = filtering;
        let mut runs = [1, 2, 4].map(|count| Run::new(count, &settings, RULES[rules]));
        for (number, step) in steps.iter().enumerate() {
            let [one, two, four] = runs.each_mut().map(|run| run.step(step));
            prop_assert_eq!(&one, &two, "of two, step {}: {:?}", number, step);
            prop_assert_eq!(&one, &four, "of four, step {}: {:?}", number, step);
        }
        let known = runs.each_mut().map(|run| {
            let (mut dropped, mut known) = (0, [0; 3]);
            for worker in &mut run.workers.0 {
                worker.state.take_stock();
                let counters = &worker.state.counters;
                dropped += counters.dropped();
                let live = [counters.sessions_live, counters.mappings_live, counters.nat_hosts];
                known.iter_mut().zip(live).for_each(|(sum, live)| *sum += live);
            }
            assert_eq!(dropped + run.passed, run.packets, "every packet has one fate");
            known
        });
        prop_assert_eq!(known[0], known[1]);
        prop_assert_eq!(known[0], known[2]);
    }
}
