//! The gateway's worker as a device under test.
#![forbid(unsafe_code)]

use ces_beside::dut::Running;
use ces_beside::memory::{self, Pages};
use ces_beside::{export, realm::Realm};
use ces_dataplane::msg::Encapsulation;
use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Runs the gateway's own worker loop over two DPDK ports, with bindings in place and static neighbours.
///
/// It prints `ready` when all bindings stand, and its counters at the end: after --seconds, or at SIGINT or SIGTERM. A line
/// `stats` on standard input prints the counters so far as one line of JSON.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The port towards the hosts, as DPDK names it, such as net_memif0,role=server,socket=/tmp/a.sock
    #[arg(long, required_unless_present = "export", requires = "outside")]
    inside: Option<String>,
    /// The port towards the peers.
    #[arg(long, requires = "inside")]
    outside: Option<String>,
    /// Bindings.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=16_000_000))]
    bindings: u32,
    /// Peers, with a tunnel each; no more than bindings.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    peers: u16,
    /// Bindings between hosts inside instead: the outside port has nothing to do.
    #[arg(long)]
    local: bool,
    /// The header between gateways.
    #[arg(long, default_value = "vxlan", value_parser = ["vxlan", "gre", "geneve"])]
    encapsulation: String,
    /// The worker's core; the last one if absent.
    #[arg(long)]
    core: Option<usize>,
    /// Where packet memory comes from.
    #[arg(long, value_enum, default_value = "auto")]
    pages: Pages,
    /// Ends after so many seconds.
    #[arg(long)]
    seconds: Option<f64>,
    /// Writes the bindings, as `cesctl --json show bindings` prints them. Without ports, that is all that is done.
    #[arg(long)]
    export: Option<PathBuf>,
    /// Prints the counters at the end as one line of JSON.
    #[arg(long)]
    json: bool,
    /// A further argument for DPDK's environment.
    #[arg(long, allow_hyphen_values = true)]
    eal: Vec<String>,
}

/// How often the rings are looked after.
const LOOK: Duration = Duration::from_millis(5);

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
    let encapsulation = match arguments.encapsulation.as_str() {
        "gre" => Encapsulation::Gre,
        "geneve" => Encapsulation::Geneve,
        _ => Encapsulation::Vxlan,
    };
    let realm = Realm::new(arguments.bindings, arguments.peers, encapsulation, arguments.local)?;
    if let Some(file) = &arguments.export {
        export::write(&realm, file)?;
    }
    let (Some(inside), Some(outside)) = (&arguments.inside, &arguments.outside) else { return Ok(()) };
    let core = match arguments.core {
        Some(core) => core,
        None => machine::usable_cores().ok().and_then(|cores| cores.last().copied()).unwrap_or(0),
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(|error| error.to_string())?;
    }
    let (asked, questions) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if asked.send(line).is_err() {
                return;
            }
        }
    });
    let memory = memory::choose(arguments.pages);
    let mut running = Running::start(&realm, [inside, outside], core, memory, arguments.eal)?;
    say("ready")?;
    let end =
        arguments.seconds.map(|seconds| Instant::now() + Duration::from_secs_f64(seconds.clamp(0.0, 1e6)));
    while !stop.load(Ordering::Relaxed) && end.is_none_or(|end| Instant::now() < end) {
        running.check()?;
        while let Ok(line) = questions.try_recv() {
            match line.trim() {
                "stats" => say(&json(&running.counted())?)?,
                other => return Err(format!("standard input: {other:?}: only `stats` is understood")),
            }
        }
        std::thread::sleep(LOOK);
    }
    let counted = running.stop();
    say(&if arguments.json { json(&counted)? } else { counted.to_string() })
}

fn json(counted: &ces_beside::dut::Counted) -> Result<String, String> {
    serde_json::to_string(counted).map_err(|error| error.to_string())
}

fn say(line: &str) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| format!("standard output: {error}"))
}
