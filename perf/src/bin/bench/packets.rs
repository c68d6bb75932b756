//! Packet memory: from DPDK, and for those who count instructions, ordinary memory.

use crate::arguments::Arguments;
use ces_dataplane::frame::MemoryFrame;
use ces_dataplane::io::Pool;
use ces_dataplane::io::memory::MemoryPool;
use ces_perf::fleet;
use ces_perf::memory::huge_pages_free_mib;
use ces_perf::rotation::{Rewrite, Rotation};
use ces_perf::threads;
use dpdk::{Eal, Mbuf, Mempool, Options};

/// Frames in a pool beyond those in rotation, for what a worker makes itself.
const SPARE: usize = 511;

/// Where a case's frames are from.
pub(crate) trait FrameMemory {
    type Frame: Rewrite + Send + 'static;
    type Pool: Pool<Frame = Self::Frame> + 'static;

    /// All frames of a case in rotation.
    fn whole(&self) -> Result<Rotation<Self::Frame>, String>;
    /// The share of one of several workers.
    fn circle(&self) -> Result<Rotation<Self::Frame>, String>;
    /// The frames that fill gaps, in so many parts.
    fn spare(&self, parts: usize) -> Result<Vec<Vec<Self::Frame>>, String>;
    /// The pool of a worker.
    fn pool(&self) -> Self::Pool;
}

/// Ordinary memory.
pub(crate) struct InMemory {
    burst: usize,
    spare: usize,
}

impl InMemory {
    /// As much as these arguments need.
    pub(crate) fn new(arguments: &Arguments) -> Self {
        Self { burst: arguments.burst, spare: fleet::spare(arguments.variant.workers, arguments.burst) }
    }
}

impl FrameMemory for InMemory {
    type Frame = MemoryFrame;
    type Pool = MemoryPool;

    fn whole(&self) -> Result<Rotation<MemoryFrame>, String> {
        Ok(Rotation::in_memory(self.burst * 4, self.burst))
    }

    fn circle(&self) -> Result<Rotation<MemoryFrame>, String> {
        self.whole()
    }

    fn spare(&self, _parts: usize) -> Result<Vec<Vec<MemoryFrame>>, String> {
        Ok(vec![vec![MemoryFrame::empty(); self.spare]])
    }

    fn pool(&self) -> MemoryPool {
        MemoryPool::new(SPARE)
    }
}

/// A pool that holds what a case and its calibration need.
pub(crate) struct Packets {
    /// The pool.
    pub pool: Mempool,
    /// In words.
    pub described: String,
    burst: usize,
    /// Frames in a circle of one worker's, and in one of the calibration's.
    circle: usize,
    whole: usize,
    /// Frames beside those in circles.
    further: usize,
    _eal: Eal,
}

impl Packets {
    /// Starts DPDK.
    pub(crate) fn new(arguments: &Arguments) -> Result<Self, String> {
        // In turn, the workers share one circle's length among them; on cores of their own each has a whole one, and its
        // own calibration.
        let (shares, copies) = if arguments.variant.threads {
            (1, arguments.variant.workers as usize)
        } else {
            (arguments.variant.workers, 1)
        };
        let (circle, whole) = (arguments.frames(shares), arguments.frames(1));
        let further = if arguments.variant.threads {
            threads::SPARE * copies
        } else {
            fleet::spare(arguments.variant.workers, arguments.burst)
        };
        let frames = (circle * shares as usize + whole) * copies + further + SPARE;
        // 2,432 bytes a frame with all that a pool keeps of it, and on ordinary pages a page of its own, because no frame
        // of DPDK's crosses one.
        let mib = ((frames as u64 * 4096) >> 20) as u32 + 64;
        let huge = !arguments.variant.ordinary_pages && huge_pages_free_mib() >= u64::from(mib);
        let memory = if huge { dpdk::Memory::HugePages } else { dpdk::Memory::Ordinary { mib } };
        let options = Options {
            memory,
            polling: Vec::new(),
            devices: Vec::new(),
            extra: vec!["--log-level=*:error".to_owned()],
        };
        let eal = Eal::start(&options).map_err(|error| error.to_string())?;
        let pool = Mempool::new(&eal, "bench", frames as u32).map_err(|error| error.to_string())?;
        let described = format!(
            "{}: {} mbufs in rotation, {}, on {} pages",
            if arguments.variant.warm { "warm" } else { "cold" },
            circle * shares as usize,
            if arguments.variant.warm {
                "written just before their turn"
            } else {
                "written half a round before their turn"
            },
            if huge { "2 MiB" } else { "4 KiB" }
        );
        Ok(Self { pool, described, burst: arguments.burst, circle, whole, further, _eal: eal })
    }

    fn of_length(&self, frames: usize) -> Result<Rotation<Mbuf>, String> {
        Rotation::of_pool(&self.pool, frames, self.burst).ok_or_else(|| "the pool is too small".to_owned())
    }
}

impl FrameMemory for Packets {
    type Frame = Mbuf;
    type Pool = Mempool;

    fn whole(&self) -> Result<Rotation<Mbuf>, String> {
        self.of_length(self.whole)
    }

    fn circle(&self) -> Result<Rotation<Mbuf>, String> {
        self.of_length(self.circle)
    }

    fn spare(&self, parts: usize) -> Result<Vec<Vec<Mbuf>>, String> {
        let each = self.further / parts;
        let part = |_| {
            let mut frames = Vec::with_capacity(each);
            let found = self.pool.alloc_bulk(&mut frames, each);
            found.then_some(frames).ok_or_else(|| "the pool is too small".to_owned())
        };
        (0..parts).map(part).collect()
    }

    fn pool(&self) -> Mempool {
        self.pool.clone()
    }
}
