//! The shadow TAP of a port: the kernel's view of it.
//!
//! DPDK drives the real interface; the kernel sees this one, with the same MAC address and the port's addresses. It
//! answers ARP there, resolves neighbours, and speaks TCP. What the workers punt is written to it, what the kernel sends
//! is injected. A VLAN tag is the port's affair: the kernel's frames carry none.

use super::connections::Connections;
use crate::datagram;
use crate::source::{Socket, Sockets, Source};
use ces_dataplane::msg::{PortId, SLOT_BYTES};
use mio::unix::SourceFd;
use std::io;
use std::os::fd::AsRawFd;
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

/// Longest name of a network interface in bytes (IFNAMSIZ less its final zero).
pub const NAME_BYTES: usize = 15;
/// Frames that may wait in the kernel towards us: a burst of connections.
const QUEUE_FRAMES: u32 = 1000;

/// What a TAP is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapSettings {
    /// The interface's name.
    pub name: String,
    /// The port's MAC address.
    pub mac: [u8; 6],
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// The port's VLAN id: taken off towards the kernel, put on towards the wire.
    pub vlan: Option<u16>,
}

/// Why there is no TAP.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The device could not be made.
    #[error("cannot make the TAP \"{name}\": {hint}")]
    Create {
        /// Its name.
        name: String,
        /// Why, and what to do about it.
        hint: String,
    },
    /// The device could not be set up.
    #[error("TAP \"{name}\": {what}: {source}")]
    Setup {
        /// Its name.
        name: String,
        /// What failed.
        what: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// Frames to and from a TAP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct TapCounters {
    /// Punted frames given to the kernel.
    pub to_kernel: u64,
    /// Frames from the kernel.
    pub from_kernel: u64,
    /// Punted frames that the kernel did not take.
    pub refused: u64,
    /// Punted frames with another VLAN tag than the port's, or none.
    pub wrong_vlan: u64,
    /// Punted TCP of no connection that the kernel has.
    pub unasked: u64,
}

/// A port's TAP; gone when dropped.
pub struct Tap {
    device: SyncDevice,
    name: String,
    index: u32,
    vlan: Option<u16>,
    /// What went through.
    pub counters: TapCounters,
}

/// Why the kernel makes no such TAP, in words that say what to do.
fn hint(error: &io::Error) -> String {
    match error.raw_os_error() {
        // EBUSY: another process holds a TAP of this name; EINVAL: an interface of another kind has it.
        Some(16) => "another process has a TAP of this name (is cesd running already?)".to_owned(),
        Some(22) => "the name is taken by an interface of another kind, or is no interface name".to_owned(),
        Some(1 | 13) => "not permitted: run as root or with CAP_NET_ADMIN".to_owned(),
        Some(2 | 19) => "no /dev/net/tun: load the kernel module \"tun\"".to_owned(),
        _ => error.to_string(),
    }
}

impl Tap {
    /// Makes the TAP with its MAC address and MTU, IPv6 off, and brings it up. Addresses are netlink's affair.
    pub fn create(settings: &TapSettings) -> Result<Self, TapError> {
        let name = settings.name.clone();
        let taken = std::path::Path::new("/sys/class/net").join(&name).exists();
        if taken && !std::path::Path::new("/sys/class/net").join(&name).join("tun_flags").exists() {
            let hint = "an interface of another kind has this name".to_owned();
            return Err(TapError::Create { name, hint });
        }
        let device = DeviceBuilder::new()
            .name(&name)
            .layer(Layer::L2)
            .mtu(settings.mtu)
            .tx_queue_len(QUEUE_FRAMES)
            .mac_addr(settings.mac)
            .enable(false)
            .build_sync()
            .map_err(|error| TapError::Create { name: name.clone(), hint: hint(&error) })?;
        let setup = |what| move |source| TapError::Setup { name: settings.name.clone(), what, source };
        // The kernel must not speak IPv6 on a port whose IPv6 the gateway does not carry.
        let disable = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
        match std::fs::write(disable, "1") {
            Ok(()) => {}
            // A kernel without IPv6 has nothing to turn off; a read-only /proc (a container) is said, not fatal.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!("TAP \"{name}\": cannot turn IPv6 off: {error}"),
        }
        device.set_nonblocking(true).map_err(setup("cannot be made non-blocking"))?;
        device.enabled(true).map_err(setup("cannot be brought up"))?;
        let index = device.if_index().map_err(setup("has no interface index"))?;
        Ok(Self { device, name, index, vlan: settings.vlan, counters: TapCounters::default() })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its interface index.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Gives a punted frame to the kernel; what it does not take is counted.
    pub fn write(&mut self, frame: &mut [u8]) {
        let frame = match self.vlan {
            None => frame,
            Some(vlan) => {
                let Some(frame) = datagram::untag(frame, vlan) else {
                    self.counters.wrong_vlan += 1;
                    return;
                };
                frame
            }
        };
        match self.device.send(frame) {
            Ok(_) => self.counters.to_kernel += 1,
            Err(_) => self.counters.refused += 1,
        }
    }

    /// Reads a frame from the kernel into `buffer`, with the port's VLAN tag on: its length, or `None` if there is none.
    pub fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        // Room for the tag is kept free.
        let room = buffer.len().checked_sub(4)?;
        let length = self.device.recv(&mut buffer[..room]).ok()?;
        self.counters.from_kernel += 1;
        match self.vlan {
            None => Some(length),
            Some(vlan) => datagram::tag(buffer, length, vlan),
        }
    }
}

/// Frames read from one TAP in a turn.
const FRAMES_A_TURN: usize = 256;

/// Who sends what the kernel wants sent.
pub trait Carrier {
    /// Sends a frame out of a port.
    fn carry(&mut self, port: PortId, frame: &[u8]);
}

/// The shadows of all ports, by port.
pub struct Taps {
    taps: Vec<Tap>,
    connections: Connections,
    /// TAPs that may have more to read.
    unread: Vec<usize>,
}

impl Taps {
    /// Waits for frames of these TAPs.
    pub fn new(taps: Vec<Tap>, seed: u64, sockets: &Sockets) -> io::Result<Self> {
        for (number, tap) in taps.iter().enumerate() {
            sockets.listen(&mut SourceFd(&tap.device.as_raw_fd()), number as u32)?;
        }
        Ok(Self { taps, connections: Connections::new(seed), unread: Vec::new() })
    }

    /// All of them.
    pub fn all(&self) -> &[Tap] {
        &self.taps
    }

    /// Gives a punted frame to the kernel, as if the port's shadow had received it.
    pub fn write(&mut self, port: PortId, frame: &mut [u8], now: u64) {
        let Some(tap) = self.taps.get_mut(usize::from(port)) else { return };
        if self.connections.admits(frame, now) {
            tap.write(frame);
        } else {
            tap.counters.unasked += 1;
        }
    }

    fn read(&mut self, number: usize, carrier: &mut impl Carrier, now: u64) {
        let Some(tap) = self.taps.get_mut(number) else { return };
        let mut buffer = [0; SLOT_BYTES];
        for _ in 0..FRAMES_A_TURN {
            let Some(length) = tap.read(&mut buffer) else { return };
            self.connections.sent(&buffer[..length], now);
            carrier.carry(number as PortId, &buffer[..length]);
        }
        self.unread.push(number);
    }
}

impl<C: Carrier> Source<C> for Taps {
    fn handle(&mut self, socket: Socket, carrier: &mut C, now: u64) {
        if let Socket::Fixed(number) = socket {
            self.read(number as usize, carrier, now);
        }
    }

    fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    fn handle_unread(&mut self, carrier: &mut C, now: u64) {
        for number in std::mem::take(&mut self.unread) {
            self.read(number, carrier, now);
        }
    }
}
