//! What `bench` says at the end: one object for machines, some lines for people.

use crate::measure::{Interrupted, Measured, Spread};
use serde::Serialize;

/// The object that `--json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The case.
    pub case: &'static str,
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
}

/// What else a person wants to know.
#[derive(Clone, Debug)]
pub struct Context {
    /// The machine.
    pub machine: String,
    /// The core that it ran on.
    pub core: usize,
    /// Packet memory: warm or cold, and on which pages.
    pub packets: String,
    /// Variants of the case.
    pub variant: String,
    /// Cycles per packet of the calibration.
    pub calibration: Spread,
    /// Windows of the case.
    pub windows: usize,
    /// What was left out of them.
    pub interrupted: Interrupted,
    /// Packets in them.
    pub measured: u64,
}

impl Report {
    /// Of what was measured.
    pub fn new(
        case: &'static str,
        entries: u32,
        burst: usize,
        page_size: usize,
        measured: &Measured,
        bytes_per_entry: f64,
        allocations_per_packet: f64,
    ) -> Self {
        Self {
            case,
            entries,
            burst,
            page_size,
            cycles_per_packet: measured.case.rounded(1),
            ratio_to_calibration: measured.ratio.rounded(3),
            bytes_per_entry: (bytes_per_entry * 10.0).round() / 10.0,
            allocations_per_packet,
        }
    }

    /// As lines.
    pub fn text(&self, context: &Context) -> String {
        let spread = |s: &Spread| format!("min {:>8}   median {:>8}   p90 {:>8}", s.min, s.median, s.p90);
        let lines = [
            ("case", format!("{}{}", self.case, context.variant)),
            ("entries", format!("{}, all used in random order", self.entries)),
            ("packets", context.packets.clone()),
            (
                "tables",
                format!("{} KiB pages, {} bytes per entry", self.page_size >> 10, self.bytes_per_entry),
            ),
            ("burst", self.burst.to_string()),
            ("cycles/packet", spread(&self.cycles_per_packet)),
            ("calibration", spread(&context.calibration.rounded(1))),
            ("ratio", spread(&self.ratio_to_calibration)),
            ("allocations", format!("{} per packet", self.allocations_per_packet)),
            (
                "measured",
                format!(
                    "{} packets in {} windows of {} ms; left out as interrupted: {} bursts, {:.1} % of the time",
                    context.measured,
                    context.windows,
                    crate::measure::WINDOW_MS,
                    context.interrupted.bursts,
                    context.interrupted.share_of_time * 100.0
                ),
            ),
            ("machine", format!("core {} of {}", context.core, context.machine)),
        ];
        lines.map(|(name, value)| format!("{name:<14} {value}\n")).concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_has_the_agreed_names() {
        let spread = Spread { min: 1.0, median: 2.0, p90: 3.0 };
        let report = Report {
            case: "calibration",
            entries: 1,
            burst: 64,
            page_size: 4096,
            cycles_per_packet: spread,
            ratio_to_calibration: spread,
            bytes_per_entry: 0.0,
            allocations_per_packet: 0.0,
        };
        let json = serde_json::to_string(&report).unwrap();
        let mut at = 0;
        for name in [
            "case",
            "entries",
            "burst",
            "page_size",
            "cycles_per_packet",
            "ratio_to_calibration",
            "bytes_per_entry",
            "allocations_per_packet",
        ] {
            let found = json.find(&format!("\"{name}\"")).expect(name);
            assert!(found >= at, "{name} is out of order");
            at = found;
        }
    }
}
