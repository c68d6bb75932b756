//! The kernel's routes over the ports' shadows: as many as a full table of the Internet, in order.
//!
//! What is heard is collected and put in its place all at once: then a million changes cost about as much as one, and a route
//! takes 12 bytes.

use crate::sources::netlink::feed::Copied;
use crate::sources::netlink::message::{self, Notice};
use crate::sources::netlink::table::Shadows;
use ces_dataplane::table::fib::Row;
use ces_gateway::Routes;
use ces_gateway::routes::Lead;
use rustc_hash::FxHashMap;

/// Changes that are collected at most: some 3 MiB.
const HEARD: usize = 1 << 18;
/// What routes may lead to at most; number 0 is nothing's.
const LEADS: usize = 1 << 16;

/// A route.
#[derive(Clone, Copy)]
struct Kept {
    network: u32,
    metric: u32,
    /// That of what it leads to.
    number: u16,
    prefix: u8,
    /// The dump that was the last one when it was heard of.
    dump: u8,
}

impl Kept {
    /// Of several to one network that with the lowest metric is used.
    const fn key(&self) -> (u32, u8, u32) {
        (self.network, self.prefix, self.metric)
    }
}

#[derive(Clone, Copy)]
struct Heard {
    route: Kept,
    gone: bool,
}

/// The routes.
pub(super) struct Book {
    shadows: Shadows,
    /// How many there may be.
    most: usize,
    /// In order.
    kept: Vec<Kept>,
    /// What is to be put in its place, in the order in which it was heard.
    heard: Vec<Heard>,
    numbers: FxHashMap<Lead, u16>,
    leads: Vec<Option<Lead>>,
    /// Numbers that are free.
    free: Vec<u16>,
    dump: u8,
    /// Whether there are others than those that were shown.
    changed: bool,
    refused: u64,
    /// Some routes of the kernel are not here.
    lacks: bool,
}

impl Book {
    /// An empty one, for the ports with these shadows.
    pub(super) fn new(shadows: Shadows, most: usize) -> Self {
        Self {
            shadows,
            most,
            kept: Vec::new(),
            heard: Vec::new(),
            numbers: FxHashMap::default(),
            leads: vec![None],
            free: Vec::new(),
            dump: 0,
            changed: true, // that there are none is news, once
            refused: 0,
            lacks: false,
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// How many found no room.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// Whether there may be others than those that were shown.
    pub(super) fn has_news(&self) -> bool {
        self.changed || !self.heard.is_empty()
    }

    /// Whether there is room again for what found none.
    pub(super) fn could_take_more(&self) -> bool {
        self.lacks && self.kept.len() < self.most - self.most / 8
    }

    /// All of them; `None` if they are those that were shown last.
    pub(super) fn show(&mut self) -> Option<Routes> {
        self.settle();
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        self.forget_leads();
        let mut rows: Vec<Row> = Vec::with_capacity(self.kept.len());
        for &Kept { network, prefix, number, .. } in &self.kept {
            if rows.last().is_none_or(|last| (last.network, last.prefix) != (network, prefix)) {
                rows.push(Row { network, prefix, number });
            }
        }
        Some(Routes::new(rows, self.leads.clone()))
    }

    fn note(&mut self, route: message::KernelRoute, gone: bool) {
        let Some(port) = self.shadows.port(route.index) else { return };
        let lead = (port, route.gateway.map(Into::into));
        let number = match self.numbers.get(&lead) {
            Some(number) => *number,
            None if gone => return,
            None => match self.number(lead) {
                Some(number) => number,
                None => return self.refuse(),
            },
        };
        let (network, prefix, metric) = (route.network.to_bits(), route.prefix, route.metric);
        let route = Kept { network, metric, number, prefix, dump: self.dump };
        self.heard.push(Heard { route, gone });
        if self.heard.len() >= HEARD {
            self.settle();
        }
    }

    /// A number for what had none.
    fn number(&mut self, lead: Lead) -> Option<u16> {
        if self.free.is_empty() && self.leads.len() == LEADS {
            self.settle();
            self.forget_leads();
        }
        let number = match self.free.pop() {
            Some(number) => number,
            None if self.leads.len() < LEADS => {
                self.leads.push(None);
                (self.leads.len() - 1) as u16
            }
            None => return None,
        };
        self.leads[usize::from(number)] = Some(lead);
        self.numbers.insert(lead, number);
        Some(number)
    }

    /// Frees the numbers of what nothing leads to any more.
    fn forget_leads(&mut self) {
        let mut used = vec![false; self.leads.len()];
        self.kept.iter().for_each(|route| used[usize::from(route.number)] = true);
        for (number, used) in used.into_iter().enumerate() {
            if !used && let Some(lead) = self.leads[number].take() {
                self.numbers.remove(&lead);
                self.free.push(number as u16);
            }
        }
    }

    fn refuse(&mut self) {
        self.refused += 1;
        if !self.lacks {
            self.lacks = true;
            tracing::error!(
                kind = "routes_full",
                "the kernel has more routes than the {} of capacity.routes, or than {LEADS} next hops: the rest is not \
                 forwarded by",
                self.most
            );
        }
    }

    /// Puts what was heard in its place.
    fn settle(&mut self) {
        let mut heard = std::mem::take(&mut self.heard);
        if heard.is_empty() {
            return;
        }
        heard.sort_by_key(|heard| heard.route.key()); // stable: of one route the later word counts
        let mut before = std::mem::take(&mut self.kept).into_iter().peekable();
        let mut after = Vec::with_capacity(self.most.min(before.len() + heard.len()));
        for group in heard.chunk_by(|a, b| a.route.key() == b.route.key()) {
            let key = group[0].route.key();
            while let Some(route) = before.next_if(|route| route.key() < key) {
                after.push(route);
            }
            let old = before.next_if(|route| route.key() == key);
            let new = group.iter().fold(old, |now, &Heard { route, gone }| {
                if gone { now.filter(|now| now.number != route.number) } else { Some(route) }
            });
            self.changed |= old.map(|route| route.number) != new.map(|route| route.number);
            match new {
                Some(_) if old.is_none() && after.len() + before.len() >= self.most => self.refuse(),
                new => after.extend(new),
            }
        }
        after.extend(before);
        self.kept = after;
    }
}

impl Copied for Book {
    fn begin_dump(&mut self) {
        self.dump = self.dump.wrapping_add(1);
        self.lacks = false;
    }

    fn hear(&mut self, notice: Notice) {
        match notice {
            Notice::Route(route) => self.note(route, false),
            Notice::RouteGone(route) => self.note(route, true),
            _ => {}
        }
    }

    fn end_dump(&mut self) {
        self.settle();
        let before = self.kept.len();
        self.kept.retain(|route| route.dump == self.dump);
        self.changed |= self.kept.len() != before;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    fn route(to: [u8; 4], prefix: u8, via: Option<[u8; 4]>, index: u32, metric: u32) -> message::KernelRoute {
        message::KernelRoute { network: to.into(), prefix, gateway: via.map(Into::into), index, metric }
    }

    fn book(most: usize) -> Book {
        let mut book = Book::new(Shadows::at(&[10, 11]), most);
        book.hear(Notice::Route(route([10, 0, 0, 0], 24, None, 10, 0)));
        book.hear(Notice::Route(route([192, 0, 2, 0], 24, None, 11, 0)));
        book.hear(Notice::Route(route([0; 4], 0, Some([192, 0, 2, 1]), 11, 0)));
        book
    }

    fn lead(book: &mut Book, to: [u8; 4]) -> Option<(u8, Ipv4Addr)> {
        book.changed = true;
        book.show().unwrap().lead(to.into())
    }

    #[test]
    fn the_longest_prefix_wins_then_the_lowest_metric() {
        let mut book = book(9);
        assert_eq!(lead(&mut book, [10, 0, 0, 9]), Some((0, [10, 0, 0, 9].into())));
        assert_eq!(lead(&mut book, [198, 51, 100, 1]), Some((1, [192, 0, 2, 1].into())));
        book.hear(Notice::Route(route([198, 51, 100, 0], 24, Some([192, 0, 2, 7]), 11, 20)));
        book.hear(Notice::Route(route([198, 51, 100, 0], 24, Some([192, 0, 2, 8]), 11, 10)));
        assert_eq!(lead(&mut book, [198, 51, 100, 1]), Some((1, [192, 0, 2, 8].into())));
        book.hear(Notice::RouteGone(route([198, 51, 100, 0], 24, Some([192, 0, 2, 8]), 11, 10)));
        assert_eq!(lead(&mut book, [198, 51, 100, 1]), Some((1, [192, 0, 2, 7].into())));
    }

    #[test]
    fn routes_of_other_interfaces_are_ignored() {
        let mut book = book(9);
        book.show().unwrap();
        book.hear(Notice::Route(route([172, 16, 0, 0], 12, None, 99, 0)));
        assert!(!book.has_news());
    }

    #[test]
    fn what_is_there_already_is_no_news() {
        let mut book = book(9);
        assert_eq!(book.show().unwrap().len(), 3);
        book.begin_dump();
        let same = book.kept.len();
        for route in [
            route([0; 4], 0, Some([192, 0, 2, 1]), 11, 0),
            route([10, 0, 0, 0], 24, None, 10, 0),
            route([192, 0, 2, 0], 24, None, 11, 0),
        ] {
            book.hear(Notice::Route(route));
        }
        book.end_dump();
        assert!(book.show().is_none() && book.len() == same);
    }

    #[test]
    fn what_a_dump_does_not_name_is_gone() {
        let mut book = book(9);
        book.show().unwrap();
        book.begin_dump();
        book.hear(Notice::Route(route([10, 0, 0, 0], 24, None, 10, 0)));
        book.end_dump();
        assert_eq!(book.show().unwrap().len(), 1);
        assert_eq!(book.numbers.len(), 1, "and what it led to");
    }

    #[test]
    fn what_finds_no_room_is_counted_and_taken_when_there_is_some() {
        let mut book = book(8);
        book.show().unwrap();
        for net in 0..9 {
            book.hear(Notice::Route(route([172, 16, net, 0], 24, None, 11, 0)));
        }
        assert_eq!((book.show().unwrap().len(), book.refused()), (8, 4));
        book.hear(Notice::Route(route([10, 0, 0, 0], 24, Some([10, 1, 1, 1]), 10, 0)));
        assert_eq!(
            lead(&mut book, [10, 0, 0, 9]),
            Some((0, [10, 1, 1, 1].into())),
            "what is there may change"
        );
        assert!(!book.could_take_more());
        book.hear(Notice::RouteGone(route([0; 4], 0, Some([192, 0, 2, 1]), 11, 0)));
        book.hear(Notice::RouteGone(route([192, 0, 2, 0], 24, None, 11, 0)));
        book.show().unwrap();
        assert!(book.could_take_more());
        book.begin_dump();
        assert!(!book.could_take_more(), "they come now");
    }

    proptest! {
        /// Whatever is heard, in whatever pieces it is put in its place: the book has what a map would have.
        #[test]
        fn it_has_what_was_heard(
            words in proptest::collection::vec((0u8..6, 22u8..26, 0u8..3, 0u32..2, any::<bool>(), any::<bool>()), 0..60)
        ) {
            let mut book = Book::new(Shadows::at(&[10]), 1000);
            let mut map = BTreeMap::new();
            for (net, prefix, via, metric, gone, settle) in words {
                let network = u32::from_be_bytes([10, 0, net, 0]) & ces_dataplane::wire::ipv4::mask(prefix);
                let said = route(network.to_be_bytes(), prefix, Some([10, 0, 0, via]), 10, metric);
                let key = (network, prefix, metric);
                if !gone {
                    map.insert(key, via);
                } else if map.get(&key) == Some(&via) {
                    map.remove(&key);
                }
                book.hear(if gone { Notice::RouteGone(said) } else { Notice::Route(said) });
                if settle {
                    book.settle();
                    book.forget_leads();
                }
            }
            book.settle();
            let has: Vec<_> = book.kept.iter().map(|route| {
                let via = book.leads[usize::from(route.number)].unwrap().1.unwrap();
                (route.key(), via.v4().octets()[3])
            }).collect();
            prop_assert_eq!(has, map.into_iter().collect::<Vec<_>>());
        }
    }
}
