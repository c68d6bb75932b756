//! From a configuration to a running gateway. Every step that can fail says what to do about it; what was made before is
//! undone by being dropped.

use super::askers::Askers;
use super::devices::Devices;
use super::house::House;
use super::load::Load;
use super::operator::Operator;
use super::scrape::Scrape;
use super::sources::{NOBODY, Number, Sources};
use super::turn::Daemon;
use crate::clock::WallClock;
use crate::config::{Config, Loaded, PortSection};
use crate::fleet::{Fleet, FleetError, check_cores};
use crate::interfaces::{InterfaceError, Interfaces};
use crate::inward::Blocked;
use crate::log::Log;
use crate::source::Sockets;
use crate::sources::admin::{AdminError, AdminServer};
use crate::sources::dns_tcp::DnsTcp;
use crate::sources::metrics::Http;
use crate::sources::netlink::message::Route;
use crate::sources::netlink::{Kernel, NetlinkError, Requests, limit};
use crate::sources::peering::{Peering, PeeringLimits, listen};
use crate::sources::signals::Signals;
use crate::sources::tap::{Tap, TapError, TapSettings, Taps};
use crate::sources::upstream::{SOCKETS, Upstream};
use crate::state::{Directory, Journal, Keys, Past, StateError, Taken};
use crate::tls::{Credentials, TlsError};
use ces_dataplane::io::dpdk::start as start_ports;
use ces_dataplane::settings::{PortSettings, Settings, Side};
use ces_dataplane::tag::{Layout, TagCipher};
use ces_dataplane::worker::Bell;
use ces_gateway::{Gateway, Platform, figures};
use dpdk::{Eal, Memory, Options, PortConfig, Rss};
use ipnet::Ipv4Net;
use machine::Clock;
use mio::{Poll, Waker};
use rand::RngExt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

/// The port of the name service.
const DNS_PORT: u16 = 53;
/// How long a peer's TLS handshake may take once TCP is up, in nanoseconds.
const HANDSHAKE_NS: u64 = 2_000_000_000;

/// Why it does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The admin socket.
    #[error("admin socket: {0}")]
    Admin(#[from] AdminError),
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// DPDK, its memory or its devices.
    #[error("{0}{1}")]
    Dpdk(dpdk::Error, &'static str),
    /// An interface that a port is driven through.
    #[error("{0}")]
    Interface(#[from] InterfaceError),
    /// The workers.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// A TAP.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// Addresses and routes.
    #[error("{0}")]
    Netlink(#[from] NetlinkError),
    /// A port to listen on.
    #[error("cannot listen for {what} on {address}: {hint}")]
    Listen {
        /// What for.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why, and what to do about it.
        hint: String,
    },
    /// What outlives the process.
    #[error(transparent)]
    State(#[from] StateError),
    /// The gateway's core.
    #[error("{0}")]
    Gateway(String),
    /// The metrics page.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// Anything else the kernel refused.
    #[error("{0}: {1}")]
    System(&'static str, io::Error),
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |error| StartError::System(what, error)
}

fn listen_for(what: &'static str, address: SocketAddr) -> Result<mio::net::TcpListener, StartError> {
    listen(address).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => "another process listens there".to_owned(),
            io::ErrorKind::PermissionDenied => {
                "not permitted: run as root or with CAP_NET_BIND_SERVICE".to_owned()
            }
            io::ErrorKind::AddrNotAvailable => "the address is not this machine's".to_owned(),
            _ => error.to_string(),
        };
        StartError::Listen { what, address, hint }
    })
}

fn networks(nets: &[Ipv4Net]) -> Vec<(std::net::Ipv4Addr, u8)> {
    nets.iter().map(|net| (net.network(), net.prefix_len())).collect()
}

/// What the workers are told.
fn worker_settings(
    config: &Config,
    macs: &[[u8; 6]],
    layout: Layout,
    tag_key: [u32; 4],
    hash_seed: [u64; 2],
) -> Settings {
    let port = |(port, mac): (&PortSection, &[u8; 6])| PortSettings {
        side: port.side,
        mac: *mac,
        addresses: port.addresses.iter().map(|net| (net.addr(), net.prefix_len())).collect(),
        networks: match (port.side, port.networks.is_empty()) {
            (Side::Inside, true) => networks(&config.realm.networks),
            _ => networks(&port.networks),
        },
        vlan: port.vlan,
        mtu: port.mtu,
    };
    let mut tcp_listen: Vec<(Side, u16)> = vec![(Side::Inside, DNS_PORT), (Side::Outside, DNS_PORT)];
    for endpoint in &config.cetp.endpoints {
        let own = |port: &&PortSection| port.addresses.iter().any(|net| endpoint.address == net.addr());
        tcp_listen.extend(config.port.iter().find(own).map(|port| (port.side, endpoint.port)));
    }
    tcp_listen.extend(config.port.iter().flat_map(|port| port.tcp.iter().map(|tcp| (port.side, *tcp))));
    tcp_listen.sort_by_key(|(side, port)| (*side == Side::Outside, *port));
    tcp_listen.dedup();
    let punt = &config.punt;
    Settings {
        ports: config.port.iter().zip(macs).map(port).collect(),
        bindings: config.capacity.bindings,
        tunnels: config.capacity.tunnels,
        neighbours: config.capacity.neighbours,
        limited: config.capacity.limited,
        rate_burst_ms: config.capacity.rate_burst_ms,
        tag_key,
        hash_seed,
        layout,
        worker: 0,
        workers: config.worker.cores.len() as u32,
        tcp_listen,
        proxy_networks: vec![(config.realm.proxy_pool.network(), config.realm.proxy_pool.prefix_len())],
        punt_rates: punt.by_class(),
        icmp_error_rate: punt.icmp_errors,
    }
}

fn eal(config: &Config) -> Result<Eal, StartError> {
    let memory = if config.memory.huge_pages {
        Memory::HugePages
    } else {
        Memory::Ordinary { mib: config.memory.mib }
    };
    let devices = config.port.iter().map(|port| port.device.clone()).collect();
    let polling = config.worker.cores.clone();
    Eal::start(&Options { memory, polling, devices, extra: Vec::new() })
        .map_err(|error| refused(config, error))
}

/// What DPDK says, with the key to look at where memory is what it lacks.
fn refused(config: &Config, error: dpdk::Error) -> StartError {
    let memory = matches!(error, dpdk::Error::Pool { .. } | dpdk::Error::Start { .. });
    let hint = if memory && !config.memory.huge_pages { " (memory.mib says how much there is)" } else { "" };
    StartError::Dpdk(error, hint)
}

fn port_config(config: &Config, port: &PortSection) -> PortConfig {
    PortConfig {
        queues: config.worker.cores.len() as u16,
        rx_descriptors: port.rx_descriptors,
        tx_descriptors: port.tx_descriptors,
        mtu: port.mtu,
        rss: match port.side {
            // A host's packets all come to its owner.
            _ if config.worker.cores.len() < 2 => Rss::None,
            Side::Inside => Rss::Source,
            Side::Outside => Rss::Flow,
        },
        promiscuous: false,
    }
}

/// Starts everything. `path` is where the configuration came from, for reloading.
pub fn start(
    path: &Path,
    loaded: Loaded,
    credentials: Option<Credentials>,
    log: Log,
) -> Result<Daemon, StartError> {
    let Loaded { config, registry: hosts, policies } = loaded;
    for warning in policies.warnings() {
        tracing::warn!("{warning}");
    }
    let clock = Clock::new();
    let poll = Poll::new().map_err(system("epoll"))?;
    let sockets = |number: Number| Sockets::new(&poll, number as u8).map_err(system("epoll"));

    // First what tells that another cesd runs, then what costs.
    let admin =
        AdminServer::open(&config.admin.socket, config.admin.connections as usize, sockets(Number::admin)?)?;
    let directory = match &config.state {
        Some(state) => Some(Directory::open(
            &state.directory,
            config.worker.cores.len() as u32,
            config.capacity.bindings,
        )?),
        None => None,
    };
    let usable = check_cores(&config.worker.cores)?;
    if let Some(core) = config.control.core {
        check_cores(&[core])?;
    }
    let control_core = config
        .control
        .core
        .or_else(|| usable.iter().copied().find(|core| !config.worker.cores.contains(core)));
    let interfaces = Interfaces::prepare(&config.port)?;
    let eal = eal(&config)?;
    let devices: Vec<_> =
        config.port.iter().map(|port| (port.device.clone(), port_config(&config, port))).collect();
    let workers = config.worker.cores.len() as u16;
    let (ports, shares) = start_ports(&eal, &devices, workers).map_err(|error| refused(&config, error))?;
    let devices = Devices::new(ports, interfaces).map_err(|error| StartError::Dpdk(error, ""))?;
    let macs: Vec<_> = (0..devices.len()).map(|number| devices.mac(number)).collect();

    let taps = taps(&config, &macs)?;
    limit::make_room(config.capacity.neighbours);
    let kernel = Kernel::open(taps.iter().map(Tap::index).collect(), &sockets(Number::kernel)?)?;
    let taps = Taps::new(taps, rand::rng().random(), &sockets(Number::taps)?).map_err(system("TAP"))?;

    let mut endpoints = Vec::new();
    for endpoint in &config.cetp.endpoints {
        let address = SocketAddr::new(endpoint.address, endpoint.port);
        endpoints.push((listen_for("CETP", address)?, endpoint.proto));
    }
    let mut dns_listeners = Vec::new();
    for port in &config.port {
        for net in &port.addresses {
            let address = SocketAddr::from((net.addr(), DNS_PORT));
            dns_listeners.push((listen_for("DNS over TCP", address)?, port.side));
        }
    }
    let limits = &config.cetp.limits;
    let limits = PeeringLimits {
        connect_ns: u64::from(limits.connect_ms) * 1_000_000,
        handshake_ns: HANDSHAKE_NS,
        connections: limits.connections as usize,
        per_address: usize::from(limits.unidentified_per_address),
    };
    let peering = Peering::open(endpoints, credentials, limits, sockets(Number::peering)?)
        .map_err(system("CETP listeners"))?;
    let dns_tcp = DnsTcp::open(dns_listeners, config.dns_tcp.clone(), sockets(Number::dns_tcp)?)
        .map_err(system("listeners for DNS over TCP"))?;
    let upstream = Upstream::new(sockets(Number::upstream)?);
    let metrics = match &config.metrics {
        None => None,
        Some(metrics) => {
            let listener = listen_for("the metrics page", metrics.listen)?;
            let http = Http::open(listener, metrics.connections as usize, sockets(Number::metrics)?);
            Some(http.map_err(system("the metrics page"))?)
        }
    };

    let mut random = rand::rng();
    let keys = directory
        .as_ref()
        .map_or_else(|| Keys::make(u32::from(workers), config.capacity.bindings), Directory::keys);
    let (layout, tag_key) = (keys.layout(), keys.tag_key);
    let mut platform = Platform {
        workers: u32::from(workers),
        bindings_per_worker: config.capacity.bindings,
        layout,
        tag_key,
        tunnel_key: random.random(),
        tunnels: config.capacity.tunnels,
        neighbours: config.capacity.neighbours,
        addresses: config.addresses(),
        outer_mtu: outer_mtu(&config),
        upstream_sockets: SOCKETS,
        seed: random.random(),
    };
    let taken = match directory {
        Some(directory) => Some(directory.take(&figures(&config.settings(), &platform))?),
        None => None,
    };
    if let Some(taken) = &taken {
        platform.tunnel_key = taken.tunnel_key;
    }
    let wall = WallClock::new(clock);
    let mut gateway = Gateway::new(config.settings(), hosts, policies, platform, wall.now())
        .map_err(StartError::Gateway)?;
    let journal = taken.map(|taken| resume(&mut gateway, taken, wall.now()));
    let settings = worker_settings(&config, &macs, layout, tag_key, random.random());
    let waker = Arc::new(Waker::new(poll.registry(), NOBODY).map_err(system("eventfd"))?);
    let bell = Bell::new(move || {
        // A full eventfd wakes as well as one more count.
        let _ = waker.wake();
    });
    let fleet = Fleet::start(&eal, &config.worker, &settings, shares, clock, bell)?;
    if let Some(core) = control_core
        && let Err(error) = machine::pin_to_core(core)
    {
        tracing::warn!("the control thread cannot stay on core {core}: {error}");
    }
    let signals = Signals::open(&sockets(Number::signals)?).map_err(system("signals"))?;
    tracing::info!(
        "{} runs: realm {}, {} ports, {} workers, {}",
        config.realm.ces_id.as_str(),
        config.realm.name,
        devices.len(),
        fleet.len(),
        dpdk::version(),
    );
    let scrape = Scrape::new()?;
    let house = House {
        fleet,
        devices,
        sources: Sources { signals, kernel, taps, peering, dns_tcp, upstream, admin, metrics },
        gateway,
        blocked: Blocked::default(),
        askers: Askers::default(),
        config,
        load: Load::default(),
        log,
        journal,
        told: Vec::new(),
    };
    let operator = Operator::new(TagCipher::new(tag_key));
    Ok(Daemon::new(house, operator, scrape, poll, path.to_owned(), wall, eal))
}

/// Has the gateway go on where the last process ended.
fn resume(gateway: &mut Gateway, taken: Taken, now: u64) -> Journal {
    let Taken { past, mut journal, .. } = taken;
    match past {
        Past::None => {}
        Past::Kept(sessions) => {
            let restored = gateway.restore(*sessions, now);
            journal.resumed(restored.kept, restored.ended, None);
        }
        Past::Lost(why) => {
            gateway.begin_anew(now);
            journal.resumed(0, 0, Some(why));
        }
    }
    journal
}

/// What fits through every outside port.
fn outer_mtu(config: &Config) -> u16 {
    config.port.iter().filter(|port| port.side == Side::Outside).map(|port| port.mtu).min().unwrap_or(1500)
}

/// The shadow TAPs with the ports' addresses and the static routes.
fn taps(config: &Config, macs: &[[u8; 6]]) -> Result<Vec<Tap>, StartError> {
    let mut requests = Requests::open()?;
    let mut taps = Vec::with_capacity(config.port.len());
    for (port, mac) in config.port.iter().zip(macs) {
        let tap =
            Tap::create(&TapSettings { name: port.tap_name(), mac: *mac, mtu: port.mtu, vlan: port.vlan })?;
        for net in &port.addresses {
            requests.add_address(tap.index(), net.addr(), net.prefix_len())?;
        }
        taps.push(tap);
    }
    for route in &config.route {
        let on_link = |port: &PortSection| port.addresses.iter().any(|net| net.contains(&route.via));
        let Some(port) = config.port.iter().position(on_link) else { continue };
        requests.add_route(&Route {
            network: route.to.network(),
            prefix: route.to.prefix_len(),
            gateway: Some(route.via),
            index: taps[port].index(),
            metric: 0,
        })?;
    }
    Ok(taps)
}
