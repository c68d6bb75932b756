//! What the kernel is to know of the ports: addresses and static routes on their shadows.
//!
//! Addresses under which hosts are seen and that lie on an outside port's link are among them, each alone: the kernel
//! answers ARP for them, and gets nothing else of what comes there.

use crate::config::{Config, PortSection};
use crate::sources::netlink::message::KernelRoute;
use crate::sources::netlink::{NetlinkError, Requests};
use ces_dataplane::settings::Side;
use ipnet::Ipv4Net;

/// Addresses and routes, by the shadows' interface indices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ground {
    addresses: Vec<(u32, Ipv4Net)>,
    routes: Vec<KernelRoute>,
}

impl Ground {
    /// What the configuration says of the ports whose shadows have these indices.
    pub(super) fn of(config: &Config, indices: &[u32]) -> Self {
        let ports = || config.port.iter().zip(indices);
        let own = ports().flat_map(|(port, index)| port.addresses.iter().map(|net| (*index, *net)));
        let seen = config.external_addresses();
        let seen = seen.iter().filter_map(|&address| {
            let on_link = |port: &PortSection| port.addresses.iter().any(|net| net.contains(&address));
            let (_, index) = ports().find(|(port, _)| port.side == Side::Outside && on_link(port))?;
            Some((*index, Ipv4Net::new_assert(address, 32)))
        });
        let addresses = own.chain(seen).collect();
        let route = |route: &crate::config::StaticRoute| {
            let on_link = |port: &PortSection| port.addresses.iter().any(|net| net.contains(&route.via));
            let (_, index) = ports().find(|(port, _)| on_link(port))?;
            Some(KernelRoute {
                network: route.to.network(),
                prefix: route.to.prefix_len(),
                gateway: Some(route.via),
                index: *index,
                metric: 0,
            })
        };
        Self { addresses, routes: config.route.iter().filter_map(route).collect() }
    }

    /// Has the kernel know all of it; what it knows already stays.
    pub(super) fn lay(&self, requests: &mut Requests) -> Result<(), NetlinkError> {
        for (index, net) in &self.addresses {
            requests.add_address(*index, net.addr(), net.prefix_len())?;
        }
        self.routes.iter().try_for_each(|route| requests.add_route(route))
    }

    /// Has the kernel forget what is not here. With an address it forgets what went through it as well, some of which may
    /// have to stay: lay it once more.
    pub(super) fn clear(&self, before: &Self, requests: &mut Requests) -> Result<(), NetlinkError> {
        // A route to the same network has been replaced by the new one.
        let stays = |old: &&KernelRoute| {
            self.routes.iter().any(|new| (new.network, new.prefix) == (old.network, old.prefix))
        };
        for route in before.routes.iter().filter(|old| !stays(old)) {
            requests.remove_route(route)?;
        }
        for (index, net) in before.addresses.iter().filter(|old| !self.addresses.contains(old)) {
            requests.remove_address(*index, net.addr(), net.prefix_len())?;
        }
        self.lay(requests)
    }
}
