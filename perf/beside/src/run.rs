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
use serde::Serialize;
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
    /// How often the device ended by itself.
    pub restarts: u32,
    /// What did not go as planned, in the order in which it happened.
    pub troubles: Vec<Trouble>,
}

/// Something that did not go as planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// In which round, from 1.
    pub round: usize,
    /// What it was.
    pub what: String,
}

impl Row {
    fn trouble(&mut self, round: usize, what: impl Into<String>) {
        self.troubles.push(Trouble { round: round + 1, what: what.into() });
    }
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
            Row { planned, task, rates, cycles, checked: None, restarts: 0, troubles: Vec::new() }
        })
        .collect();
    let mut turns = vec![Turn::default(); order.planned.len()];
    let (mut rounds, mut interrupted) = (0, false);
    while rounds < order.repeats && !interrupted {
        let round = rounds;
        let fits = |turn: &Turn| begin.elapsed() + turn.took <= order.budget;
        if !turns.iter().any(|turn| turn.possible && fits(turn)) {
            break;
        }
        rounds += 1;
        for number in sequence(round, turns.len()) {
            let (planned, turn) = (order.planned[number], &mut turns[number]);
            let mut own: Vec<&mut Row> = rows.iter_mut().filter(|row| row.planned == planned).collect();
            if !turn.possible {
                continue;
            }
            if interrupted || !fits(turn) {
                let why = if interrupted { INTERRUPTED } else { "no time was left" };
                for row in own {
                    row.trouble(round, why);
                }
                continue;
            }
            let since = Instant::now();
            tell(&format!("round {}: {} with {} bindings", round + 1, planned.setup.name, planned.bindings));
            let outcome = visit(order, planned, &mut own, round);
            turn.took = turn.took.max(since.elapsed());
            interrupted = interrupt::check().is_err();
            match outcome {
                Ok(()) => {}
                Err(Failure::Device(error)) => {
                    // What cannot be started the first time never will be.
                    let seen = own.iter().any(|row| row.checked.is_some());
                    turn.possible = round > 0 || interrupted || seen;
                    tell(&format!("  {error}"));
                    for row in own.iter_mut().filter(|row| row.rates[round].is_none()) {
                        row.trouble(round, error.clone());
                    }
                }
                Err(Failure::Tasks) => {
                    let last = own.iter().filter_map(|row| row.troubles.last());
                    for trouble in last.filter(|trouble| trouble.round == round + 1) {
                        tell(&format!("  {}", trouble.what));
                    }
                }
            }
        }
    }
    for row in &mut rows {
        row.rates.truncate(rounds);
        row.cycles.truncate(rounds);
    }
    Results { rows, rounds, elapsed: begin.elapsed(), interrupted }
}

/// What is known of a setup with its bindings.
#[derive(Clone, Copy, Debug)]
struct Turn {
    /// The longest time that it took.
    took: Duration,
    /// Whether it can be run at all.
    possible: bool,
}

impl Default for Turn {
    fn default() -> Self {
        Self { took: Duration::ZERO, possible: true }
    }
}

/// There and back, so that what drifts over the run does not favour the first.
fn sequence(round: usize, count: usize) -> Vec<usize> {
    if round.is_multiple_of(2) { (0..count).collect() } else { (0..count).rev().collect() }
}

/// What became of a visit.
enum Failure {
    /// The device could not be started.
    Device(String),
    /// A task failed, and its row says why.
    Tasks,
}

/// How often a device is started anew that ended by itself. A memif server can be caught polling the memory of a client
/// that has just left: the driver unmaps it without asking (DPDK 22.11).
const STARTS: usize = 3;

/// Starts a device, checks it, measures its tasks, ends it.
fn visit(order: &Order, planned: Planned, rows: &mut [&mut Row], round: usize) -> Result<(), Failure> {
    let local = planned.setup.tasks.contains(&Task::Local);
    let realm =
        Realm::new(planned.bindings, order.peers, Encapsulation::Vxlan, local).map_err(Failure::Device)?;
    let mut open: Vec<&mut Row> = rows.iter_mut().map(|row| &mut **row).collect();
    let mut outcome = Ok(());
    for _ in 0..STARTS {
        let scratch = Scratch::new().map_err(Failure::Device)?;
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
        let mut device = device::start(planned.setup.kind, setting).map_err(Failure::Device)?;
        let (mut ended, mut again) = (false, Vec::new());
        // A task that fails does not keep the others from being tried.
        for row in open {
            if ended {
                again.push(row);
                continue;
            }
            let Err(error) = task(order, &realm, &scratch, device.as_mut(), row, round) else {
                continue;
            };
            outcome = Err(Failure::Tasks);
            match device.check() {
                Ok(()) => row.trouble(round, error),
                Err(end) => {
                    row.restarts += 1;
                    row.trouble(round, format!("{end} ({error})"));
                    ended = true;
                    again.push(row);
                }
            }
        }
        open = again;
        if open.is_empty() || interrupt::check().is_err() {
            break;
        }
    }
    outcome
}

fn task(
    order: &Order,
    realm: &Realm,
    scratch: &Scratch,
    device: &mut dyn device::Device,
    row: &mut Row,
    round: usize,
) -> Result<(), String> {
    let reach = device.reach().clone();
    let value = |value: Option<clap::builder::PossibleValue>| {
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    };
    let mut probe = Line::new(&reach.place, order.programs.join("beside"))
        .args([
            "probe".to_owned(),
            format!("--inside={}", reach.ports[0]),
            format!("--outside={}", reach.ports[1]),
            format!("--task={}", value(row.task.to_possible_value())),
            format!("--bindings={}", realm.len()),
            format!("--peers={}", order.peers),
            format!("--queues={}", reach.queues),
            format!("--core={}", order.generator_core),
            format!("--pages={}", value(order.pages.to_possible_value())),
        ])
        .start(scratch.path(), "probe")?;
    let text = probe.hear(PROBE_WAIT, |text| text.ends_with("}\n"));
    let parted = device.part(probe);
    let text = text?;
    parted?;
    let line = text.lines().last().unwrap_or_default();
    let outcome: Outcome = serde_json::from_str(line).map_err(|error| format!("probe: {error}: {line}"))?;
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
        queues: reach.queues,
        huge_pages: memory::choose(order.pages) == dpdk::Memory::HugePages,
    };
    let [host, router] = [mac(realm.pair(0).host_mac), mac(realm.router_mac())];
    let [inside, outside] = [mac(realm.inside_mac()), mac(realm.outside_mac())];
    let macs = Macs { generator: [&host, &router], device: [&inside, &outside] };
    let before = if device.forgets() { None } else { Some(device.own()?) };
    let mut guest = generator::start(&load, row.task, &reach, macs, scratch.path())?;
    let (rate, cycles) = match before {
        None => watch(device, || guest.rate()),
        Some(before) => {
            let rate = guest.rate();
            (rate, device.own().and_then(|own| own.cycles_per_packet_since(&before)))
        }
    };
    let parted = device.part(guest.process());
    let rate = rate?;
    row.rates[round] = Some(rate);
    match cycles {
        Ok(cycles) => row.cycles[round] = Some(cycles),
        Err(why) => row.trouble(round, why),
    }
    parted?;
    Ok(())
}

/// How often a device is asked that forgets.
const ASK: Duration = Duration::from_millis(100);

/// Runs the generator and asks the device meanwhile; cycles a packet between the first and the last answer of the time in
/// which its packets only grew.
fn watch(
    device: &mut dyn device::Device,
    run: impl FnOnce() -> Result<Rate, String> + Send,
) -> (Result<Rate, String>, Result<f64, String>) {
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
        let cycles = stretch.ok_or_else(|| device::NO_PACKETS.to_owned());
        (rate, cycles.and_then(|(first, last)| last.cycles_per_packet_since(&first)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_second_round_goes_backwards() {
        assert_eq!(sequence(0, 3), [0, 1, 2]);
        assert_eq!(sequence(1, 3), [2, 1, 0]);
        assert_eq!(sequence(2, 3), [0, 1, 2]);
    }

    #[test]
    fn a_device_that_cannot_start_is_tried_once_and_said() {
        let order = Order {
            planned: crate::case::plan(&["gateway".into()], &[1]).unwrap(),
            peers: 1,
            repeats: 2,
            budget: Duration::from_mins(1),
            core: 0,
            generator_core: 0,
            pages: memory::Pages::Ordinary,
            programs: "/no/such/directory".into(),
            generator: None,
            measure: Measure::Mrr,
            trial_seconds: 1.0,
            size: 64,
        };
        let results = run(&order, &mut |_| {});
        assert_eq!(results.rounds, 1);
        for row in results.rows {
            assert_eq!(row.rates, [None]);
            let rounds: Vec<usize> = row.troubles.iter().map(|trouble| trouble.round).collect();
            assert_eq!(rounds, [1]);
            assert!(row.troubles[0].what.contains("dut"), "{:?}", row.troubles);
        }
    }
}
