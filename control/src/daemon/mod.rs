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
use crate::inward::Blocked;
use crate::log::Limiter;
use crate::metrics::families::Page;
use crate::metrics::http::Http;
use crate::netlink::Kernel;
use crate::peering::Peering;
use crate::slots::{Key, Slots};
use crate::tap::Tap;
use crate::upstream::Upstream;
use ces_dataplane::msg::PortId;
use ces_dataplane::tag::TagCipher;
use ces_gateway::Gateway;
use machine::Clock;
use mio::net::UnixStream;
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
