//! Sessions as data: what one is, all there are, and the one way in which they change.
//!
//! [`CesSessions`] owns them with the pools that they take from (slots and their tags, proxy addresses, tunnels) and with what is
//! refused for a while. A [`Change`] is its only mutator, so that a run of changes, written down or sent to another node, makes
//! the same sessions again: [`CesSessions::apply`] is both what the running gateway does and what a replay does.
//!
//! Reading order: `session`, `change`, `table`, then the pools `slots`, `proxies`, `tunnels`.

mod change;
mod proxies;
mod session;
mod slots;
mod table;
mod tunnels;

pub use change::{Change, Endpoint, Freed};
pub use session::{Carries, CesSession, PairNames, Phase, Reach, Terms, TunnelKey};
pub use table::{Applied, CesSessions, Figures, Inconsistent};
