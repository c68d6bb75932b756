//! Wire formats, all of one shape: [`Wire::parse`] turns bytes into a value that cannot be wrong, or says why not;
//! [`Wire::emit`] writes the value; emitting and parsing again is the identity; whatever is cut short is refused.
//!
//! Values are plain copies of the fields. Parsing is inlined into the packet path, where fields that nobody reads cost
//! nothing. Where a field stands has a name: offsets are from the beginning of their header.
//!
//! Read [`ethernet`] first, which has all there is to a format, then [`ipv4`], [`checksum`], and [`outer`], which puts a
//! tunnel's headers together.

#![forbid(unsafe_code)]

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod framing;
pub mod ftp;
pub mod geneve;
pub mod gre;
pub mod icmp;
pub mod ipv4;
pub mod outer;
pub mod pair;
pub mod psp;
pub mod rtsp;
pub mod sdp;
pub mod sip;
pub mod tcp;
pub mod text;
pub mod udp;
pub mod vxlan;

pub use outer::{Encapsulation, Outer};
pub use pair::Pair;

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It ends before it should.
    Truncated,
    /// A second VLAN tag.
    SecondTag,
    /// ARP that is not for IPv4 over Ethernet.
    Arp,
    /// The IP version is not 4.
    IpVersion,
    /// The IPv4 header length is below 5 words, or options do not fit in it.
    IpHeaderLength,
    /// The IPv4 total length is below the header's, beyond the bytes that are there, or beyond what a packet can have.
    IpTotalLength,
    /// The IPv4 header checksum is wrong.
    IpChecksum,
    /// A header of TCP, UDP or ICMP is shorter than it has to be, or says a length that cannot be.
    Layer4,
    /// A tunnel header with wrong flags, version, or inner protocol.
    Tunnel,
}

/// A header on the wire.
pub trait Wire: Sized {
    /// Reads the header at the beginning of `bytes`; more may follow it.
    fn parse(bytes: &[u8]) -> Result<Self, Malformed>;

    /// Its length in bytes, options included.
    fn length(&self) -> usize;

    /// Writes the header at the beginning of `bytes`.
    ///
    /// # Panics
    /// If `bytes` is shorter than [`Wire::length`].
    fn emit(&self, bytes: &mut [u8]);
}

/// The two bytes at `at`, in network order; 0 beyond the end.
#[inline(always)]
pub fn read16(bytes: &[u8], at: usize) -> u16 {
    match bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(word) => u16::from_be_bytes(*word),
        None => 0,
    }
}

/// The four bytes at `at`, in network order; 0 beyond the end.
#[inline(always)]
pub fn read32(bytes: &[u8], at: usize) -> u32 {
    match bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(word) => u32::from_be_bytes(*word),
        None => 0,
    }
}

/// The eight bytes at `at` as one word, the first lowest, so that it can be compared under a mask; 0 beyond the end.
#[inline(always)]
pub fn le64(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(word) => u64::from_le_bytes(*word),
        None => 0,
    }
}

/// Writes two bytes at `at`, in network order; nothing beyond the end.
#[inline(always)]
pub fn write16(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(word) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *word = value.to_be_bytes();
    }
}

/// Writes four bytes at `at`, in network order; nothing beyond the end.
#[inline(always)]
pub fn write32(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(word) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *word = value.to_be_bytes();
    }
}

/// What every format must hold: round trip, also with bytes behind it, and refusal of every truncation.
#[cfg(test)]
pub(crate) fn holds<W: Wire + PartialEq + std::fmt::Debug>(value: &W) {
    let mut bytes = vec![0xa5; value.length() + 40];
    value.emit(&mut bytes[..value.length()]);
    assert_eq!(W::parse(&bytes).as_ref(), Ok(value));
    for length in 0..value.length() {
        assert!(W::parse(&bytes[..length]).is_err(), "{length} bytes of {value:?} were taken");
    }
}
