//! ICMP for IPv4 (RFC 792).

use super::Wire;
use crate::reason::DropReason;

/// Bytes of the header.
pub const LENGTH: usize = 8;

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

/// Code of [`UNREACHABLE`]: the host.
pub const HOST_UNREACHABLE: u8 = 1;
/// Code of [`UNREACHABLE`]: fragmentation needed and not allowed.
pub const FRAGMENTATION_NEEDED: u8 = 4;

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
    fn parse(bytes: &[u8]) -> Result<Self, DropReason> {
        let Some([kind, code, c0, c1, r0, r1, r2, r3]) = bytes.first_chunk::<LENGTH>() else {
            return Err(DropReason::L4Malformed);
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
        bytes[2..4].copy_from_slice(&self.checksum.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.rest.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::holds;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(kind: u8, code: u8, checksum: u16, rest: u32) {
            holds(&Header { kind, code, checksum, rest });
        }
    }
}
