//! Encrypted tunnels: packets are sealed on their way to a peer, and opened when they come from one.
//!
//! The form is PSP's (`crate::wire::psp`). There is one key for each peer and direction, which the receiver drew and told the
//! sender in C2C; all workers of a gateway seal under the same one, each with a part of the initialization vectors of its own. A
//! receiver has two keys alive, told apart by the top bit of the index: what was sealed before a new one arrived is still opened.
//!
//! Keys are made ready by the control thread ([`SealKey`]), go down beside the commands, and come back to be freed; what changes
//! with packets ([`OutboundKey`]'s count, [`Window`]) is the worker's own, and came down with them. So nothing here allocates or
//! locks.

mod change;
mod key;
mod seals;
mod window;

pub use change::{KeyChange, KeyPart};
pub use key::{InboundKey, MOST_PACKETS, OutboundKey, STREAMS, SealKey};
pub use seals::{SLOTS, Seals, Unsealed, slot_of};
pub use window::{WINDOW, Window};
