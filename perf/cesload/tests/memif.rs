//! The generator in one process, a wire with faults in another, shared memory (`net_memif`) between them: each fault is
//! reported as exactly what it is.
//!
//! DPDK starts once in a process, so each part is this binary again, with its role in the environment. No huge pages, no root.

use ces_load::port;
use ces_load::profile::{self, Profile};
use ces_load::stream::DpdkEngine;
use ces_load::trial::{Failure, Trial, Trials, Watch};
use ces_load::wire::{self, Faults};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const ROLE: &str = "CESLOAD_TEST_ROLE";
const DIRECTORY: &str = "CESLOAD_TEST_DIRECTORY";
/// The N of the faults: more than a trial's every thousandth packet comes by.
const EVERY: u64 = 1000;
const DELAY_NS: u64 = 5_000_000;
/// Packets a second: few, so that a busy machine sends them all the same.
const RATE: f64 = 20_000.0;
const SENDING: Duration = Duration::from_millis(400);
/// A line of a child with this before it is for its parent.
const SAYS: &str = "cesload-test ";

/// Each process polls on a core of its own as far as there are some: one case at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const PROFILE: &str = r#"
[memory]
mib = 64
[generator]
link_wait_s = 20
[[port]]
name = "left"
mtu = 1600
device = "net_memif0,role=client,id=0,socket-abstract=no,socket=SOCKET"
[[port]]
name = "right"
mtu = 1600
device = "net_memif1,role=client,id=1,socket-abstract=no,socket=SOCKET"
[[stream]]
name = "there"
from = "left"
to = "right"
sizes = [{ size = 64, weight = 3 }, { size = 1618, weight = 1 }]
source = "192.0.2.1"
destination = "198.51.100.1"
probes_per_second = PROBES
"#;

fn profile(directory: &Path, probes: u32) -> Profile {
    let socket = directory.join("s");
    let text =
        PROFILE.replace("SOCKET", &socket.display().to_string()).replace("PROBES", &probes.to_string());
    profile::parse("test.toml", &text, Path::new(""), &[]).expect("the profile is right")
}

/// A role of this binary, in a process of its own. As a test of its own it does nothing.
#[test]
fn role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let directory = PathBuf::from(std::env::var(DIRECTORY).expect("a role has its directory"));
    match role.as_str() {
        "drop" => device(&directory, Faults { drop_every: EVERY, ..Faults::default() }),
        "duplicate" => device(&directory, Faults { duplicate_every: EVERY, ..Faults::default() }),
        "reorder" => device(&directory, Faults { reorder_every: EVERY, ..Faults::default() }),
        "delay" => device(&directory, Faults { delay_ns: DELAY_NS, ..Faults::default() }),
        "wire" => device(&directory, Faults::default()),
        "generator" => generator(&directory, Some(RATE), SENDING, 0),
        "prober" => generator(&directory, Some(RATE), SENDING, 1000),
        "flood" => generator(&directory, Some(1e9), SENDING, 0),
        "answerer" => answerer(&directory),
        "asker" => asker(&directory),
        "lonely" => lonely(&directory),
        "endless" => generator(&directory, Some(RATE), Duration::from_mins(1), 0),
        other => panic!("no role {other}"),
    }
}

/// Carries frames until the parent closes our standard input.
fn device(directory: &Path, faults: Faults) {
    let open = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let of_reader = std::sync::Arc::clone(&open);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_line(&mut String::new());
        of_reader.store(false, std::sync::atomic::Ordering::Relaxed);
    });
    let socket = directory.join("s");
    let end = |number: u32| {
        format!("net_memif{number},role=server,id={number},socket-abstract=no,socket={}", socket.display())
    };
    let settings =
        wire::WireSettings { devices: [end(0), end(1)], faults, core: None, huge_pages: false, queues: 1 };
    wire::run(&settings, &mut || open.load(std::sync::atomic::Ordering::Relaxed)).expect("the wire runs");
}

/// Runs a trial and says what became of it.
fn generator(directory: &Path, rate: Option<f64>, sending: Duration, probes: u32) {
    let profile = profile(directory, probes);
    let ports = match port::open(&profile, &mut |_| ()) {
        Ok(ports) => ports,
        Err(error) => return say("error", error),
    };
    let mut engine = DpdkEngine::over(&profile, ports).expect("there is memory for one flow");
    let mut told = false;
    let result = engine.run(rate, sending, &mut |progress| {
        if !told && progress.counts.received > 0 {
            say("running", 1);
            told = true;
        }
        Watch::Continue
    });
    let trial = match result {
        Ok(trial) => trial,
        Err(Failure { why, partial }) => {
            say("error", why);
            *partial.expect("what was measured so far")
        }
    };
    say_trial(&trial);
}

/// Addresses of the two that find each other by ARP.
const ADDRESSES: [&str; 2] = ["192.0.2.1", "192.0.2.2"];

/// One port, that is `gateway`'s or looks for it.
fn one_port(directory: &Path, role: &str, own: &str, further: &str) -> Profile {
    let device =
        format!("net_memif0,role={role},socket-abstract=no,socket={}", directory.join("s").display());
    let text = format!(
        "[memory]\nmib = 64\n[[port]]\nname = \"only\"\ndevice = \"{device}\"\nmac = \"02:00:00:00:00:{own}\"\n{further}\n\
         [[stream]]\nname = \"own\"\nfrom = \"only\"\nto = \"only\"\nsize = 64\nsource = \"192.0.2.1\"\n\
         destination = \"192.0.2.9\"\n"
    );
    profile::parse("test.toml", &text, Path::new(""), &[]).expect("the profile is right")
}

/// Sends a little for a while, and answers for a network meanwhile.
fn answerer(directory: &Path) {
    let profile = one_port(directory, "server", "0a", "answers_for = [\"192.0.2.0/24\"]");
    let ports = port::open(&profile, &mut |_| ()).expect("the asker comes");
    let mut engine = DpdkEngine::over(&profile, ports).expect("there is memory for one flow");
    let _ = engine.run(Some(10.0), Duration::from_mins(1), &mut |_| Watch::Continue);
}

/// Asks for its gateway.
fn asker(directory: &Path) {
    let [own, gateway] = ADDRESSES;
    let further = format!("address = \"{own}\"\ngateway = \"{gateway}\"\nanswers_for = [\"192.0.2.0/24\"]");
    match port::open(&one_port(directory, "client", "0b", &further), &mut |_| ()) {
        Ok(ports) => say("peer", format!("{:?}", ports.ports[0].facts.peer)),
        Err(error) => say("error", error),
    }
}

/// Waits for a peer that never comes.
fn lonely(directory: &Path) {
    let mut profile = profile(directory, 0);
    profile.generator.link_wait_s = 1;
    if let Err(error) = port::open(&profile, &mut |_| ()) {
        say("error", error);
    }
}

fn say(key: &str, value: impl std::fmt::Display) {
    println!("\n{SAYS}{key} {value}");
    std::io::stdout().flush().expect("the parent listens");
}

fn say_trial(trial: &Trial) {
    let counts = &trial.counts;
    say("sent", counts.sent);
    say("received", counts.received);
    say("lost", counts.lost());
    say("duplicated", counts.duplicated);
    say("reordered", counts.reordered);
    say("other", counts.stale + counts.misplaced + trial.foreign + trial.late + trial.missed_by_generator);
    let latency = trial.latency_us.as_ref();
    say("probes", latency.map_or(0, |latency| latency.count));
    say("delay", latency.map_or(0.0, |latency| latency.min));
    say("reached", trial.reached());
    say("notes", trial.notes.join("; "));
}

/// A directory that goes away with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cesload-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory can be made");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A child with a role, which ends with the test.
struct Role(Child, BufReader<ChildStdout>);

impl Role {
    fn start(role: &str, directory: &Directory) -> Self {
        let this = std::env::current_exe().expect("the test binary has a path");
        let mut child = Command::new(this)
            .args(["role", "--exact", "--nocapture"])
            .env(ROLE, role)
            .env(DIRECTORY, &directory.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test binary can be run");
        let output = child.stdout.take().expect("its output is piped");
        Self(child, BufReader::new(output))
    }

    /// What it says until it ends, or until it has said `last`.
    fn listen(&mut self, last: &str) -> HashMap<String, String> {
        let mut said = HashMap::new();
        for line in self.1.by_ref().lines() {
            let line = line.expect("it writes text");
            let Some((key, value)) = line.strip_prefix(SAYS).and_then(|words| words.split_once(' ')) else {
                continue;
            };
            said.insert(key.to_owned(), value.to_owned());
            if key == last {
                break;
            }
        }
        said
    }

    /// Ends it as a crash would.
    fn kill(mut self) {
        self.0.kill().expect("it can be killed");
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a generator says of a trial through such a wire.
fn through(wire: &str, generator: &str) -> impl Fn(&str) -> f64 + use<> {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = Directory::new(wire);
    let _wire = Role::start(wire, &directory);
    let said = Role::start(generator, &directory).listen("");
    let text = format!("{said:?}");
    assert!(!said.contains_key("error"), "{text}");
    move |key| {
        said.get(key).and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {key} in {text}"))
    }
}

fn every(sent: f64) -> f64 {
    (sent / EVERY as f64).floor()
}

#[track_caller]
fn assert_same(found: f64, expected: f64) {
    assert!((found - expected).abs() < 0.5, "found {found}, expected {expected}");
}

#[test]
fn every_thousandth_dropped_is_lost() {
    let said = through("drop", "generator");
    assert!(every(said("sent")) >= 1.0);
    assert_same(said("lost"), every(said("sent")));
    assert_same(said("duplicated") + said("reordered") + said("other"), 0.0);
}

#[test]
fn every_thousandth_sent_twice_is_duplicated() {
    let said = through("duplicate", "generator");
    assert!(every(said("sent")) >= 1.0);
    assert_same(said("duplicated"), every(said("sent")));
    assert_same(said("lost") + said("reordered") + said("other"), 0.0);
}

#[test]
fn every_thousandth_sent_after_its_successor_is_reordered() {
    let said = through("reorder", "generator");
    assert!(every(said("sent")) >= 1.0);
    // The last packet has no successor.
    let last = if said("sent") % EVERY as f64 == 0.0 { 1.0 } else { 0.0 };
    assert_same(said("reordered"), every(said("sent")) - last);
    assert_same(said("lost") + said("duplicated") + said("other"), 0.0);
}

#[test]
fn a_delay_is_in_every_probe() {
    let said = through("delay", "prober");
    assert!(said("probes") >= 1.0);
    // Three digits: the histogram's lowest value stands for up to a thousandth less.
    assert!(said("delay") >= DELAY_NS as f64 / 1000.0 * 0.999, "{} µs", said("delay"));
    assert_same(said("lost") + said("duplicated") + said("reordered") + said("other"), 0.0);
}

#[test]
fn a_rate_that_the_ports_cannot_reach_is_said() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = Directory::new("flood");
    let _wire = Role::start("wire", &directory);
    let said = Role::start("flood", &directory).listen("");
    let number = |key: &str| said[key].parse::<f64>().unwrap_or_else(|_| panic!("{said:?}"));
    assert!(number("reached") < 0.9, "{said:?}");
    assert!(said["notes"].contains("packets/s asked for"), "{said:?}");
    assert!((number("sent") - number("received") - number("lost")).abs() < 0.5, "{said:?}");
}

#[test]
fn a_peer_that_leaves_is_an_error_with_what_was_measured() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = Directory::new("leave");
    let wire = Role::start("wire", &directory);
    let mut generator = Role::start("endless", &directory);
    generator.listen("running");
    wire.kill();
    let said = generator.listen("");
    assert!(
        said["error"].starts_with("port left: ") || said["error"].starts_with("port right: "),
        "{said:?}"
    );
    assert!(said["received"].parse::<u64>().is_ok_and(|received| received > 0), "{said:?}");
}

#[test]
fn a_gateway_is_found_by_arp_and_answers_while_it_sends() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = Directory::new("arp");
    let _answerer = Role::start("answerer", &directory);
    let said = Role::start("asker", &directory).listen("");
    assert_eq!(said.get("peer").map(String::as_str), Some("Some([2, 0, 0, 0, 0, 10])"), "{said:?}");
}

#[test]
fn a_peer_that_is_not_there_is_said() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = Directory::new("absent");
    let said = Role::start("lonely", &directory).listen("");
    assert!(said["error"].starts_with("port left: no peer has connected to net_memif0"), "{said:?}");
}
