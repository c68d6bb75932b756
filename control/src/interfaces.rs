//! The kernel's interfaces behind ports of `net_af_xdp` and `net_af_packet`: claimed, made quiet, and watched.
//!
//! Such a port shares its interface with the kernel and with every other program. So before DPDK has it, `cesd` sees to it
//! that nobody else drives it as a port, that the kernel does not answer beside the gateway, and that nothing changes frames
//! on their way; and afterwards that its link is the one that is shown, and that the XDP program which brings the frames
//! stays where it is.

use crate::config::PortSection;
use crate::sources::netlink::link::{Link, Links, Mode};
use dpdk::kernel;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What keeps the kernel from answering, and from carrying on, what arrives on a port (`Documentation/networking/ip-sysctl`
/// of Linux): no answer to ARP, no packet whose way back is not this interface, no forwarding, no IPv6.
const QUIET: [(&str, &str); 4] = [
    ("ipv4/conf/{}/arp_ignore", "8"),
    ("ipv4/conf/{}/rp_filter", "1"),
    ("ipv4/conf/{}/forwarding", "0"),
    ("ipv6/conf/{}/disable_ipv6", "1"),
];

/// Why a port cannot have its interface.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceError {
    /// There is none of that name.
    #[error("port {port}: there is no interface {interface} here (device {device})")]
    Absent {
        /// The port.
        port: String,
        /// The interface's name.
        interface: String,
        /// The device that names it.
        device: String,
    },
    /// Another gateway runs on it.
    #[error("port {port}: another gateway drives interface {interface} already")]
    Claimed {
        /// The port.
        port: String,
        /// The interface's name.
        interface: String,
    },
    /// The kernel would answer on it.
    #[error(
        "port {port}: interface {interface} carries {address}, so that the kernel would answer beside the gateway: take its \
         addresses off (ip address flush dev {interface})"
    )]
    Addressed {
        /// The port.
        port: String,
        /// The interface's name.
        interface: String,
        /// Its address.
        address: IpAddr,
    },
    /// The kernel would take what arrives on it.
    #[error(
        "port {port}: net.ipv4.conf.all.rp_filter is 2, so that the kernel would take beside the gateway what arrives on \
         interface {interface}: set it to 0 or 1"
    )]
    Loose {
        /// The port.
        port: String,
        /// The interface's name.
        interface: String,
    },
    /// Frames would come without their VLAN tag.
    #[error(
        "port {port}: {what} of interface {interface} cannot be turned off, which a port with a VLAN needs"
    )]
    Offload {
        /// The port.
        port: String,
        /// The interface's name.
        interface: String,
        /// What stays on.
        what: &'static str,
    },
    /// The kernel failed.
    #[error("port {port}: interface {interface}: {source}")]
    System {
        /// The port.
        port: String,
        /// The interface's name.
        interface: String,
        /// Its reason.
        source: io::Error,
    },
}

/// One interface that a port is driven through.
struct Interface {
    port: String,
    name: String,
    index: u32,
    up: bool,
    /// Whether frames come by an XDP program.
    by_program: bool,
    /// That program, kept loaded.
    program: Option<(u32, Mode, OwnedFd)>,
    /// What was wrong with it when it was last looked at, so that it is said once.
    amiss: Option<&'static str>,
    /// Bound as long as the gateway has the interface.
    _claim: UnixListener,
}

/// The interfaces of all ports that have one, in the order of the ports.
pub struct Interfaces {
    members: Vec<Option<Interface>>,
    links: Links,
}

/// Interfaces that are being watched, by a thread of its own: to ask the kernel for one is to wait for its lock on all of them
/// (rtnl), which whoever takes a network namespace down holds for many milliseconds.
pub struct Watch {
    seen: Arc<Seen>,
    thread: Option<JoinHandle<Interfaces>>,
}

/// What the thread has seen, and whether it is to end.
struct Seen {
    /// Whether the interface of each port is up; of ports without one it says so.
    up: Vec<AtomicBool>,
    restored: AtomicU64,
    ends: AtomicBool,
}

/// How often interfaces are looked at.
const LOOK: Duration = Duration::from_secs(1);

impl Interfaces {
    /// Claims and prepares the interface of each port that has one. Nothing of an interface is changed before all are claimed.
    pub fn prepare(ports: &[PortSection]) -> Result<Self, InterfaceError> {
        let mut links = Links::open().map_err(|source| InterfaceError::System {
            port: String::new(),
            interface: String::new(),
            source,
        })?;
        let mut members = Vec::with_capacity(ports.len());
        for port in ports {
            members.push(
                interface_of(&port.device)
                    .map(|name| Interface::claim(port, name, &mut links))
                    .transpose()?,
            );
        }
        for (interface, port) in members.iter().zip(ports) {
            if let Some(interface) = interface {
                interface.make_quiet();
                interface.leave_frames_alone(port.vlan.is_some(), &mut links)?;
            }
        }
        Ok(Self { members, links })
    }

    /// Keeps the XDP programs that DPDK has put on the interfaces, and has a thread look once a second whether links went up or
    /// down, and put programs back that somebody took off. To be called once the ports have started.
    pub fn watch(mut self) -> io::Result<Watch> {
        for interface in self.members.iter_mut().flatten().filter(|interface| interface.by_program) {
            if let Ok(Some(link)) = self.links.find(&interface.name) {
                interface.keep(&link);
            }
        }
        let up = self.members.iter().map(|member| AtomicBool::new(member.as_ref().is_none_or(|own| own.up)));
        let seen =
            Arc::new(Seen { up: up.collect(), restored: AtomicU64::new(0), ends: AtomicBool::new(false) });
        let shared = Arc::clone(&seen);
        let thread = std::thread::Builder::new().name("interfaces".to_owned()).spawn(move || {
            while !shared.ends.load(Ordering::Acquire) {
                self.look(&shared);
                std::thread::park_timeout(LOOK);
            }
            self
        })?;
        Ok(Watch { seen, thread: Some(thread) })
    }

    fn look(&mut self, seen: &Seen) {
        for (interface, up) in self.members.iter_mut().zip(&seen.up) {
            let Some(interface) = interface else { continue };
            match self.links.at(interface.index) {
                Ok(link) => {
                    let link = link.map(|(_, link)| link);
                    let is_back = interface.see(link.as_ref(), &mut self.links);
                    seen.restored.fetch_add(u64::from(is_back), Ordering::Relaxed);
                    up.store(interface.up, Ordering::Relaxed);
                }
                Err(error) => tracing::warn!(kind = "interface", "interface {}: {error}", interface.name),
            }
        }
    }
}

impl Watch {
    /// Whether a port's interface is up. A port that has none is.
    pub fn is_up(&self, port: usize) -> bool {
        self.seen.up.get(port).is_none_or(|up| up.load(Ordering::Relaxed))
    }

    /// How often an XDP program was put back.
    pub fn restored(&self) -> u64 {
        self.seen.restored.load(Ordering::Relaxed)
    }

    /// Looks no more, so that nothing is put back that is taken off in order. The interfaces stay claimed as long as what comes
    /// back is kept.
    pub fn end(&mut self) -> Option<Interfaces> {
        self.seen.ends.store(true, Ordering::Release);
        let thread = self.thread.take()?;
        thread.thread().unpark();
        thread.join().ok()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.end());
    }
}

impl Interface {
    fn claim(port: &PortSection, name: &str, links: &mut Links) -> Result<Self, InterfaceError> {
        let device = &port.device;
        let (port, interface) = (port.name.clone(), name.to_owned());
        let system =
            |source| InterfaceError::System { port: port.clone(), interface: interface.clone(), source };
        let Some(link) = links.find(name).map_err(system)? else {
            return Err(InterfaceError::Absent { port, interface, device: device.clone() });
        };
        // By its number, which stays when its name does not. An abstract name belongs to the network namespace, as the interface
        // does, and ends with the process.
        let address = SocketAddr::from_abstract_name(format!("ces-port/{}", link.index)).map_err(system)?;
        let claim = match UnixListener::bind_addr(&address) {
            Ok(claim) => claim,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                return Err(InterfaceError::Claimed { port, interface });
            }
            Err(error) => return Err(system(error)),
        };
        let by_program = device.starts_with("net_af_xdp");
        if !by_program && is_loose() {
            return Err(InterfaceError::Loose { port, interface });
        }
        if let Some(&address) = links.addresses(link.index).map_err(system)?.first() {
            return Err(InterfaceError::Addressed { port, interface, address });
        }
        Ok(Self {
            port,
            name: interface,
            index: link.index,
            up: link.up,
            by_program,
            program: None,
            amiss: None,
            _claim: claim,
        })
    }

    fn make_quiet(&self) {
        for (setting, value) in QUIET {
            let path = format!("/proc/sys/net/{}", setting.replace("{}", &self.name));
            match fs::write(&path, value) {
                Ok(()) => {}
                // A kernel without IPv6.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => tracing::warn!(
                    "{path} cannot be set to {value}, so that the kernel may answer on port {}: {error}",
                    self.port
                ),
            }
        }
    }

    /// Turns off what changes frames between the wire and the port, on the other end of a pair as well.
    fn leave_frames_alone(&self, has_vlan: bool, links: &mut Links) -> Result<(), InterfaceError> {
        let (port, interface) = (self.port.clone(), self.name.clone());
        let left = match kernel::turn_offloads_off(&self.name) {
            Ok(left) => left,
            Err(source) => return Err(InterfaceError::System { port, interface, source }),
        };
        if let Some(&what) = left.iter().find(|what| has_vlan && **what == "rx-vlan-offload") {
            return Err(InterfaceError::Offload { port, interface, what });
        }
        if !left.is_empty() {
            tracing::warn!(
                "port {}: these offloads of {} stay on: {}",
                self.port,
                self.name,
                left.join(", ")
            );
        }
        match links.find(&self.name) {
            Ok(Some(Link { is_veth: true, other_end: Some(index), .. })) => {
                if let Ok(Some((other, _))) = links.at(index) {
                    let _ = kernel::turn_offloads_off(&other);
                }
            }
            Ok(Some(Link { is_veth: true, other_end: None, .. })) => tracing::info!(
                "port {}: the other end of {} is in another network namespace, where nobody but its owner can turn its \
                 offloads off (tx, sg, txvlan): without that, frames come here without checksum or VLAN tag",
                self.port,
                self.name
            ),
            _ => {}
        }
        Ok(())
    }

    fn keep(&mut self, link: &Link) {
        let Some((id, mode)) = link.program else { return };
        match kernel::bpf_program(id) {
            Ok(program) => self.program = Some((id, mode, program)),
            Err(error) => tracing::warn!("the XDP program of {} cannot be kept: {error}", self.name),
        }
    }

    /// Notes how the interface is now; whether its program was put back.
    fn see(&mut self, link: Option<&Link>, links: &mut Links) -> bool {
        let is_up = link.is_some_and(|link| link.up);
        if is_up != self.up {
            self.up = is_up;
            let state = if is_up { "up" } else { "down" };
            tracing::warn!(kind = "link", "port {}: the link of {} is {state}", self.port, self.name);
        }
        let amiss = match link {
            None => Some("is gone: the gateway must be started anew once it is back"),
            Some(link) => match (&self.program, link.program) {
                (Some((own, ..)), Some((id, _))) if id != *own => {
                    Some("has another program's XDP program: nothing arrives on it")
                }
                (Some(_), None) => return self.put_back(links),
                _ if links.addresses(self.index).is_ok_and(|addresses| !addresses.is_empty()) => {
                    Some("has got an address: the kernel sends and answers there beside the gateway")
                }
                _ => None,
            },
        };
        if amiss != self.amiss {
            self.amiss = amiss;
            if let Some(what) = amiss {
                tracing::error!("port {}: interface {} {what}", self.port, self.name);
            } else {
                tracing::info!("port {}: interface {} is as it should be", self.port, self.name);
            }
        }
        false
    }

    fn put_back(&mut self, links: &mut Links) -> bool {
        let Some((_, mode, program)) = &self.program else { return false };
        match links.attach(self.index, program.as_fd(), *mode) {
            Ok(()) => {
                tracing::warn!(
                    kind = "xdp",
                    "port {}: somebody took the XDP program off {}; it is back",
                    self.port,
                    self.name
                );
                self.amiss = None;
                true
            }
            Err(error) => {
                tracing::error!(
                    kind = "xdp",
                    "port {}: the XDP program of {} is gone, nothing arrives, and it cannot be put back: {error}",
                    self.port,
                    self.name
                );
                false
            }
        }
    }
}

/// Whether the kernel takes what arrives on an interface if a route leads back by any other. Of the setting for all and that of
/// the interface the greater number counts, so that 2, which is less strict than 1, cannot be taken back for one.
fn is_loose() -> bool {
    fs::read_to_string("/proc/sys/net/ipv4/conf/all/rp_filter").is_ok_and(|value| value.trim() == "2")
}

/// The interface that a virtual device is driven through, if it is of such a driver.
pub(crate) fn interface_of(device: &str) -> Option<&str> {
    let mut parts = device.split(',');
    let driver = parts.next()?;
    if !driver.starts_with("net_af_xdp") && !driver.starts_with("net_af_packet") {
        return None;
    }
    parts.find_map(|argument| argument.trim().strip_prefix("iface="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ports_through_the_kernel_have_an_interface() {
        assert_eq!(interface_of("net_af_xdp0,iface=eth1"), Some("eth1"));
        assert_eq!(interface_of("net_af_packet_lan,qpairs=2,iface=eth1.7"), Some("eth1.7"));
        assert_eq!(interface_of("0000:03:00.0"), None);
        assert_eq!(interface_of("net_tap0,iface=ces"), None);
        assert_eq!(interface_of("net_af_xdp0"), None);
    }
}
