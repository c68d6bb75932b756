//! What a worker records of NAT44, for whoever must be able to say later which host had an address and port.

use crate::reason::DropReason;
use std::net::Ipv4Addr;

/// What is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recording {
    /// Nothing.
    #[default]
    Nothing,
    /// Which external ports hosts were given, and not whom they spoke with (RFC 6888 §4, REQ-12).
    Mappings,
    /// Which blocks of ports, where those are given by blocks; a line for each.
    Blocks,
    /// Every session.
    Sessions,
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// The host has it from now on.
    Created,
    /// It no longer has it.
    Ended,
    /// The host was refused one, for this reason.
    Refused(DropReason),
}

/// A record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it says.
    pub what: Recorded,
    /// The protocol.
    pub protocol: u8,
    /// The inside host and its port, or the identifier of its query.
    pub host: (Ipv4Addr, u16),
    /// What that is outside; of what was refused the address alone, unspecified where there is none.
    pub external: (Ipv4Addr, u16),
    /// The host outside and its port, where sessions are recorded.
    pub remote: Option<(Ipv4Addr, u16)>,
    /// The last port of a block, of all protocols, of which the first stands beside the address.
    pub last: Option<u16>,
}
