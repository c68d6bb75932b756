//! What can become of a packet: a closed list.

use crate::Nanos;
use crate::egress::Egress;
use crate::msg::{Fate, PortId, PuntClass};
use crate::narrow::Number24;
use crate::reason::DropReason;

/// What the caller of the path does with the frame now.
///
/// Who counts: the path counts the drops that it decides ([`Verdict::Drop`], [`Verdict::Reply`]) and what it absorbs; the
/// worker counts what it then sends, punts and hands over, or a drop with its own reason where a queue or ring is full.
/// A frame that is held is decided on once more, and counted then. So every received packet is counted exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it.
    Forward(Egress),
    /// The packet was dropped, and the frame now holds the ICMP error that says so: send that.
    Reply(Egress, DropReason),
    /// Copy it to the control thread, unchanged, and free it.
    Punt(PuntClass),
    /// Hand it, unchanged, to the worker that owns its host.
    HandOff(u8),
    /// Hand it to the worker that owns the inside host behind the external address that it is for: it is one of a session of
    /// this worker, which makes its sender this to everybody. Its addresses are its own still.
    TurnBack(u8, External),
    /// The gateway took it in itself (an ICMP error about one of its tunnels): free it.
    Absorb,
    /// Keep it: it goes through the path anew when the MAC address of this next hop is known. No address of it has been
    /// changed and nothing counted.
    Hold(Number24),
    /// Keep it: a later fragment that overtook its first. It goes through the path anew when the first one has been carried;
    /// the number says which that is, and above its middle whose. Nothing has been changed or counted.
    HoldLater(Number24),
    /// Keep it: a SYN that nobody asked for, which the number stands for. If nobody has after six seconds, its sender is told.
    HoldUnasked(Number24),
    /// Free it.
    Drop(DropReason),
}

// One for each packet of a burst, gone through more than once.
const _: () = assert!(size_of::<Verdict>() == 8);

/// What cannot go on: a verdict instead of what comes next.
pub type Settled<T> = Result<T, Verdict>;

/// Under which address and port an inside host is seen by everybody else; of a query of ICMP, the identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct External {
    /// The address in halves: so there is room beside it.
    address: [u16; 2],
    port: u16,
}

impl External {
    /// Of this address and port.
    pub const fn new(address: u32, port: u16) -> Self {
        Self { address: [(address >> 16) as u16, address as u16], port }
    }

    /// The address.
    pub const fn address(self) -> u32 {
        (self.address[0] as u32) << 16 | self.address[1] as u32
    }

    /// The port.
    pub const fn port(self) -> u16 {
        self.port
    }
}

/// What the packets of a burst have in common.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The port of their arrival.
    pub port: PortId,
    /// Whether they may be kept.
    pub attempt: Attempt,
    /// What another worker, which owns their sender, makes it on their way to a host of this one ([`Verdict::TurnBack`]).
    pub turned: Option<External>,
    /// Whether another worker handed them over, which knew why.
    pub is_handed: bool,
    /// What was done to them before.
    pub custody: Custody,
    /// The time.
    pub now: Nanos,
}

impl Arrival {
    /// That of packets which come for the first time, from outside of the gateway.
    pub const fn at(port: PortId, now: Nanos) -> Self {
        Self { port, attempt: Attempt::First, turned: None, is_handed: false, custody: Custody::New, now }
    }
}

/// What was done to packets of encrypted tunnels before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Custody {
    /// Nothing.
    New,
    /// They were opened by the worker at which they arrived, and handed over.
    Opened,
    /// They were opened, taken, and kept.
    Kept,
}

/// Whether a packet may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It may.
    First,
    /// It was kept for its first fragment, and may be kept for its next hop.
    Joined,
    /// It is not kept again.
    Last,
    /// Nobody asked for it in all the time that it was kept for that.
    Unasked,
}

impl Attempt {
    /// Whether it may be kept for its next hop.
    pub const fn may_wait(self) -> bool {
        !matches!(self, Self::Last | Self::Unasked)
    }
}

impl From<DropReason> for Verdict {
    fn from(reason: DropReason) -> Self {
        Verdict::Drop(reason)
    }
}

impl From<Verdict> for Fate {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Forward(egress) => Fate::Forward(egress.port),
            Verdict::Reply(egress, reason) => Fate::Reply(egress.port, reason),
            Verdict::Punt(class) => Fate::Punt(class),
            Verdict::HandOff(worker) | Verdict::TurnBack(worker, _) => Fate::HandOff(worker),
            Verdict::Absorb => Fate::Absorb,
            Verdict::Hold(_) => Fate::Hold,
            Verdict::HoldLater(_) => Fate::HoldLater,
            Verdict::HoldUnasked(_) => Fate::HoldUnasked,
            Verdict::Drop(reason) => Fate::Drop(reason),
        }
    }
}
