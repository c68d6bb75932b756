//! DNS over TCP (RFC 7766): clients' connections, each with many questions under way.
//!
//! The kernel's stack does TCP, through the shadow TAP. A message has two bytes of length in front (RFC 1035 §4.2.2);
//! answers go out in the order in which they are ready (RFC 7766 §7).

use crate::config::DnsTcpSection;
use crate::listeners::{ListenError, Listeners, Opened};
use crate::slots::{Key, Slots};
use crate::source::{Socket, Sockets, Source};
use crate::stream::{Accepted, Readable, Stream};
use ces_dataplane::settings::Side;
use mio::net::TcpStream;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// The longest answer with its length, bytes.
const ANSWER_BYTES: usize = 65_537;
/// Bytes that wait for a client until its questions wait as well: an answer of the longest kind, twice. What it has asked
/// before that is still answered.
const PAUSE_BYTES: usize = 2 * ANSWER_BYTES;
/// Bytes that may wait for all clients together: 64 MiB.
const BACKLOG_BYTES: usize = 64 << 20;
/// Bytes read from one connection in one turn.
const BYTES_PER_TURN: usize = 32 * 1024;
/// Connections accepted in one turn.
const ACCEPTS_PER_TURN: usize = 64;
const SECOND: u64 = 1_000_000_000;
/// From when on a connection on which nothing is asked gives way to who finds no room.
const DAWDLES_NS: u64 = SECOND;

/// What became of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct DnsTcpCounters {
    /// Connections taken.
    pub accepted: u64,
    /// Refused: too many connections, in all or of that client.
    pub refused: u64,
    /// Questions taken.
    pub queries: u64,
    /// Closed for want of questions.
    pub idle: u64,
    /// Closed because the client does not read its answers.
    pub congested: u64,
}

struct Client {
    stream: Stream<TcpStream>,
    remote: SocketAddr,
    side: Side,
    /// Bytes of a message that is not complete.
    partial: Vec<u8>,
    /// Questions under way, by the number that their asker gave them.
    waiting: Vec<u64>,
    /// Questions had to wait because too many were under way: read on after an answer.
    paused: bool,
    /// It sends no more, but may still read.
    ended: bool,
    last: u64,
}

impl Client {
    /// Whether it has asked nothing for so many nanoseconds. One that waits for our answer is not idle.
    fn is_idle_for(&self, time: u64, now: u64) -> bool {
        self.waiting.is_empty() && now.saturating_sub(self.last) >= time
    }
}

/// A question that a client asked.
#[derive(Debug, PartialEq, Eq)]
pub struct ClientQuery {
    /// The connection, for the answer.
    pub client: Key,
    /// The question's number, for the answer.
    pub number: u64,
    /// Who asked.
    pub remote: SocketAddr,
    /// On which side.
    pub side: Side,
    /// The message, without its length.
    pub message: Vec<u8>,
}

/// Who hears the questions.
pub trait Asker {
    /// A client asked; [`DnsTcp::answer`] is due.
    fn asked(&mut self, question: ClientQuery, now: u64);
    /// The client of the question with this number went away.
    fn gone(&mut self, number: u64);
}

/// Listeners and clients.
pub struct DnsTcp {
    listeners: Listeners<Side>,
    clients: Slots<Client>,
    per_client: FxHashMap<IpAddr, u32>,
    limits: DnsTcpSection,
    sockets: Sockets,
    unread: VecDeque<Key>,
    next: u64,
    /// Bytes that wait for all clients.
    backlog: usize,
    /// Questions whose client went away: their numbers.
    abandoned: Vec<u64>,
    /// What became of connections.
    pub counters: DnsTcpCounters,
}

impl DnsTcp {
    /// A name service over TCP that listens nowhere yet.
    pub fn new(limits: DnsTcpSection, sockets: Sockets) -> Self {
        Self {
            listeners: Listeners::new("DNS over TCP"),
            clients: Slots::default(),
            per_client: FxHashMap::default(),
            limits,
            sockets,
            unread: VecDeque::new(),
            next: 0,
            backlog: 0,
            abandoned: Vec::new(),
            counters: DnsTcpCounters::default(),
        }
    }

    /// Opens listeners where there are none yet; see [`DnsTcp::listen`].
    pub fn open(&self, addresses: Vec<(SocketAddr, Side)>) -> Result<Opened<Side>, ListenError> {
        self.listeners.open(addresses)
    }

    /// Listens there from here on, and nowhere else. Connections stay.
    pub fn listen(&mut self, opened: Opened<Side>) -> io::Result<()> {
        self.listeners.install(opened, &self.sockets)
    }

    /// Other bounds for the connections to come.
    pub fn set_limits(&mut self, limits: DnsTcpSection) {
        self.limits = limits;
    }

    /// Connections now.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether there are no connections.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// A listener has connections.
    fn accept(&mut self, number: u32, now: u64) {
        for _ in 0..ACCEPTS_PER_TURN {
            let (socket, remote, side) = match self.listeners.accept(number, "dns_accept") {
                (Accepted::Connection(socket, remote), Some(side)) => (socket, remote, side),
                (Accepted::Gone, _) => continue,
                _ => return,
            };
            let of_client = self.per_client.get(&remote.ip()).copied().unwrap_or(0);
            if of_client >= self.limits.connections_per_client || !self.has_room(side, now) {
                self.counters.refused += 1;
                continue;
            }
            let _ = socket.set_nodelay(true);
            // The key is needed to register, so the slot comes first.
            let key = self.clients.insert(Client {
                stream: Stream::new(socket, PAUSE_BYTES + self.limits.pipeline as usize * ANSWER_BYTES),
                remote,
                side,
                partial: Vec::new(),
                waiting: Vec::new(),
                paused: false,
                ended: false,
                last: now,
            });
            let client = self.clients.get_mut(key).expect("just inserted");
            if self.sockets.add(&mut client.stream.socket, key).is_err() {
                self.clients.remove(key);
                continue;
            }
            *self.per_client.entry(remote.ip()).or_default() += 1;
            self.counters.accepted += 1;
        }
        self.listeners.tell_again(number, &self.sockets);
    }

    /// Whether a side has room for one more. RFC 7766 §6.2.3: who asks nothing may be closed at any time, so who has done so for
    /// longest goes for him; otherwise a few addresses would keep out all others.
    fn has_room(&mut self, side: Side, now: u64) -> bool {
        let of_side = || self.clients.iter().filter(|(_, client)| client.side == side);
        if of_side().count() < room_of(side, self.limits.connections as usize) {
            return true;
        }
        let dawdling = of_side().filter(|(_, client)| client.is_idle_for(DAWDLES_NS, now));
        let longest = dawdling.min_by_key(|(_, client)| client.last);
        let Some(key) = longest.map(|(key, _)| key) else { return false };
        self.counters.idle += 1;
        self.close(key);
        true
    }

    fn close(&mut self, key: Key) {
        let Some(mut client) = self.clients.remove(key) else { return };
        self.sockets.remove(&mut client.stream.socket);
        self.backlog -= client.stream.pending();
        self.abandoned.append(&mut client.waiting);
        let ip = client.remote.ip();
        if let Some(count) = self.per_client.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                self.per_client.remove(&ip);
            }
        }
    }

    /// Something happened to a connection.
    fn go_on(&mut self, key: Key, asker: &mut impl Asker, now: u64) {
        if self.flush(key, now) {
            self.read(key, asker, now);
        }
    }

    /// Writes what the client takes. False if it is gone.
    fn flush(&mut self, key: Key, now: u64) -> bool {
        let Some(client) = self.clients.get_mut(key) else { return false };
        let before = client.stream.pending();
        let flushed = client.stream.flush();
        let after = client.stream.pending();
        self.backlog -= before - after;
        if after < before {
            client.last = now;
        }
        if flushed.is_err() {
            self.close(key);
        }
        flushed.is_ok()
    }

    fn read(&mut self, key: Key, asker: &mut impl Asker, now: u64) {
        let mut buffer = [0; 4096];
        let mut total = 0;
        loop {
            let Some(client) = self.clients.get_mut(key) else { return };
            // Messages that are complete.
            let is_behind = client.stream.pending() >= PAUSE_BYTES;
            let mut room = match (self.limits.pipeline as usize).saturating_sub(client.waiting.len()) {
                // RFC 7766 §6.2.1.1 lets many be under way, not more than are read: TCP tells the client to wait.
                _ if is_behind => 0,
                room => room,
            };
            while room > 0 {
                let Some(message) = message(&mut client.partial) else { break };
                room -= 1;
                let number = self.next;
                self.next += 1;
                client.waiting.push(number);
                client.last = now;
                self.counters.queries += 1;
                asker.asked(
                    ClientQuery { client: key, number, remote: client.remote, side: client.side, message },
                    now,
                );
            }
            client.paused = room == 0;
            if client.paused {
                return;
            }
            if client.ended {
                if client.waiting.is_empty() && client.stream.pending() == 0 {
                    self.close(key);
                }
                return;
            }
            if total >= BYTES_PER_TURN {
                self.unread.push_back(key);
                return;
            }
            match client.stream.read(&mut buffer) {
                Ok(Readable::Some(length)) => {
                    total += length;
                    client.partial.extend_from_slice(&buffer[..length]);
                }
                Ok(Readable::Empty) => return,
                Ok(Readable::End) => client.ended = true,
                Err(_) => {
                    self.close(key);
                    return;
                }
            }
        }
    }

    /// Answers a question, or with `None` says that there will be no answer.
    pub fn answer(&mut self, key: Key, number: u64, message: Option<&[u8]>, now: u64) {
        let Some(client) = self.clients.get_mut(key) else { return };
        client.waiting.retain(|own| *own != number);
        client.last = now;
        if let Some(message) = message {
            let Ok(length) = u16::try_from(message.len()) else {
                self.close(key);
                return;
            };
            // Length and message in one segment (RFC 7766 §8).
            let framed = [&length.to_be_bytes(), message].concat();
            if self.backlog + framed.len() > BACKLOG_BYTES || client.stream.queue(&framed).is_err() {
                self.counters.congested += 1;
                self.close(key);
                return;
            }
            self.backlog += framed.len();
            if !self.flush(key, now) {
                return;
            }
        }
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.paused || client.ended {
            self.unread.push_back(key);
        }
    }

    /// Closes who has been idle.
    fn close_idle(&mut self, now: u64) {
        let idle = u64::from(self.limits.idle_s) * SECOND;
        for key in self.clients.keys_where(|client| client.is_idle_for(idle, now)) {
            let is_behind = self.clients.get_mut(key).is_some_and(|client| client.stream.pending() > 0);
            *(if is_behind { &mut self.counters.congested } else { &mut self.counters.idle }) += 1;
            self.close(key);
        }
    }
}

impl<A: Asker> Source<A> for DnsTcp {
    fn handle(&mut self, socket: Socket, asker: &mut A, now: u64) {
        match socket {
            Socket::Fixed(number) => self.accept(number, now),
            Socket::Passing(key) => self.go_on(key, asker, now),
        }
    }

    fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    fn handle_unread(&mut self, asker: &mut A, now: u64) {
        if let Some(key) = self.unread.pop_front() {
            self.read(key, asker, now);
        }
    }

    fn handle_timeout(&mut self, asker: &mut A, now: u64) {
        self.close_idle(now);
        for number in std::mem::take(&mut self.abandoned) {
            asker.gone(number);
        }
    }
}

/// The connections that one side may have: three quarters are the realm's, one is everybody else's, and neither takes the
/// other's.
const fn room_of(side: Side, connections: usize) -> usize {
    let outside = connections.div_ceil(4);
    match side {
        Side::Outside | Side::Dmz => outside,
        Side::Inside if connections > outside => connections - outside,
        Side::Inside => connections,
    }
}

/// Takes a complete message off the front.
fn message(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = usize::from(u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]));
    if bytes.len() < 2 + length {
        return None;
    }
    let message = bytes[2..2 + length].to_vec();
    bytes.drain(..2 + length);
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c6_neither_side_takes_the_others_room() {
        assert_eq!((room_of(Side::Inside, 1024), room_of(Side::Outside, 1024)), (768, 256));
        assert_eq!((room_of(Side::Inside, 1), room_of(Side::Outside, 1)), (1, 1));
    }

    #[test]
    fn messages_come_off_the_stream_whole() {
        let mut bytes = vec![0, 3, 1, 2, 3, 0, 0, 0, 2, 9];
        assert_eq!(message(&mut bytes), Some(vec![1, 2, 3]));
        assert_eq!(message(&mut bytes), Some(vec![]));
        assert_eq!(message(&mut bytes), None);
        bytes.push(8);
        assert_eq!(message(&mut bytes), Some(vec![9, 8]));
        assert_eq!(message(&mut bytes), None);
    }
}
