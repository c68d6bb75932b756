//! The devices under test. Each is started for a setup, on a core, with a realm, and ended when it is dropped.

mod gateway;
mod kernel;
mod memif;
mod ovs;
mod testpmd;
mod veth;

use crate::memory::Pages;
use crate::process::{Place, Process};
use crate::realm::Realm;
use crate::soaker::Shares;
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

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
    /// Whose its core was, if that was watched.
    pub core: Option<Shares>,
}

/// Above this part of the core, what other programs had of it makes too much of a guess of the rest.
const OTHERS_MOST: f64 = 0.2;

impl Own {
    /// Cycles a packet since `before`; an error if they cannot be told.
    pub fn cycles_per_packet_since(&self, before: &Own) -> Result<f64, String> {
        if let (Some(core), Some(was)) = (self.core, before.core) {
            let others = (core.others - was.others) / (core.all - was.all).max(1.0);
            if others > OTHERS_MOST {
                return Err(format!(
                    "other programs had {:.0} % of the device's core, so its cycles are not known",
                    others * 100.0
                ));
            }
        }
        let packets = self.packets - before.packets;
        if packets > 0.0 { Ok((self.cycles - before.cycles) / packets) } else { Err(NO_PACKETS.to_owned()) }
    }
}

/// What is said of a device whose cycles are missing for want of packets.
pub const NO_PACKETS: &str = "the device counted no packets of its own";

/// How the generator reaches a device.
#[derive(Clone, Debug)]
pub struct Reach {
    /// The generator's ports: towards the device's inside and its outside.
    pub ports: [String; 2],
    /// Queues of each; it sends on the first, and listens on all.
    pub queues: u16,
    /// Where the generator runs.
    pub place: Place,
}

impl Reach {
    /// By memif.
    fn memif(setting: &Setting) -> Self {
        let place = Place { core: Some(setting.generator_core), namespace: None };
        Self { ports: memif::devices(setting.scratch, memif::End::Generator), queues: 1, place }
    }

    /// By the far ends of the virtual interfaces.
    fn veth(setting: &Setting, veth: &veth::Veth) -> Self {
        let namespace = Some(veth.generator_namespace());
        let place = Place { core: Some(setting.generator_core), namespace };
        Self { ports: veth::generator_ports(), queues: 1, place }
    }
}

/// How long a generator may take to go.
const LEAVE_WAIT: Duration = Duration::from_secs(5);

/// A running device.
pub trait Device {
    /// How the generator reaches it.
    fn reach(&self) -> &Reach;

    /// Its process, if it is one.
    fn process(&mut self) -> Option<&mut Process>;

    /// An error if it has ended by itself.
    fn check(&mut self) -> Result<(), String> {
        self.process().map_or(Ok(()), Process::check)
    }

    /// Lets a generator go that is connected, and waits for it.
    fn part(&mut self, generator: Process) -> Result<(), String> {
        generator.finish(LEAVE_WAIT)
    }

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
        let own = |cycles, packets| Own { cycles, packets, core: None };
        let (before, after) = (own(1000.0, 10.0), own(3000.0, 30.0));
        assert_eq!(after.cycles_per_packet_since(&before), Ok(100.0));
        assert_eq!(before.cycles_per_packet_since(&before), Err(NO_PACKETS.to_owned()));
    }

    #[test]
    fn a_core_that_others_had_tells_nothing() {
        let own = |cycles, packets, all, others| {
            let core = Some(Shares { all, kernel: cycles, others });
            Own { cycles, packets, core }
        };
        let before = own(100.0, 1.0, 1000.0, 900.0);
        assert_eq!(own(200.0, 11.0, 2000.0, 1100.0).cycles_per_packet_since(&before), Ok(10.0));
        let error = own(200.0, 11.0, 2000.0, 1300.0).cycles_per_packet_since(&before).unwrap_err();
        assert!(error.contains("40 %"), "{error}");
    }
}
