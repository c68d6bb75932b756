//! The Prometheus page: families made from snapshots when somebody scrapes, and the small HTTP server in front.

pub mod families;
pub mod http;
