//! The gate: instructions per packet against what is committed in `perf/instructions.toml`.
//!
//! Callgrind counts the same instructions for the same program whatever the machine does beside, so a change in the count is a
//! change in the program. Another compiler makes another program: with one, only differences beyond a wider limit count.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is committed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// The compiler that the numbers are of: what `rustc --version` says.
    pub rustc: String,
    /// The processor that it compiled for.
    pub target_cpu: String,
    /// By how many percent more a case may take.
    pub tolerance_percent: f64,
    /// The same with another compiler.
    pub tolerance_other_percent: f64,
    /// Instructions per packet by case.
    pub instructions: BTreeMap<String, f64>,
}

/// What stands above the numbers.
const HEADING: &str = "\
# Instructions per packet of each case, as perf/callgrind counts them. `perf/callgrind --check` compares with them, and
# `perf/callgrind --update` writes them anew: do that in the commit that moves them on purpose.
";

/// What became of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Within the tolerance.
    Same,
    /// Less by more than the tolerance: better, and not written down yet.
    Less,
    /// More by more than the tolerance.
    More,
    /// It has no number yet.
    New,
    /// It has a number and was not counted.
    Gone,
}

impl Outcome {
    /// Whether the gate stays shut.
    pub const fn fails(self) -> bool {
        matches!(self, Self::More | Self::New | Self::Gone)
    }

    fn text(self) -> &'static str {
        match self {
            Self::Same => "ok",
            Self::Less => "less: keep it with perf/callgrind --update",
            Self::More => "MORE",
            Self::New => "NEW: write it down with perf/callgrind --update",
            Self::Gone => "GONE: forget it with perf/callgrind --update",
        }
    }
}

/// A case.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its name.
    pub case: String,
    /// What is committed.
    pub before: Option<f64>,
    /// What was counted.
    pub now: Option<f64>,
    /// What that means.
    pub outcome: Outcome,
}

impl Baseline {
    /// From the file's text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let baseline: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        let tolerances = [baseline.tolerance_percent, baseline.tolerance_other_percent];
        if tolerances.iter().any(|tolerance| !(0.0..100.0).contains(tolerance)) {
            return Err("a tolerance is a number of percent from 0 to below 100".to_owned());
        }
        Ok(baseline)
    }

    /// The file's text.
    pub fn emit(&self) -> Result<String, String> {
        Ok(format!("{HEADING}{}", toml::to_string(self).map_err(|error| error.to_string())?))
    }

    /// The same with other numbers, of this compiler.
    pub fn updated(&self, counts: &BTreeMap<String, f64>, rustc: &str, target_cpu: &str) -> Self {
        Self {
            rustc: rustc.to_owned(),
            target_cpu: target_cpu.to_owned(),
            instructions: counts.clone(),
            ..self.clone()
        }
    }

    /// The tolerance in percent for numbers of this compiler.
    pub fn tolerance(&self, rustc: &str, target_cpu: &str) -> f64 {
        let same = self.rustc == rustc && self.target_cpu == target_cpu;
        if same { self.tolerance_percent } else { self.tolerance_other_percent }
    }

    /// Judges counts. If `all`, every case of the baseline should be among them.
    pub fn judge(&self, counts: &BTreeMap<String, f64>, tolerance_percent: f64, all: bool) -> Vec<Row> {
        let judged = counts.iter().map(|(case, &now)| {
            let before = self.instructions.get(case).copied();
            let outcome = match before {
                None => Outcome::New,
                Some(before) if now > before * (1.0 + tolerance_percent / 100.0) => Outcome::More,
                Some(before) if now < before * (1.0 - tolerance_percent / 100.0) => Outcome::Less,
                Some(_) => Outcome::Same,
            };
            Row { case: case.clone(), before, now: Some(now), outcome }
        });
        let gone = self.instructions.iter().filter(|(case, _)| all && !counts.contains_key(*case)).map(
            |(case, &before)| Row {
                case: case.clone(),
                before: Some(before),
                now: None,
                outcome: Outcome::Gone,
            },
        );
        judged.chain(gone).collect()
    }
}

/// The rows as a table, and what they were compared with.
pub fn text(baseline: &Baseline, rows: &[Row], rustc: &str, target_cpu: &str) -> String {
    let tolerance = baseline.tolerance(rustc, target_cpu);
    let mut text =
        vec![format!("{:<20} {:>9} {:>9} {:>8}\n", "instructions/packet", "committed", "now", "change")];
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"));
    for row in rows {
        let change = match (row.before, row.now) {
            (Some(before), Some(now)) => format!("{:+.1} %", (now / before - 1.0) * 100.0),
            _ => String::new(),
        };
        let (before, now) = (number(row.before), number(row.now));
        text.push(format!("{:<20} {before:>9} {now:>9} {change:>8}  {}\n", row.case, row.outcome.text()));
    }
    let here = format!("{rustc}, {target_cpu}");
    let there = format!("{}, {}", baseline.rustc, baseline.target_cpu);
    if here == there {
        text.push(format!("{here}; tolerance {tolerance} %\n"));
    } else {
        text.push(format!(
            "The committed numbers are of {there}, and this is {here}: tolerance {tolerance} % instead of {} %. With the new \
             compiler here to stay, run perf/callgrind --update.\n",
            baseline.tolerance_percent
        ));
    }
    text.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUSTC: &str = "rustc 1.95.0 (59807616e 2026-04-14)";

    fn baseline() -> Baseline {
        let instructions = [("ces-egress", 500.0), ("ces-ingress", 520.0)];
        Baseline {
            rustc: RUSTC.to_owned(),
            target_cpu: "x86-64".to_owned(),
            tolerance_percent: 2.0,
            tolerance_other_percent: 15.0,
            instructions: instructions.map(|(case, count)| (case.to_owned(), count)).into(),
        }
    }

    fn counts(egress: f64, ingress: f64) -> BTreeMap<String, f64> {
        [("ces-egress", egress), ("ces-ingress", ingress)]
            .map(|(case, count)| (case.to_owned(), count))
            .into()
    }

    fn outcomes(counts: &BTreeMap<String, f64>, rustc: &str) -> Vec<Outcome> {
        let baseline = baseline();
        let tolerance = baseline.tolerance(rustc, "x86-64");
        baseline.judge(counts, tolerance, true).iter().map(|row| row.outcome).collect()
    }

    #[test]
    fn more_than_the_tolerance_shuts_the_gate() {
        assert_eq!(outcomes(&counts(509.9, 520.0), RUSTC), [Outcome::Same, Outcome::Same]);
        assert_eq!(outcomes(&counts(510.2, 520.0), RUSTC), [Outcome::More, Outcome::Same]);
        assert_eq!(outcomes(&counts(400.0, 520.0), RUSTC), [Outcome::Less, Outcome::Same]);
        assert!(Outcome::More.fails() && !Outcome::Less.fails());
        assert_eq!(outcomes(&counts(510.2, 600.0), "rustc 1.99.0"), [Outcome::Same, Outcome::More]);
    }

    #[test]
    fn cases_without_their_number_shut_it_too() {
        let mut counts = counts(500.0, 520.0);
        counts.insert("ces-new".to_owned(), 1.0);
        counts.remove("ces-ingress");
        let found = outcomes(&counts, RUSTC);
        assert_eq!(found, [Outcome::Same, Outcome::New, Outcome::Gone]);
        assert!(Outcome::New.fails() && Outcome::Gone.fails());
        assert_eq!(baseline().judge(&counts, 2.0, false).len(), 2, "only some were counted");
    }

    #[test]
    fn file_comes_back_as_it_was_written() {
        let updated = baseline().updated(&counts(1.0, 2.0), "rustc 2", "native");
        let text = updated.emit().unwrap();
        assert!(text.starts_with("# Instructions"));
        assert_eq!(Baseline::parse(&text).unwrap(), updated);
        assert!(Baseline::parse("rustc = 3").is_err());
        let tampered = text.replace("tolerance_percent = 2.0", "tolerance_percent = 1000.0");
        assert!(Baseline::parse(&tampered).unwrap_err().contains("percent"));
    }

    #[test]
    fn table_says_of_which_compiler_the_numbers_are() {
        let baseline = baseline();
        let rows = baseline.judge(&counts(550.0, 520.0), 2.0, true);
        let same = text(&baseline, &rows, RUSTC, "x86-64");
        assert!(same.contains("+10.0 %  MORE") && same.contains("tolerance 2 %"), "{same}");
        let other = text(&baseline, &rows, "rustc 1.99.0", "x86-64");
        assert!(other.contains("of rustc 1.95.0") && other.contains("tolerance 15 %"), "{other}");
    }
}
