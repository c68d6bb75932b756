//! What kinds of ways there are.

/// A way out of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Through the tunnel with this number, to another gateway.
    Tunnel(u16),
    /// Into the realm, to the next hop with this number.
    Realm(u32),
}
