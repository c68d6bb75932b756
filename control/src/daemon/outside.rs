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
    if config.is_ours(address) {
        return Err("the address is the DMZ's, or one under which our hosts are seen");
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

    /// NAT44, static mappings and the circular pool: the kernel takes their addresses for its own.
    #[test]
    fn c9_no_peer_is_where_our_hosts_are_seen_nor_in_the_dmz() {
        let mut config = crate::config::parse("example", include_str!("../../cesd.example.toml")).unwrap();
        let net = |text: &str| text.parse().unwrap();
        config.nat.as_mut().unwrap().addresses.push([198, 51, 100, 7].into());
        config.port.push(crate::config::PortSection {
            name: "dmz".into(),
            side: Side::Dmz,
            addresses: vec![net("198.51.100.65/28")],
            ..config.port[1].clone()
        });
        let lead = |(network, port)| LearntRoute { network: net(network), via: None, port };
        let routes: Routes = [("0.0.0.0/0", 1), ("198.51.100.64/28", 2)].into_iter().map(lead).collect();
        let statics = config.nat.as_ref().unwrap().statics.lines()[0].external.addr();
        let pool = config.realm_gateway.as_ref().unwrap().pool()[0];
        for address in [[198, 51, 100, 7].into(), [198, 51, 100, 66].into(), statics, pool] {
            assert!(leads_there(address.into(), &config, &routes).is_err(), "{address}");
            assert!(!config.settings().may_be_a_peers(address), "{address}");
        }
        let peer = std::net::Ipv4Addr::new(198, 51, 100, 8);
        assert_eq!(leads_there(peer.into(), &config, &routes), Ok(()));
        assert!(config.settings().may_be_a_peers(peer));
    }
}
