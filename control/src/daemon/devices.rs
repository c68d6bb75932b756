//! The ports as DPDK has them, for whoever looks.

use crate::admin::view::DeviceView;
use crate::interfaces::Watch;

/// A port that DPDK drives, and what does not change about it.
struct Device {
    port: dpdk::Port,
    driver: String,
    mac: [u8; 6],
}

/// All of them, by port. Dropped after the workers, which hold queues.
pub(super) struct Devices {
    devices: Vec<Device>,
    watch: Watch,
}

impl Devices {
    /// Ports that have started, and their interfaces.
    pub(super) fn new(ports: Vec<dpdk::Port>, watch: Watch) -> Result<Self, dpdk::Error> {
        let device = |port: dpdk::Port| Ok(Device { driver: port.driver()?, mac: port.mac()?, port });
        let devices = ports.into_iter().map(device).collect::<Result<_, _>>()?;
        Ok(Self { devices, watch })
    }

    /// XDP programs that had to be put back on an interface.
    pub(super) fn programs_restored(&self) -> u64 {
        self.watch.restored()
    }

    pub(super) fn len(&self) -> usize {
        self.devices.len()
    }

    pub(super) fn driver(&self, number: usize) -> &str {
        &self.devices[number].driver
    }

    pub(super) fn mac(&self, number: usize) -> [u8; 6] {
        self.devices[number].mac
    }

    /// Whether there is a link and how fast; `None` if the device does not know.
    pub(super) fn link(&self, number: usize) -> Option<(bool, Option<u32>)> {
        let link = self.devices[number].port.link().ok()?;
        // Of an interface's link the driver knows nothing.
        let is_up = link.up && self.watch.is_up(number);
        Some((is_up, link.speed_mbps.filter(|_| is_up)))
    }

    /// What the device itself lost, if it counts.
    pub(super) fn lost(&self, number: usize) -> Option<DeviceView> {
        self.devices[number].port.stats().ok().map(|stats| DeviceView {
            rx_missed: stats.rx_missed,
            rx_errors: stats.rx_errors,
            tx_errors: stats.tx_errors,
            rx_no_buffer: stats.rx_no_buffer,
        })
    }
}

impl Drop for Devices {
    /// Others may have the interfaces when DPDK has them no more.
    fn drop(&mut self) {
        let claimed = self.watch.end();
        self.devices.clear();
        drop(claimed);
    }
}
