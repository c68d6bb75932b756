//! Numbers that are the same in each run.

/// Numbers drawn one after the other: xorshift64* (Vigna 2016).
pub struct Random(u64);

impl Random {
    /// Those of a seed, which is not 0.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `most`.
    #[inline]
    pub fn below(&mut self, most: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((u128::from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)) * u128::from(most)) >> 64) as u32
    }
}

/// All numbers below `count` in random order.
pub fn shuffled(count: u32, seed: u64) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..count).collect();
    let mut random = Random::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    // Fisher and Yates.
    for last in (1..numbers.len()).rev() {
        numbers.swap(last, random.below(last as u32 + 1) as usize);
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffling_keeps_every_number_once() {
        let mut numbers = shuffled(1000, 7);
        assert_ne!(numbers[..20], (0..20).collect::<Vec<u32>>());
        numbers.sort_unstable();
        assert_eq!(numbers, (0..1000).collect::<Vec<u32>>());
        assert_eq!(shuffled(1, 7), [0]);
    }
}
