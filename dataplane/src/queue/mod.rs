//! Where packets wait between being decided on and being sent.
//!
//! Every port has a plain queue of a turn ([`Queues`]), which its worker sends whole. A port with a bandwidth has a
//! [`Shaper`] in front of it, whose own queue is the one that grows, instead of one further on that knows nobody: classes,
//! in them hosts, in them flows ([`fair`]), each flow with its own control of delay ([`codel`]), and one [`Pace`] for all
//! workers together.

pub mod class;
pub mod codel;
pub mod fair;
mod fifo;
mod figures;
pub mod key;
pub mod pace;
mod round;
mod shaper;
mod ways;

pub use class::Class;
pub use fifo::{Queues, Refused};
pub use figures::{Figure, QueueFigures};
pub use key::PortKeys;
pub use pace::{Shape, SharedLine};
pub use shaper::{QueueOutcomes, Shaper};
