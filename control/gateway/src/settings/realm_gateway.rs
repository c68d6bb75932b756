//! The section `[realm_gateway]`: from which pool hosts are reached by name, and how who asks proves that he is there.

use super::networks::{overlap, special_within};
use ces_dataplane::nat::network::network;
use ces_settings::Problems;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};

/// The longest that a reservation may last, in milliseconds.
pub const RESERVATION_MS_MAX: u32 = 60_000;
/// How many packets a reservation may let in beside the first; -1 = any number.
pub const LOOSE_PACKETS: std::ops::RangeInclusive<i32> = -1..=65_535;
/// The largest network of the circular pool: 4,096 addresses.
const POOL_PREFIX_MIN: u8 = 20;

/// The Realm Gateway: hosts with a service are reached by name from the plain Internet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RealmGateway {
    /// The circular pool: public addresses, or networks all of whose addresses belong to it.
    pub addresses: Vec<PoolNetwork>,
    /// How long an address is set aside for the first packet, in milliseconds, where a service does not say.
    #[serde(default = "default_reservation_timeout")]
    pub timeout_ms: u32,
    /// Sessions that the client which opened the first may open beside it before that time is over, where a service does not
    /// say; -1 = any number.
    #[serde(default)]
    pub loose_packets: i32,
    /// Pending reservations that one host may have.
    #[serde(default = "default_host_reservations")]
    pub host_reservations: u32,
    /// When a query over TCP that found no address looks once more, in milliseconds; 0 = never.
    #[serde(default = "default_retry")]
    pub retry_ms: u32,
    /// How a resolver that no group names proves that it receives what is sent to its address.
    #[serde(default)]
    pub proof: Proof,
    /// Groups of resolvers; the first that has one counts.
    #[serde(default)]
    pub resolvers: Vec<Resolvers>,
}

/// How who asks proves that he receives what is sent to his address. A cookie of ours (RFC 7873) is a truncation's worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// He does not.
    None,
    /// By coming back over TCP.
    #[default]
    Truncation,
    /// By asking for a name that he was told.
    Cname,
    /// By both.
    Both,
}

impl Proof {
    /// Whether he has to come over TCP, or with a cookie.
    pub const fn is_by_truncation(self) -> bool {
        matches!(self, Self::Truncation | Self::Both)
    }

    /// Whether he has to ask for what he was told.
    pub const fn is_by_cname(self) -> bool {
        matches!(self, Self::Cname | Self::Both)
    }
}

/// Resolvers of which the same is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolvers {
    /// Their addresses, or networks.
    pub networks: Vec<PoolNetwork>,
    /// How they prove that they are there.
    pub proof: Proof,
    /// Clients that one answer may be for: a resolver gives it to all who ask it at once.
    #[serde(default = "one")]
    pub clients: u16,
    /// Whether they are believed for whose network they ask (RFC 7871): the first packet comes from there then.
    #[serde(default)]
    pub client_subnet: bool,
}

const fn one() -> u16 {
    1
}

impl RealmGateway {
    /// The addresses of the pool.
    pub fn pool(&self) -> Vec<Ipv4Addr> {
        let mut all: Vec<_> = self.addresses.iter().flat_map(|part| part.addresses()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The group of a resolver with this address.
    pub fn group(&self, resolver: IpAddr) -> Option<&Resolvers> {
        let IpAddr::V4(resolver) = resolver else { return None };
        self.resolvers.iter().find(|group| group.networks.iter().any(|part| part.0.contains(&resolver)))
    }

    /// How a resolver with this address proves that it is there.
    pub fn proof(&self, resolver: IpAddr) -> Proof {
        self.group(resolver).map_or(self.proof, |group| group.proof)
    }

    /// What is wrong with it, where these networks are inside and these addresses the gateway's own.
    pub(super) fn check(&self, inside: &[Ipv4Net], own: &[Ipv4Addr], found: &mut Problems) {
        if self.addresses.is_empty() {
            found.add("realm_gateway.addresses", "names no address; without one nobody is reached");
        }
        for (i, PoolNetwork(network)) in self.addresses.iter().enumerate() {
            let key = format!("realm_gateway.addresses[{i}]");
            if network.addr() != network.network() {
                found.add(key.as_str(), format!("{network} has host bits set; write {}", network.trunc()));
            }
            if network.prefix_len() < POOL_PREFIX_MIN {
                found.add(
                    key,
                    format!("{network}: a prefix length from {POOL_PREFIX_MIN} to 32 was expected"),
                );
                continue;
            }
            if let Some(what) = special_within(*network) {
                found.add(key.as_str(), format!("{network} holds {what}; nobody is reached there"));
            }
            if let Some(other) = inside.iter().find(|other| overlap(**other, *network)) {
                found.add(key.as_str(), format!("{network} overlaps {other}, which is inside"));
            }
            if let Some(own) = own.iter().find(|own| network.contains(*own)) {
                found.add(
                    key.as_str(),
                    format!("{own} is the gateway's own; the pool has its addresses alone"),
                );
            }
            if let Some(other) =
                self.addresses[..i].iter().find(|PoolNetwork(other)| overlap(*other, *network))
            {
                found.add(key, format!("{network} overlaps {}", other.0));
            }
        }
        let within = [
            ("timeout_ms", self.timeout_ms, 100, RESERVATION_MS_MAX),
            ("host_reservations", self.host_reservations, 1, 1 << 20),
            ("retry_ms", self.retry_ms, 0, 10_000),
        ];
        for (key, value, least, most) in within {
            found.within(format!("realm_gateway.{key}"), value.into(), least, most.into());
        }
        for (i, group) in self.resolvers.iter().enumerate() {
            found.within(format!("realm_gateway.resolvers[{i}].clients"), group.clients.into(), 1, 1000);
            if group.networks.is_empty() {
                found.add(format!("realm_gateway.resolvers[{i}].networks"), "names no address");
            }
        }
        if !LOOSE_PACKETS.contains(&self.loose_packets) {
            found.add("realm_gateway.loose_packets", "-1 (any number) to 65535 was expected");
        }
    }
}

/// A part of the pool: a network, or an address alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolNetwork(#[serde(deserialize_with = "network")] pub Ipv4Net);

impl PoolNetwork {
    fn addresses(self) -> impl Iterator<Item = Ipv4Addr> {
        (self.0.network().to_bits()..=self.0.broadcast().to_bits()).map(Ipv4Addr::from_bits)
    }
}

const fn default_reservation_timeout() -> u32 {
    2000
}
const fn default_host_reservations() -> u32 {
    64
}
const fn default_retry() -> u32 {
    500
}
