//! What the control thread tells a worker.

use super::PortId;
use super::reservation::{Reservation, ReservationId};
use super::trace::TraceFilter;
use crate::tag::Handle;
use crate::wire::Encapsulation;
use std::net::Ipv4Addr;

/// Index of a tunnel in the worker's tunnel table; the control thread allocates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TunnelId(pub u16);

/// Index of a next hop in the worker's table of them: a host, a router, or a peer on the link. The control thread allocates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HopId(pub u32);

/// One direction pair of a tunnel to a peer: a pair of locators, an encapsulation, and the id each side drew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// The header in use.
    pub encapsulation: Encapsulation,
    /// Our locator: outer source of what we send.
    pub local: Ipv4Addr,
    /// The peer's locator.
    pub remote: Ipv4Addr,
    /// The id that we drew: on what arrives. 24 bits.
    pub id_in: u32,
    /// The id that the peer drew: on what we send. 24 bits.
    pub id_out: u32,
    /// The next hop towards `remote`.
    pub neighbour: HopId,
    /// Path MTU of the outer packet in bytes.
    pub mtu: u16,
}

/// A next hop: where frames for it go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The port it is behind.
    pub port: PortId,
    /// Its MAC address; `None` while the kernel is still asking.
    pub mac: Option<[u8; 6]>,
    /// The MAC address that what an inside host sends must come from, if the next hop is that host; `None` = from any.
    pub pin: Option<[u8; 6]>,
}

/// Where a binding's outgoing packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Far {
    /// Through a tunnel, with the local tag as inner source and this tag as inner destination.
    Tunnel {
        /// The tunnel to the peer.
        tunnel: TunnelId,
        /// The peer's session tag.
        remote_tag: u32,
    },
    /// Back into the realm: the destination is another inside host.
    Local {
        /// The proxy address under which the destination knows this host: the new source.
        source: Ipv4Addr,
        /// The destination host: the new destination.
        destination: Ipv4Addr,
    },
}

/// What a binding may carry, and how fast. `control.dp_proto`, `dp_port`, `dp_ratelimit` of CETP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct BindingLimits {
    /// The only IP protocol carried, if set. ICMP errors about it are always carried.
    pub protocol: Option<u8>,
    /// The only port carried on the serving side (destination of what the initiator sends), if set.
    pub port: Option<u16>,
    /// Whether the serving side is inside (the port is the host's) or far.
    pub port_is_inside: bool,
    /// Bits per second in each direction, if set; its bucket holds what the settings say, at least 2 MTU. 0 lets nothing
    /// through.
    pub rate_bps: Option<u64>,
}

/// Whether a binding outlasts the silence of a TCP connection: one that is established may be silent for [`TCP_IDLE_S`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Patience {
    /// It does not: its idle time was said on purpose.
    #[default]
    None,
    /// It does from the first connection on.
    WithTcp,
    /// It does now: there may be connections that were opened before.
    Now,
}

/// RFC 5382 §5, REQ-5: the least idle time of an established TCP connection, 2 hours and 4 minutes.
pub const TCP_IDLE_S: u16 = 7_440;

/// The state of one (host, proxy) pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The inside host.
    pub host: Ipv4Addr,
    /// The address that stands for the far host in this host's realm.
    pub proxy: Ipv4Addr,
    /// Where its packets go.
    pub far: Far,
    /// The next hop for packets that leave into the realm: the host's for a tunnel, the destination's for a local binding.
    pub neighbour: HopId,
    /// The MAC address that the host's packets must come from; `None` = from any.
    pub mac: Option<[u8; 6]>,
    /// Ends after so many seconds without a packet; 0 = never.
    pub idle_s: u16,
    /// Whether TCP makes that longer.
    pub patience: Patience,
    /// Ends so many seconds after insertion; 0 = never.
    pub hard_s: u32,
    /// What it may carry.
    pub limits: BindingLimits,
}

/// What of NAT44 a worker tells row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatTable {
    /// Its sessions.
    Sessions,
    /// Its mappings.
    Mappings,
    /// Its hosts.
    Hosts,
}

/// Control thread to worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Creates or replaces a tunnel.
    SetTunnel(TunnelId, Tunnel),
    /// Forgets a tunnel; its bindings drop until they are removed.
    RemoveTunnel(TunnelId),
    /// Creates or replaces a next hop.
    SetHop(HopId, Neighbour),
    /// An address on a link is a destination with this next hop.
    Reach(Ipv4Addr, HopId),
    /// It no longer is.
    Unreach(Ipv4Addr),
    /// Inserts a binding in the slot of `handle`. Answered by `Event::InsertFailed` only if it fails.
    InsertBinding(Handle, Binding),
    /// From now on the packets of a binding's host must come from this MAC address; `None` = from any.
    PinBinding(Handle, Option<[u8; 6]>),
    /// Removes a binding; always answered by `Event::BindingEnded` (`Removed`), unless it ended by itself before.
    RemoveBinding(Handle),
    /// Asks for the counters of a binding: `Event::BindingStats`.
    ReadBinding(Handle),
    /// Asks for rows of a table of NAT44 from this one on: an `Event::Row` each, and `Event::RowsRead`, which come with the same
    /// number.
    ReadRows(NatTable, u16, u32),
    /// Sets an address of the circular pool aside. Always answered by `Event::ReservationEnded`.
    Reserve(ReservationId, Reservation),
    /// Takes a reservation back; it was not there if it ended by itself before.
    Withdraw(ReservationId),
    /// Records the next `count` matching packets as `TraceRecord`s; 0 stops.
    Trace(TraceFilter, u32),
    /// Takes the key that waits beside the commands (`worker::ControlSide::keys`).
    TakeKey,
    /// Moves into the premises that wait beside the commands (`worker::ControlSide::premises`). What comes after it is meant
    /// for these.
    MoveIn,
}
