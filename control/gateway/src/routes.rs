//! Routes: all of them at one time, as whoever learns them hands them on.
//!
//! They are one value that never changes, so it is shared: the workers find by it where a packet goes (as the [`Prefixes`]
//! in it), the gateway where its peers and hosts are, and an operator's list reads it a page at a time while there is
//! another already.

use crate::address::{Destination, HopAddress};
use ces_dataplane::msg::PortId;
use ces_dataplane::table::fib::{Prefixes, Row, numbered};
use ces_dataplane::wire::ipv4;
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// One route, as the driver learns it from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearntRoute {
    /// Where it leads.
    pub network: Ipv4Net,
    /// The next hop; `None` = the network is on the link.
    pub via: Option<HopAddress>,
    /// The port that it leaves by.
    pub port: PortId,
}

/// A next hop: port and address.
pub(crate) type NextHopAddress = (PortId, HopAddress);

/// What a route leads to: a router on a port, or whoever is on the port's link.
pub type Lead = (PortId, Option<HopAddress>);

/// All routes.
#[derive(Debug, Default)]
pub struct Routes {
    /// In order of networks, the shorter prefix first. Each has the number of where it leads.
    rows: Vec<Row>,
    /// What the numbers stand for; some for nothing, 0 always.
    leads: Vec<Option<Lead>>,
    prefixes: Arc<Prefixes>,
}

impl Routes {
    /// Of these rows, in order of networks, the shorter prefix first, none of them twice; behind each number is what stands at
    /// its place.
    pub fn new(rows: Vec<Row>, leads: Vec<Option<Lead>>) -> Self {
        let prefixes = Arc::new(Prefixes::new(&rows));
        Self { rows, leads, prefixes }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Some of them, in order of networks: as many as are there, from that one on.
    pub fn page(&self, from: usize, most: usize) -> impl Iterator<Item = LearntRoute> + '_ {
        self.rows.iter().skip(from).take(most).filter_map(|row| self.route(*row))
    }

    /// By which port and over whom an address is reached.
    pub fn lead(&self, address: Ipv4Addr) -> Option<(PortId, Ipv4Addr)> {
        let (port, via) = self.leads.get(usize::from(self.prefixes.find(address.to_bits()))).copied()??;
        Some((port, via.map_or(address, HopAddress::v4)))
    }

    pub(crate) fn next_hop(&self, to: Destination) -> Option<NextHopAddress> {
        let (port, address) = self.lead(to.v4())?;
        Some((port, address.into()))
    }

    /// What finds the numbers.
    pub(crate) const fn prefixes(&self) -> &Arc<Prefixes> {
        &self.prefixes
    }

    /// Whether anybody else still has them, or what finds their numbers: who lets go last frees a million.
    pub fn are_shared(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1 || Arc::strong_count(&self.prefixes) > 1
    }

    /// What they stand for.
    pub(crate) fn leads(&self) -> &[Option<Lead>] {
        &self.leads
    }

    /// Those to networks around this one, and to networks in it.
    pub(crate) fn about(&self, network: Ipv4Net) -> impl Iterator<Item = LearntRoute> + '_ {
        let (low, high) = (network.network().to_bits(), network.broadcast().to_bits());
        let around = (0..network.prefix_len()).filter_map(move |prefix| {
            let wanted = (low & ipv4::mask(prefix), prefix);
            self.rows.binary_search_by_key(&wanted, |row| (row.network, row.prefix)).ok()
        });
        let from = self.rows.partition_point(|row| (row.network, row.prefix) < (low, network.prefix_len()));
        let inside = (from..self.rows.len()).take_while(move |&place| self.rows[place].network <= high);
        around.chain(inside).filter_map(|place| self.route(self.rows[place]))
    }

    fn route(&self, row: Row) -> Option<LearntRoute> {
        let network = Ipv4Net::new(row.network.into(), row.prefix).ok()?;
        let (port, via) = self.leads.get(usize::from(row.number)).copied()??;
        Some(LearntRoute { network, via, port })
    }
}

/// Of a few, in any order; of several to one network the first counts.
impl FromIterator<LearntRoute> for Routes {
    fn from_iter<I: IntoIterator<Item = LearntRoute>>(routes: I) -> Self {
        let lead = |LearntRoute { network, via, port }| {
            (network.network().to_bits(), network.prefix_len(), (port, via))
        };
        let (rows, leads) = numbered(routes.into_iter().map(lead));
        Self::new(rows, leads)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Routes to these networks: over whom, by which port.
    pub(crate) fn routes(routes: &[(&str, Option<[u8; 4]>, PortId)]) -> Arc<Routes> {
        let route = |&(network, via, port): &(&str, Option<[u8; 4]>, PortId)| LearntRoute {
            network: network.parse().unwrap(),
            via: via.map(HopAddress::from),
            port,
        };
        Arc::new(routes.iter().map(route).collect())
    }

    fn some() -> Arc<Routes> {
        routes(&[
            ("192.168.7.0/24", None, 0),
            ("192.168.0.0/16", Some([192, 168, 0, 1]), 0),
            ("0.0.0.0/0", Some([192, 0, 2, 254]), 1),
            ("192.0.2.0/24", None, 1),
            ("192.0.2.0/24", Some([9, 9, 9, 9]), 0),
        ])
    }

    #[test]
    fn the_longest_prefix_decides() {
        let routes = some();
        let lead = |a: [u8; 4]| routes.lead(a.into()).unwrap();
        assert_eq!(lead([8, 8, 8, 8]), (1, [192, 0, 2, 254].into()));
        assert_eq!(lead([192, 0, 2, 9]), (1, [192, 0, 2, 9].into()), "the first of two counts");
        assert_eq!(lead([192, 168, 7, 9]), (0, [192, 168, 7, 9].into()));
        assert_eq!(lead([192, 168, 8, 9]), (0, [192, 168, 0, 1].into()));
        assert_eq!(Routes::default().lead([1, 1, 1, 1].into()), None);
    }

    #[test]
    fn what_is_about_a_network_lies_around_it_or_in_it() {
        let about = |network: &str| {
            let all = some();
            all.about(network.parse().unwrap()).map(|route| route.network.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(about("192.168.0.0/16"), ["0.0.0.0/0", "192.168.0.0/16", "192.168.7.0/24"]);
        assert_eq!(about("192.168.7.9/32"), ["0.0.0.0/0", "192.168.0.0/16", "192.168.7.0/24"]);
        assert_eq!(about("10.0.0.0/8"), ["0.0.0.0/0"]);
        assert_eq!(about("0.0.0.0/0").len(), some().len());
    }

    #[test]
    fn whoever_still_has_them_or_their_prefixes_shares_them() {
        let routes = some();
        let (other, prefixes) = (Arc::clone(&routes), Arc::clone(routes.prefixes()));
        assert!(routes.are_shared());
        drop(other);
        assert!(routes.are_shared());
        drop(prefixes);
        assert!(!routes.are_shared());
    }

    #[test]
    fn pages_are_in_order() {
        let routes = some();
        let networks: Vec<_> =
            (0..2).flat_map(|page| routes.page(page * 2, 2)).map(|route| route.network).collect();
        assert!(networks.is_sorted() && networks.len() == routes.len());
    }
}
