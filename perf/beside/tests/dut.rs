//! The device under test and the probe, each a process of its own, over shared memory.

use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

const BINDINGS: u32 = 300;

struct Program(Child, BufReader<ChildStdout>);

impl Program {
    fn start(words: &[String]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dut"))
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self(child, out)
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.1.read_line(&mut line).unwrap();
        line
    }

    fn stats(&mut self) -> Value {
        self.0.stdin.as_mut().unwrap().write_all(b"stats\n").unwrap();
        serde_json::from_str(&self.hear()).unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Arguments for either end of two memifs below `directory`.
fn arguments(directory: &Path, role: &str) -> Vec<String> {
    let device = |port: usize| {
        let socket = directory.join(format!("memif{port}"));
        format!("net_memif{port},role={role},id=0,socket={},socket-abstract=no", socket.display())
    };
    vec![
        format!("--inside={}", device(0)),
        format!("--outside={}", device(1)),
        format!("--bindings={BINDINGS}"),
        "--peers=5".to_owned(),
        format!("--core={}", machine::usable_cores().unwrap()[0]),
        "--pages=ordinary".to_owned(),
    ]
}

#[test]
fn every_binding_is_translated_both_ways_over_ports() {
    let directory = tempfile::tempdir().unwrap();
    let export = directory.path().join("bindings.json");
    let mut words = arguments(directory.path(), "server");
    words.push(format!("--export={}", export.display()));
    let mut dut = Program::start(&words);
    while dut.hear() != "ready\n" {
        assert!(dut.0.try_wait().unwrap().is_none(), "it has ended");
    }
    for task in ["egress", "ingress"] {
        let mut words = vec!["probe".to_owned(), format!("--task={task}")];
        words.extend(arguments(directory.path(), "client"));
        let mut probe = Program::start(&words);
        let outcome: Value = std::iter::repeat_with(|| probe.hear())
            .find_map(|line| serde_json::from_str(&line).ok())
            .unwrap();
        let right = serde_json::json!({ "right": BINDINGS, "wrong": 0, "missing": 0, "first": null });
        assert_eq!(outcome, right, "{task}");
        drop(probe.0.stdin.take());
        assert!(probe.0.wait().unwrap().success());
    }
    let exported: Value = serde_json::from_slice(&std::fs::read(export).unwrap()).unwrap();
    assert_eq!(exported.as_array().unwrap().len(), BINDINGS as usize);
    // What the probe sent again before it had heard all may still be under way.
    let mut counted = dut.stats();
    for _ in 0..100 {
        if (0..2).all(|side| counted["sent"][1 - side] == counted["received"][side]) {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
        counted = dut.stats();
    }
    for side in [0, 1] {
        assert!(counted["received"][side].as_u64().unwrap() >= u64::from(BINDINGS), "{counted}");
        assert_eq!(counted["sent"][1 - side], counted["received"][side]);
    }
    assert!(counted["drops"].as_object().unwrap().is_empty(), "{counted}");
    assert!(counted["busy_cycles"].as_u64() > Some(0));
}

#[test]
fn a_port_that_is_not_there_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_dut"))
        .args(["--inside=net_af_packet0,iface=ces-nowhere", "--outside=net_null0", "--pages=ordinary"])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("net_af_packet0"), "{error}");
}
