//! What outlives the process: the keys that make tags mean something, and the journal of sessions.
//!
//! All of it is in one directory, which one process has for itself. Read `keys`, then `open` (what the last process left), then
//! `journal` (how this one writes). `lines` is how leases of DHCP (`leases`) and what came at run time
//! (`added`) are written, `memory` is about what is too much to be written: sessions of
//! NAT44.

mod added;
mod files;
mod journal;
mod keys;
mod leases;
mod lines;
mod memory;
mod open;
mod starts;

pub use added::{Added, AddedFile};
pub use files::StateError;
pub use journal::{Journal, JournalView};
pub use keys::Keys;
pub use leases::LeaseFile;
pub use lines::{KeptLine, LineFile, LineFileView, peek};
pub use memory::kept;
pub use open::{Directory, Past, Reading, Reopened};
