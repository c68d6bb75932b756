//! What `bench` says at the end.

use crate::arguments::Variant;
use ces_perf::measure::{Interrupted, Measured, Spread};
use serde::Serialize;

/// The object that is printed, and that runs are kept as, one a line.
#[derive(Serialize)]
pub(crate) struct Report {
    case: &'static str,
    /// Packets (or commands) that go through the path together.
    burst: usize,
    /// Cycles of the time-stamp counter per packet (or command), over the windows.
    cycles_per_packet: Spread,
    /// The same in calibrations.
    ratio_to_calibration: Spread,
    #[serde(flatten)]
    facts: Facts,
    #[serde(flatten)]
    variant: Variant,
    /// Cycles per packet of the calibration.
    calibration: Spread,
    /// Windows of the case.
    windows: usize,
    /// Packets in them.
    measured: u64,
    /// What was left out of them.
    interrupted: Interrupted,
    /// Packet memory: warm or cold, and on which pages.
    packets: String,
}

/// What a case says of itself beside its times.
#[derive(Serialize)]
pub(crate) struct Facts {
    /// Bindings, all in use in random order.
    pub entries: u32,
    /// Page size of the tables in bytes.
    pub page_size: usize,
    /// Bytes of all tables that grow with the bindings, for each binding.
    pub bytes_per_entry: f64,
    /// Allocations in the measured code, per packet.
    pub allocations_per_packet: f64,
    /// The share of packets that were handed from one worker to another.
    pub handed_over: f64,
    /// The cores that it ran on.
    pub cores: Vec<usize>,
}

impl Report {
    /// Of what was measured.
    pub(crate) fn new(
        case: &'static str,
        burst: usize,
        variant: Variant,
        packets: String,
        measured: &Measured,
        facts: Facts,
    ) -> Self {
        let rounded = |value: f64, parts: f64| (value * parts).round() / parts;
        Self {
            case,
            burst,
            cycles_per_packet: measured.case.rounded(1),
            ratio_to_calibration: measured.ratio.rounded(3),
            facts: Facts {
                bytes_per_entry: rounded(facts.bytes_per_entry, 10.0),
                handed_over: rounded(facts.handed_over, 1000.0),
                ..facts
            },
            variant,
            calibration: measured.calibration.rounded(1),
            windows: measured.windows,
            measured: measured.totals.packets(),
            interrupted: measured.totals.interrupted(),
            packets,
        }
    }
}
