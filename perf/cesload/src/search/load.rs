//! What trials at one load say about it: bound or not (RFC 9971, Appendix A), and how much it forwards (Appendix B).

use super::goal::Target;
use crate::trial::Trial;
use std::collections::BTreeMap;

/// An intended load in thousandths a second: whole numbers, so that the same load is the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TriedLoad(u64);

impl TriedLoad {
    /// The nearest load; at least one thousandth a second.
    pub(super) fn per_second(per_second: f64) -> TriedLoad {
        TriedLoad(((per_second * 1000.0).round() as u64).max(1))
    }

    pub(super) fn as_per_second(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// `ln(self / lower)`: the distance that is halved.
    pub(super) fn log_above(self, lower: TriedLoad) -> f64 {
        (self.0 as f64 / lower.0 as f64).ln()
    }

    /// Moved by a distance as [`TriedLoad::log_above`] tells it; downwards if it is negative.
    pub(super) fn moved(self, log_distance: f64) -> TriedLoad {
        TriedLoad(((self.0 as f64 * log_distance.exp()).round() as u64).max(1))
    }

    /// The geometric middle.
    pub(super) fn middle(self, other: TriedLoad) -> TriedLoad {
        TriedLoad(((self.0 as f64).sqrt() * (other.0 as f64).sqrt()).round() as u64)
    }
}

/// Packets that may be missing at a trial's end whatever its rate: two bursts of 32, one that was not full yet and one under way.
const MISSING: f64 = 64.0;

/// Whether so much was sent as was asked for. The RFC asks for "severe deviation" between Intended and Offered Load to be told;
/// one of up to half of the goal's width is not: it moves the result by less than its resolution.
pub fn offered(asked_per_second: Option<f64>, sent: u64, seconds: f64, width: f64) -> bool {
    let Some(asked) = asked_per_second else { return true };
    let missing = asked * seconds - sent as f64;
    missing <= MISSING || missing <= asked * seconds * width / 2.0
}

/// What the search needs of a trial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tried {
    /// Its intended length in seconds.
    pub intended_s: f64,
    /// Trial Loss Ratio. What could not be offered counts as lost: "it is RECOMMENDED to turn any severe deviation between the
    /// Intended Load and the Offered Load into increased Trial Loss Ratio" (RFC 9971, "Measurer").
    pub loss_ratio: f64,
    /// What the device lost of what it was sent, without what the generator's own ports dropped.
    pub device_loss_ratio: f64,
    /// Offered Load, a second.
    pub sent_per_second: f64,
}

impl Tried {
    /// Of a trial that was to run for `intended_s` seconds, in a search for goals of this width.
    pub fn of(trial: &Trial, intended_s: f64, width: f64) -> Tried {
        let counts = &trial.counts;
        let device_lost = counts.lost().saturating_sub(trial.missed_by_generator);
        let device_loss_ratio = if counts.sent == 0 { 0.0 } else { device_lost as f64 / counts.sent as f64 };
        let all_offered = offered(trial.asked_per_second, counts.sent, trial.seconds, width);
        let loss_ratio = if counts.sent == 0 {
            // Nothing could be sent at all: nothing was forwarded.
            1.0
        } else if all_offered {
            counts.loss_ratio()
        } else {
            1.0 - (1.0 - counts.loss_ratio()) * trial.reached()
        };
        Tried { intended_s, loss_ratio, device_loss_ratio, sent_per_second: trial.sent_per_second() }
    }
}

/// How trials at a load classify it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Lower,
    Upper,
    Undecided,
}

/// Clocks and bursts make a trial a little shorter than intended; and sums of floating point numbers do not end even.
const SLACK: f64 = 1e-9;

/// RFC 9971, Appendix A, with `loss` choosing which loss counts.
pub(crate) fn classify_by(target: &Target, outcomes: &[Tried], loss: impl Fn(&Tried) -> f64) -> Class {
    let (mut full_low, mut full_high, mut short_low, mut short_high) = (0.0, 0.0, 0.0, 0.0);
    for outcome in outcomes {
        let full = outcome.intended_s >= target.trial_s - SLACK;
        let high = loss(outcome) > target.loss_ratio;
        let sum = match (full, high) {
            (true, true) => &mut full_high,
            (true, false) => &mut full_low,
            (false, true) => &mut short_high,
            (false, false) => &mut short_low,
        };
        *sum += outcome.intended_s;
    }
    let exceed_coefficient = target.exceed_ratio / (1.0 - target.exceed_ratio);
    let positive_excess = (short_high - short_low * exceed_coefficient).max(0.0);
    let effective_high = full_high + positive_excess;
    let effective_whole = (full_low + effective_high).max(target.sum_s);
    let quantile = effective_whole * target.exceed_ratio + SLACK;
    let pessimistic_is_lower = effective_whole - full_low <= quantile;
    let optimistic_is_lower = effective_high <= quantile;
    match (optimistic_is_lower, pessimistic_is_lower) {
        (true, true) => Class::Lower,
        (false, false) => Class::Upper,
        _ => Class::Undecided,
    }
}

pub(crate) fn classify(target: &Target, outcomes: &[Tried]) -> Class {
    classify_by(target, outcomes, |outcome| outcome.loss_ratio)
}

/// RFC 9971, Appendix B: what can be expected to be forwarded at this load, a second.
pub(crate) fn conditional_throughput(target: &Target, load: TriedLoad, outcomes: &[Tried]) -> f64 {
    let mut full: Vec<&Tried> =
        outcomes.iter().filter(|outcome| outcome.intended_s >= target.trial_s - SLACK).collect();
    full.sort_by(|a, b| a.loss_ratio.total_cmp(&b.loss_ratio));
    let measured: f64 = full.iter().map(|outcome| outcome.intended_s).sum();
    let mut remaining = measured.max(target.sum_s) * (1.0 - target.exceed_ratio);
    let mut quantile_loss = None;
    for outcome in full {
        if quantile_loss.is_some() && remaining <= SLACK {
            break;
        }
        quantile_loss = Some(outcome.loss_ratio);
        remaining -= outcome.intended_s;
    }
    let loss = if remaining > SLACK { 1.0 } else { quantile_loss.unwrap_or(1.0) };
    load.as_per_second() * (1.0 - loss)
}

/// All outcomes so far, by load.
pub(crate) type Outcomes = BTreeMap<TriedLoad, Vec<Tried>>;

/// The current relevant bounds for a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// The largest lower bound below `upper`; if there is no upper bound, the largest at all.
    pub lower: Option<TriedLoad>,
    /// The smallest upper bound.
    pub upper: Option<TriedLoad>,
}

impl Bounds {
    /// From the smallest load up: the first upper bound ends the way, the last lower bound before it counts.
    pub(super) fn of(target: &Target, outcomes: &Outcomes) -> Bounds {
        let mut bounds = Bounds::default();
        for (&load, outcomes) in outcomes {
            match classify(target, outcomes) {
                Class::Lower => bounds.lower = Some(load),
                Class::Upper => {
                    bounds.upper = Some(load);
                    break;
                }
                Class::Undecided => {}
            }
        }
        bounds
    }

    /// `ln(upper / lower)` if there are both.
    pub(super) fn log_width(&self) -> Option<f64> {
        Some(self.upper?.log_above(self.lower?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Goal;
    use std::time::Duration;

    fn target(final_s: u64, sum_s: u64, loss_percent: f64, exceed: f64) -> Target {
        let goal = Goal {
            exceed_ratio: exceed,
            final_trial: Duration::from_secs(final_s),
            duration_sum: Duration::from_secs(sum_s),
            ..Goal::with_loss_ratio("example", loss_percent / 100.0)
        };
        *goal.targets().last().unwrap()
    }

    fn trials(groups: &[(usize, f64, f64)]) -> Vec<Tried> {
        groups
            .iter()
            .flat_map(|&(count, intended_s, loss_percent)| {
                let loss_ratio = loss_percent / 100.0;
                std::iter::repeat_n(
                    Tried { intended_s, loss_ratio, device_loss_ratio: loss_ratio, sent_per_second: 0.0 },
                    count,
                )
            })
            .collect()
    }

    /// RFC 9971, "Load Classification Computations", all six points and four goals. For the last goal its tables
    /// print "Lower Bound" at points 5 and 6, beside exceed ratios (42.9 %, 27.3 %) above that goal's 20 %: by its own logic
    /// and by
    /// Appendix A these are upper bounds.
    #[test]
    fn classifies_the_example_search_of_the_rfc() {
        use Class::{Lower, Undecided, Upper};
        let goals = [
            target(60, 60, 0.0, 0.0),
            target(60, 120, 0.0, 0.5),
            target(1, 120, 0.5, 0.5),
            target(60, 60, 0.5, 0.2),
        ];
        let (short_good, short_bad) = ((60, 1.0, 0.0), (60, 1.0, 1.0));
        let (long_bad, long_good) = ((1, 60.0, 0.1), (1, 60.0, 0.0));
        let points = [
            (vec![(59, 1.0, 0.0)], [Undecided, Undecided, Undecided, Undecided]),
            (vec![(59, 1.0, 0.0), (1, 1.0, 1.0)], [Upper, Undecided, Undecided, Undecided]),
            (vec![(59, 1.0, 0.0), short_bad], [Upper, Undecided, Undecided, Upper]),
            (vec![short_good, short_bad], [Upper, Undecided, Lower, Upper]),
            (vec![short_good, short_bad, long_bad], [Upper, Undecided, Lower, Upper]),
            (vec![short_good, short_bad, long_bad, long_good], [Upper, Lower, Lower, Upper]),
        ];
        for (number, (groups, expected)) in points.iter().enumerate() {
            let outcomes = trials(groups);
            for (goal, expected) in goals.iter().zip(expected) {
                assert_eq!(classify(goal, &outcomes), *expected, "point {}, {goal:?}", number + 1);
            }
        }
    }

    /// RFC 9971, "Conditional Throughput Computations", goals 2 to 4.
    #[test]
    fn computes_the_conditional_throughput_of_the_rfc() {
        let outcomes = trials(&[(60, 1.0, 0.0), (60, 1.0, 1.0), (1, 60.0, 0.1), (1, 60.0, 0.0)]);
        let load = TriedLoad::per_second(1e6);
        for (goal, expected) in [
            (target(60, 120, 0.0, 0.5), 1e6),
            (target(1, 120, 0.5, 0.5), 1e6),
            (target(60, 60, 0.5, 0.2), 0.999e6),
        ] {
            let throughput = conditional_throughput(&goal, load, &outcomes);
            assert!((throughput - expected).abs() < 1e-3, "{throughput}, {goal:?}");
        }
    }

    #[test]
    fn an_upper_bound_hides_larger_lower_bounds() {
        let target = target(1, 1, 0.0, 0.5);
        let mut outcomes = Outcomes::new();
        for (load, loss) in [(100.0, 0.0), (200.0, 1.0), (300.0, 0.0)] {
            outcomes.insert(TriedLoad::per_second(load), trials(&[(1, 1.0, loss)]));
        }
        let bounds = Bounds::of(&target, &outcomes);
        assert_eq!(
            bounds,
            Bounds { lower: Some(TriedLoad::per_second(100.0)), upper: Some(TriedLoad::per_second(200.0)) }
        );
    }

    #[test]
    fn a_deviation_of_the_offered_load_counts_above_half_the_width() {
        // 0.25 % of a million is 2,500.
        assert!(offered(Some(1e6), 997_500, 1.0, 0.005) && !offered(Some(1e6), 997_400, 1.0, 0.005));
        // Of few packets one or two may miss the end.
        assert!(offered(Some(245.0), 121, 0.5, 0.005) && !offered(Some(245.0), 40, 0.5, 0.005));
        assert!(offered(None, 0, 1.0, 0.005));
    }

    #[test]
    fn the_middle_is_geometric() {
        assert_eq!(
            TriedLoad::per_second(100.0).middle(TriedLoad::per_second(400.0)),
            TriedLoad::per_second(200.0)
        );
        let width = -(1.0f64 - 0.005).ln();
        assert_eq!(TriedLoad::per_second(1e6).moved(-width), TriedLoad::per_second(995_000.0));
    }
}
