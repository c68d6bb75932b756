//! DHCP towards the realm (RFC 2131): who gets which address, for how long, and what else a host is told.
//!
//! No I/O and no clock. Time comes as [`Nanos`] since 1970, since leases outlive the process; randomness as a seed; messages as
//! bytes. Every message ends in exactly one [`Outcome`].
//!
//! * [`message`] reads what clients send, [`reply`] writes what they get (dhcproto's types).
//! * [`settings`] is what is configured: subnets, pools, addresses that are somebody's.
//! * [`lease`] is one address with whose it is, [`book`] all of them, and the only place where that changes.
//! * [`server`] joins them: what is asked, what has to be found out before, what is written down before it is said.

#![forbid(unsafe_code)]

pub mod book;
pub mod lease;
pub mod message;
pub mod outcome;
pub mod reply;
pub mod server;
pub mod settings;

pub use lease::{Client, Lease, LeaseRecord, LeaseState};
pub use outcome::{DhcpCounters, Outcome};
pub use reply::Reply;
pub use server::{DhcpArrival, DhcpHost, DhcpNotice, DhcpOutput, Server};
pub use settings::{Given, ReservedAddress, Settings, Subnet, Whose};

/// Nanoseconds since 1970.
pub type Nanos = u64;
/// Nanoseconds in a second.
pub const SECOND: Nanos = 1_000_000_000;
/// Nanoseconds in a millisecond.
pub const MILLISECOND: Nanos = 1_000_000;

/// An Ethernet address.
pub type HardwareAddress = [u8; 6];
/// The number of a port of the gateway.
pub type PortNumber = u8;
