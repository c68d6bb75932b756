//! DHCP: what must hold of it, and what the server is told.

use super::dhcp::{AddressRange, DhcpReservation, DhcpSection, DhcpSubnet};
use super::links::no_host_of;
use super::model::{Config, PortSection};
use ces_dataplane::settings::Side;
use ces_dhcp::{Given, ReservedAddress, Settings, Subnet, Whose};
use ces_gateway::Registry;
use ces_gateway::registry::MacEntry;
use ces_gateway::settings::{overlap, special};
use ces_settings::{Problem, Problems};
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// The most subnets.
const SUBNETS: u64 = 256;
/// The most pools of a subnet, and addresses of all pools together: 128 MiB of leases at the very most.
const POOLS: u64 = 64;
const ADDRESSES: u64 = 1 << 18;
/// The most reservations beside those of the registry.
const RESERVATIONS: u64 = 4096;
/// The most addresses or routes of a list that hosts are told: they fit into one message.
const LIST: u64 = 16;
/// Octets of the fields for the names of a boot server and file, without the 0 at the end (RFC 2131 §2).
const SERVER_NAME: usize = 63;
const FILE: usize = 127;
/// Octets of a URI that fits into one option (RFC 8910 §2.1).
const URI: usize = 255;

/// The inside port on whose link a subnet is, with its number and address there.
fn link(config: &Config, network: Ipv4Net) -> Option<(usize, &PortSection, Ipv4Addr)> {
    let inside = config.port.iter().enumerate().filter(|(_, port)| port.side == Side::Inside);
    inside
        .flat_map(|(number, port)| port.addresses.iter().map(move |own| (number, port, own)))
        .find(|(_, _, own)| own.trunc() == network)
        .map(|(number, port, own)| (number, port, own.addr()))
}

/// What must hold.
pub(super) fn check(config: &Config, found: &mut Problems) {
    let Some(dhcp) = &config.dhcp else { return };
    found.within("dhcp.subnet", dhcp.subnet.len() as u64, 1, SUBNETS);
    found.within("dhcp.reservation", dhcp.reservation.len() as u64, 0, RESERVATIONS);
    found.within("dhcp.probe_ms", dhcp.probe_ms.into(), 0, 5000);
    found.within("dhcp.offer_s", dhcp.offer_s.into(), 1, 600);
    found.within("dhcp.decline_s", dhcp.decline_s.into(), 1, 86_400);
    found.within("dhcp.client_rate", dhcp.client_rate.into(), 1, 10_000);
    found.within("dhcp.link_rate", dhcp.link_rate.into(), 1, 1_000_000);
    found.within("dhcp.station_leases", dhcp.station_leases.into(), 0, 65_535);
    for (i, subnet) in dhcp.subnet.iter().enumerate() {
        one_subnet(config, &format!("dhcp.subnet[{i}]"), subnet, found);
        let network = subnet.network;
        let earlier = dhcp.subnet[..i].iter().position(|other| overlap(other.network, network));
        if let Some(other) = earlier {
            let what = format!("{network} overlaps dhcp.subnet[{other}]");
            found.add(format!("dhcp.subnet[{i}].network"), what);
        }
    }
    let size = |range: &AddressRange| u64::from(range.1.to_bits().saturating_sub(range.0.to_bits())) + 1;
    let all = dhcp.subnet.iter().flat_map(|subnet| &subnet.pools).map(size).sum();
    found.within("dhcp.subnet", all, 0, ADDRESSES);
    for (i, reservation) in dhcp.reservation.iter().enumerate() {
        let key = format!("dhcp.reservation[{i}]");
        let address = reservation.address;
        match (&reservation.mac, &reservation.client_id) {
            (Some(MacEntry::Is(_)), None) | (None, Some(_)) => {}
            (Some(MacEntry::Any), _) => found.add(format!("{key}.mac"), "a MAC address was expected"),
            _ => found.add(key.as_str(), "either `mac` or `client_id` was expected"),
        }
        let subnet = dhcp.subnet.iter().find(|subnet| subnet.network.contains(&address));
        let what = match subnet {
            None => Some("lies in no subnet"),
            Some(subnet) if no_host_of(subnet.network, address) => Some("is no host's address in its subnet"),
            _ if config.addresses().contains(&address) => Some("is the gateway's own"),
            _ if dhcp.reservation[..i].iter().any(|other| other.address == address) => {
                Some("is reserved twice")
            }
            _ => None,
        };
        if let Some(what) = what {
            found.add(format!("{key}.address"), format!("{address} {what}"));
        }
    }
}

fn one_subnet(config: &Config, key: &str, subnet: &DhcpSubnet, found: &mut Problems) {
    let network = subnet.network;
    let network_key = format!("{key}.network");
    let links = config.port.iter().flat_map(|port| port.addresses.iter().map(move |own| (port, own.trunc())));
    let crossing = || links.clone().find(|(_, link)| *link != network && overlap(*link, network));
    if network.addr() != network.network() {
        found.add(network_key, format!("{network} has host bits set; write {}", network.trunc()));
    } else if !(8..=30).contains(&network.prefix_len()) {
        found.add(network_key, format!("{network}: a prefix length from 8 to 30 was expected"));
    } else if !config.realm.networks.iter().any(|realm| realm.contains(&network)) {
        found.add(network_key, format!("{network} lies in none of realm.networks"));
    } else if let Some((port, link)) = crossing() {
        found.add(network_key, format!("{network} overlaps {link}, the link of the port \"{}\"", port.name));
    }
    let is_near = link(config, network).is_some();
    found.within(format!("{key}.pools"), subnet.pools.len() as u64, 0, POOLS);
    for (i, AddressRange(first, last)) in subnet.pools.iter().enumerate() {
        let range = *first..=*last;
        let reserved = [network.network(), network.broadcast()];
        let own = config.addresses().into_iter().find(|own| range.contains(own));
        let proxies = config.realm.proxy_pool;
        let earlier = || {
            let meets = |other: &AddressRange| other.0 <= *last && *first <= other.1;
            subnet.pools[..i].iter().position(meets)
        };
        let what = if first > last {
            Some("the first address was expected before the last".to_owned())
        } else if !network.contains(first) || !network.contains(last) {
            Some(format!("{first}-{last} is not within {network}"))
        } else if let Some(address) = reserved.into_iter().find(|address| range.contains(address)) {
            Some(format!("{address} is no host's address in {network}"))
        } else if let Some(own) = own {
            Some(format!("{own} is the gateway's own"))
        } else if *first <= proxies.broadcast() && proxies.network() <= *last {
            Some(format!("{first}-{last} overlaps the proxy pool {proxies}"))
        } else {
            earlier().map(|other| format!("{first}-{last} overlaps pools[{other}]"))
        };
        if let Some(what) = what {
            found.add(format!("{key}.pools[{i}]"), what);
        }
    }
    found.within(format!("{key}.lease_s"), subnet.lease_s.into(), 60, 365 * 86_400);
    let routers = subnet.routers.as_deref().unwrap_or_default();
    if subnet.routers.is_none() && !is_near {
        let what = format!("{network} is on no inside port's link: its router was expected, or [] for none");
        found.add(format!("{key}.routers"), what);
    }
    let lists =
        [("routers", routers), ("dns", subnet.dns.as_deref().unwrap_or_default()), ("ntp", &subnet.ntp)];
    for (name, list) in lists {
        found.within(format!("{key}.{name}"), list.len() as u64, 0, LIST);
        for (i, address) in list.iter().enumerate() {
            if special(*address).is_some() {
                found.add(format!("{key}.{name}[{i}]"), format!("{address} is no host's address"));
            }
        }
    }
    let near = |address: &Ipv4Addr| network.contains(address) && !no_host_of(network, *address);
    if let Some(i) = routers.iter().position(|router| !near(router)) {
        found.add(format!("{key}.routers[{i}]"), format!("{} is no host of {network}", routers[i]));
    }
    found.within(format!("{key}.routes"), subnet.routes.len() as u64, 0, LIST);
    for (i, route) in subnet.routes.iter().enumerate() {
        if route.to.addr() != route.to.network() {
            let what = format!("{} has host bits set; write {}", route.to, route.to.trunc());
            found.add(format!("{key}.routes[{i}].to"), what);
        }
        if !near(&route.via) {
            found.add(format!("{key}.routes[{i}].via"), format!("{} is no host of {network}", route.via));
        }
    }
    // RFC 2132 §5.1.
    found.within(format!("{key}.mtu"), subnet.mtu.map_or(68, u64::from), 68, 65_535);
    let texts = [
        ("captive_portal", &subnet.captive_portal, URI),
        ("boot_server_name", &subnet.boot_server_name, SERVER_NAME),
        ("boot_file", &subnet.boot_file, FILE),
    ];
    for (name, text, most) in texts {
        if text.as_ref().is_some_and(|text| !(1..=most).contains(&text.len()) || text.contains('\0')) {
            found.add(format!("{key}.{name}"), format!("1 to {most} octets were expected"));
        }
    }
    // RFC 8910 §2: a URI; RFC 8908 §4: over TLS.
    if subnet.captive_portal.as_ref().is_some_and(|uri| !uri.starts_with("https://")) {
        found.add(format!("{key}.captive_portal"), "a URI that begins with \"https://\" was expected");
    }
}

/// What the server is told, or what does not fit together with the registry. Without a section [dhcp] it has no subnets.
pub fn settings(config: &Config, registry: &Registry) -> Result<Settings, Vec<Problem>> {
    let Some(dhcp) = &config.dhcp else { return Ok(Settings::default()) };
    let inside = config.port.iter().filter(|port| port.side == Side::Inside);
    let own: Vec<_> = inside.flat_map(|port| &port.addresses).map(Ipv4Net::addr).collect();
    let subnet = |subnet: &DhcpSubnet| {
        let link = link(config, subnet.network).map(|(number, _, address)| (number as u8, address));
        let near: Vec<_> = link.iter().map(|(_, address)| *address).collect();
        let us = link.map(|(_, address)| address).or(own.first().copied());
        let domain = subnet.domain.as_ref().or(config.realm.zones.first());
        Subnet {
            network: subnet.network,
            link,
            pools: subnet.pools.iter().map(|range| (range.0, range.1)).collect(),
            lease_s: subnet.lease_s,
            given: Given {
                routers: subnet.routers.clone().unwrap_or(near),
                dns: subnet.dns.clone().unwrap_or_else(|| us.into_iter().collect()),
                domain: domain.map(|name| name.as_str().trim_end_matches('.').to_owned()),
                ntp: subnet.ntp.clone(),
                routes: subnet.routes.iter().map(|route| (route.to, route.via)).collect(),
                mtu: subnet.mtu,
                captive_portal: subnet.captive_portal.clone(),
                boot_server: subnet.boot_server,
                boot_server_name: subnet.boot_server_name.clone(),
                boot_file: subnet.boot_file.clone(),
            },
        }
    };
    let subnets: Vec<_> = dhcp.subnet.iter().map(subnet).collect();
    let mut problems = Problems::default();
    let mut reservations = Vec::new();
    for host in registry.hosts() {
        let address = host.address.v4();
        if !subnets.iter().any(|subnet| subnet.network.contains(&address)) {
            continue;
        }
        let given = dhcp.reservation.iter().position(|given| given.address == address);
        let whose = match (host.mac, given) {
            (Some(MacEntry::Is(_)), Some(i)) => {
                let what = format!("{address} is {}'s, whose MAC address the registry names", host.name);
                problems.add(format!("dhcp.reservation[{i}].address"), what);
                continue;
            }
            (Some(MacEntry::Is(mac)), None) => Whose::Hardware(mac),
            (_, Some(i)) => whose(&dhcp.reservation[i]),
            (_, None) => Whose::Nobodys,
        };
        let label = host.name.as_str().split('.').next().unwrap_or_default();
        reservations.push(ReservedAddress { address, whose, name: Some(label.into()) });
    }
    for given in &dhcp.reservation {
        if !registry.hosts().iter().any(|host| host.address.v4() == given.address) {
            reservations.push(ReservedAddress { address: given.address, whose: whose(given), name: None });
        }
    }
    let problems = problems.into_vec();
    if !problems.is_empty() {
        return Err(problems);
    }
    let DhcpSection { names, probe_ms, offer_s, decline_s, client_rate, link_rate, station_leases, .. } =
        *dhcp;
    Ok(Settings {
        subnets,
        reservations,
        own,
        probe_ms,
        offer_s,
        decline_s,
        client_rate,
        link_rate,
        station_leases,
        names,
        are_owners_asked: config.realm.mac_policy.refuses(),
        // Whether there is a file is known by who opened it.
        is_written: false,
    })
}

fn whose(given: &DhcpReservation) -> Whose {
    match (&given.mac, &given.client_id) {
        (Some(MacEntry::Is(mac)), _) => Whose::Hardware(*mac),
        (_, Some(id)) => Whose::Identifier(id.0.clone()),
        _ => Whose::Nobodys,
    }
}
