//! Sends a device one packet of each binding and compares what comes out with what must.
//!
//! It is also the warm-up: flow caches and connection tables are filled before anything is measured.

use crate::frame::{self, Task};
use crate::realm::Realm;
use ces_dataplane::frame::Frame;
use ces_dataplane::io::dpdk::{WorkerIo, start};
use ces_dataplane::io::{Pool, Port};
use dpdk::{Eal, Mbuf, Memory, Options, PortConfig, RegisteredThread};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Bindings whose packet came out as it must.
    pub right: u32,
    /// Packets that came out otherwise.
    pub wrong: u32,
    /// Bindings whose packet did not come out.
    pub missing: u32,
    /// What was wrong with the first one.
    pub first: Option<String>,
}

impl Outcome {
    /// An error unless all was right.
    pub fn check(&self) -> Result<(), String> {
        if self.wrong == 0 && self.missing == 0 {
            return Ok(());
        }
        let first = self.first.as_deref().unwrap_or("no packet of ours came out");
        let Self { right, wrong, missing, .. } = self;
        Err(format!(
            "translates wrongly: {right} bindings right, {wrong} packets wrong, {missing} missing; {first}"
        ))
    }
}

/// Packets under way at once: less than any queue on the way holds.
const BURST: usize = 32;
/// How long a port may take to come up.
const LINK_WAIT: Duration = Duration::from_secs(5);
/// After this long without an answer, what is missing is sent again: the first packets may have been lost to ARP or to a
/// flow being set up.
const AGAIN: Duration = Duration::from_millis(200);
/// How often that is done.
const ROUNDS: u32 = 15;
/// How long a burst waits for its packets.
const BURST_WAIT: Duration = Duration::from_micros(500);

/// Does it, on the calling thread, and tells of it while the ports are still open. It sends on the first of so many queues,
/// and listens on all.
pub fn run(
    realm: &Realm,
    task: Task,
    devices: [&str; 2],
    queues: u16,
    core: usize,
    memory: Memory,
    tell: impl FnOnce(&Outcome),
) -> Result<(), String> {
    let text = |error: dpdk::Error| error.to_string();
    let names: Vec<String> = devices.iter().map(|&device| device.to_owned()).collect();
    let eal = Eal::start(&Options { memory, polling: vec![core], devices: names.clone(), extra: Vec::new() })
        .map_err(text)?;
    let config = PortConfig { promiscuous: true, ..PortConfig::default() };
    let devices: Vec<_> = names.into_iter().map(|device| (device, config.clone())).collect();
    let (ports, shares) = start(&eal, &devices, queues).map_err(text)?;
    let end = Instant::now() + LINK_WAIT;
    for port in &ports {
        while !port.link().map_err(text)?.up {
            if Instant::now() > end {
                return Err(format!("{} is not connected after {} s", port.name(), LINK_WAIT.as_secs()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    machine::pin_to_core(core).map_err(|error| format!("cannot stay on core {core}: {error}"))?;
    let registered = RegisteredThread::new(&eal).map_err(text)?;
    let outcome = exchange(realm, task, shares);
    drop(registered);
    tell(&outcome);
    Ok(())
}

struct Tally<'a> {
    realm: &'a Realm,
    task: Task,
    seen: Vec<bool>,
    outcome: Outcome,
}

impl Tally<'_> {
    fn look(&mut self, frame: &[u8]) {
        let judged = match frame::read(frame) {
            None => return,
            Some(Err(error)) => Err(error),
            Some(Ok(seen)) => frame::compare(self.realm, self.task, &seen).map(|()| seen.entry),
        };
        match judged {
            Ok(entry) => self.seen[entry as usize] = true,
            Err(error) => {
                self.outcome.wrong += 1;
                self.outcome.first.get_or_insert(error);
            }
        }
    }
}

fn exchange(realm: &Realm, task: Task, mut queues: Vec<WorkerIo>) -> Outcome {
    let (from, to) = task.ports();
    let seen = vec![false; realm.len() as usize];
    let mut tally = Tally { realm, task, seen, outcome: Outcome::default() };
    let mut received: Vec<Mbuf> = Vec::with_capacity(BURST * 2);
    for _ in 0..ROUNDS {
        let missing: Vec<u32> = (0..realm.len()).filter(|&entry| !tally.seen[entry as usize]).collect();
        if missing.is_empty() {
            break;
        }
        for burst in missing.chunks(BURST) {
            let mut frames: Vec<Mbuf> = Vec::with_capacity(BURST);
            for &entry in burst {
                let bytes = frame::packet(realm, entry, task.way());
                let Some(mut frame) = queues[0].pool.allocate() else { break };
                if frame.extend(bytes.len()) {
                    frame.data_mut().copy_from_slice(&bytes);
                    frames.push(frame);
                }
            }
            while !frames.is_empty() && queues[0].ports[from].tx_burst(&mut frames) > 0 {}
            let end = Instant::now() + BURST_WAIT;
            while Instant::now() < end && burst.iter().any(|&entry| !tally.seen[entry as usize]) {
                listen(&mut queues, to, &mut received, &mut tally);
            }
        }
        let end = Instant::now() + AGAIN;
        while Instant::now() < end && tally.seen.iter().any(|seen| !seen) {
            listen(&mut queues, to, &mut received, &mut tally);
        }
    }
    tally.outcome.right = tally.seen.iter().filter(|seen| **seen).count() as u32;
    tally.outcome.missing = realm.len() - tally.outcome.right;
    tally.outcome
}

/// Takes what both ports have; only what comes out at `to` is looked at.
fn listen(queues: &mut [WorkerIo], to: usize, received: &mut Vec<Mbuf>, tally: &mut Tally) {
    for (number, port) in queues.iter_mut().flat_map(|queue| queue.ports.iter_mut().enumerate()) {
        port.rx_burst(received);
        for frame in received.drain(..) {
            if number == to {
                tally.look(frame.data());
            }
        }
    }
}
