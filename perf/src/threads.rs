//! Workers on cores of their own, all at once: what sharing the memory costs, and what it costs that a frame's lines move from
//! core to core when it is handed over.
//!
//! The threads go through windows together: one of the case, one of the calibration, each with as many bursts as take some
//! [`WINDOW_MS`]. Within a window no thread is more than [`AHEAD`] bursts before another, so that the rings between them
//! neither fill nor starve.

use crate::calibration::Calibration;
use crate::fleet::{RING, Steering, sequences};
use crate::measure::{INTERRUPTED_NS, Measured, Totals, WINDOW_MS, window};
use crate::realm::RealmPlan;
use crate::rotation::{Rewrite, Rotation};
use crate::turn::{Member, Seat};
use ces_dataplane::io::Pool;
use ces_dataplane::settings::WorkerSettings;
use ces_dataplane::worker::Mesh;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex, PoisonError};

/// How many bursts a thread may be before the last one: of 64 packets, five fit a ring of [`RING`].
const AHEAD: usize = 4;
/// Further frames that each thread needs: as many as one keeps before it gives some away.
pub const SPARE: usize = 1024;
/// A thread with fewer takes some: four bursts.
const FEW: usize = 256;
/// Bursts of the first window, which tells how many a window has.
const FIRST: u64 = 1000;

/// What a thread needs of packet memory.
pub struct ThreadMemory<F> {
    /// The case's.
    pub case: Rotation<F>,
    /// The calibration's.
    pub calibration: Rotation<F>,
    /// [`SPARE`] further frames.
    pub spare: Vec<F>,
}

/// What all threads share.
struct Common<F> {
    barrier: Barrier,
    /// By thread: bursts so far.
    done: Vec<AtomicUsize>,
    /// Cycles that the threads' first windows took.
    first: AtomicU64,
    /// Frames that one has too many and another too few.
    stash: Mutex<Vec<F>>,
    /// What made a thread give up, before the first barrier.
    failed: Mutex<Option<String>>,
}

/// What a thread found.
struct Found {
    /// Cycles per packet, window by window: the case's and, one more, the calibration's.
    case: Vec<f64>,
    calibration: Vec<f64>,
    totals: Totals,
    taken_over: u64,
    offered: u64,
    allocations: u64,
}

/// The result of all threads.
#[derive(Clone, Debug)]
pub struct Together {
    /// Windows over the mean of all threads.
    pub measured: Measured,
    /// The share of packets that were handed over.
    pub handed_over: f64,
    /// Allocations in the turns, for each packet.
    pub allocations_per_packet: f64,
}

/// Runs as many workers as `plan` names on these cores, for at least `seconds` of each one's own time.
pub fn run<F, M>(
    plan: RealmPlan,
    steering: Steering,
    memory: Vec<ThreadMemory<F>>,
    pool: impl Fn() -> M + Sync,
    cores: &[usize],
    seconds: f64,
) -> Result<Together, String>
where
    F: Rewrite + Send,
    M: Pool<Frame = F>,
{
    let workers = plan.workers as usize;
    if cores.len() < workers || memory.len() < workers {
        return Err(format!("{workers} workers need as many cores, and there are {}", cores.len()));
    }
    let clock = machine::Clock::new();
    let settings = plan.settings();
    let handles = plan.handles(&settings);
    let meshes = if workers == 1 { vec![Mesh::alone()] } else { Mesh::new(workers, RING) };
    let sequences = sequences(&plan, &settings, &handles, steering);
    let windows = ((seconds * 1000.0 / WINDOW_MS as f64).ceil() as usize).max(1);
    let common = Common {
        barrier: Barrier::new(workers),
        done: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
        first: AtomicU64::new(0),
        stash: Mutex::new(Vec::new()),
        failed: Mutex::new(None),
    };
    let (common, handles, pool) = (&common, &handles[..], &pool);
    let found: Vec<Result<Found, String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = meshes
            .into_iter()
            .zip(sequences)
            .zip(memory)
            .zip(cores)
            .enumerate()
            .map(|(number, (((mesh, sequence), memory), &core))| {
                let settings = WorkerSettings { worker: number as u32, ..settings.clone() };
                scope.spawn(move || {
                    let ThreadMemory { case, calibration, spare } = memory;
                    let rotation = case;
                    let pinned = machine::pin_to_core(core).map_err(|error| format!("core {core}: {error}"));
                    let member = pinned.and_then(|()| {
                        Member::new(Seat {
                            plan,
                            settings,
                            handles,
                            rotation,
                            sequence,
                            pool: pool(),
                            mesh,
                            clock,
                        })
                    });
                    let calibration = Calibration::new(calibration);
                    Thread { common, number, stash: spare, clock }.run(member, calibration, windows)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("a worker's thread panicked".to_owned())))
            .collect()
    });
    let found = found.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(together(&found))
}

/// The means over the threads.
fn together(found: &[Found]) -> Together {
    let mean = |of: fn(&Found) -> &[f64], window: usize| {
        found.iter().map(|found| of(found)[window]).sum::<f64>() / found.len() as f64
    };
    let windows = found.iter().map(|found| found.case.len()).min().unwrap_or(0);
    let case: Vec<f64> = (0..windows).map(|window| mean(|found| &found.case, window)).collect();
    let calibration: Vec<f64> =
        (0..=windows).map(|window| mean(|found| &found.calibration, window)).collect();
    let mut totals = Totals::default();
    for found in found {
        totals.add(&found.totals);
    }
    let sum = |of: fn(&Found) -> u64| found.iter().map(of).sum::<u64>() as f64;
    let offered = sum(|found| found.offered).max(1.0);
    Together {
        measured: Measured::of(&case, &calibration, totals),
        handed_over: sum(|found| found.taken_over) / offered,
        allocations_per_packet: sum(|found| found.allocations) / offered,
    }
}

/// One of them.
struct Thread<'a, F> {
    common: &'a Common<F>,
    number: usize,
    stash: Vec<F>,
    clock: machine::Clock,
}

impl<F: Rewrite + Send> Thread<'_, F> {
    fn run<M: Pool<Frame = F>>(
        mut self,
        member: Result<Member<F, M>, String>,
        mut calibration: Calibration<F>,
        windows: usize,
    ) -> Result<Found, String> {
        let mut member = member
            .map_err(|error| *self.common.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error))
            .ok();
        // Either all go on or none: a barrier that one does not come to holds the others for ever.
        self.common.barrier.wait();
        if let Some(error) = self.common.failed.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Err(error);
        }
        let member = member.as_mut().ok_or("a worker is not there")?;
        let mut found = Found {
            case: Vec::with_capacity(windows),
            calibration: Vec::with_capacity(windows + 1),
            totals: Totals::default(),
            taken_over: 0,
            offered: 0,
            allocations: 0,
        };
        let mut ignored = Totals::default();
        let limit = u128::from(machine::cycles_per_second()) * u128::from(INTERRUPTED_NS) / 1_000_000_000;
        let limit = limit as u64;
        // The first window finds out how long a burst takes; the mean over all threads, for all.
        self.window(member, FIRST, limit, &mut ignored, &mut found);
        self.common.first.fetch_add(ignored.cycles(), Ordering::Relaxed);
        self.common.barrier.wait();
        let each = self.common.first.load(Ordering::Relaxed) / (self.common.done.len() as u64 * FIRST);
        let length = machine::cycles_per_second() / 1000 * WINDOW_MS / each.max(1);
        for _ in 0..windows.div_ceil(10) {
            self.window(member, length, limit, &mut ignored, &mut found);
        }
        self.calibrated(&mut calibration);
        found.calibration.push(self.calibrated(&mut calibration));
        for _ in 0..windows {
            let mut totals = Totals::default();
            self.window(member, length, limit, &mut totals, &mut found);
            found.case.push(totals.cycles_per_packet());
            found.totals.add(&totals);
            found.calibration.push(self.calibrated(&mut calibration));
        }
        found.taken_over = member.counters().taken_over;
        member.check()?;
        Ok(found)
    }

    /// A window of the calibration, on all cores at once.
    fn calibrated(&self, calibration: &mut Calibration<F>) -> f64 {
        self.common.barrier.wait();
        window(calibration, machine::cycles_per_second(), &mut Totals::default())
    }

    /// So many bursts.
    fn window<M: Pool<Frame = F>>(
        &mut self,
        member: &mut Member<F, M>,
        bursts: u64,
        limit: u64,
        totals: &mut Totals,
        found: &mut Found,
    ) {
        self.common.barrier.wait();
        for _ in 0..bursts {
            self.wait_for_others();
            let packets = member.offer();
            let before = machine::allocations::on_this_thread();
            let cycles = member.turn(self.clock.now());
            found.allocations += machine::allocations::on_this_thread() - before;
            totals.count(cycles, packets, limit);
            found.offered += packets;
            member.collect(&mut self.stash);
            self.balance();
            member.refill(&mut self.stash);
            self.common.done[self.number].fetch_add(1, Ordering::Release);
        }
    }

    fn wait_for_others(&self) {
        let mine = self.common.done[self.number].load(Ordering::Relaxed);
        while self.common.done.iter().any(|done| done.load(Ordering::Acquire) + AHEAD < mine) {
            // Where there are fewer cores than threads, the others want this one.
            std::thread::yield_now();
        }
    }

    /// Gives away what is more than enough, and takes what is wanting.
    fn balance(&mut self) {
        if (FEW..=SPARE).contains(&self.stash.len()) || self.common.done.len() == 1 {
            return;
        }
        let mut common = self.common.stash.lock().unwrap_or_else(PoisonError::into_inner);
        if self.stash.len() > SPARE {
            common.extend(self.stash.drain(SPARE / 2..));
        } else {
            let from = common.len() - common.len().min(FEW);
            self.stash.extend(common.drain(from..));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::realm::PlanWay;
    use ces_dataplane::frame::MemoryFrame;
    use ces_dataplane::io::memory::MemoryPool;

    /// On one core, if there are no more: the threads take turns then.
    #[test]
    fn packets_find_their_owner_across_threads() {
        let cores = machine::usable_cores().unwrap();
        let cores = [cores[0], *cores.last().unwrap()];
        let memory = || ThreadMemory {
            case: Rotation::in_memory(256, 64),
            calibration: Rotation::in_memory(256, 64),
            spare: vec![MemoryFrame::empty(); SPARE],
        };
        let plan = RealmPlan { workers: 2, ..RealmPlan::new(PlanWay::Ingress, 500) };
        let run = |steering| {
            let memory = vec![memory(), memory()];
            run(plan, steering, memory, || MemoryPool::new(8), &cores, 0.001).unwrap()
        };
        assert!((run(Steering::Mixed).handed_over - 0.5).abs() < 0.1);
        assert!(run(Steering::Own).handed_over == 0.0);
        let few = super::run(plan, Steering::Own, Vec::new(), || MemoryPool::new(8), &cores[..1], 0.001);
        assert!(few.unwrap_err().contains("2 workers"));
    }
}
