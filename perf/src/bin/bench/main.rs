//! Measures the packet path: cycles per packet, beside a calibration that never changes.
#![forbid(unsafe_code)]

mod arguments;
mod packets;
mod report;

use arguments::{Arguments, CASES, CaseKind, Named};
use ces_dataplane::settings::WorkerSettings;
use ces_dataplane::state::State;
use ces_perf::calibration::Calibration;
use ces_perf::churn::SessionChurn;
use ces_perf::fleet::Crowd;
use ces_perf::footprint;
use ces_perf::idle::Idle;
use ces_perf::insertion::Insertion;
use ces_perf::measure::{self, Case, Measured};
use ces_perf::memory::Resident;
use ces_perf::path::Path;
use ces_perf::place::{self, Machine};
use ces_perf::queue::Queue;
use ces_perf::realm::RealmPlan;
use ces_perf::rules::{Build, Classify};
use ces_perf::stage::Alone;
use ces_perf::threads;
use ces_perf::world::World;
use clap::Parser;
use dpdk::Mbuf;
use packets::{FrameMemory, InMemory, Packets};
use report::{Facts, Report};
use serde_json::json;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: machine::allocations::Counting = machine::allocations::Counting;

/// Allocations per packet from which a case is void: one in a hundred thousand packets could be a table that grew once.
const ALLOCATIONS: f64 = 1e-5;

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    let result = if arguments.list {
        for (name, ..) in CASES {
            println!("{name}");
        }
        Ok(())
    } else if arguments.machine {
        println!("{}", json!(Machine::here()));
        Ok(())
    } else if arguments.footprint {
        footprint::print()
    } else if let Some(case) = arguments.case {
        arguments.preset(case);
        arguments.check(case).and_then(|()| match arguments.packets {
            Some(packets) => count(&arguments, case, packets),
            None => run(&arguments, case),
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

/// The case, on this packet memory.
fn make<S: FrameMemory>(arguments: &Arguments, kind: CaseKind, memory: &S) -> Result<Box<dyn Case>, String> {
    let (plan, burst) = (arguments.plan(kind), arguments.burst);
    Ok(match kind {
        CaseKind::Calibration => Box::new(Calibration::new(memory.whole()?)),
        CaseKind::Churn(step) => Box::new(SessionChurn::new(step, plan.entries, burst)?),
        CaseKind::Insert => Box::new(Insertion::new(plan, burst)?),
        CaseKind::Path(_) => Box::new(Path::new(plan, memory.whole()?, burst)?),
        CaseKind::World(heading) => {
            let world = World::new(heading, plan.entries);
            Box::new(Path::into_the_world(world, memory.whole()?, burst)?)
        }
        CaseKind::Worker(_) => {
            let rotations = (0..plan.workers).map(|_| memory.circle()).collect::<Result<_, _>>()?;
            let spare = memory.spare(1)?.pop().unwrap_or_default();
            Box::new(Crowd::new(plan, arguments.steering(), rotations, spare, || memory.pool())?)
        }
        CaseKind::Idle => Box::new(Idle::new(plan, burst)?),
        CaseKind::Queue => Box::new(Queue::new(plan.entries, burst)?),
        CaseKind::Classify => Box::new(Classify::new(plan.entries, burst)?),
        CaseKind::BuildRules => Box::new(Build::new(plan.entries)),
        CaseKind::Stage(stage) => Box::new(Alone::new(stage, plan, memory.whole()?, burst)?),
    })
}

/// Runs a fixed number of packets, for whoever counts their instructions.
fn count(arguments: &Arguments, (_, kind, _): Named, packets: u64) -> Result<(), String> {
    let mut case = make(arguments, kind, &InMemory::new(arguments))?;
    let mut done = 0;
    while done < packets {
        done += case.burst().packets;
    }
    println!("packets {done}");
    case.check()
}

/// What a state of this plan takes of memory: bytes per entry, and on which pages.
fn tables(plan: RealmPlan) -> Result<(f64, usize), String> {
    let settings = plan.settings();
    let small = WorkerSettings { bindings: 1, ..settings.clone() };
    let bytes = |settings| {
        let before = Resident::now();
        let state = State::new(settings).map_err(|error| format!("no state: {error}"))?;
        let after = Resident::now();
        drop(state);
        Ok::<_, String>((after.bytes_since(&before), after.page_size_since(&before)))
    };
    let (fixed, _) = bytes(&small)?;
    let (all, page_size) = bytes(&settings)?;
    Ok((all.saturating_sub(fixed) as f64 / f64::from(settings.bindings), page_size))
}

fn run(arguments: &Arguments, (name, kind, _): Named) -> Result<(), String> {
    if arguments.variant.ordinary_pages {
        machine::table::ordinary_pages_only();
    }
    let packets = Packets::new(arguments)?;
    let (measured, facts) = if arguments.variant.threads {
        on_cores(arguments, arguments.plan(kind), &packets)?
    } else {
        on_one_core(arguments, kind, &packets)?
    };
    if facts.allocations_per_packet > ALLOCATIONS {
        return Err(format!("{} allocations per packet, where none may be", facts.allocations_per_packet));
    }
    let variant = arguments.variant.clone();
    let report = Report::new(name, arguments.burst, variant, packets.described, &measured, facts);
    let written = if arguments.json { serde_json::to_string } else { serde_json::to_string_pretty };
    println!("{}", written(&report).map_err(|error| error.to_string())?);
    Ok(())
}

fn on_one_core(
    arguments: &Arguments,
    kind: CaseKind,
    packets: &Packets,
) -> Result<(Measured, Facts), String> {
    let core = place::pin(arguments.core)?;
    let plan = arguments.plan(kind);
    let mut calibration = Calibration::new(packets.whole()?);
    let (bytes_per_entry, page_size) = match kind {
        CaseKind::Insert | CaseKind::Path(_) | CaseKind::Worker(_) => tables(plan)?,
        _ => (0.0, 4096),
    };
    let mut case = make(arguments, kind, packets)?;
    let measured = measure::compare(case.as_mut(), &mut calibration, arguments.seconds);
    case.check()?;
    let (bytes_per_entry, page_size) = case.table().unwrap_or((bytes_per_entry, page_size));
    let facts = Facts {
        entries: match kind {
            CaseKind::Calibration => 1,
            CaseKind::Queue => ces_perf::queue::hosts(plan.entries),
            _ => plan.entries,
        },
        page_size,
        bytes_per_entry,
        allocations_per_packet: case.done().allocations as f64 / case.done().packets.max(1) as f64,
        handed_over: case.handed_over(),
        cores: vec![core],
    };
    Ok((measured, facts))
}

fn on_cores(arguments: &Arguments, plan: RealmPlan, packets: &Packets) -> Result<(Measured, Facts), String> {
    let workers = arguments.variant.workers as usize;
    let usable = machine::usable_cores().map_err(|error| format!("cannot tell the usable cores: {error}"))?;
    let from = usable.len().saturating_sub(workers);
    let cores = usable[from..].to_vec();
    let (bytes_per_entry, page_size) = tables(plan)?;
    let memory = packets
        .spare(workers)?
        .into_iter()
        .map(|spare| {
            Ok(threads::ThreadMemory { case: packets.circle()?, calibration: packets.whole()?, spare })
        })
        .collect::<Result<Vec<threads::ThreadMemory<Mbuf>>, String>>()?;
    let pool = || packets.pool.clone();
    let together = threads::run(plan, arguments.steering(), memory, pool, &cores, arguments.seconds)?;
    let facts = Facts {
        entries: plan.entries,
        page_size,
        bytes_per_entry,
        allocations_per_packet: together.allocations_per_packet,
        handed_over: together.handed_over,
        cores,
    };
    Ok((together.measured, facts))
}
