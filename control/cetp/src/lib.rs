//! CETP version 2 between Customer Edge Switching gateways, without I/O and without a clock.
//!
//! From the wire up: [`frame`] cuts the stream, [`message`] parses and writes what is in a frame ([`value`], [`tlv`]),
//! [`policy`] says what is asked and told, [`pow`] makes strangers pay, and [`engine`] negotiates: C2C once per peer
//! gateway, H2H once per pair of hosts. Everything that a peer can make grow is bounded by [`limits`].

#![forbid(unsafe_code)]

mod block;
mod c2c;
pub mod engine;
pub mod frame;
mod h2h;
mod keyed;
pub mod limits;
pub mod message;
mod negotiate;
pub mod policy;
pub mod pow;
pub mod tlv;
pub mod value;

pub use engine::Engine;
pub use limits::Limits;
pub use policy::Policy;
