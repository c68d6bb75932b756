//! What a person configures about the gateway: the sections `[realm]`, `[dns]`, `[cetp]` and `[realm_gateway]` of cesd's file.
//!
//! serde finds wrong keys and types, with their line; [`CoreSettings::check`] finds what is wrong between values, and names
//! the key, so that the driver can point at the line too.

mod networks;
mod realm_gateway;
mod updates;

pub use networks::{overlap, special, special_within};
#[cfg(test)]
pub(crate) use realm_gateway::default_tiers;
pub use realm_gateway::{
    LOOSE_PACKETS, PoolNetwork, Proof, RESERVATION_MS_MAX, RealmGateway, Resolvers, Tier, Wanted,
};
pub(crate) use updates::keyring;
pub use updates::{NamedAddresses, Secret, TsigKey, UpdatedService, Updates};

use crate::names::{Name, is_within};
use ces_cetp::engine::Proto;
use ces_cetp::seal::Encryption;
use ces_dataplane::msg::Encapsulation;
use ces_dataplane::table::tunnels::MTU_FLOOR;
use ces_dns::naptr::Forms;
use ces_settings::{Problem, Problems};
use ipnet::Ipv4Net;
use networks::LOOPBACK;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Longest TTL of an answer with a proxy address that is allowed, in seconds: a proxy address is not used again before
/// the last answer that named it has run out, so this bounds how long a pool stays occupied by what is gone.
pub const ANSWER_TTL_MAX_S: u32 = 3600;
/// Most bindings of one host that can be configured: half of the largest pool, so that addresses which rest after use
/// do not starve it. 2^16 bindings take 4 MiB of the worker's slab.
pub const HOST_BINDINGS_MAX: u32 = 1 << 16;
/// Endpoints that can be published: what a querier accepts in one answer (ces.md: 5).
pub const ENDPOINTS_MAX: usize = 5;

/// All sections that concern the gateway's core.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoreSettings {
    /// The realm that it serves.
    pub realm: Realm,
    /// Its name service.
    pub dns: Dns,
    /// Its signalling with other gateways.
    pub cetp: Cetp,
    /// How its hosts are reached from the plain Internet.
    #[serde(default)]
    pub realm_gateway: Option<RealmGateway>,
    /// What else is nobody's but ours: the DMZ, and addresses under which hosts are seen outside.
    #[serde(skip)]
    pub ours: Vec<Ipv4Net>,
    /// Addresses of the gateway's outside ports of which some port stands for a host, by a static mapping.
    #[serde(skip)]
    pub shared: Vec<Ipv4Addr>,
}

/// The realm behind the gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Realm {
    /// A short name for logs and metrics.
    pub name: String,
    /// Our CES id: also the CN of our certificate.
    pub ces_id: Name,
    /// The zones that we are authoritative for; every host's names lie in one of them.
    pub zones: Vec<Name>,
    /// The private networks inside; every host's address lies in one of them.
    pub networks: Vec<Ipv4Net>,
    /// Where proxy addresses come from. Each inside host has this whole pool for itself, lowest address first.
    #[serde(default = "default_proxy_pool")]
    pub proxy_pool: Ipv4Net,
    /// Most bindings that one host may have at a time; the size of the pool bounds it, too.
    #[serde(default = "default_host_bindings")]
    pub host_bindings: u32,
    /// How long a proxy address rests after its binding ended before another name of that host's gets it, in
    /// seconds. At least the longest answer TTL, or a resolver's cache may lead a host to the wrong far host.
    #[serde(default = "default_proxy_rest")]
    pub proxy_rest_s: u32,
    /// What is done where a host's address comes from another MAC address than the host's.
    #[serde(default)]
    pub mac_policy: MacPolicy,
}

/// What is done where a host's address comes from another MAC address than the host's, which is what the registry says, or the
/// first that was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MacPolicy {
    /// It is refused as long as the host's own answers; then the address has moved, which is told. What the registry says
    /// does not move.
    #[default]
    Pin,
    /// The same; and what is behind a router has to come from the router that the route to it leads over.
    Strict,
    /// It is told, and carried.
    Alarm,
    /// Nothing.
    Off,
}

impl MacPolicy {
    /// Whether another station is refused.
    pub const fn refuses(self) -> bool {
        matches!(self, Self::Pin | Self::Strict)
    }
}

/// The gateway as a name server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dns {
    /// The resolvers to ask, in order; port 53 where none is given.
    pub upstreams: Vec<UpstreamAddress>,
    /// Our own name as a name server of the zones: NS record and SOA's MNAME.
    pub name_server: Name,
    /// Our public addresses as a name server, answered for `name_server` where that lies in a zone of ours.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// The mailbox in the SOA, as a name (RFC 1035 §3.3.13).
    #[serde(default)]
    pub mailbox: Option<Name>,
    /// TTL of the first answer with a new proxy address, in seconds.
    #[serde(default = "default_new_ttl")]
    pub new_ttl_s: u32,
    /// TTL of answers with the proxy address of a pair that is connected already, in seconds.
    #[serde(default = "default_connected_ttl")]
    pub connected_ttl_s: u32,
    /// TTL of what we publish outside (NAPTR, NS, SOA), in seconds.
    #[serde(default = "default_published_ttl")]
    pub published_ttl_s: u32,
    /// TTL of negative answers, in seconds (the SOA's MINIMUM, RFC 2308 §4).
    #[serde(default = "default_negative_ttl")]
    pub negative_ttl_s: u32,
    /// How long silence to the NAPTR question of a name is waited out before the name counts as one without CES, in
    /// milliseconds: shorter than until a host's stub resolver asks again, longer than a lost packet takes.
    #[serde(default = "default_naptr_timeout")]
    pub naptr_timeout_ms: u32,
    /// How long a forwarded query is waited for, in milliseconds.
    #[serde(default = "default_forward_timeout")]
    pub forward_timeout_ms: u32,
    /// Negotiations that DNS queries may start, a second; a burst of as many. 0 = no limit.
    #[serde(default = "default_negotiation_rate")]
    pub negotiation_rate: u32,
    /// Queries of one inside host, a second; a burst of as many. 0 = no limit.
    #[serde(default = "default_host_rate")]
    pub host_rate: u32,
    /// Queries from the outside, a second; a burst of as many; beyond that they are dropped. 0 = no limit.
    #[serde(default = "default_outside_rate")]
    pub outside_rate: u32,
    /// Queries that may wait for an answer at a time.
    #[serde(default = "default_waiting")]
    pub waiting: u32,
    /// Queries that may wait for the same pair of host and name: as many as a connection may have under way.
    #[serde(default = "default_waiting_per_name")]
    pub waiting_per_name: u32,
    /// Entries of the resolver's cache.
    #[serde(default = "default_cache_entries")]
    pub cache_entries: u32,
    /// Ask upstream in a random case of letters, which a forger must guess; a server that does not keep it is found out
    /// and asked in lower case anyway.
    #[serde(default = "yes")]
    pub randomise_case: bool,
    /// Take private addresses and loopback out of what upstream answers. Those of the realm, the proxy pool and the
    /// gateway never pass, but for [`CoreSettings::shared`].
    #[serde(default = "yes")]
    pub filter_private: bool,
    /// Networks whose addresses may all the same stand in an answer.
    #[serde(default)]
    pub private_networks: Vec<Ipv4Net>,
    /// Names that may, with all below them, have private addresses.
    #[serde(default)]
    pub private_names: Vec<Name>,
    /// Zones that every resolver serves for itself (RFC 6303), but whose names upstream is asked for here.
    #[serde(default)]
    pub forward_zones: Vec<Name>,
    /// Keys that are shared with those who sign what they send (RFC 8945).
    #[serde(default)]
    pub keys: Vec<TsigKey>,
    /// Who may set which names at run time (RFC 2136), from inside.
    #[serde(default)]
    pub updates: Vec<Updates>,
}

/// A resolver to ask: an address, or an address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum UpstreamAddress {
    /// With its port.
    Socket(SocketAddr),
    /// At port 53.
    Address(IpAddr),
}

impl<'de> Deserialize<'de> for UpstreamAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = UpstreamAddress;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an address such as \"203.0.113.53\", or with its port \"203.0.113.53:5353\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<UpstreamAddress, E> {
                let address = text.parse().map(UpstreamAddress::Address);
                address
                    .or_else(|_| text.parse().map(UpstreamAddress::Socket))
                    .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl UpstreamAddress {
    /// Where to send to.
    pub fn socket(self) -> SocketAddr {
        match self {
            Self::Socket(socket) => socket,
            Self::Address(address) => SocketAddr::new(address, 53),
        }
    }
}

/// The gateway as a CETP peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cetp {
    /// Where we listen, and what NAPTR records say about it.
    pub endpoints: Vec<PublishedEndpoint>,
    /// In which forms NAPTR records say so.
    #[serde(default)]
    pub record_forms: Forms,
    /// Our addresses for tunnels, for each network over which peers reach us.
    pub locators: Vec<RoutingLocator>,
    /// Encapsulations that we speak, with our preference for each: the higher the better.
    #[serde(default)]
    pub payloads: Payloads,
    /// CES ids of the peers that may negotiate; empty = any that the transport authenticates.
    #[serde(default)]
    pub trusted: Vec<Name>,
    /// The zones in which peers' hosts have their names, by CES id.
    #[serde(default)]
    pub peer_zones: BTreeMap<Name, Vec<Name>>,
    /// Whether the paths to peers are probed for how wide they are, by ICMP echo requests to their locators.
    #[serde(default = "yes")]
    pub probe_mtu: bool,
    /// The MTU of the path to peers, by CES id, in bytes of the outer packet, where it is known to be narrower than our port.
    #[serde(default)]
    pub peer_mtu: BTreeMap<Name, u16>,
    /// Whether tunnels to peers are encrypted.
    #[serde(default)]
    pub encryption: Encryption,
    /// The same for some peers, by CES id.
    #[serde(default)]
    pub peer_encryption: BTreeMap<Name, Encryption>,
    /// Whether the word of a peer whose zones are not listed is looked up: its host has a name if the name's own CES records
    /// lead to that peer.
    #[serde(default = "yes")]
    pub look_up_names: bool,
    /// What we say when a peer's network policy asks for the address of our certificate authority (`ces.caces`); empty:
    /// we have none.
    #[serde(default)]
    pub caces: String,
    /// The same of our hosts (`control.caep`), in every policy of the short form.
    #[serde(default)]
    pub caep: String,
    /// Idle lifetime of a binding where neither policy names one, in seconds.
    #[serde(default = "default_idle_ttl")]
    pub idle_ttl_s: u16,
    /// Hard lifetime of a pair of two hosts of the realm where neither policy names one, in seconds; 0 = none. Between
    /// gateways it is `limits.dp_ttl_s`, by default none either.
    #[serde(default)]
    pub hard_ttl_s: u32,
    /// The protocol engine's limits.
    #[serde(default)]
    pub limits: ces_cetp::CetpLimits,
}

impl Cetp {
    /// Whether a name lies in a zone that is listed as some peer's.
    pub fn is_a_peers(&self, name: &str) -> bool {
        self.peer_zones.values().flatten().any(|zone| is_within(name, zone.as_str()))
    }

    /// What the lists say of a peer's word for a host's name: one of the peer's zones where they are known, and of nobody else's.
    pub fn word(&self, peer: &str, name: &str) -> Word {
        let has = |zones: &[Name]| zones.iter().any(|zone| is_within(name, zone.as_str()));
        match self.peer_zones.iter().find(|(listed, _)| listed.as_str() == peer) {
            Some((_, zones)) if has(zones) => Word::Taken,
            None if !self.peer_zones.values().any(|zones| has(zones)) => {
                if self.look_up_names {
                    Word::LookedUp
                } else {
                    Word::Believed
                }
            }
            _ => Word::Refused,
        }
    }

    /// The MTU of the path to a peer, where a person has said it.
    pub fn mtu_to(&self, peer: &str) -> Option<u16> {
        self.peer_mtu.iter().find(|(listed, _)| listed.as_str() == peer).map(|(_, mtu)| *mtu)
    }
}

/// What becomes of a peer's word for the name of its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It is believed: it says what is known anyway.
    Taken,
    /// It is believed for want of better: names are not looked up. It says whom a host of the peer's may reach, and leads none of
    /// ours anywhere.
    Believed,
    /// It is not.
    Refused,
    /// It is believed if the name's CES records say the same.
    LookedUp,
}

/// A place where peers connect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedEndpoint {
    /// The address in the NAPTR record.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// The transport.
    #[serde(default = "default_proto")]
    pub proto: Proto,
    /// The NAPTR's order: lower is tried first.
    #[serde(default = "default_order")]
    pub order: u16,
    /// The NAPTR's preference: within an order, lower is tried first.
    #[serde(default = "default_endpoint_preference")]
    pub preference: u16,
    /// The network over which it is reached, such as an Internet exchange.
    #[serde(default)]
    pub alias: Option<String>,
}

/// One of our addresses for tunnels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoutingLocator {
    /// The outer source address of what we send.
    pub address: Ipv4Addr,
    /// The network over which it is reached; two gateways pair locators of the same alias.
    #[serde(default = "default_alias")]
    pub alias: String,
    /// Our preference: higher is better.
    #[serde(default = "default_locator_preference")]
    pub preference: u16,
    /// The order in the CETP TLV: higher is better within the same preference.
    #[serde(default = "default_order")]
    pub order: u16,
}

/// The encapsulations in use, each with our preference (higher is better); absent = not spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payloads {
    /// RFC 7348.
    #[serde(default)]
    pub vxlan: Option<u16>,
    /// RFC 2784 and 2890.
    #[serde(default)]
    pub gre: Option<u16>,
    /// RFC 8926.
    #[serde(default)]
    pub geneve: Option<u16>,
}

impl Default for Payloads {
    fn default() -> Self {
        Self { vxlan: Some(80), gre: Some(60), geneve: Some(40) }
    }
}

impl Payloads {
    /// Those that are spoken.
    pub fn iter(self) -> impl Iterator<Item = (Encapsulation, u16)> {
        [
            (Encapsulation::Vxlan, self.vxlan),
            (Encapsulation::Gre, self.gre),
            (Encapsulation::Geneve, self.geneve),
        ]
        .into_iter()
        .filter_map(|(encapsulation, preference)| preference.map(|p| (encapsulation, p)))
    }
}

fn default_proxy_pool() -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(10, 64, 0, 0), 16)
}
/// Where no host has its name (RFC 6761 §6.3, §6.4; RFC 7686 §2; RFC 3172 §2), but for `home.arpa` (RFC 8375 §3).
const NOBODYS: [&str; 4] = ["localhost.", "invalid.", "onion.", "arpa."];

const fn default_host_bindings() -> u32 {
    4096
}
const fn default_proxy_rest() -> u32 {
    120
}
const fn default_new_ttl() -> u32 {
    30
}
const fn default_connected_ttl() -> u32 {
    120
}
const fn default_published_ttl() -> u32 {
    30
}
const fn default_negative_ttl() -> u32 {
    5
}
const fn default_naptr_timeout() -> u32 {
    4000
}
const fn default_forward_timeout() -> u32 {
    4000
}
const fn default_negotiation_rate() -> u32 {
    800
}
const fn default_host_rate() -> u32 {
    1000
}
const fn default_outside_rate() -> u32 {
    10_000
}
const fn default_waiting() -> u32 {
    16_384
}
const fn default_waiting_per_name() -> u32 {
    64
}
const fn default_cache_entries() -> u32 {
    65_536
}
const fn yes() -> bool {
    true
}
const fn default_idle_ttl() -> u16 {
    300
}
const fn default_proto() -> Proto {
    Proto::Tls
}
const fn default_order() -> u16 {
    100
}
const fn default_endpoint_preference() -> u16 {
    10
}
const fn default_locator_preference() -> u16 {
    100
}
fn default_alias() -> String {
    "internet".to_owned()
}

impl CoreSettings {
    /// Everything that is wrong between values, in the order of the file; empty = good. `own` are the gateway's own
    /// addresses on its ports.
    pub fn check(&self, own: &[Ipv4Addr]) -> Vec<Problem> {
        let mut found = Problems::default();
        self.check_realm(own, &mut found);
        self.check_dns(own, &mut found);
        self.check_cetp(own, &mut found);
        if let Some(realm_gateway) = &self.realm_gateway {
            realm_gateway.check(&self.inside(), own, &self.dns.keys, &mut found);
        }
        found.into_vec()
    }

    /// What is inside.
    fn inside(&self) -> Vec<Ipv4Net> {
        self.realm.networks.iter().chain([&self.realm.proxy_pool]).copied().collect()
    }

    /// Whether an address can be a peer's: none of ours, none of our hosts', and somebody's.
    pub fn may_be_a_peers(&self, address: Ipv4Addr) -> bool {
        let is_ours = self.cetp.locators.iter().any(|locator| locator.address == address)
            || self.cetp.endpoints.iter().any(|endpoint| endpoint.address == address);
        let mut inside = self.realm.networks.iter().chain([&self.realm.proxy_pool]).chain(&self.ours);
        !is_ours && special(address).is_none() && !inside.any(|network| network.contains(&address))
    }

    fn check_realm(&self, own: &[Ipv4Addr], found: &mut Problems) {
        let realm = &self.realm;
        if realm.name.is_empty() {
            found.add("realm.name", "must not be empty");
        }
        if realm.zones.is_empty() {
            found.add("realm.zones", "names no zone; without one no host can be reached by name");
        }
        for (i, zone) in realm.zones.iter().enumerate() {
            if let Some(other) = realm.zones[..i].iter().find(|z| *z == zone) {
                found.add(format!("realm.zones[{i}]"), format!("{other} is listed twice"));
            }
            let lies_in = |apex: &str| is_within(zone.as_str(), apex);
            if NOBODYS.into_iter().any(lies_in) && !lies_in("home.arpa.") {
                let what = format!("no host has its name in {zone}: it means something else to everybody");
                found.add(format!("realm.zones[{i}]"), what);
            }
        }
        if realm.networks.is_empty() {
            found.add("realm.networks", "names no network; no host could have an address");
        }
        for (i, network) in realm.networks.iter().enumerate() {
            let key = format!("realm.networks[{i}]");
            if network.addr() != network.network() {
                found.add(key.as_str(), format!("{network} has host bits set; write {}", network.trunc()));
            }
            if let Some(what) = special_within(*network) {
                found.add(key.as_str(), format!("{network} holds {what}; no host can have such an address"));
            }
            if let Some(other) = realm.networks[..i].iter().find(|o| overlap(**o, *network)) {
                found.add(key, format!("{network} overlaps {other}"));
            }
        }
        let pool = realm.proxy_pool;
        if pool.addr() != pool.network() {
            found.add("realm.proxy_pool", format!("{pool} has host bits set; write {}", pool.trunc()));
        }
        if !(8..=28).contains(&pool.prefix_len()) {
            found.add("realm.proxy_pool", format!("{pool}: a prefix length from 8 to 28 was expected"));
        }
        if let Some(what) = special_within(pool) {
            found.add("realm.proxy_pool", format!("{pool} holds {what}; hosts do not send there"));
        }
        if let Some(network) = realm.networks.iter().find(|n| overlap(**n, pool)) {
            found.add("realm.proxy_pool", format!("{pool} overlaps the realm's network {network}"));
        }
        if let Some(address) = own.iter().find(|a| pool.contains(*a)) {
            found.add("realm.proxy_pool", format!("{pool} contains the gateway's own address {address}"));
        }
        if realm.host_bindings == 0 || realm.host_bindings > HOST_BINDINGS_MAX {
            found.add("realm.host_bindings", format!("1 to {HOST_BINDINGS_MAX} was expected"));
        }
        let longest = self.dns.connected_ttl_s.max(self.dns.new_ttl_s);
        if realm.proxy_rest_s < longest {
            found.add(
                "realm.proxy_rest_s",
                format!(
                    "{} s is shorter than the longest answer TTL ({longest} s); a cached answer would lead to another \
                     host",
                    realm.proxy_rest_s
                ),
            );
        }
    }

    fn check_dns(&self, own: &[Ipv4Addr], found: &mut Problems) {
        let dns = &self.dns;
        updates::check(&dns.keys, &dns.updates, found);
        if dns.upstreams.is_empty() {
            found.add("dns.upstreams", "names no resolver");
        }
        for (i, upstream) in dns.upstreams.iter().enumerate() {
            let socket = upstream.socket();
            let key = format!("dns.upstreams[{i}]");
            let ip = socket.ip().to_canonical();
            let nobodys = match ip {
                IpAddr::V4(address) => special(address).is_some_and(|what| what != LOOPBACK),
                IpAddr::V6(address) => address.is_unspecified() || address.is_multicast(),
            };
            if nobodys || socket.port() == 0 {
                found.add(key.as_str(), format!("{socket} cannot be asked"));
            }
            if own.iter().any(|own| ip == *own) {
                found.add(key.as_str(), format!("{ip} is the gateway itself: it would ask itself for ever"));
            }
            if let IpAddr::V4(address) = ip
                && self.realm.proxy_pool.contains(&address)
            {
                found.add(key.as_str(), format!("{ip} lies in the proxy pool {}", self.realm.proxy_pool));
            }
            if dns.upstreams[..i].iter().any(|other| other.socket() == socket) {
                found.add(key, format!("{socket} is listed twice"));
            }
        }
        for (i, address) in dns.addresses.iter().map(IpAddr::to_canonical).enumerate() {
            let nobodys = match address {
                IpAddr::V4(address) => special(address).is_some(),
                IpAddr::V6(address) => {
                    address.is_unspecified() || address.is_multicast() || address.is_loopback()
                }
            };
            if nobodys {
                let what =
                    format!("{address} cannot be reached; a public address of the gateway was expected");
                found.add(format!("dns.addresses[{i}]"), what);
            }
        }
        for (key, value, least) in [
            ("dns.new_ttl_s", dns.new_ttl_s, 0),
            ("dns.connected_ttl_s", dns.connected_ttl_s, 0),
            ("dns.negative_ttl_s", dns.negative_ttl_s, 0),
        ] {
            if value < least || value > ANSWER_TTL_MAX_S {
                found.add(key, format!("{value} s: {least} to {ANSWER_TTL_MAX_S} was expected"));
            }
        }
        if dns.published_ttl_s == 0 || dns.published_ttl_s > 86_400 {
            found.add("dns.published_ttl_s", format!("{} s: 1 to 86400 was expected", dns.published_ttl_s));
        }
        for (key, value) in [
            ("dns.naptr_timeout_ms", dns.naptr_timeout_ms),
            ("dns.forward_timeout_ms", dns.forward_timeout_ms),
        ] {
            if !(10..=30_000).contains(&value) {
                found.add(key, format!("{value} ms: 10 to 30000 was expected"));
            }
        }
        for (key, value) in [
            ("dns.waiting", dns.waiting),
            ("dns.waiting_per_name", dns.waiting_per_name),
            ("dns.cache_entries", dns.cache_entries),
        ] {
            if value == 0 || value > 1 << 24 {
                found.add(key, format!("{value}: 1 to {} was expected", 1 << 24));
            }
        }
        let inside = self.realm.zones.iter().any(|zone| is_within(dns.name_server.as_str(), zone.as_str()));
        if inside && dns.addresses.is_empty() {
            found.add(
                "dns.addresses",
                format!("{} lies in a zone of ours, so its address must be given here", dns.name_server),
            );
        }
    }

    fn check_cetp(&self, own: &[Ipv4Addr], found: &mut Problems) {
        let cetp = &self.cetp;
        if cetp.endpoints.is_empty() {
            found.add("cetp.endpoints", "names no endpoint; no peer could reach us");
        }
        if cetp.endpoints.len() > ENDPOINTS_MAX {
            found.add(
                "cetp.endpoints",
                format!("{} endpoints; peers accept at most {ENDPOINTS_MAX}", cetp.endpoints.len()),
            );
        }
        for (i, endpoint) in cetp.endpoints.iter().enumerate() {
            if endpoint.port == 0 {
                found.add(format!("cetp.endpoints[{i}].port"), "1 to 65535 was expected");
            }
            if endpoint.address.is_unspecified() || endpoint.address.is_multicast() {
                found.add(
                    format!("cetp.endpoints[{i}].address"),
                    format!("{} cannot be connected to", endpoint.address),
                );
            }
            if let Some(bad) = endpoint.alias.as_deref().and_then(wrong_alias) {
                found.add(format!("cetp.endpoints[{i}].alias"), bad);
            }
            let same = |o: &PublishedEndpoint| (o.address, o.port) == (endpoint.address, endpoint.port);
            if cetp.endpoints[..i].iter().any(same) {
                found.add(
                    format!("cetp.endpoints[{i}]"),
                    format!("{}:{} is listed twice", endpoint.address, endpoint.port),
                );
            }
        }
        if cetp.locators.is_empty() {
            found.add("cetp.locators", "names no locator; no tunnel could be agreed");
        }
        for (i, locator) in cetp.locators.iter().enumerate() {
            if !own.is_empty() && !own.contains(&locator.address) {
                found.add(
                    format!("cetp.locators[{i}].address"),
                    format!("{} is not an address of one of our ports", locator.address),
                );
            }
            let same =
                |other: &RoutingLocator| (other.address, &other.alias) == (locator.address, &locator.alias);
            if cetp.locators[..i].iter().any(same) {
                let what = format!("{} is listed twice for \"{}\"", locator.address, locator.alias);
                found.add(format!("cetp.locators[{i}]"), what);
            }
            if let Some(bad) = wrong_alias(&locator.alias) {
                found.add(format!("cetp.locators[{i}].alias"), bad);
            }
        }
        if cetp.payloads.iter().next().is_none() {
            found.add("cetp.payloads", "names no encapsulation; vxlan, gre or geneve was expected");
        }
        for (key, said) in [("cetp.caces", &cetp.caces), ("cetp.caep", &cetp.caep)] {
            if said.len() > 255 || said.chars().any(char::is_control) {
                found.add(key, "255 characters at most were expected: an address or a name");
            }
        }
        if cetp.idle_ttl_s == 0 {
            found.add("cetp.idle_ttl_s", "1 to 65535 seconds was expected; a binding must not stay for ever");
        }
        if let Err(message) = cetp.limits.check() {
            found.add("cetp.limits", message);
        }
        for (i, peer) in cetp.trusted.iter().enumerate() {
            if *peer == self.realm.ces_id {
                found.add(format!("cetp.trusted[{i}]"), format!("{peer} is our own CES id"));
            }
        }
        for (peer, mtu) in cetp.peer_mtu.iter().filter(|(_, mtu)| **mtu < MTU_FLOOR) {
            let why = format!("{peer}: {mtu} bytes are fewer than every host takes ({MTU_FLOOR}, RFC 791)");
            found.add("cetp.peer_mtu".to_owned(), why);
        }
        for (peer, zones) in &cetp.peer_zones {
            let key = || "cetp.peer_zones".to_owned();
            if *peer == self.realm.ces_id {
                found.add(key(), format!("{peer} is our own CES id"));
            }
            let ours =
                |zone: &&Name| self.realm.zones.iter().any(|own| is_within(zone.as_str(), own.as_str()));
            for zone in zones.iter().filter(ours) {
                found.add(key(), format!("{zone} is a zone of our own, and none of {peer}"));
            }
        }
    }
}

/// `?`, `!` and `=` have a meaning in the NAPTR's regular expression.
fn wrong_alias(alias: &str) -> Option<String> {
    let bad = alias.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.'));
    match bad {
        Some(c) => Some(format!("an alias consists of letters, digits, '-', '_' and '.', not {c:?}")),
        None if alias.is_empty() || alias.len() > 32 => Some("an alias has 1 to 32 characters".to_owned()),
        None => None,
    }
}
