//! What must hold between values of the configuration.

use super::links::no_host_of;
use super::model::{Config, PortSection};
use crate::interfaces::interface_of;
use crate::sources::tap::NAME_BYTES;
use ces_cetp::engine::Proto;
use ces_dataplane::alg::Alg;
use ces_dataplane::counters::PORTS;
use ces_dataplane::msg::Recording;
use ces_dataplane::msg::{PuntClass, SLOT_BYTES};
use ces_dataplane::settings::Side;
use ces_dataplane::tag::worker_of_pool;
use ces_gateway::settings::{PoolNetwork, overlap, special, special_within};
use ces_settings::{Problem, Problems};
use ipnet::Ipv4Net;
use std::net::{IpAddr, Ipv4Addr};

/// The smallest MTU: every host takes datagrams of 576 bytes (RFC 791), and DNS needs no fragment below it.
pub const MTU_MIN: u16 = 576;
/// The largest MTU: a frame with Ethernet header and VLAN tag must fit into a punt slot.
pub const MTU_MAX: u16 = (SLOT_BYTES - 18) as u16;
/// The most workers.
const WORKERS: usize = 64;
/// The most bindings of a worker: 64 MiB of slab for each 2²⁰.
const BINDINGS: u32 = 1 << 24;
/// The most restricted bindings of a worker: what a binding can name in 24 bits, less what control channels take at most.
const LIMITED: u64 = (1 << 24) - 2 - (4 << 20);

/// Bits a second of a shaped port: at the least, a packet takes an eighth of a second.
const BANDWIDTHS: std::ops::RangeInclusive<u64> = 100_000..=400_000_000_000;
/// Bytes of a packet buffer with what DPDK keeps beside it.
const BUFFER_BYTES: u64 = 2560;

/// The most collectors: each has a queue of its own.
const COLLECTORS: u64 = 8;

/// Everything that does not fit.
pub fn problems(config: &Config) -> Vec<Problem> {
    let mut found = Problems::default();
    ports(config, &mut found);
    queues(config, &mut found);
    realm_is_inside(config, &mut found);
    workers(config, &mut found);
    routes(config, &mut found);
    signalling(config, &mut found);
    limits(config, &mut found);
    resolvers(config, &mut found);
    name_server(config, &mut found);
    super::nat::check(config, &mut found);
    alg(config, &mut found);
    realm_gateway(config, &mut found);
    filter(config, &mut found);
    records(config, &mut found);
    super::dhcp_server::check(config, &mut found);
    let mut all = found.into_vec();
    all.extend(config.settings().check(&config.addresses()));
    all
}

/// Records of NAT44: of something, and for somebody.
fn records(config: &Config, found: &mut Problems) {
    let Some(records) = &config.records else { return };
    if config.nat.is_none() {
        found.add("records", "there is nothing to record without a section [nat]");
    }
    let by_blocks = config.nat.as_ref().is_some_and(|nat| nat.block_ports > 0);
    if records.what == Recording::Blocks && !by_blocks {
        found.add("records.what", "there are blocks where nat.block_ports says how large they are");
    }
    found.within("records.file_mib", u64::from(records.file_mib), 0, 1 << 20);
    found.within("records.collector", records.collector.len() as u64, 0, COLLECTORS);
    let stored = records.file_mib > 0 && config.state.is_some();
    if !stored && records.collector.is_empty() && records.what != Recording::Nothing {
        found.add("records", "nobody gets them: a section [state] or a collector was expected");
    }
    for (i, collector) in records.collector.iter().enumerate() {
        let key = format!("records.collector[{i}].address");
        let lent = match collector.address.ip().to_canonical() {
            IpAddr::V4(Ipv4Addr::BROADCAST) => Some("is everybody"),
            IpAddr::V4(address) if !config.addresses().contains(&address) => {
                super::nat::lent(config, address)
            }
            _ => None,
        };
        if collector.address.port() == 0 || collector.address.ip().is_unspecified() {
            found.add(key.as_str(), "an address with a port was expected, such as 198.51.100.9:4739");
        } else if let Some(what) = lent {
            found.add(key.as_str(), format!("{} {what}; nobody collects there", collector.address.ip()));
        } else if records.collector[..i].iter().any(|other| other.address == collector.address) {
            found.add(key.as_str(), format!("{} is named twice", collector.address));
        }
    }
}

fn ports(config: &Config, found: &mut Problems) {
    found.within("port", config.port.len() as u64, 2, PORTS as u64);
    for side in [Side::Inside, Side::Outside] {
        if !config.port.iter().any(|port| port.side == side) {
            let name = if side == Side::Inside { "inside" } else { "outside" };
            found.add("port", format!("no port has side = \"{name}\"; at least one was expected"));
        }
    }
    for (i, port) in config.port.iter().enumerate() {
        one_port(&format!("port[{i}]"), port, found);
    }
    let keyed = |field: &str, value: fn(&PortSection) -> String| -> Vec<(String, String)> {
        config.port.iter().enumerate().map(|(i, port)| (format!("port[{i}].{field}"), value(port))).collect()
    };
    found.distinct(&keyed("name", |port| format!("the name \"{}\"", port.name)));
    found.distinct(&keyed("tap", |port| format!("the TAP \"{}\"", port.tap_name())));
    found.distinct(&keyed("device", |port| {
        let device = port.device.split(',').next().unwrap_or_default();
        format!("the device \"{device}\"")
    }));
    let driven = config.port.iter().enumerate().filter_map(|(i, port)| {
        Some((format!("port[{i}].device"), format!("the interface \"{}\"", interface_of(&port.device)?)))
    });
    found.distinct(&driven.collect::<Vec<_>>());
    let subnets: Vec<(String, Ipv4Net)> = config
        .port
        .iter()
        .enumerate()
        .flat_map(|(i, port)| {
            let key = move |j| format!("port[{i}].addresses[{j}]");
            port.addresses.iter().enumerate().map(move |(j, net)| (key(j), *net))
        })
        .collect();
    for (i, (key, net)) in subnets.iter().enumerate() {
        let clash = |(other, earlier): &&(String, Ipv4Net)| {
            let same_port = other.split('.').next() == key.split('.').next();
            earlier.addr() == net.addr() || (!same_port && (earlier.contains(net) || net.contains(earlier)))
        };
        if let Some((other, earlier)) = subnets[..i].iter().find(clash) {
            found.add(key.as_str(), format!("{net} overlaps {earlier} of {other}"));
        }
    }
}

/// The realm is inside: another port's link is no part of it, nor of the proxy pool; nor are other networks of the DMZ.
fn realm_is_inside(config: &Config, found: &mut Problems) {
    for (i, port) in config.port.iter().enumerate().filter(|(_, port)| port.side == Side::Dmz) {
        if config.nat.is_none() {
            let what = "what the DMZ sends and gets are sessions of NAT44, and there is no section [nat]";
            found.add(format!("port[{i}].side"), what);
        }
        let realm = config.realm.networks.iter().chain([&config.realm.proxy_pool]);
        for (j, net) in port.networks.iter().enumerate() {
            if let Some(network) = realm.clone().find(|network| overlap(**network, *net)) {
                found.add(
                    format!("port[{i}].networks[{j}]"),
                    format!("{net} overlaps {network}, which is inside"),
                );
            }
        }
    }
    let links = config.port.iter().flat_map(|port| port.addresses.iter().map(move |net| (port, net.trunc())));
    for (port, link) in links {
        for (i, network) in config.realm.networks.iter().enumerate() {
            if port.side != Side::Inside && overlap(*network, link) {
                let side = if port.side == Side::Dmz { "DMZ" } else { "outside" };
                let what =
                    format!("{network} overlaps {link}, the link of the {side} port \"{}\"", port.name);
                found.add(format!("realm.networks[{i}]"), what);
            }
        }
        let pool = config.realm.proxy_pool;
        if overlap(pool, link) && !port.addresses.iter().any(|net| pool.contains(&net.addr())) {
            found.add(
                "realm.proxy_pool",
                format!("{pool} overlaps {link}, the link of the port \"{}\"", port.name),
            );
        }
    }
}

fn one_port(key: &str, port: &PortSection, found: &mut Problems) {
    let name_fits = |name: &str| {
        !name.is_empty()
            && name.len() <= NAME_BYTES
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
            && name != "."
            && name != ".."
    };
    if !name_fits(&port.name) {
        found.add(
            format!("{key}.name"),
            format!("{:?}: 1 to {NAME_BYTES} letters, digits, '-', '_' or '.' were expected", port.name),
        );
    }
    let tap = port.tap_name();
    if !name_fits(&tap) {
        found.add(
            format!("{key}.tap"),
            format!("{tap:?} is no name of an interface: 1 to {NAME_BYTES} letters, digits, '-', '_' or '.'"),
        );
    }
    if let Some(wrong) = wrong_device(&port.device) {
        found.add(format!("{key}.device"), wrong);
    }
    if port.addresses.is_empty() {
        found.add(format!("{key}.addresses"), "names no address; the gateway needs one on each port");
    }
    for (j, net) in port.addresses.iter().enumerate() {
        let (address, key) = (net.addr(), format!("{key}.addresses[{j}]"));
        if net.prefix_len() == 0 {
            found.add(key, format!("{net}: a prefix length from 1 to 32 was expected"));
        } else if special(address).is_some() || no_host_of(*net, address) {
            found.add(key, format!("{address} is no host's address in {}", net.trunc()));
        }
    }
    for (j, net) in port.networks.iter().enumerate() {
        let key = format!("{key}.networks[{j}]");
        if net.addr() != net.network() {
            found.add(key, format!("{net} has host bits set; write {}", net.trunc()));
        } else if port.side == Side::Outside {
            found.add(key, "an outside port takes packets from everywhere; leave it out");
        } else if let Some(what) = special_within(*net) {
            found.add(key, format!("{net} holds {what}; no host sends from there"));
        }
    }
    if let Some(vlan) = port.vlan {
        found.within(format!("{key}.vlan"), u64::from(vlan), 1, 4094);
    }
    found.within(format!("{key}.mtu"), u64::from(port.mtu), u64::from(MTU_MIN), u64::from(MTU_MAX));
    for (name, value) in [("rx_descriptors", port.rx_descriptors), ("tx_descriptors", port.tx_descriptors)] {
        found.within(format!("{key}.{name}"), u64::from(value), 64, 4096);
        if !value.is_power_of_two() {
            found.add(format!("{key}.{name}"), format!("{value}: a power of two was expected"));
        }
    }
    bandwidth(key, port, found);
    if port.tcp.contains(&0) {
        found.add(format!("{key}.tcp"), "0 is no TCP port");
    }
}

fn bandwidth(key: &str, port: &PortSection, found: &mut Problems) {
    match (port.bandwidth, port.urgent) {
        (None, Some(_)) => found.add(format!("{key}.urgent"), "is a part of a bandwidth, and there is none"),
        (Some(all), urgent) => {
            if !BANDWIDTHS.contains(&all.0) {
                found.add(format!("{key}.bandwidth"), format!("{}: from 100k to 400G was expected", all.0));
            }
            if let Some(urgent) = urgent.filter(|urgent| urgent.0 == 0 || urgent.0 > all.0) {
                let what = format!("{}: more than 0 and no more than the bandwidth was expected", urgent.0);
                found.add(format!("{key}.urgent"), what);
            }
        }
        (None, None) => {}
    }
}

/// What may wait at shaped ports fits into the memory that there is.
fn queues(config: &Config, found: &mut Problems) {
    let workers = config.worker.cores.len() as u64;
    // A worker's packets may lie in any worker's memory.
    let packets = u64::from(config.shaped_frames()) * workers * workers;
    let mib = (packets * BUFFER_BYTES).div_ceil(1 << 20);
    if !config.memory.huge_pages && mib > u64::from(config.memory.mib) {
        let what = format!("{mib} MiB are needed for what may wait at ports with a bandwidth alone");
        found.add("memory.mib", what);
    }
}

/// The PCI address of a device that has one, with its domain.
pub fn pci_address(device: &str) -> Option<String> {
    let name = device.split(',').next()?;
    let mut parts = name.rsplitn(3, ':');
    let (slot, function) = parts.next()?.split_once('.')?;
    let (bus, domain) = (parts.next()?, parts.next());
    let hex = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_hexdigit());
    let is_address = [slot, function, bus, domain.unwrap_or("0000")].into_iter().all(hex);
    is_address.then(|| if domain.is_some() { name.to_owned() } else { format!("0000:{name}") })
}

/// A device is `0000:03:00.0`, `03:00.0`, or a virtual device `net_…` with arguments.
fn wrong_device(device: &str) -> Option<String> {
    let name = device.split(',').next().unwrap_or_default();
    let pci = pci_address(device).is_some();
    let virtual_device = name
        .strip_prefix("net_")
        .is_some_and(|rest| rest.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !rest.is_empty());
    if device.chars().any(char::is_whitespace) {
        return Some(format!("{device:?} contains a space"));
    }
    (!pci && !virtual_device).then(|| {
        format!("{name:?}: a PCI address (0000:03:00.0) or a virtual device (net_af_packet0,iface=eth0) was expected")
    })
}

fn workers(config: &Config, found: &mut Problems) {
    let cores = &config.worker.cores;
    found.within("worker.cores", cores.len() as u64, 1, WORKERS as u64);
    found.distinct(
        &cores
            .iter()
            .enumerate()
            .map(|(i, core)| (format!("worker.cores[{i}]"), format!("core {core}")))
            .collect::<Vec<_>>(),
    );
    found.within("worker.idle_sleep_us", u64::from(config.worker.idle_sleep_us), 0, 1000);
    found.within("worker.ring", u64::from(config.worker.ring), 256, 1 << 20);
    found.within("worker.frames", u64::from(config.worker.frames), 64, 1 << 16);
    if let Some(core) = config.control.core.filter(|core| cores.contains(core)) {
        found.add(
            "control.core",
            format!("core {core} is a worker's; the control thread needs another, or none here"),
        );
    }
    found.within("memory.mib", u64::from(config.memory.mib), 32, 1 << 20);
    found.within("capacity.routes", u64::from(config.capacity.routes), 1, 1 << 24);
}

fn routes(config: &Config, found: &mut Problems) {
    for (i, route) in config.route.iter().enumerate() {
        if route.to.addr() != route.to.network() {
            found.add(
                format!("route[{i}].to"),
                format!("{} has host bits set; write {}", route.to, route.to.trunc()),
            );
        }
        let what = special(route.to.network()).filter(|what| special(route.to.broadcast()) == Some(*what));
        if let Some(what) = what {
            found.add(format!("route[{i}].to"), format!("{} holds {what}; nothing is sent there", route.to));
        }
        let pool = config.realm.proxy_pool;
        if pool.contains(&route.to) {
            found.add(format!("route[{i}].to"), format!("{} lies in the proxy pool {pool}", route.to));
        }
        let links = config.port.iter().flat_map(|port| port.addresses.iter().map(move |net| (port, net)));
        if let Some((port, net)) = links.clone().find(|(_, net)| net.contains(&route.via)) {
            if no_host_of(*net, route.via) {
                let what = format!("{} is no host's address in {}", route.via, net.trunc());
                found.add(format!("route[{i}].via"), what);
            }
            let inside = config.realm.networks.iter().find(|network| network.contains(&route.to));
            if let Some(network) = inside.filter(|_| port.side == Side::Outside) {
                let what = format!(
                    "{} lies in the realm's network {network}, and {} is on the outside port \"{}\"",
                    route.to, route.via, port.name
                );
                found.add(format!("route[{i}].via"), what);
            }
        }
        let on_link = config.port.iter().flat_map(|port| &port.addresses).any(|net| net.contains(&route.via));
        if !on_link {
            found.add(format!("route[{i}].via"), format!("{} is not on the link of any port", route.via));
        } else if config.addresses().contains(&route.via) {
            found.add(format!("route[{i}].via"), format!("{} is the gateway itself", route.via));
        }
        if let Some(other) = config.route[..i].iter().position(|other| other.to == route.to) {
            found.add(format!("route[{i}].to"), format!("{} has a route already: route[{other}]", route.to));
        }
    }
}

fn signalling(config: &Config, found: &mut Problems) {
    let own = config.addresses();
    for (i, endpoint) in config.cetp.endpoints.iter().enumerate() {
        let key = format!("cetp.endpoints[{i}]");
        match endpoint.address {
            IpAddr::V4(address) if own.contains(&address) => {}
            IpAddr::V4(address) => {
                found.add(
                    format!("{key}.address"),
                    format!("{address} is not an address of one of our ports"),
                );
            }
            IpAddr::V6(address) => {
                found.add(format!("{key}.address"), format!("{address}: an IPv4 address was expected"));
            }
        }
        if let Some(side @ (Side::Inside | Side::Dmz)) = config.side_of(endpoint.address) {
            let (address, side) = (endpoint.address, word(side));
            found.add(
                format!("{key}.address"),
                format!("{address} is an address of {side} port; no peer reaches it"),
            );
        }
        let page = config.metrics.as_ref().map(|metrics| metrics.listen);
        if page.is_some_and(|page| {
            page.port() == endpoint.port && (page.ip() == endpoint.address || page.ip().is_unspecified())
        }) {
            found.add(format!("{key}.port"), format!("{} is the metrics page's", endpoint.port));
        }
        if endpoint.proto == Proto::Tls && config.tls.is_none() {
            found.add(format!("{key}.proto"), "\"tls\" needs the section [tls] with ca, cert and key");
        }
        if endpoint.port == 53 {
            found.add(format!("{key}.port"), "53 is the name service's");
        }
    }
    for (i, locator) in config.cetp.locators.iter().enumerate() {
        if let Some(side @ (Side::Inside | Side::Dmz)) = config.side_of(locator.address.into()) {
            let (address, side) = (locator.address, word(side));
            found.add(
                format!("cetp.locators[{i}].address"),
                format!("{address} is an address of {side} port; tunnels end outside"),
            );
        }
    }
    let files = &config.registry.files;
    found.distinct(
        &files
            .iter()
            .enumerate()
            .map(|(i, file)| (format!("registry.files[{i}]"), file.display().to_string()))
            .collect::<Vec<_>>(),
    );
    if config.registry.files.is_empty() {
        found.add("registry.files", "names no file; without hosts and policies nobody reaches anybody");
    }
}

/// A side with its article.
const fn word(side: Side) -> &'static str {
    match side {
        Side::Inside => "an inside",
        Side::Dmz => "a DMZ",
        Side::Outside => "an outside",
    }
}

/// The circular pool: addresses that the world can answer, beside those of NAT44, some for each worker.
fn realm_gateway(config: &Config, found: &mut Problems) {
    let Some(realm_gateway) = &config.realm_gateway else { return };
    let Some(nat) = &config.nat else {
        found.add("realm_gateway", "needs the section [nat]: what it lets in are sessions of NAT44");
        return;
    };
    let (pool, capacity) = (realm_gateway.pool(), &config.capacity);
    found.within("realm_gateway.addresses", pool.len() as u64, 0, capacity.pool_addresses.into());
    found.within("capacity.reservations", capacity.reservations.into(), 1, 1 << 20);
    found.within("capacity.unwanted", capacity.unwanted.into(), 0, 1 << 24);
    if let Some(address) = nat.addresses.iter().find(|address| pool.contains(address)) {
        let what = format!("{address} is one of nat.addresses, too; the pool has its addresses alone");
        found.add("realm_gateway.addresses", what);
    }
    let has_mapping = |address: &&Ipv4Addr| nat.statics.is_external(address.to_bits());
    if let Some(address) = pool.iter().find(has_mapping) {
        let what = format!("{address} is that of a static mapping, too; the pool has its addresses alone");
        found.add("realm_gateway.addresses", what);
    }
    if let Some((address, whose)) = super::nat::needed_outside(config, |address| pool.contains(address)) {
        found.add("realm_gateway.addresses", format!("{address} {whose}; it cannot be ours"));
    }
    let of_dmz = |part: &PoolNetwork| Some((part.0, super::nat::of_dmz(config, part.0)?));
    if let Some((part, net)) = realm_gateway.addresses.iter().find_map(of_dmz) {
        found.add("realm_gateway.addresses", format!("{part} overlaps {net}, which is the DMZ's"));
    }
    let links = config.port.iter().flat_map(|port| port.addresses.iter().map(move |net| (port, net)));
    for (port, net) in links {
        let key = "realm_gateway.addresses";
        if let Some(address) =
            pool.iter().find(|address| net.contains(*address) && no_host_of(*net, **address))
        {
            found.add(key, format!("{address} is no host's address in {}", net.trunc()));
        }
        if let Some(address) =
            pool.iter().find(|address| port.side != Side::Outside && net.contains(*address))
        {
            found.add(key, format!("{address} lies on the link of the port \"{}\"", port.name));
        }
    }
    let workers = config.worker.cores.len() as u32;
    let has_none = |worker: &u32| !pool.iter().any(|at| worker_of_pool(at.to_bits(), workers) == *worker);
    if let Some(worker) = (0..workers).find(has_none).filter(|_| !pool.is_empty()) {
        let what = format!(
            "no address for the hosts of worker {worker}: with {workers} workers an address belongs to worker \
             (address modulo {workers}), so as many addresses side by side are needed"
        );
        found.add("realm_gateway.addresses", what);
    }
}

/// Where the world asks for our names is an address of ours outside, or one that leads to it; not one that is somebody's.
fn name_server(config: &Config, found: &mut Problems) {
    for (i, address) in config.dns.addresses.iter().enumerate() {
        let IpAddr::V4(address) = address.to_canonical() else { continue };
        let key = format!("dns.addresses[{i}]");
        match config.side_of(address.into()) {
            Some(Side::Outside) => {}
            Some(side) => {
                found.add(
                    key,
                    format!("{address} is an address of {} port; nobody outside asks there", word(side)),
                );
            }
            None => {
                if let Some(whose) = super::nat::whose(config, address) {
                    found.add(key, format!("{address} {whose}; the gateway does not answer there"));
                }
            }
        }
    }
}

/// A resolver is a host.
fn resolvers(config: &Config, found: &mut Problems) {
    for (i, upstream) in config.dns.upstreams.iter().enumerate() {
        let IpAddr::V4(address) = upstream.socket().ip().to_canonical() else { continue };
        let links = config.port.iter().flat_map(|port| &port.addresses);
        if let Some(net) = links.into_iter().find(|net| net.contains(&address) && no_host_of(**net, address))
        {
            let what = format!("{address} is no host's address in {}", net.trunc());
            found.add(format!("dns.upstreams[{i}]"), what);
        }
    }
}

/// ALGs: ports that servers have, networks, and times in which something comes.
fn alg(config: &Config, found: &mut Problems) {
    let Alg { ftp, sip, rtsp } = &config.alg;
    for (place, ports, hosts) in [
        ("alg.ftp", &ftp.ports, &ftp.hosts),
        ("alg.sip", &sip.ports, &sip.hosts),
        ("alg.rtsp", &rtsp.ports, &rtsp.hosts),
    ] {
        spoken(&format!("{place}.ports"), ports, found);
        found.within(format!("{place}.hosts"), hosts.len() as u64, 0, 64);
        for (i, hosts) in hosts.iter().enumerate() {
            found.within(format!("{place}.hosts[{i}].networks"), hosts.networks.len() as u64, 1, 64);
            spoken(&format!("{place}.hosts[{i}].ports"), hosts.ports.as_deref().unwrap_or_default(), found);
        }
    }
    found.within("alg.ftp.await_s", u64::from(ftp.await_s), 1, 3600);
    found.within("alg.sip.await_s", u64::from(sip.await_s), 1, 3600);
    found.within("alg.sip.registered_s", u64::from(sip.registered_s), 0, 65_535);
    found.within("alg.sip.host_calls", u64::from(sip.host_calls), 1, 65_535);
    found.within("alg.sip.dialog_s", u64::from(sip.dialog_s), 60, 65_535);
    found.within("alg.rtsp.await_s", u64::from(rtsp.await_s), 1, 3600);
    found.within("alg.rtsp.host_sessions", u64::from(rtsp.host_sessions), 1, 65_535);
    let capacity = &config.capacity;
    found.within("capacity.alg_talks", u64::from(capacity.alg_talks), 0, 1 << 20);
    found.within("capacity.alg_channels", u64::from(capacity.alg_channels), 0, 1 << 20);
    found.within("capacity.sip_dialogs", u64::from(capacity.sip_dialogs), 0, 1 << 20);
}

/// Ports on which a protocol is spoken.
fn spoken(place: &str, ports: &[u16], found: &mut Problems) {
    let keyed = |(i, port): (usize, &u16)| (format!("{place}[{i}]"), port.to_string());
    found.distinct(&ports.iter().enumerate().map(keyed).collect::<Vec<_>>());
    found.within(place, ports.len() as u64, 0, 16);
    for (i, port) in ports.iter().enumerate() {
        found.within(format!("{place}[{i}]"), u64::from(*port), 1, 65_535);
    }
}

/// Rules of the filter need sessions to hold for.
fn filter(config: &Config, found: &mut Problems) {
    let files = &config.filter.files;
    if config.nat.is_none() && !files.is_empty() {
        found.add("filter.files", "rules hold for sessions of NAT44, and there is no section [nat]");
    }
    let keyed =
        |(i, file): (usize, &std::path::PathBuf)| (format!("filter.files[{i}]"), file.display().to_string());
    found.distinct(&files.iter().enumerate().map(keyed).collect::<Vec<_>>());
}

fn limits(config: &Config, found: &mut Problems) {
    found.within("capacity.bindings", u64::from(config.capacity.bindings), 1, u64::from(BINDINGS));
    found.within("capacity.tunnels", u64::from(config.capacity.tunnels), 1, 65_535);
    found.within("capacity.neighbours", u64::from(config.capacity.neighbours), 2, 1 << 20);
    found.within("capacity.limited", u64::from(config.capacity.limited), 1, LIMITED);
    found.within("capacity.rate_burst_ms", u64::from(config.capacity.rate_burst_ms), 1, 60_000);
    // A handle has 32 bits: worker, slot, and at least one for the generation.
    let worker_bits = config.worker.cores.len().max(1).next_power_of_two().trailing_zeros();
    let slot_bits = config.capacity.bindings.clamp(1, BINDINGS).next_power_of_two().trailing_zeros();
    if worker_bits + slot_bits > 31 {
        found.add("capacity.bindings", "too many bindings for that many workers: a handle has 32 bits");
    }
    let classes = PuntClass::ALL.map(PuntClass::label).into_iter().zip(config.punt.by_class());
    for (name, rate) in classes.chain([("icmp_errors", config.punt.icmp_errors)]) {
        found.within(format!("punt.{name}"), u64::from(rate), 1, 10_000_000);
    }
    let tcp = &config.dns_tcp;
    found.within("dns_tcp.connections", u64::from(tcp.connections), 1, 65_536);
    found.within("dns_tcp.connections_per_client", u64::from(tcp.connections_per_client), 1, 65_536);
    found.within("dns_tcp.idle_s", u64::from(tcp.idle_s), 1, 3600);
    found.within("dns_tcp.pipeline", u64::from(tcp.pipeline), 1, 65_536);
    found.within("admin.connections", u64::from(config.admin.connections), 1, 1024);
    if let Some(metrics) = &config.metrics {
        found.within("metrics.connections", u64::from(metrics.connections), 1, 1024);
        if metrics.listen.port() == 0 {
            found.add("metrics.listen", "port 0: a port from 1 to 65535 was expected");
        }
        let is_ours = match metrics.listen.ip().to_canonical() {
            IpAddr::V4(address) => address.is_unspecified() || config.addresses().contains(&address),
            IpAddr::V6(address) => address.is_unspecified(),
        };
        if metrics.listen.port() == 53 && is_ours {
            found.add("metrics.listen", "53 is the name service's");
        }
    }
}
