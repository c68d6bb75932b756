//! Measures the control plane: names turned into sessions between two gateways.
#![forbid(unsafe_code)]

use ces_perf::control::certificates::Authority;
use ces_perf::control::cpu::Thread;
use ces_perf::control::driver::{Driver, free_port};
use ces_perf::control::load::Load;
use ces_perf::control::pair::{Connected, Pair};
use ces_perf::control::realms::{Shape, Side};
use ces_perf::control::result::{Outcome, Spent, Times, failures};
use ces_perf::measure::{self, Case, Spread, Totals, WINDOW_MS};
use ces_perf::memory::Resident;
use ces_perf::place::{self, Machine};
use clap::{Parser, ValueEnum};
use machine::Clock;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: machine::allocations::Counting = machine::allocations::Counting;

/// Measures how many names a second two gateways turn into sessions, and how long each takes.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    /// What to measure.
    #[arg(long, value_enum, default_value = "h2h")]
    mode: Mode,
    /// Queries under way at a time.
    #[arg(long, default_value_t = 64, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    outstanding: usize,
    /// Round trips of a negotiation: with 2 the responder asks for an acknowledgement first.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    round_trips: u8,
    /// Between the gateways.
    #[arg(long, value_enum, default_value = "tls")]
    transport: Transport,
    /// Hosts on each side.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    hosts: u32,
    /// Seconds to measure for.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// No measuring of time: so many names, to be run under callgrind (modes `engine` and `connected`).
    #[arg(long)]
    names: Option<u64>,
    /// Prints one JSON object; the rest goes to standard error.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Two gateways, a thread each, negotiate over loopback.
    H2h,
    /// Two gateways negotiate by function calls, in one thread: what the engines cost.
    Engine,
    /// A gateway answers for pairs that are connected already.
    Connected,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Transport {
    /// TLS over TCP.
    Tls,
    /// TCP alone.
    Tcp,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let machine = Machine::here(); // before the thread is pinned
    let result = match (arguments.mode, arguments.names) {
        (Mode::H2h, _) => h2h(&arguments).map(Some),
        (Mode::Engine, None) => engine(&arguments).map(Some),
        (Mode::Connected, None) => connected(&arguments).map(Some),
        (Mode::Engine | Mode::Connected, Some(names)) => count(&arguments, names).map(|()| None),
    };
    match result.and_then(|outcome| outcome.map_or(Ok(()), |outcome| say(&arguments, &outcome, &machine))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("negotiate: {error}");
            ExitCode::FAILURE
        }
    }
}

fn say(arguments: &Arguments, outcome: &Outcome, machine: &Machine) -> Result<(), String> {
    let text = format!("{}{:<12} {machine}\n", outcome.text(), "machine");
    if arguments.json {
        eprint!("{text}");
        println!("{}", serde_json::to_string(outcome).map_err(|error| error.to_string())?);
    } else {
        print!("{text}");
    }
    Ok(())
}

impl Arguments {
    fn shape(&self, port: u16) -> Shape {
        Shape {
            hosts: self.hosts,
            two_rounds: self.round_trips == 2,
            port,
            tls: self.transport == Transport::Tls,
        }
    }

    fn outcome(&self, load: &Load, seconds: f64) -> Outcome {
        Outcome {
            mode: match self.mode {
                Mode::H2h => "h2h",
                Mode::Engine => "engine",
                Mode::Connected => "connected",
            },
            transport: match (self.mode, self.transport) {
                (Mode::Engine | Mode::Connected, _) => "none",
                (Mode::H2h, Transport::Tls) => "tls",
                (Mode::H2h, Transport::Tcp) => "tcp",
            },
            hosts: self.hosts,
            outstanding: if self.mode == Mode::Connected { 1 } else { self.outstanding },
            round_trips: self.round_trips,
            seconds,
            completed: load.completed,
            failed: failures(load),
            per_second: (load.completed as f64 / seconds).round(),
            answer_us: None,
            initiator: Spent::of(0.0, 0),
            responder: None,
            cycles: None,
            allocations: None,
            bytes_per_session: None,
        }
    }
}

/// Two threads, a gateway each.
fn h2h(arguments: &Arguments) -> Result<Outcome, String> {
    let shape = arguments.shape(free_port(Side::Responder)?);
    let authority = Authority::new()?;
    let clock = Clock::new();
    let stop = AtomicBool::new(false);
    let responder = authority.credentials(Side::Responder.ces_id())?;
    let initiator = authority.credentials(Side::Initiator.ces_id())?;
    let (ready, started) = mpsc::channel();
    std::thread::scope(|scope| {
        let answering = scope.spawn(|| {
            let made = Driver::new(Side::Responder, &shape, responder, clock);
            let made = made.and_then(|driver| Ok((driver, Thread::current()?)));
            let (mut driver, thread) = match made {
                Ok(made) => made,
                Err(error) => {
                    let _ = ready.send(Err(error));
                    return Ok(String::new());
                }
            };
            let _ = ready.send(Ok(thread));
            while !stop.load(Ordering::Relaxed) {
                driver.turn(true)?;
            }
            Ok::<_, String>(driver.trouble())
        });
        let run = || {
            let answering = started.recv().map_err(|error| error.to_string())??;
            let mut driver = Driver::new(Side::Initiator, &shape, initiator, clock)?;
            let outcome = ask(arguments, &mut driver, clock, &answering)?;
            Ok::<_, String>((outcome, driver.trouble()))
        };
        let result = run();
        stop.store(true, Ordering::Relaxed);
        let far = answering.join().map_err(|_| "the responder's thread panicked".to_owned())??;
        eprintln!("responder: {far}");
        let (outcome, near) = result?;
        eprintln!("initiator: {near}");
        Ok(outcome)
    })
}

/// The asking side of [`h2h`]: a warm-up that connects the gateways and fills the resolver's cache, then the run.
fn ask(
    arguments: &Arguments,
    driver: &mut Driver,
    clock: Clock,
    answering: &Thread,
) -> Result<Outcome, String> {
    let asking = Thread::current()?;
    let mut load = Load::new(arguments.hosts)?;
    let limit = Instant::now() + Duration::from_secs(10);
    let warm = load.left().min(u64::from(arguments.hosts));
    let end = load.left() - warm;
    while load.left() > end || load.outstanding() > 0 {
        // One first: the others wait for the connection.
        let wanted = if load.completed == 0 { 1 } else { arguments.outstanding };
        let room = (load.left() - end) as usize + load.outstanding();
        keep(&mut load, driver, clock, wanted.min(room))?;
        if Instant::now() > limit {
            break;
        }
    }
    if load.completed < warm {
        let (failed, trouble) = (failures(&load), driver.trouble());
        return Err(format!(
            "{} of {warm} names were reached in the warm-up; {failed:?}; {trouble}",
            load.completed
        ));
    }
    load.reset();

    let (begin, before) = (Instant::now(), [asking.ran_ns()?, answering.ran_ns()?]);
    let until = begin + Duration::from_secs_f64(arguments.seconds);
    while Instant::now() < until && load.left() > 0 {
        keep(&mut load, driver, clock, arguments.outstanding)?;
    }
    let seconds = begin.elapsed().as_secs_f64();
    let after = [asking.ran_ns()?, answering.ran_ns()?];
    let mut outcome = arguments.outcome(&load, seconds);
    let per_ns = machine::cycles_per_second() as f64 / 1e9;
    let spent = |side: usize| Spent::of((after[side] - before[side]) as f64 * per_ns, load.completed);
    outcome.initiator = spent(0);
    outcome.responder = Some(spent(1));
    outcome.answer_us = Some(Times::of(&load));
    Ok(outcome)
}

/// Keeps so many queries under way, and waits once for the network.
fn keep(load: &mut Load, driver: &mut Driver, clock: Clock, outstanding: usize) -> Result<(), String> {
    while load.outstanding() < outstanding && load.left() > 0 {
        load.ask(&mut driver.node, clock.now());
        driver.settle();
        load.take(&mut driver.node, clock.now());
    }
    driver.turn(true)?;
    load.take(&mut driver.node, clock.now());
    Ok(())
}

/// How many windows the time that was asked for has.
fn windows(arguments: &Arguments) -> usize {
    ((arguments.seconds * 1000.0 / WINDOW_MS as f64).ceil() as usize).max(1)
}

/// One thread, two gateways.
fn engine(arguments: &Arguments) -> Result<Outcome, String> {
    place::pin(None)?;
    let mut pair = Pair::new(&arguments.shape(48_001), arguments.outstanding)?;
    pair.negotiate(1);
    while pair.load.completed > 0 && pair.load.left() % u64::from(arguments.hosts) != 0 {
        pair.negotiate(1);
    }
    if pair.load.completed == 0 {
        return Err(format!(
            "no name was reached: {:?}; {:?}",
            failures(&pair.load),
            pair.nodes[0].complaints
        ));
    }
    pair.load.reset();
    for share in &mut pair.shares {
        share.cycles = 0;
    }
    let (begin, allocations) = (Instant::now(), machine::allocations::on_this_thread());
    let memory = Resident::now();
    let rate = machine::cycles_per_second();
    let count = windows(arguments);
    let (mut totals, mut cycles) = (Totals::default(), Vec::with_capacity(count));
    // A window takes at most 50 ms of pairs at 1 µs each.
    while cycles.len() < count && pair.load.left() > 50_000 {
        cycles.push(measure::window(&mut pair, rate, &mut totals));
    }
    let seconds = begin.elapsed().as_secs_f64();
    let mut outcome = arguments.outcome(&pair.load, seconds);
    let allocations = machine::allocations::on_this_thread() - allocations;
    outcome.allocations = Some(allocations as f64 / pair.load.completed.max(1) as f64);
    let bytes = Resident::now().bytes_since(&memory) as f64 / pair.load.completed.max(1) as f64;
    outcome.bytes_per_session = Some(bytes.round());
    outcome.cycles = Some(Spread::of(&cycles).rounded(0));
    outcome.initiator = Spent::of(pair.shares[0].cycles as f64, pair.load.completed);
    outcome.responder = Some(Spent::of(pair.shares[1].cycles as f64, pair.load.completed));
    pair.nodes.iter().flat_map(|node| &node.complaints).for_each(|line| eprintln!("{line}"));
    Ok(outcome)
}

/// One gateway that answers from what it has.
fn connected(arguments: &Arguments) -> Result<Outcome, String> {
    place::pin(None)?;
    let pairs = u64::from(arguments.hosts) * 10;
    let mut case = Connected::new(&arguments.shape(48_001), pairs)?;
    case.pair.load.reset();
    let (begin, allocations) = (Instant::now(), machine::allocations::on_this_thread());
    let (rate, mut totals) = (machine::cycles_per_second(), Totals::default());
    let cycles: Vec<f64> =
        (0..windows(arguments)).map(|_| measure::window(&mut case, rate, &mut totals)).collect();
    let seconds = begin.elapsed().as_secs_f64();
    let load = &case.pair.load;
    let mut outcome = arguments.outcome(load, seconds);
    let allocations = machine::allocations::on_this_thread() - allocations;
    outcome.allocations = Some(allocations as f64 / load.completed.max(1) as f64);
    let spread = Spread::of(&cycles);
    outcome.cycles = Some(spread.rounded(0));
    outcome.initiator = Spent::of(spread.median, 1);
    Ok(outcome)
}

/// So many names without a clock, for whoever counts instructions.
fn count(arguments: &Arguments, names: u64) -> Result<(), String> {
    let shape = arguments.shape(48_001);
    let mut done = 0;
    let (completed, complaints) = if arguments.mode == Mode::Engine {
        let mut pair = Pair::new(&shape, arguments.outstanding)?;
        pair.negotiate(1);
        for _ in 1..arguments.hosts {
            pair.negotiate(1);
        }
        pair.load.reset();
        while done < names {
            done += measured(&mut pair);
        }
        (pair.load.completed, pair.nodes[0].complaints.join("; "))
    } else {
        let mut case = Connected::new(&shape, u64::from(arguments.hosts))?;
        case.pair.load.reset();
        while done < names {
            done += measured(&mut case);
        }
        (case.pair.load.completed, String::new())
    };
    println!("packets {done}");
    if completed == done {
        Ok(())
    } else {
        Err(format!("{completed} of {done} names were reached; {complaints}"))
    }
}

/// What is measured, in a function with a name that callgrind can be told.
#[inline(never)]
fn measured(case: &mut dyn Case) -> u64 {
    case.burst().packets
}
