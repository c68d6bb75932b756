//! The devices under test. Each is started for a setup, on a core, with a realm, and ended when it is dropped.

mod gateway;
mod kernel;
mod memif;
mod ovs;
mod testpmd;
mod veth;

use crate::memory::Pages;
use crate::process::Place;
use crate::realm::Realm;
use serde::Serialize;
use std::path::Path;

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The gateway's worker.
    Gateway,
    /// `dpdk-testpmd` in this mode.
    Testpmd(&'static str),
    /// Open vSwitch over DPDK.
    Ovs(ovs::Rules),
    /// The kernel.
    Kernel(kernel::Rules),
}

pub use kernel::Rules as KernelRules;
pub use ovs::Rules as OvsRules;

/// What joins the device to the generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Wire {
    /// `net_memif` between the two processes.
    Memif,
    /// Pairs of virtual Ethernet interfaces between two namespaces.
    Veth,
}

impl Wire {
    /// As it stands in the table.
    pub fn label(self) -> &'static str {
        match self {
            Self::Memif => "memif",
            Self::Veth => "veth",
        }
    }
}

/// What a device needs to be started.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// Its realm.
    pub realm: &'a Realm,
    /// How many peers the realm was made with.
    pub peers: u16,
    /// What joins it to the generator.
    pub wire: Wire,
    /// Its core.
    pub core: usize,
    /// The generator's core.
    pub generator_core: usize,
    /// Where packet memory comes from.
    pub pages: Pages,
    /// A directory for its sockets and logs.
    pub scratch: &'a Path,
    /// Where our own programs are.
    pub programs: &'a Path,
}

/// What a device counted of its own work; only differences mean something.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Own {
    /// Cycles of the time-stamp counter.
    pub cycles: f64,
    /// Packets that it spent them on.
    pub packets: f64,
}

impl Own {
    /// Cycles a packet since `before`; `None` without packets.
    pub fn cycles_per_packet_since(&self, before: &Own) -> Option<f64> {
        let packets = self.packets - before.packets;
        (packets > 0.0).then(|| (self.cycles - before.cycles) / packets)
    }
}

/// A running device.
pub trait Device {
    /// The generator's ports: towards the device's inside and its outside.
    fn generator_ports(&self) -> [String; 2];

    /// Queues of each of the generator's ports; it sends on the first, and listens on all.
    fn generator_queues(&self) -> u16 {
        1
    }

    /// Where the generator runs.
    fn generator_place(&self) -> Place;

    /// An error if it has ended by itself.
    fn check(&mut self) -> Result<(), String>;

    /// Whether it forgets what it counted when the generator leaves, so that it has to be asked meanwhile.
    fn forgets(&self) -> bool {
        false
    }

    /// What the device counted so far.
    fn own(&mut self) -> Result<Own, String>;
}

/// Starts a device.
pub fn start(kind: Kind, setting: Setting) -> Result<Box<dyn Device>, String> {
    Ok(match kind {
        Kind::Gateway => Box::new(gateway::start(setting)?),
        Kind::Testpmd(mode) => Box::new(testpmd::start(mode, setting)?),
        Kind::Ovs(rules) => Box::new(ovs::start(rules, setting)?),
        Kind::Kernel(rules) => Box::new(kernel::start(rules, setting)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_are_of_the_packets_between_two_looks() {
        let before = Own { cycles: 1000.0, packets: 10.0 };
        let after = Own { cycles: 3000.0, packets: 30.0 };
        assert_eq!(after.cycles_per_packet_since(&before), Some(100.0));
        assert_eq!(before.cycles_per_packet_since(&before), None);
    }
}
