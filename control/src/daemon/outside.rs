//! Whether an address can be a peer's: anybody may write anything into a NAPTR record, the gateway's own services and its
//! hosts among it.

use crate::config::Config;
use ces_dataplane::settings::Side;
use ces_gateway::Routes;
use ces_gateway::settings::special;
use std::net::IpAddr;

/// Whether a route leads from an outside port to this address, and it is nothing of ours; if not, why.
pub(super) fn leads_there(address: IpAddr, config: &Config, routes: &Routes) -> Result<(), &'static str> {
    let IpAddr::V4(address) = address else { return Err("only IPv4 is spoken") };
    if special(address).is_some() {
        return Err("the address is no host's");
    }
    if config.addresses().contains(&address) {
        return Err("it is the gateway's own address");
    }
    if config.realm.networks.iter().any(|network| network.contains(&address)) {
        return Err("the address lies in the realm");
    }
    if config.realm.proxy_pool.contains(&address) {
        return Err("the address lies in the proxy pool");
    }
    let (port, _) = routes.lead(address).ok_or("no route leads there")?;
    match config.port.get(usize::from(port)).map(|port| port.side) {
        Some(Side::Outside) => Ok(()),
        _ => Err("the route there leads inside"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ces_gateway::LearntRoute;

    #[test]
    fn c9_peers_are_where_a_route_leads_outside_and_nowhere_else() {
        let config = crate::config::parse("example", include_str!("../../cesd.example.toml")).unwrap();
        let routes: Routes = [
            ("192.168.10.0/24", None, 0),
            ("10.99.0.0/16", Some([192, 168, 10, 9]), 0),
            ("192.0.2.0/30", None, 1),
            ("198.51.100.0/24", Some([192, 0, 2, 1]), 1),
        ]
        .into_iter()
        .map(|(network, via, port)| {
            let via = via.map(<[u8; 4]>::into);
            LearntRoute { network: network.parse().unwrap(), via, port }
        })
        .collect();
        for (address, expected) in [
            ("198.51.100.2", Ok(())),
            ("192.0.2.1", Ok(())),
            ("127.0.0.1", Err("the address is no host's")),
            ("0.0.0.0", Err("the address is no host's")),
            ("224.0.0.5", Err("the address is no host's")),
            ("240.0.0.1", Err("the address is no host's")),
            ("255.255.255.255", Err("the address is no host's")),
            ("169.254.1.1", Err("the address is no host's")),
            ("192.0.2.2", Err("it is the gateway's own address")),
            ("192.168.10.1", Err("it is the gateway's own address")),
            ("192.168.10.11", Err("the address lies in the realm")),
            ("10.64.0.1", Err("the address lies in the proxy pool")),
            ("10.99.1.1", Err("the route there leads inside")),
            ("203.0.113.9", Err("no route leads there")),
            ("::1", Err("only IPv4 is spoken")),
        ] {
            assert_eq!(leads_there(address.parse().unwrap(), &config, &routes), expected, "{address}");
        }
    }
}
