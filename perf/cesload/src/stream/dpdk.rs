//! The engine over ports of DPDK: threads with a core and an lcore id, and links that can go.

use super::{PortFacts, StreamEngine, Surroundings, Watched};
use crate::port::{OpenPort, Ports};
use crate::profile::Profile;
use ces_dataplane::io::dpdk::DpdkPort;
use dpdk::{Mempool, RegisteredThread};
use std::any::Any;

/// The engine over ports of DPDK.
pub type DpdkEngine = StreamEngine<DpdkPort, Mempool, DpdkThreads, DpdkPorts>;

/// What threads over DPDK's ports need: a core, and to be known to DPDK.
pub struct DpdkThreads {
    eal: dpdk::Eal,
    cores: Vec<usize>,
}

impl Surroundings for DpdkThreads {
    fn enter(&self, thread: usize) -> Result<Box<dyn Any>, String> {
        let core = self.cores.get(thread).copied().unwrap_or(0);
        machine::pin_to_core(core).map_err(|error| format!("core {core} cannot be used: {error}"))?;
        let registered = RegisteredThread::new(&self.eal).map_err(|error| error.to_string())?;
        Ok(Box::new(registered))
    }
}

/// The state of DPDK's ports.
pub struct DpdkPorts(Vec<OpenPort>);

impl Watched for DpdkPorts {
    fn fault(&self) -> Option<String> {
        self.0.iter().find_map(|port| match port.device.link() {
            Ok(link) if link.up => None,
            Ok(_) => Some(format!("port {}: the link is gone; its peer has left, or its cable", port.name)),
            Err(error) => Some(format!("port {}: {error}", port.name)),
        })
    }

    fn missed(&self) -> u64 {
        let of =
            |port: &OpenPort| port.device.stats().map_or(0, |stats| stats.rx_missed + stats.rx_no_buffer);
        self.0.iter().map(of).sum()
    }

    fn name(&self, port: usize) -> String {
        self.0.get(port).map(|port| port.name.clone()).unwrap_or_default()
    }
}

impl DpdkEngine {
    /// The engine for a profile on its open ports.
    pub fn over(profile: &Profile, ports: Ports) -> Result<Self, String> {
        let facts: Vec<PortFacts> = ports
            .ports
            .iter()
            .map(|port| PortFacts {
                mac: port.mac,
                peer: port.peer,
                vlan: port.vlan,
                speed_bps: port.speed_bps,
            })
            .collect();
        let answers: Vec<_> = ports.ports.iter().map(|port| port.answers.clone()).collect();
        let mut cores = Vec::new();
        let mut threads = Vec::new();
        for thread in ports.threads {
            cores.push(thread.core);
            let queues = thread.io.ports.into_iter().zip(answers.iter().cycle().cloned()).collect();
            threads.push((queues, thread.io.pool));
        }
        let surroundings = DpdkThreads { eal: ports.eal, cores };
        Self::new(profile, &facts, threads, surroundings, DpdkPorts(ports.ports))
    }
}
