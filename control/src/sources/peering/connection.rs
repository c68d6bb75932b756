//! One connection: its stage, its TLS, and what waits for its socket.

use crate::stream::Stream;
use ces_cetp::engine::ConnId;
use mio::net::TcpStream;
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
