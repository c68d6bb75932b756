//! The ports as DPDK has them, for whoever looks.

use crate::admin::view::DeviceView;

/// A port that DPDK drives, and what does not change about it.
struct Device {
    port: dpdk::Port,
    driver: String,
    mac: [u8; 6],
}

/// All of them, by port. Dropped after the workers, which hold queues.
pub(super) struct Devices(Vec<Device>);

impl Devices {
    pub(super) fn new(ports: Vec<dpdk::Port>) -> Result<Self, dpdk::Error> {
        let device = |port: dpdk::Port| Ok(Device { driver: port.driver()?, mac: port.mac()?, port });
        ports.into_iter().map(device).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn driver(&self, number: usize) -> &str {
        &self.0[number].driver
    }

    pub(super) fn mac(&self, number: usize) -> [u8; 6] {
        self.0[number].mac
    }

    /// Whether there is a link and how fast; `None` if the device does not know.
    pub(super) fn link(&self, number: usize) -> Option<(bool, Option<u32>)> {
        self.0[number].port.link().ok().map(|link| (link.up, link.speed_mbps))
    }

    /// What the device itself lost, if it counts.
    pub(super) fn lost(&self, number: usize) -> Option<DeviceView> {
        self.0[number].port.stats().ok().map(|stats| DeviceView {
            rx_missed: stats.rx_missed,
            rx_errors: stats.rx_errors,
            tx_errors: stats.tx_errors,
            rx_no_buffer: stats.rx_no_buffer,
        })
    }
}
