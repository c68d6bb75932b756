//! Sessions of the built program over shared memory, through a wire in another process. No time is asserted.

mod bench;

use bench::{Bench, cesload, json};

/// Sessions of a kind; what is not answered is sent again often enough to come through any of the wires here.
fn profile(bench: &Bench, protocol: &str) -> std::path::PathBuf {
    let text = format!(
        r#"
[memory]
mib = 128
[[port]]
name = "left"
device = "{}"
[[port]]
name = "right"
device = "{}"
[session]
name = "{protocol}"
from = "left"
to = "right"
protocol = "{protocol}"
client = "10.1.0.1-10.1.0.8"
client_port = "1000-1999"
server = "10.2.0.1-10.2.0.3"
server_port = 80
requests = 2
response_size = 1518
timeout_ms = 200
retries = 20
"#,
        bench.memif(0, "client"),
        bench.memif(1, "client")
    );
    bench.write("sessions.toml", &text)
}

/// Runs `cesload` with these words behind a profile of this protocol; its report.
fn report(bench: &Bench, mode: &str, protocol: &str, words: &str) -> serde_json::Value {
    let file = bench.directory.join("found.json");
    let output = cesload()
        .arg(mode)
        .arg(profile(bench, protocol))
        .args(words.split_whitespace())
        .args(["--quiet", "--json"])
        .arg(&file)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    json(&file)
}

#[test]
fn sessions_over_a_clean_wire_complete() {
    let bench = Bench::new("sessions");
    let _wire = bench.wire(&[]);
    for protocol in ["udp", "tcp"] {
        let found = report(&bench, "rate", protocol, "--rate 2000 --seconds 0.5");
        let result = &found["result"];
        assert!(result["sent"].as_u64() > Some(0), "{result}");
        assert_eq!(result["received"], result["sent"], "{found}");
    }
}

#[test]
fn sessions_over_a_bad_wire_are_tried_again_and_accounted_for() {
    let bench = Bench::new("sessions-lossy");
    let _wire = bench.wire(&[
        "--drop-every",
        "100",
        "--duplicate-every",
        "37",
        "--reorder-every",
        "23",
        "--delay-us",
        "100",
    ]);
    for protocol in ["udp", "tcp"] {
        let found = report(&bench, "rate", protocol, "--rate 2000 --seconds 1");
        let result = &found["result"];
        assert!(result["sent"].as_u64() > Some(0), "{result}");
        assert_eq!(result["received"], result["sent"], "{found}");
        assert!(result["duplicated"].as_u64() > Some(0), "{found}");
        assert!(found["notes"].to_string().contains("were sent again after a timeout"), "{found}");
    }
}

#[test]
fn ladder_is_climbed_through_a_wire() {
    let bench = Bench::new("sessions-ladder");
    let _wire = bench.wire(&[]);
    let found = report(&bench, "sessions", "tcp", "--ladder 100,1000,100000 --hold-seconds 0.2 --rate 5000");
    let result = &found["result"];
    assert_eq!((&result["held"], &result["sessions_max"]), (&1000.into(), &8000.into()), "{found}");
    assert_eq!(result["beyond_profile"], serde_json::json!([100_000]));
}

#[test]
fn two_threads_serve_each_others_queues() {
    let cores = machine::usable_cores().unwrap();
    let [first, second, ..] = cores.as_slice() else { return };
    let cores = format!("--core {first} --core {second}");
    let bench = Bench::new("sessions-threads");
    let _wire = bench.wire(&["--queues", "2"]);
    let found = report(&bench, "rate", "tcp", &format!("--rate 2000 --seconds 0.5 {cores}"));
    let result = &found["result"];
    assert!(result["sent"].as_u64() > Some(0), "{result}");
    assert_eq!(result["received"], result["sent"], "{found}");
    assert!(found["notes"].to_string().contains("were handed over"), "{found}");
    let found =
        report(&bench, "sessions", "tcp", &format!("--ladder 1001 --hold-seconds 0.2 --rate 5000 {cores}"));
    assert_eq!(found["result"]["held"], 1001, "{found}");
}
