//! The Prometheus text format, as far as the tests need it: every sample by name and labels.

use std::collections::{BTreeMap, BTreeSet};

/// One scrape.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
    families: BTreeSet<String>,
}

impl Metrics {
    /// Parses a whole page; an error names the line that is not in the format.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut metrics = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(comment) = line.strip_prefix("# TYPE ") {
                metrics.families.insert(comment.split(' ').next().unwrap_or_default().to_owned());
            } else if !line.starts_with('#') {
                metrics.samples.push(sample(line).ok_or_else(|| format!("not a sample: {line}"))?);
            }
        }
        Ok(metrics)
    }

    /// The names of all families.
    pub fn families(&self) -> &BTreeSet<String> {
        &self.families
    }

    /// The sum over all samples of this name whose labels include these.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.samples
            .iter()
            .filter(|(sample, has, _)| {
                sample == name && labels.iter().all(|(key, value)| has.get(*key).is_some_and(|v| v == value))
            })
            .map(|(_, _, value)| value)
            .sum()
    }

    /// Whether any sample of this name has these labels.
    pub fn has(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.samples.iter().any(|(sample, has, _)| {
            sample == name && labels.iter().all(|(key, value)| has.get(*key).is_some_and(|v| v == value))
        })
    }
}

fn sample(line: &str) -> Option<(String, BTreeMap<String, String>, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        "NaN" => f64::NAN,
        number => number.parse().ok()?,
    };
    let Some((name, labels)) = series.split_once('{') else {
        return Some((series.to_owned(), BTreeMap::new(), value));
    };
    let mut rest = labels.strip_suffix('}')?;
    let mut map = BTreeMap::new();
    while !rest.is_empty() {
        let (key, after) = rest.split_once("=\"")?;
        let end = closing_quote(after)?;
        map.insert(
            key.to_owned(),
            after[..end].replace("\\\"", "\"").replace("\\n", "\n").replace("\\\\", "\\"),
        );
        rest = after[end + 1..].trim_start_matches(',');
    }
    Some((name.to_owned(), map, value))
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match character {
            '"' if !escaped => return Some(at),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_name_and_labels() {
        let page = "# HELP x a\n# TYPE x counter\nx{port=\"in\",direction=\"rx\"} 3\nx{port=\"out\",direction=\"rx\"} 4\ny 1.5\n";
        let metrics = Metrics::parse(page).unwrap();
        assert!((metrics.sum("x", &[("direction", "rx")]) - 7.0).abs() < f64::EPSILON);
        assert!((metrics.sum("x", &[("port", "out")]) - 4.0).abs() < f64::EPSILON);
        assert!(metrics.has("y", &[]) && !metrics.has("x", &[("port", "mid")]));
        assert!(metrics.families().contains("x"));
    }

    #[test]
    fn a_line_that_is_no_sample_is_an_error() {
        assert!(Metrics::parse("x{port=\"in} 3").is_err());
        assert!(Metrics::parse("x three").is_err());
    }
}
