//! Reservations of the Realm Gateway: for which first packet from outside an address of the circular pool opens the way to a
//! host, and what became of that.

use std::net::Ipv4Addr;

/// Names a pending reservation of a worker: its place in the worker's table. The control thread gives it out, and again only
/// after the worker has said [`super::Event::ReservationEnded`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReservationId(pub u32);

/// A reservation: the first packet that matches opens a session with the host, and the address is free for the next client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The address of the pool.
    pub address: Ipv4Addr,
    /// The destination port; 0 = any, and protocols that have none.
    pub port: u16,
    /// The protocol; 0 = any.
    pub protocol: u8,
    /// The inside host.
    pub host: Ipv4Addr,
    /// Only from this network: an address and a prefix length.
    pub from: (Ipv4Addr, u8),
    /// Sessions that whoever opened the first may open beside it, as long as the reservation lasts; `None` = any number.
    pub loose: Option<u16>,
    /// Clients for which it is, as one answer of a resolver's may be for several: so many times what one may open, whoever
    /// opens it.
    pub clients: u16,
    /// How long it lasts, in milliseconds.
    pub lasts_ms: u32,
}

/// What became of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReservationEnd {
    /// This client used it.
    Used(Ipv4Addr),
    /// Nobody did in time.
    Expired,
    /// The control thread took it back.
    Withdrawn,
    /// There was no room for it.
    Refused,
}
