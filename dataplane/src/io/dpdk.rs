//! Ports of DPDK: mbufs as frames, one queue pair of every port for each worker.

use super::{Pool, PortQueues};
use crate::frame::Frame;
use crate::worker::HELD_MOST;
use ::dpdk::{Eal, Error, Mbuf, Mempool, PortConfig, RxQueue, TxQueue};

/// Bytes of a cache line.
const CACHE_LINE: usize = 64;

impl Frame for Mbuf {
    #[inline(always)]
    fn data(&self) -> &[u8] {
        Mbuf::data(self)
    }

    #[inline(always)]
    fn data_mut(&mut self) -> &mut [u8] {
        Mbuf::data_mut(self)
    }

    #[inline(always)]
    fn prepend(&mut self, count: usize) -> bool {
        Mbuf::prepend(self, count)
    }

    #[inline(always)]
    fn trim_front(&mut self, count: usize) {
        self.adj(count.min(self.len()));
    }

    #[inline(always)]
    fn truncate(&mut self, length: usize) {
        self.trim(self.len().saturating_sub(length));
    }

    #[inline(always)]
    fn reshape(&mut self, at: usize, length: usize, rest: usize) -> Option<&mut [u8]> {
        Mbuf::reshape(self, at, length, rest)
    }

    #[inline(always)]
    fn extend(&mut self, count: usize) -> bool {
        self.append(count)
    }

    #[inline(always)]
    fn prefetch_handle(&self) {
        Mbuf::prefetch_handle(self);
    }

    #[inline(always)]
    fn prefetch(&self) {
        let data = Mbuf::data(self);
        machine::prefetch(data);
        if let Some(second) = data.get(CACHE_LINE..) {
            machine::prefetch(second);
        }
    }

    #[inline(always)]
    fn prefetch_headroom(&self) {
        Mbuf::prefetch_headroom(self);
    }
}

/// One queue pair of a port.
#[derive(Debug)]
pub struct DpdkPort {
    rx: RxQueue,
    tx: TxQueue,
    refused_before: u64,
}

impl DpdkPort {
    /// A worker's view of a port.
    pub fn new(rx: RxQueue, tx: TxQueue) -> Self {
        Self { rx, tx, refused_before: 0 }
    }
}

impl PortQueues for DpdkPort {
    type Frame = Mbuf;

    #[inline]
    fn rx_burst(&mut self, frames: &mut Vec<Mbuf>) -> usize {
        self.rx.burst(frames)
    }

    #[inline]
    fn tx_burst(&mut self, frames: &mut Vec<Mbuf>) -> usize {
        self.tx.burst(frames)
    }

    #[inline]
    fn take_refused(&mut self) -> u64 {
        let refused = self.rx.refused();
        refused - std::mem::replace(&mut self.refused_before, refused)
    }
}

impl Pool for Mempool {
    type Frame = Mbuf;

    #[inline]
    fn allocate(&mut self) -> Option<Mbuf> {
        self.alloc()
    }

    #[inline]
    fn free(&mut self, frames: &mut Vec<Mbuf>) {
        if !frames.is_empty() {
            Mbuf::free_bulk(frames);
        }
    }
}

/// What one worker gets of the ports.
#[derive(Debug)]
pub struct WorkerIo {
    /// Its queue pair of each port, in the order of the configuration.
    pub ports: Vec<DpdkPort>,
    /// Its pool.
    pub pool: Mempool,
}

/// Frames that a worker holds outside the ports' queues: bursts under way, hand-off rings, caches. Generous: 4 MiB.
const FRAMES_UNDER_WAY: u32 = 2048;

/// A share for each worker, still without ports: a pool each, large enough for so many frames in queues and held, and those
/// under way.
pub fn shares(eal: &Eal, workers: u16, waiting: u32) -> Result<Vec<WorkerIo>, Error> {
    let frames = (waiting + FRAMES_UNDER_WAY).next_power_of_two() - 1; // DPDK's rings suit one below a power of two
    (0..workers)
        .map(|worker| {
            let pool = Mempool::new(eal, &format!("worker{worker}"), frames)?;
            Ok(WorkerIo { ports: Vec::new(), pool })
        })
        .collect()
}

/// Opens and starts a port, with a queue pair for each share; they are in the order of the shares.
///
/// `device` is a name as for [`::dpdk::Port::open`]; `queues` of the settings is overwritten.
pub fn start_port(
    eal: &Eal,
    device: &str,
    config: &PortConfig,
    shares: &[WorkerIo],
) -> Result<(::dpdk::Port, Vec<DpdkPort>), Error> {
    let mut port = ::dpdk::Port::open(eal, device)?;
    let config = PortConfig { queues: shares.len() as u16, ..config.clone() };
    let pools: Vec<_> = shares.iter().map(|share| share.pool.clone()).collect();
    let queues = port.start(&config, &pools)?;
    Ok((port, queues.into_iter().map(|(rx, tx)| DpdkPort::new(rx, tx)).collect()))
}

/// Opens and starts ports, with a queue pair of each for every worker and a pool for each worker. What else is said of
/// them is as for [`start_port`].
///
/// At shaped ports so many frames may wait in each worker beside those in the ports' own queues.
///
/// Returned are the ports, for their settings and counters, and the workers' shares.
pub fn start(
    eal: &Eal,
    devices: &[(String, PortConfig)],
    workers: u16,
    shaped: u32,
) -> Result<(Vec<::dpdk::Port>, Vec<WorkerIo>), Error> {
    // A frame is at most in one place: a receive queue of its worker, a transmit queue, under way, or held by any worker,
    // since a worker holds also what another received and handed over.
    let queued: u32 = devices
        .iter()
        .map(|(_, config)| u32::from(config.rx_descriptors) + u32::from(config.tx_descriptors))
        .sum();
    let held = (HELD_MOST as u32 + shaped) * u32::from(workers);
    let mut shares = shares(eal, workers, queued + held)?;
    let mut ports = Vec::with_capacity(devices.len());
    for (device, config) in devices {
        let (port, queues) = start_port(eal, device, config, &shares)?;
        for (share, queue) in shares.iter_mut().zip(queues) {
            share.ports.push(queue);
        }
        ports.push(port);
    }
    Ok((ports, shares))
}
