//! Where a packet leaves.

use crate::msg::PortId;

/// Where a packet leaves. In which class it waits there is said by its DSCP: [`crate::queue::Class`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Egress {
    /// The port.
    pub port: PortId,
}

impl Egress {
    /// By this port.
    #[inline(always)]
    pub const fn by(port: PortId) -> Self {
        Self { port }
    }
}
