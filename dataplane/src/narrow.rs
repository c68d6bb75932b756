//! Numbers in fewer bits than the machine's words have, so that a binding with all that it counts is one cache line.

/// No slot: what stands where the slot of a binding is not known.
pub const NONE: u32 = u32::MAX;

/// A number of 24 bits, such as a next hop's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Number24([u8; 3]);

impl Number24 {
    /// A table has at most so many places, so that the last number of 24 bits is none of them.
    pub const MOST: u32 = 0x00ff_ffff;

    /// This number; what is beyond any table stays beyond it.
    pub const fn new(number: u32) -> Self {
        let [a, b, c, _] = if number < Self::MOST { number } else { Self::MOST }.to_le_bytes();
        Self([a, b, c])
    }

    /// The number.
    #[inline(always)]
    pub const fn number(self) -> u32 {
        let [a, b, c] = self.0;
        u32::from_le_bytes([a, b, c, 0])
    }
}

/// Two numbers of 24 bits, such as those of [`Number24`], and 16 bits of something else below them: each is told with a shift
/// and a mask at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pair24(u64);

impl Pair24 {
    /// These two, and what stands beside them.
    pub const fn new(first: u32, second: u32, beside: u16) -> Self {
        let (first, second) = (Number24::new(first).number(), Number24::new(second).number());
        Self((second as u64) << 40 | (first as u64) << 16 | beside as u64)
    }

    /// The same with another second number.
    #[inline(always)]
    pub const fn with_second(self, second: u32) -> Self {
        let second = Number24::new(second).number();
        Self(self.0 & 0xff_ffff_ffff | (second as u64) << 40)
    }

    /// The first number.
    #[inline(always)]
    pub const fn first(self) -> u32 {
        (self.0 >> 16) as u32 & 0x00ff_ffff
    }

    /// The second number.
    #[inline(always)]
    pub const fn second(self) -> u32 {
        (self.0 >> 40) as u32
    }

    /// What stands beside them.
    #[inline(always)]
    pub const fn beside(self) -> u16 {
        self.0 as u16
    }
}

/// A count of 48 bits, and 16 bits of something else below it: 2.8 · 10¹⁴ packets, 32 days at 100 million a second. To count
/// is one addition, and what runs over at the top touches nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count48(u64);

impl Count48 {
    /// Nothing counted, beside `beside`.
    pub const fn new(beside: u16) -> Self {
        Self(beside as u64)
    }

    /// Counts one.
    #[inline(always)]
    pub const fn increment(&mut self) {
        self.0 = self.0.wrapping_add(1 << 16);
    }

    /// The count.
    pub const fn count(self) -> u64 {
        self.0 >> 16
    }

    /// What stands beside it.
    #[inline(always)]
    pub const fn beside(self) -> u16 {
        self.0 as u16
    }

    /// Puts something else beside it.
    pub const fn set_beside(&mut self, beside: u16) {
        self.0 = self.0 & !0xffff | beside as u64;
    }
}

/// A count of 40 bits, and a number of 24 bits below it: 10¹² packets, 30 hours at 10 million a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count40(u64);

impl Count40 {
    /// So much counted, and no number beside it.
    pub const fn of(count: u64) -> Self {
        Self(count << 24 | Number24::MOST as u64)
    }

    /// Counts one.
    #[inline(always)]
    pub const fn increment(&mut self) {
        self.0 = self.0.wrapping_add(1 << 24);
    }

    /// The count.
    pub const fn count(self) -> u64 {
        self.0 >> 24
    }

    /// The number beside it.
    #[inline(always)]
    pub const fn beside(self) -> u32 {
        self.0 as u32 & 0x00ff_ffff
    }

    /// Puts another number beside it; what is beyond any table stays beyond it.
    pub const fn set_beside(&mut self, beside: u32) {
        self.0 = self.0 & !0x00ff_ffff | Number24::new(beside).number() as u64;
    }
}

/// A count of 56 bits, and 8 bits of something else below it: 7.2 · 10¹⁶ bytes, 66 days at 100 Gbit/s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count56(u64);

impl Count56 {
    /// Of the bits of another one.
    pub const fn of_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Nothing counted, beside `beside`.
    pub const fn new(beside: u8) -> Self {
        Self(beside as u64)
    }

    /// Counts so many.
    #[inline(always)]
    pub const fn add(&mut self, more: u16) {
        self.0 = self.0.wrapping_add((more as u64) << 8);
    }

    /// The count.
    pub const fn count(self) -> u64 {
        self.0 >> 8
    }

    /// What stands beside it.
    #[inline(always)]
    pub const fn beside(self) -> u8 {
        self.0 as u8
    }

    /// Puts something else beside it.
    pub const fn set_beside(&mut self, beside: u8) {
        self.0 = self.0 & !0xff | beside as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_or_stay_beyond_any_table() {
        for number in [0, 5, Number24::MOST - 1] {
            assert_eq!(Number24::new(number).number(), number);
        }
        for number in [Number24::MOST, Number24::MOST + 6, u32::MAX] {
            assert_eq!(Number24::new(number).number(), Number24::MOST);
        }
    }

    #[test]
    fn pairs_come_back() {
        let pair = Pair24::new(0x01_0203, u32::MAX, 0xfffe);
        assert_eq!((pair.first(), pair.second(), pair.beside()), (0x01_0203, Number24::MOST, 0xfffe));
        let pair = Pair24::new(u32::MAX, 7, 0);
        assert_eq!((pair.first(), pair.second(), pair.beside()), (Number24::MOST, 7, 0));
        assert_eq!(pair.with_second(9), Pair24::new(u32::MAX, 9, 0));
    }

    #[test]
    fn counts_leave_what_stands_beside_them() {
        let mut packets = Count48::new(0xffff);
        packets.increment();
        packets.increment();
        assert_eq!((packets.count(), packets.beside()), (2, 0xffff));
        packets.0 |= u64::MAX << 16;
        packets.increment();
        assert_eq!((packets.count(), packets.beside()), (0, 0xffff), "it runs over at the top");

        let mut bytes = Count56::new(7);
        bytes.add(u16::MAX);
        bytes.add(1);
        assert_eq!((bytes.count(), bytes.beside()), (0x1_0000, 7));
        bytes.set_beside(0xfe);
        assert_eq!((bytes.count(), bytes.beside()), (0x1_0000, 0xfe));
        bytes.0 |= u64::MAX << 8;
        bytes.add(2);
        assert_eq!((bytes.count(), bytes.beside()), (1, 0xfe), "it runs over at the top");
    }
}
