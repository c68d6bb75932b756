//! CETP version 2 between Customer Edge Switching gateways, without I/O and without a clock.

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
