//! `net_memif`: a port pair in shared memory. The device under test is always the server, the generator the client.
//!
//! Both ends copy: the server out of and into the client's memory, the client between that memory and its own mbufs. So
//! half of the work for each packet is the generator's, on its own core.

use std::path::Path;

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
