//! The report for a terminal: what the JSON says of the result, a column for each of several things alike, and the trials.

use super::data::{RunReport, VERSION, result};
use crate::mode::{Findings, Verdict};
use crate::search::{Ending, GoalResult};
use crate::trial::{Trial, Unit};
use crate::words::{grouped, microseconds, percent, seconds};
use serde_json::{Map, Value};

/// Rows of cells, the first of each being its name.
type Rows = Vec<Vec<String>>;

/// The whole report.
pub(super) fn written(report: &RunReport) -> String {
    let mut lines = vec![format!("cesload {VERSION} {}: {}", report.mode, headline(report))];
    if let Value::Object(result) = result(&report.ended.findings) {
        section(&mut lines, "Result", facts(&result));
        for (key, value) in &result {
            let alike: Vec<_> = value.as_array().into_iter().flatten().filter_map(Value::as_object).collect();
            section(&mut lines, key, beside(&alike));
        }
    }
    let notes = report.notes().into_iter().zip(1..).map(|(note, number)| vec![number.to_string(), note]);
    section(&mut lines, "Notes", notes.collect());
    if report.trials.len() > 1 {
        section(&mut lines, "Trials", trials(&report.trials));
    }
    let version = report.commit.as_ref().map_or(VERSION.to_owned(), |it| format!("{VERSION}, commit {it}"));
    let run = [
        ("Started", format!("{}, took {}", report.started, seconds(report.seconds))),
        ("Command line", report.command.join(" ")),
        ("Version", version),
        ("Profile", report.profile_path.clone()),
    ];
    section(&mut lines, "Run", run.map(|(what, value)| vec![what.to_owned(), value]).into());
    if let Value::Object(machine) = serde_json::json!(report.machine) {
        section(&mut lines, "Machine", facts(&machine));
    }
    lines.iter().fold(String::new(), |text, line| text + line.trim_end() + "\n")
}

/// The result in a line.
pub(super) fn headline(report: &RunReport) -> String {
    let in_a_sentence = |trial: &Trial| {
        let [sent, lost] = [trial.counts.sent, trial.counts.lost()].map(|count| grouped(count as f64));
        let ratio = percent(trial.counts.loss_ratio());
        format!("{sent} sent in {}, {lost} lost ({ratio})", seconds(trial.seconds))
    };
    let found = match &report.ended.findings {
        Findings::Rate(trial) => trial.as_ref().map(in_a_sentence),
        Findings::Throughput(findings) => {
            let rates = findings.goals().iter().filter_map(|goal| rate_of_goal(goal, findings.unit));
            Some(rates.collect::<Vec<_>>().join(", ")).filter(|rates| !rates.is_empty())
        }
        Findings::Ladder(findings) => {
            findings.held.map(|held| format!("{} sessions held open", grouped(held as f64)))
        }
        Findings::Reconfig(findings) => {
            findings.blocked_s.map(|blocked| format!("{} blocked (median)", seconds(blocked.median)))
        }
    };
    match (&report.ended.verdict, found) {
        (Verdict::Done, found) => found.unwrap_or_else(|| "nothing was found".to_owned()),
        (Verdict::Passed, found) => format!("PASSED: {}", found.unwrap_or_default()),
        (Verdict::Failed(why), _) => format!("FAILED: {why}"),
        (Verdict::Interrupted, Some(found)) => format!("interrupted; until then: {found}"),
        (Verdict::Interrupted, None) => "interrupted before anything was found".to_owned(),
        (Verdict::Error(why), Some(found)) => format!("error: {why}; until then: {found}"),
        (Verdict::Error(why), None) => format!("error: {why}"),
    }
}

fn rate_of_goal(result: &GoalResult, unit: Unit) -> Option<String> {
    let sure = result.ending == Ending::Regular && !result.limited_by_generator;
    let rate = grouped(result.lower_per_second?);
    Some(format!("{} {}{rate} {}", result.goal.name, if sure { "" } else { "at least " }, unit.per_second()))
}

/// Aligned rows below a title, if there are any.
fn section(lines: &mut Vec<String>, title: &str, rows: Rows) {
    let wide = |text: &str| text.chars().count();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| wide(cell)).max();
    let cell = |(column, cell): (usize, &String)| format!("  {cell:0$}", width(column).unwrap_or(0));
    if !rows.is_empty() {
        lines.extend([String::new(), title.to_owned()]);
        lines.extend(rows.iter().map(|row| row.iter().enumerate().map(cell).collect::<String>()));
    }
}

/// What an object says, name by name; objects in it with its own name in front. Lists of objects and of lists stand elsewhere.
fn facts(object: &Map<String, Value>) -> Rows {
    fn tell(name: &str, value: &Value, rows: &mut Rows) {
        match value {
            Value::Object(inner) => {
                inner.iter().for_each(|(key, value)| tell(&format!("{name}.{key}"), value, rows));
            }
            value => rows.extend(in_words(name, value).map(|said| vec![name.to_owned(), said])),
        }
    }
    let mut rows = Vec::new();
    object.iter().for_each(|(key, value)| tell(key, value, &mut rows));
    rows
}

/// Objects of one kind, a column for each.
fn beside(alike: &[&Map<String, Value>]) -> Rows {
    let mut rows = Rows::new();
    for (place, object) in alike.iter().enumerate() {
        for mut fact in facts(object) {
            let at = rows.iter().position(|row| row[0] == fact[0]).unwrap_or(rows.len());
            if at == rows.len() {
                rows.push(vec![fact[0].clone()]);
            }
            rows[at].resize(place + 1, String::new());
            rows[at].extend(fact.pop());
        }
    }
    rows
}

/// A value in the unit that its name tells.
fn in_words(name: &str, value: &Value) -> Option<String> {
    let unit: fn(f64) -> String = match name {
        _ if name.rsplit('.').next() == Some("count") => grouped,
        _ if name.contains("_us") => microseconds,
        _ if name.ends_with("_s") || name.contains("_s.") || name.ends_with("seconds") => seconds,
        _ if ["ratio", "width", "spread", "noise"].iter().any(|part| name.ends_with(part)) => percent,
        _ => grouped,
    };
    match value {
        Value::String(text) if !text.is_empty() => Some(text.replace('\n', " · ")),
        Value::Bool(whether) => Some(if *whether { "yes" } else { "no" }.to_owned()),
        Value::Number(number) => number.as_f64().map(unit),
        Value::Array(all) => {
            let all: Vec<String> =
                all.iter().filter(|one| !one.is_array()).filter_map(|one| in_words(name, one)).collect();
            Some(all.join(" · ")).filter(|all| !all.is_empty())
        }
        _ => None,
    }
}

fn trials(trials: &[Trial]) -> Rows {
    let columns = ["trial", "asked/s", "seconds", "sent/s", "received/s", "lost", "loss", "p50", "p99"];
    let rows = trials.iter().map(|trial| {
        let delays = trial.latency_us.as_ref().map(|delays| [delays.p50, delays.p99].map(microseconds));
        let [p50, p99] = delays.unwrap_or_default();
        vec![
            trial.label.clone(),
            trial.asked_per_second.map_or("max".to_owned(), grouped),
            format!("{:.2}", trial.seconds),
            grouped(trial.sent_per_second()),
            grouped(trial.received_per_second()),
            grouped(trial.counts.lost() as f64),
            percent(trial.counts.loss_ratio()),
            p50,
            p99,
        ]
    });
    std::iter::once(columns.map(str::to_owned).into()).chain(rows).collect()
}
