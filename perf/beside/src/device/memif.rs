//! `net_memif`: a port pair in shared memory. The device under test is always the server, the generator the client.
//!
//! Both ends copy: the server out of and into the client's memory, the client between that memory and its own mbufs. So
//! half of the work for each packet is the generator's, on its own core.
//!
//! When a client leaves, the server's driver unmaps the memory between them on DPDK's interrupt thread, and does not ask whether
//! a polling thread is in it (DPDK 22.11: `memif_disconnect`). It first takes the connection away, which each burst looks at, and
//! unmaps after some system calls; so a polling thread that runs is out in time, and one that was preempted within a burst
//! ends its process when it goes on. On one core the interrupt thread itself preempts it. Hence [`separate`] and [`part`]. The
//! gateway does not need them: it keeps its bursts and that thread apart by itself.

use crate::interrupt;
use crate::process::{Line, Place, Process};
use std::path::Path;
use std::time::Duration;

/// Packets in each ring, as a power of two: 1,024, as many as the other ports' descriptors.
const RING_LOG2: u32 = 10;

/// Whose end it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The device under test.
    Device,
    /// The generator.
    Generator,
}

/// The driver's options without the device's name.
pub fn options(scratch: &Path, port: usize, end: End) -> String {
    let role = match end {
        End::Device => "server",
        End::Generator => "client",
    };
    let socket = scratch.join(format!("memif{port}")).display().to_string();
    format!("role={role},id=0,socket={socket},socket-abstract=no,rsize={RING_LOG2},bsize=2048")
}

/// A device as DPDK names it.
pub fn device(scratch: &Path, port: usize, end: End) -> String {
    format!("net_memif{port},{}", options(scratch, port, end))
}

/// Both devices of an end: inside and outside.
pub fn devices(scratch: &Path, end: End) -> [String; 2] {
    [0, 1].map(|port| device(scratch, port, end))
}

const COMMAND_WAIT: Duration = Duration::from_secs(5);
/// How long a client may take to go, and a server to notice.
const LEAVE_WAIT: Duration = Duration::from_secs(5);
/// DPDK's interrupt thread.
const INTERRUPTS: &str = "eal-intr";
/// What the shared memory is called.
const REGION: &str = "memif_region";

/// Moves a server's interrupt thread, which sleeps but for connections, off the core of its polling thread.
pub fn separate(server: &Process, core: usize) -> Result<(), String> {
    server.threads(INTERRUPTS).iter().try_for_each(|thread| {
        let core = core.to_string();
        Line::new(&Place::default(), "taskset").args(["-pc", &core, thread]).output(COMMAND_WAIT).map(drop)
    })
}

/// Lets a client go that waits for it. Until the server has unmapped its memory, nothing preempts the server's polling
/// threads, which are called so.
pub fn part(server: &Process, polling: &str, client: Process) -> Result<(), String> {
    let threads = server.threads(polling);
    let policy = |words: [&str; 3]| {
        threads.iter().try_for_each(|thread| {
            let line = Line::new(&Place::default(), "chrt").args(words).args([thread]);
            line.output(COMMAND_WAIT).map(drop)
        })
    };
    let urgent = policy(["--fifo", "--pid", "1"]);
    let gone = client.finish(LEAVE_WAIT).and_then(|()| {
        let what = "the server keeps a memif's memory";
        interrupt::wait(what, LEAVE_WAIT, || Ok((!server.maps(REGION)).then_some(())))
    });
    // Also after an error; a device that has ended in between is noticed by whoever uses it next.
    let usual = policy(["--other", "--pid", "0"]);
    urgent.and(gone).and(usual)
}
