//! Ports in memory: the other end of the cable is in the hands of a test or a benchmark.

use super::{Pool, PortQueues};
use crate::frame::{Frame, MemoryFrame};
use machine::ring::{self, Consumer, Producer};

/// A port on a pair of rings.
#[derive(Debug)]
pub struct MemoryPort {
    arrivals: Consumer<MemoryFrame>,
    departures: Producer<MemoryFrame>,
}

/// The other end of a [`MemoryPort`]'s cable.
#[derive(Debug)]
pub struct Cable {
    to_port: Producer<MemoryFrame>,
    from_port: Consumer<MemoryFrame>,
}

/// A port and the other end of its cable, which holds `capacity` frames in each direction.
pub fn port(capacity: usize) -> (MemoryPort, Cable) {
    let (to_port, arrivals) = ring::ring(capacity);
    let (departures, from_port) = ring::ring(capacity);
    (MemoryPort { arrivals, departures }, Cable { to_port, from_port })
}

impl Cable {
    /// Lets a frame arrive at the port, or gives it back if the cable is full.
    pub fn send(&mut self, frame: MemoryFrame) -> Result<(), MemoryFrame> {
        self.to_port.push(frame)
    }

    /// Lets a copy of these bytes arrive at the port; `false` if the cable is full.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> bool {
        self.send(MemoryFrame::new(bytes)).is_ok()
    }

    /// The next frame that left the port.
    pub fn receive(&mut self) -> Option<MemoryFrame> {
        self.from_port.pop()
    }

    /// Frames that have not reached the worker yet.
    pub fn waiting(&self) -> usize {
        self.to_port.len()
    }
}

impl PortQueues for MemoryPort {
    type Frame = MemoryFrame;

    fn rx_burst(&mut self, frames: &mut Vec<MemoryFrame>) -> usize {
        let before = frames.len();
        while frames.len() < frames.capacity()
            && let Some(frame) = self.arrivals.pop()
        {
            frames.push(frame);
        }
        frames.len() - before
    }

    fn tx_burst(&mut self, frames: &mut Vec<MemoryFrame>) -> usize {
        let room = self.departures.capacity() - self.departures.len();
        let count = frames.len().min(room);
        for frame in frames.drain(..count) {
            // There is room: only this end adds.
            let _ = self.departures.push(frame);
        }
        count
    }
}

/// A fixed number of frames.
#[derive(Debug)]
pub struct MemoryPool {
    frames: Vec<MemoryFrame>,
}

impl MemoryPool {
    /// A pool of `count` frames. It keeps no more, whatever is given back.
    pub fn new(count: usize) -> Self {
        let mut frames = Vec::with_capacity(count);
        frames.resize_with(count, MemoryFrame::empty);
        Self { frames }
    }

    /// Frames in the pool.
    pub fn available(&self) -> usize {
        self.frames.len()
    }
}

impl Pool for MemoryPool {
    type Frame = MemoryFrame;

    fn allocate(&mut self) -> Option<MemoryFrame> {
        let mut frame = self.frames.pop()?;
        frame.reset(&[]);
        Some(frame)
    }

    fn free(&mut self, frames: &mut Vec<MemoryFrame>) {
        let room = self.frames.capacity() - self.frames.len();
        frames.truncate(room);
        self.frames.append(frames);
    }
}

/// Whether the frame holds these bytes: for tests over any kind of frame.
pub fn holds<F: Frame>(frame: &F, bytes: &[u8]) -> bool {
    frame.data() == bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_cross_in_order_and_stop_at_the_capacity() {
        let (mut port, mut cable) = port(4);
        for value in 0..4 {
            assert!(cable.send_bytes(&[value]));
        }
        assert!(!cable.send_bytes(&[4]));
        let mut frames = Vec::with_capacity(3);
        assert_eq!(port.rx_burst(&mut frames), 3);
        assert_eq!(port.rx_burst(&mut frames), 0);
        assert_eq!(port.tx_burst(&mut frames), 3);
        assert_eq!(port.rx_burst(&mut frames), 1);
        assert_eq!(port.tx_burst(&mut frames), 1);
        for value in 0..4 {
            assert!(holds(&cable.receive().unwrap(), &[value]));
        }
        assert!(cable.receive().is_none());
    }

    #[test]
    fn full_cable_leaves_frames_with_the_sender() {
        let (mut port, _cable) = port(2);
        let mut frames = vec![MemoryFrame::new(&[1]), MemoryFrame::new(&[2]), MemoryFrame::new(&[3])];
        assert_eq!(port.tx_burst(&mut frames), 2);
        assert!(holds(&frames[0], &[3]));
        assert_eq!(port.tx_burst(&mut frames), 0);
    }

    #[test]
    fn pool_gives_empty_frames_and_does_not_grow() {
        let mut pool = MemoryPool::new(2);
        let mut frames = vec![pool.allocate().unwrap(), pool.allocate().unwrap()];
        assert!(pool.allocate().is_none());
        assert!(frames[0].extend(9));
        frames.push(MemoryFrame::empty());
        pool.free(&mut frames);
        assert!(frames.is_empty());
        assert_eq!(pool.available(), 2);
        assert!(pool.allocate().unwrap().data().is_empty());
    }
}
