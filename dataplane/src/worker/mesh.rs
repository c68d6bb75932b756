//! Rings between workers, for frames that arrived at one and belong to another.
//!
//! Where the port's hash is not ours to choose, a tunnel packet arrives at any worker; its tag names the owner. A ring for
//! each ordered pair of workers, so that each has one producer and one consumer.

use crate::msg::PortId;
use crate::verdict::External;
use machine::ring::{self, Consumer, Producer};

/// A frame on its way to its owner, with the port of its arrival.
#[derive(Debug)]
pub struct HandedOver<F> {
    /// The frame, with the addresses that it arrived with.
    pub frame: F,
    /// What its sender is to others, if a session of the worker that hands it over says so.
    external: External,
    kind: Kind,
    /// Where it arrived.
    pub port: PortId,
}

/// How it is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    AsItCame,
    Turned,
    Opened,
}

// Four in a cache line, which goes from core to core.
const _: () = assert!(size_of::<HandedOver<usize>>() == 16);

impl<F> HandedOver<F> {
    /// What its sender is to others, if a session of the worker that handed it over says so.
    pub const fn turned(&self) -> Option<External> {
        if matches!(self.kind, Kind::Turned) { Some(self.external) } else { None }
    }

    /// Whether the worker that handed it over has opened it.
    pub const fn is_opened(&self) -> bool {
        matches!(self.kind, Kind::Opened)
    }
}

/// One worker's ends of the rings between workers.
#[derive(Debug)]
pub struct Mesh<F> {
    /// By worker; `None` for this one.
    to: Vec<Option<Producer<HandedOver<F>>>>,
    from: Vec<Consumer<HandedOver<F>>>,
}

impl<F: Send> Mesh<F> {
    /// The ends for each of `workers`, with room for `capacity` frames in each ring.
    pub fn new(workers: usize, capacity: usize) -> Vec<Self> {
        let mut ends: Vec<Self> =
            (0..workers).map(|_| Self { to: Vec::with_capacity(workers), from: Vec::new() }).collect();
        for sender in 0..workers {
            for receiver in 0..workers {
                if sender == receiver {
                    ends[sender].to.push(None);
                } else {
                    let (producer, consumer) = ring::ring(capacity);
                    ends[sender].to.push(Some(producer));
                    ends[receiver].from.push(consumer);
                }
            }
        }
        ends
    }

    /// The ends of a worker that has no others beside it.
    pub fn alone() -> Self {
        Self { to: vec![None], from: Vec::new() }
    }

    /// Hands a frame over, or gives it back if there is no room or no such worker. The other worker sees it after
    /// [`Mesh::tell`].
    #[inline]
    pub fn send(&mut self, worker: u8, port: PortId, frame: F) -> Result<(), F> {
        let external = External::new(0, 0);
        self.hand(worker, HandedOver { frame, external, kind: Kind::AsItCame, port })
    }

    /// The same for a frame out of an encrypted tunnel, which was opened.
    pub fn send_opened(&mut self, worker: u8, port: PortId, frame: F) -> Result<(), F> {
        self.hand(worker, HandedOver { frame, external: External::new(0, 0), kind: Kind::Opened, port })
    }

    /// The same for a frame on the second half of its way, whose sender is this to others.
    pub fn turn_back(&mut self, worker: u8, port: PortId, frame: F, by: External) -> Result<(), F> {
        self.hand(worker, HandedOver { frame, external: by, kind: Kind::Turned, port })
    }

    #[inline]
    fn hand(&mut self, worker: u8, handed: HandedOver<F>) -> Result<(), F> {
        match self.to.get_mut(usize::from(worker)) {
            Some(Some(ring)) => ring.queue(handed).map_err(|refused| refused.frame),
            _ => Err(handed.frame),
        }
    }

    /// Shows the other workers what was sent, once for a whole burst.
    pub fn tell(&mut self) {
        self.to.iter_mut().flatten().for_each(Producer::tell);
    }

    /// The rings towards this worker.
    pub fn arrivals(&mut self) -> &mut [Consumer<HandedOver<F>>] {
        &mut self.from
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_workers_has_its_ring() {
        let mut ends = Mesh::<u32>::new(3, 1);
        for sender in 0..3u8 {
            for receiver in (0..3u8).filter(|&receiver| receiver != sender) {
                let value = u32::from(sender) * 10 + u32::from(receiver);
                assert_eq!(ends[usize::from(sender)].send(receiver, 1, value), Ok(()));
                assert_eq!(ends[usize::from(sender)].send(receiver, 1, 99), Err(99), "full");
            }
        }
        assert!(ends[0].arrivals().iter_mut().all(|ring| ring.pop().is_none()), "not told yet");
        ends.iter_mut().for_each(Mesh::tell);
        for (receiver, end) in ends.iter_mut().enumerate() {
            let got: Vec<u32> = end.arrivals().iter_mut().map(|ring| ring.pop().unwrap().frame).collect();
            assert!(got.iter().all(|value| *value as usize % 10 == receiver));
            assert_eq!(got.len(), 2);
        }
    }

    #[test]
    fn what_is_turned_back_says_what_its_sender_is() {
        let mut ends = Mesh::<u32>::new(2, 2);
        let by = External::new(7, 0);
        assert_eq!(ends[0].send(1, 3, 10), Ok(()));
        assert_eq!(ends[0].turn_back(1, 3, 11, by), Ok(()));
        assert_eq!(ends[0].turn_back(1, 3, 12, by), Err(12), "full");
        ends[0].tell();
        let got = std::iter::from_fn(|| ends[1].arrivals()[0].pop());
        let got: Vec<_> = got.map(|handed| (handed.frame, handed.port, handed.turned())).collect();
        assert_eq!(got, [(10, 3, None), (11, 3, Some(by))]);
    }

    #[test]
    fn nobody_sends_to_itself_or_to_the_absent() {
        assert_eq!(Mesh::alone().send(0, 0, 7), Err(7));
        assert_eq!(Mesh::alone().send(200, 0, 7), Err(7));
    }
}
