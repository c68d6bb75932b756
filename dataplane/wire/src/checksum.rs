//! The Internet checksum: computed (RFC 1071), and updated when a few words change (RFC 1624).
//!
//! One's complement has two zeros. A sum over anything but zeros is never +0 here, so a computed checksum is never
//! 0xffff; UDP alone writes 0xffff for a computed 0, because there 0 means "none" (RFC 768).

use crate::Pair;

/// A one's complement sum, not yet folded. Room for 2³² words.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(pub u64);

impl Sum {
    /// Adds a word.
    #[inline(always)]
    pub const fn word(self, word: u16) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds two words at once: 2¹⁶ and 1 are the same modulo 0xffff (RFC 1071 §2 (C)).
    #[inline(always)]
    pub const fn words(self, words: u32) -> Self {
        Self(self.0 + words as u64)
    }

    /// Adds bytes in network order; an odd last byte counts as the upper half of a word.
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<4>();
        let mut sum = self.0;
        for word in words {
            sum += u64::from(u32::from_be_bytes(*word));
        }
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        Self(sum + u64::from(u32::from_be_bytes(last)))
    }

    /// The change of a word: what was, and what is now (RFC 1624 eqn. 3: ~m + m').
    #[inline(always)]
    pub const fn replace(self, old: u16, new: u16) -> Self {
        self.word(!old).word(new)
    }

    /// The change of two words.
    #[inline(always)]
    pub const fn replace_words(self, old: u32, new: u32) -> Self {
        self.words(!old).words(new)
    }

    /// The change of four words.
    #[inline(always)]
    pub const fn replace_pair(self, old: Pair, new: Pair) -> Self {
        let sum = add64(!old.bits(), new.bits());
        Self(self.0 + (sum >> 32) + (sum & 0xffff_ffff))
    }

    /// The sum as 16 bits. Adding a word to itself with its halves exchanged leaves in its upper half the sum of the two
    /// halves, the carry of that included.
    #[inline(always)]
    pub const fn fold(self) -> u16 {
        let x = (self.0.wrapping_add(self.0.rotate_left(32)) >> 32) as u32;
        (x.wrapping_add(x.rotate_left(16)) >> 16) as u16
    }

    /// The checksum of what was summed.
    #[inline(always)]
    pub const fn checksum(self) -> u16 {
        !self.fold()
    }

    /// The checksum of a UDP datagram that was summed: a computed 0 is sent as all ones, 0 means that there is none
    /// (RFC 768).
    #[inline(always)]
    pub const fn checksum_udp(self) -> u16 {
        match self.checksum() {
            0 => 0xffff,
            sum => sum,
        }
    }

    /// A checksum after these changes (RFC 1624 eqn. 3: HC' = ~(~HC + ~m + m')).
    #[inline(always)]
    pub const fn adjust(self, checksum: u16) -> u16 {
        self.word(!checksum).checksum()
    }

    /// The sum or the changes, folded: ready to be applied to every checksum that covers them.
    #[inline(always)]
    pub const fn change(self) -> Delta {
        Delta(self.fold().to_be())
    }

    /// A UDP checksum after these changes: 0 stays 0 (there is none), and a computed 0 becomes 0xffff (RFC 768).
    #[inline(always)]
    pub const fn adjust_udp(self, checksum: u16) -> u16 {
        match (checksum, self.adjust(checksum)) {
            (0, _) => 0,
            (_, 0) => 0xffff,
            (_, adjusted) => adjusted,
        }
    }
}

/// A folded sum, or a change of what checksums cover. It is kept as it would lie in memory: the sum does not depend on the
/// byte order (RFC 1071 §2 (B)), so nothing has to be swapped to apply it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta(u16);

impl Delta {
    /// As [`Delta::bits`] had it.
    #[inline(always)]
    pub const fn of_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// In 16 bits, to be kept.
    #[inline(always)]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Both changes.
    #[inline(always)]
    pub const fn and(self, other: Self) -> Self {
        Self(add(self.0, other.0))
    }

    /// This and a word more.
    #[inline(always)]
    pub const fn and_word(self, word: u16) -> Self {
        Self(add(self.0, word.to_be()))
    }

    /// The checksum of what was summed, as it stands on the wire.
    #[inline(always)]
    pub const fn checksum(self) -> [u8; 2] {
        (!self.0).to_ne_bytes()
    }

    /// The change back.
    #[inline(always)]
    pub const fn reversed(self) -> Self {
        Self(!self.0)
    }

    /// A checksum after this change (RFC 1624 eqn. 3), both as they stand on the wire.
    #[inline(always)]
    pub const fn apply(self, checksum: [u8; 2]) -> [u8; 2] {
        (!add(!u16::from_ne_bytes(checksum), self.0)).to_ne_bytes()
    }
}

/// One's complement addition: the carry comes around. Two instructions.
#[inline(always)]
const fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum.wrapping_add(carry as u16)
}

/// The checksum of `bytes`.
pub fn checksum(bytes: &[u8]) -> u16 {
    Sum::default().bytes(bytes).checksum()
}

/// Whether `bytes`, checksum included, sum up as they should.
pub fn valid(bytes: &[u8]) -> bool {
    Sum::default().bytes(bytes).fold() == 0xffff
}

/// Whether an IPv4 header without options sums up as it should, in its three words as they lie in memory. The sum does
/// not depend on the byte order (RFC 1071 §2 (B)).
#[inline(always)]
pub const fn valid_header(words: (u64, u64, u32)) -> bool {
    // 2⁶⁴, 2³² and 2¹⁶ are all 1 modulo 0xffff, so that a sum of any width is right if it is a multiple of that: one
    // multiplication instead of folding. It is not 0, because a header is not.
    add64(add64(words.0, words.1), words.2 as u64).is_multiple_of(0xffff)
}

/// One's complement addition: the carry comes around, and not again, because a sum that carried is below 2⁶⁴ - 1.
#[inline(always)]
const fn add64(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum + carry as u64
}

/// The sum of the pseudo header of TCP, UDP and their like (RFC 9293 §3.1).
pub fn pseudo(source: u32, destination: u32, protocol: u8, length: usize) -> Sum {
    Sum::default().words(source).words(destination).word(u16::from(protocol)).word(length as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::le64;
    use proptest::prelude::*;

    /// RFC 1071 §4.1, word by word with end-around carry.
    fn plain(bytes: &[u8]) -> u16 {
        let mut sum: u32 = 0;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    proptest! {
        #[test]
        fn sum_is_the_plain_one(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(checksum(&bytes), plain(&bytes));
        }

        #[test]
        fn adjusting_is_recomputing(
            mut bytes in proptest::collection::vec(any::<u8>(), 24..60), new: u32, at in 1usize..5,
        ) {
            bytes[0] |= 1; // a header is never all zeros
            let before = plain(&bytes);
            let old = u32::from_be_bytes(bytes[at * 4..at * 4 + 4].try_into().unwrap());
            bytes[at * 4..at * 4 + 4].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(Sum::default().replace_words(old, new).adjust(before), plain(&bytes));
        }

        #[test]
        fn a_pair_is_its_words(old: (u32, u32), new: (u32, u32), rest: u16) {
            let words = Sum::default().word(rest).replace_words(old.0, new.0).replace_words(old.1, new.1);
            let pair = |(a, b): (u32, u32)| Pair::new(a, b);
            let pairs = Sum::default().word(rest).replace_pair(pair(old), pair(new));
            prop_assert_eq!(words.fold() % 0xffff, pairs.fold() % 0xffff);
            let adjusted = pairs.adjust(0x1234);
            prop_assert_eq!(adjusted, words.adjust(0x1234));
        }

        #[test]
        fn a_change_is_its_sum_and_goes_back(old: (u64, u64), new: (u64, u64), checksum: u16) {
            prop_assume!(checksum != 0xffff); // a computed one never is
            let pairs = |old, new| Sum::default().replace_pair(Pair::of(old), Pair::of(new));
            let (first, second) =
                (pairs(old.0, new.0), pairs(old.1, new.1));
            let wire = checksum.to_be_bytes();
            let there = first.change().apply(wire);
            prop_assert_eq!(there, first.adjust(checksum).to_be_bytes());
            prop_assert_eq!(first.change().reversed().apply(there), wire);
            let both = first.change().and(second.change()).apply(wire);
            prop_assert_eq!(both, second.change().apply(there));
        }

        #[test]
        fn a_valid_header_is_known_in_either_order(mut header: [u8; 20]) {
            header[0] |= 1;
            header[10..12].fill(0);
            let sum = plain(&header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            let words = |header: &[u8; 20]| {
                let [.., a, b, c, d] = *header;
                (le64(header, 0), le64(header, 8), u32::from_le_bytes([a, b, c, d]))
            };
            prop_assert!(valid(&header) && valid_header(words(&header)));
            header[19] ^= 1;
            prop_assert!(!valid(&header) && !valid_header(words(&header)));
        }
    }

    #[test]
    fn rfc_1624_example_does_not_become_minus_zero() {
        // RFC 1624 §4: HC = 0xdd2f, m = 0x5555, m' = 0x3285 gives 0x0000 and not 0xffff.
        assert_eq!(Sum::default().replace(0x5555, 0x3285).adjust(0xdd2f), 0x0000);
    }

    #[test]
    fn udp_zero_is_none_and_computed_zero_is_all_ones() {
        assert_eq!((Sum(0xffff).checksum_udp(), Sum(0xfffe).checksum_udp()), (0xffff, 1));
        assert_eq!(Sum::default().replace(1, 2).adjust_udp(0), 0);
        assert_eq!(Sum::default().replace(0x5555, 0x3285).adjust_udp(0xdd2f), 0xffff);
    }
}
