//! A non-blocking stream with what still has to be written, bounded.
//!
//! mio tells of changes, not of states: whoever stops reading before the socket is empty must come back by itself.
//! [`Stream::read`] says which of the two it was.

use mio::net::{TcpListener, TcpStream};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

/// What came out of a listener.
#[derive(Debug)]
pub enum Accepted {
    /// A connection, and who it is with.
    Connection(TcpStream, SocketAddr),
    /// One that was gone before it was taken; there may be others.
    Gone,
    /// None, for now.
    Nothing,
}

/// Takes a connection. What keeps the kernel from giving one goes into the log under this kind.
pub fn accept(listener: &TcpListener, kind: &'static str) -> Accepted {
    match listener.accept() {
        Ok((socket, remote)) => Accepted::Connection(socket, remote),
        Err(error) => match error.kind() {
            ErrorKind::WouldBlock => Accepted::Nothing,
            ErrorKind::Interrupted | ErrorKind::ConnectionAborted => Accepted::Gone,
            _ => {
                tracing::warn!(kind, "cannot accept a connection: {error}");
                Accepted::Nothing
            }
        },
    }
}

/// What came out of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readable {
    /// Bytes came, and the socket may have more.
    Some(usize),
    /// The socket is empty now.
    Empty,
    /// The other end will send no more.
    End,
}

/// The other end does not take what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Congested;

/// A socket and the bytes that wait for it.
#[derive(Debug)]
pub struct Stream<S> {
    /// The socket.
    pub socket: S,
    waiting: Vec<u8>,
    written: usize,
    limit: usize,
}

impl<S: Read + Write> Stream<S> {
    /// A stream that lets at most `limit` bytes wait.
    pub const fn new(socket: S, limit: usize) -> Self {
        Self { socket, waiting: Vec::new(), written: 0, limit }
    }

    /// Reads once into `buffer`.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Readable> {
        loop {
            match self.socket.read(buffer) {
                Ok(0) => return Ok(Readable::End),
                Ok(length) => return Ok(Readable::Some(length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Readable::Empty),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Lets bytes wait behind the others. If they would be too many, nothing is taken.
    pub fn queue(&mut self, bytes: &[u8]) -> Result<(), Congested> {
        if self.pending() + bytes.len() > self.limit {
            return Err(Congested);
        }
        if self.written > 0 && self.written * 2 >= self.waiting.len() {
            self.waiting.drain(..self.written);
            self.written = 0;
        }
        self.waiting.extend_from_slice(bytes);
        Ok(())
    }

    /// Bytes that wait.
    pub fn pending(&self) -> usize {
        self.waiting.len() - self.written
    }

    /// Writes what the socket takes. True if nothing waits any more.
    pub fn flush(&mut self) -> io::Result<bool> {
        while self.written < self.waiting.len() {
            match self.socket.write(&self.waiting[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(length) => self.written += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.waiting.clear();
        self.written = 0;
        // A rare large burst does not keep its memory.
        if self.waiting.capacity() > 64 * 1024 {
            self.waiting.shrink_to(4096);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket that takes so many bytes, then blocks.
    struct Narrow {
        taken: Vec<u8>,
        room: usize,
    }

    impl Read for Narrow {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(ErrorKind::WouldBlock.into())
        }
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let length = bytes.len().min(self.room);
            if length == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.room -= length;
            self.taken.extend_from_slice(&bytes[..length]);
            Ok(length)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_does_not_fit_waits_in_order_and_is_bounded() {
        let mut stream = Stream::new(Narrow { taken: Vec::new(), room: 3 }, 8);
        stream.queue(b"hello").unwrap();
        assert!(!stream.flush().unwrap());
        stream.queue(b" world").unwrap();
        assert_eq!(stream.queue(b"!"), Err(Congested));
        stream.socket.room = 100;
        assert!(stream.flush().unwrap());
        assert_eq!(stream.socket.taken, b"hello world");
        assert_eq!(stream.pending(), 0);
    }
}
