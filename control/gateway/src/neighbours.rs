//! Which next hop leads to an address, and under which id the workers know it.
//!
//! The workers know a *destination* (an inside host, a peer's locator) by a `HopId`; what stands behind the id
//! (port and MAC address of the next hop) changes when routes or neighbours do. So no binding and no tunnel has to be
//! touched when a route moves: one command per destination says it.

use crate::Mac;
use crate::address::{Destination, HopAddress, HostAddress};
use crate::outbox::Outbox;
use crate::output::Output;
use crate::routes::{NextHopAddress, Routes};
use ces_dataplane::msg::{Command, HopId, Neighbour, PortId};
use rustc_hash::FxHashMap;
use std::sync::Arc;

struct Entry {
    address: Destination,
    users: u32,
    hop: Option<NextHopAddress>,
    /// The MAC address that a host's packets must come from.
    pin: Option<Mac>,
    /// Whether routes lead over it.
    is_router: bool,
    /// What the workers were told that its packets must come from.
    told: Option<Mac>,
}

/// Destinations in use, and the next hops that lead to them.
pub(crate) struct Neighbours {
    max: u32,
    /// Whether what routers send has to come from the one that a route leads over.
    is_strict: bool,
    routes: Arc<Routes>,
    destinations: Vec<Option<Entry>>,
    free: Vec<u32>,
    by_address: FxHashMap<Destination, u32>,
    /// MAC addresses as far as they are known.
    macs: FxHashMap<NextHopAddress, [u8; 6]>,
    /// Destinations behind each next hop.
    behind: FxHashMap<NextHopAddress, Vec<u32>>,
}

impl Neighbours {
    pub(crate) fn new(max: u32) -> Self {
        Self {
            max,
            is_strict: false,
            routes: Arc::default(),
            destinations: Vec::new(),
            free: Vec::new(),
            by_address: FxHashMap::default(),
            macs: FxHashMap::default(),
            behind: FxHashMap::default(),
        }
    }

    /// The id of a destination, with one more user; `None` if the table is full. A new destination is told to all
    /// workers, and its next hop is resolved ahead of the first packet.
    pub(crate) fn acquire(&mut self, address: impl Into<Destination>, out: &mut Outbox) -> Option<HopId> {
        let address = address.into();
        if let Some(id) = self.by_address.get(&address) {
            self.destinations[*id as usize].as_mut()?.users += 1;
            return Some(HopId(*id));
        }
        let id = match self.free.pop() {
            Some(id) => id,
            None if (self.destinations.len() as u64) < u64::from(self.max) => {
                self.destinations.push(None);
                (self.destinations.len() - 1) as u32
            }
            None => return None,
        };
        let hop = self.routes.next_hop(address);
        self.destinations[id as usize] =
            Some(Entry { address, users: 1, hop, pin: None, is_router: false, told: None });
        self.by_address.insert(address, id);
        if let Some(hop) = hop {
            self.behind.entry(hop).or_default().push(id);
        }
        self.tell(id, out);
        self.wanted(HopId(id), out);
        Some(HopId(id))
    }

    /// The same of a router: routes lead over it.
    pub(crate) fn acquire_router(&mut self, router: HopAddress, out: &mut Outbox) -> Option<HopId> {
        let id = self.acquire(router, out)?;
        if let Some(Some(entry)) = self.destinations.get_mut(id.0 as usize) {
            entry.is_router = true;
        }
        self.guard(id.0, out);
        Some(id)
    }

    /// Whether what routers send has to come from the one that a route leads over. What is known of destinations is told by
    /// [`Neighbours::pin`], each by itself.
    pub(crate) fn set_strict(&mut self, is_strict: bool) {
        self.is_strict = is_strict;
    }

    /// The id of a destination in use.
    pub(crate) fn id(&self, address: impl Into<Destination>) -> Option<HopId> {
        self.by_address.get(&address.into()).map(|id| HopId(*id))
    }

    /// By which port and to which MAC address packets go there, if that is known.
    pub(crate) fn station(&self, to: impl Into<Destination>) -> Option<(PortId, Mac)> {
        let hop = self.routes.next_hop(to.into())?;
        Some((hop.0, *self.macs.get(&hop)?))
    }

    /// The port on whose link an address is; `None` if a router leads there, or nothing.
    pub(crate) fn link_of(&self, host: HostAddress) -> Option<PortId> {
        let to = Destination::from(host);
        self.routes.next_hop(to).filter(|(_, via)| *via == to.on_link()).map(|(port, _)| port)
    }

    /// One user less; the id is free when there is none left.
    pub(crate) fn release(&mut self, id: HopId) {
        let Some(slot) = self.destinations.get_mut(id.0 as usize) else { return };
        let Some(destination) = slot.as_mut() else { return };
        destination.users -= 1;
        if destination.users > 0 {
            return;
        }
        let Some(destination) = slot.take() else { return };
        self.by_address.remove(&destination.address);
        self.leave(destination.hop, id.0);
        self.free.push(id.0);
    }

    /// Asks the driver for the MAC address of a destination's next hop, unless it is known.
    pub(crate) fn wanted(&self, id: HopId, out: &mut Outbox) {
        let Some(Some(destination)) = self.destinations.get(id.0 as usize) else { return };
        if let Some(hop) = destination.hop.filter(|hop| !self.macs.contains_key(hop)) {
            out.push(Output::ResolveNeighbour { port: hop.0, address: hop.1 });
        }
    }

    /// What the kernel knows about a next hop. True if that is new, and others are reached over it.
    pub(crate) fn set_mac(&mut self, hop: NextHopAddress, mac: Option<[u8; 6]>, out: &mut Outbox) -> bool {
        let before = match mac {
            // Next hops that nobody uses yet are remembered, so that the first packet finds its way; as many as
            // there are slots.
            Some(mac) if self.behind.contains_key(&hop) || (self.macs.len() as u64) < u64::from(self.max) => {
                self.macs.insert(hop, mac)
            }
            Some(_) => return false,
            None => self.macs.remove(&hop),
        };
        let behind = self.behind.get(&hop).filter(|_| before != mac).cloned().unwrap_or_default();
        for id in &behind {
            self.tell(*id, out);
        }
        behind.iter().any(|id| self.by_address.get(&hop.1.into()) != Some(id))
    }

    /// The MAC address that what a destination sends must come from, if it is a host on a link and in use.
    pub(crate) fn pin(&mut self, address: impl Into<Destination>, pin: Option<Mac>, out: &mut Outbox) {
        let Some(&id) = self.by_address.get(&address.into()) else { return };
        let Some(Some(destination)) = self.destinations.get_mut(id as usize) else { return };
        destination.pin = pin;
        self.guard(id, out);
    }

    /// Tells the workers what a destination's packets must come from, where that is another than they know.
    fn guard(&mut self, id: u32, out: &mut Outbox) {
        let Some(Some(destination)) = self.destinations.get(id as usize) else { return };
        if self.guarded(destination) != destination.told {
            self.tell(id, out);
        }
    }

    /// The MAC address that a destination's packets must come from.
    fn guarded(&self, destination: &Entry) -> Option<Mac> {
        let hop = destination.hop?;
        let routers = || self.macs.get(&hop).copied().filter(|_| self.is_strict);
        match (hop.1 == destination.address.on_link(), destination.is_router) {
            (true, false) => destination.pin,
            (true, true) => destination.pin.or_else(routers),
            // Behind a router there is the router's.
            (false, _) => routers(),
        }
    }

    /// Other routes: every destination whose next hop changes is told again.
    pub(crate) fn set_routes(&mut self, routes: Arc<Routes>, out: &mut Outbox) {
        self.routes = routes;
        for id in 0..self.destinations.len() as u32 {
            let Some(destination) = &mut self.destinations[id as usize] else { continue };
            let hop = self.routes.next_hop(destination.address);
            let before = std::mem::replace(&mut destination.hop, hop);
            if hop == before {
                continue;
            }
            self.leave(before, id);
            if let Some(hop) = hop {
                self.behind.entry(hop).or_default().push(id);
            }
            self.tell(id, out);
            self.wanted(HopId(id), out);
        }
    }

    /// Slots of destinations, taken or free.
    pub(crate) fn slots(&self) -> usize {
        self.destinations.len()
    }

    /// Where the destination in a slot is, if one is there.
    pub(crate) fn destination(&self, slot: usize) -> Option<Destination> {
        self.destinations.get(slot)?.as_ref().map(|entry| entry.address)
    }

    /// Destinations in use.
    pub(crate) fn used(&self) -> u32 {
        self.by_address.len() as u32
    }

    pub(crate) fn max(&self) -> u32 {
        self.max
    }

    fn leave(&mut self, hop: Option<NextHopAddress>, id: u32) {
        let Some(hop) = hop else { return };
        if let Some(ids) = self.behind.get_mut(&hop) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.behind.remove(&hop);
            }
        }
    }

    fn tell(&mut self, id: u32, out: &mut Outbox) {
        let Some(Some(destination)) = self.destinations.get(id as usize) else { return };
        // Without a route the port means nothing: there is no MAC address to send to.
        let (port, mac) = match destination.hop {
            Some(hop) => (hop.0, self.macs.get(&hop).copied()),
            None => (0, None),
        };
        let pin = self.guarded(destination);
        if let Some(Some(destination)) = self.destinations.get_mut(id as usize) {
            destination.told = pin;
        }
        out.command_all(Command::SetHop(HopId(id), Neighbour { port, mac, pin }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::tests::routes;

    fn told(out: impl Iterator<Item = Output>) -> Vec<(u32, PortId, Option<u8>)> {
        let set = |output| match output {
            Output::Dataplane { command: Command::SetHop(id, n), .. } => {
                Some((id.0, n.port, n.mac.map(|m| m[5])))
            }
            _ => None,
        };
        out.filter_map(set).collect()
    }

    #[test]
    fn a_new_destination_is_told_and_resolved_ahead() {
        let mut outputs = Outbox::new(2);
        let mut neighbours = Neighbours::new(8);
        neighbours.set_routes(routes(&[("192.168.0.0/24", None, 0)]), &mut outputs);
        let id = neighbours.acquire(HostAddress::from([192, 168, 0, 10]), &mut outputs).unwrap();
        let all: Vec<Output> = outputs.by_ref().collect();
        assert!(matches!(all.last(), Some(Output::ResolveNeighbour { port: 0, address })
            if *address == HopAddress::from([192, 168, 0, 10])));
        assert_eq!(told(all.into_iter()), [(0, 0, None), (0, 0, None)]);
        neighbours.set_mac((0, [192, 168, 0, 10].into()), Some([7; 6]), &mut outputs);
        assert_eq!(told(&mut outputs), [(0, 0, Some(7)), (0, 0, Some(7))]);
        assert_eq!(neighbours.acquire(HostAddress::from([192, 168, 0, 10]), &mut outputs), Some(id));
        assert!(outputs.pop().is_none());
    }

    #[test]
    fn a_moved_route_moves_all_that_is_behind_it() {
        let mut outputs = Outbox::new(1);
        let mut neighbours = Neighbours::new(8);
        neighbours.set_routes(routes(&[("0.0.0.0/0", Some([192, 0, 2, 1]), 1)]), &mut outputs);
        neighbours.set_mac((1, [192, 0, 2, 2].into()), Some([2; 6]), &mut outputs);
        neighbours.acquire(HostAddress::from([198, 51, 100, 1]), &mut outputs).unwrap();
        neighbours.acquire(HostAddress::from([198, 51, 100, 2]), &mut outputs).unwrap();
        outputs.by_ref().for_each(drop);
        neighbours.set_routes(routes(&[("0.0.0.0/0", Some([192, 0, 2, 2]), 1)]), &mut outputs);
        assert_eq!(told(&mut outputs), [(0, 1, Some(2)), (1, 1, Some(2))]);
        neighbours.set_routes(Arc::default(), &mut outputs);
        assert_eq!(told(&mut outputs), [(0, 0, None), (1, 0, None)]);
    }

    #[test]
    fn an_id_is_free_when_its_last_user_is_gone_and_a_full_table_says_so() {
        let mut outputs = Outbox::new(1);
        let mut neighbours = Neighbours::new(1);
        let id = neighbours.acquire(HostAddress::from([10, 0, 0, 1]), &mut outputs).unwrap();
        neighbours.acquire(HostAddress::from([10, 0, 0, 1]), &mut outputs).unwrap();
        assert_eq!(neighbours.acquire(HostAddress::from([10, 0, 0, 2]), &mut outputs), None);
        neighbours.release(id);
        assert_eq!(neighbours.used(), 1);
        neighbours.release(id);
        assert_eq!(neighbours.acquire(HostAddress::from([10, 0, 0, 2]), &mut outputs), Some(id));
    }

    #[test]
    fn p10_what_comes_over_a_router_must_come_from_it_if_routers_are_answered_for() {
        let pins = |out: &mut Outbox| -> Vec<(u32, Option<u8>)> {
            let pin = |output| match output {
                Output::Dataplane { command: Command::SetHop(id, n), .. } => {
                    Some((id.0, n.pin.map(|m| m[5])))
                }
                _ => None,
            };
            out.filter_map(pin).collect()
        };
        let (mut out, mut neighbours) = (Outbox::new(1), Neighbours::new(8));
        let router = HopAddress::from([192, 0, 2, 1]);
        let (host, on_link) = (HostAddress::from([10, 0, 0, 1]), HostAddress::from([192, 0, 2, 9]));
        neighbours.set_routes(
            routes(&[("0.0.0.0/0", Some([192, 0, 2, 1]), 0), ("192.0.2.0/24", None, 0)]),
            &mut out,
        );
        neighbours.acquire_router(router, &mut out).unwrap();
        neighbours.acquire(host, &mut out).unwrap();
        neighbours.acquire(on_link, &mut out).unwrap();
        assert!(neighbours.set_mac((0, router), Some([7; 6]), &mut out));
        assert!(
            !neighbours.set_mac((0, [192, 0, 2, 9].into()), Some([9; 6]), &mut out),
            "nobody is behind a host"
        );
        assert!(pins(&mut out).iter().all(|(_, pin)| pin.is_none()));
        neighbours.set_strict(true);
        neighbours.pin(router, None, &mut out);
        neighbours.pin(host, None, &mut out);
        neighbours.pin(on_link, None, &mut out);
        assert_eq!(pins(&mut out), [(0, Some(7)), (1, Some(7))]);
        neighbours.set_mac((0, router), Some([8; 6]), &mut out);
        assert_eq!(pins(&mut out), [(0, Some(8)), (1, Some(8))]);
        neighbours.set_strict(false);
        neighbours.pin(host, None, &mut out);
        assert_eq!(pins(&mut out), [(1, None)]);
    }
}
