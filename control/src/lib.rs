//! What surrounds the engines: the configuration, the control loop, sockets, the shadow TAPs, and what an operator sees.
//!
//! Read in this order: [`config`] (what can be said), [`daemon`] (how it starts, its loop), [`fleet`] (the workers seen from
//! here), then whom the loop serves: [`datagram`] and [`dns_tcp`] (questions), [`upstream`] (resolvers), [`peering`] and
//! [`tls`] (other gateways), [`tap`] and [`netlink`] (the kernel), [`admin`], [`metrics`] and [`log`] (the operator). What
//! they share is small: [`inward`], [`stream`], [`slots`], [`tokens`].
#![forbid(unsafe_code)]

pub mod admin;
pub mod config;
pub mod daemon;
pub mod datagram;
pub mod dns_tcp;
pub mod fleet;
pub mod inward;
pub mod log;
pub mod metrics;
pub mod netlink;
pub mod peering;
pub mod slots;
pub mod stream;
pub mod tap;
pub mod tls;
pub mod tokens;
pub mod trace;
pub mod upstream;
