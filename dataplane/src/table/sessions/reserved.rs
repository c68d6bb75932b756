//! Sessions that a reservation of the Realm Gateway opens: their host has no external port for them, since the client came to an
//! address of the circular pool, at the port that the host itself serves.

use super::{By, Opening, Session, Sessions};
use crate::Nanos;
use crate::events::Events;
use crate::meter::seconds;
use crate::msg::{Reservation, ReservationId};
use crate::nat::Nat;
use crate::reason::DropReason;
use crate::table::session::{Flow, Heading};
use crate::wire::Pair;

/// What is said of a packet to the circular pool.
#[derive(Clone, Copy, Debug)]
pub enum Reserved {
    /// Its reservation lets it open this.
    Opens(Opening),
    /// There is a reservation, for clients elsewhere, or for whoever was faster.
    Foreign,
    /// The same packet came unasked before: what is reserved now is for somebody else.
    Again,
    /// Nothing is reserved for it.
    No,
}

impl Sessions {
    /// Whether an address is one of the circular pool's.
    #[inline(always)]
    pub fn is_of_pool(&self, address: u32) -> bool {
        self.reservations.is_of_pool(address)
    }

    /// Pending reservations.
    pub fn reservations(&self) -> usize {
        self.reservations.len()
    }

    /// Sets an address of the pool aside.
    pub fn reserve(&mut self, id: ReservationId, reservation: Reservation, now: Nanos) {
        self.reservations.reserve(id, reservation, now);
    }

    /// Takes a reservation back.
    pub fn withdraw(&mut self, id: ReservationId) {
        self.reservations.withdraw(id);
    }

    /// Ends reservations whose time is over, and tells what has become of all that ended.
    #[inline]
    pub fn expire_reservations(&mut self, events: &mut Events, now: Nanos) {
        self.reservations.expire(events, now);
    }

    /// What would be opened by what comes to the circular pool; `print` is what its sender repeats when he tries again.
    pub fn reserved(&mut self, arriving: Flow, print: [u64; 3], now: Nanos) -> Reserved {
        let client = arriving.addresses.source();
        let Some(place) = self.reservations.find(arriving, now) else {
            self.reservations.note_unwanted(print, now);
            return Reserved::No;
        };
        if self.reservations.came_unwanted(print, now) {
            return Reserved::Again;
        }
        let Some((host, address)) = self.reservations.lets(place, client) else {
            self.reservations.note_unwanted(print, now);
            return Reserved::Foreign;
        };
        let addresses = Pair::new(host.to_bits(), client);
        let near = Flow { addresses, ..arriving.reversed() };
        Reserved::Opens(Opening { near, by: By::Reservation(place, address.to_bits()) })
    }

    pub(super) fn open_reserved(
        &mut self,
        near: Flow,
        (place, external): (u32, u32),
        nat: &Nat,
        now: Nanos,
    ) -> Result<u32, DropReason> {
        let (host, now_s) = (near.addresses.source(), seconds(now));
        let subscriber = self.subscriber(host)?;
        let full = self.subscribers.get(subscriber).sessions >= nat.host_sessions;
        // Before anything gives way to it, which may be the last session of this host.
        self.subscribers.get_mut(subscriber).sessions += 1;
        let opened = if full {
            Err(DropReason::NatHostLimit)
        } else if self.find(Heading::Out, near).is_some() {
            // The host speaks with this client from there already, under another address.
            Err(DropReason::NatTaken)
        } else {
            self.place(Session::reserved(near, external, now_s), nat, now_s)
        };
        match opened {
            Ok(_) => self.reservations.consume(place, near.addresses.destination()),
            Err(_) => self.part(host),
        }
        opened
    }

    /// A session less of a host, of those without an external port.
    pub(super) fn part(&mut self, host: u32) {
        if let Some(line) = self.subscribers.find(host) {
            self.subscribers.get_mut(line).sessions -= 1;
            self.subscribers.let_go(line);
        }
    }

    /// Takes up a session of the last process, if its address belongs to the pool still.
    pub(super) fn readmit_reserved(&mut self, slot: u32, session: Session, nat: &Nat) -> bool {
        let host = session.host().0;
        if !self.is_of_pool(session.arriving().addresses.destination()) {
            return false;
        }
        let Ok(subscriber) = self.subscriber(host) else { return false };
        self.subscribers.get_mut(subscriber).sessions += 1;
        let due_s = self.wheel.take_this(slot, session.due_s(&nat.timeouts));
        let entered = self.enter(slot, session, due_s).is_ok();
        if !entered {
            self.part(host);
        }
        entered
    }
}
