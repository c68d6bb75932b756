//! Chooses loads for one goal: from an easy target with a large width to the goal itself.
//!
//! While a bound is missing, or the last one was a surprise, the search goes outwards from the bound that is known, in steps that
//! double (**external search**). With bounds on both sides the interval is halved geometrically (**internal search**). A target
//! that is reached hands its two bounds to the next one, which asks only for its middle and for the bound that remains.

use super::goal::{Goal, Target};
use super::load::{Bounds, Class, Outcomes, TriedLoad, classify};

/// Loads between which a search may choose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub min: TriedLoad,
    pub max: TriedLoad,
}

/// What made a load the next one to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// What was forwarded at a larger load.
    Hint,
    /// A bound of the target before, to be tried for longer.
    Refine,
    /// Outwards from a bound.
    Extend,
    /// Between two bounds.
    Halve,
}

/// The bound beside which the other one is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Near {
    Lower,
    Upper,
}

/// How many upper bounds are asked what was forwarded at them: at first the largest load, then again where overload forwards less
/// than the best.
const HINTS: u32 = 3;
/// A step outwards after one that did not find the bound.
const EXPANSION: f64 = 2.0;
/// Rounding to thousandths moves a width by so little.
const SLACK: f64 = 1e-6;

#[derive(Debug)]
pub(crate) struct Selector {
    pub goal: Goal,
    targets: Vec<Target>,
    /// Index of the target in view.
    stage: usize,
    /// The bounds of the target before.
    preceding: Bounds,
    /// The bounds when the last load was chosen.
    bounds: Bounds,
    nominated: Option<(TriedLoad, Why)>,
    near: Option<Near>,
    step: f64,
    hints: u32,
}

impl Selector {
    pub(super) fn new(goal: Goal) -> Selector {
        let targets = goal.targets();
        let step = targets[0].log_width;
        Selector {
            goal,
            targets,
            stage: 0,
            preceding: Bounds::default(),
            bounds: Bounds::default(),
            nominated: None,
            near: None,
            step,
            hints: HINTS,
        }
    }

    pub(super) fn target(&self) -> &Target {
        &self.targets[self.stage]
    }

    pub(super) fn final_target(&self) -> &Target {
        self.targets.last().expect("a goal is its own last target")
    }

    /// The next load and its trial's seconds; nothing once the goal is reached, or cannot be.
    pub(super) fn nominate(&mut self, outcomes: &Outcomes, range: Range) -> Option<(TriedLoad, f64)> {
        loop {
            let target = *self.target();
            let bounds = Bounds::of(&target, outcomes);
            self.learn(bounds);
            let next = self.choose(&target, bounds, outcomes, range);
            self.bounds = bounds;
            self.nominated = next;
            if let Some((load, _)) = next {
                return Some((load, target.trial_s));
            }
            if self.stage + 1 == self.targets.len() {
                return None;
            }
            self.stage += 1;
            self.preceding = bounds;
            self.bounds = Bounds::of(self.target(), outcomes);
            self.near = None;
            self.step = self.target().log_width;
        }
    }

    /// Sees what became of the last nomination.
    fn learn(&mut self, now: Bounds) {
        let Some((load, why)) = self.nominated else { return };
        let became_lower = now.lower == Some(load) && self.bounds.lower != now.lower;
        let became_upper = now.upper == Some(load) && self.bounds.upper != now.upper;
        if !became_lower && !became_upper {
            return;
        }
        let side = if became_lower { Near::Lower } else { Near::Upper };
        match why {
            Why::Hint | Why::Refine => {
                self.hints = self.hints.saturating_sub(u32::from(why == Why::Hint && became_upper));
                self.near = Some(side);
                self.step = self.target().log_width;
            }
            // The step outwards was too short, or it went beyond the bound that was looked for: then the interval is halved.
            Why::Extend if self.near.is_none() || self.near == Some(side) => {
                self.near = Some(side);
                self.step *= EXPANSION;
            }
            Why::Extend | Why::Halve => self.near = None,
        }
    }

    fn choose(
        &self,
        target: &Target,
        bounds: Bounds,
        outcomes: &Outcomes,
        range: Range,
    ) -> Option<(TriedLoad, Why)> {
        if bounds.upper == Some(range.min) || bounds.upper.is_none() && bounds.lower == Some(range.max) {
            return None;
        }
        if bounds.log_width().is_some_and(|width| width <= target.log_width + SLACK) {
            return None;
        }
        let known =
            self.hint(target, bounds, outcomes, range).or_else(|| self.refine(target, bounds, outcomes));
        Some(known.unwrap_or_else(|| self.between_or_beyond(target, bounds, range)))
    }

    /// At first the device says itself what it can do: what it forwarded of too much.
    fn hint(
        &self,
        target: &Target,
        bounds: Bounds,
        outcomes: &Outcomes,
        range: Range,
    ) -> Option<(TriedLoad, Why)> {
        let upper = bounds.upper?;
        if self.stage > 0 || bounds.lower.is_some() || self.hints == 0 {
            return None;
        }
        // The worst of its trials: from below, the bounds close in faster.
        let loss = outcomes[&upper].iter().map(|outcome| outcome.loss_ratio).fold(0.0, f64::max);
        let forwarded =
            TriedLoad::per_second(upper.as_per_second() * (1.0 - loss) / (1.0 - target.loss_ratio));
        let closest = upper.moved(-target.log_width);
        Some((forwarded.min(closest).max(range.min), Why::Hint))
    }

    /// The bounds of the target before are tried for longer: first their middle, if the widths allow it, since it replaces one.
    fn refine(&self, target: &Target, bounds: Bounds, outcomes: &Outcomes) -> Option<(TriedLoad, Why)> {
        let Bounds { lower: low, upper: high } = self.preceding;
        let undecided = |load: TriedLoad| {
            outcomes.get(&load).is_none_or(|outcomes| classify(target, outcomes) == Class::Undecided)
                && bounds.lower.is_none_or(|lower| lower < load)
                && bounds.upper.is_none_or(|upper| load < upper)
        };
        if let (Some(low), Some(high)) = (low, high) {
            let nothing_between = bounds.lower.is_none_or(|lower| lower <= low)
                && bounds.upper.is_none_or(|upper| high <= upper);
            if nothing_between && high.log_above(low) > target.log_width + SLACK {
                return Some((low.middle(high), Why::Halve));
            }
        }
        // The lower one first: a search that is ended early has at least that.
        let lower_first = low.filter(|&low| bounds.lower.is_none() && undecided(low));
        let load = lower_first.or_else(|| high.filter(|&high| bounds.upper.is_none() && undecided(high)))?;
        Some((load, Why::Refine))
    }

    fn between_or_beyond(&self, target: &Target, bounds: Bounds, range: Range) -> (TriedLoad, Why) {
        let down = |upper: TriedLoad| {
            let load = upper.moved(-self.step).max(range.min);
            // What would remain below is narrower than a width: the last load at once.
            if load.log_above(range.min) < target.log_width { range.min } else { load }
        };
        let up = |lower: TriedLoad| {
            let load = lower.moved(self.step).min(range.max);
            if range.max.log_above(load) < target.log_width { range.max } else { load }
        };
        match (bounds.lower, bounds.upper) {
            (None, None) => (range.max, Why::Hint),
            (None, Some(upper)) => (down(upper), Why::Extend),
            (Some(lower), None) => (up(lower), Why::Extend),
            (Some(lower), Some(upper)) => {
                let middle = lower.middle(upper);
                let beyond = match self.near {
                    Some(Near::Lower) => Some(up(lower)).filter(|&load| load < middle),
                    Some(Near::Upper) => Some(down(upper)).filter(|&load| middle < load),
                    None => None,
                };
                beyond.map_or((middle, Why::Halve), |load| (load, Why::Extend))
            }
        }
    }
}
