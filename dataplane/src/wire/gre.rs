//! GRE (RFC 2784) with a key (RFC 2890), carrying Ethernet. Nothing else is taken: no checksum, no sequence numbers.

use super::Wire;
use crate::reason::DropReason;

/// Bytes of a header with a key.
pub const LENGTH: usize = 8;
/// The protocol type of transparent Ethernet bridging.
const ETHERNET: [u8; 2] = [0x65, 0x58];
/// Key present, version 0 and nothing else.
const FLAGS: [u8; 2] = [0x20, 0x00];

/// A GRE header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The key: here the tunnel id.
    pub key: u32,
}

impl Wire for Header {
    #[inline(always)]
    fn parse(bytes: &[u8]) -> Result<Self, DropReason> {
        let Some([f0, f1, p0, p1, key @ ..]) = bytes.first_chunk::<LENGTH>() else {
            return Err(DropReason::Truncated);
        };
        // RFC 2784 §2.3: a packet with version or flags that are not known is discarded.
        if [*f0, *f1] != FLAGS || [*p0, *p1] != ETHERNET {
            return Err(DropReason::TunnelMalformed);
        }
        Ok(Self { key: u32::from_be_bytes(*key) })
    }

    #[inline(always)]
    fn length(&self) -> usize {
        LENGTH
    }

    fn emit(&self, bytes: &mut [u8]) {
        bytes[0..2].copy_from_slice(&FLAGS);
        bytes[2..4].copy_from_slice(&ETHERNET);
        bytes[4..8].copy_from_slice(&self.key.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::holds;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(key: u32) {
            holds(&Header { key });
        }

        #[test]
        fn other_flags_and_protocols_are_malformed(flags: [u8; 4]) {
            prop_assume!(flags != [0x20, 0, 0x65, 0x58]);
            let bytes = [flags[0], flags[1], flags[2], flags[3], 0, 0, 0, 1];
            prop_assert_eq!(Header::parse(&bytes), Err(DropReason::TunnelMalformed));
        }
    }
}
