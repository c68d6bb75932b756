//! Each mode's findings as sections: what is told first, and which plots show it.

mod plots;

use super::Report;
use super::document::{Section, Table};
use crate::mode::{Findings, Verdict, ladder, reconfig, throughput};
use crate::record::{Latency, StreamRecord, TrialRecord};
use crate::search::{Ending, GoalResult};
use crate::trial::Unit;
use crate::words::{bit_rate, grouped, microseconds, percent, seconds};

/// A hold-up of a thousandth of a second is worth a line.
const HELD_UP_WORTH_SAYING_S: f64 = 0.001;

/// The report in a sentence.
pub fn headline(report: &Report) -> String {
    let found = match &report.ended.findings {
        Findings::Rate(findings) => findings.trial.as_ref().map(trial_in_a_sentence),
        Findings::Soak(findings) => findings.trial.as_ref().map(trial_in_a_sentence),
        Findings::Throughput(findings) => Some(rates_in_a_sentence(findings)),
        Findings::Ladder(findings) => {
            findings.held.map(|held| format!("{} sessions held open", grouped(held as f64)))
        }
        Findings::Reconfig(findings) => {
            findings.blocked_s.map(|blocked| format!("{} blocked (median)", seconds(blocked.median)))
        }
    };
    let found = found.filter(|found| !found.is_empty());
    match (&report.ended.verdict, found) {
        (Verdict::Done, Some(found)) => found,
        (Verdict::Done, None) => "nothing was found".to_owned(),
        (Verdict::Passed, found) => format!("PASSED: {}", found.unwrap_or_default()),
        (Verdict::Failed(why), _) => format!("FAILED: {why}"),
        (Verdict::Interrupted, Some(found)) => format!("interrupted; until then: {found}"),
        (Verdict::Interrupted, None) => "interrupted before anything was found".to_owned(),
        (Verdict::Error(why), Some(found)) => format!("error: {why}; until then: {found}"),
        (Verdict::Error(why), None) => format!("error: {why}"),
    }
}

fn trial_in_a_sentence(trial: &TrialRecord) -> String {
    format!(
        "{} sent in {}, {} lost ({})",
        grouped(trial.counts.sent as f64),
        seconds(trial.seconds),
        grouped(trial.lost as f64),
        percent(trial.loss_ratio)
    )
}

fn rates_in_a_sentence(findings: &throughput::Findings) -> String {
    let goals: Vec<String> =
        findings.goals().iter().filter_map(|goal| rate_of_goal(goal, findings.unit)).collect();
    goals.join(", ")
}

fn rate_of_goal(result: &GoalResult, unit: Unit) -> Option<String> {
    let rate = result.lower_per_second?;
    let at_least =
        if result.ending == Ending::Regular && !result.limited_by_generator { "" } else { "at least " };
    Some(format!("{} {at_least}{} {}", result.goal.name, grouped(rate), unit_name(unit)))
}

fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Packets => "packets/s",
        Unit::Sessions => "sessions/s",
    }
}

/// All sections.
pub fn of(report: &Report) -> Vec<Section> {
    let mut sections = match &report.ended.findings {
        Findings::Rate(findings) => trial_sections(findings.trial.as_ref()),
        Findings::Soak(findings) => {
            let mut sections = trial_sections(findings.trial.as_ref());
            if let Some(first) = sections.first_mut() {
                first.fact("Lines appended", grouped(findings.lines as f64));
                if let Some(why) = &findings.lines_failed {
                    first.fact("No further lines", why);
                }
            }
            sections
        }
        Findings::Throughput(findings) => throughput_sections(findings, &report.trials),
        Findings::Ladder(findings) => vec![ladder_section(findings)],
        Findings::Reconfig(findings) => reconfig_sections(findings),
    };
    sections.retain(|section| {
        !(section.facts.is_empty() && section.tables.is_empty() && section.plots.is_empty())
    });
    let notes = report.notes();
    if !notes.is_empty() {
        let mut section = Section::titled("Notes");
        for (index, note) in notes.into_iter().enumerate() {
            section.fact(format!("{}", index + 1), note);
        }
        sections.push(section);
    }
    if report.trials.len() > 1 {
        sections.push(trials_section(&report.trials));
    }
    sections.push(run_section(report));
    sections
}

fn trial_sections(trial: Option<&TrialRecord>) -> Vec<Section> {
    let Some(trial) = trial else { return Vec::new() };
    let counts = &trial.counts;
    let unit = unit_name(trial.unit);
    let mut section = Section::titled("Result");
    let asked = trial
        .asked_per_second
        .map_or("as fast as it goes".to_owned(), |rate| format!("{} {unit}", grouped(rate)));
    section.fact("Offered", asked);
    let bits = counts.sent_bytes as f64 * 8.0 / trial.seconds.max(f64::MIN_POSITIVE);
    let bits = if counts.sent_bytes > 0 { format!(", {}", bit_rate(bits)) } else { String::new() };
    section.fact(
        "Sent",
        format!("{} {unit}{bits}, for {}", grouped(trial.sent_per_second), seconds(trial.seconds)),
    );
    section.fact("Received", format!("{} {unit}", grouped(trial.received_per_second)));
    section.fact(
        "Lost",
        format!(
            "{} of {} ({})",
            grouped(trial.lost as f64),
            grouped(counts.sent as f64),
            percent(trial.loss_ratio)
        ),
    );
    section.fact("Duplicated", grouped(counts.duplicated as f64));
    section.fact("Reordered", grouped(counts.reordered as f64));
    for (what, number) in [
        ("Too late to tell", counts.stale),
        ("At the wrong place", counts.misplaced),
        ("Foreign frames", trial.foreign),
        ("Of an earlier trial", trial.late),
        ("Dropped by the generator", trial.missed_by_generator),
    ] {
        if number > 0 {
            section.fact(what, grouped(number as f64));
        }
    }
    if trial.held_up_seconds >= HELD_UP_WORTH_SAYING_S {
        section.fact("Without its core", seconds(trial.held_up_seconds));
    }
    section.plots.extend(plots::over_time(trial));
    let mut sections = vec![section];
    if trial.latency_us.is_some() {
        let mut section = Section::titled("Delay of probes");
        let mut table = latency_table("Stream");
        table.rows.extend(trial.latency_us.as_ref().map(|latency| latency_row("all", latency)));
        let own = |stream: &StreamRecord| Some(latency_row(&stream.name, stream.latency_us.as_ref()?));
        if trial.streams.len() > 1 {
            table.rows.extend(trial.streams.iter().filter_map(own));
        }
        section.tables.push(table);
        section.plots.extend(plots::delays(
            trial.latency_us.iter().map(|latency| ("all streams".to_owned(), latency)),
        ));
        sections.push(section);
    }
    if trial.streams.len() > 1 {
        sections.push(streams_section(&trial.streams));
    }
    sections
}

fn streams_section(streams: &[StreamRecord]) -> Section {
    let mut section = Section::titled("Streams");
    let mut table = Table::of(&["Stream", "sent", "received", "lost", "loss", "duplicated", "reordered"]);
    table.rows = streams
        .iter()
        .map(|stream| {
            let counts = &stream.counts;
            vec![
                stream.name.clone(),
                grouped(counts.sent as f64),
                grouped(counts.received as f64),
                grouped(stream.lost as f64),
                percent(stream.loss_ratio),
                grouped(counts.duplicated as f64),
                grouped(counts.reordered as f64),
            ]
        })
        .collect();
    section.tables.push(table);
    section
}

fn latency_table(first: &str) -> Table {
    Table::of(&[first, "probes", "min", "p50", "p90", "p99", "p99.9", "max"])
}

fn latency_row(name: &str, latency: &Latency) -> Vec<String> {
    let mut row = vec![name.to_owned(), grouped(latency.count as f64)];
    let delays = [latency.min, latency.p50, latency.p90, latency.p99, latency.p999, latency.max];
    row.extend(delays.map(microseconds));
    row
}

fn throughput_sections(findings: &throughput::Findings, trials: &[TrialRecord]) -> Vec<Section> {
    let unit = unit_name(findings.unit);
    let mut section = Section::titled("Result");
    let rate = |rate: Option<f64>| rate.map_or("–".to_owned(), grouped);
    let ratio = |ratio: Option<f64>| ratio.map_or("–".to_owned(), percent);
    let (lower, upper) = (format!("lower bound, {unit}"), format!("upper bound, {unit}"));
    let forwarded = format!("forwarded there, {unit}");
    let mut table = Table::of(&[
        "Goal",
        "allowed loss",
        &lower,
        &upper,
        "width",
        &forwarded,
        "mean loss there",
        "result",
    ]);
    for result in findings.goals() {
        table.rows.push(vec![
            result.goal.name.clone(),
            percent(result.goal.loss_ratio),
            rate(result.lower_per_second),
            rate(result.upper_per_second),
            ratio(result.width),
            rate(result.throughput_per_second),
            ratio(result.loss_ratio),
            ending(result).to_owned(),
        ]);
    }
    section.tables.push(table);
    if let Some(found) = findings.searches.get(findings.answer) {
        section.fact("Trials", format!("{} in {}", found.trials, seconds(found.elapsed.as_secs_f64())));
        if let Some((max, _)) = found.max_load {
            section.fact("Largest load allowed", format!("{} {unit}", grouped(max)));
        }
        if let Some(most) = found.most_sent_per_second {
            section.fact("Most that could be sent", format!("{} {unit}", grouped(most)));
        }
    }
    for result in findings.goals().iter().take(1) {
        let goal = &result.goal;
        section.fact(
            "Search goal",
            format!(
                "final trials of {}, {} together at a load, {} of them may exceed, first trials of {}, width {} (MLRsearch)",
                seconds(goal.final_trial.as_secs_f64()),
                seconds(goal.duration_sum.as_secs_f64()),
                percent(goal.exceed_ratio),
                seconds(goal.initial_trial.as_secs_f64()),
                percent(goal.width)
            ),
        );
    }
    section.plots.extend(plots::search(findings, trials));
    let mut sections = vec![section];
    if !findings.agreement.is_empty() {
        sections.push(agreement_section(findings));
    }
    if let Some((name, rate)) = &findings.latency_of {
        let mut section = Section::titled(format!("Delay at parts of {name} ({} {unit})", grouped(*rate)));
        let mut table = latency_table("Load");
        table.columns.push("loss".to_owned());
        for at in &findings.latency {
            let name = format!("{} %", at.percent);
            let mut row = at.latency_us.as_ref().map_or_else(
                || std::iter::once(name.clone()).chain(std::iter::repeat_n("–".to_owned(), 7)).collect(),
                |latency| latency_row(&name, latency),
            );
            row.push(percent(at.loss_ratio));
            table.rows.push(row);
        }
        section.tables.push(table);
        let curves = findings.latency.iter();
        let curves =
            curves.filter_map(|at| Some((format!("{} % of {name}", at.percent), at.latency_us.as_ref()?)));
        section.plots.extend(plots::delays(curves));
        sections.push(section);
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

fn agreement_section(findings: &throughput::Findings) -> Section {
    let mut section = Section::titled("Repeated searches");
    let mut table =
        Table::of(&["Goal", "lower bounds", "differ by", "width", "contradicting trials over", "same rate"]);
    for agreement in &findings.agreement {
        let width = findings.goals().iter().find(|result| result.goal.name == agreement.goal);
        let rates: Vec<String> =
            agreement.lower_per_second.iter().map(|rate| rate.map_or("–".to_owned(), grouped)).collect();
        table.rows.push(vec![
            agreement.goal.clone(),
            rates.join(" · "),
            agreement.spread.map_or("–".to_owned(), percent),
            width.map_or("–".to_owned(), |result| percent(result.goal.width)),
            agreement.noise.map_or("none".to_owned(), percent),
            if agreement.agrees { "yes" } else { "no" }.to_owned(),
        ]);
    }
    section.tables.push(table);
    section
}

fn ladder_section(findings: &ladder::Findings) -> Section {
    let mut section = Section::titled("Result");
    section.fact(
        "Held",
        findings.held.map_or("no rung".to_owned(), |held| format!("{} sessions", grouped(held as f64))),
    );
    section.fact("The profile allows", format!("{} sessions", grouped(findings.sessions_max as f64)));
    let mut table = Table::of(&[
        "Sessions",
        "opened",
        "alive at the end",
        "opened/s",
        "packets/s through them",
        "loss",
        "holds",
    ]);
    for step in &findings.steps {
        table.rows.push(vec![
            grouped(step.wanted as f64),
            grouped(step.opened as f64),
            grouped(step.alive as f64),
            grouped(step.opened_per_second),
            step.packets_per_second.map_or("–".to_owned(), grouped),
            step.loss_ratio.map_or("–".to_owned(), percent),
            if step.fails.is_none() { "yes" } else { "no" }.to_owned(),
        ]);
    }
    section.tables.push(table);
    section
}

fn reconfig_sections(findings: &reconfig::Findings) -> Vec<Section> {
    let mut section = Section::titled("Result");
    section.fact("Command", &findings.command);
    if let Some(blocked) = findings.blocked_s {
        section.fact("Blocked, median", seconds(blocked.median));
        section.fact(
            "Blocked, smallest to largest",
            format!("{} to {}", seconds(blocked.min), seconds(blocked.max)),
        );
    }
    if let Some(without) = &findings.without {
        section.fact("Lost without the command", grouped(without.lost as f64));
    }
    let mut table = Table::of(&["Round", "packets/s", "lost", "blocked", "command at", "took", "status"]);
    for (index, round) in findings.rounds.iter().enumerate() {
        let command = round.command.as_ref();
        table.rows.push(vec![
            format!("{}", index + 1),
            grouped(round.per_second),
            grouped(round.lost as f64),
            seconds(round.blocked_s),
            round.command_at_s.map_or("–".to_owned(), seconds),
            command.map_or("–".to_owned(), |command| seconds(command.seconds)),
            command.and_then(|command| command.status).map_or("–".to_owned(), |status| status.to_string()),
        ]);
    }
    section.tables.push(table);
    let mut sections = vec![section];
    let mut printed = Section::titled("What the command printed");
    for (index, round) in findings.rounds.iter().enumerate() {
        if let Some(command) = round.command.as_ref().filter(|command| !command.output_tail.is_empty()) {
            printed.fact(format!("Round {}", index + 1), &command.output_tail);
        }
        let mut own = Section::titled(format!("Round {}", index + 1));
        own.plots.extend(plots::over_time(&round.trial));
        sections.push(own);
    }
    sections.push(printed);
    sections
}

fn trials_section(trials: &[TrialRecord]) -> Section {
    let mut section = Section::titled("Trials");
    let mut table =
        Table::of(&["Trial", "asked/s", "seconds", "sent/s", "received/s", "lost", "loss", "p50", "p99"]);
    for trial in trials {
        let delay = |delay: fn(&Latency) -> f64| {
            trial.latency_us.as_ref().map_or("–".to_owned(), |latency| microseconds(delay(latency)))
        };
        table.rows.push(vec![
            trial.label.clone(),
            trial.asked_per_second.map_or("max".to_owned(), grouped),
            format!("{:.2}", trial.seconds),
            grouped(trial.sent_per_second),
            grouped(trial.received_per_second),
            grouped(trial.lost as f64),
            percent(trial.loss_ratio),
            delay(|latency| latency.p50),
            delay(|latency| latency.p99),
        ]);
    }
    section.tables.push(table);
    section
}

fn run_section(report: &Report) -> Section {
    let mut section = Section::titled("Run");
    section.fact("Started", format!("{}, took {}", report.started, seconds(report.seconds)));
    section.fact("Command line", report.command.join(" "));
    section.fact(
        "Version",
        match &report.commit {
            Some(commit) => format!("{}, commit {commit}", super::VERSION),
            None => super::VERSION.to_owned(),
        },
    );
    section.fact("Machine", report.machine.line());
    section.fact("Profile", &report.profile_path);
    section
}

/// The profile, for what is kept: a terminal has it at hand.
pub fn profile_section(report: &Report) -> Section {
    let mut section = Section::titled("Profile");
    section.fact(&report.profile_path, format!("{}\n", report.profile.trim_end()));
    section
}
