//! What `bench` says at the end: one object for machines, some lines for people.

use crate::measure::{Interrupted, Measured, Spread, WINDOW_MS};
use serde::{Deserialize, Serialize};

/// The object that `--json` prints, and that runs are kept as, one a line. What is wanting in older runs has the value that it
/// had then.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    #[serde(default)]
    pub handed_over: f64,
    /// Cycles per packet of the calibration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Spread>,
    /// Windows of the case.
    #[serde(default)]
    pub windows: usize,
    /// What was left out of them.
    #[serde(default)]
    pub interrupted: Interrupted,
}

/// What a case can be varied by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
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

impl Default for Variant {
    fn default() -> Self {
        Self {
            encapsulation: "vxlan".to_owned(),
            tunnels: 1000,
            limited: 0,
            pinned: false,
            workers: 1,
            threads: false,
            mixed: false,
            warm: false,
            ordinary_pages: false,
        }
    }
}

impl Variant {
    /// What differs from the usual, in words; nothing if nothing does.
    pub fn words(&self) -> String {
        let usual = Self::default();
        let mut words = Vec::new();
        if self.encapsulation != usual.encapsulation {
            words.push(self.encapsulation.clone());
        }
        if self.tunnels != usual.tunnels {
            words.push(format!("{} tunnels", self.tunnels));
        }
        if self.limited != 0 {
            words.push(format!("{} restricted", self.limited));
        }
        if self.pinned {
            words.push("pinned".to_owned());
        }
        if self.threads {
            words.push(format!("{} core{}", self.workers, if self.workers == 1 { "" } else { "s" }));
        } else if self.workers != 1 {
            words.push(format!("{} workers in turn", self.workers));
        }
        if self.mixed {
            words.push("any worker".to_owned());
        }
        if self.warm {
            words.push("warm".to_owned());
        }
        if self.ordinary_pages {
            words.push("4 KiB pages".to_owned());
        }
        words.join(", ")
    }
}

/// What else a person wants to know.
#[derive(Clone, Debug)]
pub struct Context {
    /// The machine.
    pub machine: String,
    /// The cores that it ran on.
    pub cores: Vec<usize>,
    /// Packet memory: warm or cold, and on which pages.
    pub packets: String,
    /// Packets measured.
    pub measured: u64,
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
}

impl Report {
    /// Of what was measured.
    pub fn new(case: &str, burst: usize, variant: Variant, measured: &Measured, facts: &Facts) -> Self {
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
            calibration: Some(measured.calibration.rounded(1)),
            windows: measured.windows,
            interrupted: measured.totals.interrupted(),
        }
    }

    /// As lines.
    pub fn text(&self, context: &Context) -> String {
        let spread = |s: &Spread| format!("min {:>8}   median {:>8}   p90 {:>8}", s.min, s.median, s.p90);
        let words = self.variant.words();
        let cores: Vec<String> = context.cores.iter().map(usize::to_string).collect();
        let mut lines = vec![
            ("case", if words.is_empty() { self.case.clone() } else { format!("{} ({words})", self.case) }),
            ("entries", format!("{}, all used in random order", self.entries)),
            ("packets", context.packets.clone()),
            (
                "tables",
                format!("{} KiB pages, {} bytes per entry", self.page_size >> 10, self.bytes_per_entry),
            ),
            ("burst", self.burst.to_string()),
            ("cycles/packet", spread(&self.cycles_per_packet)),
            ("calibration", self.calibration.as_ref().map_or_else(String::new, spread)),
            ("ratio", spread(&self.ratio_to_calibration)),
            ("allocations", format!("{} per packet", self.allocations_per_packet)),
        ];
        if self.variant.workers > 1 {
            lines.push(("handed over", format!("{:.1} % of the packets", self.handed_over * 100.0)));
        }
        lines.push((
            "measured",
            format!(
                "{} packets in {} windows of {WINDOW_MS} ms; left out as interrupted: {} bursts, {:.1} % of the time",
                context.measured,
                self.windows,
                self.interrupted.bursts,
                self.interrupted.share_of_time * 100.0
            ),
        ));
        lines.push(("machine", format!("core {} of {}", cores.join(" and "), context.machine)));
        lines.iter().map(|(name, value)| format!("{name:<14} {value}\n")).collect::<Vec<_>>().concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_has_the_agreed_names() {
        let spread = Spread { min: 1.0, median: 2.0, p90: 3.0 };
        let measured = Measured {
            case: spread,
            calibration: spread,
            ratio: spread,
            windows: 1,
            totals: crate::measure::Totals::default(),
        };
        let report = Report::new("calibration", 64, Variant::default(), &measured, &Facts::default());
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
        let again: Report = serde_json::from_str(&json).unwrap();
        assert_eq!((again.variant, again.windows), (report.variant, 1));
    }

    #[test]
    fn only_what_is_unusual_is_told() {
        assert_eq!(Variant::default().words(), "");
        let variant = Variant { workers: 2, threads: true, mixed: true, limited: 7, ..Variant::default() };
        assert_eq!(variant.words(), "7 restricted, 2 cores, any worker");
    }
}
