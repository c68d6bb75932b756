//! From a configuration to a running gateway. Every step that can fail says what to do about it; what was made before is
//! undone by being dropped.

use super::added::AddedHosts;
use super::askers::Askers;
use super::devices::Devices;
use super::dhcp::Dhcp;
use super::ground::Ground;
use super::house::House;
use super::last_reload::LastReload;
use super::load::Load;
use super::operator::Operator;
use super::places::{self, Places};
use super::reload::Reloader;
use super::rules::Rules;
use super::scrape::Scrape;
use super::shortage::Shortage;
use super::sources::{NOBODY, Number, Sources};
use super::told;
use super::turn::Daemon;
use crate::clock::WallClock;
use crate::config::{Config, Loaded, PortSection};
use crate::fleet::{Fleet, FleetError, check_cores};
use crate::interfaces::{InterfaceError, Interfaces};
use crate::inward::Blocked;
use crate::listeners::ListenError;
use crate::log::Log;
use crate::records::Recorder;
use crate::source::Sockets;
use crate::sources::admin::{AdminError, AdminServer};
use crate::sources::dns_tcp::DnsTcp;
use crate::sources::metrics::Http;
use crate::sources::netlink::table::{Shadow, Shadows};
use crate::sources::netlink::{Kernel, NetlinkError, Requests, limit};
use crate::sources::peering::Peering;
use crate::sources::routes::Learnt;
use crate::sources::signals::Signals;
use crate::sources::tap::{Tap, TapError, TapSettings, Taps};
use crate::sources::upstream::{SOCKETS, Upstream};
use crate::state::{
    AddedFile, Directory, Journal, Keys, LeaseFile, Past, Reading, Reopened, StateError, kept,
};
use crate::tls::{Credentials, TlsError};
use ces_dataplane::io::dpdk::start as start_ports;
use ces_dataplane::settings::Side;
use ces_dataplane::tag::TagCipher;
use ces_dataplane::worker::Bell;
use ces_gateway::{Gateway, Platform, figures};
use dpdk::{Eal, Memory, Options, PortConfig, Rss};
use machine::Clock;
use mio::{Poll, Waker};
use rand::RngExt;
use std::io;
use std::path::Path;
use std::sync::Arc;

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
    #[error(transparent)]
    Listen(#[from] ListenError),
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
            Side::Inside | Side::Dmz => Rss::Source,
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
    let Loaded { config, registry: hosts, policies, rules: book, dhcp, aside } = loaded;
    for error in aside {
        tracing::warn!("set aside: {error}");
    }
    for warning in policies.warnings() {
        tracing::warn!("{warning}");
    }
    let clock = Clock::since_boot();
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
    let workers = config.worker.cores.len() as u32;
    let mut random = rand::rng();
    let keys =
        directory.as_ref().map_or_else(|| Keys::make(workers, config.capacity.bindings), Directory::keys);
    let (layout, tag_key) = (keys.layout(), keys.tag_key);
    let mut platform = Platform {
        workers,
        bindings_per_worker: config.capacity.bindings,
        limited_per_worker: config.capacity.limited,
        reservations_per_worker: config.capacity.reservations,
        layout,
        tag_key,
        tunnel_key: random.random(),
        tunnels: config.capacity.tunnels,
        neighbours: config.capacity.neighbours,
        forwards: config.nat.is_some(),
        addresses: config.addresses().into_iter().map(Into::into).collect(),
        outer_mtu: outer_mtu(&config),
        upstream_sockets: SOCKETS,
        has_aes: has_aes(),
        start: directory.as_ref().and_then(Directory::start),
        seed: random.random(),
    };
    // It is read while DPDK starts, which waits for the kernel for the most part.
    let reading = directory.map(|directory| directory.read(figures(&config.settings(), &platform)));
    let interfaces = Interfaces::prepare(&config.port)?;
    let eal = eal(&config)?;
    let devices: Vec<_> =
        config.port.iter().map(|port| (port.device.clone(), port_config(&config, port))).collect();
    let (ports, shares) = start_ports(&eal, &devices, workers as u16, config.shaped_frames())
        .map_err(|error| refused(&config, error))?;
    let watch = interfaces.watch().map_err(system("interfaces"))?;
    let devices = Devices::new(ports, watch).map_err(|error| StartError::Dpdk(error, ""))?;
    let macs: Vec<_> = (0..devices.len()).map(|number| devices.mac(number)).collect();

    let taps = taps(&config, &macs)?;
    limit::make_room(config.capacity.neighbours);
    let shadow = |(tap, mac): (&Tap, &[u8; 6])| Shadow { index: tap.index(), mac: *mac };
    let shadows = Shadows::new(taps.iter().zip(&macs).map(shadow).collect());
    let kernel = Kernel::open(shadows.clone(), &sockets(Number::kernel)?)?;
    let taps = Taps::new(taps, rand::rng().random(), &sockets(Number::taps)?).map_err(system("TAP"))?;

    let mut peering = Peering::new(credentials, places::peering_limits(&config), sockets(Number::peering)?);
    let mut dns_tcp = DnsTcp::new(config.dns_tcp.clone(), sockets(Number::dns_tcp)?);
    let mut metrics = Http::new(sockets(Number::metrics)?);
    Places::open(&config, &peering, &dns_tcp, &metrics)?
        .install(&config, &mut peering, &mut dns_tcp, &mut metrics)
        .map_err(system("listeners"))?;
    let upstream = Upstream::new(sockets(Number::upstream)?);
    let taken = reading.map(Reading::take).transpose()?;
    if let Some(taken) = &taken {
        platform.tunnel_key = taken.tunnel_key;
    }
    let wall = WallClock::new(clock);
    let mut gateway = Gateway::new(config.settings(), hosts, policies, platform, wall.now())
        .map_err(StartError::Gateway)?;
    let waker = Arc::new(Waker::new(poll.registry(), NOBODY).map_err(system("eventfd"))?);
    let file = config.state.as_ref().map(|state| {
        let waker = Arc::clone(&waker);
        AddedFile::open(&state.directory, move || _ = waker.wake())
    });
    let (added, names) = AddedHosts::new(file.transpose()?);
    gateway.restore_added(names, wall.now());
    let journal = taken.map(|taken| resume(&mut gateway, taken, wall.now()));
    let settings = told::settings(&config, &macs, layout, tag_key, random.random());
    let reloader = Reloader::new(path.to_owned(), Arc::clone(&waker));
    let leases = config.state.as_ref().map(|state| {
        let waker = Arc::clone(&waker);
        LeaseFile::open(&state.directory, move || _ = waker.wake())
    });
    let dhcp = Dhcp::new(dhcp, leases.transpose()?, random.random(), wall.now());
    let bell = Bell::new(move || {
        // A full eventfd wakes as well as one more count.
        let _ = waker.wake();
    });
    let kept = kept(&config.memories(), &keys, workers, settings.nat_room.sessions);
    let fleet = Fleet::start(&eal, &config.worker, &settings, shares, kept, clock, bell)?;
    if let Some(core) = control_core
        && let Err(error) = machine::pin_to_core(core)
    {
        tracing::warn!("the control thread cannot stay on core {core}: {error}");
    }
    let mut learnt = Learnt::open(shadows, config.capacity.routes, &sockets(Number::learnt)?)?;
    if let Some(routes) = learnt.first() {
        gateway.set_routes(Arc::clone(routes), wall.now());
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
    let recorder = Recorder::open(&config, wall.now() / 1_000_000).map_err(system("records"))?;
    let scrape = Scrape::new()?;
    let mut rules = Rules::default();
    rules.replace(book, fleet.len());
    let house = House {
        fleet,
        devices,
        sources: Sources {
            signals,
            kernel,
            learnt,
            taps,
            peering,
            dns_tcp,
            upstream,
            admin,
            metrics: Some(metrics),
        },
        gateway,
        blocked: Blocked::default(),
        askers: Askers::default(),
        config,
        settings,
        fib: Arc::default(),
        rules,
        recorder,
        shortage: Shortage::default(),
        last_reload: LastReload { in_force_since: wall.now(), succeeded: true },
        load: Load::default(),
        log,
        journal,
        added,
        dhcp,
        told: Vec::new(),
        rows_told: Vec::new(),
        rewrites: super::rewrites::Rewrites::default(),
    };
    let operator = Operator::new(TagCipher::new(tag_key));
    Ok(Daemon::new(house, operator, scrape, poll, reloader, wall, eal))
}

/// Has the gateway go on where the last process ended.
fn resume(gateway: &mut Gateway, taken: Reopened, now: u64) -> Journal {
    let Reopened { past, mut journal, .. } = taken;
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
    let make = |(port, mac): (&PortSection, &[u8; 6])| {
        Tap::create(&TapSettings { name: port.tap_name(), mac: *mac, mtu: port.mtu, vlan: port.vlan })
    };
    let taps = config.port.iter().zip(macs).map(make).collect::<Result<Vec<_>, _>>()?;
    let indices: Vec<_> = taps.iter().map(Tap::index).collect();
    Ground::of(config, &indices).lay(&mut Requests::open()?)?;
    Ok(taps)
}

/// Whether the processor has AES and what goes with it in GCM, carry-less multiplication.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq")
    }
    #[cfg(target_arch = "aarch64")]
    {
        std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull")
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    false
}
