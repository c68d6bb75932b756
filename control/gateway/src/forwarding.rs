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
use ces_meter::{Level, Rate};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// How long the numbers of addresses that were forgotten are not used for others: packets are not under way so long.
const REST_NS: Nanos = 5_000_000_000;

/// Addresses a second that are named though nobody is known to answer for them, and as many at once: a host that sends in the
/// names of others makes no more work than that. Those whose MAC address the kernel knows are named at once.
const STRANGERS: Rate = Rate::per_second(4_000);
/// Names that are looked at in one piece where there is no room for another.
const LOOKED_AT: usize = 2_000;

/// What is forwarded by.
pub(crate) struct Forwarding {
    /// The most addresses on links that have numbers.
    most: usize,
    routes: Arc<Routes>,
    routers: FxHashMap<HopAddress, HopId>,
    on_link: FxHashMap<Ipv4Addr, HopId>,
    /// The same addresses: those first that were named, or found there, the longest time ago.
    named: VecDeque<Ipv4Addr>,
    strangers: Level,
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
            named: VecDeque::new(),
            strangers: Level::default(),
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
            if let Some(id) = before.remove(&via).or_else(|| neighbours.acquire_router(via, out)) {
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
            let is_there = neighbours.station(Destination::on_a_link(address)).is_some();
            if !is_there && !self.strangers.take(STRANGERS, now) {
                return;
            }
            if self.on_link.len() >= self.most {
                self.forget(neighbours, out, now);
            }
            let Some(id) = neighbours.acquire(Destination::on_a_link(address), out) else { return };
            self.on_link.insert(address, id);
            self.named.push_back(address);
        }
        let id = self.on_link[&address];
        // Before anything of it goes on.
        neighbours.pin(Destination::on_a_link(address), pin, out);
        out.command_all(Command::Reach(address, id));
    }

    /// There is no room: of those that were named the longest time ago, the ones that nobody answers for are forgotten, or all if
    /// somebody does for each. Whoever is still in use is asked for again.
    fn forget(&mut self, neighbours: &mut Neighbours, out: &mut Outbox, now: Nanos) {
        let looked_at: Vec<_> = self.named.drain(..self.named.len().min(LOOKED_AT)).collect();
        let is_there = |address: &Ipv4Addr| neighbours.station(Destination::on_a_link(*address)).is_some();
        let (there, gone): (Vec<_>, Vec<_>) = looked_at.into_iter().partition(is_there);
        let forgotten = if gone.is_empty() {
            there
        } else {
            self.named.extend(there);
            gone
        };
        for address in &forgotten {
            out.command_all(Command::Unreach(*address));
        }
        let ids: Vec<_> = forgotten.iter().filter_map(|address| self.on_link.remove(address)).collect();
        self.rest(ids.into_iter(), neighbours, now);
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

    #[test]
    fn p10_who_sends_in_many_names_makes_bounded_work_and_takes_no_hosts_place() {
        let (mut out, mut neighbours) = (Outbox::new(1), Neighbours::new(1 << 16));
        let mut forwarding = Forwarding::new(1 << 14);
        neighbours.set_routes(routes(&[("10.0.0.0/8", None, 0)]), &mut out);
        let host = Ipv4Addr::new(10, 9, 9, 9);
        let mut named = |address: Ipv4Addr, now, out: &mut Outbox, neighbours: &mut Neighbours| {
            forwarding.wanted(address, None, neighbours, out, now);
            let (mut reached, mut unreached) = (0, 0);
            for output in out.by_ref() {
                let Output::Dataplane { command, .. } = output else { continue };
                reached += usize::from(matches!(command, Command::Reach(..)));
                unreached += usize::from(matches!(command, Command::Unreach(..)));
            }
            (reached, unreached)
        };
        neighbours.set_mac((0, host.into()), Some([7; 6]), &mut out);
        assert_eq!(named(host, 0, &mut out, &mut neighbours), (1, 0));
        let (mut reached, mut most_forgotten, mut number) = (0, 0, 0u32);
        for second in 0..5u64 {
            for _ in 0..20_000 {
                number += 1;
                let forged = Ipv4Addr::from(0x0a00_0000 | number);
                let told = named(forged, second * 1_000_000_000, &mut out, &mut neighbours);
                (reached, most_forgotten) = (reached + told.0, most_forgotten.max(told.1));
            }
        }
        assert!(reached <= 5 * 4_000 && most_forgotten <= LOOKED_AT, "{reached} {most_forgotten}");
        assert!(most_forgotten > 0 && forwarding.on_link.len() <= forwarding.most);
        assert_eq!(forwarding.named.len(), forwarding.on_link.len());
        assert!(forwarding.on_link.contains_key(&host), "who answers keeps its place");
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
        neighbours.pin(Destination::on_a_link(host), Some([8; 6]), &mut outputs);
        assert_eq!(pins(&mut outputs), [(0, Some([8; 6]))]);
        neighbours.set_routes(routes(&[("0.0.0.0/0", Some([192, 168, 0, 1]), 0)]), &mut outputs);
        assert_eq!(pins(&mut outputs), [(0, None)], "behind a router it is the router that is seen");
        neighbours.pin(Destination::on_a_link([192, 168, 0, 11].into()), Some([8; 6]), &mut outputs);
        assert!(outputs.pop().is_none(), "nobody uses it");
    }
}
