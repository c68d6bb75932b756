//! DNS over TCP (RFC 7766): clients' connections, each with many questions under way.
//!
//! The kernel's stack does TCP, through the shadow TAP. A message has two bytes of length in front (RFC 1035 §4.2.2);
//! answers go out in the order in which they are ready (RFC 7766 §7).

use crate::config::DnsTcp as Limits;
use crate::slots::{Key, Slots};
use crate::stream::{Accepted, Readable, Stream, accept};
use crate::tokens::Owner;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry};
use rustc_hash::FxHashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// Bytes that may wait for a client that does not read: an answer of the longest kind, twice.
const BACKLOG_BYTES: usize = 2 * 65_537;
/// Bytes read from one connection in one turn.
const BYTES_PER_TURN: usize = 32 * 1024;
/// Connections accepted in one turn.
const ACCEPTS_PER_TURN: usize = 64;
const SECOND: u64 = 1_000_000_000;

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

/// A question that a client asked.
#[derive(Debug, PartialEq, Eq)]
pub struct Question {
    /// The connection, for the answer.
    pub client: Key,
    /// The question's number, for the answer.
    pub number: u64,
    /// Who asked.
    pub remote: SocketAddr,
    /// At which listener.
    pub listener: usize,
    /// The message, without its length.
    pub message: Vec<u8>,
}

/// Listeners and clients.
pub struct DnsTcp {
    listeners: Vec<TcpListener>,
    clients: Slots<(Client, usize)>,
    per_client: FxHashMap<IpAddr, u32>,
    limits: Limits,
    registry: Registry,
    unread: Vec<Key>,
    next: u64,
    /// Questions whose client went away: their numbers.
    abandoned: Vec<u64>,
    /// What became of connections.
    pub counters: DnsTcpCounters,
}

impl DnsTcp {
    /// Listens.
    pub fn open(mut listeners: Vec<TcpListener>, limits: Limits, registry: Registry) -> io::Result<Self> {
        for (number, listener) in listeners.iter_mut().enumerate() {
            registry.register(listener, Owner::DnsListener.token(number as u64), Interest::READABLE)?;
        }
        Ok(Self {
            listeners,
            clients: Slots::default(),
            per_client: FxHashMap::default(),
            limits,
            registry,
            unread: Vec::new(),
            next: 0,
            abandoned: Vec::new(),
            counters: DnsTcpCounters::default(),
        })
    }

    /// Connections now.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether there are no connections.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Whether some connection has more to read.
    pub fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// A listener has connections.
    pub fn handle_listener(&mut self, number: usize, now: u64) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = self.listeners.get(number) else { return };
            let (mut socket, remote) = match accept(listener, "dns_accept") {
                Accepted::Connection(socket, remote) => (socket, remote),
                Accepted::Gone => continue,
                Accepted::Nothing => return,
            };
            let of_client = self.per_client.get(&remote.ip()).copied().unwrap_or(0);
            if self.clients.len() >= self.limits.connections as usize
                || of_client >= self.limits.connections_per_client
            {
                self.counters.refused += 1;
                continue;
            }
            let _ = socket.set_nodelay(true);
            // The key is needed to register, so the slot comes first.
            let reserved = self.clients.insert((
                Client {
                    stream: match register(&self.registry, &mut socket) {
                        Ok(()) => Stream::new(socket, BACKLOG_BYTES),
                        Err(_) => continue,
                    },
                    remote,
                    partial: Vec::new(),
                    waiting: Vec::new(),
                    paused: false,
                    ended: false,
                    last: now,
                },
                number,
            ));
            let (client, _) = self.clients.get_mut(reserved).expect("just inserted");
            let interest = Interest::READABLE | Interest::WRITABLE;
            if self
                .registry
                .reregister(&mut client.stream.socket, Owner::Dns.keyed(reserved), interest)
                .is_err()
            {
                self.clients.remove(reserved);
                continue;
            }
            *self.per_client.entry(remote.ip()).or_default() += 1;
            self.counters.accepted += 1;
        }
        if let Some(listener) = self.listeners.get_mut(number) {
            let token = Owner::DnsListener.token(number as u64);
            let _ = self.registry.reregister(listener, token, Interest::READABLE);
        }
    }

    fn close(&mut self, key: Key) {
        let Some((mut client, _)) = self.clients.remove(key) else { return };
        let _ = self.registry.deregister(&mut client.stream.socket);
        self.abandoned.append(&mut client.waiting);
        let ip = client.remote.ip();
        if let Some(count) = self.per_client.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                self.per_client.remove(&ip);
            }
        }
    }

    /// The numbers of questions whose client went away since the last call.
    pub fn take_abandoned(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.abandoned)
    }

    /// Something happened to a connection. Questions go to `asked`.
    pub fn handle(&mut self, key: Key, asked: &mut Vec<Question>, now: u64) {
        let Some((client, _)) = self.clients.get_mut(key) else { return };
        if client.stream.flush().is_err() {
            self.close(key);
            return;
        }
        self.read(key, asked, now);
    }

    /// Goes on with connections that had more to read.
    pub fn handle_unread(&mut self, asked: &mut Vec<Question>, now: u64) {
        for key in std::mem::take(&mut self.unread) {
            self.read(key, asked, now);
        }
    }

    fn read(&mut self, key: Key, asked: &mut Vec<Question>, now: u64) {
        let mut buffer = [0; 4096];
        let mut total = 0;
        loop {
            let Some((client, listener)) = self.clients.get_mut(key) else { return };
            let listener = *listener;
            // Messages that are complete.
            let mut room = (self.limits.pipeline as usize).saturating_sub(client.waiting.len());
            while room > 0 {
                let Some(message) = message(&mut client.partial) else { break };
                room -= 1;
                let number = self.next;
                self.next += 1;
                client.waiting.push(number);
                client.last = now;
                self.counters.queries += 1;
                asked.push(Question { client: key, number, remote: client.remote, listener, message });
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
                self.unread.push(key);
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
        let Some((client, _)) = self.clients.get_mut(key) else { return };
        client.waiting.retain(|own| *own != number);
        client.last = now;
        if let Some(message) = message {
            let Ok(length) = u16::try_from(message.len()) else {
                self.close(key);
                return;
            };
            // Length and message in one segment (RFC 7766 §8).
            let framed = [&length.to_be_bytes(), message].concat();
            if client.stream.queue(&framed).is_err() {
                self.counters.congested += 1;
                self.close(key);
                return;
            }
            if client.stream.flush().is_err() {
                self.close(key);
                return;
            }
        }
        let Some((client, _)) = self.clients.get_mut(key) else { return };
        if client.paused || client.ended {
            self.unread.push(key);
        }
    }

    /// Closes who has been idle. A client that waits for our answer is not idle.
    pub fn handle_timeout(&mut self, now: u64) {
        let idle = u64::from(self.limits.idle_s) * SECOND;
        let late = |(client, _): &(Client, usize)| {
            client.waiting.is_empty() && now.saturating_sub(client.last) >= idle
        };
        for key in self.clients.keys_where(late) {
            self.counters.idle += 1;
            self.close(key);
        }
    }
}

/// mio needs a token at registration, and the slot its socket: first a token of nobody, then the right one.
fn register(registry: &Registry, socket: &mut TcpStream) -> io::Result<()> {
    registry.register(socket, mio::Token(0), Interest::READABLE | Interest::WRITABLE)
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
