//! DHCP: what can be said of it.

use ces_gateway::names::Name;
use ces_gateway::registry::MacEntry;
use ipnet::Ipv4Net;
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use std::net::Ipv4Addr;

/// `[dhcp]`: the hosts get their addresses from the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DhcpSection {
    /// The subnets.
    pub subnet: Vec<DhcpSubnet>,
    /// Addresses that are some client's, beside those of hosts whose MAC address the registry names.
    #[serde(default)]
    pub reservation: Vec<DhcpReservation>,
    /// Whether hosts are called in the realm's zone what they call themselves.
    #[serde(default = "default_names")]
    pub names: bool,
    /// How long an answer to the probe of an address is waited for, in milliseconds; 0 = no probe.
    #[serde(default = "default_probe")]
    pub probe_ms: u32,
    /// How long an offer holds, in seconds.
    #[serde(default = "default_offer")]
    pub offer_s: u32,
    /// How long an address that somebody else uses is given to nobody, in seconds.
    #[serde(default = "default_decline")]
    pub decline_s: u32,
    /// Messages a second of one client.
    #[serde(default = "default_client_rate")]
    pub client_rate: u32,
    /// Messages a second by one port or relay.
    #[serde(default = "default_link_rate")]
    pub link_rate: u32,
    /// Addresses of pools that one station on a link, or one line of a relay, may have; 0 = any number.
    #[serde(default = "default_station_leases")]
    pub station_leases: u32,
}

/// `[[dhcp.subnet]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DhcpSubnet {
    /// The network: that of an inside port's link, or one behind relays.
    pub network: Ipv4Net,
    /// The addresses that anybody gets.
    #[serde(default)]
    pub pools: Vec<AddressRange>,
    /// How long an address is leased, in seconds.
    #[serde(default = "default_lease")]
    pub lease_s: u32,
    /// Default routers; without it, on a link of ours, the gateway.
    pub routers: Option<Vec<Ipv4Addr>>,
    /// Name servers; without it the gateway.
    pub dns: Option<Vec<Ipv4Addr>>,
    /// The domain; without it the realm's first zone.
    pub domain: Option<Name>,
    /// Time servers.
    #[serde(default)]
    pub ntp: Vec<Ipv4Addr>,
    /// Routes beside the default route.
    #[serde(default)]
    pub routes: Vec<DhcpRoute>,
    /// The MTU.
    pub mtu: Option<u16>,
    /// Where the captive portal says what it wants.
    pub captive_portal: Option<String>,
    /// Who serves the boot file.
    pub boot_server: Option<Ipv4Addr>,
    /// The same by name.
    pub boot_server_name: Option<String>,
    /// The boot file.
    pub boot_file: Option<String>,
}

/// A route that hosts are told.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DhcpRoute {
    /// The network.
    pub to: Ipv4Net,
    /// The next hop.
    pub via: Ipv4Addr,
}

/// `[[dhcp.reservation]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DhcpReservation {
    /// The address.
    pub address: Ipv4Addr,
    /// The client's MAC address.
    pub mac: Option<MacEntry>,
    /// The client's identifier (option 61), in hexadecimal.
    pub client_id: Option<ClientId>,
}

/// A range of addresses, such as `192.168.10.100-192.168.10.199`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange(pub Ipv4Addr, pub Ipv4Addr);

/// A client identifier, such as `ff:00:00:00:01:00:01`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientId(pub Box<[u8]>);

/// Reads a text as a value, or says what was expected.
fn from_text<'de, T, D: Deserializer<'de>>(
    deserializer: D,
    expected: &'static str,
    parse: fn(&str) -> Option<T>,
) -> Result<T, D::Error> {
    struct Text<T>(&'static str, fn(&str) -> Option<T>);
    impl<T> Visitor<'_> for Text<T> {
        type Value = T;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            (self.1)(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
        }
    }
    deserializer.deserialize_str(Text(expected, parse))
}

impl<'de> Deserialize<'de> for AddressRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a range such as \"192.168.10.100-192.168.10.199\"", |text| {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            Some(Self(first.trim().parse().ok()?, last.trim().parse().ok()?))
        })
    }
}

impl<'de> Deserialize<'de> for ClientId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "2 to 255 octets such as \"ff:00:00:00:01:00:01\"", |text| {
            let octet = |part: &str| u8::from_str_radix(part, 16).ok().filter(|_| part.len() == 2);
            let octets = text.split(':').map(octet).collect::<Option<Vec<_>>>()?;
            (2..=255).contains(&octets.len()).then(|| Self(octets.into()))
        })
    }
}

const fn default_names() -> bool {
    true
}
const fn default_probe() -> u32 {
    300
}
const fn default_offer() -> u32 {
    60
}
const fn default_decline() -> u32 {
    600
}
const fn default_client_rate() -> u32 {
    10
}
const fn default_link_rate() -> u32 {
    2000
}
const fn default_station_leases() -> u32 {
    16
}
const fn default_lease() -> u32 {
    12 * 3600
}
