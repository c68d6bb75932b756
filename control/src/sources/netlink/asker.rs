//! Neighbours are asked for by a thread of their own. A request is carried out while it is sent, and waits for the kernel's one
//! lock on all interfaces (rtnl), which whoever takes a network namespace down holds for many milliseconds.

use super::message;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Requests that may wait. What finds no room is asked for again by its next packet.
const WAITING: usize = 4096;
/// The number of each request: that of no dump.
const NUMBER: u32 = 0;

/// The thread's end of the line. It ends when this is dropped.
pub(super) struct Asker(SyncSender<(u32, Ipv4Addr)>);

impl Asker {
    /// Asks over this socket, which is connected to the kernel. Whoever reads from it hears the answers.
    pub(super) fn start(socket: OwnedFd) -> io::Result<Self> {
        let (line, asked) = sync_channel(WAITING);
        std::thread::Builder::new().name("neighbours".to_owned()).spawn(move || ask_all(&socket, &asked))?;
        Ok(Self(line))
    }

    /// Has the kernel resolve an address on an interface, or confirm what it knows. False: too many wait.
    pub(super) fn ask(&self, index: u32, address: Ipv4Addr) -> bool {
        self.0.try_send((index, address)).is_ok()
    }
}

fn ask_all(socket: &OwnedFd, asked: &Receiver<(u32, Ipv4Addr)>) {
    for (index, address) in asked {
        let bytes = message::resolve(index, address, NUMBER);
        if let Err(error) = rustix::net::send(socket, &bytes, rustix::net::SendFlags::empty()) {
            tracing::warn!(kind = "netlink_send", "cannot have {address} resolved: {error}");
        }
    }
}
