//! The command line.

use ces_load::mode::ladder;
use ces_load::profile::rate::Rate;
use ces_load::search::{EXCEED_RATIO, Goal, WIDTH};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// Traffic generator and sink on DPDK ports.
#[derive(Debug, Parser)]
#[command(name = "cesload", version, about, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say what a profile would send, or what is wrong with it; nothing is started.
    Check {
        /// The profile.
        #[command(flatten)]
        profile: ProfileArgs,
    },
    /// Print the mixes of sizes that have names.
    Sizes,
    /// Write the first packets of a profile's streams to a capture, for other generators; nothing is started.
    Frames(FramesArgs),
    /// Offer one rate for a while.
    Rate(RateArgs),
    /// Search the largest rate without loss, and beside it the one with at most 0.5 %.
    Ndr(SearchArgs),
    /// Search the largest rate with at most 0.5 % loss.
    Pdr(SearchArgs),
    /// Search the most new sessions a second.
    Cps(CpsArgs),
    /// Open more and more sessions at once, until they do not hold.
    Sessions(SessionsArgs),
    /// Offer one rate for hours; pass if at most one packet of ten million is lost.
    Soak(SoakArgs),
    /// Measure for how long the device forwards nothing while a command reconfigures it.
    Reconfig(ReconfigArgs),
    /// Be a device under test: a wire between two ports, with exact faults.
    Wire(WireArgs),
}

/// Which profile, and what is different from it.
#[derive(Clone, Debug, Args)]
pub(crate) struct ProfileArgs {
    /// The profile: a TOML file.
    #[arg(value_name = "PROFILE")]
    pub path: PathBuf,
    /// Another device for a port of the profile.
    #[arg(long = "port", value_name = "NAME=DEVICE", value_parser = device_of_port)]
    pub ports: Vec<(String, String)>,
    /// A core for a generator's thread, instead of the profile's; may be given several times.
    #[arg(long = "core", value_name = "N")]
    pub cores: Vec<usize>,
}

/// Where reports go.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReportArgs {
    /// Write the report as text, too (it is printed in any case).
    #[arg(long, value_name = "FILE")]
    pub text: Option<PathBuf>,
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the report as one page of HTML.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Show no progress.
    #[arg(long)]
    pub quiet: bool,
    /// Keep the ports, when all is reported, until standard input ends: for a peer that wants to be ready when they go.
    #[arg(long)]
    pub stay: bool,
}

/// What all measurements take.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// The profile.
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// The reports.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// `frames`.
#[derive(Debug, Args)]
pub(crate) struct FramesArgs {
    /// The profile.
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// Where they go.
    #[arg(long, value_name = "FILE")]
    pub pcap: PathBuf,
    /// How many.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub count: usize,
}

/// `rate`.
#[derive(Debug, Args)]
pub(crate) struct RateArgs {
    /// What all take.
    #[command(flatten)]
    pub common: Common,
    /// Packets (or sessions) a second, such as 10k or 1.5M; a part of line rate, such as 50% or line; or max.
    #[arg(long, value_name = "R", allow_negative_numbers = true, default_value = "max")]
    pub rate: Rate,
    /// For how long.
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    pub seconds: Duration,
}

/// `ndr`, `pdr`.
#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// What all take.
    #[command(flatten)]
    pub common: Common,
    /// The smallest rate that is tried.
    #[arg(long, value_name = "R", allow_negative_numbers = true, default_value = "100")]
    pub min: Rate,
    /// The largest rate that is tried; without it line rate, or if the ports do not tell it, what can be sent.
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    pub max: Option<Rate>,
    /// Length of the trials that decide.
    #[arg(long, value_name = "S", default_value = "5", value_parser = seconds)]
    pub trial_seconds: Duration,
    /// Length of the first trials; without it 1 s, or as long as those that decide.
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub initial_seconds: Option<Duration>,
    /// So long a load is tried until it is a bound; without it three trials.
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub sum_seconds: Option<Duration>,
    /// Part of that time in which trials may lose more than the goal allows; 0% with --sum-seconds of one trial is RFC 2544.
    #[arg(long, value_name = "P", default_value_t = Ratio(EXCEED_RATIO), value_parser = part)]
    pub exceed: Ratio,
    /// How close the bounds shall be.
    #[arg(long, value_name = "P", default_value_t = Ratio(WIDTH), value_parser = width)]
    pub width: Ratio,
    /// The search ends after this time with what it has.
    #[arg(long, value_name = "S", default_value = "1800", value_parser = seconds)]
    pub total_seconds: Duration,
    /// How often to search, and to compare what was found.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub repeat: u16,
    /// Length of the trials for the delay at 10, 50 and 90 % of the rate; 0 = none; without it that of the trials that decide.
    #[arg(long, value_name = "S", value_parser = seconds_or_none)]
    pub latency_seconds: Option<Duration>,
}

impl SearchArgs {
    /// A goal with these attributes.
    pub(crate) fn goal(&self, goal: Goal) -> Goal {
        let usual = goal.with_final_trial(self.trial_seconds);
        Goal {
            exceed_ratio: self.exceed.0,
            duration_sum: self.sum_seconds.unwrap_or(usual.duration_sum),
            initial_trial: self.initial_seconds.unwrap_or(usual.initial_trial).min(self.trial_seconds),
            width: self.width.0,
            ..usual
        }
    }

    /// How long trials for the delay are; nothing for none.
    pub(crate) fn latency(&self) -> Option<Duration> {
        Some(self.latency_seconds.unwrap_or(self.trial_seconds)).filter(|duration| !duration.is_zero())
    }
}

/// `cps`.
#[derive(Debug, Args)]
pub(crate) struct CpsArgs {
    /// What all searches take; rates are sessions a second.
    #[command(flatten)]
    pub search: SearchArgs,
    /// Part of the sessions that may fail.
    #[arg(long, value_name = "P", default_value_t = Ratio(0.0), value_parser = part)]
    pub loss: Ratio,
}

/// `sessions`.
#[derive(Debug, Args)]
pub(crate) struct SessionsArgs {
    /// What all take.
    #[command(flatten)]
    pub common: Common,
    /// Numbers of sessions.
    #[arg(
        long, value_name = "N,N", value_delimiter = ',', default_values_t = ladder::RUNGS,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub ladder: Vec<u64>,
    /// Sessions opened a second; max = as fast as it goes.
    #[arg(long, value_name = "R", allow_negative_numbers = true, default_value = "50k")]
    pub rate: Rate,
    /// Requests a second while they are held open; max = as fast as it goes; without it as many as --rate.
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    pub use_rate: Option<Rate>,
    /// How long they are held open and used at least: until each had its turn.
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    pub hold_seconds: Duration,
    /// Use every open session so often from the first on, for a device that forgets what is idle; without it only once all are
    /// open.
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub refresh_seconds: Option<Duration>,
}

/// `soak`.
#[derive(Debug, Args)]
pub(crate) struct SoakArgs {
    /// What all take.
    #[command(flatten)]
    pub common: Common,
    /// For how long.
    #[arg(long, value_name = "H", default_value = "1", value_parser = hours)]
    pub hours: Duration,
    /// Packets a second, or a part of line rate.
    #[arg(long, value_name = "R", allow_negative_numbers = true, default_value = "10k")]
    pub rate: Rate,
    /// A file to which a line of JSON is appended now and then, so that nothing is lost whatever ends the run; without it
    /// the lines are printed.
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// How often.
    #[arg(long, value_name = "S", default_value = "60", value_parser = seconds)]
    pub every: Duration,
}

/// `reconfig`.
#[derive(Debug, Args)]
pub(crate) struct ReconfigArgs {
    /// What all take.
    #[command(flatten)]
    pub common: Common,
    /// The line of shell that reconfigures the device, run after a third of the time.
    #[arg(long, value_name = "COMMAND")]
    pub command: String,
    /// Packets a second, or a part of line rate. The shortest time that can be told is one packet's.
    #[arg(long, value_name = "R", allow_negative_numbers = true, default_value = "10k")]
    pub rate: Rate,
    /// Length of a trial.
    #[arg(long, value_name = "S", default_value = "9", value_parser = seconds)]
    pub seconds: Duration,
    /// How often to reconfigure.
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub repeat: u16,
}

/// `wire`.
#[derive(Debug, Args)]
pub(crate) struct WireArgs {
    /// A device, given twice: the wire's two ends.
    #[arg(long = "port", value_name = "DEVICE", required = true)]
    pub ports: Vec<String>,
    /// Drop every Nth frame of each direction.
    #[arg(long, value_name = "N", default_value = "0")]
    pub drop_every: u64,
    /// Send every Nth frame twice.
    #[arg(long, value_name = "N", default_value = "0")]
    pub duplicate_every: u64,
    /// Send every Nth frame after its successor.
    #[arg(long, value_name = "N", default_value = "0")]
    pub reorder_every: u64,
    /// Keep each frame for so many microseconds.
    #[arg(long, value_name = "N", default_value = "0", value_parser = clap::value_parser!(u32))]
    pub delay_us: u32,
    /// End after this time; without it on SIGINT or SIGTERM.
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub seconds: Option<Duration>,
    /// The core to run on.
    #[arg(long, value_name = "N")]
    pub core: Option<usize>,
    /// Keep packet buffers on huge pages.
    #[arg(long)]
    pub huge_pages: bool,
    /// Queue pairs of each port; on the way back a frame changes from its queue to the next. Faults count by queue.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=16))]
    pub queues: u16,
}

/// A ratio, written as percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratio(pub f64);

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}%", self.0 * 100.0)
    }
}

/// A year: longer trials are typing errors.
const SECONDS_MAX: f64 = 365.0 * 86_400.0;
/// Shorter trials are over before the threads run.
const SECONDS_MIN: f64 = 0.001;

fn number(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|number| number.is_finite())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = number(text).filter(|number| (SECONDS_MIN..=SECONDS_MAX).contains(number));
    number.map(Duration::from_secs_f64).ok_or_else(|| "expected seconds, at least 0.001".to_owned())
}

fn seconds_or_none(text: &str) -> Result<Duration, String> {
    if number(text) == Some(0.0) { Ok(Duration::ZERO) } else { seconds(text) }
}

fn hours(text: &str) -> Result<Duration, String> {
    let seconds = number(text)
        .map(|hours| hours * 3600.0)
        .filter(|number| (SECONDS_MIN..=SECONDS_MAX).contains(number));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected hours, such as 8 or 0.5".to_owned())
}

/// `0.5%`, or `0.5` for the same.
fn ratio(text: &str) -> Option<f64> {
    number(text.trim().trim_end_matches('%')).map(|percent| percent / 100.0)
}

fn width(text: &str) -> Result<Ratio, String> {
    // Narrower than any pace of bursts, or so wide that it says nothing.
    let ratio = ratio(text).filter(|ratio| (0.0001..=0.5).contains(ratio));
    ratio.map(Ratio).ok_or_else(|| "expected a width from 0.01% to 50%".to_owned())
}

fn part(text: &str) -> Result<Ratio, String> {
    let ratio = ratio(text).filter(|ratio| (0.0..1.0).contains(ratio));
    ratio.map(Ratio).ok_or_else(|| "expected a part from 0% to less than 100%".to_owned())
}

fn device_of_port(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, device)) if !name.is_empty() && !device.is_empty() => {
            Ok((name.to_owned(), device.to_owned()))
        }
        _ => Err("expected NAME=DEVICE, such as a=net_memif0,role=client".to_owned()),
    }
}
