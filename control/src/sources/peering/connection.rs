//! One connection: its stage, its TLS, and what waits for its socket.

use crate::stream::Stream;
use ces_cetp::engine::ConnId;
use mio::net::TcpStream;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::sync::Arc;

/// How far a connection is.
pub(super) enum Stage {
    /// TCP of ours is coming up.
    Connecting { expected: Arc<str> },
    /// TLS is coming up; for one of ours, who must answer.
    Handshaking { expected: Option<Arc<str>> },
    /// The engine knows it.
    Up,
    /// The engine has closed it; what waits goes out first.
    Closing,
}

/// Messages that were sent lately, with the time of each.
#[derive(Debug, Default)]
pub(super) struct Sent {
    messages: VecDeque<(u64, Vec<u8>)>,
    bytes: usize,
}

/// What was sent longer ago is asked again by the engine, or is given up, in nanoseconds: a negotiation has 2 s.
const SENT_NS: u64 = 2_000_000_000;
/// The most that is kept of one connection, in bytes.
const SENT_BYTES: usize = 256 * 1024;

impl Sent {
    /// A message goes out.
    pub(super) fn add(&mut self, bytes: &[u8], now: u64) {
        self.messages.push_back((now, bytes.to_vec()));
        self.bytes += bytes.len();
        while let Some((at, oldest)) = self.messages.front()
            && (self.bytes > SENT_BYTES || now.saturating_sub(*at) > SENT_NS)
        {
            self.bytes -= oldest.len();
            self.messages.pop_front();
        }
    }

    /// The other end spoke: what was sent before has arrived, or will, as the connection is alive.
    pub(super) fn arrived(&mut self) {
        self.messages.clear();
        self.bytes = 0;
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// What has to be said once more.
    pub(super) fn take(&mut self, now: u64) -> impl Iterator<Item = Vec<u8>> {
        self.bytes = 0;
        let messages = std::mem::take(&mut self.messages);
        messages.into_iter().filter(move |(at, _)| now.saturating_sub(*at) <= SENT_NS).map(|(_, bytes)| bytes)
    }
}

/// One connection with a peer, or with who may become one.
pub(super) struct Connection {
    pub(super) stream: Stream<TcpStream>,
    pub(super) tls: Option<rustls::Connection>,
    pub(super) stage: Stage,
    /// The engine's name for it, once there is one.
    pub(super) conn: Option<ConnId>,
    pub(super) remote: SocketAddr,
    pub(super) accepted: bool,
    /// When it is given up, if it has not come further.
    pub(super) deadline: Option<u64>,
    /// Something was queued that no flush has seen yet.
    pub(super) dirty: bool,
    /// Who is at the other end, once it has shown it.
    pub(super) identity: Option<Arc<str>>,
    /// What was sent last, and is not known to have arrived: a dead connection's last words are said on another.
    pub(super) sent: Sent,
}

/// Whether a socket's connection is up by now.
pub(super) fn connected(socket: &TcpStream) -> io::Result<bool> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    match socket.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes bytes for a peer. False if too many wait.
pub(super) fn queue(connection: &mut Connection, bytes: &[u8]) -> io::Result<bool> {
    if connection.tls.is_none() {
        return Ok(connection.stream.queue(bytes).is_ok());
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        let Some(tls) = &mut connection.tls else { return Ok(true) };
        let taken = tls.writer().write(rest)?;
        rest = &rest[taken..];
        if flush_tls(connection)?.is_none() || taken == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Moves what TLS has ready to the socket's queue; `None` if that is full.
fn flush_tls(connection: &mut Connection) -> io::Result<Option<()>> {
    let Some(tls) = &mut connection.tls else { return Ok(Some(())) };
    while tls.wants_write() {
        let mut records = Vec::new();
        tls.write_tls(&mut records)?;
        if connection.stream.queue(&records).is_err() {
            return Ok(None);
        }
    }
    Ok(Some(()))
}

/// Writes what waits; true if nothing does any more.
pub(super) fn flush(connection: &mut Connection) -> io::Result<bool> {
    if flush_tls(connection)?.is_none() {
        return Err(io::Error::other("the peer does not read"));
    }
    connection.stream.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c14_what_was_sent_lately_and_not_answered_is_kept() {
        let mut sent = Sent::default();
        sent.add(b"old", 0);
        sent.add(b"new", SENT_NS);
        sent.add(b"newer", SENT_NS + 1);
        let kept: Vec<_> = sent.take(SENT_NS + 2).collect();
        assert_eq!(kept, [b"new".to_vec(), b"newer".to_vec()]);
        sent.add(b"heard", 1);
        sent.arrived();
        assert_eq!(sent.take(2).count(), 0);
        for _ in 0..100 {
            sent.add(&[0; 10_000], 1);
        }
        assert!(sent.take(1).map(|bytes| bytes.len()).sum::<usize>() <= SENT_BYTES);
    }
}
