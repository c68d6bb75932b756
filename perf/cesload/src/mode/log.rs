//! What a long trial leaves behind whatever ends it: a line of JSON now and then.

use crate::trial::{Counts, Trial};
use std::io::{self, Write};
use std::time::Duration;

/// Appends lines.
pub struct Log {
    to: Box<dyn Write>,
    every_s: f64,
    next_s: f64,
    /// Why no further lines can be appended.
    pub failed: Option<io::Error>,
}

impl Log {
    /// One line in so much time.
    pub fn new(to: Box<dyn Write>, every: Duration) -> Self {
        // At least a millisecond, so that the next line's time moves on.
        let every_s = every.as_secs_f64().max(1e-3);
        Self { to, every_s, next_s: every_s, failed: None }
    }

    /// A line, if it is time for one. Those that were missed while the machine was busy are not made up for.
    pub fn look(&mut self, elapsed_s: f64, counts: &Counts) {
        if elapsed_s >= self.next_s {
            self.append(elapsed_s, counts, false);
            self.next_s += ((elapsed_s - self.next_s) / self.every_s).floor() * self.every_s + self.every_s;
        }
    }

    /// The last line.
    pub fn end(&mut self, trial: &Trial) {
        self.append(trial.seconds, &trial.counts, true);
    }

    fn append(&mut self, elapsed_s: f64, counts: &Counts, end: bool) {
        let line = serde_json::json!({
            "elapsed_s": (elapsed_s * 1000.0).round() / 1000.0,
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
        if self.failed.is_none() {
            self.failed = writeln!(self.to, "{line}").and_then(|()| self.to.flush()).err();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::trial;
    use super::*;
    use crate::trial::Unit;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_left_in_each_while_and_at_the_end() {
        let kept = Kept::default();
        let mut log = Log::new(Box::new(kept.clone()), Duration::from_mins(6));
        let trial = trial(Unit::Packets, 10_000.0, 3600.0, 0.0);
        for elapsed_s in [1.0, 360.0, 361.0, 719.0, 1500.0, 1799.0, 1800.0] {
            log.look(elapsed_s, &trial.counts);
        }
        log.end(&trial);
        let lines = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<serde_json::Value> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let times: Vec<f64> = lines.iter().map(|line| line["elapsed_s"].as_f64().unwrap()).collect();
        assert_eq!(times, [360.0, 1500.0, 1800.0, 3600.0]);
        assert_eq!((&lines[2]["end"], &lines[3]["end"]), (&false.into(), &true.into()));
        assert_eq!(lines[3]["sent"], 36_000_000);
    }

    #[test]
    fn a_full_disk_is_told_once() {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut log = Log::new(Box::new(full), Duration::from_secs(1));
        log.look(1.0, &Counts::default());
        log.look(2.0, &Counts::default());
        assert_eq!(log.failed.unwrap().kind(), io::ErrorKind::StorageFull);
    }
}
