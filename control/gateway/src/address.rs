//! What an address is the address of. What carries it, today an IPv4 address, is one type in this file, so that another one
//! changes this file and the border to the workers, and nothing of what is meant.
//!
//! In journals and lists for the operator each is written as the bare address.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// What carries any of them.
type Carrier = Ipv4Addr;

macro_rules! addresses {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Carrier);

        impl $name {
            /// As anybody's address.
            pub fn ip(self) -> IpAddr {
                self.0.into()
            }

            /// As the workers carry it.
            pub fn v4(self) -> Ipv4Addr {
                self.0
            }
        }

        impl From<Ipv4Addr> for $name {
            fn from(address: Ipv4Addr) -> Self {
                Self(address)
            }
        }

        impl From<[u8; 4]> for $name {
            fn from(octets: [u8; 4]) -> Self {
                Self(octets.into())
            }
        }

        impl From<$name> for IpAddr {
            fn from(address: $name) -> Self {
                address.ip()
            }
        }

        impl PartialEq<Ipv4Addr> for $name {
            fn eq(&self, other: &Ipv4Addr) -> bool {
                self.0 == *other
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

addresses! {
    /// An inside host's own: it means something in the realm alone.
    HostAddress
    /// One that stands for a far host, to one inside host alone: another host may know somebody else by it.
    ProxyAddress
    /// An end of a tunnel: ours or a peer's, in the network between the gateways.
    TunnelEnd
    /// The next hop on the way to one of the others: it has a MAC address on the link of a port.
    HopAddress
    /// One of the gateway's own, on its ports.
    OwnAddress
}

/// Where a packet of ours can be bound for: what a next hop is looked up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Destination(Carrier);

impl From<HostAddress> for Destination {
    fn from(host: HostAddress) -> Self {
        Self(host.0)
    }
}

impl From<TunnelEnd> for Destination {
    fn from(end: TunnelEnd) -> Self {
        Self(end.0)
    }
}

impl From<HopAddress> for Destination {
    fn from(hop: HopAddress) -> Self {
        Self(hop.0)
    }
}

impl Destination {
    /// Whoever has this address on the link of a port: a worker has a packet for it.
    pub(crate) fn on_a_link(address: Carrier) -> Self {
        Self(address)
    }

    /// As a table of routes looks it up.
    pub(crate) fn v4(self) -> Ipv4Addr {
        self.0
    }

    /// On a link it is its own next hop.
    pub(crate) fn on_link(self) -> HopAddress {
        HopAddress(self.0)
    }
}

impl HostAddress {
    /// The one of anybody's addresses that a host may have.
    pub(crate) fn of(address: IpAddr) -> Option<Self> {
        match address.to_canonical() {
            IpAddr::V4(address) => Some(Self(address)),
            IpAddr::V6(_) => None,
        }
    }
}

impl TunnelEnd {
    /// The one of anybody's addresses that a tunnel may end at.
    pub(crate) fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(address) => Some(Self(address)),
            IpAddr::V6(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_written_as_the_bare_address() {
        let host = HostAddress::from([192, 168, 10, 11]);
        assert_eq!(serde_json::to_string(&host).unwrap(), "\"192.168.10.11\"");
        assert_eq!(serde_json::from_str::<HostAddress>("\"192.168.10.11\"").unwrap(), host);
        assert_eq!(host.to_string(), "192.168.10.11");
    }

    #[test]
    fn a_host_that_writes_its_address_as_ipv6_is_the_same() {
        assert_eq!(HostAddress::of("::ffff:192.168.10.11".parse().unwrap()), Some([192, 168, 10, 11].into()));
        assert_eq!(HostAddress::of("2001:db8::1".parse().unwrap()), None);
    }
}
