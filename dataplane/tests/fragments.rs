//! Fragments out of order through bindings that carry one port (P9): RFC 4787 §11, REQ-14.
#![allow(missing_docs)]

mod gateways;

use ces_dataplane::frame::Frame;
use ces_dataplane::msg::{BindingLimits, Command};
use ces_dataplane::reason::DropReason;
use ces_dataplane::worker::{Bell, Mesh, RingSizes};
use gateways::lab::Lab;
use gateways::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

const ETHERNET: usize = 14;
const IPV4: usize = 20;
/// What a tunnel puts in front: Ethernet, IPv4, UDP, VXLAN, Ethernet.
const TUNNEL: usize = 64;
/// Later fragments that are held for two hosts, and for how many turns of a millisecond.
const EACH: usize = 48;
const TURNS: usize = 500;

/// A worker whose binding carries this port of UDP alone.
fn restricted(gateway: Gateway, port: u16) -> Lab {
    let mut lab = Lab::with(&gateway.settings(), RingSizes::default(), Bell::silent(), Mesh::alone());
    for command in gateway.commands() {
        let command = match command {
            Command::InsertBinding(handle, mut binding) => {
                let port_is_inside = gateway.0 == 1;
                binding.limits =
                    BindingLimits { protocol: Some(17), port: Some(port), port_is_inside, rate_bps: None };
                Command::InsertBinding(handle, binding)
            }
            other => other,
        };
        lab.control.commands.push(command).unwrap();
    }
    lab.turn();
    lab
}

fn wait(lab: &mut Lab, turns: usize) {
    for _ in 0..turns {
        lab.turn();
    }
}

fn word(packet: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([packet[at], packet[at + 1]])
}

/// Makes the header's checksum right.
fn sealed(mut frame: Vec<u8>) -> Vec<u8> {
    frame[ETHERNET + 10..ETHERNET + 12].fill(0);
    let words =
        frame[ETHERNET..ETHERNET + IPV4].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum: u32 = words.sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    frame[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// The host's datagram with this id, in so many parts of 16 bytes.
fn parts(id: u16, count: usize) -> Vec<Vec<u8>> {
    let payload: Vec<u8> = (0..16 * count - 8).map(|at| id as u8 ^ at as u8).collect();
    let whole = Gateway(0).from_host(&payload);
    let (head, body) = whole.split_at(ETHERNET + IPV4);
    let part = |at: usize| {
        let mut frame = [head, &body[16 * at..16 * at + 16]].concat();
        let more = u16::from(at + 1 < count) << 13;
        frame[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&36u16.to_be_bytes());
        frame[ETHERNET + 4..ETHERNET + 6].copy_from_slice(&id.to_be_bytes());
        frame[ETHERNET + 6..ETHERNET + 8].copy_from_slice(&(more | (2 * at as u16)).to_be_bytes());
        sealed(frame)
    };
    (0..count).map(part).collect()
}

/// A fragment that arrived: its id, where it stands, and what of its bytes must not change: not the first one's checksum.
type Arrived = (u16, u16, Vec<u8>);

fn arrived(packet: &[u8]) -> Arrived {
    let offset = word(packet, 6) & 0x1fff;
    let body = if offset == 0 { packet[IPV4 + 8..].to_vec() } else { packet[IPV4..].to_vec() };
    (word(packet, 4), offset, body)
}

/// Sends frames by one cable of a worker, with turns after some, and takes what leaves by the other, less `front` bytes.
fn through(lab: &mut Lab, is_inward: bool, frames: &[Vec<u8>], turns: &[bool]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for (frame, turn) in frames.iter().zip(turns.iter().chain(std::iter::repeat(&false))) {
        assert!(if is_inward { lab.outside.send_bytes(frame) } else { lab.inside.send_bytes(frame) });
        if *turn {
            lab.turn();
        }
    }
    lab.turn();
    lab.turn();
    let cable = if is_inward { &mut lab.inside } else { &mut lab.outside };
    while let Some(frame) = cable.receive() {
        out.push(frame.data().to_vec());
    }
    out
}

/// What came out is all of what went in, each first fragment ahead of the later ones of its packet.
fn assert_all(sent: &[Vec<u8>], out: impl Iterator<Item = Arrived>) {
    let mut out: Vec<Arrived> = out.collect();
    let mut seen = BTreeMap::new();
    for (id, offset, _) in &out {
        assert!(*seen.entry(*id).or_insert(*offset == 0), "a later one of {id} ahead of its first");
    }
    let mut wanted: Vec<_> = sent.iter().map(|frame| arrived(&frame[ETHERNET..])).collect();
    wanted.sort();
    out.sort();
    assert_eq!(out, wanted);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Up to three datagrams of up to four fragments each, in any order, in bursts of any length, to the tunnel and out of it.
    #[test]
    fn p9_all_orders_arrive(
        counts in proptest::collection::vec(1usize..5, 1..4), keys in proptest::collection::vec(any::<u32>(), 12),
        turns in proptest::collection::vec(any::<bool>(), 12),
    ) {
        let frames = counts.iter().enumerate().flat_map(|(id, count)| parts(id as u16 + 1, *count));
        let mut frames: Vec<_> = frames.zip(keys).collect();
        frames.sort_by_key(|(_, key)| *key);
        let frames: Vec<_> = frames.into_iter().map(|(frame, _)| frame).collect();

        let mut near = restricted(Gateway(0), 5000);
        let out = through(&mut near, false, &frames, &turns);
        assert_all(&frames, out.iter().map(|frame| arrived(&frame[TUNNEL..])));

        // The near gateway carries all, in the order that they came in.
        let mut near = Lab::plain(Gateway(0));
        let between = through(&mut near, false, &frames, &[]);
        let mut far = restricted(Gateway(1), 5000);
        let out = through(&mut far, true, &between, &turns);
        assert_all(&frames, out.iter().map(|frame| arrived(&frame[ETHERNET..])));
        for lab in [&near, &far] {
            let counters = lab.counters();
            prop_assert_eq!((counters.dropped(), counters.later_held, counters.held_now), (0, counters.later_sent, 0));
        }
    }
}

#[test]
fn p9_all_24_orders_of_four_arrive() {
    for order in 0..256usize {
        let places = [order & 3, order >> 2 & 3, order >> 4 & 3, order >> 6];
        if (0..4).any(|place| !places.contains(&place)) {
            continue;
        }
        let all = parts(9, 4);
        let frames = places.map(|place| all[place].clone());
        for turns in [[false; 4], [true; 4]] {
            let out = through(&mut restricted(Gateway(0), 5000), false, &frames, &turns);
            assert_all(&frames, out.iter().map(|frame| arrived(&frame[TUNNEL..])));
        }
    }
}

#[test]
fn p9_a_packet_that_is_not_carried_takes_its_parts_along() {
    let mut lab = restricted(Gateway(0), 5001);
    let mut frames = parts(9, 3);
    frames.reverse();
    assert!(through(&mut lab, false, &frames, &[]).is_empty());
    assert_eq!((lab.drops(DropReason::PolicyProtocol), lab.counters().held_now), (1, 2));
    wait(&mut lab, TURNS + 2);
    assert_eq!((lab.drops(DropReason::FragmentUnmatched), lab.counters().held_now), (2, 0));
    assert_eq!((lab.counters().dropped(), lab.counters().later_sent), (3, 0));
}

/// Who sends later fragments alone takes its own room, and each is counted once.
#[test]
fn p9_a_flood_is_bounded_and_counted() {
    let mut lab = restricted(Gateway(0), 5000);
    let flood: Vec<_> = (1..=200u16).map(|id| parts(id, 2).remove(1)).collect();
    for frame in &flood {
        assert!(lab.inside.send_bytes(frame));
    }
    wait(&mut lab, 5);
    let counters = lab.counters();
    assert_eq!((counters.later_held, counters.held_now), (200, EACH as u64));
    assert_eq!(lab.drops(DropReason::FragmentReplaced), 200 - EACH as u64);
    // The latest are there: those of the last packets arrive when their first ones come, each once.
    let firsts: Vec<_> = (191..=200u16).map(|id| parts(id, 2).remove(0)).collect();
    assert_eq!(through(&mut lab, false, &firsts, &[]).len(), 20);
    wait(&mut lab, TURNS + 2);
    let counters = lab.counters();
    assert_eq!((counters.later_sent, counters.held_now), (10, 0));
    assert_eq!(counters.dropped(), 190);
}

#[test]
fn p9_what_is_held_at_the_end_is_counted() {
    let mut lab = restricted(Gateway(0), 5000);
    assert!(lab.inside.send_bytes(&parts(1, 2)[1]));
    let stop = AtomicBool::new(true);
    lab.worker.run(&stop); // its last turn takes it in
    assert_eq!((lab.drops(DropReason::FragmentUnmatched), lab.counters().dropped()), (1, 1));
}
