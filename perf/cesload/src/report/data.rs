//! What is told of a run, whatever the form.

use crate::mode::{Ended, Findings, throughput};
use crate::search::{FULL_SPEED, SEARCH, SearchResult};
use crate::trial::{Trial, Unit};
use ces_perf::place::Machine;
use serde_json::{Value, json};

/// Everything that is told of a run.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// The mode, as on the command line.
    pub mode: String,
    /// The commit, if it is known.
    pub commit: Option<String>,
    /// When it began, by RFC 3339.
    pub started: String,
    /// How long it took.
    pub seconds: f64,
    /// The command line.
    pub command: Vec<String>,
    /// The machine that measured.
    pub machine: Machine,
    /// The profile's file.
    pub profile_path: String,
    /// The profile's text.
    pub profile: String,
    /// What the mode found.
    pub ended: Ended<Findings>,
    /// Every trial, in order.
    pub trials: Vec<Trial>,
}

/// The version of cesload.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

impl RunReport {
    /// Notes of the findings and of the trials, each once. Those of a search's trials are left out: that a load was too much is
    /// what it is searching for.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = self.ended.notes.clone();
        let told = self.trials.iter().filter(|trial| trial.label != SEARCH && trial.label != FULL_SPEED);
        for note in told.flat_map(|trial| &trial.notes) {
            if !notes.contains(note) {
                notes.push(note.clone());
            }
        }
        notes
    }
}

/// What a mode found, by name.
pub(super) fn result(findings: &Findings) -> Value {
    match findings {
        Findings::Rate(found) => found.as_ref().map_or(Value::Null, trial),
        Findings::Throughput(findings) => throughput(findings),
        Findings::Ladder(findings) => json!(findings),
        Findings::Reconfig(findings) => json!({
            "command": findings.command,
            "blocked_s": findings.blocked_s,
            "lost_without_command": findings.without.as_ref().map(|trial| trial.counts.lost()),
            "rounds": findings.rounds,
        }),
    }
}

/// Adds rates under names that end in what is counted.
fn with_rates<const N: usize>(mut object: Value, unit: Unit, rates: [(&str, Option<f64>); N]) -> Value {
    let suffix = if unit == Unit::Packets { "pps" } else { "cps" };
    for (name, rate) in rates {
        object[format!("{name}_{suffix}")] = json!(rate);
    }
    object
}

fn trial(trial: &Trial) -> Value {
    let mut object = json!(trial);
    // The report has these among its trials.
    for key in ["intervals", "notes", "asked_per_second"] {
        object.as_object_mut().map(|object| object.remove(key));
    }
    let rates = [
        ("rate_offered", trial.asked_per_second),
        ("rate_sent", Some(trial.sent_per_second())),
        ("rate_received", Some(trial.received_per_second())),
    ];
    with_rates(object, trial.unit, rates)
}

fn throughput(findings: &throughput::Findings) -> Value {
    let found = findings.searches.get(findings.answer);
    let first = findings.goals().first();
    let latency_of =
        findings.latency_of.as_ref().map(|(goal, rate)| json!({ "goal": goal, "per_second": rate }));
    let object = json!({
        "unit": findings.unit,
        "width": first.and_then(|goal| goal.width),
        "ending": first.map(|goal| goal.ending),
        "loss_ratio": first.and_then(|goal| goal.loss_ratio),
        "limited_by_generator": first.map(|goal| goal.limited_by_generator),
        "trials": found.map(|found| found.trials),
        "goals": findings.goals(),
        "searches": findings.searches.iter().map(search).collect::<Vec<_>>(),
        "agreement": findings.agreement,
        "latency_of": latency_of,
        "latency": findings.latency,
    });
    let rates = [
        ("rate", first.and_then(|goal| goal.lower_per_second)),
        ("rate_upper", first.and_then(|goal| goal.upper_per_second)),
        ("throughput", first.and_then(|goal| goal.throughput_per_second)),
    ];
    with_rates(object, findings.unit, rates)
}

fn search(found: &SearchResult) -> Value {
    json!({
        "goals": found.goals,
        "trials": found.trials,
        "seconds": found.elapsed.as_secs_f64(),
        "max_load_per_second": found.max_load.map(|(load, _)| load),
        "max_load_from": found.max_load.map(|(_, from)| from),
        "full_speed_per_second": found.full_speed_per_second,
        "most_sent_per_second": found.most_sent_per_second,
        "stopped": found.stopped,
    })
}
