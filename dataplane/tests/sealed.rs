//! Encrypted tunnels through the packet path: a gateway, and its peer as keys alone. No NIC.
#![allow(missing_docs)]

mod common;

use ces_dataplane::msg::{Command, Encapsulation, Event, Neighbour, Tunnel, TunnelId};
use ces_dataplane::packet::Packet;
use ces_dataplane::path::process_arrival;
use ces_dataplane::reason::DropReason as Why;
use ces_dataplane::seal::{InboundKey, KeyChange, KeyPart, OutboundKey, SealKey, Seals, slot_of};
use ces_dataplane::settings::WorkerSettings;
use ces_dataplane::tag::worker_of;
use ces_dataplane::verdict::{Arrival, Attempt, Custody, Verdict};
use ces_dataplane::wire::psp::{Cipher, EPOCH};
use common::workers::Workers;
use common::*;
use proptest::prelude::*;

/// The indices that we and the peer drew.
const OURS: u32 = 0x1234_5678;
const THEIRS: u32 = 0x0abc_def1;
/// From the Ethernet header to PSP's, and to the packet in it.
const HEADER: usize = 14 + 20 + 8;
const INNER: usize = HEADER + 16;

fn key(cipher: Cipher, number: u8) -> std::sync::Arc<SealKey> {
    SealKey::new(cipher, &[number; 32]).unwrap()
}

fn outbound(cipher: Cipher, number: u8, spi: u32, worker: u8, rekey: u64) -> KeyPart {
    KeyPart::Out(Some(Box::new(OutboundKey::new(key(cipher, number), spi, 1, (worker, 2), rekey))))
}

fn inbound(cipher: Cipher, number: u8, spi: u32) -> KeyPart {
    KeyPart::In(spi & EPOCH != 0, Some(Box::new(InboundKey::new(key(cipher, number), spi, 2))))
}

fn sealed_tunnel() -> Tunnel {
    Tunnel { id_in: OURS, id_out: THEIRS, ..tunnel(Encapsulation::Psp) }
}

/// Key 1 is for what comes, key 2 for what is sent.
fn give_keys(gateway: &mut Gateway, cipher: Cipher) {
    for part in [inbound(cipher, 1, OURS), outbound(cipher, 2, THEIRS, 0, 1000)] {
        gateway.state.change_key(&mut KeyChange { slot: slot_of(OURS), part });
    }
}

fn of(settings: WorkerSettings, cipher: Cipher) -> Gateway {
    let mut gateway = Gateway::bare(settings);
    gateway.command(Command::SetTunnel(TunnelId(0), sealed_tunnel()));
    let handle = gateway.handle(0);
    gateway.command(Command::InsertBinding(handle, binding()));
    give_keys(&mut gateway, cipher);
    gateway
}

fn gateway() -> Gateway {
    of(settings(), Cipher::Aes256Gcm)
}

/// The peer's keys: it sends under key 1, what comes to it is under key 2.
fn peer(cipher: Cipher) -> Seals {
    let mut seals = Seals::default();
    seals.change(&mut KeyChange { slot: slot_of(THEIRS), part: outbound(cipher, 1, OURS, 0, 1000) });
    seals.change(&mut KeyChange { slot: slot_of(THEIRS), part: inbound(cipher, 2, THEIRS) });
    seals
}

/// A frame of the peer's with this packet, sealed.
fn from_peer_sealed(peer: &mut Seals, inner: &Ip) -> Vec<u8> {
    let inner = inner.bytes();
    let mut payload = vec![0; 16 + inner.len() + 16];
    payload[16..16 + inner.len()].copy_from_slice(&inner);
    assert!(peer.seal(slot_of(THEIRS), &mut payload));
    wrapped(&payload)
}

fn wrapped(payload: &[u8]) -> Vec<u8> {
    let mut datagram = udp(50_000, 1000, payload);
    datagram[6..8].fill(0);
    let outer = Ip::new(REMOTE, LOCAL, 17, datagram).raw();
    ethernet(MAC_OUT, MAC_ROUTER, 0x0800, &outer.bytes())
}

fn far(gateway: &Gateway, data: &[u8]) -> Ip {
    Ip::new(REMOTE_TAG, gateway.tag(0), 17, udp(53, 5000, data))
}

fn host_udp(data: &[u8]) -> Ip {
    Ip::new(HOST, PROXY, 17, udp(5000, 53, data))
}

fn drops(gateway: &Gateway, why: Why) -> u64 {
    gateway.state.counters.drops[why as usize]
}

#[test]
fn what_is_sent_is_sealed_and_what_comes_is_opened() {
    for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
        let (mut g, mut peer) = (of(settings(), cipher), peer(cipher));
        let mut clear = Gateway::new(settings(), Encapsulation::Vxlan, binding());
        for (number, length) in [1, 8, 100, 1400, 1412].into_iter().enumerate() {
            let data = vec![b'x'; length];
            let (verdict, out) = g.one(INSIDE, &from_host(&host_udp(&data)));
            assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
            let mut frame = out[0].1.clone();
            assert_sound(&frame);
            assert_eq!((word(&frame, HEADER + 4), word(&frame, HEADER + 12)), (THEIRS, number as u32));
            assert!(!frame.windows(8).any(|part| part == b"xxxxxxxx"), "nobody reads it");
            let opened = peer.open(&mut frame[HEADER..]).unwrap();
            assert_eq!(peer.admit(opened), Ok(()));
            let plain = clear.one(INSIDE, &from_host(&host_udp(&data))).1;
            let end = frame.len() - 16;
            assert_eq!(frame[INNER..end], plain[0].1[64..], "as it would have been in clear");
            let inner = far(&g, &data);
            let (verdict, out) = g.one(OUTSIDE, &from_peer_sealed(&mut peer, &inner));
            assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
            assert_eq!(out, clear.one(OUTSIDE, &from_peer(Encapsulation::Vxlan, &inner)).1);
        }
        let seals = &g.state;
        assert_eq!(seals.counters.dropped(), 0);
        g.state.take_stock();
        assert_eq!((g.state.counters.packets_sealed, g.state.counters.packets_opened), (5, 5));
    }
}

/// The four bytes at a place of a frame.
fn word(frame: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(frame[at..at + 4].try_into().unwrap())
}

#[test]
fn what_came_before_is_dropped_whoever_sends_it() {
    let (mut g, mut peer) = (gateway(), peer(Cipher::Aes256Gcm));
    let frame = from_peer_sealed(&mut peer, &far(&g, b"once"));
    assert!(matches!(g.one(OUTSIDE, &frame).0, Verdict::Forward(_)));
    for _ in 0..3 {
        assert_eq!(g.one(OUTSIDE, &frame).0, Verdict::Drop(Why::TunnelReplayed));
    }
    // From another outer address.
    let payload = frame[HEADER..].to_vec();
    let elsewhere = Ip::new(REMOTE + 1, LOCAL, 17, udp(50_000, 1000, &payload)).raw();
    let frame = ethernet(MAC_OUT, MAC_ROUTER, 0x0800, &elsewhere.bytes());
    assert_eq!(g.one(OUTSIDE, &frame).0, Verdict::Drop(Why::TunnelReplayed));
    // A fresh one from elsewhere is authentic, and of no tunnel.
    let payload = from_peer_sealed(&mut peer, &far(&g, b"once"))[HEADER..].to_vec();
    let elsewhere = Ip::new(REMOTE + 1, LOCAL, 17, udp(50_000, 1000, &payload)).raw();
    let frame = ethernet(MAC_OUT, MAC_ROUTER, 0x0800, &elsewhere.bytes());
    assert_eq!(g.one(OUTSIDE, &frame).0, Verdict::Drop(Why::TunnelOuterUnknown));
}

#[test]
fn whichever_bit_flips_nothing_is_delivered() {
    let (mut g, mut peer) = (gateway(), peer(Cipher::Aes256Gcm));
    let frame = from_peer_sealed(&mut peer, &far(&g, b"forged"));
    let mut reasons = std::collections::BTreeMap::new();
    for bit in HEADER * 8..frame.len() * 8 {
        let mut forged = frame.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        let Verdict::Drop(why) = g.one(OUTSIDE, &forged).0 else { panic!("bit {bit} was delivered") };
        *reasons.entry(why.label()).or_insert(0) += 1;
    }
    let kinds: Vec<_> = reasons.keys().copied().collect();
    assert_eq!(kinds, ["tunnel_forged", "tunnel_key_unknown", "tunnel_malformed"]);
    assert_eq!(g.state.counters.dropped(), (frame.len() - HEADER) as u64 * 8);
    // And cut short anywhere.
    for length in 0..frame.len() - HEADER {
        let cut = wrapped(&frame[HEADER..HEADER + length]);
        assert!(matches!(g.one(OUTSIDE, &cut).0, Verdict::Drop(_)), "cut to {length}");
    }
    assert!(
        matches!(g.one(OUTSIDE, &frame).0, Verdict::Forward(_)),
        "the window heeds only what is authentic"
    );
}

#[test]
fn what_is_in_clear_where_it_should_not_be_is_dropped() {
    let mut g = gateway();
    let inner = far(&g, b"clear");
    for encapsulation in Encapsulation::ALL {
        let verdict = g.one(OUTSIDE, &from_peer(encapsulation, &inner)).0;
        assert_eq!(verdict, Verdict::Drop(Why::TunnelClear), "{encapsulation:?}");
    }
    // As a worker marks what it has opened, from outside.
    let mut payload = [&[4, 1, 0, 0xff][..], &OURS.to_be_bytes(), &[0; 8]].concat();
    payload.extend(inner.bytes());
    payload.extend([0; 16]);
    assert_eq!(g.one(OUTSIDE, &wrapped(&payload)).0, Verdict::Drop(Why::TunnelMalformed));
    // Nobody encrypts here: it is what it is.
    let mut none = Gateway::new(settings(), Encapsulation::Vxlan, binding());
    assert_eq!(none.one(OUTSIDE, &wrapped(&payload)).0, Verdict::Drop(Why::Unasked));
}

#[test]
fn two_epochs_are_opened_and_a_third_takes_the_place_of_the_first() {
    let (mut g, mut peer) = (gateway(), peer(Cipher::Aes256Gcm));
    let aes = Cipher::Aes256Gcm;
    let late = from_peer_sealed(&mut peer, &far(&g, b"late"));
    let later = from_peer_sealed(&mut peer, &far(&g, b"later"));
    let mut change = |g: &mut Gateway, number, spi| {
        g.state.change_key(&mut KeyChange { slot: slot_of(OURS), part: inbound(aes, number, spi) });
        let part = outbound(aes, number, spi, 0, 1000);
        peer.change(&mut KeyChange { slot: slot_of(THEIRS), part });
        from_peer_sealed(&mut peer, &far(g, b"new"))
    };
    let new = change(&mut g, 3, OURS | EPOCH);
    for frame in [&new, &late] {
        assert!(matches!(g.one(OUTSIDE, frame).0, Verdict::Forward(_)));
    }
    let newest = change(&mut g, 4, OURS);
    assert!(matches!(g.one(OUTSIDE, &newest).0, Verdict::Forward(_)));
    assert_eq!(g.one(OUTSIDE, &later).0, Verdict::Drop(Why::TunnelForged), "its key is gone");
    assert_eq!(
        g.one(OUTSIDE, &new).0,
        Verdict::Drop(Why::TunnelReplayed),
        "and that of the other epoch is not"
    );
    g.state.change_key(&mut KeyChange { slot: slot_of(OURS), part: KeyPart::In(false, None) });
    assert_eq!(g.one(OUTSIDE, &newest).0, Verdict::Drop(Why::TunnelKeyUnknown));
}

#[test]
fn a_key_that_comes_again_stays_with_its_count_and_the_control_thread_hears_when_it_is_low() {
    let mut g = gateway();
    let vector = |g: &mut Gateway| {
        let out = g.one(INSIDE, &from_host(&host_udp(b"count"))).1;
        (word(&out[0].1, HEADER + 8), word(&out[0].1, HEADER + 12))
    };
    assert_eq!(
        (vector(&mut g), vector(&mut g)),
        ((1 << 8, 0), (1 << 8, 1)),
        "the start, the worker, the count"
    );
    let again = |number, rekey| KeyChange {
        slot: slot_of(OURS),
        part: outbound(Cipher::Aes256Gcm, number, THEIRS, 0, rekey),
    };
    g.state.change_key(&mut again(2, 4));
    assert_eq!(vector(&mut g), (1 << 8, 2), "it is the same key");
    let mut change = again(3, 4);
    g.state.change_key(&mut change);
    assert!(matches!(change.part, KeyPart::Out(Some(_))), "the old one goes back");
    assert_eq!(vector(&mut g), (1 << 8, 3), "should the old one come again, none of its vectors does");
    g.state.tick(g.now);
    assert!(g.events().is_empty());
    // Its worker has half of four.
    vector(&mut g);
    g.state.tick(g.now);
    assert_eq!(g.events(), [Event::KeyLow(slot_of(OURS))]);
    vector(&mut g);
    g.state.tick(g.now);
    assert!(g.events().is_empty(), "it is said once");
}

#[test]
fn without_a_key_nothing_is_sent() {
    let mut g = gateway();
    g.state.change_key(&mut KeyChange { slot: slot_of(OURS), part: KeyPart::Out(None) });
    let frame = from_host(&host_udp(b"secret"));
    assert_eq!(g.one(INSIDE, &frame).0, Verdict::Drop(Why::TunnelUnkeyed));
    assert_eq!(drops(&g, Why::TunnelUnkeyed), 1);
    let (verdict, out) = {
        give_keys(&mut g, Cipher::Aes256Gcm);
        g.one(INSIDE, &frame)
    };
    assert!(matches!(verdict, Verdict::Forward(_)) && out.len() == 1);
}

#[test]
fn p12_what_is_too_large_with_all_that_encryption_adds_is_told() {
    let mut g = gateway();
    // 1,500 less 20, 8, 16 and 16.
    let fits = host_udp(&[0; 1440 - 28]);
    let (verdict, out) = g.one(INSIDE, &from_host(&fits));
    assert!(matches!(verdict, Verdict::Forward(_)));
    assert_eq!(out[0].1.len(), 14 + 1500);
    let (verdict, out) = g.one(INSIDE, &from_host(&host_udp(&[0; 1440 - 27])));
    assert!(matches!(verdict, Verdict::Reply(_, Why::TooBig)), "{verdict:?}");
    assert_eq!(u16::from_be_bytes([out[0].1[40], out[0].1[41]]), 1440);
    // What may be cut is, and each part is sealed.
    let (verdict, out) = g.one(INSIDE, &from_host(&host_udp(&[0; 1440 - 27]).fragment(0)));
    assert!(matches!(verdict, Verdict::Forward(_)) && out.len() == 2, "{verdict:?}");
    let mut peer = peer(Cipher::Aes256Gcm);
    for (_, mut frame) in out {
        assert_sound(&frame);
        let opened = peer.open(&mut frame[HEADER..]).unwrap();
        assert_eq!(peer.admit(opened), Ok(()));
    }
}

#[test]
fn p12_an_error_from_the_path_narrows_the_tunnel() {
    let mut g = gateway();
    let sent = g.one(INSIDE, &from_host(&host_udp(&[0; 1400]))).1.remove(0).1;
    let about = |quoted: &[u8]| {
        let error = Ip::new(0x0909_0909, LOCAL, 1, icmp(3, 4, 1400, quoted));
        ethernet(MAC_OUT, MAC_ROUTER, 0x0800, &error.bytes())
    };
    let mut other = sent.clone();
    other[HEADER + 5] ^= 1;
    assert_eq!(
        g.one(OUTSIDE, &about(&other[14..90])).0,
        Verdict::Drop(Why::IcmpErrorUnmatched),
        "no tunnel of ours"
    );
    assert_eq!(g.one(OUTSIDE, &about(&sent[14..90])).0, Verdict::Absorb);
    assert!(matches!(g.events()[..], [Event::TunnelMtu(TunnelId(0), 1400)]));
    let unreachable = Ip::new(0x0909_0909, LOCAL, 1, icmp(3, 1, 0, &sent[14..]));
    let frame = ethernet(MAC_OUT, MAC_ROUTER, 0x0800, &unreachable.bytes());
    assert_eq!(
        g.one(OUTSIDE, &frame).0,
        Verdict::Drop(Why::IcmpErrorUnmatched),
        "nobody can read whom it is about"
    );
}

#[test]
fn what_is_answered_through_a_tunnel_is_sealed() {
    let (mut g, mut peer) = (gateway(), peer(Cipher::Aes256Gcm));
    let expired = far(&g, b"expires").ttl(1);
    let (verdict, out) = g.one(OUTSIDE, &from_peer_sealed(&mut peer, &expired));
    assert!(matches!(verdict, Verdict::Reply(_, Why::TtlExceeded)), "{verdict:?}");
    let mut frame = out[0].1.clone();
    assert_sound(&frame);
    peer.open(&mut frame[HEADER..]).unwrap();
    assert_eq!((frame[INNER + 9], frame[INNER + 20]), (1, 11), "time exceeded");
}

#[test]
fn what_was_opened_and_kept_goes_on_once_as_it_was_opened() {
    let (mut g, mut peer) = (gateway(), peer(Cipher::Aes256Gcm));
    g.command(Command::SetHop(HOP_HOST, Neighbour { port: INSIDE, mac: None, pin: None }));
    let inner = far(&g, b"kept");
    let frame = from_peer_sealed(&mut peer, &inner);
    let (verdict, kept) = g.left(OUTSIDE, &frame);
    assert!(matches!(verdict, Verdict::Hold(_)), "{verdict:?}");
    g.command(Command::SetHop(HOP_HOST, Neighbour { port: INSIDE, mac: Some(MAC_HOST), pin: None }));
    let arrival = Arrival { attempt: Attempt::Last, custody: Custody::Kept, ..Arrival::at(OUTSIDE, g.now) };
    let (mut frames, mut verdicts) = ([ces_dataplane::frame::MemoryFrame::new(&kept)], [Verdict::Absorb]);
    process_arrival(&mut g.state, arrival, &mut frames, &mut verdicts, &mut g.wire);
    assert!(matches!(verdicts[0], Verdict::Forward(_)), "{:?}", verdicts[0]);
    let mut clear = Gateway::new(settings(), Encapsulation::Vxlan, binding());
    let out = clear.one(OUTSIDE, &from_peer(Encapsulation::Vxlan, &inner)).1;
    assert_eq!(ces_dataplane::frame::Frame::data(&frames[0]), out[0].1);
    assert_eq!(g.one(OUTSIDE, &frame).0, Verdict::Drop(Why::TunnelReplayed));
}

#[test]
fn several_workers_open_where_it_arrives_and_take_where_its_host_is() {
    let mut workers = Workers::new(2, &settings(), |settings| of(settings, Cipher::Aes256Gcm));
    let mut peer = peer(Cipher::Aes256Gcm);
    let owner = worker_of(HOST, 2) as usize;
    let inner = far(&workers.0[owner], b"handed over");
    for (number, at) in [owner, 1 - owner, owner, 1 - owner].into_iter().enumerate() {
        let frame = from_peer_sealed(&mut peer, &inner);
        let outcome = workers.arrive(at, OUTSIDE, &frame);
        assert!(matches!(outcome.verdict, Verdict::Forward(_)), "{number}: {:?}", outcome.verdict);
        assert_eq!((outcome.by, outcome.hands), (owner, usize::from(at != owner)));
        for again in [owner, 1 - owner] {
            let outcome = workers.arrive(again, OUTSIDE, &frame);
            assert_eq!(outcome.verdict, Verdict::Drop(Why::TunnelReplayed), "{number} again at {again}");
        }
    }
}

#[test]
fn what_is_in_a_packet_before_says_nothing_of_the_next_in_its_place() {
    let mut packet = Packet::NOTHING;
    assert!(!packet.is_unsealed());
    packet.inbound = ces_dataplane::table::tunnels::inbound(Encapsulation::Psp, OURS);
    assert!(packet.is_unsealed());
    // With NAT44 a datagram for this port that is of no peer's goes on as any other: not as one that was opened.
    let mut g = gateway();
    let mut peer = peer(Cipher::Aes256Gcm);
    let frame = from_peer_sealed(&mut peer, &far(&g, b"first"));
    g.one(OUTSIDE, &frame);
    let stranger = Ip::new(REMOTE + 9, LOCAL, 17, udp(50_000, 1000, &[0xff; 64]));
    let frame = ethernet(MAC_OUT, MAC_ROUTER, 0x0800, &stranger.bytes());
    assert_eq!(g.one(OUTSIDE, &frame).0, Verdict::Drop(Why::Unasked));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// RFC 4303 §3.4.3: whatever order a stream comes in, each packet is delivered at most once, and none is lost within the
    /// window.
    #[test]
    fn a_stream_in_any_order_is_delivered_once(order in prop::collection::vec(0usize..40, 0..120)) {
        let (mut g, mut peer) = (gateway(), peer(Cipher::Aes256Gcm));
        let frames: Vec<_> = (0..40u8).map(|n| from_peer_sealed(&mut peer, &far(&g, &[n; 8]))).collect();
        let mut came = std::collections::BTreeSet::new();
        for index in order {
            let verdict = g.one(OUTSIDE, &frames[index]).0;
            if came.insert(index) {
                prop_assert!(matches!(verdict, Verdict::Forward(_)), "{:?}", verdict);
            } else {
                prop_assert_eq!(verdict, Verdict::Drop(Why::TunnelReplayed));
            }
        }
    }
}
