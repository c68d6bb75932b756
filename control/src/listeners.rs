//! Listeners of one kind: which of them there are may change while connections stand.

use crate::source::Sockets;
use crate::stream::{Accepted, accept};
use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;

/// The kernel's queue of connections that wait for `accept`.
const LISTEN_QUEUE: i32 = 1024;

/// Opens a listener. The address may come up on its TAP later (`IP_FREEBIND`).
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv4() {
        socket.set_freebind_v4(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(LISTEN_QUEUE)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// A place where nobody can listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for {what} on {address}: {}", hint(.error))]
pub struct ListenError {
    /// What for.
    pub what: &'static str,
    /// Where.
    pub address: SocketAddr,
    /// The kernel's reason.
    pub error: io::Error,
}

/// Why, and what to do about it.
fn hint(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another process listens there".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "not permitted: run as root or with CAP_NET_BIND_SERVICE".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "the address is not this machine's".to_owned(),
        _ => error.to_string(),
    }
}

struct One<T> {
    number: u32,
    address: SocketAddr,
    about: T,
    listener: TcpListener,
}

/// The listeners, each with what is known about those who connect there.
pub struct Listeners<T> {
    what: &'static str,
    all: Vec<One<T>>,
    next: u32,
}

/// Listeners that are open and not in use yet.
pub struct Opened<T> {
    wanted: Vec<(SocketAddr, T)>,
    new: Vec<(SocketAddr, TcpListener)>,
}

impl<T: Copy> Listeners<T> {
    /// None yet; `what` they are for is said where one cannot be opened.
    pub const fn new(what: &'static str) -> Self {
        Self { what, all: Vec::new(), next: 0 }
    }

    /// Opens what is wanted and not there. Nothing changes before [`Listeners::install`].
    pub fn open(&self, wanted: Vec<(SocketAddr, T)>) -> Result<Opened<T>, ListenError> {
        let missing = wanted.iter().filter(|(address, _)| self.all.iter().all(|one| one.address != *address));
        let open = |(address, _): &(SocketAddr, T)| match listen(*address) {
            Ok(listener) => Ok((*address, listener)),
            Err(error) => Err(ListenError { what: self.what, address: *address, error }),
        };
        let new = missing.map(open).collect::<Result<_, _>>()?;
        Ok(Opened { wanted, new })
    }

    /// From here on these are the listeners: who listened elsewhere listens no longer, who stays is not touched.
    pub fn install(&mut self, opened: Opened<T>, sockets: &Sockets) -> io::Result<()> {
        let about = |address: SocketAddr| {
            opened.wanted.iter().find(|(wanted, _)| *wanted == address).map(|(_, about)| *about)
        };
        let (stays, goes): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.all).into_iter().partition(|one| about(one.address).is_some());
        for mut one in goes {
            sockets.remove(&mut one.listener);
        }
        self.all = stays;
        for one in &mut self.all {
            one.about = about(one.address).unwrap_or(one.about);
        }
        for (address, mut listener) in opened.new {
            let Some(about) = about(address) else { continue };
            let number = self.next;
            self.next += 1;
            sockets.listen(&mut listener, number)?;
            self.all.push(One { number, address, about, listener });
        }
        Ok(())
    }

    /// Takes a connection of the listener with that number. What keeps the kernel from giving one goes into the log under
    /// this kind.
    pub fn accept(&self, number: u32, kind: &'static str) -> (Accepted, Option<T>) {
        match self.all.iter().find(|one| one.number == number) {
            Some(one) => (accept(&one.listener, kind), Some(one.about)),
            None => (Accepted::Nothing, None),
        }
    }

    /// Tells once more of a listener that was not emptied.
    pub fn tell_again(&mut self, number: u32, sockets: &Sockets) {
        if let Some(one) = self.all.iter_mut().find(|one| one.number == number)
            && let Err(error) = sockets.listen_again(&mut one.listener, number)
        {
            tracing::warn!(kind = "accept", "cannot wait for connections for {}: {error}", self.what);
        }
    }

    /// Where they listen.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.all.iter().map(|one| one.address).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 9, 9, last], 40_053))
    }

    #[test]
    fn who_stays_is_not_touched_and_nothing_changes_before_all_is_open() {
        let poll = mio::Poll::new().unwrap();
        let sockets = Sockets::new(&poll, 1).unwrap();
        let mut listeners = Listeners::new("a test");
        let opened = listeners.open(vec![(local(1), 'a'), (local(2), 'b')]).unwrap();
        listeners.install(opened, &sockets).unwrap();
        // Somebody waits at the one that stays.
        let _waiting = std::net::TcpStream::connect(local(2)).unwrap();
        let taken = std::net::TcpListener::bind(local(4)).unwrap();
        assert!(listeners.open(vec![(local(3), 'c'), (local(4), 'd')]).is_err(), "another has it");
        assert_eq!(listeners.addresses(), [local(1), local(2)]);
        drop(taken);
        let opened = listeners.open(vec![(local(2), 'B'), (local(3), 'c')]).unwrap();
        listeners.install(opened, &sockets).unwrap();
        assert_eq!(listeners.addresses(), [local(2), local(3)]);
        assert!(std::net::TcpStream::connect(local(1)).is_err(), "nobody listens there any more");
        let (accepted, about) = listeners.accept(1, "test");
        assert!(matches!(accepted, Accepted::Connection(..)) && about == Some('B'));
        assert!(listeners.accept(0, "test").1.is_none());
    }
}
