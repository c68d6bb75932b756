//! Measures the packet path: cycles per packet, beside a calibration that never changes.
#![forbid(unsafe_code)]

mod arguments;
mod packets;

use arguments::{Arguments, Kind, Name};
use ces_dataplane::frame::MemoryFrame;
use ces_dataplane::io::memory::MemoryPool;
use ces_dataplane::settings::Settings;
use ces_dataplane::state::State;
use ces_perf::calibration::Calibration;
use ces_perf::fleet::{self, Fleet};
use ces_perf::footprint;
use ces_perf::idle::Idle;
use ces_perf::insertion::Insertion;
use ces_perf::measure::{self, Case, Measured};
use ces_perf::memory::Resident;
use ces_perf::path::Path;
use ces_perf::place::{self, Machine};
use ces_perf::realm::Plan;
use ces_perf::report::{Context, Facts, Report};
use ces_perf::rotation::Rotation;
use ces_perf::stage::Alone;
use ces_perf::threads;
use clap::{Parser, ValueEnum};
use dpdk::Mbuf;
use packets::{Packets, SPARE};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: machine::allocations::Counting = machine::allocations::Counting;

/// Allocations per packet from which a case is void: one in a hundred thousand packets could be a table that grew once.
const ALLOCATIONS: f64 = 1e-5;

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    let result = if arguments.list {
        for name in Name::value_variants() {
            println!("{}", name.text());
        }
        Ok(())
    } else if arguments.footprint {
        print_footprint()
    } else if let Some(name) = arguments.case {
        arguments.preset(name);
        arguments.check(name).and_then(|()| match arguments.packets {
            Some(packets) => count(&arguments, name, packets),
            None => run(&arguments, name),
        })
    } else {
        Err("no case".to_owned())
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print_footprint() -> Result<(), String> {
    for item in footprint::items()? {
        println!("{}", serde_json::to_string(&item).map_err(|error| error.to_string())?);
    }
    Ok(())
}

/// Runs a fixed number of packets, for whoever counts their instructions.
fn count(arguments: &Arguments, name: Name, packets: u64) -> Result<(), String> {
    let rotation = || Rotation::<MemoryFrame>::in_memory(arguments.burst * 4, arguments.burst);
    let (plan, burst) = (arguments.plan(name), arguments.burst);
    let run = |case: &mut dyn Case| {
        let mut done = 0;
        while done < packets {
            done += case.burst().packets;
        }
        println!("packets {done}");
    };
    match name.kind() {
        Kind::Calibration => run(&mut Calibration::new(rotation())),
        Kind::Insert => {
            let mut insertion = Insertion::new(plan, burst)?;
            run(&mut insertion);
            insertion.check()?;
        }
        Kind::Path => {
            let mut path = Path::new(plan, rotation(), burst)?;
            run(&mut path);
            path.check()?;
        }
        Kind::Worker => {
            let rotations = (0..arguments.workers).map(|_| rotation()).collect();
            let spare = vec![MemoryFrame::empty(); fleet::spare(arguments.workers, burst)];
            let mut fleet =
                Fleet::new(plan, arguments.steering(), rotations, spare, || MemoryPool::new(SPARE))?;
            run(&mut fleet);
            fleet.check()?;
        }
        Kind::Idle => run(&mut Idle::new(plan, burst)?),
        Kind::Stage(stage) => {
            let mut alone = Alone::new(stage, plan, rotation(), burst)?;
            run(&mut alone);
            alone.check()?;
        }
    }
    Ok(())
}

/// What a state of this plan takes of memory: bytes per entry, and on which pages.
fn tables(plan: Plan) -> Result<(f64, usize), String> {
    let settings = plan.settings();
    let small = Settings { bindings: 1, ..settings.clone() };
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
    Ok((all.saturating_sub(fixed) as f64 / f64::from(settings.bindings), page_size))
}

fn run(arguments: &Arguments, name: Name) -> Result<(), String> {
    if arguments.ordinary_pages {
        machine::table::ordinary_pages_only();
    }
    let packets = Packets::new(arguments)?;
    let machine = Machine::here().to_string();
    let plan = arguments.plan(name);
    let (measured, facts, cores) = if arguments.threads {
        on_cores(arguments, plan, &packets)?
    } else {
        let core = place::pin(arguments.core)?;
        let (measured, facts) = on_one_core(arguments, name, plan, &packets)?;
        (measured, facts, vec![core])
    };
    if facts.allocations_per_packet > ALLOCATIONS {
        return Err(format!("{} allocations per packet, where none may be", facts.allocations_per_packet));
    }
    let report = Report::new(&name.text(), arguments.burst, arguments.variant(), &measured, &facts);
    let context =
        Context { machine, cores, packets: packets.described.clone(), measured: measured.totals.packets() };
    if arguments.json {
        eprint!("{}", report.text(&context));
        println!("{}", serde_json::to_string(&report).map_err(|error| error.to_string())?);
    } else {
        print!("{}", report.text(&context));
    }
    Ok(())
}

fn on_one_core(
    arguments: &Arguments,
    name: Name,
    plan: Plan,
    packets: &Packets,
) -> Result<(Measured, Facts), String> {
    let mut calibration = Calibration::new(packets.whole()?);
    let mut compare =
        |case: &mut dyn Case| measure::compare(case, &mut calibration, arguments.seconds, || {});
    let (burst, entries) = (arguments.burst, plan.entries);
    let full = |(bytes_per_entry, page_size), allocations_per_packet, handed_over| Facts {
        entries,
        page_size,
        bytes_per_entry,
        allocations_per_packet,
        handed_over,
    };
    Ok(match name.kind() {
        Kind::Calibration => {
            let mut case = Calibration::new(packets.whole()?);
            (compare(&mut case), Facts { entries: 1, page_size: 4096, ..Facts::default() })
        }
        Kind::Insert => {
            let tables = tables(plan)?;
            let mut case = Insertion::new(plan, burst)?;
            let measured = compare(&mut case);
            case.check()?;
            (measured, full(tables, case.allocations_per_binding(), 0.0))
        }
        Kind::Path => {
            let tables = tables(plan)?;
            let mut case = Path::new(plan, packets.whole()?, burst)?;
            let measured = compare(&mut case);
            case.check()?;
            (measured, full(tables, case.allocations_per_packet(), 0.0))
        }
        Kind::Worker => {
            let tables = tables(plan)?;
            let rotations = (0..plan.workers).map(|_| packets.circle()).collect::<Result<_, _>>()?;
            let spare = packets.further(1)?.pop().unwrap_or_default();
            let pool = || packets.pool.clone();
            let mut case = Fleet::new(plan, arguments.steering(), rotations, spare, pool)?;
            let measured = compare(&mut case);
            case.check()?;
            (measured, full(tables, case.allocations_per_packet(), case.handed_over()))
        }
        Kind::Idle => {
            let mut case = Idle::new(plan, burst)?;
            (compare(&mut case), Facts { entries, page_size: 4096, ..Facts::default() })
        }
        Kind::Stage(stage) => {
            let mut case = Alone::new(stage, plan, packets.whole()?, burst)?;
            let measured = compare(&mut case);
            case.check()?;
            let tables = (case.bytes_per_entry(), case.page_size());
            (measured, full(tables, case.allocations_per_packet(), 0.0))
        }
    })
}

/// Each worker on a core of its own.
fn on_cores(
    arguments: &Arguments,
    plan: Plan,
    packets: &Packets,
) -> Result<(Measured, Facts, Vec<usize>), String> {
    let workers = arguments.workers as usize;
    let usable = machine::usable_cores().map_err(|error| format!("cannot tell the usable cores: {error}"))?;
    let from = usable.len().saturating_sub(workers);
    let cores = usable[from..].to_vec();
    let (bytes_per_entry, page_size) = tables(plan)?;
    let memory = packets
        .further(workers)?
        .into_iter()
        .map(|spare| Ok(threads::Memory { case: packets.circle()?, calibration: packets.whole()?, spare }))
        .collect::<Result<Vec<threads::Memory<Mbuf>>, String>>()?;
    let pool = || packets.pool.clone();
    let together = threads::run(plan, arguments.steering(), memory, pool, &cores, arguments.seconds)?;
    let facts = Facts {
        entries: plan.entries,
        page_size,
        bytes_per_entry,
        allocations_per_packet: together.allocations_per_packet,
        handed_over: together.handed_over,
    };
    Ok((together.measured, facts, cores))
}
