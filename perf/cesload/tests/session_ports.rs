//! Sessions on a real DPDK port: a ring whose end is its beginning, so that clients and servers meet on one port.

use ces_load::profile;
use ces_load::session::engine::SessionEngine;
use ces_load::trial::{Ascent, Ladder as _, Trials as _, Watch};
use std::path::Path;
use std::time::Duration;

const PROFILE: &str = r#"
[memory]
mib = 128
[[port]]
name = "a"
device = "net_ring0"

[session]
name = "tcp"
from = "a"
to = "a"
protocol = "tcp"
client = "10.0.0.1-10.0.0.4"
client_port = "2000-2999"
server = "198.51.100.2"
server_port = 80
response_size = 1518
requests = 2
"#;

/// DPDK starts once in a process: one test for all.
#[test]
fn sessions_over_a_clean_wire_complete() {
    let mut profile = profile::parse("p.toml", PROFILE, Path::new(""), &[]).unwrap();
    // Two threads where there are two cores, each with its queue pair and its share of the sessions.
    profile.generator.cores = machine::usable_cores().unwrap().into_iter().take(2).collect();
    let mut engine = SessionEngine::open(&profile, &mut |_| {}).unwrap();
    assert_eq!(engine.sessions_max(), 4000);

    let trial = engine.run(Some(4000.0), Duration::from_millis(250), &mut |_| Watch::Continue).unwrap();
    let begun = trial.counts.sent;
    assert!(begun > 0 && trial.counts.received == begun, "{:?} {:?}", trial.counts, trial.notes);
    let names: Vec<&str> = trial.streams.iter().map(|stream| stream.name.as_str()).collect();
    assert_eq!(names, ["tcp set-up", "tcp first packet", "tcp response"]);
    assert!(trial.streams.iter().all(|stream| stream.counts.lost() == 0));
    let sent = |index: usize| trial.streams[index].counts.sent;
    assert_eq!((sent(0), sent(2)), (begun, 2 * begun));

    let ascent = Ascent {
        sessions: 4000,
        open_per_second: Some(100_000.0),
        use_per_second: Some(100_000.0),
        hold: Duration::from_millis(100),
        refresh: None,
    };
    let rung = engine.climb(&ascent, &mut |_| Watch::Continue).unwrap();
    assert_eq!((rung.opened, rung.alive), (4000, 4000), "{:?}", rung.opening.notes);
    let holding = rung.holding.unwrap();
    assert!(holding.counts.sent >= 4000 && holding.counts.lost() == 0, "{:?}", holding.counts);

    let failure = engine.climb(&Ascent { sessions: 4001, ..ascent }, &mut |_| Watch::Continue).unwrap_err();
    assert!(failure.why.contains("have room for 1 to 4000"), "{}", failure.why);

    let trial = engine.run(Some(1000.0), Duration::from_mins(1), &mut |_| Watch::Stop).unwrap();
    assert!(trial.counts.sent < 10_000 && trial.notes.iter().any(|note| note.contains("stopped")));
}
