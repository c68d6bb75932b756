//! What dnsperf says at its end, as a figure.

use crate::figure::Figure;
use crate::gateways::{Gateway, Spent};
use std::collections::BTreeMap;
use std::process::Command;

/// Runs dnsperf, and says what came of it.
pub fn run(case: &str, arguments: &[String], gateways: &[Gateway]) -> Result<Figure, String> {
    let before = Spent::read(gateways)?;
    let output =
        Command::new("dnsperf").args(arguments).output().map_err(|error| format!("dnsperf: {error}"))?;
    let after = Spent::read(gateways)?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("dnsperf: {}: {}", output.status, said.trim()));
    }
    let outstanding = arguments.iter().position(|argument| argument == "-q");
    let outstanding =
        outstanding.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(DEFAULT_OUTSTANDING);
    let mut figure = parse(case, outstanding, &text)?;
    figure.control_us = after.time_us(&before, figure.completed);
    Ok(figure)
}

/// What dnsperf keeps under way without `-q`.
const DEFAULT_OUTSTANDING: u32 = 100;

/// Reads the statistics at the end of its output.
fn parse(case: &str, outstanding: u32, text: &str) -> Result<Figure, String> {
    let line = |label: &str| {
        let found = text.lines().find_map(|line| line.trim().strip_prefix(label));
        found.map(str::trim).ok_or_else(|| format!("dnsperf: its output has no line {label:?}: {text}"))
    };
    let number = |label: &str| {
        let value = line(label)?;
        let word = value.split_whitespace().next().unwrap_or_default();
        word.parse::<f64>().map_err(|_| format!("dnsperf: {label} {value:?}: a number was expected"))
    };
    let mut failed = BTreeMap::new();
    let mut completed = 0;
    // "NOERROR 42 (97.67%), NXDOMAIN 1 (2.33%)"; empty if nothing was answered.
    for code in line("Response codes:").unwrap_or_default().split(',') {
        let mut words = code.split_whitespace();
        let (Some(name), Some(Ok(count))) = (words.next(), words.next().map(str::parse::<u64>)) else {
            continue;
        };
        if name == "NOERROR" {
            completed = count;
        } else {
            failed.insert(name.to_owned(), count);
        }
    }
    let lost = number("Queries lost:")? as u64;
    if lost > 0 {
        failed.insert("unanswered".to_owned(), lost);
    }
    let mut figure = Figure::new(case, outstanding, number("Run time (s):")?, completed, failed);
    figure.average_us = Some((number("Average Latency (s):")? * 1e6).round()).filter(|_| completed > 0);
    Ok(figure)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
Statistics:

  Queries sent:         100001
  Queries completed:    100000 (100.00%)
  Queries lost:         1 (0.00%)

  Response codes:       NOERROR 99000 (99.00%), NXDOMAIN 1000 (1.00%)
  Average packet size:  request 31, response 47
  Run time (s):         2.000000
  Queries per second:   50000.000000

  Average Latency (s):  0.001982 (min 0.000033, max 0.021000)
  Latency StdDev (s):   0.000433
";

    #[test]
    fn the_statistics_become_a_figure() {
        let figure = parse("forwarded", 16, TEXT).unwrap();
        assert_eq!(
            (figure.completed, figure.per_second, figure.average_us),
            (99_000, 49_500.0, Some(1982.0))
        );
        assert_eq!(figure.failed, BTreeMap::from([("NXDOMAIN".into(), 1000), ("unanswered".into(), 1)]));
    }

    #[test]
    fn output_without_statistics_is_an_error() {
        assert!(
            parse("forwarded", 16, "Error: input file contains no data")
                .unwrap_err()
                .contains("Queries lost")
        );
    }
}
