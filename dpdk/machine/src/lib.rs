//! What the packet path needs of the machine and `std` does not offer safely.
//!
//! The packet path forbids unsafe code. What it cannot do without stands here, each piece behind a safe interface:
//! prefetching, the cycle counter and a clock over it, tables on huge pages, the ring between two threads, a gate that is
//! nearly free to pass, and a thread's place on a core. Nothing here knows libdpdk, so that the pure core builds and tests
//! without it.
//!
//! Read `prefetch.rs`, `lanes.rs` and `clock.rs` for what each burst needs; [`table`] with `kept.rs` (a table in a file, which
//! the next process finds) and `pages.rs` for memory; [`ring`] and [`gate`] for what stands between threads; `cores.rs` for where
//! they run.

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
