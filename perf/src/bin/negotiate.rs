//! Measures the control plane: names turned into sessions between two gateways.
#![forbid(unsafe_code)]

use ces_perf::control::certificates::Authority;
use ces_perf::control::cpu::Thread;
use ces_perf::control::driver::{Driver, free_port};
use ces_perf::control::load::Load;
use ces_perf::control::pair::Pair;
use ces_perf::control::realms::{Shape, Side};
use ces_perf::measure::{self, Case, Spread, Totals, WINDOW_MS};
use ces_perf::memory::Resident;
use ces_perf::place::{self, Machine};
use clap::{Parser, ValueEnum};
use machine::Clock;
use serde_json::{Value, json};
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
        (_, None) => in_process(&arguments).map(Some),
        (_, Some(names)) => count(&arguments, names).map(|()| None),
    };
    match result {
        Ok(outcome) => {
            if let Some(outcome) = outcome {
                say(&arguments, &outcome, &machine);
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("negotiate: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What came out, a line for each key; what is not of this mode is null and left out.
fn say(arguments: &Arguments, outcome: &Value, machine: &Machine) {
    let facts = outcome.as_object().into_iter().flatten();
    let text: String = facts.fold(String::new(), |text, (key, value)| text + &format!("{key:<18} {value}\n"));
    let text = format!("{text}{:<18} {machine}", "machine");
    if arguments.json {
        eprintln!("{text}");
        println!("{outcome}");
    } else {
        println!("{text}");
    }
}

impl Arguments {
    fn shape(&self, port: u16) -> Shape {
        let tls = self.transport == Transport::Tls;
        Shape { hosts: self.hosts, two_rounds: self.round_trips == 2, port, tls }
    }

    /// A pair of gateways that is warm: connected, with the names' records at hand, and in mode `connected` with all pairs.
    fn pair(&self, connected: u64) -> Result<Pair, String> {
        let connected = (self.mode == Mode::Connected).then_some(connected);
        Pair::new(&self.shape(48_001), self.outstanding, connected)
    }

    fn outcome(&self, load: &Load, seconds: f64, further: Value) -> Value {
        let name =
            |value: Option<clap::builder::PossibleValue>| value.map(|value| value.get_name().to_owned());
        let transport = if self.mode == Mode::H2h { self.transport.to_possible_value() } else { None };
        let mut outcome = json!({
            "mode": name(self.mode.to_possible_value()),
            "transport": name(transport).unwrap_or_else(|| "none".to_owned()),
            "hosts": self.hosts,
            "outstanding": if self.mode == Mode::Connected { 1 } else { self.outstanding },
            "round_trips": self.round_trips,
            "seconds": seconds,
            "completed": load.completed,
            "failed": load.failures(),
            "per_second": (load.completed as f64 / seconds).round(),
        });
        let further = further.as_object().into_iter().flatten();
        for (key, value) in further.filter(|(_, value)| !value.is_null()) {
            outcome[key] = value.clone();
        }
        outcome
    }
}

/// What a side spent on each name, and how many a second its core would do if it did nothing else.
fn spent(cycles: f64, completed: u64) -> Value {
    let each = cycles / completed.max(1) as f64;
    let rate = machine::cycles_per_second() as f64;
    json!({ "cycles": each.round(), "per_core_second": (rate / each.max(1.0)).round() })
}

/// Two threads, a gateway each.
fn h2h(arguments: &Arguments) -> Result<Value, String> {
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
) -> Result<Value, String> {
    let asking = Thread::current()?;
    let mut load = Load::new(arguments.hosts)?;
    let limit = Instant::now() + Duration::from_secs(10);
    let warm = load.left().min(u64::from(arguments.hosts));
    let end = load.left() - warm;
    while (load.left() > end || load.outstanding() > 0) && Instant::now() < limit {
        // One first: the others wait for the connection.
        let wanted = if load.completed == 0 { 1 } else { arguments.outstanding };
        let room = (load.left() - end) as usize + load.outstanding();
        keep(&mut load, driver, clock, wanted.min(room))?;
    }
    if load.completed < warm {
        let (done, failed, trouble) = (load.completed, load.failures(), driver.trouble());
        return Err(format!("{done} of {warm} names were reached in the warm-up; {failed:?}; {trouble}"));
    }
    load.reset();

    let (begin, before) = (Instant::now(), [asking.ran_ns()?, answering.ran_ns()?]);
    let until = begin + Duration::from_secs_f64(arguments.seconds);
    while Instant::now() < until && load.left() > 0 {
        keep(&mut load, driver, clock, arguments.outstanding)?;
    }
    let seconds = begin.elapsed().as_secs_f64();
    let after = [asking.ran_ns()?, answering.ran_ns()?];
    let per_ns = machine::cycles_per_second() as f64 / 1e9;
    let side = |side: usize| spent((after[side] - before[side]) as f64 * per_ns, load.completed);
    let at = |quantile| load.times.value_at_quantile(quantile) as f64 / 1000.0;
    let further = json!({
        "answer_us": { "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p99_9": at(0.999), "max": at(1.0) },
        "initiator": side(0),
        "responder": side(1),
    });
    Ok(arguments.outcome(&load, seconds, further))
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

/// One thread: two gateways that negotiate, or one that answers from what it has.
fn in_process(arguments: &Arguments) -> Result<Value, String> {
    place::pin(None)?;
    let mut pair = arguments.pair(u64::from(arguments.hosts) * 10)?;
    let (begin, allocations, memory) =
        (Instant::now(), machine::allocations::on_this_thread(), Resident::now());
    let rate = machine::cycles_per_second();
    let count = ((arguments.seconds * 1000.0 / WINDOW_MS as f64).ceil() as usize).max(1);
    let (mut totals, mut cycles) = (Totals::default(), Vec::with_capacity(count));
    // A window takes at most 50 ms of pairs at 1 µs each.
    while cycles.len() < count && pair.left() > 50_000 {
        cycles.push(measure::window(&mut pair, rate, &mut totals));
    }
    let (seconds, load) = (begin.elapsed().as_secs_f64(), &pair.load);
    let each = |all: u64| all as f64 / load.completed.max(1) as f64;
    let allocations = each(machine::allocations::on_this_thread() - allocations);
    let spread = Spread::of(&cycles);
    let negotiated = arguments.mode == Mode::Engine;
    let initiator = if negotiated {
        spent(pair.shares[0].cycles as f64, load.completed)
    } else {
        spent(spread.median, 1)
    };
    let further = json!({
        "initiator": initiator,
        "responder": negotiated.then(|| spent(pair.shares[1].cycles as f64, load.completed)),
        "cycles": spread.rounded(0),
        "allocations": allocations,
        "bytes_per_session": negotiated.then(|| each(Resident::now().bytes_since(&memory)).round()),
    });
    pair.nodes.iter().flat_map(|node| &node.complaints).for_each(|line| eprintln!("{line}"));
    Ok(arguments.outcome(load, seconds, further))
}

/// So many names without a clock, for whoever counts instructions.
fn count(arguments: &Arguments, names: u64) -> Result<(), String> {
    let mut pair = arguments.pair(u64::from(arguments.hosts))?;
    let mut done = 0;
    while done < names {
        done += measured(&mut pair);
    }
    println!("packets {done}");
    if pair.load.completed == done {
        return Ok(());
    }
    Err(format!(
        "{} of {done} names were reached; {}",
        pair.load.completed,
        pair.nodes[0].complaints.join("; ")
    ))
}

/// What is measured, in a function with a name that callgrind can be told.
#[inline(never)]
fn measured(case: &mut dyn Case) -> u64 {
    case.burst().packets
}
