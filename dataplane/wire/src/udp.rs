//! UDP (RFC 768).

use crate::{Malformed, Wire};

/// Bytes of the header.
pub const LENGTH: usize = 8;
/// Where the source port stands.
pub const SOURCE_PORT: usize = 0;
/// Where the destination port stands.
pub const DESTINATION_PORT: usize = 2;
/// Where the length of header and payload stands.
pub const DATAGRAM_LENGTH: usize = 4;
/// Where its checksum stands; DCCP and UDP-Lite have theirs in the same place.
pub const CHECKSUM: usize = 6;

/// A UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Bytes of header and payload.
    pub datagram_length: u16,
    /// The checksum; 0 = none.
    pub checksum: u16,
}

impl Wire for Header {
    #[inline(always)]
    fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let Some([s0, s1, d0, d1, l0, l1, c0, c1]) = bytes.first_chunk::<LENGTH>() else {
            return Err(Malformed::Layer4);
        };
        let header = Self {
            source_port: u16::from_be_bytes([*s0, *s1]),
            destination_port: u16::from_be_bytes([*d0, *d1]),
            datagram_length: u16::from_be_bytes([*l0, *l1]),
            checksum: u16::from_be_bytes([*c0, *c1]),
        };
        if usize::from(header.datagram_length) < LENGTH { Err(Malformed::Layer4) } else { Ok(header) }
    }

    #[inline(always)]
    fn length(&self) -> usize {
        LENGTH
    }

    #[inline(always)]
    fn emit(&self, bytes: &mut [u8]) {
        bytes[SOURCE_PORT..DESTINATION_PORT].copy_from_slice(&self.source_port.to_be_bytes());
        bytes[DESTINATION_PORT..DATAGRAM_LENGTH].copy_from_slice(&self.destination_port.to_be_bytes());
        bytes[DATAGRAM_LENGTH..CHECKSUM].copy_from_slice(&self.datagram_length.to_be_bytes());
        bytes[CHECKSUM..LENGTH].copy_from_slice(&self.checksum.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::holds;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(source_port: u16, destination_port: u16, datagram_length in 8u16.., checksum: u16) {
            holds(&Header { source_port, destination_port, datagram_length, checksum });
        }
    }

    #[test]
    fn a_length_below_the_header_is_refused() {
        assert_eq!(Header::parse(&[0, 1, 0, 2, 0, 7, 0, 0]), Err(Malformed::Layer4));
    }
}
