//! What a packet is to the core: bytes in one piece that may grow and shrink at both ends.
//!
//! The DPDK back end implements [`Frame`] for its mbufs, tests and the memory back end for [`MemoryFrame`]. A frame
//! begins with its Ethernet header. The core asks for a second frame only where one packet becomes several (a packet
//! that must be fragmented), through [`Buffers`]; an ICMP error is written into the frame that caused it.

use crate::egress::Egress;
use crate::packet::Packet;

/// One frame, from its Ethernet header on.
pub trait Frame {
    /// The frame.
    fn data(&self) -> &[u8];

    /// The frame.
    fn data_mut(&mut self) -> &mut [u8];

    /// Grows the frame by `count` bytes at its front; what they hold is unspecified. `false` if there is no room.
    fn prepend(&mut self, count: usize) -> bool;

    /// Cuts `count` bytes off the front. More than there are leaves an empty frame.
    fn trim_front(&mut self, count: usize);

    /// Cuts the frame to at most `length` bytes.
    fn truncate(&mut self, length: usize);

    /// Grows the frame by `count` bytes at its end; what they hold is unspecified. `false` if there is no room.
    fn extend(&mut self, count: usize) -> bool;

    /// Puts `length` bytes in the place of the `at` bytes at the front, and cuts the frame to `rest` bytes behind them; what
    /// the new front holds is unspecified. The new frame, or `None`, with nothing changed, if there is no room, or there
    /// are not `rest` bytes behind `at`. All at once, because every packet needs it: a header in the place of another.
    fn reshape(&mut self, at: usize, length: usize, rest: usize) -> Option<&mut [u8]>;

    /// Starts to fetch what says where the frame is: of a frame that another core had, that is a line of its own.
    #[inline(always)]
    fn prefetch_handle(&self) {}

    /// Starts to fetch the first two cache lines of the frame.
    #[inline(always)]
    fn prefetch(&self) {}

    /// Starts to fetch the cache line ahead of the frame, where an outer header will be written.
    #[inline(always)]
    fn prefetch_headroom(&self) {}
}

/// Where the core gets frames for packets that it makes, and where it leaves them.
pub trait Buffers<F: Frame> {
    /// An empty frame with headroom of at least [`HEADROOM`]; `None` if the pool is empty.
    fn allocate(&mut self) -> Option<F>;

    /// Sends a frame that was allocated here, as a part of this packet.
    fn send(&mut self, egress: Egress, frame: F, packet: &Packet);
}

/// Headroom in bytes that the path needs ahead of a received frame: the largest outer header (Ethernet with a VLAN tag
/// 18, IPv4 20, UDP 8, VXLAN or GENEVE 8, inner Ethernet 14 = 68) and the headers of an ICMP error (28).
pub const HEADROOM: usize = 96;

/// A frame in a fixed array, for tests, the memory back end and fuzzing.
#[derive(Clone)]
pub struct MemoryFrame {
    bytes: Box<[u8; MemoryFrame::SIZE]>,
    start: usize,
    end: usize,
}

impl MemoryFrame {
    /// Bytes of storage: as an mbuf's data room (2048 + 128).
    pub const SIZE: usize = 2176;
    /// Bytes ahead of a new frame: as an mbuf's headroom.
    pub const HEADROOM: usize = 128;

    /// An empty frame.
    pub fn empty() -> Self {
        Self { bytes: Box::new([0; Self::SIZE]), start: Self::HEADROOM, end: Self::HEADROOM }
    }

    /// A frame with these bytes; what does not fit is cut off.
    pub fn new(data: &[u8]) -> Self {
        let mut frame = Self::empty();
        frame.reset(data);
        frame
    }

    /// Fills the frame with other bytes, at the usual headroom; what does not fit is cut off.
    pub fn reset(&mut self, data: &[u8]) {
        let length = data.len().min(Self::SIZE - Self::HEADROOM);
        self.start = Self::HEADROOM;
        self.end = self.start + length;
        self.bytes[self.start..self.end].copy_from_slice(&data[..length]);
    }
}

impl std::fmt::Debug for MemoryFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for byte in self.data() {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl PartialEq for MemoryFrame {
    fn eq(&self, other: &Self) -> bool {
        self.data() == other.data()
    }
}

impl Frame for MemoryFrame {
    #[inline(always)]
    fn data(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    #[inline(always)]
    fn data_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    #[inline(always)]
    fn prepend(&mut self, count: usize) -> bool {
        let fits = count <= self.start;
        if fits {
            self.start -= count;
        }
        fits
    }

    #[inline(always)]
    fn trim_front(&mut self, count: usize) {
        self.start = self.end.min(self.start + count);
    }

    #[inline(always)]
    fn truncate(&mut self, length: usize) {
        self.end = self.end.min(self.start + length);
    }

    #[inline(always)]
    fn reshape(&mut self, at: usize, length: usize, rest: usize) -> Option<&mut [u8]> {
        if rest > (self.end - self.start).checked_sub(at)? {
            return None;
        }
        let (front, end) = ((self.start + at).checked_sub(length)?, self.start + at + rest);
        (self.start, self.end) = (front, end);
        self.bytes.get_mut(front..end)
    }

    #[inline(always)]
    fn extend(&mut self, count: usize) -> bool {
        let fits = count <= Self::SIZE - self.end;
        if fits {
            self.end += count;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_frame_grows_and_shrinks_at_both_ends() {
        let mut frame = MemoryFrame::new(&[1, 2, 3, 4]);
        assert!(frame.prepend(2) && frame.extend(1));
        frame.data_mut()[0] = 9;
        assert_eq!((frame.data().len(), frame.data()[0], frame.data()[2]), (7, 9, 1));
        frame.trim_front(2);
        frame.truncate(3);
        assert_eq!(frame.data(), [1, 2, 3]);
        frame.trim_front(100);
        assert_eq!(frame.data(), []);
    }

    #[test]
    fn memory_frame_changes_its_front_and_end_at_once() {
        let mut frame = MemoryFrame::new(&[1, 2, 3, 4, 5]);
        frame.reshape(2, 4, 2).unwrap()[..4].fill(9);
        assert_eq!(frame.data(), [9, 9, 9, 9, 3, 4]);
        assert!(frame.reshape(4, 1, 3).is_none() && frame.reshape(0, MemoryFrame::HEADROOM, 6).is_none());
        assert_eq!(frame.reshape(4, 0, 1), Some(&mut [3][..]));
    }

    #[test]
    fn memory_frame_refuses_what_does_not_fit() {
        let mut frame = MemoryFrame::new(&[0; 64]);
        assert!(frame.prepend(MemoryFrame::HEADROOM) && !frame.prepend(1));
        assert!(frame.extend(MemoryFrame::SIZE - MemoryFrame::HEADROOM - 64) && !frame.extend(1));
    }
}
