//! The server: each message becomes an answer, silence, or something that has to be found out or written down before.
//!
//! An address is probed before it is offered (RFC 2131 §2.2): the offer waits, nothing else does. A lease is written down before
//! it is acknowledged, so that who comes after this process knows of everything that a client may rely on.

mod claims;

use crate::book::{Availability, LeaseBook, Seat};
use crate::lease::{Client, Lease, LeaseRecord, LeaseState};
use crate::message::{self, Came, ClientMessage, Kind};
use crate::outcome::{DhcpCounters, Outcome};
use crate::reply::{self, Granted, Reply, To};
use crate::settings::Settings;
use crate::{HardwareAddress, MILLISECOND, Nanos, PortNumber, SECOND};
use ces_dns::limit::{Exceeded, RateLimit, Rates};
use rustc_hash::{FxHashMap, FxHasher};
use std::collections::{BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Acknowledgements that may wait to be written down.
const UNWRITTEN: usize = 4096;
/// Addresses that may be probed at a time.
const PROBES: usize = 4096;
/// Addresses that are probed for one DISCOVER.
const TRIES: u8 = 4;
/// Clients, and links, whose rates are remembered.
const RATED: u32 = 4096;
/// Entries that end in one call of [`Server::handle_timeout`]: some hundred microseconds.
const PIECE: usize = 256;

/// How a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DhcpArrival {
    /// The port of the gateway.
    pub port: PortNumber,
    /// The station that sent the frame: the client, or a router or relay on the way.
    pub mac: HardwareAddress,
    /// The source address.
    pub source: Ipv4Addr,
    /// The gateway's address that it was sent to; none: to everybody.
    pub to: Option<Ipv4Addr>,
}

/// One thing to be done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DhcpOutput {
    /// Write this down, and tell [`Server::handle_written`] the number.
    Write(u64, LeaseRecord),
    /// Send this.
    Send(Reply),
    /// Ask on the link of this port who has an address; tell [`Server::handle_seen`] who answers.
    Probe(PortNumber, Ipv4Addr),
    /// An address has a host by a lease that holds; or none any more.
    Host(Ipv4Addr, Option<DhcpHost>),
    /// Tell the operator.
    Notice(DhcpNotice),
}

/// A host that has its address by a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DhcpHost {
    /// Its hardware address, where its frames come from there.
    pub mac: Option<HardwareAddress>,
    /// What it calls itself, where such names count.
    pub name: Option<Box<str>>,
}

/// What an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DhcpNotice {
    /// Another server answers hosts of ours.
    ForeignServer {
        /// The port of the gateway.
        port: PortNumber,
        /// Who it says that it is.
        server: Option<Ipv4Addr>,
        /// The station.
        mac: HardwareAddress,
    },
    /// An address of a pool is used by somebody who has no lease.
    InUse {
        /// The address.
        address: Ipv4Addr,
        /// The station.
        mac: HardwareAddress,
    },
    /// A client says that somebody else uses its address.
    Declined {
        /// The address.
        address: Ipv4Addr,
        /// The client.
        mac: HardwareAddress,
    },
    /// A client's name was used by another station, which was refused.
    Stranger {
        /// The client's address.
        address: Ipv4Addr,
        /// The client.
        owner: HardwareAddress,
        /// The station.
        mac: HardwareAddress,
    },
    /// A client speaks from another station than before, and no longer answers there.
    Moved {
        /// Its address.
        address: Ipv4Addr,
        /// The station before.
        owner: HardwareAddress,
        /// The station.
        mac: HardwareAddress,
    },
    /// A subnet has no address left.
    Exhausted {
        /// A client that gets none.
        mac: HardwareAddress,
    },
    /// A lease began.
    Leased {
        /// The address.
        address: Ipv4Addr,
        /// The client.
        mac: HardwareAddress,
        /// What it calls itself.
        name: Option<Box<str>>,
    },
    /// A lease has ended.
    Ended {
        /// The address.
        address: Ipv4Addr,
        /// The client.
        mac: HardwareAddress,
    },
}

/// A DISCOVER that waits for nobody to answer.
#[derive(Debug)]
struct Probing {
    request: Box<ClientMessage>,
    arrival: DhcpArrival,
    subnet: usize,
    until: Nanos,
    tries: u8,
}

/// A message that waits for the owner of a lease to answer.
#[derive(Debug)]
struct Challenge {
    request: Box<ClientMessage>,
    arrival: DhcpArrival,
    until: Nanos,
    asked: u8,
}

/// An acknowledgement that waits to be written down.
#[derive(Debug)]
struct Waiting {
    number: u64,
    address: Ipv4Addr,
    reply: Reply,
    outcome: Outcome,
}

/// The server.
pub struct Server {
    book: LeaseBook,
    clients: RateLimit,
    links: RateLimit,
    probing: FxHashMap<u32, Probing>,
    /// Probes by when they are over.
    due: BTreeSet<(Nanos, u32)>,
    /// Messages in the name of another station, by the address of its lease.
    challenges: FxHashMap<u32, Challenge>,
    /// Challenges by when the owner is asked again, or its time is over.
    patience: BTreeSet<(Nanos, u32)>,
    waiting: VecDeque<Waiting>,
    /// The number of the last record.
    written: u64,
    out: VecDeque<DhcpOutput>,
    counters: DhcpCounters,
    seed: u64,
}

fn limit(rate: u32, burst: u32, seed: u64) -> RateLimit {
    let rates = Rates {
        client_per_second: rate,
        client_burst: burst,
        total_per_second: u32::MAX,
        total_burst: u32::MAX,
        clients: RATED,
    };
    RateLimit::new(&rates, seed)
}

/// A hardware address as one that rates are kept by.
fn rated(mac: HardwareAddress) -> IpAddr {
    let number = mac.iter().fold(0u128, |number, octet| number << 8 | u128::from(*octet));
    Ipv6Addr::from(number << 64).into()
}

impl Server {
    /// A server without leases. The seed is random.
    pub fn new(settings: Settings, seed: u64) -> Self {
        let (clients, links) = limits(&settings, seed);
        Self {
            book: LeaseBook::new(settings),
            clients,
            links,
            probing: FxHashMap::default(),
            due: BTreeSet::new(),
            challenges: FxHashMap::default(),
            patience: BTreeSet::new(),
            waiting: VecDeque::new(),
            written: 0,
            out: VecDeque::new(),
            counters: DhcpCounters::default(),
            seed,
        }
    }

    /// Takes up what the last process wrote down, in its order.
    pub fn restore(&mut self, records: impl IntoIterator<Item = LeaseRecord>, now: Nanos) {
        records.into_iter().for_each(|record| self.book.restore(record, now));
        self.tell_hosts();
    }

    /// Goes on with other settings. What is leased stays leased.
    pub fn configure(&mut self, settings: Settings) {
        if settings == *self.book.settings() {
            return;
        }
        (self.clients, self.links) = limits(&settings, self.seed);
        // Who waits for a probe asks again.
        for _ in 0..self.probing.len() + self.challenges.len() {
            self.counters.count(Outcome::Probing);
        }
        self.probing.clear();
        self.due.clear();
        self.challenges.clear();
        self.patience.clear();
        let is_other_naming = settings.names != self.book.settings().names;
        self.book.configure(settings);
        if is_other_naming {
            self.tell_hosts();
        }
    }

    /// The addresses.
    pub fn book(&self) -> &LeaseBook {
        &self.book
    }

    /// What was counted.
    pub fn counters(&self) -> &DhcpCounters {
        &self.counters
    }

    /// Messages that wait for somebody to answer, and acknowledgements that wait to be written down.
    pub fn under_way(&self) -> (usize, usize) {
        (self.probing.len() + self.challenges.len(), self.waiting.len())
    }

    /// The next thing to do; ask until `None` after every call.
    pub fn poll_output(&mut self) -> Option<DhcpOutput> {
        self.out.pop_front()
    }

    /// When [`Server::handle_timeout`] is due next.
    pub fn poll_timeout(&self) -> Option<Nanos> {
        let first = |due: &BTreeSet<(Nanos, u32)>| due.first().map(|(at, _)| *at);
        [first(&self.due), first(&self.patience), self.book.next_end()].into_iter().flatten().min()
    }

    /// Time has come for what [`Server::poll_timeout`] announced.
    pub fn handle_timeout(&mut self, now: Nanos) {
        while self.due.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, address)) = self.due.pop_first() else { break };
            if let Some(probing) = self.probing.remove(&address) {
                let Probing { request, arrival, subnet, .. } = probing;
                let outcome = self.send_offer(&arrival, &request, subnet, address.into(), now);
                self.counters.count(outcome);
            }
        }
        self.press(now);
        for _ in 0..PIECE {
            let Some(ended) = self.book.expire(now) else { break };
            if ended.state == LeaseState::Bound {
                self.counters.expired += 1;
                self.tell_host(ended.address);
                self.tell(DhcpNotice::Ended { address: ended.address, mac: ended.mac });
            }
        }
    }

    /// A frame that was no datagram for a server or client, and so no message.
    pub fn handle_garbage(&mut self) {
        self.counters.count(Outcome::NotDhcp);
    }

    /// A message came.
    pub fn handle(&mut self, arrival: &DhcpArrival, bytes: &[u8], now: Nanos) {
        let outcome = match message::parse(bytes) {
            Err(outcome) => Some(outcome),
            Ok(Came::Answer(answer)) => Some(self.foreign(arrival, answer.server)),
            Ok(Came::Request(request)) => self.serve(arrival, request, now),
        };
        if let Some(outcome) = outcome {
            self.counters.count(outcome);
        }
    }

    /// A station has an address, as ARP says.
    pub fn handle_seen(&mut self, address: Ipv4Addr, mac: HardwareAddress, now: Nanos) {
        self.hear_owner(address, mac, now);
        let bits = address.to_bits();
        if self.probing.get(&bits).is_none_or(|probing| probing.request.mac == mac) {
            return;
        }
        let Some(probing) = self.take_probing(bits) else { return };
        self.counters.conflicts += 1;
        self.tell(DhcpNotice::InUse { address, mac });
        let until = now + u64::from(self.book.settings().decline_s) * SECOND;
        self.book.decline(address, Client::of_mac(mac), mac, until);
        let Probing { request, arrival, subnet, tries, .. } = probing;
        let outcome = if tries >= TRIES {
            Some(Outcome::InUse)
        } else {
            self.discover(&arrival, request, &[subnet], tries, now)
        };
        if let Some(outcome) = outcome {
            self.counters.count(outcome);
        }
    }

    /// All records up to this number have been written down; or they could not be.
    pub fn handle_written(&mut self, number: u64, is_written: bool) {
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| waiting.number <= number) {
            if is_written {
                self.counters.count(waiting.outcome);
                self.out.push_back(DhcpOutput::Send(waiting.reply));
            } else {
                self.counters.count(Outcome::Unwritten);
            }
        }
    }

    /// Tells who has an address.
    fn tell_host(&mut self, address: Ipv4Addr) {
        let lease = self.book.at(address).filter(|lease| lease.state == LeaseState::Bound);
        let host = lease.map(|lease| DhcpHost {
            mac: lease.is_near.then_some(lease.mac),
            name: lease.name.clone().filter(|_| self.book.settings().names),
        });
        self.out.push_back(DhcpOutput::Host(address, host));
    }

    /// Tells all who have one.
    fn tell_hosts(&mut self) {
        let bound = self.book.leases().filter(|lease| lease.state == LeaseState::Bound);
        for address in bound.map(|lease| lease.address).collect::<Vec<_>>() {
            self.tell_host(address);
        }
    }

    fn tell(&mut self, notice: DhcpNotice) {
        self.out.push_back(DhcpOutput::Notice(notice));
    }

    /// An answer of a server: another one than this, on a link of ours.
    fn foreign(&mut self, arrival: &DhcpArrival, server: Option<Ipv4Addr>) -> Outcome {
        if server.is_some_and(|server| self.book.settings().own.contains(&server)) {
            return Outcome::OwnAnswer;
        }
        self.tell(DhcpNotice::ForeignServer { port: arrival.port, server, mac: arrival.mac });
        Outcome::ForeignServer
    }

    /// What becomes of a client's message; `None`: it is under way.
    fn serve(&mut self, arrival: &DhcpArrival, request: Box<ClientMessage>, now: Nanos) -> Option<Outcome> {
        let (client, link) = if request.is_relayed() {
            (rated(request.mac), request.giaddr.into())
        } else {
            (rated(arrival.mac), Ipv4Addr::from(u32::from(arrival.port)).into())
        };
        if self.clients.admit(client, now) == Err(Exceeded::Client) {
            return Some(Outcome::RateClient);
        }
        if self.links.admit(link, now) == Err(Exceeded::Client) {
            return Some(Outcome::RateLink);
        }
        self.admitted(arrival, request, now)
    }

    fn admitted(
        &mut self,
        arrival: &DhcpArrival,
        request: Box<ClientMessage>,
        now: Nanos,
    ) -> Option<Outcome> {
        let places = self.places(arrival, &request);
        if places.is_empty() {
            return Some(Outcome::NoSubnet);
        }
        let request = match self.vouch(arrival, request, &places, now) {
            Ok(request) => request,
            Err(outcome) => return outcome,
        };
        match request.kind {
            Kind::Discover => self.discover(arrival, request, &places, 0, now),
            Kind::Request => self.request(arrival, &request, &places, now),
            Kind::Decline => Some(self.declined(&request, now)),
            Kind::Release => Some(self.released(&request, now)),
            Kind::Inform => Some(self.inform(arrival, &request, &places)),
        }
    }

    /// The subnets that a client may be in: that of its relay, that of the address which it has, or those of the link.
    fn places(&self, arrival: &DhcpArrival, request: &ClientMessage) -> Vec<usize> {
        if request.is_relayed() {
            return self.book.subnet_of(request.selection.unwrap_or(request.giaddr)).into_iter().collect();
        }
        let on_link =
            |index: &usize| self.book.subnet(*index).link.is_some_and(|(port, _)| port == arrival.port);
        let subnets = 0..self.book.settings().subnets.len();
        match self.book.subnet_of(request.ciaddr) {
            // From the other side of a router, or from the link.
            Some(subnet) if arrival.to.is_some() || on_link(&subnet) => vec![subnet],
            _ => subnets.filter(on_link).collect(),
        }
    }

    /// Who answers, and from which address.
    fn to(&self, arrival: &DhcpArrival, subnet: usize) -> To {
        let own = self.book.subnet(subnet).link.filter(|(port, _)| *port == arrival.port);
        let server = own.map(|(_, address)| address).or(arrival.to);
        let server = server.or_else(|| self.book.settings().own.first().copied());
        To { port: arrival.port, mac: arrival.mac, server: server.unwrap_or(Ipv4Addr::UNSPECIFIED) }
    }

    fn terms(&self, subnet: usize, address: Option<Ipv4Addr>) -> Granted<'_> {
        let name = address.and_then(|address| self.book.reservation(address)?.name.as_deref());
        Granted { subnet: self.book.subnet(subnet), address, name }
    }

    fn discover(
        &mut self,
        arrival: &DhcpArrival,
        request: Box<ClientMessage>,
        places: &[usize],
        tries: u8,
        now: Nanos,
    ) -> Option<Outcome> {
        let chosen = places.iter().find_map(|&place| {
            let is_known = self.book.held(place, &request.client()).is_some()
                || self.book.reserved_for(place, &request).is_some();
            is_known.then(|| self.book.choose(place, &request)).flatten().map(|address| (place, address))
        });
        let any = || places.iter().find_map(|&place| Some((place, self.book.choose(place, &request)?)));
        let Some((subnet, address)) = chosen.or_else(any) else {
            self.tell(DhcpNotice::Exhausted { mac: request.mac });
            return Some(Outcome::Exhausted);
        };
        let bits = address.to_bits();
        if let Some(probing) = self.probing.get_mut(&bits) {
            // It is the same client's: the offer answers what came last.
            probing.request = request;
            return Some(Outcome::Probing);
        }
        let held = self.book.at(address).filter(|lease| self.book.is_held_by(lease, &request));
        let state = held.map(|lease| lease.state);
        let (seat, most) = (seat(arrival, &request), self.book.settings().station_leases);
        let is_new = !matches!(state, Some(LeaseState::Bound | LeaseState::Offered));
        if is_new
            && most > 0
            && seat.station != 0
            && self.book.reservation(address).is_none()
            && self.book.of_station(seat.station) >= most
        {
            return Some(Outcome::StationLimit);
        }
        let settings = self.book.settings();
        let patience = u64::from(settings.probe_ms) * MILLISECOND;
        let until = now + patience + u64::from(settings.offer_s) * SECOND;
        let link = self.book.subnet(subnet).link.filter(|_| patience > 0 && !request.is_relayed());
        let Some((port, _)) = link.filter(|_| is_new) else {
            return Some(self.send_offer(arrival, &request, subnet, address, now));
        };
        if self.probing.len() >= PROBES {
            return Some(Outcome::RateLink);
        }
        self.book.offer(address, &request, seat, until);
        self.counters.probes += 1;
        self.out.push_back(DhcpOutput::Probe(port, address));
        let until = now + patience;
        self.due.insert((until, bits));
        let probing = Probing { request, arrival: *arrival, subnet, until, tries: tries + 1 };
        self.probing.insert(bits, probing);
        None
    }

    fn take_probing(&mut self, address: u32) -> Option<Probing> {
        let probing = self.probing.remove(&address)?;
        self.due.remove(&(probing.until, address));
        Some(probing)
    }

    fn send_offer(
        &mut self,
        arrival: &DhcpArrival,
        request: &ClientMessage,
        subnet: usize,
        address: Ipv4Addr,
        now: Nanos,
    ) -> Outcome {
        let until = now + u64::from(self.book.settings().offer_s) * SECOND;
        self.book.offer(address, request, seat(arrival, request), until);
        let (to, terms) = (self.to(arrival, subnet), self.terms(subnet, Some(address)));
        if let Some(reply) = reply::offer(to, request, terms) {
            self.out.push_back(DhcpOutput::Send(reply));
        }
        if request.is_apart { Outcome::OfferedApart } else { Outcome::Offered }
    }

    /// RFC 2131 §4.3.2.
    fn request(
        &mut self,
        arrival: &DhcpArrival,
        request: &ClientMessage,
        places: &[usize],
        now: Nanos,
    ) -> Option<Outcome> {
        let client = request.client();
        let is_in_place = |server: &Self, address: Ipv4Addr| {
            places.iter().copied().find(|place| server.book.subnet(*place).network.contains(&address))
        };
        // SELECTING: it takes an offer, ours or another's.
        if let Some(meant) = request.server {
            let is_ours = self.book.settings().own.contains(&meant);
            if !is_ours {
                self.withdraw(places, request);
                return Some(Outcome::OtherServer);
            }
            let Some(address) = request.requested else { return Some(Outcome::NoAddress) };
            let Some(subnet) = is_in_place(self, address) else {
                return Some(self.nak(arrival, request, places[0], Outcome::NakNetwork));
            };
            return self.take(arrival, request, (subnet, address), Outcome::Selected, now);
        }
        if !request.ciaddr.is_unspecified() {
            // RENEWING by unicast, REBINDING by broadcast.
            let address = request.ciaddr;
            let Some(subnet) = is_in_place(self, address) else {
                return Some(self.nak(arrival, request, places[0], Outcome::NakNetwork));
            };
            let is_direct = arrival.to.is_some() && !request.is_relayed();
            let outcome = if is_direct { Outcome::Renewed } else { Outcome::Rebound };
            // Another address has been set aside for it since.
            let reserved = self.book.reserved_for(subnet, request).filter(|reserved| {
                *reserved != address && self.book.standing(*reserved, request) == Availability::Free
            });
            if reserved.is_some() {
                return Some(self.nak(arrival, request, subnet, Outcome::NakAddress));
            }
            return self.take(arrival, request, (subnet, address), outcome, now);
        }
        // INIT-REBOOT: it has started again.
        let Some(address) = request.requested else { return Some(Outcome::NoAddress) };
        let Some(subnet) = is_in_place(self, address) else {
            return Some(self.nak(arrival, request, places[0], Outcome::NakNetwork));
        };
        let is_held = self.book.at(address).is_some_and(|lease| self.book.is_held_by(lease, request));
        let is_known =
            self.book.held(subnet, &client).is_some() || self.book.reserved_for(subnet, request).is_some();
        match self.book.standing(address, request) {
            Availability::Free if is_held || self.book.reservation(address).is_some() => {
                self.take(arrival, request, (subnet, address), Outcome::Rebooted, now)
            }
            Availability::Taken => Some(self.nak(arrival, request, subnet, Outcome::NakTaken)),
            _ if is_known => Some(self.nak(arrival, request, subnet, Outcome::NakAddress)),
            _ => Some(Outcome::UnknownClient),
        }
    }

    /// The client has taken another server's offer: what was offered here is free.
    fn withdraw(&mut self, places: &[usize], request: &ClientMessage) {
        for &place in places {
            let held = self.book.held(place, &request.client());
            let is_its = |lease: &&Lease| lease.state == LeaseState::Offered && lease.mac == request.mac;
            if let Some(lease) = held.filter(is_its) {
                let address = lease.address;
                if self.take_probing(address.to_bits()).is_some() {
                    self.counters.count(Outcome::OtherServer);
                }
                self.book.withdraw(address);
            }
        }
    }

    /// Leases an address to a client that may have it.
    fn take(
        &mut self,
        arrival: &DhcpArrival,
        request: &ClientMessage,
        (subnet, address): (usize, Ipv4Addr),
        outcome: Outcome,
        now: Nanos,
    ) -> Option<Outcome> {
        match self.book.standing(address, request) {
            Availability::Free => {}
            Availability::Taken => return Some(self.nak(arrival, request, subnet, Outcome::NakTaken)),
            Availability::Never => return Some(self.nak(arrival, request, subnet, Outcome::NakAddress)),
        }
        // What is being probed has not been offered.
        if self.probing.contains_key(&address.to_bits()) {
            return Some(self.nak(arrival, request, subnet, Outcome::NakAddress));
        }
        if self.waiting.len() >= UNWRITTEN {
            return Some(Outcome::Unwritten);
        }
        if self.take_challenge(address).is_some() {
            self.counters.count(Outcome::Probing);
        }
        let is_new = self.book.at(address).is_none_or(|lease| lease.state != LeaseState::Bound);
        let until = now + u64::from(self.book.subnet(subnet).lease_s) * SECOND;
        let left = self.book.bind(address, request, seat(arrival, request), until);
        for other in left {
            self.write(LeaseRecord::gone(other));
            self.tell_host(other);
        }
        self.tell_host(address);
        let record = self.book.at(address).map(LeaseRecord::of)?;
        let number = self.write(record);
        if is_new {
            self.tell(DhcpNotice::Leased { address, mac: request.mac, name: request.name.clone() });
        }
        let (to, terms) = (self.to(arrival, subnet), self.terms(subnet, Some(address)));
        let reply = reply::ack(to, request, terms)?;
        if self.book.settings().is_written {
            self.waiting.push_back(Waiting { number, address, reply, outcome });
            return None;
        }
        self.out.push_back(DhcpOutput::Send(reply));
        Some(outcome)
    }

    fn write(&mut self, record: LeaseRecord) -> u64 {
        self.written += 1;
        self.out.push_back(DhcpOutput::Write(self.written, record));
        self.written
    }

    fn nak(
        &mut self,
        arrival: &DhcpArrival,
        request: &ClientMessage,
        subnet: usize,
        outcome: Outcome,
    ) -> Outcome {
        let why = match outcome {
            Outcome::NakNetwork => "the address is of another network",
            Outcome::NakStranger => "the client identifier is another station's",
            Outcome::NakTaken => "the address is another client's",
            _ => "the address is not this client's",
        };
        if let Some(reply) = reply::nak(self.to(arrival, subnet), request, why) {
            self.out.push_back(DhcpOutput::Send(reply));
        }
        outcome
    }

    /// RFC 2131 §4.3.3.
    fn declined(&mut self, request: &ClientMessage, now: Nanos) -> Outcome {
        let is_ours = request.server.is_none_or(|server| self.book.settings().own.contains(&server));
        let held = request.requested.and_then(|address| self.book.at(address)).filter(|lease| {
            is_ours && is_of(lease, request) && matches!(lease.state, LeaseState::Bound | LeaseState::Offered)
        });
        let Some(Lease { address, client, .. }) = held.cloned() else { return Outcome::DeclineIgnored };
        if self.probing.contains_key(&address.to_bits()) {
            return Outcome::DeclineIgnored;
        }
        self.counters.conflicts += 1;
        let until = now + u64::from(self.book.settings().decline_s) * SECOND;
        self.book.decline(address, client, request.mac, until);
        self.write(LeaseRecord::gone(address));
        self.tell_host(address);
        self.tell(DhcpNotice::Declined { address, mac: request.mac });
        Outcome::Declined
    }

    /// RFC 2131 §4.3.4.
    fn released(&mut self, request: &ClientMessage, now: Nanos) -> Outcome {
        let held = self
            .book
            .at(request.ciaddr)
            .filter(|lease| is_of(lease, request) && lease.state == LeaseState::Bound);
        let Some(address) = held.map(|lease| lease.address) else { return Outcome::ReleaseIgnored };
        self.free(address, now);
        self.tell(DhcpNotice::Ended { address, mac: request.mac });
        Outcome::Released
    }

    /// A lease ends before its time.
    fn free(&mut self, address: Ipv4Addr, now: Nanos) {
        if let Some(record) = self.book.release(address, now).map(LeaseRecord::of) {
            self.write(record);
        }
        self.tell_host(address);
    }

    /// RFC 2131 §4.3.5: no lease time, no address.
    fn inform(&mut self, arrival: &DhcpArrival, request: &ClientMessage, places: &[usize]) -> Outcome {
        let ciaddr = if request.ciaddr.is_unspecified() { arrival.source } else { request.ciaddr };
        let subnet = places.iter().find(|place| self.book.subnet(**place).network.contains(&ciaddr));
        let Some(subnet) = subnet.copied() else { return Outcome::InformIgnored };
        let answered = ClientMessage { ciaddr, ..request.clone() };
        let (to, terms) = (self.to(arrival, subnet), self.terms(subnet, None));
        if let Some(reply) = reply::ack(to, &answered, terms) {
            self.out.push_back(DhcpOutput::Send(reply));
        }
        Outcome::Informed
    }
}

fn limits(settings: &Settings, seed: u64) -> (RateLimit, RateLimit) {
    let (client, link) = (settings.client_rate, settings.link_rate);
    (limit(client, client.saturating_mul(2), seed), limit(link, link, seed.rotate_left(32)))
}

/// Whether a client gives back what is its own. Some leave their identifier out there (udhcpc of BusyBox 1.35), which RFC 2131
/// §4.3.4 does not allow; then the hardware address tells.
fn is_of(lease: &Lease, request: &ClientMessage) -> bool {
    lease.client == request.client() || (request.identifier.is_none() && lease.mac == request.mac)
}

/// From where a client was heard: its leases count for the station on the link, or, behind a relay, for the line that it names
/// (option 82).
fn seat(arrival: &DhcpArrival, request: &ClientMessage) -> Seat {
    let station = match (&request.relay, request.is_relayed()) {
        (_, false) => station_of(arrival.mac),
        (Some(relay), true) => number_of(&(request.giaddr, relay)),
        (None, true) => 0,
    };
    let is_near = !request.is_relayed() && arrival.mac == request.mac;
    Seat { station, is_near }
}

/// A station on the link, as [`Seat`] has it.
fn station_of(mac: HardwareAddress) -> u64 {
    number_of(&mac)
}

fn number_of(what: &impl Hash) -> u64 {
    let mut hasher = FxHasher::default();
    what.hash(&mut hasher);
    hasher.finish() | 1
}
