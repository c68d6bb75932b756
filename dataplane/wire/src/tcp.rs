//! TCP (RFC 9293), with the options that the path reads or changes: the maximum segment size, what was received beyond a gap,
//! and time stamps.

use crate::{Malformed, Wire, read16, read32};

/// Bytes of a header without options.
pub const LENGTH: usize = 20;
/// Where the sequence number stands, behind the ports.
pub const SEQUENCE: usize = 4;
/// Where the acknowledged sequence number stands.
pub const ACKNOWLEDGEMENT: usize = 8;
/// Where the length of the header stands, in the upper four bits of a byte, in words.
pub const DATA_OFFSET: usize = 12;
/// Where the flags stand.
pub const FLAGS: usize = 13;
/// Where the receive window stands.
pub const WINDOW: usize = 14;
/// Where its checksum stands.
pub const CHECKSUM: usize = 16;
/// Where the urgent pointer stands.
pub const URGENT: usize = 18;
/// The flag FIN.
pub const FIN: u8 = 0x01;
/// The flag SYN.
pub const SYN: u8 = 0x02;
/// The flag RST.
pub const RST: u8 = 0x04;
/// The flag PSH.
pub const PSH: u8 = 0x08;
/// The flag ACK.
pub const ACK: u8 = 0x10;
/// The flag URG.
pub const URG: u8 = 0x20;
/// The option of the maximum segment size, and its bytes.
const MAXIMUM_SEGMENT: [u8; 2] = [2, 4];
/// The option of what was received beyond a gap.
const SELECTIVE: u8 = 5;
/// The option of time stamps, and its bytes.
const STAMPS: [u8; 2] = [8, 10];

/// A TCP header. Options are not part of it: they stand between byte 20 and [`Wire::length`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledged sequence number.
    pub acknowledgement: u32,
    /// Bytes of the header, options included: 20 to 60, a multiple of 4.
    pub header_length: u8,
    /// FIN, SYN, RST, PSH, ACK, URG, ECE, CWR from bit 0 on.
    pub flags: u8,
    /// Receive window.
    pub window: u16,
    /// Checksum.
    pub checksum: u16,
    /// Urgent pointer.
    pub urgent: u16,
}

impl Wire for Header {
    #[inline(always)]
    fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let Some(header) = bytes.first_chunk::<LENGTH>() else {
            return Err(Malformed::Layer4);
        };
        let header_length = usize::from(header[DATA_OFFSET] >> 4) * 4;
        if header_length < LENGTH || header_length > bytes.len() {
            return Err(Malformed::Layer4);
        }
        Ok(Self {
            source_port: u16::from_be_bytes([header[0], header[1]]),
            destination_port: u16::from_be_bytes([header[2], header[3]]),
            sequence: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            acknowledgement: u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
            header_length: header_length as u8,
            flags: header[FLAGS],
            window: u16::from_be_bytes([header[14], header[15]]),
            checksum: u16::from_be_bytes([header[16], header[17]]),
            urgent: u16::from_be_bytes([header[18], header[19]]),
        })
    }

    #[inline(always)]
    fn length(&self) -> usize {
        usize::from(self.header_length)
    }

    /// Options are left as they stand in `bytes`.
    fn emit(&self, bytes: &mut [u8]) {
        bytes[0..2].copy_from_slice(&self.source_port.to_be_bytes());
        bytes[2..4].copy_from_slice(&self.destination_port.to_be_bytes());
        bytes[SEQUENCE..ACKNOWLEDGEMENT].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[ACKNOWLEDGEMENT..DATA_OFFSET].copy_from_slice(&self.acknowledgement.to_be_bytes());
        bytes[DATA_OFFSET] = (self.header_length / 4) << 4;
        bytes[FLAGS] = self.flags;
        bytes[WINDOW..CHECKSUM].copy_from_slice(&self.window.to_be_bytes());
        bytes[CHECKSUM..CHECKSUM + 2].copy_from_slice(&self.checksum.to_be_bytes());
        bytes[18..20].copy_from_slice(&self.urgent.to_be_bytes());
    }
}

/// Where the value of the option of this kind and length stands in a TCP header (options included). Of length 0: any, with
/// its bytes.
fn option(header: &[u8], [kind, length]: [u8; 2]) -> Option<(usize, usize)> {
    let mut at = LENGTH;
    loop {
        match *header.get(at..)? {
            [] | [0, ..] => return None,
            [1, ..] => at += 1,
            [this, long, ..] if this == kind && (long == length || length == 0) && long >= 2 => {
                let (from, end) = (at + 2, at + usize::from(long));
                return (end <= header.len()).then_some((from, end - from));
            }
            [_, length, ..] if length >= 2 => at += usize::from(length),
            _ => return None,
        }
    }
}

/// Where the value of the maximum segment size option stands in a TCP header (options included), and the value.
pub fn maximum_segment(header: &[u8]) -> Option<(usize, u16)> {
    option(header, MAXIMUM_SEGMENT).map(|(at, _)| (at, read16(header, at)))
}

/// Where the blocks stand that were received beyond a gap, of two sequence numbers each, and how many they are (RFC 2018 §3).
pub fn selective(header: &[u8]) -> Option<(usize, usize)> {
    option(header, [SELECTIVE, 0])
        .filter(|(_, length)| length.is_multiple_of(8))
        .map(|(at, length)| (at, length / 8))
}

/// The time stamp of the sender, and the one of the other end that it has seen last (RFC 7323 §3.2).
pub fn stamps(header: &[u8]) -> Option<(u32, u32)> {
    option(header, STAMPS).map(|(at, _)| (read32(header, at), read32(header, at + 4)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::holds;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(words in 5u8..16, f: (u16, u16, u32, u32, u8, u16, u16, u16)) {
            holds(&Header {
                source_port: f.0, destination_port: f.1, sequence: f.2, acknowledgement: f.3,
                header_length: words * 4, flags: f.4, window: f.5, checksum: f.6, urgent: f.7,
            });
        }

        #[test]
        fn segment_size_search_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Some((at, value)) = maximum_segment(&bytes) {
                prop_assert_eq!(value, read16(&bytes, at));
            }
        }
    }

    #[test]
    fn segment_size_is_found_behind_other_options() {
        let mut header = [0; 32];
        header[20..30].copy_from_slice(&[1, 3, 3, 7, 1, 2, 4, 0x05, 0xb4, 0]);
        assert_eq!(maximum_segment(&header), Some((27, 1460)));
        header[25] = 0;
        assert_eq!(maximum_segment(&header), None);
    }
}
