//! Reads runs: compares two, prints one as a table, applies the model, keeps the gate of instruction counts.
#![forbid(unsafe_code)]

use ces_perf::gate::{self, Baseline};
use ces_perf::place::{Machine, Made};
use ces_perf::runs::{self, Run};
use ces_perf::{compare, model, table};
use clap::{Parser, Subcommand};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Reads runs of the bench.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Two runs case by case.
    Compare {
        /// A directory of perf/runs.
        first: PathBuf,
        /// Another one.
        second: PathBuf,
    },
    /// A run as one Markdown table.
    Table {
        /// A directory of perf/runs.
        run: PathBuf,
    },
    /// What the run lets expect of more cores and 100 Gbit/s, with the arithmetic.
    Model {
        /// A directory of perf/runs.
        run: PathBuf,
    },
    /// The machine and what a run is made of, as a JSON object.
    Machine {
        /// What `rustc --version` says.
        #[arg(long)]
        rustc: String,
        /// The processor that was compiled for.
        #[arg(long)]
        target_cpu: String,
        /// When the run began.
        #[arg(long)]
        started: String,
        /// The work tree has changes that are in no commit.
        #[arg(long)]
        changed: bool,
    },
    /// Judges counts of instructions; fails if any is too high, new or gone.
    Gate {
        /// The committed numbers.
        #[arg(long)]
        baseline: PathBuf,
        /// What perf/callgrind printed.
        #[arg(long)]
        counts: PathBuf,
        /// What `rustc --version` says.
        #[arg(long)]
        rustc: String,
        /// The processor that was compiled for.
        #[arg(long)]
        target_cpu: String,
        /// All cases were counted: one that is committed and not among them is gone.
        #[arg(long)]
        all: bool,
        /// Writes the counts down instead of judging them.
        #[arg(long)]
        update: bool,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(3),
        Err(error) => {
            eprintln!("results: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<bool, String> {
    match command {
        Command::Compare { first, second } => {
            print!("{}", compare::text(&Run::read(&first)?, &Run::read(&second)?));
        }
        Command::Table { run } => print!("{}", table::text(&Run::read(&run)?)),
        Command::Model { run } => print!("{}", model::text(&model::Inputs::of(&Run::read(&run)?)?)),
        Command::Machine { rustc, target_cpu, started, changed } => {
            let made = Made { machine: Machine::here(), rustc, target_cpu, started, changed };
            println!("{}", serde_json::to_string(&made).map_err(|error| error.to_string())?);
        }
        Command::Gate { baseline: place, counts, rustc, target_cpu, all, update } => {
            let baseline = Baseline::parse(&read(&place)?).map_err(|error| named(&place, &error))?;
            let counts = runs::instructions(&read(&counts)?);
            if counts.is_empty() {
                return Err("nothing was counted".to_owned());
            }
            if update {
                let text = baseline.updated(&counts, &rustc, &target_cpu).emit()?;
                fs::write(&place, text).map_err(|error| named(&place, &error.to_string()))?;
                println!("{}: {} cases written down", place.display(), counts.len());
                return Ok(true);
            }
            let rows = baseline.judge(&counts, baseline.tolerance(&rustc, &target_cpu), all);
            print!("{}", gate::text(&baseline, &rows, &rustc, &target_cpu));
            return Ok(rows.iter().all(|row| !row.outcome.fails()));
        }
    }
    Ok(true)
}

fn read(place: &Path) -> Result<String, String> {
    fs::read_to_string(place).map_err(|error| named(place, &error.to_string()))
}

fn named(place: &Path, error: &str) -> String {
    format!("{}: {error}", place.display())
}
