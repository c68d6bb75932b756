//! What measuring devices side by side needs beside a script: the gateway's worker as a device under test, a probe that
//! checks what a device makes of each binding, and a thread that soaks up a core to tell what the kernel takes of it.
#![forbid(unsafe_code)]

mod dut;
mod probe;
mod realm;
mod said;
mod soaker;

use ces_dataplane::msg::Encapsulation;
use ces_perf::place::Machine;
use clap::{Args, Parser, Subcommand, ValueEnum};
use dpdk::Memory;
use probe::Task;
use realm::Realm;
use said::say;
use serde_json::Value;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::{BufRead, stdin};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Packet memory of each program that runs on DPDK, in MiB.
const MEMORY_MIB: u32 = 512;
/// How often the program looks whether it is asked something.
const LOOK: Duration = Duration::from_millis(5);

/// The gateway's worker as a device under test.
#[derive(Parser)]
#[command(name = "dut", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    worker: Worker,
}

#[derive(Subcommand)]
enum Command {
    /// Sends a device one packet of each binding and compares what comes out; goes once standard input has ended.
    Probe {
        #[command(flatten)]
        ports: Ports,
        #[command(flatten)]
        realm: RealmOf,
        /// What the device does.
        #[arg(long, value_enum)]
        task: Task,
        /// Queue pairs of each port.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16))]
        queues: u16,
    },
    /// Tells whose a core is, the kernel's, other programs' or nobody's: cycles so far, a line of JSON for each line on
    /// standard input.
    Soak {
        /// The core; the last one if absent.
        #[arg(long)]
        core: Option<usize>,
    },
    /// The machine, as kept runs have it.
    Machine,
}

#[derive(Args)]
struct Worker {
    #[command(flatten)]
    ports: Ports,
    #[command(flatten)]
    realm: RealmOf,
    /// Writes the bindings as `cesctl --json show bindings` prints them, for generators; without ports that is all.
    #[arg(long)]
    export: Option<PathBuf>,
}

#[derive(Args)]
struct Ports {
    /// The device towards the hosts, as DPDK names it.
    #[arg(long, requires = "outside")]
    inside: Option<String>,
    /// The device towards the peers.
    #[arg(long, requires = "inside")]
    outside: Option<String>,
    /// The core; the last one if absent.
    #[arg(long)]
    core: Option<usize>,
    /// Where packet memory comes from; huge pages if there are enough of them, if absent.
    #[arg(long, value_enum)]
    pages: Option<Pages>,
}

#[derive(Args)]
struct RealmOf {
    /// Bindings.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=16_000_000))]
    bindings: u32,
    /// Peers, with a tunnel each.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    peers: u16,
    /// The header of the tunnels.
    #[arg(long, default_value = "vxlan", value_parser = ["vxlan", "gre", "geneve"])]
    encapsulation: String,
    /// Bindings from host to host, without tunnels.
    #[arg(long)]
    local: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Pages {
    Huge,
    Ordinary,
}

impl Ports {
    fn memory(&self) -> Memory {
        let huge = match self.pages {
            None => ces_perf::memory::huge_pages_free_mib() >= u64::from(MEMORY_MIB),
            Some(pages) => pages == Pages::Huge,
        };
        if huge { Memory::HugePages } else { Memory::Ordinary { mib: MEMORY_MIB } }
    }

    fn devices(&self) -> Result<[&str; 2], String> {
        let both = self.inside.as_deref().zip(self.outside.as_deref());
        both.map(<[&str; 2]>::from).ok_or_else(|| "--inside and --outside are wanted".to_owned())
    }

    fn core(&self) -> Result<usize, String> {
        last_or(self.core)
    }
}

impl RealmOf {
    fn realm(&self) -> Result<Realm, String> {
        let encapsulation = match self.encapsulation.as_str() {
            "gre" => Encapsulation::Gre,
            "geneve" => Encapsulation::Geneve,
            _ => Encapsulation::Vxlan,
        };
        Realm::new(self.bindings, self.peers, encapsulation, self.local)
    }
}

fn last_or(core: Option<usize>) -> Result<usize, String> {
    let usable = machine::usable_cores().map_err(|error| format!("cannot tell the usable cores: {error}"))?;
    core.or(usable.last().copied()).ok_or_else(|| "no core is usable".to_owned())
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dut: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), String> {
    match arguments.command {
        None => device(&arguments.worker),
        Some(Command::Machine) => say(&serde_json::json!(Machine::here()).to_string()),
        Some(Command::Soak { core }) => soaker::run(last_or(core)?),
        Some(Command::Probe { ports, realm, task, queues }) => {
            probe::run(&realm.realm()?, task, ports.devices()?, queues, ports.core()?, ports.memory())
        }
    }
}

/// Runs the worker until it is told to end.
fn device(arguments: &Worker) -> Result<(), String> {
    let realm = arguments.realm.realm()?;
    if let Some(file) = &arguments.export {
        let bindings = Value::Array(realm.exported().collect()).to_string();
        std::fs::write(file, bindings).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    let ports = &arguments.ports;
    if arguments.export.is_some() && ports.inside.is_none() {
        return Ok(());
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(|error| error.to_string())?;
    }
    let questions = questions();
    let mut dut = dut::Dut::start(&realm, ports.devices()?, ports.core()?, ports.memory())?;
    say("ready")?;
    while !stop.load(Ordering::Relaxed) {
        dut.check()?;
        while let Ok(line) = questions.try_recv() {
            match line.trim() {
                "stats" => say(&dut.counted().to_string())?,
                other => return Err(format!("standard input: {other:?}: only `stats` is understood")),
            }
        }
        std::thread::sleep(LOOK);
    }
    say(&dut.stop().to_string())
}

/// The lines of standard input, read by a thread.
fn questions() -> Receiver<String> {
    let (asked, questions) = channel();
    std::thread::spawn(move || {
        for line in stdin().lock().lines().map_while(Result::ok) {
            if asked.send(line).is_err() {
                return;
            }
        }
    });
    questions
}
