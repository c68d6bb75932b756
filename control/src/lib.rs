//! What surrounds the engines: the configuration, the control loop, sockets, the shadow TAPs, and what an operator sees.
#![forbid(unsafe_code)]

pub mod admin;
pub mod config;
pub mod daemon;
pub mod datagram;
pub mod dns_tcp;
pub mod fleet;
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
