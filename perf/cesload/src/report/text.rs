//! The report for a terminal: each mode's findings in sections of facts and tables, what matters first.

use super::data::{RunReport, VERSION};
use crate::latency::Latency;
use crate::mode::{Findings, Verdict, ladder, reconfig, throughput};
use crate::search::{Ending, GoalResult};
use crate::trial::{Trial, Unit};
use crate::words::{bit_rate, grouped, microseconds, percent, seconds};

/// Below this nobody wants to know for how long the generator had no core.
const HELD_UP_WORTH_SAYING_S: f64 = 0.001;
/// What is not there.
const NONE: &str = "–";

/// Facts by name, and tables whose first row is their heading.
#[derive(Default)]
struct Section {
    title: String,
    facts: Vec<(String, String)>,
    tables: Vec<Vec<Vec<String>>>,
}

/// A section with these facts.
fn section<const N: usize>(title: impl Into<String>, facts: [(&str, String); N]) -> Section {
    let facts = facts.map(|(what, value)| (what.to_owned(), value)).into();
    Section { title: title.into(), facts, tables: Vec::new() }
}

impl Section {
    fn fact(&mut self, what: impl Into<String>, value: impl Into<String>) {
        self.facts.push((what.into(), value.into()));
    }

    fn table(mut self, columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Self {
        let heading = columns.iter().map(|&column| column.to_owned()).collect();
        self.tables.push(std::iter::once(heading).chain(rows).collect());
        self
    }

    fn lines(&self) -> Vec<String> {
        let wide = |text: &str| text.chars().count();
        let mut lines = vec![String::new(), self.title.clone()];
        let widest = self.facts.iter().map(|(what, _)| wide(what)).max().unwrap_or(0);
        for (what, value) in &self.facts {
            if value.contains('\n') {
                lines.push(format!("  {what}"));
                lines.extend(value.lines().map(|line| format!("    {line}")));
            } else {
                lines.push(format!("  {what:widest$}  {value}"));
            }
        }
        for rows in &self.tables {
            let width =
                |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| wide(cell)).max();
            let cell = |(column, cell): (usize, &String)| {
                let width = width(column).unwrap_or(0);
                if column == 0 { format!("  {cell:width$}") } else { format!("  {cell:>width$}") }
            };
            lines.extend(rows.iter().map(|row| row.iter().enumerate().map(cell).collect::<String>()));
        }
        lines
    }
}

/// The whole report.
pub(super) fn written(report: &RunReport) -> String {
    let mut lines = vec![format!("cesload {VERSION} {}: {}", report.mode, headline(report))];
    lines.extend(sections(report).iter().flat_map(Section::lines));
    lines.iter().fold(String::new(), |text, line| text + line.trim_end() + "\n")
}

/// The result in a line.
pub(super) fn headline(report: &RunReport) -> String {
    let in_a_sentence = |trial: &Trial| {
        let (sent, lost) = (grouped(trial.counts.sent as f64), grouped(trial.counts.lost() as f64));
        format!(
            "{sent} sent in {}, {lost} lost ({})",
            seconds(trial.seconds),
            percent(trial.counts.loss_ratio())
        )
    };
    let found = match &report.ended.findings {
        Findings::Rate(findings) => findings.trial.as_ref().map(in_a_sentence),
        Findings::Soak(findings) => findings.trial.as_ref().map(in_a_sentence),
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
    Some(format!("{} {}{rate} {}", result.goal.name, if sure { "" } else { "at least " }, unit_name(unit)))
}

fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Packets => "packets/s",
        Unit::Sessions => "sessions/s",
    }
}

fn sections(report: &RunReport) -> Vec<Section> {
    let mut sections = match &report.ended.findings {
        Findings::Rate(findings) => trial_sections(findings.trial.as_ref()),
        Findings::Soak(findings) => {
            let mut sections = trial_sections(findings.trial.as_ref());
            if let Some(first) = sections.first_mut() {
                first.fact("Lines appended", grouped(findings.lines as f64));
                first
                    .facts
                    .extend(findings.lines_failed.clone().map(|why| ("No further lines".to_owned(), why)));
            }
            sections
        }
        Findings::Throughput(findings) => throughput_sections(findings),
        Findings::Ladder(findings) => vec![ladder_section(findings)],
        Findings::Reconfig(findings) => reconfig_sections(findings),
    };
    let notes = report.notes().into_iter().zip(1..);
    let facts = notes.map(|(note, number)| (number.to_string(), note)).collect();
    sections.push(Section { title: "Notes".to_owned(), facts, tables: Vec::new() });
    if report.trials.len() > 1 {
        sections.push(trials_section(&report.trials));
    }
    let version =
        report.commit.as_ref().map_or(VERSION.to_owned(), |commit| format!("{VERSION}, commit {commit}"));
    sections.push(section(
        "Run",
        [
            ("Started", format!("{}, took {}", report.started, seconds(report.seconds))),
            ("Command line", report.command.join(" ")),
            ("Version", version),
            ("Machine", report.machine.to_string()),
            ("Profile", report.profile_path.clone()),
        ],
    ));
    sections.retain(|section| !section.facts.is_empty() || !section.tables.is_empty());
    sections
}

fn trial_sections(trial: Option<&Trial>) -> Vec<Section> {
    let Some(trial) = trial else { return Vec::new() };
    let (counts, unit) = (&trial.counts, unit_name(trial.unit));
    let rate = |rate: f64| format!("{} {unit}", grouped(rate));
    let bits = counts.sent_bytes as f64 * 8.0 / trial.seconds.max(f64::MIN_POSITIVE);
    let bits = if counts.sent_bytes > 0 { format!(", {}", bit_rate(bits)) } else { String::new() };
    let lost = (grouped(counts.lost() as f64), grouped(counts.sent as f64), percent(counts.loss_ratio()));
    let mut result = section(
        "Result",
        [
            ("Offered", trial.asked_per_second.map_or("as fast as it goes".to_owned(), rate)),
            ("Sent", format!("{}{bits}, for {}", rate(trial.sent_per_second()), seconds(trial.seconds))),
            ("Received", rate(trial.received_per_second())),
            ("Lost", format!("{} of {} ({})", lost.0, lost.1, lost.2)),
            ("Duplicated", grouped(counts.duplicated as f64)),
            ("Reordered", grouped(counts.reordered as f64)),
        ],
    );
    for (what, number) in [
        ("Too late to tell", counts.stale),
        ("At the wrong place", counts.misplaced),
        ("Foreign frames", trial.foreign),
        ("Of an earlier trial", trial.late),
        ("Dropped by the generator", trial.missed_by_generator),
    ] {
        if number > 0 {
            result.fact(what, grouped(number as f64));
        }
    }
    if trial.held_up_seconds >= HELD_UP_WORTH_SAYING_S {
        result.fact("Without its core", seconds(trial.held_up_seconds));
    }
    let mut sections = vec![result];
    let several = if trial.streams.len() > 1 { &trial.streams[..] } else { &[] };
    if let Some(latency) = &trial.latency_us {
        let own = several.iter().filter_map(|stream| Some(delays(&stream.name, stream.latency_us.as_ref()?)));
        let rows = std::iter::once(delays("all", latency)).chain(own);
        sections.push(section("Delay of probes", []).table(&delay_columns("Stream"), rows));
    }
    if !several.is_empty() {
        let rows = several.iter().map(|stream| {
            let (counts, number) = (&stream.counts, |number: u64| grouped(number as f64));
            let [sent, received, lost] = [counts.sent, counts.received, counts.lost()].map(number);
            let [duplicated, reordered] = [counts.duplicated, counts.reordered].map(number);
            vec![
                stream.name.clone(),
                sent,
                received,
                lost,
                percent(counts.loss_ratio()),
                duplicated,
                reordered,
            ]
        });
        let columns = ["Stream", "sent", "received", "lost", "loss", "duplicated", "reordered"];
        sections.push(section("Streams", []).table(&columns, rows));
    }
    sections
}

fn delay_columns(first: &str) -> [&str; 8] {
    [first, "probes", "min", "p50", "p90", "p99", "p99.9", "max"]
}

fn delays(name: &str, latency: &Latency) -> Vec<String> {
    let delays = [latency.min, latency.p50, latency.p90, latency.p99, latency.p999, latency.max];
    [name.to_owned(), grouped(latency.count as f64)].into_iter().chain(delays.map(microseconds)).collect()
}

fn or_none(value: Option<f64>, text: fn(f64) -> String) -> String {
    value.map_or(NONE.to_owned(), text)
}

fn throughput_sections(findings: &throughput::Findings) -> Vec<Section> {
    let unit = unit_name(findings.unit);
    let columns = [
        "Goal",
        "allowed loss",
        "lower bound",
        "upper bound",
        "width",
        "forwarded there",
        "mean loss there",
        "result",
    ];
    let rows = findings.goals().iter().map(|result| {
        vec![
            result.goal.name.clone(),
            percent(result.goal.loss_ratio),
            or_none(result.lower_per_second, grouped),
            or_none(result.upper_per_second, grouped),
            or_none(result.width, percent),
            or_none(result.throughput_per_second, grouped),
            or_none(result.loss_ratio, percent),
            ending(result).to_owned(),
        ]
    });
    let mut first = section(format!("Result, {unit}"), []).table(&columns, rows);
    if let Some(found) = findings.searches.get(findings.answer) {
        first.fact("Trials", format!("{} in {}", found.trials, seconds(found.elapsed.as_secs_f64())));
        let loads = [
            ("Largest load allowed", found.max_load.map(|(max, _)| max)),
            ("Most that could be sent", found.most_sent_per_second),
        ];
        for (what, load) in loads {
            first.facts.extend(load.map(|load| (what.to_owned(), format!("{} {unit}", grouped(load)))));
        }
    }
    if let Some(GoalResult { goal, .. }) = findings.goals().first() {
        let [last, sum, initial] =
            [goal.final_trial, goal.duration_sum, goal.initial_trial].map(|time| seconds(time.as_secs_f64()));
        let (exceed, width) = (percent(goal.exceed_ratio), percent(goal.width));
        first.fact(
            "Search goal",
            format!(
                "final trials of {last}, {sum} together at a load, {exceed} of them may exceed, first trials of {initial}, \
                 width {width} (MLRsearch)"
            ),
        );
    }
    let mut sections = vec![first];
    if !findings.agreement.is_empty() {
        let columns =
            ["Goal", "lower bounds", "differ by", "width", "contradicting trials over", "same rate"];
        let rows = findings.agreement.iter().map(|agreement| {
            let width = findings.goals().iter().find(|result| result.goal.name == agreement.goal);
            let rates = agreement.lower_per_second.iter().map(|rate| or_none(*rate, grouped));
            vec![
                agreement.goal.clone(),
                rates.collect::<Vec<_>>().join(" · "),
                or_none(agreement.spread, percent),
                or_none(width.map(|result| result.goal.width), percent),
                agreement.noise.map_or("none".to_owned(), percent),
                if agreement.agrees { "yes" } else { "no" }.to_owned(),
            ]
        });
        sections.push(section("Repeated searches", []).table(&columns, rows));
    }
    if let Some((name, rate)) = &findings.latency_of {
        let rows = findings.latency.iter().map(|at| {
            let name = format!("{} %", at.percent);
            let mut row =
                at.latency_us.as_ref().map_or_else(|| vec![name.clone()], |latency| delays(&name, latency));
            row.resize(delay_columns("").len(), NONE.to_owned());
            row.push(percent(at.loss_ratio));
            row
        });
        let title = format!("Delay at parts of {name} ({} {unit})", grouped(*rate));
        let columns = [&delay_columns("Load")[..], &["loss"]].concat();
        sections.push(section(title, []).table(&columns, rows));
    }
    sections
}

fn ending(result: &GoalResult) -> &'static str {
    match result.ending {
        Ending::Regular if result.limited_by_generator => "limited by generator or ports",
        Ending::Regular => "regular",
        Ending::NoLowerBound => "irregular: no lower bound",
        Ending::NoUpperBound => "irregular: no upper bound",
        Ending::Unfinished => "irregular: unfinished",
    }
}

fn ladder_section(findings: &ladder::Findings) -> Section {
    let sessions = |number: u64| format!("{} sessions", grouped(number as f64));
    let columns =
        ["Sessions", "opened", "alive at the end", "opened/s", "packets/s through them", "loss", "holds"];
    let rows = findings.steps.iter().map(|step| {
        let [wanted, opened, alive] =
            [step.wanted, step.opened, step.alive].map(|number| grouped(number as f64));
        let (packets, loss) = (or_none(step.packets_per_second, grouped), or_none(step.loss_ratio, percent));
        let holds = if step.fails.is_none() { "yes" } else { "no" };
        vec![wanted, opened, alive, grouped(step.opened_per_second), packets, loss, holds.to_owned()]
    });
    let held = findings.held.map_or("no rung".to_owned(), sessions);
    section("Result", [("Held", held), ("The profile allows", sessions(findings.sessions_max))])
        .table(&columns, rows)
}

fn reconfig_sections(findings: &reconfig::Findings) -> Vec<Section> {
    let mut result = section("Result", [("Command", findings.command.clone())]);
    if let Some(blocked) = findings.blocked_s {
        result.fact("Blocked, median", seconds(blocked.median));
        let ends = format!("{} to {}", seconds(blocked.min), seconds(blocked.max));
        result.fact("Blocked, smallest to largest", ends);
    }
    if let Some(without) = &findings.without {
        result.fact("Lost without the command", grouped(without.counts.lost() as f64));
    }
    let mut printed = section("What the command printed", []);
    let mut rows = Vec::new();
    for (index, round) in findings.rounds.iter().enumerate() {
        let command = round.command.as_ref();
        let status = command.and_then(|command| command.status);
        rows.push(vec![
            (index + 1).to_string(),
            grouped(round.per_second),
            grouped(round.lost as f64),
            seconds(round.blocked_s),
            or_none(round.command_at_s, seconds),
            or_none(command.map(|command| command.seconds), seconds),
            status.map_or(NONE.to_owned(), |status| status.to_string()),
        ]);
        if let Some(command) = command.filter(|command| !command.output_tail.is_empty()) {
            printed.fact(format!("Round {}", index + 1), &command.output_tail);
        }
    }
    let columns = ["Round", "packets/s", "lost", "blocked", "command at", "took", "status"];
    vec![result.table(&columns, rows), printed]
}

fn trials_section(trials: &[Trial]) -> Section {
    let columns = ["Trial", "asked/s", "seconds", "sent/s", "received/s", "lost", "loss", "p50", "p99"];
    let rows = trials.iter().map(|trial| {
        let delay = |delay: fn(&Latency) -> f64| or_none(trial.latency_us.as_ref().map(delay), microseconds);
        vec![
            trial.label.clone(),
            trial.asked_per_second.map_or("max".to_owned(), grouped),
            format!("{:.2}", trial.seconds),
            grouped(trial.sent_per_second()),
            grouped(trial.received_per_second()),
            grouped(trial.counts.lost() as f64),
            percent(trial.counts.loss_ratio()),
            delay(|latency| latency.p50),
            delay(|latency| latency.p99),
        ]
    });
    section("Trials", []).table(&columns, rows)
}
