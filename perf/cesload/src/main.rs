//! cesload: traffic generator and sink on DPDK ports.
//!
//! Exit status: 0 it was done (and passed); 1 something broke, and what was measured until then is reported; 2 bad usage or a bad
//! profile, and nothing was started; 3 it was measured and failed its criterion.

#![forbid(unsafe_code)]

mod check;
mod cli;
mod failed;
mod measure;
mod progress;
mod run;

use clap::Parser;
use cli::{Cli, Command};
use failed::{Failed, print};
use std::process::ExitCode;

fn main() -> ExitCode {
    let status = match run(Cli::parse().command) {
        Ok(status) => status,
        Err(Failed::Usage(problems)) => {
            for problem in problems {
                eprintln!("cesload: {problem}");
            }
            2
        }
        Err(Failed::Broken(why)) => {
            eprintln!("cesload: {why}");
            1
        }
    };
    ExitCode::from(status)
}

fn run(command: Command) -> Result<u8, Failed> {
    match command {
        Command::Check { profile } => print(&check::told(&measure::profile(&profile)?)).map(|()| 0),
        Command::Sizes => print(&check::sizes()).map(|()| 0),
        Command::Frames(args) => check::frames(&args).map(|()| 0),
        Command::Wire(args) => measure::wire(&args),
        Command::Rate(args) => run::rate(&args),
        Command::Ndr(args) => run::ndr(&args),
        Command::Pdr(args) => run::pdr(&args),
        Command::Cps(args) => run::cps(&args),
        Command::Sessions(args) => run::sessions(&args),
        Command::Soak(args) => run::soak(&args),
        Command::Reconfig(args) => run::reconfig(&args),
    }
}
