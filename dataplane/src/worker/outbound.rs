//! Frames that will leave or are done with, and where new ones come from: what the path sees as [`Buffers`].

use super::shaped::Shaped;
use crate::egress::Egress;
use crate::frame::{Buffers, Frame};
use crate::io::Pool;
use crate::msg::{FrameSlot, SLOT_BYTES};
use crate::packet::{BURST, Packet};
use crate::queue::{Queues, Refused};
use crate::reason::DropReason;

/// The shortest Ethernet frame that means something: its header.
const ETHERNET_HEADER: usize = 14;

pub(super) struct Outbound<F, M> {
    pub(super) pool: M,
    pub(super) queues: Queues<F>,
    /// The ports that are shaped.
    pub(super) shaped: Shaped<F>,
    /// Frames to free in bulk: at most a burst at a time.
    spent: Vec<F>,
    /// Frames that found their queue full, or, made here, no port.
    lost: u64,
}

impl<F: Frame, M: Pool<Frame = F>> Outbound<F, M> {
    pub(super) fn new(pool: M, ports: usize, shaped: Shaped<F>) -> Self {
        Self { pool, queues: Queues::new(ports), shaped, spent: Vec::with_capacity(BURST), lost: 0 }
    }

    /// Queues a frame; `false` if there is no such port. `packet` is what it was when it arrived.
    #[inline]
    pub(super) fn push(&mut self, egress: Egress, frame: F, packet: Option<&Packet>) -> bool {
        let frame = match self.shaped.push(egress, frame, packet) {
            Ok(()) => return true,
            Err(frame) => frame,
        };
        match self.queues.push(egress, frame) {
            Ok(()) => true,
            Err((Refused::NoPort, frame)) => {
                self.spent.push(frame);
                false
            }
            Err((Refused::Full, frame)) => {
                self.lost += 1;
                drop(frame);
                true
            }
        }
    }

    /// Queues a whole burst, as nearly all go; `false`, with nothing done, if there is no such port or no room.
    #[inline(always)]
    pub(super) fn push_burst(&mut self, egress: Egress, burst: &mut Vec<F>, packets: &[Packet]) -> bool {
        if self.shaped.is_shaped(egress.port) {
            self.shaped.push_burst(egress, burst, packets)
        } else {
            self.queues.push_burst(egress, burst)
        }
    }

    /// Queues what shaped ports may send now.
    pub(super) fn pass_shaped(&mut self) {
        self.shaped.pass(&mut self.queues);
    }

    /// A frame is done with. It is freed with the others of its burst.
    #[inline]
    pub(super) fn spend(&mut self, frame: F) {
        self.spent.push(frame);
    }

    /// Frees what was spent.
    #[inline]
    pub(super) fn free_spent(&mut self) {
        self.pool.free(&mut self.spent);
    }

    /// How many frames were lost since this was last asked.
    pub(super) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// Queues a copy of an injected frame for its port.
    pub(super) fn inject(&mut self, slot: &FrameSlot) -> Result<(), DropReason> {
        let length = usize::from(slot.length);
        let sane = (ETHERNET_HEADER..=SLOT_BYTES).contains(&length);
        if !sane || usize::from(slot.port) >= self.queues.ports() {
            return Err(DropReason::InjectMalformed);
        }
        let mut frame = self.pool.allocate().ok_or(DropReason::NoBuffer)?;
        if !frame.extend(length) {
            self.spend(frame);
            self.free_spent();
            return Err(DropReason::NoBuffer);
        }
        frame.data_mut().copy_from_slice(slot.frame());
        self.push(Egress::by(slot.port), frame, None);
        Ok(())
    }
}

impl<F: Frame, M: Pool<Frame = F>> Buffers<F> for Outbound<F, M> {
    fn allocate(&mut self) -> Option<F> {
        self.pool.allocate()
    }

    fn send(&mut self, egress: Egress, frame: F, packet: &Packet) {
        if !self.push(egress, frame, Some(packet)) {
            self.lost += 1;
        }
    }
}
