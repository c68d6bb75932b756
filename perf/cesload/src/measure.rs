//! What all measurements have around them: profile, ports, signals, report.

use crate::cli::{Common, ProfileArgs, ReportArgs, WireArgs};
use crate::failed::{Failed, print};
use crate::progress::Console;
use ces_load::mode::{Ended, Findings};
use ces_load::port::{self, Unready};
use ces_load::profile::rate::Rate;
use ces_load::profile::{self, Profile};
use ces_load::report::{RunReport, file};
use ces_load::session::engine::SessionEngine;
use ces_load::stream::DpdkEngine;
use ces_load::trial::Trials;
use ces_load::wire::{self, Faults, Passed, WireSettings};
use ces_load::words::grouped;
use ces_perf::place::Machine;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Of the sources that this program was built from: set by who runs it and knows.
const COMMIT: &str = "CES_PERF_COMMIT";

/// Reads and checks a profile, with what the command line says differently.
pub(crate) fn profile(args: &ProfileArgs) -> Result<Profile, Failed> {
    let mut profile = profile::load(&args.path, &args.ports)
        .map_err(|errors| Failed::Usage(errors.iter().map(ToString::to_string).collect()))?;
    if !args.cores.is_empty() {
        let mut cores = args.cores.clone();
        cores.sort_unstable();
        if let Some([core, _]) = cores.array_windows().find(|[one, next]| one == next) {
            return Err(Failed::Usage(vec![format!("--core {core} is given twice")]));
        }
        profile.generator.cores.clone_from(&args.cores);
    }
    Ok(profile)
}

/// A flag that SIGINT and SIGTERM set. The second signal ends the program at once.
fn stop_flag() -> Result<Arc<AtomicBool>, Failed> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 1, stop.clone())
            .and_then(|_| flag::register(signal, stop.clone()))
            .map_err(|error| Failed::Broken(format!("signals cannot be caught: {error}")))?;
    }
    Ok(stop)
}

/// A measurement that has begun.
pub(crate) struct Measurement {
    /// What is sent.
    pub profile: Profile,
    /// Sees the trials.
    pub console: Console,
    mode: &'static str,
    report: ReportArgs,
    profile_path: String,
    profile_text: String,
    started: String,
    begun: Instant,
}

impl Measurement {
    /// Reads the profile, and sees that there are directories for the reports: before hours are spent.
    pub(crate) fn begin(mode: &'static str, common: &Common) -> Result<Measurement, Failed> {
        let profile = profile(&common.profile)?;
        let report = &common.report;
        for path in [&report.text, &report.json, &report.html].into_iter().flatten() {
            let directory =
                path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if !directory.is_dir() {
                let problem = format!("{}: there is no directory {}", path.display(), directory.display());
                return Err(Failed::Usage(vec![problem]));
            }
        }
        let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        Ok(Measurement {
            profile,
            console: Console::new(report.quiet, stop_flag()?),
            mode,
            report: report.clone(),
            profile_path: common.profile.path.display().to_string(),
            profile_text: std::fs::read_to_string(&common.profile.path).unwrap_or_default(),
            started: now.format(&Rfc3339).unwrap_or_default(),
            begun: Instant::now(),
        })
    }

    /// Opens the ports for the profile's streams.
    pub(crate) fn streams(&self) -> Result<DpdkEngine, Failed> {
        self.wants("[[stream]]", !self.profile.traffic.is_empty())?;
        let ports = port::open(&self.profile, &mut |what| self.console.say(what))?;
        DpdkEngine::over(&self.profile, ports).map_err(Failed::Broken)
    }

    /// Opens the ports for the profile's sessions.
    pub(crate) fn sessions(&self) -> Result<SessionEngine, Failed> {
        self.wants("[session]", self.profile.session.is_some())?;
        Ok(SessionEngine::open(&self.profile, &mut |what| self.console.say(what))?)
    }

    fn wants(&self, what: &str, there: bool) -> Result<(), Failed> {
        let why = || format!("{}: {} needs a {what}", self.profile_path, self.mode);
        if there { Ok(()) } else { Err(Failed::Usage(vec![why()])) }
    }

    /// Opens the ports for the profile's streams, or if it has none, for its sessions.
    pub(crate) fn traffic(&self) -> Result<Box<dyn Trials>, Failed> {
        if self.profile.traffic.is_empty() && self.profile.session.is_some() {
            return Ok(Box::new(self.sessions()?));
        }
        Ok(Box::new(self.streams()?))
    }

    /// Tells what was found; the exit status.
    pub(crate) fn end<T>(self, ended: Ended<T>, find: fn(T) -> Findings) -> Result<u8, Failed> {
        let ended = ended.told(find);
        self.console.finish();
        let status = ended.verdict.exit_status();
        let report = RunReport {
            mode: self.mode.to_owned(),
            commit: std::env::var(COMMIT).ok().filter(|commit| !commit.is_empty()),
            started: self.started,
            seconds: self.begun.elapsed().as_secs_f64(),
            command: std::env::args().collect(),
            machine: Machine::here(),
            profile_path: self.profile_path,
            profile: self.profile_text,
            ended,
            trials: self.console.trials,
        };
        let text = report.text();
        // All that can be written is written, whatever cannot.
        let mut failures: Vec<String> = Vec::new();
        if let Err(Failed::Broken(why)) = print(&text) {
            failures.push(why);
        }
        if let Some(why) = self.console.log.and_then(|log| log.failed) {
            failures.push(format!("the soak's lines could not be appended: {why}"));
        }
        let contents: [(&Option<_>, &dyn Fn() -> String); 3] = [
            (&self.report.text, &|| text.clone()),
            (&self.report.json, &|| report.json()),
            (&self.report.html, &|| report.html()),
        ];
        for (path, content) in contents {
            if let Some(path) = path
                && let Err(error) = file::write(path, &content())
            {
                failures.push(error.to_string());
            }
        }
        if self.report.stay {
            // However it ends, it has ended.
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        }
        if failures.is_empty() { Ok(status) } else { Err(Failed::Broken(failures.join("\ncesload: "))) }
    }
}

impl From<Unready> for Failed {
    fn from(why: Unready) -> Self {
        match why {
            Unready::Usage(why) => Self::Usage(vec![why]),
            Unready::Broken(why) => Self::Broken(why),
        }
    }
}

/// The rate a second on these ports; `None` = as fast as it goes.
pub(crate) fn rate_on(rate: Rate, trials: &dyn Trials) -> Result<Option<f64>, Failed> {
    rate.resolve(trials.line_rate()).map_err(|why| Failed::Usage(vec![why]))
}

/// Runs a wire until its time is over, or a signal comes.
pub(crate) fn wire(args: &WireArgs) -> Result<u8, Failed> {
    let [first, second] = args.ports.as_slice() else {
        return Err(Failed::Usage(vec![format!(
            "a wire has two ends: expected --port twice, not {} times",
            args.ports.len()
        )]));
    };
    let stop = stop_flag()?;
    let settings = WireSettings {
        devices: [first.clone(), second.clone()],
        faults: Faults {
            drop_every: args.drop_every,
            duplicate_every: args.duplicate_every,
            reorder_every: args.reorder_every,
            delay_ns: u64::from(args.delay_us) * 1000,
        },
        core: args.core,
        huge_pages: args.huge_pages,
        queues: args.queues,
    };
    let begun = Instant::now();
    let mut go_on =
        || !stop.load(Ordering::Relaxed) && args.seconds.is_none_or(|seconds| begun.elapsed() < seconds);
    let passed = wire::run(&settings, &mut go_on).map_err(Failed::Broken)?;
    print(&(told_way("first to second", &passed[0]) + &told_way("second to first", &passed[1])))?;
    Ok(0)
}

fn told_way(way: &str, passed: &Passed) -> String {
    let number = |number: u64| grouped(number as f64);
    format!(
        "{way}: {} received, {} sent, {} dropped, {} duplicated, {} reordered, {} without room\n",
        number(passed.received),
        number(passed.sent),
        number(passed.dropped),
        number(passed.duplicated),
        number(passed.reordered),
        number(passed.overflowed)
    )
}
