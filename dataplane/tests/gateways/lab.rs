//! The worker's loop over memory ports, with a gateway's tables: for tests.

use super::Gateway;
use ces_dataplane::counters::Counters;
use ces_dataplane::frame::MemoryFrame;
use ces_dataplane::io::memory::{self, Cable, MemoryPool, MemoryPort};
use ces_dataplane::reason::DropReason;
use ces_dataplane::settings::WorkerSettings;
use ces_dataplane::state::State;
use ces_dataplane::worker::{Bell, ControlSide, Idle, Mesh, Parts, RingSizes, Worker, link};
use machine::Clock;
use std::sync::Arc;
use std::time::Duration;

/// Frames in the pool.
pub(crate) const POOL: usize = 256;
/// Frames that a cable holds in each direction.
pub(crate) const CABLE: usize = 256;

/// A worker with the other ends of everything.
pub(crate) struct Lab {
    /// The worker.
    pub worker: Worker<MemoryPort, MemoryPool>,
    /// The control thread's ends.
    pub control: ControlSide,
    /// The realm.
    pub inside: Cable,
    /// The world.
    pub outside: Cable,
    /// The time.
    pub now: u64,
}

impl Lab {
    /// A worker that will hear of the gateway's binding at its first turn.
    pub(crate) fn new(gateway: Gateway, sizes: RingSizes, bell: Bell) -> Self {
        let mut lab = Self::with(&gateway.settings(), sizes, bell, Mesh::alone());
        for command in gateway.commands() {
            lab.control.commands.push(command).unwrap();
        }
        lab
    }

    /// A worker with these settings and nothing in its tables.
    pub(crate) fn with(
        settings: &WorkerSettings,
        sizes: RingSizes,
        bell: Bell,
        mesh: Mesh<MemoryFrame>,
    ) -> Self {
        let (control, worker_side) = link(sizes, Arc::new(bell));
        let (inside_port, inside) = memory::port(CABLE);
        let (outside_port, outside) = memory::port(CABLE);
        let worker = Worker::new(Parts {
            state: State::new(settings).unwrap(),
            ports: vec![inside_port, outside_port],
            pool: MemoryPool::new(POOL),
            control: worker_side,
            mesh,
            lines: Vec::new(),
            clock: Clock::new(),
            idle: Idle { polls: 10, nap: Duration::from_micros(50) },
        });
        Self { worker, control, inside, outside, now: 1_000_000_000 }
    }

    /// A worker that knows the gateway's binding.
    pub(crate) fn plain(gateway: Gateway) -> Self {
        let mut lab = Self::new(gateway, RingSizes::default(), Bell::silent());
        assert!(lab.turn());
        lab
    }

    /// A turn, a millisecond after the last, so that counters are published.
    pub(crate) fn turn(&mut self) -> bool {
        self.now += 1_000_000;
        self.worker.turn(self.now)
    }

    /// What the worker has published.
    pub(crate) fn counters(&self) -> Counters {
        self.control.counters.snapshot()
    }

    /// Of that, what was dropped for this reason.
    pub(crate) fn drops(&self, reason: DropReason) -> u64 {
        self.counters().drops[reason as usize]
    }
}
