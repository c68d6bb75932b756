//! A socket for each host, since a host is known by its address.

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Events taken at a time.
const EVENTS: usize = 256;
/// The longest DNS answer over UDP without EDNS0 (RFC 1035 §4.2.1), and more than a stamp.
const BYTES: usize = 512;

/// The sockets, and what waits for them.
pub struct Sockets {
    poll: Poll,
    events: Events,
    sockets: Vec<UdpSocket>,
}

impl Sockets {
    /// One at each address. Those with a `peer` hear nobody else.
    pub fn open(
        addresses: impl Iterator<Item = Ipv4Addr>,
        port: u16,
        peer: Option<SocketAddr>,
    ) -> Result<Self, String> {
        let poll = Poll::new().map_err(|error| error.to_string())?;
        let open = |(number, address): (usize, Ipv4Addr)| {
            let mut socket = UdpSocket::bind(SocketAddr::from((address, port)))?;
            if let Some(peer) = peer {
                socket.connect(peer)?;
            }
            poll.registry().register(&mut socket, Token(number), Interest::READABLE)?;
            Ok(socket)
        };
        let sockets = addresses
            .enumerate()
            .map(|(number, address)| open((number, address)).map_err(|error| refused(address, &error)))
            .collect::<Result<_, _>>()?;
        Ok(Self { poll, events: Events::with_capacity(EVENTS), sockets })
    }

    /// Sends from a host to its peer.
    pub fn send(&self, host: u32, bytes: &[u8]) -> io::Result<usize> {
        self.sockets[host as usize].send(bytes)
    }

    /// Waits, at most so long, and hands on what came: to which host, from whom, and a way to reply.
    pub fn wait(
        &mut self,
        longest: Duration,
        mut received: impl FnMut(u32, &UdpSocket, &[u8], SocketAddr),
    ) -> Result<(), String> {
        match self.poll.poll(&mut self.events, Some(longest)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other.map_err(|error| error.to_string())?,
        }
        let mut buffer = [0; BYTES];
        for event in &self.events {
            let number = event.token().0;
            let socket = &self.sockets[number];
            loop {
                match socket.recv_from(&mut buffer) {
                    Ok((length, from)) => received(number as u32, socket, &buffer[..length], from),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    // An ICMP error to something sent earlier: read on.
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                    Err(error) => return Err(error.to_string()),
                }
            }
        }
        Ok(())
    }
}

/// Why a host has no socket, and what to do about it.
fn refused(address: Ipv4Addr, error: &io::Error) -> String {
    let hint = match error.kind() {
        ErrorKind::AddrNotAvailable => " (this namespace's interface has not got that address)",
        // EMFILE has no kind of its own.
        _ if error.raw_os_error() == Some(24) => " (ulimit -n: more open files than hosts are needed)",
        _ => "",
    };
    format!("host {address}: {error}{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_somebody_else_is_named() {
        let error = Sockets::open([Ipv4Addr::new(192, 0, 2, 77)].into_iter(), 0, None).err().unwrap();
        assert!(error.contains("192.0.2.77") && error.contains("interface"), "{error}");
    }

    #[test]
    fn a_datagram_reaches_the_host_it_was_sent_to() {
        let loopback = |last| Ipv4Addr::new(127, 0, 9, last);
        let mut far = Sockets::open([loopback(1), loopback(2)].into_iter(), 0, None).unwrap();
        let to = far.sockets[1].local_addr().unwrap();
        let near = Sockets::open([loopback(3)].into_iter(), 0, Some(to)).unwrap();
        near.send(0, b"hello").unwrap();
        let mut got = Vec::new();
        while got.is_empty() {
            far.wait(Duration::from_millis(100), |host, _, bytes, from| {
                got.push((host, bytes.to_vec(), from.ip()));
            })
            .unwrap();
        }
        assert_eq!(got, [(1, b"hello".to_vec(), loopback(3).into())]);
    }
}
