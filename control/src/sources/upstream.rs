//! Sockets towards the resolvers: for each query a UDP port that nobody can guess, and TCP for answers that did not fit.
//!
//! The kernel's stack does both, through the outside TAP.

use crate::slots::{Key, Slots};
use crate::source::{Socket, Sockets, Source};
use crate::stream::{Readable, Stream};
use ces_dns::resolver::{SocketKey, Transmit};
use mio::net::{TcpStream, UdpSocket};
use rand::RngExt;
use rustc_hash::FxHashSet;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};

/// UDP sockets that may be open at a time. Each lives as long as queries are open on it, and with up to so many queries
/// each has one of its own: 16 bits of port beside the id's 16 and the name's letters for a forger to guess (RFC 5452
/// §4.5, §9.2).
pub const SOCKETS: u16 = 512;
/// TCP connections at a time; beyond that the resolver is told that it cannot be reached.
const CONNECTIONS: usize = 256;
/// How long a TCP connection may take, answer included, in nanoseconds.
const TCP_NS: u64 = 5_000_000_000;
/// Bytes that wait for a resolver: one query.
const BACKLOG_BYTES: usize = 65_537;
/// The first port that is not reserved.
const PORTS_RESERVED: u16 = 1024;
/// Tries to find a free port.
const TRIES: usize = 100;
/// Datagrams taken from one socket in one turn.
const DATAGRAMS_PER_TURN: usize = 256;

/// What a resolver said, or that it cannot be reached.
pub trait Answers {
    /// A message came.
    fn answered(&mut self, server: SocketAddr, socket: SocketKey, bytes: &[u8]);
    /// The server cannot be reached.
    fn unreachable(&mut self, server: SocketAddr, socket: SocketKey);
}

/// What became of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct UpstreamCounters {
    /// Sent over UDP.
    pub udp_sent: u64,
    /// Received over UDP.
    pub udp_received: u64,
    /// Not taken by the kernel.
    pub udp_failed: u64,
    /// From a resolver's address, to a port that asks nothing: dropped.
    pub udp_unexpected: u64,
    /// TCP connections opened.
    pub tcp_opened: u64,
    /// TCP connections that brought no answer.
    pub tcp_failed: u64,
}

struct Connection {
    stream: Stream<TcpStream>,
    server: SocketAddr,
    socket: u64,
    answer: Vec<u8>,
    deadline: u64,
}

/// The sockets.
pub struct Upstream {
    /// UDP sockets by their number; those that nothing is open on are not there.
    pool: Vec<Option<UdpSocket>>,
    /// Their ports.
    open: FxHashSet<u16>,
    connections: Slots<Connection>,
    sockets: Sockets,
    /// Sockets with more to read.
    unread: Vec<usize>,
    buffer: Vec<u8>,
    /// What became of messages.
    pub counters: UpstreamCounters,
}

fn random_port() -> io::Result<UdpSocket> {
    let mut random = rand::rng();
    let mut last = None;
    for _ in 0..TRIES {
        let port = random.random_range(PORTS_RESERVED..=u16::MAX);
        match UdpSocket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| ErrorKind::AddrInUse.into()))
}

impl Upstream {
    /// Opens nothing yet.
    pub fn new(sockets: Sockets) -> Self {
        Self {
            pool: (0..SOCKETS).map(|_| None).collect(),
            open: FxHashSet::default(),
            connections: Slots::default(),
            sockets,
            unread: Vec::new(),
            buffer: vec![0; 65_536],
            counters: UpstreamCounters::default(),
        }
    }

    /// The UDP socket of that number, at a port that it has drawn if it was not open.
    fn udp(&mut self, number: u16) -> io::Result<&UdpSocket> {
        let place = self.pool.get_mut(usize::from(number)).ok_or(ErrorKind::InvalidInput)?;
        if place.is_none() {
            let mut socket = random_port()?;
            self.sockets.listen(&mut socket, u32::from(number))?;
            self.open.insert(socket.local_addr()?.port());
            *place = Some(socket);
        }
        place.as_ref().ok_or_else(|| ErrorKind::NotConnected.into())
    }

    /// Nothing is open on a socket any more: what is sent by it next comes from another port.
    pub fn close_socket(&mut self, socket: SocketKey) {
        match socket {
            SocketKey::Udp(number) => {
                if let Some(mut socket) = self.pool.get_mut(usize::from(number)).and_then(Option::take) {
                    self.sockets.remove(&mut socket);
                    if let Ok(address) = socket.local_addr() {
                        self.open.remove(&address.port());
                    }
                }
            }
            SocketKey::Tcp(number) => {
                for key in self.connections.keys_where(|connection| connection.socket == number) {
                    self.close(key);
                }
            }
        }
    }

    /// Whether a datagram to that port may answer something that is asked. To any other the kernel would answer that
    /// nobody is there, which tells a forger where somebody is.
    pub fn expects(&mut self, port: u16) -> bool {
        let is_open = self.open.contains(&port);
        self.counters.udp_unexpected += u64::from(!is_open);
        is_open
    }

    /// Sends a message.
    pub fn send(&mut self, transmit: &Transmit, answers: &mut dyn Answers, now: u64) {
        match transmit.socket {
            SocketKey::Udp(number) => {
                let sent = self.udp(number);
                match sent.and_then(|socket| socket.send_to(&transmit.bytes, transmit.server)) {
                    Ok(_) => self.counters.udp_sent += 1,
                    // A full queue or no route: the resolver's own timeout takes care.
                    Err(error) => {
                        self.counters.udp_failed += 1;
                        tracing::debug!(kind = "upstream_send", server = %transmit.server, "cannot send: {error}");
                    }
                }
            }
            SocketKey::Tcp(socket) => {
                if let Err(error) = self.open_tcp(transmit, socket, now) {
                    self.counters.tcp_failed += 1;
                    tracing::debug!(kind = "upstream_tcp", server = %transmit.server, "cannot connect: {error}");
                    answers.unreachable(transmit.server, transmit.socket);
                }
            }
        }
    }

    fn open_tcp(&mut self, transmit: &Transmit, socket: u64, now: u64) -> io::Result<()> {
        if self.connections.len() >= CONNECTIONS {
            return Err(io::Error::other("too many connections to resolvers"));
        }
        let length = u16::try_from(transmit.bytes.len()).map_err(io::Error::other)?;
        let mut stream = Stream::new(TcpStream::connect(transmit.server)?, BACKLOG_BYTES);
        let framed = [&length.to_be_bytes(), &transmit.bytes[..]].concat();
        stream.queue(&framed).map_err(|_| io::Error::other("a query beyond 65,535 bytes"))?;
        let connection = Connection {
            stream,
            server: transmit.server,
            socket,
            answer: Vec::new(),
            deadline: now + TCP_NS,
        };
        let key = self.connections.insert(connection);
        let added = self.connections.get_mut(key).expect("just inserted");
        if let Err(error) = self.sockets.add(&mut added.stream.socket, key) {
            self.connections.remove(key);
            return Err(error);
        }
        self.counters.tcp_opened += 1;
        Ok(())
    }

    /// A UDP socket has datagrams.
    fn handle_udp(&mut self, number: usize, answers: &mut dyn Answers) {
        for _ in 0..DATAGRAMS_PER_TURN {
            let Some(Some(socket)) = self.pool.get(number) else { return };
            match socket.recv_from(&mut self.buffer) {
                Ok((length, server)) => {
                    self.counters.udp_received += 1;
                    answers.answered(server, SocketKey::Udp(number as u16), &self.buffer[..length]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // An ICMP error about an earlier datagram.
                Err(_) => {}
            }
        }
        self.unread.push(number);
    }

    /// Something happened to a TCP connection.
    fn handle_tcp(&mut self, key: Key, answers: &mut dyn Answers) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        match connection.turn() {
            Ok(false) => {}
            Ok(true) => {
                let connection = self.close(key);
                if let Some(connection) = connection {
                    answers.answered(
                        connection.server,
                        SocketKey::Tcp(connection.socket),
                        &connection.answer[2..],
                    );
                }
            }
            Err(error) => {
                tracing::debug!(kind = "upstream_tcp", server = %connection.server, "no answer: {error}");
                self.fail(key, answers);
            }
        }
    }

    fn close(&mut self, key: Key) -> Option<Connection> {
        let mut connection = self.connections.remove(key)?;
        self.sockets.remove(&mut connection.stream.socket);
        Some(connection)
    }

    fn fail(&mut self, key: Key, answers: &mut dyn Answers) {
        if let Some(connection) = self.close(key) {
            self.counters.tcp_failed += 1;
            answers.unreachable(connection.server, SocketKey::Tcp(connection.socket));
        }
    }
}

impl<A: Answers> Source<A> for Upstream {
    fn handle(&mut self, socket: Socket, answers: &mut A, _: u64) {
        match socket {
            Socket::Fixed(number) => self.handle_udp(number as usize, answers),
            Socket::Passing(key) => self.handle_tcp(key, answers),
        }
    }

    fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    fn handle_unread(&mut self, answers: &mut A, _: u64) {
        for number in std::mem::take(&mut self.unread) {
            self.handle_udp(number, answers);
        }
    }

    /// Gives up connections that take too long.
    fn handle_timeout(&mut self, answers: &mut A, now: u64) {
        for key in self.connections.keys_where(|connection| connection.deadline <= now) {
            self.fail(key, answers);
        }
    }
}

impl Connection {
    /// Sends and reads on; true when the answer is complete.
    fn turn(&mut self) -> io::Result<bool> {
        if let Some(error) = self.stream.socket.take_error()? {
            return Err(error);
        }
        if let Err(error) = self.stream.socket.peer_addr() {
            return if error.kind() == ErrorKind::NotConnected { Ok(false) } else { Err(error) };
        }
        self.stream.flush()?;
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer)? {
                Readable::Some(length) => self.answer.extend_from_slice(&buffer[..length]),
                Readable::Empty => return Ok(false),
                Readable::End => return Err(ErrorKind::UnexpectedEof.into()),
            }
            if let [high, low, rest @ ..] = &self.answer[..] {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                if rest.len() >= length {
                    self.answer.truncate(2 + length);
                    return Ok(true);
                }
            }
        }
    }
}
