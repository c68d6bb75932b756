//! Addresses on links.

use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// Whether the address is the link's own or its broadcast address; on a link of two there are none (RFC 3021 §2.1).
pub(super) fn no_host_of(net: Ipv4Net, address: Ipv4Addr) -> bool {
    net.prefix_len() < 31 && (address == net.network() || address == net.broadcast())
}
