//! Sessions that a reservation of the Realm Gateway opens: their host has no external port for them, since the client came to an
//! address of the circular pool, at the port that the host itself serves.

use super::open::Why;
use super::{By, Opening, Sessions};
use crate::Nanos;
use crate::events::Events;
use crate::msg::{Reservation, ReservationId};
use crate::table::session::Flow;

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
        let Some(host) = self.reservations.lets(place, client) else {
            self.reservations.note_unwanted(print, now);
            return Reserved::Foreign;
        };
        let inside = (host.to_bits(), arriving.ports as u16);
        Reserved::Opens(Opening::of(arriving, inside, By::Reservation, Some(Why::Reserved(place))))
    }
}
