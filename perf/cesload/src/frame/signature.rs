//! The signature by which the generator knows its packets again.
//!
//! It is the last 18 bytes of the IPv4 packet, found by the outermost total length, so that translation, tunnels and padding
//! do not hide it: `magic u16 | trial u16 | flow u32 | sequence u32 | time 48-bit ns`, big endian.

use ces_dataplane::wire::checksum::Sum;
use ces_dataplane::wire::{ethernet, ipv4};

/// Bytes of a signature.
pub const LENGTH: usize = 18;
/// What it begins with.
pub const MAGIC: u16 = 0xce51;
/// Times are modulo 2⁴⁸ ns: 78 hours.
pub const TIME_MASK: u64 = (1 << 48) - 1;

/// A signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The trial that sent the packet.
    pub trial: u16,
    /// The flow, numbered over all streams.
    pub flow: u32,
    /// The packet's number in its flow.
    pub sequence: u32,
    /// When it was sent: nanoseconds of the generator's clock, modulo 2⁴⁸. 0 in a stream's packet whose delay is not
    /// measured.
    pub time_ns: u64,
}

impl Signature {
    /// Reads a signature.
    #[inline(always)]
    pub fn parse(bytes: &[u8; LENGTH]) -> Option<Self> {
        let [m0, m1, t0, t1, f0, f1, f2, f3, s0, s1, s2, s3, n0, n1, n2, n3, n4, n5] = *bytes;
        (u16::from_be_bytes([m0, m1]) == MAGIC).then(|| Self {
            trial: u16::from_be_bytes([t0, t1]),
            flow: u32::from_be_bytes([f0, f1, f2, f3]),
            sequence: u32::from_be_bytes([s0, s1, s2, s3]),
            time_ns: u64::from_be_bytes([0, 0, n0, n1, n2, n3, n4, n5]),
        })
    }

    /// Its first four bytes.
    #[inline(always)]
    const fn first(&self) -> u32 {
        (MAGIC as u32) << 16 | self.trial as u32
    }

    /// Writes it.
    #[inline(always)]
    pub fn emit(&self, bytes: &mut [u8; LENGTH]) {
        let head = u64::from(self.first()) << 32 | u64::from(self.flow);
        let middle = u64::from(self.sequence) << 32 | (self.time_ns & TIME_MASK) >> 16;
        bytes[0..8].copy_from_slice(&head.to_be_bytes());
        bytes[8..16].copy_from_slice(&middle.to_be_bytes());
        bytes[16..18].copy_from_slice(&(self.time_ns as u16).to_be_bytes());
    }

    /// Its part of a checksum, if it begins at an even byte (RFC 1071 §2 (B): at an odd one, with its bytes exchanged).
    #[inline(always)]
    pub const fn sum(&self) -> Sum {
        let time = self.time_ns & TIME_MASK;
        Sum(0)
            .words(self.first())
            .words(self.flow)
            .words(self.sequence)
            .words((time >> 16) as u32)
            .word(time as u16)
    }

    /// Nanoseconds from its time until `now_ns`; 0 if that is before it, as it may be between two processors' counters.
    #[inline(always)]
    pub const fn age_ns(&self, now_ns: u64) -> u64 {
        let age = now_ns.wrapping_sub(self.time_ns) & TIME_MASK;
        if age > TIME_MASK / 2 { 0 } else { age }
    }
}

/// What a received frame is to the generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Ours, with the outermost IPv4 packet's length in bytes.
    Ours(Signature, u16),
    /// An ARP message that begins at this byte.
    Arp(usize),
    /// Something else.
    Foreign,
}

/// Looks at a frame. Its checksums are not looked at: that is the device's business, and its losses would show.
#[inline(always)]
pub fn find(frame: &[u8]) -> Found {
    let Some(head) = frame.first_chunk::<{ ethernet::LENGTH + 4 }>() else {
        return Found::Foreign;
    };
    if head[ethernet::TYPE..ethernet::LENGTH] == ethernet::IPV4.to_be_bytes() {
        let total = u16::from_be_bytes([head[16], head[17]]);
        return at_end(frame, ethernet::LENGTH, total);
    }
    find_other(frame)
}

/// A frame with a tag, or not of IPv4.
#[cold]
fn find_other(frame: &[u8]) -> Found {
    let word =
        |at: usize| frame.get(at..).and_then(|rest| rest.first_chunk()).map(|word| u16::from_be_bytes(*word));
    let start = if word(12) == Some(ethernet::VLAN) { ethernet::LENGTH_TAGGED } else { ethernet::LENGTH };
    match (word(start - 2), word(start + 2)) {
        (Some(ethernet::ARP), _) => Found::Arp(start),
        (Some(ethernet::IPV4), Some(total)) => at_end(frame, start, total),
        _ => Found::Foreign,
    }
}

#[inline(always)]
fn at_end(frame: &[u8], start: usize, total: u16) -> Found {
    let end = start + usize::from(total);
    let signature = frame
        .get(start + ipv4::LENGTH..end)
        .and_then(|packet| packet.last_chunk())
        .and_then(Signature::parse);
    signature.map_or(Found::Foreign, |signature| Found::Ours(signature, total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(trial: u16, flow: u32, sequence: u32, time_ns in 0..=TIME_MASK) {
            let signature = Signature { trial, flow, sequence, time_ns };
            let mut bytes = [0; LENGTH];
            signature.emit(&mut bytes);
            prop_assert_eq!(Signature::parse(&bytes), Some(signature));
            prop_assert_eq!(signature.sum().fold(), Sum::default().bytes(&bytes).fold());
        }

        #[test]
        fn any_bytes_are_looked_at_without_harm(frame in proptest::collection::vec(any::<u8>(), 0..100)) {
            find(&frame);
        }
    }

    #[test]
    fn ages_go_over_the_end_of_the_clock() {
        let at = |time_ns| Signature { trial: 0, flow: 0, sequence: 0, time_ns };
        assert_eq!(at(TIME_MASK).age_ns(TIME_MASK + 5), 5);
        assert_eq!(at(10).age_ns(25), 15);
        assert_eq!(at(25).age_ns(10), 0);
    }
}
