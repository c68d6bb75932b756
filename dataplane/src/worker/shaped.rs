//! The shaped ports of a worker.

use crate::Nanos;
use crate::counters::Counters;
use crate::egress::Egress;
use crate::frame::Frame;
use crate::msg::PortId;
use crate::packet::Packet;
use crate::queue::fair::Backlog;
use crate::queue::{Class, Figure, PortKeys, QueueFigures, QueueOutcomes, Queues, Shape, Shaper, SharedLine};
use crate::reason::DropReason;
use crate::state::State;
use std::sync::Arc;

pub(super) struct Shaped<F> {
    /// By their numbers; empty if none is shaped.
    ports: Vec<Option<Shaper<F>>>,
}

impl<F: Frame> Shaped<F> {
    /// The ports that are shaped where this worker is. `lines` are what all workers share of each port.
    pub(super) fn new(state: &State, lines: &[Arc<SharedLine>]) -> Self {
        let shapes = &state.premises.shapes;
        let one = |(number, shape): (usize, &Option<Shape>)| {
            let (worker, workers) = (state.share.worker(), state.share.workers());
            let line = lines.get(number).cloned().unwrap_or_else(|| SharedLine::new(workers as usize));
            let whose = PortKeys::new(state.hasher, state.premises.port(number as PortId)?.side);
            Some(Shaper::new((*shape)?, whose, line, worker, workers))
        };
        let is_any = shapes.iter().any(Option::is_some);
        Self { ports: if is_any { shapes.iter().enumerate().map(one).collect() } else { Vec::new() } }
    }

    /// Whether no port is shaped.
    #[inline(always)]
    pub(super) fn is_none(&self) -> bool {
        self.ports.is_empty()
    }

    /// Whether this one is.
    #[inline(always)]
    pub(super) fn is_shaped(&self, port: PortId) -> bool {
        self.ports.get(usize::from(port)).is_some_and(Option::is_some)
    }

    /// A turn begins.
    #[inline(never)]
    pub(super) fn begin(&mut self, now: Nanos) {
        for port in self.ports.iter_mut().flatten() {
            port.begin(now);
        }
    }

    /// Other bandwidths.
    pub(super) fn change(&mut self, shapes: &[Option<Shape>]) {
        for (port, shape) in self.ports.iter_mut().zip(shapes) {
            if let (Some(port), Some(shape)) = (port, shape) {
                port.change(*shape);
            }
        }
    }

    /// Queues a frame, or gives it back if its port is not shaped. What may not wait is counted and gone.
    #[inline(always)]
    pub(super) fn push(&mut self, egress: Egress, frame: F, packet: Option<&Packet>) -> Result<(), F> {
        match self.ports.get_mut(usize::from(egress.port)) {
            Some(Some(shaper)) => {
                shaper.push(frame, packet);
                Ok(())
            }
            _ => Err(frame),
        }
    }

    /// Queues a whole burst; `false`, with nothing done, if its port is not shaped.
    pub(super) fn push_burst(&mut self, egress: Egress, burst: &mut Vec<F>, packets: &[Packet]) -> bool {
        let Some(Some(shaper)) = self.ports.get_mut(usize::from(egress.port)) else { return false };
        shaper.push_burst(burst, packets);
        true
    }

    /// Moves what may be sent now to the ports' queues.
    #[inline(never)]
    pub(super) fn pass(&mut self, queues: &mut Queues<F>) {
        for (number, port) in self.ports.iter_mut().enumerate() {
            if let (Some(port), Some(queue)) = (port, queues.waiting(number as PortId)) {
                port.send(queue);
            }
        }
    }

    /// Whether anything waits.
    #[inline(never)]
    pub(super) fn is_waiting(&self) -> bool {
        self.ports.iter().flatten().any(|port| !port.is_empty())
    }

    /// Frees all that waits; how much it was.
    pub(super) fn clear(&mut self) -> u64 {
        let mut count = 0;
        for port in self.ports.iter_mut().flatten() {
            while port.take_any().is_some() {
                count += 1;
            }
        }
        count
    }

    /// Tells what became of packets, and what waits.
    pub(super) fn tell(&self, figures: &QueueFigures, counters: &mut Counters) {
        let (mut all_full, mut all_late) = (0, 0);
        for (number, port) in self.ports.iter().enumerate() {
            let Some(shaper) = port else { continue };
            for class in Class::ALL {
                let QueueOutcomes { sent, bytes: sent_bytes, full, late, marked } = shaper.outcomes(class);
                let Backlog { packets, bytes, hosts } = shaper.waiting(class);
                for (figure, count) in [
                    (Figure::Sent, sent),
                    (Figure::SentBytes, sent_bytes),
                    (Figure::DroppedFull, full),
                    (Figure::DroppedLate, late),
                    (Figure::Marked, marked),
                    (Figure::Packets, packets),
                    (Figure::Bytes, bytes),
                    (Figure::Hosts, hosts.into()),
                    (Figure::Delay, shaper.waited(class)),
                ] {
                    figures.tell(number, class, figure, count);
                }
                (all_full, all_late) = (all_full + full, all_late + late);
            }
        }
        counters.drops[DropReason::QueueFull as usize] = all_full;
        counters.drops[DropReason::QueueAqm as usize] = all_late;
    }
}
