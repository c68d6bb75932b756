//! A run as one Markdown table: what `scripts/bench` prints at its end, and what README.md shows of the kept runs.

use crate::measure::Spread;
use crate::report::{Report, Variant};
use crate::runs::{Answer, Asked, Key, Negotiation, Run};

/// Goals in cycles per packet, smallest and median, by bindings; of egress and ingress over VXLAN, path and worker.
const GOALS: [(u32, f64, f64); 2] = [(10_000, 70.0, 100.0), (1_000_000, 110.0, 170.0)];
/// Goals in names a second for one control thread, by mode.
const CONTROL_GOALS: [(&str, f64); 2] = [("h2h", 20_000.0), ("connected", 150_000.0)];

/// A row: what, value, ratio, instructions, goal.
type Row = [String; 5];

fn spread(values: &Spread, digits: usize) -> String {
    format!("{:.digits$} / {:.digits$} / {:.digits$}", values.min, values.median, values.p90)
}

/// The goal of a case, and whether it holds.
fn goal(report: &Report) -> String {
    let has_one = ["ces-egress", "ces-ingress", "ces-egress-worker", "ces-ingress-worker"]
        .contains(&report.case.as_str())
        && report.variant == Variant::default()
        && report.burst == ces_dataplane::path::BURST;
    let Some((_, min, median)) = GOALS.into_iter().find(|goal| has_one && goal.0 == report.entries) else {
        return String::new();
    };
    let found = &report.cycles_per_packet;
    let missed = [(found.min, min, "min"), (found.median, median, "median")];
    let missed: Vec<String> = missed
        .iter()
        .filter(|(found, goal, _)| found > goal)
        .map(|(found, goal, name)| format!("{name} missed by {:.1}", found - goal))
        .collect();
    let outcome = if missed.is_empty() { "held".to_owned() } else { missed.join(", ") };
    format!("{min:.0} / {median:.0}: {outcome}")
}

fn case(run: &Run, report: &Report) -> Row {
    let key = Key::of(report);
    // Callgrind counts each case as the bench has it by default.
    let usual = report.variant == Variant::default()
        && report.burst == ces_dataplane::path::BURST
        && report.entries == crate::realm::ENTRIES;
    let instructions = run.instructions.get(&report.case).filter(|_| usual || report.case == "calibration");
    [
        key.to_string(),
        format!("{} cycles", spread(&report.cycles_per_packet, 1)),
        format!("{:.2}", report.ratio_to_calibration.median),
        instructions.map_or_else(String::new, |count| format!("{count:.0}")),
        goal(report),
    ]
}

/// What the worker's loop takes around the path: the whole worker less the path, by bindings.
fn around(run: &Run) -> Vec<Row> {
    let usual = Variant::default();
    let mut rows = Vec::new();
    for way in ["ces-egress", "ces-ingress"] {
        for report in run.cases.iter().filter(|report| report.case == way) {
            let worker = run.find(&format!("{way}-worker"), report.entries, &usual);
            if let (Some(path), Some(worker)) = (run.find(way, report.entries, &usual), worker)
                && std::ptr::eq(path, report)
            {
                let around = worker.cycles_per_packet.median - path.cycles_per_packet.median;
                rows.push([
                    format!("{} less {}", Key::of(worker), way),
                    format!("{around:.1} cycles: receive, send, count, look around"),
                    String::new(),
                    String::new(),
                    String::new(),
                ]);
            }
        }
    }
    rows
}

fn negotiation(negotiation: &Negotiation) -> Row {
    let times =
        negotiation.answer_us.map(|times| format!(", p50 {:.0} µs, p99 {:.0} µs", times.p50, times.p99));
    let bytes = negotiation.bytes_per_session.map(|bytes| format!(", {bytes:.0} bytes a session"));
    let value = format!(
        "{:.0}/s a core, {:.0}/s by the clock{}{}",
        negotiation.per_core_second(),
        negotiation.per_second,
        times.unwrap_or_default(),
        bytes.unwrap_or_default()
    );
    // One query at a time shows the delay, not the rate.
    let has_one = negotiation.mode == "connected" || negotiation.outstanding > 1;
    let goal = CONTROL_GOALS.iter().find(|(mode, _)| has_one && *mode == negotiation.mode);
    let goal = goal.map_or_else(String::new, |(_, goal)| {
        let held = if negotiation.per_core_second() >= *goal { "held" } else { "missed" };
        format!("{goal:.0}/s: {held}")
    });
    [negotiation.words(), value, String::new(), String::new(), goal]
}

fn asked(asked: &Asked) -> Row {
    let times = |name: &str, times: Option<Answer>| {
        times.map_or_else(String::new, |times| {
            format!(", {name} p50 {:.0} µs, p99 {:.0} µs", times.p50, times.p99)
        })
    };
    let (answer, across) = (times("answer", asked.answer_us), times("first packet", asked.across_us));
    let value = format!("{:.0}/s by the clock{answer}{across}", asked.per_second);
    [format!("lab: {}", asked.case), value, String::new(), String::new(), String::new()]
}

/// The table.
pub fn text(run: &Run) -> String {
    let mut rows: Vec<Row> = run.cases.iter().map(|report| case(run, report)).collect();
    rows.extend(around(run));
    rows.extend(run.negotiations.iter().map(negotiation));
    rows.extend(run.asked.iter().map(asked));
    for row in &run.beside.rows {
        let value = row
            .value
            .map_or_else(|| "not measured".to_owned(), |value| format!("{} {}", spread(&value, 2), row.unit));
        let ratio = row.ratio.map_or_else(String::new, |ratio| spread(&ratio, 2));
        rows.push([row.what.clone(), value, ratio, String::new(), row.note.clone().unwrap_or_default()]);
    }
    for item in &run.footprint {
        let bytes = if item.bytes >= 10_000.0 {
            format!("{:.0} KiB", item.bytes / 1024.0)
        } else {
            format!("{:.1} bytes", item.bytes)
        };
        rows.push([format!("memory: {}", item.what), bytes, String::new(), String::new(), item.of.clone()]);
    }
    let mut text = vec![format!("{} (commit {})\n", run.name, run.commit)];
    let field = |name: &str| {
        run.machine.get(name).map(|value| match value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    };
    for name in run.machine.keys() {
        text.push(format!("{name}: {}\n", field(name).unwrap_or_default()));
    }
    text.push(
        "\n| What | min / median / p90 | Ratio | Instructions | Goal, note |\n|---|---|---|---|---|\n"
            .to_owned(),
    );
    for row in rows {
        let cells = row.map(|cell| cell.replace('|', "\\|").replace('\n', " "));
        text.push(format!("| {} |\n", cells.join(" | ")));
    }
    text.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn kept_runs_have_their_table() {
        let quiet = Path::new(env!("CARGO_MANIFEST_DIR")).join("runs/2026-11-21-xeon-6-167-2core-quiet");
        let run = Run::read(&quiet).unwrap();
        let text = text(&run);
        let row = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or(start).to_owned();
        let worker = row("| ces-egress-worker 10,000 |");
        assert!(
            worker.contains("73.4 / 74.3 / 75.0 cycles") && worker.contains("min missed by 3.4"),
            "{worker}"
        );
        assert!(row("| ces-egress 10,000 |").contains("70 / 100: held"));
        assert!(row("| ces-egress-worker 10,000 less ces-egress").contains("| 9.8 cycles"), "{text}");
        assert!(row("| H2H over TLS, 1 round trip, 64").contains("20000/s: held"), "{text}");
        assert!(row("| answers for connected pairs").contains("150000/s: held"), "{text}");
        assert!(
            text.lines()
                .filter(|line| line.starts_with('|'))
                .all(|line| line.matches(" | ").count() == 4 || line.starts_with("|---"))
        );
    }
}
