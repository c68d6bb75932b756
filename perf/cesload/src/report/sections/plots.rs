//! Which plots show a trial, its delays and a search.

use super::super::document::{Axis, Plot, Scale, Series, Style};
use crate::mode::throughput;
use crate::record::{Latency, TrialRecord};
use crate::search::{SEARCH, offered};
use crate::trial::Unit;

/// A log axis has no zero: what lost nothing is drawn at the loss of one in a hundred million.
const NO_LOSS_PERCENT: f64 = 1e-6;

/// Rates, and what has not come back, over a trial's time.
pub fn over_time(trial: &TrialRecord) -> Vec<Plot> {
    if trial.intervals.len() < 2 {
        return Vec::new();
    }
    let rate = |count: fn(&crate::trial::Counts) -> u64| -> Vec<(f64, f64)> {
        let slices = trial.intervals.iter().filter(|slice| slice.length_s > 0.0);
        slices.map(|slice| (slice.end_s, count(&slice.counts) as f64 / slice.length_s)).collect()
    };
    let mut outstanding = 0.0;
    let missing = trial.intervals.iter().map(|slice| {
        outstanding += slice.counts.sent as f64 - slice.counts.received as f64;
        (slice.end_s, f64::max(outstanding, 0.0))
    });
    let what = match trial.unit {
        Unit::Packets => "packets",
        Unit::Sessions => "sessions",
    };
    let time = || Axis::new("seconds", Scale::Linear);
    vec![
        Plot {
            title: "Rate over time".to_owned(),
            x: time(),
            y: Axis::new(format!("{what}/s"), Scale::Linear),
            series: vec![
                Series { name: "sent".to_owned(), style: Style::Dashed, points: rate(|counts| counts.sent) },
                Series {
                    name: "received".to_owned(),
                    style: Style::Line,
                    points: rate(|counts| counts.received),
                },
            ],
        },
        Plot {
            title: "Sent and not received so far, over time: under way or lost".to_owned(),
            x: time(),
            y: Axis::new(what, Scale::Linear),
            series: vec![Series {
                name: "missing".to_owned(),
                style: Style::Line,
                points: missing.collect(),
            }],
        },
    ]
}

/// Delay by percentile, a curve for each.
pub fn delays<'a>(curves: impl Iterator<Item = (String, &'a Latency)>) -> Option<Plot> {
    let series: Vec<Series> = curves
        .map(|(name, latency)| Series { name, style: Style::Line, points: latency.percentiles.clone() })
        .collect();
    (!series.is_empty()).then(|| Plot {
        title: "Delay by percentile".to_owned(),
        x: Axis::new("percentile", Scale::Percentile),
        y: Axis::new("µs", Scale::Log),
        series,
    })
}

/// The loads in the order in which they were tried, and what was lost at them.
pub fn search(findings: &throughput::Findings, trials: &[TrialRecord]) -> Vec<Plot> {
    let searched: Vec<&TrialRecord> = trials.iter().filter(|trial| trial.label == SEARCH).collect();
    if searched.is_empty() {
        return Vec::new();
    }
    let unit = match findings.unit {
        Unit::Packets => "packets/s",
        Unit::Sessions => "sessions/s",
    };
    let allowed: Vec<(String, f64)> =
        findings.goals().iter().map(|result| (result.goal.name.clone(), result.goal.loss_ratio)).collect();
    let width = findings.goals().iter().map(|result| result.goal.width).fold(1.0, f64::min);
    // What could not be sent counts as lost, as in the search itself.
    let loss = |trial: &TrialRecord| {
        if offered(trial.asked_per_second, trial.counts.sent, trial.seconds, width) {
            trial.loss_ratio
        } else {
            1.0 - (1.0 - trial.loss_ratio) * trial.reached
        }
    };
    let strictest = |trial: &TrialRecord| {
        let mut met = allowed.iter().filter(|(_, ratio)| loss(trial) <= *ratio);
        met.next().map_or("more lost".to_owned(), |(name, _)| format!("meets {name}"))
    };
    let mut kinds: Vec<String> = allowed.iter().map(|(name, _)| format!("meets {name}")).collect();
    kinds.push("more lost".to_owned());
    let kind = |name: &String, point: &dyn Fn(usize, &TrialRecord) -> (f64, f64)| Series {
        name: name.clone(),
        style: Style::Points,
        points: searched
            .iter()
            .enumerate()
            .filter(|(_, trial)| strictest(trial) == *name)
            .map(|(number, trial)| point(number, trial))
            .collect(),
    };
    let load = |trial: &TrialRecord| trial.asked_per_second.unwrap_or(trial.sent_per_second);
    let series = |point: &dyn Fn(usize, &TrialRecord) -> (f64, f64)| -> Vec<Series> {
        kinds.iter().map(|name| kind(name, point)).collect()
    };
    let mut in_order = series(&|number, trial| ((number + 1) as f64, load(trial)));
    for result in findings.goals() {
        if let Some(lower) = result.lower_per_second {
            let points = vec![(1.0, lower), (searched.len() as f64, lower)];
            in_order.push(Series {
                name: format!("{} found", result.goal.name),
                style: Style::Dashed,
                points,
            });
        }
    }
    let lost = series(&|_, trial| (load(trial), (loss(trial) * 100.0).max(NO_LOSS_PERCENT)));
    let longest = series(&|_, trial| (load(trial), trial.intended_seconds));
    vec![
        Plot {
            title: "Loads in the order in which they were tried".to_owned(),
            x: Axis::new("trial", Scale::Linear),
            y: Axis::new(unit, Scale::Log),
            series: in_order,
        },
        Plot {
            title: "Loss by load (the bottom line is no loss)".to_owned(),
            x: Axis::new(unit, Scale::Log),
            y: Axis::new("loss, %", Scale::Log),
            series: lost,
        },
        Plot {
            title: "Length of trials by load".to_owned(),
            x: Axis::new(unit, Scale::Log),
            y: Axis::new("seconds", Scale::Linear),
            series: longest,
        },
    ]
}
