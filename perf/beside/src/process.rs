//! Other programs: started on a core of their own, ended with whoever started them, heard through a file.

use crate::interrupt;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where a program runs.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The only core that it may use; all if absent.
    pub core: Option<usize>,
    /// The network namespace; ours if absent.
    pub namespace: Option<String>,
}

/// A program with its arguments.
#[derive(Clone, Debug)]
pub struct Line {
    place: Place,
    words: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Line {
    /// A program in a place.
    pub fn new(place: &Place, program: impl AsRef<Path>) -> Self {
        let words = vec![program.as_ref().display().to_string()];
        Self { place: place.clone(), words, environment: Vec::new() }
    }

    /// Further arguments.
    pub fn args<T: Into<String>>(mut self, words: impl IntoIterator<Item = T>) -> Self {
        self.words.extend(words.into_iter().map(Into::into));
        self
    }

    /// A variable of its environment.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// What is started: `setpriv` has the kernel end the program should this one die, `taskset` keeps it on its core,
    /// `ip netns exec` puts it in its namespace; each becomes the next.
    fn command(&self) -> Command {
        let mut words: Vec<String> = ["setpriv", "--pdeathsig", "KILL"].map(String::from).into();
        if let Some(core) = self.place.core {
            words.extend(["taskset".to_owned(), "-c".to_owned(), core.to_string()]);
        }
        if let Some(namespace) = &self.place.namespace {
            words.extend(["ip", "netns", "exec", namespace].map(String::from));
        }
        words.extend(self.words.iter().cloned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).envs(self.environment.iter().cloned());
        command
    }

    /// The program's name, without its directory.
    fn name(&self) -> String {
        Path::new(&self.words[0]).file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The whole line, as one would type it.
    pub fn text(&self) -> String {
        self.words.join(" ")
    }

    /// Runs it to its end, at most so long, and returns what it printed. An error quotes what it complained of.
    pub fn output(&self, most: Duration) -> Result<String, String> {
        self.feed("", most)
    }

    /// The same with this on its standard input.
    pub fn feed(&self, input: &str, most: Duration) -> Result<String, String> {
        let name = self.name();
        let failed = |error: &dyn std::fmt::Display| format!("{name}: {error}");
        let mut child = self
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(&error))?;
        // Each stream has its thread: none of them can fill up and stop the program.
        let (mut stdin, input) = (child.stdin.take(), input.to_owned());
        let writer = std::thread::spawn(move || {
            if let Some(stdin) = &mut stdin {
                let _ = stdin.write_all(input.as_bytes()); // one that does not read says so itself
            }
        });
        let (out, err) = (read(child.stdout.take()), read(child.stderr.take()));
        let status =
            match interrupt::wait("it did not end", most, || child.try_wait().map_err(|e| failed(&e))) {
                Ok(status) => status,
                Err(error) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(failed(&error));
                }
            };
        let _ = writer.join();
        let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
        if status.success() {
            return Ok(out);
        }
        let said = if err.trim().is_empty() { &out } else { &err };
        Err(format!("{name}: {}", last_lines(said).unwrap_or_else(|| status.to_string())))
    }

    /// Starts it. What it prints goes to a file in `directory`.
    pub fn start(&self, directory: &Path, label: &str) -> Result<Process, String> {
        let name = self.name();
        let log = directory.join(format!("{label}.log"));
        let failed = |error: std::io::Error| format!("{name}: {error}");
        let file = File::create(&log).map_err(failed)?;
        let child = self
            .command()
            .stdin(Stdio::piped())
            .stdout(file.try_clone().map_err(failed)?)
            .stderr(file)
            .spawn()
            .map_err(failed)?;
        Ok(Process { name, child, log, heard: 0 })
    }
}

fn read(stream: Option<impl std::io::Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The end of what a program said, in one line.
fn last_lines(text: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(3)..].join("; ");
    (!last.is_empty()).then_some(last)
}

/// A running program; it ends when this is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    /// Bytes of what it printed that were heard already.
    heard: usize,
}

/// How long a program may take to end when it is asked to.
const END_WAIT: Duration = Duration::from_secs(3);

impl Process {
    /// Says a line on its standard input.
    pub fn say(&mut self, line: &str) -> Result<(), String> {
        let stdin = self.child.stdin.as_mut().ok_or("its standard input is closed")?;
        writeln!(stdin, "{line}")
            .and_then(|()| stdin.flush())
            .map_err(|error| format!("{}: {error}", self.name))
    }

    /// Everything it printed since the last time, once `enough` says so.
    pub fn hear(&mut self, most: Duration, enough: impl Fn(&str) -> bool) -> Result<String, String> {
        let what = format!("{} said nothing that was waited for", self.name);
        let text = interrupt::wait(&what, most, || {
            let bytes = std::fs::read(&self.log).map_err(|error| format!("{}: {error}", self.name))?;
            let text = String::from_utf8_lossy(bytes.get(self.heard..).unwrap_or_default()).into_owned();
            if enough(&text) {
                self.heard = bytes.len();
                return Ok(Some(text));
            }
            self.check().map(|()| None)
        });
        text.map_err(|error| match self.last() {
            Some(last) if !error.contains(&last) => format!("{error}; {last}"),
            _ => error,
        })
    }

    /// An error if it has ended.
    pub fn check(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                Err(format!("{} ended: {}", self.name, self.last().unwrap_or_else(|| status.to_string())))
            }
            Err(error) => Err(format!("{}: {error}", self.name)),
        }
    }

    fn last(&self) -> Option<String> {
        std::fs::read(&self.log).ok().and_then(|bytes| last_lines(&String::from_utf8_lossy(&bytes)))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its threads whose names begin so, by id.
    pub fn threads(&self, name: &str) -> Vec<String> {
        let Ok(tasks) = std::fs::read_dir(format!("/proc/{}/task", self.id())) else { return Vec::new() };
        tasks
            .flatten()
            .filter(|task| {
                std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.starts_with(name))
            })
            .map(|task| task.file_name().to_string_lossy().into_owned())
            .collect()
    }

    /// Whether it has memory mapped of a file whose name contains this.
    pub fn maps(&self, name: &str) -> bool {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", self.id()));
        maps.is_ok_and(|maps| maps.contains(name))
    }

    /// Ends its standard input, and waits for it to end by itself.
    pub fn finish(mut self, most: Duration) -> Result<(), String> {
        drop(self.child.stdin.take());
        let what = format!("{} did not end", self.name);
        interrupt::wait(&what, most, || self.child.try_wait().map_err(|error| error.to_string())).map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
            let end = Instant::now() + END_WAIT;
            while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn shell(script: &str) -> Line {
        Line::new(&Place::default(), "sh").args(["-c", script])
    }

    #[test]
    fn a_program_that_fails_is_quoted() {
        assert_eq!(shell("cat; echo b").feed("a\n", SECOND).unwrap(), "a\nb\n");
        let error = shell("echo no such thing >&2; exit 3").output(SECOND).unwrap_err();
        assert_eq!(error, "sh: no such thing");
        let error = Line::new(&Place::default(), "ces-no-such-program").output(SECOND).unwrap_err();
        assert!(error.contains("ces-no-such-program"), "{error}");
    }

    #[test]
    fn a_program_that_waits_for_the_end_of_its_input_ends() {
        let label = format!("ces-beside-finish-{}", std::process::id());
        let process = shell("cat; exit 0").start(&std::env::temp_dir(), &label).unwrap();
        process.finish(SECOND * 9).unwrap();
        std::fs::remove_file(std::env::temp_dir().join(format!("{label}.log"))).unwrap();
    }

    #[test]
    fn a_program_is_heard_line_by_line_and_ends_when_it_is_dropped() {
        let directory = std::env::temp_dir();
        let label = format!("ces-beside-test-{}", std::process::id());
        let mut process =
            shell("while read x; do echo got $x; done; sleep 9").start(&directory, &label).unwrap();
        process.say("1").unwrap();
        assert_eq!(process.hear(SECOND * 9, |text| text.contains('\n')).unwrap(), "got 1\n");
        process.say("2").unwrap();
        assert_eq!(process.hear(SECOND * 9, |text| text.contains('\n')).unwrap(), "got 2\n");
        let id = process.id();
        assert_eq!(process.threads("sh"), [id.to_string()]);
        assert!(process.threads("ces-no-such").is_empty() && !process.maps("ces-no-such"));
        drop(process);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
        std::fs::remove_file(directory.join(format!("{label}.log"))).unwrap();
    }
}
