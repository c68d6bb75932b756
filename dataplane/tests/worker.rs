//! The worker's loop over memory ports, with the real packet path.

mod gateways;

use ces_dataplane::frame::{Frame, MemoryFrame};
use ces_dataplane::msg::{Command, EndReason, Event, PuntClass, SLOT_BYTES};
use ces_dataplane::path::BURST;
use ces_dataplane::premises::Premises;
use ces_dataplane::reason::DropReason;
use ces_dataplane::tag::Layout;
use ces_dataplane::worker::{Bell, Mesh, RingSizes};
use gateways::lab::{CABLE, Lab, POOL};
use gateways::{Gateway, INSIDE, OUTSIDE};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

#[test]
fn packets_cross_two_gateways_and_arrive_translated() {
    let (mut near, mut far) = (Lab::plain(Gateway(0)), Lab::plain(Gateway(1)));
    for round in 0..3u8 {
        for number in 0..100u8 {
            assert!(near.inside.send_bytes(&Gateway(0).from_host(&[round, number])));
        }
        while near.turn() {}
        while let Some(frame) = near.outside.receive() {
            far.outside.send(frame).unwrap();
        }
        while far.turn() {}
        for number in 0..100u8 {
            let frame = far.inside.receive().expect("every packet arrives");
            Gateway(1).assert_at_host(frame.data(), &[round, number]);
        }
        assert!(far.inside.receive().is_none());
    }
    let counters = near.counters();
    assert_eq!((counters.rx_packets[INSIDE as usize], counters.tx_packets[OUTSIDE as usize]), (300, 300));
    assert_eq!(counters.rx_bytes[INSIDE as usize], 300 * 44);
    assert_eq!(counters.tx_bytes[OUTSIDE as usize], 300 * (44 + 50), "VXLAN adds 50 bytes");
    assert_eq!(counters.dropped(), 0);
}

#[test]
fn queries_are_punted_and_answers_injected() {
    let mut lab = Lab::plain(Gateway(0));
    let query = Gateway(0).query();
    assert!(lab.inside.send_bytes(&query));
    lab.turn();
    let punted = lab.control.punt.pop_with(|slot| (slot.port, slot.class, slot.frame().to_vec()));
    assert_eq!(punted, Some((INSIDE, PuntClass::Dns, query.clone())));
    assert_eq!(
        lab.worker.pool().available(),
        POOL,
        "the pool keeps what it had, the frame came from outside"
    );

    assert!(lab.control.inject.push_with(|slot| {
        slot.port = INSIDE;
        slot.length = query.len() as u16;
        slot.data[..query.len()].copy_from_slice(&query);
    }));
    lab.turn();
    assert_eq!(lab.inside.receive().unwrap().data(), query);
    let counters = lab.counters();
    assert_eq!((counters.punts[PuntClass::Dns as usize], counters.injected), (1, 1));
    assert_eq!(counters.tx_packets[INSIDE as usize], 1);
}

#[test]
fn command_of_the_same_turn_precedes_the_injected_frame_and_the_packet() {
    let mut lab = Lab::new(Gateway(0), RingSizes::default(), Bell::silent());
    assert!(lab.inside.send_bytes(&Gateway(0).from_host(b"at once")));
    lab.turn();
    assert!(lab.outside.receive().is_some(), "the binding stands before the packet is looked at");
}

#[test]
fn a_worker_moves_into_other_premises_with_the_commands_and_gives_the_old_ones_back() {
    let mut lab = Lab::plain(Gateway(0));
    let here = Gateway(0).settings();
    let mut elsewhere = here.clone();
    elsewhere.ports[INSIDE as usize].networks = vec![([203, 0, 113, 0].into(), 24)];
    for (settings, arrives) in [(&here, true), (&elsewhere, false), (&here, true)] {
        lab.control.premises.push(Box::new(Premises::new(settings))).unwrap();
        lab.control.commands.push(Command::MoveIn).unwrap();
        assert!(lab.inside.send_bytes(&Gateway(0).from_host(b"on the way")));
        lab.turn();
        assert_eq!(lab.outside.receive().is_some(), arrives);
        assert!(lab.control.left.pop().is_some(), "to be freed here");
    }
    assert_eq!(lab.counters().dropped(), 1);
}

#[test]
fn malformed_injected_frames_are_counted_drops() {
    let mut lab = Lab::plain(Gateway(0));
    for (port, length) in [(INSIDE, 13), (9, 60), (OUTSIDE, SLOT_BYTES as u16 + 1), (OUTSIDE, u16::MAX)] {
        assert!(lab.control.inject.push_with(|slot| (slot.port, slot.length) = (port, length)));
    }
    lab.turn();
    assert_eq!(lab.drops(DropReason::InjectMalformed), 4);
    assert!(lab.inside.receive().is_none() && lab.outside.receive().is_none());
}

#[test]
fn injected_frame_without_a_buffer_is_a_counted_drop() {
    let mut lab = Lab::plain(Gateway(0));
    for _ in 0..=POOL {
        assert!(lab.control.inject.push_with(|slot| (slot.port, slot.length) = (INSIDE, 60)));
    }
    while lab.turn() {}
    assert_eq!(lab.drops(DropReason::NoBuffer), 1);
    assert_eq!(lab.counters().injected, POOL as u64);
}

#[test]
fn full_punt_ring_is_a_counted_drop() {
    let sizes = RingSizes { punt: 4, ..RingSizes::default() };
    let mut lab = Lab::new(Gateway(0), sizes, Bell::silent());
    for _ in 0..6 {
        assert!(lab.inside.send_bytes(&Gateway(0).query()));
    }
    lab.turn();
    assert_eq!(lab.drops(DropReason::PuntRingFull), 2);
    assert_eq!((lab.control.punt.len(), lab.counters().punts[PuntClass::Dns as usize]), (4, 4));
}

/// The control thread takes nothing for a while: what comes from outside leaves the inside its places.
#[test]
fn p16_a_flood_from_outside_leaves_the_inside_its_places() {
    let sizes = RingSizes { punt: 64, ..RingSizes::default() };
    let mut lab = Lab::new(Gateway(0), sizes, Bell::silent());
    for _ in 0..200 {
        assert!(lab.outside.send_bytes(&Gateway(0).query_from_outside()));
    }
    while lab.turn() {}
    assert!(lab.drops(DropReason::PuntRingFull) > 150, "the flood fills what it may");
    let before = lab.drops(DropReason::PuntRingFull);
    for _ in 0..10 {
        assert!(lab.inside.send_bytes(&Gateway(0).query()));
    }
    while lab.turn() {}
    assert_eq!(lab.drops(DropReason::PuntRingFull), before);
    let ports = std::iter::from_fn(|| lab.control.punt.pop_with(|slot| slot.port));
    assert_eq!(ports.filter(|&port| port == INSIDE).count(), 10);
}

#[test]
fn frame_longer_than_a_punt_slot_is_a_counted_drop() {
    let mut lab = Lab::plain(Gateway(0));
    assert!(lab.inside.send_bytes(&Gateway(0).query_of(&[0; SLOT_BYTES - 42])));
    assert!(lab.inside.send_bytes(&Gateway(0).query_of(&[0; SLOT_BYTES - 41])));
    lab.turn();
    assert_eq!(lab.drops(DropReason::PuntTooLong), 1);
    assert_eq!(lab.control.punt.pop_with(|slot| slot.frame().len()), Some(SLOT_BYTES));
}

#[test]
fn what_a_port_does_not_take_is_a_counted_drop() {
    let mut lab = Lab::plain(Gateway(0));
    let mut sent = 0;
    for _ in 0..5 {
        for _ in 0..BURST {
            assert!(lab.inside.send_bytes(&Gateway(0).from_host(b"x")));
            sent += 1;
        }
        lab.turn();
    }
    assert_eq!(lab.drops(DropReason::TxQueueFull), sent - CABLE as u64);
    assert_eq!(lab.counters().tx_packets[OUTSIDE as usize], CABLE as u64);
}

#[test]
fn events_wait_for_room_in_their_ring() {
    let sizes = RingSizes { events: 1, ..RingSizes::default() };
    let mut lab = Lab::new(Gateway(0), sizes, Bell::silent());
    lab.turn();
    let handle = Gateway(0).handle();
    lab.control.commands.push(Command::ReadBinding(handle)).unwrap();
    lab.control.commands.push(Command::RemoveBinding(handle)).unwrap();
    lab.turn();
    assert!(matches!(lab.control.events.pop(), Some(Event::BindingStats(_, Some(_)))));
    assert!(lab.control.events.pop().is_none());
    for _ in 0..3 {
        lab.turn();
    }
    let ended = lab.control.events.pop();
    assert!(
        matches!(ended, Some(Event::BindingEnded(ended, EndReason::Removed, _)) if ended == handle),
        "{ended:?}"
    );
}

#[test]
fn bell_rings_for_a_dozing_control_thread() {
    let rung = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&rung);
    let bell = Bell::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let mut lab = Lab::new(Gateway(0), RingSizes::default(), bell);
    assert!(lab.inside.send_bytes(&Gateway(0).query()));
    lab.turn();
    assert_eq!(rung.load(Ordering::Relaxed), 0, "nobody sleeps");
    lab.control.bell.doze();
    assert!(!lab.control.is_quiet());
    for _ in 0..3 {
        assert!(lab.inside.send_bytes(&Gateway(0).query()));
        lab.turn();
    }
    assert_eq!(rung.load(Ordering::Relaxed), 1);
}

/// Every host belongs to one worker, and all its packets are decided on there, wherever they arrive.
#[test]
fn packets_reach_the_worker_that_owns_their_host() {
    const HOSTS: u64 = 100;
    let mut labs: Vec<Lab> = Vec::new();
    for (number, mesh) in Mesh::new(2, 128).into_iter().enumerate() {
        let mut settings = Gateway(0).settings();
        (settings.worker, settings.workers) = (number as u32, 2);
        settings.layout = Layout::new(2, 1024);
        labs.push(Lab::with(&settings, RingSizes::default(), Bell::silent(), mesh));
    }
    for host in 0..HOSTS as u8 {
        assert!(labs[0].inside.send_bytes(&Gateway(0).from_address(Ipv4Addr::new(10, 0, 0, 100 + host))));
    }
    for _ in 0..4 {
        for lab in &mut labs {
            lab.turn();
        }
    }
    let counters = [labs[0].counters(), labs[1].counters()];
    assert!(
        (1..HOSTS).contains(&counters[0].handed_off),
        "{} of {HOSTS} handed over",
        counters[0].handed_off
    );
    assert_eq!((counters[1].taken_over, counters[1].handed_off), (counters[0].handed_off, 0));
    let undecided = counters[0].drops[DropReason::NoBinding as usize];
    assert_eq!(undecided, HOSTS - counters[0].handed_off);
    assert_eq!(counters[1].drops[DropReason::NoBinding as usize], counters[0].handed_off);
    assert_eq!(counters[0].dropped() + counters[1].dropped(), HOSTS);
}

#[test]
fn full_ring_between_workers_is_a_counted_drop() {
    let mut settings = Gateway(0).settings();
    (settings.workers, settings.layout) = (2, Layout::new(2, 1024));
    let mut ends = Mesh::new(2, 8);
    let mut lab = Lab::with(&settings, RingSizes::default(), Bell::silent(), ends.remove(0));
    for host in 0..100 {
        assert!(lab.inside.send_bytes(&Gateway(0).from_address(Ipv4Addr::new(10, 0, 0, 100 + host))));
    }
    while lab.turn() {}
    assert_eq!(lab.counters().handed_off, 8);
    assert!(lab.drops(DropReason::HandoffRingFull) > 0);
    assert_eq!(lab.counters().dropped() + 8, 100);
}

#[test]
fn frame_handed_over_from_an_unknown_port_is_a_counted_drop() {
    let mut ends = Mesh::new(2, 8);
    let mut lab = Lab::with(&Gateway(0).settings(), RingSizes::default(), Bell::silent(), ends.remove(0));
    ends[0].send(0, 77, MemoryFrame::new(&[0; 60])).unwrap();
    lab.turn();
    assert_eq!(lab.counters().taken_over, 0, "not told yet");
    ends[0].tell();
    lab.turn();
    assert_eq!((lab.drops(DropReason::PortDown), lab.counters().taken_over), (1, 1));
}

/// However much comes from how many workers: at most a burst of each in a turn, and all of it in the order of each.
#[test]
fn what_other_workers_hand_over_comes_whole_and_in_order() {
    for counts in [[1, 0, 0], [5, 64, 63], [20, 30, 14], [64, 64, 64], [100, 3, 90]] {
        let mut ends = Mesh::new(4, 128);
        let mut lab = Lab::with(&Gateway(0).settings(), RingSizes::default(), Bell::silent(), ends.remove(0));
        for command in Gateway(0).commands() {
            lab.control.commands.push(command).unwrap();
        }
        lab.turn();
        for (end, count) in counts.into_iter().enumerate() {
            for number in 0..count {
                let frame = MemoryFrame::new(&Gateway(0).from_host(&[end as u8, number]));
                ends[end].send(0, INSIDE, frame).unwrap();
            }
            // Something for the other port among it, to be dropped there.
            ends[end].send(0, OUTSIDE, MemoryFrame::new(&[0; 60])).unwrap();
            ends[end].tell();
        }
        lab.turn();
        let first: u64 = counts.iter().map(|&count| u64::from(count + 1).min(BURST as u64)).sum();
        assert_eq!(lab.counters().taken_over, first);
        while lab.turn() {}
        let all = counts.iter().map(|&count| u64::from(count)).sum::<u64>();
        assert_eq!((lab.counters().taken_over, lab.counters().dropped()), (all + 3, 3));
        let mut next = [0; 3];
        while let Some(frame) = lab.outside.receive() {
            let payload = &frame.data()[frame.data().len() - 2..];
            assert_eq!(payload[1], next[usize::from(payload[0])]);
            next[usize::from(payload[0])] += 1;
        }
        assert_eq!(next, counts);
    }
}

#[test]
fn running_worker_stops_when_told_and_sends_what_it_has() {
    let mut lab = Lab::plain(Gateway(0));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| lab.worker.run(&stop));
        for number in 0..50u8 {
            assert!(lab.inside.send_bytes(&Gateway(0).from_host(&[number])));
        }
        std::thread::sleep(Duration::from_millis(20));
        stop.store(true, Ordering::Relaxed);
        worker.join().unwrap();
    });
    let mut count = 0;
    while lab.outside.receive().is_some() {
        count += 1;
    }
    assert_eq!(count, 50);
    let counters = lab.counters();
    assert!(counters.busy_turns > 0 && counters.busy_cycles > 0);
    assert!(counters.idle_turns > 0 && counters.idle_cycles > 0);
    assert!(counters.bursts[0] > 0 && counters.bursts[1..].iter().sum::<u64>() > 0);
}
