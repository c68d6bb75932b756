//! What `cesctl show` gets, where the gateway's core has no snapshot of its own.

use crate::sources::tap::TapCounters;
use ces_cetp::engine::{BlockSnapshot, FilterSnapshot, PeerSnapshot};
use ces_dataplane::alg::scope::AlgMode;
use ces_dataplane::nat::Filtering;
use ces_dataplane::settings::Side;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

/// A port.
#[derive(Clone, Debug, Serialize)]
pub struct PortView {
    /// Its name.
    pub name: String,
    /// Its device, with arguments.
    pub device: String,
    /// Its driver.
    pub driver: String,
    /// The side it faces.
    pub side: Side,
    /// Its MAC address.
    pub mac: String,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Its VLAN id.
    pub vlan: Option<u16>,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// Its shadow TAP.
    pub tap: String,
    /// Whether there is a link; `None` if the device does not know.
    pub link: Option<bool>,
    /// Its speed in Mbit/s, if known.
    pub mbps: Option<u32>,
    /// What the workers received.
    pub rx_packets: u64,
    /// Bytes of that.
    pub rx_bytes: u64,
    /// What the workers sent.
    pub tx_packets: u64,
    /// Bytes of that.
    pub tx_bytes: u64,
    /// What the device itself counted.
    pub device_counters: DeviceView,
    /// What went through the TAP.
    pub tap_counters: TapCounters,
}

/// A shaped port.
#[derive(Clone, Debug, Serialize)]
pub struct QueuesView {
    /// Its name.
    pub port: String,
    /// Bits a second.
    pub bandwidth_bits: u64,
    /// Those of them that urgent packets have before all others.
    pub urgent_bits: u64,
    /// Its classes, the most urgent first.
    pub classes: Vec<QueueView>,
}

/// A class of a shaped port.
#[derive(Clone, Debug, Serialize)]
pub struct QueueView {
    /// Its name.
    pub class: &'static str,
    /// Packets that wait.
    pub packets: u64,
    /// Their bytes, as on the wire.
    pub bytes: u64,
    /// Hosts whose they are, in each worker.
    pub hosts: u64,
    /// How long the last packets waited, where that was longest, in microseconds.
    pub delay_us: u64,
    /// Packets sent.
    pub sent: u64,
    /// Their bytes, as on the wire.
    pub sent_bytes: u64,
    /// Those of them that were marked (ECN).
    pub marked: u64,
    /// Packets dropped because their flow's queue stood for too long.
    pub dropped_late: u64,
    /// Packets dropped because as many of their host or flow waited as may.
    pub dropped_full: u64,
}

/// What a device counted.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct DeviceView {
    /// Dropped by the device because its queue was full.
    pub rx_missed: u64,
    /// Arrived damaged.
    pub rx_errors: u64,
    /// Failed to send.
    pub tx_errors: u64,
    /// Dropped because no buffer was left.
    pub rx_no_buffer: u64,
}

/// A worker.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerView {
    /// Its number.
    pub worker: usize,
    /// Its core.
    pub core: usize,
    /// Share of its time spent working since the last look of an operator, in percent; since the start at the first look.
    pub busy_percent: f64,
    /// Cycles in busy turns.
    pub busy_cycles: u64,
    /// Cycles in idle turns.
    pub idle_cycles: u64,
    /// Packets received.
    pub packets: u64,
    /// Busy cycles for each packet received.
    pub cycles_per_packet: f64,
    /// Receive bursts by size: empty, 1, 2–3, 4–7, …
    pub bursts: Vec<u64>,
    /// Bindings that it holds.
    pub bindings: u64,
    /// Packets given to the control thread, by class.
    pub punts: BTreeMap<&'static str, u64>,
    /// Frames of the control thread that it sent.
    pub injected: u64,
    /// Packets handed to other workers.
    pub handed_off: u64,
    /// Packets that it kept until the MAC address of their next hop was known.
    pub held: u64,
    /// Those of them that it sent.
    pub held_sent: u64,
    /// Those of them that it keeps now.
    pub held_now: u64,
    /// Its rings.
    pub rings: Vec<RingView>,
}

/// A ring between a worker and the control thread.
#[derive(Clone, Debug, Serialize)]
pub struct RingView {
    /// Its name.
    pub ring: &'static str,
    /// Entries now.
    pub depth: u64,
    /// Entries at most.
    pub capacity: u64,
    /// Times that something did not fit.
    pub overflows: u64,
}

/// Packets dropped for one reason.
#[derive(Clone, Debug, Serialize)]
pub struct DropView {
    /// The reason, also the metric's label.
    pub reason: &'static str,
    /// How many.
    pub packets: u64,
    /// What it means.
    pub text: &'static str,
}

/// An inside host with sessions of NAT44.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct HolderRow {
    /// The host.
    pub host: Ipv4Addr,
    /// The address under which it is seen outside, if it was given one.
    pub external: Option<Ipv4Addr>,
    /// Its sessions.
    pub sessions: u32,
    /// Its external ports.
    pub ports: u32,
}

/// NAT44.
#[derive(Clone, Debug, Serialize)]
pub struct NatView {
    /// The addresses under which hosts are seen.
    pub addresses: Vec<Ipv4Addr>,
    /// First and last of their ports that hosts may have.
    pub ports: (u16, u16),
    /// How many of them a host gets at a time; 0: one.
    pub block_ports: u16,
    /// Who may send to them.
    pub filtering: Filtering,
    /// How many static mappings there are.
    pub statics: usize,
    /// What there is little left of.
    pub short_of: Vec<&'static str>,
    /// By worker.
    pub workers: Vec<NatWorkerView>,
}

/// What is done about a protocol.
#[derive(Clone, Debug, Serialize)]
pub struct AlgProtocolView {
    /// Its name.
    pub name: &'static str,
    /// What carries it.
    pub transport: &'static str,
    /// The ports on which it is spoken.
    pub ports: Vec<u16>,
    /// What is done, unless it is otherwise for a host.
    pub mode: AlgMode,
    /// For how many networks of hosts it is otherwise.
    pub hosts: usize,
}

/// A place that an ALG wrote anew.
#[derive(Clone, Debug, Serialize)]
pub struct RewriteRow {
    /// Seconds since then.
    pub ago_s: u64,
    /// The protocol.
    pub protocol: &'static str,
    /// The inside host.
    pub host: Ipv4Addr,
    /// The other end of the channel.
    pub remote: Ipv4Addr,
    /// What was said.
    pub from: String,
    /// What is said instead.
    pub to: String,
    /// It was only shown.
    pub is_dry: bool,
}

/// Application layer gateways.
#[derive(Clone, Debug, Serialize)]
pub struct AlgView {
    /// The protocols.
    pub protocols: Vec<AlgProtocolView>,
    /// Control channels, and for how many there is room.
    pub channels: (u64, u64),
    /// Connections that were announced and have not come yet.
    pub awaited: u64,
    /// Calls of SIP that are followed.
    pub calls: u64,
    /// Connections of RTSP with streams that are followed.
    pub streams: u64,
    /// For how many of both there is room.
    pub dialogs: u64,
    /// What was met with, and how often.
    pub events: Vec<(&'static str, u64)>,
    /// What the one of SIP met with.
    pub sip_events: Vec<(&'static str, u64)>,
    /// What the one of RTSP met with.
    pub rtsp_events: Vec<(&'static str, u64)>,
}

/// A session of NAT44. Addresses are with ports, or identifiers of queries.
#[derive(Clone, Debug, Serialize)]
pub struct SessionRow {
    /// The protocol.
    pub protocol: u8,
    /// Where it stands.
    pub stage: &'static str,
    /// The inside host.
    pub host: SocketAddrV4,
    /// As what it is seen outside.
    pub external: SocketAddrV4,
    /// The host outside.
    pub remote: SocketAddrV4,
    /// Packets from the host, modulo 2³².
    pub out_packets: u32,
    /// Bytes from it.
    pub out_bytes: u64,
    /// Packets to it, modulo 2³².
    pub in_packets: u32,
    /// Bytes to it.
    pub in_bytes: u64,
    /// Seconds since the last packet.
    pub idle_s: u32,
}

/// A mapping of NAT44.
#[derive(Clone, Debug, Serialize)]
pub struct MappingRow {
    /// Whether it is configured: "static" or "dynamic".
    pub kind: &'static str,
    /// The protocol, in a word; "any" for a whole address.
    pub protocol: String,
    /// The host and its port or ports, or a network.
    pub inside: String,
    /// What that is outside.
    pub external: String,
    /// How many sessions use it, where that is counted.
    pub sessions: Option<u32>,
}

/// A rule of the filter.
#[derive(Clone, Debug, Serialize)]
pub struct RuleRow {
    /// Its file.
    pub file: String,
    /// Its line.
    pub line: usize,
    /// Its name.
    pub name: Option<String>,
    /// How often it has decided.
    pub decided: u64,
    /// How often it has opened no session because of its rate, since these rules are in force.
    pub exceeded: u64,
    /// What it says.
    pub rule: String,
}

/// What a rule that says `log` has decided.
#[derive(Clone, Debug, Serialize)]
pub struct LoggedRow {
    /// Seconds since then.
    pub ago_s: u64,
    /// What became of the session.
    pub fate: &'static str,
    /// The protocol.
    pub protocol: String,
    /// The type of an ICMP message.
    pub icmp_type: Option<u8>,
    /// The zone of the source.
    pub from: &'static str,
    /// The source, with its port where there is one.
    pub source: String,
    /// The zone of the destination.
    pub to: &'static str,
    /// The destination; an inside host's own address.
    pub destination: String,
    /// Bytes of the first packet.
    pub length: u16,
    /// The rule's file and line.
    pub rule: String,
    /// Its name.
    pub name: Option<String>,
}

/// Which rule decides.
#[derive(Clone, Debug, Serialize)]
pub struct WhyView {
    /// The zone of the source.
    pub from: &'static str,
    /// That of the destination.
    pub to: &'static str,
    /// What becomes of the session.
    pub action: &'static str,
    /// The rule; none decides: what goes out may, what comes in may where NAT44 lets it.
    pub rule: Option<RuleRow>,
}

/// NAT44 of one worker.
#[derive(Clone, Debug, Serialize)]
pub struct NatWorkerView {
    /// Sessions now, and at most.
    pub sessions: (u64, u32),
    /// Mappings now, and at most.
    pub mappings: (u64, u32),
    /// Hosts with sessions now, and at most.
    pub hosts: (u64, u32),
    /// External ports that are taken or rest.
    pub ports: u64,
    /// Blocks of them that hosts have.
    pub blocks: u64,
    /// Sessions of static mappings now.
    pub configured: u64,
    /// Sessions opened since the start.
    pub opened: u64,
    /// Sessions whose time was over.
    pub ended: u64,
    /// Sessions that gave way to others.
    pub displaced: u64,
    /// Sessions of the process before that go on, and that do not fit any more.
    pub before: (u64, u64),
}

/// Other gateways and what is held against them.
#[derive(Clone, Debug, Serialize)]
pub struct PeersView {
    /// The peers.
    pub peers: Vec<PeerSnapshot>,
    /// Addresses that are refused.
    pub blocks: Vec<BlockSnapshot>,
    /// Names that are refused.
    pub filters: Vec<FilterSnapshot>,
    /// What became of connections.
    pub transport: BTreeMap<&'static str, u64>,
}

/// A next hop.
#[derive(Clone, Debug, Serialize)]
pub struct NeighbourView {
    /// Behind which port.
    pub port: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its MAC address.
    pub mac: String,
}

/// A route.
#[derive(Clone, Debug, Serialize)]
pub struct RouteView {
    /// Where it leads.
    pub network: String,
    /// The next hop.
    pub via: Option<Ipv4Addr>,
    /// The port.
    pub port: String,
}
