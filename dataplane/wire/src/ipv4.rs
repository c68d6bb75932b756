//! IPv4 (RFC 791), with as much of its options as a router must know.

use crate::{Malformed, Pair, Wire, checksum, le64};

/// ICMP.
pub const ICMP: u8 = 1;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// DCCP: its checksum covers the addresses too (RFC 4340 §9.1), and stands where UDP's does.
pub const DCCP: u8 = 33;
/// GRE.
pub const GRE: u8 = 47;
/// UDP-Lite: its checksum covers the addresses too (RFC 3828 §3.1), and stands where UDP's does.
pub const UDP_LITE: u8 = 136;

/// Bytes of a header without options.
pub const LENGTH: usize = 20;

/// Where DSCP and ECN stand.
pub const TOS: usize = 1;
/// Where the length of the packet stands.
pub const TOTAL_LENGTH: usize = 2;
/// Where the identification stands.
pub const ID: usize = 4;
/// Where flags and offset of a fragment stand.
pub const FRAGMENT: usize = 6;
/// Where the time to live stands.
pub const TTL: usize = 8;
/// Where the protocol stands.
pub const PROTOCOL: usize = 9;
/// Where the checksum stands.
pub const CHECKSUM: usize = 10;
/// Where the source stands.
pub const SOURCE: usize = 12;
/// Where the destination stands.
pub const DESTINATION: usize = 16;

/// In the word at [`FRAGMENT`]: not to be fragmented.
pub const DONT_FRAGMENT: u16 = 0x4000;
/// A fragment, and not the last.
pub const MORE_FRAGMENTS: u16 = 0x2000;
/// Where the fragment belongs, in units of 8 bytes.
pub const OFFSET_MASK: u16 = 0x1fff;

/// An IPv4 header. Options are not part of it: they stand between byte 20 and [`Wire::length`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the header, options included: 20 to 60, a multiple of 4.
    pub header_length: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// Bytes of the packet, header included.
    pub total_length: u16,
    /// The identification, for reassembly.
    pub id: u16,
    /// Not to be fragmented.
    pub dont_fragment: bool,
    /// A fragment, and not the last.
    pub more_fragments: bool,
    /// Where the fragment belongs, in units of 8 bytes: 0 to 8191.
    pub fragment_offset: u16,
    /// Time to live.
    pub ttl: u8,
    /// What follows.
    pub protocol: u8,
    /// Source address.
    pub source: u32,
    /// Destination address.
    pub destination: u32,
}

impl Header {
    /// The header of a fresh packet without options, that must not be fragmented.
    pub const fn new(protocol: u8, source: u32, destination: u32, total_length: u16) -> Self {
        Self {
            header_length: LENGTH as u8,
            tos: 0,
            total_length,
            id: 0,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            ttl: 64,
            protocol,
            source,
            destination,
        }
    }

    /// Reads a header whose packet may have been cut off behind it: a packet quoted by ICMP. Its checksum is not
    /// looked at, since the router that quotes may have changed the time to live already.
    #[inline(always)]
    pub fn parse_quoted(bytes: &[u8]) -> Result<Self, Malformed> {
        let Some(header) = bytes.first_chunk::<LENGTH>() else {
            return Err(Malformed::Truncated);
        };
        if header[0] >> 4 != 4 {
            return Err(Malformed::IpVersion);
        }
        let header_length = usize::from(header[0] & 15) * 4;
        if header_length < LENGTH {
            return Err(Malformed::IpHeaderLength);
        }
        if header_length > bytes.len() {
            return Err(Malformed::Truncated);
        }
        let fragment = u16::from_be_bytes([header[FRAGMENT], header[FRAGMENT + 1]]);
        Ok(Self {
            header_length: header_length as u8,
            tos: header[TOS],
            total_length: u16::from_be_bytes([header[2], header[3]]),
            id: u16::from_be_bytes([header[4], header[5]]),
            dont_fragment: fragment & DONT_FRAGMENT != 0,
            more_fragments: fragment & MORE_FRAGMENTS != 0,
            fragment_offset: fragment & OFFSET_MASK,
            ttl: header[TTL],
            protocol: header[PROTOCOL],
            source: u32::from_be_bytes([header[12], header[13], header[14], header[15]]),
            destination: u32::from_be_bytes([header[16], header[17], header[18], header[19]]),
        })
    }

    /// Writes the header without its checksum, to be completed when what differs between packets is known: the sum of
    /// what is written.
    pub fn emit_open(&self, bytes: &mut [u8]) -> checksum::Sum {
        self.emit(bytes);
        bytes[CHECKSUM..SOURCE].fill(0);
        checksum::Sum::default().bytes(&bytes[..self.length()])
    }

    /// The least that an ICMP error quotes of this packet: its header and 64 bits, if it has as many (RFC 792).
    pub fn quoted_least(&self) -> usize {
        let whole = usize::from(self.total_length);
        (usize::from(self.header_length) + 8).min(whole.max(usize::from(self.header_length)))
    }

    /// Whether it is a fragment, first or later.
    #[inline(always)]
    pub const fn is_fragment(&self) -> bool {
        self.more_fragments || self.fragment_offset != 0
    }

    /// The bytes that follow the header.
    #[inline(always)]
    pub const fn payload_length(&self) -> usize {
        self.total_length as usize - self.header_length as usize
    }
}

impl Wire for Header {
    #[inline(always)]
    fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let header = Self::parse_quoted(bytes)?;
        let (length, total) = (usize::from(header.header_length), usize::from(header.total_length));
        if total < length || total > bytes.len() {
            return Err(Malformed::IpTotalLength);
        }
        if !checksum::valid(&bytes[..length]) {
            return Err(Malformed::IpChecksum);
        }
        // A reassembled packet would be longer than a packet can be ("ping of death").
        if usize::from(header.fragment_offset) * 8 + header.payload_length() > 0xffff {
            return Err(Malformed::IpTotalLength);
        }
        Ok(header)
    }

    #[inline(always)]
    fn length(&self) -> usize {
        usize::from(self.header_length)
    }

    /// Options are left as they stand in `bytes`, and covered by the checksum.
    fn emit(&self, bytes: &mut [u8]) {
        let length = self.length();
        bytes[0] = 0x40 | (self.header_length / 4);
        bytes[TOS] = self.tos;
        bytes[TOTAL_LENGTH..ID].copy_from_slice(&self.total_length.to_be_bytes());
        bytes[ID..FRAGMENT].copy_from_slice(&self.id.to_be_bytes());
        let flags = if self.dont_fragment { DONT_FRAGMENT } else { 0 };
        let more = if self.more_fragments { MORE_FRAGMENTS } else { 0 };
        let fragment = flags | more | self.fragment_offset & OFFSET_MASK;
        bytes[FRAGMENT..TTL].copy_from_slice(&fragment.to_be_bytes());
        bytes[TTL] = self.ttl;
        bytes[PROTOCOL] = self.protocol;
        bytes[CHECKSUM..SOURCE].fill(0);
        bytes[SOURCE..DESTINATION].copy_from_slice(&self.source.to_be_bytes());
        bytes[DESTINATION..LENGTH].copy_from_slice(&self.destination.to_be_bytes());
        let sum = checksum::checksum(&bytes[..length]);
        bytes[CHECKSUM..SOURCE].copy_from_slice(&sum.to_be_bytes());
    }
}

/// An option: its first byte and all its bytes, that one included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpOption<'a> {
    /// Copy flag, class and number.
    pub kind: u8,
    /// The option, from its kind on.
    pub bytes: &'a [u8],
}

impl IpOption<'_> {
    /// Whether it must stand in every fragment (RFC 791 §3.1: the copied flag).
    pub const fn copied(&self) -> bool {
        self.kind & 0x80 != 0
    }

    /// Whether it is a loose or a strict source route.
    pub const fn source_route(&self) -> bool {
        matches!(self.kind, 131 | 137)
    }
}

/// The options in the bytes behind byte 20 of a header. An option that is longer than what is left ends with an error.
pub fn options(mut bytes: &[u8]) -> impl Iterator<Item = Result<IpOption<'_>, Malformed>> {
    std::iter::from_fn(move || {
        loop {
            match *bytes {
                [] | [0, ..] => return None,        // end of options
                [1, ref rest @ ..] => bytes = rest, // no operation
                [kind, length, ..] if length >= 2 && usize::from(length) <= bytes.len() => {
                    let (option, rest) = bytes.split_at(usize::from(length));
                    bytes = rest;
                    return Some(Ok(IpOption { kind, bytes: option }));
                }
                _ => {
                    bytes = &[];
                    return Some(Err(Malformed::IpHeaderLength));
                }
            }
        }
    })
}

/// What the path asks of a header that is as nearly all are: without options, of no fragment, with a right checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain {
    /// DSCP and ECN.
    pub tos: u8,
    /// Bytes of the packet, header included: not compared with anything yet.
    pub total_length: u16,
    /// Not to be fragmented.
    pub dont_fragment: bool,
    /// Time to live.
    pub ttl: u8,
    /// What follows.
    pub protocol: u8,
    /// Source and destination.
    pub addresses: Pair,
}

/// Version 4 and a header of five words in the first word of eight bytes, and no fragment: neither "more fragments" nor an
/// offset, whatever "don't fragment" and the reserved bit say.
const PLAIN: u64 = u64::from_le_bytes([0x45, 0, 0, 0, 0, 0, 0, 0]);
const PLAIN_MASK: u64 = u64::from_le_bytes([0xff, 0, 0, 0, 0, 0, 0x3f, 0xff]);

impl Plain {
    /// Reads a header in two loads of eight bytes and one of four; `None` for any other, which [`Header::parse`] takes.
    #[inline(always)]
    pub fn parse(header: &[u8; LENGTH]) -> Option<Self> {
        let (first, second) = (le64(header, 0), le64(header, 8));
        let [.., d0, d1, d2, d3] = *header;
        let words = (first, second, u32::from_le_bytes([d0, d1, d2, d3]));
        if (first ^ PLAIN) & PLAIN_MASK != 0 || !checksum::valid_header(words) {
            return None;
        }
        Some(Self {
            tos: (first >> 8) as u8,
            total_length: ((first >> 16) as u16).swap_bytes(),
            dont_fragment: first >> 48 & 0x40 != 0,
            ttl: second as u8,
            protocol: (second >> 8) as u8,
            addresses: Pair::of(le64(header, SOURCE).swap_bytes()),
        })
    }
}

/// Whether `address` lies in the network `network/prefix`.
#[inline(always)]
pub const fn within(address: u32, network: u32, prefix: u8) -> bool {
    (address ^ network) & mask(prefix) == 0
}

/// The mask of a prefix length, 0 to 32.
#[inline(always)]
pub const fn mask(prefix: u8) -> u32 {
    ((0xffff_ffff_0000_0000u64 >> prefix) & 0xffff_ffff) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{holds, read16, write16};
    use proptest::prelude::*;

    pub(crate) fn header() -> impl Strategy<Value = Header> {
        (5u8..16, any::<(u8, u16, bool, bool, u8, u8, u32, u32)>(), 0u16..40, 0u16..4096).prop_map(
            |(words, (tos, id, df, mf, ttl, protocol, source, destination), payload, offset)| Header {
                header_length: words * 4,
                tos,
                total_length: u16::from(words) * 4 + payload,
                id,
                dont_fragment: df,
                more_fragments: mf,
                fragment_offset: offset,
                ttl,
                protocol,
                source,
                destination,
            },
        )
    }

    proptest! {
        #[test]
        fn round_trip(header in header()) {
            holds(&header);
        }

        #[test]
        fn every_flipped_bit_is_refused(header in header(), bit in 0usize..160) {
            let mut bytes = [0; 100];
            header.emit(&mut bytes);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Header::parse(&bytes).is_err());
        }

        #[test]
        fn options_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert!(options(&bytes).count() <= 20);
        }
    }

    #[test]
    fn wrong_lengths_have_their_reasons() {
        let mut bytes = [0; 40];
        Header::new(UDP, 1, 2, 40).emit(&mut bytes);
        assert_eq!(Header::parse(&bytes[..39]), Err(Malformed::IpTotalLength));
        let broken = |at: usize, value: u8| {
            let mut bytes = bytes;
            bytes[at] = value;
            write16(&mut bytes, 10, 0);
            let sum = checksum::checksum(&bytes[..20]);
            write16(&mut bytes, 10, sum);
            Header::parse(&bytes)
        };
        assert_eq!(broken(0, 0x65), Err(Malformed::IpVersion));
        assert_eq!(broken(0, 0x44), Err(Malformed::IpHeaderLength));
        assert_eq!(broken(0, 0x4f), Err(Malformed::Truncated));
        assert_eq!(broken(3, 19), Err(Malformed::IpTotalLength));
        let mut late = Header::new(UDP, 1, 2, 40);
        late.fragment_offset = 0x1fff;
        late.emit(&mut bytes);
        assert_eq!(read16(&bytes, 6) & 0x1fff, 0x1fff);
        assert_eq!(Header::parse(&bytes), Err(Malformed::IpTotalLength));
    }

    #[test]
    fn options_are_listed_up_to_the_end() {
        let bytes = [1, 131, 4, 0, 0, 1, 7, 3, 4, 0, 99];
        let kinds: Vec<_> = options(&bytes).map(|option| option.unwrap().kind).collect();
        assert_eq!(kinds, [131, 7]);
        assert!(options(&[131, 9, 0]).next().unwrap().is_err());
        assert!(options(&[131, 1]).next().unwrap().is_err());
    }

    #[test]
    fn masks_of_all_lengths() {
        assert_eq!((mask(0), mask(8), mask(31), mask(32)), (0, 0xff00_0000, 0xffff_fffe, 0xffff_ffff));
        assert!(
            within(0x0a01_0203, 0x0a00_0000, 8) && !within(0x0b01_0203, 0x0a00_0000, 8) && within(5, 9, 0)
        );
    }
}
