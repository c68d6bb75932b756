//! The device under test and the probe, each a process of its own, over shared memory.

use ces_beside::dut::Counted;
use ces_beside::probe::Outcome;
use ces_beside::process::{Line, Place};
use ces_beside::scratch::Scratch;
use std::time::Duration;

const WAIT: Duration = Duration::from_mins(1);
const BINDINGS: u32 = 300;

fn device(scratch: &Scratch, port: usize, role: &str) -> String {
    format!(
        "net_memif{port},role={role},id=0,socket={},socket-abstract=no",
        scratch.file(&format!("memif{port}"))
    )
}

#[test]
fn every_binding_is_translated_both_ways_over_ports() {
    let scratch = Scratch::new().unwrap();
    let core = machine::usable_cores().unwrap()[0];
    let export = scratch.path().join("bindings.json");
    let arguments = |role| {
        [
            format!("--inside={}", device(&scratch, 0, role)),
            format!("--outside={}", device(&scratch, 1, role)),
            format!("--bindings={BINDINGS}"),
            "--peers=5".to_owned(),
            format!("--core={core}"),
            "--pages=ordinary".to_owned(),
        ]
    };
    let mut dut = Line::new(&Place::default(), env!("CARGO_BIN_EXE_dut"))
        .args(arguments("server"))
        .args([format!("--export={}", export.display()), "--json".to_owned()])
        .start(scratch.path(), "dut")
        .unwrap();
    dut.hear(WAIT, |text| text.contains("ready\n")).unwrap();
    for task in ["egress", "ingress"] {
        let said = Line::new(&Place::default(), env!("CARGO_BIN_EXE_beside"))
            .args(["probe".to_owned(), format!("--task={task}")])
            .args(arguments("client"))
            .output(WAIT)
            .unwrap();
        let outcome: Outcome = serde_json::from_str(&said).unwrap();
        assert_eq!(outcome, Outcome { right: BINDINGS, ..Outcome::default() }, "{task}");
    }
    let exported: serde_json::Value = serde_json::from_slice(&std::fs::read(export).unwrap()).unwrap();
    assert_eq!(exported.as_array().unwrap().len(), BINDINGS as usize);
    dut.say("stats").unwrap();
    let said = dut.hear(WAIT, |text| text.ends_with("}\n")).unwrap();
    let counted: Counted = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert!(counted.received.iter().all(|&count| count >= u64::from(BINDINGS)), "{counted:?}");
    assert_eq!((counted.sent[1], counted.sent[0]), (counted.received[0], counted.received[1]));
    assert!(counted.drops.is_empty() && counted.busy_cycles > 0, "{counted:?}");
}

#[test]
fn a_port_that_is_not_there_is_named() {
    let error = Line::new(&Place::default(), env!("CARGO_BIN_EXE_dut"))
        .args(["--inside=net_af_packet0,iface=ces-nowhere", "--outside=net_null0", "--pages=ordinary"])
        .output(WAIT)
        .unwrap_err();
    assert!(error.contains("net_af_packet0"), "{error}");
}
