//! `rate`: one trial at one rate.

use super::verdict::{Ended, Verdict};
use crate::observer::{Observer, Planned};
use crate::search::{offered, run_trial};
use crate::trial::{Trial, Trials, Unit};
use std::time::Duration;

/// What a trial at a rate found.
#[derive(Clone, Debug)]
pub struct Findings {
    /// The trial, or what there was of it; nothing if it could not begin.
    pub trial: Option<Trial>,
}

/// Runs it.
pub fn run(
    trials: &mut dyn Trials,
    per_second: Option<f64>,
    duration: Duration,
    observer: &mut dyn Observer,
) -> Ended<Findings> {
    let planned = Planned { label: "rate".to_owned(), per_second, duration };
    let ran = run_trial(trials, &planned, observer);
    let notes = ran.trial.as_ref().and_then(not_reached).into_iter().collect();
    let verdict = Verdict::of_stopped(&ran.stopped).unwrap_or(Verdict::Done);
    Ended { findings: Findings { trial: ran.trial }, verdict, notes }
}

/// Below 99.9 % of a rate it is told: half of this.
const DEVIATION: f64 = 0.002;

/// The sentence about a rate of sessions that could not be begun. The engine of streams tells of its own, with the cause.
pub(super) fn not_reached(trial: &Trial) -> Option<String> {
    let asked = trial.asked_per_second.filter(|_| trial.unit == Unit::Sessions)?;
    (!offered(Some(asked), trial.counts.sent, trial.seconds, DEVIATION)).then(|| {
        format!(
            "{:.0} a second were asked for, and {:.0} could be sent ({:.1} %): the ports or the generator are the limit, \
             or the device does not empty the rings that it shares with them.",
            asked,
            trial.sent_per_second(),
            trial.reached() * 100.0
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Device, Notebook};
    use super::*;

    fn trial_of(ended: &Ended<Findings>) -> &Trial {
        let findings = &ended.findings;
        findings.trial.as_ref().unwrap()
    }

    #[test]
    fn a_rate_is_one_trial() {
        let mut device = Device::with_capacity(1000.0);
        let ended = run(&mut device, Some(2000.0), Duration::from_secs(10), &mut Notebook::default());
        assert_eq!((ended.verdict.clone(), trial_of(&ended).counts.lost()), (Verdict::Done, 10_000));
    }

    #[test]
    fn what_an_interrupted_trial_measured_is_told() {
        let mut notebook = Notebook { stop_at: Some(3.0), ..Notebook::default() };
        let ended =
            run(&mut Device::with_capacity(1e6), Some(1000.0), Duration::from_secs(10), &mut notebook);
        assert_eq!((ended.verdict.clone(), trial_of(&ended).counts.sent), (Verdict::Interrupted, 3000));
        assert_eq!(ended.verdict.exit_status(), 1);
    }

    #[test]
    fn what_a_failed_trial_measured_is_told() {
        let mut device = Device { fails: true, ..Device::with_capacity(1e6) };
        let ended = run(&mut device, Some(1000.0), Duration::from_secs(10), &mut Notebook::default());
        assert_eq!(ended.verdict, Verdict::Error("port a: the link is down".to_owned()));
        assert_eq!(trial_of(&ended).counts.sent, 10_000);
    }
}
