//! What is shown while trials run, and how a run is ended early.

use ces_load::mode::log::Log;
use ces_load::observer::{Observer, Planned};
use ces_load::trial::{Progress, Trial, Watch};
use ces_load::words::{grouped, percent, seconds};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Without a terminal a line is written so often.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// How progress is shown, always on the error output: the output itself is the report's.
#[derive(Debug)]
enum Display {
    Quiet,
    Bar(ProgressBar),
    Lines { last: Instant },
}

/// Shows progress, keeps the trials for the report, and ends them when it is asked to.
pub(crate) struct Console {
    display: Display,
    stop: Arc<AtomicBool>,
    title: String,
    number: usize,
    /// All trials so far.
    pub trials: Vec<Trial>,
    /// Where a soak leaves its lines.
    pub log: Option<Log>,
}

impl Console {
    /// Shows nothing if `quiet`; ends trials once `stop` is set.
    pub(crate) fn new(quiet: bool, stop: Arc<AtomicBool>) -> Console {
        let display = if quiet {
            Display::Quiet
        } else if stderr().is_terminal() {
            // Thousandths of a trial: its length is told by the watcher.
            let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr_with_hz(5));
            let style = ProgressStyle::with_template("{prefix} [{bar:24}] {msg}")
                .unwrap_or(ProgressStyle::default_bar());
            bar.set_style(style.progress_chars("=> "));
            Display::Bar(bar)
        } else {
            Display::Lines { last: Instant::now() }
        };
        Console { display, stop, title: String::new(), number: 0, trials: Vec::new(), log: None }
    }

    /// Tells what is being waited for before the first trial.
    pub(crate) fn say(&self, what: &str) {
        match &self.display {
            Display::Quiet => {}
            Display::Bar(bar) => bar.println(what),
            Display::Lines { .. } => eprintln!("cesload: {what}"),
        }
    }

    /// Takes the bar away, so that the report begins on a clean line.
    pub(crate) fn finish(&self) {
        if let Display::Bar(bar) = &self.display {
            bar.finish_and_clear();
        }
    }
}

impl Observer for Console {
    fn begins(&mut self, planned: &Planned) {
        self.number += 1;
        let rate = planned.per_second.map_or(String::new(), |rate| format!(" at {}/s", grouped(rate)));
        self.title = format!("{}: {}{rate}", self.number, planned.label);
        if let Display::Bar(bar) = &self.display {
            bar.set_prefix(self.title.clone());
            bar.set_position(0);
            bar.set_message(format!("of {}", seconds(planned.duration.as_secs_f64())));
        }
    }

    fn watch(&mut self, progress: Progress) -> Watch {
        let counts = &progress.counts;
        if let Some(log) = &mut self.log {
            log.look(progress.elapsed_s, counts);
        }
        let so_far = || {
            format!(
                "{} of {}, {} sent, {} received",
                seconds(progress.elapsed_s),
                seconds(progress.total_s),
                grouped(counts.sent as f64),
                grouped(counts.received as f64)
            )
        };
        match &mut self.display {
            Display::Quiet => {}
            Display::Bar(bar) => {
                let part = progress.elapsed_s / progress.total_s.max(f64::MIN_POSITIVE);
                bar.set_position((part.clamp(0.0, 1.0) * 1000.0) as u64);
                bar.set_message(so_far());
            }
            Display::Lines { last } => {
                if last.elapsed() >= LINE_EVERY {
                    *last = Instant::now();
                    eprintln!("cesload: {}: {}", self.title, so_far());
                }
            }
        }
        if self.stop.load(Ordering::Relaxed) { Watch::Stop } else { Watch::Continue }
    }

    fn ended(&mut self, trial: &Trial) {
        if let Some(log) = &mut self.log {
            log.end(trial);
        }
        if let Display::Bar(bar) = &self.display {
            let length = seconds(trial.seconds);
            bar.println(format!("{} for {length}: {} lost", self.title, percent(trial.counts.loss_ratio())));
        }
        self.trials.push(trial.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ces_load::trial::Counts;

    #[test]
    fn a_signal_ends_the_trial() {
        let stop = Arc::new(AtomicBool::new(false));
        let mut console = Console::new(true, stop.clone());
        let progress = Progress { elapsed_s: 1.0, total_s: 2.0, counts: Counts::default() };
        assert_eq!(console.watch(progress), Watch::Continue);
        stop.store(true, Ordering::Relaxed);
        assert_eq!(console.watch(progress), Watch::Stop);
    }
}
