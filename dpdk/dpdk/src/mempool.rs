//! Packet memory: a fixed number of buffers of one size.

use crate::error::{self, Error};
use crate::mbuf::HEADROOM;
use crate::{Eal, Mbuf};
use dpdk_sys::RTE_MEMPOOL_CACHE_MAX_SIZE;
use std::ffi::CString;
use std::ptr::NonNull;
use std::sync::Arc;

/// Bytes of a buffer with its headroom: what most NICs want as the least, 2 KiB of frame.
pub const DATA_ROOM: u16 = 2048 + HEADROOM;
/// What a buffer takes beside its data: the mbuf's own two lines, and the pool's header and trailer.
const OVERHEAD: u32 = 128 + 64;
/// Buffers that a registered thread keeps at hand.
const CACHE: u32 = 256;

/// A pool of packet buffers. Cheap to clone; its memory lives as long as the EAL.
#[derive(Clone)]
pub struct Mempool {
    pool: NonNull<dpdk_sys::rte_mempool>,
    frames: u32,
    name: Arc<str>,
    _eal: Eal,
}

// SAFETY: DPDK's packet pools are made for several producers and consumers; the per-thread caches are found by the calling
// thread's own lcore id.
unsafe impl Send for Mempool {}
// SAFETY: as above; taking and returning buffers is safe from every thread at once.
unsafe impl Sync for Mempool {}

impl Mempool {
    /// A pool of `frames` buffers; best one below a power of two. `name` is unique, at most 25 characters.
    pub fn new(eal: &Eal, name: &str, frames: u32) -> Result<Self, Error> {
        let c_name = CString::new(name).map_err(|_| Error::ZeroByte(name.to_owned()))?;
        // DPDK's limit: the cache is at most two thirds of the pool.
        let cache = CACHE.min(RTE_MEMPOOL_CACHE_MAX_SIZE).min(frames * 2 / 3);
        // SAFETY: the EAL runs, as the caller holds it; the name is terminated and copied by DPDK.
        let pool = unsafe {
            dpdk_sys::rte_pktmbuf_pool_create(
                c_name.as_ptr(),
                frames,
                cache,
                0,
                DATA_ROOM,
                dpdk_sys::SHIM_SOCKET_ANY,
            )
        };
        let Some(pool) = NonNull::new(pool) else {
            let mib =
                (u64::from(frames) * u64::from(u32::from(DATA_ROOM) + OVERHEAD)).div_ceil(1 << 20) as u32;
            return Err(Error::Pool { frames, mib, reason: error::last() });
        };
        eal.adopt_pool(pool.as_ptr(), frames);
        Ok(Self { pool, frames, name: name.into(), _eal: eal.clone() })
    }

    /// An empty frame with [`HEADROOM`] ahead of it, if one is left.
    #[inline]
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool lives as long as the EAL, which `self` holds. The mbuf is fresh: one segment, one reference,
        // ours alone.
        unsafe { Mbuf::from_raw(dpdk_sys::shim_mbuf_alloc(self.pool.as_ptr())) }
    }

    /// Appends `count` empty frames to `frames`, or none if so many are not left.
    pub fn alloc_bulk(&self, frames: &mut Vec<Mbuf>, count: usize) -> bool {
        frames.reserve(count);
        // SAFETY: `Mbuf` is a transparent pointer, and there is room for `count` of them past the end, reserved above.
        // DPDK fills either all or none (and returns 0 only for all); what it fills is fresh and ours alone.
        unsafe {
            let end = frames.as_mut_ptr().add(frames.len());
            if dpdk_sys::shim_mbuf_alloc_bulk(self.pool.as_ptr(), end.cast(), count as u32) != 0 {
                return false;
            }
            frames.set_len(frames.len() + count);
        }
        true
    }

    /// Buffers in the pool and its caches: exact only while nobody takes or returns one.
    pub fn available(&self) -> u32 {
        // SAFETY: the pool lives as long as the EAL, which `self` holds.
        unsafe { dpdk_sys::rte_mempool_avail_count(self.pool.as_ptr()) }
    }

    /// Buffers in all.
    pub fn size(&self) -> u32 {
        self.frames
    }

    /// The name it was made with.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn as_ptr(&self) -> *mut dpdk_sys::rte_mempool {
        self.pool.as_ptr()
    }
}

impl std::fmt::Debug for Mempool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mempool {} ({} of {} available)", self.name, self.available(), self.frames)
    }
}
