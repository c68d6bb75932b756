//! A figure: one case, what came out, as one line of JSON.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Nanoseconds up to which times are told apart, with three digits: a minute.
const TIME_MAX_NS: u64 = 60_000_000_000;

/// Times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// Half are not above it.
    pub p50: f64,
    /// 90 % are not above it.
    pub p90: f64,
    /// 99 % are not above it.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// Times as they are collected.
#[derive(Clone, Debug)]
pub struct Collected(Histogram<u64>);

impl Collected {
    /// None yet.
    pub fn new() -> Result<Self, String> {
        Histogram::new_with_bounds(1, TIME_MAX_NS, 3).map(Self).map_err(|error| error.to_string())
    }

    /// One more, in nanoseconds.
    pub fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns.max(1));
    }

    /// What they come to; `None` of nothing.
    pub fn times(&self) -> Option<Times> {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1000.0;
        (!self.0.is_empty()).then(|| Times {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: self.0.max() as f64 / 1000.0,
        })
    }
}

/// What one case came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Its name; [`crate::table`] knows them.
    pub case: String,
    /// Queries under way at a time.
    pub outstanding: u32,
    /// Seconds by the clock.
    pub seconds: f64,
    /// How many succeeded.
    pub completed: u64,
    /// How many did not, by reason.
    pub failed: BTreeMap<String, u64>,
    /// Completed a second, by the clock.
    pub per_second: f64,
    /// From a host's query to its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_us: Option<Times>,
    /// From a host's query to the arrival of its first packet at the far host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub across_us: Option<Times>,
    /// How often the very first packet did not arrive, and a later one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_lost: Option<u64>,
    /// The average, where the program that measured tells no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average_us: Option<f64>,
    /// Control-thread time of each gateway for each completed one, microseconds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub control_us: BTreeMap<String, f64>,
    /// By how much each gateway grew for each completed one, bytes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bytes: BTreeMap<String, f64>,
}

impl Figure {
    /// Without times.
    pub fn new(
        case: &str,
        outstanding: u32,
        seconds: f64,
        completed: u64,
        failed: BTreeMap<String, u64>,
    ) -> Self {
        Self {
            case: case.to_owned(),
            outstanding,
            seconds: (seconds * 1000.0).round() / 1000.0,
            completed,
            failed,
            per_second: (completed as f64 / seconds.max(1e-9)).round(),
            answer_us: None,
            across_us: None,
            first_lost: None,
            average_us: None,
            control_us: BTreeMap::new(),
            bytes: BTreeMap::new(),
        }
    }

    /// As a line of JSON.
    pub fn line(&self) -> Result<String, String> {
        serde_json::to_string(self).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_one_line_and_reads_back() {
        let mut figure = Figure::new("name-1", 1, 2.0, 10, BTreeMap::from([("NXDOMAIN".to_owned(), 1)]));
        let mut times = Collected::new().unwrap();
        assert!(times.times().is_none());
        times.record(1_500);
        figure.answer_us = times.times();
        let line = figure.line().unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Figure>(&line).unwrap(), figure);
        assert!(line.contains("\"per_second\":5.0"), "{line}");
    }
}
