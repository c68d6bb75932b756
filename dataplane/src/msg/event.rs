//! What a worker tells the control thread.

use super::command::{HopId, TunnelId};
use super::record::Record;
use super::reservation::{ReservationEnd, ReservationId};
use crate::Nanos;
use crate::alg::scope::Rewrite;
use crate::filter::{Asked, Decision};
use crate::table::stage::Stage;
use crate::tag::Handle;
use std::net::Ipv4Addr;

macro_rules! end_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $label:literal, $text:literal;)+) => {
        /// Why a binding ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
        #[serde(rename_all = "lowercase")]
        pub enum EndReason { $($(#[doc = $doc])+ $variant),+ }

        impl EndReason {
            /// All of them, in the order of counters.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$variant),+];
            /// How many there are: the length of a counter array.
            pub const COUNT: usize = [$($label),+].len();

            /// The metric label.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label),+ }
            }

            /// For a person.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

end_reasons! {
    /// No packet for its idle time.
    Idle = "idle", "idle";
    /// Its hard lifetime is over.
    Hard = "hard", "lifetime over";
    /// The control thread removed it.
    Removed = "removed", "removed";
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

/// A session of NAT44. Packets are those of the last 2³².
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// The inside host and its port, or the identifier of its query.
    pub host: (Ipv4Addr, u16),
    /// The address and port under which it is seen outside.
    pub external: (Ipv4Addr, u16),
    /// The host outside and its port.
    pub remote: (Ipv4Addr, u16),
    /// The protocol.
    pub protocol: u8,
    /// Where it stands.
    pub stage: Stage,
    /// Packets from the host, and to it.
    pub packets: [u32; 2],
    /// Bytes from the host, and to it.
    pub bytes: [u64; 2],
    /// Seconds since its last packet.
    pub idle_s: u32,
}

/// A mapping of NAT44: which external port a host's port was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappingView {
    /// The inside host and its port, or the identifier of its queries.
    pub host: (Ipv4Addr, u16),
    /// What that is outside.
    pub external: (Ipv4Addr, u16),
    /// The protocol.
    pub protocol: u8,
    /// How many sessions use it.
    pub sessions: u32,
}

/// An inside host with sessions of NAT44.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostView {
    /// The host.
    pub host: Ipv4Addr,
    /// The address under which it is seen outside; `None`: all that it has is configured.
    pub external: Option<Ipv4Addr>,
    /// Its sessions.
    pub sessions: u32,
    /// Its external ports.
    pub ports: u32,
}

/// A row of a table of NAT44.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatRow {
    /// Of the sessions.
    Session(SessionView),
    /// Of the mappings.
    Mapping(MappingView),
    /// Of the hosts.
    Host(HostView),
}

/// Worker to control thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A binding could not be inserted.
    InsertFailed(Handle, InsertError),
    /// A binding is gone; its slot may be used again.
    BindingEnded(Handle, EndReason, BindingStats),
    /// Answer to `Command::ReadBinding`; `None` if there is no such binding.
    BindingStats(Handle, Option<BindingStats>),
    /// A row of a table of NAT44, asked for with this number.
    Row(u16, NatRow),
    /// Those were all that were read for that number; where to go on, if there may be more.
    RowsRead(u16, Option<u32>),
    /// A rule of the filter has decided that says `log`, of the filter with this number.
    Decided(u16, Decision, Asked),
    /// The control channel of an inside host with this one outside was encrypted: its ALG sees nothing of what is announced
    /// in it.
    ChannelEncrypted(Ipv4Addr, Ipv4Addr),
    /// An ALG wrote a place anew, or would have.
    Rewritten(Rewrite),
    /// Something was recorded at that time.
    Recorded(Nanos, Record),
    /// A reservation is over; its number may be used again.
    ReservationEnded(ReservationId, ReservationEnd),
    /// A packet needed this next hop and it is unresolved; said at most once a second for each.
    HopWanted(HopId),
    /// A packet is for this address on a link, and the worker knows no next hop for it; said at most once a second for each.
    Wanted(Ipv4Addr),
    /// The path to the peer is narrower than thought (an ICMP "fragmentation needed" about our outer packet).
    TunnelMtu(TunnelId, u16),
    /// The key that is sent under to the peer in this slot has been used so often that another one is wanted.
    KeyLow(u16),
}

// A slot of the ring is as large as the largest event.
const _: () = assert!(size_of::<Event>() <= 64);
