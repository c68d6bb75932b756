//! What a profile's keys are, but for sessions.

use super::range::{Addresses, PortRange};
use super::rate::Speed;
use super::size::Sizes;
use ces_dataplane::wire::ipv4;
use ipnet::Ipv4Net;
use serde::Deserialize;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// Memory for packets.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// Whether packet buffers live on huge pages, which must be set aside before.
    pub huge_pages: bool,
    /// Without huge pages: memory for packet buffers and what DPDK keeps beside them, in MiB.
    pub mib: u32,
}

impl Default for Memory {
    fn default() -> Self {
        Self { huge_pages: false, mib: 256 }
    }
}

/// The generator's threads and manners.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Generator {
    /// The cores, one thread on each; empty = one thread on the last core that this process may use.
    pub cores: Vec<usize>,
    /// Queue pairs of each port, where more are needed than there are threads: for a peer that sends on several, as
    /// OVS-DPDK does over a memif. Thread *i* sends on queue *i* and listens on queues *i*, *i* + threads, …
    pub queues: u16,
    /// Packets at most that are sent or received at once.
    pub burst: u16,
    /// What a port has not taken for so long, in milliseconds, is not sent any more; what it takes sooner is sent as fast as
    /// it goes.
    pub catch_up_ms: u32,
    /// Begin of all random sequences.
    pub seed: u64,
    /// How long nothing must have come before a trial ends, in milliseconds.
    pub drain_ms: u32,
    /// How long to wait for a link or a memif peer, in seconds.
    pub link_wait_s: u32,
    /// Memory at most for flows, in MiB.
    pub flow_mib: u64,
    /// How long a thread with sessions sleeps when nothing came, in microseconds: on a core that it shares with what it measures.
    pub nap_us: u32,
}

impl Default for Generator {
    fn default() -> Self {
        Self {
            cores: Vec::new(),
            queues: 0,
            burst: 32,
            catch_up_ms: 100,
            seed: 1,
            drain_ms: 200,
            link_wait_s: 10,
            flow_mib: 4096,
            nap_us: 0,
        }
    }
}

/// A port.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Its name, for streams and reports.
    pub name: String,
    /// A PCI address, or a virtual device with its arguments, such as `net_memif0,role=client,id=0`.
    pub device: String,
    /// The MAC address that its frames come from; without it, the device's own.
    #[serde(default)]
    pub mac: Option<Mac>,
    /// The MAC address that its frames go to; without it and without `gateway`, that of the port where the stream ends.
    #[serde(default)]
    pub peer_mac: Option<Mac>,
    /// The next hop, found by ARP before anything is sent.
    #[serde(default)]
    pub gateway: Option<Ipv4Addr>,
    /// Its own address, from which it asks for the gateway, and for which it answers.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
    /// Networks for whose addresses, but the gateway's, ARP requests are answered with the port's MAC address.
    #[serde(default)]
    pub answers_for: Vec<Ipv4Net>,
    /// The link's speed, where the device does not know it.
    #[serde(default)]
    pub speed: Option<Speed>,
    /// Largest IP packet in bytes.
    #[serde(default = "default_mtu")]
    pub mtu: u16,
    /// Receive and transmit descriptors of each queue.
    #[serde(default = "default_descriptors")]
    pub descriptors: u16,
    /// The VLAN whose tag its frames carry.
    #[serde(default)]
    pub vlan: Option<u16>,
}

const fn default_mtu() -> u16 {
    1500
}
const fn default_descriptors() -> u16 {
    1024
}
const fn default_weight() -> f64 {
    1.0
}
const fn default_ttl() -> u8 {
    64
}
const fn default_probes() -> u32 {
    1000
}
pub(super) const fn default_source_port() -> PortRange {
    PortRange { first: 1024, last: 65535 }
}
const fn default_destination_port() -> PortRange {
    PortRange { first: 9, last: 9 } // discard (RFC 863)
}

/// A MAC address: `02:00:00:00:00:01`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Mac(pub [u8; 6]);

impl TryFrom<String> for Mac {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is no MAC address: expected one like 02:00:00:00:00:01");
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() {
            return Err(wrong());
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What a stream's packets carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// UDP.
    #[default]
    Udp,
    /// TCP segments of no connection.
    Tcp,
}

impl Protocol {
    /// Its number in the IPv4 header.
    pub const fn number(self) -> u8 {
        match self {
            Self::Udp => ipv4::UDP,
            Self::Tcp => ipv4::TCP,
        }
    }
}

/// In which order the flows of a stream have their turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Each packet is of a flow drawn from all.
    #[default]
    Random,
    /// One after the other.
    Sequential,
}

/// A stream: packets of many flows from one port to another.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// Its name in reports.
    pub name: String,
    /// The port that sends.
    pub from: String,
    /// The port that is to receive.
    pub to: String,
    /// Its part of the rate, beside the weights of the other streams.
    #[serde(default = "default_weight")]
    pub weight: f64,
    /// Bytes of every frame, its FCS included. In a tunnel: of the frame without the tunnel's headers.
    #[serde(default)]
    pub size: Option<u16>,
    /// A mix of sizes instead.
    #[serde(default)]
    pub sizes: Option<Sizes>,
    /// What the packets carry.
    #[serde(default)]
    pub protocol: Protocol,
    /// Source addresses.
    #[serde(default)]
    pub source: Option<Addresses>,
    /// Destination addresses.
    #[serde(default)]
    pub destination: Option<Addresses>,
    /// Source ports.
    #[serde(default = "default_source_port")]
    pub source_port: PortRange,
    /// Destination ports.
    #[serde(default = "default_destination_port")]
    pub destination_port: PortRange,
    /// How many flows: different pairs of addresses and ports. Source addresses change fastest, then destination
    /// addresses, source ports, destination ports.
    /// Without it: one, or as many as there are bindings or as the capture has.
    #[serde(default)]
    pub flows: Option<u64>,
    /// Their order.
    #[serde(default)]
    pub order: Order,
    /// The whole byte of DSCP and ECN.
    #[serde(default)]
    pub tos: Option<u8>,
    /// The DSCP, 0 to 63, instead.
    #[serde(default)]
    pub dscp: Option<u8>,
    /// Time to live.
    #[serde(default = "default_ttl")]
    pub ttl: u8,
    /// Packets a second whose delay is measured, part of the rate; 0 = none.
    #[serde(default = "default_probes")]
    pub probes_per_second: u32,
    /// A capture whose 5-tuples are the flows and whose lengths the sizes.
    #[serde(default)]
    pub pcap: Option<PathBuf>,
    /// Packets of a gateway's bindings.
    #[serde(default)]
    pub ces: Option<Ces>,
}

/// Packets of a gateway's bindings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ces {
    /// What `cesctl --json show bindings` printed.
    pub bindings: PathBuf,
    /// Which way.
    pub direction: Direction,
}

/// Which way packets of bindings go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Packets from hosts to proxy addresses, which leave the gateway in tunnels.
    Egress,
    /// Tunnel packets with valid tags, which leave the gateway towards the hosts.
    Ingress,
}
