//! What can be configured, section by section, and what of it takes a restart.

use super::bandwidth::Bandwidth;
use crate::log::{Format, LogLevel};
use ces_dataplane::alg::Alg;
use ces_dataplane::msg::{PuntRates, Recording};
use ces_dataplane::nat::{Filtering, Nat};
use ces_dataplane::queue::Shape;
use ces_dataplane::settings::Side;
use ces_gateway::CoreSettings;
use ipnet::Ipv4Net;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Everything that is configured.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The ports, in the order of their numbers.
    pub port: Vec<PortSection>,
    /// The workers.
    pub worker: WorkerSection,
    /// The control thread.
    #[serde(default)]
    pub control: ControlSection,
    /// The data plane's memory.
    #[serde(default)]
    pub memory: MemorySection,
    /// Static routes, put on the shadow TAPs.
    #[serde(default)]
    pub route: Vec<StaticRoute>,
    /// The realm.
    pub realm: ces_gateway::settings::Realm,
    /// The name service.
    pub dns: ces_gateway::settings::Dns,
    /// Its connections over TCP.
    #[serde(default)]
    pub dns_tcp: DnsTcpSection,
    /// Signalling.
    pub cetp: ces_gateway::settings::Cetp,
    /// NAT44.
    #[serde(default)]
    pub nat: Option<Nat>,
    /// Application layer gateways.
    #[serde(default)]
    pub alg: Alg,
    /// Hosts reached by name from the plain Internet.
    #[serde(default)]
    pub realm_gateway: Option<ces_gateway::settings::RealmGateway>,
    /// The rules of the filter.
    #[serde(default)]
    pub filter: FilterSection,
    /// What is recorded of NAT44, and for whom.
    #[serde(default)]
    pub records: Option<RecordsSection>,
    /// Addresses for the hosts.
    #[serde(default)]
    pub dhcp: Option<super::dhcp::DhcpSection>,
    /// Certificates for CETP over TLS.
    #[serde(default)]
    pub tls: Option<TlsSection>,
    /// Where hosts and policies stand.
    pub registry: RegistryFiles,
    /// Sizes of the workers' tables.
    #[serde(default)]
    pub capacity: CapacitySection,
    /// How much reaches the control thread.
    #[serde(default)]
    pub punt: PuntRates,
    /// What outlives the process.
    #[serde(default)]
    pub state: Option<StateSection>,
    /// The socket of `cesctl`.
    #[serde(default)]
    pub admin: AdminSection,
    /// The Prometheus page.
    #[serde(default)]
    pub metrics: Option<MetricsSection>,
    /// Log lines.
    #[serde(default)]
    pub log: LogSection,
}

/// A port: one interface that DPDK drives.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortSection {
    /// Its name in output and metrics.
    pub name: String,
    /// A PCI address, or a virtual device with its arguments, such as `net_af_packet0,iface=veth0`.
    pub device: String,
    /// The side it faces.
    pub side: Side,
    /// The gateway's addresses on it, with prefix length.
    pub addresses: Vec<Ipv4Net>,
    /// The networks that packets may come from; without it, inside the realm's, and in the DMZ those of its link.
    #[serde(default)]
    pub networks: Vec<Ipv4Net>,
    /// The VLAN whose tag all its frames carry.
    #[serde(default)]
    pub vlan: Option<u16>,
    /// Largest IP packet in bytes.
    #[serde(default = "default_mtu")]
    pub mtu: u16,
    /// Bits a second that it sends at most; without it, as much as the link carries.
    #[serde(default)]
    pub bandwidth: Option<Bandwidth>,
    /// Of these, those that urgent packets have before all others; without it, a quarter.
    #[serde(default)]
    pub urgent: Option<Bandwidth>,
    /// Name of its shadow TAP; without it, `ces-` and the port's name.
    #[serde(default)]
    pub tap: Option<String>,
    /// TCP ports besides CETP's and DNS's that reach the kernel: SSH, a routing daemon.
    #[serde(default)]
    pub tcp: Vec<u16>,
    /// Receive descriptors of each queue.
    #[serde(default = "default_descriptors")]
    pub rx_descriptors: u16,
    /// Transmit descriptors of each queue.
    #[serde(default = "default_descriptors")]
    pub tx_descriptors: u16,
}

impl PortSection {
    /// The name of its shadow TAP.
    pub fn tap_name(&self) -> String {
        self.tap.clone().unwrap_or_else(|| format!("ces-{}", self.name))
    }

    /// How it is shaped, if it is.
    pub fn shape(&self) -> Option<Shape> {
        let Bandwidth(bandwidth) = self.bandwidth?;
        Some(Shape { bandwidth, urgent: self.urgent.map_or(bandwidth / 4, |urgent| urgent.0) })
    }

    /// The networks of the DMZ behind it; none, if it faces another side.
    pub fn dmz(&self) -> Vec<Ipv4Net> {
        match (self.side, self.networks.is_empty()) {
            (Side::Dmz, true) => self.addresses.iter().map(Ipv4Net::trunc).collect(),
            (Side::Dmz, false) => self.networks.clone(),
            _ => Vec::new(),
        }
    }
}

/// The workers: one for each core.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerSection {
    /// The cores, one worker on each.
    pub cores: Vec<usize>,
    /// How long an idle worker sleeps between looks, in microseconds; 0 = never sleeps.
    #[serde(default = "default_idle_sleep")]
    pub idle_sleep_us: u32,
    /// Slots of each ring of commands and of events.
    #[serde(default = "default_ring")]
    pub ring: u32,
    /// Slots of each ring of punted and of injected frames, 2 KiB each.
    #[serde(default = "default_frames")]
    pub frames: u32,
}

/// The control thread.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ControlSection {
    /// Its core; without it, any but the workers', where there is another.
    pub core: Option<usize>,
}

/// The data plane's memory.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemorySection {
    /// Whether packet buffers live on huge pages, which must be set aside before.
    pub huge_pages: bool,
    /// Memory for packet buffers and what DPDK keeps beside them, in MiB.
    pub mib: u32,
}

impl Default for MemorySection {
    fn default() -> Self {
        Self { huge_pages: false, mib: 256 }
    }
}

/// A static route.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticRoute {
    /// The network.
    pub to: Ipv4Net,
    /// The next hop, on the link of some port.
    pub via: Ipv4Addr,
}

/// DNS over TCP (RFC 7766).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DnsTcpSection {
    /// Connections in all.
    pub connections: u32,
    /// Connections of one client address.
    pub connections_per_client: u32,
    /// A connection without a query for so long is closed, in seconds.
    pub idle_s: u32,
    /// Queries under way on one connection.
    pub pipeline: u32,
}

impl Default for DnsTcpSection {
    fn default() -> Self {
        // RFC 7766 §6.2.3: idle timeouts "on the order of a few seconds".
        Self { connections: 1024, connections_per_client: 16, idle_s: 10, pipeline: 64 }
    }
}

/// The stateful filter: which sessions may be opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilterSection {
    /// Files of rules, read one behind the other.
    pub files: Vec<PathBuf>,
}

/// Records of NAT44 that a provider can keep.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecordsSection {
    /// What is recorded.
    pub what: Recording,
    /// Size of the file in the state directory at most, in MiB; 0 = none.
    pub file_mib: u32,
    /// Who gets them by IPFIX.
    pub collector: Vec<CollectorSection>,
}

impl Default for RecordsSection {
    fn default() -> Self {
        Self { what: Recording::Mappings, file_mib: 64, collector: Vec::new() }
    }
}

/// A collector of IPFIX.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectorSection {
    /// Its address and port.
    pub address: SocketAddr,
    /// How messages go there.
    #[serde(default)]
    pub transport: IpfixTransport,
}

/// How messages go to a collector (RFC 7011 §10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpfixTransport {
    /// In datagrams.
    #[default]
    Udp,
    /// In a stream.
    Tcp,
}

/// Certificates for CETP over TLS, in PEM.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSection {
    /// The authorities that sign the peers' certificates.
    pub ca: PathBuf,
    /// Our certificate, with what is between it and the authority; its CN is the CES id.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What outlives the process: the keys of the session tags, and the journal of sessions.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateSection {
    /// A directory for this gateway alone.
    pub directory: PathBuf,
    /// A directory in memory, tmpfs or hugetlbfs, for the sessions of NAT44. Without it: [`Config::memories`].
    pub memory: Option<PathBuf>,
}

/// Where hosts and policies stand.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryFiles {
    /// TOML files of hosts and policies, JSON files of policies; read together.
    pub files: Vec<PathBuf>,
}

/// Sizes of a worker's tables.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CapacitySection {
    /// Bindings of each worker.
    pub bindings: u32,
    /// Tunnels.
    pub tunnels: u16,
    /// Next hops.
    pub neighbours: u32,
    /// Routes that are learnt from the kernel.
    pub routes: u32,
    /// Bindings of each worker with a protocol, port or rate limit.
    pub limited: u32,
    /// What a binding with a rate may send at once after a pause, in milliseconds of its rate.
    pub rate_burst_ms: u32,
    /// Sessions of NAT44 of each worker.
    pub sessions: u32,
    /// Their mappings.
    pub mappings: u32,
    /// Hosts that have sessions, of each worker.
    pub nat_hosts: u32,
    /// Addresses of NAT44.
    pub nat_addresses: u16,
    /// Control channels of ALGs, of each worker.
    pub alg_channels: u32,
    /// Those of them that are streams of messages.
    pub alg_talks: u32,
    /// Calls of SIP, of each worker.
    pub sip_dialogs: u32,
    /// Addresses of the circular pool, those that a reload took out included.
    pub pool_addresses: u16,
    /// Pending reservations of the Realm Gateway, of each worker.
    pub reservations: u32,
    /// Unwanted packets to the circular pool that each worker remembers.
    pub unwanted: u32,
}

impl Default for CapacitySection {
    fn default() -> Self {
        let rate_burst_ms = ces_dataplane::settings::RATE_BURST_MS;
        Self {
            bindings: 65_536,
            tunnels: 1024,
            neighbours: 16_384,
            routes: 2_000_000,
            limited: 4096,
            rate_burst_ms,
            sessions: 65_536,
            mappings: 65_536,
            nat_hosts: 4096,
            nat_addresses: 16,
            alg_channels: 1024,
            alg_talks: 256,
            sip_dialogs: 1024,
            pool_addresses: 512,
            reservations: 16_384,
            unwanted: 65_536,
        }
    }
}

/// The socket of `cesctl`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminSection {
    /// Its path.
    pub socket: PathBuf,
    /// Connections at a time.
    pub connections: u32,
}

/// Where `cesd` listens for `cesctl`, and where `cesctl` looks, if nothing else is said.
pub const ADMIN_SOCKET: &str = "/run/cesd.sock";

impl Default for AdminSection {
    fn default() -> Self {
        Self { socket: PathBuf::from(ADMIN_SOCKET), connections: 16 }
    }
}

/// The Prometheus page.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsSection {
    /// Address and port of the kernel to listen on.
    pub listen: SocketAddr,
    /// Connections at a time.
    #[serde(default = "default_scrapers")]
    pub connections: u32,
}

/// Log lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSection {
    /// The least important level that is written.
    pub level: LogLevel,
    /// What lines look like.
    pub format: Format,
}

const fn default_mtu() -> u16 {
    1500
}
const fn default_descriptors() -> u16 {
    1024
}
const fn default_idle_sleep() -> u32 {
    20
}
const fn default_ring() -> u32 {
    16_384
}
const fn default_frames() -> u32 {
    1024
}
const fn default_scrapers() -> u32 {
    8
}

/// Whether ports would be given by other blocks, which say whose they are among workers.
fn keep_blocks(new: &mut Option<Nat>, running: Option<&Nat>) -> bool {
    let (Some(new), Some(running)) = (new, running) else { return false };
    std::mem::replace(&mut new.block_ports, running.block_ports) != running.block_ports
}

/// Whether filtering by address alone would begin: what it needs is there from the start, or not at all.
fn keep_filtering(new: &mut Option<Nat>, running: Option<&Nat>) -> bool {
    let (Some(new), Some(running)) = (new, running) else { return false };
    let differs = new.filtering == Filtering::AddressDependent && new.filtering != running.filtering;
    if differs {
        new.filtering = running.filtering;
    }
    differs
}

impl Config {
    /// Directories in memory for the sessions of NAT44, the best first: huge pages where the tables are on such.
    pub fn memories(&self) -> Vec<PathBuf> {
        let huge = self.memory.huge_pages.then_some("/dev/hugepages");
        let some = || huge.into_iter().chain(["/dev/shm"]).map(PathBuf::from).collect();
        self.state
            .as_ref()
            .map_or_else(Vec::new, |state| state.memory.clone().map_or_else(some, |memory| vec![memory]))
    }

    /// What concerns the gateway's core.
    pub fn settings(&self) -> CoreSettings {
        let Self { realm, dns, cetp, realm_gateway, .. } = self.clone();
        CoreSettings { realm, dns, cetp, realm_gateway, ours: self.ours(), shared: self.shared() }
    }

    /// Addresses of outside ports of which some port stands for a host.
    fn shared(&self) -> Vec<Ipv4Addr> {
        let ports = self.nat.iter().flat_map(|nat| nat.statics.lines()).filter(|line| line.range().is_some());
        let mut shared: Vec<_> = ports.map(|line| line.external.addr()).collect();
        shared.retain(|address| self.side_of((*address).into()) == Some(Side::Outside));
        shared.sort_unstable();
        shared.dedup();
        shared
    }

    /// What is nobody's but ours beyond the realm: the gateway's own addresses, the DMZ, and addresses under which hosts are seen
    /// outside, those of NAT44, of static mappings and of the circular pool.
    fn ours(&self) -> Vec<Ipv4Net> {
        let own = self.addresses().into_iter().map(Ipv4Net::from);
        let nat = self.nat.iter().flat_map(|nat| nat.addresses.iter().copied().map(Ipv4Net::from));
        let statics = self.nat.iter().flat_map(|nat| nat.statics.lines()).map(|line| line.external);
        let pool = self.realm_gateway.iter().flat_map(|pool| pool.addresses.iter().map(|part| part.0));
        own.chain(self.dmz()).chain(nat).chain(statics).chain(pool).collect()
    }

    /// Whether that is so of an address.
    pub fn is_ours(&self, address: Ipv4Addr) -> bool {
        self.ours().iter().any(|network| network.contains(&address))
    }

    /// The gateway's own addresses on all ports.
    pub fn addresses(&self) -> Vec<Ipv4Addr> {
        self.port.iter().flat_map(|port| &port.addresses).map(Ipv4Net::addr).collect()
    }

    /// How many packets may wait at all shaped ports, in each worker.
    pub fn shaped_frames(&self) -> u32 {
        let workers = self.worker.cores.len() as u32;
        let shapes = self.port.iter().filter_map(PortSection::shape);
        shapes.map(|shape| shape.frames_of_worker(workers) as u32).sum()
    }

    /// The networks of the DMZ.
    pub fn dmz(&self) -> Vec<Ipv4Net> {
        self.port.iter().flat_map(PortSection::dmz).collect()
    }

    /// The side of the port that has an address.
    pub fn side_of(&self, address: IpAddr) -> Option<Side> {
        let own = |port: &&PortSection| port.addresses.iter().any(|net| address == net.addr());
        self.port.iter().find(own).map(|port| port.side)
    }

    /// Addresses under which hosts are seen outside and that are none of the gateway's own.
    pub fn external_addresses(&self) -> Vec<Ipv4Addr> {
        let own = self.addresses();
        let nat = self.nat.iter().flat_map(|nat| nat.addresses.iter().copied());
        let pool = self.realm_gateway.iter().flat_map(ces_gateway::settings::RealmGateway::pool);
        nat.chain(pool).filter(|address| !own.contains(address)).collect()
    }

    /// The gateway's own addresses with their links.
    pub fn links(&self) -> Vec<Ipv4Net> {
        self.port.iter().flat_map(|port| &port.addresses).copied().collect()
    }

    /// Takes over from the configuration that runs what only a restart changes: devices, cores, memory. The sections where
    /// that hides a difference.
    ///
    /// Every section and every key of a port is named here, those that change while the gateway runs as well: a new one does
    /// not compile before somebody has said which it is.
    pub fn keep_fixed(&mut self, running: &Self) -> Vec<&'static str> {
        fn keep<T: Clone + PartialEq>(new: &mut T, running: &T) -> bool {
            let differs = new != running;
            new.clone_from(running);
            differs
        }
        let Self {
            port,
            worker,
            control,
            memory,
            capacity,
            state,
            nat,
            realm_gateway,
            records,
            // These change while the gateway runs.
            route: _,
            realm: _,
            dns: _,
            dns_tcp: _,
            alg: _,
            filter: _,
            dhcp: _,
            cetp: _,
            tls: _,
            registry: _,
            punt: _,
            admin: _,
            metrics: _,
            log: _,
        } = self;
        let mut port_differs = port.len() != running.port.len();
        if port_differs {
            port.clone_from(&running.port);
        }
        for (new, running) in port.iter_mut().zip(&running.port) {
            let PortSection {
                name,
                device,
                side,
                vlan,
                mtu,
                tap,
                rx_descriptors,
                tx_descriptors,
                bandwidth,
                urgent,
                // These change while the gateway runs.
                addresses: _,
                networks: _,
                tcp: _,
            } = new;
            port_differs |= keep(name, &running.name)
                | keep(device, &running.device)
                | keep(side, &running.side)
                | keep(vlan, &running.vlan)
                | keep(mtu, &running.mtu)
                | keep(tap, &running.tap)
                | keep(rx_descriptors, &running.rx_descriptors)
                | keep(tx_descriptors, &running.tx_descriptors);
            // Whether it is shaped is; how fast changes while the gateway runs.
            if bandwidth.is_some() != running.bandwidth.is_some() {
                port_differs |= keep(bandwidth, &running.bandwidth) | keep(urgent, &running.urgent);
            }
        }
        [
            ("[[port]]", port_differs),
            ("[worker]", keep(worker, &running.worker)),
            ("[control]", keep(control, &running.control)),
            ("[memory]", keep(memory, &running.memory)),
            ("[capacity]", keep(capacity, &running.capacity)),
            ("[state]", keep(state, &running.state)),
            ("[records]", keep(records, &running.records)),
            // Its tables are there from the start, or not at all.
            ("[nat]", nat.is_some() != running.nat.is_some() && keep(nat, &running.nat)),
            (
                "[realm_gateway]",
                realm_gateway.is_some() != running.realm_gateway.is_some()
                    && keep(realm_gateway, &running.realm_gateway),
            ),
            ("nat.filtering", keep_filtering(nat, running.nat.as_ref())),
            ("nat.block_ports", keep_blocks(nat, running.nat.as_ref())),
        ]
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(section, _)| section)
        .collect()
    }
}
