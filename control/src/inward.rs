//! The gateway's core as the transports see it: what comes from peers and resolvers goes to it with the time.

use crate::sources::peering::Upper;
use crate::sources::upstream::Answers;
use ces_cetp::engine::{AcceptError, ConnId, PeerIdentity};
use ces_dns::resolver::SocketKey;
use ces_gateway::Gateway;
use rustc_hash::FxHashSet;
use std::net::{IpAddr, SocketAddr};

/// How long the list of blocked addresses is believed, in nanoseconds: the engine, which knows better, looks again after
/// the handshake.
const BLOCKED_NS: u64 = 200_000_000;

/// The addresses that get no CETP connection, as of a moment ago.
#[derive(Default)]
pub struct Blocked {
    addresses: FxHashSet<IpAddr>,
    read: Option<u64>,
}

impl Blocked {
    /// What was read before is believed no longer: something was blocked or let in.
    pub fn look_again(&mut self) {
        self.read = None;
    }
}

/// The gateway's core as the CETP transport and the upstream sockets see it.
pub struct GatewayAccess<'a> {
    /// The gateway.
    pub gateway: &'a mut Gateway,
    /// The addresses that it refuses.
    pub blocked: &'a mut Blocked,
    /// What time it is for all that comes in.
    pub now: u64,
}

impl Upper for GatewayAccess<'_> {
    fn is_blocked(&mut self, address: IpAddr) -> bool {
        if self.blocked.read.is_none_or(|read| self.now.saturating_sub(read) >= BLOCKED_NS) {
            self.blocked.read = Some(self.now);
            self.blocked.addresses =
                self.gateway.blocks(self.now).into_iter().map(|block| block.addr).collect();
        }
        self.blocked.addresses.contains(&address)
    }

    fn connected(&mut self, conn: ConnId, identity: PeerIdentity, remote: SocketAddr) {
        self.gateway.handle_cetp_connected(conn, identity, remote, self.now);
    }

    fn accepted(&mut self, identity: PeerIdentity, remote: SocketAddr) -> Result<ConnId, AcceptError> {
        self.gateway.handle_cetp_accepted(identity, remote, self.now)
    }

    fn received(&mut self, conn: ConnId, bytes: &[u8]) {
        self.gateway.handle_cetp_received(conn, bytes, self.now);
    }

    fn closed(&mut self, conn: ConnId) {
        self.gateway.handle_cetp_closed(conn, self.now);
    }
}

impl Answers for GatewayAccess<'_> {
    fn answered(&mut self, server: SocketAddr, socket: SocketKey, bytes: &[u8]) {
        self.gateway.handle_upstream(server, socket, bytes, self.now);
    }

    fn unreachable(&mut self, server: SocketAddr, socket: SocketKey) {
        self.gateway.handle_upstream_unreachable(server, socket, self.now);
    }
}
