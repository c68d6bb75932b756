//! What the control loop waits for: a source owns sockets, and is told when something happens to one of them.
//!
//! A source knows nothing of the loop. It registers its sockets through [`Sockets`], which puts the source's number into
//! mio's token, and it tells what came of them to a world that it describes itself (a trait beside it, such as
//! [`Upper`](crate::sources::peering::Upper)). `daemon::sources` has the list of all of them, the only one.

use crate::slots::Key;
use mio::event::Source as Pollable;
use mio::{Interest, Registry, Token};
use std::io;

/// One of a source's sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Socket {
    /// One that is there from the beginning, by its number: a listener, a TAP.
    Fixed(u32),
    /// One that came and will go: a connection.
    Passing(Key),
}

/// Where the source's number stands in a token.
const SOURCE_SHIFT: u32 = 56;
/// Set in the token of a socket that came.
const PASSING: u64 = 1 << 55;

impl Socket {
    /// The token of the socket, for the source with that number. Number 0 is nobody's: mio's own uses have it.
    const fn token(self, source: u8) -> Token {
        let bits = match self {
            Self::Fixed(number) => number as u64,
            Self::Passing(key) => PASSING | key.pack(),
        };
        Token(((source as u64) << SOURCE_SHIFT | bits) as usize)
    }

    /// Whose token it is, and of which of its sockets.
    pub const fn of(token: Token) -> (u8, Self) {
        let bits = token.0 as u64;
        let source = (bits >> SOURCE_SHIFT) as u8;
        if bits & PASSING == 0 {
            (source, Self::Fixed(bits as u32))
        } else {
            (source, Self::Passing(Key::unpack(bits & (PASSING - 1))))
        }
    }
}

/// Where a source registers its sockets: what happens to them comes back to it.
#[derive(Debug)]
pub struct Sockets {
    registry: Registry,
    source: u8,
}

impl Sockets {
    /// The sockets of the source with that number, from 1.
    pub fn new(poll: &mio::Poll, source: u8) -> io::Result<Self> {
        Ok(Self { registry: poll.registry().try_clone()?, source })
    }

    /// Waits for something to read: what a listener or a datagram socket is good for.
    pub fn listen(&self, socket: &mut impl Pollable, number: u32) -> io::Result<()> {
        self.registry.register(socket, Socket::Fixed(number).token(self.source), Interest::READABLE)
    }

    /// Tells once more of a listener that was not emptied: mio tells of changes only.
    pub fn listen_again(&self, socket: &mut impl Pollable, number: u32) -> io::Result<()> {
        self.registry.reregister(socket, Socket::Fixed(number).token(self.source), Interest::READABLE)
    }

    /// Waits for both directions of a connection.
    pub fn add(&self, socket: &mut impl Pollable, key: Key) -> io::Result<()> {
        let token = Socket::Passing(key).token(self.source);
        self.registry.register(socket, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Waits no longer. A socket that is closed without it is forgotten as well.
    pub fn remove(&self, socket: &mut impl Pollable) {
        let _ = self.registry.deregister(socket);
    }
}

/// Something that owns sockets. `W` is whom it tells what came of them.
pub trait Source<W: ?Sized> {
    /// Something happened to one of its sockets.
    fn handle(&mut self, socket: Socket, world: &mut W, now: u64);

    /// Whether it did not read to the end, so that waiting for the next event would be wrong.
    fn has_unread(&self) -> bool {
        false
    }

    /// Goes on with what was not read to the end: one socket's turn, since others want theirs.
    fn handle_unread(&mut self, _world: &mut W, _now: u64) {}

    /// Looks for what has taken too long: some ten times a second.
    fn handle_timeout(&mut self, _world: &mut W, _now: u64) {}
}

/// A source that is not configured hears of nothing.
impl<W: ?Sized, S: Source<W>> Source<W> for Option<S> {
    fn handle(&mut self, socket: Socket, world: &mut W, now: u64) {
        if let Some(source) = self {
            source.handle(socket, world, now);
        }
    }

    fn has_unread(&self) -> bool {
        self.as_ref().is_some_and(Source::has_unread)
    }

    fn handle_unread(&mut self, world: &mut W, now: u64) {
        if let Some(source) = self {
            source.handle_unread(world, now);
        }
    }

    fn handle_timeout(&mut self, world: &mut W, now: u64) {
        if let Some(source) = self {
            source.handle_timeout(world, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::Slots;

    #[test]
    fn sockets_come_back_out_of_their_tokens() {
        let mut slots = Slots::default();
        let early = slots.insert('a');
        slots.remove(early);
        let late = slots.insert('b');
        for source in [1, 77, 255] {
            for socket in
                [Socket::Fixed(0), Socket::Fixed(u32::MAX), Socket::Passing(early), Socket::Passing(late)]
            {
                assert_eq!(Socket::of(socket.token(source)), (source, socket));
            }
        }
        assert_eq!(Socket::of(Token(0)), (0, Socket::Fixed(0)), "the bell is nobody's");
    }
}
