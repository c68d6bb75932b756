//! One frame in packet memory, with one owner.

use dpdk_sys::{RTE_PKTMBUF_HEADROOM, rte_mbuf, shim_mbuf};
use std::ptr::NonNull;

/// Bytes ahead of a fresh or received frame, for headers that are put in front.
pub const HEADROOM: u16 = RTE_PKTMBUF_HEADROOM as u16;
/// Bytes of a cache line.
const CACHE_LINE: usize = 64;

/// A frame in one contiguous buffer. Dropping it returns the buffer to its pool.
///
/// It is a bare pointer in memory, so that an array of them is what DPDK's burst calls take.
#[repr(transparent)]
pub struct Mbuf(NonNull<rte_mbuf>);

// SAFETY: the owner alone refers to the buffer (one reference, one segment), and returning it to its pool is allowed on
// every thread.
unsafe impl Send for Mbuf {}
// SAFETY: shared access only reads.
unsafe impl Sync for Mbuf {}

impl Mbuf {
    /// Takes ownership of an mbuf; `None` if the pointer is null.
    ///
    /// # Safety
    /// The mbuf is valid, has one segment and one reference, and nobody else uses it.
    #[inline(always)]
    pub(crate) unsafe fn from_raw(mbuf: *mut rte_mbuf) -> Option<Self> {
        NonNull::new(mbuf).map(Self)
    }

    /// The mbuf, still owned by `self`.
    pub(crate) fn as_raw(&mut self) -> *mut rte_mbuf {
        self.0.as_ptr()
    }

    #[inline(always)]
    fn fields(&self) -> &shim_mbuf {
        // SAFETY: `shim_mbuf` repeats the beginning of `rte_mbuf` (asserted field by field when the shim is compiled), and
        // the mbuf is valid and ours.
        unsafe { self.0.cast::<shim_mbuf>().as_ref() }
    }

    #[inline(always)]
    fn fields_mut(&mut self) -> &mut shim_mbuf {
        // SAFETY: as in `fields`, and `&mut self` makes the access unique.
        unsafe { self.0.cast::<shim_mbuf>().as_mut() }
    }

    /// Moves the frame's two ends. The caller has checked that both lie in the buffer.
    #[inline(always)]
    fn set_extent(&mut self, offset: u16, length: u16) {
        let fields = self.fields_mut();
        debug_assert!(u32::from(offset) + u32::from(length) <= u32::from(fields.buf_len));
        fields.data_off = offset;
        fields.data_len = length;
        fields.pkt_len = u32::from(length);
    }

    /// The frame.
    #[inline(always)]
    pub fn data(&self) -> &[u8] {
        let fields = self.fields();
        // SAFETY: `data_off + data_len <= buf_len` holds for what DPDK hands out and is kept by every method here; the
        // buffer's memory was initialised when the pool was made.
        unsafe {
            let start = fields.buf_addr.add(usize::from(fields.data_off));
            std::slice::from_raw_parts(start, usize::from(fields.data_len))
        }
    }

    /// The frame, to be written.
    #[inline(always)]
    pub fn data_mut(&mut self) -> &mut [u8] {
        let fields = self.fields();
        // SAFETY: as in `data`; `&mut self` makes the access unique.
        unsafe {
            let start = fields.buf_addr.add(usize::from(fields.data_off));
            std::slice::from_raw_parts_mut(start, usize::from(fields.data_len))
        }
    }

    /// Length of the frame in bytes.
    #[inline(always)]
    pub fn len(&self) -> usize {
        usize::from(self.fields().data_len)
    }

    /// Whether the frame has no bytes, as a fresh one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes ahead of the frame.
    #[inline(always)]
    pub fn headroom(&self) -> usize {
        usize::from(self.fields().data_off)
    }

    /// Bytes behind the frame.
    #[inline(always)]
    pub fn tailroom(&self) -> usize {
        let fields = self.fields();
        usize::from(fields.buf_len) - usize::from(fields.data_off) - usize::from(fields.data_len)
    }

    /// Starts to fetch the mbuf itself, its first line.
    #[inline(always)]
    pub fn prefetch_handle(&self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as in `prefetch_headroom`.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(self.0.as_ptr().cast_const().cast());
        }
    }

    /// Starts to fetch the cache line ahead of the frame, where a header will be put.
    #[inline(always)]
    pub fn prefetch_headroom(&self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch instruction accesses no memory architecturally and cannot fault at any address; SSE is part of
        // the x86-64 baseline.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(self.data().as_ptr().wrapping_sub(CACHE_LINE).cast());
        }
    }

    /// Puts `count` bytes in front, with whatever stood there; `false` and no change if there is no room.
    #[inline(always)]
    pub fn prepend(&mut self, count: usize) -> bool {
        if count > self.headroom() {
            return false;
        }
        let (offset, length) = (self.fields().data_off, self.fields().data_len);
        self.set_extent(offset - count as u16, length + count as u16);
        true
    }

    /// Puts `count` zeroes behind; `false` and no change if there is no room.
    #[inline]
    pub fn append(&mut self, count: usize) -> bool {
        if count > self.tailroom() {
            return false;
        }
        let (offset, length) = (self.fields().data_off, self.fields().data_len);
        self.set_extent(offset, length + count as u16);
        self.data_mut()[usize::from(length)..].fill(0);
        true
    }

    /// Cuts `count` bytes off the front; `false` and no change if there are fewer.
    #[inline(always)]
    pub fn adj(&mut self, count: usize) -> bool {
        if count > self.len() {
            return false;
        }
        let (offset, length) = (self.fields().data_off, self.fields().data_len);
        self.set_extent(offset + count as u16, length - count as u16);
        true
    }

    /// Cuts `count` bytes off the end; `false` and no change if there are fewer.
    #[inline(always)]
    pub fn trim(&mut self, count: usize) -> bool {
        if count > self.len() {
            return false;
        }
        let (offset, length) = (self.fields().data_off, self.fields().data_len);
        self.set_extent(offset, length - count as u16);
        true
    }

    /// Puts `length` bytes, with whatever stands there, in the place of the `at` bytes at the front, and cuts the frame to
    /// `rest` bytes behind them. The new frame; `None` and no change if there is no room, or not `rest` bytes behind `at`.
    #[inline(always)]
    pub fn reshape(&mut self, at: usize, length: usize, rest: usize) -> Option<&mut [u8]> {
        if rest > self.len().checked_sub(at)? {
            return None;
        }
        // What stays lies within the frame, and the new front begins not ahead of the buffer: both ends are in it.
        let front = (self.headroom() + at).checked_sub(length)?;
        self.set_extent(front as u16, (length + rest) as u16);
        Some(self.data_mut())
    }

    /// Makes it a copy of `frame` with the usual headroom; `false` and an empty frame if that is too long.
    pub fn copy_from(&mut self, frame: &[u8]) -> bool {
        let room = usize::from(self.fields().buf_len).saturating_sub(usize::from(HEADROOM));
        let fits = frame.len() <= room;
        let length = if fits { frame.len() as u16 } else { 0 };
        let headroom = HEADROOM.min(self.fields().buf_len);
        self.set_extent(headroom, length);
        if fits {
            self.data_mut().copy_from_slice(frame);
        }
        fits
    }

    /// Returns all to their pools in bulk.
    pub fn free_bulk(frames: &mut Vec<Mbuf>) {
        let count = frames.len();
        // SAFETY: the length is set to 0 first, so that nobody else drops the `count` mbufs, which are valid and ours;
        // `Mbuf` is a transparent pointer.
        unsafe {
            frames.set_len(0);
            dpdk_sys::rte_pktmbuf_free_bulk(frames.as_mut_ptr().cast(), count as u32);
        }
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the mbuf is valid and ours, and is not used afterwards. Its pool lives: the EAL is not cleaned up while an
        // mbuf is out.
        unsafe { dpdk_sys::shim_mbuf_free(self.0.as_ptr()) };
    }
}

impl std::fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mbuf of {} bytes", self.len())
    }
}
