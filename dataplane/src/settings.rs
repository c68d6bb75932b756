//! What a worker must know before its first packet. What of it is the gateway's [premises](crate::premises) may change while
//! the worker runs; sizes, keys and layouts may not.

use crate::alg::Alg;
use crate::counters::PORTS;
use crate::msg::{PuntClass, PuntRates, Recording};
use crate::narrow::Number24;
use crate::nat::Nat;
use crate::queue::Shape;
use crate::tag::Layout;
use std::net::Ipv4Addr;

/// Milliseconds of its rate that a binding's bucket holds, if nothing else is configured. A policer has no queue: what TCP
/// sends too fast is lost, and where all of a window is lost, TCP waits for its timer (RFC 6298: 200 ms and more, doubled
/// each time). What the bucket cannot hold meanwhile is lost to the connection. With a second, the share of its rate that
/// TCP gets does not depend on delay or rate (dataplane/tests/police.rs); with 100 ms it was as little as a tenth.
pub const RATE_BURST_MS: u32 = 1000;

/// Which world a port faces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The private realm with its hosts.
    Inside,
    /// The world between the gateways.
    Outside,
    /// Hosts that both reach, as far as the filter lets them, and that are in neither.
    Dmz,
}

impl Side {
    /// All of them.
    pub const ALL: [Self; Self::COUNT] = [Self::Inside, Self::Outside, Self::Dmz];
    /// How many there are.
    pub const COUNT: usize = 3;
}

/// One port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSettings {
    /// The side it faces.
    pub side: Side,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// The gateway's own addresses on it, with the prefix length of their subnet.
    pub addresses: Vec<(Ipv4Addr, u8)>,
    /// Inside: the realm's networks, from which alone packets are taken here; empty = any. DMZ: its networks, likewise. Outside:
    /// without meaning.
    pub networks: Vec<(Ipv4Addr, u8)>,
    /// The VLAN whose tag all its frames carry; `None` = untagged.
    pub vlan: Option<u16>,
    /// The largest IP packet that it sends, in bytes.
    pub mtu: u16,
}

/// What a worker has room for of NAT44.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NatRoom {
    /// Sessions; 0 = no NAT44.
    pub sessions: u32,
    /// Mappings.
    pub mappings: u32,
    /// Hosts that have sessions.
    pub hosts: u32,
    /// External addresses.
    pub addresses: u16,
}

/// What a worker has room for of the circular pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolRoom {
    /// Addresses, those that a reload took out included.
    pub addresses: u16,
    /// Pending reservations; 0 = no Realm Gateway.
    pub reservations: u32,
    /// Unwanted packets that are remembered.
    pub unwanted: u32,
}

/// A worker's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSettings {
    /// The ports, in the order of the configuration: the index is the `PortId`.
    pub ports: Vec<PortSettings>,
    /// How each of them is shaped, in their order; those without, and those beyond the last, are not.
    pub shapes: Vec<Option<Shape>>,
    /// Slots for bindings: at most `1 << layout.slot_bits`.
    pub bindings: u32,
    /// Slots for tunnels.
    pub tunnels: u16,
    /// Slots for next hops.
    pub neighbours: u32,
    /// Slots for bindings with limits: fewer than [`Number24::MOST`].
    pub limited: u32,
    /// What there is room for of NAT44.
    pub nat_room: NatRoom,
    /// NAT44.
    pub nat: Nat,
    /// What is recorded of NAT44.
    pub recording: Recording,
    /// Which ALGs are on, and where.
    pub alg: Alg,
    /// Slots for their control channels, where there are sessions; and for those of bindings.
    pub channels: u32,
    /// Slots for those of them that are streams of messages.
    pub talks: u32,
    /// Slots for calls of SIP and streams of RTSP, where there are sessions.
    pub dialogs: u32,
    /// How many other static mappings there were before those.
    pub translations: u16,
    /// What there is room for of the circular pool.
    pub pool_room: PoolRoom,
    /// The addresses of the circular pool.
    pub pool: Vec<Ipv4Addr>,
    /// How long a binding with a rate may send as fast as it can after a pause: what a rate's bucket holds, in milliseconds
    /// at the rate.
    pub rate_burst_ms: u32,
    /// The key of the session tags: the same for all workers, random at start.
    pub tag_key: [u32; 4],
    /// The seed of the hash tables: random at start.
    pub hash_seed: [u64; 2],
    /// How handles are cut.
    pub layout: Layout,
    /// This worker's number.
    pub worker: u32,
    /// How many workers there are.
    pub workers: u32,
    /// Ports on which the gateway's own TCP servers listen (CETP, DNS, administration), by side.
    pub tcp_listen: Vec<(Side, u16)>,
    /// Addresses and ports of the resolvers that are asked: only their answers reach the control thread.
    pub resolvers: Vec<(Ipv4Addr, u16)>,
    /// Whether hosts get addresses from the gateway (DHCP).
    pub dhcp: bool,
    /// The networks that proxy addresses come from: only tells `no_binding` from `no_route`.
    pub proxy_networks: Vec<(Ipv4Addr, u8)>,
    /// Punted packets a second at most, by class in the order of `PuntClass::ALL`; bursts of a tenth of a second.
    pub punt_rates: [u32; PuntClass::COUNT],
    /// ICMP errors a second at most that the gateway makes itself (RFC 1812 §4.3.2.8).
    pub icmp_error_rate: u32,
}

/// Bindings without limits that keep a line for each control channel there may be at once: a binding outlasts its channels.
const HEARING: u32 = 4;

impl WorkerSettings {
    /// Bindings without limits of which ports may be read (capacity for [`WorkerSettings::channels`]).
    pub const fn hearing(&self) -> u32 {
        self.channels.saturating_mul(HEARING)
    }

    /// Settings for one worker with these ports and room for so many bindings; the rest as it is good for most. The
    /// caller replaces `tag_key` and `hash_seed` by random numbers.
    pub fn new(ports: Vec<PortSettings>, bindings: u32) -> Self {
        Self {
            ports,
            shapes: Vec::new(),
            bindings,
            tunnels: 1024,
            neighbours: 16_384,
            limited: 4096,
            nat_room: NatRoom::default(),
            nat: Nat::default(),
            recording: Recording::Nothing,
            alg: Alg::default(),
            channels: 16,
            talks: 16,
            dialogs: 16,
            translations: 0,
            pool_room: PoolRoom::default(),
            pool: Vec::new(),
            rate_burst_ms: RATE_BURST_MS,
            tag_key: [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            hash_seed: [0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89],
            layout: Layout::new(1, bindings.max(1)),
            worker: 0,
            workers: 1,
            tcp_listen: Vec::new(),
            resolvers: Vec::new(),
            dhcp: false,
            proxy_networks: Vec::new(),
            punt_rates: PuntRates::default().by_class(),
            icmp_error_rate: PuntRates::default().icmp_errors,
        }
    }

    /// Whether a worker can run with them.
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.ports.is_empty() || self.ports.len() > PORTS {
            return Err(SettingsError::Ports(self.ports.len()));
        }
        // At least one bit for the generation, and fewer than 2³² generations.
        if !(1..=31).contains(&self.layout.worker_bits.saturating_add(self.layout.slot_bits)) {
            return Err(SettingsError::Layout);
        }
        if self.bindings == 0 || self.bindings > 1 << self.layout.slot_bits {
            return Err(SettingsError::Bindings(self.bindings));
        }
        let (first, last) = self.nat.ports;
        if first == 0 || first > last {
            return Err(SettingsError::NatPorts);
        }
        if self.neighbours > Number24::MOST {
            return Err(SettingsError::Neighbours(self.neighbours));
        }
        if u64::from(self.limited) + u64::from(self.hearing()) >= u64::from(Number24::MOST) {
            return Err(SettingsError::Limited(self.limited));
        }
        if self.worker >= self.workers || self.workers > 1 << self.layout.worker_bits {
            return Err(SettingsError::Workers(self.workers));
        }
        for (index, port) in self.ports.iter().enumerate() {
            if port.addresses.iter().chain(&port.networks).any(|&(_, prefix)| prefix > 32) {
                return Err(SettingsError::Prefix(index));
            }
            if port.vlan.is_some_and(|vlan| !(1..=4094).contains(&vlan)) {
                return Err(SettingsError::Vlan(index));
            }
            // RFC 791: every link carries at least 68 bytes.
            if port.mtu < 68 {
                return Err(SettingsError::Mtu(index));
            }
        }
        if self.proxy_networks.iter().any(|&(_, prefix)| prefix > 32) {
            return Err(SettingsError::ProxyPrefix);
        }
        Ok(())
    }
}

/// Why a worker cannot start with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingsError {
    /// Not 1 to [`PORTS`] ports.
    Ports(usize),
    /// No bindings, or more than the layout of handles can name.
    Bindings(u32),
    /// Handles whose worker and slot take no bits, or all of them.
    Layout,
    /// More next hops than a binding can name.
    Neighbours(u32),
    /// More restricted bindings than a binding can name.
    Limited(u32),
    /// A worker number beyond the workers, or more workers than the layout of handles can name.
    Workers(u32),
    /// A prefix length above 32 on this port.
    Prefix(usize),
    /// A prefix length above 32 in the proxy networks.
    ProxyPrefix,
    /// A range of external ports without any, or with port 0.
    NatPorts,
    /// A VLAN outside 1 to 4094 on this port.
    Vlan(usize),
    /// An MTU below 68 on this port.
    Mtu(usize),
    /// The memory for this table could not be had.
    Memory(&'static str),
}

impl std::fmt::Display for SettingsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ports(count) => write!(f, "{count} ports: a worker serves 1 to {PORTS}"),
            Self::Bindings(count) => write!(f, "{count} bindings: none, or more than a handle can name"),
            Self::Layout => write!(f, "a handle has 1 to 31 bits for its worker and slot"),
            Self::Neighbours(count) => {
                write!(f, "{count} next hops: a binding can name {}", Number24::MOST)
            }
            Self::Limited(count) => {
                write!(f, "{count} restricted bindings: a binding can name {}", Number24::MOST - 1)
            }
            Self::Workers(count) => {
                write!(f, "{count} workers: more than a handle can name, or fewer than this one's number")
            }
            Self::Prefix(port) => write!(f, "port {port}: a prefix length is 0 to 32"),
            Self::NatPorts => write!(f, "external ports: from 1 to 65535, the first before the last"),
            Self::ProxyPrefix => write!(f, "proxy networks: a prefix length is 0 to 32"),
            Self::Vlan(port) => write!(f, "port {port}: a VLAN is 1 to 4094"),
            Self::Mtu(port) => write!(f, "port {port}: an MTU is at least 68 (RFC 791)"),
            Self::Memory(table) => write!(f, "no memory for the table of {table}"),
        }
    }
}

impl std::error::Error for SettingsError {}
