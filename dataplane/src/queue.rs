//! What was decided on and waits to be sent: between the path and the ports, by port and class.
//!
//! The worker takes each port's frames in the order of [`Class::ALL`], and within a class in the order in which they came. A
//! queue is bounded: what finds no room is lost and counted, at the one place where packets wait.

use crate::egress::{Class, Egress};
use crate::msg::PortId;
use crate::packet::BURST;

/// Frames waiting for a port in a class at most: a burst of packets, and a burst before it, in up to two fragments each.
const MOST: usize = 4 * BURST;

/// The queues of all ports.
#[derive(Debug)]
pub struct Queues<F> {
    ports: Vec<[Vec<F>; Class::ALL.len()]>,
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
        let queues = || std::array::from_fn(|_| Vec::with_capacity(MOST));
        Self { ports: (0..ports).map(|_| queues()).collect() }
    }

    /// How many ports there are.
    pub fn ports(&self) -> usize {
        self.ports.len()
    }

    /// The queue in which frames leave so.
    #[inline(always)]
    fn queue(&mut self, egress: Egress) -> Option<&mut Vec<F>> {
        self.ports.get_mut(usize::from(egress.port))?.get_mut(egress.class as usize)
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
        self.ports.get(usize::from(port)).is_some_and(|queues| queues.iter().any(|queue| !queue.is_empty()))
    }

    /// What waits for a port, class by class, to be taken from the front of each.
    pub fn waiting(&mut self, port: PortId) -> impl Iterator<Item = &mut Vec<F>> {
        let queues = self.ports.get_mut(usize::from(port)).map(|queues| &mut queues[..]);
        queues.unwrap_or_default().iter_mut().filter(|queue| !queue.is_empty())
    }

    /// Whether a class of a port may have no room for a burst that comes in fragments after the one that is under way.
    pub fn is_crowded(&self, port: PortId) -> bool {
        self.ports.get(usize::from(port)).is_some_and(|queues| queues.iter().any(|queue| queue.len() > BURST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(queues: &mut Queues<usize>, port: PortId) -> Vec<usize> {
        queues.waiting(port).flat_map(|queue| queue.drain(..)).collect()
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
        assert_eq!(queues.ports[0].each_ref().map(Vec::capacity), [MOST; Class::ALL.len()]);
        assert_eq!(taken(&mut queues, 0).len(), MOST);
    }
}
