//! The transport of CETP: TCP connections to and from other gateways, with TLS or without.
//!
//! It frames nothing and understands nothing: bytes go up to the engine, bytes come down from it. What it holds back is
//! bounded, a handshake that does not end is ended, and a blocked address gets no further than `accept`.

mod connection;
mod counters;

pub use counters::PeeringCounters;

use crate::listeners::{ListenError, Listeners, Opened};
use crate::room::{Admission, Room};
use crate::slots::{Key, Slots};
use crate::source::{Socket, Sockets, Source};
use crate::stream::{Accepted, Readable, Stream};
use crate::tls::{self, Credentials};
use ces_cetp::engine::{AcceptError, ConnId, Endpoint, PeerIdentity, Proto};
use connection::{Connection, Sent, Stage, connected, flush, queue};
use mio::net::TcpStream;
use rustc_hash::FxHashMap;
use socket2::TcpKeepalive;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Liveness (cetp.md, Transport): keepalive after 5 s of silence, every 2 s, 3 tries.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_TRIES: u32 = 3;
/// How long what was sent may stay without acknowledgement before the connection is dead: what it carried is said once more
/// within the 2 s that a negotiation has.
const UNHEARD: Duration = Duration::from_secs(1);
/// Bytes that may wait for a peer that does not read: 64 messages of the longest kind.
const BACKLOG_BYTES: usize = 64 * 65_537;
/// How long the rest may take to go out after the engine has closed a connection, in nanoseconds.
const LINGER_NS: u64 = 2_000_000_000;
/// Bytes read from one connection in one turn, and at once: some twenty requests for sessions, a millisecond or two of the
/// control thread's time. Of TLS what comes out may be a record more (16 KiB, RFC 8446 §5.1).
const BYTES_PER_TURN: usize = 8 * 1024;
/// Connections accepted in one turn.
const ACCEPTS_PER_TURN: usize = 64;

/// What the transport needs to know and whom it tells.
pub trait Upper {
    /// Whether an address gets no connection at all.
    fn is_blocked(&mut self, address: IpAddr) -> bool;
    /// A connection of ours is up.
    fn connected(&mut self, conn: ConnId, identity: PeerIdentity, remote: SocketAddr);
    /// A peer connected. An error: close it, and why.
    fn accepted(&mut self, identity: PeerIdentity, remote: SocketAddr) -> Result<ConnId, AcceptError>;
    /// Bytes came.
    fn received(&mut self, conn: ConnId, bytes: &[u8]);
    /// A connection is gone, or one of ours could not be opened.
    fn closed(&mut self, conn: ConnId);
}

/// What bounds the transport.
#[derive(Clone, Copy, Debug)]
pub struct PeeringLimits {
    /// How long a connection of ours may take to come up, in nanoseconds, TLS included.
    pub connect_ns: u64,
    /// How long an accepted connection's TLS may take, in nanoseconds.
    pub handshake_ns: u64,
    /// Connections in all.
    pub connections: usize,
    /// Accepted connections of one address.
    pub per_address: usize,
}

/// Listeners and connections.
pub struct Peering {
    listeners: Listeners<Proto>,
    connections: Slots<Connection>,
    names: FxHashMap<ConnId, Key>,
    room: Room,
    credentials: Option<Credentials>,
    limits: PeeringLimits,
    sockets: Sockets,
    /// Connections that had more to read than their turn allowed.
    unread: VecDeque<Key>,
    /// Connections with something queued, flushed together: many small messages make one segment.
    dirty: Vec<Key>,
    buffer: Vec<u8>,
    /// What became of connections.
    pub counters: PeeringCounters,
}

/// Why a peer that has shown who it is gets no connection.
const fn refusal(why: AcceptError) -> &'static str {
    match why {
        AcceptError::Blocked => "the peer is refused: its address is blocked",
        AcceptError::Overload => "the peer is refused: too many connections",
        AcceptError::Identity => "the peer is refused: it is not trusted (cetp.trusted), or it is ourselves",
    }
}

fn prepare(socket: &TcpStream) -> io::Result<()> {
    let socket = socket2::SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    // Keepalive sees to a connection that is silent, this to one that speaks and is not heard (RFC 5482).
    socket.set_tcp_user_timeout(Some(UNHEARD))?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_TRIES),
    )
}

impl Peering {
    /// A transport that connects, and listens nowhere yet.
    pub fn new(credentials: Option<Credentials>, limits: PeeringLimits, sockets: Sockets) -> Self {
        Self {
            listeners: Listeners::new("CETP"),
            connections: Slots::default(),
            names: FxHashMap::default(),
            room: Room::new(limits.connections, limits.per_address),
            credentials,
            limits,
            sockets,
            unread: VecDeque::new(),
            dirty: Vec::new(),
            buffer: vec![0; BYTES_PER_TURN],
            counters: PeeringCounters::default(),
        }
    }

    /// Opens listeners where there are none yet; see [`Peering::listen`].
    pub fn open(&self, endpoints: Vec<(SocketAddr, Proto)>) -> Result<Opened<Proto>, ListenError> {
        self.listeners.open(endpoints)
    }

    /// Listens there from here on, and nowhere else. Connections stay.
    pub fn listen(&mut self, opened: Opened<Proto>) -> io::Result<()> {
        self.listeners.install(opened, &self.sockets)
    }

    /// Other bounds for the connections to come.
    pub fn set_limits(&mut self, limits: PeeringLimits) {
        self.limits = limits;
        self.room.resize(limits.connections, limits.per_address);
    }

    /// The certificates of connections to come, if there are any.
    pub const fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// Uses other certificates for the connections to come.
    pub fn set_credentials(&mut self, credentials: Option<Credentials>) {
        self.credentials = credentials;
    }

    /// Connections now.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there are no connections.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    // --- opening

    /// Opens a connection. If it cannot even be begun, the engine hears that it is closed.
    pub fn connect(
        &mut self,
        conn: ConnId,
        endpoint: &Endpoint,
        ces_id: &Arc<str>,
        upper: &mut dyn Upper,
        now: u64,
    ) {
        let remote = SocketAddr::new(endpoint.addr, endpoint.port);
        if let Err(error) = self.begin(conn, remote, endpoint.proto, ces_id, now) {
            self.counters.connect_failed += 1;
            tracing::debug!(kind = "cetp_connect", peer = %ces_id, %remote, "cannot connect: {error}");
            upper.closed(conn);
        }
    }

    fn begin(
        &mut self,
        conn: ConnId,
        remote: SocketAddr,
        proto: Proto,
        ces_id: &Arc<str>,
        now: u64,
    ) -> io::Result<()> {
        if !self.room.has_room_for_ours(self.connections.len()) {
            return Err(io::Error::other("too many connections"));
        }
        let tls = match proto {
            Proto::Tcp => None,
            Proto::Tls => {
                let credentials = self
                    .credentials
                    .as_ref()
                    .ok_or_else(|| io::Error::other("no certificates configured ([tls])"))?;
                Some(credentials.connect().map_err(io::Error::other)?)
            }
        };
        let socket = TcpStream::connect(remote)?;
        self.add(Connection {
            stream: Stream::new(socket, BACKLOG_BYTES),
            tls,
            stage: Stage::Connecting { expected: Arc::clone(ces_id) },
            conn: Some(conn),
            remote,
            accepted: false,
            deadline: Some(now + self.limits.connect_ns),
            dirty: false,
            identity: None,
            sent: Sent::default(),
        })?;
        Ok(())
    }

    fn add(&mut self, connection: Connection) -> io::Result<Key> {
        let (conn, accepted, ip) = (connection.conn, connection.accepted, connection.remote.ip());
        let key = self.connections.insert(connection);
        let added = self.connections.get_mut(key).expect("just inserted");
        if let Err(error) = self.sockets.add(&mut added.stream.socket, key) {
            self.connections.remove(key);
            return Err(error);
        }
        if let Some(conn) = conn {
            self.names.insert(conn, key);
        }
        if accepted {
            self.room.enter(key, ip);
        }
        Ok(key)
    }

    /// A listener has connections.
    fn accept(&mut self, number: u32, upper: &mut dyn Upper, now: u64) {
        for _ in 0..ACCEPTS_PER_TURN {
            let (socket, remote, proto) = match self.listeners.accept(number, "cetp_accept") {
                (Accepted::Connection(socket, remote), Some(proto)) => (socket, remote, proto),
                (Accepted::Gone, _) => continue,
                _ => return,
            };
            if upper.is_blocked(remote.ip()) {
                self.counters.refused_blocked += 1;
                continue;
            }
            match self.room.entry(remote.ip(), self.connections.len()) {
                Admission::Open => {}
                Admission::InsteadOf(oldest) => {
                    self.counters.gave_way += 1;
                    self.drop_connection(oldest, upper);
                }
                Admission::Full => {
                    self.counters.refused_limit += 1;
                    continue;
                }
            }
            if let Err(error) = self.take(socket, remote, proto, upper, now) {
                tracing::debug!(kind = "cetp_accept", %remote, "connection lost: {error}");
                self.counters.lost += 1;
            }
        }
        self.listeners.tell_again(number, &self.sockets);
    }

    fn take(
        &mut self,
        socket: TcpStream,
        remote: SocketAddr,
        proto: Proto,
        upper: &mut dyn Upper,
        now: u64,
    ) -> io::Result<()> {
        prepare(&socket)?;
        let tls = match (proto, &self.credentials) {
            (Proto::Tcp, _) => None,
            (Proto::Tls, Some(credentials)) => Some(credentials.accept().map_err(io::Error::other)?),
            (Proto::Tls, None) => return Err(io::Error::other("no certificates configured ([tls])")),
        };
        let plain = tls.is_none();
        let key = self.add(Connection {
            stream: Stream::new(socket, BACKLOG_BYTES),
            tls,
            stage: Stage::Handshaking { expected: None },
            conn: None,
            remote,
            accepted: true,
            deadline: Some(now + self.limits.handshake_ns),
            dirty: false,
            identity: None,
            sent: Sent::default(),
        })?;
        if plain {
            self.established(key, None, PeerIdentity::default(), upper);
        }
        Ok(())
    }

    /// The transport stands: the engine hears of it.
    fn established(
        &mut self,
        key: Key,
        expected: Option<&str>,
        identity: PeerIdentity,
        upper: &mut dyn Upper,
    ) -> bool {
        let Some(connection) = self.connections.get_mut(key) else { return false };
        let remote = connection.remote;
        if let (Some(expected), Some(is)) = (expected, &identity.ces_id)
            && expected != &**is
        {
            tracing::warn!(kind = "cetp_identity", %remote, "the peer's certificate names \"{is}\", not \"{expected}\"");
            self.counters.handshake_failed += 1;
            self.drop_connection(key, upper);
            return false;
        }
        connection.stage = Stage::Up;
        connection.deadline = None;
        connection.identity.clone_from(&identity.ces_id);
        if let Some(conn) = connection.conn {
            self.counters.connected += 1;
            self.room.know(remote.ip());
            upper.connected(conn, identity, remote);
            return true;
        }
        let name = identity.ces_id.clone();
        let conn = match upper.accepted(identity, remote) {
            Ok(conn) => conn,
            Err(why) => {
                self.counters.refused_engine += 1;
                let peer = name.as_deref().unwrap_or("-");
                tracing::warn!(kind = "cetp_refused", %remote, peer, "{}", refusal(why));
                self.forget(key);
                return false;
            }
        };
        // Over plain TCP nobody has shown anything yet.
        if name.is_some() {
            self.room.settle(key);
        }
        let Some(connection) = self.connections.get_mut(key) else { return false };
        connection.conn = Some(conn);
        self.names.insert(conn, key);
        self.counters.accepted += 1;
        true
    }

    // --- closing

    fn forget(&mut self, key: Key) -> Option<ConnId> {
        let mut connection = self.connections.remove(key)?;
        self.sockets.remove(&mut connection.stream.socket);
        self.room.leave(key);
        let conn = connection.conn?;
        self.names.remove(&conn);
        // A connection that the engine has closed is forgotten there already.
        (!matches!(connection.stage, Stage::Closing)).then_some(conn)
    }

    fn drop_connection(&mut self, key: Key, upper: &mut dyn Upper) {
        if let Some(conn) = self.forget(key) {
            upper.closed(conn);
        }
    }

    /// A connection ended that nobody closed. What was sent on it last may not have arrived: it is sent once more, on
    /// another connection with the same peer.
    fn lose(&mut self, key: Key, upper: &mut dyn Upper, now: u64) {
        self.say_again(key, now);
        match self.connections.get(key).map(|connection| &connection.stage) {
            Some(Stage::Connecting { .. }) => self.counters.connect_failed += 1,
            Some(Stage::Handshaking { .. }) => self.counters.handshake_failed += 1,
            Some(Stage::Up) => self.counters.lost += 1,
            Some(Stage::Closing) | None => {}
        }
        self.drop_connection(key, upper);
    }

    fn say_again(&mut self, key: Key, now: u64) {
        let Some(dead) = self.connections.get_mut(key) else { return };
        let messages: Vec<_> = dead.sent.take(now).collect();
        let (identity, ip) = (dead.identity.clone(), dead.remote.ip());
        let same = |connection: &Connection| {
            matches!(connection.stage, Stage::Up)
                && connection.identity == identity
                && (identity.is_some() || connection.remote.ip() == ip)
        };
        let others = self.connections.iter().filter(|(other, connection)| *other != key && same(connection));
        // One that has spoken since it was last spoken to is alive.
        let Some(other) = others.min_by_key(|(_, connection)| connection.sent.len()).map(|(other, _)| other)
        else {
            return;
        };
        for message in messages {
            let Some(connection) = self.connections.get_mut(other) else { return };
            if !matches!(queue(connection, &message), Ok(true)) {
                return;
            }
            self.counters.sent_again += 1;
            if !connection.dirty {
                connection.dirty = true;
                self.dirty.push(other);
            }
        }
    }

    /// The engine is done with a connection: what waits goes out, then it is closed.
    pub fn close(&mut self, conn: ConnId, now: u64) {
        let Some(&key) = self.names.get(&conn) else { return };
        let Some(connection) = self.connections.get_mut(key) else { return };
        if !matches!(connection.stage, Stage::Up) {
            connection.stage = Stage::Closing;
            self.forget(key);
            return;
        }
        connection.stage = Stage::Closing;
        connection.deadline = Some(now + LINGER_NS);
        if let Some(tls) = &mut connection.tls {
            tls.send_close_notify();
        }
        match flush(connection) {
            Ok(false) => {}
            Ok(true) | Err(_) => {
                self.forget(key);
            }
        }
    }

    /// Gives up what did not come further in time.
    fn give_up(&mut self, upper: &mut dyn Upper, now: u64) {
        for key in self.connections.keys_where(|connection| connection.deadline.is_some_and(|at| at <= now)) {
            if let Some(connection) = self.connections.get(key)
                && !matches!(connection.stage, Stage::Closing)
            {
                self.counters.timed_out += 1;
                tracing::debug!(kind = "cetp_timeout", remote = %connection.remote, "connection not up in time");
            }
            self.drop_connection(key, upper);
        }
    }

    // --- bytes

    /// Takes bytes of the engine; [`Peering::flush`] sends them. A peer that does not read is given up.
    pub fn send(&mut self, conn: ConnId, bytes: &[u8], upper: &mut dyn Upper, now: u64) {
        let Some(&key) = self.names.get(&conn) else { return };
        let Some(connection) = self.connections.get_mut(key) else { return };
        if !matches!(connection.stage, Stage::Up) {
            return;
        }
        match queue(connection, bytes) {
            Ok(true) => {
                connection.sent.add(bytes, now);
                if !connection.dirty {
                    connection.dirty = true;
                    self.dirty.push(key);
                }
            }
            Ok(false) => {
                self.counters.congested += 1;
                tracing::warn!(kind = "cetp_congested", remote = %connection.remote, "the peer does not read: closed");
                self.drop_connection(key, upper);
            }
            Err(_) => self.lose(key, upper, now),
        }
    }

    /// Sends what was taken since the last call. True if a connection was lost, so that the engine may have more to say.
    pub fn flush(&mut self, upper: &mut dyn Upper, now: u64) -> bool {
        let mut lost = false;
        for key in std::mem::take(&mut self.dirty) {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            connection.dirty = false;
            if flush(connection).is_err() {
                self.lose(key, upper, now);
                lost = true;
            }
        }
        lost
    }

    /// Something happened to a connection.
    fn go_on(&mut self, key: Key, upper: &mut dyn Upper, now: u64) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if let Stage::Connecting { expected } = &connection.stage {
            let expected = Arc::clone(expected);
            match connected(&connection.stream.socket) {
                Ok(false) => return,
                Ok(true) => {}
                Err(error) => {
                    let remote = connection.remote;
                    tracing::debug!(kind = "cetp_connect", peer = %expected, %remote, "cannot connect: {error}");
                    self.lose(key, upper, now);
                    return;
                }
            }
            if prepare(&connection.stream.socket).is_err() {
                self.lose(key, upper, now);
                return;
            }
            connection.stage = Stage::Handshaking { expected: Some(Arc::clone(&expected)) };
            if connection.tls.is_none() && !self.established(key, None, PeerIdentity::default(), upper) {
                return;
            }
        }
        self.turn(key, upper, now);
    }

    /// Writes what waits, reads what came.
    fn turn(&mut self, key: Key, upper: &mut dyn Upper, now: u64) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Ok(done) = flush(connection) else {
            self.lose(key, upper, now);
            return;
        };
        if matches!(connection.stage, Stage::Closing) {
            if done {
                self.forget(key);
            }
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut total = 0;
        let alive = loop {
            if total >= BYTES_PER_TURN {
                self.unread.push_back(key);
                break true;
            }
            match self.read(key, &mut buffer, upper) {
                Ok(Readable::Some(length)) => total += length.max(1),
                Ok(Readable::Empty) => break true,
                Ok(Readable::End) => break false,
                Err(error) => {
                    if let Some(connection) = self.connections.get(key) {
                        tracing::debug!(kind = "cetp_lost", remote = %connection.remote, "connection lost: {error}");
                    }
                    break false;
                }
            }
        };
        self.buffer = buffer;
        if !alive {
            self.lose(key, upper, now);
        }
    }

    /// Reads once and passes it on. The upper side may close the connection meanwhile.
    fn read(&mut self, key: Key, buffer: &mut [u8], upper: &mut dyn Upper) -> io::Result<Readable> {
        let Some(connection) = self.connections.get_mut(key) else { return Ok(Readable::Empty) };
        if connection.tls.is_none() {
            let readable = connection.stream.read(buffer)?;
            if matches!(readable, Readable::Some(_)) {
                connection.sent.arrived();
            }
            if let (Readable::Some(length), Some(conn), Stage::Up) =
                (readable, connection.conn, &connection.stage)
            {
                upper.received(conn, &buffer[..length]);
            }
            return Ok(readable);
        }
        let readable = connection.stream.read(buffer)?;
        let Readable::Some(length) = readable else { return Ok(readable) };
        connection.sent.arrived();
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            let Some(connection) = self.connections.get_mut(key) else { return Ok(Readable::Empty) };
            let Some(tls) = &mut connection.tls else { return Ok(Readable::Empty) };
            tls.read_tls(&mut rest)?;
            let state = tls.process_new_packets();
            // What TLS has to say, an alert too, goes out before anything else.
            let flushed = flush(connection);
            let state = match state {
                Ok(state) => state,
                Err(error) => {
                    self.say_refused(key, &error);
                    return Err(io::Error::other(error));
                }
            };
            flushed?;
            if let Stage::Handshaking { expected } = &connection.stage
                && connection.tls.as_ref().is_some_and(|tls| !tls.is_handshaking())
            {
                let expected = expected.clone();
                let identity =
                    connection.tls.as_ref().map(tls::peer).transpose().map_err(io::Error::other)?;
                if !self.established(key, expected.as_deref(), PeerIdentity { ces_id: identity }, upper) {
                    return Ok(Readable::Empty);
                }
            }
            self.pass(key, state.plaintext_bytes_to_read(), upper)?;
            if state.peer_has_closed() {
                return Ok(Readable::End);
            }
        }
        Ok(readable)
    }

    /// A handshake failed: who it was with, as far as it showed or was expected, and why.
    fn say_refused(&self, key: Key, error: &rustls::Error) {
        let Some(connection) = self.connections.get(key) else { return };
        let Stage::Handshaking { expected } = &connection.stage else { return };
        let shown = self.credentials.as_ref().and_then(Credentials::take_refused);
        let peer = shown.as_deref().or(expected.as_deref()).unwrap_or("-");
        let remote = connection.remote;
        // Strangers, however many, take no line from those whom we seek or know.
        let is_known = expected.is_some() || self.room.knows(remote.ip());
        let kind = if is_known { "cetp_tls_known" } else { "cetp_tls" };
        tracing::warn!(kind, %remote, peer, "no TLS with this peer: {}", tls::complaint(error));
    }

    /// Passes decrypted bytes up.
    fn pass(&mut self, key: Key, mut length: usize, upper: &mut dyn Upper) -> io::Result<()> {
        let mut plain = [0; 16 * 1024];
        while length > 0 {
            let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
            let Some(tls) = &mut connection.tls else { return Ok(()) };
            let read = match tls.reader().read(&mut plain) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            length = length.saturating_sub(read);
            if let (Some(conn), Stage::Up) = (connection.conn, &connection.stage) {
                upper.received(conn, &plain[..read]);
            }
        }
        Ok(())
    }
}

impl<U: Upper> Source<U> for Peering {
    fn handle(&mut self, socket: Socket, upper: &mut U, now: u64) {
        match socket {
            Socket::Fixed(number) => self.accept(number, upper, now),
            Socket::Passing(key) => self.go_on(key, upper, now),
        }
    }

    fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    fn handle_unread(&mut self, upper: &mut U, now: u64) {
        if let Some(key) = self.unread.pop_front() {
            self.turn(key, upper, now);
        }
    }

    fn handle_timeout(&mut self, upper: &mut U, now: u64) {
        self.give_up(upper, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c14_a_connection_that_is_not_heard_is_dead_within_a_second() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        prepare(&socket).unwrap();
        assert_eq!(socket2::SockRef::from(&socket).tcp_user_timeout().unwrap(), Some(UNHEARD));
    }
}
