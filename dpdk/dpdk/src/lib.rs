//! Safe wrapper over libdpdk: EAL, packet memory, ports and their queues, threads.
//!
//! What C leaves to discipline is here in types. An [`Mbuf`] has one owner and goes back to its pool when dropped. Queues
//! exist only while their port runs, and each has one user. Everything holds the [`Eal`] that it needs, so that the order
//! of dropping does not matter; the EAL is cleaned up when the last of them is gone.
//!
//! Read `eal.rs` first (all begins there), then `mempool.rs` and `mbuf.rs` (packet memory), `port.rs`, `running.rs` and
//! `queue.rs` (a port, who holds it, its ends), `thread.rs`. `interrupts.rs` is for `net_memif` alone; [`kernel`] and
//! `interface.rs` are what is asked of the kernel about a port, `heap.rs` of the C library's allocator; `log.rs` and
//! `error.rs` are how all of it says what is wrong.
//!
//! Time and cycle counts are in the crate `machine`, which works without DPDK.

mod eal;
mod error;
mod heap;
mod interface;
mod interrupts;
pub mod kernel;
mod log;
mod mbuf;
mod mempool;
mod port;
mod queue;
mod running;
mod thread;

pub use eal::{Eal, Memory, Options, version};
pub use error::Error;
pub use heap::free_in_pieces;
pub use log::{lost_log_lines, take_log};
pub use mbuf::{HEADROOM, Mbuf};
pub use mempool::{DATA_ROOM, Mempool};
pub use port::{LinkStatus, Port, PortConfig, Rss, Stats};
pub use queue::{RxQueue, TxQueue};
pub use thread::RegisteredThread;
