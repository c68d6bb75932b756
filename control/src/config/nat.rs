//! What must hold of NAT44: addresses that the world can answer, ports that are not the gateway's own, and static mappings none
//! of which stands in the way of another.

use super::links::no_host_of;
use super::model::{Config, PortSection};
use ces_dataplane::nat::exceptions::Exception;
use ces_dataplane::nat::statics::{PortProtocol, Static, Statics};
use ces_dataplane::settings::Side;
use ces_gateway::settings::{overlap, special, special_within};
use ces_settings::Problems;
use ces_wire::{geneve, vxlan};
use ipnet::Ipv4Net;
use std::net::{IpAddr, Ipv4Addr};

/// The kernel opens connections from ports beginning with this one (`net.ipv4.ip_local_port_range` as it is delivered).
const KERNEL_PORTS: u16 = 32_768;
/// The port of the name service.
const DNS: u16 = 53;
/// The most static mappings.
const STATICS: u64 = 4096;
/// How many ports a block may have.
const BLOCKS: std::ops::RangeInclusive<u16> = 16..=8192;
/// The most exceptions.
const EXCEPTIONS: u64 = 256;

/// NAT44: addresses that the world can answer, and ports that are not the gateway's own.
pub(super) fn check(config: &Config, found: &mut Problems) {
    let Some(nat) = &config.nat else { return };
    let capacity = &config.capacity;
    let least = u64::from(nat.statics.is_empty() && nat.exceptions.pairs().is_empty());
    found.within("nat.addresses", nat.addresses.len() as u64, least, u64::from(capacity.nat_addresses));
    statics(config, &nat.statics, found);
    exceptions(config, nat.exceptions.pairs(), found);
    let (first, last) = nat.ports;
    if first == 0 || first > last {
        found.add("nat.ports", "two ports from 1 to 65535 were expected, the first not behind the last");
    }
    for (i, address) in nat.addresses.iter().enumerate() {
        let key = format!("nat.addresses[{i}]");
        let realm = config.realm.networks.iter().chain([&config.realm.proxy_pool]);
        if nat.addresses[..i].contains(address) {
            found.add(key, format!("{address} is named twice"));
        } else if special(*address).is_some() {
            found.add(key, format!("{address} is no host's address"));
        } else if realm.clone().any(|net| net.contains(address)) {
            found.add(key, format!("{address} is inside; nobody in the world would answer it"));
        } else if config.side_of((*address).into()) == Some(Side::Inside) {
            found.add(key, format!("{address} is an address of an inside port"));
        } else if let Some(net) = of_dmz(config, (*address).into()) {
            found.add(key, format!("{address} lies in {net}, which is the DMZ's"));
        } else if let Some(whose) = of_another(config, *address) {
            found.add(key, format!("{address} {whose}; it cannot be ours"));
        } else if let Some(port) =
            listening(config, *address).into_iter().find(|port| (first..=last).contains(port))
        {
            found.add(
                "nat.ports",
                format!("{port} is among them, where the gateway itself listens on {address}"),
            );
        } else if config.addresses().contains(address) && last >= KERNEL_PORTS {
            let whose =
                format!("the kernel opens the gateway's own connections from {KERNEL_PORTS} and above");
            found.add("nat.ports", format!("{last}: {address} is the gateway's own, and {whose}"));
        }
    }
    let timeouts = &nat.timeouts;
    for (name, value, least) in [
        ("tcp_established_s", timeouts.tcp_established_s, 7440),
        ("tcp_transitory_s", timeouts.tcp_transitory_s, 240),
        ("udp_s", timeouts.udp_s, 120),
        ("udp_unanswered_s", timeouts.udp_unanswered_s, 120),
        ("icmp_s", timeouts.icmp_s, 60),
        ("other_s", timeouts.other_s, 60),
    ] {
        // RFC 5382 §5, REQ-5; RFC 4787 §4.3, REQ-5; RFC 5508 §3.2, REQ-2. The wheel of sessions has 8,192 seconds.
        found.within(format!("nat.timeouts.{name}"), u64::from(value), least, 8000);
    }
    found.within("nat.host_sessions", u64::from(nat.host_sessions), 1, u64::from(capacity.sessions));
    found.within("nat.host_ports", u64::from(nat.host_ports), 1, u64::from(capacity.mappings));
    if nat.block_ports != 0 && !(nat.block_ports.is_power_of_two() && BLOCKS.contains(&nat.block_ports)) {
        let (least, most) = (BLOCKS.start(), BLOCKS.end());
        found.add("nat.block_ports", format!("0, or a power of two from {least} to {most} was expected"));
    } else if nat.block_ports != 0 && !has_block(nat.ports, nat.block_ports) {
        found.add("nat.block_ports", "there is no whole block in nat.ports");
    }
    found.within("nat.host_blocks", u64::from(nat.host_blocks), 1, 4096);
    found.within("nat.reserve_percent", u64::from(nat.reserve_percent), 0, 50);
    found.within("capacity.sessions", u64::from(capacity.sessions), 64, 1 << 24);
    found.within("capacity.mappings", u64::from(capacity.mappings), 64, 1 << 24);
    found.within("capacity.nat_hosts", u64::from(capacity.nat_hosts), 1, 1 << 24);
    found.within("capacity.nat_addresses", u64::from(capacity.nat_addresses), 1, 4096);
}

/// Whether there is a block of so many ports among them: the first one that begins there ends there.
fn has_block((first, last): (u16, u16), ports: u16) -> bool {
    let ports = u32::from(ports);
    u32::from(first).next_multiple_of(ports) + ports - 1 <= u32::from(last)
}

/// The first router or resolver whose address is such, and whose it is.
pub(super) fn needed_outside(
    config: &Config,
    is_such: impl Fn(&Ipv4Addr) -> bool,
) -> Option<(Ipv4Addr, String)> {
    let asked =
        config.dns.upstreams.iter().filter_map(|upstream| match upstream.socket().ip().to_canonical() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        });
    let address = config.route.iter().map(|route| route.via).chain(asked).find(is_such)?;
    Some((address, of_another(config, address)?))
}

/// Whose an address outside is, if not ours: nobody's on a link, a router's, a resolver's.
fn of_another(config: &Config, address: Ipv4Addr) -> Option<String> {
    let links = || config.port.iter().flat_map(|port| &port.addresses);
    let link = links().find(|net| net.contains(&address) && no_host_of(**net, address));
    let hop = || config.route.iter().position(|route| route.via == address);
    let asked =
        || config.dns.upstreams.iter().position(|upstream| upstream.socket().ip().to_canonical() == address);
    link.map(|net| format!("is no host's address in {}", net.trunc()))
        .or_else(|| hop().map(|i| format!("is the next hop of route[{i}]")))
        .or_else(|| asked().map(|i| format!("is the resolver dns.upstreams[{i}]")))
}

/// What an address stands for that is none of the gateway's own: a proxy of somebody far, or a host as it is seen outside.
pub(super) fn lent(config: &Config, address: Ipv4Addr) -> Option<&'static str> {
    let pool = || {
        config.realm_gateway.iter().any(|pool| pool.addresses.iter().any(|part| part.0.contains(&address)))
    };
    let nat = || config.nat.iter().any(|nat| nat.addresses.contains(&address));
    let mapping = || config.nat.iter().any(|nat| nat.statics.is_external(address.to_bits()));
    if config.realm.proxy_pool.contains(&address) {
        Some("lies in the proxy pool")
    } else if pool() {
        Some("is one of realm_gateway.addresses")
    } else if nat() {
        Some("is one of nat.addresses")
    } else if mapping() {
        Some("is that of a static mapping")
    } else {
        None
    }
}

/// The network of the DMZ that addresses lie in, unless they lie in a narrower one on a link outside.
pub(super) fn of_dmz(config: &Config, net: Ipv4Net) -> Option<Ipv4Net> {
    let outside = |port: &&PortSection| port.side == Side::Outside;
    let links = || config.port.iter().filter(outside).flat_map(|port| &port.addresses);
    let is_outside = |dmz: &Ipv4Net| {
        links().any(|link| link.prefix_len() > dmz.prefix_len() && link.trunc().contains(&net))
    };
    config.dmz().into_iter().find(|dmz| overlap(*dmz, net) && !is_outside(dmz))
}

/// Whose an address is that is none of the gateway's own, if somebody's is known.
pub(super) fn whose(config: &Config, address: Ipv4Addr) -> Option<String> {
    let realm = || config.realm.networks.iter().find(|net| net.contains(&address));
    let dmz = || of_dmz(config, address.into());
    lent(config, address)
        .map(str::to_owned)
        .or_else(|| realm().map(|net| format!("lies in {net}, which is inside")))
        .or_else(|| dmz().map(|net| format!("lies in {net}, which is the DMZ's")))
        .or_else(|| of_another(config, address))
}

/// Static mappings: from one address or network to one, and no port twice.
fn statics(config: &Config, statics: &Statics, found: &mut Problems) {
    let lines = statics.lines();
    found.within("nat.static", lines.len() as u64, 0, STATICS);
    for (i, line) in lines.iter().enumerate() {
        let key = format!("nat.static[{i}]");
        form(&key, line, found);
        outside(config, &key, line, found);
        inside(config, &key, line, found);
        if let Some(other) = lines[..i].iter().position(|other| other.overlaps(line)) {
            found.add(
                format!("{key}.external"),
                format!("{} has it already: nat.static[{other}]", said(line)),
            );
        }
        let whole = |line: &&Static| line.range().is_none();
        let shares = |other: &Static| {
            whole(&other) && (other.inside.contains(&line.inside) || line.inside.contains(&other.inside))
        };
        if let Some(other) = Some(line).filter(whole).and_then(|_| lines[..i].iter().position(shares)) {
            let what = format!("{} is another address outside already: nat.static[{other}]", line.inside);
            found.add(format!("{key}.inside"), what);
        }
    }
}

/// What a static mapping gives outside, in words.
fn said(line: &Static) -> String {
    match line.range() {
        None => format!("what lies in {}", line.external),
        Some((first, last)) if first == last => format!("port {first} of {}", line.external.addr()),
        Some((first, last)) => format!("a port of {first} to {last} of {}", line.external.addr()),
    }
}

fn form(key: &str, line: &Static, found: &mut Problems) {
    for (name, net) in [("external", line.external), ("inside", line.inside)] {
        if net.addr() != net.network() {
            found.add(format!("{key}.{name}"), format!("{net} has host bits set; write {}", net.trunc()));
        }
    }
    let Some((first, last)) = line.range() else {
        if line.external.prefix_len() != line.inside.prefix_len() {
            let what = format!("{} and {} are not of one size", line.inside, line.external);
            found.add(format!("{key}.inside"), what);
        }
        if line.protocol.is_some() || line.inside_port.is_some() {
            found.add(key, "a whole address has no ports of its own: give port or ports as well");
        }
        return;
    };
    if line.port.is_some() && line.ports.is_some() {
        found.add(format!("{key}.ports"), "port and ports: one of them was expected");
    }
    if first == 0 || first > last {
        let what = "ports from 1 to 65535 were expected, the first not behind the last";
        found.add(format!("{key}.{}", if line.ports.is_some() { "ports" } else { "port" }), what);
        return;
    }
    for (name, net) in [("external", line.external), ("inside", line.inside)] {
        if net.prefix_len() != 32 {
            found.add(format!("{key}.{name}"), format!("{net}: ports are of one address"));
        }
    }
    if let Some(inside) = line.inside_port
        && (inside == 0 || u32::from(inside) + u32::from(last - first) > 65_535)
    {
        found.add(
            format!("{key}.inside_port"),
            format!("{inside}: so many ports from there on were expected"),
        );
    }
}

/// The world must reach it, and the gateway must not need it.
fn outside(config: &Config, key: &str, line: &Static, found: &mut Problems) {
    let (net, key) = (line.external, format!("{key}.external"));
    let within = |address: &Ipv4Addr| net.contains(address);
    let realm = config.realm.networks.iter().chain([&config.realm.proxy_pool]);
    let own = |side| {
        let ports = config.port.iter().filter(move |port| port.side == side);
        ports.flat_map(|port| port.addresses.iter().map(Ipv4Net::addr))
    };
    let links = config.links();
    let no_host = links.iter().find(|link| link.contains(&net) && no_host_of(**link, net.addr()));
    if special_within(net).is_some() || special(net.addr()).is_some() {
        found.add(key, format!("{net} is no host's"));
    } else if let Some(link) = no_host.filter(|_| net.prefix_len() == 32) {
        found.add(key, format!("{} is no host's address in {}", net.addr(), link.trunc()));
    } else if realm.clone().any(|inside| inside.contains(&net) || net.contains(inside)) {
        found.add(key, format!("{net} is inside; nobody in the world would send there"));
    } else if let Some(own) = own(Side::Inside).find(within) {
        found.add(key, format!("{own} is an address of an inside port"));
    } else if let Some(dmz) = of_dmz(config, net) {
        found.add(key, format!("{net} overlaps {dmz}, which is the DMZ's"));
    } else if line.range().is_none() {
        let nat = config.nat.iter().flat_map(|nat| nat.addresses.iter().copied());
        if let Some(address) = nat.clone().find(within) {
            found.add(key, format!("{address} is one of nat.addresses: hosts share it"));
        } else if let Some((address, what)) = needed(config).into_iter().find(|(address, _)| within(address))
        {
            found.add(key, format!("{address} is {what}"));
        } else if let Some((address, whose)) = needed_outside(config, within) {
            found.add(key, format!("{address} {whose}; it cannot be ours"));
        }
    } else if let Some((address, whose)) = needed_outside(config, within) {
        found.add(key, format!("{address} {whose}; it cannot be ours"));
    } else {
        ports(config, &key, line, found);
    }
}

/// Ports that are the gateway's own.
fn ports(config: &Config, key: &str, line: &Static, found: &mut Problems) {
    let address = line.external.addr();
    let Some((first, last)) = line.range() else { return };
    let has = |port: u16| (first..=last).contains(&port);
    let of = |transport| line.transports().contains(&transport);
    // What comes to them is taken for a tunnel of ours, whichever address it comes to.
    if of(PortProtocol::Udp)
        && let Some(port) = [vxlan::PORT, geneve::PORT].into_iter().find(|port| has(*port))
    {
        found.add(key, format!("UDP port {port} is a tunnel's"));
    }
    if config.addresses().contains(&address) {
        let listening = if of(PortProtocol::Tcp) { listening(config, address) } else { Vec::new() };
        if let Some(port) = listening.into_iter().chain([DNS]).find(|port| has(*port)) {
            found.add(
                key,
                format!("port {port} is among them, where the gateway itself listens on {address}"),
            );
        } else if last >= KERNEL_PORTS {
            let whose =
                format!("the kernel opens the gateway's own connections from {KERNEL_PORTS} and above");
            found.add(key, format!("port {last}: {address} is the gateway's own, and {whose}"));
        }
    }
}

/// Addresses that the gateway cannot do without, and what they are.
fn needed(config: &Config) -> Vec<(Ipv4Addr, &'static str)> {
    let first = config.port.iter().filter_map(|port| port.addresses.first());
    let endpoints = config.cetp.endpoints.iter().filter_map(|endpoint| match endpoint.address {
        std::net::IpAddr::V4(address) => Some(address),
        std::net::IpAddr::V6(_) => None,
    });
    let locators = config.cetp.locators.iter().map(|locator| locator.address);
    let asked = config.dns.addresses.iter().filter_map(|address| match address {
        std::net::IpAddr::V4(address) => Some(*address),
        std::net::IpAddr::V6(_) => None,
    });
    first
        .map(|net| (net.addr(), "the gateway's own address on its port"))
        .chain(endpoints.map(|address| (address, "an endpoint of CETP")))
        .chain(locators.map(|address| (address, "a locator")))
        .chain(asked.map(|address| (address, "where the gateway answers DNS")))
        .collect()
}

/// Hosts that are not translated, and those in the world for whom they are not.
fn exceptions(config: &Config, pairs: &[Exception], found: &mut Problems) {
    found.within("nat.exception", pairs.len() as u64, 0, EXCEPTIONS);
    for (i, pair) in pairs.iter().enumerate() {
        let key = format!("nat.exception[{i}]");
        for (name, net) in [("inside", pair.inside), ("outside", pair.outside)] {
            if net.addr() != net.network() {
                found.add(format!("{key}.{name}"), format!("{net} has host bits set; write {}", net.trunc()));
            }
        }
        if !is_ours(config, pair.inside) {
            let what = format!("{} lies in no network of the realm or the DMZ", pair.inside);
            found.add(format!("{key}.inside"), what);
        }
        let pool = [config.realm.proxy_pool];
        let mut ours = config.realm.networks.iter().chain(&pool).filter(|_| pair.outside.prefix_len() != 0);
        if let Some(net) = ours.find(|net| net.contains(&pair.outside) || pair.outside.contains(*net)) {
            found.add(format!("{key}.outside"), format!("{} is inside: {net}", pair.outside));
        }
        if let Some(other) = pairs[..i].iter().position(|other| other == pair) {
            found.add(key, format!("the same as nat.exception[{other}]"));
        }
    }
}

/// Whether all of it lies behind the gateway.
fn is_ours(config: &Config, net: Ipv4Net) -> bool {
    config.realm.networks.iter().chain(&config.dmz()).any(|network| network.contains(&net))
}

/// The host must be one.
fn inside(config: &Config, key: &str, line: &Static, found: &mut Problems) {
    let (net, key) = (line.inside, format!("{key}.inside"));
    if !is_ours(config, net) {
        found.add(key, format!("{net} lies in no network of the realm or the DMZ"));
    } else if let Some(own) = config.addresses().into_iter().find(|own| net.contains(own)) {
        found.add(key, format!("{own} is the gateway itself"));
    } else if net.prefix_len() == 32
        && let Some(link) =
            config.links().iter().find(|link| link.contains(&net) && no_host_of(**link, net.addr()))
    {
        found.add(key, format!("{} is no host's address in {}", net.addr(), link.trunc()));
    }
}

/// Ports of one of our addresses on which the gateway itself listens.
fn listening(config: &Config, address: Ipv4Addr) -> Vec<u16> {
    let own = |port: &&PortSection| port.addresses.iter().any(|net| net.addr() == address);
    let tcp = config.port.iter().filter(own).flat_map(|port| port.tcp.iter().copied());
    let cetp = config.cetp.endpoints.iter().filter(|endpoint| endpoint.address == address);
    tcp.chain(cetp.map(|endpoint| endpoint.port)).collect()
}
