//! What a trace of packets asks for, and what it records.

use super::PortId;
use super::punt::PuntClass;
use crate::reason::DropReason;
use crate::tag::Handle;
use std::net::Ipv4Addr;

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
    /// Keep it until its first fragment has come.
    HoldLater,
    /// Kept, as a SYN that nobody has asked for yet.
    HoldUnasked,
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
