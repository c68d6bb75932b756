//! Long lists for `cesctl`, a page at a time: between two pages others have their turn, and no page is made before the one
//! before it has been read.

use super::house::House;
use super::rules::Snapshot;
use super::shortage::{Holders, Of};
use super::views;
use crate::admin::protocol::{Response, Topic};
use crate::records::RecordAnswer;
use crate::slots::Key;
use crate::sources::netlink::table::NextHop;
use ces_dataplane::msg::{Command, Event, HostView, NatRow, NatTable};
use ces_gateway::snapshot::{BindingSnapshot, Page};
use ces_gateway::{AdminToken, Routes};
use serde::Serialize;
use serde_json::{Value, json};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};

/// Rows of a page: some hundred microseconds' work.
const ROWS: usize = 64;
/// Bytes that wait for a client before the next page is made.
const BACKLOG_BYTES: usize = 256 << 10;
/// How long workers may take to tell the counters of a page, in nanoseconds; then it is shown without them.
const READ_NS: u64 = 1_000_000_000;
/// Bits of a token for the place in a page; the rest names the page.
const PLACE_BITS: u32 = 10;

/// What is left of a list.
enum Rest {
    Bindings(u64),
    Hosts(u64),
    Neighbours(std::vec::IntoIter<(NextHop, [u8; 6])>),
    /// Static mappings of NAT44.
    Statics,
    /// A table of NAT44: of this worker, from this row on.
    Rows(NatTable, usize, u32),
    Routes(Arc<Routes>, usize),
    Rules(Snapshot, usize),
    Services(u64),
    Reservations(u64),
    Leases(u32),
    Names(u64),
    /// The store of records is looked through.
    Who(Receiver<io::Result<Vec<RecordAnswer>>>),
    Nothing,
}

/// A page of bindings that waits for its counters.
struct Counting {
    number: u64,
    rows: Vec<BindingSnapshot>,
    outstanding: usize,
    deadline: u64,
}

/// A page of a table that a worker is asked for.
struct Reading {
    number: u16,
    rows: Vec<Value>,
    hosts: Vec<HostView>,
    /// Whether the worker has told of all, and where to go on.
    is_whole: bool,
    next: Option<u32>,
    deadline: u64,
}

/// Whom a list is for.
#[derive(Clone, Copy)]
enum Reader {
    Client(Key),
    /// The log, which says that there is little left of this.
    Log(Of),
}

struct Listing {
    reader: Reader,
    rest: Rest,
    /// Of the hosts that were told, those that hold most.
    holders: Holders,
    counting: Option<Counting>,
    reading: Option<Reading>,
}

/// The lists that are being made.
#[derive(Default)]
pub(super) struct Listings {
    all: Vec<Listing>,
    next: u64,
}

impl Listings {
    /// Begins a list; false if the topic is none that comes in pages.
    pub(super) fn begin(&mut self, client: Key, topic: Topic, house: &House) -> bool {
        let rest = match topic {
            Topic::Bindings => Rest::Bindings(0),
            Topic::Hosts => Rest::Hosts(0),
            Topic::Neighbours => {
                let mut hops: Vec<_> = house.sources.kernel.table().neighbours().collect();
                hops.sort_unstable_by_key(|(hop, _)| hop.address);
                Rest::Neighbours(hops.into_iter())
            }
            Topic::Sessions => Rest::Rows(NatTable::Sessions, 0, 0),
            Topic::Holders => Rest::Rows(NatTable::Hosts, 0, 0),
            Topic::Mappings => Rest::Statics,
            Topic::Rules => Rest::Rules(house.rules.snapshot(), 0),
            Topic::Services => Rest::Services(0),
            Topic::Reservations => Rest::Reservations(0),
            Topic::Leases => Rest::Leases(0),
            Topic::Names => Rest::Names(0),
            _ => return false,
        };
        self.add(Reader::Client(client), rest);
        true
    }

    /// Answers when the store of records does.
    pub(super) fn begin_who(&mut self, client: Key, answer: Receiver<io::Result<Vec<RecordAnswer>>>) {
        self.add(Reader::Client(client), Rest::Who(answer));
    }

    /// Begins a list of who has that of which there is little left, for the log.
    pub(super) fn begin_shortage(&mut self, of: Of) {
        self.add(Reader::Log(of), Rest::Rows(NatTable::Hosts, 0, 0));
    }

    fn add(&mut self, reader: Reader, rest: Rest) {
        let holders = Holders::default();
        self.all.push(Listing { reader, rest, holders, counting: None, reading: None });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// A worker told the counters of a binding.
    pub(super) fn told(&mut self, token: AdminToken, binding: Option<BindingSnapshot>) {
        let (number, place) = (token.0 >> PLACE_BITS, (token.0 & ((1 << PLACE_BITS) - 1)) as usize);
        let waiting = self.all.iter_mut().filter_map(|listing| listing.counting.as_mut());
        let Some(page) = waiting.into_iter().find(|page| page.number == number) else { return };
        page.outstanding = page.outstanding.saturating_sub(1);
        if let (Some(read), Some(own)) = (binding, page.rows.get_mut(place)) {
            own.stats = read.stats;
        }
    }

    /// A worker told a row, or that it has told of all it was asked for.
    pub(super) fn told_row(&mut self, event: &Event) {
        let (Event::Row(number, _) | Event::RowsRead(number, _)) = *event else { return };
        let waiting = self.all.iter_mut().filter_map(|listing| listing.reading.as_mut());
        let Some(page) = waiting.into_iter().find(|page| page.number == number) else { return };
        match *event {
            Event::Row(_, NatRow::Session(session)) => page.rows.push(json!(views::session(&session))),
            Event::Row(_, NatRow::Mapping(mapping)) => page.rows.push(json!(views::mapping(&mapping))),
            Event::Row(_, NatRow::Host(host)) => page.hosts.push(host),
            Event::RowsRead(_, next) => (page.is_whole, page.next) = (true, next),
            _ => {}
        }
    }

    /// Makes a page of the list whose turn it is. True if there was one to make.
    pub(super) fn step(&mut self, house: &mut House, now: u64) -> bool {
        for _ in 0..self.all.len() {
            let mut listing = self.all.remove(0);
            if let Reader::Client(client) = listing.reader {
                let Some(backlog) = house.sources.admin.backlog(client) else { continue };
                if backlog >= BACKLOG_BYTES {
                    self.all.push(listing);
                    continue;
                }
            }
            let answer = listing.page(&mut self.next, house, now);
            let worked = answer.is_some();
            let is_over = answer.as_ref().is_some_and(|answer| !matches!(answer, Response::Item(_)));
            match (listing.reader, answer) {
                (Reader::Client(client), Some(answer)) => {
                    house.sources.admin.respond(client, &answer);
                }
                (Reader::Log(of), Some(_)) if is_over => listing.holders.log(of),
                _ => {}
            }
            if !is_over {
                self.all.push(listing);
            }
            if worked {
                return true;
            }
        }
        false
    }
}

impl Listing {
    /// The next page, or the end; `None` while workers are asked.
    fn page(&mut self, next: &mut u64, house: &mut House, now: u64) -> Option<Response> {
        if let Some(page) = &self.counting
            && (page.outstanding > 0 && now < page.deadline)
        {
            return None;
        }
        if let Some(page) = self.counting.take() {
            return Some(Response::Item(rows(&page.rows)));
        }
        if let Some(page) = &self.reading
            && (!page.is_whole && now < page.deadline)
        {
            return None;
        }
        if let (Some(page), Rest::Rows(table, worker, _)) = (self.reading.take(), &self.rest) {
            let after = worker + 1;
            self.rest = match page.next {
                Some(from) => Rest::Rows(*table, *worker, from),
                None if after < house.fleet.len() => Rest::Rows(*table, after, 0),
                None => Rest::Nothing,
            };
            page.hosts.into_iter().for_each(|host| self.holders.add(host));
            return Some(Response::Item(rows(&page.rows)));
        }
        match &mut self.rest {
            Rest::Statics => {
                self.rest = Rest::Rows(NatTable::Mappings, 0, 0);
                Some(Response::Item(rows(&views::statics(house))))
            }
            Rest::Rows(table, worker, from) => {
                let number = *next as u16;
                *next += 1;
                house.fleet.command(*worker, Command::ReadRows(*table, number, *from));
                self.reading = Some(Reading {
                    number,
                    rows: Vec::new(),
                    hosts: Vec::new(),
                    is_whole: false,
                    next: None,
                    deadline: now + READ_NS,
                });
                None
            }
            Rest::Bindings(from) => {
                let Page { rows, next: after } = house.gateway.bindings_page(*from, ROWS, now);
                self.rest = after.map_or(Rest::Nothing, Rest::Bindings);
                let number = *next;
                *next += 1;
                for (place, binding) in rows.iter().enumerate() {
                    let token = AdminToken(number << PLACE_BITS | place as u64);
                    house.gateway.read_binding(binding.tag, token);
                }
                let outstanding = rows.len();
                self.counting = Some(Counting { number, rows, outstanding, deadline: now + READ_NS });
                house.pump(now);
                None
            }
            Rest::Hosts(from) => {
                let page = house.gateway.hosts_page(*from, ROWS, now);
                self.rest = page.next.map_or(Rest::Nothing, Rest::Hosts);
                Some(Response::Item(rows(&page.rows)))
            }
            Rest::Services(from) => {
                let page = house.gateway.services_page(*from, ROWS);
                self.rest = page.next.map_or(Rest::Nothing, Rest::Services);
                Some(Response::Item(rows(&page.rows)))
            }
            Rest::Reservations(from) => {
                let page = house.gateway.reservations_page(*from, ROWS, now);
                self.rest = page.next.map_or(Rest::Nothing, Rest::Reservations);
                Some(Response::Item(rows(&page.rows)))
            }
            Rest::Leases(from) => {
                let (page, next) = house.dhcp.page(*from, ROWS, now);
                self.rest = next.map_or(Rest::Nothing, Rest::Leases);
                Some(Response::Item(rows(&page)))
            }
            Rest::Names(from) => {
                let page = house.gateway.added(*from, ROWS);
                self.rest = page.next.map_or(Rest::Nothing, Rest::Names);
                Some(Response::Item(rows(&page.rows)))
            }
            Rest::Neighbours(left) => {
                let page: Vec<_> =
                    left.take(ROWS).map(|(hop, mac)| views::neighbour(house, hop, mac)).collect();
                if page.is_empty() {
                    self.rest = Rest::Routes(Arc::clone(house.sources.learnt.routes()), 0);
                }
                Some(Response::Item(json!({ "neighbours": page })))
            }
            Rest::Rules(rules, from) => {
                let page = rules.rows(*from, ROWS);
                *from += ROWS;
                if page.len() < ROWS {
                    self.rest = Rest::Nothing;
                }
                Some(Response::Item(rows(&page)))
            }
            Rest::Routes(routes, from) => {
                let page: Vec<_> =
                    routes.page(*from, ROWS).map(|route| views::route(house, &route)).collect();
                *from += ROWS;
                if page.is_empty() {
                    self.rest = Rest::Nothing;
                }
                Some(Response::Item(json!({ "routes": page })))
            }
            Rest::Who(answer) => match answer.try_recv() {
                Ok(Ok(found)) => Some(Response::Ok(rows(&found))),
                Ok(Err(error)) => Some(Response::Error(format!("the records cannot be read: {error}"))),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => {
                    Some(Response::Error("the records cannot be looked through".to_owned()))
                }
            },
            // What comes behind the pages: the hosts that hold most are known when all are.
            Rest::Nothing if !self.holders.is_empty() && matches!(self.reader, Reader::Client(_)) => {
                Some(Response::Item(rows(&std::mem::take(&mut self.holders).rows())))
            }
            Rest::Nothing => Some(Response::Ok(Value::Null)),
        }
    }
}

fn rows(rows: &[impl Serialize]) -> Value {
    serde_json::to_value(rows).unwrap_or_default()
}
