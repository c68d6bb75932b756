//! The table and the JSON of a run.

use crate::device::Kind;
use crate::frame::Task;
use crate::generator::Measure;
use crate::memory::Pages;
use crate::run::{Order, Results, Row, Trouble};
use crate::spread::Spread;
use ces_perf::place::Machine;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// A line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// The setup.
    pub setup: &'static str,
    /// What joins it to the generator.
    pub wire: &'static str,
    /// The task.
    pub task: &'static str,
    /// Bindings.
    pub bindings: u32,
    /// Bindings whose packet was seen to come out as it must; `None` = it did not come to that.
    pub checked: Option<u32>,
    /// Packets a second.
    pub rate_pps: Option<Spread>,
    /// Lost of sent, at worst.
    pub loss_ratio_max: Option<f64>,
    /// Its rate over the gateway's, round by round.
    pub rate_to_gateway: Option<Spread>,
    /// Its own cycles a packet.
    pub cycles_per_packet: Option<Spread>,
    /// Its cycles over the gateway's, round by round.
    pub cycles_to_gateway: Option<Spread>,
    /// The rates of the rounds, in packets a second; null where there is none.
    pub rates_pps: Vec<Option<f64>>,
    /// Cycles a packet of the rounds.
    pub cycles: Vec<Option<f64>>,
    /// Rounds of which there is a rate.
    pub measured: usize,
    /// How often the device ended by itself.
    pub restarts: u32,
    /// What did not go as planned, round by round.
    pub troubles: Vec<Trouble>,
}

/// The row that a row is compared with: the gateway over the same wire, with as many bindings, at what comes nearest.
/// Forwarding is compared with what the gateway forwards within its realm, NAT with egress.
fn reference<'a>(results: &'a Results, row: &Row) -> Option<&'a Row> {
    let task = match row.task {
        Task::Pass | Task::Forward => Task::Local,
        Task::Nat => Task::Egress,
        task => task,
    };
    results.rows.iter().find(|other| {
        other.planned.setup.kind == Kind::Gateway
            && other.planned.setup.wire == row.planned.setup.wire
            && other.planned.bindings == row.planned.bindings
            && other.task == task
    })
}

/// The lines of the table.
pub fn lines(results: &Results) -> Vec<Line> {
    let rates = |row: &Row| row.rates.iter().map(|rate| rate.map(|rate| rate.pps)).collect::<Vec<_>>();
    results
        .rows
        .iter()
        .map(|row| {
            let own = rates(row);
            let reference = reference(results, row).filter(|other| !std::ptr::eq(*other, row));
            let losses = row.rates.iter().flatten().map(|rate| rate.loss_ratio);
            Line {
                setup: row.planned.setup.name,
                wire: row.planned.setup.wire.label(),
                task: row.task.label(),
                bindings: row.planned.bindings,
                checked: row.checked,
                rate_pps: Spread::of(own.iter().copied().flatten()),
                loss_ratio_max: losses.reduce(f64::max),
                rate_to_gateway: reference.and_then(|other| Spread::of_ratios(&own, &rates(other))),
                cycles_per_packet: Spread::of(row.cycles.iter().copied().flatten()),
                cycles_to_gateway: reference.and_then(|other| Spread::of_ratios(&row.cycles, &other.cycles)),
                measured: own.iter().flatten().count(),
                rates_pps: own,
                cycles: row.cycles.clone(),
                restarts: row.restarts,
                troubles: row.troubles.clone(),
            }
        })
        .collect()
}

/// What there was on the machine, as its packages call themselves.
pub fn versions() -> BTreeMap<&'static str, String> {
    ["dpdk-dev", "openvswitch-switch-dpdk", "nftables", "iproute2"]
        .into_iter()
        .filter_map(|package| {
            let line = crate::process::Line::new(&crate::process::Place::default(), "dpkg-query");
            let version =
                line.args(["-W", "-f=${Version}", package]).output(std::time::Duration::from_secs(5));
            version.ok().map(|version| (package, version))
        })
        .collect()
}

const HEADER: [&str; 10] = [
    "setup",
    "wire",
    "task",
    "bindings",
    "rounds",
    "Mpps",
    "x gateway",
    "cycles/packet",
    "x gateway",
    "loss %",
];

/// The table, with what one has to know to read it.
pub fn text(
    order: &Order,
    results: &Results,
    machine: &Machine,
    versions: &BTreeMap<&str, String>,
) -> String {
    let lines = lines(results);
    let mut rows: Vec<[String; HEADER.len()]> = vec![HEADER.map(String::from)];
    let spread = |spread: Option<Spread>, scale: f64, decimals| {
        let scaled = |s: Spread| Spread { median: s.median / scale, min: s.min / scale, max: s.max / scale };
        spread.map_or_else(|| "-".to_owned(), |spread| scaled(spread).text(decimals))
    };
    for line in &lines {
        rows.push([
            line.setup.to_owned(),
            line.wire.to_owned(),
            line.task.to_owned(),
            line.bindings.to_string(),
            format!("{}/{}", line.measured, results.rounds),
            match (line.rate_pps, line.checked) {
                (None, Some(_)) if order.generator.is_none() => "checked".to_owned(),
                (rate, _) => spread(rate, 1e6, 3),
            },
            spread(line.rate_to_gateway, 1.0, 2),
            spread(line.cycles_per_packet, 1.0, 0),
            spread(line.cycles_to_gateway, 1.0, 2),
            line.loss_ratio_max.map_or_else(|| "-".to_owned(), |loss| format!("{:.2}", loss * 100.0)),
        ]);
    }
    let widths: Vec<usize> =
        (0..HEADER.len()).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
    let mut text = format!("{machine}\n");
    let packages: Vec<String> = versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let _ = write!(text, "{}\n\n", packages.join(", "));
    for row in &rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if (1..3).contains(&column) || column == 0 {
                format!("{cell:width$}")
            } else {
                format!("{cell:>width$}")
            }
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    let _ = write!(
        text,
        "\n{}; median (smallest-largest) of the rounds that were measured, {} begun, {} s each, frames of {} bytes; devices on core {}, generator on core {}; packet memory on {} pages; {:.0} s in all{}\n",
        order.measure.label(),
        results.rounds,
        order.trial_seconds,
        order.size,
        order.core,
        order.generator_core,
        if order.pages == Pages::Huge { "huge" } else { "ordinary" },
        results.elapsed.as_secs_f64(),
        if results.interrupted { "; interrupted" } else { "" }
    );
    for note in notes(&lines) {
        text += &note;
        text.push('\n');
    }
    text
}

/// What did not go as planned: of each line what happened, and in which rounds.
fn notes(lines: &[Line]) -> Vec<String> {
    let mut notes = Vec::new();
    for line in lines.iter().filter(|line| !line.troubles.is_empty()) {
        let Line { setup, task, bindings, restarts, checked, measured, .. } = line;
        let mut rounds: Vec<(&str, Vec<String>)> = Vec::new();
        for Trouble { round, what } in &line.troubles {
            match rounds.iter_mut().find(|(other, _)| other == what) {
                Some((_, rounds)) => rounds.push(round.to_string()),
                None => rounds.push((what, vec![round.to_string()])),
            }
        }
        let verb = if *measured > 0 || checked.is_some() { "trouble" } else { "not run" };
        let ended = if *restarts > 0 { format!("ended by itself {restarts} times; ") } else { String::new() };
        let all: Vec<_> =
            rounds.iter().map(|(what, rounds)| format!("{what} (round {})", rounds.join(", "))).collect();
        notes.push(format!("{verb}: {setup} {task} with {bindings} bindings: {ended}{}", all.join("; ")));
    }
    notes
}

/// One object with all of it.
pub fn json(order: &Order, results: &Results, machine: &Machine, versions: &BTreeMap<&str, String>) -> Value {
    json!({
        "beside": env!("CARGO_PKG_VERSION"),
        "machine": machine,
        "versions": versions,
        "measure": order.measure,
        "measure_means": Measure::label(order.measure),
        "trial_seconds": order.trial_seconds,
        "size": order.size,
        "pages": order.pages,
        "peers": order.peers,
        "core": order.core,
        "generator_core": order.generator_core,
        "rounds": results.rounds,
        "seconds": results.elapsed.as_secs_f64(),
        "interrupted": results.interrupted,
        "lines": lines(results),
        "rows": rows(results),
        "notes": notes(&lines(results)),
    })
}

/// The same in the form in which `scripts/bench` joins the tables of several programs: one figure a row. There are too few
/// rounds for a 90th percentile; the largest stands in its place.
fn rows(results: &Results) -> Vec<Value> {
    let spread = |spread: Spread, scale: f64| json!({"min": spread.min / scale, "median": spread.median / scale, "p90": spread.max / scale});
    let mut rows = Vec::new();
    for line in lines(results) {
        let Line { setup, wire, task, bindings, .. } = &line;
        let what = format!("{setup} {task}, {bindings} bindings, {wire}");
        let note = (!line.troubles.is_empty()).then(|| {
            format!(
                "{} of {} rounds; {}",
                line.measured,
                results.rounds,
                notes(std::slice::from_ref(&line)).concat()
            )
        });
        let figures = [
            ("Mpps", line.rate_pps, 1e6, line.rate_to_gateway),
            ("cycles/packet", line.cycles_per_packet, 1.0, line.cycles_to_gateway),
        ];
        for (unit, figure, scale, ratio) in figures {
            let Some(figure) = figure else { continue };
            let ratio = ratio.map(|ratio| spread(ratio, 1.0));
            let note = note
                .clone()
                .or_else(|| ratio.as_ref().map(|_| "ratio to the gateway of this wire".to_owned()));
            rows.push(json!({"what": what, "unit": unit, "value": spread(figure, scale), "ratio": ratio, "note": note}));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::plan;
    use crate::generator::Rate;
    use std::time::Duration;

    fn results() -> Results {
        let rate = |pps| Some(Rate { pps, sent_pps: pps, loss_ratio: 0.0 });
        let planned = plan(&["gateway".into(), "ovs-ct-nat".into()], &[5]).unwrap();
        let row = |index: usize, task, rates: [f64; 2], cycles: [f64; 2]| Row {
            planned: planned[index],
            task,
            rates: rates.map(rate).into(),
            cycles: cycles.map(Some).into(),
            checked: Some(5),
            restarts: 0,
            troubles: Vec::new(),
        };
        let mut rows = vec![
            row(0, Task::Egress, [4e6, 2e6], [100.0, 200.0]),
            row(0, Task::Ingress, [9e6, 9e6], [1.0, 1.0]),
            row(1, Task::Nat, [1e6, 1e6], [400.0, 400.0]),
        ];
        rows[2].rates[1] = None;
        rows[2].cycles[1] = None;
        rows[2].troubles = [1, 2].map(|round| Trouble { round, what: "fell over".to_owned() }).into();
        Results { rows, rounds: 2, elapsed: Duration::from_secs(7), interrupted: false }
    }

    #[test]
    fn a_device_is_compared_with_the_gateway_of_its_wire_and_way() {
        let lines = lines(&results());
        assert_eq!(lines[0].rate_to_gateway, None);
        let ratio = lines[2].rate_to_gateway.unwrap();
        assert_eq!((ratio.min, ratio.median, ratio.max), (0.25, 0.25, 0.25));
        let cycles = lines[2].cycles_to_gateway.unwrap();
        assert_eq!((cycles.min, cycles.max), (4.0, 4.0));
    }

    #[test]
    fn the_table_says_what_was_not_run() {
        let results = results();
        let order = Order {
            planned: Vec::new(),
            peers: 1,
            repeats: 2,
            budget: Duration::ZERO,
            core: 1,
            generator_core: 0,
            pages: crate::memory::Pages::Auto,
            programs: ".".into(),
            generator: Some("cesload".into()),
            measure: Measure::Mrr,
            trial_seconds: 1.0,
            size: 64,
        };
        let (machine, versions) = (Machine::here(), BTreeMap::new());
        let table = text(&order, &results, &machine, &versions);
        assert!(table.contains("ovs-ct-nat") && table.contains("0.25 (0.25-0.25)"), "{table}");
        // One of its rounds is missing, and the table says so.
        assert!(table.contains("1/2") && table.contains("2/2"), "{table}");
        assert!(table.contains("trouble: ovs-ct-nat nat with 5 bindings: fell over (round 1, 2)"), "{table}");
        let value = json(&order, &results, &machine, &versions);
        assert_eq!(value["lines"][2]["rates_pps"], json!([1e6, null]));
        assert_eq!(value["lines"][2]["troubles"][1]["round"], 2);
        assert_eq!(value["rows"].as_array().unwrap().len(), 6);
        assert_eq!(value["rows"][4]["ratio"]["min"], 0.25);
    }
}
