//! What the end-to-end tests share: a lab of namespaces, and what a person would type in it.
//!
//! The tests run the built binaries and look at them from outside only: real clients and servers in the hosts, `cesctl`
//! and `/metrics` for the operator's view. They wait for conditions, never for a time, and assert on none.

#![forbid(unsafe_code)]

pub mod lab;
pub mod metrics;
