//! `reconfig`: how long a device forwards nothing while something is done to it.
//!
//! Packets go at a steady rate; after a third of the time a command runs. What was lost, divided by the rate, is the time that
//! was blocked (the frame-loss method of RFC 6201). A trial without the command says what is lost anyway.

use super::command::{CommandEnd, Running};
use super::verdict::{Ended, Verdict};
use crate::observer::{Observer, Planned};
use crate::search::{Stopped, run_trial};
use crate::trial::{Progress, Trial, Trials, Watch};
use crate::words::{grouped, percent};
use serde::Serialize;
use std::time::Duration;

/// What to do.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The rate, a second; none = as fast as it goes.
    pub per_second: Option<f64>,
    /// Each trial's time.
    pub duration: Duration,
    /// The line of shell that reconfigures the device.
    pub command: String,
    /// How often to repeat it.
    pub repeat: usize,
}

/// A trial with the command in it.
#[derive(Clone, Debug, Serialize)]
pub struct Round {
    /// Lost packets.
    pub lost: u64,
    /// The rate that was sent, a second.
    pub per_second: f64,
    /// Lost divided by the rate, in seconds.
    pub blocked_s: f64,
    /// When the command began, in seconds since the trial's start.
    pub command_at_s: Option<f64>,
    /// What became of it.
    pub command: Option<CommandEnd>,
    /// The trial.
    #[serde(skip)]
    pub trial: Trial,
}

/// Smallest, middle and largest of the rounds' blocked times, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BlockedSpread {
    /// Smallest.
    pub min: f64,
    /// Middle; of an even number the larger of two.
    pub median: f64,
    /// Largest.
    pub max: f64,
}

/// What it found.
#[derive(Clone, Debug)]
pub struct Findings {
    /// The command.
    pub command: String,
    /// The trial without it.
    pub without: Option<Trial>,
    /// The trials with it.
    pub rounds: Vec<Round>,
    /// Their blocked times.
    pub blocked_s: Option<BlockedSpread>,
}

/// Starts the command after a third of a trial.
struct Trigger<'a> {
    observer: &'a mut dyn Observer,
    line: &'a str,
    begun_at_s: Option<f64>,
    running: Option<Running>,
    failed: Option<String>,
}

impl Observer for Trigger<'_> {
    fn begins(&mut self, planned: &Planned) {
        self.observer.begins(planned);
    }

    fn watch(&mut self, progress: Progress) -> Watch {
        if let Some(running) = &mut self.running {
            running.poll();
        } else if self.begun_at_s.is_none() && progress.elapsed_s >= progress.total_s / 3.0 {
            self.begun_at_s = Some(progress.elapsed_s);
            match Running::start(self.line) {
                Ok(running) => self.running = Some(running),
                Err(error) => self.failed = Some(format!("the command could not be started: {error}")),
            }
        }
        self.observer.watch(progress)
    }

    fn ended(&mut self, trial: &Trial) {
        self.observer.ended(trial);
    }
}

/// Runs it.
pub fn run(trials: &mut dyn Trials, wanted: &Wanted, observer: &mut dyn Observer) -> Ended<Findings> {
    let mut findings =
        Findings { command: wanted.command.clone(), without: None, rounds: Vec::new(), blocked_s: None };
    let mut verdict = Verdict::Done;
    let planned = |label: String| Planned { label, per_second: wanted.per_second, duration: wanted.duration };

    let without = planned("without the command".to_owned());
    let ran = run_trial(trials, &without, observer);
    findings.without = ran.trial;
    let mut stopped = ran.stopped;

    while stopped == Stopped::No && findings.rounds.len() < wanted.repeat {
        let planned = planned(format!("with the command, round {}", findings.rounds.len() + 1));
        let mut trigger =
            Trigger { observer, line: &wanted.command, begun_at_s: None, running: None, failed: None };
        let ran = run_trial(trials, &planned, &mut trigger);
        let (command_at_s, failed) = (trigger.begun_at_s, trigger.failed);
        let command = trigger.running.map(Running::finish);
        stopped = ran.stopped;
        if let Some(trial) = ran.trial {
            findings.rounds.push(round(trial, command_at_s, command));
        }
        if let Some(why) = failed {
            stopped = Stopped::Failed(why);
        }
    }
    findings.blocked_s = spread(&findings.rounds);
    let failed = findings
        .rounds
        .iter()
        .filter_map(|round| round.command.as_ref())
        .find(|command| command.status != Some(0));
    if let Some(command) = failed {
        verdict = Verdict::Failed(match command.status {
            Some(status) => format!("the command ended with status {status}"),
            None if command.killed => "the command did not end".to_owned(),
            None => "a signal ended the command".to_owned(),
        });
    }
    let verdict = Verdict::of_stopped(&stopped).unwrap_or(verdict);
    let notes = notes(&findings);
    Ended { findings, verdict, notes }
}

fn round(trial: Trial, command_at_s: Option<f64>, command: Option<CommandEnd>) -> Round {
    let (lost, per_second) = (trial.counts.lost(), trial.sent_per_second());
    let blocked_s = if per_second > 0.0 { lost as f64 / per_second } else { 0.0 };
    Round { lost, per_second, blocked_s, command_at_s, command, trial }
}

fn spread(rounds: &[Round]) -> Option<BlockedSpread> {
    let mut blocked: Vec<f64> = rounds.iter().map(|round| round.blocked_s).collect();
    blocked.sort_by(f64::total_cmp);
    Some(BlockedSpread { min: *blocked.first()?, median: blocked[blocked.len() / 2], max: *blocked.last()? })
}

fn notes(findings: &Findings) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(without) = &findings.without {
        notes.extend(super::rate::not_reached(without));
        if without.counts.lost() > 0 {
            notes.push(format!(
                "Without the command {} of {} were lost, too ({}): the blocked time contains such loss. Take a lower rate.",
                grouped(without.counts.lost() as f64),
                grouped(without.counts.sent as f64),
                percent(without.counts.loss_ratio())
            ));
        }
    }
    if findings.rounds.iter().any(|round| round.command_at_s.is_none()) {
        notes.push("A round ended before the command's time.".to_owned());
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Device, Notebook};
    use super::*;

    fn wanted(command: &str) -> Wanted {
        let duration = Duration::from_secs(30);
        Wanted { per_second: Some(1000.0), duration, command: command.to_owned(), repeat: 3 }
    }

    fn run_with(command: &str, device: &mut Device) -> (Findings, Ended<Findings>) {
        let ended = run(device, &wanted(command), &mut Notebook::default());
        let findings = ended.findings.clone();
        (findings, ended)
    }

    #[test]
    fn blocked_time_is_lost_divided_by_the_rate() {
        let mut device = Device { loss_ratio: 0.01, ..Device::with_capacity(1e6) };
        let (findings, ended) = run_with("echo reloaded", &mut device);
        assert_eq!(ended.verdict, Verdict::Done);
        let spread = findings.blocked_s.unwrap();
        // 300 of 30,000 lost at 1,000 a second.
        assert!((spread.min - 0.3).abs() < 1e-9 && (spread.max - 0.3).abs() < 1e-9);
        assert_eq!(findings.rounds.len(), 3);
        let command = findings.rounds[0].command.as_ref().unwrap();
        assert_eq!((command.status, command.output_tail.as_str()), (Some(0), "reloaded"));
        // The watcher is asked at tenths.
        assert_eq!(findings.rounds[0].command_at_s, Some(12.0));
        assert!(ended.notes[0].starts_with("Without the command 300 of 30,000 were lost"));
    }

    #[test]
    fn a_command_that_fails_fails_the_mode() {
        let (_, ended) = run_with("exit 4", &mut Device::with_capacity(1e6));
        assert_eq!(ended.verdict, Verdict::Failed("the command ended with status 4".to_owned()));
    }

    #[test]
    fn a_broken_trial_ends_it_with_what_there_is() {
        let mut device = Device { fails: true, ..Device::with_capacity(1e6) };
        let (findings, ended) = run_with("true", &mut device);
        assert!(findings.without.is_some() && findings.rounds.is_empty());
        assert_eq!(ended.verdict.exit_status(), 1);
    }
}
