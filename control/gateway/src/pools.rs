//! What can run out: proxy addresses of a host, slots for bindings, tunnels, next hops.
//!
//! Every pool is bounded, hands out by constant or near-constant work, and says how full it is.

mod proxy;
mod slots;
mod tunnels;

pub(crate) use proxy::{ProxyLimits, ProxyPool};
pub(crate) use slots::Slots;
pub(crate) use tunnels::{Entry as TunnelEntry, Key as TunnelKey, Tunnels};
