//! Which plots show a trial, its delays and a search, and plotters' SVG of them.

use super::data::RunReport;
use crate::latency::Latency;
use crate::mode::{Findings, throughput};
use crate::search::{SEARCH, offered};
use crate::trial::{Counts, Trial};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use std::ops::Range;

/// Width and height of the picture.
const SIZE: (u32, u32) = (760, 320);
/// What stands for no loss on a logarithmic axis, in percent.
const NO_LOSS_PERCENT: f64 = 1e-6;
/// Percentiles beyond this are drawn here.
const PERCENTILE_MAX: f64 = 99.999;

/// How values lie along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    Linear,
    Log,
    /// By the number of nines.
    Percentile,
}

/// An axis: the values at its ends, and those of its ticks.
struct Axis {
    scale: Scale,
    range: Range<f64>,
    ticks: Vec<f64>,
}

impl Axis {
    /// One that has room for these values.
    fn of(scale: Scale, values: impl Iterator<Item = f64>) -> Self {
        let shown = values.filter(|value| value.is_finite() && (scale != Scale::Log || *value > 0.0));
        let (least, most) =
            shown.fold((f64::MAX, 0.0), |(a, b), value| (f64::min(a, value), f64::max(b, value)));
        let range = match scale {
            Scale::Percentile => 0.0..PERCENTILE_MAX,
            Scale::Linear => 0.0..if most > 0.0 { most * 1.05 } else { 1.0 },
            Scale::Log if most > 0.0 => least / 1.2..most * 1.2,
            Scale::Log => 1.0..10.0,
        };
        let ticks = match scale {
            Scale::Linear => RangedCoordf64::from(range.clone()).key_points(6),
            Scale::Log => LogCoord::from(range.clone().log_scale()).key_points(8),
            Scale::Percentile => vec![0.0, 50.0, 90.0, 99.0, 99.9, 99.99, PERCENTILE_MAX],
        };
        Self { scale, range, ticks }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let place = |value: f64| match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(self.range.start).log10(),
            Scale::Percentile => -(1.0 - value.clamp(0.0, PERCENTILE_MAX) / 100.0).log10(),
        };
        let (low, high) = (place(self.range.start), place(self.range.end));
        from + ((place(*value) - low) / (high - low) * f64::from(to - from)) as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        label(*value)
    }
}

/// A line, or points.
struct Series {
    name: String,
    points: Option<u32>,
    data: Vec<(f64, f64)>,
}

/// A line through these points.
fn line(name: impl Into<String>, data: Vec<(f64, f64)>) -> Series {
    Series { name: name.into(), points: None, data }
}

/// A picture: its title, axes with their names, and what is drawn.
pub(super) struct Plot {
    pub title: String,
    x: (&'static str, Scale),
    y: (&'static str, Scale),
    series: Vec<Series>,
}

/// A number on an axis.
fn label(value: f64) -> String {
    let (number, suffix) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        size if size < 1e-9 => return "0".to_owned(),
        size if size < 1e-3 => return format!("{value:.0e}"),
        _ => (value, ""),
    };
    let text = format!("{number:.3}");
    format!("{}{suffix}", text.trim_end_matches('0').trim_end_matches('.'))
}

impl Plot {
    /// The picture as an SVG element.
    pub(super) fn svg(&self) -> String {
        let mut svg = String::new();
        let drawn = self.draw(&SVGBackend::with_string(&mut svg, SIZE).into_drawing_area());
        // Within a page an SVG element needs no name space, and the page names nothing outside itself.
        drawn.map_or_else(|error| error, |()| svg.replacen(" xmlns=\"http://www.w3.org/2000/svg\"", "", 1))
    }

    fn draw(&self, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), String> {
        let failed = |error: DrawingAreaErrorKind<std::io::Error>| error.to_string();
        let all = || self.series.iter().flat_map(|series| &series.data);
        let across = Axis::of(self.x.1, all().map(|point| point.0));
        let up = Axis::of(self.y.1, all().map(|point| point.1));
        area.fill(&WHITE).map_err(failed)?;
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(64)
            .build_cartesian_2d(across, up)
            .map_err(failed)?;
        let mut mesh = chart.configure_mesh();
        mesh.x_desc(self.x.0).y_desc(self.y.0).light_line_style(TRANSPARENT).draw().map_err(failed)?;
        for (number, series) in self.series.iter().enumerate() {
            let colour = Palette99::pick(number).to_rgba();
            let points = series.data.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite());
            let drawn = match series.points {
                Some(size) => {
                    chart.draw_series(points.map(|place| Circle::new(place, size, colour.filled())))
                }
                None => chart.draw_series(LineSeries::new(points, &colour)),
            };
            let drawn = drawn.map_err(failed)?.label(&series.name);
            drawn.legend(move |(x, y)| Rectangle::new([(x, y - 2), (x + 16, y + 2)], colour.filled()));
        }
        if self.series.len() > 1 {
            let mut legend = chart.configure_series_labels();
            legend.background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.3)).draw().map_err(failed)?;
        }
        area.present().map_err(failed)
    }
}

/// The plots of a report, by mode.
pub(super) fn of(report: &RunReport) -> Vec<Plot> {
    match &report.ended.findings {
        Findings::Rate(trial) => {
            let Some(trial) = trial else { return Vec::new() };
            let delays = trial.latency_us.iter().map(|latency| ("all streams".to_owned(), latency));
            over_time(trial, "").into_iter().chain(by_percentile(delays)).collect()
        }
        Findings::Throughput(findings) => {
            let name = findings.latency_of.as_ref().map_or("", |(name, _)| name.as_str());
            let curves = findings.latency.iter();
            let curves = curves
                .filter_map(|at| Some((format!("{} % of {name}", at.percent), at.latency_us.as_ref()?)));
            search(findings, &report.trials).into_iter().chain(by_percentile(curves)).collect()
        }
        Findings::Ladder(_) => Vec::new(),
        Findings::Reconfig(findings) => {
            let rounds = findings.rounds.iter().enumerate();
            rounds
                .flat_map(|(number, round)| over_time(&round.trial, &format!(", round {}", number + 1)))
                .collect()
        }
    }
}

/// What was sent and received, and what was missing, over time.
fn over_time(trial: &Trial, of: &str) -> Vec<Plot> {
    if trial.intervals.len() < 2 {
        return Vec::new();
    }
    let rate = |count: fn(&Counts) -> u64| {
        let slices = trial.intervals.iter().filter(|slice| slice.length_s > 0.0);
        slices.map(|slice| (slice.end_s, count(&slice.counts) as f64 / slice.length_s)).collect()
    };
    let mut missing = 0.0;
    let so_far = trial.intervals.iter().map(|slice| {
        missing += slice.counts.sent as f64 - slice.counts.received as f64;
        (slice.end_s, f64::max(missing, 0.0))
    });
    let plot = |title: &str, y, series| Plot {
        title: format!("{title}{of}"),
        x: ("seconds", Scale::Linear),
        y: (y, Scale::Linear),
        series,
    };
    vec![
        plot(
            "Rate over time",
            trial.unit.per_second(),
            vec![line("sent", rate(|counts| counts.sent)), line("received", rate(|counts| counts.received))],
        ),
        plot(
            "Sent and not received so far: under way or lost",
            trial.unit.name(),
            vec![line("missing", so_far.collect())],
        ),
    ]
}

/// Delays by percentile.
fn by_percentile<'a>(curves: impl Iterator<Item = (String, &'a Latency)>) -> Option<Plot> {
    let series: Vec<Series> = curves.map(|(name, latency)| line(name, latency.percentiles.clone())).collect();
    (!series.is_empty()).then(|| Plot {
        title: "Delay by percentile".to_owned(),
        x: ("percentile", Scale::Percentile),
        y: ("µs", Scale::Log),
        series,
    })
}

/// How a search went: its loads in order, loss by load, and length of trials by load; by which goal each trial met.
fn search(findings: &throughput::Findings, trials: &[Trial]) -> Vec<Plot> {
    let searched: Vec<&Trial> = trials.iter().filter(|trial| trial.label == SEARCH).collect();
    if searched.is_empty() {
        return Vec::new();
    }
    let unit = findings.unit.per_second();
    let goals = findings.goals();
    let width = goals.iter().map(|result| result.goal.width).fold(1.0, f64::min);
    // As the search counts it: what could not be sent is lost, too.
    let loss = |trial: &Trial| {
        let all = offered(trial.asked_per_second, trial.counts.sent, trial.seconds, width);
        if all {
            trial.counts.loss_ratio()
        } else {
            1.0 - (1.0 - trial.counts.loss_ratio()) * trial.reached()
        }
    };
    let strictest = |trial: &Trial| {
        goals.iter().position(|result| loss(trial) <= result.goal.loss_ratio).unwrap_or(goals.len())
    };
    let load = |trial: &Trial| trial.asked_per_second.unwrap_or_else(|| trial.sent_per_second());
    let series = |point: &dyn Fn(usize, &Trial) -> (f64, f64)| -> Vec<Series> {
        let of = |goal: usize| {
            let met = searched.iter().enumerate().filter(|(_, trial)| strictest(trial) == goal);
            Series {
                name: goals
                    .get(goal)
                    .map_or("more lost".to_owned(), |result| format!("meets {}", result.goal.name)),
                points: Some(3),
                data: met.map(|(number, trial)| point(number, trial)).collect(),
            }
        };
        (0..=goals.len()).map(of).collect()
    };
    let mut in_order = series(&|number, trial| ((number + 1) as f64, load(trial)));
    for result in goals {
        if let Some(lower) = result.lower_per_second {
            let ends = vec![(1.0, lower), (searched.len() as f64, lower)];
            in_order.push(line(format!("{} found", result.goal.name), ends));
        }
    }
    let lost = series(&|_, trial| (load(trial), (loss(trial) * 100.0).max(NO_LOSS_PERCENT)));
    let longest = series(&|_, trial| (load(trial), trial.intended_seconds));
    let plot = |title: &str, x, y, series| Plot { title: title.to_owned(), x, y, series };
    let by_load = (unit, Scale::Log);
    vec![
        plot("Loads in the order in which they were tried", ("trial", Scale::Linear), by_load, in_order),
        plot("Loss by load (the bottom line is no loss)", by_load, ("loss, %", Scale::Log), lost),
        plot("Length of trials by load", by_load, ("seconds", Scale::Linear), longest),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_points_give_finite_places() {
        let cases = [
            vec![],
            vec![(0.0, 0.0)],
            vec![(1.0, 0.0), (2.0, f64::NAN), (f64::INFINITY, 3.0)],
            vec![(1.0, 1e-9), (2.0, 1e12)],
            vec![(5.0, 7.0), (5.0, 7.0)],
        ];
        for points in cases {
            for scale in [Scale::Linear, Scale::Log, Scale::Percentile] {
                let series = vec![line("s & t", points.clone()), line("", Vec::new())];
                let plot =
                    Plot { title: String::new(), x: ("x < 1", Scale::Linear), y: ("y", scale), series };
                let svg = plot.svg();
                assert!(svg.starts_with("<svg") && svg.contains("x &lt; 1"), "{scale:?} {points:?}: {svg}");
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{scale:?} {points:?}: {svg}");
            }
        }
    }

    #[test]
    fn ticks_are_round_and_few() {
        for high in [0.001, 1.0, 7.3, 480.0, 14_880_952.0] {
            let ticks = Axis::of(Scale::Linear, [0.0, high].into_iter()).ticks;
            assert!((3..=12).contains(&ticks.len()), "{high}: {ticks:?}");
        }
        assert_eq!(
            (label(14_880_952.0), label(0.0), label(2500.0)),
            ("14.881M".into(), "0".into(), "2500".into())
        );
        assert_eq!(label(1e-7), "1e-7");
    }
}
