//! A command of the user's that runs beside a trial: its exit status and the end of what it printed.

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Of what a command prints, so many bytes at the end are kept.
const TAIL: usize = 4096;
/// A command that has not ended so long after the trial is ended.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether it has ended.
const POLL: Duration = Duration::from_millis(20);

/// A command that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    output: JoinHandle<Vec<u8>>,
    begun: Instant,
    ended: Option<(Duration, Option<i32>)>,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Outcome {
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
        let (reader, writer) = io::pipe()?;
        let mut command = Command::new("sh");
        command.arg("-c").arg(line).stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        let child = command.spawn()?;
        // The writers must be closed here, or the reader would never see the end.
        drop(command);
        let output = std::thread::spawn(move || tail_of(reader));
        Ok(Running { child, output, begun: Instant::now(), ended: None })
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
    pub fn finish(mut self) -> Outcome {
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
        // A child of its own that lives on would keep the pipe open for ever; what it printed is not waited for.
        let deadline = Instant::now() + Duration::from_secs(1);
        while !self.output.is_finished() && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        let output =
            if self.output.is_finished() { self.output.join().unwrap_or_default() } else { Vec::new() };
        let output_tail = String::from_utf8_lossy(&output).trim_end().to_owned();
        Outcome { status, seconds: duration.as_secs_f64(), killed, output_tail }
    }
}

fn tail_of(mut reader: impl Read) -> Vec<u8> {
    let (mut tail, mut buffer) = (Vec::new(), [0; TAIL]);
    while let Ok(length @ 1..) = reader.read(&mut buffer) {
        tail.extend_from_slice(&buffer[..length]);
        let too_many = tail.len().saturating_sub(TAIL);
        tail.drain(..too_many);
    }
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
        assert!(outcome.output_tail.len() <= TAIL && outcome.output_tail.ends_with("\n100000"));
    }
}
