//! `cesd` itself: everything put together, started in an order that leaves nothing behind when a step fails.
//!
//! The parts are plain values owned by [`Daemon`]; [`turn`] is its loop, [`start`] its beginning, [`operator`] and
//! [`scrape`] what others see of it.

mod operator;
mod scrape;
mod start;
mod trace;
mod turn;

pub use start::{StartError, load};
pub use turn::End;

use crate::admin::server::AdminServer;
use crate::config::Config;
use crate::datagram::{Malformed, Path};
use crate::dns_tcp::DnsTcp;
use crate::fleet::Fleet;
use crate::log::Limiter;
use crate::metrics::families::Page;
use crate::metrics::http::Http;
use crate::netlink::Kernel;
use crate::peering::{Peering, Upper};
use crate::slots::{Key, Slots};
use crate::tap::Tap;
use crate::upstream::{Answers, Upstream};
use ces_cetp::engine::{ConnId, PeerIdentity};
use ces_dataplane::msg::PortId;
use ces_dataplane::tag::TagCipher;
use ces_dns::resolver::SocketKey;
use ces_gateway::Gateway;
use machine::Clock;
use mio::net::UnixStream;
use rustc_hash::FxHashSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Where a DNS query came from, and so where its answer goes.
#[derive(Clone, Copy, Debug)]
enum Origin {
    /// A punted frame.
    Udp { worker: usize, port: PortId, path: Path },
    /// A connection, and the question's number there.
    Tcp { client: Key, number: u64 },
}

/// What the control thread counts itself.
#[derive(Clone, Debug, Default)]
struct Counters {
    /// Punted DNS frames that are no datagrams, by reason.
    malformed: [u64; Malformed::ALL.len()],
    /// Answers over UDP that do not fit the port's MTU.
    too_long: u64,
    /// Turns of the loop.
    turns: u64,
    /// Times that the loop slept.
    sleeps: u64,
}

/// How long the list of blocked addresses is believed, in nanoseconds: the engine, which knows better, looks again after
/// the handshake.
const BLOCKED_NS: u64 = 200_000_000;

/// The addresses that get no CETP connection, as of a moment ago.
#[derive(Default)]
struct Blocked {
    addresses: FxHashSet<IpAddr>,
    read: Option<u64>,
}

/// Lookups of hosts a second that queries may cause, and at once.
const LOOKUPS_PER_S: u64 = 200;

/// How many lookups are left.
#[derive(Default)]
struct Lookups {
    left: u64,
    filled: u64,
}

impl Lookups {
    fn take(&mut self, now: u64) -> bool {
        let earned = now.saturating_sub(self.filled) * LOOKUPS_PER_S / 1_000_000_000;
        if earned > 0 {
            self.left = (self.left + earned).min(LOOKUPS_PER_S);
            self.filled = now;
        }
        let taken = self.left > 0;
        self.left = self.left.saturating_sub(1);
        taken
    }
}

/// The gateway's core as the CETP transport and the upstream sockets see it.
struct Core<'a> {
    gateway: &'a mut Gateway,
    blocked: &'a mut Blocked,
    now: u64,
}

impl Upper for Core<'_> {
    fn is_blocked(&mut self, address: IpAddr) -> bool {
        if self.blocked.read.is_none_or(|read| self.now.saturating_sub(read) >= BLOCKED_NS) {
            self.blocked.read = Some(self.now);
            self.blocked.addresses =
                self.gateway.blocks(self.now).into_iter().map(|block| block.addr).collect();
        }
        self.blocked.addresses.contains(&address)
    }

    fn connected(&mut self, conn: ConnId, identity: PeerIdentity, local: SocketAddr, remote: SocketAddr) {
        self.gateway.handle_cetp_connected(conn, identity, local, remote, self.now);
    }

    fn accepted(&mut self, identity: PeerIdentity, local: SocketAddr, remote: SocketAddr) -> Option<ConnId> {
        self.gateway.handle_cetp_accepted(identity, local, remote, self.now).ok()
    }

    fn received(&mut self, conn: ConnId, bytes: &[u8]) {
        self.gateway.handle_cetp_received(conn, bytes, self.now);
    }

    fn closed(&mut self, conn: ConnId) {
        self.gateway.handle_cetp_closed(conn, self.now);
    }
}

impl Answers for Core<'_> {
    fn answered(&mut self, server: SocketAddr, socket: SocketKey, bytes: &[u8]) {
        self.gateway.handle_upstream(server, socket, bytes, self.now);
    }

    fn unreachable(&mut self, server: SocketAddr, socket: SocketKey) {
        self.gateway.handle_upstream_unreachable(server, socket, self.now);
    }
}

/// The running gateway. Fields are dropped in this order: first the workers, which hold queues, then ports and TAPs.
pub struct Daemon {
    fleet: Fleet,
    ports: Vec<dpdk::Port>,
    drivers: Vec<String>,
    macs: Vec<[u8; 6]>,
    taps: Vec<Tap>,
    kernel: Kernel,
    gateway: Gateway,
    peering: Peering,
    dns_tcp: DnsTcp,
    /// The port of each DNS listener.
    dns_ports: Vec<PortId>,
    upstream: Upstream,
    admin: AdminServer,
    http: Option<Http>,
    page: Page,
    operator: operator::Operator,
    poll: mio::Poll,
    signals: [UnixStream; 2],
    origins: Slots<Origin>,
    blocked: Blocked,
    lookups: Lookups,
    counters: Counters,
    cipher: TagCipher,
    config: Config,
    path: PathBuf,
    clock: Clock,
    limiter: Limiter,
    /// Routes have changed since the gateway was told.
    routes_changed: bool,
    /// A TAP or the netlink socket may have more to read.
    taps_unread: Vec<usize>,
    kernel_unread: bool,
    _eal: dpdk::Eal,
}
