//! What client and server send, on its way to the ports.

use crate::session::frames::Outlet;
use ces_dataplane::frame::Frame;
use ces_dataplane::io::{Pool, PortQueues};

/// Frames that wait for a port at most: some bursts.
const QUEUE: usize = 256;

/// Ports, the pool of their frames, and what waits for them.
pub struct Wires<P: PortQueues, Q> {
    /// The first queue pair of each port; behind them, further ones in the same order, which are only listened on.
    ports: Vec<P>,
    pool: Q,
    queues: Vec<Vec<P::Frame>>,
}

impl<P: PortQueues, Q: Pool<Frame = P::Frame>> Wires<P, Q> {
    /// So many ports, with fresh frames from this pool. What is in `pairs` behind the first queue pair of each port is only
    /// listened on, and belongs to the ports in the same order.
    pub fn new(pairs: Vec<P>, ports: usize, pool: Q) -> Self {
        let queues = (0..ports).map(|_| Vec::with_capacity(QUEUE)).collect();
        Self { ports: pairs, pool, queues }
    }

    /// How many queue pairs there are to listen on.
    pub fn pairs(&self) -> usize {
        self.ports.len()
    }

    /// The port that a queue pair belongs to.
    pub fn port_of(&self, pair: usize) -> usize {
        pair % self.queues.len().max(1)
    }

    /// Whether a port takes more than what answers need: nothing new is begun while it does not.
    pub fn has_room(&self, port: usize) -> bool {
        self.queues[port].len() < QUEUE / 2
    }

    /// Receives into `frames` as many as it has room for.
    pub fn receive(&mut self, pair: usize, frames: &mut Vec<P::Frame>) {
        self.ports[pair].rx_burst(frames);
    }

    /// Sends a received frame by a port.
    pub fn send(&mut self, port: usize, frame: P::Frame) {
        if self.queues[port].len() < QUEUE {
            self.queues[port].push(frame);
        }
    }

    /// Gives frames back.
    pub fn free(&mut self, frames: &mut Vec<P::Frame>) {
        self.pool.free(frames);
    }

    /// Lets the ports take what waits for them.
    pub fn flush(&mut self) {
        for (port, queue) in self.ports.iter_mut().zip(&mut self.queues) {
            if !queue.is_empty() {
                port.tx_burst(queue);
            }
        }
    }
}

impl<P: PortQueues, Q: Pool<Frame = P::Frame>> Outlet for Wires<P, Q> {
    #[inline]
    fn frame(&mut self, port: usize, content: &[u8]) -> Option<&mut [u8]> {
        let queue = &mut self.queues[port];
        if queue.len() == QUEUE {
            self.ports[port].tx_burst(queue);
            if queue.len() == QUEUE {
                return None;
            }
        }
        let mut frame = self.pool.allocate()?;
        if !frame.extend(content.len()) {
            return None;
        }
        frame.data_mut().copy_from_slice(content);
        queue.push(frame);
        queue.last_mut().map(Frame::data_mut)
    }
}
