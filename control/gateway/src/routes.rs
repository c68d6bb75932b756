//! Which next hop leads to an address, and under which id the workers know it.

use ces_dataplane::msg::PortId;
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// One route, as the driver learns it from the kernel or the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it leads.
    pub network: Ipv4Net,
    /// The next hop; `None` = the network is on the link.
    pub via: Option<Ipv4Addr>,
    /// The port that it leaves by.
    pub port: PortId,
}
