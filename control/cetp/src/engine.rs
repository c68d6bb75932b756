//! The engine.

mod api;
mod counters;

pub use api::*;
pub use counters::{Counters, Outcomes};

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The CETP engine of one gateway: all its peers, negotiations and sessions.
pub struct Engine {
    counters: Counters,
}

impl Engine {
    /// An engine with nothing under way. `seed` feeds its generator: tags, secrets, tunnel ids.
    pub fn new(settings: Settings, seed: [u8; 32], now: Nanos) -> Result<Self, String> {
        let _ = (seed, now);
        settings.limits.check()?;
        Ok(Self { counters: Counters::default() })
    }

    /// Takes new settings for what is negotiated from now on; sessions and peers stay.
    pub fn configure(&mut self, settings: Settings, now: Nanos) -> Result<(), String> {
        let _ = now;
        settings.limits.check()
    }

    /// A local host wants to reach a remote name. Joins what is under way.
    pub fn negotiate(&mut self, realm: &mut dyn Realm, request: H2hRequest, now: Nanos) -> Asked {
        let _ = (realm, request, now);
        Asked::Pending(NegotiationId(0))
    }

    /// A connection of ours ([`Output::Connect`]) is up.
    pub fn handle_connected(
        &mut self,
        realm: &mut dyn Realm,
        conn: ConnId,
        identity: PeerIdentity,
        local: SocketAddr,
        remote: SocketAddr,
        now: Nanos,
    ) {
        let _ = (realm, conn, identity, local, remote, now);
    }

    /// A peer connected to us. An error means: close it, it has no id.
    pub fn handle_accepted(
        &mut self,
        identity: PeerIdentity,
        local: SocketAddr,
        remote: SocketAddr,
        now: Nanos,
    ) -> Result<ConnId, AcceptError> {
        let _ = (identity, local, remote, now);
        Err(AcceptError::Overload)
    }

    /// Bytes came; any cut of the stream will do.
    pub fn handle_received(&mut self, realm: &mut dyn Realm, conn: ConnId, bytes: &[u8], now: Nanos) {
        let _ = (realm, conn, bytes, now);
    }

    /// A connection is gone, or one of ours could not be opened.
    pub fn handle_closed(&mut self, realm: &mut dyn Realm, conn: ConnId, now: Nanos) {
        let _ = (realm, conn, now);
    }

    /// Time has come for what [`Engine::poll_timeout`] announced.
    pub fn handle_timeout(&mut self, realm: &mut dyn Realm, now: Nanos) {
        let _ = (realm, now);
    }

    /// When `handle_timeout` is due next.
    pub fn poll_timeout(&self) -> Option<Nanos> {
        None
    }

    /// The next thing for the owner to do; ask until `None` after every call that may have caused any.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }

    /// The owner says that a session's binding ended by itself (idle or hard lifetime); nothing comes out of it.
    pub fn session_ended(&mut self, local_tag: u32, now: Nanos) {
        let _ = (local_tag, now);
    }

    /// Terminates a session: the peer is told, [`Output::H2hDown`] follows. False if there is none.
    pub fn terminate_session(&mut self, local_tag: u32, now: Nanos) -> bool {
        let _ = (local_tag, now);
        false
    }

    /// Terminates all sessions with a peer in one message (`ces.terminate`, `{"sessions": "*"}`); how many there were.
    pub fn terminate_sessions(&mut self, ces_id: &str, now: Nanos) -> usize {
        let _ = (ces_id, now);
        0
    }

    /// Ends C2C with a peer and with it all sessions. False if there is no such peer up.
    pub fn terminate_peer(&mut self, realm: &mut dyn Realm, ces_id: &str, now: Nanos) -> bool {
        let _ = (realm, ces_id, now);
        false
    }

    /// Asks a peer to stop flows to us for a while, and refuses them here meanwhile. `None` if the peer is not up.
    pub fn filter_at_peer(&mut self, ces_id: &str, filter: Filter, now: Nanos) -> Option<ActionId> {
        let _ = (ces_id, filter, now);
        None
    }

    /// Tells a peer about misbehaviour in a session. `None` if there is no such session or its peer is not up.
    pub fn report(&mut self, local_tag: u32, misbehavior: &str, now: Nanos) -> Option<ActionId> {
        let _ = (local_tag, misbehavior, now);
        None
    }

    /// Refuses a name, local or remote, in new negotiations for a while and ends its sessions. False: no room.
    pub fn filter_here(&mut self, name: Arc<str>, local: bool, for_ns: u64, now: Nanos) -> bool {
        let _ = (name, local, for_ns, now);
        false
    }

    /// Refuses an address for a while and closes its connections.
    pub fn block(&mut self, realm: &mut dyn Realm, addr: IpAddr, for_ns: u64, now: Nanos) {
        let _ = (realm, addr, for_ns, now);
    }

    /// Lets an address in again. False if it was not blocked.
    pub fn unblock(&mut self, addr: IpAddr) -> bool {
        let _ = addr;
        false
    }

    /// Says goodbye to all peers and ends everything: negotiations fail with [`Failure::Cancelled`], sessions go down.
    pub fn shutdown(&mut self, realm: &mut dyn Realm, now: Nanos) {
        let _ = (realm, now);
    }

    /// The counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// All peers, for the operator.
    pub fn peers(&self, now: Nanos) -> Vec<PeerSnapshot> {
        let _ = now;
        Vec::new()
    }

    /// A session by its local tag.
    pub fn session(&self, local_tag: u32) -> Option<&H2hSession> {
        let _ = local_tag;
        None
    }

    /// All sessions.
    pub fn sessions(&self) -> impl Iterator<Item = &H2hSession> {
        std::iter::empty()
    }

    /// Negotiations of ours under way.
    pub fn pending(&self) -> usize {
        0
    }

    /// The blocked addresses.
    pub fn blocks(&self, now: Nanos) -> Vec<BlockSnapshot> {
        let _ = now;
        Vec::new()
    }

    /// The filters.
    pub fn filters(&self, now: Nanos) -> Vec<FilterSnapshot> {
        let _ = now;
        Vec::new()
    }
}
