//! The whole engine over ports in memory, with a wire as the device.

use super::*;
use crate::arp::{self, Answers};
use crate::profile;
use crate::wire::{Faults, Wire};
use ces_dataplane::frame::{Frame, MemoryFrame};
use ces_dataplane::io::Pool;
use ces_dataplane::io::memory::{Cable, MemoryPort, port};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// The far end of a cable as a port, for the device.
struct FarEnd(Cable);

impl PortQueues for FarEnd {
    type Frame = MemoryFrame;

    fn rx_burst(&mut self, frames: &mut Vec<MemoryFrame>) -> usize {
        let before = frames.len();
        while frames.len() < frames.capacity()
            && let Some(frame) = self.0.receive()
        {
            frames.push(frame);
        }
        frames.len() - before
    }

    fn tx_burst(&mut self, frames: &mut Vec<MemoryFrame>) -> usize {
        let before = frames.len();
        while !frames.is_empty() {
            if let Err(frame) = self.0.send(frames.remove(0)) {
                frames.insert(0, frame);
                break;
            }
        }
        before - frames.len()
    }
}

/// A pool that never runs dry.
struct Endless;

impl Pool for Endless {
    type Frame = MemoryFrame;

    fn allocate(&mut self) -> Option<MemoryFrame> {
        Some(MemoryFrame::empty())
    }

    fn free(&mut self, frames: &mut Vec<MemoryFrame>) {
        frames.clear();
    }
}

impl Buffers for Endless {}

#[derive(Clone, Default)]
struct Healthy(Arc<Mutex<Option<String>>>);

impl Surroundings for Healthy {
    fn fault(&self) -> Option<String> {
        self.0.lock().unwrap().clone()
    }

    fn missed(&self) -> u64 {
        0
    }
}

/// Threads need nothing.
fn nowhere() -> Enter {
    Box::new(|_| Ok(Box::new(())))
}

type MemoryEngine = StreamEngine<MemoryPort, Endless, Healthy>;

/// Longer than a wire holds a frame that has no successor to be swapped with.
const PROFILE: &str = r#"
[generator]
drain_ms = 500
[[port]]
name = "left"
device = "a"
speed = "1G"
[[port]]
name = "right"
device = "b"
speed = "1G"
[[stream]]
name = "there"
from = "left"
to = "right"
size = 64
source = "192.0.2.0/24"
destination = "198.51.100.1"
flows = 10
order = "sequential"
probes_per_second = 0
"#;

/// A memory engine of so many threads, and the far ends of the cables of each.
fn engine(text: &str, threads: usize) -> (MemoryEngine, Vec<[FarEnd; 2]>, Healthy) {
    let profile = profile::parse("test.toml", text, Path::new(""), &[]).unwrap();
    let fact = |last| PortFacts { mac: [2, 0, 0, 0, 0, last], peer: None, vlan: None, speed_bps: Some(1e9) };
    let (mut parts, mut ends) = (Vec::new(), Vec::new());
    for _ in 0..threads {
        let ((left, left_end), (right, right_end)) = (port(1024), port(1024));
        let answers = Answers { mac: [2, 0, 0, 0, 0, 2], networks: vec![(0xc633_6400, 24)], except: None };
        parts.push((vec![(left, Answers::default()), (right, answers)], Endless));
        ends.push([FarEnd(left_end), FarEnd(right_end)]);
    }
    let healthy = Healthy::default();
    let engine = StreamEngine::new(&profile, &[fact(1), fact(2)], parts, nowhere(), healthy.clone()).unwrap();
    (engine, ends, healthy)
}

/// Runs a trial through wires with these faults.
fn through(text: &str, faults: Faults, rate: f64, seconds: f64) -> Trial {
    let (mut engine, ends, _) = engine(text, 1);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for ends in ends {
            scope.spawn(|| {
                let mut wire = Wire::new(ends, Endless, faults);
                wire.run(Clock::new(), &mut || !done.load(Ordering::Relaxed));
            });
        }
        let trial = engine.run(Some(rate), Duration::from_secs_f64(seconds), &mut |_| Watch::Continue);
        done.store(true, Ordering::Relaxed);
        trial.unwrap()
    })
}

#[test]
fn a_wire_without_faults_loses_nothing() {
    let trial = through(PROFILE, Faults::default(), 20_000.0, 0.2);
    let counts = trial.counts;
    assert!(counts.sent > 0 && counts.sent <= 4000, "{counts:?}");
    assert_eq!(counts.sent_bytes, counts.sent * 64);
    let expected = Counts {
        sent: counts.sent,
        sent_bytes: counts.sent_bytes,
        received: counts.sent,
        received_bytes: counts.sent_bytes,
        ..Counts::default()
    };
    assert_eq!(counts, expected);
    assert_eq!((trial.foreign, trial.late), (0, 0));
    let sliced: u64 = trial.intervals.iter().map(|interval| interval.counts.sent).sum();
    assert_eq!(sliced, counts.sent);
}

#[test]
fn every_fault_is_reported_as_what_it_is() {
    let lossy = through(PROFILE, Faults { drop_every: 100, ..Faults::default() }, 20_000.0, 0.2).counts;
    assert_eq!((lossy.lost(), lossy.duplicated, lossy.reordered), (lossy.sent / 100, 0, 0));
    let doubling =
        through(PROFILE, Faults { duplicate_every: 100, ..Faults::default() }, 20_000.0, 0.2).counts;
    assert_eq!((doubling.lost(), doubling.duplicated, doubling.reordered), (0, doubling.sent / 100, 0));
    // One flow, so that a packet's successor on the wire is its successor in the flow.
    let one = PROFILE.replace("flows = 10", "flows = 1");
    let swapping = through(&one, Faults { reorder_every: 100, ..Faults::default() }, 20_000.0, 0.2).counts;
    assert_eq!((swapping.lost(), swapping.duplicated), (0, 0));
    // Of the last frame there may be no successor.
    assert!((swapping.sent / 100 - 1..=swapping.sent / 100).contains(&swapping.reordered), "{swapping:?}");
}

#[test]
fn a_delay_is_measured_by_the_probes() {
    let text = PROFILE.replace("probes_per_second = 0", "probes_per_second = 1000");
    let trial = through(&text, Faults { delay_ns: 3_000_000, ..Faults::default() }, 5_000.0, 0.2);
    let latency = trial.latency_us.as_ref().unwrap();
    assert!(latency.count > 10 && latency.min >= 2_990.0, "{} of {}", latency.min, latency.count);
    assert_eq!((trial.counts.lost(), trial.counts.reordered), (0, 0));
}

#[test]
fn a_mix_both_ways_over_several_threads_is_whole() {
    let back = r#"
[[stream]]
name = "back"
from = "right"
to = "left"
weight = 3
sizes = [{ size = 76, weight = 7 }, { size = 1518, weight = 1 }]
protocol = "tcp"
source = "198.51.100.0/24"
destination = "192.0.2.1"
flows = 100
"#;
    let (mut engine, ends, _) = engine(&format!("{PROFILE}{back}"), 3);
    let done = AtomicBool::new(false);
    let trial = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut wires: Vec<_> =
                ends.into_iter().map(|ends| Wire::new(ends, Endless, Faults::default())).collect();
            while !done.load(Ordering::Relaxed) {
                if wires.iter_mut().filter_map(|wire| wire.turn(|| 0).then_some(())).count() == 0 {
                    std::thread::yield_now();
                }
            }
        });
        let trial = engine.run(Some(20_000.0), Duration::from_millis(200), &mut |_| Watch::Continue);
        done.store(true, Ordering::Relaxed);
        trial.unwrap()
    });
    assert_eq!(
        (trial.counts.lost(), trial.counts.duplicated, trial.counts.misplaced),
        (0, 0, 0),
        "{trial:?}"
    );
    assert!(trial.streams.iter().all(|stream| stream.counts.sent > 0));
    assert!(trial.streams[1].latency_us.is_some());
}

#[test]
fn frames_of_an_earlier_trial_are_not_received() {
    let (mut engine, mut ends, _) = engine(PROFILE, 1);
    let mut run = || engine.run(Some(1000.0), Duration::from_millis(50), &mut |_| Watch::Continue).unwrap();
    let first = run();
    assert_eq!(first.counts.received, 0);
    let [left, right] = &mut ends[0];
    let mut kept = Vec::with_capacity(1024);
    left.rx_burst(&mut kept);
    assert_eq!(kept.len() as u64, first.counts.sent);
    right.tx_burst(&mut kept);
    right.0.send_bytes(&[0; 60]);
    let second = run();
    assert_eq!((second.late, second.foreign, second.counts.received), (first.counts.sent, 1, 0));
}

#[test]
fn a_packet_at_the_wrong_port_is_misplaced() {
    let (mut engine, ends, _) = engine(PROFILE, 1);
    let done = AtomicBool::new(false);
    let trial = std::thread::scope(|scope| {
        scope.spawn(|| {
            let [mut left, _right] = ends.into_iter().next().unwrap();
            let mut frames = Vec::with_capacity(32);
            while !done.load(Ordering::Relaxed) {
                left.rx_burst(&mut frames);
                left.tx_burst(&mut frames);
                std::thread::yield_now();
            }
        });
        let trial = engine.run(Some(1000.0), Duration::from_millis(50), &mut |_| Watch::Continue).unwrap();
        done.store(true, Ordering::Relaxed);
        trial
    });
    assert_eq!((trial.counts.received, trial.counts.misplaced), (0, trial.counts.sent));
    assert!(trial.notes.iter().any(|note| note.contains("another port")), "{:?}", trial.notes);
}

#[test]
fn a_port_that_takes_nothing_is_a_failure_with_what_was_measured() {
    // Nobody empties the cable: 1,024 packets fit.
    let (mut engine, _ends, _) = engine(PROFILE, 1);
    let failure = engine.run(Some(10_000.0), Duration::from_secs(30), &mut |_| Watch::Continue).unwrap_err();
    assert!(failure.why.starts_with("port left: it has taken no packet for a second"), "{}", failure.why);
    let partial = failure.partial.unwrap();
    assert_eq!((partial.counts.sent, partial.counts.received), (1024, 0));
    assert!(
        partial.seconds < 30.0 && partial.notes[0].contains("the ports did not take more"),
        "{:?}",
        partial.notes
    );
}

#[test]
fn a_lost_link_is_a_failure_and_the_watcher_can_stop() {
    let (mut engine, _ends, healthy) = engine(PROFILE, 1);
    let mut looks = 0;
    let stopped = engine.run(Some(100.0), Duration::from_secs(30), &mut |_| {
        looks += 1;
        if looks < 2 { Watch::Continue } else { Watch::Stop }
    });
    assert!(stopped.unwrap().seconds < 30.0);
    let failure = engine
        .run(Some(100.0), Duration::from_secs(30), &mut |_| {
            *healthy.0.lock().unwrap() = Some("port left: the link is gone".to_owned());
            Watch::Continue
        })
        .unwrap_err();
    assert!(failure.why == "port left: the link is gone" && failure.partial.is_some());
    let failure = engine.run(Some(100.0), Duration::from_secs(30), &mut |_| Watch::Continue).unwrap_err();
    assert!(failure.partial.is_none());
}

#[test]
fn requests_are_answered_while_packets_are_sent() {
    let (mut engine, mut ends, _) = engine(PROFILE, 1);
    let [_, right] = &mut ends[0];
    let (asker, target) = (Ipv4Addr::new(198, 51, 100, 254), Ipv4Addr::new(198, 51, 100, 7));
    assert!(right.0.send_bytes(&arp::request([6; 6], None, asker, target)));
    engine.run(Some(100.0), Duration::from_millis(20), &mut |_| Watch::Continue).unwrap();
    let answer = right.0.receive().unwrap();
    assert!(arp::told(answer.data(), 14, target).is_some());
}

#[test]
fn line_rate_is_that_of_the_busier_port() {
    let (engine, ..) = engine(PROFILE, 1);
    // RFC 2544 §20: 64 bytes with preamble and gap take 672 bits.
    assert!((engine.line_rate().unwrap() - 1e9 / 672.0).abs() < 1.0);
}

#[test]
fn what_comes_on_a_further_queue_is_received_at_its_port() {
    let profile = profile::parse("test.toml", PROFILE, Path::new(""), &[]).unwrap();
    let fact = |last| PortFacts { mac: [2, 0, 0, 0, 0, last], peer: None, vlan: None, speed_bps: Some(1e9) };
    let [(left, left_end), (right, _right), (more_left, _left), (more_right, right_end)] =
        [(); 4].map(|()| port(1024));
    let queues = [left, right, more_left, more_right].map(|port| (port, Answers::default())).into();
    let parts = vec![(queues, Endless)];
    let mut engine =
        StreamEngine::new(&profile, &[fact(1), fact(2)], parts, nowhere(), Healthy::default()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut wire = Wire::new([FarEnd(left_end), FarEnd(right_end)], Endless, Faults::default());
            wire.run(Clock::new(), &mut || !done.load(Ordering::Relaxed));
        });
        let trial = engine.run(Some(10_000.0), Duration::from_millis(50), &mut |_| Watch::Continue);
        done.store(true, Ordering::Relaxed);
        let counts = trial.unwrap().counts;
        assert_eq!((counts.received, counts.misplaced), (counts.sent, 0), "{counts:?}");
        assert!(counts.sent > 0);
    });
}
