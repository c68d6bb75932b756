//! The gateway: one value that owns registry, pools, resolver and CETP engine, and joins them.

use crate::Nanos;
use crate::counters::Counters;
use crate::output::{AdminToken, Output, QueryToken};
use crate::registry::{PolicySet, Registry};
use crate::routes::Route;
use crate::settings::Settings;
use crate::snapshot::{BindingSnapshot, DnsSnapshot, HostSnapshot, PoolSnapshot, TunnelSnapshot};
use ces_cetp::engine::{AcceptError, BlockSnapshot, ConnId, FilterSnapshot, PeerIdentity, PeerSnapshot};
use ces_dataplane::msg::{Event, PortId};
use ces_dataplane::tag::Layout;
use ces_dns::message::Transport;
use ces_dns::outcome::Side;
use ces_dns::resolver::SocketKey;
use serde::Serialize;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// What the gateway must know about the machinery around it. The same figures go to the workers.
#[derive(Clone, Debug)]
pub struct Platform {
    /// How many workers there are.
    pub workers: u32,
    /// Slots for bindings of each worker.
    pub bindings_per_worker: u32,
    /// How handles are cut.
    pub layout: Layout,
    /// The key of the session tags, random at start.
    pub tag_key: [u32; 4],
    /// Slots for tunnels of each worker.
    pub tunnels: u16,
    /// Slots for next hops of each worker.
    pub neighbours: u32,
    /// Our own addresses on all ports.
    pub addresses: Vec<Ipv4Addr>,
    /// The MTU of the outer path where nothing better is known, in bytes.
    pub outer_mtu: u16,
    /// UDP sockets towards the resolvers that the driver holds open.
    pub upstream_sockets: u16,
    /// Random at start: what is drawn is drawn from here.
    pub seed: [u8; 32],
}

/// What a reload changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// Hosts that are new.
    pub hosts_added: usize,
    /// Hosts that are gone.
    pub hosts_removed: usize,
    /// Hosts with another address, other services or other policies.
    pub hosts_changed: usize,
    /// Sessions that are no longer allowed and were terminated.
    pub sessions_terminated: usize,
}

/// The gateway's core.
pub struct Gateway {
    outputs: VecDeque<Output>,
    counters: Counters,
    cetp_counters: ces_cetp::engine::Counters,
}

impl Gateway {
    /// A gateway with nothing under way. Settings, registry and policies have been checked; an error is about figures
    /// that do not fit the platform.
    pub fn new(
        settings: Settings,
        registry: Registry,
        policies: PolicySet,
        platform: Platform,
        now: Nanos,
    ) -> Result<Self, String> {
        let _ = (settings, registry, policies, platform, now);
        Ok(Self {
            outputs: VecDeque::new(),
            counters: Counters::default(),
            cetp_counters: Default::default(),
        })
    }

    /// A DNS message came from a client. The token comes back in an [`Output::Answer`] or [`Output::NoAnswer`].
    pub fn handle_dns(
        &mut self,
        side: Side,
        transport: Transport,
        client: SocketAddr,
        query: &[u8],
        token: QueryToken,
        now: Nanos,
    ) {
        let _ = (side, transport, client, query, token, now);
    }

    /// The client of a query over TCP went away: no answer is wanted, the token does not come back.
    pub fn handle_dns_gone(&mut self, token: QueryToken) {
        let _ = token;
    }

    /// A message came from a resolver.
    pub fn handle_upstream(&mut self, server: SocketAddr, socket: SocketKey, bytes: &[u8], now: Nanos) {
        let _ = (server, socket, bytes, now);
    }

    /// A resolver cannot be reached by that socket (ICMP, or a TCP connection refused or closed).
    pub fn handle_upstream_unreachable(&mut self, server: SocketAddr, socket: SocketKey, now: Nanos) {
        let _ = (server, socket, now);
    }

    /// A connection of ours ([`Output::CetpConnect`]) is up.
    pub fn handle_cetp_connected(
        &mut self,
        conn: ConnId,
        identity: PeerIdentity,
        local: SocketAddr,
        remote: SocketAddr,
        now: Nanos,
    ) {
        let _ = (conn, identity, local, remote, now);
    }

    /// A peer connected to us. An error means: close it, it has no id.
    pub fn handle_cetp_accepted(
        &mut self,
        identity: PeerIdentity,
        local: SocketAddr,
        remote: SocketAddr,
        now: Nanos,
    ) -> Result<ConnId, AcceptError> {
        let _ = (identity, local, remote, now);
        Err(AcceptError::Overload)
    }

    /// Bytes came on a CETP connection; any cut of the stream will do.
    pub fn handle_cetp_received(&mut self, conn: ConnId, bytes: &[u8], now: Nanos) {
        let _ = (conn, bytes, now);
    }

    /// A CETP connection is gone, or one of ours could not be opened.
    pub fn handle_cetp_closed(&mut self, conn: ConnId, now: Nanos) {
        let _ = (conn, now);
    }

    /// A worker said something. Trace records are the driver's own business and are ignored here.
    pub fn handle_event(&mut self, worker: u32, event: Event, now: Nanos) {
        let _ = (worker, event, now);
    }

    /// The routes changed: this is the whole table.
    pub fn set_routes(&mut self, routes: Vec<Route>, now: Nanos) {
        let _ = (routes, now);
    }

    /// The MAC address of a next hop, or `None` when the kernel lost it. Next hops that nobody uses are ignored.
    pub fn set_neighbour(&mut self, port: PortId, address: Ipv4Addr, mac: Option<[u8; 6]>, now: Nanos) {
        let _ = (port, address, mac, now);
    }

    /// Time has come for what [`Gateway::poll_timeout`] announced.
    pub fn handle_timeout(&mut self, now: Nanos) {
        let _ = now;
    }

    /// When [`Gateway::handle_timeout`] is due next.
    pub fn poll_timeout(&self) -> Option<Nanos> {
        None
    }

    /// The next thing to do; ask until `None` after every call.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Takes new settings, hosts and policies. Sessions that are still allowed go on; the others are terminated. An
    /// error (a change that needs a restart, such as another proxy pool or CES id) leaves everything as it was.
    pub fn reload(
        &mut self,
        settings: Settings,
        registry: Registry,
        policies: PolicySet,
        now: Nanos,
    ) -> Result<Reloaded, String> {
        let _ = (settings, registry, policies, now);
        Ok(Reloaded::default())
    }

    /// Says goodbye to all peers and answers what still waits. Poll the outputs once more, then stop.
    pub fn shutdown(&mut self, now: Nanos) {
        let _ = now;
    }
}

/// What the operator sees and does.
impl Gateway {
    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What the CETP engine counted.
    pub fn cetp_counters(&self) -> &ces_cetp::engine::Counters {
        &self.cetp_counters
    }

    /// All hosts.
    pub fn hosts(&self, now: Nanos) -> Vec<HostSnapshot> {
        let _ = now;
        Vec::new()
    }

    /// All bindings, without counters: those are read one by one with [`Gateway::read_binding`].
    pub fn bindings(&self, now: Nanos) -> Vec<BindingSnapshot> {
        let _ = now;
        Vec::new()
    }

    /// Asks the worker for a binding's counters; the answer is an [`Output::Binding`].
    pub fn read_binding(&mut self, tag: u32, token: AdminToken, now: Nanos) {
        let _ = (tag, token, now);
    }

    /// All tunnels.
    pub fn tunnels(&self) -> Vec<TunnelSnapshot> {
        Vec::new()
    }

    /// All CETP peers.
    pub fn peers(&self, now: Nanos) -> Vec<PeerSnapshot> {
        let _ = now;
        Vec::new()
    }

    /// The addresses that CETP blocks.
    pub fn blocks(&self, now: Nanos) -> Vec<BlockSnapshot> {
        let _ = now;
        Vec::new()
    }

    /// The names that CETP filters.
    pub fn filters(&self, now: Nanos) -> Vec<FilterSnapshot> {
        let _ = now;
        Vec::new()
    }

    /// The name service.
    pub fn dns(&self) -> DnsSnapshot {
        DnsSnapshot { counters: self.counters.clone(), cache_entries: 0, waiting: 0 }
    }

    /// How full the pools are.
    pub fn pools(&self) -> PoolSnapshot {
        PoolSnapshot::default()
    }

    /// Ends a session (for a local pair both its bindings) and tells the peer. False if there is none.
    pub fn terminate_session(&mut self, tag: u32, now: Nanos) -> bool {
        let _ = (tag, now);
        false
    }

    /// Ends all sessions with a peer; how many there were.
    pub fn terminate_sessions(&mut self, ces_id: &str, now: Nanos) -> usize {
        let _ = (ces_id, now);
        0
    }

    /// Ends C2C with a peer, and with it all sessions. False if it is not up.
    pub fn terminate_peer(&mut self, ces_id: &str, now: Nanos) -> bool {
        let _ = (ces_id, now);
        false
    }

    /// Refuses a host, in and out, for so many seconds, and ends its sessions. False if there is no such host.
    pub fn block_host(&mut self, name: &str, for_s: u64, now: Nanos) -> bool {
        let _ = (name, for_s, now);
        false
    }

    /// Lets a blocked host act again. False if it was not blocked.
    pub fn unblock_host(&mut self, name: &str, now: Nanos) -> bool {
        let _ = (name, now);
        false
    }

    /// Refuses a CETP sender's address for so many seconds.
    pub fn block_address(&mut self, address: IpAddr, for_s: u64, now: Nanos) {
        let _ = (address, for_s, now);
    }

    /// Lets a blocked address in again. False if it was not blocked.
    pub fn unblock_address(&mut self, address: IpAddr) -> bool {
        let _ = address;
        false
    }

    /// Forgets what the resolver's cache knows.
    pub fn flush_cache(&mut self) {}
}
