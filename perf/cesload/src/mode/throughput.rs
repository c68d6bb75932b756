//! `ndr`, `pdr` and `cps`: how much at what loss, by search, and how late at parts of it.
//!
//! A search can be repeated. A rate that is a property of the device is found again within the search's width; one that is not
//! shows in trials that contradict each other, and then the findings say over how much of the load they do.

use super::verdict::{Ended, Verdict};
use crate::latency::Latency;
use crate::observer::{Observer, Planned};
use crate::search::{
    Ending, GoalResult, MaxLoad, SearchPlan, SearchResult, Stopped, contradiction, run_trial, search,
};
use crate::trial::{Trials, Unit};
use crate::words::{grouped, percent};
use serde::Serialize;
use std::time::Duration;

/// What to do.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The search; its first goal is the one that is asked for.
    pub plan: SearchPlan,
    /// How often to search, at least once.
    pub repeat: usize,
    /// How long each trial for the delay is; nothing for none.
    pub latency: Option<Duration>,
}

/// Delay at a part of the rate that was found.
#[derive(Clone, Debug, Serialize)]
pub struct LatencyAt {
    /// Percent of that rate.
    pub percent: u32,
    /// The load, a second.
    pub per_second: f64,
    /// Lost of sent.
    pub loss_ratio: f64,
    /// The delays; nothing if no probe came back.
    pub latency_us: Option<Latency>,
}

/// How repeated searches agree about a goal.
#[derive(Clone, Debug, Serialize)]
pub struct Agreement {
    /// The goal's name.
    pub goal: String,
    /// The lower bound of each search, a second.
    pub lower_per_second: Vec<Option<f64>>,
    /// `1 - smallest / largest` of these; nothing if one is missing.
    pub spread: Option<f64>,
    /// Whether the spread is within the goal's width.
    pub agrees: bool,
    /// Over which part of the load trials of all searches together contradict each other.
    pub noise: Option<f64>,
}

/// What searches found.
#[derive(Clone, Debug)]
pub struct Findings {
    /// What the rates count.
    pub unit: Unit,
    /// The searches, in the order of time.
    pub searches: Vec<SearchResult>,
    /// Which of them is the answer: the one with the median of the first goal's lower bounds.
    pub answer: usize,
    /// How they agree, goal by goal; empty for a single one.
    pub agreement: Vec<Agreement>,
    /// What the delays are parts of: the name of a goal, and its rate.
    pub latency_of: Option<(String, f64)>,
    /// The delays.
    pub latency: Vec<LatencyAt>,
}

impl Findings {
    /// The results of the search that is the answer.
    pub fn goals(&self) -> &[GoalResult] {
        self.searches.get(self.answer).map_or(&[], |found| &found.goals)
    }
}

/// RFC 2544 §26.2 asks for the delay at the throughput; under a full queue that is the queue's length, so parts of it say more.
const LATENCY_PERCENT: [u32; 3] = [10, 50, 90];

/// Runs it.
pub fn run(
    trials: &mut dyn Trials,
    wanted: &Wanted,
    observer: &mut dyn Observer,
    now: &mut dyn FnMut() -> Duration,
) -> Ended<Findings> {
    let unit = trials.unit();
    let mut findings = Findings {
        unit,
        searches: Vec::new(),
        answer: 0,
        agreement: Vec::new(),
        latency_of: None,
        latency: Vec::new(),
    };
    let mut verdict = None;
    while findings.searches.len() < wanted.repeat && verdict.is_none() {
        let found = search(trials, &wanted.plan, observer, now);
        verdict = Verdict::of_stopped(&found.stopped);
        findings.searches.push(found);
    }
    findings.answer = median(&findings.searches);
    if findings.searches.len() > 1 {
        findings.agreement = agreement(&findings.searches, &wanted.plan);
    }
    if let (None, Some(duration)) = (&verdict, wanted.latency) {
        verdict = measure_latency(trials, duration, &mut findings, observer);
    }
    let notes = notes(&findings);
    let verdict = verdict.unwrap_or_else(|| match findings.goals().first() {
        Some(first) if first.lower_per_second.is_none() => {
            Verdict::Failed(format!("no rate meets {}: even the smallest load loses more", first.goal.name))
        }
        _ => Verdict::Done,
    });
    Ended { findings, verdict, notes }
}

fn first_lower(found: &SearchResult) -> Option<f64> {
    found.goals.first().and_then(|goal| goal.lower_per_second)
}

/// The search with the median of the first goal's lower bounds: of an even number, the smaller of the middle ones.
fn median(searches: &[SearchResult]) -> usize {
    let mut with_bound: Vec<(usize, f64)> =
        searches.iter().enumerate().filter_map(|(index, found)| Some((index, first_lower(found)?))).collect();
    with_bound.sort_by(|a, b| a.1.total_cmp(&b.1));
    with_bound.get(with_bound.len().saturating_sub(1) / 2).map_or(0, |(index, _)| *index)
}

fn agreement(searches: &[SearchResult], plan: &SearchPlan) -> Vec<Agreement> {
    let of = |(index, goal): (usize, &crate::search::Goal)| {
        let results: Vec<&GoalResult> = searches.iter().filter_map(|found| found.goals.get(index)).collect();
        let lower: Vec<Option<f64>> = searches
            .iter()
            .map(|found| found.goals.get(index).and_then(|result| result.lower_per_second))
            .collect();
        let all: Option<Vec<f64>> = lower.iter().copied().collect();
        let spread = all.map(|all| {
            let (least, most) = all
                .iter()
                .fold((f64::MAX, f64::MIN), |(least, most), &rate| (rate.min(least), rate.max(most)));
            1.0 - least / most
        });
        let smallest =
            results.iter().filter_map(|result| result.smallest_lossy_per_second).min_by(f64::total_cmp);
        let largest =
            results.iter().filter_map(|result| result.largest_lossless_per_second).max_by(f64::total_cmp);
        Agreement {
            goal: goal.name.clone(),
            lower_per_second: lower,
            spread,
            // Loads are rounded to thousandths.
            agrees: spread.is_some_and(|spread| spread <= goal.width + 1e-6),
            noise: contradiction(smallest, largest),
        }
    };
    plan.goals.iter().enumerate().map(of).collect()
}

/// At 10, 50 and 90 % of the last goal's rate (PDR, if it was searched), or of what there is.
fn measure_latency(
    trials: &mut dyn Trials,
    duration: Duration,
    findings: &mut Findings,
    observer: &mut dyn Observer,
) -> Option<Verdict> {
    let of = findings
        .goals()
        .iter()
        .rev()
        .find_map(|result| Some((result.goal.name.clone(), result.lower_per_second?)))?;
    findings.latency_of = Some(of.clone());
    for percent in LATENCY_PERCENT {
        let per_second = of.1 * f64::from(percent) / 100.0;
        let planned = Planned {
            label: format!("latency at {percent} % of {}", of.0),
            per_second: Some(per_second),
            duration,
        };
        let ran = run_trial(trials, &planned, observer);
        if let Some(trial) = ran.trial {
            let (loss_ratio, latency_us) = (trial.counts.loss_ratio(), trial.latency_us);
            findings.latency.push(LatencyAt { percent, per_second, loss_ratio, latency_us });
        }
        if ran.stopped != Stopped::No {
            return Verdict::of_stopped(&ran.stopped);
        }
    }
    None
}

fn notes(findings: &Findings) -> Vec<String> {
    let unit = findings.unit.per_second();
    let mut notes = Vec::new();
    let Some(found) = findings.searches.get(findings.answer) else { return notes };
    for result in &found.goals {
        notes.extend(ending_note(result, found, unit));
        if result.limited_by_generator && result.ending != Ending::NoUpperBound {
            notes.push(format!(
                "{} is limited by the generator or the ports: at the upper bound, {} {unit}, {} {unit} could be sent, and what \
                 was missing in the end the device did not lose. The device may be faster (over memif a device that does not \
                 empty its rings shows like this, too).",
                result.goal.name,
                grouped(result.upper_per_second.unwrap_or_default()),
                grouped(result.upper_sent_per_second.unwrap_or_default())
            ));
        }
        if let Some(noise) = result.noise().filter(|noise| *noise > result.goal.width) {
            notes.push(format!(
                "Trials contradict each other about {}: a load of {} {unit} lost too much, {} {unit} once did not. \
                 That is {} of the \
                 load, more than the search's width of {}, so that another search may find a rate that differs by as much.",
                result.goal.name,
                grouped(result.smallest_lossy_per_second.unwrap_or_default()),
                grouped(result.largest_lossless_per_second.unwrap_or_default()),
                percent(noise),
                percent(result.goal.width)
            ));
        }
    }
    notes.extend(findings.agreement.iter().map(|agreement| agreement_note(agreement, findings, unit)));
    notes
}

fn ending_note(result: &GoalResult, found: &SearchResult, unit: &str) -> Option<String> {
    let name = &result.goal.name;
    match result.ending {
        Ending::Regular => None,
        Ending::NoLowerBound => Some(format!(
            "{name} is irregular: there is no lower bound, since even the smallest load loses more than {}.",
            percent(result.goal.loss_ratio)
        )),
        Ending::NoUpperBound => {
            let (max, from) = found.max_load?;
            let from = match from {
                MaxLoad::Given => "the largest load that was allowed",
                MaxLoad::LineRate => "the line rate",
                MaxLoad::Measured => "more than was sent at full speed",
            };
            Some(format!(
                "{name} is irregular: there is no upper bound, since even {} {unit}, {from}, meets it. \
                 The device is at least that fast.",
                grouped(max)
            ))
        }
        Ending::Unfinished => {
            let why = match found.stopped {
                Stopped::TimedOut => "its time was over",
                Stopped::Interrupted => "it was interrupted",
                Stopped::Failed(_) => "a trial failed",
                Stopped::No => "no further load could be tried",
            };
            Some(format!(
                "{name} is irregular: the search ended because {why}, before its bounds were close enough."
            ))
        }
    }
}

fn agreement_note(agreement: &Agreement, findings: &Findings, unit: &str) -> String {
    let (name, searches) = (&agreement.goal, agreement.lower_per_second.len());
    let goal = findings.goals().iter().find(|result| result.goal.name == *name);
    let width = percent(goal.map_or(0.0, |result| result.goal.width));
    let Some(spread) = agreement.spread.map(percent) else {
        return format!(
            "Not all of {searches} searches found a rate for {name}, so that they cannot be compared."
        );
    };
    if agreement.agrees {
        return format!(
            "{searches} searches found the same {name} within its resolution: they differ by {spread}, the width is {width}."
        );
    }
    let why = agreement.noise.map_or_else(
        || "no trial contradicts another".to_owned(),
        |noise| format!("their trials contradict each other over {} of the load", percent(noise)),
    );
    let rates = |rates: &mut dyn Iterator<Item = Option<f64>>| {
        rates.flatten().map(grouped).collect::<Vec<_>>().join(", ")
    };
    let found = rates(&mut agreement.lower_per_second.iter().copied());
    let speeds = rates(&mut findings.searches.iter().map(|found| found.full_speed_per_second));
    let speeds = if speeds.is_empty() { speeds } else { format!("; sent at full speed before: {speeds}") };
    format!(
        "{searches} searches did not find the same {name} ({found} {unit}): they differ by {spread}, the width is {width}; \
         {why}{speeds}."
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Device, Notebook};
    use super::*;
    use crate::search::Goal;

    fn run_on(device: &mut dyn Trials, repeat: usize) -> (Findings, Ended<Findings>, Notebook) {
        let wanted = Wanted {
            plan: SearchPlan {
                goals: vec![Goal::ndr(), Goal::pdr()],
                min_per_second: 100.0,
                max_per_second: None,
                total: Duration::from_hours(1),
            },
            repeat,
            latency: Some(Duration::from_secs(1)),
        };
        let mut notebook = Notebook::default();
        let ended = run(device, &wanted, &mut notebook, &mut || Duration::ZERO);
        let findings = ended.findings.clone();
        (findings, ended, notebook)
    }

    #[test]
    fn delays_are_measured_at_parts_of_pdr() {
        let (findings, ended, notebook) = run_on(&mut Device::with_capacity(5e5), 1);
        let (name, pdr) = findings.latency_of.unwrap();
        assert_eq!((name.as_str(), Some(pdr)), ("PDR", findings.searches[0].goals[1].lower_per_second));
        assert_eq!(notebook.labels.last().unwrap(), "latency at 90 % of PDR");
        let loads: Vec<f64> = findings.latency.iter().map(|at| at.per_second / pdr).collect();
        assert_eq!(loads, [0.1, 0.5, 0.9]);
        assert!(findings.latency.iter().all(|at| at.latency_us.is_some()));
        assert_eq!((ended.verdict, ended.notes), (Verdict::Done, Vec::new()));
    }

    #[test]
    fn repeated_searches_on_a_steady_device_agree() {
        let (findings, ended, _) = run_on(&mut Device::with_capacity(5e5), 2);
        assert!(findings.agreement.iter().all(|agreement| agreement.agrees && agreement.noise.is_none()));
        assert!(
            ended.notes[0].starts_with("2 searches found the same NDR within its resolution"),
            "{:?}",
            ended.notes
        );
    }

    #[test]
    fn repeated_searches_that_differ_say_why() {
        /// Becomes slower after so many trials: another program has begun.
        struct Slowing(Device, u32);
        impl Trials for Slowing {
            fn unit(&self) -> Unit {
                Unit::Packets
            }
            fn line_rate(&self) -> Option<f64> {
                self.0.line_rate()
            }
            fn run(
                &mut self,
                per_second: Option<f64>,
                duration: Duration,
                watch: &mut dyn FnMut(crate::trial::Progress) -> crate::trial::Watch,
            ) -> Result<crate::trial::Trial, crate::trial::Failure> {
                self.1 = self.1.saturating_sub(1);
                self.0.capacity = if self.1 == 0 { 4e5 } else { 5e5 };
                self.0.run(per_second, duration, watch)
            }
        }
        let (steady, ..) = run_on(&mut Device::with_capacity(5e5), 1);
        let trials = steady.searches[0].trials as u32;
        let (findings, ended, _) = run_on(&mut Slowing(Device::with_capacity(5e5), trials + 1), 2);
        let ndr = &findings.agreement[0];
        assert!(!ndr.agrees && ndr.noise.unwrap() > 0.15, "{ndr:?}");
        let note = ended.notes.iter().find(|note| note.contains("did not find the same NDR")).unwrap();
        assert!(note.contains("contradict each other over"), "{note}");
        assert_eq!(ended.verdict, Verdict::Done, "an answer that is told with its doubts is an answer");
    }

    #[test]
    fn a_device_that_always_loses_fails_the_mode() {
        let mut device = Device { loss_ratio: 0.1, ..Device::with_capacity(5e5) };
        let (findings, ended, _) = run_on(&mut device, 1);
        assert_eq!(ended.verdict.exit_status(), 3);
        assert!(findings.latency.is_empty() && ended.notes[0].contains("there is no lower bound"));
    }

    #[test]
    fn a_broken_search_is_told_with_what_it_has() {
        let mut device = Device { fails: true, ..Device::with_capacity(5e5) };
        let (findings, ended, _) = run_on(&mut device, 2);
        assert_eq!((findings.searches.len(), ended.verdict.exit_status()), (1, 1));
    }
}
