//! The workers, seen from the control thread: their threads, and the rings to them.
//!
//! What goes to a worker keeps its order even when a ring is full, since an answer must not overtake the binding that it
//! names: it waits in an outbox. Commands are never lost; frames are, when too many wait.

use crate::config;
use ces_dataplane::counters::Counters;
use ces_dataplane::io::dpdk::WorkerIo;
use ces_dataplane::msg::{Command, Event, FrameSlot, PortId, SLOT_BYTES, TraceRecord};
use ces_dataplane::premises::Premises;
use ces_dataplane::queue::{QueueFigures, SharedLine};
use ces_dataplane::seal::KeyChange;
use ces_dataplane::settings::{SettingsError, WorkerSettings};
use ces_dataplane::state::State;
use ces_dataplane::worker::{Bell, ControlSide, Idle, Mesh, Parts, RingSizes, Worker, link};
use dpdk::{Eal, RegisteredThread};
use machine::{Clock, Kept};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Frames that may wait for a ring with room, of each worker: 2 MiB at the longest.
const FRAMES_WAITING: usize = 1024;
/// Room for frames between two workers.
const HANDOFF_FRAMES: usize = 1024;
/// Turns without work before an idle worker naps: some tens of microseconds.
const IDLE_TURNS: u32 = 200;

/// Why a worker does not run.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// Its settings do not fit, or there is no memory for its tables.
    #[error("worker {0}: {1}")]
    Settings(usize, SettingsError),
    /// Its core is not there for us.
    #[error("worker.cores: core {core} is not there for this process; there are {usable}")]
    Core {
        /// The core asked for.
        core: usize,
        /// Those that can be used.
        usable: String,
    },
    /// Its thread could not be started or made known to DPDK.
    #[error("worker {0}: {1}")]
    Thread(usize, String),
}

enum Waiting {
    Command(Command),
    Frame(PortId, Vec<u8>),
}

struct Member {
    control: ControlSide,
    /// Premises for it to move into, when it has moved into those before.
    next: Option<Box<Premises>>,
    /// It is moving: the premises that it leaves have not come back yet.
    moving: bool,
    /// Keys that it is to take, in order.
    keys: VecDeque<Box<KeyChange>>,
    /// Those that it has been sent, and whose predecessors have not come back.
    keys_sent: usize,
    /// What found its ring full, in order.
    outbox: VecDeque<Waiting>,
    frames_waiting: usize,
}

/// Things that did not fit, counted on the control thread's side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FleetCounters {
    /// Commands that had to wait.
    pub commands_delayed: u64,
    /// Frames that had to wait.
    pub frames_delayed: u64,
    /// Frames that were lost because too many waited, or that were too long.
    pub frames_lost: u64,
}

/// The workers.
pub struct Fleet {
    members: Vec<Member>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    bell: Arc<Bell>,
    cores: Vec<usize>,
    /// What did not fit, by worker.
    pub counters: Vec<FleetCounters>,
}

/// Whether these cores may be used, before anything is started.
pub fn check_cores(cores: &[usize]) -> Result<Vec<usize>, FleetError> {
    let usable = machine::usable_cores().unwrap_or_default();
    if let Some(&core) = cores.iter().find(|core| !usable.contains(core)) {
        let usable = usable.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return Err(FleetError::Core { core, usable });
    }
    Ok(usable)
}

impl Fleet {
    /// Starts a worker on each core, with these settings but for its number, and with its file of sessions where there is one.
    /// Returns when all of them run.
    pub fn start(
        eal: &Eal,
        config: &config::WorkerSection,
        settings: &WorkerSettings,
        shares: Vec<WorkerIo>,
        kept: Vec<Option<Kept>>,
        clock: Clock,
        bell: Bell,
    ) -> Result<Self, FleetError> {
        let bell = Arc::new(bell);
        let stop = Arc::new(AtomicBool::new(false));
        let cores = config.cores.clone();
        let sizes = RingSizes {
            commands: config.ring as usize,
            events: config.ring as usize,
            traces: RingSizes::default().traces,
            punt: config.frames as usize,
            inject: config.frames as usize,
        };
        let idle = Idle { polls: IDLE_TURNS, nap: Duration::from_micros(u64::from(config.idle_sleep_us)) };
        let mut fleet = Self {
            members: Vec::new(),
            threads: Vec::new(),
            stop,
            bell,
            counters: vec![FleetCounters::default(); cores.len()],
            cores,
        };
        let meshes = Mesh::new(fleet.cores.len(), HANDOFF_FRAMES);
        let workers = fleet.cores.len();
        let lines: Vec<_> = settings.ports.iter().map(|_| SharedLine::new(workers)).collect();
        let (ready, started) = mpsc::channel();
        let mut kept = kept.into_iter();
        for (number, (share, mesh)) in shares.into_iter().zip(meshes).enumerate() {
            let kept = kept.next().flatten();
            let core = fleet.cores[number];
            let settings = WorkerSettings { worker: number as u32, ..settings.clone() };
            let (control, side) = link(sizes, Arc::clone(&fleet.bell));
            fleet.members.push(Member {
                control,
                next: None,
                moving: false,
                keys: VecDeque::new(),
                keys_sent: 0,
                outbox: VecDeque::new(),
                frames_waiting: 0,
            });
            let (eal, stop, ready) = (eal.clone(), Arc::clone(&fleet.stop), ready.clone());
            let lines = lines.clone();
            let thread = std::thread::Builder::new().name(format!("worker{number}")).spawn(move || {
                let made = machine::pin_to_core(core)
                    .map_err(|error| {
                        FleetError::Thread(number, format!("cannot stay on core {core}: {error}"))
                    })
                    .and_then(|()| {
                        RegisteredThread::new(&eal)
                            .map_err(|error| FleetError::Thread(number, error.to_string()))
                    })
                    // The tables are allocated here, on the memory next to the worker's core.
                    .and_then(|registered| {
                        let state = match kept {
                            Some(kept) => State::resumed(&settings, kept, clock.now()),
                            None => State::new(&settings),
                        };
                        Ok((registered, state.map_err(|error| FleetError::Settings(number, error))?))
                    });
                let (registered, state) = match made {
                    Ok(made) => made,
                    Err(error) => {
                        let _ = ready.send(Err(error));
                        return;
                    }
                };
                let WorkerIo { ports, pool } = share;
                let mut worker =
                    Worker::new(Parts { state, ports, pool, control: side, mesh, lines, clock, idle });
                let _ = ready.send(Ok(()));
                worker.run(&stop);
                drop(worker);
                drop(registered);
            });
            match thread {
                Ok(thread) => fleet.threads.push(thread),
                Err(error) => return Err(FleetError::Thread(number, error.to_string())),
            }
        }
        drop(ready);
        for _ in 0..fleet.threads.len() {
            match started.recv() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(FleetError::Thread(0, "ended while it was started".to_owned())),
            }
        }
        Ok(fleet)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The core of each.
    pub fn cores(&self) -> &[usize] {
        &self.cores
    }

    /// The counters of a worker, as last published.
    pub fn snapshot(&self, worker: usize) -> Counters {
        self.members[worker].control.counters.snapshot()
    }

    /// What a worker tells of its queues.
    pub fn queues(&self, worker: usize) -> &QueueFigures {
        &self.members[worker].control.counters.queues
    }

    /// Depth and capacity of the rings of a worker: commands, inject, events, punt.
    pub fn rings(&self, worker: usize) -> [(&'static str, usize, usize); 4] {
        let control = &self.members[worker].control;
        [
            ("command", control.commands.len(), control.commands.capacity()),
            ("inject", control.inject.len(), control.inject.capacity()),
            ("event", control.events.len(), control.events.capacity()),
            ("punt", control.punt.len(), control.punt.capacity()),
        ]
    }

    /// The next event of a worker.
    pub fn event(&mut self, worker: usize) -> Option<Event> {
        self.members[worker].control.events.pop()
    }

    /// The next record of a trace from a worker.
    pub fn traced(&mut self, worker: usize) -> Option<TraceRecord> {
        self.members[worker].control.traces.pop()
    }

    /// Reads the next punted frame of a worker in its slot.
    pub fn punted<R>(&mut self, worker: usize, read: impl FnOnce(&mut FrameSlot) -> R) -> Option<R> {
        self.members[worker].control.punt.pop_with(read)
    }

    /// Sends a command, behind everything that was sent before.
    pub fn command(&mut self, worker: usize, command: Command) {
        let Some(member) = self.members.get_mut(worker) else { return };
        if member.outbox.is_empty() {
            match member.control.commands.push(command) {
                Ok(()) => return,
                Err(command) => member.outbox.push_back(Waiting::Command(command)),
            }
        } else {
            member.outbox.push_back(Waiting::Command(command));
        }
        self.counters[worker].commands_delayed += 1;
    }

    /// Has all workers move into other premises, behind everything that was sent before.
    pub fn publish(&mut self, premises: &Premises) {
        for (worker, member) in self.members.iter_mut().enumerate() {
            member.next = Some(Box::new(premises.clone().of_worker(worker)));
        }
        self.see_to_moves();
    }

    /// Frees what workers have left, and sends who has moved to where it is to go next. A worker moves once at a time.
    pub fn see_to_moves(&mut self) {
        for worker in 0..self.members.len() {
            let member = &mut self.members[worker];
            member.moving &= member.control.left.pop().is_none();
            if !member.moving
                && let Some(premises) = member.next.take()
            {
                match member.control.premises.push(premises) {
                    Ok(()) => member.moving = true,
                    Err(premises) => member.next = Some(premises),
                }
                if self.members[worker].moving {
                    self.command(worker, Command::MoveIn);
                }
            }
        }
    }

    /// Has a worker take a key, behind everything that was sent before.
    pub fn key(&mut self, worker: usize, change: Box<KeyChange>) {
        if let Some(member) = self.members.get_mut(worker) {
            member.keys.push_back(change);
            self.see_to_keys();
        }
    }

    /// Frees keys that workers have put away, and sends those that wait.
    pub fn see_to_keys(&mut self) {
        for worker in 0..self.members.len() {
            let member = &mut self.members[worker];
            while member.control.keys_left.pop().is_some() {
                member.keys_sent -= 1;
            }
            let mut sent = 0;
            while member.keys_sent < member.control.keys.capacity()
                && let Some(change) = member.keys.pop_front()
            {
                if let Err(change) = member.control.keys.push(change) {
                    member.keys.push_front(change);
                    break;
                }
                (member.keys_sent, sent) = (member.keys_sent + 1, sent + 1);
            }
            (0..sent).for_each(|_| self.command(worker, Command::TakeKey));
        }
    }

    /// Has a worker send a frame out of a port, behind every command that was sent before. `fill` writes it and returns
    /// its length.
    pub fn inject(&mut self, worker: usize, port: PortId, fill: impl FnOnce(&mut [u8]) -> usize) {
        let Some(member) = self.members.get_mut(worker) else { return };
        let mut fill = Some(fill);
        if member.outbox.is_empty() && member.control.inject.len() < member.control.inject.capacity() {
            member.control.inject.push_with(|slot| {
                slot.port = port;
                slot.length = fill.take().map_or(0, |fill| fill(&mut slot.data)) as u16;
            });
            return;
        }
        let Some(fill) = fill.take() else { return };
        if member.frames_waiting >= FRAMES_WAITING {
            self.counters[worker].frames_lost += 1;
            return;
        }
        let mut frame = vec![0; SLOT_BYTES];
        let length = fill(&mut frame);
        frame.truncate(length);
        member.frames_waiting += 1;
        member.outbox.push_back(Waiting::Frame(port, frame));
        self.counters[worker].frames_delayed += 1;
    }

    /// Moves what waits into rings that have room. True if nothing waits any more.
    pub fn drain(&mut self) -> bool {
        let mut empty = true;
        for member in &mut self.members {
            while let Some(first) = member.outbox.front() {
                let taken = match first {
                    Waiting::Command(command) => member.control.commands.push(*command).is_ok(),
                    Waiting::Frame(port, frame) => member.control.inject.push_with(|slot| {
                        slot.port = *port;
                        slot.length = frame.len() as u16;
                        slot.data[..frame.len()].copy_from_slice(frame);
                    }),
                };
                if !taken {
                    empty = false;
                    break;
                }
                if let Some(Waiting::Frame(..)) = member.outbox.pop_front() {
                    member.frames_waiting -= 1;
                }
            }
        }
        empty
    }

    /// Announces that the control thread is about to sleep. False: there is something to do, do not.
    pub fn doze(&self) -> bool {
        self.bell.doze();
        let quiet = self.members.iter().all(|member| member.control.is_quiet());
        if !quiet {
            self.bell.awake();
        }
        quiet
    }

    /// The control thread is up again.
    pub fn awake(&self) {
        self.bell.awake();
    }

    /// Whether a worker's thread has ended by itself: a bug, after which nothing goes on.
    pub fn is_broken(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Stops the workers after what is under way, and waits for them.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for (number, thread) in self.threads.drain(..).enumerate() {
            if thread.join().is_err() {
                tracing::error!("worker {number} panicked");
            }
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.stop();
    }
}
