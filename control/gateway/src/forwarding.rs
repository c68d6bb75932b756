//! What the workers forward by: the routes with their next hops, and the addresses on links that packets are for.
//!
//! The workers look up where an address leads; routers have numbers as every next hop has ([`Neighbours`]), and an address on a
//! link gets one when the first packet is for it. A number means the same until every worker has another forwarding table.

use crate::address::{Destination, HopAddress};
use crate::neighbours::Neighbours;
use crate::outbox::Outbox;
use crate::output::Output;
use crate::routes::{Lead, Routes};
use crate::{Mac, Nanos};
use ces_dataplane::msg::{Command, HopId};
use ces_dataplane::table::fib::{Fib, Next};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// How long the numbers of addresses that were forgotten are not used for others: packets are not under way so long.
const REST_NS: Nanos = 5_000_000_000;

/// What is forwarded by.
pub(crate) struct Forwarding {
    /// The most addresses on links that have numbers.
    most: usize,
    routes: Arc<Routes>,
    routers: FxHashMap<HopAddress, HopId>,
    on_link: FxHashMap<Ipv4Addr, HopId>,
    generation: u16,
    /// Numbers that rest, and since when: the longest first.
    resting: VecDeque<(Nanos, HopId)>,
}

impl Forwarding {
    /// Without routes. Half of the numbers of next hops may be those of addresses on links.
    pub(crate) fn new(neighbours: u32) -> Self {
        Self {
            most: (neighbours / 2).max(1) as usize,
            routes: Arc::default(),
            routers: FxHashMap::default(),
            on_link: FxHashMap::default(),
            generation: 0,
            resting: VecDeque::new(),
        }
    }

    /// Other routes. Who is a router still keeps its number.
    pub(crate) fn set_routes(
        &mut self,
        routes: Arc<Routes>,
        neighbours: &mut Neighbours,
        out: &mut Outbox,
        now: Nanos,
    ) {
        let mut before = std::mem::take(&mut self.routers);
        for via in routes.leads().iter().filter_map(|lead| (*lead)?.1) {
            if self.routers.contains_key(&via) {
                continue;
            }
            if let Some(id) = before.remove(&via).or_else(|| neighbours.acquire(via, out)) {
                self.routers.insert(via, id);
            }
        }
        self.routes = routes;
        self.rest(before.into_values(), neighbours, now);
        self.publish(out);
    }

    fn publish(&mut self, out: &mut Outbox) {
        // 0 is that of a worker which has none yet.
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        let next = |lead: &Option<Lead>| match (*lead)? {
            (_, Some(via)) => Some(Next::Via(*self.routers.get(&via)?)),
            (port, None) => Some(Next::OnLink(port)),
        };
        let nexts = self.routes.leads().iter().map(next).collect();
        let fib = Fib::new(Arc::clone(self.routes.prefixes()), nexts, self.generation);
        out.push(Output::Routes(Arc::new(fib)));
    }

    /// A worker has a packet for an address on a link, or of a host there, whose packets must come from this MAC address.
    pub(crate) fn wanted(
        &mut self,
        address: Ipv4Addr,
        pin: Option<Mac>,
        neighbours: &mut Neighbours,
        out: &mut Outbox,
        now: Nanos,
    ) {
        if !self.on_link.contains_key(&address) {
            if self.on_link.len() >= self.most {
                self.forget(neighbours, out, now);
            }
            let Some(id) = neighbours.acquire(Destination::on_a_link(address), out) else { return };
            self.on_link.insert(address, id);
        }
        let id = self.on_link[&address];
        // Before anything of it goes on.
        neighbours.pin(Destination::on_a_link(address), pin, out);
        out.command_all(Command::Reach(address, id));
    }

    /// There is no room: whoever is still in use is asked for again.
    fn forget(&mut self, neighbours: &mut Neighbours, out: &mut Outbox, now: Nanos) {
        let forgotten = std::mem::take(&mut self.on_link);
        for address in forgotten.keys() {
            out.command_all(Command::Unreach(*address));
        }
        self.rest(forgotten.into_values(), neighbours, now);
        self.publish(out);
    }

    /// These numbers rest from now on, and those are free that have rested long enough.
    fn rest(&mut self, ids: impl Iterator<Item = HopId>, neighbours: &mut Neighbours, now: Nanos) {
        while let Some((_, id)) =
            self.resting.pop_front_if(|(since, _)| now.saturating_sub(*since) >= REST_NS)
        {
            neighbours.release(id);
        }
        self.resting.extend(ids.map(|id| (now, id)));
    }

    /// The addresses on links that have numbers.
    pub(crate) fn on_links(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.on_link.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::tests::routes;

    fn published(out: &mut Outbox) -> Option<Arc<Fib>> {
        let fibs = out.filter_map(|output| match output {
            Output::Routes(fib) => Some(fib),
            _ => None,
        });
        fibs.last()
    }

    #[test]
    fn routers_have_numbers_and_links_are_links() {
        let (mut outputs, mut neighbours) = (Outbox::new(2), Neighbours::new(8));
        let mut forwarding = Forwarding::new(8);
        let all = [("0.0.0.0/0", Some([192, 0, 2, 1]), 1), ("192.0.2.0/30", None, 1)];
        forwarding.set_routes(routes(&all), &mut neighbours, &mut outputs, 0);
        let fib = published(&mut outputs).unwrap();
        assert_eq!(fib.find(0x0808_0808), Some(Next::Via(HopId(0))));
        assert_eq!((fib.find(0xc000_0202), fib.generation()), (Some(Next::OnLink(1)), 1));
        forwarding.set_routes(routes(&all), &mut neighbours, &mut outputs, 0);
        assert_eq!(
            published(&mut outputs).unwrap().find(0x0808_0808),
            Some(Next::Via(HopId(0))),
            "it keeps its number"
        );
        forwarding.set_routes(routes(&all[1..]), &mut neighbours, &mut outputs, 0);
        let fib = published(&mut outputs).unwrap();
        assert_eq!((fib.find(0x0808_0808), fib.generation()), (None, 3));
        assert_eq!(neighbours.used(), 1, "its number rests");
        forwarding.set_routes(Arc::default(), &mut neighbours, &mut outputs, REST_NS);
        assert_eq!(neighbours.used(), 0);
    }

    #[test]
    fn what_is_on_a_link_has_a_number_as_long_as_there_is_room() {
        let (mut outputs, mut neighbours) = (Outbox::new(1), Neighbours::new(8));
        let mut forwarding = Forwarding::new(8);
        for host in 1..=4 {
            forwarding.wanted([192, 0, 2, host].into(), None, &mut neighbours, &mut outputs, 0);
        }
        let reached = |out: &mut Outbox| {
            out.filter(|output| matches!(output, Output::Dataplane { command: Command::Reach(..), .. }))
                .count()
        };
        assert_eq!((reached(&mut outputs), neighbours.used()), (4, 4));
        forwarding.wanted([192, 0, 2, 1].into(), None, &mut neighbours, &mut outputs, 0);
        assert_eq!((reached(&mut outputs), neighbours.used()), (1, 4), "a worker may have missed it");
        forwarding.wanted([192, 0, 2, 5].into(), None, &mut neighbours, &mut outputs, 0);
        let is_unreach =
            |output: &Output| matches!(output, Output::Dataplane { command: Command::Unreach(_), .. });
        assert_eq!(outputs.by_ref().take(4).filter(is_unreach).count(), 4);
        assert!(published(&mut outputs).is_some(), "sessions look again");
        assert_eq!(neighbours.used(), 5, "the others' numbers rest");
    }

    /// The next hops that were told, each with its pin, in order with the addresses that lead to them.
    fn pins(out: &mut Outbox) -> Vec<(u32, Option<Mac>)> {
        let told = |output| match output {
            Output::Dataplane { command: Command::SetHop(id, neighbour), .. } => Some((id.0, neighbour.pin)),
            Output::Dataplane { command: Command::Reach(_, id), .. } => Some((id.0 + 100, None)),
            _ => None,
        };
        out.filter_map(told).collect()
    }

    #[test]
    fn p10_a_host_is_pinned_before_anything_of_it_goes_on() {
        let (mut outputs, mut neighbours) = (Outbox::new(1), Neighbours::new(8));
        let mut forwarding = Forwarding::new(8);
        neighbours.set_routes(routes(&[("192.168.0.0/24", None, 0)]), &mut outputs);
        let host = Ipv4Addr::new(192, 168, 0, 10);
        forwarding.wanted(host, Some([7; 6]), &mut neighbours, &mut outputs, 0);
        assert_eq!(pins(&mut outputs), [(0, None), (0, Some([7; 6])), (100, None)]);
        forwarding.wanted(host, Some([7; 6]), &mut neighbours, &mut outputs, 0);
        assert_eq!(pins(&mut outputs), [(100, None)], "nothing else has changed");
        assert_eq!(forwarding.on_links().collect::<Vec<_>>(), [host]);
        neighbours.pin(Destination::on_a_link(host), Some([8; 6]), &mut outputs);
        assert_eq!(pins(&mut outputs), [(0, Some([8; 6]))]);
        neighbours.set_routes(routes(&[("0.0.0.0/0", Some([192, 168, 0, 1]), 0)]), &mut outputs);
        assert_eq!(pins(&mut outputs), [(0, None)], "behind a router it is the router that is seen");
        neighbours.pin(Destination::on_a_link([192, 168, 0, 11].into()), Some([8; 6]), &mut outputs);
        assert!(outputs.pop().is_none(), "nobody uses it");
    }
}
