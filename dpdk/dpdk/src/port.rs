//! Ports: a NIC by PCI address or a virtual device by name.
//!
//! A port is opened, then started once with its number of queue pairs; the queues that this yields are the only way to
//! its packets. It stops and closes when the port and all its queues are dropped. So no queue can be polled while its port
//! is stopped, which DPDK forbids.

use crate::eal::is_pci;
use crate::error::{self, Error};
use crate::interface::{self, Interface};
use crate::running::{NO_PORT, Running};
use crate::{Eal, Mempool, RxQueue, TxQueue, interrupts, log};
use dpdk_sys as sys;
use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How received packets are spread over the queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rss {
    /// Not by the port's hash; a virtual device may have its own way.
    None,
    /// By the source address alone, so that all packets of a host come to one queue.
    Source,
    /// By both addresses, and ports where there are some.
    Flow,
}

/// How a port is to run.
#[derive(Clone, Debug)]
pub struct PortConfig {
    /// Queue pairs; pair *i* belongs to worker *i*.
    pub queues: u16,
    /// Receive descriptors per queue; adjusted to what the port can, and to what it should have.
    pub rx_descriptors: u16,
    /// Transmit descriptors per queue; adjusted to what the port can.
    pub tx_descriptors: u16,
    /// The largest IP packet in bytes.
    pub mtu: u16,
    /// How received packets are to be spread; what the port cannot is told by [`Port::rss`].
    pub rss: Rss,
    /// Whether to receive frames for other stations' MAC addresses.
    pub promiscuous: bool,
}

impl Default for PortConfig {
    fn default() -> Self {
        Self {
            queues: 1,
            rx_descriptors: 1024,
            tx_descriptors: 1024,
            mtu: 1500,
            rss: Rss::None,
            promiscuous: false,
        }
    }
}

/// State of a port's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkStatus {
    /// Whether there is a link.
    pub up: bool,
    /// Bits per second / 10⁶; `None` if the port does not know.
    pub speed_mbps: Option<u32>,
    /// Whether both directions work at once.
    pub full_duplex: bool,
}

/// A port's own counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets that the port dropped because its receive queue was full, or found no buffer in time.
    pub rx_missed: u64,
    /// Packets that arrived damaged.
    pub rx_errors: u64,
    /// Packets that the port failed to send, whether it said so at once or took them and dropped them later.
    pub tx_errors: u64,
    /// Packets dropped because no buffer was left.
    pub rx_no_buffer: u64,
}

/// A port. Its settings and counters are used from one thread at a time.
pub struct Port {
    running: Arc<Running>,
    /// What the driver does not tell stands there.
    interface: Option<Interface>,
    rss: Rss,
    /// DPDK's calls for settings are not made for two threads at once on one port: not `Sync`.
    _not_sync: PhantomData<Cell<()>>,
}

impl Port {
    /// Opens a device: a PCI address (`0000:01:00.0`) or a virtual device with its arguments
    /// (`net_af_packet0,iface=eth1,qpairs=2`). A PCI device must have been named in [`crate::Options::devices`].
    pub fn open(eal: &Eal, device: &str) -> Result<Self, Error> {
        let c_device = CString::new(device).map_err(|_| Error::ZeroByte(device.to_owned()))?;
        let failed =
            |reason: String| Error::Device { device: device.to_owned(), reason, log: log::excerpt() };
        log::take_log(); // so that an error quotes what belongs to it
        let interface = Interface::of(device);
        let name = device.split(',').next().unwrap_or_default();
        let name = if is_pci(device) { pci_name(name) } else { name.to_owned() };
        // From here on a failure gives the name back, by dropping `running`.
        interrupts::watch_for(&name)?;
        if !eal.claim(&name) {
            return Err(Error::InUse(name));
        }
        let mut running =
            Running { id: NO_PORT, name: name.clone(), started: AtomicBool::new(false), eal: eal.clone() };
        running.id = if let Some(id) = find(&name) {
            id
        } else {
            let _away = interrupts::keep_away(&name);
            // SAFETY: the EAL runs, as the caller holds it; the string is terminated and copied by DPDK.
            let code = unsafe { sys::rte_dev_probe(c_device.as_ptr()) };
            if code < 0 {
                return Err(failed(error::text(code)));
            }
            find(&name).ok_or_else(|| failed("its driver made no Ethernet port of it".to_owned()))?
        };
        Ok(Self { running: Arc::new(running), interface, rss: Rss::None, _not_sync: PhantomData })
    }

    /// The device's name, without arguments.
    pub fn name(&self) -> &str {
        &self.running.name
    }

    /// The driver's name.
    pub fn driver(&self) -> Result<String, Error> {
        let info = self.info()?;
        if info.driver_name.is_null() {
            return Ok(String::new());
        }
        // SAFETY: the driver's name is a static string of the driver.
        Ok(unsafe { CStr::from_ptr(info.driver_name) }.to_string_lossy().into_owned())
    }

    fn info(&self) -> Result<sys::rte_eth_dev_info, Error> {
        let mut info = sys::rte_eth_dev_info::default();
        // SAFETY: the port is valid and the pointer is to a live structure.
        let code = unsafe { sys::rte_eth_dev_info_get(self.running.id, &raw mut info) };
        self.running.check("be asked for its properties", code)?;
        Ok(info)
    }

    /// Configures and starts the port, once. The receive buffers of queue *i* come from pool *i*, modulo their number.
    ///
    /// # Panics
    /// If `pools` is empty.
    pub fn start(
        &mut self,
        config: &PortConfig,
        pools: &[Mempool],
    ) -> Result<Vec<(RxQueue, TxQueue)>, Error> {
        assert!(!pools.is_empty(), "a port needs a pool for what it receives");
        log::take_log();
        let running = Arc::clone(&self.running);
        if running.started.load(Ordering::Acquire) {
            return Err(running.error("start a second time", -16 /* EBUSY */));
        }
        let id = running.id;
        let info = self.info()?;
        let most = info.max_rx_queues.min(info.max_tx_queues);
        if config.queues == 0 || config.queues > most {
            let reason = format!("it has {most}, and one is needed for each of {} workers", config.queues);
            let (port, log) = (running.name.clone(), String::new());
            return Err(Error::Port { port, action: "set up its queue pairs", reason, log });
        }

        let (rss, hash_fields) = rss_of(config, info.flow_type_rss_offloads);
        let mut conf = sys::rte_eth_conf::default();
        conf.rxmode.mtu = u32::from(config.mtu).clamp(u32::from(info.min_mtu), u32::from(info.max_mtu));
        if hash_fields != 0 {
            conf.rxmode.mq_mode = sys::SHIM_MQ_RX_RSS;
            // A null key asks for the driver's own. The union's largest member is zeroed by `default`.
            conf.rx_adv_conf.rss_conf =
                sys::rte_eth_rss_conf { rss_key: std::ptr::null_mut(), rss_key_len: 0, rss_hf: hash_fields };
        }
        // SAFETY: the port is valid and stopped, pointers are to live structures that DPDK copies, and the pools live as
        // long as the EAL, which `running` holds.
        let code = unsafe { sys::rte_eth_dev_configure(id, config.queues, config.queues, &raw const conf) };
        running.check("be configured", code)?;
        self.set_mtu(config.mtu)?;

        let (mut rx_descriptors, mut tx_descriptors) = (config.rx_descriptors, config.tx_descriptors);
        if self.interface.is_some() {
            rx_descriptors = rx_descriptors.max(interface::RX_DESCRIPTORS);
        }
        // SAFETY: as above.
        let code = unsafe {
            sys::rte_eth_dev_adjust_nb_rx_tx_desc(id, &raw mut rx_descriptors, &raw mut tx_descriptors)
        };
        running.check("adjust its descriptors", code)?;
        // SAFETY: as above.
        let socket = unsafe { sys::rte_eth_dev_socket_id(id) } as u32;
        for queue in 0..config.queues {
            let pool = pools[usize::from(queue) % pools.len()].as_ptr();
            // SAFETY: as above; a null configuration asks for the driver's defaults.
            let code = unsafe {
                sys::rte_eth_rx_queue_setup(id, queue, rx_descriptors, socket, std::ptr::null(), pool)
            };
            running.check("set up a receive queue", code)?;
            // SAFETY: as above.
            let code =
                unsafe { sys::rte_eth_tx_queue_setup(id, queue, tx_descriptors, socket, std::ptr::null()) };
            running.check("set up a transmit queue", code)?;
        }
        let away = interrupts::keep_away(&running.name);
        // SAFETY: as above; all queues are set up.
        running.check("start", unsafe { sys::rte_eth_dev_start(id) })?;
        drop(away);
        running.started.store(true, Ordering::Release);
        self.rss = rss;
        if config.promiscuous {
            self.set_promiscuous(true)?;
        }
        let queues = 0..config.queues;
        Ok(queues
            .map(|queue| {
                (RxQueue::new(Arc::clone(&running), queue), TxQueue::new(Arc::clone(&running), queue))
            })
            .collect())
    }

    /// What the port's hash spreads by: what was asked for, or what it can.
    pub fn rss(&self) -> Rss {
        self.rss
    }

    /// The largest IP packet in bytes.
    pub fn mtu(&self) -> Result<u16, Error> {
        let mut mtu = 0;
        // SAFETY: the port is valid and the pointer is to a live integer.
        let code = unsafe { sys::rte_eth_dev_get_mtu(self.running.id, &raw mut mtu) };
        self.running.check("tell its MTU", code)?;
        Ok(mtu)
    }

    fn set_mtu(&self, mtu: u16) -> Result<(), Error> {
        // SAFETY: the port is valid.
        let code = unsafe { sys::rte_eth_dev_set_mtu(self.running.id, mtu) };
        // A device without an MTU of its own (a ring, a file) takes what comes.
        if code == -ENOTSUP { Ok(()) } else { self.running.check("set its MTU", code) }
    }

    /// Whether to receive frames for other stations.
    pub fn set_promiscuous(&self, on: bool) -> Result<(), Error> {
        // SAFETY: the port is valid.
        let code = unsafe {
            if on {
                sys::rte_eth_promiscuous_enable(self.running.id)
            } else {
                sys::rte_eth_promiscuous_disable(self.running.id)
            }
        };
        if code == -ENOTSUP { Ok(()) } else { self.running.check("change promiscuous mode", code) }
    }

    /// The port's MAC address.
    pub fn mac(&self) -> Result<[u8; 6], Error> {
        let mut address = sys::rte_ether_addr::default();
        // SAFETY: the port is valid and the pointer is to a live structure.
        let code = unsafe { sys::rte_eth_macaddr_get(self.running.id, &raw mut address) };
        self.running.check("tell its MAC address", code)?;
        Ok(address.addr_bytes)
    }

    /// The link's state, without waiting for the hardware.
    pub fn link(&self) -> Result<LinkStatus, Error> {
        let mut link = sys::shim_link::default();
        // SAFETY: the port is valid and the pointer is to a live structure.
        let code = unsafe { sys::shim_link_get(self.running.id, &raw mut link) };
        self.running.check("tell its link's state", code)?;
        let known = link.speed_mbps != 0 && link.speed_mbps != u32::MAX;
        Ok(LinkStatus {
            up: link.up != 0,
            speed_mbps: known.then_some(link.speed_mbps),
            full_duplex: link.full_duplex != 0,
        })
    }

    /// The port's own counters.
    pub fn stats(&self) -> Result<Stats, Error> {
        let mut stats = sys::rte_eth_stats::default();
        // SAFETY: the port is valid and the pointer is to a live structure.
        let code = unsafe { sys::rte_eth_stats_get(self.running.id, &raw mut stats) };
        self.running.check("tell its counters", code)?;
        let lost = self.interface.as_ref().map(Interface::lost).unwrap_or_default();
        Ok(Stats {
            rx_packets: stats.ipackets,
            tx_packets: stats.opackets,
            rx_bytes: stats.ibytes,
            tx_bytes: stats.obytes,
            // What the driver tells is a part of what the interface counts.
            rx_missed: stats.imissed.max(lost.rx),
            rx_errors: stats.ierrors,
            // What the driver refused never came to the interface.
            tx_errors: stats.oerrors + lost.tx,
            rx_no_buffer: stats.rx_nombuf,
        })
    }
}

/// `ENOTSUP`: the driver does not offer the call.
const ENOTSUP: i32 = 95;

/// The full form of a PCI address, by which ports are named.
fn pci_name(name: &str) -> String {
    let name = name.strip_prefix("pci:").unwrap_or(name);
    if name.matches(':').count() == 1 { format!("0000:{name}") } else { name.to_owned() }
}

/// What to hash by, of what is asked for and what the port can.
fn rss_of(config: &PortConfig, capable: u64) -> (Rss, u64) {
    const FLOW: u64 = sys::SHIM_RSS_IPV4
        | sys::SHIM_RSS_FRAG_IPV4
        | sys::SHIM_RSS_IPV4_OTHER
        | sys::SHIM_RSS_IPV4_TCP
        | sys::SHIM_RSS_IPV4_UDP;
    if config.queues < 2 || config.rss == Rss::None || capable & FLOW == 0 {
        return (Rss::None, 0);
    }
    if config.rss == Rss::Source && capable & sys::SHIM_RSS_L3_SRC_ONLY != 0 {
        return (Rss::Source, capable & FLOW | sys::SHIM_RSS_L3_SRC_ONLY);
    }
    (Rss::Flow, capable & FLOW)
}

/// The port of a device, if there is one.
fn find(name: &str) -> Option<u16> {
    let c_name = CString::new(name).ok()?;
    let mut id = 0;
    // SAFETY: the name is terminated and the pointer is to a live integer; the EAL runs, as `Port::open` has it.
    (unsafe { sys::rte_eth_dev_get_port_by_name(c_name.as_ptr(), &raw mut id) } == 0).then_some(id).or_else(
        || {
            // Some drivers name a port other than its device.
            // SAFETY: takes any number and gives the next valid port or one past the last.
            let mut port = unsafe { sys::rte_eth_find_next(0) };
            while port < sys::RTE_MAX_ETHPORTS as u16 {
                // SAFETY: the port is valid; the name is a terminated string of its device, or null.
                let device = unsafe {
                    let device = sys::shim_device_name(port);
                    (!device.is_null()).then(|| CStr::from_ptr(device))
                };
                if device == Some(c_name.as_c_str()) {
                    return Some(port);
                }
                // SAFETY: as above.
                port = unsafe { sys::rte_eth_find_next(port + 1) };
            }
            None
        },
    )
}

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Port {}", self.running.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pci_names_are_completed() {
        assert_eq!(pci_name("01:00.0"), "0000:01:00.0");
        assert_eq!(pci_name("pci:0000:01:00.0"), "0000:01:00.0");
    }

    #[test]
    fn rss_falls_back_to_what_the_port_can() {
        let config = PortConfig { queues: 2, rss: Rss::Source, ..PortConfig::default() };
        let flows = sys::SHIM_RSS_IPV4 | sys::SHIM_RSS_IPV4_UDP;
        assert_eq!(rss_of(&config, flows), (Rss::Flow, flows));
        let both = flows | sys::SHIM_RSS_L3_SRC_ONLY;
        assert_eq!(rss_of(&config, both), (Rss::Source, both));
        assert_eq!(rss_of(&config, 0), (Rss::None, 0));
        assert_eq!(rss_of(&PortConfig { queues: 1, ..config }, both), (Rss::None, 0));
    }
}
