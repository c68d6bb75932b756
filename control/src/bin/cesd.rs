//! The appliance: a Customer Edge Switching gateway.
#![forbid(unsafe_code)]

use ces_control::config::Loaded;
use ces_control::daemon;
use ces_control::doctor::{self, Fitness, Machine};
use ces_control::log::Log;
use ces_control::pages::Cesd;
use ces_control::tls::Credentials;
use ces_settings::FileError;
use clap::Parser as _;
use std::process::ExitCode;
use std::time::SystemTime;

/// It could not start, or had to stop.
const FAILED: u8 = 1;
/// The configuration is wrong.
const WRONG: u8 = 2;

fn main() -> ExitCode {
    // Another allocator than glibc's has ways of its own.
    let _ = dpdk::free_in_pieces();
    let arguments = Cesd::parse();
    let (loaded, credentials) = match daemon::load(&arguments.config) {
        Ok(loaded) => loaded,
        Err(errors) => {
            report(&errors);
            return ExitCode::from(WRONG);
        }
    };
    if arguments.check {
        println!("{}: good", arguments.config.display());
        return if arguments.machine { examine(&loaded, credentials.as_ref()) } else { ExitCode::SUCCESS };
    }
    let log = match Log::start(loaded.config.log.level, loaded.config.log.format) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("cesd: cannot start the log: {error}");
            return ExitCode::from(FAILED);
        }
    };
    let code = run(&arguments, loaded, credentials, &log);
    log.finish();
    code
}

/// Says how it stands with the machine. What keeps the gateway from working is a failure.
fn examine(loaded: &Loaded, credentials: Option<&Credentials>) -> ExitCode {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let findings = doctor::examine(&Machine::here(), &loaded.config, credentials, now.as_secs() as i64);
    print!("{}", doctor::text(&findings));
    let is_wrong = findings.iter().any(|finding| finding.fitness == Fitness::Wrong);
    if is_wrong { ExitCode::from(FAILED) } else { ExitCode::SUCCESS }
}

fn run(arguments: &Cesd, loaded: Loaded, credentials: Option<Credentials>, log: &Log) -> ExitCode {
    let daemon = match daemon::start(&arguments.config, loaded, credentials, log.clone()) {
        Ok(daemon) => daemon,
        Err(error) => {
            tracing::error!("cannot start: {error}");
            return ExitCode::from(FAILED);
        }
    };
    match daemon.run() {
        Ok(daemon::Exit::Asked) => ExitCode::SUCCESS,
        Ok(daemon::Exit::Broken) => {
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
