//! The gateway as a device under test: its own worker loop over DPDK ports, with bindings inserted by command and static
//! neighbours. No control plane: what would be punted is dropped here and counted.

use crate::realm::Realm;
use ces_dataplane::counters::{BURSTS, Counters};
use ces_dataplane::io::dpdk::{WorkerIo, start};
use ces_dataplane::msg::Event;
use ces_dataplane::reason::DropReason;
use ces_dataplane::state::State;
use ces_dataplane::worker::{Bell, ControlSide, Idle, Mesh, Parts, RingSizes, Worker, link};
use dpdk::{Eal, Memory, Options, PortConfig, RegisteredThread};
use machine::Clock;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

/// What the worker counted so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    /// Packets received, inside and outside.
    pub received: [u64; 2],
    /// Packets sent, inside and outside.
    pub sent: [u64; 2],
    /// Cycles of turns in which there was something to do.
    pub busy_cycles: u64,
    /// Cycles of turns in which there was nothing to do.
    pub idle_cycles: u64,
    /// Turns in which there was something to do.
    pub busy_turns: u64,
    /// Bindings.
    pub bindings: u64,
    /// Receive bursts by size: empty, 1, 2 to 3, 4 to 7, …, 64 and more.
    pub bursts: [u64; BURSTS],
    /// Packets dropped, by reason; only those of which there were any.
    pub drops: BTreeMap<String, u64>,
    /// Packets that a gateway would have given to its control plane.
    pub punted: u64,
}

impl Counted {
    fn of(counters: &Counters) -> Self {
        let drops = DropReason::ALL.iter().zip(&counters.drops).filter(|(_, count)| **count > 0);
        Self {
            received: [counters.rx_packets[0], counters.rx_packets[1]],
            sent: [counters.tx_packets[0], counters.tx_packets[1]],
            busy_cycles: counters.busy_cycles,
            idle_cycles: counters.idle_cycles,
            busy_turns: counters.busy_turns,
            bindings: counters.bindings_live,
            bursts: counters.bursts,
            drops: drops.map(|(reason, count)| (reason.label().to_owned(), *count)).collect(),
            punted: counters.punts.iter().sum(),
        }
    }

    /// Packets received.
    pub fn packets(&self) -> u64 {
        self.received.iter().sum()
    }

    /// Cycles of busy turns for each packet received; `None` before the first.
    pub fn cycles_per_packet(&self) -> Option<f64> {
        (self.packets() > 0).then(|| self.busy_cycles as f64 / self.packets() as f64)
    }
}

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [inside, outside] = self.received;
        let [sent_inside, sent_outside] = self.sent;
        writeln!(f, "received      {inside} inside, {outside} outside")?;
        writeln!(f, "sent          {sent_inside} inside, {sent_outside} outside")?;
        match self.cycles_per_packet() {
            Some(cycles) => writeln!(f, "cycles/packet {cycles:.1} (busy turns only)")?,
            None => writeln!(f, "cycles/packet - (no packet was received)")?,
        }
        let all = (self.busy_cycles + self.idle_cycles).max(1);
        writeln!(f, "busy          {:.1} % of the time", 100.0 * self.busy_cycles as f64 / all as f64)?;
        write!(f, "bursts       ")?;
        for (size, count) in BURST_SIZES.iter().zip(&self.bursts) {
            write!(f, " {size}: {count}")?;
        }
        writeln!(f, "\npunted        {} (and let go: there is no control plane)", self.punted)?;
        if self.drops.is_empty() {
            return write!(f, "dropped       none");
        }
        let drops: Vec<_> = self.drops.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        write!(f, "dropped       {}", drops.join(", "))
    }
}

/// What the places of [`Counted::bursts`] mean.
const BURST_SIZES: [&str; BURSTS] = ["0", "1", "2-3", "4-7", "8-15", "16-31", "32-63", "64+"];

/// A running worker.
pub struct Running {
    control: ControlSide,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _ports: Vec<dpdk::Port>,
}

/// Descriptors of each queue, as `cesd` has them.
const DESCRIPTORS: u16 = 1024;
/// A full command ring is emptied in much less.
const RING_WAIT: Duration = Duration::from_micros(50);

impl Running {
    /// Starts a worker on `core` with the realm's bindings in place; the ports are towards the hosts and the peers.
    pub fn start(
        realm: &Realm,
        ports: [&str; 2],
        core: usize,
        memory: Memory,
        extra: Vec<String>,
    ) -> Result<Self, String> {
        let usable =
            machine::usable_cores().map_err(|error| format!("cannot tell the usable cores: {error}"))?;
        if !usable.contains(&core) {
            return Err(format!("core {core} is not usable; these are: {usable:?}"));
        }
        let devices: Vec<String> = ports.iter().map(|&device| device.to_owned()).collect();
        let eal = Eal::start(&Options { memory, polling: vec![core], devices: devices.clone(), extra })
            .map_err(|error| error.to_string())?;
        let port = |device| {
            let config = PortConfig {
                rx_descriptors: DESCRIPTORS,
                tx_descriptors: DESCRIPTORS,
                promiscuous: true,
                ..PortConfig::default()
            };
            (device, config)
        };
        let devices: Vec<_> = devices.into_iter().map(port).collect();
        let (ports, mut shares) = start(&eal, &devices, 1).map_err(|error| error.to_string())?;
        let share = shares.pop().ok_or("no share of the ports for the worker")?;
        let (control, side) = link(RingSizes::default(), Arc::new(Bell::silent()));
        let stop = Arc::new(AtomicBool::new(false));
        let (settings, stopped) = (realm.settings.clone(), Arc::clone(&stop));
        let (ready, started) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("worker0".to_owned())
            .spawn(move || {
                let made = machine::pin_to_core(core)
                    .map_err(|error| format!("cannot stay on core {core}: {error}"))
                    .and_then(|()| RegisteredThread::new(&eal).map_err(|error| error.to_string()))
                    .and_then(|thread| {
                        State::new(&settings).map(|state| (thread, state)).map_err(|error| error.to_string())
                    });
                let (registered, state) = match made {
                    Ok(made) => made,
                    Err(error) => {
                        let _ = ready.send(Err(error));
                        return;
                    }
                };
                let WorkerIo { ports, pool } = share;
                let (mesh, clock, idle) = (Mesh::alone(), Clock::new(), Idle::default());
                let mut worker = Worker::new(Parts { state, ports, pool, control: side, mesh, clock, idle });
                let _ = ready.send(Ok(()));
                worker.run(&stopped);
                drop(worker);
                drop(registered);
            })
            .map_err(|error| format!("no thread for the worker: {error}"))?;
        started.recv().unwrap_or_else(|_| Err("the worker ended while it was started".to_owned()))?;
        let mut running = Self { control, stop, thread: Some(thread), _ports: ports };
        running.fill(realm)?;
        Ok(running)
    }

    /// Gives all commands and waits until they are carried out.
    fn fill(&mut self, realm: &Realm) -> Result<(), String> {
        for command in realm.commands() {
            let mut command = command;
            while let Err(refused) = self.control.commands.push(command) {
                command = refused;
                self.check()?;
                std::thread::sleep(RING_WAIT);
            }
        }
        while u32::try_from(self.counted().bindings).unwrap_or(u32::MAX) < realm.len() {
            self.check()?;
            std::thread::sleep(RING_WAIT);
        }
        Ok(())
    }

    /// Looks after the rings: events are taken, frames for the control plane are let go. An error is what no realm of
    /// ours should cause.
    pub fn check(&mut self) -> Result<(), String> {
        while let Some(event) = self.control.events.pop() {
            if let Event::InsertFailed(handle, error) = event {
                return Err(format!("binding {handle:?} was not inserted: {error:?}"));
            }
        }
        while self.control.punt.pop_with(|_| ()).is_some() {}
        if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            return Err("the worker has ended by itself".to_owned());
        }
        Ok(())
    }

    /// What it counted, as published within the last millisecond.
    pub fn counted(&self) -> Counted {
        Counted::of(&self.control.counters.snapshot())
    }

    /// Ends it; what it counted in all.
    pub fn stop(&mut self) -> Counted {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.counted()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_are_of_busy_turns_and_received_packets() {
        let mut counters = Counters::default();
        assert_eq!(Counted::of(&counters).cycles_per_packet(), None);
        counters.rx(0, 30, 1800);
        counters.rx(1, 10, 1100);
        counters.drop(DropReason::NoBinding);
        counters.busy_cycles = 4000;
        counters.idle_cycles = 12_000;
        let counted = Counted::of(&counters);
        assert_eq!(counted.cycles_per_packet(), Some(100.0));
        let text = counted.to_string();
        assert!(text.contains("25.0 %") && text.contains("1 no_binding"), "{text}");
        let again: Counted = serde_json::from_str(&serde_json::to_string(&counted).unwrap()).unwrap();
        assert_eq!(again, counted);
    }
}
