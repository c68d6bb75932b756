//! What the long ways work with.

use super::own::Desk;
use crate::events::Events;
use crate::msg::PortId;
use crate::table::bindings::Bindings;
use crate::table::fib::Next;
use crate::table::sessions::Sessions;
use crate::verdict::Arrival;
use crate::way::Ways;

/// The owners that decide on a packet, each by itself, and how the packet came.
pub(super) struct Ground<'s> {
    pub(super) desk: Desk<'s>,
    pub(super) bindings: &'s mut Bindings,
    pub(super) sessions: &'s mut Sessions,
    pub(super) ways: &'s mut Ways,
    pub(super) events: &'s mut Events,
    pub(super) arrival: Arrival,
    /// The inside host of another worker that sends this, and its port, where it sends to a host of this one.
    pub(super) neighbour: Option<(u32, u16)>,
}

impl Ground<'_> {
    /// Whether inside hosts are seen under this address.
    #[inline(always)]
    pub(super) fn is_external(&self, address: u32) -> bool {
        self.sessions.is_external(address, &self.desk.premises.nat)
    }

    /// The same for a shorter time. A long way gets it like this, and nothing gets a part of it by reference,
    /// so that the short ones keep theirs in registers.
    #[inline(always)]
    pub(super) fn again(&mut self) -> Ground<'_> {
        Ground {
            desk: self.desk.again(),
            bindings: self.bindings,
            sessions: self.sessions,
            ways: self.ways,
            events: self.events,
            arrival: self.arrival,
            neighbour: self.neighbour,
        }
    }

    /// The port by which an address is reached.
    pub(super) fn port_towards(&self, address: u32) -> Option<PortId> {
        Some(match self.desk.premises.fib().find(address)? {
            Next::OnLink(port) => port,
            Next::Via(hop) => self.ways.port_of(hop.0),
        })
    }
}
