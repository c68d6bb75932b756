//! CETP: bytes of a connection.

/// The property: no panic.
pub fn run(_: &[u8]) {}
