//! The sources of the control loop, each a value of its own that says by a trait whom it tells what.

pub mod admin;
pub mod connections;
pub mod dns_tcp;
pub mod metrics;
pub mod netlink;
pub mod peering;
pub mod routes;
pub mod signals;
pub mod tap;
pub mod upstream;
