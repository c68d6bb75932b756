//! Metric families out of plain numbers.
//!
//! What is counted lives in the workers and engines; a scrape takes snapshots and turns them into families here. So the
//! packet path knows no metrics library, and nothing is counted twice.

use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, Registry, TextEncoder};
use std::sync::{Arc, Mutex, PoisonError};

/// A set of families under construction.
#[derive(Debug, Default)]
pub struct Families {
    all: Vec<MetricFamily>,
}

/// One family, to which samples are added.
pub struct Samples<'a> {
    family: &'a mut MetricFamily,
}

fn labelled(labels: &[(&str, &str)]) -> Metric {
    Metric::from_label(
        labels
            .iter()
            .map(|(name, value)| {
                let mut pair = LabelPair::default();
                pair.set_name((*name).to_owned());
                pair.set_value((*value).to_owned());
                pair
            })
            .collect(),
    )
}

impl Families {
    fn family(&mut self, name: &str, help: &str, kind: MetricType) -> Samples<'_> {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        self.all.push(family);
        Samples { family: self.all.last_mut().expect("just pushed") }
    }

    /// A family of counters: their name ends in `_total`.
    pub fn counters(&mut self, name: &str, help: &str) -> Samples<'_> {
        debug_assert!(name.ends_with("_total"), "{name}");
        self.family(name, help, MetricType::COUNTER)
    }

    /// A family of gauges.
    pub fn gauges(&mut self, name: &str, help: &str) -> Samples<'_> {
        self.family(name, help, MetricType::GAUGE)
    }

    /// A family of histograms.
    pub fn histograms(&mut self, name: &str, help: &str) -> Samples<'_> {
        self.family(name, help, MetricType::HISTOGRAM)
    }

    /// Adds a family of one counter.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.counters(name, help).count(&[], value);
    }

    /// Adds a family of one gauge.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.gauges(name, help).level(&[], value);
    }
}

impl Samples<'_> {
    /// Adds a counter's value.
    pub fn count(&mut self, labels: &[(&str, &str)], value: u64) -> &mut Self {
        let mut counter = Counter::default();
        counter.set_value(value as f64);
        let mut metric = labelled(labels);
        metric.set_counter(counter);
        self.family.mut_metric().push(metric);
        self
    }

    /// Adds a gauge's value.
    pub fn level(&mut self, labels: &[(&str, &str)], value: f64) -> &mut Self {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        let mut metric = labelled(labels);
        metric.set_gauge(gauge);
        self.family.mut_metric().push(metric);
        self
    }

    /// Adds a histogram: upper bounds, samples in each bucket (not cumulative, one more than bounds), and their sum.
    pub fn distribution(
        &mut self,
        labels: &[(&str, &str)],
        bounds: &[f64],
        counts: &[u64],
        sum: f64,
    ) -> &mut Self {
        let mut cumulative = 0;
        let mut buckets = Vec::with_capacity(bounds.len());
        for (bound, count) in bounds.iter().zip(counts) {
            cumulative += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(cumulative);
            buckets.push(bucket);
        }
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets);
        histogram.set_sample_count(counts.iter().sum());
        histogram.set_sample_sum(sum);
        let mut metric = labelled(labels);
        metric.set_histogram(histogram);
        self.family.mut_metric().push(metric);
        self
    }
}

/// Our own registry: the snapshot that was taken for this scrape, and what the kernel knows of the process (`process_…`).
#[derive(Clone)]
pub struct MetricsPage {
    registry: Registry,
    snapshot: Snapshot,
}

#[derive(Clone, Default)]
struct Snapshot {
    families: Arc<Mutex<Vec<MetricFamily>>>,
    description: Vec<Desc>,
}

impl Collector for Snapshot {
    fn desc(&self) -> Vec<&Desc> {
        self.description.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        std::mem::take(&mut self.families.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl MetricsPage {
    /// A page without content.
    pub fn new() -> Result<Self, prometheus::Error> {
        let about = Desc::new(
            "ces".to_owned(),
            "Snapshots of cesd".to_owned(),
            Vec::new(),
            std::collections::HashMap::default(),
        )?;
        let snapshot = Snapshot { description: vec![about], ..Snapshot::default() };
        let registry = Registry::new();
        registry.register(Box::new(snapshot.clone()))?;
        registry.register(Box::new(ProcessCollector::for_self()))?;
        Ok(Self { registry, snapshot })
    }

    /// The text of these families.
    pub fn text(&self, families: Families) -> Result<Vec<u8>, prometheus::Error> {
        *self.snapshot.families.lock().unwrap_or_else(PoisonError::into_inner) = families.all;
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_come_out_in_the_text_format() {
        let mut families = Families::default();
        families
            .counters("ces_drops_total", "Packets dropped.")
            .count(&[("reason", "truncated")], 3)
            .count(&[("reason", "no_binding")], 0);
        families.gauge("ces_bindings", "Bindings.", 7.0);
        families.histograms("ces_time_seconds", "Time.").distribution(&[], &[0.1, 1.0], &[2, 1, 4], 9.5);
        let page = MetricsPage::new().unwrap();
        let text = String::from_utf8(page.text(families).unwrap()).unwrap();
        for line in [
            "# HELP ces_drops_total Packets dropped.",
            "# TYPE ces_drops_total counter",
            "ces_drops_total{reason=\"truncated\"} 3",
            "ces_drops_total{reason=\"no_binding\"} 0",
            "ces_bindings 7",
            "ces_time_seconds_bucket{le=\"0.1\"} 2",
            "ces_time_seconds_bucket{le=\"1\"} 3",
            "ces_time_seconds_bucket{le=\"+Inf\"} 7",
            "ces_time_seconds_sum 9.5",
            "ces_time_seconds_count 7",
        ] {
            assert!(text.lines().any(|own| own == line), "{line:?} is not in\n{text}");
        }
        assert!(text.contains("\nprocess_resident_memory_bytes "), "{text}");
        let again = String::from_utf8(page.text(Families::default()).unwrap()).unwrap();
        assert!(!again.contains("ces_"), "nothing is left of the last scrape: {again}");
    }
}
