//! Who the hosts are, and what policy says about them.
//!
//! People write both in files: [`load`] reads them all together, finds every error before it reports any, and says where
//! each is. What ends in `.json` holds the reference's policy arrays, everything else is TOML. A name
//! without policy may do nothing and is reached by nobody.

mod compile;
mod complaints;
mod file;
mod hosts;
mod json;
mod load;
mod mac;
mod policy;
mod value;

pub use hosts::{DEFAULT_GROUP, HostEntry, Registry, Service};
pub(crate) use load::{inbound_of, no_hosts_address};
pub use load::{load, load_behind};
pub use mac::MacEntry;
pub use policy::{PolicyRule, PolicySet, RuleLimits};
pub use value::{Pattern, Protocol};
