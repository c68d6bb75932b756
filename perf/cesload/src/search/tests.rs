//! Devices made of arithmetic, and the searches on them.

use super::*;
use crate::observer::{Observer, Planned};
use crate::trial::{Counts, Failure, Progress, Trial, Trials, Unit, Watch};
use std::cell::Cell;
use std::time::Duration;

/// Time between two trials that a real generator would take, too.
const PAUSE: Duration = Duration::from_millis(100);

/// What the device loses of a load, given the number of the trial.
type Loss<'a> = Box<dyn FnMut(f64, u64) -> f64 + 'a>;

struct Device<'a> {
    loss: Loss<'a>,
    line_rate: Option<f64>,
    port_limit: f64,
    trials: u64,
    fails_at: Option<u64>,
    clock: &'a Cell<Duration>,
}

impl<'a> Device<'a> {
    fn new(clock: &'a Cell<Duration>, loss: impl FnMut(f64, u64) -> f64 + 'a) -> Device<'a> {
        Device {
            loss: Box::new(loss),
            line_rate: Some(LINE),
            port_limit: LINE,
            trials: 0,
            fails_at: None,
            clock,
        }
    }
}

/// 10 Gbit/s at 64 bytes: 10^10 / (84 × 8).
const LINE: f64 = 14_880_952.0;

impl Trials for Device<'_> {
    fn unit(&self) -> Unit {
        Unit::Packets
    }

    fn line_rate(&self) -> Option<f64> {
        self.line_rate
    }

    fn run(
        &mut self,
        per_second: Option<f64>,
        duration: Duration,
        watch: &mut dyn FnMut(Progress) -> Watch,
    ) -> Result<Trial, Failure> {
        self.trials += 1;
        let seconds = duration.as_secs_f64();
        let rate = per_second.unwrap_or(f64::INFINITY).min(self.port_limit);
        let sent = (rate * seconds).round() as u64;
        let lost = ((self.loss)(rate, self.trials) * sent as f64).round() as u64;
        let counts = Counts { sent, received: sent - lost, ..Counts::default() };
        self.clock.set(self.clock.get() + duration + PAUSE);
        let trial = Trial { counts, ..Trial::new(Unit::Packets, per_second, seconds, Vec::new()) };
        watch(Progress { elapsed_s: seconds, total_s: seconds, counts });
        if self.fails_at == Some(self.trials) {
            return Err(Failure {
                why: "port 1: the peer has left".to_owned(),
                partial: Some(Box::new(trial)),
            });
        }
        Ok(trial)
    }
}

#[derive(Default)]
struct Notebook {
    seen: Vec<(f64, f64)>,
    interrupt_at: Option<usize>,
}

impl Observer for Notebook {
    fn begins(&mut self, _planned: &Planned) {}

    fn watch(&mut self, _progress: Progress) -> Watch {
        if self.interrupt_at == Some(self.seen.len()) { Watch::Stop } else { Watch::Continue }
    }

    fn ended(&mut self, trial: &Trial) {
        self.seen.push((trial.asked_per_second.unwrap_or(f64::INFINITY), trial.counts.loss_ratio()));
    }
}

fn plan() -> SearchPlan {
    SearchPlan {
        goals: vec![Goal::ndr(), Goal::pdr()],
        min_per_second: 1000.0,
        max_per_second: None,
        total: Duration::from_hours(1),
    }
}

fn searched(device: &mut Device, plan: &SearchPlan) -> (SearchResult, Notebook) {
    let mut notebook = Notebook::default();
    let clock = device.clock;
    let found = search(device, plan, &mut notebook, &mut || clock.get());
    (found, notebook)
}

/// Loses all that is above its capacity.
fn sharp(capacity: f64) -> impl FnMut(f64, u64) -> f64 {
    move |rate, _| (1.0 - capacity / rate).max(0.0)
}

/// Pseudo-random in [0, 1), by xorshift.
fn noise(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.max(1);
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn bounds(result: &GoalResult) -> (f64, f64) {
    (result.lower_per_second.unwrap(), result.upper_per_second.unwrap())
}

#[test]
fn a_sharp_capacity_is_found_within_the_width_anywhere() {
    for capacity in [1234.5, 20_000.0, 777_777.0, 3_141_592.6, 9e6, 14.8e6] {
        let clock = Cell::default();
        let (found, notebook) = searched(&mut Device::new(&clock, sharp(capacity)), &plan());
        let [ndr, pdr] = &found.goals[..] else { panic!("two goals") };
        assert_eq!((ndr.ending, pdr.ending), (Ending::Regular, Ending::Regular), "{capacity}");
        let (lower, upper) = bounds(ndr);
        assert!(lower <= capacity * 1.000001 && capacity <= upper, "{lower} {capacity} {upper}");
        assert!(ndr.width.unwrap() <= 0.005 + 1e-6);
        // PDR may lose 0.5 %: its bounds are that much higher.
        let (lower, upper) = bounds(pdr);
        assert!(lower <= capacity / 0.995 * 1.000001 && capacity / 0.995 <= upper * 1.000001);
        // What PDR's load forwards is the capacity, not the load (RFC 9971, "Hard Performance Limit").
        assert!(pdr.throughput_per_second.unwrap() <= capacity * 1.000001);
        assert!(ndr.noise().is_none() && !ndr.limited_by_generator);
        assert!(found.trials <= 40, "{} trials for {capacity}: {:?}", found.trials, notebook.seen);
        assert!(found.elapsed <= Duration::from_secs(150), "{:?} for {capacity}", found.elapsed);
    }
}

#[test]
fn a_slope_parts_ndr_from_pdr() {
    // No loss up to 4 million, then loss grows to 10 % at 8 million.
    let slope = |rate: f64, _| ((rate - 4e6) / 4e6 * 0.1).max(0.0);
    let clock = Cell::default();
    let (found, _) = searched(&mut Device::new(&clock, slope), &plan());
    let (lower, upper) = bounds(&found.goals[0]);
    // Up to 4,000,040 a second no whole packet is lost in 5 s.
    assert!(lower <= 4.001e6 && 4e6 <= upper, "{lower} {upper}");
    let (lower, upper) = bounds(&found.goals[1]);
    assert!(lower <= 4.2e6 && 4.2e6 <= upper, "{lower} {upper}");
}

#[test]
fn rare_bursts_of_loss_move_neither_bound_far_and_are_told() {
    for seed in 1..=20 {
        let mut random = noise(seed);
        let mut sharp = sharp(5e6);
        // Every tenth trial loses a little, whatever its load.
        let device = |rate: f64, number| sharp(rate, number) + if random() < 0.1 { 1e-4 } else { 0.0 };
        let clock = Cell::default();
        let (found, _) = searched(&mut Device::new(&clock, device), &plan());
        let ndr = &found.goals[0];
        assert_eq!(ndr.ending, Ending::Regular, "seed {seed}");
        assert!(ndr.lower_per_second.unwrap() <= 5e6 * 1.000001);
        assert!(ndr.lower_per_second.unwrap() >= 5e6 * 0.9, "seed {seed}: {ndr:?}");
        assert!(found.trials <= 90, "seed {seed}: {}", found.trials);
    }
}

#[test]
fn an_unstable_device_ends_in_bounded_time_and_says_how_unstable() {
    let mut told = 0;
    for seed in 1..=50 {
        let mut random = noise(seed);
        // Its capacity is anywhere between 3 and 6 million in each trial.
        let device = |rate: f64, _| (1.0 - (3e6 + 3e6 * random()) / rate).max(0.0);
        let clock = Cell::default();
        let (found, _) = searched(&mut Device::new(&clock, device), &plan());
        assert_eq!(found.stopped, Stopped::No, "seed {seed}");
        assert!(found.trials <= 200, "seed {seed}: {} trials", found.trials);
        assert!(found.elapsed <= Duration::from_mins(15), "seed {seed}: {:?}", found.elapsed);
        told += u32::from(found.goals[0].noise().is_some_and(|noise| noise > 0.005));
    }
    // A search sees only what its own trials contradict; several searches together see the rest (`mode::throughput`).
    assert!(told >= 25, "noise above the width was told in {told} of 50 searches");
}

#[test]
fn a_device_better_than_its_ports_is_said_to_be() {
    // The ports reach 6 million of the 14.9 their link speed promises, the device would do 20.
    let clock = Cell::default();
    let mut device = Device { port_limit: 6e6, ..Device::new(&clock, sharp(20e6)) };
    let (found, _) = searched(&mut device, &plan());
    let ndr = &found.goals[0];
    assert!(ndr.limited_by_generator);
    assert_eq!(found.most_sent_per_second, Some(6e6));
    let lower = ndr.lower_per_second.unwrap();
    assert!((6e6 * 0.99..=6e6 / 0.995).contains(&lower), "{lower}");
}

#[test]
fn a_device_faster_than_the_line_has_no_upper_bound() {
    let clock = Cell::default();
    let (found, _) = searched(&mut Device::new(&clock, sharp(20e6)), &plan());
    let ndr = &found.goals[0];
    assert_eq!(
        (ndr.ending, ndr.lower_per_second, ndr.upper_per_second),
        (Ending::NoUpperBound, Some(LINE), None)
    );
    assert_eq!(found.max_load, Some((LINE, MaxLoad::LineRate)));
    assert!(found.trials <= 6, "{}", found.trials);
}

#[test]
fn ports_that_tell_no_speed_are_asked_for_their_best() {
    let clock = Cell::default();
    let mut device = Device { line_rate: None, port_limit: 5e6, ..Device::new(&clock, sharp(2e6)) };
    let (found, notebook) = searched(&mut device, &plan());
    assert_eq!((found.full_speed_per_second, found.max_load), (Some(5e6), Some((6.25e6, MaxLoad::Measured))));
    assert!(notebook.seen[0].0.is_infinite());
    let (lower, upper) = bounds(&found.goals[0]);
    assert!(lower <= 2e6 * 1.000001 && 2e6 <= upper);
}

#[test]
fn a_device_that_always_loses_has_no_lower_bound() {
    let clock = Cell::default();
    let (found, _) = searched(&mut Device::new(&clock, |_, _| 0.01), &plan());
    assert!(
        found.goals.iter().all(|goal| goal.ending == Ending::NoLowerBound && goal.lower_per_second.is_none())
    );
    assert!(found.trials <= 60, "{}", found.trials);
}

#[test]
fn a_dead_device_has_no_lower_bound() {
    let clock = Cell::default();
    let (found, _) = searched(&mut Device::new(&clock, |_, _| 1.0), &plan());
    assert!(found.goals.iter().all(|goal| goal.ending == Ending::NoLowerBound));
}

#[test]
fn time_that_is_over_leaves_an_irregular_result() {
    let clock = Cell::default();
    let plan = SearchPlan { total: Duration::from_secs(10), ..plan() };
    let (found, _) = searched(&mut Device::new(&clock, sharp(5e6)), &plan);
    assert_eq!(found.stopped, Stopped::TimedOut);
    assert!(found.goals.iter().any(|goal| goal.ending == Ending::Unfinished));
    // The trial under way is finished.
    assert!(found.elapsed <= Duration::from_secs(16), "{:?}", found.elapsed);
}

#[test]
fn a_failed_trial_ends_the_search_with_what_it_has() {
    let clock = Cell::default();
    let mut device = Device { fails_at: Some(3), ..Device::new(&clock, sharp(5e6)) };
    let (found, notebook) = searched(&mut device, &plan());
    assert_eq!(found.stopped, Stopped::Failed("port 1: the peer has left".to_owned()));
    assert_eq!((found.trials, notebook.seen.len()), (2, 3), "the partial trial is told, but decides nothing");
}

#[test]
fn an_interrupted_trial_decides_nothing() {
    let clock = Cell::default();
    let mut device = Device::new(&clock, sharp(5e6));
    let mut notebook = Notebook { interrupt_at: Some(4), ..Notebook::default() };
    let found = search(&mut device, &plan(), &mut notebook, &mut || clock.get());
    assert_eq!(found.stopped, Stopped::Interrupted);
    assert_eq!((found.trials, notebook.seen.len()), (4, 5));
}

#[test]
fn the_strictness_of_rfc_2544_is_a_goal() {
    // One trial of full length decides, and one lost packet is too many.
    let strict = Goal { exceed_ratio: 0.0, duration_sum: FINAL_TRIAL, ..Goal::ndr() };
    let clock = Cell::default();
    let plan = SearchPlan { goals: vec![strict], ..plan() };
    let (found, _) = searched(&mut Device::new(&clock, sharp(5e6)), &plan);
    let (lower, upper) = bounds(&found.goals[0]);
    assert!(lower <= 5e6 * 1.000001 && 5e6 <= upper);
    assert!(found.trials <= 20, "{}", found.trials);
}
