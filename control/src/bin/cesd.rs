//! The appliance: a Customer Edge Switching gateway.
#![forbid(unsafe_code)]

use ces_control::{daemon, log};
use ces_settings::FileError;
use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;

/// A Customer Edge Switching gateway
#[derive(Parser)]
#[command(name = "cesd", version)]
struct Arguments {
    /// The configuration
    #[arg(long)]
    config: PathBuf,
    /// Only read and check the configuration and all files that it names
    #[arg(long)]
    check: bool,
}

/// It could not start, or had to stop.
const FAILED: u8 = 1;
/// The configuration is wrong.
const WRONG: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (loaded, credentials) = match daemon::load(&arguments.config) {
        Ok(loaded) => loaded,
        Err(errors) => {
            report(&errors);
            return ExitCode::from(WRONG);
        }
    };
    if arguments.check {
        println!("{}: good", arguments.config.display());
        return ExitCode::SUCCESS;
    }
    let limiter = log::start(loaded.config.log.level, loaded.config.log.format);
    let daemon = match daemon::start(&arguments.config, loaded, credentials, limiter) {
        Ok(daemon) => daemon,
        Err(error) => {
            tracing::error!("cannot start: {error}");
            return ExitCode::from(FAILED);
        }
    };
    match daemon.run() {
        Ok(daemon::End::Asked) => ExitCode::SUCCESS,
        Ok(daemon::End::Broken) => {
            tracing::error!("a worker has ended by itself; stopped");
            ExitCode::from(FAILED)
        }
        Err(error) => {
            tracing::error!("cannot go on: {error}");
            ExitCode::from(FAILED)
        }
    }
}

fn report(errors: &[FileError]) {
    for error in errors {
        eprintln!("cesd: {error}");
    }
}
