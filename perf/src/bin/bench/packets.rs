//! Packet memory from DPDK.

use crate::arguments::Arguments;
use ces_perf::fleet;
use ces_perf::memory::huge_pages_free_mib;
use ces_perf::rotation::Rotation;
use ces_perf::threads;
use dpdk::{Eal, Mbuf, Memory, Mempool, Options};

/// Frames in the pool beyond those in rotation, for what a worker makes itself.
pub const SPARE: usize = 511;

/// A pool that holds what a case and its calibration need.
pub struct Packets {
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
    pub fn new(arguments: &Arguments) -> Result<Self, String> {
        // In turn, the workers share one circle's length among them; on cores of their own each has a whole one, and its
        // own calibration.
        let (shares, copies) =
            if arguments.threads { (1, arguments.workers as usize) } else { (arguments.workers, 1) };
        let (circle, whole) = (arguments.frames(shares), arguments.frames(1));
        let further = if arguments.threads {
            threads::SPARE * copies
        } else {
            fleet::spare(arguments.workers, arguments.burst)
        };
        let frames = (circle * shares as usize + whole) * copies + further + SPARE;
        // 2,432 bytes a frame with all that a pool keeps of it, and on ordinary pages a page of its own, because no frame
        // of DPDK's crosses one.
        let mib = ((frames as u64 * 4096) >> 20) as u32 + 64;
        let huge = !arguments.ordinary_pages && huge_pages_free_mib() >= u64::from(mib);
        let memory = if huge { Memory::HugePages } else { Memory::Ordinary { mib } };
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
            if arguments.warm { "warm" } else { "cold" },
            circle * shares as usize,
            if arguments.warm {
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

    /// A worker's circle.
    pub fn circle(&self) -> Result<Rotation<Mbuf>, String> {
        self.of_length(self.circle)
    }

    /// A whole circle, for a case without workers and for the calibration.
    pub fn whole(&self) -> Result<Rotation<Mbuf>, String> {
        self.of_length(self.whole)
    }

    /// The frames beside those in circles, in so many parts.
    pub fn further(&self, parts: usize) -> Result<Vec<Vec<Mbuf>>, String> {
        let each = self.further / parts;
        let part = |_| {
            let mut frames = Vec::with_capacity(each);
            let found = self.pool.alloc_bulk(&mut frames, each);
            found.then_some(frames).ok_or_else(|| "the pool is too small".to_owned())
        };
        (0..parts).map(part).collect()
    }
}
