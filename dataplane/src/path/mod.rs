//! From a burst of frames to a burst of verdicts.

use crate::Nanos;
use crate::frame::{Buffers, Frame};
use crate::msg::PortId;
use crate::reason::DropReason;
use crate::state::State;
use crate::verdict::Verdict;

/// The most frames that go through the phases together. More than one cache miss can then be under way for each, and
/// 64 frames of two cache lines each still stay in the first-level cache.
pub const BURST: usize = 64;

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
    let _ = (port, buffers, now);
    for (verdict, _) in verdicts.iter_mut().zip(frames) {
        state.counters.drop(DropReason::NoRoute);
        *verdict = Verdict::Drop(DropReason::NoRoute);
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
