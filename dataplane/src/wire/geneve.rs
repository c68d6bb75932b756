//! GENEVE (RFC 8926), carrying Ethernet. Options are skipped, but a critical one is refused: none is known here.

use super::Wire;
use crate::reason::DropReason;

/// Bytes of a header without options.
pub const LENGTH: usize = 8;
/// Its UDP port.
pub const PORT: u16 = 6081;
/// The protocol type of transparent Ethernet bridging.
const ETHERNET: [u8; 2] = [0x65, 0x58];

/// A GENEVE header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The network identifier, 24 bits.
    pub id: u32,
    /// Bytes of options behind the first 8: 0 to 252, a multiple of 4.
    pub options_length: u8,
}

impl Wire for Header {
    #[inline(always)]
    fn parse(bytes: &[u8]) -> Result<Self, DropReason> {
        let Some([version, flags, p0, p1, id @ .., _]) = bytes.first_chunk::<LENGTH>() else {
            return Err(DropReason::Truncated);
        };
        let options_length = (version & 0x3f) * 4;
        // RFC 8926 §3.4: another version, a control packet (O) or critical options (C) that are not understood: drop.
        if version >> 6 != 0 || flags & 0xc0 != 0 || [*p0, *p1] != ETHERNET {
            return Err(DropReason::TunnelMalformed);
        }
        if bytes.len() < LENGTH + usize::from(options_length) {
            return Err(DropReason::Truncated);
        }
        Ok(Self { id: u32::from_be_bytes([0, id[0], id[1], id[2]]), options_length })
    }

    #[inline(always)]
    fn length(&self) -> usize {
        LENGTH + usize::from(self.options_length)
    }

    /// Options are left as they stand in `bytes`.
    fn emit(&self, bytes: &mut [u8]) {
        bytes[0..2].copy_from_slice(&[self.options_length / 4, 0]);
        bytes[2..4].copy_from_slice(&ETHERNET);
        bytes[4..8].copy_from_slice(&(self.id << 8).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::holds;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(id in 0u32..1 << 24, words in 0u8..64) {
            holds(&Header { id, options_length: words * 4 });
        }
    }

    #[test]
    fn critical_options_control_packets_and_other_versions_are_malformed() {
        for (version, flags) in [(0x40, 0), (0, 0x40), (0, 0x80)] {
            let bytes = [version, flags, 0x65, 0x58, 0, 0, 1, 0];
            assert_eq!(Header::parse(&bytes), Err(DropReason::TunnelMalformed));
        }
    }
}
