//! `rate` and `soak`: one trial at one rate. A soak takes hours, and passes if next to nothing is lost.

use super::verdict::{Ended, Verdict};
use crate::observer::{Observer, Planned};
use crate::search::{offered, run_trial};
use crate::trial::{Trial, Trials, Unit};
use crate::words::{grouped, percent};

/// A soak passes if no more is lost than this: of ten million packets one.
pub const SOAK_LOSS_RATIO: f64 = 1e-7;

/// Runs it. With `allowed`, it passes if no more is lost than this part.
pub fn run(
    trials: &mut dyn Trials,
    planned: &Planned,
    allowed: Option<f64>,
    observer: &mut dyn Observer,
) -> Ended<Option<Trial>> {
    let ran = run_trial(trials, planned, observer);
    let mut notes: Vec<String> = ran.trial.as_ref().and_then(not_reached).into_iter().collect();
    if let (Some(trial), Some(allowed)) = (&ran.trial, allowed)
        && (trial.counts.sent as f64) < 1.0 / allowed
    {
        notes.push(format!(
            "Only {} were sent: a loss of {} cannot be told with fewer than {}.",
            grouped(trial.counts.sent as f64),
            percent(allowed),
            grouped(1.0 / allowed)
        ));
    }
    let verdict = Verdict::of_stopped(&ran.stopped)
        .or_else(|| Some(judge(ran.trial.as_ref()?, allowed?)))
        .unwrap_or(Verdict::Done);
    Ended { findings: ran.trial, verdict, notes }
}

fn judge(trial: &Trial, allowed: f64) -> Verdict {
    let (sent, lost) = (trial.counts.sent, trial.counts.lost());
    if sent == 0 {
        Verdict::Failed("nothing was sent".to_owned())
    } else if trial.counts.loss_ratio() <= allowed {
        Verdict::Passed
    } else {
        Verdict::Failed(format!(
            "{} of {} lost, {}: more than {}",
            grouped(lost as f64),
            grouped(sent as f64),
            percent(trial.counts.loss_ratio()),
            percent(allowed)
        ))
    }
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
    use super::super::tests::{Device, Notebook};
    use super::*;
    use std::time::Duration;

    fn planned(per_second: f64, seconds: u64) -> Planned {
        let duration = Duration::from_secs(seconds);
        Planned { label: "rate".to_owned(), per_second: Some(per_second), duration }
    }

    fn soaked(loss_ratio: f64) -> Verdict {
        let mut device = Device { loss_ratio, ..Device::with_capacity(1e6) };
        run(&mut device, &planned(1e4, 3600), Some(SOAK_LOSS_RATIO), &mut Notebook::default()).verdict
    }

    #[test]
    fn a_rate_is_one_trial() {
        let mut device = Device::with_capacity(1000.0);
        let ended = run(&mut device, &planned(2000.0, 10), None, &mut Notebook::default());
        assert_eq!((ended.verdict, ended.findings.unwrap().counts.lost()), (Verdict::Done, 10_000));
    }

    #[test]
    fn what_an_interrupted_trial_measured_is_told() {
        for allowed in [None, Some(SOAK_LOSS_RATIO)] {
            let mut notebook = Notebook { stop_at: Some(3.0), ..Notebook::default() };
            let ended = run(&mut Device::with_capacity(1e6), &planned(1000.0, 10), allowed, &mut notebook);
            assert_eq!((&ended.verdict, ended.verdict.exit_status()), (&Verdict::Interrupted, 1));
            assert_eq!(ended.findings.unwrap().counts.sent, 3000);
        }
    }

    #[test]
    fn what_a_failed_trial_measured_is_told() {
        let mut device = Device { fails: true, ..Device::with_capacity(1e6) };
        let ended = run(&mut device, &planned(1000.0, 10), None, &mut Notebook::default());
        assert_eq!(ended.verdict, Verdict::Error("port a: the link is down".to_owned()));
        assert_eq!(ended.findings.unwrap().counts.sent, 10_000);
    }

    #[test]
    fn of_a_soak_one_in_a_million_is_too_many() {
        assert_eq!((soaked(0.0), soaked(5e-8)), (Verdict::Passed, Verdict::Passed));
        assert_eq!(soaked(1e-6).exit_status(), 3);
        let mut device = Device::with_capacity(1e6);
        let short = run(&mut device, &planned(1e4, 1), Some(SOAK_LOSS_RATIO), &mut Notebook::default());
        assert!(short.notes[0].starts_with("Only 10,000 were sent"), "{:?}", short.notes);
    }
}
