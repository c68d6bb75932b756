//! From all files together to the registry and its policies.

use super::complaints::Complaints;
use super::hosts::{DEFAULT_GROUP, HostEntry, Registry, Service};
use super::policy::PolicySet;
use super::{compile, file, json};
use crate::names::{Name, is_within};
use crate::settings::{CoreSettings, LOOSE_PACKETS, RESERVATION_MS_MAX, UpdatedService};
use ces_cetp::engine::Direction;
use ces_dataplane::nat::Space;
use ces_settings::{FileError, SourceFile};
use ipnet::Ipv4Net;
use rustc_hash::FxHashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Reads hosts and policies out of all files together: a host may name a policy of another file. All errors of all
/// files are found before any is reported.
pub fn load(files: &[SourceFile], settings: &CoreSettings) -> Result<(Registry, PolicySet), Vec<FileError>> {
    load_behind(files, settings, &[])
}

/// As [`load`], behind a gateway that has these addresses, each with its link: no host may have one of them, or an address
/// of a link that is no host's.
pub fn load_behind(
    files: &[SourceFile],
    settings: &CoreSettings,
    own: &[Ipv4Net],
) -> Result<(Registry, PolicySet), Vec<FileError>> {
    let mut complaints = Complaints::default();
    let mut hosts = Vec::new();
    let mut named = Vec::new();
    let mut policies = PolicySet::default();
    for source in files {
        let is_json =
            std::path::Path::new(&source.path).extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
        if is_json {
            json::read(source, settings, &mut policies, &mut complaints);
        } else {
            match file::read(source) {
                Ok(file) => {
                    hosts.extend(file.host.into_iter().map(|host| (source, host)));
                    named.extend(file.policy.into_iter().map(|policy| (source, policy)));
                }
                Err(error) => complaints.push(error),
            }
        }
    }

    let mut by_policy_name: FxHashMap<String, (&SourceFile, usize)> = FxHashMap::default();
    let mut bodies = Vec::new();
    let mut spans = Vec::new();
    for (source, policy) in named {
        let name = policy.name.get_ref().clone();
        if let Some((other, _)) = by_policy_name.get(&name) {
            let place =
                if other.path == source.path { String::new() } else { format!(" (also in {})", other.path) };
            let message = format!("policy {name:?} is defined twice{place}");
            complaints.add(source, policy.name.span(), message);
            continue;
        }
        let before = complaints.len();
        file::check_policy(source, &policy, &mut complaints);
        let body = match compile::compile(&policy, &settings.cetp.caep) {
            Ok(body) => Some(body),
            Err(message) => {
                if complaints.len() == before {
                    complaints.add(source, policy.name.span(), format!("policy {name:?}: {message}"));
                }
                None
            }
        };
        by_policy_name.insert(name, (source, bodies.len()));
        spans.push(policy.name.span());
        bodies.push(body);
    }

    let known = known_names(by_policy_name.keys());
    let mut used = vec![false; bodies.len()];
    let mut seen_names: FxHashMap<Name, Name> = FxHashMap::default();
    let mut seen_addresses: FxHashMap<Ipv4Addr, Name> = FxHashMap::default();
    let mut entries = Vec::new();
    for (source, host) in hosts {
        let name = host.name.get_ref().clone();
        let address = *host.address.get_ref();
        let mut add = |span, message: String| complaints.add(source, span, message);
        check_name(&name, &name, settings, &mut seen_names, |m| add(host.name.span(), m));
        if !settings.realm.networks.iter().any(|network| network.contains(&address)) {
            let networks: Vec<_> = settings.realm.networks.iter().map(ToString::to_string).collect();
            let networks = networks.join(", ");
            add(
                host.address.span(),
                format!("{name}: {address} lies in no network of the realm ({networks})"),
            );
        }
        if let Some(wrong) = no_hosts_address(address, settings, own) {
            add(host.address.span(), format!("{name}: {wrong}"));
        }
        if let Some(other) = seen_addresses.insert(address, name.clone()) {
            add(host.address.span(), format!("{name}: {address} is the address of {other} already"));
        }
        let own = host.policy.as_ref();
        let mut services = Vec::new();
        let mut attach = Vec::new();
        attach.extend(own.map(|list| (name.clone(), list, true)));
        for service in &host.services {
            let entry = service.get_ref();
            check_name(&entry.name, &name, settings, &mut seen_names, |m| add(service.span(), m));
            services.push(entry.name.clone());
            // A service without policies of its own is reached as its host is.
            attach.extend(entry.policy.as_ref().or(own).map(|list| (entry.name.clone(), list, false)));
        }
        let mut inbound: Vec<Service> = Vec::new();
        for entry in &host.inbound {
            let service = match inbound_service(entry.get_ref(), &name) {
                Ok(service) => service,
                Err(wrong) => {
                    add(entry.span(), format!("{name}: {wrong}"));
                    continue;
                }
            };
            if inbound.iter().any(|other| other.name == service.name) {
                add(entry.span(), format!("{} is listed twice in `inbound`", service.name));
                continue;
            }
            if service.name != name && !services.contains(&service.name) {
                check_name(&service.name, &name, settings, &mut seen_names, |m| add(entry.span(), m));
                services.push(service.name.clone());
            }
            inbound.push(service);
        }
        for (local, list, is_host) in attach {
            for wanted in &list.get_ref().0 {
                let Some((_, index)) = by_policy_name.get(wanted) else {
                    add(list.span(), format!("{local}: there is no policy {wanted:?} ({known})"));
                    continue;
                };
                used[*index] = true;
                let Some(body) = &bodies[*index] else { continue };
                // Services do not ask: outbound rules are the host's own.
                for rule in body.outbound.iter().filter(|_| is_host) {
                    policies.add(&local, Direction::Outbound, Arc::clone(rule));
                }
                for rule in &body.inbound {
                    policies.add(&local, Direction::Inbound, Arc::clone(rule));
                }
            }
        }
        let mut groups = Vec::new();
        if let Some(listed) = &host.groups {
            for group in &listed.get_ref().0 {
                match check_group(group) {
                    Ok(()) => groups.push(Arc::from(group.as_str())),
                    Err(wrong) => add(listed.span(), format!("{name}: {wrong}")),
                }
            }
        }
        entries.push(HostEntry { name, address: address.into(), mac: host.mac, services, inbound, groups });
    }
    let mut wrong = |message| {
        complaints.push(FileError { path: "dns.updates".to_owned(), line: None, message });
    };
    for rule in &settings.dns.updates {
        if let Some(Err(message)) = rule.inbound.map(|inbound| inbound_of(inbound, &rule.key)) {
            wrong(message);
        }
        let Some(policy) = &rule.policy else { continue };
        match by_policy_name.get(policy) {
            Some((_, index)) => used[*index] = true,
            None => wrong(format!("there is no policy {policy:?} ({known})")),
        }
    }
    if complaints.len() == 0 {
        for (name, (source, index)) in by_policy_name.iter().filter(|(_, (_, index))| !used[*index]) {
            let message = format!("no host uses policy {name:?}");
            policies.warn(complaints.at(source, spans[*index].clone(), message));
        }
        for (name, (_, index)) in &by_policy_name {
            if let Some(body) = bodies[*index].take() {
                policies.keep(name, body);
            }
        }
        let registry = Registry::new(entries);
        policies.warn_about_strangers(&registry);
        Ok((registry, policies))
    } else {
        Err(complaints.into_vec())
    }
}

/// What is reached by a name that came at run time.
pub(crate) fn inbound_of(service: UpdatedService, name: &Name) -> Result<Service, String> {
    let entry = file::Inbound {
        name: None,
        protocol: service.protocol,
        port: service.port,
        loose_packets: None,
        timeout_ms: None,
    };
    inbound_service(&entry, name)
}

/// What a host's entry for the plain Internet says.
fn inbound_service(entry: &file::Inbound, host: &Name) -> Result<Service, String> {
    let protocol = entry.protocol.map_or(0, |protocol| protocol.0);
    let port = entry.port.unwrap_or(0);
    let lacks_ports = protocol != 0 && Space::of(protocol).is_none_or(|space| space == Space::Icmp);
    if entry.port == Some(0) {
        return Err("`port` = 0: 1 to 65535 was expected; leave it out for all of them".to_owned());
    }
    if lacks_ports && port != 0 {
        return Err(format!("protocol {protocol} has no ports that the gateway looks at"));
    }
    if entry.loose_packets.is_some_and(|loose| !LOOSE_PACKETS.contains(&loose)) {
        return Err("`loose_packets`: -1 (any number) to 65535 was expected".to_owned());
    }
    if entry.timeout_ms.is_some_and(|timeout| !(100..=RESERVATION_MS_MAX).contains(&timeout)) {
        return Err(format!("`timeout_ms`: 100 to {RESERVATION_MS_MAX} was expected"));
    }
    Ok(Service {
        name: entry.name.clone().unwrap_or_else(|| host.clone()),
        port,
        protocol,
        loose_packets: entry.loose_packets,
        timeout_ms: entry.timeout_ms,
    })
}

/// A group has a name that rules can say.
fn check_group(group: &str) -> Result<(), String> {
    if group == DEFAULT_GROUP {
        Err(format!("the group {group:?} is that of all hosts that no file names"))
    } else if ces_settings::is_name(group) {
        Ok(())
    } else {
        Err(format!(
            "{group:?} is no name of a group: 1 to 63 letters, digits, '-', '_' or '.' were expected"
        ))
    }
}

/// Policies that are named to who asked for another one, at most.
const KNOWN: usize = 10;

fn known_names<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let mut known: Vec<_> = names.map(String::as_str).collect();
    known.sort_unstable();
    match known.len() {
        0 => "none is defined".to_owned(),
        1..=KNOWN => known.join(", "),
        more => format!("{} and {} more", known[..KNOWN].join(", "), more - KNOWN),
    }
}

/// Why no host can have this address.
pub(crate) fn no_hosts_address(
    address: Ipv4Addr,
    settings: &CoreSettings,
    own: &[Ipv4Net],
) -> Option<String> {
    if own.iter().any(|net| net.addr() == address) {
        return Some(format!("{address} is the gateway's own"));
    }
    // On a link of two, and for a single address, every address is a host's (RFC 3021 §2.1).
    let mut links = own.iter().chain(&settings.realm.networks).filter(|net| net.prefix_len() < 31);
    let link = links.find(|net| address == net.network() || address == net.broadcast())?;
    let what = if address == link.network() { "the network itself" } else { "its broadcast address" };
    Some(format!("{address} is no host's: in {} it is {what}", link.trunc()))
}

fn check_name(
    name: &Name,
    host: &Name,
    settings: &CoreSettings,
    seen: &mut FxHashMap<Name, Name>,
    mut add: impl FnMut(String),
) {
    let zones = &settings.realm.zones;
    match zones.iter().find(|zone| is_within(name.as_str(), zone.as_str())) {
        None => {
            let zones: Vec<_> = zones.iter().map(Name::as_str).collect();
            add(format!("{name} lies in no zone of the realm ({})", zones.join(", ")));
        }
        Some(zone) if zone == name => add(format!("{name} is the zone itself; a host needs a name below it")),
        Some(_) => {}
    }
    if *name == settings.dns.name_server {
        add(format!("{name} is the name of the gateway's own name server"));
    }
    if let Some(other) = seen.insert(name.clone(), host.clone()) {
        add(if other == *host {
            format!("{name} is listed twice")
        } else {
            format!("{name} belongs to {other} already")
        });
    }
}
