//! Several repeats of a figure: their middle and their ends, and ratios between what was measured in the same round.

use serde::Serialize;

/// Median, smallest and largest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Half are below.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of these; `None` of none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[half] } else { f64::midpoint(values[half - 1], values[half]) };
        Some(Self { median, min, max })
    }

    /// Of the ratios `value ÷ reference`, round by round: a machine that is slower for a while is so for both.
    pub fn of_ratios(values: &[Option<f64>], references: &[Option<f64>]) -> Option<Self> {
        let ratios = values.iter().zip(references).filter_map(|(value, reference)| {
            let (value, reference) = ((*value)?, (*reference)?);
            (reference > 0.0).then(|| value / reference)
        });
        Self::of(ratios)
    }

    /// As text: the median, and the ends in brackets.
    pub fn text(&self, decimals: usize) -> String {
        format!("{:.d$} ({:.d$}-{:.d$})", self.median, self.min, self.max, d = decimals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([1.0, 2.0]).unwrap().text(1), "1.5 (1.0-2.0)");
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let (slow, fast) =
            ([Some(1.0), Some(2.0), None, Some(9.0)], [Some(2.0), Some(4.0), Some(1.0), Some(0.0)]);
        assert_eq!(Spread::of_ratios(&slow, &fast), Some(Spread { median: 0.5, min: 0.5, max: 0.5 }));
        assert_eq!(Spread::of_ratios(&slow, &[None; 4]), None);
    }
}
