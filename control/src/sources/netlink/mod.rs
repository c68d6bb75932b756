//! The kernel's neighbours on the shadow TAPs, learnt and asked for by netlink.
//!
//! The kernel answers and asks ARP; the gateway only listens, keeps a copy, and has the kernel resolve what the packet path
//! needs. The kernel does so under the TAP's MAC address, which therefore has to stay the port's. Routes are learnt in the
//! same way ([`feed`]) by a thread of their own ([`crate::sources::routes`]).

mod asker;
pub mod feed;
pub mod limit;
pub mod link;
pub mod message;
pub mod table;

use crate::source::{Socket, Sockets, Source};
use asker::{Asker, Request};
use feed::{Copied, DATAGRAM, Feed};
use message::{KernelRoute, Notice};
use mio::unix::SourceFd;
use netlink_sys::{Socket as Netlink, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use table::{NeighbourChange, NeighbourTable, NextHop, Shadow, Shadows};

/// RTNLGRP_NEIGH (3) and RTNLGRP_LINK (1), as bits.
const GROUPS: u32 = 0b101;
/// The kernel's queue towards us in bytes: some thousand notices.
const QUEUE_BYTES: usize = 1 << 20;

/// It is there already; it is not there, said of a route; the same, said of an address.
const EEXIST: i32 = 17;
const ESRCH: i32 = 3;
const EADDRNOTAVAIL: i32 = 99;
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
    pub fn remove_route(&mut self, route: &KernelRoute) -> Result<(), NetlinkError> {
        self.sequence += 1;
        let bytes = message::remove_route(route, self.sequence);
        self.ask(&|| format!("removing the route {}/{}", route.network, route.prefix), &bytes)
    }

    /// Adds a route, or replaces the one to the same network.
    pub fn add_route(&mut self, route: &KernelRoute) -> Result<(), NetlinkError> {
        self.sequence += 1;
        let bytes = message::add_route(route, self.sequence);
        let what = || match route.gateway {
            Some(via) => format!("adding the route {}/{} via {via}", route.network, route.prefix),
            None => format!("adding the route {}/{}", route.network, route.prefix),
        };
        self.ask(&what, &bytes)
    }
}

/// Who hears what the kernel says.
pub trait NeighbourListener {
    /// A neighbour's MAC address is known, or has changed, or is unknown again.
    fn neighbour(&mut self, hop: NextHop, mac: Option<[u8; 6]>, now: u64);
}

/// The copy of the kernel's neighbours and what feeds it.
pub struct Kernel {
    feed: Feed,
    asker: Asker,
    book: Book,
    /// MAC addresses of TAPs that were put right.
    restored: u64,
    /// The socket may have more.
    unread: bool,
}

/// The copy, and what has come of it since somebody was told.
struct Book {
    table: NeighbourTable,
    changes: Vec<NeighbourChange>,
    /// What the kernel is to confirm.
    stale: Vec<NextHop>,
    /// Neighbours that found the kernel's table full.
    full: u64,
    /// TAPs to which somebody gave another MAC address than the port's.
    astray: Vec<Shadow>,
    /// Whether notices of them may have been lost.
    look: bool,
}

impl Kernel {
    /// Listens for changes on these TAPs, and asks for all.
    pub fn open(shadows: Shadows, sockets: &Sockets) -> Result<Self, NetlinkError> {
        let mut feed = Feed::open(GROUPS, QUEUE_BYTES, message::dump_neighbours)?;
        let mut book = Book {
            table: NeighbourTable::new(shadows),
            changes: Vec::new(),
            stale: Vec::new(),
            full: 0,
            astray: Vec::new(),
            look: true,
        };
        sockets.listen(&mut SourceFd(&feed.as_raw_fd()), 0)?;
        feed.dump(&mut book)?;
        let asker = Asker::start(feed.handle()?)?;
        Ok(Self { feed, asker, book, restored: 0, unread: true })
    }

    /// The copy.
    pub fn table(&self) -> &NeighbourTable {
        &self.book.table
    }

    /// How often notices were lost and everything was asked for again.
    pub fn resyncs(&self) -> u64 {
        self.feed.resyncs()
    }

    /// How often the kernel's table of neighbours had no room for one that the gateway needed.
    pub fn full(&self) -> u64 {
        self.book.full
    }

    /// Has the kernel resolve the next hop, or confirm what it knows: what sending a packet there would do.
    pub fn resolve(&self, hop: NextHop) {
        let Some(index) = self.table().shadows().index(hop.port) else { return };
        self.asker.ask(Request::Resolve { index, address: hop.address });
    }

    /// How often a TAP was given the port's MAC address again.
    pub fn restored(&self) -> u64 {
        self.restored
    }

    /// Gives TAPs the port's MAC address again. Under another one the kernel would ask for neighbours, and their answers would
    /// not come here. It is udev that gives them another one as soon as it sees them (`MACAddressPolicy=persistent`,
    /// systemd.link(5)), if it looks before they have the port's.
    fn put_right(&mut self) {
        if std::mem::take(&mut self.book.look) {
            for shadow in self.book.table.shadows().all() {
                self.book.look |= !self.asker.ask(Request::Look { index: shadow.index });
            }
        }
        for Shadow { index, mac } in self.book.astray.drain(..) {
            if !self.asker.ask(Request::SetMac { index, mac }) {
                self.book.look = true;
                continue;
            }
            self.restored += 1;
            tracing::warn!(
                kind = "shadow_mac",
                "somebody gave a port's shadow interface another MAC address than the port's: it is put right"
            );
        }
    }
}

impl Copied for Book {
    fn begin_dump(&mut self) {
        self.table.begin_dump();
    }

    fn end_dump(&mut self) {
        self.changes.append(&mut self.table.end_dump());
        self.look = true;
    }

    fn hear(&mut self, notice: Notice) {
        match notice {
            Notice::Answer { code: ENOBUFS, .. } => {
                self.full += 1;
                tracing::warn!(
                    kind = "neighbours_full",
                    "the kernel's table of neighbours is full, for all network namespaces together: raise \
                     net.ipv4.neigh.default.gc_thresh3 and gc_thresh2 on the machine"
                );
            }
            Notice::Answer { code, .. } if code != 0 => {
                let reason = io::Error::from_raw_os_error(code);
                tracing::debug!(kind = "netlink_refused", "the kernel refused a request: {reason}");
            }
            Notice::Link { index, mac } => self.astray.extend(self.table.shadows().astray(index, mac)),
            _ => {
                let (change, stale) = self.table.hear(notice);
                self.changes.extend(change);
                self.stale.extend(stale);
            }
        }
    }
}

impl<L: NeighbourListener> Source<L> for Kernel {
    fn handle(&mut self, _: Socket, listener: &mut L, now: u64) {
        self.unread = self.feed.read(&mut self.book);
        for (hop, mac) in self.book.changes.drain(..) {
            listener.neighbour(hop, mac, now);
        }
        // The kernel sees nothing of the packets that the workers send there, and would never ask again whether the
        // neighbour is where it was.
        for hop in std::mem::take(&mut self.book.stale) {
            self.resolve(hop);
        }
        self.put_right();
    }

    fn has_unread(&self) -> bool {
        self.unread
    }

    fn handle_unread(&mut self, listener: &mut L, now: u64) {
        self.handle(Socket::Fixed(0), listener, now);
    }
}
