//! What the settings mean to the protocol engines: the CETP engine's own settings, the network policy where no file
//! names one, the zones and the CES records that are published.

use crate::address::OwnAddress;
use crate::platform::Platform;
use crate::registry::PolicySet;
use crate::settings::{Cetp, CoreSettings, Dns};
use ces_cetp::Policy;
use ces_cetp::engine::{self as cetp, Locator, LocatorAddress, PayloadOffer, Proto, SealingSettings};
use ces_dataplane::msg::Encapsulation;
use ces_dataplane::seal::STREAMS;
use ces_dns::guard::{Guard, Network};
use ces_dns::{naptr, resolver, zone};
use ipnet::Ipv4Net;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;

/// The port where the tutorial's form of a NAPTR record names none.
pub(crate) const DEFAULT_PORT: u16 = 48_001;

/// What the engine is told.
pub(crate) fn engine_settings(
    settings: &CoreSettings,
    policies: &PolicySet,
    platform: &Platform,
) -> Result<cetp::EngineSettings, String> {
    let cetp = &settings.cetp;
    let network_policy = match policies.network() {
        Some(policy) => Arc::clone(policy),
        None => Arc::new(default_policy(settings)?),
    };
    let locators = cetp.locators.iter().map(|locator| Locator {
        address: LocatorAddress::Ip(IpAddr::V4(locator.address)),
        preference: u32::from(locator.preference),
        order: u32::from(locator.order),
        alias: locator.alias.as_str().into(),
    });
    let payloads = cetp.payloads.iter().map(|(encapsulation, preference)| PayloadOffer {
        encapsulation: match encapsulation {
            Encapsulation::Vxlan => cetp::Encapsulation::Vxlan,
            Encapsulation::Gre => cetp::Encapsulation::Gre,
            // Agreed beside those in clear, and no payload of its own.
            Encapsulation::Geneve | Encapsulation::Psp => cetp::Encapsulation::Geneve,
        },
        preference: u32::from(preference),
    });
    Ok(cetp::EngineSettings {
        ces_id: settings.realm.ces_id.shared(),
        network_policy,
        locators: locators.collect(),
        payloads: payloads.collect(),
        trusted: cetp.trusted.iter().map(crate::names::Name::shared).collect(),
        believe_unauthenticated: has_plain(cetp),
        sealing: SealingSettings {
            encryption: cetp.encryption,
            peers: cetp.peer_encryption.iter().map(|(peer, said)| (peer.shared(), *said)).collect(),
            has_aes: platform.has_aes,
            // More cannot be told apart: nothing is encrypted.
            workers: u8::try_from(platform.workers).ok().filter(|count| *count <= STREAMS as u8).unwrap_or(0),
        },
        limits: cetp.limits.clone(),
    })
}

/// Over plain TCP nobody proves who he is: a person who opens such an endpoint believes the peer's word.
fn has_plain(cetp: &Cetp) -> bool {
    cetp.endpoints.iter().any(|endpoint| endpoint.proto == Proto::Tcp)
}

/// The network policy that the settings describe. It tells what the reference implementation's shipped policies
/// require, so that the two agree without a policy file.
fn default_policy(settings: &CoreSettings) -> Result<Policy, String> {
    let ces_id = settings.realm.ces_id.as_str();
    let tlv = |group: &str, code: &str, value: Option<Value>| {
        let mut tlv = json!({ "group": group, "code": code });
        if let Some(value) = value {
            tlv["value"] = value;
        }
        tlv
    };
    // cetp.md: saying up front that a locator family or an encapsulation is not available saves a round trip; so all
    // are listed, and the engine says of each whether we have it.
    let candidates =
        [("rloc", "ipv4"), ("rloc", "ipv6"), ("payload", "vxlan"), ("payload", "gre"), ("payload", "geneve")];
    let candidates = || candidates.into_iter().map(|(group, code)| tlv(group, code, None));
    let told = || {
        let ttl = settings.cetp.limits.dp_ttl_max_s;
        let sessions = settings.cetp.limits.sessions_per_peer;
        let own = [
            tlv("ces", "cesid", Some(json!(ces_id))),
            tlv("ces", "fw_version", Some(json!("0.1"))),
            tlv("ces", "ttl", Some(json!(ttl))),
            tlv("ces", "session_limit", Some(json!(sessions))),
            tlv("ces", "evidence_format", Some(json!("IETF-IOC1"))),
        ];
        let caces = &settings.cetp.caces;
        let caces = (!caces.is_empty()).then(|| tlv("ces", "caces", Some(json!(caces))));
        own.into_iter().chain(caces).chain(candidates())
    };
    let trusted = &settings.cetp.trusted;
    let trusted = (!trusted.is_empty())
        .then(|| json!(trusted.iter().map(crate::names::Name::as_str).collect::<Vec<_>>()));
    let mut request = vec![tlv("ces", "cesid", trusted), tlv("ces", "ttl", None)];
    request.extend(candidates());
    let mut available: Vec<Value> = told().collect();
    available.extend([tlv("ces", "pow", None), tlv("ces", "ack", None)]);
    let policy = json!({ "request": request, "offer": told().collect::<Vec<_>>(), "available": available });
    serde_json::from_value(policy).map_err(|e| format!("the network policy made of [cetp]: {e}"))
}

/// The zones, and what every served name answers to NAPTR.
pub(crate) fn zones(settings: &CoreSettings) -> Result<zone::Zones, String> {
    let Dns { name_server, addresses, mailbox, published_ttl_s, negative_ttl_s, .. } = &settings.dns;
    let mailbox = mailbox.as_ref().and_then(|name| {
        let (user, domain) = name.as_str().split_once('.')?;
        (!domain.is_empty()).then(|| format!("{user}@{domain}"))
    });
    let zones: Vec<_> = settings
        .realm
        .zones
        .iter()
        .map(|origin| zone::ZoneSettings {
            origin: origin.to_string(),
            nameservers: vec![zone::NameServer {
                name: name_server.to_string(),
                addresses: addresses.clone(),
            }],
            mailbox: mailbox.clone(),
            serial: 1,
            negative_ttl_s: *negative_ttl_s,
            ttl_s: *published_ttl_s,
            ces_ttl_s: *published_ttl_s,
        })
        .collect();
    let endpoints = settings.cetp.endpoints.iter().map(|endpoint| naptr::Endpoint {
        addr: endpoint.address,
        port: endpoint.port,
        proto: match endpoint.proto {
            Proto::Tcp => naptr::Proto::Tcp,
            Proto::Tls => naptr::Proto::Tls,
        },
        alias: endpoint.alias.as_deref().map(Arc::from),
        order: endpoint.order,
        preference: endpoint.preference,
    });
    let announcement = naptr::Announcement {
        ces_id: settings.realm.ces_id.shared(),
        endpoints: endpoints.collect(),
        forms: settings.cetp.record_forms,
    };
    zone::Zones::new(&zones, announcement.emit()).map_err(|e| e.to_string())
}

/// How the resolver asks.
pub(crate) fn resolver_settings(
    settings: &CoreSettings,
    sockets: u16,
    own: &[OwnAddress],
) -> resolver::ResolverSettings {
    let dns = &settings.dns;
    let mut resolver = resolver::ResolverSettings::default();
    resolver.servers = dns.upstreams.iter().map(|upstream| upstream.socket()).collect();
    resolver.sockets = sockets.max(1);
    resolver.deadline_ms = dns.forward_timeout_ms;
    resolver.attempt_ms = resolver.attempt_ms.min(dns.forward_timeout_ms);
    resolver.in_flight = resolver.in_flight.max(dns.waiting);
    // After a restart a crowd asks for the same few names: a fourth of all who may wait.
    resolver.waiting = resolver.waiting.max(dns.waiting_per_name).max(dns.waiting / 4);
    resolver.cache.entries = dns.cache_entries;
    resolver.randomise_case = dns.randomise_case;
    resolver.guard = guard(settings, own);
    resolver
}

/// What no answer from upstream may say: addresses of this side, and of the circular pool, which stand for whom a name of ours
/// was asked for a moment ago. Where ports of an own address are a host's by a static mapping, a name may lead there, from inside
/// as from everywhere: what else is at that address is not to be had from inside.
fn guard(settings: &CoreSettings, own: &[OwnAddress]) -> Guard {
    let network = |net: &Ipv4Net| Network { address: net.network(), prefix: net.prefix_len() };
    let realm = &settings.realm;
    let networks = realm.networks.iter().chain([&realm.proxy_pool]).map(network);
    let own = own.iter().map(|address| address.v4()).filter(|address| !settings.shared.contains(address));
    let alone = own.map(|address| Network { address, prefix: 32 });
    let pool = settings.realm_gateway.iter().flat_map(|pool| &pool.addresses).map(|part| network(&part.0));
    Guard {
        own: networks.chain(alone).chain(pool).collect(),
        private: settings.dns.filter_private,
        networks: settings.dns.private_networks.iter().map(network).collect(),
        names: settings.dns.private_names.iter().filter_map(|name| ces_dns::name(name.as_str())).collect(),
    }
}

/// A gateway's endpoint as the CETP engine wants it.
pub(crate) fn endpoint(found: &naptr::Endpoint) -> cetp::Endpoint {
    cetp::Endpoint {
        addr: found.addr,
        port: found.port,
        proto: match found.proto {
            naptr::Proto::Tcp => Proto::Tcp,
            naptr::Proto::Tls => Proto::Tls,
        },
        order: found.order,
        preference: found.preference,
        alias: found.alias.clone(),
    }
}
