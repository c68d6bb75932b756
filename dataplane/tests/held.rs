//! Frames that wait in the worker for the MAC address of their next hop: sent in order when it is known, and otherwise counted
//! under one reason each.

mod gateways;

use ces_dataplane::frame::Frame;
use ces_dataplane::msg::{Binding, BindingLimits, Command, Event, Far, HopId, Neighbour, Patience, PortId};
use ces_dataplane::reason::DropReason;
use ces_dataplane::worker::{Bell, HELD_MOST, Mesh, RingSizes};
use gateways::lab::Lab;
use gateways::{Gateway, HOST, HOST_MAC, INSIDE, OUTSIDE, PROXY};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};

/// Frames that are held for one next hop at most.
const EACH: usize = 16;
/// How long frames are held, in turns of the lab, of a millisecond.
const TURNS: u64 = 1100;

const REALM: HopId = HopId(0);
const PEER: HopId = HopId(1);

impl Lab {
    fn tell(&mut self, hop: HopId, port: PortId, mac: Option<[u8; 6]>) {
        self.control.commands.push(Command::SetHop(hop, Neighbour { port, mac, pin: None })).unwrap();
    }

    /// What was held so far, what of that was sent, what is held now.
    fn held(&self) -> (u64, u64, u64) {
        let counters = self.counters();
        (counters.held, counters.held_sent, counters.held_now)
    }
}

/// A worker that knows the gateway's binding, but no MAC address.
fn cold(gateway: Gateway, vlans: [Option<u16>; 2]) -> Lab {
    let mut settings = gateway.settings();
    for (port, vlan) in settings.ports.iter_mut().zip(vlans) {
        port.vlan = vlan;
    }
    let mut lab = Lab::with(&settings, RingSizes::default(), Bell::silent(), Mesh::alone());
    for command in gateway.commands() {
        let command = match command {
            Command::SetHop(id, neighbour) => Command::SetHop(id, Neighbour { mac: None, ..neighbour }),
            other => other,
        };
        lab.control.commands.push(command).unwrap();
    }
    lab.turn();
    lab
}

fn cold_plain() -> Lab {
    cold(Gateway(0), [None; 2])
}

/// A worker with one binding for each of many hosts, 10.0.0.100 and on, each to a next hop of its own, 10 and on, that is
/// unresolved.
fn many(hops: u8) -> Lab {
    let mut lab = cold_plain();
    for number in 0..hops {
        let hop = HopId(10 + u32::from(number));
        lab.tell(hop, INSIDE, None);
        let far = Far::Local { source: PROXY, destination: HOST };
        let binding = Binding {
            host: host(number),
            proxy: PROXY,
            far,
            neighbour: hop,
            mac: None,
            idle_s: 0,
            patience: Patience::None,
            hard_s: 0,
            limits: BindingLimits::default(),
        };
        let handle = Gateway(0).settings().layout.handle(0, 100 + u32::from(number), 1);
        lab.control.commands.push(Command::InsertBinding(handle, binding)).unwrap();
    }
    while lab.turn() {}
    lab
}

fn host(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, 100 + number)
}

#[test]
fn the_first_packet_of_a_cold_pair_arrives() {
    for vlans in [[None, None], [Some(7), None], [None, Some(9)], [Some(7), Some(9)]] {
        let tag = |vlan: u16| [0x81, 0, (vlan >> 8) as u8, vlan as u8];
        let mut first = Gateway(0).from_host(b"first");
        vlans[0].inspect(|vlan| drop(first.splice(12..12, tag(*vlan))));

        let (mut near, mut far) = (cold(Gateway(0), vlans), cold(Gateway(1), vlans));
        assert!(near.inside.send_bytes(&first));
        resolves(&mut near, PEER, OUTSIDE, Gateway(1).mac(OUTSIDE));
        let between = near.outside.receive().expect("it leaves the first gateway");
        assert_eq!(between.data()[..12], [Gateway(1).mac(OUTSIDE), Gateway(0).mac(OUTSIDE)].concat());
        vlans[1].inspect(|vlan| assert_eq!(between.data()[12..16], tag(*vlan)));

        far.outside.send(between).unwrap();
        resolves(&mut far, REALM, INSIDE, HOST_MAC);
        let mut last = far.inside.receive().expect("it leaves the second").data().to_vec();
        vlans[0].inspect(|vlan| assert_eq!(last.drain(12..16).collect::<Vec<_>>(), tag(*vlan)));
        Gateway(1).assert_at_host(&last, b"first");
    }
}

/// What came is held, its next hop is asked for, found, and all of it sent.
fn resolves(lab: &mut Lab, hop: HopId, port: PortId, mac: [u8; 6]) {
    lab.turn();
    assert_eq!(lab.control.events.pop(), Some(Event::HopWanted(hop)));
    assert_eq!((lab.held(), lab.counters().tx_packets[usize::from(port)]), ((1, 0, 1), 0));
    lab.tell(hop, port, Some(mac));
    lab.turn();
    assert_eq!((lab.held(), lab.counters().tx_packets[usize::from(port)]), ((1, 1, 0), 1));
    assert_eq!(lab.counters().dropped(), 0);
}

/// The same frames as they leave through the tunnel; only the payload behind the inner headers is told.
fn left(lab: &mut Lab) -> Vec<u8> {
    std::iter::from_fn(|| lab.outside.receive()).map(|frame| *frame.data().last().unwrap()).collect()
}

#[test]
fn the_latest_are_held_in_order_and_go_before_what_comes_next() {
    let mut lab = cold_plain();
    for number in 0..20 {
        assert!(lab.inside.send_bytes(&Gateway(0).from_host(&[number])));
    }
    lab.turn();
    assert_eq!((lab.held(), lab.counters().dropped()), ((20, 0, EACH as u64), 4));
    assert_eq!(lab.drops(DropReason::NeighbourReplaced), 4);
    lab.tell(PEER, OUTSIDE, Some(Gateway(1).mac(OUTSIDE)));
    assert!(lab.inside.send_bytes(&Gateway(0).from_host(&[20])));
    lab.turn();
    assert_eq!(left(&mut lab), (4..=20).collect::<Vec<u8>>());
    assert_eq!((lab.held(), lab.counters().dropped()), ((20, 16, 0), 4));
}

#[test]
fn what_waits_too_long_is_dropped_and_counted_once() {
    let mut lab = cold_plain();
    assert!(lab.inside.send_bytes(&Gateway(0).from_host(b"1")));
    lab.turn();
    lab.now += (TURNS - 2) * 1_000_000;
    lab.turn();
    assert_eq!((lab.held(), lab.counters().dropped()), ((1, 0, 1), 0));
    // What the kernel says meanwhile of its fruitless search changes nothing.
    lab.tell(PEER, OUTSIDE, None);
    lab.turn();
    assert_eq!((lab.held(), lab.counters().dropped()), ((1, 0, 0), 1));
    assert_eq!(lab.drops(DropReason::NeighbourUnresolved), 1);
    lab.tell(PEER, OUTSIDE, Some(Gateway(1).mac(OUTSIDE)));
    lab.turn();
    assert_eq!((left(&mut lab), lab.counters().dropped()), (vec![], 1));
}

/// Its tunnel has another next hop by then, which is known.
#[test]
fn what_waits_for_the_wrong_next_hop_goes_another_way_at_last() {
    let mut lab = cold_plain();
    assert!(lab.inside.send_bytes(&Gateway(0).from_host(b"1")));
    lab.turn();
    let other = HopId(5);
    lab.tell(other, OUTSIDE, Some([7; 6]));
    for command in Gateway(0).commands() {
        if let Command::SetTunnel(id, tunnel) = command {
            let moved = Command::SetTunnel(id, ces_dataplane::msg::Tunnel { neighbour: other, ..tunnel });
            lab.control.commands.push(moved).unwrap();
        }
    }
    lab.turn();
    lab.now += TURNS * 1_000_000;
    lab.turn();
    let frame = lab.outside.receive().expect("it is sent in the turn in which its time is over");
    assert_eq!(frame.data()[..6], [7; 6]);
    assert_eq!((lab.held(), lab.counters().dropped()), ((1, 1, 0), 0));
}

#[test]
fn a_full_store_lets_the_oldest_go() {
    const HOPS: u8 = (HELD_MOST / EACH) as u8 + 1;
    let mut lab = many(HOPS);
    for number in 0..HOPS {
        for _ in 0..EACH {
            assert!(lab.inside.send_bytes(&Gateway(0).from_address(host(number))));
        }
        lab.turn();
    }
    let all = u64::from(HOPS) * EACH as u64;
    assert_eq!((lab.held(), lab.counters().dropped()), ((all, 0, HELD_MOST as u64), EACH as u64));
    assert_eq!(lab.drops(DropReason::NeighbourFull), EACH as u64, "all of the first next hop");
    for number in 0..HOPS {
        lab.tell(HopId(10 + u32::from(number)), INSIDE, Some(HOST_MAC));
    }
    while lab.turn() {}
    assert_eq!((lab.held(), lab.counters().dropped()), ((all, HELD_MOST as u64, 0), EACH as u64));
    assert_eq!(std::iter::from_fn(|| lab.inside.receive()).count(), HELD_MOST);
}

#[test]
fn only_those_of_the_next_hop_that_is_found_go() {
    let mut lab = many(3);
    for number in [0, 1, 2, 1, 0] {
        assert!(lab.inside.send_bytes(&Gateway(0).from_address(host(number))));
    }
    lab.turn();
    let wanted: Vec<_> = std::iter::from_fn(|| lab.control.events.pop()).collect();
    assert_eq!(wanted, [10, 11, 12].map(|hop| Event::HopWanted(HopId(hop))), "each once");
    lab.tell(HopId(11), INSIDE, Some([1; 6]));
    lab.turn();
    let sent: Vec<_> = std::iter::from_fn(|| lab.inside.receive()).collect();
    assert!(sent.len() == 2 && sent.iter().all(|frame| frame.data()[..6] == [1; 6]));
    assert_eq!(lab.held(), (5, 2, 3));
}

/// The slot of the next hop may be another's by then: what was held must not go there.
#[test]
fn a_packet_whose_binding_ended_is_not_sent() {
    let mut lab = cold_plain();
    assert!(lab.inside.send_bytes(&Gateway(0).from_host(b"1")));
    lab.turn();
    lab.control.commands.push(Command::RemoveBinding(Gateway(0).handle())).unwrap();
    lab.tell(PEER, OUTSIDE, Some([9; 6]));
    lab.turn();
    assert_eq!((lab.held(), lab.counters().dropped()), ((1, 0, 0), 1));
    assert_eq!((lab.drops(DropReason::NoBinding), left(&mut lab)), (1, vec![]));
}

#[test]
fn what_is_held_at_the_end_is_counted_and_freed() {
    let mut lab = cold_plain();
    for _ in 0..3 {
        assert!(lab.inside.send_bytes(&Gateway(0).from_host(b"1")));
    }
    let stop = AtomicBool::new(false);
    stop.store(true, Ordering::Relaxed);
    lab.worker.run(&stop); // its last turn takes the packets in
    assert_eq!((lab.held(), lab.drops(DropReason::NeighbourUnresolved)), ((3, 0, 0), 3));
    assert_eq!(lab.counters().dropped(), 3);
}

#[test]
fn what_another_worker_handed_over_is_held_with_its_port() {
    let mut ends = Mesh::new(2, 8);
    let mut lab = Lab::with(&Gateway(0).settings(), RingSizes::default(), Bell::silent(), ends.remove(0));
    for command in Gateway(0).commands() {
        lab.control.commands.push(command).unwrap();
    }
    lab.tell(PEER, OUTSIDE, None);
    let frame = ces_dataplane::frame::MemoryFrame::new(&Gateway(0).from_host(b"5"));
    ends[0].send(0, INSIDE, frame).unwrap();
    ends[0].tell();
    lab.turn();
    assert_eq!(lab.held(), (1, 0, 1));
    lab.tell(PEER, OUTSIDE, Some(Gateway(1).mac(OUTSIDE)));
    lab.turn();
    assert_eq!((left(&mut lab), lab.counters().dropped()), (vec![b'5'], 0));
}

/// A wish that found no room among the events is said with the next packet.
#[test]
fn a_wish_for_a_next_hop_is_not_lost() {
    let mut lab = Lab::new(Gateway(0), RingSizes { events: 1, ..RingSizes::default() }, Bell::silent());
    lab.tell(PEER, OUTSIDE, None);
    lab.turn();
    // Answers to these fill the queue behind the ring.
    for _ in 0..1000 {
        lab.control.commands.push(Command::ReadBinding(Gateway(0).handle())).unwrap();
        lab.turn();
    }
    assert!(lab.inside.send_bytes(&Gateway(0).from_host(b"1")));
    lab.turn();
    let mut wishes = 0;
    let mut told = |lab: &mut Lab| {
        for _ in 0..1100 {
            wishes += usize::from(matches!(lab.control.events.pop(), Some(Event::HopWanted(PEER))));
            lab.worker.turn(lab.now);
        }
        wishes
    };
    assert_eq!(told(&mut lab), 0);
    assert!(lab.inside.send_bytes(&Gateway(0).from_host(b"2")));
    assert_eq!(told(&mut lab), 1);
    assert_eq!(lab.worker.state().counters.held, 2);
}
