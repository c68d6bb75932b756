//! Signals, through pipes: the handler writes a byte, the loop reads it when it comes by.

use crate::source::{Socket, Sockets, Source};
use mio::net::UnixStream;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::{self, Read};

/// What each pipe is for, and the signals that write to it.
const PIPES: [(Signal, &[i32]); 2] = [(Signal::Stop, &[SIGTERM, SIGINT]), (Signal::Reload, &[SIGHUP])];

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// An end.
    Stop,
    /// Another look at the configuration.
    Reload,
}

/// The pipes, and what came out of them.
pub struct Signals {
    pipes: Vec<UnixStream>,
    asked: Vec<Signal>,
}

impl Signals {
    /// Takes the signals from here on.
    pub fn open(sockets: &Sockets) -> io::Result<Self> {
        let mut pipes = Vec::with_capacity(PIPES.len());
        for (number, (_, signals)) in PIPES.iter().enumerate() {
            let (mut read, write) = UnixStream::pair()?;
            sockets.listen(&mut read, number as u32)?;
            let write = std::os::unix::net::UnixStream::from(std::os::fd::OwnedFd::from(write));
            for signal in *signals {
                signal_hook::low_level::pipe::register(*signal, write.try_clone()?)?;
            }
            pipes.push(read);
        }
        Ok(Self { pipes, asked: Vec::new() })
    }

    /// What was asked for since the last call.
    pub fn take(&mut self) -> Vec<Signal> {
        std::mem::take(&mut self.asked)
    }
}

impl<W: ?Sized> Source<W> for Signals {
    fn handle(&mut self, socket: Socket, _: &mut W, _: u64) {
        let Socket::Fixed(number) = socket else { return };
        let Some(pipe) = self.pipes.get_mut(number as usize) else { return };
        let mut buffer = [0; 64];
        while matches!(pipe.read(&mut buffer), Ok(length) if length > 0) {}
        self.asked.push(PIPES[number as usize].0);
    }
}
