//! Prefetching: asking for a memory line before it is needed, so that a burst waits for memory once and not per packet.

/// Asks for the cache line at the start of `value`, for reading, into all levels.
#[inline(always)]
pub fn prefetch<T: ?Sized>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch instruction accesses no memory architecturally and cannot fault at any address; SSE is part of
    // the x86-64 baseline.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// Asks for the cache line at the start of `value`, which will be written.
///
/// The tables of a worker belong to its core alone, so the line is never shared: asking for it exclusively (`prefetchw`,
/// not part of the x86-64 baseline) would gain nothing over [`prefetch`].
#[inline(always)]
pub fn prefetch_write<T: ?Sized>(value: &T) {
    prefetch(value);
}

#[cfg(test)]
mod tests {
    #[test]
    fn prefetch_takes_any_reference() {
        super::prefetch(&5u64);
        super::prefetch("text");
        super::prefetch_write(&[0u8; 0][..]);
    }
}
