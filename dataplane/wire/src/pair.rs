//! Two addresses of a packet, source and destination, in one word: as they are compared, hashed and written.

/// Source and destination, as they stand in a header, one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Pair(u64);

impl Pair {
    /// Of 0.0.0.0 and 0.0.0.0, which no packet has.
    pub const NONE: Self = Self(0);

    /// This source and this destination.
    #[inline(always)]
    pub const fn new(source: u32, destination: u32) -> Self {
        Self((source as u64) << 32 | destination as u64)
    }

    /// The word, the source in its upper half.
    #[inline(always)]
    pub const fn of(bits: u64) -> Self {
        Self(bits)
    }

    /// The word, for hashing and sums.
    #[inline(always)]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The source.
    #[inline(always)]
    pub const fn source(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The destination.
    #[inline(always)]
    pub const fn destination(self) -> u32 {
        self.0 as u32
    }

    /// Of the way back.
    #[inline(always)]
    pub const fn reversed(self) -> Self {
        Self(self.0.rotate_left(32))
    }

    /// As it stands in a header.
    #[inline(always)]
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_its_two_addresses_in_order() {
        let pair = Pair::new(0x0a00_0001, 0xc633_6401);
        assert_eq!((pair.source(), pair.destination()), (0x0a00_0001, 0xc633_6401));
        assert_eq!(pair.to_bytes(), [10, 0, 0, 1, 198, 51, 100, 1]);
        assert_eq!(pair.reversed(), Pair::new(0xc633_6401, 0x0a00_0001));
        assert_eq!(Pair::of(pair.bits()), pair);
    }
}
