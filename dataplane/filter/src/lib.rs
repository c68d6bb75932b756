//! The rules of the stateful filter, compiled: which rule decides on the first packet of a session.
//!
//! Rules stand in an order, and the first that fits decides. They are asked once a session, so what this costs nobody pays
//! for who is established. A [`Filter`] is built by whoever reads the rules, changes never, and is shared by all workers,
//! each of which counts in a place of its own. No I/O, no clock: time comes as an argument.
//!
//! Read `asked.rs` and `rule.rs` for what is asked of what, `ranges.rs`, `axis.rs`, `condition.rs` and `classifier.rs` for how
//! the rule is found, `filter.rs` last.

#![forbid(unsafe_code)]

mod asked;
mod axis;
mod classifier;
mod condition;
mod filter;
mod ranges;
mod rates;
mod rule;
mod set;
mod tally;

pub use asked::{Asked, Seen, Zone};
pub use classifier::{Classifier, TooLarge};
pub use condition::{Condition, PortSet};
pub use filter::{Decision, Filter, Rules, Ruling};
pub use ranges::Ranges;
pub use rule::{Action, End, OpeningRates, Protocols, Rule, Who, ZonePairs};
pub use set::AddressSet;
