//! The kernel's interface behind a port of `net_af_xdp`: what it lost, and the driver does not tell.
//!
//! Of what a socket of AF_XDP loses the driver tells only what found no frame to be copied to (`rx_dropped` of
//! `XDP_STATISTICS`). What found the socket's ring full (`rx_ring_full`), and what the kernel took off the transmit ring and
//! then could not send, is counted by the interface alone.

use std::fs;

/// The calling thread's network namespace, interface by interface.
const COUNTERS: &str = "/proc/thread-self/net/dev";

/// The driver that works through an interface and hides what that loses.
const DRIVER: &str = "net_af_xdp";

/// Receive descriptors of a port of `net_af_xdp`, at least: as many frames as the driver lends the kernel for each queue
/// (`XSK_RING_PROD__DEFAULT_NUM_DESCS`). A shorter ring leaves some of them idle and overflows for it: 1,024 frames are
/// 20 ms of 600 Mbit/s in full-size packets, less than a core may be away from its worker on a machine that is shared.
pub(crate) const RX_DESCRIPTORS: u16 = 2048;

/// Frames that an interface dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// On their way in.
    pub(crate) rx: u64,
    /// On their way out.
    pub(crate) tx: u64,
}

/// An interface, and what it had lost before the port had it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    name: String,
    before: Lost,
}

impl Interface {
    /// The interface of a device (`net_af_xdp0,iface=eth1`), if it is of the driver that needs it.
    pub(crate) fn of(device: &str) -> Option<Self> {
        let name = name_of(device)?.to_owned();
        let before = read(&name).unwrap_or_default();
        Some(Self { name, before })
    }

    /// What it has lost since.
    pub(crate) fn lost(&self) -> Lost {
        let now = read(&self.name).unwrap_or(self.before);
        Lost { rx: now.rx.saturating_sub(self.before.rx), tx: now.tx.saturating_sub(self.before.tx) }
    }
}

fn name_of(device: &str) -> Option<&str> {
    let mut parts = device.split(',');
    parts.next().filter(|name| name.starts_with(DRIVER))?;
    parts.find_map(|argument| argument.trim().strip_prefix("iface="))
}

fn read(name: &str) -> Option<Lost> {
    lost(&fs::read_to_string(COUNTERS).ok()?, name)
}

/// What the table of all interfaces says of one. After its name and a colon come eight counters of each direction: bytes,
/// packets, errs, drop, fifo, … (`dev_seq_printf_stats` of Linux).
fn lost(table: &str, name: &str) -> Option<Lost> {
    const FIELDS: usize = 8;
    const DROP: usize = 3;
    let counters = table.lines().find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(':'))?;
    let counters: Vec<u64> =
        counters.split_ascii_whitespace().map(|field| field.parse().ok()).collect::<Option<_>>()?;
    Some(Lost { rx: *counters.get(DROP)?, tx: *counters.get(FIELDS + DROP)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux 6.18 prints it; a name and a long first counter may touch.
    const TABLE: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
inside2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16
inside:348231216  240182    0  186    0     0          0         0   552946    6665    0    7    0     0       0          0
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
";

    #[test]
    fn drops_of_both_directions_are_found() {
        assert_eq!(lost(TABLE, "inside"), Some(Lost { rx: 186, tx: 7 }));
        assert_eq!(lost(TABLE, "inside2"), Some(Lost { rx: 4, tx: 12 }));
        assert_eq!(lost(TABLE, "side"), None);
        assert_eq!(lost("inside: 1 2 3 x 5 6 7 8 9 10 11 12\n", "inside"), None);
        assert_eq!(lost("inside: 1 2 3 4\n", "inside"), None);
    }

    #[test]
    fn only_sockets_of_af_xdp_need_their_interface() {
        assert_eq!(name_of("net_af_xdp0,iface=inside"), Some("inside"));
        assert_eq!(name_of("net_af_xdp_lan,queue_count=2,iface=eth1"), Some("eth1"));
        assert_eq!(name_of("net_af_packet0,iface=inside"), None);
        assert_eq!(name_of("0000:03:00.0"), None);
        assert_eq!(name_of("net_af_xdp0"), None);
    }

    #[test]
    fn nothing_is_lost_by_an_interface_that_nobody_has() {
        let interface = Interface::of("net_af_xdp0,iface=none-such").unwrap();
        assert_eq!(interface.lost(), Lost::default());
    }
}
