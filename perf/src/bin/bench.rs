//! Measures the packet path: cycles per packet, beside a calibration that never changes.
#![forbid(unsafe_code)]

use ces_dataplane::frame::MemoryFrame;
use ces_dataplane::io::memory::MemoryPool;
use ces_dataplane::msg::Encapsulation;
use ces_dataplane::path::BURST;
use ces_dataplane::state::State;
use ces_perf::calibration::Calibration;
use ces_perf::insertion::Insertion;
use ces_perf::measure::{self, Case, Measured};
use ces_perf::memory::{Resident, huge_pages_free_mib};
use ces_perf::path::Path;
use ces_perf::place::{self, Machine};
use ces_perf::realm::{Plan, Way};
use ces_perf::report::{Context, Report};
use ces_perf::rotation::{COLD, Rotation, Slot};
use ces_perf::turn::Turn;
use clap::{Parser, ValueEnum};
use dpdk::{Eal, Mbuf, Memory, Mempool, Options};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: machine::allocations::Counting = machine::allocations::Counting;

/// Measures one case of the packet path.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    /// The case.
    #[arg(long, value_enum, required_unless_present = "list")]
    case: Option<Name>,
    /// Names the cases.
    #[arg(long)]
    list: bool,
    /// Bindings.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=16_000_000))]
    entries: u32,
    /// Peers, with a tunnel each; no more than bindings.
    #[arg(long, default_value_t = 1000)]
    tunnels: u16,
    /// The header between gateways.
    #[arg(long, value_enum, default_value = "vxlan")]
    encapsulation: Header,
    /// Seconds of measured time, in windows of 50 ms, each followed by one of the calibration.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Packets that go through the path together.
    #[arg(long, default_value_t = BURST, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1024))]
    burst: usize,
    /// Packet memory that stays in the cache, instead of as cold as a NIC leaves it.
    #[arg(long)]
    warm: bool,
    /// The core to stay on; the last one if absent.
    #[arg(long)]
    core: Option<usize>,
    /// No measuring: so many packets on ordinary memory, without DPDK, to be run under callgrind.
    #[arg(long)]
    packets: Option<u64>,
    /// Prints one JSON object; the rest goes to standard error.
    #[arg(long)]
    json: bool,
}

/// Frames in the pool beyond those in rotation, for what a worker makes itself.
const SPARE: usize = 511;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Parse, TTL, checksum, forward with one flow: the yardstick.
    Calibration,
    /// From a host into a tunnel: look up, translate, encapsulate.
    CesEgress,
    /// From a tunnel to a host: decapsulate, check, translate.
    CesIngress,
    /// From a host to a host of the same realm.
    CesLocal,
    /// Egress in whole turns of the worker: receive, path, send, events, expiry.
    CesEgressWorker,
    /// Ingress in whole turns of the worker.
    CesIngressWorker,
    /// Making a binding, all tables.
    CesInsert,
}

impl Name {
    fn text(self) -> &'static str {
        match self {
            Name::Calibration => "calibration",
            Name::CesEgress => "ces-egress",
            Name::CesIngress => "ces-ingress",
            Name::CesLocal => "ces-local",
            Name::CesEgressWorker => "ces-egress-worker",
            Name::CesIngressWorker => "ces-ingress-worker",
            Name::CesInsert => "ces-insert",
        }
    }

    fn way(self) -> Way {
        match self {
            Name::CesIngress | Name::CesIngressWorker => Way::Ingress,
            Name::CesLocal => Way::Local,
            Name::Calibration | Name::CesEgress | Name::CesEgressWorker | Name::CesInsert => Way::Egress,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Header {
    /// RFC 7348.
    Vxlan,
    /// RFC 2784 with a key.
    Gre,
    /// RFC 8926.
    Geneve,
}

impl From<Header> for Encapsulation {
    fn from(header: Header) -> Self {
        match header {
            Header::Vxlan => Encapsulation::Vxlan,
            Header::Gre => Encapsulation::Gre,
            Header::Geneve => Encapsulation::Geneve,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        for name in Name::value_variants() {
            println!("{}", name.text());
        }
        return ExitCode::SUCCESS;
    }
    let Some(name) = arguments.case else { return ExitCode::FAILURE };
    let result = match arguments.packets {
        Some(packets) => count(&arguments, name, packets),
        None => run(&arguments, name),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Arguments {
    fn plan(&self, name: Name) -> Plan {
        Plan {
            way: name.way(),
            entries: self.entries,
            tunnels: self.tunnels,
            encapsulation: self.encapsulation.into(),
        }
    }

    /// Frames in a circle of packet memory.
    fn frames(&self) -> usize {
        if self.warm { self.burst } else { COLD }
    }
}

/// Runs a fixed number of packets, for whoever counts their instructions.
fn count(arguments: &Arguments, name: Name, packets: u64) -> Result<(), String> {
    let rotation = || Rotation::<MemoryFrame>::in_memory(arguments.burst * 4, arguments.burst);
    let plan = arguments.plan(name);
    let run = |case: &mut dyn Case| {
        let mut done = 0;
        while done < packets {
            done += case.burst().packets;
        }
        println!("packets {done}");
    };
    match name {
        Name::Calibration => run(&mut Calibration::new(rotation())),
        Name::CesInsert => {
            let mut insertion = Insertion::new(plan, arguments.burst)?;
            run(&mut insertion);
            insertion.check()?;
        }
        Name::CesEgress | Name::CesIngress | Name::CesLocal => {
            let mut path = Path::new(plan, rotation(), arguments.burst)?;
            run(&mut path);
            path.check()?;
        }
        Name::CesEgressWorker | Name::CesIngressWorker => {
            let mut turn = Turn::new(plan, rotation(), arguments.burst, MemoryPool::new(SPARE))?;
            run(&mut turn);
            turn.check()?;
        }
    }
    Ok(())
}

/// Packet memory from DPDK.
struct Packets {
    pool: Mempool,
    described: String,
    frames: usize,
    burst: usize,
    _eal: Eal,
}

impl Packets {
    fn new(arguments: &Arguments) -> Result<Self, String> {
        let frames = arguments.frames().next_multiple_of(arguments.burst);
        // Two circles: the case's and the calibration's. 2,432 bytes a frame with all that a pool keeps of it, and on
        // ordinary pages a page of its own, because no frame of DPDK's crosses one.
        let needed = (2 * frames + SPARE) as u64 * 4096;
        let mib = (needed >> 20) as u32 + 64;
        let huge = huge_pages_free_mib() >= u64::from(mib);
        let memory = if huge { Memory::HugePages } else { Memory::Ordinary { mib } };
        let options =
            Options { memory, core: 0, devices: Vec::new(), extra: vec!["--log-level=*:error".to_owned()] };
        let eal = Eal::start(&options).map_err(|error| error.to_string())?;
        let pool =
            Mempool::new(&eal, "bench", (2 * frames + SPARE) as u32).map_err(|error| error.to_string())?;
        let described = format!(
            "{}: {frames} mbufs in rotation, {}, on {} pages",
            if arguments.warm { "warm" } else { "cold" },
            if arguments.warm {
                "written just before their turn"
            } else {
                "written half a round before their turn"
            },
            if huge { "2 MiB" } else { "4 KiB" }
        );
        Ok(Self { pool, described, frames, burst: arguments.burst, _eal: eal })
    }

    fn rotation(&self) -> Result<Rotation<Mbuf>, String> {
        Rotation::of_pool(&self.pool, self.frames, self.burst)
            .ok_or_else(|| "the pool is too small".to_owned())
    }
}

/// What a state of this plan takes of memory: bytes per entry, and on which pages.
fn tables<C>(plan: Plan, make: impl FnOnce() -> Result<C, String>) -> Result<(C, f64, usize), String> {
    let settings = plan.settings();
    let small = ces_dataplane::settings::Settings { bindings: 1, ..settings.clone() };
    let bytes = |settings| {
        let before = Resident::now();
        let state = State::new(settings).map_err(|error| format!("no state: {error}"))?;
        let after = Resident::now();
        drop(state);
        Ok::<_, String>((after.bytes_since(&before), after.page_size_since(&before)))
    };
    // What does not grow with the bindings is the same in both.
    let (fixed, _) = bytes(&small)?;
    let (all, page_size) = bytes(&settings)?;
    Ok((make()?, all.saturating_sub(fixed) as f64 / f64::from(plan.entries), page_size))
}

fn run(arguments: &Arguments, name: Name) -> Result<(), String> {
    let packets = Packets::new(arguments)?;
    let machine = Machine::here().to_string();
    let core = place::pin(arguments.core)?;
    let plan = arguments.plan(name);
    let mut calibration = Calibration::new(packets.rotation()?);
    let compare = |case: &mut dyn Case, calibration: &mut Calibration<Mbuf>| {
        measure::compare(case, calibration, arguments.seconds, || {})
    };
    let (measured, entries, bytes, page_size, allocations): (Measured, _, _, _, _) = match name {
        Name::Calibration => {
            let mut case = Calibration::new(packets.rotation()?);
            (compare(&mut case, &mut calibration), 1, 0.0, 4096, 0.0)
        }
        Name::CesInsert => {
            let (mut case, bytes, page_size) = tables(plan, || Insertion::new(plan, arguments.burst))?;
            let measured = compare(&mut case, &mut calibration);
            case.check()?;
            (measured, plan.entries, bytes, page_size, case.allocations_per_binding())
        }
        Name::CesEgress | Name::CesIngress | Name::CesLocal => {
            let rotation = packets.rotation()?;
            let (mut case, bytes, page_size) = tables(plan, || Path::new(plan, rotation, arguments.burst))?;
            let measured = compare(&mut case, &mut calibration);
            case.check()?;
            (measured, plan.entries, bytes, page_size, case.allocations_per_packet())
        }
        Name::CesEgressWorker | Name::CesIngressWorker => {
            let (rotation, pool) = (packets.rotation()?, packets.pool.clone());
            let make = || Turn::new(plan, rotation, arguments.burst, pool);
            let (mut case, bytes, page_size) = tables(plan, make)?;
            let measured = compare(&mut case, &mut calibration);
            case.check()?;
            (measured, plan.entries, bytes, page_size, case.allocations_per_packet())
        }
    };
    let report = Report::new(name.text(), entries, arguments.burst, page_size, &measured, bytes, allocations);
    let variant = match name {
        Name::CesEgress | Name::CesIngress | Name::CesEgressWorker | Name::CesIngressWorker => {
            let header = Encapsulation::from(arguments.encapsulation);
            format!(" ({header:?}, {} tunnels)", u32::from(plan.tunnels).min(plan.entries)).to_lowercase()
        }
        Name::Calibration | Name::CesLocal | Name::CesInsert => String::new(),
    };
    let context = Context {
        machine,
        core,
        packets: packets.described.clone(),
        variant,
        calibration: measured.calibration,
        windows: measured.windows,
        interrupted: measured.totals.interrupted(),
        measured: measured.totals.packets(),
    };
    if arguments.json {
        eprint!("{}", report.text(&context));
        println!("{}", serde_json::to_string(&report).map_err(|error| error.to_string())?);
    } else {
        print!("{}", report.text(&context));
    }
    Ok(())
}

/// The kinds of frames that the cases run over.
const _: fn() = || {
    fn is_slot<F: Slot>() {}
    is_slot::<Mbuf>();
    is_slot::<MemoryFrame>();
};
