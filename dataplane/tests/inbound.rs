//! The Realm Gateway in the packet path, case by case: reservations, what consumes them and what does not. No NIC.
#![allow(missing_docs)]

mod common;

use ces_dataplane::frame::MemoryFrame;
use ces_dataplane::msg::{Command, Event, Reservation, ReservationEnd, ReservationId};
use ces_dataplane::path::process_burst;
use ces_dataplane::premises::Premises;
use ces_dataplane::reason::DropReason as Why;
use ces_dataplane::settings::{PoolRoom, WorkerSettings};
use ces_dataplane::tag::{Layout, worker_of, worker_of_pool};
use ces_dataplane::verdict::Verdict;
use common::nat::*;
use common::rules::filter;
use common::*;

/// Two addresses of the pool, on the outside link.
const POOL: u32 = 0xc633_6450;
const POOL_2: u32 = 0xc633_6451;
/// Anybody.
const CLIENT: u32 = 0x0101_0101;
const CLIENT_2: u32 = 0x0202_0202;

fn pool_settings() -> WorkerSettings {
    let mut settings = nat_settings();
    settings.pool_room = PoolRoom { addresses: 8, reservations: 8, unwanted: 64 };
    settings.pool = vec![address(POOL), address(POOL_2)];
    settings
}

fn gateway() -> Gateway {
    let mut gateway = gateway_with(pool_settings());
    gateway.now = 1000 * SECOND;
    gateway.state.tick(gateway.now);
    gateway
}

/// For two seconds, of the host, for anybody's first packet.
fn reservation(port: u16, protocol: u8) -> Reservation {
    Reservation {
        address: address(POOL),
        port,
        protocol,
        host: address(HOST),
        from: (address(0), 0),
        loose: Some(0),
        clients: 1,
        lasts_ms: 2000,
    }
}

fn reserve(gateway: &mut Gateway, id: u32, reservation: Reservation) {
    gateway.command(Command::Reserve(ReservationId(id), reservation));
}

/// What was said of reservations.
fn ends(gateway: &mut Gateway) -> Vec<(u32, ReservationEnd)> {
    gateway.state.tick(gateway.now);
    let end = |event| match event {
        Event::ReservationEnded(ReservationId(id), end) => Some((id, end)),
        _ => None,
    };
    gateway.events().into_iter().filter_map(end).collect()
}

/// A segment whose sequence number is another one with each number.
fn segment(client: u32, ports: (u16, u16), flags: u8, number: u8) -> Vec<u8> {
    let mut payload = tcp(ports.0, ports.1, flags, &[], &[]);
    payload[7] = number;
    from_world(&Ip::new(client, POOL, 6, payload))
}

fn syn(client: u32, ports: (u16, u16)) -> Vec<u8> {
    segment(client, ports, SYN, 1)
}

#[test]
fn the_first_packet_opens_a_session_and_the_address_is_free() {
    let mut gateway = gateway();
    reserve(&mut gateway, 0, reservation(80, 6));
    let (port, frame) = sent(&mut gateway, OUTSIDE, &syn(CLIENT, (40_000, 80)));
    assert_eq!(
        (port, flow(&frame)),
        (INSIDE, (CLIENT, 40_000, HOST, 80)),
        "the client's own address is kept"
    );
    assert_eq!(ends(&mut gateway), [(0, ReservationEnd::Used(address(CLIENT)))]);
    let answer = Ip::new(HOST, CLIENT, 6, tcp(80, 40_000, SYN | ACK, &[], &[]));
    let (port, frame) = sent(&mut gateway, INSIDE, &from_host(&answer));
    assert_eq!((port, flow(&frame)), (OUTSIDE, (POOL, 80, CLIENT, 40_000)));
    for _ in 0..3 {
        let data = segment(CLIENT, (40_000, 80), ACK, 2);
        assert_eq!(flow(&sent(&mut gateway, OUTSIDE, &data).1), (CLIENT, 40_000, HOST, 80));
        let data = Ip::new(HOST, CLIENT, 6, tcp(80, 40_000, ACK, &[], b"data"));
        assert_eq!(flow(&sent(&mut gateway, INSIDE, &from_host(&data)).1), (POOL, 80, CLIENT, 40_000));
    }
    // The same client from another port has not asked; the next one has, for another host.
    assert_eq!(dropped(&mut gateway, OUTSIDE, &syn(CLIENT, (40_001, 80))), Why::PoolUnreserved);
    reserve(&mut gateway, 0, Reservation { host: address(OTHER), ..reservation(80, 6) });
    assert_eq!(flow(&sent(&mut gateway, OUTSIDE, &syn(CLIENT_2, (40_000, 80))).1).2, OTHER);
    gateway.state.take_stock();
    assert_eq!((gateway.state.counters.sessions_live, gateway.state.counters.mappings_live), (2, 0));
}

/// What the host does by itself has another address, and ends by itself.
#[test]
fn sessions_of_a_reservation_take_no_external_port() {
    let mut gateway = gateway();
    let packet = Ip::new(HOST, SERVER, 17, udp(5000, 53, b"q"));
    assert_eq!(flow(&sent(&mut gateway, INSIDE, &from_host(&packet)).1), (LOCAL, 5000, SERVER, 53));
    reserve(&mut gateway, 0, reservation(5000, 17));
    let datagram = |client| from_world(&Ip::new(client, POOL, 17, udp(53, 5000, b"x")));
    // The host speaks with this one already, from that port: its answers would look like the others.
    assert_eq!(dropped(&mut gateway, OUTSIDE, &datagram(SERVER)), Why::NatTaken);
    assert_eq!(flow(&sent(&mut gateway, OUTSIDE, &datagram(CLIENT)).1), (CLIENT, 53, HOST, 5000));
    let answer = from_host(&Ip::new(HOST, CLIENT, 17, udp(5000, 53, b"y")));
    assert_eq!(flow(&sent(&mut gateway, INSIDE, &answer).1), (POOL, 5000, CLIENT, 53));
    gateway.state.take_stock();
    assert_eq!((gateway.state.counters.sessions_live, gateway.state.counters.mappings_live), (2, 1));
    wait(&mut gateway, 400);
    let counters = &gateway.state.counters;
    assert_eq!((counters.sessions_live, counters.mappings_live, counters.nat_hosts), (0, 0, 0));
}

#[test]
fn every_protocol_comes_to_a_name_of_its_own() {
    for (protocol, payload) in [
        (6, tcp(40_000, 22, SYN, &[], &[])),
        (17, udp(40_000, 5060, b"x")),
        (1, icmp(8, 0, 0x0007_0001, b"ping")),
        (132, vec![7; 24]),
    ] {
        let mut gateway = gateway();
        reserve(&mut gateway, 0, reservation(0, 0));
        let (port, frame) =
            sent(&mut gateway, OUTSIDE, &from_world(&Ip::new(CLIENT, POOL, protocol, payload)));
        assert_eq!((port, word(&frame, 12), word(&frame, 16)), (INSIDE, CLIENT, HOST), "{protocol}");
        assert_eq!(ends(&mut gateway), [(0, ReservationEnd::Used(address(CLIENT)))], "{protocol}");
    }
}

#[test]
fn a_ping_is_answered_and_goes_on() {
    let mut gateway = gateway();
    reserve(&mut gateway, 0, reservation(0, 1));
    for sequence in 1..4 {
        let echo = Ip::new(CLIENT, POOL, 1, icmp(8, 0, 7 << 16 | sequence, b"ping"));
        let inside = Ip::new(CLIENT, HOST, 1, icmp(8, 0, 7 << 16 | sequence, b"ping")).ttl(63);
        assert_eq!(sent(&mut gateway, OUTSIDE, &from_world(&echo)), (INSIDE, to_host(&inside)));
        let reply = Ip::new(HOST, CLIENT, 1, icmp(0, 0, 7 << 16 | sequence, b"ping"));
        let outside = Ip::new(POOL, CLIENT, 1, icmp(0, 0, 7 << 16 | sequence, b"ping")).ttl(63);
        let outside = ethernet(MAC_ROUTER, MAC_OUT, 0x0800, &outside.bytes());
        assert_eq!(sent(&mut gateway, INSIDE, &from_host(&reply)), (OUTSIDE, outside));
    }
    let another = Ip::new(CLIENT, POOL, 1, icmp(8, 0, 8 << 16, b"ping"));
    assert_eq!(dropped(&mut gateway, OUTSIDE, &from_world(&another)), Why::PoolUnreserved);
}

#[test]
fn nothing_but_a_first_packet_that_fits_consumes() {
    let mut gateway = gateway();
    reserve(&mut gateway, 0, reservation(80, 6));
    for (frame, why) in [
        (segment(CLIENT, (40_000, 80), ACK, 1), Why::Unasked),
        (segment(CLIENT, (40_000, 80), SYN | ACK, 1), Why::Unasked),
        (segment(CLIENT, (40_000, 80), RST, 1), Why::Unasked),
        (segment(CLIENT, (0, 80), SYN, 1), Why::Unasked),
        (segment(CLIENT, (40_000, 81), SYN, 1), Why::PoolUnreserved),
        (from_world(&Ip::new(CLIENT, POOL, 17, udp(40_000, 80, b"x"))), Why::PoolUnreserved),
        (from_world(&Ip::new(CLIENT, POOL, 1, icmp(8, 0, 1, b""))), Why::PoolUnreserved),
        (from_world(&Ip::new(CLIENT, POOL, 1, icmp(0, 0, 1, b""))), Why::Unasked),
        (from_world(&Ip::new(CLIENT, POOL_2, 6, tcp(40_000, 80, SYN, &[], &[]))), Why::PoolUnreserved),
        // RFC 2827: an inside address, and one of a network behind another port.
        (syn(HOST, (40_000, 80)), Why::SourceSpoofed),
    ] {
        assert_eq!(dropped(&mut gateway, OUTSIDE, &frame), why);
    }
    assert_eq!(ends(&mut gateway), []);
    sent(&mut gateway, OUTSIDE, &syn(CLIENT, (40_000, 80)));
}

#[test]
fn who_came_unasked_and_tries_again_takes_nobodys_place() {
    let mut gateway = gateway();
    let datagram = || from_world(&Ip::new(CLIENT_2, POOL, 17, udp(40_000, 5060, b"x")));
    let ping = |id: u32| from_world(&Ip::new(CLIENT_2, POOL, 1, icmp(8, 0, id << 16, b"x")));
    for frame in [syn(CLIENT_2, (40_000, 80)), datagram(), ping(7)] {
        assert_eq!(dropped(&mut gateway, OUTSIDE, &frame), Why::PoolUnreserved);
        gateway.now += SECOND;
        reserve(&mut gateway, 0, reservation(0, 0));
        assert_eq!(dropped(&mut gateway, OUTSIDE, &frame), Why::PoolAgain);
        gateway.command(Command::Withdraw(ReservationId(0)));
        assert_eq!(ends(&mut gateway), [(0, ReservationEnd::Withdrawn)]);
    }
    // The one who has asked meanwhile begins anew, be it from the same address.
    reserve(&mut gateway, 0, reservation(0, 0));
    sent(&mut gateway, OUTSIDE, &segment(CLIENT_2, (40_000, 80), SYN, 9));
    reserve(&mut gateway, 1, reservation(0, 0));
    gateway.now += 21 * SECOND;
    assert_eq!(ends(&mut gateway).len(), 2);
    reserve(&mut gateway, 1, reservation(0, 0));
    sent(&mut gateway, OUTSIDE, &ping(7));
}

#[test]
fn a_late_client_finds_nothing() {
    let mut gateway = gateway();
    reserve(&mut gateway, 0, reservation(80, 6));
    gateway.now += 2 * SECOND;
    assert_eq!(dropped(&mut gateway, OUTSIDE, &syn(CLIENT, (40_000, 80))), Why::PoolUnreserved);
    gateway.now += SECOND;
    assert_eq!(ends(&mut gateway), [(0, ReservationEnd::Expired)]);
}

#[test]
fn loose_ones_let_the_same_client_open_more() {
    let mut gateway = gateway();
    reserve(&mut gateway, 0, Reservation { loose: Some(1), ..reservation(0, 6) });
    sent(&mut gateway, OUTSIDE, &syn(CLIENT, (40_000, 80)));
    assert_eq!(dropped(&mut gateway, OUTSIDE, &syn(CLIENT_2, (40_000, 80))), Why::PoolForeign);
    sent(&mut gateway, OUTSIDE, &syn(CLIENT, (40_001, 443)));
    assert_eq!(ends(&mut gateway), [(0, ReservationEnd::Used(address(CLIENT)))]);
    assert_eq!(dropped(&mut gateway, OUTSIDE, &syn(CLIENT, (40_002, 443))), Why::PoolUnreserved);
}

#[test]
fn one_answer_may_be_for_several_clients() {
    let mut gateway = gateway();
    reserve(&mut gateway, 0, Reservation { clients: 2, ..reservation(80, 6) });
    sent(&mut gateway, OUTSIDE, &syn(CLIENT, (40_000, 80)));
    assert_eq!(ends(&mut gateway), [], "another one may come");
    sent(&mut gateway, OUTSIDE, &syn(CLIENT_2, (40_000, 80)));
    assert_eq!(ends(&mut gateway), [(0, ReservationEnd::Used(address(CLIENT_2)))]);
    assert_eq!(dropped(&mut gateway, OUTSIDE, &syn(CLIENT + 1, (40_000, 80))), Why::PoolUnreserved);
}

#[test]
fn only_clients_of_the_network_that_was_told_use_it() {
    let mut gateway = gateway();
    let from = (address(CLIENT & 0xffff_ff00), 24);
    reserve(&mut gateway, 0, Reservation { from, ..reservation(80, 6) });
    assert_eq!(dropped(&mut gateway, OUTSIDE, &syn(CLIENT_2, (40_000, 80))), Why::PoolForeign);
    sent(&mut gateway, OUTSIDE, &syn(CLIENT + 1, (40_000, 80)));
}

#[test]
fn what_rules_forbid_consumes_nothing() {
    let settings = pool_settings();
    let filter = filter("deny from outside 1.1.1.1 to inside\nallow to inside\n");
    let mut gateway = gateway_with(settings.clone());
    let premises = Premises::new(&settings).with_routes(routes(1)).with_filter(Some(filter), 1);
    gateway.state.move_in(&mut premises.clone());
    reserve(&mut gateway, 0, reservation(80, 6));
    assert_eq!(dropped(&mut gateway, OUTSIDE, &syn(CLIENT, (40_000, 80))), Why::FilterDenied);
    sent(&mut gateway, OUTSIDE, &syn(CLIENT_2, (40_000, 80)));
}

/// A host that asked a resolver out there comes to the pool's address from inside.
#[test]
fn a_host_of_the_realm_uses_a_reservation_as_anybody_does() {
    let mut gateway = gateway();
    reserve(&mut gateway, 0, reservation(80, 6));
    let first = Ip::new(OTHER, POOL, 6, tcp(20_000, 80, SYN, &[], &[]));
    let (port, frame) = sent(&mut gateway, INSIDE, &from_other(&first));
    assert_eq!((port, flow(&frame)), (INSIDE, (LOCAL, 20_000, HOST, 80)));
    let answer = Ip::new(HOST, LOCAL, 6, tcp(80, 20_000, SYN | ACK, &[], &[]));
    let (_, frame) = sent(&mut gateway, INSIDE, &from_host(&answer));
    assert_eq!(flow(&frame), (POOL, 80, OTHER, 20_000));
    assert_eq!(ends(&mut gateway), [(0, ReservationEnd::Used(address(LOCAL)))]);
}

/// An address that a reload takes out of the pool: what is pending and what stands goes on.
#[test]
fn a_reload_leaves_pending_reservations() {
    let mut gateway = gateway();
    reserve(&mut gateway, 0, reservation(80, 6));
    let mut settings = pool_settings();
    settings.pool = vec![address(POOL_2)];
    gateway.state.move_in(&mut Premises::new(&settings).with_routes(routes(2)));
    sent(&mut gateway, OUTSIDE, &syn(CLIENT, (40_000, 80)));
    sent(&mut gateway, OUTSIDE, &segment(CLIENT, (40_000, 80), ACK, 2));
}

/// Each worker owns some addresses, and the hosts that they are reserved for.
#[test]
fn with_several_workers_what_comes_goes_to_the_owner_of_the_address() {
    let host_worker = worker_of(HOST, 2);
    let pool = [POOL, POOL_2].into_iter().find(|&pool| worker_of_pool(pool, 2) == host_worker).unwrap();
    let mut workers = [0, 1].map(|worker| {
        let mut settings = pool_settings();
        (settings.worker, settings.workers) = (worker, 2);
        settings.layout = Layout::new(2, settings.bindings);
        gateway_with(settings)
    });
    let owner = &mut workers[host_worker as usize];
    reserve(owner, 0, Reservation { address: address(pool), ..reservation(80, 6) });
    let frame = from_world(&Ip::new(CLIENT, pool, 6, tcp(40_000, 80, SYN, &[], &[])));
    assert!(matches!(owner.one(OUTSIDE, &frame).0, Verdict::Forward(_)));
    let elsewhere = workers[1 - host_worker as usize].one(OUTSIDE, &frame).0;
    assert_eq!(elsewhere, Verdict::HandOff(host_worker as u8));
}

/// `cargo test -p ces-dataplane --release --test inbound -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn cycles_of_a_first_packet() {
    const ROUNDS: usize = 100;
    const SESSIONS: u32 = 4096;
    let mut settings = pool_settings();
    settings.nat_room.sessions = 2 * SESSIONS;
    settings.nat.host_sessions = 2 * SESSIONS;
    let mut best = [u64::MAX; 2];
    for _ in 0..ROUNDS {
        let mut gateway = gateway_with(settings.clone());
        let mut spent = [0; 2];
        for number in 0..SESSIONS {
            reserve(&mut gateway, 0, reservation(0, 0));
            let first = syn(CLIENT + number, (40_000, 80));
            for spent in &mut spent {
                let mut frames = [MemoryFrame::new(&first)];
                let mut verdicts = [Verdict::Absorb];
                let began = machine::cycles();
                let (state, buffers) = (&mut gateway.state, &mut gateway.wire);
                process_burst(state, OUTSIDE, &mut frames, &mut verdicts, buffers, gateway.now);
                *spent += machine::cycles() - began;
                assert!(matches!(verdicts[0], Verdict::Forward(_)));
            }
            let _ = ends(&mut gateway);
        }
        best = [0, 1].map(|at| best[at].min(spent[at] / u64::from(SESSIONS)));
    }
    println!("{} cycles the first packet, {} the same once more, each a burst of one", best[0], best[1]);
}
