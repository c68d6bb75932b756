//! Frames to be filled, and where they come from in bursts.

use ces_dataplane::frame::{Frame, MemoryFrame};
use ces_dataplane::io::Pool;
use ces_dataplane::io::memory::MemoryPool;
use dpdk::{Mbuf, Mempool};

/// A frame that can be made anew.
pub trait Blank: Frame {
    /// Makes it `length` zeroes; `false` if there is no room for so many.
    fn blank(&mut self, length: usize) -> bool;

    /// Makes it these bytes; `false` if there is no room for so many.
    fn copy(&mut self, bytes: &[u8]) -> bool;
}

impl Blank for Mbuf {
    #[inline(always)]
    fn blank(&mut self, length: usize) -> bool {
        self.trim(self.len());
        self.append(length)
    }

    #[inline(always)]
    fn copy(&mut self, bytes: &[u8]) -> bool {
        self.copy_from(bytes)
    }
}

impl Blank for MemoryFrame {
    fn blank(&mut self, length: usize) -> bool {
        self.reset(&[]);
        let fits = self.extend(length);
        self.data_mut().fill(0);
        fits
    }

    fn copy(&mut self, bytes: &[u8]) -> bool {
        self.reset(bytes);
        self.data().len() == bytes.len()
    }
}

/// A pool that gives frames in bursts.
pub trait Buffers: Pool {
    /// Appends up to `count` frames, no more than the capacity of `frames` holds; how many.
    fn take(&mut self, frames: &mut Vec<Self::Frame>, count: usize) -> usize {
        let before = frames.len();
        let end = frames.capacity().min(before + count);
        while frames.len() < end
            && let Some(frame) = self.allocate()
        {
            frames.push(frame);
        }
        frames.len() - before
    }
}

impl Buffers for MemoryPool {}

impl Buffers for Mempool {
    #[inline(always)]
    fn take(&mut self, frames: &mut Vec<Mbuf>, count: usize) -> usize {
        let count = count.min(frames.capacity() - frames.len());
        if self.alloc_bulk(frames, count) { count } else { 0 }
    }
}
