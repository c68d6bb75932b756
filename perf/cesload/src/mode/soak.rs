//! `soak`: hours at one rate, with a line now and then that survives whatever ends the run.

use super::verdict::{Ended, Verdict};
use crate::observer::{Observer, Planned};
use crate::search::run_trial;
use crate::trial::{Progress, Trial, Trials, Watch};
use crate::words::{grouped, percent};
use std::io::{self, Write};
use std::time::Duration;

/// A soak passes if no more is lost than this: of ten million packets one.
pub const LOSS_RATIO: f64 = 1e-7;

/// What to soak.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The rate, a second; none = as fast as it goes.
    pub per_second: Option<f64>,
    /// For how long.
    pub duration: Duration,
    /// A line is appended so often.
    pub line_every: Duration,
}

/// What a soak found.
#[derive(Clone, Debug)]
pub struct Findings {
    /// The trial, as far as it went.
    pub trial: Option<Trial>,
    /// Lines that were appended.
    pub lines: u64,
    /// Why no further lines could be appended.
    pub lines_failed: Option<String>,
}

/// Appends lines between what the trial tells and the observer who sees it, too.
struct Lines<'a> {
    observer: &'a mut dyn Observer,
    to: &'a mut dyn Write,
    every_s: f64,
    next_s: f64,
    written: u64,
    failed: Option<io::Error>,
}

impl Lines<'_> {
    /// A JSON object: what a crash leaves behind can be read line by line.
    fn append(&mut self, progress: &Progress, end: bool) {
        if self.failed.is_some() {
            return;
        }
        let counts = &progress.counts;
        let line = serde_json::json!({
            "elapsed_s": (progress.elapsed_s * 1000.0).round() / 1000.0,
            "sent": counts.sent,
            "received": counts.received,
            // Under way, or lost: only the end tells which.
            "outstanding": counts.lost(),
            "duplicated": counts.duplicated,
            "reordered": counts.reordered,
            "stale": counts.stale,
            "misplaced": counts.misplaced,
            "end": end,
        });
        match writeln!(self.to, "{line}").and_then(|()| self.to.flush()) {
            Ok(()) => self.written += 1,
            Err(error) => self.failed = Some(error),
        }
    }
}

impl Observer for Lines<'_> {
    fn begins(&mut self, planned: &Planned) {
        self.observer.begins(planned);
    }

    fn watch(&mut self, progress: Progress) -> Watch {
        if progress.elapsed_s >= self.next_s {
            self.append(&progress, false);
            // Lines that were missed while the machine was busy are not made up for.
            while self.next_s <= progress.elapsed_s {
                self.next_s += self.every_s;
            }
        }
        self.observer.watch(progress)
    }

    fn ended(&mut self, trial: &Trial) {
        self.append(
            &Progress { elapsed_s: trial.seconds, total_s: trial.seconds, counts: trial.counts },
            true,
        );
        self.observer.ended(trial);
    }
}

/// Runs it; lines go to `lines`.
pub fn run(
    trials: &mut dyn Trials,
    wanted: &Wanted,
    lines: &mut dyn Write,
    observer: &mut dyn Observer,
) -> Ended<Findings> {
    let planned =
        Planned { label: "soak".to_owned(), per_second: wanted.per_second, duration: wanted.duration };
    // At least a millisecond, so that the next line's time moves on.
    let every_s = wanted.line_every.as_secs_f64().max(1e-3);
    let mut lines = Lines { observer, to: lines, every_s, next_s: every_s, written: 0, failed: None };
    let ran = run_trial(trials, &planned, &mut lines);
    let (written, lines_failed) = (lines.written, lines.failed.map(|error| error.to_string()));
    let trial = ran.trial;
    let mut notes: Vec<String> = trial.as_ref().and_then(super::rate::not_reached).into_iter().collect();
    if let Some(trial) = &trial
        && (trial.counts.sent as f64) < 1.0 / LOSS_RATIO
    {
        notes.push(format!(
            "Only {} were sent: a loss of {} cannot be told with fewer than {}.",
            grouped(trial.counts.sent as f64),
            percent(LOSS_RATIO),
            grouped(1.0 / LOSS_RATIO)
        ));
    }
    let verdict =
        Verdict::of_stopped(&ran.stopped).unwrap_or_else(|| trial.as_ref().map_or(Verdict::Done, judge));
    Ended { findings: Findings { trial, lines: written, lines_failed }, verdict, notes }
}

fn judge(trial: &Trial) -> Verdict {
    if trial.counts.sent == 0 {
        Verdict::Failed("nothing was sent".to_owned())
    } else if trial.counts.loss_ratio() <= LOSS_RATIO {
        Verdict::Passed
    } else {
        Verdict::Failed(format!(
            "{} of {} lost, {}: more than {}",
            grouped(trial.counts.lost() as f64),
            grouped(trial.counts.sent as f64),
            percent(trial.counts.loss_ratio()),
            percent(LOSS_RATIO)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Device, Notebook};
    use super::*;

    fn wanted() -> Wanted {
        let duration = Duration::from_hours(1);
        Wanted { per_second: Some(10_000.0), duration, line_every: Duration::from_mins(6) }
    }

    #[test]
    fn a_soak_without_loss_passes_and_leaves_its_lines() {
        let mut lines = Vec::new();
        let ended = run(&mut Device::with_capacity(1e6), &wanted(), &mut lines, &mut Notebook::default());
        assert_eq!(ended.verdict, Verdict::Passed);
        let lines: Vec<serde_json::Value> = String::from_utf8(lines)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 11, "ten tenths and the end");
        assert_eq!(lines[10]["sent"], 36_000_000);
        assert_eq!((&lines[9]["end"], &lines[10]["end"]), (&false.into(), &true.into()));
    }

    #[test]
    fn one_in_a_million_is_too_many() {
        let mut device = Device { loss_ratio: 1e-6, ..Device::with_capacity(1e6) };
        let ended = run(&mut device, &wanted(), &mut Vec::new(), &mut Notebook::default());
        assert_eq!(ended.verdict.exit_status(), 3);
        let mut device = Device { loss_ratio: 5e-8, ..Device::with_capacity(1e6) };
        let ended = run(&mut device, &wanted(), &mut Vec::new(), &mut Notebook::default());
        assert_eq!(ended.verdict, Verdict::Passed);
    }

    #[test]
    fn an_interrupted_soak_keeps_its_lines_and_has_no_verdict() {
        let mut lines = Vec::new();
        let mut notebook = Notebook { stop_at: Some(1000.0), ..Notebook::default() };
        let ended = run(&mut Device::with_capacity(1e6), &wanted(), &mut lines, &mut notebook);
        assert_eq!(ended.verdict, Verdict::Interrupted);
        assert_eq!(String::from_utf8(lines).unwrap().lines().count(), 4, "three tenths and the end");
    }

    #[test]
    fn a_full_disk_does_not_end_a_soak() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let ended = run(&mut Device::with_capacity(1e6), &wanted(), &mut Full, &mut Notebook::default());
        let findings = ended.findings;
        assert_eq!((ended.verdict, findings.lines), (Verdict::Passed, 0));
        assert!(findings.lines_failed.is_some());
    }
}
