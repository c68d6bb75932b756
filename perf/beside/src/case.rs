//! What is measured: setups, each a device with a way to reach it, and the tasks that it is given.

use crate::device::{KernelRules, Kind, OvsRules, Wire};
use crate::frame::Task;

/// A device as it is set up, without the number of bindings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Its name, for `--only` and in the table.
    pub name: &'static str,
    /// The device.
    pub kind: Kind,
    /// What joins it to the generator.
    pub wire: Wire,
    /// What it is given to do, one after the other.
    pub tasks: &'static [Task],
    /// Whether what it does depends on the number of bindings.
    pub scales: bool,
    /// What it is, in a line.
    pub about: &'static str,
}

const BOTH: &[Task] = &[Task::Egress, Task::Ingress];

/// All of them, those that are compared next to each other.
pub const SETUPS: &[Setup] = &[
    Setup {
        name: "gateway",
        kind: Kind::Gateway,
        wire: Wire::Memif,
        tasks: BOTH,
        scales: true,
        about: "the gateway's worker: CES translation with VXLAN",
    },
    Setup {
        name: "gateway-local",
        kind: Kind::Gateway,
        wire: Wire::Memif,
        tasks: &[Task::Local],
        scales: false,
        about: "the gateway's worker: forwarding from host to host, addresses translated, no tunnel",
    },
    Setup {
        name: "testpmd-io",
        kind: Kind::Testpmd("io"),
        wire: Wire::Memif,
        tasks: &[Task::Pass],
        scales: false,
        about: "dpdk-testpmd, packets not looked at: the ceiling of the ports",
    },
    Setup {
        name: "testpmd-macswap",
        kind: Kind::Testpmd("macswap"),
        wire: Wire::Memif,
        tasks: &[Task::Pass],
        scales: false,
        about: "dpdk-testpmd, MAC addresses exchanged: the ceiling where packets are touched",
    },
    Setup {
        name: "ovs-forward",
        kind: Kind::Ovs(OvsRules::Forward),
        wire: Wire::Memif,
        tasks: &[Task::Forward],
        scales: false,
        about: "OVS-DPDK, one rule: time to live, MAC addresses, out",
    },
    Setup {
        name: "ovs-ces",
        kind: Kind::Ovs(OvsRules::Ces),
        wire: Wire::Memif,
        tasks: BOTH,
        scales: true,
        about: "OVS-DPDK, two rules for each binding: addresses, time to live, VXLAN",
    },
    Setup {
        name: "ovs-ct-nat",
        kind: Kind::Ovs(OvsRules::ConntrackNat),
        wire: Wire::Memif,
        tasks: &[Task::Nat],
        scales: true,
        about: "OVS-DPDK, connection tracking with source NAT, a connection for each binding",
    },
    Setup {
        name: "gateway-veth",
        kind: Kind::Gateway,
        wire: Wire::Veth,
        tasks: BOTH,
        scales: true,
        about: "the gateway's worker over AF_XDP on veth",
    },
    Setup {
        name: "gateway-local-veth",
        kind: Kind::Gateway,
        wire: Wire::Veth,
        tasks: &[Task::Local],
        scales: false,
        about: "the same from host to host",
    },
    Setup {
        name: "kernel-forward",
        kind: Kind::Kernel(KernelRules::Forward),
        wire: Wire::Veth,
        tasks: &[Task::Forward],
        scales: false,
        about: "Linux, routing",
    },
    Setup {
        name: "kernel-nat",
        kind: Kind::Kernel(KernelRules::Nat),
        wire: Wire::Veth,
        tasks: &[Task::Nat],
        scales: true,
        about: "Linux, nftables source NAT, a connection for each binding",
    },
    Setup {
        name: "kernel-nat-flowtable",
        kind: Kind::Kernel(KernelRules::NatFlowtable),
        wire: Wire::Veth,
        tasks: &[Task::Nat],
        scales: true,
        about: "the same with an nftables flowtable",
    },
    Setup {
        name: "kernel-vxlan",
        kind: Kind::Kernel(KernelRules::Vxlan),
        wire: Wire::Veth,
        tasks: BOTH,
        scales: true,
        about: "Linux, addresses by nftables maps, VXLAN by a route for each binding",
    },
];

/// A setup with its number of bindings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The setup.
    pub setup: &'static Setup,
    /// Bindings.
    pub bindings: u32,
}

/// What is to be run: the setups of these names (all if there are none), each that scales with each number of bindings, the
/// others with the largest.
pub fn plan(only: &[String], bindings: &[u32]) -> Result<Vec<Planned>, String> {
    if let Some(unknown) = only.iter().find(|name| SETUPS.iter().all(|setup| setup.name != **name)) {
        let names: Vec<_> = SETUPS.iter().map(|setup| setup.name).collect();
        return Err(format!("there is no setup {unknown:?}; there are: {}", names.join(", ")));
    }
    let largest = *bindings.iter().max().ok_or("no number of bindings")?;
    let wanted = |setup: &&Setup| only.is_empty() || only.iter().any(|name| name == setup.name);
    Ok(SETUPS
        .iter()
        .filter(wanted)
        .flat_map(|setup| {
            let counts = if setup.scales { bindings.to_vec() } else { vec![largest] };
            counts.into_iter().map(move |bindings| Planned { setup, bindings })
        })
        .collect())
}

/// What a case takes beside its trial, in seconds: starting the device, the probe and the generator.
const OVERHEAD_S: f64 = 1.8;
/// A median with a spread needs more than one.
const ROUNDS_LEAST: usize = 2;

/// Seconds of a trial with which the least number of rounds fits the budget, in tenths; each case takes so many trials.
pub fn trial_seconds(planned: &[Planned], budget_s: f64, repeats: usize, trials: f64) -> f64 {
    let cases =
        planned.iter().map(|planned| planned.setup.tasks.len()).sum::<usize>() * repeats.min(ROUNDS_LEAST);
    let fitting = budget_s / cases.max(1) as f64 - OVERHEAD_S;
    ((fitting / trials).clamp(0.5, 5.0) * 10.0).floor() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_scales_is_run_with_each_number() {
        let planned = plan(&["gateway".into(), "testpmd-io".into()], &[1, 1000]).unwrap();
        let named: Vec<_> = planned.iter().map(|planned| (planned.setup.name, planned.bindings)).collect();
        assert_eq!(named, [("gateway", 1), ("gateway", 1000), ("testpmd-io", 1000)]);
        assert_eq!(plan(&[], &[7]).unwrap().len(), SETUPS.len());
        // Three cases, twice: 20 s each.
        assert!((trial_seconds(&planned, 120.0, 5, 1.0) - 5.0).abs() < 1e-9);
        assert!((trial_seconds(&planned, 30.0, 5, 1.0) - 1.2).abs() < 1e-9);
        assert!((trial_seconds(&planned, 1.0, 1, 1.0) - 0.5).abs() < 1e-9);
        assert!((trial_seconds(&planned, 630.0, 5, 60.0) - 1.0).abs() < 1e-9);
        assert!(plan(&["gatway".into()], &[7]).unwrap_err().contains("gateway"));
        assert!(plan(&[], &[]).is_err());
    }
}
