//! Networks that are no host's, and such as have something in common.

use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

pub(super) const LOOPBACK: &str = "loopback addresses (127.0.0.0/8)";

/// Networks that are nobody's to give to a host (RFC 6890 §2.2.2, RFC 5771 §3).
const SPECIAL: [(Ipv4Net, &str); 5] = [
    (Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 8), "addresses of \"this network\" (0.0.0.0/8)"),
    (Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8), LOOPBACK),
    (Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16), "link-local addresses (169.254.0.0/16)"),
    (Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4), "multicast addresses (224.0.0.0/4)"),
    (Ipv4Net::new_assert(Ipv4Addr::new(240, 0, 0, 0), 4), "reserved addresses (240.0.0.0/4)"),
];

/// What an address is that is no host's.
pub fn special(address: Ipv4Addr) -> Option<&'static str> {
    SPECIAL.iter().find(|(network, _)| network.contains(&address)).map(|(_, what)| *what)
}

/// What a network holds that is no host's.
pub fn special_within(network: Ipv4Net) -> Option<&'static str> {
    SPECIAL.iter().find(|(special, _)| overlap(*special, network)).map(|(_, what)| *what)
}

/// Whether some address is in both.
pub fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b) || b.contains(&a)
}
