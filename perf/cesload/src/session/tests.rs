//! Whole sessions over a network that is made of arithmetic.

mod phases;
mod plan;
mod world;

use crate::frame::ends::Ends;
use crate::session::dns::Names;
use crate::session::frames::{Fields, SessionTemplate};
use crate::session::packet::Packet;
use crate::session::plan::{Destination, Plan, Transport};
use crate::session::stamp::Stamp;
use crate::session::tally::Cause;
use crate::session::tests::plan::plan;
use crate::session::tests::world::{DELAY, World};
use ces_dataplane::Nanos;
use ces_dataplane::wire::ethernet;
use ces_dataplane::wire::tcp::{ACK, FIN, RST, SYN};
use proptest::prelude::*;

const BOTH: [Transport; 2] = [Transport::Udp, Transport::Tcp];

fn fine(_: &[u8]) -> Vec<Nanos> {
    vec![DELAY]
}

fn named(transport: Transport) -> Plan {
    let names = Names::new("h{}.b.demo", 1, 9).unwrap();
    Plan { target: Destination::Named { server: 0x0a00_00fe, names }, ..plan(transport) }
}

#[test]
fn names_alone_are_asked_for_and_so_many_at_a_time() {
    let plan = Plan { requests: 0, outstanding: 3, ..named(Transport::Udp) };
    let mut world = World::new(plan, false);
    for round in 1..=4 {
        for _ in 0..3 {
            assert!(world.begin());
        }
        assert!(!world.begin(), "three are open, and no more may be");
        world.run(&mut fine);
        let tally = world.client.tally();
        assert_eq!((tally.completed, tally.resolved, tally.requests), (3 * round, 3 * round, 0));
    }
    assert_eq!(world.server.served().requests, 0);
}

#[test]
fn sessions_complete_in_fine_weather() {
    for transport in BOTH {
        let mut world = World::new(plan(transport), false);
        for _ in 0..32 {
            assert!(world.begin());
        }
        assert!(!world.begin(), "all addresses and ports are in use");
        world.run(&mut fine);
        let tally = world.client.tally();
        assert_eq!((tally.begun, tally.set_up, tally.completed, tally.failures()), (32, 32, 32, 0));
        assert_eq!((tally.requests, tally.responses, tally.again), (96, 96, 0));
        assert_eq!((tally.duplicated, tally.late, tally.misplaced, tally.damaged), (0, 0, 0, 0));
        assert_eq!(world.server.served().requests, 96);
        assert_eq!(world.server.served().wrong_acknowledgements, 0);
        // There and back; and there.
        assert!(tally.set_up_ns.equivalent(tally.set_up_ns.max(), 2 * DELAY));
        assert!(tally.first_packet_ns.equivalent(tally.first_packet_ns.max(), DELAY));
        assert_eq!((tally.set_up_ns.len(), tally.first_packet_ns.len()), (32, 32));
        assert!(world.begin(), "slots are used again");
    }
}

#[test]
fn tcp_session_is_eight_frames() {
    let mut world = World::new(Plan { requests: 1, ..plan(Transport::Tcp) }, false);
    let mut seen = Vec::new();
    world.begin();
    world.run(&mut |frame| {
        let Packet::Tcp(_, segment) = Packet::parse(frame) else { panic!("no segment") };
        seen.push((segment.flags, segment.payload.len()));
        vec![DELAY]
    });
    let expected = [
        (SYN, 0),
        (SYN | ACK, 0),
        (ACK, 0),
        (ACK | 8, 100),
        (ACK | 8, 300),
        (FIN | ACK, 0),
        (FIN | ACK, 0),
        (ACK, 0),
    ];
    assert_eq!(seen, expected);
    assert_eq!(world.client.tally().completed, 1);
}

#[test]
fn sessions_begin_by_name() {
    for transport in BOTH {
        let mut world = World::new(named(transport), false);
        for _ in 0..8 {
            world.begin();
        }
        world.run(&mut fine);
        let tally = world.client.tally();
        assert_eq!((tally.begun, tally.resolved, tally.set_up, tally.completed), (8, 8, 8, 8));
        assert!(tally.dns_ns.equivalent(tally.dns_ns.max(), 2 * DELAY));
        assert!(tally.set_up_ns.equivalent(tally.set_up_ns.max(), 2 * DELAY));
        assert!(tally.first_packet_ns.equivalent(tally.first_packet_ns.max(), 3 * DELAY));
    }
}

#[test]
fn each_dns_outcome_is_counted() {
    for (code, address, cause) in [
        (5, 0, Cause::DnsRefused),
        (2, 0, Cause::DnsServerFailure),
        (3, 0, Cause::DnsNoSuchName),
        (4, 0, Cause::DnsUnusable),
        (0, 0, Cause::DnsNoAddress),
    ] {
        let mut world = World::new(named(Transport::Tcp), false);
        world.zone = Box::new(move |_| (code, address));
        for _ in 0..5 {
            world.begin();
        }
        world.run(&mut fine);
        let tally = world.client.tally();
        assert_eq!((tally.failed[cause as usize], tally.failures(), tally.resolved), (5, 5, 0), "{cause:?}");
    }
}

#[test]
fn silence_is_counted_by_what_was_waited_for() {
    type Of = fn(&Packet<'_>) -> bool;
    let syn_ack: Of = |packet| matches!(packet, Packet::Tcp(_, it) if it.flags == SYN | ACK);
    let response: Of = |packet| match packet {
        Packet::Tcp(ends, it) => ends.source_port == 80 && !it.payload.is_empty(),
        Packet::Udp(ends, _) => ends.source_port == 80,
        _ => false,
    };
    let fin: Of =
        |packet| matches!(packet, Packet::Tcp(ends, it) if ends.source_port == 80 && it.flags & FIN != 0);
    let dns: Of = |packet| matches!(packet, Packet::Udp(ends, _) if ends.source_port == 53);
    for (plan, lost, cause) in [
        (plan(Transport::Tcp), syn_ack, Cause::NoSynAck),
        (plan(Transport::Tcp), response, Cause::NoResponse),
        (plan(Transport::Udp), response, Cause::NoResponse),
        (plan(Transport::Tcp), fin, Cause::NoFin),
        (named(Transport::Tcp), dns, Cause::NoDnsAnswer),
    ] {
        let mut world = World::new(plan, false);
        world.begin();
        let begun = world.now;
        world.run(&mut |frame| if lost(&Packet::parse(frame)) { vec![] } else { vec![DELAY] });
        let tally = world.client.tally();
        assert_eq!((tally.failed[cause as usize], tally.failures()), (1, 1), "{cause:?}");
        assert_eq!(tally.again, 2, "sent again as often as the plan says");
        assert!(world.now - begun >= 3_000_000, "three timeouts");
    }
}

#[test]
fn lost_frames_are_sent_again() {
    for transport in BOTH {
        for nth in 0..16 {
            let mut world = World::new(plan(transport), false);
            world.begin();
            let mut count = 0;
            world.run(&mut |_| {
                count += 1;
                if count == nth + 1 { vec![] } else { vec![DELAY] }
            });
            let tally = world.client.tally();
            assert_eq!((tally.completed, tally.failures()), (1, 0), "{transport:?} without frame {nth}");
            assert!(tally.again <= 1);
        }
    }
}

#[test]
fn repeated_and_reordered_frames_change_nothing() {
    for transport in BOTH {
        let mut world = World::new(plan(transport), false);
        for _ in 0..16 {
            world.begin();
        }
        let mut count = 0;
        world.run(&mut |_| {
            count += 1;
            vec![DELAY + count % 3 * 2 * DELAY, 9 * DELAY]
        });
        let tally = world.client.tally();
        assert_eq!((tally.completed, tally.failures(), tally.responses), (16, 0, 48));
        assert!(tally.duplicated + tally.late > 0);
        assert_eq!(tally.misplaced, 0);
    }
}

#[test]
fn server_sees_translated_addresses_and_answers_them() {
    for transport in BOTH {
        let mut world = World::new(plan(transport), false);
        world.translate = 0x5500_0000;
        for _ in 0..8 {
            world.begin();
        }
        world.run(&mut fine);
        assert_eq!(world.client.tally().completed, 8);
    }
}

#[test]
fn address_that_changes_within_a_session_is_noticed() {
    let mut world = World::new(Plan { think_ns: 100 * DELAY, ..plan(Transport::Tcp) }, false);
    world.begin();
    while world.client.tally().responses == 0 {
        world.step(&mut fine);
    }
    world.translate = 7;
    world.run(&mut fine);
    assert!(world.server.served().wrong_acknowledgements > 0);
    assert_eq!(world.client.tally().failed[Cause::Reset as usize], 1);
}

/// A segment from the server to the first session's client.
fn forged(world: &World, sequence: u32, acknowledgement: u32, flags: u8) -> Vec<u8> {
    let (destination, destination_port) = world.client.plan().client_of(0);
    let ends = Ends { source: 0xc633_6401, destination, source_port: 80, destination_port };
    let link =
        ethernet::Header { destination: [0; 6], source: [1; 6], vlan: None, ethertype: ethernet::IPV4 };
    let mut out = crate::session::tests::world::Sent::default();
    let fields = Fields { sequence, acknowledgement, flags, now: Stamp(0), echo: 0 };
    assert!(SessionTemplate::data(&link, 0).emit_tcp(&mut out, 0, None, ends, &fields));
    out.frames.remove(0).1
}

fn first_syn(world: &World) -> u32 {
    let Packet::Tcp(_, syn) = Packet::parse(&world.out.frames[0].1) else { panic!("no SYN") };
    syn.sequence
}

#[test]
fn reset_of_the_syn_refuses() {
    // RFC 9293 §3.10.7.3: only if it acknowledges the SYN.
    let mut world = World::new(plan(Transport::Tcp), false);
    world.begin();
    let iss = first_syn(&world);
    let wrong = forged(&world, 0, iss, RST | ACK);
    world.deliver(0, &wrong);
    assert_eq!((world.client.tally().misplaced, world.client.open()), (1, 1));
    let right = forged(&world, 0, iss.wrapping_add(1), RST | ACK);
    world.deliver(0, &right);
    assert_eq!((world.client.tally().failed[Cause::Refused as usize], world.client.open()), (1, 0));
}

#[test]
fn wrong_acknowledgement_of_the_syn_is_reset() {
    let mut world = World::new(plan(Transport::Tcp), false);
    world.begin();
    let wrong = forged(&world, 5, first_syn(&world).wrapping_add(2), SYN | ACK);
    world.out.frames.clear();
    world.deliver(0, &wrong);
    let Packet::Tcp(_, reset) = Packet::parse(&world.out.frames[0].1) else { panic!("no reset") };
    assert_eq!((reset.flags, world.client.open()), (RST, 1));
    world.run(&mut fine);
    assert_eq!(world.client.tally().completed, 1, "the SYN is sent again");
    assert_eq!(world.server.served().resets, 1, "and the reset was seen");
}

#[test]
fn reset_of_a_connection_must_have_the_right_sequence_number() {
    let mut world = World::new(Plan { think_ns: 1_000_000, ..plan(Transport::Tcp) }, false);
    world.begin();
    let mut last = 0;
    while world.client.tally().responses == 0 {
        world.step(&mut |frame| {
            if let Packet::Tcp(ends, it) = Packet::parse(frame)
                && ends.source_port == 80
            {
                last = it.sequence.wrapping_add(it.payload.len() as u32);
            }
            vec![DELAY]
        });
    }
    let wrong = forged(&world, last.wrapping_add(1), 0, RST);
    world.deliver(0, &wrong);
    assert_eq!((world.client.tally().misplaced, world.client.open()), (1, 1));
    let right = forged(&world, last, 0, RST);
    world.deliver(0, &right);
    assert_eq!(world.client.tally().failed[Cause::Reset as usize], 1);
}

#[test]
fn time_to_think_passes_between_requests() {
    for transport in BOTH {
        let mut world = World::new(Plan { think_ns: 5_000_000, ..plan(transport) }, false);
        let begun = world.now;
        world.begin();
        world.run(&mut fine);
        assert_eq!(world.client.tally().completed, 1);
        assert!(world.now - begun >= 10_000_000, "twice between three requests");
    }
}

#[test]
fn kept_sessions_are_used_and_ended() {
    for transport in BOTH {
        let mut world = World::new(plan(transport), true);
        for _ in 0..32 {
            world.begin();
        }
        world.run(&mut fine);
        assert_eq!((world.client.idle(), world.client.tally().set_up), (32, 32));
        let opened = world.client.tally().responses;
        for round in 1..=70_000u64 {
            let slot = if round <= 64 { (round % 32) as u32 } else { 0 };
            assert!(world.client.use_kept(slot, world.now, &mut world.out));
            world.run(&mut fine);
        }
        assert_eq!(world.client.tally().responses - opened, 70_000, "more than 16 bits count");
        for slot in 0..32 {
            assert!(world.client.end_kept(slot, world.now, &mut world.out));
        }
        world.run(&mut fine);
        let tally = world.client.tally();
        assert_eq!((tally.completed, tally.failures(), world.client.open()), (32, 0, 0));
        assert!(!world.client.use_kept(0, world.now, &mut world.out));
    }
}

#[test]
fn stopped_sessions_are_counted_as_such() {
    let mut world = World::new(plan(Transport::Tcp), false);
    for _ in 0..10 {
        world.begin();
    }
    world.client.abandon(world.now);
    let tally = world.client.tally();
    assert_eq!((tally.begun, tally.failed[Cause::Stopped as usize], world.client.open()), (10, 10, 0));
    world.run(&mut fine);
    assert_eq!(world.client.tally().late, 10, "what comes for them is late");
}

#[test]
fn frame_without_room_is_sent_after_the_timeout() {
    for transport in BOTH {
        let mut world = World::new(named(transport), false);
        world.out.refuse = 1;
        world.begin();
        world.run(&mut fine);
        let tally = world.client.tally();
        assert_eq!((tally.completed, tally.unsent, tally.again), (1, 1, 1));
    }
}

#[test]
fn packets_of_an_earlier_trial_are_late() {
    let mut world = World::new(plan(Transport::Udp), false);
    world.begin();
    let request = world.out.frames[0].1.clone();
    world.server.reset(6, false);
    world.deliver(1, &request);
    assert_eq!((world.server.served().late, world.server.served().requests), (1, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Whatever the network does: begun = completed + failed, and nothing is open at the end.
    #[test]
    fn no_session_is_lost_from_the_books(
        tcp: bool, by_name: bool, sessions in 1u64..60, gap in 0u64..300_000,
        luck in proptest::collection::vec((0u8..10, 0u64..400, 0u8..12), 1..400), translate: u32,
    ) {
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        let mut world = World::new(if by_name { named(transport) } else { plan(transport) }, false);
        world.translate = translate & 0x00ff_ff00;
        let mut drawn = 0;
        let mut weather = |_: &[u8]| {
            drawn += 1;
            let (lost, delay, twice) = luck[drawn % luck.len()];
            match (lost, twice) {
                (0..2, _) => vec![],
                (_, 0) => vec![delay * 5_000, (delay + 7) * 9_000],
                _ => vec![delay * 5_000],
            }
        };
        let (mut tried, mut begun) = (0, 0);
        while tried < sessions {
            begun += u64::from(world.begin());
            tried += 1;
            let next = world.now + gap;
            while world.now < next && world.step(&mut weather) {}
        }
        world.run(&mut weather);
        let tally = world.client.tally();
        prop_assert_eq!(tally.begun, begun);
        prop_assert_eq!(world.client.open(), 0);
        prop_assert_eq!(tally.completed + tally.failures(), begun);
        prop_assert!(tally.set_up >= tally.completed && tally.set_up <= begun);
        prop_assert_eq!(tally.set_up_ns.len(), tally.set_up);
        if by_name {
            prop_assert!(tally.resolved >= tally.set_up);
        }
        prop_assert!(tally.responses <= tally.requests);
    }
}
