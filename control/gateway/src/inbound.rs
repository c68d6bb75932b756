//! The Realm Gateway: a query from the plain Internet for a host's name sets a public address aside for a moment, and the first
//! packet that fits opens the way to the host.
//!
//! Here is which address, for whom, and what became of it. The workers hold the reservations ([`Command::Reserve`]) and end
//! them: by the packet that uses one, or when its time is over; an address is free again when they have said so.

mod fate;
mod pool;
mod proof;
mod reputation;
mod shown;
mod tally;

pub use fate::{Fate, Fates};
pub use pool::PoolAddress;
pub use reputation::ReputationRow;
pub use shown::{
    InboundFigures, InboundSnapshot, ReputationSnapshot, ReservationSnapshot, ServiceSnapshot, Told,
};

use crate::Nanos;
use crate::address::HostAddress;
use crate::configuration::Configuration;
use crate::outbox::Outbox;
use crate::output::QueryToken;
use crate::registry::Service;
use crate::settings::{Proof, RealmGateway, Resolvers, Wanted};
use ces_dataplane::msg::{Command, Reservation, ReservationEnd, ReservationId};
use ces_dns::message::Query;
use pool::{CircularPool, Tuple};
use proof::Prover;
use reputation::{Reputations, suffices};
use rustc_hash::{FxHashMap, FxSeededState};
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tally::Tally;

/// Queries over TCP that wait for an address at a time; a query is some 300 octets.
const LATE_MOST: usize = 1024;
/// Bits of a client's address that are its network's: what one subscriber is usually behind, and no more than a list can show.
const CLIENT_PREFIX: u8 = 24;

/// Why there is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// All are taken for what is wanted, or the worker's table is full.
    Exhausted,
    /// The host has as many pending reservations as it may.
    HostLimit,
    /// Who asks has not the reputation that the pool's load asks for.
    Reputation,
    /// Who asks holds an equal share of the addresses already.
    Share,
}

/// Who asks: from where, and by which key, if he signs.
#[derive(Clone, Debug)]
pub(crate) struct WhoAsks {
    pub(crate) address: SocketAddr,
    pub(crate) key: Option<String>,
}

/// Who wants what.
pub(crate) struct Wish<'a> {
    pub(crate) host: HostAddress,
    pub(crate) worker: u32,
    pub(crate) service: &'a Service,
    /// Who asked, and by which number.
    pub(crate) asker: &'a WhoAsks,
    pub(crate) id: u16,
    /// Where the client is.
    pub(crate) from: (Ipv4Addr, u8),
}

/// The same query is asked again by the same numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Asked {
    asker: SocketAddr,
    id: u16,
    name: Arc<str>,
}

/// A reservation that a worker holds.
struct Pending {
    asked: Asked,
    host: HostAddress,
    tuple: Tuple,
    address: Ipv4Addr,
    /// For whose network he asked, if he is believed.
    from: Option<Ipv4Addr>,
    since: Nanos,
    until: Nanos,
    /// Who asked has another one by now.
    is_replaced: bool,
}

/// The reservations of a worker by their numbers.
#[derive(Default)]
struct Book {
    lines: Vec<Option<Pending>>,
    free: Vec<u32>,
}

impl Book {
    fn number(&mut self, most: u32) -> Option<u32> {
        self.free.pop().or_else(|| {
            let next = self.lines.len() as u32;
            (next < most).then(|| {
                self.lines.push(None);
                next
            })
        })
    }
}

/// A query over TCP that is answered later.
pub(crate) struct Late {
    pub(crate) due: Nanos,
    pub(crate) client: SocketAddr,
    pub(crate) query: Query,
    pub(crate) token: QueryToken,
}

/// The Realm Gateway's state.
pub(crate) struct InboundState {
    settings: Option<RealmGateway>,
    /// Reservations that a worker has room for.
    room: u32,
    pool: CircularPool,
    books: Vec<Book>,
    /// Where those stand that were asked for so.
    asked: HashMap<Asked, (u32, u32), FxSeededState>,
    by_host: FxHashMap<HostAddress, u32>,
    late: VecDeque<Late>,
    prover: Prover,
    fates: Fates,
    resolvers: Tally<IpAddr>,
    clients: Tally<Ipv4Addr>,
    services: Tally<Arc<str>>,
    /// What comes of those who ask, and of those who come.
    askers: Reputations,
    comers: Reputations,
    /// How often a reputation, or a share, did not suffice.
    wanting: [u64; 2],
}

impl InboundState {
    /// For workers with room for so many reservations each.
    pub(crate) fn new(
        settings: Option<RealmGateway>,
        workers: u32,
        room: u32,
        seed: u64,
        key: [u8; 32],
    ) -> Self {
        let mut inbound = Self {
            settings: None,
            room,
            pool: CircularPool::new(workers),
            books: (0..workers).map(|_| Book::default()).collect(),
            asked: HashMap::with_hasher(FxSeededState::with_seed(seed as usize)),
            by_host: FxHashMap::default(),
            late: VecDeque::new(),
            prover: Prover::new(key),
            fates: Fates::default(),
            resolvers: Tally::new(seed.rotate_left(16)),
            clients: Tally::new(seed.rotate_left(32)),
            services: Tally::new(seed.rotate_left(48)),
            askers: Reputations::new(seed.rotate_left(8)),
            comers: Reputations::new(seed.rotate_left(24)),
            wanting: [0; 2],
        };
        inbound.set(settings);
        inbound
    }

    fn set(&mut self, settings: Option<RealmGateway>) {
        let addresses = settings.as_ref().map(RealmGateway::pool).unwrap_or_default();
        self.pool.offer(&addresses);
        self.settings = settings;
    }

    /// Whether there is a pool at all.
    pub(crate) fn is_there(&self) -> bool {
        self.settings.is_some()
    }

    /// How who asks from there proves that he is there.
    pub(crate) fn proof(&self, asker: &WhoAsks) -> Proof {
        let group = self.group(asker).map(|group| group.proof);
        group.or(self.settings.as_ref().map(|settings| settings.proof)).unwrap_or(Proof::None)
    }

    /// The group of who asks, if it is one of any.
    fn group(&self, asker: &WhoAsks) -> Option<&Resolvers> {
        self.settings.as_ref()?.group(asker.address.ip(), asker.key.as_deref())
    }

    /// Whether who asks from there is believed for whose network he asks.
    pub(crate) fn believes_subnets_of(&self, asker: &WhoAsks) -> bool {
        self.group(asker).is_some_and(|group| group.client_subnet)
    }

    /// What labels and cookies are made with.
    pub(crate) fn prover(&self) -> &Prover {
        &self.prover
    }

    /// Other settings and hosts: what is pending for a service that is no longer there is taken back.
    pub(crate) fn change(&mut self, configuration: &Configuration, out: &mut Outbox) {
        self.set(configuration.settings().realm_gateway.clone());
        let registry = configuration.registry();
        let stands = |pending: &Pending| {
            let service = registry.host(&pending.asked.name).filter(|host| host.address == pending.host);
            let service = service.and_then(|host| host.inbound(&pending.asked.name));
            service.is_some_and(|service| tuple_of(service) == pending.tuple)
        };
        for (worker, book) in self.books.iter().enumerate() {
            for (number, pending) in book.lines.iter().enumerate() {
                if pending.as_ref().is_some_and(|pending| !stands(pending)) {
                    out.command(worker as u32, Command::Withdraw(ReservationId(number as u32)));
                }
            }
        }
    }

    /// Sets an address aside for a client of whoever asked.
    pub(crate) fn reserve(
        &mut self,
        wish: &Wish<'_>,
        out: &mut Outbox,
        now: Nanos,
    ) -> Result<Ipv4Addr, Refusal> {
        let name = wish.service.name.shared();
        let group = self.group(wish.asker);
        let clients = group.map_or(1, |group| group.clients);
        let is_known = group.is_some_and(|group| !group.reputation);
        let asker = wish.asker.address;
        // Whose answers are for several clients has the same one for all his queries.
        let asked = if clients > 1 {
            Asked { asker: SocketAddr::new(asker.ip(), 0), id: 0, name }
        } else {
            Asked { asker, id: wish.id, name }
        };
        if let Some(address) = self.again(&asked, clients, out, now) {
            return Ok(address);
        }
        let may = if is_known { Ok(()) } else { self.may_have(wish, now) };
        let taken = may.and_then(|()| self.place(wish, (asked, clients), out, now));
        match &taken {
            Ok(_) => self.askers.begin(asker.ip(), now),
            Err(refusal) => {
                match refusal {
                    Refusal::Reputation => self.wanting[0] += 1,
                    Refusal::Share => self.wanting[1] += 1,
                    Refusal::Exhausted | Refusal::HostLimit => {}
                }
                self.count(asker.ip(), &wish.service.name.shared(), Fate::Refused);
            }
        }
        taken
    }

    /// Whether who asks has the reputation for what he wants, as full as the pool is: for whose network he is believed to ask,
    /// that network's.
    fn may_have(&mut self, wish: &Wish<'_>, now: Nanos) -> Result<(), Refusal> {
        let Some(settings) = &self.settings else { return Ok(()) };
        let (wanted, taken, offered) = self.pool.outlook(wish.worker, tuple_of(wish.service));
        let asker = wish.asker.address.ip();
        let reputation = if wish.from.1 > 0 {
            self.comers.of(wish.from.0.into(), now)
        } else {
            self.askers.of(asker, now)
        };
        let load_percent = (taken * 100).checked_div(offered).unwrap_or(0) as u32;
        if !suffices(&settings.tiers, load_percent, wanted, reputation) {
            return Err(Refusal::Reputation);
        }
        // What shares an address takes none from anybody.
        let needs_share = wanted != Wanted::Shared && reputation < settings.share_below;
        if needs_share && !self.askers.holds_less(asker, offered) { Err(Refusal::Share) } else { Ok(()) }
    }

    /// The address of a query that is sent again, if it lasts long enough; otherwise it is replaced, or left to those who were
    /// told it.
    fn again(&mut self, asked: &Asked, clients: u16, out: &mut Outbox, now: Nanos) -> Option<Ipv4Addr> {
        let (worker, number) = self.asked.get(asked).copied()?;
        let pending = self.books[worker as usize].lines[number as usize].as_mut()?;
        let half = (pending.until - pending.since) / 2;
        if now + half <= pending.until {
            return Some(pending.address);
        }
        self.asked.remove(asked);
        if clients == 1 {
            pending.is_replaced = true;
            out.command(worker, Command::Withdraw(ReservationId(number)));
        }
        None
    }

    fn place(
        &mut self,
        wish: &Wish<'_>,
        (asked, clients): (Asked, u16),
        out: &mut Outbox,
        now: Nanos,
    ) -> Result<Ipv4Addr, Refusal> {
        let settings = self.settings.as_ref().ok_or(Refusal::Exhausted)?;
        let pending = self.by_host.get(&wish.host).copied().unwrap_or(0);
        if pending >= settings.host_reservations {
            return Err(Refusal::HostLimit);
        }
        let (service, tuple, worker) = (wish.service, tuple_of(wish.service), wish.worker);
        let book = self.books.get_mut(worker as usize).ok_or(Refusal::Exhausted)?;
        let number = book.number(self.room).ok_or(Refusal::Exhausted)?;
        let Some(address) = self.pool.take(worker, tuple) else {
            book.free.push(number);
            return Err(Refusal::Exhausted);
        };
        let lasts_ms = service.timeout_ms.unwrap_or(settings.timeout_ms);
        let reservation = Reservation {
            address,
            port: tuple.port,
            protocol: tuple.protocol,
            host: wish.host.v4(),
            from: wish.from,
            loose: u16::try_from(service.loose_packets.unwrap_or(settings.loose_packets)).ok(),
            clients,
            lasts_ms,
        };
        out.command(worker, Command::Reserve(ReservationId(number), reservation));
        let until = now + Nanos::from(lasts_ms) * (crate::SECOND / 1000);
        self.asked.insert(asked.clone(), (worker, number));
        *self.by_host.entry(wish.host).or_default() += 1;
        let host = wish.host;
        let from = (wish.from.1 > 0).then_some(wish.from.0);
        let line = Pending { asked, host, tuple, address, from, since: now, until, is_replaced: false };
        book.lines[number as usize] = Some(line);
        Ok(address)
    }

    /// A worker's reservation is over.
    pub(crate) fn ended(&mut self, worker: u32, id: ReservationId, end: ReservationEnd, now: Nanos) -> bool {
        let Some(book) = self.books.get_mut(worker as usize) else { return false };
        let Some(pending) = book.lines.get_mut(id.0 as usize).and_then(Option::take) else { return false };
        book.free.push(id.0);
        let Pending { asked, host, tuple, address, from, is_replaced, .. } = pending;
        self.pool.give_back(address, tuple);
        if self.asked.get(&asked) == Some(&(worker, id.0)) {
            self.asked.remove(&asked);
        }
        if let Some(count) = self.by_host.get_mut(&host) {
            *count -= 1;
            if *count == 0 {
                self.by_host.remove(&host);
            }
        }
        let fate = match end {
            ReservationEnd::Used(client) => {
                self.comers.note(client.into(), true, now);
                let bits = client.to_bits() & u32::MAX << (32 - CLIENT_PREFIX);
                self.clients.count(&bits.into(), Fate::Used);
                Fate::Used
            }
            ReservationEnd::Expired => {
                if let Some(from) = from {
                    self.comers.note(from.into(), false, now);
                }
                Fate::Expired
            }
            ReservationEnd::Withdrawn if is_replaced => Fate::Replaced,
            ReservationEnd::Withdrawn => Fate::Withdrawn,
            ReservationEnd::Refused => Fate::Refused,
        };
        let was_used = match fate {
            Fate::Used => Some(true),
            Fate::Expired => Some(false),
            Fate::Refused | Fate::Replaced | Fate::Withdrawn => None,
        };
        self.askers.end(asked.asker.ip(), was_used, now);
        self.count(asked.asker.ip(), &asked.name, fate);
        true
    }

    fn count(&mut self, resolver: IpAddr, name: &Arc<str>, fate: Fate) {
        self.fates[fate as usize] += 1;
        self.resolvers.count(&resolver, fate);
        self.services.count(name, fate);
    }

    /// Has a query over TCP wait for an address, if it may: `None` if it does.
    pub(crate) fn wait(
        &mut self,
        client: SocketAddr,
        query: Query,
        token: QueryToken,
        now: Nanos,
    ) -> Option<Query> {
        let retry_ms = self.settings.as_ref().map_or(0, |settings| settings.retry_ms);
        if retry_ms == 0 || self.late.len() >= LATE_MOST {
            return Some(query);
        }
        let due = now + Nanos::from(retry_ms) * (crate::SECOND / 1000);
        self.late.push_back(Late { due, client, query, token });
        None
    }

    /// The client of a query that waits went away.
    pub(crate) fn gone(&mut self, token: QueryToken) -> bool {
        let place = self.late.iter().position(|late| late.token == token);
        place.and_then(|place| self.late.remove(place)).is_some()
    }

    /// When the next query that waits is due.
    pub(crate) fn next_late(&self) -> Option<Nanos> {
        self.late.front().map(|late| late.due)
    }

    /// A query that waits and is due.
    pub(crate) fn take_late(&mut self, now: Nanos) -> Option<Late> {
        self.late.pop_front_if(|late| late.due <= now)
    }
}

const fn tuple_of(service: &Service) -> Tuple {
    Tuple { port: service.port, protocol: service.protocol }
}
