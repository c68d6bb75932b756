//! Each mode, from its part of the command line to its report.

use crate::cli::{CpsArgs, RateArgs, ReconfigArgs, SearchArgs, SessionsArgs, SoakArgs};
use crate::failed::Failed;
use crate::measure::{Measurement, rate_on};
use ces_load::mode::log::Log;
use ces_load::mode::{Ended, Findings, ladder, rate, reconfig, throughput};
use ces_load::observer::Planned;
use ces_load::search::{Goal, SearchPlan};
use ces_load::trial::{Ascent, Trials};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::time::Instant;

/// One rate.
pub(crate) fn rate(args: &RateArgs) -> Result<u8, Failed> {
    let mut measurement = Measurement::begin("rate", &args.common)?;
    let mut engine = measurement.traffic()?;
    let per_second = rate_on(args.rate, engine.as_ref())?;
    let planned = Planned { label: "rate".to_owned(), per_second, duration: args.seconds };
    let ended = rate::run(engine.as_mut(), &planned, None, &mut measurement.console);
    measurement.end(ended, Findings::Rate)
}

/// NDR, and PDR with it: they share their trials.
pub(crate) fn ndr(args: &SearchArgs) -> Result<u8, Failed> {
    let goals = vec![args.goal(Goal::ndr()), args.goal(Goal::pdr())];
    let mut measurement = Measurement::begin("ndr", &args.common)?;
    let mut engine = measurement.streams()?;
    let ended = searched(args, goals, &mut engine, &mut measurement)?;
    measurement.end(ended, Findings::Throughput)
}

/// PDR alone.
pub(crate) fn pdr(args: &SearchArgs) -> Result<u8, Failed> {
    let mut measurement = Measurement::begin("pdr", &args.common)?;
    let mut engine = measurement.streams()?;
    let ended = searched(args, vec![args.goal(Goal::pdr())], &mut engine, &mut measurement)?;
    measurement.end(ended, Findings::Throughput)
}

/// The most new sessions a second.
pub(crate) fn cps(args: &CpsArgs) -> Result<u8, Failed> {
    let mut measurement = Measurement::begin("cps", &args.search.common)?;
    let mut engine = measurement.sessions()?;
    let goals = vec![args.search.goal(Goal::with_loss_ratio("CPS", args.loss.0))];
    let ended = searched(&args.search, goals, &mut engine, &mut measurement)?;
    measurement.end(ended, Findings::Throughput)
}

/// The session ladder.
pub(crate) fn sessions(args: &SessionsArgs) -> Result<u8, Failed> {
    let mut measurement = Measurement::begin("sessions", &args.common)?;
    let mut engine = measurement.sessions()?;
    let ascent = Ascent {
        sessions: 0,
        open_per_second: rate_on(args.rate, &engine)?,
        use_per_second: rate_on(args.use_rate.unwrap_or(args.rate), &engine)?,
        hold: args.hold_seconds,
        refresh: args.refresh_seconds,
    };
    let ended = ladder::run(&mut engine, &args.ladder, &ascent, &mut measurement.console);
    measurement.end(ended, Findings::Ladder)
}

fn searched(
    args: &SearchArgs,
    goals: Vec<Goal>,
    trials: &mut dyn Trials,
    measurement: &mut Measurement,
) -> Result<Ended<throughput::Findings>, Failed> {
    let usage = |why: String| Failed::Usage(vec![why]);
    let Some(min_per_second) = rate_on(args.min, trials)? else {
        return Err(usage("--min: expected a rate, not max".to_owned()));
    };
    let max_per_second = match args.max {
        Some(rate) => rate_on(rate, trials)?,
        None => None,
    };
    if let Some(max) = max_per_second.or(trials.line_rate())
        && max < min_per_second
    {
        return Err(usage(format!("--min {} is above the largest rate, {max:.0}/s", args.min)));
    }
    let plan = SearchPlan { goals, min_per_second, max_per_second, total: args.total_seconds };
    let wanted = throughput::Wanted { plan, repeat: usize::from(args.repeat), latency: args.latency() };
    let begun = Instant::now();
    let mut now = || begun.elapsed();
    Ok(throughput::run(trials, &wanted, &mut measurement.console, &mut now))
}

/// Hours at one rate.
pub(crate) fn soak(args: &SoakArgs) -> Result<u8, Failed> {
    let mut measurement = Measurement::begin("soak", &args.common)?;
    let lines: Box<dyn Write> = match &args.log {
        Some(path) => {
            let opened = OpenOptions::new().append(true).create(true).open(path);
            let failed = |error: io::Error| Failed::Usage(vec![format!("--log {}: {error}", path.display())]);
            Box::new(opened.map_err(failed)?)
        }
        None => Box::new(io::stdout()),
    };
    let mut engine = measurement.traffic()?;
    let per_second = rate_on(args.rate, engine.as_ref())?;
    let planned = Planned { label: "soak".to_owned(), per_second, duration: args.hours };
    measurement.console.log = Some(Log::new(lines, args.every));
    let allowed = Some(rate::SOAK_LOSS_RATIO);
    let ended = rate::run(engine.as_mut(), &planned, allowed, &mut measurement.console);
    measurement.end(ended, Findings::Rate)
}

/// A command in the middle of a steady rate.
pub(crate) fn reconfig(args: &ReconfigArgs) -> Result<u8, Failed> {
    let mut measurement = Measurement::begin("reconfig", &args.common)?;
    let mut engine = measurement.traffic()?;
    let wanted = reconfig::Wanted {
        per_second: rate_on(args.rate, engine.as_ref())?,
        duration: args.seconds,
        command: args.command.clone(),
        repeat: usize::from(args.repeat),
    };
    let ended = reconfig::run(engine.as_mut(), &wanted, &mut measurement.console);
    measurement.end(ended, Findings::Reconfig)
}
