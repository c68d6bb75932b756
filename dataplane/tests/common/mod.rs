//! A gateway without a NIC: two ports, packets made and checked byte by byte with plain arithmetic of their own.
#![allow(dead_code, missing_docs)] // each test uses a part of it

pub(crate) mod dmz;
pub(crate) mod nat;
pub(crate) mod realms;
pub(crate) mod rules;
pub(crate) mod talk;
pub(crate) mod workers;

use ces_dataplane::egress::Egress;
use ces_dataplane::frame::{Buffers, Frame, MemoryFrame};
use ces_dataplane::msg::{
    Binding, BindingLimits, Command, Encapsulation, Event, Far, HopId, Neighbour, Patience, PortId,
    TraceRecord, Tunnel, TunnelId,
};
use ces_dataplane::packet::Packet;
use ces_dataplane::path::process_burst;
use ces_dataplane::settings::{PortSettings, Side, WorkerSettings};
use ces_dataplane::state::State;
use ces_dataplane::tag::{Handle, TagCipher};
use ces_dataplane::verdict::Verdict;
use std::net::Ipv4Addr;

pub(crate) const INSIDE: PortId = 0;
pub(crate) const OUTSIDE: PortId = 1;
pub(crate) const SECOND: u64 = 1_000_000_000;

/// MAC addresses: the gateway's two ports, the host, the other host, the next hop outside.
pub(crate) const MAC_IN: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(crate) const MAC_OUT: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(crate) const MAC_HOST: [u8; 6] = [2, 0, 0, 0, 1, 1];
pub(crate) const MAC_OTHER: [u8; 6] = [2, 0, 0, 0, 1, 2];
pub(crate) const MAC_ROUTER: [u8; 6] = [2, 0, 0, 0, 2, 1];

/// The gateway inside, its host, another host, the proxy of the far host, and of each inside host to the other.
pub(crate) const GATEWAY: u32 = 0x0a00_0001;
pub(crate) const HOST: u32 = 0x0a00_000a;
pub(crate) const OTHER: u32 = 0x0a00_000b;
pub(crate) const PROXY: u32 = 0x0ac8_0001;
pub(crate) const PROXY_OTHER: u32 = 0x0ac8_0002;
pub(crate) const PROXY_HOST: u32 = 0x0ac8_0003;
/// The locators.
pub(crate) const LOCAL: u32 = 0xc633_6401;
pub(crate) const REMOTE: u32 = 0xcb00_7101;
/// What the peer gave us.
pub(crate) const REMOTE_TAG: u32 = 0xdead_beef;
pub(crate) const ID_IN: u32 = 0x00_1234;
pub(crate) const ID_OUT: u32 = 0x00_5678;

pub(crate) fn address(bits: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(bits)
}

// ---- packets ----

/// The Internet checksum as RFC 1071 §4.1 writes it.
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The checksum of a segment under the pseudo header.
pub(crate) fn l4_checksum(source: u32, destination: u32, protocol: u8, segment: &[u8]) -> u16 {
    let mut bytes = Vec::new();
    bytes.extend(source.to_be_bytes());
    bytes.extend(destination.to_be_bytes());
    bytes.extend([0, protocol]);
    bytes.extend((segment.len() as u16).to_be_bytes());
    bytes.extend(segment);
    checksum(&bytes)
}

/// An IPv4 packet to be made; without checksums until [`Ip::bytes`].
#[derive(Clone, Debug)]
pub(crate) struct Ip {
    pub source: u32,
    pub destination: u32,
    pub ttl: u8,
    pub tos: u8,
    pub id: u16,
    /// DF, MF and offset as on the wire.
    pub fragment: u16,
    pub protocol: u8,
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
    /// The payload is a part of a segment: its checksum stays.
    pub raw: bool,
}

impl Ip {
    pub(crate) fn new(source: u32, destination: u32, protocol: u8, payload: Vec<u8>) -> Self {
        Self {
            source,
            destination,
            ttl: 64,
            tos: 0,
            id: 0x4242,
            fragment: 0x4000,
            protocol,
            options: vec![],
            payload,
            raw: false,
        }
    }

    pub(crate) fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    pub(crate) fn tos(mut self, tos: u8) -> Self {
        self.tos = tos;
        self
    }

    pub(crate) fn fragment(mut self, fragment: u16) -> Self {
        self.fragment = fragment;
        self
    }

    pub(crate) fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self
    }

    pub(crate) fn raw(mut self) -> Self {
        self.raw = true;
        self
    }

    /// With other addresses; the time to live goes down by `hops`.
    pub(crate) fn readdressed(&self, source: u32, destination: u32, hops: u8) -> Self {
        Self { source, destination, ttl: self.ttl - hops, ..self.clone() }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut payload = self.payload.clone();
        let field = match self.protocol {
            6 => Some(16),
            17 | 33 | 136 => Some(6),
            1 => Some(2),
            _ => None,
        };
        if let Some(at) = field
            && !self.raw
            && payload.len() >= at + 2
        {
            let none = self.protocol == 17 && payload[at..at + 2] == [0, 0];
            payload[at..at + 2].fill(0);
            let mut sum = if self.protocol == 1 {
                checksum(&payload)
            } else {
                l4_checksum(self.source, self.destination, self.protocol, &payload)
            };
            if self.protocol == 17 && sum == 0 {
                sum = 0xffff;
            }
            if none {
                sum = 0;
            }
            payload[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        let length = 20 + self.options.len();
        let mut bytes = vec![0x40 | (length / 4) as u8, self.tos];
        bytes.extend(((length + payload.len()) as u16).to_be_bytes());
        bytes.extend(self.id.to_be_bytes());
        bytes.extend(self.fragment.to_be_bytes());
        bytes.extend([self.ttl, self.protocol, 0, 0]);
        bytes.extend(self.source.to_be_bytes());
        bytes.extend(self.destination.to_be_bytes());
        bytes.extend(&self.options);
        let sum = checksum(&bytes);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend(payload);
        bytes
    }
}

pub(crate) fn udp(source: u16, destination: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(source.to_be_bytes());
    bytes.extend(destination.to_be_bytes());
    bytes.extend((8 + data.len() as u16).to_be_bytes());
    bytes.extend([0xff, 0xff]); // to be computed; 0 would mean none
    bytes.extend(data);
    bytes
}

pub(crate) fn tcp(source: u16, destination: u16, flags: u8, options: &[u8], data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(source.to_be_bytes());
    bytes.extend(destination.to_be_bytes());
    bytes.extend([
        0,
        0,
        0,
        1,
        0,
        0,
        0,
        2,
        ((20 + options.len()) / 4) as u8 * 16,
        flags,
        0xff,
        0xff,
        0,
        0,
        0,
        0,
    ]);
    bytes.extend(options);
    bytes.extend(data);
    bytes
}

pub(crate) fn icmp(kind: u8, code: u8, rest: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, code, 0, 0];
    bytes.extend(rest.to_be_bytes());
    bytes.extend(data);
    bytes
}

pub(crate) fn ethernet(destination: [u8; 6], source: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(destination);
    bytes.extend(source);
    bytes.extend(kind.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The frame with a VLAN tag.
pub(crate) fn tagged(vlan: u16, mut frame: Vec<u8>) -> Vec<u8> {
    let tag = [0x81, 0x00, (vlan >> 8) as u8, vlan as u8];
    frame.splice(12..12, tag);
    frame
}

/// From the host to the gateway.
pub(crate) fn from_host(packet: &Ip) -> Vec<u8> {
    ethernet(MAC_IN, MAC_HOST, 0x0800, &packet.bytes())
}

/// From the gateway to the host.
pub(crate) fn to_host(packet: &Ip) -> Vec<u8> {
    ethernet(MAC_HOST, MAC_IN, 0x0800, &packet.bytes())
}

/// The bytes between the outer IPv4 header and the inner packet.
pub(crate) fn tunnel_header(encapsulation: Encapsulation, id: u32, inner: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let port: u16 = match encapsulation {
        Encapsulation::Vxlan => 4789,
        Encapsulation::Geneve => 6081,
        Encapsulation::Gre | Encapsulation::Psp => 0,
    };
    if port != 0 {
        bytes.extend(0xc000u16.to_be_bytes());
        bytes.extend(port.to_be_bytes());
        bytes.extend((8 + 8 + 14 + inner as u16).to_be_bytes());
        bytes.extend([0, 0]);
    }
    match encapsulation {
        Encapsulation::Vxlan => {
            bytes.extend([8, 0, 0, 0]);
            bytes.extend((id << 8).to_be_bytes());
        }
        Encapsulation::Geneve => {
            bytes.extend([0, 0, 0x65, 0x58]);
            bytes.extend((id << 8).to_be_bytes());
        }
        Encapsulation::Gre => {
            bytes.extend([0x20, 0, 0x65, 0x58]);
            bytes.extend(id.to_be_bytes());
        }
        Encapsulation::Psp => unreachable!("not in clear"),
    }
    bytes.extend([0; 12]);
    bytes.extend([0x08, 0x00]);
    bytes
}

/// The outer packet around an inner one.
pub(crate) fn outer(
    encapsulation: Encapsulation,
    source: u32,
    destination: u32,
    id: u32,
    inner: &[u8],
    tos: u8,
) -> Ip {
    let mut payload = tunnel_header(encapsulation, id, inner.len());
    payload.extend(inner);
    let protocol = if encapsulation == Encapsulation::Gre { 47 } else { 17 };
    let mut packet = Ip::new(source, destination, protocol, payload).tos(tos).raw();
    packet.id = 0;
    packet
}

/// What the gateway sends to its peer for this inner packet.
pub(crate) fn to_peer(encapsulation: Encapsulation, inner: &Ip) -> Vec<u8> {
    let packet = outer(encapsulation, LOCAL, REMOTE, ID_OUT, &inner.bytes(), inner.tos);
    ethernet(MAC_ROUTER, MAC_OUT, 0x0800, &packet.bytes())
}

/// What the peer sends to the gateway for this inner packet.
pub(crate) fn from_peer(encapsulation: Encapsulation, inner: &Ip) -> Vec<u8> {
    let packet = outer(encapsulation, REMOTE, LOCAL, ID_IN, &inner.bytes(), inner.tos);
    ethernet(MAC_OUT, MAC_ROUTER, 0x0800, &packet.bytes())
}

/// The frame with what the gateway draws by itself set to fixed values: identification and source port of an outer
/// header (after a look that the port is in the range of RFC 7348 §5).
pub(crate) fn normalised(frame: &[u8]) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    let link = if bytes[12..14] == [0x81, 0] { 18 } else { 14 };
    if bytes[link - 2..link] != [8, 0] || bytes.len() < link + 28 {
        return bytes;
    }
    let port = u16::from_be_bytes([bytes[link + 22], bytes[link + 23]]);
    let in_udp = bytes[link + 9] == 17 && (port == 4789 || port == 6081);
    if in_udp || bytes[link + 9] == 47 {
        bytes[link + 4..link + 6].fill(0);
        bytes[link + 10..link + 12].fill(0);
        let sum = checksum(&bytes[link..link + 20]);
        bytes[link + 10..link + 12].copy_from_slice(&sum.to_be_bytes());
    }
    if in_udp {
        assert!(bytes[link + 20] >= 0xc0, "outer source port below 49152");
        bytes[link + 20..link + 22].copy_from_slice(&[0xc0, 0]);
    }
    bytes
}

/// Checks every length and checksum of a frame that the gateway sent, down to the innermost packet.
pub(crate) fn assert_sound(frame: &[u8]) {
    let link = if frame[12..14] == [0x81, 0] { 18 } else { 14 };
    assert_eq!(frame[link - 2..link], [8, 0], "not IPv4: {frame:02x?}");
    assert_packet(&frame[link..]);
}

fn assert_packet(ip: &[u8]) {
    let header = usize::from(ip[0] & 15) * 4;
    assert_eq!(ip[0] >> 4, 4);
    assert_eq!(usize::from(u16::from_be_bytes([ip[2], ip[3]])), ip.len(), "total length");
    assert_eq!(checksum(&ip[..header]), 0, "header checksum of {ip:02x?}");
    let word = |at: usize| u32::from_be_bytes(ip[at..at + 4].try_into().unwrap());
    let (source, destination, payload) = (word(12), word(16), &ip[header..]);
    if u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff != 0 {
        return; // fragments are checked when they are whole
    }
    match ip[9] {
        6 => assert_eq!(l4_checksum(source, destination, 6, payload), 0, "TCP checksum"),
        17 if payload[6..8] != [0, 0] => {
            assert_eq!(l4_checksum(source, destination, 17, payload), 0, "UDP checksum");
        }
        1 => assert_eq!(checksum(payload), 0, "ICMP checksum"),
        17 if [4789, 6081].contains(&u16::from_be_bytes([payload[2], payload[3]])) => {
            assert_eq!(usize::from(u16::from_be_bytes([payload[4], payload[5]])), payload.len());
            assert_packet(&payload[8 + 8 + 14..]);
        }
        47 => assert_packet(&payload[8 + 14..]),
        _ => {}
    }
}

/// A file that Wireshark opens, in the system's directory for temporary files. Written when a case fails.
pub(crate) fn keep_pcap(title: &str, frames: &[Vec<u8>]) -> String {
    let mut bytes = Vec::new();
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65535, 1] {
        bytes.extend(word.to_le_bytes());
    }
    for frame in frames {
        for word in [0, 0, frame.len() as u32, frame.len() as u32] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(frame);
    }
    let name: String = title.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
    let path = std::env::temp_dir().join(format!("ces-{name}.pcap"));
    std::fs::write(&path, bytes).ok();
    path.display().to_string()
}

// ---- the gateway ----

/// Frames for fragments, and where they go.
#[derive(Default)]
pub(crate) struct Wire {
    pub sent: Vec<(PortId, MemoryFrame)>,
    pub empty: bool,
}

impl Buffers<MemoryFrame> for Wire {
    fn allocate(&mut self) -> Option<MemoryFrame> {
        (!self.empty).then(MemoryFrame::empty)
    }

    fn send(&mut self, egress: Egress, frame: MemoryFrame, _: &Packet) {
        self.sent.push((egress.port, frame));
    }
}

pub(crate) struct Gateway {
    pub state: State,
    pub settings: WorkerSettings,
    pub wire: Wire,
    pub now: u64,
}

pub(crate) fn settings() -> WorkerSettings {
    let port = |side, mac, own: u32, networks: Vec<(Ipv4Addr, u8)>| PortSettings {
        side,
        mac,
        addresses: vec![(address(own), 24)],
        networks,
        vlan: None,
        mtu: 1500,
    };
    let ports = vec![
        port(Side::Inside, MAC_IN, GATEWAY, vec![(address(0x0a00_0000), 24)]),
        port(Side::Outside, MAC_OUT, LOCAL, vec![]),
    ];
    let mut settings = WorkerSettings::new(ports, 64);
    settings.tunnels = 8;
    settings.neighbours = 16;
    settings.limited = 2;
    settings.proxy_networks = vec![(address(0x0ac8_0000), 16)];
    settings.tcp_listen = vec![(Side::Outside, 48001), (Side::Inside, 53)];
    settings
}

pub(crate) const ROUTER: HopId = HopId(0);
pub(crate) const HOP_HOST: HopId = HopId(1);
pub(crate) const HOP_OTHER: HopId = HopId(2);
pub(crate) const HOP_UNKNOWN: HopId = HopId(3);

pub(crate) fn tunnel(encapsulation: Encapsulation) -> Tunnel {
    Tunnel {
        encapsulation,
        local: address(LOCAL),
        remote: address(REMOTE),
        id_in: ID_IN,
        id_out: ID_OUT,
        neighbour: ROUTER,
        mtu: 1500,
    }
}

pub(crate) fn binding() -> Binding {
    Binding {
        host: address(HOST),
        proxy: address(PROXY),
        far: Far::Tunnel { tunnel: TunnelId(0), remote_tag: REMOTE_TAG },
        neighbour: HOP_HOST,
        mac: None,
        idle_s: 0,
        patience: Patience::None,
        hard_s: 0,
        limits: BindingLimits::default(),
    }
}

impl Gateway {
    /// A gateway with next hops and no tunnels.
    pub(crate) fn bare(settings: WorkerSettings) -> Self {
        let state = State::new(&settings).unwrap();
        let mut gateway = Self { state, settings, wire: Wire::default(), now: SECOND };
        for (hop, port, mac) in
            [(ROUTER, OUTSIDE, MAC_ROUTER), (HOP_HOST, INSIDE, MAC_HOST), (HOP_OTHER, INSIDE, MAC_OTHER)]
        {
            gateway.command(Command::SetHop(hop, Neighbour { port, mac: Some(mac), pin: None }));
        }
        gateway
    }

    /// The same with a tunnel and a binding through it.
    pub(crate) fn new(settings: WorkerSettings, encapsulation: Encapsulation, binding: Binding) -> Self {
        let mut gateway = Self::bare(settings);
        gateway.command(Command::SetTunnel(TunnelId(0), tunnel(encapsulation)));
        let handle = gateway.handle(0);
        gateway.command(Command::InsertBinding(handle, binding));
        gateway
    }

    pub(crate) fn handle(&self, slot: u32) -> Handle {
        self.settings.layout.handle(self.settings.worker, slot, 1)
    }

    pub(crate) fn tag(&self, slot: u32) -> u32 {
        TagCipher::new(self.settings.tag_key).tag(self.handle(slot)).0
    }

    pub(crate) fn command(&mut self, command: Command) {
        assert!(self.state.ready());
        self.state.command(command, self.now);
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.state.peek_event() {
            events.push(*event);
            self.state.pop_event();
        }
        events
    }

    pub(crate) fn traces(&mut self) -> Vec<TraceRecord> {
        let mut records = Vec::new();
        while let Some(record) = self.state.peek_trace() {
            records.push(*record);
            self.state.pop_trace();
        }
        records
    }

    /// A burst; what was decided, and what leaves (forwarded, replied, fragments first) by port.
    pub(crate) fn burst(
        &mut self,
        port: PortId,
        frames: &[Vec<u8>],
    ) -> (Vec<Verdict>, Vec<(PortId, Vec<u8>)>) {
        let mut frames: Vec<_> = frames.iter().map(|frame| MemoryFrame::new(frame)).collect();
        let mut verdicts = vec![Verdict::Absorb; frames.len()];
        process_burst(&mut self.state, port, &mut frames, &mut verdicts, &mut self.wire, self.now);
        let mut out: Vec<_> =
            self.wire.sent.drain(..).map(|(port, frame)| (port, frame.data().to_vec())).collect();
        for (frame, verdict) in frames.iter().zip(&verdicts) {
            if let Verdict::Forward(egress) | Verdict::Reply(egress, _) = *verdict {
                out.push((egress.port, frame.data().to_vec()));
            }
        }
        (verdicts, out)
    }

    /// What one frame is after a decision that leaves it with the caller.
    pub(crate) fn left(&mut self, port: PortId, frame: &[u8]) -> (Verdict, Vec<u8>) {
        let (mut frames, mut verdicts) = ([MemoryFrame::new(frame)], [Verdict::Absorb]);
        process_burst(&mut self.state, port, &mut frames, &mut verdicts, &mut self.wire, self.now);
        (verdicts[0], frames[0].data().to_vec())
    }

    pub(crate) fn one(&mut self, port: PortId, frame: &[u8]) -> (Verdict, Vec<(PortId, Vec<u8>)>) {
        let (verdicts, out) = self.burst(port, &[frame.to_vec()]);
        (verdicts[0], out)
    }
}
