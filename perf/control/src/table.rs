//! All figures as one table, beside what the Aalto implementation did.
//!
//! Its figures are of the reference implementation (Python), measured on a machine of the same kind with an error of some
//! ±25 %. Its negotiations had the data path stubbed out, except where the table says so; ours never have.

use crate::figure::{Figure, Times};
use std::fmt::Write;

/// A case: its name in the figures, what it is for a reader, and the reference implementation's result.
struct Row {
    case: &'static str,
    what: &'static str,
    reference: &'static str,
}

const fn row(case: &'static str, what: &'static str, reference: &'static str) -> Row {
    Row { case, what, reference }
}

/// The table's rows, in order.
const ROWS: &[Row] = &[
    row("first-started", "first packet, gateway just started", "answer 33 ms (TLS, C2C, H2H)"),
    row("first-cold", "first packet, no C2C, nothing cached", "answer 33 ms (TLS, C2C, H2H)"),
    row("first-new", "first packet, C2C up, new name and host", "answer 20 / 257 ms (with its data path)"),
    row("first-known", "first packet, name and host known", "answer 20 / 257 ms (with its data path)"),
    row("names-1-new", "names never asked for, one at a time", "28/s, 20 / 257 ms (with its data path)"),
    row("names-16-new", "names never asked for, 16 at a time", "-"),
    row("names-1", "negotiations, 1 round trip, one at a time", "187/s, 4.9 / 15 ms"),
    row("names-64", "negotiations, 1 round trip, 64 at a time", "432/s, 130 / 257 ms"),
    row("names-256", "negotiations, 1 round trip, 256 at a time", "-"),
    row("checked-1", "negotiations, 2 round trips, one at a time", "143/s, 6.2 / 22 ms"),
    row("checked-64", "negotiations, 2 round trips, 64 at a time", "316/s, 191 / 435 ms"),
    row("connected-1", "answers for connected pairs, one at a time", "1,514/s, 0.6 / 2 ms"),
    row("connected-16", "answers for connected pairs, 16 at a time", "1,995/s, 7.6 / 25 ms"),
    row("dnsperf-connected", "dnsperf: answers for connected pairs", "1,995/s"),
    row("dnsperf-new", "dnsperf: forwarded, every name new", "-"),
    row("dnsperf-forwarded", "dnsperf: forwarded, names seen before", "-"),
    row("dnsperf-published", "dnsperf: NAPTR, asked from outside", "-"),
    row("dnsperf-bind", "dnsperf: the same names of BIND itself", "-"),
];

/// What a case is, for a reader; its name if nothing is known of it.
pub fn what(case: &str) -> &str {
    ROWS.iter().find(|row| row.case == case).map_or(case, |row| row.what)
}

fn order(case: &str) -> usize {
    ROWS.iter().position(|row| row.case == case).unwrap_or(ROWS.len())
}

/// 1234567 as 1,234,567.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn ms(us: f64) -> String {
    if us < 9_950.0 { format!("{:.2}", us / 1000.0) } else { format!("{:.0}", us / 1000.0) }
}

fn quantiles(times: Option<&Times>) -> String {
    times.map_or_else(|| "-".to_owned(), |times| format!("{} / {}", ms(times.p50), ms(times.p99)))
}

/// Everything a reader wants to know, one line for each figure.
pub fn table(figures: &[Figure]) -> String {
    let mut figures: Vec<_> = figures.iter().collect();
    figures.sort_by_key(|figure| order(&figure.case));
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{:<43} {:>9} {:>13} {:>13} {:>13}  Aalto reference implementation",
        "", "a second", "answer ms", "across ms", "control us"
    );
    let _ = writeln!(
        text,
        "{:<43} {:>9} {:>13} {:>13} {:>13}  (Python, same kind of machine, ±25 %)",
        "", "", "p50 / p99", "p50 / p99", "a / b"
    );
    for figure in &figures {
        let answer = match (&figure.answer_us, figure.average_us) {
            (None, Some(average)) => format!("avg {}", ms(average)),
            (times, _) => quantiles(times.as_ref()),
        };
        let control: Vec<_> = figure.control_us.values().map(|us| format!("{us:.0}")).collect();
        let control = if control.is_empty() { "-".to_owned() } else { control.join(" / ") };
        let reference = ROWS.iter().find(|row| row.case == figure.case).map_or("-", |row| row.reference);
        let _ = writeln!(
            text,
            "{:<43} {:>9} {:>13} {:>13} {:>13}  {}",
            what(&figure.case),
            thousands(figure.per_second),
            answer,
            quantiles(figure.across_us.as_ref()),
            control,
            reference
        );
    }
    // A session's memory shows where there are many of them.
    if let Some(figure) =
        figures.iter().filter(|figure| !figure.bytes.is_empty()).max_by_key(|figure| figure.completed)
    {
        let bytes: Vec<_> =
            figure.bytes.iter().map(|(name, bytes)| format!("{name} {}", thousands(*bytes))).collect();
        let _ = writeln!(
            text,
            "bytes a session, resident, {} sessions: {}; Aalto: 18,000 at the initiator",
            thousands(figure.completed as f64),
            bytes.join(", ")
        );
    }
    for figure in &figures {
        let mut notes: Vec<_> =
            figure.failed.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        if let Some(lost) = figure.first_lost.filter(|lost| *lost > 0) {
            notes.push(format!("{lost} of {} first packets had to be sent again", figure.completed));
        }
        if !notes.is_empty() {
            let _ = writeln!(text, "{}: {}", what(&figure.case), notes.join(", "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_table_has_each_figure_in_order_beside_the_reference() {
        let mut first = Figure::new("names-64", 64, 1.0, 12_345, BTreeMap::from([("NXDOMAIN".into(), 2)]));
        first.answer_us = Some(Times { p50: 1500.0, p90: 2000.0, p99: 30_000.0, max: 40_000.0 });
        first.control_us = BTreeMap::from([("gwa".into(), 20.4), ("gwb".into(), 10.0)]);
        first.bytes = BTreeMap::from([("gwa".into(), 1600.0)]);
        let mut second = Figure::new("first-new", 1, 1.0, 100, BTreeMap::new());
        second.first_lost = Some(3);
        let unknown = Figure::new("else", 1, 1.0, 1, BTreeMap::new());
        let text = table(&[unknown, first, second]);
        let at = |needle: &str| text.find(needle).unwrap_or_else(|| panic!("{needle} in {text}"));
        assert!(at("first packet, C2C up") < at("64 at a time") && at("64 at a time") < at("else"));
        at("12,345");
        at("1.50 / 30");
        at("20 / 10");
        at("432/s, 130 / 257 ms");
        at("3 of 100 first packets");
        at("2 NXDOMAIN");
        at("gwa 1,600");
    }
}
