//! GENEVE (RFC 8926), carrying Ethernet. Options are skipped, but a critical one is refused: none is known here.

use crate::{Malformed, Wire, ethernet};

/// Bytes of a header without options.
pub const LENGTH: usize = 8;
/// Its UDP port.
pub const PORT: u16 = 6081;
/// Where the identifier stands, in the upper 24 bits of a word.
pub const ID: usize = 4;
/// The bits of the first byte that tell the length of the options, in words.
pub const OPTIONS_MASK: u8 = 0x3f;
/// The protocol type of what is carried.
const ETHERNET: [u8; 2] = ethernet::BRIDGED.to_be_bytes();
/// The bits of the second byte that say what must be understood: a control packet (O), critical options (C).
const CRITICAL: u8 = 0xc0;

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
    fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let Some([version, flags, p0, p1, id @ .., _]) = bytes.first_chunk::<LENGTH>() else {
            return Err(Malformed::Truncated);
        };
        let options_length = (version & OPTIONS_MASK) * 4;
        // RFC 8926 §3.4: another version, a control packet (O) or critical options (C) that are not understood: drop.
        if version >> 6 != 0 || flags & CRITICAL != 0 || [*p0, *p1] != ETHERNET {
            return Err(Malformed::Tunnel);
        }
        if bytes.len() < LENGTH + usize::from(options_length) {
            return Err(Malformed::Truncated);
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
        bytes[2..ID].copy_from_slice(&ETHERNET);
        bytes[ID..LENGTH].copy_from_slice(&(self.id << 8).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::holds;
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
            assert_eq!(Header::parse(&bytes), Err(Malformed::Tunnel));
        }
    }
}
