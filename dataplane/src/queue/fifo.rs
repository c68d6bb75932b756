//! What leaves in this turn: between the path and the ports, in the order in which it came.
//!
//! A queue is bounded: what finds no room is lost and counted.

use crate::egress::Egress;
use crate::msg::PortId;
use crate::packet::BURST;

/// Frames waiting for a port at most: a burst of packets, and a burst before it, in up to two fragments each.
const MOST: usize = 4 * BURST;

/// The queues of all ports.
#[derive(Debug)]
pub struct Queues<F> {
    ports: Vec<Vec<F>>,
}

/// Why a frame was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no such port.
    NoPort,
    /// Its queue is full.
    Full,
}

impl<F> Queues<F> {
    /// Empty queues for so many ports, with room for all that they may hold.
    pub fn new(ports: usize) -> Self {
        Self { ports: (0..ports).map(|_| Vec::with_capacity(MOST)).collect() }
    }

    /// How many ports there are.
    pub fn ports(&self) -> usize {
        self.ports.len()
    }

    /// The queue in which frames leave so.
    #[inline(always)]
    fn queue(&mut self, egress: Egress) -> Option<&mut Vec<F>> {
        self.ports.get_mut(usize::from(egress.port))
    }

    /// Queues a whole burst, as nearly all go; `false`, with nothing done, if there is no such port or no room.
    #[inline]
    pub fn push_burst(&mut self, egress: Egress, burst: &mut Vec<F>) -> bool {
        let queue = self.queue(egress).filter(|queue| queue.len() + burst.len() <= MOST);
        queue.map(|queue| queue.append(burst)).is_some()
    }

    /// Queues a frame, or gives it back.
    #[inline]
    pub fn push(&mut self, egress: Egress, frame: F) -> Result<(), (Refused, F)> {
        match self.queue(egress) {
            None => Err((Refused::NoPort, frame)),
            Some(queue) if queue.len() >= MOST => Err((Refused::Full, frame)),
            Some(queue) => {
                queue.push(frame);
                Ok(())
            }
        }
    }

    /// Whether anything waits for a port.
    #[inline]
    pub fn is_waiting(&self, port: PortId) -> bool {
        self.ports.get(usize::from(port)).is_some_and(|queue| !queue.is_empty())
    }

    /// What waits for a port, to be taken from the front; for a shaped one, where it puts what may go. `None` = no such port.
    #[inline(always)]
    pub fn waiting(&mut self, port: PortId) -> Option<&mut Vec<F>> {
        self.queue(Egress::by(port))
    }

    /// Whether a port may have no room for a burst that comes in fragments after the one that is under way.
    pub fn is_crowded(&self, port: PortId) -> bool {
        self.ports.get(usize::from(port)).is_some_and(|queue| queue.len() > BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(queues: &mut Queues<usize>, port: PortId) -> Vec<usize> {
        queues.waiting(port).into_iter().flat_map(|queue| queue.drain(..)).collect()
    }

    #[test]
    fn frames_leave_by_their_port_in_the_order_in_which_they_came() {
        let mut queues = Queues::new(2);
        let (mut burst, mut more) = (vec![1, 2, 3], vec![5, 6]);
        assert!(queues.push_burst(Egress::by(1), &mut burst) && burst.is_empty());
        assert_eq!(queues.push(Egress::by(1), 4), Ok(()));
        assert_eq!(queues.push(Egress::by(0), 7), Ok(()));
        assert!(queues.push_burst(Egress::by(1), &mut more));
        assert_eq!(taken(&mut queues, 1), [1, 2, 3, 4, 5, 6]);
        assert_eq!((taken(&mut queues, 0), taken(&mut queues, 1)), (vec![7], vec![]));
    }

    #[test]
    fn a_queue_is_bounded_and_grows_no_further() {
        let mut queues = Queues::new(1);
        assert!(!queues.is_waiting(0) && !queues.is_waiting(1));
        for frame in 0..MOST - 1 {
            assert_eq!(queues.is_crowded(0), frame > BURST);
            assert_eq!(queues.push(Egress::by(0), frame), Ok(()));
        }
        let mut burst = vec![8, 9];
        assert!(!queues.push_burst(Egress::by(0), &mut burst) && burst.len() == 2, "nothing done");
        assert_eq!(queues.push(Egress::by(0), 1), Ok(()));
        assert!(queues.is_waiting(0));
        assert_eq!(queues.push(Egress::by(0), 2), Err((Refused::Full, 2)));
        assert_eq!(queues.push(Egress::by(1), 3), Err((Refused::NoPort, 3)));
        assert!(!queues.push_burst(Egress::by(1), &mut burst));
        assert_eq!(queues.ports[0].capacity(), MOST);
        assert_eq!(taken(&mut queues, 0).len(), MOST);
    }
}
