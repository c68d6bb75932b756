//! What crosses the rings between the control thread and a worker.
//!
//! Per worker, four single-producer single-consumer rings (`machine::ring`): commands and injected frames towards the
//! worker, events and punted frames from it. In every turn of its loop the worker takes commands before injected
//! frames, so that a binding stands before the DNS answer that names its proxy address leaves.

use crate::reason::DropReason;
use crate::tag::Handle;
use std::net::Ipv4Addr;

pub use crate::wire::Encapsulation;

/// Index of a port, in the order of the configuration.
pub type PortId = u8;

/// Index of a tunnel in the worker's tunnel table; the control thread allocates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TunnelId(pub u16);

/// Index of a next hop in the worker's neighbour table; the control thread allocates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NeighbourId(pub u32);

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
    pub neighbour: NeighbourId,
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
pub struct Limits {
    /// The only IP protocol carried, if set. ICMP errors about it are always carried.
    pub protocol: Option<u8>,
    /// The only port carried on the serving side (destination of what the initiator sends), if set.
    pub port: Option<u16>,
    /// Whether the serving side is inside (the port is the host's) or far.
    pub port_is_inside: bool,
    /// Bits per second in each direction, if set; bucket of 100 ms, at least 2 MTU. 0 lets nothing through.
    pub rate_bps: Option<u64>,
}

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
    pub neighbour: NeighbourId,
    /// Ends after so many seconds without a packet; 0 = never.
    pub idle_s: u16,
    /// Ends so many seconds after insertion; 0 = never.
    pub hard_s: u32,
    /// What it may carry.
    pub limits: Limits,
}

/// A binding's counters. Bytes are of inner IP packets as the host sends and receives them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct BindingStats {
    /// Packets from the host.
    pub out_packets: u64,
    /// Bytes from the host.
    pub out_bytes: u64,
    /// Packets to the host.
    pub in_packets: u64,
    /// Bytes to the host.
    pub in_bytes: u64,
    /// Seconds since the last packet of either direction.
    pub idle_s: u32,
}

/// Which packets a trace records. Unset fields match anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceFilter {
    /// The port of arrival.
    pub port: Option<PortId>,
    /// Source or destination, outer or inner.
    pub address: Option<Ipv4Addr>,
    /// The innermost IP protocol.
    pub protocol: Option<u8>,
    /// Only what is dropped.
    pub dropped_only: bool,
}

/// Control thread to worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Creates or replaces a tunnel.
    SetTunnel(TunnelId, Tunnel),
    /// Forgets a tunnel; its bindings drop until they are removed.
    RemoveTunnel(TunnelId),
    /// Creates or replaces a next hop.
    SetNeighbour(NeighbourId, Neighbour),
    /// Inserts a binding in the slot of `handle`. Answered by `Event::InsertFailed` only if it fails.
    InsertBinding(Handle, Binding),
    /// Removes a binding; always answered by `Event::BindingEnded` (`Removed`), unless it ended by itself before.
    RemoveBinding(Handle),
    /// Asks for the counters of a binding: `Event::BindingStats`.
    ReadBinding(Handle),
    /// Records the next `count` matching packets as `Event::Trace`; 0 stops.
    Trace(TraceFilter, u32),
}

/// Why a binding ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EndReason {
    /// No packet for its idle time.
    Idle,
    /// Its hard lifetime is over.
    Hard,
    /// The control thread removed it.
    Removed,
}

/// Why an insertion failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InsertError {
    /// The egress index has no room in either bucket.
    IndexFull,
    /// The slot is taken, or the pair (host, proxy) is.
    Occupied,
    /// The table of limits is full.
    LimitsFull,
}

/// What became of a traced packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Sent out of a port, possibly translated.
    Forward(PortId),
    /// Dropped for this reason, and answered out of this port with an ICMP error.
    Reply(PortId, DropReason),
    /// Given to the control thread.
    Punt(PuntClass),
    /// Handed to another worker.
    HandOff(u8),
    /// Taken in by the gateway itself: an ICMP error about one of its tunnels.
    Absorb,
    /// Kept until the MAC address of its next hop is known. What then becomes of it is a record of its own.
    Hold,
    /// Dropped.
    Drop(DropReason),
}

/// The bytes of a traced packet that are kept, from its Ethernet header on.
pub const TRACE_BYTES: usize = 192;

/// One traced packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceRecord {
    /// The port of arrival.
    pub port: PortId,
    /// Length of the frame as it arrived, in bytes.
    pub length: u16,
    /// The beginning of the frame as it arrived.
    pub before: [u8; TRACE_BYTES],
    /// Length of the frame as it left.
    pub length_after: u16,
    /// The beginning of the frame as it left (equal to `before` where it was not changed).
    pub after: [u8; TRACE_BYTES],
    /// The binding it belonged to, if one was found.
    pub binding: Option<Handle>,
    /// What became of it.
    pub fate: Fate,
}

/// Worker to control thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // a ring slot is as large as its largest message; traces are rare but not separate
pub enum Event {
    /// A binding could not be inserted.
    InsertFailed(Handle, InsertError),
    /// A binding is gone; its slot may be used again.
    BindingEnded(Handle, EndReason, BindingStats),
    /// Answer to `Command::ReadBinding`; `None` if there is no such binding.
    BindingStats(Handle, Option<BindingStats>),
    /// A packet needed this next hop and it is unresolved; said at most once a second for each.
    NeighbourWanted(NeighbourId),
    /// The path to the peer is narrower than thought (an ICMP "fragmentation needed" about our outer packet).
    TunnelMtu(TunnelId, u16),
    /// A packet that a trace asked for.
    Trace(TraceRecord),
}

/// What a punted frame is, for metering and for who takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PuntClass {
    /// ARP, to the shadow TAP.
    Arp,
    /// DNS over UDP to one of the gateway's addresses, to the DNS engine.
    Dns,
    /// TCP to one of the gateway's addresses, to the shadow TAP.
    Tcp,
    /// ICMP echo, replies and errors to one of the gateway's addresses, to the shadow TAP.
    Icmp,
    /// UDP replies to the gateway's own sockets (source port 53 of its resolvers), to the shadow TAP.
    Udp,
}

impl PuntClass {
    /// All classes, in counter order.
    pub const ALL: [PuntClass; 5] =
        [PuntClass::Arp, PuntClass::Dns, PuntClass::Tcp, PuntClass::Icmp, PuntClass::Udp];

    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            PuntClass::Arp => "arp",
            PuntClass::Dns => "dns",
            PuntClass::Tcp => "tcp",
            PuntClass::Icmp => "icmp",
            PuntClass::Udp => "udp",
        }
    }
}

/// The longest frame that crosses the punt and inject rings, in bytes: an MTU of 1500 with Ethernet and two VLAN tags
/// fits, so does every frame that the mbuf's 2176 bytes of data room hold after headroom.
pub const SLOT_BYTES: usize = 2040;

/// A frame on the punt or inject ring. The slots are allocated once; frames are copied in and out, so that an mbuf
/// never leaves the workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameSlot {
    /// The port of arrival, or the port to send it out of.
    pub port: PortId,
    /// What it is; for an injected frame, without meaning.
    pub class: PuntClass,
    /// Bytes in use.
    pub length: u16,
    /// The frame, from its Ethernet header on.
    pub data: [u8; SLOT_BYTES],
}

impl Default for FrameSlot {
    fn default() -> Self {
        Self { port: 0, class: PuntClass::Arp, length: 0, data: [0; SLOT_BYTES] }
    }
}

impl FrameSlot {
    /// The frame.
    pub fn frame(&self) -> &[u8] {
        &self.data[..self.length as usize]
    }
}
