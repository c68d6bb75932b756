//! CETP version 2 between Customer Edge Switching gateways, without I/O and without a clock.

#![forbid(unsafe_code)]

pub mod engine;
pub mod frame;
pub mod limits;
pub mod message;
pub mod policy;
pub mod pow;
pub mod tlv;
pub mod value;

pub use engine::Engine;
pub use limits::Limits;
pub use policy::Policy;
