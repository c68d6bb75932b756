//! The ways out of the gateway, and how a packet is sent by one.
//!
//! Whatever decides on a packet says [`Way`]; [`Ways`] alone knows what that takes: how large a packet may be, which lines to
//! fetch, which headers come in front ([`write`]), and what becomes of a packet while the way is closed. A new kind of way is a
//! variant here and an arm in each of its functions.

mod kind;
mod ways;
pub mod write;

pub use kind::Way;
pub use ways::{Front, UNNAMED, Ways};
