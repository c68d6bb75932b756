//! What outlives the process: the keys that make tags mean something, and the journal of sessions.
//!
//! All of it is in one directory, which one process has for itself. Read `keys`, then `open` (what the last process left), then
//! `journal` (how this one writes). `leases` is what DHCP writes, `memory` is about what is too much to be written: sessions of
//! NAT44.

mod files;
mod journal;
mod keys;
mod leases;
mod memory;
mod open;

pub use files::StateError;
pub use journal::{Journal, JournalView};
pub use keys::Keys;
pub use leases::{LeaseFile, LeaseFileView};
pub use memory::kept;
pub use open::{Directory, Past, Reading, Reopened};
