//! What crosses the rings between the control thread and a worker.
//!
//! Per worker, single-producer single-consumer rings (`machine::ring`): [`command`]s and injected frames towards the
//! worker, [`event`]s, [`punt`]ed frames and [`trace`]s from it. In every turn of its loop the worker takes commands before
//! injected frames, so that a binding stands before the DNS answer that names its proxy address leaves.

pub mod command;
pub mod event;
pub mod punt;
pub mod record;
pub mod reservation;
pub mod trace;

pub use crate::wire::Encapsulation;
pub use command::{
    Binding, BindingLimits, Command, Far, HopId, NatTable, Neighbour, Patience, TCP_IDLE_S, Tunnel, TunnelId,
};
pub use event::{BindingStats, EndReason, Event, HostView, InsertError, MappingView, NatRow, SessionView};
pub use punt::{FrameSlot, PuntClass, PuntRates, RING_PARTS, SLOT_BYTES};
pub use record::{Record, Recorded, Recording};
pub use reservation::{Reservation, ReservationEnd, ReservationId};
pub use trace::{Fate, TRACE_BYTES, TraceFilter, TraceRecord};

/// Index of a port, in the order of the configuration.
pub type PortId = u8;

/// The most ports a worker serves.
pub const PORTS: usize = 16;
