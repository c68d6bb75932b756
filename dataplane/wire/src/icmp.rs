//! ICMP for IPv4 (RFC 792).

use crate::{Malformed, Wire};

/// Bytes of the header.
pub const LENGTH: usize = 8;

/// Where its checksum stands.
pub const CHECKSUM: usize = 2;
/// Where the second word stands.
pub const REST: usize = 4;
/// Where the MTU of the next hop stands in [`FRAGMENTATION_NEEDED`] (RFC 1191 §4).
pub const NEXT_HOP_MTU: usize = 6;

/// Echo reply.
pub const ECHO_REPLY: u8 = 0;
/// Destination unreachable.
pub const UNREACHABLE: u8 = 3;
/// Source quench, deprecated by RFC 6633.
pub const SOURCE_QUENCH: u8 = 4;
/// Redirect.
pub const REDIRECT: u8 = 5;
/// Echo request.
pub const ECHO: u8 = 8;
/// Time exceeded.
pub const TIME_EXCEEDED: u8 = 11;
/// Parameter problem.
pub const PARAMETER_PROBLEM: u8 = 12;
/// Time stamp request.
pub const TIMESTAMP: u8 = 13;
/// Time stamp reply.
pub const TIMESTAMP_REPLY: u8 = 14;

/// Code of [`UNREACHABLE`]: the network.
pub const NET_UNREACHABLE: u8 = 0;
/// Code of [`UNREACHABLE`]: the host.
pub const HOST_UNREACHABLE: u8 = 1;
/// Code of [`UNREACHABLE`]: the protocol.
pub const PROTOCOL_UNREACHABLE: u8 = 2;
/// Code of [`UNREACHABLE`]: the port.
pub const PORT_UNREACHABLE: u8 = 3;
/// Code of [`UNREACHABLE`]: fragmentation needed and not allowed.
pub const FRAGMENTATION_NEEDED: u8 = 4;
/// Code of [`UNREACHABLE`]: forbidden by policy (RFC 1812 §5.2.7.1).
pub const PROHIBITED: u8 = 13;
/// Code of [`TIME_EXCEEDED`]: on the way, and not in reassembly.
pub const IN_TRANSIT: u8 = 0;

/// An ICMP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The type.
    pub kind: u8,
    /// The code.
    pub code: u8,
    /// The checksum over header and payload.
    pub checksum: u16,
    /// The second word: identifier and sequence number, next-hop MTU, …
    pub rest: u32,
}

impl Header {
    /// Whether it is an error about a packet that it quotes (RFC 1122 §3.2.2).
    #[inline(always)]
    pub const fn is_error(kind: u8) -> bool {
        matches!(kind, UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM)
    }
}

impl Wire for Header {
    #[inline(always)]
    fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let Some([kind, code, c0, c1, r0, r1, r2, r3]) = bytes.first_chunk::<LENGTH>() else {
            return Err(Malformed::Layer4);
        };
        Ok(Self {
            kind: *kind,
            code: *code,
            checksum: u16::from_be_bytes([*c0, *c1]),
            rest: u32::from_be_bytes([*r0, *r1, *r2, *r3]),
        })
    }

    #[inline(always)]
    fn length(&self) -> usize {
        LENGTH
    }

    fn emit(&self, bytes: &mut [u8]) {
        bytes[0] = self.kind;
        bytes[1] = self.code;
        bytes[CHECKSUM..REST].copy_from_slice(&self.checksum.to_be_bytes());
        bytes[REST..LENGTH].copy_from_slice(&self.rest.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::holds;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(kind: u8, code: u8, checksum: u16, rest: u32) {
            holds(&Header { kind, code, checksum, rest });
        }
    }
}
