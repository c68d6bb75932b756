//! What is configured. It has been checked: subnets and pools do not overlap, pools lie within their subnet.

use crate::{HardwareAddress, PortNumber};
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The subnets whose hosts get addresses.
    pub subnets: Vec<Subnet>,
    /// Addresses that are somebody's.
    pub reservations: Vec<ReservedAddress>,
    /// The gateway's own addresses.
    pub own: Vec<Ipv4Addr>,
    /// How long a probe of an address is waited for, in milliseconds; 0 = none is probed.
    pub probe_ms: u32,
    /// How long an offer holds, in seconds.
    pub offer_s: u32,
    /// How long an address that somebody else uses is given to nobody, in seconds.
    pub decline_s: u32,
    /// Messages a second of one client; twice as many at once.
    pub client_rate: u32,
    /// Messages a second by one port or relay; as many at once.
    pub link_rate: u32,
    /// Addresses of pools that one station on a link, or one line of a relay (option 82), may have; 0 = any number.
    pub station_leases: u32,
    /// Whether hosts are called what they call themselves.
    pub names: bool,
    /// Whether a lease is the station's alone that it was made with, as long as that answers.
    pub are_owners_asked: bool,
    /// Whether a lease is acknowledged only when it has been written down.
    pub is_written: bool,
}

/// A network with what its hosts get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// The network.
    pub network: Ipv4Net,
    /// The port on whose link it is, and the gateway's address there; none: it is behind relays.
    pub link: Option<(PortNumber, Ipv4Addr)>,
    /// The addresses that anybody gets: first and last of each range.
    pub pools: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// How long an address is leased, in seconds.
    pub lease_s: u32,
    /// What its hosts are told.
    pub given: Given,
}

/// What hosts are told beside their address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Default routers.
    pub routers: Vec<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// The domain.
    pub domain: Option<String>,
    /// Time servers.
    pub ntp: Vec<Ipv4Addr>,
    /// Routes (RFC 3442); where there are any, the default route is one of them.
    pub routes: Vec<(Ipv4Net, Ipv4Addr)>,
    /// The MTU of the link.
    pub mtu: Option<u16>,
    /// Where the captive portal says what it wants (RFC 8910).
    pub captive_portal: Option<String>,
    /// Who serves the boot file: `siaddr`.
    pub boot_server: Option<Ipv4Addr>,
    /// The same by name (option 66).
    pub boot_server_name: Option<String>,
    /// The boot file (option 67).
    pub boot_file: Option<String>,
}

/// An address that is not for everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservedAddress {
    /// The address.
    pub address: Ipv4Addr,
    /// Whose it is.
    pub whose: Whose,
    /// What the host is called, which it is told (option 12).
    pub name: Option<Box<str>>,
}

/// Whose an address is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The client's with this hardware address.
    Hardware(HardwareAddress),
    /// The client's with this identifier (option 61).
    Identifier(Box<[u8]>),
    /// A host's that does not ask for it.
    Nobodys,
}

/// Whether the address is that of a pool.
pub(crate) fn in_pool(subnet: &Subnet, address: Ipv4Addr) -> bool {
    subnet.pools.iter().any(|(first, last)| (*first..=*last).contains(&address))
}
