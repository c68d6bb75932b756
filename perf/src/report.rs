//! What `bench` says at the end.

use crate::measure::{Interrupted, Measured, Spread};
use serde::Serialize;

/// The object that is printed, and that runs are kept as, one a line.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The case.
    pub case: String,
    /// Bindings, all in use in random order.
    pub entries: u32,
    /// Packets (or commands) that go through the path together.
    pub burst: usize,
    /// Page size of the tables in bytes.
    pub page_size: usize,
    /// Cycles of the time-stamp counter per packet (or command), over the windows.
    pub cycles_per_packet: Spread,
    /// The same in calibrations.
    pub ratio_to_calibration: Spread,
    /// Bytes of all tables that grow with the bindings, for each binding.
    pub bytes_per_entry: f64,
    /// Allocations in the measured code, per packet.
    pub allocations_per_packet: f64,
    /// What the case was varied by.
    #[serde(flatten)]
    pub variant: Variant,
    /// The share of packets that were handed from one worker to another.
    pub handed_over: f64,
    /// Cycles per packet of the calibration.
    pub calibration: Spread,
    /// Windows of the case.
    pub windows: usize,
    /// Packets in them.
    pub measured: u64,
    /// What was left out of them.
    pub interrupted: Interrupted,
    /// Packet memory: warm or cold, and on which pages.
    pub packets: String,
    /// The cores that it ran on.
    pub cores: Vec<usize>,
}

/// What a case can be varied by.
#[derive(Clone, Debug, Serialize)]
pub struct Variant {
    /// The header between gateways: `vxlan`, `gre` or `geneve`.
    pub encapsulation: String,
    /// Peers, with a tunnel each.
    pub tunnels: u16,
    /// Restricted bindings.
    pub limited: u16,
    /// Hosts whose MAC addresses are known.
    pub pinned: bool,
    /// Workers that share the bindings.
    pub workers: u32,
    /// Each worker on a core of its own, instead of in turn on one.
    pub threads: bool,
    /// Packets arrive at any worker, instead of at their own.
    pub mixed: bool,
    /// Packet memory that stays in the cache.
    pub warm: bool,
    /// Ordinary pages for tables and packets, also where huge ones were to be had.
    pub ordinary_pages: bool,
}

/// What a case says of itself beside its times.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Bindings.
    pub entries: u32,
    /// Page size of its tables.
    pub page_size: usize,
    /// Bytes for each binding.
    pub bytes_per_entry: f64,
    /// Allocations for each packet.
    pub allocations_per_packet: f64,
    /// The share of packets that were handed over.
    pub handed_over: f64,
    /// The cores that it ran on.
    pub cores: Vec<usize>,
}

impl Report {
    /// Of what was measured.
    pub fn new(
        case: &str,
        burst: usize,
        variant: Variant,
        packets: String,
        measured: &Measured,
        facts: Facts,
    ) -> Self {
        Self {
            case: case.to_owned(),
            entries: facts.entries,
            burst,
            page_size: facts.page_size,
            cycles_per_packet: measured.case.rounded(1),
            ratio_to_calibration: measured.ratio.rounded(3),
            bytes_per_entry: (facts.bytes_per_entry * 10.0).round() / 10.0,
            allocations_per_packet: facts.allocations_per_packet,
            variant,
            handed_over: (facts.handed_over * 1000.0).round() / 1000.0,
            calibration: measured.calibration.rounded(1),
            windows: measured.windows,
            measured: measured.totals.packets(),
            interrupted: measured.totals.interrupted(),
            packets,
            cores: facts.cores,
        }
    }
}
