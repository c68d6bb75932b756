//! One kind of the kernel's things, heard of by netlink: a dump of all of them, then notices of each change.
//!
//! The kernel may say less than happened: its queue towards us overflows (`ENOBUFS`). Then everything is dumped again, and what
//! the dump does not name is gone.

use super::message::{self, Notice};
use netlink_sys::{Socket as Netlink, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd, RawFd};

/// The largest datagram: the kernel fills 32 KiB at most when it dumps.
pub(super) const DATAGRAM: usize = 64 * 1024;
/// Datagrams taken at a time.
const DATAGRAMS: usize = 64;

const EBUSY: i32 = 16;
const ENOBUFS: i32 = 105;

/// Who keeps a copy.
pub trait Copied {
    /// A dump begins: what it does not name will be gone at its end.
    fn begin_dump(&mut self);
    /// Something is there, or is gone.
    fn hear(&mut self, notice: Notice);
    /// The dump is complete.
    fn end_dump(&mut self);
}

/// How far a copy of the kernel's state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sync {
    /// Complete; changes come as they happen.
    Live,
    /// The dump with this sequence number is under way.
    Dump(u32),
}

/// The socket, and how far the copy is that is made of what it says.
pub struct Feed {
    socket: Netlink,
    /// Asks for all.
    all: fn(u32) -> Vec<u8>,
    sync: Sync,
    /// Notices were lost while a dump was under way: dump once more.
    again: bool,
    sequence: u32,
    resyncs: u64,
    buffer: Vec<u8>,
}

impl Feed {
    /// Hears this group (as a bit), through a queue of so many bytes.
    pub fn open(group: u32, queue: usize, all: fn(u32) -> Vec<u8>) -> io::Result<Self> {
        let mut socket = Netlink::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, group))?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_non_blocking(true)?;
        // Past net.core.rmem_max goes who has the privilege; others get what they may.
        if rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, queue).is_err() {
            let _ = socket.set_rx_buf_sz(queue as i32);
        }
        let buffer = Vec::with_capacity(DATAGRAM);
        Ok(Self { socket, all, sync: Sync::Live, again: false, sequence: 0, resyncs: 0, buffer })
    }

    /// Whether the copy is whole.
    pub fn is_live(&self) -> bool {
        self.sync == Sync::Live
    }

    /// How often notices were lost and everything was asked for again.
    pub fn resyncs(&self) -> u64 {
        self.resyncs
    }

    /// Sends a request.
    pub fn send(&mut self, build: impl FnOnce(u32) -> Vec<u8>) -> io::Result<u32> {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        let bytes = build(self.sequence);
        self.socket.send(&bytes, 0)?;
        Ok(self.sequence)
    }

    /// The socket for another who sends: the answers are heard here.
    pub fn handle(&self) -> io::Result<OwnedFd> {
        self.socket.as_fd().try_clone_to_owned()
    }

    /// Asks for everything.
    pub fn dump(&mut self, copy: &mut impl Copied) -> io::Result<()> {
        self.again = false;
        copy.begin_dump();
        self.sync = Sync::Dump(self.send(self.all)?);
        Ok(())
    }

    /// Asks for everything, after the dump that is under way.
    pub fn restart(&mut self, copy: &mut impl Copied) {
        if !self.is_live() {
            self.again = true;
        } else if let Err(error) = self.dump(copy) {
            tracing::warn!(kind = "netlink_send", "cannot read the kernel's tables: {error}");
        }
    }

    /// Reads some of what the kernel said. True if there may be more.
    pub fn read(&mut self, copy: &mut impl Copied) -> bool {
        for _ in 0..DATAGRAMS {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if error.raw_os_error() == Some(ENOBUFS) => {
                    self.resyncs += 1;
                    tracing::info!(
                        kind = "netlink_overrun",
                        "the kernel's notices overflowed: reading all again"
                    );
                    self.restart(copy);
                    continue;
                }
                Err(error) => {
                    tracing::warn!(kind = "netlink_receive", "netlink: {error}");
                    return false;
                }
            }
            let buffer = std::mem::take(&mut self.buffer);
            message::parse(&buffer, |notice| self.take(notice, copy));
            self.buffer = buffer;
        }
        true
    }

    fn take(&mut self, notice: Notice, copy: &mut impl Copied) {
        match (notice, self.sync) {
            (Notice::Done(sequence), Sync::Dump(own)) if sequence == own => {
                self.sync = Sync::Live;
                if self.again {
                    self.restart(copy);
                } else {
                    copy.end_dump();
                }
            }
            (Notice::Answer { sequence, code: EBUSY }, Sync::Dump(own)) if sequence == own => {
                self.sync = Sync::Live;
                self.restart(copy);
            }
            _ => copy.hear(notice),
        }
    }
}

impl AsRawFd for Feed {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
