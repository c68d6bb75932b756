//! Whole runs of the built program over shared memory, against a wire in another process. No figure is asserted that a busy
//! machine could change.

mod bench;

use bench::{Bench, cesload, interrupt, json, signal};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

/// Short trials and a wide goal: a search of seconds.
const SHORT_SEARCH: &str =
    "--trial-seconds 0.1 --width 20% --max 200k --total-seconds 60 --latency-seconds 0.1 --quiet";

#[test]
fn a_search_finishes_and_reports() {
    let bench = Bench::new("search");
    let _wire = bench.wire(&[]);
    let (profile, directory) = (bench.profile(), bench.directory.clone());
    let output = cesload()
        .arg("ndr")
        .arg(&profile)
        .args(SHORT_SEARCH.split_whitespace())
        .args(["--repeat", "2", "--json", "found.json", "--html", "found.html", "--text", "found.txt"])
        .current_dir(&directory)
        .output()
        .unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // 3: on a machine that is busy enough there may be no rate without loss.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{text}\n{errors}");
    assert_eq!(std::fs::read_to_string(directory.join("found.txt")).unwrap(), text);
    assert!(std::fs::read_to_string(directory.join("found.html")).unwrap().contains("<svg"));
    let found = json(&directory.join("found.json"));
    assert_eq!((&found["mode"], &found["result"]["unit"]), (&"ndr".into(), &"packets".into()));
    assert_eq!(found["result"]["goals"].as_array().unwrap().len(), 2);
    assert_eq!(found["result"]["searches"].as_array().unwrap().len(), 2);
    assert!(found["result"]["agreement"][0]["agrees"].is_boolean());
    // Whatever was found, it is said what it is.
    let notes: Vec<&str> =
        found["notes"].as_array().unwrap().iter().filter_map(|note| note.as_str()).collect();
    assert!(notes.iter().any(|note| note.contains("2 searches")), "{notes:?}");
}

#[test]
fn a_wire_that_drops_every_tenth_fails_every_goal() {
    let bench = Bench::new("lossy");
    let _wire = bench.wire(&["--drop-every", "10"]);
    let output = cesload()
        .arg("pdr")
        .arg(bench.profile())
        .args(SHORT_SEARCH.split_whitespace())
        .args(["--min", "20k", "--json"])
        .arg(bench.directory.join("found.json"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    let found = json(&bench.directory.join("found.json"));
    assert_eq!(
        (&found["result"]["rate_pps"], &found["result"]["ending"]),
        (&().into(), &"no-lower-bound".into())
    );
    assert_eq!(found["verdict"]["verdict"], "failed");
}

#[test]
fn a_report_that_cannot_be_written_is_told_and_the_rest_is_not_lost() {
    let bench = Bench::new("full");
    let _wire = bench.wire(&[]);
    let output = cesload()
        .arg("rate")
        .arg(bench.profile())
        .args(["--rate", "10k", "--seconds", "0.2", "--quiet", "--json", "/dev/full", "--html"])
        .arg(bench.directory.join("found.html"))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("the report cannot be written to /dev/full: No space left on device"),
        "{errors}"
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains("Result"), "the text is printed in any case");
    assert!(bench.directory.join("found.html").exists(), "the other report is written");
}

#[test]
fn who_is_told_to_stay_keeps_the_ports_until_its_input_ends() {
    let bench = Bench::new("stay");
    let _wire = bench.wire(&[]);
    let report = bench.directory.join("found.json");
    let mut rate = cesload()
        .arg("rate")
        .arg(bench.profile())
        .args(["--rate", "10k", "--seconds", "0.2", "--quiet", "--stay", "--json"])
        .arg(&report)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while !report.exists() {
        assert!(rate.try_wait().unwrap().is_none(), "it ended without a report");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(300));
    assert!(rate.try_wait().unwrap().is_none(), "it ended without being let go");
    drop(rate.stdin.take());
    assert_eq!(rate.wait().unwrap().code(), Some(0));
}

/// A soak that would take an hour; its report is `soak.json`.
fn soak(bench: &Bench) -> Child {
    cesload()
        .arg("soak")
        .arg(bench.profile())
        .args(["--rate", "10k", "--hours", "1", "--every", "0.2", "--quiet", "--json"])
        .arg(bench.directory.join("soak.json"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn an_interrupt_ends_a_soak_with_what_there_is() {
    let bench = Bench::new("interrupt");
    let _wire = bench.wire(&[]);
    let mut soak = soak(&bench);
    // It runs once its first line is there.
    let mut lines = BufReader::new(soak.stdout.take().unwrap()).lines();
    let first: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert!(first["sent"].is_number());
    interrupt(&soak);
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert_eq!(soak.wait().unwrap().code(), Some(1));
    assert!(rest.iter().any(|line| line.contains("interrupted; until then: ")), "{rest:?}");
    let found = json(&bench.directory.join("soak.json"));
    assert_eq!(found["verdict"]["verdict"], "interrupted");
    assert!(found["result"]["sent"].as_u64().unwrap() > 0);
}

#[test]
fn time_without_a_core_is_told_and_not_made_up_for() {
    let bench = Bench::new("held");
    let _wire = bench.wire(&[]);
    let mut soak = soak(&bench);
    let mut lines = BufReader::new(soak.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().is_ok());
    signal(&soak, "STOP");
    let stopped = Duration::from_secs(1);
    std::thread::sleep(stopped);
    signal(&soak, "CONT");
    assert!(lines.next().unwrap().is_ok());
    interrupt(&soak);
    let _: Vec<_> = lines.collect();
    soak.wait().unwrap();
    let found = json(&bench.directory.join("soak.json"));
    let number = |key: &str| found["result"][key].as_f64().unwrap_or_else(|| panic!("no {key} in {found}"));
    assert!(number("held_up_seconds") >= stopped.as_secs_f64() * 0.9, "{found}");
    // The port was free all the while, so that none of what fell due is missing: the second is not in the time.
    let asked = number("rate_offered_pps");
    assert!(number("rate_sent_pps") >= asked * 0.9, "{found}");
    // In a burst of what a second brings, the receiver would have seen it; nothing was due in it.
    let total = found["seconds"].as_f64().unwrap();
    assert!(number("sent") <= asked * (total - stopped.as_secs_f64() * 0.9), "{found}");
}

#[test]
fn a_peer_that_leaves_ends_the_trial_with_what_there_is() {
    let bench = Bench::new("leaves");
    let wire = bench.wire(&[]);
    let mut soak = soak(&bench);
    let mut lines = BufReader::new(soak.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().is_ok());
    drop(wire);
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert_eq!(soak.wait().unwrap().code(), Some(1));
    assert!(rest.iter().any(|line| line.contains("error: port ")), "{rest:?}");
    let found = json(&bench.directory.join("soak.json"));
    assert_eq!(found["verdict"]["verdict"], "error");
    assert!(found["result"]["sent"].as_u64().unwrap() > 0);
}

#[test]
fn a_command_runs_in_the_middle() {
    let bench = Bench::new("reconfig");
    let _wire = bench.wire(&[]);
    let output = cesload()
        .arg("reconfig")
        .arg(bench.profile())
        .args([
            "--rate",
            "10k",
            "--seconds",
            "0.9",
            "--repeat",
            "1",
            "--quiet",
            "--command",
            "echo done",
            "--json",
        ])
        .arg(bench.directory.join("found.json"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = json(&bench.directory.join("found.json"));
    let round = &found["result"]["rounds"][0];
    assert_eq!((&round["command"]["status"], &round["command"]["output_tail"]), (&0.into(), &"done".into()));
    assert!(found["result"]["blocked_s"]["median"].is_number());
}
