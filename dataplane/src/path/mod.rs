//! From a burst of frames to a burst of verdicts.
//!
//! A packet goes through three phases, and what one phase will need of memory is fetched in the phase before:
//!
//! 1. **Parse** the frame into a [`packet::Packet`], and fetch what its key leads to: a bucket of the egress index for what
//!    comes from inside, the binding itself for what comes through a tunnel (its session tag says the slot).
//! 2. **Look up** (inside only): compare signatures, and fetch the binding.
//! 3. **Act**: check, translate, wrap or unwrap, count.
//!
//! A phase takes a group of [`GROUP`] packets, and the phases run over the burst staggered by groups: one group is parsed,
//! the one before it is looked up, the one before that is acted on. So every line has the time of a group to arrive, memory
//! and arithmetic overlap, and no more lines are under way than the core can hold (perf/JOURNAL.md).
//!
//! Parsing and acting each have a short way, for packets that are as nearly all are, and a long way for all others. The short
//! way decides nothing but that a packet is one of its own; whatever else it may be, the long way says.
//!
//! What belongs to another worker is told by its addresses alone and handed over unparsed. What needs no binding is settled in
//! phase 1 or in [`own`]; what is unusual about a packet (it expires, it is an ICMP error, a TCP SYN, too large)
//! leaves the straight line for a cold function and mostly comes back to it, so that there is one place that translates
//! ([`write`]).

mod egress;
mod fragment;
mod icmp;
mod ingress;
mod outer;
mod own;
pub mod packet;
mod trace;
mod unwrap;
pub mod write;

pub(crate) use trace::Trace;
pub use unwrap::{Unwrapped, unwrap, unwrap_plain};

use crate::Nanos;
use crate::frame::{Buffers, Frame};
use crate::msg::PortId;
use crate::reason::DropReason;
use crate::settings::Side;
use crate::state::State;
use crate::verdict::Verdict;
use std::ops::Range;

/// The most frames that go through the phases together: 64 frames of two cache lines each and their parsed packets are
/// 12 KiB and stay in the first-level cache, while their table lines are fetched side by side.
pub const BURST: usize = 64;

/// Frames that a phase takes together. Their lines are asked for in a short loop, one after the other: a prefetch whose
/// page is not in the translation buffer waits for a page walk, and only walks that are close together overlap.
const GROUP: usize = 16;

/// The frames that a phase works on in `step`, if it comes `groups` groups after the first phase.
#[inline(always)]
fn group(step: usize, groups: usize, count: usize) -> Range<usize> {
    let start = (step.wrapping_sub(groups)).saturating_mul(GROUP).min(count);
    start..(start + GROUP).min(count)
}

/// Decides on frames that arrived on `port`, and changes them into what is to be sent. `verdicts` is at least as long as
/// `frames`; longer bursts than [`BURST`] are cut into pieces.
pub fn process_burst<F: Frame, B: Buffers<F>>(
    state: &mut State,
    port: PortId,
    frames: &mut [F],
    verdicts: &mut [Verdict],
    buffers: &mut B,
    now: Nanos,
) {
    for (frames, verdicts) in frames.chunks_mut(BURST).zip(verdicts.chunks_mut(BURST)) {
        let traced = state.trace.armed();
        if traced {
            state.trace_before(frames);
        }
        match state.ports.get(usize::from(port)).map(|port| port.side) {
            Some(side) => match (side, state.workers > 1) {
                (Side::Inside, false) => {
                    state.egress_burst::<F, B, false>(port, frames, verdicts, buffers, now);
                }
                (Side::Inside, true) => {
                    state.egress_burst::<F, B, true>(port, frames, verdicts, buffers, now);
                }
                (Side::Outside, false) => {
                    state.ingress_burst::<F, B, false>(port, frames, verdicts, buffers, now);
                }
                (Side::Outside, true) => {
                    state.ingress_burst::<F, B, true>(port, frames, verdicts, buffers, now);
                }
            },
            None => {
                for verdict in &mut verdicts[..frames.len()] {
                    *verdict = state.settle(Verdict::Drop(DropReason::PortDown));
                }
            }
        }
        if traced {
            state.trace_after(port, frames, verdicts);
        }
    }
}

/// Decides on one frame: a burst of one.
pub fn process<F: Frame, B: Buffers<F>>(
    state: &mut State,
    port: PortId,
    frame: &mut F,
    buffers: &mut B,
    now: Nanos,
) -> Verdict {
    let mut verdicts = [Verdict::Absorb];
    process_burst(state, port, std::slice::from_mut(frame), &mut verdicts, buffers, now);
    verdicts[0]
}

/// What cannot go on: a verdict instead of a packet.
type Settled<T> = Result<T, Verdict>;

impl State {
    /// Counts a verdict that is not simply "forward".
    #[cold]
    fn settle(&mut self, verdict: Verdict) -> Verdict {
        match verdict {
            Verdict::Drop(reason) | Verdict::Reply(_, reason) => self.counters.drop(reason),
            Verdict::Absorb => self.counters.absorbed += 1,
            Verdict::Forward(_) | Verdict::Punt(_) | Verdict::HandOff(_) | Verdict::Hold(_) => {}
        }
        verdict
    }
}

impl From<DropReason> for Verdict {
    fn from(reason: DropReason) -> Self {
        Verdict::Drop(reason)
    }
}
