//! Packet memory in rotation: as a NIC's, with a distance that makes it cold.
//!
//! All buffers stand in a circle. A burst is written half a circle before it is its turn, so that by then everything
//! else in the circle has passed through the cache. Just before its turn its metadata is touched, as a driver does
//! that turns receive descriptors into mbufs, but not its data.

use ces_dataplane::egress::Egress;
use ces_dataplane::frame::{Buffers, Frame, MemoryFrame};
use ces_dataplane::packet::Packet;
use dpdk::{Mbuf, Mempool};

/// Frames in a circle of cold packet memory. Between writing a frame and its turn, half of the circle is written and half
/// is processed: at least 6 cache lines of 64 bytes for each frame of one half, so 16,384 · 6 · 64 = 6 MiB.
pub const COLD: usize = 32_768;

/// A frame that the harness can write anew.
pub trait Rewrite: Frame {
    /// Makes it a fresh frame with these bytes.
    fn rewrite(&mut self, bytes: &[u8]);

    /// Touches its metadata, as a driver does that receives it.
    fn arrive(&mut self);
}

impl Rewrite for Mbuf {
    fn rewrite(&mut self, bytes: &[u8]) {
        self.copy_from(bytes);
    }

    #[inline(always)]
    fn arrive(&mut self) {
        self.trim(0);
    }
}

impl Rewrite for MemoryFrame {
    fn rewrite(&mut self, bytes: &[u8]) {
        self.reset(bytes);
    }

    #[inline(always)]
    fn arrive(&mut self) {}
}

/// The circle, burst by burst.
#[derive(Debug)]
pub struct Rotation<F> {
    bursts: Vec<Vec<F>>,
    turn: usize,
    last: usize,
}

impl Rotation<MemoryFrame> {
    /// A circle of ordinary memory.
    pub fn in_memory(frames: usize, burst: usize) -> Self {
        Self::new(frames, burst, |circle, count| circle.resize_with(count, MemoryFrame::empty))
    }
}

impl Rotation<Mbuf> {
    /// A circle of so many mbufs of a pool; `None` if it has not so many.
    pub fn of_pool(pool: &Mempool, frames: usize, burst: usize) -> Option<Self> {
        let circle = Self::new(frames, burst, |circle, count| {
            pool.alloc_bulk(circle, count);
        });
        circle.bursts.iter().all(|frames| frames.len() == burst).then_some(circle)
    }
}

impl<F> Rotation<F> {
    fn new(frames: usize, burst: usize, fill: impl Fn(&mut Vec<F>, usize)) -> Self {
        let bursts = (0..frames.div_ceil(burst)).map(|_| {
            let mut frames = Vec::with_capacity(burst);
            fill(&mut frames, burst);
            frames
        });
        Self { bursts: bursts.collect(), turn: 0, last: 0 }
    }

    /// Frames in the circle.
    pub fn len(&self) -> usize {
        self.bursts.iter().map(Vec::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<F: Rewrite> Rotation<F> {
    /// Writes every frame.
    pub fn fill(&mut self, write: impl FnMut(&mut F)) {
        self.bursts.iter_mut().flatten().for_each(write);
    }

    /// Writes the burst on the other side of the circle, and gives the one whose turn it is. Whoever takes its frames
    /// puts as many back.
    pub fn advance(&mut self, write: impl FnMut(&mut F)) -> &mut Vec<F> {
        let opposite = (self.turn + self.bursts.len() / 2) % self.bursts.len();
        // Fetched side by side, or else writing would take several times as long as what is measured.
        self.bursts[opposite].iter().for_each(Frame::prefetch);
        // With a single burst in the circle it is written just before its turn.
        self.bursts[opposite].iter_mut().for_each(write);
        self.last = self.turn;
        self.turn = (self.last + 1) % self.bursts.len();
        let burst = &mut self.bursts[self.last];
        burst.iter_mut().for_each(Rewrite::arrive);
        burst
    }

    /// The burst that [`Rotation::advance`] gave last, where its frames, or as many others, are put back.
    pub fn last(&mut self) -> &mut Vec<F> {
        &mut self.bursts[self.last]
    }
}

/// Gives no frames: none of the cases needs one.
#[derive(Debug, Default)]
pub struct NoBuffers {
    /// How often one was wanted.
    pub wanted: u64,
}

impl<F: Frame> Buffers<F> for NoBuffers {
    fn allocate(&mut self) -> Option<F> {
        self.wanted += 1;
        None
    }

    fn send(&mut self, _egress: Egress, _frame: F, _packet: &Packet) {
        self.wanted += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_comes_half_a_circle_after_it_was_written() {
        let mut rotation = Rotation::in_memory(8, 2);
        rotation.fill(|frame| frame.rewrite(&[0xff]));
        let mut number = 0;
        let mut seen = Vec::new();
        for _ in 0..6 {
            let burst = rotation.advance(|frame| {
                frame.rewrite(&[number]);
                number += 1;
            });
            seen.extend(burst.iter().map(|frame| frame.data()[0]));
        }
        assert_eq!(seen, [0xff, 0xff, 0xff, 0xff, 0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn one_burst_is_written_before_its_turn() {
        let mut rotation = Rotation::in_memory(1, 4);
        assert_eq!(rotation.len(), 4);
        assert!(rotation.advance(|frame| frame.rewrite(&[5])).iter().all(|frame| frame.data() == [5]));
    }
}
