//! The way in: a burst of frames, by the side that it came from.

use super::dmz::Dmz;
use super::ground::Ground;
use super::inside::Inside;
use super::nat;
use super::outside::Outside;
use super::own::{Desk, settle};
use super::stagger::stagger;
use crate::Nanos;
use crate::frame::{Buffers, Frame};
use crate::msg::PortId;
use crate::packet::{BURST, Packet};
use crate::reason::DropReason;
use crate::settings::Side;
use crate::state::State;
use crate::verdict::{Arrival, External, Verdict};

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
    process_arrival(state, Arrival::at(port, now), frames, verdicts, buffers);
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

/// As [`process_burst`], for frames that may have been kept before.
pub fn process_arrival<F: Frame, B: Buffers<F>>(
    state: &mut State,
    arrival: Arrival,
    frames: &mut [F],
    verdicts: &mut [Verdict],
    buffers: &mut B,
) {
    for (frames, verdicts) in frames.chunks_mut(BURST).zip(verdicts.chunks_mut(BURST)) {
        if state.trace.armed() {
            traced(state, arrival, frames, verdicts, buffers);
        } else {
            decide(state, arrival, frames, verdicts, buffers);
        }
    }
}

/// The same, recorded.
#[cold]
fn traced<F: Frame, B: Buffers<F>>(
    state: &mut State,
    arrival: Arrival,
    frames: &mut [F],
    verdicts: &mut [Verdict],
    buffers: &mut B,
) {
    state.trace.before(frames);
    state.packets.fill(Packet::NOTHING);
    decide(state, arrival, frames, verdicts, buffers);
    let State { trace, packets, bindings, counters, .. } = state;
    counters.traces_lost += trace.after(arrival.port, frames, packets, verdicts, bindings);
}

fn decide<F: Frame, B: Buffers<F>>(
    state: &mut State,
    arrival: Arrival,
    frames: &mut [F],
    verdicts: &mut [Verdict],
    buffers: &mut B,
) {
    // A copy of the loops for each, in which what is not there costs nothing.
    if state.sessions.has_room() {
        decide_with::<F, B, true>(state, arrival, frames, verdicts, buffers);
    } else {
        decide_with::<F, B, false>(state, arrival, frames, verdicts, buffers);
    }
}

/// `NAT`: there may be sessions.
#[inline(never)]
fn decide_with<F: Frame, B: Buffers<F>, const NAT: bool>(
    state: &mut State,
    arrival: Arrival,
    frames: &mut [F],
    verdicts: &mut [Verdict],
    buffers: &mut B,
) {
    let State { counters, premises, meters, share, bindings, sessions, ways, events, packets, .. } = state;
    let Some(port) = premises.port(arrival.port) else {
        for verdict in &mut verdicts[..frames.len()] {
            *verdict = settle(counters, Verdict::Drop(DropReason::PortDown));
        }
        return;
    };
    let (side, gate, several) = (port.side, port.gate, share.is_part());
    let desk = Desk { premises, meters, counters };
    let ground = Ground { desk, bindings, sessions, ways, events, arrival, neighbour: None };
    if let Some(external) = arrival.turned {
        return turn(ground, external, frames, packets, verdicts, buffers);
    }
    match (side, several) {
        (Side::Inside, false) => {
            stagger(Inside::<false, NAT>::new(ground, share, &gate), frames, packets, verdicts, buffers);
        }
        (Side::Inside, true) => {
            stagger(Inside::<true, NAT>::new(ground, share, &gate), frames, packets, verdicts, buffers);
        }
        (Side::Dmz, false) => {
            stagger(Dmz::<false>::new(ground, share, &gate), frames, packets, verdicts, buffers);
        }
        (Side::Dmz, true) => {
            stagger(Dmz::<true>::new(ground, share, &gate), frames, packets, verdicts, buffers);
        }
        (Side::Outside, false) => {
            stagger(Outside::<false, NAT>::new(ground, share, &gate), frames, packets, verdicts, buffers);
        }
        (Side::Outside, true) => {
            stagger(Outside::<true, NAT>::new(ground, share, &gate), frames, packets, verdicts, buffers);
        }
    }
}

/// Decides on what is on the second half of its way from one inside host to another, whose worker this is.
#[cold]
fn turn<F: Frame, B: Buffers<F>>(
    mut ground: Ground<'_>,
    external: External,
    frames: &mut [F],
    packets: &mut [Packet],
    verdicts: &mut [Verdict],
    buffers: &mut B,
) {
    for ((frame, packet), verdict) in frames.iter_mut().zip(packets).zip(verdicts) {
        *verdict = match nat::turned(&mut ground.again(), frame, packet, external, buffers) {
            Ok(verdict) => verdict,
            Err(verdict) => settle(ground.desk.counters, verdict),
        };
    }
}
