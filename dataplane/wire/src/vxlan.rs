//! VXLAN (RFC 7348).

use crate::{Malformed, Wire};

/// Bytes of the header.
pub const LENGTH: usize = 8;
/// Its UDP port.
pub const PORT: u16 = 4789;
/// Where the identifier stands, in the upper 24 bits of a word.
pub const ID: usize = 4;
/// The flag I of the first byte: there is an identifier.
pub const HAS_ID: u8 = 0x08;

/// A VXLAN header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The network identifier, 24 bits.
    pub id: u32,
}

impl Wire for Header {
    #[inline(always)]
    fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let Some([flags, _, _, _, id @ .., _]) = bytes.first_chunk::<LENGTH>() else {
            return Err(Malformed::Truncated);
        };
        // RFC 7348 §5: the I flag must be set; the others are reserved and ignored.
        if flags & HAS_ID == 0 {
            return Err(Malformed::Tunnel);
        }
        Ok(Self { id: u32::from_be_bytes([0, id[0], id[1], id[2]]) })
    }

    #[inline(always)]
    fn length(&self) -> usize {
        LENGTH
    }

    fn emit(&self, bytes: &mut [u8]) {
        bytes[..ID].copy_from_slice(&[HAS_ID, 0, 0, 0]);
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
        fn round_trip(id in 0u32..1 << 24) {
            holds(&Header { id });
        }
    }

    #[test]
    fn a_header_without_id_is_malformed() {
        assert_eq!(Header::parse(&[0xf7, 0, 0, 0, 0, 0, 1, 0]), Err(Malformed::Tunnel));
    }
}
