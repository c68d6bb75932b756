//! What the packet path needs of the machine and `std` does not offer safely.
//!
//! The packet path forbids unsafe code. What it cannot do without stands here, each piece behind a safe interface:
//! prefetching, the cycle counter and a clock over it, tables on huge pages, the ring between two threads, a gate that is
//! nearly free to pass, and a thread's place on a core. Nothing here knows libdpdk, so that the pure core builds and tests
//! without it.

#[cfg(feature = "count-allocations")]
pub mod allocations;
mod clock;
mod cores;
pub mod gate;
mod kept;
mod lanes;
mod pages;
mod prefetch;
pub mod ring;
pub mod table;

pub use clock::{Clock, cycles, cycles_per_second};
pub use cores::{pin_to_core, usable_cores};
pub use kept::Kept;
pub use lanes::matching_lanes;
pub use prefetch::{prefetch, prefetch_write};
