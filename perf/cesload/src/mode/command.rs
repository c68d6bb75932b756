//! A command of the user's that runs beside a trial: its exit status and the end of what it printed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Of what a command prints, so many bytes at the end are kept.
const TAIL: u64 = 4096;
/// A command that has not ended so long after the trial is ended.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether it has ended.
const POLL: Duration = Duration::from_millis(20);

/// A command that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// What it printed: a file, which nobody has to empty while it runs.
    output: File,
    begun: Instant,
    ended: Option<(Duration, Option<i32>)>,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct CommandEnd {
    /// Its exit status; nothing if a signal ended it.
    pub status: Option<i32>,
    /// How long it ran.
    pub seconds: f64,
    /// Whether it was ended, since it had not ended long after the trial.
    pub killed: bool,
    /// The end of what it printed to its output and error output.
    pub output_tail: String,
}

impl Running {
    /// Starts a line of shell.
    pub fn start(line: &str) -> io::Result<Running> {
        let output = tempfile::tempfile()?;
        let mut command = Command::new("sh");
        command
            .args(["-c", line])
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output.try_clone()?);
        Ok(Running { child: command.spawn()?, output, begun: Instant::now(), ended: None })
    }

    /// Looks whether it has ended.
    pub fn poll(&mut self) -> bool {
        if self.ended.is_none()
            && let Ok(Some(status)) = self.child.try_wait()
        {
            self.ended = Some((self.begun.elapsed(), status.code()));
        }
        self.ended.is_some()
    }

    /// Waits for its end for a while, and ends it if it does not come.
    pub fn finish(mut self) -> CommandEnd {
        let deadline = Instant::now() + PATIENCE;
        while !self.poll() && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        let killed = !self.poll();
        if killed {
            // Either may fail only because it has ended meanwhile.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let (duration, status) = self.ended.unwrap_or((self.begun.elapsed(), None));
        let output_tail = String::from_utf8_lossy(&tail_of(&self.output)).trim_end().to_owned();
        CommandEnd { status, seconds: duration.as_secs_f64(), killed, output_tail }
    }
}

fn tail_of(file: &File) -> Vec<u8> {
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let mut tail = vec![0; length.min(TAIL) as usize];
    let read = file.read_at(&mut tail, length.saturating_sub(TAIL)).unwrap_or(0);
    tail.truncate(read);
    tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_output_of_a_command_are_kept() {
        let outcome = Running::start("echo one; echo two >&2; exit 7").unwrap().finish();
        assert_eq!((outcome.status, outcome.killed), (Some(7), false));
        assert_eq!(outcome.output_tail, "one\ntwo");
    }

    #[test]
    fn of_much_output_the_end_is_kept() {
        let outcome = Running::start("seq 100000").unwrap().finish();
        assert!(outcome.output_tail.len() <= TAIL as usize && outcome.output_tail.ends_with("\n100000"));
    }
}
