//! The kernel's neighbours and routes on the shadow TAPs, learnt and asked for by netlink.
//!
//! The kernel answers and asks ARP, and a routing daemon may write routes; the gateway only listens, keeps a copy, and
//! has the kernel resolve what the packet path needs.

pub mod limit;
pub mod link;
pub mod message;
pub mod table;

use crate::source::{Socket, Sockets, Source};
use ces_dataplane::msg::PortId;
use message::{Notice, Route};
use mio::unix::SourceFd;
use netlink_sys::{Socket as Netlink, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use table::{Change, NextHop, Table};

/// RTNLGRP_NEIGH and RTNLGRP_IPV4_ROUTE, as bits.
const GROUPS: u32 = 1 << (3 - 1) | 1 << (7 - 1);
/// The kernel's queue towards us in bytes: some thousand notices.
const QUEUE_BYTES: usize = 1 << 20;
/// The largest datagram: the kernel fills 32 KiB at most when it dumps.
const DATAGRAM: usize = 64 * 1024;
/// Datagrams taken in one turn of the loop.
const DATAGRAMS_PER_TURN: usize = 64;

/// It is there already; it is not there, said of a route; the same, said of an address.
const EEXIST: i32 = 17;
const ESRCH: i32 = 3;
const EADDRNOTAVAIL: i32 = 99;
const EBUSY: i32 = 16;
const ENOBUFS: i32 = 105;

/// A request for set-up was refused.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The socket itself failed.
    #[error("netlink: {0}")]
    Socket(#[from] io::Error),
    /// The kernel said no.
    #[error("{what}: {source}")]
    Refused {
        /// What was asked, for a person.
        what: String,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// One request at a time, each with its answer: for set-up.
pub struct Requests {
    socket: Netlink,
    sequence: u32,
}

impl Requests {
    /// Opens a socket.
    pub fn open() -> Result<Self, NetlinkError> {
        let mut socket = Netlink::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    fn ask(&mut self, what: &dyn Fn() -> String, bytes: &[u8]) -> Result<(), NetlinkError> {
        self.socket.send(bytes, 0)?;
        // The kernel answers a change before `send` returns, so this does not wait.
        let mut buffer = Vec::with_capacity(DATAGRAM);
        loop {
            buffer.clear();
            self.socket.recv(&mut buffer, 0)?;
            let mut answer = None;
            message::parse(&buffer, |notice| match notice {
                Notice::Answer { sequence, code } if sequence == self.sequence => answer = Some(code),
                _ => {}
            });
            match answer {
                None => {}
                Some(0 | EEXIST | ESRCH | EADDRNOTAVAIL) => return Ok(()),
                Some(code) => {
                    return Err(NetlinkError::Refused {
                        what: what(),
                        source: io::Error::from_raw_os_error(code),
                    });
                }
            }
        }
    }

    /// Gives an interface an address. To have it already is fine.
    pub fn add_address(&mut self, index: u32, address: Ipv4Addr, prefix: u8) -> Result<(), NetlinkError> {
        self.sequence += 1;
        let bytes = message::add_address(index, address, prefix, self.sequence);
        self.ask(&|| format!("adding the address {address}/{prefix}"), &bytes)
    }

    /// Takes an address from an interface. Not to have it is fine.
    pub fn remove_address(&mut self, index: u32, address: Ipv4Addr, prefix: u8) -> Result<(), NetlinkError> {
        self.sequence += 1;
        let bytes = message::remove_address(index, address, prefix, self.sequence);
        self.ask(&|| format!("removing the address {address}/{prefix}"), &bytes)
    }

    /// Takes a static route away. Not to have it is fine.
    pub fn remove_route(&mut self, route: &Route) -> Result<(), NetlinkError> {
        self.sequence += 1;
        let bytes = message::remove_route(route, self.sequence);
        self.ask(&|| format!("removing the route {}/{}", route.network, route.prefix), &bytes)
    }

    /// Adds a route, or replaces the one to the same network.
    pub fn add_route(&mut self, route: &Route) -> Result<(), NetlinkError> {
        self.sequence += 1;
        let bytes = message::add_route(route, self.sequence);
        let what = || match route.gateway {
            Some(via) => format!("adding the route {}/{} via {via}", route.network, route.prefix),
            None => format!("adding the route {}/{}", route.network, route.prefix),
        };
        self.ask(&what, &bytes)
    }
}

/// How far the copy of the kernel's state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sync {
    /// Complete; changes come as they happen.
    Live,
    /// The dump of neighbours with this sequence number is under way; routes come next.
    Neighbours(u32),
    /// The dump of routes with this sequence number is under way.
    Routes(u32),
}

/// Who hears what the kernel says.
pub trait Listener {
    /// A neighbour's MAC address is known, or has changed, or is unknown again.
    fn neighbour(&mut self, hop: NextHop, mac: Option<[u8; 6]>, now: u64);
    /// Routes are different: this is all of them.
    fn routes(&mut self, table: &Table, now: u64);
}

/// The copy of the kernel's state and the socket that feeds it.
pub struct Kernel {
    socket: Netlink,
    table: Table,
    sync: Sync,
    /// Notices were lost while a dump was under way: dump once more.
    again: bool,
    sequence: u32,
    resyncs: u64,
    /// Neighbours that found the kernel's table full.
    full: u64,
    /// The socket may have more.
    unread: bool,
    /// Routes have changed since somebody was told.
    routes_changed: bool,
    buffer: Vec<u8>,
}

impl Kernel {
    /// Listens for changes on the TAPs with these interface indices (in the order of the ports), and asks for all.
    pub fn open(indices: Vec<u32>, sockets: &Sockets) -> Result<Self, NetlinkError> {
        let mut socket = Netlink::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, GROUPS))?;
        socket.set_non_blocking(true)?;
        // Without the privilege to go past net.core.rmem_max the kernel gives what it may.
        let _ = socket.set_rx_buf_sz(QUEUE_BYTES as i32);
        let mut kernel = Self {
            socket,
            table: Table::new(indices),
            sync: Sync::Live,
            again: false,
            sequence: 0,
            resyncs: 0,
            full: 0,
            unread: true,
            routes_changed: true,
            buffer: Vec::with_capacity(DATAGRAM),
        };
        sockets.listen(&mut SourceFd(&kernel.socket.as_raw_fd()), 0)?;
        kernel.dump()?;
        Ok(kernel)
    }

    /// The copy.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// How often notices were lost and everything was asked for again.
    pub fn resyncs(&self) -> u64 {
        self.resyncs
    }

    /// How often the kernel's table of neighbours had no room for one that the gateway needed.
    pub fn full(&self) -> u64 {
        self.full
    }

    fn send(&mut self, build: impl FnOnce(u32) -> Vec<u8>) -> io::Result<u32> {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        let bytes = build(self.sequence);
        self.socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
        Ok(self.sequence)
    }

    fn dump(&mut self) -> io::Result<()> {
        self.again = false;
        self.table.begin_dump();
        let sequence = self.send(message::dump_neighbours)?;
        self.sync = Sync::Neighbours(sequence);
        Ok(())
    }

    /// Has the kernel resolve the next hop, or confirm what it knows: what sending a packet there would do.
    pub fn resolve(&mut self, hop: NextHop) {
        let Some(index) = self.table.index(hop.port) else { return };
        if let Err(error) = self.send(|sequence| message::resolve(index, hop.address, sequence)) {
            tracing::warn!(kind = "netlink_send", "cannot have {} resolved: {error}", hop.address);
        }
    }

    /// The next hop towards an address.
    pub fn next_hop(&self, destination: Ipv4Addr) -> Option<NextHop> {
        self.table.next_hop(destination)
    }

    /// Reads what the kernel said; `changed` hears what is different. True if there may be more.
    fn read(&mut self, mut changed: impl FnMut(Change)) -> bool {
        for _ in 0..DATAGRAMS_PER_TURN {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if error.raw_os_error() == Some(ENOBUFS) => {
                    self.resyncs += 1;
                    tracing::info!(
                        kind = "netlink_overrun",
                        "the kernel's notices overflowed: reading all again"
                    );
                    self.restart();
                    continue;
                }
                Err(error) => {
                    tracing::warn!(kind = "netlink_receive", "netlink: {error}");
                    return false;
                }
            }
            let mut heard = Vec::new();
            message::parse(&self.buffer, |notice| heard.push(notice));
            for notice in heard {
                self.take(notice, &mut changed);
            }
        }
        true
    }

    fn take(&mut self, notice: Notice, changed: &mut impl FnMut(Change)) {
        match (notice, self.sync) {
            (Notice::Done(sequence), Sync::Neighbours(own)) if sequence == own => {
                match self.send(message::dump_routes) {
                    Ok(sequence) => self.sync = Sync::Routes(sequence),
                    Err(error) => tracing::warn!(kind = "netlink_send", "cannot read the routes: {error}"),
                }
            }
            (Notice::Done(sequence), Sync::Routes(own)) if sequence == own => {
                self.sync = Sync::Live;
                if self.again {
                    self.restart();
                } else {
                    self.table.end_dump().into_iter().for_each(&mut *changed);
                }
            }
            (Notice::Answer { sequence, code: EBUSY }, Sync::Neighbours(own) | Sync::Routes(own))
                if sequence == own =>
            {
                self.sync = Sync::Live;
                self.restart();
            }
            (Notice::Answer { code: ENOBUFS, .. }, _) => {
                self.full += 1;
                tracing::warn!(
                    kind = "neighbours_full",
                    "the kernel's table of neighbours is full, for all network namespaces together: raise \
                     net.ipv4.neigh.default.gc_thresh3 and gc_thresh2 on the machine"
                );
            }
            (Notice::Answer { code, .. }, _) if code != 0 => {
                let reason = io::Error::from_raw_os_error(code);
                tracing::debug!(
                    kind = "netlink_refused",
                    "the kernel refused to resolve a neighbour: {reason}"
                );
            }
            _ => {
                let (change, stale) = self.table.hear(notice);
                // The kernel sees nothing of the packets that the workers send there, and would never ask again whether the
                // neighbour is where it was.
                if let Some(hop) = stale {
                    self.resolve(hop);
                }
                if let Some(change) = change {
                    changed(change);
                }
            }
        }
    }

    /// Dumps again, after the dump that is under way.
    fn restart(&mut self) {
        if self.sync != Sync::Live {
            self.again = true;
            return;
        }
        if let Err(error) = self.dump() {
            tracing::warn!(kind = "netlink_send", "cannot read neighbours and routes: {error}");
        }
    }

    /// The port whose TAP has this interface index.
    pub fn index(&self, port: PortId) -> Option<u32> {
        self.table.index(port)
    }
}

impl<L: Listener> Source<L> for Kernel {
    fn handle(&mut self, _: Socket, listener: &mut L, now: u64) {
        let mut routes_changed = self.routes_changed;
        self.unread = self.read(|change| match change {
            Change::Neighbour(hop, mac) => listener.neighbour(hop, mac, now),
            Change::Routes => routes_changed = true,
        });
        // Of many changes in a row one is told.
        self.routes_changed = routes_changed && self.unread;
        if routes_changed && !self.unread {
            listener.routes(&self.table, now);
        }
    }

    fn has_unread(&self) -> bool {
        self.unread
    }

    fn handle_unread(&mut self, listener: &mut L, now: u64) {
        self.handle(Socket::Fixed(0), listener, now);
    }
}
