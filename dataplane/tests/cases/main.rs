//! The packet path, case by case: a gateway, packets in, packets out, what was decided. No NIC.
//!
//! When a case fails, what came and what left is kept as a pcap file, and the message says where.
#![allow(missing_docs)]

#[path = "../common/mod.rs"]
mod common;

mod closed;
mod errors;
mod gre;
mod held;
mod limits;
mod refused;
mod sizes;
mod source;
mod told;
mod translation;

use ces_dataplane::egress::Egress;
use ces_dataplane::msg::{
    Binding, BindingLimits, Command, Encapsulation, Far, Neighbour, PortId, PuntClass, Tunnel, TunnelId,
};
use ces_dataplane::reason::DropReason as Why;
use ces_dataplane::verdict::Verdict;
use common::*;

struct Case {
    title: &'static str,
    gateway: Gateway,
    input: Vec<(PortId, Vec<u8>)>,
    output: Vec<(PortId, Vec<u8>)>,
    fates: Vec<Verdict>,
}

fn run(cases: Vec<Case>) {
    let mut failed = Vec::new();
    for mut case in cases {
        let (mut fates, mut output) = (Vec::new(), Vec::new());
        for (port, frame) in &case.input {
            let (verdict, out) = case.gateway.one(*port, frame);
            fates.push(verdict);
            output.extend(out);
        }
        for (_, frame) in &output {
            assert_sound(frame);
        }
        let output: Vec<_> = output.into_iter().map(|(port, frame)| (port, normalised(&frame))).collect();
        let drops: u64 = case.gateway.state.counters.dropped();
        let dropped =
            fates.iter().filter(|fate| matches!(fate, Verdict::Drop(_) | Verdict::Reply(..))).count();
        if output != case.output || fates != case.fates || drops != dropped as u64 {
            let frames: Vec<_> = case
                .input
                .iter()
                .chain(&output)
                .chain(&case.output)
                .map(|(_, frame)| frame.clone())
                .collect();
            let kept = keep_pcap(case.title, &frames);
            failed.push(format!(
                "{}: {fates:?}, wanted {:?}; {drops} drops counted\n  out    {:02x?}\n  wanted {:02x?}\n  kept in {kept}",
                case.title, case.fates, output, case.output
            ));
        }
    }
    assert!(failed.is_empty(), "{} cases failed\n{}", failed.len(), failed.join("\n"));
}

fn gateway() -> Gateway {
    Gateway::new(settings(), Encapsulation::Vxlan, binding())
}

fn limited(limits: BindingLimits) -> Gateway {
    Gateway::new(settings(), Encapsulation::Vxlan, Binding { limits, ..binding() })
}

/// Two hosts of one realm that know each other by proxies.
fn local() -> Gateway {
    let mut gateway = Gateway::bare(settings());
    let there = Binding {
        far: Far::Local { source: address(PROXY_HOST), destination: address(OTHER) },
        proxy: address(PROXY_OTHER),
        neighbour: HOP_OTHER,
        ..binding()
    };
    let back = Binding {
        host: address(OTHER),
        far: Far::Local { source: address(PROXY_OTHER), destination: address(HOST) },
        proxy: address(PROXY_HOST),
        ..binding()
    };
    let handles = [gateway.handle(1), gateway.handle(2)];
    gateway.command(Command::InsertBinding(handles[0], there));
    gateway.command(Command::InsertBinding(handles[1], back));
    gateway
}

/// One packet in at a port, one decision, at most one packet out.
fn case(
    title: &'static str,
    gateway: Gateway,
    input: (PortId, Vec<u8>),
    fate: Verdict,
    output: Option<(PortId, Vec<u8>)>,
) -> Case {
    Case { title, gateway, input: vec![input], output: output.into_iter().collect(), fates: vec![fate] }
}

fn drop_case(title: &'static str, gateway: Gateway, input: (PortId, Vec<u8>), why: Why) -> Case {
    case(title, gateway, input, Verdict::Drop(why), None)
}

/// A packet from inside that goes no further, and whose sender is told so by the gateway: ICMP of this type and code.
fn told_case(title: &'static str, gateway: Gateway, packet: &Ip, why: Why, what: (u8, u8)) -> Case {
    let mut said = Ip::new(GATEWAY, packet.source, 1, icmp(what.0, what.1, 0, &packet.bytes())).tos(0xc0);
    said.id = 0;
    let output = Some((INSIDE, to_host(&said)));
    case(title, gateway, (INSIDE, from_host(packet)), Verdict::Reply(Egress::by(INSIDE), why), output)
}

fn host_udp() -> Ip {
    Ip::new(HOST, PROXY, 17, udp(5000, 53, b"hello"))
}

/// A packet of the far host as it comes through the tunnel.
fn far(gateway: &Gateway, protocol: u8, payload: Vec<u8>) -> Ip {
    Ip::new(REMOTE_TAG, gateway.tag(0), protocol, payload)
}

const OUT: Verdict = Verdict::Forward(Egress::by(OUTSIDE));
const IN: Verdict = Verdict::Forward(Egress::by(INSIDE));

#[test]
fn several_workers_hand_over() {
    use ces_dataplane::tag::{Layout, worker_of};
    let mut two = settings();
    two.workers = 2;
    two.layout = Layout::new(2, 64);
    two.worker = worker_of(HOST, 2);
    let other = 1 - two.worker;
    let mut mine = Gateway::new(two.clone(), Encapsulation::Vxlan, binding());
    let inner = far(&mine, 17, udp(1, 2, b""));
    two.worker = other;
    let mut theirs = Gateway::bare(two);
    let frames = [(INSIDE, from_host(&host_udp())), (OUTSIDE, from_peer(Encapsulation::Vxlan, &inner))];
    for (port, frame) in frames {
        let (verdict, out) = theirs.one(port, &frame);
        assert_eq!((verdict, out), (Verdict::HandOff(1 - other as u8), vec![]));
        assert!(matches!(mine.one(port, &frame).0, Verdict::Forward(_)));
    }
    // What is for the gateway itself stays where it arrives.
    let dns = from_host(&Ip::new(HOST, GATEWAY, 17, udp(5000, 53, b"q")));
    assert_eq!(theirs.one(INSIDE, &dns).0, Verdict::Punt(PuntClass::Dns));
}

#[test]
fn a_burst_of_everything_keeps_its_order() {
    let mut settings = settings();
    settings.icmp_error_rate = 10_000; // bursts of 1,000, of one host 125
    let mut g = Gateway::new(settings, Encapsulation::Vxlan, binding());
    let good = from_host(&host_udp());
    let bad = good[..20].to_vec();
    let none = from_host(&Ip::new(HOST, PROXY_OTHER, 17, udp(1, 2, b"")));
    let frames: Vec<_> = (0..150).map(|n| [&good, &bad, &none][n % 3].clone()).collect();
    let (verdicts, out) = g.burst(INSIDE, &frames);
    for (number, verdict) in verdicts.iter().enumerate() {
        let wanted = [OUT, Verdict::Drop(Why::Truncated), Verdict::Reply(Egress::by(INSIDE), Why::NoBinding)]
            [number % 3];
        assert_eq!(*verdict, wanted, "frame {number}");
    }
    assert_eq!(out.len(), 100);
}

/// The tunnel of a peer whose locators changed carries on with the new ones only.
#[test]
fn a_replaced_tunnel_is_the_new_one() {
    let mut g = gateway();
    let moved = Tunnel { remote: address(REMOTE + 9), ..tunnel(Encapsulation::Gre) };
    g.command(Command::SetTunnel(TunnelId(0), moved));
    let inner = far(&g, 17, udp(1, 2, b""));
    assert_eq!(
        g.one(OUTSIDE, &from_peer(Encapsulation::Vxlan, &inner)).0,
        Verdict::Drop(Why::TunnelOuterUnknown)
    );
    let packet = outer(Encapsulation::Gre, REMOTE + 9, LOCAL, ID_IN, &inner.bytes(), 0);
    assert_eq!(g.one(OUTSIDE, &ethernet(MAC_OUT, MAC_ROUTER, 0x0800, &packet.bytes())).0, IN);
    let (verdict, out) = g.one(INSIDE, &from_host(&host_udp()));
    assert_eq!((verdict, &out[0].1[30..34]), (OUT, &(REMOTE + 9).to_be_bytes()[..]));
}
