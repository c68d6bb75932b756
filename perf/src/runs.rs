//! Runs as they are kept: a directory with `bench.jsonl`, and what else was measured with it.

use crate::footprint::Item;
use crate::measure::Spread;
use crate::report::{Report, Variant};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What tells one case from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The case.
    pub case: String,
    /// What it was varied by.
    pub variant: Variant,
    /// Bindings.
    pub entries: u32,
    /// Packets in a burst.
    pub burst: usize,
}

impl Key {
    /// Of a report.
    pub fn of(report: &Report) -> Self {
        let Report { case, variant, entries, burst, .. } = report;
        Self { case: case.clone(), variant: variant.clone(), entries: *entries, burst: *burst }
    }

    /// What differs from the usual burst and variant, in words.
    pub fn words(&self) -> String {
        let burst = if self.burst == ces_dataplane::path::BURST {
            String::new()
        } else {
            format!("burst {}", self.burst)
        };
        let parts = [burst, self.variant.words()];
        parts.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(", ")
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.case)?;
        if self.entries > 1 {
            write!(f, " {}", thousands(self.entries))?;
        }
        let words = self.words();
        if words.is_empty() { Ok(()) } else { write!(f, " ({words})") }
    }
}

/// A number as people write it.
pub fn thousands(number: impl Into<u64>) -> String {
    let digits = number.into().to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A line of `negotiate.jsonl`, as far as it is compared.
#[derive(Clone, Debug, Deserialize)]
pub struct Negotiation {
    /// `h2h`, `engine` or `connected`.
    pub mode: String,
    /// `tls`, `tcp` or `none`.
    pub transport: String,
    /// Queries under way at a time.
    pub outstanding: u64,
    /// Round trips of a negotiation.
    pub round_trips: u8,
    /// Completed a second, by the clock.
    pub per_second: f64,
    /// Times from query to answer.
    pub answer_us: Option<Answer>,
    /// What the initiator spent.
    pub initiator: Spent,
    /// What the responder spent.
    pub responder: Option<Spent>,
    /// Bytes that both gateways keep for each session.
    pub bytes_per_session: Option<f64>,
}

/// Times from query to answer, in microseconds.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Answer {
    /// Half are not above it.
    pub p50: f64,
    /// 99 % are not above it.
    pub p99: f64,
}

/// What one side spent on a name.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Spent {
    /// Cycles.
    pub cycles: f64,
    /// Names a second that a whole core would complete.
    pub per_core_second: f64,
}

impl Negotiation {
    /// Which one it is, in words.
    pub fn words(&self) -> String {
        match self.mode.as_str() {
            "h2h" => format!(
                "H2H over {}, {} round trip{}, {} outstanding",
                self.transport.to_uppercase(),
                self.round_trips,
                if self.round_trips == 1 { "" } else { "s" },
                self.outstanding
            ),
            "engine" => format!("H2H engines alone, {} round trips", self.round_trips),
            _ => "answers for connected pairs".to_owned(),
        }
    }

    /// Names a second that a whole core would complete at the slower side.
    pub fn per_core_second(&self) -> f64 {
        let responder = self.responder.map_or(f64::INFINITY, |responder| responder.per_core_second);
        self.initiator.per_core_second.min(responder)
    }
}

/// A line of `control.jsonl`: two gateways in the lab, measured from outside (`perf/names`).
#[derive(Clone, Debug, Deserialize)]
pub struct Asked {
    /// The case, as perf/README.md explains it.
    pub case: String,
    /// Completed a second, by the clock.
    pub per_second: f64,
    /// From a host's query to its answer.
    pub answer_us: Option<Answer>,
    /// From a host's query to its first packet at the far host.
    pub across_us: Option<Answer>,
}

/// The measurements beside other programs: rows that are shown as they are.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Beside {
    /// By device and what it does.
    #[serde(default)]
    pub rows: Vec<BesideRow>,
}

/// One of them.
#[derive(Clone, Debug, Deserialize)]
pub struct BesideRow {
    /// Device and what it does.
    pub what: String,
    /// Of the value.
    pub unit: String,
    /// Over the repeats.
    pub value: Option<Spread>,
    /// To what the row is compared with.
    pub ratio: Option<Spread>,
    /// What a reader must know.
    pub note: Option<String>,
}

/// A run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Its directory's name.
    pub name: String,
    /// The commit that it was made on.
    pub commit: String,
    /// The machine, field by field; empty in older runs.
    pub machine: BTreeMap<String, serde_json::Value>,
    /// The cases, in the order of the run.
    pub cases: Vec<Report>,
    /// The control plane.
    pub negotiations: Vec<Negotiation>,
    /// The control plane from outside.
    pub asked: Vec<Asked>,
    /// Instructions per packet by case.
    pub instructions: BTreeMap<String, f64>,
    /// Bytes of one of each thing.
    pub footprint: Vec<Item>,
    /// Beside other programs.
    pub beside: Beside,
}

impl Run {
    /// Reads one. Only `bench.jsonl` must be there.
    pub fn read(directory: &Path) -> Result<Self, String> {
        let text = |name: &str| fs::read_to_string(directory.join(name)).ok();
        let at = |name: &str| directory.join(name).display().to_string();
        let Some(bench) = text("bench.jsonl") else {
            return Err(format!("{} is not there: is {} a run?", at("bench.jsonl"), directory.display()));
        };
        Ok(Self {
            name: directory.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            commit: text("commit").unwrap_or_default().trim().to_owned(),
            machine: object(directory, "machine.json")?,
            cases: lines(&bench, &at("bench.jsonl"))?,
            negotiations: lines(&text("negotiate.jsonl").unwrap_or_default(), &at("negotiate.jsonl"))?,
            asked: lines(&text("control.jsonl").unwrap_or_default(), &at("control.jsonl"))?,
            instructions: instructions(&text("callgrind.txt").unwrap_or_default()),
            footprint: lines(&text("footprint.jsonl").unwrap_or_default(), &at("footprint.jsonl"))?,
            beside: object(directory, "beside.json")?,
        })
    }

    /// The first case with this name, these bindings, bursts of the usual size, and this variant.
    pub fn find(&self, case: &str, entries: u32, variant: &Variant) -> Option<&Report> {
        self.cases.iter().find(|report| {
            report.case == case
                && report.entries == entries
                && report.burst == ces_dataplane::path::BURST
                && report.variant == *variant
        })
    }
}

/// The object in a file; nothing if the file is not there.
fn object<T: DeserializeOwned + Default>(directory: &Path, name: &str) -> Result<T, String> {
    let place = directory.join(name);
    match fs::read_to_string(&place) {
        Ok(text) => serde_json::from_str(&text).map_err(|error| format!("{}: {error}", place.display())),
        Err(_) => Ok(T::default()),
    }
}

/// One object a line.
fn lines<T: DeserializeOwned>(text: &str, place: &str) -> Result<Vec<T>, String> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(number, line)| {
            serde_json::from_str(line).map_err(|error| format!("{place}, line {}: {error}", number + 1))
        })
        .collect()
}

/// What `perf/callgrind` prints: case, packets, instructions per packet.
pub fn instructions(text: &str) -> BTreeMap<String, f64> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (case, packets, each) = (words.next()?, words.next()?, words.next()?);
            packets.parse::<u64>().ok()?;
            Some((case.to_owned(), each.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"{"case":"ces-egress","entries":10000,"burst":64,"page_size":4096,"cycles_per_packet":{"min":64.1,"median":64.5,"p90":65.4},"ratio_to_calibration":{"min":2.827,"median":2.859,"p90":2.881},"bytes_per_entry":39.7,"allocations_per_packet":0.0}"#;

    #[test]
    fn old_runs_stay_readable() {
        let cases: Vec<Report> = lines(OLD, "here").unwrap();
        assert_eq!(cases[0].variant, Variant::default());
        assert_eq!(Key::of(&cases[0]).to_string(), "ces-egress 10,000");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("runs");
        let mut read = 0;
        for directory in fs::read_dir(root).unwrap() {
            let run = Run::read(&directory.unwrap().path()).unwrap();
            assert!(!run.cases.is_empty() && !run.commit.is_empty(), "{}", run.name);
            read += 1;
        }
        assert!(read >= 2);
    }

    #[test]
    fn a_broken_line_is_named() {
        let error = lines::<Report>(&format!("{OLD}\n\n{{\"case\":3}}\n"), "runs/x/bench.jsonl").unwrap_err();
        assert!(error.starts_with("runs/x/bench.jsonl, line 3: "), "{error}");
        assert!(Run::read(Path::new("/nowhere/run")).unwrap_err().contains("is /nowhere/run a run?"));
    }

    #[test]
    fn instructions_are_read_below_any_heading() {
        let text =
            "case packets instructions/packet\nces-egress      16384 506.8\nces-egress-worker 16384 607.1\n";
        let found = instructions(text);
        assert_eq!(found.len(), 2);
        assert!((found["ces-egress-worker"] - 607.1).abs() < 1e-9);
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([1u64, 999, 1000, 16_000_000].map(thousands), ["1", "999", "1,000", "16,000,000"]);
    }
}
