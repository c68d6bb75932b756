//! The lab of `scripts/lab`, driven from tests.

use crate::metrics::Metrics;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a condition is waited for. Generous: it is reached only where something is broken, and then the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// One of the two realms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Realm {
    /// `a.demo.`, hosts a1 and a2, gateway gwa.
    A,
    /// `b.demo.`, hosts b1 and b2, gateway gwb.
    B,
}

impl Realm {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    fn letter(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// What a command left.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was run, for the message of a failed assertion.
    pub command: String,
    /// Its exit status; -1 for a signal.
    pub status: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Outcome {
    /// Whether it ended with status 0.
    pub fn ok(&self) -> bool {
        self.status == 0
    }

    /// Its output, after asserting that it succeeded.
    #[track_caller]
    pub fn expect(&self) -> &str {
        assert!(self.ok(), "{self}");
        &self.stdout
    }

    /// Asserts that the output contains this.
    #[track_caller]
    pub fn says(&self, text: &str) {
        assert!(
            self.stdout.contains(text) || self.stderr.contains(text),
            "{text:?} is not in what was printed\n{self}"
        );
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "$ {}\n{}{}[status {}]", self.command, self.stdout, self.stderr, self.status)
    }
}

/// A change to a configuration file for one test: replace the first text, which must be there, by the second.
pub type Edit = (Realm, &'static str, &'static str);

/// Two realms in namespaces; removed when dropped.
pub struct Lab {
    root: PathBuf,
    binaries: PathBuf,
    directory: PathBuf,
    /// What the running gateways were started with; `None` when one of them may be down.
    running: Mutex<Option<Vec<Edit>>>,
}

impl Lab {
    /// Makes the namespaces, the name server, the web server and the iperf3 server; no gateway yet.
    pub fn up() -> Result<Self, String> {
        // Of the tree that is being tested, which is not the one that this was built in where a target directory was copied.
        let tests = std::env::var("CARGO_MANIFEST_DIR").map_err(|_| "not run by cargo")?;
        let root = Path::new(&tests).parent().ok_or("no workspace")?.to_owned();
        let binaries =
            std::env::var_os("CES_BIN").ok_or("CES_BIN does not say where the programs are")?.into();
        let directory = std::env::temp_dir().join(format!("ces-lab.test-{}", std::process::id()));
        let lab = Self { root, binaries, directory, running: Mutex::new(None) };
        let made = lab.script(&["up", "--plain"]);
        if made.ok() { Ok(lab) } else { Err(made.to_string()) }
    }

    /// The state directory: configurations, keys, logs, pid files.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where `cesd` and `cesctl` are.
    pub fn binaries(&self) -> &Path {
        &self.binaries
    }

    /// The repository.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.root.join("scripts/lab"));
        command
            .args(arguments)
            .env("CES_LAB", &self.directory)
            .env("CES_BIN", &self.binaries)
            .stdin(Stdio::null());
        command
    }

    fn script(&self, arguments: &[&str]) -> Outcome {
        outcome(format!("scripts/lab {}", arguments.join(" ")), &mut self.command(arguments))
    }

    /// Runs a shell command line in a node: a1, a2, b1, b2, d1, gwa, gwb, la, lb or net.
    pub fn run(&self, node: &str, line: &str) -> Outcome {
        let mut command = self.command(&["in", node, "sh", "-c", line]);
        outcome(format!("[{node}] {line}"), &mut command)
    }

    /// A server on a node, which is up when something listens on this TCP or UDP socket there: an address and port, or `:` and
    /// a port.
    pub fn serve(&self, node: &str, socket: &str, line: &str) -> Background {
        let server = self.background(node, line);
        let up = || self.run(node, "ss -Hlntu").expect().contains(&format!("{socket} "));
        assert!(eventually(up), "nothing listens on {socket}: {}", server.end());
        server
    }

    /// Starts a shell command line in a node and goes on. It is ended when the returned value is dropped.
    pub fn background(&self, node: &str, line: &str) -> Background {
        let mut command = self.command(&["in", node, "sh", "-c", &format!("exec {line}")]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("scripts/lab runs");
        Background { child: Some(child), command: format!("[{node}] {line}") }
    }

    /// Runs one of the Python tools beside the tests in a node.
    pub fn tool(&self, node: &str, name: &str, arguments: &str) -> Outcome {
        let path = self.root.join("tests/tools").join(name);
        self.run(node, &format!("python3 {} {arguments}", path.display()))
    }

    /// One ping, which must be answered, whatever is not known yet of the host and of the way there.
    #[track_caller]
    pub fn reach(&self, node: &str, name: &str) {
        self.run(node, &format!("ping -n -c 1 -W 10 {name}")).expect();
    }

    /// `dig +short` from a host to its gateway: the answers, one a line.
    pub fn dig(&self, node: &str, question: &str) -> String {
        self.run(node, &format!("dig +short +time=5 +tries=2 {question}")).expect().trim().to_owned()
    }

    /// The status of an answer, such as `NXDOMAIN`, from `dig`'s header.
    pub fn dig_status(&self, node: &str, question: &str) -> String {
        let answer = self.run(node, &format!("dig +time=5 +tries=2 {question}"));
        let status = answer.expect().split("status: ").nth(1).and_then(|rest| rest.split(',').next());
        status.unwrap_or_else(|| panic!("no status\n{answer}")).to_owned()
    }

    /// Sees to it that both gateways run, with these changes to the lab's configuration and no others.
    pub fn gateways(&self, edits: &[Edit]) {
        if self.running().as_deref() == Some(edits) {
            return;
        }
        *self.running() = None;
        for realm in Realm::BOTH {
            self.stop(realm);
            let mut text = self.shipped_config(realm);
            for (_, from, to) in edits.iter().filter(|edit| edit.0 == realm) {
                assert!(text.contains(from), "{from:?} is not in cesd.toml of realm {realm:?}");
                text = text.replacen(from, to, 1);
            }
            self.write_config(realm, &text);
            self.start(realm);
        }
        *self.running() = Some(edits.to_vec());
    }

    fn running(&self) -> MutexGuard<'_, Option<Vec<Edit>>> {
        // A case that failed while it held this left a value that is still true or `None`.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lab's own `cesd.toml` of a realm, rendered.
    pub fn shipped_config(&self, realm: Realm) -> String {
        let path = self.root.join("tests/lab").join(realm.letter()).join("cesd.toml");
        let text = std::fs::read_to_string(path).expect("the lab has a configuration");
        text.replace("@STATE@", &self.directory.display().to_string())
    }

    /// Replaces `cesd.toml` of a realm.
    pub fn write_config(&self, realm: Realm, text: &str) {
        std::fs::write(self.directory.join(realm.letter()).join("cesd.toml"), text)
            .expect("the state directory is ours");
    }

    /// Starts a gateway and waits until it answers `cesctl`.
    pub fn start(&self, realm: Realm) {
        self.script(&["gateway", realm.letter(), "start"]).expect();
    }

    /// Ends a gateway with SIGTERM and waits until it is gone.
    pub fn stop(&self, realm: Realm) -> Outcome {
        *self.running() = None;
        let outcome = self.script(&["gateway", realm.letter(), "stop"]);
        outcome.expect();
        outcome
    }

    /// Ends a gateway with SIGKILL.
    pub fn kill(&self, realm: Realm) {
        *self.running() = None;
        self.script(&["gateway", realm.letter(), "kill"]).expect();
    }

    /// Starts or stops one of the lab's servers: named, web, iperf3, odd.
    pub fn server(&self, name: &str, what: &str) {
        self.script(&["server", name, what]).expect();
    }

    /// The process id of a gateway.
    pub fn pid(&self, realm: Realm) -> u32 {
        let path = self.directory.join("run").join(format!("gw{}.pid", realm.letter()));
        std::fs::read_to_string(path).expect("the gateway runs").trim().parse().expect("a process id")
    }

    /// Whether a gateway's process is there.
    pub fn is_running(&self, realm: Realm) -> bool {
        lives(self.pid(realm))
    }

    /// What a gateway has logged since it was first started.
    pub fn log(&self, realm: Realm) -> String {
        std::fs::read_to_string(self.directory.join("log").join(format!("gw{}.log", realm.letter())))
            .unwrap_or_default()
    }

    /// `cesctl` with these arguments.
    pub fn ctl(&self, realm: Realm, arguments: &str) -> Outcome {
        let mut list = vec!["ctl", realm.letter()];
        list.extend(arguments.split_whitespace());
        self.script(&list)
    }

    /// `cesctl --json` with these arguments, parsed.
    #[track_caller]
    pub fn json(&self, realm: Realm, arguments: &str) -> serde_json::Value {
        let outcome = self.ctl(realm, &format!("--json {arguments}"));
        serde_json::from_str(outcome.expect()).unwrap_or_else(|error| panic!("not JSON: {error}\n{outcome}"))
    }

    /// A scrape of `/metrics`.
    #[track_caller]
    pub fn metrics(&self, realm: Realm) -> Metrics {
        let page = self.run(&format!("gw{}", realm.letter()), "curl -sf http://127.0.0.1:9180/metrics");
        Metrics::parse(page.expect()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// How many packets a gateway has dropped for this reason.
    pub fn drops(&self, realm: Realm, reason: &str) -> u64 {
        self.metrics(realm).sum("ces_drops_total", &[("reason", reason)]) as u64
    }

    /// Does something and waits until the gateway has counted at least `count` more drops for this reason.
    #[track_caller]
    pub fn drops_more(&self, realm: Realm, reason: &str, count: u64, doing: impl FnOnce()) {
        let before = self.drops(realm, reason);
        doing();
        let mut now = before;
        let reached = eventually(|| {
            now = self.drops(realm, reason);
            now >= before + count
        });
        assert!(
            reached,
            "drops for {reason}: {before} before, {now} after, {count} more were expected\n{}",
            self.all_drops(realm)
        );
    }

    fn all_drops(&self, realm: Realm) -> String {
        self.ctl(realm, "show drops").stdout
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::env::var_os("CES_KEEP").is_some() {
            eprintln!(
                "CES_KEEP is set: the lab stays up. End it with: CES_LAB={} scripts/lab down",
                self.directory.display()
            );
            return;
        }
        let down = self.script(&["down"]);
        if !down.ok() {
            eprintln!("the lab did not go down cleanly\n{down}");
        }
    }
}

/// A process in a node that runs while a test goes on.
pub struct Background {
    child: Option<Child>,
    command: String,
}

impl Background {
    /// The next line that it prints.
    pub fn line(&mut self) -> String {
        let output = self.child.as_mut().and_then(|child| child.stdout.as_mut()).expect("it is piped");
        // A byte at a time, so that what comes after the line stays for `wait`.
        let (mut bytes, mut byte) = (Vec::new(), [0]);
        while matches!(output.read(&mut byte), Ok(1)) && byte != *b"\n" {
            bytes.extend(byte);
        }
        String::from_utf8(bytes).expect("it prints text")
    }

    /// Waits for its end and says what it left.
    pub fn wait(mut self) -> Outcome {
        let child = self.child.take().expect("it is taken once");
        let output = child.wait_with_output().expect("a child of ours can be waited for");
        from_output(self.command.clone(), &output)
    }

    /// Ends it with SIGTERM, by its process id, and says what it left.
    pub fn end(mut self) -> Outcome {
        let child = self.child.take().expect("it is taken once");
        let _ = Command::new("kill").arg(child.id().to_string()).status();
        let output = child.wait_with_output().expect("a child of ours can be waited for");
        from_output(self.command.clone(), &output)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether a process runs. What is dead may stay listed until init collects it.
pub fn lives(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with('Z')))
}

/// Waits until a condition holds; `false` if it never does.
pub fn eventually(mut holds: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !holds() {
        if start.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    true
}

fn outcome(name: String, command: &mut Command) -> Outcome {
    match command.output() {
        Ok(output) => from_output(name, &output),
        Err(error) => Outcome { command: name, status: -1, stdout: String::new(), stderr: error.to_string() },
    }
}

fn from_output(command: String, output: &std::process::Output) -> Outcome {
    let mut stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code().is_none() {
        let _ = write!(stderr, "\n{}", output.status);
    }
    Outcome {
        command,
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr,
    }
}
