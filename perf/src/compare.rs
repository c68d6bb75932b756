//! Two runs case by case: what differs by more than either run varies in itself.

use crate::measure::Spread;
use crate::report::Report;
use crate::runs::{Key, Run};

/// Calibrations that differ by more than this factor saw different packet memory (other pages, a busy machine): ratios to
/// them say little about each other.
const CALIBRATION_FACTOR: f64 = 1.25;

/// What a comparison says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every window of the second run is below every one of the first, 90 % of either taken.
    Faster,
    /// The windows of both overlap: there is no telling.
    Within,
    /// Every window of the second run is above every one of the first.
    Slower,
}

impl Outcome {
    /// Of two spreads: smallest to 90th of 100.
    pub fn of(first: &Spread, second: &Spread) -> Self {
        if second.p90 < first.min {
            Self::Faster
        } else if second.min > first.p90 {
            Self::Slower
        } else {
            Self::Within
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Faster => "faster",
            Self::Within => "within the spread",
            Self::Slower => "slower",
        }
    }
}

/// The calibration's median; of older runs, what the case's median is a multiple of.
fn calibration(report: &Report) -> f64 {
    report.calibration.map_or_else(
        || report.cycles_per_packet.median / report.ratio_to_calibration.median.max(f64::MIN_POSITIVE),
        |spread| spread.median,
    )
}

/// The comparison as text: a line for each case that both have, then what only one has.
pub fn text(first: &Run, second: &Run) -> String {
    let spread = |s: &Spread| format!("{:.1}/{:.1}", s.min, s.median);
    let mut lines = vec![
        format!("A  {} ({})", first.name, first.commit),
        format!("B  {} ({})", second.name, second.commit),
        format!(
            "{:<52} {:>13} {:>13} {:>8} {:>8} {:>7}",
            "cycles per packet, min/median", "A", "B", "ratio A", "ratio B", "B / A"
        ),
    ];
    let (mut only_first, mut incomparable) = (Vec::new(), false);
    let of = |run: &Run, key: &Key| run.cases.iter().find(|report| Key::of(report) == *key).cloned();
    for a in &first.cases {
        let key = Key::of(a);
        let Some(b) = of(second, &key) else {
            only_first.push(key.to_string());
            continue;
        };
        let (ra, rb) = (&a.ratio_to_calibration, &b.ratio_to_calibration);
        let factor = calibration(&b) / calibration(a).max(f64::MIN_POSITIVE);
        let alike = (1.0 / CALIBRATION_FACTOR..=CALIBRATION_FACTOR).contains(&factor);
        incomparable |= !alike;
        lines.push(format!(
            "{:<52} {:>13} {:>13} {:>8.3} {:>8.3} {:>7.3} {}",
            key.to_string(),
            spread(&a.cycles_per_packet),
            spread(&b.cycles_per_packet),
            ra.median,
            rb.median,
            rb.median / ra.median.max(f64::MIN_POSITIVE),
            if alike { Outcome::of(ra, rb).text() } else { "packets not alike *" }
        ));
    }
    for a in &first.negotiations {
        if let Some(b) = second.negotiations.iter().find(|b| b.words() == a.words()) {
            lines.push(format!(
                "{:<52} {:>13.0} {:>13.0} {:>8} {:>8} {:>7.3} names per core and second",
                a.words(),
                a.per_core_second(),
                b.per_core_second(),
                "",
                "",
                b.per_core_second() / a.per_core_second().max(f64::MIN_POSITIVE)
            ));
        }
    }
    for (case, a) in &first.instructions {
        if let Some(b) = second.instructions.get(case) {
            lines.push(format!(
                "{:<52} {a:>13.1} {b:>13.1} {:>8} {:>8} {:>7.3} instructions per packet",
                case,
                "",
                "",
                b / a
            ));
        }
    }
    let only_second: Vec<String> = second
        .cases
        .iter()
        .map(Key::of)
        .filter(|key| of(first, key).is_none())
        .map(|key| key.to_string())
        .collect();
    for (name, cases) in [("A", only_first), ("B", only_second)] {
        if !cases.is_empty() {
            lines.push(format!("only in {name}: {}", cases.join("; ")));
        }
    }
    if incomparable {
        lines.push(format!(
            "* the calibrations differ by more than {:.0} %, so packet memory was not alike: compare cycles instead, if at all",
            (CALIBRATION_FACTOR - 1.0) * 100.0
        ));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Variant;

    fn report(case: &str, ratio: f64, calibration: f64) -> Report {
        let spread = |median: f64| Spread { min: median * 0.99, median, p90: median * 1.01 };
        Report {
            case: case.to_owned(),
            entries: 10_000,
            burst: 64,
            page_size: 4096,
            cycles_per_packet: spread(ratio * calibration),
            ratio_to_calibration: spread(ratio),
            bytes_per_entry: 0.0,
            allocations_per_packet: 0.0,
            variant: Variant::default(),
            handed_over: 0.0,
            calibration: None,
            windows: 10,
            interrupted: crate::measure::Interrupted::default(),
        }
    }

    #[test]
    fn only_what_exceeds_both_spreads_is_a_difference() {
        let spread = |min, p90| Spread { min, median: f64::midpoint(min, p90), p90 };
        assert_eq!(Outcome::of(&spread(1.0, 1.2), &spread(1.1, 1.4)), Outcome::Within);
        assert_eq!(Outcome::of(&spread(1.0, 1.2), &spread(1.21, 1.4)), Outcome::Slower);
        assert_eq!(Outcome::of(&spread(1.0, 1.2), &spread(0.8, 0.99)), Outcome::Faster);
    }

    #[test]
    fn cases_are_matched_and_the_rest_is_named() {
        let run = |name: &str, cases| Run { name: name.to_owned(), cases, ..Run::default() };
        let first = run("one", vec![report("ces-egress", 2.0, 22.0), report("ces-local", 3.0, 22.0)]);
        let second = run("two", vec![report("ces-insert", 9.0, 22.0), report("ces-egress", 1.5, 22.0)]);
        let text = super::text(&first, &second);
        assert!(text.contains("0.750 faster\n"), "{text}");
        assert!(
            text.contains("only in A: ces-local 10,000\n") && text.contains("only in B: ces-insert"),
            "{text}"
        );
        assert!(!text.contains('*'));
        let busy = run("three", vec![report("ces-egress", 1.1, 90.0)]);
        assert!(super::text(&first, &busy).contains("packets not alike *"), "{text}");
    }
}
