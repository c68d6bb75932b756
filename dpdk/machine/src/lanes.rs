//! Comparing eight 16-bit words at once: what a bucket of a hash table asks. No loop is compiled into these four
//! instructions.

/// Bit per 16-bit lane of `lanes`, the lowest of the first word first: 1 where it is `wanted`.
#[inline(always)]
pub fn matching_lanes(lanes: [u64; 2], wanted: u16) -> u32 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: these instructions are of SSE2, part of the x86-64 baseline, and touch no memory.
    unsafe {
        use std::arch::x86_64::{
            _mm_cmpeq_epi16, _mm_movemask_epi8, _mm_packs_epi16, _mm_set_epi64x, _mm_set1_epi16,
            _mm_setzero_si128,
        };
        let lanes = _mm_set_epi64x(lanes[1] as i64, lanes[0] as i64);
        let equal = _mm_cmpeq_epi16(lanes, _mm_set1_epi16(wanted as i16));
        _mm_movemask_epi8(_mm_packs_epi16(equal, _mm_setzero_si128())) as u32
    }
    #[cfg(not(target_arch = "x86_64"))]
    plain(lanes, wanted)
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn plain(lanes: [u64; 2], wanted: u16) -> u32 {
    (0..8).fold(0, |found, lane| {
        let value = (lanes[lane / 4] >> (lane % 4 * 16)) as u16;
        found | (u32::from(value == wanted) << lane)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lanes_match_as_one_by_one(values: [u16; 8], pick in 0usize..9, other: u16) {
            let wanted = values.get(pick).copied().unwrap_or(other);
            let word = |at: usize| (0..4).fold(0, |word, lane| word | u64::from(values[at + lane]) << (16 * lane));
            let lanes = [word(0), word(4)];
            prop_assert_eq!(matching_lanes(lanes, wanted), plain(lanes, wanted));
        }
    }
}
