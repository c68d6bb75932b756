//! The gateway's own fleet of one worker on two ports, with bindings inserted by command and static neighbours. There is no
//! control plane: what would be punted is dropped here and counted.

use crate::realm::Realm;
use ces_control::config;
use ces_control::fleet::Fleet;
use ces_dataplane::counters::Counters;
use ces_dataplane::io::dpdk::start;
use ces_dataplane::msg::Event;
use ces_dataplane::reason::DropReason;
use ces_dataplane::worker::{Bell, RingSizes};
use dpdk::{Eal, Memory, Options, PortConfig};
use machine::Clock;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Descriptors of each queue, as `cesd` has them.
const DESCRIPTORS: u16 = 1024;
/// A full command ring is emptied in much less.
const RING_WAIT: Duration = Duration::from_micros(50);

/// A running worker.
pub(crate) struct Dut {
    fleet: Fleet,
    _ports: Vec<dpdk::Port>,
}

impl Dut {
    /// Starts a worker on `core` with the realm's bindings in place; the ports are towards the hosts and the peers.
    pub(crate) fn start(
        realm: &Realm,
        ports: [&str; 2],
        core: usize,
        memory: Memory,
    ) -> Result<Self, String> {
        ces_control::fleet::check_cores(&[core]).map_err(|error| error.to_string())?;
        let devices = ports.map(str::to_owned);
        let polling = vec![core];
        let eal = Eal::start(&Options { memory, polling, devices: devices.to_vec(), extra: Vec::new() })
            .map_err(|error| error.to_string())?;
        let config = PortConfig {
            rx_descriptors: DESCRIPTORS,
            tx_descriptors: DESCRIPTORS,
            promiscuous: true,
            ..PortConfig::default()
        };
        let devices = devices.map(|device| (device, config.clone()));
        let (ports, shares) = start(&eal, &devices, 1, 0).map_err(|error| error.to_string())?;
        let rings = RingSizes::default();
        let worker = config::WorkerSection {
            cores: vec![core],
            idle_sleep_us: 0,
            ring: rings.commands as u32,
            frames: rings.punt as u32,
        };
        let fleet =
            Fleet::start(&eal, &worker, &realm.settings, shares, Vec::new(), Clock::new(), Bell::silent())
                .map_err(|error| error.to_string())?;
        let mut dut = Self { fleet, _ports: ports };
        for command in realm.commands() {
            dut.fleet.command(0, command);
            while !dut.fleet.drain() {
                dut.check()?;
                std::thread::sleep(RING_WAIT);
            }
        }
        while dut.fleet.snapshot(0).bindings_live < u64::from(realm.len()) {
            dut.check()?;
            std::thread::sleep(RING_WAIT);
        }
        Ok(dut)
    }

    /// Looks after the rings: events are taken, frames for the control plane are let go. An error is what no realm of
    /// ours should cause.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        while let Some(event) = self.fleet.event(0) {
            if let Event::InsertFailed(handle, error) = event {
                return Err(format!("binding {handle:?} was not inserted: {error:?}"));
            }
        }
        while self.fleet.punted(0, |_| ()).is_some() {}
        if self.fleet.is_broken() { Err("the worker has ended by itself".to_owned()) } else { Ok(()) }
    }

    /// What it counted, as published within the last millisecond.
    pub(crate) fn counted(&self) -> Value {
        counted(&self.fleet.snapshot(0))
    }

    /// Ends it; what it counted in all.
    pub(crate) fn stop(mut self) -> Value {
        self.fleet.stop();
        self.counted()
    }
}

/// Packets inside and outside, cycles of turns with and without something to do, and drops by reason, if there were any.
fn counted(counters: &Counters) -> Value {
    let drops = DropReason::ALL.iter().zip(&counters.drops).filter(|(_, count)| **count > 0);
    let drops: BTreeMap<&str, u64> = drops.map(|(reason, count)| (reason.label(), *count)).collect();
    let packets = counters.rx_packets[0] + counters.rx_packets[1];
    let cycles = (packets > 0).then(|| counters.busy_cycles as f64 / packets as f64);
    json!({
        "received": [counters.rx_packets[0], counters.rx_packets[1]],
        "sent": [counters.tx_packets[0], counters.tx_packets[1]],
        "cycles_per_packet": cycles,
        "busy_cycles": counters.busy_cycles,
        "idle_cycles": counters.idle_cycles,
        "busy_turns": counters.busy_turns,
        "bindings": counters.bindings_live,
        // Empty, 1, 2 to 3, 4 to 7, …, 64 and more.
        "bursts": counters.bursts,
        "drops": drops,
        "punted": counters.punts.iter().sum::<u64>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_are_of_busy_turns_and_received_packets() {
        let mut counters = Counters::default();
        assert_eq!(counted(&counters)["cycles_per_packet"], Value::Null);
        counters.rx(0, 30, 1800);
        counters.rx(1, 10, 1100);
        counters.drop(DropReason::NoBinding);
        counters.busy_cycles = 4000;
        counters.idle_cycles = 12_000;
        let counted = counted(&counters);
        assert_eq!(
            (&counted["cycles_per_packet"], &counted["drops"]["no_binding"]),
            (&json!(100.0), &json!(1))
        );
    }
}
