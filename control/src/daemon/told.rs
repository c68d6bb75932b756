//! What the workers are told of the configuration.

use crate::config::{CapacitySection, Config, PortSection};
use ces_dataplane::nat::{Nat, exceptions::Exception};
use ces_dataplane::settings::{NatRoom, PoolRoom, PortSettings, SettingsError, Side, WorkerSettings};
use ces_dataplane::tag::Layout;
use ces_gateway::settings::{RealmGateway, UpstreamAddress};
use ipnet::Ipv4Net;
use std::net::SocketAddr;

/// The port of the name service.
pub(super) const DNS_PORT: u16 = 53;

fn networks(nets: &[Ipv4Net]) -> Vec<(std::net::Ipv4Addr, u8)> {
    nets.iter().map(|net| (net.network(), net.prefix_len())).collect()
}

/// What the workers are told at the start.
pub(super) fn settings(
    config: &Config,
    macs: &[[u8; 6]],
    layout: Layout,
    tag_key: [u32; 4],
    hash_seed: [u64; 2],
) -> WorkerSettings {
    let port = |(port, mac): (&PortSection, &[u8; 6])| PortSettings {
        side: port.side,
        mac: *mac,
        addresses: port.addresses.iter().map(|net| (net.addr(), net.prefix_len())).collect(),
        networks: match (port.side, port.networks.is_empty()) {
            (Side::Inside, true) => networks(&config.realm.networks),
            (Side::Dmz, _) => networks(&port.dmz()),
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
    let ipv4 = |upstream: &UpstreamAddress| match upstream.socket() {
        SocketAddr::V4(socket) => Some((*socket.ip(), socket.port())),
        SocketAddr::V6(_) => None,
    };
    let punt = &config.punt;
    WorkerSettings {
        ports: config.port.iter().zip(macs).map(port).collect(),
        shapes: config.port.iter().map(PortSection::shape).collect(),
        bindings: config.capacity.bindings,
        tunnels: config.capacity.tunnels,
        neighbours: config.capacity.neighbours,
        limited: config.capacity.limited,
        nat_room: room(config),
        nat: nat(config),
        recording: config.records.as_ref().map(|records| records.what).unwrap_or_default(),
        alg: config.alg.clone(),
        channels: config.capacity.alg_channels,
        talks: config.capacity.alg_talks,
        dialogs: config.capacity.sip_dialogs,
        translations: 0,
        pool_room: pool_room(config),
        pool: config.realm_gateway.as_ref().map(RealmGateway::pool).unwrap_or_default(),
        rate_burst_ms: config.capacity.rate_burst_ms,
        tag_key,
        hash_seed,
        layout,
        worker: 0,
        workers: config.worker.cores.len() as u32,
        tcp_listen,
        resolvers: config.dns.upstreams.iter().filter_map(ipv4).collect(),
        dhcp: config.dhcp.is_some(),
        proxy_networks: vec![(config.realm.proxy_pool.network(), config.realm.proxy_pool.prefix_len())],
        punt_rates: punt.by_class(),
        icmp_error_rate: punt.icmp_errors,
    }
}

/// NAT44. Between realm and DMZ nothing is translated.
fn nat(config: &Config) -> Nat {
    let mut nat = config.nat.clone().unwrap_or_default();
    let dmz = config.dmz();
    let between = config
        .realm
        .networks
        .iter()
        .flat_map(|&inside| dmz.iter().map(move |&outside| Exception { inside, outside }));
    nat.exceptions = nat.exceptions.pairs().iter().copied().chain(between).collect::<Vec<_>>().into();
    nat
}

/// Room for NAT44 only where there is any.
fn room(config: &Config) -> NatRoom {
    let CapacitySection { sessions, mappings, nat_hosts: hosts, nat_addresses: addresses, .. } =
        config.capacity;
    config.nat.as_ref().map(|_| NatRoom { sessions, mappings, hosts, addresses }).unwrap_or_default()
}

/// Room for the circular pool only where there is one.
fn pool_room(config: &Config) -> PoolRoom {
    let CapacitySection { pool_addresses: addresses, reservations, unwanted, .. } = config.capacity;
    let room = |_: &RealmGateway| PoolRoom { addresses, reservations, unwanted };
    config.realm_gateway.as_ref().map(room).unwrap_or_default()
}

/// What they are told later: their premises. Sizes, keys and layouts stay what they were.
pub(super) fn premises(config: &Config, before: &WorkerSettings) -> Result<WorkerSettings, SettingsError> {
    let macs: Vec<_> = before.ports.iter().map(|port| port.mac).collect();
    let mut new = settings(config, &macs, before.layout, before.tag_key, before.hash_seed);
    let differ = new.nat.statics != before.nat.statics || new.nat.exceptions != before.nat.exceptions;
    new.translations = before.translations.wrapping_add(u16::from(differ));
    new.check()?;
    Ok(new)
}
