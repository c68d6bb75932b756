//! Frames through the packet path, with bindings of every kind installed.
//!
//! The input is a sequence of frames, each behind a header of 4 bytes: flags, seconds to let pass, and its length in two.
//! Checksums would keep a fuzzer at the door, so flags say which of them are put right first.

use ces_dataplane::egress::Egress;
use ces_dataplane::frame::{Buffers, Frame, MemoryFrame};
use ces_dataplane::msg::{
    Binding, BindingLimits, Command, Encapsulation, Far, HopId, Neighbour, Patience, Tunnel, TunnelId,
};
use ces_dataplane::packet::Packet;
use ces_dataplane::path::{BURST, process, process_burst};
use ces_dataplane::premises::Premises;
use ces_dataplane::seal::{InboundKey, KeyChange, KeyPart, OutboundKey, SealKey, Seals, slot_of};
use ces_dataplane::settings::{NatRoom, PortSettings, Side, WorkerSettings};
use ces_dataplane::state::State;
use ces_dataplane::table::fib::{Fib, Next, Route};
use ces_dataplane::verdict::Verdict;
use ces_dataplane::wire::psp::{self, Cipher};
use ces_dataplane::wire::write16;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Flag: the frame arrives on the outside port.
pub const OUTSIDE: u8 = 0x01;
/// Flag: the first IPv4 header gets its right checksum, and the ICMP message behind it.
pub const FIX_OUTER: u8 = 0x02;
/// Flag: the frame is in one burst with the next one, whose port counts.
pub const JOIN: u8 = 0x08;
/// Flag: so does the IPv4 header inside of a tunnel.
pub const FIX_INNER: u8 = 0x04;
/// Flag of the first frame: there is NAT44.
pub const NAT: u8 = 0x10;
/// Flag: what stands behind Ethernet, IPv4, UDP and PSP is encrypted as the peer does, tag and all.
pub const SEAL: u8 = 0x20;

const INSIDE_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
const OUTSIDE_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const PEER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const SECOND_NS: u64 = 1_000_000_000;
const BINDINGS: u32 = 64;
/// The id of the first tunnel; that of the encrypted one is three more.
const FIRST_ID: u32 = 0x0001_0203;
const SEALED_ID: u32 = FIRST_ID + 3;

/// Keys in one direction: `number` is the key's.
fn outbound(number: u8, spi: u32) -> KeyPart {
    let key = SealKey::new(Cipher::Aes256Gcm, &[number; 32]);
    KeyPart::Out(key.map(|key| Box::new(OutboundKey::new(key, spi, 1, (0, 1), 1 << 20))))
}

/// What the peer seals with.
fn peer() -> Seals {
    let mut seals = Seals::default();
    seals.change(&mut KeyChange { slot: 0, part: outbound(1, SEALED_ID) });
    seals
}

/// Encrypts what stands behind Ethernet, IPv4, UDP and PSP, whose lengths then say so.
fn seal(peer: &mut Seals, frame: &mut MemoryFrame) {
    if frame.data().len() >= SEALED_AT + psp::LENGTH && frame.extend(psp::TAG) {
        let data = frame.data_mut();
        fix_ipv4(data, SEALED_AT + psp::LENGTH);
        let length = data.len();
        write16(data, 16, (length - 14) as u16);
        write16(data, SEALED_AT - 4, (length - SEALED_AT + 8) as u16);
        peer.seal(0, &mut data[SEALED_AT..]);
    }
}

/// Where PSP's header begins.
const SEALED_AT: usize = 42;

struct Spare(Vec<MemoryFrame>);

impl Buffers<MemoryFrame> for Spare {
    fn allocate(&mut self) -> Option<MemoryFrame> {
        self.0.pop()
    }

    fn send(&mut self, _: Egress, frame: MemoryFrame, _: &Packet) {
        assert!(frame.data().len() <= MemoryFrame::SIZE);
    }
}

/// A worker with four tunnels to one peer, one for each encapsulation, and bindings: host .11 with a proxy through each
/// of them, one restricted to TCP port 80, one with a rate, and the hosts .11 and .12 with each other. With `nat`, what hosts
/// send to other addresses goes out under the gateway's own.
pub fn state(nat: bool) -> State {
    let port = |side, mac, address: [u8; 4], prefix, networks: &[([u8; 4], u8)]| PortSettings {
        side,
        mac,
        addresses: vec![(address.into(), prefix)],
        networks: networks.iter().map(|&(network, prefix)| (network.into(), prefix)).collect(),
        vlan: None,
        mtu: 1500,
    };
    let mut settings = WorkerSettings::new(
        vec![
            port(Side::Inside, INSIDE_MAC, [192, 168, 10, 1], 24, &[([192, 168, 10, 0], 24)]),
            port(Side::Outside, OUTSIDE_MAC, GATEWAY.octets(), 30, &[]),
        ],
        BINDINGS,
    );
    settings.tunnels = 4;
    settings.neighbours = 8;
    settings.limited = 4;
    settings.tcp_listen = vec![(Side::Outside, 48001), (Side::Inside, 53)];
    settings.proxy_networks = vec![(Ipv4Addr::new(10, 0, 0, 0), 8)];
    if nat {
        settings.nat_room = NatRoom { sessions: 16, mappings: 8, hosts: 4, addresses: 1 };
        settings.nat.addresses = vec![GATEWAY];
    }
    let layout = settings.layout;
    let mut state = State::new(&settings).expect("small tables");
    let routes = [
        Route { network: 0, prefix: 0, next: Next::Via(HopId(0)) },
        Route { network: 0xc0a8_0a00, prefix: 24, next: Next::OnLink(0) },
    ];
    state.move_in(&mut Premises::new(&settings).with_routes(Arc::new(Fib::of(&routes, 1))));

    let neighbour = |port, last| Neighbour { port, mac: Some([0x02, 0, 0, 0, 1, last]), pin: None };
    let mut commands = vec![
        Command::SetHop(HopId(0), neighbour(1, 1)),
        Command::SetHop(HopId(1), neighbour(0, 11)),
        Command::SetHop(HopId(2), neighbour(0, 12)),
        Command::Reach(Ipv4Addr::new(192, 168, 10, 11), HopId(1)),
        Command::Reach(Ipv4Addr::new(192, 168, 10, 12), HopId(2)),
    ];
    let encapsulations =
        [Encapsulation::Vxlan, Encapsulation::Gre, Encapsulation::Geneve, Encapsulation::Psp];
    for (index, encapsulation) in encapsulations.into_iter().enumerate() {
        let tunnel = Tunnel {
            encapsulation,
            local: GATEWAY,
            remote: PEER,
            id_in: FIRST_ID + index as u32,
            id_out: 0x000a_0b0c + index as u32,
            neighbour: HopId(0),
            mtu: 1500,
        };
        commands.push(Command::SetTunnel(TunnelId(index as u16), tunnel));
    }
    let first = Ipv4Addr::new(192, 168, 10, 11);
    let second = Ipv4Addr::new(192, 168, 10, 12);
    let through =
        |tunnel: u16| Far::Tunnel { tunnel: TunnelId(tunnel), remote_tag: 0xc0de_0000 + u32::from(tunnel) };
    let proxy = |last| Ipv4Addr::new(10, 0, 0, last);
    let web = BindingLimits { protocol: Some(6), port: Some(80), ..BindingLimits::default() };
    let slow = BindingLimits { rate_bps: Some(64_000), ..BindingLimits::default() };
    let bindings = [
        (first, proxy(1), through(0), 1, BindingLimits::default()),
        (first, proxy(2), through(1), 1, BindingLimits::default()),
        (first, proxy(3), through(2), 1, BindingLimits::default()),
        (first, proxy(4), through(0), 1, web),
        (first, proxy(5), through(0), 1, slow),
        (first, proxy(6), Far::Local { source: proxy(1), destination: second }, 2, BindingLimits::default()),
        (second, proxy(1), Far::Local { source: proxy(6), destination: first }, 1, BindingLimits::default()),
        (first, proxy(7), through(3), 1, BindingLimits::default()),
    ];
    for (slot, (host, proxy, far, neighbour, limits)) in bindings.into_iter().enumerate() {
        let binding = Binding {
            host,
            proxy,
            far,
            neighbour: HopId(neighbour),
            mac: None,
            idle_s: 60,
            patience: Patience::WithTcp,
            hard_s: 0,
            limits,
        };
        commands.push(Command::InsertBinding(layout.handle(0, slot as u32, 1), binding));
    }
    let key = SealKey::new(Cipher::Aes256Gcm, &[1; 32]);
    let inbound = key.map(|key| Box::new(InboundKey::new(key, SEALED_ID, 1)));
    for part in [KeyPart::In(false, inbound), outbound(2, 0x000a_0b0f)] {
        state.change_key(&mut KeyChange { slot: slot_of(SEALED_ID), part });
    }
    for command in commands {
        assert!(state.ready(), "nothing is under way yet");
        state.command(command, 0);
    }
    state
}

/// What the first frame of an input becomes, if it is sent on.
pub fn first_sent(data: &[u8]) -> Option<Vec<u8>> {
    let mut frame = MemoryFrame::new(data.get(4..)?);
    fix_ipv4(frame.data_mut(), 14);
    let mut spare = Spare(Vec::new());
    let verdict = process(&mut state(false), data[0] & OUTSIDE, &mut frame, &mut spare, SECOND_NS);
    matches!(verdict, Verdict::Forward(_)).then(|| frame.data().to_vec())
}

/// The property: no panic, a verdict for every frame, and nothing sent that no port could carry.
pub fn run(data: &[u8]) {
    let mut state = state(data.first().is_some_and(|flags| flags & NAT != 0));
    let mut spare = Spare(vec![MemoryFrame::empty(); 4]);
    let mut peer = peer();
    let mut now = SECOND_NS;
    let mut burst: Vec<MemoryFrame> = Vec::new();
    let mut rest = data;
    while let [flags, seconds, high, low, after @ ..] = rest {
        let (bytes, next) = after.split_at(usize::from(u16::from_be_bytes([*high, *low])).min(after.len()));
        rest = next;
        now += u64::from(*seconds) * SECOND_NS;
        let mut frame = MemoryFrame::new(bytes);
        if flags & FIX_INNER != 0 {
            fix_inner(frame.data_mut());
        }
        if flags & SEAL != 0 {
            seal(&mut peer, &mut frame);
        }
        if flags & FIX_OUTER != 0 {
            fix_ipv4(frame.data_mut(), 14);
        }
        burst.push(frame);
        if flags & JOIN != 0 && burst.len() < 2 * BURST && !rest.is_empty() {
            continue;
        }
        let mut verdicts = vec![Verdict::Absorb; burst.len()];
        process_burst(&mut state, flags & OUTSIDE, &mut burst, &mut verdicts, &mut spare, now);
        for (verdict, frame) in verdicts.into_iter().zip(burst.drain(..)) {
            match verdict {
                Verdict::Forward(egress) | Verdict::Reply(egress, _) => {
                    assert!(egress.port < 2 && frame.data().len() >= 34, "{egress:?} {frame:?}");
                }
                Verdict::Punt(_) | Verdict::Drop(_) | Verdict::Absorb => {}
                Verdict::Hold(_) | Verdict::HoldLater(_) | Verdict::HoldUnasked(_) => {}
                Verdict::HandOff(worker) | Verdict::TurnBack(worker, _) => {
                    panic!("handed to worker {worker}: there is only one")
                }
            }
        }
        state.tick(now);
        while state.peek_event().is_some() {
            state.pop_event();
        }
    }
}

/// Puts right the checksum of an IPv4 header, and of the ICMP message behind it.
fn fix_ipv4(frame: &mut [u8], at: usize) {
    let Some(packet) = frame.get_mut(at..).filter(|rest| rest.len() >= 20) else { return };
    let header = (usize::from(packet[0] & 15) * 4).clamp(20, packet.len());
    let end = usize::from(u16::from_be_bytes([packet[2], packet[3]])).clamp(header, packet.len());
    fix(&mut packet[..header], 10);
    if packet[9] == 1 && end >= header + 4 {
        fix(&mut packet[header..end], 2);
    }
}

/// RFC 1071.
fn fix(bytes: &mut [u8], at: usize) {
    bytes[at..at + 2].fill(0);
    let word = |pair: &[u8]| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    let sum: u32 = bytes.chunks(2).map(word).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// Where an IPv4 header stands behind an outer header without options: Ethernet 14, IPv4 20, then VXLAN or GENEVE with
/// UDP 16, or GRE with a key 8, then the inner Ethernet header 14.
fn fix_inner(frame: &mut [u8]) {
    match frame.get(23) {
        Some(17) => fix_ipv4(frame, 14 + 20 + 16 + 14),
        Some(47) => fix_ipv4(frame, 14 + 20 + 8 + 14),
        _ => {}
    }
}
