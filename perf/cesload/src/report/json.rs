//! The report as one JSON object, full enough to draw everything again.

use super::{Report, VERSION};
use crate::mode::{Findings, throughput};
use crate::record::TrialRecord;
use crate::search::Found;
use crate::trial::Unit;
use serde_json::{Value, json};

/// The object.
pub fn object(report: &Report) -> Value {
    json!({
        "cesload": VERSION,
        "mode": report.mode,
        "commit": report.commit,
        "started": report.started,
        "seconds": report.seconds,
        "command": report.command,
        "machine": report.machine,
        "profile": { "path": report.profile_path, "text": report.profile },
        "verdict": report.ended.verdict,
        "result": result(&report.ended.findings),
        "trials": report.trials,
        "notes": report.notes(),
    })
}

fn result(findings: &Findings) -> Value {
    match findings {
        Findings::Rate(findings) => findings.trial.as_ref().map_or(Value::Null, trial),
        Findings::Throughput(findings) => throughput(findings),
        Findings::Ladder(findings) => json!(findings),
        Findings::Soak(findings) => {
            let mut object = findings.trial.as_ref().map_or_else(|| json!({}), trial);
            object["lines"] = json!(findings.lines);
            object["lines_failed"] = json!(findings.lines_failed);
            object
        }
        Findings::Reconfig(findings) => json!({
            "command": findings.command,
            "blocked_s": findings.blocked_s,
            "lost_without_command": findings.without.as_ref().map(|trial| trial.lost),
            "rounds": findings.rounds,
        }),
    }
}

fn trial(trial: &TrialRecord) -> Value {
    let counts = &trial.counts;
    let suffix = suffix(trial.unit);
    let mut object = json!({
        "seconds": trial.seconds,
        "reached": trial.reached,
        "sent": counts.sent,
        "received": counts.received,
        "lost": trial.lost,
        "duplicated": counts.duplicated,
        "reordered": counts.reordered,
        "stale": counts.stale,
        "misplaced": counts.misplaced,
        "foreign": trial.foreign,
        "late": trial.late,
        "missed_by_generator": trial.missed_by_generator,
        "held_up_seconds": trial.held_up_seconds,
        "loss_ratio": trial.loss_ratio,
        "latency_us": trial.latency_us,
        "streams": trial.streams,
    });
    object[format!("rate_offered_{suffix}")] = json!(trial.asked_per_second);
    object[format!("rate_sent_{suffix}")] = json!(trial.sent_per_second);
    object[format!("rate_received_{suffix}")] = json!(trial.received_per_second);
    object
}

/// Of the names of rates: packets or connections a second.
fn suffix(unit: Unit) -> &'static str {
    match unit {
        Unit::Packets => "pps",
        Unit::Sessions => "cps",
    }
}

fn throughput(findings: &throughput::Findings) -> Value {
    let found = findings.searches.get(findings.answer);
    let first = findings.goals().first();
    let latency_of =
        findings.latency_of.as_ref().map(|(goal, rate)| json!({ "goal": goal, "per_second": rate }));
    let mut object = json!({
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
    let suffix = suffix(findings.unit);
    object[format!("rate_{suffix}")] = json!(first.and_then(|goal| goal.lower_per_second));
    object[format!("rate_upper_{suffix}")] = json!(first.and_then(|goal| goal.upper_per_second));
    object[format!("throughput_{suffix}")] = json!(first.and_then(|goal| goal.throughput_per_second));
    object
}

fn search(found: &Found) -> Value {
    json!({
        "goals": found.goals,
        "trials": found.trials,
        "seconds": found.elapsed.as_secs_f64(),
        "max_load_per_second": found.max_load.map(|(load, _)| load),
        "max_load_from": found.max_load.map(|(_, from)| from),
        "most_sent_per_second": found.most_sent_per_second,
        "stopped": found.stopped,
    })
}
