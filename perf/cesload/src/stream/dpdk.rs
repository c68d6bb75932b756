//! The engine over ports of DPDK: threads with a core and an lcore id, and links that can go.

use super::{StreamEngine, Surroundings};
use crate::port::{self, OpenPort, Ports};
use crate::profile::Profile;
use ces_dataplane::io::dpdk::DpdkPort;
use dpdk::Mempool;
use std::any::Any;

/// The engine over ports of DPDK.
pub type DpdkEngine = StreamEngine<DpdkPort, Mempool, DpdkPorts>;

/// The state of DPDK's ports.
pub struct DpdkPorts(Vec<OpenPort>);

impl Surroundings for DpdkPorts {
    fn fault(&self) -> Option<String> {
        port::fault(&self.0)
    }

    fn missed(&self) -> u64 {
        port::missed(&self.0)
    }
}

impl DpdkEngine {
    /// The engine for a profile on its open ports.
    pub fn over(profile: &Profile, ports: Ports) -> Result<Self, String> {
        let Ports { eal, ports, threads } = ports;
        let facts: Vec<_> = ports.iter().map(|port| port.facts.clone()).collect();
        let (mut cores, mut parts) = (Vec::new(), Vec::new());
        for thread in threads {
            cores.push(thread.core);
            let answers = ports.iter().map(|port| port.answers.clone()).cycle();
            parts.push((thread.io.ports.into_iter().zip(answers).collect(), thread.io.pool));
        }
        let enter = move |thread: usize| -> Result<Box<dyn Any>, String> {
            Ok(Box::new(port::enter(&eal, cores.get(thread).copied().unwrap_or(0))?))
        };
        Self::new(profile, &facts, parts, Box::new(enter), DpdkPorts(ports))
    }
}
