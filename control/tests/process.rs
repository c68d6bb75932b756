//! cesd and cesctl as processes, on devices that need no hardware. Needs root and /dev/net/tun, as cesd does; where they
//! are missing the tests say so and pass.

use ces_control::log::{Format, Log, LogLevel};
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const CESD: &str = env!("CARGO_BIN_EXE_cesd");
const CESCTL: &str = env!("CARGO_BIN_EXE_cesctl");
/// Generous: only reached when something is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// A namespace of its own, so that TAPs, addresses and listeners disturb nobody.
struct Place {
    name: String,
    directory: PathBuf,
}

fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

impl Place {
    /// `None` where there can be none.
    fn new(test: &str) -> Option<Self> {
        let name = format!("ces-{test}-{}", std::process::id());
        if !Path::new("/dev/net/tun").exists() || !run("ip", &["netns", "add", &name]) {
            eprintln!("skipped: this needs root and /dev/net/tun");
            return None;
        }
        run("ip", &["-n", &name, "link", "set", "lo", "up"]);
        let directory = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&directory).unwrap();
        Some(Self { name, directory })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]).current_dir(&self.directory);
        command
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn cesd(&self, arguments: &[&str]) -> Output {
        self.command("timeout").arg("20").arg(CESD).args(arguments).output().unwrap()
    }

    fn ctl(&self, arguments: &[&str]) -> Output {
        self.command(CESCTL).args(["--socket", "cesd.sock"]).args(arguments).output().unwrap()
    }

    fn links(&self) -> String {
        let output = Command::new("ip").args(["-n", &self.name, "-brief", "address"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Starts cesd and waits until it answers.
    fn start(&self, config: &str) -> Running<'_> {
        let path = self.write("cesd.toml", config);
        let child = self.command(CESD).arg("--config").arg(path).stderr(Stdio::piped()).spawn().unwrap();
        let mut running = Running { place: self, child };
        let end = Instant::now() + PATIENCE;
        while !self.ctl(&["show", "ports"]).status.success() {
            if running.child.try_wait().unwrap().is_some() || Instant::now() > end {
                let _ = running.child.kill();
                panic!("cesd did not come up: {}", running.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        running
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        run("ip", &["netns", "delete", &self.name]);
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

struct Running<'a> {
    place: &'a Place,
    child: Child,
}

impl Running<'_> {
    fn log(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut log) = self.child.stderr.take() {
            let _ = log.read_to_string(&mut text);
        }
        text
    }

    fn signal(&self, name: &str) {
        // `ip netns exec` replaces itself by the program, so the child's id is cesd's.
        assert!(run("kill", &[name, &self.child.id().to_string()]));
    }

    /// Sends a signal and waits for the end: the exit code and the log.
    fn stop(mut self, signal: &str) -> (Option<i32>, String) {
        self.signal(signal);
        let end = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "cesd does not stop");
            std::thread::sleep(Duration::from_millis(10));
        }
        let code = self.child.wait().unwrap().code();
        let log = self.log();
        assert!(!self.place.directory.join("cesd.sock").exists(), "the socket is left");
        assert!(!self.place.links().contains("ces-"), "a TAP is left");
        (code, log)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const CONFIG: &str = r#"
[[port]]
name = "inside"
device = "net_null0"
side = "inside"
addresses = ["10.1.0.1/24"]

[[port]]
name = "outside"
device = "net_null1"
side = "outside"
addresses = ["192.0.2.2/30"]
vlan = 7

[worker]
cores = [0]
idle_sleep_us = 1000

[memory]
mib = 96

[[route]]
to = "0.0.0.0/0"
via = "192.0.2.1"

[realm]
name = "test"
ces_id = "gwa.demo."
zones = ["a.demo."]
networks = ["10.1.0.0/24"]

[dns]
upstreams = ["203.0.113.53"]
name_server = "gwa.demo."

[cetp]
[[cetp.endpoints]]
address = "192.0.2.2"
port = 48001
proto = "tcp"

[[cetp.locators]]
address = "192.0.2.2"

[registry]
files = ["hosts.toml"]

[capacity]
bindings = 1024

[admin]
socket = "cesd.sock"

[metrics]
listen = "127.0.0.1:9180"
"#;

const HOSTS: &str = r#"
[[host]]
name = "h.a.demo."
address = "10.1.0.11"
"#;

fn place(test: &str) -> Option<Place> {
    let place = Place::new(test)?;
    place.write("hosts.toml", HOSTS);
    Some(place)
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn it_starts_shows_itself_and_stops_without_a_trace() {
    let Some(place) = place("start") else { return };
    for signal in ["-TERM", "-INT"] {
        let running = place.start(CONFIG);
        let links = place.links();
        assert!(links.contains("ces-inside") && links.contains("10.1.0.1/24"), "{links}");
        assert!(!links.contains("fe80:"), "IPv6 is off: {links}");
        for topic in [
            "ports",
            "workers",
            "bindings",
            "peers",
            "hosts",
            "dns",
            "drops",
            "tunnels",
            "neighbours",
            "pools",
            "control",
        ] {
            let words = place.ctl(&["show", topic]);
            assert!(words.status.success() && !words.stdout.is_empty(), "{topic}: {}", text(&words));
            let json = place.ctl(&["--json", "show", topic]);
            assert!(
                serde_json::from_slice::<serde_json::Value>(&json.stdout).is_ok(),
                "{topic}: {}",
                text(&json)
            );
        }
        assert!(text(&place.ctl(&["show", "hosts"])).contains("h.a.demo."));
        assert!(text(&place.ctl(&["show", "neighbours"])).contains("0.0.0.0/0"), "the static route is known");
        let page = place.command("curl").args(["-s", "http://127.0.0.1:9180/metrics"]).output().unwrap();
        let page = text(&page);
        assert!(page.is_empty() || page.contains("ces_drops_total{reason=\"truncated\"} 0"), "{page}");
        let (code, log) = running.stop(signal);
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("stopped") && !log.contains("panicked"), "{log}");
    }
}

#[test]
fn a_second_one_says_that_there_is_a_first() {
    let Some(place) = place("second") else { return };
    let running = place.start(CONFIG);
    let second = place.cesd(&["--config", "cesd.toml"]);
    assert_eq!(second.status.code(), Some(1), "{}", text(&second));
    assert!(text(&second).contains("another cesd answers"), "{}", text(&second));
    assert!(place.ctl(&["show", "ports"]).status.success(), "the first goes on");
    // With a socket of its own it fails at what else is taken.
    place.write("other.toml", &CONFIG.replace("cesd.sock", "other.sock"));
    let third = place.cesd(&["--config", "other.toml"]);
    assert!(text(&third).contains("another process has a TAP of this name"), "{}", text(&third));
    running.stop("-TERM");
}

#[test]
fn what_keeps_it_from_starting_is_said() {
    let Some(place) = place("refused") else { return };
    for (from, to, code, words) in [
        ("net_null0", "net_af_packet0,iface=nowhere", 1, "net_af_packet0"),
        ("net_null0", "0000:ff:1f.7", 1, "0000:ff:1f.7"),
        ("cores = [0]", "cores = [1000]", 1, "core 1000 is not there"),
        ("mib = 96", "mib = 32", 1, "memory"),
        (
            "mib = 96",
            "mib = 96\nhuge_page = true",
            2,
            "other.toml:21: memory.huge_page: unknown field `huge_page`",
        ),
        ("cesd.sock", "no/such/directory/sock", 1, "no/such/directory/sock"),
        ("hosts.toml", "nothing.toml", 2, "nothing.toml: cannot be read"),
        ("proto = \"tcp\"", "proto = \"tls\"", 2, "needs the section [tls]"),
        ("name = \"inside\"", "name = \"inside\"\ntap = \"lo\"", 1, "cannot make the TAP \"lo\""),
    ] {
        assert!(CONFIG.contains(from), "{from}");
        place.write("other.toml", &CONFIG.replacen(from, to, 1));
        let output = place.cesd(&["--config", "other.toml"]);
        let said = text(&output);
        assert!(
            output.status.code() == Some(code) && said.contains(words),
            "{to}: {:?} {said}",
            output.status
        );
        assert!(!said.contains("panicked") && !place.links().contains("ces-"), "{to}: {said}");
    }
    // A TCP port of ours that another process has.
    let mut other = place
        .command("timeout")
        .args(["20", "python3", "-c"])
        .arg("import socket,time; s=socket.create_server(('127.0.0.1', 9180)); print(1, flush=True); time.sleep(20)")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut byte = [0];
    if other.stdout.as_mut().unwrap().read(&mut byte).is_ok_and(|length| length == 1) {
        place.write("other.toml", CONFIG);
        let said = text(&place.cesd(&["--config", "other.toml"]));
        assert!(said.contains("metrics page on 127.0.0.1:9180: another process listens there"), "{said}");
    }
    let _ = other.kill();
    let _ = other.wait();
}

#[test]
fn check_reads_everything_and_starts_nothing() {
    let Some(place) = place("check") else { return };
    place.write("cesd.toml", CONFIG);
    let good = place.cesd(&["--config", "cesd.toml", "--check"]);
    assert!(good.status.success(), "{}", text(&good));
    assert!(!place.links().contains("ces-"));
    place.write("hosts.toml", "[[host]]\nname = \"elsewhere.demo.\"\naddress = \"10.1.0.11\"\n");
    let bad = place.cesd(&["--config", "cesd.toml", "--check"]);
    assert!(bad.status.code() == Some(2) && text(&bad).contains("hosts.toml:"), "{}", text(&bad));
}

#[test]
fn check_of_the_machine_says_what_is_in_the_way() {
    let Some(place) = place("doctor") else { return };
    place.write("cesd.toml", CONFIG);
    let check = ["--config", "cesd.toml", "--check", "--machine"];
    let good = place.cesd(&check);
    let said = text(&good);
    assert!(
        good.status.success() && said.contains("good  /dev/net/tun") && !said.contains("WRONG"),
        "{said}"
    );
    place.write("cesd.toml", &CONFIG.replacen("cores = [0]", "cores = [1023]", 1));
    let bad = place.cesd(&check);
    let said = text(&bad);
    assert!(bad.status.code() == Some(1) && said.contains("WRONG  worker's core 1023"), "{said}");
    assert!(said.contains("To do:\nworker's core 1023: "), "{said}");
    assert!(!place.links().contains("ces-"));
}

#[test]
fn reload_takes_hosts_and_says_what_it_cannot_take() {
    let Some(place) = place("reload") else { return };
    let running = place.start(CONFIG);
    let more = format!("{HOSTS}\n[[host]]\nname = \"i.a.demo.\"\naddress = \"10.1.0.12\"\n");
    place.write("hosts.toml", &more);
    let said = text(&place.ctl(&["reload"]));
    assert!(said.contains("1 hosts added"), "{said}");
    assert!(text(&place.ctl(&["show", "hosts"])).contains("i.a.demo."));
    place.write("cesd.toml", &CONFIG.replace("bindings = 1024", "bindings = 2048"));
    let said = text(&place.ctl(&["reload"]));
    assert!(said.contains("only a restart applies it: [capacity]"), "{said}");
    place.write("hosts.toml", "[[host]]\nname = 3\n");
    let refused = place.ctl(&["reload"]);
    assert!(!refused.status.success() && text(&refused).contains("hosts.toml:2"), "{}", text(&refused));
    assert!(text(&place.ctl(&["show", "hosts"])).contains("i.a.demo."), "what was stays");
    // The same by signal.
    place.write("hosts.toml", HOSTS);
    running.signal("-HUP");
    let end = Instant::now() + PATIENCE;
    while text(&place.ctl(&["show", "hosts"])).contains("i.a.demo.") {
        assert!(Instant::now() < end, "SIGHUP reloads");
        std::thread::sleep(Duration::from_millis(20));
    }
    running.stop("-TERM");
}

#[test]
fn addresses_routes_and_listeners_change_while_it_runs() {
    let Some(place) = place("live") else { return };
    let running = place.start(CONFIG);
    let listening = || {
        let output = place.command("ss").args(["-Hltn"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let reload = |config: &str| {
        place.write("cesd.toml", config);
        let output = place.ctl(&["reload"]);
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    };
    let more = CONFIG
        .replace("[\"192.0.2.2/30\"]", "[\"192.0.2.2/30\", \"192.0.2.66/26\"]\ntcp = [179]")
        .replace("[realm]", "[[route]]\nto = \"198.51.100.0/24\"\nvia = \"192.0.2.65\"\n\n[realm]")
        .replace("127.0.0.1:9180", "127.0.0.1:9181")
        .replace("[capacity]", "[punt]\ndns = 7\n\n[dns_tcp]\nconnections = 7\n\n[capacity]")
        + "\n[log]\nformat = \"json\"\n";
    let said = reload(&more);
    assert!(!said.contains("restart"), "{said}");
    assert!(place.links().contains("192.0.2.66/26"), "{}", place.links());
    let known = || text(&place.ctl(&["show", "neighbours"]));
    let end = Instant::now() + PATIENCE;
    while !known().contains("198.51.100.0/24") {
        assert!(Instant::now() < end, "{}", known());
        std::thread::sleep(Duration::from_millis(10));
    }
    let there = listening();
    for address in ["192.0.2.66:53", "127.0.0.1:9181", "192.0.2.2:48001"] {
        assert!(there.contains(address), "{address}: {there}");
    }
    assert!(!there.contains("127.0.0.1:9180"), "{there}");
    assert!(text(&place.ctl(&["show", "ports"])).contains("192.0.2.66/26"));
    // And back, with the socket of cesctl elsewhere: the answer still comes where it was asked.
    let back = CONFIG.replace("cesd.sock", "other.sock");
    reload(&back);
    assert!(!place.links().contains("192.0.2.66"), "{}", place.links());
    // Routes are learnt from the kernel, whether they come or go.
    let end = Instant::now() + PATIENCE;
    while known_at(&place, "other.sock").contains("198.51.100.0") {
        assert!(Instant::now() < end, "{}", known_at(&place, "other.sock"));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(known_at(&place, "other.sock").contains("0.0.0.0/0"), "what stays is not lost with what goes");
    assert!(!listening().contains("192.0.2.66:53"), "{}", listening());
    // What cannot be had changes nothing.
    place.write("cesd.toml", &back.replace("192.0.2.2/30", "10.1.0.9/24"));
    let refused = place.command(CESCTL).args(["--socket", "other.sock", "reload"]).output().unwrap();
    assert!(!refused.status.success(), "{}", text(&refused));
    reload_at(&place, "other.sock", CONFIG);
    let (_, log) = running.stop("-TERM");
    assert!(log.contains("\"message\":\"reloaded") && log.contains(" INFO reloaded"), "both forms: {log}");
}

fn known_at(place: &Place, socket: &str) -> String {
    text(&place.command(CESCTL).args(["--socket", socket, "show", "neighbours"]).output().unwrap())
}

fn reload_at(place: &Place, socket: &str, config: &str) {
    place.write("cesd.toml", config);
    let output = place.command(CESCTL).args(["--socket", socket, "reload"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn wrong_orders_are_explained() {
    let Some(place) = place("orders") else { return };
    let running = place.start(CONFIG);
    for (arguments, words) in [
        (&["terminate", "session", "1234abcd"][..], "no session 1234abcd"),
        (&["terminate", "session", "xyz"], "hexadecimal"),
        (&["terminate", "peer", "gwz.demo"], "gwz.demo. is not up"),
        (&["block", "host", "nobody.a.demo"], "no host nobody.a.demo"),
        (&["block", "address", "192.0.2.9", "--seconds", "0"], "seconds: 1 to"),
        (&["unblock", "address", "192.0.2.9"], "was not blocked"),
        (&["trace", "--port", "middle"], "no port \"middle\"; there are inside, outside"),
        (&["trace", "--proto", "carrier-pigeon"], "icmp, tcp, udp"),
        (&["show", "moods"], "possible values"),
    ] {
        let output = place.ctl(arguments);
        assert!(
            !output.status.success() && text(&output).contains(words),
            "{arguments:?}: {}",
            text(&output)
        );
    }
    for (arguments, words) in [
        (&["block", "host", "h.a.demo", "--seconds", "5"][..], "blocked for 5 s"),
        (&["unblock", "host", "h.a.demo"], "may act again"),
        (&["block", "address", "192.0.2.9"], "blocked for 60 s"),
        (&["show", "peers"], "192.0.2.9"),
        (&["unblock", "address", "192.0.2.9"], "may connect again"),
        (&["flush"], "empty"),
    ] {
        let output = place.ctl(arguments);
        assert!(output.status.success() && text(&output).contains(words), "{arguments:?}: {}", text(&output));
    }
    running.stop("-TERM");
}

#[test]
fn r5_a_log_that_nobody_reads_stops_nothing() {
    let Some(place) = place("unread") else { return };
    let path = place.write("cesd.toml", CONFIG);
    // A pipe that is full before the first line, and whose reader does not read.
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&vec![b'.'; 65_536]).unwrap();
    let child = place.command(CESD).arg("--config").arg(path).stderr(writer).spawn().unwrap();
    let mut running = Running { place: &place, child };
    let end = Instant::now() + PATIENCE;
    while !place.ctl(&["show", "ports"]).status.success() {
        assert!(Instant::now() < end, "cesd does not come up");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(place.ctl(&["reload"]).status.success(), "it says a line, and goes on");
    running.signal("-TERM");
    while running.child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < end, "cesd does not stop");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
    let mut said = vec![0; 65_536];
    reader.read_exact(&mut said).unwrap();
    assert!(said.iter().all(|byte| *byte == b'.'));
}

/// So does what a thread says that panics: a worker that did not end because of that would not be missed.
#[test]
fn r5_who_panics_waits_for_no_reader() {
    const CHILD: &str = "CES_TEST_PANICS";
    if std::env::var_os(CHILD).is_some() {
        let _log = Log::start(LogLevel::Info, Format::Text).unwrap();
        let panicked = std::thread::spawn(|| panic!("said at last")).join().is_err();
        std::process::exit(if panicked { 7 } else { 8 });
    }
    for is_read in [true, false] {
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        if !is_read {
            writer.write_all(&vec![b'.'; 65_536]).unwrap();
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "r5_who_panics_waits_for_no_reader", "--nocapture"])
            .env(CHILD, "1")
            .stdout(Stdio::null())
            .stderr(writer)
            .spawn()
            .unwrap();
        let end = Instant::now() + PATIENCE;
        while child.try_wait().unwrap().is_none() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        assert_eq!(child.wait().unwrap().code(), Some(7), "read {is_read}");
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        assert_eq!(said.contains("said at last"), is_read, "{said}");
    }
}

/// Counted rather than timed: a long list is made in as many pieces as it has pages.
#[test]
fn r2_long_lists_and_large_reloads_are_many_pieces() {
    const HOSTS_MANY: usize = 20_000;
    let Some(place) = place("pieces") else { return };
    let config = CONFIG
        .replace("networks = [\"10.1.0.0/24\"]", "networks = [\"10.1.0.0/16\"]")
        .replace("10.1.0.1/24", "10.1.0.1/16");
    let running = place.start(&config);
    let host = |number: usize| {
        let (high, low) = (1 + number / 250, 1 + number % 250);
        format!("[[host]]\nname = \"h{number}.a.demo\"\naddress = \"10.1.{high}.{low}\"\n")
    };
    place.write("hosts.toml", &(0..HOSTS_MANY).map(host).collect::<String>());
    let said = text(&place.ctl(&["reload"]));
    assert!(said.contains(&format!("{HOSTS_MANY} hosts added")), "{said}");
    let json = |topic: &str| -> serde_json::Value {
        let output = place.ctl(&["--json", "show", topic]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output)))
    };
    let hosts = json("hosts");
    let hosts = hosts.as_array().unwrap();
    assert_eq!(hosts.len(), HOSTS_MANY);
    assert!(hosts.windows(2).all(|pair| pair[0]["name"].as_str() < pair[1]["name"].as_str()), "by name");
    let pieces = json("control");
    let count = |by: &str| {
        let found = pieces.as_array().unwrap().iter().find(|pieces| pieces["by"] == by);
        found.map_or(0, |pieces| pieces["count"].as_u64().unwrap())
    };
    assert!(count("lists") >= (HOSTS_MANY / 128) as u64 && count("reload") == 1, "{pieces}");
    // In force in one moment, prepared 500 hosts at a time.
    assert!(count("reload_prepare") >= (HOSTS_MANY / 500) as u64 && count("reload_settle") >= 1, "{pieces}");
    running.stop("-TERM");
}

/// What answers in cesd's place, once.
fn impostor(place: &Place, answer: &'static [u8]) -> std::thread::JoinHandle<()> {
    let listener = UnixListener::bind(place.directory.join("cesd.sock")).unwrap();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let _ = socket.write_all(answer);
        if answer.is_empty() {
            // Silent, until the other end has had enough.
            let _ = socket.read_to_end(&mut Vec::new());
        }
    })
}

#[test]
fn r3_cesctl_says_by_its_exit_code_what_it_came_to() {
    let Some(place) = place("codes") else { return };
    let code = |arguments: &[&str]| {
        let output = place.ctl(arguments);
        (output.status.code(), text(&output))
    };
    let (unreached, said) = code(&["show", "ports"]);
    assert!(unreached == Some(3) && said.contains("does it run?"), "{said}");
    for (answer, arguments, expected, words) in [
        (&b"{\"ok\":\"done\"}\n"[..], &["flush"][..], 0, "done"),
        (b"{\"error\":\"no room\"}\n", &["flush"], 1, "no room"),
        (b"{\"item\":[]}\n", &["show", "bindings"], 3, "went away"),
        (b"what?\n", &["flush"], 3, "not an answer"),
        (b"", &["--timeout", "1", "show", "bindings"], 3, "not answered for 1 s"),
        (b"", &["trace", "--timeout", "1"], 3, "not answered for 1 s"),
    ] {
        let _ = std::fs::remove_file(place.directory.join("cesd.sock"));
        let thread = impostor(&place, answer);
        let (is, said) = code(arguments);
        assert!(is == Some(expected) && said.contains(words), "{arguments:?}: {is:?} {said}");
        thread.join().unwrap();
    }
    assert_eq!(code(&["dance"]).0, Some(2));
}

/// Two gateways on one cable, in a VLAN: ARP and ICMP of the kernels cross TAP, worker, port and back, with the tag on.
#[test]
fn kernels_reach_each_other_through_taps_workers_and_a_vlan() {
    let (Some(near), Some(far)) = (place("near"), place("far")) else { return };
    assert!(run(
        "ip",
        &[
            "-n", &near.name, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns",
            &far.name
        ]
    ));
    for place in [&near, &far] {
        assert!(run("ip", &["-n", &place.name, "link", "set", "wire", "up", "arp", "off"]));
    }
    let cabled = |vlan: u16| {
        CONFIG
            .replace("net_null1", "net_af_packet1,iface=wire")
            .replace("vlan = 7", &format!("vlan = {vlan}"))
    };
    let other_end = |config: String| {
        config
            .replace("192.0.2.2/30", "192.0.2.9/30")
            .replace("192.0.2.1", "192.0.2.2")
            .replace("192.0.2.9", "192.0.2.1")
            .replace("address = \"192.0.2.2\"", "address = \"192.0.2.1\"")
    };
    let running = near.start(&cabled(7));
    for (vlan, answered) in [(7, true), (8, false)] {
        let other = far.start(&other_end(cabled(vlan)));
        let ping = text(
            &far.command("ping")
                .args(["-n", "-c", "3", "-i", "0.2", "-W", "1", "192.0.2.2"])
                .output()
                .unwrap(),
        );
        let seen = text(&near.ctl(&["show", "neighbours"])) + &text(&near.ctl(&["show", "drops"]));
        assert_eq!(ping.contains(" 0% packet loss"), answered, "{ping}\n{seen}");
        assert!(seen.contains(if answered { "192.0.2.1 " } else { "vlan_unknown" }), "{seen}");
        other.stop("-TERM");
    }
    running.stop("-TERM");
}
