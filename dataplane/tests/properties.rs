//! What holds for any packet: forward then back is the identity; whatever leaves is sound; every packet is accounted
//! exactly once; nothing panics.
#![allow(missing_docs)]

mod common;

use ces_dataplane::egress::Egress;
use ces_dataplane::frame::{Frame, MemoryFrame};
use ces_dataplane::msg::{
    Binding, BindingLimits, Command, Encapsulation, Far, HopId, Neighbour, PortId, TraceFilter, Tunnel,
    TunnelId,
};
use ces_dataplane::path::process_burst;
use ces_dataplane::reason::DropReason;
use ces_dataplane::state::State;
use ces_dataplane::tag::{Layout, TagCipher};
use ces_dataplane::verdict::Verdict;
use common::*;
use proptest::prelude::*;

fn encapsulation() -> impl Strategy<Value = Encapsulation> {
    prop_oneof![Just(Encapsulation::Vxlan), Just(Encapsulation::Gre), Just(Encapsulation::Geneve)]
}

/// Payloads of every protocol that the path looks into, and one that it does not.
fn payload() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let data = || proptest::collection::vec(any::<u8>(), 0..80);
    prop_oneof![
        (any::<(u16, u16)>(), data()).prop_map(|((s, d), data)| (17, udp(s, d, &data))),
        (any::<(u16, u16)>(), data()).prop_map(|((s, d), data)| {
            let mut bytes = udp(s, d, &data);
            bytes[6..8].fill(0);
            (17, bytes)
        }),
        (any::<(u16, u16, u8)>(), data())
            .prop_map(|((s, d, flags), data)| (6, tcp(s, d, flags & !2, &[], &data))),
        (any::<u32>(), data()).prop_map(|(rest, data)| (1, icmp(8, 0, rest, &data))),
        (any::<u32>(), data()).prop_map(|(rest, data)| (1, icmp(0, 0, rest, &data))),
        (any::<(u16, u16)>(), data()).prop_map(|((s, d), data)| (136, udp(s, d, &data))),
        data().prop_map(|data| (50, data)),
    ]
}

fn packet() -> impl Strategy<Value = Ip> {
    (payload(), 3u8.., any::<(u8, u16, bool)>()).prop_map(|((protocol, payload), ttl, (tos, id, df))| {
        let mut packet = Ip::new(HOST, PROXY, protocol, payload).ttl(ttl).tos(tos);
        packet.id = id;
        packet.fragment = u16::from(df) << 14;
        packet
    })
}

/// Two gateways whose hosts speak to each other: the far one has its own host and its own proxy, in the same networks.
struct Pair {
    near: Gateway,
    far: Gateway,
}

const FAR_HOST: u32 = 0x0a00_0042;
const FAR_PROXY: u32 = 0x0ac8_0777;

fn pair(encapsulation: Encapsulation) -> Pair {
    let (near_settings, mut far_settings) = (settings(), settings());
    far_settings.tag_key = [9, 8, 7, 6];
    far_settings.ports[1].addresses[0].0 = address(REMOTE);
    let (mut near, mut far) = (Gateway::bare(near_settings), Gateway::bare(far_settings));
    let (near_tag, far_tag) = (near.tag(5), far.tag(3));
    let there = Tunnel {
        encapsulation,
        local: address(LOCAL),
        remote: address(REMOTE),
        id_in: 77,
        id_out: 88,
        neighbour: HopId(0),
        mtu: 1500,
    };
    let back = Tunnel { local: there.remote, remote: there.local, id_in: 88, id_out: 77, ..there };
    for (gateway, tunnel) in [(&mut near, there), (&mut far, back)] {
        gateway.command(Command::SetTunnel(TunnelId(2), tunnel));
    }
    let near_handle = near.handle(5);
    let far_handle = far.handle(3);
    let through = |tag| Far::Tunnel { tunnel: TunnelId(2), remote_tag: tag };
    near.command(Command::InsertBinding(near_handle, Binding { far: through(far_tag), ..binding() }));
    let theirs =
        Binding { host: address(FAR_HOST), proxy: address(FAR_PROXY), far: through(near_tag), ..binding() };
    far.command(Command::InsertBinding(far_handle, theirs));
    Pair { near, far }
}

/// One frame through a gateway that must forward it, with its Ethernet addresses set for whoever gets it next.
fn through(gateway: &mut Gateway, port: PortId, frame: &[u8], next: [u8; 6]) -> Vec<u8> {
    let (verdict, mut out) = gateway.one(port, frame);
    assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
    let (_, mut frame) = out.pop().unwrap();
    assert!(out.is_empty());
    assert_sound(&frame);
    frame[..6].copy_from_slice(&next);
    frame
}

proptest! {
    /// Near host → tunnel → far host, and its answer back: addresses are each side's own, payloads untouched, only the time
    /// to live has gone down by one at each gateway.
    #[test]
    fn there_and_back_is_the_identity(encapsulation in encapsulation(), packet in packet()) {
        let mut pair = pair(encapsulation);
        let wrapped = through(&mut pair.near, INSIDE, &from_host(&packet), MAC_OUT);
        let arrived = through(&mut pair.far, OUTSIDE, &wrapped, MAC_HOST);
        prop_assert_eq!(&arrived, &to_host(&packet.readdressed(FAR_PROXY, FAR_HOST, 2)));
        // The far host sends the same back.
        let answer = packet.readdressed(FAR_HOST, FAR_PROXY, 0);
        let wrapped = through(&mut pair.far, INSIDE, &from_host(&answer), MAC_OUT);
        let returned = through(&mut pair.near, OUTSIDE, &wrapped, MAC_HOST);
        prop_assert_eq!(&returned, &to_host(&packet.readdressed(PROXY, HOST, 2)));
    }

    /// The far host answers with an ICMP error: it arrives as from the proxy, about exactly what was sent.
    #[test]
    fn an_error_comes_back_about_what_was_sent(encapsulation in encapsulation(), packet in packet()) {
        let mut pair = pair(encapsulation);
        let wrapped = through(&mut pair.near, INSIDE, &from_host(&packet), MAC_OUT);
        let arrived = through(&mut pair.far, OUTSIDE, &wrapped, MAC_HOST);
        let error = Ip::new(FAR_HOST, FAR_PROXY, 1, icmp(3, 3, 0, &arrived[14..]));
        let wrapped = through(&mut pair.far, INSIDE, &from_host(&error), MAC_OUT);
        let returned = through(&mut pair.near, OUTSIDE, &wrapped, MAC_HOST);
        let sent = packet.readdressed(HOST, PROXY, 2).bytes();
        prop_assert_eq!(&returned, &to_host(&Ip::new(PROXY, HOST, 1, icmp(3, 3, 0, &sent)).ttl(62)));
    }

    /// A packet too large for the tunnel comes out as fragments that make the whole again.
    #[test]
    fn fragments_make_the_whole(encapsulation in encapsulation(), size in 1460usize..1473, mtu in 576u16..1500) {
        let mut pair = pair(encapsulation);
        let data: Vec<u8> = (0..size).map(|n| n as u8).collect();
        let packet = Ip::new(HOST, PROXY, 17, udp(5, 6, &data)).fragment(0);
        pair.near.state.command(Command::SetTunnel(TunnelId(2), Tunnel {
            encapsulation, local: address(LOCAL), remote: address(REMOTE), id_in: 77, id_out: 88,
            neighbour: HopId(0), mtu,
        }), 0);
        let (verdict, out) = pair.near.one(INSIDE, &from_host(&packet));
        prop_assert_eq!(verdict, Verdict::Forward(Egress::by(OUTSIDE)));
        let mut whole = vec![0; 8 + size];
        let mut filled = 0;
        for (_, mut frame) in out {
            assert_sound(&frame);
            prop_assert!(frame.len() <= usize::from(mtu) + 14);
            frame[..6].copy_from_slice(&MAC_OUT);
            let arrived = through(&mut pair.far, OUTSIDE, &frame, MAC_HOST);
            let offset = usize::from(u16::from_be_bytes([arrived[20], arrived[21]]) & 0x1fff) * 8;
            whole[offset..offset + arrived.len() - 34].copy_from_slice(&arrived[34..]);
            filled += arrived.len() - 34;
        }
        prop_assert_eq!(filled, whole.len());
        prop_assert_eq!(&whole, &packet.readdressed(FAR_PROXY, FAR_HOST, 0).bytes()[20..]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// A restricted binding carries what it may as an unrestricted one does, byte by byte, in both directions and within the
    /// realm; the rest is dropped as `policy_protocol`.
    #[test]
    fn a_restricted_binding_carries_what_it_may(
        encapsulation in encapsulation(), packet in packet(),
        protocol in proptest::option::of(prop_oneof![Just(17u8), Just(6), Just(1), Just(136)]),
        port in proptest::option::of(0usize..5), port_is_inside: bool, rated: bool, fragmented in 0u8..6,
        options in proptest::option::weighted(0.2, Just([1u8, 1, 1, 0])),
    ) {
        let has_ports = matches!(packet.protocol, 6 | 17 | 136);
        let word = |at: usize| packet.payload.get(at..at + 2).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
        let (source, destination) = if has_ports { (word(0), word(2)) } else { (0, 0) };
        let port = port.map(|choice| [source, destination, 0, 53, destination ^ 1][choice]);
        let limits = BindingLimits { protocol, port, port_is_inside, rate_bps: rated.then_some(1_000_000_000_000) };
        let packet = packet.options(options.as_ref().map_or(&[], |options| &options[..]));
        // A first fragment is judged as a whole packet; a later one follows it.
        let packet = if fragmented == 0 { packet.clone().fragment(0x2000).raw() } else { packet };
        let tiny = fragmented == 0 && !matches!(packet.protocol, 6 | 17 | 136 | 1 | 50);
        prop_assume!(!tiny);
        let free = BindingLimits::default();
        let by_tunnel = |limits| Box::new(Gateway::new(settings(), encapsulation, Binding { limits, ..binding() }));
        let by_realm = |limits| {
            let far = Far::Local { source: address(PROXY_HOST), destination: address(OTHER) };
            Box::new(Gateway::new(
                settings(),
                encapsulation,
                Binding { limits, far, neighbour: HOP_OTHER, ..binding() },
            ))
        };
        let tag = by_tunnel(free).tag(0);
        let arriving = from_peer(encapsulation, &packet.readdressed(REMOTE_TAG, tag, 0));
        for (mut plain, mut restricted, port_in, frame, outwards) in [
            (by_tunnel(free), by_tunnel(limits), INSIDE, from_host(&packet), true),
            (by_realm(free), by_realm(limits), INSIDE, from_host(&packet), true),
            (by_tunnel(free), by_tunnel(limits), OUTSIDE, arriving, false),
        ] {
            let serving = if port_is_inside == outwards { source } else { destination };
            let carried = protocol.is_none_or(|protocol| protocol == packet.protocol)
                && port.is_none_or(|port| has_ports && port == serving);
            let (verdict, out) = plain.one(port_in, &frame);
            prop_assert!(matches!(verdict, Verdict::Forward(_)), "{:?}", verdict);
            let (limited_verdict, limited_out) = restricted.one(port_in, &frame);
            let counted = restricted.state.counters.drops[DropReason::PolicyProtocol as usize];
            if carried {
                prop_assert_eq!((limited_verdict, limited_out), (verdict, out));
                prop_assert_eq!(restricted.state.counters.dropped(), 0);
            } else {
                let refused = DropReason::PolicyProtocol;
                let told = outwards && packet.fragment.trailing_zeros() >= 13; // not a later fragment
                let fate = if told { Verdict::Reply(Egress::by(INSIDE), refused) } else { Verdict::Drop(refused) };
                prop_assert_eq!(limited_verdict, fate);
                prop_assert_eq!((counted, restricted.state.counters.dropped()), (1, 1));
            }
        }
    }
}

/// A gateway with everything switched on: limits, local bindings, VLAN outside, a trace.
fn everything() -> Gateway {
    everything_of(0, 1)
}

/// The same as one of several workers; what it owns it has in slots of its own.
fn everything_of(worker: u32, workers: u32) -> Gateway {
    let mut settings = settings();
    (settings.worker, settings.workers) = (worker, workers);
    settings.layout = Layout::new(workers, settings.bindings);
    settings.ports[1].vlan = Some(7);
    let limits = BindingLimits { port: Some(53), rate_bps: Some(1_000_000), ..BindingLimits::default() };
    let mut gateway = Gateway::new(settings, Encapsulation::Vxlan, binding());
    gateway.command(Command::SetTunnel(TunnelId(1), Tunnel { id_in: 9, ..tunnel(Encapsulation::Gre) }));
    gateway.command(Command::SetTunnel(TunnelId(2), Tunnel { mtu: 700, ..tunnel(Encapsulation::Geneve) }));
    gateway.command(Command::SetHop(HOP_UNKNOWN, Neighbour { port: INSIDE, mac: None, pin: None }));
    let more = [
        Binding { proxy: address(PROXY + 16), limits, ..binding() },
        Binding {
            proxy: address(PROXY_OTHER),
            far: Far::Local { source: address(PROXY_HOST), destination: address(OTHER) },
            neighbour: HOP_OTHER,
            ..binding()
        },
        Binding {
            proxy: address(PROXY + 17),
            far: Far::Tunnel { tunnel: TunnelId(2), remote_tag: REMOTE_TAG },
            neighbour: HOP_UNKNOWN,
            ..binding()
        },
    ];
    for (slot, binding) in more.into_iter().enumerate() {
        let handle = gateway.handle(slot as u32 + 1);
        gateway.command(Command::InsertBinding(handle, binding));
    }
    gateway
}

/// Frames near enough to good ones that they come far into the path, with a few bytes changed and the header checksums of
/// outer and inner packet made right again, so that the change is not merely refused for its checksum.
fn nearly_good(gateway: &Gateway) -> impl Strategy<Value = (PortId, Vec<u8>)> + use<> {
    let tag = gateway.tag(0);
    let change = (0usize..130, any::<u8>());
    let changes = proptest::collection::vec(change, 0..4);
    let choice = (0u8..8, packet(), encapsulation(), any::<bool>());
    (choice, changes, proptest::option::weighted(0.2, 0usize..140)).prop_map(
        move |((kind, packet, encapsulation, outside), changes, cut)| {
            let quote = |source, destination| packet.readdressed(source, destination, 0).bytes();
            let error = |source, destination, quoted: Vec<u8>| {
                Ip::new(source, destination, 1, icmp(3, kind, 600, &quoted))
            };
            let (port, mut frame) = if outside {
                let inner = match kind {
                    0 => error(REMOTE_TAG, tag, quote(tag, REMOTE_TAG)),
                    1 => packet.readdressed(REMOTE_TAG, tag, 0).ttl(1),
                    2 => packet.readdressed(REMOTE_TAG, tag, 0).fragment(0x2001).raw(),
                    _ => packet.readdressed(REMOTE_TAG, tag, 0),
                };
                let wrapped = match kind {
                    3 => error(
                        0x0909_0909,
                        LOCAL,
                        outer(encapsulation, LOCAL, REMOTE, ID_OUT, &quote(tag, REMOTE_TAG), 0).bytes(),
                    ),
                    4 => packet.readdressed(0x0909_0909, LOCAL, 0),
                    _ => outer(encapsulation, REMOTE, LOCAL, ID_IN, &inner.bytes(), 3),
                };
                (OUTSIDE, tagged(7, ethernet(MAC_OUT, MAC_ROUTER, 0x0800, &wrapped.bytes())))
            } else {
                let packet = match kind {
                    0 => error(HOST, PROXY, quote(PROXY, HOST)),
                    1 => packet.clone().ttl(1),
                    2 => packet.readdressed(HOST, PROXY + 16, 0).fragment(0x2001).raw(),
                    3 => packet.readdressed(HOST, PROXY_OTHER, 0),
                    4 => packet.readdressed(HOST, PROXY + 17, 0),
                    5 => Ip {
                        payload: [packet.payload.clone(), vec![1; 1380]].concat(),
                        ..packet.readdressed(HOST, PROXY + 17, 0)
                    },
                    6 => packet.readdressed(HOST, GATEWAY, 0),
                    _ => packet.clone(),
                };
                (INSIDE, from_host(&packet))
            };
            for (at, value) in changes {
                if let Some(byte) = frame.get_mut(at) {
                    *byte = value;
                }
            }
            let outer_at = if outside { 18 } else { 14 };
            for at in [outer_at, outer_at + 50, outer_at + 42, outer_at + 28] {
                let length = frame.get(at).map_or(0, |byte| usize::from(byte & 15) * 4);
                if (at == outer_at || outside)
                    && length >= 20
                    && frame.len() >= at + length
                    && frame[at] >> 4 == 4
                {
                    frame[at + 10..at + 12].fill(0);
                    let sum = checksum(&frame[at..at + length]);
                    frame[at + 10..at + 12].copy_from_slice(&sum.to_be_bytes());
                }
            }
            frame.truncate(cut.unwrap_or(usize::MAX));
            (port, frame)
        },
    )
}

fn random_frame() -> impl Strategy<Value = (PortId, Vec<u8>)> {
    (0u8..2, proptest::collection::vec(any::<u8>(), 0..200), any::<bool>()).prop_map(
        |(port, mut bytes, ours)| {
            if ours && bytes.len() > 20 {
                bytes[..6].copy_from_slice(if port == INSIDE { &MAC_IN } else { &MAC_OUT });
                bytes[12..15].copy_from_slice(&[8, 0, 0x45]);
            }
            (port, bytes)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn any_frame_is_accounted_once_and_nothing_panics(
        frames in proptest::collection::vec(prop_oneof![3 => nearly_good(&everything()), 1 => random_frame()], 1..12),
        traced: bool,
    ) {
        let mut gateway = everything();
        if traced {
            gateway.command(Command::Trace(TraceFilter::default(), 5));
        }
        for (port, frame) in frames {
            let before = gateway.state.counters.clone();
            let (verdict, out) = gateway.one(port, &frame);
            let counters = &gateway.state.counters;
            let dropped = counters.dropped() - before.dropped();
            let absorbed = counters.absorbed - before.absorbed;
            let elsewhere = matches!(
                verdict,
                Verdict::Forward(_) | Verdict::Punt(_) | Verdict::HandOff(_) | Verdict::HoldLater(_)
            );
            prop_assert_eq!(dropped + absorbed + u64::from(elsewhere), 1, "{:?}", verdict);
            prop_assert_eq!(out.is_empty(), !matches!(verdict, Verdict::Forward(_) | Verdict::Reply(..)));
            for (port, frame) in out {
                prop_assert!(port < 2);
                // A wrong layer 4 checksum that came in goes out as wrong: only headers are the gateway's own.
                prop_assert_eq!(headers_sound(&frame), Ok(()), "{:?}", verdict);
            }
        }
    }

    /// Wherever a frame arrives of two workers, it is handed over at most once, and accounted once.
    #[test]
    fn a_frame_is_handed_over_once_at_most(
        frame in prop_oneof![3 => nearly_good(&everything()), 1 => nearly_good(&everything_of(1, 2)), 1 => random_frame()],
        first in 0usize..2,
    ) {
        let (port, frame) = frame;
        let mut gateways = [0, 1].map(|worker| Box::new(everything_of(worker, 2)));
        let (mut verdict, _) = gateways[first].one(port, &frame);
        if let Verdict::HandOff(to) = verdict {
            prop_assert_eq!(usize::from(to), 1 - first);
            verdict = gateways[1 - first].one(port, &frame).0;
            prop_assert!(!matches!(verdict, Verdict::HandOff(_)), "handed back");
        }
        let counted: u64 =
            gateways.iter().map(|gateway| gateway.state.counters.dropped() + gateway.state.counters.absorbed).sum();
        let held = matches!(verdict, Verdict::HoldLater(_));
        prop_assert_eq!(counted + u64::from(matches!(verdict, Verdict::Forward(_) | Verdict::Punt(_)) || held), 1);
    }

    /// A burst decides as packet by packet.
    #[test]
    fn a_burst_is_its_packets(
        frames in proptest::collection::vec(nearly_good(&everything()), 1..80), port in 0u8..2,
    ) {
        let frames: Vec<_> = frames.into_iter().map(|(_, frame)| frame).collect();
        let (mut one, mut all) = (everything(), everything());
        let (verdicts, _) = all.burst(port, &frames);
        let singly: Vec<_> = frames.iter().map(|frame| one.one(port, frame).0).collect();
        prop_assert_eq!(verdicts, singly);
    }
}

/// Lengths and header checksums of outer and inner packet.
fn headers_sound(frame: &[u8]) -> Result<(), &'static str> {
    let link = if frame[12..14] == [0x81, 0] { 18 } else { 14 };
    let mut ip = &frame[link..];
    loop {
        let header = usize::from(ip[0] & 15) * 4;
        if usize::from(u16::from_be_bytes([ip[2], ip[3]])) != ip.len() {
            return Err("total length");
        }
        if checksum(&ip[..header]) != 0 {
            return Err("header checksum");
        }
        let port = ip.get(22..24).map_or(0, |port| u16::from_be_bytes([port[0], port[1]]));
        let ours = ip[12..16] == LOCAL.to_be_bytes() && header == 20;
        ip = match ip[9] {
            17 if ours && [4789, 6081].contains(&port) => &ip[50..],
            47 if ours => &ip[42..],
            _ => return Ok(()),
        };
    }
}

/// The same frame never comes out of two different keys, and a tag is of no use to another gateway.
#[test]
fn a_tag_of_one_gateway_opens_nothing_at_another() {
    let gateway = Gateway::new(settings(), Encapsulation::Vxlan, binding());
    let mut other_settings = settings();
    other_settings.tag_key = [1, 2, 3, 4];
    let mut other = Gateway::new(other_settings, Encapsulation::Vxlan, binding());
    let inner = Ip::new(REMOTE_TAG, gateway.tag(0), 17, udp(1, 2, b""));
    assert!(matches!(other.one(OUTSIDE, &from_peer(Encapsulation::Vxlan, &inner)).0, Verdict::Drop(_)));
    assert_ne!(TagCipher::new([1, 2, 3, 4]).tag(gateway.handle(0)).0, gateway.tag(0));
}

/// Frames without headroom are dropped, not written over.
#[test]
fn a_frame_without_headroom_is_a_counted_drop() {
    let mut gateway = Gateway::new(settings(), Encapsulation::Vxlan, binding());
    let mut frame = MemoryFrame::new(&from_host(&Ip::new(HOST, PROXY, 17, udp(1, 2, b"x"))));
    let length = frame.data().len();
    assert!(frame.prepend(MemoryFrame::HEADROOM - 10));
    let moved = from_host(&Ip::new(HOST, PROXY, 17, udp(1, 2, b"x")));
    frame.data_mut()[..length].copy_from_slice(&moved);
    let mut verdicts = [Verdict::Absorb];
    let state: &mut State = &mut gateway.state;
    process_burst(state, INSIDE, std::slice::from_mut(&mut frame), &mut verdicts, &mut gateway.wire, 1);
    assert_eq!(verdicts[0], Verdict::Drop(ces_dataplane::reason::DropReason::NoHeadroom));
}
