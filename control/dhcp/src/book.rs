//! All addresses with whose they are. Whatever changes, changes here, so that the indices agree and an address has one holder.

use crate::Nanos;
use crate::lease::{Client, Holder, Lease, LeaseRecord, LeaseState};
use crate::message::ClientMessage;
use crate::settings::{ReservedAddress, Settings, Subnet, Whose, in_pool};
use rustc_hash::{FxHashMap, FxHasher};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::net::Ipv4Addr;

/// Whether a client may have an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It is its own, or nobody's.
    Free,
    /// Another has it, or uses it.
    Taken,
    /// It is reserved for another, or is none that is given.
    Never,
}

/// From where a client was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// What its leases are counted by: the station on the link, or the line of a relay; 0: nothing.
    pub station: u64,
    /// Whether it was itself.
    pub is_near: bool,
}

/// What of a subnet can be given.
#[derive(Debug, Default)]
struct Stock {
    /// Addresses of pools that nobody has had.
    fresh: BTreeSet<u32>,
    /// Those that somebody had, with since when not any more.
    past: BTreeSet<(Nanos, u32)>,
    bound: usize,
    offered: usize,
    declined: usize,
}

/// How much of a subnet there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stocked {
    /// Addresses that are leased.
    pub bound: usize,
    /// Addresses that are offered, or being probed for that.
    pub offered: usize,
    /// Addresses that somebody uses who has no lease.
    pub declined: usize,
    /// Addresses of pools that nobody has had.
    pub fresh: usize,
    /// Addresses of pools that nobody has any more.
    pub past: usize,
}

impl Stock {
    fn count(&mut self, state: LeaseState) -> Option<&mut usize> {
        match state {
            LeaseState::Bound => Some(&mut self.bound),
            LeaseState::Offered => Some(&mut self.offered),
            LeaseState::Declined => Some(&mut self.declined),
            LeaseState::Past => None,
        }
    }
}

/// The addresses.
#[derive(Debug, Default)]
pub struct LeaseBook {
    settings: Settings,
    /// Reservations by address, in [`Settings::reservations`].
    reserved: FxHashMap<u32, usize>,
    /// Reservations by whose they are, and address.
    owners: BTreeSet<(Client, u32)>,
    leases: BTreeMap<u32, Lease>,
    clients: BTreeSet<(Client, u32)>,
    /// When something ends.
    due: BTreeSet<(Nanos, u32)>,
    /// Addresses of pools that stations have.
    stations: BTreeMap<u64, u32>,
    /// In the order of [`Settings::subnets`].
    stocks: Vec<Stock>,
}

impl LeaseBook {
    /// Nothing is leased.
    pub fn new(settings: Settings) -> Self {
        let mut book = Self::default();
        book.configure(settings);
        book
    }

    /// What is configured.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Goes on with other settings. What is leased stays leased until its end, in whatever subnet it now is.
    pub fn configure(&mut self, settings: Settings) {
        let leases = std::mem::take(&mut self.leases);
        *self = Self::default();
        for (index, reservation) in settings.reservations.iter().enumerate() {
            let address = reservation.address.to_bits();
            self.reserved.insert(address, index);
            match &reservation.whose {
                Whose::Hardware(mac) => _ = self.owners.insert((Client::of_mac(*mac), address)),
                Whose::Identifier(identifier) => {
                    self.owners.insert((Client::of_identifier(identifier), address));
                }
                Whose::Nobodys => {}
            }
        }
        for subnet in &settings.subnets {
            let all = subnet.pools.iter().flat_map(|(first, last)| first.to_bits()..=last.to_bits());
            let fresh = all.filter(|address| !self.reserved.contains_key(address)).collect();
            self.stocks.push(Stock { fresh, ..Stock::default() });
        }
        self.settings = settings;
        for lease in leases.into_values() {
            self.put(lease);
        }
    }

    /// Takes up what was written down.
    pub fn restore(&mut self, record: LeaseRecord, now: Nanos) {
        let LeaseRecord { address, holder } = record;
        self.take(address);
        if let Some(Holder { until, client, mac, station, is_near, name }) = holder {
            let state = if until > now { LeaseState::Bound } else { LeaseState::Past };
            self.put(Lease { address, state, until, client, mac, station, is_near, name });
        }
    }

    /// The subnet of an address.
    pub fn subnet_of(&self, address: Ipv4Addr) -> Option<usize> {
        self.settings.subnets.iter().position(|subnet| subnet.network.contains(&address))
    }

    /// A subnet.
    pub fn subnet(&self, index: usize) -> &Subnet {
        &self.settings.subnets[index]
    }

    /// An address's entry.
    pub fn at(&self, address: Ipv4Addr) -> Option<&Lease> {
        self.leases.get(&address.to_bits())
    }

    /// Entries from this address on, as many as that, and where the rest begins.
    pub fn page(&self, from: u32, most: usize) -> (Vec<&Lease>, Option<u32>) {
        let mut rest = self.leases.range(from..);
        let page = rest.by_ref().take(most).map(|(_, lease)| lease).collect();
        (page, rest.next().map(|(address, _)| *address))
    }

    /// All entries, by address.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values()
    }

    /// How much of a subnet there is.
    pub fn stock(&self, index: usize) -> Stocked {
        let Some(stock) = self.stocks.get(index) else { return Stocked::default() };
        let Stock { fresh, past, bound, offered, declined } = stock;
        Stocked {
            bound: *bound,
            offered: *offered,
            declined: *declined,
            fresh: fresh.len(),
            past: past.len(),
        }
    }

    /// The reservation of an address.
    pub fn reservation(&self, address: Ipv4Addr) -> Option<&ReservedAddress> {
        self.reserved.get(&address.to_bits()).map(|index| &self.settings.reservations[*index])
    }

    /// Whether a reservation is this client's.
    fn is_reserved_for(&self, address: u32, request: &ClientMessage) -> bool {
        let by = |client: Client| self.owners.contains(&(client, address));
        by(Client::of_mac(request.mac)) || (request.identifier.is_some() && by(request.client()))
    }

    /// Whether an address's entry is this client's. Of a reservation by hardware address it is, whatever identifier the client
    /// has now: firmware and system of one machine often have two.
    pub fn is_held_by(&self, lease: &Lease, request: &ClientMessage) -> bool {
        lease.state != LeaseState::Declined
            && (lease.client == request.client() || self.is_reserved_for(lease.address.to_bits(), request))
    }

    /// Whether a client may have an address.
    pub fn standing(&self, address: Ipv4Addr, request: &ClientMessage) -> Availability {
        let bits = address.to_bits();
        let Some(subnet) = self.subnet_of(address) else { return Availability::Never };
        let is_given = if self.reserved.contains_key(&bits) {
            self.is_reserved_for(bits, request)
        } else {
            in_pool(self.subnet(subnet), address)
        };
        match self.at(address) {
            Some(lease) if lease.state != LeaseState::Past && !self.is_held_by(lease, request) => {
                Availability::Taken
            }
            _ if is_given => Availability::Free,
            _ => Availability::Never,
        }
    }

    /// The addresses of a client in a subnet, the live ones first.
    pub fn held(&self, index: usize, client: &Client) -> Option<&Lease> {
        let range = (client.clone(), 0)..=(client.clone(), u32::MAX);
        let network = self.subnet(index).network;
        let all = self.clients.range(range).filter_map(|(_, address)| self.leases.get(address));
        all.filter(|lease| network.contains(&lease.address)).min_by_key(|lease| {
            (lease.state == LeaseState::Past, lease.state == LeaseState::Offered, lease.address)
        })
    }

    /// The address of a subnet that is reserved for a client.
    pub fn reserved_for(&self, index: usize, request: &ClientMessage) -> Option<Ipv4Addr> {
        let network = self.subnet(index).network;
        let of = |client: Client| {
            let range = (client.clone(), 0)..=(client, u32::MAX);
            let mut all = self.owners.range(range).map(|(_, address)| Ipv4Addr::from(*address));
            all.find(|address| network.contains(address))
        };
        of(request.client()).or_else(|| of(Client::of_mac(request.mac)))
    }

    /// The address of a subnet that a client gets (RFC 2131 §4.3.1): the one reserved for it, the one that it has or had, the
    /// one that it asks for, one that nobody has had, or the one that has been free for longest.
    pub fn choose(&self, index: usize, request: &ClientMessage) -> Option<Ipv4Addr> {
        let subnet = self.subnet(index);
        let is_free = |address: &Ipv4Addr| self.standing(*address, request) == Availability::Free;
        let reserved = || self.reserved_for(index, request).filter(is_free);
        let own = || self.held(index, &request.client()).map(|lease| lease.address).filter(is_free);
        let wanted = || {
            request.requested.filter(|address| in_pool(subnet, *address)).filter(is_free).filter(|address| {
                // Not what another had, as long as there is anything else.
                self.at(*address).is_none()
            })
        };
        let stock = &self.stocks[index];
        let fresh = || {
            let start = start_of(subnet, &request.client())?;
            stock.fresh.range(start..).next().or_else(|| stock.fresh.first()).copied().map(Ipv4Addr::from)
        };
        let oldest = || stock.past.first().map(|(_, address)| Ipv4Addr::from(*address));
        reserved().or_else(own).or_else(wanted).or_else(fresh).or_else(oldest)
    }

    /// How many addresses of pools a station has.
    pub fn of_station(&self, station: u64) -> u32 {
        self.stations.get(&station).copied().unwrap_or(0)
    }

    /// An address is offered, unless the client has it already.
    pub fn offer(&mut self, address: Ipv4Addr, request: &ClientMessage, seat: Seat, until: Nanos) {
        if self.at(address).is_some_and(|lease| lease.state == LeaseState::Bound) {
            return;
        }
        self.enter(address, LeaseState::Offered, request, seat, until);
    }

    /// An address is leased. The other addresses that the client had in the subnet: they are nobody's from here on.
    pub fn bind(
        &mut self,
        address: Ipv4Addr,
        request: &ClientMessage,
        seat: Seat,
        until: Nanos,
    ) -> Vec<Ipv4Addr> {
        self.enter(address, LeaseState::Bound, request, seat, until);
        let Some(network) = self.subnet_of(address).map(|index| self.subnet(index).network) else {
            return Vec::new();
        };
        let client = request.client();
        let range = (client.clone(), 0)..=(client, u32::MAX);
        let all = self.clients.range(range).map(|(_, other)| Ipv4Addr::from(*other));
        let others: Vec<_> = all.filter(|other| *other != address && network.contains(other)).collect();
        let of_offers =
            |other: &Ipv4Addr| self.at(*other).is_some_and(|lease| lease.state != LeaseState::Offered);
        let told = others.iter().copied().filter(of_offers).collect();
        for other in others {
            self.take(other);
        }
        told
    }

    fn enter(
        &mut self,
        address: Ipv4Addr,
        state: LeaseState,
        request: &ClientMessage,
        seat: Seat,
        until: Nanos,
    ) {
        self.take(address);
        let (client, mac, name) = (request.client(), request.mac, request.name.clone());
        let Seat { station, is_near } = seat;
        self.put(Lease { address, state, until, client, mac, station, is_near, name });
    }

    /// An address is free again, and its client's if nobody else needs it. The entry, if there was one.
    pub fn release(&mut self, address: Ipv4Addr, now: Nanos) -> Option<&Lease> {
        let lease = self.take(address)?;
        self.put(Lease { state: LeaseState::Past, until: now, ..lease });
        self.at(address)
    }

    /// An address is used by somebody who has no lease of it.
    pub fn decline(&mut self, address: Ipv4Addr, by: Client, mac: crate::HardwareAddress, until: Nanos) {
        self.take(address);
        self.put(Lease {
            address,
            state: LeaseState::Declined,
            until,
            client: by,
            mac,
            station: 0,
            is_near: false,
            name: None,
        });
    }

    /// What was offered is not any more.
    pub fn withdraw(&mut self, address: Ipv4Addr) {
        self.take(address);
    }

    /// When the next entry ends.
    pub fn next_end(&self) -> Option<Nanos> {
        self.due.first().map(|(at, _)| *at)
    }

    /// An entry that has ended, as it was: of a lease its client is remembered, all else is forgotten.
    pub fn expire(&mut self, now: Nanos) -> Option<Lease> {
        let address = self.due.first().filter(|(at, _)| *at <= now)?.1;
        let lease = self.take(address.into())?;
        if lease.state == LeaseState::Bound {
            self.put(Lease { state: LeaseState::Past, ..lease.clone() });
        }
        Some(lease)
    }

    /// What is to be known of all addresses, so that nothing else need be.
    pub fn records(&self) -> impl Iterator<Item = LeaseRecord> {
        let lasting = |lease: &&Lease| matches!(lease.state, LeaseState::Bound | LeaseState::Past);
        self.leases.values().filter(lasting).map(LeaseRecord::of)
    }

    /// Where an address is in stock, if it is anybody's.
    fn stock_of(&mut self, address: u32) -> Option<&mut Stock> {
        if self.reserved.contains_key(&address) {
            return None;
        }
        let index = self.subnet_of(address.into())?;
        in_pool(self.subnet(index), address.into()).then(|| &mut self.stocks[index])
    }

    fn put(&mut self, lease: Lease) {
        let bits = lease.address.to_bits();
        let (state, until, station) = (lease.state, lease.until, lease.station);
        if state != LeaseState::Declined {
            self.clients.insert((lease.client.clone(), bits));
        }
        if state != LeaseState::Past {
            self.due.insert((until, bits));
        }
        let mut is_counted = false;
        if let Some(stock) = self.stock_of(bits) {
            stock.fresh.remove(&bits);
            if state == LeaseState::Past {
                stock.past.insert((until, bits));
            }
            is_counted = matches!(state, LeaseState::Offered | LeaseState::Bound) && station != 0;
        }
        if let Some(index) = self.subnet_of(lease.address)
            && let Some(count) = self.stocks[index].count(state)
        {
            *count += 1;
        }
        if is_counted {
            *self.stations.entry(station).or_default() += 1;
        }
        self.leases.insert(bits, lease);
    }

    fn take(&mut self, address: Ipv4Addr) -> Option<Lease> {
        let bits = address.to_bits();
        let lease = self.leases.remove(&bits)?;
        self.clients.remove(&(lease.client.clone(), bits));
        self.due.remove(&(lease.until, bits));
        let mut is_counted = false;
        if let Some(stock) = self.stock_of(bits) {
            stock.past.remove(&(lease.until, bits));
            stock.fresh.insert(bits);
            is_counted = matches!(lease.state, LeaseState::Offered | LeaseState::Bound);
        }
        if let Some(index) = self.subnet_of(lease.address)
            && let Some(count) = self.stocks[index].count(lease.state)
        {
            *count -= 1;
        }
        if is_counted && let Some(count) = self.stations.get_mut(&lease.station) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.stations.remove(&lease.station);
            }
        }
        Some(lease)
    }
}

/// Where in the pools of a subnet the search for a fresh address begins: for each client elsewhere, and for one always at the
/// same place, so that who is forgotten still comes to the same address more often than not.
fn start_of(subnet: &Subnet, client: &Client) -> Option<u32> {
    let sizes = || subnet.pools.iter().map(|(first, last)| u64::from(last.to_bits() - first.to_bits()) + 1);
    let mut hasher = FxHasher::default();
    client.hash(&mut hasher);
    let mut place = hasher.finish() % sizes().sum::<u64>().max(1);
    for ((first, _), size) in subnet.pools.iter().zip(sizes()) {
        if place < size {
            return Some(first.to_bits() + place as u32);
        }
        place -= size;
    }
    None
}
