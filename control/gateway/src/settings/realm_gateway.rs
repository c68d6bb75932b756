//! The section `[realm_gateway]`: from which pool hosts are reached by name, and how who asks proves that he is there.

use super::TsigKey;
use super::networks::{overlap, special_within};
use crate::names::Name;
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
    /// Who asks is asked a reputation for, the better the busier the pool is: from these loads on. Who is of a group is not.
    #[serde(default = "default_tiers")]
    pub tiers: Vec<Tier>,
    /// Who has less reputation than this has no more than an equal share of the addresses set aside at a time.
    #[serde(default = "default_share_below")]
    pub share_below: f32,
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
    /// Their addresses, or networks; empty: wherever they are, by their key.
    #[serde(default)]
    pub networks: Vec<PoolNetwork>,
    /// The key by which they sign what they ask (RFC 8945), one of `dns.keys`.
    #[serde(default)]
    pub key: Option<Name>,
    /// How they prove that they are there.
    pub proof: Proof,
    /// Clients that one answer may be for: a resolver gives it to all who ask it at once.
    #[serde(default = "one")]
    pub clients: u16,
    /// Whether they are believed for whose network they ask (RFC 7871): the first packet comes from there then.
    #[serde(default)]
    pub client_subnet: bool,
    /// Whether they need a reputation as those do whom no group names.
    #[serde(default)]
    pub reputation: bool,
}

/// What a reputation has to be, from 0 to 1, from a load of the pool on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Addresses of a hundred of which something is set aside.
    pub load: u32,
    /// For a full name, which takes an address alone.
    pub full_name: f32,
    /// For a service that takes an address of which nothing is set aside yet.
    pub service: f32,
    /// For one that shares an address.
    pub shared: f32,
}

/// What is to be set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// An address alone.
    Full,
    /// An address of which nothing is set aside yet.
    Service,
    /// Something of an address of which something else is.
    Shared,
}

impl Tier {
    /// The least reputation for what is wanted.
    pub(crate) const fn least(&self, wanted: Wanted) -> f32 {
        match wanted {
            Wanted::Full => self.full_name,
            Wanted::Service => self.service,
            Wanted::Shared => self.shared,
        }
    }
}

/// Whoever nobody knows has 0.45: he has a full name until a tenth of the pool is left, and who never comes, until a third is
/// taken.
pub(crate) fn default_tiers() -> Vec<Tier> {
    let tier = |load, full_name, service, shared| Tier { load, full_name, service, shared };
    vec![tier(33, 0.25, 0.2, 0.0), tier(66, 0.4, 0.35, 0.2), tier(90, 0.6, 0.5, 0.3)]
}

const fn default_share_below() -> f32 {
    0.6
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

    /// The group of a resolver with this address, which signed by this key.
    pub fn group(&self, resolver: IpAddr, key: Option<&str>) -> Option<&Resolvers> {
        let is_of = |networks: &[PoolNetwork]| match resolver {
            IpAddr::V4(resolver) => networks.iter().any(|part| part.0.contains(&resolver)),
            IpAddr::V6(_) => false,
        };
        self.resolvers.iter().find(|group| {
            let is_there = group.networks.is_empty() && group.key.is_some() || is_of(&group.networks);
            is_there && group.key.as_ref().is_none_or(|own| key == Some(own.as_str()))
        })
    }

    /// What is wrong with it, where these networks are inside and these addresses the gateway's own.
    pub(super) fn check(&self, inside: &[Ipv4Net], own: &[Ipv4Addr], keys: &[TsigKey], found: &mut Problems) {
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
            if group.networks.is_empty() && group.key.is_none() {
                found.add(
                    format!("realm_gateway.resolvers[{i}].networks"),
                    "names no address, and `key` no key",
                );
            }
            if let Some(key) = group.key.as_ref().filter(|key| !keys.iter().any(|known| known.name == **key))
            {
                found.add(
                    format!("realm_gateway.resolvers[{i}].key"),
                    format!("there is no key {key} in `dns.keys`"),
                );
            }
        }
        for (i, tier) in self.tiers.iter().enumerate() {
            let is_higher = i == 0 || self.tiers[i - 1].load < tier.load;
            if !is_higher || tier.load > 100 {
                found.add(
                    format!("realm_gateway.tiers[{i}].load"),
                    "0 to 100, each above the one before it, was expected",
                );
            }
            for (key, value) in
                [("full_name", tier.full_name), ("service", tier.service), ("shared", tier.shared)]
            {
                if !(0.0..=1.0).contains(&value) {
                    found.add(format!("realm_gateway.tiers[{i}].{key}"), "0.0 to 1.0 was expected");
                }
            }
        }
        if !(0.0..=1.0).contains(&self.share_below) {
            found.add("realm_gateway.share_below", "0.0 to 1.0 was expected");
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
