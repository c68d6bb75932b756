//! The kernel is asked by a thread of its own. A request is carried out while it is sent, and waits for the kernel's one lock on
//! all interfaces (rtnl), which whoever takes a network namespace down holds for many milliseconds.

use super::message;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Requests that may wait. A neighbour that finds no room is asked for again by its next packet.
const WAITING: usize = 4096;
/// The number of each request: that of no dump.
const NUMBER: u32 = 0;

/// What the kernel may be asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Request {
    /// To resolve an address on an interface, or to confirm what it knows.
    Resolve { index: u32, address: Ipv4Addr },
    /// To say how an interface is.
    Look { index: u32 },
    /// To give an interface this MAC address.
    SetMac { index: u32, mac: [u8; 6] },
}

impl Request {
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Resolve { index, address } => message::resolve(index, address, NUMBER),
            Self::Look { index } => message::look(index, NUMBER),
            Self::SetMac { index, mac } => message::set_mac(index, mac, NUMBER),
        }
    }
}

/// The thread's end of the line. It ends when this is dropped.
pub(super) struct Asker(SyncSender<Request>);

impl Asker {
    /// Asks over this socket, which is connected to the kernel. Whoever reads from it hears the answers.
    pub(super) fn start(socket: OwnedFd) -> io::Result<Self> {
        let (line, asked) = sync_channel(WAITING);
        std::thread::Builder::new().name("neighbours".to_owned()).spawn(move || ask_all(&socket, &asked))?;
        Ok(Self(line))
    }

    /// Has this asked. False: too many wait.
    pub(super) fn ask(&self, request: Request) -> bool {
        let taken = self.0.try_send(request).is_ok();
        if !taken {
            tracing::warn!(kind = "netlink_send", "too many requests to the kernel wait: {request:?}");
        }
        taken
    }
}

fn ask_all(socket: &OwnedFd, asked: &Receiver<Request>) {
    for request in asked {
        if let Err(error) = rustix::net::send(socket, &request.bytes(), rustix::net::SendFlags::empty()) {
            tracing::warn!(kind = "netlink_send", "the kernel cannot be asked: {request:?}: {error}");
        }
    }
}
