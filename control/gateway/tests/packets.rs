//! What the gateways decide, carried out by real workers: a packet crosses from host to host.

mod lab;

use ces_dataplane::egress::Egress;
use ces_dataplane::reason::DropReason;
use ces_dataplane::tag::worker_of;
use ces_dataplane::verdict::Verdict;
use lab::{H1, H2, Lab, host_mac, port_mac};
use std::net::Ipv4Addr;

const INSIDE: u8 = 0;
const OUTSIDE: u8 = 1;
const ETHERNET: usize = 14;

fn sum(start: u32, bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|w| (u32::from(w[0]) << 8) + u32::from(*w.get(1).unwrap_or(&0)));
    let mut sum = start + words.sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// A packet of a host, as it arrives at its gateway. `field` is where its segment's checksum stands.
fn packet(node: u8, from: Ipv4Addr, to: Ipv4Addr, protocol: u8, segment: &[u8], field: usize) -> Vec<u8> {
    let length = segment.len() as u16;
    let mut packet = vec![0x45, 0];
    packet.extend((20 + length).to_be_bytes());
    packet.extend([0, 1, 0x40, 0, 64, protocol, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    let header = !sum(0, &packet);
    packet[10..12].copy_from_slice(&header.to_be_bytes());
    packet.extend(segment);
    let pseudo = u32::from(sum(u32::from(protocol) + u32::from(length), &packet[12..20]));
    let checksum = !sum(pseudo, &packet[20..]);
    packet[20 + field..22 + field].copy_from_slice(&checksum.to_be_bytes());
    [&port_mac(node, INSIDE)[..], &host_mac(from), &[8, 0], &packet].concat()
}

fn udp(node: u8, from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len() as u16).to_be_bytes();
    let segment = [&[0x0f, 0xa0, 0x13, 0x88], &length[..], &[0, 0], payload].concat();
    packet(node, from, to, 17, &segment, 6)
}

/// An acknowledgement to that port.
fn tcp(node: u8, from: Ipv4Addr, to: Ipv4Addr, port: u8) -> Vec<u8> {
    let segment = [0x0f, 0xa0, 0, port, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0];
    packet(node, from, to, 6, &segment, 16)
}

/// That a frame brings this payload to a host, from this address.
fn assert_brings(frame: &[u8], node: u8, from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) {
    assert_eq!((&frame[..6], &frame[6..12]), (&host_mac(to)[..], &port_mac(node, INSIDE)[..]));
    let packet = &frame[ETHERNET..];
    assert_eq!((&packet[12..16], &packet[16..20]), (&from.octets()[..], &to.octets()[..]));
    assert_eq!(sum(0, &packet[..20]), 0xffff, "IPv4 checksum");
    let pseudo = u32::from(sum(17 + 8 + payload.len() as u32, &packet[12..20]));
    assert_eq!(sum(pseudo, &packet[20..]), 0xffff, "UDP checksum");
    assert_eq!(&packet[28..], payload);
}

/// A packet of a host of `from` crosses to the other realm; returns the frame between the gateways.
fn cross(lab: &mut Lab, from: usize, host: Ipv4Addr, proxy: Ipv4Addr, far: (Ipv4Addr, Ipv4Addr)) -> Vec<u8> {
    let to = 1 - from;
    let (verdict, between) = lab.frame(from, INSIDE, 0, &udp(from as u8, host, proxy, b"over and out"));
    assert_eq!(verdict, Verdict::Forward(Egress::by(OUTSIDE)));
    assert_eq!(between[..6], port_mac(to as u8, OUTSIDE));
    let (verdict, frame) = lab.frame(to, OUTSIDE, 0, &between);
    assert_eq!(verdict, Verdict::Forward(Egress::by(INSIDE)));
    assert_brings(&frame, to as u8, far.0, far.1, b"over and out");
    between
}

#[test]
fn a_packet_crosses_and_its_answer_comes_back() {
    for workers in [1, 2, 3] {
        let mut lab = Lab::with_workers(workers);
        let proxy = lab.address(0, H1, "www.h1.b.demo").unwrap();
        let first = Ipv4Addr::new(10, 64, 0, 1);
        cross(&mut lab, 0, H1, proxy, (first, H1));
        cross(&mut lab, 1, H1, first, (proxy, H1));
        let worker = worker_of(H1.into(), workers);
        assert_eq!(lab.nodes[0].gateway.bindings(lab.now)[0].worker, worker);
        assert_eq!(lab.nodes[0].gateway.counters().stale_events, 0);
        assert_eq!(lab.nodes[0].gateway.counters().insert_failed, 0);
    }
}

#[test]
fn two_hosts_of_a_realm_see_proxies_of_each_other() {
    let mut lab = Lab::with_workers(2);
    let proxy = lab.address(0, H1, "h2.a.demo").unwrap();
    let back = Ipv4Addr::new(10, 64, 0, 1);
    for (from, to, seen_as, host) in [(H1, proxy, back, H2), (H2, back, proxy, H1)] {
        let (verdict, frame) = lab.frame(0, INSIDE, 0, &udp(0, from, to, b"neighbour"));
        assert_eq!(verdict, Verdict::Forward(Egress::by(INSIDE)));
        assert_brings(&frame, 0, seen_as, host, b"neighbour");
    }
}

#[test]
fn what_was_terminated_carries_nothing_any_more() {
    let mut lab = Lab::with_workers(1);
    let proxy = lab.address(0, H1, "h1.b.demo").unwrap();
    let between = cross(&mut lab, 0, H1, proxy, (Ipv4Addr::new(10, 64, 0, 1), H1));
    let (tag, now) = (lab.nodes[0].gateway.bindings(lab.now)[0].tag, lab.now);
    assert!(lab.nodes[0].gateway.terminate_session(tag, now));
    lab.settle();
    let (verdict, _) = lab.frame(0, INSIDE, 0, &udp(0, H1, proxy, b"x"));
    assert!(matches!(
        verdict,
        Verdict::Drop(DropReason::NoBinding) | Verdict::Reply(_, DropReason::NoBinding)
    ));
    let (replayed, _) = lab.frame(1, OUTSIDE, 0, &between);
    assert!(matches!(replayed, Verdict::Drop(_)), "{replayed:?}");
    assert_eq!(lab.nodes[0].gateway.pools().slots_used, [0]);
    // The next session of the same hosts carries again, and the old packet still does not.
    let proxy = lab.address(0, H1, "h1.b.demo").unwrap();
    cross(&mut lab, 0, H1, proxy, (Ipv4Addr::new(10, 64, 0, 1), H1));
    assert!(matches!(lab.frame(1, OUTSIDE, 0, &between).0, Verdict::Drop(_)));
}

#[test]
fn p3_who_sends_to_what_has_ended_is_told() {
    let mut lab = Lab::with_workers(1);
    let proxy = lab.address(0, H1, "h1.b.demo").unwrap();
    let tag = lab.nodes[0].gateway.bindings(lab.now)[0].tag;
    let now = lab.now;
    // The far end ends it, as a peer does that has restarted.
    let far = lab.nodes[1].gateway.bindings(now)[0].tag;
    assert!(lab.nodes[1].gateway.terminate_session(far, now));
    lab.settle();
    assert!(lab.nodes[0].gateway.binding(tag, now).is_none());
    let (verdict, told) = lab.frame(0, INSIDE, 0, &udp(0, H1, proxy, b"x"));
    assert_eq!(verdict, Verdict::Reply(Egress::by(INSIDE), DropReason::NoBinding));
    // RFC 1812 §5.2.7.1: ICMP to the host, destination unreachable, host unreachable.
    assert_eq!((told[23], &told[30..34], told[34], told[35]), (1, &H1.octets()[..], 3, 1));
}

#[test]
fn an_idle_session_ends_at_both_workers_and_a_used_one_stays() {
    let mut lab = Lab::with_workers(1);
    let proxy = lab.address(0, H1, "h1.b.demo").unwrap();
    let seen_as = Ipv4Addr::new(10, 64, 0, 1);
    for _ in 0..3 {
        lab.age(200);
        cross(&mut lab, 0, H1, proxy, (seen_as, H1));
    }
    assert_eq!(lab.nodes[0].gateway.bindings(lab.now).len(), 1);
    lab.age(310);
    for node in &lab.nodes {
        assert!(node.gateway.bindings(lab.now).is_empty());
        assert_eq!(node.gateway.pools().slots_used, [0]);
        assert_eq!(node.gateway.counters().ended[0], 1);
    }
}

#[test]
fn a_local_flow_in_one_direction_keeps_both_halves() {
    let mut lab = Lab::with_workers(1);
    let proxy = lab.address(0, H1, "h2.a.demo").unwrap();
    for _ in 0..10 {
        lab.age(100);
        let (verdict, _) = lab.frame(0, INSIDE, 0, &udp(0, H1, proxy, b"one way"));
        assert_eq!(verdict, Verdict::Forward(Egress::by(INSIDE)));
    }
    assert_eq!(lab.nodes[0].gateway.bindings(lab.now).len(), 2);
    let (verdict, _) = lab.frame(0, INSIDE, 0, &udp(0, H2, Ipv4Addr::new(10, 64, 0, 1), b"and back"));
    assert_eq!(verdict, Verdict::Forward(Egress::by(INSIDE)));
    lab.age(620);
    assert_eq!(lab.nodes[0].gateway.pools().slots_used, [0]);
}

#[test]
fn only_what_policy_carries_passes_and_keeps_a_session_and_not_beyond_its_lifetime() {
    let mut lab = Lab::with_workers(1);
    // TCP to port 80, idle 20 s, hard 60 s.
    let proxy = lab.address(0, H2, "h2.b.demo").unwrap();
    // What leaves does not arrive here, so the far end falls idle; nothing is heard of that.
    lab.mute = true;
    let sent = |lab: &mut Lab, frame: Vec<u8>| {
        lab.frame(0, INSIDE, 0, &frame).0 == Verdict::Forward(Egress::by(OUTSIDE))
    };
    assert!(!sent(&mut lab, udp(0, H2, proxy, b"x")));
    assert!(!sent(&mut lab, tcp(0, H2, proxy, 81)));
    for _ in 0..5 {
        assert!(sent(&mut lab, tcp(0, H2, proxy, 80)));
        lab.age(11);
    }
    assert_eq!(lab.nodes[0].gateway.bindings(lab.now).len(), 1);
    assert!(sent(&mut lab, tcp(0, H2, proxy, 80)));
    lab.age(7);
    assert!(lab.nodes[0].gateway.bindings(lab.now).is_empty());
    assert_eq!(lab.nodes[0].gateway.counters().ended, [0, 1, 0]);

    // What is not carried does not keep it either.
    lab.mute = false;
    let proxy = lab.address(0, H2, "h2.b.demo").unwrap();
    lab.mute = true;
    for _ in 0..6 {
        lab.age(5);
        assert!(!sent(&mut lab, udp(0, H2, proxy, b"x")));
    }
    assert_eq!(lab.nodes[0].gateway.counters().ended, [1, 1, 0]);
}
