//! What outlives the process: the keys that make tags mean something, and the journal of sessions.
//!
//! All of it is in one directory, which one process has for itself. Read `keys`, then `open` (what the last process left), then
//! `journal` (how this one writes).

mod files;
mod journal;
mod keys;
mod open;

pub use files::StateError;
pub use journal::{Journal, JournalView};
pub use keys::Keys;
pub use open::{Directory, Past, Taken};
