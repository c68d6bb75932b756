//! The run: rounds over all setups until the repeats are done or the time is over.

use crate::case::Planned;
use crate::device::{self, Own, Setting};
use crate::frame::Task;
use crate::generator::{self, Load, Macs, Measure, Rate};
use crate::interrupt::{self, INTERRUPTED};
use crate::memory::{self, Pages};
use crate::probe::Outcome;
use crate::process::Line;
use crate::realm::{Realm, mac};
use crate::scratch::Scratch;
use ces_dataplane::msg::Encapsulation;
use clap::ValueEnum;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Order {
    /// Setups with their bindings.
    pub planned: Vec<Planned>,
    /// Peers.
    pub peers: u16,
    /// Rounds at most.
    pub repeats: usize,
    /// Time for all of it.
    pub budget: Duration,
    /// The devices' core.
    pub core: usize,
    /// The generator's.
    pub generator_core: usize,
    /// Where packet memory comes from.
    pub pages: Pages,
    /// Where our own programs are.
    pub programs: PathBuf,
    /// The generator; none: every device is only checked.
    pub generator: Option<PathBuf>,
    /// What is measured.
    pub measure: Measure,
    /// Seconds of a trial.
    pub trial_seconds: f64,
    /// Bytes of each frame with its FCS, without the tunnel's headers.
    pub size: u16,
}

/// One task of one setup.
#[derive(Clone, Debug)]
pub struct Row {
    /// The setup with its bindings.
    pub planned: Planned,
    /// The task.
    pub task: Task,
    /// By round: packets a second.
    pub rates: Vec<Option<Rate>>,
    /// By round: its own cycles a packet.
    pub cycles: Vec<Option<f64>>,
    /// Bindings that it was seen to serve as it must.
    pub checked: Option<u32>,
    /// How often the device ended by itself and was started anew.
    pub restarts: u32,
    /// Why it was not run, or not in every round.
    pub trouble: Option<String>,
}

/// What came of it.
#[derive(Debug)]
pub struct Results {
    /// In the order of the plan.
    pub rows: Vec<Row>,
    /// Rounds that were begun.
    pub rounds: usize,
    /// How long it took.
    pub elapsed: Duration,
    /// Whether it was interrupted.
    pub interrupted: bool,
}

/// How long a probe may take.
const PROBE_WAIT: Duration = Duration::from_secs(40);

/// Runs it. `tell` is told what is under way.
pub fn run(order: &Order, tell: &mut dyn FnMut(&str)) -> Results {
    let begin = Instant::now();
    let mut rows: Vec<Row> = order
        .planned
        .iter()
        .flat_map(|&planned| planned.setup.tasks.iter().map(move |&task| (planned, task)))
        .map(|(planned, task)| {
            let (rates, cycles) = (vec![None; order.repeats], vec![None; order.repeats]);
            Row { planned, task, rates, cycles, checked: None, restarts: 0, trouble: None }
        })
        .collect();
    let mut took: Vec<Duration> = vec![Duration::ZERO; order.planned.len()];
    let (mut rounds, mut interrupted) = (0, false);
    'all: for round in 0..order.repeats {
        let mut begun = false;
        // There and back: what drifts over the run does not favour the first.
        let mut turns: Vec<usize> = (0..order.planned.len()).collect();
        if round % 2 == 1 {
            turns.reverse();
        }
        for turn in turns {
            let planned = order.planned[turn];
            let mut own: Vec<&mut Row> = rows
                .iter_mut()
                .filter(|row| {
                    row.planned.setup.name == planned.setup.name && row.planned.bindings == planned.bindings
                })
                .collect();
            // What could not be run once will not be.
            if round > 0
                && own.iter().all(|row| row.rates.iter().all(Option::is_none) && row.checked.is_none())
            {
                continue;
            }
            if begin.elapsed() + took[turn] > order.budget {
                for row in own.iter_mut().filter(|row| row.rates.iter().all(Option::is_none)) {
                    row.trouble.get_or_insert_with(|| "the time was over".to_owned());
                }
                continue;
            }
            begun = true;
            let since = Instant::now();
            tell(&format!("round {}: {} with {} bindings", round + 1, planned.setup.name, planned.bindings));
            let outcome = visit(order, planned, &mut own, round);
            took[turn] = took[turn].max(since.elapsed());
            if let Err(error) = outcome {
                if interrupt::check().is_err() {
                    interrupted = true;
                }
                let error = if interrupted { INTERRUPTED.to_owned() } else { error };
                tell(&format!("  {error}"));
                for row in own.iter_mut().filter(|row| row.rates[round].is_none()) {
                    row.trouble.get_or_insert_with(|| error.clone());
                }
            }
            if interrupted {
                rounds = round + 1;
                break 'all;
            }
        }
        if !begun {
            break;
        }
        rounds = round + 1;
    }
    for row in &mut rows {
        row.rates.truncate(rounds);
        row.cycles.truncate(rounds);
    }
    Results { rows, rounds, elapsed: begin.elapsed(), interrupted }
}

/// How often a device is started anew that ended by itself. A memif server can be caught polling the memory of a client
/// that has just left: the driver unmaps it without asking (DPDK 22.11).
const STARTS: usize = 3;

/// Starts a device, checks it, measures its tasks, ends it.
fn visit(order: &Order, planned: Planned, rows: &mut [&mut Row], round: usize) -> Result<(), String> {
    let local = planned.setup.tasks.contains(&Task::Local);
    let realm = Realm::new(planned.bindings, order.peers, Encapsulation::Vxlan, local)?;
    let mut open: Vec<&mut Row> = rows.iter_mut().map(|row| &mut **row).collect();
    let (mut failed, mut last) = (Ok(()), String::new());
    for _ in 0..STARTS {
        let scratch = Scratch::new()?;
        let setting = Setting {
            realm: &realm,
            peers: order.peers,
            wire: planned.setup.wire,
            core: order.core,
            generator_core: order.generator_core,
            pages: order.pages,
            scratch: scratch.path(),
            programs: &order.programs,
        };
        let mut device = device::start(planned.setup.kind, setting)?;
        let mut ended = Ok(());
        let mut again = Vec::new();
        // A task that fails does not keep the others from being tried.
        for row in open {
            if ended.is_err() {
                again.push(row);
                continue;
            }
            let Err(error) = task(order, &realm, &scratch, device.as_mut(), row, round) else {
                continue;
            };
            interrupt::check()?;
            ended = device.check().map_err(|ended| format!("{ended} ({error})"));
            if ended.is_err() {
                row.restarts += 1;
                again.push(row);
            } else {
                row.trouble.get_or_insert_with(|| error.clone());
                failed = failed.and(Err(error));
            }
        }
        open = again;
        let Err(error) = ended else { return failed };
        last = error;
    }
    Err(last)
}

fn task(
    order: &Order,
    realm: &Realm,
    scratch: &Scratch,
    device: &mut dyn device::Device,
    row: &mut Row,
    round: usize,
) -> Result<(), String> {
    let (ports, place) = (device.generator_ports(), device.generator_place());
    let value = |value: Option<clap::builder::PossibleValue>| {
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    };
    let text = Line::new(&place, order.programs.join("beside"))
        .args([
            "probe".to_owned(),
            format!("--inside={}", ports[0]),
            format!("--outside={}", ports[1]),
            format!("--task={}", value(row.task.to_possible_value())),
            format!("--bindings={}", realm.len()),
            format!("--peers={}", order.peers),
            format!("--queues={}", device.generator_queues()),
            format!("--core={}", order.generator_core),
            format!("--pages={}", value(order.pages.to_possible_value())),
        ])
        .output(PROBE_WAIT)?;
    let outcome: Outcome = serde_json::from_str(text.trim()).map_err(|error| format!("probe: {error}"))?;
    outcome.check()?;
    row.checked = Some(outcome.right);
    let Some(program) = &order.generator else { return Ok(()) };
    let flows = scratch.path().join("flows");
    if row.task.is_tunnelled() {
        crate::export::write(realm, &flows)?;
    } else {
        crate::export::write_capture(realm, order.size, &flows)?;
    }
    let load = Load {
        program,
        measure: order.measure,
        trial_seconds: order.trial_seconds,
        size: order.size,
        flows: &flows,
        queues: device.generator_queues(),
        huge_pages: memory::choose(order.pages) == dpdk::Memory::HugePages,
    };
    let [host, router] = [mac(realm.pair(0).host_mac), mac(realm.router_mac())];
    let [inside, outside] = [mac(realm.inside_mac()), mac(realm.outside_mac())];
    let macs = Macs { generator: [&host, &router], device: [&inside, &outside] };
    let run = || generator::run(&load, row.task, &ports, macs, &place, scratch.path());
    if device.forgets() {
        let (rate, cycles) = watch(device, run);
        (row.rates[round], row.cycles[round]) = (Some(rate?), cycles);
    } else {
        let before = device.own()?;
        let rate = run()?;
        row.cycles[round] = device.own()?.cycles_per_packet_since(&before);
        row.rates[round] = Some(rate);
    }
    Ok(())
}

/// How often a device is asked that forgets.
const ASK: Duration = Duration::from_millis(100);

/// Runs the generator and asks the device meanwhile; cycles a packet between the first and the last answer of the time in
/// which its packets only grew.
fn watch(
    device: &mut dyn device::Device,
    run: impl FnOnce() -> Result<Rate, String> + Send,
) -> (Result<Rate, String>, Option<f64>) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(run);
        let mut stretch: Option<(Own, Own)> = None;
        while !thread.is_finished() {
            std::thread::sleep(ASK);
            let Ok(own) = device.own() else { continue };
            stretch = match stretch {
                _ if own.packets == 0.0 => stretch,
                Some((first, last)) if own.packets >= last.packets => Some((first, own)),
                _ => Some((own, own)),
            };
        }
        let rate = thread.join().unwrap_or_else(|_| Err("the generator's thread panicked".to_owned()));
        (rate, stretch.and_then(|(first, last)| last.cycles_per_packet_since(&first)))
    })
}
