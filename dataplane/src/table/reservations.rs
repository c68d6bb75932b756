//! The circular pool of a worker: its addresses, and for which first packet from outside each is set aside.
//!
//! A reservation is found in the order (port, protocol), (port, any), (any, protocol), (any, any) of its address; the
//! control thread sees to it that no two that overlap stand at once, so at most one of them fits. Whoever opens a
//! session by it ends it, in the data path: the next client may have the address at once.

use super::index::{Hasher, Index};
use super::session::Flow;
use super::unwanted::Unwanted;
use super::wheel::{Hook, Wheel};
use crate::Nanos;
use crate::events::Events;
use crate::meter::{SECOND, seconds};
use crate::msg::{Event, Reservation, ReservationEnd, ReservationId};
use crate::nat::Space;
use crate::settings::{PoolRoom, SettingsError};
use crate::wire::ipv4;
use std::collections::VecDeque;
use std::net::Ipv4Addr;

/// How finely the end of a reservation is looked after: sixteenths of a second.
const TICK_NS: Nanos = SECOND / 16;
/// The most reservations that one turn looks at to see whether they are over.
const DUE_MOST: usize = 64;

/// A pending reservation.
#[derive(Clone, Copy, Debug)]
struct Pending {
    reservation: Reservation,
    until: Nanos,
    /// Where it hangs on the wheel.
    hangs: Hook,
    /// Who has opened a session by it.
    client: Option<u32>,
    /// Sessions that may yet be opened by it; `None` = any number.
    left: Option<u32>,
}

/// The table.
#[derive(Debug)]
pub(super) struct Reservations {
    lines: Box<[Option<Pending>]>,
    index: Index,
    hasher: Hasher,
    wheel: Wheel,
    /// What is over and has not been told yet: there is room for all.
    ended: VecDeque<(ReservationId, ReservationEnd)>,
    pool: Pool,
    unwanted: Unwanted,
}

/// The addresses of the pool. Those that are taken out stay known while there is room: what was opened by them goes on.
#[derive(Debug)]
struct Pool {
    /// In order.
    addresses: Vec<u32>,
}

impl Pool {
    fn new(room: u16) -> Self {
        Self { addresses: Vec::with_capacity(usize::from(room)) }
    }

    fn has(&self, address: u32) -> bool {
        self.addresses.binary_search(&address).is_ok()
    }

    /// From now on these belong to it. Without room for all, those that are offered no more are forgotten.
    fn offer(&mut self, addresses: &[u32]) {
        let room = self.addresses.capacity();
        let new = addresses.iter().filter(|address| !self.has(**address)).count();
        if self.addresses.len() + new > room {
            self.addresses.retain(|known| addresses.contains(known));
        }
        for &address in addresses {
            if let Err(place) = self.addresses.binary_search(&address)
                && self.addresses.len() < room
            {
                self.addresses.insert(place, address);
            }
        }
    }
}

/// Address, port, protocol: 0 = any.
const fn key(address: u32, port: u16, protocol: u8) -> u64 {
    (address as u64) << 32 | (port as u64) << 16 | protocol as u64
}

const fn key_of(reservation: &Reservation) -> u64 {
    key(reservation.address.to_bits(), reservation.port, reservation.protocol)
}

/// The last tick that is over then.
const fn tick(now: Nanos) -> u32 {
    (now / TICK_NS) as u32
}

impl Reservations {
    /// Room for so many, of a pool of these addresses.
    pub(super) fn new(room: &PoolRoom, pool: &[Ipv4Addr], hasher: Hasher) -> Result<Self, SettingsError> {
        let places = room.reservations as usize;
        let addresses: Vec<u32> = pool.iter().map(|address| address.to_bits()).collect();
        let mut pool = Pool::new(room.addresses);
        pool.offer(&addresses);
        Ok(Self {
            lines: vec![None; places].into_boxed_slice(),
            index: Index::new(room.reservations)?,
            hasher,
            wheel: Wheel::new(room.reservations)?,
            ended: VecDeque::with_capacity(2 * places),
            pool,
            unwanted: Unwanted::new(room.unwanted)?,
        })
    }

    /// From now on these addresses belong to the pool.
    pub(super) fn offer(&mut self, addresses: &[u32]) {
        self.pool.offer(addresses);
    }

    /// Whether an address is one of the pool's.
    #[inline(always)]
    pub(super) fn is_of_pool(&self, address: u32) -> bool {
        self.pool.has(address)
    }

    /// How many are pending.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Sets an address aside.
    pub(super) fn reserve(&mut self, id: ReservationId, reservation: Reservation, now: Nanos) {
        if !self.place(id.0, reservation, now) {
            self.tell(id, ReservationEnd::Refused);
        }
    }

    fn place(&mut self, slot: u32, reservation: Reservation, now: Nanos) -> bool {
        let hash = self.hasher.hash(key_of(&reservation));
        let is_free = self.lines.get(slot as usize).is_some_and(Option::is_none);
        if !is_free || !self.index.insert(hash, slot) {
            return false;
        }
        let until = now + Nanos::from(reservation.lasts_ms) * (SECOND / 1000);
        let hangs = self.wheel.take_this(slot, tick(until), false);
        let left =
            reservation.loose.map(|more| (u32::from(more) + 1) * u32::from(reservation.clients.max(1)));
        self.lines[slot as usize] = Some(Pending { reservation, until, hangs, client: None, left });
        true
    }

    /// Takes one back.
    pub(super) fn withdraw(&mut self, id: ReservationId) {
        self.end(id.0, ReservationEnd::Withdrawn);
    }

    /// The reservation that a packet matches which nobody has opened a session for.
    pub(super) fn find(&self, arriving: Flow, now: Nanos) -> Option<u32> {
        let Flow { addresses, ports, protocol } = arriving;
        let address = addresses.destination();
        let has_ports = protocol != ipv4::ICMP && Space::of(protocol).is_some();
        let port = if has_ports { ports as u16 } else { 0 };
        let keys = [(port, protocol), (port, 0), (0, protocol), (0, 0)];
        let keys = &keys[if has_ports { 0 } else { 2 }..];
        keys.iter().find_map(|&(port, protocol)| self.at(key(address, port, protocol), now))
    }

    fn at(&self, key: u64, now: Nanos) -> Option<u32> {
        let is = |slot: u32| {
            let line = self.lines[slot as usize].as_ref();
            line.is_some_and(|line| key_of(&line.reservation) == key && now < line.until)
        };
        self.index.find(self.hasher.hash(key), is)
    }

    /// The host of a reservation, if this client may use it: the network is right, and nobody else was faster where it is for
    /// one alone.
    pub(super) fn lets(&self, slot: u32, client: u32) -> Option<Ipv4Addr> {
        let Pending { reservation, client: first, .. } = self.lines.get(slot as usize)?.as_ref()?;
        let (network, prefix) = reservation.from;
        let is_its = reservation.clients > 1 || first.is_none_or(|first| first == client);
        let may = is_its && ipv4::within(client, network.to_bits(), prefix);
        may.then_some(reservation.host)
    }

    /// A client has opened a session by it.
    pub(super) fn consume(&mut self, slot: u32, client: u32) {
        let Some(line) = self.lines.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        line.client = Some(client);
        line.left = line.left.map(|left| left - 1);
        if line.left == Some(0) {
            self.end(slot, ReservationEnd::Used(client.into()));
        }
    }

    fn end(&mut self, slot: u32, end: ReservationEnd) {
        let Some(line) = self.lines.get_mut(slot as usize).and_then(Option::take) else { return };
        self.index.remove(self.hasher.hash(key_of(&line.reservation)), slot);
        self.wheel.free(slot, line.hangs);
        self.tell(ReservationId(slot), end);
    }

    fn tell(&mut self, id: ReservationId, end: ReservationEnd) {
        // A number comes again only after its end was told; one too many for a slot that is taken would be a bug of the
        // control thread's, which has no room to grow here.
        if self.ended.len() < self.ended.capacity() {
            self.ended.push_back((id, end));
        }
    }

    /// Ends what is over, and tells what has ended. Called once a turn, takes a bounded time.
    #[inline]
    pub(super) fn expire(&mut self, events: &mut Events, now: Nanos) {
        for _ in 0..DUE_MOST {
            let Some((slot, hung)) = self.wheel.due(tick(now)) else { break };
            let Some(line) = self.lines[slot as usize].as_mut() else { break };
            if now < line.until {
                line.hangs = self.wheel.rehang(slot, hung, tick(line.until), false);
                continue;
            }
            let end =
                line.client.map_or(ReservationEnd::Expired, |client| ReservationEnd::Used(client.into()));
            self.end(slot, end);
        }
        while events.ready()
            && let Some((id, end)) = self.ended.pop_front()
        {
            events.push(Event::ReservationEnded(id, end));
        }
    }

    /// Whether a packet came unwanted before, of late; what it is known by is a hash of this.
    pub(super) fn came_unwanted(&mut self, what: [u64; 3], now: Nanos) -> bool {
        let hash = self.print(what);
        self.unwanted.has(hash, seconds(now))
    }

    /// Remembers an unwanted packet.
    pub(super) fn note_unwanted(&mut self, what: [u64; 3], now: Nanos) {
        let hash = self.print(what);
        self.unwanted.note(hash, seconds(now));
    }

    fn print(&self, [a, b, c]: [u64; 3]) -> u64 {
        self.hasher.flow(self.hasher.flow(a, b), c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Pair;

    const POOL: u32 = 0xc000_0210;
    const CLIENT: u32 = 0x0808_0808;

    fn reservations() -> Reservations {
        let room = PoolRoom { addresses: 4, reservations: 8, unwanted: 64 };
        Reservations::new(&room, &[POOL.into(), (POOL + 1).into()], Hasher::new([1, 2])).unwrap()
    }

    fn reservation(port: u16, protocol: u8) -> Reservation {
        Reservation {
            address: POOL.into(),
            port,
            protocol,
            host: 7.into(),
            from: (0.into(), 0),
            loose: Some(0),
            clients: 1,
            lasts_ms: 2000,
        }
    }

    fn arriving(port: u16, protocol: u8) -> Flow {
        Flow { addresses: Pair::new(CLIENT, POOL), ports: 4000 << 16 | u32::from(port), protocol }
    }

    fn told(reservations: &mut Reservations, now: Nanos) -> Vec<(u32, ReservationEnd)> {
        let mut events = Events::default();
        reservations.expire(&mut events, now);
        let mut told = Vec::new();
        while let Some(Event::ReservationEnded(ReservationId(id), end)) = events.peek().copied() {
            told.push((id, end));
            events.pop();
        }
        told
    }

    #[test]
    fn the_narrowest_is_found_first() {
        let mut reservations = reservations();
        for (slot, (port, protocol)) in [(80, 6), (80, 0), (0, 6), (0, 0)].into_iter().enumerate() {
            reservations.reserve(ReservationId(slot as u32), reservation(port, protocol), 0);
        }
        let find = |port, protocol| reservations.find(arriving(port, protocol), 5);
        assert_eq!(
            [find(80, 6), find(80, 17), find(22, 6), find(22, 17), find(80, 1)],
            [Some(0), Some(1), Some(2), Some(3), Some(3)]
        );
        assert_eq!(
            reservations.find(Flow { addresses: Pair::new(CLIENT, POOL + 1), ..arriving(80, 6) }, 5),
            None
        );
    }

    #[test]
    fn the_first_packet_ends_it_and_the_place_is_free() {
        let mut reservations = reservations();
        reservations.reserve(ReservationId(3), reservation(80, 6), 0);
        let slot = reservations.find(arriving(80, 6), 10).unwrap();
        reservations.consume(slot, CLIENT);
        assert_eq!((reservations.find(arriving(80, 6), 10), reservations.len()), (None, 0));
        assert_eq!(told(&mut reservations, 20), [(3, ReservationEnd::Used(CLIENT.into()))]);
        reservations.reserve(ReservationId(3), reservation(80, 6), 30);
        assert_eq!(reservations.find(arriving(80, 6), 40), Some(3));
    }

    #[test]
    fn it_ends_when_its_time_is_over() {
        let mut reservations = reservations();
        let start = 1_000_000 * SECOND;
        assert_eq!(told(&mut reservations, start), []);
        reservations.reserve(ReservationId(0), reservation(0, 0), start);
        let end = start + 2 * SECOND;
        assert!(reservations.find(arriving(1, 6), end - 1).is_some(), "until its last moment");
        assert_eq!(reservations.find(arriving(1, 6), end), None);
        assert_eq!(told(&mut reservations, end - 1), []);
        assert_eq!(told(&mut reservations, end + 2 * TICK_NS), [(0, ReservationEnd::Expired)]);
    }

    #[test]
    fn loose_ones_are_for_who_came_first() {
        let mut reservations = reservations();
        let loose = |loose| Reservation { loose, ..reservation(80, 6) };
        reservations.reserve(ReservationId(0), loose(Some(2)), 0);
        for _ in 0..3 {
            assert!(reservations.lets(0, CLIENT).is_some());
            reservations.consume(0, CLIENT);
            assert_eq!(reservations.lets(0, CLIENT + 1), None);
        }
        assert_eq!(told(&mut reservations, 1), [(0, ReservationEnd::Used(CLIENT.into()))]);
        reservations.reserve(ReservationId(0), loose(None), 1);
        (0..100).for_each(|_| reservations.consume(0, CLIENT));
        assert_eq!(told(&mut reservations, 2), []);
        assert_eq!(told(&mut reservations, 3 * SECOND), [(0, ReservationEnd::Used(CLIENT.into()))]);
    }

    #[test]
    fn only_the_network_that_it_is_for_may_use_it() {
        let mut reservations = reservations();
        let from = (Ipv4Addr::from_bits(CLIENT & 0xffff_ff00), 24);
        reservations.reserve(ReservationId(0), Reservation { from, ..reservation(80, 6) }, 0);
        assert!(reservations.lets(0, CLIENT).is_some() && reservations.lets(0, CLIENT + 256).is_none());
    }

    #[test]
    fn what_cannot_be_is_refused_and_what_is_taken_back_ends() {
        let mut reservations = reservations();
        reservations.reserve(ReservationId(8), reservation(80, 6), 0);
        reservations.reserve(ReservationId(0), reservation(80, 6), 0);
        reservations.reserve(ReservationId(0), reservation(81, 6), 0);
        reservations.withdraw(ReservationId(0));
        reservations.withdraw(ReservationId(0));
        let refused = ReservationEnd::Refused;
        assert_eq!(told(&mut reservations, 1), [(8, refused), (0, refused), (0, ReservationEnd::Withdrawn)]);
    }

    #[test]
    fn addresses_that_are_taken_out_stay_known_while_there_is_room() {
        let mut reservations = reservations();
        reservations.offer(&[POOL + 2]);
        assert!(reservations.is_of_pool(POOL) && reservations.is_of_pool(POOL + 2));
        reservations.offer(&[POOL + 3, POOL + 4, POOL + 5]);
        assert!(!reservations.is_of_pool(POOL) && reservations.is_of_pool(POOL + 5));
    }
}
