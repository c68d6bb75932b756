//! The loop over a burst: the phases of a side, staggered by groups of packets.
//!
//! One group is parsed, the one before it is looked up, the one before that is acted on. So every line has the time of a group
//! to arrive, memory and arithmetic overlap, and no more lines are under way than the core can hold (perf/JOURNAL.md).

use crate::frame::{Buffers, Frame};
use crate::narrow::NONE;
use crate::packet::{BURST, Packet, SETTLED};
use crate::verdict::{Settled, Verdict};
use std::ops::Range;

/// Frames that a phase takes together. Their lines are asked for in a short loop, one after the other: a prefetch whose
/// page is not in the translation buffer waits for a page walk, and only walks that are close together overlap.
const GROUP: usize = 16;

/// What a side does with a packet, phase by phase.
pub(super) trait Phases<F: Frame, B: Buffers<F>> {
    /// Whether there is a phase 2: a table in which the slot is looked up.
    const LOOKS_UP: bool;

    /// Phase 1: a packet that knows what to look up, or what became of it.
    fn parse(&mut self, frame: &mut F, packet: &mut Packet) -> Settled<()>;

    /// Starts to fetch what phase 1 found to be needed first.
    fn fetch(&self, packet: &Packet);

    /// Phase 2: finds the packet's slot, and starts to fetch it.
    fn look_up(&self, packet: &mut Packet);

    /// Starts to fetch what the slot leads to.
    fn fetch_more(&self, packet: &Packet, frame: &F);

    /// Phase 3: decides, unless the packet [was decided on](SETTLED) before.
    fn act(&mut self, frame: &mut F, packet: &Packet, verdict: &mut Verdict, buffers: &mut B);

    /// Counts a verdict that is not simply "forward".
    fn settle(&mut self, verdict: Verdict) -> Verdict;
}

/// The frames that a phase works on in `step`, if it comes `groups` groups after the first phase.
#[inline(always)]
fn group(step: usize, groups: usize, count: usize) -> Range<usize> {
    let start = (step.wrapping_sub(groups)).saturating_mul(GROUP).min(count);
    start..(start + GROUP).min(count)
}

/// Takes a burst through the phases of its side. `packets` and `verdicts` are at least as long as `frames`, which are at most
/// [`BURST`].
#[inline(always)]
pub(super) fn stagger<F: Frame, B: Buffers<F>, P: Phases<F, B>>(
    mut side: P,
    frames: &mut [F],
    packets: &mut [Packet],
    verdicts: &mut [Verdict],
    buffers: &mut B,
) {
    let count = frames.len().min(BURST);
    // How many groups after the first phase the last two come.
    let (more, last) = if P::LOOKS_UP { (2, 3) } else { (1, 2) };
    for frame in &frames[group(0, 0, count)] {
        frame.prefetch();
    }
    for step in 0..count.div_ceil(GROUP) + last {
        for frame in &frames[group(step + 1, 0, count)] {
            frame.prefetch();
        }
        let new = group(step, 0, count);
        let arrived = frames[new.clone()].iter_mut().zip(&mut packets[new.clone()]);
        for ((frame, packet), verdict) in arrived.zip(&mut verdicts[new.clone()]) {
            if let Err(settled) = side.parse(frame, packet) {
                // No line is worth fetching for it.
                (packet.flags, packet.hash, packet.slot) = (SETTLED, 0, NONE);
                *verdict = side.settle(settled);
            }
        }
        for packet in &packets[new] {
            side.fetch(packet);
        }
        if P::LOOKS_UP {
            for packet in &mut packets[group(step, 1, count)] {
                side.look_up(packet);
            }
        }
        let near = group(step, more, count);
        for (packet, frame) in packets[near.clone()].iter().zip(&frames[near]) {
            side.fetch_more(packet, frame);
        }
        let ready = group(step, last, count);
        let decided = frames[ready.clone()].iter_mut().zip(&packets[ready.clone()]);
        for ((frame, packet), verdict) in decided.zip(&mut verdicts[ready]) {
            side.act(frame, packet, verdict, buffers);
        }
    }
}
