//! Where a packet leaves: by a port, in a class.

use crate::msg::PortId;

/// What a packet is to those that wait for the same port. Today all are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Class {
    /// In its turn.
    #[default]
    Ordinary,
}

impl Class {
    /// All classes, the most urgent first.
    pub const ALL: [Class; 1] = [Class::Ordinary];
}

/// Where a packet leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Egress {
    /// The port.
    pub port: PortId,
    /// Its class there.
    pub class: Class,
}

impl Egress {
    /// By this port, as an ordinary packet.
    #[inline(always)]
    pub const fn by(port: PortId) -> Self {
        Self { port, class: Class::Ordinary }
    }
}
