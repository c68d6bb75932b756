//! Measures the gateway beside what a person would use instead.
#![forbid(unsafe_code)]

use ces_beside::case::{self, SETUPS};
use ces_beside::frame::Task;
use ces_beside::generator::Measure;
use ces_beside::memory::{self, Pages};
use ces_beside::probe::{self, Outcome};
use ces_beside::run::{Order, run};
use ces_beside::soaker::{Shares, Soaker};
use ces_beside::{interrupt, realm::Realm, report};
use ces_dataplane::msg::Encapsulation;
use ces_perf::place::Machine;
use clap::{Args, Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Measures the gateway beside what a person would use instead: in one run, on one machine, with the same generator and
/// the same packets, each device on the same core, one after the other, several rounds. Needs root for the namespaces.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    measuring: Measuring,
}

#[derive(Args)]
struct Measuring {
    /// Only these setups, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Names the setups.
    #[arg(long)]
    list: bool,
    /// Checks that every device translates as it must, and measures nothing.
    #[arg(long)]
    check: bool,
    /// Numbers of bindings, separated by commas.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 1000, 10_000], value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    bindings: Vec<u32>,
    /// Peers, with a tunnel each; no more than bindings.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    peers: u16,
    /// Rounds at most.
    #[arg(long, default_value_t = 5, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1000))]
    repeats: usize,
    /// Seconds for all of it. What finds no time any more is left out, and said.
    #[arg(long, default_value_t = 300.0, value_parser = seconds)]
    seconds_budget: f64,
    /// Seconds of a trial, of which a search takes up to 60; if absent, so many that two rounds fit the budget, from 0.5 to 5.
    #[arg(long, value_parser = seconds)]
    trial_seconds: Option<f64>,
    /// What is measured.
    #[arg(long, value_enum, default_value = "mrr")]
    measure: Measure,
    /// Bytes of each frame with its FCS, without the tunnel's headers.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(64..=1450))]
    size: u16,
    /// The devices' core; the last one if absent.
    #[arg(long)]
    core: Option<usize>,
    /// The generator's core; the first one if absent.
    #[arg(long)]
    generator_core: Option<usize>,
    /// Where packet memory comes from.
    #[arg(long, value_enum, default_value = "auto")]
    pages: Pages,
    /// The generator; the one beside this program if absent.
    #[arg(long)]
    cesload: Option<PathBuf>,
    /// Writes the results as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Prints, second by second, whose a core was: the kernel's, other programs', or nobody's. The core should have nothing to do
    /// at first: what comes without traffic is taken off.
    Soak {
        /// The core; the last one if absent.
        #[arg(long)]
        core: Option<usize>,
        /// For how long.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
        seconds: u32,
    },
    /// Sends a device one packet of each binding and prints, as JSON, how many came out as they must; then it keeps its ports
    /// until standard input ends.
    Probe {
        /// The port towards the device's inside port.
        #[arg(long)]
        inside: String,
        /// The port towards the device's outside port.
        #[arg(long)]
        outside: String,
        /// What the device does.
        #[arg(long, value_enum)]
        task: Task,
        /// Bindings.
        #[arg(long)]
        bindings: u32,
        /// Peers.
        #[arg(long)]
        peers: u16,
        /// Queues of each port; packets are sent on the first and awaited on all.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16))]
        queues: u16,
        /// The core to run on.
        #[arg(long)]
        core: usize,
        /// Where packet memory comes from.
        #[arg(long, value_enum, default_value = "auto")]
        pages: Pages,
    },
}

/// A number of seconds above zero.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 1e6 => Ok(seconds),
        _ => Err("a number of seconds above 0 was expected".to_owned()),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Some(Command::Probe { inside, outside, task, bindings, peers, queues, core, pages }) => {
            Realm::new(bindings, peers, Encapsulation::Vxlan, task == Task::Local).and_then(|realm| {
                let (ports, memory) = ([inside.as_str(), &outside], memory::choose(pages));
                probe::run(&realm, task, ports, queues, core, memory, tell)
            })
        }
        Some(Command::Soak { core, seconds }) => soak(core, seconds),
        None => measure(arguments.measuring),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("beside: {error}");
            ExitCode::FAILURE
        }
    }
}

fn soak(core: Option<usize>, seconds: u32) -> Result<(), String> {
    let core = match core {
        Some(core) => core,
        None => usable_cores()?.last().copied().unwrap_or(0),
    };
    let soaker = Soaker::start(core)?;
    let mut before = soaker.spent()?;
    for _ in 0..seconds {
        std::thread::sleep(Duration::from_secs(1));
        let after = soaker.spent()?;
        let Shares { all, kernel, others } = soaker.between(&before, &after);
        let percent = |cycles: f64| 100.0 * cycles / all.max(1.0);
        println!("core {core}: the kernel {:.2} %, other programs {:.2} %", percent(kernel), percent(others));
        before = after;
    }
    Ok(())
}

fn usable_cores() -> Result<Vec<usize>, String> {
    machine::usable_cores().map_err(|error| format!("cannot tell the usable cores: {error}"))
}

/// Prints what came of a probe, and waits to be let go: a device may want to be ready when its peer leaves.
fn tell(outcome: &Outcome) {
    println!("{}", serde_json::json!(outcome));
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
}

fn measure(arguments: Measuring) -> Result<(), String> {
    if arguments.list {
        for setup in SETUPS {
            println!("{:22} {:6} {}", setup.name, setup.wire.label(), setup.about);
        }
        return Ok(());
    }
    let order = order(&arguments)?;
    if let Some(file) = &arguments.json {
        // Before the work, not after it.
        std::fs::write(file, "").map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    interrupt::catch()?;
    let (machine, versions) = (Machine::here(), report::versions());
    let results = run(&order, &mut |text| eprintln!("{text}"));
    print!("{}", report::text(&order, &results, &machine, &versions));
    if let Some(file) = &arguments.json {
        let text = report::json(&order, &results, &machine, &versions).to_string() + "\n";
        std::fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    if results.interrupted {
        return Err("interrupted; the table has what was measured until then".to_owned());
    }
    if results.rows.iter().all(|row| row.checked.is_none()) {
        return Err("nothing could be run".to_owned());
    }
    Ok(())
}

fn order(arguments: &Measuring) -> Result<Order, String> {
    let usable = usable_cores()?;
    let [first, .., last] = usable[..] else {
        return Err("two cores are needed: one for the devices, one for the generator".to_owned());
    };
    let core = arguments.core.unwrap_or(last);
    let generator_core = arguments.generator_core.unwrap_or(first);
    if let Some(absent) = [core, generator_core].iter().find(|core| !usable.contains(core)) {
        return Err(format!("core {absent} is not usable; these are: {usable:?}"));
    }
    if core == generator_core {
        return Err(format!("the devices and the generator cannot both have core {core}"));
    }
    let program = std::env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
    let programs = program.parent().unwrap_or(Path::new("/")).to_owned();
    let generator = match (&arguments.cesload, arguments.check) {
        (_, true) => None,
        (Some(program), false) => Some(program.clone()),
        (None, false) => Some(programs.join("cesload")),
    };
    if let Some(missing) = generator.as_ref().filter(|program| !program.exists()) {
        return Err(format!(
            "the generator {} is not there: build it, or name it by --cesload",
            missing.display()
        ));
    }
    let planned = case::plan(&arguments.only, &arguments.bindings)?;
    let fitting = || {
        case::trial_seconds(&planned, arguments.seconds_budget, arguments.repeats, arguments.measure.trials())
    };
    let trial_seconds = arguments.trial_seconds.unwrap_or_else(fitting);
    Ok(Order {
        planned,
        peers: arguments.peers,
        repeats: if arguments.check { 1 } else { arguments.repeats },
        budget: Duration::from_secs_f64(arguments.seconds_budget),
        core,
        generator_core,
        pages: memory::for_run(arguments.pages),
        programs,
        generator,
        measure: arguments.measure,
        trial_seconds,
        size: arguments.size,
    })
}
