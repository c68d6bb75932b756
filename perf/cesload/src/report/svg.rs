//! Plots as SVG that takes its colours from the page: one picture for light and dark.

use super::document::{Axis, Plot, Scale, Series, Style};
use super::html::escaped;
use std::fmt::Write;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 300.0;
/// Room for the labels of the axes.
const LEFT: f64 = 78.0;
const RIGHT: f64 = 28.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 46.0;
/// Colours of series in style.css: more series begin again.
const COLOURS: usize = 5;
/// Beyond this percentile a curve is about single packets.
const PERCENTILE_MAX: f64 = 99.999;

/// Labels within a power of ten.
const ROUND: [f64; 4] = [1.0, 2.0, 5.0, 10.0];

/// The power of ten at or below a value above zero.
fn decade(value: f64) -> f64 {
    10f64.powf(value.log10().floor())
}

/// Which colour the series with this index has.
pub fn colour(index: usize) -> usize {
    index % COLOURS
}

/// An axis with its values' range: from value to a place between 0 and 1.
struct Ruler {
    scale: Scale,
    low: f64,
    high: f64,
}

impl Ruler {
    fn of(axis: &Axis, values: impl Iterator<Item = f64>) -> Ruler {
        let values: Vec<f64> =
            values.filter(|value| value.is_finite() && (axis.scale != Scale::Log || *value > 0.0)).collect();
        let least = values.iter().copied().fold(f64::MAX, f64::min);
        let most = values.iter().copied().fold(f64::MIN, f64::max);
        let (low, high) = match axis.scale {
            _ if values.is_empty() => (0.0, 1.0),
            Scale::Linear => (0.0, if most > 0.0 { most * 1.05 } else { 1.0 }),
            // Round numbers around them, with room above the largest.
            Scale::Log => {
                let above = ROUND.iter().map(|round| round * decade(most)).find(|round| *round > most * 1.05);
                let below =
                    ROUND.iter().rev().map(|round| round * decade(least)).find(|round| *round <= least);
                (below.unwrap_or(decade(least)), above.unwrap_or(10.0 * decade(most)))
            }
            Scale::Percentile => (0.0, PERCENTILE_MAX),
        };
        let scale = if values.is_empty() { Scale::Linear } else { axis.scale };
        Ruler { scale, low, high: if high > low { high } else { low * 10.0 + 1.0 } }
    }

    /// Between 0 and 1.
    fn place(&self, value: f64) -> f64 {
        let stretched = |value: f64| match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(self.low).log10(),
            Scale::Percentile => -(1.0 - value.clamp(0.0, PERCENTILE_MAX) / 100.0).log10(),
        };
        let (low, high) = (stretched(self.low), stretched(self.high));
        ((stretched(value) - low) / (high - low)).clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                // 1, 2 or 5 times a power of ten, 4 to 9 of them.
                let raw = (self.high - self.low) / 5.0;
                let power = 10f64.powf(raw.log10().floor());
                let step = power * ROUND.into_iter().find(|factor| power * factor >= raw).unwrap_or(10.0);
                (0..=9)
                    .map(|number| self.low + step * f64::from(number))
                    .take_while(|tick| *tick <= self.high)
                    .collect()
            }
            Scale::Log => {
                let (low, high) = (self.low.log10().floor() as i32, self.high.log10().floor() as i32);
                // Over few decades 1, 2 and 5 of each; over many at most 8 labels.
                let rounds = if high - low <= 2 { &ROUND[..3] } else { &ROUND[..1] };
                let decades = (low..=high).step_by(((high - low) / 8 + 1) as usize);
                let all = decades.flat_map(|power| rounds.iter().map(move |round| round * 10f64.powi(power)));
                // A little room for what powers of ten are not exactly.
                all.filter(|tick| (self.low * 0.999..=self.high * 1.001).contains(tick)).collect()
            }
            Scale::Percentile => vec![0.0, 50.0, 90.0, 99.0, 99.9, 99.99, PERCENTILE_MAX],
        }
    }
}

/// A value at an axis: short.
fn label(value: f64) -> String {
    let size = value.abs();
    let (number, suffix) = match size {
        _ if size >= 1e9 => (value / 1e9, "G"),
        _ if size >= 1e6 => (value / 1e6, "M"),
        _ if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    if number != 0.0 && number.abs() < 1e-3 {
        return format!("{number:.0e}");
    }
    let text = format!("{number:.3}");
    format!("{}{suffix}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// The picture.
pub fn drawn(plot: &Plot) -> String {
    let all = || plot.series.iter().flat_map(|series| series.points.iter());
    let x = Ruler::of(&plot.x, all().map(|point| point.0));
    let y = Ruler::of(&plot.y, all().map(|point| point.1));
    let across = |value: f64| LEFT + x.place(value) * (WIDTH - LEFT - RIGHT);
    let down = |value: f64| HEIGHT - BOTTOM - y.place(value) * (HEIGHT - TOP - BOTTOM);

    let mut svg = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        svg,
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        escaped(&plot.title)
    );
    for tick in y.ticks() {
        let at = down(tick);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0,
            label(tick)
        );
    }
    for tick in x.ticks() {
        let at = across(tick);
        let (top, bottom) = (TOP, HEIGHT - BOTTOM);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>\
             <text class=\"tick\" x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            bottom + 16.0,
            label(tick)
        );
    }
    let _ = write!(
        svg,
        "<text class=\"axis\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\
         <text class=\"axis\" transform=\"translate(14 {}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        LEFT.midpoint(WIDTH - RIGHT),
        HEIGHT - 10.0,
        escaped(&plot.x.title),
        TOP.midpoint(HEIGHT - BOTTOM),
        escaped(&plot.y.title)
    );
    for (index, series) in plot.series.iter().enumerate() {
        draw_series(&mut svg, series, colour(index), &across, &down);
    }
    svg.push_str("</svg>");
    svg
}

fn draw_series(
    svg: &mut String,
    series: &Series,
    colour: usize,
    across: &dyn Fn(f64) -> f64,
    down: &dyn Fn(f64) -> f64,
) {
    let points = || series.points.iter().filter(|(x, y)| x.is_finite() && y.is_finite());
    if series.style == Style::Points {
        for &(x, y) in points() {
            let _ = write!(
                svg,
                "<circle class=\"c{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\"><title>{}: {}, {}</title></circle>",
                across(x),
                down(y),
                escaped(&series.name),
                label(x),
                label(y)
            );
        }
        return;
    }
    let dashed = if series.style == Style::Dashed { " dashed" } else { "" };
    let _ = write!(svg, "<polyline class=\"s{colour}{dashed}\" points=\"");
    for &(x, y) in points() {
        let _ = write!(svg, "{:.1},{:.1} ", across(x), down(y));
    }
    svg.push_str("\"/>");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(scale: Scale, points: Vec<(f64, f64)>) -> Plot {
        Plot {
            title: "a < b".to_owned(),
            x: Axis::new("x", Scale::Linear),
            y: Axis::new("y & z", scale),
            series: vec![Series { name: "s".to_owned(), style: Style::Line, points }],
        }
    }

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
                let svg = drawn(&plot(scale, points.clone()));
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{scale:?} {points:?}: {svg}");
            }
        }
    }

    #[test]
    fn titles_are_escaped() {
        let svg = drawn(&plot(Scale::Log, vec![(1.0, 1.0)]));
        assert!(svg.contains("a &lt; b") && svg.contains("y &amp; z"));
    }

    #[test]
    fn ticks_are_round_and_few() {
        for high in [0.001, 1.0, 7.3, 480.0, 14_880_952.0] {
            let ticks = Ruler { scale: Scale::Linear, low: 0.0, high }.ticks();
            assert!((3..=10).contains(&ticks.len()), "{high}: {ticks:?}");
        }
        assert_eq!(
            (label(14_880_952.0), label(0.0), label(2500.0)),
            ("14.881M".into(), "0".into(), "2500".into())
        );
        assert_eq!(label(1e-7), "1e-7");
    }
}
