//! GRE (RFC 2784) with a key (RFC 2890 §2.1), carrying Ethernet. Checksums and sequence numbers are taken, but not sent.

use crate::{Malformed, Wire, checksum, ethernet, read16, read32};

/// Bytes of a header with a key and nothing else.
pub const LENGTH: usize = 8;
/// Where the key stands in such a header.
pub const KEY: usize = 4;
/// Bytes of the first word, and of each optional field behind it, which come in this order.
pub const WORD: usize = 4;
/// The flag C: checksum and a reserved half.
pub const HAS_CHECKSUM: u16 = 0x8000;
/// The flag K: a key.
pub const HAS_KEY: u16 = 0x2000;
/// The flag S: a sequence number.
pub const HAS_SEQUENCE: u16 = 0x1000;
/// What must be zero. RFC 2784 §2.3: a packet with any of bits 1 to 5 set is discarded by whom does not know RFC 1701, but
/// bits 2 and 3 are given a meaning again by RFC 2890. Bits 6 to 12 are ignored, the last three are the version.
const REFUSED: u16 = 0x4c07;

/// A GRE header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The checksum of header and payload, if there is one: see [`valid`].
    pub checksum: Option<u16>,
    /// The key: here the tunnel id.
    pub key: u32,
    /// The number of the packet in its tunnel, if they are numbered.
    pub sequence: Option<u32>,
}

impl Header {
    /// A header with a key alone.
    pub const fn new(key: u32) -> Self {
        Self { checksum: None, key, sequence: None }
    }
}

impl Wire for Header {
    #[inline(always)]
    fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() < LENGTH {
            return Err(Malformed::Truncated);
        }
        let flags = read16(bytes, 0);
        if flags & REFUSED != 0 || flags & HAS_KEY == 0 || read16(bytes, 2) != ethernet::BRIDGED {
            return Err(Malformed::Tunnel);
        }
        let checksum = (flags & HAS_CHECKSUM != 0).then(|| read16(bytes, WORD));
        let key_at = WORD + if checksum.is_some() { WORD } else { 0 };
        let sequence = (flags & HAS_SEQUENCE != 0).then(|| read32(bytes, key_at + WORD));
        let header = Self { checksum, key: read32(bytes, key_at), sequence };
        if bytes.len() < header.length() { Err(Malformed::Truncated) } else { Ok(header) }
    }

    #[inline(always)]
    fn length(&self) -> usize {
        LENGTH + WORD * (usize::from(self.checksum.is_some()) + usize::from(self.sequence.is_some()))
    }

    fn emit(&self, bytes: &mut [u8]) {
        let flag = |is: bool, flag| if is { flag } else { 0 };
        let flags = flag(self.checksum.is_some(), HAS_CHECKSUM)
            | HAS_KEY
            | flag(self.sequence.is_some(), HAS_SEQUENCE);
        let checksum = self.checksum.map(|sum| u32::from(sum) << 16);
        let words = [
            Some(u32::from(flags) << 16 | u32::from(ethernet::BRIDGED)),
            checksum,
            Some(self.key),
            self.sequence,
        ];
        for (word, to) in words.into_iter().flatten().zip(bytes.as_chunks_mut::<WORD>().0) {
            *to = word.to_be_bytes();
        }
    }
}

/// Whether a header with a checksum and all that follows it sum up as they should (RFC 2784 §2.2).
pub fn valid(header_and_payload: &[u8]) -> bool {
    checksum::valid(header_and_payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::holds;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(key: u32, checksum: Option<u16>, sequence: Option<u32>) {
            holds(&Header { checksum, key, sequence });
        }

        /// RFC 2784 §2.3, RFC 2890 §2: by bit, counted from the left.
        #[test]
        fn p13_flags_are_known_ignored_or_refused(
            flags: u16, protocol in prop_oneof![4 => Just(ethernet::BRIDGED), 1 => any::<u16>()],
        ) {
            let bit = |number: u16| flags >> (15 - number) & 1 == 1;
            let mut bytes = [0; 16];
            bytes[..2].copy_from_slice(&flags.to_be_bytes());
            bytes[2..4].copy_from_slice(&protocol.to_be_bytes());
            for (word, value) in bytes[4..].as_chunks_mut().0.iter_mut().zip(1u32..) {
                *word = (value << 16 | value).to_be_bytes();
            }
            let refused = [1, 4, 5, 13, 14, 15].into_iter().any(bit) || !bit(2) || protocol != ethernet::BRIDGED;
            let at = |word: u32| word << 16 | word;
            let header = Header {
                checksum: bit(0).then_some(1),
                key: at(1 + u32::from(bit(0))),
                sequence: bit(3).then(|| at(2 + u32::from(bit(0)))),
            };
            prop_assert_eq!(Header::parse(&bytes), if refused { Err(Malformed::Tunnel) } else { Ok(header) });
        }
    }

    #[test]
    fn a_checksum_covers_header_and_payload() {
        let mut bytes = [0x5a; 31];
        Header { checksum: Some(0), ..Header::new(7) }.emit(&mut bytes);
        let sum = checksum::checksum(&bytes);
        Header { checksum: Some(sum), ..Header::new(7) }.emit(&mut bytes);
        assert!(valid(&bytes));
        bytes[30] ^= 1;
        assert!(!valid(&bytes));
    }
}
