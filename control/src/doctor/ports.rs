//! The ports' devices: PCI devices that a driver of DPDK has, or interfaces that the kernel leaves alone.

use super::finding::Finding;
use super::machine::Machine;
use crate::config::{Config, PortSection, pci_address};
use crate::interfaces::interface_of;

/// The kernel's drivers that hand a device to DPDK.
const HANDED: [&str; 3] = ["vfio-pci", "uio_pci_generic", "igb_uio"];
/// Those beside which DPDK drives a device.
const BESIDE: [&str; 2] = ["mlx4_core", "mlx5_core"];

pub(super) fn examine(machine: &Machine, config: &Config) -> Vec<Finding> {
    let mut findings = vec![shadows(machine)];
    for port in &config.port {
        if let Some(interface) = interface_of(&port.device) {
            findings.push(shared(machine, config, port, interface));
        } else if let Some(address) = pci_address(&port.device) {
            findings.push(pci(machine, port, &address));
        }
    }
    findings
}

/// What shadow interfaces are made with.
fn shadows(machine: &Machine) -> Finding {
    let device = "/dev/net/tun";
    if machine.is_there(device) {
        Finding::good(device, "there, for the shadow interfaces")
    } else {
        Finding::wrong(device, "not there: no shadow interface can be made", "modprobe tun")
    }
}

fn pci(machine: &Machine, port: &PortSection, address: &str) -> Finding {
    let what = format!("port {}", port.name);
    let device = format!("/sys/bus/pci/devices/{address}");
    if !machine.is_there(&device) {
        return Finding::wrong(
            what,
            format!("no device {address}"),
            "dpdk-devbind.py --status names those there are",
        );
    }
    let has_iommu = !machine.names("/sys/kernel/iommu_groups").is_empty();
    let driver = machine.link(format!("{device}/driver"));
    let into = if has_iommu { "vfio-pci" } else { "uio_pci_generic" };
    let mend = format!("modprobe {into} && dpdk-devbind.py --bind={into} {address}");
    match driver.as_deref() {
        Some("vfio-pci") if !has_iommu => Finding::wrong(
            what,
            format!("{address} is with vfio-pci, and there is no IOMMU"),
            format!("add intel_iommu=on (or amd_iommu=on) to the kernel's command line, or: {mend}"),
        ),
        Some(driver) if HANDED.contains(&driver) => {
            near(machine, what, &device, format!("{address}, driver {driver}"))
        }
        Some(driver) if BESIDE.contains(&driver) => {
            near(machine, what, &device, format!("{address}, beside {driver}"))
        }
        Some(driver) => Finding::wrong(what, format!("{address} is the kernel's (driver {driver})"), mend),
        None => Finding::wrong(what, format!("{address} has no driver"), mend),
    }
}

/// A device that can be had, and whether its memory is the workers'.
fn near(machine: &Machine, what: String, device: &str, found: String) -> Finding {
    match machine.text(format!("{device}/numa_node")).and_then(|node| node.parse::<i32>().ok()) {
        Some(node) if node > 0 => {
            let cores =
                machine.text(format!("/sys/devices/system/node/node{node}/cpulist")).unwrap_or_default();
            Finding::good(what, format!("{found}, at the processor with cores {cores}"))
        }
        _ => Finding::good(what, found),
    }
}

fn shared(machine: &Machine, config: &Config, port: &PortSection, interface: &str) -> Finding {
    let what = format!("port {}", port.name);
    let place = format!("/sys/class/net/{interface}");
    if !machine.is_there(&place) {
        return Finding::wrong(
            what,
            format!("no interface {interface}"),
            "ip -brief link names those there are",
        );
    }
    let mtu = machine.number(format!("{place}/mtu")).unwrap_or(0);
    let carried = u64::from(port.mtu) + port.vlan.map_or(0, |_| 4);
    if mtu < carried {
        let found = format!("{interface} carries {mtu} octets, and the port's MTU with its tag is {carried}");
        return Finding::wrong(what, found, format!("ip link set {interface} mtu {carried}"));
    }
    let queues =
        machine.names(format!("{place}/queues")).iter().filter(|name| name.starts_with("rx-")).count();
    let workers = config.worker.cores.len();
    if port.device.starts_with("net_af_xdp") && queues < workers {
        let found = format!("{interface} has {queues} queues for {workers} workers");
        let mend = format!(
            "ethtool -L {interface} combined {workers}; where it cannot have them: \
             device = \"net_af_packet0,iface={interface},qpairs={workers}\""
        );
        return Finding::wrong(what, found, mend);
    }
    if port.device.starts_with("net_af_packet") && pairs(&port.device) < workers {
        let found = format!("{} pairs of queues for {workers} workers", pairs(&port.device));
        return Finding::wrong(
            what,
            found,
            format!("add qpairs={workers} to the device of port {}", port.name),
        );
    }
    match machine.text(format!("{place}/operstate")).as_deref() {
        Some("down") => {
            let mend = format!("ip link set {interface} up; then the cable");
            Finding::poor(what, format!("{interface} is down"), mend)
        }
        _ => Finding::good(what, interface),
    }
}

/// The pairs of queues that a device of `net_af_packet` is told to have.
fn pairs(device: &str) -> usize {
    let said = device.split(',').find_map(|argument| argument.trim().strip_prefix("qpairs="));
    said.and_then(|pairs| pairs.parse().ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Fitness;
    use super::super::machine::made::{Made, config};
    use super::*;

    fn port(made: &Made, cores: &str, device: &str) -> (Fitness, String) {
        let config = config(&format!(
            "[worker]\ncores = {cores}\n[[port]]\nname = \"lan\"\ndevice = \"{device}\"\nside = \"inside\"\naddresses = []\n"
        ));
        let finding = examine(&made.0, &config).pop().unwrap();
        (finding.fitness, finding.mend.unwrap_or_default())
    }

    #[test]
    fn devices_are_the_gateways() {
        use Fitness::{Good, Wrong};
        let made = Made::new("pci", &[], &[("/sys/bus/pci/devices/0000:03:00.0/vendor", "0x8086\n")]);
        assert_eq!(port(&made, "[1]", "0000:04:00.0").0, Wrong);
        let bind = "modprobe uio_pci_generic && dpdk-devbind.py --bind=uio_pci_generic 0000:03:00.0";
        assert_eq!(port(&made, "[1]", "03:00.0"), (Wrong, bind.to_owned()));
        made.lead("/sys/bus/pci/devices/0000:03:00.0/driver", "../../drivers/vfio-pci");
        assert_eq!(port(&made, "[1]", "0000:03:00.0").0, Wrong, "without an IOMMU");
        made.write("/sys/kernel/iommu_groups/0/type", "DMA\n");
        assert_eq!(port(&made, "[1]", "0000:03:00.0"), (Good, String::new()));
    }

    #[test]
    fn interfaces_carry_what_they_must() {
        use Fitness::{Good, Poor, Wrong};
        let made = Made::new("interface", &[], &[]);
        assert_eq!(port(&made, "[1]", "net_af_xdp0,iface=eth1").0, Wrong);
        made.write("/sys/class/net/eth1/mtu", "1400\n");
        let small = port(&made, "[1]", "net_af_xdp0,iface=eth1");
        assert_eq!(small, (Wrong, "ip link set eth1 mtu 1500".to_owned()));
        made.write("/sys/class/net/eth1/mtu", "1500\n");
        made.write("/sys/class/net/eth1/queues/rx-0/rps_cpus", "0\n");
        assert_eq!(port(&made, "[1]", "net_af_xdp0,iface=eth1").0, Good);
        assert_eq!(port(&made, "[1, 2]", "net_af_xdp0,iface=eth1").0, Wrong);
        assert_eq!(port(&made, "[1, 2]", "net_af_packet0,iface=eth1").0, Wrong);
        assert_eq!(port(&made, "[1, 2]", "net_af_packet0,iface=eth1,qpairs=2").0, Good);
        made.write("/sys/class/net/eth1/operstate", "down\n");
        assert_eq!(port(&made, "[1]", "net_af_xdp0,iface=eth1").0, Poor);
    }
}
