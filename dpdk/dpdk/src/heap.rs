//! How the C library's allocator gives memory back.

/// `M_MXFAST` and `M_TRIM_THRESHOLD` (malloc.h of glibc).
const MXFAST: libc::c_int = 1;
const TRIM_THRESHOLD: libc::c_int = -1;

/// Has glibc's allocator work for each block when it is freed, not for all of them later on: its bins of small blocks (fastbins)
/// are put together all at once when next somebody wants a large one, and the end of the heap is given back to the kernel
/// with whatever has become free, which after a hundred thousand sessions takes milliseconds in the middle of something else
/// (mallopt(3)). To be called before there are other threads. False if the allocator is another one.
pub fn free_in_pieces() -> bool {
    // SAFETY: `mallopt` only sets two numbers of the allocator, and is called while there is one thread.
    unsafe { libc::mallopt(MXFAST, 0) == 1 && libc::mallopt(TRIM_THRESHOLD, libc::c_int::MAX) == 1 }
}
