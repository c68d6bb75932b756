//! What the gateway wants done: one closed list, polled by the driver after every call, in order.
//!
//! The order matters in one place: a binding's command always comes before the DNS answer or the CETP message that
//! makes somebody use it.

use crate::added::AddedRecord;
use crate::address::{HopAddress, HostAddress, TunnelEnd};
use crate::log::LogLine;
use crate::sessions::Change;
use crate::snapshot::BindingSnapshot;
use crate::{Mac, Nanos};
use ces_cetp::engine::{ConnId, Endpoint};
use ces_dataplane::msg::{Command, PortId};
use ces_dataplane::seal::KeyChange;
use ces_dataplane::table::fib::Fib;
use std::sync::Arc;

/// Names a DNS query between the driver and the gateway. Every token given to `handle_dns` comes back exactly once, in
/// [`Output::Answer`] or [`Output::NoAnswer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QueryToken(pub u64);

/// Names an administrator's request for a binding's counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AdminToken(pub u64);

/// One thing to be done.
#[derive(Debug)]
pub enum Output {
    /// Send this DNS message to whoever asked with this token.
    Answer {
        /// The query's token.
        token: QueryToken,
        /// The message, fit for the query's transport.
        bytes: Vec<u8>,
    },
    /// Forget the token: the query deserves no answer (garbage, out of zone from the outside, over the rate). Counted.
    NoAnswer {
        /// The query's token.
        token: QueryToken,
    },
    /// Put this command on that worker's ring.
    Dataplane {
        /// The worker's number.
        worker: u32,
        /// The command.
        command: Command,
    },
    /// Have that worker take this key of a peer.
    Key {
        /// The worker's number.
        worker: u32,
        /// The key, made ready.
        change: Box<KeyChange>,
    },
    /// Have the workers forward by these routes.
    Routes(Arc<Fib>),
    /// Send this to a resolver.
    Upstream(ces_dns::resolver::Transmit),
    /// Close this socket towards the resolvers: nothing is waited for on it, and its port is not to be used again.
    UpstreamClose(ces_dns::resolver::SocketKey),
    /// Open a CETP connection; tell `handle_cetp_connected` or `handle_cetp_closed`.
    CetpConnect {
        /// Names the connection from here on.
        conn: ConnId,
        /// Where to.
        endpoint: Endpoint,
        /// Whom the peer's certificate must name.
        ces_id: Arc<str>,
    },
    /// Send these bytes (already framed) on a connection.
    CetpSend {
        /// The connection.
        conn: ConnId,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Close a connection when what was sent is out; no `handle_cetp_closed` is needed.
    CetpClose {
        /// The connection.
        conn: ConnId,
    },
    /// A next hop's MAC address is wanted; tell `set_neighbour` when it is known. May be repeated.
    ResolveNeighbour {
        /// The port that it is behind.
        port: PortId,
        /// The next hop.
        address: HopAddress,
    },
    /// Ask this station by ARP whether it still has a host's address.
    AskOwner {
        /// The port that it is behind.
        port: PortId,
        /// The host's address.
        address: HostAddress,
        /// The station.
        mac: Mac,
    },
    /// Send an ICMP echo request that must not be fragmented; tell `handle_echo` when it is answered.
    Echo {
        /// The port that it leaves by.
        port: PortId,
        /// The next hop's MAC address.
        mac: Mac,
        /// Our locator.
        from: TunnelEnd,
        /// The peer's.
        to: TunnelEnd,
        /// Bytes of the IPv4 packet.
        size: u16,
        /// Its identifier and sequence number in one.
        token: u32,
    },
    /// The answer to [`crate::Gateway::read_binding`].
    Binding {
        /// The request's token.
        token: AdminToken,
        /// The binding with its counters; `None` if it is gone.
        binding: Option<BindingSnapshot>,
    },
    /// Sessions have changed: what the journal is made of. It comes before what makes somebody rely on it.
    Changed {
        /// When.
        at: Nanos,
        /// What.
        change: Box<Change>,
    },
    /// Write down what was added at run time, all of it at once; tell `handle_added_written` when that is done.
    Added {
        /// Names it.
        number: u64,
        /// What.
        records: Vec<AddedRecord>,
    },
    /// A line for the log.
    Log(LogLine),
}
